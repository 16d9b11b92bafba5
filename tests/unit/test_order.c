/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that order, compare, or gather by segment, and kept axes: values by hand, ties, NaN, empty
 * segments, a plain loop beside large ones, equal bits for any number of threads. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <akin/autograd.h>
#include <akin/ops.h>

static ak_ctx *ctx;

static void setup(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
}

static void teardown(void)
{
    ak_close(ctx);
}

TestSuite(order, .init = setup, .fini = teardown);

#define NOT ((ak_real)NAN)
#define INF ((double)INFINITY)

static void expect_values(const ak_real *got, const double *want, int64_t n, double tol)
{
    cr_assert_not_null(got, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)got[i];
        const bool same = isnan(want[i]) ? isnan(x)
                        : isinf(want[i]) ? x == want[i] : fabs(x - want[i]) <= tol;
        cr_expect(same, "element %lld: %.9g, not %.9g", (long long)i, x, want[i]);
    }
}
#define EXPECT(got, tol, ...)                                                                      \
    expect_values(got, (double[]){ __VA_ARGS__ },                                                  \
                  (int64_t)(sizeof((double[]){ __VA_ARGS__ }) / sizeof(double)), tol)

static void expect_places(const ak_index *got, ak_shape shape, const int32_t *want)
{
    cr_assert(ak_shape_equal(got->shape, shape), "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < got->size; i++)
        cr_expect_eq(got->data[i], want[i], "place %lld: %d, not %d", (long long)i, got->data[i],
                     want[i]);
}
#define PLACES(got, shape, ...) expect_places(got, shape, (const int32_t[]){ __VA_ARGS__ })

static ak_tensor *vector(int64_t n, const ak_real *x)
{
    return ak_require_grad(ak_from(ctx, AK_SHAPE(n), x));
}
#define VECTOR(...)                                                                                \
    vector((int64_t)(sizeof((ak_real[]){ __VA_ARGS__ }) / sizeof(ak_real)),                        \
           (ak_real[]){ __VA_ARGS__ })

static ak_index *ids_of(int64_t n, const int32_t *values)
{
    return ak_index_from(ctx, AK_SHAPE(n), values);
}

/* ---- argmin, sort, topk ---------------------------------------------------------------------- */

Test(order, argmin_takes_the_first)
{
    ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 4), (ak_real[]){ 3, 1, 1, 2, 5, NOT, -9, NOT });
    PLACES(ak_argmin(x, 1), AK_SHAPE(2), 1, 1);
    PLACES(ak_argmin(x, 0), AK_SHAPE(4), 0, 1, 1, 1);
    PLACES(ak_argmax(x, 1), AK_SHAPE(2), 0, 1);
    PLACES(ak_argmin(VECTOR(-(ak_real)INFINITY, 1, -(ak_real)INFINITY), 0), AK_SCALAR, 0);
    cr_expect_eq(ak_argmin(x, 2)->size, 0);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_SHAPE);
}

Test(order, equal_elements_keep_their_order_and_nan_is_the_largest)
{
    ak_index *p;
    ak_tensor *x = VECTOR(2, NOT, 1, 2, (ak_real)-0.0, 0, NOT, -(ak_real)INFINITY);
    EXPECT(ak_sort(x, 0, false, &p)->data, 0, -INF, 0, 0, 1, 2, 2, (double)NAN, (double)NAN);
    PLACES(p, AK_SHAPE(8), 7, 4, 5, 2, 0, 3, 1, 6);
    EXPECT(ak_sort(x, 0, true, &p)->data, 0, (double)NAN, (double)NAN, 2, 2, 1, 0, 0, -INF);
    PLACES(p, AK_SHAPE(8), 1, 6, 0, 3, 2, 4, 5, 7);
    EXPECT(ak_topk(x, 3, -1, true, &p)->data, 0, (double)NAN, (double)NAN, 2);
    PLACES(p, AK_SHAPE(3), 1, 6, 0);
    EXPECT(ak_topk(x, 7, 0, false, &p)->data, 0, -INF, 0, 0, 1, 2, 2, (double)NAN);
    PLACES(p, AK_SHAPE(7), 7, 4, 5, 2, 0, 3, 1);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

Test(order, gradient_goes_back_to_the_places)
{
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2, 3), (ak_real[]){ 3, 1, 2, 0, 5, 4 }));
    ak_index *p;
    ak_tensor *y = ak_topk(x, 2, 1, true, &p);
    EXPECT(y->data, 0, 3, 2, 5, 4);
    PLACES(p, AK_SHAPE(2, 2), 0, 2, 1, 2);
    ak_backward_from(y, (ak_real[]){ 1, 2, 3, 4 });
    EXPECT(x->grad, 0, 1, 0, 2, 0, 3, 4);
    ak_step_end(ctx);
    x = ak_require_grad(ak_from(ctx, AK_SHAPE(2, 3), (ak_real[]){ 3, 1, 2, 0, 5, 4 }));
    y = ak_sort(x, 0, false, NULL);             /* columns; the places are not wanted */
    EXPECT(y->data, 0, 0, 1, 2, 3, 5, 4);
    ak_backward_from(y, (ak_real[]){ 1, 2, 3, 4, 5, 6 });
    EXPECT(x->grad, 0, 4, 2, 3, 1, 5, 6);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

