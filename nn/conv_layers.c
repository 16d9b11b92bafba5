/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution layers: pictures, sequences, transposed. */
#include "nn/module.h"

#include "autograd/moments.h"

#include <inttypes.h>

typedef struct conv_layer {
    ak_tensor       *weight, *bias;
    ak_conv_options  options;
    int64_t          in;
    ak_tensor      **moments;   /* where this forward leaves them; NULL: nobody asks */
} conv_layer;

static ak_tensor *convolve(const conv_layer *l, ak_tensor *x)
{
    if (l->moments)
        return ak__conv_moments(x, l->weight, l->bias, l->options, l->moments);
    return (x->shape.n == 3 ? ak_conv1d : ak_conv2d)(x, l->weight, l->bias, l->options);
}

static ak_tensor *conv2d_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != l->in)
        return ak__module_shape_error(m, x, "[N, H, W, %" PRId64 "]", l->in);
    return convolve(l, x);
}

static ak_tensor *conv1d_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    if (x->shape.n != 3 || ak_last_dim(x) != l->in)
        return ak__module_shape_error(m, x, "[N, T, %" PRId64 "]", l->in);
    return convolve(l, x);
}

ak_tensor *ak__forward_to_norm(ak_module *m, ak_tensor *x, ak_tensor **moments)
{
    const ak_forward_fn layer = ak__module_function(m);
    *moments = NULL;
    if ((layer != conv2d_layer_forward && layer != conv1d_layer_forward) ||
        !ak_is_training(ak_module_ctx(m)))
        return ak_forward(m, x);
    conv_layer *l = ak_module_user(m);
    l->moments = moments;
    ak_tensor *y = ak_forward(m, x);
    l->moments = NULL;
    return y;
}

static ak_tensor *conv_transposed_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != l->in)
        return ak__module_shape_error(m, x, "[N, H, W, %" PRId64 "]", l->in);
    return ak_conv2d_transposed(x, l->weight, l->bias, l->options);
}

static bool conv_layer_fits(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                            const ak_conv_options *o)
{
    if (!ak__module_positive(ctx, name, "in", in) || !ak__module_positive(ctx, name, "out", out) ||
        !ak__module_positive(ctx, name, "kernel", kernel) ||
        !ak__module_positive(ctx, name, "stride", o->stride) ||
        !ak__module_positive(ctx, name, "dilation", o->dilation) ||
        !ak__module_positive(ctx, name, "groups", o->groups))
        return false;
    if (in % o->groups == 0 && out % o->groups == 0 && o->padding >= 0 && o->output_padding >= 0)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: groups %d must divide in %" PRId64 " and out %" PRId64
            "; padding %d and output_padding %d must be >= 0", name, o->groups, in, out,
            o->padding, o->output_padding);
    return false;
}

/* The common part: checks, options with their defaults, weight of the given shape function. */
static ak_module *conv_layer_make(ak_ctx *ctx, const char *name, ak_forward_fn forward,
                                  const char *kind, int64_t in, int64_t out, int kernel,
                                  const ak_conv_layer_options *o)
{
    ak_module *m = ak__module_make(ctx, name, forward, sizeof(conv_layer));
    if (!m)
        return NULL;
    conv_layer *l = ak_module_user(m);
    l->in = in;
    l->options = (ak_conv_options){
        .stride = o->stride ? o->stride : 1,
        .padding = o->padding,
        .dilation = o->dilation ? o->dilation : 1,
        .groups = o->groups ? o->groups : 1,
        .output_padding = o->output_padding,
        .exact = o->exact,
    };
    if (!conv_layer_fits(ctx, name, in, out, kernel, &l->options))
        return NULL;
    const int64_t g = l->options.groups;
    const ak_shape shape = forward == conv2d_layer_forward ? AK_SHAPE(out, kernel, kernel, in / g)
                           : forward == conv1d_layer_forward ? AK_SHAPE(out, kernel, in / g)
                           : AK_SHAPE(in, kernel, kernel, out / g);
    l->weight = ak__module_weight(m, shape, o->weight);
    l->bias = o->no_bias ? NULL : ak__module_bias(m, out, l->weight);
    ak_module_describe(m, "%s %d, %" PRId64 " -> %" PRId64 ", stride %d%s", kind, kernel, in, out,
                       l->options.stride, o->no_bias ? ", no bias" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_conv2d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                        ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, conv2d_layer_forward, "conv2d", in, out, kernel, &o);
}

ak_module *ak_nn_conv1d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                        ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, conv1d_layer_forward, "conv1d", in, out, kernel, &o);
}

ak_module *ak_nn_conv2d_transposed(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                                   int kernel, ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, conv_transposed_layer_forward, "transposed conv2d", in, out,
                           kernel, &o);
}
