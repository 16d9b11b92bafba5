/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of the table over the vector operations of vector.h; avx2.c and avx512.c include
 * this file once each. What each entry means is said in kernels.h.
 *
 * A loop takes whole vectors and then the rest through masked loads and stores, so that nothing
 * past the end is touched and the rest costs one vector, not a scalar loop. Sums keep four
 * accumulators to hide the latency of an addition. */
#include "vector_math.h"

/* `lanes` is the constant VW in the main loops, so that the branch folds away there. */
V_INLINE vf v_get(const float *p, int lanes)
{
    return lanes == VW ? v_load(p) : v_load_n(p, lanes);
}
V_INLINE void v_put(float *p, vf x, int lanes)
{
    if (lanes == VW)
        v_store(p, x);
    else
        v_store_n(p, x, lanes);
}

/* The first n lanes of x, others 0. */
V_INLINE vf v_head(vf x, int n)
{
#if AK__VW == 16
    return _mm512_maskz_mov_ps(v_first(n), x);
#else
    return _mm256_and_ps(_mm256_castsi256_ps(v_first(n)), x);
#endif
}

/* for each vector of [0, n): `lanes` is VW, then what is left */
#define V_EACH(n, body)                                                                            \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; i + VW <= (n); i += VW) {                                                           \
            const int lanes = VW;                                                                  \
            body                                                                                   \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const int lanes = (int)((n) - i);                                                      \
            body                                                                                   \
        }                                                                                          \
    } while (0)

/* ---- level 1 ---- */

static float FN(dot)(const float *x, const float *y, int64_t n)
{
    vf s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        s0 = v_fma(v_load(x + i), v_load(y + i), s0);
        s1 = v_fma(v_load(x + i + VW), v_load(y + i + VW), s1);
        s2 = v_fma(v_load(x + i + 2 * VW), v_load(y + i + 2 * VW), s2);
        s3 = v_fma(v_load(x + i + 3 * VW), v_load(y + i + 3 * VW), s3);
    }
    for (; i + VW <= n; i += VW)
        s0 = v_fma(v_load(x + i), v_load(y + i), s0);
    if (i < n)
        s1 = v_fma(v_load_n(x + i, (int)(n - i)), v_load_n(y + i, (int)(n - i)), s1);
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

static float FN(sum)(const float *x, int64_t n)
{
    vf s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        s0 = v_add(v_load(x + i), s0);
        s1 = v_add(v_load(x + i + VW), s1);
        s2 = v_add(v_load(x + i + 2 * VW), s2);
        s3 = v_add(v_load(x + i + 3 * VW), s3);
    }
    for (; i + VW <= n; i += VW)
        s0 = v_add(v_load(x + i), s0);
    if (i < n)
        s1 = v_add(v_load_n(x + i, (int)(n - i)), s1);
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

static float FN(sum_squares)(const float *x, int64_t n)
{
    return FN(dot)(x, x, n);
}

static float FN(max)(const float *x, int64_t n)
{
    const vf low = v_set1(-__builtin_inff());
    vf m0 = low, m1 = low;
    vm nan = v_none();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf a = v_load(x + i), b = v_load(x + i + VW);
        nan = v_mask_or(nan, v_mask_or(v_is_nan(a), v_is_nan(b)));
        m0 = v_max(m0, a);
        m1 = v_max(m1, b);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf a = v_get(x + i, lanes);
        if (lanes < VW) {
            /* -inf in the lanes past the end: the bits of -inf where the head is not */
            const vf tail = v_andnot(v_head(v_from_bits(v_set1_i(-1)), lanes), low);
            a = v_or(a, tail);
        }
        nan = v_mask_or(nan, v_is_nan(a));
        m0 = v_max(m0, a);
    }
    return v_any(nan) ? __builtin_nanf("") : v_top(v_max(m0, m1));
}

static void FN(axpy)(float *y, float a, const float *x, int64_t n)
{
    const vf va = v_set1(a);
    V_EACH(n, v_put(y + i, v_fma(va, v_get(x + i, lanes), v_get(y + i, lanes)), lanes););
}

