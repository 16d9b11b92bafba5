/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves, aliases, and ops that move elements. */
#include "graph.h"

#include <math.h>
#include <string.h>

const graph_kind kind_leaf = { "leaf", NULL, NULL, NULL, KIND_LEAF };

static void like(const graph *g, graph_node *n, int x)
{
    set_operand(n, 0, x);
    n->shape = g->nodes[x].shape;
    set_range(n, g->nodes[x].lo, g->nodes[x].hi);
}

/* ---- aliases --------------------------------------------------------------------------------- */

static bool draw_reshape(graph *g, graph_node *n)
{
    const int x = node_any(g);
    int64_t rest = ak_shape_size(g->nodes[x].shape);
    like(g, n, x);
    n->shape = (ak_shape){ .n = 1 + (int)draw_below(g, 4) };
    for (int i = 0; i + 1 < n->shape.n; i++) {
        int64_t part = 1 + draw_below(g, 6);
        part = rest % part ? 1 : part;
        n->shape.dims[i] = part;
        rest /= part;
    }
    n->shape.dims[n->shape.n - 1] = rest;
    return true;
}

static ak_tensor *call_reshape(const node_call *c) { return ak_reshape(c->in[0], c->n->shape); }

static bool draw_rows(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 5);
    const int64_t N = dim(g, x, 0), start = draw_below(g, N), count = 1 + draw_below(g, N - start);
    like(g, n, x);
    n->shape.dims[0] = count;
    set_option(n, "start", (double)start);
    set_option(n, "count", (double)count);
    return true;
}

static ak_tensor *call_rows(const node_call *c)
{
    return ak_rows(c->in[0], (int64_t)get_option(c->n, "start"),
                   (int64_t)get_option(c->n, "count"));
}

static bool draw_flatten(graph *g, graph_node *n)
{
    const int x = node_rank(g, 2, 5);
    const int64_t size = ak_shape_size(g->nodes[x].shape);
    const bool rows = strcmp(n->kind->name, "flatten_rows") == 0;
    const int64_t kept = dim(g, x, rows ? g->nodes[x].shape.n - 1 : 0);
    like(g, n, x);
    n->shape = rows ? AK_SHAPE(size / kept, kept) : AK_SHAPE(kept, size / kept);
    return true;
}

static ak_tensor *call_flatten(const node_call *c) { return ak_flatten(c->in[0]); }
static ak_tensor *call_flatten_rows(const node_call *c) { return ak_flatten_rows(c->in[0]); }

/* No gradient goes through it: what hangs on it alone is a constant. */
static bool draw_detach(graph *g, graph_node *n)
{
    like(g, n, node_any(g));
    return true;
}

static ak_tensor *call_detach(const node_call *c) { return ak_detach(c->in[0]); }

/* ---- joining and cutting --------------------------------------------------------------------- */

static void join(graph *g, graph_node *n, int parts, const int *x)
{
    double size = 0;
    for (int i = 0; i < parts; i++) {
        set_operand(n, i, x[i]);
        size = fmax(size, size_of_values(g, x[i]));
    }
    set_range(n, -size, size);
}

static bool draw_concat(graph *g, graph_node *n)
{
    int x[5] = { node_rank(g, 1, 4) };
    ak_shape s = g->nodes[x[0]].shape;
    const int axis = (int)draw_below(g, s.n), parts = 1 + (int)draw_below(g, 4);
    int64_t sum = s.dims[axis];
    for (int i = 1; i < parts; i++) {
        ak_shape part = s;
        part.dims[axis] = draw_yes(g, 0.4) ? s.dims[axis] : 1 + draw_below(g, 5);
        sum += part.dims[axis];
        x[i] = draw_yes(g, 0.15) && part.dims[axis] == s.dims[axis] ? x[0] : node_shaped(g, part);
    }
    join(g, n, parts, x);
    s.dims[axis] = sum;
    n->shape = s;
    set_option(n, "axis", draw_yes(g, 0.3) ? axis - s.n : axis);
    return true;
}

static ak_tensor *call_concat(const node_call *c)
{
    const int axis = (int)get_option(c->n, "axis");
    return c->n->n_in == 2 ? ak_concat(axis, c->in[0], c->in[1])
                           : ak_concat_n(axis, c->in, c->n->n_in);
}

static bool draw_stack(graph *g, graph_node *n)
{
    int x[4] = { node_rank(g, 0, 4) };
    const ak_shape s = g->nodes[x[0]].shape;
    const int parts = 1 + (int)draw_below(g, 4);
    for (int i = 1; i < parts; i++)
        x[i] = node_shaped(g, s);
    join(g, n, parts, x);
    n->shape.n = s.n + 1;
    n->shape.dims[0] = parts;
    for (int i = 0; i < s.n; i++)
        n->shape.dims[i + 1] = s.dims[i];
    return true;
}

