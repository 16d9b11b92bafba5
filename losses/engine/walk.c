/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over pairs: blocks and tiles, their schedule, products. */
#include "losses/engine/walk.h"

#include "base/carve.h"
#include "base/parallel.h"
#include "base/whole.h"
#include "tensor/panels.h"

#include <string.h>

int64_t ak__walk_tile;

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

int64_t ak__walk_columns(const ak__walk *w)
{
    int64_t n = 0;
    for (int i = 0; i < w->sets; i++)
        n += w->count[i];
    return n;
}

/* Candidates that are there already; sets that are made on the fly are walked in chunks. */
static bool is_made(const ak__walk *w, int set) { return w->scores[0].set[set].maker.make; }
static int64_t held(const ak__walk *w, int set) { return is_made(w, set) ? 0 : w->count[set]; }

static bool any_made(const ak__walk *w)
{
    bool any = false;
    for (int i = 0; i < w->sets; i++)
        any = any || is_made(w, i);
    return any;
}

static int64_t longest_row(const ak__walk *w)
{
    int64_t D = 0;
    for (int p = 0; p < w->matrices; p++)
        D = ak__max(D, w->scores[p].D);
    return D;
}

/* ---- how the problem is cut ------------------------------------------------------------------ */

/* Blocks are what threads share out, tiles what a program sees. A block's rows of X and Y are
 * packed once for all its tiles. */
typedef struct tile_plan {
    int64_t height, width;              /* of a block */
    int64_t tile_height, tile_width;
    int64_t diagonal;                   /* both, in a block on the diagonal */
    int64_t row_blocks, column_blocks;  /* column blocks of all sets together */
} tile_plan;

/* n in equal parts of at most `side`. */
static int64_t even_side(int64_t n, int64_t side) { return ak__ceil_div(n, ak__ceil_div(n, side)); }

/* Side of a block along an axis of n embeddings. Larger blocks spend less on packing; smaller ones
 * leave enough of them for the threads. */
static int64_t block_side(int64_t n, int64_t D)
{
    const int64_t elements = ak__panels_are_split() ? SPLIT_BLOCK_ELEMENTS : BLOCK_ELEMENTS;
    const int64_t most = ak__max(elements / D, 128);
    const int64_t side = n <= 512 ? 128 : n < 4096 ? TILE_SIDE : n < 8192 ? 512 : LARGEST_BLOCK;
    return even_side(n, ak__min(side, most));
}

static tile_plan plan_of(const ak__walk *w)
{
    const int64_t D = longest_row(w);
    int64_t C = 1;
    for (int i = 0; i < w->sets; i++)
        C = ak__max(C, held(w, i));
    tile_plan p = { .height = block_side(w->R, D), .width = block_side(C, D) };
    if (p.height == w->R && w->R >= 32 && ak__walk_columns(w) >= 1024)
        p.height = ak__ceil_div(w->R, 2);           /* something for a second thread */
    if (w->symmetric)
        p.width = p.height;
    if (ak__walk_tile > 0)
        p.height = p.width = ak__min(ak__walk_tile, LARGEST_BLOCK);
    const int64_t side = ak__panels_are_split() ? SPLIT_TILE_SIDE : TILE_SIDE;
    p.tile_height = even_side(p.height, side);
    p.tile_width = even_side(p.width, side);
    p.diagonal = even_side(p.height, DIAGONAL_SIDE);
    p.row_blocks = ak__ceil_div(w->R, p.height);
    for (int i = 0; i < w->sets; i++)
        p.column_blocks += ak__ceil_div(held(w, i), p.width);
    return p;
}

static int64_t count_blocks(const ak__walk *w, const tile_plan *p)
{
    const int64_t n = p->row_blocks;
    return w->symmetric ? n * (n + 1) / 2 : n * p->column_blocks;
}

/* Where the kept scores of block (i, j) start, in blocks; i <= j if symmetric. */
static int64_t block_index(const ak__walk *w, const tile_plan *p, int64_t i, int64_t j)
{
    return w->symmetric ? i * (2 * p->row_blocks - i + 1) / 2 + j - i : i * p->column_blocks + j;
}

