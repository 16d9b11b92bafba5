/* SPDX-License-Identifier: Apache-2.0 */
/* Expected values by hand, for what a gradient check cannot show: result shapes, ties, extremes,
 * random masks, equal bits for any number of threads. */
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

TestSuite(ops, .init = setup, .fini = teardown);

#define VECTOR(...)                                                                                \
    ak_from(ctx, AK_SHAPE((int64_t)(sizeof((ak_real[]){ __VA_ARGS__ }) / sizeof(ak_real))),        \
            (ak_real[]){ __VA_ARGS__ })

static void expect_values(const ak_tensor *t, ak_shape shape, const double *want, double tol)
{
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    cr_assert_not(ak_is_poison(t), "%s", ak_error_message(ctx));
    cr_assert(ak_shape_equal(t->shape, shape), "shape %s, not %s", ak_shape_text(t->shape, a),
              ak_shape_text(shape, b));
    for (int64_t i = 0; i < t->size; i++) {
        const double got = (double)t->data[i];
        const bool same = isnan(want[i]) ? isnan(got)
                        : isinf(want[i]) ? got == want[i] : fabs(got - want[i]) <= tol;
        cr_expect(same, "element %lld: %.9g, not %.9g", (long long)i, got, want[i]);
    }
}
#define EXPECT(t, shape, tol, ...) expect_values(t, shape, (double[]){ __VA_ARGS__ }, tol)

/* ---- broadcasting --------------------------------------------------------------------------- */

Test(ops, broadcast_shapes)
{
    static const struct { ak_shape a, b, y; } cases[] = {
        { { 2, { 2, 3 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } } },
        { { 2, { 2, 3 } }, { 1, { 3 } }, { 2, { 2, 3 } } },
        { { 1, { 3 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } } },
        { { 0, { 0 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } } },
        { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } },
        { { 3, { 3, 1, 4 } }, { 2, { 2, 1 } }, { 3, { 3, 2, 4 } } },
        { { 2, { 4, 1 } }, { 2, { 1, 5 } }, { 2, { 4, 5 } } },
        { { 2, { 0, 3 } }, { 2, { 1, 3 } }, { 2, { 0, 3 } } },
        { { 6, { 1, 2, 1, 2, 1, 2 } }, { 6, { 2, 1, 2, 1, 2, 1 } }, { 6, { 2, 2, 2, 2, 2, 2 } } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ak_tensor *y = ak_add(ak_full(ctx, cases[i].a, 1), ak_full(ctx, cases[i].b, 2));
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        cr_expect(ak_shape_equal(y->shape, cases[i].y), "case %zu", i);
        for (int64_t j = 0; j < y->size; j++)
            cr_expect_eq(y->data[j], 3);
    }
}

/* A walk of its own for every element, as NumPy defines it. */
static double element(const ak_tensor *t, ak_shape out, int64_t place)
{
    int64_t at = 0, step = 1;
    for (int d = out.n - 1; d >= 0; d--) {
        const int own = d - (out.n - t->shape.n);
        const int64_t i = place % out.dims[d];
        place /= out.dims[d];
        if (own < 0)
            continue;
        at += t->shape.dims[own] == 1 ? 0 : i * step;
        step *= t->shape.dims[own];
    }
    return (double)t->data[at];
}

