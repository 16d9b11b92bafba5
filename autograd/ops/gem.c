/* SPDX-License-Identifier: Apache-2.0 */
/* Generalised-mean pooling of maps. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* With t = the largest of a channel (the smallest where p < 0) and d = ln(x / t), all p d are <= 0:
 *
 *     y = t exp(log(mean exp(p d)) / p),      in the limit p -> 0:  t exp(mean d)
 *
 * so nothing overflows for any p, and log1p(mean expm1(p d)) / p keeps the digits of a small p. */

typedef struct gem_attr { double eps; } gem_attr;

#define GEM_EPS 1e-6

typedef struct sizes { int64_t N, P, C; double eps; } sizes;

static sizes sizes_of(const ak_call *k)
{
    const ak_tensor *x = k->in[0];
    const double eps = ((const gem_attr *)k->attr)->eps;
    sizes s = { .N = x->shape.dims[0], .P = 1, .C = ak_last_dim(x),
                .eps = eps > 0 ? eps : GEM_EPS };
    for (int i = 1; i + 1 < x->shape.n; i++)
        s.P *= x->shape.dims[i];
    return s;
}

/* The exponent of channel c: one for all, or one each. */
static double power_of(const ak_call *k, int64_t c)
{
    const ak_tensor *p = k->in[1];
    return (double)p->data[p->size == 1 ? 0 : c];
}