static ak_tensor *call_stack(const node_call *c) { return ak_stack(c->in, c->n->n_in); }

static bool draw_slice(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 5), rank = g->nodes[x].shape.n, axis = (int)draw_below(g, rank);
    const int64_t N = dim(g, x, axis), start = draw_below(g, N);
    const int64_t count = 1 + draw_below(g, N - start);
    like(g, n, x);
    n->shape.dims[axis] = count;
    set_option(n, "axis", draw_yes(g, 0.3) ? axis - rank : axis);
    set_option(n, "start", (double)start);
    set_option(n, "count", (double)count);
    return true;
}

static ak_tensor *call_slice(const node_call *c)
{
    return ak_slice(c->in[0], (int)get_option(c->n, "axis"), (int64_t)get_option(c->n, "start"),
                    (int64_t)get_option(c->n, "count"));
}

/* One part of several: the others get no gradient. */
static bool draw_split(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 4), axis = (int)draw_below(g, g->nodes[x].shape.n);
    int64_t parts = 1 + draw_below(g, 6);
    while (dim(g, x, axis) % parts)
        parts--;
    like(g, n, x);
    n->shape.dims[axis] /= parts;
    set_option(n, "axis", axis);
    set_option(n, "parts", (double)parts);
    set_option(n, "part", (double)draw_below(g, parts));
    return true;
}

static ak_tensor *call_split(const node_call *c)
{
    ak_tensor *out[8];
    ak_split(c->in[0], (int)get_option(c->n, "axis"), (int)get_option(c->n, "parts"), out);
    return out[(int)get_option(c->n, "part")];
}

static bool draw_transpose(graph *g, graph_node *n)
{
    const int x = node_rank(g, 2, 5), rank = g->nodes[x].shape.n;
    like(g, n, x);
    n->shape.dims[rank - 1] = dim(g, x, rank - 2);
    n->shape.dims[rank - 2] = dim(g, x, rank - 1);
    return true;
}

static ak_tensor *call_transpose(const node_call *c) { return ak_transpose(c->in[0]); }

static bool draw_permute(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 6), rank = g->nodes[x].shape.n;
    like(g, n, x);
    int32_t *axes = set_list(g, n, "axes", AK_SHAPE(rank));
    for (int i = 0; i < rank; i++)
        axes[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        const int j = (int)draw_below(g, i + 1);
        const int32_t a = axes[i];
        axes[i] = axes[j];
        axes[j] = a;
    }
    for (int i = 0; i < rank; i++)
        n->shape.dims[i] = dim(g, x, axes[i]);
    return true;
}

static ak_tensor *call_permute(const node_call *c)
{
    return ak_permute(c->in[0], c->n->lists[0].values);
}

/* ---- by whole numbers ------------------------------------------------------------------------ */

static void below(graph *g, int32_t *v, int64_t n, int64_t bound)
{
    for (int64_t i = 0; i < n && !g->full; i++)
        v[i] = (int32_t)draw_below(g, bound);
}

/* [rows.., rest of x] */
static ak_shape rows_then_rest(ak_shape rows, ak_shape x)
{
    for (int i = 1; i < x.n; i++)
        rows.dims[rows.n++] = x.dims[i];
    return rows;
}

static bool draw_gather(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 4);
    const ak_shape rows = draw_shape(g, 1 + (int)draw_below(g, 2));
    like(g, n, x);
    n->shape = rows_then_rest(rows, n->shape);
    if (ak_shape_size(n->shape) > g->limit)
        return false;
    below(g, set_list(g, n, "rows", rows), ak_shape_size(rows), dim(g, x, 0));
    return true;
}

static ak_tensor *call_gather(const node_call *c)
{
    return ak_gather_rows(c->in[0], get_list(c, "rows"));
}

