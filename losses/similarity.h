/* SPDX-License-Identifier: Apache-2.0 */
/* The similarity engine: walks the scores S = scale * X Y^T in tiles, so that a loss over all pairs
 * of embeddings needs memory O(N D) and never a matrix of size N x N.
 *
 * A loss is a tile program. The driver makes a tile by a matrix product into a buffer that fits the
 * cache, sets what the mask excludes to -inf, and calls the program:
 *
 *     absorb(tile)      fold the tile into statistics of its rows and of its columns (online
 *                       log-sum-exp, weighted sums of the positives); scores stay as they are
 *     ... the program turns statistics into the loss and the coefficients of the gradient ...
 *     gradient(tile)    overwrite each score s by dL/ds; the driver then adds
 *                       dX += G Y and dY += G^T X
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
 * are those of the rows times their factors. The scores of a small problem are
 * kept from absorb to gradient; those of a large one are made again. */
#ifndef AK_SIMILARITY_H
#define AK_SIMILARITY_H

#include <akin/core.h>

/* Candidates: this batch, another modality, a queue. Tiles never straddle two of them. */
typedef struct ak__candidates {
    const ak_real *y;           /* [n, D] */
    const ak_real *inverse;     /* [n]: row r stands for inverse[r] y_r; NULL = as it is */
    ak_real       *dy;          /* [n, D], added to by the gradient sweep; NULL = constant */
    int64_t        n;
} ak__candidates;

/* Which pairs are no candidates at all. Rows and the columns of candidates[0] are views of
 * `samples` samples, view by view: sample of row r = r mod samples. */
typedef struct ak__pair_mask {
    bool           self;        /* row r and column r are the same embedding */
    bool           others;      /* columns of candidates[0] of another sample */
    const int32_t *ids;         /* [samples]: another sample with the same id, or id -1 (padding);
                                 * NULL = none */
    int64_t        samples;
    const ak_real *weights;     /* [R, C]: pairs of weight <= 0; NULL = none */
    int64_t        ld;          /* of weights */
} ak__pair_mask;

typedef struct ak__tile {
    ak_real *s;                 /* [m, n] scores, -inf where masked */
    int64_t  ld;                /* of s */
    int64_t  r0, m;             /* rows r0 .. r0+m-1 */
    int64_t  c0, n;             /* columns, counted through all candidates */
    int      source;            /* of which candidates the columns are */
    bool     rows, columns;     /* for whom it counts: rows as anchors, columns as anchors */
    ak_real *scratch;           /* AK__TILE_ROWS rows of `stride` elements, stride >= n */
    int64_t  stride;
} ak__tile;

/* Rows of scratch that a program gets. */
#define AK__TILE_ROWS 8
#define AK__MAX_CANDIDATES 2

typedef struct ak__similarity {
    int64_t        R, D;
    const ak_real *x;           /* [R, D] */
    const ak_real *x_inverse;   /* [R]: row r stands for x_inverse[r] x_r; NULL = as it is */
    ak_real       *dx;          /* [R, D], added to by the gradient sweep; NULL = not wanted */
    ak__candidates candidates[AK__MAX_CANDIDATES];
    int            sources;     /* of them in use */
    bool           symmetric;   /* candidates[0] is X itself (dy = dx), and the only source */
    bool           two_sided;   /* columns are anchors too (implied by symmetric) */
    double         scale;
    ak__pair_mask  mask;
    ak_real       *keep;        /* ak__similarity_kept() elements: scores stay here; NULL = no */
    bool           kept;        /* they are there */
    ak_real       *memory;      /* ak__similarity_memory() elements */
    void          *program;
} ak__similarity;

typedef void ak__tile_fn(const ak__similarity *sim, const ak__tile *tile);

/* Columns in all. */
int64_t ak__similarity_columns(const ak__similarity *sim);
/* Scores that a problem this small should keep from absorb to gradient (elements for `keep`); 0 =
 * too many. A matter of sizes alone. */
int64_t ak__similarity_kept(const ak__similarity *sim);
/* Elements of working memory that both sweeps need, for the threads there are now. */
size_t ak__similarity_memory(const ak__similarity *sim);
/* Call absorb on every tile once. Fills keep if it is there and the problem is small. */
void ak__similarity_absorb(ak__similarity *sim, ak__tile_fn *absorb);
/* Call gradient on every tile once and add into dx and dy, WITHOUT the factor `scale` of
 * dS/dX = scale * Y. Overwrites keep. */
void ak__similarity_gradient(ak__similarity *sim, ak__tile_fn *gradient);

/* For tests and experiments: rows and columns of a block; 0 = chosen by size. */
extern int64_t ak__similarity_tile;

#endif
