/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax of rows and the losses on it: cross-entropy with indices and with soft targets, KL. */
#include <inttypes.h>
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "autograd/ops/row_losses.h"
#include "base/base.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* ---- rows ------------------------------------------------------------------------------------ */

static ak_status softmax_shape(ak_call *k)
{
    if (k->in[0]->shape.n < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "needs at least one axis");
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static double softmax_flops(const ak_call *k)
{
    return 12.0 * (double)k->in[0]->size;
}

/* log sum exp of a row is top + log sum. As one number it would be as coarse as top is, and all
 * probabilities with it; apart both are exact, whatever is added to all logits. */
typedef struct row_sum {
    ak_real top, sum;           /* sum of e^(x - top) */
} row_sum;

/* top is -inf if all are, and not finite if one is +inf or NaN; then sum is 1. */
static row_sum row_sum_of(const ak_real *x, int64_t D)
{
    const ak_real top = ak__k.max(x, D);
    if (!(ak__fabs(top) <= AK_REAL_MAX))
        return (row_sum){ top, 1 };
    return (row_sum){ top, ak__k.exp_sum(NULL, x, top, D) };
}

/* -log softmax(x)_i = log_sum + (top - x_i) */
static double minus_log_share(row_sum s, double log_sum, ak_real x)
{
    return log_sum + ((double)s.top - (double)x);
}

/* What the loops of a call see. */
typedef struct softmax_work {
    ak_call *k;
    ak_real *dx;
    ak__put put;                /* of y, of dx */
} softmax_work;

static void rows_forward(ak_call *k, ak__span_fn *rows)
{
    softmax_work w = { .k = k, .put = ak__put_of(k->out->size, false) };
    ak__for_rows(ak_row_count(k->out), ak_last_dim(k->out), rows, &w);
}

static void rows_backward(ak_call *k, ak__span_fn *rows)
{
    bool fresh;
    softmax_work w = { .k = k, .dx = ak_call_grad_fresh(k, 0, &fresh) };
    w.put = ak__put_of(k->out->size, !fresh);
    if (w.dx)
        ak__for_rows(ak_row_count(k->out), ak_last_dim(k->out), rows, &w);
}

/* ---- softmax --------------------------------------------------------------------------------- */

/* Exponentials of a row that goes past the caches are made on the stack. */
#define SOFTMAX_BLOCK 4096

static void softmax_row(ak_real *y, const ak_real *x, int64_t D, ak__put put)
{
    ak_real block[SOFTMAX_BLOCK];
    const bool past = put == AK__PAST && D <= SOFTMAX_BLOCK;
    ak_real *e = past ? block : y;
    const ak_real top = ak__k.max(x, D);
    if (top < -AK_REAL_MAX)         /* everything is masked */
        memset(y, 0, (size_t)D * sizeof *y);
    else
        ak__k.affine(y, 1 / ak__k.exp_sum(e, x, top, D), e, 0, D, past ? AK__PAST : AK__SET);
}

static void softmax_rows(void *user, int64_t begin, int64_t end)
{
    const softmax_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++)
        softmax_row(w->k->out->data + r * D, w->k->in[0]->data + r * D, D, w->put);
    ak__put_end(w->put);
}

static void softmax_forward(ak_call *k)
{
    rows_forward(k, softmax_rows);
}

static void softmax_grad_rows(void *user, int64_t begin, int64_t end)
{
    const softmax_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++)
        ak__k.softmax_backward_row(w->dx + r * D, w->k->out->data + r * D,
                                   w->k->out->grad + r * D, D, w->put);
    ak__put_end(w->put);
}

static void softmax_backward(ak_call *k)
{
    rows_backward(k, softmax_grad_rows);
}

#define ROW_SAMPLES                                                                                \
    (const ak_sample[]){ { .in = { { 1, { 1 } } } },                                               \
                         { .in = { { 2, { 3, 5 } } }, .lo = -3, .hi = 3 },                         \
                         { .in = { { 3, { 2, 3, 17 } } } },                                        \
                         { .in = { { 2, { 1, 33 } } }, .lo = -8, .hi = 8 },                        \
                         { .in = { { 2, { 7, 2 } } } },                                            \
                         AK_END }
