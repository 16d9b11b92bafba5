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
#define V_EACH(n, ...)                                                                             \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; i + VW <= (n); i += VW) {                                                           \
            const int lanes = VW;                                                                  \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const int lanes = (int)((n) - i);                                                      \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/* ---- level 1 ---- */

/* Longer sums are halved until they are at most this long, so that rounding errors grow with the
 * logarithm of n. Shorter ones, which is nearly all, are one loop. */
#define V_LONG 32768

/* Where to halve: a multiple of V_LONG. */
V_INLINE int64_t v_half(int64_t n)
{
    return (n / 2 + V_LONG - 1) / V_LONG * V_LONG;
}

static float FN(dot)(const float *x, const float *y, int64_t n)
{
    if (n > V_LONG) {
        const int64_t h = v_half(n);
        return FN(dot)(x, y, h) + FN(dot)(x + h, y + h, n - h);
    }
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
    if (n > V_LONG) {
        const int64_t h = v_half(n);
        return FN(sum)(x, h) + FN(sum)(x + h, n - h);
    }
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

/* The way results can really be put: past the caches only if all vectors are aligned, also those of
 * later rows of C elements. */
V_INLINE ak__put v_way(ak__put put, const float *y, int64_t C)
{
    const bool aligned = ((uintptr_t)y | ((uintptr_t)C * sizeof(float))) % sizeof(vf) == 0;
    return put == AK__PAST && !aligned ? AK__SET : put;
}

/* Put v at p; `put` is from v_way. */
V_INLINE void v_result(float *p, vf v, int lanes, ak__put put)
{
    if (put == AK__PAST && lanes == VW)
        v_store_past(p, v);
    else
        v_put(p, put == AK__ADD ? v_add(v_get(p, lanes), v) : v, lanes);
}

static void FN(affine)(float *y, float a, const float *x, float b, int64_t n, ak__put put)
{
    const vf va = v_set1(a), vb = v_set1(b);
    const ak__put way = v_way(put, y, 0);
    V_EACH(n, v_result(y + i, v_fma(va, v_get(x + i, lanes), vb), lanes, way););
}

static void FN(shift)(float *y, const float *x, float a, float b, int64_t n, ak__put put)
{
    const vf va = v_set1(a), vb = v_set1(b);
    const ak__put way = v_way(put, y, 0);
    V_EACH(n, v_result(y + i, v_sub(v_sub(v_get(x + i, lanes), va), vb), lanes, way););
}

static void FN(combine)(float *y, float a, const float *u, float b, const float *v, int64_t n,
                        ak__put put)
{
    const vf va = v_set1(a), vb = v_set1(b);
    const ak__put way = v_way(put, y, 0);
    V_EACH(n, {
        const vf t = v_mul(va, v_get(u + i, lanes));
        v_result(y + i, v_fma(vb, v_get(v + i, lanes), t), lanes, way);
    });
}

static void FN(fence)(void)
{
    v_fence();
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
    if (n > V_LONG) {
        const int64_t h = v_half(n);
        const float first = FN(exp_sum)(y, x, shift, h);
        return first + FN(exp_sum)(y ? y + h : NULL, x + h, shift, n - h);
    }
    const vf s = v_set1(shift);
    vf sum0 = v_zero(), sum1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        v_fetch(x + n + i);
        const vf e0 = v_exp_flush(v_sub(v_load(x + i), s));
        const vf e1 = v_exp_flush(v_sub(v_load(x + i + VW), s));
        if (y) {
            v_store(y + i, e0);
            v_store(y + i + VW, e1);
        }
        sum0 = v_add(sum0, e0);
        sum1 = v_add(sum1, e1);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf e = v_exp_flush(v_sub(v_get(x + i, lanes), s));
        if (y)
            v_put(y + i, e, lanes);
        if (lanes < VW)
            e = v_head(e, lanes);
        sum0 = v_add(sum0, e);
    }
    return v_sum(v_add(sum0, sum1));
}

