/* SPDX-License-Identifier: Apache-2.0 */
/* Losses on softmax of rows: cross-entropy with class numbers and with soft targets, KL. */
#include <inttypes.h>
#include <math.h>

#include <akin/ops.h>

#include "autograd/ops/common.h"
#include "autograd/ops/row_losses.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* ---- reductions and class weights ------------------------------------------------------------ */

static ak_status reduction_shape(ak_call *k, ak_reduction reduction)
{
    if (reduction < AK_REDUCE_MEAN || reduction > AK_REDUCE_NONE)
        return ak_call_fail(k, AK_ERR_VALUE, "reduction %d is none of ak_reduction",
                            (int)reduction);
    k->out->shape = reduction == AK_REDUCE_NONE ? AK_SHAPE(k->in[0]->shape.dims[0]) : AK_SCALAR;
    return AK_OK;
}

/* Operand i: [C], finite and not negative; or none. */
static ak_status weights_check(ak_call *k, int i)
{
    const ak_tensor *w = k->in[i];
    const int64_t C = k->in[0]->shape.dims[1];
    if (w && (w->shape.n != 1 || w->size != C))
        return ak_call_fail(k, AK_ERR_SHAPE, "class_weights needs %" PRId64 " numbers, one for "
                            "each class", C);
    for (int64_t c = 0; w && c < C; c++)
        if (!(w->data[c] >= 0 && w->data[c] <= AK_REAL_MAX))
            return ak_call_fail(k, AK_ERR_VALUE, "class_weights[%" PRId64 "] = %g, must be >= 0 "
                                "and finite", c, (double)w->data[c]);
    return AK_OK;
}

/* Losses of rows by `row` into the output: as they are, or their sum over `divisor` (0: nothing
 * counts, and the loss is 0). */
typedef double row_fn(const ak_call *k, int64_t r);

static void reduce_rows(ak_call *k, row_fn *row, ak_reduction reduction, double divisor)
{
    const int64_t N = k->in[0]->shape.dims[0], C = k->in[0]->shape.dims[1];
    double *part = ak_call_scratch(k, (size_t)ak__chunk_count(N, ak__loss_rows(C)) * sizeof *part);
    if (!part)
        return;
    AK__PARALLEL_CHUNKS(c, N, ak__loss_rows(C), begin, end) {
        part[c] = 0;
        for (int64_t r = begin; r < end; r++) {
            const double loss = row(k, r);
            if (reduction == AK_REDUCE_NONE)
                k->out->data[r] = (ak_real)loss;
            else
                part[c] += loss;
        }
    }
    if (reduction == AK_REDUCE_NONE)
        return;
    const double total = ak__loss_total(part, N, C);
    if (reduction == AK_REDUCE_SUM)
        divisor = 1;
    k->out->data[0] = divisor > 0 ? (ak_real)(total / divisor) : 0;
}

/* dL / d loss of row r */
static ak_real row_gradient(const ak_call *k, ak_reduction reduction, int64_t r, ak_real mean)
{
    return reduction == AK_REDUCE_MEAN ? mean
         : k->out->grad[reduction == AK_REDUCE_NONE ? r : 0];
}

/* ---- cross_entropy --------------------------------------------------------------------------- */

enum { WEIGHTS = 1 };

static bool is_ignored(const ak_cross_entropy_options *o, int32_t label)
{
    const bool given = o->ignore_index != 0 || o->has_ignore;
    return label == -1 || label == (given ? o->ignore_index : -100);
}

