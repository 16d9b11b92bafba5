/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out at every place in turn: AK_ERR_MEMORY, no crash, no leak (run under ASan). */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <akin/checkpoint.h>
#include <akin/weights.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "abuse.h"

#define MAX_OPS 200
#define MOST_ALLOCATIONS 10000

/* Runs something with failing allocations; AK_OK if all of it could be done. */
typedef ak_status (*attempt_fn)(const void *user);

/* Let the n-th allocation fail for n = 1, 2, .. until nothing fails. Returns how many failed. */
static int exhaust(attempt_fn attempt, const void *user, bool sticky, const char *what)
{
    for (int n = 1; n < MOST_ALLOCATIONS; n++) {
        ak_fail_alloc_after((uint64_t)n, sticky);
        const ak_status status = attempt(user);
        ak_fail_alloc_after(0, false);
        if (status == AK_OK)
            return n - 1;
        cr_assert_eq(status, AK_ERR_MEMORY, "%s: allocation %d fails: status %s", what, n,
                     ak_status_name(status));
    }
    cr_assert_fail("%s: still failing after %d allocations", what, MOST_ALLOCATIONS);
    return 0;
}

/* ---- every op ------------------------------------------------------------------------------- */

static int op_numbers[MAX_OPS];

ParameterizedTestParameters(oom, every_op)
{
    size_t n = 0;
    for (int i = 0; ak_op_at(i) && n < MAX_OPS; i++)
        op_numbers[n++] = i;
    return cr_make_param_array(int, op_numbers, n);
}

static ak_status op_once(const void *user)
{
    const ak_op *op = user;
    const ak_sample *s = &op->samples[0];
    ak_ctx *ctx = abuse_open(1);
    if (!ctx)
        return AK_ERR_MEMORY;
    ak_tensor *in[AK_MAX_IN] = { 0 };
    ak_sample_draw(ctx, s, op->n_in, 1, in);
    /* Behind a copy, so that gradients of intermediates are allocated as well. */
    for (int i = 0; i < abuse_operands(op, s); i++)
        if (in[i] && !ak_is_poison(in[i]))
            in[i] = ak_scale(in[i], 1);
    ak_tensor *y = ak_sample_run(op, s, in);
    bool done = !ak_is_poison(y);
    if (done && y->maker)
        done = ak_backward(ak_sum(y)) == AK_OK;
    const ak_status status = ak_step_end(ctx), first = ak_close(ctx);
    cr_expect(done == (status == AK_OK), "%s: %s, but %s", op->name,
              done ? "it is done" : "it failed", ak_status_name(status));
    return first;
}

ParameterizedTest(int *number, oom, every_op)
{
    const ak_op *op = ak_op_at(*number);
    cr_expect(exhaust(op_once, op, true, op->name) > 1);
    cr_expect(exhaust(op_once, op, false, op->name) > 1);
    ABUSE_EXPECT_NO_LEAK();
}

/* ---- a training step ------------------------------------------------------------------------ */

enum { BATCH = 300, INPUTS = 20, HIDDEN = 70, CLASSES = 3 };

static ak_status descend(ak_ctx *ctx)
{
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *p = ak_param_at(ctx, i);
        for (int64_t j = 0; j < p->size; j++)
            p->data[j] -= (ak_real)0.01 * p->grad[j];
    }
    ak_zero_grad(ctx);
    return ak_step_end(ctx);
}

static ak_status train_once(const void *user)
{
    const int steps = *(const int *)user;
    ak_ctx *ctx = abuse_open(1);
    if (!ctx)
        return AK_ERR_MEMORY;
    ak_tensor *w1 = ak_param(ctx, "w1", AK_SHAPE(HIDDEN, INPUTS), 0);
    ak_tensor *b1 = ak_param(ctx, "b1", AK_SHAPE(HIDDEN), AK_PARAM_NO_DECAY);
    ak_tensor *w2 = ak_param(ctx, "w2", AK_SHAPE(CLASSES, HIDDEN), 0);
    for (int step = 0; step < steps && ak_error(ctx) == AK_OK; step++) {
        const uint32_t before = ak_hash(ctx, "*");
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(BATCH, INPUTS));
        ak_tensor *h = ak_dropout(ak_linear_relu(x, w1, b1), 0.1);
        ak_tensor *y = ak_sub(ak_logsumexp(ak_linear(h, w2, NULL), 1), ak_max_axis(x, 1));
        ak_tensor *loss = ak_mean(ak_square(y));
        if (ak_backward(loss) != AK_OK) {
            cr_expect_eq(ak_hash(ctx, "*"), before, "a broken step changed parameters");
            break;
        }
        descend(ctx);
    }
    return ak_close(ctx);
}

