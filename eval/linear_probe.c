/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax regression on frozen features. The features are read where they are: each block of rows
 * is standardised into a buffer that stays in cache, goes through the scores and into the gradient.
 * (Folding mean and deviation into the weights would save the buffer, and lose the digits that a
 * feature with a large mean and a small deviation needs.) */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/classes.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/eval.h"
#include "eval/lbfgs.h"
#include "tensor/gemm.h"

#define ROWS 128            /* of a block that stays in cache */
#define MAX_CHUNKS 32       /* partial gradients, added in order */

typedef struct probe {
    const ak_features *train;
    int64_t  D, C, chunk, chunks;   /* rows of a chunk: depends on the number of rows alone */
    int32_t *class;                 /* [training, then test items]: labels without gaps, [0, C) */
    double   l2;
    double  *mean, *square;         /* [D] of the training items */
    ak_real *shift, *inverse;       /* [D] mean, 1 / deviation (0 for a constant feature) */
    ak_real *w;                     /* [C, D] */
    ak_real *bias;                  /* [C] */
    ak_real *block;                 /* [threads, ROWS, D] standardised rows */
    ak_real *partial;               /* [chunks, C, D] */
    double  *partial_sum;           /* [chunks, C + 1]: gradient of the bias, loss */
    ak_real *score;                 /* [chunks, ROWS, C] */
} probe;

static void probe_free(probe *p)
{
    ak__free(p->class);
    ak__free(p->mean);
    ak__free(p->shift);
    ak__free(p->w);
    ak__free(p->partial);
    ak__free(p->partial_sum);
    ak__free(p->score);
    ak__free(p->block);
}

static bool probe_alloc(probe *p)
{
    const size_t D = (size_t)p->D, C = (size_t)p->C, chunks = (size_t)p->chunks;
    p->mean = ak__malloc(2 * D * sizeof *p->mean);
    p->shift = ak__malloc(2 * D * sizeof *p->shift);
    p->w = ak__malloc((C * D + C) * sizeof *p->w);
    p->partial = ak__malloc(chunks * C * D * sizeof *p->partial);
    p->partial_sum = ak__malloc(chunks * (C + 1) * sizeof *p->partial_sum);
    p->score = ak__malloc(chunks * ROWS * C * sizeof *p->score);
    p->block = ak__malloc((size_t)ak__max_threads() * ROWS * D * sizeof *p->block);
    if (!p->block || !p->mean || !p->shift || !p->w || !p->partial || !p->partial_sum ||
        !p->score) {
        ak__fail_memory(p->train->ctx, chunks * C * D * sizeof *p->partial);
        return false;
    }
    p->square = p->mean + D;
    p->inverse = p->shift + D;
    p->bias = p->w + C * D;
    return true;
}

/* Mean and deviation of features [begin, end), in two passes over the rows. */
static void moments(probe *p, int64_t begin, int64_t end)
{
    const ak_features *f = p->train;
    double *mean = p->mean, *square = p->square;
    for (int64_t j = begin; j < end; j++)
        mean[j] = square[j] = 0;
    for (int64_t i = 0; i < f->n; i++)
        for (int64_t j = begin; j < end; j++)
            mean[j] += (double)f->x[i * p->D + j];
    for (int64_t j = begin; j < end; j++)
        mean[j] /= (double)f->n;
    for (int64_t i = 0; i < f->n; i++) {
        for (int64_t j = begin; j < end; j++) {
            const double c = (double)f->x[i * p->D + j] - mean[j];
            square[j] += c * c;
        }
    }
    for (int64_t j = begin; j < end; j++) {
        const double deviation = sqrt(square[j] / (double)f->n);
        const bool constant = deviation <= 1e-7 * fabs(mean[j]) || deviation == 0;
        p->shift[j] = (ak_real)mean[j];
        p->inverse[j] = constant ? 0 : (ak_real)(1 / (deviation + 1e-6));
    }
}

static void standardise(probe *p)
{
    AK__PARALLEL_CHUNKS(c, p->D, 64, begin, end)
        moments(p, begin, end);
}

/* Rows at .. at+rows-1 as z = (x - mean) inverse, in this thread's buffer. That the mean is rounded
 * shifts a feature by a constant, which the bias takes up. */
static const ak_real *standard_rows(const probe *p, const ak_features *f, int64_t at, int64_t rows)
{
    ak_real *block = p->block + (size_t)ak__thread_id() * ROWS * (size_t)p->D;
    for (int64_t i = 0; i < rows; i++) {
        const ak_real *x = f->x + (at + i) * p->D;
        ak_real *z = block + i * p->D;
        for (int64_t j = 0; j < p->D; j++)
            z[j] = (x[j] - p->shift[j]) * p->inverse[j];
    }
    return block;
}

