/* SPDX-License-Identifier: Apache-2.0 */
/* A block of memory in pieces. What needs the block says which pieces it wants, twice: first with
 * base NULL, which only counts, and then with the memory. */
#ifndef AK_CARVE_H
#define AK_CARVE_H

#include "base/arena.h"

/* Pieces are whole cache lines, aligned to 64 bytes if base is. */
typedef struct ak__carver { char *base; size_t used; } ak__carver;

static inline void *ak__carve(ak__carver *c, int64_t count, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += ak__round_up((size_t)count * size);
    return p;
}

static inline ak_real *ak__carve_reals(ak__carver *c, int64_t count)
{
    return ak__carve(c, count, sizeof(ak_real));
}

#endif
