/* SPDX-License-Identifier: Apache-2.0 */
/* Optimisers: closed forms, groups, freezing, clipping, schedules, who takes part, refusals. */
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

/* A backward that reaches every parameter and gives each a gradient of zeros. */
static void reach_with_zeros(ak_ctx *ctx)
{
    ak_tensor *t, *loss = NULL;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        ak_tensor *part = ak_scale(ak_sum(t), 0);
        loss = loss ? ak_add(loss, part) : part;
    }
    cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
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
    reach_with_zeros(ctx);
    cr_assert_eq(ak_optim_step(opt), AK_OK);
    expect_all(w1, 0.9, "decayed");
    expect_all(w2, 0.9, "decayed");
    expect_all(b1, 1, "not decayed");
    expect_all(b2, 1, "not decayed");
    cr_expect_eq(ak_optim_group(opt, "head/*", (ak_group_options){ .lr_scale = 0.5 }), 2);
    cr_expect_eq(ak_optim_group(opt, "*b", (ak_group_options){ .weight_decay = 0.2 }), 2);
    cr_expect_eq(ak_optim_group(opt, "enc/w", (ak_group_options){ .weight_decay = AK_NONE }), 1);
    reach_with_zeros(ctx);
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

/* p->grad = (a, b) by a backward; p = 0. */
static void gradient_of(ak_tensor *p, double a, double b)
{
    ak_fill(p, 0);
    ak_tensor *x = ak_from_double(p->ctx, AK_SHAPE(2), (double[]){ a, b });
    cr_assert_eq(ak_backward(ak_sum(ak_mul(p, x))), AK_OK);
}

static void expect_two(const ak_real *x, double a, double b, const char *what)
{
    cr_expect_float_eq((double)x[0], a, TOL * fmax(1, fabs(a)), "%s: %g, not %g", what,
                       (double)x[0], a);
    cr_expect_float_eq((double)x[1], b, TOL * fmax(1, fabs(b)), "%s: %g, not %g", what,
                       (double)x[1], b);
}

Test(optim, clipping_acts_at_once_and_in_order)
{
    ak_ctx *ctx = quiet();
    ak_tensor *p = ak_param(ctx, "p", AK_SHAPE(2), 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1 });

    gradient_of(p, 30, 40);
    cr_expect_float_eq(ak_clip_grad_norm(opt, 1), 50, TOL);
    expect_two(p->grad, 0.6, 0.8, "gradients are what is said of them");
    ak_zero_grad(ctx);
    gradient_of(p, 3, 4);
    ak_optim_step(opt);
    expect_two(p->data, -3, -4, "nothing is left of a batch that was given up");
    ak_step_end(ctx);

    gradient_of(p, 10, 0.1);
    ak_clip_grad_norm(opt, 1);
    cr_expect_eq(ak_clip_grad_value(opt, 0.5), AK_OK);
    ak_optim_step(opt);
    expect_two(p->data, -0.5, -0.1 / sqrt(100.01), "norm, then value");

    gradient_of(p, 10, 0.1);
    cr_expect_eq(ak_clip_grad_value(opt, 0.5), AK_OK);
    cr_expect_float_eq(ak_clip_grad_norm(opt, 0.1), sqrt(0.26), TOL);
    ak_optim_step(opt);
    expect_two(p->data, -0.05 / sqrt(0.26), -0.01 / sqrt(0.26), "value, then norm");
    ak_step_end(ctx);

    gradient_of(p, 30, 40);
    ak_clip_grad_norm(opt, 1);
    cr_expect_float_eq(ak_clip_grad_norm(opt, 5), 1, TOL, "of the gradients as clipped so far");
    ak_clip_grad_norm(opt, 0.5);
    ak_optim_step(opt);
    expect_two(p->data, -0.3, -0.4, "the shortest of three");
    ak_step_end(ctx);

    gradient_of(p, 30, 40);             /* what comes after a clip is not clipped by it */
    ak_clip_grad_norm(opt, 1);
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(2), (double[]){ 10, 10 });
    ak_backward(ak_sum(ak_mul(p, x)));
    ak_optim_step(opt);
    expect_two(p->data, -10.6, -10.8, "a second backward");
    ak_step_end(ctx);

    gradient_of(p, 30, 40);
    ak_clip_grad_norm(opt, 1);
    p->grad[0] = 7;
    ak_optim_step(opt);
    expect_two(p->data, -7, -0.8, "a gradient written by hand");
    ak_close(ctx);
}

