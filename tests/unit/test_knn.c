/* SPDX-License-Identifier: Apache-2.0 */
/* kNN against hand-made cases and a brute-force oracle. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <akin/eval.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_features *random_features(ak_ctx *ctx, uint64_t stream, int64_t n, int64_t d,
                                    int classes)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, d));
    int32_t *label = malloc((size_t)n * sizeof *label);
    for (int64_t i = 0; i < n; i++)
        label[i] = (int32_t)ak_random_below(9, stream + 1, (uint64_t)i, (uint64_t)classes);
    for (int64_t i = 0; i < n * d; i++)     /* a little of the class in the first feature */
        x->data[i] = (ak_real)(ak_random_normal(9, stream, (uint64_t)i) +
                               (i % d == label[i / d] % d ? 1 : 0));
    ak_features *f = ak_features_from(x, label, "test rows");
    free(label);
    return f;
}

/* ---- an oracle that sorts everything in double -------------------------------------------- */

typedef struct scored { double s; int64_t i; } scored;

static int nearer(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->s != y->s)
        return x->s > y->s ? -1 : 1;
    return x->i < y->i ? -1 : 1;
}

static double oracle(const ak_features *train, const ak_features *test, int k, bool plain, double T)
{
    int64_t right = 0;
    scored *all = malloc((size_t)train->n * sizeof *all);
    for (int64_t q = 0; q < test->n; q++) {
        for (int64_t i = 0; i < train->n; i++) {
            double xy = 0, xx = 0, yy = 0;
            for (int64_t j = 0; j < train->d; j++) {
                const double x = (double)test->x[q * train->d + j];
                const double y = (double)train->x[i * train->d + j];
                xy += x * y;
                xx += x * x;
                yy += y * y;
            }
            all[i] = (scored){ xy / sqrt(xx * yy), i };
        }
        qsort(all, (size_t)train->n, sizeof *all, nearer);
        double votes[16] = { 0 };
        for (int j = 0; j < k; j++)
            votes[train->label[all[j].i]] += plain ? 1 : exp(all[j].s / T);
        int32_t best = train->label[all[0].i];
        for (int j = 1; j < k; j++)
            if (votes[train->label[all[j].i]] > votes[best])
                best = train->label[all[j].i];
        right += best == test->label[q];
    }
    free(all);
    return (double)right / (double)test->n;
}

Test(knn, equals_brute_force)
{
    ak_ctx *ctx = quiet();
    /* more than one tile each way, and sizes that fill none of them */
    ak_features *train = random_features(ctx, 10, 2300, 7, 5);
    ak_features *test = random_features(ctx, 20, 301, 7, 5);
    const int ks[] = { 1, 2, 5, 20, 133 };
    for (int plain = 0; plain < 2; plain++) {
        ak_eval_result r[5];
        cr_assert_eq(ak_eval_knn_list(train, test, (ak_knn_options){ .plain = plain }, ks, 5, r),
                     AK_OK, "%s", ak_error_message(ctx));
        for (int i = 0; i < 5; i++) {
            const double expected = oracle(train, test, ks[i], plain, 0.1);
            cr_assert_float_eq(r[i].accuracy, expected, 1.01 / 301, "k %d plain %d: %g not %g",
                               ks[i], plain, r[i].accuracy, expected);
            cr_assert_geq(r[i].accuracy, r[i].lo);
            cr_assert_leq(r[i].accuracy, r[i].hi);
            cr_assert_gt(r[i].hi, r[i].lo);
        }
    }
    ak_close(ctx);
}

Test(knn, neighbours_and_ties)
{
    ak_ctx *ctx = quiet();
    /* rows 0 and 1 have the same direction: the lower index is nearer, so class 1 wins at k = 1 */
    ak_features *train = ak_features_from(
        ak_from(ctx, AK_SHAPE(5, 2), (ak_real[]){ 1, 0, 2, 0, 0, 1, 0, 3, -1, 0 }),
        (int32_t[]){ 1, 0, 2, 2, 0 }, NULL);
    ak_features *test = ak_features_from(ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ 5, 0 }),
                                         (int32_t[]){ 1 }, NULL);
    cr_assert_eq(ak_eval_knn_on(train, test, (ak_knn_options){ .k = 1 }).accuracy, 1);
    /* one vote each: the class whose neighbour came first */
    const ak_knn_options two = { .k = 2, .plain = true }, four = { .k = 4, .plain = true };
    cr_assert_eq(ak_eval_knn_on(train, test, two).accuracy, 1);
    /* two of class 2 outvote at k = 4 when all votes are equal, not when nearness counts */
    cr_assert_eq(ak_eval_knn_on(train, test, four).accuracy, 0);
    cr_assert_eq(ak_eval_knn_on(train, test, (ak_knn_options){ .k = 4 }).accuracy, 1);
    /* no temperature overflows */
    const ak_knn_options sharp = { .k = 4, .temperature = 1e-4 };
    cr_assert_eq(ak_eval_knn_on(train, test, sharp).accuracy, 1);
    ak_close(ctx);
}

