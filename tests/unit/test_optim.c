/* SPDX-License-Identifier: Apache-2.0 */
/* Optimisers: closed forms, groups, freezing, clipping, schedules, moving averages, refusals. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/nn.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include <math.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 1e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_tensor *filled(ak_ctx *ctx, const char *name, int64_t n, double value, double grad,
                         int flags)
{
    ak_tensor *t = ak_param(ctx, name, AK_SHAPE(n), flags);
    cr_assert(!ak_is_poison(t));
    for (int64_t i = 0; i < n; i++) {
        t->data[i] = (ak_real)value;
        t->grad[i] = (ak_real)grad;
    }
    return t;
}

static void set_grad(const ak_tensor *t, double grad)
{
    for (int64_t i = 0; i < t->size; i++)
        t->grad[i] = (ak_real)grad;
}

static void expect_all(const ak_tensor *t, double want, const char *what)
{
    for (int64_t i = 0; i < t->size; i++)
        cr_assert_float_eq((double)t->data[i], want, TOL * fmax(1, fabs(want)),
                           "%s: %s[%d] = %.9g, not %.9g", what, t->name, (int)i,
                           (double)t->data[i], want);
}

Test(optim, sgd_and_momentum)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = filled(ctx, "a", 5, 2, 0.5, 0), *b = filled(ctx, "b", 3, 2, 0.5, 0);
    ak_optim *plain = ak_sgd(ctx, "a", (ak_sgd_options){ .lr = 0.1 });
    ak_optim *heavy = ak_sgd(ctx, "b", (ak_sgd_options){ .lr = 0.1, .momentum = 0.9,
                                                         .weight_decay = 0.01 });
    cr_assert_eq(ak_optim_step(plain), AK_OK);
    cr_assert_eq(ak_optim_step(heavy), AK_OK);
    expect_all(a, 2 - 0.1 * 0.5, "plain");
    double v = 0.5 + 0.01 * 2, p = 2 - 0.1 * v;
    expect_all(b, p, "first");
    cr_expect_eq(b->grad[0], 0, "a step zeroes gradients");
    set_grad(b, -1);
    ak_optim_step(heavy);
    v = 0.9 * v + (-1 + 0.01 * p);
    p -= 0.1 * v;
    expect_all(b, p, "second");
    expect_all(a, 2 - 0.1 * 0.5, "the other optimiser's");
    cr_expect_eq(ak_optim_steps(heavy), 2);
    ak_close(ctx);
}

Test(optim, adamw_first_steps)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = filled(ctx, "w", 70000, 1, 0.25, 0);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.5 });
    ak_optim_step(opt);
    /* At the first step m / sqrt(v) is the sign of the gradient. */
    double p = 1 - 0.1 * 0.5 * 1 - 0.1 * 0.25 / (0.25 + 1e-8);
    expect_all(w, p, "first");
    set_grad(w, -0.5);
    ak_optim_step(opt);
    const double m = (0.9 * 0.1 * 0.25 - 0.1 * 0.5) / (1 - 0.81);
    const double v = (0.999 * 0.001 * 0.0625 + 0.001 * 0.25) / (1 - 0.998001);
    p = p * (1 - 0.05) - 0.1 * m / (sqrt(v) + 1e-8);
    for (int64_t i = 0; i < w->size; i++)
        cr_assert_float_eq((double)w->data[i], p, 1e-5, "%g not %g", (double)w->data[i], p);
    ak_close(ctx);
}

