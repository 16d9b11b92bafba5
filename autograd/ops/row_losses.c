/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise losses (bce_logits, mse, l1, huber, smooth_l1), cosine similarity of rows and
 * squared distances of all pairs of rows. */
#include "autograd/ops/row_losses.h"

#include <inttypes.h>

#include <akin/ops.h>

#include "base/real.h"
#include "tensor/far_rows.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"

/* ---- means of an elementwise loss ------------------------------------------------------------ */

typedef struct loss_option { double a; } loss_option;

typedef struct loss_work {
    const ak_real *x, *t;
    ak_real *dx, g, a;          /* a: the option */
    bool fresh;
} loss_work;

/* Of a span of elements: the sum of the values, and dx = or += g times the slope by x or by t. */
typedef struct loss_rule {
    double (*sum)(const loss_work *w, int64_t begin, int64_t end);
    ak__span_fn *slopes[2];
} loss_rule;

static ak_status loss_shape(ak_call *k)
{
    if (!ak_shape_equal(k->in[0]->shape, k->in[1]->shape))
        return ak_call_fail(k, AK_ERR_SHAPE, "x and target differ in shape");
    k->out->shape = AK_SCALAR;
    return AK_OK;
}

static double loss_flops(const ak_call *k)
{
    return 4.0 * (double)k->in[0]->size;
}

static void loss_forward(ak_call *k, const loss_rule *rule, ak_real a)
{
    const int64_t n = k->in[0]->size;
    double *part = ak_call_scratch(k, (size_t)ak__chunk_count(n, AK__SPAN) * sizeof *part);
    if (!part)
        return;
    const loss_work w = { .x = k->in[0]->data, .t = k->in[1]->data, .a = a };
    AK__PARALLEL_CHUNKS(c, n, AK__SPAN, begin, end)
        part[c] = rule->sum(&w, begin, end);
    k->out->data[0] = n ? (ak_real)(ak__loss_total(part, n, 1) / (double)n) : 0;
}

static void loss_backward(ak_call *k, const loss_rule *rule, ak_real a)
{
    const int64_t n = k->in[0]->size;
    loss_work w = { .x = k->in[0]->data, .t = k->in[1]->data, .a = a,
                    .g = n ? k->out->grad[0] / (ak_real)n : 0 };
    for (int i = 0; i < 2; i++) {       /* one after the other: x and t may be one tensor */
        w.dx = ak_call_grad_fresh(k, i, &w.fresh);
        if (w.dx)
            ak__for_spans(n, rule->slopes[i], &w);
    }
}

#define LOSS_SAMPLES(option, extra)                                                                \
    (const ak_sample[]){                                                                           \
        { .in = { { 1, { 1 } }, { 1, { 1 } } }, .attr = (option), .flags = (extra) },              \
        { .in = { { 2, { 6, 3 } }, { 2, { 6, 3 } } }, .attr = (option), .flags = (extra) },        \
        { .in = { { 3, { 2, 5, 7 } }, { 3, { 2, 5, 7 } } }, .attr = (option), .flags = (extra) },  \
        { .in = { { .n = 0 }, { .n = 0 } }, .attr = (option), .flags = (extra) },                  \
        { .in = { { 2, { 1, 17 } }, { 2, { 1, 17 } } }, .attr = (option), .flags = (extra) },      \
        AK_END }
#define LOSS_WRONG_SHAPE                                                                           \
    { .in = { { 2, { 3, 5 } }, { 1, { 5 } } }, .attr = &(const loss_option){ 1 } }
#define LOSS_WRONG_OPTION                                                                          \
    { .in = { { 1, { 5 } }, { 1, { 5 } } }, .attr = &(const loss_option){ -1 } }
#define LOSS_MISUSE (const ak_sample[]){ LOSS_WRONG_SHAPE, AK_END }
#define OPTION_MISUSE (const ak_sample[]){ LOSS_WRONG_SHAPE, LOSS_WRONG_OPTION, AK_END }

/* One loss: value and slopes by x and by t as expressions of x, t and a. Eight sums run side by
 * side, so that the order is fixed and the compiler can keep them in vectors. */
