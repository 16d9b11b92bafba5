/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of a batch in several steps. Backward starts from 1/k instead of 1, so that nothing has
 * to be divided afterwards, and refuses what is no mean over samples: a loss over pairs of a small
 * batch never meets the pairs of the large one. */
#include "autograd/accumulate.h"

#include <akin/autograd.h>

#include "base/base.h"
#include "base/frame.h"

#include <inttypes.h>

ak_status ak_accumulate_begin(ak_ctx *ctx, int64_t k)
{
    if (!AK__GIVEN(NULL, ctx))
        return ak__refused(NULL);
    if (ctx->status != AK_OK || !ak__outside_frames(ctx, "ak_accumulate_begin"))
        return ctx->status;
    if (k < 1)
        return ak_fail(ctx, AK_ERR_VALUE, "ak_accumulate_begin: k = %" PRId64 " micro-batches, "
                       "must be at least 1", k);
    if (!ak__accumulate_ended(ctx, "ak_accumulate_begin"))
        return ctx->status;
    ctx->accumulate.of = k;
    ctx->accumulate.done = 0;
    ctx->accumulate.step = 0;
    return AK_OK;
}

ak_status ak_accumulate_end(ak_ctx *ctx)
{
    if (!AK__GIVEN(NULL, ctx))
        return ak__refused(NULL);
    if (!ak__outside_frames(ctx, "ak_accumulate_end"))
        return ctx->status;
    const int64_t of = ctx->accumulate.of, done = ctx->accumulate.done;
    ctx->accumulate.of = 0;
    if (ctx->status != AK_OK)
        return ctx->status;
    if (of == 0)
        return ak_fail(ctx, AK_ERR_STATE, "ak_accumulate_end: there is no ak_accumulate_begin() "
                       "that it ends");
    if (done != of)
        return ak_fail(ctx, AK_ERR_STATE, "ak_accumulate_end: %" PRId64 " steps had a backward, %"
                       PRId64 " were announced: the gradients are the sum over those, divided by "
                       "%" PRId64 "\n    hint: each micro-batch ends with ak_step_end(); where "
                       "fewer are left, ak_accumulate_begin() is told their number; "
                       "ak_zero_grad() drops the gradients", done, of, of);
    return AK_OK;
}

double ak__accumulate_share(const ak_ctx *ctx)
{
    return ctx->accumulate.of > 1 ? 1.0 / (double)ctx->accumulate.of : 1;
}

void ak__accumulate_note(ak_ctx *ctx)
{
    /* Steps count from 1. */
    if (ctx->accumulate.of == 0 || ctx->accumulate.step == ctx->generation)
        return;
    ctx->accumulate.step = ctx->generation;
    ctx->accumulate.done++;
}

/* The last op of a composed form says nothing. */
static const char *pairs_name(const ak_call *k)
{
    return k->op->flags & AK_OP_ACROSS_SAMPLES ? k->op->name : "a loss over pairs";
}

bool ak__accumulate_fits(const ak_call *k)
{
    ak_ctx *ctx = k->ctx;
    if (!k->across_samples || ctx->accumulate.of <= 1)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "backward: %s scores samples of the batch against each other: its "
            "mean over %" PRId64 " micro-batches is not the loss of the batch that they make\n"
            "    hint: ak_forward_chunked() encodes a large batch in little memory, exactly. If "
            "the loss is meant for each micro-batch by itself: ak_scale(loss, 1.0 / k) without "
            "ak_accumulate_begin()", pairs_name(k), ctx->accumulate.of);
    return false;
}

bool ak__accumulate_ended(ak_ctx *ctx, const char *who)
{
    if (ctx->accumulate.of == 0)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "%s: gradients of %" PRId64 " of %" PRId64 " micro-batches have "
            "been added up\n    hint: ak_accumulate_end() first", who, ctx->accumulate.done,
            ctx->accumulate.of);
    return false;
}
