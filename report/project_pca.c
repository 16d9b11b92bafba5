/* SPDX-License-Identifier: Apache-2.0 */
/* Principal components: the covariance, or where there are fewer rows than columns the matrix of
 * products of rows, made tridiagonal by reflections (Householder), then diagonal by rotations (QL
 * with implicit shifts). Source: Golub, Van Loan, "Matrix Computations", 8.3. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/parallel.h"
#include "report/project.h"
#include "tensor/tensor_internal.h"

#define SWEEPS 60               /* of QL for one eigenvalue; three are usual */

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Reflections from the last row up: row i keeps its reflector, h[i] half its squared length. What
 * is left has the diagonal `diagonal` and the elements `below` beside it. */
static void tridiagonal(double *a, int64_t n, double *diagonal, double *below, double *h)
{
    for (int64_t i = n - 1; i > 0; i--) {
        double *u = a + i * n, scale = 0;
        for (int64_t j = 0; j < i; j++)
            scale = fmax(scale, fabs(u[j]));
        h[i] = 0;
        below[i] = u[i - 1];
        if (i == 1 || !(scale > DBL_MIN))
            continue;
        const double length = scale * sqrt(dot(u, u, i) / scale / scale);
        below[i] = u[i - 1] >= 0 ? -length : length;
        u[i - 1] -= below[i];
        h[i] = dot(u, u, i) / 2;
        /* A - u q^T - q u^T, q = p - u (u^T p / 2h), p = A u / h: in the lower triangle */
        double *p = diagonal;           /* its place up to i is free until the end */
        memset(p, 0, (size_t)i * sizeof *p);
        for (int64_t r = 0; r < i; r++) {
            const double *row = a + r * n;
            p[r] += dot(row, u, r + 1);
            for (int64_t c = 0; c < r; c++)
                p[c] += row[c] * u[r];
        }
        for (int64_t r = 0; r < i; r++)
            p[r] /= h[i];
        const double k = dot(u, p, i) / (2 * h[i]);
        for (int64_t r = 0; r < i; r++)
            p[r] -= k * u[r];
        for (int64_t r = 0; r < i; r++) {
            double *row = a + r * n;
            for (int64_t c = 0; c <= r; c++)
                row[c] -= u[r] * p[c] + p[r] * u[c];
        }
    }
    for (int64_t i = 0; i < n; i++)
        diagonal[i] = a[i * n + i];
    below[0] = h[0] = 0;
}

/* The reflections multiplied: rows of a become an orthogonal matrix Q^T, A = Q T Q^T. */
static void reflectors(double *a, int64_t n, const double *h)
{
    for (int64_t i = 0; i < n; i++) {
        const double *u = a + i * n;
        if (h[i] > 0)
            for (int64_t r = 0; r < i; r++) {
                double      *row = a + r * n;
                const double k = dot(row, u, i) / h[i];
                for (int64_t c = 0; c < i; c++)
                    row[c] -= k * u[c];
            }
        memset(a + i * n, 0, (size_t)i * sizeof *a);
        a[i * n + i] = 1;
        for (int64_t r = 0; r < i; r++)
            a[r * n + i] = 0;
    }
}

static void rotate(double *x, double *y, int64_t n, double c, double s)
{
    for (int64_t i = 0; i < n; i++) {
        const double t = y[i];
        y[i] = s * x[i] + c * t;
        x[i] = c * x[i] - s * t;
    }
}

