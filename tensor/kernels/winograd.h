/* SPDX-License-Identifier: Apache-2.0 */
/* Winograd convolution F(m x m, 3 x 3): m = 2 or 4 for stride 1, m = 4 for stride 2.
 *
 * A tile of m x m outputs needs inputs d, weights g; t^2 products of transformed numbers replace
 * the 9 m^2 of the plain sum for its output y:
 *     y  = A^T [(G g G^T) . (B^T d B)] A
 *     dg = G^T [(A dy A^T) . (B^T d B)] G
 * Stride 1: m + 2 inputs a side, t = m + 2. Interpolation points are 0, infinity and plus and
 * minus P (m = 2), or P and Q (m = 4). P = 5/8 and Q = 3/2 are exact in binary and lose less than
 * the usual 1 and 2: errors of a float convolution are a quarter as large.
 *
 * Stride 2: 2m + 1 inputs a side. Outer taps meet the m + 1 even inputs only, as two taps of
 * stride 1: m + 1 products with points plus and minus P, Q (1/2, 5/4), infinity. The middle tap
 * meets the m odd inputs, in m plain products with the same weight. t = 2m + 1: 81 products
 * instead of 144. The data gradient of a tile of 2m x 2m inputs, beginning with an odd one, is
 * made of m + 1 gradients a side in the same manner: its odd inputs are plain products, its even
 * ones have two taps. The weight gradient of stride 2 is left to plain sums, which are faster.
 *
 * No transform uses a number whose coefficient is 0, be it a NaN: what only missing results need
 * need not be there. */
#ifndef AK_KERNELS_WINOGRAD_H
#define AK_KERNELS_WINOGRAD_H

#include <akin/core.h>

#define AK__WINOGRAD_T 9        /* largest side of a transformed tile */

/* AK__WINOGRAD_P(m), AK__WINOGRAD_Q; of stride 2 */
#define AK__WINOGRAD_P(m) ((m) == 2 ? 1.0 : 0.625)
#define AK__WINOGRAD_Q    1.5
#define AK__WINOGRAD_P_2  0.5
#define AK__WINOGRAD_Q_2  1.25

typedef enum ak__winograd_kind {
    AK__WINOGRAD_INPUT,         /* B^T . B, inputs -> t x t */
    AK__WINOGRAD_OUTPUT,        /* A^T . A, t x t -> m x m */
    AK__WINOGRAD_WEIGHT,        /* G . G^T, 3 x 3 -> weights of points */
    AK__WINOGRAD_DY,            /* A . A^T, m x m -> t x t; stride 1 only */
    AK__WINOGRAD_DW,            /* G^T . G, sums of points -> 3 x 3; stride 1 only */
    AK__WINOGRAD_DATA_INPUT,    /* of the data gradient; for stride 1 as INPUT and OUTPUT */
    AK__WINOGRAD_DATA_OUTPUT,
} ak__winograd_kind;

static inline bool ak__winograd_makes_results(ak__winograd_kind kind)
{
    return kind == AK__WINOGRAD_OUTPUT || kind == AK__WINOGRAD_DATA_OUTPUT ||
           kind == AK__WINOGRAD_DW;
}

/* Points of one side, and how many different weights they have. */
static inline int ak__winograd_points(int stride, int m) { return stride == 2 ? 2 * m + 1 : m + 2; }
static inline int ak__winograd_weights(int m) { return m + 2; }
/* Which weight point k of a side has. */
static inline int ak__winograd_weight_of(int stride, int m, int k)
{
    return stride == 2 && k > m ? m + 1 : k;
}

/* Does only the last of m results (of the data gradient, the last pair) need point k? Infinity, and
 * of stride 2 the last plain product. A tile without that result does without those points. */
static inline bool ak__winograd_is_last(int stride, int m, int k)
{
    return stride == 2 ? k == m || k == 2 * m : k == m + 1;
}

/* Side of the square that a transform takes, and of the one that it makes. */
static inline int ak__winograd_side_in(ak__winograd_kind kind, int stride, int m)
{
    switch (kind) {
        case AK__WINOGRAD_INPUT:       return stride * m + 3 - stride;
        case AK__WINOGRAD_DATA_INPUT:  return stride == 2 ? m + 1 : m + 2;
        case AK__WINOGRAD_WEIGHT:      return 3;
        case AK__WINOGRAD_DY:          return m;
        case AK__WINOGRAD_DW:          return ak__winograd_weights(m);
        case AK__WINOGRAD_OUTPUT:
        case AK__WINOGRAD_DATA_OUTPUT: break;
    }
    return ak__winograd_points(stride, m);
}

static inline int ak__winograd_side_out(ak__winograd_kind kind, int stride, int m)
{
    switch (kind) {
        case AK__WINOGRAD_OUTPUT:      return m;
        case AK__WINOGRAD_DATA_OUTPUT: return stride * m;
        case AK__WINOGRAD_WEIGHT:      return ak__winograd_weights(m);
        case AK__WINOGRAD_DW:          return 3;
        case AK__WINOGRAD_INPUT:
        case AK__WINOGRAD_DATA_INPUT:
        case AK__WINOGRAD_DY:          break;
    }
    return ak__winograd_points(stride, m);
}

/* A square of numbers, each a run of n neighbours: (i, j) is at data + i row + j column. Only
 * i in [i0, i1), j in [j0, j1) exist: what is missing of a source counts as 0, what is missing of
 * a result is not written. */
typedef struct ak__winograd_square {
    ak_real *data;
    int64_t  row, column;
    int      i0, i1, j0, j1;
} ak__winograd_square;

typedef struct ak__winograd_call {
    int                 stride, m;
    ak__winograd_square in, out;        /* in is not written */
    int64_t             n;
    const ak_real      *bias;   /* [n], added to every (i, j); or NULL */
    bool                accumulate;
} ak__winograd_call;

/* Of the kinds that make results (OUTPUT, DATA_OUTPUT, DW), false: some are not finite before bias
 * and what is there are added. Such a one is written without `accumulate` only. */
bool ak__winograd_ref(ak__winograd_kind kind, const ak__winograd_call *c);

#endif
