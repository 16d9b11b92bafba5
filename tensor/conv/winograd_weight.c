/* SPDX-License-Identifier: Apache-2.0 */
/* Weight gradient of stride 1 by Winograd's algorithm:
 *
 *     dW = G^T (sum over tiles of (A dY A^T) . (B^T x B)) G
 *
 * For a block of T tiles V [points][T][I] and Z [points][T][O] are made of x and dY, and for each
 * point Z^T V [O, I] is added up. Where all points' sums of the whole gradient fit in the second
 * cache, a thread takes a chunk of images alone and leaves the chunk's gradient in `part`; the
 * chunks are added in order. Where they do not, the threads make V and Z of a large block
 * together, and then each takes pieces [rows, columns] of the gradient, with the sums of all
 * points in its own cache, and adds them to dw. Chunks, blocks and pieces are cut by the shape. */
#include "tensor/conv/ways.h"

#include <math.h>

/* Bytes of the sums [points][O][I] up to which a chunk is one thread's. */
#define OWN_SUMS     (3 << 19)
#define OWN_BLOCK    (3 << 18)
#define SHARED_BLOCK (16 << 20)
/* Tiles of a chunk at least, so that its sums are worth transforming. */
#define CHUNK_TILES  64
/* Sides of a piece: 36 sums of it are half a megabyte. */
#define PIECE_ROWS    56
#define PIECE_COLUMNS 64

typedef struct weight_pass {
    const ak__conv *g;
    ak__tiling     q;
    const ak_real *x, *dy;
    ak_real       *dw;          /* the gradient, or the parts of chunks */
    bool           accumulate;
    int64_t        I, O, ld_v, ld_z;
    int64_t        block;       /* tiles */
    bool           shared;
    int64_t        chunk, chunks;       /* images a chunk (not shared) */
    int64_t        rows, columns;       /* of a piece */
    ak_real       *part;        /* [chunks][O][9][I] */
    ak_real       *work;        /* V and Z of each thread, or of all */
    ak_real       *sums;        /* [points][rows][columns] of each thread */
    int32_t       *order;       /* of a block's tiles, of each thread or of all */
} weight_pass;

static weight_pass plan_weight(const ak__conv *g, int m)
{
    weight_pass s = { .g = g, .q = ak__winograd_tiling(g, m, false), .I = g->I, .O = g->O };
    const int64_t real = (int64_t)sizeof(ak_real);
    s.ld_v = ak__winograd_ld(s.I);
    s.ld_z = ak__winograd_ld(s.O);
    const int64_t tile = s.q.points * (s.ld_v + s.ld_z) * real;
    const int64_t wide = ak__round_to(s.I, 16);
    s.chunk = ak__max(ak__weight_chunk(g, 9 * g->I * g->O),
                           ak__ceil_div(CHUNK_TILES, s.q.TH * s.q.TW));
    s.chunks = ak__ceil_div(g->N, s.chunk);
    s.shared = s.q.points * s.O * wide * real > OWN_SUMS || s.chunks < 4;
    s.rows = s.shared ? ak__min(PIECE_ROWS, s.O) : s.O;
    s.columns = s.shared ? ak__min(PIECE_COLUMNS, wide) : wide;
    const int64_t tiles = s.shared ? s.q.total : s.chunk * s.q.TH * s.q.TW;
    s.block = ak__max((s.shared ? SHARED_BLOCK : OWN_BLOCK) / tile / 8, 1) * 8;
    s.block = ak__ceil_div(tiles, ak__ceil_div(tiles, s.block));
    return s;
}

static int64_t work_numbers(const weight_pass *s)
{
    return s->q.points * s->block * (s->ld_v + s->ld_z);
}

static int64_t sum_numbers(const weight_pass *s)
{
    return s->q.points * s->rows * s->columns;
}

static size_t carve_weight(weight_pass *s, void *scratch)
{
    ak__carver area = { .base = scratch };
    const int64_t threads = ak__max_threads();
    s->part = ak__carve_reals(&area, s->shared ? 0 : s->chunks * s->O * 9 * s->I);
    s->work = ak__carve_reals(&area, (s->shared ? 1 : threads) * work_numbers(s));
    s->sums = ak__carve_reals(&area, threads * sum_numbers(s));
    s->order = ak__carve(&area, (s->shared ? 1 : threads) * s->block, sizeof *s->order);
    return area.used;
}

size_t ak__winograd_weight_scratch(const ak__conv *g, int m)
{
    weight_pass s = plan_weight(g, m);
    return carve_weight(&s, NULL);
}

