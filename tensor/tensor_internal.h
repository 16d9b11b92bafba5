/* SPDX-License-Identifier: Apache-2.0 */
/* Making tensors, for the layers that do: ops, modules, losses. */
#ifndef AK_TENSOR_INTERNAL_H
#define AK_TENSOR_INTERNAL_H

#include <akin/tensor.h>

#include "base/base.h"

/* What failed calls return; one for the process, so that it exists when memory does not. */
extern ak_tensor ak__poison;
extern ak_index  ak__poison_index;

/* A step tensor with uninitialised data. Poison (recorded) on failure. */
ak_tensor *ak__tensor_new(ak_ctx *ctx, ak_shape shape);
/* A step tensor that shares x's memory from `offset` elements on; keeps its gradient root. */
ak_tensor *ak__tensor_alias(ak_tensor *x, ak_shape shape, int64_t offset);
/* Is t of the running step or of the context? Records AK_ERR_STALE if not. */
bool ak__tensor_alive(ak_ctx *ctx, const ak_tensor *t, const char *who);
/* Note that `who` ("ak_fill") changed the numbers of t; of a string that stays. Every function that
 * writes into tensors which a program may have used already has to call it: see ak_touch. */
static inline void ak__changed(ak_tensor *t, const char *who)
{
    t->owner->version++;
    t->owner->changed_by = who;
}
/* Is t alive, and are its numbers there (not given back by ak_done_with)? Records the error. */
bool ak__tensor_readable(ak_ctx *ctx, const ak_tensor *t, const char *who);
/* Zero the gradient of every parameter. */
void ak__zero_param_grads(ak_ctx *ctx);
/* Number of elements; -1 if a dim is negative, there are too many axes, or it overflows. */
int64_t ak__shape_check(ak_shape shape);

#endif
