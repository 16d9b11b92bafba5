/* SPDX-License-Identifier: Apache-2.0 */
/* Backward against central differences, for an op, a loss or any closure. */
#include "autograd/tape.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

/* The output as one number: a weighted sum with fixed random weights, added up in double. */
static double weighted(const ak_tensor *y, uint64_t seed)
{
    double sum = 0;
    for (int64_t i = 0; i < y->size; i++)
        sum += (double)y->data[i] * (0.5 + ak_random_uniform(seed, 77, (uint64_t)i));
    return sum;
}

typedef struct checker {
    ak_ctx     *ctx;
    ak_grad_fn  fn;
    void       *user;
    ak_tensor *const *in;
    int         n;
    uint64_t    stream;         /* of random ops: the same in every evaluation */
} checker;

static ak_tensor *closure(checker *c)
{
    ak_tensor *y = c->fn(c->in, c->n, c->user);
    if (y && ak__tensor_check(c->ctx, y, "gradcheck", "the closure's result"))
        return y;
    if (!y)
        ak_fail(c->ctx, AK_ERR_VALUE, "gradcheck: the closure returned NULL\n    hint: a tensor is "
                "wanted; ops return poison after an error, never NULL");
    return &ak__poison;
}

/* One evaluation without recording. */
static ak_status evaluate(checker *c, double *value)
{
    c->ctx->next_stream = c->stream;
    ak_no_grad_begin(c->ctx);
    const ak_tensor *y = closure(c);
    *value = ak_is_poison(y) ? (double)NAN : weighted(y, 1);
    ak_no_grad_end(c->ctx);
    return ak_step_end(c->ctx);
}

/* How gradients are taken: into memory that backward finds (fresh: it has to fill all of it), or on
 * top of numbers that are there. A right backward gives both the same. */
enum { FRESH, ADDED, WAYS };

/* What stands in a gradient before; a whole number, so that float keeps digits of what is added. */
static ak_real before(int way, int64_t element)
{
    return way == FRESH ? 0 : (ak_real)(1 + element % 3);
}

/* Backward in one way; the gradients go to grad[operand]. */
static ak_status analytic(checker *c, int way, ak_real *const *grad)
{
    c->ctx->next_stream = c->stream;
    for (int i = 0; i < c->n; i++) {
        if (!grad[i])
            continue;
        for (int64_t j = 0; j < c->in[i]->size; j++)
            grad[i][j] = before(way, j);
        c->in[i]->grad = way == FRESH ? NULL : grad[i];
        c->in[i]->grad_step = 0;
        c->in[i]->grad_is_zero = false;
    }
    ak_tensor *y = closure(c);
    if (!ak_is_poison(y)) {
        ak_real *dy = ak__step_alloc(c->ctx, (size_t)y->size * sizeof *dy);
        for (int64_t i = 0; dy && i < y->size; i++)
            dy[i] = (ak_real)(0.5 + ak_random_uniform(1, 77, (uint64_t)i));
        if (dy && y->size)
            ak_backward_from(y, dy);
    }
    for (int i = 0; way == FRESH && i < c->n; i++)      /* it is the step's memory */
        if (grad[i] && c->in[i]->grad)
            memcpy(grad[i], c->in[i]->grad, (size_t)c->in[i]->size * sizeof *grad[i]);
    return ak_step_end(c->ctx);
}

static void compare(ak_gradcheck *result, int operand, int64_t element, double exact,
                    double numeric)
{
    const double error = fabs(exact - numeric) / fmax(1, fmax(fabs(exact), fabs(numeric)));
    if (error <= result->worst)
        return;
    const double worst = isnan(error) ? (double)INFINITY : error;      /* NaN counts as worst */
    *result = (ak_gradcheck){ result->step, worst, operand, element, exact, numeric };
}

static ak_status check_operand(checker *c, int i, ak_real *const *grad, ak_gradcheck *result)
{
    ak_tensor *t = c->in[i];
    double h = result->step;
    for (int64_t j = 0; j < t->size; j++) {
        const ak_real kept = t->data[j];
        const ak_real up = (ak_real)((double)kept + h), down = (ak_real)((double)kept - h);
        double plus, minus;
        t->data[j] = up;
        ak_status a = evaluate(c, &plus);
        t->data[j] = down;
        ak_status b = evaluate(c, &minus);
        t->data[j] = kept;
        if (a != AK_OK || b != AK_OK)
            return a != AK_OK ? a : b;
        const double numeric = (plus - minus) / ((double)up - (double)down);
        for (int way = 0; way < WAYS; way++)
            compare(result, i, j, (double)grad[way * c->n + i][j] - (double)before(way, j),
                    numeric);
    }
    return AK_OK;
}

