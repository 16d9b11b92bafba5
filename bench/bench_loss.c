/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive losses with gradients: time, processor time, rate, memory beyond the inputs.
 *
 *     bench_loss [--rows REGEX] [--json] [--full]
 *
 * The rate counts the products that the method can not do without: four of N x N x D for a
 * symmetric loss of two modalities, for NT-Xent of 2N rows two triangles of scores and the
 * gradient of each (so 8 N^2 D and 16 N^2 D floating-point operations). `peak` is the step memory
 * that forward, backward and all gradients take. Best of several runs. --full adds tau = 0.01,
 * where each row and column has its own maximum, and the accuracy report. */
#include <akin/autograd.h>
#include <akin/losses.h>

#include "bench/bench.h"

#define MAX_RUNS 20
/* Seconds for all runs of a case. */
#define BUDGET 8.0

typedef struct loss_row {
    const char *name;
    bool    ntxent;
    int64_t N, D;
    double  tau;
    bool    report, full;
} loss_row;

static const loss_row rows[] = {
    { "clip", false, 1024, 128, 0.07, false, false },
    { "clip", false, 4096, 128, 0.07, false, false },
    { "clip", false, 16384, 128, 0.07, false, false },
    { "ntxent", true, 256, 64, 0.2, false, false },
    { "ntxent", true, 1024, 128, 0.2, false, false },
    { "ntxent", true, 4096, 128, 0.2, false, false },
    { "ntxent_report", true, 256, 64, 0.2, true, false },
    { "clip_tau_0.01", false, 4096, 128, 0.01, false, true },
    { "clip_report", false, 4096, 128, 0.07, true, true },
    { "clip_tau_0.01", false, 16384, 128, 0.01, false, true },
    { "ntxent_tau_0.01", true, 4096, 128, 0.01, false, true },
};

typedef struct measure { double wall, cpu, loss; size_t bytes; } measure;

/* One loss and its backward pass; the memory is what the step holds beyond its inputs. */
static measure run_once(ak_ctx *ctx, const loss_row *r, const ak_tensor *a, const ak_tensor *b)
{
    ak_tensor *x = ak_require_grad(ak_from(ctx, a->shape, a->data));
    ak_tensor *y = ak_require_grad(ak_from(ctx, b->shape, b->data));
    const size_t before = ak_memory_use(ctx).step_bytes;
    ak_loss_report report, *out = r->report ? &report : NULL;
    const double wall = bench_seconds(), cpu = bench_cpu_seconds();
    ak_tensor *loss = r->ntxent
        ? ak_loss_ntxent(x, y, (ak_ntxent_options){ .tau = r->tau, .report = out })
        : ak_loss_clip(x, y, NULL, (ak_infonce_options){ .tau = r->tau, .report = out });
    ak_backward(loss);
    const measure m = { bench_seconds() - wall, bench_cpu_seconds() - cpu, ak_item(loss),
                        ak_memory_use(ctx).step_bytes - before };
    ak_step_end(ctx);
    return m;
}

static void print_row(const loss_row *r, const measure *m, bool json)
{
    const double n = (double)r->N, flops = (r->ntxent ? 16 : 8) * n * n * (double)r->D;
    const double mb = (double)m->bytes / 1048576, rate = 1e-9 * flops / m->cpu;
    if (json)
        printf("{\"name\": \"%s\", \"N\": %lld, \"D\": %lld, \"ms\": %.3f, \"cpu_s\": %.4f, "
               "\"gflops_per_cpu\": %.1f, \"floor_gflop\": %.2f, \"peak_mb\": %.2f, "
               "\"loss\": %.6f}\n", r->name, (long long)r->N, (long long)r->D, 1e3 * m->wall,
               m->cpu, rate, 1e-9 * flops, mb, m->loss);
    else
        printf("%-16s N %6lld  D %4lld  %9.2f ms  %8.4f cpu s  %6.1f GFLOP/s a core  "
               "floor %7.2f GFLOP  peak %7.2f MB  loss %.4f\n", r->name, (long long)r->N,
               (long long)r->D, 1e3 * m->wall, m->cpu, rate, 1e-9 * flops, mb, m->loss);
    fflush(stdout);
}

static void bench_row(const loss_row *r, bool json)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_tensor *a = ak_keep(ak_randn(ctx, AK_SHAPE(r->N, r->D)));
    ak_tensor *b = ak_keep(ak_randn(ctx, AK_SHAPE(r->N, r->D)));
    ak_step_end(ctx);
    measure best = { .wall = 1e30, .cpu = 1e30 };
    const double start = bench_seconds();
    for (int i = 0; i < MAX_RUNS && (i < 2 || bench_seconds() - start < BUDGET); i++) {
        const measure m = run_once(ctx, r, a, b);
        best.wall = m.wall < best.wall ? m.wall : best.wall;
        best.cpu = m.cpu < best.cpu ? m.cpu : best.cpu;
        best.bytes = m.bytes > best.bytes ? m.bytes : best.bytes;
        best.loss = m.loss;
    }
    print_row(r, &best, json);
    ak_close(ctx);
}

int main(int argc, char **argv)
{
    bench_options o = bench_arguments(argc, argv);
    for (int i = 0; i < BENCH_COUNT(rows); i++) {
        char id[64];
        snprintf(id, sizeof id, "%s-%lld", rows[i].name, (long long)rows[i].N);
        if ((o.full || !rows[i].full) && bench_wanted(&o, id))
            bench_row(&rows[i], o.json);
    }
    bench_options_free(&o);
    return 0;
}
