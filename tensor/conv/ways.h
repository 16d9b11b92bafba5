/* SPDX-License-Identifier: Apache-2.0 */
/* The ways of conv.h, each in its own file; private to tensor/conv/. */
#ifndef AK_CONV_WAYS_H
#define AK_CONV_WAYS_H

#include <string.h>

#include "base/carve.h"
#include "base/parallel.h"
#include "base/whole.h"
#include "tensor/conv/conv.h"
#include "tensor/gemm.h"
#include "tensor/moments.h"

/* Longest run of k that the tile takes at once: nr columns of it stay in the first cache. */
#define AK__CONV_RUN 256

/* Positions j in [0, count) with 0 <= start + j*step < size: [*lo, *hi). */
static inline void ak__conv_inside(int64_t start, int64_t step, int64_t size, int64_t count,
                                   int64_t *lo, int64_t *hi)
{
    *lo = start < 0 ? ak__min(ak__ceil_div(-start, step), count) : 0;
    *hi = start >= size ? 0 : ak__min((size - 1 - start) / step + 1, count);
    if (*hi < *lo)
        *hi = *lo;
}

static inline int64_t ak__conv_k(const ak__conv *g) { return g->kH * g->kW * (g->I / g->groups); }

/* So many tasks share the panels of one of `cuts` cuts: more than one where these are few. */
static inline int64_t ak__conv_shares(int64_t cuts, int64_t panels)
{
    return cuts >= 16 ? 1 : ak__min(panels, ak__ceil_div(16, cuts));
}

/* ---- direct.c: a correlation with the register tile on rows of a padded source --------------- */

/* Time of the forward pass or the data gradient for each pair of channels, in multiplications of
 * tiles that run along rows. */
double ak__direct_cost(const ak__conv *g, bool data);
bool   ak__direct_fits_forward(const ak__conv *g);
size_t ak__direct_forward_scratch(const ak__conv *g);
int64_t ak__direct_moment_parts(const ak__conv *g);
void   ak__direct_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                          const ak_real *bias, ak_real *y, bool accumulate, void *scratch);
bool   ak__direct_fits_data(const ak__conv *g);
size_t ak__direct_data_scratch(const ak__conv *g);
void   ak__direct_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                       const ak_real *bias, ak_real *dx, bool accumulate, void *scratch);
/* Copy `count` images from n0 on with zeros around them: [count, PH, PW, SC]. */
void   ak__pad_images(ak_real *out, const ak_real *src, int64_t n0, int64_t count, int64_t SH,
                      int64_t SW, int64_t SC, int64_t top, int64_t left, int64_t PH, int64_t PW);

/* ---- split.c, split_weight.c: split numbers on a matrix unit --------------------------------- */

/* Are there kernels for it, and is the geometry provided for? The passes are right then, whether
 * they are fast or not. */
bool   ak__split_can(const ak__conv *g);
/* Of a pass, in multiplications of a product as the other ways do it. */
double ak__split_cost(const ak__conv *g, bool data);
double ak__split_weight_cost(const ak__conv *g);
size_t ak__split_scratch(const ak__conv *g, bool data);
int64_t ak__split_moment_parts(const ak__conv *g);
void   ak__split_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                         const ak_real *bias, ak_real *y, bool accumulate, void *scratch);
void   ak__split_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                      const ak_real *bias, ak_real *dx, bool accumulate, void *scratch);
size_t ak__split_weight_scratch(const ak__conv *g);
void   ak__split_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                        bool accumulate, void *scratch);

/* ---- direct_weight.c ------------------------------------------------------------------------- */

size_t ak__direct_weight_scratch(const ak__conv *g);
void   ak__direct_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                         bool accumulate, void *scratch);
/* Images per chunk of a weight gradient with `numbers` weights. */
int64_t ak__weight_chunk(const ak__conv *g, int64_t numbers);
/* dw = (dw +) sum of parts [chunks][numbers], in order. If transposed, each part is [K][O]. */
void   ak__weight_total(const ak__conv *g, const ak_real *part, int64_t chunks, ak_real *dw,
                        bool accumulate, bool transposed);

/* ---- patches.c ------------------------------------------------------------------------------- */

size_t ak__patches_forward_scratch(const ak__conv *g);
int64_t ak__patches_moment_parts(const ak__conv *g);
void   ak__patches_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate, void *scratch);
size_t ak__patches_data_scratch(const ak__conv *g);
void   ak__patches_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate, void *scratch);
size_t ak__patches_weight_scratch(const ak__conv *g);
void   ak__patches_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                          bool accumulate, void *scratch);

/* ---- plain.c: results that another way could not hold ---------------------------------------- */

/* Channels [d, d + count) of a pixel of y, counted through all images; with `data` of dx, and src
 * is dy. */
void   ak__plain_pixel(const ak__conv *g, bool data, const ak_real *src, const ak_real *w,
                       int64_t pixel, int64_t d, int64_t count, ak_real *sums);
