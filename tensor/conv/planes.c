/* SPDX-License-Identifier: Apache-2.0 */
/* Planes of a correlation's source: how blocks are cut, what lies where, and filling them. */
#include "tensor/conv/planes.h"

/* ---- where pixels lie ------------------------------------------------------------------------ */

/* Positions of a plane along one axis from one row (or image) to the next: so many that what is
 * read is there, or in the zeros that the next one begins with. */
static int64_t pitch_of(int64_t zeros, int64_t source, int64_t extent, int64_t step)
{
    const int64_t past = ak__min(zeros + source, extent);
    return ak__ceil_div(ak__max(past, extent - ak__max(zeros, 0)), step);
}

int64_t ak__planes_at(const ak__planes *p, const ak__correlation *q, const ak__phase *f,
                      int64_t th, int64_t tw)
{
    const int64_t h = f->h0 + th * q->tap_h, w = f->w0 + tw * q->tap_w;
    return (h % q->step_h * q->step_w + w % q->step_w) * p->plane + h / q->step_h * p->columns +
           w / q->step_w;
}

int64_t ak__planes_results(const ak__planes *p, const ak__phase *f, int64_t images, int64_t rows)
{
    return ((images - 1) * p->rows + rows - 1) * p->columns + f->JW;
}

/* Pixels that the farthest tap is from the first of its plane. */
static int64_t farthest(const ak__planes *p, const ak__correlation *q)
{
    int64_t most = 0;
    for (int64_t i = 0; i < q->phases; i++) {
        const ak__phase *f = &q->phase[i];
        if (f->TH && f->TW)
            most = ak__max(most, (f->h0 + (f->TH - 1) * q->tap_h) / q->step_h * p->columns +
                                          (f->w0 + (f->TW - 1) * q->tap_w) / q->step_w);
    }
    return most;
}

ak__planes ak__planes_plan(const ak__correlation *q, int64_t pixel, int64_t layers, int64_t bytes,
                           int64_t most)
{
    const int64_t planes = q->step_h * q->step_w;
    int64_t JH = 1, JW = 1;
    for (int64_t i = 0; i < q->phases; i++) {
        JH = ak__max(JH, q->phase[i].JH);
        JW = ak__max(JW, q->phase[i].JW);
    }
    const int64_t halo = ak__max(q->PH - (JH - 1) * q->step_h, 1);
    ak__planes p = { .pixel = pixel, .layers = layers, .image = q->SH * q->SW * q->SC,
                     .images = 1, .band = JH };
    p.columns = ak__max(pitch_of(q->left, q->SW, q->PW, q->step_w), JW);
    p.rows = ak__max(pitch_of(q->top, q->SH, q->PH, q->step_h), JH);
    const int64_t row = planes * p.columns * pixel * layers;
    if (p.rows * row <= bytes) {
        p.images = ak__max(ak__min(bytes / (p.rows * row),
                                             most / (p.rows * p.columns)), 1);
        p.images = ak__ceil_div(q->N, ak__ceil_div(q->N, ak__min(p.images, q->N)));
    } else {
        const int64_t more = ak__ceil_div(halo, q->step_h) - 1;
        p.band = ak__min(ak__max(bytes / row - more, 1), JH);
        p.band = ak__ceil_div(JH, ak__ceil_div(JH, p.band));
        p.rows = p.band + more;
    }
    p.bands = ak__ceil_div(JH, p.band);
    p.blocks = ak__ceil_div(q->N, p.images) * p.bands;
    p.results = ak__round_to(p.images * p.rows * p.columns, AK_SPLIT_SIDE);
    p.plane = p.results + farthest(&p, q);
    p.layer = planes * p.plane * pixel;
    p.bytes = p.layer * layers;
    return p;
}

ak__plane_block ak__planes_block(const ak__planes *p, const ak__correlation *q, int64_t i)
{
    ak__plane_block b = { .n0 = i / p->bands * p->images, .j0 = i % p->bands * p->band };
    b.images = ak__min(p->images, q->N - b.n0);
    return b;
}

/* ---- filling --------------------------------------------------------------------------------- */

