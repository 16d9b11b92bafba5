/* SPDX-License-Identifier: Apache-2.0 */
/* Norms of rows: l2_normalize, layer_norm, rms_norm. Batch and group norm: channel_norm.c. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "autograd/ops/norm_internal.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows of one chunk of a norm's backward: as ak__for_rows, so that parameter gradients can be
 * kept per chunk and added in order. */
static int64_t chunk_rows(int64_t D)
{
    return D >= AK__SPAN ? 1 : AK__SPAN / (D > 0 ? D : 1);
}

static ak_status row_shape(ak_call *k)
{
    if (k->in[0]->shape.n < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "needs at least one axis");
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

ak_status ak__norm_check_weights(ak_call *k, int64_t D)
{
    for (int i = 1; i < 3 && i < k->n_in; i++)
        if (k->in[i] && (k->in[i]->shape.n != 1 || k->in[i]->shape.dims[0] != D))
            return ak_call_fail(k, AK_ERR_SHAPE, "%s needs %" PRId64 " numbers, as many as the "
                                "last axis", i == 1 ? "the weight" : "the bias", D);
    return AK_OK;
}

ak_status ak__norm_check_eps(ak_call *k, double eps)
{
    if (!(eps >= 0) || eps > 1e30)
        return ak_call_fail(k, AK_ERR_VALUE, "eps %g is not in [0, 1e30]", eps);
    return AK_OK;
}

/* ---- l2_normalize ---------------------------------------------------------------------------- */

#define L2_EPS ((ak_real)1e-12)

/* 1 / max(|x|, L2_EPS), also where the squares overflow. */
static ak_real inverse_length(const ak_real *x, int64_t D)
{
    const ak_real s = ak__k.sum_squares(x, D);
    if (s <= AK_REAL_MAX)
        return 1 / ak__fmax(ak__sqrt(s), L2_EPS);
    double total = 0;
    ak_real top = 0;
    for (int64_t i = 0; i < D; i++)
        top = ak__fmax(top, ak__fabs(x[i]));
    for (int64_t i = 0; i < D; i++) {
        const double t = (double)(x[i] / top);
        total += t * t;
    }
    return (ak_real)(1 / sqrt(total)) / top;
}

typedef struct l2_work { ak_call *k; ak_real *inverse; ak_real *dx; ak__put put; } l2_work;

static void l2_forward_rows(void *user, int64_t begin, int64_t end)
{
    const l2_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * D;
        w->inverse[r] = inverse_length(x, D);
        ak__k.affine(w->k->out->data + r * D, w->inverse[r], x, 0, D, w->put);
    }
    ak__put_end(w->put);
}

static void l2_forward(ak_call *k)
{
    const int64_t R = ak_row_count(k->out);
    l2_work w = { .k = k, .inverse = ak_call_save(k, (size_t)R * sizeof(ak_real)),
                  .put = ak__put_of(k->out->size, false) };
    if (w.inverse)
        ak__for_rows(R, ak_last_dim(k->out), l2_forward_rows, &w);
}

/* dx = or += (dy - y <dy, y>) / |x|; where |x| is clamped the map is linear: dy / eps */
static void l2_backward_rows(void *user, int64_t begin, int64_t end)
{
    const l2_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *y = w->k->out->data + r * D, *dy = w->k->out->grad + r * D;
        const ak_real inverse = w->inverse[r];
        const ak_real s = inverse < 1 / L2_EPS ? ak__k.dot(dy, y, D) : 0;
        ak__k.combine(w->dx + r * D, inverse, dy, -inverse * s, y, D, w->put);
    }
    ak__put_end(w->put);
}

static void l2_backward(ak_call *k)
{
    bool fresh;
    l2_work w = { .k = k, .inverse = k->saved, .dx = ak_call_grad_fresh(k, 0, &fresh) };
    w.put = ak__put_of(k->out->size, !fresh);
    if (w.dx)
        ak__for_rows(ak_row_count(k->out), ak_last_dim(k->out), l2_backward_rows, &w);
}

static const ak_op l2_normalize = {
    .name = "l2_normalize", .formula = "y = x / max(|x|, 1e-12), last axis", .n_in = 1,
    .shape = row_shape, .forward = l2_forward, .backward = l2_backward, .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 1, { 1 } } }, .flags = AK_SAMPLE_AWAY_FROM_ZERO },
        { .in = { { 2, { 4, 6 } } } },
        { .in = { { 3, { 2, 1, 9 } } }, .lo = 0.1, .hi = 3 },
        { .in = { { 1, { 17 } } } },
        { .in = { { 2, { 7, 33 } } } },
        AK_END },
    .misuse = (const ak_sample[]){ { .in = { { .n = 0 } } }, AK_END },
};