Test(optim, no_decay_by_default_and_groups)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w1 = filled(ctx, "enc/w", 3, 1, 0, 0);
    ak_tensor *b1 = filled(ctx, "enc/b", 3, 1, 0, AK_PARAM_NO_DECAY);
    ak_tensor *w2 = filled(ctx, "head/w", 3, 1, 0, 0);
    ak_tensor *b2 = filled(ctx, "head/b", 3, 1, 0, AK_PARAM_NO_DECAY);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1, .weight_decay = 0.1 });
    cr_assert_eq(ak_optim_step(opt), AK_OK);
    expect_all(w1, 0.9, "decayed");
    expect_all(w2, 0.9, "decayed");
    expect_all(b1, 1, "not decayed");
    expect_all(b2, 1, "not decayed");
    cr_expect_eq(ak_optim_group(opt, "head/*", (ak_group_options){ .lr_scale = 0.5 }), 2);
    cr_expect_eq(ak_optim_group(opt, "*b", (ak_group_options){ .weight_decay = 0.2 }), 2);
    cr_expect_eq(ak_optim_group(opt, "enc/w", (ak_group_options){ .weight_decay = AK_NONE }), 1);
    ak_optim_step(opt);
    expect_all(w1, 0.9, "decay taken away");
    expect_all(w2, 0.9 - 0.5 * 0.1 * 0.9, "half the rate");
    expect_all(b1, 1 - 0.2, "a group's decay holds for biases too");
    expect_all(b2, 1 - 0.5 * 0.2, "both groups");
    cr_expect_eq(ak_optim_group(opt, "tail/*", (ak_group_options){ 0 }), 0);
    cr_expect_eq(ak_error(ctx), AK_ERR_NOT_FOUND);
    ak_close(ctx);
}

Test(optim, frozen_parameters_stay_with_their_moments)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = filled(ctx, "a", 20, 1, 1, 0), *b = filled(ctx, "b", 20, 1, 1, 0);
    ak_optim *opt = ak_adam(ctx, "*", (ak_adamw_options){ .lr = 0.1 });
    ak_freeze(ctx, "a", true);
    for (int i = 0; i < 3; i++) {
        set_grad(b, 1);
        ak_optim_step(opt);
    }
    expect_all(a, 1, "frozen");
    cr_expect_eq(a->grad[0], 0, "a gradient from before the freeze is dropped");
    expect_all(b, 1 - 0.3 / (1 + 1e-8), "three steps of a constant gradient");
    ak_freeze(ctx, "a", false);
    set_grad(a, 4);
    set_grad(b, 1);
    ak_optim_step(opt);
    expect_all(a, 1 - 0.1 / (1 + 0.25e-8), "its own first step: full correction of the moments");
    expect_all(b, 1 - 0.4 / (1 + 1e-8), "the fourth");
    ak_close(ctx);
}

Test(optim, padding_of_slabs_stays_zero)
{
    ak_ctx *ctx = quiet();
    ak_tensor *first = filled(ctx, "first", 3, 1, 1, 0);
    ak_tensor *second = filled(ctx, "second", 5, 1, 1, 0);
    const ptrdiff_t gap = second->data - first->data;
    cr_assert(gap > 3 && gap <= 64, "neighbours in a slab, gap %d", (int)gap);
    ak_optim *adam = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.1 });
    for (int i = 0; i < 5; i++) {
        set_grad(first, 1);
        set_grad(second, -1);
        ak_optim_step(adam);
    }
    for (ptrdiff_t i = 3; i < gap; i++) {
        cr_expect_eq(first->data[i], 0);
        cr_expect_eq(first->grad[i], 0);
    }
    ak_close(ctx);
}

Test(optim, clipping)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = filled(ctx, "a", 9, 0, 2, 0), *b = filled(ctx, "b", 4, 0, 4, AK_PARAM_NO_DECAY);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1 });
    const double norm = sqrt(9 * 4 + 4 * 16);
    cr_expect_float_eq(ak_clip_grad_norm(opt, 5), norm, 1e-6);
    ak_optim_step(opt);
    expect_all(a, -2 * 5 / norm, "scaled");
    expect_all(b, -4 * 5 / norm, "scaled");
    set_grad(a, 2);
    set_grad(b, 4);
    ak_clip_grad_norm(opt, 100);
    ak_optim_step(opt);
    expect_all(a, -2 * 5 / norm - 2, "short enough");
    set_grad(a, -7);
    set_grad(b, 0.5);
    cr_expect_eq(ak_clip_grad_value(opt, 1), AK_OK);
    cr_expect_eq(a->grad[8], -1);
    cr_expect_eq(b->grad[0], (ak_real)0.5);
    cr_expect(isnan(ak_clip_grad_norm(opt, 0)));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_step_end(ctx);
    a->grad[4] = (ak_real)NAN;
    ak_clip_grad_norm(opt, 1);
    cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER);
    cr_expect_not_null(strstr(ak_error_message(ctx), "\"a\""), "%s", ak_error_message(ctx));
    ak_close(ctx);
}

