/* SPDX-License-Identifier: Apache-2.0 */
/* The search behind ak_nearest_rows, ak_queue_nearest and ak_bank_nearest. */
#ifndef AK_NEAREST_H
#define AK_NEAREST_H

#include "memory/rows.h"

typedef struct ak__search {
    const ak_real *rows;        /* [M, D] finite */
    int64_t        M, D;
    bool           unit;        /* all of length 1 */
    const uint8_t *present;     /* [M] rows that are there; NULL = all */
    bool           own_ids;     /* rows can be left out by id: */
    const int32_t *ids;         /* [M] theirs; NULL = their places */
} ak__search;

/* Whatever a program hands in (x, o) is checked here; rows are not. Poison three times after an
 * error. */
ak_nearest ak__nearest(ak__speaker me, const ak__search *s, ak_tensor *x, ak_nearest_options o);
/* What a search returns after an error. */
ak_nearest ak__nearest_poison(void);

#endif
