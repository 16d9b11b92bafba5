/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products: rate, shares of the measured multiply-add peak, residual against ref.
 *
 *     bench_gemm [--rows REGEX] [--json]
 *
 * The peak is that of independent multiply-adds in registers on all threads at once. It is
 * measured beside every case, and the highest of the run counts, since a shared machine changes
 * its mind. Loads take power, so the clock falls while a product runs: "at its clock" is the median
 * of each run's share of the peak right after it.
 *
 * AK_CPU and OMP_NUM_THREADS choose what is measured. */
#include "base/parallel.h"
#include "bench/cases.h"
#include "bench/peak.h"

#include <math.h>

#define RUNS 15

/* ---- cases ---------------------------------------------------------------------------------- */

typedef struct outcome {
    char   name[48];
    double best, median;                        /* flop/s */
    double share;                               /* of the peak at its clock */
    double residual;                            /* largest relative difference */
} outcome;

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
    const double flop = gemm_flops(c);
    const int repeats = (int)(4e8 / flop) + 1;
    double seconds[RUNS], shares[RUNS];
    gemm_run(c, (ak__gemm_form)form, A, B, C);
    for (int run = 0; run < RUNS; run++) {
        const double start = bench_seconds();
        for (int r = 0; r < repeats; r++)
            gemm_run(c, (ak__gemm_form)form, A, B, C);
        seconds[run] = (bench_seconds() - start) / repeats;
        shares[run] = flop / seconds[run] / bench_peak_here();
    }
    out->median = flop / bench_median(seconds, RUNS);
    out->best = flop / seconds[0];
    out->share = bench_median(shares, RUNS);
    out->residual = residual_of(c, form, A, B, C);
}

/* The forms of a shape that are wanted, into out[3]; how many. */
static int run_shape(const gemm_case *c, const bench_options *o, outcome out[3])
{
    float *A = bench_filled(c->M * c->K), *B = bench_filled(c->K * c->N);
    float *C = bench_filled(c->M * c->N);
    int count = 0;
    for (int form = 0; form < 3; form++) {
        (void)snprintf(out[count].name, sizeof out[count].name, "gemm %s %lldx%lldx%lld",
                       gemm_forms[form], (long long)c->M, (long long)c->N, (long long)c->K);
        if (bench_wanted(o, out[count].name))
            run_case(c, form, A, B, C, &out[count++]);
    }
    free(A);
    free(B);
    free(C);
    return count;
}

static void print_outcomes(const outcome *all, int count, double peak, bool json)
{
    if (!json)
        printf("%s, %d threads, peak %.1f GFLOP/s\n%-26s %10s %10s %7s %12s %10s\n",
               ak__k.isa, ak__max_threads(), peak * 1e-9, "case m x n x k", "GFLOP/s", "median",
               "% peak", "at its clock", "residual");
    for (int i = 0; i < count; i++) {
        const outcome *o = &all[i];
        if (json)
            printf("{\"name\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"gflops\": %.2f, "
                   "\"median\": %.2f, \"peak\": %.2f, \"at_its_clock\": %.3f, "
                   "\"residual\": %.3g}\n", o->name, ak__k.isa, ak__max_threads(), o->best * 1e-9,
                   o->median * 1e-9, peak * 1e-9, o->share, o->residual);
        else
            printf("%-26s %10.1f %10.1f %6.1f%% %11.1f%% %10.2g\n", o->name, o->best * 1e-9,
                   o->median * 1e-9, 100 * o->best / peak, 100 * o->share, o->residual);
    }
}

int main(int argc, char **argv)
{
    bench_options o = bench_arguments(argc, argv);
    if (!ak__kernels_init() || !ak__gemm_reserve(ak__max_threads()))
        bench_die("AK_CPU is no instruction set, or out of memory");
    static outcome all[3 * GEMM_CASES];
    int count = 0;
    double peak = bench_peak();
    for (int i = 0; i < GEMM_CASES; i++) {
        const int n = run_shape(&gemm_cases[i], &o, all + count);
        const double now = n > 0 ? bench_peak() : 0;
        count += n;
        peak = now > peak ? now : peak;
    }
    print_outcomes(all, count, peak, o.json);
    bench_options_free(&o);
    return 0;
}
