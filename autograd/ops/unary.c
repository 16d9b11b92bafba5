/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise ops of one operand: one line each, value and derivative side by side. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* What the loops of one call see. a and b are the op's options. */
typedef struct unary_args {
    const ak_real *X, *Y, *dY;
    ak_real       *out;         /* y in forward, dx in backward */
    ak_real        a, b;
    ak__put        put;         /* how to put what out gets */
} unary_args;

typedef struct unary_attr { double a, b; } unary_attr;

static ak_status unary_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void run_forward(ak_call *k, ak__span_fn *fn)
{
    unary_args u = { .X = k->in[0]->data, .out = k->out->data,
                     .put = ak__put_of(k->out->size, false) };
    if (k->op->attr_size) {
        const unary_attr *o = k->attr;
        u.a = (ak_real)o->a;
        u.b = (ak_real)o->b;
    }
    ak__for_spans(k->out->size, fn, &u);
}

static void run_backward(ak_call *k, ak__span_fn *fn)
{
    bool fresh;
    ak_real *dx = ak_call_grad_over(k, 0, &fresh);
    if (!dx)
        return;
    unary_args u = { .X = k->in[0]->data, .Y = k->out->data, .dY = k->out->grad, .out = dx,
                     .put = ak__put_over(k, dx, fresh) };
    if (k->op->attr_size) {
        const unary_attr *o = k->attr;
        u.a = (ak_real)o->a;
        u.b = (ak_real)o->b;
    }
    ak__for_spans(k->out->size, fn, &u);
}

/* Forward of a span: an expression of x (and the options a, b), or an entry of the kernel table. */
#define EACH(value)                                                                                \
    for (int64_t i = begin; i < end; i++) {                                                        \
        const ak_real x = u->X[i];                                                                 \
        u->out[i] = (value);                                                                       \
    }
#define KERNEL(entry) ak__k.entry(u->out + begin, u->X + begin, end - begin);
/* An entry that can put its results past the caches. */
#define KERNEL_PUT(entry)                                                                          \
    ak__k.entry(u->out + begin, u->X + begin, end - begin, u->put);                                \
    ak__put_end(u->put);
/* a x + b by the table */
#define AFFINE(a, b)                                                                               \
    ak__k.affine(u->out + begin, a, u->X + begin, b, end - begin, u->put);                         \
    ak__put_end(u->put);
/* x times an entry of a x: x sigmoid(a x). */
#define TIMES_KERNEL(entry, factor)                                                                \
    ak__k.scale(u->out + begin, factor, u->X + begin, end - begin);                                \
    ak__k.entry(u->out + begin, u->out + begin, end - begin);                                      \
    ak__k.mul(u->out + begin, u->out + begin, u->X + begin, end - begin);

/* Backward of a span: the derivative as an expression of x, y, a, b, or an entry that takes
 * (dx, x or y, dy, n, put). */
#define SLOPE(derivative)                                                                          \
    if (u->put == AK__ADD) {                                                                       \
        for (int64_t i = begin; i < end; i++) {                                                    \
            const ak_real x = u->X[i];                                                             \
            const ak_real y = u->Y[i];                                                             \
            (void)x;                                                                               \
            (void)y;                                                                               \
            u->out[i] += u->dY[i] * (derivative);                                                  \
        }                                                                                          \
    } else {                                                                                       \
        for (int64_t i = begin; i < end; i++) {                                                    \
            const ak_real x = u->X[i];                                                             \
            const ak_real y = u->Y[i];                                                             \
            (void)x;                                                                               \
            (void)y;                                                                               \
            u->out[i] = u->dY[i] * (derivative);                                                   \
        }                                                                                          \
    }
#define KERNEL_SLOPE(entry, of)                                                                    \
    ak__k.entry(u->out + begin, u->of + begin, u->dY + begin, end - begin, u->put);                \
    ak__put_end(u->put);

/* dx = or += a dy, by the table. */
#define AFFINE_SLOPE(a)                                                                            \
    ak__k.affine(u->out + begin, a, u->dY + begin, 0, end - begin, u->put);                        \
    ak__put_end(u->put);

