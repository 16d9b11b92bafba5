/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution, batch norm, sum and activation as one unit, so that what lies between them needs no
 * pass over memory of its own. */
#include "nn/module.h"

enum { CONV, NORM };        /* its children */

ak_tensor *ak__conv_norm_forward(ak_module *unit, ak_tensor *x, ak_tensor *skip, bool last)
{
    const ak_conv_norm_options *o = ak_module_user(unit);
    ak_tensor *moments = NULL;
    const bool split = ak__norm_is_split(unit->children[NORM]);
    ak_tensor *c = ak__run(unit->children[CONV], &(ak_inputs){ .x = x },
                           split ? NULL : &(ak__handed){ .wanted = &moments });
    if (last)
        ak_done_with(x, true);
    if (skip && !ak_is_poison(c) && !ak_is_poison(skip) &&
        !ak_shape_equal(skip->shape, c->shape)) {
        char text[AK_SHAPE_TEXT];
        return ak__module_shape_error(unit, skip, "of the convolution's shape %s as skip",
                                      ak_shape_text(c->shape, text));
    }
    const bool relu = o->activation == AK_RELU;
    ak_tensor *y = ak__run(unit->children[NORM], &(ak_inputs){ .x = c },
                           &(ak__handed){ .moments = moments, .skip = skip, .relu = relu });
    ak_done_with(c, false);
    return relu || o->activation == AK_IDENTITY ? y : ak_activate(y, o->activation);
}

static ak_tensor *forward_with_skip(ak_module *m, const ak_inputs *in)
{
    return ak__conv_norm_forward(m, in->x, in->skip, false);
}

static ak_tensor *forward_alone(ak_module *m, ak_tensor *x)
{
    return ak__conv_norm_forward(m, x, NULL, false);
}

static const ak_module_kind conv_norm_kind = {
    .name = "conv + batch norm", .forward = forward_alone,
    AK__STATE(ak_conv_norm_options) };
static const ak_module_kind conv_norm_skip_kind = {
    .name = "conv + batch norm + skip", .forward_with = forward_with_skip,
    .needs = AK_IN_X | AK_IN_SKIP, AK__STATE(ak_conv_norm_options) };

static bool parts_fit(ak_module *m, const ak_module *conv, const ak_module *norm)
{
    if (ak__gives_moments(conv) && ak__takes_moments(norm) && !ak__norm_has_relu(norm))
        return true;
    const bool first = ak__gives_moments(conv);
    if (first && ak__takes_moments(norm)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s has .relu, which would come before .activation",
                m->name, norm->name);
        return false;
    }
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s (%s) is no %s", m->name,
            first ? norm->name : conv->name, first ? norm->what : conv->what,
            first ? "batch norm" : "convolution of pictures or sequences");
    return false;
}

ak_module *ak_nn_conv_norm(ak_ctx *ctx, const char *name, ak_module *conv, ak_module *norm,
                           ak_conv_norm_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, conv) ||
        !AK__GIVEN(ctx, norm))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    ak_module *m = ak_module_make(ctx, name, o.skip ? &conv_norm_skip_kind : &conv_norm_kind);
    if (!m || !parts_fit(m, conv, norm))
        return NULL;
    if ((int)o.activation < 0 || o.activation > AK_IDENTITY) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: unknown activation %d (ak_activation: 0 to %d)", m->name,
                (int)o.activation, (int)AK_IDENTITY);
        return NULL;
    }
    *(ak_conv_norm_options *)ak_module_user(m) = o;
    ak_module_add(m, conv);
    ak_module_add(m, norm);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