/* dst = (accumulate: dst +) sums + bias (NULL: 0). */
void   ak__plain_put(ak_real *dst, const ak_real *sums, int64_t n, const ak_real *bias,
                     bool accumulate);
/* sums[tap][count] += dy of a pixel and channel o times channels [i, i + count) of its patch. */
void   ak__plain_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, int64_t pixel,
                        int64_t o, int64_t i, int64_t count, ak_real *sums);
bool   ak__all_finite(const ak_real *x, int64_t n);

/* ---- depthwise.c ----------------------------------------------------------------------------- */

size_t ak__depthwise_scratch(const ak__conv *g);
void   ak__depthwise_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                             const ak_real *bias, ak_real *y, bool accumulate, void *scratch);
void   ak__depthwise_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                          const ak_real *bias, ak_real *dx, bool accumulate, void *scratch);
size_t ak__depthwise_weight_scratch(const ak__conv *g);
void   ak__depthwise_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                            bool accumulate, void *scratch);

/* ---- winograd.c: 3x3, stride 1 or 2, by tiles (tensor/kernels/winograd.h) -------------------- */

/* Results [N, H, W] in tiles of m x m (pairs of) results. So that few are made in vain, the last
 * tiles of a row or column are short by one: 14 = 4 + 4 + 3 + 3. A tile that has (i, j) results
 * before it starts at result (i step - over, j step - beside) and at (i from - top, j from - left)
 * of the source. */
typedef struct ak__tiling {
    int     stride, m;
    int     side, points;       /* points of a side, and of a tile: side side */
    int     weights;            /* different weights of them */
    int64_t N, H, W, SH, SW;
    int64_t TH, TW, total;      /* tiles of an image, and of all */
    int64_t FH, FW;             /* rows and columns of tiles that are not short */
    int64_t step, over, beside;
    int64_t from, top, left;
    int     source, result;     /* sides of a tile in both */
} ak__tiling;

/* The tiles of a block in an order in which those that have a point are neighbours. */
typedef struct ak__tile_order {
    int32_t *tile;              /* place of each, counted from the block's first */
    int64_t  from[5];           /* where kinds of tiles begin: see ak__winograd_range */
} ak__tile_order;

/* The side m of the least work for this pass; 0: another way is faster.
 * `data`: of the data gradient, whose results are x's pixels. */
int  ak__winograd_side(const ak__conv *g, bool data);
/* Of a pass, in multiplications of a product. */
double ak__winograd_cost(const ak__conv *g, int m, bool data);
ak__tiling ak__winograd_tiling(const ak__conv *g, int m, bool data);
/* The weight that point p of a tile has. */
int  ak__winograd_weight_index(const ak__tiling *q, int p);
/* Order tiles [first, first + count); o->tile has room for them. */
void ak__winograd_order(const ak__tiling *q, int64_t first, int64_t count, ak__tile_order *o);
/* Places [*lo, *hi) of the tiles that have point p. */
void ak__winograd_range(const ak__tiling *q, const ak__tile_order *o, int p, int64_t *lo,
                        int64_t *hi);
/* The pixels of tile i in the results, or in the source: [N, H, W, C] at x. */
ak__winograd_square ak__winograd_results(const ak__tiling *q, const ak_real *x, int64_t C,
                                         int64_t i);
ak__winograd_square ak__winograd_source(const ak__tiling *q, const ak_real *x, int64_t C,
                                        int64_t i);
/* A transformed tile (or kernel): its points lie `plane` apart, `side` in a row. */
ak__winograd_square ak__winograd_planes(ak_real *x, int64_t plane, int side);
/* Leading dimension of rows of `channels` numbers: rows start in different sets of the cache, and
 * the register tile may read whole vectors past the last channel. */
int64_t ak__winograd_ld(int64_t channels);

/* The passes with a given m, whatever ak__winograd_side says: right for every 3x3 of stride 1,
 * and with m = 4 for both of these in every one of stride 2. */
size_t ak__winograd_scratch(const ak__conv *g, int m, bool data);
int64_t ak__winograd_moment_parts(const ak__conv *g, int m);
void   ak__winograd_forward(const ak__conv *g, int m, const ak_real *x, const ak_real *w,
                            const ak_real *bias, ak_real *y, bool accumulate, void *scratch);
void   ak__winograd_data(const ak__conv *g, int m, const ak_real *dy, const ak_real *w,
                         const ak_real *bias, ak_real *dx, bool accumulate, void *scratch);

/* ---- winograd_weight.c: stride 1 only; with stride 2 plain sums are faster ------------------- */

size_t ak__winograd_weight_scratch(const ak__conv *g, int m);
void   ak__winograd_weight(const ak__conv *g, int m, const ak_real *x, const ak_real *dy,
                           ak_real *dw, bool accumulate, void *scratch);

#endif
