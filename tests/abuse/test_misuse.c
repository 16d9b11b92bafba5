/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong use of every op of the registry: refused with a message, never a crash. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <criterion/redirect.h>

#include <akin/akin.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void expect_message(ak_ctx *ctx, ak_status want, const char *word)
{
    cr_expect_eq(ak_error(ctx), want, "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), word) != NULL, "no \"%s\" in: %s", word,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* ---- wrong shapes and options --------------------------------------------------------------- */

/* Each op's test runs in a process of its own, and says how many calls it made. */
static int calls;

static void say_calls(const ak_op *op, const char *what)
{
    printf("misuse: %d calls of %s with %s\n", calls, op->name, what);
}

static void expect_refused(ak_ctx *ctx, const ak_op *op, int number)
{
    calls++;
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
    say_calls(op, "wrong shapes and options");
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
    calls++;
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
        expect_status(ctx, op, in, AK_ERR_STATE, "poison");

        abuse_step_operands(ctx, op, s, strange);
        ak_step_end(ctx);
        in[i] = strange[i];
        expect_status(ctx, op, in, AK_ERR_STALE, "stale");

        int given = 0;
        for (int k = 0; k < n; k++)
            given += in[k] != NULL;
        if (given > 1) {
            ak_sample_draw(other, s, op->n_in, 1, strange);
            in[i] = strange[i];
            const ak_tensor *y = ak_sample_run(op, s, in);
            calls++;
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
    say_calls(op, "poison, stale and foreign operands");
    ak_close(ctx);
    ak_close(other);
}

/* ---- index operands ------------------------------------------------------------------------- */

static bool is_left_out(const ak_op *op, int i)
{
    return op->index_optional >> i & 1;
}

/* The index arrays of a sample, of the running step. */
static void draw_indices(ak_ctx *ctx, const ak_op *op, const ak_sample *s, ak_index **index)
{
    for (int i = 0; i < op->n_index; i++)
        index[i] = s->index[i].values
                       ? ak_index_from(ctx, s->index[i].shape, s->index[i].values) : NULL;
}

/* The first sample that hands the op its index operand i; every op has one. */
static const ak_sample *sample_with_index(const ak_op *op, int i)
{
    const ak_sample *s = op->samples;
    while (!s->call && !s->index[i].values && !(s->flags & AK_SAMPLE_END))
        s++;
    cr_assert_not(s->flags & AK_SAMPLE_END, "%s: no sample has index operand %d", op->name, i);
    return s;
}

/* Applies op to good operands, with `bad` as index operand i. */
static void expect_index(ak_ctx *ctx, const ak_op *op, int i, ak_index *bad, ak_status want,
                         const char *what)
{
    const ak_sample *s = sample_with_index(op, i);
    ak_tensor *in[AK_MAX_IN] = { 0 };
    ak_index *index[AK_MAX_INDEX] = { 0 };
    ak_sample_draw(ctx, s, op->n_in, 1, in);
    draw_indices(ctx, op, s, index);
    index[i] = bad;
    const ak_outputs y = ak_apply_all(
        op, (ak_operands){ in, abuse_operands(op, s), index, op->n_index }, s->attr);
    calls++;
    cr_expect_eq(ak_error(ctx), want, "%s: %s index %d: status %s (%s)", op->name, what, i,
                 ak_status_name(ak_error(ctx)), ak_error_message(ctx));
    cr_expect_eq(ak_is_poison(y.out), want != AK_OK, "%s: %s index %d", op->name, what, i);
    if (want != AK_OK)
        cr_expect(strncmp(ak_error_message(ctx), op->name, strlen(op->name)) == 0, "%s: %s",
                  op->name, ak_error_message(ctx));
    ak_step_end(ctx);
}

static int ops_with_index;

Test(misuse, wrong_index_operands)
{
    ak_ctx *ctx = abuse_open(1), *other = abuse_open(2);
    for (int o = 0; ak_op_at(o); o++) {
        const ak_op *op = ak_op_at(o);
        ops_with_index += op->n_index > 0;
        for (int i = 0; i < op->n_index; i++) {
            const ak_sample *s = sample_with_index(op, i);
            ak_index *index[AK_MAX_INDEX] = { 0 };
            ak_index *poison = ak_index_from(ctx, AK_SHAPE(-1), (int32_t[]){ 0 });
            ak_step_end(ctx);
            if (s->call)            /* options in public form: attention has a test of its own */
                continue;
            expect_index(ctx, op, i, NULL, is_left_out(op, i) ? AK_OK : AK_ERR_VALUE, "NULL");
            expect_index(ctx, op, i, poison, AK_ERR_STATE, "poison");
            draw_indices(other, op, s, index);
            expect_index(ctx, op, i, index[i], AK_ERR_CONTEXT, "foreign");
            draw_indices(ctx, op, s, index);
            ak_index *kept = ak_index_keep(index[i]);
            ak_step_end(ctx);
            expect_index(ctx, op, i, index[i], AK_ERR_STALE, "stale");
            expect_index(ctx, op, i, kept, AK_OK, "kept");
            expect_index(ctx, op, i, kept, AK_OK, "kept");
        }
    }
    cr_expect(ops_with_index >= 10, "%d ops", ops_with_index);
    cr_expect(calls > 50, "%d calls", calls);
    ak_close(ctx);
    ak_close(other);
}

Test(misuse, wrong_index_operands_of_attention_and_losses)
{
    ak_ctx *ctx = abuse_open(1), *other = abuse_open(2);
    ak_index *foreign = ak_index_from(other, AK_SHAPE(2), (int32_t[]){ 1, 1 });
    const ak_status want[] = { AK_ERR_STALE, AK_ERR_CONTEXT };
    for (int i = 0; i < 2; i++)
        for (int which = 0; which < 8; which++) {
            ak_index *bad[2] = { ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 1 }), foreign };
            ak_step_end(ctx);
            ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 1, 1, 3)), *z = ak_randn(ctx, AK_SHAPE(2, 3));
            ak_tensor *y = which == 0 ? ak_attention(x, x, x, (ak_attention_options){
                                            .key_lengths = bad[i] })
                         : which == 1 ? ak_attention(x, x, x, (ak_attention_options){
                                            .key_mask = bad[i] })
                         : which == 2 ? ak_loss_ntxent(z, z, (ak_ntxent_options){ .ids = bad[i] })
                         : which == 3 ? ak_loss_infonce(z, z, (ak_infonce_options){
                                            .labels = bad[i] })
                         : which == 4 ? ak_loss_infonce(z, z, (ak_infonce_options){
                                            .target_columns = bad[i] })
                         : which == 5 ? ak_attention(x, x, x, (ak_attention_options){
                                            .causal = true, .past = bad[i] })
                         : which == 6 ? ak_attention(x, x, x, (ak_attention_options){
                                            .causal = true, .prefix = bad[i] })
                         : ak_loss_supcon(z, bad[i], (ak_supcon_options){ 0 });
            cr_expect(ak_is_poison(y), "case %d", which);
            cr_expect_eq(ak_error(ctx), want[i], "case %d: %s", which, ak_error_message(ctx));
            ak_step_end(ctx);
        }
    ak_close(ctx);
    ak_close(other);
}

