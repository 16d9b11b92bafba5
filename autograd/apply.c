/* SPDX-License-Identifier: Apache-2.0 */
/* THE funnel: every op passes through ak_apply, once. */
#include "autograd/tape.h"
#include "base/frame.h"
#include "base/real.h"
#include "base/text.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Parts of the way that every op takes: calls between them would be a tenth of what a tiny op
 * costs. */
#if defined(__GNUC__)
#define HOT static inline __attribute__((always_inline))
#else
#define HOT static inline
#endif

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
                   k->number, ak__step_number(k->ctx), hint);
}

/* "operand b" into buf: by its name in the record, or by its number. */
static const char *operand_name(const ak_op *op, int i, int n_in, char *buf, size_t size)
{
    const char *names = op->operands ? op->operands : n_in == 1 ? "x" : n_in == 2 ? "a b" : "";
    char        name[64];
    ak__name_in(names, i, name, sizeof name);
    if (name[0] && !(op->flags & AK_OP_VARIADIC))
        snprintf(buf, size, "operand %s", name);
    else
        snprintf(buf, size, "operand %d", i);
    return buf;
}

static bool is_required(const ak_op *op, int i)
{
    return !(op->flags & AK_OP_OPTIONAL_IN) || i < (op->required ? op->required : 1);
}

/* Operands that must be handed in; the others may be left out. */
static int least_operands(const ak_op *op)
{
    if (op->flags & AK_OP_OPTIONAL_IN)
        return op->required ? op->required : 1;
    return op->flags & AK_OP_VARIADIC ? 1 : op->n_in;
}

