/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products: packing and the loops around the register tile (gemm.c).
 *
 * Same bits for any number of threads: threads split M and N only, and a product with a long K
 * and a small result is cut along K into chunks whose number depends on the shape alone, their
 * results added in order. Called inside a parallel region it runs on the calling thread.
 * Packing buffers come from a process-wide pool that ak_open() fills, so a product never fails.
 *
 * Where the kernels have products of split operands (split_panels.h, AMX), products large enough
 * use them: whether depends on the shape alone.
 */
#ifndef AK_GEMM_H
#define AK_GEMM_H

#include "kernels/kernels.h"

/* nn: A[M,K] B[K,N];  nt: A[M,K] B[N,K]^T;  tn: A[K,M]^T B[K,N] */
typedef enum ak__gemm_form { AK__NN, AK__NT, AK__TN } ak__gemm_form;

/* What happens to a finished piece of C while it is still in cache, in this order. */
typedef struct ak__epilogue {
    const ak_real *bias;        /* [N], added to each row; NULL = none */
    bool           relu;        /* max(., 0) */
} ak__epilogue;

/* C[M,N] = alpha op(A) op(B) + beta C, then the epilogue (ep may be NULL).
 * beta 0: C is not read (it may hold NaN). K = 0, and likewise alpha = 0, gives beta C: then A and
 * B are not read. */
void ak__gemm(ak__gemm_form form, int64_t M, int64_t N, int64_t K, ak_real alpha,
              const ak_real *A, int64_t lda, const ak_real *B, int64_t ldb, ak_real beta,
              ak_real *C, int64_t ldc, const ak__epilogue *ep);

/* `batch` products of one shape, strides in elements (0 = the same operand for all). */
void ak__gemm_batched(ak__gemm_form form, int64_t batch, int64_t M, int64_t N, int64_t K,
                      ak_real alpha, const ak_real *A, int64_t lda, int64_t stride_a,
                      const ak_real *B, int64_t ldb, int64_t stride_b, ak_real beta,
                      ak_real *C, int64_t ldc, int64_t stride_c);

/* Make sure that packing buffers for `threads` threads exist. False: out of memory. */
bool ak__gemm_reserve(int threads);
/* In a process that was just forked off: buffers that other threads of the parent held are free. */
void ak__gemm_forked(void);

#endif
