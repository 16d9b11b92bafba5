/* SPDX-License-Identifier: Apache-2.0 */
/* Mixtures of a batch: formulas, the shares' distribution, labels, gradients, what is refused. */
#include "data_files.h"

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>
#include <akin/picture.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

static bool is_permutation(const ak_index *p, int64_t n)
{
    bool seen[64] = { false };
    for (int64_t i = 0; i < n; i++) {
        if (p->data[i] < 0 || p->data[i] >= n || seen[p->data[i]])
            return false;
        seen[p->data[i]] = true;
    }
    return p->size == n;
}

/* Labels and targets of a mixture of rows with these labels. */
static void expect_labels(const ak_mixed *m, const int32_t *labels, int64_t N, int64_t classes)
{
    cr_assert(is_permutation(m->partner, N));
    cr_assert(ak_shape_equal(m->target->shape, AK_SHAPE(N, classes)));
    for (int64_t i = 0; i < N; i++) {
        cr_expect_eq(m->label->data[i], labels[i]);
        cr_expect_eq(m->other->data[i], labels[m->partner->data[i]]);
        for (int64_t c = 0; c < classes; c++) {
            const double want = (c == labels[i] ? m->share : 0) +
                                (c == labels[m->partner->data[i]] ? 1 - m->share : 0);
            cr_expect_float_eq((double)m->target->data[i * classes + c], want, TOL);
        }
    }
}

static const int32_t some_labels[8] = { 0, 1, 2, 0, 1, 2, 3, 3 };

Test(mix, mixup_is_the_formula)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(8, 3, 5, 2));
    ak_index  *labels = ak_index_from(ctx, AK_SHAPE(8), some_labels);
    for (int t = 0; t < 20; t++) {
        const ak_mixed m = ak_mixup(x, labels, (ak_mix_options){ .classes = 4, .alpha = 0.4 });
        cr_assert_not(ak_is_poison(m.x), "%s", ak_error_message(ctx));
        cr_assert(m.share > 0 && m.share <= 1);
        expect_labels(&m, some_labels, 8, 4);
        for (int64_t i = 0; i < 8; i++)
            for (int64_t k = 0; k < 30; k++) {
                const double own = (double)x->data[i * 30 + k];
                const double other = (double)x->data[m.partner->data[i] * 30 + k];
                cr_assert_float_eq((double)m.x->data[i * 30 + k],
                                   m.share * own + (1 - m.share) * other, 10 * TOL);
            }
    }
    ak_close(ctx);
}

/* Each number is the row's or its partner's; what is the partner's is a box, the same in all rows,
 * and the share is what the box leaves. */
Test(mix, cutmix_is_a_box)
{
    enum { N = 8, H = 11, W = 7, C = 3 };
    ak_ctx    *ctx = quiet();
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(N, H, W, C));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)(i / (H * W * C));
    ak_index *labels = ak_index_from(ctx, AK_SHAPE(N), some_labels);
    int       boxes = 0;
    for (int t = 0; t < 50; t++) {
        const ak_mixed m = ak_cutmix(x, labels, (ak_mix_options){ .classes = 4 });
        cr_assert_not(ak_is_poison(m.x), "%s", ak_error_message(ctx));
        expect_labels(&m, some_labels, N, 4);
        int64_t row = 0;
        while (row < N && m.partner->data[row] == row)
            row++;
        int64_t top = H, bottom = 0, left = W, right = 0, inside = 0;
        for (int64_t y = 0; y < H; y++)
            for (int64_t k = 0; k < W; k++)
                if (m.x->data[((row * H + y) * W + k) * C] != (ak_real)row) {
                    top = y < top ? y : top;
                    bottom = y + 1;
                    left = k < left ? k : left;
                    right = k + 1 > right ? k + 1 : right;
                    inside++;
                }
        cr_assert(!inside || inside == (bottom - top) * (right - left));
        cr_assert_float_eq(m.share, 1 - (double)inside / (H * W), 1e-12);
        boxes += inside > 0;
        for (int64_t i = 0; i < m.x->size; i++) {
            const int64_t r = i / (H * W * C), y = i / (W * C) % H, k = i / C % W;
            const bool    cut = y >= top && y < bottom && k >= left && k < right;
            cr_assert_eq(m.x->data[i], (ak_real)(cut ? m.partner->data[r] : r));
        }
    }
    cr_expect_gt(boxes, 30);
    ak_close(ctx);
}

/* The share is Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)); uniform by default. */
Test(mix, shares_are_beta)
{
    const double alphas[] = { 0, 0.2, 1, 5 };
    enum { DRAWS = 10000 };
    for (int k = 0; k < 4; k++) {
        ak_ctx    *ctx = quiet();
        ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 1));
        const double a = alphas[k] > 0 ? alphas[k] : 1;
        double       sum = 0, squares = 0;
        int          below = 0;
        for (int t = 0; t < DRAWS; t++) {
            const ak_mark  mark = ak_mark_step(ctx);
            const ak_mixed m = ak_mixup(x, NULL, (ak_mix_options){ .alpha = alphas[k] });
            cr_assert(m.share >= 0 && m.share <= 1 && !m.label && !m.other && !m.target);
            sum += m.share / DRAWS;
            squares += (m.share - 0.5) * (m.share - 0.5) / DRAWS;
            below += m.share < 0.25;
            ak_release(ctx, mark);
        }
        const double variance = 1 / (4 * (2 * a + 1));
        cr_expect_float_eq(sum, 0.5, 4 * sqrt(variance / DRAWS), "alpha %g: mean %g", a, sum);
        cr_expect_float_eq(squares, variance, 0.03 * variance, "alpha %g: %g", a, squares);
        if (a == 1)
            cr_expect_float_eq(below / (double)DRAWS, 0.25, 0.018);
        ak_close(ctx);
    }
}