/* What the check changes in an operand, to be put back. */
typedef struct kept_gradient { ak_real *grad; uint64_t step; bool is_zero; } kept_gradient;

ak_status ak_gradcheck_fn(ak_ctx *ctx, ak_grad_fn fn, void *user, ak_tensor *const *in, int n,
                          ak_gradcheck *result)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, fn) || (n > 0 && !AK__GIVEN(ctx, in)) ||
        !AK__GIVEN(ctx, result))
        return ak__refused(ctx);
    if (!(result->step >= 0 && isfinite(result->step)))
        return ak_fail(ctx, AK_ERR_VALUE, "gradcheck: the step %g must be > 0, or 0 for the usual "
                       "one", result->step);
    if (result->step == 0)
        result->step = AK_REAL_BITS == 64 ? 1e-6 : 1e-3;
    *result = (ak_gradcheck){ .step = result->step };
    for (int i = 0; i < n; i++) {
        char what[32];
        snprintf(what, sizeof what, "operand %d", i);
        if (in[i] && !ak__tensor_check(ctx, in[i], "gradcheck", what))
            return ak__refused(ctx);
    }
    for (int i = 0; i < n; i++)
        if (in[i] && (in[i]->generation != 0 || in[i]->root != in[i]))
            return ak_fail(ctx, AK_ERR_STATE, "gradcheck: operand %d lives for one step only\n"
                           "    hint: pass ak_keep(x) with needs_grad, or a parameter", i);
    if (ctx->status != AK_OK)
        return ctx->status;
    /* Gradients of operands are the caller's: the check has memory of its own. */
    const size_t some = n > 0 ? (size_t)n : 1;
    ak_real **grad = ak__ctx_alloc(ctx, WAYS * some * sizeof *grad);
    kept_gradient *kept = grad ? ak__ctx_alloc(ctx, some * sizeof *kept) : NULL;
    for (int i = 0; kept && i < WAYS * n; i++) {
        const ak_tensor *t = in[i % n];
        if (t && t->needs_grad)
            grad[i] = ak__ctx_alloc(ctx, (size_t)(t->size + 1) * sizeof(ak_real));
    }
    if (ctx->status != AK_OK)
        return ctx->status;
    for (int i = 0; i < n; i++)
        if (in[i])
            kept[i] = (kept_gradient){ in[i]->grad, in[i]->grad_step, in[i]->grad_is_zero };
    checker c = { ctx, fn, user, in, n, ctx->next_stream };
    ak_status status = AK_OK;
    for (int way = 0; status == AK_OK && way < WAYS; way++)
        status = analytic(&c, way, grad + way * n);
    for (int i = 0; status == AK_OK && i < n; i++)
        if (grad[i])
            status = check_operand(&c, i, grad, result);
    for (int i = 0; i < n; i++) {
        if (!in[i])
            continue;
        in[i]->grad = kept[i].grad;
        in[i]->grad_step = kept[i].step;
        in[i]->grad_is_zero = kept[i].is_zero;
    }
    return status;
}

typedef struct op_sample { const ak_op *op; const ak_sample *sample; } op_sample;

static ak_tensor *run_sample(ak_tensor *const *in, int n, void *user)
{
    const op_sample *s = user;
    ak_tensor *copy[AK_MAX_IN];
    memcpy(copy, in, (size_t)n * sizeof *copy);
    return ak_sample_run(s->op, s->sample, copy);
}

ak_status ak_gradcheck_op(ak_ctx *ctx, const ak_op *op, const ak_sample *sample, uint64_t seed,
                          ak_gradcheck *result)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, op) || !AK__GIVEN(ctx, sample) ||
        !AK__GIVEN(ctx, result))
        return ak__refused(ctx);
    ak_tensor *in[AK_MAX_IN] = { 0 };
    ak_sample_draw(ctx, sample, op->n_in, seed, in);
    return ak_gradcheck_fn(ctx, run_sample, &(op_sample){ op, sample }, in,
                           sample->n_in ? sample->n_in : op->n_in, result);
}
