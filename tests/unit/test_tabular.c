/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder of tables: standardised numbers, missing ones, categories that are unknown. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/sequence.h>

#include <math.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *part)
{
    cr_expect_eq(ak_error(ctx), status, "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), part), "\"%s\" is not in: %s", part,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* A network that is one linear layer with the identity as weight shows what it is handed. */
static ak_module *shown(ak_ctx *ctx, ak_tabular_options o, int width)
{
    const int hidden[] = { width, 0 };
    o.hidden = hidden;
    ak_module *m = ak_tabular(ctx, "t", o);
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    ak_tensor *w = ak_module_find(m, "mlp/fc1/weight");
    cr_assert(w && ak_shape_equal(w->shape, AK_SHAPE(width, width)));
    for (int i = 0; i < width * width; i++)
        w->data[i] = i % (width + 1) == 0;
    ak_fill(ak_module_find(m, "mlp/fc1/bias"), 0);
    return m;
}

static const ak_real gone = (ak_real)NAN;

Test(tabular, numbers_are_standardised)
{
    ak_ctx *ctx = quiet();
    ak_module *m = shown(ctx, (ak_tabular_options){ .numbers = 3 }, 3);
    const double rows[] = { 1, 5, 10, 3, 5, 1e6, 5, 5, -1e6, 7, 5, 10 };
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(4, 3), rows);
    const ak_tensor *y = ak_forward(m, x);
    cr_expect_eq(memcmp(y->data, x->data, 12 * sizeof *x->data), 0, "before ak_tabular_fit");
    cr_assert_eq(ak_tabular_fit(m, x), AK_OK, "%s", ak_error_message(ctx));
    y = ak_forward(m, x);
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    for (int i = 0; i < 4; i++) {
        cr_expect_float_eq((double)y->data[3 * i], (rows[3 * i] - 4) / sqrt(5.0), 4 * TOL);
        cr_expect_eq(y->data[3 * i + 1], 0, "a column of equal numbers");
    }
    cr_expect_eq(ak_module_find(m, "std")->data[1], 1);
    ak_close(ctx);
}

/* Missing numbers do not count in mean and deviation, become the mean, and are told apart. */
Test(tabular, missing_numbers)
{
    const double nan = (double)NAN, rows[] = { 1, nan, 3, 8, nan, 10 };
    for (int how = AK_MISSING_FLAG; how <= AK_MISSING_EMBEDDING; how++) {
        const bool flag = how == AK_MISSING_FLAG;
        ak_ctx *ctx = quiet();
        const int width = flag ? 4 : 2;
        ak_module *m = shown(ctx, (ak_tabular_options){ .numbers = 2, .missing = (ak_missing)how },
                             width);
        ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(3, 2), rows));
        cr_assert_eq(ak_tabular_fit(m, x), AK_OK, "%s", ak_error_message(ctx));
        ak_tensor *missing = ak_module_find(m, "missing");
        if (!flag)
            ak_fill(missing, 0.25);
        ak_tensor *y = ak_forward(m, x);
        const double want[] = { -1, flag ? 0 : 0.25, 1, -1, flag ? 0 : 0.25, 1 };
        for (int i = 0; i < 3; i++)
            for (int c = 0; c < 2; c++) {
                const ak_real *row = y->data + (int64_t)i * width;
                cr_expect_float_eq((double)row[c], want[2 * i + c], 4 * TOL);
                if (flag)
                    cr_expect_eq(row[2 + c], isnan(rows[2 * i + c]) ? 1 : 0);
            }
        cr_assert_eq(ak_backward(ak_sum(y)), AK_OK, "%s", ak_error_message(ctx));
        for (int i = 0; i < 6; i++)
            cr_expect_float_eq((double)x->grad[i], isnan(rows[i]) ? 0 : 1, 4 * TOL, "%d", i);
        if (!flag)
            for (int c = 0; c < 2; c++)
                cr_expect_eq(missing->grad[c], 1, "each column has one that is missing");
        ak_close(ctx);
    }
}

