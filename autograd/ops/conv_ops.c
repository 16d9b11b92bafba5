/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution, pooling and resizing: the ops around tensor/conv/conv.c and tensor/pool.c. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/moments.h"
#include "autograd/ops/common.h"
#include "tensor/conv/conv.h"
#include "tensor/moments.h"
#include "tensor/pool.h"

/* ---- options --------------------------------------------------------------------------------- */

/* Largest stride, padding, dilation and kernel: keeps extents far from overflow. */
#define CONV_LIMIT (1 << 20)

static ak_conv_options conv_options(const ak_call *k)
{
    ak_conv_options o = *(const ak_conv_options *)k->attr;
    o.stride = o.stride ? o.stride : 1;
    o.dilation = o.dilation ? o.dilation : 1;
    o.groups = o.groups ? o.groups : 1;
    o.exact = o.exact || ak_exact_conv(k->ctx);
    return o;
}

/* Is an option in [least, CONV_LIMIT]? */
static ak_status within(ak_call *k, const char *option, int64_t value, int least)
{
    if (value < least)
        return ak_call_fail(k, AK_ERR_VALUE, "%s %" PRId64 " is below %d, the least", option, value,
                            least);
    if (value > CONV_LIMIT)
        return ak_call_fail(k, AK_ERR_VALUE, "%s %" PRId64 " is above %d, the most", option, value,
                            CONV_LIMIT);
    return AK_OK;
}

static ak_status check_options(ak_call *k, ak_conv_options o)
{
    ak_status s = within(k, "stride", o.stride, 1);
    s = s == AK_OK ? within(k, "padding", o.padding, 0) : s;
    s = s == AK_OK ? within(k, "dilation", o.dilation, 1) : s;
    return s == AK_OK ? within(k, "groups", o.groups, 1) : s;
}

/* Rank of x and w, and a bias of `channels` numbers. */
static ak_status check_operands(ak_call *k, int rank, const char *x_axes, const char *w_axes,
                                int64_t channels)
{
    const ak_tensor *x = k->in[0], *w = k->in[1], *b = k->in[2];
    if (x->shape.n != rank)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs the %d axes %s", rank, x_axes);
    if (w->shape.n != rank)
        return ak_call_fail(k, AK_ERR_SHAPE, "w needs the %d axes %s", rank, w_axes);
    if (w->size == 0 || x->shape.dims[rank - 1] == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "no channels or an empty kernel");
    for (int i = 1; i + 1 < rank; i++)
        if (w->shape.dims[i] > CONV_LIMIT)
            return ak_call_fail(k, AK_ERR_SHAPE, "the kernel's axis %d, %" PRId64 ", is above %d, "
                                "the most", i, w->shape.dims[i], CONV_LIMIT);
    if (b && (b->shape.n != 1 || b->shape.dims[0] != channels))
        return ak_call_fail(k, AK_ERR_SHAPE, "the bias needs %" PRId64 " numbers, one an output "
                            "channel", channels);
    return AK_OK;
}

/* ---- conv2d and conv1d ----------------------------------------------------------------------- */

/* A sequence [N, T, I] is a picture [N, 1, T, I]. */
static ak__conv conv_geometry(const ak_call *k)
{
    const ak_conv_options o = conv_options(k);
    const bool flat = k->in[0]->shape.n == 3;
    const int64_t *x = k->in[0]->shape.dims, *w = k->in[1]->shape.dims;
    ak__conv g = {
        .N = x[0], .H = flat ? 1 : x[1], .W = flat ? x[1] : x[2], .I = flat ? x[2] : x[3],
        .O = w[0], .kH = flat ? 1 : w[1], .kW = flat ? w[1] : w[2],
        .sh = flat ? 1 : o.stride, .sw = o.stride, .ph = flat ? 0 : o.padding, .pw = o.padding,
        .dh = flat ? 1 : o.dilation, .dw = o.dilation, .groups = o.groups,
        .exact = o.exact,
    };
    g.OH = ak__conv_extent(g.H, g.kH, g.sh, g.ph, g.dh);
    g.OW = ak__conv_extent(g.W, g.kW, g.sw, g.pw, g.dw);
    return g;
}

