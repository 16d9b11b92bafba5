/* SPDX-License-Identifier: Apache-2.0 */
/* Panels of split operands, and of numbers that can not be split.
 *
 * A step of a panel (32 k of 32 positions) has room for three bfloat16 of each number. One that
 * keeps the numbers begins with a mark that is no pair of finite bfloat16, and has them as floats
 * behind it: [32 k][32 positions]. All steps of a panel are of one kind. */
#include "split_panels.h"

#include "base/whole.h"

#include <assert.h>
#include <string.h>

#define SIDE AK_SPLIT_SIDE
#define MARK 0xffffffffU
/* Bytes of a step that the mark takes, so that the numbers are aligned. */
#define MARK_BYTES 64
/* ak_reals of a step. */
#define STEP AK_SPLIT_SIZE(1)

#if AK_REAL_BITS == 32
_Static_assert(MARK_BYTES + SIDE * SIDE * 4 <= 32 * 32 * 6, "a step has room for its numbers");
#endif


static bool is_marked(const void *step)
{
    uint32_t first;
    memcpy(&first, step, sizeof first);
    return first == MARK;
}

/* The numbers of a panel, times alpha, as they are. */
static void keep_numbers(ak_real *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk,
                         ak_real alpha, bool k_major)
{
    const uint32_t mark = MARK;
    for (int64_t k = 0; k < nk; k += SIDE, dst += STEP) {
        ak_real *to = dst + MARK_BYTES / sizeof *dst;
        const int64_t n = ak__min(SIDE, nk - k);
        memcpy(dst, &mark, sizeof mark);
        ak__k.gemm_pack(to, k_major ? x + k * ld : x + k, ld, ni, n, SIDE, k_major);
        if (alpha != 1)
            ak__k.scale(to, alpha, to, n * SIDE);
    }
}

void ak__split_pack(void *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk, ak_real alpha,
                    bool k_major, bool left)
{
    if (!ak__k.split_pack(dst, x, ld, ni, nk, alpha, k_major, left))
        keep_numbers(dst, x, ld, ni, nk, alpha, k_major);
}

/* ---- products with such panels --------------------------------------------------------------- */

static ak_real third_value(const char *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (ak_real)x;
}

/* The number at position i and k of a split step: the sum of its thirds is exact. */
static ak_real joined(const char *step, int i, int k, bool left)
{
    const ak__split_operand o = ak__split_panels(step, 0);
    const int side = SIDE / 2, pair = k % side;
    const int64_t row = left ? i % side : pair, column = left ? pair : i % side;
    const char *at = step + i / side * o.half + row * o.row + column * 4 + k / side * 2;
    const ak_real low = third_value(at + o.third) + third_value(at + 2 * o.third);
    return (third_value(at) + low) * (ak_real)0x1p-23;
}

/* The numbers [32 k][32 positions] of a step of either kind: where they are, or in `room`. */
static const ak_real *numbers_of(const ak_real *step, bool left, ak_real *room)
{
    if (is_marked(step))
        return step + MARK_BYTES / sizeof *step;
    for (int k = 0; k < SIDE; k++)
        for (int i = 0; i < SIDE; i++)
            room[k * SIDE + i] = joined((const char *)step, i, k, left);
    return room;
}

/* C[m,n], n <= 32, by the register tile, step by step. */
static void multiply_numbers(int64_t nk, const ak_real *a, const ak_real *b, ak_real *c,
                             int64_t ldc, int m, int n, bool accumulate)
{
    _Alignas(64) ak_real left[SIDE * SIDE], right[SIDE * SIDE];
    const int mr = ak__k.mr, nr = ak__k.nr;
    assert(nr <= SIDE || nr == 2 * SIDE);       /* rows of B are read to nr, or to half of it */
    for (int64_t k = 0; k < nk; k += SIDE, a += STEP, b += STEP) {
        const ak_real *x = numbers_of(a, true, left), *y = numbers_of(b, false, right);
        for (int j = 0; j < n; j += nr)
            for (int i = 0; i < m; i += mr)
                ak__k.gemm_direct(ak__min(SIDE, nk - k), x + i, 1, SIDE, y + j, SIDE,
                                  c + i * ldc + j, ldc, (int)ak__min(mr, m - i),
                                  (int)ak__min(nr, n - j), accumulate || k > 0);
    }
}

static bool any_marked(const ak_real *b, int64_t step, int64_t n)
{
    for (int64_t j = 0; j < n; j += SIDE, b += step)
        if (is_marked(b))
            return true;
    return false;
}

void ak__split_multiply(int64_t nk, const void *a, const ak_real *b, int64_t step, ak_real *c,
                        int64_t ldc, int m, int64_t n, bool accumulate)
{
    if (nk <= 0 || (!is_marked(a) && !any_marked(b, step, n))) {
        ak__k.split_multiply(nk, a, b, step, c, ldc, m, n, accumulate);
        return;
    }
    for (int64_t j = 0; j < n; j += SIDE, b += step) {
        const int some = (int)ak__min(SIDE, n - j);
        if (is_marked(a) || is_marked(b))
            multiply_numbers(nk, a, b, c + j, ldc, m, some, accumulate);
        else
            ak__k.split_multiply(nk, a, b, step, c + j, ldc, m, some, accumulate);
    }
}