Test(oom, training_step)
{
    const int steps = 2;
    cr_expect(exhaust(train_once, &steps, true, "training") > 3);
    cr_expect(exhaust(train_once, &steps, false, "training") > 3);
    ABUSE_EXPECT_NO_LEAK();
}

/* Files of weights, from file to file, adapters. What a file holds is there whole, or is not. */
static ak_status carry_once(const void *user)
{
    FILE   *nowhere = fopen("/dev/null", "w");
    ak_ctx *ctx = abuse_open(1);
    (void)user;
    cr_assert_not_null(nowhere);
    if (!ctx) {
        fclose(nowhere);
        return AK_ERR_MEMORY;
    }
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_nn_conv2d(ctx, "conv", 2, 3, 2, (ak_conv_layer_options){ 0 });
    ak_nn_linear(ctx, "fc", 3, 2, (ak_linear_options){ 0 });
    net = ak_module_end(net);
    ak_lora_add(net, "*fc", (ak_lora_options){ .rank = 2 });
    ak_lora_merge(net);
    ak_module_save_safetensors(net, "oom.safetensors", (ak_weight_map){ 0 });
    ak_module_load_safetensors(net, "oom.safetensors", (ak_weight_map){ 0 });
    ak_lora_unmerge(net);
    ak_lora_save(net, "oom.lora");
    ak_lora_load(net, "oom.lora");
    ak_weights_convert(ctx, "oom.safetensors", "oom.npz", (ak_weight_map){
        .convolutions = AK_CONV_LAST }, nowhere);       /* says that it means it: no warning */
    ak_weights_convert(ctx, "oom.npz", "oom.ckpt", (ak_weight_map){ 0 }, nowhere);
    ak_weights_convert(ctx, "oom.ckpt", "oom.akin", (ak_weight_map){ 0 }, nowhere);
    ak_checkpoint_look(ctx, "oom.akin");
    ak_module_layers(net);
    ak_module_info(net, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(1, 4, 4, 2)) }, nowhere);
    fclose(nowhere);
    return ak_close(ctx);
}

Test(oom, weights_and_adapters)
{
    static const char *const files[] = { "oom.safetensors", "oom.lora", "oom.npz", "oom.ckpt",
                                         "oom.akin" };
    char folder[] = "/tmp/akin-oom-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    cr_expect(exhaust(carry_once, NULL, true, "weights") > 10);
    cr_expect(exhaust(carry_once, NULL, false, "weights") > 10);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        cr_expect_eq(remove(files[i]), 0, "%s", files[i]);
    cr_assert_eq(chdir("/"), 0);
    cr_expect_eq(rmdir(folder), 0, "nothing half-written is left");
    ABUSE_EXPECT_NO_LEAK();
}

/* After an error the context goes on where memory is back. */
Test(oom, recovery)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(1000), 0);
    ak_fill(w, 2);
    ak_fail_alloc_after(1, true);
    ak_tensor *y = ak_sum(ak_square(w));
    for (int i = 0; i < 2000 && !ak_is_poison(y); i++)
        y = ak_sum(ak_add(ak_square(w), y));
    ak_fail_alloc_after(0, false);
    cr_expect(ak_is_poison(y), "2000 squares of 1000 numbers fit without an allocation");
    cr_expect_eq(ak_step_end(ctx), AK_ERR_MEMORY);
    cr_expect_eq(ak_backward(ak_sum(ak_square(w))), AK_OK);
    for (int64_t i = 0; i < w->size; i++)
        cr_assert_eq(w->grad[i], 4);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    cr_expect_eq(ak_close(ctx), AK_ERR_MEMORY);
}
