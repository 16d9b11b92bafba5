/* SPDX-License-Identifier: Apache-2.0 */
/* Which candidates are an anchor's targets, and with which weight: by rule, never as a stored
 * matrix unless the user has one.
 *
 * Rules with few targets an anchor (sample, list) are walked target by target; the others fill a
 * row of weights. A program that makes targets of its own (the softmax of another matrix's scores)
 * fills such a row from tile->score[] and leaves this file alone. */
#ifndef AK_TARGETS_H
#define AK_TARGETS_H

#include "losses/engine/walk.h"

/* All within the first set but for lists and matrices. */
typedef enum ak__target_rule {
    AK__TARGET_SAMPLE,      /* the other views of the same sample, equal shares of 1 */
    AK__TARGET_LABEL,       /* candidates with the same label that are not masked, equal shares; an
                             * unknown label (-1) is only that of the sample's own views */
    AK__TARGET_LIST,        /* listed (column, weight) pairs */
    AK__TARGET_MATRIX       /* given weights; equal shares of 1 (by weight) if `shares` */
} ak__target_rule;

/* Listed targets of each anchor: entries start[a] .. start[a+1]-1. */
typedef struct ak__target_list {
    const int64_t *start;
    const int32_t *other;
    const ak_real *weight;
} ak__target_list;

typedef struct ak__targets {
    ak__target_rule rule;
    int64_t         samples;        /* sample of row or column r = r mod samples */
    int64_t         R, C;           /* rows, columns of the first set */
    bool            skip_self;      /* row r and column r are the same embedding */
    const int32_t  *labels;         /* [samples] */
    ak__target_list of_rows, of_columns;
    const ak_real  *matrix;         /* [R, all columns], or [samples, samples] if by_sample */
    int64_t         ld;
    bool            by_sample;
    bool            shares;         /* targets are divided by their sum */
    const ak_real  *top_row, *top_column;   /* matrix: largest target of each anchor; for reports */
} ak__targets;

/* Walks over the few targets of an anchor that lie in [lo, hi). */
typedef struct ak__few {
    const ak__target_list *list;    /* NULL: views of the same sample */
    int64_t anchor, lo, hi, step, at;
    bool    skip_self;
    double  share;
} ak__few;

bool ak__targets_are_few(const ak__targets *t);
/* May some of the few targets lie in the tile? */
bool ak__targets_meet(const ak__targets *t, const ak__tile *tile);
/* Those of an anchor (a column if `column`) among [lo, hi) of the other side. */
ak__few ak__few_of(const ak__targets *t, bool column, int64_t anchor, int64_t lo, int64_t hi);
bool ak__few_next(ak__few *f, int64_t *other, double *weight);
/* Call with each of the few targets that lies in the tile: row i, column j of the tile, its weight
 * and the anchor it is for. */
typedef void ak__target_fn(void *user, const ak__tile *tile, int64_t i, int64_t j, double weight,
                           int64_t anchor, bool column);
void ak__targets_each(const ak__targets *t, const ak__tile *tile, bool column, ak__target_fn *fn,
                      void *user);
/* Weights of row i of the tile into w: of its columns for the row as anchor, or of the row for each
 * column as anchor. 0 where masked; 1 for each target of a rule by sample. Not for lists. */
void ak__targets_fill(const ak__targets *t, const ak__tile *tile, int64_t i, bool column,
                      ak_real *w);

#endif
