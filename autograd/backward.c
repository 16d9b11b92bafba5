/* SPDX-License-Identifier: Apache-2.0 */
/* Backward: one walk over the tape; where gradients live while it runs. */
#include "autograd/tape.h"
#include "tensor/tensor_internal.h"

#include <string.h>

/* Gradient memory of a root tensor, uninitialised. */
static ak_real *grad_memory(ak_tensor *root)
{
    ak_ctx *ctx = root->ctx;
    size_t  bytes = (size_t)root->size * sizeof(ak_real);
    return ak__step_alloc(ctx, bytes);
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
    if (!root->grad) {
        root->grad = grad_memory(root);
        if (!root->grad)
            return NULL;
        /* An alias of a part leaves the rest untouched, so that has to be zero. */
        *fresh = t->size == root->size;
        if (!*fresh)
            memset(root->grad, 0, (size_t)root->size * sizeof(ak_real));
    }
    t->grad = root->grad + t->offset;
    return t->grad;
}

ak_real *ak_call_grad_over(ak_call *k, int i, bool *fresh)
{
    if (!AK__GIVEN(NULL, k) || !AK__GIVEN(k->ctx, fresh))
        return NULL;
    ak_tensor *t = k->in[i], *out = k->out;
    /* Leaves have a gradient of their own; one that is shared, or lent, must not change. */
    if (!t || t->root != t || !t->needs_grad || t->grad || !t->maker || t->size != out->size ||
        (out->flags & AK__LENT))
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
        memset(g, 0, (size_t)k->in[i]->size * sizeof(ak_real));
    return g;
}

/* Gradients of leaves stay; what ops made gives its memory back for the calls before it. */
static void give_back(ak_tensor *out)
{
    if (!(out->flags & AK__LENT))
        ak__step_give(out->ctx, out->grad, (size_t)out->size * sizeof(ak_real));
    out->grad = NULL;
}

static ak_status walk(ak_ctx *ctx, ak_call *from)
{
    for (ak_call *k = from; k; k = k->prev) {
        ak_tensor *out = k->out;
        if (!out->grad || (out->flags & AK__WALKED))
            continue;               /* the loss does not depend on it */
        if (!ak__values_before_backward(k))
            return ctx->status;
        double start = ctx->tracing ? ak__now() : 0;
        k->op->backward(k);
        ak__scratch_end(ctx);
        if (ctx->tracing)
            ak__trace_add(ctx, k->op, true, ak__now() - start,
                          (double)out->size * (double)sizeof(ak_real), 2 * ak__call_flops(k));
        if (ctx->status != AK_OK)
            return ctx->status;
        out->flags |= AK__WALKED;
        give_back(out);
        ak__values_after_backward(k);
    }
    return AK_OK;
}

/* Start with the caller's array itself where it covers the root: the ops on the tape are the older
 * ones, which read this gradient and add to those of their operands. */
static bool set_start(const ak_tensor *y, ak_tensor *root, const ak_real *dy)
{
    const size_t bytes = (size_t)root->size * sizeof(ak_real);
    if (y->size == root->size) {
        memcpy(&root->grad, &dy, sizeof dy);
        root->flags |= AK__LENT;
        return true;
    }
    root->grad = grad_memory(root);
    if (!root->grad)
        return false;
    memset(root->grad, 0, bytes);
    memcpy(root->grad + y->offset, dy, (size_t)y->size * sizeof(ak_real));
    return true;
}

ak_status ak_backward_from(ak_tensor *y, const ak_real *dy)
{
    if (!AK__TENSOR_ITSELF(NULL, y) || !AK__GIVEN(y->ctx, dy))
        return ak__refused(y ? y->ctx : NULL);
    ak_ctx *ctx = y->ctx;
    if (ctx->status != AK_OK)
        return ctx->status;
    ak_tensor *root = y->root;
    if (!root->maker)
        return ak_fail(ctx, AK_ERR_STATE, "backward: nothing was recorded for this tensor\n"
                       "    hint: no operand needed a gradient (ak_param, ak_require_grad), or it "
                       "was made between ak_no_grad_begin() and ak_no_grad_end()");
    if (root->flags & AK__WALKED)
        return ak_fail(ctx, AK_ERR_STATE, "backward: it already ran over this tensor\n"
                       "    hint: add the losses and call ak_backward once a step");
    if (!set_start(y, root, dy))
        return AK_ERR_MEMORY;
    const ak_status status = walk(ctx, root->maker);
    if (root->flags & AK__LENT)
        root->grad = NULL;
    return status;
}

ak_status ak_backward(ak_tensor *loss)
{
    if (!AK__TENSOR_ITSELF(NULL, loss))
        return ak__refused(loss ? loss->ctx : NULL);
    if (loss->size != 1) {
        char text[160];
        return ak_fail(loss->ctx, AK_ERR_SHAPE, "backward: a loss is one number, this is %s\n"
                       "    hint: ak_mean() or ak_sum() first, or ak_backward_from()",
                       ak_shape_text(loss->shape, text));
    }
    return ak_backward_from(loss, &(ak_real){ 1 });
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
    t->needs_grad = false;
    t->flags = AK__BORROWED;
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
    if (AK__GIVEN(NULL, ctx))
        ak__zero_param_grads(ctx);
}
