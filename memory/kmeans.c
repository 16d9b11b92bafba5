/* SPDX-License-Identifier: Apache-2.0 */
/* k-means: where centroids begin, iterations over all rows or over drawn ones, the best of several
 * runs. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include <akin/memory.h>

#include "base/parallel.h"
#include "memory/kmeans.h"
#include "memory/rows.h"

#define DEFAULT_ITERATIONS 100
#define DEFAULT_TOLERANCE 1e-4
/* A repaired cluster takes rows from others, which may empty one in turn; where many rows are equal
 * that has no end. */
#define MOST_REPAIRS 10

/* What is drawn for. */
enum { DRAW_FIRST, DRAW_NEXT, DRAW_BATCH };

typedef struct fit {
    ak__kmeans m;
    ak_kmeans_options o;
    uint64_t stream;
    int32_t *old_label, *best_label;    /* [N] */
    ak_real *old_c, *best_c;            /* [K, D] */
    int32_t *drawn;                     /* [batch] rows */
    int64_t *seen;                      /* [K] rows that a centroid was made of (mini-batch) */
    double  *trace;                     /* [iterations] of the run; and [iterations] of the best */
} fit;

typedef struct run_result {
    double inertia;
    int    iterations, traced;
    bool   converged;
} run_result;

/* ---- the beginning: k-means++ ---------------------------------------------------------------- */

/* The row where the running sum of distances passes `target`: blocks first, then rows. */
static int64_t row_at(const ak__kmeans *m, double target)
{
    double sum = 0;
    int64_t last = 0;
    for (int64_t b = 0; b * AK__KMEANS_BLOCK < m->N; b++) {
        const int64_t begin = b * AK__KMEANS_BLOCK;
        if (sum + m->part[b] < target) {
            sum += m->part[b];
            continue;
        }
        for (int64_t i = begin; i < ak__min(m->N, begin + AK__KMEANS_BLOCK); i++) {
            if (!(m->distance[i] > 0))
                continue;
            sum += m->distance[i];
            last = i;
            if (sum >= target)
                return i;
        }
    }
    return last;        /* rounding carried the target past the end */
}

/* Each next centroid is a row, drawn in proportion to its squared distance from those before. */
static void seed_centroids(fit *f, int restart)
{
    ak__kmeans *m = &f->m;
    const uint64_t seed = ak_seed(m->ctx);
    const uint64_t any = ak__stream(f->stream, DRAW_FIRST, (uint64_t)restart, 0);
    const uint64_t far = ak__stream(f->stream, DRAW_NEXT, (uint64_t)restart, 0);
    for (int64_t i = 0; i < m->N; i++)
        m->distance[i] = (double)INFINITY;
    double sum = 0;
    for (int64_t j = 0; j < m->K; j++) {
        /* No distance is left where there are fewer different rows than centroids. */
        const int64_t row = sum > 0 ? row_at(m, ak_random_uniform(seed, far, (uint64_t)j) * sum)
                                    : (int64_t)ak_random_below(seed, any, (uint64_t)j,
                                                               (uint64_t)m->N);
        ak__kmeans_row(m, row, m->c + j * m->D);
        if (j + 1 < m->K)
            sum = ak__kmeans_nearer(m, j);
    }
}

/* ---- Lloyd ----------------------------------------------------------------------------------- */

static void keep_old(fit *f)
{
    memcpy(f->old_label, f->m.label, (size_t)f->m.N * sizeof *f->old_label);
    memcpy(f->old_c, f->m.c, (size_t)(f->m.K * f->m.D) * sizeof *f->old_c);
}

static void take_old(fit *f)
{
    memcpy(f->m.label, f->old_label, (size_t)f->m.N * sizeof *f->old_label);
    memcpy(f->m.c, f->old_c, (size_t)(f->m.K * f->m.D) * sizeof *f->old_c);
}