#define SAMPLES(l, h, ...)                                                                         \
    { .in = {{ 1, { 1 } }}, .lo = l, .hi = h, __VA_ARGS__ },                                       \
    { .in = {{ 1, { 7 } }}, .lo = l, .hi = h, __VA_ARGS__ },                                       \
    { .in = {{ 2, { 3, 5 } }}, .lo = l, .hi = h, __VA_ARGS__ },                                    \
    { .in = {{ 3, { 2, 1, 33 } }}, .lo = l, .hi = h, __VA_ARGS__ },                                \
    { .in = {{ 0, { 0 } }}, .lo = l, .hi = h, __VA_ARGS__ },                                       \
    { .in = {{ 4, { 1, 2, 3, 4 } }}, .lo = l, .hi = h, __VA_ARGS__ }

#define UNARY_FUNCTIONS(name, value, slope)                                                        \
    static void name##_span(void *user, int64_t begin, int64_t end)                                \
    {                                                                                              \
        const unary_args *u = user;                                                                \
        const ak_real a = u->a, b = u->b;                                                          \
        (void)a, (void)b;                                                                          \
        value                                                                                      \
    }                                                                                              \
    static void name##_forward(ak_call *k) { run_forward(k, name##_span); }                        \
    static void name##_slope(void *user, int64_t begin, int64_t end)                               \
    {                                                                                              \
        const unary_args *u = user;                                                                \
        const ak_real a = u->a, b = u->b;                                                          \
        (void)a, (void)b;                                                                          \
        slope                                                                                      \
    }                                                                                              \
    static void name##_backward(ak_call *k) { run_backward(k, name##_slope); }

