/* SPDX-License-Identifier: Apache-2.0 */
/* Norms: running statistics, evaluation mode, hard inputs (far means, constant and zero rows). */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void column(const ak_tensor *x, int64_t c, double *mean, double *var)
{
    const int64_t C = x->shape.dims[x->shape.n - 1], R = x->size / C;
    *mean = *var = 0;
    for (int64_t r = 0; r < R; r++)
        *mean += (double)x->data[r * C + c] / (double)R;
    for (int64_t r = 0; r < R; r++) {
        const double d = (double)x->data[r * C + c] - *mean;
        *var += d * d / (double)R;
    }
}

Test(batch_norm, running_statistics_move_by_momentum)
{
    ak_ctx *ctx = quiet();
    ak_tensor *mean = ak_buffer(ctx, "mean", AK_SHAPE(3));
    ak_tensor *var = ak_buffer(ctx, "var", AK_SHAPE(3));
    ak_fill(mean, 1);
    ak_fill(var, 2);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(40, 2, 3));
    ak_batch_norm(x, NULL, NULL, mean, var, (ak_batch_norm_options){ .momentum = 0.25 });
    for (int c = 0; c < 3; c++) {
        double m, v;
        column(x, c, &m, &v);
        cr_expect_float_eq((double)mean->data[c], 0.75 + 0.25 * m, 1e-6);
        cr_expect_float_eq((double)var->data[c], 1.5 + 0.25 * v * 80 / 79, 1e-5);
    }
    /* AK_NONE: none at all */
    const double before = (double)mean->data[0];
    ak_batch_norm(x, NULL, NULL, mean, var, (ak_batch_norm_options){ .momentum = AK_NONE });
    cr_expect_eq((double)mean->data[0], before);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(batch_norm, evaluation_uses_and_keeps_the_running_ones)
{
    ak_ctx *ctx = quiet();
    ak_tensor *mean = ak_buffer(ctx, "mean", AK_SHAPE(2));
    ak_tensor *var = ak_buffer(ctx, "var", AK_SHAPE(2));
    ak_fill(mean, 0.5);
    ak_fill(var, 4);
    ak_train_mode(ctx, false);
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(1, 2), (double[]){ 2.5, -1.5 });
    ak_tensor *y = ak_batch_norm(x, NULL, NULL, mean, var, (ak_batch_norm_options){ 0 });
    cr_expect_float_eq((double)y->data[0], 1, 1e-5);
    cr_expect_float_eq((double)y->data[1], -1, 1e-5);
    y = ak_batch_norm(x, NULL, NULL, mean, var, (ak_batch_norm_options){ .relu = true });
    cr_expect_eq((double)y->data[1], 0.0);
    cr_expect_eq((double)mean->data[0], 0.5);
    cr_expect_eq((double)var->data[0], 4.0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Largest difference of values and of gradients between the fused end of a residual block and its
 * composition; far: channels with a mean far from 0, which take another path. */
static double fused_difference(bool far, bool itself)
{
    double worst = 0;
    float grads[2][2][6 * 5 * 7];
    for (int fused = 0; fused < 2; fused++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x = ak_param(ctx, "x", AK_SHAPE(6, 5, 7), 0);
        ak_tensor *s = itself ? x : ak_param(ctx, "s", AK_SHAPE(6, 5, 7), 0);
        for (int64_t i = 0; i < x->size; i++) {
            x->data[i] = (ak_real)sin(1.7 * (double)i) + (far ? 1000 : 0);
            if (!itself)
                s->data[i] = (ak_real)cos(0.9 * (double)i);
        }
        ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(7), 0), *b = ak_param(ctx, "b", AK_SHAPE(7), 0);
        ak_fill(w, 1.5);
        ak_fill(b, 0.25);
        ak_tensor *y = fused ? ak_batch_norm_add(x, s, w, b, NULL, NULL,
                                                 (ak_batch_norm_options){ .relu = true })
                             : ak_relu(ak_add(ak_batch_norm(x, w, b, NULL, NULL,
                                                            (ak_batch_norm_options){ 0 }), s));
        cr_assert_eq(ak_backward(ak_sum(ak_square(y))), AK_OK);
        for (int64_t i = 0; i < x->size; i++) {
            grads[fused][0][i] = (float)x->grad[i];
            grads[fused][1][i] = (float)s->grad[i];
        }
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 6 * 5 * 7; i++)
            worst = fmax(worst, fabs((double)(grads[0][k][i] - grads[1][k][i])));
    return worst;
}

Test(batch_norm, skip_is_added_before_the_relu)
{
    cr_expect_lt(fused_difference(false, false), 1e-5);
    cr_expect_lt(fused_difference(false, true), 1e-5);
    cr_expect_lt(fused_difference(true, false), 2e-3);
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 3));
    cr_expect(ak_is_poison(ak_batch_norm_add(x, ak_randn(ctx, AK_SHAPE(4, 2)), NULL, NULL, NULL,
                                             NULL, (ak_batch_norm_options){ 0 })));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    ak_close(ctx);
}

Test(batch_norm, one_value_per_channel_is_refused_in_training)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(1, 4));
    cr_expect(ak_is_poison(ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 })));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    cr_expect(strstr(ak_error_message(ctx), "1 value per channel"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    /* with positions there is a variance */
    x = ak_randn(ctx, AK_SHAPE(1, 3, 4));
    ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 });
    cr_expect_eq(ak_error(ctx), AK_OK);
    ak_close(ctx);
}

