/* SPDX-License-Identifier: Apache-2.0 */
/* Direct convolution: the register tile reads pictures where they lie.
 *
 * For one kernel row the tile's left operand is a[i*rs + k], k over (kernel column, channel): a
 * strided view. Its rows i are the pixels of one place in several images. What of the kernel is
 * outside of the picture is the same for all of them and left out, so nothing is padded, and tiles
 * are full however small the map is. Where images are few they are pixels of one output row,
 * rs = step*channels, in a padded copy of a block of images (small beside the product).
 *
 * Weights are packed once a call. The data gradient of stride s is s*s such correlations, one for
 * each residue of the output position, so that no multiplication by an inserted zero happens. */
#include "tensor/conv/correlation.h"
#include "tensor/conv/ways.h"

/* ---- padding --------------------------------------------------------------------------------- */

void ak__pad_images(ak_real *out, const ak_real *src, int64_t n0, int64_t count, int64_t SH,
                    int64_t SW, int64_t SC, int64_t top, int64_t left, int64_t PH, int64_t PW)
{
    /* columns [first, last) of a padded row come from the source */
    const int64_t first = ak__min(ak__max(left, 0), PW);
    const int64_t last = ak__max(ak__min(left + SW, PW), first);
    for (int64_t r = 0; r < count * PH; r++) {
        ak_real *to = out + r * PW * SC;
        const int64_t h = r % PH - top;
        if (h < 0 || h >= SH) {
            memset(to, 0, (size_t)(PW * SC) * sizeof *to);
            continue;
        }
        const ak_real *from = src + (((n0 + r / PH) * SH + h) * SW + first - left) * SC;
        memset(to, 0, (size_t)(first * SC) * sizeof *to);
        memcpy(to + first * SC, from, (size_t)((last - first) * SC) * sizeof *to);
        memset(to + last * SC, 0, (size_t)((PW - last) * SC) * sizeof *to);
    }
}

/* ---- the correlation ------------------------------------------------------------------------- */

static bool needs_padding(const ak__correlation *q)
{
    return q->top != 0 || q->left != 0 || q->PH > q->SH || q->PW > q->SW;
}

/* Images a thread pads at once: about 256 KB, so that they stay in the second cache while a
 * panel of weights is used for all of them. */
static int64_t block_images(const ak__correlation *q)
{
    const int64_t one = q->PH * q->PW * q->SC * (int64_t)sizeof(ak_real);
    return ak__min(ak__max(262144 / one, 1), 16);
}

static int64_t panels_of(const ak__correlation *q)
{
    return q->groups * ak__ceil_div(q->Dg, ak__k.nr);
}

/* Bytes of one source row of all images of a tile, so that the rows of a few taps stay in the
 * second cache. */
#define ACROSS_ROW (384 << 10)
/* Images a multiple of so many bytes apart share a set of the first cache: if they are more than it
 * has ways, they push each other out. */
#define CROWDED    4096
#define WAYS       8

/* So many tiles hold all images where the rows of a register tile are the pixels of one place in up
 * to mr images; 0: tiles run along rows of pixels. */
static int64_t image_tiles(const ak__correlation *q)
{
    const int64_t mr = ak__k.mr, tiles = ak__ceil_div(q->N, mr), real = (int64_t)sizeof(ak_real);
    const int64_t row = q->SW * q->SC * real;
    const bool crowded = mr > WAYS && q->SH * row % CROWDED == 0;
    const bool wide = 2 * q->SW > q->step_w * mr;
    if (2 * q->N < tiles * mr || mr * row > ACROSS_ROW || (crowded && wide))
        return 0;
    return tiles;
}

/* ---- tiles along rows ------------------------------------------------------------------------ */

/* Where a block's rows lie: padded copy or the source itself. */
typedef struct piece_view {
    const ak_real *rows;
    int64_t PH, PW;
} piece_view;