/* ---- counts of operands ---------------------------------------------------------------------- */

Test(misuse, more_or_fewer_operands_than_the_record_has)
{
    ak_ctx *ctx = abuse_open(1);
    enum { MOST = 12 };
    ak_tensor *x[MOST];
    ak_index *two[2] = { 0 };
    for (int o = 0; ak_op_at(o); o++) {
        const ak_op *op = ak_op_at(o);
        const bool any = op->flags & AK_OP_VARIADIC;
        cr_assert(op->n_in < MOST);
        for (int i = 0; i < MOST; i++)
            x[i] = ak_zeros(ctx, AK_SHAPE(2, 2));
        const int least = any ? 1 : !(op->flags & AK_OP_OPTIONAL_IN) ? op->n_in
                        : op->required ? op->required : 1;
        if (!any) {
            cr_expect(ak_is_poison(ak_apply(op, x, op->n_in + 1, NULL)), "%s", op->name);
            expect_message(ctx, AK_ERR_VALUE, "operands");
        }
        if (least > 1) {
            for (int i = 0; i < MOST; i++)
                x[i] = ak_zeros(ctx, AK_SHAPE(2, 2));
            cr_expect(ak_is_poison(ak_apply(op, x, least - 1, NULL)), "%s", op->name);
            expect_message(ctx, AK_ERR_VALUE, "operands");
        }
        for (int i = 0; i < MOST; i++)
            x[i] = ak_zeros(ctx, AK_SHAPE(2, 2));
        two[0] = ak_index_from(ctx, AK_SHAPE(1), (int32_t[]){ 0 });
        if (op->n_index == 0 && !any) {
            cr_expect(ak_is_poison(ak_apply_all(op, (ak_operands){ x, op->n_in, two, 1 },
                                                NULL).out), "%s", op->name);
            expect_message(ctx, AK_ERR_VALUE, "index arrays");
        }
    }
    ak_close(ctx);
}