Test(mix, share_one_is_the_batch_itself)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 3, 3, 1));
    for (int cut = 0; cut < 2; cut++) {
        const ak_mix_options o = { .share = 1 };
        const ak_mixed m = cut ? ak_cutmix(x, NULL, o) : ak_mixup(x, NULL, o);
        cr_assert_eq(m.share, 1.0);
        cr_expect_eq(memcmp(m.x->data, x->data, (size_t)x->size * sizeof *x->data), 0);
    }
    /* A batch of one is its own partner. */
    ak_tensor     *one = ak_randn(ctx, AK_SHAPE(1, 3, 3, 1));
    const ak_mixed m = ak_cutmix(one, NULL, (ak_mix_options){ .share = 0.5 });
    cr_expect_eq(memcmp(m.x->data, one->data, 9 * sizeof *one->data), 0);
    ak_close(ctx);
}

/* Numbers of the next call differ; those of the same seed do not. */
Test(mix, draws_follow_the_seed)
{
    double shares[2][3];
    for (int run = 0; run < 2; run++) {
        ak_ctx    *ctx = quiet();
        ak_tensor *x = ak_zeros(ctx, AK_SHAPE(5, 2));
        for (int t = 0; t < 3; t++)
            shares[run][t] = ak_mixup(x, NULL, (ak_mix_options){ 0 }).share;
        ak_close(ctx);
    }
    cr_expect_eq(memcmp(shares[0], shares[1], sizeof shares[0]), 0);
    cr_expect(shares[0][0] != shares[0][1] && shares[0][1] != shares[0][2]);
}

/* d sum(w y) / dx: share w to the row, 1 - share of its partners' w. */
Test(mix, gradients_reach_both_rows)
{
    for (int cut = 0; cut < 2; cut++) {
        ak_ctx    *ctx = quiet();
        ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(4, 2, 2, 1)));
        ak_tensor *w = ak_randn(ctx, AK_SHAPE(4, 2, 2, 1));
        const ak_mix_options o = { .share = 0.3 };
        const ak_mixed m = cut ? ak_cutmix(x, NULL, o) : ak_mixup(x, NULL, o);
        cr_assert_eq(ak_backward(ak_sum(ak_mul(m.x, w))), AK_OK, "%s", ak_error_message(ctx));
        for (int64_t k = 0; k < 4; k++) {
            double want[4] = { 0 };
            for (int64_t i = 0; i < 4; i++) {
                const int64_t partner = m.partner->data[i];
                double        own = m.share;
                if (cut)
                    own = m.x->data[i * 4 + k] == x->data[i * 4 + k];
                want[i] += own * (double)w->data[i * 4 + k];
                want[partner] += (1 - own) * (double)w->data[i * 4 + k];
            }
            for (int64_t i = 0; i < 4; i++)
                cr_expect_float_eq((double)x->grad[i * 4 + k], want[i], 10 * TOL);
        }
        ak_close(ctx);
    }
}

/* A refused call ends the step, so that each has its own. */
static void refused(ak_ctx *ctx, bool cut, ak_mix_options o, const int32_t *labels, int64_t n,
                    ak_status status, const char *word, const char *other)
{
    ak_tensor     *x = ak_zeros(ctx, AK_SHAPE(4, 2, 2, 1));
    ak_index      *index = labels ? ak_index_from(ctx, AK_SHAPE(n), labels) : NULL;
    const ak_mixed m = cut ? ak_cutmix(x, index, o) : ak_mixup(x, index, o);
    cr_expect(ak_is_poison(m.x) && ak_is_poison(m.target));
    expect_error(ctx, status, word, other);
}

Test(mix, what_is_refused)
{
    static const int32_t labels[] = { 0, 1, 2, -1 };
    ak_ctx *ctx = quiet();
    const ak_mix_options bad[] = { { .alpha = -1 }, { .alpha = 1001 }, { .alpha = (double)NAN },
        { .share = 1.5 }, { .share = -0.1 }, { .classes = -1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *word = bad[i].classes ? ".classes" : ".alpha";
        refused(ctx, false, bad[i], NULL, 0, AK_ERR_VALUE, "mixup", word);
        refused(ctx, true, bad[i], NULL, 0, AK_ERR_VALUE, "cutmix", word);
    }
    const ak_mix_options three = { .classes = 3 }, two = { .classes = 2 }, none = { 0 };
    refused(ctx, false, three, NULL, 0, AK_ERR_VALUE, "mixup", "need labels");
    refused(ctx, true, three, labels, 4, AK_ERR_VALUE, "label -1 of row 3", "3 classes");
    refused(ctx, false, two, labels, 4, AK_ERR_VALUE, "label 2 of row 2", "2 classes");
    refused(ctx, false, none, labels, 3, AK_ERR_SHAPE, "mixup", "[3]");
    cr_expect(ak_is_poison(ak_cutmix(ak_zeros(ctx, AK_SHAPE(4, 2)), NULL, none).x));
    expect_error(ctx, AK_ERR_SHAPE, "cutmix", "[4,2]");
    ak_close(ctx);
}
