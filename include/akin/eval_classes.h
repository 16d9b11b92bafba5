/* SPDX-License-Identifier: Apache-2.0 */
/* akin/eval_classes.h - labels, clusters and scores against the truth.
 *
 *     int32_t truth[N], predicted[N];
 *     ak_measure acc = ak_eval_accuracy(ctx, truth, predicted, N, (ak_label_options){ 0 });
 *     ak_measure f1 = ak_eval_macro_f1(ctx, truth, predicted, N, (ak_bootstrap_options){ 0 });
 *     printf("%.3f [%.3f, %.3f]  %s\n", f1.value, f1.lo, f1.hi, f1.protocol);
 *
 * Items whose true label is -1 are unknown: they are left out, and .unknown counts them. Labels may
 * be far apart; work follows the classes that occur. A figure that cannot vary with the items at
 * hand, such as an AUC of 1, has an interval of one point, unless it is a share: those have
 * Wilson's. Every measure records its error and returns a value of NaN.
 *
 * N items, C classes, K clusters.
 */
#ifndef AKIN_EVAL_CLASSES_H
#define AKIN_EVAL_CLASSES_H

#include <akin/eval_compare.h>
#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- predicted labels ------------------------------------------------------------------------ */

typedef struct ak_label_options {
    double  *each;              /* right (1) or wrong (0) of each known item, in order, for
                                 * ak_compare_paired; room for N numbers; NULL = not wanted */
    ak_bootstrap_options bootstrap;
} ak_label_options;

/* Accuracy: share of items whose predicted label is the true one.
 *
 *   predicted labels >= 0; one that never occurs in `truth` is wrong
 *   interval  Wilson
 *   errors    AK_ERR_VALUE (n < 1, labels below -1, predicted ones below 0, all unknown, options),
 *             AK_ERR_MEMORY
 */
AK_API ak_measure ak_eval_accuracy(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted,
                                   int64_t n, ak_label_options options);

/* Macro F1: mean over classes of the harmonic mean of precision and recall.
 *
 *   formula   F1[c] = 2 tp / (2 tp + fp + fn), over the classes that occur in `truth` or in
 *             `predicted`: one that is predicted but never true has F1 = 0
 *   interval  BCa; classes that a resample lacks on both sides are left out of its mean
 *   errors    as ak_eval_accuracy
 */
AK_API ak_measure ak_eval_macro_f1(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted,
                                   int64_t n, ak_bootstrap_options options);

/* Confusion matrix: count[t, p] of the items of class t that were called p.
 *
 *   count     [classes, classes], row-major, overwritten; its sum is the number of known items
 *   classes   all labels are below it, [1, 46340]
 *   errors    AK_ERR_VALUE; count is then left as it was
 */
AK_API ak_status ak_eval_confusion(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted,
                                   int64_t n, int classes, int64_t *count);

/* Top-k accuracy: share of items whose true class is among the k best scores.
 *
 *   scores    [N, C]: logits, probabilities or cosines; larger is better
 *   truth     [N], each in [0, C), or -1
 *   k         [1, C]
 *   ties      expected value over random order of equal scores: with a scores above that of the
 *             true class and g equal to it, itself among them, min(1, max(0, (k - a) / g))
 *   interval  Wilson if there are no such ties at the k-th place, else BCa
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE, AK_ERR_NUMBER (scores that are not finite), AK_ERR_MEMORY
 */
AK_API ak_measure ak_eval_top_k(const ak_tensor *scores, const int32_t *truth, int k,
                                ak_label_options options);

/* Scores of classes that are named by words alone, for ak_eval_top_k: cosines of rows and classes,
 * each class the mean direction of its prompts ("a photo of a {}", "a drawing of a {}", ..).
 *
 *   formula   w_c = mean over t of p[c,t] / |p[c,t]|;  score[i,c] = <x_i, w_c> / (|x_i| |w_c|)
 *   x         [N, D] what is classified
 *   prompts   [C T, D] encoded prompts, class by class: row c T + t is template t of class c
 *   templates T, a divisor of the rows of prompts, [1, rows]
 *   returns   [N, C], step lifetime, no gradient; poison after an error
 *   errors    AK_ERR_SHAPE (D differs), AK_ERR_VALUE (templates), AK_ERR_NUMBER (rows that are not
 *             finite, counted), AK_ERR_MEMORY
 *   source    Radford et al., "Learning transferable visual models from natural language
 *             supervision", ICML 2021, section 3.1.4
 */
