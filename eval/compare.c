/* SPDX-License-Identifier: Apache-2.0 */
/* Two arms on the same items, on the same seeds, on both: differences, intervals, tests. */
#include <math.h>
#include <string.h>

#include <akin/eval_compare.h>

#include "base/base.h"
#include "base/normal.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/distributions.h"
#include "eval/resample.h"

#define DEFAULT_DRAWS 10000
#define MIN_DRAWS 100
#define MAX_DRAWS 100000000

static ak_comparison no_comparison(void)
{
    const double nan = (double)NAN;
    return (ak_comparison){ .estimate = nan, .lo = nan, .hi = nan, .p = nan };
}

/* ---- moments --------------------------------------------------------------------------------- */

typedef struct moments { double mean, deviation; } moments;     /* with n - 1; 0 for one number */

static moments moments_of(const double *x, int64_t n)
{
    moments m = { 0, 0 };
    double sum = 0, square = 0;
    bool equal = true;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        equal = equal && x[i] == x[0];
    }
    m.mean = equal ? x[0] : sum / (double)n;        /* not a rounding beside it */
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - m.mean) * (x[i] - m.mean);
    m.deviation = n > 1 ? sqrt(square / (double)(n - 1)) : 0;
    return m;
}

static ak_interval infinite(void)
{
    return (ak_interval){ -(double)INFINITY, (double)INFINITY };
}

static ak_interval t_interval(double mean, double error, double df, double level)
{
    const double half = ak__t_quantile((1 + level) / 2, df) * error;
    return (ak_interval){ mean - half, mean + half };
}

static bool check_level(ak_ctx *ctx, const char *who, int64_t n, double *level)
{
    *level = *level != 0 ? *level : AK__DEFAULT_LEVEL;
    if (n >= 1 && *level > 0 && *level < 1)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: %lld values, level %g; expected at least 1 value, a level in "
            "(0, 1)", who, (long long)n, *level);
    return false;
}

ak_measure ak_measure_seeds(ak_ctx *ctx, const double *values, int64_t n, double level)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, values) || ak_error(ctx) != AK_OK ||
        !check_level(ctx, "seeds", n, &level) ||
        !ak__values_finite(ctx, "seeds", "seed", values, n))
        return ak__no_measure();
    const moments m = moments_of(values, n);
    const ak_interval w = n < 2 ? infinite()
        : t_interval(m.mean, m.deviation / sqrt((double)n), (double)(n - 1), level);
    ak_measure r = { .value = m.mean, .lo = w.lo, .hi = w.hi, .n = n };
    char text[24];
    ak__format(r.protocol, sizeof r.protocol, "mean of %lld seeds, %s t", (long long)n,
               ak__level_text(level, text));
    return r;
}

/* ---- seeds and items ------------------------------------------------------------------------- */

typedef struct crossed { double mean, error, df; } crossed;     /* df 0: nothing can be said */

/* Table [seeds, items] of two ways, one number a cell. item: room for a mean an item. */
static crossed crossed_of(const double *x, int64_t seeds, int64_t items, double *item)
{
    const double S = (double)seeds, N = (double)items;
    crossed r = { 0, 0, 0 };
    memset(item, 0, (size_t)items * sizeof *item);
    for (int64_t s = 0; s < seeds; s++)
        for (int64_t i = 0; i < items; i++)
            item[i] += x[s * items + i];
    for (int64_t i = 0; i < items; i++) {
        item[i] /= S;
        r.mean += item[i] / N;
    }
    double by_seed = 0, by_item = 0, rest = 0;
    for (int64_t s = 0; s < seeds; s++) {
        const double *row = x + s * items;
        double mean = 0;
        for (int64_t i = 0; i < items; i++)
            mean += row[i] / N;
        by_seed += N * (mean - r.mean) * (mean - r.mean);
        for (int64_t i = 0; i < items; i++) {
            const double d = row[i] - mean - item[i] + r.mean;
            rest += d * d;
        }
    }
    for (int64_t i = 0; i < items; i++)
        by_item += S * (item[i] - r.mean) * (item[i] - r.mean);
    if (seeds < 2 || items < 2)
        return r;
    by_seed /= S - 1;
    by_item /= N - 1;
    rest /= (S - 1) * (N - 1);
    /* A mean square below that of the rest is chance: its part of the variance is not negative. */
    by_seed = by_seed > rest ? by_seed : rest;
    const double variance = by_seed + by_item - (by_item > rest ? rest : by_item);
    r.error = sqrt(variance / (S * N));
    const double parts = by_seed * by_seed / (S - 1) + by_item * by_item / (N - 1) +
                         (by_item > rest ? rest * rest / ((S - 1) * (N - 1)) : 0);
    r.df = parts > 0 ? variance * variance / parts : 1;
    return r;
}

