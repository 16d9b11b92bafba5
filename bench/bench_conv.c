/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions: rate of the forward pass, the data and the weight gradient (counted as direct
 * convolution), share of the measured multiply-add peak, best of several runs.
 *
 *     bench_conv [--rows REGEX] [--json]
 *
 * AK_CPU and OMP_NUM_THREADS choose what is measured. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "bench/peak.h"
#include "tensor/conv.h"
#include "tensor/gemm.h"

#define RUNS 7

typedef struct conv_case {
    const char *name;
    int64_t N, side, I, O, kernel, stride, padding, groups;
} conv_case;

static const conv_case cases[] = {
    { "3x3 s1 32->32 28px n128", 128, 28, 32, 32, 3, 1, 1, 1 },
    { "3x3 s1 64->64 16px n128", 128, 16, 64, 64, 3, 1, 1, 1 },
    { "3x3 s1 128->128 8px n128", 128, 8, 128, 128, 3, 1, 1, 1 },
    { "3x3 s1 256->256 4px n128", 128, 4, 256, 256, 3, 1, 1, 1 },
    { "3x3 s1 64->64 32px n128", 128, 32, 64, 64, 3, 1, 1, 1 },
    { "3x3 s1 512->512 4px n128", 128, 4, 512, 512, 3, 1, 1, 1 },
    { "3x3 s2 64->128 16px n128", 128, 16, 64, 128, 3, 2, 1, 1 },
    { "1x1 64->128 16px n128", 128, 16, 64, 128, 1, 1, 0, 1 },
    { "7x7 s2 3->64 64px n32", 32, 64, 3, 64, 7, 2, 3, 1 },
    { "depthwise 3x3 64 28px n128", 128, 28, 64, 64, 3, 1, 1, 64 },
    { "3x3 s1 1->32 28px n256", 256, 28, 1, 32, 3, 1, 1, 1 },
    { "3x3 s1 3->64 32px n256", 256, 32, 3, 64, 3, 1, 1, 1 },
    { "3x3 s2 32->64 28px n512", 512, 28, 32, 64, 3, 2, 1, 1 },
    { "3x3 s2 64->128 14px n512", 512, 14, 64, 128, 3, 2, 1, 1 },
};

#define CASES ((int)(sizeof cases / sizeof cases[0]))

static ak__conv geometry_of(const conv_case *c)
{
    const int64_t out = ak__conv_extent(c->side, c->kernel, c->stride, c->padding, 1);
    return (ak__conv){ .N = c->N, .H = c->side, .W = c->side, .I = c->I, .OH = out, .OW = out,
                       .O = c->O, .kH = c->kernel, .kW = c->kernel, .sh = c->stride,
                       .sw = c->stride, .ph = c->padding, .pw = c->padding, .dh = 1, .dw = 1,
                       .groups = c->groups };
}

static const char *const pass_names[] = { "forward", "data", "weight" };

typedef struct arrays { ak_real *x, *w, *y; void *scratch; } arrays;

static void run_pass(const ak__conv *g, int pass, const arrays *a)
{
    if (pass == 0)
        ak__conv_forward(g, a->x, a->w, NULL, a->y, false, a->scratch);
    else if (pass == 1)
        ak__conv_data(g, a->y, a->w, NULL, a->x, false, a->scratch);
    else
        ak__conv_weight(g, a->x, a->y, a->w, false, a->scratch);
}

/* Seconds of one pass: best of RUNS. */
static double time_pass(const ak__conv *g, int pass, const arrays *a)
{
    const int repeats = (int)(3e8 / ak__conv_flops(g)) + 1;
    double best = 1e30;
    run_pass(g, pass, a);
    for (int run = 0; run < RUNS; run++) {
        const double start = bench_seconds();
        for (int r = 0; r < repeats; r++)
            run_pass(g, pass, a);
        const double each = (bench_seconds() - start) / repeats;
        best = each < best ? each : best;
    }
    return best;
}

static ak_real *filled(int64_t n)
{
    ak_real *x = aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (ak_real)(i * 2654435761 % 1024) / 1024 - (ak_real)0.5;
    return x;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* False: out of memory. */
static bool run_case(const conv_case *c, double seconds[3])
{
    const ak__conv g = geometry_of(c);
    const size_t scratch = largest(ak__conv_forward_scratch(&g),
                                   largest(ak__conv_data_scratch(&g), ak__conv_weight_scratch(&g)));
    const arrays a = {
        .x = filled(g.N * g.H * g.W * g.I), .w = filled(g.O * g.kH * g.kW * g.I / g.groups),
        .y = filled(g.N * g.OH * g.OW * g.O),
        .scratch = filled((int64_t)(scratch / sizeof(ak_real)) + 16),
    };
    const bool ok = a.x && a.w && a.y && a.scratch;
    for (int pass = 0; ok && pass < 3; pass++)
        seconds[pass] = time_pass(&g, pass, &a);
    free(a.x);
    free(a.w);
    free(a.y);
    free(a.scratch);
    return ok;
}

static void print_case(const conv_case *c, const double seconds[3], double peak, bool json)
{
    const ak__conv g = geometry_of(c);
    const double flop = ak__conv_flops(&g);
    if (json) {
        printf("{\"name\": \"conv %s\", \"isa\": \"%s\", \"threads\": %d, \"peak\": %.2f", c->name,
               ak__k.isa, ak__max_threads(), peak * 1e-9);
        for (int p = 0; p < 3; p++)
            printf(", \"%s\": %.2f", pass_names[p], flop / seconds[p] * 1e-9);
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
            fprintf(stderr, "usage: bench_conv [--rows REGEX] [--json]\n");
            return 2;
        }
    }
    if (!ak__kernels_init() || !ak__gemm_reserve(ak__max_threads())) {
        fprintf(stderr, "bench_conv: AK_CPU is no instruction set, or out of memory\n");
        return 2;
    }
    static double seconds[CASES][3];
    double peak = bench_peak();
    for (int i = 0; i < CASES; i++) {
        if (filtered && regexec(&rows, cases[i].name, 0, NULL, 0) != 0)
            continue;
        if (!run_case(&cases[i], seconds[i])) {
            fprintf(stderr, "bench_conv: out of memory\n");
            return 1;
        }
        const double now = bench_peak();
        peak = now > peak ? now : peak;
    }
    if (!json)
        printf("%s, %d threads, peak %.1f GFLOP/s\n%-28s %16s %16s %16s %9s\n", ak__k.isa,
               ak__max_threads(), peak * 1e-9, "case", "forward GFLOP/s", "data", "weight",
               "all, ms");
    for (int i = 0; i < CASES; i++)
        if (seconds[i][0] > 0)
            print_case(&cases[i], seconds[i], peak, json);
    if (filtered)
        regfree(&rows);
    return 0;
}