Test(tabular, categories)
{
    ak_ctx *ctx = quiet();
    const ak_tabular_options o = { .numbers = 1, .categories = { 3, 2 }, .width = { 2, 0 } };
    ak_module *m = shown(ctx, o, 4);
    ak_tensor *first = ak_module_find(m, "category0/weight");
    ak_tensor *second = ak_module_find(m, "category1/weight");
    cr_assert(ak_shape_equal(first->shape, AK_SHAPE(4, 2)));
    cr_assert(ak_shape_equal(second->shape, AK_SHAPE(3, 1)));
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(2, 1), (double[]){ 0.5, -2 });
    ak_tensor *y = ak_forward_with(m, (ak_inputs){
        .x = x, .ids = ak_index_from(ctx, AK_SHAPE(2, 2), (int32_t[]){ 2, -1, -1, 1 }) });
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    const ak_real want[] = { (ak_real)0.5, first->data[4], first->data[5], 0,
                             -2, 0, 0, second->data[1] };
    for (int i = 0; i < 8; i++)
        cr_expect_eq(y->data[i], want[i], "%d", i);
    cr_assert_eq(ak_backward(ak_sum(y)), AK_OK);
    cr_expect_eq(first->grad[6], 1, "what is unknown learns as well");
    cr_expect_eq(first->grad[0], 0);
    ak_close(ctx);
}

Test(tabular, categories_alone)
{
    ak_ctx *ctx = quiet();
    ak_module *m = shown(ctx, (ak_tabular_options){ .categories = { 4 } }, 2);
    const ak_tensor *w = ak_module_find(m, "category0/weight");
    const ak_tensor *y = ak_forward_with(m, (ak_inputs){
        .ids = ak_index_from(ctx, AK_SHAPE(1, 1), (int32_t[]){ 3 }) });
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    cr_expect_eq(y->data[1], w->data[7]);
    cr_expect_null(ak_module_find(m, "mean"));
    ak_tabular_fit(m, ak_zeros(ctx, AK_SHAPE(1, 1)));
    expect_error(ctx, AK_ERR_VALUE, "is no ak_tabular with numbers");
    ak_close(ctx);
}

Test(tabular, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_tabular(ctx, "t", (ak_tabular_options){
        .numbers = 2, .categories = { 3 }, .hidden = (int[]){ 4, 0 } });
    cr_assert_not_null(m);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 2));
    x->data[3] = gone;
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2, 1), (int32_t[]){ 0, 2 });
    ak_forward_with(m, (ak_inputs){ .x = x, .ids = ids });
    expect_error(ctx, AK_ERR_NUMBER, "x[1,1] is missing (NaN)\n    hint: .missing");
    x = ak_zeros(ctx, AK_SHAPE(2, 2));
    x->data[0] = (ak_real)INFINITY;
    ak_tabular_fit(m, x);
    expect_error(ctx, AK_ERR_NUMBER, "x[0,0] is infinite");
    ak_forward_with(m, (ak_inputs){
        .x = ak_zeros(ctx, AK_SHAPE(2, 2)),
        .ids = ak_index_from(ctx, AK_SHAPE(2, 1), (int32_t[]){ 0, 3 }) });
    expect_error(ctx, AK_ERR_VALUE, "ids[1,0] = 3 is no category of [0, 3), nor -1");
    ak_forward_with(m, (ak_inputs){
        .x = ak_zeros(ctx, AK_SHAPE(3, 2)),
        .ids = ak_index_from(ctx, AK_SHAPE(2, 1), (int32_t[]){ 0, 0 }) });
    expect_error(ctx, AK_ERR_SHAPE, ".ids must be [N, 1], a row for each of .x; got [2,1]");
    ak_forward(m, ak_zeros(ctx, AK_SHAPE(2, 2)));
    expect_error(ctx, AK_ERR_VALUE, ".ids");
    const ak_real before = ak_module_find(m, "mean")->data[0];
    x = ak_full(ctx, AK_SHAPE(2, 2), 3);
    x->data[1] = x->data[3] = gone;
    ak_tabular_fit(m, x);
    expect_error(ctx, AK_ERR_VALUE, "column 1 has no number in 2 rows");
    cr_expect_eq(ak_module_find(m, "mean")->data[0], before, "nothing has changed");
    const ak_tabular_options bad[] = {
        { .numbers = 2 }, { .hidden = (int[]){ 4, 0 } },
        { .numbers = -1, .hidden = (int[]){ 4, 0 } },
        { .numbers = 1, .missing = 3, .hidden = (int[]){ 4, 0 } },
        { .categories = { 3 }, .missing = AK_MISSING_FLAG, .hidden = (int[]){ 4, 0 } },
        { .categories = { 3 }, .width = { -1 }, .hidden = (int[]){ 4, 0 } } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_tabular(ctx, "bad", bad[i]), "%d", (int)i);
        expect_error(ctx, AK_ERR_VALUE, "bad: .");
    }
    ak_close(ctx);
}