static void FN(scale)(float *y, float a, const float *x, int64_t n)
{
    const vf va = v_set1(a);
    V_EACH(n, v_put(y + i, v_mul(va, v_get(x + i, lanes)), lanes););
}

static void FN(add)(float *y, const float *a, const float *b, int64_t n)
{
    V_EACH(n, v_put(y + i, v_add(v_get(a + i, lanes), v_get(b + i, lanes)), lanes););
}

static void FN(sub)(float *y, const float *a, const float *b, int64_t n)
{
    V_EACH(n, v_put(y + i, v_sub(v_get(a + i, lanes), v_get(b + i, lanes)), lanes););
}

static void FN(mul)(float *y, const float *a, const float *b, int64_t n)
{
    V_EACH(n, v_put(y + i, v_mul(v_get(a + i, lanes), v_get(b + i, lanes)), lanes););
}

static void FN(mul_add)(float *y, const float *a, const float *b, int64_t n)
{
    V_EACH(n, v_put(y + i, v_fma(v_get(a + i, lanes), v_get(b + i, lanes), v_get(y + i, lanes)),
                    lanes););
}

/* ---- elementary functions ---- */

static void FN(exp)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_exp(v_get(x + i, lanes)), lanes););
}

static void FN(log)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_log(v_get(x + i, lanes)), lanes););
}

static void FN(tanh)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_tanh(v_get(x + i, lanes)), lanes););
}

static void FN(erf)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_erf(v_get(x + i, lanes)), lanes););
}

static void FN(sigmoid)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_sigmoid(v_get(x + i, lanes)), lanes););
}

static float FN(exp_sum)(float *y, const float *x, float shift, int64_t n)
{
    const vf s = v_set1(shift);
    vf sum0 = v_zero(), sum1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf e0 = v_exp(v_sub(v_load(x + i), s));
        const vf e1 = v_exp(v_sub(v_load(x + i + VW), s));
        if (y) {
            v_store(y + i, e0);
            v_store(y + i + VW, e1);
        }
        sum0 = v_add(sum0, e0);
        sum1 = v_add(sum1, e1);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf e = v_exp(v_sub(v_get(x + i, lanes), s));
        if (y)
            v_put(y + i, e, lanes);
        if (lanes < VW)
            e = v_head(e, lanes);
        sum0 = v_add(sum0, e);
    }
    return v_sum(v_add(sum0, sum1));
}

static float FN(exp_fold)(float *sum, const float *x, float shift, int64_t n)
{
    const vf s = v_set1(shift);
    vf total0 = v_zero(), total1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf e0 = v_exp(v_sub(v_load(x + i), s));
        const vf e1 = v_exp(v_sub(v_load(x + i + VW), s));
        v_store(sum + i, v_add(v_load(sum + i), e0));
        v_store(sum + i + VW, v_add(v_load(sum + i + VW), e1));
        total0 = v_add(total0, e0);
        total1 = v_add(total1, e1);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf e = v_exp(v_sub(v_get(x + i, lanes), s));
        if (lanes < VW)
            e = v_head(e, lanes);
        v_put(sum + i, v_add(v_get(sum + i, lanes), e), lanes);
        total0 = v_add(total0, e);
    }
    return v_sum(v_add(total0, total1));
}

static void FN(exp_weigh)(float *y, const float *x, float shift, float a, const float *b, int64_t n)
{
    const vf s = v_set1(shift), every = v_set1(a);
    if (b) {
        V_EACH(n, v_put(y + i, v_mul(v_exp(v_sub(v_get(x + i, lanes), s)),
                                     v_add(every, v_get(b + i, lanes))), lanes););
    } else {
        V_EACH(n, v_put(y + i, v_mul(v_exp(v_sub(v_get(x + i, lanes), s)), every), lanes););
    }
}

/* ---- activations ---- */

/* y = or += what the backward of an activation made */
V_INLINE void v_grad(float *dx, vf g, int lanes, bool accumulate)
{
    v_put(dx, accumulate ? v_add(v_get(dx, lanes), g) : g, lanes);
}

static void FN(relu)(float *y, const float *x, int64_t n)
{
    V_EACH(n, v_put(y + i, v_relu(v_get(x + i, lanes)), lanes););
}

