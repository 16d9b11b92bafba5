/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the similarity engine: blocks, their schedule, masks, products. */
#include "losses/similarity.h"

#include "base/parallel.h"
#include "tensor/gemm.h"

#include <math.h>

int64_t ak__similarity_tile;

/* Elements of a problem that is done as one tile. */
#define SMALL_PROBLEM (512 * 512)
/* Rows and columns of a tile otherwise: the tile and the rows it is made of fit in L2. From
 * LARGE_PROBLEM rows and columns on there are tiles enough for many threads also when they are
 * larger, and larger ones spend less time on packing. */
#define TILE_SIDE 256
#define TILE_SIDE_LARGE 512
#define LARGE_PROBLEM 4096
/* Fewer rows make wider tiles, up to this. */
#define TILE_WIDEST 1024

static int64_t min_side(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t blocks_of(int64_t n, int64_t side) { return (n + side - 1) / side; }

int64_t ak__similarity_columns(const ak__similarity *sim)
{
    int64_t n = 0;
    for (int i = 0; i < sim->sources; i++)
        n += sim->candidates[i].n;
    return n;
}

/* How the problem is cut. */
typedef struct tile_plan {
    int64_t height, width;      /* of a tile */
    int64_t row_blocks;
    int64_t column_blocks;      /* of all sources together */
} tile_plan;

bool ak__similarity_is_small(const ak__similarity *sim)
{
    const int64_t C = ak__similarity_columns(sim);
    if (ak__similarity_tile > 0)
        return sim->sources == 1 && sim->R <= ak__similarity_tile && C <= ak__similarity_tile;
    return sim->sources == 1 && sim->R * C <= SMALL_PROBLEM;
}

static tile_plan plan_of(const ak__similarity *sim)
{
    const int64_t C = ak__similarity_columns(sim);
    const int64_t side = min_side(sim->R, C) >= LARGE_PROBLEM ? TILE_SIDE_LARGE : TILE_SIDE;
    tile_plan p = { .height = side, .width = side };
    if (ak__similarity_tile > 0) {
        p.height = p.width = ak__similarity_tile;
    } else if (ak__similarity_is_small(sim)) {
        p.height = sim->R;
        p.width = sim->candidates[0].n;
    } else if (!sim->symmetric && sim->R < TILE_SIDE) {
        p.height = sim->R;
        p.width = min_side(TILE_SIDE * TILE_SIDE / sim->R, TILE_WIDEST);
    }
    p.row_blocks = blocks_of(sim->R, p.height);
    for (int i = 0; i < sim->sources; i++)
        p.column_blocks += blocks_of(sim->candidates[i].n, p.width);
    return p;
}

static int64_t scratch_of(const tile_plan *p)
{
    return p->height * p->width + AK__TILE_ROWS * p->width;
}

/* Threads that may work at tiles. A step of one tile is left to the threads of the product. */
static int64_t team_of(const tile_plan *p)
{
    return min_side(p->row_blocks, p->column_blocks) > 1 && !ak__in_parallel() ? ak__max_threads()
                                                                              : 1;
}

size_t ak__similarity_memory(const ak__similarity *sim)
{
    const tile_plan p = plan_of(sim);
    return (size_t)(team_of(&p) * scratch_of(&p));
}

/* ---- masks ----------------------------------------------------------------------------------- */

static void mask_self(const ak__tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        const int64_t j = t->r0 + i - t->c0;
        if (j >= 0 && j < t->n)
            t->s[i * t->ld + j] = -(ak_real)INFINITY;
    }
}

static void mask_samples(const ak__pair_mask *mask, const ak__tile *t)
{
    const int32_t *ids = mask->ids;
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld;
        const int64_t a = (t->r0 + i) % mask->samples;
        int64_t b = t->c0 % mask->samples;
        for (int64_t j = 0; j < t->n; j++, b = b + 1 == mask->samples ? 0 : b + 1) {
            const bool other = a != b && (mask->others || (ids && ids[a] == ids[b]));
            if (other || (ids && (ids[a] == -1 || ids[b] == -1)))
                s[j] = -(ak_real)INFINITY;
        }
    }
}

/* Columns of a queue have no id; a padding row has no candidates there either. */
static void mask_padding_rows(const ak__pair_mask *mask, const ak__tile *t)
{
    for (int64_t i = 0; i < t->m; i++)
        if (mask->ids[(t->r0 + i) % mask->samples] == -1)
            for (int64_t j = 0; j < t->n; j++)
                t->s[i * t->ld + j] = -(ak_real)INFINITY;
}

static void mask_weights(const ak__pair_mask *mask, const ak__tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld;
        const ak_real *w = mask->weights + (t->r0 + i) * mask->ld + t->c0;
        for (int64_t j = 0; j < t->n; j++)
            if (!(w[j] > 0))
                s[j] = -(ak_real)INFINITY;
    }
}

static void apply_mask(const ak__similarity *sim, const ak__tile *t)
{
    const ak__pair_mask *mask = &sim->mask;
    if (mask->self && t->source == 0)
        mask_self(t);
    if (t->source == 0 && (mask->ids || mask->others))
        mask_samples(mask, t);
    if (t->source != 0 && mask->ids)
        mask_padding_rows(mask, t);
    if (mask->weights)
        mask_weights(mask, t);
}

