/* SPDX-License-Identifier: Apache-2.0 */
/* exp, log, tanh, erf and sigmoid of a vector of floats.
 *
 * Largest errors over every seventh float against the value in double precision, as measured by
 * `kernelcheck --ulp` on AVX2 (the same operations in the same order on AVX-512):
 *
 *     exp      1.02 ulp    results below FLT_MIN are denormal, not 0
 *     log      0.94 ulp    also of denormals
 *     tanh     1.33 ulp
 *     erf      1.11 ulp
 *     sigmoid  2.33 ulp
 *
 * NaN gives NaN. exp(-inf) = 0, exp(inf) = inf; log(0) = -inf, log(x < 0) = NaN, log(inf) = inf;
 * tanh, erf, sigmoid reach their limits exactly; tanh and erf keep the sign of zero.
 *
 * The polynomials are minimax fits of our own (least squares reweighted to equal ripple; each
 * coefficient rounded to float before the next is fitted). The reductions are those of Cody and
 * Waite, "Software Manual for the Elementary Functions", 1980.
 */
#ifndef AK_VECTOR_MATH_H
#define AK_VECTOR_MATH_H

#include "vector.h"

#define V_LN2_HI 0.693359375F           /* 9 bits: k * hi is exact */
#define V_LN2_LO (-2.12194440e-4F)
#define V_ROUND  12582912.0F            /* 1.5 * 2^23: adding it rounds to a whole number */

/* 2^k for whole k in [-126, 127], 0 for -127, inf for 128; t is V_ROUND + k, whose low bits are
 * those of k. */
V_INLINE vf v_power2(vf t)
{
    return v_from_bits(v_add_i(v_shift_left(v_bits(t), 23), v_bits(v_set1(1.0F))));
}

/* e^r for |r| <= ln2 / 2 */
V_INLINE vf v_exp_small(vf r)
{
    vf p = v_set1(0x1.6d7a5cp-10F);
    p = v_fma(p, r, v_set1(0x1.123992p-7F));
    p = v_fma(p, r, v_set1(0x1.5554c0p-5F));
    p = v_fma(p, r, v_set1(0x1.555492p-3F));
    p = v_fma(p, r, v_set1(0.5F));
    return v_add(v_fma(v_mul(r, r), p, r), v_set1(1.0F));
}

/* x - k ln2 */
V_INLINE vf v_exp_rest(vf x, vf k)
{
    return v_fnma(k, v_set1(V_LN2_LO), v_fnma(k, v_set1(V_LN2_HI), x));
}

/* e^x = 2^k e^r, |r| <= ln2 / 2. 2^k is applied as two factors, because the result may be
 * denormal, and because 2^128 is no float while e^r 2^128 with r < 0 may be one. */
V_INLINE vf v_exp(vf x)
{
    x = v_max(v_set1(-104.0F), v_min(v_set1(89.0F), x));
    const vf round = v_set1(V_ROUND);
    const vf k = v_sub(v_fma(x, v_set1(1.44269504F), round), round);
    const vf p = v_exp_small(v_exp_rest(x, k));
    const vf half = v_fma(k, v_set1(0.5F), round);
    const vf rest = v_add(v_sub(k, v_sub(half, round)), round);
    return v_mul(v_mul(p, v_power2(half)), v_power2(rest));
}

/* e^(x + low) for x <= 88, with 0 for what would be denormal (near e^-87.5 denormals come out): one
 * factor 2^k, whose bits are 0 for k = -127. low is a correction of less than a unit of x. */
V_INLINE vf v_exp_down_by(vf x, vf low)
{
    x = v_max(v_set1(-87.9F), x);
    const vf t = v_fma(x, v_set1(1.44269504F), v_set1(V_ROUND));
    const vf r = v_exp_rest(x, v_sub(t, v_set1(V_ROUND)));
    return v_mul(v_exp_small(v_add(r, low)), v_power2(t));
}

/* The same without a correction. */
V_INLINE vf v_exp_down(vf x)
{
    x = v_max(v_set1(-87.9F), x);
    const vf t = v_fma(x, v_set1(1.44269504F), v_set1(V_ROUND));
    return v_mul(v_exp_small(v_exp_rest(x, v_sub(t, v_set1(V_ROUND)))), v_power2(t));
}

/* The same for any x: from 2^127.5 on it is inf. */
V_INLINE vf v_exp_flush(vf x)
{
    return v_exp_down(v_min(v_set1(88.6F), x));
}

