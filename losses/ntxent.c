/* SPDX-License-Identifier: Apache-2.0 */
/* NT-Xent: two views, or V of them. */
#include <akin/ops.h>

#include "losses/engine/cross_entropy.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/tensor_internal.h"

#define NTXENT_TAU 0.5

static const ak_op ntxent = AK__PAIR_OP("ntxent", "mean_i [log sum_{j!=i} e^s_ij - s_i,p(i)]");

static double tau_or(double tau, double otherwise) { return tau == 0 ? otherwise : tau; }

static ak_tensor *ntxent_fused(ak_tensor *const *z, int V, ak_ntxent_options o)
{
    const ak__pair_loss loss = {
        .program = &ak__cross_entropy, .normalized = o.normalized,
        .tau = tau_or(o.tau, NTXENT_TAU), .factor = 1, .smoothing = o.label_smoothing,
        .ids = o.ids, .report = o.report };
    return ak__pairs_apply(&ntxent, loss, (ak__pair_operands){
        .x = z, .n_x = V, .log_scale = o.log_scale, .weights = o.weights });
}

ak_tensor *ak_loss_ntxent(ak_tensor *z1, ak_tensor *z2, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))
        return &ak__poison;
    return ntxent_fused((ak_tensor *[]){ z1, z2 }, 2, o);
}

/* Sum over ordered pairs of views; the two orders of a pair are equal. */
static ak_tensor *pair_sum(ak_tensor *const *z, int V, ak_ntxent_options o,
                           ak_tensor *(*loss)(ak_tensor *, ak_tensor *, ak_ntxent_options))
{
    ak_tensor *sum = NULL;
    for (int v = 0; v < V; v++) {
        for (int w = v + 1; w < V; w++) {
            ak_tensor *pair = ak_scale(loss(z[v], z[w], o), 2);
            sum = sum ? ak_add(sum, pair) : pair;
        }
    }
    return sum;
}

static bool views_fit(const ak_tensor *z)
{
    if (ak_is_poison(z))
        return false;
    if (z->shape.n == 3 && z->shape.dims[0] >= 2 && z->shape.dims[0] <= AK__PAIR_VIEWS)
        return true;
    char text[AK_SHAPE_TEXT];
    ak_fail(z->ctx, AK_ERR_SHAPE, "ntxent: views are %s, expected [V, N, D] with V in [2, %d]",
            ak_shape_text(z->shape, text), AK__PAIR_VIEWS);
    return false;
}

/* z[v] as [N, D], for all v. */
static int split_views(ak_tensor *z, ak_tensor **view)
{
    const int V = (int)z->shape.dims[0];
    for (int v = 0; v < V; v++)
        view[v] = ak_reshape(ak_rows(z, v, 1), AK_SHAPE(z->shape.dims[1], z->shape.dims[2]));
    return V;
}

ak_tensor *ak_loss_ntxent_views(ak_tensor *z, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    ak_tensor *view[AK__PAIR_VIEWS];
    if (!views_fit(z))
        return ntxent_fused(&z, 1, o);      /* an error is pending: the poison tensor */
    if (o.pair_sum)
        return pair_sum(view, split_views(z, view), o, ak_loss_ntxent);
    return ntxent_fused(&z, 1, o);
}

ak_tensor *ak_loss_ntxent_list(ak_tensor *const *z, int V, ak_ntxent_options o)
{
    if (!AK__GIVEN(NULL, z))
        return &ak__poison;
    if (V < 2 || V > AK__PAIR_VIEWS) {
        ak_fail(V > 0 && z[0] ? z[0]->ctx : NULL, AK_ERR_SHAPE, "ntxent: %d views, expected 2 to "
                "%d", V, AK__PAIR_VIEWS);
        return &ak__poison;
    }
    return o.pair_sum ? pair_sum(z, V, o, ak_loss_ntxent) : ntxent_fused(z, V, o);
}

static bool ntxent_extras_fit(ak_ctx *ctx, const char *who, int64_t N, const ak_ntxent_options *o)
{
    return AK__EXTRAS_FIT(ctx, who, AK__EXTRA_NUMBER(".log_scale", o->log_scale),
                          AK__EXTRA_WEIGHTS(o->weights, N), AK__EXTRA_INDEX(".ids", o->ids, N));
}

/* The specification: rows of u are all views, view by view, of N samples. */
static ak_tensor *ntxent_rows_composed(ak_tensor *u, int64_t N, ak_ntxent_options o)
{
    if (ak_is_poison(u))
        return u;
    const int64_t n = u->shape.dims[0];
    const ak__pairs pairs = { .ctx = u->ctx, .R = n, .C = n, .N = N, .batch = n, .self = true };
    ak_tensor *s = ak__scores(u, u, tau_or(o.tau, NTXENT_TAU), o.log_scale);        /* [VN, VN] */
    ak_tensor *candidates = ak__candidate_matrix(pairs, o.ids, false);
    ak_tensor *partners = ak__shares(ak__sample_matrix(pairs), candidates);
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids, NULL, partners);
    return ak__across_samples(
        ak__rows_cross_entropy(s, candidates, partners, w, o.label_smoothing));
}

