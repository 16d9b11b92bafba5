/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution: each channel has its own kernel.
 *
 * A row of results is the sum of a few rows of pixels, one a kernel position (a tap), each times
 * one weight a channel. Near the borders some taps are missing: the row is cut where one begins or
 * ends, and each piece is one call of a kernel that keeps its results in registers over all taps.
 * Forward pass, data gradient (one call for each residue of the stride) and weight gradient all
 * are of this form. */
#include "tensor/conv/ways.h"

/* Taps that one call takes; larger kernels take several calls. */
#define MOST_TAPS 16

/* A row of the source for result pixels i in [lo, hi): pixel i is at from + i step. */
typedef struct tap {
    const ak_real *from;
    int64_t lo, hi;
    int64_t place;              /* kh kW + kw */
} tap;

typedef struct tap_row {
    tap     taps[MOST_TAPS];
    int     count;
    int64_t pixels, C;
    int64_t step, step_y;       /* from pixel to pixel in source and result, in elements */
} tap_row;

/* The end of the piece that begins at pixel i. */
static int64_t piece_end(const tap_row *r, int64_t i)
{
    int64_t end = r->pixels;
    for (int t = 0; t < r->count; t++) {
        if (r->taps[t].lo > i)
            end = ak__min(end, r->taps[t].lo);
        if (r->taps[t].hi > i)
            end = ak__min(end, r->taps[t].hi);
    }
    return end;
}

/* The taps that exist at pixel i: their pixels there and their places. */
static int taps_at(const tap_row *r, int64_t i, const ak_real *x[MOST_TAPS],
                   int64_t places[MOST_TAPS])
{
    int n = 0;
    for (int t = 0; t < r->count; t++) {
        if (i < r->taps[t].lo || i >= r->taps[t].hi)
            continue;
        x[n] = r->taps[t].from + i * r->step;
        places[n++] = r->taps[t].place;
    }
    return n;
}

/* y = (accumulate: y +) bias + the taps of r, with weights [kH kW][C]. */
static void sum_row(const tap_row *r, const ak_real *weights, const ak_real *bias, ak_real *y,
                    bool accumulate)
{
    for (int64_t i = 0, end; i < r->pixels; i = end) {
        const ak_real *x[MOST_TAPS], *w[MOST_TAPS];
        int64_t places[MOST_TAPS];
        const int n = taps_at(r, i, x, places);
        end = piece_end(r, i);
        for (int t = 0; t < n; t++)
            w[t] = weights + places[t] * r->C;
        ak__k.taps(y + i * r->step_y, r->step_y, x, r->step, w, n, end - i, r->C, bias,
                   accumulate);
    }
}

/* sums [kH kW][C] += what the pixels dy of a row give */
static void gradient_row(const tap_row *r, const ak_real *dy, ak_real *sums)
{
    for (int64_t i = 0, end; i < r->pixels; i = end) {
        const ak_real *x[MOST_TAPS];
        ak_real *to[MOST_TAPS];
        int64_t places[MOST_TAPS];
        const int n = taps_at(r, i, x, places);
        end = piece_end(r, i);
        for (int t = 0; t < n; t++)
            to[t] = sums + places[t] * r->C;
        ak__k.taps_gradient(to, x, r->step, dy + i * r->step_y, r->step_y, n, end - i, r->C);
    }
}

/* ---- forward and data gradient --------------------------------------------------------------- */

/* A row of results to which taps are added; the first call writes the bias. */
typedef struct result_row {
    tap_row        row;
    const ak_real *weights, *bias;
    ak_real       *y;
    bool           accumulate;
} result_row;

static void flush(result_row *r)
{
    sum_row(&r->row, r->weights, r->bias, r->y, r->accumulate);
    r->bias = NULL;
    r->accumulate = true;
    r->row.count = 0;
}

static void add_tap(result_row *r, tap t)
{
    if (r->row.count == MOST_TAPS)
        flush(r);
    r->row.taps[r->row.count++] = t;
}

/* [kH kW][C] of w [C][kH kW] */
static void turn_weights(const ak__conv *g, const ak_real *w, ak_real *turned)
{
    const int64_t taps = g->kH * g->kW;
    for (int64_t i = 0; i < taps * g->O; i++)
        turned[i] = w[i % g->O * taps + i / g->O];
}

size_t ak__depthwise_scratch(const ak__conv *g)
{
    ak__carver need = { 0 };
    ak__carve_reals(&need, g->O * g->kH * g->kW);
    return need.used;
}