static run_result lloyd(fit *f)
{
    ak__kmeans *m = &f->m;
    run_result r = { 0 };
    for (int it = 0; it < f->o.iterations; it++) {
        ak__kmeans_assign(m, NULL, m->N);
        double inertia = ak__kmeans_count(m, m->N);
        if (ak__kmeans_repair(m))
            inertia = ak__kmeans_count(m, m->N);
        /* Where nothing is left to gain, rounding may add: the state before is the better one. */
        if (it > 0 && inertia > r.inertia) {
            take_old(f);
            r.converged = true;
            break;
        }
        const bool still = it > 0 && memcmp(m->label, f->old_label,
                                            (size_t)m->N * sizeof *m->label) == 0;
        const bool enough = it > 0 && r.inertia - inertia <= f->o.tolerance * r.inertia &&
                            f->o.tolerance > 0;
        r.inertia = inertia;
        r.iterations = r.traced = it + 1;
        f->trace[it] = inertia;
        if (still || enough || !(inertia > 0)) {
            r.converged = true;
            break;
        }
        if (it + 1 < f->o.iterations) {
            keep_old(f);
            ak__kmeans_update(m, NULL, m->N, NULL);
        }
    }
    return r;
}

/* ---- mini-batches ---------------------------------------------------------------------------- */

static run_result mini_batches(fit *f, int restart)
{
    ak__kmeans *m = &f->m;
    const uint64_t seed = ak_seed(m->ctx);
    const uint64_t stream = ak__stream(f->stream, DRAW_BATCH, (uint64_t)restart, 0);
    run_result r = { .iterations = f->o.iterations, .traced = 1 };
    memset(f->seen, 0, (size_t)m->K * sizeof *f->seen);
    for (int it = 0; it < f->o.iterations; it++) {
        for (int64_t i = 0; i < f->o.batch; i++)
            f->drawn[i] = (int32_t)ak_random_below(seed, stream,
                                                   (uint64_t)(it * f->o.batch + i),
                                                   (uint64_t)m->N);
        ak__kmeans_assign(m, f->drawn, f->o.batch);
        ak__kmeans_count(m, f->o.batch);
        ak__kmeans_update(m, f->drawn, f->o.batch, f->seen);
    }
    for (int i = 0; i < MOST_REPAIRS; i++) {
        ak__kmeans_assign(m, NULL, m->N);
        r.inertia = ak__kmeans_count(m, m->N);
        if (!ak__kmeans_repair(m))
            break;
        r.inertia = ak__kmeans_count(m, m->N);
    }
    f->trace[0] = r.inertia;
    return r;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool options_fit(ak_ctx *ctx, const char *who, const ak_kmeans_options *o)
{
    if (o->restarts < 0 || o->iterations < 0 || o->batch < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .restarts %d, .iterations %d, .batch %" PRId64 "; expected "
                "1 or more, or 0 for the default", who, o->restarts, o->iterations, o->batch);
        return false;
    }
    if (!((o->tolerance >= 0 && o->tolerance < 1) || o->tolerance == AK_NONE)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .tolerance is %g; expected [0, 1), or AK_NONE for 0", who,
                o->tolerance);
        return false;
    }
    return true;
}

static bool rows_fit(ak_ctx *ctx, const char *who, const char *what, const ak_tensor *x,
                     bool spherical)
{
    const int64_t n = ak_row_count(x), d = ak_last_dim(x);
    if (n > INT32_MAX || d < 1) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "%s: %ss are %s; expected less than 2^31 of them, of one number "
                "or more", who, what, ak_shape_text(x->shape, text));
        return false;
    }
    if (!ak__rows_finite(ctx, who, what, x->data, n, d))
        return false;
    for (int64_t i = 0; i < n && spherical; i++) {
        int64_t j = 0;
        while (j < d && x->data[i * d + j] == 0)
            j++;
        if (j == d) {
            ak_fail(ctx, AK_ERR_NUMBER, "%s: %s %" PRId64 " of %" PRId64 " is all zeros: it has no "
                    "direction", who, what, i, n);
            return false;
        }
    }
    return true;
}

/* Memory of the step that is given back: what was taken, in order. */
typedef struct borrowed {
    ak_ctx *ctx;
    bool    failed;
    int     n;
    struct { void *p; size_t bytes; } piece[20];
} borrowed;

static void *borrow(borrowed *b, int64_t n, size_t bytes)
{
    const size_t all = (size_t)ak__max(n, 1) * bytes;
    void *p = b->failed ? NULL : ak__step_alloc(b->ctx, all);
    b->failed = !p;
    if (p) {
        b->piece[b->n].p = p;
        b->piece[b->n++].bytes = all;
    }
    return p;
}

static void return_all(borrowed *b)
{
    while (b->n-- > 0)
        ak__step_give(b->ctx, b->piece[b->n].p, b->piece[b->n].bytes);
}