static ak_status conv_shape(ak_call *k, int rank, const char *x_axes, const char *w_axes)
{
    const ak_conv_options o = conv_options(k);
    ak_status s = check_options(k, o);
    if (s == AK_OK)
        s = check_operands(k, rank, x_axes, w_axes, k->in[1]->shape.dims[0]);
    if (s != AK_OK)
        return s;
    const int64_t I = k->in[0]->shape.dims[rank - 1], Ig = k->in[1]->shape.dims[rank - 1];
    const int64_t O = k->in[1]->shape.dims[0];
    if (o.output_padding != 0)
        return ak_call_fail(k, AK_ERR_VALUE, "output_padding %d is an option of the transposed "
                            "convolution only", o.output_padding);
    if (Ig * o.groups != I)
        return ak_call_fail(k, AK_ERR_SHAPE, "x has %" PRId64 " channels, but the weights take %"
                            PRId64 " in each of %d groups", I, Ig, o.groups);
    if (O % o.groups != 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "%" PRId64 " output channels do not divide into %d "
                            "groups", O, o.groups);
    const ak__conv g = conv_geometry(k);
    if (g.OH < 1 || g.OW < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "the kernel is larger than x with its padding of %d",
                            o.padding);
    k->out->shape = rank == 4 ? AK_SHAPE(g.N, g.OH, g.OW, g.O) : AK_SHAPE(g.N, g.OW, g.O);
    return AK_OK;
}

static ak_status conv2d_shape(ak_call *k)
{
    return conv_shape(k, 4, "[N, H, W, I]", "[O, kH, kW, I/groups]");
}

static ak_status conv1d_shape(ak_call *k)
{
    return conv_shape(k, 3, "[N, T, I]", "[O, k, I/groups]");
}

static double conv_flops(const ak_call *k)
{
    const ak__conv g = conv_geometry(k);
    return ak__conv_flops(&g);
}

/* Operand 3, if there is one, is filled with moments of y: see autograd/moments.h. */
static void conv_forward(ak_call *k)
{
    ak__conv g = conv_geometry(k);
    g.moments = k->n_in > 3 ? k->in[3]->data : NULL;
    void *scratch = ak_call_scratch(k, ak__conv_forward_scratch(&g));
    if (scratch)
        ak__conv_forward(&g, k->in[0]->data, k->in[1]->data, k->in[2] ? k->in[2]->data : NULL,
                         k->out->data, false, scratch);
}

/* db += the column sums of dy */
static void bias_backward(ak_call *k, int64_t C)
{
    ak_real *db = k->in[2] ? ak_call_grad(k, 2) : NULL;
    if (db)
        ak__sum_rows(k, db, k->out->grad, k->out->size / C, C);
}

static void conv_backward(ak_call *k)
{
    const ak__conv g = conv_geometry(k);
    const ak_real *x = k->in[0]->data, *w = k->in[1]->data, *dy = k->out->grad;
    bool fresh;
    bias_backward(k, g.O);
    ak_real *dw = ak_call_grad_fresh(k, 1, &fresh);
    if (dw) {
        void *scratch = ak_call_scratch(k, ak__conv_weight_scratch(&g));
        if (!scratch)
            return;
        ak__conv_weight(&g, x, dy, dw, !fresh, scratch);
    }
    ak_call_done_reading(k, 0);
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx) {
        void *scratch = ak_call_scratch(k, ak__conv_data_scratch(&g));
        if (scratch)
            ak__conv_data(&g, dy, w, NULL, dx, !fresh, scratch);
    }
}

#define CONV(...) (&(const ak_conv_options){ __VA_ARGS__ })

