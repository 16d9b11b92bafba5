/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: the counted allocator, the growing arena of a step, the pool of pieces given back. */
#define _GNU_SOURCE
#include "base/arena.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define AK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define AK_ASAN 1
#endif
#endif
#ifdef AK_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

#define FIRST_BLOCK ((size_t)1 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

/* ---- the door to the system ----------------------------------------------------------------- */

static _Atomic uint64_t malloc_count;
static _Atomic uint64_t fail_countdown;     /* 0 = off, 1 = the next allocation fails */
static _Atomic bool     fail_sticky;

uint64_t ak_malloc_count(void)
{
    return atomic_load(&malloc_count);
}

void ak_fail_alloc_after(uint64_t n, bool sticky)
{
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_countdown, n);
}

static bool injected_failure(void)
{
    uint64_t left = atomic_load(&fail_countdown);
    while (left > 0) {
        uint64_t after = left > 1 ? left - 1 : (atomic_load(&fail_sticky) ? 1 : 0);
        if (atomic_compare_exchange_weak(&fail_countdown, &left, after))
            return left == 1;
    }
    return false;
}

void *ak__malloc(size_t bytes)
{
    if (injected_failure() || bytes > SIZE_MAX / 2)
        return NULL;
    atomic_fetch_add(&malloc_count, 1);
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : AK__ALIGN;
    void  *p = NULL;
    if (posix_memalign(&p, align, bytes ? ak__round_up(bytes) : AK__ALIGN) != 0)
        return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE) && !defined(AK_ASAN)
    if (bytes >= 2 * HUGE_PAGE)     /* fewer page faults and TLB misses on activations */
        (void)madvise(p, ak__round_up(bytes), MADV_HUGEPAGE);
#endif
    return p;
}

void ak__free(void *p)
{
    free(p);
}

/* ---- arena ---------------------------------------------------------------------------------- */


static char *block_data(ak__block *b)
{
    return (char *)b + AK__BLOCK_DATA;
}

static bool push_block(ak__arena *arena, size_t size)
{
    size = ak__round_up(size);          /* pieces from its end are aligned as well */
    ak__block *b = ak__malloc(AK__BLOCK_DATA + size);
    if (!b)
        return false;
    *b = (ak__block){ .next = arena->top, .size = size };
    POISON(block_data(b), size);
    arena->top = b;
    arena->reserved += size;
    arena->fresh_block = true;
    return true;
}

static bool add_block(ak__arena *arena, size_t need)
{
    size_t size = arena->reserved > FIRST_BLOCK ? arena->reserved / 2 : FIRST_BLOCK;
    if (size > need && push_block(arena, size))
        return true;
    return push_block(arena, need);     /* no more than what is wanted */
}

/* The block that has room for `bytes`; *need is what they take. NULL: out of memory. */
static ak__block *block_for(ak__arena *arena, size_t bytes, size_t *need)
{
    *need = bytes ? ak__round_up(bytes) : AK__ALIGN;
    if (*need < bytes)
        return NULL;
    const ak__block *b = arena->top;
    if ((!b || b->size - b->used - b->top_used < *need) && !add_block(arena, *need))
        return NULL;
    arena->in_use += *need;
    if (arena->in_use > arena->peak)
        arena->peak = arena->in_use;
    return arena->top;
}

void *ak__arena_alloc(ak__arena *arena, size_t bytes)
{
    size_t     need;
    ak__block *b = block_for(arena, bytes, &need);
    if (!b)
        return NULL;
    char *p = block_data(b) + b->used;
    b->used += need;
    UNPOISON(p, bytes ? bytes : 1);
    return p;
}

void *ak__arena_alloc_large(ak__arena *arena, size_t bytes)
{
    size_t     need;
    ak__block *b = block_for(arena, bytes, &need);
    if (!b)
        return NULL;
    b->top_used += need;
    char *p = block_data(b) + b->size - b->top_used;
    UNPOISON(p, bytes ? bytes : 1);
    return p;
}

static void free_block(ak__arena *arena, ak__block *b)
{
    arena->reserved -= b->size;
    UNPOISON(block_data(b), b->size);
    ak__free(b);
}

static void wipe_range(char *p, size_t n)
{
#if !defined(NDEBUG) && !defined(AK_ASAN)
    memset(p, 0xff, n);                 /* NaN in float and in double */
#endif
    POISON(p, n);
    (void)p;
    (void)n;
}

/* Make free what is beyond the first `used` and the last `top_used` bytes. */
static void wipe(ak__block *b, size_t used, size_t top_used)
{
    wipe_range(block_data(b) + used, b->used - used);
    wipe_range(block_data(b) + b->size - b->top_used, b->top_used - top_used);
    b->used = used;
    b->top_used = top_used;
}

