/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products in the forms nn, nt and tn, plain and batched, and the linear layer. */
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"

/* ---- products ------------------------------------------------------------------------------- */

/* A matrix operand: its numbers, its leading dim, elements from one of the batch to the next (0:
 * the same for all). */
typedef struct matrix { const ak_real *data; int64_t ld, stride; } matrix;

typedef struct product_plan {
    int64_t batch, M, N, K;
    int64_t stride_a, stride_b, stride_c;
    int64_t lda, ldb;
} product_plan;

static int64_t rows_of(const ak_tensor *t) { return t->shape.dims[t->shape.n - 2]; }
static int64_t cols_of(const ak_tensor *t) { return t->shape.dims[t->shape.n - 1]; }

static ak_status product_shape(ak_call *k, ak__gemm_form form)
{
    const ak_tensor *a = k->in[0], *b = k->in[1];
    if (a->shape.n < 2 || b->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "operands need two axes");
    const int64_t M = form == AK__TN ? cols_of(a) : rows_of(a);
    const int64_t K = form == AK__TN ? rows_of(a) : cols_of(a);
    const int64_t N = form == AK__NT ? rows_of(b) : cols_of(b);
    const int64_t inner = form == AK__NT ? cols_of(b) : rows_of(b);
    if (K != inner) {
        if (form == AK__NN && K == cols_of(b))
            ak_call_hint(k, "ak_matmul_nt(a, b) computes a b^T");
        else if (form == AK__NN && rows_of(a) == rows_of(b))
            ak_call_hint(k, "ak_matmul_tn(a, b) computes a^T b");
        else if (form != AK__NN && cols_of(a) == rows_of(b))
            ak_call_hint(k, "ak_matmul(a, b) computes a b");
        return ak_call_fail(k, AK_ERR_SHAPE, "inner sizes differ: %lld against %lld",
                            (long long)K, (long long)inner);
    }
    const ak_tensor *lead = a->shape.n > 2 ? a : b;
    if (a->shape.n > 2 && b->shape.n > 2) {
        bool same = a->shape.n == b->shape.n;
        for (int d = 0; same && d < a->shape.n - 2; d++)
            same = a->shape.dims[d] == b->shape.dims[d];
        if (!same)
            return ak_call_fail(k, AK_ERR_SHAPE, "leading axes differ (they are equal, or one "
                                "operand is a matrix)");
    }
    k->out->shape = lead->shape;
    k->out->shape.dims[lead->shape.n - 2] = M;
    k->out->shape.dims[lead->shape.n - 1] = N;
    return AK_OK;
}

static product_plan plan_product(const ak_call *k, ak__gemm_form form)
{
    const ak_tensor *a = k->in[0], *b = k->in[1], *y = k->out;
    product_plan p = { .batch = 1, .M = rows_of(y), .N = cols_of(y),
                       .K = form == AK__TN ? rows_of(a) : cols_of(a),
                       .lda = cols_of(a), .ldb = cols_of(b) };
    for (int d = 0; d < y->shape.n - 2; d++)
        p.batch *= y->shape.dims[d];
    if (b->shape.n == 2 && form != AK__TN) {    /* all rows of a are one tall matrix */
        p.M *= p.batch;
        p.batch = 1;
    }
    p.stride_a = a->shape.n > 2 ? rows_of(a) * cols_of(a) : 0;
    p.stride_b = b->shape.n > 2 ? rows_of(b) * cols_of(b) : 0;
    p.stride_c = p.M * p.N;
    return p;
}

