/* SPDX-License-Identifier: Apache-2.0 */
/* What stands side by side in the last axis: linear layers of one x, and the halves of a gate. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "base/whole.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* ---- linear layers --------------------------------------------------------------------------- */

enum { MOST = 3 };
enum { X, WEIGHTS, BIASES = WEIGHTS + MOST, OPERANDS = BIASES + MOST };

static ak_status linear_joined_shape(ak_call *k)
{
    const ak_tensor *x = k->in[X];
    int64_t out = 0;
    for (int i = 0; i < MOST; i++) {
        const ak_tensor *w = k->in[WEIGHTS + i], *b = k->in[BIASES + i];
        if (!w && !b)
            continue;
        if (!w || w->shape.n != 2)
            return ak_call_fail(k, AK_ERR_SHAPE, "weight %d is not a matrix [O, I]", i);
        if (x->shape.n < 1 || ak_last_dim(x) != w->shape.dims[1])
            return ak_call_fail(k, AK_ERR_SHAPE, "x has %" PRId64 " features, weight %d [O, I] "
                                "takes %" PRId64, ak_last_dim(x), i, w->shape.dims[1]);
        if (b && (b->shape.n != 1 || b->shape.dims[0] != w->shape.dims[0]))
            return ak_call_fail(k, AK_ERR_SHAPE, "bias %d is not [%" PRId64 "]", i,
                                w->shape.dims[0]);
        out += w->shape.dims[0];
    }
    k->out->shape = x->shape;
    k->out->shape.dims[x->shape.n - 1] = out;
    return AK_OK;
}

static void linear_joined_forward(ak_call *k)
{
    const ak_tensor *x = k->in[X];
    const int64_t R = ak_row_count(x), I = ak_last_dim(x), all = ak_last_dim(k->out);
    int64_t at = 0;
    for (int i = 0; i < MOST && k->in[WEIGHTS + i]; i++) {
        const ak_tensor *w = k->in[WEIGHTS + i], *b = k->in[BIASES + i];
        const int64_t O = w->shape.dims[0];
        const ak__epilogue ep = { .bias = b ? b->data : NULL };
        ak__gemm(AK__NT, R, O, I, 1, x->data, I, w->data, I, 0, k->out->data + at, all,
                 b ? &ep : NULL);
        at += O;
    }
}

/* db += the sums of g's columns, which are part of rows of `all`. */
static void sum_columns(ak_call *k, ak_real *db, const ak_real *g, int64_t R, int64_t O,
                        int64_t all)
{
    const int64_t parts = (R + 255) / 256;
    ak_real *part = ak_call_scratch(k, (size_t)(parts * O) * sizeof *part);
    if (!part)
        return;
    AK__PARALLEL_CHUNKS(c, R, 256, begin, end) {
        ak_real *sum = part + c * O;
        memset(sum, 0, (size_t)O * sizeof *sum);
        for (int64_t r = begin; r < end; r++)
            ak__k.add(sum, sum, g + r * all, O);
    }
    if (parts > 0)
        ak__fold_parts(db, part, parts, O);
}

static void linear_joined_backward(ak_call *k)
{
    const ak_tensor *x = k->in[X];
    const int64_t R = ak_row_count(x), I = ak_last_dim(x), all = ak_last_dim(k->out);
    const ak_real *g = k->out->grad;
    bool fresh, fresh_w;
    ak_real *dx = ak_call_grad_fresh(k, X, &fresh);
    for (int i = 0; i < MOST && k->in[WEIGHTS + i]; i++) {
        const ak_tensor *w = k->in[WEIGHTS + i];
        const int64_t O = w->shape.dims[0];
        if (dx)
            ak__gemm(AK__NN, R, I, O, 1, g, all, w->data, I, fresh ? 0 : 1, dx, I, NULL);
        fresh = false;
        ak_real *dw = ak_call_grad_fresh(k, WEIGHTS + i, &fresh_w);
        if (dw)
            ak__gemm(AK__TN, O, I, R, 1, g, all, x->data, I, fresh_w ? 0 : 1, dw, I, NULL);
        ak_real *db = k->in[BIASES + i] ? ak_call_grad(k, BIASES + i) : NULL;
        if (db)
            sum_columns(k, db, g, R, O, all);
        g += O;
    }
}

static double linear_joined_flops(const ak_call *k)
{
    return 2.0 * (double)k->out->size * (double)ak_last_dim(k->in[X]);
}

