/* SPDX-License-Identifier: Apache-2.0 */
/* Sinkhorn-Knopp in logarithms: f and g are found by turns. The matrix of s / eps is never made: a
 * pass reads the scores and works row by row, in double, since s / eps of a small eps has digits
 * that no float holds. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <akin/memory.h>

#include "base/parallel.h"
#include "memory/sinkhorn.h"
#include "tensor/kernels/kernels.h"

#define DEFAULT_EPS 0.05
#define DEFAULT_ITERATIONS 3
#define MOST_ITERATIONS 10000
#define LEAST_TOLERANCE 1e-12
#define LARGEST_RATIO 1e9       /* of a score to eps: beyond it, sums lose a code's sixth digit */

#define LEAST_CHUNK ((int64_t)64)   /* rows of a task, in at most MOST_CHUNKS of them */
#define MOST_CHUNKS ((int64_t)64)
#define ROW_CHUNK ((int64_t)16)

typedef ak__sinkhorn plan;

static double *terms_of(const plan *p)
{
    return (double *)(void *)(p->scratch + (size_t)ak__thread_id() * p->scratch_bytes);
}

/* x = e^x of n numbers <= 0. */
static void exponentials(const plan *p, double *x, int64_t n)
{
    if (p->exact) {
        for (int64_t j = 0; j < n; j++)
            x[j] = exp(x[j]);
        return;
    }
    ak_real *y = (ak_real *)(void *)((unsigned char *)x + ak__round_up((size_t)n * sizeof *x));
    for (int64_t j = 0; j < n; j++)
        y[j] = (ak_real)x[j];
    ak__k.exp(y, y, n);
    for (int64_t j = 0; j < n; j++)
        x[j] = (double)y[j];
}

/* ---- columns --------------------------------------------------------------------------------- */

/* Largest term and sum of one chunk of rows, for every column. A row of weight 0 has no term. */
static void columns_of_chunk(const plan *p, int64_t chunk)
{
    const int64_t begin = chunk * p->chunk, end = ak__min(p->N, begin + p->chunk), K = p->K;
    double *top = p->top + chunk * K, *sum = p->sum + chunk * K, *term = terms_of(p);
    for (int64_t j = 0; j < K; j++) {
        top[j] = -(double)INFINITY;
        sum[j] = 0;
    }
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < K; j++) {
            const double t = (double)p->scores[i * K + j] * p->inverse_eps + p->f[i];
            top[j] = t > top[j] ? t : top[j];
        }
    for (int64_t i = begin; i < end; i++) {
        if (isinf(p->f[i]))
            continue;
        for (int64_t j = 0; j < K; j++)
            term[j] = (double)p->scores[i * K + j] * p->inverse_eps + p->f[i] - top[j];
        exponentials(p, term, K);
        for (int64_t j = 0; j < K; j++)
            sum[j] += term[j];
    }
}

void ak__sinkhorn_columns(ak__sinkhorn *p)
{
    const int64_t chunks = p->chunks, K = p->K;
    AK__PARALLEL_FOR(c, chunks, chunks > 1 && p->N * K > 4096)
        columns_of_chunk(p, c);
    for (int64_t j = 0; j < K; j++) {
        double top = -(double)INFINITY, sum = 0;
        for (int64_t c = 0; c < chunks; c++)
            top = fmax(top, p->top[c * K + j]);
        for (int64_t c = 0; c < chunks; c++)
            sum += p->sum[c * K + j] * exp(p->top[c * K + j] - top);
        p->lse[j] = top + log(sum);
    }
}