static void FN(exp_affine)(float *y, float a, const float *x, float shift, float b, const float *t,
                           float c, int64_t n, ak__put put)
{
    const vf va = v_set1(a), vs = v_set1(shift), vb = v_set1(b), vc = v_set1(c);
    const ak__put way = v_way(put, y, 0);
    V_EACH(n, {
        const vf rest = t ? v_fma(vb, v_get(t + i, lanes), vc) : vc;
        const vf e = v_exp_flush(v_sub(v_get(x + i, lanes), vs));
        v_result(y + i, v_fma(va, e, rest), lanes, way);
    });
}

static float FN(exp_fold)(float *sum, const float *x, float shift, int64_t n)
{
    const vf s = v_set1(shift);
    vf total0 = v_zero(), total1 = v_zero();
    int64_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        const vf e0 = v_exp_flush(v_sub(v_load(x + i), s));
        const vf e1 = v_exp_flush(v_sub(v_load(x + i + VW), s));
        v_store(sum + i, v_add(v_load(sum + i), e0));
        v_store(sum + i + VW, v_add(v_load(sum + i + VW), e1));
        total0 = v_add(total0, e0);
        total1 = v_add(total1, e1);
    }
    for (; i < n; i += VW) {
        const int lanes = n - i < VW ? (int)(n - i) : VW;
        vf e = v_exp_flush(v_sub(v_get(x + i, lanes), s));
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
        V_EACH(n, v_put(y + i, v_mul(v_exp_flush(v_sub(v_get(x + i, lanes), s)),
                                     v_add(every, v_get(b + i, lanes))), lanes););
    } else {
        V_EACH(n, v_put(y + i, v_mul(v_exp_flush(v_sub(v_get(x + i, lanes), s)), every), lanes););
    }
}

/* ---- activations ---- */

static void FN(relu)(float *y, const float *x, int64_t n, ak__put put)
{
    const ak__put way = v_way(put, y, 0);
    V_EACH(n, v_result(y + i, v_relu(v_get(x + i, lanes)), lanes, way););
}

static void FN(relu_backward)(float *dx, const float *y, const float *dy, int64_t n, ak__put put)
{
    const ak__put way = v_way(put, dx, 0);
    V_EACH(n, {
        const vm on = v_gt(v_get(y + i, lanes), v_zero());
        v_result(dx + i, v_keep(on, v_get(dy + i, lanes)), lanes, way);
    });
}

