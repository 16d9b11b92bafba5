/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution layers: pictures, sequences, transposed. */
#include "nn/module.h"

#include "autograd/moments.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>

enum { WEIGHT, BIAS };      /* own tensors; no bias: none behind the weight */
typedef struct conv_layer {
    ak_conv_options options;
    int64_t         in;
} conv_layer;

/* Does x have as many axes and channels as it should? Else poison with the error. */
static bool fits(ak_module *m, const ak_tensor *x, int axes)
{
    const conv_layer *l = ak_module_user(m);
    if (x->shape.n == axes && ak_last_dim(x) == l->in)
        return true;
    ak__module_shape_error(m, x, axes == 4 ? "[N, H, W, %" PRId64 "]" : "[N, T, %" PRId64 "]",
                           l->in);
    return false;
}

static ak_tensor *conv2d_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    return fits(m, x, 4) ? ak_conv2d(x, ak__own(m, WEIGHT), ak__own(m, BIAS), l->options)
                         : &ak__poison;
}

static ak_tensor *conv1d_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    return fits(m, x, 3) ? ak_conv1d(x, ak__own(m, WEIGHT), ak__own(m, BIAS), l->options)
                         : &ak__poison;
}

static ak_tensor *conv_transposed_layer_forward(ak_module *m, ak_tensor *x)
{
    const conv_layer *l = ak_module_user(m);
    return fits(m, x, 4) ? ak_conv2d_transposed(x, ak__own(m, WEIGHT), ak__own(m, BIAS), l->options)
                         : &ak__poison;
}

/* For a batch norm behind: the weight has as many axes as x. */
static ak_tensor *conv_to_norm(ak_module *m, ak_tensor *x, ak_tensor **moments)
{
    const conv_layer *l = ak_module_user(m);
    ak_tensor *w = ak__own(m, WEIGHT);
    return fits(m, x, w->shape.n) ? ak__conv_moments(x, w, ak__own(m, BIAS), l->options, moments)
                                  : &ak__poison;
}

static const ak__fusion conv_fusion = { .to_norm = conv_to_norm };
static const ak_module_kind conv2d_kind = {
    .name = "conv2d", .forward = conv2d_layer_forward, AK__STATE(conv_layer),
    .fusion = &conv_fusion };
static const ak_module_kind conv1d_kind = {
    .name = "conv1d", .forward = conv1d_layer_forward, AK__STATE(conv_layer),
    .fusion = &conv_fusion };
static const ak_module_kind conv_transposed_kind = {
    .name = "transposed conv2d", .forward = conv_transposed_layer_forward,
    AK__STATE(conv_layer) };

bool ak__is_convolution(const ak_module *m)
{
    return m->kind == &conv2d_kind || m->kind == &conv1d_kind || m->kind == &conv_transposed_kind;
}

static bool conv_layer_fits(ak_module *m, int64_t in, int64_t out, int kernel,
                            const ak_conv_options *o)
{
    if (!ak__module_positive(m, "in", in) || !ak__module_positive(m, "out", out) ||
        !ak__module_positive(m, "kernel", kernel) || !ak__module_positive(m, "stride", o->stride) ||
        !ak__module_positive(m, "dilation", o->dilation) ||
        !ak__module_positive(m, "groups", o->groups))
        return false;
    if (in % o->groups == 0 && out % o->groups == 0 && o->padding >= 0 && o->output_padding >= 0)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: groups %d must divide in %" PRId64 " and out %" PRId64
            "; padding %d and output_padding %d must be >= 0", m->name, o->groups, in, out,
            o->padding, o->output_padding);
    return false;
}

/* The common part: checks, options with their defaults, weight of the kind's shape. */
static ak_module *conv_layer_make(ak_ctx *ctx, const char *name, const ak_module_kind *kind,
                                  int64_t in, int64_t out, int kernel,
                                  const ak_conv_layer_options *o)
{
    ak_module *m = ak_module_make(ctx, name, kind);
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
    if (!conv_layer_fits(m, in, out, kernel, &l->options))
        return NULL;
    const int64_t g = l->options.groups;
    const ak_shape shape = kind == &conv2d_kind ? AK_SHAPE(out, kernel, kernel, in / g)
                           : kind == &conv1d_kind ? AK_SHAPE(out, kernel, in / g)
                           : AK_SHAPE(in, kernel, kernel, out / g);
    const ak_tensor *w = ak__module_weight(m, shape, o->weight);
    if (!o->no_bias)
        ak__module_bias(m, out, w);
    ak_module_describe(m, "%s %d, %" PRId64 " -> %" PRId64 ", stride %d%s", kind->name, kernel, in,
                       out, l->options.stride, o->no_bias ? ", no bias" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_conv2d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                        ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, &conv2d_kind, in, out, kernel, &o);
}

ak_module *ak_nn_conv1d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                        ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, &conv1d_kind, in, out, kernel, &o);
}

ak_module *ak_nn_conv2d_transposed(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                                   int kernel, ak_conv_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return conv_layer_make(ctx, name, &conv_transposed_kind, in, out, kernel, &o);
}
