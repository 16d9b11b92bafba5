/* SPDX-License-Identifier: Apache-2.0 */
/* NT-Xent, InfoNCE and CLIP: fused by the similarity engine, and composed of ops. */
#include <akin/autograd.h>
#include <akin/ops.h>

#include "tensor/tensor_internal.h"
#include "losses/contrast.h"
#include "losses/masks.h"

static double tau_or(double tau, double otherwise) { return tau == 0 ? otherwise : tau; }

/* Unit rows of [.., D], as [R, D]. */
static ak_tensor *unit_rows(ak_tensor *z, bool normalized)
{
    return ak_flatten_rows(normalized ? z : ak_l2_normalize(z));
}

/* ---- NT-Xent --------------------------------------------------------------------------------- */

#define NTXENT_TAU 0.5

static ak_tensor *ntxent_fused(ak_tensor *const *z, int V, ak_ntxent_options o)
{
    const ak__contrast attr = { .normalized = o.normalized, .tau = tau_or(o.tau, NTXENT_TAU),
                                .factor = 1, .smoothing = o.label_smoothing, .ids = o.ids,
                                .report = o.report };
    return ak__contrast_apply(&ak__op_ntxent, attr, (ak__contrast_operands){
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
    if (z->shape.n == 3 && z->shape.dims[0] >= 2 && z->shape.dims[0] <= AK__CONTRAST_VIEWS)
        return true;
    char text[160];
    ak_fail(z->ctx, AK_ERR_SHAPE, "ntxent: views are %s, expected [V, N, D] with V in [2, %d]",
            ak_shape_text(z->shape, text), AK__CONTRAST_VIEWS);
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
    ak_tensor *view[AK__CONTRAST_VIEWS];
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
    if (V < 2 || V > AK__CONTRAST_VIEWS) {
        ak_fail(V > 0 && z[0] ? z[0]->ctx : NULL, AK_ERR_SHAPE, "ntxent: %d views, expected 2 to "
                "%d", V, AK__CONTRAST_VIEWS);
        return &ak__poison;
    }
    return o.pair_sum ? pair_sum(z, V, o, ak_loss_ntxent) : ntxent_fused(z, V, o);
}

static bool ntxent_extras_fit(ak_ctx *ctx, const char *who, int64_t N, const ak_ntxent_options *o)
{
    const ak__extra extra[] = { { .name = ".log_scale", .tensor = o->log_scale, .size = 1 },
                                { .name = ".weights", .tensor = o->weights, .size = N,
                                  .constant = true, .weighs = true },
                                { .name = ".ids", .index = o->ids, .size = N } };
    return ak__extras_fit(ctx, who, extra, sizeof extra / sizeof *extra);
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
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids);
    return ak__rows_cross_entropy(s, candidates, partners, w, o.label_smoothing);
}

ak_tensor *ak_loss_ntxent_composed(ak_tensor *z1, ak_tensor *z2, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))
        return &ak__poison;
    if (!ntxent_extras_fit(z1->ctx, __func__, ak_row_count(z1), &o))
        return &ak__poison;
    ak_tensor *u = unit_rows(ak_concat(0, z1, z2), o.normalized);                   /* [2N, D] */
    if (o.ids || o.weights || o.label_smoothing > 0 || ak_is_poison(u))
        return ntxent_rows_composed(u, z1->shape.dims[0], o);
    ak_tensor *s = ak__scores(u, u, tau_or(o.tau, NTXENT_TAU), o.log_scale);        /* [2N, 2N] */
    ak_tensor *others = ak_logsumexp(ak_mask(s, AK_MASK_SELF), 1);                  /* [2N] */
    return ak_mean(ak_sub(others, ak_pair_diagonal(s)));
}

