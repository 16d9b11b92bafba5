/* SPDX-License-Identifier: Apache-2.0 */
/* Ops and losses of the registries on the shapes of their samples: what is new there is part of
 * graphs before anybody has written a kind for it. And the wrong ops that tests plant. */
#include "graph.h"

#include <math.h>
#include <string.h>

static bool is_end(const ak_sample *s) { return (s->flags & AK_SAMPLE_END) != 0; }

/* A leaf as the sample wants it; -1 for an operand that it leaves out. */
static int operand_of(graph *g, const ak_sample *s, int i)
{
    const double lo = s->lo < s->hi ? s->lo : -1, hi = s->lo < s->hi ? s->hi : 1;
    const int64_t size = s->in[i].n == AK_ABSENT ? 0 : ak_shape_size(s->in[i]);
    if (s->in[i].n == AK_ABSENT)
        return -1;
    const bool constant = i == 1 && (s->flags & AK_SAMPLE_CONSTANT_1);
    const int x = constant ? node_constant(g, s->in[i], lo, hi) : node_leaf(g, s->in[i], lo, hi);
    graph_node *n = &g->nodes[x];
    n->apart = true;
    for (int64_t j = 0; n->values && j < size; j++) {
        double *v = &n->values[j];
        if (s->flags & AK_SAMPLE_DISTINCT)
            *v = lo + (hi - lo) * ((double)j + 0.3 + 0.37 * (i % 2)) / (double)size;
        if ((s->flags & AK_SAMPLE_AWAY_FROM_ZERO) && fabs(*v) < 0.1)
            *v += *v < 0 ? -0.1 : 0.1;
        *v = (double)(float)*v;
    }
    return x;
}

/* Its shape, from a trial; false if it fails, or makes what no difference can be taken of. */
static bool shape_of(graph *g, graph_node *n)
{
    ak_tensor *in[AK_MAX_IN] = { 0 };
    node_call c = { .n = n, .ctx = g->scratch };
    for (int i = 0; i < n->n_in; i++) {
        const graph_node *x = n->in[i] < 0 ? NULL : &g->nodes[n->in[i]];
        in[i] = x ? ak_from_double(g->scratch, x->shape, x->values) : NULL;
        c.in[i] = in[i];
    }
    const ak_tensor *y = n->kind->call(&c);
    bool fine = !ak_is_poison(y);
    for (int64_t i = 0; fine && i < y->size; i++)
        fine = fabs((double)y->data[i]) < 1e6;
    n->shape = y->shape;
    return ak_step_end(g->scratch) == AK_OK && fine;
}

static bool draw_sample_of(graph *g, graph_node *n, const ak_sample *samples, int n_in)
{
    int count = 0;
    while (!is_end(&samples[count]))
        count++;
    const int j = (int)draw_below(g, count);
    const ak_sample *s = &samples[j];
    set_option(n, "sample", j);
    const int operands = s->n_in ? s->n_in : n_in;
    for (int i = 0; i < operands; i++) {
        const int64_t size = s->in[i].n == AK_ABSENT ? 0 : ak_shape_size(s->in[i]);
        if (size > g->limit || (s->in[i].n != AK_ABSENT && size == 0))
            return false;
        set_operand(n, i, operand_of(g, s, i));
    }
    set_range(n, -1e6, 1e6);
    n->inner = n->inner > 0 ? n->inner : 10;
    return !g->full && shape_of(g, n);
}

/* ---- ops ------------------------------------------------------------------------------------- */

/* One with a backward, or one without. */
static bool draw_op(graph *g, graph_node *n, bool backward)
{
    double highest = -1;
    for (int i = 0; ak_op_at(i); i++) {
        const ak_op *op = ak_op_at(i);
        /* One without a kind of its own has to be drawn here. */
        const double score = draw_score(g, op->name) + (kind_find(op->name) ? 0 : 0.9);
        if (!op->samples || !op->backward == backward || score <= highest)
            continue;
        highest = score;
        n->what = op;
        n->title = op->name;
    }
    g->draws++;
    const ak_op *op = n->what;
    return op && draw_sample_of(g, n, op->samples, op->n_in);
}

