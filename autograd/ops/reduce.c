/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions, to one number or over one axis. A tensor is seen as [outer, n, inner] around the
 * axis; sums of long axes are made in fixed chunks and added in order. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

typedef struct axis_attr { int axis; bool keep; } axis_attr;     /* keep: the axis stays, as 1 */

static ak__axes axes_of_call(const ak_call *k)
{
    return ak__axes_of(k->in[0]->shape, ((const axis_attr *)k->attr)->axis);
}

static double reduce_flops(const ak_call *k) { return (double)k->in[0]->size; }

static ak_status axis_shape(ak_call *k)
{
    const axis_attr *o = k->attr;
    const ak_status status = ak__axis_check(k, o->axis);
    if (status != AK_OK)
        return status;
    const ak_shape s = k->in[0]->shape;
    const int axis = ak__axes_of(s, o->axis).axis;
    k->out->shape = o->keep ? ak__shape_kept(s, axis) : ak__shape_without(s, axis);
    return AK_OK;
}

/* For ops that have no value over no elements. */
static ak_status filled_axis_shape(ak_call *k)
{
    const ak_status status = axis_shape(k);
    if (status == AK_OK && axes_of_call(k).n == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "axis %d has no elements",
                            ((const axis_attr *)k->attr)->axis);
    return status;
}

/* ---- sums of everything --------------------------------------------------------------------- */

/* Numbers of a column, `step` apart, in double. */
static double far_sum(const ak_real *x, int64_t n, int64_t step)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i * step];
    return sum;
}

static bool overflowed(double sum) { return !(fabs(sum) <= (double)AK_REAL_MAX); }

double ak__fine_sum(const ak_real *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 1024) {
        const int64_t left = n - i < 1024 ? n - i : 1024;
        const double part = (double)ak__k.sum(x + i, left);
        sum += overflowed(part) ? far_sum(x + i, left, 1) : part;
    }
    return sum;
}

typedef struct total_args { const ak_real *x; double *part; int64_t n; } total_args;

static void total_span(void *user, int64_t begin, int64_t end)
{
    const total_args *u = user;
    for (int64_t c = begin; c < end; c++) {
        const int64_t from = c * AK__SPAN, left = u->n - from;
        u->part[c] = ak__fine_sum(u->x + from, left < AK__SPAN ? left : AK__SPAN);
    }
}

static double total(ak_call *k, const ak_real *x, int64_t n)
{
    const int64_t chunks = ak__chunk_count(n, AK__SPAN);
    if (chunks <= 1)
        return ak__fine_sum(x, n);
    total_args u = { x, ak_call_scratch(k, (size_t)chunks * sizeof(double)), n };
    if (!u.part)
        return 0;
    ak__for_rows(chunks, AK__SPAN, total_span, &u);
    double sum = 0;
    for (int64_t c = 0; c < chunks; c++)
        sum += u.part[c];
    return sum;
}

typedef struct fill_args { ak_real *dx, value; bool add; } fill_args;

static void fill_span(void *user, int64_t begin, int64_t end)
{
    const fill_args *u = user;
    if (u->add)
        for (int64_t i = begin; i < end; i++)
            u->dx[i] += u->value;
    else
        for (int64_t i = begin; i < end; i++)
            u->dx[i] = u->value;
}

static void fill_backward(ak_call *k, ak_real value)
{
    bool fresh;
    fill_args u = { .dx = ak_call_grad_fresh(k, 0, &fresh), .value = value };
    u.add = !fresh;
    if (u.dx)
        ak__for_spans(k->in[0]->size, fill_span, &u);
}

static ak_status sum_shape(ak_call *k)
{
    k->out->shape = AK_SCALAR;
    return AK_OK;
}

static void sum_forward(ak_call *k)
{
    k->out->data[0] = (ak_real)total(k, k->in[0]->data, k->in[0]->size);
}

static void sum_backward(ak_call *k)
{
    fill_backward(k, k->out->grad[0]);
}

#define ALL_SAMPLES                                                                                \
    { .in = {{ 1, { 1 } }} }, { .in = {{ 0, { 0 } }} }, { .in = {{ 2, { 3, 5 } }} },               \
    { .in = {{ 3, { 2, 1, 9 } }} }, { .in = {{ 1, { 131 } }} }