Test(optim, norms_have_the_same_bits_for_any_number_of_threads)
{
    double first = 0;
    for (int threads = 1; threads <= 4; threads++) {
        ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .threads = threads, .quiet = true });
        ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(300001), 0);
        for (int64_t i = 0; i < w->size; i++)
            w->grad[i] = (ak_real)ak_random_normal(1, 2, (uint64_t)i);
        ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1 });
        const double norm = ak_clip_grad_norm(opt, 1e9);
        if (threads == 1)
            first = norm;
        cr_expect_eq(norm, first, "%d threads", threads);
        ak_close(ctx);
    }
    cr_expect_float_eq(first, sqrt(300001), 2);
}

Test(optim, schedules)
{
    const ak_schedule c = ak_cosine(10, 110);
    cr_expect_float_eq(ak_schedule_at(c, 0), 0.1, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 9), 1, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 10), 1, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 60), 0.5, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 35), (1 + sqrt(0.5)) / 2, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 110), 0, 1e-15);
    cr_expect_float_eq(ak_schedule_at(c, 5000), 0, 1e-15);
    ak_schedule with_end = c;
    with_end.final = 0.2;
    cr_expect_float_eq(ak_schedule_at(with_end, 60), 0.6, 1e-15);
    cr_expect_float_eq(ak_schedule_at(with_end, 110), 0.2, 1e-15);
    const ak_schedule s = ak_staircase(30, 0.1);
    cr_expect_float_eq(ak_schedule_at(s, 29), 1, 1e-15);
    cr_expect_float_eq(ak_schedule_at(s, 30), 0.1, 1e-15);
    cr_expect_float_eq(ak_schedule_at(s, 89), 0.01, 1e-15);
    cr_expect_float_eq(ak_schedule_at(ak_constant(4), 1), 0.5, 1e-15);
    cr_expect_float_eq(ak_schedule_at(ak_constant(4), 400), 1, 1e-15);
    cr_expect_float_eq(ak_schedule_at((ak_schedule){ 0 }, 7), 1, 1e-15);

    ak_ctx *ctx = quiet();
    ak_tensor *w = filled(ctx, "w", 2, 0, 1, 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 2, .schedule = ak_constant(4) });
    cr_expect_float_eq(ak_optim_lr(opt), 0.5, 1e-15);
    ak_optim_step(opt);
    expect_all(w, -0.5, "warm-up");
    cr_expect_float_eq(ak_optim_lr(opt), 1, 1e-15);
    cr_expect_eq(ak_optim_set_lr(opt, 4), AK_OK);
    cr_expect_float_eq(ak_optim_lr(opt), 2, 1e-15);
    cr_expect_eq(ak_optim_set_lr(opt, -1), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(optim, lars_leaves_biases_and_zero_weights_alone)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = filled(ctx, "w", 4, 1, 0.5, 0);
    ak_tensor *zero = filled(ctx, "zero", 4, 0, 0.5, 0);
    ak_tensor *b = filled(ctx, "b", 4, 1, 0.5, AK_PARAM_NO_DECAY);
    ak_optim *opt = ak_lars(ctx, "*", (ak_lars_options){ .lr = 0.1, .trust = 0.02,
                                                         .weight_decay = 0.25 });
    ak_optim_step(opt);
    const double local = 0.02 * 2 / (1 + 0.25 * 2 + 1e-8);
    expect_all(w, 1 - 0.1 * local * (0.5 + 0.25), "local rate");
    expect_all(zero, -0.1 * 0.5, "rate 1");
    expect_all(b, 1 - 0.1 * 0.5, "rate 1, no decay");
    ak_close(ctx);
}

/* ---- refusals -------------------------------------------------------------------------------- */

