/* SPDX-License-Identifier: Apache-2.0 */
/* Batch norm with moments that the convolution took, against batch norm that takes its own. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/nn.h>
#include <akin/ops.h>

#include "autograd/moments.h"
#include "base/parallel.h"
#include "tensor/moments.h"

#define TOL (sizeof(ak_real) == 8 ? 1e-11 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

typedef struct layer {
    int64_t N, side, I, O, kernel;
    ak_conv_options o;
    bool taken;                         /* this way takes moments, at every level */
} layer;

/* Each way of convolving (tensor/conv/conv.h), whole blocks and rests of them. */
static const layer layers[] = {
    { 40, 9, 3, 10, 3, { .padding = 1 }, true },                /* patches */
    { 70, 13, 1, 33, 3, { .padding = 1 }, true },
    { 37, 14, 32, 40, 3, { .stride = 2, .padding = 1 }, true }, /* direct or split */
    { 64, 28, 32, 64, 3, { .stride = 2, .padding = 1 }, true },
    { 300, 8, 48, 24, 5, { .stride = 3, .dilation = 2, .padding = 4, .groups = 2 }, true },
    { 45, 12, 32, 33, 3, { .padding = 1 }, true },              /* Winograd, if not split */
    { 100, 14, 64, 64, 3, { .padding = 1, .exact = true }, true },
    { 48, 16, 64, 64, 3, { .padding = 1 }, true },
    { 40, 10, 136, 150, 3, { .padding = 1 }, true },            /* its large blocks */
    { 1, 9, 32, 40, 3, { .stride = 2, .padding = 1 }, false },  /* one picture */
    { 20, 6, 16, 24, 1, { 0 }, false },                         /* a plain product */
    { 20, 6, 16, 16, 3, { .padding = 1, .groups = 16 }, false },        /* depthwise */
};
#define LAYERS (sizeof layers / sizeof layers[0])

typedef struct operands { ak_tensor *x, *w, *b, *gamma, *beta, *mean, *var; } operands;

/* The same numbers for the same `stream`s in any context; results have means of `far` or so. */
static operands operands_of(ak_ctx *ctx, const layer *l, double far)
{
    const int64_t I = l->I / (l->o.groups ? l->o.groups : 1);
    const operands p = {
        .x = ak_param(ctx, "x", AK_SHAPE(l->N, l->side, l->side, l->I), 0),
        .w = ak_param(ctx, "w", AK_SHAPE(l->O, l->kernel, l->kernel, I), 0),
        .b = ak_param(ctx, "b", AK_SHAPE(l->O), 0),
        .gamma = ak_param(ctx, "gamma", AK_SHAPE(l->O), 0),
        .beta = ak_param(ctx, "beta", AK_SHAPE(l->O), 0),
        .mean = ak_buffer(ctx, "mean", AK_SHAPE(l->O)),
        .var = ak_buffer(ctx, "var", AK_SHAPE(l->O)),
    };
    ak_tensor *const drawn[] = { p.x, p.w, p.b, p.gamma, p.beta };
    for (uint64_t t = 0; t < 5; t++)
        for (int64_t i = 0; i < drawn[t]->size; i++)
            drawn[t]->data[i] = (ak_real)ak_random_normal(3, t, (uint64_t)i);
    for (int64_t c = 0; c < l->O; c++)
        p.b->data[c] += (ak_real)(far * (1 + (double)c));
    return p;
}

/* A loss of the normalised result; its gradients are in p's tensors. */
static ak_tensor *forward(const layer *l, const operands *p, bool taken, ak_tensor **moments)
{
    const ak_batch_norm_options o = { .momentum = 1, .relu = true };
    *moments = NULL;
    ak_tensor *c = taken ? ak__conv_moments(p->x, p->w, p->b, l->o, moments)
                         : ak_conv2d(p->x, p->w, p->b, l->o);
    return ak__batch_norm_moments(c, *moments, NULL, p->gamma, p->beta, p->mean, p->var, o);
}

static double difference(const ak_real *a, const ak_real *b, int64_t n)
{
    double most = 0, largest = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        most = d <= most ? most : d;    /* NaN stays */
        largest = fmax(largest, fabs((double)b[i]));
    }
    return most / largest;
}

