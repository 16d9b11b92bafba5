/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that take pairs out, by where they stand: self, partner, view, sample, id, label, weight.
 *
 * A walk has one for pairs that are no candidates at all. A program may have a second one for pairs
 * that are scored but not summed (the partner of a decoupled loss): it applies that to the tile
 * itself, between reading the scores it needs and summing. */
#ifndef AK_RULES_H
#define AK_RULES_H

#include <math.h>

#include <akin/core.h>

struct ak__tile;

/* Rows and the columns of the first set are views of `samples` samples, view by view: row r is
 * view r / samples of sample r mod samples. */
typedef enum ak__pairs_out {
    AK__OUT_SELF = 1,           /* row r and column r, which are the same embedding */
    AK__OUT_PARTNERS = 2,       /* columns of the row's own sample */
    AK__OUT_OTHERS = 4,         /* columns of other samples */
    AK__OUT_SAME_VIEW = 8,      /* columns of the row's own view */
    AK__OUT_OTHER_VIEWS = 16,   /* columns of other views */
    AK__OUT_SAME_LABEL = 32,    /* another sample of the same label; -1 is unlike any */
    AK__OUT_OTHER_LABELS = 64   /* columns of another label, or of none */
} ak__pairs_out;

typedef struct ak__pair_rule {
    unsigned       out;         /* ak__pairs_out */
    const int32_t *ids;         /* [samples]: another sample with the same id is out, and whatever
                                 * meets an id -1 (padding); NULL = no ids */
    const int32_t *labels;      /* [samples], for the two rules of labels */
    int64_t        samples;
    const ak_real *weights;     /* [R, C]: pairs of weight <= 0 are out; NULL = none are */
    int64_t        ld;          /* of weights */
} ak__pair_rule;

/* Set the scores of pairs that are out to -inf, in each of the tile's matrices. */
void ak__rule_apply(const ak__pair_rule *rule, const struct ak__tile *tile, int matrices);
/* Does the rule take anything out? */
bool ak__rule_is_empty(const ak__pair_rule *rule);

#endif