#define ROW_MISUSE (const ak_sample[]){ { .in = { { .n = 0 } } }, AK_END }

static const ak_op softmax = {
    .name = "softmax", .formula = "y = e^x / sum e^x, last axis; 0 where a whole row is -inf",
    .n_in = 1, .shape = softmax_shape, .forward = softmax_forward, .backward = softmax_backward,
    .flops = softmax_flops, .samples = ROW_SAMPLES, .misuse = ROW_MISUSE,
};

ak_tensor *ak_softmax(ak_tensor *x)
{
    return ak_apply(&softmax, &x, 1, NULL);
}

/* ---- log_softmax ----------------------------------------------------------------------------- */

/* x - top would be NaN where all are -inf. */
static void log_softmax_row(ak_real *y, const ak_real *x, int64_t D, ak__put put)
{
    const row_sum s = row_sum_of(x, D);
    ak__k.shift(y, x, s.top < -AK_REAL_MAX ? 0 : s.top, ak__log(s.sum), D, put);
}

static void log_softmax_rows(void *user, int64_t begin, int64_t end)
{
    const softmax_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++)
        log_softmax_row(w->k->out->data + r * D, w->k->in[0]->data + r * D, D, w->put);
    ak__put_end(w->put);
}

static void log_softmax_forward(ak_call *k)
{
    rows_forward(k, log_softmax_rows);
}

/* dx = or += dy - e^y sum dy */
static void log_softmax_grad_rows(void *user, int64_t begin, int64_t end)
{
    const softmax_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *dy = w->k->out->grad + r * D;
        ak__k.exp_affine(w->dx + r * D, -ak__k.sum(dy, D), w->k->out->data + r * D, 0, 1, dy, 0, D,
                         w->put);
    }
    ak__put_end(w->put);
}

static void log_softmax_backward(ak_call *k)
{
    rows_backward(k, log_softmax_grad_rows);
}

static const ak_op log_softmax = {
    .name = "log_softmax", .formula = "y = x - log sum e^x, last axis", .n_in = 1,
    .flags = AK_OP_MAKES_INF, .shape = softmax_shape, .forward = log_softmax_forward,
    .backward = log_softmax_backward, .flops = softmax_flops, .samples = ROW_SAMPLES,
    .misuse = ROW_MISUSE,
};

ak_tensor *ak_log_softmax(ak_tensor *x)
{
    return ak_apply(&log_softmax, &x, 1, NULL);
}

/* ---- cross_entropy --------------------------------------------------------------------------- */

typedef struct cross_entropy_attr {
    const ak_index *target;
    ak_cross_entropy_options o;
} cross_entropy_attr;

static bool is_ignored(const cross_entropy_attr *a, int32_t label)
{
    const bool given = a->o.ignore_index != 0 || a->o.has_ignore;
    return label == -1 || label == (given ? a->o.ignore_index : -100);
}