static const ak_op conv2d = {
    .name = "conv2d", .formula = "y[n,i,j,o] = b[o] + sum_{h,w,c} x[n,i s+h d-p,j s+w d-p,c] "
                                 "w[o,h,w,c]",
    .n_in = 3, .attr_size = sizeof(ak_conv_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "x w b moments", .required = 2,
    .shape = conv2d_shape, .forward = conv_forward, .backward = conv_backward,
    .flops = conv_flops, .reads = AK_READS(0) | AK_READS(1),
    .samples = (const ak_sample[]){
        { .in = { { 4, { 1, 1, 1, 1 } }, { 4, { 1, 1, 1, 1 } }, { 1, { 1 } } } },
        { .in = { { 4, { 2, 5, 4, 3 } }, { 4, { 2, 3, 3, 3 } }, { 1, { 2 } } },
          .attr = CONV(.padding = 1) },
        { .in = { { 4, { 2, 7, 5, 2 } }, { 4, { 3, 3, 2, 2 } }, { .n = AK_ABSENT } },
          .attr = CONV(.stride = 2) },
        { .in = { { 4, { 1, 7, 7, 2 } }, { 4, { 2, 3, 3, 2 } }, { 1, { 2 } } },
          .attr = CONV(.dilation = 2, .padding = 2, .stride = 3) },
        { .in = { { 4, { 1, 5, 4, 4 } }, { 4, { 6, 3, 3, 2 } }, { 1, { 6 } } },
          .attr = CONV(.groups = 2, .padding = 1) },
        { .in = { { 4, { 2, 4, 5, 3 } }, { 4, { 3, 3, 3, 1 } }, { 1, { 3 } } },
          .attr = CONV(.groups = 3, .padding = 1, .stride = 2) },
        { .in = { { 4, { 2, 3, 3, 5 } }, { 4, { 4, 1, 1, 5 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 1, 2, 3, 2 } }, { 4, { 2, 4, 5, 2 } }, { 1, { 2 } } },
          .attr = CONV(.padding = 2) },
        { .in = { { 4, { 3, 6, 5, 1 } }, { 4, { 3, 3, 3, 1 } }, { .n = AK_ABSENT } },
          .attr = CONV(.padding = 1) },
        { .in = { { 4, { 1, 9, 8, 13 } }, { 4, { 13, 3, 3, 13 } }, { 1, { 13 } } },
          .attr = CONV(.padding = 1, .stride = 2) },
        { .in = { { 4, { 1, 3, 6, 25 } }, { 4, { 14, 2, 2, 25 } }, { 1, { 14 } } },
          .attr = CONV(.dilation = 2, .padding = 1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 3, { 5, 4, 3 } }, { 4, { 2, 3, 3, 3 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 1, 5, 5, 3 } }, { 4, { 2, 3, 3, 2 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 1, 5, 5, 3 } }, { 4, { 2, 3, 3, 3 } }, { 1, { 3 } } } },
        { .in = { { 4, { 1, 2, 2, 3 } }, { 4, { 2, 3, 3, 3 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 1, 5, 5, 4 } }, { 4, { 3, 3, 3, 2 } }, { .n = AK_ABSENT } },
          .attr = CONV(.groups = 2) },
        { .in = { { 4, { 1, 5, 5, 3 } }, { 4, { 2, 3, 3, 3 } }, { .n = AK_ABSENT } },
          .attr = CONV(.padding = -1) },
        { .in = { { 4, { 1, 5, 5, 3 } }, { 4, { 2, 3, 3, 3 } }, { .n = AK_ABSENT } },
          .attr = CONV(.stride = -1) },
        AK_END },
};

ak_tensor *ak_conv2d(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o)
{
    return ak_apply(&conv2d, (ak_tensor *[]){ x, w, b }, 3, &o);
}

