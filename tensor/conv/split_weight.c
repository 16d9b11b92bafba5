/* SPDX-License-Identifier: Apache-2.0 */
/* Weight gradient of split numbers: dW[o, tap, c] = sum over pixels f of dY[f, o] x[f + tap, c].
 *
 * dY has a place for each result of the planes (planes.h), also for those in vain, where it is
 * zero; so f runs over a block without a break, and a tap is a shift of the planes. The matrix unit
 * takes pairs of pixels: the pixel of one image and the same of the next one, so that every shift
 * leaves the pairs as they are. What is an image below, with `n`, is such a pair.
 * Chunks of images have their own result; they are added in order (direct_weight.c). */
#include "tensor/conv/planes.h"

/* Steps of 16 pairs whose products are one sum. */
#define SPLIT_STEPS 4
/* Bytes of planes of a block. */
#define BLOCK_BYTES (800 << 10)
/* Pairs of results of a block, if several images fit. */
#define BLOCK_RESULTS 128
/* Tasks that there should be, so that several threads have work. */
#define TASKS 4
/* Of a step of a panel of dY. */
#define PANEL_BYTES (AK_SPLIT_SIZE(1) * (int64_t)sizeof(ak_real))

typedef struct split_weight {
    ak__correlation q;                  /* of pairs of images of a chunk; dst is dY */
    ak__phase       phase;
    ak__planes      planes;
    int64_t         steps;              /* of 16 pairs of a block */
    int64_t         panels, shares;     /* of 32 channels of dY; how many tasks share them */
    int64_t         chunk, chunks;      /* images a chunk, and how many */
    int64_t        *at;                 /* steps of a tap */
    ak_real        *parts;              /* [chunks][O K] */
    char           *split, *left;       /* of a thread: planes, a panel of dY */
    ak_real        *pairs;              /* and dY in steps */
} split_weight;

static size_t plan_weight(split_weight *s, const ak__conv *g, void *scratch, int thread)
{
    const int64_t numbers = g->O * ak__conv_k(g), chunk = ak__weight_chunk(g, numbers);
    ak__carver area = { .base = scratch };
    *s = (split_weight){ .chunk = ak__round_to(chunk, 2) };
    s->q = ak__forward_plan(g, &s->phase);
    s->q.phase = &s->phase;
    s->q.N = s->chunk / 2;
    s->q.image *= 2;
    s->chunks = ak__ceil_div(g->N, s->chunk);
    s->planes = ak__planes_plan(&s->q, AK_SPLIT_LINE, ak__ceil_div(g->I, 16), BLOCK_BYTES,
                                BLOCK_RESULTS);
    s->planes.image *= 2;
    s->steps = s->planes.results / 16;
    s->panels = ak__ceil_div(g->O, AK_SPLIT_SIDE);
    s->shares = ak__min(s->panels, ak__ceil_div(TASKS, s->chunks));
    s->at = ak__carve(&area, s->steps, sizeof *s->at);
    s->parts = ak__carve_reals(&area, s->chunks * numbers);
    for (int t = 0; t <= thread; t++) {
        s->split = ak__carve(&area, s->planes.bytes, 1);
        s->left = ak__carve(&area, s->steps * PANEL_BYTES, 1);
        s->pairs = ak__carve_reals(&area, s->steps * 32 * g->O);
    }
    return area.used;
}

size_t ak__split_weight_scratch(const ak__conv *g)
{
    split_weight s;
    return plan_weight(&s, g, NULL, ak__max_threads() - 1);
}

/* Images that pair n has: the last may have one only. */
static int64_t images_of(const ak__conv *g, int64_t first, int64_t n)
{
    return ak__min(g->N - first - 2 * n, 2);
}

/* Lines of 16 channels, a layer of the planes each. q->N says how many images there are. */
static void pair_run(char *to, const ak__planes *p, const ak__correlation *q, int64_t n,
                     const ak_real *from, int64_t ld, int64_t count)
{
    const bool both = 2 * n + 1 < q->N;
    for (int64_t c = 0; c < q->SC; c += 16, to += p->layer) {
        const int m = (int)ak__min(q->SC - c, 16);
        ak__k.split_lines(to, p->pixel, from + c, from + (both ? p->image / 2 : 0) + c, ld, count,
                          m, both ? m : 0);
    }
}

/* `count` pixels of a row of dY, the first for place f: 16 of an image, then 16 of the other one,
 * are a step. */
static void lay_row(ak_real *pairs, int64_t f, int other, const ak_real *from, int64_t count,
                    int64_t O)
{
    while (count > 0) {
        const int64_t some = ak__min(16 - f % 16, count);
        ak_real *to = pairs + (f / 16 * 32 + 16 * other + f % 16) * O;
        if (from)
            memcpy(to, from, (size_t)(some * O) * sizeof *to);
        else
            memset(to, 0, (size_t)(some * O) * sizeof *to);
        f += some;
        count -= some;
        from = from ? from + some * O : NULL;
    }
}

/* dY of a block with zeros for results in vain; its steps. */
static int64_t lay_results(const split_weight *s, const ak__conv *g, const ak__plane_block *b,
                           int64_t first)
{
    const ak__planes *p = &s->planes;
    const int64_t rows = ak__planes_rows(p, b, &s->phase);
    const int64_t all = ak__planes_results(p, &s->phase, b->images, rows);
    const int64_t steps = ak__ceil_div(all, 16);
    for (int other = 0; other < 2; other++) {
        int64_t f = 0;
        for (int64_t r = 0; r < b->images * rows; r++) {
            const int64_t n = b->n0 + r / rows, at = (r / rows * p->rows + r % rows) * p->columns;
            const ak_real *row = s->q.dst + n * s->q.image + (b->j0 + r % rows) * s->q.row;
            lay_row(s->pairs, f, other, NULL, at - f, g->O);
            lay_row(s->pairs, at, other,
                    other < images_of(g, first, n) ? row + other * s->q.image / 2 : NULL, g->OW,
                    g->O);
            f = at + g->OW;
        }
        lay_row(s->pairs, f, other, NULL, steps * 16 - f, g->O);
    }
    return steps;
}

