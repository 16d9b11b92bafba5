/* SPDX-License-Identifier: Apache-2.0 */
/* Products of split operands on the matrix unit of AMX: what they are is said in kernels.h.
 *
 * A register tile of C is 32 x 32 in four matrix registers; four more hold what is multiplied. One
 * instruction multiplies 16 x 32 by 32 x 16 in 16 cycles, so six of them for each pair of operands
 * take three cycles where the vector units take eight.
 *
 * A step of a panel covers 32 k. It is [part 3][half 2][16][16] pairs of bfloat16: of a left
 * operand a pair for each (position, p), of a right one for each (p, position), as the instruction
 * wants them. Pair p of a step holds k = p and p + 16: both operands agree on it, and two vectors
 * become sixteen pairs without a permutation. */
#define AK__ISA amx
#define AK__VW  16
#include "vector.h"

#define HALF   16                       /* positions of a matrix register, pairs of a step */
#define SQUARE (2 * HALF * HALF)        /* bfloat16 of a matrix register */
#define PART   (2 * SQUARE)
#define STEP   (3 * PART)

/* ---- packing --------------------------------------------------------------------------------- */

/* x to the nearest bfloat16, as a float. */
V_INLINE vf v_round_half(vf x)
{
    const vi carry = v_add_i(v_bits(x), v_set1_i(0x8000));
    return v_from_bits(v_and_i(carry, v_set1_i(-0x10000)));
}

/* Sixteen pairs of the upper halves of a and b. */
V_INLINE void v_put_pairs(uint16_t *dst, vf a, vf b)
{
    const vi low = _mm512_srli_epi32(v_bits(a), 16);
    const vi high = v_and_i(v_bits(b), v_set1_i(-0x10000));
    _mm512_store_si512(dst, _mm512_or_si512(low, high));
}

/* The three parts of a and b; x - hi and x - hi - mid are exact. *seen takes up the last ones: from
 * a number that has no three parts they are NaN, and NaN stays. */
V_INLINE void v_split(uint16_t *dst, vf a, vf b, vf *seen)
{
    const vf hi_a = v_round_half(a), hi_b = v_round_half(b);
    a = v_sub(a, hi_a);
    b = v_sub(b, hi_b);
    const vf mid_a = v_round_half(a), mid_b = v_round_half(b);
    v_put_pairs(dst, hi_a, hi_b);
    v_put_pairs(dst + PART, mid_a, mid_b);
    const vf lo_a = v_sub(a, mid_a), lo_b = v_sub(b, mid_b);
    v_put_pairs(dst + 2 * PART, lo_a, lo_b);
    seen[0] = v_add(seen[0], lo_a);
    seen[1] = v_add(seen[1], lo_b);
}

/* Row l of a square of `lines` rows and `lanes` columns; 0 outside of it. */
V_INLINE vf v_get_line(const float *x, int64_t ld, int l, int lines, int lanes)
{
    if (lines == HALF && lanes == HALF)
        return v_load(x + l * ld);
    return l < lines && lanes > 0 ? v_load_n(x + l * ld, lanes) : v_zero();
}

