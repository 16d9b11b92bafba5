/* SPDX-License-Identifier: Apache-2.0 */
/* The dropout module. */
#include "nn/module.h"

static ak_tensor *dropout_layer_forward(ak_module *m, ak_tensor *x)
{
    const double *p = ak_module_user(m);
    return ak_dropout(x, *p);
}

static const ak_module_kind dropout_kind = { .name = "dropout", .forward = dropout_layer_forward,
                                             AK__STATE(double) };

ak_module *ak_nn_dropout(ak_ctx *ctx, const char *name, double p)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &dropout_kind);
    if (!m)
        return NULL;
    if (!(p >= 0 && p < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: the probability must be in [0, 1), got %g", m->name, p);
        return NULL;
    }
    *(double *)ak_module_user(m) = p;
    ak_module_describe(m, "dropout %g", p);
    return m;
}
