/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, scores, ranks and clusters against the truth: cases worked by hand, values of
 * scikit-learn and scipy, coverage. */
#include <omp.h>

#include "eval_table.h"

enum { N = 200 };
static const ak_bootstrap_options quick = { .resamples = 200 };

static void numbers(double *x, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        x[i] = next_number(&seed);
}

/* 5 classes 0, 7, .. 28, a fifth of the predictions right by force. */
static void drawn_labels(int32_t *truth, int32_t *predicted)
{
    double t[N], u[N], p[N];
    numbers(t, N, 1);
    numbers(u, N, 2);
    numbers(p, N, 3);
    for (int i = 0; i < N; i++) {
        truth[i] = 7 * (int32_t)floor((t[i] + 1) * 2.4);
        predicted[i] = u[i] < 0.2 ? truth[i] : 7 * (int32_t)floor((p[i] + 1) * 2.4);
    }
}

/* ---- labels ---------------------------------------------------------------------------------- */

/* Class 0: tp 1, fp 1, fn 1; class 1: 2, 1, 0; class 2: 0, 0, 1. The last item is unknown. */
static const int32_t truth6[6] = { 0, 0, 1, 1, 2, -1 }, called6[6] = { 0, 1, 1, 1, 0, 2 };

Test(classes, labels_by_hand)
{
    ak_ctx *ctx = quiet();
    double each[6] = { 0, 0, 0, 0, 0, -1 };
    const ak_measure a = ak_eval_accuracy(ctx, truth6, called6, 6,
                                          (ak_label_options){ .each = each });
    NEAR(a.value, 0.6, 1e-15);
    cr_assert(a.n == 5 && a.unknown == 1 && strstr(a.protocol, "Wilson"), "%s", a.protocol);
    const double right[6] = { 1, 0, 1, 1, 0, -1 };
    cr_assert(memcmp(each, right, sizeof right) == 0);
    const ak_measure f = ak_eval_macro_f1(ctx, truth6, called6, 6, quick);
    NEAR(f.value, (2.0 / 4 + 4.0 / 5 + 0) / 3, 1e-15);
    cr_assert(f.unknown == 1 && f.lo < f.value && f.hi > f.value && f.lo >= 0);
    int64_t count[9];
    const int64_t expected[9] = { 1, 1, 0, 0, 2, 0, 1, 0, 0 };
    cr_assert_eq(ak_eval_confusion(ctx, truth6, called6, 6, 3, count), AK_OK);
    cr_assert(memcmp(count, expected, sizeof count) == 0);
    ak_close(ctx);
}

Test(classes, labels_are_those_of_scikit_learn)     /* accuracy_score, f1_score(macro) */
{
    ak_ctx *ctx = quiet();
    int32_t truth[N], predicted[N];
    drawn_labels(truth, predicted);
    NEAR(ak_eval_accuracy(ctx, truth, predicted, N, (ak_label_options){ 0 }).value, 0.62, 1e-12);
    NEAR(ak_eval_macro_f1(ctx, truth, predicted, N, quick).value, 0.603872971861197, 1e-12);
    ak_close(ctx);
}

/* Scores 3 1 2 2 0: the best is class 0; 2 and 3 share ranks 2 and 3. */
Test(classes, top_k_by_hand)
{
    ak_ctx *ctx = quiet();
    const ak_real row[5] = { 3, 1, 2, 2, 0 };
    ak_real x[25];
    for (int i = 0; i < 5; i++)
        memcpy(x + 5 * i, row, sizeof row);
    const int32_t label[5] = { 0, 1, 2, 3, -1 };
    const double expected[5][4] = {             /* [k - 1][label] */
        { 1, 0, 0, 0 }, { 1, 0, 0.5, 0.5 }, { 1, 0, 1, 1 }, { 1, 1, 1, 1 }, { 1, 1, 1, 1 },
    };
    for (int k = 1; k <= 5; k++) {
        double each[5];
        const ak_measure m = ak_eval_top_k(ak_from(ctx, AK_SHAPE(5, 5), x), label, k,
                                           (ak_label_options){ .each = each });
        cr_assert(m.n == 4 && m.unknown == 1, "%s", ak_error_message(ctx));
        for (int i = 0; i < 4; i++)
            NEAR(each[i], expected[k - 1][i], 0);
        cr_assert(strstr(m.protocol, k == 2 ? "BCa" : "Wilson"), "%s", m.protocol);
    }
    ak_close(ctx);
}