static void FN(relu_backward)(float *dx, const float *y, const float *dy, int64_t n,
                              bool accumulate)
{
    V_EACH(n, {
        const vm on = v_gt(v_get(y + i, lanes), v_zero());
        v_grad(dx + i, v_keep(on, v_get(dy + i, lanes)), lanes, accumulate);
    });
}

/* x held away from infinity, so that x * 0 in the limits is 0 and not NaN. */
V_INLINE vf v_floor_at(vf x, float low) { return v_max(v_set1(low), x); }
V_INLINE vf v_between(vf x, float bound)
{
    return v_max(v_set1(-bound), v_min(v_set1(bound), x));
}

/* Phi(x), the normal distribution function */
V_INLINE vf v_normal_cdf(vf x)
{
    const vf half = v_set1(0.5F);
    return v_fma(half, v_erf(v_mul(x, v_set1(0.70710678F))), half);
}

static void FN(gelu)(float *y, const float *x, int64_t n)
{
    V_EACH(n, {
        const vf v = v_floor_at(v_get(x + i, lanes), -1e30F);
        v_put(y + i, v_mul(v, v_normal_cdf(v)), lanes);
    });
}

static void FN(gelu_backward)(float *dx, const float *x, const float *dy, int64_t n,
                              bool accumulate)
{
    V_EACH(n, {
        const vf v = v_between(v_get(x + i, lanes), 100.0F);
        const vf e = v_exp(v_mul(v_mul(v, v), v_set1(-0.5F)));
        const vf pdf = v_mul(e, v_set1(0.39894228F));
        const vf slope = v_fma(v, pdf, v_normal_cdf(v));
        v_grad(dx + i, v_mul(slope, v_get(dy + i, lanes)), lanes, accumulate);
    });
}

/* 0.5 (1 + tanh u) = sigmoid(2u): one exponential, and small values keep their digits. */
#define GELU_A 1.5957691216F                    /* 2 sqrt(2 / pi) */
#define GELU_B (1.5957691216F * 0.044715F)

V_INLINE vf v_gelu_gate(vf x)
{
    const vf x2 = v_mul(x, x);
    return v_sigmoid(v_mul(x, v_fma(x2, v_set1(GELU_B), v_set1(GELU_A))));
}

static void FN(gelu_tanh)(float *y, const float *x, int64_t n)
{
    V_EACH(n, {
        const vf v = v_floor_at(v_get(x + i, lanes), -1e30F);
        v_put(y + i, v_mul(v, v_gelu_gate(v)), lanes);
    });
}

static void FN(gelu_tanh_backward)(float *dx, const float *x, const float *dy, int64_t n,
                                   bool accumulate)
{
    V_EACH(n, {
        const vf v = v_between(v_get(x + i, lanes), 100.0F);
        const vf s = v_gelu_gate(v);
        const vf inner = v_fma(v_mul(v, v), v_set1(3.0F * GELU_B), v_set1(GELU_A));
        const vf slope = v_fma(v_mul(v_mul(v, s), v_sub(v_set1(1.0F), s)), inner, s);
        v_grad(dx + i, v_mul(slope, v_get(dy + i, lanes)), lanes, accumulate);
    });
}

/* ---- rows and columns ---- */

/* sum (x - mean)^2 */
V_INLINE float v_centered_squares(const float *x, float mean, int64_t n)
{
    const vf m = v_set1(mean);
    vf s0 = v_zero(), s1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf a = v_sub(v_load(x + i), m), b = v_sub(v_load(x + i + VW), m);
        s0 = v_fma(a, a, s0);
        s1 = v_fma(b, b, s1);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf a = v_sub(v_get(x + i, lanes), m);
        if (lanes < VW)
            a = v_head(a, lanes);
        s0 = v_fma(a, a, s0);
    }
    return v_sum(v_add(s0, s1));
}

