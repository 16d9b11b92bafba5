/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: one after the other, and with a shortcut around. */
#include "nn/module.h"

ak_tensor *ak__forward_child(ak_module *m, int64_t i, ak_tensor *x, ak_tensor **moments)
{
    ak_module *part = ak_module_child(m, i);
    ak_tensor *given = *moments;
    *moments = NULL;
    if (ak__is_batch_norm(part))
        return ak__batch_norm_forward(part, x, given, NULL);
    if (ak__is_batch_norm(ak_module_child(m, i + 1)))
        return ak__forward_to_norm(part, x, moments);
    return ak_forward(part, x);
}

static ak_tensor *sequential_forward(ak_module *m, ak_tensor *x)
{
    ak_tensor *moments = NULL;
    for (int64_t i = 0; ak_module_child(m, i); i++)
        x = ak__forward_child(m, i, x, &moments);
    return x;
}

ak_module *ak_nn_sequential(ak_ctx *ctx, const char *name, ak_module *const *parts)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, parts))
        return NULL;
    ak_module *m = ak__module_make(ctx, name, sequential_forward, 0);
    if (!m)
        return NULL;
    for (int i = 0; parts[i]; i++) {
        if (i == AK__LIST_MAX) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: more than %d parts: does the list end with NULL?", name,
                    AK__LIST_MAX);
            return NULL;
        }
        ak_module_add(m, parts[i]);
    }
    ak_module_describe(m, "sequential");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

typedef struct residual {
    ak_module    *body, *shortcut;      /* shortcut NULL: x itself */
    ak_activation activation;
} residual;

static ak_tensor *residual_forward(ak_module *m, ak_tensor *x)
{
    const residual *r = ak_module_user(m);
    ak_tensor *y = ak_forward(r->body, x);
    ak_tensor *s = r->shortcut ? ak_forward(r->shortcut, x) : x;
    if (ak_is_poison(y) || ak_is_poison(s))
        return ak_is_poison(y) ? y : s;
    if (!ak_shape_equal(y->shape, s->shape)) {
        char body[AK_SHAPE_TEXT];
        return ak__module_shape_error(m, s, "of the body's shape %s on the shortcut",
                                      ak_shape_text(y->shape, body));
    }
    return ak_activate(ak_add(y, s), r->activation);
}

ak_module *ak_nn_residual(ak_ctx *ctx, const char *name, ak_module *body, ak_module *shortcut,
                          ak_activation activation)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, body))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    if ((int)activation < 0 || activation > AK_IDENTITY) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: unknown activation %d (ak_activation: 0 to %d)", name,
                (int)activation, (int)AK_IDENTITY);
        return NULL;
    }
    ak_module *m = ak__module_make(ctx, name, residual_forward, sizeof(residual));
    if (!m)
        return NULL;
    *(residual *)ak_module_user(m) = (residual){ body, shortcut, activation };
    ak_module_add(m, body);
    if (shortcut)
        ak_module_add(m, shortcut);
    ak_module_describe(m, "residual");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
