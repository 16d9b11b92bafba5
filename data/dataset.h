/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a data set, for the loader, the sampler and the generators. */
#ifndef AK_DATA_DATASET_H
#define AK_DATA_DATASET_H

#include <akin/data.h>

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
    bool           normalize;
    ak_real        mean[AK_MAX_CHANNELS], inverse_std[AK_MAX_CHANNELS];
};

/* A data set whose items are there already (context lifetime). labels may be NULL. */
ak_dataset *ak__dataset_new(ak_ctx *ctx, const char *name, int64_t size, ak_shape item,
                            const uint8_t *bytes, const ak_real *reals, const int32_t *labels);

/* Bytes to numbers: [0, 255] -> [0, 1]. */
#define AK__BYTE_SCALE ((ak_real)(1.0 / 255))

/* Item i without augmentation, normalised, into out (item_size numbers). */
void ak__dataset_plain(const ak_dataset *ds, int64_t i, ak_real *restrict out);

/* n numbers that may be extended by less than AK__LANES. */
#define AK__LANES 8
static inline int64_t ak__lanes(int64_t n)
{
    return (n + AK__LANES - 1) / AK__LANES * AK__LANES;
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

/* ---- views ----------------------------------------------------------------------------------- */

/* Makes views of items; one per thread, it holds scratch memory. */
typedef struct ak__viewer {
    const ak_dataset *ds;
    const ak_augment *const *lists;     /* [views], entries may be NULL */
    uint64_t          seed;
    ak_real          *memory;           /* ak__viewer_numbers */
    int32_t          *taps;             /* [2 * W] */
    void             *owner;            /* the loader */
} ak__viewer;

/* Numbers and taps that a viewer of this data set needs; 64-byte aligned memory. */
size_t ak__viewer_numbers(const ak_dataset *ds);
size_t ak__viewer_taps(const ak_dataset *ds);
/* View `view` of item `i` in an epoch into out [H, W, C]. */
void ak__viewer_make(const ak__viewer *v, int64_t epoch, int64_t i, int view, ak_real *out);
/* Is the list fine for this data set? Fails with a message otherwise. */
ak_status ak__augment_check(const ak_dataset *ds, const char *who, const ak_augment *list);
/* Entries before { 0 }. */
int ak__augment_count(const ak_augment *list);

#endif