Test(optim, clipping_of_what_is_not_finite_or_huge)
{
    ak_ctx *ctx = quiet();
    ak_tensor *p = filled(ctx, "p", 3, 0, 1, 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1 });
    p->grad[1] = -(ak_real)INFINITY;
    cr_expect_eq(ak_clip_grad_value(opt, 1), AK_ERR_NUMBER, "not clamped to -1 without a word");
    cr_expect_eq(p->grad[1], -(ak_real)INFINITY);
    cr_expect_eq(ak_optim_step(opt), AK_ERR_NUMBER);
    expect_all(p, 0, "untouched");
    ak_step_end(ctx);
    /* max_norm / norm is below the smallest normal float here. */
    const double big = sizeof(ak_real) == 8 ? 1e150 : 1e38;
    for (int i = 0; i < 3; i++)
        p->grad[i] = (ak_real)big;
    cr_expect_float_eq(ak_clip_grad_norm(opt, 1e-5) / big, sqrt(3), TOL);
    ak_optim_step(opt);
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq((double)p->data[i], -1e-5 / sqrt(3), 1e-12);
    for (int i = 0; i < 3; i++)
        p->grad[i] = 3;
    cr_expect_float_eq(ak_clip_grad_norm(opt, (double)INFINITY), sqrt(27), TOL, "measures only");
    cr_expect_eq(p->grad[0], 3);
    cr_expect(isnan(ak_clip_grad_norm(opt, (double)NAN)));
    ak_close(ctx);
}

/* ---- who takes part in a step ---------------------------------------------------------------- */

enum { KINDS = 7 };
static ak_optim *optimiser_of_kind(ak_ctx *ctx, int kind)
{
    switch (kind) {
    case 0: return ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.1, .momentum = 0.9,
                                                      .weight_decay = 0.1 });
    case 1: return ak_adam(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.1 });
    case 2: return ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.1 });
    case 3: return ak_lars(ctx, "*", (ak_lars_options){ .lr = 0.1, .weight_decay = 0.1 });
    case 4: return ak_lamb(ctx, "*", (ak_lamb_options){ .lr = 0.1, .weight_decay = 0.1 });
    case 5: return ak_rmsprop(ctx, "*", (ak_rmsprop_options){ .lr = 0.1, .momentum = 0.9,
                                                              .weight_decay = 0.1 });
    default: return ak_adagrad(ctx, "*", (ak_adagrad_options){ .lr = 0.1, .weight_decay = 0.1 });
    }
}

/* Neighbours in a slab: student, teacher, student; the teacher never gets a gradient, and one of
 * the students has a pause. */
