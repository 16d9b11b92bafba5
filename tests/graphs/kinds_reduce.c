/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions, running sums, softmax, and losses on rows. */
#include "graph.h"

/* ---- everything to one number ---------------------------------------------------------------- */

typedef struct whole { ak_tensor *(*op)(ak_tensor *); } whole;

static bool draw_whole(graph *g, graph_node *n)
{
    const int x = node_any(g);
    const double size = size_of_values(g, x) *
        (((const whole *)n->kind->of)->op == ak_sum ? (double)ak_shape_size(g->nodes[x].shape) : 1);
    set_operand(n, 0, x);
    n->shape = AK_SCALAR;
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_whole(const node_call *c)
{
    return ((const whole *)c->n->kind->of)->op(c->in[0]);
}

/* ---- over one axis --------------------------------------------------------------------------- */

typedef struct axis_op {
    ak_tensor *(*op)(ak_tensor *, int axis);
    bool adds, keeps;           /* a sum; the axis stays */
} axis_op;

static ak_shape without_axis(ak_shape s, int axis)
{
    for (int i = axis; i + 1 < s.n; i++)
        s.dims[i] = s.dims[i + 1];
    s.dims[--s.n] = 0;
    return s;
}

/* The axis, from the front or from the end. */
static int64_t draw_axis(graph *g, graph_node *n, int x)
{
    const int rank = g->nodes[x].shape.n, axis = (int)draw_below(g, rank);
    set_option(n, "axis", draw_yes(g, 0.3) ? axis - rank : axis);
    return axis;
}

static bool draw_over_axis(graph *g, graph_node *n)
{
    const axis_op *u = n->kind->of;
    const int x = node_rank(g, 1, 5), axis = (int)draw_axis(g, n, x);
    set_operand(n, 0, x);
    n->shape = u->keeps ? g->nodes[x].shape : without_axis(g->nodes[x].shape, axis);
    const double size = size_of_values(g, x) * (u->adds ? (double)dim(g, x, axis) : 1) +
                        (u->op == ak_logsumexp ? 12 : 0);
    set_range(n, -size, size);
    return true;
}

static ak_tensor *call_over_axis(const node_call *c)
{
    return ((const axis_op *)c->n->kind->of)->op(c->in[0], (int)get_option(c->n, "axis"));
}

static bool draw_var(graph *g, graph_node *n)
{
    const int x = node_within(g, node_rank(g, 1, 5), 1e3), axis = (int)draw_axis(g, n, x);
    const double size = size_of_values(g, x);
    set_operand(n, 0, x);
    set_option(n, "correction", dim(g, x, axis) > 1 && draw_yes(g, 0.5) ? 1 : 0);
    n->shape = without_axis(g->nodes[x].shape, axis);
    set_range(n, 0, 2 * size * size);
    return true;
}

static ak_tensor *call_var(const node_call *c)
{
    return ak_var_axis(c->in[0], (int)get_option(c->n, "axis"),
                       (int)get_option(c->n, "correction"));
}

/* Whole numbers have no gradient: the ones where the largest are, as a constant. Of a leaf, since
 * where two are nearly equal rounding decides. */
static bool draw_argmax(graph *g, graph_node *n)
{
    const int x = node_leaf(g, draw_shape(g, 1 + (int)draw_below(g, 4)), -1, 1);
    const int axis = (int)draw_axis(g, n, x);
    const int64_t classes = dim(g, x, axis);
    set_operand(n, 0, x);
    set_option(n, "classes", (double)classes);
    n->shape = without_axis(g->nodes[x].shape, axis);
    n->shape.dims[n->shape.n++] = classes;
    set_range(n, 0, 1);
    return true;
}

static ak_tensor *call_argmax(const node_call *c)
{
    return ak_one_hot(ak_argmax(c->in[0], (int)get_option(c->n, "axis")),
                      (int64_t)get_option(c->n, "classes"));
}

static ak_tensor *call_argmin(const node_call *c)
{
    return ak_one_hot(ak_argmin(c->in[0], (int)get_option(c->n, "axis")),
                      (int64_t)get_option(c->n, "classes"));
}

/* ---- softmax --------------------------------------------------------------------------------- */

static bool draw_softmax(graph *g, graph_node *n)
{
    const bool log = ((const whole *)n->kind->of)->op == ak_log_softmax;
    const int x = node_within(g, node_rank(g, 1, 5), 100);
    set_operand(n, 0, x);
    n->shape = g->nodes[x].shape;
    n->inner = log ? size_of_values(g, x) : 0;
    set_range(n, log ? -2 * size_of_values(g, x) - 10 : 0, log ? 0 : 1);
    return true;
}

/* ---- losses on rows -------------------------------------------------------------------------- */

static bool draw_cross_entropy(graph *g, graph_node *n)
{
    const int x = node_within(g, node_rank(g, 2, 2), 100);
    const int64_t N = dim(g, x, 0), C = dim(g, x, 1);
    const int ignored = draw_yes(g, 0.3) ? -7 : -100;
    set_operand(n, 0, x);
    if (draw_yes(g, 0.4))
        set_option(n, "label_smoothing", (double)(float)draw_between(g, 0.01, 0.9));
    if (ignored != -100)
        set_option(n, "ignore_index", ignored);
    int32_t *t = set_list(g, n, "target", AK_SHAPE(N));
    for (int64_t i = 0; i < N && !g->full; i++)
        t[i] = i > 0 && draw_yes(g, 0.15) ? ignored : (int32_t)draw_below(g, C);
    n->inner = size_of_values(g, x);
    set_range(n, 0, 2 * size_of_values(g, x) + 10);
    return true;
}

static ak_tensor *call_cross_entropy(const node_call *c)
{
    return ak_cross_entropy(c->in[0], get_list(c, "target"), (ak_cross_entropy_options){
        .label_smoothing = get_option(c->n, "label_smoothing"),
        .ignore_index = (int)get_option(c->n, "ignore_index") });
}

typedef struct pair_loss {
    ak_tensor *(*op)(ak_tensor *, ak_tensor *);
    ak_tensor *(*op_with)(ak_tensor *, ak_tensor *, double);
    const char *option;
    bool rows, unit;            /* [N, C]; targets in [0, 1] */
} pair_loss;

static bool draw_pair_loss(graph *g, graph_node *n)
{
    const pair_loss *u = n->kind->of;
    const int x = node_within(g, u->rows ? node_rank(g, 2, 2) : node_any(g), 50);
    const double size = size_of_values(g, x);
    const int t = node_constant(g, g->nodes[x].shape, u->rows || u->unit ? 0 : -size,
                                u->rows || u->unit ? 1 : size);
    double *v = g->nodes[t].values;
    for (int64_t i = 0; u->rows && v && i < ak_shape_size(g->nodes[x].shape); i++)
        v[i] = draw_yes(g, 0.2) ? 0 : v[i];
    set_operand(n, 0, x);
    set_operand(n, 1, t);
    if (u->op_with)
        set_option(n, u->option, (double)(float)draw_between(g, 0.2, 1.5));
    n->inner = size;
    const double rows = u->rows ? (double)dim(g, x, 1) * (2 * size + 10) : 0;
    set_range(n, u->rows ? -rows : 0, rows + 4 * size * size + 4 * size + 5);
    return true;
}

static ak_tensor *call_pair_loss(const node_call *c)
{
    const pair_loss *u = c->n->kind->of;
    return u->op ? u->op(c->in[0], c->in[1])
                 : u->op_with(c->in[0], c->in[1], get_option(c->n, u->option));
}

#define WHOLE(f) { #f, draw_whole, call_whole, &(const whole){ ak_##f }, 0 }
#define OVER_AXIS(f, adds, keeps)                                                                 \
    { #f, draw_over_axis, call_over_axis, &(const axis_op){ ak_##f, adds, keeps }, 0 }
#define SOFTMAX(f) { #f, draw_softmax, call_whole, &(const whole){ ak_##f }, 0 }
#define PAIR_LOSS(f, ...)                                                                         \
    { #f, draw_pair_loss, call_pair_loss, &(const pair_loss){ __VA_ARGS__ }, 0 }

const graph_kind kinds_reduce[] = {
    WHOLE(sum), WHOLE(mean),
    OVER_AXIS(sum_axis, true, false), OVER_AXIS(mean_axis, false, false),
    OVER_AXIS(max_axis, false, false), OVER_AXIS(min_axis, false, false),
    OVER_AXIS(logsumexp, false, false), OVER_AXIS(cumsum, true, true),
    { "var_axis", draw_var, call_var, NULL, 0 },
    { "argmax", draw_argmax, call_argmax, NULL, KIND_STOP | KIND_RARE },
    { "argmin", draw_argmax, call_argmin, NULL, KIND_STOP | KIND_RARE },
    SOFTMAX(softmax), SOFTMAX(log_softmax),
    { "cross_entropy", draw_cross_entropy, call_cross_entropy, NULL, 0 },
    PAIR_LOSS(cross_entropy_soft, .op = ak_cross_entropy_soft, .rows = true),
    PAIR_LOSS(kl_div_logits, .op = ak_kl_div_logits, .rows = true),
    PAIR_LOSS(bce_logits, .op = ak_bce_logits, .unit = true),
    PAIR_LOSS(mse, .op = ak_mse), PAIR_LOSS(l1, .op = ak_l1),
    PAIR_LOSS(huber, .op_with = ak_huber, .option = "delta"),
    PAIR_LOSS(smooth_l1, .op_with = ak_smooth_l1, .option = "beta"),
    { .name = NULL },
};
