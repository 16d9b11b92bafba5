/* SPDX-License-Identifier: Apache-2.0 */
/* Student's t and the binomial distribution of a fair coin, by the incomplete beta function. */
#include "eval/distributions.h"

#include <float.h>
#include <math.h>

#include "base/normal.h"

/* The continued fraction of I_x(a, b) (DLMF 8.17.22), evaluated by Lentz's method; it converges
 * fast for x < (a + 1) / (a + b + 2), in about sqrt(max(a, b)) steps. */
static double fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), value;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    value = d;
    for (int m = 1; m < 100000; m++) {
        double delta = 1;
        for (int odd = 0; odd < 2; odd++) {
            const double term = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                    : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + term * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            c = fabs(c) < tiny ? tiny : c;
            delta = c * d;
            value *= delta;
        }
        if (fabs(delta - 1) < 1e-15)
            break;
    }
    return value;
}

/* I_x(a, b); y = 1 - x is handed in, because it may be tiny. */
static double incomplete_beta(double a, double b, double x, double y)
{
    if (x <= 0 || y <= 0)
        return x <= 0 ? 0 : 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    if (x < (a + 1) / (a + b + 2))
        return front * fraction(a, b, x) / a;
    return 1 - front * fraction(b, a, y) / b;
}

double ak__t_two_sided(double t, double df)
{
    if (!isfinite(t))
        return 0;
    const double square = t * t;
    return incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square));
}

double ak__t_quantile(double p, double df)
{
    if (p == 0.5)
        return 0;
    if (df > 1e7)
        return ak__normal_quantile(p);
    const double tail = 2 * (p < 0.5 ? p : 1 - p);      /* P(|T| > x) for the x >= 0 sought */
    double lo = 0, hi = 1;
    while (ak__t_two_sided(hi, df) > tail && hi < 1e300)
        hi *= 2;
    for (int i = 0; i < 200 && hi - lo > 4 * DBL_EPSILON * hi; i++) {
        const double middle = lo + (hi - lo) / 2;
        if (ak__t_two_sided(middle, df) > tail)
            lo = middle;
        else
            hi = middle;
    }
    return p < 0.5 ? -hi : hi;
}

double ak__coin_at_most(int64_t k, int64_t n)
{
    if (k < 0)
        return 0;
    return k >= n ? 1 : incomplete_beta((double)(n - k), (double)(k + 1), 0.5, 0.5);
}

double ak__coin_two_sided(int64_t k, int64_t n)
{
    const int64_t least = k < n - k ? k : n - k;
    const double p = 2 * ak__coin_at_most(least, n);
    return p < 1 ? p : 1;
}