Test(classes, equal_scores_are_chance)
{
    ak_ctx *ctx = quiet();
    int32_t label[20];
    for (int i = 0; i < 20; i++)
        label[i] = i % 8;
    const ak_tensor *same = ak_full(ctx, AK_SHAPE(20, 8), 1);
    NEAR(ak_eval_top_k(same, label, 5, (ak_label_options){ 0 }).value, 0.625, 1e-15);
    NEAR(ak_eval_top_k(same, label, 1, (ak_label_options){ 0 }).value, 0.125, 1e-15);
    ak_close(ctx);
}

Test(classes, top_k_is_that_of_scikit_learn)        /* top_k_accuracy_score */
{
    ak_ctx *ctx = quiet();
    int32_t label[60];
    for (int i = 0; i < 60; i++)
        label[i] = i * 3 % 8;
    const ak_tensor *s = number_table(ctx, 60, 8, 9);
    NEAR(ak_eval_top_k(s, label, 1, (ak_label_options){ 0 }).value, 0.11666666666666667, 1e-12);
    NEAR(ak_eval_top_k(s, label, 3, (ak_label_options){ 0 }).value, 0.2833333333333333, 1e-12);
    NEAR(ak_eval_top_k(s, label, 5, (ak_label_options){ 0 }).value, 0.55, 1e-12);
    ak_close(ctx);
}

/* Class 0: prompts along x (long) and y (short), so its direction is (1, 1); class 1: -x twice. */
Test(classes, zero_shot_by_hand)
{
    ak_ctx *ctx = quiet();
    const ak_real prompt[8] = { 50, 0, 0, (ak_real)0.1, -1, 0, -3, 0 }, x[4] = { 0, 2, -5, 0 };
    const int32_t label[2] = { 0, 1 };
    const ak_tensor *p = ak_from(ctx, AK_SHAPE(4, 2), prompt), *q = ak_from(ctx, AK_SHAPE(2, 2), x);
    const ak_tensor *s = ak_zero_shot_scores(q, p, 2);
    const double expected[4] = { sqrt(0.5), 0, -sqrt(0.5), 1 };
    for (int i = 0; i < 4; i++)
        NEAR((double)s->data[i], expected[i], 1e-6);
    NEAR(ak_eval_top_k(s, label, 1, (ak_label_options){ 0 }).value, 1, 0);
    cr_assert(ak_is_poison(ak_zero_shot_scores(q, p, 3)));
    expect_error(ctx, AK_ERR_VALUE, "3 templates of 4 prompts");
    cr_assert(ak_is_poison(ak_zero_shot_scores(number_table(ctx, 2, 3, 1),
                                               number_table(ctx, 4, 2, 1), 2)));
    expect_error(ctx, AK_ERR_SHAPE, "x [2,3], prompts [4,2]");
    ak_close(ctx);
}

/* ---- scores and ranks ------------------------------------------------------------------------ */

