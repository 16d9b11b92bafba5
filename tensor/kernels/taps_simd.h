/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution of a row of pixels over vectors of channels; avx2.c and avx512.c include
 * this file after simd_entries.h. Four pixels share the loads of the weights, and a result is
 * written once, whatever the number of taps. */

/* n pixels, one vector of channels at c; n is constant where it is called. */
V_INLINE void v_taps(float *y, int64_t step_y, const float *const *x, int64_t step_x,
                     const float *const *w, int count, int n, int64_t at, int64_t c,
                     const float *bias, bool accumulate, int lanes)
{
    vf s[4];
    V_UNROLL
    for (int i = 0; i < n; i++)
        s[i] = bias ? v_get(bias + c, lanes) : v_zero();
    for (int t = 0; t < count; t++) {
        const vf wt = v_get(w[t] + c, lanes);
        const float *from = x[t] + at + c;
        V_UNROLL
        for (int i = 0; i < n; i++)
            s[i] = v_fma(v_get(from + i * step_x, lanes), wt, s[i]);
    }
    V_UNROLL
    for (int i = 0; i < n; i++) {
        float *to = y + i * step_y + c;
        v_put(to, accumulate ? v_add(v_get(to, lanes), s[i]) : s[i], lanes);
    }
}

static void FN(taps)(float *y, int64_t step_y, const float *const *x, int64_t step_x,
                     const float *const *w, int count, int64_t pixels, int64_t C,
                     const float *bias, bool accumulate)
{
    int64_t p = 0;
    for (; p + 4 <= pixels; p += 4, y += 4 * step_y)
        V_EACH(C, {
            v_taps(y, step_y, x, step_x, w, count, 4, p * step_x, i, bias, accumulate, lanes);
        });
    for (; p < pixels; p++, y += step_y)
        V_EACH(C, {
            v_taps(y, step_y, x, step_x, w, count, 1, p * step_x, i, bias, accumulate, lanes);
        });
}

/* n taps and nv neighbouring vectors of channels: so many that their sums hide the latency and that
 * pixels are read in the order of memory. */
V_INLINE void v_taps_gradient(float *const *sum, const float *const *x, int64_t step_x,
                              const float *dy, int64_t step_dy, int n, int nv, int64_t pixels,
                              int64_t c, int lanes)
{
    vf s[3][4];
    V_UNROLL
    for (int t = 0; t < n; t++) {
        V_UNROLL
        for (int v = 0; v < nv; v++)
            s[t][v] = v_get(sum[t] + c + v * VW, lanes);
    }
    for (int64_t i = 0; i < pixels; i++) {
        const float *d = dy + i * step_dy + c;
        V_UNROLL
        for (int v = 0; v < nv; v++) {
            const vf dv = v_get(d + v * VW, lanes);
            V_UNROLL
            for (int t = 0; t < n; t++)
                s[t][v] = v_fma(v_get(x[t] + i * step_x + c + v * VW, lanes), dv, s[t][v]);
        }
    }
    V_UNROLL
    for (int t = 0; t < n; t++) {
        V_UNROLL
        for (int v = 0; v < nv; v++)
            v_put(sum[t] + c + v * VW, s[t][v], lanes);
    }
}

/* All channels of n taps. */
V_INLINE void taps_channels(float *const *sum, const float *const *x, int64_t step_x,
                            const float *dy, int64_t step_dy, int n, int64_t pixels, int64_t C)
{
    int64_t c = 0;
    for (; c + 4 * VW <= C; c += 4 * VW)
        v_taps_gradient(sum, x, step_x, dy, step_dy, n, 4, pixels, c, VW);
    for (; c + VW <= C; c += VW)
        v_taps_gradient(sum, x, step_x, dy, step_dy, n, 1, pixels, c, VW);
    if (c < C)
        v_taps_gradient(sum, x, step_x, dy, step_dy, n, 1, pixels, c, (int)(C - c));
}

static void FN(taps_gradient)(float *const *sum, const float *const *x, int64_t step_x,
                              const float *dy, int64_t step_dy, int count, int64_t pixels,
                              int64_t C)
{
    int t = 0;
    for (; t + 3 <= count; t += 3)
        taps_channels(sum + t, x + t, step_x, dy, step_dy, 3, pixels, C);
    if (count - t == 2)
        taps_channels(sum + t, x + t, step_x, dy, step_dy, 2, pixels, C);
    else if (count - t == 1)
        taps_channels(sum + t, x + t, step_x, dy, step_dy, 1, pixels, C);
}
