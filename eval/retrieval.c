/* SPDX-License-Identifier: Apache-2.0 */
/* Retrieval: a block of queries against the whole gallery by one matrix product, then each query's
 * figures from its row of cosines, ties by their expected values. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/eval_retrieval.h>

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/eval.h"
#include "eval/resample.h"
#include "tensor/gemm.h"
#include "tensor/tensor_internal.h"

#define BLOCK 64                /* queries of a task */
#define MEASURES 5              /* R@1, R@5, R@10, MRR, MAP@R */

static const int depth[] = { 1, 5, 10 };
static const char *const measure_name[MEASURES] = { "R@1", "R@5", "R@10", "MRR", "MAP@R" };

/* Rows of equal cosine that hold a right answer, and what stands between them and the group
 * before. */
typedef struct tie_group {
    ak_real score;
    int64_t right, wrong;       /* of this score */
    int64_t before;             /* wrong ones of scores between this group and the one before */
} tie_group;

typedef struct thread_room {
    ak_real   *score;           /* [BLOCK, M] */
    ak_real   *right;           /* [M] scores of right answers */
    tie_group *group;           /* [most right answers of a query] */
} thread_room;

typedef struct retrieval_run {
    ak_ctx        *ctx;
    const int32_t *query_id, *gallery_id;
    bool           leave_one_out;
    int64_t        n, m, d, known;
    ak__cosine_rows_of query, gallery;
    int64_t       *place;       /* [n] where a query's figures go; -1 = left out */
    int32_t       *sorted;      /* [m] ids of the gallery, ascending */
    int64_t        most;        /* right answers of one query */
    double        *value;       /* [MEASURES, known] */
    thread_room   *room;        /* [threads] */
    int            rooms;
} retrieval_run;

/* ---- one query ------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b)
{
    const ak_real x = *(const ak_real *)a, y = *(const ak_real *)b;
    return (x < y) - (x > y);
}

static bool is_right(const retrieval_run *run, int64_t i, int64_t j)
{
    return run->query_id ? run->query_id[i] == run->gallery_id[j] : i == j;
}

/* The groups of right answers, best first; their number. Scores become cosines on the way. */
static int64_t make_groups(const retrieval_run *run, int64_t i, ak_real *score, thread_room *room)
{
    int64_t rights = 0, groups = 0;
    for (int64_t j = 0; j < run->m; j++) {
        score[j] *= run->gallery.inverse[j] * run->query.inverse[i];
        if (is_right(run, i, j) && !(run->leave_one_out && i == j))
            room->right[rights++] = score[j];
    }
    qsort(room->right, (size_t)rights, sizeof *room->right, descending);
    for (int64_t r = 0; r < rights; r++) {
        if (groups == 0 || room->group[groups - 1].score != room->right[r])
            room->group[groups++] = (tie_group){ .score = room->right[r] };
        room->group[groups - 1].right++;
    }
    return groups;
}

/* Count the wrong answers: each is in a group, or before the first group that it beats. */
static void count_wrong(const retrieval_run *run, int64_t i, const ak_real *score,
                        tie_group *group, int64_t groups)
{
    const ak_real least = group[groups - 1].score;
    for (int64_t j = 0; j < run->m; j++) {
        if (score[j] < least || is_right(run, i, j))    /* itself is right by its id */
            continue;
        int64_t lo = 0, hi = groups - 1;
        while (lo < hi) {                       /* the first group that is not above the score */
            const int64_t middle = lo + (hi - lo) / 2;
            if (group[middle].score > score[j])
                lo = middle + 1;
            else
                hi = middle;
        }
        if (group[lo].score == score[j])
            group[lo].wrong++;
        else
            group[lo].before++;
    }
}

/* R@k and the reciprocal rank: what counts is the first group. out[0..3] */
static void first_right(const tie_group *g, double *out)
{
    const int64_t size = g->right + g->wrong, places = g->wrong + 1;
    double p = (double)g->right / (double)size, sum = 0, rank = 0;
    for (int k = 0; k < 3; k++)
        out[k] = 0;
    for (int64_t j = 1; j <= places; j++) {     /* p: the first right one is at place j */
        sum = j < places ? sum + p : 1;         /* no rounding at the last possible place */
        rank += p / (double)(g->before + j);
        for (int k = 0; k < 3; k++)
            if (g->before + j <= depth[k])
                out[k] = sum;
        if (j < places)
            p *= (double)(places - j) / (double)(size - j);
    }
    out[3] = rank;
}

