/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: multi-layer perceptrons in the forms that contrastive methods use. */
#include "nn/module.h"

#include <stdio.h>
#include <string.h>

static ak_tensor *mlp_forward(ak_module *m, ak_tensor *x)
{
    ak_module *part;
    for (int64_t i = 0; (part = ak_module_child(m, i)) != NULL; i++)
        x = ak_forward(part, x);
    return x;
}

static const ak_module_kind mlp_kind = { .name = "mlp", .forward = mlp_forward };

/* Layer i (from 1) of the open module: dropout, linear, batch norm, activation, each where asked
 * for. */
static void add_mlp_layer(ak_ctx *ctx, int i, int in, int out, bool last, const ak_mlp_options *o)
{
    char name[32];
    const bool norm = last ? o->batch_norm_out : o->batch_norm;
    const bool relu = !last && o->activation == AK_RELU;
    if (i > 1 && o->dropout > 0)
        ak_nn_dropout(ctx, ak__numbered(name, "drop", i), o->dropout);
    ak_nn_linear(ctx, ak__numbered(name, "fc", i), in, out,
                 (ak_linear_options){ .no_bias = o->no_bias || norm || (last && o->no_bias_out),
                                      .relu = relu && !norm, .weight = o->weight });
    if (norm)
        ak_nn_batch_norm(ctx, ak__numbered(name, "bn", i), out,
                         (ak_batch_norm_options){ .relu = relu, .groups = o->groups,
                                                  .no_affine = last && o->plain_out });
    if (!last && !relu)
        ak_nn_activation(ctx, ak__numbered(name, "act", i), o->activation);
}

ak_module *ak_mlp_with(ak_ctx *ctx, const char *name, const int *sizes, ak_mlp_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, sizes))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &mlp_kind);
    if (!m)
        return NULL;
    int n = 0;
    while (n <= AK__LIST_MAX && sizes[n] > 0)
        n++;
    if (n > AK__LIST_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: more than %d sizes: does the list end with 0?", m->name,
                AK__LIST_MAX);
        return NULL;
    }
    if (sizes[n] < 0 || n < 2) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: sizes must be at least two numbers >= 1 and then 0; number "
                "%d is %d", m->name, n, sizes[n]);
        return NULL;
    }
    if (!(o.dropout >= 0 && o.dropout < 1) || (int)o.activation < 0 ||
        o.activation > AK_IDENTITY) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .dropout %g must be in [0, 1), .activation %d in [0, %d] "
                "(ak_activation)", m->name, o.dropout, (int)o.activation, (int)AK_IDENTITY);
        return NULL;
    }
    if (o.plain_out && !o.batch_norm_out) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .plain_out is about the batch norm of .batch_norm_out, "
                "which is not asked for", m->name);
        return NULL;
    }
    char text[96] = "mlp";
    for (int i = 0; i < n; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, " %s%d", i ? "-> " : "", sizes[i]);
    }
    ak_module_describe(m, "%s", text);
    ak_module_begin(m);
    for (int i = 1; i < n; i++)
        add_mlp_layer(ctx, i, sizes[i - 1], sizes[i], i == n - 1, &o);
    return ak_module_end(m);
}

ak_module *ak_mlp(ak_ctx *ctx, const char *name, const int *sizes)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, sizes))
        return NULL;
    return ak_mlp_with(ctx, name, sizes, (ak_mlp_options){ 0 });
}

ak_module *ak_projector(ak_ctx *ctx, const char *name, int in, int hidden, int out)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return ak_mlp_with(ctx, name, (int[]){ in, hidden, out, 0 },
                       (ak_mlp_options){ .batch_norm = true, .batch_norm_out = true });
}

ak_module *ak_predictor(ak_ctx *ctx, const char *name, int dim, int hidden)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return ak_mlp_with(ctx, name, (int[]){ dim, hidden, dim, 0 },
                       (ak_mlp_options){ .batch_norm = true });
}
