/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise ops: one operand, two operands that broadcast, those with an option, random ones. */
#include "graph.h"

/* ---- one operand ----------------------------------------------------------------------------- */

typedef struct unary {
    ak_tensor *(*op)(ak_tensor *);
    double within;              /* the operand is made to lie in [-within, within]; 0 = as it is */
    double lo, hi;              /* of the result; both 0 = as large as the operand */
    bool   positive;            /* the operand is made to lie in [0.25, 4] */
} unary;

static bool draw_unary(graph *g, graph_node *n)
{
    const unary *u = n->kind->of;
    int x = node_any(g);
    if (u->positive)
        x = node_positive(g, x);
    else if (u->within > 0)
        x = node_within(g, x, u->within);
    set_operand(n, 0, x);
    n->shape = g->nodes[x].shape;
    const double size = size_of_values(g, x);
    if (u->lo < u->hi)
        set_range(n, u->lo, u->hi);
    else
        set_range(n, -size - 0.5, size + 0.5);
    return true;
}

static ak_tensor *call_unary(const node_call *c)
{
    return ((const unary *)c->n->kind->of)->op(c->in[0]);
}

#define UNARY(f, ...)                                                                             \
    { #f, draw_unary, call_unary, &(const unary){ .op = ak_##f, __VA_ARGS__ }, KIND_RARE }

/* ---- one operand and one number -------------------------------------------------------------- */

typedef struct scalar {
    ak_tensor *(*op)(ak_tensor *, double);
    const char *option;
    double lo, hi;              /* of the number */
    bool   positive;
} scalar;

static bool draw_scalar(graph *g, graph_node *n)
{
    const scalar *u = n->kind->of;
    int x = node_any(g);
    double a = (double)(float)draw_between(g, u->lo, u->hi);
    if (u->positive)
        x = node_positive(g, x);
    set_operand(n, 0, x);
    set_option(n, u->option, a);
    n->shape = g->nodes[x].shape;
    const double size = size_of_values(g, x);
    if (u->positive)
        set_range(n, 0.01, 70);
    else
        set_range(n, -(3 * size + 3), 3 * size + 3);
    return true;
}

static ak_tensor *call_scalar(const node_call *c)
{
    const scalar *u = c->n->kind->of;
    return u->op(c->in[0], get_option(c->n, u->option));
}

#define SCALAR(f, ...)                                                                            \
    { #f, draw_scalar, call_scalar, &(const scalar){ ak_##f, __VA_ARGS__, false }, 0 }

/* x^p of any x for whole p. */
static bool draw_pow(graph *g, graph_node *n)
{
    if (draw_yes(g, 0.5))
        return draw_scalar(g, n);
    const int x = node_within(g, node_any(g), 2);
    set_operand(n, 0, x);
    set_option(n, "p", DRAW_ONE(g, 1, 2, 3));
    n->shape = g->nodes[x].shape;
    set_range(n, -8, 8);
    return true;
}

static bool draw_clamp(graph *g, graph_node *n)
{
    const int x = node_any(g);
    const double size = size_of_values(g, x);
    const double lo = (double)(float)(size * draw_between(g, -0.8, 0.1));
    const double hi = lo + (double)(float)(size * draw_between(g, 0.1, 0.9));
    set_operand(n, 0, x);
    set_option(n, "lo", lo);
    set_option(n, "hi", (double)(float)hi);
    n->shape = g->nodes[x].shape;
    set_range(n, lo, hi);
    return true;
}

static ak_tensor *call_clamp(const node_call *c)
{
    return ak_clamp(c->in[0], get_option(c->n, "lo"), get_option(c->n, "hi"));
}

/* ---- two operands ---------------------------------------------------------------------------- */

typedef enum binary_rule { SUM, PRODUCT, QUOTIENT, CHOICE } binary_rule;
typedef struct binary {
    ak_tensor *(*op)(ak_tensor *, ak_tensor *);
    binary_rule rule;
} binary;

/* A shape that broadcasts with s: axes become 1, the first ones go, or more are put in front. */
static ak_shape broadcasting(graph *g, ak_shape s)
{
    ak_shape b = s;
    const int drop = draw_yes(g, 0.3) ? (int)draw_below(g, s.n + 1) : 0;
    b.n -= drop;
    for (int i = 0; i < AK_MAX_DIMS; i++)
        b.dims[i] = i < b.n ? (draw_yes(g, 0.3) ? 1 : s.dims[i + drop]) : 0;
    return b;
}

static bool draw_binary(graph *g, graph_node *n)
{
    const binary *u = n->kind->of;
    int a = node_any(g);
    ak_shape joint = g->nodes[a].shape, other = joint;
    if (draw_yes(g, 0.5))
        other = broadcasting(g, joint);
    int b = draw_yes(g, 0.08) ? a : node_shaped(g, other);
    /* Both may be smaller than what they make. */
    if (draw_yes(g, 0.15) && joint.n >= 2 && g->nodes[a].shape.n == joint.n) {
        other = joint;
        joint.dims[0] = 1;
        a = node_shaped(g, joint);
        other.dims[other.n - 1] = 1;
        b = node_shaped(g, other);
        joint.dims[0] = other.dims[0];
    } else if (draw_yes(g, 0.4)) {
        const int swap = a;
        a = b;
        b = swap;
    }
    if (u->rule == QUOTIENT)
        b = node_positive(g, b);
    if (u->rule == PRODUCT) {
        a = node_within(g, a, 1e4);
        b = node_within(g, b, 1e4);
    }
    set_operand(n, 0, a);
    set_operand(n, 1, b);
    n->shape = joint;
    const double x = size_of_values(g, a), y = size_of_values(g, b);
    const double size = u->rule == SUM       ? x + y
                        : u->rule == PRODUCT ? x * y
                        : u->rule == CHOICE  ? (x > y ? x : y)
                                             : 4 * x;
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_binary(const node_call *c)
{
    return ((const binary *)c->n->kind->of)->op(c->in[0], c->in[1]);
}

#define BINARY(f, rule) { #f, draw_binary, call_binary, &(const binary){ ak_##f, rule }, 0 }

/* cond ? a : b, cond of zeros and others. */
static bool draw_where(graph *g, graph_node *n)
{
    const int a = node_any(g);
    n->shape = g->nodes[a].shape;
    const int b = node_shaped(g, n->shape);
    const int cond = node_constant(g, n->shape, -1, 1);
    double *v = g->nodes[cond].values;
    for (int64_t i = 0; v && i < ak_shape_size(n->shape); i++)
        v[i] = v[i] < 0 ? 0 : v[i];
    set_operand(n, 0, cond);
    set_operand(n, 1, a);
    set_operand(n, 2, b);
    const double x = size_of_values(g, a), y = size_of_values(g, b);
    set_range(n, -(x + y), x + y);
    return true;
}

static ak_tensor *call_where(const node_call *c) { return ak_where(c->in[0], c->in[1], c->in[2]); }

/* ---- random ---------------------------------------------------------------------------------- */

static bool draw_random(graph *g, graph_node *n)
{
    const bool noise = ((const scalar *)n->kind->of)->op == ak_gaussian_noise;
    const int x = node_any(g);
    set_operand(n, 0, x);
    set_option(n, noise ? "sigma" : "p", DRAW_ONE(g, 0, 0.1, 0.5, 0.7));
    if (draw_yes(g, 0.25))
        set_option(n, "evaluate", 1);
    n->shape = g->nodes[x].shape;
    const double size = 4 * size_of_values(g, x) + (noise ? 5 : 0);
    set_range(n, -size, size);
    return true;
}

#define RANDOM(op, name)                                                                           \
    { #op, draw_random, call_scalar, &(const scalar){ ak_##op, name, 0, 0, false },         \
      KIND_RANDOM | KIND_EVALUATE }

const graph_kind kinds_elementwise[] = {
    UNARY(neg, .lo = 0), UNARY(exp, .within = 3, .lo = 0, .hi = 20.1),
    UNARY(log, .positive = true, .lo = -1.4, .hi = 1.4),
    UNARY(log1p, .positive = true, .lo = 0, .hi = 1.7),
    UNARY(expm1, .within = 3, .lo = -1, .hi = 20),
    UNARY(sqrt, .positive = true, .lo = 0.5, .hi = 2),
    UNARY(rsqrt, .positive = true, .lo = 0.5, .hi = 2),
    UNARY(square, .within = 30, .lo = 0, .hi = 900), UNARY(abs, .lo = 0), UNARY(relu, .lo = 0),
    UNARY(gelu, .lo = 0), UNARY(gelu_tanh, .lo = 0), UNARY(silu, .lo = 0),
    UNARY(sigmoid, .lo = 0, .hi = 1), UNARY(tanh, .lo = -1, .hi = 1), UNARY(softplus, .lo = 0),
    UNARY(log_sigmoid, .lo = 0), UNARY(sin, .within = 30, .lo = -1, .hi = 1),
    UNARY(cos, .within = 30, .lo = -1, .hi = 1),
    UNARY(erf, .lo = -1, .hi = 1), UNARY(hardswish, .lo = 0), UNARY(quick_gelu, .lo = 0),
    SCALAR(scale, "a", -2, 2), SCALAR(add_scalar, "a", -2, 2),
    { "pow", draw_pow, call_scalar, &(const scalar){ ak_pow, "p", -3, 3, true }, 0 },
    SCALAR(leaky_relu, "slope", 0.01, 0.6), SCALAR(elu, "alpha", 0.2, 2),
    { "clamp", draw_clamp, call_clamp, NULL, 0 },
    BINARY(add, SUM), BINARY(sub, SUM), BINARY(mul, PRODUCT), BINARY(div, QUOTIENT),
    BINARY(maximum, CHOICE), BINARY(minimum, CHOICE),
    { "where", draw_where, call_where, NULL, 0 },
    RANDOM(dropout, "p"), RANDOM(gaussian_noise, "sigma"),
    { .name = NULL },
};
