/* SPDX-License-Identifier: Apache-2.0 */
/* The one op behind all losses over pairs: embeddings in, one number out. It checks, normalises,
 * walks the scores with the loss's pair program, and brings the gradient back through the
 * normalisation. A loss fills an ak__pair_loss and calls ak__pairs_apply.
 *
 * A pair program is what a loss does with the scores:
 *
 *     prepare    memory of its own, where it needs any: asked for twice, to count and to place
 *     start      statistics of all anchors, before each sweep
 *     absorb     a tile of scores into the statistics of its rows and columns
 *     finish     statistics into the loss and into coefficients of the gradient. Statistics of
 *                several anchors are joined here and nowhere else: all views of a sample, a mean
 *                over the batch. It may ask for another sweep, of which it then knows the first.
 *     gradient   a tile of scores into dL/ds, in place
 *     give       after the gradient sweep: gradients of the operands that are the program's own
 *
 * A program that is cell-local (value and gradient of a cell depend on nothing else: sigmoid,
 * hinge) has no absorb: its gradient does both, in the one sweep that forward makes. */
#ifndef AK_PAIRS_H
#define AK_PAIRS_H

#include <akin/losses.h>

#include "base/carve.h"
#include "losses/engine/targets.h"
#include "losses/engine/walk.h"

/* What the targets are made of. */
typedef struct ak__target_options {
    ak_index *labels, *columns; /* at most one of these and a matrix; index operands */
    bool by_sample;             /* the target matrix is [N, N] over samples */
    bool shares;                /* targets are divided by their sum */
} ak__target_options;

/* Index operands of the op. */
enum { AK__PAIR_IDS, AK__PAIR_LABELS, AK__PAIR_COLUMNS, AK__PAIR_INDICES };

/* Embeddings of rows are operands 0 .. n_x-1, those of columns follow (none: the rows). Each is
 * [N, D]; the only one may be [V, N, D]. Rows are stacked in order, view after view. */
#define AK__PAIR_VIEWS 64       /* of both together */
#define AK__PAIR_EXTRAS 6       /* operands that only the program knows */
#define AK__PAIR_NUMBERS 4

struct ak__pair_program;

/* What a loss says to the engine; the attributes of the op. */
typedef struct ak__pair_loss {
    const struct ak__pair_program *program;
    bool     two_sided;         /* columns are anchors too; both halves of the mean */
    bool     first_view;        /* rows are only the first view; columns all */
    bool     normalized;        /* rows are taken as they are */
    bool     one_is_fine;       /* a batch of one sample: warn instead of refuse */
    bool     unpaired;          /* rows need no partners */
    bool     free_columns;      /* any number of columns: those past the rows are nobody's */
    unsigned out, unsummed;     /* ak__pairs_out: no candidates; scored, but in no sum */
    double   tau, factor, smoothing;
    double   number[AK__PAIR_NUMBERS];  /* options of the program */
    ak_index *ids;              /* of samples: ak__pair_rule.ids; an index operand */
    ak__target_options target;
    ak_loss_report *report;     /* NULL = none */

    /* places of operands, set by ak__pairs_apply; -1: none */
    int n_x, n_y;
    int queue, log_scale, matrix, target_weights, pair_weights, weights;
    int extra[AK__PAIR_EXTRAS];
    int matrices;               /* score matrices of a cell: the first, and `other` */
    struct ak__other_pair {
        double scale;           /* set by the loss */
        int    x, y, queue;     /* y -1: the rows themselves */
    } other[AK__MAX_SCORES - 1];
} ak__pair_loss;

/* Tensors of a call; NULL = none. */
typedef struct ak__pair_operands {
    ak_tensor *const *x, *const *y;
    int n_x, n_y;
    ak_tensor *queue, *log_scale, *matrix, *target_weights, *pair_weights, *weights;
    ak_tensor *extra[AK__PAIR_EXTRAS];
    /* More pairs of embeddings, scored in the same cells: [R, D'], [C, D'], [K, D']. */
    struct { ak_tensor *x, *y, *queue; } other[AK__MAX_SCORES - 1];
} ak__pair_operands;

typedef struct ak__pair_sizes {
    int64_t D, samples, views;
    int64_t rows;               /* of all x operands */
    int64_t R, C, K;            /* anchors as rows, columns of the batch, of the queue */
} ak__pair_sizes;

/* A call of a loss: lives from forward to backward. */
typedef struct ak__pair_run {
    ak__walk             walk;          /* its `user` is this */
    const ak__pair_loss *loss;
    ak__pair_sizes       size;
    double               scale, bound;  /* of the scores: s = scale * cosine, |s| <= bound */
    struct ak__pair_rows {              /* of each matrix: copies of rows, 1/norm; NULL = none */
        ak_real *x, *inverse_x, *inverse_y, *inverse_q;
        ak_real *gradient_x, *gradient_y;       /* of a cell-local program, from forward */
    } rows[AK__MAX_SCORES];
    ak__targets   targets;
    ak__pair_rule unsummed;
    const ak_real *weight;              /* [samples], of each as anchor; NULL = 1 */
    const ak_real *extra[AK__PAIR_EXTRAS];      /* values of the program's own operands */
    char  *row, *column;                /* statistics of anchors; column = row if symmetric */
    size_t stride;                      /* bytes of one anchor's */
    void  *own;                         /* what the program's prepare made */
    int    sweep;                       /* 0, 1, .. */
    bool   recorded;                    /* backward will come */
    ak_real *top[2];                    /* of a target matrix, for the report */
    int64_t *list_start[2];
    int32_t *list_other[2];
    ak_real *list_weight[2];
} ak__pair_run;

typedef struct ak__pair_program {
    /* Bytes of statistics of an anchor, as this loss wants it. */
    size_t (*anchor_bytes)(const ak__pair_loss *loss);
    void  *(*prepare)(const ak__pair_run *run, ak__carver *c);  /* NULL = none */
    void   (*start)(ak__pair_run *run);
    ak__tile_fn *absorb;                /* NULL: cell-local */
    /* The loss; sets *again where another sweep is needed. Reports into run->loss->report. */
    double (*finish)(ak__pair_run *run, bool *again);
    ak__tile_fn *gradient;
    void   (*give)(ak__pair_run *run, ak_call *k);              /* NULL = no operands of its own */
    /* Checks of the program's own options and operands; NULL = none. */
    ak_status (*check)(ak_call *k, const ak__pair_sizes *z);
} ak__pair_program;

static inline const ak__pair_run *ak__run_of(const ak__walk *w) { return w->user; }

/* op: a record made by AK__PAIR_OP (its name is what messages say). */
ak_tensor *ak__pairs_apply(const ak_op *op, ak__pair_loss loss, ak__pair_operands in);

ak_status ak__pairs_shape(ak_call *k);
void      ak__pairs_forward(ak_call *k);
void      ak__pairs_backward(ak_call *k);
double    ak__pairs_flops(const ak_call *k);

#define AK__PAIR_OP(title, text)                                                                   \
    { .name = title, .formula = text, .n_in = 2, .attr_size = sizeof(ak__pair_loss),               \
      .n_index = AK__PAIR_INDICES, .indices = "ids labels target_columns", .index_optional = 7,    \
      .flags = AK_OP_VARIADIC | AK_OP_MIXES_ROWS | AK_OP_ACROSS_SAMPLES,                           \
      .shape = ak__pairs_shape, .forward = ak__pairs_forward,                                      \
      .backward = ak__pairs_backward, .flops = ak__pairs_flops }

#endif
