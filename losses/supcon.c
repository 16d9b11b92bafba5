/* SPDX-License-Identifier: Apache-2.0 */
/* SupCon: fused by the similarity engine, and composed of ops. */
#include <akin/ops.h>

#include "tensor/tensor_internal.h"
#include "losses/contrast.h"
#include "losses/masks.h"

#define SUPCON_TAU 0.1

/* [N, D] is one view. */
static ak_tensor *with_views(ak_tensor *z)
{
    return z && !ak_is_poison(z) && z->shape.n == 2
           ? ak_reshape(z, AK_SHAPE(z->shape.dims[0], 1, z->shape.dims[1])) : z;
}

static double factor_of(ak_supcon_options o, double tau)
{
    return o.base_tau == 0 ? 1 : tau / o.base_tau;
}

ak_tensor *ak_loss_supcon(ak_tensor *z, ak_index *labels, ak_supcon_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    const double tau = o.tau == 0 ? SUPCON_TAU : o.tau;
    ak_tensor *views = with_views(z);
    const ak__contrast attr = { .layout = AK__INTERLEAVED, .first_view = o.one,
                                .normalized = o.normalized, .shares = true, .by_sample = true,
                                .tau = tau, .factor = tau > 0 ? factor_of(o, tau) : 1,
                                .ids = o.ids, .labels = labels, .report = o.report };
    return ak__contrast_apply(&ak__op_supcon, attr, (ak__contrast_operands){
        .x = &views, .n_x = 1, .matrix = o.positives, .weights = o.weights });
}

ak_tensor *ak_loss_supcon_composed(ak_tensor *z, ak_index *labels, ak_supcon_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    const double tau = o.tau == 0 ? SUPCON_TAU : o.tau;
    ak_tensor *views = with_views(z);
    if (ak_is_poison(views))
        return views;
    char text[160];
    if (views->shape.n != 3) {
        ak_fail(z->ctx, AK_ERR_SHAPE, "ak_loss_supcon_composed: embeddings are %s, expected [N, V, "
                "D] or [N, D]", ak_shape_text(z->shape, text));
        return &ak__poison;
    }
    const int64_t N = views->shape.dims[0], V = views->shape.dims[1], D = views->shape.dims[2];
    const ak__extra extra[] = {
        { .name = "labels", .index = labels, .size = N },
        { .name = ".ids", .index = o.ids, .size = N },
        { .name = ".weights", .tensor = o.weights, .size = N, .constant = true, .weighs = true },
        { .name = ".positives", .tensor = o.positives, .size = N * N, .constant = true,
          .weighs = true },
    };
    if (!ak__extras_fit(z->ctx, __func__, extra, sizeof extra / sizeof *extra))
        return &ak__poison;
    const int axes[3] = { 1, 0, 2 };
    ak_tensor *f = ak_reshape(ak_permute(views, axes), AK_SHAPE(N * V, D));     /* view by view */
    if (!o.normalized)
        f = ak_l2_normalize(f);
    ak_tensor *anchors = o.one ? ak_rows(f, 0, N) : f;
    ak_tensor *s = ak__scores(anchors, f, tau, NULL);                           /* [R, NV] */
    const ak__pairs pairs = { .ctx = z->ctx, .R = o.one ? N : N * V, .C = N * V, .N = N,
                              .batch = N * V, .self = true };
    ak_tensor *candidates = ak__candidate_matrix(pairs, o.ids, false);
    ak_tensor *partners = labels ? ak__label_matrix(pairs, labels)
                        : o.positives ? ak__spread_matrix(pairs, o.positives)
                                      : ak__sample_matrix(pairs);
    ak_tensor *mean = ak__rows_cross_entropy(s, candidates, ak__shares(partners, candidates),
                                             ak__anchor_weights(pairs, o.weights, o.ids), 0);
    return ak_scale(mean, factor_of(o, tau));
}
