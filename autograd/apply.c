/* SPDX-License-Identifier: Apache-2.0 */
/* THE funnel: every op passes through ak_apply, once. */
#include "autograd/tape.h"
#include "base/real.h"
#include "base/text.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

ak_status ak_call_fail(ak_call *k, ak_status status, const char *format, ...)
{
    if (!AK__GIVEN(NULL, k) || !AK__GIVEN(k->ctx, format))
        return ak__refused(NULL);
    if (k->ctx->status != AK_OK)
        return status;
    char    what[400], operands[400], hint[sizeof k->ctx->hint + 16] = "";
    va_list args;
    va_start(args, format);
    ak__format_v(what, sizeof what, format, args);
    va_end(args);
    ak__call_operands_text(k, operands, sizeof operands);
    if (k->ctx->tracing)            /* before the hook, which may end the program */
        ak_tape_print(k->ctx, stderr);
    if (k->ctx->hint_of == k)
        snprintf(hint, sizeof hint, "\n    hint: %s", k->ctx->hint);
    k->ctx->hint_of = NULL;
    return ak_fail(k->ctx, status, "%s: %s: %s\n    op #%" PRId64 " of step %" PRIu64
                   "; run with AK_TRACE=1 to see what ran%s", k->op->name, what, operands,
                   k->number, k->ctx->generation, hint);
}

/* "operand b" into buf: by its name in the record, or by its number. */
static const char *operand_name(const ak_op *op, int i, int n_in, char *buf, size_t size)
{
    const char *name = op->operands ? op->operands : n_in == 1 ? "x" : n_in == 2 ? "a b" : "";
    for (int skip = i; skip > 0 && *name; skip--) {
        name += strcspn(name, " ");
        name += strspn(name, " ");
    }
    if (*name && !(op->flags & AK_OP_VARIADIC))
        snprintf(buf, size, "operand %.*s", (int)strcspn(name, " "), name);
    else
        snprintf(buf, size, "operand %d", i);
    return buf;
}

static bool is_required(const ak_op *op, int i)
{
    return !(op->flags & AK_OP_OPTIONAL_IN) || i < (op->required ? op->required : 1);
}

/* What is missing or poison is said in the context of the other operands, if there is one. */
static void refuse(ak_ctx *ctx, const ak_op *op, ak_tensor *const *in, int n_in)
{
    char what[80];
    for (int i = 0; i < n_in; i++) {
        if (!in[i] && is_required(op, i)) {
            ak__missing(ctx, op->name, operand_name(op, i, n_in, what, sizeof what));
            return;
        }
        if (in[i] == &ak__poison) {
            ak__fail_poison(ctx, op->name, operand_name(op, i, n_in, what, sizeof what));
            return;
        }
    }
}

/* Missing operands, poison, staleness, mixed contexts. NULL: refused. */
static ak_ctx *check_operands(const ak_op *op, ak_tensor *const *in, int n_in)
{
    ak_ctx *ctx = NULL;
    bool    complete = true;
    for (int i = 0; i < n_in; i++) {
        if (!in[i] || in[i] == &ak__poison)
            complete = complete && !in[i] && !is_required(op, i);
        else if (!ctx)
            ctx = in[i]->ctx;
    }
    if (!complete)
        refuse(ctx, op, in, n_in);
    if (!complete || !ctx || ctx->status != AK_OK)
        return NULL;
    for (int i = 0; i < n_in; i++) {
        if (!in[i])
            continue;
        if (in[i]->ctx != ctx) {
            char what[80];
            ak_fail(ctx, AK_ERR_CONTEXT, "%s: %s belongs to another context", op->name,
                    operand_name(op, i, n_in, what, sizeof what));
            return NULL;
        }
        if (in[i]->generation != 0 && in[i]->generation != ctx->generation) {
            ak__tensor_alive(ctx, in[i], op->name);
            return NULL;
        }
        if (!ak__use_values(in[i]))
            return NULL;
    }
    return ctx;
}

static bool all_finite(const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(ak__fabs(x[i]) <= AK_REAL_MAX))
            return false;
    return true;
}

static void check_numbers(ak_call *k)
{
    const ak_tensor *y = k->out;
    if (k->op->flags & AK_OP_MAKES_INF)
        return;
    for (int64_t i = 0; i < y->size; i++) {
        if (ak__fabs(y->data[i]) <= AK_REAL_MAX)
            continue;
        int bad = -1;
        for (int j = 0; j < k->n_in && bad < 0; j++)
            if (k->in[j] && !all_finite(k->in[j]->data, k->in[j]->size))
                bad = j;
        if (bad >= 0)
            ak_call_fail(k, AK_ERR_NUMBER, "operand %d holds a number that is not finite", bad);
        else
            ak_call_fail(k, AK_ERR_NUMBER, "made %g at element %" PRId64 " from finite operands",
                         (double)y->data[i], i);
        return;
    }
}

