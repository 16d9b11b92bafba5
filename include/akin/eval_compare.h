/* SPDX-License-Identifier: Apache-2.0 */
/* akin/eval_compare.h - how sure a figure is, and whether two figures differ.
 *
 *     double a[10000], b[10000];          // right (1) or wrong (0) of each test item, of two arms
 *     ak_comparison c = ak_compare_paired(ctx, a, b, 10000, (ak_compare_options){ 0 });
 *     printf("%+.2f [%+.2f, %+.2f], p %.3g  %s\n", c.estimate, c.lo, c.hi, c.p, c.protocol);
 *
 * Two different questions have two different answers. Would another test set of this size say the
 * same of these two trained nets? Items are what varies: ak_compare_paired. Would two other
 * trainings say the same of the two methods? Seeds are what varies: ak_compare_seeds; items say
 * nothing about that, however many there are. Both at once: ak_compare_crossed.
 *
 * How intervals are made, in all measures of this library; each protocol text names its way:
 *
 *     share of items (right or wrong)     Wilson's score interval. A percentile bootstrap of
 *                                         shares near 1 is too narrow: with 100 items and a share
 *                                         of 0.95 it holds the true one in 88 % of all cases
 *     mean of other numbers an item,      BCa bootstrap: 2000 resamples of the items, corrected for
 *     statistics made anew from the       bias and skewness (acceleration by a jackknife of at most
 *     resampled items (AUC, F1, ranks)    200 groups), at levels widened for few items: normal
 *                                         quantiles z become sqrt(n/(n-1)) t with n - 1 degrees
 *     smooth functions of means, counts   jackknife: mean and deviation of the pseudo-values, t
 *     or pairs (uniformity, NMI, rank)    quantiles
 *     median                              order statistics
 *     seeds                               t
 *
 * Resamples depend on options.seed alone: the same bits for any number of threads, and the same
 * draws for two measures of as many items.
 *
 *   sources   Efron, "Better bootstrap confidence intervals", JASA 1987 (BCa); Hesterberg, "What
 *             teachers should know about the bootstrap", The American Statistician 2015 (widened
 *             levels); Wilson, "Probable inference", JASA 1927; Efron, Tibshirani, "An Introduction
 *             to the Bootstrap", 1993, chapters 11 and 15 (jackknife, permutation)
 */
#ifndef AKIN_EVAL_COMPARE_H
#define AKIN_EVAL_COMPARE_H

#include <akin/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- figures with an interval ---------------------------------------------------------------- */

typedef struct ak_interval { double lo, hi; } ak_interval;

typedef struct ak_measure {
    double  value;              /* NaN after an error, never else */
    double  lo, hi;             /* interval, 95 % if nothing else was asked for; infinite where
                                 * nothing can be said (one seed) */
    int64_t n;                  /* items, queries, rows or seeds that the interval is over */
    int64_t unknown;            /* items that were left out: label -1 */
    char    protocol[240];      /* what was measured, and how the interval was made */
} ak_measure;

typedef struct ak_bootstrap_options {
    int      resamples;         /* [100, ...); 0 = 1000 for ak_bootstrap_mean, 2000 for measures */
    double   level;             /* (0, 1); 0 = 0.95 */
    uint64_t seed;              /* default 0 */
} ak_bootstrap_options;

/* Percentile bootstrap interval of a mean.
 *
 *   formula   means of `resamples` draws of n values with replacement; their (1 - level)/2 and
 *             (1 + level)/2 quantiles, linearly interpolated
 *   values    n >= 1 numbers
 *   returns   the interval, {NaN, NaN} after an error; the same bits for any number of threads.
 *             Too narrow for few values, and for shares near 0 and 1: see ak_measure_mean
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER (values that are not finite, counted), AK_ERR_MEMORY
 *   source    Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3
 */
AK_API ak_interval ak_bootstrap_mean(ak_ctx *ctx, const double *values, int64_t n,
                                     ak_bootstrap_options options);

/* Mean of one number an item: Wilson's interval if all are 0 or 1, else BCa (see above).
 *
 *   formula   share p of n: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
 *   values    n >= 1; one value has an infinite interval unless it is 0 or 1
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER (values that are not finite, counted), AK_ERR_MEMORY
 */
AK_API ak_measure ak_measure_mean(ak_ctx *ctx, const double *values, int64_t n,
                                  ak_bootstrap_options options);

/* Mean over seeds: mean +- t(n - 1) deviation / sqrt(n).
 *
 *   values    the figure of each seed, n >= 1. One seed has an infinite interval
 *   level     (0, 1); 0 = 0.95
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER
 */
AK_API ak_measure ak_measure_seeds(ak_ctx *ctx, const double *values, int64_t n, double level);