V_INLINE void v_turn_square(vf *v)
{
    vf t[HALF];
    V_UNROLL
    for (int i = 0; i < HALF; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    V_UNROLL
    for (int i = 0; i < HALF; i += 4) {
        v[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        v[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        v[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        v[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    V_UNROLL
    for (int i = 0; i < 4; i++) {       /* v[4 q + i]: quarter c has column 4 c + i of rows 4 q */
        const vf a = _mm512_shuffle_f32x4(v[i], v[4 + i], 0x88);
        const vf b = _mm512_shuffle_f32x4(v[8 + i], v[12 + i], 0x88);
        const vf c = _mm512_shuffle_f32x4(v[i], v[4 + i], 0xdd);
        const vf d = _mm512_shuffle_f32x4(v[8 + i], v[12 + i], 0xdd);
        t[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        t[8 + i] = _mm512_shuffle_f32x4(a, b, 0xdd);
        t[4 + i] = _mm512_shuffle_f32x4(c, d, 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
    V_UNROLL
    for (int i = 0; i < HALF; i++)
        v[i] = t[i];
}

/* Two squares of x that become the pairs of half a step: that at x and that at `second`. */
typedef struct square_pair {
    const float *first, *second;
    int64_t ld;
    int     lines, lanes, second_lines, second_lanes;
} square_pair;

/* Lines of the squares become lines of pairs, or with `turned` columns do. */
V_INLINE void v_pack_square(uint16_t *dst, const square_pair *s, vf alpha, bool turned,
                           vf *seen)
{
    vf a[HALF], b[HALF];
    V_UNROLL
    for (int l = 0; l < HALF; l++) {
        a[l] = v_get_line(s->first, s->ld, l, s->lines, s->lanes);
        b[l] = v_get_line(s->second, s->ld, l, s->second_lines, s->second_lanes);
        if (!turned)
            v_split(dst + l * 2 * HALF, v_mul(alpha, a[l]), v_mul(alpha, b[l]), seen);
    }
    if (!turned)
        return;
    v_turn_square(a);
    v_turn_square(b);
    V_UNROLL
    for (int l = 0; l < HALF; l++)
        v_split(dst + l * 2 * HALF, v_mul(alpha, a[l]), v_mul(alpha, b[l]), seen);
}

/* v_pack_square, turned or not, of whole squares or not. Functions of their own, since a copy in
 * every packer would take compilers minutes. */
#define PACK_SQUARE(name, turned, whole)                                                           \
    static __attribute__((noinline)) void name(uint16_t *dst, const square_pair *s, vf alpha,      \
                                               vf *seen)                                           \
    {                                                                                              \
        square_pair all = *s;                                                                      \
        if (whole)                                                                                 \
            all.lines = all.lanes = all.second_lines = all.second_lanes = HALF;                    \
        v_pack_square(dst, &all, alpha, turned, seen);                                             \
    }
PACK_SQUARE(pack_lines, false, true)
PACK_SQUARE(pack_columns, true, true)
PACK_SQUARE(pack_some_lines, false, false)
PACK_SQUARE(pack_some_columns, true, false)

static int within(int64_t n)
{
    return n < 0 ? 0 : n < HALF ? (int)n : HALF;
}

/* One half of one step: ni positions, nk of its k. */
static void pack_half(uint16_t *dst, const float *x, int64_t ld, int64_t ni, int64_t nk, vf alpha,
                      bool k_major, bool turned, vf *seen)
{
    const int i = within(ni), k0 = within(nk), k1 = within(nk - HALF);
    const square_pair s = {
        .first = x, .second = x + (k_major ? HALF * ld : HALF), .ld = ld,
        .lines = k_major ? k0 : i, .lanes = k_major ? i : k0,
        .second_lines = k_major ? k1 : i, .second_lanes = k_major ? i : k1,
    };
    const bool whole = i == HALF && k1 == HALF;
    if (turned)
        (whole ? pack_columns : pack_some_columns)(dst, &s, alpha, seen);
    else
        (whole ? pack_lines : pack_some_lines)(dst, &s, alpha, seen);
}

static bool split_pack_amx(void *dst, const float *x, int64_t ld, int64_t ni, int64_t nk,
                           float alpha, bool k_major, bool left)
{
    const int64_t step = k_major ? ld : 1, half = HALF * (k_major ? 1 : ld);
    const vf va = v_set1(alpha);
    vf seen[2] = {v_zero(), v_zero()};
    uint16_t *to = dst;
    for (int64_t k = 0; k < nk; k += 2 * HALF, to += STEP) {
        const float *from = x + k * step;
        pack_half(to, from, ld, ni, nk - k, va, k_major, k_major == left, seen);
        pack_half(to + SQUARE, from + half, ld, ni - HALF, nk - k, va, k_major, k_major == left,
                  seen);
    }
    return !v_any(v_is_nan(v_add(seen[0], seen[1])));
}

/* ---- the register tile ----------------------------------------------------------------------- */

/* What ldtilecfg reads: eight registers of 16 rows of 64 bytes. */
typedef struct tile_config {
    uint8_t  palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
} tile_config;

static const tile_config eight_squares = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {HALF, HALF, HALF, HALF, HALF, HALF, HALF, HALF},
};

/* The intrinsics do not tell the compiler that they read and write memory. */
#define MEMORY_BARRIER() __asm__ volatile("" ::: "memory")

#define LOAD_A(part)                                                                               \
    {                                                                                              \
        _tile_loadd(4, a + (part) * PART, 64);                                                     \
        if (tall)                                                                                  \
            _tile_loadd(5, a + (part) * PART + SQUARE, 64);                                        \
    }
#define LOAD_B(part)                                                                               \
    {                                                                                              \
        _tile_loadd(6, b + (part) * PART, 64);                                                     \
        if (wide)                                                                                  \
            _tile_loadd(7, b + (part) * PART + SQUARE, 64);                                        \
    }
#define MULTIPLY()                                                                                 \
    {                                                                                              \
        _tile_dpbf16ps(0, 4, 6);                                                                   \
        if (wide)                                                                                  \
            _tile_dpbf16ps(1, 4, 7);                                                               \
        if (tall)                                                                                  \
            _tile_dpbf16ps(2, 5, 6);                                                               \
        if (tall && wide)                                                                          \
            _tile_dpbf16ps(3, 5, 7);                                                               \
    }

/* C of 16 or 32 (`tall`) rows and 16 or 32 (`wide`) columns. First all products but those of the
 * largest parts, since what is added to a large sum is rounded as it is: so the others leave no
 * trace, and the largest are as many additions as k has pairs. */
V_INLINE void split_tile(bool tall, bool wide, int64_t nk, const uint16_t *a, const uint16_t *b,
                         float *c, int64_t ldc)
{
    const int64_t row = ldc * (int64_t)sizeof(float);
    const uint16_t *const first_a = a, *const first_b = b;
    float *below = c + HALF * ldc;
    MEMORY_BARRIER();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < nk; k += 2 * HALF, a += STEP, b += STEP) {
        LOAD_A(0) LOAD_B(2) MULTIPLY()
        LOAD_B(1) MULTIPLY()
        LOAD_A(1) MULTIPLY()
        LOAD_B(0) MULTIPLY()
        LOAD_A(2) MULTIPLY()
    }
    a = first_a;
    b = first_b;
    for (int64_t k = 0; k < nk; k += 2 * HALF, a += STEP, b += STEP) {
        LOAD_A(0) LOAD_B(0) MULTIPLY()
    }
    _tile_stored(0, c, row);
    if (wide)
        _tile_stored(1, c + HALF, row);
    if (tall)
        _tile_stored(2, below, row);
    if (tall && wide)
        _tile_stored(3, below + HALF, row);
    MEMORY_BARRIER();
}

static void split_tile_any(int64_t nk, const uint16_t *a, const uint16_t *b, float *c, int64_t ldc,
                           int m, int n)
{
    if (m > HALF && n > HALF)
        split_tile(true, true, nk, a, b, c, ldc);
    else if (m > HALF)
        split_tile(true, false, nk, a, b, c, ldc);
    else if (n > HALF)
        split_tile(false, true, nk, a, b, c, ldc);
    else
        split_tile(false, false, nk, a, b, c, ldc);
}

/* By way of a tile of its own: for pieces of C that have no room for whole squares, and for sums,
 * which are more exact if each block of k is added as one number. */
static void split_aside(int64_t nk, const uint16_t *a, const uint16_t *b, float *c, int64_t ldc,
                        int m, int n, bool accumulate)
{
    _Alignas(64) float whole[4 * HALF * HALF];
    split_tile_any(nk, a, b, whole, 2 * HALF, m, n);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j += HALF) {
            const vf x = v_load(whole + i * 2 * HALF + j);
            float *to = c + i * ldc + j;
            const int lanes = within(n - j);
            if (lanes == HALF)
                v_store(to, accumulate ? v_add(v_load(to), x) : x);
            else
                v_store_n(to, accumulate ? v_add(v_load_n(to, lanes), x) : x, lanes);
        }
    }
}

static void split_multiply_amx(int64_t nk, const void *a, const float *b, int64_t step, float *c,
                               int64_t ldc, int m, int64_t n, bool accumulate)
{
    _tile_loadconfig(&eight_squares);
    for (int64_t j = 0; j < n; j += 2 * HALF, b += step) {
        const int wide = n - j < 2 * HALF ? (int)(n - j) : 2 * HALF;
        const void *right = b;
        if (!accumulate && m % HALF == 0 && wide % HALF == 0)
            split_tile_any(nk, a, right, c + j, ldc, m, wide);
        else
            split_aside(nk, a, right, c + j, ldc, m, wide, accumulate);
    }
    _tile_release();
}

void ak__kernels_split_amx(ak_kernels *table)
{
    table->split_pack = split_pack_amx;
    table->split_multiply = split_multiply_amx;
    table->isa = "amx";
}