static const ak_op conv1d = {
    .name = "conv1d", .formula = "y[n,t,o] = b[o] + sum_{k,c} x[n,t s+k d-p,c] w[o,k,c]",
    .n_in = 3, .attr_size = sizeof(ak_conv_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "x w b moments", .required = 2,
    .shape = conv1d_shape, .forward = conv_forward, .backward = conv_backward,
    .flops = conv_flops, .reads = AK_READS(0) | AK_READS(1),
    .samples = (const ak_sample[]){
        { .in = { { 3, { 1, 1, 1 } }, { 3, { 1, 1, 1 } }, { 1, { 1 } } } },
        { .in = { { 3, { 2, 7, 3 } }, { 3, { 4, 3, 3 } }, { 1, { 4 } } },
          .attr = CONV(.padding = 1) },
        { .in = { { 3, { 1, 9, 2 } }, { 3, { 3, 4, 2 } }, { .n = AK_ABSENT } },
          .attr = CONV(.stride = 2, .padding = 3) },
        { .in = { { 3, { 2, 8, 4 } }, { 3, { 4, 3, 1 } }, { 1, { 4 } } },
          .attr = CONV(.groups = 4, .dilation = 2, .padding = 2) },
        { .in = { { 3, { 3, 11, 1 } }, { 3, { 5, 5, 1 } }, { 1, { 5 } } },
          .attr = CONV(.stride = 3, .padding = 2) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 2, { 7, 3 } }, { 3, { 4, 3, 3 } }, { .n = AK_ABSENT } } },
        { .in = { { 3, { 2, 7, 3 } }, { 3, { 4, 3, 2 } }, { .n = AK_ABSENT } } },
        { .in = { { 3, { 2, 2, 3 } }, { 3, { 4, 3, 3 } }, { .n = AK_ABSENT } } },
        AK_END },
};

ak_tensor *ak_conv1d(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o)
{
    return ak_apply(&conv1d, (ak_tensor *[]){ x, w, b }, 3, &o);
}

ak_tensor *ak__conv_moments(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o,
                            ak_tensor **moments)
{
    ak_tensor *in[] = { x, w, b, NULL };
    const ak_op *op = x->shape.n == 3 ? &conv1d : &conv2d;
    const ak__conv g = conv_geometry(&(ak_call){ .ctx = x->ctx, .in = in, .attr = &o });
    const int64_t parts = ak__conv_moment_parts(&g);
    in[3] = parts ? ak_zeros(x->ctx, AK_SHAPE(parts, ak__moment_numbers(g.O))) : NULL;
    *moments = in[3];
    return ak_apply(op, in, in[3] ? 4 : 3, &o);
}

/* ---- conv2d_transposed: the data gradient of a convolution, run forward ---------------------- */

/* The convolution whose transpose this is: its input is our output. */
static ak__conv transposed_geometry(const ak_call *k)
{
    const ak_conv_options o = conv_options(k);
    const int64_t *x = k->in[0]->shape.dims, *w = k->in[1]->shape.dims;
    return (ak__conv){
        .N = x[0], .OH = x[1], .OW = x[2], .O = x[3],
        .H = (x[1] - 1) * o.stride - 2 * o.padding + o.dilation * (w[1] - 1) + o.output_padding + 1,
        .W = (x[2] - 1) * o.stride - 2 * o.padding + o.dilation * (w[2] - 1) + o.output_padding + 1,
        .I = w[3] * o.groups, .kH = w[1], .kW = w[2],
        .sh = o.stride, .sw = o.stride, .ph = o.padding, .pw = o.padding, .dh = o.dilation,
        .dw = o.dilation, .groups = o.groups, .exact = o.exact,
    };
}

static ak_status transposed_shape(ak_call *k)
{
    const ak_conv_options o = conv_options(k);
    ak_status s = check_options(k, o);
    if (s == AK_OK)
        s = check_operands(k, 4, "[N, H, W, I]", "[I, kH, kW, O/groups]",
                           k->in[1]->shape.dims[3] * o.groups);
    if (s != AK_OK)
        return s;
    const int64_t I = k->in[0]->shape.dims[3];
    if (k->in[1]->shape.dims[0] != I || I % o.groups != 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "x has %" PRId64 " channels, but the weights take %"
                            PRId64 " in %d groups", I, k->in[1]->shape.dims[0], o.groups);
    if (o.output_padding < 0 || o.output_padding >= (o.stride > o.dilation ? o.stride
                                                                           : o.dilation))
        return ak_call_fail(k, AK_ERR_VALUE, "output_padding %d is not in [0, %d), the larger of "
                            "stride and dilation", o.output_padding,
                            o.stride > o.dilation ? o.stride : o.dilation);
    const ak__conv g = transposed_geometry(k);
    if (g.OH < 1 || g.OW < 1 || g.H < 1 || g.W < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "a padding of %d leaves nothing", o.padding);
    k->out->shape = AK_SHAPE(g.N, g.H, g.W, g.I);
    return AK_OK;
}