/* As many operands as the record has? */
static bool count_fits(const ak_op *op, const ak_operands *o)
{
    const bool any = op->flags & AK_OP_VARIADIC;
    if (o->n_in >= least_operands(op) && (any || o->n_in <= op->n_in) && o->n_index >= 0 &&
        o->n_index <= op->n_index && (o->index || !o->n_index))
        return true;
    ak_ctx *ctx = o->n_in > 0 && o->in[0] ? o->in[0]->ctx : NULL;
    ak_fail(ctx, AK_ERR_VALUE, "ak_apply: %s: %d operands and %d index arrays; the record takes %d "
            "to %d%s and up to %d", op->name, o->n_in, o->n_index, least_operands(op), op->n_in,
            any ? " or more" : "", op->n_index);
    return false;
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
HOT ak_ctx *check_operands(const ak_op *op, ak_tensor *const *in, int n_in)
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
        if (in[i]->generation != 0 && in[i]->generation != ctx->generation &&
            !ak__tensor_alive(ctx, in[i], op->name))
            return NULL;
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

/* ---- index operands -------------------------------------------------------------------------- */

/* Into k->index one by one, so that a message shows those that were found in order. */
static bool take_indices(ak_call *k, const ak_operands *from)
{
    char text[320], name[80];
    for (int i = 0; i < k->op->n_index; i++) {
        ak_index *x = i < from->n_index ? from->index[i] : NULL;
        if (!x && (k->op->index_optional >> i & 1))
            continue;
        const ak_status status = ak__index_fault(k->ctx, x, text, sizeof text);
        if (status != AK_OK) {
            ak_call_fail(k, status, "%s %s",
                         ak__name_in(k->op->indices, i, name, sizeof name), text);
            return false;
        }
        k->index[i] = x;
    }
    return true;
}

ak_status ak_call_index_shape(ak_call *k, int i, ak_shape shape)
{
    char name[80], has[AK_SHAPE_TEXT], wanted[AK_SHAPE_TEXT];
    if (!AK__GIVEN(NULL, k))
        return ak__refused(NULL);
    const ak_index *x = k->index[i];
    if (!x || ak_shape_equal(x->shape, shape))
        return AK_OK;
    return ak_call_fail(k, AK_ERR_SHAPE, "%s is %s, expected %s",
                        ak__name_in(k->op->indices, i, name, sizeof name),
                        ak_shape_text(x->shape, has), ak_shape_text(shape, wanted));
}

ak_status ak_call_index_range(ak_call *k, int i, int64_t lo, int64_t hi)
{
    char name[80];
    if (!AK__GIVEN(NULL, k))
        return ak__refused(NULL);
    const ak_index *x = k->index[i];
    for (int64_t j = 0; x && j < x->size; j++)
        if (x->data[j] < lo || x->data[j] >= hi)
            return ak_call_fail(k, AK_ERR_VALUE, "%s[%" PRId64 "] = %d is not in [%" PRId64 ", %"
                                PRId64 ")", ak__name_in(k->op->indices, i, name, sizeof name), j,
                                (int)x->data[j], lo, hi);
    return AK_OK;
}

/* ---- operands that a call writes ------------------------------------------------------------- */

static bool overlap(const ak_tensor *a, const ak_tensor *b)
{
    return a->owner == b->owner && a->owner_offset < b->owner_offset + b->size &&
           b->owner_offset < a->owner_offset + a->size;
}

/* No other operand may change while it is read. */
static bool written_stand_apart(ak_call *k)
{
    char one[80], two[80];
    for (int i = 0; i < k->n_in; i++)
        for (int j = 0; (k->writes >> i & 1) && k->in[i] && j < k->n_in; j++)
            if (j != i && k->in[j] && overlap(k->in[i], k->in[j])) {
                ak_call_fail(k, AK_ERR_VALUE, "%s, which is changed, shares memory with %s",
                             operand_name(k->op, i, k->n_in, one, sizeof one),
                             operand_name(k->op, j, k->n_in, two, sizeof two));
                return false;
            }
    return true;
}

static void note_writes(ak_call *k)
{
    for (int i = 0; k->writes >> i && i < k->n_in; i++)
        if ((k->writes >> i & 1) && k->in[i])
            ak__note_change(k->in[i], k->op->name);
}

/* ---- the call -------------------------------------------------------------------------------- */

/* After forward: what it saw and left, which backward compares. */
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

/* The call, its operand lists, their versions and its options: one piece of step memory. */
HOT ak_call *make_call(ak_ctx *ctx, const ak_op *op, const ak_operands *from, const void *attr)
{
    const int n = op->flags & AK_OP_VARIADIC ? from->n_in : op->n_in;
    const size_t list = ak__round_up(sizeof(ak_call));
    const size_t index = list + (size_t)n * sizeof(ak_tensor *);
    const size_t seen = index + (size_t)op->n_index * sizeof(ak_index *);
    const size_t options = ak__round_up(seen + (size_t)n * sizeof(uint32_t));
    ak_call *k = ak__step_alloc(ctx, options + op->attr_size);
    if (!k)
        return NULL;
    char *at = (char *)k;
    *k = (ak_call){ .ctx = ctx, .op = op, .in = (ak_tensor **)(void *)(at + list), .n_in = n,
                    .attr = at + options, .number = ++ctx->calls, .writes = op->writes,
                    .mixes_rows = op->flags & AK_OP_MIXES_ROWS,
                    .across_samples = op->flags & AK_OP_ACROSS_SAMPLES,
                    .index = (ak_index **)(void *)(at + index),
                    .seen = (uint32_t *)(void *)(at + seen) };
    for (int i = 0; i < n; i++)
        k->in[i] = i < from->n_in ? from->in[i] : NULL;
    for (int i = 0; i < op->n_index; i++)
        k->index[i] = NULL;
    if (!op->attr_size)
        return k;
    if (attr)
        memcpy(at + options, attr, op->attr_size);
    else
        memset(at + options, 0, op->attr_size);
    return k;
}

/* The second outputs, of the shapes that the stand-ins got. */
static bool make_second_outputs(ak_call *k)
{
    if (k->also)
        k->also = k->also->shape.n == AK_ABSENT ? NULL : ak__tensor_new(k->ctx, k->also->shape);
    if (k->places)
        k->places = k->places->shape.n == AK_ABSENT ? NULL
                                                    : ak__index_new(k->ctx, k->places->shape);
    return k->ctx->status == AK_OK;
}

/* Shapes, then memory. Shape functions look at stand-ins: outputs are allocated when their sizes
 * are known. */
HOT bool make_outputs(ak_call *k)
{
    ak_tensor stand_in = { .ctx = k->ctx }, also;
    ak_index  places;
    k->out = &stand_in;
    if (k->op->flags & AK_OP_MAKES_TENSOR) {
        also = (ak_tensor){ .ctx = k->ctx, .shape.n = AK_ABSENT };
        k->also = &also;
    }
    if (k->op->flags & AK_OP_MAKES_INDEX) {
        places = (ak_index){ .ctx = k->ctx, .shape.n = AK_ABSENT };
        k->places = &places;
    }
    if (k->op->shape(k) != AK_OK || k->ctx->status != AK_OK ||
        (k->op->constants && !constants_are_constant(k)) ||
        (k->writes && !written_stand_apart(k)))
        return false;
    k->out = ak__tensor_new(k->ctx, stand_in.shape);
    return k->out != &ak__poison && ((!k->also && !k->places) || make_second_outputs(k));
}

/* NULL: refused, or failed. */
HOT ak_call *apply(const ak_op *op, const ak_operands *from, const void *attr)
{
    ak_tensor *const *in = from->in;
    if (from->n_in < 1 || !op->name || !op->shape || !op->forward ||
        (op->n_in < 1 && !(op->flags & AK_OP_VARIADIC))) {
        ak_fail(NULL, AK_ERR_VALUE, "ak_apply: %s: %d operands, one at least is needed; the record "
                "needs .name, .shape and .forward, and .n_in", op->name ? op->name : "(no name)",
                from->n_in);
        return NULL;
    }
    if ((from->n_in != op->n_in || from->n_index || op->n_index) && !count_fits(op, from))
        return NULL;
    ak_ctx *ctx = check_operands(op, in, from->n_in);
    if (!ctx)
        return NULL;

    bool wants_grad = false;
    for (int i = 0; i < from->n_in; i++)
        wants_grad = wants_grad || (in[i] && in[i]->root->needs_grad);
    const bool record = wants_grad && op->backward && ctx->no_grad == 0;

    ak_call *k = make_call(ctx, op, from, attr);
    if (!k || (op->n_index && !take_indices(k, from)) || !make_outputs(k))
        return NULL;
    k->out->needs_grad = record;
    k->out->maker = record ? k : NULL;

    if (ctx->frame && !ak__segment_before(k))
        return NULL;
    double start = ctx->tracing ? ak__now() : 0;
    op->forward(k);
    ak__scratch_end(ctx);
    if (k->writes)
        note_writes(k);
    if (ctx->frame)
        ak__segment_after(k);
    if (ctx->tracing) {
        k->seconds = ak__now() - start;
        ak__trace_add(ctx, op, false, k->seconds, ak__call_bytes(k), ak__call_flops(k));
    }
    if (ctx->work) {
        ctx->work->flops += ak__call_flops(k);
        ctx->work->bytes += ak__call_bytes(k);
    }
    if (ctx->check_numbers && ctx->status == AK_OK)
        check_numbers(k);
    if (ctx->status != AK_OK)
        return NULL;
    if (record)
        record_call(k);
    return k;
}

ak_tensor *ak_apply(const ak_op *op, ak_tensor *const *in, int n_in, const void *attr)
{
    if (!AK__GIVEN(NULL, op) || !AK__GIVEN(NULL, in))
        return &ak__poison;
    const ak_call *k = apply(op, &(ak_operands){ .in = in, .n_in = n_in }, attr);
    return k ? k->out : &ak__poison;
}

ak_outputs ak_apply_all(const ak_op *op, ak_operands operands, const void *attr)
{
    const ak_outputs failed = { &ak__poison, &ak__poison, &ak__poison_index };
    ak_tensor *const *in = operands.in;
    if (!AK__GIVEN(NULL, op) || !AK__GIVEN(NULL, in))
        return failed;
    const ak_call *k = apply(op, &operands, attr);
    return k ? (ak_outputs){ k->out, k->also, k->places } : failed;
}
