/* SPDX-License-Identifier: Apache-2.0 */
/* Digits that must not get lost: logits far from 0, sums of very many numbers, rows so long or so
 * short that their squares are no numbers, scales at the edge. Compiled for float and for
 * double. */
#include <criterion/criterion.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include <akin/akin.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define DOUBLE_BUILD (sizeof(ak_real) == 8)
#define ROUNDED (DOUBLE_BUILD ? 1e-14 : 1e-6)
#define GATHERED (DOUBLE_BUILD ? 1e-10 : 5e-6)
/* Rows this long have squares beyond the range of numbers. */
#define LONG (DOUBLE_BUILD ? 1e160 : 1e25)
#define SHORT (DOUBLE_BUILD ? 1e-170 : 1e-25)

static ak_ctx *ctx;

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void) { ak_close(ctx); }

TestSuite(digits, .init = open_context, .fini = close_context);

static ak_tensor *parameter(ak_shape s, const double *v)
{
    return ak_require_grad(ak_from_double(ctx, s, v));
}

/* ---- a number added to all logits ------------------------------------------------------------ */

static const double offsets[] = { 0, 1e2, 1e4, 1e5, 1e6, 1e7, -1e7 };
enum { OFFSETS = sizeof offsets / sizeof offsets[0], CLASSES = 37 };

/* Whole numbers, so that adding an offset rounds nothing. */
static double logit(int i) { return i * i % 11 - 5; }

static ak_tensor *logits(double offset)
{
    double v[CLASSES];
    for (int i = 0; i < CLASSES; i++)
        v[i] = offset + logit(i);
    return parameter(AK_SHAPE(1, CLASSES), v);
}

static double exact_log_sum(void)
{
    double sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += exp(logit(i));
    return log(sum);
}

static double share(int i) { return exp(logit(i) - exact_log_sum()); }

/* loss, and gradient p - t, whose sum is 0 */
static void check_logits(ak_tensor *x, ak_tensor *loss, double want, const double *t,
                         double offset)
{
    ak_backward(loss);
    cr_expect_float_eq(ak_item(loss), want, ROUNDED * 10, "%.9g, expected %.9g (offset %g)",
                       ak_item(loss), want, offset);
    double sum = 0;
    for (int i = 0; i < CLASSES; i++) {
        cr_expect_float_eq((double)x->grad[i], share(i) - t[i], ROUNDED, "%d: %.9g, expected %.9g",
                           i, (double)x->grad[i], share(i) - t[i]);
        sum += (double)x->grad[i];
    }
    cr_expect_float_eq(sum, 0, ROUNDED);
    ak_step_end(ctx);
}

Test(digits, cross_entropy_at_any_offset)
{
    for (int k = 0; k < OFFSETS; k++) {
        for (int smooth = 0; smooth < 2; smooth++) {
            const double s = smooth ? 0.25 : 0;
            double t[CLASSES], want = exact_log_sum() - (1 - s) * logit(3);
            for (int i = 0; i < CLASSES; i++) {
                t[i] = s / CLASSES + (i == 3 ? 1 - s : 0);
                want -= s / CLASSES * logit(i);
            }
            ak_tensor *x = logits(offsets[k]);
            ak_tensor *l = ak_cross_entropy(x, ak_index_from(ctx, AK_SHAPE(1), (int32_t[]){ 3 }),
                                            (ak_cross_entropy_options){ .label_smoothing = s });
            check_logits(x, l, want, t, offsets[k]);
        }
    }
}

Test(digits, soft_targets_at_any_offset)
{
    for (int k = 0; k < OFFSETS; k++) {
        double t[CLASSES], entropy = 0, cross = 0;
        for (int i = 0; i < CLASSES; i++) {
            t[i] = (double)(ak_real)(2.0 * (i + 1) / (CLASSES * (CLASSES + 1)));
            entropy -= t[i] * log(t[i]);
            cross += t[i] * (exact_log_sum() - logit(i));
        }
        ak_tensor *x = logits(offsets[k]);
        ak_tensor *target = ak_from_double(ctx, AK_SHAPE(1, CLASSES), t);
        check_logits(x, ak_cross_entropy_soft(x, target), cross, t, offsets[k]);
        x = logits(offsets[k]);
        target = ak_from_double(ctx, AK_SHAPE(1, CLASSES), t);
        check_logits(x, ak_kl_div_logits(x, target), cross - entropy, t, offsets[k]);
    }
}

