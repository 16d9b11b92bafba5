/* SPDX-License-Identifier: Apache-2.0 */
/* What every function asks about a tensor or an index array before it looks inside. */
#include "tensor/tensor_internal.h"

#include "base/frame.h"

#include <inttypes.h>
#include <stdio.h>

#define OF_FRAME                                                                                   \
    "%s that was made inside a part of the step that backward runs again was used after it\n"      \
    "    hint: what the function, or module, returns is all that is left of it; a loss on the "    \
    "way belongs inside, or its parts into what is returned"

bool ak__tensor_alive(ak_ctx *ctx, const ak_tensor *t, const char *who)
{
    if (ak__generation_lives(ctx, t->generation))
        return true;
    if (t->generation >= AK__FRAME_GENERATION)
        ak_fail(ctx, AK_ERR_STALE, "%s: " OF_FRAME, who, "a tensor");
    else
        ak_fail(ctx, AK_ERR_STALE, "%s: a tensor of an earlier step was used (made in step %" PRIu64
                ", now %" PRIu64 ")\n    hint: ak_step_end() ends every tensor of its step; "
                "ak_keep(t) makes a copy that stays", who, t->generation, ak__step_number(ctx));
    return false;
}

void ak__fail_poison(ak_ctx *ctx, const char *who, const char *what)
{
    /* Poison does not know its maker. Where nothing else leads to a context, an error that waits
     * in one of this thread's is the reason for it. */
    if (ctx ? ctx->status != AK_OK : ak__thread_ctx_failed() != NULL)
        return;
    ak_fail(ctx, AK_ERR_STATE, "%s: %s is poison: a call that failed in an earlier step, or in "
            "another context, made it\n    hint: the error was reported when it arose; do not go "
            "on with what the failed call returned", who, what);
}

bool ak__tensor_known(ak_ctx *ctx, const ak_tensor *t, const char *who, const char *what)
{
    if (!t)
        return ak__missing(ctx, who, what);
    if (t == &ak__poison) {
        ak__fail_poison(ctx, who, what);
        return false;
    }
    if (ctx && t->ctx != ctx) {
        ak_fail(ctx, AK_ERR_CONTEXT, "%s: %s belongs to another context", who, what);
        return false;
    }
    return ak__tensor_alive(t->ctx, t, who);
}

bool ak__tensor_check(ak_ctx *ctx, const ak_tensor *t, const char *who, const char *what)
{
    if (!ak__tensor_known(ctx, t, who, what))
        return false;
    /* The struct of a tensor is never const, only some that look at it promise not to change it;
     * making values again changes no number. */
    return !t->ctx->values_again || t->ctx->values_again((ak_tensor *)(uintptr_t)t);
}

ak_status ak__index_fault(const ak_ctx *ctx, const ak_index *x, char *text, size_t size)
{
    text[0] = 0;
    if (!x) {
        snprintf(text, size, "is missing (NULL)");
        return AK_ERR_VALUE;
    }
    if (x == &ak__poison_index) {
        snprintf(text, size, "is poison: a call that failed in an earlier step, or in another "
                 "context, made it\n    hint: the error was reported when it arose; do not go on "
                 "with what the failed call returned");
        return AK_ERR_STATE;
    }
    if (ctx && x->ctx != ctx) {
        snprintf(text, size, "belongs to another context");
        return AK_ERR_CONTEXT;
    }
    if (ak__generation_lives(x->ctx, x->generation))
        return AK_OK;
    if (x->generation >= AK__FRAME_GENERATION)
        snprintf(text, size, "is " OF_FRAME, "an index array");
    else
        snprintf(text, size, "is an index array of an earlier step (made in step %" PRIu64
                 ", now %" PRIu64 ")\n    hint: ak_step_end() ends every index array of its step; "
                 "ak_index_keep(x) makes a copy that stays", x->generation,
                 ak__step_number(x->ctx));
    return AK_ERR_STALE;
}

void ak__changed_outside(const ak_tensor *t, const char *who)
{
    ak_ctx *ctx = t->ctx;
    if (t->owner->generation == ctx->generation)
        return;
    const char *quote = t->name ? "\"" : "";
    ak_fail(ctx, AK_ERR_STATE, "%s: changes %s%s%s inside of %s, which backward runs a second "
            "time\n    hint: change it outside, before or after", who, quote,
            t->name ? t->name : "a tensor made outside", quote,
            ctx->frame->who ? ctx->frame->who : "a segment");
}

bool ak__index_known(ak_ctx *ctx, const ak_index *x, const char *who, const char *what)
{
    char text[320];
    if (!x)
        return ak__missing(ctx, who, what);
    if (x == &ak__poison_index) {
        ak__fail_poison(ctx, who, what);
        return false;
    }
    const ak_status status = ak__index_fault(ctx, x, text, sizeof text);
    if (status != AK_OK)
        ak_fail(ctx ? ctx : x->ctx, status, "%s: %s %s", who, what, text);
    return status == AK_OK;
}