Test(order, a_failed_call_leaves_poison_places)
{
    ak_index *p = NULL;
    cr_expect(ak_is_poison(ak_topk(VECTOR(1, 2), 3, 0, true, &p)));
    cr_expect_not_null(p);
    cr_expect(ak_is_poison(ak_gather_rows(VECTOR(1, 2), p)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
}

/* Values, many of them equal, in an order of its own for each axis and width. */
Test(order, large_ones_agree_with_a_plain_sort)
{
    static const int64_t widths[] = { 1, 2, 15, 16, 17, 31, 33, 64, 100, 1000 };
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        const int64_t n = widths[w], rows = 7;
        ak_tensor *x = ak_zeros(ctx, AK_SHAPE(rows, n, 3));
        for (int64_t i = 0; i < x->size; i++)
            x->data[i] = (ak_real)(ak_random_below(1, 2, (uint64_t)i, (uint64_t)(n / 2 + 1)));
        for (int descending = 0; descending < 2; descending++) {
            ak_index *all, *few;
            const ak_tensor *y = ak_sort(x, 1, descending, &all);
            const int64_t count = n < 5 ? n : 5;
            const ak_tensor *top = ak_topk(x, count, 1, descending, &few);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < 3; c++)
                    for (int64_t i = 0; i < n; i++) {
                        const int64_t at = (r * n + i) * 3 + c;
                        const int32_t p = all->data[at];
                        cr_assert_eq(y->data[at], x->data[(r * n + p) * 3 + c]);
                        if (i < count) {
                            cr_assert_eq(few->data[(r * count + i) * 3 + c], p);
                            cr_assert_eq(top->data[(r * count + i) * 3 + c], y->data[at]);
                        }
                        if (i == 0)
                            continue;
                        const ak_real before = y->data[at - 3];
                        cr_assert(descending ? before >= y->data[at] : before <= y->data[at]);
                        cr_assert(before != y->data[at] || all->data[at - 3] < p);
                    }
        }
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
}

/* ---- comparisons ----------------------------------------------------------------------------- */

Test(order, comparisons_give_ones_and_zeros)
{
    ak_tensor *a = VECTOR(1, 2, 3, NOT, (ak_real)-0.0), *b = VECTOR(2, 2, 2, NOT, 0);
    EXPECT(ak_equal(a, b)->data, 0, 0, 1, 0, 0, 1);
    EXPECT(ak_not_equal(a, b)->data, 0, 1, 0, 1, 1, 0);
    EXPECT(ak_less(a, b)->data, 0, 1, 0, 0, 0, 0);
    EXPECT(ak_less_equal(a, b)->data, 0, 1, 1, 0, 0, 1);
    EXPECT(ak_greater(a, b)->data, 0, 0, 0, 1, 0, 0);
    EXPECT(ak_greater_equal(a, b)->data, 0, 0, 1, 1, 0, 1);
    cr_expect_not(ak_less(a, b)->needs_grad, "it is a constant");
    ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 1), (ak_real[]){ 0, 2 });
    const ak_tensor *y = ak_greater(x, ak_from(ctx, AK_SHAPE(3), (ak_real[]){ -1, 1, 3 }));
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(2, 3)));
    EXPECT(y->data, 0, 1, 0, 0, 1, 1, 0);
    /* a mask that lets a gradient through where it is 1 */
    a = VECTOR(1, 2, 3);
    ak_backward(ak_sum(ak_mul(a, ak_greater(a, ak_full(ctx, AK_SCALAR, 1.5)))));
    EXPECT(a->grad, 0, 0, 1, 1);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

