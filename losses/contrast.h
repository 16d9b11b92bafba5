/* SPDX-License-Identifier: Apache-2.0 */
/* The op behind NT-Xent, InfoNCE, CLIP and SupCon: embeddings in, mean cross entropy out. It
 * normalises, runs the similarity engine with the cross-entropy program, and brings the gradient
 * back through the normalisation. A loss fills ak__contrast and calls ak__contrast_apply. */
#ifndef AK_CONTRAST_H
#define AK_CONTRAST_H

#include <akin/losses.h>

#include "losses/cross_entropy.h"

typedef enum ak__contrast_layout {
    AK__STACKED,            /* each operand [N, D] or [V, N, D]; stacked in order */
    AK__INTERLEAVED         /* one operand [N, V, D], read view by view */
} ak__contrast_layout;

typedef struct ak__contrast {
    /* set by the loss */
    ak__contrast_layout layout;
    bool    two_sided;          /* columns are anchors too; both halves of the mean */
    bool    first_view;         /* rows are only the first view; columns all */
    bool    normalized;         /* rows are taken as they are */
    bool    others_masked;      /* in-batch candidates: only the anchor's own */
    bool    shares;             /* matrix targets are divided by their sum */
    bool    by_sample;          /* the target matrix is [N, N] over samples */
    bool    single_warns;       /* one sample: warn instead of refuse */
    double  tau, factor, smoothing;
    const ak_index *ids, *labels, *target_columns;
    ak_loss_report *report;

    /* operands: embeddings first, then what is there of the others; set by ak__contrast_apply */
    int n_x, n_y;               /* stacked to rows, to columns; n_y 0: columns are the rows */
    int queue, log_scale, matrix, target_weights, pair_weights, weights;    /* -1: none */
} ak__contrast;

/* Tensors of a call; NULL = none. x, y: at most AK__CONTRAST_VIEWS in all. */
#define AK__CONTRAST_VIEWS 32
typedef struct ak__contrast_operands {
    ak_tensor *const *x, *const *y;
    int n_x, n_y;
    ak_tensor *queue, *log_scale, *matrix, *target_weights, *pair_weights, *weights;
} ak__contrast_operands;

/* op: one of the records below (its name is what messages say). */
ak_tensor *ak__contrast_apply(const ak_op *op, ak__contrast o, ak__contrast_operands in);

/* Is this a temperature whose inverse can be computed with? */
bool ak__temperature_fits(double tau);

extern const ak_op ak__op_ntxent, ak__op_infonce, ak__op_clip, ak__op_supcon;

#endif
