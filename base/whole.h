/* SPDX-License-Identifier: Apache-2.0 */
/* Whole numbers: the smaller, the larger, and parts of equal size. */
#ifndef AK_WHOLE_H
#define AK_WHOLE_H

#include <stdint.h>

static inline int64_t ak__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ak__max(int64_t a, int64_t b) { return a > b ? a : b; }
/* n / unit and n, both rounded up; n >= 0, unit > 0. */
static inline int64_t ak__ceil_div(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }
static inline int64_t ak__round_to(int64_t n, int64_t unit) { return ak__ceil_div(n, unit) * unit; }

#endif