AK_API ak_tensor *ak_zero_shot_scores(const ak_tensor *x, const ak_tensor *prompts, int templates);

/* ---- scores of two classes, ranks ------------------------------------------------------------ */

/* Area under the ROC curve: the chance that a positive item has a larger score than a negative one,
 * equal scores by half (Mann and Whitney).
 *
 *   positive  [N]: 1, 0, or -1 for unknown; both classes must occur
 *   interval  BCa; positives and negatives are resampled apart
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER (scores that are not finite, counted), AK_ERR_MEMORY
 */
AK_API ak_measure ak_eval_auc(ak_ctx *ctx, const double *score, const int32_t *positive, int64_t n,
                              ak_bootstrap_options options);

typedef struct ak_roc_point {
    double      threshold;      /* items of at least this score are called positive */
    double      fpr, tpr;       /* share of negatives, and of positives, that are */
    ak_interval fpr_in, tpr_in; /* Wilson's, each point for itself */
} ak_roc_point;

/* The ROC curve, from (0, 0) at an infinite threshold to (1, 1): one point for each different
 * score.
 *
 *   point     room for n + 1
 *   level     of the intervals, (0, 1); 0 = 0.95
 *   returns   points; -1 after an error
 *   errors    as ak_eval_auc
 */
AK_API int64_t ak_eval_roc(ak_ctx *ctx, const double *score, const int32_t *positive, int64_t n,
                           double level, ak_roc_point *point);

/* Spearman's rank correlation: Pearson's of the ranks, equal values at their mean rank.
 *
 *   a, b      n >= 2 finite numbers, neither all equal (the correlation is then not defined)
 *   interval  BCa; resamples where one side is all equal are left out
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    Spearman, "The proof and measurement of association between two things", 1904
 */
AK_API ak_measure ak_eval_spearman(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                                   ak_bootstrap_options options);

/* ---- clusters -------------------------------------------------------------------------------- */

typedef struct ak_clustering {
    ak_measure nmi, ari, accuracy;
    int64_t    classes, clusters;
} ak_clustering;

/* Clusters against classes.
 *
 *   formula   n items, n[c,k] of class c in cluster k:
 *                 NMI = 2 I / (H(classes) + H(clusters)), I the mutual information; 1 where both
 *                       are one group
 *                 ARI = (S - E) / (M - E), S pairs of items together in both, A in classes, B in
 *                       clusters, E = A B / pairs, M = (A + B) / 2; 1 where M = E
 *                 accuracy = largest share of items that a matching of clusters to classes, one to
 *                       one, gets right (Hungarian method); what has no partner is wrong
 *   cluster   [N] numbers >= 0
 *   interval  NMI and ARI by jackknife over items, within their ranges; accuracy by Wilson, for the
 *             matching found: many clusters with few items each make all three too good, which no
 *             interval tells (ARI alone is 0 by chance)
 *   memory    accuracy needs C x K numbers, at most 2^26
 *   errors    AK_ERR_VALUE (labels below -1, clusters below 0, all unknown, C x K, level),
 *             AK_ERR_MEMORY
 *   sources   Hubert, Arabie, "Comparing partitions", J. Classification 1985; Strehl, Ghosh,
 *             "Cluster ensembles", JMLR 2002, with the arithmetic mean; Kuhn, "The Hungarian method
 *             for the assignment problem", Naval Research Logistics 1955
 */
AK_API ak_clustering ak_eval_clusters(ak_ctx *ctx, const int32_t *truth, const int32_t *cluster,
                                      int64_t n, double level);

#ifdef __cplusplus
}
#endif
#endif
