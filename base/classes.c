/* SPDX-License-Identifier: Apache-2.0 */
/* Labels numbered without gaps: sorted, each once, found by bisection. */
#include "base/classes.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    int32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

int64_t ak__distinct(const int32_t *label, int64_t n, int32_t *value)
{
    if (n < 1)
        return 0;
    memcpy(value, label, (size_t)n * sizeof *value);
    qsort(value, (size_t)n, sizeof *value, ascending);
    int64_t count = 1;
    for (int64_t i = 1; i < n; i++)
        if (value[i] != value[count - 1])
            value[count++] = value[i];
    return count;
}

int64_t ak__place_of(const int32_t *value, int64_t count, int32_t label)
{
    int64_t lo = 0, hi = count;         /* value[i] < label for i < lo, >= label for i >= hi */
    while (lo < hi) {
        const int64_t middle = lo + (hi - lo) / 2;
        if (value[middle] < label)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo < count && value[lo] == label ? lo : -1;
}
