/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution by blocks of patches, for what the direct way does badly: few input channels (a
 * kernel row is then too short for the register tile) and very narrow maps.
 *
 * Patches of a block of pixels are gathered into a buffer that stays in cache and multiplied
 * there; the whole patch matrix never exists. With one input channel the buffer is [K][pixels]
 * (runs of pixels are contiguous in the picture), else [pixels][K]. The data gradient multiplies
 * dY by the weights a block at a time and adds the products where the patches came from. */
#include "tensor/conv/ways.h"

/* ---- gathering ------------------------------------------------------------------------------- */

/* Pixels of a block, and the leading dimension of the buffer. */
typedef struct patch_plan {
    int64_t K, Ig, Og;
    int64_t block;              /* pixels */
    int64_t ld;
    bool    k_major;            /* [K][ld >= block], else [block][ld >= K] */
} patch_plan;

static patch_plan plan_patches(const ak__conv *g)
{
    patch_plan p = { .K = ak__conv_k(g), .Ig = g->I / g->groups, .Og = g->O / g->groups };
    const int64_t mr = ak__k.mr, nr = ak__k.nr;
    p.k_major = g->I == 1;
    const int64_t wide = ak__round_to(p.K, nr);
    p.block = ak__max(ak__min(8192 / wide, 512) / mr * mr, 4 * mr);
    if (p.k_major && g->OW < p.block)   /* whole output rows */
        p.block = p.block / g->OW * g->OW;
    p.ld = p.k_major ? ak__round_to(p.block, nr) : wide;
    return p;
}