#define NONE { .n = AK_ABSENT }
static const ak_op linear_joined_op = {
    .name = "linear_joined", .formula = "y = [x w0^T + b0 | x w1^T + b1 | ..]", .n_in = OPERANDS,
    .flags = AK_OP_OPTIONAL_IN, .operands = "x w0 w1 w2 b0 b1 b2", .required = 2,
    .shape = linear_joined_shape, .forward = linear_joined_forward,
    .backward = linear_joined_backward, .flops = linear_joined_flops,
    .reads = AK_READS(0) | AK_READS(1) | AK_READS(2) | AK_READS(3),
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }, { 2, { 1, 1 } }, NONE, NONE, { 1, { 1 } }, NONE, NONE } },
        { .in = {{ 3, { 2, 3, 5 } }, { 2, { 4, 5 } }, { 2, { 2, 5 } }, { 2, { 3, 5 } },
                 { 1, { 4 } }, NONE, { 1, { 3 } } } },
        { .in = {{ 2, { 5, 7 } }, { 2, { 3, 7 } }, { 2, { 6, 7 } }, NONE, NONE, NONE, NONE } },
        { .in = {{ 1, { 3 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } }, NONE, { 1, { 2 } }, { 1, { 2 } },
                 NONE } },
        { .in = {{ 2, { 300, 2 } }, { 2, { 1, 2 } }, { 2, { 17, 2 } }, NONE, { 1, { 1 } },
                 { 1, { 17 } }, NONE } },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 4, 7 } }, { 2, { 5, 6 } }, NONE, NONE, NONE, NONE, NONE } },
        { .in = {{ 2, { 4, 7 } }, { 2, { 5, 7 } }, { 1, { 7 } }, NONE, NONE, NONE, NONE } },
        { .in = {{ 2, { 4, 7 } }, { 2, { 5, 7 } }, { 2, { 3, 7 } }, NONE, NONE, { 1, { 5 } },
                 NONE } },
        { .in = {{ 2, { 4, 7 } }, { 2, { 5, 7 } }, NONE, NONE, NONE, { 1, { 5 } }, NONE } },
        AK_END },
};

ak_tensor *ak_linear_joined(ak_tensor *x, ak_tensor *const *w, ak_tensor *const *b, int n)
{
    ak_tensor *in[OPERANDS] = { x };
    ak_ctx *ctx = x ? x->ctx : NULL;
    if (!AK__GIVEN(ctx, w))
        return &ak__poison;
    if (n < 1 || n > MOST) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_linear_joined: %d layers; it takes 1 to %d", n, MOST);
        return &ak__poison;
    }
    for (int i = 0; i < n; i++) {
        in[WEIGHTS + i] = w[i];
        in[BIASES + i] = b ? b[i] : NULL;
        if (!AK__GIVEN(ctx, w[i]))
            return &ak__poison;
    }
    return ak_apply(&linear_joined_op, in, OPERANDS, NULL);
}

/* ---- gates ----------------------------------------------------------------------------------- */

/* Features that are worked on at once, on the stack. */
#define PIECE 256

typedef struct gated_work {
    ak_gate gate;
    int64_t F;
    const ak_real *x, *dy;
    ak_real *y, *dx;
    bool add;
} gated_work;

static ak_status gated_shape(ak_call *k)
{
    const ak_gate gate = *(const ak_gate *)k->attr;
    if ((int)gate < 0 || gate > AK_GATE_RELU)
        return ak_call_fail(k, AK_ERR_VALUE, "unknown gate %d (ak_gate: 0 to %d)", (int)gate,
                            (int)AK_GATE_RELU);
    if (k->in[0]->shape.n < 1 || ak_last_dim(k->in[0]) % 2 != 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "the last axis is no gate and as many values");
    k->out->shape = k->in[0]->shape;
    k->out->shape.dims[k->out->shape.n - 1] /= 2;
    return AK_OK;
}

static void activate(ak_gate gate, ak_real *y, const ak_real *a, int64_t n)
{
    switch (gate) {
    case AK_GATE_GELU:      ak__k.gelu(y, a, n, AK__SET); break;
    case AK_GATE_GELU_TANH: ak__k.gelu_tanh(y, a, n, AK__SET); break;
    case AK_GATE_RELU:      ak__k.relu(y, a, n, AK__SET); break;
    case AK_GATE_SILU:
        ak__k.sigmoid(y, a, n);
        ak__k.mul(y, y, a, n);
        break;
    }
}