static ak_status cross_entropy_shape(ak_call *k)
{
    const ak_cross_entropy_options *o = k->attr;
    const ak_tensor *x = k->in[0];
    const ak_index *t = k->index[0];
    if (x->shape.n != 2 || x->shape.dims[1] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs the 2 axes [N, C]");
    ak_status status = ak_call_index_shape(k, 0, AK_SHAPE(x->shape.dims[0]));
    if (status == AK_OK)
        status = weights_check(k, WEIGHTS);
    if (status != AK_OK)
        return status;
    if (!(o->label_smoothing >= 0 && o->label_smoothing < 1))
        return ak_call_fail(k, AK_ERR_VALUE, "label_smoothing %g is not in [0, 1)",
                            o->label_smoothing);
    for (int64_t i = 0; i < t->size; i++)
        if (!is_ignored(o, t->data[i]) && (t->data[i] < 0 || t->data[i] >= x->shape.dims[1]))
            return ak_call_fail(k, AK_ERR_VALUE, "target %d in row %" PRId64 " is not in [0, %"
                                PRId64 "), nor one that is ignored", t->data[i], i,
                                x->shape.dims[1]);
    return reduction_shape(k, o->reduction);
}

typedef struct cross_entropy_work {
    ak_call *k;
    const ak__row_sum *sums;    /* [N], of rows that count */
    ak_real *dx;
    ak__put put;
    ak_real mean;               /* upstream / divisor */
    ak_real weights;            /* sum of the class weights */
} cross_entropy_work;

/* Sum of (x - top), or of w (x - top), in double: the logits may be far from 0. */
static double sum_below(const ak_real *x, const ak_real *w, ak_real top, int64_t n)
{
    enum { LANES = 8 };
    double  lane[LANES] = { 0 };
    int64_t i = 0;
    for (; !w && i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)(x[i + j] - top);
    for (; i < n; i++)
        if (!w)
            lane[0] += (double)(x[i] - top);
        else if (w[i] != 0)
            lane[0] += (double)w[i] * ((double)x[i] - (double)top);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static double cross_entropy_row(const ak_call *k, int64_t r)
{
    const ak_cross_entropy_options *o = k->attr;
    const int64_t C = k->in[0]->shape.dims[1];
    const ak_real *x = k->in[0]->data + r * C, *w = k->in[WEIGHTS] ? k->in[WEIGHTS]->data : NULL;
    const int32_t t = k->index[0]->data[r];
    ak__row_sum *sums = k->saved;
    if (is_ignored(o, t))
        return 0;
    sums[r] = ak__row_sum_of(x, C);
    const double s = o->label_smoothing, log_sum = log((double)sums[r].sum);
    const double loss = ak__minus_log_share(sums[r], log_sum, x[t]);
    const double own = !w ? loss : w[t] == 0 ? 0 : (double)w[t] * loss;
    if (s == 0)
        return own;
    const double all = w ? ak__fine_sum(w, C) : (double)C;
    return (1 - s) * own + s * (log_sum * all / (double)C -
                                sum_below(x, w, sums[r].top, C) / (double)C);
}

/* By what a mean is divided: rows that count, or the weights of their labels. */
static double divisor_of(const ak_call *k)
{
    const ak_tensor *w = k->in[WEIGHTS];
    const ak_index *t = k->index[0];
    double n = 0;
    for (int64_t i = 0; i < t->size; i++)
        if (!is_ignored(k->attr, t->data[i]))
            n += w ? (double)w->data[t->data[i]] : 1;
    return n;
}

static void cross_entropy_forward(ak_call *k)
{
    const ak_cross_entropy_options *o = k->attr;
    if (ak_call_save(k, (size_t)k->in[0]->shape.dims[0] * sizeof(ak__row_sum)))
        reduce_rows(k, cross_entropy_row, o->reduction, divisor_of(k));
}

/* dx = or += g (softmax(x) - (1-s) one_hot - s/C). The label's element is made once more, because
 * reading it back from past the caches would take longer. */
static void plain_row(const cross_entropy_work *w, int64_t r, ak_real g)
{
    const int64_t C = w->k->in[0]->shape.dims[1];
    const ak_cross_entropy_options *o = w->k->attr;
    const ak_real *x = w->k->in[0]->data + r * C, s = (ak_real)o->label_smoothing;
    const ak_real shared = -s / (ak_real)C * g, own = (s - 1) * g;
    const int32_t t = w->k->index[0]->data[r];
    const ak__row_sum sum = w->sums[r];
    const ak_real each = g / sum.sum;
    ak_real *dx = w->dx + r * C;
    ak__k.exp_affine(dx, each, x, sum.top, 0, NULL, shared, C, w->put);
    if (w->put == AK__ADD)
        dx[t] += own;
    else
        ak__k.exp_affine(dx + t, each, x + t, sum.top, 0, NULL, shared + own, 1, AK__SET);
}

/* dx = or += g ((own + s W/C) softmax(x) - own one_hot - s/C w), own = (1-s) w[t], W = sum w */
static void weighted_row(const cross_entropy_work *w, int64_t r, ak_real g)
{
    const int64_t C = w->k->in[0]->shape.dims[1];
    const ak_cross_entropy_options *o = w->k->attr;
    const ak_real *x = w->k->in[0]->data + r * C, *weights = w->k->in[WEIGHTS]->data;
    const ak_real each = (ak_real)o->label_smoothing / (ak_real)C;
    const int32_t t = w->k->index[0]->data[r];
    const ak_real own = (1 - (ak_real)o->label_smoothing) * weights[t];
    const ak__row_sum sum = w->sums[r];
    ak_real *dx = w->dx + r * C;
    ak__k.exp_affine(dx, g * (own + each * w->weights) / sum.sum, x, sum.top, -each * g, weights,
                     0, C, w->put == AK__ADD ? AK__ADD : AK__SET);
    dx[t] -= own * g;
}

static void cross_entropy_grad_rows(void *user, int64_t begin, int64_t end)
{
    const cross_entropy_work *w = user;
    const ak_cross_entropy_options *o = w->k->attr;
    const int64_t C = w->k->in[0]->shape.dims[1];
    for (int64_t r = begin; r < end; r++) {
        const ak_real g = row_gradient(w->k, o->reduction, r, w->mean);
        if (is_ignored(o, w->k->index[0]->data[r])) {
            if (w->put != AK__ADD)
                memset(w->dx + r * C, 0, (size_t)C * sizeof *w->dx);
        } else if (w->k->in[WEIGHTS]) {
            weighted_row(w, r, g);
        } else {
            plain_row(w, r, g);
        }
    }
    ak__put_end(w->put);
}

static void cross_entropy_backward(ak_call *k)
{
    const double divisor = divisor_of(k);
    const ak_tensor *weights = k->in[WEIGHTS];
    bool fresh;
    cross_entropy_work w = { .k = k, .sums = k->saved, .dx = ak_call_grad_fresh(k, 0, &fresh),
                             .mean = divisor > 0 ? k->out->grad[0] / (ak_real)divisor : 0,
                             .weights = weights ? (ak_real)ak__fine_sum(weights->data,
                                                                        weights->size) : 0 };
    w.put = ak__put_of(k->in[0]->size, !fresh);
    if (w.dx)
        ak__for_rows(k->in[0]->shape.dims[0], k->in[0]->shape.dims[1], cross_entropy_grad_rows, &w);
}

#define ENTROPY(...) .attr = &(const ak_cross_entropy_options){ __VA_ARGS__ }
#define LABELS(n, ...) .index = { { { 1, { n } }, (const int32_t[]){ __VA_ARGS__ } } }
#define LOGITS(n, c) .in = { { 2, { n, c } } }, .n_in = 1
#define WEIGHTED(n, c)                                                                             \
    .in = { { 2, { n, c } }, { 1, { c } } }, .lo = 0.2, .hi = 2, .flags = AK_SAMPLE_CONSTANT_1

const ak_op ak__op_cross_entropy = {
    .name = "cross_entropy",
    .formula = "mean over counted rows of -w[target] log softmax(x)[target], labels smoothed by s",
    .n_in = 2, .flags = AK_OP_OPTIONAL_IN, .operands = "x class_weights", .required = 1,
    .constants = AK_READS(WEIGHTS), .n_index = 1, .indices = "target",
    .attr_size = sizeof(ak_cross_entropy_options), .shape = cross_entropy_shape,
    .forward = cross_entropy_forward, .backward = cross_entropy_backward,
    .flops = ak__softmax_flops, .reads = AK_READS(0) | AK_READS(WEIGHTS),
    .samples = (const ak_sample[]){
        { LOGITS(1, 1), ENTROPY(0), LABELS(1, 0) },
        { LOGITS(5, 4), ENTROPY(0), LABELS(5, 0, 1, 2, 3, 0) },
        { LOGITS(6, 7), ENTROPY(.label_smoothing = 0.1, .ignore_index = -100),
          LABELS(6, 0, 1, -100, 3, 4, -1) },
        { LOGITS(3, 33), .lo = -8, .hi = 8, ENTROPY(.ignore_index = -1), LABELS(3, 0, 32, -1) },
        { LOGITS(9, 2), ENTROPY(.label_smoothing = 0.5), LABELS(9, 0, 1, 0, 1, 0, 1, 0, 1, 0) },
        { LOGITS(7, 3), ENTROPY(.has_ignore = true), LABELS(7, 0, 1, 0, 2, 1, 0, 2) },
        { LOGITS(5, 3), ENTROPY(.reduction = AK_REDUCE_SUM), LABELS(5, 0, 1, -1, 2, 1) },
        { LOGITS(5, 3), ENTROPY(.reduction = AK_REDUCE_NONE, .label_smoothing = 0.2),
          LABELS(5, 0, 1, -1, 2, 1) },
        { WEIGHTED(5, 4), ENTROPY(0), LABELS(5, 3, 1, -1, 3, 0) },
        { WEIGHTED(4, 33), ENTROPY(.label_smoothing = 0.3), LABELS(4, 32, 1, 7, 7) },
        { WEIGHTED(5, 3), ENTROPY(.reduction = AK_REDUCE_SUM), LABELS(5, 0, 1, -1, 2, 1) },
        { WEIGHTED(5, 3), ENTROPY(.reduction = AK_REDUCE_NONE, .label_smoothing = 0.2),
          LABELS(5, 0, 1, -1, 2, 1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 1, { 4 } } }, .n_in = 1, ENTROPY(0), LABELS(4, 0, 0, 0, 0) },
        { LOGITS(2, 5), ENTROPY(0), LABELS(2, 0, 5) },
        { LOGITS(2, 5), ENTROPY(0), LABELS(2, 0, -2) },
        { LOGITS(3, 6), ENTROPY(0), LABELS(2, 0, 5) },
        { LOGITS(2, 5), ENTROPY(.label_smoothing = 1), LABELS(2, 0, 1) },
        { LOGITS(2, 5), ENTROPY(.reduction = (ak_reduction)3), LABELS(2, 0, 1) },
        { LOGITS(2, 5), ENTROPY(0) },
        { .in = { { 2, { 2, 5 } }, { 1, { 4 } } }, .flags = AK_SAMPLE_CONSTANT_1, ENTROPY(0),
          LABELS(2, 0, 1) },
        { .in = { { 2, { 2, 5 } }, { 1, { 5 } } }, .flags = AK_SAMPLE_CONSTANT_1, ENTROPY(0),
          .lo = -2, .hi = -1, LABELS(2, 0, 1) },
        { .in = { { 2, { 2, 5 } }, { 1, { 5 } } }, ENTROPY(0), LABELS(2, 0, 1), .lo = 1, .hi = 2 },
        AK_END },
};

ak_tensor *ak_cross_entropy(ak_tensor *x, ak_index *target, ak_cross_entropy_options o)
{
    const ak_operands operands = { (ak_tensor *[]){ x, o.class_weights }, 2, &target, 1 };
    return ak_apply_all(&ak__op_cross_entropy, operands, &o).out;
}

/* ---- soft targets: cross_entropy_soft, kl_div_logits ----------------------------------------- */

enum { SOFT_WEIGHTS = 2, PIECE = 128 };

typedef struct soft_work { ak_call *k; ak_real *dx; ak__put put; ak_real mean; } soft_work;

static ak_reduction soft_reduction(const ak_call *k)
{
    const ak_soft_options *o = k->op->attr_size ? k->attr : NULL;
    return o ? o->reduction : AK_REDUCE_MEAN;
}

/* Class weights; NULL = none. */
static const ak_real *soft_weights(const ak_call *k)
{
    return k->n_in > SOFT_WEIGHTS && k->in[SOFT_WEIGHTS] ? k->in[SOFT_WEIGHTS]->data : NULL;
}

static ak_status soft_shape(ak_call *k)
{
    if (k->in[0]->shape.n != 2 || !ak_shape_equal(k->in[0]->shape, k->in[1]->shape) ||
        k->in[0]->shape.dims[1] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "x and target need one shape [N, C]");
    const ak_status status = k->n_in > SOFT_WEIGHTS ? weights_check(k, SOFT_WEIGHTS) : AK_OK;
    return status == AK_OK ? reduction_shape(k, soft_reduction(k)) : status;
}

/* -sum w t log softmax(x) of a row, with `entropy` also + sum t log t. Entries with w t = 0 give
 * 0. */
static double soft_row(const ak_call *k, int64_t r, bool entropy)
{
    const int64_t C = k->in[0]->shape.dims[1];
    const ak_real *x = k->in[0]->data + r * C, *t = k->in[1]->data + r * C, *w = soft_weights(k);
    const ak__row_sum s = ak__row_sum_of(x, C);
    const double log_sum = log((double)s.sum);
    double loss = 0;
    for (int64_t i = 0; i < C; i++) {
        if (t[i] == 0 || (w && w[i] == 0))
            continue;
        /* the logarithms first: they nearly cancel where the two distributions are close */
        const double more = entropy ? log((double)t[i]) : 0;
        const double share = w ? (double)w[i] * (double)t[i] : (double)t[i];
        loss += share * (more + ak__minus_log_share(s, log_sum, x[i]));
    }
    return loss;
}

static double entropy_row(const ak_call *k, int64_t r) { return soft_row(k, r, false); }
static double divergence_row(const ak_call *k, int64_t r) { return soft_row(k, r, true); }

/* dx = or += g (softmax(x) sum w t - w t), piece by piece: w t has no memory of its own. */
static void weighted_soft_row(const soft_work *w, int64_t r, ak_real g)
{
    const int64_t C = w->k->in[0]->shape.dims[1];
    const ak_real *x = w->k->in[0]->data + r * C, *t = w->k->in[1]->data + r * C;
    const ak_real *weights = soft_weights(w->k);
    const ak__row_sum s = ak__row_sum_of(x, C);
    const ak_real each = g * ak__k.dot(weights, t, C) / s.sum;
    ak_real both[PIECE];
    for (int64_t c = 0; c < C; c += PIECE) {
        const int64_t n = C - c < PIECE ? C - c : PIECE;
        ak__k.mul(both, weights + c, t + c, n);
        ak__k.exp_affine(w->dx + r * C + c, each, x + c, s.top, -g, both, 0, n,
                         w->put == AK__ADD ? AK__ADD : AK__SET);
    }
}

/* dx = or += g (softmax(x) sum t - t) */
static void soft_grad_rows(void *user, int64_t begin, int64_t end)
{
    const soft_work *w = user;
    const int64_t C = w->k->in[0]->shape.dims[1];
    const bool weighted = soft_weights(w->k);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * C, *t = w->k->in[1]->data + r * C;
        const ak_real g = row_gradient(w->k, soft_reduction(w->k), r, w->mean);
        if (weighted) {
            weighted_soft_row(w, r, g);
            continue;
        }
        const ak__row_sum s = ak__row_sum_of(x, C);
        ak__k.exp_affine(w->dx + r * C, g * ak__k.sum(t, C) / s.sum, x, s.top, -g, t, 0, C,
                         w->put);
    }
    ak__put_end(w->put);
}