static const ak_op sum_op = {
    .name = "sum", .formula = "y = sum of x", .n_in = 1, .flags = AK_OP_NO_SHAPE_CHECK,
    .shape = sum_shape, .forward = sum_forward, .backward = sum_backward, .flops = reduce_flops,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){ ALL_SAMPLES, AK_END },
};
ak_tensor *ak_sum(ak_tensor *x) { return ak_apply(&sum_op, &x, 1, NULL); }

static ak_status mean_shape(ak_call *k)
{
    if (k->in[0]->size == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "no elements");
    return sum_shape(k);
}

static void mean_forward(ak_call *k)
{
    const int64_t n = k->in[0]->size;
    k->out->data[0] = (ak_real)(total(k, k->in[0]->data, n) / (double)n);
}

static void mean_backward(ak_call *k)
{
    fill_backward(k, k->out->grad[0] / (ak_real)k->in[0]->size);
}

static const ak_op mean_op = {
    .name = "mean", .formula = "y = sum of x / number of elements", .n_in = 1,
    .shape = mean_shape, .forward = mean_forward, .backward = mean_backward,
    .flops = reduce_flops,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){ ALL_SAMPLES, AK_END },
    .misuse = (const ak_sample[]){ { .in = {{ 2, { 0, 3 } }} }, AK_END },
};
ak_tensor *ak_mean(ak_tensor *x) { return ak_apply(&mean_op, &x, 1, NULL); }

/* ---- sums over one axis --------------------------------------------------------------------- */

void ak__fold_parts(ak_real *sum, ak_real *part, int64_t parts, int64_t size)
{
    for (int64_t step = 1; step < parts; step *= 2)
        for (int64_t i = 0; i + step < parts; i += 2 * step)
            ak__k.add(part + i * size, part + i * size, part + (i + step) * size, size);
    if (parts > 0)
        ak__k.add(sum, sum, part, size);
}

enum { NARROW = 64, FEW_ROWS = 256 };

/* Sums of many rows of few columns are made in blocks, to keep rounding errors small. */
static void column_sum(ak_real *sum, const ak_real *x, int64_t R, int64_t C)
{
    if (R <= FEW_ROWS || C > NARROW) {
        ak__k.column_sum(sum, x, R, C);
        return;
    }
    for (int64_t r = 0; r < R; r += FEW_ROWS) {
        ak_real block[NARROW] = { 0 };
        ak__k.column_sum(block, x + r * C, R - r < FEW_ROWS ? R - r : FEW_ROWS, C);
        ak__k.add(sum, sum, block, C);
    }
}

typedef struct rows_args { const ak_real *x; ak_real *part; int64_t R, C, chunk; } rows_args;

static void rows_span(void *user, int64_t begin, int64_t end)
{
    const rows_args *u = user;
    for (int64_t c = begin; c < end; c++) {
        const int64_t from = c * u->chunk, left = u->R - from;
        ak_real *part = u->part + c * u->C;
        memset(part, 0, (size_t)u->C * sizeof *part);
        column_sum(part, u->x + from * u->C, left < u->chunk ? left : u->chunk, u->C);
    }
}

bool ak__sum_rows(ak_call *k, ak_real *sum, const ak_real *x, int64_t R, int64_t C)
{
    if (R == 0 || C == 0)
        return true;
    const int64_t chunk = C > AK__SPAN / 16 ? 16 : AK__SPAN / C;
    const int64_t chunks = ak__chunk_count(R, chunk);
    if (chunks == 1) {
        column_sum(sum, x, R, C);
        return true;
    }
    rows_args u = { x, ak_call_scratch(k, (size_t)(chunks * C) * sizeof *sum), R, C, chunk };
    if (!u.part)
        return false;
    ak__for_rows(chunks, chunk * C, rows_span, &u);
    ak__fold_parts(sum, u.part, chunks, C);
    return true;
}

/* What the loops over [outer, n, inner] see; a span is a range of outer. */
typedef struct axis_args {
    const ak_real *x, *dy;
    ak_real *out;
    ak__axes a;
    ak_real  factor;
    bool     add, smallest;
    ak_real *sums;              /* [outer, inner][2]: shift and sum of a log-sum-exp */
    int64_t *where;
} axis_args;

/* y [inner] holds sums of x [n, inner]; it gets factor times them. Only the sum may have been too
 * large, not the mean. */
static void finish_columns(ak_real *y, const ak_real *x, int64_t n, int64_t inner, ak_real factor)
{
    if (factor == 1)
        return;
    for (int64_t j = 0; j < inner; j++)
        y[j] = overflowed((double)y[j]) ? (ak_real)(far_sum(x + j, n, inner) * (double)factor)
                                        : y[j] * factor;
}

