/* SPDX-License-Identifier: Apache-2.0 */
/* Values that nobody but the tape reads: given back early, made again where that is cheap. */
#include "autograd/tape.h"
#include "tensor/tensor_internal.h"

static size_t bytes_of(const ak_tensor *t)
{
    return (size_t)t->size * sizeof(ak_real);
}

static void give_values(ak_tensor *t)
{
    ak__step_give(t->ctx, t->data, bytes_of(t));
    t->data = NULL;
}

void ak_done_with(ak_tensor *t, bool make_again)
{
    if (ak_is_poison(t) || t->ctx->status != AK_OK || t->generation != t->ctx->generation)
        return;
    /* An alias is not the owner of its numbers; small pieces are not worth the trouble. */
    if (t->root != t || (t->flags & AK__BORROWED) || !t->data || bytes_of(t) < AK__LARGE)
        return;
    t->flags |= AK__DONE_WITH;
    const bool wanted = t->flags & AK__ON_TAPE;     /* by a backward that is still to come */
    if (!wanted || (make_again && t->maker && t->maker->op->again))
        give_values(t);
}

static bool reads_operand(const ak_op *op, int i)
{
    return op->reads == 0 || (op->reads >> i & 1);
}

/* The values of the operands that backward and `again` read. */
static bool operands_there(ak_call *k)
{
    for (int i = 0; i < k->n_in; i++)
        if (k->in[i] && reads_operand(k->op, i) && !ak__values_there(k->in[i]))
            return false;
    return true;
}

bool ak__values_there(ak_tensor *t)
{
    ak_tensor *root = t->root;
    if (!root->data) {
        ak_call *k = root->maker;
        if (!k || !k->op->again) {
            ak_fail(t->ctx, AK_ERR_STATE, "%s: its values were given back\n    hint: call "
                    "ak_done_with after the last op that uses a tensor",
                    k ? k->op->name : "a tensor");
            return false;
        }
        if (!operands_there(k))
            return false;
        root->data = ak__step_alloc(root->ctx, bytes_of(root));
        if (!root->data)
            return false;
        const double start = root->ctx->tracing ? ak__now() : 0;
        k->op->again(k);
        if (root->ctx->tracing)
            ak__trace_add(root->ctx, k->op, false, ak__now() - start, (double)bytes_of(root),
                          (double)root->size);
    }
    t->data = root->data + t->offset;
    return t->ctx->status == AK_OK;
}

bool ak__use_values(ak_tensor *t)
{
    if (!(t->root->flags & AK__DONE_WITH))
        return true;
    t->root->flags &= (uint8_t)~AK__DONE_WITH;
    return ak__values_there(t);
}

bool ak__values_before_backward(ak_call *k)
{
    if (!operands_there(k))
        return false;
    if (k->op->reads == 0 || (k->op->reads & AK_READS_OUT))
        return ak__values_there(k->out);
    if ((k->out->flags & AK__DONE_WITH) && k->out->data)
        give_values(k->out);
    return true;
}

void ak__values_after_backward(ak_call *k)
{
    if ((k->out->flags & AK__DONE_WITH) && k->out->data)
        give_values(k->out);
}

ak_real *ak_call_out(ak_call *k)
{
    return ak__values_there(k->out) ? k->out->data : NULL;
}
