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

/* 2^k for whole k in [-126, 127]; t is V_ROUND + k. */
V_INLINE vf v_power2(vf t)
{
    const vi k = v_sub_i(v_bits(t), v_bits(v_set1(V_ROUND)));
    return v_from_bits(v_add_i(v_shift_left(k, 23), v_bits(v_set1(1.0F))));
}

/* e^x = 2^k e^r, |r| <= ln2 / 2. 2^k is applied as two factors, because the result may be
 * denormal, and because 2^128 is no float while e^r 2^128 with r < 0 may be one. */
V_INLINE vf v_exp(vf x)
{
    x = v_max(v_set1(-104.0F), v_min(v_set1(89.0F), x));
    const vf round = v_set1(V_ROUND);
    const vf k = v_sub(v_fma(x, v_set1(1.44269504F), round), round);
    vf r = v_fnma(k, v_set1(V_LN2_HI), x);
    r = v_fnma(k, v_set1(V_LN2_LO), r);
    vf p = v_set1(0x1.6d7a5cp-10F);
    p = v_fma(p, r, v_set1(0x1.123992p-7F));
    p = v_fma(p, r, v_set1(0x1.5554c0p-5F));
    p = v_fma(p, r, v_set1(0x1.555492p-3F));
    p = v_fma(p, r, v_set1(0.5F));
    p = v_add(v_fma(v_mul(r, r), p, r), v_set1(1.0F));
    const vf half = v_fma(k, v_set1(0.5F), round);
    const vf rest = v_add(v_sub(k, v_sub(half, round)), round);
    return v_mul(v_mul(p, v_power2(half)), v_power2(rest));
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

/* Near 0 an odd polynomial; beyond, 1 - 2 / (e^2|x| + 1) with the sign of x. */
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
    const vf e = v_exp(v_add(t, t));
    const vf far = v_sub(v_set1(1.0F), v_div(v_set1(2.0F), v_add(e, v_set1(1.0F))));
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
    const vf far = v_sub(v_set1(1.0F), v_exp(v_sub(v_zero(), q)));
    return v_select(v_lt(v_abs(x), v_set1(0.93F)), near, v_or(far, v_sign(x)));
}

/* With e^-|x| nothing overflows, and small results keep their digits. */
V_INLINE vf v_sigmoid(vf x)
{
    const vf one = v_set1(1.0F);
    const vf e = v_exp(v_or(v_abs(x), v_set1(-0.0F)));
    return v_div(v_select(v_lt(x, v_zero()), e, one), v_add(one, e));
}

#endif