Test(ops, broadcast_values_of_large_tensors)
{
    static const struct { ak_shape a, b; } cases[] = {
        { { 3, { 50, 1, 37 } }, { 2, { 41, 1 } } },
        { { 2, { 700, 61 } }, { 1, { 61 } } },
        { { 2, { 700, 61 } }, { 2, { 700, 1 } } },
        { { 1, { 3 } }, { 2, { 20000, 3 } } },
        { { 4, { 7, 1, 9, 11 } }, { 4, { 1, 31, 9, 1 } } },
        { { 2, { 40000, 1 } }, { 2, { 1, 1 } } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_tensor *a = ak_require_grad(ak_randn(ctx, cases[i].a));
        ak_tensor *b = ak_require_grad(ak_randn(ctx, cases[i].b));
        ak_tensor *y = ak_sub(a, b);
        int64_t wrong = 0;
        for (int64_t j = 0; j < y->size; j++) {
            const double want = element(a, y->shape, j) - element(b, y->shape, j);
            wrong += fabs((double)y->data[j] - want) > 1e-6;
        }
        cr_expect_eq(wrong, 0, "case %zu: %lld wrong", i, (long long)wrong);
        ak_backward(ak_sum(y));
        for (int64_t j = 0; j < a->size; j++)
            cr_assert_eq((double)a->grad[j], (double)(y->size / a->size), "case %zu", i);
        for (int64_t j = 0; j < b->size; j++)
            cr_assert_eq((double)b->grad[j], -(double)(y->size / b->size), "case %zu", i);
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(ops, equal_elements_share_the_gradient)
{
    ak_tensor *a = ak_require_grad(VECTOR(1, 2, 3)), *b = ak_require_grad(VECTOR(1, 3, 2));
    ak_tensor *y = ak_add(ak_maximum(a, b), ak_scale(ak_minimum(a, b), 10));
    EXPECT(y, AK_SHAPE(3), 0, 11, 23, 23);
    ak_backward(ak_sum(y));
    cr_expect_eq(a->grad[0], (ak_real)5.5);
    cr_expect_eq(b->grad[0], (ak_real)5.5);
    cr_expect_eq(a->grad[1], 10);
    cr_expect_eq(b->grad[1], 1);
}

Test(ops, an_operand_twice)
{
    ak_tensor *x = ak_require_grad(VECTOR(3, -2));
    ak_backward(ak_sum(ak_mul(x, x)));
    cr_expect_eq(x->grad[0], 6);
    cr_expect_eq(x->grad[1], -4);
    ak_step_end(ctx);

    ak_tensor *z = ak_require_grad(ak_from(ctx, AK_SHAPE(2, 1), (ak_real[]){ 3, -2 }));
    ak_backward(ak_sum(ak_matmul_nt(z, z)));            /* (z0 + z1)^2 */
    cr_expect_eq(z->grad[0], 2);
    cr_expect_eq(z->grad[1], 2);
}

/* ---- reductions ----------------------------------------------------------------------------- */

Test(ops, argmax_takes_the_first)
{
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3, 4),
                           (ak_real[]){ 1, 5, 5, 2, -1, -1, -3, -1, 0, 0, 0, 7 });
    const ak_index *last = ak_argmax(x, -1), *first = ak_argmax(x, 0);
    const int32_t want_last[] = { 1, 0, 3 }, want_first[] = { 0, 0, 0, 2 };
    cr_assert(ak_shape_equal(last->shape, AK_SHAPE(3)));
    cr_assert(ak_shape_equal(first->shape, AK_SHAPE(4)));
    cr_expect_arr_eq(last->data, want_last, sizeof want_last);
    cr_expect_arr_eq(first->data, want_first, sizeof want_first);
    x->data[2] = (ak_real)NAN;
    cr_expect_eq(ak_argmax(x, 1)->data[0], 2, "a NaN is the largest");
    cr_expect(isnan(ak_max_axis(x, 1)->data[0]));
}

Test(ops, argmax_of_large_tensors)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(500, 123));
    for (int64_t i = 0; i < 500; i++)
        x->data[i * 123 + i * 7 % 123] = 1;
    const ak_index *at = ak_argmax(x, 1);
    for (int64_t i = 0; i < 500; i++)
        cr_assert_eq(at->data[i], i * 7 % 123);
}

Test(ops, max_gradient_goes_to_the_first)
{
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2, 3), (ak_real[]){ 4, 4, 1, 0, 2, 2 }));
    ak_backward(ak_sum(ak_max_axis(x, 1)));
    const ak_real want[] = { 1, 0, 0, 0, 1, 0 };
    cr_expect_arr_eq(x->grad, want, sizeof want);
}