#define LANES 8
#define LOSS_SLOPE(name_, slope_)                                                                  \
    static inline ak_real name_##_slope(ak_real x, ak_real t, ak_real a)                           \
    {                                                                                              \
        (void)x, (void)t, (void)a;                                                                 \
        return slope_;                                                                             \
    }                                                                                              \
    static void name_##_slopes(void *user, int64_t begin, int64_t end)                             \
    {                                                                                              \
        const loss_work w = *(const loss_work *)user;                                              \
        for (int64_t i = begin; w.fresh && i < end; i++)                                           \
            w.dx[i] = w.g * name_##_slope(w.x[i], w.t[i], w.a);                                    \
        for (int64_t i = begin; !w.fresh && i < end; i++)                                          \
            w.dx[i] += w.g * name_##_slope(w.x[i], w.t[i], w.a);                                   \
    }
#define LOSS(name_, formula_, value_, slope_, slope_t_, shape_, option_, extra_, misuse_)          \
    static inline ak_real name_##_value(ak_real x, ak_real t, ak_real a)                           \
    {                                                                                              \
        (void)a;                                                                                   \
        return value_;                                                                             \
    }                                                                                              \
    LOSS_SLOPE(name_, slope_)                                                                      \
    LOSS_SLOPE(name_##_target, slope_t_)                                                           \
    static double name_##_sum(const loss_work *w, int64_t begin, int64_t end)                      \
    {                                                                                              \
        double  lane[LANES] = { 0 };                                                               \
        int64_t i = begin;                                                                         \
        for (; i + LANES <= end; i += LANES)                                                       \
            for (int j = 0; j < LANES; j++)                                                        \
                lane[j] += (double)name_##_value(w->x[i + j], w->t[i + j], w->a);                  \
        for (; i < end; i++)                                                                       \
            lane[0] += (double)name_##_value(w->x[i], w->t[i], w->a);                              \
        return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +                                       \
               ((lane[4] + lane[5]) + (lane[6] + lane[7]));                                        \
    }                                                                                              \
    static const loss_rule name_##_rule = {                                                        \
        name_##_sum, { name_##_slopes, name_##_target_slopes } };                                  \
    static void name_##_forward(ak_call *k)                                                        \
    {                                                                                              \
        loss_forward(k, &name_##_rule, (ak_real)((const loss_option *)k->attr)->a);                \
    }                                                                                              \
    static void name_##_backward(ak_call *k)                                                       \
    {                                                                                              \
        loss_backward(k, &name_##_rule, (ak_real)((const loss_option *)k->attr)->a);               \
    }                                                                                              \
    const ak_op ak__op_##name_ = {                                                                 \
        .name = #name_, .formula = formula_, .n_in = 2, .attr_size = sizeof(loss_option),          \
        .operands = "x target",                                                                    \
        .shape = shape_, .forward = name_##_forward, .backward = name_##_backward,                 \
        .flops = loss_flops,                                                                       \
        .samples = LOSS_SAMPLES(option_, extra_),                                                  \
        .misuse = misuse_,                                                                         \
    };

static ak_real sign_of(ak_real d)
{
    return d > 0 ? 1 : d < 0 ? -1 : 0;
}

static ak_status huber_shape(ak_call *k)
{
    const double delta = ((const loss_option *)k->attr)->a;
    if (!(delta > 0))
        return ak_call_fail(k, AK_ERR_VALUE, "delta %g is not above 0", delta);
    return loss_shape(k);
}

static ak_status smooth_l1_shape(ak_call *k)
{
    const double beta = ((const loss_option *)k->attr)->a;
    if (!(beta >= 0))
        return ak_call_fail(k, AK_ERR_VALUE, "beta %g is not >= 0", beta);
    return loss_shape(k);
}

static ak_real huber_of(ak_real d, ak_real delta)
{
    const ak_real m = ak__fabs(d);
    return m <= delta ? d * d / 2 : delta * (m - delta / 2);
}

/* beta 0 is l1; NaN differences must not pass as 0 */
static ak_real smooth_l1_of(ak_real d, ak_real beta)
{
    const ak_real m = ak__fabs(d);
    return m < beta ? d * d / (2 * beta) : m - beta / 2;
}

static ak_real smooth_l1_slope_of(ak_real d, ak_real beta)
{
    return ak__fabs(d) < beta ? d / beta : sign_of(d);
}

/* log(1 + e^-|x|) never overflows; the slope is sigmoid(x) - t */
static ak_real bce_of(ak_real x, ak_real t)
{
    return ak__fmax(x, 0) - x * t + ak__log1p(ak__exp(-ak__fabs(x)));
}

static ak_real sigmoid_of(ak_real x)
{
    const ak_real e = ak__exp(-ak__fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

LOSS(bce_logits, "mean of max(x, 0) - x t + log(1 + e^-|x|)", bce_of(x, t), sigmoid_of(x) - t, -x,
     loss_shape, NULL, 0, LOSS_MISUSE)
LOSS(mse, "mean of (x - t)^2", (x - t) * (x - t), 2 * (x - t), 2 * (t - x), loss_shape, NULL, 0,
     LOSS_MISUSE)
LOSS(l1, "mean of |x - t|, gradient 0 at 0", ak__fabs(x - t), sign_of(x - t), sign_of(t - x),
     loss_shape, NULL, AK_SAMPLE_DISTINCT, LOSS_MISUSE)
LOSS(huber, "mean of d^2/2 where |d| <= delta, delta (|d| - delta/2) elsewhere; d = x - t",
     huber_of(x - t, a), ak__fmin(ak__fmax(x - t, -a), a), ak__fmin(ak__fmax(t - x, -a), a),
     huber_shape, &(const loss_option){ 0.5 }, AK_SAMPLE_DISTINCT, OPTION_MISUSE)
LOSS(smooth_l1, "mean of d^2/(2 beta) where |d| < beta, |d| - beta/2 elsewhere; d = x - t",
     smooth_l1_of(x - t, a), smooth_l1_slope_of(x - t, a), smooth_l1_slope_of(t - x, a),
     smooth_l1_shape, &(const loss_option){ 0.5 }, AK_SAMPLE_DISTINCT, OPTION_MISUSE)

static ak_tensor *apply_loss(const ak_op *op, ak_tensor *x, ak_tensor *target, double a)
{
    return ak_apply(op, (ak_tensor *[]){ x, target }, 2, &(loss_option){ a });
}

ak_tensor *ak_bce_logits(ak_tensor *x, ak_tensor *target)
{
    return apply_loss(&ak__op_bce_logits, x, target, 0);
}

ak_tensor *ak_mse(ak_tensor *x, ak_tensor *target)
{
    return apply_loss(&ak__op_mse, x, target, 0);
}

ak_tensor *ak_l1(ak_tensor *x, ak_tensor *target)
{
    return apply_loss(&ak__op_l1, x, target, 0);
}

ak_tensor *ak_huber(ak_tensor *x, ak_tensor *target, double delta)
{
    return apply_loss(&ak__op_huber, x, target, delta);
}

ak_tensor *ak_smooth_l1(ak_tensor *x, ak_tensor *target, double beta)
{
    return apply_loss(&ak__op_smooth_l1, x, target, beta);
}

/* ---- cosine_similarity ----------------------------------------------------------------------- */

#define COSINE_EPS ((ak_real)1e-8)

static ak_status cosine_shape(ak_call *k)
{
    const ak_shape s = k->in[0]->shape;
    if (s.n < 1 || !ak_shape_equal(s, k->in[1]->shape))
        return ak_call_fail(k, AK_ERR_SHAPE, "a and b need one shape [.., D]");
    k->out->shape = ak__shape_without(s, s.n - 1);
    return AK_OK;
}

static double cosine_flops(const ak_call *k)
{
    return 6.0 * (double)k->in[0]->size;
}

typedef struct cosine_work {
    ak_call *k;
    ak_real *inverse;           /* [R][2]: 1 / max(|a|, eps), 1 / max(|b|, eps) */
    ak_real *da, *db;
} cosine_work;

/* 1 / max(|a|, eps), also where squares overflow. */
static ak_real cosine_inverse(const ak_real *a, int64_t D)
{
    const ak_real s = ak__k.sum_squares(a, D);
    if ((double)s > AK__LARGEST_SQUARES)
        return (ak_real)ak__far_inverse(a, D);
    return 1 / ak__fmax(ak__sqrt(s), COSINE_EPS);
}

/* Products of such rows, or of their inverses, leave the range of numbers. */
static bool is_far(const ak_real *inverse)
{
    return inverse[0] < (ak_real)1e-14 || inverse[1] < (ak_real)1e-14;
}

static void cosine_rows(void *user, int64_t begin, int64_t end)
{
    const cosine_work *w = user;
    const int64_t D = ak_last_dim(w->k->in[0]);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *a = w->k->in[0]->data + r * D, *b = w->k->in[1]->data + r * D;
        ak_real *inverse = w->inverse + 2 * r;
        inverse[0] = cosine_inverse(a, D);
        inverse[1] = cosine_inverse(b, D);
        w->k->out->data[r] = is_far(inverse)
            ? (ak_real)ak__far_dot((double)inverse[0], a, (double)inverse[1], b, D)
            : ak__k.dot(a, b, D) * inverse[0] * inverse[1];
    }
}

static void cosine_forward(ak_call *k)
{
    const int64_t R = k->out->size;
    cosine_work w = { .k = k, .inverse = ak_call_save(k, (size_t)(2 * R) * sizeof(ak_real)) };
    if (w.inverse)
        ak__for_rows(R, ak_last_dim(k->in[0]), cosine_rows, &w);
}

/* da += g (b/|b| - y a/|a|) / |a|; the second term falls away where |a| is clamped */
static void cosine_side(ak_real *da, ak_real g, ak_real y, const ak_real *a, ak_real inverse_a,
                        const ak_real *b, ak_real inverse_b, int64_t D)
{
    if (is_far((ak_real[]){ inverse_a, inverse_b })) {      /* unit rows first */
        const ak_real own = inverse_a < 1 / COSINE_EPS ? y : 0;
        for (int64_t i = 0; i < D; i++)
            da[i] += g * inverse_a * (b[i] * inverse_b - own * (a[i] * inverse_a));
        return;
    }
    ak__k.axpy(da, g * inverse_a * inverse_b, b, D);
    if (inverse_a < 1 / COSINE_EPS)
        ak__k.axpy(da, -g * y * inverse_a * inverse_a, a, D);
}

static void cosine_grad_rows(void *user, int64_t begin, int64_t end)
{
    const cosine_work *w = user;
    const int64_t D = ak_last_dim(w->k->in[0]);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *a = w->k->in[0]->data + r * D, *b = w->k->in[1]->data + r * D;
        const ak_real g = w->k->out->grad[r], y = w->k->out->data[r];
        const ak_real *inverse = w->inverse + 2 * r;
        if (w->da)
            cosine_side(w->da + r * D, g, y, a, inverse[0], b, inverse[1], D);
        if (w->db)
            cosine_side(w->db + r * D, g, y, b, inverse[1], a, inverse[0], D);
    }
}

static void cosine_backward(ak_call *k)
{
    cosine_work w = { .k = k, .inverse = k->saved, .da = ak_call_grad(k, 0),
                      .db = ak_call_grad(k, 1) };
    if (w.da || w.db)
        ak__for_rows(k->out->size, ak_last_dim(k->in[0]), cosine_grad_rows, &w);
}

const ak_op ak__op_cosine_similarity = {
    .name = "cosine_similarity", .formula = "y = <a, b> / (max(|a|, 1e-8) max(|b|, 1e-8)), rows",
    .n_in = 2, .shape = cosine_shape, .forward = cosine_forward, .backward = cosine_backward,
    .flops = cosine_flops,
    .samples = (const ak_sample[]){
        { .in = { { 1, { 2 } }, { 1, { 2 } } }, .flags = AK_SAMPLE_AWAY_FROM_ZERO },
        { .in = { { 2, { 6, 5 } }, { 2, { 6, 5 } } } },
        { .in = { { 3, { 2, 3, 9 } }, { 3, { 2, 3, 9 } } } },
        { .in = { { 2, { 1, 1 } }, { 2, { 1, 1 } } }, .flags = AK_SAMPLE_AWAY_FROM_ZERO },
        { .in = { { 2, { 3, 33 } }, { 2, { 3, 33 } } } },
        AK_END },
    .misuse = (const ak_sample[]){ { .in = { { .n = 0 }, { .n = 0 } } },
                                   { .in = { { 2, { 3, 5 } }, { 2, { 3, 4 } } } },
                                   { .in = { { 2, { 3, 5 } }, { 1, { 5 } } } }, AK_END },
};

ak_tensor *ak_cosine_similarity(ak_tensor *a, ak_tensor *b)
{
    return ak_apply(&ak__op_cosine_similarity, (ak_tensor *[]){ a, b }, 2, NULL);
}

/* ---- pairwise_sqdist ------------------------------------------------------------------------- */

static ak_status sqdist_shape(ak_call *k)
{
    const ak_shape a = k->in[0]->shape, b = k->in[1]->shape;
    if (a.n != 2 || b.n != 2 || a.dims[1] != b.dims[1])
        return ak_call_fail(k, AK_ERR_SHAPE, "needs matrices [M, D] and [N, D]");
    k->out->shape = AK_SHAPE(a.dims[0], b.dims[0]);
    return AK_OK;
}

static double sqdist_flops(const ak_call *k)
{
    return 2.0 * (double)k->out->size * (double)ak_last_dim(k->in[0]);
}

static ak_real direct_sqdist(const ak_real *a, const ak_real *b, int64_t D)
{
    ak_real s = 0;
    for (int64_t i = 0; i < D; i++)
        s += (a[i] - b[i]) * (a[i] - b[i]);
    return s;
}

typedef struct sqdist_work { ak_call *k; ak_real *length; } sqdist_work;

/* out holds -2 <a, b>. Where the sum cancels, the distance is worked out from the differences. */
static void sqdist_rows(void *user, int64_t begin, int64_t end)
{
    const sqdist_work *w = user;
    const ak_tensor *a = w->k->in[0], *b = w->k->in[1];
    const int64_t M = a->shape.dims[0], N = b->shape.dims[0], D = a->shape.dims[1];
    for (int64_t i = begin; i < end; i++) {
        ak_real *y = w->k->out->data + i * N;
        for (int64_t j = 0; j < N; j++) {
            const ak_real both = w->length[i] + w->length[M + j];
            y[j] += both;
            if (!(y[j] >= (ak_real)0.01 * both) || both > AK_REAL_MAX)
                y[j] = direct_sqdist(a->data + i * D, b->data + j * D, D);
        }
    }
}

static void sqdist_forward(ak_call *k)
{
    const ak_tensor *a = k->in[0], *b = k->in[1];
    const int64_t M = a->shape.dims[0], N = b->shape.dims[0], D = a->shape.dims[1];
    sqdist_work w = { k, ak_call_scratch(k, (size_t)(M + N) * sizeof(ak_real)) };
    if (!w.length)
        return;
    for (int64_t i = 0; i < M; i++)
        w.length[i] = ak__k.sum_squares(a->data + i * D, D);
    for (int64_t j = 0; j < N; j++)
        w.length[M + j] = ak__k.sum_squares(b->data + j * D, D);
    ak__gemm(AK__NT, M, N, D, -2, a->data, D, b->data, D, 0, k->out->data, N, NULL);
    ak__for_rows(M, N, sqdist_rows, &w);
}

/* da_i += 2 (a_i sum_j g_ij - sum_j g_ij b_j), db_j likewise with columns of g */
static void sqdist_backward(ak_call *k)
{
    const ak_tensor *a = k->in[0], *b = k->in[1];
    const int64_t M = a->shape.dims[0], N = b->shape.dims[0], D = a->shape.dims[1];
    const ak_real *g = k->out->grad;
    ak_real *da = ak_call_grad(k, 0), *db = ak_call_grad(k, 1);
    if (da) {
        for (int64_t i = 0; i < M; i++)
            ak__k.axpy(da + i * D, 2 * ak__k.sum(g + i * N, N), a->data + i * D, D);
        ak__gemm(AK__NN, M, D, N, -2, g, N, b->data, D, 1, da, D, NULL);
    }
    if (db) {
        ak_real *sums = ak_call_scratch(k, (size_t)N * sizeof *sums);
        if (!sums)
            return;
        memset(sums, 0, (size_t)N * sizeof *sums);
        if (!ak__sum_rows(k, sums, g, M, N))
            return;
        for (int64_t j = 0; j < N; j++)
            ak__k.axpy(db + j * D, 2 * sums[j], b->data + j * D, D);
        ak__gemm(AK__TN, N, D, M, -2, g, N, a->data, D, 1, db, D, NULL);
    }
}

const ak_op ak__op_pairwise_sqdist = {
    .name = "pairwise_sqdist", .formula = "y[i,j] = |a_i - b_j|^2", .n_in = 2,
    .shape = sqdist_shape, .forward = sqdist_forward, .backward = sqdist_backward,
    .flops = sqdist_flops,
    .samples = (const ak_sample[]){ { .in = { { 2, { 1, 1 } }, { 2, { 1, 1 } } } },
                                    { .in = { { 2, { 4, 3 } }, { 2, { 5, 3 } } } },
                                    { .in = { { 2, { 7, 17 } }, { 2, { 2, 17 } } } },
                                    { .in = { { 2, { 1, 9 } }, { 2, { 3, 9 } } } },
                                    { .in = { { 2, { 3, 2 } }, { 2, { 3, 2 } } }, .lo = 0.1,
                                      .hi = 5 },
                                    AK_END },
    .misuse = (const ak_sample[]){ { .in = { { 2, { 3, 5 } }, { 2, { 3, 4 } } } },
                                   { .in = { { 1, { 5 } }, { 2, { 3, 5 } } } }, AK_END },
};

ak_tensor *ak_pairwise_sqdist(ak_tensor *a, ak_tensor *b)
{
    return ak_apply(&ak__op_pairwise_sqdist, (ak_tensor *[]){ a, b }, 2, NULL);
}
