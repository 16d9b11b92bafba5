/* SPDX-License-Identifier: Apache-2.0 */
/* The five small transforms of a Winograd convolution F(m x m, 3 x 3), m = 2 or 4.
 *
 * A tile of m x m outputs needs t x t inputs, t = m + 2. With input d, weights g, output y, all
 * t^2 products of transformed numbers replace the 9 m^2 of the plain sum:
 *     y  = A^T [(G g G^T) . (B^T d B)] A
 *     dg = G^T [(A dy A^T) . (B^T d B)] G
 * Interpolation points are 0, infinity and plus and minus P (m = 2), or P and Q (m = 4). P = 5/8
 * and Q = 3/2 are exact in binary and lose less than the usual 1 and 2: errors of a float
 * convolution are a quarter as large. */
#ifndef AK_KERNELS_WINOGRAD_H
#define AK_KERNELS_WINOGRAD_H

#include <akin/core.h>

#define AK__WINOGRAD_T 6        /* largest side of a transformed tile */

/* AK__WINOGRAD_P(m), AK__WINOGRAD_Q */
#define AK__WINOGRAD_P(m) ((m) == 2 ? 1.0 : 0.625)
#define AK__WINOGRAD_Q    1.5

typedef enum ak__winograd_kind {
    AK__WINOGRAD_INPUT,         /* B^T . B, t x t -> t x t */
    AK__WINOGRAD_OUTPUT,        /* A^T . A, t x t -> m x m */
    AK__WINOGRAD_WEIGHT,        /* G . G^T, 3 x 3 -> t x t */
    AK__WINOGRAD_DY,            /* A . A^T, m x m -> t x t */
    AK__WINOGRAD_DW,            /* G^T . G, t x t -> 3 x 3 */
} ak__winograd_kind;

/* A square of numbers, each a run of n neighbours: (i, j) is at data + i row + j column. Only
 * i in [i0, i1), j in [j0, j1) exist: what is missing of a source counts as 0, what is missing of
 * a result is not written. */
typedef struct ak__winograd_square {
    ak_real *data;
    int64_t  row, column;
    int      i0, i1, j0, j1;
} ak__winograd_square;

typedef struct ak__winograd_call {
    int                 m;      /* 2 or 4 */
    ak__winograd_square in, out;        /* in is not written */
    int64_t             n;
    const ak_real      *bias;   /* [n], added to every (i, j); or NULL */
    bool                accumulate;
} ak__winograd_call;

void ak__winograd_ref(ak__winograd_kind kind, const ak__winograd_call *c);

#endif
