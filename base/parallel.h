/* SPDX-License-Identifier: Apache-2.0 */
/* OpenMP with fixed chunks: what a chunk covers depends on n alone, never on the number of
 * threads, so sums that are made per chunk and added in chunk order have the same bits always.
 * Without OpenMP everything runs on the calling thread.
 *
 *     AK__PARALLEL_CHUNKS(c, n, 4096, begin, end) { ... work on [begin, end) ... }
 *
 * Chunk c covers [c*size, min(n, (c+1)*size)). Below two chunks no thread is woken.
 * AK__PARALLEL_CHUNKS_BACK does the last chunk first: a second pass over an array then begins with
 * what the first one left in the caches.
 *
 * A process that was forked off runs everything on the calling thread: GNU's OpenMP would wait
 * there for the parent's threads for ever. The bits are the same.
 */
#ifndef AK_PARALLEL_H
#define AK_PARALLEL_H

#include "base/whole.h"

extern int ak__forked;          /* forked off since a context was opened? base/ctx.c */

#ifdef _OPENMP
#include <omp.h>
#define AK__PRAGMA(x) _Pragma(#x)
static inline int  ak__max_threads(void) { return ak__forked ? 1 : omp_get_max_threads(); }
static inline int  ak__thread_id(void) { return omp_get_thread_num(); }
/* May no more threads be woken? */
static inline int  ak__in_parallel(void) { return ak__forked || omp_in_parallel(); }
#else
#define AK__PRAGMA(x)
static inline int  ak__max_threads(void) { return 1; }
static inline int  ak__thread_id(void) { return 0; }
static inline int  ak__in_parallel(void) { return 0; }
#endif

static inline int64_t ak__chunk_count(int64_t n, int64_t size) { return ak__ceil_div(n, size); }

/* A loop over independent items; `big` says whether the work is worth waking threads. */
#define AK__PARALLEL_FOR(i, n, big)                                                                \
    AK__PRAGMA(omp parallel for schedule(static) if ((big) && !ak__in_parallel()))                 \
    for (int64_t i = 0; i < (n); i++)

/* The same where items differ in cost. */
#define AK__PARALLEL_FOR_DYNAMIC(i, n, big)                                                        \
    AK__PRAGMA(omp parallel for schedule(dynamic, 1) if ((big) && !ak__in_parallel()))             \
    for (int64_t i = 0; i < (n); i++)

#define AK__PARALLEL_CHUNKS(c, n, size, begin, end)                                                \
    AK__PRAGMA(omp parallel for schedule(static)                                                   \
                   if (ak__chunk_count(n, size) > 1 && !ak__in_parallel()))                        \
    for (int64_t c = 0; c < ak__chunk_count(n, size); c++)                                         \
        for (int64_t begin = c * (size), end = begin + (size) < (n) ? begin + (size) : (n),        \
                     once_##c = 1; once_##c; once_##c = 0)

#define AK__PARALLEL_CHUNKS_BACK(c, n, size, begin, end)                                           \
    AK__PRAGMA(omp parallel for schedule(static)                                                   \
                   if (ak__chunk_count(n, size) > 1 && !ak__in_parallel()))                        \
    for (int64_t from_end_##c = 1; from_end_##c <= ak__chunk_count(n, size); from_end_##c++)       \
        for (int64_t c = ak__chunk_count(n, size) - from_end_##c, begin = c * (size),              \
                     end = begin + (size) < (n) ? begin + (size) : (n),                            \
                     once_##c = 1; once_##c; once_##c = 0)

#endif
