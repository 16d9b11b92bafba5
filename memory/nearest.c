/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of largest cosine: tiles of scores by matrix product, the best k of each row kept while
 * the tile is in cache. */
#include "memory/nearest.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/real.h"
#include "tensor/far_rows.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"

#define QUERY_BLOCK ((int64_t)64)   /* rows of x in a tile: one task of a thread */
#define ROW_BLOCK ((int64_t)512)    /* rows searched in a tile */

/* Lengths of rows whose products with unit rows neither overflow nor vanish, and may be divided by
 * afterwards; others are divided first. */
#define SHORTEST 1e-15
#define LONGEST 1e15

typedef struct candidate {
    ak_real score;
    int32_t place;
} candidate;

typedef struct search_run {
    const ak__search *s;
    const int32_t *ids;         /* [N] of the queries; NULL = none */
    int64_t  N, k;
    ak_real *x;                 /* [N, D] unit rows */
    ak_real *inverse;           /* [M] 1 / length of the rows; NULL = they are unit */
    bool     far;               /* some rows must be divided before the product */
    candidate *best;            /* [N, k] */
    int64_t  *found;            /* [N] of them, k or fewer */
    unsigned char *scratch;     /* a thread's, one behind the other */
    size_t   scratch_bytes;
} search_run;

/* Is a nearer than b? */
static bool nearer(candidate a, candidate b)
{
    return a.score > b.score || (a.score == b.score && a.place < b.place);
}