/* Positives 3 1 2, negatives 2 0: 4 pairs won, 2 = 2 by half, 1 < 2 lost; the last is unknown. */
Test(classes, auc_and_curve_by_hand)
{
    ak_ctx *ctx = quiet();
    const double score[6] = { 3, 2, 1, 2, 0, 9 };
    const int32_t positive[6] = { 1, 0, 1, 1, 0, -1 };
    const ak_measure m = ak_eval_auc(ctx, score, positive, 6, quick);
    NEAR(m.value, 4.5 / 6, 1e-15);
    cr_assert(m.n == 5 && m.unknown == 1);
    ak_roc_point p[7];
    cr_assert_eq(ak_eval_roc(ctx, score, positive, 6, 0, p), 5);
    const double x[5] = { 0, 0, 0.5, 0.5, 1 }, y[5] = { 0, 1.0 / 3, 2.0 / 3, 1, 1 };
    const double threshold[5] = { (double)INFINITY, 3, 2, 1, 0 };
    for (int i = 0; i < 5; i++) {
        NEAR(p[i].fpr, x[i], 1e-15);
        NEAR(p[i].tpr, y[i], 1e-15);
        cr_assert(p[i].threshold == threshold[i]);
        cr_assert(p[i].tpr_in.lo <= y[i] && p[i].tpr_in.hi >= y[i] && p[i].fpr_in.lo <= x[i]);
    }
    /* binomtest(2, 3).proportion_ci(method="wilson") */
    NEAR(p[2].tpr_in.lo, 0.20765960080204782, 1e-12);
    NEAR(p[2].tpr_in.hi, 0.9385080552796038, 1e-12);
    ak_close(ctx);
}

Test(classes, auc_and_curve_are_those_of_scikit_learn)  /* roc_auc_score, roc_curve */
{
    ak_ctx *ctx = quiet();
    double u[N], score[N];
    int32_t positive[N];
    numbers(u, N, 4);
    numbers(score, N, 5);
    for (int i = 0; i < N; i++) {
        positive[i] = u[i] > 0.1;
        score[i] = nearbyint((score[i] + 0.4 * positive[i]) * 10) / 10;
    }
    NEAR(ak_eval_auc(ctx, score, positive, N, quick).value, 0.7402878421900161, 1e-12);
    ak_roc_point p[N + 1];
    const int64_t n = ak_eval_roc(ctx, score, positive, N, 0, p);
    double x = 0, y = 0, t = 0;
    cr_assert_eq(n, 26);
    for (int64_t i = 0; i < n; i++) {
        x += p[i].fpr;
        y += p[i].tpr;
        t += i ? p[i].threshold : 0;
    }
    NEAR(x, 9.944444444444445, 1e-12);
    NEAR(y, 15.173913043478262, 1e-12);
    NEAR(t, 5, 1e-12);
    NEAR(p[5].fpr, 0.018518518518518517, 1e-15);
    NEAR(p[5].tpr, 0.18478260869565216, 1e-15);
    ak_close(ctx);
}

Test(classes, rank_correlation)
{
    ak_ctx *ctx = quiet();
    const double up[4] = { 1, 2, 3, 4 }, crossed[4] = { 1, 3, 2, 40 }, down[4] = { 9, 8, 1, 0 };
    NEAR(ak_eval_spearman(ctx, up, crossed, 4, quick).value, 1 - 6 * 2.0 / (4 * 15), 1e-15);
    NEAR(ak_eval_spearman(ctx, up, down, 4, quick).value, -1, 1e-15);
    double a[N], b[N];                          /* scipy.stats.spearmanr, many ties */
    numbers(a, N, 6);
    numbers(b, N, 7);
    for (int i = 0; i < N; i++) {
        a[i] = nearbyint(a[i] * 10) / 10;
        b[i] = nearbyint((b[i] + 0.5 * a[i]) * 10) / 10;
    }
    NEAR(ak_eval_spearman(ctx, a, b, N, quick).value, 0.4197712897373314, 1e-12);
    ak_close(ctx);
}

/* ---- clusters -------------------------------------------------------------------------------- */

/* Classes 5 5 9 9 in clusters 0 0 1 2: I = ln 2, H = ln 2 and 1.5 ln 2; S = 1, A = 2, B = 1,
 * E = 1/3, M = 3/2; three items matched. The fifth is unknown. */
