/* SPDX-License-Identifier: Apache-2.0 */
/* Predicted labels and scores of classes against the truth. */
#include <math.h>
#include <string.h>

#include <akin/eval_classes.h>

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/label_pairs.h"
#include "eval/resample.h"
#include "tensor/tensor_internal.h"

#define MAX_CONFUSION 46340     /* its square is below 2^31 */

/* ---- means of what is right ------------------------------------------------------------------ */

/* The mean of `right` [n] as a measure called `what`; each is handed on. */
static ak_measure mean_right(ak_ctx *ctx, const char *what, const double *right, int64_t n,
                             int64_t unknown, const ak_label_options *o)
{
    ak_measure m;
    ak__way way;
    char how[80];
    if (!ak__means(ctx, right, 1, n, o->bootstrap, &m, &way))
        return ak__no_measure();
    m.unknown = unknown;
    ak__format(m.protocol, sizeof m.protocol, "%s of %lld items, %s", what, (long long)n,
               ak__way_text(way, o->bootstrap, how));
    if (o->each)
        memcpy(o->each, right, (size_t)n * sizeof *right);
    return m;
}

ak_measure ak_eval_accuracy(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted, int64_t n,
                            ak_label_options options)
{
    ak_label_options o = options;
    ak__label_pairs p;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, truth) || !AK__GIVEN(ctx, predicted) ||
        ak_error(ctx) != AK_OK ||
        !ak__bootstrap_options(ctx, "accuracy", n, AK__MEASURE_RESAMPLES, &o.bootstrap) ||
        !ak__label_pairs_make(ctx, "accuracy", truth, "prediction", predicted, n, &p))
        return ak__no_measure();
    ak_measure m = ak__no_measure();
    double *right = ak__malloc((size_t)p.n * sizeof *right);
    if (right) {
        for (int64_t i = 0; i < p.n; i++)
            right[i] = p.a[i] == p.b[i];
        m = mean_right(ctx, "accuracy", right, p.n, p.unknown, &o);
    } else {
        ak__fail_memory(ctx, (size_t)p.n * sizeof *right);
    }
    ak__free(right);
    ak__label_pairs_free(&p);
    return m;
}

/* ---- top k ----------------------------------------------------------------------------------- */

static double in_top_k(const ak_real *score, int64_t C, int32_t label, int k)
{
    int64_t above = 0, equal = 0;
    for (int64_t c = 0; c < C; c++) {
        above += score[c] > score[label];
        equal += score[c] == score[label];
    }
    const double share = (double)(k - above) / (double)equal;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* Are the labels classes of the table? Counts the known ones. */
static bool check_labels(ak_ctx *ctx, const char *who, const int32_t *label, int64_t n, int64_t C,
                         int64_t *known)
{
    *known = 0;
    for (int64_t i = 0; i < n; i++) {
        if (label[i] < -1 || label[i] >= C) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: item %lld has label %d; expected one in [0, %lld), or "
                    "-1 for unknown", who, (long long)i, (int)label[i], (long long)C);
            return false;
        }
        *known += label[i] >= 0;
    }
    if (*known == 0)
        ak_fail(ctx, AK_ERR_VALUE, "%s: the labels of all %lld items are unknown (-1)", who,
                (long long)n);
    return *known > 0;
}

ak_measure ak_eval_top_k(const ak_tensor *scores, const int32_t *truth, int k,
                         ak_label_options options)
{
    if (!AK__TENSOR(NULL, scores) || !AK__GIVEN(scores->ctx, truth) ||
        ak_error(scores->ctx) != AK_OK)
        return ak__no_measure();
    ak_ctx *ctx = scores->ctx;
    ak_label_options o = options;
    char text[AK_SHAPE_TEXT];
    if (scores->shape.n != 2 || scores->size == 0) {
        ak_fail(ctx, AK_ERR_SHAPE, "top-k accuracy: scores %s; expected [N, C]",
                ak_shape_text(scores->shape, text));
        return ak__no_measure();
    }
    const int64_t n = scores->shape.dims[0], C = scores->shape.dims[1];
    if (k < 1 || k > C) {
        ak_fail(ctx, AK_ERR_VALUE, "top-k accuracy: k %d of %lld classes; expected 1 to %lld", k,
                (long long)C, (long long)C);
        return ak__no_measure();
    }
    int64_t known, to = 0;
    if (!ak__bootstrap_options(ctx, "top-k accuracy", n, AK__MEASURE_RESAMPLES, &o.bootstrap) ||
        !ak__rows_finite(ctx, "top-k accuracy", "item", scores->data, n, C) ||
        !check_labels(ctx, "top-k accuracy", truth, n, C, &known))
        return ak__no_measure();
    double *right = ak__malloc((size_t)known * sizeof *right);
    if (!right) {
        ak__fail_memory(ctx, (size_t)known * sizeof *right);
        return ak__no_measure();
    }
    for (int64_t i = 0; i < n; i++)
        if (truth[i] >= 0)
            right[to++] = in_top_k(scores->data + i * C, C, truth[i], k);
    char what[60];
    ak__format(what, sizeof what, "top-%d accuracy of %lld classes, ties by expected value,", k,
               (long long)C);
    const ak_measure m = mean_right(ctx, what, right, known, n - known, &o);
    ak__free(right);
    return m;
}