static double transposed_flops(const ak_call *k)
{
    const ak__conv g = transposed_geometry(k);
    return ak__conv_flops(&g);
}

static void transposed_forward(ak_call *k)
{
    const ak__conv g = transposed_geometry(k);
    void *scratch = ak_call_scratch(k, ak__conv_data_scratch(&g));
    if (scratch)
        ak__conv_data(&g, k->in[0]->data, k->in[1]->data, k->in[2] ? k->in[2]->data : NULL,
                      k->out->data, false, scratch);
}

static void transposed_backward(ak_call *k)
{
    const ak__conv g = transposed_geometry(k);
    bool fresh;
    bias_backward(k, g.I);
    ak_real *dw = ak_call_grad_fresh(k, 1, &fresh);
    if (dw) {
        void *scratch = ak_call_scratch(k, ak__conv_weight_scratch(&g));
        if (!scratch)
            return;
        ak__conv_weight(&g, k->out->grad, k->in[0]->data, dw, !fresh, scratch);
    }
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx) {
        void *scratch = ak_call_scratch(k, ak__conv_forward_scratch(&g));
        if (scratch)
            ak__conv_forward(&g, k->out->grad, k->in[1]->data, NULL, dx, !fresh, scratch);
    }
}

static const ak_op conv2d_transposed = {
    .name = "conv2d_transposed",
    .formula = "y[n,i s+h d-p,j s+w d-p,o] += x[n,i,j,c] w[c,h,w,o], + b[o]",
    .n_in = 3, .attr_size = sizeof(ak_conv_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "x w b moments", .required = 2,
    .shape = transposed_shape, .forward = transposed_forward, .backward = transposed_backward,
    .reads = AK_READS(0) | AK_READS(1),
    .flops = transposed_flops,
    .samples = (const ak_sample[]){
        { .in = { { 4, { 1, 1, 1, 1 } }, { 4, { 1, 1, 1, 1 } }, { 1, { 1 } } } },
        { .in = { { 4, { 2, 3, 4, 3 } }, { 4, { 3, 3, 3, 2 } }, { 1, { 2 } } },
          .attr = CONV(.stride = 2, .padding = 1, .output_padding = 1) },
        { .in = { { 4, { 1, 3, 2, 2 } }, { 4, { 2, 2, 3, 5 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 1, 3, 3, 4 } }, { 4, { 4, 3, 2, 3 } }, { 1, { 6 } } },
          .attr = CONV(.groups = 2, .stride = 3, .dilation = 2) },
        { .in = { { 4, { 1, 2, 3, 13 } }, { 4, { 13, 4, 4, 13 } }, { 1, { 13 } } },
          .attr = CONV(.stride = 2, .padding = 1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 3, { 3, 4, 3 } }, { 4, { 3, 3, 3, 2 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 2, 3, 4, 3 } }, { 4, { 2, 3, 3, 3 } }, { .n = AK_ABSENT } } },
        { .in = { { 4, { 2, 3, 4, 3 } }, { 4, { 3, 3, 3, 2 } }, { 1, { 3 } } } },
        { .in = { { 4, { 2, 3, 4, 3 } }, { 4, { 3, 3, 3, 2 } }, { .n = AK_ABSENT } },
          .attr = CONV(.output_padding = 1) },
        { .in = { { 4, { 2, 1, 1, 3 } }, { 4, { 3, 3, 3, 2 } }, { .n = AK_ABSENT } },
          .attr = CONV(.padding = 2) },
        AK_END },
};

ak_tensor *ak_conv2d_transposed(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o)
{
    return ak_apply(&conv2d_transposed, (ak_tensor *[]){ x, w, b }, 3, &o);
}

/* ---- pooling --------------------------------------------------------------------------------- */

static ak__pool2d pool_geometry(const ak_call *k)
{
    const ak_pool_options o = *(const ak_pool_options *)k->attr;
    const int64_t *x = k->in[0]->shape.dims;
    return (ak__pool2d){ .N = x[0], .H = x[1], .W = x[2], .C = x[3], .kernel = o.kernel,
                         .stride = o.stride, .padding = o.padding,
                         .OH = ak__conv_extent(x[1], o.kernel, o.stride, o.padding, 1),
                         .OW = ak__conv_extent(x[2], o.kernel, o.stride, o.padding, 1) };
}

