/* SPDX-License-Identifier: Apache-2.0 */
/* Compares every kernel of every instruction set with the reference, and times them.
 *
 *     kernelcheck [--list] [--filter REGEX] [--seed N] [--bench] [--ulp]
 *
 * Each array ends at a page that must not be touched, or begins at an odd place between sentinels
 * that must stay; lengths are 0 to 130; values are random, then with NaN, infinities, denormals,
 * -0. A result may differ from the reference by a multiple of the rounding unit times the sum of
 * the absolute values of what was added; the elementary functions by their stated bound in ulp.
 * --ulp measures those bounds over every seventh float (minutes). */
#include "check.h"
#ifdef AK_HAVE_SIMD
#include "split_emulated.h"
#endif

#include <math.h>
#include <regex.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

long checks_passed, checks_failed;
static regex_t filter;
static bool filter_on;

bool wanted(const char *name)
{
    return !filter_on || regexec(&filter, name, 0, NULL, 0) == 0;
}

void check_result(bool ok, const char *isa, const char *format, ...)
{
    if (ok) {
        checks_passed++;
        return;
    }
    if (checks_failed++ < 40) {
        va_list args;
        va_start(args, format);
        printf("FAIL %s: ", isa);
        vprintf(format, args);
        printf("\n");
        va_end(args);
    }
}

/* ---- random values -------------------------------------------------------------------------- */

static uint64_t random_state;

uint64_t random_bits(void)
{
    random_state += 0x9e3779b97f4a7c15U;    /* splitmix64 */
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

float random_float(void)
{
    const double u = (double)(random_bits() >> 11) * 0x1p-53;
    return (float)(2 * u - 1) * (random_bits() % 4 == 0 ? 10.0F : 1.0F);
}

void fill(float *x, int64_t n, fill_kind kind)
{
    static const float odd[] = {0.0F, -0.0F, INFINITY, -INFINITY, NAN, 1.0F, 1e-40F, -1e-45F};
    const uint64_t kinds = kind == FILL_ODD ? 8 : kind == FILL_NO_DENORMALS ? 6 : 2;
    for (int64_t i = 0; i < n; i++) {
        x[i] = random_float();
        if (kind != FILL_PLAIN && random_bits() % 8 == 0)
            x[i] = odd[random_bits() % kinds];
        if (kind == FILL_POSITIVE)
            x[i] = fabsf(x[i]);
    }
}

/* ---- guarded arrays ------------------------------------------------------------------------- */

#define SENTINEL 0x7fc0beefU                /* a NaN of our own: if it is used, that shows too */
#define MARGIN 64

/* Mappings are kept for the next array of the same size: making one is slow. */
#define KEPT 128
static struct { char *map; size_t bytes; } kept_maps[KEPT];

static char *map_new(size_t body, size_t page)
{
    for (int i = 0; i < KEPT; i++) {
        if (kept_maps[i].map && kept_maps[i].bytes == body + page) {
            char *map = kept_maps[i].map;
            kept_maps[i].map = NULL;
            return map;
        }
    }
    char *map = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + body, page, PROT_NONE) != 0) {
        fprintf(stderr, "kernelcheck: mmap failed\n");
        exit(2);
    }
    return map;
}

static void map_free(char *map, size_t bytes)
{
    for (int i = 0; i < KEPT; i++) {
        if (!kept_maps[i].map) {
            kept_maps[i].map = map;
            kept_maps[i].bytes = bytes;
            return;
        }
    }
    munmap(map, bytes);
}

guarded guarded_new(int64_t n, int placement)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t bytes = (size_t)n * sizeof(float);
    size_t body = page;                     /* in powers of two, so that few sizes occur */
    while (body < bytes + 2 * MARGIN * sizeof(float))
        body *= 2;
    char *map = map_new(body, page);
    for (size_t i = 0; i < body / sizeof(float); i++) {
        const uint32_t s = SENTINEL;
        memcpy(map + i * sizeof(float), &s, sizeof s);
    }
    guarded g = {.map = map, .bytes = body + page, .n = n};
    g.x = placement == 0 ? (float *)(void *)(map + body - bytes)
                         : (float *)(void *)map + MARGIN / 2 + placement;
    return g;
}

