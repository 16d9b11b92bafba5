/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for NaN and infinity. */
#include "tensor/tensor_internal.h"

#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

/* Numbers that a thread looks at; of them BLOCK at a time without a branch. */
#define CHUNK ((int64_t)65536)
enum { BLOCK = 1024, GROUP = 64 };

static int64_t count_in(const ak_real *x, int64_t n)
{
    if (ak__k.sum_squares(x, n) <= AK_REAL_MAX)
        return 0;                   /* nearly always; large numbers may have large squares */
    int64_t count = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int m = n - at < BLOCK ? (int)(n - at) : BLOCK;
        int bad = 0;
        for (int i = 0; i < m; i++)
            bad += !(ak__fabs(x[at + i]) <= AK_REAL_MAX);
        count += bad;
    }
    return count;
}

int64_t ak__count_not_finite(const ak_real *x, int64_t n, int64_t *first)
{
    /* A loop of one chunk still calls OpenMP, which takes longer than a small net's numbers. */
    int64_t total = n <= CHUNK ? count_in(x, n) : 0;
    for (int64_t start = 0; n > CHUNK && start < n; start += GROUP * CHUNK) {
        int64_t part[GROUP];
        const int64_t m = n - start < GROUP * CHUNK ? n - start : GROUP * CHUNK;
        AK__PARALLEL_CHUNKS(c, m, CHUNK, begin, end)
            part[c] = count_in(x + start + begin, end - begin);
        for (int64_t c = 0; c < ak__chunk_count(m, CHUNK); c++)
            total += part[c];
    }
    int64_t i = 0;
    while (total && ak__fabs(x[i]) <= AK_REAL_MAX)
        i++;
    if (total && first)
        *first = i;
    return total;
}

bool ak__rows_finite(ak_ctx *ctx, const char *who, const char *row, const ak_real *x, int64_t n,
                     int64_t d)
{
    if (ak__count_not_finite(x, n * d, NULL) == 0)
        return true;
    int64_t count = 0, first = 0;
    for (int64_t i = n - 1; i >= 0; i--)
        if (count_in(x + i * d, d)) {
            count++;
            first = i;
        }
    ak__fail_rows(ctx, who, row, count, n, first);
    return false;
}

void ak__fail_rows(ak_ctx *ctx, const char *who, const char *row, int64_t count, int64_t n,
                   int64_t first)
{
    ak_fail(ctx, AK_ERR_NUMBER, "%s: %lld of %lld %ss hold%s a number that is not finite, the "
            "first is %s %lld", who, (long long)count, (long long)n, row, count == 1 ? "s" : "",
            row, (long long)first);
}
