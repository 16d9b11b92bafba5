/* SPDX-License-Identifier: Apache-2.0 */
/* Intervals of measures. Resamples are counts: how often each item was drawn. A statistic is made
 * from counts, so that sorting and tables are made once and a resample costs one pass. */
#include "eval/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/normal.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/distributions.h"
#include "tensor/tensor_internal.h"

#define MIN_RESAMPLES 100
#define MAX_GROUPS 200          /* of the jackknife that measures skewness */

/* ---- options --------------------------------------------------------------------------------- */

bool ak__bootstrap_options(ak_ctx *ctx, const char *who, int64_t n, int resamples,
                           ak_bootstrap_options *o)
{
    o->resamples = o->resamples ? o->resamples : resamples;
    o->level = o->level != 0 ? o->level : AK__DEFAULT_LEVEL;
    if (n >= 1 && n <= UINT32_MAX && o->resamples >= MIN_RESAMPLES && o->level > 0 && o->level < 1)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: %lld values, %d resamples, level %g; expected at least 1 "
            "value, at least %d resamples, a level in (0, 1)", who, (long long)n, o->resamples,
            o->level, MIN_RESAMPLES);
    return false;
}

bool ak__values_finite(ak_ctx *ctx, const char *who, const char *what, const double *x, int64_t n)
{
    int64_t bad = 0, first = 0;
    for (int64_t i = n - 1; i >= 0; i--)
        if (!isfinite(x[i])) {
            bad++;
            first = i;
        }
    if (bad)
        ak__fail_rows(ctx, who, what, bad, n, first);
    return bad == 0;
}

ak_measure ak__no_measure(void)
{
    return (ak_measure){ .value = (double)NAN, .lo = (double)NAN, .hi = (double)NAN };
}

const char *ak__level_text(double level, char text[24])
{
    ak__format(text, 24, "%g %%", 100 * level);
    return text;
}

/* ---- closed forms ---------------------------------------------------------------------------- */

ak_interval ak__wilson(int64_t right, int64_t n, double level)
{
    const double z = ak__normal_quantile((1 + level) / 2), items = (double)n;
    const double p = (double)right / items, square = z * z / items;
    const double middle = p + square / 2;
    const double half = z * sqrt(p * (1 - p) / items + square / (4 * items));
    const double lo = (middle - half) / (1 + square), hi = (middle + half) / (1 + square);
    return (ak_interval){ right == 0 || lo < 0 ? 0 : lo, right == n || hi > 1 ? 1 : hi };
}

ak_measure ak__share(int64_t right, int64_t n, double level)
{
    const ak_interval w = ak__wilson(right, n, level);
    return (ak_measure){ .value = (double)right / (double)n, .lo = w.lo, .hi = w.hi, .n = n };
}

double ak__median(const double *sorted, int64_t n)
{
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

ak_interval ak__median_interval(const double *sorted, int64_t n, double level)
{
    /* The largest k with P(X < k) <= (1 - level) / 2, X the number of values below the median:
     * found by bisection, since the distribution function rises. */
    const double tail = (1 - level) / 2;
    int64_t lo = 0, hi = n / 2 + 1;         /* k = lo does, k = hi does not */
    while (hi - lo > 1) {
        const int64_t k = lo + (hi - lo) / 2;
        if (ak__coin_at_most(k - 1, n) <= tail)
            lo = k;
        else
            hi = k;
    }
    if (lo == 0)
        return (ak_interval){ -(double)INFINITY, (double)INFINITY };
    return (ak_interval){ sorted[lo - 1], sorted[n - lo] };
}

/* ---- BCa ------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t n, double q)
{
    const double  place = q * (double)(n - 1);
    const int64_t low = (int64_t)floor(place), high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (place - (double)low) * (sorted[high] - sorted[low]);
}

/* n draws from n items, counted. A draw is a 32-bit word scaled to n: its bias, n / 2^32, is far
 * below the sampling noise. */
static void draw(uint32_t *count, const int64_t *member, int64_t n, uint64_t seed, uint64_t stream)
{
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t word[4];
        ak__philox(seed, stream, (uint64_t)i / 4, word);
        for (int64_t j = 0; j < 4 && i + j < n; j++) {
            const uint64_t k = ((uint64_t)word[j] * (uint64_t)n) >> 32;
            count[member ? (uint64_t)member[k] : k]++;
        }
    }
}

static void resample(const ak__statistic *s, uint64_t seed, int64_t r, uint32_t *count)
{
    memset(count, 0, (size_t)s->items * sizeof *count);
    if (!s->member)
        draw(count, NULL, s->items, seed, ak__stream(0xbca, (uint64_t)r, 0, 0));
    for (int64_t g = 0; s->member && g < s->groups; g++)
        draw(count, s->member + s->start[g], s->start[g + 1] - s->start[g], seed,
             ak__stream(0xbca, (uint64_t)r, (uint64_t)g + 1, 0));
}

