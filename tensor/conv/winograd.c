/* SPDX-License-Identifier: Apache-2.0 */
/* Forward pass and data gradient by Winograd's algorithm F(m x m, 3 x 3): see winograd.h.
 *
 * Weights are transformed once a call, straight into the panels that the register tile reads.
 * Then, for a block of T tiles: transform the source into V [points][T][C], multiply for each
 * point by its weights into M [points][T][D], transform M into the results. With few channels
 * a block is so small that V, M and the weights stay in the second cache of the thread that does
 * it all. With many channels the weights do not fit there: the block is then large, so that they
 * are streamed few times, and the threads share each of its three parts.
 *
 * Every result is the sum over channels in one order whatever the block is, so the bits do not
 * depend on the cut. The data gradient is the same with turned and transposed weights. */
#include "tensor/conv/ways.h"

#include <math.h>

/* Fewer channels leave the vectors of the transforms half empty. */
#define MIN_CHANNELS 16
/* What transforms cost, measured, in multiplications of a product: of each transformed number of
 * a source or result, and of each weight. */
#define NUMBER_COST  15.0
#define WEIGHT_COST  1200.0
/* Bytes of transformed weights up to which a thread does a block alone. */
#define OWN_WEIGHTS  (6 << 20)
/* Bytes of V and M together: of a block that one thread does, and that all share. */
#define OWN_BLOCK    (1 << 20)
#define SHARED_BLOCK (16 << 20)

/* ---- tiles ----------------------------------------------------------------------------------- */

/* Points of `tiles` tiles side by side, of which `full` are not short. */
static int64_t points_across(const ak__tiling *q, int64_t tiles, int64_t full)
{
    return tiles * q->side - (tiles - full) * q->stride;
}

/* Short tiles save products, but are transformed as a whole. */
double ak__winograd_cost(const ak__conv *g, int m, bool data)
{
    const ak__tiling q = ak__winograd_tiling(g, m, data);
    const double numbers = (double)q.total * q.points;
    const double products = (double)(q.N * points_across(&q, q.TH, q.FH)) *
                            (double)points_across(&q, q.TW, q.FW);
    const double I = (double)g->I, O = (double)g->O;
    return products * I * O + numbers * NUMBER_COST * (I + O) + WEIGHT_COST * I * O;
}

int ak__winograd_side(const ak__conv *g, bool data)
{
    const bool plain = g->kH == 3 && g->kW == 3 && g->sh <= 2 && g->sw == g->sh && g->dh == 1 &&
                       g->dw == 1 && g->groups == 1;
    if (g->exact || !plain || ak__min(g->I, g->O) < MIN_CHANNELS)
        return 0;
    const double direct = ak__direct_cost(g, data) * (double)g->I * (double)g->O;
    const double four = ak__winograd_cost(g, 4, data);
    const double two = g->sh == 1 ? ak__winograd_cost(g, 2, data) : direct;
    if (two >= direct && four >= direct)
        return 0;
    return two < four ? 2 : 4;
}

/* Where tiles start along one axis: see ak__tiling. The data gradient of stride 2 begins with an
 * odd position of the padded source: the last that is not behind x's first. */
static void start_of(int stride, bool data, int64_t padding, int64_t *result, int64_t *source)
{
    const int64_t odd = 1 - padding % 2;
    *result = data && stride == 2 ? odd : 0;
    *source = !data ? padding : stride == 1 ? 2 - padding : (1 - padding + odd) / 2;
}

/* So many tiles of m hold n, the last few of m - 1. */
static int64_t cut_axis(int64_t n, int m, int64_t *full)
{
    const int64_t tiles = ak__ceil_div(n, m);
    *full = ak__max(n - (m - 1) * tiles, 0);
    return tiles;
}

