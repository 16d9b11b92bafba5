/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive losses with all their options, each in its fused and its composed form. */
#include "graph.h"

#include <string.h>

/* ---- what they share ------------------------------------------------------------------------- */

/* Embeddings: rows that are not near zero, or, if they count as normalised, not long. */
static int embeddings(graph *g, ak_shape s, bool normalized)
{
    const int x = node_shaped(g, s);
    const double D = (double)s.dims[s.n - 1];
    return normalized ? node_within(g, x, D > 4 ? 4 / D : 1) : node_rows(g, x);
}

static int embeddings_size(graph *g, int64_t *N, int64_t *D)
{
    static const int64_t many[] = { 16, 31, 33, 64, 65 };
    const bool large = g->limit > 1000 && draw_yes(g, 0.7);
    *N = large ? many[draw_below(g, 5)] : 2 + draw_below(g, 8);
    *D = large ? many[draw_below(g, 5)] : 1 + draw_below(g, 9);
    return 1;
}

static void draw_tau(graph *g, graph_node *n, bool normalized)
{
    if (normalized)
        set_option(n, "normalized", 1);
    /* Small ones saturate: gradients are then what rounding leaves of 1 - 1. They are rare. */
    if (normalized || draw_yes(g, 0.92))
        set_option(n, "tau", (double)(float)DRAW_ONE(g, 0.25, 0.3, 0.5, 1, 2));
    if (draw_yes(g, 0.5))
        set_option(n, "composed", 1);
}

static int draw_log_scale(graph *g)
{
    return draw_yes(g, 0.35) ? node_leaf(g, AK_SHAPE(1), -1, 1.4) : -1;
}

static int draw_sample_weights(graph *g, int64_t N)
{
    return draw_yes(g, 0.3) ? node_constant(g, AK_SHAPE(N), 0, 2) : -1;
}

static void draw_smoothing(graph *g, graph_node *n)
{
    if (draw_yes(g, 0.3))
        set_option(n, "label_smoothing", (double)(float)draw_between(g, 0.01, 0.5));
}

/* Some samples twice; -1 is padding. */
static void draw_ids(graph *g, graph_node *n, int64_t N)
{
    if (!draw_yes(g, 0.25))
        return;
    int32_t *ids = set_list(g, n, "ids", AK_SHAPE(N));
    for (int64_t i = 0; i < N && !g->full; i++)
        ids[i] = i > 0 && draw_yes(g, 0.1) ? -1 : (int32_t)draw_below(g, 2 * N);
}

static void draw_labels(graph *g, graph_node *n, int64_t N)
{
    int32_t *labels = set_list(g, n, "labels", AK_SHAPE(N));
    for (int64_t i = 0; i < N && !g->full; i++)
        labels[i] = (int32_t)draw_below(g, 1 + N / 2);
}

/* A loss is a log-sum-exp less a score, which may be as large as 1/tau. */
static bool finish(graph_node *n)
{
    n->shape = AK_SCALAR;
    n->inner = 30;
    set_range(n, -200, 200);
    return true;
}

/* ---- NT-Xent: z1, z2 or all views in one; log scale, weights -------------------------------- */

static bool draw_ntxent(graph *g, graph_node *n)
{
    const bool list = strcmp(n->kind->name, "ntxent_list") == 0;
    const bool stacked = strcmp(n->kind->name, "ntxent_views") == 0;
    const bool normalized = draw_yes(g, 0.2);
    const int64_t views = list || stacked ? 2 + draw_below(g, 3) : 2;
    int64_t N, D;
    embeddings_size(g, &N, &D);
    if (views * N * D > g->limit)
        return false;
    const int operands = stacked ? 1 : (int)views;
    for (int v = 0; v < operands; v++)
        set_operand(n, v, embeddings(g, stacked ? AK_SHAPE(views, N, D) : AK_SHAPE(N, D),
                                     normalized));
    set_operand(n, operands, draw_log_scale(g));
    set_operand(n, operands + 1, draw_sample_weights(g, N));
    draw_tau(g, n, normalized);
    draw_smoothing(g, n);
    draw_ids(g, n, N);
    if ((list || stacked) && draw_yes(g, 0.3))
        set_option(n, "pair_sum", 1);
    return finish(n);
}

