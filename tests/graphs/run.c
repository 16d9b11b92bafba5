/* SPDX-License-Identifier: Apache-2.0 */
/* A graph, run by the library: once with backward, or forward alone for differences. */
#include "graph.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t run_ops[MAX_OPS], run_losses[MAX_LOSSES];

/* ---- rounding, imitated ---------------------------------------------------------------------- */

/* y = x (1 + small random numbers), and backward dx likewise: what an op that rounds its operands
 * and its gradients would see. How far results move then says how far rounding may move them. */
typedef struct noise_attr { double amount; uint64_t seed, stream; } noise_attr;

static void noisy(const noise_attr *o, uint64_t half, ak_real *to, const ak_real *from, int64_t n,
                  bool add)
{
    for (int64_t i = 0; i < n; i++) {
        const double u = 2 * ak_random_uniform(o->seed, 2 * o->stream + half, (uint64_t)i) - 1;
        const double v = (double)from[i] * (1 + o->amount * u);
        to[i] = (ak_real)(add ? (double)to[i] + v : v);
    }
}

static ak_status noise_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void noise_forward(ak_call *k)
{
    noisy(k->attr, 0, k->out->data, k->in[0]->data, k->out->size, false);
}

static void noise_backward(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    if (dx)
        noisy(k->attr, 1, dx, k->out->grad, k->out->size, true);
}

static const ak_op noise_op = { .name = "noise", .formula = "y = x (1 + r)", .n_in = 1,
                                .attr_size = sizeof(noise_attr), .shape = noise_shape,
                                .forward = noise_forward, .backward = noise_backward };

/* ---- nodes ----------------------------------------------------------------------------------- */

#define FIRST_STREAM 5000       /* of ops that draw: the same in every run */

static void be_silent(void *user, ak_log_level level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

ak_ctx *run_open(const graph *g)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = g->seed, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_on_log(ctx, be_silent, NULL);
    ctx->next_stream = FIRST_STREAM;
    return ctx;
}

static ak_tensor *make_leaf(const graph *g, int x, ak_ctx *ctx, bool record)
{
    const graph_node *n = &g->nodes[x];
    if (!record || !n->param) {
        ak_tensor *t = ak_from_double(ctx, n->shape, n->values);
        return record && n->needs_grad ? ak_require_grad(t) : t;
    }
    char name[32];
    snprintf(name, sizeof name, "leaf%d", x);
    ak_tensor *t = ak_param(ctx, name, n->shape, 0);
    for (int64_t i = 0; !ak_is_poison(t) && i < t->size; i++)
        t->data[i] = (ak_real)n->values[i];
    return t;
}

/* What an op has made, rounded: its own backward may read it. Where large numbers cancel inside,
 * it is these that are rounded. */
static void round_in_place(const graph_node *n, int x, ak_tensor *t, run_options o)
{
    const noise_attr a = { o.noise, o.noise_seed, (uint64_t)((MAX_NODES + x) * MAX_OPERANDS) };
    noisy(&a, 0, t->data, t->data, t->size, false);
    for (int64_t i = 0; i < t->size && n->inner > 0; i++) {
        const double u = 2 * ak_random_uniform(a.seed, 2 * a.stream + 1, (uint64_t)i) - 1;
        t->data[i] = (ak_real)((double)t->data[i] + o.noise / 4 * n->inner * u);
    }
}

static ak_tensor *make_node(const graph *g, int x, ak_ctx *ctx, ak_tensor *const *made,
                            run_options o)
{
    const graph_node *n = &g->nodes[x];
    node_call c = { .n = n, .ctx = ctx };
    const bool noise = o.noise > 0 && !(n->kind->flags & KIND_ALIAS);   /* an op of its own */
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i] < 0)
            continue;
        c.in[i] = made[n->in[i]];
        const noise_attr a = { o.noise, o.noise_seed, (uint64_t)(x * MAX_OPERANDS + i) };
        if (noise && !g->nodes[n->in[i]].state)
            c.in[i] = ak_apply(&noise_op, &c.in[i], 1, &a);
    }
    for (int i = 0; i < n->n_lists; i++)
        c.list[i] = ak_index_from(ctx, n->lists[i].shape, n->lists[i].values);
    const bool evaluate = (n->kind->flags & KIND_EVALUATE) && get_option(n, "evaluate") != 0;
    ak_train_mode(ctx, !evaluate);
    ak_tensor *t = n->kind->call(&c);
    ak_train_mode(ctx, true);
    if (noise && !node_may_share(n) && !ak_is_poison(t))
        round_in_place(n, x, t, o);
    return t;
}

/* ---- with backward --------------------------------------------------------------------------- */

static void add_result(run *r, const char *what, int x, const ak_real *v, int64_t size)
{
    result *e = &r->results[r->n++];
    *e = (result){ .node = x, .size = size };
    snprintf(e->what, sizeof e->what, "%s", what);
    e->values = malloc((size_t)(size + 1) * sizeof(double));
    for (int64_t i = 0; i < size; i++)
        e->values[i] = v ? (double)v[i] : 0;
}

const result *run_find(const run *r, const char *what, int node)
{
    for (int i = 0; i < r->n; i++)
        if (r->results[i].node == node && strcmp(r->results[i].what, what) == 0)
            return &r->results[i];
    return NULL;
}