Test(order, log_sigmoid_at_both_ends)
{
    ak_tensor *x = VECTOR(0, -1000, 1000, 30, -(ak_real)INFINITY, (ak_real)INFINITY, NOT);
    ak_tensor *y = ak_log_sigmoid(x);
    EXPECT(y->data, 1e-6, -log(2), -1000, 0, -exp(-30), -INF, 0, (double)NAN);
    cr_expect_float_eq((double)y->data[3] / -exp(-30), 1, 1e-5, "digits, not only size");
    ak_backward_from(y, (ak_real[]){ 1, 1, 1, 1, 1, 1, 1 });
    EXPECT(x->grad, 1e-6, 0.5, 1, 0, exp(-30), 1, 0, (double)NAN);
    cr_expect_float_eq((double)x->grad[3] / exp(-30), 1, 1e-5);
    ak_step_end(ctx);
}

Test(order, sine_and_cosine)
{
    ak_tensor *x = VECTOR(0, 1, -2, 1000, (ak_real)INFINITY, NOT);
    ak_tensor *y = ak_sin(x);
    EXPECT(y->data, 1e-6, 0, sin(1), sin(-2), sin(1000), (double)NAN, (double)NAN);
    EXPECT(ak_cos(x)->data, 1e-6, 1, cos(1), cos(-2), cos(1000), (double)NAN, (double)NAN);
    ak_backward_from(y, (ak_real[]){ 1, 2, 3, 4, 0, 0 });
    EXPECT(x->grad, 1e-5, 1, 2 * cos(1), 3 * cos(-2), 4 * cos(1000), (double)NAN, (double)NAN);
    ak_step_end(ctx);
}

/* ---- kept axes ------------------------------------------------------------------------------- */

Test(order, kept_axes_have_length_one_and_the_same_numbers)
{
    ak_tensor *(*const plain[])(ak_tensor *, int) = { ak_sum_axis, ak_mean_axis, ak_max_axis,
                                                      ak_min_axis, ak_logsumexp };
    ak_tensor *(*const kept[])(ak_tensor *, int) = { ak_sum_keepdim, ak_mean_keepdim,
                                                     ak_max_keepdim, ak_min_keepdim,
                                                     ak_logsumexp_keepdim };
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 3, 4));
    for (int axis = -3; axis < 3; axis++) {
        ak_shape one = x->shape;
        one.dims[(axis + 3) % 3] = 1;
        for (int i = 0; i < 6; i++) {
            ak_tensor *a = i < 5 ? plain[i](x, axis) : ak_var_axis(x, axis, 1);
            ak_tensor *b = i < 5 ? kept[i](x, axis) : ak_var_keepdim(x, axis, 1);
            cr_assert(ak_shape_equal(b->shape, one), "%d axis %d: %s", i, axis,
                      ak_error_message(ctx));
            cr_expect_arr_eq(a->data, b->data, (size_t)a->size * sizeof *a->data);
            cr_expect_not(ak_is_poison(ak_sub(x, b)), "it broadcasts with x");
        }
    }
    cr_expect(ak_is_poison(ak_mean_keepdim(x, 3)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_SHAPE);
}

/* ---- segments -------------------------------------------------------------------------------- */

Test(order, segments_by_hand)
{
    const ak_real numbers[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(4, 2), numbers));
    ak_index *ids = ids_of(4, (int32_t[]){ 2, 0, 2, 0 });
    EXPECT(ak_segment_sum(x, ids, 4)->data, 0, 10, 12, 0, 0, 6, 8, 0, 0);
    EXPECT(ak_segment_mean(x, ids, 4)->data, 0, 5, 6, 0, 0, 3, 4, 0, 0);
    EXPECT(ak_segment_max(x, ids, 4)->data, 0, 7, 8, -INF, -INF, 5, 6, -INF, -INF);
    const double p = 1 / (1 + exp(-4));
    EXPECT(ak_segment_softmax(x, ids, 4)->data, 1e-6, 1 - p, 1 - p, 1 - p, 1 - p, p, p, p, p);
    ak_tensor *y = ak_segment_mean(x, ids, 3);
    ak_backward_from(y, (ak_real[]){ 1, 2, 3, 4, 5, 6 });
    EXPECT(x->grad, 0, 2.5, 3, 0.5, 1, 2.5, 3, 0.5, 1);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