/* Channels of panel j of dY by all taps and channels of x: added to the part. */
static void multiply_panel(const split_weight *s, const ak__conv *g, int64_t j, int64_t steps,
                           ak_real *part, bool add, ak__ahead *ahead)
{
    const int64_t o = j * AK_SPLIT_SIDE, n = ak__min(AK_SPLIT_SIDE, g->O - o);
    const int64_t K = ak__conv_k(g), blocks = ak__ceil_div(steps, SPLIT_STEPS);
    const ak__planes *p = &s->planes;
    ak__k.split_pack(s->left, s->pairs + o, g->O, n, steps * 32, 1, true, true);
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t k0 = i * steps / blocks, k1 = (i + 1) * steps / blocks;
        const ak__split_operand left = ak__split_panels(s->left + k0 * PANEL_BYTES, 0);
        for (int64_t t = 0; t < g->kH * g->kW; t++) {
            const int64_t from = ak__planes_at(p, &s->q, &s->phase, t / g->kW, t % g->kW);
            const ak__split_operand right = { s->split + from * p->pixel, s->at + k0, p->pixel,
                                              p->layer, 64, 2 * p->layer };
            int64_t bytes;
            const void *more = ak__ahead_next(ahead, &bytes);
            ak__k.split_tiles(k1 - k0, &left, &right, part + o * K + t * g->I, K, n, g->I,
                              add || i > 0, more, bytes);
        }
    }
}

/* As in split.c; dY is laid out and turned when it is split. */
#define PRODUCT_COST 0.42
#define NUMBER_COST  43.0

double ak__split_weight_cost(const ak__conv *g)
{
    split_weight s;
    plan_weight(&s, g, NULL, 0);
    const double numbers = (double)(g->O * ak__conv_k(g)), results = (double)(s.steps * 32);
    const double blocks = (double)(ak__ceil_div(s.q.N, s.planes.images) * s.planes.bands);
    const double split = (double)(s.planes.bytes / AK_SPLIT_LINE) * 32;
    const double wide = (double)(ak__round_to(g->I, 16) * g->kH * g->kW);
    const double tall = (double)(ak__round_to(g->O, 16));
    return (double)s.chunks *
           (blocks * (PRODUCT_COST * results * wide * tall +
                      NUMBER_COST * (split * (double)s.shares + results * tall)) + numbers);
}

/* Rows of a chunk's gradient that the unit could not hold, from panel j0 to j1: by plain sums. */
static void mend_rows(const ak__conv *g, const ak_real *x, const ak_real *dy, int64_t first,
                      int64_t images, int64_t j0, int64_t j1, ak_real *part)
{
    const int64_t K = ak__conv_k(g), pixels = g->OH * g->OW;
    for (int64_t o = j0 * AK_SPLIT_SIDE; o < ak__min(j1 * AK_SPLIT_SIDE, g->O); o++) {
        if (ak__all_finite(part + o * K, K))
            continue;
        memset(part + o * K, 0, (size_t)K * sizeof *part);
        for (int64_t p = first * pixels; p < (first + images) * pixels; p++)
            ak__plain_weight(g, x, dy, p, o, 0, g->I, part + o * K);
    }
}

static void weight_chunk(split_weight *s, const ak__conv *g, const ak_real *x, const ak_real *dy,
                         int64_t chunk, int64_t share)
{
    ak_real *part = s->parts + chunk * g->O * ak__conv_k(g);
    const int64_t first = chunk * s->chunk, images = ak__min(s->chunk, g->N - first);
    const int64_t j0 = share * s->panels / s->shares, j1 = (share + 1) * s->panels / s->shares;
    ak__correlation q = s->q;
    s->q.src = x + first * g->H * g->W * g->I;
    s->q.dst = (ak_real *)dy + first * g->OH * g->OW * g->O;    /* not written */
    q = s->q;
    q.N = images;
    s->q.N = ak__ceil_div(images, 2);
    const int64_t blocks = ak__ceil_div(s->q.N, s->planes.images) * s->planes.bands;
    for (int64_t i = 0; i < blocks; i++) {
        const ak__plane_block b = ak__planes_block(&s->planes, &s->q, i);
        ak__planes_fill(&s->planes, &q, &b, s->split, pair_run);
        const int64_t steps = lay_results(s, g, &b, first);
        ak__ahead ahead = ak__ahead_of(&s->planes, &s->q, i + 1, ak__ceil_div(steps, SPLIT_STEPS) *
                                       g->kH * g->kW * (j1 - j0));
        for (int64_t j = j0; j < j1; j++)
            multiply_panel(s, g, j, steps, part, i > 0, &ahead);
    }
    mend_rows(g, x, dy, first, images, j0, j1, part);
}

void ak__split_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                      bool accumulate, void *scratch)
{
    split_weight s;
    plan_weight(&s, g, scratch, 0);
    for (int64_t i = 0; i < s.steps; i++)
        s.at[i] = i * 16 * s.planes.pixel;
    AK__PARALLEL_FOR_DYNAMIC(task, s.chunks * s.shares, s.chunks * s.shares > 1) {
        split_weight own;
        plan_weight(&own, g, scratch, ak__thread_id());
        weight_chunk(&own, g, x, dy, task / s.shares, task % s.shares);
    }
    ak__weight_total(g, s.parts, s.chunks, dw, accumulate, false);
}
