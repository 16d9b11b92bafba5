/* SPDX-License-Identifier: Apache-2.0 */
/* Intervals: Wilson's for shares, BCa bootstrap for statistics of resampled items, jackknife for
 * smooth ones. What each is for stands in akin/eval_compare.h. */
#ifndef AK_RESAMPLE_H
#define AK_RESAMPLE_H

#include <akin/eval_compare.h>

/* ---- options --------------------------------------------------------------------------------- */

#define AK__DEFAULT_LEVEL 0.95
#define AK__MEASURE_RESAMPLES 2000

/* Fill in defaults (`resamples` where none are given). False: an error is recorded. */
bool ak__bootstrap_options(ak_ctx *ctx, const char *who, int64_t n, int resamples,
                           ak_bootstrap_options *o);
/* Are all finite? False: AK_ERR_NUMBER "who: 3 of 100 values hold .." is recorded. */
bool ak__values_finite(ak_ctx *ctx, const char *who, const char *what, const double *x, int64_t n);
/* A measure, and a comparison, that say "not available". */
ak_measure ak__no_measure(void);
/* " 95 %" or whatever the level is, for protocols. */
const char *ak__level_text(double level, char text[24]);

/* ---- closed forms ---------------------------------------------------------------------------- */

/* Wilson's interval of a share of `right` in n. */
ak_interval ak__wilson(int64_t right, int64_t n, double level);
/* A share and its interval as a measure, without protocol. */
ak_measure ak__share(int64_t right, int64_t n, double level);
/* Order statistics of ascending numbers whose places hold the median with at least the level:
 * {-inf, inf} if n is too small. */
ak_interval ak__median_interval(const double *sorted, int64_t n, double level);
/* The middle one, or the mean of both. */
double ak__median(const double *sorted, int64_t n);

/* ---- BCa ------------------------------------------------------------------------------------- */

#define AK__MAX_OUTS 8

typedef struct ak__statistic {
    int64_t items;
    int     outs;               /* numbers that are made at once, [1, AK__MAX_OUTS] */
    size_t  scratch;            /* bytes that make() may write in, a thread */
    const void *user;
    /* out[outs] of the items, item i taken count[i] times; NaN where it is not defined. */
    void (*make)(const void *user, const uint32_t *count, void *scratch, double *out);
    /* Resampled by groups of their own (classes), so that none is ever empty: items of group g are
     * member[start[g]] .. member[start[g + 1] - 1]. NULL: all together. */
    const int64_t *member, *start;
    int64_t groups;
} ak__statistic;

/* Value and BCa interval of each out; `least` and `most` [outs] are the ends of their ranges, given
 * where fewer than half the resamples have a value. Sets value, lo, hi, n. False: an error is
 * recorded (memory). */
bool ak__bca(ak_ctx *ctx, const ak__statistic *s, ak_bootstrap_options o, const double *least,
             const double *most, ak_measure *m);

/* Means of `outs` columns of numbers, values [outs, n]: Wilson for those of 0 and 1 alone, BCa for
 * the others. `ways` (may be NULL) says which. */
typedef enum ak__way { AK__WILSON, AK__BCA } ak__way;
bool ak__means(ak_ctx *ctx, const double *values, int outs, int64_t n, ak_bootstrap_options o,
               ak_measure *m, ak__way *ways);
const char *ak__way_text(ak__way way, ak_bootstrap_options o, char text[80]);

/* ---- jackknife ------------------------------------------------------------------------------- */

/* Interval from values without one item each, without[n] (overwritten): pseudo-values
 * n value - (n - 1) without[i], their mean and deviation, t(n - 1). n = 1: infinite. */
ak_interval ak__jackknife(double value, double *without, int64_t n, double level);

#endif