static double average_precision(const tie_group *group, int64_t groups)
{
    int64_t R = 0, a = 0, b = 0;
    double sum = 0;
    for (int64_t k = 0; k < groups; k++)
        R += group[k].right;
    for (int64_t k = 0; k < groups; k++) {
        const int64_t r = group[k].right, size = r + group[k].wrong;
        a += group[k].before;
        const double share = (double)r / (double)size;
        const double more = size > 1 ? (double)(r - 1) / (double)(size - 1) : 0;
        for (int64_t j = 1; j <= size && a + j <= R; j++)
            sum += share * ((double)(b + 1) + (double)(j - 1) * more) / (double)(a + j);
        a += size;
        b += r;
    }
    return sum / (double)R;
}

static void search_block(const retrieval_run *run, int64_t begin, int64_t end, thread_room *room)
{
    ak__gemm(AK__NT, end - begin, run->m, run->d, 1, run->query.x + begin * run->d, run->d,
             run->gallery.x, run->d, 0, room->score, run->m, NULL);
    for (int64_t i = begin; i < end; i++) {
        const int64_t to = run->place[i];
        if (to < 0)
            continue;
        ak_real *score = room->score + (i - begin) * run->m;
        const int64_t groups = make_groups(run, i, score, room);
        count_wrong(run, i, score, room->group, groups);
        double out[MEASURES];
        first_right(&room->group[0], out);
        out[4] = average_precision(room->group, groups);
        for (int k = 0; k < MEASURES; k++)
            run->value[k * run->known + to] = out[k];
    }
}

/* ---- who is asked ---------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Right answers of query i. */
static int64_t count_right(const retrieval_run *run, int64_t i)
{
    if (!run->query_id)
        return 1;
    const int32_t id = run->query_id[i];
    int64_t end[2];                             /* of the ids below it, and of those not above */
    for (int side = 0; side < 2; side++) {
        int64_t lo = 0, hi = run->m;
        while (lo < hi) {
            const int64_t middle = lo + (hi - lo) / 2;
            if (run->sorted[middle] < id || (side && run->sorted[middle] == id))
                lo = middle + 1;
            else
                hi = middle;
        }
        end[side] = lo;
    }
    return end[1] - end[0] - (run->leave_one_out ? 1 : 0);
}

static bool check_ids(ak_ctx *ctx, const char *what, const int32_t *id, int64_t n)
{
    for (int64_t i = 0; id && i < n; i++)
        if (id[i] < -1) {
            ak_fail(ctx, AK_ERR_VALUE, "retrieval: %s id %lld is %d; expected numbers >= 0, or -1 "
                    "for unknown", what, (long long)i, (int)id[i]);
            return false;
        }
    return true;
}