Test(optim, parameters_without_a_gradient_stay_as_they_are)
{
    for (int kind = 0; kind < KINDS; kind++) {
        ak_ctx *ctx = quiet(), *alone = quiet();
        ak_tensor *a = filled(ctx, "a", 20, 1, 0, 0), *t = filled(ctx, "teacher", 20, 2, 0, 0);
        ak_tensor *b = filled(ctx, "b", 20, 3, 0, 0), *same = filled(alone, "b", 20, 3, 0, 0);
        ak_optim *opt = optimiser_of_kind(ctx, kind), *only = optimiser_of_kind(alone, kind);
        for (int i = 0; i < 6; i++) {
            const bool pause = i == 2 || i == 3;
            const ak_real before = b->data[7];
            ak_tensor *loss = ak_sum(ak_square(a));
            ak_tensor *both = ak_add(loss, ak_sum(ak_square(b)));
            cr_assert_eq(ak_backward(pause ? loss : both), AK_OK);
            cr_assert_eq(ak_optim_step(opt), AK_OK);
            cr_expect(!pause || b->data[7] == before, "momentum moved it: kind %d", kind);
            ak_step_end(ctx);
            if (pause)
                continue;
            cr_assert_eq(ak_backward(ak_sum(ak_square(same))), AK_OK);
            cr_assert_eq(ak_optim_step(only), AK_OK);
            ak_step_end(alone);
        }
        for (int i = 0; i < 20; i++) {
            cr_expect_eq(t->data[i], 2, "a teacher decays: kind %d", kind);
            cr_expect_eq(b->data[i], same->data[i], "a pause changes nothing: kind %d", kind);
            cr_expect_lt(a->data[i], 1);
        }
        ak_close(ctx);
        ak_close(alone);
    }
}

static void count_no_gradient(void *user, ak_log_level level, const char *message)
{
    *(int *)user += level == AK_LOG_WARNING && strstr(message, "was ak_backward called?") != NULL;
}

Test(optim, a_gradient_is_one_of_zeros_or_written_by_hand_too)
{
    ak_ctx *ctx = quiet();
    int warnings = 0;
    ak_on_log(ctx, count_no_gradient, &warnings);
    ak_tensor *p = filled(ctx, "p", 3, 1, 0, 0), *q = filled(ctx, "q", 3, 1, 0, 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 1, .weight_decay = 0.5 });
    reach_with_zeros(ctx);
    ak_step_end(ctx);                   /* gradients outlive the step, and so does having one */
    ak_optim_step(opt);
    expect_all(p, 0.5, "a backward gave zeros: decay");
    cr_expect_eq(warnings, 0);
    ak_optim_step(opt);
    ak_optim_step(opt);
    expect_all(p, 0.5, "no backward, no step");
    cr_expect_eq(warnings, 1, "said once, got %d", warnings);
    reach_with_zeros(ctx);
    ak_zero_grad(ctx);
    q->grad[2] = 1;
    ak_optim_step(opt);
    expect_all(p, 0.5, "ak_zero_grad takes the gradient away");
    cr_expect_float_eq((double)q->data[0], 0.25, TOL);
    cr_expect_float_eq((double)q->data[2], -0.75, TOL);
    ak_close(ctx);
}

Test(optim, a_module_listed_twice_is_counted_once)
{
    ak_ctx *ctx = quiet();
    ak_module *fc = ak_nn_linear(ctx, "fc", 3, 3, (ak_linear_options){ 0 });
    ak_module *net = ak_nn_sequential(ctx, "net", (ak_module *[]){ fc, fc, NULL });
    ak_module *outer = ak_nn_sequential(ctx, "outer", (ak_module *[]){ net, fc, NULL });
    cr_expect_eq(ak_module_size(net), 12);
    cr_expect_eq(ak_module_size(outer), 12);
    cr_expect_eq(ak_module_size(outer), 12, "a second time as well");
    cr_expect_not_null(ak_module_param(outer, 1));
    cr_expect_null(ak_module_param(outer, 2));
    ak_tensor *w = ak_param_find(ctx, "fc/weight"), *b = ak_param_find(ctx, "fc/bias");
    ak_fill(w, 0);
    for (int i = 0; i < 3; i++)
        w->data[4 * i] = 2;             /* y = 2 x, applied three times */
    ak_fill(b, 0);
    ak_optim *opt = ak_sgd(ctx, "fc/*,*", (ak_sgd_options){ .lr = 1 });
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(1, 3), (double[]){ 1, 0, 0 });
    ak_tensor *y = ak_forward(outer, x);
    cr_expect_eq(y->data[0], 8);
    ak_backward(ak_sum(y));
    /* d/dw00 of w00^3 x = 12; the step is made once. */
    cr_expect_float_eq((double)w->grad[0], 12, TOL);
    ak_optim_step(opt);
    cr_expect_float_eq((double)w->data[0], -10, TOL);
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

