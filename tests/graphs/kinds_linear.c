/* SPDX-License-Identifier: Apache-2.0 */
/* Products of matrices, distances of rows, attention. */
#include "graph.h"

#include <math.h>
#include <string.h>

/* ---- products -------------------------------------------------------------------------------- */

typedef struct product {
    ak_tensor *(*op)(ak_tensor *, ak_tensor *);
    bool a_turned, b_turned;    /* [K, M], [N, K] */
} product;

/* Leading axes, which one operand may lack; then the matrix. */
static ak_shape matrix_shape(ak_shape lead, bool whole, int64_t rows, int64_t columns)
{
    ak_shape s = whole ? lead : (ak_shape){ 0 };
    s.dims[s.n++] = rows;
    s.dims[s.n++] = columns;
    return s;
}

static bool draw_product(graph *g, graph_node *n)
{
    const product *u = n->kind->of;
    const int a = node_within(g, node_rank(g, 2, 4), 1e4);
    const ak_shape s = g->nodes[a].shape;
    const int64_t rows = s.dims[s.n - 2], columns = s.dims[s.n - 1], N = draw_dim(g);
    const int64_t M = u->a_turned ? columns : rows, K = u->a_turned ? rows : columns;
    ak_shape lead = { .n = s.n - 2 };
    memcpy(lead.dims, s.dims, (size_t)lead.n * sizeof lead.dims[0]);
    const bool many = draw_yes(g, 0.6);
    const bool more = lead.n == 0 && draw_yes(g, 0.2);      /* a is shared by products of b's */
    const ak_shape b_lead = more ? AK_SHAPE(1 + draw_below(g, 4)) : lead;
    const ak_shape want = matrix_shape(b_lead, many || more, u->b_turned ? N : K,
                                       u->b_turned ? K : N);
    const ak_shape out = matrix_shape(more ? b_lead : lead, true, M, N);
    if (ak_shape_size(want) > g->limit || ak_shape_size(out) > g->limit)
        return false;
    const int b = ak_shape_equal(want, s) && draw_yes(g, 0.3)
                  ? a : node_within(g, node_shaped(g, want), 1e4);
    set_operand(n, 0, a);
    set_operand(n, 1, b);
    n->shape = out;
    const double size = (double)K * size_of_values(g, a) * size_of_values(g, b);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_product(const node_call *c)
{
    return ((const product *)c->n->kind->of)->op(c->in[0], c->in[1]);
}

typedef struct layer { ak_tensor *(*op)(ak_tensor *, ak_tensor *, ak_tensor *); } layer;

static bool draw_layer(graph *g, graph_node *n)
{
    const int x = node_within(g, node_rank(g, 1, 4), 1e4);
    const int64_t I = dim(g, x, g->nodes[x].shape.n - 1), O = draw_dim(g);
    if (I * O > g->limit)
        return false;
    const int w = node_within(g, node_shaped(g, AK_SHAPE(O, I)), 1e4);
    const int b = draw_yes(g, 0.7) ? node_shaped(g, AK_SHAPE(O)) : -1;
    set_operand(n, 0, x);
    set_operand(n, 1, w);
    set_operand(n, 2, b);
    n->shape = g->nodes[x].shape;
    n->shape.dims[n->shape.n - 1] = O;
    const double size = (double)I * size_of_values(g, x) * size_of_values(g, w) +
                        (b >= 0 ? size_of_values(g, b) : 0);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_layer(const node_call *c)
{
    return ((const layer *)c->n->kind->of)->op(c->in[0], c->in[1], c->in[2]);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool draw_cosine(graph *g, graph_node *n)
{
    const int a = node_rows(g, node_rank(g, 1, 4));
    const int b = node_rows(g, node_shaped(g, g->nodes[a].shape));
    set_operand(n, 0, a);
    set_operand(n, 1, b);
    n->shape = g->nodes[a].shape;
    n->shape.dims[--n->shape.n] = 0;
    set_range(n, -1, 1);
    return true;
}

static ak_tensor *call_cosine(const node_call *c)
{
    return ak_cosine_similarity(c->in[0], c->in[1]);
}

static bool draw_sqdist(graph *g, graph_node *n)
{
    const int a = node_within(g, node_rank(g, 2, 2), 1e3);
    const int64_t M = dim(g, a, 0), D = dim(g, a, 1), N = draw_dim(g);
    if (N * D > g->limit || M * N > g->limit)
        return false;
    const int b = draw_yes(g, 0.15) ? a : node_within(g, node_shaped(g, AK_SHAPE(N, D)), 1e3);
    set_operand(n, 0, a);
    set_operand(n, 1, b);
    n->shape = AK_SHAPE(M, dim(g, b, 0));
    const double size = size_of_values(g, a) + size_of_values(g, b);
    set_range(n, 0, (double)D * size * size);
    return true;
}

static ak_tensor *call_sqdist(const node_call *c) { return ak_pairwise_sqdist(c->in[0], c->in[1]); }

/* ---- attention ------------------------------------------------------------------------------- */

/* [N, H, T, D], or joined [N, T, H D]. */
static ak_shape sequence(bool joined, int64_t N, int64_t H, int64_t T, int64_t D)
{
    return joined ? AK_SHAPE(N, T, H * D) : AK_SHAPE(N, H, T, D);
}

static int sequence_node(graph *g, ak_shape s)
{
    return node_within(g, node_shaped(g, s), 3);
}

static void draw_key_lists(graph *g, graph_node *n, int64_t N, int64_t Tk)
{
    if (draw_yes(g, 0.25)) {
        int32_t *v = set_list(g, n, "key_lengths", AK_SHAPE(N));
        for (int64_t i = 0; i < N && !g->full; i++)
            v[i] = (int32_t)draw_below(g, Tk + 1);
    }
    if (draw_yes(g, 0.25)) {
        int32_t *v = set_list(g, n, "key_mask", AK_SHAPE(N, Tk));
        for (int64_t i = 0; i < N * Tk && !g->full; i++)
            v[i] = draw_yes(g, 0.7);
    }
}

static int draw_bias(graph *g, int64_t N, int64_t H, int64_t Tq, int64_t Tk)
{
    const ak_shape shapes[3] = { AK_SHAPE(Tq, Tk), AK_SHAPE(H, Tq, Tk), AK_SHAPE(N, H, Tq, Tk) };
    const int b = node_constant(g, shapes[draw_below(g, 3)], -1, 1);
    double *v = g->nodes[b].values;
    for (int64_t i = 0; v && i < ak_shape_size(g->nodes[b].shape); i++)
        v[i] = draw_yes(g, 0.1) ? -(double)INFINITY : v[i];
    return b;
}

static bool draw_attention(graph *g, graph_node *n)
{
    const bool joined = draw_yes(g, 0.5), large = g->limit > 1000;
    const int64_t N = 1 + draw_below(g, 3), H = 1 + draw_below(g, 3);
    const int64_t D = 1 + draw_below(g, large ? 40 : 6);
    const int64_t Dv = draw_yes(g, 0.6) ? D : 1 + draw_below(g, 6);
    const int64_t Tq = large ? draw_dim(g) : 1 + draw_below(g, 9);
    const int64_t Tk = draw_yes(g, 0.4) ? Tq : 1 + draw_below(g, large ? 70 : 9);
    if (N * H * (Tq + Tk) * (D + Dv) > g->limit || N * H * Tq * Tk > g->limit)
        return false;
    const int q = sequence_node(g, sequence(joined, N, H, Tq, D));
    const int k = D == Dv && Tq == Tk && draw_yes(g, 0.2)
                  ? q : sequence_node(g, sequence(joined, N, H, Tk, D));
    const int v = sequence_node(g, sequence(joined, N, H, Tk, Dv));
    set_operand(n, 0, q);
    set_operand(n, 1, k);
    set_operand(n, 2, v);
    if (joined)
        set_option(n, "heads", (double)H);
    if (draw_yes(g, 0.4))
        set_option(n, "scale", (double)(float)draw_between(g, 0.1, 1.5));
    if (draw_yes(g, 0.35))
        set_option(n, "causal", 1);
    draw_key_lists(g, n, N, Tk);
    if (draw_yes(g, 0.3))
        set_operand(n, 3, draw_bias(g, N, H, Tq, Tk));
    n->shape = sequence(joined, N, H, Tq, Dv);
    set_range(n, -3, 3);
    return true;
}

static ak_tensor *call_attention(const node_call *c)
{
    return ak_attention(c->in[0], c->in[1], c->in[2], (ak_attention_options){
        .heads = (int)get_option(c->n, "heads"), .scale = get_option(c->n, "scale"),
        .causal = get_option(c->n, "causal") != 0, .key_lengths = get_list(c, "key_lengths"),
        .key_mask = get_list(c, "key_mask"), .bias = c->n->n_in > 3 ? c->in[3] : NULL });
}

#define PRODUCT(f, ...)                                                                           \
    { #f, draw_product, call_product, &(const product){ ak_##f, __VA_ARGS__ }, 0 }
#define LAYER(f) { #f, draw_layer, call_layer, &(const layer){ ak_##f }, 0 }

const graph_kind kinds_linear[] = {
    PRODUCT(matmul, false, false), PRODUCT(matmul_nt, false, true), PRODUCT(matmul_tn, true, false),
    LAYER(linear), LAYER(linear_relu),
    { "cosine_similarity", draw_cosine, call_cosine, NULL, 0 },
    { "pairwise_sqdist", draw_sqdist, call_sqdist, NULL, 0 },
    { "attention", draw_attention, call_attention, NULL, 0 },
    { .name = NULL },
};
