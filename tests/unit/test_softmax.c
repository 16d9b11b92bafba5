/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax and the losses on rows: extreme logits, ignored and wrong labels, smoothing, cancelling
 * distances. */
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

Test(softmax, extreme_logits)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(3, 3), (double[]){ 1e4, -1e4, 1e4, -1e4, -1e4,
                                                                   -1e4, 0, 1e4, 0 });
    const double want[] = { 0.5, 0, 0.5, 1. / 3, 1. / 3, 1. / 3, 0, 1, 0 };
    ak_tensor *y = ak_softmax(x), *l = ak_log_softmax(x);
    for (int i = 0; i < 9; i++)
        cr_expect_float_eq((double)y->data[i], want[i], 1e-6);
    cr_expect_float_eq((double)l->data[1], -20000 - log(2), 1e-2);
    cr_expect_float_eq((double)l->data[3], -log(3), 1e-3);
    cr_expect_eq((double)l->data[7], 0.0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(softmax, masked_entries_and_rows)
{
    ak_ctx *ctx = quiet();
    const double none = -(double)INFINITY;
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(2, 3),
                                                  (double[]){ 1, none, 1, none, none, none }));
    ak_tensor *y = ak_softmax(x);
    const double want[] = { 0.5, 0, 0.5, 0, 0, 0 };
    for (int i = 0; i < 6; i++)
        cr_expect_float_eq((double)y->data[i], want[i], 1e-6);
    ak_tensor *l = ak_log_softmax(x);
    for (int i = 3; i < 6; i++)
        cr_expect_eq((double)l->data[i], none);
    ak_backward(ak_sum(ak_square(y)));
    for (int i = 0; i < 6; i++)
        cr_expect(isfinite((double)x->grad[i]));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

static ak_tensor *entropy(ak_tensor *x, const int32_t *labels, ak_cross_entropy_options o)
{
    return ak_cross_entropy(x, ak_index_from(x->ctx, AK_SHAPE(x->shape.dims[0]), labels), o);
}

Test(cross_entropy, ignored_rows_do_not_count)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(3, 2),
                                                  (double[]){ 0, 0, 5, -5, 1, 3 }));
    ak_tensor *l = entropy(x, (int32_t[]){ 1, -100, 0 }, (ak_cross_entropy_options){ 0 });
    cr_expect_float_eq(ak_item(l), (log(2) + log(1 + exp(2))) / 2, 1e-6);
    ak_backward(l);
    cr_expect_eq((double)x->grad[2], 0.0);
    cr_expect_eq((double)x->grad[3], 0.0);
    cr_expect_float_eq((double)x->grad[0], 0.25, 1e-6);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    /* none counts: 0 and no gradient */
    x = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 4)));
    l = entropy(x, (int32_t[]){ 7, 7 }, (ak_cross_entropy_options){ .ignore_index = 7 });
    cr_expect_eq(ak_item(l), 0.0);
    ak_backward(l);
    for (int i = 0; i < 8; i++)
        cr_expect_eq((double)x->grad[i], 0.0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cross_entropy, extreme_logits_stay_finite)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(2, 2),
                                                  (double[]){ 1e4, -1e4, -1e4, 1e4 }));
    ak_tensor *l = entropy(x, (int32_t[]){ 1, 1 }, (ak_cross_entropy_options){ 0 });
    cr_expect_float_eq(ak_item(l), 1e4, 1e-2);
    ak_backward(l);
    const double want[] = { 0.5, -0.5, 0, 0 };
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)x->grad[i], want[i], 1e-6);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cross_entropy, smoothing_is_a_mixture_with_the_uniform_target)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 4));
    const double s = 0.2;
    ak_tensor *l = entropy(x, (int32_t[]){ 3, 0 },
                           (ak_cross_entropy_options){ .label_smoothing = s });
    ak_tensor *t = ak_full(ctx, AK_SHAPE(2, 4), s / 4);
    t->data[3] += (ak_real)(1 - s);
    t->data[4] += (ak_real)(1 - s);
    cr_expect_float_eq(ak_item(l), ak_item(ak_cross_entropy_soft(x, t)), 1e-6);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* p of the true class is 1/2, 1/4, 3/4 in three rows of two classes. */
static ak_tensor *three_rows(ak_ctx *ctx)
{
    return ak_require_grad(ak_from_double(ctx, AK_SHAPE(3, 2),
                                          (double[]){ 0, 0, 0, log(3), log(3), 0 }));
}