/* True if nothing beside the array was written. */
bool guarded_free(guarded g)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const float *all = (const float *)(const void *)g.map;
    const int64_t count = (int64_t)((g.bytes - page) / sizeof(float));
    const int64_t from = g.x - all;
    bool ok = true;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &all[i], sizeof bits);
        if ((i < from || i >= from + g.n) && bits != SENTINEL)
            ok = false;
    }
    map_free(g.map, g.bytes);
    return ok;
}

/* ---- comparison ----------------------------------------------------------------------------- */

bool near_enough(float got, float want, double tolerance)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got))
        return got == want || !(tolerance < (double)FLT_MAX / 4);
    if (!isfinite(tolerance))               /* an infinity that the result does not see */
        tolerance = 1e-5 * fabs((double)want);
    return fabs((double)got - (double)want) <= tolerance + 4e-45;
}

double ulp_error(float got, double want)
{
    const float w = (float)want;
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : 1e9;
    if (isinf(w) || isinf(got))
        return got == w ? 0 : (fabs(want) > 3.4028e38 && fabsf(got) > 3.4028e38F) ? 1 : 1e9;
    int e;
    (void)frexp(want, &e);
    const double unit = ldexp(1.0, (e < -125 ? -125 : e) - 24);
    return fabs((double)got - want) / unit;
}

/* ---- instruction sets ----------------------------------------------------------------------- */

int isa_tables(isa_table out[MOST_TABLES])
{
    int n = 0;
    for (int l = AK__REF; l < AK__LEVELS; l++) {
        out[n].name = ak__level_name((ak__level)l);
        out[n].emulated = out[n].split_only = false;
        if (ak__kernels_fill(&out[n].table, (ak__level)l))
            n++;
    }
#ifdef AK_CHECK_EMULATED
    if (ak__kernels_fill(&out[n].table, AK__AVX2)) {
        out[n].name = "avx512 (emulated)";
        out[n].emulated = true;
        out[n].split_only = false;
        ak__kernels_avx512_emulated(&out[n].table);
        ak__kernels_gemm_avx512_emulated(&out[n].table);
        n++;
    }
#endif
#ifdef AK_HAVE_SIMD
    const ak__level level = ak__cpu_level() < AK__AVX512 ? ak__cpu_level() : AK__AVX512;
    if (ak__kernels_fill(&out[n].table, level) && split_emulated_fill(&out[n].table)) {
        out[n].name = "amx (emulated)";
        out[n].emulated = out[n].split_only = true;
        n++;
    }
#endif
    return n;
}

static void list_names(void)
{
    for (int i = 0; ak__kernel_at(i); i++)
        printf("%s\n", ak__kernel_at(i)->name);
    printf("gemm\ngemm_threads\ngemm_batched\n");
}

static int usage(void)
{
    fprintf(stderr,
            "usage: kernelcheck [--list] [--filter REGEX] [--seed N] [--bench] [--ulp]\n");
    return 2;
}

int main(int argc, char **argv)
{
    bool bench = false, ulp = false;
    uint64_t seed = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            list_names();
            return 0;
        } else if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else if (strcmp(argv[i], "--ulp") == 0) {
            ulp = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            if (regcomp(&filter, argv[++i], REG_EXTENDED | REG_NOSUB) != 0)
                return usage();
            filter_on = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 10);
        } else {
            return usage();
        }
    }
    if (!ak__kernels_init() || !ak__gemm_reserve(4)) {
        fprintf(stderr, "kernelcheck: AK_CPU is no instruction set, or out of memory\n");
        return 2;
    }
    isa_table isas[MOST_TABLES];
    const int count = isa_tables(isas);
    if (bench) {
        bench_kernels(isas, count);
        return 0;
    }
    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < count; i++) {
        const long before = checks_passed + checks_failed;
        random_state = seed;            /* the same numbers, whatever levels the machine has */
        if (ulp) {
            if (i > 0)
                measure_ulp(&isas[i]);
            continue;
        }
        check_gemm(&isas[i]);
        check_split_operands(&isas[i]);
        if (isas[i].split_only) {
            printf("%-18s %ld checks\n", isas[i].name, checks_passed + checks_failed - before);
            continue;
        }
        check_entries(&isas[0].table, &isas[i]);
        check_fft(&isas[0].table, &isas[i]);
        check_taps(&isas[i]);
        check_winograd(&isas[0].table, &isas[i]);
        printf("%-18s %ld checks\n", isas[i].name, checks_passed + checks_failed - before);
    }
    printf("%ld checks passed, %ld failed\n", checks_passed, checks_failed);
    return checks_failed == 0 ? 0 : 1;
}
