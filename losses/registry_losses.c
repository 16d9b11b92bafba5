/* SPDX-License-Identifier: Apache-2.0 */
/* The list of losses, with samples to try each in both of its forms. */
#include <akin/losses.h>

#include <string.h>

#include "base/base.h"

/* Labels and ids of samples: enough for the largest. Classes 1, 7 and 4 repeat, others occur once;
 * 3 is twice among the ids, -1 is padding. */
static const int32_t some_labels[] = { 1, 7, 1, 4, 9, 7, 4, 1, 12, 5, 5, 6 };
static const int32_t few_labels[] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2 };
static const int32_t some_ids[] = { 3, 0, 3, 5, -1, 6, 0, 8, 9, 10, 11, 12 };
static const int32_t some_columns[] = { 2, 0, 1, 4, 3, 3, 0, 2, 4, 1, 0, 5, 1, 2 };

/* Which options a sample sets. Constants of the right shape are drawn when it runs. */
typedef struct loss_case {
    double  tau, base_tau, smoothing;
    int64_t queue;                  /* rows */
    int     each;                   /* listed targets of a row */
    const int32_t *labels, *ids;
    bool    normalized, weights, matrix, pair_weights, only_queue, one, pair_sum;
} loss_case;

/* Constant numbers in [lo, lo + 1). */
static ak_tensor *constant(ak_ctx *ctx, ak_shape shape, uint64_t stream, double lo)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < t->size && !ak_is_poison(t); i++)
        t->data[i] = (ak_real)(lo + ak_random_uniform(5, stream, (uint64_t)i));
    return t;
}

static ak_index *numbers(ak_ctx *ctx, const int32_t *values, int64_t n)
{
    return values ? ak_index_from(ctx, AK_SHAPE(n), values) : NULL;
}

static ak_ntxent_options ntxent_case(const ak_sample *s, ak_tensor *z, int64_t N, ak_tensor *scale)
{
    static const loss_case plain = { 0 };
    const loss_case *c = s->attr ? s->attr : &plain;
    return (ak_ntxent_options){
        .tau = c->tau, .log_scale = scale, .normalized = c->normalized,
        .label_smoothing = c->smoothing, .ids = numbers(z->ctx, c->ids, N),
        .weights = c->weights ? constant(z->ctx, AK_SHAPE(N), 1, 0.1) : NULL,
        .pair_sum = c->pair_sum };
}

static ak_infonce_options infonce_case(const ak_sample *s, ak_tensor *q, ak_tensor *k,
                                       ak_tensor *scale)
{
    static const loss_case plain = { 0 };
    const loss_case *c = s->attr ? s->attr : &plain;
    ak_ctx *ctx = q->ctx;
    const int64_t N = q->shape.dims[0], C = k->shape.dims[0] + c->queue, D = q->shape.dims[1];
    ak_infonce_options o = {
        .tau = c->tau, .log_scale = scale, .normalized = c->normalized,
        .label_smoothing = c->smoothing, .no_batch_negatives = c->only_queue,
        .ids = numbers(ctx, c->ids, N), .labels = numbers(ctx, c->labels, N) };
    if (c->weights)
        o.weights = constant(ctx, AK_SHAPE(N), 1, 0.1);
    if (c->queue)
        o.queue = constant(ctx, AK_SHAPE(c->queue, D), 2, -0.5);
    if (c->matrix)
        o.targets = constant(ctx, AK_SHAPE(N, C), 3, 0);
    if (c->pair_weights)
        o.pair_weights = constant(ctx, AK_SHAPE(N, C), 4, 0.25);
    if (c->each) {
        o.target_columns = ak_index_from(ctx, AK_SHAPE(N, c->each), some_columns);
        o.target_weights = constant(ctx, AK_SHAPE(N, c->each), 5, 0.1);
    }
    return o;
}

static ak_supcon_options supcon_case(const ak_sample *s, ak_tensor *z)
{
    static const loss_case plain = { 0 };
    const loss_case *c = s->attr ? s->attr : &plain;
    const int64_t N = z->shape.dims[0];
    return (ak_supcon_options){
        .tau = c->tau, .base_tau = c->base_tau, .one = c->one, .normalized = c->normalized,
        .positives = c->matrix ? constant(z->ctx, AK_SHAPE(N, N), 3, 0) : NULL,
        .ids = numbers(z->ctx, c->ids, N),
        .weights = c->weights ? constant(z->ctx, AK_SHAPE(N), 1, 0.1) : NULL };
}

/* ---- running them ---------------------------------------------------------------------------- */

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

static ak_tensor *infonce_run(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 2 ? in[2] : NULL;
    return ak_loss_infonce(in[0], in[1], infonce_case(s, in[0], in[1], scale));
}

