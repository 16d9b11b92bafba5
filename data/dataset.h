/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a data set, for the views, the loader, the sampler and the generators. A data set
 * knows nothing of views (views.h), which read its items. */
#ifndef AK_DATA_DATASET_H
#define AK_DATA_DATASET_H

#include <akin/data.h>

#include "base/whole.h"

struct ak_dataset {
    ak_ctx        *ctx;
    const char    *name;
    int64_t        size;
    ak_shape       item;
    int64_t        item_size;       /* numbers in an item */
    int            channels;        /* last axis of an item */
    const uint8_t *bytes;           /* [size, item], or NULL: */
    const ak_real *reals;           /* [size, item] */
    const int32_t *labels;          /* [size], NULL = unknown */
    int64_t        classes;
    const char *const *class_names; /* [classes] and NULL at their end, or NULL */

    /* How items are read. A subset reads as `parent` does where it has no setting of its own:
     * ak__dataset_settled finds out. */
    const ak_dataset *parent;       /* NULL: not a subset */
    bool           own_scale, own_normal;
    bool           scale;           /* reals: y = (x - offset) * factor */
    ak_real        offset, factor;
    bool           normalize;
    ak_real        mean[AK_MAX_CHANNELS], inverse_std[AK_MAX_CHANNELS];

    bool           range_known;     /* of reals, as they are stored: */
    ak_real        lowest, highest;
    int64_t        not_finite;      /* an item with such a number, or -1 */
};

/* A data set whose items are there already (context lifetime). labels may be NULL. */
ak_dataset *ak__dataset_new(ak_ctx *ctx, const char *name, int64_t size, ak_shape item,
                            const uint8_t *bytes, const ak_real *reals, const int32_t *labels);

/* The data set with the settings that hold for it now, for reading items. */
ak_dataset ak__dataset_settled(const ak_dataset *ds);

/* Bytes to numbers: [0, 255] -> [0, 1]. */
#define AK__BYTE_SCALE ((ak_real)(1.0 / 255))

/* Item i of a settled set without augmentation, scaled and normalised, into out (item_size
 * numbers). */
void ak__dataset_plain(const ak_dataset *ds, int64_t i, ak_real *restrict out);

/* n numbers that may be extended by less than AK__LANES. */
#define AK__LANES 8
static inline int64_t ak__lanes(int64_t n)
{
    return ak__round_to(n, AK__LANES);
}

/* Which items an epoch has, in order: a pure function of its arguments.
 *
 *   order      out, n numbers
 *   workspace  ak__sampler_workspace(n, classes) numbers (balance only; may be NULL otherwise)
 */
typedef struct ak__sampler {
    uint64_t       seed;
    bool           in_order, balance;
    const int32_t *labels;      /* balance only: all in [0, classes), every class that occurs */
    int64_t        classes;
} ak__sampler;
void   ak__sampler_order(const ak__sampler *s, int64_t epoch, int64_t n, int64_t *order,
                         int64_t *workspace);
int64_t ak__sampler_workspace(int64_t n, int64_t classes);

#endif
