/* SPDX-License-Identifier: Apache-2.0 */
/* Norms of rows: l2_normalize, layer_norm, rms_norm. Batch and group norm: channel_norm.c. */
#include <inttypes.h>
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "autograd/ops/norm_internal.h"
#include "base/real.h"
#include "tensor/far_rows.h"
#include "tensor/kernels/kernels.h"

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows of one chunk of a norm's backward: as ak__for_rows, so that parameter gradients can be
 * kept per chunk and added in order; not so many that their sums lose digits. */
#define MOST_ROWS 256
static int64_t chunk_rows(int64_t D)
{
    const int64_t rows = D >= AK__SPAN ? 1 : AK__SPAN / (D > 0 ? D : 1);
    return rows < MOST_ROWS ? rows : MOST_ROWS;
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
/* Below, an inverse has not all digits. */
#define SMALL_INVERSE (AK_REAL_MIN * 8)

/* 1 / max(|x|, L2_EPS), also where the squares overflow. */
static ak_real inverse_length(const ak_real *x, int64_t D)
{
    const ak_real s = ak__k.sum_squares(x, D);
    if (s <= AK_REAL_MAX)
        return 1 / ak__fmax(ak__sqrt(s), L2_EPS);
    return (ak_real)ak__far_inverse(x, D);
}

typedef struct l2_work { ak_call *k; ak_real *inverse; ak_real *dx; ak__put put; } l2_work;

static void l2_forward_rows(void *user, int64_t begin, int64_t end)
{
    const l2_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * D;
        w->inverse[r] = inverse_length(x, D);
        if (w->inverse[r] < SMALL_INVERSE)
            ak__far_unit(w->k->out->data + r * D, x, D);
        else
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

/* The mean and 1 / deviation of a row whose sum or squares overflow, in double; and y. */
static void far_layer_norm_row(ak_real *y, const ak_real *x, const ak_real *w, const ak_real *b,
                               double eps, int64_t D, ak_real *mean, ak_real *rstd, ak__put put)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < D; i++)
        sum += (double)x[i];
    const double m = sum / (double)D;
    for (int64_t i = 0; i < D; i++)
        squares += ((double)x[i] - m) * ((double)x[i] - m);
    const double r = 1 / sqrt(squares / (double)D + eps);
    for (int64_t i = 0; i < D; i++) {
        const ak_real v = (ak_real)(((double)x[i] - m) * r);
        const ak_real all = (w ? v * w[i] : v) + (b ? b[i] : 0);
        y[i] = put == AK__ADD ? y[i] + all : all;
    }
    *mean = (ak_real)m;
    *rstd = (ak_real)r;
}

static void layer_norm_rows(void *user, int64_t begin, int64_t end)
{
    const norm_work *w = user;
    const int64_t D = ak_last_dim(w->k->out);
    const ak_real *b = ak__norm_values(w->k, 2);
    for (int64_t r = begin; r < end; r++) {
        const ak_real *x = w->k->in[0]->data + r * D;
        ak_real *y = w->k->out->data + r * D, *mean = &w->mean[r], *rstd = &w->rstd[r];
        ak__k.layer_norm_row(y, x, w->w, b, w->eps, D, mean, rstd, w->put);
        if (!(*rstd > 0)) {
            ak__put_end(w->put);
            far_layer_norm_row(y, x, w->w, b, (double)w->eps, D, mean, rstd, w->put);
        }
    }
    ak__put_end(w->put);
}

/* y, and mean and 1 / deviation of each row, into k->saved. */
static void layer_norm_again(ak_call *k)
{
    const int64_t R = ak_row_count(k->out);
    const row_norm_options *o = k->attr;
    norm_work w = { .k = k, .w = ak__norm_values(k, 1),
                    .eps = (ak_real)(o->eps > 0 ? o->eps : 1e-5), .mean = k->saved,
                    .put = ak__put_of(k->out->size, false) };
    w.rstd = w.mean + R;
    ak__for_rows(R, ak_last_dim(k->out), layer_norm_rows, &w);
}

static void layer_norm_forward(ak_call *k)
{
    if (ak_call_save(k, (size_t)ak_row_count(k->out) * 2 * sizeof(ak_real)))
        layer_norm_again(k);
}

#define FEW_PARTS 64

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

void ak__add_pairs(ak_real *dw, ak_real *db, ak_real *part, int64_t parts, int64_t C)
{
    /* many parts are added as a tree first, few one after the other */
    if (parts > FEW_PARTS && (dw || db)) {
        ak_real *rest = part + 2 * C;
        ak__fold_parts(part, rest, parts - 1, 2 * C);
        parts = 1;
    }
    for (int64_t c = 0; c < parts; c++) {
        if (dw)
            ak__k.add(dw, dw, part + c * 2 * C, C);
        if (db)
            ak__k.add(db, db, part + c * 2 * C + C, C);
    }
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
    ak__add_pairs(dw, db, w->part, chunks, D);
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
    .reads = AK_READS(0) | AK_READS(1), .again = layer_norm_again, .again_reads = AK_READS(2),
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
        const ak_real s = ak__k.sum_squares(x, D);
        w->rstd[r] = s <= AK_REAL_MAX ? 1 / ak__sqrt(s / (ak_real)D + w->eps)
                                      : (ak_real)(sqrt((double)D) * ak__far_inverse(x, D));
        ak__k.scale(y, w->rstd[r], x, D);
        if (w->w)
            ak__k.mul(y, y, w->w, D);
    }
}

static void rms_norm_again(ak_call *k)
{
    const row_norm_options *o = k->attr;
    norm_work w = { .k = k, .w = ak__norm_values(k, 1),
                    .eps = (ak_real)(o->eps > 0 ? o->eps : 1e-6), .rstd = k->saved };
    ak__for_rows(ak_row_count(k->out), ak_last_dim(k->out), rms_norm_rows, &w);
}

static void rms_norm_forward(ak_call *k)
{
    if (ak_call_save(k, (size_t)ak_row_count(k->out) * sizeof(ak_real)))
        rms_norm_again(k);
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
    .reads = AK_READS(0) | AK_READS(1), .again = rms_norm_again,
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