/* The tap at `place` of output row r; false if no pixel of the row has it. */
static bool forward_tap(const ak__conv *g, const ak_real *x, int64_t r, int64_t place, tap *t)
{
    const int64_t kh = place / g->kW, iw = place % g->kW * g->dw - g->pw;
    const int64_t ih = r % g->OH * g->sh - g->ph + kh * g->dh;
    *t = (tap){ .from = x + ((r / g->OH * g->H + ih) * g->W + iw) * g->O, .place = place };
    ak__conv_inside(iw, g->sw, g->W, g->OW, &t->lo, &t->hi);
    return ih >= 0 && ih < g->H && t->lo < t->hi;
}

void ak__depthwise_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const int64_t C = g->O;
    turn_weights(g, w, scratch);
    AK__PARALLEL_FOR(r, g->N * g->OH, ak__conv_flops(g) > 1e5) {
        result_row to = { .row = { .pixels = g->OW, .C = C, .step = g->sw * C, .step_y = C },
                          .weights = scratch, .bias = bias, .y = y + r * g->OW * C,
                          .accumulate = accumulate };
        for (int64_t place = 0; place < g->kH * g->kW; place++) {
            tap t;
            if (forward_tap(g, x, r, place, &t))
                add_tap(&to, t);
        }
        flush(&to);
    }
}

/* The tap at `place` of pixels first, first + sw, .. of row r of dx. */
static bool data_tap(const ak__conv *g, const ak_real *dy, int64_t r, int64_t first,
                     int64_t pixels, int64_t place, tap *t)
{
    const int64_t h = r % g->H + g->ph - place / g->kW * g->dh;
    const int64_t w = first + g->pw - place % g->kW * g->dw;
    if (h < 0 || h % g->sh != 0 || h / g->sh >= g->OH || w % g->sw != 0)
        return false;
    const int64_t ow = w / g->sw;
    *t = (tap){ .from = dy + ((r / g->H * g->OH + h / g->sh) * g->OW + ow) * g->O,
                .place = place };
    ak__conv_inside(ow, 1, g->OW, pixels, &t->lo, &t->hi);
    return t->lo < t->hi;
}

void ak__depthwise_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    const int64_t C = g->O, residues = ak__min(g->sw, g->W);
    turn_weights(g, w, scratch);
    AK__PARALLEL_FOR(r, g->N * g->H, ak__conv_flops(g) > 1e5) {
        for (int64_t first = 0; first < residues; first++) {
            const int64_t pixels = ak__ceil_div(g->W - first, g->sw);
            result_row to = { .row = { .pixels = pixels, .C = C, .step = C,
                                       .step_y = g->sw * C },
                              .weights = scratch, .bias = bias,
                              .y = dx + (r * g->W + first) * C, .accumulate = accumulate };
            for (int64_t place = 0; place < g->kH * g->kW; place++) {
                tap t;
                if (data_tap(g, dy, r, first, pixels, place, &t))
                    add_tap(&to, t);
            }
            flush(&to);
        }
    }
}

/* ---- weight gradient ------------------------------------------------------------------------- */

size_t ak__depthwise_weight_scratch(const ak__conv *g)
{
    const int64_t numbers = g->O * g->kH * g->kW, chunk = ak__weight_chunk(g, numbers);
    ak__carver need = { 0 };
    ak__carve_reals(&need, ak__ceil_div(g->N, chunk) * numbers);
    return need.used;
}

/* part[kH kW][C] = sums over images [n0, n1) */
static void depthwise_part(const ak__conv *g, const ak_real *x, const ak_real *dy, int64_t n0,
                           int64_t n1, ak_real *part)
{
    const int64_t C = g->O, places = g->kH * g->kW;
    memset(part, 0, (size_t)(places * C) * sizeof *part);
    for (int64_t r = n0 * g->OH; r < n1 * g->OH; r++) {
        tap_row row = { .pixels = g->OW, .C = C, .step = g->sw * C, .step_y = C };
        for (int64_t place = 0; place < places; place++) {
            row.count += forward_tap(g, x, r, place, &row.taps[row.count]);
            if (row.count == MOST_TAPS || place + 1 == places) {
                gradient_row(&row, dy + r * g->OW * C, part);
                row.count = 0;
            }
        }
    }
}

void ak__depthwise_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                          bool accumulate, void *scratch)
{
    const int64_t numbers = g->O * g->kH * g->kW;
    const int64_t chunk = ak__weight_chunk(g, numbers), chunks = ak__ceil_div(g->N, chunk);
    ak_real *parts = scratch;   /* [chunks][kH kW][C] */
    AK__PARALLEL_FOR_DYNAMIC(task, chunks, chunks > 1)
        depthwise_part(g, x, dy, task * chunk, ak__min((task + 1) * chunk, g->N),
                       parts + task * numbers);
    ak__weight_total(g, parts, chunks, dw, accumulate, true);
}
