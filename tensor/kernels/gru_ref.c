/* SPDX-License-Identifier: Apache-2.0 */
/* One step of a gated recurrent unit for one sample, in portable C. */
#include "kernels.h"

#include "base/real.h"

/* With e^-|x| nothing overflows, and small results keep their digits. */
static ak_real sigmoid_of(ak_real x)
{
    const ak_real e = ak__exp(-ak__fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

void ak__gru_step_ref(ak_real *gates, const ak_real *state, const ak_real *bias, const ak_real *h,
                      ak_real *to, ak_real *y, int64_t n, bool keep)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real ar = state[i] + (bias ? bias[i] : 0);
        const ak_real az = state[n + i] + (bias ? bias[n + i] : 0);
        const ak_real c = state[2 * n + i] + (bias ? bias[2 * n + i] : 0);
        const ak_real r = sigmoid_of(gates[i] + ar), z = sigmoid_of(gates[n + i] + az);
        const ak_real m = ak__tanh(gates[2 * n + i] + r * c);
        const ak_real next = m + z * (h[i] - m);
        gates[i] = r;
        gates[n + i] = z;
        gates[2 * n + i] = m;
        if (keep)
            gates[3 * n + i] = c;
        to[i] = next;
        y[i] = next;
    }
}

void ak__gru_slope_ref(ak_real *slopes, ak_real *to, ak_real *dh, const ak_real *gates,
                       const ak_real *h, const ak_real *dy, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real r = gates[i], z = gates[n + i], m = gates[2 * n + i], c = gates[3 * n + i];
        const ak_real g = dh[i] + dy[i];
        const ak_real dm = g * (1 - z) * (1 - m * m);
        const ak_real dr = dm * c * (r * (1 - r)), dz = g * (h[i] - m) * (z * (1 - z));
        slopes[i] = to[2 * n + i] = dm * r;
        slopes[n + i] = to[i] = dr;
        slopes[2 * n + i] = to[n + i] = dz;
        slopes[3 * n + i] = dm;
        dh[i] = g * z;
    }
}
