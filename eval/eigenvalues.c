/* SPDX-License-Identifier: Apache-2.0 */
/* Householder's reduction to three diagonals, then QL steps with implicit shifts (Wilkinson,
 * Reinsch, "Handbook for Automatic Computation: Linear Algebra", 1971, II/2 and II/3). */
#include "eval/eigenvalues.h"

#include <float.h>
#include <math.h>

#define MAX_STEPS 60            /* for one eigenvalue; two are usual */

/* Reflect row k's part beyond the diagonal onto its first place, and the rest with it. v: the
 * reflector, where the row was; p: room. Returns what stands beside the diagonal. */
static double reflect(double *a, int64_t n, int64_t k, double *p)
{
    double *v = a + k * n, square = 0, vp = 0;
    for (int64_t j = k + 2; j < n; j++)
        square += v[j] * v[j];
    if (square == 0)
        return v[k + 1];
    const double length = sqrt(square + v[k + 1] * v[k + 1]);
    const double alpha = v[k + 1] > 0 ? -length : length;
    v[k + 1] -= alpha;
    const double half = (square + v[k + 1] * v[k + 1]) / 2;     /* |v|^2 / 2 */
    for (int64_t i = k + 1; i < n; i++) {
        const double *row = a + i * n;
        double sum = 0;
        for (int64_t j = k + 1; j < n; j++)
            sum += row[j] * v[j];
        p[i] = sum / half;
        vp += p[i] * v[i];
    }
    for (int64_t i = k + 1; i < n; i++)
        p[i] -= vp / (2 * half) * v[i];
    for (int64_t i = k + 1; i < n; i++) {
        double *row = a + i * n;
        const double vi = v[i], pi = p[i];
        for (int64_t j = k + 1; j < n; j++)
            row[j] -= vi * p[j] + pi * v[j];
    }
    return alpha;
}

/* One QL step with an implicit shift on places l .. m of diagonal d, off[i] beside d[i]. */
static void ql_step(double *d, double *off, int64_t l, int64_t m)
{
    double g = (d[l + 1] - d[l]) / (2 * off[l]);
    g = d[m] - d[l] + off[l] / (g + copysign(hypot(g, 1), g));
    double s = 1, c = 1, p = 0;
    for (int64_t i = m - 1; i >= l; i--) {
        const double f = s * off[i], b = c * off[i], r = hypot(f, g);
        off[i + 1] = r;
        if (r == 0) {                           /* the matrix falls apart here */
            d[i + 1] -= p;
            off[m] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
    }
    d[l] -= p;
    off[l] = g;
    off[m] = 0;
}

/* The first place from l on behind which nothing is left beside the diagonal. */
static int64_t end_of_block(const double *d, const double *off, int64_t n, int64_t l)
{
    int64_t m = l;
    while (m < n - 1 && fabs(off[m]) > DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1])) &&
           fabs(off[m]) > DBL_MIN)
        m++;
    return m;
}

bool ak__eigenvalues(double *a, int64_t n, double *value, double *room)
{
    /* value serves as room of the reflections until the diagonal is read */
    for (int64_t k = 0; k + 1 < n; k++)
        room[k] = reflect(a, n, k, value);
    for (int64_t k = 0; k < n; k++)
        value[k] = a[k * n + k];
    room[n - 1] = 0;
    for (int64_t l = 0; l < n; l++) {
        int64_t m;
        for (int step = 0; (m = end_of_block(value, room, n, l)) != l; step++) {
            if (step == MAX_STEPS)
                return false;
            ql_step(value, room, l, m);
        }
    }
    return true;
}