static ak_status gem_shape(ak_call *k)
{
    const ak_tensor *x = k->in[0], *p = k->in[1];
    const double eps = ((const gem_attr *)k->attr)->eps;
    if (x->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs at least 2 axes [N, .., C]");
    const sizes s = sizes_of(k);
    if (s.P < 1 || s.C < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "a mean of no positions");
    if (p->shape.n > 1 || (p->size != 1 && p->size != s.C))
        return ak_call_fail(k, AK_ERR_SHAPE, "p is one exponent, or one for each of %" PRId64
                            " channels", s.C);
    if (!(eps >= 0 && eps < (double)AK_REAL_MAX) || (ak_real)s.eps <= 0)
        return ak_call_fail(k, AK_ERR_VALUE, "eps %g is not in (0, inf)", eps);
    k->out->shape = AK_SHAPE(s.N, s.C);
    return AK_OK;
}

/* max(x, eps); NaN stays. */
static ak_real floor_at(ak_real x, ak_real eps)
{
    return x <= eps ? eps : x;
}

/* t of each channel of one sample. */
static void extremes(const ak_call *k, const sizes *s, const ak_real *x, ak_real *t)
{
    for (int64_t c = 0; c < s->C; c++)
        t[c] = floor_at(x[c], (ak_real)s->eps);
    for (int64_t i = 1; i < s->P; i++)
        for (int64_t c = 0; c < s->C; c++) {
            const ak_real v = floor_at(x[i * s->C + c], (ak_real)s->eps);
            const bool larger = v > t[c], smaller = v < t[c];
            if (v != v || (power_of(k, c) < 0 ? smaller : larger))
                t[c] = v;
        }
}

/* d = ln(x / t) of one row of channels. */
static void logs(ak_real *d, const ak_real *x, const ak_real *t, const sizes *s)
{
    for (int64_t c = 0; c < s->C; c++)
        d[c] = floor_at(x[c], (ak_real)s->eps) / t[c];
    ak__k.log(d, d, s->C);
}

/* Exponents from which exp(p d) may be rounded before it is summed up. */
#define LARGE_POWER 1

/* One sample. room: 3 C; sum [C]. */
static void gem_sample(const ak_call *k, const sizes *s, const ak_real *x, ak_real *y,
                       ak_real *room, double *sum)
{
    const int64_t C = s->C;
    ak_real *t = room, *d = room + C, *e = room + 2 * C;
    memset(sum, 0, (size_t)C * sizeof *sum);
    extremes(k, s, x, t);
    for (int64_t i = 0; i < s->P; i++) {
        logs(d, x + i * C, t, s);
        for (int64_t c = 0; c < C; c++)
            e[c] = (ak_real)power_of(k, c) * d[c];
        ak__k.exp(e, e, C);
        for (int64_t c = 0; c < C; c++) {
            const double p = power_of(k, c);
            if (fabs(p) >= LARGE_POWER)
                sum[c] += (double)e[c];
            else
                sum[c] += p == 0 ? (double)d[c] : expm1(p * (double)d[c]);
        }
    }
    for (int64_t c = 0; c < C; c++) {
        const double p = power_of(k, c), mean = sum[c] / (double)s->P;
        const double log_mean = fabs(p) >= LARGE_POWER ? log(mean) : log1p(mean);
        y[c] = (ak_real)((double)t[c] * exp(p == 0 ? mean : log_mean / p));
    }
}

static void gem_forward(ak_call *k)
{
    const sizes s = sizes_of(k);
    const int64_t threads = ak__max_threads();
    ak_real *rooms = ak_call_scratch(k, (size_t)(threads * 3 * s.C) * sizeof *rooms);
    double *sums = ak_call_scratch(k, (size_t)(threads * s.C) * sizeof *sums);
    if (!rooms || !sums)
        return;
    AK__PARALLEL_FOR(n, s.N, s.N * s.P * s.C > AK__SPAN)
        gem_sample(k, &s, k->in[0]->data + n * s.P * s.C, k->out->data + n * s.C,
                   rooms + ak__thread_id() * 3 * s.C, sums + ak__thread_id() * s.C);
}

/* (u e^u - e^u + 1) / u^2, whose value at 0 is 1/2: sum over k >= 0 of u^k / (k! (k + 2)). */
static double curvature(double u)
{
    if (fabs(u) > 0.5)
        return (u * exp(u) - expm1(u)) / (u * u);
    double sum = 0, term = 1;
    for (int i = 0; i < 16; i++) {
        sum += term / (i + 2);
        term *= u / (i + 1);
    }
    return sum;
}

/* With d = ln(x / y): dy/dx = exp((p - 1) d) / P where x >= eps; dy/dp = y mean d^2 h(p d), since
 * the mean of exp(p d) is 1 (h: curvature). One sample; dx, dp [C] may be NULL. room: 2 C. */
static void gem_sample_grad(const ak_call *k, const sizes *s, int64_t n, ak_real *dx, bool fresh,
                            double *dp, ak_real *room)
{
    const int64_t C = s->C;
    const ak_real *x = k->in[0]->data + n * s->P * C, *y = k->out->data + n * C;
    const ak_real *dy = k->out->grad + n * C;
    ak_real *d = room, *e = room + C;
    for (int64_t i = 0; i < s->P; i++) {
        logs(d, x + i * C, y, s);
        for (int64_t c = 0; c < C; c++)
            e[c] = (ak_real)(power_of(k, c) - 1) * d[c];
        if (dx)
            ak__k.exp(e, e, C);
        for (int64_t c = 0; dx && c < C; c++) {
            const bool open = !(x[i * C + c] < (ak_real)s->eps);
            const ak_real g = open ? dy[c] * e[c] / (ak_real)s->P : 0;
            dx[i * C + c] = fresh ? g : dx[i * C + c] + g;
        }
        for (int64_t c = 0; dp && c < C; c++)
            dp[c] += (double)dy[c] * (double)y[c] * (double)d[c] * (double)d[c] *
                     curvature(power_of(k, c) * (double)d[c]) / (double)s->P;
    }
}

static void gem_backward(ak_call *k)
{
    const sizes s = sizes_of(k);
    const int64_t threads = ak__max_threads();
    bool fresh;
    ak_real *dp = ak_call_grad(k, 1), *dx = ak_call_grad_fresh(k, 0, &fresh);
    ak_real *rooms = ak_call_scratch(k, (size_t)(threads * 2 * s.C) * sizeof *rooms);
    double *parts = dp ? ak_call_scratch(k, (size_t)(s.N * s.C) * sizeof *parts) : NULL;
    if (!rooms || (dp && !parts))
        return;
    if (parts)
        memset(parts, 0, (size_t)(s.N * s.C) * sizeof *parts);
    AK__PARALLEL_FOR(n, s.N, s.N * s.P * s.C > AK__SPAN)
        gem_sample_grad(k, &s, n, dx ? dx + n * s.P * s.C : NULL, fresh,
                        parts ? parts + n * s.C : NULL, rooms + ak__thread_id() * 2 * s.C);
    const int64_t powers = k->in[1]->size;
    for (int64_t c = 0; dp && c < powers; c++) {
        double sum = 0;
        for (int64_t i = c; i < s.N * s.C; i += powers)
            sum += parts[i];
        dp[c] += (ak_real)sum;
    }
}

static double gem_flops(const ak_call *k)
{
    return 4.0 * (double)k->in[0]->size;
}

#define GEM(x) (&(const gem_attr){ x })

static const ak_op gem_pool = {
    .name = "gem_pool",
    .formula = "y[n,c] = (mean over all positions of max(x[n,..,c], eps)^p)^(1/p)",
    .n_in = 2, .attr_size = sizeof(gem_attr), .operands = "x p", .shape = gem_shape,
    .forward = gem_forward, .backward = gem_backward, .flops = gem_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 1, 1 } }, { 1, { 1 } } }, .lo = 0.5, .hi = 3, .attr = GEM(0) },
        { .in = { { 4, { 2, 3, 5, 4 } }, { 1, { 1 } } }, .lo = 0.3, .hi = 4, .attr = GEM(0) },
        { .in = { { 3, { 3, 7, 3 } }, { 1, { 3 } } }, .lo = 0.2, .hi = 1.5, .attr = GEM(0) },
        { .in = { { 3, { 2, 9, 17 } }, { 1, { 17 } } }, .lo = -2, .hi = 3, .attr = GEM(0.25),
          .flags = AK_SAMPLE_DISTINCT },
        { .in = { { 2, { 5, 6 } }, { 1, { 6 } } }, .lo = 0.3, .hi = 2, .attr = GEM(1e-3) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 1, { 4 } }, { 1, { 1 } } }, .attr = GEM(0) },
        { .in = { { 4, { 2, 0, 3, 4 } }, { 1, { 1 } } }, .attr = GEM(0) },
        { .in = { { 3, { 2, 3, 4 } }, { 1, { 3 } } }, .attr = GEM(0) },
        { .in = { { 3, { 2, 3, 4 } }, { 1, { 1 } } }, .attr = GEM(-1) },
        AK_END },
};

ak_tensor *ak_gem_pool(ak_tensor *x, ak_tensor *p, double eps)
{
    return ak_apply(&gem_pool, (ak_tensor *[]){ x, p }, 2, &(gem_attr){ eps });
}

const ak_op *const ak__ops_pool[] = { &gem_pool, NULL };