/* x = 2^e m with m in [2/3, 4/3);  log x = e ln2 + log(1 + f). */
V_INLINE vf v_log(vf x)
{
    const vm tiny = v_lt(x, v_set1(0x1p-126F));
    const vf normal = v_select(tiny, v_mul(x, v_set1(0x1p23F)), x);
    const vi bits = v_bits(normal);
    const vi high = v_and_i(v_sub_i(bits, v_bits(v_set1(0.66666667F))), v_set1_i(-0x800000));
    const vf f = v_sub(v_from_bits(v_sub_i(bits, high)), v_set1(1.0F));
    vf e = v_mul(v_to_float(high), v_set1(0x1p-23F));
    e = v_sub(e, v_keep(tiny, v_set1(23.0F)));
    vf q = v_set1(-0x1.07aa38p-3F);
    q = v_fma(q, f, v_set1(0x1.1e72a0p-3F));
    q = v_fma(q, f, v_set1(-0x1.f33c72p-4F));
    q = v_fma(q, f, v_set1(0x1.1ed452p-3F));
    q = v_fma(q, f, v_set1(-0x1.559c2ep-3F));
    q = v_fma(q, f, v_set1(0x1.99d05cp-3F));
    q = v_fma(q, f, v_set1(-0x1.fffefap-3F));
    q = v_fma(q, f, v_set1(0x1.555506p-2F));
    q = v_fma(q, f, v_set1(-0.5F));
    const vf low = v_fma(e, v_set1(V_LN2_LO), v_mul(v_mul(f, f), q));
    vf y = v_fma(e, v_set1(V_LN2_HI), v_add(f, low));
    const vf nan = v_set1(__builtin_nanf(""));
    const vf inf = v_set1(__builtin_inff());
    const vf bad = v_sub(v_select(v_is_nan(x), x, v_zero()), inf);
    const vf edge = v_select(v_lt(x, v_zero()), nan, bad);
    y = v_select(v_gt(x, v_zero()), y, edge);
    return v_select(v_gt(x, v_set1(0x1.fffffep127F)), x, y);
}

/* Near 0 an odd polynomial; beyond, 1 - 2 e / (1 + e), e = e^-2|x|, with the sign of x. */
V_INLINE vf v_tanh(vf x)
{
    const vf t = v_abs(x);
    const vf s = v_mul(x, x);
    vf p = v_set1(-0x1.768f46p-8F);
    p = v_fma(p, s, v_set1(0x1.525030p-6F));
    p = v_fma(p, s, v_set1(-0x1.b84338p-5F));
    p = v_fma(p, s, v_set1(0x1.110760p-3F));
    p = v_fma(p, s, v_set1(-0x1.555534p-2F));
    const vf near = v_fma(v_mul(p, s), x, x);
    const vf e = v_exp_down(v_mul(t, v_set1(-2.0F)));
    const vf far = v_sub(v_set1(1.0F), v_div(v_add(e, e), v_add(e, v_set1(1.0F))));
    return v_select(v_lt(t, v_set1(0.625F)), near, v_or(far, v_sign(x)));
}

/* Near 0 an odd polynomial; beyond, 1 - e^q(|x|) with the sign of x; from 4 on it is 1. */
V_INLINE vf v_erf(vf x)
{
    const vf s = v_mul(x, x);
    vf p = v_set1(-0x1.398912p-11F);
    p = v_fma(p, s, v_set1(0x1.4723dep-8F));
    p = v_fma(p, s, v_set1(-0x1.b689b6p-6F));
    p = v_fma(p, s, v_set1(0x1.ce1a88p-4F));
    p = v_fma(p, s, v_set1(-0x1.8126e8p-2F));
    p = v_fma(p, s, v_set1(0x1.06eba6p-3F));
    const vf near = v_fma(p, x, x);
    const vf t = v_min(v_set1(4.0F), v_abs(x));
    vf q = v_set1(-0x1.c0c5a2p-13F);
    q = v_fma(q, t, v_set1(0x1.a56532p-9F));
    q = v_fma(q, t, v_set1(-0x1.7707c8p-6F));
    q = v_fma(q, t, v_set1(0x1.af271ep-4F));
    q = v_fma(q, t, v_set1(0x1.457cdep-1F));
    q = v_fma(q, t, v_set1(0x1.07328ap-3F));
    q = v_fma(q, t, t);
    const vf far = v_sub(v_set1(1.0F), v_exp_down(v_sub(v_zero(), q)));
    return v_select(v_lt(v_abs(x), v_set1(0.93F)), near, v_or(far, v_sign(x)));
}