/* What assigning needs; `n` rows at a time. */
static void borrow_passes(ak__kmeans *m, borrowed *b)
{
    m->mean = borrow(b, m->D, sizeof *m->mean);
    m->label = borrow(b, m->N, sizeof *m->label);
    m->distance = borrow(b, m->N, sizeof *m->distance);
    m->c = borrow(b, m->K * m->D, sizeof *m->c);
    m->half = borrow(b, m->K, sizeof *m->half);
    m->scratch_bytes = ak__kmeans_scratch(m->D);
    m->scratch = borrow(b, ak__max_threads(), m->scratch_bytes);
}

static void borrow_fit(fit *f, borrowed *b)
{
    ak__kmeans *m = &f->m;
    borrow_passes(m, b);
    m->size = borrow(b, m->K, sizeof *m->size);
    m->first = borrow(b, m->K + 1, sizeof *m->first);
    m->order = borrow(b, m->N, sizeof *m->order);
    m->part = borrow(b, ak__chunk_count(m->N, AK__KMEANS_BLOCK), sizeof *m->part);
    f->old_label = borrow(b, m->N, sizeof *f->old_label);
    f->best_label = borrow(b, m->N, sizeof *f->best_label);
    f->old_c = borrow(b, m->K * m->D, sizeof *f->old_c);
    f->best_c = borrow(b, m->K * m->D, sizeof *f->best_c);
    f->drawn = borrow(b, f->o.batch, sizeof *f->drawn);
    f->seen = borrow(b, m->K, sizeof *f->seen);
}

static ak_kmeans_result kmeans_poison(void)
{
    return (ak_kmeans_result){ .centroids = &ak__poison, .labels = &ak__poison_index,
                               .sizes = &ak__poison_index, .inertia = (double)NAN };
}

/* Run after run; the best stays in best_label, best_c and best_trace. */
static run_result run_all(fit *f, double *best_trace)
{
    ak__kmeans *m = &f->m;
    run_result best = { .inertia = (double)INFINITY };
    for (int restart = 0; restart < f->o.restarts; restart++) {
        seed_centroids(f, restart);
        const run_result r = f->o.batch ? mini_batches(f, restart) : lloyd(f);
        if (restart && !(r.inertia < best.inertia))
            continue;
        best = r;
        memcpy(f->best_label, m->label, (size_t)m->N * sizeof *m->label);
        memcpy(f->best_c, m->c, (size_t)(m->K * m->D) * sizeof *m->c);
        memcpy(best_trace, f->trace, (size_t)r.traced * sizeof *best_trace);
    }
    memcpy(m->label, f->best_label, (size_t)m->N * sizeof *m->label);
    memcpy(m->c, f->best_c, (size_t)(m->K * m->D) * sizeof *m->c);
    return best;
}

ak_kmeans_result ak_kmeans(ak_tensor *rows, int64_t k, ak_kmeans_options o)
{
    if (!AK__TENSOR(NULL, rows))
        return kmeans_poison();
    ak_ctx *ctx = rows->ctx;
    char text[AK_SHAPE_TEXT];
    if (ak_error(ctx) != AK_OK || !options_fit(ctx, __func__, &o))
        return kmeans_poison();
    if (rows->shape.n != 2) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: rows are %s; expected [N, D]", __func__,
                ak_shape_text(rows->shape, text));
        return kmeans_poison();
    }
    fit f = { .m = { .ctx = ctx, .x = rows->data, .N = rows->shape.dims[0],
                     .D = rows->shape.dims[1], .K = k, .spherical = o.spherical }, .o = o };
    ak__kmeans *m = &f.m;
    if (k < 1 || k > m->N) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: k is %" PRId64 " for %" PRId64 " rows; expected 1 to as "
                "many clusters as there are rows", __func__, k, m->N);
        return kmeans_poison();
    }
    if (!rows_fit(ctx, __func__, "row", rows, o.spherical))
        return kmeans_poison();
    f.o.restarts = o.restarts ? o.restarts : 1;
    f.o.iterations = o.iterations ? o.iterations : DEFAULT_ITERATIONS;
    f.o.tolerance = o.tolerance == 0 ? DEFAULT_TOLERANCE : o.tolerance == AK_NONE ? 0 : o.tolerance;
    f.o.batch = o.batch < m->N ? o.batch : 0;

    ak_kmeans_result result = { .centroids = ak__tensor_new(ctx, AK_SHAPE(k, m->D)),
                                .labels = ak__index_new(ctx, AK_SHAPE(m->N)),
                                .sizes = ak__index_new(ctx, AK_SHAPE(k)) };
    double *trace = ak__step_alloc(ctx, 2 * (size_t)f.o.iterations * sizeof *trace);
    borrowed b = { .ctx = ctx };
    borrow_fit(&f, &b);
    if (ak_error(ctx) != AK_OK) {
        return_all(&b);
        return kmeans_poison();
    }
    f.trace = trace + f.o.iterations;
    f.stream = ak_next_stream(ctx);
    ak__kmeans_measure(m);
    const run_result best = run_all(&f, trace);
    ak__kmeans_count(m, m->N);
    memcpy(ak__index_data(result.labels), m->label, (size_t)m->N * sizeof *m->label);
    for (int64_t j = 0; j < k; j++) {
        ak__kmeans_centroid(m, j, result.centroids->data + j * m->D);
        ak__index_data(result.sizes)[j] = (int32_t)m->size[j];
    }
    const double unit = o.spherical ? 1 : 1 / m->s0 / m->s1;
    for (int i = 0; i < best.traced; i++)
        trace[i] *= unit * unit;
    result.inertia = trace[best.traced - 1];
    result.iterations = best.iterations;
    result.converged = best.converged;
    result.trace = trace;
    result.traced = best.traced;
    return_all(&b);
    return result;
}