/* y of numbers around `centre` with deviation `spread` has mean 0 and variance 1, and its gradient
 * is orthogonal to ones and to y. `outlier`: the first rows are far away from the rest. */
static void check_far(double centre, double spread, bool outlier)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(3000, 5)));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)(centre + spread * (double)x->data[i]);
    for (int64_t i = 0; outlier && i < 5; i++)
        x->data[i] += (ak_real)(1000 * spread);
    ak_tensor *y = ak_batch_norm(x, NULL, NULL, NULL, NULL,
                                 (ak_batch_norm_options){ .eps = 1e-12 });
    ak_tensor *dy = ak_randn(ctx, AK_SHAPE(3000, 5));
    cr_assert_eq(ak_backward(ak_sum(ak_mul(y, dy))), AK_OK);
    for (int c = 0; c < 5; c++) {
        double m, v, want_m, want_v, sum = 0, along = 0, size = 0;
        column(x, c, &want_m, &want_v);
        column(y, c, &m, &v);
        cr_expect_float_eq(m, 0, 1e-4, "mean %g at %g +- %g", m, centre, spread);
        cr_expect_float_eq(v, 1, 1e-4, "variance %g at %g +- %g", v, centre, spread);
        for (int64_t r = 0; r < 3000; r++) {
            const int64_t i = r * 5 + c;
            const double want = ((double)x->data[i] - want_m) / sqrt(want_v);
            cr_assert_float_eq((double)y->data[i], want, 1e-4 * (1 + fabs(want)));
            sum += (double)x->grad[i];
            along += (double)x->grad[i] * want;
            size += fabs((double)x->grad[i]);
        }
        cr_expect(fabs(sum) < 1e-4 * size && fabs(along) < 1e-4 * size,
                  "gradient at %g +- %g: %g %g of %g", centre, spread, sum, along, size);
    }
    ak_close(ctx);
}

Test(batch_norm, far_mean) { check_far(1e4, 1, false); }
Test(batch_norm, far_mean_small_variance) { check_far(1e4, 0.05, false); }
Test(batch_norm, near_mean) { check_far(0.5, 2, false); }
Test(batch_norm, outlier_in_the_first_row) { check_far(-20, 0.5, true); }

Test(layer_norm, constant_row_is_finite)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_full(ctx, AK_SHAPE(2, 7), 3.25));
    ak_tensor *y = ak_layer_norm(x, NULL, NULL, 0);
    ak_backward(ak_sum(ak_mul(y, ak_randn(ctx, AK_SHAPE(2, 7)))));
    for (int64_t i = 0; i < x->size; i++) {
        cr_expect_float_eq((double)y->data[i], 0, 1e-6);
        cr_expect(isfinite((double)x->grad[i]));
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(layer_norm, far_mean)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(1, 4), (double[]){ 10000, 10001, 10002, 10003 });
    ak_tensor *y = ak_layer_norm(x, NULL, NULL, 1e-12);
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)y->data[i], (i - 1.5) / sqrt(1.25), 1e-5);
    ak_close(ctx);
}

/* A sample seen as one group is one row. */
static void check_group(double centre)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_add_scalar(ak_randn(ctx, AK_SHAPE(3, 4, 6)), centre);
    ak_tensor *y = ak_group_norm(x, NULL, NULL, 1, 1e-12);
    for (int n = 0; n < 3; n++) {
        double mean = 0, var = 0;
        for (int i = 0; i < 24; i++)
            mean += (double)x->data[n * 24 + i] / 24;
        for (int i = 0; i < 24; i++)
            var += ((double)x->data[n * 24 + i] - mean) * ((double)x->data[n * 24 + i] - mean) / 24;
        for (int i = 0; i < 24; i++)
            cr_expect_float_eq((double)y->data[n * 24 + i],
                               ((double)x->data[n * 24 + i] - mean) / sqrt(var), 2e-6);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(group_norm, one_group) { check_group(0.5); }
Test(group_norm, far_mean) { check_group(5000); }

Test(l2_normalize, zero_row_and_huge_row)
{
    ak_ctx *ctx = quiet();
    const double big = sizeof(ak_real) == 8 ? 1e200 : 1e30;
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(3, 2),
                                                  (double[]){ 0, 0, 3 * big, -4 * big, 3, 4 }));
    ak_tensor *y = ak_l2_normalize(x);
    cr_expect_eq((double)y->data[0], 0.0);
    cr_expect_eq((double)y->data[1], 0.0);
    for (int i = 1; i < 3; i++) {
        cr_expect_float_eq((double)y->data[2 * i], 0.6, 1e-6);
        cr_expect_float_eq((double)y->data[2 * i + 1], i == 1 ? -0.8 : 0.8, 1e-6);
    }
    ak_backward(ak_sum(y));
    for (int64_t i = 0; i < x->size; i++)
        cr_expect(isfinite((double)x->grad[i]));
    /* below the threshold the map is x / 1e-12 */
    cr_expect_float_eq((double)x->grad[0] * 1e-12, 1, 1e-5);
    cr_expect_float_eq((double)x->grad[4], (1 - 0.6 * 1.4) / 5, 1e-6);
    cr_expect_eq(ak_close(ctx), AK_OK);
}
