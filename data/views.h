/* SPDX-License-Identifier: Apache-2.0 */
/* Views of the items of a data set, for the loader and the augmentations. */
#ifndef AK_DATA_VIEWS_H
#define AK_DATA_VIEWS_H

#include "data/dataset.h"

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