ak_status ak_call_constant(ak_call *k, int i, const char *what)
{
    if (!AK__GIVEN(NULL, k))
        return ak__refused(NULL);
    if (!k->in[i] || !k->in[i]->root->needs_grad || k->ctx->no_grad > 0)
        return AK_OK;
    ak_call_hint(k, "ak_detach(t) is t as a constant");
    return ak_call_fail(k, AK_ERR_VALUE, "operand %d%s%s is a constant of this op, but needs a "
                        "gradient", i, what ? ", " : "", what ? what : "");
}

/* Operands that the record says are constants. */
static bool constants_are_constant(ak_call *k)
{
    for (int i = 0; k->op->constants >> i && i < k->n_in; i++)
        if ((k->op->constants >> i & 1) && ak_call_constant(k, i, NULL) != AK_OK)
            return false;
    return true;
}

/* After forward: what it saw, which backward compares; batch norm changes running statistics. */
static void record_call(ak_call *k)
{
    ak_ctx *ctx = k->ctx;
    for (int i = 0; i < k->n_in; i++) {
        if (!k->in[i])
            continue;
        k->in[i]->owner->flags |= AK__ON_TAPE;
        k->seen[i] = k->in[i]->owner->version;
    }
    k->prev = ctx->tape;
    ctx->tape = k;
    ctx->recorded++;
}

ak_tensor *ak_apply(const ak_op *op, ak_tensor *const *in, int n_in, const void *attr)
{
    if (!AK__GIVEN(NULL, op) || !AK__GIVEN(NULL, in))
        return &ak__poison;
    if (n_in < 1 || !op->name || !op->shape || !op->forward) {
        ak_fail(NULL, AK_ERR_VALUE, "ak_apply: %s: %d operands, one at least is needed; the record "
                "needs .name, .shape and .forward", op->name ? op->name : "(no name)", n_in);
        return &ak__poison;
    }
    ak_ctx *ctx = check_operands(op, in, n_in);
    if (!ctx)
        return &ak__poison;

    bool wants_grad = false;
    for (int i = 0; i < n_in; i++)
        wants_grad = wants_grad || (in[i] && in[i]->root->needs_grad);
    bool record = wants_grad && op->backward && ctx->no_grad == 0;

    /* The call, its operand list, their versions and its options are one piece of step memory. */
    size_t   list = ak__round_up(sizeof(ak_call));
    size_t   seen = list + (size_t)n_in * sizeof(ak_tensor *);
    size_t   options = ak__round_up(seen + (size_t)n_in * sizeof(uint32_t));
    ak_call *k = ak__step_alloc(ctx, options + op->attr_size);
    if (!k)
        return &ak__poison;
    *k = (ak_call){ .ctx = ctx, .op = op, .in = (ak_tensor **)((char *)k + list), .n_in = n_in,
                    .attr = (char *)k + options, .number = ++ctx->calls,
                    .seen = (uint32_t *)((char *)k + seen) };
    memcpy(k->in, in, (size_t)n_in * sizeof *in);
    if (op->attr_size) {
        if (attr)
            memcpy((char *)k + options, attr, op->attr_size);
        else
            memset((char *)k + options, 0, op->attr_size);
    }

    /* Shape functions look at a stand-in: the output is allocated when its size is known. */
    ak_tensor stand_in = { .ctx = ctx };
    k->out = &stand_in;
    if (op->shape(k) != AK_OK || ctx->status != AK_OK ||
        (op->constants && !constants_are_constant(k)))
        return &ak__poison;
    k->out = ak__tensor_new(ctx, stand_in.shape);
    if (k->out == &ak__poison)
        return &ak__poison;
    k->out->needs_grad = record;
    k->out->maker = record ? k : NULL;

    double start = ctx->tracing ? ak__now() : 0;
    op->forward(k);
    ak__scratch_end(ctx);
    if (ctx->tracing) {
        k->seconds = ak__now() - start;
        ak__trace_add(ctx, op, false, k->seconds, ak__call_bytes(k), ak__call_flops(k));
    }
    if (ctx->check_numbers && ctx->status == AK_OK)
        check_numbers(k);
    if (ctx->status != AK_OK)
        return &ak__poison;
    if (record)
        record_call(k);
    return k->out;
}