static ak_tensor *infonce_run_composed(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    ak_tensor *scale = n_in > 2 ? in[2] : NULL;
    return ak_loss_infonce_composed(in[0], in[1], infonce_case(s, in[0], in[1], scale));
}

static ak_tensor *clip_run(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    return ak_loss_clip(in[0], in[1], n_in > 2 ? in[2] : NULL,
                        infonce_case(s, in[0], in[1], NULL));
}

static ak_tensor *clip_run_composed(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    return ak_loss_clip_composed(in[0], in[1], n_in > 2 ? in[2] : NULL,
                                 infonce_case(s, in[0], in[1], NULL));
}

static ak_index *supcon_labels(const ak_sample *s, ak_tensor *z)
{
    const loss_case *c = s->attr;
    return numbers(z->ctx, c ? c->labels : NULL, z->shape.dims[0]);
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

/* ---- samples --------------------------------------------------------------------------------- */

/* A [1]-shaped log scale is drawn from [lo, hi) like the embeddings: scales of about 0.4 to 2.7. */
#define TWO(n, d) .in = { { 2, { n, d } }, { 2, { n, d } } }, .n_in = 2
#define TWO_AND_SCALE(n, d) .in = { { 2, { n, d } }, { 2, { n, d } }, { 1, { 1 } } }, .n_in = 3
#define THREE_AXES(a, b, d) .in = { { 3, { a, b, d } } }, .n_in = 1
#define CASE(...) .attr = &(const loss_case){ __VA_ARGS__ }

static const ak_sample ntxent_samples[] = {
    { TWO(2, 1), CASE(.normalized = true) },
    { TWO(2, 3) },
    { TWO(5, 7), CASE(.tau = 0.1) },
    { TWO_AND_SCALE(3, 5) },
    { TWO(7, 3), CASE(.tau = 0.2, .smoothing = 0.1, .weights = true) },
    { TWO(9, 4), CASE(.tau = 0.3, .ids = some_ids) },
    { TWO_AND_SCALE(9, 2), CASE(.ids = some_ids, .weights = true, .smoothing = 0.3) },
    { TWO(3, 33), CASE(.tau = 0.02) },
    AK_END
};

static const ak_sample views_samples[] = {
    { THREE_AXES(2, 2, 3) },
    { THREE_AXES(3, 3, 5), CASE(.tau = 0.2) },
    { .in = { { 3, { 3, 4, 5 } }, { 1, { 1 } } }, .n_in = 2 },
    { THREE_AXES(4, 2, 7), CASE(.tau = 0.1, .pair_sum = true) },
    { THREE_AXES(5, 7, 3), CASE(.tau = 0.5, .ids = some_ids, .weights = true) },
    { THREE_AXES(3, 5, 1), CASE(.normalized = true, .smoothing = 0.2) },
    AK_END
};

static const ak_sample infonce_samples[] = {
    { TWO(1, 3), CASE(.queue = 3) },
    { TWO(2, 1), CASE(.normalized = true, .tau = 0.5) },
    { TWO(5, 7), CASE(.tau = 0.1) },
    { TWO_AND_SCALE(4, 5), CASE(.queue = 6) },
    { TWO(3, 4), CASE(.tau = 0.2, .queue = 5, .only_queue = true) },
    { TWO(7, 3), CASE(.tau = 0.3, .labels = some_labels, .ids = some_ids, .queue = 3) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2, CASE(.tau = 0.2, .matrix = true) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2,
      CASE(.tau = 0.2, .each = 2, .queue = 3, .smoothing = 0.1) },
    { TWO(6, 5), CASE(.tau = 0.2, .pair_weights = true, .weights = true, .smoothing = 0.2) },
    { TWO(3, 33), CASE(.tau = 0.02) },
    AK_END
};

static const ak_sample clip_samples[] = {
    { TWO_AND_SCALE(1, 3) },
    { TWO(2, 1), CASE(.normalized = true, .tau = 0.5) },
    { TWO_AND_SCALE(5, 7) },
    { TWO(7, 3), CASE(.tau = 0.1, .weights = true, .smoothing = 0.1) },
    { TWO_AND_SCALE(9, 3), CASE(.labels = some_labels) },
    { TWO_AND_SCALE(9, 4), CASE(.ids = some_ids) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2, CASE(.tau = 0.2, .matrix = true) },
    { TWO_AND_SCALE(7, 5), CASE(.each = 2) },
    { TWO(6, 5), CASE(.tau = 0.2, .pair_weights = true) },
    { TWO(3, 33), CASE(.tau = 0.02) },
    AK_END
};

static const ak_sample supcon_samples[] = {
    { THREE_AXES(2, 1, 3), CASE(.labels = few_labels) },
    { THREE_AXES(5, 2, 3), CASE(.labels = some_labels, .tau = 0.2) },
    { THREE_AXES(7, 3, 5), CASE(.labels = some_labels, .base_tau = 0.07) },
    { THREE_AXES(7, 3, 5), CASE(.labels = some_labels, .tau = 0.3, .one = true) },
    { THREE_AXES(9, 1, 4), CASE(.labels = some_labels, .weights = true, .tau = 0.2) },
    { THREE_AXES(3, 2, 7), CASE(.tau = 0.2) },
    { THREE_AXES(9, 2, 3), CASE(.labels = some_labels, .ids = some_ids, .one = true) },
    { THREE_AXES(5, 2, 3), CASE(.matrix = true, .tau = 0.5) },
    { .in = { { 2, { 6, 4 } } }, .n_in = 1, CASE(.labels = some_labels, .normalized = true) },
    { THREE_AXES(3, 2, 33), CASE(.labels = few_labels, .tau = 0.02) },
    AK_END
};

/* ---- the list -------------------------------------------------------------------------------- */

#define COMMON_OPTIONS                                                                             \
    "normalized: rows have unit length already\n"                                                  \
    "ids: equal ids are no candidates of one another; -1 is padding\n"                             \
    "weights: of each sample as anchor\n"                                                          \
    "report: chance value, contrastive accuracy, temperature, lonely anchors, duplicates"
#define INFONCE_OPTIONS                                                                            \
    "label_smoothing: share of the target spread over all candidates\n"                            \
    "labels, targets, target_columns + target_weights: who the partners are\n"                     \
    "pair_weights: of each candidate in the sum of exponentials\n" COMMON_OPTIONS

static const ak_loss_info losses[] = {
    { "ntxent", "NT-Xent (SimCLR)", "Chen et al., ICML 2020",
      "mean_i [log sum_{j != i} exp(s_ij) - s_i,p(i)], s = u u^T / tau, u = unit([z1; z2])",
      "tau: 0 = 0.5\nlog_scale: learned instead\n"
      "label_smoothing: share of the target spread over all candidates\n" COMMON_OPTIONS,
      "ln(2N-1)", AK_SHARD_CANDIDATES, ntxent_samples, ntxent_run, ntxent_run_composed },
    { "ntxent_views", "NT-Xent of V views", "after Chen et al., ICML 2020",
      "mean_i [log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip]",
      "tau: 0 = 0.5\nlog_scale: learned instead\n"
      "pair_sum: sum of the two-view loss over ordered pairs of views\n"
      "label_smoothing: share of the target spread over all candidates\n" COMMON_OPTIONS,
      "ln(VN-1); pair_sum: V(V-1) ln(2N-1)", AK_SHARD_CANDIDATES, views_samples, views_run,
      views_run_composed },
    { "infonce", "InfoNCE, one direction", "van den Oord et al., 2018; He et al., CVPR 2020",
      "mean_i [log sum_j exp(s_ij) - s_ii], s = unit(q) unit([k; queue])^T / tau",
      "tau: 0 = 0.07\nlog_scale: learned instead\nqueue: more candidates, constant\n"
      "no_batch_negatives: candidates are the partner and the queue\n" INFONCE_OPTIONS,
      "ln(N + K); ln(1 + K) without batch negatives", AK_SHARD_CANDIDATES, infonce_samples,
      infonce_run, infonce_run_composed },
    { "clip", "CLIP", "Radford et al., ICML 2021",
      "(mean_i [log sum_j exp(s_ij) - s_ii] + mean_j [log sum_i exp(s_ij) - s_jj]) / 2",
      "log_scale (argument): learned; without it tau: 0 = 0.07\n" INFONCE_OPTIONS, "ln N",
      AK_SHARD_CANDIDATES, clip_samples, clip_run, clip_run_composed },
    { "supcon", "SupCon", "Khosla et al., NeurIPS 2020",
      "tau/base_tau mean_i [log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip]",
      "tau: 0 = 0.1\nbase_tau: 0 = tau\none: only first views are anchors\n"
      "positives: weights of partners instead of labels\n" COMMON_OPTIONS,
      "ln(NV-1) tau/base_tau, times the share of anchors with a partner", AK_SHARD_CANDIDATES,
      supcon_samples, supcon_run, supcon_run_composed },
};

const ak_loss_info *ak_loss_at(int i)
{
    const int n = (int)(sizeof losses / sizeof losses[0]);
    return i >= 0 && i < n ? &losses[i] : NULL;
}

const ak_loss_info *ak_loss_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    for (int i = 0; name && ak_loss_at(i); i++)
        if (strcmp(ak_loss_at(i)->name, name) == 0)
            return ak_loss_at(i);
    return NULL;
}