static void sum_axis_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t o = begin; o < end; o++) {
        if (inner == 1) {
            u->out[o] = (ak_real)(ak__fine_sum(u->x + o * n, n) * (double)u->factor);
            continue;
        }
        ak_real *y = u->out + o * inner;
        memset(y, 0, (size_t)inner * sizeof *y);
        column_sum(y, u->x + o * n * inner, n, inner);
        finish_columns(y, u->x + o * n * inner, n, inner, u->factor);
    }
}

/* y [outer, inner] = factor sum over n of x [outer, n, inner] */
static void sum_over_axis(ak_call *k, ak_real *y, const ak_real *x, ak__axes a, ak_real factor)
{
    if (a.inner == 1 || a.n * a.inner <= AK__SPAN) {
        axis_args u = { .x = x, .out = y, .a = a, .factor = factor };
        ak__for_rows(a.outer, a.n * a.inner, sum_axis_span, &u);
        return;
    }
    for (int64_t o = 0; o < a.outer; o++) {
        ak_real *row = y + o * a.inner;
        memset(row, 0, (size_t)a.inner * sizeof *row);
        if (!ak__sum_rows(k, row, x + o * a.n * a.inner, a.n, a.inner))
            return;
        finish_columns(row, x + o * a.n * a.inner, a.n, a.inner, factor);
    }
}

static void spread_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {         /* r counts [outer, n] */
        const ak_real *dy = u->dy + r / u->a.n * inner;
        ak_real *dx = u->out + r * inner;
        if (inner == 1)
            *dx = u->add ? *dx + u->factor * *dy : u->factor * *dy;
        else if (u->add)
            ak__k.axpy(dx, u->factor, dy, inner);
        else
            ak__k.scale(dx, u->factor, dy, inner);
    }
}

/* dx [outer, n, inner] += factor dy [outer, inner] */
static void spread_over_axis(ak_call *k, ak_real factor)
{
    bool fresh;
    axis_args u = { .out = ak_call_grad_fresh(k, 0, &fresh), .dy = k->out->grad,
                    .a = axes_of_call(k), .factor = factor };
    u.add = !fresh;
    if (u.out)
        ak__for_rows(u.a.outer * u.a.n, u.a.inner, spread_span, &u);
}

static void sum_axis_forward(ak_call *k)
{
    sum_over_axis(k, k->out->data, k->in[0]->data, axes_of_call(k), 1);
}
static void sum_axis_backward(ak_call *k) { spread_over_axis(k, 1); }

static void mean_axis_forward(ak_call *k)
{
    const ak__axes a = axes_of_call(k);
    sum_over_axis(k, k->out->data, k->in[0]->data, a, 1 / (ak_real)a.n);
}
static void mean_axis_backward(ak_call *k)
{
    spread_over_axis(k, 1 / (ak_real)axes_of_call(k).n);
}

#define AXIS(a) .attr = &(const axis_attr){ .axis = a }
#define KEPT(a) .attr = &(const axis_attr){ .axis = a, .keep = true }
#define AXIS_SAMPLES(...)                                                                          \
    { .in = {{ 1, { 1 } }}, AXIS(0), __VA_ARGS__ },                                                \
    { .in = {{ 1, { 7 } }}, AXIS(-1), __VA_ARGS__ },                                               \
    { .in = {{ 2, { 3, 5 } }}, AXIS(0), __VA_ARGS__ },                                             \
    { .in = {{ 2, { 3, 5 } }}, AXIS(1), __VA_ARGS__ },                                             \
    { .in = {{ 3, { 3, 4, 5 } }}, AXIS(1), __VA_ARGS__ },                                          \
    { .in = {{ 4, { 2, 1, 3, 1 } }}, AXIS(-2), __VA_ARGS__ },                                      \
    { .in = {{ 2, { 2, 37 } }}, AXIS(1), __VA_ARGS__ }
#define KEPT_SAMPLES(...)                                                                          \
    { .in = {{ 1, { 5 } }}, KEPT(0), __VA_ARGS__ },                                                \
    { .in = {{ 3, { 3, 4, 5 } }}, KEPT(-2), __VA_ARGS__ }