/* All of 20 items right: not sure for ever. binomtest(20, 20).proportion_ci(method="wilson") */
Test(knn, interval_of_no_error_is_no_point)
{
    ak_ctx *ctx = quiet();
    ak_features *items = random_features(ctx, 10, 20, 4, 3);
    const ak_eval_result r = ak_eval_knn_on(items, items, (ak_knn_options){ .k = 1 });
    cr_assert(r.accuracy == 1 && r.hi == 1);
    cr_assert_float_eq(r.lo, 0.8388748419471808, 1e-12, "%.17g", r.lo);
    ak_close(ctx);
}

Test(knn, names_its_protocol)
{
    ak_ctx *ctx = quiet();
    ak_features *train = random_features(ctx, 10, 50, 4, 3);
    ak_features *test = random_features(ctx, 20, 30, 4, 3);
    const ak_eval_result r = ak_eval_knn_on(train, test, (ak_knn_options){ 0 });
    cr_assert_str_eq(r.protocol, "kNN k=20 cosine weighted T=0.1, 50/30, 95 % Wilson, test rows");
    cr_assert_eq(r.n_train, 50);
    cr_assert_eq(r.n_test, 30);
    ak_close(ctx);
}

Test(knn, refuses_misuse)
{
    ak_ctx *ctx = quiet();
    ak_features *train = random_features(ctx, 10, 50, 4, 3);
    ak_features *test = random_features(ctx, 20, 30, 4, 3);
    ak_features *wide = random_features(ctx, 30, 30, 5, 3);
    cr_assert(isnan(ak_eval_knn_on(train, test, (ak_knn_options){ .k = 51 }).accuracy));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_assert(isnan(ak_eval_knn_on(train, test, (ak_knn_options){ .temperature = -1 }).accuracy));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_assert(isnan(ak_eval_knn_on(train, wide, (ak_knn_options){ 0 }).accuracy));
    cr_assert(strstr(ak_error_message(ctx), "[30,5]"), "%s", ak_error_message(ctx));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_SHAPE);
    ak_features_close(test);
    cr_assert(isnan(ak_eval_knn_on(train, test, (ak_knn_options){ 0 }).accuracy));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_STATE);
    cr_assert_null(ak_features_from(ak_zeros(ctx, AK_SHAPE(2, 2)), (int32_t[]){ 0, -1 }, NULL));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_assert_null(ak_features_from(ak_full(ctx, AK_SHAPE(1, 2), (double)NAN), (int32_t[]){ 0 },
                                    NULL));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_NUMBER);
    ak_close(ctx);
}

Test(knn, survives_every_failing_allocation)
{
    uint64_t n = 1;
    for (bool done = false; !done; n++) {
        ak_ctx *ctx = quiet();
        ak_features *train = random_features(ctx, 10, 50, 4, 3);
        ak_features *test = random_features(ctx, 20, 30, 4, 3);
        ak_fail_alloc_after(n, true);
        const ak_eval_result r = ak_eval_knn_on(train, test, (ak_knn_options){ .k = 5 });
        const ak_eval_result l = ak_eval_linear_on(train, test, (ak_linear_probe_options){ 0 });
        ak_fail_alloc_after(0, false);
        done = !isnan(r.accuracy) && !isnan(l.accuracy);
        cr_assert_eq(ak_error(ctx), done ? AK_OK : AK_ERR_MEMORY);
        ak_close(ctx);
        cr_assert_lt(n, 1000u);
    }
    cr_assert_gt(n, 5u);
}

/* ---- features of an encoder -------------------------------------------------------------- */

static ak_tensor *doubled(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_scale(x, 2);
}