static ak_status cross_entropy_shape(ak_call *k)
{
    const cross_entropy_attr *a = k->attr;
    const ak_tensor *x = k->in[0];
    const ak_index *t = a->target;
    char text[AK_SHAPE_TEXT];
    if (x->shape.n != 2 || x->shape.dims[1] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs the 2 axes [N, C]");
    if (!t)
        return ak_call_fail(k, AK_ERR_VALUE, "target is missing (NULL)");
    if (t == &ak__poison_index)
        return ak_call_fail(k, AK_ERR_STATE, "target is the result of a call that failed in an "
                            "earlier step");
    if (t->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "the targets belong to another context");
    if (t->generation != 0 && t->generation != k->ctx->generation)
        return ak_call_fail(k, AK_ERR_STALE, "the targets belong to an earlier step");
    if (t->shape.n != 1 || t->size != x->shape.dims[0])
        return ak_call_fail(k, AK_ERR_SHAPE, "targets %s do not fit",
                            ak_shape_text(t->shape, text));
    if (!(a->o.label_smoothing >= 0 && a->o.label_smoothing < 1))
        return ak_call_fail(k, AK_ERR_VALUE, "label_smoothing %g is not in [0, 1)",
                            a->o.label_smoothing);
    for (int64_t i = 0; i < t->size; i++)
        if (!is_ignored(a, t->data[i]) && (t->data[i] < 0 || t->data[i] >= x->shape.dims[1]))
            return ak_call_fail(k, AK_ERR_VALUE, "target %d in row %" PRId64 " is not in [0, %"
                                PRId64 "), nor one that is ignored", t->data[i], i,
                                x->shape.dims[1]);
    k->out->shape = AK_SCALAR;
    return AK_OK;
}

typedef struct cross_entropy_work {
    ak_call *k;
    const row_sum *sums;        /* [N], of rows that count */
    ak_real *dx;
    ak__put put;
    ak_real g;                  /* upstream / counted */
} cross_entropy_work;

/* Sum of x - top, in double: the logits may be far from 0. */
static double sum_below(const ak_real *x, ak_real top, int64_t n)
{
    enum { LANES = 8 };
    double  lane[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)(x[i + j] - top);
    for (; i < n; i++)
        lane[0] += (double)(x[i] - top);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static double cross_entropy_row(const ak_call *k, int64_t r, row_sum *sums)
{
    const cross_entropy_attr *a = k->attr;
    const int64_t C = k->in[0]->shape.dims[1];
    const ak_real *x = k->in[0]->data + r * C;
    const int32_t t = a->target->data[r];
    if (is_ignored(a, t))
        return 0;
    sums[r] = row_sum_of(x, C);
    const double s = a->o.label_smoothing, log_sum = log((double)sums[r].sum);
    const double loss = minus_log_share(sums[r], log_sum, x[t]);
    if (s == 0)
        return loss;
    return (1 - s) * loss + s * (log_sum - sum_below(x, sums[r].top, C) / (double)C);
}

static int64_t counted_rows(const cross_entropy_attr *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->target->size; i++)
        n += !is_ignored(a, a->target->data[i]);
    return n;
}

static void cross_entropy_forward(ak_call *k)
{
    const cross_entropy_attr *a = k->attr;
    const int64_t N = k->in[0]->shape.dims[0], C = k->in[0]->shape.dims[1];
    row_sum *sums = ak_call_save(k, (size_t)N * sizeof *sums);
    double *part = ak_call_scratch(k, (size_t)ak__chunk_count(N, ak__loss_rows(C)) * sizeof *part);
    if (!sums || !part)
        return;
    AK__PARALLEL_CHUNKS(c, N, ak__loss_rows(C), begin, end) {
        part[c] = 0;
        for (int64_t r = begin; r < end; r++)
            part[c] += cross_entropy_row(k, r, sums);
    }
    const int64_t counted = counted_rows(a);
    const double total = ak__loss_total(part, N, C);
    k->out->data[0] = counted ? (ak_real)(total / (double)counted) : 0;
}

/* dx = or += (softmax(x) - (1-s) one_hot - s/C) g. The label's element is made once more, because
 * reading it back from past the caches would take longer. */
static void cross_entropy_grad_row(const cross_entropy_work *w, int64_t r)
{
    const cross_entropy_attr *a = w->k->attr;
    const int64_t C = w->k->in[0]->shape.dims[1];
    const ak_real *x = w->k->in[0]->data + r * C, s = (ak_real)a->o.label_smoothing;
    const ak_real shared = -s / (ak_real)C * w->g, own = (s - 1) * w->g;
    ak_real *dx = w->dx + r * C;
    const int32_t t = a->target->data[r];
    if (is_ignored(a, t)) {
        if (w->put != AK__ADD)
            memset(dx, 0, (size_t)C * sizeof *dx);
        return;
    }
    const row_sum sum = w->sums[r];
    const ak_real each = w->g / sum.sum;
    ak__k.exp_affine(dx, each, x, sum.top, 0, NULL, shared, C, w->put);
    if (w->put == AK__ADD)
        dx[t] += own;
    else
        ak__k.exp_affine(dx + t, each, x + t, sum.top, 0, NULL, shared + own, 1, AK__SET);
}

static void cross_entropy_grad_rows(void *user, int64_t begin, int64_t end)
{
    const cross_entropy_work *w = user;
    for (int64_t r = begin; r < end; r++)
        cross_entropy_grad_row(w, r);
    ak__put_end(w->put);
}

static void cross_entropy_backward(ak_call *k)
{
    const int64_t counted = counted_rows(k->attr);
    bool fresh;
    cross_entropy_work w = { .k = k, .sums = k->saved,
                             .g = counted ? k->out->grad[0] / (ak_real)counted : 0,
                             .dx = ak_call_grad_fresh(k, 0, &fresh) };
    w.put = ak__put_of(k->in[0]->size, !fresh);
    if (w.dx)
        ak__for_rows(k->in[0]->shape.dims[0], k->in[0]->shape.dims[1], cross_entropy_grad_rows, &w);
}

/* Samples: labels 0, 1, .. in turn, every third one ignored if an ignored one is given. */
static ak_tensor *sample_cross_entropy(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    const cross_entropy_attr *a = s->attr;
    const int64_t N = ak_row_count(in[0]), C = ak_last_dim(in[0]);
    int32_t labels[64] = { 0 };
    (void)n_in;
    for (int i = 0; i < 64 && i < N; i++)
        labels[i] = (a->o.ignore_index || a->o.has_ignore) && i % 3 == 2 ? a->o.ignore_index
                                                                         : (int32_t)(i % C);
    return ak_cross_entropy(in[0], ak_index_from(in[0]->ctx, AK_SHAPE(N < 64 ? N : 64), labels),
                            a->o);
}

/* A label that is not there. */
static ak_tensor *sample_wrong_label(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    const int32_t labels[2] = { 0, 5 };
    (void)n_in;
    (void)s;
    return ak_cross_entropy(in[0], ak_index_from(in[0]->ctx, AK_SHAPE(2), labels),
                            (ak_cross_entropy_options){ 0 });
}

#define ENTROPY(smoothing, ignored)                                                                \
    (&(const cross_entropy_attr){ .o = { .label_smoothing = smoothing, .ignore_index = ignored } })
#define ENTROPY_IGNORING_0 (&(const cross_entropy_attr){ .o = { .has_ignore = true } })

static const ak_op cross_entropy = {
    .name = "cross_entropy",
    .formula = "mean over counted rows of -log softmax(x)[target], labels smoothed by s",
    .n_in = 1, .attr_size = sizeof(cross_entropy_attr), .shape = cross_entropy_shape,
    .forward = cross_entropy_forward, .backward = cross_entropy_backward, .flops = softmax_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 1, 1 } } }, .attr = ENTROPY(0, 0), .call = sample_cross_entropy },
        { .in = { { 2, { 5, 4 } } }, .attr = ENTROPY(0, 0), .call = sample_cross_entropy },
        { .in = { { 2, { 6, 7 } } }, .attr = ENTROPY(0.1, -100), .call = sample_cross_entropy },
        { .in = { { 2, { 3, 33 } } }, .lo = -8, .hi = 8, .attr = ENTROPY(0, -1),
          .call = sample_cross_entropy },
        { .in = { { 2, { 9, 2 } } }, .attr = ENTROPY(0.5, 0), .call = sample_cross_entropy },
        { .in = { { 2, { 7, 3 } } }, .attr = ENTROPY_IGNORING_0, .call = sample_cross_entropy },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 1, { 4 } } }, .attr = ENTROPY(0, 0), .call = sample_cross_entropy },
        { .in = { { 2, { 2, 5 } } }, .attr = ENTROPY(0, 0), .call = sample_wrong_label },
        { .in = { { 2, { 3, 6 } } }, .attr = ENTROPY(0, 0), .call = sample_wrong_label },
        { .in = { { 2, { 2, 5 } } }, .attr = ENTROPY(1, 0), .call = sample_cross_entropy },
        { .in = { { 2, { 2, 5 } } }, .attr = ENTROPY(0, 0) },
        AK_END },
};

