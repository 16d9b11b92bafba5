/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over pairs: scores S = scale * X Y^T are made in tiles, so that a loss over all pairs of
 * embeddings needs memory O(N D) and never a matrix of size N x N.
 *
 * A loss is a pair program (engine/pairs.h). The walk makes a tile by a matrix product into a
 * buffer that fits the cache, sets what is no candidate to -inf (engine/rules.h), and calls it:
 *
 *     absorb(tile)      fold the tile into statistics of its rows and of its columns; scores stay
 *     ... the program turns statistics into the loss and the coefficients of the gradient ...
 *     gradient(tile)    overwrite each score s by dL/ds; the walk then adds
 *                       dX += G Y and dY += G^T X
 *
 * A cell may have several scores, of several pairs of embeddings: S_p = scale_p X_p Y_p^T. The
 * program then sees the P tiles of the same cells side by side, and leaves P gradients.
 *
 * Rows and columns are cut into blocks, a block of both into tiles that stay in cache. Blocks are
 * done in steps; within a step no two share rows or columns, so they run in parallel, and a program
 * may write the statistics of its rows and columns without locks. Which blocks make a step depends
 * on the sizes alone: every sum has one order, and the bits are the same for any number of threads.
 *
 *   X and Y differ   step s holds the blocks (i, (i + s) mod n)
 *   X = Y            a block and its mirror image are one: each pair is met once and used for both
 *                    sides. Steps are the rounds of a tournament (circle method), in which every
 *                    row of blocks plays at most once, after one step for the diagonal. A block on
 *                    the diagonal is cut into smaller tiles, of which those below the diagonal are
 *                    left out.
 *
 * A block's rows are packed once for all products of its tiles; rows of X that are multiplied along
 * D stay where they are. Rows may be given with a factor each (that of the normalisation): a block
 * takes its own times their factors, so that no second copy of all embeddings is needed. Gradients
 * are those of the rows times their factors. Scores are kept from absorb to gradient where they fit
 * into what the context allows (ak_options.score_memory), else they are made again: reading one
 * costs less than D multiplications.
 *
 * Candidates may also be made on the fly, a chunk at a time, where there are too many to hold
 * (Khatri-Rao rows): the chunk is walked like any other set and its gradient taken back at once. */
#ifndef AK_WALK_H
#define AK_WALK_H

#include <akin/core.h>

#include "losses/engine/rules.h"

/* Sets of candidates (this batch, another modality, hard negatives, a queue), and score matrices
 * of a cell. */
#define AK__MAX_SETS 8
#define AK__MAX_SCORES 8

/* Rows first .. first+n-1 of a set that is made on the fly. make writes them; take gets their
 * gradient, once for each chunk, in order. Either may use all threads. */
typedef struct ak__maker {
    void (*make)(void *user, int64_t first, int64_t n, ak_real *rows);
    void (*take)(void *user, int64_t first, int64_t n, const ak_real *gradient);
    void  *user;
} ak__maker;
/* Rows of a chunk. */
#define AK__CHUNK 4096

/* The rows of one set in one matrix. */
typedef struct ak__candidates {
    const ak_real *y;           /* [n, D]; not looked at where there is a maker */
    const ak_real *inverse;     /* [n]: row r stands for inverse[r] y_r; NULL = as it is */
    ak_real       *dy;          /* [n, D], added to by the gradient sweep; NULL = constant */
    ak__maker      maker;
} ak__candidates;

/* One matrix of scores. */
typedef struct ak__score_matrix {
    int64_t        D;
    const ak_real *x;           /* [R, D] */
    const ak_real *x_inverse;   /* [R]: row r stands for x_inverse[r] x_r; NULL = as it is */
    ak_real       *dx;          /* [R, D], added to by the gradient sweep; NULL = not wanted */
    ak__candidates set[AK__MAX_SETS];
    double         scale;
} ak__score_matrix;

typedef struct ak__tile {
    ak_real *s;                 /* [m, n] scores of the first matrix, -inf where masked */
    ak_real *score[AK__MAX_SCORES];     /* of each; s is the first */
    int64_t  ld;                /* of all of them */
    int64_t  r0, m;             /* rows r0 .. r0+m-1 */
    int64_t  c0, n;             /* columns, counted through all sets */
    int      set;               /* whose columns they are */
    bool     columns;           /* columns are anchors here; rows always are */
    ak_real *scratch;           /* AK__TILE_ROWS rows of `stride` elements, stride >= n */
    int64_t  stride;
} ak__tile;

/* Rows of scratch that a program gets. */
#define AK__TILE_ROWS 8

typedef struct ak__walk {
    int64_t        R;                   /* rows */
    int            sets;
    int64_t        count[AK__MAX_SETS]; /* candidates in each */
    bool           anchors[AK__MAX_SETS];   /* columns of the set are anchors too */
    bool           symmetric;           /* the only set is X itself (dy = dx): both sides at once */
    int            matrices;            /* score matrices, >= 1 */
    ak__score_matrix     scores[AK__MAX_SCORES];
    ak__pair_rule  out;                 /* pairs that are no candidates */
    int64_t        keep_most;   /* scores that may be kept; 0 = none */
    ak_real       *keep;        /* ak__walk_kept() elements: scores stay here; NULL = no */
    bool           kept;        /* they are there */
    ak_real       *memory;      /* ak__walk_memory() elements */
    void          *user;        /* the program's */
    int64_t        c0;          /* of a chunk: its first column and its set, else 0 */
    int            set0;
} ak__walk;

typedef void ak__tile_fn(const ak__walk *w, const ak__tile *tile);

/* Columns in all. */
int64_t ak__walk_columns(const ak__walk *w);
/* Elements for `keep`: of all scores if they are no more than keep_most, else 0. A matter of sizes
 * alone. */
int64_t ak__walk_kept(const ak__walk *w);
/* Elements of working memory that every sweep needs, for the threads there are now. */
size_t ak__walk_memory(const ak__walk *w);
/* Call absorb on every tile once. Fills keep if it is there; a second sweep reads it. */
void ak__walk_absorb(ak__walk *w, ak__tile_fn *absorb);
/* Call gradient on every tile once and add into dx and dy, WITHOUT the factor `scale` of
 * dS/dX = scale * Y. Overwrites keep. */
void ak__walk_gradient(ak__walk *w, ak__tile_fn *gradient);

/* For tests and experiments: rows and columns of a block; 0 = chosen by size. */
extern int64_t ak__walk_tile;

#endif
