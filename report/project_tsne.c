/* SPDX-License-Identifier: Apache-2.0 */
/* t-SNE: every pair counts, row by row. A row is one thread's, sums over rows are made in order:
 * the bits do not depend on the threads. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/parallel.h"
#include "report/project.h"

#define PERPLEXITY 30.0
#define ITERATIONS 750
#define EARLY 250               /* of them with attraction EXAGGERATION times as strong */
#define EXAGGERATION 12.0
#define LEAST_RATE 50.0         /* of the step; else N / EXAGGERATION / 4 */
#define START 1e-4              /* spread of the first coordinate before the first step */
#define MOST_PCA 50             /* directions that distances are made of */
#define LEAST_P 1e-12

typedef struct tsne {
    int64_t n;
    float  *p;                  /* [n, n] symmetric, sums to 1 */
    double *y, *speed, *gain;   /* [n, 2] */
    double *pull, *push;        /* [n, 2] sum_j p q (y_i - y_j), sum_j q^2 (y_i - y_j) */
    double *mass, *cost;        /* [n] sum_j q; sum_j p ln(p / q) */
} tsne;

/* Row i of P(j|i) from squared distances: the width by bisection. */
static void conditional(float *row, int64_t n, int64_t i, double perplexity)
{
    double beta = 1, lo = 0, hi = (double)INFINITY, nearest = (double)INFINITY, far = 0;
    for (int64_t j = 0; j < n; j++)
        if (j != i) {
            nearest = fmin(nearest, (double)row[j]);
            far = fmax(far, (double)row[j]);
        }
    if (far > nearest)          /* a scale to begin with; all equal: any width is right */
        beta = 1 / (far - nearest);
    double sum = 0;
    for (int tries = 0; tries < 100; tries++) {
        double weighted = 0;
        sum = 0;
        for (int64_t j = 0; j < n; j++) {
            const double distance = (double)row[j] - nearest;
            const double w = j == i ? 0 : exp(-beta * distance);
            sum += w;
            weighted += w * distance;
        }
        const double entropy = log(sum) + beta * weighted / sum, over = entropy - log(perplexity);
        if (fabs(over) < 1e-5 || !(far > nearest))
            break;
        if (over > 0)
            lo = beta;
        else
            hi = beta;
        beta = isinf(hi) ? 2 * beta : (lo + hi) / 2;
    }
    for (int64_t j = 0; j < n; j++)
        row[j] = j == i ? 0 : (float)(exp(-beta * ((double)row[j] - nearest)) / sum);
}

static void affinities(tsne *t, const double *x, int64_t d, double perplexity)
{
    const int64_t n = t->n;
    float        *p = t->p;
    AK__PARALLEL_FOR(i, n, n > 64) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t c = 0; c < d; c++)
                sum += (x[i * d + c] - x[j * d + c]) * (x[i * d + c] - x[j * d + c]);
            p[i * n + j] = (float)sum;
        }
        conditional(p + i * n, n, i, perplexity);
    }
    AK__PARALLEL_FOR_DYNAMIC(i, n, n > 64)
        for (int64_t j = 0; j < i; j++)
            p[i * n + j] = p[j * n + i] = (float)fmax(LEAST_P,
                ((double)p[i * n + j] + (double)p[j * n + i]) / (2 * (double)n));
}

/* Sums of row i; q without its normalisation. */
static void row_sums(tsne *t, int64_t i)
{
    const double *y = t->y, a = y[2 * i], b = y[2 * i + 1];
    const float  *p = t->p + i * t->n;
    double        mass = 0, pull[2] = { 0 }, push[2] = { 0 };
    for (int64_t j = 0; j < t->n; j++) {
        const double u = a - y[2 * j], v = b - y[2 * j + 1];
        const double q = 1 / (1 + u * u + v * v), pq = (double)p[j] * q;
        mass += q;
        pull[0] += pq * u;
        pull[1] += pq * v;
        push[0] += q * q * u;
        push[1] += q * q * v;
    }
    t->mass[i] = mass - 1;      /* without j = i */
    memcpy(t->pull + 2 * i, pull, sizeof pull);
    memcpy(t->push + 2 * i, push, sizeof push);
}

static double divergence(tsne *t, double mass)
{
    const double *y = t->y;
    AK__PARALLEL_FOR(i, t->n, t->n > 64) {
        double cost = 0;
        for (int64_t j = 0; j < t->n; j++) {
            const double u = y[2 * i] - y[2 * j], v = y[2 * i + 1] - y[2 * j + 1];
            const double p = (double)t->p[i * t->n + j];
            cost += j == i ? 0 : p * log(p * mass * (1 + u * u + v * v));
        }
        t->cost[i] = cost;
    }
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++)
        sum += t->cost[i];
    return sum;
}