/* Optional operands at the end may be left out: the functions of the op find NULL there. */
static int seen_operands;

static ak_status padded_shape(ak_call *k)
{
    seen_operands = k->n_in;
    k->out->shape = k->in[0]->shape;
    return k->in[1] || k->in[2] ? ak_call_fail(k, AK_ERR_VALUE, "not padded") : AK_OK;
}

static void padded_forward(ak_call *k)
{
    memset(k->out->data, 0, (size_t)k->out->size * sizeof(ak_real));
}

Test(misuse, what_is_left_out_is_null)
{
    static const ak_op padded = { .name = "padded", .n_in = 3, .flags = AK_OP_OPTIONAL_IN,
                                  .shape = padded_shape, .forward = padded_forward };
    ak_ctx *ctx = abuse_open(1);
    for (int i = 0; i < 100; i++) {         /* memory that held other things before */
        ak_tensor *x = ak_full(ctx, AK_SHAPE(3), 1e30);
        cr_expect_not(ak_is_poison(ak_apply(&padded, &x, 1, NULL)), "%s", ak_error_message(ctx));
        cr_expect_eq(seen_operands, 3);
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    ak_close(ctx);
}

/* ---- operands that an op writes -------------------------------------------------------------- */

Test(misuse, what_is_written_shares_no_memory)
{
    ak_ctx *ctx = abuse_open(1);
    const ak_batch_norm_options o = { 0 };
    ak_tensor *mean = ak_buffer(ctx, "mean", AK_SHAPE(4));
    ak_tensor *var = ak_buffer(ctx, "var", AK_SHAPE(4));
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(5, 4));
    cr_expect(ak_is_poison(ak_batch_norm(x, NULL, NULL, mean, mean, o)));
    expect_message(ctx, AK_ERR_VALUE, "operand running_mean, which is changed, shares memory with "
                                      "operand running_var");
    x = ak_randn(ctx, AK_SHAPE(5, 4));
    cr_expect(ak_is_poison(ak_batch_norm(x, NULL, NULL, mean, ak_reshape(ak_rows(x, 1, 1),
                                                                         AK_SHAPE(4)), o)));
    expect_message(ctx, AK_ERR_VALUE, "shares memory with operand x");
    x = ak_randn(ctx, AK_SHAPE(5, 4));
    cr_expect_not(ak_is_poison(ak_batch_norm(x, NULL, NULL, mean, var, o)));
    ak_train_mode(ctx, false);              /* nothing is written: any operand will do */
    cr_expect_not(ak_is_poison(ak_batch_norm(x, var, NULL, var, var, o)));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}

/* A change of running statistics is one that backward of an earlier op must know of; a call that
 * changes none leaves them alone. */
