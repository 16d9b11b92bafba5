/* SPDX-License-Identifier: Apache-2.0 */
/* Weight gradient of the direct way: dW[o, k] = sum over pixels p of dY[p, o] patch[p, k].
 *
 * Pixels are the long inner dimension. They are taken in blocks: one place after the other, each
 * in several images; or one image after the other where a chunk has few. For a block, dY is packed
 * once for all columns, and each panel of patch columns, which lie side by side in the picture, is
 * packed once for all rows. Rows of a block where a panel's part of the patch is outside of the
 * picture are left out, and so are places at both ends of a block of one row. Chunks of images have
 * their own result, which are added in order; how many there are depends on the shape alone. */
#include "tensor/conv/ways.h"

/* Pixels of a block: packed, nr patch columns of them take most of the first cache. */
#define BLOCK_PIXELS 288
/* Images of a chunk, if that leaves so many chunks: packing goes over the images of a place. */
#define CHUNK_IMAGES 8
#define CHUNKS       16

int64_t ak__weight_chunk(const ak__conv *g, int64_t numbers)
{
    /* at most 32 chunks and about a million numbers in all */
    const int64_t chunks = ak__min(ak__max(1048576 / numbers, 1), 32);
    return ak__ceil_div(g->N, chunks);
}

void ak__weight_total(const ak__conv *g, const ak_real *part, int64_t chunks, ak_real *dw,
                      bool accumulate, bool transposed)
{
    const int64_t K = ak__conv_k(g), numbers = g->O * K;
    AK__PARALLEL_FOR(o, g->O, numbers * chunks > 65536) {
        for (int64_t k = 0; k < K; k++) {
            const int64_t at = transposed ? k * g->O + o : o * K + k;
            ak_real s = part[at];
            for (int64_t c = 1; c < chunks; c++)
                s += part[c * numbers + at];
            dw[o * K + k] = accumulate ? dw[o * K + k] + s : s;
        }
    }
}

/* What is worked out once. */
typedef struct weight_plan {
    int64_t chunk, chunks;      /* images a chunk, and how many */
    int64_t images, rows, columns;      /* of a block at most */
    bool    across;             /* the images of a place are neighbours, not places of an image */
    int64_t runs, run;          /* runs of patch columns, and their length */
    int64_t run_panels;         /* panels of a run */
    int64_t panels, shares;     /* all panels of all groups; how many tasks share them */
    int64_t Ig, Og, tiles;      /* row tiles of a group */
} weight_plan;

static weight_plan plan_weight(const ak__conv *g)
{
    weight_plan p = { .Ig = g->I / g->groups, .Og = g->O / g->groups };
    const bool whole = g->groups == 1 && g->dw == 1;
    p.chunk = ak__max(ak__weight_chunk(g, g->O * ak__conv_k(g)),
                           ak__min(ak__ceil_div(g->N, CHUNKS), CHUNK_IMAGES));
    p.chunks = ak__ceil_div(g->N, p.chunk);
    p.across = p.chunk >= ak__min(CHUNK_IMAGES, g->OW);
    p.images = ak__max(BLOCK_PIXELS / (p.across ? g->OW : g->OW * g->OH), 1);
    p.images = ak__ceil_div(p.chunk, ak__ceil_div(p.chunk, p.images));
    p.columns = ak__min(BLOCK_PIXELS / p.images, g->OW);
    p.rows = ak__min(BLOCK_PIXELS / (p.images * p.columns), g->OH);
    p.runs = whole ? g->kH : g->kH * g->kW;
    p.run = whole ? g->kW * p.Ig : p.Ig;
    p.run_panels = ak__ceil_div(p.run, ak__k.nr);
    p.panels = g->groups * p.runs * p.run_panels;
    p.shares = ak__min(p.panels, ak__ceil_div(16, p.chunks));
    p.tiles = ak__ceil_div(p.Og, ak__k.mr);
    return p;
}

typedef struct weight_buffers {
    ak_real *part;              /* [chunks][O K] */
    ak_real *left, *right;      /* of one thread: packed dY, packed patches */
} weight_buffers;

static size_t carve_weight(const ak__conv *g, const weight_plan *p, void *scratch, int thread,
                           weight_buffers *b)
{
    ak__carver area = { .base = scratch };
    *b = (weight_buffers){ .part = ak__carve_reals(&area, p->chunks * g->O * ak__conv_k(g)) };
    for (int t = 0; t <= thread; t++) {
        b->left = ak__carve_reals(&area, g->groups * p->tiles * ak__k.mr * BLOCK_PIXELS);
        b->right = ak__carve_reals(&area, (int64_t)ak__k.nr * BLOCK_PIXELS);
    }
    return area.used;
}

size_t ak__direct_weight_scratch(const ak__conv *g)
{
    const weight_plan p = plan_weight(g);
    weight_buffers b;
    return carve_weight(g, &p, NULL, ak__max_threads() - 1, &b);
}