Test(ops, logsumexp_extremes)
{
    const double inf = (double)INFINITY, ln2 = 0.69314718055994531;
    for (int transposed = 0; transposed < 2; transposed++) {
        ak_tensor *x = ak_from_double(ctx, AK_SHAPE(7, 2),
            (double[]){ 1e4, 1e4, -1e4, -1e4, -inf, -inf, -inf, 3, inf, 0, 1e4, -1e4, inf, -inf });
        ak_tensor *y = transposed ? ak_logsumexp(ak_transpose(x), 0) : ak_logsumexp(x, 1);
        EXPECT(y, AK_SHAPE(7), 1e-3, 1e4 + ln2, -1e4 + ln2, -inf, 3, inf, 1e4, inf);
    }
    cr_expect_eq(ak_step_end(ctx), AK_OK);

    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(4, 2),
        (double[]){ 1e4, 1e4, -1e4, -1e4, -inf, -inf, -inf, 3 }));
    ak_backward_from(ak_logsumexp(x, 1), (const ak_real[]){ 1, 1, 1, 1 });  /* the sum is -inf */
    const double want[] = { .5, .5, .5, .5, 0, 0, 0, 1 };
    for (int i = 0; i < 8; i++)
        cr_expect(fabs((double)x->grad[i] - want[i]) < 1e-3, "%d: %g", i, (double)x->grad[i]);
}

Test(ops, logsumexp_of_no_elements)
{
    const double inf = (double)INFINITY;
    EXPECT(ak_logsumexp(ak_zeros(ctx, AK_SHAPE(2, 0)), 1), AK_SHAPE(2), 0, -inf, -inf);
    EXPECT(ak_sum_axis(ak_zeros(ctx, AK_SHAPE(2, 0)), 1), AK_SHAPE(2), 0, 0, 0);
    EXPECT(ak_logsumexp(ak_zeros(ctx, AK_SHAPE(0, 2)), 0), AK_SHAPE(2), 0, -inf, -inf);
    cr_expect_eq(ak_item(ak_sum(ak_zeros(ctx, AK_SHAPE(0, 2)))), 0);
}

Test(ops, sums_of_many_numbers_are_exact)
{
    const int64_t n = 3000000;
    ak_tensor *x = ak_full(ctx, AK_SHAPE(n), 0.1);
    const double tenth = (double)(ak_real)0.1;
    cr_expect(fabs(ak_item(ak_mean(x)) - tenth) < 1e-7 * tenth * 10, "%.9g", ak_item(ak_mean(x)));
    cr_expect(fabs(ak_item(ak_sum(x)) / ((double)n * tenth) - 1) < 1e-6);
    const ak_tensor *columns = ak_sum_axis(ak_reshape(x, AK_SHAPE(-1, 3)), 0);
    for (int i = 0; i < 3; i++)
        cr_expect(fabs((double)columns->data[i] / ((double)n / 3 * tenth) - 1) < 1e-4, "%.9g",
                  (double)columns->data[i]);
}

/* Axis reductions of tensors that are cut into chunks, against plain loops in double. */
Test(ops, axis_reductions_of_large_tensors)
{
    enum { A = 3, N = 700, C = 31 };
    const ak_tensor *x = ak_randn(ctx, AK_SHAPE(A, N, C));
    ak_tensor *in = ak_rows(ak_reshape(ak_scale(ak_add_scalar(ak_detach(
        ak_from(ctx, AK_SHAPE(A, N, C), x->data)), 0), 1), AK_SHAPE(A, N, C)), 0, A);
    const ak_tensor *sum = ak_sum_axis(in, 1), *var = ak_var_axis(in, 1, 1);
    const ak_tensor *lse = ak_logsumexp(in, 1), *max = ak_max_axis(in, 1);
    for (int64_t a = 0; a < A; a++)
        for (int64_t c = 0; c < C; c++) {
            double s = 0, q = 0, e = 0, m = -1e30;
            for (int64_t i = 0; i < N; i++) {
                const double v = (double)x->data[(a * N + i) * C + c];
                s += v;
                e += exp(v);
                m = fmax(m, v);
            }
            for (int64_t i = 0; i < N; i++) {
                const double d = (double)x->data[(a * N + i) * C + c] - s / N;
                q += d * d;
            }
            const int64_t at = a * C + c;
            cr_assert(fabs((double)sum->data[at] - s) < 1e-3);
            cr_assert(fabs((double)var->data[at] - q / (N - 1)) < 1e-4);
            cr_assert(fabs((double)lse->data[at] - log(e)) < 1e-5);
            cr_assert_eq((double)max->data[at], m);
        }
}

