/* SPDX-License-Identifier: Apache-2.0 */
/* Eigenvalues of symmetric matrices. */
#ifndef AK_EIGENVALUES_H
#define AK_EIGENVALUES_H

#include <stdbool.h>
#include <stdint.h>

/* Eigenvalues of a [n, n] (row-major, symmetric; overwritten) into value [n], in no order; room
 * [n]. Errors are of the order of the rounding of the largest. False: no convergence, which numbers
 * that are not finite alone can cause. */
bool ak__eigenvalues(double *a, int64_t n, double *value, double *room);

#endif
