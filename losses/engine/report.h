/* SPDX-License-Identifier: Apache-2.0 */
/* What programs share beside sums: who is an anchor and with what weight, who found a partner, and
 * the report of a loss. */
#ifndef AK_LOSS_REPORT_H
#define AK_LOSS_REPORT_H

#include "losses/engine/pairs.h"

/* Anchors of one side, rows or columns: padding (id -1) is none, and what the program says. */
typedef struct ak__anchors {
    bool column;
    bool (*out)(const ak__pair_run *run, bool column, int64_t i);
    int64_t n;                  /* rows or columns */
    int64_t count;              /* of them anchors */
    double  total;              /* their summed weight */
} ak__anchors;
bool ak__anchor_is_padding(const ak__pair_run *run, int64_t i);
typedef bool ak__anchor_fn(const ak__pair_run *run, bool column, int64_t i);
/* out: more that are no anchors; NULL = none. */
ak__anchors ak__anchors_of(const ak__pair_run *run, bool column, ak__anchor_fn *out);
/* Weight of row or column i as anchor; 0 for what is none, and if all have none together. */
double ak__anchor_weight(const ak__pair_run *run, const ak__anchors *of, int64_t i);
/* Candidates in the sum of an anchor where no id takes any away. */
double ak__anchor_candidates(const ak__pair_run *run, bool column);

/* The best scores of an anchor, among its positives (targets of the largest weight) and others. */
typedef struct ak__best { double positive, negative; } ak__best;
typedef struct ak__best_of {
    ak__best *row, *column;     /* of the first anchor; the next one is `stride` bytes on */
    size_t    stride;
} ak__best_of;
ak__best ak__best_empty(void);
/* Uses the last four rows of the tile's scratch. */
void ak__best_absorb(const ak__pair_run *run, const ak__best_of *b, const ak__tile *t);
static inline bool ak__best_is_right(const ak__best *b) { return b->positive > b->negative; }

/* What the anchors of one side come to. */
typedef struct ak__side {
    double  loss, chance;
    double  right;          /* weight of anchors whose best candidate is a positive */
    double  judged;         /* weight of anchors that have a positive */
    double  masked;         /* candidates that ids took away */
    int64_t anchors, lonely;
} ak__side;

/* Into the loss's report, if it has one. */
void ak__report_fill(const ak__pair_run *run, ak__side rows, ak__side columns);

#endif
