/* SPDX-License-Identifier: Apache-2.0 */
/* The list of things in a context that a checkpoint holds beside parameters and buffers.
 *
 * Whoever owns state that outlives a step (optimiser, loader, queue) registers its functions and
 * an object. A checkpoint then asks each for its bytes, or hands them back:
 *
 *     static const ak__state_ops ops = { my_size, my_save, my_check, my_load, NULL };
 *     if (!ak__state_register(ctx, "loader", &ops, me)) return NULL;     // out of memory, recorded
 *
 * Loading is done in two rounds so that a refused file changes nothing: first `check` of every
 * object, then `load` of every object, which can not fail any more.
 *
 * Bytes are little-endian: ak__put_* and ak__get_* below.
 */
#ifndef AK_STATE_H
#define AK_STATE_H

#include <akin/core.h>

#include <string.h>

typedef struct ak__state_ops {
    /* Bytes that save writes now. */
    size_t (*size)(void *obj);
    /* Write exactly size(obj) bytes. */
    void (*save)(void *obj, unsigned char *bytes);
    /* Would load succeed? If not: record why with ak_fail, return the status. Changes nothing. */
    ak_status (*check)(void *obj, const unsigned char *bytes, size_t size);
    /* Take the bytes, which check has accepted. */
    void (*load)(void *obj, const unsigned char *bytes, size_t size);
    /* How many numbers of its state are NaN or infinite; *where names the first's place, for a
     * warning. NULL: none can be. */
    int64_t (*not_finite)(void *obj, const char **where);
} ak__state_ops;

typedef struct ak__state {
    const char *name;               /* unique in the context */
    const ak__state_ops *ops;
    void *obj;
    struct ak__state *next;         /* in order of registration */
} ak__state;

/* Register obj for checkpoints. name is copied; when it is taken already, "#2", "#3", .. is added,
 * so that several objects of a kind are told apart by the order of their creation. Returns the
 * entry (for the name in use), NULL when memory is exhausted (recorded). */
const ak__state *ak__state_register(ak_ctx *ctx, const char *name, const ak__state_ops *ops,
                                    void *obj);
/* The first entry, NULL if there is none. */
const ak__state *ak__state_first(ak_ctx *ctx);
/* By name; NULL if there is none. */
const ak__state *ak__state_find(ak_ctx *ctx, const char *name);

/* Numbers to and from bytes, advancing the place. */
static inline void ak__put_u64(unsigned char **p, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        (*p)[i] = (unsigned char)(x >> (8 * i));
    *p += 8;
}

static inline uint64_t ak__get_u64(const unsigned char **p)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)(*p)[i] << (8 * i);
    *p += 8;
    return x;
}

static inline void ak__put_f64(unsigned char **p, double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    ak__put_u64(p, u);
}

static inline double ak__get_f64(const unsigned char **p)
{
    const uint64_t u = ak__get_u64(p);
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

#endif