static ak_status pool_shape(ak_call *k)
{
    const ak_pool_options o = *(const ak_pool_options *)k->attr;
    if (k->in[0]->shape.n != 4)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs the 4 axes [N, H, W, C]");
    if (within(k, "kernel", o.kernel, 1) != AK_OK || within(k, "stride", o.stride, 1) != AK_OK)
        return AK_ERR_VALUE;
    /* else a window could lie in the padding alone */
    if (o.padding < 0 || o.padding > o.kernel / 2)
        return ak_call_fail(k, AK_ERR_VALUE, "padding %d is not in [0, kernel/2 = %d]", o.padding,
                            o.kernel / 2);
    const ak__pool2d g = pool_geometry(k);
    if (g.H * g.W > INT32_MAX)
        return ak_call_fail(k, AK_ERR_SHAPE, "a picture of %" PRId64 " x %" PRId64 " positions: "
                            "places are counted to %d", g.H, g.W, INT32_MAX);
    if (g.OH < 1 || g.OW < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "a window of %d does not fit into x with its padding "
                            "of %d", o.kernel, o.padding);
    k->out->shape = AK_SHAPE(g.N, g.OH, g.OW, g.C);
    return AK_OK;
}

static double window_flops(const ak_call *k)
{
    const ak_pool_options o = *(const ak_pool_options *)k->attr;
    return (double)k->out->size * o.kernel * o.kernel;
}

static void max_pool_forward(ak_call *k)
{
    const ak__pool2d g = pool_geometry(k);
    int32_t *place = NULL;          /* like out: where the largest was */
    if (ak_call_recorded(k)) {
        place = ak_call_save(k, (size_t)k->out->size * sizeof *place);
        if (!place)
            return;
    }
    ak__max_pool(&g, k->in[0]->data, k->out->data, place);
}

static void max_pool_backward(ak_call *k)
{
    const ak__pool2d g = pool_geometry(k);
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__max_pool_backward(&g, k->out->grad, k->saved, dx, fresh);
}

#define POOL(...) (&(const ak_pool_options){ __VA_ARGS__ })
#define POOL_SAMPLES(extra)                                                                        \
    (const ak_sample[]){                                                                           \
        { .in = { { 4, { 1, 1, 1, 1 } } }, .attr = POOL(1, 1, 0), .flags = (extra) },              \
        { .in = { { 4, { 2, 4, 6, 3 } } }, .attr = POOL(2, 2, 0), .flags = (extra) },              \
        { .in = { { 4, { 1, 7, 5, 2 } } }, .attr = POOL(3, 2, 1), .flags = (extra) },              \
        { .in = { { 4, { 2, 5, 5, 1 } } }, .attr = POOL(2, 3, 1), .flags = (extra) },              \
        { .in = { { 4, { 1, 2, 3, 9 } } }, .attr = POOL(3, 1, 1), .flags = (extra) },              \
        AK_END }
#define POOL_MISUSE                                                                                \
    (const ak_sample[]){                                                                           \
        { .in = { { 3, { 4, 6, 3 } } }, .attr = POOL(2, 2, 0) },                                   \
        { .in = { { 4, { 2, 4, 6, 3 } } }, .attr = POOL(0, 1, 0) },                                \
        { .in = { { 4, { 2, 4, 6, 3 } } }, .attr = POOL(2, 2, 2) },                                \
        { .in = { { 4, { 2, 2, 2, 3 } } }, .attr = POOL(5, 1, 1) },                                \
        AK_END }

static const ak_op max_pool2d = {
    .name = "max_pool2d", .formula = "y = largest of each kernel x kernel window", .n_in = 1,
    .attr_size = sizeof(ak_pool_options), .shape = pool_shape, .forward = max_pool_forward,
    .backward = max_pool_backward, .reads = AK_READS_NONE, .flops = window_flops,
    .samples = POOL_SAMPLES(AK_SAMPLE_DISTINCT), .misuse = POOL_MISUSE,
};

static ak_pool_options pool_defaults(ak_pool_options o)
{
    o.stride = o.stride ? o.stride : o.kernel;
    return o;
}