Test(optim, refuses_to_be_made)
{
    ak_ctx *ctx = quiet();
    filled(ctx, "enc/w", 3, 1, 0, 0);
    filled(ctx, "head/w", 3, 1, 0, 0);
    cr_expect_null(ak_adamw(ctx, "encoder/*", (ak_adamw_options){ 0 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "\"encoder/*\""));
    cr_expect_not_null(strstr(ak_error_message(ctx), "enc/w"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_assert_not_null(ak_adamw(ctx, "enc/*", (ak_adamw_options){ 0 }));
    cr_expect_null(ak_sgd(ctx, "*", (ak_sgd_options){ 0 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "enc/w"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_null(ak_sgd(ctx, "head/*", (ak_sgd_options){ .lr = -1 }));
    ak_step_end(ctx);
    cr_expect_null(ak_sgd(ctx, "head/*", (ak_sgd_options){ .nesterov = true }));
    ak_step_end(ctx);
    cr_expect_null(ak_adam(ctx, "head/*", (ak_adamw_options){ .beta2 = 1 }));
    ak_step_end(ctx);
    cr_expect_null(ak_adam(ctx, "head/*", (ak_adamw_options){ .weight_decay = (double)NAN }));
    ak_step_end(ctx);
    cr_expect_null(ak_sgd(ctx, "head/*", (ak_sgd_options){ .schedule = ak_staircase(0, 1) }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_not_null(ak_sgd(ctx, "head/*", (ak_sgd_options){ 0 }));
    cr_expect_eq(ak_optim_step(NULL), AK_ERR_VALUE);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE, "%s", ak_error_message(ctx));
    ak_close(ctx);
}

Test(optim, a_broken_step_touches_nothing)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = filled(ctx, "w", 3, 1, 1, 0);
    filled(ctx, "u", 3, 1, 1, 0);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1 });
    ak_fail(ctx, AK_ERR_VALUE, "something went wrong");
    cr_expect_eq(ak_optim_step(opt), AK_ERR_VALUE);
    expect_all(w, 1, "untouched");
    cr_expect_eq(w->grad[0], 0, "gradients of a broken step are dropped");
    cr_expect_eq(ak_optim_steps(opt), 0);
    ak_step_end(ctx);

    ak_check_numbers(ctx, true);
    set_grad(w, 1);
    ak_param_find(ctx, "u")->grad[2] = (ak_real)INFINITY;
    cr_expect_eq(ak_optim_step(opt), AK_ERR_NUMBER);
    cr_expect_not_null(strstr(ak_error_message(ctx), "\"u\""), "%s", ak_error_message(ctx));
    expect_all(w, 1, "untouched");
    ak_step_end(ctx);
    set_grad(w, 1);
    cr_expect_eq(ak_optim_step(opt), AK_OK, "the bad gradient is gone");
    expect_all(w, 1 - 0.1 / (1 + 1e-8),
               "a first step: the refused ones left no trace in the moments");
    ak_close(ctx);
}

static void count_warnings(void *user, ak_log_level level, const char *message)
{
    if (level == AK_LOG_WARNING && strstr(message, "\"orphan\""))
        ++*(int *)user;
}

Test(optim, warns_once_of_parameters_that_nobody_owns)
{
    ak_ctx *ctx = quiet();
    int warnings = 0;
    ak_on_log(ctx, count_warnings, &warnings);
    filled(ctx, "w", 3, 1, 1, 0);
    filled(ctx, "orphan", 3, 1, 1, 0);
    ak_optim *opt = ak_sgd(ctx, "w", (ak_sgd_options){ 0 });
    ak_optim_step(opt);
    ak_optim_step(opt);
    cr_expect_eq(warnings, 1, "%d warnings", warnings);
    ak_close(ctx);
}

/* ---- moving averages ------------------------------------------------------------------------- */

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
    expect_all(ak_param_find(ctx, "teacher/encoder/bn1/running_var"), 7, "copied");
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

Test(optim, steps_do_not_allocate)
{
    ak_ctx *ctx = quiet();
    ak_convnet(ctx, "s", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    ak_convnet(ctx, "t", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    ak_freeze(ctx, "t/*", true);
    ak_optim *opt = ak_lars(ctx, "s/*", (ak_lars_options){ 0 });
    uint64_t after_first = 0;
    for (int i = 0; i < 20; i++) {
        ak_clip_grad_norm(opt, 1);
        cr_assert_eq(ak_optim_step(opt), AK_OK);
        cr_assert_eq(ak_ema_update(ctx, "t", "s", 0.9), AK_OK);
        ak_step_end(ctx);
        if (i == 0)
            after_first = ak_malloc_count();
    }
    cr_expect_eq(ak_malloc_count(), after_first);
    ak_close(ctx);
}