static void FN(layer_norm_row)(float *y, const float *x, const float *w, const float *b, float eps,
                               int64_t n, float *mean, float *rstd)
{
    const float count = n > 0 ? (float)n : 1.0F;
    const float mu = FN(sum)(x, n) / count;
    const float r = 1.0F / __builtin_sqrtf(v_centered_squares(x, mu, n) / count + eps);
    const vf m = v_set1(mu), s = v_set1(r);
    V_EACH(n, {
        vf v = v_mul(v_sub(v_get(x + i, lanes), m), s);
        if (w)
            v = v_mul(v, v_get(w + i, lanes));
        if (b)
            v = v_add(v, v_get(b + i, lanes));
        v_put(y + i, v, lanes);
    });
    *mean = mu;
    *rstd = r;
}

/* Sums over rows go 16 rows at a time: the sums of four vectors of columns stay in registers, and
 * 16 rows are few enough streams for the prefetcher. */
#define COLUMN_ROWS 16

V_INLINE void v_moments_block(float *sum, float *squares, const float *x, const float *shift,
                              int64_t rows, int64_t C, int vectors, int lanes)
{
    vf s[4], q[4], m[4];
    V_UNROLL
    for (int j = 0; j < vectors; j++) {
        s[j] = v_get(sum + j * VW, lanes);
        q[j] = v_get(squares + j * VW, lanes);
        m[j] = v_get(shift + j * VW, lanes);
    }
    for (int64_t r = 0; r < rows; r++) {
        V_UNROLL
        for (int j = 0; j < vectors; j++) {
            const vf d = v_sub(v_get(x + r * C + j * VW, lanes), m[j]);
            s[j] = v_add(s[j], d);
            q[j] = v_fma(d, d, q[j]);
        }
    }
    V_UNROLL
    for (int j = 0; j < vectors; j++) {
        v_put(sum + j * VW, s[j], lanes);
        v_put(squares + j * VW, q[j], lanes);
    }
}

static void FN(column_moments)(float *sum, float *squares, const float *x, const float *shift,
                               int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r += COLUMN_ROWS) {
        const int64_t rows = R - r < COLUMN_ROWS ? R - r : COLUMN_ROWS;
        const float *xr = x + r * C;
        int64_t c = 0;
        for (; c + 4 * VW <= C; c += 4 * VW)
            v_moments_block(sum + c, squares + c, xr + c, shift + c, rows, C, 4, VW);
        for (; c + VW <= C; c += VW)
            v_moments_block(sum + c, squares + c, xr + c, shift + c, rows, C, 1, VW);
        if (c < C)
            v_moments_block(sum + c, squares + c, xr + c, shift + c, rows, C, 1, (int)(C - c));
    }
}

V_INLINE void v_sum_block(float *sum, const float *x, int64_t rows, int64_t C, int vectors,
                          int lanes)
{
    vf s[4];
    V_UNROLL
    for (int j = 0; j < vectors; j++)
        s[j] = v_get(sum + j * VW, lanes);
    for (int64_t r = 0; r < rows; r++) {
        V_UNROLL
        for (int j = 0; j < vectors; j++)
            s[j] = v_add(s[j], v_get(x + r * C + j * VW, lanes));
    }
    V_UNROLL
    for (int j = 0; j < vectors; j++)
        v_put(sum + j * VW, s[j], lanes);
}

static void FN(column_sum)(float *sum, const float *x, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r += COLUMN_ROWS) {
        const int64_t rows = R - r < COLUMN_ROWS ? R - r : COLUMN_ROWS;
        const float *xr = x + r * C;
        int64_t c = 0;
        for (; c + 4 * VW <= C; c += 4 * VW)
            v_sum_block(sum + c, xr + c, rows, C, 4, VW);
        for (; c + VW <= C; c += VW)
            v_sum_block(sum + c, xr + c, rows, C, 1, VW);
        if (c < C)
            v_sum_block(sum + c, xr + c, rows, C, 1, (int)(C - c));
    }
}

static void FN(column_affine)(float *y, const float *x, const float *scale, const float *shift,
                              int64_t R, int64_t C, bool relu)
{
    for (int64_t r = 0; r < R; r++) {
        const float *xr = x + r * C;
        float *yr = y + r * C;
        V_EACH(C, {
            const vf v = v_fma(v_get(xr + i, lanes), v_get(scale + i, lanes),
                               v_get(shift + i, lanes));
            v_put(yr + i, relu ? v_relu(v) : v, lanes);
        });
    }
}