/* UNARY(name, formula, forward, backward, range of the samples, their flags). Every shape fits. */
#define UNARY(id, ...) UNARY_READING(0, id, __VA_ARGS__)
#define UNARY_READING(looks_at, id, text, value, slope, lo, hi, sample_flags)                      \
    UNARY_FUNCTIONS(id, value, slope)                                                              \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 1, .flags = AK_OP_NO_SHAPE_CHECK,                    \
        .shape = unary_shape, .forward = id##_forward, .backward = id##_backward,                  \
        .reads = looks_at, .again = id##_forward, .again_reads = AK_READS(0),                      \
        .samples = (const ak_sample[]){ SAMPLES(lo, hi, .flags = sample_flags), AK_END },          \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *x) { return ak_apply(&id##_op, &x, 1, NULL); }

/* The same with an option `a`, checked by id_shape; attr_a is the samples' value, bad_a one that is
 * refused. */
#define UNARY_OPTION(id, ...) UNARY_OPTION_READING(0, id, __VA_ARGS__)
#define UNARY_OPTION_READING(looks_at, id, text, value, slope, lo, hi, sample_flags, good_a,       \
                             bad_a)                                                                \
    UNARY_FUNCTIONS(id, value, slope)                                                              \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 1, .attr_size = sizeof(unary_attr),                  \
        .shape = id##_shape, .forward = id##_forward, .backward = id##_backward,                   \
        .reads = looks_at, .again = id##_forward, .again_reads = AK_READS(0),                      \
        .samples = (const ak_sample[]){ SAMPLES(lo, hi, .flags = sample_flags,                     \
                                                .attr = &(const unary_attr){ .a = good_a }),       \
                                        AK_END },                                                  \
        .misuse = (const ak_sample[]){ { .in = {{ 2, { 2, 3 } }},                                  \
                                         .attr = &(const unary_attr){ .a = bad_a } }, AK_END },    \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *x, double a)                                                     \
    {                                                                                              \
        return ak_apply(&id##_op, &x, 1, &(unary_attr){ .a = a });                                 \
    }

static ak_status option_shape(ak_call *k, const char *name)
{
    const unary_attr *o = k->attr;
    if (o->a != o->a)
        return ak_call_fail(k, AK_ERR_VALUE, "%s is not a number", name);
    return unary_shape(k);
}
static ak_status scale_shape(ak_call *k) { return option_shape(k, "the factor"); }
static ak_status add_scalar_shape(ak_call *k) { return option_shape(k, "the summand"); }
static ak_status pow_shape(ak_call *k) { return option_shape(k, "the exponent"); }
static ak_status leaky_relu_shape(ak_call *k) { return option_shape(k, "the slope"); }
static ak_status elu_shape(ak_call *k) { return option_shape(k, "alpha"); }

/* ---- the ops -------------------------------------------------------------------------------- */

#define NONE 0
#define AWAY AK_SAMPLE_AWAY_FROM_ZERO
#define NAN_OPTION ((double)NAN)

/* sigmoid(c x) from y = x sigmoid(c x), without another exponential; x of few digits are near 0 */
#define GATE (ak__fabs(x) > (ak_real)1e-30 ? y / x : (ak_real)0.5)
/* x, short of where a product with it overflows: far out its other factor is 0. */
#define HELD (x > (ak_real)1e30 ? (ak_real)1e30 : x < (ak_real)-1e30 ? (ak_real)-1e30 : x)
#define TWO_OVER_ROOT_PI ((ak_real)1.12837916709551257390)
#define QUICK ((ak_real)1.702)

/* name, formula, forward, derivative, samples' range and flags (, samples' option, a bad one) */
UNARY_READING(AK_READS_NONE, neg, "y = -x", AFFINE(-1, 0), AFFINE_SLOPE(-1), -2, 2, NONE)
UNARY(exp, "y = e^x", KERNEL(exp), SLOPE(y), -2, 2, NONE)
UNARY(log, "y = ln x", KERNEL(log), SLOPE(1 / x), .2, 3, NONE)
UNARY(log1p, "y = ln(1 + x)", EACH(ak__log1p(x)), SLOPE(1 / (1 + x)), -.8, 3, NONE)
UNARY(expm1, "y = e^x - 1", EACH(ak__expm1(x)), SLOPE(y + 1), -2, 2, NONE)
UNARY(sqrt, "y = x^(1/2), slope 0 at 0", EACH(ak__sqrt(x)),
      SLOPE(y != 0 ? (ak_real)0.5 / y : 0), .2, 3, NONE)
UNARY(rsqrt, "y = x^(-1/2)", EACH(1 / ak__sqrt(x)), SLOPE((ak_real)-0.5 * y * y * y), .2, 3, NONE)
UNARY(square, "y = x^2", EACH(x * x), SLOPE(2 * x), -2, 2, NONE)
UNARY(abs, "y = |x|, slope 0 at 0", EACH(ak__fabs(x)),
      SLOPE(x > 0 ? (ak_real)1 : x < 0 ? (ak_real)-1 : x), -2, 2, AWAY)
UNARY(relu, "y = max(x, 0)", KERNEL_PUT(relu), KERNEL_SLOPE(relu_backward, Y), -2, 2, AWAY)
UNARY_READING(AK_READS(0), gelu, "y = x Phi(x)", KERNEL_PUT(gelu), KERNEL_SLOPE(gelu_backward, X),
              -3, 3, NONE)
UNARY_READING(AK_READS(0), gelu_tanh, "y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
              KERNEL_PUT(gelu_tanh), KERNEL_SLOPE(gelu_tanh_backward, X), -3, 3, NONE)
UNARY(silu, "y = x / (1 + e^-x)", TIMES_KERNEL(sigmoid, 1),
      SLOPE(GATE * (1 + x * (1 - GATE))), -4, 4, NONE)
UNARY(quick_gelu, "y = x / (1 + e^(-1.702 x))", TIMES_KERNEL(sigmoid, QUICK),
      SLOPE(GATE * (1 + QUICK * HELD * (1 - GATE))), -3, 3, NONE)
UNARY(sigmoid, "y = 1 / (1 + e^-x)", KERNEL(sigmoid), SLOPE(y * (1 - y)), -4, 4, NONE)
UNARY(tanh, "y = tanh x", KERNEL(tanh), SLOPE(1 - y * y), -2, 2, NONE)
/* Its derivative is sigmoid(x) = 1 - e^-y. */
UNARY(softplus, "y = ln(1 + e^x)",
      EACH((x > 0 ? x : x < 0 ? 0 : x) + ak__log1p(ak__exp(-ak__fabs(x)))),
      SLOPE(-ak__expm1(-y)), -4, 4, NONE)
/* Its derivative is sigmoid(-x) = 1 - e^y. */
UNARY(log_sigmoid, "y = -ln(1 + e^-x)",
      EACH((x < 0 ? x : x > 0 ? 0 : x) - ak__log1p(ak__exp(-ak__fabs(x)))),
      SLOPE(-ak__expm1(y)), -4, 4, NONE)
UNARY(sin, "y = sin x", EACH(ak__sin(x)), SLOPE(ak__cos(x)), -4, 4, NONE)
UNARY(cos, "y = cos x", EACH(ak__cos(x)), SLOPE(-ak__sin(x)), -4, 4, NONE)
UNARY(erf, "y = erf x", KERNEL(erf), SLOPE(TWO_OVER_ROOT_PI * ak__exp(-x * x)), -2, 2, NONE)
UNARY(hardswish, "y = x min(max(x + 3, 0), 6) / 6",
      EACH(x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6),
      SLOPE(x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6), -5, 5, NONE)

UNARY_OPTION_READING(AK_READS_NONE, scale, "y = a x", AFFINE(a, 0), AFFINE_SLOPE(a), -2, 2, NONE,
                     -1.7, NAN_OPTION)
UNARY_OPTION_READING(AK_READS_NONE, add_scalar, "y = x + a", AFFINE(1, a), AFFINE_SLOPE(1), -2, 2,
                     NONE, 0.3, NAN_OPTION)
UNARY_OPTION(pow, "y = x^p", EACH(ak__pow(x, a)),
             SLOPE(a != 0 ? a * ak__pow(x, a - 1) : 0), .3, 2, NONE, 2.5, NAN_OPTION)
UNARY_OPTION(leaky_relu, "y = x > 0 ? x : slope x", EACH(x > 0 ? x : a * x),
             SLOPE(x > 0 ? 1 : a), -2, 2, AWAY, 0.1, NAN_OPTION)
UNARY_OPTION(elu, "y = x > 0 ? x : alpha (e^x - 1)", EACH(x > 0 ? x : a * ak__expm1(x)),
             SLOPE(x > 0 ? 1 : y + a), -2, 2, AWAY, 1.3, NAN_OPTION)

/* ---- clamp ---------------------------------------------------------------------------------- */

static ak_status clamp_shape(ak_call *k)
{
    const unary_attr *o = k->attr;
    if (!(o->a <= o->b))
        return ak_call_fail(k, AK_ERR_VALUE, "lo %g is not <= hi %g", o->a, o->b);
    return unary_shape(k);
}

UNARY_FUNCTIONS(clamp, EACH(x < a ? a : x > b ? b : x), SLOPE(x >= a && x <= b ? 1 : 0))

static const ak_op clamp_op = {
    .name = "clamp", .formula = "y = min(max(x, lo), hi)", .n_in = 1,
    .attr_size = sizeof(unary_attr),
    .shape = clamp_shape, .forward = clamp_forward, .backward = clamp_backward,
    .samples = (const ak_sample[]){ SAMPLES(-2, 2, .attr = &(const unary_attr){ -.5, .75 }),
                                    AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, .attr = &(const unary_attr){ 1, -1 } },
        { .in = {{ 2, { 2, 3 } }}, .attr = &(const unary_attr){ 0, NAN_OPTION } },
        AK_END },
};

ak_tensor *ak_clamp(ak_tensor *x, double lo, double hi)
{
    return ak_apply(&clamp_op, &x, 1, &(unary_attr){ lo, hi });
}

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_unary[] = {
    &neg_op, &scale_op, &add_scalar_op, &pow_op, &exp_op, &log_op, &log1p_op, &expm1_op, &sqrt_op,
    &rsqrt_op, &square_op, &abs_op, &clamp_op, &relu_op, &leaky_relu_op, &elu_op, &gelu_op,
    &gelu_tanh_op, &silu_op, &sigmoid_op, &tanh_op, &softplus_op, &erf_op, &hardswish_op,
    &quick_gelu_op, &log_sigmoid_op, &sin_op, &cos_op, NULL
};