static void one_step(tsne *t, int at, double rate, double *cost)
{
    const bool   early = at < EARLY;
    const double momentum = early ? 0.5 : 0.8;
    AK__PARALLEL_FOR(i, t->n, t->n > 64)
        row_sums(t, i);
    double mass = 0, middle[2] = { 0 };
    for (int64_t i = 0; i < t->n; i++)
        mass += t->mass[i];
    if (cost)
        *cost = divergence(t, mass);
    for (int64_t i = 0; i < 2 * t->n; i++) {
        const double slope = 4 * ((early ? EXAGGERATION : 1) * t->pull[i] - t->push[i] / mass);
        const bool   along = (slope > 0) != (t->speed[i] > 0);
        t->gain[i] = fmax(along ? t->gain[i] + 0.2 : t->gain[i] * 0.8, 0.01);
        t->speed[i] = momentum * t->speed[i] - rate * t->gain[i] * slope;
        t->y[i] += t->speed[i];
        middle[i % 2] += t->y[i] / (double)t->n;
    }
    for (int64_t i = 0; i < 2 * t->n; i++)
        t->y[i] -= middle[i % 2];
}

/* The first two directions, small. Rows that are all equal have none: a spiral, so that they can be
 * told apart at all. */
static void first_places(double *y, const double *x, int64_t n, int64_t d)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += x[i * d] * x[i * d] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double turn = 2.399963229728653 * (double)i;     /* the golden angle */
        const double jitter = 1e-3 * START * sqrt(((double)i + 0.5) / (double)n);
        const double scale = square > 0 ? START / sqrt(square) : 0;
        y[2 * i] = scale * x[i * d] + jitter * cos(turn);
        y[2 * i + 1] = (d > 1 ? scale * x[i * d + 1] : 0) + jitter * sin(turn);
    }
}

bool ak__tsne(ak_ctx *ctx, double *x, int64_t n, int64_t d, ak_tsne_options o, double *y)
{
    const double most = (double)(n - 1) / 3;
    const double perplexity = o.perplexity > 0 ? o.perplexity : fmin(PERPLEXITY, most);
    const int    steps = o.iterations > 0 ? o.iterations : ITERATIONS;
    if (o.perplexity < 0 || isnan(o.perplexity) || o.iterations < 0 ||
        (o.perplexity > 0 && (!(o.perplexity > 1) || o.perplexity > most))) {
        ak_fail(ctx, AK_ERR_VALUE, "tsne: .perplexity = %g must be above 1 and at most (N - 1) / 3 "
                "= %g, .iterations = %d at least 1", o.perplexity, most, o.iterations);
        return false;
    }
    int64_t k = n < d ? n : d;
    if (k > AK__PCA_MOST) {
        ak_fail(ctx, AK_ERR_VALUE, "tsne: rows of %lld numbers; min(N, D) is %d at most",
                (long long)d, AK__PCA_MOST);
        return false;
    }
    k = k < MOST_PCA ? k : MOST_PCA;
    const size_t pairs = (size_t)n * (size_t)n * sizeof(float);
    const size_t bytes = (size_t)n * (size_t)(k + 10) * sizeof(double);
    float       *p = ak__malloc(pairs);
    double      *room = ak__malloc(bytes);
    bool         good = p && room;
    if (!good)
        ak__fail_memory(ctx, pairs + bytes);
    good = good && ak__pca(ctx, x, n, d, (int)k, room, NULL);
    if (good) {
        double *next = room + n * k;
        tsne    t = { .n = n, .p = p, .y = y, .speed = next, .gain = next + 2 * n,
                      .pull = next + 4 * n, .push = next + 6 * n, .mass = next + 8 * n,
                      .cost = next + 9 * n };
        memset(p, 0, pairs);
        memset(t.speed, 0, 2 * (size_t)n * sizeof(double));
        for (int64_t i = 0; i < 2 * n; i++)
            t.gain[i] = 1;
        first_places(y, room, n, k);
        affinities(&t, room, k, fmax(perplexity, 1.0 + DBL_EPSILON));
        const double rate = fmax((double)n / EXAGGERATION / 4, LEAST_RATE);
        for (int at = 0; at < steps; at++)
            one_step(&t, at, rate, o.divergence ? o.divergence + at : NULL);
    }
    ak__free(room);
    ak__free(p);
    return good;
}