/* C = A B, or added to; a C that all of the batch share (stride 0) gets the sum. */
static void product(ak__gemm_form form, int64_t batch, int64_t M, int64_t N, int64_t K, matrix a,
                    matrix b, bool add, ak_real *C, int64_t stride_c)
{
    const ak_real beta = add ? 1 : 0;
    if (batch == 1) {
        ak__gemm(form, M, N, K, 1, a.data, a.ld, b.data, b.ld, beta, C, N, NULL);
    } else if (stride_c) {
        ak__gemm_batched(form, batch, M, N, K, 1, a.data, a.ld, a.stride, b.data, b.ld, b.stride,
                         beta, C, N, stride_c);
    } else {
        if (batch == 0 && !add)
            memset(C, 0, (size_t)(M * N) * sizeof *C);
        for (int64_t i = 0; i < batch; i++)
            ak__gemm(form, M, N, K, 1, a.data + i * a.stride, a.ld, b.data + i * b.stride, b.ld,
                     i ? 1 : beta, C, N, NULL);
    }
}

static void product_forward(ak_call *k, ak__gemm_form form)
{
    const product_plan p = plan_product(k, form);
    product(form, p.batch, p.M, p.N, p.K, (matrix){ k->in[0]->data, p.lda, p.stride_a },
            (matrix){ k->in[1]->data, p.ldb, p.stride_b }, false, k->out->data, p.stride_c);
}

/*        dA                    dB
 *   nn   dC B^T [M,K]          A^T dC [K,N]
 *   nt   dC B   [M,K]          dC^T A [N,K]
 *   tn   B dC^T [K,M]          A dC   [K,N] */
static void product_backward(ak_call *k, ak__gemm_form form)
{
    const product_plan p = plan_product(k, form);
    const matrix a = { k->in[0]->data, p.lda, p.stride_a };
    const matrix b = { k->in[1]->data, p.ldb, p.stride_b };
    const matrix g = { k->out->grad, p.N, p.stride_c };
    bool fresh;
    ak_real *da = ak_call_grad_fresh(k, 0, &fresh);
    if (da && form == AK__NN)
        product(AK__NT, p.batch, p.M, p.K, p.N, g, b, !fresh, da, p.stride_a);
    else if (da && form == AK__NT)
        product(AK__NN, p.batch, p.M, p.K, p.N, g, b, !fresh, da, p.stride_a);
    else if (da)
        product(AK__NT, p.batch, p.K, p.M, p.N, b, g, !fresh, da, p.stride_a);

    ak_real *db = ak_call_grad_fresh(k, 1, &fresh);
    if (db && form == AK__NN)
        product(AK__TN, p.batch, p.K, p.N, p.M, a, g, !fresh, db, p.stride_b);
    else if (db && form == AK__NT)
        product(AK__TN, p.batch, p.N, p.K, p.M, g, a, !fresh, db, p.stride_b);
    else if (db)
        product(AK__NN, p.batch, p.K, p.N, p.M, a, g, !fresh, db, p.stride_b);
}

static double product_flops(const ak_call *k, ak__gemm_form form)
{
    const ak_tensor *a = k->in[0];
    return 2.0 * (double)k->out->size * (double)(form == AK__TN ? rows_of(a) : cols_of(a));
}

