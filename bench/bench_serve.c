/* SPDX-License-Identifier: Apache-2.0 */
/* Our side of the comparison: measures rows on request (bench/compare.py asks, and asks the peer
 * for the same in turn).
 *
 *     bench_serve                         requests on standard input, an answer in JSON to each
 *     bench_serve --memory ROW CONFIG     two runs of a row (one if it is long), then the most
 *                                         memory ever resident beyond the start of the program
 *
 * Requests are lines; their parts are separated by tabs:
 *     list                    names of all rows
 *     machine                 instruction set, threads, multiply-add peak, memory bandwidth
 *     peak                    the multiply-add peak now, to judge what was just measured
 *     open ROW PATH           make a row; PATH, if not empty, is where shared arrays are written
 *     time CONFIG SECONDS     run it for that long (at least once): median and best in ms, and of
 *                             rows of multiply-adds the peak at the clock they ran at
 *
 * AK_CPU and OMP_NUM_THREADS choose what is measured. */
#include "bench/peak.h"
#include "bench/rows.h"

#define SAMPLES 4000
/* Runs are timed together until they take so long. */
#define LEAST_SECONDS 20e-6
/* How often the peak is measured after how long a time of the row's own work. */
#define BURSTS       5
#define BEFORE_BURST 5e-3

static bench_table table;

static void fill_table(void)
{
    rows_gemm(&table);
    rows_conv(&table);
    rows_op(&table);
    rows_attention(&table);
    rows_loss(&table);
    rows_optim(&table);
    rows_step(&table);
    rows_sequence(&table);
    rows_view(&table);
}

/* ---- the row that is open ------------------------------------------------------------------- */

static bench_job job;

static void close_job(void)
{
    ak_close(job.ctx);
    free(job.state);
    job = (bench_job){ 0 };
}

static bool open_job(const char *name)
{
    const bench_row *row = bench_table_find(&table, name);
    close_job();
    if (!row)
        return false;
    job.ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    if (!job.ctx)
        bench_die("out of memory");
    row->open(&job, row);
    return true;
}

static void share_to(const char *path)
{
    static bench_archive archive;
    archive = (bench_archive){ .ctx = job.ctx };
    job.share(&job, &archive);
    if (ak_npz_write_arrays(job.ctx, path, archive.arrays, archive.n, false) != AK_OK)
        bench_die("the shared arrays can not be written");
}

