/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that choose elements by place or condition: where, diagonals, score masks, triangles. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* ---- where ---------------------------------------------------------------------------------- */

static ak_status where_shape(ak_call *k)
{
    const ak_shape a = k->in[0]->shape;
    if (!ak_shape_equal(k->in[1]->shape, a) || !ak_shape_equal(k->in[2]->shape, a))
        return ak_call_fail(k, AK_ERR_SHAPE, "a, cond and b have different shapes");
    k->out->shape = a;
    return AK_OK;
}

typedef struct where_args {
    const ak_real *cond, *a, *b, *dy;
    ak_real *out;
    bool     first, add;        /* backward of a (cond != 0), or of b */
} where_args;

static void where_span(void *user, int64_t begin, int64_t end)
{
    const where_args *u = user;
    for (int64_t i = begin; i < end; i++)
        u->out[i] = u->cond[i] != 0 ? u->a[i] : u->b[i];
}

static void where_slope_span(void *user, int64_t begin, int64_t end)
{
    const where_args *u = user;
    for (int64_t i = begin; i < end; i++) {
        const ak_real g = (u->cond[i] != 0) == u->first ? u->dy[i] : 0;
        u->out[i] = u->add ? u->out[i] + g : g;
    }
}

static void where_forward(ak_call *k)       /* operands: a, cond, b */
{
    where_args u = { .a = k->in[0]->data, .cond = k->in[1]->data, .b = k->in[2]->data,
                     .out = k->out->data };
    ak__for_spans(k->out->size, where_span, &u);
}

static void where_backward(ak_call *k)
{
    for (int i = 0; i <= 2; i += 2) {
        bool fresh;
        where_args u = { .cond = k->in[1]->data, .dy = k->out->grad, .first = i == 0,
                         .out = ak_call_grad_fresh(k, i, &fresh) };
        u.add = !fresh;
        if (u.out)
            ak__for_spans(k->out->size, where_slope_span, &u);
    }
}

/* Samples have operands a and b; cond is a pattern of 1, 0, 0, 1. */
static ak_tensor *call_where(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in, (void)s;
    const ak_tensor *cond = ak_zeros(in[1]->ctx, in[1]->shape);
    for (int64_t i = 0; i < cond->size && !ak_is_poison(cond); i++)
        cond->data[i] = i % 4 == 0 || i % 4 == 3;
    return ak_where(cond, in[0], in[1]);
}

#define WHERE(rank, ...)                                                                           \
    { .in = {{ rank, { __VA_ARGS__ } }, { rank, { __VA_ARGS__ } }}, .n_in = 2, .call = call_where }
static const ak_op where_op = {
    .name = "where", .formula = "y = cond != 0 ? a : b", .n_in = 3,
    .operands = "a cond b",
    .shape = where_shape, .forward = where_forward, .backward = where_backward,
    .reads = AK_READS(1),
    .samples = (const ak_sample[]){
        WHERE(1, 1), WHERE(1, 7), WHERE(2, 3, 5), WHERE(3, 2, 1, 4), WHERE(2, 1, 33), AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }, { 2, { 2, 3 } }, { 1, { 3 } }} },
        { .in = {{ 2, { 2, 3 } }, { 1, { 1 } }, { 2, { 2, 3 } }} },
        AK_END },
};

ak_tensor *ak_where(const ak_tensor *cond, ak_tensor *a, ak_tensor *b)
{
    return ak_apply(&where_op, (ak_tensor *[]){ a, ak__as_operand(cond), b }, 3, NULL);
}

/* ---- square matrices: diagonals and score masks ---------------------------------------------- */

static ak_status square_check(ak_call *k, bool even)
{
    const ak_shape x = k->in[0]->shape;
    if (x.n != 2 || x.dims[0] != x.dims[1])
        return ak_call_fail(k, AK_ERR_SHAPE, "needs a square matrix");
    if (even && x.dims[0] % 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "pairs need an even number of rows, not %lld",
                            (long long)x.dims[0]);
    return AK_OK;
}

/* y[i] = x[i, (i + shift) mod n] */
static int64_t pair_of(int64_t i, int64_t shift, int64_t n)
{
    return i + shift < n ? i + shift : i + shift - n;
}

static void picked_diagonal(ak_call *k, int64_t shift)
{
    const int64_t n = k->out->size;
    for (int64_t i = 0; i < n; i++)
        k->out->data[i] = k->in[0]->data[i * n + pair_of(i, shift, n)];
}

static void picked_diagonal_slope(ak_call *k, int64_t shift)
{
    const int64_t n = k->out->size;
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < n; i++)
        dx[i * n + pair_of(i, shift, n)] += k->out->grad[i];
}

