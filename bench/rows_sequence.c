/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a recurrent layer, and the mel spectrum of a sound. */
#include "bench/rows.h"

/* ---- a step of a GRU ------------------------------------------------------------------------- */

enum { BATCH = 128, STEPS = 64, WIDTH = 256 };

typedef struct gru_state {
    ak_module *gru;
    ak_tensor *x, *dy;              /* [BATCH, STEPS, WIDTH] */
    ak_tensor *leaf;                /* x of the last run */
    ak_optim  *opt;
} gru_state;

static ak_tensor *forward_backward(bench_job *j)
{
    gru_state *s = j->state;
    ak_zero_grad(j->ctx);
    s->leaf = bench_leaf(s->x);
    ak_tensor *y = ak_forward(s->gru, s->leaf);
    j->flops = bench_tape_flops(j->ctx);
    ak_backward_from(y, s->dy->data);
    return y;
}

static void run_gru(bench_job *j)
{
    const gru_state *s = j->state;
    forward_backward(j);
    ak_optim_step(s->opt);
    ak_step_end(j->ctx);
}

static void share_gru(bench_job *j, bench_archive *a)
{
    const gru_state *s = j->state;
    bench_share_params(a);
    bench_share(a, "in/x", s->x);
    bench_share(a, "in/dy", s->dy);
    bench_share(a, "out/y", forward_backward(j));
    bench_share_values(a, "out/dx", s->leaf->shape, s->leaf->grad);
    static const char *const names[] = { "weight_ih_l0", "weight_hh_l0", "bias_ih_l0",
                                         "bias_hh_l0" };
    for (int i = 0; i < BENCH_COUNT(names); i++) {
        const ak_tensor *w = ak_module_find(s->gru, names[i]);
        char name[32];
        snprintf(name, sizeof name, "out/d%s", names[i]);
        bench_share_values(a, name, w->shape, w->grad);
    }
    ak_step_end(j->ctx);
}

static void open_gru(bench_job *j, const bench_row *row)
{
    (void)row;
    gru_state *s = bench_job_state(j, sizeof *s);
    s->gru = ak_nn_gru(j->ctx, "gru", WIDTH, WIDTH, (ak_gru_layer_options){ 0 });
    s->x = bench_normal(j->ctx, AK_SHAPE(BATCH, STEPS, WIDTH), 1);
    s->dy = bench_normal(j->ctx, AK_SHAPE(BATCH, STEPS, WIDTH), 2);
    s->opt = ak_adamw(j->ctx, "*", (ak_adamw_options){ .lr = 1e-3, .weight_decay = 0.01 });
    j->run = run_gru;
    j->share = share_gru;
}

/* ---- a mel spectrum -------------------------------------------------------------------------- */

/* What a speech encoder takes of ten seconds, on the calling thread alone. */
enum { RATE = 16000, SAMPLES = 10 * RATE, MELS = 80 };

typedef struct mel_state { ak_mel *mel; ak_tensor *x, *y; } mel_state;

static void run_mel(bench_job *j)
{
    const mel_state *s = j->state;
    ak_mel_run(s->mel, s->x->data, SAMPLES, s->y->data);
}

static void share_mel(bench_job *j, bench_archive *a)
{
    const mel_state *s = j->state;
    run_mel(j);
    bench_share(a, "in/x", s->x);
    bench_share(a, "out/y", s->y);
}

static void open_mel(bench_job *j, const bench_row *row)
{
    (void)row;
    mel_state *s = bench_job_state(j, sizeof *s);
    s->mel = ak_mel_make(j->ctx, (ak_mel_options){
        .rate = RATE, .n_fft = 400, .hop = 160, .mels = MELS, .scale = AK_MEL_SLANEY,
        .norm = AK_MEL_AREA, .form = AK_MEL_LOG });
    s->x = bench_normal(j->ctx, AK_SHAPE(SAMPLES), 1);
    s->y = ak_state(j->ctx, AK_SHAPE(ak_mel_frames(s->mel, SAMPLES), MELS));
    j->run = run_mel;
    j->share = share_mel;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void rows_sequence(bench_table *t)
{
    bench_table_add(t, "step gru T64 256 b128")->open = open_gru;
    bench_table_add(t, "log-mel 10 s at 16 kHz, 400/160, 80 mels")->open = open_mel;
}