ak_tensor *ak_cross_entropy(ak_tensor *x, ak_index *target, ak_cross_entropy_options o)
{
    return ak_apply(&cross_entropy, &x, 1, &(cross_entropy_attr){ .target = target, .o = o });
}

/* ---- soft targets: cross_entropy_soft, kl_div_logits ----------------------------------------- */

typedef struct soft_work { ak_call *k; ak_real *dx; ak__put put; ak_real g; } soft_work;

static ak_status soft_shape(ak_call *k)
{
    if (k->in[0]->shape.n != 2 || !ak_shape_equal(k->in[0]->shape, k->in[1]->shape) ||
        k->in[0]->shape.dims[1] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "x and target need one shape [N, C]");
    k->out->shape = AK_SCALAR;
    return AK_OK;
}

/* -sum t log softmax(x) of a row, with `entropy` also + sum t log t. Entries with t = 0 give 0. */
static double soft_row(const ak_call *k, int64_t r, bool entropy)
{
    const int64_t C = k->in[0]->shape.dims[1];
    const ak_real *x = k->in[0]->data + r * C, *t = k->in[1]->data + r * C;
    const row_sum s = row_sum_of(x, C);
    const double log_sum = log((double)s.sum);
    double loss = 0;
    for (int64_t i = 0; i < C; i++) {
        if (t[i] == 0)
            continue;
        /* the logarithms first: they nearly cancel where the two distributions are close */
        const double more = entropy ? log((double)t[i]) : 0;
        loss += (double)t[i] * (more + minus_log_share(s, log_sum, x[i]));
    }
    return loss;
}

