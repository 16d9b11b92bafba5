/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution: each channel has its own kernel. Channels are the vector dimension:
 * weights are turned to [kernel position][channel], and each pixel adds products over channels. */
#include "tensor/conv_paths.h"

static void turn_weights(const ak__conv *g, const ak_real *w, ak_real *turned)
{
    const int64_t taps = g->kH * g->kW;
    for (int64_t c = 0; c < g->O; c++)
        for (int64_t t = 0; t < taps; t++)
            turned[t * g->O + c] = w[c * taps + t];
}

size_t ak__depthwise_scratch(const ak__conv *g)
{
    ak__carve need = { 0 };
    ak__carve_reals(&need, g->O * g->kH * g->kW);
    return need.used;
}

/* y[c] = bias[c], 0, or what it is */
static void start_pixel(ak_real *y, const ak_real *bias, int64_t C, bool accumulate)
{
    if (!accumulate && bias)
        memcpy(y, bias, (size_t)C * sizeof *y);
    else if (!accumulate)
        memset(y, 0, (size_t)C * sizeof *y);
    else if (bias)
        ak__k.add(y, y, bias, C);
}

void ak__depthwise_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const int64_t C = g->O;
    ak_real *turned = scratch;      /* [kH kW, C] */
    turn_weights(g, w, turned);
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__conv_flops(g) > 1e5) {
        const int64_t oh = r % g->OH, ih0 = oh * g->sh - g->ph;
        const ak_real *image = x + r / g->OH * g->H * g->W * C;
        for (int64_t ow = 0; ow < g->OW; ow++) {
            ak_real *to = y + (r * g->OW + ow) * C;
            start_pixel(to, bias, C, accumulate);
            for (int64_t t = 0; t < g->kH * g->kW; t++) {
                const int64_t ih = ih0 + t / g->kW * g->dh;
                const int64_t iw = ow * g->sw - g->pw + t % g->kW * g->dw;
                if (ih >= 0 && ih < g->H && iw >= 0 && iw < g->W)
                    ak__k.mul_add(to, image + (ih * g->W + iw) * C, turned + t * C, C);
            }
        }
    }
}

void ak__depthwise_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    const int64_t C = g->O;
    ak_real *turned = scratch;      /* [kH kW, C] */
    turn_weights(g, w, turned);
    AK__PARALLEL_FOR(r, g->N * g->H, ak__conv_flops(g) > 1e5) {
        const int64_t ih = r % g->H;
        const ak_real *image = dy + r / g->H * g->OH * g->OW * C;
        for (int64_t iw = 0; iw < g->W; iw++) {
            ak_real *to = dx + (r * g->W + iw) * C;
            start_pixel(to, bias, C, accumulate);
            for (int64_t t = 0; t < g->kH * g->kW; t++) {
                const int64_t h = ih + g->ph - t / g->kW * g->dh;
                const int64_t v = iw + g->pw - t % g->kW * g->dw;
                if (h >= 0 && v >= 0 && h % g->sh == 0 && v % g->sw == 0 && h / g->sh < g->OH &&
                    v / g->sw < g->OW)
                    ak__k.mul_add(to, image + (h / g->sh * g->OW + v / g->sw) * C, turned + t * C,
                                  C);
            }
        }
    }
}

size_t ak__depthwise_weight_scratch(const ak__conv *g)
{
    const int64_t numbers = g->O * g->kH * g->kW, chunk = ak__weight_chunk(g, numbers);
    ak__carve need = { 0 };
    ak__carve_reals(&need, ak__conv_up(g->N, chunk) * numbers);
    return need.used;
}

void ak__depthwise_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                          bool accumulate, void *scratch)
{
    const int64_t C = g->O, numbers = C * g->kH * g->kW, chunk = ak__weight_chunk(g, numbers);
    const int64_t chunks = ak__conv_up(g->N, chunk);
    ak_real *parts = scratch;       /* [chunks][kH kW, C] */
    AK__PARALLEL_FOR_DYNAMIC(task, chunks, chunks > 1) {
        ak_real *part = parts + task * numbers;
        memset(part, 0, (size_t)numbers * sizeof *part);
        const int64_t last = ak__conv_min((task + 1) * chunk, g->N) * g->OH;
        for (int64_t r = task * chunk * g->OH; r < last; r++) {
            const ak_real *image = x + r / g->OH * g->H * g->W * C;
            for (int64_t t = 0; t < g->kH * g->kW; t++) {
                const int64_t ih = r % g->OH * g->sh - g->ph + t / g->kW * g->dh;
                if (ih < 0 || ih >= g->H)
                    continue;
                for (int64_t ow = 0; ow < g->OW; ow++) {
                    const int64_t iw = ow * g->sw - g->pw + t % g->kW * g->dw;
                    if (iw >= 0 && iw < g->W)
                        ak__k.mul_add(part + t * C, image + (ih * g->W + iw) * C,
                                      dy + (r * g->OW + ow) * C, C);
                }
            }
        }
    }
    ak__weight_total(g, parts, chunks, dw, accumulate, true);
}
