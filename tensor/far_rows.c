/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths of rows by way of their largest number, in double. */
#include "tensor/far_rows.h"

#include <math.h>
#include <string.h>

/* Largest |x|; NaN if there is one. */
static double largest_of(const ak_real *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) {
        const double size = fabs((double)x[i]);
        if (size > top || size != size)
            top = size;
        if (top != top)
            return top;
    }
    return top;
}

/* sqrt(sum (x / top)^2): in [1, sqrt(n)] */
static double relative_length(const ak_real *x, int64_t n, double top)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double t = (double)x[i] / top;
        sum += t * t;
    }
    return sqrt(sum);
}

double ak__far_inverse(const ak_real *x, int64_t n)
{
    const double top = largest_of(x, n);
    return top == 0 ? 0 : 1 / relative_length(x, n, top) / top;
}

void ak__far_unit(ak_real *y, const ak_real *x, int64_t n)
{
    const double top = largest_of(x, n);
    if (top == 0) {
        memset(y, 0, (size_t)n * sizeof *y);
        return;
    }
    const double length = relative_length(x, n, top);
    for (int64_t i = 0; i < n; i++)
        y[i] = (ak_real)((double)x[i] / top / length);
}

double ak__far_dot(double a, const ak_real *u, double b, const ak_real *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a * (double)u[i] * (b * (double)v[i]);
    return sum;
}