/* QL: the rows of a turn with it. */
static bool diagonalise(double *a, int64_t n, double *d, double *e)
{
    memmove(e, e + 1, (size_t)(n - 1) * sizeof *e);
    e[n - 1] = 0;
    for (int64_t l = 0; l < n; l++) {
        for (int sweep = 0; ; sweep++) {
            int64_t m = l;
            while (m < n - 1 && fabs(e[m]) > DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1])) &&
                   fabs(e[m]) > DBL_MIN)
                m++;
            if (m == l)
                break;
            if (sweep == SWEEPS)
                return false;
            double g = (d[l + 1] - d[l]) / (2 * e[l]);
            g = d[m] - d[l] + e[l] / (g + copysign(hypot(g, 1), g));
            double  s = 1, c = 1, p = 0;
            int64_t i = m - 1;
            for (; i >= l; i--) {
                const double f = s * e[i], b = c * e[i], r = hypot(f, g);
                e[i + 1] = r;
                if (!(r > 0))
                    break;
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                const double t = (d[i] - g) * s + 2 * c * b;
                p = s * t;
                d[i + 1] = g + p;
                g = c * t - b;
                rotate(a + i * n, a + (i + 1) * n, n, c, s);
            }
            if (i >= l) {               /* a rotation vanished: two smaller problems */
                d[i + 1] -= p;
                e[m] = 0;
                continue;
            }
            d[l] -= p;
            e[l] = g;
            e[m] = 0;
        }
    }
    return true;
}

bool ak__eigen(double *a, int64_t n, double *values, double *room)
{
    /* h is needed until the reflectors are made, `below` from then on: both stand in room [2n] */
    tridiagonal(a, n, values, room, room + n);
    reflectors(a, n, room + n);
    if (n > 1 && !diagonalise(a, n, values, room))
        return false;
    for (int64_t i = 0; i < n; i++) {
        int64_t best = i;
        for (int64_t j = i + 1; j < n; j++)
            best = values[j] > values[best] ? j : best;
        const double value = values[i];
        values[i] = values[best];
        values[best] = value;
        for (int64_t c = 0; best != i && c < n; c++) {
            const double t = a[i * n + c];
            a[i * n + c] = a[best * n + c];
            a[best * n + c] = t;
        }
    }
    return true;
}

static void centre(double *x, int64_t n, int64_t d)
{
    for (int64_t c = 0; c < d; c++) {
        const double first = x[c];      /* equal numbers become 0, not rounding */
        double       sum = 0;
        for (int64_t r = 0; r < n; r++)
            sum += x[r * d + c] - first;
        for (int64_t r = 0; r < n; r++)
            x[r * d + c] = x[r * d + c] - first - sum / (double)n;
    }
}

/* g [m, m] = x x^T (m = n), or x^T x of the transposed copy that the caller made. */
static void products(const double *x, int64_t m, int64_t length, double *g)
{
    AK__PARALLEL_FOR_DYNAMIC(r, m, m * m * length > 100000)
        for (int64_t c = 0; c <= r; c++)
            g[r * m + c] = g[c * m + r] = dot(x + r * length, x + c * length, length);
}

/* The sign that eigenvectors leave open. */
static void fix_signs(double *y, int64_t n, int k)
{
    for (int c = 0; c < k; c++) {
        double most = 0;
        for (int64_t r = 0; r < n; r++)
            most = fabs(y[r * k + c]) > fabs(most) ? y[r * k + c] : most;
        for (int64_t r = 0; most < 0 && r < n; r++)
            y[r * k + c] = -y[r * k + c];
    }
}

bool ak__pca(ak_ctx *ctx, double *x, int64_t n, int64_t d, int k, double *y, double *share)
{
    const bool    by_rows = n <= d;
    const int64_t m = by_rows ? n : d;
    const size_t  bytes = (size_t)(m * m + 3 * m + (by_rows ? 0 : n * d)) * sizeof(double);
    double       *g = ak__malloc(bytes);
    if (!g) {
        ak__fail_memory(ctx, bytes);
        return false;
    }
    double *values = g + m * m, *room = values + m, *turned = room + 2 * m;
    centre(x, n, d);
    if (!by_rows)
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < d; c++)
                turned[c * n + r] = x[r * d + c];
    products(by_rows ? x : turned, m, by_rows ? d : n, g);
    double total = 0;
    for (int64_t i = 0; i < m; i++)
        total += g[i * m + i];
    const bool good = ak__eigen(g, m, values, room);
    if (!good)
        ak_fail(ctx, AK_ERR_NUMBER, "pca: no eigenvalues after %d sweeps", SWEEPS);
    for (int c = 0; good && c < k; c++) {
        const double *v = g + c * m, length = sqrt(fmax(values[c], 0));
        for (int64_t r = 0; r < n; r++)
            y[r * k + c] = by_rows ? length * v[r] : dot(x + r * d, v, d);
        if (share)
            share[c] = total > 0 ? fmax(values[c], 0) / total : 0;
    }
    if (good)
        fix_signs(y, n, k);
    ak__free(g);
    return good;
}

