/* SPDX-License-Identifier: Apache-2.0 */
/* akin/eval.h - how good an embedding is: classification of frozen features, with intervals.
 *
 * An encoder trained without labels is judged by what simple classifiers find in its output. Run it
 * over a data set once (ak_features_open: evaluation mode, nothing recorded), then ask k nearest
 * neighbours or a linear probe. Every figure names its protocol and carries a 95 % interval.
 *
 *     ak_features *a = ak_features_open(enc, train, (ak_features_options){ 0 });
 *     ak_features *b = ak_features_open(enc, test, (ak_features_options){ 0 });
 *     ak_eval_result r = ak_eval_knn_on(a, b, (ak_knn_options){ .k = 20 });
 *     printf("%.1f %% [%.1f, %.1f]  %s\n", 100 * r.accuracy, 100 * r.lo, 100 * r.hi, r.protocol);
 *     ak_features_close(b);
 *     ak_features_close(a);
 *
 * or in one call, without interval: ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 }).
 *
 * The interval tells how much the figure would move with another test set of this size. It says
 * nothing about another seed of the training: run several for that.
 *
 * Functions that fail record the error and return NULL, or a result whose accuracy is NaN. Items
 * without a label (-1) are refused: leave them out with ak_dataset_subset. So are features that are
 * not finite, by every function here (AK_ERR_NUMBER: "3 of 60000 items hold a number that is not
 * finite, the first is item 17"): an encoder that gives NaN has no accuracy.
 *
 * N items, D features, C classes.
 */
#ifndef AKIN_EVAL_H
#define AKIN_EVAL_H

#include <akin/eval_compare.h>
#include <akin/inputs.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- features -------------------------------------------------------------------------------- */

typedef struct ak_features {
    const ak_real *x;           /* [n, d], row-major */
    const int32_t *label;       /* [n], each in [0, classes) */
    int64_t        n, d, classes;   /* classes: one more than the largest label. Labels may be far
                                     * apart: measures cost by the items, not by the largest */
    const char    *what;        /* "eval-mode output of encoder", "raw values", or what was given */
    ak_ctx        *ctx;
    const char *const *class_names; /* of the data set, ended by NULL; NULL = none are known */
} ak_features;

/* What an encoder is handed for `count` items from `start` on, where the data set does not hold it
 * as ak_batch_inputs reads it. Items come in order, in evaluation mode. */
typedef ak_inputs (*ak_inputs_fn)(ak_dataset *ds, int64_t start, int64_t count, void *user);

typedef struct ak_features_options {
    int64_t      batch;     /* items the encoder gets at a time, [1, ...); 0 = 500 */
    const char  *field;     /* what the encoder reads: ak_batch_inputs(batch, field, 0); NULL = the
                             * main field */
    ak_inputs_fn inputs;    /* in place of that; NULL = none */
    void        *user;      /* for .inputs */
} ak_features_options;

/* What an encoder makes of every item of a data set.
 *
 *   formula   x[i] = enc(item i), flattened; evaluation mode, nothing recorded, no augmentation,
 *             normalised as the data set is (ak_dataset_normalize)
 *   enc       NULL = the field itself (the raw-pixel baseline), of one size and no tokens
 *   returns   lives until ak_features_close(), at the latest until ak_close(); NULL on failure
 *   grad      none; the context's mode (train or evaluation) is left as it was
 *   errors    AK_ERR_VALUE (an item without label, batch < 1, .inputs without enc
 *             or beside .field), AK_ERR_NUMBER
 *             (items whose features are not finite, counted), AK_ERR_MEMORY, AK_ERR_STATE if
 *             recorded calls of this step are still to be used; what the encoder records
 */
AK_API ak_features *ak_features_open(ak_module *enc, ak_dataset *ds, ak_features_options options);

/* Features from numbers at hand.
 *
 *   x         [N, ..], flattened to [N, D]; copied
 *   label     N numbers >= 0; copied
 *   what      for the protocol text; copied; NULL = "given features"
 *   errors    AK_ERR_SHAPE for a scalar or an empty x, AK_ERR_VALUE for a negative label,
 *             AK_ERR_NUMBER for NaN or infinity, AK_ERR_MEMORY
 */
AK_API ak_features *ak_features_from(const ak_tensor *x, const int32_t *label, const char *what);

/* Free the numbers. Closing NULL is fine. */
AK_API void ak_features_close(ak_features *f);

/* ---- results --------------------------------------------------------------------------------- */

typedef struct ak_eval_result {
    double  accuracy;           /* share of test items classified correctly; NaN after an error */
    double  lo, hi;             /* 95 % interval over the test set, Wilson's: a share of items */
    int64_t n_train, n_test;
    int64_t iterations;         /* of a linear probe, else 0 */
    double  gradient_norm;      /* largest component where the probe stopped, else 0 */
    char    protocol[240];      /* "kNN k=20 cosine weighted T=0.1, 60000/10000, eval-mode .." */
} ak_eval_result;

/* ---- k nearest neighbours -------------------------------------------------------------------- */

typedef struct ak_knn_options {
    int    k;           /* neighbours, [1, training items]; 0 = 20 */
    bool   plain;       /* every neighbour has one vote; otherwise exp(cosine / temperature) */
    double temperature; /* of the weights, (0, inf); 0 = 0.1 */
    bool   leave_one_out;   /* train and test are the same items: item i is no neighbour of itself,
                             * and k is at most N - 1 */
    ak_features_options features;   /* of ak_eval_knn, which makes some; else AK_ERR_VALUE */
} ak_knn_options;