#define PRODUCT(id, form, text, sample_list, misuse_list)                                          \
    static ak_status id##_shape(ak_call *k) { return product_shape(k, form); }                     \
    static void id##_forward(ak_call *k) { product_forward(k, form); }                             \
    static void id##_backward(ak_call *k) { product_backward(k, form); }                           \
    static double id##_flops(const ak_call *k) { return product_flops(k, form); }                  \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 2,                                                   \
        .shape = id##_shape, .forward = id##_forward, .backward = id##_backward,                   \
        .flops = id##_flops, .reads = AK_READS(0) | AK_READS(1),                                   \
        .samples = (const ak_sample[]){ sample_list, AK_END },                                     \
        .misuse = (const ak_sample[]){ misuse_list, AK_END },                                      \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *a, ak_tensor *b)                                                 \
    {                                                                                              \
        return ak_apply(&id##_op, (ak_tensor *[]){ a, b }, 2, NULL);                               \
    }
#define PAIR(an, a, bn, b) { .in = {{ an, { UNPACK a } }, { bn, { UNPACK b } }} }
#define UNPACK(...) __VA_ARGS__
#define LIST(...) __VA_ARGS__

PRODUCT(matmul, AK__NN, "y = a b",
        LIST(PAIR(2, (1, 1), 2, (1, 1)), PAIR(2, (3, 4), 2, (4, 5)), PAIR(2, (1, 7), 2, (7, 3)),
             PAIR(3, (2, 3, 4), 3, (2, 4, 5)), PAIR(3, (3, 2, 5), 2, (5, 3)),
             PAIR(2, (2, 3), 4, (2, 1, 3, 5)), PAIR(4, (2, 2, 1, 3), 4, (2, 2, 3, 2))),
        LIST(PAIR(2, (3, 4), 2, (5, 4)), PAIR(1, (3), 2, (3, 4)),
             PAIR(3, (2, 3, 4), 3, (3, 4, 5))))
PRODUCT(matmul_nt, AK__NT, "y = a b^T",
        LIST(PAIR(2, (1, 1), 2, (1, 1)), PAIR(2, (3, 4), 2, (5, 4)), PAIR(2, (1, 7), 2, (3, 7)),
             PAIR(3, (2, 3, 4), 3, (2, 5, 4)), PAIR(3, (3, 2, 5), 2, (3, 5)),
             PAIR(2, (2, 3), 4, (2, 1, 5, 3)), PAIR(4, (2, 2, 1, 3), 4, (2, 2, 2, 3))),
        LIST(PAIR(2, (3, 4), 2, (4, 5)), PAIR(2, (3, 4), 1, (4)),
             PAIR(3, (2, 3, 4), 4, (2, 1, 5, 4))))
PRODUCT(matmul_tn, AK__TN, "y = a^T b",
        LIST(PAIR(2, (1, 1), 2, (1, 1)), PAIR(2, (4, 3), 2, (4, 5)), PAIR(2, (7, 1), 2, (7, 3)),
             PAIR(3, (2, 4, 3), 3, (2, 4, 5)), PAIR(3, (3, 5, 2), 2, (5, 3)),
             PAIR(2, (3, 2), 4, (2, 1, 3, 5)), PAIR(4, (2, 2, 3, 1), 4, (2, 2, 3, 2))),
        LIST(PAIR(2, (3, 4), 2, (4, 5)), PAIR(1, (4), 1, (4)),
             PAIR(3, (2, 4, 3), 3, (1, 4, 5))))

/* ---- the linear layer ----------------------------------------------------------------------- */

static ak_status linear_shape(ak_call *k)
{
    const ak_tensor *x = k->in[0], *w = k->in[1], *b = k->in[2];
    if (!w || w->shape.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "the weight is not a matrix [O, I]");
    if (x->shape.n < 1 || ak_last_dim(x) != w->shape.dims[1])
        return ak_call_fail(k, AK_ERR_SHAPE, "x has %lld features, the weight [O, I] takes %lld",
                            (long long)ak_last_dim(x), (long long)w->shape.dims[1]);
    if (b && (b->shape.n != 1 || b->shape.dims[0] != w->shape.dims[0]))
        return ak_call_fail(k, AK_ERR_SHAPE, "the bias is not [%lld]",
                            (long long)w->shape.dims[0]);
    k->out->shape = x->shape;
    k->out->shape.dims[x->shape.n - 1] = w->shape.dims[0];
    return AK_OK;
}

static void linear_product(ak_call *k, bool relu)
{
    const ak_tensor *x = k->in[0], *w = k->in[1], *b = k->in[2];
    const int64_t R = ak_row_count(x), I = w->shape.dims[1], O = w->shape.dims[0];
    const ak__epilogue ep = { .bias = b ? b->data : NULL, .relu = relu };
    ak__gemm(AK__NT, R, O, I, 1, x->data, I, w->data, I, 0, k->out->data, O,
             b || relu ? &ep : NULL);
}

/* dx = g w,  dw = g^T x,  db = sum of g's rows, g [R, O] the gradient before the activation */
static void linear_gradients(ak_call *k, const ak_real *g)
{
    const ak_tensor *x = k->in[0], *w = k->in[1];
    const int64_t R = ak_row_count(x), I = w->shape.dims[1], O = w->shape.dims[0];
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        ak__gemm(AK__NN, R, I, O, 1, g, O, w->data, I, fresh ? 0 : 1, dx, I, NULL);
    ak_real *dw = ak_call_grad_fresh(k, 1, &fresh);
    if (dw)
        ak__gemm(AK__TN, O, I, R, 1, g, O, x->data, I, fresh ? 0 : 1, dw, I, NULL);
    ak_real *db = k->in[2] ? ak_call_grad(k, 2) : NULL;
    if (db)
        ak__sum_rows(k, db, g, R, O);
}

static void linear_forward(ak_call *k) { linear_product(k, false); }
static void linear_backward(ak_call *k) { linear_gradients(k, k->out->grad); }

static void linear_relu_forward(ak_call *k) { linear_product(k, true); }

typedef struct mask_args { ak_real *g; const ak_real *y, *dy; } mask_args;

static void mask_span(void *user, int64_t begin, int64_t end)
{
    const mask_args *u = user;
    ak__k.relu_backward(u->g + begin, u->y + begin, u->dy + begin, end - begin, AK__SET);
}

static void linear_relu_backward(ak_call *k)
{
    const int64_t n = k->out->size;
    mask_args u = { ak_call_scratch(k, (size_t)n * sizeof(ak_real)), k->out->data, k->out->grad };
    if (!u.g)
        return;
    ak__for_spans(n, mask_span, &u);
    linear_gradients(k, u.g);
}

static double linear_flops(const ak_call *k)
{
    return 2.0 * (double)k->out->size * (double)k->in[1]->shape.dims[1];
}

#define LAYER(xn, x, o, i) { .in = {{ xn, { UNPACK x } }, { 2, { o, i } }, { 1, { o } }} }
#define NO_BIAS(xn, x, o, i) { .in = {{ xn, { UNPACK x } }, { 2, { o, i } }, { .n = AK_ABSENT }} }
#define LINEAR_SAMPLES                                                                             \
    LAYER(2, (1, 1), 1, 1), LAYER(2, (4, 7), 5, 7), NO_BIAS(2, (3, 16), 33, 16),                   \
    LAYER(1, (3), 2, 3), LAYER(3, (2, 3, 5), 4, 5), NO_BIAS(4, (2, 1, 2, 3), 1, 3)
#define LINEAR_MISUSE                                                                              \
    LAYER(2, (4, 7), 5, 6), LAYER(0, (0), 5, 6),                                                   \
    { .in = {{ 2, { 4, 7 } }, { 2, { 5, 7 } }, { 1, { 4 } }} },                                    \
    { .in = {{ 2, { 4, 7 } }, { 3, { 1, 5, 7 } }, { 1, { 5 } }} }

#define LINEAR(id, text, also_reads)                                                               \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 3, .flags = AK_OP_OPTIONAL_IN,                       \
        .operands = "x w b", .required = 2,                                                        \
        .shape = linear_shape, .forward = id##_forward, .backward = id##_backward,                 \
        .flops = linear_flops, .reads = AK_READS(0) | AK_READS(1) | (also_reads),                  \
        .samples = (const ak_sample[]){ LINEAR_SAMPLES, AK_END },                                  \
        .misuse = (const ak_sample[]){ LINEAR_MISUSE, AK_END },                                    \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *x, ak_tensor *w, ak_tensor *b)                                   \
    {                                                                                              \
        return ak_apply(&id##_op, (ak_tensor *[]){ x, w, b }, 3, NULL);                            \
    }

LINEAR(linear, "y = x w^T + b", 0)
LINEAR(linear_relu, "y = max(x w^T + b, 0)", AK_READS_OUT)

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_linear[] = {
    &matmul_op, &matmul_nt_op, &matmul_tn_op, &linear_op, &linear_relu_op, NULL
};
