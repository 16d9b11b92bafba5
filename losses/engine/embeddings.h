/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of a loss: their sizes and checks, the norms of their rows, and the gradient back
 * through the normalisation. */
#ifndef AK_EMBEDDINGS_H
#define AK_EMBEDDINGS_H

#include "losses/engine/pairs.h"

/* Rows of unit(x) = x / max(|x|, this). */
#define AK__NORM_FLOOR 1e-12

ak__pair_sizes ak__pair_sizes_of(const ak_call *k);
ak_status ak__embeddings_check(ak_call *k);
/* Index operand of labels or ids, or none: n numbers from -1 (what that means is `unknown`) on. */
ak_status ak__pair_classes_check(ak_call *k, int operand, const char *name, const char *unknown,
                                 int64_t n);
/* A matrix [n, m], or operand -1. */
ak_status ak__pair_matrix_check(ak_call *k, int operand, const char *name, int64_t n, int64_t m);

/* Each row is its own column: one triangle of scores does for both. */
static inline bool ak__is_symmetric(const ak__pair_loss *o) { return !o->n_y && !o->first_view; }

/* Memory for copies and norms. */
void ak__embeddings_carve(ak__pair_run *run, ak__carver *c);
/* Fill it from the operands. */
void ak__embeddings_prepare(const ak_call *k, ak__pair_run *run);
/* Tell the walk where the rows are: in forward and again in backward, since values of operands may
 * have moved in between. */
void ak__embeddings_locate(const ak_call *k, ak__pair_run *run);
/* Upper bound of |s|. */
double ak__embeddings_bound(const ak__pair_run *run);

/* The gradient sweep and what it gives to embeddings and scale. */
bool ak__embeddings_backward(ak_call *k, ak__pair_run *run);
/* Forward of a cell-local program: sweep into run->gradient_x, gradient_y. */
bool ak__embeddings_sweep_once(ak_call *k, ak__pair_run *run);

#endif