static bool check_crossed(ak_ctx *ctx, const char *who, int64_t seeds, int64_t items,
                          double *level)
{
    if (seeds < 1 || items < 1 || seeds > INT64_MAX / 8 / items) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %lld seeds, %lld items; expected at least 1 each, and a "
                "table of them that memory can hold", who, (long long)seeds, (long long)items);
        return false;
    }
    return check_level(ctx, who, seeds, level);
}

ak_measure ak_measure_crossed(ak_ctx *ctx, const double *values, int64_t seeds, int64_t items,
                              double level)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, values) || ak_error(ctx) != AK_OK ||
        !check_crossed(ctx, "crossed mean", seeds, items, &level) ||
        !ak__values_finite(ctx, "crossed mean", "value", values, seeds * items))
        return ak__no_measure();
    const size_t bytes = (size_t)items * sizeof(double);
    double *room = ak__malloc(bytes);
    if (!room) {
        ak__fail_memory(ctx, bytes);
        return ak__no_measure();
    }
    const crossed c = crossed_of(values, seeds, items, room);
    ak__free(room);
    const ak_interval w = c.df > 0 ? t_interval(c.mean, c.error, c.df, level) : infinite();
    ak_measure r = { .value = c.mean, .lo = w.lo, .hi = w.hi, .n = items };
    char text[24];
    ak__format(r.protocol, sizeof r.protocol, "mean of %lld seeds x %lld items, %s t, both vary",
               (long long)seeds, (long long)items, ak__level_text(level, text));
    return r;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Sums of all 2^n choices of signs whose size is at least that of the sum at hand; what
 * differs by rounding alone counts as equal. */
static double all_signs(const double *d, int64_t n, double bound)
{
    const uint64_t ways = (uint64_t)1 << n;
    uint64_t far = 0;
    for (uint64_t way = 0; way < ways; way++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += way >> i & 1 ? -d[i] : d[i];
        far += fabs(sum) >= bound;
    }
    return (double)far / (double)ways;
}

static bool is_far(const double *d, int64_t n, double bound, uint64_t seed, uint64_t stream)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 128) {
        uint32_t word[4];
        ak__philox(seed, stream, (uint64_t)i / 128, word);
        for (int64_t j = 0; j < 128 && i + j < n; j++)
            sum += word[j / 32] >> (j % 32) & 1 ? -d[i + j] : d[i + j];
    }
    return fabs(sum) >= bound;
}

/* p of the permutation test, and how it was made into `how`. */
static double permutation(const double *d, int64_t n, const ak_compare_options *o, char how[80])
{
    double sum = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += d[i];
        size += fabs(d[i]);
    }
    const double bound = fabs(sum) - 1e-12 * size;
    if (n < 30 && (int64_t)1 << n <= o->draws) {
        ak__format(how, 80, "all sign flips");
        return all_signs(d, n, bound);
    }
    ak__format(how, 80, "%d sign flips, seed %llu", o->draws, (unsigned long long)o->seed);
    int64_t far = 1;                            /* the signs at hand are one of them */
    for (int64_t begin = 0; begin < o->draws; begin += 1024) {
        const int64_t count = ak__min(1024, o->draws - begin);
        bool flag[1024];
        AK__PARALLEL_FOR(k, count, n > 1024)
            flag[k] = is_far(d, n, bound, o->seed, ak__stream(0xf11b, (uint64_t)(begin + k), 0, 0));
        for (int64_t k = 0; k < count; k++)
            far += flag[k];
    }
    return (double)far / (double)(o->draws + 1);
}

static bool check_options(ak_ctx *ctx, const char *who, int64_t n, ak_compare_options *o)
{
    o->draws = o->draws ? o->draws : DEFAULT_DRAWS;
    o->resamples = o->resamples ? o->resamples : AK__MEASURE_RESAMPLES;
    if (!check_level(ctx, who, n, &o->level))
        return false;
    if (o->draws >= MIN_DRAWS && o->draws <= MAX_DRAWS && o->resamples >= MIN_DRAWS &&
        n <= UINT32_MAX && o->test >= AK_COMPARE_AUTO && o->test <= AK_COMPARE_T)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: %lld pairs, test %d, %d draws, %d resamples; expected an "
            "ak_compare_test, %d to %d draws, at least %d resamples", who, (long long)n,
            (int)o->test, o->draws, o->resamples, MIN_DRAWS, MAX_DRAWS, MIN_DRAWS);
    return false;
}