/* Targets that are the distribution itself: a divergence of 0, not of rounding errors. */
Test(digits, divergence_from_itself)
{
    double t[CLASSES];
    for (int i = 0; i < CLASSES; i++)
        t[i] = share(i);
    ak_tensor *x = logits(1e6), *target = ak_from_double(ctx, AK_SHAPE(1, CLASSES), t);
    cr_expect_float_eq(ak_item(ak_kl_div_logits(x, target)), 0, ROUNDED / 4);
}

Test(digits, log_softmax_and_logsumexp_at_any_offset)
{
    for (int k = 0; k < OFFSETS; k++) {
        ak_tensor *x = logits(offsets[k]);
        ak_tensor *y = ak_log_softmax(x);
        for (int i = 0; i < CLASSES; i++)
            cr_expect_float_eq((double)y->data[i], logit(i) - exact_log_sum(), ROUNDED * 10);
        double t[CLASSES] = { 0 };
        t[5] = 1;
        check_logits(x, ak_neg(ak_sum(ak_pick(y, ak_index_from(ctx, AK_SHAPE(1),
                                                               (int32_t[]){ 5 })))),
                     exact_log_sum() - logit(5), t, offsets[k]);
        /* of a log-sum-exp itself the last digits are those of the offset; not of its gradient */
        for (int axis = 0; axis < 2; axis++) {
            x = logits(offsets[k]);
            ak_tensor *turned = axis ? x : ak_reshape(x, AK_SHAPE(CLASSES, 1));
            ak_tensor *two = axis ? turned : ak_concat(1, turned, turned);
            ak_backward(ak_mean(ak_logsumexp(two, axis)));
            for (int i = 0; i < CLASSES; i++)
                cr_expect_float_eq((double)x->grad[i], share(i), ROUNDED, "axis %d, offset %g",
                                   axis, offsets[k]);
            ak_step_end(ctx);
        }
    }
}

/* Scores that are whole numbers, and a bias that is the same for all keys. */
static ak_tensor *attention_with_bias(double offset, ak_tensor **operand)
{
    enum { T = 2, S = 5 };
    const double q[T] = { 1, -2 }, k[S] = { 0, 1, -1, 2, 3 };
    operand[0] = parameter(AK_SHAPE(1, 1, T, 1), q);
    operand[1] = parameter(AK_SHAPE(1, 1, S, 1), k);
    operand[2] = parameter(AK_SHAPE(1, 1, S, 1), (double[]){ 5, -3, 2, 7, 1 });
    ak_tensor *y = ak_attention(operand[0], operand[1], operand[2], (ak_attention_options){
        .scale = 1, .bias = ak_full(ctx, AK_SHAPE(T, S), offset) });
    ak_backward(ak_sum(ak_square(y)));
    return y;
}

Test(digits, attention_at_any_offset)
{
    for (int k = 1; k < OFFSETS; k++) {
        ak_tensor *at_0[3], *far[3];
        ak_tensor *a = attention_with_bias(0, at_0), *b = attention_with_bias(offsets[k], far);
        for (int i = 0; i < 2; i++)
            cr_expect_float_eq((double)a->data[i], (double)b->data[i], ROUNDED * 10);
        for (int o = 0; o < 3; o++)
            for (int i = 0; i < at_0[o]->size; i++)
                cr_expect_float_eq((double)at_0[o]->grad[i], (double)far[o]->grad[i],
                                   ROUNDED * 100, "operand %d, offset %g: %g, expected %g", o,
                                   offsets[k], (double)far[o]->grad[i], (double)at_0[o]->grad[i]);
        ak_step_end(ctx);
    }
}

/* ---- sums of very many numbers --------------------------------------------------------------- */

/* Values in [0.5, 1.5), of one sign so that errors would pile up; C channels. */
static ak_tensor *many(ak_shape s)
{
    ak_tensor *x = ak_zeros(ctx, s);
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)(0.5 + (double)((uint64_t)i * 2654435761U % 1000003) / 1000003);
    return ak_require_grad(x);
}

/* Equal values: each addition to a large sum is rounded the same way. */
static ak_tensor *steady(ak_shape s)
{
    return ak_require_grad(ak_full(ctx, s, 0.1));
}

static double mean_of_channel(const ak_tensor *x, int64_t c)
{
    const int64_t C = ak_last_dim(x);
    double sum = 0;
    for (int64_t i = c; i < x->size; i += C)
        sum += (double)x->data[i];
    return sum / (double)(x->size / C);
}

