/* SPDX-License-Identifier: Apache-2.0 */
/* Modules without parameters: pooling, flattening, length normalisation. */
#include "tensor/tensor_internal.h"
#include "nn/module.h"

#include <inttypes.h>

typedef struct pool_layer {
    ak_pool_options options;
    int64_t         oh, ow;
} pool_layer;

static bool is_picture(const ak_tensor *x)
{
    return x->shape.n == 4;
}

static ak_tensor *max_pool_layer_forward(ak_module *m, ak_tensor *x)
{
    const pool_layer *l = ak_module_user(m);
    return is_picture(x) ? ak_max_pool2d(x, l->options)
                         : ak__module_shape_error(m, x, "[N, H, W, C]");
}

static ak_tensor *avg_pool_layer_forward(ak_module *m, ak_tensor *x)
{
    const pool_layer *l = ak_module_user(m);
    return is_picture(x) ? ak_avg_pool2d(x, l->options)
                         : ak__module_shape_error(m, x, "[N, H, W, C]");
}

static ak_tensor *adaptive_pool_layer_forward(ak_module *m, ak_tensor *x)
{
    const pool_layer *l = ak_module_user(m);
    return is_picture(x) ? ak_adaptive_avg_pool2d(x, l->oh, l->ow)
                         : ak__module_shape_error(m, x, "[N, H, W, C]");
}

static ak_tensor *global_pool_layer_forward(ak_module *m, ak_tensor *x)
{
    return x->shape.n >= 3 ? ak_global_avg_pool(x) : ak__module_shape_error(m, x, "[N, .., C]");
}

static ak_tensor *flatten_layer_forward(ak_module *m, ak_tensor *x)
{
    return x->shape.n >= 1 ? ak_flatten(x) : ak__module_shape_error(m, x, "[N, ..]");
}

static ak_tensor *l2_layer_forward(ak_module *m, ak_tensor *x)
{
    return x->shape.n >= 1 ? ak_l2_normalize(x) : ak__module_shape_error(m, x, "[.., D]");
}

#define KIND(layer, text)                                                                          \
    static const ak_module_kind layer##_kind = {                                                   \
        .name = text, .forward = layer##_layer_forward, AK__STATE(pool_layer) }
KIND(max_pool, "max pool");
KIND(avg_pool, "average pool");
KIND(adaptive_pool, "average pool");
KIND(global_pool, "global average pool");
KIND(flatten, "flatten");
KIND(l2, "unit length");

static bool pool_fits(ak_module *m, ak_pool_options o)
{
    if (!ak__module_positive(m, "kernel", o.kernel))
        return false;
    if (o.stride >= 0 && o.padding >= 0 && o.padding <= o.kernel / 2)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: stride %d must be >= 0, padding %d in [0, kernel/2 = %d]",
            m->name, o.stride, o.padding, o.kernel / 2);
    return false;
}

static ak_module *pool_layer_make(ak_ctx *ctx, const char *name, const ak_module_kind *kind,
                                  pool_layer with)
{
    ak_module *m = ak_module_make(ctx, name, kind);
    if (m)
        *(pool_layer *)ak_module_user(m) = with;
    return m;
}

ak_module *ak_nn_max_pool2d(ak_ctx *ctx, const char *name, ak_pool_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = pool_layer_make(ctx, name, &max_pool_kind, (pool_layer){ .options = o });
    if (!m || !pool_fits(m, o))
        return NULL;
    ak_module_describe(m, "max pool %d, stride %d", o.kernel, o.stride ? o.stride : o.kernel);
    return m;
}

ak_module *ak_nn_avg_pool2d(ak_ctx *ctx, const char *name, ak_pool_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = pool_layer_make(ctx, name, &avg_pool_kind, (pool_layer){ .options = o });
    if (!m || !pool_fits(m, o))
        return NULL;
    ak_module_describe(m, "average pool %d, stride %d", o.kernel, o.stride ? o.stride : o.kernel);
    return m;
}

ak_module *ak_nn_adaptive_avg_pool2d(ak_ctx *ctx, const char *name, int64_t oh, int64_t ow)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = pool_layer_make(ctx, name, &adaptive_pool_kind,
                                   (pool_layer){ .oh = oh, .ow = ow });
    if (!m || !ak__module_positive(m, "the height of the result", oh) ||
        !ak__module_positive(m, "the width of the result", ow))
        return NULL;
    ak_module_describe(m, "average pool to %" PRId64 " x %" PRId64, oh, ow);
    return m;
}

ak_module *ak_nn_global_avg_pool(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return pool_layer_make(ctx, name, &global_pool_kind, (pool_layer){ 0 });
}

ak_module *ak_nn_flatten(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return pool_layer_make(ctx, name, &flatten_kind, (pool_layer){ 0 });
}

ak_module *ak_nn_l2_normalize(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return pool_layer_make(ctx, name, &l2_kind, (pool_layer){ 0 });
}
