/* SPDX-License-Identifier: Apache-2.0 */
/* Backward: one walk over the tape; where gradients live while it runs, and how they are put back
 * when it fails. */
#include "autograd/accumulate.h"
#include "autograd/tape.h"
#include "base/frame.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

static size_t bytes_of(const ak_tensor *t)
{
    return (size_t)t->size * sizeof(ak_real);
}

/* ---- a backward that fails changes no gradient ----------------------------------------------- */

/* The step, or frame, whose memory a gradient of this root is in. */
static uint64_t home_of(const ak_tensor *root)
{
    return root->generation ? root->generation : ak__step_number(root->ctx);
}

/* A gradient in the memory of an earlier step went with it. */
static void drop_old(ak_tensor *leaf)
{
    if (leaf->grad_step && leaf->grad_step != home_of(leaf))
        leaf->grad = NULL;
}

_Static_assert(sizeof(ak__undo) <= AK__SHELL_SIZE, "a note fits into a slot");

/* Before the first number of this walk goes into the gradient of a leaf: remember what is there.
 * That is zeros after an optimiser step, and nothing has to be copied; a second backward before the
 * next step copies once. False: out of memory. */
static bool remember(ak_tensor *leaf)
{
    ak_ctx *ctx = leaf->ctx;
    drop_old(leaf);
    leaf->walk = ctx->walk;
    if (leaf->generation >= AK__FRAME_GENERATION)
        return true;                /* it ends with its frame, before this walk does */
    /* A shell: a small piece of step memory between two large gradients could open a block. */
    ak__undo *u = ak__shell_of_step(ctx);
    if (!u)
        return false;
    *u = (ak__undo){ .next = ctx->undo, .leaf = leaf, .grad = leaf->grad };
    if (leaf->grad && !leaf->grad_is_zero) {
        u->copy = ak__alloc_for(ctx, ak__step_number(ctx), bytes_of(leaf));
        if (!u->copy)
            return false;
        memcpy(u->copy, leaf->grad, bytes_of(leaf));
    }
    ctx->undo = u;
    leaf->grad_is_zero = false;
    return true;
}

static void forget_gradients(ak_ctx *ctx)
{
    for (ak__undo *u = ctx->undo; u; u = u->next)
        if (u->copy)
            ak__step_give(ctx, u->copy, bytes_of(u->leaf));
    ctx->undo = NULL;
}

/* A leaf without gradient gets zeros where memory can be had: programs that read on without looking
 * at the status find that nothing was added, not NULL. */
static void give_zeros(ak_tensor *leaf)
{
    leaf->grad = ak__step_alloc(leaf->ctx, bytes_of(leaf));
    leaf->grad_step = leaf->ctx->generation;
    leaf->grad_is_zero = leaf->grad != NULL;
    if (leaf->grad)
        memset(leaf->grad, 0, bytes_of(leaf));
}

static void restore_gradients(ak_ctx *ctx, ak_call *from)
{
    for (ak__undo *u = ctx->undo; u; u = u->next) {
        ak_tensor *leaf = u->leaf;
        leaf->grad = u->grad;
        if (u->copy)
            memcpy(leaf->grad, u->copy, bytes_of(leaf));
        else if (leaf->grad)
            memset(leaf->grad, 0, bytes_of(leaf));
        leaf->grad_is_zero = leaf->grad && !u->copy;
    }
    ctx->undo = NULL;
    for (ak_call *k = from; k; k = k->prev) {
        k->out->grad = NULL;            /* of the half that was done */
        for (int i = 0; i < k->n_in; i++) {
            ak_tensor *t = k->in[i];
            if (!t || t->root->maker)
                continue;
            drop_old(t->root);
            if (t->root->needs_grad && !t->root->grad)
                give_zeros(t->root);
            t->grad = t->root->grad ? t->root->grad + t->offset : NULL;
        }
    }
}

/* ---- memory of gradients --------------------------------------------------------------------- */

/* Gradient memory of a root tensor, uninitialised. */
static ak_real *grad_memory(ak_tensor *root)
{
    root->grad_step = home_of(root);
    return ak__alloc_for(root->ctx, root->grad_step, bytes_of(root));
}

ak_real *ak_call_grad_fresh(ak_call *k, int i, bool *fresh)
{
    if (!AK__GIVEN(NULL, k) || !AK__GIVEN(k->ctx, fresh))
        return NULL;
    ak_tensor *t = k->in[i];
    *fresh = false;
    if (!t || !t->root->needs_grad)
        return NULL;
    ak_tensor *root = t->root;
    if (!root->maker && root->walk != k->ctx->walk && !remember(root))
        return NULL;
    if (!root->grad) {
        root->grad = grad_memory(root);
        if (!root->grad)
            return NULL;
        /* An alias of a part leaves the rest untouched, so that has to be zero. */
        *fresh = t->size == root->size;
        if (!*fresh)
            memset(root->grad, 0, bytes_of(root));
    }
    if (!root->maker)
        t->grad = root->grad + t->offset;
    return root->grad + t->offset;
}

