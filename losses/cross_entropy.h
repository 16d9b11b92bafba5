/* SPDX-License-Identifier: Apache-2.0 */
/* The tile program of every loss that is a cross entropy over candidates: NT-Xent, InfoNCE, CLIP,
 * SupCon.
 *
 *   L = sum_a w_a l_a                             over anchors: rows, or rows and columns
 *   l_a = T_a log sum_c v_ac exp(s_ac) - sum_c t_ac s_ac,      T_a = sum_c t_ac
 *   dL/ds_ac = w_a (T_a p_ac - t_ac),             p_ac = v_ac exp(s_ac) / sum_c v_ac exp(s_ac)
 *
 * t are the targets: a rule, never a stored matrix unless the user has one. v are weights of pairs.
 *
 * Two ways through the exponentials. Scores of unit rows are bounded by the scale: while
 * e^(-2 bound) is a normal number, exp(s - bound) is taken once and serves the row and the column.
 * Beyond (tau below 0.025 in float) each anchor has its own running maximum. e^(1/tau) is formed by
 * neither. */
#ifndef AK_CROSS_ENTROPY_H
#define AK_CROSS_ENTROPY_H

#include "losses/similarity.h"

/* Which candidates are an anchor's targets, all within candidates[0] for the first two. */
typedef enum ak__target_rule {
    AK__TARGET_SAMPLE,      /* the other views of the same sample, equal shares of 1 */
    AK__TARGET_LABEL,       /* candidates with the same label that are not masked, equal shares;
                             * a label of -1 is unknown: then only views of the same sample */
    AK__TARGET_LIST,        /* listed (column, weight) pairs */
    AK__TARGET_MATRIX       /* given weights; equal shares of 1 (by weight) if `shares` */
} ak__target_rule;

/* Listed targets of each anchor: entries start[a] .. start[a+1]-1. */
typedef struct ak__target_list {
    const int64_t *start;
    const int32_t *other;
    const ak_real *weight;
} ak__target_list;

/* Statistics of one anchor; finish puts its coefficients in the place of two of them. At large N
 * this is most of what a loss needs beside the embeddings. */
typedef struct ak__anchor {
    double max;                         /* largest score so far, or the bound */
    union {
        double sum;                     /* sum of v exp(s - max) */
        double exp_coefficient;
    };
    union {
        double positive;                /* sum of t s */
        double target_coefficient;
    };
    double mass;                        /* sum of t */
} ak__anchor;

/* What only some programs need. */
typedef struct ak__anchor_more {
    double candidates;                  /* summed weight of the candidates */
    double number;                      /* how many there are */
    double linear;                      /* sum of their scores; for label smoothing */
    double best_positive, best_negative;
    double smooth_coefficient;
} ak__anchor_more;

typedef struct ak__cross_entropy {
    ak__anchor *row;                /* [R] */
    ak__anchor *column;             /* [C]; row itself if symmetric */
    ak__anchor_more *row_more, *column_more;    /* likewise if `accuracy` or `count`, else NULL */
    bool        bounded;            /* one exponential serves both sides */
    double      bound;
    double      smoothing;          /* of labels, [0, 1) */
    bool        accuracy;           /* find the best positive and negative */
    bool        count;              /* candidates have to be counted */

    ak__target_rule rule;
    int64_t         samples;        /* sample of row or column r = r mod samples */
    const int32_t  *labels;         /* [samples] */
    ak__target_list of_rows, of_columns;
    const ak_real  *matrix;         /* [R, C], or [samples, samples] if by_sample */
    int64_t         ld;
    bool            by_sample;
    bool            shares;         /* targets are divided by their sum */
    bool            not_negative;   /* no target is, and no pair weighs less than 1: nor is l_a */
    const ak_real  *top_row, *top_column;   /* matrix: largest target of each anchor */
} ak__cross_entropy;

/* Before the first sweep. */
void ak__cross_entropy_start(ak__cross_entropy *p, const ak__similarity *sim);
void ak__cross_entropy_absorb(const ak__similarity *sim, const ak__tile *tile);
void ak__cross_entropy_gradient(const ak__similarity *sim, const ak__tile *tile);

/* What the anchors of one side come to. */
typedef struct ak__side {
    double  loss, chance;
    double  right;          /* weight of anchors whose best candidate is a positive */
    double  judged;         /* weight of anchors that have a positive */
    double  masked;         /* candidates that masks took away, relative to `full` */
    int64_t anchors, lonely;
} ak__side;

/* After the sweep: losses and coefficients of n anchors, rows or columns. weight: [samples] or
 * NULL; ids as in the mask (padding is no anchor); factor: multiplies the mean; full: candidates
 * without masks. */
ak__side ak__cross_entropy_finish(const ak__cross_entropy *p, bool column, int64_t n,
                                  const ak_real *weight, const int32_t *ids, double factor,
                                  double full);

#endif