static void count_node(const graph_node *n, const ak_tensor *t)
{
    const char *name = t->maker ? t->maker->op->name : n->title ? n->title : n->kind->name;
    for (int i = 0; ak_op_at(i) && i < MAX_OPS; i++)
        run_ops[i] += strcmp(ak_op_at(i)->name, name) == 0;
    if (n->title)
        name = n->title;
    else
        name = n->kind->name;
    for (int i = 0; ak_loss_at(i) && i < MAX_LOSSES; i++)
        run_losses[i] += strcmp(ak_loss_at(i)->name, name) == 0;
    /* A mask is seen through the softmax behind it, the largest element through its ones. */
    if (strcmp(name, "mask") == 0 || strcmp(name, "argmax") == 0)
        for (int i = 0; ak_op_at(i) && i < MAX_OPS; i++)
            run_ops[i] += strcmp(ak_op_at(i)->name, name) == 0;
}

static void run_passes(const graph *g, int x, ak_tensor *const *made)
{
    for (int p = 0; p < g->n_passes; p++) {
        if (g->passes[p].after != x)
            continue;
        ak_tensor *y = made[g->passes[p].node];
        ak_real *dy = malloc((size_t)(y->size + 1) * sizeof *dy);
        for (int64_t i = 0; i < y->size; i++)
            dy[i] = (ak_real)g->passes[p].dy[i];
        if (y->size == 1 && dy[0] == 1)
            ak_backward(y);
        else
            ak_backward_from(y, dy);
        free(dy);
    }
}

static void done_with_nodes(const graph *g, int x, ak_tensor *const *made)
{
    for (int i = 0; i <= x; i++)
        if (g->nodes[i].done && node_last_use(g, i) == x)
            ak_done_with(made[i], g->nodes[i].done == 2);
}

static void check_shape(const graph *g, int x, const ak_tensor *t, run *r)
{
    char have[160], want[160];
    if (ak_shape_equal(t->shape, g->nodes[x].shape))
        return;
    snprintf(r->error, sizeof r->error, "node %d (%s) has the shape %s, expected %s", x,
             g->nodes[x].kind->name, ak_shape_text(t->shape, have),
             ak_shape_text(g->nodes[x].shape, want));
}

void run_graph(const graph *g, run_options o, run *r)
{
    ak_tensor *made[MAX_NODES] = { 0 };
    ak_ctx *ctx = run_open(g);
    *r = (run){ 0 };
    for (int x = 0; x < g->n_nodes && ak_error(ctx) == AK_OK && !r->error[0]; x++) {
        const bool leaf = g->nodes[x].kind == &kind_leaf;
        ak_tensor *t = leaf ? make_leaf(g, x, ctx, true) : make_node(g, x, ctx, made, o);
        made[x] = t;
        if (ak_is_poison(t)) {
            snprintf(r->error, sizeof r->error, "node %d: %.500s", x, ak_error_message(ctx));
            break;
        }
        check_shape(g, x, t, r);
        if (!leaf) {
            add_result(r, "value", x, t->data, t->size);
            if (o.noise == 0)
                count_node(&g->nodes[x], t);
        }
        if (!o.keep_all)
            done_with_nodes(g, x, made);
        run_passes(g, x, made);
    }
    if (!r->error[0] && ak_error(ctx) != AK_OK)
        snprintf(r->error, sizeof r->error, "%.500s", ak_error_message(ctx));
    for (int x = 0; x < g->n_nodes && !r->error[0]; x++) {
        if (g->nodes[x].kind == &kind_leaf && g->nodes[x].needs_grad)
            add_result(r, "gradient", x, made[x]->grad, made[x]->size);
        if (g->nodes[x].state)
            add_result(r, "state", x, made[x]->data, made[x]->size);
    }
    ak_step_end(ctx);
    ak_close(ctx);
}

void run_free(run *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->results[i].values);
    r->n = 0;
}

/* ---- forward alone --------------------------------------------------------------------------- */

double run_forward(const graph *g, ak_ctx *ctx, const run *base, run_options o, double *size)
{
    ak_tensor *made[MAX_NODES] = { 0 };
    double sum = 0;
    ctx->next_stream = FIRST_STREAM;
    ak_no_grad_begin(ctx);
    for (int x = 0; x < g->n_nodes && ak_error(ctx) == AK_OK; x++) {
        const graph_node *n = &g->nodes[x];
        if (n->kind->flags & KIND_STOP)
            made[x] = ak_from_double(ctx, n->shape, run_find(base, "value", x)->values);
        else
            made[x] = n->kind == &kind_leaf ? make_leaf(g, x, ctx, false)
                                            : make_node(g, x, ctx, made, o);
    }
    *size = 0;
    for (int p = 0; p < g->n_passes && ak_error(ctx) == AK_OK; p++) {
        const ak_tensor *y = made[g->passes[p].node];
        for (int64_t i = 0; i < y->size; i++) {
            const double term = g->passes[p].dy[i] * (double)y->data[i];
            sum += term;
            *size += fabs(term);
        }
    }
    ak_no_grad_end(ctx);
    return ak_step_end(ctx) == AK_OK ? sum : (double)NAN;
}