ak_tensor *ak_loss_ntxent_views_composed(ak_tensor *z, ak_ntxent_options o)
{
    if (!AK__TENSOR(NULL, z))
        return &ak__poison;
    ak_tensor *view[AK__CONTRAST_VIEWS];
    if (!views_fit(z))
        return ak_sum(z);
    if (o.pair_sum)
        return pair_sum(view, split_views(z, view), o, ak_loss_ntxent_composed);
    if (!ntxent_extras_fit(z->ctx, __func__, z->shape.dims[1], &o))
        return &ak__poison;
    return ntxent_rows_composed(unit_rows(z, o.normalized), z->shape.dims[1], o);
}

/* ---- InfoNCE and CLIP ------------------------------------------------------------------------ */

#define INFONCE_TAU 0.07

static ak_tensor *infonce_fused(const ak_op *op, ak_tensor *q, ak_tensor *k, ak_infonce_options o)
{
    if (o.target_weights && !o.target_columns) {
        ak_fail(q->ctx, AK_ERR_VALUE, "%s: .target_weights without .target_columns", op->name);
        return &ak__poison;
    }
    const ak__contrast attr = {
        .two_sided = op == &ak__op_clip, .single_warns = true, .normalized = o.normalized,
        .others_masked = o.no_batch_negatives, .tau = tau_or(o.tau, INFONCE_TAU), .factor = 1,
        .smoothing = o.label_smoothing, .ids = o.ids, .labels = o.labels,
        .target_columns = o.target_columns, .report = o.report };
    return ak__contrast_apply(op, attr, (ak__contrast_operands){
        .x = &q, .n_x = 1, .y = &k, .n_y = 1, .queue = o.queue, .log_scale = o.log_scale,
        .matrix = o.targets, .target_weights = o.target_columns ? o.target_weights : NULL,
        .pair_weights = o.pair_weights, .weights = o.weights });
}

ak_tensor *ak_loss_infonce(ak_tensor *q, ak_tensor *k, ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, q) || !AK__TENSOR(q->ctx, k))
        return &ak__poison;
    return infonce_fused(&ak__op_infonce, q, k, o);
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
    return infonce_fused(&ak__op_clip, image, text, o);
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
    ak_tensor *x = unit_rows(q, o.normalized), *y = unit_rows(k, o.normalized);
    if (o.queue)
        y = ak_concat(0, y, ak_detach(unit_rows(o.queue, o.normalized)));
    ak_tensor *s = ak__scores(x, y, tau_or(o.tau, INFONCE_TAU), o.log_scale);       /* [N, C] */
    if (ak_is_poison(s))
        return s;
    const ak__pairs pairs = { .ctx = s->ctx, .R = s->shape.dims[0], .C = s->shape.dims[1],
                              .N = q->shape.dims[0], .batch = k->shape.dims[0] };
    ak_tensor *candidates = ak__candidate_matrix(pairs, o.ids, o.no_batch_negatives);
    if (o.pair_weights)
        candidates = ak_mul(candidates, o.pair_weights);
    ak_tensor *ones = ak_where(candidates, ak_add_scalar(ak_scale(candidates, 0), 1), candidates);
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids);
    return ak__rows_cross_entropy(s, candidates, infonce_targets(pairs, ones, o), w,
                                  o.label_smoothing);
}

ak_tensor *ak_loss_clip_composed(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                 ak_infonce_options o)
{
    if (!AK__TENSOR(NULL, image) || !AK__TENSOR(image->ctx, text))
        return &ak__poison;
    o.log_scale = log_scale;
    if (!infonce_extras_fit(image->ctx, __func__, image, text, &o))
        return &ak__poison;
    ak_tensor *x = unit_rows(image, o.normalized), *y = unit_rows(text, o.normalized);
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
    ak_tensor *a = ak__rows_cross_entropy(s, v, t, ak__anchor_weights(rows, o.weights, o.ids),
                                          o.label_smoothing);
    ak_tensor *b = ak__rows_cross_entropy(ak_transpose(s), ak_transpose(v), u,
                                          ak__anchor_weights(columns, o.weights, o.ids),
                                          o.label_smoothing);
    return ak_scale(ak_add(a, b), 0.5);
}