/* One piece of k (of length nk at k0 of tap th, tw) for output rows [r0, r1) of the block. */
static void direct_piece(const ak__correlation *q, const ak__phase *f, piece_view v, int64_t n0,
                         int64_t r0, int64_t r1, const ak_real *a, const ak_real *b, ak_real *c,
                         int64_t nk, int n, bool add)
{
    const int64_t rs = q->step_w * q->SC;
    const int64_t tiles = ak__ceil_div(f->JW, ak__k.mr);
    for (int64_t r = r0; r < r1; r++) {
        const int64_t image = r / f->JH, jh = r % f->JH;
        const ak_real *ar = a + (image * v.PH + jh * q->step_h) * v.PW * q->SC;
        ak_real *cr = c + (n0 + image) * q->image + jh * q->row;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t i = t * f->JW / tiles, m = (t + 1) * f->JW / tiles - i;
            ak__k.gemm_direct(nk, ar + i * rs, rs, 1, b, ak__k.nr, cr + i * q->pixel, q->pixel,
                              (int)m, n, add);
        }
    }
}

/* A phase that no tap reaches: zeros, or the bias. */
static void direct_untouched(const ak__correlation *q, const ak__phase *f, int64_t n0,
                             int64_t rows, int64_t channel, int n)
{
    for (int64_t r = 0; r < rows && !q->accumulate; r++) {
        ak_real *c = q->dst + (n0 + r / f->JH) * q->image + f->at + r % f->JH * q->row + channel;
        for (int64_t i = 0; i < f->JW; i++)
            memset(c + i * q->pixel, 0, (size_t)n * sizeof *c);
    }
}

static void direct_bias(const ak__correlation *q, const ak__phase *f, int64_t n0, int64_t r0,
                        int64_t r1, int64_t channel, int n)
{
    for (int64_t r = r0; r < r1 && q->bias; r++)
        ak__k.gemm_finish(q->dst + (n0 + r / f->JH) * q->image + f->at + r % f->JH * q->row +
                              channel, q->pixel, (int)f->JW, n, q->bias + channel, false);
}

/* One panel of destination channels for all rows of the block. */
static void direct_panel(const ak__correlation *q, const ak__phase *f, piece_view v, int64_t n0,
                         int64_t images, int64_t panel)
{
    const int nr = ak__k.nr;
    const int64_t per_group = ak__ceil_div(q->Dg, nr), group = panel / per_group;
    const int64_t j = panel % per_group * nr, channel = group * q->Dg + j;
    const int n = (int)ak__min(nr, q->Dg - j);
    const int64_t rows = images * f->JH, K = f->TH * f->TW * q->Cg;
    const ak_real *b = f->packed + panel * K * nr;
    ak_real *c = q->dst + f->at + channel;
    /* taps of a kernel row lie side by side when nothing is between them */
    const bool whole = q->groups == 1 && q->tap_w == 1;
    const int64_t runs = whole ? 1 : f->TW, run = whole ? f->TW * q->Cg : q->Cg;
    /* so many output rows that their part of dst stays in the first cache over all pieces */
    const int64_t step = ak__max(128 / f->JW, 1);

    if (K == 0) {
        direct_untouched(q, f, n0, rows, channel, n);
        direct_bias(q, f, n0, 0, rows, channel, n);
        return;
    }
    for (int64_t r0 = 0; r0 < rows; r0 += step) {
        const int64_t r1 = ak__min(r0 + step, rows);
        bool add = q->accumulate;
        for (int64_t t = 0; t < f->TH * runs; t++) {
            const int64_t th = t / runs, tw = t % runs;
            const ak_real *a = v.rows + ((f->h0 + th * q->tap_h) * v.PW + f->w0 + tw * q->tap_w) *
                                            q->SC + group * q->Cg;
            for (int64_t k0 = 0; k0 < run; k0 += AK__CONV_RUN) {
                const int64_t nk = ak__min(AK__CONV_RUN, run - k0);
                direct_piece(q, f, v, n0, r0, r1, a + k0, b + (t * run + k0) * nr, c, nk, n, add);
                add = true;
            }
        }
        direct_bias(q, f, n0, r0, r1, channel, n);
    }
}

static int64_t pad_buffer(const ak__correlation *q)
{
    return needs_padding(q) && !image_tiles(q) ? block_images(q) * q->PH * q->PW * q->SC : 0;
}

