/* SPDX-License-Identifier: Apache-2.0 */
/* Rows so long that a sum of squares overflows, or so short that it vanishes. Who needs a length
 * takes it from ak__k.sum_squares; where that is not a trustworthy number, from here. */
#ifndef AK_FAR_ROWS_H
#define AK_FAR_ROWS_H

#include <akin/core.h>

#if AK_REAL_BITS == 64
#define AK__SMALLEST_SQUARES 1e-280
#define AK__LARGEST_SQUARES 1e300
#else
#define AK__SMALLEST_SQUARES 1e-30
#define AK__LARGEST_SQUARES 1e38
#endif

/* Is this sum of squares as exact as sums are? Not if it overflowed, or if squares that count may
 * have vanished (0 is not trusted either), or if it is NaN. */
static inline bool ak__squares_hold(ak_real s)
{
    return (double)s >= AK__SMALLEST_SQUARES && (double)s <= AK__LARGEST_SQUARES;
}

/* 1 / |x| of n numbers of any size, by way of the largest; 0 for a row of zeros, NaN if there is an
 * infinity or a NaN. */
double ak__far_inverse(const ak_real *x, int64_t n);
/* y = x / |x|, zeros for a row of zeros. Exact where 1 / |x| is no normal number, too. */
void ak__far_unit(ak_real *y, const ak_real *x, int64_t n);
/* sum (a u_i) (b v_i) in double: each factor first, so that nothing overflows on the way. */
double ak__far_dot(double a, const ak_real *u, double b, const ak_real *v, int64_t n);

#endif
