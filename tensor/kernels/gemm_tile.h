/* SPDX-License-Identifier: Apache-2.0 */
/* The register tile: MR rows of two vectors each. gemm_avx2.c (6x16) and gemm_avx512.c (14x32)
 * define AK__MR and include this file once.
 *
 * Each element of C has one accumulator that takes k in rising order, in every variant below.
 * So packed or not, edge or not, with any number of threads: the same bits. */
#include "vector.h"

#define MR AK__MR
#define NR (2 * VW)

/* The rows of C are fetched from so many k before the end, one every four k. Earlier, and A and B
 * would push them out again (rows a power of two apart share a set of L1); all at once, and they
 * would hold every buffer between L1 and L2 while A waits for one. */
#define FETCH_C 160

/* One k of v_tile. */
#define V_TILE_STEP                                                                                \
    {                                                                                              \
        const vf b0 = v_load(b);                                                                   \
        const vf b1 = nv > 1 ? v_load(b + VW) : v_zero();                                          \
        V_UNROLL                                                                                   \
        for (int i = 0; i < m; i++) {                                                              \
            const vf x = v_set1(row[i / per][(i % per) * rs]);                                     \
            acc[i][0] = v_fma(x, b0, acc[i][0]);                                                   \
            if (nv > 1)                                                                            \
                acc[i][1] = v_fma(x, b1, acc[i][1]);                                               \
        }                                                                                          \
        V_UNROLL                                                                                   \
        for (int g = 0; g < (m + per - 1) / per; g++)                                              \
            row[g] += cs;                                                                          \
        b += ldb;                                                                                  \
    }

/* Four of them. */
#define V_TILE_STEPS                                                                               \
    {                                                                                              \
        V_UNROLL                                                                                   \
        for (int u = 0; u < 4; u++)                                                                \
            V_TILE_STEP                                                                            \
    }

/* m rows of nv vectors; both constant where it is called, so that the tile lives in registers.
 * Rows are reached from one pointer per `per` rows: all from one where rs is 1, a constant; else
 * three, because an address can add rs once or twice for free, and that many pointers fit. */
V_INLINE void v_tile(int m, int nv, int per, int64_t kc, const float *a, int64_t rs, int64_t cs,
                     const float *b, int64_t ldb, float *c, int64_t ldc, int n, bool accumulate)
{
    vf acc[MR][2];
    const float *row[(MR + 2) / 3];
    V_UNROLL
    for (int i = 0; i < m; i++) {
        acc[i][0] = v_zero();
        acc[i][1] = v_zero();
        if (i % per == 0)
            row[i / per] = a + i * rs;
    }
    int64_t k = 0;
    for (; k + 4 <= kc - FETCH_C; k += 4)   /* the loop's own work is a tenth of a single step */
        V_TILE_STEPS
    const float *ci = c;
    for (int left = m; left > 0 && k + 4 <= kc; left--, k += 4, ci += ldc) {
        __builtin_prefetch(ci, 1);
        __builtin_prefetch(ci + n - 1, 1);
        V_TILE_STEPS
    }
    for (; k + 4 <= kc; k += 4)
        V_TILE_STEPS
    for (; k < kc; k++)
        V_TILE_STEP
    const bool whole = n == nv * VW;
    const int rest = n - (nv - 1) * VW;     /* columns of the last vector */
    V_UNROLL
    for (int i = 0; i < m; i++) {
        float *to = c + i * ldc;
        vf last = nv > 1 ? acc[i][1] : acc[i][0];
        if (nv > 1)
            v_store(to, accumulate ? v_add(v_load(to), acc[i][0]) : acc[i][0]);
        to += (nv - 1) * VW;
        if (whole)
            v_store(to, accumulate ? v_add(v_load(to), last) : last);
        else
            v_store_n(to, accumulate ? v_add(v_load_n(to, rest), last) : last, rest);
    }
}

#define V_TILE_CASE(m)                                                                             \
    case m:                                                                                        \
        if (n > VW)                                                                                \
            v_tile(m, 2, 3, kc, a, rs, cs, b, ldb, c, ldc, n, accumulate);                         \
        else                                                                                       \
            v_tile(m, 1, 3, kc, a, rs, cs, b, ldb, c, ldc, n, accumulate);                         \
        break;

/* All smaller tiles, and operands strided both ways. */
static void FN(gemm_edge)(int64_t kc, const float *a, int64_t rs, int64_t cs, const float *b,
                          int64_t ldb, float *c, int64_t ldc, int m, int n, bool accumulate)
{
    switch (m) {
        V_TILE_CASE(1)
        V_TILE_CASE(2)
        V_TILE_CASE(3)
        V_TILE_CASE(4)
        V_TILE_CASE(5)
        V_TILE_CASE(6)
#if AK__MR > 6
        V_TILE_CASE(7)
        V_TILE_CASE(8)
        V_TILE_CASE(9)
        V_TILE_CASE(10)
        V_TILE_CASE(11)
        V_TILE_CASE(12)
        V_TILE_CASE(13)
        V_TILE_CASE(14)
#endif
        default:
            break;
    }
}

/* The usual case: the whole tile of packed operands, every stride a constant. */
static void FN(gemm_whole)(int64_t kc, const float *a, const float *b, float *c, int64_t ldc,
                           bool accumulate)
{
    v_tile(MR, 2, MR, kc, a, 1, MR, b, NR, c, ldc, NR, accumulate);
}

/* The whole tile of a left operand where it is: stored by columns (rs = 1) or by rows (cs = 1),
 * whose constant saves most of the work on addresses. With columns b may be in place as well. */
static void FN(gemm_columns)(int64_t kc, const float *a, int64_t cs, const float *b, int64_t ldb,
                             float *c, int64_t ldc, bool accumulate)
{
    v_tile(MR, 2, MR, kc, a, 1, cs, b, ldb, c, ldc, NR, accumulate);
}

static void FN(gemm_rows)(int64_t kc, const float *a, int64_t rs, const float *b, float *c,
                          int64_t ldc, bool accumulate)
{
    v_tile(MR, 2, 3, kc, a, rs, 1, b, NR, c, ldc, NR, accumulate);
}

static void FN(gemm_direct)(int64_t kc, const float *a, int64_t rs, int64_t cs, const float *b,
                            int64_t ldb, float *c, int64_t ldc, int m, int n, bool accumulate)
{
    const bool whole = m == MR && n == NR;
    if (whole && rs == 1 && cs == MR && ldb == NR)
        FN(gemm_whole)(kc, a, b, c, ldc, accumulate);
    else if (whole && rs == 1)
        FN(gemm_columns)(kc, a, cs, b, ldb, c, ldc, accumulate);
    else if (whole && cs == 1 && ldb == NR)
        FN(gemm_rows)(kc, a, rs, b, c, ldc, accumulate);
    else
        FN(gemm_edge)(kc, a, rs, cs, b, ldb, c, ldc, m, n, accumulate);
}

static void FN(gemm_finish)(float *c, int64_t ldc, int m, int64_t n, const float *bias, bool relu)
{
    for (int i = 0; i < m; i++) {
        float *row = c + i * ldc;
        for (int64_t j = 0; j < n; j += VW) {
            const int lanes = n - j < VW ? (int)(n - j) : VW;
            vf x = lanes == VW ? v_load(row + j) : v_load_n(row + j, lanes);
            if (bias)
                x = v_add(x, lanes == VW ? v_load(bias + j) : v_load_n(bias + j, lanes));
            if (relu)
                x = v_relu(x);
            if (lanes == VW)
                v_store(row + j, x);
            else
                v_store_n(row + j, x, lanes);
        }
    }
}
