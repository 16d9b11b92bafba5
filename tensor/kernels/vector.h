/* SPDX-License-Identifier: Apache-2.0 */
/* One name for each vector operation, so that a kernel is written once and built per instruction
 * set. The including file defines AK__ISA (avx2 or avx512) and AK__VW (8 or 16) first.
 *
 * Everything is static inline: a function with external linkage here would exist in the build of
 * each instruction set, and the linker could pick the one the processor cannot run.
 *
 *   vf  floats      vi  32-bit integers      vm  a mask, one flag a lane
 */
#ifndef AK_VECTOR_H
#define AK_VECTOR_H

#include "kernels.h"

#ifdef AK_SIMD_EMULATED
#include "simd_emulated.h"
#else
#include <immintrin.h>
#endif

#define V_FN_(name, isa) name##_##isa
#define V_FN_X(name, isa) V_FN_(name, isa)
/* FN(dot) is dot_avx2 or dot_avx512. */
#define FN(name) V_FN_X(name, AK__ISA)

#define V_INLINE static inline __attribute__((always_inline, unused))

/* Unroll a loop of constant length whatever the level of optimisation asks. */
#ifdef __clang__
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 32")
#endif

#define VW AK__VW

#if AK__VW == 16

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

V_INLINE __mmask16 v_first(int n) { return (__mmask16)((1U << n) - 1U); }

V_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
/* The first n lanes, 0 <= n < VW; the others load as 0 and are not touched. */
V_INLINE vf v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
V_INLINE void v_store_n(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, v_first(n), x); }

/* Past the caches; p is aligned to a vector. Visible to other threads after v_fence. */
V_INLINE void v_store_past(float *p, vf x) { _mm512_stream_ps(p, x); }

V_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
V_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
/* The root to within a unit of the last place, or two. The exact instruction holds the unit that
 * divides for 18 cycles; an estimate of 1 / root and one step of Newton's leave it to divisions. */
V_INLINE vf v_sqrt_near(vf a)
{
    enum { ZERO_OR_INFINITE = 0x02 | 0x04 | 0x08 };  /* 0, -0, infinity: roots of themselves */
    const vf inverse = _mm512_rsqrt14_ps(a), root = _mm512_mul_ps(a, inverse);
    const vf half = _mm512_mul_ps(_mm512_set1_ps(0.5F), inverse);
    const vf near = v_fma(v_fnma(root, root, a), half, root);
    return _mm512_mask_blend_ps(_mm512_fpclass_ps_mask(a, ZERO_OR_INFINITE), near, a);
}
/* As the instruction: the second operand if either is NaN. */
V_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
V_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
V_INLINE vf v_and(vf a, vf b) { return _mm512_and_ps(a, b); }
V_INLINE vf v_andnot(vf a, vf b) { return _mm512_andnot_ps(a, b); }
V_INLINE vf v_or(vf a, vf b) { return _mm512_or_ps(a, b); }

V_INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V_INLINE vm v_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
V_INLINE vm v_is_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
V_INLINE vm v_none(void) { return 0; }
V_INLINE vm v_mask_or(vm a, vm b) { return (vm)(a | b); }
V_INLINE bool v_any(vm m) { return m != 0; }
/* m ? a : b;  m ? a : 0;  m ? 0 : a */
V_INLINE vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
V_INLINE vf v_keep(vm m, vf a) { return _mm512_maskz_mov_ps(m, a); }
V_INLINE vf v_drop(vm m, vf a) { return _mm512_maskz_mov_ps((vm)~m, a); }