/* ---- for tensors ----------------------------------------------------------------------------- */

/* x as numbers in double, of ak__malloc; NULL: an error is recorded. */
static double *rows_of(const ak_tensor *x, const char *who)
{
    char text[AK_SHAPE_TEXT];
    if (x->shape.n != 2 || x->shape.dims[0] < 1 || x->shape.dims[1] < 1) {
        ak_fail(x->ctx, AK_ERR_SHAPE, "%s: x %s; expected [N, D]", who,
                ak_shape_text(x->shape, text));
        return NULL;
    }
    double *rows = ak__malloc((size_t)x->size * sizeof *rows);
    if (!rows) {
        ak__fail_memory(x->ctx, (size_t)x->size * sizeof *rows);
        return NULL;
    }
    for (int64_t i = 0; i < x->size; i++) {
        rows[i] = (double)x->data[i];
        if (isfinite(rows[i]))
            continue;
        ak_fail(x->ctx, AK_ERR_NUMBER, "%s: x has %g in row %lld", who, rows[i],
                (long long)(i / x->shape.dims[1]));
        ak__free(rows);
        return NULL;
    }
    return rows;
}

/* y [n, k] as a tensor; both arrays are freed. */
static ak_tensor *result_of(ak_ctx *ctx, bool good, double *rows, double *y, int64_t n, int k)
{
    ak_tensor *t = good ? ak_from_double(ctx, AK_SHAPE(n, k), y) : &ak__poison;
    ak__free(rows);
    ak__free(y);
    return t;
}

static double *room_of(ak_ctx *ctx, int64_t n)
{
    double *y = ak__malloc((size_t)n * sizeof *y);
    if (!y)
        ak__fail_memory(ctx, (size_t)n * sizeof *y);
    return y;
}

ak_tensor *ak_pca(const ak_tensor *x, int k, double *share)
{
    if (!AK__TENSOR(NULL, x) || ak_error(x->ctx))
        return &ak__poison;
    double *rows = rows_of(x, "pca");
    if (!rows)
        return &ak__poison;
    const int64_t n = x->shape.dims[0], d = x->shape.dims[1], most = n < d ? n : d;
    double       *y = NULL;
    if (k < 1 || k > most || most > AK__PCA_MOST)
        ak_fail(x->ctx, AK_ERR_VALUE, "pca: %d directions of [%lld, %lld]; there are 1 to min(N, D)"
                ", which is %d at most", k, (long long)n, (long long)d, AK__PCA_MOST);
    else
        y = room_of(x->ctx, n * k);
    return result_of(x->ctx, y && ak__pca(x->ctx, rows, n, d, k, y, share), rows, y, n, k);
}

ak_tensor *ak_tsne(const ak_tensor *x, ak_tsne_options options)
{
    if (!AK__TENSOR(NULL, x) || ak_error(x->ctx))
        return &ak__poison;
    double *rows = rows_of(x, "tsne");
    if (!rows)
        return &ak__poison;
    const int64_t n = x->shape.dims[0], d = x->shape.dims[1];
    double       *y = NULL;
    if (n < 4 || n > AK__TSNE_MOST)
        ak_fail(x->ctx, AK_ERR_VALUE, "tsne: %lld rows; expected 4 to %d", (long long)n,
                AK__TSNE_MOST);
    else
        y = room_of(x->ctx, 2 * n);
    return result_of(x->ctx, y && ak__tsne(x->ctx, rows, n, d, options, y), rows, y, n, 2);
}
