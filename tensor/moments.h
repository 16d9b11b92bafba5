/* SPDX-License-Identifier: Apache-2.0 */
/* Mean and variance of the columns of x [R, C], from moments of parts of its rows.
 *
 * A part is 3 C + 1 numbers: a shift of each column, sums of x - shift and of its square, and how
 * many rows went in. The shift is a row of the part, so moments can be taken while x is written
 * and before anything is known of it: convolutions do so (conv.h). Which rows make a part has to
 * follow from the shape alone. */
#ifndef AK_MOMENTS_H
#define AK_MOMENTS_H

#include <string.h>

#include "base/whole.h"
#include "tensor/kernels/kernels.h"

static inline int64_t ak__moment_numbers(int64_t C) { return 3 * C + 1; }

/* An empty part. */
static inline void ak__moments_begin(ak_real *part, const ak_real *shift, int64_t C)
{
    memcpy(part, shift, (size_t)C * sizeof *part);
    memset(part + C, 0, (size_t)(2 * C + 1) * sizeof *part);
}

static inline void ak__moments_add(ak_real *part, const ak_real *x, int64_t R, int64_t C)
{
    ak__k.column_moments(part + C, part + 2 * C, x, part, R, C);
    part[3 * C] += (ak_real)R;
}

/* Rows of a chunk of a pass over x: about 64 KB, depends on C alone. */
int64_t ak__moment_rows(int64_t C);

/* Mean and population variance of each column, [C], to full accuracy whatever the mean, in one or
 * two passes over x. room: ak__statistics_room numbers. */
static inline int64_t ak__statistics_room(int64_t R, int64_t C)
{
    const int64_t rows = ak__moment_rows(C);
    return ak__ceil_div(R, rows) * ak__moment_numbers(C) + C;
}
void ak__column_statistics(const ak_real *x, int64_t R, int64_t C, ak_real *room, double *mean,
                           double *var);

/* The same from parts [parts][3 C + 1] of R rows together, none empty. False: shifts are so far
 * from the mean that the variance has lost digits, or squares overflowed. */
bool ak__moments_merge(const ak_real *part, int64_t parts, int64_t R, int64_t C, double *mean,
                       double *var);

#endif
