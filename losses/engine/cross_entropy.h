/* SPDX-License-Identifier: Apache-2.0 */
/* The program of every loss that is a cross entropy over candidates: NT-Xent, InfoNCE, CLIP,
 * SupCon; and, with a finish of its own, of those that differ in their coefficients (DCL).
 *
 *   L = sum_a w_a l_a                             over anchors: rows, or rows and columns
 *   l_a = T_a log sum_c v_ac exp(s_ac) - sum_c t_ac s_ac,      T_a = sum_c t_ac
 *   dL/ds_ac = w_a (T_a p_ac - t_ac),             p_ac = v_ac exp(s_ac) / sum_c v_ac exp(s_ac)
 *
 * t are the targets, v weights of pairs. Pairs that are scored but not summed are left out of the
 * sum and of p; that goes with few targets (by sample, by list) only. */
#ifndef AK_CROSS_ENTROPY_H
#define AK_CROSS_ENTROPY_H

#include "losses/engine/logsumexp.h"
#include "losses/engine/report.h"

/* Statistics of one anchor; finish puts its coefficients in the place of two of them. At large N
 * this is most of what a loss needs beside the embeddings. */
typedef struct ak__anchor {
    union {
        ak__lse lse;
        struct {
            double max;                 /* of the scores, or their bound */
            double exp_coefficient;
        };
    };
    union {
        double positive;                /* sum of t s */
        double target_coefficient;
    };
    double mass;                        /* sum of t */
} ak__anchor;

/* What only some losses need: stands behind each anchor then. */
typedef struct ak__anchor_more {
    ak__best best;
    double candidates;                  /* summed weight of the candidates */
    double number;                      /* how many there are */
    double linear;                      /* sum of their scores; for label smoothing */
    double smooth_coefficient;
} ak__anchor_more;

ak__anchor      *ak__anchor_at(const ak__pair_run *run, bool column, int64_t i);
/* NULL if not kept. */
ak__anchor_more *ak__anchor_more_at(const ak__pair_run *run, bool column, int64_t i);

extern const ak__pair_program ak__cross_entropy;

/* Its parts, for programs that share them. */
size_t ak__cross_entropy_bytes(const ak__pair_loss *loss);
void   ak__cross_entropy_start(ak__pair_run *run);
void   ak__cross_entropy_absorb(const ak__walk *w, const ak__tile *t);
double ak__cross_entropy_finish(ak__pair_run *run, bool *again);
void   ak__cross_entropy_gradient(const ak__walk *w, const ak__tile *t);
/* Candidates in an anchor's sum: how many, and their summed weight. */
typedef struct ak__candidate_count { double number, weight; } ak__candidate_count;
ak__candidate_count ak__candidates_of(const ak__pair_run *run, bool column, int64_t i);
/* Are an anchor's targets in its sum, too? */
static inline bool ak__sums_targets(const ak__pair_loss *o) { return !o->unsummed; }
/* What one anchor of share w adds (its weight in the mean, factor included), and its coefficients.
 * omega weighs its targets against its sum. */
void   ak__cross_entropy_anchor(const ak__pair_run *run, bool column, int64_t i, double omega,
                                ak__candidate_count candidates, double w, ak__side *side);

#endif
