/* SPDX-License-Identifier: Apache-2.0 */
/* The linear probe and its minimiser: known minima, a plain gradient descent as oracle. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/eval.h>

#include "eval/lbfgs.h"

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* ---- the minimiser ------------------------------------------------------------------------- */

static double rosenbrock(void *user, const double *x, double *g)
{
    const int n = *(const int *)user;
    double f = 0;
    memset(g, 0, (size_t)n * sizeof *g);
    for (int i = 0; i + 1 < n; i++) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return f;
}

Test(lbfgs, finds_the_minimum_of_rosenbrock)
{
    for (int n = 2; n <= 20; n += 6) {
        for (int memory = 1; memory <= 10; memory += 3) {
            double x[20];
            for (int i = 0; i < n; i++)
                x[i] = i % 2 ? 1 : -1.2;
            ak__lbfgs_result r;
            const ak__lbfgs_options o = { memory, 2000, 1e-9 };
            cr_assert(ak__lbfgs(rosenbrock, &n, x, n, o, &r));
            cr_assert(r.converged, "n %d memory %d: gradient %g after %lld", n, memory,
                      r.gradient_norm, (long long)r.iterations);
            cr_assert_lt(r.gradient_norm, 1e-9);
            cr_assert_lt(r.value, 4.1);     /* n >= 4 has a second minimum of about 3.7 .. 4 */
            if (n == 2)
                for (int i = 0; i < n; i++)
                    cr_assert_float_eq(x[i], 1, 1e-7);
        }
    }
}

/* Steep on one side, steps that reach infinity are refused. */
static double barrier(void *user, const double *x, double *g)
{
    (void)user;
    g[0] = x[0] > 0 ? 1 - 1 / x[0] : (double)NAN;
    return x[0] > 0 ? x[0] - log(x[0]) : (double)INFINITY;
}

Test(lbfgs, survives_a_barrier)
{
    double x = 30;
    ak__lbfgs_result r;
    cr_assert(ak__lbfgs(barrier, NULL, &x, 1, (ak__lbfgs_options){ 5, 100, 1e-10 }, &r));
    cr_assert(r.converged);
    cr_assert_float_eq(x, 1, 1e-9);
}

Test(lbfgs, stops_where_it_is_told)
{
    int n = 2;
    double x[] = { -1.2, 1 };
    ak__lbfgs_result r;
    cr_assert(ak__lbfgs(rosenbrock, &n, x, n, (ak__lbfgs_options){ 5, 3, 1e-9 }, &r));
    cr_assert_eq(r.iterations, 3);
    cr_assert_not(r.converged);
}

/* ---- the probe ----------------------------------------------------------------------------- */

Test(linear_probe, two_points_have_a_closed_form)
{
    /* x = 1 and 3, classes 0 and 1: z = -1, +1 and W = (-w, w), b = 0 by symmetry, with
     * d/dw [ log(1 + e^(-2w)) + 2 l2 w^2 ] = -2 / (1 + e^(2w)) + 4 l2 w = 0. At l2 = 0.1 by
     * bisection w = 0.9. The result only tells accuracy and norm, so the norm is what is tested. */
    ak_ctx *ctx = quiet();
    ak_features *train = ak_features_from(ak_from(ctx, AK_SHAPE(2, 1), (ak_real[]){ 1, 3 }),
                                          (int32_t[]){ 0, 1 }, NULL);
    ak_features *test = ak_features_from(
        ak_from(ctx, AK_SHAPE(4, 1), (ak_real[]){ 1.9f, 2.1f, -7, 50 }),
        (int32_t[]){ 0, 1, 0, 0 }, NULL);
    const ak_linear_probe_options o = { .l2 = 0.1, .gradient_norm = 1e-6 };
    const ak_eval_result r = ak_eval_linear_on(train, test, o);
    cr_assert_float_eq(r.accuracy, 0.75, 1e-12);    /* the border is at 2; 50 is labelled wrong */
    cr_assert_leq(r.gradient_norm, 1e-6);
    cr_assert_gt(r.iterations, 1);
    ak_close(ctx);
}

enum { N = 400, D = 3, C = 3 };