Test(misuse, what_is_written_counts_as_changed)
{
    ak_ctx *ctx = abuse_open(1);
    const ak_batch_norm_options o = { 0 };
    ak_tensor *mean = ak_buffer(ctx, "mean", AK_SHAPE(4));
    ak_tensor *var = ak_buffer(ctx, "var", AK_SHAPE(4));
    for (int train = 0; train < 3; train++) {
        ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(5, 4)));
        ak_tensor *y = ak_sum(ak_mul(x, mean));         /* backward reads the mean */
        ak_train_mode(ctx, train != 0);
        if (train == 2)                                 /* such a batch moves nothing */
            x->data[0] = (ak_real)NAN;
        ak_batch_norm(x, NULL, NULL, mean, var, o);
        cr_expect_eq(mean->version, train > 0, "%d", train);
        if (train == 1) {
            cr_expect_eq(ak_backward(y), AK_ERR_STATE);
            cr_expect(strstr(ak_error_message(ctx), "was changed by batch_norm"), "%s",
                      ak_error_message(ctx));
        }
        ak_step_end(ctx);
    }
    ak_close(ctx);
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

static void look_for_hint(void *user, ak_status status, const char *message)
{
    (void)status;
    *(bool *)user = strstr(message, "\n    hint: ak_matmul_nt(a, b) computes a b^T") != NULL;
}

/* The hook may end the program: whatever is to be shown is in the message by then. */
Test(misuse, the_hook_gets_message_and_hint_together)
{
    ak_ctx *ctx = abuse_open(1);
    bool hint = false;
    ak_on_error(ctx, look_for_hint, &hint);
    ak_matmul(ak_zeros(ctx, AK_SHAPE(2, 3)), ak_zeros(ctx, AK_SHAPE(5, 3)));
    cr_expect(hint, "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    /* A hint belongs to one failure of one call. */
    ak_matmul(ak_zeros(ctx, AK_SHAPE(2, 3)), ak_zeros(ctx, AK_SHAPE(4)));
    cr_expect_null(strstr(ak_error_message(ctx), "hint"), "%s", ak_error_message(ctx));
    ak_close(ctx);
}

Test(misuse, the_default_hook_shows_the_hint, .signal = SIGABRT, .init = cr_redirect_stderr)
{
    ak_ctx *ctx = ak_open((ak_options){ 0 });
    ak_matmul(ak_zeros(ctx, AK_SHAPE(2, 3)), ak_zeros(ctx, AK_SHAPE(5, 3)));
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

/* ---- poison of an earlier step -------------------------------------------------------------- */

Test(misuse, poison_that_outlives_its_error_is_an_error_in_every_step)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3), 0), *v = ak_param(ctx, "w", AK_SHAPE(3), 0);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE, "the name is taken");
    for (int step = 0; step < 2; step++) {
        ak_tensor *loss = ak_add(ak_mean(ak_square(w)), ak_mean(ak_square(v)));
        cr_expect_eq(ak_error(ctx), AK_ERR_STATE);
        cr_expect(strstr(ak_error_message(ctx), "square: operand x is poison") != NULL, "%s",
                  ak_error_message(ctx));
        cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
        cr_expect_eq(ak_step_end(ctx), AK_ERR_STATE);
    }
    cr_expect_eq(ak_step_end(ctx), AK_OK, "nothing was used, nothing is said");
    ak_close(ctx);
}

/* ---- lists without an end, modules without a tree -------------------------------------------- */

static ak_tensor *nothing(ak_tensor *const *in, int n, void *user)
{
    (void)in, (void)n, (void)user;
    return NULL;
}

static ak_tensor *forward_nothing(ak_module *m, ak_tensor *x)
{
    (void)m, (void)x;
    return NULL;
}

