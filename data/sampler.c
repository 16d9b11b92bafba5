/* SPDX-License-Identifier: Apache-2.0 */
/* The order of an epoch: a function of (seed, epoch), so that a resumed run sees the same. */
#include "data/dataset.h"

#include "base/base.h"

#include <string.h>

#define STREAM_ORDER UINT64_C(0x6f726465722e2e2e)

int64_t ak__sampler_workspace(int64_t n, int64_t classes)
{
    return 2 * n + 3 * classes + 1;
}

/* The k-th permutation of the items of one class. */
static void shuffle_class(uint64_t seed, uint64_t stream, int64_t count, const int64_t *items,
                          int64_t *shuffled)
{
    ak_random_permutation(seed, stream, count, shuffled);
    for (int64_t i = 0; i < count; i++)
        shuffled[i] = items[shuffled[i]];
}

/* Classes take turns: each round visits every class once, in random order. A class that is used
 * up is shuffled anew, so every class comes equally often (to one) and, within a class, no item
 * comes a second time before all others have come once more. */
static void balanced_order(const ak__sampler *s, int64_t epoch, int64_t n, int64_t *order,
                           int64_t *workspace)
{
    int64_t *items = workspace, *shuffled = items + n;          /* [n] each, grouped by class */
    int64_t *start = shuffled + n, *used = start + s->classes + 1, *turn = used + s->classes;
    memset(start, 0, (size_t)(s->classes + 1) * sizeof *start);
    for (int64_t i = 0; i < n; i++)
        start[s->labels[i] + 1]++;
    for (int64_t c = 0; c < s->classes; c++) {
        start[c + 1] += start[c];
        used[c] = start[c];
    }
    for (int64_t i = 0; i < n; i++)
        items[used[s->labels[i]]++] = i;
    memset(used, 0, (size_t)s->classes * sizeof *used);
    for (int64_t i = 0, round = 0; i < n; round++) {
        ak_random_permutation(s->seed, ak__stream(STREAM_ORDER, (uint64_t)epoch, 1,
                                                  (uint64_t)round), s->classes, turn);
        for (int64_t t = 0; t < s->classes && i < n; t++) {
            const int64_t c = turn[t], count = start[c + 1] - start[c];
            if (count == 0)
                continue;
            const int64_t at = used[c] % count;
            if (at == 0)
                shuffle_class(s->seed, ak__stream(STREAM_ORDER, (uint64_t)epoch,
                                                  2 + (uint64_t)c, (uint64_t)(used[c] / count)),
                              count, items + start[c], shuffled + start[c]);
            used[c]++;
            order[i++] = shuffled[start[c] + at];
        }
    }
}

void ak__sampler_order(const ak__sampler *s, int64_t epoch, int64_t n, int64_t *order,
                       int64_t *workspace)
{
    if (s->balance) {
        balanced_order(s, epoch, n, order, workspace);
    } else if (s->in_order) {
        for (int64_t i = 0; i < n; i++)
            order[i] = i;
    } else {
        ak_random_permutation(s->seed, ak__stream(STREAM_ORDER, (uint64_t)epoch, 0, 0), n, order);
    }
}
