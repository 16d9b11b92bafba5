/* SPDX-License-Identifier: Apache-2.0 */
/* Ops on rows, forward and backward: norms, activations, softmax and its losses. */
#include "bench/rows.h"

typedef struct operands {
    ak_tensor *x, *w, *b;           /* leaves of the running step; w, b of norms only */
    ak_tensor *mean, *var;          /* running statistics of the batch norm */
} operands;

typedef struct op_case {
    const char *name;
    ak_shape    x;
    ak_tensor *(*apply)(const operands *o);
    bool        affine;             /* has w and b */
    bool        loss;               /* gives one number */
    int         passes;             /* over x or an array of its size, both ways together */
} op_case;

static ak_tensor *batch_norm_relu(const operands *o)
{
    return ak_batch_norm(o->x, o->w, o->b, o->mean, o->var, (ak_batch_norm_options){
        .relu = true });
}
static ak_tensor *layer_norm(const operands *o) { return ak_layer_norm(o->x, o->w, o->b, 0); }
static ak_tensor *softmax(const operands *o) { return ak_softmax(o->x); }
static ak_tensor *gelu(const operands *o) { return ak_gelu(o->x); }
static ak_tensor *gelu_tanh(const operands *o) { return ak_gelu_tanh(o->x); }
static ak_tensor *l2_norm(const operands *o) { return ak_l2_normalize(o->x); }
static ak_tensor *log_sum_exp(const operands *o) { return ak_logsumexp(o->x, -1); }

static int32_t label_of(int64_t row, int64_t classes) { return (int32_t)(row * 7919 % classes); }

static ak_index *labels_of(const ak_tensor *x)
{
    int32_t labels[8192];
    for (int64_t i = 0; i < x->shape.dims[0] && i < BENCH_COUNT(labels); i++)
        labels[i] = label_of(i, x->shape.dims[1]);
    return ak_index_from(x->ctx, AK_SHAPE(x->shape.dims[0]), labels);
}

static ak_tensor *cross_entropy(const operands *o)
{
    return ak_cross_entropy(o->x, labels_of(o->x), (ak_cross_entropy_options){ 0 });
}

/* Passes: x and y forward; x or y, dy and dx backward. A batch norm reads x twice forward (for the
 * statistics first), and x and dy twice backward. */
static const op_case cases[] = {
    { "batchnorm+relu 128x28x28x64", { 4, { 128, 28, 28, 64 } }, batch_norm_relu, true, false, 8 },
    { "layernorm 8192x384", { 2, { 8192, 384 } }, layer_norm, true, false, 5 },
    { "softmax 8192x512", { 2, { 8192, 512 } }, softmax, false, false, 5 },
    { "gelu 8192x1536", { 2, { 8192, 1536 } }, gelu, false, false, 5 },
    { "gelu_tanh 8192x1536", { 2, { 8192, 1536 } }, gelu_tanh, false, false, 5 },
    { "l2norm 8192x128", { 2, { 8192, 128 } }, l2_norm, false, false, 5 },
    { "logsumexp 8192x512", { 2, { 8192, 512 } }, log_sum_exp, false, false, 3 },
    { "crossentropy 8192x1000", { 2, { 8192, 1000 } }, cross_entropy, false, true, 3 },
};

typedef struct op_state {
    const op_case *c;
    operands       kept;            /* live as long as the job */
    operands       leaves;          /* of the last run */
    ak_tensor     *dy;
    ak_tensor     *y;               /* of the last run */
} op_state;

static ak_tensor *forward(op_state *s)
{
    s->leaves = s->kept;
    s->leaves.x = bench_leaf(s->kept.x);
    if (s->c->affine) {
        s->leaves.w = bench_leaf(s->kept.w);
        s->leaves.b = bench_leaf(s->kept.b);
    }
    return s->y = s->c->apply(&s->leaves);
}

static void forward_backward(op_state *s)
{
    ak_tensor *y = forward(s);
    if (s->c->loss)
        ak_backward(y);
    else
        ak_backward_from(y, s->dy->data);
}

static void run(bench_job *j)
{
    forward_backward(j->state);
    ak_step_end(j->ctx);
}

static void share(bench_job *j, bench_archive *a)
{
    op_state       *s = j->state;
    const operands *o = &s->leaves;
    forward_backward(s);
    bench_share(a, "in/x", s->kept.x);
    bench_share(a, "out/y", s->y);
    bench_share_values(a, "out/dx", o->x->shape, o->x->grad);
    if (s->c->loss)
        bench_share_index(a, "in/labels", labels_of(s->kept.x));
    else
        bench_share(a, "in/dy", s->dy);
    if (s->c->affine) {
        bench_share(a, "in/w", s->kept.w);
        bench_share(a, "in/b", s->kept.b);
        bench_share_values(a, "out/dw", o->w->shape, o->w->grad);
        bench_share_values(a, "out/db", o->b->shape, o->b->grad);
    }
    ak_step_end(j->ctx);
}

static void open_op(bench_job *j, const bench_row *row)
{
    op_state      *s = bench_job_state(j, sizeof *s);
    const op_case *c = s->c = row->what;
    s->kept.x = bench_normal(j->ctx, c->x, 1);
    if (c->affine) {
        const ak_shape channels = AK_SHAPE(ak_last_dim(s->kept.x));
        s->kept.w = bench_normal(j->ctx, channels, 2);
        s->kept.b = bench_normal(j->ctx, channels, 3);
        s->kept.mean = ak_state(j->ctx, channels);
        s->kept.var = ak_state(j->ctx, channels);
        ak_fill(s->kept.var, 1);
    }
    s->dy = c->loss ? NULL : bench_normal(j->ctx, forward(s)->shape, 4);
    ak_step_end(j->ctx);
    j->run = run;
    j->share = share;
    j->bytes = c->passes * (double)sizeof(ak_real) * (double)s->kept.x->size;
}

void rows_op(bench_table *t)
{
    for (int i = 0; i < BENCH_COUNT(cases); i++) {
        bench_row *row = bench_table_add(t, "rowop %s", cases[i].name);
        row->open = open_op;
        row->what = &cases[i];
    }
}
