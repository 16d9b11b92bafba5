/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products: rate, share of the measured multiply-add peak, residual against ref.
 *
 *     bench_gemm [--rows REGEX] [--json]
 *
 * The peak is that of independent multiply-adds in registers on all threads at once. It is
 * measured beside every case, and the highest of the run counts, since a shared machine changes
 * its mind. AK_CPU and OMP_NUM_THREADS choose what is measured. */
#include "tensor/gemm.h"

#include "base/parallel.h"
#include "bench/peak.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 15

typedef struct gemm_case { int64_t M, N, K; } gemm_case;

static const gemm_case cases[] = {
    {512, 512, 512},   {1024, 1024, 1024}, {2048, 2048, 2048}, {64, 64, 64},    {128, 128, 128},
    {256, 256, 256},   {4096, 4096, 128},  {8192, 64, 576},    {128, 512, 512}, {256, 128, 128},
    {512, 128, 2048},  {256, 256, 64},     {50176, 64, 288},
};

#define CASES ((int)(sizeof cases / sizeof cases[0]))

static const char *const form_names[] = {"nn", "nt", "tn"};

/* ---- cases ---------------------------------------------------------------------------------- */

typedef struct outcome {
    char   name[48];
    double best, median, residual;              /* flop/s; largest relative difference */
} outcome;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(float *x, int64_t n)
{
    uint32_t s = 12345;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525U + 1013904223U;
        x[i] = (float)(s >> 8) * 0x1p-23F - 1.0F;
    }
}

static void product(const gemm_case *c, int form, const float *A, const float *B, float *C)
{
    ak__gemm((ak__gemm_form)form, c->M, c->N, c->K, 1, A, form == 2 ? c->M : c->K, B,
             form == 1 ? c->K : c->N, 0, C, c->N, NULL);
}

/* Largest difference from the reference in units of sqrt(K), of a few rows. */
static double residual_of(const gemm_case *c, int form, const float *A, const float *B,
                          const float *C)
{
    double worst = 0;
    const int64_t step = c->M / 7 + 1;
    for (int64_t i = 0; i < c->M; i += step) {
        for (int64_t j = 0; j < c->N; j += 3) {
            double s = 0;
            for (int64_t k = 0; k < c->K; k++) {
                const float a = form == 2 ? A[k * c->M + i] : A[i * c->K + k];
                const float b = form == 1 ? B[j * c->K + k] : B[k * c->N + j];
                s += (double)a * (double)b;
            }
            const double d = fabs(s - (double)C[i * c->N + j]) / sqrt((double)c->K);
            worst = d > worst ? d : worst;
        }
    }
    return worst;
}

static void run_case(const gemm_case *c, int form, const float *A, const float *B, float *C,
                     outcome *out)
{
    const double flop = 2 * (double)c->M * (double)c->N * (double)c->K;
    const int repeats = (int)(4e8 / flop) + 1;
    double rates[RUNS];
    product(c, form, A, B, C);
    for (int run = 0; run < RUNS; run++) {
        const double start = bench_seconds();
        for (int r = 0; r < repeats; r++)
            product(c, form, A, B, C);
        rates[run] = flop * repeats / (bench_seconds() - start);
    }
    qsort(rates, RUNS, sizeof rates[0], by_value);
    out->best = rates[RUNS - 1];
    out->median = rates[RUNS / 2];
    out->residual = residual_of(c, form, A, B, C);
}

static bool run_shape(const gemm_case *c, const regex_t *rows, outcome out[3], int *count)
{
    float *A = aligned_alloc(64, (size_t)(c->M * c->K) * sizeof(float));
    float *B = aligned_alloc(64, (size_t)(c->K * c->N) * sizeof(float));
    float *C = aligned_alloc(64, (size_t)(c->M * c->N) * sizeof(float));
    const bool ok = A && B && C;
    *count = 0;
    if (ok) {
        fill(A, c->M * c->K);
        fill(B, c->K * c->N);
        for (int form = 0; form < 3; form++) {
            outcome *o = &out[*count];
            (void)snprintf(o->name, sizeof o->name, "gemm %s %lldx%lldx%lld", form_names[form],
                           (long long)c->M, (long long)c->N, (long long)c->K);
            if (rows && regexec(rows, o->name, 0, NULL, 0) != 0)
                continue;
            run_case(c, form, A, B, C, o);
            ++*count;
        }
    }
    free(A);
    free(B);
    free(C);
    return ok;
}

static void print_outcomes(const outcome *all, int count, double peak, bool json)
{
    if (!json)
        printf("%s, %d threads, peak %.1f GFLOP/s\n%-26s %10s %10s %7s %10s\n", ak__k.isa,
               ak__max_threads(), peak * 1e-9, "case m x n x k", "GFLOP/s", "median", "% peak",
               "residual");
    for (int i = 0; i < count; i++) {
        const outcome *o = &all[i];
        if (json)
            printf("{\"name\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"gflops\": %.2f, "
                   "\"median\": %.2f, \"peak\": %.2f, \"residual\": %.3g}\n",
                   o->name, ak__k.isa, ak__max_threads(), o->best * 1e-9, o->median * 1e-9,
                   peak * 1e-9, o->residual);
        else
            printf("%-26s %10.1f %10.1f %6.1f%% %10.2g\n", o->name, o->best * 1e-9,
                   o->median * 1e-9, 100 * o->best / peak, o->residual);
    }
}

int main(int argc, char **argv)
{
    regex_t rows;
    bool json = false, filtered = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc &&
                   regcomp(&rows, argv[i + 1], REG_EXTENDED | REG_NOSUB) == 0) {
            filtered = true;
            i++;
        } else {
            fprintf(stderr, "usage: bench_gemm [--rows REGEX] [--json]\n");
            return 2;
        }
    }
    if (!ak__kernels_init() || !ak__gemm_reserve(ak__max_threads())) {
        fprintf(stderr, "bench_gemm: AK_CPU is no instruction set, or out of memory\n");
        return 2;
    }
    static outcome all[3 * CASES];
    int count = 0;
    double peak = bench_peak();
    for (int i = 0; i < CASES; i++) {
        int n;
        if (!run_shape(&cases[i], filtered ? &rows : NULL, all + count, &n)) {
            fprintf(stderr, "bench_gemm: out of memory\n");
            return 1;
        }
        count += n;
        const double now = n > 0 ? bench_peak() : 0;
        peak = now > peak ? now : peak;
    }
    print_outcomes(all, count, peak, json);
    if (filtered)
        regfree(&rows);
    return 0;
}
