/* SPDX-License-Identifier: Apache-2.0 */
/* Labels everywhere: -1 is unknown and never a class, numbers below are refused by item and value,
 * and numbers far apart cost by the items. Compiled for float and for double. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/akin.h>

#include "base/classes.h"
#include "data/dataset.h"

#define EXACT (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

static ak_ctx *ctx;

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void) { ak_close(ctx); }

TestSuite(labels, .init = open_context, .fini = close_context);

static ak_index *index_of(int64_t n, const int32_t *v)
{
    return ak_index_from(ctx, AK_SHAPE(n), v);
}

static void expect_error(const char *text)
{
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), text), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
}

/* ---- losses ---------------------------------------------------------------------------------- */

/* [2, 4, 2]: four items, both views alike, a quarter turn from one to the next */
static ak_tensor *four_items(void)
{
    return ak_require_grad(ak_from_double(ctx, AK_SHAPE(2, 4, 2), (double[]){
        1, 0, 0, 1, -1, 0, 0, -1, 1, 0, 0, 1, -1, 0, 0, -1 }));
}

Test(labels, unknown_items_are_no_positives_of_each_other)
{
    const ak_supcon_options o = { .tau = 1 };
    ak_index *unknown = index_of(4, (int32_t[]){ -1, -1, -1, -1 });
    const double views = ak_item(ak_loss_supcon(four_items(), NULL, o));
    cr_expect_float_eq(views, 1.00876, 1e-5);
    cr_expect_float_eq(ak_item(ak_loss_supcon(four_items(), unknown, o)), views, EXACT);
    cr_expect_float_eq(ak_item(ak_loss_supcon_composed(four_items(), unknown, o)), views, EXACT);
}

static void expect_same_gradient(ak_tensor *a, ak_tensor *b)
{
    for (int64_t i = 0; i < a->size; i++)
        cr_expect_float_eq((double)a->grad[i], (double)b->grad[i], EXACT);
}

/* Half of the items known: fused = composed, in value and gradient, for the losses with labels. */
Test(labels, some_unknown_fused_equals_composed)
{
    ak_index *some = index_of(4, (int32_t[]){ 7, -1, 7, -1 });
    ak_tensor *a = four_items(), *b = four_items();
    ak_tensor *fused = ak_loss_supcon(a, some, (ak_supcon_options){ .tau = 0.5 });
    ak_tensor *whole = ak_loss_supcon_composed(b, some, (ak_supcon_options){ .tau = 0.5 });
    cr_expect_float_eq(ak_item(fused), ak_item(whole), EXACT);
    ak_backward(fused);
    ak_backward(whole);
    expect_same_gradient(a, b);
    ak_step_end(ctx);

    ak_tensor *q = ak_randn(ctx, AK_SHAPE(4, 3)), *k = ak_randn(ctx, AK_SHAPE(4, 3));
    const ak_infonce_options o = { .tau = 0.5, .labels = index_of(4, (int32_t[]){ 7, -1, 7, -1 }) };
    cr_expect_float_eq(ak_item(ak_loss_infonce(q, k, o)),
                       ak_item(ak_loss_infonce_composed(q, k, o)), EXACT);
    cr_expect_float_eq(ak_item(ak_loss_clip(q, k, NULL, o)),
                       ak_item(ak_loss_clip_composed(q, k, NULL, o)), EXACT);
    /* an unknown one has its own key alone: as a class of its own */
    const ak_infonce_options own = { .tau = 0.5,
                                     .labels = index_of(4, (int32_t[]){ 7, 8, 7, 9 }) };
    cr_expect_float_eq(ak_item(ak_loss_clip(q, k, NULL, o)),
                       ak_item(ak_loss_clip(q, k, NULL, own)), EXACT);
}

/* One view: an unknown item has no positive and is no anchor, but it is a candidate. A known one
 * without a positive counts as 0, as the header says. */