ak__tiling ak__winograd_tiling(const ak__conv *g, int m, bool data)
{
    const int stride = (int)g->sh, many = ak__winograd_weights(m);
    ak__tiling q = {
        .stride = stride, .m = m, .side = ak__winograd_points(stride, m), .weights = many * many,
        .N = g->N, .H = data ? g->H : g->OH, .W = data ? g->W : g->OW,
        .SH = data ? g->OH : g->H, .SW = data ? g->OW : g->W,
        .source = ak__winograd_side_in(data ? AK__WINOGRAD_DATA_INPUT : AK__WINOGRAD_INPUT, stride,
                                       m),
        .result = ak__winograd_side_out(data ? AK__WINOGRAD_DATA_OUTPUT : AK__WINOGRAD_OUTPUT,
                                        stride, m),
    };
    start_of(stride, data, g->ph, &q.over, &q.top);
    start_of(stride, data, g->pw, &q.beside, &q.left);
    q.points = q.side * q.side;
    q.step = q.result / m;
    q.from = data ? 1 : stride;
    q.TH = cut_axis(ak__ceil_div(q.H + q.over, q.step), m, &q.FH);
    q.TW = cut_axis(ak__ceil_div(q.W + q.beside, q.step), m, &q.FW);
    q.total = q.N * q.TH * q.TW;
    return q;
}

int ak__winograd_weight_index(const ak__tiling *q, int p)
{
    return ak__winograd_weight_of(q->stride, q->m, p / q->side) * ak__winograd_weights(q->m) +
           ak__winograd_weight_of(q->stride, q->m, p % q->side);
}

/* ---- the order of tiles ---------------------------------------------------------------------- */

/* Kinds of tiles by [rows are short][columns are short]: their order. Full rows are the first two,
 * full columns the middle two. */
static const int kinds[2][2] = { { 1, 0 }, { 2, 3 } };

static int kind_of(const ak__tiling *q, int64_t i)
{
    return kinds[i / q->TW % q->TH >= q->FH][i % q->TW >= q->FW];
}

void ak__winograd_order(const ak__tiling *q, int64_t first, int64_t count, ak__tile_order *o)
{
    int64_t next[4] = { 0 };
    for (int64_t i = 0; i < count; i++)
        next[kind_of(q, first + i)]++;
    o->from[0] = 0;
    for (int k = 0; k < 4; k++) {
        o->from[k + 1] = o->from[k] + next[k];
        next[k] = o->from[k];
    }
    for (int64_t i = 0; i < count; i++)
        o->tile[next[kind_of(q, first + i)]++] = (int32_t)i;
}

void ak__winograd_range(const ak__tiling *q, const ak__tile_order *o, int p, int64_t *lo,
                        int64_t *hi)
{
    const bool last_row = ak__winograd_is_last(q->stride, q->m, p / q->side);
    const bool last_column = ak__winograd_is_last(q->stride, q->m, p % q->side);
    *lo = o->from[last_column ? 1 : 0];
    *hi = o->from[last_row ? 2 : last_column ? 3 : 4];
}

/* ---- squares --------------------------------------------------------------------------------- */

/* Pixels from (h, w) on of image n; what is outside of it does not exist. */
static ak__winograd_square pixels(const ak_real *x, int64_t n, int64_t h, int64_t w, int64_t H,
                                  int64_t W, int64_t C, int64_t rows, int64_t columns)
{
    return (ak__winograd_square){
        .data = (ak_real *)x + ((n * H + h) * W + w) * C, .row = W * C, .column = C,
        .i0 = (int)ak__min(ak__max(-h, 0), rows), .i1 = (int)ak__min(rows, H - h),
        .j0 = (int)ak__min(ak__max(-w, 0), columns),
        .j1 = (int)ak__min(columns, W - w),
    };
}

/* (Pairs of) results before tile i of an axis. */
static int64_t before(const ak__tiling *q, int64_t i, int64_t full)
{
    return i * q->m - ak__max(i - full, 0);
}

ak__winograd_square ak__winograd_results(const ak__tiling *q, const ak_real *x, int64_t C,
                                         int64_t i)
{
    const int64_t th = i / q->TW % q->TH, tw = i % q->TW;
    return pixels(x, i / (q->TH * q->TW), before(q, th, q->FH) * q->step - q->over,
                  before(q, tw, q->FW) * q->step - q->beside, q->H, q->W, C,
                  q->result - (th >= q->FH ? q->step : 0),
                  q->result - (tw >= q->FW ? q->step : 0));
}

ak__winograd_square ak__winograd_source(const ak__tiling *q, const ak_real *x, int64_t C,
                                        int64_t i)
{
    return pixels(x, i / (q->TH * q->TW), before(q, i / q->TW % q->TH, q->FH) * q->from - q->top,
                  before(q, i % q->TW, q->FW) * q->from - q->left, q->SH, q->SW, C, q->source,
                  q->source);
}