ak_tensor *ak_max_pool2d(ak_tensor *x, ak_pool_options o)
{
    o = pool_defaults(o);
    return ak_apply(&max_pool2d, &x, 1, &o);
}

static void avg_pool_forward(ak_call *k)
{
    const ak__pool2d g = pool_geometry(k);
    ak__avg_pool(&g, k->in[0]->data, k->out->data);
}

static void avg_pool_backward(ak_call *k)
{
    const ak__pool2d g = pool_geometry(k);
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__avg_pool_backward(&g, k->out->grad, dx, fresh);
}

static const ak_op avg_pool2d = {
    .name = "avg_pool2d", .formula = "y = mean of each kernel x kernel window, padding counted",
    .n_in = 1, .attr_size = sizeof(ak_pool_options), .shape = pool_shape,
    .forward = avg_pool_forward, .backward = avg_pool_backward, .reads = AK_READS_NONE,
    .flops = window_flops,
    .samples = POOL_SAMPLES(0), .misuse = POOL_MISUSE,
};

ak_tensor *ak_avg_pool2d(ak_tensor *x, ak_pool_options o)
{
    o = pool_defaults(o);
    return ak_apply(&avg_pool2d, &x, 1, &o);
}

/* ---- to a given size: adaptive pooling, resizing --------------------------------------------- */

typedef struct target_size { int64_t oh, ow; } target_size;

static ak__pool2d size_geometry(const ak_call *k)
{
    const target_size o = *(const target_size *)k->attr;
    const int64_t *x = k->in[0]->shape.dims;
    return (ak__pool2d){ .N = x[0], .H = x[1], .W = x[2], .C = x[3], .OH = o.oh, .OW = o.ow };
}

static ak_status size_shape(ak_call *k)
{
    const target_size o = *(const target_size *)k->attr;
    const ak_shape x = k->in[0]->shape;
    if (x.n != 4)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs the 4 axes [N, H, W, C]");
    if (x.dims[1] < 1 || x.dims[2] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "the pictures have no pixels");
    if (within(k, "oh", o.oh, 1) != AK_OK || within(k, "ow", o.ow, 1) != AK_OK)
        return AK_ERR_VALUE;
    k->out->shape = AK_SHAPE(x.dims[0], o.oh, o.ow, x.dims[3]);
    return AK_OK;
}

static void adaptive_forward(ak_call *k)
{
    const ak__pool2d g = size_geometry(k);
    ak__adaptive_pool(&g, k->in[0]->data, k->out->data);
}

static void adaptive_backward(ak_call *k)
{
    const ak__pool2d g = size_geometry(k);
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__adaptive_pool_backward(&g, k->out->grad, dx, fresh);
}

#define SIZE(h, w) (&(const target_size){ (h), (w) })
#define SIZE_SAMPLES                                                                               \
    (const ak_sample[]){                                                                           \
        { .in = { { 4, { 1, 1, 1, 1 } } }, .attr = SIZE(1, 1) },                                   \
        { .in = { { 4, { 2, 7, 7, 3 } } }, .attr = SIZE(4, 4) },                                   \
        { .in = { { 4, { 1, 5, 6, 2 } } }, .attr = SIZE(10, 9) },                                  \
        { .in = { { 4, { 2, 3, 4, 5 } } }, .attr = SIZE(1, 2) },                                   \
        { .in = { { 4, { 1, 1, 9, 1 } } }, .attr = SIZE(3, 4) },                                   \
        AK_END }
#define SIZE_MISUSE                                                                                \
    (const ak_sample[]){                                                                           \
        { .in = { { 2, { 4, 6 } } }, .attr = SIZE(2, 2) },                                         \
        { .in = { { 4, { 2, 4, 6, 3 } } }, .attr = SIZE(0, 2) },                                   \
        { .in = { { 4, { 2, 4, 6, 3 } } }, .attr = SIZE(2, -1) },                                  \
        AK_END }

