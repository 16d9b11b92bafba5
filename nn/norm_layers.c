/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation layers: batch, layer, group, RMS. */
#include "nn/module.h"

#include "autograd/moments.h"

#include <inttypes.h>
#include <math.h>

typedef struct norm_layer {
    ak_tensor *weight, *bias;
    ak_tensor *running_mean, *running_var;  /* batch norm */
    ak_batch_norm_options batch;
    ak_tensor *moments, *skip;              /* of this forward, or NULL */
    int64_t    dim;
    double     eps;
    int        groups;
} norm_layer;

static bool norm_fits(const norm_layer *l, const ak_tensor *x)
{
    return x->shape.n >= 1 && ak_last_dim(x) == l->dim;
}

static ak_tensor *batch_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x) || x->shape.n < 2)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", l->dim);
    if (ak_is_training(ak_module_ctx(m)) && x->size == l->dim)
        return ak__module_shape_error(m, x, "with more than one value a channel: statistics of a "
                                            "batch of 1 do not exist in train mode");
    return ak__batch_norm_moments(x, l->moments, l->skip, l->weight, l->bias, l->running_mean,
                                  l->running_var, l->batch);
}

bool ak__is_batch_norm(const ak_module *m)
{
    return ak__module_function(m) == batch_norm_layer_forward;
}

ak_tensor *ak__batch_norm_forward(ak_module *m, ak_tensor *x, ak_tensor *moments, ak_tensor *skip)
{
    if (skip && ak_is_poison(skip))
        return skip;
    norm_layer *l = m ? ak_module_user(m) : NULL;
    if (l) {
        l->moments = moments;
        l->skip = skip;
    }
    ak_tensor *y = ak_forward(m, x);
    if (l)
        l->moments = l->skip = NULL;
    return y;
}

static ak_tensor *layer_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x))
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", l->dim);
    return ak_layer_norm(x, l->weight, l->bias, l->eps);
}

static ak_tensor *rms_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x))
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", l->dim);
    return ak_rms_norm(x, l->weight, l->eps);
}

static ak_tensor *group_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x) || x->shape.n < 2)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", l->dim);
    return ak_group_norm(x, l->weight, l->bias, l->groups, l->eps);
}

static ak_module *norm_layer_make(ak_ctx *ctx, const char *name, ak_forward_fn forward,
                                  int64_t dim, double eps)
{
    ak_module *m = ak__module_make(ctx, name, forward, sizeof(norm_layer));
    if (!m || !ak__module_positive(ctx, name, "the number of features", dim))
        return NULL;
    if (!(eps >= 0 && isfinite(eps))) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: eps must be >= 0 and finite, got %g", name, eps);
        return NULL;
    }
    norm_layer *l = ak_module_user(m);
    l->dim = dim;
    l->eps = eps;
    l->weight = ak__module_scale(m, "weight", dim, 1);
    if (forward != rms_norm_layer_forward)
        l->bias = ak__module_scale(m, "bias", dim, 0);
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_batch_norm(ak_ctx *ctx, const char *name, int64_t channels,
                            ak_batch_norm_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    if (!(o.momentum >= 0 && o.momentum <= 1) && o.momentum != AK_NONE) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: momentum must be in [0, 1] or AK_NONE, got %g", name,
                o.momentum);
        return NULL;
    }
    ak_module *m = norm_layer_make(ctx, name, batch_norm_layer_forward, channels, o.eps);
    if (!m)
        return NULL;
    norm_layer *l = ak_module_user(m);
    l->batch = o;
    l->running_mean = ak_module_add_buffer(m, "running_mean", AK_SHAPE(channels));
    l->running_var = ak_module_add_buffer(m, "running_var", AK_SHAPE(channels));
    if (!ak_is_poison(l->running_var))
        ak_fill(l->running_var, 1);
    ak_module_describe(m, "batch norm %" PRId64 "%s", channels, o.relu ? " + ReLU" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_layer_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, layer_norm_layer_forward, dim, eps);
    ak_module_describe(m, "layer norm %" PRId64, dim);
    return m;
}

ak_module *ak_nn_rms_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, rms_norm_layer_forward, dim, eps);
    ak_module_describe(m, "RMS norm %" PRId64, dim);
    return m;
}

ak_module *ak_nn_group_norm(ak_ctx *ctx, const char *name, int64_t channels, int groups,
                            double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    if (groups < 1 || channels % groups) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: groups %d must be at least 1 and divide %" PRId64
                " channels", name, groups, channels);
        return NULL;
    }
    ak_module *m = norm_layer_make(ctx, name, group_norm_layer_forward, channels, eps);
    if (!m)
        return NULL;
    ((norm_layer *)ak_module_user(m))->groups = groups;
    ak_module_describe(m, "group norm %" PRId64 ", %d groups", channels, groups);
    return m;
}