/* d = a - b of n finite pairs, to be freed; NULL: an error is recorded. */
static double *differences(ak_ctx *ctx, const char *who, const double *a, const double *b,
                           int64_t n)
{
    const size_t bytes = (size_t)n * sizeof(double);
    double *d = ak__malloc(bytes);
    if (!d) {
        ak__fail_memory(ctx, bytes);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        d[i] = a[i] - b[i];                     /* not finite if one of them is not */
    if (ak__values_finite(ctx, who, "pair", d, n))
        return d;
    ak__free(d);
    return NULL;
}

static bool has_spread(const double *d, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (d[i] != d[0])
            return true;
    return false;
}

/* By t: estimate, interval and p; nothing can be said without spread. */
static void by_t(const double *d, int64_t n, double level, ak_comparison *c)
{
    const moments m = moments_of(d, n);
    const double  error = m.deviation / sqrt((double)n);
    c->estimate = m.mean;
    c->n = n;
    c->p = 1;
    ak_interval w = { 0, 0 };
    if (has_spread(d, n)) {
        w = t_interval(m.mean, error, (double)(n - 1), level);
        c->p = ak__t_two_sided(m.mean / error, (double)(n - 1));
    } else if (n < 2 || m.mean != 0) {
        w = infinite();
    }
    c->lo = w.lo;
    c->hi = w.hi;
}

/* ---- items ----------------------------------------------------------------------------------- */

/* Pairs that one arm alone has right. */
typedef struct discordant { int64_t a, b; bool binary; } discordant;

static discordant count_discordant(const double *a, const double *b, int64_t n)
{
    discordant c = { 0, 0, true };
    for (int64_t i = 0; i < n && c.binary; i++) {
        c.binary = (a[i] == 0 || a[i] == 1) && (b[i] == 0 || b[i] == 1);
        c.a += a[i] > b[i];
        c.b += a[i] < b[i];
    }
    return c;
}

static ak_interval bonett_price(discordant c, int64_t n, double level)
{
    const double items = (double)n + 2;
    const double x = ((double)c.a + 1) / items, y = ((double)c.b + 1) / items;
    const double half = ak__normal_quantile((1 + level) / 2) *
                        sqrt((x + y - (x - y) * (x - y)) / items);
    const double lo = x - y - half, hi = x - y + half;
    return (ak_interval){ lo > -1 ? lo : -1, hi < 1 ? hi : 1 };
}

/* The interval of the mean of d, and its name. False: an error is recorded. */
static bool item_interval(ak_ctx *ctx, const double *d, int64_t n, discordant flags,
                          const ak_compare_options *o, ak_comparison *c, char how[80])
{
    const ak_bootstrap_options bootstrap = { o->resamples, o->level, o->seed };
    char level[24];
    if (flags.binary) {
        const ak_interval w = bonett_price(flags, n, o->level);
        c->lo = w.lo;
        c->hi = w.hi;
        ak__format(how, 80, "%s Bonett-Price", ak__level_text(o->level, level));
        return true;
    }
    if (!has_spread(d, n)) {
        ak__format(how, 80, "differences without spread");
        return true;                            /* as by_t has it */
    }
    ak_measure m;
    if (!ak__means(ctx, d, 1, n, bootstrap, &m, NULL))
        return false;
    c->lo = m.lo;
    c->hi = m.hi;
    ak__way_text(AK__BCA, bootstrap, how);
    return true;
}

ak_comparison ak_compare_paired(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                                ak_compare_options options)
{
    ak_compare_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a) || !AK__GIVEN(ctx, b) ||
        ak_error(ctx) != AK_OK || !check_options(ctx, "paired comparison", n, &o))
        return no_comparison();
    double *d = differences(ctx, "paired comparison", a, b, n);
    if (!d)
        return no_comparison();
    const discordant flags = count_discordant(a, b, n);
    if (o.test == AK_COMPARE_AUTO)
        o.test = flags.binary ? AK_COMPARE_MCNEMAR : AK_COMPARE_PERMUTATION;
    if (o.test == AK_COMPARE_MCNEMAR && !flags.binary) {
        ak_fail(ctx, AK_ERR_VALUE, "paired comparison: McNemar's test of values that are not all 0 "
                "or 1\n    hint: AK_COMPARE_PERMUTATION is the same for other values");
        ak__free(d);
        return no_comparison();
    }
    ak_comparison c = { 0 };
    char interval[80], test[80] = "t test", level[24];
    bool good = true;
    by_t(d, n, o.level, &c);
    if (o.test == AK_COMPARE_T)
        ak__format(interval, sizeof interval, "%s t", ak__level_text(o.level, level));
    else
        good = item_interval(ctx, d, n, flags, &o, &c, interval);
    if (o.test == AK_COMPARE_MCNEMAR) {
        c.p = ak__coin_two_sided(flags.a, flags.a + flags.b);
        ak__format(test, sizeof test, "exact McNemar, %lld against %lld", (long long)flags.a,
                   (long long)flags.b);
    } else if (o.test == AK_COMPARE_PERMUTATION) {
        c.p = permutation(d, n, &o, test);
    }
    ak__free(d);
    if (!good)
        return no_comparison();
    ak__format(c.protocol, sizeof c.protocol, "paired difference of %lld items, %s; %s",
               (long long)n, interval, test);
    return c;
}

