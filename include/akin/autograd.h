/* SPDX-License-Identifier: Apache-2.0 */
/* akin/autograd.h - gradients: backward, what is recorded, looking at the tape, checking.
 *
 * Ops record themselves while they run (a tape). ak_backward() walks it once from the newest call
 * to the oldest and adds into the gradient of every parameter and of every tensor marked with
 * ak_require_grad(). Parameters accumulate until an optimiser step zeroes them.
 *
 *     ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2), (ak_real[]){ 3, 4 }));
 *     ak_backward(ak_sum(ak_square(x)));              // x->grad is { 6, 8 }
 *     ak_step_end(ctx);
 */
#ifndef AKIN_AUTOGRAD_H
#define AKIN_AUTOGRAD_H

#include <akin/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Compute gradients of a one-element tensor by everything recorded that it depends on.
 *
 *   grad      dL/dx is added into x->grad; d loss/d loss = 1
 *   errors    AK_ERR_SHAPE if loss has more than one element; the pending error if there is one;
 *             AK_ERR_STATE if nothing was recorded for it, if backward already ran over this loss,
 *             if an operand whose numbers backward needs was changed after forward (an optimiser
 *             step, ak_fill, ..; the message says by what; see ak_touch), or if they were given
 *             back (ak_done_with); AK_ERR_NUMBER if the loss is NaN or infinite (names its value
 *             and op), or if it is finite and the gradient of a parameter is not (names that):
 *             ak_options.allow_nan lets both pass. After an error all gradients are what they were
 *             before, zeros for leaves that had none
 *
 * Several losses of a step may share any part of what they are made from, in any order: gradients
 * add up as if the losses had been added. Only ak_done_with is in the way: values that the first
 * backward gave back and that can not be made again are AK_ERR_STATE in the second. A second
 * backward before the next optimiser step copies the gradients it adds to, so that it can put them
 * back if it fails; one backward of the sum is faster.
 */
AK_API ak_status ak_backward(ak_tensor *loss);
/* The same from a given upstream gradient, of y's size, which is read until the call returns. It
 * may be called for one y as often as you like: gradients add up. A dy that is not finite is the
 * AK_ERR_NUMBER above where that reaches a parameter. */
AK_API ak_status ak_backward_from(ak_tensor *y, const ak_real *dy);

/* Gradients of a large batch in k steps of the k-th part of it (micro-batches): each backward in
 * between adds 1/k of its gradient, so that a parameter gets the mean over all.
 *
 *     ak_accumulate_begin(ctx, 4);
 *     for (int i = 0; i < 4 && ak_loader_next(loader, &b); i++) {
 *         ak_tensor *y = ak_forward(net, b.view[0]);
 *         ak_backward(ak_cross_entropy(y, b.label, (ak_cross_entropy_options){ 0 }));
 *         ak_step_end(ctx);
 *     }
 *     ak_accumulate_end(ctx);
 *     ak_optim_step(opt);
 *
 * That is the gradient of the batch where the loss is a mean over samples and micro-batches are of
 * equal size, and the network keeps samples apart (batch norm takes its statistics from each
 * micro-batch). A loss over pairs is none: its gradient for a sample depends on all others. It is
 * refused; ak_forward_chunked (akin/recompute.h) is the way to large batches.
 *
 *   k         micro-batches, [1, ..); with 1 nothing changes. Each is a step, of any number of
 *             losses: what counts is that a backward ran in it, and it ends with ak_step_end
 *   end       says if there were more or fewer; the gradients stay as they are
 *   errors    begin: AK_ERR_VALUE for k < 1, AK_ERR_STATE inside of another. end: AK_ERR_STATE
 *             without a begin, and for another number of micro-batches. In between AK_ERR_STATE:
 *             ak_optim_step, clipping, ak_zero_grad and ak_checkpoint_save (which holds no
 *             gradients); and, for k > 1, a backward through a loss over pairs (those of
 *             akin/losses.h in both forms, but for InfoNCE with .no_batch_negatives; ops with the
 *             flag AK_OP_ACROSS_SAMPLES). A composition of one's own is not found. Several
 *             ak_backward without a begin add up, as always
 */
AK_API ak_status ak_accumulate_begin(ak_ctx *ctx, int64_t k);
AK_API ak_status ak_accumulate_end(ak_ctx *ctx);

/* Between these nothing is recorded. Pairs nest, and last over ak_step_end. errors: AK_ERR_STATE
 * for an end without a beginning. */
AK_API void ak_no_grad_begin(ak_ctx *ctx);
AK_API void ak_no_grad_end(ak_ctx *ctx);
/* Say that from now on only backward reads the values of t (nor does anybody read those of a tensor
 * that shares its memory). They are given back to the step as soon as backward has passed, and at
 * once where no backward reads them (sums read no operands): at the peak of a step less memory is
 * in use. For modules whose intermediate results nobody else sees;
 * it changes no result.
 *
 *   make_again   give them back now where the op can make them again (norms, ops of one operand),
 *                at the price of one more pass when backward comes to them
 *   after it     t->data must not be read; an op that takes t nevertheless makes it a usual tensor
 *                again, or fails with AK_ERR_STATE when its values are gone for good
 *   no effect    on parameters, aliases, kept and small tensors; after an error. make_again has
 *                none on a tensor whose numbers were changed since the op made them
 */
