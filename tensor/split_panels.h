/* SPDX-License-Identifier: Apache-2.0 */
/* Panels of split operands (kernels.h) for any numbers.
 *
 * A panel with a number that the matrix unit can not take, one of AK_SPLIT_LIMIT or more, infinite
 * or NaN, keeps its numbers as they are; what is multiplied by it goes through the register tile.
 * So for operands of any size errors are no larger than those of plain sums, and infinity and NaN
 * give what they give there.
 *
 * Only where ak__k.split_multiply is there. */
#ifndef AK_SPLIT_PANELS_H
#define AK_SPLIT_PANELS_H

#include "kernels/kernels.h"

/* The arguments of ak__k.split_pack and ak__k.split_multiply. A panel may be entered at any
 * multiple of 32 of k. */
void ak__split_pack(void *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk, ak_real alpha,
                    bool k_major, bool left);
void ak__split_multiply(int64_t nk, const void *a, const ak_real *b, int64_t step, ak_real *c,
                        int64_t ldc, int m, int64_t n, bool accumulate);

#endif
