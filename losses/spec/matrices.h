/* SPDX-License-Identifier: Apache-2.0 */
/* For the composed forms of losses: masks and targets as constant matrices, and the cross entropy
 * of ops over them. Written apart from the fused form, whose specification they are. */
#ifndef AK_LOSS_MATRICES_H
#define AK_LOSS_MATRICES_H

#include <akin/losses.h>

/* Scores are [R, C]; rows and the first `batch` columns are views of N samples, view by view. */
typedef struct ak__pairs {
    ak_ctx *ctx;
    int64_t R, C, N, batch;
    bool    self;                   /* row r is column r */
} ak__pairs;

/* An option of a composed loss: a tensor or an index array of `size` numbers (-1: any), or none. */
typedef struct ak__extra {
    const char      *name;
    const ak_tensor *tensor;
    const ak_index  *index;
    int64_t          size;
    bool             constant;      /* finite numbers, >= 0 if `weighs`, without gradient */
    bool             weighs;
} ak__extra;
/* Are all that are given usable? The matrices below read them without asking. */
bool ak__extras_fit(ak_ctx *ctx, const char *who, const ak__extra *extra, int n);
#define AK__EXTRAS_FIT(ctx, who, ...)                                                              \
    ak__extras_fit(ctx, who, (const ak__extra[]){ __VA_ARGS__ },                                   \
                   (int)(sizeof((const ak__extra[]){ __VA_ARGS__ }) / sizeof(ak__extra)))
#define AK__EXTRA_WEIGHTS(t, n)                                                                    \
    { .name = ".weights", .tensor = (t), .size = (n), .constant = true, .weighs = true }
#define AK__EXTRA_INDEX(title, ix, n) { .name = (title), .index = (ix), .size = (n) }
#define AK__EXTRA_NUMBER(title, t) { .name = (title), .tensor = (t), .size = 1 }

/* 1 where column c is a candidate of row r. ids may be NULL; others: in-batch candidates of another
 * sample are out. */
ak_tensor *ak__candidate_matrix(ak__pairs p, const ak_index *ids, bool others);
/* 1 where the column is another view of the same sample (or, without self, that sample). */
ak_tensor *ak__sample_matrix(ak__pairs p);
/* 1 where the labels [N] are equal, or both of the same sample; -1 (unknown) equals no other. */
ak_tensor *ak__label_matrix(ak__pairs p, const ak_index *labels);
/* w[sample of r, sample of c] of w [N, N]. */
ak_tensor *ak__spread_matrix(ak__pairs p, const ak_tensor *w);
/* The sum of weights [N, each] at columns [N, each]; weights NULL = 1/each. */
ak_tensor *ak__list_matrix(ak__pairs p, const ak_index *columns, const ak_tensor *weights);
/* t masked, rows divided by their sum; rows without any stay 0. */
ak_tensor *ak__shares(ak_tensor *t, ak_tensor *candidates);
/* Anchor weights of each row, divided by their sum: [R]. 0 for padding, and for rows of label -1
 * (labels may be NULL) that have no target in t. */
ak_tensor *ak__anchor_weights(ak__pairs p, const ak_tensor *weights, const ak_index *ids,
                              const ak_index *labels, const ak_tensor *t);

/* sum_r w_r [ T_r log sum_c v_rc exp(s_rc) - sum_c t_rc s_rc ], T_r = sum_c t_rc. v: 0 = no
 * candidate. A share `smoothing` of the target of rows that have one is spread over the
 * candidates. */
ak_tensor *ak__rows_cross_entropy(ak_tensor *s, ak_tensor *v, ak_tensor *t, ak_tensor *w,
                                  double smoothing);
/* X Y^T / tau, or times e^log_scale if that is not NULL. */
ak_tensor *ak__scores(ak_tensor *x, ak_tensor *y, double tau, ak_tensor *log_scale);
/* The loss, said to be over pairs of samples: AK_OP_ACROSS_SAMPLES of the fused form. */
ak_tensor *ak__across_samples(ak_tensor *loss);

#endif
