/* SPDX-License-Identifier: Apache-2.0 */
/* What the records of losses share: how a sample says which options it sets, and the constants that
 * go with them. */
#ifndef AK_LOSS_SAMPLES_H
#define AK_LOSS_SAMPLES_H

#include <akin/losses.h>

/* Labels and ids of samples: enough for the largest. Classes 1, 7 and 4 repeat, others occur once;
 * 3 is twice among the ids, -1 is padding. In the second row of labels -1 is a class unknown. */
extern const int32_t ak__some_labels[12], ak__few_labels[12], ak__unknown_labels[12];
extern const int32_t ak__some_ids[12], ak__some_columns[14];

/* Which options a sample sets. Constants of the right shape are drawn when it runs. */
typedef struct ak__loss_case {
    double  tau, base_tau, smoothing;
    double  number;                 /* one more, of that loss */
    int64_t queue;                  /* rows */
    int     each;                   /* listed targets of a row */
    const int32_t *labels, *ids;
    bool    normalized, weights, matrix, pair_weights, only_queue, one, pair_sum;
} ak__loss_case;

/* Of a sample; all zeros if it sets nothing. */
const ak__loss_case *ak__case_of(const ak_sample *s);
/* Constant numbers in [lo, lo + 1). */
ak_tensor *ak__sample_constant(ak_ctx *ctx, ak_shape shape, uint64_t stream, double lo);
/* NULL of NULL. */
ak_index *ak__sample_index(ak_ctx *ctx, const int32_t *values, int64_t n);

/* Unit rows of [.., D], as [R, D]. */
ak_tensor *ak__unit_rows(ak_tensor *z, bool normalized);

/* A [1]-shaped log scale is drawn from [lo, hi) like the embeddings: scales of about 0.4 to 2.7. */
#define AK__TWO(n, d) .in = { { 2, { n, d } }, { 2, { n, d } } }, .n_in = 2
#define AK__TWO_AND_SCALE(n, d) .in = { { 2, { n, d } }, { 2, { n, d } }, { 1, { 1 } } }, .n_in = 3
#define AK__THREE_AXES(a, b, d) .in = { { 3, { a, b, d } } }, .n_in = 1
#define AK__CASE(...) .attr = &(const ak__loss_case){ __VA_ARGS__ }

/* Lines of ak_loss_info.options that most losses have. */
#define AK__COMMON_OPTIONS                                                                         \
    "normalized: rows have unit length already\n"                                                  \
    "ids: equal ids are no candidates of one another; -1 is padding\n"                             \
    "weights: of each sample as anchor\n"                                                          \
    "report: chance value, contrastive accuracy, temperature, lonely anchors, duplicates"

#endif