/* ---- elementwise extremes ------------------------------------------------------------------- */

Test(ops, softplus_extremes)
{
    ak_tensor *x = ak_require_grad(VECTOR((ak_real)-1e4, -50, 0, 50, (ak_real)1e4));
    ak_tensor *y = ak_softplus(x);
    EXPECT(y, AK_SHAPE(5), 1e-6, 0, exp(-50), 0.69314718055994531, 50, 1e4);
    cr_expect(y->data[1] > 0, "e^-50 is not lost");
    ak_backward(ak_sum(y));
    const double want[] = { 0, 0, .5, 1, 1 };
    for (int i = 0; i < 5; i++)
        cr_expect(fabs((double)x->grad[i] - want[i]) < 1e-6, "%d: %g", i, (double)x->grad[i]);
}

Test(ops, finite_gradients_at_singular_points)
{
    ak_tensor *x = ak_require_grad(VECTOR(0, 4));
    ak_backward(ak_sum(ak_sqrt(x)));
    cr_expect_eq(x->grad[0], 0);
    cr_expect_eq(x->grad[1], (ak_real)0.25);
    ak_step_end(ctx);

    /* The distance of equal points. */
    ak_tensor *a = ak_require_grad(VECTOR(1, 2, 3)), *b = ak_require_grad(VECTOR(1, 2, 3));
    ak_backward(ak_sqrt(ak_sum(ak_square(ak_sub(a, b)))));
    for (int i = 0; i < 3; i++)
        cr_expect(a->grad[i] == 0 && b->grad[i] == 0);
    ak_step_end(ctx);

    x = ak_require_grad(VECTOR(0, -1, 1));
    ak_backward(ak_sum(ak_add(ak_abs(x), ak_silu(x))));
    cr_expect_eq(x->grad[0], (ak_real)0.5);
}

Test(ops, activations_far_out)
{
    ak_tensor *x = VECTOR((ak_real)-1e4, (ak_real)1e4);
    EXPECT(ak_sigmoid(x), AK_SHAPE(2), 0, 0, 1);
    EXPECT(ak_tanh(x), AK_SHAPE(2), 0, -1, 1);
    EXPECT(ak_silu(x), AK_SHAPE(2), 0, 0, 1e4);
    EXPECT(ak_quick_gelu(x), AK_SHAPE(2), 0, 0, 1e4);
    EXPECT(ak_gelu(x), AK_SHAPE(2), 0, 0, 1e4);
    EXPECT(ak_gelu_tanh(x), AK_SHAPE(2), 0, 0, 1e4);
    EXPECT(ak_elu(x, 2), AK_SHAPE(2), 0, -2, 1e4);
    EXPECT(ak_hardswish(x), AK_SHAPE(2), 0, 0, 1e4);
    EXPECT(ak_erf(x), AK_SHAPE(2), 0, -1, 1);
}

