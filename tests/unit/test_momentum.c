/* SPDX-License-Identifier: Apache-2.0 */
/* Momentum encoders: closed forms over many steps, rules for buffers, both modes of batch norm,
 * optimisers that leave the teacher alone, resumed runs; keys in another order. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/heads.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_momentum *encoder(ak_module *m, ak_momentum_options o)
{
    ak_momentum *e = ak_momentum_encoder(m, "teacher", o);
    cr_assert_not_null(e, "%s", ak_error_message(ak_module_ctx(m)));
    return e;
}

/* ---- the momentum ---------------------------------------------------------------------------- */

/* A student that stands still at 1: the teacher's distance is the product of all momenta. */
static void expect_product(ak_momentum_options o, double (*momentum)(int k, int K), int steps)
{
    ak_ctx *ctx = quiet();
    ak_module *student = ak_nn_linear(ctx, "student", 5, 3, (ak_linear_options){ 0 });
    ak_momentum *e = encoder(student, o);
    ak_tensor *t = ak_module_find(ak_momentum_module(e), "weight");
    ak_fill(ak_module_find(student, "weight"), 1);
    ak_fill(t, 0);
    double left = 1;
    for (int k = 0; k < steps; k++) {
        cr_expect_eq(ak_momentum_updates(e), k);
        cr_expect_float_eq(ak_momentum_now(e), momentum(k, (int)o.steps), 1e-15);
        left *= momentum(k, (int)o.steps);
        cr_assert_eq(ak_momentum_update(e), AK_OK);
        for (int64_t i = 0; i < t->size; i++)
            cr_expect_float_eq((double)t->data[i], 1 - left, 20 * TOL, "step %d: %g, not %g", k,
                               (double)t->data[i], 1 - left);
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

static double constant(int k, int K)
{
    (void)k, (void)K;
    return 0.9;
}

static double cosine(int k, int K)      /* Grill et al. 2020 */
{
    return k >= K ? 1 : 1 - (1 - 0.99) * (cos(acos(-1) * k / K) + 1) / 2;
}

static double linear(int k, int K)
{
    return k >= K ? 0.8 : 0.5 + 0.3 * k / K;
}

Test(momentum, closed_forms)
{
    expect_product((ak_momentum_options){ .start = 0.9 }, constant, 200);
    expect_product((ak_momentum_options){ .start = 0.99, .rise = AK_RISE_COSINE, .steps = 150 },
                   cosine, 160);
    expect_product((ak_momentum_options){ .start = 0.5, .end = 0.8, .rise = AK_RISE_LINEAR,
                                          .steps = 30 }, linear, 40);
}

/* At the end of a cosine a step is smaller than half a unit in the last place of a float. */
Test(momentum, does_not_stall_near_one)
{
    ak_ctx *ctx = quiet();
    ak_module *student = ak_nn_linear(ctx, "student", 100, 100, (ak_linear_options){ 0 });
    ak_momentum *e = encoder(student, (ak_momentum_options){ .start = 1 - 1e-8 });
    ak_tensor *t = ak_module_find(ak_momentum_module(e), "weight");
    ak_fill(ak_module_find(student, "weight"), 2);
    ak_fill(t, 1);
    for (int k = 0; k < 1000; k++)
        cr_assert_eq(ak_momentum_update(e), AK_OK);
    double mean = 0;
    for (int64_t i = 0; i < t->size; i++)
        mean += ((double)t->data[i] - 1) / (double)t->size;
    cr_expect_float_eq(mean, 1e-5, 1e-6, "moved by %g, not 1e-5", mean);
    ak_close(ctx);
}

/* ---- parameters and buffers ------------------------------------------------------------------ */

static ak_module *net_with_norm(ak_ctx *ctx)
{
    return ak_convnet(ctx, "student", (ak_convnet_options){ .channels = { 1, 3, 4 } });
}

static double buffer_after(ak_teacher_buffers rule, const char *copied)
{
    ak_ctx *ctx = quiet();
    ak_module *student = net_with_norm(ctx);
    ak_momentum *e = encoder(student, (ak_momentum_options){
        .start = 0.75, .norm = AK_TEACHER_TRAIN, .buffers = rule, .copied = copied });
    ak_fill(ak_module_find(student, "bn1/running_mean"), 8);
    cr_assert_eq(ak_momentum_update(e), AK_OK);
    const double got = (double)ak_module_find(ak_momentum_module(e), "bn1/running_mean")->data[1];
    ak_close(ctx);
    return got;
}

Test(momentum, rules_for_buffers)
{
    cr_expect_eq(buffer_after(AK_BUFFERS_COPY, NULL), 8);
    cr_expect_eq(buffer_after(AK_BUFFERS_AVERAGE, NULL), 2);
    cr_expect_eq(buffer_after(AK_BUFFERS_OWN, NULL), 0);
    cr_expect_eq(buffer_after(AK_BUFFERS_OWN, "*/running_mean"), 8);
    cr_expect_eq(buffer_after(AK_BUFFERS_AVERAGE, "*/running_var"), 2);
}

/* Parts that are named elsewhere belong to the student by its list; what is only named below it
 * does not. */
Test(momentum, pairs_are_those_of_the_lists)
{
    ak_ctx *ctx = quiet();
    ak_module *a = ak_mlp(ctx, "elsewhere", (int[]){ 3, 4, 0 });
    ak_module *b = ak_mlp(ctx, "student/b", (int[]){ 4, 2, 0 });
    ak_mlp(ctx, "student/predictor", (int[]){ 2, 2, 0 });
    ak_module *net = ak_nn_sequential(ctx, "student", (ak_module *[]){ a, b, NULL });
    ak_momentum *e = encoder(net, (ak_momentum_options){ .start = 0.5 });
    for (int64_t i = 0; ak_module_param(net, i); i++) {
        ak_fill(ak_module_param(net, i), 2);
        ak_fill(ak_module_param(ak_momentum_module(e), i), 1);
    }
    cr_assert_eq(ak_momentum_update(e), AK_OK, "%s", ak_error_message(ctx));
    int64_t i = 0;
    for (const ak_tensor *t; (t = ak_module_param(ak_momentum_module(e), i)) != NULL; i++)
        for (int64_t j = 0; j < t->size; j++)
            cr_expect_eq(t->data[j], (ak_real)1.5, "%s", t->name);
    cr_expect_eq(i, 4);
    ak_module_add(net, ak_mlp(ctx, "student/c", (int[]){ 2, 2, 0 }));
    cr_expect_eq(ak_momentum_update(e), AK_ERR_STATE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "teacher"), "%s", ak_error_message(ctx));
    cr_expect_eq(ak_momentum_updates(e), 1, "a refused update counts");
    ak_close(ctx);
}

static ak_tensor *pictures(ak_ctx *ctx, int64_t n, uint64_t draw)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, 6, 6, 1));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)ak_random_normal(9, draw, (uint64_t)i);
    return x;
}

