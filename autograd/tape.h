/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of autograd: what apply, backward, tracing and the tape printer share. */
#ifndef AK_TAPE_H
#define AK_TAPE_H

#include <akin/autograd.h>

#include "base/base.h"

/* Count one forward (or backward) of an op for ak_trace_print. */
void ak__trace_add(ak_ctx *ctx, const ak_op *op, bool backward, double seconds, double bytes,
                   double flops);
/* "matmul: a "w" [3,4] x ..." - operands with names and shapes into buf. */
void ak__call_operands_text(const ak_call *k, char *buf, size_t size);
double ak__call_flops(const ak_call *k);

#endif
