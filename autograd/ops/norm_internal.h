/* SPDX-License-Identifier: Apache-2.0 */
/* What norm.c (norms of rows) and channel_norm.c (batch and group norm) share. */
#ifndef AK_NORM_INTERNAL_H
#define AK_NORM_INTERNAL_H

#include <akin/op.h>
#include <akin/ops.h>

extern const ak_op ak__op_batch_norm, ak__op_batch_norm_add, ak__op_group_norm;

/* Operands 1 and 2, where given, are [D]. */
ak_status ak__norm_check_weights(ak_call *k, int64_t D);
/* eps in [0, ..). */
ak_status ak__norm_check_eps(ak_call *k, double eps);

/* dw, db [C] (each may be NULL) += the sum of part [parts][2][C], whose error does not grow with
 * their number. The parts are overwritten. norm.c */
void ak__add_pairs(ak_real *dw, ak_real *db, ak_real *part, int64_t parts, int64_t C);

/* Share of a batch in the running statistics, [0, 1]. */
static inline double ak__batch_norm_momentum(const ak_batch_norm_options *o)
{
    return o->momentum > 0 ? o->momentum : o->momentum == AK_NONE ? 0 : 0.1;
}

/* Values of an optional operand; NULL if absent. */
static inline const ak_real *ak__norm_values(const ak_call *k, int i)
{
    return i < k->n_in && k->in[i] ? k->in[i]->data : NULL;
}

static inline double ak__norm_flops(const ak_call *k)
{
    return 8.0 * (double)k->out->size;
}

#endif