/* In train mode the teacher's output depends on its batch, in evaluation mode it does not; it
 * records nothing in either. */
Test(momentum, modes_of_batch_norm)
{
    ak_ctx *ctx = quiet();
    ak_module *student = net_with_norm(ctx);
    ak_momentum *train = encoder(student, (ak_momentum_options){ .norm = AK_TEACHER_TRAIN });
    ak_momentum *eval = ak_momentum_encoder(student, "mean", (ak_momentum_options){
        .norm = AK_TEACHER_EVAL });
    cr_assert_not_null(eval, "%s", ak_error_message(ctx));
    ak_tensor *x = pictures(ctx, 4, 0);
    const uint32_t before = ak_hash(ctx, "mean/*");
    const ak_tensor *all = ak_momentum_forward(eval, (ak_inputs){ .x = x });
    const ak_tensor *half = ak_momentum_forward(eval, (ak_inputs){ .x = ak_rows(x, 0, 2) });
    cr_expect_float_eq((double)all->data[3], (double)half->data[3], TOL);
    cr_expect_eq(ak_hash(ctx, "mean/*"), before, "running statistics of AK_TEACHER_EVAL moved");
    cr_expect(ak_is_training(ctx), "the mode is the context's again");
    all = ak_momentum_forward(train, (ak_inputs){ .x = x });
    half = ak_momentum_forward(train, (ak_inputs){ .x = ak_rows(x, 0, 2) });
    cr_expect_gt(fabs((double)all->data[3] - (double)half->data[3]), 1e-4);
    cr_expect_not(all->needs_grad);
    ak_close(ctx);
}

