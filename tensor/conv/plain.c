/* SPDX-License-Identifier: Apache-2.0 */
/* Sums by the definition of a convolution, of few results: those that a way which multiplies other
 * numbers than x and w (Winograd's sums, the parts of split numbers) could not hold, though plain
 * sums can. What is infinite or NaN there is so here as well. One group. */
#include "tensor/conv/ways.h"

/* Does position `at` of the result meet the source through tap k? Its position there. */
static bool source_at(int64_t at, int64_t k, int64_t stride, int64_t padding, int64_t dilation,
                      int64_t size, bool data, int64_t *from)
{
    const int64_t there = at + padding - k * dilation;
    if (!data)
        *from = at * stride - padding + k * dilation;
    else if (there % stride != 0)
        return false;
    else
        *from = there / stride;
    return *from >= 0 && *from < size;
}

void ak__plain_pixel(const ak__conv *g, bool data, const ak_real *src, const ak_real *w,
                     int64_t pixel, int64_t d, int64_t count, ak_real *sums)
{
    const int64_t H = data ? g->H : g->OH, W = data ? g->W : g->OW;
    const int64_t SH = data ? g->OH : g->H, SW = data ? g->OW : g->W, C = data ? g->O : g->I;
    const int64_t K = ak__conv_k(g);
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (int64_t tap = 0; tap < g->kH * g->kW; tap++) {
        int64_t h, v;
        if (!source_at(pixel / W % H, tap / g->kW, g->sh, g->ph, g->dh, SH, data, &h) ||
            !source_at(pixel % W, tap % g->kW, g->sw, g->pw, g->dw, SW, data, &v))
            continue;
        const ak_real *x = src + ((pixel / (H * W) * SH + h) * SW + v) * C;
        for (int64_t c = 0; data && c < C; c++)
            ak__k.axpy(sums, x[c], w + c * K + tap * g->I + d, count);
        for (int64_t j = 0; !data && j < count; j++)
            sums[j] += ak__k.dot(x, w + (d + j) * K + tap * C, C);
    }
}

void ak__plain_put(ak_real *dst, const ak_real *sums, int64_t n, const ak_real *bias,
                   bool accumulate)
{
    for (int64_t j = 0; j < n; j++)
        dst[j] = (accumulate ? dst[j] + sums[j] : sums[j]) + (bias ? bias[j] : 0);
}

void ak__plain_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, int64_t pixel,
                      int64_t o, int64_t i, int64_t count, ak_real *sums)
{
    for (int64_t tap = 0; tap < g->kH * g->kW; tap++) {
        int64_t h, v;
        if (source_at(pixel / g->OW % g->OH, tap / g->kW, g->sh, g->ph, g->dh, g->H, false, &h) &&
            source_at(pixel % g->OW, tap % g->kW, g->sw, g->pw, g->dw, g->W, false, &v))
            ak__k.axpy(sums + tap * count, dy[pixel * g->O + o],
                       x + ((pixel / (g->OW * g->OH) * g->H + h) * g->W + v) * g->I + i, count);
    }
}

bool ak__all_finite(const ak_real *x, int64_t n)
{
    ak_real seen = 0;
    for (int64_t i = 0; i < n; i++)
        seen += x[i] * 0;
    return seen == 0;
}