/* With e^-|x| nothing overflows, and small results keep their digits. */
V_INLINE vf v_sigmoid(vf x)
{
    const vf one = v_set1(1.0F);
    const vf e = v_exp(v_or(v_abs(x), v_set1(-0.0F)));
    return v_div(v_select(v_lt(x, v_zero()), e, one), v_add(one, e));
}

/* ---- GELU ----
 * Both forms are x times a distribution function F with F(-x) = 1 - F(x). With t = |x| and the tail
 * F(-t), which is found without cancellation,
 *     x F(x) = max(x, 0) - t F(-t)
 *     (x F(x))' = D for x < 0, 1 - D else;  D = F(-t) - t F'(t)
 * so both signs take one path, and large negative x keep their digits. t is held at 20, where the
 * tail is 0, so that infinity gives the limits. */
V_INLINE vf v_gelu_size(vf x) { return v_min(v_set1(20.0F), v_abs(x)); }

/* Phi(-t) = e^(-t^2/2) u P(u), u = 1 / (1 + 0.35 t); *e is the exponential, whose argument is t^2
 * with the error of its rounding. */
V_INLINE vf v_normal_tail(vf t, vf *e)
{
    const vf minus_half = v_set1(-0.5F);
    const vf s = v_mul(t, t);
    const vf lost = v_fma(t, t, v_sub(v_zero(), s));
    *e = v_exp_down_by(v_mul(s, minus_half), v_mul(lost, minus_half));
    const vf u = v_div(v_set1(1.0F), v_fma(t, v_set1(0x1.666666p-2F), v_set1(1.0F)));
    vf p = v_set1(-0x1.ddbc62p-6F);
    p = v_fma(p, u, v_set1(0x1.26fbf4p-3F));
    p = v_fma(p, u, v_set1(-0x1.05fd40p-2F));
    p = v_fma(p, u, v_set1(0x1.464fe2p-3F));
    p = v_fma(p, u, v_set1(-0x1.7c766ap-6F));
    p = v_fma(p, u, v_set1(0x1.b05c40p-4F));
    p = v_fma(p, u, v_set1(0x1.eac886p-4F));
    p = v_fma(p, u, v_set1(0x1.1e70dap-3F));
    p = v_fma(p, u, v_set1(0x1.1df1c4p-3F));
    return v_mul(v_mul(*e, u), p);
}

V_INLINE vf v_gelu(vf x)
{
    vf e;
    const vf t = v_gelu_size(x);
    return v_fnma(t, v_normal_tail(t, &e), v_relu(x));
}

/* D for x < 0, else 1 - D */
V_INLINE vf v_gelu_side(vf x, vf D)
{
    return v_select(v_lt(x, v_zero()), D, v_sub(v_set1(1.0F), D));
}

V_INLINE vf v_gelu_slope(vf x)
{
    vf e;
    const vf t = v_gelu_size(x);
    const vf tail = v_normal_tail(t, &e);
    return v_gelu_side(x, v_fnma(t, v_mul(e, v_set1(0.39894228F)), tail));
}

/* The tanh form: F(x) = (1 + tanh z/2) / 2 = sigmoid(z), z = x (A + B x^2). */
#define V_GELU_A 1.5957691216F                  /* 2 sqrt(2 / pi) */
#define V_GELU_B (1.5957691216F * 0.044715F)

/* sigmoid(-z(t)) */
V_INLINE vf v_gelu_tanh_tail(vf t, vf t2)
{
    const vf z = v_mul(t, v_fma(t2, v_set1(-V_GELU_B), v_set1(-V_GELU_A)));
    const vf e = v_exp_down(z);
    return v_div(e, v_add(e, v_set1(1.0F)));
}

V_INLINE vf v_gelu_tanh(vf x)
{
    const vf t = v_gelu_size(x);
    return v_fnma(t, v_gelu_tanh_tail(t, v_mul(t, t)), v_relu(x));
}

V_INLINE vf v_gelu_tanh_slope(vf x)
{
    const vf t = v_gelu_size(x), t2 = v_mul(t, t);
    const vf f = v_gelu_tanh_tail(t, t2);
    const vf slope = v_mul(t, v_fma(t2, v_set1(3.0F * V_GELU_B), v_set1(V_GELU_A)));
    return v_gelu_side(x, v_fnma(v_mul(f, slope), v_sub(v_set1(1.0F), f), f));
}

#endif
