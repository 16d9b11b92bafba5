/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products. */
#include "bench/cases.h"
#include "bench/rows.h"

typedef struct product {
    const gemm_case *c;
    ak__gemm_form    form;
    ak_tensor       *A, *B, *C;
} product;

static void run(bench_job *j)
{
    const product *p = j->state;
    gemm_run(p->c, p->form, p->A->data, p->B->data, p->C->data);
}

static void share(bench_job *j, bench_archive *a)
{
    const product *p = j->state;
    run(j);
    bench_share(a, "in/A", p->A);
    bench_share(a, "in/B", p->B);
    bench_share(a, "out/C", p->C);
}

static void open_product(bench_job *j, const bench_row *row)
{
    product         *p = bench_job_state(j, sizeof *p);
    const gemm_case *c = p->c = row->what;
    p->form = (ak__gemm_form)row->part;
    p->A = bench_normal(j->ctx, p->form == AK__TN ? AK_SHAPE(c->K, c->M) : AK_SHAPE(c->M, c->K), 1);
    p->B = bench_normal(j->ctx, p->form == AK__NT ? AK_SHAPE(c->N, c->K) : AK_SHAPE(c->K, c->N), 2);
    p->C = ak_state(j->ctx, AK_SHAPE(c->M, c->N));
    j->run = run;
    j->share = share;
    j->work = j->flops = gemm_flops(c);
    j->bytes = sizeof(ak_real) * (double)(p->A->size + p->B->size + p->C->size);
}

void rows_gemm(bench_table *t)
{
    for (int i = 0; i < GEMM_CASES; i++) {
        const gemm_case *c = &gemm_cases[i];
        for (int form = 0; form < BENCH_COUNT(gemm_forms); form++) {
            bench_row *row = bench_table_add(t, "gemm %s %lldx%lldx%lld", gemm_forms[form],
                                             (long long)c->M, (long long)c->N, (long long)c->K);
            row->open = open_product;
            row->what = c;
            row->part = form;
        }
    }
}
