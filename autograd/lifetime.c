/* SPDX-License-Identifier: Apache-2.0 */
/* Values that nobody but the tape reads: given back early, made again where that is cheap. */
#include "autograd/tape.h"
#include "base/frame.h"
#include "tensor/tensor_internal.h"

#include <string.h>

size_t ak__done_with_least = AK__LARGE;

static size_t bytes_of(const ak_tensor *t)
{
    return (size_t)t->size * sizeof(ak_real);
}

static void give_values(ak_tensor *t)
{
#ifndef NDEBUG
    memset(t->data, 0xff, bytes_of(t));     /* NaN for those who read it nevertheless */
#endif
    ak__give_for(t->ctx, t->generation, t->data, bytes_of(t));
    t->data = NULL;
}

/* Not what somebody wrote into since: that would be lost. */
static bool can_make_again(const ak_tensor *t)
{
    return t->maker && t->maker->op->again && t->version == 0;
}

/* Will backward read the numbers of t, as the result of its maker or as an operand of what came
 * after that? Sums do not, so what a layer adds to the way around it may go at once. */
static bool backward_reads(const ak_tensor *t)
{
    const ak_call *maker = t->maker;
    if (!maker || maker->op->reads == 0 || (maker->op->reads & AK_READS_OUT))
        return true;
    for (const ak_call *k = t->ctx->tape; k != maker; k = k->prev) {
        if (!k)
            return true;                        /* recorded elsewhere: who knows */
        const unsigned reads = k->op->reads | k->op->again_reads;
        for (int i = 0; i < k->n_in; i++)
            if (k->in[i] && k->in[i]->owner == t &&
                (k->op->reads == 0 || ak__runs_again(k) || i >= 30 || (reads >> i & 1)))
                return true;
    }
    return false;
}

void ak_done_with(ak_tensor *t, bool make_again)
{
    if (!AK__TENSOR_ITSELF(NULL, t) || t->ctx->status != AK_OK || t->generation == 0)
        return;
    if (ak__from_outside(t->ctx, t->generation))
        return;                     /* the segment that runs will read it a second time */
    /* An alias is not the owner of its numbers; small pieces are not worth the trouble. */
    if (t->owner != t || t->root != t || !t->data || bytes_of(t) < ak__done_with_least)
        return;
    t->flags |= AK__DONE_WITH;
    t->ctx->values_again = ak__use_values;
    const bool wanted = t->flags & AK__ON_TAPE;     /* by a backward that is still to come */
    if (!wanted || (make_again && can_make_again(t)) || !backward_reads(t))
        give_values(t);
}

/* "<op>: <which> \"name\" [shape] was changed by <who> .." */
static bool fail_changed(ak_call *k, const ak_tensor *t, int operand)
{
    char shape[AK_SHAPE_TEXT], which[32] = "its result";
    if (operand >= 0)
        snprintf(which, sizeof which, "operand %d", operand);
    ak_fail(k->ctx, AK_ERR_STATE, "%s: %s %s%s%s%s was changed by %s after forward had used it, "
            "and backward needs the numbers of then\n    hint: call ak_backward before the change, "
            "or give the op a copy (ak_scale(t, 1))", k->op->name, which, t->name ? "\"" : "",
            t->name ? t->name : "", t->name ? "\" " : "", ak_shape_text(t->shape, shape),
            t->owner->changed_by);
    return false;
}

bool ak__operand_unchanged(ak_call *k, int i)
{
    return k->in[i]->owner->version == k->seen[i] || fail_changed(k, k->in[i], i);
}

/* The values of the operands in `reads`, all of them if that is 0, as forward saw them. */
static bool operands_there(ak_call *k, unsigned reads)
{
    for (int i = 0; i < k->n_in; i++) {
        if (!k->in[i] || (reads != 0 && (i >= 30 || !(reads >> i & 1))))
            continue;
        if (!ak__operand_unchanged(k, i) || !ak__values_there(k->in[i]))
            return false;
    }
    return true;
}

