/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of split numbers (kernels.h), for processors with a matrix unit: forward pass and
 * data gradient, as correlations (direct.c).
 *
 * The source is split once, though the taps of a kernel take each number several times. It is laid
 * out in planes (planes.h), so that the pixels that a tap takes for a run of results, over
 * rows and images, are one operand of fixed stride, whatever the width of the map is. Results
 * between rows and images are made in vain and not kept. While a block is multiplied, the memory
 * of a later one is fetched: without that, half of the time is spent in waiting for it. */
#include "tensor/conv/planes.h"

/* Steps of 32 k whose products are one sum: a panel of weights for them is in L1 with the pixels of
 * a tile. */
#define SPLIT_STEPS 4
/* Bytes of planes of a block: in L2 with the weights and results. */
#define BLOCK_BYTES (512 << 10)
/* Of weights that are no part of that: they pass through L2, for as much of the source at once as
 * has room there. */
#define MANY_WEIGHTS (1 << 20)
#define LARGE_BLOCK  (1 << 20)
/* A step of a panel of weights. */
#define PANEL_BYTES (AK_SPLIT_SIZE(1) * (int64_t)sizeof(ak_real))

/* ---- the correlation ------------------------------------------------------------------------- */

/* What is worked out once. */
typedef struct split_pass {
    const ak__conv *g;
    bool            data;
    const ak_real  *w;
    ak__correlation q;
    ak__phase       phase[AK__SPLIT_PHASES];
    ak__planes      planes;
    int64_t         channel_steps;      /* of 32 channels of a tap */
    int64_t         panels;             /* of 32 result channels */
    int64_t         steps;              /* of all phases */
    int64_t        *at;                 /* each step's bytes from the planes' start */
    char           *weights;            /* [panel][step], all phases */
    char           *planes_of, *sums_of;        /* of thread 0; those of others follow */
} split_pass;

static int64_t steps_of(const split_pass *s, const ak__phase *f)
{
    return f->TH * f->TW * s->channel_steps;
}

static int64_t sum_bytes(const split_pass *s)
{
    return s->planes.results * AK_SPLIT_SIDE * (int64_t)sizeof(ak_real);
}

/* Lines of 32 channels, a layer of the planes each. */
static void split_run(char *to, const ak__planes *p, const ak__correlation *q, int64_t n,
                      const ak_real *from, int64_t ld, int64_t count)
{
    (void)n;
    for (int64_t c = 0; c < q->SC; c += 32, to += p->layer) {
        const int64_t left = q->SC - c;
        ak__k.split_lines(to, p->pixel, from + c, from + c + 16, ld, count,
                          (int)ak__min(left, 16),
                          (int)ak__max(ak__min(left - 16, 16), 0));
    }
}

static void plan_phases(split_pass *s, const ak__conv *g, bool data)
{
    s->g = g;
    s->data = data;
    if (data) {
        s->q = ak__data_plan(g);
        for (int64_t i = 0; i < s->q.phases; i++)
            s->phase[i] = ak__data_phase(g, &s->q, i);
    } else {
        s->q = ak__forward_plan(g, s->phase);
    }
    s->q.phase = s->phase;
}

/* Fills *s; bytes of scratch. */
static size_t plan_pass(split_pass *s, const ak__conv *g, bool data, void *scratch)
{
    ak__carver area = { .base = scratch };
    *s = (split_pass){ .channel_steps = 0 };
    plan_phases(s, g, data);
    s->channel_steps = ak__ceil_div(s->q.SC, 32);
    s->panels = ak__ceil_div(s->q.Dg, AK_SPLIT_SIDE);
    for (int64_t i = 0; i < s->q.phases; i++)
        s->steps += steps_of(s, &s->phase[i]);
    const bool many = s->steps * s->panels * PANEL_BYTES > MANY_WEIGHTS;
    s->planes = ak__planes_plan(&s->q, AK_SPLIT_LINE, s->channel_steps,
                                many ? LARGE_BLOCK : BLOCK_BYTES, 2048);
    s->at = ak__carve(&area, s->steps, sizeof *s->at);
    s->weights = ak__carve(&area, s->panels * s->steps * PANEL_BYTES, 1);
    s->planes_of = ak__carve(&area, ak__max_threads() * s->planes.bytes, 1);
    s->sums_of = ak__carve(&area, ak__max_threads() * sum_bytes(s), 1);
    return area.used;
}

static void place_steps(split_pass *s)
{
    int64_t *at = s->at;
    for (int64_t i = 0; i < s->q.phases; i++) {
        const ak__phase *f = &s->phase[i];
        for (int64_t t = 0; t < f->TH * f->TW; t++)
            for (int64_t c = 0; c < s->channel_steps; c++)
                *at++ = ak__planes_at(&s->planes, &s->q, f, t / f->TW, t % f->TW) *
                            AK_SPLIT_LINE + c * s->planes.layer;
    }
}

