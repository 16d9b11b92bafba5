/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution: each channel has its own kernel.
 *
 * A kernel position multiplies pixels by one weight a channel. With stride 1 neighbouring pixels
 * lie side by side on both sides, so that a span of several pixels is one long product of arrays
 * once the weights are repeated for each pixel of the span: [kernel position][span][channel].
 * Other strides go pixel by pixel. */
#include "tensor/conv_paths.h"

/* Pixels of a span: about 512 numbers, so that all operands stay in the first cache. */
static int64_t span_of(const ak__conv *g)
{
    return g->sw == 1 ? ak__conv_max(512 / g->O, 1) : 1;
}

static void repeat_weights(const ak__conv *g, const ak_real *w, ak_real *repeated)
{
    const int64_t taps = g->kH * g->kW, C = g->O, span = span_of(g);
    for (int64_t t = 0; t < taps; t++)
        for (int64_t i = 0; i < span * C; i++)
            repeated[t * span * C + i] = w[i % C * taps + t];
}

size_t ak__depthwise_scratch(const ak__conv *g)
{
    ak__carve need = { 0 };
    ak__carve_reals(&need, g->O * g->kH * g->kW * span_of(g));
    return need.used;
}

/* `count` pixels = bias, 0, or what they are */
static void start_pixels(ak_real *y, const ak_real *bias, int64_t count, int64_t C,
                         bool accumulate)
{
    if (!accumulate && !bias)
        memset(y, 0, (size_t)(count * C) * sizeof *y);
    for (int64_t i = 0; bias && i < count; i++) {
        if (accumulate)
            ak__k.add(y + i * C, y + i * C, bias, C);
        else
            memcpy(y + i * C, bias, (size_t)C * sizeof *y);
    }
}

/* Pixels i in [lo, hi): y[i step_y] += x[i step_x] w. Either step is 1 where span > 1. */
static void add_products(ak_real *y, int64_t step_y, const ak_real *x, int64_t step_x,
                         const ak_real *w, int64_t lo, int64_t hi, int64_t C, int64_t span)
{
    for (int64_t i = lo; i < hi; i += span)
        ak__k.mul_add(y + i * step_y * C, x + i * step_x * C, w,
                      ak__conv_min(span, hi - i) * C);
}

void ak__depthwise_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const int64_t C = g->O, span = span_of(g);
    ak_real *repeated = scratch;    /* [kH kW, span, C] */
    repeat_weights(g, w, repeated);
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__conv_flops(g) > 1e5) {
        ak_real *row = y + r * g->OW * C;
        start_pixels(row, bias, g->OW, C, accumulate);
        for (int64_t kh = 0; kh < g->kH; kh++) {
            const int64_t ih = r % g->OH * g->sh - g->ph + kh * g->dh;
            if (ih < 0 || ih >= g->H)
                continue;
            const ak_real *from = x + (r / g->OH * g->H + ih) * g->W * C;
            for (int64_t kw = 0; kw < g->kW; kw++) {
                const int64_t iw = kw * g->dw - g->pw;
                int64_t lo, hi;
                ak__conv_inside(iw, g->sw, g->W, g->OW, &lo, &hi);
                add_products(row, 1, from + iw * C, g->sw,
                             repeated + (kh * g->kW + kw) * span * C, lo, hi, C, span);
            }
        }
    }
}

void ak__depthwise_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    const int64_t C = g->O, span = span_of(g);
    ak_real *repeated = scratch;    /* [kH kW, span, C] */
    repeat_weights(g, w, repeated);
    AK__PARALLEL_FOR(r, g->N * g->H, ak__conv_flops(g) > 1e5) {
        ak_real *row = dx + r * g->W * C;
        start_pixels(row, bias, g->W, C, accumulate);
        for (int64_t kh = 0; kh < g->kH; kh++) {
            const int64_t h = r % g->H + g->ph - kh * g->dh;
            if (h < 0 || h % g->sh != 0 || h / g->sh >= g->OH)
                continue;
            const ak_real *from = dy + (r / g->H * g->OH + h / g->sh) * g->OW * C;
            for (int64_t kw = 0; kw < g->kW; kw++) {
                const int64_t iw = kw * g->dw - g->pw;
                int64_t lo, hi;
                ak__conv_inside(iw, g->sw, g->W, g->OW, &lo, &hi);
                add_products(row + iw * C, g->sw, from, 1,
                             repeated + (kh * g->kW + kw) * span * C, lo, hi, C, span);
            }
        }
    }
}

/* Chunks have sums for each pixel of a span, which are added up at the end of the chunk. */
size_t ak__depthwise_weight_scratch(const ak__conv *g)
{
    const int64_t numbers = g->O * g->kH * g->kW, chunk = ak__weight_chunk(g, numbers);
    ak__carve need = { 0 };
    ak__carve_reals(&need, ak__conv_up(g->N, chunk) * numbers);
    ak__carve_reals(&need, ak__conv_up(g->N, chunk) * numbers * span_of(g));
    return need.used;
}

/* sums[kH kW, span, C] += x dy over images [n0, n1) */
static void depthwise_sums(const ak__conv *g, const ak_real *x, const ak_real *dy, int64_t n0,
                           int64_t n1, int64_t span, ak_real *sums)
{
    const int64_t C = g->O;
    for (int64_t r = n0 * g->OH; r < n1 * g->OH; r++) {
        const ak_real *row = dy + r * g->OW * C;
        for (int64_t kh = 0; kh < g->kH; kh++) {
            const int64_t ih = r % g->OH * g->sh - g->ph + kh * g->dh;
            if (ih < 0 || ih >= g->H)
                continue;
            const ak_real *from = x + (r / g->OH * g->H + ih) * g->W * C;
            for (int64_t kw = 0; kw < g->kW; kw++) {
                const int64_t iw = kw * g->dw - g->pw;
                int64_t lo, hi;
                ak__conv_inside(iw, g->sw, g->W, g->OW, &lo, &hi);
                for (int64_t i = lo; i < hi; i += span)
                    ak__k.mul_add(sums + (kh * g->kW + kw) * span * C,
                                  from + (iw + i * g->sw) * C, row + i * C,
                                  ak__conv_min(span, hi - i) * C);
            }
        }
    }
}

void ak__depthwise_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                          bool accumulate, void *scratch)
{
    const int64_t C = g->O, taps = g->kH * g->kW, numbers = C * taps, span = span_of(g);
    const int64_t chunk = ak__weight_chunk(g, numbers), chunks = ak__conv_up(g->N, chunk);
    ak__carve area = { .base = scratch };
    ak_real *parts = ak__carve_reals(&area, chunks * numbers);              /* [kH kW, C] each */
    ak_real *spans = ak__carve_reals(&area, chunks * numbers * span);
    AK__PARALLEL_FOR_DYNAMIC(task, chunks, chunks > 1) {
        ak_real *part = parts + task * numbers, *sums = spans + task * numbers * span;
        memset(part, 0, (size_t)numbers * sizeof *part);
        memset(sums, 0, (size_t)(numbers * span) * sizeof *sums);
        depthwise_sums(g, x, dy, task * chunk, ak__conv_min((task + 1) * chunk, g->N), span, sums);
        for (int64_t t = 0; t < taps; t++)
            ak__k.column_sum(part + t * C, sums + t * span * C, span, C);
    }
    ak__weight_total(g, parts, chunks, dw, accumulate, true);
}