/* ---- seeds ----------------------------------------------------------------------------------- */

ak_comparison ak_compare_seeds(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                               ak_compare_options options)
{
    ak_compare_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a) || !AK__GIVEN(ctx, b) ||
        ak_error(ctx) != AK_OK || !check_options(ctx, "comparison of seeds", n, &o))
        return no_comparison();
    if (o.test == AK_COMPARE_MCNEMAR) {
        ak_fail(ctx, AK_ERR_VALUE, "comparison of seeds: McNemar's test is of items\n"
                "    hint: ak_compare_paired");
        return no_comparison();
    }
    double *d = differences(ctx, "comparison of seeds", a, b, n);
    if (!d)
        return no_comparison();
    ak_comparison c = { 0 };
    char test[80] = "t test", level[24];
    by_t(d, n, o.level, &c);
    if (o.test == AK_COMPARE_PERMUTATION && has_spread(d, n))
        c.p = permutation(d, n, &o, test);
    ak__format(c.protocol, sizeof c.protocol, "paired difference of %lld seeds, %s t; %s%s",
               (long long)n, ak__level_text(o.level, level), test,
               has_spread(d, n) ? "" : " (no spread to judge by)");
    ak__free(d);
    return c;
}

ak_comparison ak_compare_crossed(ak_ctx *ctx, const double *a, const double *b, int64_t seeds,
                                 int64_t items, ak_compare_options options)
{
    ak_compare_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a) || !AK__GIVEN(ctx, b) ||
        ak_error(ctx) != AK_OK || !check_options(ctx, "crossed comparison", seeds, &o) ||
        !check_crossed(ctx, "crossed comparison", seeds, items, &o.level))
        return no_comparison();
    if (o.test == AK_COMPARE_MCNEMAR || o.test == AK_COMPARE_PERMUTATION) {
        ak_fail(ctx, AK_ERR_VALUE, "crossed comparison: only a t test knows seeds and items\n"
                "    hint: ak_compare_paired of items, ak_compare_seeds of seeds");
        return no_comparison();
    }
    double *d = differences(ctx, "crossed comparison", a, b, seeds * items);
    const size_t bytes = (size_t)items * sizeof(double);
    double *room = d ? ak__malloc(bytes) : NULL;
    ak_comparison c = no_comparison();
    if (room) {
        const crossed r = crossed_of(d, seeds, items, room);
        const bool spread = has_spread(d, seeds * items) && r.df > 0;
        const bool zero = !has_spread(d, seeds * items) && d[0] == 0 && seeds > 1;
        const ak_interval w = spread ? t_interval(r.mean, r.error, r.df, o.level)
                              : zero ? (ak_interval){ 0, 0 } : infinite();
        char level[24];
        c = (ak_comparison){ .estimate = r.mean, .lo = w.lo, .hi = w.hi, .n = seeds * items };
        c.p = spread ? ak__t_two_sided(r.mean / r.error, r.df) : 1;
        ak__format(c.protocol, sizeof c.protocol, "paired difference of %lld seeds x %lld items, "
                   "%s t, both vary; t test%s", (long long)seeds, (long long)items,
                   ak__level_text(o.level, level), spread ? "" : " (no spread to judge by)");
    } else if (d) {
        ak__fail_memory(ctx, bytes);
    }
    ak__free(room);
    ak__free(d);
    return c;
}