Test(digits, means_of_large_pictures)
{
    enum { SIDE = 1024 };
    for (int k = 0; k < 4; k++) {
        const int64_t C = k < 2 ? 1 : 3;
        ak_tensor *x = (k % 2 ? many : steady)(AK_SHAPE(1, SIDE, SIDE, C));
        ak_tensor *means[] = {
            ak_global_avg_pool(x), ak_adaptive_avg_pool2d(x, 1, 1),
            ak_avg_pool2d(x, (ak_pool_options){ .kernel = SIDE }),
            ak_mean_axis(ak_reshape(x, AK_SHAPE(SIDE * SIDE, C)), 0),
        };
        for (size_t m = 0; m < sizeof means / sizeof means[0]; m++)
            for (int64_t c = 0; c < C; c++)
                cr_expect_float_eq((double)means[m]->data[c] / mean_of_channel(x, c), 1, GATHERED,
                                   "%zu: off by %g", m,
                                   (double)means[m]->data[c] / mean_of_channel(x, c) - 1);
        ak_step_end(ctx);
    }
}

/* More channels than are summed at once, and windows that are rows and columns of a picture. */
Test(digits, means_of_windows)
{
    ak_tensor *x = many(AK_SHAPE(1, 60, 60, 67)), *y = ak_adaptive_avg_pool2d(x, 1, 1);
    for (int64_t c = 0; c < 67; c++)
        cr_expect_float_eq((double)y->data[c], mean_of_channel(x, c), ROUNDED);
    y = ak_avg_pool2d(x, (ak_pool_options){ .kernel = 40, .stride = 20, .padding = 10 });
    double sum = 0;             /* window (1, 1): pixels 10..49 of both axes */
    for (int64_t i = 10; i < 50; i++)
        for (int64_t j = 10; j < 50; j++)
            sum += (double)x->data[(i * 60 + j) * 67 + 66];
    const int64_t side = y->shape.dims[2];
    cr_expect_float_eq((double)y->data[(side + 1) * 67 + 66], sum / 1600, ROUNDED);
}

/* y of a norm must have mean 0 and deviation 1 over what it was taken. */
static void check_normal(const ak_tensor *y, double far)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < y->size; i++)
        sum += (double)y->data[i];
    const double mean = sum / (double)y->size;
    for (int64_t i = 0; i < y->size; i++)
        squares += ((double)y->data[i] - mean) * ((double)y->data[i] - mean);
    cr_expect_float_eq(mean, 0, far, "mean %g", mean);
    cr_expect_float_eq(squares / (double)y->size, 1, far, "variance %g",
                       squares / (double)y->size);
}

Test(digits, norms_of_very_many)
{
    enum { MANY = 2500000 };
    const double eps = 1e-14, far = DOUBLE_BUILD ? 1e-10 : 1e-5;
    check_normal(ak_group_norm(many(AK_SHAPE(1, MANY / 2, 2)), NULL, NULL, 1, eps), far);
    ak_step_end(ctx);
    check_normal(ak_layer_norm(many(AK_SHAPE(1, MANY)), NULL, NULL, eps), far);
    ak_step_end(ctx);
    check_normal(ak_batch_norm(many(AK_SHAPE(MANY, 1)), NULL, NULL, NULL, NULL,
                               (ak_batch_norm_options){ .eps = eps }), far);
    ak_step_end(ctx);
}

/* Rows that kernels sum in halves. */
Test(digits, rows_of_very_many)
{
    enum { MANY = 300000 };
    ak_tensor *x = many(AK_SHAPE(1, MANY));
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < MANY; i++) {
        sum += exp((double)x->data[i]);
        squares += (double)x->data[i] * (double)x->data[i];
    }
    const ak_tensor *p = ak_softmax(x), *l = ak_log_softmax(x), *u = ak_l2_normalize(x);
    for (int64_t i = 0; i < MANY; i += 4999) {
        const double v = (double)x->data[i];
        cr_expect_float_eq((double)p->data[i] / exp(v) * sum, 1, ROUNDED);
        cr_expect_float_eq((double)l->data[i], v - log(sum), ROUNDED * 10);
        cr_expect_float_eq((double)u->data[i] / v * sqrt(squares), 1, ROUNDED);
    }
    cr_expect_float_eq((double)ak_cosine_similarity(x, x)->data[0], 1, ROUNDED);
}

