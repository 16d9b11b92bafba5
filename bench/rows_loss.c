/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive losses with the gradients of both embeddings. */
#include "bench/rows.h"

#define DIM 128

typedef struct loss_case { bool ntxent; int64_t N; } loss_case;

static const loss_case cases[] = {
    { false, 256 }, { false, 1024 }, { false, 4096 }, { false, 16384 }, { false, 65536 },
    { true, 256 },  { true, 1024 },  { true, 4096 },
};

typedef struct loss_state {
    const loss_case *c;
    ak_tensor *x, *y;               /* [N, DIM] */
    ak_tensor *leaf_x, *leaf_y, *loss;  /* of the last run */
} loss_state;

static void forward_backward(loss_state *s)
{
    s->leaf_x = bench_leaf(s->x);
    s->leaf_y = bench_leaf(s->y);
    s->loss = s->c->ntxent
        ? ak_loss_ntxent(s->leaf_x, s->leaf_y, (ak_ntxent_options){ .tau = 0.5 })
        : ak_loss_clip(s->leaf_x, s->leaf_y, NULL, (ak_infonce_options){ .tau = 0.07 });
    ak_backward(s->loss);
}

static void run(bench_job *j)
{
    forward_backward(j->state);
    ak_step_end(j->ctx);
}

static void share(bench_job *j, bench_archive *a)
{
    loss_state *s = j->state;
    forward_backward(s);
    bench_share(a, "in/x", s->x);
    bench_share(a, "in/y", s->y);
    bench_share_number(a, "out/loss", ak_item(s->loss));
    bench_share_values(a, "out/dx", s->x->shape, s->leaf_x->grad);
    bench_share_values(a, "out/dy", s->y->shape, s->leaf_y->grad);
    ak_step_end(j->ctx);
}

static void open_loss(bench_job *j, const bench_row *row)
{
    loss_state      *s = bench_job_state(j, sizeof *s);
    const loss_case *c = s->c = row->what;
    const double     n = (double)c->N;
    s->x = bench_normal(j->ctx, AK_SHAPE(c->N, DIM), 1);
    s->y = bench_normal(j->ctx, AK_SHAPE(c->N, DIM), 2);
    j->run = run;
    j->share = share;
    /* Four products of N x N x D: scores, scores again, two gradients. NT-Xent has 2N rows, four
     * times the scores, of which the half below the diagonal is known from the other. */
    j->flops = (c->ntxent ? 16 : 8) * n * n * DIM;
    j->bytes = 4 * sizeof(ak_real) * n * DIM;
}

void rows_loss(bench_table *t)
{
    for (int i = 0; i < BENCH_COUNT(cases); i++) {
        bench_row *row = bench_table_add(t, "%s N%lld D%d",
                                         cases[i].ntxent ? "ntxent" : "infonce symmetric",
                                         (long long)cases[i].N, DIM);
        row->open = open_loss;
        row->what = &cases[i];
    }
}