/* A heap whose first entry is the farthest: put c in the place of entry i, whose children stand. */
static void sift_down(candidate *heap, int64_t n, int64_t i, candidate c)
{
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && nearer(heap[child], heap[child + 1]))
            child++;
        if (!nearer(c, heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

static void sift_up(candidate *heap, int64_t i, candidate c)
{
    for (; i > 0 && nearer(heap[(i - 1) / 2], c); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

/* Nearest first. */
static void sort_heap(candidate *heap, int64_t n)
{
    for (int64_t last = n - 1; last > 0; last--) {
        const candidate c = heap[last];
        heap[last] = heap[0];
        sift_down(heap, last, 0, c);
    }
}

static int32_t id_of(const ak__search *s, int64_t place)
{
    return s->ids ? s->ids[place] : (int32_t)place;
}

/* Scores of a tile of one query: which of them are among the best? */
static void take_scores(const search_run *run, int64_t query, int64_t at, int64_t count,
                        const ak_real *score)
{
    const ak__search *s = run->s;
    const int32_t own = run->ids ? run->ids[query] : -1;
    candidate *heap = run->best + query * run->k;
    int64_t n = run->found[query];
    for (int64_t j = 0; j < count; j++) {
        ak_real cosine = score[j];
        if (run->inverse && !run->far)
            cosine *= run->inverse[at + j];
        const candidate c = { cosine, (int32_t)(at + j) };
        if (n == run->k && !nearer(c, heap[0]))
            continue;
        if ((s->present && !s->present[at + j]) || (own != -1 && id_of(s, at + j) == own))
            continue;
        if (n < run->k)
            sift_up(heap, n++, c);
        else
            sift_down(heap, n, 0, c);
    }
    run->found[query] = n;
}

static void search_block(const search_run *run, int64_t begin, int64_t end, ak_real *scores,
                         ak_real *units)
{
    const ak__search *s = run->s;
    const int64_t D = s->D;
    for (int64_t at = 0; at < s->M; at += ROW_BLOCK) {
        const int64_t count = ak__min(ROW_BLOCK, s->M - at);
        const ak_real *rows = s->rows + at * D;
        for (int64_t j = 0; j < count && run->far; j++)
            ak__far_unit(units + j * D, rows + j * D, D);
        ak__gemm(AK__NT, end - begin, count, D, 1, run->x + begin * D, D, run->far ? units : rows,
                 D, 0, scores, ROW_BLOCK, NULL);
        for (int64_t i = begin; i < end; i++)
            take_scores(run, i, at, count, scores + (i - begin) * ROW_BLOCK);
    }
    for (int64_t i = begin; i < end; i++)
        sort_heap(run->best + i * run->k, run->found[i]);
}

static void search_all(const search_run *run)
{
    const int64_t blocks = ak__chunk_count(run->N, QUERY_BLOCK);
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1) {
        unsigned char *own = run->scratch + (size_t)ak__thread_id() * run->scratch_bytes;
        ak_real *scores = (ak_real *)(void *)own;
        search_block(run, b * QUERY_BLOCK, ak__min(run->N, (b + 1) * QUERY_BLOCK), scores,
                     scores + QUERY_BLOCK * ROW_BLOCK);
    }
}

/* Lengths of the rows, and whether products with them as they are can be trusted. */
static void measure(search_run *run)
{
    const ak__search *s = run->s;
    ak_real *inverse = run->inverse;
    AK__PARALLEL_FOR(j, s->M, s->M * s->D > 65536) {
        const ak_real square = ak__k.sum_squares(s->rows + j * s->D, s->D);
        inverse[j] = (ak_real)(ak__squares_hold(square) ? 1 / sqrt((double)square)
                                                        : ak__far_inverse(s->rows + j * s->D,
                                                                          s->D));
    }
    for (int64_t j = 0; j < s->M && !run->far; j++)
        run->far = inverse[j] != 0 && !((double)inverse[j] >= 1 / LONGEST &&
                                        (double)inverse[j] <= 1 / SHORTEST);
}

ak_nearest ak__nearest_poison(void)
{
    return (ak_nearest){ &ak__poison, &ak__poison_index, &ak__poison };
}

/* ---- what is asked, what comes back ---------------------------------------------------------- */

static bool query_fits(ak__speaker me, const ak__search *s, const ak_tensor *x,
                       const ak_nearest_options *o)
{
    char text[AK_SHAPE_TEXT];
    const int64_t N = ak_row_count(x);
    if (x->shape.n < 1 || ak_last_dim(x) != s->D) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": x is %s; expected rows of %" PRId64 " numbers",
                me.who, me.name, ak_shape_text(x->shape, text), s->D);
        return false;
    }
    if (x->shape.n + (o->k != 0) > AK_MAX_DIMS) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": x is %s, and the result would have more than %d "
                "axes", me.who, me.name, ak_shape_text(x->shape, text), AK_MAX_DIMS);
        return false;
    }
    if (o->row_ids) {
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\" has ids of its own: .row_ids is for "
                "ak_nearest_rows", me.who, me.name);
        return false;
    }
    if (o->k < 0 || o->k > s->M || s->M == 0) {
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": k is %d and there are %" PRId64 " rows to "
                "choose from; expected 1 to that many, or 0 for one", me.who, me.name, o->k, s->M);
        return false;
    }
    if (!o->ids)
        return ak__rows_finite(me.ctx, me.who, "row of x", x->data, N, s->D);
    if (!ak__index_known(me.ctx, o->ids, me.who, ".ids"))
        return false;
    if (!s->own_ids) {
        ak_fail(me.ctx, AK_ERR_STATE, "%s: \"%s\": .ids where rows have none", me.who, me.name);
        return false;
    }
    if (o->ids->size != N) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": .ids %s for %" PRId64 " rows of x", me.who,
                me.name, ak_shape_text(o->ids->shape, text), N);
        return false;
    }
    return ak__numbers_fit(me, ".ids", o->ids, (int64_t)INT32_MAX + 1) &&
           ak__rows_finite(me.ctx, me.who, "row of x", x->data, N, s->D);
}

/* The shape of x without its last axis, then k (if asked for) and D (if with_rows). */
static ak_shape result_shape(const ak_tensor *x, int k, bool with_rows)
{
    ak_shape shape = x->shape;
    shape.dims[--shape.n] = 0;
    if (k)
        shape.dims[shape.n++] = k;
    if (with_rows)
        shape.dims[shape.n++] = ak_last_dim(x);
    return shape;
}

static bool reserve(ak__speaker me, search_run *run)
{
    const ak__search *s = run->s;
    const int64_t tile = QUERY_BLOCK * ROW_BLOCK + ROW_BLOCK * s->D;
    run->scratch_bytes = ak__round_up((size_t)tile * sizeof(ak_real));
    run->x = ak__step_alloc(me.ctx, (size_t)(run->N * s->D) * sizeof *run->x);
    run->best = ak__step_alloc(me.ctx, (size_t)(run->N * run->k) * sizeof *run->best);
    run->found = ak__step_alloc(me.ctx, (size_t)run->N * sizeof *run->found);
    run->inverse = s->unit ? NULL
                 : ak__step_alloc(me.ctx, (size_t)s->M * sizeof *run->inverse);
    run->scratch = ak__step_alloc(me.ctx, (size_t)ak__max_threads() * run->scratch_bytes);
    return run->x && run->best && run->found && (run->inverse || s->unit) && run->scratch;
}