/* Number the known queries. False: an error is recorded. */
static bool place_queries(retrieval_run *run)
{
    int64_t lonely = 0, first = 0;
    if (run->query_id) {
        memcpy(run->sorted, run->gallery_id, (size_t)run->m * sizeof *run->sorted);
        qsort(run->sorted, (size_t)run->m, sizeof *run->sorted, ascending);
    }
    for (int64_t i = 0; i < run->n; i++) {
        run->place[i] = run->query_id && run->query_id[i] < 0 ? -1 : run->known++;
        const int64_t rights = run->place[i] < 0 ? 1 : count_right(run, i);
        first = rights == 0 && lonely == 0 ? i : first;
        lonely += rights == 0;
        run->most = rights > run->most ? rights : run->most;
    }
    if (lonely)
        ak_fail(run->ctx, AK_ERR_VALUE, "retrieval: %lld of %lld queries have no right answer in "
                "the gallery, the first is query %lld with id %d\n    hint: id -1 leaves a query "
                "out", (long long)lonely, (long long)run->n, (long long)first,
                (int)run->query_id[first]);
    else if (run->known == 0)
        ak_fail(run->ctx, AK_ERR_VALUE, "retrieval: the ids of all %lld queries are unknown (-1)",
                (long long)run->n);
    return ak_error(run->ctx) == AK_OK;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static bool check_shapes(ak_ctx *ctx, const ak_tensor *q, const ak_tensor *g,
                         const ak_retrieval_options *o)
{
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    const bool rows = q->shape.n == 2 && g->shape.n == 2 && q->size > 0 && g->size > 0 &&
                      q->shape.dims[1] == g->shape.dims[1];
    if (!rows || (!o->query_id && !o->gallery_id && q->shape.dims[0] != g->shape.dims[0])) {
        ak_fail(ctx, AK_ERR_SHAPE, "retrieval: query %s, gallery %s; expected [N, D] and [M, D]%s",
                ak_shape_text(q->shape, a), ak_shape_text(g->shape, b),
                rows ? " with N = M, or ids of both" : "");
        return false;
    }
    if (!o->query_id != !o->gallery_id) {
        ak_fail(ctx, AK_ERR_VALUE, "retrieval: .%s without .%s; expected ids of both sides, or of "
                "neither", o->query_id ? "query_id" : "gallery_id",
                o->query_id ? "gallery_id" : "query_id");
        return false;
    }
    const size_t n = (size_t)q->shape.dims[0];
    if (o->leave_one_out &&
        (!o->query_id || !ak_shape_equal(q->shape, g->shape) ||
         memcmp(o->query_id, o->gallery_id, n * sizeof *o->query_id) != 0 ||
         memcmp(q->data, g->data, (size_t)q->size * sizeof *q->data) != 0)) {
        ak_fail(ctx, AK_ERR_VALUE, "retrieval: leave_one_out with query %s and gallery %s%s; "
                "expected the same rows and ids twice", ak_shape_text(q->shape, a),
                ak_shape_text(g->shape, b), o->query_id ? "" : " without ids");
        return false;
    }
    return check_ids(ctx, "query", o->query_id, q->shape.dims[0]) &&
           check_ids(ctx, "gallery", o->gallery_id, g->shape.dims[0]);
}

static bool reserve_rows(retrieval_run *run, const ak_tensor *q, const ak_tensor *g)
{
    const size_t bytes = (size_t)run->n * sizeof *run->place +
                         (size_t)run->m * sizeof *run->sorted;
    run->place = ak__malloc((size_t)run->n * sizeof *run->place);
    run->sorted = ak__malloc((size_t)run->m * sizeof *run->sorted);
    if (!run->place || !run->sorted) {
        ak__fail_memory(run->ctx, bytes);
        return false;
    }
    return ak__cosine_rows(run->ctx, q->data, run->n, run->d, &run->query) &&
           ak__cosine_rows(run->ctx, g->data, run->m, run->d, &run->gallery);
}

static bool reserve_threads(retrieval_run *run)
{
    const size_t rows = BLOCK * (size_t)run->m * sizeof(ak_real);
    const size_t right = (size_t)run->most * sizeof(ak_real);
    const size_t group = (size_t)run->most * sizeof(tie_group);
    const size_t values = MEASURES * (size_t)run->known * sizeof *run->value;
    const int threads = ak__max_threads();
    run->value = ak__malloc(values);
    run->room = ak__malloc((size_t)threads * sizeof *run->room);
    bool good = run->value && run->room;
    for (int t = 0; t < threads && good; t++) {
        thread_room *r = &run->room[run->rooms++];
        *r = (thread_room){ ak__malloc(rows), ak__malloc(right), ak__malloc(group) };
        good = r->score && r->right && r->group;
    }
    if (!good)
        ak__fail_memory(run->ctx, values + (size_t)threads * (rows + right + group));
    return good;
}

static void release(retrieval_run *run)
{
    for (int t = 0; t < run->rooms; t++) {
        ak__free(run->room[t].score);
        ak__free(run->room[t].right);
        ak__free(run->room[t].group);
    }
    ak__free(run->room);
    ak__free(run->value);
    ak__cosine_rows_free(&run->gallery);
    ak__cosine_rows_free(&run->query);
    ak__free(run->sorted);
    ak__free(run->place);
}

static bool summarise(const retrieval_run *run, const ak_retrieval_options *o, ak_retrieval *r)
{
    double *const each[MEASURES] = { o->each.r1, o->each.r5, o->each.r10, o->each.mrr,
                                     o->each.map_r };
    ak_measure *const to[MEASURES] = { &r->r1, &r->r5, &r->r10, &r->mrr, &r->map_r };
    ak_measure m[MEASURES];
    ak__way way[MEASURES];
    char how[80];
    if (!ak__means(run->ctx, run->value, MEASURES, run->known, o->bootstrap, m, way))
        return false;
    r->gallery = run->m - (run->leave_one_out ? 1 : 0);
    for (int k = 0; k < MEASURES; k++) {
        *to[k] = m[k];
        to[k]->unknown = run->n - run->known;
        ak__format(to[k]->protocol, sizeof to[k]->protocol, "%s of %lld queries in %lld rows, "
                   "cosine, right answers by %s%s, ties by expected value, %s", measure_name[k],
                   (long long)run->known, (long long)r->gallery, run->query_id ? "id" : "row",
                   run->leave_one_out ? ", leave one out" : "",
                   ak__way_text(way[k], o->bootstrap, how));
        if (each[k])
            memcpy(each[k], run->value + k * run->known,
                   (size_t)run->known * sizeof *run->value);
    }
    return true;
}

static ak_retrieval nothing(void)
{
    const ak_measure no = ak__no_measure();
    return (ak_retrieval){ .r1 = no, .r5 = no, .r10 = no, .mrr = no, .map_r = no };
}

ak_retrieval ak_eval_retrieval(const ak_tensor *query, const ak_tensor *gallery,
                               ak_retrieval_options options)
{
    ak_retrieval r = nothing();
    ak_retrieval_options o = options;
    if (!AK__TENSOR(NULL, query) || !AK__TENSOR(query->ctx, gallery) ||
        ak_error(query->ctx) != AK_OK || !check_shapes(query->ctx, query, gallery, &o))
        return r;
    retrieval_run run = { .ctx = query->ctx, .query_id = o.query_id, .gallery_id = o.gallery_id,
                          .leave_one_out = o.leave_one_out, .n = query->shape.dims[0],
                          .m = gallery->shape.dims[0], .d = query->shape.dims[1] };
    if (!ak__bootstrap_options(run.ctx, "retrieval", run.n, AK__MEASURE_RESAMPLES, &o.bootstrap) ||
        !ak__rows_finite(run.ctx, "retrieval: query", "row", query->data, run.n, run.d) ||
        !ak__rows_finite(run.ctx, "retrieval: gallery", "row", gallery->data, run.m, run.d))
        return r;
    if (reserve_rows(&run, query, gallery) && place_queries(&run) && reserve_threads(&run)) {
        const int64_t blocks = ak__chunk_count(run.n, BLOCK);
        AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1)
            search_block(&run, b * BLOCK, ak__min((b + 1) * BLOCK, run.n),
                         &run.room[ak__thread_id()]);
        if (!summarise(&run, &o, &r))
            r = nothing();
    }
    release(&run);
    return r;
}

ak_status ak_eval_retrieval_both(const ak_tensor *a, const ak_tensor *b,
                                 ak_retrieval_options options, ak_retrieval result[2])
{
    if (!AK__TENSOR(NULL, a) || !AK__TENSOR(a->ctx, b) || !AK__GIVEN(a->ctx, result))
        return ak__refused(a ? a->ctx : NULL);
    result[0] = result[1] = nothing();
    const ak_retrieval_each *e = &options.each;
    if (options.leave_one_out || e->r1 || e->r5 || e->r10 || e->mrr || e->map_r)
        return ak_fail(a->ctx, AK_ERR_VALUE, "retrieval, both directions: %s belongs to one "
                       "direction: call ak_eval_retrieval twice",
                       options.leave_one_out ? ".leave_one_out" : ".each");
    ak_retrieval_options back = options;
    back.query_id = options.gallery_id;
    back.gallery_id = options.query_id;
    result[0] = ak_eval_retrieval(a, b, options);
    result[1] = ak_eval_retrieval(b, a, back);
    if (ak_error(a->ctx) != AK_OK)
        result[0] = result[1] = nothing();
    return ak_error(a->ctx);
}
