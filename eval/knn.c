/* SPDX-License-Identifier: Apache-2.0 */
/* k nearest neighbours: tiles of cosines by matrix product, the best k of each row kept while the
 * tile is in cache. Nothing of size test x train exists. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/parallel.h"
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
    const ak_real *train_inverse;   /* [train->n] 1 / norm */
    const ak_real *test_inverse;    /* [test->n] */
    neighbour     *best;            /* [test->n, k] nearest first */
    ak_real       *tiles;           /* [threads, TEST_BLOCK, TRAIN_BLOCK] */
    int            k;
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
    const ak_features *train = run->train;
    const int64_t d = train->d;
    const int k = run->k;
    int held = 0;
    for (int64_t at = 0; at < train->n; at += TRAIN_BLOCK) {
        const int64_t count = at + TRAIN_BLOCK < train->n ? TRAIN_BLOCK : train->n - at;
        ak__gemm(AK__NT, end - begin, count, d, 1, run->test->x + begin * d, d, train->x + at * d,
                 d, 0, tile, TRAIN_BLOCK, NULL);
        int now = held;
        for (int64_t i = begin; i < end; i++) {
            neighbour *best = run->best + i * k;
            const ak_real *score = tile + (i - begin) * TRAIN_BLOCK;
            const ak_real inverse = run->test_inverse[i];
            now = held;
            for (int64_t j = 0; j < count; j++) {
                const ak_real s = score[j] * run->train_inverse[at + j] * inverse;
                if (now < k || s > best[k - 1].score)
                    now = insert_neighbour(best, now, k, s, (int32_t)(at + j));
            }
        }
        held = now;         /* every row has seen equally many */
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
    const int32_t *label = run->train->label;
    memset(votes, 0, (size_t)run->train->classes * sizeof *votes);
    for (int j = 0; j < k; j++)     /* shifted by the best, so that no T overflows */
        votes[label[best[j].item]] +=
            o->plain ? 1 : exp(((double)best[j].score - (double)best[0].score) / o->temperature);
    int32_t winner = label[best[0].item];
    for (int j = 1; j < k; j++)
        if (votes[label[best[j].item]] > votes[winner])
            winner = label[best[j].item];
    return winner;
}

static bool score_k(const knn_run *run, int k, const ak_knn_options *o, uint8_t *correct,
                    double *votes, ak_eval_result *r)
{
    const ak_features *train = run->train, *test = run->test;
    for (int64_t i = 0; i < test->n; i++)
        correct[i] = vote(run, run->best + i * run->k, k, o, votes) == test->label[i];
    *r = ak__eval_nothing();
    r->n_train = train->n;
    char how[40] = "plain vote";
    if (!o->plain)
        snprintf(how, sizeof how, "weighted T=%g", o->temperature);
    snprintf(r->protocol, sizeof r->protocol, "kNN k=%d cosine %s, %lld/%lld, %.100s", k, how,
             (long long)train->n, (long long)test->n, train->what);
    return ak__eval_score(train->ctx, correct, test->n, r);
}

static bool check_options(const ak_features *train, const ak_knn_options *o, const int *ks, int n)
{
    if (!(o->temperature > 0) || !isfinite(o->temperature)) {
        ak_fail(train->ctx, AK_ERR_VALUE, "knn: temperature %g; expected a number above 0",
                o->temperature);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (ks[i] < 1 || ks[i] > train->n) {
            ak_fail(train->ctx, AK_ERR_VALUE, "knn: k %d with %lld training items; expected 1 to "
                    "%lld", ks[i], (long long)train->n, (long long)train->n);
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
        (size_t)run->train->classes * sizeof(double);
    uint8_t *correct = ak__malloc(bytes);
    double  *votes = ak__malloc(vote_bytes);
    bool good = correct && votes;
    if (!good)
        ak__fail_memory(ctx, bytes + vote_bytes);
    for (int i = 0; i < n && good; i++)
        good = score_k(run, ks[i], o, correct, votes, &result[i]);
    ak__free(votes);
    ak__free(correct);
    return good;
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
    if (!ak__eval_fit("knn", train, test) || !check_options(train, &o, ks, n))
        return train ? ak_error(train->ctx) : AK_ERR_STATE;

    knn_run run = { .train = train, .test = test };
    for (int i = 0; i < n; i++)
        run.k = ks[i] > run.k ? ks[i] : run.k;
    const size_t reals = (size_t)(train->n + test->n) * sizeof(ak_real);
    const size_t bests = (size_t)test->n * (size_t)run.k * sizeof(neighbour);
    const size_t tiles = (size_t)ak__max_threads() * TEST_BLOCK * TRAIN_BLOCK * sizeof(ak_real);
    ak_real *inverse = ak__malloc(reals);
    run.best = ak__malloc(bests);
    run.tiles = ak__malloc(tiles);
    if (inverse && run.best && run.tiles) {
        ak__inverse_norms(train->x, train->n, train->d, inverse);
        ak__inverse_norms(test->x, test->n, test->d, inverse + train->n);
        run.train_inverse = inverse;
        run.test_inverse = inverse + train->n;
        search(&run);
        if (!score_list(&run, &o, ks, n, result))
            for (int i = 0; i < n; i++)
                result[i] = ak__eval_nothing();
    } else {
        ak__fail_memory(train->ctx, reals + bests + tiles);
    }
    ak__free(run.tiles);
    ak__free(run.best);
    ak__free(inverse);
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
    if (!ak__eval_features(enc, train, test, &a, &b))
        return (double)NAN;
    const double accuracy = ak_eval_knn_on(a, b, options).accuracy;
    ak_features_close(b);
    ak_features_close(a);
    return accuracy;
}
