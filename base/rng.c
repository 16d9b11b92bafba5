/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers as a function of (seed, stream, index): Philox 4x32-10. */
#include "base/base.h"
#include "base/normal.h"

#include <inttypes.h>
#include <math.h>

/* Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
void ak__philox(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t ak__hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 1099511628211ull;
    return hash;
}

static uint64_t mix(uint64_t x)     /* the finaliser of splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

uint64_t ak__stream(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return mix(mix(mix(mix(a) ^ b) ^ c) ^ d);
}

uint32_t ak_random_u32(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t w[4];
    ak__philox(seed, stream, index >> 2, w);
    return w[index & 3];
}

/* 53 random bits, one Philox block for two values. */
double ak_random_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t w[4];
    ak__philox(seed, stream, index >> 1, w);
    int      i = (int)(index & 1) * 2;
    uint64_t bits = ((uint64_t)w[i] << 32 | w[i + 1]) >> 11;
    return (double)bits * (1.0 / 9007199254740992.0);
}

double ak_random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    /* Box-Muller: block b makes values 2b (cosine) and 2b + 1 (sine). */
    double u = ak_random_uniform(seed, stream, index & ~(uint64_t)1);
    double v = ak_random_uniform(seed, stream, index | 1);
    double r = sqrt(-2 * log1p(-u)), angle = 6.283185307179586 * v;
    return index & 1 ? r * sin(angle) : r * cos(angle);
}

double ak__normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.7071067811865476);
}

/* Inverse of the normal distribution function: Acklam's rational start, two Halley steps. */
double ak__normal_quantile(double p)
{
    static const double a[] = { -3.969683028665376e+01, 2.209460984245205e+02,
        -2.759285104469687e+02, 1.383577518672690e+02, -3.066479806614716e+01,
        2.506628277459239e+00 };
    static const double b[] = { -5.447609879822406e+01, 1.615858368580409e+02,
        -1.556989798598866e+02, 6.680131188771972e+01, -1.328068155288572e+01 };
    static const double c[] = { -7.784894002430293e-03, -3.223964580411365e-01,
        -2.400758277161838e+00, -2.549732539343734e+00, 4.374664141464968e+00,
        2.938163982698783e+00 };
    static const double d[] = { 7.784695709041462e-03, 3.224671290700398e-01,
        2.445134137142996e+00, 3.754408661907416e+00 };
    double x;
    if (p < 0.02425 || p > 1 - 0.02425) {
        double q = sqrt(-2 * log(p < 0.5 ? p : 1 - p));
        x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
        x = p < 0.5 ? x : -x;
    } else {
        double q = p - 0.5, r = q * q;
        x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    for (int i = 0; i < 2; i++) {
        double e = ak__normal_cdf(x) - p;
        double u = e * 2.5066282746310002 * exp(x * x / 2);
        x -= u / (1 + x * u / 2);
    }
    return x;
}

double ak_random_truncated_normal(uint64_t seed, uint64_t stream, uint64_t index, double lo,
                                  double hi)
{
    double flo = ak__normal_cdf(lo), fhi = ak__normal_cdf(hi);
    double p = flo + (fhi - flo) * ak_random_uniform(seed, stream, index);
    if (!(p > 0 && p < 1))
        return lo > 0 ? lo : hi < 0 ? hi : 0;   /* the interval lies where the tail is 0 */
    double x = ak__normal_quantile(p);
    return x < lo ? lo : x > hi ? hi : x;
}

bool ak_random_bernoulli(uint64_t seed, uint64_t stream, uint64_t index, double p)
{
    return ak_random_uniform(seed, stream, index) < p;
}

uint64_t ak_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n)
{
    /* 64 random bits; what lies in the last, incomplete run of n is drawn again from a block far
     * away, so that every number is equally likely. */
    if (n == 0) {
        ak_fail(NULL, AK_ERR_VALUE, "ak_random_below: n = 0: there is no whole number in [0, 0)");
        return 0;
    }
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    for (uint64_t attempt = 0;; attempt++) {
        uint32_t w[4];
        ak__philox(seed, stream, index + (attempt << 56), w);
        uint64_t x = (uint64_t)w[0] << 32 | w[1];
        if (x < limit)
            return x % n;
    }
}

void ak_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *out)
{
    if (n < 0)
        ak_fail(NULL, AK_ERR_VALUE, "ak_random_permutation: n = %" PRId64 " is negative", n);
    if (n <= 0 || !AK__GIVEN(NULL, out))
        return;
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {       /* Fisher and Yates */
        int64_t j = (int64_t)ak_random_below(seed, stream, (uint64_t)i, (uint64_t)i + 1);
        int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
