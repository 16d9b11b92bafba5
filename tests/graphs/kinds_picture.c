/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions, pooling and resizing of pictures and sequences. */
#include "graph.h"

#include <string.h>

static int64_t small_side(graph *g)
{
    static const int64_t sides[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 17 };
    return sides[draw_below(g, g->limit > 1000 ? 12 : 8)];
}

/* [N, H, W, C] that some node gives. Large graphs reach the widths of the fast paths. */
static int picture(graph *g, int64_t multiple)
{
    static const int64_t wide[] = { 16, 17, 24, 32, 33, 64 };
    const int64_t N = 1 + draw_below(g, 3), H = small_side(g), W = draw_yes(g, 0.4) ? H
                                                                                    : small_side(g);
    int64_t C = g->limit > 1000 && draw_yes(g, 0.6) ? wide[draw_below(g, 6)]
                                                    : 1 + draw_below(g, 6);
    C = (C + multiple - 1) / multiple * multiple;
    const ak_shape s = AK_SHAPE(N, H, W, C);
    return ak_shape_size(s) > g->limit ? -1 : node_shaped(g, s);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

typedef struct convolution {
    ak_tensor *(*op)(ak_tensor *, ak_tensor *, ak_tensor *, ak_conv_options);
    bool sequence, transposed;
} convolution;

typedef struct geometry { int64_t stride, padding, dilation, groups, output_padding; } geometry;

static geometry draw_geometry(graph *g, const convolution *u)
{
    geometry o = { 1, 0, 1, 1, 0 };
    if (draw_yes(g, 0.4))
        o.stride = 1 + draw_below(g, 3);
    if (draw_yes(g, 0.6))
        o.padding = 1 + draw_below(g, 2);
    if (draw_yes(g, 0.2))
        o.dilation = 2;
    if (draw_yes(g, 0.3))
        o.groups = 2 + draw_below(g, 2);
    const int64_t most = o.stride > o.dilation ? o.stride : o.dilation;
    if (u->transposed && most > 1)
        o.output_padding = draw_below(g, most);
    return o;
}

/* Side of the result; 0 if the kernel does not fit. */
static int64_t side_after(const convolution *u, geometry o, int64_t side, int64_t kernel)
{
    const int64_t span = o.dilation * (kernel - 1) + 1;
    if (u->transposed)
        return (side - 1) * o.stride - 2 * o.padding + span + o.output_padding;
    const int64_t room = side + 2 * o.padding - span;
    return room < 0 ? 0 : room / o.stride + 1;
}

static void set_geometry(graph *g, graph_node *n, const convolution *u, geometry o)
{
    set_option(n, "stride", (double)o.stride);
    set_option(n, "padding", (double)o.padding);
    set_option(n, "dilation", (double)o.dilation);
    set_option(n, "groups", (double)o.groups);
    if (u->transposed)
        set_option(n, "output_padding", (double)o.output_padding);
    if (draw_yes(g, 0.2))
        set_option(n, "exact", 1);
}

static bool draw_convolution(graph *g, graph_node *n)
{
    static const int64_t wide[] = { 8, 16, 31, 32, 48 };
    const convolution *u = n->kind->of;
    geometry o = draw_geometry(g, u);
    int x = picture(g, o.groups);
    if (x < 0)
        return false;
    const int64_t kh = draw_yes(g, 0.4) ? 3 : 1 + draw_below(g, 5);     /* 3: Winograd */
    const int64_t kw = draw_yes(g, 0.7) ? kh : 1 + draw_below(g, 4);
    const int64_t N = dim(g, x, 0), H = dim(g, x, 1), W = dim(g, x, 2), I = dim(g, x, 3);
    if (o.groups > 1 && draw_yes(g, 0.3))
        o.groups = I;                                       /* depthwise */
    const int64_t each = I % o.groups ? 0 : I / o.groups;
    int64_t O = g->limit > 1000 && draw_yes(g, 0.6) ? wide[draw_below(g, 5)]
                                                    : 1 + draw_below(g, 6);
    O = (O + o.groups - 1) / o.groups * o.groups;
    ak_shape s, w;
    if (u->sequence) {
        x = node_within(g, node_shaped(g, AK_SHAPE(N, H * W, I)), 1e3);
        s = AK_SHAPE(N, side_after(u, o, H * W, kw), O);
        w = AK_SHAPE(O, kw, each);
    } else {
        x = node_within(g, x, 1e3);
        s = AK_SHAPE(N, side_after(u, o, H, kh), side_after(u, o, W, kw), O);
        w = u->transposed ? AK_SHAPE(I, kh, kw, O / o.groups) : AK_SHAPE(O, kh, kw, each);
    }
    for (int i = 0; i < s.n; i++)
        if (s.dims[i] < 1 || each < 1)
            return false;
    if (ak_shape_size(w) > g->limit || ak_shape_size(s) > g->limit)
        return false;
    const int weight = node_within(g, node_shaped(g, w), 1e3);
    const int bias = draw_yes(g, 0.6) ? node_within(g, node_shaped(g, AK_SHAPE(O)), 1e3) : -1;
    set_operand(n, 0, x);
    set_operand(n, 1, weight);
    set_operand(n, 2, bias);
    set_geometry(g, n, u, o);
    n->shape = s;
    const double terms = (double)(kh * kw * I);
    const double size = terms * size_of_values(g, x) * size_of_values(g, weight) +
                        (bias >= 0 ? size_of_values(g, bias) : 0);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_convolution(const node_call *c)
{
    return ((const convolution *)c->n->kind->of)->op(c->in[0], c->in[1], c->in[2],
        (ak_conv_options){
            .stride = (int)get_option(c->n, "stride"),
            .padding = (int)get_option(c->n, "padding"),
            .dilation = (int)get_option(c->n, "dilation"),
            .groups = (int)get_option(c->n, "groups"),
            .output_padding = (int)get_option(c->n, "output_padding"),
            .exact = get_option(c->n, "exact") != 0 });
}

/* ---- pooling and resizing -------------------------------------------------------------------- */

typedef struct pooling { ak_tensor *(*op)(ak_tensor *, ak_pool_options); } pooling;

static bool draw_pooling(graph *g, graph_node *n)
{
    const int x = picture(g, 1);
    if (x < 0)
        return false;
    const int64_t kernel = 1 + draw_below(g, 4);
    const int64_t stride = draw_yes(g, 0.5) ? 0 : 1 + draw_below(g, 3);
    const int64_t padding = draw_yes(g, 0.5) ? draw_below(g, kernel / 2 + 1) : 0;
    const int64_t step = stride ? stride : kernel;
    n->shape = g->nodes[x].shape;
    for (int i = 1; i <= 2; i++) {
        const int64_t room = n->shape.dims[i] + 2 * padding - kernel;
        if (room < 0)
            return false;
        n->shape.dims[i] = room / step + 1;
    }
    set_operand(n, 0, x);
    set_option(n, "kernel", (double)kernel);
    set_option(n, "stride", (double)stride);
    set_option(n, "padding", (double)padding);
    const double size = size_of_values(g, x);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_pooling(const node_call *c)
{
    return ((const pooling *)c->n->kind->of)->op(c->in[0], (ak_pool_options){
        .kernel = (int)get_option(c->n, "kernel"), .stride = (int)get_option(c->n, "stride"),
        .padding = (int)get_option(c->n, "padding") });
}

typedef struct resizing { ak_tensor *(*op)(ak_tensor *, int64_t, int64_t); } resizing;

static bool draw_resizing(graph *g, graph_node *n)
{
    const int x = picture(g, 1);
    if (x < 0)
        return false;
    const int64_t oh = small_side(g), ow = small_side(g);
    set_operand(n, 0, x);
    set_option(n, "oh", (double)oh);
    set_option(n, "ow", (double)ow);
    n->shape = AK_SHAPE(dim(g, x, 0), oh, ow, dim(g, x, 3));
    const double size = size_of_values(g, x);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_resizing(const node_call *c)
{
    return ((const resizing *)c->n->kind->of)->op(
        c->in[0], (int64_t)get_option(c->n, "oh"), (int64_t)get_option(c->n, "ow"));
}

static bool draw_global(graph *g, graph_node *n)
{
    const int x = node_rank(g, 3, 5);
    set_operand(n, 0, x);
    n->shape = AK_SHAPE(dim(g, x, 0), dim(g, x, g->nodes[x].shape.n - 1));
    const double size = size_of_values(g, x);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_global(const node_call *c) { return ak_global_avg_pool(c->in[0]); }

#define CONVOLUTION(f, ...)                                                                       \
    { #f, draw_convolution, call_convolution, &(const convolution){ ak_##f, __VA_ARGS__ }, 0 }
#define POOLING(f) { #f, draw_pooling, call_pooling, &(const pooling){ ak_##f }, 0 }
#define RESIZING(f) { #f, draw_resizing, call_resizing, &(const resizing){ ak_##f }, 0 }

const graph_kind kinds_picture[] = {
    CONVOLUTION(conv2d, false, false), CONVOLUTION(conv1d, true, false),
    CONVOLUTION(conv2d_transposed, false, true),
    POOLING(max_pool2d), POOLING(avg_pool2d),
    RESIZING(adaptive_avg_pool2d), RESIZING(resize_bilinear),
    { "global_avg_pool", draw_global, call_global, NULL, 0 },
    { .name = NULL },
};
