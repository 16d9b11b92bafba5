/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise ops at the edges of the numbers: value and gradient of every op with one operand, and
 * of those with two, against formulas in double. Nothing may come out as NaN or infinite that is
 * a number, nor the reverse. */
#include <criterion/criterion.h>

#include <float.h>
#include <math.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#if AK_REAL_BITS == 64
#define LEAST DBL_MIN
#define MOST DBL_MAX
#define DIGITS 1e-13
#else
#define LEAST ((double)FLT_MIN)
#define MOST ((double)FLT_MAX)
#define DIGITS 4e-6
#endif

static const double magnitudes[] = { 0, 1e-45, 1e-38, 1e-19, 0.5, 1, 3, 17, 88, 89, 104, 1e4, 1e10,
                                     1e19, 3e38 };
enum { SIZES = sizeof magnitudes / sizeof magnitudes[0], NUMBERS = 2 * SIZES };

static double number_at(int i)
{
    return (double)(ak_real)(i % 2 ? -magnitudes[i / 2] : magnitudes[i / 2]);
}

/* As an ak_real holds it: too large is infinite. */
static double held(double x)
{
    return fabs(x) > MOST ? copysign((double)INFINITY, x) : x;
}

/* Equal to a few units, where `size` is that of the terms; below the normal numbers anything small
 * will do. */
static bool agree(double got, double want, double size)
{
    want = held(want);
    if (isnan(want) || isinf(want))
        return isnan(want) ? isnan(got) : got == want;
    /* what rounds to the largest number or beyond */
    if (isinf(got) && fabs(want) > MOST * (1 - 1e-5))
        return true;
    return fabs(got - want) <= DIGITS * fmax(fabs(want), size) + 2 * LEAST;
}

/* ---- one operand ----------------------------------------------------------------------------- */

typedef struct unary_case {
    const char *name;
    ak_tensor *(*op)(ak_tensor *x);
    double (*value)(double x);
    double (*slope)(double x);
} unary_case;

static double phi(double x) { return exp(-x * x / 2) / sqrt(2 * acos(-1)); }
static double normal(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double gate(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
/* x sigmoid(c x): beyond |x| = 1e6 nothing is left of the slope's second term */
static double swish(double c, double x) { return x * gate(c * x); }
static double swish_slope(double c, double x)
{
    const double g = gate(c * x);
    return g + (fabs(x) < 1e6 ? c * x * g * gate(-c * x) : 0);
}
static double tanh_argument(double x) { return sqrt(8 / acos(-1)) * (x + 0.044715 * x * x * x); }
static double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

#define CASE(id, op_call, value_of, slope_of)                                                      \
    static ak_tensor *op_##id(ak_tensor *x) { return op_call; }                                    \
    static double value_##id(double x) { return value_of; }                                        \
    static double slope_##id(double x) { return (void)x, slope_of; }

CASE(neg, ak_neg(x), -x, x == x ? -1 : x)
CASE(exp, ak_exp(x), exp(x), exp(x))
CASE(log, ak_log(x), log(x), 1 / x)
CASE(log1p, ak_log1p(x), log1p(x), 1 / (1 + x))
CASE(expm1, ak_expm1(x), expm1(x), exp(x))
CASE(sqrt, ak_sqrt(x), sqrt(x), x == 0 ? 0 : 0.5 / sqrt(x))
CASE(rsqrt, ak_rsqrt(x), 1 / sqrt(x), -0.5 / (sqrt(x) * sqrt(x) * sqrt(x)))
CASE(square, ak_square(x), x * x, 2 * x)
CASE(abs, ak_abs(x), fabs(x), sign(x))
CASE(relu, ak_relu(x), x > 0 ? x : 0, x > 0 ? 1 : 0)
CASE(gelu, ak_gelu(x), x * normal(x), normal(x) + (fabs(x) < 1e6 ? x * phi(x) : 0))
CASE(gelu_tanh, ak_gelu_tanh(x), x * gate(tanh_argument(x)),
     gate(tanh_argument(x)) +
     (fabs(x) < 1e3 ? x * gate(tanh_argument(x)) * gate(-tanh_argument(x)) *
                      sqrt(8 / acos(-1)) * (1 + 3 * 0.044715 * x * x) : 0))
CASE(silu, ak_silu(x), swish(1, x), swish_slope(1, x))
CASE(quick_gelu, ak_quick_gelu(x), swish(1.702, x), swish_slope(1.702, x))
CASE(sigmoid, ak_sigmoid(x), gate(x), gate(x) * gate(-x))
CASE(tanh, ak_tanh(x), tanh(x), 1 / cosh(x) / cosh(x))
CASE(softplus, ak_softplus(x), fmax(x, 0) + log1p(exp(-fabs(x))), gate(x))
CASE(erf, ak_erf(x), erf(x), 2 / sqrt(acos(-1)) * exp(-x * x))
CASE(hardswish, ak_hardswish(x), x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6,
     x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6)
CASE(scale, ak_scale(x, 0.5), 0.5 * x, 0.5)
CASE(add_scalar, ak_add_scalar(x, 2), x + 2, 1)
CASE(cube, ak_pow(x, 3), x * x * x, 3 * x * x)
CASE(leaky_relu, ak_leaky_relu(x, 0.25), x > 0 ? x : 0.25 * x, x > 0 ? 1 : 0.25)
CASE(elu, ak_elu(x, 1.5), x > 0 ? x : 1.5 * expm1(x), x > 0 ? 1 : 1.5 * exp(x))
CASE(clamp, ak_clamp(x, -2, 2), fmin(fmax(x, -2), 2), fabs(x) <= 2 ? 1 : 0)

#define ROW(id) { #id, op_##id, value_##id, slope_##id }
static const unary_case unary_cases[] = {
    ROW(neg), ROW(exp), ROW(log), ROW(log1p), ROW(expm1), ROW(sqrt), ROW(rsqrt), ROW(square),
    ROW(abs), ROW(relu), ROW(gelu), ROW(gelu_tanh), ROW(silu), ROW(quick_gelu), ROW(sigmoid),
    ROW(tanh), ROW(softplus), ROW(erf), ROW(hardswish), ROW(scale), ROW(add_scalar), ROW(cube),
    ROW(leaky_relu), ROW(elu), ROW(clamp),
};

/* Every number several times over, so that whole vectors and rests are met. */
#define COPIES 3

static void check_unary(const unary_case *u)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(COPIES * NUMBERS)));
    for (int i = 0; i < COPIES * NUMBERS; i++)
        x->data[i] = (ak_real)number_at(i % NUMBERS);
    ak_tensor *y = u->op(x);
    /* the gradient of each by itself: the sum may be infinite */
    ak_backward_from(y, ak_full(ctx, y->shape, 1)->data);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s: %s", u->name, ak_error_message(ctx));
    for (int i = 0; i < COPIES * NUMBERS; i++) {
        const double v = number_at(i % NUMBERS), value = (double)y->data[i];
        const double slope = (double)x->grad[i], want = u->slope(v);
        cr_expect(agree(value, u->value(v), 0), "%s(%g) = %g, expected %g", u->name, v, value,
                  u->value(v));
        /* slopes are differences of numbers of size 1; the slope of log(-1) says nothing */
        cr_expect(isnan(value) || agree(slope, want, 1), "%s'(%g) = %g, expected %g", u->name, v,
                  slope, want);
    }
    ak_close(ctx);
}