Test(clusters, by_hand)
{
    ak_ctx *ctx = quiet();
    const int32_t truth[5] = { 5, 5, 9, 9, -1 }, cluster[5] = { 0, 0, 1, 2, 0 };
    const ak_clustering r = ak_eval_clusters(ctx, truth, cluster, 5, 0);
    NEAR(r.nmi.value, 0.8, 1e-14);
    NEAR(r.ari.value, 4.0 / 7, 1e-14);
    NEAR(r.accuracy.value, 0.75, 0);
    cr_assert(r.classes == 2 && r.clusters == 3 && r.nmi.n == 4 && r.ari.unknown == 1);
    cr_assert(strstr(r.nmi.protocol, "jackknife") && strstr(r.accuracy.protocol, "Wilson"));
    ak_close(ctx);
}

Test(clusters, limits)
{
    ak_ctx *ctx = quiet();
    const int32_t same[6] = { 4, 4, 4, 4, 4, 4 }, single[6] = { 0, 1, 2, 3, 4, 5 };
    const int32_t pairs[6] = { 0, 0, 1, 1, 2, 2 };
    const int32_t named[6] = { 9, 9, 3, 3, 2000000000, 2000000000 };
    ak_clustering r = ak_eval_clusters(ctx, same, same, 6, 0);
    cr_assert(r.nmi.value == 1 && r.ari.value == 1 && r.accuracy.value == 1);
    r = ak_eval_clusters(ctx, single, single, 6, 0);
    NEAR(r.nmi.value, 1, 1e-14);
    NEAR(r.ari.value, 1, 0);
    r = ak_eval_clusters(ctx, pairs, named, 6, 0);      /* names do not count */
    NEAR(r.nmi.value, 1, 1e-14);
    NEAR(r.ari.value, 1, 1e-14);
    cr_assert(r.accuracy.value == 1);
    r = ak_eval_clusters(ctx, pairs, same, 6, 0);       /* one cluster tells nothing */
    NEAR(r.nmi.value, 0, 1e-14);
    NEAR(r.ari.value, 0, 1e-14);
    NEAR(r.accuracy.value, 1.0 / 3, 1e-15);
    r = ak_eval_clusters(ctx, same, single, 1, 0);      /* one item */
    cr_assert(r.nmi.value == 1 && r.nmi.lo == 0 && r.nmi.hi == 1);
    ak_close(ctx);
}

/* normalized_mutual_info_score, adjusted_rand_score, linear_sum_assignment; both ways round. */
Test(clusters, figures_are_those_of_scikit_learn)
{
    ak_ctx *ctx = quiet();
    int32_t truth[N], cluster[N];
    double u[N], k[N];
    drawn_labels(truth, cluster);
    numbers(u, N, 2);
    numbers(k, N, 8);
    for (int i = 0; i < N; i++)
        cluster[i] = u[i] < 0 ? truth[i] : (int32_t)floor((k[i] + 1) * 3.4);
    for (int turned = 0; turned < 2; turned++) {
        const ak_clustering r = turned ? ak_eval_clusters(ctx, cluster, truth, N, 0)
                                       : ak_eval_clusters(ctx, truth, cluster, N, 0);
        NEAR(r.nmi.value, 0.3864340663207282, 1e-12);
        NEAR(r.ari.value, 0.2975887948096607, 1e-12);
        NEAR(r.accuracy.value, 0.5, 0);
    }
    ak_close(ctx);
}

/* The interval is that of the pseudo-values, each made by leaving an item out. t(0.975, 24 df) by
 * scipy. */
