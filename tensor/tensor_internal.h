/* SPDX-License-Identifier: Apache-2.0 */
/* Making tensors, for the layers that do: ops, modules, losses. */
#ifndef AK_TENSOR_INTERNAL_H
#define AK_TENSOR_INTERNAL_H

#include <akin/tensor.h>

#include "base/base.h"

/* What failed calls return; one for the process, so that it exists when memory does not. */
extern ak_tensor ak__poison;
extern ak_index  ak__poison_index;

/* A private bit of ak_tensor.flags: made from the rows of a part of a batch (ak__frame.rows),
 * sample by sample along the first axis. */
#define AK__OF_ROWS 8

/* A step tensor with uninitialised data. Poison (recorded) on failure. */
ak_tensor *ak__tensor_new(ak_ctx *ctx, ak_shape shape);
/* The same of whole numbers. */
ak_index *ak__index_new(ak_ctx *ctx, ak_shape shape);
/* Its numbers, for who made it and fills it. */
static inline int32_t *ak__index_data(ak_index *x) { return (int32_t *)(uintptr_t)x->data; }
/* A step tensor that shares x's memory from `offset` elements on; keeps its gradient root. */
ak_tensor *ak__tensor_alias(ak_tensor *x, ak_shape shape, int64_t offset);
/* Is t of the running step or of the context? Records AK_ERR_STALE if not. */
bool ak__tensor_alive(ak_ctx *ctx, const ak_tensor *t, const char *who);
/* Note that `who` ("ak_fill") changed the numbers of t; of a string that stays. Every function that
 * writes into tensors which a program may have used already has to call it: see ak_touch. */
static inline void ak__note_change(ak_tensor *t, const char *who)
{
    t->owner->version++;
    t->owner->changed_by = who;
}
/* Fails if t is from outside the segment that runs: it would be changed a second time. */
void ak__changed_outside(const ak_tensor *t, const char *who);
static inline void ak__changed(ak_tensor *t, const char *who)
{
    ak__note_change(t, who);
    if (t->ctx->frame)
        ak__changed_outside(t, who);
}

/* May this tensor be read or changed? Every function that takes one and is no op asks this first
 * (ops are asked the same by ak_apply). False, with an error that names function and argument:
 *
 *   NULL         AK_ERR_VALUE
 *   poison       AK_ERR_STATE, unless an error is pending: then it is the cause, and stays it
 *   stale        AK_ERR_STALE, of an earlier step
 *   foreign      AK_ERR_CONTEXT, of another context than ctx
 *   given back   made again (ak_done_with), or AK_ERR_STATE where that is not possible
 *
 * ctx NULL: the tensor's own; for NULL and poison, which have none, as ak_fail does it. */
#define AK__TENSOR(ctx, t) ak__tensor_check(ctx, t, __func__, #t)
bool ak__tensor_check(ak_ctx *ctx, const ak_tensor *t, const char *who, const char *what);
/* The same for those that do not look at the values: they may have been given back. */
#define AK__TENSOR_ITSELF(ctx, t) ak__tensor_known(ctx, t, __func__, #t)
bool ak__tensor_known(ak_ctx *ctx, const ak_tensor *t, const char *who, const char *what);
/* The same for index arrays. */
#define AK__INDEX(ctx, x) ak__index_known(ctx, x, __func__, #x)
/* What keeps x from being an index array of this context (NULL: of its own) and step: AK_OK and
 * nothing, or a status and what follows the name in a message. */
ak_status ak__index_fault(const ak_ctx *ctx, const ak_index *x, char *text, size_t size);
bool ak__index_known(ak_ctx *ctx, const ak_index *x, const char *who, const char *what);
/* Record that poison was used, unless the error that made it is still pending. */
void ak__fail_poison(ak_ctx *ctx, const char *who, const char *what);
/* How parameters and buffers lie in their slabs, which param.c alone knows: */
/* Numbers from t to what comes behind it: its size with padding. */
int64_t ak__param_room(const ak_tensor *t);
/* Is b right behind a in memory, values and gradients (if any)? */
bool ak__param_adjacent(const ak_tensor *a, const ak_tensor *b);
/* All of them slab by slab (with weight decay, without, buffers), each in order of creation, so
 * that neighbours in memory follow each other. Not by address: sums over them must not depend on
 * where the system put a slab. From *at = 0 on; NULL at the end. */
ak_tensor *ak__param_next(ak_ctx *ctx, int64_t *at);
/* Zero the gradient of every parameter. */
void ak__zero_param_grads(ak_ctx *ctx);
/* Zero one: it has got no gradient then. */
void ak__zero_grad_of(ak_tensor *t);

/* What a pattern is held against: the i-th name, NULL past the end, "" for one that is not offered.
 * `what` such a name is of, for messages. */
typedef struct ak__names {
    const char *what;
    const char *(*at)(void *of, int64_t i);
    void *of;
} ak__names;
/* Which parameter one of a copied module is the copy of, and the path of that module. */
typedef struct ak__twin { const ak_tensor *from; const char *root; } ak__twin;
/* Is this a path that patterns reach: not empty, no empty part between slashes, none of the signs
 * of patterns, no control character? Else AK_ERR_VALUE "<who>: the name ..". */
bool ak__name_legal(ak_ctx *ctx, const char *who, const char *name);
/* How many names fit. -1: an error is recorded; AK_ERR_VALUE for what is no pattern,
 * AK_ERR_NOT_FOUND with near names for an alternative that fits none and has no "~". */
int64_t ak__pattern_count(ak_ctx *ctx, const char *who, const char *pattern, ak__names names);
/* The same among the context's parameters, with buffers or without. */
int64_t ak__pattern_params(ak_ctx *ctx, const char *who, const char *pattern, bool buffers);
/* "a", "b", "c": the parameters whose names are nearest to `path`, written into buf. */
void ak__near_params(ak_ctx *ctx, const char *path, char *buf, size_t size);

/* How many of n numbers are NaN or infinite, and the place of the first (may be NULL). */
int64_t ak__count_not_finite(const ak_real *x, int64_t n, int64_t *first);
/* Are n rows of length d finite? If not: AK_ERR_NUMBER with their number and the first. `row` is
 * what a row is called. */
bool ak__rows_finite(ak_ctx *ctx, const char *who, const char *row, const ak_real *x, int64_t n,
                     int64_t d);
/* The error alone, for who has counted. */
void ak__fail_rows(ak_ctx *ctx, const char *who, const char *row, int64_t count, int64_t n,
                   int64_t first);

/* Number of elements; -1 if a dim is negative, there are too many axes, or it overflows. */
int64_t ak__shape_check(ak_shape shape);

#endif
