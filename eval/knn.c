/* SPDX-License-Identifier: Apache-2.0 */
/* k nearest neighbours: tiles of cosines by matrix product, the best k of each row kept while the
 * tile is in cache. Nothing of size test x train exists. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/classes.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/eval.h"
#include "tensor/gemm.h"

#define DEFAULT_K 20
#define DEFAULT_TEMPERATURE 0.1
#define TEST_BLOCK 128          /* rows of a tile: one task of a thread */
#define TRAIN_BLOCK 2048        /* columns of a tile */

typedef struct neighbour {
    ak_real score;              /* cosine */
    int32_t item;               /* of the training set */
} neighbour;

typedef struct knn_run {
    const ak_features *train, *test;
    ak__cosine_rows_of train_rows, test_rows;
    int32_t       *train_class;     /* [train->n] labels numbered without gaps */
    int64_t        classes;         /* of the training items */
    neighbour     *best;            /* [test->n, k] nearest first */
    ak_real       *tiles;           /* [threads, TEST_BLOCK, TRAIN_BLOCK] */
    int            k;
    bool           leave_one_out;   /* test item i is training item i */
} knn_run;

/* Put a neighbour into the ordered list of the best; `held` of them are there. Later items never
 * go before equal ones, so the lower index is the nearer. */
static int insert_neighbour(neighbour *best, int held, int k, ak_real score, int32_t item)
{
    int place = held < k ? held : k - 1;
    while (place > 0 && best[place - 1].score < score) {
        best[place] = best[place - 1];
        place--;
    }
    best[place] = (neighbour){ score, item };
    return held < k ? held + 1 : k;
}

/* The best of test rows [begin, end), in one thread. */
static void search_rows(const knn_run *run, int64_t begin, int64_t end, ak_real *tile)
{
    const int64_t d = run->train->d, n = run->train->n;
    const ak_real *train = run->train_rows.x, *test = run->test_rows.x;
    const int k = run->k;
    for (int64_t at = 0; at < n; at += TRAIN_BLOCK) {
        const int64_t count = at + TRAIN_BLOCK < n ? TRAIN_BLOCK : n - at;
        ak__gemm(AK__NT, end - begin, count, d, 1, test + begin * d, d, train + at * d, d, 0, tile,
                 TRAIN_BLOCK, NULL);
        for (int64_t i = begin; i < end; i++) {
            neighbour *best = run->best + i * k;
            const ak_real *score = tile + (i - begin) * TRAIN_BLOCK;
            const ak_real inverse = run->test_rows.inverse[i];
            const int64_t self = run->leave_one_out ? i - at : -1;
            const int64_t seen = run->leave_one_out && i < at ? at - 1 : at;
            int now = seen < k ? (int)seen : k;
            for (int64_t j = 0; j < count; j++) {
                const ak_real s = score[j] * run->train_rows.inverse[at + j] * inverse;
                if ((now < k || s > best[k - 1].score) && j != self)
                    now = insert_neighbour(best, now, k, s, (int32_t)(at + j));
            }
        }
    }
}

static void search(const knn_run *run)
{
    const int64_t blocks = ak__chunk_count(run->test->n, TEST_BLOCK);
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1) {
        const int64_t begin = b * TEST_BLOCK;
        const int64_t end = begin + TEST_BLOCK < run->test->n ? begin + TEST_BLOCK : run->test->n;
        const size_t own = (size_t)ak__thread_id() * TEST_BLOCK * TRAIN_BLOCK;
        search_rows(run, begin, end, run->tiles + own);
    }
}

/* The class with the largest vote of the k nearest; equal votes: the one met first. */
static int32_t vote(const knn_run *run, const neighbour *best, int k, const ak_knn_options *o,
                    double *votes)
{
    const int32_t *class = run->train_class;
    for (int j = 0; j < k; j++)
        votes[class[best[j].item]] = 0;
    for (int j = 0; j < k; j++)     /* shifted by the best, so that no T overflows */
        votes[class[best[j].item]] +=
            o->plain ? 1 : exp(((double)best[j].score - (double)best[0].score) / o->temperature);
    int winner = 0;
    for (int j = 1; j < k; j++)
        if (votes[class[best[j].item]] > votes[class[best[winner].item]])
            winner = j;
    return run->train->label[best[winner].item];
}

/* Equal rows and labels, one by one. */
static bool same_items(const ak_features *a, const ak_features *b)
{
    const size_t numbers = (size_t)(a->n * a->d), n = (size_t)a->n;
    return a == b || (a->n == b->n && memcmp(a->label, b->label, n * sizeof *a->label) == 0 &&
                      memcmp(a->x, b->x, numbers * sizeof *a->x) == 0);
}

static void score_k(const knn_run *run, int k, const ak_knn_options *o, uint8_t *correct,
                    double *votes, ak_eval_result *r)
{
    const ak_features *train = run->train, *test = run->test;
    for (int64_t i = 0; i < test->n; i++)
        correct[i] = vote(run, run->best + i * run->k, k, o, votes) == test->label[i];
    *r = ak__eval_nothing();
    r->n_train = train->n;
    char how[40] = "plain vote";
    if (!o->plain)
        ak__format(how, sizeof how, "weighted T=%g", o->temperature);
    const char *self = run->leave_one_out ? ", leave one out"
                     : same_items(train, test) ? ", test items are training items" : "";
    ak__format(r->protocol, sizeof r->protocol, "kNN k=%d cosine %s%s, %lld/%lld, 95 %% Wilson, "
               "%.90s", k, how, self, (long long)train->n, (long long)test->n, train->what);
    ak__eval_score(correct, test->n, r);
}