/* How far the columns' sums are from what they should be, now that lse is known. */
static double column_error(const plan *p)
{
    double error = 0;
    for (int64_t j = 0; j < p->K; j++)
        if (!isinf(p->log_c[j]))
            error = fmax(error, fabs(expm1(p->lse[j] + p->g[j] - p->log_c[j])));
    return error;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void ak__sinkhorn_row(ak__sinkhorn *p, int64_t i, ak_real *code, double *all, double *square)
{
    const int64_t K = p->K;
    double *term = terms_of(p), top = -(double)INFINITY, sum = 0;
    for (int64_t j = 0; j < K; j++) {
        term[j] = (double)p->scores[i * K + j] * p->inverse_eps + p->g[j];
        top = term[j] > top ? term[j] : top;
    }
    for (int64_t j = 0; j < K; j++)
        term[j] -= top;
    exponentials(p, term, K);
    for (int64_t j = 0; j < K; j++)
        sum += term[j];
    p->f[i] = p->log_r[i] - (top + log(sum));
    for (int64_t j = 0; j < K && code; j++)
        code[j] = (ak_real)(term[j] / sum);
    const double r = all && !isinf(p->log_r[i]) ? exp(p->log_r[i]) : 0;
    for (int64_t j = 0; j < K && all; j++) {
        const double part = term[j] / sum;
        all[j] += r * part;
        square[j] += r * part * part;
    }
}

static void rows(plan *p, ak_real *codes)
{
    AK__PARALLEL_CHUNKS(c, p->N, ROW_CHUNK, begin, end)
        for (int64_t i = begin; i < end; i++)
            ak__sinkhorn_row(p, i, codes ? codes + i * p->K : NULL, NULL, NULL);
}

/* ---- iterations ------------------------------------------------------------------------------ */

static void iterate(plan *p, ak_real *codes, int iterations)
{
    for (int it = 0; it < iterations; it++) {
        ak__sinkhorn_columns(p);
        for (int64_t j = 0; j < p->K; j++)
            p->g[j] = p->log_c[j] - p->lse[j];
        rows(p, it + 1 < iterations ? NULL : codes);
    }
}

/* ---- what is asked --------------------------------------------------------------------------- */

static bool options_fit(ak_ctx *ctx, const char *who, const ak_sinkhorn_options *o)
{
    if (!(o->eps >= 0) || isinf(o->eps) || o->iterations < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .eps is %g, .iterations %d; expected a finite number above "
                "0 and 1 or more, or 0 for the default", who, o->eps, o->iterations);
        return false;
    }
    if (o->tolerance != 0 && !(o->tolerance >= LEAST_TOLERANCE && o->tolerance < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .tolerance is %g; expected [%g, 1), or 0 for a fixed "
                "number of iterations", who, o->tolerance, LEAST_TOLERANCE);
        return false;
    }
    return true;
}

/* Logarithms of n weights, divided by their sum. w NULL: equal ones. */
static bool take_weights(ak_ctx *ctx, const char *who, const char *what, const ak_tensor *w,
                         int64_t n, double *out)
{
    char text[AK_SHAPE_TEXT];
    if (!w) {
        for (int64_t i = 0; i < n; i++)
            out[i] = -log((double)n);
        return true;
    }
    if (!ak__tensor_check(ctx, w, who, what))
        return false;
    if (w->size != n) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: %s %s; expected %" PRId64 " numbers", who, what,
                ak_shape_text(w->shape, text), n);
        return false;
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(w->data[i] >= 0) || isinf(w->data[i])) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: %s: item %" PRId64 " is %g; expected a finite number "
                    "from 0 on", who, what, i, (double)w->data[i]);
            return false;
        }
        sum += (double)w->data[i] / (double)n;      /* no sum of doubles overflows */
    }
    if (!(sum > 0)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %s are all 0", who, what);
        return false;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = log((double)w->data[i] / (double)n / sum);
    return true;
}

/* Is there an eps that doubles can work with? */
static bool eps_fits(ak_ctx *ctx, const char *who, const ak_tensor *scores, double eps)
{
    double top = 0;
    for (int64_t i = 0; i < scores->size; i++)
        top = fmax(top, fabs((double)scores->data[i]));
    if (top / eps <= LARGEST_RATIO)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: .eps is %g and the largest score %g; expected at most %g times "
            "eps, beyond which sums of doubles do not hold the codes", who, eps, top,
            LARGEST_RATIO);
    return false;
}

/* Doubles of a plan: f, log_r; g, log_c, lse; top, sum. */
static size_t plan_bytes(const plan *p)
{
    return (size_t)(2 * p->N + 3 * p->K + 2 * p->chunks * p->K) * sizeof(double);
}

