/* SPDX-License-Identifier: Apache-2.0 */
/* Weight gradient of the direct way: dW[o, k] = sum over pixels p of dY[p, o] patch[p, k].
 *
 * Pixels are the long inner dimension. They are taken in blocks that run over output rows and
 * images; for a block, dY is packed once for all columns, and each panel of patch columns, which
 * lie side by side in the padded picture, is packed once for all rows. Chunks of images have
 * their own result, which are added in order; how many there are depends on the shape alone. */
#include "tensor/conv_paths.h"

#define PIXEL_BLOCK 256

int64_t ak__weight_chunk(const ak__conv *g, int64_t numbers)
{
    /* at most 32 chunks and about a million numbers in all */
    const int64_t chunks = ak__conv_min(ak__conv_max(1048576 / numbers, 1), 32);
    return ak__conv_up(g->N, chunks);
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

/* What is worked out once: extents, blocks, panels. */
typedef struct weight_plan {
    int64_t PH, PW;
    int64_t block;              /* images that are padded at once */
    int64_t chunk, chunks;      /* images a chunk, and how many */
    int64_t runs, run;          /* runs of patch columns, and their length */
    int64_t run_panels;         /* panels of a run */
    int64_t panels, shares;     /* all panels of all groups; how many tasks share them */
    int64_t Ig, Og, tiles;      /* row tiles of a group */
    bool    pad;
} weight_plan;

static weight_plan plan_weight(const ak__conv *g)
{
    weight_plan p = { .Ig = g->I / g->groups, .Og = g->O / g->groups };
    const bool whole = g->groups == 1 && g->dw == 1;
    p.PH = (g->OH - 1) * g->sh + (g->kH - 1) * g->dh + 1;
    p.PW = (g->OW - 1) * g->sw + (g->kW - 1) * g->dw + 1;
    p.pad = g->ph != 0 || g->pw != 0;
    const int64_t one = p.PH * p.PW * g->I * (int64_t)sizeof(ak_real);
    p.block = ak__conv_min(ak__conv_max(262144 / one, 1), 16);
    p.chunk = ak__weight_chunk(g, g->O * ak__conv_k(g));
    p.chunks = ak__conv_up(g->N, p.chunk);
    p.runs = whole ? g->kH : g->kH * g->kW;
    p.run = whole ? g->kW * p.Ig : p.Ig;
    p.run_panels = ak__conv_up(p.run, ak__k.nr);
    p.panels = g->groups * p.runs * p.run_panels;
    p.shares = ak__conv_min(p.panels, ak__conv_up(16, p.chunks));
    p.tiles = ak__conv_up(p.Og, ak__k.mr);
    return p;
}

typedef struct weight_buffers {
    ak_real *part;              /* [chunks][O K] */
    ak_real *padded, *left, *right;     /* of one thread: images, packed dY, packed patches */
} weight_buffers;

static size_t carve_weight(const ak__conv *g, const weight_plan *p, void *scratch, int thread,
                           weight_buffers *b)
{
    ak__carve area = { .base = scratch };
    *b = (weight_buffers){ .part = ak__carve_reals(&area, p->chunks * g->O * ak__conv_k(g)) };
    for (int t = 0; t <= thread; t++) {
        b->padded = ak__carve_reals(&area, p->pad ? p->block * p->PH * p->PW * g->I : 0);
        b->left = ak__carve_reals(&area, g->groups * p->tiles * ak__k.mr * PIXEL_BLOCK);
        b->right = ak__carve_reals(&area, (int64_t)ak__k.nr * PIXEL_BLOCK);
    }
    return area.used;
}

size_t ak__direct_weight_scratch(const ak__conv *g)
{
    const weight_plan p = plan_weight(g);
    weight_buffers b;
    return carve_weight(g, &p, NULL, ak__max_threads() - 1, &b);
}

/* Pixels [p0, p0+count) of the block (images x OH x OW) by n patch columns at `rows`. */
static void pack_columns(const ak__conv *g, const ak_real *rows, int64_t PH, int64_t PW,
                         int64_t p0, int64_t count, int n, ak_real *out)
{
    const int nr = ak__k.nr;
    for (int64_t done = 0; done < count;) {
        const int64_t p = p0 + done, ow = p % g->OW, oh = p / g->OW % g->OH;
        const int64_t image = p / (g->OW * g->OH);
        const int64_t some = ak__conv_min(g->OW - ow, count - done);
        ak__k.gemm_pack(out + done * nr,
                        rows + ((image * PH + oh * g->sh) * PW + ow * g->sw) * g->I, g->sw * g->I,
                        n, some, nr, true);
        done += some;
    }
}

/* One block of pixels: dy points at its first pixel. */
static void weight_block(const ak__conv *g, const weight_plan *p, const weight_buffers *b,
                         const ak_real *rows, int64_t PH, int64_t PW, const ak_real *dy,
                         int64_t p0, int64_t count, int64_t share, ak_real *part, bool add)
{
    const int mr = ak__k.mr, nr = ak__k.nr;
    const int64_t K = ak__conv_k(g), group_panels = p->runs * p->run_panels;
    for (int64_t t = 0; t < g->groups * p->tiles; t++) {
        const int64_t o = t / p->tiles * p->Og + t % p->tiles * mr;
        ak__k.gemm_pack(b->left + t * mr * PIXEL_BLOCK, dy + o, g->O,
                        ak__conv_min(mr, p->Og - t % p->tiles * mr), count, mr, true);
    }
    const int64_t last = (share + 1) * p->panels / p->shares;
    for (int64_t j = share * p->panels / p->shares; j < last; j++) {
        const int64_t group = j / group_panels, r = j % group_panels / p->run_panels;
        const int64_t k = j % p->run_panels * nr;
        const int n = (int)ak__conv_min(nr, p->run - k);
        const int64_t kh = p->runs == g->kH ? r : r / g->kW;
        const int64_t kw = p->runs == g->kH ? 0 : r % g->kW;
        pack_columns(g, rows + (kh * g->dh * PW + kw * g->dw) * g->I + group * p->Ig + k, PH, PW,
                     p0, count, n, b->right);
        for (int64_t t = 0; t < p->tiles; t++)
            ak__k.gemm_tile(count, b->left + (group * p->tiles + t) * mr * PIXEL_BLOCK, b->right,
                            part + (group * p->Og + t * mr) * K + r * p->run + k, K,
                            (int)ak__conv_min(mr, p->Og - t * mr), n, add);
    }
}

static void weight_chunk(const ak__conv *g, const weight_plan *p, const weight_buffers *b,
                         const ak_real *x, const ak_real *dy, int64_t chunk, int64_t share)
{
    const int64_t first = chunk * p->chunk, last = ak__conv_min(first + p->chunk, g->N);
    const int64_t pixels = g->OH * g->OW;
    ak_real *part = b->part + chunk * g->O * ak__conv_k(g);
    bool add = false;
    for (int64_t n0 = first; n0 < last; n0 += p->block) {
        const int64_t images = ak__conv_min(p->block, last - n0);
        const ak_real *rows = x + n0 * g->H * g->W * g->I;
        if (p->pad) {
            ak__pad_images(b->padded, x, n0, images, g->H, g->W, g->I, g->ph, g->pw, p->PH, p->PW);
            rows = b->padded;
        }
        for (int64_t p0 = 0; p0 < images * pixels; p0 += PIXEL_BLOCK) {
            const int64_t count = ak__conv_min(PIXEL_BLOCK, images * pixels - p0);
            weight_block(g, p, b, rows, p->pad ? p->PH : g->H, p->pad ? p->PW : g->W,
                         dy + (n0 * pixels + p0) * g->O, p0, count, share, part, add);
            add = true;
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
