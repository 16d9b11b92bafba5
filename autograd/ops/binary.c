/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise ops of two operands, with NumPy's broadcasting.
 *
 * Neighbouring axes that both operands have (or that the same one lacks) are joined, so that all
 * shapes become one walk: rows of `inner` elements in which each operand advances by 1 or by 0.
 * Equal shapes are one row, [.., C] with [C] are rows of C. */
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* y[i] from a[i*sa], b[i*sb]; sa, sb are 0 or 1. */
typedef void value_fn(ak_real *y, const ak_real *a, int64_t sa, const ak_real *b, int64_t sb,
                      int64_t n);
/* d[i*sd] += gradient; with sd = 1 and add false: = */
typedef void slope_fn(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,
                      const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n);

typedef struct broadcast {
    int     n;                              /* joined axes, the last one is the row */
    int64_t dims[AK_MAX_DIMS];
    int64_t step_a[AK_MAX_DIMS], step_b[AK_MAX_DIMS];   /* elements; 0 = broadcast */
} broadcast;

static broadcast join_axes(ak_shape out, ak_shape a, ak_shape b)
{
    broadcast p = { .n = 0 };
    int64_t size_a = 1, size_b = 1;
    /* From the last axis to the first, joined ones in reverse order. */
    for (int d = out.n - 1; d >= 0; d--) {
        const int da = d - (out.n - a.n), db = d - (out.n - b.n);
        const bool in_a = da >= 0 && a.dims[da] != 1, in_b = db >= 0 && b.dims[db] != 1;
        if (out.dims[d] == 1)
            continue;
        if (p.n && in_a == (p.step_a[p.n - 1] != 0) && in_b == (p.step_b[p.n - 1] != 0)) {
            p.dims[p.n - 1] *= out.dims[d];
        } else {
            p.dims[p.n] = out.dims[d];
            p.step_a[p.n] = in_a ? size_a : 0;
            p.step_b[p.n] = in_b ? size_b : 0;
            p.n++;
        }
        size_a *= in_a ? out.dims[d] : 1;
        size_b *= in_b ? out.dims[d] : 1;
    }
    if (p.n == 0)
        p = (broadcast){ .n = 1, .dims = { 1 }, .step_a = { 1 }, .step_b = { 1 } };
    return p;       /* axis 0 of p is the row */
}

/* ---- the walk ------------------------------------------------------------------------------- */

typedef struct binary_args {
    const broadcast *p;
    const ak_real *a, *b, *y, *dy;
    ak_real  *out;          /* y in forward, da or db in backward */
    int       operand;      /* backward: 0 or 1 */
    bool      add;
    value_fn *value;
    slope_fn *slope;
    int64_t   total;        /* backward with sums: elements of the output, */
    int64_t   chunk;        /* of a chunk, */
    int64_t   part;         /* and numbers of one partial result */
} binary_args;

/* Rows of the flat range [begin, end) of the output. */
static void walk_rows(const binary_args *u, ak_real *d, int64_t begin, int64_t end)
{
    const broadcast *p = u->p;
    const int64_t inner = p->dims[0], sa = p->step_a[0], sb = p->step_b[0];
    int64_t index[AK_MAX_DIMS] = { 0 }, at_a = 0, at_b = 0, col = begin % inner;
    int64_t rest = begin / inner;
    for (int i = 1; i < p->n; i++) {
        index[i] = rest % p->dims[i];
        rest /= p->dims[i];
        at_a += index[i] * p->step_a[i];
        at_b += index[i] * p->step_b[i];
    }
    while (begin < end) {
        const int64_t n = inner - col < end - begin ? inner - col : end - begin;
        const ak_real *a = u->a + at_a + col * sa, *b = u->b + at_b + col * sb;
        if (u->value) {
            u->value(d + begin, a, sa, b, sb, n);
        } else {
            const int64_t at = u->operand ? at_b : at_a, s = u->operand ? sb : sa;
            u->slope(d + at + col * s, s, u->add, u->dy + begin, u->y + begin, a, sa, b, sb, n);
        }
        begin += n;
        col = 0;
        for (int i = 1; i < p->n; i++) {
            at_a += p->step_a[i];
            at_b += p->step_b[i];
            if (++index[i] < p->dims[i])
                break;
            at_a -= p->dims[i] * p->step_a[i];
            at_b -= p->dims[i] * p->step_b[i];
            index[i] = 0;
        }
    }
}

static void walk_span(void *user, int64_t begin, int64_t end)
{
    const binary_args *u = user;
    walk_rows(u, u->out, begin, end);
}