ak_tensor *ak_loss_ntxent_composed(ak_tensor *z1, ak_tensor *z2, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))
        return &ak__poison;
    if (!ntxent_extras_fit(z1->ctx, __func__, ak_row_count(z1), &o))
        return &ak__poison;
    ak_tensor *u = ak__unit_rows(ak_concat(0, z1, z2), o.normalized); /* [2N, D] */
    if (o.ids || o.weights || o.label_smoothing > 0 || ak_is_poison(u))
        return ntxent_rows_composed(u, z1->shape.dims[0], o);
    ak_tensor *s = ak__scores(u, u, tau_or(o.tau, NTXENT_TAU), o.log_scale);        /* [2N, 2N] */
    ak_tensor *others = ak_logsumexp(ak_mask(s, AK_MASK_SELF), 1);                  /* [2N] */
    return ak__across_samples(ak_mean(ak_sub(others, ak_pair_diagonal(s))));
}

ak_tensor *ak_loss_ntxent_views_composed(ak_tensor *z, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    ak_tensor *view[AK__PAIR_VIEWS];
    if (!views_fit(z))
        return ak_sum(z);               /* an error is pending: the poison tensor */
    if (o.pair_sum)
        return pair_sum(view, split_views(z, view), o, ak_loss_ntxent_composed);
    if (!ntxent_extras_fit(z->ctx, __func__, z->shape.dims[1], &o))
        return &ak__poison;
    return ntxent_rows_composed(ak__unit_rows(z, o.normalized), z->shape.dims[1], o);
}

/* ---- records --------------------------------------------------------------------------------- */

static ak_ntxent_options ntxent_case(const ak_sample *s, ak_tensor *z, int64_t N, ak_tensor *scale)
{
    const ak__loss_case *c = ak__case_of(s);
    return (ak_ntxent_options){
        .tau = c->tau, .log_scale = scale, .normalized = c->normalized,
        .label_smoothing = c->smoothing, .ids = ak__sample_index(z->ctx, c->ids, N),
        .weights = c->weights ? ak__sample_constant(z->ctx, AK_SHAPE(N), 1, 0.1) : NULL,
        .pair_sum = c->pair_sum };
}

static ak_tensor *ntxent_run(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 2 ? in[2] : NULL;
    return ak_loss_ntxent(in[0], in[1], ntxent_case(s, in[0], in[0]->shape.dims[0], scale));
}

static ak_tensor *ntxent_run_composed(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 2 ? in[2] : NULL;
    return ak_loss_ntxent_composed(in[0], in[1],
                                   ntxent_case(s, in[0], in[0]->shape.dims[0], scale));
}

static ak_tensor *views_run(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 1 ? in[1] : NULL;
    return ak_loss_ntxent_views(in[0], ntxent_case(s, in[0], in[0]->shape.dims[1], scale));
}

static ak_tensor *views_run_composed(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 1 ? in[1] : NULL;
    return ak_loss_ntxent_views_composed(in[0],
                                         ntxent_case(s, in[0], in[0]->shape.dims[1], scale));
}

static const ak_sample ntxent_samples[] = {
    { AK__TWO(2, 1), AK__CASE(.normalized = true) },
    { AK__TWO(2, 3) },
    { AK__TWO(5, 7), AK__CASE(.tau = 0.1) },
    { AK__TWO_AND_SCALE(3, 5) },
    { AK__TWO(7, 3), AK__CASE(.tau = 0.2, .smoothing = 0.1, .weights = true) },
    { AK__TWO(9, 4), AK__CASE(.tau = 0.3, .ids = ak__some_ids) },
    { AK__TWO_AND_SCALE(9, 2), AK__CASE(.ids = ak__some_ids, .weights = true, .smoothing = 0.3) },
    { AK__TWO(3, 33), AK__CASE(.tau = 0.02) },
    AK_END
};

static const ak_sample views_samples[] = {
    { AK__THREE_AXES(2, 2, 3) },
    { AK__THREE_AXES(3, 3, 5), AK__CASE(.tau = 0.2) },
    { .in = { { 3, { 3, 4, 5 } }, { 1, { 1 } } }, .n_in = 2 },
    { AK__THREE_AXES(4, 2, 7), AK__CASE(.tau = 0.1, .pair_sum = true) },
    { AK__THREE_AXES(5, 7, 3), AK__CASE(.tau = 0.5, .ids = ak__some_ids, .weights = true) },
    { AK__THREE_AXES(3, 5, 1), AK__CASE(.normalized = true, .smoothing = 0.2) },
    AK_END
};

const ak_loss_info ak__loss_ntxent = {
    "ntxent", "NT-Xent (SimCLR)", "Chen et al., ICML 2020",
    "mean_i [log sum_{j != i} exp(s_ij) - s_i,p(i)], s = u u^T / tau, u = unit([z1; z2])",
    "tau: 0 = 0.5\nlog_scale: learned instead\n"
    "label_smoothing: share of the target spread over all candidates\n" AK__COMMON_OPTIONS,
    "ln(2N-1)", AK_SHARD_CANDIDATES, ntxent_samples, ntxent_run, ntxent_run_composed
};

const ak_loss_info ak__loss_ntxent_views = {
    "ntxent_views", "NT-Xent of V views", "after Chen et al., ICML 2020",
    "mean_i [log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip]",
    "tau: 0 = 0.5\nlog_scale: learned instead\n"
    "pair_sum: sum of the two-view loss over ordered pairs of views\n"
    "label_smoothing: share of the target spread over all candidates\n" AK__COMMON_OPTIONS,
    "ln(VN-1); pair_sum: V(V-1) ln(2N-1)", AK_SHARD_CANDIDATES, views_samples, views_run,
    views_run_composed
};
