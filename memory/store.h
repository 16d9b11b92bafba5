/* SPDX-License-Identifier: Apache-2.0 */
/* What every object here has in common: a name, and a content that checkpoints hold.
 *
 * An object lists its sizes, its counters and its arrays once; saving, checking and loading are the
 * same for all (docs/FORMATS.md has the bytes):
 *
 *     ak_queue *q = ak__store_new(ctx, "ak_queue_make", "queue", name, sizeof *q);
 *     ak__store_size(&q->store, "rows", K);
 *     ak__store_counter(&q->store, "held", &q->held, K);
 *     ak__store_array(&q->store, q->rows->data, bytes);
 *     if (!ak__store_register(&q->store)) return NULL;
 */
#ifndef AK_STORE_H
#define AK_STORE_H

#include "tensor/tensor_internal.h"

enum { AK__STORE_SIZES = 4, AK__STORE_COUNTERS = 3, AK__STORE_ARRAYS = 4 };

typedef struct ak__store {
    ak_ctx     *ctx;
    const char *kind, *name;
    ak_tensor  *rows;           /* changed by a load; NULL = none that is handed out */
    int n_sizes, n_counters, n_arrays;
    struct { const char *what; int64_t value; } size[AK__STORE_SIZES];      /* fixed: compared */
    struct { const char *what; int64_t *at, most; } counter[AK__STORE_COUNTERS];    /* [0, most] */
    struct { void *at; size_t bytes; bool counts; } array[AK__STORE_ARRAYS];
    /* Numbers of the object that are not finite, for the warning of a save; NULL: none can be. */
    int64_t (*not_finite)(void *obj);
    /* The content was loaded: work out what follows from it. NULL: nothing does. */
    void (*loaded)(void *obj);
} ak__store;

/* `bytes` of an object that begins with its store, for as long as the context, zeroed. NULL: an
 * error is recorded; ctx or name is NULL, no legal name, or taken by another of the kind. */
void *ak__store_new(ak_ctx *ctx, const char *who, const char *kind, const char *name, size_t bytes);
void ak__store_size(ak__store *s, const char *what, int64_t value);
void ak__store_counter(ak__store *s, const char *what, int64_t *at, int64_t most);
void ak__store_array(ak__store *s, void *at, size_t bytes);
/* Memory for n numbers of `bytes` each, zeroed, which lives as long as the context and is one of
 * the arrays. NULL: out of memory, recorded. */
void *ak__store_alloc(ak__store *s, int64_t n, size_t bytes);
/* The same for numbers of times, which a file must have in [0, AK__STORE_MOST]. */
#define AK__STORE_MOST (INT64_MAX / 2)
int64_t *ak__store_counts(ak__store *s, int64_t n);
/* The same for rows that are handed out as a constant tensor [n, d]. */
ak_tensor *ak__store_rows(ak__store *s, int64_t n, int64_t d);
/* Let checkpoints hold it, last of all. False: out of memory, recorded. */
bool ak__store_register(ak__store *s);

/* Is this size from 1 on? If not: AK_ERR_VALUE. */
bool ak__store_positive(ak_ctx *ctx, const char *who, const char *name, const char *what,
                        int64_t value);

#endif
