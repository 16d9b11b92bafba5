/* SPDX-License-Identifier: Apache-2.0 */
/* SupCon: fused by the similarity engine, and composed of ops. */
#include <akin/ops.h>

#include "losses/engine/cross_entropy.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/tensor_internal.h"

#define SUPCON_TAU 0.1

static const ak_op supcon =
    AK__PAIR_OP("supcon", "mean_i [log sum_{j!=i} e^s_ij - mean_{p in P(i)} s_ip]");

/* [N, D] is one view. */
static ak_tensor *with_views(ak_tensor *z)
{
    return z && !ak_is_poison(z) && z->shape.n == 2
           ? ak_reshape(z, AK_SHAPE(1, z->shape.dims[0], z->shape.dims[1])) : z;
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
    const ak__pair_loss loss = {
        .program = &ak__cross_entropy, .first_view = o.one,
        .normalized = o.normalized, .tau = tau, .factor = tau > 0 ? factor_of(o, tau) : 1,
        .target = { .labels = labels, .shares = true, .by_sample = true }, .ids = o.ids,
        .report = o.report };
    return ak__pairs_apply(&supcon, loss, (ak__pair_operands){
        .x = &z, .n_x = 1, .matrix = o.positives, .weights = o.weights });
}

ak_tensor *ak_loss_supcon_composed(ak_tensor *z, ak_index *labels, ak_supcon_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    const double tau = o.tau == 0 ? SUPCON_TAU : o.tau;
    ak_tensor *views = with_views(z);
    if (ak_is_poison(views))
        return views;
    char text[AK_SHAPE_TEXT];
    if (views->shape.n != 3) {
        ak_fail(z->ctx, AK_ERR_SHAPE, "ak_loss_supcon_composed: embeddings are %s, expected [V, N, "
                "D] or [N, D]", ak_shape_text(z->shape, text));
        return &ak__poison;
    }
    const int64_t V = views->shape.dims[0], N = views->shape.dims[1], D = views->shape.dims[2];
    const ak__extra extra[] = {
        { .name = "labels", .index = labels, .size = N },
        { .name = ".ids", .index = o.ids, .size = N },
        { .name = ".weights", .tensor = o.weights, .size = N, .constant = true, .weighs = true },
        { .name = ".positives", .tensor = o.positives, .size = N * N, .constant = true,
          .weighs = true },
    };
    if (!ak__extras_fit(z->ctx, __func__, extra, sizeof extra / sizeof *extra))
        return &ak__poison;
    ak_tensor *f = ak_reshape(views, AK_SHAPE(V * N, D));
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
    ak_tensor *t = ak__shares(partners, candidates);
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids, labels, t);
    ak_tensor *mean = ak__rows_cross_entropy(s, candidates, t, w, 0);
    return ak__across_samples(ak_scale(mean, factor_of(o, tau)));
}

/* ---- record ---------------------------------------------------------------------------------- */

static int64_t samples_of(const ak_tensor *z) { return z->shape.dims[z->shape.n - 2]; }

static ak_supcon_options supcon_case(const ak_sample *s, ak_tensor *z)
{
    const ak__loss_case *c = ak__case_of(s);
    const int64_t N = samples_of(z);
    return (ak_supcon_options){
        .tau = c->tau, .base_tau = c->base_tau, .one = c->one, .normalized = c->normalized,
        .positives = c->matrix ? ak__sample_constant(z->ctx, AK_SHAPE(N, N), 3, 0) : NULL,
        .ids = ak__sample_index(z->ctx, c->ids, N),
        .weights = c->weights ? ak__sample_constant(z->ctx, AK_SHAPE(N), 1, 0.1) : NULL };
}

static ak_index *supcon_labels(const ak_sample *s, ak_tensor *z)
{
    const ak__loss_case *c = s->attr;
    return ak__sample_index(z->ctx, c ? c->labels : NULL, samples_of(z));
}

static ak_tensor *supcon_run(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_loss_supcon(in[0], supcon_labels(s, in[0]), supcon_case(s, in[0]));
}

static ak_tensor *supcon_run_composed(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_loss_supcon_composed(in[0], supcon_labels(s, in[0]), supcon_case(s, in[0]));
}

static const ak_sample supcon_samples[] = {
    { AK__THREE_AXES(1, 2, 3), AK__CASE(.labels = ak__few_labels) },
    { AK__THREE_AXES(2, 5, 3), AK__CASE(.labels = ak__some_labels, .tau = 0.2) },
    { AK__THREE_AXES(3, 7, 5), AK__CASE(.labels = ak__some_labels, .base_tau = 0.07) },
    { AK__THREE_AXES(3, 7, 5), AK__CASE(.labels = ak__some_labels, .tau = 0.3, .one = true) },
    { AK__THREE_AXES(1, 9, 4), AK__CASE(.labels = ak__some_labels, .weights = true, .tau = 0.2) },
    { AK__THREE_AXES(2, 3, 7), AK__CASE(.tau = 0.2) },
    { AK__THREE_AXES(2, 9, 3),
      AK__CASE(.labels = ak__some_labels, .ids = ak__some_ids, .one = true) },
    { AK__THREE_AXES(2, 5, 3), AK__CASE(.matrix = true, .tau = 0.5) },
    { .in = { { 2, { 6, 4 } } }, .n_in = 1,
      AK__CASE(.labels = ak__some_labels, .normalized = true) },
    { AK__THREE_AXES(2, 3, 33), AK__CASE(.labels = ak__few_labels, .tau = 0.02) },
    AK_END
};

const ak_loss_info ak__loss_supcon = {
    "supcon", "SupCon", "Khosla et al., NeurIPS 2020",
    "tau/base_tau mean_i [log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip]",
    "tau: 0 = 0.1\nbase_tau: 0 = tau\none: only first views are anchors\n"
    "positives: weights of partners instead of labels\n" AK__COMMON_OPTIONS,
    "ln(NV-1) tau/base_tau, times the share of anchors with a partner", AK_SHARD_CANDIDATES,
    supcon_samples, supcon_run, supcon_run_composed
};