Test(labels, a_lone_unknown_anchor_is_not_in_the_mean)
{
    const double z[] = { 1, 0, 1, 0, 0, 1, 0, -1 };
    ak_loss_report r;
    const ak_supcon_options o = { .tau = 1, .report = &r };
    ak_tensor *rows = ak_from_double(ctx, AK_SHAPE(4, 2), z);
    const double one = log(exp(1) + 2) - 1;
    ak_index *unknown = index_of(4, (int32_t[]){ 3, 3, -1, -1 });
    cr_expect_float_eq(ak_item(ak_loss_supcon(rows, unknown, o)), one, EXACT);
    cr_expect_eq(r.anchors, 2);
    cr_expect_eq(r.lonely, 0);
    cr_expect_float_eq(ak_item(ak_loss_supcon_composed(rows, unknown, o)), one, EXACT);
    ak_index *known = index_of(4, (int32_t[]){ 3, 3, 4, 5 });
    cr_expect_float_eq(ak_item(ak_loss_supcon(rows, known, o)), one / 2, EXACT);
    cr_expect_eq(r.anchors, 4);
    cr_expect_eq(r.lonely, 2);
    cr_expect_float_eq(ak_item(ak_loss_supcon_composed(rows, known, o)), one / 2, EXACT);
    ak_index *none = index_of(4, (int32_t[]){ -1, -1, -1, -1 });
    ak_tensor *all = ak_require_grad(ak_from_double(ctx, AK_SHAPE(4, 2), z));
    ak_tensor *loss = ak_loss_supcon(all, none, o);
    cr_expect_eq(ak_item(loss), 0.0);
    ak_backward(loss);
    for (int i = 0; i < 8; i++)
        cr_expect_eq((double)all->grad[i], 0.0);
    cr_expect_eq(r.anchors, 0);
}

Test(labels, numbers_below_minus_one_are_refused)
{
    ak_index *bad = index_of(4, (int32_t[]){ 0, -1, -7, 0 });
    ak_loss_supcon(four_items(), bad, (ak_supcon_options){ 0 });
    expect_error("labels: item 2 has -7");
    bad = index_of(4, (int32_t[]){ 0, -1, 3, -2 });
    ak_loss_supcon(four_items(), NULL, (ak_supcon_options){ .ids = bad });
    expect_error("ids: item 3 has -2");
    bad = index_of(4, (int32_t[]){ -3, 1, 1, 1 });
    ak_tensor *q = ak_keep(ak_randn(ctx, AK_SHAPE(4, 3)));
    ak_loss_clip(q, q, NULL, (ak_infonce_options){ .labels = bad });
    expect_error("labels: item 0 has -3");
    ak_loss_ntxent(q, q, (ak_ntxent_options){ .ids = index_of(4, (int32_t[]){ 0, 1, -9, 2 }) });
    expect_error("ids: item 2 has -9");
    ak_cross_entropy(q, index_of(4, (int32_t[]){ 0, 1, -2, 2 }), (ak_cross_entropy_options){ 0 });
    expect_error("target -2 in row 2");
}

/* Labels far apart are classes like any others. */
Test(labels, losses_take_any_number)
{
    const ak_supcon_options o = { .tau = 0.5 };
    ak_index *far = index_of(4, (int32_t[]){ INT32_MAX, 0, INT32_MAX, 100000000 });
    ak_index *near = index_of(4, (int32_t[]){ 0, 1, 0, 2 });
    cr_expect_eq(ak_item(ak_loss_supcon(four_items(), far, o)),
                 ak_item(ak_loss_supcon(four_items(), near, o)));
}

/* ---- cross-entropy --------------------------------------------------------------------------- */

static double entropy(const int32_t *labels, ak_cross_entropy_options o, ak_real *gradient)
{
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(3, 2),
                                                  (double[]){ 0, 0, 5, -5, 1, 3 }));
    ak_tensor *l = ak_cross_entropy(x, index_of(3, labels), o);
    ak_backward(l);
    memcpy(gradient, x->grad, 6 * sizeof *gradient);
    return ak_item(l);
}