static void soft_forward(ak_call *k, bool entropy)
{
    const int64_t N = k->in[0]->shape.dims[0], C = k->in[0]->shape.dims[1];
    double *part = ak_call_scratch(k, (size_t)ak__chunk_count(N, ak__loss_rows(C)) * sizeof *part);
    if (!part)
        return;
    AK__PARALLEL_CHUNKS(c, N, ak__loss_rows(C), begin, end) {
        part[c] = 0;
        for (int64_t r = begin; r < end; r++)
            part[c] += soft_row(k, r, entropy);
    }
    k->out->data[0] = N ? (ak_real)(ak__loss_total(part, N, C) / (double)N) : 0;
}

/* dx = or += (softmax(x) sum t - t) g */
static void soft_grad_rows(void *user, int64_t begin, int64_t end)
{
    const soft_work *w = user;
    const int64_t C = w->k->in[0]->shape.dims[1];
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * C, *t = w->k->in[1]->data + r * C;
        const row_sum s = row_sum_of(x, C);
        ak__k.exp_affine(w->dx + r * C, w->g * ak__k.sum(t, C) / s.sum, x, s.top, -w->g, t, 0, C,
                         w->put);
    }
    ak__put_end(w->put);
}

/* dt = or += (log sum exp(x) - x) g = -log softmax(x) g, with `entropy` also (log t + 1) g */
static void soft_target_rows(const soft_work *w, bool entropy, int64_t begin, int64_t end)
{
    const int64_t C = w->k->in[0]->shape.dims[1];
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * C, *t = w->k->in[1]->data + r * C;
        const row_sum s = row_sum_of(x, C);
        const double log_sum = log((double)s.sum);
        ak_real *dt = w->dx + r * C;
        for (int64_t i = 0; i < C; i++) {
            const ak_real share = (ak_real)minus_log_share(s, log_sum, x[i]);
            const ak_real d = w->g * (share + (entropy ? ak__log(t[i]) + 1 : 0));
            dt[i] = w->put == AK__ADD ? dt[i] + d : d;
        }
    }
}

