/* SPDX-License-Identifier: Apache-2.0 */
/* What benchmarks share: the clock, command lines, filled arrays, medians. Errors end the program:
 * a benchmark that lacks memory has nothing to say. */
#ifndef AK_BENCH_H
#define AK_BENCH_H

#include <akin/core.h>

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Seconds of a clock that only goes forward, or of the processor time of all threads. */
static inline double bench_clock(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline double bench_seconds(void) { return bench_clock(CLOCK_MONOTONIC); }
static inline double bench_cpu_seconds(void) { return bench_clock(CLOCK_PROCESS_CPUTIME_ID); }

static inline void bench_die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

/* ---- command line: [--rows REGEX] [--json] [--full] ----------------------------------------- */

typedef struct bench_options {
    bool    json, full, filtered;
    regex_t rows;
} bench_options;

static inline bench_options bench_arguments(int argc, char **argv)
{
    bench_options o = { 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o.json = true;
        } else if (strcmp(argv[i], "--full") == 0) {
            o.full = true;
        } else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc && !o.filtered &&
                   regcomp(&o.rows, argv[i + 1], REG_EXTENDED | REG_NOSUB) == 0) {
            o.filtered = true;
            i++;
        } else {
            fprintf(stderr, "usage: %s [--rows REGEX] [--json] [--full]\n", argv[0]);
            exit(2);
        }
    }
    return o;
}

static inline bool bench_wanted(const bench_options *o, const char *row)
{
    return !o->filtered || regexec(&o->rows, row, 0, NULL, 0) == 0;
}

static inline void bench_options_free(bench_options *o)
{
    if (o->filtered)
        regfree(&o->rows);
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* n numbers at a multiple of 64 bytes, in [-1, 1); free() them. */
static inline ak_real *bench_filled(int64_t n)
{
    ak_real *x = aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64);
    if (!x)
        bench_die("out of memory");
    uint32_t s = 12345;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525U + 1013904223U;
        x[i] = (ak_real)(s >> 8) * (ak_real)0x1p-23 - 1;
    }
    return x;
}

static inline int bench_by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x, so that x[0] is the best time afterwards. */
static inline double bench_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, bench_by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

#endif