/* dy, or 0 where the activation was off; y NULL means no activation */
V_INLINE vf v_gated(const float *dy, const float *y, int64_t i, int lanes)
{
    const vf g = v_get(dy + i, lanes);
    return y ? v_keep(v_gt(v_get(y + i, lanes), v_zero()), g) : g;
}

V_INLINE void v_bn_sums_block(float *sum_g, float *sum_gx, const float *dy, const float *x,
                              const float *y, const float *mean, const float *rstd, int64_t rows,
                              int64_t C, int vectors, int lanes)
{
    vf s[2], q[2], m[2];
    V_UNROLL
    for (int j = 0; j < vectors; j++) {
        s[j] = v_zero();
        q[j] = v_zero();
        m[j] = v_get(mean + j * VW, lanes);
    }
    for (int64_t r = 0; r < rows; r++) {
        V_UNROLL
        for (int j = 0; j < vectors; j++) {
            const int64_t at = r * C + j * VW;
            const vf g = v_gated(dy, y, at, lanes);
            s[j] = v_add(s[j], g);
            q[j] = v_fma(g, v_sub(v_get(x + at, lanes), m[j]), q[j]);
        }
    }
    V_UNROLL
    for (int j = 0; j < vectors; j++) {
        float *sg = sum_g + j * VW, *sx = sum_gx + j * VW;
        v_put(sg, v_add(v_get(sg, lanes), s[j]), lanes);
        v_put(sx, v_fma(q[j], v_get(rstd + j * VW, lanes), v_get(sx, lanes)), lanes);
    }
}

static void FN(batch_norm_sums)(float *sum_g, float *sum_gx, const float *dy, const float *x,
                                const float *y, const float *mean, const float *rstd, int64_t R,
                                int64_t C)
{
    for (int64_t r = 0; r < R; r += COLUMN_ROWS) {
        const int64_t rows = R - r < COLUMN_ROWS ? R - r : COLUMN_ROWS;
        int64_t c = 0;
        while (c < C) {
            const int64_t at = r * C + c;
            const float *yr = y ? y + at : NULL;
            const int64_t left = C - c;
            if (left >= 2 * VW) {
                v_bn_sums_block(sum_g + c, sum_gx + c, dy + at, x + at, yr, mean + c, rstd + c,
                                rows, C, 2, VW);
                c += 2 * VW;
            } else if (left >= VW) {
                v_bn_sums_block(sum_g + c, sum_gx + c, dy + at, x + at, yr, mean + c, rstd + c,
                                rows, C, 1, VW);
                c += VW;
            } else {
                v_bn_sums_block(sum_g + c, sum_gx + c, dy + at, x + at, yr, mean + c, rstd + c,
                                rows, C, 1, (int)left);
                c = C;
            }
        }
    }
}

static void FN(batch_norm_grad)(float *dx, const float *dy, const float *x, const float *y,
                                const float *p, const float *q, const float *r, int64_t R,
                                int64_t C, bool accumulate)
{
    for (int64_t row = 0; row < R; row++) {
        const int64_t at = row * C;
        const float *yr = y ? y + at : NULL;
        V_EACH(C, {
            const vf t = v_fma(v_get(x + at + i, lanes), v_get(q + i, lanes), v_get(r + i, lanes));
            const vf g = v_gated(dy + at, yr, i, lanes);
            v_grad(dx + at + i, v_fma(g, v_get(p + i, lanes), t), lanes, accumulate);
        });
    }
}

/* ---- optimisers ---- */

