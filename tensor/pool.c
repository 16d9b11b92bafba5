/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling and bilinear resizing; channels are the inner loops. */
#include "tensor/pool.h"

#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/real.h"
#include "base/whole.h"
#include "tensor/kernels/kernels.h"

/* Positions [lo, hi) of an axis. */
typedef struct window { int64_t lo, hi; } window;

static window fixed_window(int64_t i, int64_t size, const ak__pool2d *g)
{
    const int64_t lo = i * g->stride - g->padding;
    return (window){ ak__max(lo, 0), ak__min(lo + g->kernel, size) };
}

static window adaptive_window(int64_t i, int64_t size, int64_t out)
{
    return (window){ i * size / out, ak__ceil_div((i + 1) * size, out) };
}

/* ---- largest --------------------------------------------------------------------------------- */

static void max_pixel(const ak__pool2d *g, const ak_real *image, window h, window w, ak_real *y,
                      int32_t *place)
{
    const int64_t C = g->C;
    memcpy(y, image + (h.lo * g->W + w.lo) * C, (size_t)C * sizeof *y);
    for (int64_t c = 0; place && c < C; c++)
        place[c] = (int32_t)(h.lo * g->W + w.lo);
    for (int64_t i = h.lo; i < h.hi; i++) {
        for (int64_t j = w.lo; j < w.hi; j++) {
            const ak_real *x = image + (i * g->W + j) * C;
            const int32_t at = (int32_t)(i * g->W + j);
            /* not (x <= y): a NaN goes through, and stays because nothing is > NaN */
            if (place) {
                for (int64_t c = 0; c < C; c++) {
                    const bool better = !(x[c] <= y[c]) && y[c] == y[c];
                    place[c] = better ? at : place[c];
                    y[c] = better ? x[c] : y[c];
                }
            } else {
                for (int64_t c = 0; c < C; c++)
                    y[c] = !(x[c] <= y[c]) && y[c] == y[c] ? x[c] : y[c];
            }
        }
    }
}

void ak__max_pool(const ak__pool2d *g, const ak_real *x, ak_real *y, int32_t *place)
{
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__pool_is_big(g)) {
        const window h = fixed_window(r % g->OH, g->H, g);
        const ak_real *image = x + r / g->OH * g->H * g->W * g->C;
        for (int64_t ow = 0; ow < g->OW; ow++) {
            const int64_t at = (r * g->OW + ow) * g->C;
            max_pixel(g, image, h, fixed_window(ow, g->W, g), y + at, place ? place + at : NULL);
        }
    }
}

static void start_image(const ak__pool2d *g, ak_real *dx, bool fresh)
{
    if (fresh)
        memset(dx, 0, (size_t)(g->H * g->W * g->C) * sizeof *dx);
}

void ak__max_pool_backward(const ak__pool2d *g, const ak_real *dy, const int32_t *place,
                           ak_real *dx, bool fresh)
{
    const int64_t out = g->OH * g->OW * g->C;
    AK__PARALLEL_FOR(n, g->N, ak__pool_is_big(g)) {
        ak_real *image = dx + n * g->H * g->W * g->C;
        start_image(g, image, fresh);
        for (int64_t p = 0; p < out; p += g->C)
            for (int64_t c = 0; c < g->C; c++)
                image[place[n * out + p + c] * g->C + c] += dy[n * out + p + c];
    }
}

/* ---- means ----------------------------------------------------------------------------------- */

/* Windows of more positions are summed in double: a sum in ak_real would lose a digit for every
 * ten times as many. */
#define LARGE_WINDOW 1024
#define LANES 64                /* channels whose sums are kept at once */

/* Channels [c0, c0 + n) of a large window. */
static void large_mean(const ak__pool2d *g, const ak_real *image, window h, window w, int64_t c0,
                       int64_t n, ak_real *y)
{
    double sum[LANES] = { 0 };
    for (int64_t i = h.lo; i < h.hi; i++) {
        const ak_real *x = image + (i * g->W + w.lo) * g->C + c0;
        for (int64_t j = w.lo; j < w.hi; j++, x += g->C) {
            if (n == LANES)
                for (int64_t c = 0; c < LANES; c++)
                    sum[c] += (double)x[c];
            else
                for (int64_t c = 0; c < n; c++)
                    sum[c] += (double)x[c];
        }
    }
    for (int64_t c = 0; c < n; c++)
        y[c0 + c] = (ak_real)sum[c];
}

/* y = scale * the sum over the window */
static void mean_pixel(const ak__pool2d *g, const ak_real *image, window h, window w,
                       ak_real scale, ak_real *y)
{
    if ((h.hi - h.lo) * (w.hi - w.lo) > LARGE_WINDOW) {
        for (int64_t c = 0; c < g->C; c += LANES)
            large_mean(g, image, h, w, c, ak__min(LANES, g->C - c), y);
        ak__k.scale(y, scale, y, g->C);
        return;
    }
    memset(y, 0, (size_t)g->C * sizeof *y);
    for (int64_t i = h.lo; i < h.hi; i++)
        ak__k.column_sum(y, image + (i * g->W + w.lo) * g->C, w.hi - w.lo, g->C);
    ak__k.scale(y, scale, y, g->C);
}