/* Two steps of one number, from 1 with gradient 0.5. */
Test(optim, rmsprop_and_adagrad_by_hand)
{
    ak_ctx *ctx = quiet();
    ak_tensor *r = filled(ctx, "r", 4, 1, 0.5, 0), *a = filled(ctx, "a", 4, 1, 0.5, 0);
    ak_optim *rms = ak_rmsprop(ctx, "r", (ak_rmsprop_options){ .lr = 0.1, .alpha = 0.75,
                                                               .momentum = 0.5 });
    ak_optim *ada = ak_adagrad(ctx, "a", (ak_adagrad_options){ .lr = 0.1, .eps = 0.25 });
    ak_optim_step(rms);
    ak_optim_step(ada);
    const double u1 = 0.5 / (sqrt(0.0625) + 1e-8), p1 = 1 - 0.1 * u1;
    const double a1 = 0.5 / (0.5 + 0.25);
    expect_all(r, p1, "root of the average");
    expect_all(a, 1 - 0.1 * a1, "root of the sum");
    for (int i = 0; i < 4; i++)
        r->grad[i] = a->grad[i] = (ak_real)0.5;
    ak_optim_step(rms);
    ak_optim_step(ada);
    const double u2 = 0.5 * u1 + 0.5 / (sqrt(0.75 * 0.0625 + 0.0625) + 1e-8);
    expect_all(r, p1 - 0.1 * u2, "with momentum");
    expect_all(a, 1 - 0.1 * (a1 + 0.5 / (sqrt(0.5) + 0.25)), "root of the sum of two");
    ak_close(ctx);
}

Test(optim, lamb_steps_are_as_long_as_the_parameter)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = filled(ctx, "w", 4, 3, 0.5, 0), *zero = filled(ctx, "zero", 4, 0, 0.5, 0);
    ak_tensor *b = filled(ctx, "b", 4, 3, 0.5, AK_PARAM_NO_DECAY);
    ak_optim *opt = ak_lamb(ctx, "*", (ak_lamb_options){ .lr = 0.1, .weight_decay = 0.25 });
    ak_optim_step(opt);
    expect_all(w, 3 - 0.1 * 3, "as long as the parameter, times the rate");
    expect_all(zero, -0.1 * 0.5 / (0.5 + 1e-6), "ratio 1");
    expect_all(b, 3 - 0.1 * 0.5 / (0.5 + 1e-6), "Adam's step, no decay");
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

#define NO_SGD(...) REFUSED(ak_sgd(ctx, "*", (ak_sgd_options){ __VA_ARGS__ }))
#define NO_ADAM(...) REFUSED(ak_adamw(ctx, "*", (ak_adamw_options){ __VA_ARGS__ }))
#define NO_LARS(...) REFUSED(ak_lars(ctx, "*", (ak_lars_options){ __VA_ARGS__ }))
#define NO_LAMB(...) REFUSED(ak_lamb(ctx, "*", (ak_lamb_options){ __VA_ARGS__ }))
#define NO_RMSPROP(...) REFUSED(ak_rmsprop(ctx, "*", (ak_rmsprop_options){ __VA_ARGS__ }))
#define NO_ADAGRAD(...) REFUSED(ak_adagrad(ctx, "*", (ak_adagrad_options){ __VA_ARGS__ }))
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        cr_expect_null(call, "%s", #call);                                                         \
        cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE, "%s: %s", #call, ak_error_message(ctx));      \
    } while (0)

