/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention, forward and backward. */
#include "bench/rows.h"

typedef struct attention_case { int64_t N, H, T, D; } attention_case;

/* The last one is there for its memory: the scores alone would be 402 MB. */
static const attention_case cases[] = {
    { 8, 6, 64, 64 }, { 8, 6, 197, 64 }, { 8, 6, 512, 64 }, { 1, 6, 4096, 64 },
};

enum { Q, K, V, OPERANDS };
static const char *const names[] = { "q", "k", "v" };

typedef struct attention {
    bool       causal;
    ak_tensor *kept[OPERANDS], *dy;     /* [N, H, T, D] */
    ak_tensor *leaves[OPERANDS], *y;    /* of the last run */
} attention;

static void forward_backward(attention *s)
{
    for (int i = 0; i < OPERANDS; i++)
        s->leaves[i] = bench_leaf(s->kept[i]);
    s->y = ak_attention(s->leaves[Q], s->leaves[K], s->leaves[V], (ak_attention_options){
        .causal = s->causal });
    ak_backward_from(s->y, s->dy->data);
}

static void run(bench_job *j)
{
    forward_backward(j->state);
    ak_step_end(j->ctx);
}

static void share(bench_job *j, bench_archive *a)
{
    attention *s = j->state;
    forward_backward(s);
    for (int i = 0; i < OPERANDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "in/%s", names[i]);
        bench_share(a, name, s->kept[i]);
        snprintf(name, sizeof name, "out/d%s", names[i]);
        bench_share_values(a, name, s->leaves[i]->shape, s->leaves[i]->grad);
    }
    bench_share(a, "in/dy", s->dy);
    bench_share(a, "out/y", s->y);
    ak_step_end(j->ctx);
}

static void open_attention(bench_job *j, const bench_row *row)
{
    attention            *s = bench_job_state(j, sizeof *s);
    const attention_case *c = row->what;
    s->causal = row->part;
    const ak_shape shape = AK_SHAPE(c->N, c->H, c->T, c->D);
    for (int i = 0; i < OPERANDS; i++)
        s->kept[i] = bench_normal(j->ctx, shape, (uint64_t)i + 1);
    s->dy = bench_normal(j->ctx, shape, 4);
    j->run = run;
    j->share = share;
    /* Seven products of T x T x D: scores, y; scores again, dv, dp, dq, dk. Causal: half each. */
    j->flops = (s->causal ? 7.0 : 14.0) * (double)(c->N * c->H * c->T * c->T * c->D);
    j->work = j->flops;
    /* Forward q, k, v, y; backward these, dy and three gradients. */
    j->bytes = 12 * (double)sizeof(ak_real) * (double)s->dy->size;
}

void rows_attention(bench_table *t)
{
    for (int i = 0; i < BENCH_COUNT(cases); i++) {
        const attention_case *c = &cases[i];
        for (int causal = 0; causal < 2; causal++) {
            bench_row *row = bench_table_add(t, "attention n%lld h%lld T%lld d%lld %s",
                                             (long long)c->N, (long long)c->H, (long long)c->T,
                                             (long long)c->D, causal ? "causal" : "full");
            row->open = open_attention;
            row->what = c;
            row->part = causal;
        }
    }
}