/* ---- what it refuses ------------------------------------------------------------------------- */

Test(momentum, refusals)
{
    const ak_momentum_options wrong[] = {
        { .start = 1.5, .norm = AK_TEACHER_TRAIN }, { .start = -0.1, .norm = AK_TEACHER_TRAIN },
        { .start = (double)NAN, .norm = AK_TEACHER_TRAIN }, { .norm = AK_TEACHER_UNSAID },
        { .rise = AK_RISE_COSINE, .norm = AK_TEACHER_TRAIN },
        { .steps = 10, .norm = AK_TEACHER_TRAIN },
        { .norm = AK_TEACHER_EVAL, .buffers = AK_BUFFERS_OWN },
        { .norm = (ak_teacher_norm)7 }, { .norm = AK_TEACHER_TRAIN, .rise = (ak_momentum_rise)9 },
    };
    ak_ctx *ctx = quiet();
    ak_module *student = net_with_norm(ctx);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_null(ak_momentum_encoder(student, "teacher", wrong[i]), "%zu", i);
        cr_expect_eq(ak_error(ctx), AK_ERR_VALUE, "%zu: %s", i, ak_error_message(ctx));
        ak_step_end(ctx);
    }
    cr_expect_null(ak_momentum_encoder(student, "student", (ak_momentum_options){
        .norm = AK_TEACHER_TRAIN }), "the student's own name");
    ak_step_end(ctx);
    cr_expect_null(ak_momentum_encoder(student, "t2", (ak_momentum_options){
        .norm = AK_TEACHER_TRAIN, .copied = "*/steps" }));
    cr_expect_eq(ak_error(ctx), AK_ERR_NOT_FOUND, "%s", ak_error_message(ctx));
    ak_close(ctx);
}

/* ---- training -------------------------------------------------------------------------------- */

typedef struct training {
    ak_ctx *ctx;
    ak_module *student;
    ak_momentum *teacher;
    ak_optim *opt;
} training;

static training begin(double start)
{
    training t = { .ctx = quiet() };
    t.student = net_with_norm(t.ctx);
    t.teacher = encoder(t.student, (ak_momentum_options){
        .start = start, .rise = AK_RISE_COSINE, .steps = 12, .norm = AK_TEACHER_TRAIN,
        .buffers = AK_BUFFERS_OWN });
    t.opt = ak_adamw(t.ctx, "*", (ak_adamw_options){ .lr = 0.01, .weight_decay = 0.1 });
    return t;
}

/* A step with shuffled keys. */
static void step(const training *t, int k)
{
    ak_tensor *x = pictures(t->ctx, 6, (uint64_t)k);
    ak_index *order = ak_permutation(t->ctx, 6);
    ak_tensor *key = ak_momentum_forward(t->teacher, (ak_inputs){
        .x = ak_shuffle_rows(x, order) });
    key = ak_unshuffle_rows(key, order);
    ak_tensor *query = ak_forward(t->student, x);
    cr_assert_eq(ak_backward(ak_mse(query, ak_add_scalar(key, 1))), AK_OK, "%s",
                 ak_error_message(t->ctx));
    ak_optim_step(t->opt);
    cr_assert_eq(ak_momentum_update(t->teacher), AK_OK);
    cr_assert_eq(ak_step_end(t->ctx), AK_OK);
}

/* An optimiser of "*" does not touch the teacher: with momentum 1 it keeps its bits. */
Test(momentum, optimisers_leave_the_teacher_alone)
{
    training t = begin(1);
    const ak_tensor *w = ak_module_find(ak_momentum_module(t.teacher), "conv1/weight");
    const ak_tensor *from = ak_module_find(t.student, "conv1/weight");
    ak_real before[64];
    memcpy(before, w->data, (size_t)w->size * sizeof *before);
    for (int k = 0; k < 5; k++)
        step(&t, k);
    cr_expect_eq(memcmp(before, w->data, (size_t)w->size * sizeof *before), 0);
    cr_expect_neq(memcmp(before, from->data, (size_t)w->size * sizeof *before), 0,
                  "the student stands still");
    ak_close(t.ctx);
}