Test(clusters, jackknife_leaves_items_out)
{
    ak_ctx *ctx = quiet();
    enum { M = 25 };
    int32_t truth[M], cluster[M], a[M], b[M];
    for (int i = 0; i < M; i++) {
        truth[i] = i % 3;
        cluster[i] = i % 5 == 0 ? i % 4 : i % 3;
    }
    const ak_clustering r = ak_eval_clusters(ctx, truth, cluster, M, 0);
    double pseudo[2][M], mean[2] = { 0 }, square[2] = { 0 };
    for (int i = 0; i < M; i++) {
        int n = 0;
        for (int j = 0; j < M; j++)
            if (j != i) {
                a[n] = truth[j];
                b[n++] = cluster[j];
            }
        const ak_clustering o = ak_eval_clusters(ctx, a, b, n, 0);
        pseudo[0][i] = M * r.nmi.value - (M - 1) * o.nmi.value;
        pseudo[1][i] = M * r.ari.value - (M - 1) * o.ari.value;
        for (int k = 0; k < 2; k++)
            mean[k] += pseudo[k][i] / M;
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < M; i++)
            square[k] += pow(pseudo[k][i] - mean[k], 2);
        const double half = 2.0638985616280245 * sqrt(square[k] / (M - 1) / M);
        const ak_measure *m = k ? &r.ari : &r.nmi;
        NEAR(m->lo, mean[k] - half, 1e-9);
        NEAR(m->hi, mean[k] + half, 1e-9);
    }
    ak_close(ctx);
}

static int best_by_trial(int count[6][6], int rows, int row, unsigned used)
{
    int best = 0;
    if (row == rows)
        return 0;
    for (int j = 0; j < 6; j++)
        if (!(used >> j & 1)) {
            const int sum = count[row][j] + best_by_trial(count, rows, row + 1, used | 1u << j);
            best = sum > best ? sum : best;
        }
    return best;
}

Test(clusters, matching_is_the_best_of_all)
{
    ak_ctx *ctx = quiet();
    for (uint64_t r = 0; r < 200; r++) {
        const int classes = 1 + (int)(r % 6);
        int32_t truth[40], cluster[40];
        int count[6][6] = { { 0 } };
        for (uint64_t i = 0; i < 40; i++) {
            truth[i] = (int32_t)(classes * ak_random_uniform(1, r, i));
            cluster[i] = (int32_t)(6 * pow(ak_random_uniform(2, r, i), 2));
            count[truth[i]][cluster[i]]++;
        }
        const double expected = best_by_trial(count, classes, 0, 0) / 40.0;
        NEAR(ak_eval_clusters(ctx, truth, cluster, 40, 0).accuracy.value, expected, 1e-15);
        NEAR(ak_eval_clusters(ctx, cluster, truth, 40, 0).accuracy.value, expected, 1e-15);
    }
    ak_close(ctx);
}

/* ---- house rules ----------------------------------------------------------------------------- */

Test(classes, same_bits_for_any_number_of_threads)
{
    ak_ctx *ctx = quiet();
    int32_t truth[N], predicted[N], positive[N];
    double a[N], b[N];
    drawn_labels(truth, predicted);
    numbers(a, N, 6);
    numbers(b, N, 7);
    for (int i = 0; i < N; i++)
        positive[i] = truth[i] > 7;
    ak_measure m[4][3];
    for (int t = 0; t < 4; t++) {
        omp_set_num_threads(t + 1);
        m[t][0] = ak_eval_macro_f1(ctx, truth, predicted, N, quick);
        m[t][1] = ak_eval_auc(ctx, a, positive, N, quick);
        m[t][2] = ak_eval_spearman(ctx, a, b, N, quick);
        for (int k = 0; k < 3; k++)
            cr_assert(m[t][k].value == m[0][k].value && m[t][k].lo == m[0][k].lo &&
                      m[t][k].hi == m[0][k].hi);
    }
    ak_close(ctx);
}

