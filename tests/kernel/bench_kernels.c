/* SPDX-License-Identifier: Apache-2.0 */
/* kernelcheck --bench: each entry on arrays in L1 and on arrays in memory, best of some runs. */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MOST (4 * 1024 * 1024)

static double seconds(void)
{
    struct timespec t;
    (void)timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *xs[4];
static volatile float sink;

typedef struct timed_entry {
    const char *name;
    void (*run)(const ak_kernels *k, int64_t n);
    double bytes;               /* per element */
} timed_entry;

/* In-place functions would drift to infinity, so outputs go to xs[3]. Column entries see rows of
 * 64. */
#define TIMED(name, call)                                                                          \
    static void time_##name(const ak_kernels *k, int64_t n) { call; }

TIMED(dot, sink = k->dot(xs[0], xs[1], n))
TIMED(sum, sink = k->sum(xs[0], n))
TIMED(max, sink = k->max(xs[0], n))
TIMED(axpy, k->axpy(xs[3], 1e-9F, xs[0], n))
TIMED(scale, k->scale(xs[3], 2, xs[0], n))
TIMED(add, k->add(xs[3], xs[0], xs[1], n))
TIMED(mul_add, k->mul_add(xs[3], xs[0], xs[2], n))
TIMED(exp, k->exp(xs[3], xs[0], n))
TIMED(log, k->log(xs[3], xs[1], n))
TIMED(tanh, k->tanh(xs[3], xs[0], n))
TIMED(erf, k->erf(xs[3], xs[0], n))
TIMED(sigmoid, k->sigmoid(xs[3], xs[0], n))
TIMED(exp_sum, sink = k->exp_sum(xs[3], xs[0], 1, n))
TIMED(relu, k->relu(xs[3], xs[0], n, AK__SET))
TIMED(relu_backward, k->relu_backward(xs[3], xs[0], xs[1], n, AK__SET))
TIMED(gelu, k->gelu(xs[3], xs[0], n, AK__SET))
TIMED(gelu_backward, k->gelu_backward(xs[3], xs[0], xs[1], n, AK__SET))
TIMED(gelu_tanh, k->gelu_tanh(xs[3], xs[0], n, AK__SET))
TIMED(gelu_tanh_backward, k->gelu_tanh_backward(xs[3], xs[0], xs[1], n, AK__SET))
TIMED(affine, k->affine(xs[3], 2, xs[0], 1, n, AK__SET))
TIMED(shift, k->shift(xs[3], xs[0], 2, 1, n, AK__SET))
TIMED(combine, k->combine(xs[3], 2, xs[0], 3, xs[1], n, AK__SET))
TIMED(exp_affine, k->exp_affine(xs[3], 2, xs[0], 1, 3, xs[1], 1, n, AK__SET))
TIMED(softmax_backward_row, k->softmax_backward_row(xs[3], xs[1], xs[0], n, AK__SET))
TIMED(column_sum, memset(xs[3], 0, 256); k->column_sum(xs[3], xs[0], n / 64, 64))
TIMED(column_moments, memset(xs[3], 0, 512);
      k->column_moments(xs[3], xs[3] + 64, xs[0], xs[2], n / 64, 64))
TIMED(column_affine,
      k->column_affine(xs[3], xs[0], xs[1], xs[2], NULL, n / 64, 64, true, AK__SET))
TIMED(batch_norm_sums, memset(xs[3], 0, 512);
      k->batch_norm_sums(xs[3], xs[3] + 64, xs[0], xs[1], (ak__gate){.y = xs[1]}, xs[2], xs[2],
                         n / 64, 64))
TIMED(batch_norm_grad,
      k->batch_norm_grad(xs[3], xs[0], xs[1], (ak__gate){.y = xs[1]}, xs[2], xs[2], xs[2], n / 64,
                         64, AK__SET))
TIMED(lerp, k->lerp(xs[3], xs[0], 1e-6F, n))
TIMED(from_u8, k->from_u8(xs[3], (const uint8_t *)xs[0], 0.1F, 0, n))

static void time_layer_norm_row(const ak_kernels *k, int64_t n)
{
    float mean, rstd;
    for (int64_t i = 0; i + 256 <= n; i += 256)
        k->layer_norm_row(xs[3] + i, xs[0] + i, xs[1], xs[2], 1e-5F, 256, &mean, &rstd,
                          AK__SET);
}

static void time_norm_backward_row(const ak_kernels *k, int64_t n)
{
    static float dw[256], db[256];
    for (int64_t i = 0; i + 256 <= n; i += 256)
        k->norm_backward_row(xs[3] + i, dw, db, xs[0] + i, xs[1] + i, xs[2], 0.5F, 1, 256, true,
                             AK__SET);
}

static void time_adam(const ak_kernels *k, int64_t n)
{
    const ak__adam_args args = {.lr = 1e-9F, .beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-3F,
                                .correction1 = 1, .correction2 = 1};
    k->adam(xs[0], xs[3], xs[2], xs[1], n, &args);
}

static void time_sgd(const ak_kernels *k, int64_t n)
{
    const ak__sgd_args args = {.lr = 1e-9F, .momentum = 0.9F};
    k->sgd(xs[0], xs[3], xs[2], n, &args);
}

#define ROW(name, bytes) {#name, time_##name, bytes}

static const timed_entry timed[] = {
    ROW(dot, 8),            ROW(sum, 4),            ROW(max, 4),
    ROW(axpy, 12),          ROW(scale, 8),          ROW(add, 12),
    ROW(mul_add, 16),       ROW(exp, 8),            ROW(log, 8),
    ROW(tanh, 8),           ROW(erf, 8),            ROW(sigmoid, 8),
    ROW(exp_sum, 8),        ROW(relu, 8),           ROW(relu_backward, 12),
    ROW(gelu, 8),           ROW(gelu_backward, 12), ROW(gelu_tanh, 8),
    ROW(gelu_tanh_backward, 12),                    ROW(layer_norm_row, 8),
    ROW(column_sum, 4),     ROW(column_moments, 4), ROW(column_affine, 8),
    ROW(batch_norm_sums, 12), ROW(batch_norm_grad, 16), ROW(adam, 32),
    ROW(sgd, 24),           ROW(lerp, 12),          ROW(from_u8, 5),
    ROW(affine, 8),         ROW(combine, 12),       ROW(exp_affine, 12),
    ROW(softmax_backward_row, 12),                  ROW(norm_backward_row, 20),
    ROW(shift, 8),
};

static double best_time(const ak_kernels *k, const timed_entry *e, int64_t n)
{
    const int repeats = (int)(2 * MOST / n / 8) + 1;
    double best = 1e9;
    for (int run = 0; run < 7; run++) {
        const double start = seconds();
        for (int r = 0; r < repeats; r++)
            e->run(k, n);
        const double t = (seconds() - start) / repeats;
        best = t < best ? t : best;
    }
    return best;
}

static void bench_gemm(const isa_table *isas, int count, int64_t size)
{
    const ak_kernels before = ak__k;
    double ref = 0;
    for (int i = 0; i < count; i++) {
        if (isas[i].emulated)
            continue;
        ak__k = isas[i].table;
        double best = 1e9;
        for (int run = 0; run < 5; run++) {
            const double start = seconds();
            ak__gemm(AK__NN, size, size, size, 1, xs[0], size, xs[1], size, 0, xs[3], size, NULL);
            const double t = seconds() - start;
            best = t < best ? t : best;
        }
        ref = i == 0 ? best : ref;
        const double flop = 2 * (double)size * (double)size * (double)size;
        printf("%-20s %-8s %8lld %9.2f GFLOP/s %7.2fx\n", "gemm", isas[i].name, (long long)size,
               flop / best * 1e-9, ref / best);
    }
    ak__k = before;
}

void bench_kernels(const isa_table *isas, int count)
{
    static const int64_t sizes[] = {2048, MOST};
    for (int i = 0; i < 4; i++) {
        xs[i] = aligned_alloc(64, MOST * sizeof(float));
        if (!xs[i])
            exit(2);
        fill(xs[i], MOST, i == 1 || i == 2 ? FILL_POSITIVE : FILL_PLAIN);
    }
    printf("%-20s %-8s %8s %9s %15s\n", "entry", "isa", "n", "rate", "against ref");
    for (size_t e = 0; e < sizeof timed / sizeof timed[0]; e++) {
        for (int s = 0; s < 2 && wanted(timed[e].name); s++) {
            double ref = 0;
            for (int i = 0; i < count; i++) {
                if (isas[i].emulated)
                    continue;
                const double t = best_time(&isas[i].table, &timed[e], sizes[s]);
                ref = i == 0 ? t : ref;
                printf("%-20s %-8s %8lld %9.2f GB/s    %7.2fx\n", timed[e].name, isas[i].name,
                       (long long)sizes[s], timed[e].bytes * (double)sizes[s] / t * 1e-9, ref / t);
            }
        }
    }
    if (wanted("gemm"))
        bench_gemm(isas, count, 256);
    for (int i = 0; i < 4; i++)
        free(xs[i]);
}
