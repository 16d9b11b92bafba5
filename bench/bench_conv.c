/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions: rate of the forward pass, the data and the weight gradient (counted as direct
 * convolution), share of the measured multiply-add peak, best of several runs.
 *
 *     bench_conv [--rows REGEX] [--json]
 *
 * AK_CPU and OMP_NUM_THREADS choose what is measured, AK_CONV=exact leaves Winograd out. */
#include "base/parallel.h"
#include "bench/cases.h"
#include "bench/peak.h"

#define RUNS 7

/* Seconds of one pass: best of RUNS. */
static double time_pass(const ak__conv *g, conv_pass pass, const conv_arrays *a)
{
    const int repeats = (int)(3e8 / ak__conv_flops(g)) + 1;
    double seconds[RUNS];
    conv_run(g, pass, a);
    for (int run = 0; run < RUNS; run++) {
        const double start = bench_seconds();
        for (int r = 0; r < repeats; r++)
            conv_run(g, pass, a);
        seconds[run] = (bench_seconds() - start) / repeats;
    }
    (void)bench_median(seconds, RUNS);
    return seconds[0];
}

static void run_case(const conv_case *c, double seconds[CONV_PASSES])
{
    const char *way = getenv("AK_CONV");
    ak__conv g = conv_geometry(c);
    g.exact = way && strcmp(way, "exact") == 0;
    ak_real *x = bench_filled(conv_size_x(&g)), *w = bench_filled(conv_size_w(&g));
    ak_real *y = bench_filled(conv_size_y(&g));
    void *scratch = bench_filled((int64_t)(conv_scratch(&g) / sizeof(ak_real)) + 16);
    const conv_arrays passes[] = {
        [CONV_FORWARD] = { .x = x, .w = w, .y = y, .scratch = scratch },
        [CONV_DATA] = { .w = w, .dy = y, .dx = x, .scratch = scratch },
        [CONV_WEIGHT] = { .x = x, .dy = y, .dw = w, .scratch = scratch },
    };
    for (int pass = 0; pass < CONV_PASSES; pass++)
        seconds[pass] = time_pass(&g, (conv_pass)pass, &passes[pass]);
    free(x);
    free(w);
    free(y);
    free(scratch);
}

static void print_case(const conv_case *c, const double seconds[3], double peak, bool json)
{
    const ak__conv g = conv_geometry(c);
    const double flop = ak__conv_flops(&g);
    if (json) {
        printf("{\"name\": \"conv %s\", \"isa\": \"%s\", \"threads\": %d, \"peak\": %.2f", c->name,
               ak__k.isa, ak__max_threads(), peak * 1e-9);
        for (int p = 0; p < 3; p++)
            printf(", \"%s\": %.2f", conv_pass_names[p], flop / seconds[p] * 1e-9);
        printf("}\n");
        return;
    }
    printf("%-28s", c->name);
    for (int p = 0; p < 3; p++)
        printf(" %9.1f %5.1f%%", flop / seconds[p] * 1e-9, 100 * flop / seconds[p] / peak);
    printf(" %9.3f\n", (seconds[0] + seconds[1] + seconds[2]) * 1e3);
}

int main(int argc, char **argv)
{
    bench_options o = bench_arguments(argc, argv);
    if (!ak__kernels_init() || !ak__gemm_reserve(ak__max_threads()))
        bench_die("AK_CPU is no instruction set, or out of memory");
    static double seconds[CONV_CASES][CONV_PASSES];
    double peak = bench_peak();
    for (int i = 0; i < CONV_CASES; i++) {
        if (!bench_wanted(&o, conv_cases[i].name))
            continue;
        run_case(&conv_cases[i], seconds[i]);
        const double now = bench_peak();
        peak = now > peak ? now : peak;
    }
    if (!o.json)
        printf("%s, %d threads, peak %.1f GFLOP/s\n%-28s %16s %16s %16s %9s\n", ak__k.isa,
               ak__max_threads(), peak * 1e-9, "case", "forward GFLOP/s", "data", "weight",
               "all, ms");
    for (int i = 0; i < CONV_CASES; i++)
        if (seconds[i][0] > 0)
            print_case(&conv_cases[i], seconds[i], peak, o.json);
    bench_options_free(&o);
    return 0;
}