Test(extremes, one_operand)
{
    for (size_t i = 0; i < sizeof unary_cases / sizeof unary_cases[0]; i++)
        check_unary(&unary_cases[i]);
}

/* ---- two operands ---------------------------------------------------------------------------- */

typedef struct binary_case {
    const char *name;
    ak_tensor *(*op)(ak_tensor *a, ak_tensor *b);
    double (*value)(double a, double b);
    double (*slope_a)(double a, double b), (*slope_b)(double a, double b);
} binary_case;

#define PAIR_CASE(id, value_of, slope_a_of, slope_b_of)                                            \
    static double pair_##id(double a, double b) { return (void)a, (void)b, value_of; }             \
    static double first_##id(double a, double b) { return (void)a, (void)b, slope_a_of; }          \
    static double second_##id(double a, double b) { return (void)a, (void)b, slope_b_of; }

PAIR_CASE(add, a + b, 1, 1)
PAIR_CASE(sub, a - b, 1, -1)
PAIR_CASE(mul, a * b, b, a)
PAIR_CASE(div, a / b, 1 / b, -a / b / b)
PAIR_CASE(maximum, fmax(a, b), a > b ? 1 : a < b ? 0 : (double)NAN,
          a < b ? 1 : a > b ? 0 : (double)NAN)
PAIR_CASE(minimum, fmin(a, b), a < b ? 1 : a > b ? 0 : (double)NAN,
          a > b ? 1 : a < b ? 0 : (double)NAN)

#define PAIR_ROW(id) { #id, ak_##id, pair_##id, first_##id, second_##id }
static const binary_case binary_cases[] = { PAIR_ROW(add), PAIR_ROW(sub), PAIR_ROW(mul),
                                            PAIR_ROW(div), PAIR_ROW(maximum), PAIR_ROW(minimum) };

static void check_binary(const binary_case *p)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_tensor *a = ak_require_grad(ak_zeros(ctx, AK_SHAPE(NUMBERS * NUMBERS)));
    ak_tensor *b = ak_require_grad(ak_zeros(ctx, AK_SHAPE(NUMBERS * NUMBERS)));
    for (int i = 0; i < NUMBERS * NUMBERS; i++) {
        a->data[i] = (ak_real)number_at(i / NUMBERS);
        b->data[i] = (ak_real)number_at(i % NUMBERS);
    }
    ak_tensor *y = p->op(a, b);
    ak_backward_from(y, ak_full(ctx, y->shape, 1)->data);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s: %s", p->name, ak_error_message(ctx));
    for (int i = 0; i < NUMBERS * NUMBERS; i++) {
        const double u = number_at(i / NUMBERS), v = number_at(i % NUMBERS);
        const double value = (double)y->data[i], want = p->value(u, v);
        const double first = p->slope_a(u, v), second = p->slope_b(u, v);
        cr_expect(agree(value, want, 0), "%s(%g, %g) = %g, expected %g", p->name, u, v, value,
                  want);
        cr_expect(isnan(first) || agree((double)a->grad[i], first, 0),
                  "%s(%g, %g): by the first %g, expected %g", p->name, u, v, (double)a->grad[i],
                  first);
        cr_expect(isnan(second) || agree((double)b->grad[i], second, 0),
                  "%s(%g, %g): by the second %g, expected %g", p->name, u, v, (double)b->grad[i],
                  second);
    }
    ak_close(ctx);
}

Test(extremes, two_operands)
{
    for (size_t i = 0; i < sizeof binary_cases / sizeof binary_cases[0]; i++)
        check_binary(&binary_cases[i]);
}