/* ---- the walk -------------------------------------------------------------------------------- */

typedef struct sweep {
    const ak__similarity *sim;
    tile_plan    plan;
    ak__tile_fn *fn;
    bool         gradient;
} sweep;

/* dX += G Y, in pieces of columns: so narrow, the product reads G where it is, and that is faster
 * than packing what is used for 128 columns or so. */
#define PIECE 64
static void add_product(ak_real *dx, const ak__tile *t, const ak_real *y, int64_t D)
{
    for (int64_t d = 0; d < D; d += PIECE)
        ak__gemm(AK__NN, t->m, min_side(PIECE, D - d), t->n, 1, t->s, t->ld, y + d, D, 1, dx + d, D,
                 NULL);
}

/* One tile: block i of the rows, block j of the columns. */
static void do_tile(const sweep *w, int64_t i, int64_t j, int thread)
{
    const ak__similarity *sim = w->sim;
    const tile_plan *p = &w->plan;
    ak__tile t = { .rows = true, .columns = sim->two_sided || sim->symmetric, .stride = p->width };
    int64_t first = j;                  /* block of columns within its source */
    while (first >= blocks_of(sim->candidates[t.source].n, p->width)) {
        t.c0 += sim->candidates[t.source].n;
        first -= blocks_of(sim->candidates[t.source++].n, p->width);
    }
    const ak__candidates *c = &sim->candidates[t.source];
    const int64_t D = sim->D, start = first * p->width;
    t.c0 += start;
    t.n = min_side(p->width, c->n - start);
    t.r0 = i * p->height;
    t.m = min_side(p->height, sim->R - t.r0);
    if (sim->symmetric && i == j)
        t.columns = false;              /* every anchor of the block is a row here */

    ak_real *memory = sim->memory + thread * scratch_of(p);
    t.scratch = memory + p->height * p->width;
    t.s = sim->keep ? sim->keep : memory;
    t.ld = sim->keep ? c->n : p->width;
    const ak_real *x = sim->x + t.r0 * D, *y = c->y + start * D;
    if (!sim->keep || !sim->kept) {
        ak__gemm(AK__NT, t.m, t.n, D, (ak_real)sim->scale, x, D, y, D, 0, t.s, t.ld, NULL);
        apply_mask(sim, &t);
    }
    w->fn(sim, &t);
    if (!w->gradient)
        return;
    if (sim->dx)
        add_product(sim->dx + t.r0 * D, &t, y, D);
    if (c->dy)
        ak__gemm(AK__TN, t.n, D, t.m, 1, t.s, t.ld, x, D, 1, c->dy + start * D, D, NULL);
}

/* Step s: tiles (i, (i + s) mod n) of the longer side. */
static void walk_rectangle(const sweep *w)
{
    const int64_t rows = w->plan.row_blocks, columns = w->plan.column_blocks;
    const int64_t most = rows > columns ? rows : columns, count = min_side(rows, columns);
    for (int64_t s = 0; s < most; s++) {
        AK__PARALLEL_FOR_DYNAMIC(a, count, count > 1) {
            const int64_t b = (a + s) % most;
            do_tile(w, rows > columns ? b : a, rows > columns ? a : b, ak__thread_id());
        }
    }
}

/* All pairs of n blocks: the diagonal, then the rounds of a tournament of n players, or of n + 1
 * where the last one is missing if n is odd. */
static void walk_triangle(const sweep *w)
{
    const int64_t n = w->plan.row_blocks, ring = n % 2 ? n : n - 1;
    AK__PARALLEL_FOR_DYNAMIC(i, n, n > 1)
        do_tile(w, i, i, ak__thread_id());
    for (int64_t round = 0; n > 1 && round < ring; round++) {
        const int64_t pairs = (ring + 1) / 2;
        AK__PARALLEL_FOR_DYNAMIC(k, pairs, pairs > 1) {
            const int64_t a = (round + k) % ring;
            const int64_t b = k == 0 ? ring : (round - k + ring) % ring;
            if (b < n)
                do_tile(w, min_side(a, b), a > b ? a : b, ak__thread_id());
        }
    }
}

static void walk_all(ak__similarity *sim, ak__tile_fn *fn, bool gradient)
{
    const sweep w = { .sim = sim, .plan = plan_of(sim), .fn = fn, .gradient = gradient };
    if (sim->symmetric)
        walk_triangle(&w);
    else
        walk_rectangle(&w);
}

void ak__similarity_absorb(ak__similarity *sim, ak__tile_fn *absorb)
{
    sim->kept = false;
    if (!ak__similarity_is_small(sim))
        sim->keep = NULL;
    walk_all(sim, absorb, false);
    sim->kept = sim->keep != NULL;
}

void ak__similarity_gradient(ak__similarity *sim, ak__tile_fn *gradient)
{
    if (!ak__similarity_is_small(sim))
        sim->keep = NULL;
    walk_all(sim, gradient, true);
    sim->kept = false;
}