/* ---- one block ------------------------------------------------------------------------------- */

/* Output pixels [h0, h1) x [w0, w1) of images [n0, n0 + m): in the order of places, at each of them
 * the images one after the other; or, not across, in the order of images and places. */
typedef struct pixel_block {
    int64_t n0, m, h0, h1, w0, w1;
} pixel_block;

/* A panel: n patch columns in row kh of the kernel; the first is the element `at` from the pixel
 * that the kernel's first column meets. They are columns k of dW, of rows of a group. */
typedef struct patch_panel {
    int64_t group, kh, at, k;
    int     n;
} patch_panel;

static patch_panel panel_of(const ak__conv *g, const weight_plan *p, int64_t j)
{
    const int64_t group = j / (p->runs * p->run_panels), r = j / p->run_panels % p->runs;
    const int64_t k = j % p->run_panels * ak__k.nr;
    const int64_t kh = p->runs == g->kH ? r : r / g->kW, kw = p->runs == g->kH ? 0 : r % g->kW;
    return (patch_panel){ .group = group, .kh = kh, .k = r * p->run + k,
                          .at = kw * g->dw * g->I + group * p->Ig + k,
                          .n = (int)ak__min(ak__k.nr, p->run - k) };
}

/* dY of the block: [groups][tiles][pixels][mr], from lines of pixels that are equally far apart. */
static void pack_left(const ak__conv *g, const weight_plan *p, const pixel_block *q,
                      const ak_real *dy, ak_real *left)
{
    const int mr = ak__k.mr;
    const int64_t wide = q->w1 - q->w0, high = q->h1 - q->h0, pixels = high * wide * q->m;
    const int64_t line = p->across ? q->m : wide;
    for (int64_t at = 0; at < pixels; at += line) {
        const int64_t n = p->across ? 0 : at / wide / high, place = p->across ? at / line : at;
        const int64_t h = q->h0 + place / wide % high, w = q->w0 + place % wide;
        const ak_real *from = dy + (((q->n0 + n) * g->OH + h) * g->OW + w) * g->O;
        for (int64_t t = 0; t < g->groups * p->tiles; t++) {
            const int64_t o = t % p->tiles * mr;
            ak__k.gemm_pack(left + (t * pixels + at) * mr, from + t / p->tiles * p->Og + o,
                            p->across ? g->OH * g->OW * g->O : g->O,
                            ak__min(mr, p->Og - o), line, mr, true);
        }
    }
}

/* n elements from e on of one row of m images, 0 where that is outside of the row. */
static void pack_place(const ak__conv *g, const ak_real *row, int64_t e, int64_t m, int n,
                       ak_real *out)
{
    const int64_t nr = ak__k.nr, image = g->H * g->W * g->I;
    const int64_t lo = ak__max(-e, 0), hi = ak__min(n, g->W * g->I - e);
    if (lo == 0 && hi == n) {
        ak__k.gemm_pack(out, row + e, image, n, m, (int)nr, true);
        return;
    }
    memset(out, 0, (size_t)(m * nr) * sizeof *out);
    for (int64_t i = 0; i < m && lo < hi; i++)
        memcpy(out + i * nr + lo, row + i * image + e + lo, (size_t)(hi - lo) * sizeof *out);
}

/* Places [w0, w1) of a row of one image: n elements from e + w step on for each. */
static void pack_row(const ak__conv *g, const ak_real *row, int64_t e, int64_t w0, int64_t w1,
                     int n, ak_real *out)
{
    const int64_t step = g->sw * g->I, nr = ak__k.nr;
    int64_t lo, hi;
    ak__conv_inside(e, step, g->W * g->I - n + 1, g->OW, &lo, &hi);
    lo = ak__min(ak__max(lo, w0), w1);
    hi = ak__min(ak__max(hi, lo), w1);
    for (int64_t w = w0; w < lo; w++)
        pack_place(g, row, e + w * step, 1, n, out + (w - w0) * nr);
    if (lo < hi)
        ak__k.gemm_pack(out + (lo - w0) * nr, row + e + lo * step, step, n, hi - lo, (int)nr, true);
    for (int64_t w = hi; w < w1; w++)
        pack_place(g, row, e + w * step, 1, n, out + (w - w0) * nr);
}

/* Those places of the block that have a part of the panel inside, as far as they are one piece of
 * the inner dimension. In a block of several rows only whole rows are left out. */
static pixel_block places_inside(const ak__conv *g, const weight_plan *p, const patch_panel *f,
                                 pixel_block q)
{
    int64_t lo, hi;
    if (!p->across && q.m > 1)
        return q;
    ak__conv_inside(f->kh * g->dh - g->ph, g->sh, g->H, g->OH, &lo, &hi);
    q.h0 = ak__max(q.h0, lo);
    q.h1 = ak__max(ak__min(q.h1, hi), q.h0);
    if (q.h1 - q.h0 == 1) {
        ak__conv_inside(f->at - g->pw * g->I + f->n - 1, g->sw * g->I, g->W * g->I + f->n - 1,
                        g->OW, &lo, &hi);
        q.w0 = ak__max(q.w0, lo);
        q.w1 = ak__max(ak__min(q.w1, hi), q.w0);
    }
    return q;
}