/* dx = rstd (dy - mean(dy) - xh mean(dy xh)), dw = dy xh, db = dy: one row, past the halves. */
Test(digits, gradient_of_a_very_long_norm)
{
    enum { D = 100003 };
    ak_tensor *x = many(AK_SHAPE(1, D)), *dy = ak_zeros(ctx, AK_SHAPE(1, D));
    ak_tensor *w = ak_require_grad(ak_full(ctx, AK_SHAPE(D), 1));
    ak_tensor *b = ak_require_grad(ak_zeros(ctx, AK_SHAPE(D)));
    const double far = DOUBLE_BUILD ? 1e-10 : 2e-5;
    double mean = 0, var = 0, g = 0, gh = 0;
    for (int i = 0; i < D; i++) {
        dy->data[i] = (ak_real)(1 + i % 7);
        mean += (double)x->data[i] / D;
        g += (double)dy->data[i] / D;
    }
    for (int i = 0; i < D; i++)
        var += ((double)x->data[i] - mean) * ((double)x->data[i] - mean) / D;
    const double rstd = 1 / sqrt(var + 1e-5);
    for (int i = 0; i < D; i++)
        gh += (double)dy->data[i] * ((double)x->data[i] - mean) * rstd / D;
    ak_backward_from(ak_layer_norm(x, w, b, 1e-5), dy->data);
    for (int i = 0; i < D; i += 997) {
        const double h = ((double)x->data[i] - mean) * rstd, up = (double)dy->data[i];
        cr_expect_float_eq((double)x->grad[i], rstd * (up - g - h * gh), far);
        cr_expect_float_eq((double)w->grad[i], up * h, far);
        cr_expect_eq((double)b->grad[i], up);
    }
}

/* Gradients of weights and biases: a sum over rows. */
Test(digits, gradients_of_parameters_over_many_rows)
{
    enum { ROWS = 300000, D = 3 };
    const int64_t rows = ROWS;
    for (int kind = 0; kind < 4; kind++) {
        ak_tensor *x = ak_detach(many(AK_SHAPE(rows, D)));
        ak_tensor *w = ak_require_grad(ak_full(ctx, AK_SHAPE(D), 1));
        ak_tensor *b = ak_require_grad(ak_full(ctx, AK_SHAPE(D), 0.5));
        ak_tensor *y = kind == 0 ? ak_layer_norm(x, w, b, 0)
                     : kind == 1 ? ak_group_norm(x, w, b, 1, 0)
                     : kind == 2 ? ak_group_norm(ak_reshape(x, AK_SHAPE(1, rows, D)), w, b, D, 0)
                                 : ak_add(ak_mul(x, w), b);
        ak_backward_from(y, steady(y->shape)->data);
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        const ak_tensor *dy = steady(AK_SHAPE(rows, D));
        for (int64_t c = 0; c < D; c++) {
            const double want = mean_of_channel(dy, c) * (double)rows;
            cr_expect_float_eq((double)b->grad[c] / want, 1, GATHERED, "%d: off by %g", kind,
                               (double)b->grad[c] / want - 1);
        }
        ak_step_end(ctx);
    }
}

Test(digits, running_sums)
{
    enum { N = 300000 };
    for (int64_t inner = 1; inner <= 3; inner += 2) {
        ak_tensor *x = steady(AK_SHAPE(N, inner)), *y = ak_cumsum(x, 0);
        for (int64_t c = 0; c < inner; c++)
            cr_expect_float_eq((double)y->data[(N - 1) * inner + c] / (mean_of_channel(x, c) * N),
                               1, GATHERED);
        ak_step_end(ctx);
    }
}

/* ---- numbers whose squares or sums are too large --------------------------------------------- */

Test(digits, variance_and_mean_of_huge_numbers)
{
    const double big = DOUBLE_BUILD ? 1e153 : 1e18, most = DOUBLE_BUILD ? 1.5e308 : 3e38;
    const double v[] = { 5 * big, 7 * big, 3 * big, 9 * big };
    if (!DOUBLE_BUILD) {        /* differences whose squares overflow: 3e19^2 / 10000 is a number */
        ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 10000));
        x->data[17] = (ak_real)3e19;
        x->data[10000] = (ak_real)3e19;
        ak_tensor *row = ak_var_axis(x, 1, 0), *column = ak_var_axis(ak_transpose(x), 0, 0);
        for (int i = 0; i < 2; i++) {
            cr_expect_float_eq((double)row->data[i] / 8.9991e34, 1, 1e-5);
            cr_expect_float_eq((double)column->data[i] / 8.9991e34, 1, 1e-5);
        }
    }
    ak_tensor *x = parameter(AK_SHAPE(1, 4), v);
    cr_expect_float_eq((double)ak_var_axis(x, 1, 0)->data[0] / big / big, 5, 1e-5);
    if (!DOUBLE_BUILD) {        /* a mean is a number where the sum is none */
        ak_tensor *m = ak_full(ctx, AK_SHAPE(3, 2), most);
        cr_expect_float_eq(ak_item(ak_mean(m)) / most, 1, 1e-6);
        cr_expect_float_eq((double)ak_mean_axis(m, 0)->data[1] / most, 1, 1e-6);
        cr_expect_float_eq((double)ak_mean_axis(m, 1)->data[1] / most, 1, 1e-6);
        /* a real infinity stays one */
        cr_expect(isinf(ak_item(ak_sum(m))));
    }
}

