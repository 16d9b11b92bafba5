/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: one after the other, and with a shortcut around. */
#include "nn/module.h"

static ak_tensor *sequential_forward(ak_module *m, ak_tensor *x)
{
    ak_module *part;
    for (int64_t i = 0; (part = ak_module_child(m, i)) != NULL; i++)
        x = ak_forward(part, x);
    return x;
}

ak_module *ak_nn_sequential(ak_ctx *ctx, const char *name, ak_module *const *parts)
{
    ak_module *m = ak__module_make(ctx, name, sequential_forward, 0);
    if (!m)
        return NULL;
    for (; *parts; parts++)
        ak_module_add(m, *parts);
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
        char body[96];
        return ak__module_shape_error(m, s, "of the body's shape %s on the shortcut",
                                      ak_shape_text(y->shape, body));
    }
    return ak_activate(ak_add(y, s), r->activation);
}

ak_module *ak_nn_residual(ak_ctx *ctx, const char *name, ak_module *body, ak_module *shortcut,
                          ak_activation activation)
{
    if (ak_error(ctx) != AK_OK)
        return NULL;
    if (!body) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: a residual module needs a body", name);
        return NULL;
    }
    ak_module *m = ak__module_make(ctx, name, residual_forward, sizeof(residual));
    if (!m)
        return NULL;
    *(residual *)ak_module_user(m) = (residual){ body, shortcut, activation };
    ak_module_add(m, body);
    ak_module_add(m, shortcut);
    ak_module_describe(m, "residual");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