static ak_ntxent_options ntxent_options(const node_call *c)
{
    const int operands = c->n->n_in;
    return (ak_ntxent_options){
        .tau = get_option(c->n, "tau"), .normalized = get_option(c->n, "normalized") != 0,
        .label_smoothing = get_option(c->n, "label_smoothing"), .ids = get_list(c, "ids"),
        .pair_sum = get_option(c->n, "pair_sum") != 0,
        .log_scale = c->in[operands - 2], .weights = c->in[operands - 1] };
}

static bool composed(const node_call *c) { return get_option(c->n, "composed") != 0; }

static ak_tensor *call_ntxent(const node_call *c)
{
    return (composed(c) ? ak_loss_ntxent_composed : ak_loss_ntxent)(c->in[0], c->in[1],
                                                                    ntxent_options(c));
}

static ak_tensor *call_views(const node_call *c)
{
    return (composed(c) ? ak_loss_ntxent_views_composed : ak_loss_ntxent_views)(
        c->in[0], ntxent_options(c));
}

/* The list has no composed form: that of its stack is the same loss. */
static ak_tensor *call_list(const node_call *c)
{
    const int V = c->n->n_in - 2;
    return composed(c) ? ak_loss_ntxent_views_composed(ak_stack(c->in, V), ntxent_options(c))
                       : ak_loss_ntxent_list(c->in, V, ntxent_options(c));
}

/* ---- InfoNCE and CLIP: q, k, log scale, weights, queue, targets, their weights, pair weights - */

enum { Q, K, LOG_SCALE, WEIGHTS, QUEUE, TARGETS, TARGET_WEIGHTS, PAIR_WEIGHTS };

static void draw_targets(graph *g, graph_node *n, int64_t N, int64_t M, int64_t C)
{
    if (M == N && draw_yes(g, 0.4)) {
        draw_labels(g, n, N);
    } else if (draw_yes(g, 0.5)) {
        set_operand(n, TARGETS, node_constant(g, AK_SHAPE(N, C), 0, 1));
    } else {
        const int64_t each = 1 + draw_below(g, 3);
        int32_t *columns = set_list(g, n, "target_columns", AK_SHAPE(N, each));
        for (int64_t i = 0; i < N * each && !g->full; i++)
            columns[i] = (int32_t)draw_below(g, C);
        if (draw_yes(g, 0.5))
            set_operand(n, TARGET_WEIGHTS, node_constant(g, AK_SHAPE(N, each), 0.1, 1));
    }
}

static bool draw_infonce(graph *g, graph_node *n)
{
    const bool clip = strcmp(n->kind->name, "clip") == 0, normalized = draw_yes(g, 0.2);
    const bool by_target = draw_yes(g, 0.4);
    int64_t N, D;
    embeddings_size(g, &N, &D);
    const int64_t M = by_target && draw_yes(g, 0.4) ? 2 + draw_below(g, 9) : N;
    const int64_t rows = !clip && draw_yes(g, 0.3) ? 1 + draw_below(g, 9) : 0;
    if ((N + rows) * D > g->limit || N * (M + rows) > g->limit || M * D > g->limit)
        return false;
    set_operand(n, Q, embeddings(g, AK_SHAPE(N, D), normalized));
    set_operand(n, K, embeddings(g, AK_SHAPE(M, D), normalized));
    set_operand(n, LOG_SCALE, draw_log_scale(g));
    set_operand(n, WEIGHTS, draw_sample_weights(g, N));
    set_operand(n, QUEUE, rows ? node_constant(g, AK_SHAPE(rows, D), -1, 1) : -1);
    if (by_target || M != N)
        draw_targets(g, n, N, M, M + rows);
    const bool free_targets = n->n_in > TARGETS || (n->n_lists && n->lists[0].shape.n == 2);
    if (!free_targets)
        draw_ids(g, n, N);
    if (!free_targets && rows && n->n_lists == 0 && draw_yes(g, 0.4))
        set_option(n, "no_batch_negatives", 1);
    if (clip && n->in[WEIGHTS] >= 0 && M != N)
        n->in[WEIGHTS] = -1;
    set_operand(n, PAIR_WEIGHTS, -1);
    if (draw_yes(g, 0.25))
        n->in[PAIR_WEIGHTS] = node_constant(g, AK_SHAPE(N, M + rows), 0.1, 2);
    draw_tau(g, n, normalized);
    draw_smoothing(g, n);
    return finish(n);
}

