/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: the counted allocator, the growing arena of a step, the pool of pieces given back. */
#ifndef AK_ARENA_H
#define AK_ARENA_H

#include <akin/core.h>

#define AK__ALIGN 64

/* The size that is really set aside for `bytes`. */
static inline size_t ak__round_up(size_t bytes)
{
    return (bytes + (AK__ALIGN - 1)) & ~(size_t)(AK__ALIGN - 1);
}

/* The only door to the system allocator: counted, can be made to fail (ak_fail_alloc_after),
 * 64-byte aligned. NULL when out of memory; records nothing. Freeing NULL is fine. */
void *ak__malloc(size_t bytes);
void  ak__free(void *p);

typedef struct ak__block {
    struct ak__block *next;     /* the one before */
    size_t            size, used;
    size_t            top_used; /* from the other end */
} ak__block;                    /* data follows at AK__BLOCK_DATA */

#define AK__BLOCK_DATA ak__round_up(sizeof(ak__block))

/* A bump allocator over blocks that grow. Reset keeps the memory and makes one block of it, so
 * that a step like the last one needs no system call. Large pieces come from the far end of a
 * block, where no small ones lie between them: neighbours that are given back make one piece. */
typedef struct ak__arena {
    ak__block *top;
    size_t     reserved;        /* in all blocks */
    size_t     in_use;          /* handed out since the reset */
    size_t     peak;
    bool       fresh_block;     /* a block was added since the reset: join them */
} ak__arena;

void *ak__arena_alloc(ak__arena *arena, size_t bytes);
void *ak__arena_alloc_large(ak__arena *arena, size_t bytes);
void  ak__arena_reset(ak__arena *arena);
void  ak__arena_free(ak__arena *arena);
typedef struct ak__arena_mark { ak__block *block; size_t used, top_used, in_use; } ak__arena_mark;
ak__arena_mark ak__arena_mark_get(const ak__arena *arena);
/* Give back what came after the mark. */
void ak__arena_release(ak__arena *arena, ak__arena_mark mark);

/* Slots for the structs of step tensors and index arrays. They are used again from the first on in
 * every second step, but never wiped, poisoned or freed before the context closes: a pointer that
 * is kept too long still points to a struct whose generation tells. */
#define AK__SHELL_SIZE 192
typedef struct ak__shells {
    struct ak__shell_block *first, *current;
    size_t used;                /* slots of current */
} ak__shells;
void *ak__shells_take(ak__shells *shells);   /* NULL: out of memory */
void  ak__shells_reset(ak__shells *shells);
/* Give `to` as many slots as `from` has, so that the next step asks the system for none. */
void  ak__shells_match(ak__shells *to, const ak__shells *from);
void  ak__shells_free(ak__shells *shells);

/* Free large pieces of a step's memory, by address; neighbours are joined. Backward returns the
 * gradients of intermediates here, and values that nobody reads any more. Pieces are arena memory:
 * nothing to free. */
typedef struct ak__free_piece { struct ak__free_piece *next; size_t size; } ak__free_piece;
typedef struct ak__pool { ak__free_piece *first; } ak__pool;
/* What is smaller is not worth looking for. */
#define AK__LARGE ((size_t)16 << 10)
/* From this size on pieces come from the far end: maps of pictures do, and what lies between two of
 * them for the whole step, a head's features, does not. */
#define AK__HUGE  ((size_t)1 << 20)
/* From the smallest piece that fits; NULL if there is none. */
void *ak__pool_take(ak__pool *pool, size_t bytes);
void  ak__pool_give(ak__pool *pool, void *p, size_t bytes);

#endif
