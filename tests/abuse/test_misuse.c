/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong use of every op of the registry: refused with a message, never a crash. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <criterion/redirect.h>

#include <math.h>
#include <string.h>

#include "abuse.h"

#define MAX_OPS 200

static int op_numbers[MAX_OPS];

static size_t all_ops(void)
{
    size_t n = 0;
    for (int i = 0; ak_op_at(i) && n < MAX_OPS; i++)
        op_numbers[n++] = i;
    return n;
}

/* ---- wrong shapes and options --------------------------------------------------------------- */

static void expect_refused(ak_ctx *ctx, const ak_op *op, int number)
{
    const ak_sample *s = &op->misuse[number];
    ak_tensor *in[AK_MAX_IN] = { 0 };
    ak_sample_draw(ctx, s, op->n_in, 1, in);
    const ak_tensor *y = ak_sample_run(op, s, in);
    const ak_status status = ak_error(ctx);
    const char *message = ak_error_message(ctx);

    cr_expect(ak_is_poison(y), "%s misuse %d: there is a result", op->name, number);
    cr_expect(status == AK_ERR_SHAPE || status == AK_ERR_VALUE, "%s misuse %d: status %s",
              op->name, number, ak_status_name(status));
    cr_expect(strstr(message, op->name) != NULL, "%s misuse %d: no op name in: %s", op->name,
              number, message);
    for (int i = 0; i < abuse_operands(op, s); i++) {
        char text[AK_SHAPE_TEXT];
        if (in[i])
            cr_expect(strstr(message, ak_shape_text(in[i]->shape, text)) != NULL,
                      "%s misuse %d: no shape %s in: %s", op->name, number, text, message);
    }
    cr_expect_eq(ak_step_end(ctx), status, "%s misuse %d: not reported at the step's end",
                 op->name, number);
    cr_expect_eq(ak_error(ctx), AK_OK, "%s misuse %d: still pending", op->name, number);
}

static void expect_accepted(ak_ctx *ctx, const ak_op *op)
{
    ak_tensor *in[AK_MAX_IN] = { 0 };
    ak_sample_draw(ctx, &op->samples[0], op->n_in, 1, in);
    cr_expect_not(ak_is_poison(ak_sample_run(op, &op->samples[0], in)),
                  "%s: fails after the error is cleared: %s", op->name, ak_error_message(ctx));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

ParameterizedTestParameters(misuse, wrong_shapes)
{
    return cr_make_param_array(int, op_numbers, all_ops());
}

ParameterizedTest(int *number, misuse, wrong_shapes)
{
    const ak_op *op = ak_op_at(*number);
    ak_ctx *ctx = abuse_open(1);
    int n = 0;
    while (op->misuse && !abuse_is_end(&op->misuse[n]))
        expect_refused(ctx, op, n++);
    if (op->flags & AK_OP_NO_SHAPE_CHECK)
        cr_expect_eq(n, 0, "%s takes every shape, but has misuse samples", op->name);
    else
        cr_expect(n > 0, "%s: no misuse samples", op->name);
    expect_accepted(ctx, op);
    ak_close(ctx);
}

/* ---- poison, stale, foreign operands -------------------------------------------------------- */

ParameterizedTestParameters(misuse, wrong_operands)
{
    return cr_make_param_array(int, op_numbers, all_ops());
}

static void expect_status(ak_ctx *ctx, const ak_op *op, ak_tensor **in, ak_status want,
                          const char *what)
{
    const ak_tensor *y = ak_sample_run(op, &op->samples[0], in);
    cr_expect(ak_is_poison(y), "%s: %s operand: there is a result", op->name, what);
    cr_expect_eq(ak_error(ctx), want, "%s: %s operand: status %s (%s)", op->name, what,
                 ak_status_name(ak_error(ctx)), ak_error_message(ctx));
    if (want != AK_OK)
        cr_expect(strstr(ak_error_message(ctx), op->name) != NULL, "%s: %s operand: message %s",
                  op->name, what, ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_error(ctx), AK_OK);
}

ParameterizedTest(int *number, misuse, wrong_operands)
{
    const ak_op *op = ak_op_at(*number);
    const ak_sample *s = &op->samples[0];
    ak_ctx *ctx = abuse_open(1), *other = abuse_open(2);
    const int n = abuse_operands(op, s);
    for (int i = 0; i < n; i++) {
        ak_tensor *in[AK_MAX_IN] = { 0 }, *strange[AK_MAX_IN] = { 0 };
        ak_tensor *poison = abuse_poison(ctx);
        ak_sample_draw(ctx, s, op->n_in, 1, in);
        if (!in[i])
            continue;
        ak_tensor *good = in[i];
        in[i] = poison;
        expect_status(ctx, op, in, AK_OK, "poison");

        abuse_step_operands(ctx, op, s, strange);
        ak_step_end(ctx);
        in[i] = strange[i];
        expect_status(ctx, op, in, AK_ERR_STALE, "stale");

        if (n > 1) {
            ak_sample_draw(other, s, op->n_in, 1, strange);
            in[i] = strange[i];
            const ak_tensor *y = ak_sample_run(op, s, in);
            /* Whose context reports depends on which operand is foreign; one of them does. */
            cr_expect(ak_is_poison(y), "%s: foreign operand %d: there is a result", op->name, i);
            cr_expect(ak_error(ctx) == AK_ERR_CONTEXT || ak_error(other) == AK_ERR_CONTEXT,
                      "%s: foreign operand %d: status %s, %s", op->name, i,
                      ak_status_name(ak_error(ctx)), ak_status_name(ak_error(other)));
            ak_step_end(ctx);
            ak_step_end(other);
        }
        in[i] = good;
        cr_expect_not(ak_is_poison(ak_sample_run(op, s, in)), "%s", op->name);
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    ak_close(ctx);
    ak_close(other);
}

/* ---- a broken step -------------------------------------------------------------------------- */

Test(misuse, the_first_error_wins_and_poison_flows)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 3)), *w = ak_zeros(ctx, AK_SHAPE(2, 5));
    ak_tensor *y = ak_mean(ak_relu(ak_matmul(x, w)));
    cr_expect(ak_is_poison(y));
    cr_expect(isnan(ak_item(y)));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    ak_clamp(x, 1, -1);
    cr_expect(strstr(ak_error_message(ctx), "matmul: inner sizes differ: 3 against 2") != NULL,
              "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), "hint: ak_matmul_tn(a, b)") != NULL, "%s",
              ak_error_message(ctx));
    cr_expect(ak_is_poison(ak_relu(x)), "ops run while an error is pending");
    cr_expect_eq(ak_step_end(ctx), AK_ERR_SHAPE);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    cr_expect_eq(ak_close(ctx), AK_ERR_SHAPE);
}