static void along_rows(const ak__correlation *q, ak_real *buffers)
{
    const int64_t block = block_images(q), blocks = ak__ceil_div(q->N, block);
    const int64_t panels = panels_of(q), shares = ak__conv_shares(blocks, panels);
    AK__PARALLEL_FOR_DYNAMIC(task, blocks * shares, blocks * shares > 1) {
        const int64_t n0 = task / shares * block, images = ak__min(block, q->N - n0);
        const int64_t share = task % shares;
        piece_view v = { q->src + n0 * q->SH * q->SW * q->SC, q->SH, q->SW };
        if (needs_padding(q)) {
            ak_real *own = buffers + ak__thread_id() * pad_buffer(q);
            ak__pad_images(own, q->src, n0, images, q->SH, q->SW, q->SC, q->top, q->left, q->PH,
                           q->PW);
            v = (piece_view){ own, q->PH, q->PW };
        }
        for (int64_t p = 0; p < q->phases; p++)
            for (int64_t j = share * panels / shares; j < (share + 1) * panels / shares; j++)
                direct_panel(q, &q->phase[p], v, n0, images, j);
        if (q->moments)
            ak__conv_take_moments(q, n0, images, 0, q->phase->JH,
                                  q->moments + task * ak__moment_numbers(q->pixel));
    }
}

/* ---- tiles across images --------------------------------------------------------------------- */

/* Output positions that are done together for one panel of weights: so many that reading the panel
 * costs little beside them. */
#define POSITIONS 512

/* One tile's: images [n0, n0 + m), panels [j0, j1), output rows [r0, r1) of any phase. */
typedef struct across_piece {
    int64_t n0, m, j0, j1, r0, r1;
} across_piece;

/* All taps of kernel row th for one pixel of the images: a is that of the source, w its column.
 * False if no tap is inside. */
static bool across_taps(const ak__correlation *q, const ak__phase *f, int64_t m, const ak_real *a,
                        int64_t w, const ak_real *b, ak_real *c, int n, bool add)
{
    const bool whole = q->groups == 1 && q->tap_w == 1;
    int64_t lo, hi;
    ak__conv_inside(w, q->tap_w, q->SW, f->TW, &lo, &hi);
    const int64_t run = whole ? (hi - lo) * q->Cg : q->Cg;
    for (int64_t tw = lo; tw < hi; tw += whole ? hi - lo : 1) {
        const ak_real *at = a + tw * q->tap_w * q->SC, *bt = b + tw * q->Cg * ak__k.nr;
        for (int64_t k0 = 0; k0 < run; k0 += AK__CONV_RUN, add = true)
            ak__k.gemm_direct(ak__min(AK__CONV_RUN, run - k0), at + k0,
                              q->SH * q->SW * q->SC, 1, bt + k0 * ak__k.nr, ak__k.nr, c, q->image,
                              (int)m, n, add);
    }
    return hi > lo;
}

static void across_row(const ak__correlation *q, const ak__phase *f, const across_piece *t,
                       int64_t panel, int64_t jh)
{
    const int64_t nr = ak__k.nr, per_group = ak__ceil_div(q->Dg, nr), group = panel / per_group;
    const int64_t j = panel % per_group * nr, channel = group * q->Dg + j;
    const int64_t h0 = f->h0 - q->top + jh * q->step_h, K = f->TW * q->Cg * nr;
    const int n = (int)ak__min(nr, q->Dg - j);
    const ak_real *src = q->src + t->n0 * q->SH * q->SW * q->SC + group * q->Cg;
    ak_real *row = q->dst + t->n0 * q->image + f->at + jh * q->row + channel;
    int64_t lo, hi;
    ak__conv_inside(h0, q->tap_h, q->SH, f->TH, &lo, &hi);
    for (int64_t jw = 0; jw < f->JW; jw++) {
        const int64_t w = f->w0 - q->left + jw * q->step_w;
        ak_real *c = row + jw * q->pixel;
        bool add = q->accumulate;
        for (int64_t th = lo; th < hi; th++)
            add |= across_taps(q, f, t->m, src + ((h0 + th * q->tap_h) * q->SW + w) * q->SC, w,
                               f->packed + (panel * f->TH + th) * K, c, n, add);
        for (int64_t i = 0; i < t->m && !add; i++)
            memset(c + i * q->image, 0, (size_t)n * sizeof *c);
        if (q->bias)
            ak__k.gemm_finish(c, q->image, (int)t->m, n, q->bias + channel, false);
    }
}