static void check_layer(int i, double far, double tolerance)
{
    const layer *l = &layers[i];
    ak_ctx *ctx[2] = { quiet(), quiet() };
    operands p[2];
    ak_tensor *y[2], *moments;
    for (int own = 0; own < 2; own++) {
        p[own] = operands_of(ctx[own], l, far);
        y[own] = forward(l, &p[own], !own, &moments);
        if (!own && l->taken)
            cr_expect(moments != NULL, "layer %d takes none", i);
        if (!own && moments)
            cr_expect_eq(moments->shape.dims[1], ak__moment_numbers(l->O));
        cr_assert_eq(ak_backward(ak_mean(ak_square(y[own]))), AK_OK, "layer %d", i);
    }
    ak_tensor *const a[] = { p[0].mean, p[0].var, y[0] };
    ak_tensor *const b[] = { p[1].mean, p[1].var, y[1] };
    for (int t = 0; t < 3; t++)
        cr_expect_leq(difference(a[t]->data, b[t]->data, b[t]->size), tolerance, "layer %d: %d", i,
                      t);
    ak_tensor *const g[] = { p[0].x, p[0].w, p[0].gamma, p[0].beta };
    ak_tensor *const h[] = { p[1].x, p[1].w, p[1].gamma, p[1].beta };
    for (int t = 0; t < 4; t++)
        cr_expect_leq(difference(g[t]->grad, h[t]->grad, h[t]->size), 10 * tolerance,
                      "layer %d: gradient %d", i, t);
    ak_close(ctx[0]);
    ak_close(ctx[1]);
}

Test(moments, equal_those_of_a_pass)
{
    for (int i = 0; i < (int)LAYERS; i++)
        check_layer(i, 0, TOL);
}

/* Means that are a thousand deviations away: sums of squares alone would lose the variance. */
Test(moments, far_means)
{
    for (int i = 0; i < (int)LAYERS; i++)
        check_layer(i, 200, 100 * TOL);
}

/* Moments against sums in double of the numbers that the convolution wrote. */
static void check_moments(int i, const ak_tensor *y, const ak_tensor *moments)
{
    const int64_t C = layers[i].O, R = y->size / C, parts = moments->shape.dims[0];
    double mean[200], var[200], rows = 0;
    cr_assert(ak__moments_merge(moments->data, parts, R, C, mean, var));
    for (int64_t b = 0; b < parts; b++)
        rows += (double)moments->data[b * ak__moment_numbers(C) + 3 * C];
    cr_expect_eq(rows, (double)R, "layer %d: %g of %g rows", i, rows, (double)R);
    for (int64_t c = 0; c < C; c++) {
        double m = 0, v = 0;
        for (int64_t r = 0; r < R; r++)
            m += (double)y->data[r * C + c] / (double)R;
        for (int64_t r = 0; r < R; r++)
            v += pow((double)y->data[r * C + c] - m, 2) / (double)R;
        cr_expect_float_eq(mean[c], m, TOL * sqrt(v), "layer %d, mean %d", i, (int)c);
        cr_expect_float_eq(var[c], v, TOL * v, "layer %d, variance %d", i, (int)c);
    }
}

Test(moments, are_of_what_was_written)
{
    for (int i = 0; i < (int)LAYERS; i++) {
        ak_ctx *ctx = quiet();
        const operands p = operands_of(ctx, &layers[i], 1);
        ak_tensor *moments, *y = ak__conv_moments(p.x, p.w, p.b, layers[i].o, &moments);
        if (moments)
            check_moments(i, y, moments);
        ak_close(ctx);
    }
}

#ifdef _OPENMP
Test(moments, same_bits_for_any_number_of_threads)
{
    for (int i = 0; i < (int)LAYERS; i++) {
        ak_ctx *ctx = quiet();
        const operands p = operands_of(ctx, &layers[i], 1);
        ak_tensor *one = NULL, *many;
        omp_set_num_threads(1);
        ak__conv_moments(p.x, p.w, p.b, layers[i].o, &one);
        for (int threads = 2; threads <= 4 && one; threads++) {
            omp_set_num_threads(threads);
            ak__conv_moments(p.x, p.w, p.b, layers[i].o, &many);
            cr_expect_eq(memcmp(one->data, many->data, (size_t)one->size * sizeof *one->data), 0,
                         "layer %d, %d threads", i, threads);
        }
        ak_close(ctx);
    }
}
#endif

/* A chain of layers gives what its ops give, in train mode, in evaluation, and where something
 * stands between convolution and norm. */
static void check_chain(bool train, bool between)
{
    ak_ctx *ctx = quiet();
    ak_train_mode(ctx, train);
    ak_module *conv = ak_nn_conv2d(ctx, "conv", 8, 16, 3,
                                   (ak_conv_layer_options){ .padding = 1 });
    ak_module *norm = ak_nn_batch_norm(ctx, "norm", 16, (ak_batch_norm_options){ .relu = true });
    ak_module *relu = ak_nn_activation(ctx, "relu", AK_RELU);
    ak_module *const parts[] = { conv, between ? relu : norm, between ? norm : NULL, NULL };
    ak_module *chain = ak_nn_sequential(ctx, "chain", parts);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(40, 9, 9, 8));
    ak_tensor *y = ak_forward(chain, x), *c = ak_forward(conv, x);
    ak_tensor *want = ak_forward(norm, between ? ak_relu(c) : c);
    cr_expect_eq(ak_error(ctx), AK_OK);
    cr_expect_leq(difference(y->data, want->data, y->size), TOL);
    ak_close(ctx);
}

Test(moments, chains_of_layers)
{
    for (int i = 0; i < 4; i++)
        check_chain(i & 1, i & 2);
}