static bool draw_op_sample(graph *g, graph_node *n) { return draw_op(g, n, true); }
static bool draw_stop_sample(graph *g, graph_node *n) { return draw_op(g, n, false); }

static ak_tensor *call_op_sample(const node_call *c)
{
    const ak_op *op = c->n->what;
    ak_tensor *in[MAX_OPERANDS];
    memcpy(in, c->in, sizeof in);
    return ak_sample_run(op, &op->samples[(int)get_option(c->n, "sample")], in);
}

/* ---- losses ---------------------------------------------------------------------------------- */

static bool draw_loss_sample(graph *g, graph_node *n)
{
    double highest = -1;
    for (int i = 0; ak_loss_at(i); i++) {
        const ak_loss_info *l = ak_loss_at(i);
        const double score = draw_score(g, l->name) + (kind_find(l->name) ? 0 : 0.9);
        if (score <= highest)
            continue;
        highest = score;
        n->what = l;
        n->title = l->name;
    }
    g->draws++;
    if (draw_yes(g, 0.5))
        set_option(n, "composed", 1);
    n->inner = 50;
    return n->what && draw_sample_of(g, n, ((const ak_loss_info *)n->what)->samples, 0);
}

static ak_tensor *call_loss_sample(const node_call *c)
{
    const ak_loss_info *l = c->n->what;
    const ak_sample *s = &l->samples[(int)get_option(c->n, "sample")];
    return (get_option(c->n, "composed") != 0 ? l->composed : l->run)(c->in, c->n->n_in, s);
}

const graph_kind kinds_sample[] = {
    { "op_sample", draw_op_sample, call_op_sample, NULL, 0 },
    { "stop_sample", draw_stop_sample, call_op_sample, NULL, KIND_STOP | KIND_RARE },
    { "loss_sample", draw_loss_sample, call_loss_sample, NULL, 0 },
    { .name = NULL },
};

/* ---- planted --------------------------------------------------------------------------------- */

/* y = x + x^2 / 4; wrong by a hundredth: its backward in both builds, or in that of float alone,
 * or forward in that of float. */
static double planted_factor(planted which)
{
    const bool wrong = graph_plant == which ||
                       (which == PLANT_BOTH && graph_plant == PLANT_FLOAT && AK_REAL_BITS == 32);
    return wrong && (which != PLANT_FORWARD || AK_REAL_BITS == 32) ? 1.01 : 1;
}

static ak_status planted_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void planted_forward(ak_call *k)
{
    const ak_real f = (ak_real)planted_factor(PLANT_FORWARD);
    for (int64_t i = 0; i < k->out->size; i++)
        k->out->data[i] = f * (k->in[0]->data[i] + k->in[0]->data[i] * k->in[0]->data[i] / 4);
}

static void planted_backward(ak_call *k)
{
    const ak_real f = (ak_real)planted_factor(PLANT_BOTH);
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] += f * (1 + k->in[0]->data[i] / 2) * k->out->grad[i];
}

static const ak_op planted_op = { .name = "planted", .formula = "y = x + x^2 / 4", .n_in = 1,
                                  .shape = planted_shape, .forward = planted_forward,
                                  .backward = planted_backward };

static bool draw_planted(graph *g, graph_node *n)
{
    if (graph_plant == PLANT_NONE)
        return false;
    const int x = node_leaf(g, draw_shape(g, 2), -1, 1);
    set_operand(n, 0, x);
    n->shape = g->nodes[x].shape;
    n->apart = true;            /* an end of the graph: nothing behind it hides the fault */
    set_range(n, -2, 2);
    return true;
}

static ak_tensor *call_planted(const node_call *c)
{
    return ak_apply(&planted_op, c->in, 1, NULL);
}

const graph_kind kinds_planted[] = {
    { "planted", draw_planted, call_planted, NULL, 0 },
    { .name = NULL },
};