Test(misuse, a_broken_step_leaves_parameters_alone)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3, 2), 0);
    for (int64_t i = 0; i < w->size; i++)
        w->data[i] = (ak_real)i;
    const uint32_t hash = ak_hash(ctx, "*");
    ak_tensor *x = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_tensor *fine = ak_sum(ak_matmul(x, w));
    ak_matmul(w, w);
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    cr_expect_neq(ak_backward(fine), AK_OK);
    for (int64_t i = 0; i < w->size; i++)
        cr_expect_eq(w->grad[i], 0);
    cr_expect_eq(ak_hash(ctx, "*"), hash);
    ak_step_end(ctx);

    /* The next step works. */
    x = ak_full(ctx, AK_SHAPE(4, 3), 1);
    cr_expect_eq(ak_backward(ak_sum(ak_matmul(x, w))), AK_OK);
    for (int64_t i = 0; i < w->size; i++)
        cr_expect_eq(w->grad[i], 4);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}

static int hook_calls;
static ak_status hook_status;

static void count_errors(void *user, ak_status status, const char *message)
{
    hook_calls++;
    hook_status = status;
    *(bool *)user = strstr(message, "concat") != NULL;
}

Test(misuse, the_hook_is_called_once_at_the_faulty_call)
{
    ak_ctx *ctx = abuse_open(1);
    bool named = false;
    ak_on_error(ctx, count_errors, &named);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 3));
    cr_expect(ak_is_poison(ak_concat(5, x, x)));
    cr_expect(ak_is_poison(ak_concat(5, x, x)));
    cr_expect_eq(hook_calls, 1);
    cr_expect_eq(hook_status, AK_ERR_SHAPE);
    cr_expect(named);
    ak_close(ctx);
}

/* What every message about an op promises: AK_TRACE=1 shows what ran. */
Test(misuse, a_traced_failure_prints_the_tape, .init = cr_redirect_stderr)
{
    ak_ctx *ctx = abuse_open(1);
    ak_trace(ctx, true);
    ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 3)));
    cr_expect(ak_is_poison(ak_matmul(x, ak_square(x))));
    fflush(stderr);
    ak_close(ctx);
    char text[400] = "";
    FILE *shown = cr_get_redirected_stderr();
    cr_assert(fread(text, 1, sizeof text - 1, shown) > 0);
    cr_expect(strstr(text, "2 ops ran, 1 are on the tape\n   1  square ") == strchr(text, ':') + 2,
              "%s", text);
}

Test(misuse, functions_beside_the_registry)
{
    ak_ctx *ctx = abuse_open(1);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 0, 3 });
    cr_expect(ak_is_poison(ak_one_hot(ids, 3)));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), "one_hot: ids[1] = 3 is not in [0, 3)") != NULL);
    ak_step_end(ctx);

    ak_tensor *parts[3];
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(4, 5));
    cr_expect_eq(ak_split(x, 1, 3, parts), AK_ERR_SHAPE);
    for (int i = 0; i < 3; i++)
        cr_expect(ak_is_poison(parts[i]));
    cr_expect(strstr(ak_error_message(ctx), "split: 3 equal parts of axis 1") != NULL);
    ak_step_end(ctx);
    ak_close(ctx);
}