Test(labels, cross_entropy_ignores_unknown_items)
{
    const double want = (log(2) + log(1 + exp(2))) / 2;     /* of rows 0 and 2 */
    ak_real g[6];
    cr_expect_float_eq(entropy((int32_t[]){ 1, -1, 0 }, (ak_cross_entropy_options){ 0 }, g), want,
                       EXACT);
    cr_expect_eq((double)g[2], 0.0);
    cr_expect_eq((double)g[3], 0.0);
    cr_expect_float_eq((double)g[0], 0.25, EXACT);
    /* beside another ignored number, too */
    cr_expect_float_eq(entropy((int32_t[]){ 1, -1, 0 },
                               (ak_cross_entropy_options){ .ignore_index = 7 }, g), want, EXACT);
    /* smoothed: ignored rows stay out */
    cr_expect(isfinite(entropy((int32_t[]){ -1, -1, 0 },
                               (ak_cross_entropy_options){ .label_smoothing = 0.2 }, g)));
    for (int i = 0; i < 4; i++)
        cr_expect_eq((double)g[i], 0.0);
}

Test(labels, class_0_can_be_ignored)
{
    ak_real g[6];
    const ak_cross_entropy_options zero = { .ignore_index = 0, .has_ignore = true };
    /* row 2 has class 0: out. Rows 0 and 1 remain. */
    cr_expect_float_eq(entropy((int32_t[]){ 1, 1, 0 }, zero, g),
                       (log(2) + log(1 + exp(10))) / 2, 1e-5);
    cr_expect_eq((double)g[4], 0.0);
    cr_expect_eq((double)g[5], 0.0);
    /* without the flag 0 is the default, and class 0 counts */
    cr_expect_float_eq(entropy((int32_t[]){ 1, 1, 0 }, (ak_cross_entropy_options){ 0 }, g),
                       (log(2) + log(1 + exp(10)) + log(1 + exp(2))) / 3, 1e-5);
    /* -100 is an ignored number only where none is given */
    ak_cross_entropy(ak_randn(ctx, AK_SHAPE(1, 2)), index_of(1, (int32_t[]){ -100 }), zero);
    expect_error("target -100");
}

/* ---- numbered without gaps ------------------------------------------------------------------- */

Test(labels, distinct_and_place)
{
    const int32_t label[] = { 5, INT32_MAX, 0, 5, 3, 0 };
    int32_t value[6];
    cr_assert_eq(ak__distinct(label, 6, value), 4);
    const int32_t want[] = { 0, 3, 5, INT32_MAX };
    cr_expect_arr_eq(value, want, sizeof want);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(ak__place_of(value, 4, want[i]), i);
    cr_expect_eq(ak__place_of(value, 4, 4), -1);
    cr_expect_eq(ak__place_of(value, 4, -1), -1);
    cr_expect_eq(ak__distinct(label, 0, value), 0);
    cr_expect_eq(ak__place_of(value, 0, 5), -1);
}

enum { ITEMS = 20 };

/* Two clusters, class of item i = first or second. */
static ak_features *clusters(int32_t first, int32_t second)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(ITEMS, 2));
    int32_t label[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        x->data[2 * i] = i % 2 ? 1 : -1;
        x->data[2 * i + 1] = (ak_real)(0.1 * i);
        label[i] = i % 2 ? second : first;
    }
    return ak_features_from(x, label, "clusters");
}

