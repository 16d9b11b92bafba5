/* SPDX-License-Identifier: Apache-2.0 */
/* akin/memory.h - what outlives a step and belongs to a method: queues, banks, numbers a sample has
 * of its own, clusters, balanced assignments. Nothing here knows a loss or a net.
 *
 * MoCo's order, with a queue that hands its rows to the loss as a constant:
 *
 *     ak_queue *queue = ak_queue_make(ctx, "queue", 4096, 128, (ak_queue_options){ 0 });
 *     ... a step ...
 *     ak_tensor *loss = ak_loss_infonce(q, k, (ak_infonce_options){
 *         .queue = ak_queue_rows(queue), .no_batch_negatives = true });
 *     ak_backward(loss);
 *     ak_queue_push(queue, k, (ak_queue_push_options){ 0 });       // after backward
 *
 * Objects (ak_queue, ak_bank, ak_sample_state) live as long as the context. Their whole content is
 * part of every checkpoint (ak_checkpoint_save) under their kind and name, and comes back with it
 * to the same bits: make the same objects before loading, nothing else. A file of another size is
 * AK_ERR_SHAPE and tells both; files of weights (ak_save) hold none of this.
 *
 * What they hand out belongs to the step and is constant: no gradient flows into it. Rows are read
 * where they are, so what changes them (a push, an update, a load) between a forward that read them
 * and its backward makes that backward an error, which names the object and the call. ids, labels
 * and gathered rows are copies and may be kept over a push.
 *
 * ids number the items of the data set (ak_batch.index); an id of -1 is padding and is passed over.
 * A label of -1 is unknown; what is below -1 is refused. Functions that change state do all or
 * nothing: after an error nothing has changed. NULL, poison, stale and foreign tensors are refused
 * as everywhere (akin/core.h).
 */
#ifndef AKIN_MEMORY_H
#define AKIN_MEMORY_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What rows of a queue or bank are. */
typedef enum ak_row_form {
    AK_ROWS_NORMALIZED,     /* divided by their length as they come in; one of zeros is refused */
    AK_ROWS_UNIT,           /* refused unless their length is 1, to within 1e-4 */
    AK_ROWS_AS_THEY_ARE     /* any finite numbers */
} ak_row_form;

/* ---- nearest rows ---------------------------------------------------------------------------- */

typedef struct ak_nearest_options {
    int       k;            /* how many of each, [1, M]; 0 = one, and no axis for it */
    ak_index *ids;          /* [N] of x: rows with the same id are passed over, -1 excludes none */
    ak_index *row_ids;      /* [M] of the rows, for ak_nearest_rows; the queue's and bank's are
                             * their own */
} ak_nearest_options;

typedef struct ak_nearest {
    ak_tensor *rows;        /* [N, k, D] ([N, D] for k = 0): copies of the rows found */
    ak_index  *places;      /* [N, k] ([N]): where they stand, nearest first */
    ak_tensor *cosines;     /* [N, k] ([N]) */
} ak_nearest;

/* The rows of largest cosine with each row of x; of equal ones the lower place is the nearer.
 *
 *   cos_ij = <x_i, rows_j> / (|x_i| |rows_j|), 0 with a row of zeros
 *   x, rows  [.., D] (N rows), [M, D]
 *   returns  constants of the step. Scores are made in tiles: nothing of size N M exists
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for k, for ids below -1, for .ids without .row_ids, where
 *            fewer than k rows are left for one of x (poison comes back); AK_ERR_NUMBER for rows
 *            that are not finite
 */
AK_API ak_nearest ak_nearest_rows(ak_tensor *x, ak_tensor *rows, ak_nearest_options o);

/* ---- queue ----------------------------------------------------------------------------------- */

typedef struct ak_queue ak_queue;

typedef struct ak_queue_options {
    ak_row_form form;
    bool random_start;      /* full from the beginning with random unit rows, as in MoCo: a function
                             * of seed and name. Default: only what was pushed is seen */
    bool ids, labels;       /* each row has an id, a label, pushed with it */
} ak_queue_options;

/* The newest rows, first in, first out (He et al., "Momentum contrast for unsupervised visual
 * representation learning", CVPR 2020).
 *
 *   name      as that of a parameter, unique among queues; copied
 *   rows      K >= 1, how many it holds
 *   dim       D >= 1
 *   returns   the queue, context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE, AK_ERR_SHAPE, AK_ERR_MEMORY
 */