static void give_back(ak__speaker me, search_run *run)
{
    const ak__search *s = run->s;
    ak__step_give(me.ctx, run->scratch, (size_t)ak__max_threads() * run->scratch_bytes);
    if (run->inverse)
        ak__step_give(me.ctx, run->inverse, (size_t)s->M * sizeof *run->inverse);
    ak__step_give(me.ctx, run->found, (size_t)run->N * sizeof *run->found);
    ak__step_give(me.ctx, run->best, (size_t)(run->N * run->k) * sizeof *run->best);
    ak__step_give(me.ctx, run->x, (size_t)(run->N * s->D) * sizeof *run->x);
}

static bool all_found(ak__speaker me, const search_run *run)
{
    for (int64_t i = 0; i < run->N; i++) {
        if (run->found[i] == run->k)
            continue;
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": row %" PRId64 " of x has only %" PRId64 " of %"
                PRId64 " rows to choose from%s, and k is %" PRId64, me.who, me.name, i,
                run->found[i], run->s->M, run->ids ? " without its own id" : "", run->k);
        return false;
    }
    return true;
}

ak_nearest ak__nearest(ak__speaker me, const ak__search *s, ak_tensor *x, ak_nearest_options o)
{
    if (!ak__tensor_check(me.ctx, x, me.who, "x") || ak_error(me.ctx) != AK_OK ||
        !query_fits(me, s, x, &o))
        return ak__nearest_poison();
    search_run run = { .s = s, .ids = o.ids ? o.ids->data : NULL, .N = ak_row_count(x),
                       .k = o.k ? o.k : 1 };
    const ak_nearest r = { ak__tensor_new(me.ctx, result_shape(x, o.k, true)),
                           ak__index_new(me.ctx, result_shape(x, o.k, false)),
                           ak__tensor_new(me.ctx, result_shape(x, o.k, false)) };
    if (ak_error(me.ctx) != AK_OK || !reserve(me, &run))
        return ak__nearest_poison();
    for (int64_t i = 0; i < run.N; i++) {
        ak__far_unit(run.x + i * s->D, x->data + i * s->D, s->D);
        run.found[i] = 0;
    }
    if (run.inverse)
        measure(&run);
    search_all(&run);
    const bool good = all_found(me, &run);
    for (int64_t i = 0; i < run.N * run.k && good; i++) {
        const candidate c = run.best[i];
        ak__index_data(r.places)[i] = c.place;
        r.cosines->data[i] = c.score;
        memcpy(r.rows->data + i * s->D, s->rows + c.place * s->D, (size_t)s->D * sizeof(ak_real));
    }
    give_back(me, &run);
    return good ? r : ak__nearest_poison();
}

ak_nearest ak_nearest_rows(ak_tensor *x, ak_tensor *rows, ak_nearest_options o)
{
    char text[AK_SHAPE_TEXT];
    if (!AK__TENSOR(NULL, x) || !AK__TENSOR(x->ctx, rows))
        return ak__nearest_poison();
    const ak__speaker me = { x->ctx, __func__, rows->name ? rows->name : "rows" };
    if (rows->shape.n != 2 || rows->shape.dims[0] > INT32_MAX) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: rows are %s; expected [M, D], M below 2^31", me.who,
                ak_shape_text(rows->shape, text));
        return ak__nearest_poison();
    }
    ak__search s = { .rows = rows->data, .M = rows->shape.dims[0], .D = rows->shape.dims[1] };
    if (o.row_ids) {
        if (!ak__index_known(me.ctx, o.row_ids, me.who, ".row_ids"))
            return ak__nearest_poison();
        if (o.row_ids->size != s.M) {
            ak_fail(me.ctx, AK_ERR_SHAPE, "%s: .row_ids %s for %" PRId64 " rows", me.who,
                    ak_shape_text(o.row_ids->shape, text), s.M);
            return ak__nearest_poison();
        }
        s.own_ids = true;
        s.ids = o.row_ids->data;
    }
    if (!o.ids != !o.row_ids) {
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: %s is missing (NULL): .ids and .row_ids go together",
                me.who, o.ids ? ".row_ids" : ".ids");
        return ak__nearest_poison();
    }
    if (!ak__rows_finite(me.ctx, me.who, "row", s.rows, s.M, s.D))
        return ak__nearest_poison();
    o.row_ids = NULL;
    return ak__nearest(me, &s, x, o);
}
