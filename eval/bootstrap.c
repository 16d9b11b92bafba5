/* SPDX-License-Identifier: Apache-2.0 */
/* Percentile bootstrap: how far a mean over a test set would move with another test set. */
#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "base/parallel.h"
#include "eval/eval.h"
#include "eval/resample.h"

#define DEFAULT_RESAMPLES 1000

/* The mean of n values drawn with replacement. A draw is a 32-bit word scaled to n: its bias,
 * n / 2^32, is far below the sampling noise. */
static double resample_mean(const double *values, int64_t n, uint64_t seed, uint64_t stream)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t word[4];
        ak__philox(seed, stream, (uint64_t)i / 4, word);
        for (int64_t j = 0; j < 4 && i + j < n; j++)
            sum += values[((uint64_t)word[j] * (uint64_t)n) >> 32];
    }
    return sum / (double)n;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
    const double place = q * (n - 1);
    const int    low = (int)floor(place);
    const int    high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

ak_interval ak_bootstrap_mean(ak_ctx *ctx, const double *values, int64_t n,
                              ak_bootstrap_options options)
{
    const ak_interval nothing = { (double)NAN, (double)NAN };
    ak_bootstrap_options o = options;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, values) ||
        !ak__bootstrap_options(ctx, "bootstrap", n, DEFAULT_RESAMPLES, &o) ||
        !ak__values_finite(ctx, "bootstrap", "value", values, n))
        return nothing;
    double *mean = ak__malloc((size_t)o.resamples * sizeof *mean);
    if (!mean) {
        ak__fail_memory(ctx, (size_t)o.resamples * sizeof *mean);
        return nothing;
    }
    AK__PARALLEL_FOR(r, (int64_t)o.resamples, n > 16)
        mean[r] = resample_mean(values, n, o.seed, ak__stream(0xb007, (uint64_t)r, 0, 0));
    qsort(mean, (size_t)o.resamples, sizeof *mean, compare_doubles);
    const ak_interval interval = { quantile(mean, o.resamples, (1 - o.level) / 2),
                                   quantile(mean, o.resamples, (1 + o.level) / 2) };
    ak__free(mean);
    return interval;
}