static bool draw_scatter(graph *g, graph_node *n)
{
    const int x = node_rank(g, 1, 4);
    const int64_t rows = dim(g, x, 0), N = draw_dim(g);
    like(g, n, x);
    n->shape.dims[0] = N;
    below(g, set_list(g, n, "rows", AK_SHAPE(rows)), rows, N);
    set_option(n, "N", (double)N);
    const double size = (double)rows * size_of_values(g, x);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_scatter(const node_call *c)
{
    return ak_scatter_add_rows(c->in[0], get_list(c, "rows"), (int64_t)get_option(c->n, "N"));
}

static bool draw_embedding(graph *g, graph_node *n)
{
    const int w = node_rank(g, 2, 2);
    const ak_shape ids = draw_shape(g, 1 + (int)draw_below(g, 2));
    like(g, n, w);
    n->shape = rows_then_rest(ids, n->shape);
    if (ak_shape_size(n->shape) > g->limit)
        return false;
    below(g, set_list(g, n, "ids", ids), ak_shape_size(ids), dim(g, w, 0));
    /* A row without gradient looks wrong to finite differences: one that nobody reads. */
    set_option(n, "padding", AK_NONE);
    return true;
}

static ak_tensor *call_embedding(const node_call *c)
{
    return ak_embedding(c->in[0], get_list(c, "ids"), (int)get_option(c->n, "padding"));
}

static bool draw_pick(graph *g, graph_node *n)
{
    const int x = node_rank(g, 2, 2);
    like(g, n, x);
    n->shape = AK_SHAPE(dim(g, x, 0));
    below(g, set_list(g, n, "columns", n->shape), dim(g, x, 0), dim(g, x, 1));
    return true;
}

static ak_tensor *call_pick(const node_call *c)
{
    return ak_pick(c->in[0], get_list(c, "columns"));
}

static bool draw_one_hot(graph *g, graph_node *n)
{
    const ak_shape ids = draw_shape(g, 1 + (int)draw_below(g, 2));
    const int64_t classes = draw_dim(g);
    n->shape = ids;
    n->shape.dims[n->shape.n++] = classes;
    below(g, set_list(g, n, "ids", ids), ak_shape_size(ids), classes);
    set_option(n, "classes", (double)classes);
    set_range(n, 0, 1);
    return true;
}

static ak_tensor *call_one_hot(const node_call *c)
{
    return ak_one_hot(get_list(c, "ids"), (int64_t)get_option(c->n, "classes"));
}

/* ---- square matrices ------------------------------------------------------------------------- */

static int square(graph *g, bool even)
{
    int64_t n = draw_dim(g);
    n = even ? 2 * ((n + 1) / 2) : n;
    while (n * n > g->limit)
        n -= even ? 2 : 1;
    return node_shaped(g, AK_SHAPE(n, n));
}

static bool draw_diagonal(graph *g, graph_node *n)
{
    const int x = square(g, strcmp(n->kind->name, "pair_diagonal") == 0);
    like(g, n, x);
    n->shape = AK_SHAPE(dim(g, x, 0));
    return true;
}

static ak_tensor *call_diagonal(const node_call *c) { return ak_diagonal(c->in[0]); }
static ak_tensor *call_pair_diagonal(const node_call *c) { return ak_pair_diagonal(c->in[0]); }

static bool draw_triangle(graph *g, graph_node *n)
{
    const int x = node_rank(g, 2, 4);
    like(g, n, x);
    set_option(n, "upper", draw_yes(g, 0.5));
    set_option(n, "diagonal", (double)draw_below(g, 5) - 2);
    set_option(n, "fill", DRAW_ONE(g, 0, 0, -1.5));
    const double size = size_of_values(g, x) + 1.5;
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_triangle(const node_call *c)
{
    return ak_triangle(c->in[0], get_option(c->n, "upper") != 0,
                       (int)get_option(c->n, "diagonal"), get_option(c->n, "fill"));
}

/* -inf has no differences: the mask together with a softmax, the way it is meant. */
static bool draw_mask(graph *g, graph_node *n)
{
    const bool pair = draw_yes(g, 0.5);
    const int x = node_within(g, square(g, pair), 30);
    like(g, n, x);
    const int rules = pair ? (draw_yes(g, 0.5) ? AK_MASK_SELF | AK_MASK_PAIR : AK_MASK_PAIR)
                           : AK_MASK_SELF;
    set_option(n, "rules", rules);
    set_range(n, 0, 1);
    return true;
}

static ak_tensor *call_mask(const node_call *c)
{
    return ak_softmax(ak_mask(c->in[0], (int)get_option(c->n, "rules")));
}

#define LAYOUT(op, how) { #op, draw_##how, call_##op, NULL, 0 }
#define ALIAS(op, how) { #op, draw_##how, call_##op, NULL, KIND_ALIAS }

const graph_kind kinds_layout[] = {
    ALIAS(reshape, reshape), ALIAS(rows, rows), ALIAS(flatten, flatten),
    ALIAS(flatten_rows, flatten), { "detach", draw_detach, call_detach, NULL,
                                    KIND_ALIAS | KIND_STOP | KIND_RARE },
    LAYOUT(concat, concat), LAYOUT(stack, stack), LAYOUT(slice, slice), LAYOUT(split, split),
    LAYOUT(transpose, transpose), LAYOUT(permute, permute),
    { "gather_rows", draw_gather, call_gather, NULL, 0 },
    { "scatter_add_rows", draw_scatter, call_scatter, NULL, 0 },
    LAYOUT(embedding, embedding), LAYOUT(pick, pick), LAYOUT(one_hot, one_hot),
    LAYOUT(diagonal, diagonal), LAYOUT(pair_diagonal, diagonal), LAYOUT(triangle, triangle),
    LAYOUT(mask, mask),
    { .name = NULL },
};