static ak_infonce_options infonce_options(const node_call *c, bool clip)
{
    return (ak_infonce_options){
        .tau = get_option(c->n, "tau"), .normalized = get_option(c->n, "normalized") != 0,
        .label_smoothing = get_option(c->n, "label_smoothing"), .ids = get_list(c, "ids"),
        .labels = get_list(c, "labels"), .target_columns = get_list(c, "target_columns"),
        .no_batch_negatives = get_option(c->n, "no_batch_negatives") != 0,
        .log_scale = clip ? NULL : c->in[LOG_SCALE], .weights = c->in[WEIGHTS],
        .queue = c->in[QUEUE], .targets = c->in[TARGETS],
        .target_weights = c->in[TARGET_WEIGHTS], .pair_weights = c->in[PAIR_WEIGHTS] };
}

static ak_tensor *call_infonce(const node_call *c)
{
    return (composed(c) ? ak_loss_infonce_composed : ak_loss_infonce)(c->in[Q], c->in[K],
                                                                      infonce_options(c, false));
}

static ak_tensor *call_clip(const node_call *c)
{
    return (composed(c) ? ak_loss_clip_composed : ak_loss_clip)(
        c->in[Q], c->in[K], c->in[LOG_SCALE], infonce_options(c, true));
}

/* ---- SupCon: z, weights, positives ----------------------------------------------------------- */

static bool draw_supcon(graph *g, graph_node *n)
{
    const bool normalized = draw_yes(g, 0.2);
    int64_t N, D;
    embeddings_size(g, &N, &D);
    const bool flat = draw_yes(g, 0.25);
    const int64_t V = flat ? 1 : 1 + draw_below(g, 3);
    if (N * V * D > g->limit)
        return false;
    set_operand(n, 0, embeddings(g, flat ? AK_SHAPE(N, D) : AK_SHAPE(V, N, D), normalized));
    set_operand(n, 1, draw_sample_weights(g, N));
    const double rule = draw_between(g, 0, 1);
    set_operand(n, 2, rule < 0.25 ? node_constant(g, AK_SHAPE(N, N), 0, 1) : -1);
    if (rule >= 0.25 && (V < 2 || rule < 0.75))
        draw_labels(g, n, N);
    draw_ids(g, n, N);
    draw_tau(g, n, normalized);
    if (draw_yes(g, 0.3))
        set_option(n, "base_tau", (double)(float)0.07);
    if (draw_yes(g, 0.3))
        set_option(n, "one", 1);
    return finish(n);
}

static ak_tensor *call_supcon(const node_call *c)
{
    return (composed(c) ? ak_loss_supcon_composed : ak_loss_supcon)(
        c->in[0], get_list(c, "labels"), (ak_supcon_options){
            .tau = get_option(c->n, "tau"), .base_tau = get_option(c->n, "base_tau"),
            .one = get_option(c->n, "one") != 0,
            .normalized = get_option(c->n, "normalized") != 0, .ids = get_list(c, "ids"),
            .weights = c->in[1], .positives = c->in[2] });
}

/* ---- DCL and DCLW: z1, z2, weights ----------------------------------------------------------- */

static bool draw_dcl(graph *g, graph_node *n)
{
    const bool normalized = draw_yes(g, 0.2);
    int64_t N, D;
    embeddings_size(g, &N, &D);
    if (2 * N * D > g->limit)
        return false;
    set_operand(n, 0, embeddings(g, AK_SHAPE(N, D), normalized));
    set_operand(n, 1, embeddings(g, AK_SHAPE(N, D), normalized));
    set_operand(n, 2, draw_sample_weights(g, N));
    draw_ids(g, n, N);
    draw_tau(g, n, normalized);
    /* Weights that are constants have no gradient that differences could see. */
    if (strcmp(n->kind->name, "dclw") == 0)
        set_option(n, "sigma", (double)(float)DRAW_ONE(g, 0.3, 0.5, 1));
    return finish(n);
}

static ak_dcl_options dcl_options(const node_call *c)
{
    return (ak_dcl_options){
        .tau = get_option(c->n, "tau"), .sigma = get_option(c->n, "sigma"), .through = true,
        .normalized = get_option(c->n, "normalized") != 0, .ids = get_list(c, "ids"),
        .weights = c->in[2] };
}

static ak_tensor *call_dcl(const node_call *c)
{
    return (composed(c) ? ak_loss_dcl_composed : ak_loss_dcl)(c->in[0], c->in[1], dcl_options(c));
}