Test(ops, nan_is_not_hidden)
{
    const double nan = (double)NAN;
    ak_tensor *x = VECTOR((ak_real)NAN);
    ak_tensor *(*const ops[])(ak_tensor *) = {
        ak_relu, ak_gelu, ak_gelu_tanh, ak_silu, ak_sigmoid, ak_tanh, ak_softplus, ak_erf, ak_exp,
        ak_log, ak_hardswish, ak_quick_gelu, ak_abs, ak_sqrt, ak_square, ak_sum, ak_mean,
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        cr_expect(isnan((double)ops[i](x)->data[0]), "op %zu", i);
    EXPECT(ak_clamp(x, -1, 1), AK_SHAPE(1), 0, nan);
    EXPECT(ak_maximum(x, VECTOR(1)), AK_SHAPE(1), 0, nan);
    EXPECT(ak_maximum(VECTOR(1), x), AK_SHAPE(1), 0, nan);
    EXPECT(ak_minimum(x, VECTOR(1)), AK_SHAPE(1), 0, nan);
    EXPECT(ak_minimum(VECTOR(1), x), AK_SHAPE(1), 0, nan);
    EXPECT(ak_logsumexp(ak_concat(0, VECTOR(1), x), 0), AK_SCALAR, 0, nan);
}

/* ---- layout --------------------------------------------------------------------------------- */

Test(ops, layout_values)
{
    ak_tensor *x = ak_reshape(ak_arange(ctx, 6), AK_SHAPE(2, 3));
    EXPECT(ak_transpose(x), AK_SHAPE(3, 2), 0, 0, 3, 1, 4, 2, 5);
    EXPECT(ak_concat(1, x, ak_slice(x, 1, 1, 1)), AK_SHAPE(2, 4), 0, 0, 1, 2, 1, 3, 4, 5, 4);
    EXPECT(ak_stack((ak_tensor *[]){ ak_rows(x, 1, 1), ak_rows(x, 0, 1) }, 2),
           AK_SHAPE(2, 1, 3), 0, 3, 4, 5, 0, 1, 2);
    ak_tensor *parts[3];
    cr_assert_eq(ak_split(x, 1, 3, parts), AK_OK);
    EXPECT(parts[2], AK_SHAPE(2, 1), 0, 2, 5);
    EXPECT(ak_triangle(x, true, 1, -7), AK_SHAPE(2, 3), 0, -7, 1, 2, -7, -7, 5);
    EXPECT(ak_triangle(x, false, 0, -7), AK_SHAPE(2, 3), 0, 0, -7, -7, 3, 4, -7);
    EXPECT(ak_cumsum(x, 1), AK_SHAPE(2, 3), 0, 0, 1, 3, 3, 7, 12);
    EXPECT(ak_cumsum(x, 0), AK_SHAPE(2, 3), 0, 0, 1, 2, 3, 5, 7);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 2, 0 });
    EXPECT(ak_one_hot(ids, 3), AK_SHAPE(2, 3), 0, 0, 0, 1, 1, 0, 0);
    EXPECT(ak_pick(x, ids), AK_SHAPE(2), 0, 2, 3);
    EXPECT(ak_scatter_add_rows(x, ids, 3), AK_SHAPE(3, 3), 0, 3, 4, 5, 0, 0, 0, 0, 1, 2);
    EXPECT(ak_where(VECTOR(1, 0, -1), VECTOR(1, 2, 3), VECTOR(4, 5, 6)), AK_SHAPE(3), 0, 1, 5, 3);
}

Test(ops, permute_follows_the_axes)
{
    enum { A = 13, B = 17, C = 29, D = 5 };
    ak_tensor *x = ak_reshape(ak_arange(ctx, A * B * C * D), AK_SHAPE(A, B, C, D));
    const ak_tensor *y = ak_permute(x, (int[]){ 2, 0, 3, 1 });
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(C, A, D, B)));
    for (int64_t c = 0, i = 0; c < C; c++)
        for (int64_t a = 0; a < A; a++)
            for (int64_t d = 0; d < D; d++)
                for (int64_t b = 0; b < B; b++, i++)
                    cr_assert_eq((double)y->data[i], (double)(((a * B + b) * C + c) * D + d));
}

Test(ops, masks_of_score_matrices)
{
    const double no = -(double)INFINITY;
    ak_tensor *s = ak_reshape(ak_arange(ctx, 16), AK_SHAPE(4, 4));
    EXPECT(ak_mask(s, AK_MASK_SELF | AK_MASK_PAIR), AK_SHAPE(4, 4), 0, no, 1, no, 3, 4, no, 6, no,
           no, 9, no, 11, 12, no, 14, no);
    EXPECT(ak_mask(s, AK_MASK_SELF), AK_SHAPE(4, 4), 0, no, 1, 2, 3, 4, no, 6, 7, 8, 9, no, 11,
           12, 13, 14, no);
    EXPECT(ak_pair_diagonal(s), AK_SHAPE(4), 0, 2, 7, 8, 13);
    EXPECT(ak_diagonal(s), AK_SHAPE(4), 0, 0, 5, 10, 15);
}