static inline void copy_run(ak_real *to, const ak_real *from, int64_t n)
{
    if (n > 32) {
        memcpy(to, from, (size_t)n * sizeof *to);
    } else {
        for (int64_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

static inline void zero_run(ak_real *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = 0;
}

/* One patch of one group into out[K]. */
static void gather_patch(const ak__conv *g, const ak_real *image, int64_t oh, int64_t ow,
                         int64_t group, ak_real *out)
{
    const int64_t Ig = g->I / g->groups, run = g->kW * Ig;
    const int64_t ih0 = oh * g->sh - g->ph, iw0 = ow * g->sw - g->pw;
    const bool whole = g->groups == 1 && g->dw == 1;
    int64_t lo, hi;
    ak__conv_inside(iw0, g->dw, g->W, g->kW, &lo, &hi);
    for (int64_t kh = 0; kh < g->kH; kh++, out += run) {
        const int64_t ih = ih0 + kh * g->dh;
        if (ih < 0 || ih >= g->H) {
            zero_run(out, run);
            continue;
        }
        const ak_real *row = image + ih * g->W * g->I + group * Ig;
        zero_run(out, lo * Ig);
        if (whole)
            copy_run(out + lo * Ig, row + (iw0 + lo) * g->I, (hi - lo) * Ig);
        else
            for (int64_t kw = lo; kw < hi; kw++)
                copy_run(out + kw * Ig, row + (iw0 + kw * g->dw) * g->I, Ig);
        zero_run(out + hi * Ig, run - hi * Ig);
    }
}

/* One channel: `count` pixels from (oh, ow) on within an output row into columns of out[K][ld]. */
static void gather_columns(const ak__conv *g, const ak_real *image, int64_t oh, int64_t ow,
                           int64_t count, ak_real *out, int64_t ld)
{
    for (int64_t k = 0; k < g->kH * g->kW; k++, out += ld) {
        const int64_t ih = oh * g->sh - g->ph + k / g->kW * g->dh;
        const int64_t iw = ow * g->sw - g->pw + k % g->kW * g->dw;
        int64_t lo = 0, hi = 0;
        if (ih >= 0 && ih < g->H)
            ak__conv_inside(iw, g->sw, g->W, count, &lo, &hi);
        const ak_real *from = image + ih * g->W + iw;
        zero_run(out, lo);
        if (g->sw == 1)
            copy_run(out + lo, from + lo, hi - lo);
        else
            for (int64_t j = lo; j < hi; j++)
                out[j] = from[j * g->sw];
        zero_run(out + hi, count - hi);
    }
}

/* Patches of pixels [p0, p0+count), counted through all images. */
static void gather(const ak__conv *g, const patch_plan *p, const ak_real *x, int64_t p0,
                   int64_t count, int64_t group, ak_real *out)
{
    for (int64_t done = 0; done < count;) {
        const int64_t at = p0 + done, ow = at % g->OW, oh = at / g->OW % g->OH;
        const ak_real *image = x + at / (g->OW * g->OH) * g->H * g->W * g->I;
        const int64_t some = ak__min(g->OW - ow, count - done);
        if (p->k_major)
            gather_columns(g, image, oh, ow, some, out + done, p->ld);
        else
            for (int64_t i = 0; i < some; i++)
                gather_patch(g, image, oh, ow + i, group, out + (done + i) * p->ld);
        done += some;
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

static int64_t patch_numbers(const patch_plan *p)
{
    return p->k_major ? p->K * p->ld : p->block * p->ld;
}

static size_t carve_forward(const ak__conv *g, const patch_plan *p, void *scratch,
                            ak_real **packed, ak_real **patches, int thread)
{
    ak__carver area = { .base = scratch };
    *patches = NULL;
    *packed = ak__carve_reals(&area, g->groups * ak__ceil_div(p->Og, ak__k.nr) * p->K * ak__k.nr);
    for (int t = 0; t <= thread; t++)
        *patches = ak__carve_reals(&area, patch_numbers(p));
    return area.used;
}

size_t ak__patches_forward_scratch(const ak__conv *g)
{
    const patch_plan p = plan_patches(g);
    ak_real *packed, *patches;
    return carve_forward(g, &p, NULL, &packed, &patches, ak__max_threads() - 1);
}

int64_t ak__patches_moment_parts(const ak__conv *g)
{
    const patch_plan p = plan_patches(g);
    return ak__chunk_count(g->N * g->OH * g->OW, p.block);
}

/* Products of the gathered block with all panels of a group; y at the block's first pixel. */
static void forward_block(const ak__conv *g, const patch_plan *p, const ak_real *patches,
                          const ak_real *packed, const ak_real *bias, int64_t count, int64_t group,
                          ak_real *y, bool accumulate)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    const int64_t rs = p->k_major ? 1 : p->ld, cs = p->k_major ? p->ld : 1;
    const int64_t panels = ak__ceil_div(p->Og, nr);
    for (int64_t j = 0; j < panels; j++) {
        const int64_t channel = group * p->Og + j * nr;
        const int n = (int)ak__min(nr, p->Og - j * nr);
        const ak_real *b = packed + (group * panels + j) * p->K * nr;
        for (int64_t k0 = 0; k0 < p->K; k0 += AK__CONV_RUN) {
            const int64_t nk = ak__min(AK__CONV_RUN, p->K - k0);
            for (int64_t i = 0; i < count; i += mr)
                ak__k.gemm_direct(nk, patches + i * rs + k0 * cs, rs, cs, b + k0 * nr, nr,
                                  y + i * g->O + channel, g->O,
                                  (int)ak__min(mr, count - i), n, accumulate || k0 > 0);
        }
        if (bias)
            ak__k.gemm_finish(y + channel, g->O, (int)count, n, bias + channel, false);
    }
}

void ak__patches_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                         const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const patch_plan p = plan_patches(g);
    const int nr = ak__k.nr;
    const int64_t panels = ak__ceil_div(p.Og, nr), pixels = g->N * g->OH * g->OW;
    ak_real *packed, *unused;
    carve_forward(g, &p, scratch, &packed, &unused, 0);
    for (int64_t j = 0; j < g->groups * panels; j++)
        ak__k.gemm_pack(packed + j * p.K * nr,
                        w + (j / panels * p.Og + j % panels * nr) * p.K, p.K,
                        ak__min(nr, p.Og - j % panels * nr), p.K, nr, false);
    AK__PARALLEL_FOR_DYNAMIC(task, ak__chunk_count(pixels, p.block), pixels > p.block) {
        ak_real *weights, *patches;
        carve_forward(g, &p, scratch, &weights, &patches, ak__thread_id());
        const int64_t p0 = task * p.block, count = ak__min(p.block, pixels - p0);
        for (int64_t group = 0; group < g->groups; group++) {
            gather(g, &p, x, p0, count, group, patches);
            forward_block(g, &p, patches, weights, bias, count, group, y + p0 * g->O, accumulate);
        }
        if (g->moments) {
            ak_real *part = g->moments + task * ak__moment_numbers(g->O);
            ak__moments_begin(part, y + p0 * g->O, g->O);
            ak__moments_add(part, y + p0 * g->O, count, g->O);
        }
    }
}

/* ---- data gradient --------------------------------------------------------------------------- */

/* dY rows times weights: products [block][ld] for one group at a time. */
static size_t carve_data(const ak__conv *g, const patch_plan *p, void *scratch, ak_real **packed,
                         ak_real **products, int thread)
{
    ak__carver area = { .base = scratch };
    *products = NULL;
    *packed = ak__carve_reals(&area, g->groups * ak__ceil_div(p->K, ak__k.nr) * p->Og * ak__k.nr);
    for (int t = 0; t <= thread; t++)
        *products = ak__carve_reals(&area, p->block * ak__round_to(p->K, ak__k.nr));
    return area.used;
}

size_t ak__patches_data_scratch(const ak__conv *g)
{
    const patch_plan p = plan_patches(g);
    ak_real *packed, *products;
    return carve_data(g, &p, NULL, &packed, &products, ak__max_threads() - 1);
}

static void data_products(const ak__conv *g, const patch_plan *p, const ak_real *packed,
                          const ak_real *dy, int64_t count, int64_t group, int64_t ld,
                          ak_real *products)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    const int64_t panels = ak__ceil_div(p->K, nr);
    for (int64_t j = 0; j < panels; j++) {
        const ak_real *b = packed + (group * panels + j) * p->Og * nr;
        const int n = (int)ak__min(nr, p->K - j * nr);
        for (int64_t k0 = 0; k0 < p->Og; k0 += AK__CONV_RUN)
            for (int64_t i = 0; i < count; i += mr)
                ak__k.gemm_direct(ak__min(AK__CONV_RUN, p->Og - k0),
                                  dy + i * g->O + group * p->Og + k0, g->O, 1, b + k0 * nr, nr,
                                  products + i * ld + j * nr, ld,
                                  (int)ak__min(mr, count - i), n, k0 > 0);
    }
}

/* dx[where the patch of pixel (oh, ow) came from] += products[K] */
static void scatter_patch(const ak__conv *g, const ak_real *products, int64_t oh, int64_t ow,
                          int64_t group, ak_real *image)
{
    const int64_t Ig = g->I / g->groups;
    const int64_t ih0 = oh * g->sh - g->ph, iw0 = ow * g->sw - g->pw;
    const bool whole = g->groups == 1 && g->dw == 1;
    int64_t lo, hi;
    ak__conv_inside(iw0, g->dw, g->W, g->kW, &lo, &hi);
    for (int64_t kh = 0; kh < g->kH; kh++) {
        const int64_t ih = ih0 + kh * g->dh;
        if (ih < 0 || ih >= g->H)
            continue;
        const ak_real *from = products + kh * g->kW * Ig;
        ak_real *row = image + ih * g->W * g->I + group * Ig;
        if (whole) {
            ak_real *to = row + iw0 * g->I;
            for (int64_t i = lo * Ig; i < hi * Ig; i++)
                to[i] += from[i];
            continue;
        }
        for (int64_t kw = lo; kw < hi; kw++)
            for (int64_t i = 0; i < Ig; i++)
                row[(iw0 + kw * g->dw) * g->I + i] += from[kw * Ig + i];
    }
}

static void data_image(const ak__conv *g, const patch_plan *p, const ak_real *packed,
                       const ak_real *dy, const ak_real *bias, ak_real *dx, bool accumulate,
                       ak_real *products)
{
    const int64_t ld = ak__round_to(p->K, ak__k.nr), pixels = g->OH * g->OW;
    if (!accumulate)
        memset(dx, 0, (size_t)(g->H * g->W * g->I) * sizeof *dx);
    for (int64_t p0 = 0; p0 < pixels; p0 += p->block) {
        const int64_t count = ak__min(p->block, pixels - p0);
        for (int64_t group = 0; group < g->groups; group++) {
            data_products(g, p, packed, dy + p0 * g->O, count, group, ld, products);
            for (int64_t i = 0; i < count; i++)
                scatter_patch(g, products + i * ld, (p0 + i) / g->OW, (p0 + i) % g->OW, group,
                              dx);
        }
    }
    if (bias)
        ak__k.gemm_finish(dx, g->I, (int)(g->H * g->W), g->I, bias, false);
}

void ak__patches_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                      const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    const patch_plan p = plan_patches(g);
    const int nr = ak__k.nr;
    const int64_t panels = ak__ceil_div(p.K, nr);
    ak_real *packed, *unused;
    carve_data(g, &p, scratch, &packed, &unused, 0);
    for (int64_t j = 0; j < g->groups * panels; j++)
        ak__k.gemm_pack(packed + j * p.Og * nr, w + j / panels * p.Og * p.K + j % panels * nr,
                        p.K, ak__min(nr, p.K - j % panels * nr), p.Og, nr, true);
    AK__PARALLEL_FOR_DYNAMIC(n, g->N, ak__conv_flops(g) > 1e5) {
        ak_real *weights, *products;
        carve_data(g, &p, scratch, &weights, &products, ak__thread_id());
        data_image(g, &p, weights, dy + n * g->OH * g->OW * g->O, bias,
                   dx + n * g->H * g->W * g->I, accumulate, products);
    }
}

/* ---- weight gradient ------------------------------------------------------------------------- */

static size_t carve_weight_parts(const ak__conv *g, const patch_plan *p, void *scratch,
                                 ak_real **part, ak_real **patches, ak_real **edge, int thread)
{
    ak__carver area = { .base = scratch };
    const int64_t numbers = g->O * p->K, chunk = ak__weight_chunk(g, numbers);
    *patches = *edge = NULL;
    *part = ak__carve_reals(&area, ak__ceil_div(g->N, chunk) * numbers);
    for (int t = 0; t <= thread; t++) {
        *patches = ak__carve_reals(&area, patch_numbers(p));
        *edge = ak__carve_reals(&area, p->k_major ? p->block * ak__k.nr : 0);
    }
    return area.used;
}

size_t ak__patches_weight_scratch(const ak__conv *g)
{
    const patch_plan p = plan_patches(g);
    ak_real *part, *patches, *edge;
    return carve_weight_parts(g, &p, NULL, &part, &patches, &edge, ak__max_threads() - 1);
}

/* part[K][O] += patches[K][count] dY[count][O]: one channel. */
static void weight_columns(const ak__conv *g, const patch_plan *p, const ak_real *patches,
                           const ak_real *dy, int64_t count, ak_real *edge, ak_real *part,
                           bool add)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    for (int64_t o = 0; o < g->O; o += nr) {
        const int n = (int)ak__min(nr, g->O - o);
        const ak_real *b = dy + o;
        int64_t ldb = g->O;
        if (n < nr) {           /* the tile reads whole rows: a copy with zeros at the edge */
            ak__k.gemm_pack(edge, dy + o, g->O, n, count, nr, true);
            b = edge;
            ldb = nr;
        }
        for (int64_t k = 0; k < p->K; k += mr)
            ak__k.gemm_direct(count, patches + k * p->ld, p->ld, 1, b, ldb, part + k * g->O + o,
                              g->O, (int)ak__min(mr, p->K - k), n, add);
    }
}