AK_API void ak_done_with(ak_tensor *t, bool make_again);

/* Run a part of the network without keeping what it makes on the way: only what it returns stays,
 * and backward runs it a second time when it comes there. A chain of such segments keeps one map
 * each, and the values of one of them at a time, for one more forward pass (Chen et al., "Training
 * deep nets with sublinear memory cost", arXiv 1604.06174). For modules: akin/recompute.h.
 *
 *     static ak_tensor *block(ak_tensor *const *in, int n, void *user) { .. in[0], user .. }
 *     y = ak_recompute(ctx, block, &layers[i], &x, 1);
 *
 *   fn        from the operands to one tensor, by ops and modules; the same each time, since it
 *             runs once for every backward that comes to it, too. It may use any other tensors
 *             (parameters, what was made before): they get their gradients as if it stood there
 *             itself. Segments nest
 *   in        handed to fn as they are (NULL too); so is user, which must live as long as the tape
 *   returns   a tensor of the step with the numbers that fn returned
 *   grad      bit for bit those of fn itself
 *   random    the second run draws the same numbers, in the mode (ak_train_mode) of the first
 *   state     what an op of fn writes (running statistics) is written in the first run only
 *   no tape   between ak_no_grad_begin and ak_no_grad_end it is a call of fn
 *   errors    those of fn. AK_ERR_VALUE if it returns NULL. AK_ERR_STATE in fn for ak_backward,
 *             ak_zero_grad, ak_step_end, and for a change of what is outside, which would be made
 *             twice: of a tensor (ak_copy, ak_freeze, an optimiser step, a moving average, ..), a
 *             queue or bank, the place of a loader. AK_ERR_STALE for a tensor made in fn and used
 *             after it. ak_backward: AK_ERR_STATE if a tensor that fn used was changed since, or if
 *             the second run gives other numbers or draws more or fewer of them
 */
typedef ak_tensor *(*ak_segment_fn)(ak_tensor *const *in, int n, void *user);
AK_API ak_tensor *ak_recompute(ak_ctx *ctx, ak_segment_fn fn, void *user, ak_tensor *const *in,
                               int n);

/* The same numbers as a constant; shares memory (also after ak_done_with), gradient stops here. */
AK_API ak_tensor *ak_detach(ak_tensor *x);
/* Train (true, the default) or evaluation mode: dropout, noise and batch norm look at it. */
AK_API void ak_train_mode(ak_ctx *ctx, bool train);
AK_API bool ak_is_training(const ak_ctx *ctx);
/* Zero the gradients of all parameters (an optimiser step does it by itself). */
AK_API void ak_zero_grad(ak_ctx *ctx);

/* ---- looking at the tape -------------------------------------------------------------------- */

/* One line a recorded call: number, op, operand shapes and names, output shape. */
AK_API void ak_tape_print(ak_ctx *ctx, FILE *file);
/* A table: op, shape, bytes, FLOPs, time (time only while tracing). */
AK_API void ak_tape_table(ak_ctx *ctx, FILE *file);
/* A Graphviz digraph: `dot -Tsvg`. */
AK_API void ak_tape_dot(ak_ctx *ctx, FILE *file);
/* Calls, time and bytes per op: gathered while on, printed by ak_close (to stderr). An op that
 * fails while it is on prints the tape first. AK_TRACE=1 in the environment switches it on from
 * the start. */
AK_API void ak_trace(ak_ctx *ctx, bool on);
AK_API void ak_trace_print(ak_ctx *ctx, FILE *file);

/* ---- proving gradients ---------------------------------------------------------------------- */

/* A closure: from n operands to any tensor. */
typedef ak_tensor *(*ak_grad_fn)(ak_tensor *const *in, int n, void *user);

typedef struct ak_gradcheck {
    double step;        /* of the central difference; 0 = 1e-6 in double, 1e-3 in float */
    double worst;       /* result: largest relative error, |a - n| / max(1, |a|, |n|) */
    int    operand;     /* result: where it was */
    int64_t element;
    double analytic, numeric;
} ak_gradcheck;

/* Compare backward with central differences for every element of every operand that needs a
 * gradient (parameters among the operands included). The output is reduced to one number with
 * fixed random weights. Backward runs twice: into memory that it has to fill, and on top of numbers
 * that are there already, so that one which assigns instead of adding is found. Ends the running
 * step, several times: operands must live as long as the context (ak_keep or ak_param). Their
 * gradients are left as they were.
 *
 *   returns   AK_OK if all could be computed (compare result->worst with your tolerance). A right
 *             gradient has 1e-9 in the double build (akin/core.h: AK_REAL_BITS) and 1e-4 to 1e-2
 *             in float; a wrong one has 0.1 and more. Kinks (relu at 0, a maximum that changes
 *             hands) closer than `step` look wrong: draw other operands
 */
AK_API ak_status ak_gradcheck_fn(ak_ctx *ctx, ak_grad_fn fn, void *user, ak_tensor *const *in,
                                 int n, ak_gradcheck *result);
/* The same for one sample of an op. */
AK_API ak_status ak_gradcheck_op(ak_ctx *ctx, const ak_op *op, const ak_sample *sample,
                                 uint64_t seed, ak_gradcheck *result);

#ifdef __cplusplus
}
#endif
#endif
