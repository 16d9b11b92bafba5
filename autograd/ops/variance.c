/* SPDX-License-Identifier: Apache-2.0 */
/* Variance over one axis: two passes, sums in double. A tensor is seen as [outer, n, inner] around
 * the axis. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/real.h"

typedef struct var_attr { int axis, correction; } var_attr;

/* What the loops see. */
typedef struct var_args {
    const ak_real *x, *dy;
    ak_real *out, *mean;
    ak__axes a;
    ak_real  factor;
    bool     add;
} var_args;

static ak__axes axes_of_call(const ak_call *k)
{
    return ak__axes_of(k->in[0]->shape, ((const var_attr *)k->attr)->axis);
}

static double var_flops(const ak_call *k) { return 4.0 * (double)k->in[0]->size; }

static ak_status var_axis_shape(ak_call *k)
{
    const var_attr *o = k->attr;
    const ak_status status = ak__axis_check(k, o->axis);
    if (status != AK_OK)
        return status;
    const int64_t n = axes_of_call(k).n;
    k->out->shape = ak__shape_without(k->in[0]->shape, axes_of_call(k).axis);
    if (n == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "axis %d has no elements", o->axis);
    if (o->correction < 0 || n <= o->correction)
        return ak_call_fail(k, AK_ERR_VALUE, "correction %d is not in [0, %lld), the elements "
                            "of the axis", o->correction, (long long)n);
    return AK_OK;
}

/* One column again, all in double: squares of differences overflow long before a variance does. */
static void far_variance(const var_args *u, const ak_real *x, int64_t step, ak_real *mean,
                         ak_real *y)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < u->a.n; i++)
        sum += (double)x[i * step];
    const double m = sum / (double)u->a.n;
    for (int64_t i = 0; i < u->a.n; i++) {
        const double d = (double)x[i * step] - m;
        squares += d * d;
    }
    *mean = (ak_real)m;
    *y = (ak_real)(squares * (double)u->factor);
}

static bool overflowed(ak_real y) { return !(y <= AK_REAL_MAX); }

/* Blocks of columns whose sums are kept in double. */
enum { VAR_BLOCK = 64 };

static void var_columns(const var_args *u, int64_t o, int64_t j, int64_t width)
{
    const int64_t n = u->a.n, inner = u->a.inner;
    const ak_real *x = u->x + o * n * inner + j;
    ak_real *mean = u->mean + o * inner + j, *y = u->out + o * inner + j;
    double sum[VAR_BLOCK] = { 0 };
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c++)
            sum[c] += (double)x[i * inner + c];
    for (int64_t c = 0; c < width; c++) {
        mean[c] = (ak_real)(sum[c] / (double)n);
        sum[c] = 0;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c++) {
            const ak_real d = x[i * inner + c] - mean[c];
            sum[c] += (double)(d * d);
        }
    for (int64_t c = 0; c < width; c++) {
        y[c] = (ak_real)sum[c] * u->factor;
        if (overflowed(y[c]))
            far_variance(u, x + c, inner, &mean[c], &y[c]);
    }
}

static void var_axis_span(void *user, int64_t begin, int64_t end)
{
    const var_args *u = user;
    const int64_t inner = u->a.inner, blocks = ak__chunk_count(inner, VAR_BLOCK);
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, blocks] */
        const int64_t j = r % blocks * VAR_BLOCK;
        var_columns(u, r / blocks, j, inner - j < VAR_BLOCK ? inner - j : VAR_BLOCK);
    }
}

/* The last axis: one row at a time, sums in double. */
static void var_row_span(void *user, int64_t begin, int64_t end)
{
    const var_args *u = user;
    const int64_t n = u->a.n;
    for (int64_t o = begin; o < end; o++) {
        const ak_real *x = u->x + o * n;
        const ak_real mean = (ak_real)(ak__fine_sum(x, n) / (double)n);
        double squares = 0;
        for (int64_t i = 0; i < n; i++)
            squares += (double)((x[i] - mean) * (x[i] - mean));
        u->mean[o] = mean;
        u->out[o] = (ak_real)squares * u->factor;
        if (overflowed(u->out[o]))
            far_variance(u, x, 1, &u->mean[o], &u->out[o]);
    }
}

static void var_axis_forward(ak_call *k)
{
    const var_attr *o = k->attr;
    var_args u = { .x = k->in[0]->data, .out = k->out->data, .a = axes_of_call(k) };
    u.mean = ak_call_save(k, (size_t)k->out->size * sizeof *u.mean);
    u.factor = 1 / (ak_real)(u.a.n - o->correction);
    if (!u.mean)
        return;
    if (u.a.inner == 1)
        ak__for_rows(u.a.outer, u.a.n, var_row_span, &u);
    else
        ak__for_rows(u.a.outer * ak__chunk_count(u.a.inner, VAR_BLOCK), u.a.n * VAR_BLOCK,
                     var_axis_span, &u);
}

static void var_slope_span(void *user, int64_t begin, int64_t end)
{
    const var_args *u = user;
    const int64_t inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {
        const int64_t at = r / u->a.n * inner;
        for (int64_t j = 0; j < inner; j++) {
            const int64_t i = r * inner + j;
            const ak_real g = u->factor * (u->x[i] - u->mean[at + j]) * u->dy[at + j];
            u->out[i] = u->add ? u->out[i] + g : g;
        }
    }
}

static void var_axis_backward(ak_call *k)      /* dx += 2 (x - mean) dy / (n - correction) */
{
    const var_attr *o = k->attr;
    bool fresh;
    var_args u = { .x = k->in[0]->data, .dy = k->out->grad, .mean = k->saved,
                    .out = ak_call_grad_fresh(k, 0, &fresh), .a = axes_of_call(k) };
    u.add = !fresh;
    u.factor = 2 / (ak_real)(u.a.n - o->correction);
    if (u.out)
        ak__for_rows(u.a.outer * u.a.n, u.a.inner, var_slope_span, &u);
}

#define VAR(a, c) .attr = &(const var_attr){ a, c }
const ak_op ak__op_var_axis = {
    .name = "var_axis", .formula = "y = sum (x - mean)^2 / (n - correction) over an axis",
    .n_in = 1, .attr_size = sizeof(var_attr),
    .shape = var_axis_shape, .forward = var_axis_forward, .backward = var_axis_backward,
    .flops = var_flops,
    .reads = AK_READS(0),
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, VAR(0, 0) },
        { .in = {{ 1, { 7 } }}, VAR(-1, 1) },
        { .in = {{ 2, { 3, 5 } }}, VAR(0, 1) },
        { .in = {{ 2, { 3, 5 } }}, VAR(1, 0) },
        { .in = {{ 3, { 3, 4, 5 } }}, VAR(1, 1) },
        { .in = {{ 4, { 2, 1, 3, 1 } }}, VAR(-2, 2) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, VAR(2, 0) },
        { .in = {{ 2, { 2, 1 } }}, VAR(1, 1) },
        { .in = {{ 2, { 2, 3 } }}, VAR(1, -1) },
        { .in = {{ 2, { 2, 0 } }}, VAR(1, 0) },
        AK_END },
};
ak_tensor *ak_var_axis(ak_tensor *x, int axis, int correction)
{
    return ak_apply(&ak__op_var_axis, &x, 1, &(var_attr){ axis, correction });
}