/* The same problem by 20,000 steps of gradient descent in double, on standardised copies. */
static double descent_accuracy(const ak_features *train, const ak_features *test, double l2)
{
    static double z[N][D], w[C][D + 1], g[C][D + 1];
    double mean[D] = { 0 }, inverse[D] = { 0 };
    for (int j = 0; j < D; j++) {
        double square = 0;
        for (int i = 0; i < N; i++)
            mean[j] += (double)train->x[i * D + j] / N;
        for (int i = 0; i < N; i++)
            square += pow((double)train->x[i * D + j] - mean[j], 2) / N;
        inverse[j] = 1 / (sqrt(square) + 1e-6);
        for (int i = 0; i < N; i++)
            z[i][j] = ((double)train->x[i * D + j] - mean[j]) * inverse[j];
    }
    for (int step = 0; step < 20000; step++) {
        for (int c = 0; c < C; c++)
            for (int j = 0; j <= D; j++)
                g[c][j] = 2 * l2 * w[c][j];
        for (int i = 0; i < N; i++) {
            double s[C], sum = 0;
            for (int c = 0; c < C; c++) {
                s[c] = w[c][D];
                for (int j = 0; j < D; j++)
                    s[c] += w[c][j] * z[i][j];
                sum += s[c] = exp(s[c]);
            }
            for (int c = 0; c < C; c++) {
                const double r = (s[c] / sum - (c == train->label[i])) / N;
                for (int j = 0; j < D; j++)
                    g[c][j] += r * z[i][j];
                g[c][D] += r;
            }
        }
        for (int c = 0; c < C; c++)
            for (int j = 0; j <= D; j++)
                w[c][j] -= 0.5 * g[c][j];
    }
    int right = 0;
    for (int64_t i = 0; i < test->n; i++) {
        int best = 0;
        double top = -1e300;
        for (int c = 0; c < C; c++) {
            double s = w[c][D];
            for (int j = 0; j < D; j++)
                s += w[c][j] * ((double)test->x[i * D + j] - mean[j]) * inverse[j];
            if (s > top) {
                top = s;
                best = c;
            }
        }
        right += best == test->label[i];
    }
    return (double)right / (double)test->n;
}

static ak_features *blobs(ak_ctx *ctx, uint64_t stream, int64_t n)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, D));
    int32_t *label = malloc((size_t)n * sizeof *label);
    for (int64_t i = 0; i < n; i++) {
        label[i] = (int32_t)(i % C);
        for (int j = 0; j < D; j++)     /* far from zero, of very different spread */
            x->data[i * D + j] = (ak_real)(20 + (j == 1 ? 0.02 : 5.0) *
                (ak_random_normal(4, stream, (uint64_t)(i * D + j)) + (label[i] == j ? 1.5 : 0)));
    }
    ak_features *f = ak_features_from(x, label, "blobs");
    free(label);
    return f;
}

Test(linear_probe, agrees_with_gradient_descent)
{
    ak_ctx *ctx = quiet();
    ak_features *train = blobs(ctx, 1, N), *test = blobs(ctx, 2, 1000);
    const double expected = descent_accuracy(train, test, 1e-3);
    const ak_linear_probe_options o = { .l2 = 1e-3, .gradient_norm = 1e-4 };
    const ak_eval_result r = ak_eval_linear_on(train, test, o);
    cr_assert_gt(expected, 0.7);
    cr_assert_float_eq(r.accuracy, expected, 0.0021, "%g, descent %g", r.accuracy, expected);
    cr_assert_leq(r.gradient_norm, 1e-4);
    cr_assert(strstr(r.protocol, "l2=0.001"), "%s", r.protocol);
    cr_assert(strstr(r.protocol, "400/1000, 95 % Wilson, blobs"), "%s", r.protocol);
    cr_assert_lt(r.lo, r.accuracy);
    cr_assert_gt(r.hi, r.accuracy);
    ak_close(ctx);
}

Test(linear_probe, constant_features_and_unseen_classes)
{
    ak_ctx *ctx = quiet();
    ak_features *train = ak_features_from(
        ak_from(ctx, AK_SHAPE(4, 2), (ak_real[]){ 7, 0, 7, 1, 7, 2, 7, 3 }),
        (int32_t[]){ 0, 0, 1, 1 }, NULL);
    ak_features *test = ak_features_from(       /* the constant feature differs here: no matter */
        ak_from(ctx, AK_SHAPE(3, 2), (ak_real[]){ 99, 0, -99, 3, 7, 3 }),
        (int32_t[]){ 0, 1, 4 }, NULL);
    const ak_eval_result r = ak_eval_linear_on(train, test, (ak_linear_probe_options){ 0 });
    cr_assert_float_eq(r.accuracy, 2.0 / 3, 1e-12);
    ak_close(ctx);
}

Test(linear_probe, refuses_misuse)
{
    ak_ctx *ctx = quiet();
    ak_features *train = blobs(ctx, 1, 30), *test = blobs(ctx, 2, 30);
    const ak_linear_probe_options bad[] = { { .l2 = -2 }, { .max_iterations = -1 },
                                            { .gradient_norm = -1 }, { .memory = 101 } };
    for (int i = 0; i < 4; i++) {
        cr_assert(isnan(ak_eval_linear_on(train, test, bad[i]).accuracy));
        cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE, "case %d", i);
    }
    ak_close(ctx);
}
