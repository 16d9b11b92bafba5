/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions: forward, data gradient and weight gradient by themselves and one after the
 * other. */
#include "bench/cases.h"
#include "bench/rows.h"

enum { ALL = CONV_PASSES };     /* the part of a row that is all three */

typedef struct convolution {
    ak__conv    g;
    int         part;
    conv_arrays arrays;
    ak_tensor  *x, *w, *dy, *y, *dx, *dw;
} convolution;

static void run(bench_job *j)
{
    const convolution *c = j->state;
    for (int pass = 0; pass < CONV_PASSES; pass++)
        if (c->part == pass || c->part == ALL)
            conv_run(&c->g, (conv_pass)pass, &c->arrays);
}

static void share(bench_job *j, bench_archive *a)
{
    const convolution *c = j->state;
    run(j);
    bench_share(a, "in/x", c->x);
    bench_share(a, "in/w", c->w);
    bench_share(a, "in/dy", c->dy);
    if (c->part == CONV_FORWARD || c->part == ALL)
        bench_share(a, "out/y", c->y);
    if (c->part == CONV_DATA || c->part == ALL)
        bench_share(a, "out/dx", c->dx);
    if (c->part == CONV_WEIGHT || c->part == ALL)
        bench_share(a, "out/dw", c->dw);
}

/* The fewest operations known for it: F(4x4, 3x3) needs a quarter of the multiplications, with
 * stride 2 81 of 144; its transforms are worth it from some channels on only. */
static double least_flops(const ak__conv *g)
{
    const bool winograd = g->kH == 3 && g->kW == 3 && g->sh <= 2 && g->sw == g->sh &&
                          g->groups == 1 && g->I >= 16 && g->O >= 16;
    return ak__conv_flops(g) * (!winograd ? 1 : g->sh == 1 ? 0.25 : 0.5625);
}

static void open_conv(bench_job *j, const bench_row *row)
{
    convolution *c = bench_job_state(j, sizeof *c);
    c->g = conv_geometry(row->what);
    c->part = row->part;
    const ak__conv *g = &c->g;
    const ak_shape  x = AK_SHAPE(g->N, g->H, g->W, g->I), y = AK_SHAPE(g->N, g->OH, g->OW, g->O);
    const ak_shape  w = AK_SHAPE(g->O, g->kH, g->kW, g->I / g->groups);
    c->x = bench_normal(j->ctx, x, 1);
    c->w = bench_normal(j->ctx, w, 2);
    c->dy = bench_normal(j->ctx, y, 3);
    c->y = ak_state(j->ctx, y);
    c->dx = ak_state(j->ctx, x);
    c->dw = ak_state(j->ctx, w);
    const int64_t scratch = (int64_t)(conv_scratch(g) / sizeof(ak_real)) + 1;
    c->arrays = (conv_arrays){ .x = c->x->data, .w = c->w->data, .dy = c->dy->data,
                               .y = c->y->data, .dx = c->dx->data, .dw = c->dw->data,
                               .scratch = ak_state(j->ctx, AK_SHAPE(scratch))->data };
    j->run = run;
    j->share = share;
    const int passes = c->part == ALL ? CONV_PASSES : 1;
    j->work = passes * ak__conv_flops(g);
    j->flops = passes * least_flops(g);
    j->bytes = passes * (double)sizeof(ak_real) * (double)(c->x->size + c->w->size + c->dy->size);
}

void rows_conv(bench_table *t)
{
    for (int i = 0; i < CONV_COMPARED; i++) {
        for (int part = 0; part <= ALL; part++) {
            bench_row *row = bench_table_add(t, "conv %s %s", conv_cases[i].name,
                                             part == ALL ? "all" : conv_pass_names[part]);
            row->open = open_conv;
            row->what = &conv_cases[i];
            row->part = part;
        }
    }
}