#define AXIS_MISUSE                                                                                \
    { .in = {{ 2, { 2, 3 } }}, AXIS(2) }, { .in = {{ 2, { 2, 3 } }}, AXIS(-3) },                   \
    { .in = {{ 0, { 0 } }}, AXIS(0) }
#define EMPTY_MISUSE { .in = {{ 2, { 2, 0 } }}, AXIS(1) }

/* Their backwards look at dy and at places that were saved. */
#define AXIS_RECORD(id, text, shape_fn, misuse_list, ...)                                          \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 1, .attr_size = sizeof(axis_attr),                   \
        .shape = shape_fn, .forward = id##_forward, .backward = id##_backward,                     \
        .flops = reduce_flops, .reads = AK_READS_NONE,                                             \
        .samples = (const ak_sample[]){ __VA_ARGS__, AK_END },                                     \
        .misuse = (const ak_sample[]){ AXIS_MISUSE, misuse_list AK_END },                          \
    };
#define AXIS_FUNCTION(id, function, kept)                                                          \
    ak_tensor *function(ak_tensor *x, int axis)                                                    \
    {                                                                                              \
        return ak_apply(&id##_op, &x, 1, &(axis_attr){ .axis = axis, .keep = kept });              \
    }
#define AND_EMPTY EMPTY_MISUSE,
#define NO_MORE

#define SUM_RANGE .lo = -2, .hi = 2
AXIS_RECORD(sum_axis, "y = sum over an axis", axis_shape, NO_MORE, AXIS_SAMPLES(SUM_RANGE),
            KEPT_SAMPLES(SUM_RANGE))
AXIS_FUNCTION(sum_axis, ak_sum_axis, false)
AXIS_FUNCTION(sum_axis, ak_sum_keepdim, true)
AXIS_RECORD(mean_axis, "y = mean over an axis", filled_axis_shape, AND_EMPTY,
            AXIS_SAMPLES(SUM_RANGE), KEPT_SAMPLES(SUM_RANGE))
AXIS_FUNCTION(mean_axis, ak_mean_axis, false)
AXIS_FUNCTION(mean_axis, ak_mean_keepdim, true)

/* ---- largest and smallest ------------------------------------------------------------------- */

static void extreme_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, inner] */
        const ak_real *x = u->x + r / inner * n * inner + r % inner;
        const int64_t at = ak__extreme_place(x, n, inner, u->smallest);
        u->out[r] = x[at * inner];
        if (u->where)
            u->where[r] = at;
    }
}

static void extreme_forward(ak_call *k, bool smallest)
{
    axis_args u = { .x = k->in[0]->data, .out = k->out->data, .a = axes_of_call(k),
                    .smallest = smallest };
    if (ak_call_recorded(k)) {
        u.where = ak_call_save(k, (size_t)k->out->size * sizeof *u.where);
        if (!u.where)
            return;
    }
    ak__for_rows(k->out->size, u.a.n, extreme_span, &u);
}

static void max_axis_forward(ak_call *k) { extreme_forward(k, false); }
static void min_axis_forward(ak_call *k) { extreme_forward(k, true); }

static void extreme_backward(ak_call *k)
{
    const ak__axes a = axes_of_call(k);
    const int64_t *where = k->saved;
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx)
        return;
    for (int64_t r = 0; r < k->out->size; r++)
        dx[(r / a.inner * a.n + where[r]) * a.inner + r % a.inner] += k->out->grad[r];
}
#define max_axis_backward extreme_backward
#define min_axis_backward extreme_backward

#define APART .flags = AK_SAMPLE_DISTINCT
AXIS_RECORD(max_axis, "y = largest over an axis; gradient to the first", filled_axis_shape,
            AND_EMPTY, AXIS_SAMPLES(APART), KEPT_SAMPLES(APART))
AXIS_FUNCTION(max_axis, ak_max_axis, false)
AXIS_FUNCTION(max_axis, ak_max_keepdim, true)
AXIS_RECORD(min_axis, "y = smallest over an axis; gradient to the first", filled_axis_shape,
            AND_EMPTY, AXIS_SAMPLES(APART), KEPT_SAMPLES(APART))
AXIS_FUNCTION(min_axis, ak_min_axis, false)
AXIS_FUNCTION(min_axis, ak_min_keepdim, true)

/* ---- log-sum-exp ---------------------------------------------------------------------------- */

/* What is taken off before exp: the largest, or 0 where that is infinite or NaN, so that all -inf
 * gives -inf and +inf gives +inf. */