/* Memory by the largest label would be 17 GB here. */
Test(labels, evaluation_costs_by_items, .timeout = 20)
{
    ak_features *far = clusters(3, INT32_MAX), *near = clusters(0, 1);
    const ak_knn_options k = { .k = 3 };
    const ak_linear_probe_options p = { .max_iterations = 5 };
    cr_expect_eq(ak_eval_knn_on(far, far, k).accuracy, ak_eval_knn_on(near, near, k).accuracy);
    const ak_eval_result a = ak_eval_linear_on(far, far, p), b = ak_eval_linear_on(near, near, p);
    cr_expect_eq(a.accuracy, b.accuracy);
    cr_expect_eq(a.gradient_norm, b.gradient_norm);
    cr_expect_eq(ak_error(ctx), AK_OK);
    /* a label of the test set alone is a class that no item of the training set has */
    ak_features *other = clusters(3, 77);
    cr_expect_eq(ak_eval_knn_on(far, other, k).accuracy, 0.5);
    cr_expect_leq(ak_eval_linear_on(far, other, p).accuracy, 0.5);
}

static void first_batch(int32_t first, int32_t second, int32_t *items)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(ITEMS, 2));
    int32_t label[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        label[i] = i < 4 ? first : second;
    ak_loader *l = ak_loader_open(ak_dataset_tensor(ctx, x, label), (ak_loader_options){
        .batch = 10, .balance = true, .threads = AK_NONE });
    ak_batch b;
    cr_assert(l && ak_loader_next(l, &b));
    for (int i = 0; i < 10; i++) {
        items[i] = b.index->data[i];
        cr_expect_eq(b.label->data[i], label[items[i]]);        /* the user's numbers */
    }
    ak_loader_close(l);
    ak_step_end(ctx);
}

Test(labels, a_balanced_loader_costs_by_items, .timeout = 20)
{
    int32_t near[10], far[10];
    first_batch(0, 1, near);
    first_batch(3, INT32_MAX, far);
    cr_expect_arr_eq(near, far, sizeof near);
}

/* ---- leave one out --------------------------------------------------------------------------- */

/* Pairs of twins of different classes: with themselves left out all are wrong. */
Test(labels, knn_leaves_one_out)
{
    enum { N = 5000 };          /* more than a tile */
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(N, 2));
    static int32_t label[N];
    for (int i = 0; i < N; i++) {
        const double angle = 6 * (i / 2) / (double)N;
        x->data[2 * i] = (ak_real)cos(angle);
        x->data[2 * i + 1] = (ak_real)sin(angle);
        label[i] = i % 2;
    }
    ak_features *f = ak_features_from(x, label, "twins"), *g = ak_features_from(x, label, "twins");
    const ak_eval_result out = ak_eval_knn_on(f, f, (ak_knn_options){ .k = 1,
                                                                      .leave_one_out = true });
    cr_expect_eq(out.accuracy, 0.0);
    cr_expect(strstr(out.protocol, "leave one out"), "%s", out.protocol);
    /* the same items in another set */
    cr_expect_eq(ak_eval_knn_on(f, g, (ak_knn_options){ .k = 1, .leave_one_out = true }).accuracy,
                 0.0);
    const ak_eval_result in = ak_eval_knn_on(f, g, (ak_knn_options){ .k = 1 });
    cr_expect_geq(in.accuracy, 0.5);
    cr_expect(strstr(in.protocol, "test items are training items"), "%s", in.protocol);
}

Test(labels, leave_one_out_needs_one_set)
{
    ak_features *f = clusters(0, 1), *other = clusters(0, 2);
    ak_eval_knn_on(f, other, (ak_knn_options){ .k = 1, .leave_one_out = true });
    expect_error("leave_one_out");
    f = clusters(0, 1);
    cr_expect_eq(ak_error(ctx), AK_OK);
    ak_eval_knn_on(f, f, (ak_knn_options){ .k = ITEMS, .leave_one_out = true });
    expect_error("one of them left out; expected 1 to 19");
    f = clusters(0, 1);
    cr_expect(isfinite(ak_eval_knn_on(f, f, (ak_knn_options){ .k = ITEMS - 1,
                                                              .leave_one_out = true }).accuracy));
}
