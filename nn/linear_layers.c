/* SPDX-License-Identifier: Apache-2.0 */
/* The linear layer. */
#include "nn/module.h"

#include <inttypes.h>

typedef struct linear_layer {
    ak_tensor *weight, *bias;
    bool       relu;
} linear_layer;

static ak_tensor *linear_layer_forward(ak_module *m, ak_tensor *x)
{
    const linear_layer *l = ak_module_user(m);
    const int64_t in = l->weight->shape.dims[1];
    if (x->shape.n < 1 || ak_last_dim(x) != in)
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", in);
    return l->relu ? ak_linear_relu(x, l->weight, l->bias) : ak_linear(x, l->weight, l->bias);
}

ak_module *ak_nn_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                        ak_linear_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak__module_make(ctx, name, linear_layer_forward, sizeof(linear_layer));
    if (!m || !ak__module_positive(ctx, name, "in", in) ||
        !ak__module_positive(ctx, name, "out", out))
        return NULL;
    linear_layer *l = ak_module_user(m);
    l->relu = o.relu;
    l->weight = ak__module_weight(m, AK_SHAPE(out, in), o.weight);
    l->bias = o.no_bias ? NULL : ak__module_bias(m, out, l->weight);
    ak_module_describe(m, "linear %" PRId64 " -> %" PRId64 "%s%s", in, out,
                       o.no_bias ? ", no bias" : "", o.relu ? ", ReLU" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
