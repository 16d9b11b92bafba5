/* SPDX-License-Identifier: Apache-2.0 */
/* One step of a gated recurrent unit for one sample; avx2.c and avx512.c include this file after
 * simd_entries.h. All gates of a vector are made while it is in registers. */

/* state[at] + bias[at] */
V_INLINE vf v_gru_sum(const float *state, const float *bias, int64_t at, int lanes)
{
    const vf s = v_get(state + at, lanes);
    return bias ? v_add(s, v_get(bias + at, lanes)) : s;
}

static void FN(gru_step)(float *gates, const float *state, const float *bias, const float *h,
                         float *to, float *y, int64_t n, bool keep)
{
    V_EACH(n, {
        const vf ar = v_gru_sum(state, bias, i, lanes);
        const vf az = v_gru_sum(state, bias, n + i, lanes);
        const vf c = v_gru_sum(state, bias, 2 * n + i, lanes);
        const vf r = v_sigmoid(v_add(v_get(gates + i, lanes), ar));
        const vf z = v_sigmoid(v_add(v_get(gates + n + i, lanes), az));
        const vf m = v_tanh(v_fma(r, c, v_get(gates + 2 * n + i, lanes)));
        const vf next = v_fma(z, v_sub(v_get(h + i, lanes), m), m);
        v_put(gates + i, r, lanes);
        v_put(gates + n + i, z, lanes);
        v_put(gates + 2 * n + i, m, lanes);
        if (keep)
            v_put(gates + 3 * n + i, c, lanes);
        v_put(to + i, next, lanes);
        v_put(y + i, next, lanes);
    });
}

static void FN(gru_slope)(float *slopes, float *to, float *dh, const float *gates, const float *h,
                          const float *dy, int64_t n)
{
    const vf one = v_set1(1.0F);
    V_EACH(n, {
        const vf r = v_get(gates + i, lanes);
        const vf z = v_get(gates + n + i, lanes);
        const vf m = v_get(gates + 2 * n + i, lanes);
        const vf c = v_get(gates + 3 * n + i, lanes);
        const vf g = v_add(v_get(dh + i, lanes), v_get(dy + i, lanes));
        const vf dm = v_mul(v_mul(g, v_sub(one, z)), v_fnma(m, m, one));
        const vf dr = v_mul(v_mul(dm, c), v_mul(r, v_sub(one, r)));
        const vf off = v_sub(v_get(h + i, lanes), m);
        const vf dz = v_mul(v_mul(g, off), v_mul(z, v_sub(one, z)));
        const vf dc = v_mul(dm, r);
        v_put(slopes + i, dc, lanes);
        v_put(slopes + n + i, dr, lanes);
        v_put(slopes + 2 * n + i, dz, lanes);
        v_put(slopes + 3 * n + i, dm, lanes);
        v_put(to + i, dr, lanes);
        v_put(to + n + i, dz, lanes);
        v_put(to + 2 * n + i, dc, lanes);
        v_put(dh + i, v_mul(g, z), lanes);
    });
}
