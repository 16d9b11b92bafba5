/* SPDX-License-Identifier: Apache-2.0 */
/* Overhead of an op, whole training steps, and a transformer block. */
#include "bench/recipes.h"
#include "bench/rows.h"

/* ---- training steps ------------------------------------------------------------------------- */

enum { SHARED_STEPS = 2 };      /* whose losses are compared */

static const char *const passes[] = { "joint", "two passes", NULL };

typedef struct step_case { const char *row, *recipe; bool contrast; } step_case;

static const step_case steps[] = {
    { "overhead mlp step b32 64-128-64", "mlp 64-128-64 b32", false },
    { "step simclr convnet 32-64-128 28px b256", "simclr convnet 32-64-128 28px b256", true },
    { "step simclr resnet18 32px b128", "simclr resnet18 32px b128", true },
    { "step simclr resnet50 32px b64", "simclr resnet50 32px b64", true },
    { "step simclr vit-tiny/4 32px b64", "simclr vit-tiny/4 32px b64", true },
    { "step text transformer w256 d4 T64 b128", "text transformer w256 d4 T64 b128", false },
    { "step bert cross-encoder w384 d6 T128 b32", "bert cross-encoder w384 d6 T128 b32", false },
};

typedef struct step_state {
    const step_case *c;
    const recipe    *recipe;
    recipe_state     parts;
    ak_optim        *opt;
} step_state;

static ak_tensor *loss_of(const bench_job *j)
{
    const step_state *s = j->state;
    if (!s->c->contrast)
        return s->recipe->loss(&s->parts);
    return j->config == 0 ? recipe_contrast_joint(&s->parts)
                          : recipe_contrast_two_passes(&s->parts);
}

static void run_step(bench_job *j)
{
    const step_state *s = j->state;
    ak_backward(loss_of(j));
    ak_optim_step(s->opt);
    ak_step_end(j->ctx);
}

/* The losses of the first steps, and the gradient's norm in the first. */
static void share_step(bench_job *j, bench_archive *a)
{
    const step_state *s = j->state;
    bench_share_params(a);
    if (s->parts.input)
        bench_share(a, "in/input", s->parts.input);
    if (s->parts.target)
        bench_share(a, "in/target", s->parts.target);
    if (s->parts.ids)
        bench_share_index(a, "in/ids", s->parts.ids);
    if (s->parts.types)
        bench_share_index(a, "in/types", s->parts.types);
    if (s->parts.lengths)
        bench_share_index(a, "in/lengths", s->parts.lengths);
    for (int step = 1; step <= SHARED_STEPS; step++) {
        char name[32];
        ak_tensor *loss = loss_of(j);
        snprintf(name, sizeof name, "out/loss %d", step);
        bench_share_number(a, name, ak_item(loss));
        ak_backward(loss);
        if (step == 1)
            bench_share_number(a, "out/gradient norm", ak_clip_grad_norm(s->opt, 1e30));
        ak_optim_step(s->opt);
        ak_step_end(j->ctx);
    }
}

/* Everything an op writes is written and read once, read once more by the backward pass, and so is
 * its gradient written and read: about five passes over each output, if nothing is fused. */
static double tape_bytes(const ak_call *newest)
{
    double sum = 0;
    for (const ak_call *k = newest; k; k = k->prev)
        sum += 5 * (double)sizeof(ak_real) * (double)k->out->size;
    return sum;
}

static void open_step(bench_job *j, const bench_row *row)
{
    step_state *s = bench_job_state(j, sizeof *s);
    s->c = row->what;
    s->recipe = recipe_find(s->c->recipe);
    s->parts.ctx = j->ctx;
    s->recipe->build(&s->parts);
    s->opt = ak_adamw(j->ctx, "*", (ak_adamw_options){ .lr = 1e-3, .weight_decay = 0.01 });
    ak_step_end(j->ctx);
    if (s->c->contrast)
        j->configs = passes;
    const ak_tensor *loss = loss_of(j);
    j->flops = bench_tape_flops(j->ctx);
    j->bytes = s->c->contrast ? tape_bytes(loss->maker) : 0;
    ak_step_end(j->ctx);
    j->run = run_step;
    j->share = share_step;
}

/* ---- one tiny op ---------------------------------------------------------------------------- */

enum { CHAIN = 1000, TINY = 16 };

static ak_tensor *chain(ak_tensor *y)
{
    for (int i = 0; i < CHAIN; i++)
        y = ak_scale(y, 1.0001);
    return y;
}

static void run_tiny(bench_job *j)
{
    ak_tensor *const *x = j->state;
    chain(bench_leaf(*x));
    ak_step_end(j->ctx);
}

