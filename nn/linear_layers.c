/* SPDX-License-Identifier: Apache-2.0 */
/* The linear layer. */
#include "nn/linear.h"

#include <inttypes.h>

enum { WEIGHT, BIAS };      /* own tensors; no bias: none behind the weight */

static ak_tensor *linear_layer_forward(ak_module *m, ak_tensor *x)
{
    const ak__linear *l = ak_module_user(m);
    ak_tensor *w = ak__own(m, WEIGHT), *b = l->bias ? ak__own(m, BIAS) : NULL;
    const int64_t in = w->shape.dims[1];
    if (x->shape.n < 1 || ak_last_dim(x) != in)
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", in);
    if (l->rank) {
        ak_tensor *y = ak__lora_forward(m, x, ak_linear(x, w, b));
        return l->relu ? ak_relu(y) : y;
    }
    return l->relu ? ak_linear_relu(x, w, b) : ak_linear(x, w, b);
}

static const ak_module_kind linear_kind = { .name = "linear", .forward = linear_layer_forward,
                                            AK__STATE(ak__linear) };

ak__linear *ak__linear_of(const ak_module *m)
{
    return m->kind == &linear_kind ? m->user : NULL;
}

bool ak__is_plain_linear(const ak_module *m)
{
    return m->kind == &linear_kind && m->n_tensors <= 2 && m->n_children == 0 &&
           !((const ak__linear *)m->user)->relu;
}

ak_module *ak_nn_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                        ak_linear_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &linear_kind);
    if (!m || !ak__module_positive(m, "in", in) || !ak__module_positive(m, "out", out))
        return NULL;
    ak__linear *l = ak_module_user(m);
    l->relu = o.relu;
    l->bias = !o.no_bias;
    const ak_tensor *w = ak__module_weight(m, AK_SHAPE(out, in), o.weight);
    if (!o.no_bias)
        ak__module_bias(m, out, w);
    ak_module_describe(m, "linear %" PRId64 " -> %" PRId64 "%s%s", in, out,
                       o.no_bias ? ", no bias" : "", o.relu ? ", ReLU" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
