/* SPDX-License-Identifier: Apache-2.0 */
/* InfoNCE, in one direction and (CLIP) in both. */
#include <akin/autograd.h>
#include <akin/ops.h>

#include "losses/engine/cross_entropy.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/tensor_internal.h"

#define INFONCE_TAU 0.07

static const ak_op infonce = AK__PAIR_OP("infonce", "mean_i [log sum_j e^s_ij - s_ii]");
static const ak_op clip = AK__PAIR_OP("clip", "(infonce(x, y) + infonce(y, x)) / 2");

static double tau_or(double tau, double otherwise) { return tau == 0 ? otherwise : tau; }

static ak_tensor *infonce_fused(const ak_op *op, ak_tensor *q, ak_tensor *k, ak_infonce_options o)
{
    if (o.target_weights && !o.target_columns) {
        ak_fail(q->ctx, AK_ERR_VALUE, "%s: .target_weights without .target_columns", op->name);
        return &ak__poison;
    }
    const ak__pair_loss loss = {
        .program = &ak__cross_entropy, .two_sided = op == &clip, .one_is_fine = true,
        .normalized = o.normalized, .out = o.no_batch_negatives ? AK__OUT_OTHERS : 0,
        .tau = tau_or(o.tau, INFONCE_TAU), .factor = 1, .smoothing = o.label_smoothing,
        .ids = o.ids,
        .target = { .labels = o.labels, .columns = o.target_columns }, .report = o.report };
    return ak__pairs_apply(op, loss, (ak__pair_operands){
        .x = &q, .n_x = 1, .y = &k, .n_y = 1, .queue = o.queue, .log_scale = o.log_scale,
        .matrix = o.targets, .target_weights = o.target_columns ? o.target_weights : NULL,
        .pair_weights = o.pair_weights, .weights = o.weights });
}

ak_tensor *ak_loss_infonce(ak_tensor *q, ak_tensor *k, ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, q) || !AK__TENSOR(q->ctx, k))
        return &ak__poison;
    return infonce_fused(&infonce, q, k, o);
}

ak_tensor *ak_loss_clip(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                        ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, image) || !AK__TENSOR(image->ctx, text))
        return &ak__poison;
    if (o.queue || o.no_batch_negatives || o.log_scale)
        ak_fail(image->ctx, AK_ERR_VALUE, "clip: .queue, .no_batch_negatives and .log_scale are no "
                "options of this loss\n    hint: the log scale is an argument; ak_loss_infonce has "
                "the others");
    o.log_scale = log_scale;
    return infonce_fused(&clip, image, text, o);
}

/* Of N anchors and M partners. */
static bool infonce_extras_fit(ak_ctx *ctx, const char *who, const ak_tensor *q, const ak_tensor *k,
                               const ak_infonce_options *o)
{
    const int64_t N = ak_row_count(q), M = ak_row_count(k);
    if (!ak__extras_fit(ctx, who, &(ak__extra){ .name = ".queue", .tensor = o->queue,
                                                .size = -1 }, 1))
        return false;
    const int64_t scores = N * (M + (o->queue ? ak_row_count(o->queue) : 0));
    const int64_t listed = o->target_columns ? -1 : 0;
    const ak__extra extra[] = {
        { .name = ".log_scale", .tensor = o->log_scale, .size = 1 },
        { .name = ".weights", .tensor = o->weights, .size = N, .constant = true, .weighs = true },
        { .name = ".targets", .tensor = o->targets, .size = scores, .constant = true },
        { .name = ".target_weights", .tensor = o->target_weights, .size = listed,
          .constant = true },
        { .name = ".pair_weights", .tensor = o->pair_weights, .size = scores, .constant = true,
          .weighs = true },
        { .name = ".ids", .index = o->ids, .size = N },
        { .name = ".labels", .index = o->labels, .size = N },
        { .name = ".target_columns", .index = o->target_columns, .size = -1 },
    };
    if (!ak__extras_fit(ctx, who, extra, sizeof extra / sizeof *extra))
        return false;
    return !o->target_weights ||
           ak__extras_fit(ctx, who, &(ak__extra){ .name = ".target_weights",
                                                  .tensor = o->target_weights,
                                                  .size = o->target_columns->size }, 1);
}