void ak__arena_reset(ak__arena *arena)
{
    arena->in_use = 0;
    if (!arena->top)
        return;
    if (arena->fresh_block && arena->top->next) {
        /* Join the blocks: the next step of this size fits into one. What fails here only means
         * that the blocks stay as they are. */
        size_t     total = arena->reserved;
        ak__block *joined = NULL;
        while (arena->top) {
            ak__block *next = arena->top->next;
            free_block(arena, arena->top);
            arena->top = next;
        }
        joined = ak__malloc(AK__BLOCK_DATA + total);
        if (joined) {
            *joined = (ak__block){ .size = total };
            POISON(block_data(joined), total);
            arena->top = joined;
            arena->reserved = total;
        }
    } else {
        wipe(arena->top, 0, 0);
    }
    arena->fresh_block = false;
}

void ak__arena_free(ak__arena *arena)
{
    while (arena->top) {
        ak__block *next = arena->top->next;
        free_block(arena, arena->top);
        arena->top = next;
    }
    *arena = (ak__arena){ 0 };
}

ak__arena_mark ak__arena_mark_get(const ak__arena *arena)
{
    const ak__block *b = arena->top;
    return (ak__arena_mark){ arena->top, b ? b->used : 0, b ? b->top_used : 0, arena->in_use };
}

void ak__arena_release(ak__arena *arena, ak__arena_mark mark)
{
    size_t since = arena->in_use - mark.in_use, total = 0;
    int    blocks = 0;
    for (const ak__block *b = arena->top; b && b != mark.block; b = b->next) {
        total += b->size;
        blocks++;
    }
    if (blocks == 1 && arena->top->size >= since) {
        wipe(arena->top, 0, 0);
    } else if (blocks > 0) {
        /* One spare block that holds as much as was used since the mark: a loop that marks and
         * releases asks the system only once. Without memory for it there is no spare. */
        while (arena->top != mark.block) {
            ak__block *next = arena->top->next;
            free_block(arena, arena->top);
            arena->top = next;
        }
        push_block(arena, total > since ? total : since);
    }
    if (mark.block) {
        assert(mark.block->used >= mark.used && mark.block->top_used >= mark.top_used);
        wipe(mark.block, mark.used, mark.top_used);
    }
    arena->in_use = mark.in_use;
}

/* ---- shells --------------------------------------------------------------------------------- */

enum { SHELLS_PER_BLOCK = 128 };

typedef struct ak__shell_block {
    struct ak__shell_block *next;
} ak__shell_block;               /* slots follow at AK__ALIGN */

void *ak__shells_take(ak__shells *shells)
{
    if (!shells->current || shells->used == SHELLS_PER_BLOCK) {
        ak__shell_block **next = shells->current ? &shells->current->next : &shells->first;
        if (!*next) {
            *next = ak__malloc(AK__ALIGN + SHELLS_PER_BLOCK * AK__SHELL_SIZE);
            if (!*next)
                return NULL;
            (*next)->next = NULL;
        }
        shells->current = *next;
        shells->used = 0;
    }
    return (char *)shells->current + AK__ALIGN + AK__SHELL_SIZE * shells->used++;
}

void ak__shells_reset(ak__shells *shells)
{
    shells->current = NULL;
    shells->used = 0;
}

void ak__shells_match(ak__shells *to, const ak__shells *from)
{
    ak__shell_block **last = &to->first;
    for (const ak__shell_block *b = from->first; b; b = b->next, last = &(*last)->next) {
        if (*last)
            continue;
        *last = ak__malloc(AK__ALIGN + SHELLS_PER_BLOCK * AK__SHELL_SIZE);
        if (!*last)
            return;         /* ak__shells_take tries again and reports */
        (*last)->next = NULL;
    }
}

void ak__shells_free(ak__shells *shells)
{
    while (shells->first) {
        ak__shell_block *next = shells->first->next;
        ak__free(shells->first);
        shells->first = next;
    }
    *shells = (ak__shells){ 0 };
}

/* ---- pool ----------------------------------------------------------------------------------- */

void *ak__pool_take(ak__pool *pool, size_t bytes)
{
    const size_t     need = ak__round_up(bytes);
    ak__free_piece **best = NULL;
    for (ak__free_piece **p = &pool->first; *p; p = &(*p)->next)
        if ((*p)->size >= need && (!best || (*p)->size < (*best)->size))
            best = p;
    if (!best)
        return NULL;
    ak__free_piece *piece = *best;
    if (piece->size > need) {
        ak__free_piece *rest = (ak__free_piece *)((char *)piece + need);
        *rest = (ak__free_piece){ .next = piece->next, .size = piece->size - need };
        *best = rest;
    } else {
        *best = piece->next;
    }
    return piece;
}

/* Join b behind a if they touch. */
static void join(ak__free_piece *a)
{
    const ak__free_piece *b = a->next;
    if (b && (const char *)a + a->size == (const char *)b) {
        a->size += b->size;
        a->next = b->next;
    }
}

void ak__pool_give(ak__pool *pool, void *p, size_t bytes)
{
    if (bytes < AK__LARGE)
        return;
    ak__free_piece *piece = p, *before = NULL;
    UNPOISON(p, ak__round_up(bytes));
    for (ak__free_piece *at = pool->first; at && at < piece; at = at->next)
        before = at;
    ak__free_piece **link = before ? &before->next : &pool->first;
    *piece = (ak__free_piece){ .next = *link, .size = ak__round_up(bytes) };
    *link = piece;
    join(piece);
    if (before)
        join(before);
}
