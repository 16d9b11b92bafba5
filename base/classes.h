/* SPDX-License-Identifier: Apache-2.0 */
/* Labels numbered without gaps. A label may be any whole number from 0 on, a product number or a
 * hash; arrays with one entry a class are indexed by its place among the labels that occur, so that
 * work and memory follow the items, not the largest label. */
#ifndef AK_CLASSES_H
#define AK_CLASSES_H

#include <akin/core.h>

/* The different numbers among label[0..n), ascending, into value (room for n); returns how many.
 * Time n log n. */
int64_t ak__distinct(const int32_t *label, int64_t n, int32_t *value);
/* Place of `label` in value[0..count), which ascends; -1 if it is not there. */
int64_t ak__place_of(const int32_t *value, int64_t count, int32_t label);

#endif