static ak_tensor *call_dclw(const node_call *c)
{
    return (composed(c) ? ak_loss_dclw_composed : ak_loss_dclw)(c->in[0], c->in[1],
                                                                dcl_options(c));
}

/* ---- SigLIP: image, text, log scale, bias ---------------------------------------------------- */

static bool draw_siglip(graph *g, graph_node *n)
{
    const bool normalized = draw_yes(g, 0.2);
    int64_t N, D;
    embeddings_size(g, &N, &D);
    const int64_t M = draw_yes(g, 0.3) ? N + draw_below(g, 9) : N;
    if (N * D > g->limit || M * D > g->limit || N * M > g->limit)
        return false;
    set_operand(n, 0, embeddings(g, AK_SHAPE(N, D), normalized));
    set_operand(n, 1, embeddings(g, AK_SHAPE(M, D), normalized));
    set_operand(n, 2, draw_log_scale(g));
    set_operand(n, 3, draw_yes(g, 0.5) ? node_leaf(g, AK_SHAPE(1), -3, 1) : -1);
    if (M == N && draw_yes(g, 0.3))
        draw_labels(g, n, N);
    if (M == N)
        draw_ids(g, n, N);
    draw_tau(g, n, normalized);
    return finish(n);
}

static ak_tensor *call_siglip(const node_call *c)
{
    return (composed(c) ? ak_loss_siglip_composed : ak_loss_siglip)(
        c->in[0], c->in[1], c->in[2], c->in[3], (ak_siglip_options){
            .tau = get_option(c->n, "tau"), .normalized = get_option(c->n, "normalized") != 0,
            .ids = get_list(c, "ids"), .labels = get_list(c, "labels") });
}

/* ---- alignment, uniformity: x, y ------------------------------------------------------------- */

static bool draw_spread(graph *g, graph_node *n)
{
    const bool normalized = draw_yes(g, 0.2), one = strcmp(n->kind->name, "uniformity") == 0;
    int64_t N, D;
    embeddings_size(g, &N, &D);
    if (2 * N * D > g->limit)
        return false;
    for (int i = 0; i < (one ? 1 : 2); i++)
        set_operand(n, i, embeddings(g, AK_SHAPE(N, D), normalized));
    if (normalized)
        set_option(n, "normalized", 1);
    if (strcmp(n->kind->name, "alignment") != 0) {
        set_option(n, "t", (double)(float)DRAW_ONE(g, 0.5, 2, 3));
        if (draw_yes(g, 0.5))
            set_option(n, "composed", 1);
    }
    return finish(n);
}

static ak_uniformity_options uniformity_options(const node_call *c)
{
    return (ak_uniformity_options){ .t = get_option(c->n, "t"),
                                    .normalized = get_option(c->n, "normalized") != 0 };
}

static ak_tensor *call_alignment(const node_call *c)
{
    return ak_loss_alignment(c->in[0], c->in[1], (ak_alignment_options){
        .normalized = get_option(c->n, "normalized") != 0 });
}

static ak_tensor *call_uniformity(const node_call *c)
{
    return (composed(c) ? ak_loss_uniformity_composed : ak_loss_uniformity)(
        c->in[0], uniformity_options(c));
}

static ak_tensor *call_cross_uniformity(const node_call *c)
{
    return (composed(c) ? ak_loss_cross_uniformity_composed : ak_loss_cross_uniformity)(
        c->in[0], c->in[1], uniformity_options(c));
}

const graph_kind kinds_loss[] = {
    { "ntxent", draw_ntxent, call_ntxent, NULL, 0 },
    { "ntxent_views", draw_ntxent, call_views, NULL, 0 },
    { "ntxent_list", draw_ntxent, call_list, NULL, 0 },
    { "infonce", draw_infonce, call_infonce, NULL, 0 },
    { "clip", draw_infonce, call_clip, NULL, 0 },
    { "supcon", draw_supcon, call_supcon, NULL, 0 },
    { "dcl", draw_dcl, call_dcl, NULL, 0 }, { "dclw", draw_dcl, call_dclw, NULL, 0 },
    { "siglip", draw_siglip, call_siglip, NULL, 0 },
    { "alignment", draw_spread, call_alignment, NULL, 0 },
    { "uniformity", draw_spread, call_uniformity, NULL, 0 },
    { "cross_uniformity", draw_spread, call_cross_uniformity, NULL, 0 },
    { .name = NULL },
};