static const ak_op adaptive_avg_pool2d = {
    .name = "adaptive_avg_pool2d",
    .formula = "y[i,j] = mean of x over rows [i H/oh, (i+1) H/oh) and columns likewise",
    .n_in = 1, .attr_size = sizeof(target_size), .shape = size_shape, .forward = adaptive_forward,
    .backward = adaptive_backward, .reads = AK_READS_NONE,
    .samples = SIZE_SAMPLES, .misuse = SIZE_MISUSE,
};

ak_tensor *ak_adaptive_avg_pool2d(ak_tensor *x, int64_t oh, int64_t ow)
{
    return ak_apply(&adaptive_avg_pool2d, &x, 1, &(target_size){ oh, ow });
}

static void resize_forward(ak_call *k)
{
    const ak__pool2d g = size_geometry(k);
    ak__resize(&g, k->in[0]->data, k->out->data);
}

static void resize_backward(ak_call *k)
{
    const ak__pool2d g = size_geometry(k);
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__resize_backward(&g, k->out->grad, dx, fresh);
}

static double resize_flops(const ak_call *k)
{
    return 9.0 * (double)k->out->size;
}

static const ak_op resize_bilinear = {
    .name = "resize_bilinear", .formula = "y(i) = x((i + 1/2) H/oh - 1/2), linear between pixels",
    .n_in = 1, .attr_size = sizeof(target_size), .shape = size_shape, .forward = resize_forward,
    .backward = resize_backward, .flops = resize_flops,
    .reads = AK_READS_NONE, .samples = SIZE_SAMPLES,
    .misuse = SIZE_MISUSE,
};

ak_tensor *ak_resize_bilinear(ak_tensor *x, int64_t oh, int64_t ow)
{
    return ak_apply(&resize_bilinear, &x, 1, &(target_size){ oh, ow });
}

/* ---- global_avg_pool ------------------------------------------------------------------------- */

/* All positions of a sample as one row of pixels. */
static ak__pool2d global_geometry(const ak_call *k)
{
    const ak_tensor *x = k->in[0];
    ak__pool2d g = { .N = x->shape.dims[0], .H = 1, .W = 1, .C = ak_last_dim(x), .OH = 1, .OW = 1 };
    for (int i = 1; i + 1 < x->shape.n; i++)
        g.W *= x->shape.dims[i];
    return g;
}

static ak_status global_shape(ak_call *k)
{
    if (k->in[0]->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs at least 2 axes [N, .., C]");
    const ak__pool2d g = global_geometry(k);
    if (g.W < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "a mean of no positions");
    k->out->shape = AK_SHAPE(g.N, g.C);
    return AK_OK;
}

static double global_flops(const ak_call *k)
{
    return (double)k->in[0]->size;
}

static void global_forward(ak_call *k)
{
    const ak__pool2d g = global_geometry(k);
    ak__adaptive_pool(&g, k->in[0]->data, k->out->data);
}

static void global_backward(ak_call *k)
{
    const ak__pool2d g = global_geometry(k);
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__adaptive_pool_backward(&g, k->out->grad, dx, fresh);
}

static const ak_op global_avg_pool = {
    .name = "global_avg_pool", .formula = "y[n,c] = mean over all positions of x[n,..,c]",
    .n_in = 1, .shape = global_shape, .forward = global_forward, .backward = global_backward,
    .reads = AK_READS_NONE, .flops = global_flops,
    .samples = (const ak_sample[]){ { .in = { { 2, { 1, 1 } } } },
                                    { .in = { { 4, { 2, 3, 5, 4 } } } },
                                    { .in = { { 3, { 3, 7, 2 } } } },
                                    { .in = { { 2, { 4, 9 } } } },
                                    { .in = { { 5, { 1, 2, 2, 3, 3 } } } }, AK_END },
    .misuse = (const ak_sample[]){ { .in = { { 1, { 4 } } } },
                                   { .in = { { 4, { 2, 0, 3, 4 } } } }, AK_END },
};

ak_tensor *ak_global_avg_pool(ak_tensor *x)
{
    return ak_apply(&global_avg_pool, &x, 1, NULL);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_conv[] = {
    &conv2d, &conv1d, &conv2d_transposed, &max_pool2d, &avg_pool2d, &adaptive_avg_pool2d,
    &global_avg_pool, &resize_bilinear, NULL,
};
