/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix product for AVX2 + FMA: the 6x16 tile (12 accumulators, 2 vectors of B, 1-2 of A in 16
 * registers) and the packing of panels. */
#define AK__ISA avx2
#define AK__VW  8
#define AK__MR  6
#include "gemm_tile.h"

/* x[j] = the vector at p + j*ld; rows past `rows` are 0. */
V_INLINE void load_rows(__m256 x[8], const float *p, int64_t ld, int rows)
{
    V_UNROLL
    for (int j = 0; j < 8; j++)
        x[j] = j < rows ? _mm256_loadu_ps(p + j * ld) : _mm256_setzero_ps();
}

V_INLINE void transpose_8x8(__m256 x[8])
{
    const __m256 a0 = _mm256_unpacklo_ps(x[0], x[1]), a1 = _mm256_unpackhi_ps(x[0], x[1]);
    const __m256 a2 = _mm256_unpacklo_ps(x[2], x[3]), a3 = _mm256_unpackhi_ps(x[2], x[3]);
    const __m256 a4 = _mm256_unpacklo_ps(x[4], x[5]), a5 = _mm256_unpackhi_ps(x[4], x[5]);
    const __m256 a6 = _mm256_unpacklo_ps(x[6], x[7]), a7 = _mm256_unpackhi_ps(x[6], x[7]);
    const __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
    const __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
    const __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
    const __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
    x[0] = _mm256_permute2f128_ps(b0, b4, 0x20);
    x[1] = _mm256_permute2f128_ps(b1, b5, 0x20);
    x[2] = _mm256_permute2f128_ps(b2, b6, 0x20);
    x[3] = _mm256_permute2f128_ps(b3, b7, 0x20);
    x[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
    x[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
    x[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
    x[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
}

/* The first `lanes` of x. 6 (the tile has 6 or 14 rows) without a mask: masked stores are slow on
 * some processors. */
V_INLINE void put_lanes(float *p, __m256 x, int lanes)
{
    if (lanes == 8) {
        _mm256_storeu_ps(p, x);
    } else if (lanes == 6) {
        _mm_storeu_ps(p, _mm256_castps256_ps128(x));
        _mm_storel_pi((__m64 *)(void *)(p + 4), _mm256_extractf128_ps(x, 1));
    } else {
        v_store_n(p, x, lanes);
    }
}

/* Eight positions of the panel from rows of x: blocks of 8x8 are turned in registers. */
V_INLINE void pack_turned(float *dst, const float *x, int64_t ld, int rows, int64_t nk, int width,
                          int lanes)
{
    int64_t k = 0;
    for (; k + 8 <= nk; k += 8) {
        __m256 t[8];
        load_rows(t, x + k, ld, rows);
        transpose_8x8(t);
        V_UNROLL
        for (int j = 0; j < 8; j++)
            put_lanes(dst + (k + j) * width, t[j], lanes);
    }
    for (; k < nk; k++) {
        for (int i = 0; i < lanes; i++)
            dst[k * width + i] = i < rows ? x[i * ld + k] : 0.0F;
    }
}

static void pack_rows_of(float *dst, const float *x, int64_t ld, int64_t ni, int64_t nk, int width)
{
    for (int i = 0; i < width; i += 8) {
        const int lanes = width - i < 8 ? width - i : 8;
        const int64_t left = ni - i;
        const int rows = left < 0 ? 0 : left < lanes ? (int)left : lanes;
        if (lanes == 8 && rows == 8)
            pack_turned(dst + i, x + i * ld, ld, 8, nk, width, 8);
        else if (lanes == 6 && rows == 6)
            pack_turned(dst + i, x + i * ld, ld, 6, nk, width, 6);
        else
            pack_turned(dst + i, rows > 0 ? x + i * ld : x, ld, rows, nk, width, lanes);
    }
}

V_INLINE void pack_copied(float *dst, const float *x, int64_t ld, int64_t nk, int width)
{
    for (int64_t k = 0; k < nk; k++, dst += width, x += ld) {
        int i = 0;
        V_UNROLL
        for (; i + 8 <= width; i += 8)
            _mm256_storeu_ps(dst + i, _mm256_loadu_ps(x + i));
        if (width - i == 6) {
            _mm_storeu_ps(dst + i, _mm_loadu_ps(x + i));
            const __m128 z = _mm_setzero_ps();
            const __m64 *from = (const __m64 *)(const void *)(x + i + 4);
            _mm_storel_pi((__m64 *)(void *)(dst + i + 4), _mm_loadl_pi(z, from));
        }
    }
}

static void gemm_pack_avx2(float *dst, const float *x, int64_t ld, int64_t ni, int64_t nk,
                           int width, bool k_major)
{
    if (!k_major) {
        pack_rows_of(dst, x, ld, ni, nk, width);
    } else if (ni == width && width == 6) {
        pack_copied(dst, x, ld, nk, 6);
    } else if (ni == width && width == 14) {
        pack_copied(dst, x, ld, nk, 14);
    } else if (ni == width && width == 16) {
        pack_copied(dst, x, ld, nk, 16);
    } else if (ni == width && width == 32) {
        pack_copied(dst, x, ld, nk, 32);
    } else {
        for (int64_t k = 0; k < nk; k++) {
            for (int i = 0; i < width; i += 8) {
                const int64_t left = ni - i;
                const int have = left < 0 ? 0 : left < 8 ? (int)left : 8;
                const __m256 v = have ? v_load_n(x + k * ld + i, have) : _mm256_setzero_ps();
                const int room = width - i < 8 ? width - i : 8;
                put_lanes(dst + k * width + i, v, room);
            }
        }
    }
}

void ak__kernels_gemm_avx2(ak_kernels *table)
{
    table->mr = MR;
    table->nr = NR;
    table->mc = 144;
    table->kc = 256;
    table->nc = 1024;
    table->gemm_direct = gemm_direct_avx2;
    table->gemm_pack   = gemm_pack_avx2;
    table->gemm_finish = gemm_finish_avx2;
}