AK_API ak_queue *ak_queue_make(ak_ctx *ctx, const char *name, int64_t rows, int64_t dim,
                               ak_queue_options o);

typedef struct ak_queue_push_options {
    ak_index *ids, *labels; /* one a row; for rows [V, N, D] (views of the same samples) also [N].
                             * Needed by a queue that keeps them, refused by one that does not */
} ak_queue_push_options;

/* Put rows in place of the oldest, in their order: row j goes to place (next + j) mod K. A batch of
 * any size fits; of one that is larger than the queue the last K rows stay. Rows of id -1 are
 * padding and are left out.
 *
 *   rows     [N, D] or [V, N, D]; values are copied
 *   errors   the pending error; AK_ERR_SHAPE; AK_ERR_NUMBER for rows that are not finite, have no
 *            direction (zeros) or, with AK_ROWS_UNIT, another length; AK_ERR_VALUE for ids and
 *            labels that are missing, or below -1, and for the queue's own rows
 */
AK_API ak_status ak_queue_push(ak_queue *q, ak_tensor *rows, ak_queue_push_options o);

/* The rows that may be seen, as a constant: [n, D], n <= K what was pushed so far ([0, D] at
 * first), all K where .random_start. They share the queue's memory: their places, not their age,
 * give the order. */
AK_API ak_tensor *ak_queue_rows(ak_queue *q);
/* What stands beside these rows, [n] each, copies. ids and labels of random rows are -1. errors:
 * AK_ERR_STATE for a queue that keeps none. */
AK_API ak_index *ak_queue_ids(ak_queue *q);
AK_API ak_index *ak_queue_labels(ak_queue *q);
/* Pushes since each row came, 0 for those of the newest. Random rows are as old as the queue. */
AK_API ak_index *ak_queue_ages(ak_queue *q);
/* The seen rows nearest to those of x: the support set of NNCLR (Dwibedi et al., ICCV 2021). .ids
 * leaves out rows pushed with the same id. errors: as ak_nearest_rows, AK_ERR_STATE for .ids with a
 * queue that keeps none. */
AK_API ak_nearest ak_queue_nearest(ak_queue *q, ak_tensor *x, ak_nearest_options o);

typedef struct ak_queue_state {
    int64_t size, dim;      /* K, D */
    int64_t held;           /* rows that may be seen: K when it is full */
    int64_t next;           /* the place that the next row goes to, the oldest of a full queue */
    int64_t pushes;
} ak_queue_state;
AK_API ak_queue_state ak_queue_tell(const ak_queue *q);

/* ---- instance bank --------------------------------------------------------------------------- */

typedef struct ak_bank ak_bank;

typedef struct ak_bank_options {
    double      momentum;   /* weight of the old row, [0, 1); 0 = 0.5 (AK_NONE: 0, replaced) */
    ak_row_form form;       /* of rows that come in; those of length 1 also have it afterwards */
    bool        random_start;   /* every row is there from the beginning, random and of length 1: a
                                 * function of seed and name. Default: a row is there once set */
    bool        labels;     /* a label a sample: pseudo labels that change while training */
} ak_bank_options;

/* One row for every sample of a data set (Wu et al., "Unsupervised feature learning via
 * non-parametric instance discrimination", CVPR 2018).
 *
 *   name      as that of a parameter, unique among banks; copied
 *   samples   n >= 1: ids are [0, n)
 *   dim       D >= 1
 *   returns   the bank, context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE, AK_ERR_SHAPE, AK_ERR_MEMORY
 */
AK_API ak_bank *ak_bank_make(ak_ctx *ctx, const char *name, int64_t samples, int64_t dim,
                             ak_bank_options o);
/* F_i = unit(m F_i + (1 - m) unit(x)), without the units for AK_ROWS_AS_THEY_ARE; F_i = x where
 * there was no row yet. An id that comes twice is updated twice, in order. Where old and new cancel
 * out the new row is taken.
 *
 *   ids      [N], or any shape of N numbers
 *   rows     N rows [.., D]
 *   errors   the pending error; AK_ERR_SHAPE; AK_ERR_VALUE for an id outside of [-1, n);
 *            AK_ERR_NUMBER as ak_queue_push
 */