/* Panel j of the weights. Forward takes w[d][tap][c], the data gradient w[c][tap][d]. */
static void pack_weights(const split_pass *s, const ak__conv *g, bool data, const ak_real *w,
                         int64_t j)
{
    const ak__correlation *q = &s->q;
    const int64_t K = ak__conv_k(g), d = j * AK_SPLIT_SIDE;
    const int64_t n = ak__min(AK_SPLIT_SIDE, q->Dg - d);
    char *to = s->weights + j * s->steps * PANEL_BYTES;
    for (int64_t i = 0; i < q->phases; i++) {
        const ak__phase *f = &q->phase[i];
        for (int64_t t = 0; t < f->TH * f->TW; t++) {
            const int64_t tap = ak__conv_tap(g, f, t / f->TW, t % f->TW);
            for (int64_t c = 0; c < q->SC; c += 32, to += PANEL_BYTES)
                ak__k.split_pack(to, w + (data ? c * K + tap * q->Dg + d : d * K + tap * q->SC + c),
                                 K, n, ak__min(32, q->SC - c), 1, data, false);
        }
    }
}

/* Pixels from `dst` on, channels [d, d + n), whose sums the unit could not hold. */
static void put_plain(const split_pass *s, ak_real *dst, int64_t count, int64_t d, int n)
{
    const ak__correlation *q = &s->q;
    ak_real sums[AK_SPLIT_SIDE];
    for (int64_t i = 0; i < count; i++, dst += q->pixel) {
        ak__plain_pixel(s->g, s->data, q->src, s->w, (dst - q->dst) / q->Dg, d, n, sums);
        ak__plain_put(dst, sums, n, q->bias ? q->bias + d : NULL, q->accumulate);
    }
}

/* Results of one phase and panel for a block, from the sums of those in vain as well. */
static void put_results(const split_pass *s, const ak__phase *f, const ak__plane_block *b,
                        int64_t d, const ak_real *sums)
{
    static const ak_real none[AK_SPLIT_SIDE] = { 0 };
    const ak__correlation *q = &s->q;
    const int n = (int)ak__min(AK_SPLIT_SIDE, q->Dg - d);
    const int64_t rows = ak__planes_rows(&s->planes, b, f);
    for (int64_t r = 0; r < b->images * rows; r++) {
        const int64_t image = r / rows, j = r % rows;
        const int64_t row = (image * s->planes.rows + j) * s->planes.columns * AK_SPLIT_SIDE;
        ak_real *dst = q->dst + (b->n0 + image) * q->image + f->at + (b->j0 + j) * q->row + d;
        if (!ak__k.split_put(dst, q->pixel, sums ? sums + row : none, sums ? AK_SPLIT_SIDE : 0,
                             f->JW, n, q->bias ? q->bias + d : NULL, q->accumulate))
            put_plain(s, dst, f->JW, d, n);
    }
}

/* One phase and panel for a block: its steps begin with `first`. */
static void split_phase(const split_pass *s, const ak__phase *f, const ak__plane_block *b,
                        int64_t first, int64_t panel, const char *planes, ak_real *sums,
                        ak__ahead *ahead)
{
    const int64_t steps = steps_of(s, f), rows = ak__planes_rows(&s->planes, b, f);
    const int64_t pixel = s->planes.pixel, d = panel * AK_SPLIT_SIDE;
    const int64_t n = s->q.Dg - d > 16 ? 32 : 16;
    if (rows == 0 || f->JW == 0)
        return;
    const int64_t m = ak__round_to(ak__planes_results(&s->planes, f, b->images, rows), 16);
    const char *weights = s->weights + (panel * s->steps + first) * PANEL_BYTES;
    const int64_t blocks = ak__ceil_div(steps, SPLIT_STEPS);
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t k0 = i * steps / blocks, k1 = (i + 1) * steps / blocks;
        const ak__split_operand left = { planes, s->at + first + k0, pixel, 16 * pixel, 64,
                                         32 * pixel };
        const ak__split_operand right = ak__split_panels(weights + k0 * PANEL_BYTES, 0);
        int64_t bytes;
        const void *more = ak__ahead_next(ahead, &bytes);
        ak__k.split_tiles(k1 - k0, &left, &right, sums, AK_SPLIT_SIDE, m, n, i > 0, more, bytes);
    }
    put_results(s, f, b, d, steps ? sums : NULL);
}

