/* SPDX-License-Identifier: Apache-2.0 */
/* A block of memory in pieces. What needs the block says which pieces it wants, twice: first with
 * base NULL, which only counts, and then with the memory. */
#ifndef AK_CARVE_H
#define AK_CARVE_H

#include "base/whole.h"

#include <akin/core.h>

/* Pieces of one area, each 64-byte aligned if base is; base NULL: only count. */
typedef struct ak__carve { char *base; size_t used; } ak__carve;

static inline ak_real *ak__carve_reals(ak__carve *c, int64_t n)
{
    ak_real *p = c->base ? (ak_real *)(void *)(c->base + c->used) : NULL;
    c->used += ((size_t)n * sizeof(ak_real) + 63) / 64 * 64;
    return p;
}

static inline char *ak__carve_bytes(ak__carve *c, int64_t n)
{
    return (char *)ak__carve_reals(c, ak__ceil_div(n, (int64_t)sizeof(ak_real)));
}

static inline int32_t *ak__carve_ints(ak__carve *c, int64_t n)
{
    return (int32_t *)(void *)ak__carve_reals(c, n);
}
_Static_assert(sizeof(int32_t) <= sizeof(ak_real), "room of reals holds as many ints");

#endif