static ak_real lse_shift(ak_real largest)
{
    return ak__fabs(largest) <= AK_REAL_MAX ? largest : 0;
}

/* What backward needs of a result y = shift + log sum: e^(x - y) would be as coarse as y is where
 * all x are far from 0. An infinite y stands for itself. */
static void lse_keep(const axis_args *u, int64_t at, ak_real y, ak_real shift, ak_real sum)
{
    const bool finite = ak__fabs(y) <= AK_REAL_MAX;
    if (!u->sums)
        return;
    u->sums[2 * at] = finite ? shift : y < 0 ? 0 : y;
    u->sums[2 * at + 1] = finite ? sum : 1;
}

static void lse_row_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n;
    for (int64_t o = begin; o < end; o++) {
        const ak_real *x = u->x + o * n, shift = lse_shift(ak__k.max(x, n));
        const ak_real sum = ak__k.exp_sum(NULL, x, shift, n);
        u->out[o] = shift + ak__log(sum);
        lse_keep(u, o, u->out[o], shift, sum);
    }
}

/* Blocks of columns, so that sums, shifts and exponentials stay in registers and cache. */
#define LSE_BLOCK 128

static void lse_columns(const axis_args *u, const ak_real *x, ak_real *y, int64_t width)
{
    ak_real shift[LSE_BLOCK], e[LSE_BLOCK];
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t j = 0; j < width; j++)
        shift[j] = n ? x[j] : 0;
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            if (x[i * inner + j] > shift[j])
                shift[j] = x[i * inner + j];
    for (int64_t j = 0; j < width; j++) {
        shift[j] = lse_shift(shift[j]);
        y[j] = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        ak__k.sub(e, x + i * inner, shift, width);
        ak__k.exp(e, e, width);
        ak__k.add(y, y, e, width);
    }
    for (int64_t j = 0; j < width; j++) {
        const ak_real sum = y[j];
        y[j] = shift[j] + ak__log(sum);
        lse_keep(u, y - u->out + j, y[j], shift[j], sum);
    }
}

static void lse_axis_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner, blocks = ak__chunk_count(inner, LSE_BLOCK);
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, blocks] */
        const int64_t o = r / blocks, j = r % blocks * LSE_BLOCK;
        const int64_t width = inner - j < LSE_BLOCK ? inner - j : LSE_BLOCK;
        lse_columns(u, u->x + o * n * inner + j, u->out + o * inner + j, width);
    }
}

static void logsumexp_forward(ak_call *k)
{
    axis_args u = { .x = k->in[0]->data, .out = k->out->data, .a = axes_of_call(k) };
    if (ak_call_recorded(k)) {
        u.sums = ak_call_save(k, (size_t)(2 * k->out->size) * sizeof *u.sums);
        if (!u.sums)
            return;
    }
    if (u.a.inner == 1)
        ak__for_rows(u.a.outer, u.a.n, lse_row_span, &u);
    else
        ak__for_rows(u.a.outer * ak__chunk_count(u.a.inner, LSE_BLOCK), u.a.n * LSE_BLOCK,
                     lse_axis_span, &u);
}

/* dx = or += dy e^(x - shift) / sum; 0 where y is -inf, since all x are. */
static void lse_slope_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t inner = u->a.inner;
    ak_real e[LSE_BLOCK];
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, n] */
        const ak_real *sums = u->sums + r / u->a.n * inner * 2, *dy = u->dy + r / u->a.n * inner;
        const ak_real *x = u->x + r * inner;
        ak_real *dx = u->out + r * inner;
        for (int64_t j = 0; j < inner; j += LSE_BLOCK) {
            const int64_t width = inner - j < LSE_BLOCK ? inner - j : LSE_BLOCK;
            for (int64_t i = 0; i < width; i++)
                e[i] = x[j + i] - sums[2 * (j + i)];
            ak__k.exp(e, e, width);
            for (int64_t i = 0; i < width; i++)
                e[i] /= sums[2 * (j + i) + 1];
            if (u->add)
                ak__k.mul_add(dx + j, dy + j, e, width);
            else
                ak__k.mul(dx + j, dy + j, e, width);
        }
    }
}

static void lse_row_slope_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n;
    const ak__put put = ak__put_of(u->a.outer * n, u->add);
    for (int64_t o = begin; o < end; o++) {
        ak__k.exp_affine(u->out + o * n, u->dy[o] / u->sums[2 * o + 1], u->x + o * n,
                         u->sums[2 * o], 0, NULL, 0, n, put);
    }
    ak__put_end(put);
}