Test(ops, embedding_padding_gets_no_gradient)
{
    ak_tensor *w = ak_require_grad(ak_reshape(ak_arange(ctx, 8), AK_SHAPE(4, 2)));
    w = ak_require_grad(ak_from(ctx, AK_SHAPE(4, 2), w->data));
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(1, 4), (int32_t[]){ 3, 0, 3, 1 });
    ak_tensor *y = ak_embedding(w, ids, 0);
    EXPECT(y, AK_SHAPE(1, 4, 2), 0, 6, 7, 0, 1, 6, 7, 2, 3);
    ak_backward(ak_sum(y));
    const ak_real want[] = { 0, 0, 1, 1, 0, 0, 2, 2 };
    cr_expect_arr_eq(w->grad, want, sizeof want);
}

Test(ops, many_rows_are_scattered_in_order)
{
    enum { N = 5000, V = 37, D = 19 };
    static int32_t rows[N];
    static double want[V * D];
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(N, D));
    for (int i = 0; i < N; i++) {
        rows[i] = (int32_t)ak_random_below(5, 1, (uint64_t)i, V);
        for (int d = 0; d < D; d++)
            want[rows[i] * D + d] += (double)x->data[i * D + d];
    }
    const ak_tensor *y = ak_scatter_add_rows(x, ak_index_from(ctx, AK_SHAPE(N), rows), V);
    for (int i = 0; i < V * D; i++)
        cr_assert(fabs((double)y->data[i] - want[i]) < 1e-4);
}

/* ---- random --------------------------------------------------------------------------------- */

Test(ops, dropout_statistics)
{
    const int64_t n = 400000;
    ak_tensor *x = ak_require_grad(ak_full(ctx, AK_SHAPE(n), 3));
    ak_tensor *y = ak_dropout(x, 0.3);
    const ak_real kept = (ak_real)3 * (ak_real)(1 / 0.7);
    int64_t zeros = 0, both = 0;
    for (int64_t i = 0; i < n; i++) {
        cr_assert(y->data[i] == 0 || y->data[i] == kept);
        zeros += y->data[i] == 0;
        both += i > 0 && y->data[i] == 0 && y->data[i - 1] == 0;
    }
    const double sigma = sqrt(0.3 * 0.7 * (double)n);
    cr_expect(fabs((double)zeros - 0.3 * (double)n) < 5 * sigma, "%lld zeros", (long long)zeros);
    cr_expect(fabs((double)both - 0.09 * (double)n) < 8 * sigma, "%lld pairs", (long long)both);
    ak_real *dy = ak_full(ctx, AK_SHAPE(n), 1)->data;
    cr_assert_eq(ak_backward_from(y, dy), AK_OK);
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(x->grad[i] == 0, y->data[i] == 0, "backward uses the mask of forward");
}

Test(ops, dropout_streams)
{
    enum { N = 1000 };
    ak_real first[N], second[N];
    ak_tensor *x = ak_full(ctx, AK_SHAPE(N), 1);
    memcpy(first, ak_dropout(x, 0.5)->data, sizeof first);
    memcpy(second, ak_dropout(x, 0.5)->data, sizeof second);
    cr_expect_arr_neq(first, second, sizeof first, "two calls draw different masks");

    ak_ctx *again = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_tensor *x2 = ak_full(again, AK_SHAPE(N), 1);
    cr_expect_arr_eq(ak_dropout(x2, 0.5)->data, first, sizeof first, "the same seed and stream");
    cr_expect_arr_eq(ak_dropout(x2, 0.5)->data, second, sizeof first);
    ak_close(again);
    ak_ctx *other = ak_open((ak_options){ .seed = 2, .quiet = true });
    ak_tensor *x3 = ak_full(other, AK_SHAPE(N), 1);
    cr_expect_arr_neq(ak_dropout(x3, 0.5)->data, first, sizeof first, "another seed");
    ak_close(other);
}

Test(ops, random_ops_rest_in_evaluation_mode)
{
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(100));
    ak_train_mode(ctx, false);
    cr_expect_eq(ak_dropout(x, 0.5)->data, x->data);
    cr_expect_eq(ak_gaussian_noise(x, 0.5)->data, x->data);
    cr_expect(ak_is_poison(ak_dropout(x, 1.5)), "options are checked in evaluation mode too");
    ak_step_end(ctx);
}