/* A few output rows at a time, of all phases, since they have their source rows in common. */
static void across_rows(const ak__correlation *q, const across_piece *t)
{
    const int64_t step = ak__max(POSITIONS / (q->phase[0].JW * t->m), 1);
    for (int64_t r = t->r0; r < t->r1; r += step)
        for (int64_t p = 0; p < q->phases; p++)
            for (int64_t j = t->j0; j < t->j1; j++)
                for (int64_t i = r; i < ak__min(r + step, t->r1); i++)
                    if (i < q->phase[p].JH)
                        across_row(q, &q->phase[p], t, j, i);
}

/* Bands of output rows: so many that all threads have work. */
static int64_t bands_of(const ak__correlation *q, int64_t tiles)
{
    return ak__min(q->phase[0].JH, ak__ceil_div(64, tiles));
}

static void across_images(const ak__correlation *q, int64_t tiles)
{
    const int64_t panels = panels_of(q), rows = q->phase[0].JH;   /* no other phase has more */
    const int64_t bands = bands_of(q, tiles), cuts = tiles * bands;
    const int64_t shares = ak__conv_shares(cuts, panels);
    const int64_t m = ak__ceil_div(q->N, tiles);     /* the last has fewer images, but some */
    AK__PARALLEL_FOR_DYNAMIC(task, cuts * shares, cuts * shares > 1) {
        const int64_t share = task % shares, band = task / shares % bands;
        const int64_t n0 = task / shares / bands * m;
        const across_piece t = {
            .n0 = n0, .m = ak__min(m, q->N - n0),
            .j0 = share * panels / shares, .j1 = (share + 1) * panels / shares,
            .r0 = band * rows / bands, .r1 = (band + 1) * rows / bands,
        };
        across_rows(q, &t);
        if (q->moments)
            ak__conv_take_moments(q, n0, t.m, t.r0, t.r1,
                                  q->moments + task * ak__moment_numbers(q->pixel));
    }
}

static void correlate(const ak__correlation *q, ak_real *buffers)
{
    const int64_t tiles = image_tiles(q);
    if (tiles)
        across_images(q, tiles);
    else
        along_rows(q, buffers);
}

/* ---- forward --------------------------------------------------------------------------------- */

bool ak__direct_fits_forward(const ak__conv *g)
{
    const int64_t Ig = g->I / g->groups;
    const int64_t run = g->groups == 1 && g->dw == 1 ? g->kW * Ig : Ig;
    return run >= 24 && g->OW >= 4;
}

static size_t forward_carve(const ak__conv *g, const ak__correlation *q, void *scratch,
                            ak_real **packed, ak_real **buffers)
{
    ak__carver area = { .base = scratch };
    *packed = ak__carve_reals(&area, panels_of(q) * ak__conv_k(g) * ak__k.nr);
    *buffers = ak__carve_reals(&area, ak__max_threads() * pad_buffer(q));
    return area.used;
}

/* Where panels are shared out, no thread has whole pixels. */
int64_t ak__direct_moment_parts(const ak__conv *g)
{
    ak__phase phase;
    const ak__correlation q = ak__forward_plan(g, &phase);
    const int64_t tiles = image_tiles(&q);
    const int64_t cuts = tiles ? tiles * bands_of(&q, tiles) : ak__ceil_div(q.N, block_images(&q));
    return ak__conv_shares(cuts, panels_of(&q)) == 1 ? cuts : 0;
}

size_t ak__direct_forward_scratch(const ak__conv *g)
{
    ak__phase phase;
    ak_real *packed, *buffers;
    const ak__correlation q = ak__forward_plan(g, &phase);
    return forward_carve(g, &q, NULL, &packed, &buffers);
}

void ak__direct_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                        const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const int nr = ak__k.nr;
    const int64_t K = ak__conv_k(g), Og = g->O / g->groups, per_group = ak__ceil_div(Og, nr);
    ak__phase phase;
    ak_real *buffers;
    ak__correlation q = ak__forward_plan(g, &phase);
    forward_carve(g, &q, scratch, &phase.packed, &buffers);
    q.src = x;
    q.dst = y;
    q.bias = bias;
    q.accumulate = accumulate;
    AK__PARALLEL_FOR(p, panels_of(&q), g->O * K > 65536) {
        const int64_t j = p % per_group * nr;
        ak__k.gemm_pack(phase.packed + p * K * nr, w + (p / per_group * Og + j) * K, K,
                        ak__min(nr, Og - j), K, nr, false);
    }
    correlate(&q, buffers);
}

