/* SPDX-License-Identifier: Apache-2.0 */
/* Products of split operands on the matrix unit of AMX: what they are is said in kernels.h.
 *
 * A register tile of C is 32 x 32 in four matrix registers; four more hold what is multiplied. One
 * instruction multiplies 16 x 32 by 32 x 16 in 16 cycles, so six of them for each pair of operands
 * take three cycles where the vector units take eight.
 *
 * A step of a panel covers 32 k. It is [third 3][half 2][16][16] pairs of bfloat16: of a left
 * operand a pair for each (position, p), of a right one for each (p, position), as the instruction
 * wants them. Pair p of a step holds k = p and p + 16: both operands agree on it, and two vectors
 * become sixteen pairs without a permutation.
 *
 * The unit takes a subnormal bfloat16 for 0 and makes 0 of a subnormal sum. The smallest float is
 * 2^-149, so numbers are split times 2^23: then no third is subnormal, and what a sum loses lies
 * below 2^-172, where plain sums lose more. Products of them are stored times 2^-46. All these
 * factors are exact. */
#define AK__ISA amx
#define AK__VW  16
#include "vector.h"
#ifdef AK_AMX_EMULATED
#include "amx_emulated.h"
#endif

#define HALF   16                       /* positions of a matrix register, pairs of a step */
#define SQUARE (2 * HALF * HALF)        /* bfloat16 of a matrix register */
#define PART   (2 * SQUARE)
#define STEP   (3 * PART)

#define SPLIT_FACTOR   0x1p23F
#define PRODUCT_FACTOR 0x1p-46F
#define TOO_LARGE      0x5a00           /* AK_SPLIT_LIMIT times the factor, as a bfloat16 */

/* ---- packing --------------------------------------------------------------------------------- */

/* x to the nearest bfloat16, as a float. */
V_INLINE vf v_round_half(vf x)
{
    const vi carry = v_add_i(v_bits(x), v_set1_i(0x8000));
    return v_from_bits(v_and_i(carry, v_set1_i(-0x10000)));
}

/* Sixteen pairs of the upper halves of a and b. */
V_INLINE vi v_put_pairs(uint16_t *dst, vf a, vf b)
{
    const vi low = _mm512_srli_epi32(v_bits(a), 16);
    const vi high = v_and_i(v_bits(b), v_set1_i(-0x10000));
    const vi pairs = _mm512_or_si512(low, high);
    _mm512_store_si512(dst, pairs);
    return pairs;
}

/* The thirds of a and b, `third` apart; x - hi and x - hi - mid are exact. *seen takes up the
 * sizes of the first ones. A NaN has one in its last third, whatever its first one is. */
V_INLINE void v_split(uint16_t *dst, int64_t third, vf a, vf b, vi *seen)
{
    const vf hi_a = v_round_half(a), hi_b = v_round_half(b);
    a = v_sub(a, hi_a);
    b = v_sub(b, hi_b);
    const vf mid_a = v_round_half(a), mid_b = v_round_half(b);
    const vi hi = v_put_pairs(dst, hi_a, hi_b);
    (void)v_put_pairs(dst + third, mid_a, mid_b);
    (void)v_put_pairs(dst + 2 * third, v_sub(a, mid_a), v_sub(b, mid_b));
    if (seen)
        *seen = _mm512_max_epu16(*seen, v_and_i(hi, v_set1_i(0x7fff7fff)));
}

/* Is every size in `seen` that of a number that may be split? */
V_INLINE bool v_all_fit(vi seen)
{
    _Alignas(64) uint16_t size[2 * HALF];
    uint16_t most = 0;
    _mm512_store_si512(size, seen);
    for (int i = 0; i < 2 * HALF; i++)
        most = size[i] > most ? size[i] : most;
    return most < TOO_LARGE;
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
                           vi *seen)
{
    vf a[HALF], b[HALF];
    V_UNROLL
    for (int l = 0; l < HALF; l++) {
        a[l] = v_get_line(s->first, s->ld, l, s->lines, s->lanes);
        b[l] = v_get_line(s->second, s->ld, l, s->second_lines, s->second_lanes);
        if (!turned)
            v_split(dst + l * 2 * HALF, PART, v_mul(alpha, a[l]), v_mul(alpha, b[l]), seen);
    }
    if (!turned)
        return;
    v_turn_square(a);
    v_turn_square(b);
    V_UNROLL
    for (int l = 0; l < HALF; l++)
        v_split(dst + l * 2 * HALF, PART, v_mul(alpha, a[l]), v_mul(alpha, b[l]), seen);
}

/* v_pack_square, turned or not, of whole squares or not. Functions of their own, since a copy in
 * every packer would take compilers minutes. */
