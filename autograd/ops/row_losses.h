/* SPDX-License-Identifier: Apache-2.0 */
/* What softmax.c and row_losses.c share: one family in two files, and sums of per-row losses. */
#ifndef AK_ROW_LOSSES_H
#define AK_ROW_LOSSES_H

#include <akin/op.h>

#include "autograd/ops/common.h"

extern const ak_op ak__op_bce_logits, ak__op_mse, ak__op_l1, ak__op_huber, ak__op_smooth_l1;
extern const ak_op ak__op_cosine_similarity, ak__op_pairwise_sqdist;

/* Rows of a chunk, by their width alone. */
static inline int64_t ak__loss_rows(int64_t C)
{
    return C >= AK__SPAN ? 1 : AK__SPAN / (C > 0 ? C : 1);
}

/* Sum of the chunks' parts in order. */
static inline double ak__loss_total(const double *part, int64_t N, int64_t C)
{
    double total = 0;
    for (int64_t c = 0; c < ak__chunk_count(N, ak__loss_rows(C)); c++)
        total += part[c];
    return total;
}

#endif
