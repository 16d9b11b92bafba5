/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: one after the other, and with a shortcut around. */
#include "nn/module.h"

#include "tensor/tensor_internal.h"

/* ---- sequential ------------------------------------------------------------------------------ */

/* Every part gets x from the one before it and, of the other inputs, those that it takes. Between a
 * convolution and a batch norm the moments are handed on. */
static ak_tensor *sequential_forward(ak_module *m, const ak_inputs *in)
{
    const bool *inside = ak_module_user(m);
    ak_inputs now = *in;
    ak_tensor *moments = NULL;
    if (*inside && m->n_children == 0) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): has no parts\n    hint: they are made between "
                "ak_module_begin(m) and ak_module_end(m)", m->name, m->what);
        return &ak__poison;
    }
    for (int64_t i = 0; i < m->n_children; i++) {
        ak_module *part = m->children[i], *next = i + 1 < m->n_children ? m->children[i + 1] : NULL;
        const ak_inputs own = ak_inputs_for(part, now);
        ak__handed h = { .moments = moments };
        const bool norm = ak__takes_moments(part);
        const bool conv = ak__gives_moments(part) && next && ak__takes_moments(next) &&
                          !ak__norm_is_split(next);
        moments = NULL;
        if (conv)
            h.wanted = &moments;
        now.x = ak__run(part, &own, norm || conv ? &h : NULL);
    }
    return now.x;
}

static const ak_module_kind sequential_kind = { .name = "sequential", .container = true,
                                                .forward_with = sequential_forward,
                                                AK__STATE(bool) /* made inside */ };

ak_module *ak_nn_sequential(ak_ctx *ctx, const char *name, ak_module *const *parts)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &sequential_kind);
    if (!m)
        return NULL;
    *(bool *)ak_module_user(m) = !parts;
    for (int i = 0; parts && parts[i]; i++) {
        if (i == AK__LIST_MAX) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: more than %d parts: does the list end with NULL?",
                    m->name, AK__LIST_MAX);
            return NULL;
        }
        ak_module_add(m, parts[i]);
    }
    return ak_error(ctx) == AK_OK ? m : NULL;
}

/* ---- residual -------------------------------------------------------------------------------- */

enum { BODY, SHORTCUT };        /* children; no shortcut: x itself */

static ak_tensor *residual_forward(ak_module *m, const ak_inputs *in)
{
    const ak_activation *activation = ak_module_user(m);
    if (m->n_children < 1 || m->n_children > 2) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): has %d parts; it wants a body, and a shortcut or "
                "none", m->name, m->what, (int)m->n_children);
        return &ak__poison;
    }
    ak_inputs own = ak_inputs_for(m->children[BODY], *in);
    ak_tensor *y = ak__run(m->children[BODY], &own, NULL), *s = in->x;
    if (m->n_children == 2) {
        own = ak_inputs_for(m->children[SHORTCUT], *in);
        s = ak__run(m->children[SHORTCUT], &own, NULL);
    }
    if (ak_is_poison(y) || ak_is_poison(s))
        return ak_is_poison(y) ? y : s;
    if (!ak_shape_equal(y->shape, s->shape)) {
        char body[AK_SHAPE_TEXT];
        return ak__module_shape_error(m, s, "of the body's shape %s on the shortcut",
                                      ak_shape_text(y->shape, body));
    }
    return ak_activate(ak_add(y, s), *activation);
}

static const ak_module_kind residual_kind = {
    .name = "residual", .container = true, .forward_with = residual_forward,
    .needs = AK_IN_X, AK__STATE(ak_activation) };

ak_module *ak_nn_residual(ak_ctx *ctx, const char *name, ak_module *body, ak_module *shortcut,
                          ak_activation activation)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || (shortcut && !AK__GIVEN(ctx, body)))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &residual_kind);
    if (!m)
        return NULL;
    if ((int)activation < 0 || activation > AK_IDENTITY) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: unknown activation %d (ak_activation: 0 to %d)", m->name,
                (int)activation, (int)AK_IDENTITY);
        return NULL;
    }
    *(ak_activation *)ak_module_user(m) = activation;
    if (body)
        ak_module_add(m, body);
    if (shortcut)
        ak_module_add(m, shortcut);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
