/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax of rows and its logarithm. The losses on it: class_losses.c. */
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
    .flops = ak__softmax_flops, .samples = ROW_SAMPLES, .misuse = ROW_MISUSE,
};

ak_tensor *ak_softmax(ak_tensor *x)
{
    return ak_apply(&softmax, &x, 1, NULL);
}

/* ---- log_softmax ----------------------------------------------------------------------------- */

/* x - top would be NaN where all are -inf. */
static void log_softmax_row(ak_real *y, const ak_real *x, int64_t D, ak__put put)
{
    const ak__row_sum s = ak__row_sum_of(x, D);
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
    .backward = log_softmax_backward, .flops = ak__softmax_flops, .samples = ROW_SAMPLES,
    .misuse = ROW_MISUSE,
};

ak_tensor *ak_log_softmax(ak_tensor *x)
{
    return ak_apply(&log_softmax, &x, 1, NULL);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_softmax[] = {
    &softmax, &log_softmax, &ak__op_cross_entropy, &ak__op_cross_entropy_soft,
    &ak__op_kl_div_logits,
    &ak__op_bce_logits, &ak__op_mse, &ak__op_l1, &ak__op_huber, &ak__op_smooth_l1,
    &ak__op_cosine_similarity, &ak__op_pairwise_sqdist, NULL,
};
