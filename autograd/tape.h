/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of autograd: what apply, backward, tracing and the tape printer share. Files call
 * downward in this list:
 *
 *     gradcheck.c registry.c  what an op says of itself, and whether it is true
 *     recompute.c             segments that backward runs again
 *     backward.c              the walk over the tape
 *     accumulate.c            whether gradients are a part of a sum
 *     apply.c                 the funnel, and how a call fails: after the tape is printed
 *     lifetime.c              values that are given back and made again
 *     tape_print.c trace.c    what ran
 *     call.c                  one call by itself
 */
#ifndef AK_TAPE_H
#define AK_TAPE_H

#include <akin/autograd.h>

#include "base/base.h"

/* Private bits of ak_tensor.flags. */
enum {
    AK__ON_TAPE = 16,           /* operand of a recorded call */
    AK__DONE_WITH = 32,         /* read by the tape only (ak_done_with) */
    AK__LENT = 64,              /* the memory of its gradient belongs to somebody else */
    AK__WALKED = 128            /* ak_backward started here */
};

/* Values smaller than this are not given back: not worth the trouble. Tests lower it. */
extern size_t ak__done_with_least;

/* The gradient of a leaf as it was before the backward that runs. */
typedef struct ak__undo {
    struct ak__undo *next;
    ak_tensor *leaf;
    ak_real   *grad;            /* where it was; NULL = there was none */
    ak_real   *copy;            /* what it was; NULL = zeros, or none */
} ak__undo;

/* Has operand i the numbers that forward saw? If not, an error says who changed them. */
bool ak__operand_unchanged(ak_call *k, int i);
/* Are the values of t there, made again if need be? If not, an error is recorded. */
bool ak__values_there(ak_tensor *t);
/* The same for an operand of an op that is applied now: it is in use again. */
bool ak__use_values(ak_tensor *t);
/* Around the backward of a call: make what it reads, give back what is not read any more. */
bool ak__values_before_backward(ak_call *k);
void ak__values_after_backward(ak_call *k);

/* Is k a segment that backward runs again, and reads whatever it was handed? */
bool ak__runs_again(const ak_call *k);
/* Around the forward of a call in a frame (recompute.c): is it one that can run there? What it
 * writes is put back where the frame runs a second time, and what it used is noted. */
bool ak__segment_before(ak_call *k);
void ak__segment_after(ak_call *k);
/* The walk of a frame's tape from y, which it made, within the backward that runs. */
ak_status ak__walk_segment(ak_tensor *y, const ak_real *dy);

/* Count one forward (or backward) of an op for ak_trace_print. */
void ak__trace_add(ak_ctx *ctx, const ak_op *op, bool backward, double seconds, double bytes,
                   double flops);
/* The i-th name of a list like "x w b" into buf, "" if it has none. Returns buf. */
const char *ak__name_in(const char *names, int i, char *buf, size_t size);
/* "matmul: a "w" [3,4] x ..." - operands with names and shapes into buf. */
void ak__call_operands_text(const ak_call *k, char *buf, size_t size);
double ak__call_flops(const ak_call *k);
double ak__call_bytes(const ak_call *k);    /* of the operands and the output */

#endif
