/* SPDX-License-Identifier: Apache-2.0 */
/* Every op and every loss, every sample: what backward computes does not depend on whether the
 * values of operands and results were given back in between (ak_done_with), looks at nothing that
 * the record does not list (ak_op.reads), adds up when it runs twice, and notices a change of
 * everything that it does list. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <math.h>
#include <string.h>

#include <akin/losses.h>

#include "abuse.h"
#include "autograd/tape.h"

#define MAX_CASES 2000
#define MOST_NUMBERS 20000      /* of all gradients of a case */

/* ---- cases ----------------------------------------------------------------------------------- */

typedef struct kept_case {
    int  op, loss;              /* -1: not one */
    int  sample;
    bool composed;
} kept_case;

static const ak_sample *sample_of(const kept_case *c)
{
    return &(c->op >= 0 ? ak_op_at(c->op)->samples : ak_loss_at(c->loss)->samples)[c->sample];
}

static int operands_of(const kept_case *c)
{
    return c->op >= 0 ? abuse_operands(ak_op_at(c->op), sample_of(c)) : sample_of(c)->n_in;
}

static const char *name_of(const kept_case *c)
{
    return c->op >= 0 ? ak_op_at(c->op)->name : ak_loss_at(c->loss)->name;
}

static kept_case all_cases[MAX_CASES];

static size_t list_cases(void)
{
    size_t n = 0;
    for (int i = 0; ak_op_at(i); i++)
        for (int j = 0; ak_op_at(i)->backward && !abuse_is_end(&ak_op_at(i)->samples[j]); j++)
            all_cases[n++] = (kept_case){ i, -1, j, false };
    for (int i = 0; ak_loss_at(i); i++)
        for (int j = 0; !abuse_is_end(&ak_loss_at(i)->samples[j]); j++)
            for (int form = 0; form < 2; form++)
                all_cases[n++] = (kept_case){ -1, i, j, form == 1 };
    cr_assert(n < MAX_CASES && n > 400, "%zu cases", n);
    return n;
}

static void be_silent(void *user, ak_log_level level, const char *message)
{
    (void)user, (void)level, (void)message;
}

static ak_ctx *open_case(const kept_case *c, ak_tensor **leaf)
{
    ak_ctx *ctx = abuse_open(1);
    cr_assert(ctx);
    ak_on_log(ctx, be_silent, NULL);
    ak_sample_draw(ctx, sample_of(c), operands_of(c), 1, leaf);
    for (int i = 0; i < operands_of(c); i++)
        cr_assert_not(leaf[i] && ak_is_poison(leaf[i]));
    return ctx;
}

static ak_tensor *run_case(const kept_case *c, ak_tensor **in)
{
    ak_tensor *y;
    if (c->op >= 0)
        y = ak_sample_run(ak_op_at(c->op), sample_of(c), in);
    else
        y = (c->composed ? ak_loss_at(c->loss)->composed : ak_loss_at(c->loss)->run)(
            in, operands_of(c), sample_of(c));
    return y;
}

/* Gradients of all leaves side by side; how many numbers. */
static int64_t gradients(const kept_case *c, ak_tensor *const *leaf, ak_real *to)
{
    int64_t n = 0;
    for (int i = 0; i < operands_of(c); i++) {
        if (!leaf[i] || !leaf[i]->needs_grad)
            continue;
        cr_assert_lt(n + leaf[i]->size, MOST_NUMBERS);
        if (leaf[i]->grad)
            memcpy(to + n, leaf[i]->grad, (size_t)leaf[i]->size * sizeof *to);
        else
            memset(to + n, 0, (size_t)leaf[i]->size * sizeof *to);
        n += leaf[i]->size;
    }
    return n;
}

static ak_status backward(ak_tensor *y)
{
    ak_real *dy = ak_randn(y->ctx, y->shape)->data;
    for (int64_t i = 0; i < y->size; i++)       /* the same however many streams were drawn */
        dy[i] = (ak_real)(0.5 + ak_random_uniform(1, 77, (uint64_t)i));
    return ak_backward_from(y, dy);
}

/* ---- an op whose values can be made again, for operands of any shape ------------------------- */

static ak_status again_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void again_forward(ak_call *k)
{
    if (k->out->size)
        memcpy(k->out->data, k->in[0]->data, (size_t)k->out->size * sizeof(ak_real));
}

static void again_backward(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] += k->out->grad[i];
}

static const ak_op again_op = { .name = "again", .formula = "y = x", .n_in = 1,
                                .shape = again_shape, .forward = again_forward,
                                .backward = again_backward, .again = again_forward,
                                .reads = AK_READS(0) };