Test(classes, what_is_refused)
{
    ak_ctx *ctx = quiet();
    const int32_t good[3] = { 0, 1, 1 }, low[3] = { 0, -2, 1 }, unknown[3] = { -1, -1, -1 };
    const int32_t ones[3] = { 1, 1, 1 };
    const double x[3] = { 1, 2, 3 }, flat[3] = { 4, 4, 4 }, bad[3] = { 1, (double)NAN, 2 };
    int64_t count[4];
    ak_roc_point p[4];
#define REFUSED(status, part, measure) do { \
        cr_assert(isnan((measure).value)); \
        expect_error(ctx, status, part); \
    } while (0)
    const ak_label_options o = { 0 };
    REFUSED(AK_ERR_VALUE, "0 values", ak_eval_accuracy(ctx, good, good, 0, o));
    REFUSED(AK_ERR_VALUE, "item 1 has label -2", ak_eval_accuracy(ctx, low, good, 3, o));
    REFUSED(AK_ERR_VALUE, "prediction -2", ak_eval_macro_f1(ctx, good, low, 3, quick));
    REFUSED(AK_ERR_VALUE, "all 3 items are unknown",
            ak_eval_macro_f1(ctx, unknown, good, 3, quick));
    REFUSED(AK_ERR_VALUE, "3 positive and 0 negative", ak_eval_auc(ctx, x, ones, 3, quick));
    REFUSED(AK_ERR_VALUE, "label -2", ak_eval_auc(ctx, x, low, 3, quick));
    REFUSED(AK_ERR_NUMBER, "1 of 3 scores", ak_eval_auc(ctx, bad, good, 3, quick));
    REFUSED(AK_ERR_NUMBER, "b: 1 of 3 values", ak_eval_spearman(ctx, x, bad, 3, quick));
    REFUSED(AK_ERR_VALUE, "all 3 values of b are 4", ak_eval_spearman(ctx, x, flat, 3, quick));
    REFUSED(AK_ERR_VALUE, "1 pairs", ak_eval_spearman(ctx, x, x, 1, quick));
    REFUSED(AK_ERR_VALUE, "k 3 of 2 classes",
            ak_eval_top_k(number_table(ctx, 3, 2, 1), good, 3, o));
    REFUSED(AK_ERR_VALUE, "label 1; expected one in [0, 1)",
            ak_eval_top_k(number_table(ctx, 3, 1, 1), good, 1, o));
    REFUSED(AK_ERR_NUMBER, "3 of 3 items",
            ak_eval_top_k(ak_full(ctx, AK_SHAPE(3, 2), (double)INFINITY), good, 1, o));
    REFUSED(AK_ERR_VALUE, "cluster -2", ak_eval_clusters(ctx, good, low, 3, 0).nmi);
    REFUSED(AK_ERR_VALUE, "level 2", ak_eval_clusters(ctx, good, good, 3, 2).accuracy);
    cr_assert_eq(ak_eval_roc(ctx, x, ones, 3, 0, p), -1);
    expect_error(ctx, AK_ERR_VALUE, "ROC");
    cr_assert_eq(ak_eval_roc(ctx, x, good, 3, 1, p), -1);
    expect_error(ctx, AK_ERR_VALUE, "level 1");
    count[0] = 77;
    ak_eval_confusion(ctx, good, good, 3, 1, count);
    expect_error(ctx, AK_ERR_VALUE, "item 1 has label 1; expected one in [0, 1)");
    cr_assert_eq(count[0], 77);
    ak_close(ctx);
}

/* More classes and clusters than the matching can hold are refused before it takes the memory. */
Test(clusters, too_large_a_matching_is_refused)
{
    ak_ctx *ctx = quiet();
    enum { MANY = 9000 };
    int32_t *label = malloc(MANY * sizeof *label);
    for (int32_t i = 0; i < MANY; i++)
        label[i] = i;
    cr_assert(isnan(ak_eval_clusters(ctx, label, label, MANY, 0).nmi.value));
    expect_error(ctx, AK_ERR_VALUE, "9000 classes x 9000 clusters");
    free(label);
    ak_close(ctx);
}