Test(momentum, a_resumed_run_has_the_same_bits)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/akin-momentum-%d.ckpt", (int)getpid());
    training t = begin(0.9);
    for (int k = 0; k < 5; k++)
        step(&t, k);
    cr_assert_eq(ak_checkpoint_save(t.ctx, path), AK_OK, "%s", ak_error_message(t.ctx));
    for (int k = 5; k < 14; k++)
        step(&t, k);
    const uint32_t straight = ak_hash(t.ctx, "*");
    ak_close(t.ctx);
    t = begin(0.9);
    cr_assert_eq(ak_checkpoint_load(t.ctx, path), AK_OK, "%s", ak_error_message(t.ctx));
    cr_expect_eq(ak_momentum_updates(t.teacher), 5);
    for (int k = 5; k < 14; k++)
        step(&t, k);
    cr_expect_eq(ak_hash(t.ctx, "*"), straight);
    cr_expect_eq(ak_momentum_now(t.teacher), 1);
    ak_close(t.ctx);
    unlink(path);
}

/* ---- another order --------------------------------------------------------------------------- */

Test(shuffle, there_and_back)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(7, 2, 3)));
    ak_index *order = ak_permutation(ctx, 7), *other = ak_permutation(ctx, 7);
    cr_assert_not_null(order);
    cr_expect_neq(memcmp(order->data, other->data, 7 * sizeof *order->data), 0);
    ak_tensor *y = ak_shuffle_rows(x, order);
    for (int64_t i = 0; i < 7; i++)
        cr_expect_eq(memcmp(y->data + 6 * i, x->data + 6 * order->data[i], 6 * sizeof *x->data), 0);
    ak_tensor *back = ak_unshuffle_rows(y, order);
    cr_expect_eq(memcmp(back->data, x->data, (size_t)x->size * sizeof *x->data), 0);
    ak_tensor *w = ak_randn(ctx, AK_SHAPE(7, 2, 3));
    cr_assert_eq(ak_backward(ak_sum(ak_mul(y, w))), AK_OK);
    for (int64_t i = 0; i < 7; i++)
        cr_expect_eq(memcmp(x->grad + 6 * order->data[i], w->data + 6 * i, 6 * sizeof *x->grad), 0);
    ak_close(ctx);
}

Test(shuffle, depends_on_seed_and_step)
{
    int32_t first[2][9];
    for (int run = 0; run < 2; run++) {
        ak_ctx *ctx = quiet();
        memcpy(first[run], ak_permutation(ctx, 9)->data, sizeof first[run]);
        ak_close(ctx);
    }
    cr_expect_eq(memcmp(first[0], first[1], sizeof first[0]), 0);
}

Test(shuffle, refusals)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 2));
    const struct { int n; int32_t order[4]; ak_status status; } wrong[] = {
        { 2, { 0, 1 }, AK_ERR_SHAPE }, { 4, { 0, 1, 2, 3 }, AK_ERR_SHAPE },
        { 3, { 0, 1, 1 }, AK_ERR_VALUE }, { 3, { 0, 3, 1 }, AK_ERR_VALUE },
        { 3, { -1, 0, 1 }, AK_ERR_VALUE },
    };
    for (size_t i = 0; i < 2 * sizeof wrong / sizeof *wrong; i++) {
        x = ak_randn(ctx, AK_SHAPE(3, 2));
        ak_index *order = ak_index_from(ctx, AK_SHAPE(wrong[i / 2].n), wrong[i / 2].order);
        ak_tensor *y = i % 2 ? ak_unshuffle_rows(x, order) : ak_shuffle_rows(x, order);
        cr_expect(ak_is_poison(y), "%zu", i);
        cr_expect_eq(ak_error(ctx), wrong[i / 2].status, "%zu: %s", i, ak_error_message(ctx));
        ak_step_end(ctx);
    }
    cr_expect_null(ak_permutation(ctx, 0));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}