static const ak_op once_op = { .name = "once", .formula = "y = x", .n_in = 1,
                               .shape = again_shape, .forward = again_forward,
                               .backward = again_backward, .reads = AK_READS_NONE };

/* ---- given back ------------------------------------------------------------------------------ */

enum mode { KEEP, GIVE, MAKE_AGAIN, MODES };

static int64_t run_given(const kept_case *c, enum mode mode, ak_real *to)
{
    ak_tensor *leaf[AK_MAX_IN] = { 0 }, *in[AK_MAX_IN] = { 0 };
    ak_ctx *ctx = open_case(c, leaf);
    for (int i = 0; i < operands_of(c); i++)
        if (leaf[i])
            in[i] = ak_apply(mode == GIVE ? &once_op : &again_op, &leaf[i], 1, NULL);
    ak_tensor *y = run_case(c, in);
    cr_assert_not(ak_is_poison(y), "%s sample %d: %s", name_of(c), c->sample,
                  ak_error_message(ctx));
    if (!y->maker) {                    /* a constant of its operands */
        ak_close(ctx);
        return 0;
    }
    ak_tensor *z = ak_apply(&once_op, &y, 1, NULL);
    if (mode != KEEP) {
        ak_done_with(y, mode == MAKE_AGAIN);
        for (int i = 0; i < operands_of(c); i++)
            if (in[i])
                ak_done_with(in[i], mode == MAKE_AGAIN);
        if (mode == MAKE_AGAIN)
            for (int i = 0; i < operands_of(c); i++)
                cr_assert(!in[i] || !in[i]->maker || !in[i]->data || in[i] == y);
        for (int i = 0; i < 4; i++)     /* what comes to stand where they were */
            ak_full(ctx, AK_SHAPE(1 + 40 * i), 1e30);
    }
    cr_assert_eq(backward(z), AK_OK, "%s sample %d mode %d: %s", name_of(c), c->sample, (int)mode,
                 ak_error_message(ctx));
    const int64_t n = gradients(c, leaf, to);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
    return n;
}

Test(kept_values, given_back_or_not)
{
    static ak_real want[MOST_NUMBERS], got[MOST_NUMBERS];
    const size_t n = list_cases();
    ak__done_with_least = 0;            /* samples are small */
    for (size_t i = 0; i < n; i++) {
        const kept_case *c = &all_cases[i];
        const int64_t numbers = run_given(c, KEEP, want);
        for (enum mode mode = GIVE; mode < MODES; mode++) {
            cr_assert_eq(run_given(c, mode, got), numbers);
            cr_expect_arr_eq(got, want, (size_t)numbers * sizeof *got,
                             "%s sample %d composed %d: other bits in mode %d", name_of(c),
                             c->sample, c->composed, (int)mode);
        }
    }
}

/* ---- twice ----------------------------------------------------------------------------------- */

/* A second backward gives what the first gave: it found everything as it was. */
Test(kept_values, a_second_backward_adds_the_same)
{
    static ak_real once[MOST_NUMBERS], twice[MOST_NUMBERS];
    const size_t n = list_cases();
    for (size_t i = 0; i < n; i++) {
        const kept_case *c = &all_cases[i];
        ak_tensor *leaf[AK_MAX_IN] = { 0 }, *in[AK_MAX_IN] = { 0 };
        ak_ctx *ctx = open_case(c, leaf);
        for (int j = 0; j < operands_of(c); j++)
            in[j] = leaf[j] ? ak_apply(&once_op, &leaf[j], 1, NULL) : NULL;
        ak_tensor *y = run_case(c, in);
        if (y->maker) {
            cr_assert_eq(backward(y), AK_OK);
            const int64_t numbers = gradients(c, leaf, once);
            cr_assert_eq(backward(y), AK_OK, "%s sample %d: %s", name_of(c), c->sample,
                         ak_error_message(ctx));
            gradients(c, leaf, twice);
            for (int64_t j = 0; j < numbers; j++)
                cr_assert(twice[j] == 2 * once[j], "%s sample %d composed %d: element %lld is %g, "
                          "then %g", name_of(c), c->sample, c->composed, (long long)j,
                          (double)once[j], (double)twice[j]);
        }
        ak_step_end(ctx);
        ak_close(ctx);
    }
}

/* ---- what is read, and what is not ----------------------------------------------------------- */

static bool reads(const ak_call *k, int i)
{
    return k->op->reads == 0 || (i < 30 && (k->op->reads >> i & 1));
}

