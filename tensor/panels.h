/* SPDX-License-Identifier: Apache-2.0 */
/* Products of operands that are packed once and used again, on the calling thread.
 *
 * gemm.c packs both operands each time. Where many products share operands (tiles of a similarity
 * matrix: a row of blocks uses the same rows of X against every block of Y) that is a good part of
 * the work. Here the caller packs into its own memory and multiplies panels.
 *
 * Where the kernels have products of split operands, panels are split (split_panels.h). */
#ifndef AK_PANELS_H
#define AK_PANELS_H

#include "gemm.h"

typedef enum ak__side_of { AK__LEFT, AK__RIGHT } ak__side_of;

/* X(i, k), i < I, k < K, in panels of some positions: for each block of kb along K all panels, each
 * [kb][positions] or split; positions past I are 0. */
typedef struct ak__panels {
    const ak_real *data;
    int64_t        I, K;
    int64_t        kb;          /* block of K: of K alone */
    ak__side_of    side;
} ak__panels;

/* Are panels split? They take half as much again then. */
bool ak__panels_are_split(void);
/* Elements that ak__panels_pack writes; `to` is aligned to 64 bytes. */
int64_t ak__panels_size(int64_t I, int64_t K, ak__side_of side);

/* Pack alpha * X. X is stored [I, K] with leading dimension ld, or [K, I] if k_major. */
ak__panels ak__panels_pack(ak_real *to, const ak_real *x, int64_t ld, bool k_major, int64_t I,
                           int64_t K, ak_real alpha, ak__side_of side);

/* C[A.I, B.I] = A B^T, added to C if `accumulate`. Sums over k have one order, that of ak__gemm
 * unless panels are split. */
void ak__panels_multiply(const ak__panels *A, const ak__panels *B, ak_real *C, int64_t ldc,
                         bool accumulate);

/* The same with a left operand that stays where it is: rows A(i, k) = a[i * lda + k], i < M. */
void ak__panels_multiply_rows(const ak_real *a, int64_t lda, int64_t M, const ak__panels *B,
                              ak_real *C, int64_t ldc, bool accumulate);

#endif