Test(features, of_a_data_set)
{
    ak_ctx *ctx = quiet();
    ak_dataset *ds = ak_dataset_memory(ctx, (uint8_t[]){ 0, 51, 102, 153, 204, 255 },
                                       AK_SHAPE(3, 1, 2, 1), (int32_t[]){ 0, 1, 0 });
    ak_module *m = ak_module_new(ctx, "twice", doubled, NULL);
    const ak_memory before = ak_memory_use(ctx);
    ak_features *f = ak_features_open(m, ds, (ak_features_options){ .batch = 2 });
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_assert_eq(f->n, 3);
    cr_assert_eq(f->d, 2);
    cr_assert_eq(f->classes, 2);
    for (int i = 0; i < 6; i++)
        cr_assert_float_eq((double)f->x[i], 0.4 * i, 1e-6);
    cr_assert_eq(ak_memory_use(ctx).step_bytes, before.step_bytes);
    cr_assert_str_eq(f->what, "eval-mode output of twice");
    ak_features *raw = ak_features_open(NULL, ds, (ak_features_options){ 0 });
    cr_assert_float_eq((double)raw->x[5], 1, 1e-6);
    cr_assert_str_eq(raw->what, "raw values");
    cr_assert_eq(ak_close(ctx), AK_OK);
}

/* ---- measures of the embedding ----------------------------------------------------------- */

Test(embedding, contrastive_alignment_uniformity)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = ak_from(ctx, AK_SHAPE(2, 2), (ak_real[]){ 2, 0, 0, 1 });
    ak_tensor *b = ak_from(ctx, AK_SHAPE(2, 2), (ak_real[]){ 0, 1, 0, 3 });
    cr_assert_float_eq(ak_eval_contrastive(a, a), 1, 1e-12);
    /* rows: a0 (1,0), a1 (0,1), b0 (0,1), b1 (0,1). a0 misses: all others tie at 0 and a1 is first;
     * a1: b0 and b1 tie, b0 is first: wrong; b0: a1 is first: wrong; b1: a1: right */
    cr_assert_float_eq(ak_eval_contrastive(a, b), 0.25, 1e-12);
    cr_assert_float_eq(ak_eval_alignment(a, a), 0, 1e-12);
    cr_assert_float_eq(ak_eval_alignment(a, b), 1, 1e-6);       /* distances^2: 2 and 0 */
    cr_assert_float_eq(ak_eval_uniformity(a), -4, 1e-6);        /* one pair, distance^2 2 */
    ak_tensor *same = ak_full(ctx, AK_SHAPE(700, 3), 1);        /* several tiles */
    cr_assert_float_eq(ak_eval_uniformity(same), 0, 1e-5);
    cr_assert(isnan(ak_eval_alignment(a, same)));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_SHAPE);
    ak_close(ctx);
}

Test(metrics, are_listed)
{
    cr_assert_not_null(ak_metric_at(0));
    cr_assert_null(ak_metric_at(-1));
    cr_assert_eq(ak_metric_find("knn"), ak_metric_at(0));
    cr_assert_null(ak_metric_find("no such measure"));
}

/* Two tables whose class names come in another order. */
Test(knn, sets_with_other_class_names_are_refused)
{
    char a[] = "/tmp/akin-knn-XXXXXX", b[] = "/tmp/akin-knn-XXXXXX";
    FILE *f = fdopen(mkstemp(a), "w");
    fputs("x,y,label\n1,0,dog\n0.9,0.1,dog\n0,1,cat\n0.1,0.9,cat\n", f);
    fclose(f);
    f = fdopen(mkstemp(b), "w");
    fputs("x,y,label\n0,1,cat\n0.1,0.8,cat\n1,0,dog\n0.8,0.1,dog\n", f);
    fclose(f);
    ak_ctx *ctx = quiet();
    ak_dataset *train = ak_dataset_table(ctx, a, (ak_table_options){ .label = "label" });
    ak_dataset *test = ak_dataset_table(ctx, b, (ak_table_options){ .label = "label" });
    cr_assert(train && test);
    cr_expect(isnan(ak_eval_knn(NULL, train, test, (ak_knn_options){ .k = 1 })));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "class 0 is \"dog\" in the training set and "
                              "\"cat\" in the test set"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect(isnan(ak_eval_linear(NULL, train, test, (ak_linear_probe_options){ 0 })));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    test = ak_dataset_table(ctx, b, (ak_table_options){
        .label = "label", .classes = ak_dataset_class_names(train) });
    cr_assert_not_null(test, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_eval_knn(NULL, train, test, (ak_knn_options){ .k = 1 }), 1);
    cr_expect_eq(ak_eval_linear(NULL, train, test, (ak_linear_probe_options){ 0 }), 1);
    cr_expect_eq(ak_close(ctx), AK_ERR_VALUE);
    unlink(a);
    unlink(b);
}