ak__winograd_square ak__winograd_planes(ak_real *x, int64_t plane, int side)
{
    return (ak__winograd_square){ .data = x, .row = side * plane, .column = plane, .i1 = side,
                                  .j1 = side };
}

int64_t ak__winograd_ld(int64_t channels)
{
    return ak__round_to(channels, 32) + 16;
}

/* ---- the plan -------------------------------------------------------------------------------- */

typedef struct winograd_pass {
    const ak__conv *g;
    const ak_real *w;
    ak__tiling     q;
    const ak_real *src, *bias;
    ak_real       *dst;
    bool           data, accumulate;
    int64_t        C, D;        /* channels of source and result */
    int64_t        ld_v, ld_m;
    int64_t        row, plane;  /* tile i, point p of V is at (i row + p plane) ld_v; M likewise */
    int64_t        panels;      /* of nr result channels */
    int64_t        block;       /* tiles */
    bool           shared;      /* threads share the parts of a block */
    ak_real       *u;           /* [weights][panels][C][nr] */
    ak_real       *work;        /* V and M of each thread, or of all */
    int32_t       *order;       /* of a block's tiles, likewise */
    ak_real       *moments;     /* of dst, a part for MOMENT_TILES tiles of a block; or NULL */
} winograd_pass;

static winograd_pass plan_pass(const ak__conv *g, int m, bool data)
{
    winograd_pass s = { .g = g, .q = ak__winograd_tiling(g, m, data), .data = data,
                        .C = data ? g->O : g->I, .D = data ? g->I : g->O };
    /* where tiles are short, many points belong to half of the tiles only */
    const bool halves = s.q.FH < s.q.TH || s.q.FW < s.q.TW;
    const int64_t real = (int64_t)sizeof(ak_real), mr = ak__k.mr * (halves ? 2 : 1);
    s.ld_v = ak__winograd_ld(s.C);
    s.ld_m = ak__winograd_ld(s.D);
    s.panels = ak__ceil_div(s.D, ak__k.nr);
    const int64_t tile = s.q.points * (s.ld_v + s.ld_m) * real;
    s.block = ak__max(OWN_BLOCK / tile / mr, 1) * mr;
    s.shared = s.q.weights * s.C * s.panels * ak__k.nr * real > OWN_WEIGHTS ||
               s.q.total < 8 * s.block;
    if (s.shared)
        s.block = ak__max(SHARED_BLOCK / tile / mr, 1) * mr;
    s.block = ak__ceil_div(s.q.total, ak__ceil_div(s.q.total, s.block));
    s.row = s.shared ? 1 : s.q.points;
    s.plane = s.shared ? s.block : 1;
    return s;
}

static size_t carve_pass(winograd_pass *s, void *scratch)
{
    ak__carver area = { .base = scratch };
    const int64_t own = s->q.points * s->block * (s->ld_v + s->ld_m);
    s->u = ak__carve_reals(&area, s->q.weights * s->panels * s->C * ak__k.nr);
    s->work = ak__carve_reals(&area, (s->shared ? 1 : ak__max_threads()) * own);
    s->order = ak__carve(&area, (s->shared ? 1 : ak__max_threads()) * s->block,
                         sizeof *s->order);
    return area.used;
}

