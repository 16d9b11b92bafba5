/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine can do: its multiply-add peak (independent multiply-adds in registers on all
 * threads at once, with the vectors that the kernels use) and its memory bandwidth. Machines are
 * shared: measure beside every case, the highest of a run counts. */
#ifndef AK_BENCH_PEAK_H
#define AK_BENCH_PEAK_H

#include "base/parallel.h"
#include "bench/bench.h"
#include "tensor/kernels/kernels.h"

#ifdef AK_HAVE_SIMD
#include <immintrin.h>
#endif

static volatile float bench_sink;

/* `n` rounds of twelve independent multiply-adds (enough to hide the latency) for the widest
 * vectors in use. Returns the multiply-adds done. */
#ifdef AK_HAVE_SIMD
__attribute__((target("avx512f"))) static inline double bench_spin_avx512(int64_t n)
{
    __m512 acc[12];
    const __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(0.001F);
    for (int j = 0; j < 12; j++)
        acc[j] = _mm512_set1_ps((float)j);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < 12; j++)
            acc[j] = _mm512_fmadd_ps(acc[j], x, y);
    for (int j = 1; j < 12; j++)
        acc[0] = _mm512_add_ps(acc[0], acc[j]);
    bench_sink = _mm512_cvtss_f32(acc[0]);
    return 12.0 * 16.0 * (double)n;
}

__attribute__((target("avx2,fma"))) static inline double bench_spin_avx2(int64_t n)
{
    __m256 acc[12];
    const __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(0.001F);
    for (int j = 0; j < 12; j++)
        acc[j] = _mm256_set1_ps((float)j);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < 12; j++)
            acc[j] = _mm256_fmadd_ps(acc[j], x, y);
    for (int j = 1; j < 12; j++)
        acc[0] = _mm256_add_ps(acc[0], acc[j]);
    bench_sink = _mm256_cvtss_f32(acc[0]);
    return 12.0 * 8.0 * (double)n;
}
#endif

static inline double bench_spin_ref(int64_t n)
{
    float acc[12];
    for (int j = 0; j < 12; j++)
        acc[j] = (float)j;
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < 12; j++)
            acc[j] = acc[j] * 0.999F + 0.001F;
    for (int j = 1; j < 12; j++)
        acc[0] += acc[j];
    bench_sink = acc[0];
    return 12.0 * (double)n;
}

static inline double bench_spin(int64_t n)
{
#ifdef AK_HAVE_SIMD
    if (strcmp(ak__k.isa, "avx512") == 0 || strcmp(ak__k.isa, "amx") == 0)
        return bench_spin_avx512(n);
    if (strcmp(ak__k.isa, "avx2") == 0)
        return bench_spin_avx2(n);
#endif
    return bench_spin_ref(n);
}

/* Operations per second of all threads. */
static inline double bench_peak(void)
{
    double best = 0;
    for (int run = 0; run < 5; run++) {
        double work = 0;
        const double start = bench_seconds();
#ifdef _OPENMP
#pragma omp parallel reduction(+ : work)
#endif
        work += bench_spin(200000);
        const double rate = 2 * work / (bench_seconds() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* The same in one burst of a tenth of a millisecond: the peak at the clock that what ran just
 * before has left, which is lower the more power that took. Clocks follow within milliseconds. */
static inline double bench_peak_here(void)
{
    double rate = 0;
#ifdef _OPENMP
#pragma omp parallel reduction(+ : rate)
#endif
    {
        (void)bench_spin(1000);             /* all threads are awake */
        const double start = bench_seconds();
        const double work = bench_spin(24000);
        rate += 2 * work / (bench_seconds() - start);
    }
    return rate;
}

/* Bytes per second of a = a + s b on all threads, two arrays of n numbers each: what is counted (a
 * twice, b once) is what moves, since a has to be fetched anyway. 0 without memory. */
static inline double bench_bandwidth(int64_t n)
{
    ak_real *a = aligned_alloc(64, (size_t)n * sizeof *a);
    ak_real *b = aligned_alloc(64, (size_t)n * sizeof *b);
    const int repeats = n < 1 << 22 ? (int)((1 << 24) / n) : 4;
    double best = 0;
    if (a && b) {
        AK__PARALLEL_FOR(i, n, true)
            a[i] = b[i] = 1;
        for (int run = 0; run < 5; run++) {
            const double start = bench_seconds();
            for (int r = 0; r < repeats; r++) {
                AK__PARALLEL_FOR(i, n, true)
                    a[i] += (ak_real)0.5 * b[i];
            }
            const double rate = 3.0 * sizeof *a * (double)n * repeats / (bench_seconds() - start);
            best = rate > best ? rate : best;
            bench_sink = (float)a[run];
        }
    }
    free(a);
    free(b);
    return best;
}

#endif