static void pack_right(const ak__conv *g, const weight_plan *p, const patch_panel *f,
                       const pixel_block *q, const ak_real *x, ak_real *right)
{
    const int64_t e = f->at - g->pw * g->I, nr = ak__k.nr;
    const int64_t line = (p->across ? q->m : 1) * nr * (q->w1 - q->w0);
    for (int64_t i = 0; i < (p->across ? 1 : q->m); i++) {
        for (int64_t oh = q->h0; oh < q->h1; oh++, right += line) {
            const int64_t h = f->kh * g->dh - g->ph + oh * g->sh;
            const ak_real *row = x + ((q->n0 + i) * g->H + h) * g->W * g->I;
            if (h < 0 || h >= g->H)
                memset(right, 0, (size_t)line * sizeof *right);
            else if (!p->across)
                pack_row(g, row, e, q->w0, q->w1, f->n, right);
            else
                for (int64_t w = q->w0; w < q->w1; w++)
                    pack_place(g, row, e + w * g->sw * g->I, q->m, f->n,
                               right + (w - q->w0) * q->m * nr);
        }
    }
}

/* The columns of a panel to which no place of a chunk's first block contributes. */
static void clear_panel(const ak__conv *g, const weight_plan *p, const patch_panel *f,
                        ak_real *part)
{
    for (int64_t o = f->group * p->Og; o < (f->group + 1) * p->Og; o++)
        memset(part + o * ak__conv_k(g) + f->k, 0, (size_t)f->n * sizeof *part);
}

static void weight_block(const ak__conv *g, const weight_plan *p, const weight_buffers *b,
                         const pixel_block *q, const ak_real *x, const ak_real *dy, int64_t j0,
                         int64_t j1, ak_real *part, bool add)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    const int64_t wide = q->w1 - q->w0, pixels = (q->h1 - q->h0) * wide * q->m;
    const int64_t K = ak__conv_k(g);
    pack_left(g, p, q, dy, b->left);
    for (int64_t j = j0; j < j1; j++) {
        const patch_panel f = panel_of(g, p, j);
        const pixel_block some = places_inside(g, p, &f, *q);
        const int64_t count = (some.h1 - some.h0) * (some.w1 - some.w0) * q->m;
        const int64_t skipped = ((some.h0 - q->h0) * wide + some.w0 - q->w0) * q->m;
        if (count == 0 && !add)
            clear_panel(g, p, &f, part);
        pack_right(g, p, &f, &some, x, b->right);
        for (int64_t t = 0; t < p->tiles && count > 0; t++)
            ak__k.gemm_direct(count, b->left + ((f.group * p->tiles + t) * pixels + skipped) * mr,
                              1, mr, b->right, nr, part + (f.group * p->Og + t * mr) * K + f.k, K,
                              (int)ak__min(mr, p->Og - t * mr), f.n, add);
    }
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void weight_chunk(const ak__conv *g, const weight_plan *p, const weight_buffers *b,
                         const ak_real *x, const ak_real *dy, int64_t chunk, int64_t share)
{
    const int64_t last = ak__min((chunk + 1) * p->chunk, g->N);
    const int64_t j0 = share * p->panels / p->shares, j1 = (share + 1) * p->panels / p->shares;
    ak_real *part = b->part + chunk * g->O * ak__conv_k(g);
    pixel_block q;
    bool add = false;
    for (q.n0 = chunk * p->chunk; q.n0 < last; q.n0 += p->images) {
        q.m = ak__min(p->images, last - q.n0);
        for (q.h0 = 0; q.h0 < g->OH; q.h0 = q.h1) {
            q.h1 = ak__min(q.h0 + p->rows, g->OH);
            for (q.w0 = 0; q.w0 < g->OW; q.w0 = q.w1) {
                q.w1 = ak__min(q.w0 + p->columns, g->OW);
                weight_block(g, p, b, &q, x, dy, j0, j1, part, add);
                add = true;
            }
        }
    }
}

void ak__direct_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                       bool accumulate, void *scratch)
{
    const weight_plan p = plan_weight(g);
    AK__PARALLEL_FOR_DYNAMIC(task, p.chunks * p.shares, p.chunks * p.shares > 1) {
        weight_buffers b;
        carve_weight(g, &p, scratch, ak__thread_id(), &b);
        weight_chunk(g, &p, &b, x, dy, task / p.shares, task % p.shares);
    }
    ak__weight_total(g, scratch, p.chunks, dw, accumulate, false);
}