ak_real *ak_call_grad_over(ak_call *k, int i, bool *fresh)
{
    if (!AK__GIVEN(NULL, k) || !AK__GIVEN(k->ctx, fresh))
        return NULL;
    ak_tensor *t = k->in[i], *out = k->out;
    /* Leaves have a gradient of their own; one that is shared, or lent, must not change, and one
     * from outside of a segment outlives its memory. */
    if (!t || t->root != t || !t->needs_grad || t->grad || !t->maker || t->size != out->size ||
        (out->flags & AK__LENT) || ak__from_outside(k->ctx, t->generation))
        return ak_call_grad_fresh(k, i, fresh);
    out->flags |= AK__LENT;
    *fresh = true;
    return t->grad = out->grad;
}

ak_real *ak_call_grad(ak_call *k, int i)
{
    if (!AK__GIVEN(NULL, k))
        return NULL;
    bool     fresh;
    ak_real *g = ak_call_grad_fresh(k, i, &fresh);
    if (g && fresh)
        memset(g, 0, bytes_of(k->in[i]));
    return g;
}

/* Gradients of leaves stay; what ops made gives its memory back for the calls before it, and starts
 * anew in the next walk. */
static void give_back(ak_tensor *out)
{
    if (!(out->flags & AK__LENT))
        ak__step_give(out->ctx, out->grad, bytes_of(out));
    out->flags &= (uint8_t)~AK__LENT;
    out->grad = NULL;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static ak_status walk(ak_ctx *ctx, ak_call *from)
{
    for (ak_call *k = from; k; k = k->prev) {
        ak_tensor *out = k->out;
        if (!out->grad)
            continue;               /* the loss does not depend on it */
        if (!ak__accumulate_fits(k) || !ak__values_before_backward(k))
            return ctx->status;
        double start = ctx->tracing ? ak__now() : 0;
        k->op->backward(k);
        ak__scratch_end(ctx);
        if (ctx->tracing)
            ak__trace_add(ctx, k->op, true, ak__now() - start,
                          (double)out->size * (double)sizeof(ak_real), 2 * ak__call_flops(k));
        if (ctx->status != AK_OK)
            return ctx->status;
        give_back(out);
        ak__values_after_backward(k);
    }
    return AK_OK;
}

/* Start with the caller's array itself where it covers the root: the ops on the tape are the older
 * ones, which read this gradient and add to those of their operands. */
static bool set_start(const ak_tensor *y, ak_tensor *root, const ak_real *dy)
{
    if (y->size == root->size) {
        memcpy(&root->grad, &dy, sizeof dy);
        root->flags |= AK__LENT;
        return true;
    }
    root->grad = grad_memory(root);
    if (!root->grad)
        return false;
    memset(root->grad, 0, bytes_of(root));
    memcpy(root->grad + y->offset, dy, bytes_of(y));
    return true;
}

/* A gradient that is not finite, from a loss that was: said here, before it reaches the weights.
 * The caller's array is looked at only then, to say whether it began there: a pass over it in
 * every walk would cost the row-wise ops a tenth of their time. */
static ak_status check_gradients(ak_ctx *ctx, const ak_tensor *y, const ak_real *dy)
{
    for (const ak__undo *u = ctx->undo; u; u = u->next) {
        const ak_tensor *t = u->leaf;
        int64_t at = 0;
        const int64_t bad = t->generation == 0 && t->name && t->grad
                                ? ak__count_not_finite(t->grad, t->size, &at) : 0;
        int64_t from = 0;
        if (bad && ak__count_not_finite(dy, y->size, &from))
            return ak_fail(ctx, AK_ERR_NUMBER, "backward: dy is %g at %lld, and %lld of %lld "
                           "numbers of the gradient of \"%s\" are not finite\n    hint: "
                           "ak_options.allow_nan lets it pass", (double)dy[from], (long long)from,
                           (long long)bad, (long long)t->size, t->name);
        if (bad)
            return ak_fail(ctx, AK_ERR_NUMBER, "backward: %lld of %lld numbers of the gradient of "
                           "\"%s\" are not finite, the first is %g at %lld\n    hint: "
                           "ak_check_numbers(ctx, true) names the op that first makes such a "
                           "number forwards; a square root, norm or logarithm at 0 makes one "
                           "backwards. ak_options.allow_nan lets it pass", (long long)bad,
                           (long long)t->size, t->name, (double)t->grad[at], (long long)at);
    }
    return AK_OK;
}

ak_status ak__walk_segment(ak_tensor *y, const ak_real *dy)
{
    if (!y->root->maker)
        return y->ctx->status;      /* a constant in this part */
    return set_start(y, y->root, dy) ? walk(y->ctx, y->root->maker) : AK_ERR_MEMORY;
}

static ak_status backward_from(ak_tensor *y, const ak_real *dy)
{
    ak_ctx *ctx = y->ctx;
    ak_tensor *root = y->root;
    if (!root->maker)
        return ak_fail(ctx, AK_ERR_STATE, "backward: nothing was recorded for this tensor\n"
                       "    hint: no operand needed a gradient (ak_param, ak_require_grad), or it "
                       "was made between ak_no_grad_begin() and ak_no_grad_end()");
    ctx->walk++;
    ctx->adopted++;                 /* leaves get gradients in memory of now */
    if (!set_start(y, root, dy))
        return AK_ERR_MEMORY;
    ak_status status = walk(ctx, root->maker);
    if (status == AK_OK && !ctx->allow_nan)
        status = check_gradients(ctx, y, dy);
    if (status == AK_OK)
        forget_gradients(ctx);
    else
        restore_gradients(ctx, root->maker);
    return status;
}

ak_status ak_backward_from(ak_tensor *y, const ak_real *dy)
{
    if (!AK__TENSOR_ITSELF(NULL, y) || !AK__GIVEN(y->ctx, dy))
        return ak__refused(y ? y->ctx : NULL);
    ak_ctx *ctx = y->ctx;
    if (ctx->status != AK_OK || !ak__outside_frames(ctx, "ak_backward"))
        return ctx->status;
    const ak_real share = (ak_real)ak__accumulate_share(ctx);
    ak_real one, *part = &one;
    if (share < 1) {
        if (y->size > 1)
            part = ak__step_alloc(ctx, bytes_of(y));
        for (int64_t i = 0; part && i < y->size; i++)
            part[i] = dy[i] * share;
    }
    if (!part)
        return ctx->status;
    const ak_status status = backward_from(y, share < 1 ? part : dy);
    if (part != &one)
        ak__step_give(ctx, part, bytes_of(y));
    if (status == AK_OK)
        ak__accumulate_note(ctx);
    return status;
}

/* What the loss is, before its gradient spoils every weight. */
static ak_status check_loss(const ak_tensor *loss)
{
    ak_ctx *ctx = loss->ctx;
    if (ctx->status != AK_OK || ctx->allow_nan || !ak__tensor_alive(ctx, loss, "backward"))
        return ctx->status;
    const double value = (double)*loss->data;
    if (isfinite(value))
        return AK_OK;
    const ak_call *k = loss->root->maker;
    return ak_fail(ctx, AK_ERR_NUMBER, "backward: the loss%s%s is %g, made by %s%s\n    hint: "
                   "ak_check_numbers(ctx, true) names the op that first makes such a number; "
                   "ak_options.allow_nan lets it pass", loss->name ? " " : "",
                   loss->name ? loss->name : "", value, k ? k->op->name : "nothing recorded",
                   k ? "" : " (a leaf)");
}

ak_status ak_backward(ak_tensor *loss)
{
    if (!AK__TENSOR_ITSELF(NULL, loss))
        return ak__refused(loss ? loss->ctx : NULL);
    if (loss->size != 1) {
        char text[AK_SHAPE_TEXT];
        return ak_fail(loss->ctx, AK_ERR_SHAPE, "backward: a loss is one number, this is %s\n"
                       "    hint: ak_mean() or ak_sum() first, or ak_backward_from()",
                       ak_shape_text(loss->shape, text));
    }
    if (loss->flags & AK__WALKED)
        return ak_fail(loss->ctx, AK_ERR_STATE, "backward: it already ran over this loss\n"
                       "    hint: once is enough; a multiple of the gradient is ak_scale(loss, 2), "
                       "or ak_backward_from()");
    ak_status status = check_loss(loss);
    if (status == AK_OK)
        status = ak_backward_from(loss, &(ak_real){ 1 });
    if (status == AK_OK)
        loss->flags |= AK__WALKED;
    return status;
}

void ak_no_grad_begin(ak_ctx *ctx)
{
    if (AK__GIVEN(NULL, ctx))
        ctx->no_grad++;
}

void ak_no_grad_end(ak_ctx *ctx)
{
    if (AK__GIVEN(NULL, ctx) && ctx->no_grad > 0)
        ctx->no_grad--;
    else
        ak_fail(ctx, AK_ERR_STATE, "no_grad_end: there is no ak_no_grad_begin() that it ends");
}

ak_tensor *ak_detach(ak_tensor *x)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    ak_tensor *t = ak__tensor_alias(x, x->shape, 0);
    if (t == &ak__poison)
        return t;
    t->root = t;
    t->offset = 0;
    t->maker = NULL;
    t->grad = NULL;
    t->walk = t->grad_step = 0;
    t->needs_grad = t->grad_is_zero = false;
    t->flags &= AK__OF_ROWS;
    return t;
}

void ak_train_mode(ak_ctx *ctx, bool train)
{
    if (AK__GIVEN(NULL, ctx))
        ctx->evaluating = !train;
}

bool ak_is_training(const ak_ctx *ctx)
{
    return AK__GIVEN(NULL, ctx) && !ctx->evaluating;
}

void ak_zero_grad(ak_ctx *ctx)
{
    if (AK__GIVEN(NULL, ctx) && ak__outside_frames(ctx, "ak_zero_grad") &&
        ak__accumulate_ended(ctx, "ak_zero_grad"))
        ak__zero_param_grads(ctx);
}
