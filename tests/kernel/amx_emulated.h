/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix registers of AMX in C, so that products of split operands can be tested where there
 * is no such unit. After the description of TDPBF16PS in Intel's Software Developer's Manual: the
 * products of a row are added to two sums, of the first and of the second numbers of the pairs, one
 * fused multiplication and addition after the other; both together are added to the result. What
 * is subnormal counts as 0, operands and sums; roundings are to nearest, ties to even. */
#ifndef AK_AMX_EMULATED_H
#define AK_AMX_EMULATED_H

#include "tensor/kernels/kernels.h"

#include <math.h>
#include <string.h>

/* The name of the function that fills the table: see split_emulated.c. */
#ifdef AK_SIMD_EMULATED
#define ak__kernels_split_amx ak__kernels_split_all_emulated
#else
#define ak__kernels_split_amx ak__kernels_split_emulated
#endif
void ak__kernels_split_amx(ak_kernels *table);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) ((void)(config))
#define _tile_release()          emulated_release()
#define _tile_zero(t)            memset(emulated_tile[t], 0, sizeof emulated_tile[t])
#define _tile_loadd(t, from, row)  emulated_load(t, from, row)
#define _tile_stored(t, to, row)   emulated_store(t, to, row)
#define _tile_dpbf16ps(c, a, b)    emulated_multiply(c, a, b)

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16 };

/* Sixteen floats a row, or as many pairs of bfloat16: the first one in the lower half. */
typedef union emulated_row {
    float    x[16];
    uint32_t pair[16];
} emulated_row;

static _Thread_local emulated_row emulated_tile[EMULATED_TILES][EMULATED_ROWS];

/* What is left in a released register is nothing to rely on: NaN. */
static inline void emulated_release(void)
{
    memset(emulated_tile, 0xff, sizeof emulated_tile);
}

static inline void emulated_load(int t, const void *from, int64_t row)
{
    for (int i = 0; i < EMULATED_ROWS; i++)
        memcpy(&emulated_tile[t][i], (const char *)from + i * row, sizeof(emulated_row));
}

static inline void emulated_store(int t, void *to, int64_t row)
{
    for (int i = 0; i < EMULATED_ROWS; i++)
        memcpy((char *)to + i * row, &emulated_tile[t][i], sizeof(emulated_row));
}

/* x, or 0 of its sign if it is subnormal; NaN and infinity stay. */
static inline float emulated_flush(float x)
{
    return fabsf(x) < 0x1p-126F ? 0 * x : x;
}

/* One number of a pair. */
static inline float emulated_number(uint32_t pair, int second)
{
    const uint32_t bits = second ? pair & 0xffff0000U : pair << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return emulated_flush(x);
}

static __attribute__((noinline)) void emulated_multiply(int c, int a, int b)
{
    float right[EMULATED_ROWS][2][16];
    for (int k = 0; k < EMULATED_ROWS; k++)
        for (int j = 0; j < 16; j++) {
            right[k][0][j] = emulated_number(emulated_tile[b][k].pair[j], 0);
            right[k][1][j] = emulated_number(emulated_tile[b][k].pair[j], 1);
        }
    for (int i = 0; i < EMULATED_ROWS; i++) {
        float first[16] = {0}, second[16] = {0}, *to = emulated_tile[c][i].x;
        for (int k = 0; k < EMULATED_ROWS; k++) {
            const uint32_t pair = emulated_tile[a][i].pair[k];
            const float x = emulated_number(pair, 0), y = emulated_number(pair, 1);
            for (int j = 0; j < 16; j++) {
                first[j] = emulated_flush(fmaf(x, right[k][0][j], first[j]));
                second[j] = emulated_flush(fmaf(y, right[k][1][j], second[j]));
            }
        }
        for (int j = 0; j < 16; j++)
            to[j] = emulated_flush(to[j] + emulated_flush(first[j] + second[j]));
    }
}

#endif