static ak_status diagonal_shape(ak_call *k)
{
    k->out->shape = AK_SHAPE(k->in[0]->shape.dims[0]);
    return square_check(k, false);
}
static void diagonal_forward(ak_call *k) { picked_diagonal(k, 0); }
static void diagonal_backward(ak_call *k) { picked_diagonal_slope(k, 0); }

static const ak_op diagonal_op = {
    .name = "diagonal", .formula = "y[i] = x[i, i]", .n_in = 1,
    .shape = diagonal_shape, .forward = diagonal_forward, .backward = diagonal_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }} }, { .in = {{ 2, { 2, 2 } }} }, { .in = {{ 2, { 3, 3 } }} },
        { .in = {{ 2, { 6, 6 } }} }, { .in = {{ 2, { 11, 11 } }} }, AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }} }, { .in = {{ 1, { 4 } }} }, { .in = {{ 3, { 2, 2, 2 } }} },
        AK_END },
};
ak_tensor *ak_diagonal(ak_tensor *x) { return ak_apply(&diagonal_op, &x, 1, NULL); }

static ak_status pair_diagonal_shape(ak_call *k)
{
    k->out->shape = AK_SHAPE(k->in[0]->shape.dims[0]);
    return square_check(k, true);
}
static void pair_diagonal_forward(ak_call *k) { picked_diagonal(k, k->out->size / 2); }
static void pair_diagonal_backward(ak_call *k) { picked_diagonal_slope(k, k->out->size / 2); }

static const ak_op pair_diagonal_op = {
    .name = "pair_diagonal", .formula = "y[i] = s[i, (i + n/2) mod n]", .n_in = 1,
    .shape = pair_diagonal_shape, .forward = pair_diagonal_forward,
    .backward = pair_diagonal_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 2, 2 } }} }, { .in = {{ 2, { 4, 4 } }} }, { .in = {{ 2, { 6, 6 } }} },
        { .in = {{ 2, { 10, 10 } }} }, { .in = {{ 2, { 14, 14 } }} }, AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 3 } }} }, { .in = {{ 2, { 2, 4 } }} }, { .in = {{ 1, { 4 } }} },
        AK_END },
};
ak_tensor *ak_pair_diagonal(ak_tensor *s) { return ak_apply(&pair_diagonal_op, &s, 1, NULL); }

typedef struct mask_attr { int rules; } mask_attr;

static ak_status mask_shape(ak_call *k)
{
    const int rules = ((const mask_attr *)k->attr)->rules;
    if (rules & ~(AK_MASK_SELF | AK_MASK_PAIR))
        return ak_call_fail(k, AK_ERR_VALUE, "unknown rules %d (AK_MASK_SELF %d, AK_MASK_PAIR %d, "
                            "or both)", rules, AK_MASK_SELF, AK_MASK_PAIR);
    k->out->shape = k->in[0]->shape;
    return square_check(k, (rules & AK_MASK_PAIR) != 0);
}

typedef struct score_mask_args { ak_real *to, fill; const ak_real *from; int64_t n; int rules;
                                 bool add; } score_mask_args;

/* Rows of to = from with masked entries = fill; added, masked ones left alone. */
static void score_mask_span(void *user, int64_t begin, int64_t end)
{
    const score_mask_args *u = user;
    for (int64_t i = begin; i < end; i++) {
        ak_real *to = u->to + i * u->n;
        const int64_t pair = pair_of(i, u->n / 2, u->n);
        const ak_real self = u->add ? to[i] : u->fill, other = u->add ? to[pair] : u->fill;
        ak__pass_span(to, u->from + i * u->n, u->n, u->add);
        if (u->rules & AK_MASK_SELF)
            to[i] = self;
        if (u->rules & AK_MASK_PAIR)
            to[pair] = other;
    }
}

static void mask_forward(ak_call *k)
{
    const int64_t n = k->out->shape.dims[0];
    score_mask_args u = { .to = k->out->data, .fill = (ak_real)-INFINITY, .n = n,
                          .from = k->in[0]->data, .rules = ((const mask_attr *)k->attr)->rules };
    ak__for_rows(n, n, score_mask_span, &u);
}

static void mask_backward(ak_call *k)
{
    const int64_t n = k->out->shape.dims[0];
    bool fresh;
    score_mask_args u = { .to = ak_call_grad_fresh(k, 0, &fresh), .n = n, .from = k->out->grad,
                          .rules = ((const mask_attr *)k->attr)->rules };
    u.add = !fresh;
    if (u.to)
        ak__for_rows(n, n, score_mask_span, &u);
}