/* ---- a block of tiles ------------------------------------------------------------------------ */

/* The register tile reads rows of V to whole vectors: what is past the channels becomes 0. */
static void clear_edges(const weight_pass *s, ak_real *v)
{
    if (s->I % ak__k.nr)
        for (int64_t r = 0; r < s->q.points * s->block; r++)
            memset(v + r * s->ld_v + s->I, 0, (size_t)(s->ld_v - s->I) * sizeof *v);
}

static void transform_tile(const weight_pass *s, int64_t i, ak_real *v, ak_real *z)
{
    const ak__winograd_call x = {
        .stride = 1, .m = s->q.m, .n = s->I,
        .in = ak__winograd_source(&s->q, s->x, s->I, i),
        .out = ak__winograd_planes(v, s->block * s->ld_v, s->q.side),
    };
    const ak__winograd_call dy = {
        .stride = 1, .m = s->q.m, .n = s->O,
        .in = ak__winograd_results(&s->q, s->dy, s->O, i),
        .out = ak__winograd_planes(z, s->block * s->ld_z, s->q.side),
    };
    (void)ak__k.winograd(AK__WINOGRAD_INPUT, &x);
    (void)ak__k.winograd(AK__WINOGRAD_DY, &dy);
}

/* sums[rows][columns] (+)= Z^T V of one point: rows from o, columns from i on. */
static void multiply_point(const weight_pass *s, const ak_real *v, const ak_real *z, int64_t count,
                           int64_t o, int64_t i, ak_real *sums, bool add)
{
    const int64_t mr = ak__k.mr, nr = ak__k.nr;
    const int64_t rows = ak__min(s->rows, s->O - o);
    const int64_t columns = ak__min(s->columns, s->I - i);
    for (int64_t k = 0; k < count; k += AK__CONV_RUN) {
        const int64_t nk = ak__min(AK__CONV_RUN, count - k);
        for (int64_t c = 0; c < columns; c += nr)
            for (int64_t r = 0; r < rows; r += mr)
                ak__k.gemm_direct(nk, z + k * s->ld_z + o + r, 1, s->ld_z,
                                  v + k * s->ld_v + i + c, s->ld_v, sums + r * s->columns + c,
                                  s->columns, (int)ak__min(mr, rows - r),
                                  (int)ak__min(nr, columns - c), add || k > 0);
    }
}

/* The sums of all points of a piece. */
static void multiply_block(const weight_pass *s, const ak_real *work, const ak__tile_order *t,
                           int64_t o, int64_t i, ak_real *sums, bool add)
{
    const ak_real *z = work + s->q.points * s->block * s->ld_v;
    for (int p = 0; p < s->q.points; p++) {
        int64_t lo, hi;
        ak__winograd_range(&s->q, t, p, &lo, &hi);
        ak_real *to = sums + p * s->rows * s->columns;
        if (lo == hi && !add)
            memset(to, 0, (size_t)(s->rows * s->columns) * sizeof *to);
        multiply_point(s, work + (p * s->block + lo) * s->ld_v, z + (p * s->block + lo) * s->ld_z,
                       hi - lo, o, i, to, add);
    }
}

/* What the pixels of tiles [first, last) give to row o of a piece, columns [i, i + n): plain sums
 * [9][n]. */
static void plain_sums(const weight_pass *s, int64_t first, int64_t last, int64_t o, int64_t i,
                       int64_t n, ak_real *sums)
{
    memset(sums, 0, (size_t)(9 * n) * sizeof *sums);
    for (int64_t t = first; t < last; t++) {
        const ak__winograd_square dy = ak__winograd_results(&s->q, s->dy, s->O, t);
        for (int at = dy.i0 * dy.j1; at < dy.i1 * dy.j1; at++) {
            const ak_real *pixel = dy.data + at / dy.j1 * dy.row + at % dy.j1 * dy.column;
            ak__plain_weight(s->g, s->x, s->dy, (pixel - s->dy) / s->O, o, i, n, sums);
        }
    }
}

/* Columns of a row that are looked at together. */
#define MENDED 64

/* Numbers of row o of the gradient that overflowed in the sums of tiles [first, last): see
 * mend_tile in winograd.c. */