/* ---- macro F1 -------------------------------------------------------------------------------- */

static void make_f1(const void *user, const uint32_t *count, void *scratch, double *out)
{
    const ak__label_pairs *p = user;
    double *both = scratch, *total = both + p->distinct, sum = 0;
    int64_t classes = 0;
    memset(both, 0, 2 * (size_t)p->distinct * sizeof *both);
    for (int64_t i = 0; i < p->n; i++) {
        total[p->a[i]] += count[i];             /* 2 tp + fp + fn: once as true, once as called */
        total[p->b[i]] += count[i];
        if (p->a[i] == p->b[i])
            both[p->a[i]] += count[i];
    }
    for (int64_t c = 0; c < p->distinct; c++)
        if (total[c] > 0) {
            sum += 2 * both[c] / total[c];
            classes++;
        }
    out[0] = sum / (double)classes;
}

ak_measure ak_eval_macro_f1(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted, int64_t n,
                            ak_bootstrap_options options)
{
    ak_bootstrap_options o = options;
    ak__label_pairs p;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, truth) || !AK__GIVEN(ctx, predicted) ||
        ak_error(ctx) != AK_OK ||
        !ak__bootstrap_options(ctx, "macro F1", n, AK__MEASURE_RESAMPLES, &o) ||
        !ak__label_pairs_make(ctx, "macro F1", truth, "prediction", predicted, n, &p))
        return ak__no_measure();
    const ak__statistic s = { .items = p.n, .outs = 1, .user = &p, .make = make_f1,
                              .scratch = 2 * (size_t)p.distinct * sizeof(double) };
    ak_measure m = { 0 };
    if (ak__bca(ctx, &s, o, &(double){ 0 }, &(double){ 1 }, &m)) {
        char how[80];
        m.unknown = p.unknown;
        ak__format(m.protocol, sizeof m.protocol, "macro F1 of %lld items, %lld classes, %s",
                   (long long)p.n, (long long)p.distinct, ak__way_text(AK__BCA, o, how));
    } else {
        m = ak__no_measure();
    }
    ak__label_pairs_free(&p);
    return m;
}

/* ---- confusion ------------------------------------------------------------------------------- */

ak_status ak_eval_confusion(ak_ctx *ctx, const int32_t *truth, const int32_t *predicted, int64_t n,
                            int classes, int64_t *count)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, truth) || !AK__GIVEN(ctx, predicted) ||
        !AK__GIVEN(ctx, count) || ak_error(ctx) != AK_OK)
        return ak__refused(ctx);
    if (n < 1 || classes < 1 || classes > MAX_CONFUSION)
        return ak_fail(ctx, AK_ERR_VALUE, "confusion: %lld items, %d classes; expected at least 1 "
                       "item, 1 to %d classes", (long long)n, classes, MAX_CONFUSION);
    int64_t known;
    if (!check_labels(ctx, "confusion", truth, n, classes, &known))
        return ak_error(ctx);
    for (int64_t i = 0; i < n; i++)
        if (predicted[i] < 0 || predicted[i] >= classes)
            return ak_fail(ctx, AK_ERR_VALUE, "confusion: item %lld is predicted to be %d; expected"
                           " a class in [0, %d)", (long long)i, (int)predicted[i], classes);
    memset(count, 0, (size_t)classes * (size_t)classes * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        if (truth[i] >= 0)
            count[(int64_t)truth[i] * classes + predicted[i]]++;
    return AK_OK;
}