/* e^-inf is 0: a finite result to compare. */
static ak_tensor *call_mask(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_exp(ak_mask(in[0], ((const mask_attr *)s->attr)->rules));
}

#define MASK(r) .attr = &(const mask_attr){ r }, .call = call_mask
static const ak_op mask_op = {
    .name = "mask", .formula = "y = s, -inf at [i, i] (SELF) and [i, (i + n/2) mod n] (PAIR)",
    .n_in = 1, .attr_size = sizeof(mask_attr), .flags = AK_OP_MAKES_INF,
    .shape = mask_shape, .forward = mask_forward, .backward = mask_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 2, 2 } }}, MASK(AK_MASK_PAIR) },
        { .in = {{ 2, { 5, 5 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 6, 6 } }}, MASK(AK_MASK_SELF | AK_MASK_PAIR) },
        { .in = {{ 2, { 10, 10 } }}, MASK(AK_MASK_PAIR) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 3, 3 } }}, MASK(AK_MASK_PAIR) },
        { .in = {{ 2, { 4, 4 } }}, MASK(8) },
        AK_END },
};
ak_tensor *ak_mask(ak_tensor *s, int rules)
{
    return ak_apply(&mask_op, &s, 1, &(mask_attr){ rules });
}

/* ---- triangle ------------------------------------------------------------------------------- */

typedef struct triangle_attr { bool upper; int diagonal; double fill; } triangle_attr;

static ak_status triangle_shape(ak_call *k)
{
    if (k->in[0]->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "needs two axes");
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

typedef struct triangle_args { ak_real *to, fill; const ak_real *from; int64_t T, S;
                               const triangle_attr *o; bool add; } triangle_args;

/* Row r keeps columns [from, to). */
static void triangle_span(void *user, int64_t begin, int64_t end)
{
    const triangle_args *u = user;
    for (int64_t r = begin; r < end; r++) {
        int64_t edge = r % u->T + u->o->diagonal + (u->o->upper ? 0 : 1);
        edge = edge < 0 ? 0 : edge > u->S ? u->S : edge;
        const int64_t from = u->o->upper ? edge : 0, to = u->o->upper ? u->S : edge;
        ak_real *row = u->to + r * u->S;
        if (!u->add) {
            for (int64_t j = 0; j < from; j++)
                row[j] = u->fill;
            for (int64_t j = to; j < u->S; j++)
                row[j] = u->fill;
        }
        ak__pass_span(row + from, u->from + r * u->S + from, to - from, u->add);
    }
}

static void triangle_walk(const ak_call *k, triangle_args u)
{
    const ak_shape s = k->out->shape;
    u.T = s.dims[s.n - 2];
    u.S = s.dims[s.n - 1];
    u.o = k->attr;
    ak__for_rows(ak_row_count(k->out), u.S, triangle_span, &u);
}

static void triangle_forward(ak_call *k)
{
    triangle_walk(k, (triangle_args){ .to = k->out->data, .from = k->in[0]->data,
                                      .fill = (ak_real)((const triangle_attr *)k->attr)->fill });
}

static void triangle_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        triangle_walk(k, (triangle_args){ .to = dx, .from = k->out->grad, .add = !fresh });
}

#define TRIANGLE(...) .attr = &(const triangle_attr){ __VA_ARGS__ }
static const ak_op triangle_op = {
    .name = "triangle",
    .formula = "y = x where j >= i + diagonal (upper) or j <= i + diagonal, else fill",
    .n_in = 1, .attr_size = sizeof(triangle_attr), .flags = AK_OP_MAKES_INF,
    .shape = triangle_shape, .forward = triangle_forward, .backward = triangle_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, TRIANGLE(false, 0, 0) },
        { .in = {{ 2, { 5, 5 } }}, TRIANGLE(true, 1, -3) },
        { .in = {{ 2, { 3, 7 } }}, TRIANGLE(false, 2, .5) },
        { .in = {{ 3, { 2, 4, 3 } }}, TRIANGLE(false, -1, 0) },
        { .in = {{ 4, { 2, 1, 4, 3 } }}, TRIANGLE(true, -2, 0) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 1, { 3 } }}, TRIANGLE(false, 0, 0) },
        { .in = {{ 0, { 0 } }}, TRIANGLE(true, 0, 0) },
        AK_END },
};
ak_tensor *ak_triangle(ak_tensor *x, bool upper, int diagonal, double fill)
{
    return ak_apply(&triangle_op, &x, 1, &(triangle_attr){ upper, diagonal, fill });
}
/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_select[] = {
    &where_op, &diagonal_op, &triangle_op, &mask_op, &pair_diagonal_op, NULL
};
