/* SPDX-License-Identifier: Apache-2.0 */
/* The running log-sum-exp of anchors, over tiles that come one after another.
 *
 * Two ways through the exponentials. Scores of unit rows are bounded by the scale: while
 * e^(-2 bound) is a normal number, exp(s - bound) is taken once and serves the row and the column.
 * Beyond (tau below 0.025 in float) each anchor has its own running maximum. e^(1/tau) is formed by
 * neither. */
#ifndef AK_LOGSUMEXP_H
#define AK_LOGSUMEXP_H

#include "losses/engine/walk.h"

/* Of one anchor. */
typedef struct ak__lse {
    double max;                 /* largest score so far, or the bound */
    double sum;                 /* sum of v exp(s - max) */
} ak__lse;

/* Of all anchors. Statistics of an anchor are a struct of the program that begins with its ak__lse
 * (or holds it at any other place: row and column point to the first one, `stride` bytes apart). */
typedef struct ak__lse_of {
    ak__lse       *row, *column;
    size_t         stride;
    bool           bounded;     /* one exponential serves both sides */
    double         bound;
    const ak_real *weights;     /* [R, C]: v; NULL = 1 */
    int64_t        ld;
} ak__lse_of;

/* Largest bound of scores for which one exponential serves both sides. */
extern const double ak__largest_bound;

static inline ak__lse *ak__lse_at(ak__lse *first, size_t stride, int64_t i)
{
    return (ak__lse *)(void *)((char *)first + (size_t)i * stride);
}

/* Rows of a tile's scratch that absorbing uses, the first ones; the gradient uses only row 1. */
#define AK__LSE_SCRATCH 4

/* An anchor that has seen nothing. */
ak__lse ak__lse_empty(const ak__lse_of *l);
/* Fold a tile (its first matrix) into its rows and, if they are anchors, its columns. */
void ak__lse_absorb(const ak__lse_of *l, const ak__tile *t);
/* log sum; -inf of nothing. */
double ak__lse_value(const ak__lse *a);
/* Raise the anchor's maximum to at least `max`, and rescale its sum. */
void ak__lse_raise(ak__lse *a, double max);
/* Fold in one more score of weight 1 (a candidate of that anchor alone). */
void ak__lse_add(ak__lse *a, double score);
/* What to subtract before exp; anything finite where nothing was seen. */
ak_real ak__lse_shift(const ak__lse *a);

/* The exponential part of the gradient of row i of the tile into e, which may be the row itself
 * unless columns are anchors with a maximum of their own:
 *   e_j = of_row exp(s_j - shift) + of_column[j] exp(s_j - shift_column[j]), times v.
 * of_column NULL: columns are no anchors. */
void ak__lse_gradient(const ak__lse_of *l, const ak__tile *t, int64_t i, ak_real of_row,
                      const ak_real *of_column, const ak_real *shift_column, ak_real *e);
/* The same for all of a tile, in place, where each anchor's coefficient stands in its `sum`. */
void ak__lse_gradient_tile(const ak__lse_of *l, const ak__tile *t);

#endif