/* Is the memory of operand i that of one which is read? */
static bool shared_with_a_read_one(const ak_call *k, int i)
{
    for (int j = 0; j < k->n_in; j++)
        if (k->in[j] && reads(k, j) && k->in[j]->owner == k->in[i]->owner)
            return true;
    return false;
}

static void scribble(ak_tensor *t)      /* unseen by the library */
{
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)NAN;
}

Test(kept_values, nothing_but_what_is_listed_is_read)
{
    static ak_real want[MOST_NUMBERS], got[MOST_NUMBERS];
    const size_t n = list_cases();
    int scribbled = 0;
    for (size_t i = 0; i < n; i++) {
        const kept_case *c = &all_cases[i];
        int64_t numbers = 0;
        for (int pass = 0; pass < 2; pass++) {
            ak_tensor *leaf[AK_MAX_IN] = { 0 };
            ak_ctx *ctx = open_case(c, leaf);
            ak_tensor *y = run_case(c, leaf);
            ak_call *k = y->maker;
            if (k) {
                for (int j = 0; pass && j < k->n_in; j++)
                    if (k->in[j] && !reads(k, j) && !k->in[j]->maker &&
                        !shared_with_a_read_one(k, j)) {
                        scribble(k->in[j]);
                        scribbled++;
                    }
                if (pass && k->op->reads && !(k->op->reads & AK_READS_OUT) && !k->op->again)
                    scribble(y);
                cr_assert_eq(backward(y), AK_OK);
                numbers = gradients(c, leaf, pass ? got : want);
            }
            ak_step_end(ctx);
            ak_close(ctx);
        }
        cr_expect_arr_eq(got, want, (size_t)numbers * sizeof *got, "%s sample %d", name_of(c),
                         c->sample);
    }
    cr_expect(scribbled > 100, "%d operands", scribbled);
}

Test(kept_values, every_change_of_what_is_listed_is_seen)
{
    static ak_real before[MOST_NUMBERS], after[MOST_NUMBERS];
    const size_t n = list_cases();
    int refused = 0;
    for (size_t i = 0; i < n; i++) {
        const kept_case *c = &all_cases[i];
        for (int which = -1; which < operands_of(c); which++) {
            ak_tensor *leaf[AK_MAX_IN] = { 0 };
            ak_ctx *ctx = open_case(c, leaf);
            if (which >= 0 && !leaf[which]) {
                ak_close(ctx);
                continue;
            }
            ak_tensor *y = run_case(c, leaf);
            ak_call *k = y->maker;
            bool seen = false;
            for (int j = 0; k && j < k->n_in; j++)
                seen = seen || (which >= 0 && k->in[j] && k->in[j]->owner == leaf[which] &&
                                reads(k, j));
            if (which < 0)
                seen = k && (k->op->reads == 0 || (k->op->reads & AK_READS_OUT));
            if (k && seen) {
                ak_fill(which < 0 ? y : leaf[which], 0.5);
                const int64_t numbers = gradients(c, leaf, before);
                cr_expect_eq(backward(y), AK_ERR_STATE, "%s sample %d operand %d", name_of(c),
                             c->sample, which);
                cr_expect(strstr(ak_error_message(ctx), "changed by ak_fill"));
                gradients(c, leaf, after);
                cr_expect_arr_eq(after, before, (size_t)numbers * sizeof *after);
                refused++;
            }
            ak_step_end(ctx);
            ak_close(ctx);
        }
    }
    cr_expect(refused > 300, "%d changes", refused);
}

/* ---- a backward that fails ------------------------------------------------------------------- */

static int fails_at, calls;

static void failing_backward(ak_call *k)
{
    if (++calls == fails_at) {
        ak_call_fail(k, AK_ERR_VALUE, "backward %d fails", calls);
        return;
    }
    again_backward(k);
}

static const ak_op failing_op = { .name = "failing", .formula = "y = x", .n_in = 1,
                                  .shape = again_shape, .forward = again_forward,
                                  .backward = failing_backward };

static ak_tensor *may_fail(ak_tensor *x) { return ak_apply(&failing_op, &x, 1, NULL); }

enum { BATCH = 2000, WIDTH = 70, LOSS_ROWS = 100 };

typedef struct network { ak_tensor *w[3], *g, *b, *kept, *leaf; } network;

