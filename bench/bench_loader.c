/* SPDX-License-Identifier: Apache-2.0 */
/* Views per second of each augmentation and of all together, through the loader, normalised, for
 * 28x28 grey and 32x32 colour pictures. One line a case: name, size, views per second of one core
 * (by processor time, so that other programs do not count) and by the clock; best of 5.
 */
#include <akin/data.h>

#include "bench/bench.h"

#define RUNS 5

static ak_dataset *noise(ak_ctx *ctx, int64_t count, int64_t side, int64_t channels)
{
    const int64_t n = count * side * side * channels;
    uint8_t      *x = malloc((size_t)n);
    if (!x)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        x[i] = (uint8_t)(ak_random_u32(1, 1, (uint64_t)i) >> 24);
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(count, side, side, channels), NULL);
    free(x);
    return ds;
}

static void bench(ak_ctx *ctx, const char *name, ak_dataset *ds, const ak_augment *list,
                  int threads)
{
    ak_loader *loader = ak_loader_open(ds, (ak_loader_options){
        .batch = 256, .views = 2, .augment = list, .threads = threads });
    const double   views = 2.0 * 256 * (double)ak_loader_batches(loader);
    const ak_shape s = ak_dataset_item(ds);
    double         best_cpu = 1e30, best_clock = 1e30;
    for (int run = 0; run < RUNS; run++) {
        const double cpu = bench_cpu_seconds(), start = bench_seconds();
        for (ak_batch b; ak_loader_next(loader, &b); )
            ak_step_end(ctx);
        const double seconds = bench_seconds() - start;
        const double cpu_used = bench_cpu_seconds() - cpu;
        best_cpu = cpu_used < best_cpu ? cpu_used : best_cpu;
        best_clock = seconds < best_clock ? seconds : best_clock;
    }
    printf("loader %-16s %2lldx%lldx%lld  threads %d  %8.0f views/s/core  %6.2f us  %8.0f views/s"
           "\n",
           name, (long long)s.dims[0], (long long)s.dims[1], (long long)s.dims[2],
           threads == AK_NONE ? 0 : threads, views / best_cpu, 1e6 * best_cpu / views,
           views / best_clock);
    fflush(stdout);
    ak_loader_close(loader);
}

int main(void)
{
    ak_ctx     *ctx = ak_open((ak_options){ .seed = 1, .threads = 1 });
    ak_dataset *grey = noise(ctx, 2560, 28, 1), *color = noise(ctx, 2560, 32, 3);
    const ak_augment one[][2] = {
        { ak_random_crop(0.3, 1), { 0 } },      { ak_random_flip(0.5), { 0 } },
        { ak_color_jitter(0.4, 0.4, 0.4, 0.1, 0.8), { 0 } }, { ak_random_gray(0.2), { 0 } },
        { ak_random_blur(0.1, 2, 0.5), { 0 } }, { ak_random_solarize(0.5, 0.2), { 0 } },
    };
    const ak_augment all[] = { one[0][0], one[1][0], one[2][0], one[3][0], one[4][0], one[5][0],
                               { 0 } };
    const double mean[] = { 0.49, 0.48, 0.45 }, std[] = { 0.25, 0.24, 0.26 };
    ak_dataset_normalize(grey, mean, std);
    ak_dataset_normalize(color, mean, std);
    bench(ctx, "nothing", grey, NULL, AK_NONE);
    bench(ctx, "nothing", color, NULL, AK_NONE);
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        bench(ctx, one[i][0].kind->name, grey, one[i], AK_NONE);
        bench(ctx, one[i][0].kind->name, color, one[i], AK_NONE);
    }
    for (int threads = AK_NONE; threads <= 2; threads += threads == AK_NONE ? 2 : 1) {
        bench(ctx, "all", grey, all, threads);
        bench(ctx, "all", color, all, threads);
    }
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