/* Norms of rows and channels of huge numbers are those of the same numbers made small. */
Test(digits, norms_of_huge_numbers)
{
    enum { R = 6, D = 5 };
    const double factor = DOUBLE_BUILD ? 1e150 : 1e28;
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(R, D)), *big = ak_scale(x, factor);
    ak_tensor *pairs[][2] = {
        { ak_layer_norm(x, NULL, NULL, 1e-12), ak_layer_norm(big, NULL, NULL, 1e-12) },
        { ak_rms_norm(x, NULL, 1e-12), ak_rms_norm(big, NULL, 1e-12) },
        { ak_l2_normalize(x), ak_l2_normalize(big) },
        { ak_group_norm(x, NULL, NULL, 1, 1e-12), ak_group_norm(big, NULL, NULL, 1, 1e-12) },
        { ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .eps = 1e-12 }),
          ak_batch_norm(big, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .eps = 1e-12 }) },
    };
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++)
        for (int i = 0; i < R * D; i++)
            cr_expect_float_eq((double)pairs[k][0]->data[i], (double)pairs[k][1]->data[i], 1e-5,
                               "%zu: %g, expected %g", k, (double)pairs[k][1]->data[i],
                               (double)pairs[k][0]->data[i]);
}

/* ---- rows of any length ---------------------------------------------------------------------- */

/* The same directions, lengths times factor. */
static ak_tensor *rows_times(ak_shape s, uint64_t stream, double factor)
{
    ak_tensor *t = ak_zeros(ctx, s);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)(factor * ak_random_normal(3, stream, (uint64_t)i));
    return ak_require_grad(t);
}

typedef ak_tensor *two_rows_fn(ak_tensor *a, ak_tensor *b);

static ak_tensor *by_ntxent(ak_tensor *a, ak_tensor *b)
{
    return ak_loss_ntxent(a, b, (ak_ntxent_options){ .tau = 0.5 });
}
static ak_tensor *by_infonce(ak_tensor *a, ak_tensor *b)
{
    return ak_loss_infonce(a, b, (ak_infonce_options){ .tau = 0.01 });
}
static ak_tensor *by_clip(ak_tensor *a, ak_tensor *b)
{
    return ak_loss_clip(a, b, NULL, (ak_infonce_options){ .tau = 0.5 });
}
static ak_tensor *by_supcon(ak_tensor *a, ak_tensor *b)
{
    ak_tensor *both[] = { a, b };
    return ak_loss_supcon(ak_stack(both, 2), NULL, (ak_supcon_options){ 0 });
}
static ak_tensor *by_cosine(ak_tensor *a, ak_tensor *b)
{
    return ak_mean(ak_cosine_similarity(a, b));
}
static ak_tensor *by_unit_rows(ak_tensor *a, ak_tensor *b)
{
    return ak_sum(ak_mul(ak_l2_normalize(a), ak_l2_normalize(b)));
}

/* A loss of directions does not know of lengths; its gradient is that many times smaller. */
static void check_lengths(two_rows_fn *loss, double factor, const char *name)
{
    enum { N = 5, D = 9 };
    ak_tensor *a = rows_times(AK_SHAPE(N, D), 1, 1), *b = rows_times(AK_SHAPE(N, D), 2, 1);
    ak_tensor *c = rows_times(AK_SHAPE(N, D), 1, factor);
    ak_tensor *d = rows_times(AK_SHAPE(N, D), 2, factor);
    ak_tensor *one = loss(a, b), *other = loss(c, d);
    cr_expect_float_eq(ak_item(one), ak_item(other), 1e-4, "%s at %g: %g, expected %g", name,
                       factor, ak_item(other), ak_item(one));
    ak_backward(one);
    ak_backward(other);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    double size = 0;
    for (int i = 0; i < N * D; i++)
        size = fmax(size, fmax(fabs((double)a->grad[i]), fabs((double)b->grad[i])));
    for (int i = 0; i < N * D; i++) {
        cr_expect_float_eq((double)c->grad[i] * factor, (double)a->grad[i], 1e-4 * size,
                           "%s at %g: gradient %g, expected %g", name, factor,
                           (double)c->grad[i] * factor, (double)a->grad[i]);
        cr_expect_float_eq((double)d->grad[i] * factor, (double)b->grad[i], 1e-4 * size);
    }
    ak_step_end(ctx);
}