/* dt = or += g w (log sum exp(x) - x) = -g w log softmax(x), with `entropy` also g (log t + 1) */
static void soft_target_rows(const soft_work *w, bool entropy, int64_t begin, int64_t end)
{
    const int64_t C = w->k->in[0]->shape.dims[1];
    const ak_real *weights = soft_weights(w->k);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * C, *t = w->k->in[1]->data + r * C;
        const ak_real g = row_gradient(w->k, soft_reduction(w->k), r, w->mean);
        const ak__row_sum s = ak__row_sum_of(x, C);
        const double log_sum = log((double)s.sum);
        ak_real *dt = w->dx + r * C;
        for (int64_t i = 0; i < C; i++) {
            const ak_real share = (ak_real)ak__minus_log_share(s, log_sum, x[i]);
            ak_real d = g * (share + (entropy ? ak__log(t[i]) + 1 : 0));
            if (weights)
                d = weights[i] == 0 ? 0 : weights[i] * d;
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
    soft_work w = { .k = k, .mean = N ? k->out->grad[0] / (ak_real)N : 0,
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
    reduce_rows(k, entropy_row, soft_reduction(k), (double)k->in[0]->shape.dims[0]);
}

static void kl_div_logits_forward(ak_call *k)
{
    reduce_rows(k, divergence_row, AK_REDUCE_MEAN, (double)k->in[0]->shape.dims[0]);
}

#define SOFT(low, high, ...)                                                                       \
    { .in = { { 2, { __VA_ARGS__ } }, { 2, { __VA_ARGS__ } } }, .n_in = 2, .lo = (low),            \
      .hi = (high) }
#define SOFT_SAMPLES                                                                               \
    SOFT(0.1, 1, 1, 1), SOFT(0.1, 1, 3, 5), SOFT(0.1, 3, 2, 17), SOFT(0.01, 0.5, 7, 2),            \
    SOFT(0.1, 1, 1, 33)
#define SOFT_MISUSE                                                                                \
    { .in = { { 1, { 5 } }, { 1, { 5 } } }, .n_in = 2 },                                           \
    { .in = { { 2, { 3, 5 } }, { 2, { 3, 4 } } }, .n_in = 2 }, SOFT(0, 0, 3, 0)

/* Class weights are constants: drawn ones are, only as operand 1. */
typedef struct soft_case { ak_reduction reduction; int weights; } soft_case;

static ak_tensor *sample_soft(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    const soft_case *c = s->attr;
    ak_tensor *w = c->weights ? ak_scale(ak_arange(in[0]->ctx, c->weights), 2.0 / c->weights)
                              : NULL;
    (void)n_in;
    return ak_cross_entropy_soft_with(in[0], in[1], (ak_soft_options){
        .reduction = c->reduction, .class_weights = w });
}
#define SOFT_CASE(n, c, ...)                                                                       \
    { .in = { { 2, { n, c } }, { 2, { n, c } } }, .n_in = 2, .lo = 0.1, .hi = 1,                   \
      .attr = &(const soft_case){ __VA_ARGS__ }, .call = sample_soft }

const ak_op ak__op_cross_entropy_soft = {
    .name = "cross_entropy_soft", .formula = "mean over rows of -sum_c w t log softmax(x)",
    .n_in = 3, .flags = AK_OP_OPTIONAL_IN, .operands = "x target class_weights", .required = 2,
    .attr_size = sizeof(ak_soft_options), .constants = AK_READS(SOFT_WEIGHTS),
    .shape = soft_shape, .forward = cross_entropy_soft_forward,
    .backward = cross_entropy_soft_backward, .flops = ak__softmax_flops,
    .samples = (const ak_sample[]){
        SOFT_SAMPLES, SOFT_CASE(3, 5, AK_REDUCE_SUM, 0), SOFT_CASE(3, 5, AK_REDUCE_NONE, 0),
        SOFT_CASE(3, 5, AK_REDUCE_MEAN, 5), SOFT_CASE(2, 131, AK_REDUCE_NONE, 131), AK_END },
    .misuse = (const ak_sample[]){
        SOFT_MISUSE, SOFT_CASE(3, 5, AK_REDUCE_MEAN, 4), SOFT_CASE(3, 5, (ak_reduction)-1, 0),
        AK_END },
};

ak_tensor *ak_cross_entropy_soft_with(ak_tensor *x, ak_tensor *target, ak_soft_options o)
{
    return ak_apply(&ak__op_cross_entropy_soft, (ak_tensor *[]){ x, target, o.class_weights }, 3,
                    &o);
}

ak_tensor *ak_cross_entropy_soft(ak_tensor *x, ak_tensor *target)
{
    return ak_cross_entropy_soft_with(x, target, (ak_soft_options){ 0 });
}

const ak_op ak__op_kl_div_logits = {
    .name = "kl_div_logits", .formula = "sum t (log t - log softmax(x)) / N", .n_in = 2,
    .operands = "x target",
    .shape = soft_shape, .forward = kl_div_logits_forward, .backward = kl_div_logits_backward,
    .flops = ak__softmax_flops, .samples = (const ak_sample[]){ SOFT_SAMPLES, AK_END },
    .misuse = (const ak_sample[]){ SOFT_MISUSE, AK_END },
};

ak_tensor *ak_kl_div_logits(ak_tensor *x, ak_tensor *target)
{
    return ak_apply(&ak__op_kl_div_logits, (ak_tensor *[]){ x, target }, 2, NULL);
}
