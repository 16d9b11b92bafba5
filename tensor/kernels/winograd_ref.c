/* SPDX-License-Identifier: Apache-2.0 */
/* The transforms of winograd.h as products with their matrices, in double. */
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef double matrix[AK__WINOGRAD_T][AK__WINOGRAD_T];

/* The one-dimensional algorithm that a transform is made of. */
typedef struct scheme {
    int    stride, m, taps;
    int    finite;              /* points; the last of all is infinity */
    double point[AK__WINOGRAD_T];
} scheme;

/* Stride 1: 0, P, -P, (Q, -Q) and three taps. Stride 2: P, -P, Q, -Q and the outer two taps. */
static scheme scheme_of(int stride, int m)
{
    scheme s = { .stride = stride, .m = m, .taps = stride == 2 ? 2 : 3 };
    const double p = stride == 2 ? AK__WINOGRAD_P_2 : AK__WINOGRAD_P(m);
    const double q = stride == 2 ? AK__WINOGRAD_Q_2 : AK__WINOGRAD_Q;
    const double sizes[] = {p, -p, q, -q};
    s.finite = m + s.taps - 2;
    for (int k = stride == 2 ? 0 : 1, i = 0; k < s.finite; k++, i++)
        s.point[k] = sizes[i];
    return s;
}

/* Row k of B^T: coefficients of the product of (x - point) over all points but k. */
static void input_row(const scheme *s, int k, double row[AK__WINOGRAD_T])
{
    for (int j = 0; j <= s->finite; j++)
        row[j] = j == 0;
    for (int p = 0; p < s->finite; p++) {
        if (p == k)
            continue;
        for (int j = s->finite; j >= 0; j--)
            row[j] = (j > 0 ? row[j - 1] : 0) - s->point[p] * row[j];
    }
}

/* Powers 0 .. count-1 of point k, and of infinity: only the last. */
static void powers(const scheme *s, int k, int count, double row[AK__WINOGRAD_T])
{
    double x = 1;
    for (int j = 0; j < count; j++, x *= s->point[k])
        row[j] = k < s->finite ? x : j == count - 1;
}

/* Row k of G: powers of the point over the product of its distances to the others. */
static void weight_row(const scheme *s, int k, double row[AK__WINOGRAD_T])
{
    double distance = 1;
    for (int p = 0; p < s->finite && k < s->finite; p++)
        distance *= p == k ? 1 : s->point[k] - s->point[p];
    powers(s, k, s->taps, row);
    for (int j = 0; j < s->taps; j++)
        row[j] /= distance;
}

/* What belongs to point k: row k of B^T or G, or column k of A^T; number j of it stands at
 * `start + j step`. */
static void set_point(ak__winograd_kind kind, const scheme *s, int k, matrix out)
{
    double row[AK__WINOGRAD_T];
    const bool output = kind == AK__WINOGRAD_OUTPUT || kind == AK__WINOGRAD_DATA_OUTPUT;
    const bool spread = kind != AK__WINOGRAD_OUTPUT && kind != AK__WINOGRAD_DATA_INPUT;
    const int step = spread ? s->stride : 1;
    const int start = kind == AK__WINOGRAD_DATA_OUTPUT ? step - 1 : 0;
    const int count = output ? s->m : kind == AK__WINOGRAD_WEIGHT ? s->taps : s->finite + 1;
    if (output)
        powers(s, k, count, row);
    else if (kind == AK__WINOGRAD_WEIGHT)
        weight_row(s, k, row);
    else
        input_row(s, k, row);
    for (int j = 0; j < count; j++)
        *(output ? &out[start + j * step][k] : &out[k][start + j * step]) = row[j];
}

/* Plain product j of the middle tap of stride 2. */
static void set_middle(ak__winograd_kind kind, const scheme *s, int j, matrix out)
{
    const int k = s->finite + 1 + j;
    switch (kind) {
        case AK__WINOGRAD_OUTPUT:      out[j][k] = 1; break;
        case AK__WINOGRAD_DATA_OUTPUT: out[2 * j][k] = 1; break;
        case AK__WINOGRAD_WEIGHT:      out[s->finite + 1][1] = 1; break;
        case AK__WINOGRAD_INPUT:       out[k][2 * j + 1] = 1; break;
        case AK__WINOGRAD_DATA_INPUT:  out[k][j] = 1; break;
        case AK__WINOGRAD_DY:
        case AK__WINOGRAD_DW:          break;
    }
}

/* The matrix L of a transform L x L^T. */
static void matrix_of(ak__winograd_kind kind, int stride, int m, matrix out)
{
    const scheme s = scheme_of(stride, m);
    const bool turned = kind == AK__WINOGRAD_DY || kind == AK__WINOGRAD_DW;
    if (turned) {
        matrix other;
        matrix_of(kind == AK__WINOGRAD_DY ? AK__WINOGRAD_OUTPUT : AK__WINOGRAD_WEIGHT, stride, m,
                  other);
        for (int i = 0; i < AK__WINOGRAD_T; i++)
            for (int j = 0; j < AK__WINOGRAD_T; j++)
                out[i][j] = other[j][i];
        return;
    }
    memset(out, 0, sizeof(matrix));
    for (int k = 0; k <= s.finite; k++)
        set_point(kind, &s, k, out);
    for (int j = 0; j < m && stride == 2; j++)
        set_middle(kind, &s, j, out);
}

/* a b, and 0 whatever b is if a is 0. */
static double times(double a, double b)
{
    return a == 0 ? 0 : a * b;
}

/* y = L x L^T */
static void transform(matrix l, int rows, int columns, matrix x, matrix y)
{
    matrix half;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            half[i][j] = 0;
            for (int k = 0; k < columns; k++)
                half[i][j] += times(l[i][k], x[k][j]);
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++) {
            y[i][j] = 0;
            for (int k = 0; k < columns; k++)
                y[i][j] += times(l[j][k], half[i][k]);
        }
}

static bool exists(const ak__winograd_square *q, int i, int j)
{
    return i >= q->i0 && i < q->i1 && j >= q->j0 && j < q->j1;
}

bool ak__winograd_ref(ak__winograd_kind kind, const ak__winograd_call *c)
{
    const int rows = ak__winograd_side_out(kind, c->stride, c->m);
    const int columns = ak__winograd_side_in(kind, c->stride, c->m);
    const ak__winograd_square *in = &c->in, *out = &c->out;
    matrix l, x, y;
    bool finite = true;
    matrix_of(kind, c->stride, c->m, l);
    for (int64_t at = 0; at < c->n; at++) {
        for (int i = 0; i < columns; i++)
            for (int j = 0; j < columns; j++)
                x[i][j] = exists(in, i, j)
                              ? (double)in->data[i * in->row + j * in->column + at] : 0;
        transform(l, rows, columns, x, y);
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < rows; j++) {
                if (!exists(out, i, j))
                    continue;
                ak_real *to = out->data + i * out->row + j * out->column + at;
                if (!isfinite((ak_real)y[i][j])) {
                    finite = false;
                    *to = c->accumulate ? *to : (ak_real)y[i][j];
                    continue;
                }
                const double more = y[i][j] + (c->bias ? (double)c->bias[at] : 0);
                *to = (ak_real)(more + (c->accumulate ? (double)*to : 0));
            }
        }
    }
    return finite || !ak__winograd_makes_results(kind);
}