static void cross_entropy_target_rows(void *user, int64_t begin, int64_t end)
{
    soft_target_rows(user, false, begin, end);
}

static void kl_target_rows(void *user, int64_t begin, int64_t end)
{
    soft_target_rows(user, true, begin, end);
}

static void soft_backward(ak_call *k, ak__span_fn *target_rows)
{
    const int64_t N = k->in[0]->shape.dims[0];
    bool fresh;
    soft_work w = { .k = k, .g = N ? k->out->grad[0] / (ak_real)N : 0,
                    .dx = ak_call_grad_fresh(k, 0, &fresh) };
    w.put = ak__put_of(k->in[0]->size, !fresh);
    if (w.dx)
        ak__for_rows(N, k->in[0]->shape.dims[1], soft_grad_rows, &w);
    w.dx = ak_call_grad_fresh(k, 1, &fresh);
    w.put = fresh ? AK__SET : AK__ADD;
    if (w.dx)
        ak__for_rows(N, k->in[0]->shape.dims[1], target_rows, &w);
}

static void cross_entropy_soft_backward(ak_call *k)
{
    soft_backward(k, cross_entropy_target_rows);
}

static void kl_div_logits_backward(ak_call *k)
{
    soft_backward(k, kl_target_rows);
}

static void cross_entropy_soft_forward(ak_call *k)
{
    soft_forward(k, false);
}

static void kl_div_logits_forward(ak_call *k)
{
    soft_forward(k, true);
}

#define SOFT(low, high, ...)                                                                       \
    { .in = { { 2, { __VA_ARGS__ } }, { 2, { __VA_ARGS__ } } }, .lo = (low), .hi = (high) }
#define SOFT_SAMPLES                                                                               \
    (const ak_sample[]){ SOFT(0.1, 1, 1, 1), SOFT(0.1, 1, 3, 5), SOFT(0.1, 3, 2, 17),              \
                         SOFT(0.01, 0.5, 7, 2), SOFT(0.1, 1, 1, 33), AK_END }
#define SOFT_MISUSE                                                                                \
    (const ak_sample[]){ { .in = { { 1, { 5 } }, { 1, { 5 } } } },                                 \
                         { .in = { { 2, { 3, 5 } }, { 2, { 3, 4 } } } },                           \
                         SOFT(0, 0, 3, 0), AK_END }

static const ak_op cross_entropy_soft = {
    .name = "cross_entropy_soft", .formula = "mean over rows of -sum_c t log softmax(x)",
    .n_in = 2, .operands = "x target", .shape = soft_shape, .forward = cross_entropy_soft_forward,
    .backward = cross_entropy_soft_backward, .flops = softmax_flops, .samples = SOFT_SAMPLES,
    .misuse = SOFT_MISUSE,
};

ak_tensor *ak_cross_entropy_soft(ak_tensor *x, ak_tensor *target)
{
    return ak_apply(&cross_entropy_soft, (ak_tensor *[]){ x, target }, 2, NULL);
}

static const ak_op kl_div_logits = {
    .name = "kl_div_logits", .formula = "sum t (log t - log softmax(x)) / N", .n_in = 2,
    .operands = "x target",
    .shape = soft_shape, .forward = kl_div_logits_forward, .backward = kl_div_logits_backward,
    .flops = softmax_flops, .samples = SOFT_SAMPLES, .misuse = SOFT_MISUSE,
};

ak_tensor *ak_kl_div_logits(ak_tensor *x, ak_tensor *target)
{
    return ak_apply(&kl_div_logits, (ak_tensor *[]){ x, target }, 2, NULL);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_softmax[] = {
    &softmax, &log_softmax, &cross_entropy, &cross_entropy_soft, &kl_div_logits,
    &ak__op_bce_logits, &ak__op_mse, &ak__op_l1, &ak__op_huber, &ak__op_smooth_l1,
    &ak__op_cosine_similarity, &ak__op_pairwise_sqdist, NULL,
};
