/* SPDX-License-Identifier: Apache-2.0 */
/* Views of the items of a data set, for batches and the augmentations. */
#ifndef AK_DATA_VIEWS_H
#define AK_DATA_VIEWS_H

#include "data/reader.h"

/* How the views of one field are made. */
typedef struct ak__views {
    int       views;
    const ak_augment *lists[AK_MAX_VIEWS];  /* NULL = as it is */
    uint64_t  seed;
    ak_shape  item[AK_MAX_VIEWS];           /* of a view */
    int64_t   numbers[AK_MAX_VIEWS];        /* of it, at the longest */
} ak__views;
/* All views of field f of ds: checks the lists. View sizes are read off them. */
ak_status ak__views_open(ak__views *v, ak_dataset *ds, int f, const char *who, int views,
                         const ak_augment *const *lists, uint64_t seed);

/* Makes views; one per thread, it holds scratch memory. */
typedef struct ak__viewer {
    ak_real *memory;        /* ak__viewer_numbers, 64-byte aligned */
    int32_t *taps;          /* ak__viewer_taps */
    void    *owner;         /* the loader */
    void    *scratch;       /* of the reader */
} ak__viewer;
/* Numbers and taps that a viewer of these pictures needs; 0 for other fields. */
size_t ak__viewer_numbers(const ak__field *f, const ak__views *v);
size_t ak__viewer_taps(const ak__views *v);

/* Where a view goes, and what it is of. */
typedef struct ak__view {
    const ak__field *field;
    int              place;     /* of the field in its set */
    const ak__views *views;
    int64_t          epoch, item;
    int              view;
    const ak__raw   *raw;
    ak_real         *reals;     /* out: of numbers */
    int32_t         *whole;     /* out: of whole numbers */
    int64_t          length;    /* out: of those that vary */
} ak__view;
/* False: a fault, which is described; what out holds is of no use then. */
bool ak__view_make(const ak__viewer *viewer, ak__view *v, ak__fault *fault);

/* Is the list fine for this field and its values? Fails with a message otherwise. */
ak_status ak__augment_check(ak_dataset *ds, int field, const char *who, const ak_augment *list);
/* Is it one of the library's? These keep values in [0, 1] there. */
bool ak__augment_own(const ak_augment_kind *kind);
/* The size that the list asks for by ak_view_size; false if by none. */
bool ak__augment_size(const ak_augment *list, int64_t *height, int64_t *width);
/* Entries before { 0 }. */
int ak__augment_count(const ak_augment *list);

#endif