/* The items but every `groups`-th from g on. */
static void leave_out(const ak__statistic *s, int64_t g, int64_t groups, uint32_t *count)
{
    for (int64_t i = 0; i < s->items; i++)
        count[i] = i % groups != g;
}

typedef struct bca_run {
    const ak__statistic *s;
    int64_t   resamples, groups;
    double   *value;            /* [outs, resamples] */
    double   *without;          /* [outs, groups] */
    uint32_t *count;            /* [threads, items] */
    char     *scratch;          /* [threads, room] */
    size_t    room;
} bca_run;

/* Resample r; from `resamples` on, the items without a group. */
static void run_one(bca_run *run, uint64_t seed, int64_t r)
{
    const ak__statistic *s = run->s;
    const size_t thread = (size_t)ak__thread_id();
    uint32_t *count = run->count + thread * (size_t)s->items;
    double out[AK__MAX_OUTS];
    if (r < run->resamples)
        resample(s, seed, r, count);
    else
        leave_out(s, r - run->resamples, run->groups, count);
    s->make(s->user, count, run->scratch + thread * run->room, out);
    for (int o = 0; o < s->outs; o++) {
        if (r < run->resamples)
            run->value[o * run->resamples + r] = out[o];
        else
            run->without[o * run->groups + r - run->resamples] = out[o];
    }
}

/* Those that are numbers to the front; returns how many. */
static int64_t keep_defined(double *x, int64_t n)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i]))
            x[kept++] = x[i];
    return kept;
}

/* A sixth of the skewness of the influence of items, Efron 1987 (6.6). */
static double acceleration(double *without, int64_t groups)
{
    const int64_t n = keep_defined(without, groups);
    double mean = 0, square = 0, cube = 0;
    for (int64_t i = 0; i < n; i++)
        mean += without[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = mean - without[i];
        square += d * d;
        cube += d * d * d;
    }
    return square > 0 ? cube / (6 * square * sqrt(square)) : 0;
}

/* Share of sorted[0..n) below x, equal ones by half; never 0 or 1. */
static double share_below(const double *sorted, int64_t n, double x)
{
    double below = 0;
    for (int64_t i = 0; i < n && sorted[i] <= x; i++)
        below += sorted[i] < x ? 1 : 0.5;
    return (below + 0.5) / (double)(n + 1);
}

/* Where a resample stands at quantile z of the normal distribution. */
static double corrected_level(double z0, double a, double z)
{
    const double slope = 1 - a * (z0 + z);
    if (!(slope > 0))
        return z0 + z > 0 ? 1 : 0;
    return ak__normal_cdf(z0 + (z0 + z) / slope);
}

static ak_interval bca_interval(const bca_run *run, int out, double value, double level)
{
    double *sorted = run->value + out * run->resamples;
    const int64_t n = keep_defined(sorted, run->resamples), items = run->s->items;
    if (items < 2 || 2 * n < run->resamples)
        return (ak_interval){ -(double)INFINITY, (double)INFINITY };
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    if (sorted[n - 1] - sorted[0] <= 1e-12 * fabs(value))      /* one number, but for rounding */
        return (ak_interval){ value, value };
    const double a = acceleration(run->without + out * run->groups, run->groups);
    const double z0 = ak__normal_quantile(share_below(sorted, n, value));
    const double wide = sqrt((double)items / (double)(items - 1)) *
                        ak__t_quantile((1 + level) / 2, (double)(items - 1));
    return (ak_interval){ quantile(sorted, n, corrected_level(z0, a, -wide)),
                          quantile(sorted, n, corrected_level(z0, a, wide)) };
}

bool ak__bca(ak_ctx *ctx, const ak__statistic *s, ak_bootstrap_options o, const double *least,
             const double *most, ak_measure *m)
{
    bca_run run = { .s = s, .resamples = o.resamples, .groups = ak__min(s->items, MAX_GROUPS) };
    const size_t threads = (size_t)ak__max_threads(), outs = (size_t)s->outs;
    const size_t numbers = outs * (size_t)(run.resamples + run.groups);
    const size_t counts = threads * (size_t)s->items;
    run.room = (s->scratch + 63) / 64 * 64;
    run.value = ak__malloc(numbers * sizeof *run.value);
    run.count = ak__malloc(counts * sizeof *run.count);
    run.scratch = ak__malloc(threads * run.room + 1);
    const bool good = run.value && run.count && run.scratch;
    if (good) {
        run.without = run.value + outs * (size_t)run.resamples;
        double whole[AK__MAX_OUTS];
        for (int64_t i = 0; i < s->items; i++)
            run.count[i] = 1;
        s->make(s->user, run.count, run.scratch, whole);
        AK__PARALLEL_FOR(r, run.resamples + run.groups, s->items > 16)
            run_one(&run, o.seed, r);
        for (int i = 0; i < s->outs; i++) {
            const ak_interval w = bca_interval(&run, i, whole[i], o.level);
            m[i].value = whole[i];
            m[i].lo = w.lo > least[i] ? w.lo : least[i];
            m[i].hi = w.hi < most[i] ? w.hi : most[i];
            m[i].n = s->items;
        }
    } else {
        ak__fail_memory(ctx, numbers * sizeof *run.value + counts * sizeof *run.count +
                             threads * run.room);
    }
    ak__free(run.scratch);
    ak__free(run.count);
    ak__free(run.value);
    return good;
}

