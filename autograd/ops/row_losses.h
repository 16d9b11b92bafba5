/* SPDX-License-Identifier: Apache-2.0 */
/* What softmax.c, class_losses.c and row_losses.c share: one family in three files, log-sum-exp of
 * rows, sums of per-row losses. */
#ifndef AK_ROW_LOSSES_H
#define AK_ROW_LOSSES_H

#include <akin/op.h>

#include "autograd/ops/common.h"
#include "base/real.h"

extern const ak_op ak__op_cross_entropy, ak__op_cross_entropy_soft, ak__op_kl_div_logits;
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

/* log sum exp of a row is top + log sum. As one number it would be as coarse as top is, and all
 * probabilities with it; apart both are exact, whatever is added to all logits. */
typedef struct ak__row_sum {
    ak_real top, sum;           /* sum of e^(x - top) */
} ak__row_sum;

/* top is -inf if all are, and not finite if one is +inf or NaN; then sum is 1. */
static inline ak__row_sum ak__row_sum_of(const ak_real *x, int64_t D)
{
    const ak_real top = ak__k.max(x, D);
    if (!(ak__fabs(top) <= AK_REAL_MAX))
        return (ak__row_sum){ top, 1 };
    return (ak__row_sum){ top, ak__k.exp_sum(NULL, x, top, D) };
}

/* -log softmax(x)_i = log_sum + (top - x_i) */
static inline double ak__minus_log_share(ak__row_sum s, double log_sum, ak_real x)
{
    return log_sum + ((double)s.top - (double)x);
}

static inline double ak__softmax_flops(const ak_call *k)
{
    return 12.0 * (double)k->in[0]->size;
}

#endif