/* part[O][K] += dY^T patches for one group. */
static void weight_rows(const ak__conv *g, const patch_plan *p, const ak_real *patches,
                        const ak_real *dy, int64_t count, int64_t group, ak_real *part, bool add)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    for (int64_t k = 0; k < p->K; k += nr)
        for (int64_t o = 0; o < p->Og; o += mr)
            ak__k.gemm_direct(count, dy + group * p->Og + o, 1, g->O, patches + k, p->ld,
                              part + (group * p->Og + o) * p->K + k, p->K,
                              (int)ak__min(mr, p->Og - o), (int)ak__min(nr, p->K - k),
                              add);
}

void ak__patches_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                        bool accumulate, void *scratch)
{
    const patch_plan p = plan_patches(g);
    const int64_t numbers = g->O * p.K, chunk = ak__weight_chunk(g, numbers);
    const int64_t chunks = ak__ceil_div(g->N, chunk), pixels = g->OH * g->OW;
    AK__PARALLEL_FOR_DYNAMIC(task, chunks, chunks > 1) {
        ak_real *part, *patches, *edge;
        carve_weight_parts(g, &p, scratch, &part, &patches, &edge, ak__thread_id());
        part += task * numbers;
        const int64_t first = task * chunk * pixels;
        const int64_t last = ak__min((task + 1) * chunk, g->N) * pixels;
        for (int64_t p0 = first; p0 < last; p0 += p.block) {
            const int64_t count = ak__min(p.block, last - p0);
            for (int64_t group = 0; group < g->groups; group++) {
                gather(g, &p, x, p0, count, group, patches);
                if (p.k_major)
                    weight_columns(g, &p, patches, dy + p0 * g->O, count, edge, part,
                                   p0 > first);
                else
                    weight_rows(g, &p, patches, dy + p0 * g->O, count, group, part, p0 > first);
            }
        }
    }
    ak__weight_total(g, scratch, chunks, dw, accumulate, p.k_major);
}
