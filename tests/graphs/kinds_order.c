/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons, order, rows by segment. What depends on which of two numbers is the larger reads
 * leaves: of numbers that were computed, rounding would decide. */
#include "graph.h"

#include <string.h>

/* ---- comparisons: constants ------------------------------------------------------------------ */

typedef struct comparison { ak_tensor *(*op)(const ak_tensor *, const ak_tensor *); } comparison;

static bool draw_comparison(graph *g, graph_node *n)
{
    const ak_shape s = draw_shape(g, (int)draw_below(g, 5));
    const int a = node_leaf(g, s, -1, 1), b = node_constant(g, s, -1, 1);
    const double *x = g->nodes[a].values;
    double       *y = g->nodes[b].values;
    for (int64_t i = 0; x && y && i < ak_shape_size(s); i++)
        y[i] = draw_yes(g, 0.3) ? x[i] : y[i];
    set_operand(n, 0, a);
    set_operand(n, 1, b);
    n->shape = s;
    set_range(n, 0, 1);
    return true;
}

static ak_tensor *call_comparison(const node_call *c)
{
    return ((const comparison *)c->n->kind->of)->op(c->in[0], c->in[1]);
}

/* ---- sort, top-k ----------------------------------------------------------------------------- */

static bool draw_order(graph *g, graph_node *n)
{
    const int x = node_leaf(g, draw_shape(g, 1 + (int)draw_below(g, 4)), -1, 1);
    const int rank = g->nodes[x].shape.n, axis = (int)draw_below(g, rank);
    const bool top = strcmp(n->kind->name, "topk") == 0;
    set_operand(n, 0, x);
    set_option(n, "axis", draw_yes(g, 0.3) ? axis - rank : axis);
    set_option(n, top ? "largest" : "descending", draw_yes(g, 0.5));
    n->shape = g->nodes[x].shape;
    if (top) {
        n->shape.dims[axis] = 1 + draw_below(g, dim(g, x, axis));
        set_option(n, "count", (double)n->shape.dims[axis]);
    }
    set_range(n, -1, 1);
    return true;
}

static ak_tensor *call_sort(const node_call *c)
{
    return ak_sort(c->in[0], (int)get_option(c->n, "axis"),
                   get_option(c->n, "descending") != 0, NULL);
}

static ak_tensor *call_topk(const node_call *c)
{
    return ak_topk(c->in[0], (int64_t)get_option(c->n, "count"), (int)get_option(c->n, "axis"),
                   get_option(c->n, "largest") != 0, NULL);
}

/* ---- rows by segment ------------------------------------------------------------------------- */

typedef struct segment {
    ak_tensor *(*op)(ak_tensor *, ak_index *, int64_t);
    bool keeps, leaf, full;     /* rows stay; reads a leaf; no segment may be empty */
} segment;

static bool draw_segment(graph *g, graph_node *n)
{
    const segment *u = n->kind->of;
    const int rank = 1 + (int)draw_below(g, 3);
    const int x = u->leaf ? node_leaf(g, draw_shape(g, rank), -1, 1)
                          : node_within(g, node_rank(g, 1, 4), 30);
    const int64_t N = dim(g, x, 0), count = u->full ? 1 + draw_below(g, N) : 1 + draw_below(g, 6);
    int32_t *ids = set_list(g, n, "ids", AK_SHAPE(N));
    for (int64_t i = 0; i < N && !g->full; i++)
        ids[i] = (int32_t)(u->full && i < count ? i : draw_below(g, count));
    set_operand(n, 0, x);
    set_option(n, "count", (double)count);
    n->shape = g->nodes[x].shape;
    if (!u->keeps)
        n->shape.dims[0] = count;
    const double size = (double)N * size_of_values(g, x) + 1;
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_segment(const node_call *c)
{
    return ((const segment *)c->n->kind->of)->op(c->in[0], get_list(c, "ids"),
                                                 (int64_t)get_option(c->n, "count"));
}

#define COMPARISON(f)                                                                              \
    { #f, draw_comparison, call_comparison, &(const comparison){ ak_##f }, KIND_STOP | KIND_RARE }
#define SEGMENT(f, ...)                                                                            \
    { "segment_" #f, draw_segment, call_segment,                                                   \
      &(const segment){ .op = ak_segment_##f, __VA_ARGS__ }, 0 }

const graph_kind kinds_order[] = {
    COMPARISON(equal), COMPARISON(not_equal), COMPARISON(less), COMPARISON(less_equal),
    COMPARISON(greater), COMPARISON(greater_equal),
    { "sort", draw_order, call_sort, NULL, 0 }, { "topk", draw_order, call_topk, NULL, 0 },
    SEGMENT(sum, .keeps = false), SEGMENT(mean, .keeps = false),
    SEGMENT(max, .leaf = true, .full = true), SEGMENT(softmax, .keeps = true),
    { .name = NULL },
};