Test(cross_entropy, reductions)
{
    ak_ctx *ctx = quiet();
    const int32_t labels[] = { 1, 0, 0 };
    ak_tensor *x = three_rows(ctx);
    ak_tensor *each = entropy(x, labels, (ak_cross_entropy_options){
        .reduction = AK_REDUCE_NONE });
    cr_assert(ak_shape_equal(each->shape, AK_SHAPE(3)));
    cr_expect_float_eq((double)each->data[0], log(2), 1e-6);
    cr_expect_float_eq((double)each->data[1], log(4), 1e-6);
    cr_expect_float_eq((double)each->data[2], log(4. / 3), 1e-6);
    ak_backward_from(each, (ak_real[]){ 1, 2, 0 });
    cr_expect_float_eq((double)x->grad[1], -0.5, 1e-6);
    cr_expect_float_eq((double)x->grad[2], -1.5, 1e-6);
    cr_expect_eq((double)x->grad[4], 0.0);
    ak_tensor *sum = entropy(x, labels, (ak_cross_entropy_options){ .reduction = AK_REDUCE_SUM });
    cr_expect_float_eq(ak_item(sum), log(2) + log(4) + log(4. / 3), 1e-6);
    const int32_t none[] = { -1, -1, -100 };
    for (int i = 0; i < 3; i++) {
        ak_tensor *l = entropy(x, none, (ak_cross_entropy_options){
            .reduction = (ak_reduction)i });
        for (int64_t j = 0; j < l->size; j++)
            cr_expect_eq((double)l->data[j], 0.0);
    }
    entropy(x, labels, (ak_cross_entropy_options){ .reduction = (ak_reduction)7 });
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(cross_entropy, class_weights)
{
    ak_ctx *ctx = quiet();
    const int32_t labels[] = { 1, 0, -1 };
    ak_tensor *x = three_rows(ctx), *w = ak_from_double(ctx, AK_SHAPE(2), (double[]){ 3, 1 });
    ak_cross_entropy_options o = { .class_weights = w };
    ak_tensor *l = entropy(x, labels, o);
    cr_expect_float_eq(ak_item(l), (log(2) + 3 * log(4)) / 4, 1e-6, "the weights' mean");
    ak_backward(l);
    cr_expect_float_eq((double)x->grad[0], 0.5 / 4, 1e-6);
    cr_expect_float_eq((double)x->grad[2], -3 * 0.75 / 4, 1e-6);
    o.label_smoothing = 0.5;        /* half of it the mean over classes of w (-log p) */
    o.reduction = AK_REDUCE_SUM;
    const double a = (3 * log(2) + log(2)) / 2, b = (3 * log(4) + log(4. / 3)) / 2;
    cr_expect_float_eq(ak_item(entropy(x, labels, o)),
                       (log(2) + 3 * log(4)) / 2 + (a + b) / 2, 1e-5);
    o = (ak_cross_entropy_options){ .class_weights = ak_zeros(ctx, AK_SHAPE(2)) };
    cr_expect_eq(ak_item(entropy(x, labels, o)), 0, "nothing counts");
    o.class_weights = ak_from_double(ctx, AK_SHAPE(2), (double[]){ 1, -1 });
    entropy(x, labels, o);
    cr_expect(strstr(ak_error_message(ctx), "class_weights[1] = -1") != NULL, "%s",
              ak_error_message(ctx));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    x = three_rows(ctx);
    o.class_weights = ak_require_grad(ak_full(ctx, AK_SHAPE(2), 1));
    entropy(x, labels, o);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE, "a gradient that would be lost");
    ak_close(ctx);
}

