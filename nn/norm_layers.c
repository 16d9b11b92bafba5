/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation layers: batch, layer, group, RMS. */
#include "nn/module.h"

#include "autograd/moments.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Own tensors: RMS norm has the weight only, batch norm all four, or those of the batch alone. */
enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR };
typedef struct norm_layer {
    ak_batch_norm_options batch;
    int64_t    dim;
    double     eps;
    int        groups;
} norm_layer;

static bool norm_fits(const norm_layer *l, const ak_tensor *x)
{
    return x->shape.n >= 1 && ak_last_dim(x) == l->dim;
}

static ak_tensor *batch_norm_handed(ak_module *m, ak_tensor *x, const ak__handed *h)
{
    const norm_layer *l = ak_module_user(m);
    ak_batch_norm_options o = l->batch;
    if (!norm_fits(l, x) || x->shape.n < 2)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", l->dim);
    ak_batch_norm_options here = o;     /* in a part of a batch, of fewer groups */
    ak__batch_norm_part(x, &here);
    const int groups = here.groups > 1 ? here.groups : 1;
    if (ak_is_training(m->ctx) && x->shape.dims[0] % groups)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "] with N a multiple of %d, the "
                                      "groups with statistics of their own", l->dim, groups);
    if (ak_is_training(m->ctx) && x->size == groups * l->dim)
        return ak__module_shape_error(m, x, "with more than one value a channel%s: statistics of a "
                                      "batch of 1 do not exist in train mode",
                                      groups > 1 ? " and group" : "");
    o.relu = o.relu || h->relu;
    const int shift = o.no_affine ? -RUNNING_MEAN : 0;
    return ak__batch_norm_moments(x, h->moments, h->skip,
                                  o.no_affine ? NULL : ak__own(m, WEIGHT),
                                  o.no_affine ? NULL : ak__own(m, BIAS),
                                  ak__own(m, RUNNING_MEAN + shift),
                                  ak__own(m, RUNNING_VAR + shift), o);
}

static ak_tensor *batch_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    return batch_norm_handed(m, x, &(ak__handed){ 0 });
}

bool ak__norm_has_relu(const ak_module *norm)
{
    return ((const norm_layer *)norm->user)->batch.relu;
}

bool ak__norm_is_split(const ak_module *norm)
{
    return ((const norm_layer *)norm->user)->batch.groups > 1;
}

static ak_tensor *layer_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x))
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", l->dim);
    return ak_layer_norm(x, ak__own(m, WEIGHT), ak__own(m, BIAS), l->eps);
}

static ak_tensor *rms_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x))
        return ak__module_shape_error(m, x, "[.., %" PRId64 "]", l->dim);
    return ak_rms_norm(x, ak__own(m, WEIGHT), l->eps);
}

static ak_tensor *group_norm_layer_forward(ak_module *m, ak_tensor *x)
{
    const norm_layer *l = ak_module_user(m);
    if (!norm_fits(l, x) || x->shape.n < 2)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", l->dim);
    return ak_group_norm(x, ak__own(m, WEIGHT), ak__own(m, BIAS), l->groups, l->eps);
}

static bool batch_norm_mixes_rows(const ak_module *m, int64_t rows, int64_t batch, bool training)
{
    const int64_t groups = ((const norm_layer *)m->user)->batch.groups;
    return training && (groups < 2 || batch % groups || rows % (batch / groups));
}

static const ak__fusion norm_fusion = { .norm = batch_norm_handed };
#define KIND(layer, text, ...)                                                                     \
    static const ak_module_kind layer##_kind = {                                                   \
        .name = text, .forward = layer##_layer_forward, AK__STATE(norm_layer),         \
        __VA_ARGS__ }
KIND(batch_norm, "batch norm", .fusion = &norm_fusion, .mixes_rows = batch_norm_mixes_rows);
KIND(layer_norm, "layer norm", .fusion = NULL);
KIND(rms_norm, "RMS norm", .fusion = NULL);
KIND(group_norm, "group norm", .fusion = NULL);

static ak_module *norm_layer_make(ak_ctx *ctx, const char *name, const ak_module_kind *kind,
                                  int64_t dim, norm_layer with)
{
    ak_module *m = ak_module_make(ctx, name, kind);
    if (!m || !ak__module_positive(m, "the number of features", dim))
        return NULL;
    if (!(with.eps >= 0 && isfinite(with.eps))) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: eps must be >= 0 and finite, got %g", m->name, with.eps);
        return NULL;
    }
    const double momentum = with.batch.momentum;
    if (!(momentum >= 0 && momentum <= 1) && momentum != AK_NONE) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: momentum must be in [0, 1] or AK_NONE, got %g", m->name,
                momentum);
        return NULL;
    }
    if (kind == &group_norm_kind && (with.groups < 1 || dim % with.groups)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: groups %d must be at least 1 and divide %" PRId64
                " channels", m->name, with.groups, dim);
        return NULL;
    }
    if (with.batch.groups < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: groups must be >= 0, got %d", m->name, with.batch.groups);
        return NULL;
    }
    with.dim = dim;
    *(norm_layer *)ak_module_user(m) = with;
    if (!with.batch.no_affine)
        ak__module_scale(m, "weight", dim, 1);
    if (kind != &rms_norm_kind && !with.batch.no_affine)
        ak__module_scale(m, "bias", dim, 0);
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_batch_norm(ak_ctx *ctx, const char *name, int64_t channels,
                            ak_batch_norm_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, &batch_norm_kind, channels,
                                   (norm_layer){ .batch = o, .eps = o.eps });
    if (!m)
        return NULL;
    ak_module_add_buffer(m, "running_mean", AK_SHAPE(channels));
    ak_tensor *variance = ak_module_add_buffer(m, "running_var", AK_SHAPE(channels));
    if (!ak_is_poison(variance))
        ak_fill(variance, 1);
    char groups[32] = "";
    if (o.groups > 1)
        snprintf(groups, sizeof groups, ", %d groups", o.groups);
    ak_module_describe(m, "batch norm %" PRId64 "%s%s%s", channels,
                       o.no_affine ? " without scale" : "", groups, o.relu ? " + ReLU" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

ak_module *ak_nn_layer_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, &layer_norm_kind, dim, (norm_layer){ .eps = eps });
    if (m) {
        ak_module_describe(m, "layer norm %" PRId64, dim);
        ak__module_note(m, "eps %g", eps > 0 ? eps : 1e-5);
    }
    return m;
}

ak_module *ak_nn_rms_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, &rms_norm_kind, dim, (norm_layer){ .eps = eps });
    if (m) {
        ak_module_describe(m, "RMS norm %" PRId64, dim);
        ak__module_note(m, "eps %g", eps > 0 ? eps : 1e-6);
    }
    return m;
}

ak_module *ak_nn_group_norm(ak_ctx *ctx, const char *name, int64_t channels, int groups,
                            double eps)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = norm_layer_make(ctx, name, &group_norm_kind, channels,
                                   (norm_layer){ .eps = eps, .groups = groups });
    if (m)
        ak_module_describe(m, "group norm %" PRId64 ", %d groups", channels, groups);
    return m;
}