static void mend_row(const weight_pass *s, const ak__winograd_call *made, int64_t first,
                     int64_t last, int64_t o, int64_t i)
{
    ak_real again[9 * MENDED], sums[9 * MENDED];
    for (int64_t c = 0; c < made->n; c += MENDED) {
        ak__winograd_call call = *made;
        call.n = ak__min(MENDED, made->n - c);
        call.accumulate = false;
        call.in.data += c;
        call.out = ak__winograd_planes(again, call.n, 3);
        if (ak__k.winograd(AK__WINOGRAD_DW, &call))
            continue;
        plain_sums(s, first, last, o, i + c, call.n, sums);
        for (int64_t at = 0; at < 9 * call.n; at++)
            if (!isfinite(again[at]))
                ak__plain_put(made->out.data + at / call.n * s->I + c + at % call.n, sums + at, 1,
                              NULL, made->accumulate);
    }
}

/* The gradient of a piece from its sums over tiles [first, last). */
static void transform_sums(const weight_pass *s, ak_real *sums, int64_t first, int64_t last,
                           int64_t o, int64_t i, ak_real *dw, bool add)
{
    const int64_t rows = ak__min(s->rows, s->O - o);
    for (int64_t r = 0; r < rows; r++) {
        ak__winograd_call call = {
            .stride = 1, .m = s->q.m, .accumulate = add,
            .n = ak__min(s->columns, s->I - i),
            .in = ak__winograd_planes(sums + r * s->columns, s->rows * s->columns, s->q.side),
            .out = ak__winograd_planes(dw + (o + r) * 9 * s->I + i, s->I, 3),
        };
        if (!ak__k.winograd(AK__WINOGRAD_DW, &call))
            mend_row(s, &call, first, last, o + r, i);
    }
}

/* ---- the two cuts ---------------------------------------------------------------------------- */

static void run_chunk(const weight_pass *s, int64_t chunk)
{
    const int64_t image = s->q.TH * s->q.TW;
    const int64_t last = ak__min((chunk + 1) * s->chunk, s->q.N) * image;
    ak_real *v = s->work + ak__thread_id() * work_numbers(s);
    ak_real *z = v + s->q.points * s->block * s->ld_v;
    ak_real *sums = s->sums + ak__thread_id() * sum_numbers(s);
    ak__tile_order t = { .tile = s->order + ak__thread_id() * s->block };
    clear_edges(s, v);
    for (int64_t first = chunk * s->chunk * image, at = first; at < last; at += s->block) {
        const int64_t count = ak__min(s->block, last - at);
        ak__winograd_order(&s->q, at, count, &t);
        for (int64_t i = 0; i < count; i++)
            transform_tile(s, at + t.tile[i], v + i * s->ld_v, z + i * s->ld_z);
        multiply_block(s, v, &t, 0, 0, sums, at > first);
    }
    transform_sums(s, sums, chunk * s->chunk * image, last, 0, 0,
                   s->part + chunk * s->O * 9 * s->I, false);
}

static void run_shared(const weight_pass *s, ak_real *dw, bool accumulate)
{
    ak_real *v = s->work, *z = v + s->q.points * s->block * s->ld_v;
    const int64_t across = ak__ceil_div(s->I, s->columns);
    const int64_t pieces = ak__ceil_div(s->O, s->rows) * across;
    ak__tile_order t = { .tile = s->order };
    clear_edges(s, v);
    for (int64_t at = 0; at < s->q.total; at += s->block) {
        const int64_t count = ak__min(s->block, s->q.total - at);
        ak__winograd_order(&s->q, at, count, &t);
        AK__PARALLEL_FOR(i, count, count > 1)
            transform_tile(s, at + t.tile[i], v + i * s->ld_v, z + i * s->ld_z);
        AK__PARALLEL_FOR_DYNAMIC(p, pieces, pieces > 1) {
            ak_real *sums = s->sums + ak__thread_id() * sum_numbers(s);
            const int64_t o = p / across * s->rows, i = p % across * s->columns;
            multiply_block(s, v, &t, o, i, sums, false);
            transform_sums(s, sums, at, at + count, o, i, dw, accumulate || at > 0);
        }
    }
}

void ak__winograd_weight(const ak__conv *g, int m, const ak_real *x, const ak_real *dy,
                         ak_real *dw, bool accumulate, void *scratch)
{
    weight_pass s = plan_weight(g, m);
    carve_weight(&s, scratch);
    s.x = x;
    s.dy = dy;
    if (s.shared) {
        run_shared(&s, dw, accumulate);
        return;
    }
    AK__PARALLEL_FOR_DYNAMIC(chunk, s.chunks, s.chunks > 1)
        run_chunk(&s, chunk);
    ak__weight_total(g, s.part, s.chunks, dw, accumulate, false);
}