/* Mean of a table of seeds (or draws) and items, both of which vary.
 *
 *   formula   variance MS_seed / (S N) + MS_item / (S N) - MS_rest / (S N), the mean squares of a
 *             table of two ways, its first part at least as large as the third; t quantiles with
 *             Satterthwaite's degrees of freedom
 *   values    [seeds, items], row-major; S, N >= 1. One seed or one item has an infinite interval
 *   level     (0, 1); 0 = 0.95
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    Searle, Casella, McCulloch, "Variance Components", 1992, chapter 4
 */
AK_API ak_measure ak_measure_crossed(ak_ctx *ctx, const double *values, int64_t seeds,
                                     int64_t items, double level);

/* ---- two arms -------------------------------------------------------------------------------- */

typedef enum ak_compare_test {
    AK_COMPARE_AUTO,            /* what each function says */
    AK_COMPARE_PERMUTATION,     /* signs of the differences flipped: all 2^n ways where they are no
                                 * more than `draws`, else as many drawn ones and the one at hand */
    AK_COMPARE_MCNEMAR,         /* exact, for values that are 0 or 1: the permutation test of those,
                                 * without draws */
    AK_COMPARE_T                /* paired t test */
} ak_compare_test;

typedef struct ak_compare_options {
    ak_compare_test test;
    int      draws;             /* of signs, [100, ...); 0 = 10000 */
    int      resamples;         /* of a bootstrap, [100, ...); 0 = 2000 */
    double   level;             /* of the interval, (0, 1); 0 = 0.95 */
    uint64_t seed;              /* default 0 */
} ak_compare_options;

typedef struct ak_comparison {
    double  estimate;           /* mean of a - b: above 0, a is larger. NaN after an error */
    double  lo, hi;             /* its interval */
    double  p;                  /* of "no difference", two-sided; NaN after an error */
    int64_t n;                  /* pairs */
    char    protocol[240];
} ak_comparison;

/* Two arms on the same items: do the arms, as they are, differ on other items of this kind?
 *
 *   formula   d = a - b, item by item; estimate = mean d
 *   interval  values all 0 or 1: Bonett and Price, with f of a alone right, g of b alone, n pairs:
 *             x = (f+1)/(n+2), y = (g+1)/(n+2):  x - y +- z sqrt((x + y - (x-y)^2) / (n+2));
 *             else BCa of the mean of d; with AK_COMPARE_T the t interval
 *   p         AUTO: McNemar if all values are 0 or 1, else PERMUTATION of the mean
 *   a, b      [n], n >= 1; any figure an item: right or wrong, reciprocal rank, average precision
 *             (the .each of retrieval and classifiers). One pair, and differences that are all
 *             equal but not 0 where values are not all 0 or 1, have an infinite interval
 *   errors    AK_ERR_VALUE (options; MCNEMAR of other values), AK_ERR_NUMBER (pairs that are not
 *             finite, counted), AK_ERR_MEMORY
 *   sources   Bonett, Price, "Adjusted Wald confidence interval for a difference of binomial
 *             proportions based on paired data", J. Educ. Behav. Stat. 2012; McNemar 1947
 */
AK_API ak_comparison ak_compare_paired(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                                       ak_compare_options options);

/* Two arms, each trained with the same n seeds: do the methods differ?
 *
 *   formula   d = a - b, seed by seed; estimate = mean d; interval by t(n - 1)
 *   p         AUTO: paired t. PERMUTATION: of n seeds it is 2 / 2^n at the least, above 0.05 for
 *             n < 6. A permutation test has no interval of its own: the t interval stands beside it
 *   a, b      [n] the figure of each seed, n >= 1
 *   no spread one seed, or differences that are all equal but not 0: nothing can be said, the
 *             interval is infinite and p = 1. Differences that are all 0: [0, 0] and p = 1
 *   errors    AK_ERR_VALUE (options, MCNEMAR), AK_ERR_NUMBER
 */
AK_API ak_comparison ak_compare_seeds(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                                      ak_compare_options options);

/* Two arms, each trained with the same seeds and judged on the same items: the mean difference
 * where other seeds and other items could have come (ak_measure_crossed of a - b).
 *
 *   a, b      [seeds, items], row-major
 *   p         of t with Satterthwaite's degrees of freedom; AUTO or T, others are refused
 *   no spread as ak_compare_seeds
 *   errors    AK_ERR_VALUE, AK_ERR_NUMBER, AK_ERR_MEMORY
 */
AK_API ak_comparison ak_compare_crossed(ak_ctx *ctx, const double *a, const double *b,
                                        int64_t seeds, int64_t items, ak_compare_options options);

#ifdef __cplusplus
}
#endif
#endif