/* An activation and its backward, with what vector_math.h says of value and slope. */
#define V_ACTIVATION(name)                                                                         \
    static void FN(name)(float *y, const float *x, int64_t n, ak__put put)                         \
    {                                                                                              \
        const ak__put way = v_way(put, y, 0);                                                      \
        V_EACH(n, v_result(y + i, v_##name(v_get(x + i, lanes)), lanes, way););                    \
    }                                                                                              \
    static void FN(name##_backward)(float *dx, const float *x, const float *dy, int64_t n,         \
                                    ak__put put)                                                   \
    {                                                                                              \
        const ak__put way = v_way(put, dx, 0);                                                     \
        V_EACH(n, {                                                                                \
            const vf slope = v_##name##_slope(v_get(x + i, lanes));                                \
            v_result(dx + i, v_mul(slope, v_get(dy + i, lanes)), lanes, way);                      \
        });                                                                                        \
    }

V_ACTIVATION(gelu)
V_ACTIVATION(gelu_tanh)

/* ---- rows and columns ---- */

static void FN(softmax_backward_row)(float *dx, const float *y, const float *dy, int64_t n,
                                     ak__put put)
{
    const vf s = v_set1(FN(dot)(dy, y, n));
    const ak__put way = v_way(put, dx, 0);
    V_EACH(n, {
        const vf g = v_mul(v_get(y + i, lanes), v_sub(v_get(dy + i, lanes), s));
        v_fetch(y + n + i);
        v_fetch(dy + n + i);
        v_result(dx + i, g, lanes, way);
    });
}

/* sum (x - mean)^2 */
static float FN(centered_squares)(const float *x, float mean, int64_t n)
{
    if (n > V_LONG) {
        const int64_t h = v_half(n);
        return FN(centered_squares)(x, mean, h) + FN(centered_squares)(x + h, mean, n - h);
    }
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
                               int64_t n, float *mean, float *rstd, ak__put put)
{
    const ak__put way = v_way(put, y, 0);
    const float count = n > 0 ? (float)n : 1.0F;
    const float mu = FN(sum)(x, n) / count;
    const float r = 1.0F / __builtin_sqrtf(FN(centered_squares)(x, mu, n) / count + eps);
    const vf m = v_set1(mu), s = v_set1(r);
    V_EACH(n, {
        vf v = v_mul(v_sub(v_get(x + i, lanes), m), s);
        if (w)
            v = v_mul(v, v_get(w + i, lanes));
        if (b)
            v = v_add(v, v_get(b + i, lanes));
        v_fetch(x + n + i);
        v_result(y + i, v, lanes, way);
    });
    *mean = mu;
    *rstd = r;
}

/* Lanes of sum g and sum g d over a row, d = (x - mean) rstd; dw and db go on over the rows. */
typedef struct row_sums { vf g, gd; } row_sums;

V_INLINE row_sums v_norm_sums(float *dw, float *db, const float *dy, const float *x,
                              const float *w, vf mean, vf rstd, int64_t n)
{
    row_sums s = {v_zero(), v_zero()};
    V_EACH(n, {
        const vf up = v_get(dy + i, lanes);
        const vf d = v_mul(v_sub(v_get(x + i, lanes), mean), rstd);
        const vf g = w ? v_mul(up, v_get(w + i, lanes)) : up;
        if (dw)
            v_put(dw + i, v_fma(up, d, v_get(dw + i, lanes)), lanes);
        if (db)
            v_put(db + i, v_add(up, v_get(db + i, lanes)), lanes);
        s.g = v_add(s.g, g);
        s.gd = v_fma(g, d, s.gd);
    });
    return s;
}

static void FN(norm_backward_row)(float *dx, float *dw, float *db, const float *dy, const float *x,
                                  const float *w, float mean, float rstd, int64_t n, bool centered,
                                  ak__put put)
{
    const vf m = v_set1(mean), r = v_set1(rstd);
    const ak__put way = v_way(put, dx, 0);
    row_sums s = v_norm_sums(dw, db, dy, x, w, m, r, n < V_LONG ? n : V_LONG);
    for (int64_t at = V_LONG; at < n; at += V_LONG) {
        const row_sums part = v_norm_sums(dw ? dw + at : NULL, db ? db + at : NULL, dy + at, x + at,
                                          w ? w + at : NULL, m, r,
                                          n - at < V_LONG ? n - at : V_LONG);
        s = (row_sums){v_add(s.g, part.g), v_add(s.gd, part.gd)};
    }
    if (!dx)
        return;
    const float share = 1.0F / (n > 0 ? (float)n : 1.0F);
    const vf mean_g = v_set1(centered ? v_sum(s.g) * share : 0.0F);
    const vf mean_gd = v_set1(v_sum(s.gd) * share);
    V_EACH(n, {
        const vf up = v_get(dy + i, lanes);
        const vf d = v_mul(v_sub(v_get(x + i, lanes), m), r);
        const vf g = v_sub(w ? v_mul(up, v_get(w + i, lanes)) : up, mean_g);
        v_fetch(x + n + i);
        v_fetch(dy + n + i);
        v_result(dx + i, v_mul(r, v_fnma(d, mean_gd, g)), lanes, way);
    });
}

/* Sums over rows go through x in the order of memory, which is what the prefetcher follows, four
 * rows at a time, so that the sums, which stay in L1, are loaded and stored once for four. */
#define V_ROWS 4

#define V_EACH_ROWS(R, ...)                                                                        \
    do {                                                                                           \
        int64_t r = 0;                                                                             \
        for (; r + V_ROWS <= (R); r += V_ROWS) {                                                   \
            enum { rows = V_ROWS };                                                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        for (; r < (R); r++) {                                                                     \
            enum { rows = 1 };                                                                     \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

V_INLINE void v_moments(float *sum, float *squares, const float *x, const float *shift, int rows,
                        int64_t C)
{
    V_EACH(C, {
        const vf m = v_get(shift + i, lanes);
        vf s = v_get(sum + i, lanes), q = v_get(squares + i, lanes);
        V_UNROLL
        for (int j = 0; j < rows; j++) {
            const vf d = v_sub(v_get(x + j * C + i, lanes), m);
            s = v_add(s, d);
            q = v_fma(d, d, q);
        }
        v_put(sum + i, s, lanes);
        v_put(squares + i, q, lanes);
    });
}

static void FN(column_moments)(float *sum, float *squares, const float *x, const float *shift,
                               int64_t R, int64_t C)
{
    V_EACH_ROWS(R, v_moments(sum, squares, x + r * C, shift, rows, C););
}

V_INLINE void v_column_sum(float *sum, const float *x, int rows, int64_t C)
{
    V_EACH(C, {
        vf s = v_get(sum + i, lanes);
        V_UNROLL
        for (int j = 0; j < rows; j++)
            s = v_add(s, v_get(x + j * C + i, lanes));
        v_put(sum + i, s, lanes);
    });
}

static void FN(column_sum)(float *sum, const float *x, int64_t R, int64_t C)
{
    V_EACH_ROWS(R, v_column_sum(sum, x + r * C, rows, C););
}

static void FN(column_affine)(float *y, const float *x, const float *scale, const float *shift,
                              const float *add, int64_t R, int64_t C, bool relu, ak__put put)
{
    const ak__put way = v_way(put, y, C);
    for (int64_t r = 0; r < R; r++) {
        const float *xr = x + r * C, *ar = add ? add + r * C : NULL;
        float *yr = y + r * C;
        V_EACH(C, {
            vf v = v_fma(v_get(xr + i, lanes), v_get(scale + i, lanes), v_get(shift + i, lanes));
            if (add)
                v = v_add(v, v_get(ar + i, lanes));
            v_result(yr + i, relu ? v_relu(v) : v, lanes, way);
        });
    }
}

/* The gate from element `at` on, which is in column 0. */
V_INLINE ak__gate gate_at(ak__gate gate, int64_t at)
{
    return gate.y ? (ak__gate){.y = gate.y + at} : gate;
}

/* up where the gate is open at element i of column c; x is the element's value. */
V_INLINE vf v_gated(vf up, vf x, ak__gate gate, int64_t i, int64_t c, int lanes)
{
    if (gate.y)
        return v_keep(v_gt(v_get(gate.y + i, lanes), v_zero()), up);
    if (!gate.scale)
        return up;
    const vf v = v_fma(x, v_get(gate.scale + c, lanes), v_get(gate.shift + c, lanes));
    return v_keep(v_gt(v, v_zero()), up);
}

V_INLINE void v_bn_sums_rows(float *sum_g, float *sum_gx, const float *dy, const float *x,
                             ak__gate gate, const float *mean, const float *rstd, int rows,
                             int64_t C)
{
    V_EACH(C, {
        const vf m = v_get(mean + i, lanes);
        vf s = v_get(sum_g + i, lanes), q = v_zero();
        V_UNROLL
        for (int j = 0; j < rows; j++) {
            const int64_t at = j * C + i;
            const vf v = v_get(x + at, lanes);
            const vf g = v_gated(v_get(dy + at, lanes), v, gate, at, i, lanes);
            s = v_add(s, g);
            q = v_fma(g, v_sub(v, m), q);
        }
        v_put(sum_g + i, s, lanes);
        v_put(sum_gx + i, v_fma(q, v_get(rstd + i, lanes), v_get(sum_gx + i, lanes)), lanes);
    });
}

V_INLINE void v_bn_sums(float *sum_g, float *sum_gx, const float *dy, const float *x,
                        ak__gate gate, const float *mean, const float *rstd, int64_t R, int64_t C)
{
    V_EACH_ROWS(R, v_bn_sums_rows(sum_g, sum_gx, dy + r * C, x + r * C, gate_at(gate, r * C), mean,
                                  rstd, rows, C););
}

/* One loop for each kind of gate, so that the choice is not made at each element. */
static void FN(batch_norm_sums)(float *sum_g, float *sum_gx, const float *dy, const float *x,
                                ak__gate gate, const float *mean, const float *rstd, int64_t R,
                                int64_t C)
{
    if (gate.y)
        v_bn_sums(sum_g, sum_gx, dy, x, (ak__gate){.y = gate.y}, mean, rstd, R, C);
    else if (gate.scale)
        v_bn_sums(sum_g, sum_gx, dy, x, (ak__gate){NULL, gate.scale, gate.shift}, mean, rstd, R, C);
    else
        v_bn_sums(sum_g, sum_gx, dy, x, (ak__gate){NULL, NULL, NULL}, mean, rstd, R, C);
}

V_INLINE void v_bn_grad(float *dx, const float *dy, const float *x, ak__gate gate, const float *p,
                        const float *q, const float *r, int64_t R, int64_t C, ak__put put)
{
    const ak__put way = v_way(put, dx, C);
    for (int64_t row = 0; row < R; row++) {
        const int64_t at = row * C;
        const ak__gate here = gate_at(gate, at);
        V_EACH(C, {
            const vf v = v_get(x + at + i, lanes);
            const vf t = v_fma(v, v_get(q + i, lanes), v_get(r + i, lanes));
            const vf g = v_gated(v_get(dy + at + i, lanes), v, here, i, i, lanes);
            v_result(dx + at + i, v_fma(g, v_get(p + i, lanes), t), lanes, way);
        });
    }
}

static void FN(batch_norm_grad)(float *dx, const float *dy, const float *x, ak__gate gate,
                                const float *p, const float *q, const float *r, int64_t R,
                                int64_t C, ak__put put)
{
    if (gate.y)
        v_bn_grad(dx, dy, x, (ak__gate){.y = gate.y}, p, q, r, R, C, put);
    else if (gate.scale)
        v_bn_grad(dx, dy, x, (ak__gate){NULL, gate.scale, gate.shift}, p, q, r, R, C, put);
    else
        v_bn_grad(dx, dy, x, (ak__gate){NULL, NULL, NULL}, p, q, r, R, C, put);
}

/* ---- optimisers ---- */

static void FN(adam)(float *p, float *g, float *m, float *v, int64_t n, const ak__adam_args *args)
{
    const vf beta1 = v_set1(args->beta1), beta2 = v_set1(args->beta2);
    const vf rest1 = v_set1(1.0F - args->beta1), rest2 = v_set1(1.0F - args->beta2);
    const vf c1 = v_set1(args->lr * args->correction1), c2 = v_set1(args->correction2);
    const vf eps = v_set1(args->eps), keep = v_set1(1.0F - args->lr * args->decay);
    const vf l2 = v_set1(args->l2);
    V_EACH(n, {
        vf w = v_get(p + i, lanes);
        const vf d = v_add(v_get(g + i, lanes), v_mul(l2, w));
        const vf m1 = v_fma(beta1, v_get(m + i, lanes), v_mul(rest1, d));
        const vf v1 = v_fma(beta2, v_get(v + i, lanes), v_mul(rest2, v_mul(d, d)));
        const vf root = v_add(v_sqrt_near(v_mul(v1, c2)), eps);
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
    const vf l2 = v_set1(args->l2);
    V_EACH(n, {
        const vf w = v_get(p + i, lanes);
        vf d = v_add(v_get(g + i, lanes), v_mul(l2, w));
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
    table->affine = FN(affine);
    table->shift = FN(shift);
    table->combine = FN(combine);
    table->fence = FN(fence);
    table->exp = FN(exp);
    table->log = FN(log);
    table->tanh = FN(tanh);
    table->erf = FN(erf);
    table->sigmoid = FN(sigmoid);
    table->exp_sum = FN(exp_sum);
    table->exp_affine = FN(exp_affine);
    table->exp_fold = FN(exp_fold);
    table->exp_weigh = FN(exp_weigh);
    table->relu = FN(relu);
    table->relu_backward = FN(relu_backward);
    table->gelu = FN(gelu);
    table->gelu_backward = FN(gelu_backward);
    table->gelu_tanh = FN(gelu_tanh);
    table->gelu_tanh_backward = FN(gelu_tanh_backward);
    table->softmax_backward_row = FN(softmax_backward_row);
    table->layer_norm_row = FN(layer_norm_row);
    table->norm_backward_row = FN(norm_backward_row);
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