Test(optim, options_out_of_range)
{
    ak_ctx *ctx = quiet();
    filled(ctx, "w", 3, 1, 0, 0);
    const double nan = (double)NAN, inf = (double)INFINITY;
    NO_SGD(.lr = nan);
    NO_SGD(.lr = inf);
    NO_SGD(.lr = -0.1);
    NO_SGD(.momentum = 1);
    NO_SGD(.momentum = -0.1);
    NO_SGD(.momentum = nan);
    NO_SGD(.weight_decay = -1e-4);
    NO_SGD(.weight_decay = inf);
    NO_ADAM(.beta1 = 1);
    NO_ADAM(.beta1 = -0.5);
    NO_ADAM(.beta2 = nan);
    NO_ADAM(.eps = -1e-8);
    NO_ADAM(.eps = nan);
    NO_LARS(.trust = -1);
    NO_LARS(.momentum = 1.5);
    NO_LARS(.trust = inf);
    NO_LAMB(.beta1 = 1);
    NO_LAMB(.beta2 = nan);
    NO_LAMB(.eps = -1e-8);
    NO_RMSPROP(.alpha = 1);
    NO_RMSPROP(.momentum = -0.5);
    NO_RMSPROP(.eps = nan);
    NO_ADAGRAD(.eps = -1);
    NO_ADAGRAD(.lr = inf);
    NO_SGD(.schedule = ak_constant(-1));
    NO_SGD(.schedule = ak_cosine(0, 0));
    NO_SGD(.schedule = { .kind = AK_SCHEDULE_COSINE, .total = 10, .final = nan });
    NO_SGD(.schedule = { .kind = AK_SCHEDULE_COSINE, .total = 10, .final = -0.1 });
    NO_SGD(.schedule = ak_staircase(10, -0.5));
    NO_SGD(.schedule = ak_staircase(10, nan));
    NO_SGD(.schedule = { .kind = (ak_schedule_kind)9 });
    if (sizeof(ak_real) == 4) {         /* what is out of range once it is a float */
        NO_SGD(.momentum = 0.99999999);
        NO_ADAM(.beta2 = 0.9999999999);
        NO_ADAM(.eps = 1e-60);
        NO_ADAM(.lr = 1e-60);
        NO_SGD(.lr = 1e39);
        NO_SGD(.weight_decay = 1e39);
    }
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
    cr_assert_not_null(opt);
    const ak_group_options bad[] = { { .lr_scale = -2 }, { .lr_scale = nan },
                                     { .weight_decay = -2 }, { .weight_decay = inf } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(ak_optim_group(opt, "*", bad[i]), 0);
        cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE, "group %d", (int)i);
    }
    ak_fail(ctx, AK_ERR_VALUE, "pending");
    cr_expect_eq(ak_optim_set_lr(opt, 0.5), AK_ERR_VALUE);
    cr_expect_eq(ak_optim_lr(opt), 0.1, "nothing changes while an error is pending");
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
    if (level == AK_LOG_WARNING && (strstr(message, "\"orphan\"") || strstr(message, "\"late\"")))
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
    filled(ctx, "late", 3, 1, 1, 0);
    ak_optim_step(opt);
    ak_optim_step(opt);
    cr_expect_eq(warnings, 2, "made after the optimiser: %d warnings", warnings);
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
        for (int64_t k = 0; ak_param_at(ctx, k); k++)
            if (ak_match("s/*,~!*running*", ak_param_at(ctx, k)->name))
                set_grad(ak_param_at(ctx, k), 1);
        ak_clip_grad_norm(opt, 1);
        cr_assert_eq(ak_ema_update(ctx, "t", "s", 0.999999), AK_OK);
        cr_assert_eq(ak_optim_step(opt), AK_OK);
        cr_assert_eq(ak_ema_update(ctx, "t", "s", 0.9), AK_OK);
        ak_step_end(ctx);
        if (i == 0)
            after_first = ak_malloc_count();
    }
    cr_expect_eq(ak_malloc_count(), after_first);
    ak_close(ctx);
}