Test(digits, losses_of_long_rows)
{
    const double factors[] = { 1e4, DOUBLE_BUILD ? 1e100 : 1e18, DOUBLE_BUILD ? 1e153 : 1e19,
                               LONG, DOUBLE_BUILD ? 1e200 : 1e30 };
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        check_lengths(by_ntxent, factors[i], "ntxent");
        check_lengths(by_infonce, factors[i], "infonce");
        check_lengths(by_clip, factors[i], "clip");
        check_lengths(by_supcon, factors[i], "supcon");
        check_lengths(by_cosine, factors[i], "cosine");
        check_lengths(by_unit_rows, factors[i], "unit rows");
    }
}

Test(digits, measures_of_rows_of_any_length)
{
    enum { N = 12, D = 4 };
    int32_t label[N];
    for (int i = 0; i < N; i++)
        label[i] = i % 3;
    double first[4] = { 0 };
    const double factors[] = { 1, LONG, DOUBLE_BUILD ? 1e307 : 1e38, SHORT };
    for (int k = 0; k < 4; k++) {
        ak_tensor *a = rows_times(AK_SHAPE(N, D), 1, factors[k]);
        ak_tensor *b = rows_times(AK_SHAPE(N, D), 2, factors[k]);
        ak_features *f = ak_features_from(a, label, "a"), *g = ak_features_from(b, label, "b");
        const double got[4] = { ak_eval_knn_on(f, g, (ak_knn_options){ .k = 3 }).accuracy,
                                ak_eval_uniformity(a), ak_eval_alignment(a, b),
                                ak_eval_contrastive(a, b) };
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        for (int i = 0; i < 4; i++) {
            first[i] = k ? first[i] : got[i];
            cr_expect_float_eq(got[i], first[i], 1e-4, "measure %d of rows times %g: %g, expected "
                               "%g", i, factors[k], got[i], first[i]);
        }
        ak_step_end(ctx);
    }
}

Test(digits, distances_of_huge_points)
{
    const double big = LONG;
    ak_tensor *a = parameter(AK_SHAPE(2, 2), (double[]){ big, big, 1, 2 });
    ak_tensor *y = ak_pairwise_sqdist(a, parameter(AK_SHAPE(1, 2), (double[]){ big, big }));
    cr_expect_eq((double)y->data[0], 0.0);
    cr_expect(isinf((double)y->data[1]));
}

/* ---- rows of zeros --------------------------------------------------------------------------- */

/* What akin/ops.h and akin/losses.h say of a zero row: it stays zero; its cosine with everything is
 * 0; its gradient is that of the division by the floor. */
Test(digits, zero_rows)
{
    ak_tensor *x = parameter(AK_SHAPE(2, 2), (double[]){ 0, 0, 3, 4 });
    ak_tensor *u = ak_l2_normalize(x);
    cr_expect_eq((double)u->data[0], 0.0);
    ak_backward_from(u, (ak_real[]){ 1, -1, 0, 0 });
    cr_expect_float_eq((double)x->grad[0] / 1e12, 1, 1e-6);
    cr_expect_float_eq((double)x->grad[1] / 1e12, -1, 1e-6);
    ak_step_end(ctx);

    x = parameter(AK_SHAPE(2, 2), (double[]){ 0, 0, 3, 4 });
    ak_tensor *y = parameter(AK_SHAPE(2, 2), (double[]){ 1, 0, 0, 0 });
    ak_tensor *cosine = ak_cosine_similarity(x, y);
    cr_expect_eq((double)cosine->data[0], 0.0);
    cr_expect_eq((double)cosine->data[1], 0.0);
    ak_backward(ak_sum(cosine));
    for (int i = 0; i < 4; i++)
        cr_expect(isfinite((double)x->grad[i]) && isfinite((double)y->grad[i]));
    cr_expect_float_eq((double)x->grad[0] / 1e8, 1, 1e-6);
    ak_step_end(ctx);

    /* scores of a zero row are 0: as those of an embedding at right angles to all others */
    x = parameter(AK_SHAPE(2, 2), (double[]){ 0, 0, 1, 0 });
    ak_tensor *k = parameter(AK_SHAPE(2, 2), (double[]){ 1, 0, 1, 0 });
    ak_tensor *loss = ak_loss_infonce(x, k, (ak_infonce_options){ .tau = 1 });
    cr_expect_float_eq(ak_item(loss), log(2), 1e-6);
    ak_backward(loss);
    for (int i = 0; i < 4; i++)
        cr_expect(isfinite((double)x->grad[i]));
}

/* ---- nothing but the partner; temperatures at the edge --------------------------------------- */