static bool check_options(const ak_features *train, const ak_features *test,
                          const ak_knn_options *o, const int *ks, int n)
{
    const int64_t most = train->n - (o->leave_one_out ? 1 : 0);
    if (o->leave_one_out && !same_items(train, test)) {
        ak_fail(train->ctx, AK_ERR_VALUE, "knn: leave_one_out with %lld training and %lld test "
                "items that are not the same; expected one set twice", (long long)train->n,
                (long long)test->n);
        return false;
    }
    if (!(o->temperature > 0) || !isfinite(o->temperature)) {
        ak_fail(train->ctx, AK_ERR_VALUE, "knn: temperature %g; expected a number above 0",
                o->temperature);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (ks[i] < 1 || ks[i] > most) {
            ak_fail(train->ctx, AK_ERR_VALUE, "knn: k %d with %lld training items%s; expected 1 to "
                    "%lld", ks[i], (long long)train->n,
                    o->leave_one_out ? ", one of them left out" : "", (long long)most);
            return false;
        }
    }
    return n > 0;
}

static bool score_list(const knn_run *run, const ak_knn_options *o, const int *ks, int n,
                       ak_eval_result *result)
{
    ak_ctx *ctx = run->train->ctx;
    const size_t bytes = (size_t)run->test->n, vote_bytes =
        (size_t)run->classes * sizeof(double);
    uint8_t *correct = ak__malloc(bytes);
    double  *votes = ak__malloc(vote_bytes);
    const bool good = correct && votes;
    if (!good)
        ak__fail_memory(ctx, bytes + vote_bytes);
    for (int i = 0; i < n && good; i++)
        score_k(run, ks[i], o, correct, votes, &result[i]);
    ak__free(votes);
    ak__free(correct);
    return good;
}

/* Memory of a run and the rows of both sets. False: an error is recorded. */
static bool reserve(knn_run *run)
{
    const ak_features *train = run->train, *test = run->test;
    const size_t bests = (size_t)test->n * (size_t)run->k * sizeof(neighbour);
    const size_t tiles = (size_t)ak__max_threads() * TEST_BLOCK * TRAIN_BLOCK * sizeof(ak_real);
    const size_t numbers = (size_t)train->n * sizeof *run->train_class;
    run->best = ak__malloc(bests);
    run->tiles = ak__malloc(tiles);
    run->train_class = ak__malloc(2 * numbers);     /* the second half: to sort in */
    if (!run->best || !run->tiles || !run->train_class) {
        ak__fail_memory(train->ctx, bests + tiles + 2 * numbers);
        return false;
    }
    return ak__cosine_rows(train->ctx, train->x, train->n, train->d, &run->train_rows) &&
           ak__cosine_rows(train->ctx, test->x, test->n, test->d, &run->test_rows);
}

static void release(knn_run *run)
{
    ak__cosine_rows_free(&run->test_rows);
    ak__cosine_rows_free(&run->train_rows);
    ak__free(run->train_class);
    ak__free(run->tiles);
    ak__free(run->best);
}

static void number_classes(knn_run *run)
{
    const ak_features *train = run->train;
    int32_t *value = run->train_class + train->n;
    run->classes = ak__distinct(train->label, train->n, value);
    for (int64_t i = 0; i < train->n; i++)
        run->train_class[i] = (int32_t)ak__place_of(value, run->classes, train->label[i]);
}

ak_status ak_eval_knn_list(const ak_features *train, const ak_features *test,
                           ak_knn_options options, const int *ks, int n, ak_eval_result *result)
{
    if (!AK__GIVEN(NULL, train) || !AK__GIVEN(train->ctx, test) || !AK__GIVEN(train->ctx, ks) ||
        !AK__GIVEN(train->ctx, result))
        return ak__refused(NULL);
    for (int i = 0; i < n; i++)
        result[i] = ak__eval_nothing();
    ak_knn_options o = options;
    o.temperature = o.temperature != 0 ? o.temperature : DEFAULT_TEMPERATURE;
    if (!ak__eval_fit("knn", train, test) ||
        !ak__eval_no_features(train->ctx, "knn", o.features) ||
        !check_options(train, test, &o, ks, n))
        return train ? ak_error(train->ctx) : AK_ERR_STATE;

    knn_run run = { .train = train, .test = test, .leave_one_out = o.leave_one_out };
    for (int i = 0; i < n; i++)
        run.k = ks[i] > run.k ? ks[i] : run.k;
    if (reserve(&run)) {
        number_classes(&run);
        search(&run);
        if (!score_list(&run, &o, ks, n, result))
            for (int i = 0; i < n; i++)
                result[i] = ak__eval_nothing();
    }
    release(&run);
    return ak_error(train->ctx);
}

ak_eval_result ak_eval_knn_on(const ak_features *train, const ak_features *test,
                              ak_knn_options options)
{
    if (!AK__GIVEN(NULL, train) || !AK__GIVEN(train->ctx, test))
        return ak__eval_nothing();
    const int k = options.k ? options.k : DEFAULT_K;
    ak_eval_result r;
    ak_eval_knn_list(train, test, options, &k, 1, &r);
    return r;
}

double ak_eval_knn(ak_module *enc, ak_dataset *train, ak_dataset *test, ak_knn_options options)
{
    if (!AK__GIVEN(NULL, train) || !AK__GIVEN(ak_dataset_ctx(train), test))
        return (double)NAN;
    ak_features *a, *b;
    if (!ak__eval_features(enc, train, test, options.features, &a, &b))
        return (double)NAN;
    options.features = (ak_features_options){ 0 };
    const double accuracy = ak_eval_knn_on(a, b, options).accuracy;
    ak_features_close(b);
    ak_features_close(a);
    return accuracy;
}