ak_tensor *ak_l2_normalize(ak_tensor *x)
{
    return ak_apply(&l2_normalize, &x, 1, NULL);
}

/* ---- layer_norm ------------------------------------------------------------------------------ */

typedef struct row_norm_options { double eps; } row_norm_options;

static ak_status row_norm_shape(ak_call *k)
{
    const row_norm_options *o = k->attr;
    ak_status s = row_shape(k);
    if (s == AK_OK && ak_last_dim(k->in[0]) < 1)
        s = ak_call_fail(k, AK_ERR_SHAPE, "the last axis is empty");
    if (s == AK_OK)
        s = ak__norm_check_weights(k, ak_last_dim(k->in[0]));
    return s == AK_OK ? ak__norm_check_eps(k, o->eps) : s;
}

/* What the loops of layer_norm and rms_norm see. part: [chunks][2][D] sums for dw and db. */
typedef struct norm_work {
    ak_call *k;
    ak_real eps;
    ak_real *mean, *rstd;       /* [R] */
    const ak_real *w;           /* NULL = ones */
    ak_real *dx, *part;
    ak__put put;                /* of y, of dx */
} norm_work;

static void layer_norm_rows(void *user, int64_t begin, int64_t end)
{
    const norm_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++)
        ak__k.layer_norm_row(w->k->out->data + r * D, w->k->in[0]->data + r * D, w->w,
                             ak__norm_values(w->k, 2), w->eps, D, &w->mean[r], &w->rstd[r],
                             w->put);
    ak__put_end(w->put);
}

static void layer_norm_forward(ak_call *k)
{
    const int64_t R = ak_row_count(k->out);
    const row_norm_options *o = k->attr;
    norm_work w = { .k = k, .w = ak__norm_values(k, 1),
                    .eps = (ak_real)(o->eps > 0 ? o->eps : 1e-5),
                    .mean = ak_call_save(k, (size_t)R * 2 * sizeof(ak_real)),
                    .put = ak__put_of(k->out->size, false) };
    if (!w.mean)
        return;
    w.rstd = w.mean + R;
    ak__for_rows(R, ak_last_dim(k->out), layer_norm_rows, &w);
}

/* With xh = (x - mean) rstd and g = w dy: dx = rstd (g - mean(g) - xh mean(g xh)), dw = sum dy xh,
 * db = sum dy. For rms_norm, which has no w->mean, mean and mean(g) are 0. */
static void norm_grad_rows(const norm_work *w, int64_t begin, int64_t end, ak_real *dw, ak_real *db)
{
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++)
        ak__k.norm_backward_row(w->dx ? w->dx + r * D : NULL, dw, db, w->k->out->grad + r * D,
                                w->k->in[0]->data + r * D, w->w, w->mean ? w->mean[r] : 0,
                                w->rstd[r], D, w->mean, w->put);
    ak__put_end(w->put);
}

static void norm_backward(ak_call *k, norm_work *w)
{
    const int64_t R = ak_row_count(k->out), D = ak_last_dim(k->out), rows = chunk_rows(D);
    const int64_t chunks = ak__chunk_count(R, rows);
    ak_real *dw = k->n_in > 1 && k->in[1] ? ak_call_grad(k, 1) : NULL;
    ak_real *db = k->n_in > 2 && k->in[2] ? ak_call_grad(k, 2) : NULL;
    w->w = ak__norm_values(k, 1);
    bool fresh;
    w->dx = ak_call_grad_fresh(k, 0, &fresh);
    w->put = ak__put_of(k->out->size, !fresh);
    if (dw || db) {
        w->part = ak_call_scratch(k, (size_t)(chunks * 2 * D) * sizeof(ak_real));
        if (!w->part)
            return;
    }
    AK__PARALLEL_CHUNKS(c, R, rows, begin, end) {
        ak_real *part = w->part ? w->part + c * 2 * D : NULL;
        if (part)
            memset(part, 0, (size_t)(2 * D) * sizeof *part);
        norm_grad_rows(w, begin, end, dw ? part : NULL, db ? part + D : NULL);
    }
    for (int64_t c = 0; c < chunks; c++) {
        if (dw)
            ak__k.add(dw, dw, w->part + c * 2 * D, D);
        if (db)
            ak__k.add(db, db, w->part + c * 2 * D + D, D);
    }
}