/* ---- new rows -------------------------------------------------------------------------------- */

/* So much farther from the centroids than these are from one another, no row can be told what is
 * nearest to it: squares overflow, and differences vanish. */
#define FARTHEST 1e15

static bool rows_near(const ak__kmeans *m, const char *who)
{
    for (int64_t i = 0; i < m->N * m->D && !m->spherical; i++) {
        const double x = ((double)m->x[i] * m->s0 - m->mean[i % m->D]) * m->s1;
        if (fabs(x) <= FARTHEST)
            continue;
        ak_fail(m->ctx, AK_ERR_NUMBER, "%s: row %" PRId64 " of %" PRId64 " has %g, which is more "
                "than %g times as far from the centroids as they are from one another: the nearest "
                "can not be told", who, i / m->D, m->N, (double)m->x[i], FARTHEST);
        return false;
    }
    return true;
}

ak_index *ak_kmeans_assign(ak_tensor *rows, ak_tensor *centroids, bool spherical)
{
    if (!AK__TENSOR(NULL, rows) || !AK__TENSOR(rows->ctx, centroids))
        return &ak__poison_index;
    ak_ctx *ctx = rows->ctx;
    char text[AK_SHAPE_TEXT], shape[AK_SHAPE_TEXT];
    if (ak_error(ctx) != AK_OK)
        return &ak__poison_index;
    if (rows->shape.n < 1 || centroids->shape.n != 2 || centroids->shape.dims[0] < 1 ||
        ak_last_dim(rows) != centroids->shape.dims[1]) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: rows are %s, centroids %s; expected [.., D] and [K, D], K "
                "1 or more", __func__, ak_shape_text(rows->shape, text),
                ak_shape_text(centroids->shape, shape));
        return &ak__poison_index;
    }
    if (!rows_fit(ctx, __func__, "row", rows, spherical) ||
        !rows_fit(ctx, __func__, "centroid", centroids, spherical))
        return &ak__poison_index;
    ak__kmeans m = { .ctx = ctx, .N = ak_row_count(rows), .D = ak_last_dim(rows),
                     .K = centroids->shape.dims[0], .spherical = spherical };
    ak_shape labels = rows->shape;
    labels.dims[--labels.n] = 0;
    ak_index *result = ak__index_new(ctx, labels);
    borrowed b = { .ctx = ctx };
    borrow_passes(&m, &b);
    if (ak_error(ctx) == AK_OK) {
        /* About the mean of the centroids, in units of theirs. */
        ak__kmeans from = m;
        from.x = centroids->data;
        from.N = m.K;
        ak__kmeans_measure(&from);
        for (int64_t j = 0; j < m.K; j++)
            ak__kmeans_row(&from, j, m.c + j * m.D);
        m.s0 = from.s0;
        m.s1 = from.s1;
        m.x = rows->data;
        if (rows_near(&m, __func__)) {
            ak__kmeans_assign(&m, NULL, m.N);
            memcpy(ak__index_data(result), m.label, (size_t)m.N * sizeof *m.label);
        }
    }
    return_all(&b);
    return ak_error(ctx) == AK_OK ? result : &ak__poison_index;
}
