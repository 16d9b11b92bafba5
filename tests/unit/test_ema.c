/* SPDX-License-Identifier: Apache-2.0 */
/* Moving averages: what they average, what they refuse, momentum near 1, a teacher's training. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/nn.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 1e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

Test(ema, averages_parameters_and_copies_buffers)
{
    ak_ctx *ctx = quiet();
    ak_convnet(ctx, "student/encoder", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    ak_mlp(ctx, "student/head", (int[]){ 5, 3, 0 });
    ak_convnet(ctx, "teacher/encoder", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    ak_mlp(ctx, "teacher/head", (int[]){ 5, 3, 0 });
    const ak_tensor *s = ak_param_find(ctx, "student/encoder/conv2/weight");
    const ak_tensor *t = ak_param_find(ctx, "teacher/encoder/conv2/weight");
    const double before = (double)t->data[7], from = (double)s->data[7];
    ak_fill(ak_param_find(ctx, "student/encoder/bn1/running_var"), 7);
    cr_assert_eq(ak_ema_update(ctx, "teacher", "student", 0.75), AK_OK);
    cr_expect_float_eq((double)t->data[7], 0.75 * before + 0.25 * from, TOL);
    const ak_tensor *copied = ak_param_find(ctx, "teacher/encoder/bn1/running_var");
    for (int64_t i = 0; i < copied->size; i++)
        cr_expect_eq(copied->data[i], 7);
    cr_assert_eq(ak_ema_update(ctx, "teacher", "student", 0), AK_OK);
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *x = ak_param_at(ctx, i);
        if (strncmp(x->name, "student/", 8) != 0)
            continue;
        char name[128];
        snprintf(name, sizeof name, "teacher/%s", x->name + 8);
        cr_expect_eq(memcmp(ak_param_find(ctx, name)->data, x->data,
                            (size_t)x->size * sizeof *x->data), 0, "%s", name);
    }
    cr_expect_eq(t->data[t->size], 0, "padding");
    ak_close(ctx);
}

Test(ema, refusals_change_nothing)
{
    ak_ctx *ctx = quiet();
    ak_mlp(ctx, "s", (int[]){ 4, 3, 0 });
    ak_mlp(ctx, "t", (int[]){ 4, 3, 0 });
    ak_mlp(ctx, "u", (int[]){ 4, 2, 0 });
    cr_assert_eq(ak_ema_update(ctx, "t", "s", 0.5), AK_OK);
    const uint32_t before = ak_hash(ctx, "*");
    cr_expect_eq(ak_ema_update(ctx, "u", "s", 0.5), AK_ERR_SHAPE);
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "v", "s", 0.5), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "v/fc1/weight"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t", "none", 0.5), AK_ERR_NOT_FOUND);
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t", "s", 1.5), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t", "t", 0.5), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_hash(ctx, "*"), before);
    ak_param(ctx, "s/extra", AK_SHAPE(2), 0);
    cr_expect_eq(ak_ema_update(ctx, "t", "s", 0.5), AK_ERR_NOT_FOUND, "a parameter added later");
    ak_close(ctx);
}

Test(ema, a_teacher_with_more_than_the_student_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_mlp(ctx, "s", (int[]){ 4, 3, 0 });
    ak_mlp(ctx, "t", (int[]){ 4, 3, 2, 0 });
    cr_expect_eq(ak_ema_update(ctx, "t", "s", 0.5), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "t/fc2/weight"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t", "x", 0.5), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "s/fc1"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t", NULL, 0.5), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_ema_update(ctx, "t/fc1", "s/fc1", 0.5), AK_OK, "the part that both have");
    ak_close(ctx);
}

/* A share of 1e-8 of a distance of 1 is a twelfth of the last place of a float: the mean over
 * numbers must move as the formula says. */
