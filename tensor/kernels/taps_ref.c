/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution of a row of pixels in portable C. */
#include "kernels.h"

void ak__taps_ref(ak_real *y, int64_t step_y, const ak_real *const *x, int64_t step_x,
                  const ak_real *const *w, int count, int64_t pixels, int64_t C,
                  const ak_real *bias, bool accumulate)
{
    for (int64_t i = 0; i < pixels; i++) {
        ak_real *to = y + i * step_y;
        for (int64_t c = 0; c < C; c++) {
            ak_real s = bias ? bias[c] : 0;
            for (int t = 0; t < count; t++)
                s += x[t][i * step_x + c] * w[t][c];
            to[c] = accumulate ? to[c] + s : s;
        }
    }
}

void ak__taps_gradient_ref(ak_real *const *sum, const ak_real *const *x, int64_t step_x,
                           const ak_real *dy, int64_t step_dy, int count, int64_t pixels,
                           int64_t C)
{
    for (int t = 0; t < count; t++) {
        for (int64_t c = 0; c < C; c++) {
            ak_real s = 0;
            for (int64_t i = 0; i < pixels; i++)
                s += x[t][i * step_x + c] * dy[i * step_dy + c];
            sum[t][c] += s;
        }
    }
}