/* ---- coverage -------------------------------------------------------------------------------- */

static double uniform(int stream, int run, int i)
{
    return ak_random_uniform((uint64_t)stream, (uint64_t)run, (uint64_t)i);
}

Test(classes, intervals_cover)
{
    omp_set_num_threads(1);
    ak_ctx *ctx = quiet();
    enum { ITEMS = 120 };
    static const double share[3] = { 0.5, 0.3, 0.2 };
    double f1 = 0;              /* right by 0.7, else called the class after it */
    for (int c = 0; c < 3; c++)
        f1 += 2 * 0.7 * share[c] / (1.7 * share[c] + 0.3 * share[(c + 2) % 3]) / 3;
    const double auc = 1 - 0.6 * 0.6 / 2;       /* P(u + 0.4 > v) */
    const double rho = 6 / acos(-1) * asin(0.6 / 2);    /* normal, correlation 0.6 */
    int held[3] = { 0 };
    for (int r = 0; r < coverage_runs(); r++) {
        const ak_bootstrap_options o = { .resamples = 400, .seed = (uint64_t)r };
        int32_t truth[ITEMS], called[ITEMS], positive[ITEMS];
        double score[ITEMS], a[ITEMS], b[ITEMS];
        for (int i = 0; i < ITEMS; i++) {
            const double u = uniform(1, r, i);
            truth[i] = u < 0.5 ? 0 : u < 0.8 ? 1 : 2;
            called[i] = uniform(2, r, i) < 0.7 ? truth[i] : (truth[i] + 1) % 3;
            positive[i] = i % 3 == 0;
            score[i] = uniform(3, r, i) + 0.4 * positive[i];
            const double size = sqrt(-2 * log(1 - uniform(4, r, i)));
            const double angle = 2 * acos(-1) * uniform(5, r, i);
            a[i] = size * cos(angle);
            b[i] = 0.6 * a[i] + 0.8 * size * sin(angle);
        }
        held[0] += holds(ak_eval_macro_f1(ctx, truth, called, ITEMS, o), f1);
        held[1] += holds(ak_eval_auc(ctx, score, positive, ITEMS, o), auc);
        held[2] += holds(ak_eval_spearman(ctx, a, b, ITEMS, o), rho);
    }
    expect_coverage(held[0], "macro F1");
    expect_coverage(held[1], "AUC");
    expect_coverage(held[2], "Spearman");
    ak_close(ctx);
}

/* 4 classes; the cluster is the class by 0.7, else any of the 4. */
Test(clusters, intervals_cover)
{
    ak_ctx *ctx = quiet();
    enum { ITEMS = 300 };
    const double on = 0.25 * 0.775, off = 0.25 * 0.075, one = log(4);
    const double both = -4 * on * log(on) - 12 * off * log(off);
    const double nmi = 2 * (2 * one - both) / (2 * one);
    const double S = 4 * on * on + 12 * off * off, E = 1.0 / 16;
    const double ari = (S - E) / (0.25 - E);
    int held[3] = { 0 };
    for (int r = 0; r < coverage_runs(); r++) {
        int32_t truth[ITEMS], cluster[ITEMS];
        for (int i = 0; i < ITEMS; i++) {
            truth[i] = (int32_t)(4 * uniform(6, r, i));
            cluster[i] = uniform(7, r, i) < 0.7 ? 3 - truth[i] : (int32_t)(4 * uniform(8, r, i));
        }
        const ak_clustering c = ak_eval_clusters(ctx, truth, cluster, ITEMS, 0);
        held[0] += holds(c.nmi, nmi);
        held[1] += holds(c.ari, ari);
        held[2] += holds(c.accuracy, 0.775);
    }
    expect_coverage(held[0], "NMI");
    expect_coverage(held[1], "ARI");
    expect_coverage(held[2], "clustering accuracy");
    ak_close(ctx);
}