/* Calls of split_tiles for a block. */
static int64_t calls_of(const split_pass *s, int64_t shares)
{
    int64_t calls = 0;
    for (int64_t i = 0; i < s->q.phases; i++)
        calls += ak__ceil_div(steps_of(s, &s->phase[i]), SPLIT_STEPS);
    return ak__max(calls * ak__ceil_div(s->panels, shares), 1);
}

static void run_pass(split_pass *s)
{
    const int64_t threads = ak__max_threads();      /* what comes next is a guess */
    const int64_t blocks = s->planes.blocks, shares = ak__conv_shares(blocks, s->panels);
    AK__PARALLEL_FOR_DYNAMIC(task, blocks * shares, blocks * shares > 1) {
        const ak__plane_block b = ak__planes_block(&s->planes, &s->q, task / shares);
        const int64_t share = task % shares;
        char *planes = s->planes_of + ak__thread_id() * s->planes.bytes;
        ak_real *sums = (ak_real *)(void *)(s->sums_of + ak__thread_id() * sum_bytes(s));
        ak__ahead ahead = ak__ahead_of(&s->planes, &s->q, task / shares + threads,
                                       calls_of(s, shares));
        ak__planes_fill(&s->planes, &s->q, &b, planes, split_run);
        for (int64_t j = share * s->panels / shares; j < (share + 1) * s->panels / shares; j++)
            for (int64_t i = 0, first = 0; i < s->q.phases; i++) {
                split_phase(s, &s->phase[i], &b, first, j, planes, sums, &ahead);
                first += steps_of(s, &s->phase[i]);
            }
        if (s->q.moments)
            ak__conv_take_moments(&s->q, b.n0, b.images, b.j0,
                                  b.j0 + ak__planes_rows(&s->planes, &b, s->phase),
                                  s->q.moments + task * ak__moment_numbers(s->q.pixel));
    }
}

static void split_correlate(const ak__conv *g, bool data, const ak_real *src, const ak_real *w,
                            const ak_real *bias, ak_real *dst, bool accumulate, void *scratch)
{
    split_pass s;
    plan_pass(&s, g, data, scratch);
    s.q.src = src;
    s.q.dst = dst;
    s.q.bias = bias;
    s.q.accumulate = accumulate;
    s.w = w;
    place_steps(&s);
    AK__PARALLEL_FOR(j, s.panels, g->O * ak__conv_k(g) > 65536)
        pack_weights(&s, g, data, w, j);
    run_pass(&s);
}

int64_t ak__split_moment_parts(const ak__conv *g)
{
    split_pass s;
    plan_pass(&s, g, false, NULL);
    return ak__conv_shares(s.planes.blocks, s.panels) == 1 ? s.planes.blocks : 0;
}

/* ---- what it costs --------------------------------------------------------------------------- */

/* Measured, in multiplications of a product by the register tile: of one by the matrix unit, and
 * of a number that is split or put. */
#define PRODUCT_COST 0.45
#define NUMBER_COST  12.0

double ak__split_cost(const ak__conv *g, bool data)
{
    split_pass s;
    plan_pass(&s, g, data, NULL);
    const double blocks = (double)s.planes.blocks, channels = (double)ak__round_to(s.q.SC, 32);
    const double results = (double)ak__round_to(s.q.Dg, 16);
    const double weights = (double)(g->O * ak__conv_k(g));
    double products = 0, put = 0;
    for (int64_t i = 0; i < s.q.phases; i++) {
        const ak__phase *f = &s.phase[i];
        products += (double)s.planes.results * (double)(f->TH * f->TW) * channels * results;
        put += (double)s.planes.results * results;
    }
    const double split = (double)(s.planes.bytes / AK_SPLIT_LINE) * 32;
    return blocks * (PRODUCT_COST * products + NUMBER_COST * (split + 0.5 * put)) +
           NUMBER_COST * weights;
}

/* ---- both passes ----------------------------------------------------------------------------- */

bool ak__split_can(const ak__conv *g)
{
    return ak__k.split_tiles && g->groups == 1 && g->sh * g->sw <= AK__SPLIT_PHASES;
}

size_t ak__split_scratch(const ak__conv *g, bool data)
{
    split_pass s;
    return plan_pass(&s, g, data, NULL);
}

void ak__split_forward(const ak__conv *g, const ak_real *x, const ak_real *w, const ak_real *bias,
                       ak_real *y, bool accumulate, void *scratch)
{
    split_correlate(g, false, x, w, bias, y, accumulate, scratch);
}

void ak__split_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                    ak_real *dx, bool accumulate, void *scratch)
{
    split_correlate(g, true, dy, w, bias, dx, accumulate, scratch);
}
