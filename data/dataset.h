/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a data set, for the loader, the sampler and the generators. */
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

/* ---- views ----------------------------------------------------------------------------------- */

/* Makes views of items; one per thread, it holds scratch memory. */
typedef struct ak__viewer {
    const ak_dataset *ds;               /* settled */
    const ak_augment *const *lists;     /* [views], entries may be NULL */
    uint64_t          seed;
    ak_real          *memory;           /* ak__viewer_numbers */
    int32_t          *taps;             /* [2 * W] */
    void             *owner;            /* the loader */
} ak__viewer;

/* Numbers and taps that a viewer of this data set needs; 64-byte aligned memory. */
size_t ak__viewer_numbers(const ak_dataset *ds);
size_t ak__viewer_taps(const ak_dataset *ds);
/* What came in the way of a view. Threads note it, the caller reports it. */
typedef struct ak__view_fault {
    const ak_augment_kind *kind;        /* NULL: none */
    int64_t                item;
    int                    view;
    ak_box                 box;         /* that a look left */
    double                 value;       /* that a change of values in [0, 1] was handed */
} ak__view_fault;

/* View `view` of item `i` in an epoch into out [H, W, C]. False: a fault, which is described;
 * what out holds is of no use then. */
bool ak__viewer_make(const ak__viewer *v, int64_t epoch, int64_t i, int view, ak_real *out,
                     ak__view_fault *fault);
/* Record it as an error. */
ak_status ak__view_fail(const ak_dataset *ds, const char *who, const ak__view_fault *fault);
/* Is the list fine for this data set and its values? Fails with a message otherwise. */
ak_status ak__augment_check(ak_dataset *ds, const char *who, const ak_augment *list);
/* Is it one of the library's? These keep values in [0, 1] there. */
bool ak__augment_own(const ak_augment_kind *kind);
/* Entries before { 0 }. */
int ak__augment_count(const ak_augment *list);

#endif