Test(misuse, modules_form_a_tree)
{
    ak_ctx *ctx = abuse_open(1);
    ak_module *a = ak_nn_sequential(ctx, "a", (ak_module *[]){ NULL });
    ak_module *b = ak_nn_sequential(ctx, "b", (ak_module *[]){ NULL });
    ak_module *c = ak_nn_sequential(ctx, "c", (ak_module *[]){ NULL });
    ak_module_add(a, b);
    ak_module_add(b, c);
    ak_module_add(a, a);
    expect_message(ctx, AK_ERR_VALUE, "a module is no part of itself");
    ak_module_add(c, a);
    expect_message(ctx, AK_ERR_VALUE, "a can not be its child");
    cr_expect_eq(ak_module_size(a), 0, "it ends");
    cr_expect_null(ak_module_child(c, 0));
    ak_close(ctx);
}

Test(misuse, functions_of_the_program_that_return_nothing)
{
    ak_ctx *ctx = abuse_open(1);
    ak_gradcheck result = { 0 };
    ak_tensor *x = ak_require_grad(ak_keep(ak_full(ctx, AK_SHAPE(2), 1)));
    cr_expect_eq(ak_gradcheck_fn(ctx, nothing, NULL, &x, 1, &result), AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), "gradcheck: the closure returned NULL") != NULL);
    ak_step_end(ctx);
    ak_forward(ak_module_new(ctx, "empty", forward_nothing, NULL), x);
    expect_message(ctx, AK_ERR_VALUE, "empty: its forward function returned NULL");
    ak_close(ctx);
}

enum { LONG_LIST = 1100 };

Test(misuse, lists_without_an_end)
{
    ak_ctx *ctx = abuse_open(1);
    static ak_module *parts[LONG_LIST];
    static ak_augment list[LONG_LIST];
    static int sizes[LONG_LIST];
    static ak_value values[LONG_LIST];
    for (int i = 0; i < LONG_LIST; i++) {
        parts[i] = ak_nn_flatten(ctx, "f");
        list[i] = ak_random_flip(0.5);
        sizes[i] = 4;
        values[i] = (ak_value){ "v", 1 };
    }
    cr_expect_null(ak_nn_sequential(ctx, "s", parts));
    expect_message(ctx, AK_ERR_VALUE, "does the list end with NULL?");
    cr_expect_null(ak_mlp(ctx, "m", sizes));
    expect_message(ctx, AK_ERR_VALUE, "does the list end with 0?");
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 20);
    cr_expect_null(ak_loader_open(ds, (ak_loader_options){ .batch = 4, .augment = list }));
    expect_message(ctx, AK_ERR_VALUE, "does it end with { 0 }?");
    char folder[] = "/tmp/akin-misuse-XXXXXX", remove[100];
    cr_assert(mkdtemp(folder));
    ak_run *run = ak_run_open(ctx, "run", (ak_run_options){ .parent = folder });
    ak_run_log(run, "event", NULL, values);
    expect_message(ctx, AK_ERR_VALUE, "does the list end with { 0 }?");
    ak_close(ctx);
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    cr_expect_eq(system(remove), 0);
}

Test(misuse, records_that_are_not_complete)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2));
    cr_expect(ak_is_poison(ak_apply(&(ak_op){ .name = "half", .n_in = 1 }, &x, 1, NULL)));
    expect_message(ctx, AK_ERR_VALUE, "half: 1 operands, one at least is needed; the record needs "
                                      ".name, .shape and .forward");
    cr_expect(ak_is_poison(ak_apply(ak_op_find("square"), &x, 0, NULL)));
    expect_message(ctx, AK_ERR_VALUE, "square: 0 operands");
    ak_close(ctx);
}

Test(misuse, fail_finds_a_context_and_knows_no_ok)
{
    ak_ctx *ctx = abuse_open(1);
    cr_expect_eq(ak_fail(NULL, AK_ERR_IO, "said by %s", "a reader"), AK_ERR_IO);
    expect_message(ctx, AK_ERR_IO, "said by a reader");
    cr_expect_eq(ak_fail(ctx, AK_OK, "all is well"), AK_ERR_VALUE);
    expect_message(ctx, AK_ERR_VALUE, "status AK_OK");
    cr_expect_eq(ak_fail(ctx, AK_ERR_IO, NULL), AK_ERR_IO);
    expect_message(ctx, AK_ERR_IO, "(no message)");
    ak_close(ctx);
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