static void spread_pixel(const ak__pool2d *g, const ak_real *dy, window h, window w,
                         ak_real scale, ak_real *image)
{
    for (int64_t i = h.lo; i < h.hi; i++)
        for (int64_t j = w.lo; j < w.hi; j++)
            ak__k.axpy(image + (i * g->W + j) * g->C, scale, dy, g->C);
}

void ak__avg_pool(const ak__pool2d *g, const ak_real *x, ak_real *y)
{
    const ak_real scale = 1 / (ak_real)(g->kernel * g->kernel);
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__pool_is_big(g)) {
        const window h = fixed_window(r % g->OH, g->H, g);
        const ak_real *image = x + r / g->OH * g->H * g->W * g->C;
        for (int64_t ow = 0; ow < g->OW; ow++)
            mean_pixel(g, image, h, fixed_window(ow, g->W, g), scale,
                       y + (r * g->OW + ow) * g->C);
    }
}

void ak__avg_pool_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh)
{
    const ak_real scale = 1 / (ak_real)(g->kernel * g->kernel);
    AK__PARALLEL_FOR(n, g->N, ak__pool_is_big(g)) {
        ak_real *image = dx + n * g->H * g->W * g->C;
        start_image(g, image, fresh);
        for (int64_t p = 0; p < g->OH * g->OW; p++)
            spread_pixel(g, dy + (n * g->OH * g->OW + p) * g->C,
                         fixed_window(p / g->OW, g->H, g), fixed_window(p % g->OW, g->W, g),
                         scale, image);
    }
}

static ak_real window_scale(window h, window w)
{
    return 1 / (ak_real)((h.hi - h.lo) * (w.hi - w.lo));
}

void ak__adaptive_pool(const ak__pool2d *g, const ak_real *x, ak_real *y)
{
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__pool_is_big(g)) {
        const window h = adaptive_window(r % g->OH, g->H, g->OH);
        const ak_real *image = x + r / g->OH * g->H * g->W * g->C;
        for (int64_t ow = 0; ow < g->OW; ow++) {
            const window w = adaptive_window(ow, g->W, g->OW);
            mean_pixel(g, image, h, w, window_scale(h, w), y + (r * g->OW + ow) * g->C);
        }
    }
}

void ak__adaptive_pool_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh)
{
    AK__PARALLEL_FOR(n, g->N, ak__pool_is_big(g)) {
        ak_real *image = dx + n * g->H * g->W * g->C;
        start_image(g, image, fresh);
        for (int64_t p = 0; p < g->OH * g->OW; p++) {
            const window h = adaptive_window(p / g->OW, g->H, g->OH);
            const window w = adaptive_window(p % g->OW, g->W, g->OW);
            spread_pixel(g, dy + (n * g->OH * g->OW + p) * g->C, h, w, window_scale(h, w), image);
        }
    }
}

/* ---- bilinear -------------------------------------------------------------------------------- */

/* Output i lies between inputs lo and hi, t of the way. */
typedef struct between { int64_t lo, hi; ak_real t; } between;

static between source_of(int64_t i, int64_t size, int64_t out)
{
    const double at = fmax(((double)i + 0.5) * (double)size / (double)out - 0.5, 0.0);
    const int64_t lo = ak__min((int64_t)at, size - 1);
    return (between){ lo, ak__min(lo + 1, size - 1), (ak_real)(at - (double)lo) };
}

void ak__resize(const ak__pool2d *g, const ak_real *x, ak_real *y)
{
    const int64_t C = g->C;
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__pool_is_big(g)) {
        const between h = source_of(r % g->OH, g->H, g->OH);
        const ak_real *top = x + (r / g->OH * g->H + h.lo) * g->W * C;
        const ak_real *low = x + (r / g->OH * g->H + h.hi) * g->W * C;
        for (int64_t ow = 0; ow < g->OW; ow++) {
            const between w = source_of(ow, g->W, g->OW);
            ak_real *to = y + (r * g->OW + ow) * C;
            for (int64_t c = 0; c < C; c++) {
                const ak_real a = top[w.lo * C + c], b = top[w.hi * C + c];
                const ak_real d = low[w.lo * C + c], e = low[w.hi * C + c];
                const ak_real u = a + (b - a) * w.t, v = d + (e - d) * w.t;
                to[c] = u + (v - u) * h.t;
            }
        }
    }
}

void ak__resize_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh)
{
    const int64_t C = g->C;
    AK__PARALLEL_FOR(n, g->N, ak__pool_is_big(g)) {
        ak_real *image = dx + n * g->H * g->W * C;
        start_image(g, image, fresh);
        for (int64_t p = 0; p < g->OH * g->OW; p++) {
            const between h = source_of(p / g->OW, g->H, g->OH);
            const between w = source_of(p % g->OW, g->W, g->OW);
            const ak_real *from = dy + (n * g->OH * g->OW + p) * C;
            ak__k.axpy(image + (h.lo * g->W + w.lo) * C, (1 - h.t) * (1 - w.t), from, C);
            ak__k.axpy(image + (h.lo * g->W + w.hi) * C, (1 - h.t) * w.t, from, C);
            ak__k.axpy(image + (h.hi * g->W + w.lo) * C, h.t * (1 - w.t), from, C);
            ak__k.axpy(image + (h.hi * g->W + w.hi) * C, h.t * w.t, from, C);
        }
    }
}