static void share_tiny(bench_job *j, bench_archive *a)
{
    ak_tensor *const *x = j->state;
    bench_share(a, "in/x", *x);
    bench_share(a, "out/y", chain(bench_leaf(*x)));
    ak_step_end(j->ctx);
}

static void open_tiny(bench_job *j, const bench_row *row)
{
    (void)row;
    ak_tensor **x = bench_job_state(j, sizeof *x);
    *x = bench_normal(j->ctx, AK_SHAPE(TINY), 1);
    j->run = run_tiny;
    j->share = share_tiny;
    j->divide = CHAIN;
}

/* ---- a transformer block -------------------------------------------------------------------- */

/* Of ViT-tiny with patches of 4 on 32 x 32 pictures, both views of 64: what twelve of them do is
 * nearly all of its step. Norm first, GELU, no dropout. */
enum { BATCH = 128, TOKENS = 64, WIDTH = 192, HEADS = 3, HIDDEN = 4 * WIDTH };

typedef struct block {
    ak_module *norm1, *qkv, *proj, *norm2, *fc1, *fc2;
    ak_tensor *x, *dy;              /* [BATCH, TOKENS, WIDTH] */
    ak_tensor *leaf;                /* x of the last run */
} block;

static ak_tensor *attend(const block *b, ak_tensor *x)
{
    ak_tensor *part[3] = { 0 };
    ak_split(ak_forward(b->qkv, ak_forward(b->norm1, x)), -1, 3, part);
    return ak_forward(b->proj, ak_attention(part[0], part[1], part[2], (ak_attention_options){
        .heads = HEADS }));
}

static ak_tensor *forward_backward(bench_job *j)
{
    block *b = j->state;
    ak_zero_grad(j->ctx);
    b->leaf = bench_leaf(b->x);
    ak_tensor *x = ak_add(b->leaf, attend(b, b->leaf));
    ak_tensor *hidden = ak_gelu(ak_forward(b->fc1, ak_forward(b->norm2, x)));
    ak_tensor *y = ak_add(x, ak_forward(b->fc2, hidden));
    j->flops = bench_tape_flops(j->ctx);
    j->bytes = tape_bytes(y->maker);
    ak_backward_from(y, b->dy->data);
    return y;
}

static void run_block(bench_job *j)
{
    forward_backward(j);
    ak_step_end(j->ctx);
}

static void share_block(bench_job *j, bench_archive *a)
{
    const block *b = j->state;
    bench_share_params(a);
    bench_share(a, "in/x", b->x);
    bench_share(a, "in/dy", b->dy);
    bench_share(a, "out/y", forward_backward(j));
    bench_share_values(a, "out/dx", b->leaf->shape, b->leaf->grad);
    const ak_tensor *w = ak_param_find(j->ctx, "qkv/weight");
    bench_share_values(a, "out/dqkv", w->shape, w->grad);
    ak_step_end(j->ctx);
}

static void open_block(bench_job *j, const bench_row *row)
{
    (void)row;
    block  *b = bench_job_state(j, sizeof *b);
    ak_ctx *ctx = j->ctx;
    b->norm1 = ak_nn_layer_norm(ctx, "norm1", WIDTH, 0);
    b->qkv = ak_nn_linear(ctx, "qkv", WIDTH, (int64_t)3 * WIDTH, (ak_linear_options){ 0 });
    b->proj = ak_nn_linear(ctx, "proj", WIDTH, WIDTH, (ak_linear_options){ 0 });
    b->norm2 = ak_nn_layer_norm(ctx, "norm2", WIDTH, 0);
    b->fc1 = ak_nn_linear(ctx, "fc1", WIDTH, HIDDEN, (ak_linear_options){ 0 });
    b->fc2 = ak_nn_linear(ctx, "fc2", HIDDEN, WIDTH, (ak_linear_options){ 0 });
    b->x = bench_normal(ctx, AK_SHAPE(BATCH, TOKENS, WIDTH), 1);
    b->dy = bench_normal(ctx, AK_SHAPE(BATCH, TOKENS, WIDTH), 2);
    j->run = run_block;
    j->share = share_block;
    run_block(j);
}

/* ---- rows ----------------------------------------------------------------------------------- */

void rows_step(bench_table *t)
{
    bench_table_add(t, "overhead tiny op")->open = open_tiny;
    for (int i = 0; i < BENCH_COUNT(steps); i++) {
        bench_row *row = bench_table_add(t, "%s", steps[i].row);
        row->open = open_step;
        row->what = &steps[i];
    }
    bench_table_add(t, "step vit-tiny/4 32px b64, one block of 12")->open = open_block;
}