Test(digits, one_candidate_costs_nothing)
{
    for (int k = 0; k < 20; k++) {
        ak_tensor *a = rows_times(AK_SHAPE(1, 7), (uint64_t)k, 1);
        ak_tensor *b = rows_times(AK_SHAPE(1, 7), (uint64_t)k + 50, 1);
        const ak_infonce_options o = { .tau = 0.01 + 0.05 * k, .label_smoothing = k % 2 * 0.1 };
        ak_tensor *loss = k % 3 ? ak_loss_clip(a, b, NULL, o) : ak_loss_infonce(a, b, o);
        cr_expect_eq(ak_item(loss), 0.0, "%g", ak_item(loss));
        ak_backward(loss);
        for (int i = 0; i < 7; i++) {
            cr_expect_eq((double)a->grad[i], 0.0);
            cr_expect_eq((double)b->grad[i], 0.0);
        }
        ak_step_end(ctx);
    }
    /* of several samples, all but the partner masked */
    ak_tensor *a = rows_times(AK_SHAPE(4, 7), 1, 1), *b = rows_times(AK_SHAPE(4, 7), 2, 1);
    ak_index *same = ak_index_from(ctx, AK_SHAPE(4), (int32_t[]){ 5, 5, 5, 5 });
    ak_tensor *loss = ak_loss_clip(a, b, NULL, (ak_infonce_options){ .ids = same });
    cr_expect_eq(ak_item(loss), 0.0);
}

/* A loss that is nearly 0 is not below. */
Test(digits, losses_are_not_negative)
{
    for (int k = 0; k < 40; k++) {
        ak_tensor *a = ak_zeros(ctx, AK_SHAPE(6, 8));
        for (int i = 0; i < 6; i++)
            a->data[i * 8 + i] = (ak_real)(1 + 0.37 * k);
        const double tau = 0.02 + 0.001 * k;
        cr_expect_geq(ak_item(ak_loss_clip(a, a, NULL, (ak_infonce_options){ .tau = tau })), 0.0);
        cr_expect_geq(ak_item(ak_loss_ntxent(a, a, (ak_ntxent_options){ .tau = tau })), 0.0);
        ak_step_end(ctx);
    }
}

static void expect_refused(const char *text)
{
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), text), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(digits, scales_at_the_edge)
{
    const double limit = log(DOUBLE_BUILD ? DBL_MAX : (double)FLT_MAX);
    ak_tensor *z = ak_keep(ak_randn(ctx, AK_SHAPE(3, 4)));
    const double bad[] = { limit + 0.5, 1e6, -limit - 0.5, (double)NAN, (double)INFINITY };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ak_loss_clip(z, z, ak_full(ctx, AK_SHAPE(1), bad[i]), (ak_infonce_options){ 0 });
        expect_refused("log scale");
        ak_loss_clip_composed(z, z, ak_full(ctx, AK_SHAPE(1), bad[i]), (ak_infonce_options){ 0 });
        expect_refused("scale");
    }
    /* up to there the loss is a number */
    const double good[] = { 80, limit - 1, -80 };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ak_tensor *s = ak_require_grad(ak_full(ctx, AK_SHAPE(1), good[i]));
        ak_tensor *loss = ak_loss_clip(z, z, s, (ak_infonce_options){ 0 });
        ak_backward(loss);
        cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        cr_expect(isfinite(ak_item(loss)) && isfinite((double)s->grad[0]), "log scale %g", good[i]);
        ak_step_end(ctx);
    }
    const double tau[] = { 1e-320, DOUBLE_BUILD ? 1e-309 : 1e-40, DOUBLE_BUILD ? 1e308 : 1e39 };
    for (size_t i = 0; i < sizeof tau / sizeof tau[0]; i++) {
        ak_loss_ntxent(z, z, (ak_ntxent_options){ .tau = tau[i] });
        expect_refused("out of the range of numbers");
        ak_loss_supcon(z, ak_index_from(ctx, AK_SHAPE(3), (int32_t[]){ 0, 0, 1 }),
                       (ak_supcon_options){ .tau = tau[i] });
        expect_refused("out of the range of numbers");
        ak_temperature(ctx, "t", tau[i]);
        expect_refused("tau");
    }
}

/* ---- all alike, all out ---------------------------------------------------------------------- */

static void expect_finite_gradient(ak_tensor *loss, ak_tensor *x)
{
    ak_backward(loss);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < x->size; i++)
        cr_expect(isfinite((double)x->grad[i]), "%g", (double)x->grad[i]);
    ak_step_end(ctx);
}

static ak_tensor *all_alike(double value)
{
    return ak_require_grad(ak_full(ctx, AK_SHAPE(4, 3), value));
}