/* Does any tap take pixels whose residues are (rh, rw)? */
static bool is_used(const ak__correlation *q, int64_t rh, int64_t rw)
{
    for (int64_t i = 0; i < q->phases; i++) {
        const ak__phase *f = &q->phase[i];
        for (int64_t t = 0; t < f->TH * f->TW; t++)
            if ((f->h0 + t / f->TW * q->tap_h) % q->step_h == rh &&
                (f->w0 + t % f->TW * q->tap_w) % q->step_w == rw)
                return true;
    }
    return false;
}

static void clear(const ak__planes *p, char *to, int64_t pixels)
{
    for (int64_t i = 0; i < p->layers; i++)
        memset(to + i * p->layer, 0, (size_t)(pixels * p->pixel));
}

/* One plane of a block at `to`, with its zeros in all layers. */
static void fill_plane(const ak__planes *p, const ak__correlation *q, const ak__plane_block *b,
                       int64_t rh, int64_t rw, char *to, ak__plane_run *put)
{
    int64_t lo, hi;
    ak__conv_inside(rw - q->left, q->step_w, q->SW, p->columns, &lo, &hi);
    for (int64_t r = 0; r < b->images * p->rows; r++, to += p->columns * p->pixel) {
        const int64_t h = (b->j0 + r % p->rows) * q->step_h + rh - q->top;
        if (h < 0 || h >= q->SH || lo == hi) {
            clear(p, to, p->columns);
            continue;
        }
        const int64_t w = lo * q->step_w + rw - q->left, n = b->n0 + r / p->rows;
        clear(p, to, lo);
        put(to + lo * p->pixel, p, q, n, q->src + n * p->image + (h * q->SW + w) * q->SC,
            q->step_w * q->SC, hi - lo);
        clear(p, to + hi * p->pixel, p->columns - hi);
    }
    clear(p, to, p->plane - b->images * p->rows * p->columns);
}

void ak__planes_fill(const ak__planes *p, const ak__correlation *q, const ak__plane_block *b,
                     char *to, ak__plane_run *put)
{
    for (int64_t r = 0; r < q->step_h * q->step_w; r++)
        if (is_used(q, r / q->step_w, r % q->step_w))
            fill_plane(p, q, b, r / q->step_w, r % q->step_w, to + r * p->plane * p->pixel, put);
}

/* ---- memory of a later block ----------------------------------------------------------------- */

ak__ahead ak__ahead_of(const ak__planes *p, const ak__correlation *q, int64_t i, int64_t calls)
{
    ak__ahead a = { .calls = calls };
    if (i >= ak__ceil_div(q->N, p->images) * p->bands)
        return a;
    const ak__plane_block b = ak__planes_block(p, q, i);
    const int64_t JH = q->phase->JH, j1 = ak__min(b.j0 + p->band, JH);
    const int64_t h0 = ak__max(b.j0 * q->step_h - q->top, 0);
    const int64_t h1 = ak__min(j1 * q->step_h + q->PH - JH * q->step_h - q->top, q->SH);
    const int64_t row = q->SW * q->SC, real = (int64_t)sizeof(ak_real);
    const bool whole = p->bands == 1;
    a.area[0] = (const char *)(q->src + b.n0 * p->image + (whole ? 0 : h0 * row));
    a.bytes[0] = (whole ? b.images * p->image : ak__max(h1 - h0, 0) * row) * real;
    a.area[1] = (const char *)(q->dst + b.n0 * q->image + (whole ? 0 : b.j0 * q->row));
    a.bytes[1] = (whole ? b.images * q->image : (j1 - b.j0) * q->row) * real;
    return a;
}

const void *ak__ahead_next(ak__ahead *a, int64_t *bytes)
{
    const int64_t all = a->bytes[0] + a->bytes[1], first = a->bytes[0];
    *bytes = 0;
    if (all == 0)
        return NULL;
    const int64_t from = a->done * all / a->calls, to = (a->done + 1) * all / a->calls;
    a->done++;
    if (from < first) {
        *bytes = ak__min(to, first) - from;
        return a->area[0] + from;
    }
    *bytes = to - from;
    return a->area[1] + from - first;
}
