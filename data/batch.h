/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: filled into plain memory by whoever has time, then copied into the step. */
#ifndef AK_DATA_BATCH_H
#define AK_DATA_BATCH_H

#include "base/carve.h"
#include "data/views.h"

/* The values of one batch before they go into step memory: of each field, views one after the
 * other, in each the items. */
typedef struct ak__field_block {
    ak_real *reals;
    int32_t *whole, *length;        /* [V, N, numbers], [V, N] */
} ak__field_block;
typedef struct ak__batch_plan {
    const ak__reader *reader;
    const ak__views  *views;        /* [fields] */
} ak__batch_plan;

/* Room for a batch of `count` items into blocks [fields]. */
void ak__blocks_carve(const ak__batch_plan *p, int64_t count, ak__carver *c,
                      ak__field_block *blocks);
/* The same as a number that can not overflow, for a check beforehand. */
double ak__blocks_size(const ak__batch_plan *p, int64_t count);
/* Fill them with the items listed. The first fault is noted; what has one is of no use. */
void ak__blocks_fill(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                     const ak__viewer *viewer, const ak__field_block *blocks, ak__fault *fault);
/* When numbers are checked: name the first item that is not finite. */
bool ak__blocks_finite(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                       const ak__field_block *blocks);
/* Copies in step memory. False: out of memory. */
bool ak__blocks_give(const ak__batch_plan *p, const int32_t *items, int64_t count,
                     const ak__field_block *blocks, ak_batch *b);
/* What an error leaves: poison everywhere, so that whoever goes on does nothing. */
void ak__batch_poison(ak_batch *b, ak_ctx *ctx);

#endif
