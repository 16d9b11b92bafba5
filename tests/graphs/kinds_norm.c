/* SPDX-License-Identifier: Apache-2.0 */
/* Norms: of rows, of groups of channels, of batches in train and in evaluation mode. */
#include "graph.h"

#include <math.h>

static void draw_eps(graph *g, graph_node *n)
{
    if (draw_yes(g, 0.4))
        set_option(n, "eps", (double)(float)DRAW_ONE(g, 1e-3, 0.1, 1e-5));
}

/* Weight and bias, each of [D] or absent, at operands 1 and 2. */
static double draw_weights(graph *g, graph_node *n, int64_t D, int place, bool bias)
{
    const int w = draw_yes(g, 0.7) ? node_within(g, node_shaped(g, AK_SHAPE(D)), 10) : -1;
    const int b = bias && draw_yes(g, 0.7) ? node_within(g, node_shaped(g, AK_SHAPE(D)), 10) : -1;
    set_operand(n, place, w);
    if (bias)
        set_operand(n, place + 1, b);
    return (w >= 0 ? size_of_values(g, w) : 1) * 100 + (b >= 0 ? size_of_values(g, b) : 0);
}

/* The gradient of a row of one number is 0, or nearly: float has only what rounding leaves of it.
 * Such rows are tried by the ops' samples. */
static bool is_single(const graph *g, int x) { return dim(g, x, g->nodes[x].shape.n - 1) == 1; }

static bool draw_l2(graph *g, graph_node *n)
{
    const int x = node_rows(g, node_rank(g, 1, 5));
    if (is_single(g, x))
        return false;
    set_operand(n, 0, x);
    n->shape = g->nodes[x].shape;
    n->rows = true;
    set_range(n, -1, 1);
    return true;
}

static ak_tensor *call_l2(const node_call *c) { return ak_l2_normalize(c->in[0]); }

static bool draw_row_norm(graph *g, graph_node *n)
{
    const bool layer = n->kind->of != NULL;
    const int x = node_rows(g, node_rank(g, 1, 5));
    if (is_single(g, x))
        return false;
    set_operand(n, 0, x);
    draw_eps(g, n);
    n->shape = g->nodes[x].shape;
    const double size = draw_weights(g, n, n->shape.dims[n->shape.n - 1], 1, layer);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_layer_norm(const node_call *c)
{
    return ak_layer_norm(c->in[0], c->in[1], c->in[2], get_option(c->n, "eps"));
}

static ak_tensor *call_rms_norm(const node_call *c)
{
    return ak_rms_norm(c->in[0], c->in[1], get_option(c->n, "eps"));
}

static bool draw_group_norm(graph *g, graph_node *n)
{
    const int x = node_rows(g, node_rank(g, 2, 5));
    const int64_t C = dim(g, x, g->nodes[x].shape.n - 1);
    int64_t groups = 1 + draw_below(g, 8);
    while (C % groups)
        groups--;
    if (ak_shape_size(g->nodes[x].shape) == dim(g, x, 0) * groups)
        return false;                   /* groups of one number: see is_single */
    set_operand(n, 0, x);
    set_option(n, "groups", (double)groups);
    draw_eps(g, n);
    n->shape = g->nodes[x].shape;
    const double size = draw_weights(g, n, C, 1, true);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_group_norm(const node_call *c)
{
    return ak_group_norm(c->in[0], c->in[1], c->in[2], (int)get_option(c->n, "groups"),
                         get_option(c->n, "eps"));
}

/* ---- batch norm ------------------------------------------------------------------------------ */

/* Operands: x, w, b, running mean and variance; with a skip that comes last. In front may stand a
 * convolution, which then hands its moments over. */
static bool draw_batch_norm(graph *g, graph_node *n)
{
    const bool add = n->kind->of != NULL;
    const int x = node_rows(g, node_rank(g, 2, 5));
    const ak_shape s = g->nodes[x].shape;
    const int64_t C = s.dims[s.n - 1];
    if (ak_shape_size(s) / C < 2)
        return false;
    set_operand(n, 0, x);
    const double weights = draw_weights(g, n, C, 1, true);
    if (draw_yes(g, 0.7)) {
        const int mean = node_constant(g, AK_SHAPE(C), -1, 1);
        const int var = node_constant(g, AK_SHAPE(C), 0.5, 2);
        g->nodes[mean].state = g->nodes[var].state = true;
        set_operand(n, 3, mean);
        set_operand(n, 4, var);
        if (draw_yes(g, 0.35))
            set_option(n, "evaluate", 1);
    } else {
        set_operand(n, 4, -1);
    }
    draw_eps(g, n);
    if (draw_yes(g, 0.5))
        set_option(n, "momentum", DRAW_ONE(g, 0.01, 0.5, 1, AK_NONE));
    if (draw_yes(g, 0.4))
        set_option(n, "relu", 1);
    double size = weights * (1 + size_of_values(g, x));
    if (add) {
        const int skip = draw_yes(g, 0.8) ? (draw_yes(g, 0.1) ? x : node_shaped(g, s)) : -1;
        set_operand(n, 5, skip);
        size += skip >= 0 ? size_of_values(g, skip) : 0;
    }
    n->shape = s;
    set_range(n, -size, size);
    return true;
}

static ak_batch_norm_options batch_norm_options(const graph_node *n)
{
    return (ak_batch_norm_options){ .eps = get_option(n, "eps"),
                                    .momentum = get_option(n, "momentum"),
                                    .relu = get_option(n, "relu") != 0 };
}

static ak_tensor *call_batch_norm(const node_call *c)
{
    return ak_batch_norm(c->in[0], c->in[1], c->in[2], c->in[3], c->in[4],
                         batch_norm_options(c->n));
}

static ak_tensor *call_batch_norm_add(const node_call *c)
{
    return ak_batch_norm_add(c->in[0], c->in[5], c->in[1], c->in[2], c->in[3], c->in[4],
                             batch_norm_options(c->n));
}

static const int with = 1;

const graph_kind kinds_norm[] = {
    { "l2_normalize", draw_l2, call_l2, NULL, 0 },
    { "layer_norm", draw_row_norm, call_layer_norm, &with, 0 },
    { "rms_norm", draw_row_norm, call_rms_norm, NULL, 0 },
    { "group_norm", draw_group_norm, call_group_norm, NULL, 0 },
    { "batch_norm", draw_batch_norm, call_batch_norm, NULL, KIND_EVALUATE },
    { "batch_norm_add", draw_batch_norm, call_batch_norm_add, &with, KIND_EVALUATE },
    { .name = NULL },
};