Test(ops, gaussian_noise_statistics)
{
    const int64_t n = 100000;
    ak_tensor *y = ak_gaussian_noise(ak_full(ctx, AK_SHAPE(n), 5), 2);
    cr_expect(fabs(ak_item(ak_mean(y)) - 5) < 5 * 2 / sqrt((double)n));
    cr_expect(fabs(ak_item(ak_var_axis(y, 0, 1)) - 4) < 5 * 4 * sqrt(2 / (double)n));
}

/* ---- the same bits for any number of threads ------------------------------------------------ */

#ifdef _OPENMP
enum { ROWS = 3001, COLUMNS = 67, WIDE = 45 };

/* All families over tensors of many spans; appends results and gradients to out. */
static size_t run_everything(ak_real *out)
{
    ak_ctx *c = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(c, NULL, NULL);
    ak_tensor *x = ak_require_grad(ak_randn(c, AK_SHAPE(ROWS, COLUMNS)));
    ak_tensor *w = ak_require_grad(ak_randn(c, AK_SHAPE(WIDE, COLUMNS)));
    ak_tensor *b = ak_require_grad(ak_randn(c, AK_SHAPE(WIDE)));
    ak_tensor *row = ak_require_grad(ak_randn(c, AK_SHAPE(COLUMNS)));
    ak_tensor *column = ak_require_grad(ak_randn(c, AK_SHAPE(ROWS, 1)));
    static int32_t ids[ROWS];
    for (int i = 0; i < ROWS; i++)
        ids[i] = (int32_t)ak_random_below(1, 2, (uint64_t)i, 53);
    ak_index *rows = ak_index_from(c, AK_SHAPE(ROWS), ids);

    ak_tensor *h = ak_gelu(ak_mul(ak_add(ak_dropout(x, 0.2), row), column));
    ak_tensor *y = ak_linear_relu(h, w, b);                                 /* [ROWS, WIDE] */
    ak_tensor *parts[] = {
        ak_logsumexp(y, 1), ak_logsumexp(y, 0), ak_sum_axis(y, 0), ak_var_axis(h, 0, 1),
        ak_mean_axis(ak_transpose(h), 1), ak_max_axis(y, 1),
        ak_flatten(ak_gather_rows(ak_scatter_add_rows(y, rows, 53), rows)),
        ak_sum_axis(ak_cumsum(y, 0), 1), ak_sum(ak_matmul_tn(y, h)),
        ak_sum(ak_silu(ak_permute(ak_reshape(h, AK_SHAPE(ROWS, 1, COLUMNS)), (int[]){ 2, 0, 1 }))),
    };
    ak_tensor *loss = ak_scale(ak_sum(h), 0);
    ak_real *at = out;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(at, parts[i]->data, (size_t)parts[i]->size * sizeof *at);
        at += parts[i]->size;
        loss = ak_add(loss, ak_mean(ak_square(parts[i])));
    }
    cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(c));
    ak_tensor *const leaves[] = { x, w, b, row, column };
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        memcpy(at, leaves[i]->grad, (size_t)leaves[i]->size * sizeof *at);
        at += leaves[i]->size;
    }
    *at++ = (ak_real)ak_item(loss);
    ak_close(c);
    return (size_t)(at - out);
}

Test(ops, same_bits_for_any_number_of_threads)
{
    static ak_real one[1000000], many[1000000];
    omp_set_num_threads(1);
    const size_t n = run_everything(one);
    cr_assert(n < sizeof one / sizeof *one);
    cr_assert(isfinite((double)one[n - 1]) && one[n - 1] != 0);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        cr_assert_eq(run_everything(many), n);
        size_t first = 0;
        while (first < n && memcmp(&one[first], &many[first], sizeof *one) == 0)
            first++;
        cr_expect_eq(first, n, "%d threads: number %zu of %zu differs: %.9g, %.9g", threads, first,
                     n, (double)one[first % n], (double)many[first % n]);
    }
}
#endif
