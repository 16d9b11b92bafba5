/* SPDX-License-Identifier: Apache-2.0 */
/* Whole training steps on drawn numbers: time, views a second, memory, allocations.
 *
 *     bench_step [--rows REGEX] [--json]
 *
 * Each row: the median of the timed steps, the peak of the step's memory, system allocations in
 * all timed steps together (must be 0), growth of resident memory between the first timed step
 * and the last. AK_CPU and OMP_NUM_THREADS choose what is measured; AK_STEPS how many steps. */
#include <akin/akin.h>

#include "base/base.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 100000 };

typedef struct step_case {
    const char *name;
    int         views;          /* pictures or rows a step */
    int         steps;
    void      (*build)(ak_ctx *ctx);
    ak_tensor *(*loss)(ak_ctx *ctx);
} step_case;

static ak_module *encoder, *head;
static ak_tensor *input, *target;

static ak_tensor *contrast(ak_ctx *ctx)
{
    (void)ctx;
    ak_tensor *z = ak_forward(head, ak_forward(encoder, input));
    int64_t    N = z->shape.dims[0] / 2;
    return ak_loss_ntxent(ak_rows(z, 0, N), ak_rows(z, N, N), (ak_ntxent_options){ .tau = 0.5 });
}

static void build_convnet(ak_ctx *ctx)
{
    input = ak_keep(ak_randn(ctx, AK_SHAPE(512, 28, 28, 1)));
    encoder = ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 32, 64, 128 },
                                                               .pool = 1 });
    head = ak_mlp(ctx, "projector", (int[]){ 128, 128, 64, 0 });
}

static void build_quickstart(ak_ctx *ctx)
{
    input = ak_keep(ak_randn(ctx, AK_SHAPE(512, 28, 28, 1)));
    encoder = ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 32, 64, 128 },
                                                               .pool = 4 });
    head = ak_mlp(ctx, "projector", (int[]){ 2048, 128, 64, 0 });
}

static void build_resnet(ak_ctx *ctx)
{
    input = ak_keep(ak_randn(ctx, AK_SHAPE(256, 32, 32, 3)));
    encoder = ak_resnet18(ctx, "encoder", (ak_resnet_options){ 0 });
    head = ak_mlp(ctx, "projector", (int[]){ 512, 512, 128, 0 });
}

static void build_mlp(ak_ctx *ctx)
{
    input = ak_keep(ak_randn(ctx, AK_SHAPE(32, 64)));
    target = ak_keep(ak_randn(ctx, AK_SHAPE(32, 64)));
    head = ak_mlp(ctx, "mlp", (int[]){ 64, 128, 64, 0 });
}

static ak_tensor *regress(ak_ctx *ctx)
{
    (void)ctx;
    return ak_mse(ak_forward(head, input), target);
}

static void build_tiny(ak_ctx *ctx)
{
    input = ak_param(ctx, "x", AK_SHAPE(16), 0);
}

/* 1,000 ops of 16 numbers in a chain: the row's time / 1,000 is what one op costs. */
static ak_tensor *chain(ak_ctx *ctx)
{
    (void)ctx;
    ak_tensor *y = input;
    for (int i = 0; i < 1000; i++)
        y = ak_scale(y, 1.0001);
    return ak_sum(y);
}

static const step_case cases[] = {
    { "tiny op x 1000, forward + backward", 1, 500, build_tiny, chain },
    { "mlp 64-128-64 b32", 32, 2000, build_mlp, regress },
    { "simclr convnet 32-64-128 28px b256", 512, 15, build_convnet, contrast },
    { "simclr quickstart net 28px b256", 512, 15, build_quickstart, contrast },
    { "simclr resnet18 32px b128", 256, 3, build_resnet, contrast },
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Resident memory in KiB; 0 where the system does not tell. */
static long resident_kib(void)
{
    long  pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * 4;
}

static void run(const step_case *c, bool json)
{
    static double times[MAX_STEPS];
    ak_ctx   *ctx = ak_open((ak_options){ .seed = 1 });
    c->build(ctx);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 1e-3 });
    ak_step_end(ctx);
    int steps = (int)ak_env_int(ctx, "AK_STEPS", c->steps), warm = 2;
    if (steps > MAX_STEPS)
        steps = MAX_STEPS;
    uint64_t mallocs = 0;
    long     resident = 0;
    for (int s = -warm; s < steps; s++) {
        if (s == 0) {
            mallocs = ak_malloc_count();
            resident = resident_kib();
        }
        double     start = ak__now();
        ak_tensor *loss = c->loss(ctx);
        ak_backward(loss);
        ak_optim_step(opt);
        ak_step_end(ctx);
        if (s >= 0)
            times[s] = 1e3 * (ak__now() - start);
    }
    mallocs = ak_malloc_count() - mallocs;
    resident = resident_kib() - resident;
    qsort(times, (size_t)steps, sizeof *times, by_value);
    double ms = times[steps / 2], peak = 1e-6 * (double)ak_memory_use(ctx).step_peak;
    if (json)
        printf("{\"row\": \"step %s\", \"ms\": %.5f, \"best_ms\": %.5f, \"peak_mb\": %.1f, "
               "\"mallocs\": %llu, \"grown_kib\": %ld}\n", c->name, ms, times[0], peak,
               (unsigned long long)mallocs, resident);
    else
        printf("%-38s %9.3f ms  best %9.3f  %8.0f views/s  peak %7.1f MB  mallocs %llu  rss +%ld "
               "KiB  (%d steps, %s, %d threads)\n", c->name, ms, times[0], 1e3 * c->views / ms,
               peak, (unsigned long long)mallocs, resident, steps, ak_cpu_name(), ak_threads());
    fflush(stdout);
    ak_close(ctx);
}

int main(int argc, char **argv)
{
    const char *rows = ".";
    bool        json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc) {
            rows = argv[++i];
        } else {
            fprintf(stderr, "usage: bench_step [--rows REGEX] [--json]\n");
            return 1;
        }
    }
    regex_t re;
    if (regcomp(&re, rows, REG_EXTENDED | REG_NOSUB) != 0) {
        fprintf(stderr, "bench_step: \"%s\" is no regular expression\n", rows);
        return 1;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (regexec(&re, cases[i].name, 0, NULL, 0) == 0)
            run(&cases[i], json);
    regfree(&re);
    return 0;
}