int64_t ak__walk_kept(const ak__walk *w)
{
    const tile_plan p = plan_of(w);
    const int64_t scores = count_blocks(w, &p) * p.height * p.width * w->matrices;
    const bool one = count_blocks(w, &p) == 1;
    return scores <= w->keep_most && (one || ak__walk_tile == 0) && !any_made(w) ? scores : 0;
}

/* A thread's memory for one matrix. */
typedef struct block_memory {
    ak_real *tile;                              /* scores */
    ak_real *x_rows, *y_rows;                   /* times their factors: a block, a tile's width */
    ak_real *x_left;                            /* for S = X Y^T, where it is packed */
    ak_real *y_right;                           /* for S = X Y^T */
    ak_real *x_right, *y_below;                 /* for dY += G^T X and dX += G Y */
} block_memory;

/* The same for all matrices. */
typedef struct walk_memory {
    ak_real *scratch, *turned;                  /* rows for the program; G^T packed */
    block_memory of[AK__MAX_SCORES];
} walk_memory;

/* Right panels of n embeddings, packed in pieces of `side`, each of which may end in an unfilled
 * panel: to be multiplied along D, or to be summed over the embeddings. */
static int64_t pieces_size(int64_t n, int64_t side, int64_t D, bool summed)
{
    int64_t size = 0;
    for (int64_t i = 0; i < n; i += side) {
        const int64_t piece = ak__min(side, n - i);
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

static block_memory memory_of_matrix(const tile_plan *p, int64_t D, ak__carver *c)
{
    block_memory m = { .tile = ak__carve_reals(c, p->tile_height * p->tile_width) };
    m.x_rows = ak__carve_reals(c, p->height * D);
    m.y_rows = ak__carve_reals(c, p->tile_width * D);
    m.x_left = ak__carve_reals(c, ak__panels_are_split()
                                      ? ak__max(left_size(p->height, p->tile_height, D),
                                                left_size(p->height, p->diagonal, D)) : 0);
    m.y_right = ak__carve_reals(c, ak__max(pieces_size(p->width, p->tile_width, D, false),
                                           pieces_size(p->width, p->diagonal, D, false)));
    m.x_right = ak__carve_reals(c, ak__max(pieces_size(p->height, p->tile_height, D, true),
                                           pieces_size(p->height, p->diagonal, D, true)));
    m.y_below = ak__carve_reals(c, ak__max(pieces_size(p->width, p->tile_width, D, true),
                                           pieces_size(p->width, p->diagonal, D, true)));
    return m;
}

/* Lay out a thread's memory, from `memory` on (NULL: only count); its elements. */
static int64_t lay_out(walk_memory *m, const ak__walk *w, const tile_plan *p, ak_real *memory)
{
    ak__carver c = { .base = (char *)memory };
    m->scratch = ak__carve_reals(&c, AK__TILE_ROWS * p->tile_width);
    m->turned = ak__carve_reals(&c, ak__max(ak__panels_size(p->tile_width, p->tile_height,
                                                            AK__LEFT),
                                            ak__panels_size(p->diagonal, p->diagonal, AK__LEFT)));
    for (int i = 0; i < w->matrices; i++)
        m->of[i] = memory_of_matrix(p, w->scores[i].D, &c);
    return (int64_t)(c.used / sizeof(ak_real));
}

/* Threads that may work at blocks. */
static int64_t team_of(const tile_plan *p)
{
    return ak__min(p->row_blocks, p->column_blocks) > 1 && !ak__in_parallel() ? ak__max_threads()
                                                                              : 1;
}

static int64_t memory_of_team(const ak__walk *w)
{
    const tile_plan p = plan_of(w);
    walk_memory one;
    return team_of(&p) * lay_out(&one, w, &p, NULL);
}

/* The walk over columns first .. first+n-1 of one set, as if those were there. */
static ak__walk chunk_of(const ak__walk *w, int set, int64_t first, int64_t n)
{
    ak__walk c = *w;
    c.sets = 1;
    c.count[0] = n;
    c.anchors[0] = w->anchors[set];
    c.set0 = set;
    for (int i = 0; i < set; i++)
        c.c0 += w->count[i];
    c.c0 += first;
    for (int p = 0; p < w->matrices; p++) {
        const ak__candidates *from = &w->scores[p].set[set];
        ak__candidates *to = &c.scores[p].set[0];
        *to = (ak__candidates){ 0 };
        if (from->maker.make)
            continue;
        to->y = from->y + first * w->scores[p].D;
        to->inverse = from->inverse ? from->inverse + first : NULL;
        to->dy = from->dy ? from->dy + first * w->scores[p].D : NULL;
    }
    return c;
}

/* Rows of a chunk that are made, and their gradient. */
static int64_t chunk_elements(const ak__walk *w)
{
    int64_t D = 0;
    for (int p = 0; p < w->matrices; p++)
        D += ak__round_to(w->scores[p].D, 16);
    return 2 * AK__CHUNK * D;
}

size_t ak__walk_memory(const ak__walk *w)
{
    int64_t size = memory_of_team(w), chunk = 0;
    for (int i = 0; i < w->sets; i++) {
        if (!is_made(w, i))
            continue;
        const ak__walk c = chunk_of(w, i, 0, ak__min(AK__CHUNK, w->count[i]));
        size = ak__max(size, memory_of_team(&c));
        chunk = chunk_elements(w);
    }
    return (size_t)(size + chunk);
}

/* ---- one block ------------------------------------------------------------------------------- */

#define MOST_PIECES (LARGEST_BLOCK / DIAGONAL_SIDE)

typedef struct sweep {
    const ak__walk *walk;
    tile_plan    plan;
    int64_t      room;                  /* elements of a thread's memory */
    ak__tile_fn *fn;
    bool         gradient;
} sweep;

/* Operands of a block in one matrix, packed in pieces of a tile's rows or columns. */
typedef struct block_operands {
    const ak_real *x;                   /* [m, D], times their factors */
    ak__panels x_left[MOST_PIECES];     /* of x, only if panels are split */
    ak__panels x_right[MOST_PIECES], y_right[MOST_PIECES], y_below[MOST_PIECES];
} block_operands;

/* One on the diagonal is its own mirror image: tiles below the diagonal are left out, those above
 * stand for them, and in one that is cut by the diagonal every anchor is a row. */
typedef struct block {
    int64_t  r0, m;                     /* rows */
    int64_t  start, n;                  /* columns within their set */
    int64_t  c0;                        /* first column, counted through all sets */
    int      set;
    bool     columns;                   /* as anchors too */
    bool     diagonal;
    int64_t  tile_height, tile_width;
    ak_real *kept;                      /* where its scores stay, NULL = nowhere */
    block_operands of[AK__MAX_SCORES];
} block;

static void find_block(const sweep *s, int64_t i, int64_t j, block *b)
{
    const ak__walk *w = s->walk;
    const tile_plan *p = &s->plan;
    int64_t first = j, c0 = w->c0;      /* block of columns within its set */
    int set = 0;
    while (first >= ak__ceil_div(held(w, set), p->width)) {
        c0 += w->count[set];
        first -= ak__ceil_div(held(w, set++), p->width);
    }
    b->r0 = i * p->height;
    b->m = ak__min(p->height, w->R - b->r0);
    b->start = first * p->width;
    b->n = ak__min(p->width, held(w, set) - b->start);
    b->c0 = c0 + b->start;
    b->set = set;
    b->columns = w->anchors[set] || w->symmetric;
    b->diagonal = w->symmetric && i == j;
    b->tile_height = b->diagonal ? p->diagonal : p->tile_height;
    b->tile_width = b->diagonal ? p->diagonal : p->tile_width;
    b->kept = w->keep ? w->keep + block_index(w, p, i, j) * p->height * p->width * w->matrices
                      : NULL;
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
static void pack_left(const block *b, block_operands *o, ak_real *to, int64_t D)
{
    const int64_t side = b->tile_height;
    for (int64_t i = 0, a = 0; i < b->m; i += side, a++) {
        const int64_t m = ak__min(side, b->m - i);
        o->x_left[a] = ak__panels_pack(to, o->x + i * D, D, false, m, D, 1, AK__LEFT);
        to += ak__panels_size(m, D, AK__LEFT);
    }
}

static bool scores_are_there(const sweep *s, const block *b) { return b->kept && s->walk->kept; }

/* x in pieces of a tile's rows, to be summed over the rows. */
static void pack_x(const sweep *s, const block *b, int p, block_operands *o,
                   const walk_memory *memory)
{
    const ak__score_matrix *w = &s->walk->scores[p];
    const int64_t D = w->D, side = b->tile_height;
    const bool right = s->gradient && w->set[b->set].dy;
    if (scores_are_there(s, b) && !right)
        return;
    o->x = true_rows(memory->of[p].x_rows, w->x, w->x_inverse, b->r0, b->m, D);
    if (ak__panels_are_split() && !scores_are_there(s, b))
        pack_left(b, o, memory->of[p].x_left, D);
    ak_real *to = memory->of[p].x_right;
    ak__panels *out = o->x_right;
    for (int64_t i = 0; right && i < b->m; i += side, out++) {
        *out = ak__panels_pack(to, o->x + i * D, D, true, D, ak__min(side, b->m - i), 1,
                               AK__RIGHT);
        to += ak__panels_size(D, out->K, AK__RIGHT);
    }
}

/* y in pieces of a tile's columns, to be multiplied along D (`right`) and to be summed over the
 * columns (`below`). */
static void pack_y(const sweep *s, const block *b, int p, block_operands *o,
                   const walk_memory *memory)
{
    const ak__score_matrix *w = &s->walk->scores[p];
    const ak__candidates *from = &w->set[b->set];
    const block_memory *at = &memory->of[p];
    const int64_t D = w->D, side = b->tile_width;
    const bool right = !scores_are_there(s, b), below = s->gradient && w->dx;
    ak_real *to_right = at->y_right, *to_below = at->y_below;
    for (int64_t j = 0, c = 0; (right || below) && j < b->n; j += side, c++) {
        const int64_t n = ak__min(side, b->n - j);
        const ak_real *y = true_rows(at->y_rows, from->y, from->inverse, b->start + j, n, D);
        if (right) {
            o->y_right[c] = ak__panels_pack(to_right, y, D, false, n, D, (ak_real)w->scale,
                                            AK__RIGHT);
            to_right += ak__panels_size(n, D, AK__RIGHT);
        }
        if (below) {
            o->y_below[c] = ak__panels_pack(to_below, y, D, true, D, n, 1, AK__RIGHT);
            to_below += ak__panels_size(D, n, AK__RIGHT);
        }
    }
}

/* What the scores of a tile give to the gradients: piece a of the rows, c of the columns. */
static void add_gradients(const sweep *s, const block *b, const ak__tile *t, int p, int64_t a,
                          int64_t c, const walk_memory *memory)
{
    const ak__score_matrix *w = &s->walk->scores[p];
    const int64_t D = w->D;
    if (w->dx)
        ak__panels_multiply_rows(t->score[p], t->ld, t->m, &b->of[p].y_below[c],
                                 w->dx + t->r0 * D, D, true);
    ak_real *dy = w->set[b->set].dy;
    if (dy) {
        const ak__panels turned = ak__panels_pack(memory->turned, t->score[p], t->ld, true, t->n,
                                                  t->m, 1, AK__LEFT);
        ak__panels_multiply(&turned, &b->of[p].x_right[a],
                            dy + (b->start + c * b->tile_width) * D, D, true);
    }
}

/* The scores of a tile: piece a of the block's rows, piece c of its columns. */
static void make_scores(const sweep *s, const block *b, const ak__tile *t, int p, int64_t a,
                        int64_t c)
{
    const int64_t D = s->walk->scores[p].D;
    const block_operands *o = &b->of[p];
    if (ak__panels_are_split())
        ak__panels_multiply(&o->x_left[a], &o->y_right[c], t->score[p], t->ld, false);
    else
        ak__panels_multiply_rows(o->x + a * b->tile_height * D, D, t->m, &o->y_right[c],
                                 t->score[p], t->ld, false);
}

static void do_tile(const sweep *s, const block *b, int64_t a, int64_t c,
                    const walk_memory *memory)
{
    const ak__walk *w = s->walk;
    const int64_t i = a * b->tile_height, j = c * b->tile_width;
    ak__tile t = { .r0 = b->r0 + i, .m = ak__min(b->tile_height, b->m - i), .c0 = b->c0 + j,
                   .n = ak__min(b->tile_width, b->n - j), .set = w->set0 + b->set,
                   .columns = b->columns && !(b->diagonal && a == c),
                   .scratch = memory->scratch, .stride = s->plan.tile_width };
    /* A tile that is kept lies in one piece: in rows as long as the block's, often a power of two,
     * its rows would take each other's places in the cache. */
    t.ld = b->kept ? t.n : b->tile_width;
    for (int p = 0; p < w->matrices; p++)
        t.score[p] = b->kept ? b->kept + p * s->plan.height * s->plan.width + i * b->n + t.m * j
                             : memory->of[p].tile;
    t.s = t.score[0];
    if (!scores_are_there(s, b)) {
        for (int p = 0; p < w->matrices; p++)
            make_scores(s, b, &t, p, a, c);
        ak__rule_apply(&w->out, &t, w->matrices);
    }
    s->fn(w, &t);
    for (int p = 0; s->gradient && p < w->matrices; p++)
        add_gradients(s, b, &t, p, a, c, memory);
}

static void do_block(const sweep *s, int64_t i, int64_t j, int thread)
{
    walk_memory memory;
    block b;
    (void)lay_out(&memory, s->walk, &s->plan, s->walk->memory + thread * s->room);
    find_block(s, i, j, &b);
    for (int p = 0; p < s->walk->matrices; p++) {
        pack_x(s, &b, p, &b.of[p], &memory);
        pack_y(s, &b, p, &b.of[p], &memory);
    }
    for (int64_t a = 0; a * b.tile_height < b.m; a++)
        for (int64_t c = b.diagonal ? a : 0; c * b.tile_width < b.n; c++)
            do_tile(s, &b, a, c, &memory);
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* Step s: blocks (i, (i + s) mod n) of the longer side. */
static void walk_rectangle(const sweep *w)
{
    const int64_t rows = w->plan.row_blocks, columns = w->plan.column_blocks;
    const int64_t most = ak__max(rows, columns), count = ak__min(rows, columns);
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
                do_block(w, ak__min(a, b), ak__max(a, b), ak__thread_id());
        }
    }
}

/* Everything that is there. */
static void walk_held(const ak__walk *w, ak__tile_fn *fn, bool gradient)
{
    sweep s = { .walk = w, .plan = plan_of(w), .fn = fn, .gradient = gradient };
    if (s.plan.column_blocks == 0)
        return;
    walk_memory one;
    s.room = lay_out(&one, w, &s.plan, NULL);
    if (w->symmetric)
        walk_triangle(&s);
    else
        walk_rectangle(&s);
}

/* A set that is made: chunk after chunk, in the memory behind that of the threads. */
static void walk_made(const ak__walk *w, int set, ak__tile_fn *fn, bool gradient)
{
    const int64_t behind = (int64_t)ak__walk_memory(w) - chunk_elements(w);
    for (int64_t first = 0; first < w->count[set]; first += AK__CHUNK) {
        const int64_t n = ak__min(AK__CHUNK, w->count[set] - first);
        ak__walk c = chunk_of(w, set, first, n);
        ak_real *at = w->memory + behind;
        for (int p = 0; p < w->matrices; p++) {
            ak__candidates *to = &c.scores[p].set[0];
            const ak__maker *maker = &w->scores[p].set[set].maker;
            const int64_t size = AK__CHUNK * ak__round_to(w->scores[p].D, 16);
            if (!maker->make)
                continue;
            maker->make(maker->user, first, n, at);
            to->y = at;
            to->dy = gradient && maker->take ? at + size : NULL;
            if (to->dy)
                memset(to->dy, 0, (size_t)(n * w->scores[p].D) * sizeof *to->dy);
            at += 2 * size;
        }
        walk_held(&c, fn, gradient);
        for (int p = 0; p < w->matrices; p++) {
            const ak__maker *maker = &w->scores[p].set[set].maker;
            if (maker->make && c.scores[p].set[0].dy)
                maker->take(maker->user, first, n, c.scores[p].set[0].dy);
        }
    }
}

static void walk_all(const ak__walk *w, ak__tile_fn *fn, bool gradient)
{
    walk_held(w, fn, gradient);
    for (int i = 0; i < w->sets; i++)
        if (is_made(w, i))
            walk_made(w, i, fn, gradient);
}

void ak__walk_absorb(ak__walk *w, ak__tile_fn *absorb)
{
    walk_all(w, absorb, false);
    w->kept = w->keep != NULL;
}

void ak__walk_gradient(ak__walk *w, ak__tile_fn *gradient)
{
    walk_all(w, gradient, true);
    w->kept = false;
}