/* What row r of the scores has as targets. */
static ak_tensor *infonce_targets(ak__pairs pairs, ak_tensor *candidates, ak_infonce_options o)
{
    if (o.labels)
        return ak__shares(ak__label_matrix(pairs, o.labels), candidates);
    ak_tensor *t = o.targets ? o.targets
                 : o.target_columns
                     ? ak__list_matrix(pairs, o.target_columns, o.target_weights)
                     : ak__sample_matrix(pairs);
    return ak_mul(t, candidates);
}

ak_tensor *ak_loss_infonce_composed(ak_tensor *q, ak_tensor *k, ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, q) || !AK__TENSOR(q->ctx, k))
        return &ak__poison;
    if (!infonce_extras_fit(q->ctx, __func__, q, k, &o))
        return &ak__poison;
    ak_tensor *x = ak__unit_rows(q, o.normalized), *y = ak__unit_rows(k, o.normalized);
    if (o.queue)
        y = ak_concat(0, y, ak_detach(ak__unit_rows(o.queue, o.normalized)));
    ak_tensor *s = ak__scores(x, y, tau_or(o.tau, INFONCE_TAU), o.log_scale);       /* [N, C] */
    if (ak_is_poison(s))
        return s;
    const ak__pairs pairs = { .ctx = s->ctx, .R = s->shape.dims[0], .C = s->shape.dims[1],
                              .N = q->shape.dims[0], .batch = k->shape.dims[0] };
    ak_tensor *candidates = ak__candidate_matrix(pairs, o.ids, o.no_batch_negatives);
    if (o.pair_weights)
        candidates = ak_mul(candidates, o.pair_weights);
    ak_tensor *ones = ak_where(candidates, ak_add_scalar(ak_scale(candidates, 0), 1), candidates);
    ak_tensor *t = infonce_targets(pairs, ones, o);
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids, o.labels, t);
    ak_tensor *loss = ak__rows_cross_entropy(s, candidates, t, w, o.label_smoothing);
    return o.no_batch_negatives ? loss : ak__across_samples(loss);
}

ak_tensor *ak_loss_clip_composed(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                 ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, image) || !AK__TENSOR(image->ctx, text))
        return &ak__poison;
    o.log_scale = log_scale;
    if (!infonce_extras_fit(image->ctx, __func__, image, text, &o))
        return &ak__poison;
    ak_tensor *x = ak__unit_rows(image, o.normalized), *y = ak__unit_rows(text, o.normalized);
    ak_tensor *s = ak__scores(x, y, tau_or(o.tau, INFONCE_TAU), log_scale);         /* [N, M] */
    if (ak_is_poison(s))
        return s;
    const int64_t N = s->shape.dims[0], M = s->shape.dims[1];
    const ak__pairs rows = { .ctx = s->ctx, .R = N, .C = M, .N = N, .batch = M };
    const ak__pairs columns = { .ctx = s->ctx, .R = M, .C = N, .N = N, .batch = N };
    ak_tensor *candidates = ak__candidate_matrix(rows, o.ids, false);
    ak_tensor *v = o.pair_weights ? ak_mul(candidates, o.pair_weights) : candidates;
    ak_tensor *ones = ak_where(v, ak_add_scalar(ak_scale(v, 0), 1), v);
    ak_tensor *t = infonce_targets(rows, ones, o);
    /* columns as anchors: shares of equal labels are counted along the column */
    ak_tensor *u = o.labels
                 ? ak__shares(ak__label_matrix(columns, o.labels), ak_transpose(ones))
                 : ak_transpose(t);
    ak_tensor *a = ak__rows_cross_entropy(
        s, v, t, ak__anchor_weights(rows, o.weights, o.ids, o.labels, t), o.label_smoothing);
    ak_tensor *b = ak__rows_cross_entropy(
        ak_transpose(s), ak_transpose(v), u,
        ak__anchor_weights(columns, o.weights, o.ids, o.labels, u), o.label_smoothing);
    return ak__across_samples(ak_scale(ak_add(a, b), 0.5));
}

/* ---- records --------------------------------------------------------------------------------- */