/* One-hot targets are class numbers. */
Test(cross_entropy, soft_targets_reduce_and_weigh_alike)
{
    ak_ctx *ctx = quiet();
    const int32_t labels[] = { 1, 0, 0 };
    ak_tensor *w = ak_from_double(ctx, AK_SHAPE(2), (double[]){ 3, 0.5 });
    ak_tensor *t = ak_one_hot(ak_index_from(ctx, AK_SHAPE(3), labels), 2);
    for (int i = 0; i < 4; i++) {
        const ak_reduction how = i & 1 ? AK_REDUCE_SUM : AK_REDUCE_NONE;
        ak_tensor *x = three_rows(ctx), *z = three_rows(ctx), *weights = i & 2 ? w : NULL;
        ak_tensor *a = entropy(x, labels, (ak_cross_entropy_options){
            .reduction = how, .class_weights = weights });
        ak_tensor *b = ak_cross_entropy_soft_with(z, t, (ak_soft_options){
            .reduction = how, .class_weights = weights });
        cr_assert(ak_shape_equal(a->shape, b->shape), "%s", ak_error_message(ctx));
        const ak_real dy[] = { 1, 2, 3 };
        ak_backward_from(a, dy);
        ak_backward_from(b, dy);
        for (int64_t j = 0; j < a->size; j++)
            cr_expect_float_eq((double)a->data[j], (double)b->data[j], 1e-6);
        for (int64_t j = 0; j < x->size; j++)
            cr_expect_float_eq((double)x->grad[j], (double)z->grad[j], 1e-6);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cross_entropy, wrong_label_is_named)
{
    ak_ctx *ctx = quiet();
    ak_tensor *l = entropy(ak_randn(ctx, AK_SHAPE(3, 5)), (int32_t[]){ 0, 4, 5 },
                           (ak_cross_entropy_options){ 0 });
    cr_expect(ak_is_poison(l));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), "target 5 in row 2"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    entropy(ak_randn(ctx, AK_SHAPE(2, 5)), (int32_t[]){ -2, 0 }, (ak_cross_entropy_options){ 0 });
    cr_expect(strstr(ak_error_message(ctx), "target -2 in row 0"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    ak_close(ctx);
}

Test(losses, extremes)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(2), (double[]){ 1e4, -1e4 }));
    ak_tensor *t = ak_from_double(ctx, AK_SHAPE(2), (double[]){ 1, 0 });
    ak_tensor *l = ak_bce_logits(x, t);
    cr_expect_eq(ak_item(l), 0.0);
    ak_backward(l);
    cr_expect_eq((double)x->grad[0], 0.0);
    cr_expect_eq((double)x->grad[1], 0.0);
    cr_expect_float_eq(ak_item(ak_bce_logits(x, ak_full(ctx, AK_SHAPE(2), 0.5))), 5000, 1e-2);
    /* a target of 0 adds nothing, whatever the logit */
    ak_tensor *logits = ak_from_double(ctx, AK_SHAPE(1, 2), (double[]){ 0, -(double)INFINITY });
    ak_tensor *p = ak_from_double(ctx, AK_SHAPE(1, 2), (double[]){ 1, 0 });
    cr_expect_float_eq(ak_item(ak_kl_div_logits(logits, p)), 0, 1e-6);
    cr_expect_float_eq(ak_item(ak_cross_entropy_soft(logits, p)), 0, 1e-6);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(losses, smooth_l1_without_a_knee_is_l1)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 4)), *t = ak_randn(ctx, AK_SHAPE(3, 4));
    cr_expect_eq(ak_item(ak_smooth_l1(x, t, 0)), ak_item(ak_l1(x, t)));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cosine_similarity, of_a_zero_row_is_zero)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 3)));
    ak_tensor *b = ak_randn(ctx, AK_SHAPE(2, 3));
    ak_tensor *y = ak_cosine_similarity(a, b);
    cr_expect_eq((double)y->data[0], 0.0);
    ak_backward(ak_sum(y));
    for (int i = 0; i < 6; i++)
        cr_expect(isfinite((double)a->grad[i]));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Points far from the origin and close together: |a|^2 + |b|^2 - 2ab alone would be noise. */
Test(pairwise_sqdist, does_not_cancel)
{
    ak_ctx *ctx = quiet();
    const int D = 16;
    ak_tensor *a = ak_add_scalar(ak_randn(ctx, AK_SHAPE(5, 16)), 300);
    ak_tensor *b = ak_concat(0, a, ak_randn(ctx, AK_SHAPE(4, 16)));
    ak_tensor *y = ak_pairwise_sqdist(a, b);
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 9; j++) {
            double want = 0;
            for (int d = 0; d < D; d++) {
                const double t = (double)a->data[i * D + d] - (double)b->data[j * D + d];
                want += t * t;
            }
            cr_expect_float_eq((double)y->data[i * 9 + j], want, 1e-4 * want + 1e-12);
        }
        cr_expect_eq((double)y->data[i * 9 + i], 0.0);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}