/* da = or += f'(a) g; scratch [n] */
static void activate_backward(const gated_work *w, ak_real *da, const ak_real *a, const ak_real *g,
                              int64_t n)
{
    const ak__put put = w->add ? AK__ADD : AK__SET;
    ak_real s[PIECE];
    switch (w->gate) {
    case AK_GATE_GELU:      ak__k.gelu_backward(da, a, g, n, put); break;
    case AK_GATE_GELU_TANH: ak__k.gelu_tanh_backward(da, a, g, n, put); break;
    case AK_GATE_RELU:      ak__k.relu_backward(da, a, g, n, put); break;
    case AK_GATE_SILU:
        ak__k.sigmoid(s, a, n);
        for (int64_t i = 0; i < n; i++) {
            /* a (1 - s), where a is so large that it overflows with g but 1 - s is 0 */
            const ak_real rest = s[i] < 1 ? a[i] * (1 - s[i]) : 0;
            const ak_real d = g[i] * s[i] * (1 + rest);
            da[i] = w->add ? da[i] + d : d;
        }
        break;
    }
}

static void gated_rows(void *user, int64_t begin, int64_t end)
{
    const gated_work *w = user;
    for (int64_t r = begin; r < end; r++) {
        const ak_real *a = w->x + 2 * r * w->F, *b = a + w->F;
        ak_real *y = w->y + r * w->F;
        activate(w->gate, y, a, w->F);
        ak__k.mul(y, y, b, w->F);
    }
}

static void gated_rows_backward(void *user, int64_t begin, int64_t end)
{
    const gated_work *w = user;
    ak_real g[PIECE];
    for (int64_t r = begin; r < end; r++)
        for (int64_t c = 0; c < w->F; c += PIECE) {
            const int64_t n = ak__min(PIECE, w->F - c), at = 2 * r * w->F + c;
            const ak_real *a = w->x + at, *b = a + w->F, *dy = w->dy + r * w->F + c;
            ak_real *da = w->dx + at, *db = da + w->F;
            ak__k.mul(g, dy, b, n);
            activate_backward(w, da, a, g, n);
            activate(w->gate, g, a, n);
            ak__k.mul(g, g, dy, n);
            ak__pass_span(db, g, n, w->add);
        }
}

static void gated_forward(ak_call *k)
{
    gated_work w = { .gate = *(const ak_gate *)k->attr, .F = ak_last_dim(k->out),
                     .x = k->in[0]->data, .y = k->out->data };
    ak__for_rows(ak_row_count(k->out), 2 * w.F, gated_rows, &w);
}

static void gated_backward(ak_call *k)
{
    bool fresh;
    gated_work w = { .gate = *(const ak_gate *)k->attr, .F = ak_last_dim(k->out),
                     .x = k->in[0]->data, .dy = k->out->grad };
    w.dx = ak_call_grad_fresh(k, 0, &fresh);
    w.add = !fresh;
    if (w.dx)
        ak__for_rows(ak_row_count(k->out), 2 * w.F, gated_rows_backward, &w);
}

#define GATE(g) .lo = -3, .hi = 3, .attr = &(const ak_gate){ g }
static const ak_op gated_op = {
    .name = "gated", .formula = "y = f(a) b, x = [a | b]", .n_in = 1, .attr_size = sizeof(ak_gate),
    .shape = gated_shape, .forward = gated_forward, .backward = gated_backward,
    .reads = AK_READS(0),
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 2 } }}, GATE(AK_GATE_SILU) },
        { .in = {{ 3, { 2, 1, 14 } }}, GATE(AK_GATE_SILU) },
        { .in = {{ 2, { 3, 10 } }}, GATE(AK_GATE_GELU) },
        { .in = {{ 2, { 2, 520 } }}, GATE(AK_GATE_GELU_TANH) },
        { .in = {{ 2, { 3, 6 } }}, GATE(AK_GATE_RELU), .flags = AK_SAMPLE_AWAY_FROM_ZERO },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, GATE(AK_GATE_SILU) },
        { .in = {{ 2, { 2, 4 } }}, GATE((ak_gate)4) },
        AK_END },
};

ak_tensor *ak_gated(ak_tensor *x, ak_gate gate)
{
    return ak_apply(&gated_op, &x, 1, &gate);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_joined[] = { &linear_joined_op, &gated_op, NULL };
