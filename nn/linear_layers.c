/* SPDX-License-Identifier: Apache-2.0 */
/* The linear layer. */
#include "nn/module.h"

#include <inttypes.h>

enum { WEIGHT, BIAS };      /* own tensors; no bias: none behind the weight */
typedef struct linear_layer { bool relu; } linear_layer;

static ak_tensor *linear_layer_forward(ak_module *m, ak_tensor *x)
{
    const linear_layer *l = ak_module_user(m);
    ak_tensor *w = ak__own(m, WEIGHT), *b = ak__own(m, BIAS);
    const int64_t in = w->shape.dims[1];
    if (x->shape.n < 1 || ak_last_dim(x) != in)
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", in);
    return l->relu ? ak_linear_relu(x, w, b) : ak_linear(x, w, b);
}

static const ak_module_kind linear_kind = { .name = "linear", .forward = linear_layer_forward,
                                            .state_bytes = sizeof(linear_layer) };

bool ak__is_plain_linear(const ak_module *m)
{
    return m->kind == &linear_kind && m->n_tensors <= 2 && m->n_children == 0 &&
           !((const linear_layer *)m->user)->relu;
}

ak_module *ak_nn_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                        ak_linear_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &linear_kind);
    if (!m || !ak__module_positive(m, "in", in) || !ak__module_positive(m, "out", out))
        return NULL;
    linear_layer *l = ak_module_user(m);
    l->relu = o.relu;
    const ak_tensor *w = ak__module_weight(m, AK_SHAPE(out, in), o.weight);
    if (!o.no_bias)
        ak__module_bias(m, out, w);
    ak_module_describe(m, "linear %" PRId64 " -> %" PRId64 "%s%s", in, out,
                       o.no_bias ? ", no bias" : "", o.relu ? ", ReLU" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