static void layer_norm_backward(ak_call *k)
{
    norm_work w = { .k = k, .mean = k->saved };
    w.rstd = w.mean + ak_row_count(k->out);
    norm_backward(k, &w);
}

#define EPS(e) (&(const row_norm_options){ e })

static const ak_op layer_norm = {
    .name = "layer_norm", .formula = "y = (x - mean) / sqrt(var + eps) * w + b, last axis",
    .n_in = 3, .attr_size = sizeof(row_norm_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "x w b",
    .shape = row_norm_shape, .forward = layer_norm_forward, .backward = layer_norm_backward,
    .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 1, { 1 } }, { 1, { 1 } }, { 1, { 1 } } }, .attr = EPS(0.1) },
        { .in = { { 2, { 3, 5 } }, { 1, { 5 } }, { 1, { 5 } } } },
        { .in = { { 3, { 2, 3, 17 } }, { 1, { 17 } }, { .n = AK_ABSENT } } },
        { .in = { { 2, { 4, 8 } }, { .n = AK_ABSENT }, { 1, { 8 } } }, .attr = EPS(1e-3) },
        { .in = { { 1, { 9 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } } },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { .n = 0 }, { .n = AK_ABSENT }, { .n = AK_ABSENT } } },
        { .in = { { 2, { 3, 5 } }, { 1, { 4 } }, { .n = AK_ABSENT } } },
        { .in = { { 2, { 3, 5 } }, { 1, { 5 } }, { 2, { 1, 5 } } } },
        { .in = { { 2, { 3, 5 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } }, .attr = EPS(-1) },
        AK_END },
};

ak_tensor *ak_layer_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, double eps)
{
    return ak_apply(&layer_norm, (ak_tensor *[]){ x, w, b }, 3, &(row_norm_options){ eps });
}

/* ---- rms_norm -------------------------------------------------------------------------------- */

static void rms_norm_rows(void *user, int64_t begin, int64_t end)
{
    const norm_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * D;
        ak_real *y = w->k->out->data + r * D;
        w->rstd[r] = 1 / ak__sqrt(ak__k.sum_squares(x, D) / (ak_real)D + w->eps);
        ak__k.scale(y, w->rstd[r], x, D);
        if (w->w)
            ak__k.mul(y, y, w->w, D);
    }
}

static void rms_norm_forward(ak_call *k)
{
    const int64_t R = ak_row_count(k->out);
    const row_norm_options *o = k->attr;
    norm_work w = { .k = k, .w = ak__norm_values(k, 1),
                    .eps = (ak_real)(o->eps > 0 ? o->eps : 1e-6),
                    .rstd = ak_call_save(k, (size_t)R * sizeof(ak_real)) };
    if (w.rstd)
        ak__for_rows(R, ak_last_dim(k->out), rms_norm_rows, &w);
}

static void rms_norm_backward(ak_call *k)
{
    norm_work w = { .k = k, .rstd = k->saved };
    norm_backward(k, &w);
}

static const ak_op rms_norm = {
    .name = "rms_norm", .formula = "y = x / sqrt(mean(x^2) + eps) * w, last axis", .n_in = 2,
    .attr_size = sizeof(row_norm_options), .flags = AK_OP_OPTIONAL_IN, .operands = "x w",
    .shape = row_norm_shape,
    .forward = rms_norm_forward, .backward = rms_norm_backward, .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 1, { 1 } }, { 1, { 1 } } }, .attr = EPS(0.1) },
        { .in = { { 2, { 3, 5 } }, { 1, { 5 } } } },
        { .in = { { 3, { 2, 3, 17 } }, { 1, { 17 } } }, .attr = EPS(1e-3) },
        { .in = { { 2, { 4, 8 } }, { .n = AK_ABSENT } } },
        { .in = { { 1, { 9 } }, { .n = AK_ABSENT } } },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { .n = 0 }, { .n = AK_ABSENT } } },
        { .in = { { 2, { 3, 5 } }, { 1, { 4 } } } },
        { .in = { { 2, { 3, 5 } }, { .n = AK_ABSENT } }, .attr = EPS(-1) },
        AK_END },
};

ak_tensor *ak_rms_norm(ak_tensor *x, ak_tensor *w, double eps)
{
    return ak_apply(&rms_norm, (ak_tensor *[]){ x, w }, 2, &(row_norm_options){ eps });
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_norm[] = {
    &l2_normalize, &layer_norm, &rms_norm, &ak__op_batch_norm, &ak__op_batch_norm_add,
    &ak__op_group_norm, NULL,
};