Test(order, segment_extremes)
{
    ak_tensor *x = VECTOR(2, NOT, 2, -(ak_real)INFINITY, -(ak_real)INFINITY, 1000, 1001);
    ak_index *ids = ids_of(7, (int32_t[]){ 0, 1, 0, 2, 2, 3, 3 });
    ak_tensor *y = ak_segment_max(x, ids, 4);
    EXPECT(y->data, 0, 2, (double)NAN, -INF, 1001);
    ak_backward_from(y, (ak_real[]){ 1, 2, 3, 4 });
    EXPECT(x->grad, 0, 1, 2, 0, 3, 0, 0, 4);        /* the first of equals */
    const double p = 1 / (1 + exp(-1));
    EXPECT(ak_segment_softmax(x, ids, 4)->data, 1e-6, 0.5, (double)NAN, 0.5, 0, 0, 1 - p, p);
    ak_step_end(ctx);
}

Test(order, segments_of_nothing)
{
    ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(0, 3)));
    ak_index *none = ids_of(0, NULL);
    ak_tensor *sum = ak_segment_sum(x, none, 2);
    cr_assert(ak_shape_equal(sum->shape, AK_SHAPE(2, 3)), "%s", ak_error_message(ctx));
    EXPECT(sum->data, 0, 0, 0, 0, 0, 0, 0);
    EXPECT(ak_segment_mean(x, none, 1)->data, 0, 0, 0, 0);
    EXPECT(ak_segment_max(x, none, 1)->data, 0, -INF, -INF, -INF);
    cr_expect_eq(ak_segment_softmax(x, none, 1)->size, 0);
    cr_expect_eq(ak_segment_sum(x, none, 0)->size, 0);
    cr_expect_eq(ak_backward(ak_sum(sum)), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}

enum { N = 3000, D = 70, S = 37 };

/* All four and their gradients, side by side. */
static int64_t run_segments(ak_real *to)
{
    ak_tensor *(*const ops[])(ak_tensor *, ak_index *, int64_t) = {
        ak_segment_sum, ak_segment_mean, ak_segment_max, ak_segment_softmax };
    int64_t n = 0;
    for (int i = 0; i < 4; i++) {
        ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(N, D)));
        static int32_t ids[N];
        for (int64_t j = 0; j < x->size; j++)
            x->data[j] = (ak_real)(ak_random_uniform(1, 3, (uint64_t)j) * 4);
        for (int j = 0; j < N; j++)
            ids[j] = (int32_t)ak_random_below(1, 4, (uint64_t)j, S);
        ak_tensor *y = ops[i](x, ids_of(N, ids), S);
        ak_backward(ak_sum(ak_square(y)));
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        memcpy(to + n, y->data, (size_t)y->size * sizeof *to);
        n += y->size;
        memcpy(to + n, x->grad, (size_t)x->size * sizeof *to);
        n += x->size;
        if (i == 0)                                 /* a plain loop */
            for (int64_t s = 0; s < S; s++) {
                double sum = 0;
                for (int j = 0; j < N; j++)
                    sum += ids[j] == s ? (double)x->data[j * D + 5] : 0;
                cr_expect_float_eq((double)y->data[s * D + 5], sum, 1e-3);
            }
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
    return n;
}

Test(order, same_bits_for_any_number_of_threads)
{
#ifdef _OPENMP
    static ak_real one[4 * N * D + 4 * N * D], more[4 * N * D + 4 * N * D];
    omp_set_num_threads(1);
    const int64_t n = run_segments(one);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        cr_assert_eq(run_segments(more), n);
        cr_expect_arr_eq(one, more, (size_t)n * sizeof *one, "%d threads", threads);
    }
#endif
}

/* ---- index arrays that stay ------------------------------------------------------------------ */

Test(order, a_kept_index_serves_every_step)
{
    ak_index *labels = ak_index_keep(ids_of(2, (int32_t[]){ 1, 0 }));
    ak_step_end(ctx);
    for (int step = 0; step < 3; step++) {
        ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2, 2), (ak_real[]){ 1, 2, 3, 4 }));
        ak_tensor *y = ak_pick(x, labels);
        EXPECT(y->data, 0, 2, 3);
        cr_expect_eq(ak_backward(ak_sum(y)), AK_OK);
        EXPECT(x->grad, 0, 0, 1, 1, 0);
        cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    ak_index *empty = ak_index_keep(ids_of(0, NULL));
    cr_expect_eq(empty->size, 0);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
}