/* Equal rows, and rows that are all zeros, have a gradient that is a number. */
Test(digits, gradients_of_equal_rows)
{
    for (int zero = 0; zero < 2; zero++) {
        const double value = zero ? 0 : 0.7;
        ak_tensor *x = all_alike(value);
        expect_finite_gradient(ak_loss_ntxent(x, x, (ak_ntxent_options){ .tau = 0.005 }), x);
        x = all_alike(value);
        expect_finite_gradient(ak_loss_clip(x, x, NULL, (ak_infonce_options){ 0 }), x);
        x = all_alike(value);
        ak_index *labels = ak_index_from(ctx, AK_SHAPE(4), (int32_t[]){ 0, 0, 1, 1 });
        expect_finite_gradient(ak_loss_supcon(x, labels, (ak_supcon_options){ 0 }), x);
        x = all_alike(value);
        expect_finite_gradient(ak_sum(ak_cosine_similarity(x, x)), x);
        x = all_alike(value);
        expect_finite_gradient(ak_sum(ak_sqrt(ak_pairwise_sqdist(x, x))), x);
        x = all_alike(value);
        expect_finite_gradient(ak_sum(ak_sqrt(ak_var_axis(x, 1, 1))), x);
        x = all_alike(value);
        expect_finite_gradient(ak_sum(ak_layer_norm(x, NULL, NULL, 0)), x);
    }
}

/* Nobody is an anchor: 0, and no gradient. */
Test(digits, a_batch_of_padding_costs_nothing)
{
    const int32_t out[] = { -1, -1, -1, -1 };
    for (int kind = 0; kind < 3; kind++) {
        ak_index *ids = ak_index_from(ctx, AK_SHAPE(4), out);
        ak_tensor *x = rows_times(AK_SHAPE(4, 3), 1, 1), *y = rows_times(AK_SHAPE(4, 3), 2, 1);
        ak_tensor *loss = kind == 0 ? ak_loss_ntxent(x, y, (ak_ntxent_options){ .ids = ids })
                        : kind == 1 ? ak_loss_clip(x, y, NULL, (ak_infonce_options){ .ids = ids })
                                    : ak_loss_supcon(x, ak_index_from(ctx, AK_SHAPE(4), (int32_t[]){
                                                            1, 1, 1, 1 }),
                                                     (ak_supcon_options){ .ids = ids });
        cr_expect_eq(ak_item(loss), 0.0, "%d", kind);
        ak_backward(loss);
        for (int i = 0; i < 12; i++)
            cr_expect_eq((double)x->grad[i], 0.0);
        ak_step_end(ctx);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

#ifdef _OPENMP
enum { FIGURES = 10 };

/* Sums that are long enough to be shared out, and measures. */
static void long_sums(double *out)
{
    enum { N = 700, D = 20 };
    ak_tensor *x = many(AK_SHAPE(3, 90, 70, 5)), *w = ak_require_grad(ak_full(ctx, AK_SHAPE(5), 1));
    ak_tensor *g = ak_group_norm(x, w, NULL, 1, 0);
    ak_backward_from(g, x->data);
    out[0] = (double)g->data[g->size - 1];
    out[1] = (double)w->grad[4];
    out[2] = (double)ak_global_avg_pool(x)->data[7];
    out[3] = (double)x->grad[x->size / 2];
    out[4] = (double)ak_mean_axis(ak_reshape(x, AK_SHAPE(-1, 5)), 0)->data[3];
    ak_tensor *a = rows_times(AK_SHAPE(N, D), 1, 1), *b = rows_times(AK_SHAPE(N, D), 2, 1);
    int32_t label[N];
    for (int i = 0; i < N; i++)
        label[i] = i * i % 7 * 1000;
    ak_features *f = ak_features_from(a, label, "a"), *h = ak_features_from(b, label, "b");
    out[5] = ak_eval_knn_on(f, h, (ak_knn_options){ .k = 7 }).accuracy;
    out[6] = ak_eval_knn_on(f, f, (ak_knn_options){ .k = 7, .leave_one_out = true }).accuracy;
    const ak_eval_result r = ak_eval_linear_on(f, h, (ak_linear_probe_options){
        .max_iterations = 5 });
    out[7] = r.accuracy + r.gradient_norm;
    out[8] = ak_eval_uniformity(a);
    out[9] = ak_eval_contrastive(a, b);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(digits, same_bits_for_any_number_of_threads)
{
    double one[FIGURES], more[FIGURES];
    omp_set_num_threads(1);
    long_sums(one);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        long_sums(more);
        for (int i = 0; i < FIGURES; i++)
            cr_expect_eq(one[i], more[i], "%d with %d threads: %.17g, with one %.17g", i, threads,
                         more[i], one[i]);
    }
}
#endif