static void place(plan *p, double *at)
{
    p->f = at;
    p->log_r = p->f + p->N;
    p->g = p->log_r + p->N;
    p->log_c = p->g + p->K;
    p->lse = p->log_c + p->K;
    p->top = p->lse + p->K;
    p->sum = p->top + p->chunks * p->K;
}

/* The codes; poison after an error. */
static ak_tensor *run(plan *p, const char *who, const ak_tensor *scores,
                      const ak_sinkhorn_options *o)
{
    ak_ctx *ctx = p->ctx;
    const bool until = o->tolerance > 0;
    const int most = o->iterations ? o->iterations : until ? MOST_ITERATIONS : DEFAULT_ITERATIONS;
    ak_sinkhorn_report r = { .iterations = most };
    if (!take_weights(ctx, who, ".row_weights", o->row_weights, p->N, p->log_r) ||
        !take_weights(ctx, who, ".column_weights", o->column_weights, p->K, p->log_c))
        return &ak__poison;
    ak_tensor *codes = ak__tensor_new(ctx, scores->shape);
    if (codes == &ak__poison)
        return codes;
    memcpy(p->f, p->log_r, (size_t)p->N * sizeof *p->f);
    if (!until)
        iterate(p, codes->data, most);
    else if (!ak__sinkhorn_until(p, codes->data, o->tolerance, most, &r.iterations, &r.error))
        return &ak__poison;
    if (o->report && !until) {
        ak__sinkhorn_columns(p);
        r.error = column_error(p);
    }
    if (o->report)
        *o->report = r;
    if (r.error <= o->tolerance || !until)
        return codes;
    ak_fail(ctx, AK_ERR_NUMBER, "%s: after %d iterations a column's sum is still wrong by %g of "
            "it, and .tolerance is %g\n    hint: more .iterations, or a larger .eps, which needs "
            "fewer", who, r.iterations, r.error, o->tolerance);
    return &ak__poison;
}

ak_tensor *ak_sinkhorn(ak_tensor *scores, ak_sinkhorn_options o)
{
    char text[AK_SHAPE_TEXT];
    if (o.report)
        *o.report = (ak_sinkhorn_report){ .error = (double)NAN };
    if (!AK__TENSOR(NULL, scores))
        return &ak__poison;
    ak_ctx *ctx = scores->ctx;
    if (ak_error(ctx) != AK_OK || !options_fit(ctx, __func__, &o))
        return &ak__poison;
    if (scores->shape.n != 2 || scores->size < 1) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: scores are %s; expected [N, K] with a row and a column at "
                "least", __func__, ak_shape_text(scores->shape, text));
        return &ak__poison;
    }
    const double eps = o.eps == 0 ? DEFAULT_EPS : o.eps;
    plan p = { .ctx = ctx, .scores = scores->data, .N = scores->shape.dims[0],
               .K = scores->shape.dims[1], .inverse_eps = 1 / eps, .exact = o.tolerance > 0 };
    if (!ak__rows_finite(ctx, __func__, "row", scores->data, p.N, p.K) ||
        !eps_fits(ctx, __func__, scores, eps))
        return &ak__poison;
    p.chunk = ak__max(LEAST_CHUNK, ak__ceil_div(p.N, MOST_CHUNKS));
    p.chunks = ak__chunk_count(p.N, p.chunk);
    p.scratch_bytes = ak__round_up((size_t)p.K * sizeof(double)) +
                      ak__round_up((size_t)p.K * sizeof(ak_real));
    const size_t numbers = plan_bytes(&p), all = (size_t)ak__max_threads() * p.scratch_bytes;
    double *doubles = ak__step_alloc(ctx, numbers);
    p.scratch = doubles ? ak__step_alloc(ctx, all) : NULL;
    ak_tensor *codes = &ak__poison;
    if (p.scratch) {
        place(&p, doubles);
        codes = run(&p, __func__, scores, &o);
        ak__step_give(ctx, p.scratch, all);
    }
    if (doubles)
        ak__step_give(ctx, doubles, numbers);
    return codes;
}