V_INLINE vi v_bits(vf a) { return _mm512_castps_si512(a); }
V_INLINE vf v_from_bits(vi a) { return _mm512_castsi512_ps(a); }
V_INLINE vi v_set1_i(int x) { return _mm512_set1_epi32(x); }
V_INLINE vi v_add_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_INLINE vi v_sub_i(vi a, vi b) { return _mm512_sub_epi32(a, b); }
V_INLINE vi v_and_i(vi a, vi b) { return _mm512_and_si512(a, b); }
V_INLINE vi v_shift_left(vi a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
V_INLINE vf v_to_float(vi a) { return _mm512_cvtepi32_ps(a); }
V_INLINE vf v_from_u8(const uint8_t *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

V_INLINE __m256 v_low(vf a) { return _mm512_castps512_ps256(a); }
V_INLINE __m256 v_high(vf a) { return _mm512_extractf32x8_ps(a, 1); }
V_INLINE __m256 v_fold_add(vf a) { return _mm256_add_ps(v_low(a), v_high(a)); }
V_INLINE __m256 v_fold_max(vf a) { return _mm256_max_ps(v_low(a), v_high(a)); }

#else

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;

static const int32_t v_first_bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

V_INLINE __m256i v_first(int n)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(v_first_bits + 8 - n));
}

V_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
V_INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
/* The first n lanes, 0 <= n < VW; the others load as 0 and are not touched. */
V_INLINE vf v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_first(n)); }
V_INLINE void v_store_n(float *p, vf x, int n) { _mm256_maskstore_ps(p, v_first(n), x); }

/* Past the caches; p is aligned to a vector. Visible to other threads after v_fence. */
V_INLINE void v_store_past(float *p, vf x) { _mm256_stream_ps(p, x); }

V_INLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
V_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
V_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
V_INLINE vf v_sqrt_near(vf a) { return _mm256_sqrt_ps(a); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
/* As the instruction: the second operand if either is NaN. */
V_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
V_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
V_INLINE vf v_and(vf a, vf b) { return _mm256_and_ps(a, b); }
V_INLINE vf v_andnot(vf a, vf b) { return _mm256_andnot_ps(a, b); }
V_INLINE vf v_or(vf a, vf b) { return _mm256_or_ps(a, b); }

V_INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
V_INLINE vm v_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
V_INLINE vm v_is_nan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
V_INLINE vm v_none(void) { return _mm256_setzero_ps(); }
V_INLINE vm v_mask_or(vm a, vm b) { return _mm256_or_ps(a, b); }
V_INLINE bool v_any(vm m) { return _mm256_movemask_ps(m) != 0; }
/* m ? a : b;  m ? a : 0;  m ? 0 : a */
V_INLINE vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
V_INLINE vf v_keep(vm m, vf a) { return _mm256_and_ps(m, a); }
V_INLINE vf v_drop(vm m, vf a) { return _mm256_andnot_ps(m, a); }

V_INLINE vi v_bits(vf a) { return _mm256_castps_si256(a); }
V_INLINE vf v_from_bits(vi a) { return _mm256_castsi256_ps(a); }
V_INLINE vi v_set1_i(int x) { return _mm256_set1_epi32(x); }
V_INLINE vi v_add_i(vi a, vi b) { return _mm256_add_epi32(a, b); }
V_INLINE vi v_sub_i(vi a, vi b) { return _mm256_sub_epi32(a, b); }
V_INLINE vi v_and_i(vi a, vi b) { return _mm256_and_si256(a, b); }
V_INLINE vi v_shift_left(vi a, int n) { return _mm256_slli_epi32(a, n); }
V_INLINE vf v_to_float(vi a) { return _mm256_cvtepi32_ps(a); }
V_INLINE vf v_from_u8(const uint8_t *p)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

V_INLINE __m256 v_fold_add(vf a) { return a; }
V_INLINE __m256 v_fold_max(vf a) { return a; }

#endif

/* Bring the line of p into the cache; p may be anything. */
V_INLINE void v_fetch(const float *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

/* All stores before it, also those past the caches, come before all stores after it. */
V_INLINE void v_fence(void) { _mm_sfence(); }

/* Sum and maximum of the lanes, by halving. */
V_INLINE float v_sum(vf x)
{
    const __m256 a = v_fold_add(x);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

V_INLINE float v_top(vf x)
{
    const __m256 a = v_fold_max(x);
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

V_INLINE vf v_abs(vf a) { return v_andnot(v_set1(-0.0F), a); }
V_INLINE vf v_sign(vf a) { return v_and(v_set1(-0.0F), a); }
/* max(x, 0) that keeps NaN */
V_INLINE vf v_relu(vf x) { return v_max(v_zero(), x); }

#endif