static ak_status broadcast_shape(ak_call *k)
{
    const ak_shape a = k->in[0]->shape, b = k->in[1]->shape;
    if (ak_shape_equal(a, b)) {
        k->out->shape = a;
        return AK_OK;
    }
    ak_shape *y = &k->out->shape;
    y->n = a.n > b.n ? a.n : b.n;
    for (int d = 0; d < y->n; d++) {
        const int da = d - (y->n - a.n), db = d - (y->n - b.n);
        const int64_t na = da < 0 ? 1 : a.dims[da], nb = db < 0 ? 1 : b.dims[db];
        if (na != nb && na != 1 && nb != 1)
            return ak_call_fail(k, AK_ERR_SHAPE, "shapes do not broadcast: axis %d from the end "
                                "is %lld against %lld (equal, or one of them 1)", y->n - d,
                                (long long)na, (long long)nb);
        y->dims[d] = na == 1 ? nb : na;
    }
    return AK_OK;
}

static void binary_forward(ak_call *k, value_fn *value)
{
    const ak_tensor *a = k->in[0], *b = k->in[1];
    const int64_t n = k->out->size;
    if (a->size == n && b->size == n && n <= AK__SPAN) {
        value(k->out->data, a->data, 1, b->data, 1, n);
        return;
    }
    if (n == 0)
        return;
    const broadcast p = join_axes(k->out->shape, a->shape, b->shape);
    binary_args u = { .p = &p, .a = a->data, .b = b->data, .out = k->out->data, .value = value };
    ak__for_spans(n, walk_span, &u);
}

/* ---- gradients ------------------------------------------------------------------------------ */

static void partial_span(void *user, int64_t begin, int64_t end)
{
    const binary_args *u = user;
    for (int64_t c = begin; c < end; c++) {
        const int64_t from = c * u->chunk, to = from + u->chunk;
        ak_real *part = u->out + c * u->part;
        memset(part, 0, (size_t)u->part * sizeof *part);
        walk_rows(u, part, from, to < u->total ? to : u->total);
    }
}

enum { NARROW = 64, FEW_ROWS = 256 };

/* An operand that was broadcast gets sums: each chunk of the output has its own partial result
 * (all of them together at most a sixteenth of the output), added in a fixed order. */
static void broadcast_backward(ak_call *k, binary_args *u)
{
    const int64_t n = k->out->size, size = k->in[u->operand]->size;
    ak_real *d = ak_call_grad(k, u->operand);
    if (!d || n == 0)
        return;
    u->add = true;
    u->total = n;
    u->part = size;
    u->chunk = size > AK__SPAN / 16 ? 16 * size : AK__SPAN;
    if (n > AK__SPAN && size > 1 && size < NARROW)      /* short rows: not too many in a sum */
        u->chunk = FEW_ROWS * size;
    const int64_t chunks = ak__chunk_count(n, u->chunk);
    if (chunks == 1) {
        walk_rows(u, d, 0, n);
        return;
    }
    u->out = ak_call_scratch(k, (size_t)(chunks * size) * sizeof *d);
    if (!u->out)
        return;
    ak__for_rows(chunks, u->chunk, partial_span, u);
    ak__fold_parts(d, u->out, chunks, size);
}

static void operand_backward(ak_call *k, int operand, slope_fn *slope)
{
    const ak_tensor *a = k->in[0], *b = k->in[1], *y = k->out;
    if (!k->in[operand]->root->needs_grad)
        return;
    const int64_t n = y->size;
    const bool plain = a->size == n && b->size == n;
    const broadcast p = plain ? (broadcast){ .n = 1, .dims = { n }, .step_a = { 1 },
                                             .step_b = { 1 } }
                              : join_axes(y->shape, a->shape, b->shape);
    binary_args u = { .p = &p, .a = a->data, .b = b->data, .y = y->data, .dy = y->grad,
                      .operand = operand, .slope = slope };
    /* A slope that does not look at values has its pointers moved along all the same: not NULL. */
    u.a = u.a ? u.a : y->grad;
    u.b = u.b ? u.b : y->grad;
    u.y = u.y ? u.y : y->grad;
    if (k->in[operand]->size != n) {
        broadcast_backward(k, &u);
        return;
    }
    bool fresh;
    u.out = ak_call_grad_fresh(k, operand, &fresh);
    u.add = !fresh;
    if (u.out)
        ak__for_spans(n, walk_span, &u);
}

/* ---- the ops -------------------------------------------------------------------------------- */

/* Loops for a value and two derivatives, expressions of the elements A, B and Y. */
#define LOOPS_VALUE(id, expression)                                                                \
    static void id##_value(ak_real *y, const ak_real *a, int64_t sa, const ak_real *b,             \
                           int64_t sb, int64_t n)                                                  \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const ak_real A = a[i * sa], B = b[i * sb];                                            \
            y[i] = (expression);                                                                   \
        }                                                                                          \
    }