/* ---- data gradient --------------------------------------------------------------------------- */

bool ak__direct_fits_data(const ak__conv *g)
{
    const int64_t Og = g->O / g->groups;
    const int64_t taps = ak__max(g->kW / g->sw, 1);
    const int64_t run = g->groups == 1 && g->dw == 1 ? taps * Og : Og;
    return run >= 24 && g->I / g->groups >= 12 && g->W / g->sw >= 4;
}

static size_t data_carve(const ak__conv *g, ak__correlation *q, void *scratch, ak_real **packed,
                         ak_real **buffers)
{
    ak__carver area = { .base = scratch };
    q->phase = ak__carve(&area, q->phases, sizeof *q->phase);
    *packed = ak__carve_reals(&area, panels_of(q) * g->kH * g->kW * q->Cg * ak__k.nr);
    *buffers = ak__carve_reals(&area, ak__max_threads() * pad_buffer(q));
    return area.used;
}

size_t ak__direct_data_scratch(const ak__conv *g)
{
    ak_real *packed, *buffers;
    ak__correlation q = ak__data_plan(g);
    return data_carve(g, &q, NULL, &packed, &buffers);
}

/* Weights of one phase with taps in rising order of the source position. */
static void data_pack(const ak__conv *g, const ak__correlation *q, const ak__phase *f,
                      const ak_real *weights)
{
    const int nr = ak__k.nr;
    const int64_t K = ak__conv_k(g), per_group = ak__ceil_div(q->Dg, nr);
    const int64_t taps = f->TH * f->TW;
    AK__PARALLEL_FOR(p, panels_of(q), g->O * K > 65536) {
        const int64_t group = p / per_group, j = p % per_group * nr;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t tap = ak__conv_tap(g, f, t / f->TW, t % f->TW);
            ak__k.gemm_pack(f->packed + (p * taps + t) * q->Cg * nr,
                            weights + group * q->Cg * K + tap * q->Dg + j, K,
                            ak__min(nr, q->Dg - j), q->Cg, nr, true);
        }
    }
}

void ak__direct_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                     ak_real *dx, bool accumulate, void *scratch)
{
    ak_real *packed, *buffers;
    ak__correlation q = ak__data_plan(g);
    data_carve(g, &q, scratch, &packed, &buffers);
    q.src = dy;
    q.dst = dx;
    q.bias = bias;
    q.accumulate = accumulate;
    for (int64_t p = 0; p < q.phases; p++) {
        ak__phase *f = &q.phase[p];
        *f = ak__data_phase(g, &q, p);
        f->packed = packed;
        data_pack(g, &q, f, w);
        packed += panels_of(&q) * f->TH * f->TW * q.Cg * ak__k.nr;
    }
    correlate(&q, buffers);
}

/* ---- what it costs --------------------------------------------------------------------------- */

/* Time of a multiplication in tiles across images, measured: part of one in padded rows. */
#define ACROSS_TIME 0.83

/* Pairs of an output and a tap of it inside the source, along one axis. */
static int64_t pairs_inside(int64_t size, int64_t out, int64_t kernel, int64_t stride,
                            int64_t padding, int64_t dilation)
{
    int64_t sum = 0, lo, hi;
    for (int64_t k = 0; k < kernel; k++) {
        ak__conv_inside(k * dilation - padding, stride, size, out, &lo, &hi);
        sum += hi - lo;
    }
    return sum;
}

double ak__direct_cost(const ak__conv *g, bool data)
{
    ak__phase phase;
    const ak__correlation q = data ? ak__data_plan(g) : ak__forward_plan(g, &phase);
    if ((data ? ak__direct_fits_data(g) : ak__direct_fits_forward(g)) && image_tiles(&q))
        return ACROSS_TIME * (double)g->N *
               (double)pairs_inside(g->H, g->OH, g->kH, g->sh, g->ph, g->dh) *
               (double)pairs_inside(g->W, g->OW, g->kW, g->sw, g->pw, g->dw);
    const int64_t pixels = data && g->sh == 1 && g->sw == 1 ? g->H * g->W : g->OH * g->OW;
    return (double)(g->kH * g->kW) * (double)(g->N * pixels);
}