size_t ak__winograd_scratch(const ak__conv *g, int m, bool data)
{
    winograd_pass s = plan_pass(g, m, data);
    return carve_pass(&s, NULL);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Source channels that are transformed at once: nine taps of them stay in the first cache. */
#define WEIGHT_STEP 8

/* Channels [c, c+count) of panel j. The data gradient takes w[c][8-tap][d] for w[d][tap][c]. */
static void weight_panel(const winograd_pass *s, const ak_real *w, int64_t j, int64_t c,
                         int64_t count)
{
    _Alignas(64) ak_real taps[9 * WEIGHT_STEP * AK_MAX_NR];
    const int nr = ak__k.nr;
    const int64_t d = j * nr, plane = s->panels * s->C * nr, n = count * nr;
    for (int tap = 0; tap < 9; tap++) {
        const ak_real *from = w + (s->data ? (c * 9 + 8 - tap) * s->D + d
                                           : (d * 9 + tap) * s->C + c);
        ak__k.gemm_pack(taps + tap * n, from, 9 * (s->data ? s->D : s->C),
                        ak__min(nr, s->D - d), count, nr, s->data);
    }
    const ak__winograd_call call = {
        .stride = s->q.stride, .m = s->q.m, .n = n, .in = ak__winograd_planes(taps, n, 3),
        .out = ak__winograd_planes(s->u + (j * s->C + c) * nr, plane,
                                   ak__winograd_weights(s->q.m)),
    };
    (void)ak__k.winograd(AK__WINOGRAD_WEIGHT, &call);
}

static void transform_weights(const winograd_pass *s, const ak_real *w)
{
    const int64_t steps = ak__ceil_div(s->C, WEIGHT_STEP);
    AK__PARALLEL_FOR(i, s->panels * steps, s->C * s->D > 1024) {
        const int64_t c = i % steps * WEIGHT_STEP;
        weight_panel(s, w, i / steps, c, ak__min(WEIGHT_STEP, s->C - c));
    }
}

/* ---- moments of the result ------------------------------------------------------------------- */

/* Tiles of a part: their results are still in the cache, and there are few parts to merge. */
#define MOMENT_TILES 8

int64_t ak__winograd_moment_parts(const ak__conv *g, int m)
{
    const winograd_pass s = plan_pass(g, m, false);
    const int64_t whole = s.q.total / s.block, rest = s.q.total % s.block;
    return whole * ak__ceil_div(s.block, MOMENT_TILES) + ak__ceil_div(rest, MOMENT_TILES);
}

/* Of `count` tiles of the block that begins at `first`, whose order starts with tile[0]. */
static void take_moments(const winograd_pass *s, int64_t first, const int32_t *tile,
                         int64_t count, ak_real *part)
{
    for (int64_t i = 0; i < count; i++) {
        const ak__winograd_square y = ak__winograd_results(&s->q, s->dst, s->D, first + tile[i]);
        if (i == 0)
            ak__moments_begin(part, y.data, s->D);
        for (int r = 0; r < y.i1; r++)
            ak__moments_add(part, y.data + r * y.row, y.j1, s->D);
    }
}

/* ---- a block of tiles ------------------------------------------------------------------------ */

static void input_tile(const winograd_pass *s, int64_t i, ak_real *v)
{
    const ak__winograd_call call = {
        .stride = s->q.stride, .m = s->q.m, .n = s->C,
        .in = ak__winograd_source(&s->q, s->src, s->C, i),
        .out = ak__winograd_planes(v, s->plane * s->ld_v, s->q.side),
    };
    (void)ak__k.winograd(s->data ? AK__WINOGRAD_DATA_INPUT : AK__WINOGRAD_INPUT, &call);
}

/* Channels of a tile that are looked at together. */
#define MENDED 16

/* Results of tile i that overflowed: some of Winograd's numbers are up to a few hundred times as
 * large as the results, and what is infinite spreads over the tile. */
static void mend_tile(const winograd_pass *s, const ak__winograd_call *made)
{
    enum { SIDE = 8 };
    const ak__winograd_square *y = &made->out;
    ak_real again[SIDE * SIDE * MENDED], sums[MENDED];
    for (int64_t d = 0; d < s->D; d += MENDED) {
        ak__winograd_call call = *made;
        call.n = ak__min(MENDED, s->D - d);
        call.bias = NULL;
        call.accumulate = false;
        call.in.data += d;
        call.out.data = again;
        call.out.row = SIDE * MENDED;
        call.out.column = MENDED;
        if (ak__k.winograd(s->data ? AK__WINOGRAD_DATA_OUTPUT : AK__WINOGRAD_OUTPUT, &call))
            continue;
        for (int at = y->i0 * SIDE + y->j0; at < y->i1 * SIDE; at++) {
            if (at % SIDE < y->j0 || at % SIDE >= y->j1)
                continue;
            ak_real *to = y->data + at / SIDE * y->row + at % SIDE * y->column;
            const ak_real *was = again + at * MENDED;
            if (ak__all_finite(was, call.n))
                continue;
            ak__plain_pixel(s->g, s->data, s->src, s->w, (to - s->dst) / s->D, d, call.n, sums);
            for (int64_t j = 0; j < call.n; j++)
                if (!isfinite(was[j]))
                    ak__plain_put(to + d + j, sums + j, 1, s->bias ? s->bias + d + j : NULL,
                                  s->accumulate);
        }
    }
}

static void output_tile(const winograd_pass *s, int64_t i, ak_real *m)
{
    const ak__winograd_call call = {
        .stride = s->q.stride, .m = s->q.m, .n = s->D, .bias = s->bias,
        .accumulate = s->accumulate,
        .in = ak__winograd_planes(m, s->plane * s->ld_m, s->q.side),
        .out = ak__winograd_results(&s->q, s->dst, s->D, i),
    };
    if (!ak__k.winograd(s->data ? AK__WINOGRAD_DATA_OUTPUT : AK__WINOGRAD_OUTPUT, &call))
        mend_tile(s, &call);
}

/* M = V U of one point: v, m and u are its planes. */
static void multiply_point(const winograd_pass *s, const ak_real *v, const ak_real *u, ak_real *m,
                           int64_t count)
{
    const int64_t mr = ak__k.mr, nr = ak__k.nr;
    const int64_t row_v = s->row * s->ld_v, row_m = s->row * s->ld_m;
    for (int64_t j = 0; j < s->panels; j++) {
        const int n = (int)ak__min(nr, s->D - j * nr);
        for (int64_t k = 0; k < s->C; k += AK__CONV_RUN) {
            const int64_t nk = ak__min(AK__CONV_RUN, s->C - k);
            for (int64_t i = 0; i < count; i += mr)
                ak__k.gemm_direct(nk, v + i * row_v + k, row_v, 1, u + (j * s->C + k) * nr, nr,
                                  m + i * row_m + j * nr, row_m,
                                  (int)ak__min(mr, count - i), n, k > 0);
        }
    }
}

/* Block b in the buffers of thread t. */
static void run_block(const winograd_pass *s, int64_t b, int64_t t)
{
    const int64_t first = b * s->block, count = ak__min(s->block, s->q.total - first);
    const int64_t numbers = s->q.points * s->block, weight = s->panels * s->C * ak__k.nr;
    ak_real *v = s->work + t * numbers * (s->ld_v + s->ld_m), *m = v + numbers * s->ld_v;
    ak__tile_order o = { .tile = s->order + t * s->block };
    ak__winograd_order(&s->q, first, count, &o);
    AK__PARALLEL_FOR(i, count, s->shared)
        input_tile(s, first + o.tile[i], v + i * s->row * s->ld_v);
    AK__PARALLEL_FOR_DYNAMIC(p, s->q.points, s->shared) {
        int64_t lo, hi;
        ak__winograd_range(&s->q, &o, (int)p, &lo, &hi);
        const int64_t at = p * s->plane + lo * s->row;
        multiply_point(s, v + at * s->ld_v,
                       s->u + ak__winograd_weight_index(&s->q, (int)p) * weight, m + at * s->ld_m,
                       hi - lo);
    }
    const int64_t tiles = s->moments ? MOMENT_TILES : 1, parts = ak__ceil_div(s->block, tiles);
    AK__PARALLEL_FOR(c, ak__ceil_div(count, tiles), s->shared) {
        const int64_t end = ak__min((c + 1) * tiles, count);
        for (int64_t i = c * tiles; i < end; i++)
            output_tile(s, first + o.tile[i], m + i * s->row * s->ld_m);
        if (s->moments)
            take_moments(s, first, o.tile + c * tiles, end - c * tiles,
                         s->moments + (b * parts + c) * ak__moment_numbers(s->D));
    }
}

static void run_pass(winograd_pass *s, const ak_real *w, void *scratch)
{
    carve_pass(s, scratch);
    s->w = w;
    transform_weights(s, w);
    const int64_t blocks = ak__ceil_div(s->q.total, s->block);
    if (s->shared) {
        for (int64_t b = 0; b < blocks; b++)
            run_block(s, b, 0);
        return;
    }
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1)
        run_block(s, b, ak__thread_id());
}

void ak__winograd_forward(const ak__conv *g, int m, const ak_real *x, const ak_real *w,
                          const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    winograd_pass s = plan_pass(g, m, false);
    s.src = x;
    s.dst = y;
    s.moments = g->moments;
    s.bias = bias;
    s.accumulate = accumulate;
    run_pass(&s, w, scratch);
}

void ak__winograd_data(const ak__conv *g, int m, const ak_real *dy, const ak_real *w,
                       const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    winograd_pass s = plan_pass(g, m, true);
    s.src = dy;
    s.dst = dx;
    s.bias = bias;
    s.accumulate = accumulate;
    run_pass(&s, w, scratch);
}