static network make_network(ak_ctx *ctx)
{
    static const char *const names[] = { "w0", "w1", "w2" };
    network net;
    for (int i = 0; i < 3; i++) {
        net.w[i] = ak_param(ctx, names[i], AK_SHAPE(WIDTH, WIDTH), 0);
        for (int64_t j = 0; !ak_is_poison(net.w[i]) && j < net.w[i]->size; j++)
            net.w[i]->data[j] = (ak_real)(0.1 * sin((double)(j * (i + 3))));
    }
    net.g = ak_param(ctx, "g", AK_SHAPE(WIDTH), 0);
    ak_fill(net.g, 1);
    net.b = ak_param(ctx, "b", AK_SHAPE(WIDTH), AK_PARAM_NO_DECAY);
    net.kept = ak_require_grad(ak_keep(ak_randn(ctx, AK_SHAPE(BATCH, WIDTH))));
    net.leaf = NULL;
    return net;
}

static ak_tensor *network_loss(network *net, ak_ctx *ctx)
{
    net->leaf = ak_require_grad(ak_randn(ctx, AK_SHAPE(BATCH, WIDTH)));
    ak_tensor *h = may_fail(ak_linear_relu(ak_add(net->leaf, net->kept), net->w[0], net->b));
    h = may_fail(ak_batch_norm(may_fail(ak_matmul(h, net->w[1])), net->g, net->b, NULL, NULL,
                               (ak_batch_norm_options){ .relu = true }));
    h = may_fail(ak_add(h, ak_matmul_nt(ak_rows(h, 0, BATCH), net->w[2])));
    return may_fail(ak_loss_ntxent(ak_rows(h, 0, LOSS_ROWS), ak_rows(h, LOSS_ROWS, LOSS_ROWS),
                                   (ak_ntxent_options){ 0 }));
}

static ak_real *copy_gradients(ak_ctx *ctx, ak_real *to)
{
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        memcpy(to, ak_param_at(ctx, i)->grad, (size_t)ak_param_at(ctx, i)->size * sizeof *to);
        to += ak_param_at(ctx, i)->size;
    }
    return to;
}

static ak_real network_before[MOST_NUMBERS], network_after[MOST_NUMBERS];

/* One backward of which something fails; `backwards` of them went well before, in this step or in
 * earlier ones. Returns whether it failed. */
static bool fails_without_a_trace(int fail_op, int fail_allocation, int backwards, bool same_step)
{
    ak_ctx *ctx = abuse_open(1);
    network net = make_network(ctx);
    fails_at = 0;
    for (int i = 0; i < backwards; i++) {
        cr_assert_eq(ak_backward(network_loss(&net, ctx)), AK_OK, "%s", ak_error_message(ctx));
        if (!same_step)
            ak_step_end(ctx);
    }
    ak_tensor *loss = network_loss(&net, ctx);
    const size_t numbers = (size_t)(copy_gradients(ctx, network_before) - network_before);
    calls = 0;
    fails_at = fail_op;
    ak_fail_alloc_after((uint64_t)fail_allocation, true);
    const ak_status status = ak_backward(loss);
    ak_fail_alloc_after(0, false);
    copy_gradients(ctx, network_after);
    if (status != AK_OK) {
        cr_expect_eq(status, fail_op ? AK_ERR_VALUE : AK_ERR_MEMORY);
        cr_expect_arr_eq(network_after, network_before, numbers * sizeof *network_after,
                         "op %d, allocation %d fails after %d backwards", fail_op,
                         fail_allocation, backwards);
        for (int64_t i = 0; net.leaf->grad && i < net.leaf->size; i++)
            cr_assert_eq(net.leaf->grad[i], 0);
    } else {
        cr_expect(memcmp(network_after, network_before, numbers * sizeof *network_after) != 0);
    }
    ak_step_end(ctx);
    /* and the next step's gradients are what they would have been */
    fails_at = 0;
    cr_expect_eq(ak_backward(network_loss(&net, ctx)), AK_OK, "%s", ak_error_message(ctx));
    ak_close(ctx);
    return status != AK_OK;
}

Test(failed_backward, changes_no_gradient)
{
    for (int backwards = 0; backwards < 3; backwards++)
        for (int same_step = 0; same_step < 2; same_step++) {
            int n = 1;
            while (fails_without_a_trace(n, 0, backwards, same_step))
                n++;
            cr_expect_eq(n, 6, "%d ops failed", n - 1);
        }
    ABUSE_EXPECT_NO_LEAK();
}

Test(failed_backward, memory_runs_out)
{
    int failed = 0;
    for (int backwards = 0; backwards < 3; backwards++)
        for (int same_step = 0; same_step < 2; same_step++) {
            int n = 1;
            while (fails_without_a_trace(0, n, backwards, same_step))
                n++;
            failed += n - 1;
        }
    cr_expect(failed >= 2, "only %d allocations failed", failed);
    ABUSE_EXPECT_NO_LEAK();
}