/* ---- means ----------------------------------------------------------------------------------- */

typedef struct mean_columns {
    const double *column[AK__MAX_OUTS];     /* each [n] */
    int           outs;
    int64_t       n;
} mean_columns;

static void make_means(const void *user, const uint32_t *count, void *scratch, double *out)
{
    (void)scratch;
    const mean_columns *c = user;
    int64_t drawn = 0;
    for (int64_t i = 0; i < c->n; i++)
        drawn += count[i];
    for (int o = 0; o < c->outs; o++) {
        const double *x = c->column[o];
        double sum = 0;
        for (int64_t i = 0; i < c->n; i++)
            sum += count[i] * x[i];
        out[o] = sum / (double)drawn;
    }
}

static bool only_0_and_1(const double *x, int64_t n, int64_t *ones)
{
    *ones = 0;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] != 0 && x[i] != 1)
            return false;
        *ones += x[i] == 1;
    }
    return true;
}

bool ak__means(ak_ctx *ctx, const double *values, int outs, int64_t n, ak_bootstrap_options o,
               ak_measure *m, ak__way *ways)
{
    mean_columns c = { .n = n };
    int place[AK__MAX_OUTS] = { 0 };
    double least[AK__MAX_OUTS], most[AK__MAX_OUTS];
    ak_measure found[AK__MAX_OUTS] = { 0 };
    for (int i = 0; i < outs; i++) {
        int64_t ones;
        const bool share = only_0_and_1(values + i * n, n, &ones);
        m[i] = share ? ak__share(ones, n, o.level) : (ak_measure){ 0 };
        if (ways)
            ways[i] = share ? AK__WILSON : AK__BCA;
        if (!share) {
            place[c.outs] = i;
            c.column[c.outs] = values + i * n;
            least[c.outs] = -(double)INFINITY;
            most[c.outs++] = (double)INFINITY;
        }
    }
    if (c.outs == 0)
        return true;
    const ak__statistic s = { .items = n, .outs = c.outs, .user = &c, .make = make_means };
    if (!ak__bca(ctx, &s, o, least, most, found))
        return false;
    for (int i = 0; i < c.outs; i++)
        m[place[i]] = found[i];
    return true;
}

const char *ak__way_text(ak__way way, ak_bootstrap_options o, char text[80])
{
    char level[24];
    ak__level_text(o.level, level);
    if (way == AK__WILSON)
        ak__format(text, 80, "%s Wilson", level);
    else
        ak__format(text, 80, "%s BCa, %d resamples, seed %llu", level, o.resamples,
                   (unsigned long long)o.seed);
    return text;
}

ak_measure ak_measure_mean(ak_ctx *ctx, const double *values, int64_t n,
                           ak_bootstrap_options options)
{
    ak_measure m = ak__no_measure();
    ak_bootstrap_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, values) || ak_error(ctx) != AK_OK ||
        !ak__bootstrap_options(ctx, "mean", n, AK__MEASURE_RESAMPLES, &o) ||
        !ak__values_finite(ctx, "mean", "value", values, n))
        return m;
    ak__way way;
    char how[80];
    if (!ak__means(ctx, values, 1, n, o, &m, &way))
        return ak__no_measure();
    ak__format(m.protocol, sizeof m.protocol, "mean of %lld, %s", (long long)n,
               ak__way_text(way, o, how));
    return m;
}

/* ---- jackknife ------------------------------------------------------------------------------- */

ak_interval ak__jackknife(double value, double *without, int64_t n, double level)
{
    if (n < 2)
        return (ak_interval){ -(double)INFINITY, (double)INFINITY };
    const double items = (double)n;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++) {
        /* as a difference, so that n times the value takes no digits */
        without[i] = value + (items - 1) * (value - without[i]);
        mean += without[i] / items;
    }
    for (int64_t i = 0; i < n; i++)
        square += (without[i] - mean) * (without[i] - mean);
    const double half = ak__t_quantile((1 + level) / 2, items - 1) *
                        sqrt(square / (items - 1) / items);
    return (ak_interval){ mean - half, mean + half };
}