/* theta [C, D+1], bias last. */
static void set_weights(probe *p, const double *theta)
{
    for (int64_t c = 0; c < p->C; c++) {
        for (int64_t j = 0; j < p->D; j++)
            p->w[c * p->D + j] = (ak_real)theta[c * (p->D + 1) + j];
        p->bias[c] = (ak_real)theta[c * (p->D + 1) + p->D];
    }
}

/* Scores -> softmax minus target, in place; returns the loss of the row. */
static double residual(ak_real *score, int64_t C, int32_t label)
{
    ak_real top = score[0];
    for (int64_t c = 1; c < C; c++)
        top = score[c] > top ? score[c] : top;
    double sum = 0;
    const double own = (double)(score[label] - top);
    for (int64_t c = 0; c < C; c++) {
        const double e = exp((double)(score[c] - top));
        score[c] = (ak_real)e;
        sum += e;
    }
    for (int64_t c = 0; c < C; c++)
        score[c] = (ak_real)((double)score[c] / sum);
    score[label] -= 1;
    return log(sum) - own;
}

/* Loss and gradient of one chunk of rows into its partial sums. */
static void chunk_gradient(probe *p, int64_t chunk)
{
    const ak_features *f = p->train;
    const int64_t D = p->D, C = p->C, begin = chunk * p->chunk;
    const int64_t end = begin + p->chunk < f->n ? begin + p->chunk : f->n;
    ak_real *g = p->partial + chunk * C * D, *score = p->score + chunk * ROWS * C;
    double  *sum = p->partial_sum + chunk * (C + 1);
    memset(sum, 0, (size_t)(C + 1) * sizeof *sum);
    for (int64_t at = begin; at < end; at += ROWS) {
        const int64_t rows = at + ROWS < end ? ROWS : end - at;
        const ak_real *x = standard_rows(p, f, at, rows);
        const ak__epilogue add_bias = { .bias = p->bias };
        ak__gemm(AK__NT, rows, C, D, 1, x, D, p->w, D, 0, score, C, &add_bias);
        for (int64_t i = 0; i < rows; i++) {
            ak_real *s = score + i * C;
            sum[C] += residual(s, C, p->class[at + i]);
            for (int64_t c = 0; c < C; c++)
                sum[c] += (double)s[c];
        }
        ak__gemm(AK__TN, C, D, rows, 1, score, C, x, D, at > begin, g, D, NULL);
    }
}

static double probe_objective(void *user, const double *theta, double *g)
{
    probe *p = user;
    const int64_t D = p->D, C = p->C, n = p->train->n;
    set_weights(p, theta);
    AK__PARALLEL_FOR(chunk, p->chunks, p->chunks > 1)
        chunk_gradient(p, chunk);
    double loss = 0, penalty = 0;
    for (int64_t k = 0; k < p->chunks; k++)
        loss += p->partial_sum[k * (C + 1) + C];
    for (int64_t c = 0; c < C; c++) {
        double *row = g + c * (D + 1), sum = 0;
        const double *t = theta + c * (D + 1);
        memset(row, 0, (size_t)D * sizeof *row);
        for (int64_t k = 0; k < p->chunks; k++) {
            const ak_real *part = p->partial + (k * C + c) * D;
            sum += p->partial_sum[k * (C + 1) + c];
            for (int64_t j = 0; j < D; j++)
                row[j] += (double)part[j];
        }
        for (int64_t j = 0; j < D; j++) {
            row[j] = row[j] / (double)n + 2 * p->l2 * t[j];
            penalty += t[j] * t[j];
        }
        row[D] = sum / (double)n + 2 * p->l2 * t[D];
        penalty += t[D] * t[D];
    }
    return loss / (double)n + p->l2 * penalty;
}

/* Flags of the test items; the first of equal scores wins. */
static void classify(probe *p, const ak_features *test, uint8_t *correct)
{
    const int64_t C = p->C;
    const ak__epilogue add_bias = { .bias = p->bias };
    for (int64_t at = 0; at < test->n; at += ROWS) {
        const int64_t rows = at + ROWS < test->n ? ROWS : test->n - at;
        ak__gemm(AK__NT, rows, C, p->D, 1, standard_rows(p, test, at, rows), p->D, p->w, p->D, 0,
                 p->score, C, &add_bias);
        for (int64_t i = 0; i < rows; i++) {
            int64_t best = 0;
            for (int64_t c = 1; c < C; c++)
                if (p->score[i * C + c] > p->score[i * C + best])
                    best = c;
            correct[at + i] = best == p->class[p->train->n + at + i];
        }
    }
}