#define LOOPS_SLOPE(id, derivative)                                                                \
    static void id(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,          \
                   const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n)          \
    {                                                                                              \
        double sum = 0;                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const ak_real A = a[i * sa], B = b[i * sb], Y = y[i];                                  \
            (void)A;                                                                               \
            (void)B;                                                                               \
            (void)Y;                                                                               \
            const ak_real g = dy[i] * (derivative);                                                \
            if (sd == 0)                                                                           \
                sum += (double)g;                                                                  \
            else                                                                                   \
                d[i] = add ? d[i] + g : g;                                                         \
        }                                                                                          \
        if (sd == 0)                                                                               \
            *d += (ak_real)sum;                                                                    \
    }

/* a + b, a - b, a * b go through the kernel table. */
static void add_value(ak_real *y, const ak_real *a, int64_t sa, const ak_real *b, int64_t sb,
                      int64_t n)
{
    if (sa && sb) {
        ak__k.add(y, a, b, n);
        return;
    }
    const ak_real *x = sa ? a : b, c = sa ? *b : *a;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + c;
}

static void sub_value(ak_real *y, const ak_real *a, int64_t sa, const ak_real *b, int64_t sb,
                      int64_t n)
{
    if (sa && sb) {
        ak__k.sub(y, a, b, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i * sa] - b[i * sb];
}

static void mul_value(ak_real *y, const ak_real *a, int64_t sa, const ak_real *b, int64_t sb,
                      int64_t n)
{
    if (sa && sb)
        ak__k.mul(y, a, b, n);
    else
        ak__k.scale(y, sa ? *b : *a, sa ? a : b, n);
}

/* d += or = c dy, c = 1 or -1 */
static void pass_on(ak_real *d, int64_t sd, bool add, ak_real c, const ak_real *dy, int64_t n)
{
    if (sd == 0)
        *d += c * ak__k.sum(dy, n);
    else if (add)
        ak__k.axpy(d, c, dy, n);
    else
        ak__k.scale(d, c, dy, n);
}

static void plus_slope(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,
                       const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n)
{
    (void)y, (void)a, (void)sa, (void)b, (void)sb;
    pass_on(d, sd, add, 1, dy, n);
}

static void minus_slope(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,
                        const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n)
{
    (void)y, (void)a, (void)sa, (void)b, (void)sb;
    pass_on(d, sd, add, -1, dy, n);
}

/* d += or = dy x, x the other operand */
static void times(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *x,
                  int64_t sx, int64_t n)
{
    if (sd == 0)
        *d += ak__k.dot(dy, x, n);
    else if (sx == 0 && add)
        ak__k.axpy(d, *x, dy, n);
    else if (sx == 0)
        ak__k.scale(d, *x, dy, n);
    else if (add)
        ak__k.mul_add(d, dy, x, n);
    else
        ak__k.mul(d, dy, x, n);
}

static void mul_slope_a(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,
                        const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n)
{
    (void)y, (void)a, (void)sa;
    times(d, sd, add, dy, b, sb, n);
}

static void mul_slope_b(ak_real *d, int64_t sd, bool add, const ak_real *dy, const ak_real *y,
                        const ak_real *a, int64_t sa, const ak_real *b, int64_t sb, int64_t n)
{
    (void)y, (void)b, (void)sb;
    times(d, sd, add, dy, a, sa, n);
}

LOOPS_VALUE(div, A / B)
LOOPS_SLOPE(div_slope_a, 1 / B)
LOOPS_SLOPE(div_slope_b, -Y / B)
/* Equal elements share the gradient; a NaN wins. */
LOOPS_VALUE(maximum, A > B || A != A ? A : B)
LOOPS_SLOPE(maximum_slope_a, A > B ? (ak_real)1 : A == B ? (ak_real)0.5 : 0)
LOOPS_SLOPE(maximum_slope_b, B > A ? (ak_real)1 : A == B ? (ak_real)0.5 : 0)
LOOPS_VALUE(minimum, A < B || A != A ? A : B)
LOOPS_SLOPE(minimum_slope_a, A < B ? (ak_real)1 : A == B ? (ak_real)0.5 : 0)
LOOPS_SLOPE(minimum_slope_b, B < A ? (ak_real)1 : A == B ? (ak_real)0.5 : 0)

/* Same shape, one row, rows of different axes, a scalar, both sides. */
#define BINARY_SAMPLES(...)                                                                        \
    { .in = {{ 1, { 1 } }, { 1, { 1 } }}, __VA_ARGS__ },                                           \
    { .in = {{ 2, { 3, 7 } }, { 2, { 3, 7 } }}, __VA_ARGS__ },                                     \
    { .in = {{ 2, { 3, 5 } }, { 1, { 5 } }}, __VA_ARGS__ },                                        \
    { .in = {{ 1, { 5 } }, { 2, { 3, 5 } }}, __VA_ARGS__ },                                        \
    { .in = {{ 3, { 3, 1, 4 } }, { 2, { 2, 1 } }}, __VA_ARGS__ },                                  \
    { .in = {{ 2, { 4, 3 } }, { 2, { 4, 1 } }}, __VA_ARGS__ },                                     \
    { .in = {{ 0, { 0 } }, { 3, { 2, 1, 3 } }}, __VA_ARGS__ },                                     \
    { .in = {{ 4, { 2, 3, 1, 3 } }, { 4, { 2, 1, 2, 1 } }}, __VA_ARGS__ }

#define BINARY(id, text, slope_a, slope_b, looks_at, ...)                                          \
    static void id##_forward(ak_call *k) { binary_forward(k, id##_value); }                        \
    static void id##_backward(ak_call *k)                                                          \
    {                                                                                              \
        operand_backward(k, 0, slope_a);                                                           \
        operand_backward(k, 1, slope_b);                                                           \
    }                                                                                              \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 2,                                                   \
        .shape = broadcast_shape, .forward = id##_forward, .backward = id##_backward,              \
        .reads = looks_at,                                                                         \
        .samples = (const ak_sample[]){ BINARY_SAMPLES(__VA_ARGS__), AK_END },                     \
        .misuse = (const ak_sample[]){ { .in = {{ 2, { 2, 3 } }, { 2, { 4, 3 } }} },               \
                                       { .in = {{ 1, { 3 } }, { 1, { 4 } }} },                     \
                                       { .in = {{ 2, { 2, 3 } }, { 1, { 2 } }} }, AK_END },        \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *a, ak_tensor *b)                                                 \
    {                                                                                              \
        return ak_apply(&id##_op, (ak_tensor *[]){ a, b }, 2, NULL);                               \
    }

/* What backward looks at: LOOPS_SLOPE has A, B and Y in its loop, needed or not. */
#define BOTH (AK_READS(0) | AK_READS(1))
#define EVERYTHING 0

BINARY(add, "y = a + b", plus_slope, plus_slope, AK_READS_NONE, .lo = -2, .hi = 2)
BINARY(sub, "y = a - b", plus_slope, minus_slope, AK_READS_NONE, .lo = -2, .hi = 2)
BINARY(mul, "y = a b", mul_slope_a, mul_slope_b, BOTH, .lo = -2, .hi = 2)
BINARY(div, "y = a / b", div_slope_a, div_slope_b, EVERYTHING, .lo = .5, .hi = 2)
BINARY(maximum, "y = max(a, b)", maximum_slope_a, maximum_slope_b, EVERYTHING,
       .flags = AK_SAMPLE_DISTINCT)
BINARY(minimum, "y = min(a, b)", minimum_slope_a, minimum_slope_b, EVERYTHING,
       .flags = AK_SAMPLE_DISTINCT)

/* ---- comparisons: 1 or 0 -------------------------------------------------------------------- */

#define COMPARISON(id, text, condition)                                                            \
    LOOPS_VALUE(id, (condition) ? (ak_real)1 : (ak_real)0)                                         \
    static void id##_forward(ak_call *k) { binary_forward(k, id##_value); }                        \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 2,                                                   \
        .shape = broadcast_shape, .forward = id##_forward,                                         \
        .samples = (const ak_sample[]){ BINARY_SAMPLES(.lo = -2, .hi = 2), AK_END },               \
        .misuse = (const ak_sample[]){ { .in = {{ 2, { 2, 3 } }, { 2, { 4, 3 } }} },               \
                                       { .in = {{ 1, { 3 } }, { 1, { 4 } }} }, AK_END },           \
    };                                                                                             \
    ak_tensor *ak_##id(const ak_tensor *a, const ak_tensor *b)                                     \
    {                                                                                              \
        return ak_apply(&id##_op, (ak_tensor *[]){ ak__as_operand(a), ak__as_operand(b) }, 2,      \
                        NULL);                                                                     \
    }

COMPARISON(equal, "y = 1 where a = b, else 0", A == B)
COMPARISON(not_equal, "y = 1 where a != b, else 0", A != B)
COMPARISON(less, "y = 1 where a < b, else 0", A < B)
COMPARISON(less_equal, "y = 1 where a <= b, else 0", A <= B)
COMPARISON(greater, "y = 1 where a > b, else 0", A > B)
COMPARISON(greater_equal, "y = 1 where a >= b, else 0", A >= B)

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_binary[] = {
    &add_op, &sub_op, &mul_op, &div_op, &maximum_op, &minimum_op, &equal_op, &not_equal_op,
    &less_op, &less_equal_op, &greater_op, &greater_equal_op, NULL
};
