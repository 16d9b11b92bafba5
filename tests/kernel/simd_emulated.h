/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 instructions in C, through SIMDe, so that the AVX-512 kernels can be tested on any
 * machine. Below is what SIMDe 0.7 lacks. */
#ifndef AK_SIMD_EMULATED_H
#define AK_SIMD_EMULATED_H

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#endif
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu8_epi32
#undef _mm512_extractf32x8_ps
#undef _mm512_mask_blend_ps
#undef _mm512_shuffle_f32x4
#undef _mm512_stream_ps
#undef _mm512_rsqrt14_ps
#undef _mm512_fpclass_ps_mask
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm512_extractf32x8_ps emulated_extractf32x8_ps
#define _mm512_mask_blend_ps emulated_mask_blend_ps
#define _mm512_shuffle_f32x4 emulated_shuffle_f32x4
#define _mm512_stream_ps emulated_stream_ps
#define _mm512_rsqrt14_ps emulated_rsqrt14_ps
#define _mm512_fpclass_ps_mask emulated_fpclass_ps_mask

static inline __m512 emulated_maskz_loadu_ps(__mmask16 m, const float *p)
{
    float x[16] = {0};
    for (int i = 0; i < 16; i++)
        if (m >> i & 1)
            x[i] = p[i];
    return _mm512_loadu_ps(x);
}

static inline void emulated_mask_storeu_ps(float *p, __mmask16 m, __m512 v)
{
    float x[16];
    _mm512_storeu_ps(x, v);
    for (int i = 0; i < 16; i++)
        if (m >> i & 1)
            p[i] = x[i];
}

static inline __m512 emulated_mask_blend_ps(__mmask16 m, __m512 a, __m512 b)
{
    float x[16], y[16];
    _mm512_storeu_ps(x, a);
    _mm512_storeu_ps(y, b);
    for (int i = 0; i < 16; i++)
        if (m >> i & 1)
            x[i] = y[i];
    return _mm512_loadu_ps(x);
}

/* Quarters of a, a, b, b: two bits of `which` each. */
static inline __m512 emulated_shuffle_f32x4(__m512 a, __m512 b, int which)
{
    float x[2][16], y[16];
    _mm512_storeu_ps(x[0], a);
    _mm512_storeu_ps(x[1], b);
    for (int q = 0; q < 4; q++)
        memcpy(y + 4 * q, x[q / 2] + 4 * (which >> 2 * q & 3), 4 * sizeof *y);
    return _mm512_loadu_ps(y);
}

/* Traps where the instruction would: at an address that is not a multiple of 64. */
static inline void emulated_stream_ps(float *p, __m512 v)
{
    if ((uintptr_t)p % 64 != 0)
        __builtin_trap();
    _mm512_storeu_ps(p, v);
}

static inline __m512 emulated_cvtepi32_ps(__m512i v)
{
    int32_t x[16];
    float y[16];
    _mm512_storeu_si512(x, v);
    for (int i = 0; i < 16; i++)
        y[i] = (float)x[i];
    return _mm512_loadu_ps(y);
}

static inline __m512i emulated_cvtepu8_epi32(__m128i v)
{
    uint8_t x[16];
    int32_t y[16];
    memcpy(x, &v, sizeof x);
    for (int i = 0; i < 16; i++)
        y[i] = x[i];
    return _mm512_loadu_si512(y);
}

/* An estimate as the instruction's: 2^-15 off. */
static inline __m512 emulated_rsqrt14_ps(__m512 v)
{
    float x[16];
    _mm512_storeu_ps(x, v);
    for (int i = 0; i < 16; i++)
        x[i] = 1.00003F / sqrtf(x[i]);
    return _mm512_loadu_ps(x);
}

/* The kinds 1 (0), 2 (-0) and 3 (infinity) only. */
static inline __mmask16 emulated_fpclass_ps_mask(__m512 v, int kinds)
{
    float x[16];
    __mmask16 m = 0;
    _mm512_storeu_ps(x, v);
    for (int i = 0; i < 16; i++) {
        const int kind = x[i] == 0 ? (signbit(x[i]) ? 4 : 2) : x[i] == INFINITY ? 8 : 0;
        m |= (__mmask16)((kind & kinds) != 0) << i;
    }
    return m;
}

static inline __m256 emulated_extractf32x8_ps(__m512 v, int half)
{
    float x[16];
    _mm512_storeu_ps(x, v);
    return _mm256_loadu_ps(x + 8 * half);
}

#endif
