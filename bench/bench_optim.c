/* SPDX-License-Identifier: Apache-2.0 */
/* Optimiser steps, clipping and moving averages over the parameters of a ResNet-18: ms and GB/s of
 * memory traffic (each array counted once for every read and once for every write). Best of 20. */
#include <akin/nn.h>
#include <akin/optim.h>

#include "bench/bench.h"

#define RUNS 20

typedef struct bench { ak_ctx *ctx; ak_optim *opt; } bench;

static void step(const bench *b) { ak_optim_step(b->opt); }
static void clip(const bench *b) { ak_clip_grad_norm(b->opt, 1); }
static void ema(const bench *b) { ak_ema_update(b->ctx, "teacher", "net", 0.99); }

/* A step zeroes the gradients, and passes by parameters without any. */
static void fill_gradients(const bench *b)
{
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(b->ctx, i)) != NULL; i++)
        for (int64_t j = 0; t->grad && j < t->size; j++)
            t->grad[j] = (ak_real)1e-3;
}

/* passes: reads and writes of arrays as large as the parameters. */
static void run(const char *name, const bench *b, void (*fn)(const bench *), double numbers,
                int passes)
{
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        fill_gradients(b);
        const double start = bench_seconds();
        fn(b);
        const double seconds = bench_seconds() - start;
        best = seconds < best ? seconds : best;
        ak_step_end(b->ctx);
    }
    printf("optim %-14s %9.0f numbers  %8.3f ms  %7.2f GB/s\n", name, numbers, 1e3 * best,
           numbers * passes * sizeof(ak_real) / best * 1e-9);
    fflush(stdout);
}

static bench start(bool teacher)
{
    bench b = { .ctx = ak_open((ak_options){ .seed = 1, .quiet = true }) };
    ak_resnet18(b.ctx, "net", (ak_resnet_options){ 0 });
    if (teacher)
        ak_resnet18(b.ctx, "teacher", (ak_resnet_options){ 0 });
    return b;
}

int main(void)
{
    bench b = start(true);
    double numbers = 0;
    for (int64_t i = 0; ak_param_at(b.ctx, i); i++)
        numbers += ak_match("net/*", ak_param_at(b.ctx, i)->name)
                   ? (double)ak_param_at(b.ctx, i)->size : 0;
    b.opt = ak_adamw(b.ctx, "net/*", (ak_adamw_options){ .weight_decay = 0.01 });
    ak_freeze(b.ctx, "teacher/*", true);
    run("adamw", &b, step, numbers, 8);         /* p, g, m, v: read and written */
    run("clip_grad_norm", &b, clip, numbers, 3);    /* norm; then read and written */
    run("ema_update", &b, ema, numbers, 3);
    ak_close(b.ctx);
    b = start(false);
    b.opt = ak_sgd(b.ctx, "*", (ak_sgd_options){ .momentum = 0.9 });
    run("sgd momentum", &b, step, numbers, 6);
    ak_close(b.ctx);
    b = start(false);
    b.opt = ak_lars(b.ctx, "*", (ak_lars_options){ 0 });
    run("lars", &b, step, numbers, 8);          /* two reading passes for the norms */
    return ak_close(b.ctx) == AK_OK ? 0 : 1;
}