AK_API ak_status ak_bank_update(ak_bank *bank, ak_index *ids, ak_tensor *rows);
/* Rows by id, a copy.
 *
 *   present  where not NULL, becomes [N]: 1 for a row that is there, 0 for one that was never set
 *            or has id -1, and is zeros. NULL: a row that is missing is AK_ERR_STATE
 *   returns  the shape of ids, and D; a constant
 */
AK_API ak_tensor *ak_bank_gather(ak_bank *bank, ak_index *ids, ak_tensor **present);
/* All rows [n, D], as a constant that shares the bank's memory. errors: AK_ERR_STATE while rows are
 * missing (how many, which first). */
AK_API ak_tensor *ak_bank_rows(ak_bank *bank);
/* The rows nearest to those of x among those that are there. .ids leaves a sample's own row out. */
AK_API ak_nearest ak_bank_nearest(ak_bank *bank, ak_tensor *x, ak_nearest_options o);
/* Set labels (>= -1) of samples; all labels [n], -1 at first, a copy. errors: AK_ERR_STATE for a
 * bank without .labels; as ak_bank_update. */
AK_API ak_status ak_bank_set_labels(ak_bank *bank, ak_index *ids, ak_index *labels);
AK_API ak_index *ak_bank_labels(ak_bank *bank);

typedef struct ak_bank_state {
    int64_t samples, dim;
    int64_t held;           /* rows that are there */
} ak_bank_state;
AK_API ak_bank_state ak_bank_tell(const ak_bank *bank);

/* ---- numbers that each sample has ------------------------------------------------------------ */

typedef struct ak_sample_state ak_sample_state;

typedef struct ak_sample_state_options {
    int64_t width;          /* numbers a sample; 0 = one, and no axis for it */
    double  momentum;       /* weight of the old value, [0, 1); 0 = 0.9 (AK_NONE: 0, replaced) */
    double  start;          /* every value before the first visit */
    bool    blend_first;    /* the first visit averages with .start like any other; default: it
                             * takes the new value as it is */
} ak_sample_state_options;

/* A moving average, or any number, for every sample of a data set: the denominators u_i and
 * temperatures of SogCLR and iSogCLR (Yuan et al., ICML 2022; Qiu et al., ICML 2023). Held in
 * double, so that an average with a momentum near 1 does not stand still.
 *
 *   name      as that of a parameter, unique among such states; copied
 *   samples   n >= 1: ids are [0, n)
 *   returns   the state, context lifetime; NULL after an error
 */
AK_API ak_sample_state *ak_sample_state_make(ak_ctx *ctx, const char *name, int64_t samples,
                                             ak_sample_state_options o);
/* v_i = m v_i + (1 - m) x, v_i = x at the first visit. An id that comes twice is visited twice.
 *
 *   ids      N numbers
 *   values   the shape of ids (and width, if that was given), finite
 *   errors   the pending error; AK_ERR_SHAPE; AK_ERR_VALUE for an id outside of [-1, n);
 *            AK_ERR_NUMBER
 */
AK_API ak_status ak_sample_state_update(ak_sample_state *s, ak_index *ids, ak_tensor *values);
/* v_i = x: a temperature that the program worked out itself. Counts as a visit. errors: as above */
AK_API ak_status ak_sample_state_write(ak_sample_state *s, ak_index *ids, ak_tensor *values);
/* The values of some samples (.start for an id of -1), and of all: [n] or [n, width]. Copies,
 * constants. */
AK_API ak_tensor *ak_sample_state_read(ak_sample_state *s, ak_index *ids);
AK_API ak_tensor *ak_sample_state_all(ak_sample_state *s);
/* How often each was visited: the shape of ids; 0 for an id of -1. */
AK_API ak_index *ak_sample_state_visits(ak_sample_state *s, ak_index *ids);

/* ---- k-means --------------------------------------------------------------------------------- */

typedef struct ak_kmeans_options {
    int     restarts;       /* runs, of which the one of lowest inertia stays; 0 = 1 */
    int     iterations;     /* most of a run; 0 = 100 */
    double  tolerance;      /* a run ends where inertia falls by no more than this share, [0, 1);
                             * 0 = 1e-4 (AK_NONE: 0, where no label changes any more) */
    bool    spherical;      /* rows and centroids of length 1: clusters of directions */
    int64_t batch;          /* rows drawn for an iteration (mini-batch); 0 = all, every time */
} ak_kmeans_options;