static void logsumexp_backward(ak_call *k)
{
    bool fresh;
    axis_args u = { .x = k->in[0]->data, .dy = k->out->grad, .sums = k->saved,
                    .out = ak_call_grad_fresh(k, 0, &fresh), .a = axes_of_call(k) };
    u.add = !fresh;
    if (!u.out)
        return;
    if (u.a.inner == 1)
        ak__for_rows(u.a.outer, u.a.n, lse_row_slope_span, &u);
    else
        ak__for_rows(u.a.outer * u.a.n, u.a.inner, lse_slope_span, &u);
}

#define LSE_SAMPLE_FLAGS .lo = -3, .hi = 3
static const ak_op logsumexp_op = {
    .name = "logsumexp", .formula = "y = ln sum e^x over an axis", .n_in = 1,
    .attr_size = sizeof(axis_attr), .flags = AK_OP_MAKES_INF,
    .shape = axis_shape, .forward = logsumexp_forward, .backward = logsumexp_backward,
    .flops = reduce_flops,
    .samples = (const ak_sample[]){ AXIS_SAMPLES(LSE_SAMPLE_FLAGS),
                                    KEPT_SAMPLES(LSE_SAMPLE_FLAGS),
                                    { .in = {{ 2, { 3, 131 } }}, AXIS(0), LSE_SAMPLE_FLAGS },
                                    { .in = {{ 2, { 2, 131 } }}, AXIS(1), LSE_SAMPLE_FLAGS },
                                    AK_END },
    .misuse = (const ak_sample[]){ AXIS_MISUSE, AK_END },
};
AXIS_FUNCTION(logsumexp, ak_logsumexp, false)
AXIS_FUNCTION(logsumexp, ak_logsumexp_keepdim, true)

/* ---- running sums --------------------------------------------------------------------------- */

static ak_status cumsum_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return ak__axis_check(k, ((const axis_attr *)k->attr)->axis);
}

/* Columns whose running sums are kept in double at once. */
enum { RUNNING = 64 };

static void cumsum_columns(ak_real *y, const ak_real *x, int64_t n, int64_t step, int64_t width)
{
    double sum[RUNNING] = { 0 };
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) {
            sum[j] += (double)x[i * step + j];
            y[i * step + j] = (ak_real)sum[j];
        }
}

static void cumsum_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t o = begin; o < end; o++) {
        const ak_real *x = u->x + o * n * inner;
        ak_real *y = u->out + o * n * inner;
        if (inner == 1) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++) {
                sum += (double)x[i];
                y[i] = (ak_real)sum;
            }
            continue;
        }
        for (int64_t j = 0; j < inner; j += RUNNING)
            cumsum_columns(y + j, x + j, n, inner, inner - j < RUNNING ? inner - j : RUNNING);
    }
}

static void cumsum_forward(ak_call *k)
{
    axis_args u = { .x = k->in[0]->data, .out = k->out->data, .a = axes_of_call(k) };
    ak__for_rows(u.a.outer, u.a.n * u.a.inner, cumsum_span, &u);
}

static void cumsum_slope_span(void *user, int64_t begin, int64_t end)
{
    const axis_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, inner] */
        const int64_t at = r / inner * n * inner + r % inner;
        double sum = 0;
        for (int64_t i = n - 1; i >= 0; i--) {
            sum += (double)u->dy[at + i * inner];
            u->out[at + i * inner] += (ak_real)sum;
        }
    }
}

static void cumsum_backward(ak_call *k)        /* dx[i] += sum of dy[i..] */
{
    axis_args u = { .dy = k->out->grad, .out = ak_call_grad(k, 0), .a = axes_of_call(k) };
    if (u.out)
        ak__for_rows(u.a.outer * u.a.inner, u.a.n, cumsum_slope_span, &u);
}

AXIS_RECORD(cumsum, "y[i] = x[0] + .. + x[i] along an axis", cumsum_shape, NO_MORE,
            AXIS_SAMPLES(SUM_RANGE))
AXIS_FUNCTION(cumsum, ak_cumsum, false)

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_reduce[] = {
    &sum_op, &mean_op, &sum_axis_op, &mean_axis_op, &ak__op_var_axis, &max_axis_op, &min_axis_op,
    &logsumexp_op, &cumsum_op, NULL
};
