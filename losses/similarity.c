/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the similarity engine: blocks and tiles, their schedule, masks, products. */
#include "losses/similarity.h"

#include "base/parallel.h"
#include "tensor/panels.h"

#include <math.h>

int64_t ak__similarity_tile;

/* A tile has at most this many rows and columns: it stays in L2 from the product that makes it
 * to the products that use its gradient up. */
#define TILE_SIDE 256
/* The same where operands are split, which take half as much again. */
#define SPLIT_TILE_SIDE 128
#define SPLIT_BLOCK_ELEMENTS (64 * 1024)
/* The same in a block on the diagonal of a symmetric problem, whose tiles below the diagonal are
 * left out: the smaller a tile, the less of those on the diagonal is done twice. */
#define DIAGONAL_SIDE 128
/* A block has at most this many, or as many as make BLOCK_ELEMENTS of X. */
#define LARGEST_BLOCK 1024
#define BLOCK_ELEMENTS (128 * 1024)
/* Scores are kept from one sweep to the other up to this many (10 MB in float): reading them again
 * costs less than making them again. */
#define KEPT_SCORES (5 * 512 * 1024)

static int64_t min_side(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max_side(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

int64_t ak__similarity_columns(const ak__similarity *sim)
{
    int64_t n = 0;
    for (int i = 0; i < sim->sources; i++)
        n += sim->candidates[i].n;
    return n;
}

/* ---- how the problem is cut ------------------------------------------------------------------ */

/* Blocks are what threads share out, tiles what a program sees. A block's rows of X and Y are
 * packed once for all its tiles. */
typedef struct tile_plan {
    int64_t height, width;              /* of a block */
    int64_t tile_height, tile_width;
    int64_t diagonal;                   /* both, in a block on the diagonal */
    int64_t row_blocks, column_blocks;  /* column blocks of all sources together */
} tile_plan;

/* n in equal parts of at most `side`. */
static int64_t even_side(int64_t n, int64_t side) { return ceil_div(n, ceil_div(n, side)); }

/* Side of a block along an axis of n embeddings. Larger blocks spend less on packing; smaller ones
 * leave enough of them for the threads. */
static int64_t block_side(int64_t n, int64_t D)
{
    const int64_t elements = ak__panels_are_split() ? SPLIT_BLOCK_ELEMENTS : BLOCK_ELEMENTS;
    const int64_t most = max_side(elements / D, 128);
    const int64_t side = n <= 512 ? 128 : n < 4096 ? TILE_SIDE : n < 8192 ? 512 : LARGEST_BLOCK;
    return even_side(n, min_side(side, most));
}

static tile_plan plan_of(const ak__similarity *sim)
{
    const int64_t C = sim->candidates[0].n > 0 ? sim->candidates[0].n : 1;
    tile_plan p = { .height = block_side(sim->R, sim->D), .width = block_side(C, sim->D) };
    if (sim->sources > 1)
        p.width = block_side(max_side(C, sim->candidates[1].n), sim->D);
    if (p.height == sim->R && sim->R >= 32 && ak__similarity_columns(sim) >= 1024)
        p.height = ceil_div(sim->R, 2);         /* something for a second thread */
    if (sim->symmetric)
        p.width = p.height;
    if (ak__similarity_tile > 0)
        p.height = p.width = min_side(ak__similarity_tile, LARGEST_BLOCK);
    const int64_t side = ak__panels_are_split() ? SPLIT_TILE_SIDE : TILE_SIDE;
    p.tile_height = even_side(p.height, side);
    p.tile_width = even_side(p.width, side);
    p.diagonal = even_side(p.height, DIAGONAL_SIDE);
    p.row_blocks = ceil_div(sim->R, p.height);
    for (int i = 0; i < sim->sources; i++)
        p.column_blocks += ceil_div(sim->candidates[i].n, p.width);
    return p;
}

static int64_t count_blocks(const ak__similarity *sim, const tile_plan *p)
{
    const int64_t n = p->row_blocks;
    return sim->symmetric ? n * (n + 1) / 2 : n * p->column_blocks;
}

/* Where the kept scores of block (i, j) start, in blocks; i <= j if symmetric. */
static int64_t block_index(const ak__similarity *sim, const tile_plan *p, int64_t i, int64_t j)
{
    return sim->symmetric ? i * (2 * p->row_blocks - i + 1) / 2 + j - i : i * p->column_blocks + j;
}

int64_t ak__similarity_kept(const ak__similarity *sim)
{
    const tile_plan p = plan_of(sim);
    const int64_t scores = count_blocks(sim, &p) * p.height * p.width;
    const bool one = count_blocks(sim, &p) == 1;
    return scores <= KEPT_SCORES && (one || ak__similarity_tile == 0) ? scores : 0;
}

/* A thread's memory: where in it what lies, in elements. Parts begin on cache lines. */
typedef struct block_memory {
    int64_t tile, scratch, turned;              /* scores; rows for the program; G^T packed */
    int64_t x_rows, y_rows;                     /* times their factors: a block, a tile's width */
    int64_t x_left;                             /* for S = X Y^T, where it is packed */
    int64_t y_right;                            /* for S = X Y^T */
    int64_t x_right, y_below;                   /* for dY += G^T X and dX += G Y */
    int64_t size;
} block_memory;

static int64_t take(int64_t *at, int64_t n)
{
    const int64_t here = *at;
    *at += round_up(n, 64 / (int64_t)sizeof(ak_real));
    return here;
}

/* Right panels of n embeddings, packed in pieces of `side`, each of which may end in an unfilled
 * panel: to be multiplied along D, or to be summed over the embeddings. */
static int64_t pieces_size(int64_t n, int64_t side, int64_t D, bool summed)
{
    int64_t size = 0;
    for (int64_t i = 0; i < n; i += side) {
        const int64_t piece = min_side(side, n - i);
        size += summed ? ak__panels_size(D, piece, AK__RIGHT)
                       : ak__panels_size(piece, D, AK__RIGHT);
    }
    return size;
}

/* The same of left panels that are multiplied along D. */
static int64_t left_size(int64_t n, int64_t side, int64_t D)
{
    return n / side * ak__panels_size(side, D, AK__LEFT) + ak__panels_size(n % side, D, AK__LEFT);
}

static block_memory memory_of(const tile_plan *p, int64_t D)
{
    block_memory m = { 0 };
    int64_t at = 0;
    m.tile = take(&at, p->tile_height * p->tile_width);
    m.scratch = take(&at, AK__TILE_ROWS * p->tile_width);
    m.turned = take(&at, max_side(ak__panels_size(p->tile_width, p->tile_height, AK__LEFT),
                                  ak__panels_size(p->diagonal, p->diagonal, AK__LEFT)));
    m.x_rows = take(&at, p->height * D);
    m.y_rows = take(&at, p->tile_width * D);
    m.x_left = take(&at, ak__panels_are_split()
                             ? max_side(left_size(p->height, p->tile_height, D),
                                        left_size(p->height, p->diagonal, D)) : 0);
    m.y_right = take(&at, max_side(pieces_size(p->width, p->tile_width, D, false),
                                   pieces_size(p->width, p->diagonal, D, false)));
    m.x_right = take(&at, max_side(pieces_size(p->height, p->tile_height, D, true),
                                   pieces_size(p->height, p->diagonal, D, true)));
    m.y_below = take(&at, max_side(pieces_size(p->width, p->tile_width, D, true),
                                   pieces_size(p->width, p->diagonal, D, true)));
    m.size = at;
    return m;
}

/* Threads that may work at blocks. */
static int64_t team_of(const tile_plan *p)
{
    return min_side(p->row_blocks, p->column_blocks) > 1 && !ak__in_parallel() ? ak__max_threads()
                                                                              : 1;
}

size_t ak__similarity_memory(const ak__similarity *sim)
{
    const tile_plan p = plan_of(sim);
    return (size_t)(team_of(&p) * memory_of(&p, sim->D).size);
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

/* ---- one block ------------------------------------------------------------------------------- */

#define MOST_PIECES (LARGEST_BLOCK / DIAGONAL_SIDE)

typedef struct sweep {
    const ak__similarity *sim;
    tile_plan    plan;
    block_memory memory;
    ak__tile_fn *fn;
    bool         gradient;
} sweep;

/* A block and its operands, packed in pieces of a tile's rows or columns. One on the diagonal is
 * its own mirror image: tiles below the diagonal are left out, those above stand for them, and in
 * one that is cut by the diagonal every anchor is a row. */
typedef struct block {
    int64_t  r0, m;                     /* rows */
    int64_t  start, n;                  /* columns within their source */
    int64_t  c0;                        /* first column, counted through all sources */
    int      source;
    bool     columns;                   /* as anchors too */
    bool     diagonal;
    int64_t  tile_height, tile_width;
    ak_real *kept;                      /* where its scores stay, NULL = nowhere */
    const ak_real *x;                   /* [m, D], times their factors */
    ak__panels x_left[MOST_PIECES];     /* of x, only if panels are split */
    ak__panels x_right[MOST_PIECES], y_right[MOST_PIECES], y_below[MOST_PIECES];
} block;

static block block_at(const sweep *w, int64_t i, int64_t j)
{
    const ak__similarity *sim = w->sim;
    const tile_plan *p = &w->plan;
    block b = { .r0 = i * p->height, .columns = sim->two_sided || sim->symmetric,
                .diagonal = sim->symmetric && i == j };
    int64_t first = j;                  /* block of columns within its source */
    while (first >= ceil_div(sim->candidates[b.source].n, p->width)) {
        b.c0 += sim->candidates[b.source].n;
        first -= ceil_div(sim->candidates[b.source++].n, p->width);
    }
    b.m = min_side(p->height, sim->R - b.r0);
    b.start = first * p->width;
    b.c0 += b.start;
    b.n = min_side(p->width, sim->candidates[b.source].n - b.start);
    b.tile_height = b.diagonal ? p->diagonal : p->tile_height;
    b.tile_width = b.diagonal ? p->diagonal : p->tile_width;
    if (sim->keep)
        b.kept = sim->keep + block_index(sim, p, i, j) * p->height * p->width;
    return b;
}

/* Rows first .. first+n-1 of x times their factors: where they are if they have none, else `to`. */
static const ak_real *true_rows(ak_real *to, const ak_real *x, const ak_real *inverse,
                                int64_t first, int64_t n, int64_t D)
{
    x += first * D;
    if (!inverse)
        return x;
    for (int64_t r = 0; r < n; r++)
        ak__k.scale(to + r * D, inverse[first + r], x + r * D, D);
    return to;
}

/* The rows of the block in pieces of a tile's, to be multiplied along D. */
static void pack_left(block *b, ak_real *to, int64_t D)
{
    const int64_t side = b->tile_height;
    for (int64_t i = 0, a = 0; i < b->m; i += side, a++) {
        const int64_t m = min_side(side, b->m - i);
        b->x_left[a] = ak__panels_pack(to, b->x + i * D, D, false, m, D, 1, AK__LEFT);
        to += ak__panels_size(m, D, AK__LEFT);
    }
}

/* x in pieces of a tile's rows, to be summed over the rows. */
static void pack_x(const sweep *w, block *b, ak_real *memory)
{
    const ak__similarity *sim = w->sim;
    const int64_t D = sim->D, side = b->tile_height;
    const bool right = w->gradient && sim->candidates[b->source].dy;
    if (b->kept && sim->kept && !right)
        return;
    b->x = true_rows(memory + w->memory.x_rows, sim->x, sim->x_inverse, b->r0, b->m, D);
    if (ak__panels_are_split() && !(b->kept && sim->kept))
        pack_left(b, memory + w->memory.x_left, D);
    ak_real *to = memory + w->memory.x_right;
    ak__panels *out = b->x_right;
    for (int64_t i = 0; right && i < b->m; i += side, out++) {
        *out = ak__panels_pack(to, b->x + i * D, D, true, D, min_side(side, b->m - i), 1,
                               AK__RIGHT);
        to += ak__panels_size(D, out->K, AK__RIGHT);
    }
}

/* y in pieces of a tile's columns, to be multiplied along D (`right`) and to be summed over the
 * columns (`below`). */
static void pack_y(const sweep *w, block *b, ak_real *memory)
{
    const ak__similarity *sim = w->sim;
    const ak__candidates *from = &sim->candidates[b->source];
    const int64_t D = sim->D, side = b->tile_width;
    const bool right = !(b->kept && sim->kept), below = w->gradient && sim->dx;
    ak_real *to_right = memory + w->memory.y_right, *to_below = memory + w->memory.y_below;
    for (int64_t j = 0, c = 0; (right || below) && j < b->n; j += side, c++) {
        const int64_t n = min_side(side, b->n - j);
        const ak_real *y = true_rows(memory + w->memory.y_rows, from->y, from->inverse,
                                     b->start + j, n, D);
        if (right) {
            b->y_right[c] = ak__panels_pack(to_right, y, D, false, n, D, (ak_real)sim->scale,
                                            AK__RIGHT);
            to_right += ak__panels_size(n, D, AK__RIGHT);
        }
        if (below) {
            b->y_below[c] = ak__panels_pack(to_below, y, D, true, D, n, 1, AK__RIGHT);
            to_below += ak__panels_size(D, n, AK__RIGHT);
        }
    }
}

/* What the scores of a tile give to the gradients: piece a of the rows, c of the columns. */
static void add_gradients(const sweep *w, const block *b, const ak__tile *t, int64_t a, int64_t c,
                          ak_real *memory)
{
    const ak__similarity *sim = w->sim;
    const int64_t D = sim->D;
    if (sim->dx)
        ak__panels_multiply_rows(t->s, t->ld, t->m, &b->y_below[c], sim->dx + t->r0 * D, D,
                                 true);
    ak_real *dy = sim->candidates[b->source].dy;
    if (dy) {
        const ak__panels turned = ak__panels_pack(memory + w->memory.turned, t->s, t->ld, true,
                                                  t->n, t->m, 1, AK__LEFT);
        ak__panels_multiply(&turned, &b->x_right[a], dy + (b->start + c * b->tile_width) * D, D,
                            true);
    }
}

/* One tile: piece a of the block's rows, piece c of its columns. */
static void do_tile(const sweep *w, const block *b, int64_t a, int64_t c, ak_real *memory)
{
    const ak__similarity *sim = w->sim;
    const int64_t D = sim->D, i = a * b->tile_height, j = c * b->tile_width;
    ak__tile t = { .s = memory + w->memory.tile, .ld = b->tile_width, .r0 = b->r0 + i,
                   .m = min_side(b->tile_height, b->m - i), .c0 = b->c0 + j,
                   .n = min_side(b->tile_width, b->n - j), .source = b->source, .rows = true,
                   .columns = b->columns && !(b->diagonal && a == c),
                   .scratch = memory + w->memory.scratch, .stride = w->plan.tile_width };
    if (b->kept) {
        t.s = b->kept + i * w->plan.width + j;
        t.ld = w->plan.width;
    }
    if (!(b->kept && sim->kept)) {
        if (ak__panels_are_split())
            ak__panels_multiply(&b->x_left[a], &b->y_right[c], t.s, t.ld, false);
        else
            ak__panels_multiply_rows(b->x + i * D, D, t.m, &b->y_right[c], t.s, t.ld, false);
        apply_mask(sim, &t);
    }
    w->fn(sim, &t);
    if (w->gradient)
        add_gradients(w, b, &t, a, c, memory);
}

static void do_block(const sweep *w, int64_t i, int64_t j, int thread)
{
    ak_real *memory = w->sim->memory + thread * w->memory.size;
    block b = block_at(w, i, j);
    pack_x(w, &b, memory);
    pack_y(w, &b, memory);
    for (int64_t a = 0; a * b.tile_height < b.m; a++)
        for (int64_t c = b.diagonal ? a : 0; c * b.tile_width < b.n; c++)
            do_tile(w, &b, a, c, memory);
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* Step s: blocks (i, (i + s) mod n) of the longer side. */
static void walk_rectangle(const sweep *w)
{
    const int64_t rows = w->plan.row_blocks, columns = w->plan.column_blocks;
    const int64_t most = rows > columns ? rows : columns, count = min_side(rows, columns);
    for (int64_t s = 0; s < most; s++) {
        AK__PARALLEL_FOR_DYNAMIC(a, count, count > 1) {
            const int64_t b = (a + s) % most;
            do_block(w, rows > columns ? b : a, rows > columns ? a : b, ak__thread_id());
        }
    }
}

/* All pairs of n blocks: the diagonal, then the rounds of a tournament of n players, or of n + 1
 * where the last one is missing if n is odd. */
static void walk_triangle(const sweep *w)
{
    const int64_t n = w->plan.row_blocks, ring = n % 2 ? n : n - 1;
    AK__PARALLEL_FOR_DYNAMIC(i, n, n > 1)
        do_block(w, i, i, ak__thread_id());
    for (int64_t round = 0; n > 1 && round < ring; round++) {
        const int64_t pairs = (ring + 1) / 2;
        AK__PARALLEL_FOR_DYNAMIC(k, pairs, pairs > 1) {
            const int64_t a = (round + k) % ring;
            const int64_t b = k == 0 ? ring : (round - k + ring) % ring;
            if (b < n)
                do_block(w, min_side(a, b), a > b ? a : b, ak__thread_id());
        }
    }
}

static void walk_all(ak__similarity *sim, ak__tile_fn *fn, bool gradient)
{
    const tile_plan plan = plan_of(sim);
    const sweep w = { .sim = sim, .plan = plan, .memory = memory_of(&plan, sim->D), .fn = fn,
                      .gradient = gradient };
    if (sim->symmetric)
        walk_triangle(&w);
    else
        walk_rectangle(&w);
}

void ak__similarity_absorb(ak__similarity *sim, ak__tile_fn *absorb)
{
    sim->kept = false;
    walk_all(sim, absorb, false);
    sim->kept = sim->keep != NULL;
}

void ak__similarity_gradient(ak__similarity *sim, ak__tile_fn *gradient)
{
    walk_all(sim, gradient, true);
    sim->kept = false;
}