static double timed(int repeats)
{
    if (job.prepare)
        job.prepare(&job);
    const double start = bench_seconds();
    for (int i = 0; i < repeats; i++)
        job.run(&job);
    return (bench_seconds() - start) / repeats;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void answer_list(void)
{
    printf("{\"rows\": [");
    for (int i = 0; i < table.n; i++)
        printf("%s\"%s\"", i ? ", " : "", table.rows[i].name);
    printf("]}\n");
}

static void answer_machine(void)
{
    static const int64_t megabytes[] = { 1, 16, 128 };      /* an array; two are in use */
    printf("{\"isa\": \"%s\", \"threads\": %d, \"gflops\": %.2f, \"bandwidth\": {", ak_cpu_name(),
           ak_threads(), 1e-9 * bench_peak());
    for (int i = 0; i < BENCH_COUNT(megabytes); i++)
        printf("%s\"%lld\": %.2f", i ? ", " : "", (long long)megabytes[i],
               1e-9 * bench_bandwidth((megabytes[i] << 20) / (int64_t)sizeof(ak_real)));
    printf("}}\n");
}

static void answer_peak(void)
{
    printf("{\"gflops\": %.2f}\n", 1e-9 * bench_peak());
}

static void answer_open(const char *name, const char *path)
{
    if (!open_job(name)) {
        printf("{\"error\": \"there is no such row\"}\n");
        return;
    }
    const bool shared = *path && job.share;
    if (shared)
        share_to(path);
    printf("{\"shared\": %s, \"divide\": %.0f, \"work\": %.0f, \"flops\": %.0f, \"bytes\": %.0f, "
           "\"configs\": [", shared ? "true" : "false", job.divide > 0 ? job.divide : 1, job.work,
           job.flops, job.bytes);
    for (int i = 0; job.configs && job.configs[i]; i++)
        printf("%s\"%s\"", i ? ", " : "", job.configs[i]);
    printf("]}\n");
}

/* False: no such configuration. No name is the first. */
static bool choose(const char *config)
{
    job.config = 0;
    if (!job.configs || !*config)
        return !*config;
    while (job.configs[job.config] && strcmp(job.configs[job.config], config) != 0)
        job.config++;
    return job.configs[job.config] != NULL;
}

static void answer_time(const char *config, double seconds)
{
    if (!job.run || !choose(config)) {
        printf("{\"error\": \"no row is open, or it has no such configuration\"}\n");
        return;
    }
    static double samples[SAMPLES];
    double peaks[BURSTS];
    const double start = bench_seconds(), first = timed(1);
    int n = 0, repeats = 1;
    if (first > seconds) {      /* long ones: the first counts, the last turn was its warm-up */
        samples[n++] = first;
    } else if (!job.prepare && first < LEAST_SECONDS) {
        repeats = (int)(LEAST_SECONDS / (first > 1e-9 ? first : 1e-9)) + 1;
    }
    while (n < SAMPLES && (n == 0 || bench_seconds() - start < seconds))
        samples[n++] = timed(repeats);
    int bursts = 0;
    for (; job.work > 0 && bursts < BURSTS; bursts++) {
        (void)timed((int)(BEFORE_BURST / (first > 1e-9 ? first : 1e-9)) + 1);
        peaks[bursts] = bench_peak_here();
    }
    const double scale = 1e3 / (job.divide > 0 ? job.divide : 1), median = bench_median(samples, n);
    printf("{\"ms\": %.9g, \"best\": %.9g, \"runs\": %d, \"gflops\": %.2f}\n", scale * median,
           scale * samples[0], n * repeats, bursts ? 1e-9 * bench_median(peaks, bursts) : 0);
}

/* The next part of a request; "" if there is none. */
static char *part(char **rest)
{
    char *p = *rest, *end = strchr(p, '\t');
    *rest = end ? end + 1 : p + strlen(p);
    if (end)
        *end = 0;
    return p;
}

static void answer(char *line)
{
    line[strcspn(line, "\n")] = 0;
    char *rest = line;
    const char *what = part(&rest), *a = part(&rest), *b = part(&rest);
    if (strcmp(what, "list") == 0)
        answer_list();
    else if (strcmp(what, "machine") == 0)
        answer_machine();
    else if (strcmp(what, "peak") == 0)
        answer_peak();
    else if (strcmp(what, "open") == 0)
        answer_open(a, b);
    else if (strcmp(what, "time") == 0)
        answer_time(a, strtod(b, NULL));
    else
        printf("{\"error\": \"there is no such request\"}\n");
    fflush(stdout);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* "VmRSS:", "VmHWM:" of this process in MB; 0 where the system does not tell. */
static double resident_mb(const char *field)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtod(line + strlen(field), NULL);
    if (f)
        fclose(f);
    return kib * 1024e-6;
}

static int memory(const char *row, const char *config)
{
    const double start = resident_mb("VmRSS:");
    if (!open_job(row) || !choose(config)) {
        printf("{\"error\": \"there is no such row or configuration\"}\n");
        return 2;
    }
    /* What grows from run to run shows in the second, which minutes of work can do without. */
    if (timed(1) < 10)
        timed(1);
    printf("{\"mb\": %.2f}\n", resident_mb("VmHWM:") - start);
    close_job();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 1 && (argc != 4 || strcmp(argv[1], "--memory") != 0)) {
        fprintf(stderr, "usage: bench_serve [--memory ROW CONFIG]\n");
        return 2;
    }
    fill_table();
    if (argc == 4)
        return memory(argv[2], argv[3]);
    /* The first context chooses the kernels; the requests need them. */
    ak_close(ak_open((ak_options){ .quiet = true }));
    char line[1024];
    while (fgets(line, sizeof line, stdin))
        answer(line);
    close_job();
    return 0;
}