static void FN(adam)(float *p, float *g, float *m, float *v, int64_t n, const ak__adam_args *args)
{
    const vf beta1 = v_set1(args->beta1), beta2 = v_set1(args->beta2);
    const vf rest1 = v_set1(1.0F - args->beta1), rest2 = v_set1(1.0F - args->beta2);
    const vf c1 = v_set1(args->lr * args->correction1), c2 = v_set1(args->correction2);
    const vf eps = v_set1(args->eps), keep = v_set1(1.0F - args->lr * args->decay);
    const vf l2 = v_set1(args->l2), grad_scale = v_set1(args->grad_scale);
    V_EACH(n, {
        vf w = v_get(p + i, lanes);
        const vf d = v_fma(v_get(g + i, lanes), grad_scale, v_mul(l2, w));
        const vf m1 = v_fma(beta1, v_get(m + i, lanes), v_mul(rest1, d));
        const vf v1 = v_fma(beta2, v_get(v + i, lanes), v_mul(rest2, v_mul(d, d)));
        const vf root = v_add(v_sqrt(v_mul(v1, c2)), eps);
        w = v_sub(v_mul(w, keep), v_div(v_mul(c1, m1), root));
        v_put(p + i, w, lanes);
        v_put(m + i, m1, lanes);
        v_put(v + i, v1, lanes);
        v_put(g + i, v_zero(), lanes);
    });
}

static void FN(sgd)(float *p, float *g, float *v, int64_t n, const ak__sgd_args *args)
{
    const vf lr = v_set1(args->lr), momentum = v_set1(args->momentum);
    const vf l2 = v_set1(args->l2), grad_scale = v_set1(args->grad_scale);
    V_EACH(n, {
        const vf w = v_get(p + i, lanes);
        vf d = v_fma(v_get(g + i, lanes), grad_scale, v_mul(l2, w));
        if (v) {
            const vf u = args->first ? d : v_fma(momentum, v_get(v + i, lanes), d);
            v_put(v + i, u, lanes);
            d = args->nesterov ? v_fma(momentum, u, d) : u;
        }
        v_put(p + i, v_fnma(lr, d, w), lanes);
        v_put(g + i, v_zero(), lanes);
    });
}

static void FN(lerp)(float *y, const float *x, float t, int64_t n)
{
    const vf vt = v_set1(t);
    V_EACH(n, {
        const vf a = v_get(y + i, lanes);
        v_put(y + i, v_fma(vt, v_sub(v_get(x + i, lanes), a), a), lanes);
    });
}

/* ---- conversion ---- */

static void FN(from_u8)(float *y, const uint8_t *x, float scale, float shift, int64_t n)
{
    const vf a = v_set1(scale), b = v_set1(shift);
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        v_store(y + i, v_fma(v_from_u8(x + i), a, b));
    if (i < n) {
        uint8_t rest[VW] = {0};
        __builtin_memcpy(rest, x + i, (size_t)(n - i));
        v_store_n(y + i, v_fma(v_from_u8(rest), a, b), (int)(n - i));
    }
}

static void FN(set_entries)(ak_kernels *table)
{
    table->dot = FN(dot);
    table->sum = FN(sum);
    table->sum_squares = FN(sum_squares);
    table->max = FN(max);
    table->axpy = FN(axpy);
    table->scale = FN(scale);
    table->add = FN(add);
    table->sub = FN(sub);
    table->mul = FN(mul);
    table->mul_add = FN(mul_add);
    table->exp = FN(exp);
    table->log = FN(log);
    table->tanh = FN(tanh);
    table->erf = FN(erf);
    table->sigmoid = FN(sigmoid);
    table->exp_sum = FN(exp_sum);
    table->exp_fold = FN(exp_fold);
    table->exp_weigh = FN(exp_weigh);
    table->relu = FN(relu);
    table->relu_backward = FN(relu_backward);
    table->gelu = FN(gelu);
    table->gelu_backward = FN(gelu_backward);
    table->gelu_tanh = FN(gelu_tanh);
    table->gelu_tanh_backward = FN(gelu_tanh_backward);
    table->layer_norm_row = FN(layer_norm_row);
    table->column_moments = FN(column_moments);
    table->column_sum = FN(column_sum);
    table->column_affine = FN(column_affine);
    table->batch_norm_sums = FN(batch_norm_sums);
    table->batch_norm_grad = FN(batch_norm_grad);
    table->adam = FN(adam);
    table->sgd = FN(sgd);
    table->lerp = FN(lerp);
    table->from_u8 = FN(from_u8);
}