#define PACK_SQUARE(name, turned, whole)                                                           \
    static __attribute__((noinline)) void name(uint16_t *dst, const square_pair *s, vf alpha,      \
                                               vi *seen)                                           \
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
                      bool k_major, bool turned, vi *seen)
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
    const vf va = v_set1(alpha * SPLIT_FACTOR);
    vi seen = v_set1_i(0);
    uint16_t *to = dst;
    for (int64_t k = 0; k < nk; k += 2 * HALF, to += STEP) {
        const float *from = x + k * step;
        pack_half(to, from, ld, ni, nk - k, va, k_major, k_major == left, &seen);
        pack_half(to + SQUARE, from + half, ld, ni - HALF, nk - k, va, k_major, k_major == left,
                  &seen);
    }
    return v_all_fit(seen);
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

#define LOAD_A(which)                                                                              \
    {                                                                                              \
        _tile_loadd(4, left + (which) * a->third, a->row);                                         \
        if (tall)                                                                                  \
            _tile_loadd(5, left + (which) * a->third + a->half, a->row);                           \
    }
#define LOAD_B(which)                                                                              \
    {                                                                                              \
        _tile_loadd(6, right + (which) * b->third, b->row);                                        \
        if (wide)                                                                                  \
            _tile_loadd(7, right + (which) * b->third + b->half, b->row);                          \
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

/* Memory to be fetched into L2: a few lines at each of FETCHES places of a step, since so many only
 * can be on their way at once, and what a tile reads waits behind them. */
typedef struct fetch_plan {
    const char *at;
    int64_t     tile;                   /* bytes of a tile's places together */
    int         lines;                  /* of a place */
} fetch_plan;

#define FETCHES 5

static fetch_plan ahead_in(const void *at, int64_t bytes, int64_t places, int64_t m, int64_t n)
{
    const int64_t all = places * ((m + AK_SPLIT_SIDE - 1) / AK_SPLIT_SIDE) *
                        ((n + AK_SPLIT_SIDE - 1) / AK_SPLIT_SIDE);
    const int64_t lines = all > 0 ? (bytes / 64 + all - 1) / all : 0;
    return (fetch_plan){.at = at, .tile = lines * places * 64, .lines = (int)lines};
}

#define FETCH()                                                                                    \
    {                                                                                              \
        for (int line = 0; line < more->lines; line++, ahead += 64)                                \
            _mm_prefetch(ahead, _MM_HINT_T1);                                                      \
    }

V_INLINE const char *step_of(const ak__split_operand *x, int64_t s)
{
    return (const char *)x->data + (x->at ? x->at[s] : s * STEP * (int64_t)sizeof(uint16_t));
}

/* C of 16 or 32 (`tall`) rows and 16 or 32 (`wide`) columns. First all products but those of the
 * largest thirds, since what is added to a large sum is rounded as it is: so the others leave no
 * trace, and the largest are as many additions as k has pairs. */
V_INLINE void split_tile(bool tall, bool wide, int64_t steps, const ak__split_operand *a,
                         const ak__split_operand *b, float *c, int64_t ldc,
                         const fetch_plan *more)
{
    const int64_t row = ldc * (int64_t)sizeof(float);
    float *below = c + HALF * ldc;
    const char *ahead = more->at;
    MEMORY_BARRIER();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t s = 0; s < steps; s++) {
        const char *left = step_of(a, s), *right = step_of(b, s);
        LOAD_A(0) LOAD_B(2) MULTIPLY() FETCH()
        LOAD_B(1) MULTIPLY() FETCH()
        LOAD_A(1) MULTIPLY() FETCH()
        LOAD_B(0) MULTIPLY() FETCH()
        LOAD_A(2) MULTIPLY()
    }
    for (int64_t s = 0; s < steps; s++) {
        const char *left = step_of(a, s), *right = step_of(b, s);
        LOAD_A(0) LOAD_B(0) MULTIPLY() FETCH()
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

static void split_tile_any(int64_t steps, const ak__split_operand *a, const ak__split_operand *b,
                           float *c, int64_t ldc, int m, int n, const fetch_plan *more)
{
    if (m > HALF && n > HALF)
        split_tile(true, true, steps, a, b, c, ldc, more);
    else if (m > HALF)
        split_tile(true, false, steps, a, b, c, ldc, more);
    else if (n > HALF)
        split_tile(false, true, steps, a, b, c, ldc, more);
    else
        split_tile(false, false, steps, a, b, c, ldc, more);
}

/* C = or += the tile, a square of rows of 32. */
V_INLINE void v_put_tile(const float *tile, float *c, int64_t ldc, int m, int n, bool accumulate)
{
    const vf factor = v_set1(PRODUCT_FACTOR);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j += HALF) {
            const vf x = v_load(tile + i * 2 * HALF + j);
            float *to = c + i * ldc + j;
            const int lanes = within(n - j);
            if (lanes == HALF)
                v_store(to, accumulate ? v_fma(x, factor, v_load(to)) : v_mul(x, factor));
            else
                v_store_n(to, accumulate ? v_fma(x, factor, v_load_n(to, lanes))
                                         : v_mul(x, factor), lanes);
        }
    }
}