/* Operands that `again` alone reads and that were not there when `there` was noted: back they go,
 * since making them once more costs less than room for all links of a chain of skips. */
static void give_links(ak_call *k, unsigned there)
{
    for (int i = 0; i < k->n_in && i < 30; i++) {
        const bool link = (k->op->again_reads >> i & 1) && !(there >> i & 1);
        if (link && k->in[i] && k->in[i]->owner->data)
            give_values(k->in[i]->owner);
    }
}

static unsigned operands_that_are_there(const ak_call *k)
{
    unsigned there = 0;
    for (int i = 0; i < k->n_in && i < 30; i++)
        there |= (unsigned)(k->in[i] && k->in[i]->owner->data) << i;
    return there;
}

/* The values of the output of k, which were given back. */
static bool make_again(ak_call *k)
{
    ak_tensor *out = k->out;
    const unsigned there = operands_that_are_there(k);
    if (!operands_there(k, k->op->reads ? k->op->reads | k->op->again_reads : 0))
        return false;
    out->data = ak__alloc_for(out->ctx, out->generation, bytes_of(out));
    if (!out->data)
        return false;
    out->ctx->adopted++;
    const double start = out->ctx->tracing ? ak__now() : 0;
    k->op->again(k);
    if (out->ctx->tracing)
        ak__trace_add(out->ctx, k->op, false, ak__now() - start, (double)bytes_of(out),
                      (double)out->size);
    give_links(k, there);
    return true;
}

bool ak__values_there(ak_tensor *t)
{
    ak_tensor *owner = t->owner;
    if (!owner->data) {
        ak_call *k = owner->maker;
        if (!k || !can_make_again(owner)) {
            ak_fail(t->ctx, AK_ERR_STATE, "%s: its values were given back (ak_done_with)\n"
                    "    hint: call ak_done_with after the last op that uses a tensor; losses that "
                    "share such a tensor need one backward, of their sum",
                    k ? k->op->name : "a tensor");
            return false;
        }
        if (!make_again(k))
            return false;
    }
    t->data = owner->data + t->owner_offset;
    return t->ctx->status == AK_OK;
}

bool ak__use_values(ak_tensor *t)
{
    if (!(t->owner->flags & AK__DONE_WITH))
        return true;
    /* In a segment that backward runs again it is read as backward reads it, no longer. */
    if (!ak__from_outside(t->ctx, t->owner->generation))
        t->owner->flags &= (uint8_t)~AK__DONE_WITH;
    return ak__values_there(t);
}

bool ak__values_before_backward(ak_call *k)
{
    if (!operands_there(k, k->op->reads))
        return false;
    if (k->op->reads == 0 || (k->op->reads & AK_READS_OUT))
        return (k->out->version == 0 || fail_changed(k, k->out, -1)) && ak__values_there(k->out);
    if ((k->out->flags & AK__DONE_WITH) && k->out->data)
        give_values(k->out);
    return true;
}

void ak__values_after_backward(ak_call *k)
{
    if ((k->out->flags & AK__DONE_WITH) && k->out->data)
        give_values(k->out);
}

void ak_call_done_reading(ak_call *k, int i)
{
    if (!AK__GIVEN(NULL, k))
        return;
    ak_tensor *owner = k->in[i]->owner;
    if (!(owner->flags & AK__DONE_WITH) || !owner->data || !owner->maker)
        return;
    /* Not if its own maker's backward is going to read it: it would be made for that at once. */
    const ak_op *op = owner->maker->op;
    if (can_make_again(owner) && op->reads != 0 && !(op->reads & AK_READS_OUT))
        give_values(owner);
}

ak_real *ak_call_out(ak_call *k)
{
    if (!AK__GIVEN(NULL, k))
        return NULL;
    if (k->out->version != 0 && !fail_changed(k, k->out, -1))
        return NULL;
    return ak__values_there(k->out) ? k->out->data : NULL;
}
