/* SPDX-License-Identifier: Apache-2.0 */
/* Measures of order: area under the ROC curve, the curve, rank correlation. Items are sorted once;
 * a resample walks them in that order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/eval_classes.h>

#include "base/base.h"
#include "base/text.h"
#include "eval/resample.h"
#include "tensor/tensor_internal.h"

/* ---- items in order -------------------------------------------------------------------------- */

typedef struct ranked { double value; int64_t item; } ranked;

static int by_value(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->value != y->value ? (x->value > y->value) - (x->value < y->value)
                                : (x->item > y->item) - (x->item < y->item);
}

/* One past the items whose value is that of `at`. */
static int64_t end_of_ties(const ranked *r, int64_t n, int64_t at)
{
    int64_t end = at + 1;
    while (end < n && r[end].value == r[at].value)
        end++;
    return end;
}

/* ---- positives and negatives ----------------------------------------------------------------- */

/* Known items in ascending order of their scores; item: its place among them before sorting,
 * members first the positives, then the negatives. */
typedef struct two_classes {
    ranked  *order;             /* [n] */
    bool    *positive;          /* [n] by item */
    int64_t *member;            /* [n] positives, then negatives */
    int64_t  start[3];          /* of both in member */
    int64_t  n, unknown, positives;
} two_classes;

static void two_classes_free(two_classes *t)
{
    ak__free(t->order);
    ak__free(t->positive);
    ak__free(t->member);
}

/* Counts what is known and positive, or records what is wrong. */
static bool check_two(ak_ctx *ctx, const char *who, const double *score, const int32_t *positive,
                      int64_t n, two_classes *t)
{
    *t = (two_classes){ 0 };
    if (n < 1 || n > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %lld items; expected at least 1, at most 2^31 - 1", who,
                (long long)n);
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        if (positive[i] < -1 || positive[i] > 1) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: item %lld has label %d; expected 1, 0, or -1 for "
                    "unknown", who, (long long)i, (int)positive[i]);
            return false;
        }
        t->n += positive[i] >= 0;
        t->positives += positive[i] == 1;
    }
    t->unknown = n - t->n;
    if (t->positives == 0 || t->positives == t->n) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %lld positive and %lld negative items; expected some of "
                "each", who, (long long)t->positives, (long long)(t->n - t->positives));
        return false;
    }
    return ak__values_finite(ctx, who, "score", score, n);
}

static bool two_classes_make(ak_ctx *ctx, const char *who, const double *score,
                             const int32_t *positive, int64_t n, two_classes *t)
{
    if (!check_two(ctx, who, score, positive, n, t))
        return false;
    const size_t known = (size_t)t->n;
    t->order = ak__malloc(known * sizeof *t->order);
    t->positive = ak__malloc(known * sizeof *t->positive);
    t->member = ak__malloc(known * sizeof *t->member);
    if (!t->order || !t->positive || !t->member) {
        ak__fail_memory(ctx, known * (sizeof *t->order + sizeof *t->positive + sizeof *t->member));
        two_classes_free(t);
        return false;
    }
    int64_t item = 0, p = 0, q = t->positives;
    for (int64_t i = 0; i < n; i++) {
        if (positive[i] < 0)
            continue;
        t->order[item] = (ranked){ score[i], item };
        t->positive[item] = positive[i] == 1;
        t->member[positive[i] == 1 ? p++ : q++] = item;
        item++;
    }
    t->start[1] = t->positives;
    t->start[2] = t->n;
    qsort(t->order, known, sizeof *t->order, by_value);
    return true;
}

/* ---- area under the curve -------------------------------------------------------------------- */

static void make_auc(const void *user, const uint32_t *count, void *scratch, double *out)
{
    (void)scratch;
    const two_classes *t = user;
    double below = 0, positives = 0, won = 0;
    for (int64_t at = 0, end; at < t->n; at = end) {
        double p = 0, q = 0;
        end = end_of_ties(t->order, t->n, at);
        for (int64_t i = at; i < end; i++) {
            const int64_t item = t->order[i].item;
            *(t->positive[item] ? &p : &q) += count[item];
        }
        won += p * (below + q / 2);
        below += q;
        positives += p;
    }
    out[0] = positives > 0 && below > 0 ? won / (positives * below) : (double)NAN;
}

ak_measure ak_eval_auc(ak_ctx *ctx, const double *score, const int32_t *positive, int64_t n,
                       ak_bootstrap_options options)
{
    ak_bootstrap_options o = options;
    two_classes t;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, score) || !AK__GIVEN(ctx, positive) ||
        ak_error(ctx) != AK_OK ||
        !ak__bootstrap_options(ctx, "AUC", n, AK__MEASURE_RESAMPLES, &o) ||
        !two_classes_make(ctx, "AUC", score, positive, n, &t))
        return ak__no_measure();
    const ak__statistic s = { .items = t.n, .outs = 1, .user = &t, .make = make_auc,
                              .member = t.member, .start = t.start, .groups = 2 };
    ak_measure m = { 0 };
    if (ak__bca(ctx, &s, o, &(double){ 0 }, &(double){ 1 }, &m)) {
        char how[80];
        m.unknown = t.unknown;
        ak__format(m.protocol, sizeof m.protocol, "AUC of %lld positive and %lld negative items, %s"
                   ", each resampled apart", (long long)t.positives,
                   (long long)(t.n - t.positives), ak__way_text(AK__BCA, o, how));
    } else {
        m = ak__no_measure();
    }
    two_classes_free(&t);
    return m;
}