typedef struct ak_kmeans_result {
    ak_tensor *centroids;   /* [K, D] */
    ak_index  *labels;      /* [N] the nearest centroid of each row, in [0, K) */
    ak_index  *sizes;       /* [K] rows of each, none of them 0 */
    double     inertia;     /* sum of squared distances of rows to their centroids */
    int        iterations;  /* of the run that stays */
    bool       converged;   /* it ended before .iterations; mini-batches never do */
    const double *trace;    /* [traced] inertia of each iteration: it never rises. Mini-batches: of
                             * the last assignment alone */
    int        traced;
} ak_kmeans_result;

/* Clusters by k-means++ (Arthur and Vassilvitskii, SODA 2007) and Lloyd's iterations, or by
 * mini-batches (Sculley, WWW 2010).
 *
 *   minimise sum_i |x_i - c_l(i)|^2; with .spherical x_i / |x_i| and |c| = 1: 2 (1 - cosine)
 *   rows     [N, D], finite numbers of any size; N >= K >= 1. Far from the origin too: distances
 *            are taken about the mean
 *   returns  constants of the step (ak_keep, ak_index_keep make copies that stay). Draws come from
 *            seed and next stream. A cluster that runs empty gets the row farthest from its own
 *            centroid. Rows are scored in tiles: nothing of size N K exists
 *   errors   AK_ERR_VALUE for N < K (both are told) and options; AK_ERR_NUMBER for rows that are
 *            not finite or, with .spherical, zeros; AK_ERR_MEMORY. Poison comes back
 */
AK_API ak_kmeans_result ak_kmeans(ak_tensor *rows, int64_t k, ak_kmeans_options o);
/* The nearest centroid of each of [.., D] new rows; of equal ones the lower. spherical: by cosine.
 * returns: the rows' shape without D. errors: as above, and for centroids [K, D]. */
AK_API ak_index *ak_kmeans_assign(ak_tensor *rows, ak_tensor *centroids, bool spherical);

/* ---- balanced assignment --------------------------------------------------------------------- */

typedef struct ak_sinkhorn_report {
    int    iterations;      /* made */
    double error;           /* largest relative error of a column's sum (rows have none) */
} ak_sinkhorn_report;

typedef struct ak_sinkhorn_options {
    double     eps;         /* entropy, (0, inf); 0 = 0.05 */
    int        iterations;  /* 0 = 3, or 10000 at most with a tolerance */
    double     tolerance;   /* > 0: go on until every column's sum is right within this share of it,
                             * at least 1e-12; 0 = as many iterations as were asked for */
    ak_tensor *row_weights;     /* [N] >= 0, parts of the whole; NULL = equal ones. A row of weight
                                 * 0 weighs nothing and still gets its code */
    ak_tensor *column_weights;  /* [K] >= 0: what each column should get; NULL = equal parts */
    ak_sinkhorn_report *report; /* filled if not NULL */
} ak_sinkhorn_options;

/* Assign rows to columns by scores, so that every column gets its part: the codes of SwAV (Caron et
 * al., NeurIPS 2020), by Sinkhorn-Knopp in logarithms (Cuturi, NIPS 2013).
 *
 *   code_ij = exp(scores_ij / eps + f_i + g_j), where in turn g makes sum_i r_i code_ij = c_j and f
 *   makes sum_j code_ij = 1; f last. r and c are the weights, each divided by its sum
 *   scores   [N, K], finite, N, K >= 1; cosines with prototypes
 *   returns  [N, K], rows sum to 1; a constant of the step: no gradient flows to the scores. With
 *            equal weights a column sums to N/K, exactly so at convergence
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for options, weights that are negative, not finite or all
 *            0, and an eps below 1e-9 of the largest score (sums of doubles do not hold that);
 *            AK_ERR_NUMBER for scores that are not finite, and where .tolerance was not reached in
 *            .iterations (tells what was)
 */
AK_API ak_tensor *ak_sinkhorn(ak_tensor *scores, ak_sinkhorn_options o);

#ifdef __cplusplus
}
#endif
#endif