Test(ema, a_momentum_near_1_does_not_stall)
{
    enum { N = 4096, STEPS = 1000 };
    uint32_t hash[2];
    for (int run = 0; run < 2; run++) {
        ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true, .threads = 1 + run });
        ak_tensor *s = ak_param(ctx, "s/w", AK_SHAPE(N), 0);
        ak_tensor *t = ak_param(ctx, "t/w", AK_SHAPE(N), 0);
        ak_fill(s, 2);
        ak_fill(t, 1);
        const double share = 1 - 0.99999999;
        for (int i = 0; i < STEPS; i++)
            cr_assert_eq(ak_ema_update(ctx, "t", "s", 0.99999999), AK_OK);
        double moved = 0;
        for (int64_t i = 0; i < N; i++)
            moved += ((double)t->data[i] - 1) / N;
        const double right = 1 - pow(1 - share, STEPS);
        cr_expect_float_eq(moved / right, 1, 0.02, "moved %g, not %g", moved, right);
        cr_assert_eq(ak_ema_update(ctx, "t", "s", 1), AK_OK);
        hash[run] = ak_hash(ctx, "t/*");
        cr_assert_eq(ak_ema_update(ctx, "t", "s", 1), AK_OK);
        cr_expect_eq(ak_hash(ctx, "t/*"), hash[run], "momentum 1 changes nothing");
        ak_close(ctx);
    }
    cr_expect_eq(hash[0], hash[1], "the same bits for any number of threads");
}

/* The recipe of akin/optim.h, stopped and resumed in the middle: one run, two runs, the same bits;
 * the momentum is one whose steps are rounded by chance. */
typedef struct byol { ak_ctx *ctx; ak_module *student, *teacher; ak_optim *opt; } byol;

static byol byol_open(void)
{
    byol r = { .ctx = ak_open((ak_options){ .seed = 5, .quiet = true }) };
    r.student = ak_mlp_with(r.ctx, "student", (int[]){ 4, 6, 3, 0 },
                            (ak_mlp_options){ .batch_norm = true });
    r.teacher = ak_mlp_with(r.ctx, "teacher", (int[]){ 4, 6, 3, 0 },
                            (ak_mlp_options){ .batch_norm = true });
    ak_freeze(r.ctx, "teacher/*", true);
    ak_ema_update(r.ctx, "teacher", "student", 0);
    r.opt = ak_adamw(r.ctx, "*", (ak_adamw_options){ .weight_decay = 0.1 });
    return r;
}

static void byol_steps(byol *r, int from, int to)
{
    for (int i = from; i < to; i++) {
        ak_tensor *x = ak_randn(r->ctx, AK_SHAPE(8, 4));
        ak_no_grad_begin(r->ctx);
        ak_tensor *target = ak_forward(r->teacher, x);
        ak_no_grad_end(r->ctx);
        ak_tensor *y = ak_forward(r->student, x);
        cr_assert_eq(ak_backward(ak_mse(ak_scale(y, 2), ak_detach(target))), AK_OK);
        const uint32_t before = ak_hash(r->ctx, "teacher/*weight");
        cr_assert_eq(ak_optim_step(r->opt), AK_OK);
        cr_assert_eq(ak_hash(r->ctx, "teacher/*weight"), before, "only the average moves it");
        cr_assert_eq(ak_ema_update(r->ctx, "teacher", "student", 0.999999), AK_OK);
        ak_step_end(r->ctx);
    }
}

static char file[64];

static void remove_file(void)
{
    unlink(file);
}

Test(ema, a_teacher_resumes_with_the_same_bits, .fini = remove_file)
{
    snprintf(file, sizeof file, "ema-%d-%d.ckpt", (int)sizeof(ak_real), (int)getpid());
    byol whole = byol_open(), first = byol_open(), second = byol_open();
    const uint32_t start = ak_hash(whole.ctx, "teacher/fc*");
    byol_steps(&whole, 0, 20);
    cr_expect_neq(ak_hash(whole.ctx, "teacher/fc*"), start, "it moves");
    byol_steps(&first, 0, 10);
    cr_assert_eq(ak_checkpoint_save(first.ctx, file), AK_OK);
    cr_assert_eq(ak_checkpoint_load(second.ctx, file), AK_OK);
    byol_steps(&second, 10, 20);
    cr_expect_eq(ak_hash(second.ctx, "*"), ak_hash(whole.ctx, "*"));
    ak_close(whole.ctx);
    ak_close(first.ctx);
    ak_close(second.ctx);
}