/* Classify every test item by the votes of its k nearest training items.
 *
 *   formula   s[i] = <x, t[i]> / (|x| |t[i]|); vote[c] = sum of exp(s[i] / T), or of 1, over the
 *             neighbours i of class c; the largest vote wins
 *   self      items that are both in train and in test find themselves first, which makes any
 *             figure too good: set leave_one_out, or read "test items are training items" in the
 *             protocol
 *   ties      equal cosines: the lower training index is nearer; equal votes: the class whose first
 *             neighbour is nearer. Zero rows have cosine 0 to everything; other rows may be of any
 *             length that a number can have
 *   shapes    train [N, D], test [M, D]
 *   returns   result with interval; accuracy NaN after an error
 *   errors    AK_ERR_SHAPE (D differs), AK_ERR_VALUE (k, temperature, leave_one_out with two sets;
 *             a class has another name in one set than in the other), AK_ERR_MEMORY
 *   source    weighted vote: Wu et al., "Unsupervised feature learning via non-parametric instance
 *             discrimination", CVPR 2018
 */
AK_API ak_eval_result ak_eval_knn_on(const ak_features *train, const ak_features *test,
                                     ak_knn_options options);
/* The same for several k in one pass: result[i] is of ks[i]; options.k is ignored. */
AK_API ak_status ak_eval_knn_list(const ak_features *train, const ak_features *test,
                                  ak_knn_options options, const int *ks, int n,
                                  ak_eval_result *result);
/* Accuracy alone, features made and freed on the way. NaN after an error. */
AK_API double ak_eval_knn(ak_module *enc, ak_dataset *train, ak_dataset *test,
                          ak_knn_options options);

/* ---- linear probe ---------------------------------------------------------------------------- */

typedef struct ak_linear_probe_options {
    double l2;              /* penalty l2 |W|^2, biases included, [0, inf); 0 = 1e-4;
                             * AK_NONE = none */
    int    max_iterations;  /* [1, ...); 0 = 300 */
    double gradient_norm;   /* stop when no component of the gradient is larger; 0 = 1e-3 */
    int    memory;          /* pairs that L-BFGS remembers, [1, 100]; 0 = 10 */
    ak_features_options features;   /* of ak_eval_linear, which makes some; else AK_ERR_VALUE */
} ak_linear_probe_options;

/* Softmax regression on standardised features, trained on `train`, scored on `test`.
 *
 *   formula   minimise  mean_i -log softmax(W z_i + b)[label_i] + l2 (|W|^2 + |b|^2)
 *             with z = (x - mean) / (deviation + 1e-6), statistics of the training items; features
 *             that are constant there are left out
 *   method    L-BFGS (two-loop recursion) from zero, line search by the strong Wolfe conditions;
 *             result.iterations and .gradient_norm say where it stopped, the protocol text too
 *   shapes    train [N, D], test [M, D]; the C classes that occur in one of them or both, whatever
 *             numbers they have
 *   errors    AK_ERR_SHAPE (D differs), AK_ERR_VALUE (options; class names differ), AK_ERR_MEMORY
 *   source    Nocedal, Wright, "Numerical Optimization", 2nd ed., algorithms 7.4, 3.5 and 3.6
 */
AK_API ak_eval_result ak_eval_linear_on(const ak_features *train, const ak_features *test,
                                        ak_linear_probe_options options);
/* Accuracy alone, features made and freed on the way. NaN after an error. */
AK_API double ak_eval_linear(ak_module *enc, ak_dataset *train, ak_dataset *test,
                             ak_linear_probe_options options);

/* ---- the embedding itself -------------------------------------------------------------------- */

/* Contrastive accuracy: share of rows whose best match among all other rows is their partner.
 *
 *   shapes    z1, z2 [N, D]; rows are compared by cosine, each of the 2N with the 2N - 1 others
 *   returns   in [0, 1], chance 1 / (2N - 1); NaN after an error. Ties count for the lower row
 *   errors    AK_ERR_SHAPE unless both are [N, D], AK_ERR_NUMBER (rows that are not finite)
 */
AK_API double ak_eval_contrastive(const ak_tensor *z1, const ak_tensor *z2);

/* Alignment: how close partners are.  mean_i |u_i - v_i|^2 with u, v the rows at unit length
 *   shapes    z1, z2 [N, D];  errors  AK_ERR_SHAPE, AK_ERR_NUMBER
 *   source    Wang, Isola, "Understanding contrastive representation learning through alignment
 *             and uniformity on the hypersphere", ICML 2020 */
AK_API double ak_eval_alignment(const ak_tensor *z1, const ak_tensor *z2);
/* Uniformity: how evenly rows cover the sphere.  log mean_{i<j} exp(-2 |u_i - u_j|^2), over all
 * pairs of the rows given. 0 when all rows are equal, lower is more even.
 *   shapes    z [N, D], N >= 2;  errors  AK_ERR_SHAPE, AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    as above */
AK_API double ak_eval_uniformity(const ak_tensor *z);

/* ---- list of measures ------------------------------------------------------------------------ */

typedef struct ak_metric_info { const char *name, *text, *function, *source; } ak_metric_info;
AK_API const ak_metric_info *ak_metric_at(int i);               /* NULL past the end */
AK_API const ak_metric_info *ak_metric_find(const char *name);  /* NULL if unknown */

#ifdef __cplusplus
}
#endif
#endif
