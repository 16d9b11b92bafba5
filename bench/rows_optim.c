/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to ten million parameters in ten arrays: AdamW, moving average, clipping. */
#include "bench/rows.h"

enum { ARRAYS = 10, SIDE = 1000 };
enum { SHARED_STEPS = 3 };      /* of AdamW, before parameters are compared */

typedef enum optim_kind { ADAMW, EMA, CLIP, CLIP_ADAMW } optim_kind;
static const char *const names[] = { "adamw", "ema", "clip", "clip+adamw" };

typedef struct optim_state {
    ak_optim  *opt;
    ak_tensor *params[ARRAYS], *averages[ARRAYS], *grads;   /* grads [ARRAYS, SIDE, SIDE] */
} optim_state;

/* A step zeroes the gradients, clipping scales them: they come back before each run. */
static void restore_gradients(bench_job *j)
{
    const optim_state *s = j->state;
    for (int i = 0; i < ARRAYS; i++)
        memcpy(s->params[i]->grad, s->grads->data + (int64_t)i * SIDE * SIDE,
               SIDE * SIDE * sizeof(ak_real));
}

static void run_adamw(bench_job *j)
{
    ak_optim_step(((const optim_state *)j->state)->opt);
}

static void run_ema(bench_job *j)
{
    ak_ema_update(j->ctx, "average", "net", 0.99);
}

static void run_clip(bench_job *j)
{
    ak_clip_grad_norm(((const optim_state *)j->state)->opt, 1);
}

static void run_clip_adamw(bench_job *j)
{
    run_clip(j);
    run_adamw(j);
}

static void share_adamw(bench_job *j, bench_archive *a)
{
    const optim_state *s = j->state;
    bench_share_params(a);
    bench_share(a, "in/grads", s->grads);
    for (int step = 0; step < SHARED_STEPS; step++) {
        j->prepare(j);
        j->run(j);
    }
    bench_share(a, "out/p", s->params[ARRAYS - 1]);
}

static void share_ema(bench_job *j, bench_archive *a)
{
    bench_share_params(a);
    run_ema(j);
    bench_share(a, "out/average", ((const optim_state *)j->state)->averages[ARRAYS - 1]);
}

static void share_clip(bench_job *j, bench_archive *a)
{
    const optim_state *s = j->state;
    restore_gradients(j);
    bench_share_params(a);
    bench_share(a, "in/grads", s->grads);
    bench_share_number(a, "out/norm", ak_clip_grad_norm(s->opt, 1));
}

static void open_optim(bench_job *j, const bench_row *row)
{
    optim_state     *s = bench_job_state(j, sizeof *s);
    const optim_kind kind = (optim_kind)row->part;
    const ak_shape   shape = AK_SHAPE(SIDE, SIDE);
    for (int i = 0; i < ARRAYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "net/%d", i);
        s->params[i] = ak_param(j->ctx, name, shape, 0);
        ak_init_fill(s->params[i], (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
        if (kind != EMA)
            continue;
        snprintf(name, sizeof name, "average/%d", i);
        s->averages[i] = ak_param(j->ctx, name, shape, 0);
        ak_init_fill(s->averages[i], (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
    }
    s->opt = ak_adamw(j->ctx, "net/*", (ak_adamw_options){ .lr = 1e-3, .weight_decay = 0.01 });
    s->grads = kind == EMA ? NULL : bench_normal(j->ctx, AK_SHAPE(ARRAYS, SIDE, SIDE), 1);
    const double array = sizeof(ak_real) * (double)ARRAYS * SIDE * SIDE;
    if (kind == EMA) {
        j->run = run_ema;
        j->share = share_ema;
        j->bytes = 3 * array;           /* both read, one written */
    } else if (kind == CLIP) {
        j->run = run_clip;
        j->share = share_clip;
        j->prepare = restore_gradients;
        j->bytes = 3 * array;           /* read for the norm, read and written for the scale */
    } else {
        j->prepare = restore_gradients;
        j->run = kind == ADAMW ? run_adamw : run_clip_adamw;
        j->share = share_adamw;
        j->bytes = (kind == ADAMW ? 8 : 11) * array;    /* p, m, v, g read and written */
    }
}

void rows_optim(bench_table *t)
{
    for (int kind = 0; kind < BENCH_COUNT(names); kind++) {
        bench_row *row = bench_table_add(t, "optim %s 10M", names[kind]);
        row->open = open_optim;
        row->part = kind;
    }
}