static ak_infonce_options infonce_case(const ak_sample *s, ak_tensor *q, ak_tensor *k,
                                       ak_tensor *scale)
{
    const ak__loss_case *c = ak__case_of(s);
    ak_ctx *ctx = q->ctx;
    const int64_t N = q->shape.dims[0], C = k->shape.dims[0] + c->queue, D = q->shape.dims[1];
    ak_infonce_options o = {
        .tau = c->tau, .log_scale = scale, .normalized = c->normalized,
        .label_smoothing = c->smoothing, .no_batch_negatives = c->only_queue,
        .ids = ak__sample_index(ctx, c->ids, N), .labels = ak__sample_index(ctx, c->labels, N) };
    if (c->weights)
        o.weights = ak__sample_constant(ctx, AK_SHAPE(N), 1, 0.1);
    if (c->queue)
        o.queue = ak__sample_constant(ctx, AK_SHAPE(c->queue, D), 2, -0.5);
    if (c->matrix)
        o.targets = ak__sample_constant(ctx, AK_SHAPE(N, C), 3, 0);
    if (c->pair_weights)
        o.pair_weights = ak__sample_constant(ctx, AK_SHAPE(N, C), 4, 0.25);
    if (c->each) {
        o.target_columns = ak_index_from(ctx, AK_SHAPE(N, c->each), ak__some_columns);
        o.target_weights = ak__sample_constant(ctx, AK_SHAPE(N, c->each), 5, 0.1);
    }
    return o;
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

static const ak_sample infonce_samples[] = {
    { AK__TWO(1, 3), AK__CASE(.queue = 3) },
    { AK__TWO(2, 1), AK__CASE(.normalized = true, .tau = 0.5) },
    { AK__TWO(5, 7), AK__CASE(.tau = 0.1) },
    { AK__TWO_AND_SCALE(4, 5), AK__CASE(.queue = 6) },
    { AK__TWO(3, 4), AK__CASE(.tau = 0.2, .queue = 5, .only_queue = true) },
    { AK__TWO(7, 3),
      AK__CASE(.tau = 0.3, .labels = ak__some_labels, .ids = ak__some_ids, .queue = 3) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2, AK__CASE(.tau = 0.2, .matrix = true) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2,
      AK__CASE(.tau = 0.2, .each = 2, .queue = 3, .smoothing = 0.1) },
    { AK__TWO(6, 5),
      AK__CASE(.tau = 0.2, .pair_weights = true, .weights = true, .smoothing = 0.2) },
    { AK__TWO(3, 33), AK__CASE(.tau = 0.02) },
    AK_END
};

static const ak_sample clip_samples[] = {
    { AK__TWO_AND_SCALE(1, 3) },
    { AK__TWO(2, 1), AK__CASE(.normalized = true, .tau = 0.5) },
    { AK__TWO_AND_SCALE(5, 7) },
    { AK__TWO(7, 3), AK__CASE(.tau = 0.1, .weights = true, .smoothing = 0.1) },
    { AK__TWO_AND_SCALE(9, 3), AK__CASE(.labels = ak__some_labels) },
    { AK__TWO_AND_SCALE(9, 4), AK__CASE(.ids = ak__some_ids) },
    { .in = { { 2, { 3, 4 } }, { 2, { 5, 4 } } }, .n_in = 2, AK__CASE(.tau = 0.2, .matrix = true) },
    { AK__TWO_AND_SCALE(7, 5), AK__CASE(.each = 2) },
    { AK__TWO(6, 5), AK__CASE(.tau = 0.2, .pair_weights = true) },
    { AK__TWO(3, 33), AK__CASE(.tau = 0.02) },
    AK_END
};

#define INFONCE_OPTIONS                                                                            \
    "label_smoothing: share of the target spread over all candidates\n"                            \
    "labels, targets, target_columns + target_weights: who the partners are\n"                     \
    "pair_weights: of each candidate in the sum of exponentials\n" AK__COMMON_OPTIONS

const ak_loss_info ak__loss_infonce = {
    "infonce", "InfoNCE, one direction", "van den Oord et al., 2018; He et al., CVPR 2020",
    "mean_i [log sum_j exp(s_ij) - s_ii], s = unit(q) unit([k; queue])^T / tau",
    "tau: 0 = 0.07\nlog_scale: learned instead\nqueue: more candidates, constant\n"
    "no_batch_negatives: candidates are the partner and the queue\n" INFONCE_OPTIONS,
    "ln(N + K); ln(1 + K) without batch negatives", AK_SHARD_CANDIDATES, infonce_samples,
    infonce_run, infonce_run_composed
};

const ak_loss_info ak__loss_clip = {
    "clip", "CLIP", "Radford et al., ICML 2021",
    "(mean_i [log sum_j exp(s_ij) - s_ii] + mean_j [log sum_i exp(s_ij) - s_jj]) / 2",
    "log_scale (argument): learned; without it tau: 0 = 0.07\n" INFONCE_OPTIONS, "ln N",
    AK_SHARD_CANDIDATES, clip_samples, clip_run, clip_run_composed
};