int64_t ak_eval_roc(ak_ctx *ctx, const double *score, const int32_t *positive, int64_t n,
                    double level, ak_roc_point *point)
{
    two_classes t;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, score) || !AK__GIVEN(ctx, positive) ||
        !AK__GIVEN(ctx, point) || ak_error(ctx) != AK_OK)
        return -1;
    level = level != 0 ? level : AK__DEFAULT_LEVEL;
    if (!(level > 0 && level < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "ROC: level %g; expected one in (0, 1)", level);
        return -1;
    }
    if (!two_classes_make(ctx, "ROC", score, positive, n, &t))
        return -1;
    const int64_t negatives = t.n - t.positives;
    int64_t made = 0, p = 0, q = 0;
    double threshold = (double)INFINITY;
    for (int64_t at = t.n; ; ) {                /* from the largest score down, ties together */
        point[made++] = (ak_roc_point){
            .threshold = threshold, .fpr = (double)q / (double)negatives,
            .tpr = (double)p / (double)t.positives, .fpr_in = ak__wilson(q, negatives, level),
            .tpr_in = ak__wilson(p, t.positives, level) };
        if (at == 0)
            break;
        threshold = t.order[at - 1].value;
        for (; at > 0 && t.order[at - 1].value == threshold; at--) {
            const bool is_positive = t.positive[t.order[at - 1].item];
            p += is_positive;
            q += !is_positive;
        }
    }
    two_classes_free(&t);
    return made;
}

/* ---- rank correlation ------------------------------------------------------------------------ */

typedef struct two_orders {
    ranked *order[2];           /* [n] */
    int64_t n;
} two_orders;

/* Ranks of the drawn items about their mean: of each, the mean place of its equals. */
static void drawn_ranks(const ranked *order, int64_t n, const uint32_t *count, double *rank)
{
    double before = 0, drawn = 0;
    for (int64_t i = 0; i < n; i++)
        drawn += count[i];
    for (int64_t at = 0, end; at < n; at = end) {
        double equal = 0;
        end = end_of_ties(order, n, at);
        for (int64_t i = at; i < end; i++)
            equal += count[order[i].item];
        for (int64_t i = at; i < end; i++)
            rank[order[i].item] = before + equal / 2 - drawn / 2;
        before += equal;
    }
}

static void make_spearman(const void *user, const uint32_t *count, void *scratch, double *out)
{
    const two_orders *t = user;
    double *x = scratch, *y = x + t->n, xx = 0, yy = 0, xy = 0;
    drawn_ranks(t->order[0], t->n, count, x);
    drawn_ranks(t->order[1], t->n, count, y);
    for (int64_t i = 0; i < t->n; i++) {
        xx += count[i] * x[i] * x[i];
        yy += count[i] * y[i] * y[i];
        xy += count[i] * x[i] * y[i];
    }
    const double r = xy / (sqrt(xx) * sqrt(yy));
    out[0] = xx > 0 && yy > 0 ? r > 1 ? 1 : r < -1 ? -1 : r : (double)NAN;
}

static bool all_equal(const double *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (x[i] != x[0])
            return false;
    return true;
}

static bool check_spearman(ak_ctx *ctx, const double *a, const double *b, int64_t n)
{
    if (n < 2) {
        ak_fail(ctx, AK_ERR_VALUE, "Spearman: %lld pairs; expected at least 2", (long long)n);
        return false;
    }
    if (!ak__values_finite(ctx, "Spearman: a", "value", a, n) ||
        !ak__values_finite(ctx, "Spearman: b", "value", b, n))
        return false;
    const bool flat = all_equal(a, n);
    if (!flat && !all_equal(b, n))
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "Spearman: all %lld values of %s are %g: no correlation is defined",
            (long long)n, flat ? "a" : "b", flat ? a[0] : b[0]);
    return false;
}

ak_measure ak_eval_spearman(ak_ctx *ctx, const double *a, const double *b, int64_t n,
                            ak_bootstrap_options options)
{
    ak_bootstrap_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a) || !AK__GIVEN(ctx, b) ||
        ak_error(ctx) != AK_OK || !check_spearman(ctx, a, b, n) ||
        !ak__bootstrap_options(ctx, "Spearman", n, AK__MEASURE_RESAMPLES, &o))
        return ak__no_measure();
    two_orders t = { .n = n };
    ak_measure m = ak__no_measure();
    t.order[0] = ak__malloc(2 * (size_t)n * sizeof(ranked));
    if (!t.order[0]) {
        ak__fail_memory(ctx, 2 * (size_t)n * sizeof(ranked));
        return m;
    }
    t.order[1] = t.order[0] + n;
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++)
            t.order[side][i] = (ranked){ side ? b[i] : a[i], i };
        qsort(t.order[side], (size_t)n, sizeof(ranked), by_value);
    }
    const ak__statistic s = { .items = n, .outs = 1, .user = &t, .make = make_spearman,
                              .scratch = 2 * (size_t)n * sizeof(double) };
    ak_measure found = { 0 };
    if (ak__bca(ctx, &s, o, &(double){ -1 }, &(double){ 1 }, &found)) {
        char how[80];
        m = found;
        ak__format(m.protocol, sizeof m.protocol, "Spearman of %lld pairs, %s", (long long)n,
                   ak__way_text(AK__BCA, o, how));
    }
    ak__free(t.order[0]);
    return m;
}