/* By way of a tile of its own: each block of k is added as one number, which is more exact, and
 * the next tile's products do not wait for it. */
static void split_aside(int64_t steps, const ak__split_operand *a, const ak__split_operand *b,
                        float *c, int64_t ldc, int m, int n, bool accumulate,
                        const fetch_plan *more)
{
    _Alignas(64) float tile[4 * HALF * HALF];
    split_tile_any(steps, a, b, tile, 2 * HALF, m, n, more);
    if (m == AK_SPLIT_SIDE && n == AK_SPLIT_SIDE && accumulate)
        v_put_tile(tile, c, ldc, AK_SPLIT_SIDE, AK_SPLIT_SIDE, true);
    else if (m == AK_SPLIT_SIDE && n == AK_SPLIT_SIDE)
        v_put_tile(tile, c, ldc, AK_SPLIT_SIDE, AK_SPLIT_SIDE, false);
    else
        v_put_tile(tile, c, ldc, m, n, accumulate);
}

static int at_most_side(int64_t n) { return n < AK_SPLIT_SIDE ? (int)n : AK_SPLIT_SIDE; }

static void split_tiles_amx(int64_t steps, const ak__split_operand *a, const ak__split_operand *b,
                            float *c, int64_t ldc, int64_t m, int64_t n, bool accumulate,
                            const void *ahead, int64_t ahead_bytes)
{
    fetch_plan more = ahead_in(ahead, ahead_bytes, steps * FETCHES, m, n);
    ak__split_operand right = *b;
    _tile_loadconfig(&eight_squares);
    for (int64_t j = 0; j < n; j += AK_SPLIT_SIDE) {
        const int wide = at_most_side(n - j);
        ak__split_operand left = *a;
        for (int64_t i = 0; i < m; i += AK_SPLIT_SIDE) {
            const int tall = at_most_side(m - i);
            split_aside(steps, &left, &right, c + i * ldc + j, ldc, tall, wide, accumulate,
                        &more);
            left.data = (const char *)left.data + left.panel;
            if (more.lines)
                more.at += more.tile;
        }
        right.data = (const char *)right.data + right.panel;
    }
    _tile_release();
}

static void split_multiply_amx(int64_t nk, const void *a, const float *b, int64_t step, float *c,
                               int64_t ldc, int m, int64_t n, bool accumulate)
{
    const ak__split_operand left = ak__split_panels(a, 0);
    const ak__split_operand right = ak__split_panels(b, step * (int64_t)sizeof *b);
    split_tiles_amx((nk + 2 * HALF - 1) / (2 * HALF), &left, &right, c, ldc, m, n, accumulate,
                    NULL, 0);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void split_lines_amx(void *dst, int64_t step, const float *x, const float *y, int64_t ld,
                            int64_t lines, int nx, int ny)
{
    const int64_t third = HALF * 2;     /* thirds of a line follow each other */
    const vf factor = v_set1(SPLIT_FACTOR);
    char *to = dst;
    for (int64_t i = 0; i < lines; i++, x += ld, y += ld, to += step) {
        vf a = nx == HALF ? v_load(x) : v_load_n(x, nx);
        vf b = ny == HALF ? v_load(y) : v_load_n(y, ny);
        v_split((uint16_t *)(void *)to, third, v_mul(a, factor), v_mul(b, factor), NULL);
    }
}

/* x 0 is NaN if x is infinite or NaN, and NaN stays. */
static bool all_finite(const float *x, int64_t ld, int64_t rows, int n)
{
    vf seen = v_zero();
    for (int64_t i = 0; i < rows; i++, x += ld)
        for (int j = 0; j < n; j += HALF)
            seen = v_fma(v_load_n(x + j, within(n - j)), v_zero(), seen);
    return !v_any(v_is_nan(seen));
}

static bool split_put_amx(float *dst, int64_t dst_step, const float *src, int64_t src_step,
                          int64_t rows, int n, const float *bias, bool accumulate)
{
    if (!all_finite(src, src_step, src_step ? rows : 1, n))
        return false;
    for (int j = 0; j < n; j += HALF) {
        const int lanes = within(n - j);
        const vf more = bias ? v_load_n(bias + j, lanes) : v_zero();
        const float *from = src + j;
        float *to = dst + j;
        for (int64_t i = 0; i < rows; i++, from += src_step, to += dst_step) {
            vf x = v_load_n(from, lanes);
            if (accumulate)
                x = v_add(v_load_n(to, lanes), x);
            v_store_n(to, bias ? v_add(x, more) : x, lanes);
        }
    }
    return true;
}

void ak__kernels_split_amx(ak_kernels *table)
{
    table->split_pack = split_pack_amx;
    table->split_multiply = split_multiply_amx;
    table->split_tiles = split_tiles_amx;
    table->split_lines = split_lines_amx;
    table->split_put = split_put_amx;
    table->isa = "amx";
}
