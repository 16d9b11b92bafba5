/* SPDX-License-Identifier: Apache-2.0 */
/* Whole training steps on drawn numbers: time, views a second, memory, allocations.
 *
 *     bench_step [--rows REGEX] [--json]
 *
 * Each row: the median of the timed steps, the peak of the step's memory, system allocations in
 * all timed steps together (must be 0), growth of resident memory between the first timed step
 * and the last. AK_CPU and OMP_NUM_THREADS choose what is measured; AK_STEPS how many steps. */
#include <akin/akin.h>

#include "bench/bench.h"
#include "bench/recipes.h"

enum { MAX_STEPS = 100000 };

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

static void run(const recipe *c, bool json)
{
    static double times[MAX_STEPS];
    ak_ctx      *ctx = ak_open((ak_options){ .seed = 1 });
    recipe_state state = { .ctx = ctx };
    c->build(&state);
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
        double     start = bench_seconds();
        ak_tensor *loss = c->loss(&state);
        ak_backward(loss);
        ak_optim_step(opt);
        ak_step_end(ctx);
        if (s >= 0)
            times[s] = 1e3 * (bench_seconds() - start);
    }
    mallocs = ak_malloc_count() - mallocs;
    resident = resident_kib() - resident;
    double ms = bench_median(times, steps), peak = 1e-6 * (double)ak_memory_use(ctx).step_peak;
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
    bench_options o = bench_arguments(argc, argv);
    for (int i = 0; i < recipe_count; i++)
        if (bench_wanted(&o, recipes[i].name))
            run(&recipes[i], o.json);
    bench_options_free(&o);
    return 0;
}
