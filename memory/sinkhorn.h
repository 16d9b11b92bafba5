/* SPDX-License-Identifier: Apache-2.0 */
/* Balanced assignment: the passes over scores (sinkhorn.c), and the way to a tolerance above them
 * (sinkhorn_newton.c). */
#ifndef AK_SINKHORN_H
#define AK_SINKHORN_H

#include "tensor/tensor_internal.h"

/* code_ij = exp(s_ij / eps + f_i + g_j); rows sum to r_i before they are divided by it. */
typedef struct ak__sinkhorn {
    ak_ctx *ctx;
    const ak_real *scores;      /* [N, K] */
    int64_t N, K;
    int64_t chunk, chunks;      /* rows of a task, tasks */
    double  inverse_eps;
    bool    exact;              /* exponentials in double, whatever the build */
    double *log_r, *f;          /* [N] */
    double *log_c, *g, *lse;    /* [K] lse: of s / eps + f, over the rows */
    double *top, *sum;          /* [chunks, K] partial results of chunks */
    unsigned char *scratch;     /* a thread's: [K] doubles, [K] ak_reals */
    size_t  scratch_bytes;
} ak__sinkhorn;

/* lse_j = log sum_i e^(s_ij / eps + f_i). */
void ak__sinkhorn_columns(ak__sinkhorn *p);
/* f_i, and where not NULL: the code of row i, [K]; r_i code_ij is added to sum[j] and r_i code_ij^2
 * to square[j]. */
void ak__sinkhorn_row(ak__sinkhorn *p, int64_t i, ak_real *code, double *sum, double *square);
/* g and codes [N, K] whose columns' sums are right within `tolerance` of each. *iterations made,
 * `most` at most; *error is what was reached. False: out of memory, recorded. */
bool ak__sinkhorn_until(ak__sinkhorn *p, ak_real *codes, double tolerance, int most,
                        int *iterations, double *error);

#endif