static bool probe_run(probe *p, const ak_features *test, ak__lbfgs_options o, ak_eval_result *r)
{
    const size_t n = (size_t)p->C * (size_t)(p->D + 1);
    double  *theta = ak__malloc(n * sizeof *theta);
    uint8_t *correct = ak__malloc((size_t)test->n);
    ak__lbfgs_result found;
    bool good = theta && correct;
    if (good) {
        memset(theta, 0, n * sizeof *theta);
        standardise(p);
        good = ak__lbfgs(probe_objective, p, theta, (int64_t)n, o, &found);
    }
    if (good) {
        set_weights(p, theta);
        classify(p, test, correct);
        r->iterations = found.iterations;
        r->gradient_norm = found.gradient_norm;
        r->n_train = p->train->n;
        ak__format(r->protocol, sizeof r->protocol, "linear probe L-BFGS l2=%g, standardised, "
                   "%lld iterations to gradient %.1e%s, %lld/%lld, 95 %% Wilson, %.80s", p->l2,
                   (long long)found.iterations, found.gradient_norm,
                   found.converged ? "" : " (not converged)", (long long)p->train->n,
                 (long long)test->n, p->train->what);
        ak__eval_score(correct, test->n, r);
    } else {
        ak__fail_memory(test->ctx, n * sizeof *theta * (size_t)(5 + 2 * o.memory));
    }
    ak__free(correct);
    ak__free(theta);
    return good;
}

/* The labels that occur in both sets together, numbered without gaps: C and class. */
static bool number_classes(probe *p, const ak_features *test)
{
    const int64_t train = p->train->n, n = train + test->n;
    const size_t bytes = (size_t)n * sizeof *p->class;
    int32_t *value = ak__malloc(bytes);
    p->class = ak__malloc(bytes);
    if (value && p->class) {
        memcpy(p->class, p->train->label, (size_t)train * sizeof *p->class);
        memcpy(p->class + train, test->label, (size_t)test->n * sizeof *p->class);
        p->C = ak__distinct(p->class, n, value);
        for (int64_t i = 0; i < n; i++)
            p->class[i] = (int32_t)ak__place_of(value, p->C, p->class[i]);
    } else {
        ak__fail_memory(test->ctx, 2 * bytes);
    }
    ak__free(value);
    return value && p->class;
}

static bool probe_options(ak_ctx *ctx, ak_linear_probe_options *o)
{
    o->l2 = o->l2 == 0 ? 1e-4 : o->l2 == AK_NONE ? 0 : o->l2;
    o->max_iterations = o->max_iterations ? o->max_iterations : 300;
    o->gradient_norm = o->gradient_norm != 0 ? o->gradient_norm : 1e-3;
    o->memory = o->memory ? o->memory : 10;
    if (o->l2 >= 0 && isfinite(o->l2) && o->max_iterations >= 1 &&
        o->gradient_norm > 0 && isfinite(o->gradient_norm) && o->memory >= 1 && o->memory <= 100)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "linear probe: l2 %g, max_iterations %d, gradient_norm %g, memory "
            "%d; expected l2 >= 0, at least 1 iteration, a norm > 0, a memory of 1 to 100", o->l2,
            o->max_iterations, o->gradient_norm, o->memory);
    return false;
}

ak_eval_result ak_eval_linear_on(const ak_features *train, const ak_features *test,
                                 ak_linear_probe_options options)
{
    if (!AK__GIVEN(NULL, train) || !AK__GIVEN(train->ctx, test))
        return ak__eval_nothing();
    ak_eval_result r = ak__eval_nothing();
    ak_linear_probe_options o = options;
    if (!ak__eval_fit("linear probe", train, test) ||
        !ak__eval_no_features(train->ctx, "linear probe", o.features) ||
        !probe_options(train->ctx, &o))
        return r;
    probe p = { .train = train, .D = train->d, .l2 = o.l2 };
    const int64_t blocks = ak__chunk_count(train->n, ROWS);
    p.chunk = ROWS * ak__chunk_count(blocks, MAX_CHUNKS);
    p.chunks = ak__chunk_count(train->n, p.chunk);
    const ak__lbfgs_options how = { .memory = o.memory, .max_iterations = o.max_iterations,
                                    .gradient_norm = o.gradient_norm };
    if (!number_classes(&p, test) || !probe_alloc(&p) || !probe_run(&p, test, how, &r))
        r = ak__eval_nothing();
    probe_free(&p);
    return r;
}

double ak_eval_linear(ak_module *enc, ak_dataset *train, ak_dataset *test,
                      ak_linear_probe_options options)
{
    if (!AK__GIVEN(NULL, train) || !AK__GIVEN(ak_dataset_ctx(train), test))
        return (double)NAN;
    ak_features *a, *b;
    if (!ak__eval_features(enc, train, test, options.features, &a, &b))
        return (double)NAN;
    options.features = (ak_features_options){ 0 };
    const double accuracy = ak_eval_linear_on(a, b, options).accuracy;
    ak_features_close(b);
    ak_features_close(a);
    return accuracy;
}
