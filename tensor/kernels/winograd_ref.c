/* SPDX-License-Identifier: Apache-2.0 */
/* The transforms of winograd.h as products with their matrices, in double. */
#include "kernels.h"

typedef double matrix[AK__WINOGRAD_T][AK__WINOGRAD_T];

/* Rows and columns of the matrix L of a transform L x L^T. */
typedef struct shape { int rows, columns; } shape;

static shape shape_of(ak__winograd_kind kind, int m)
{
    switch (kind) {
        case AK__WINOGRAD_INPUT:  return (shape){m + 2, m + 2};
        case AK__WINOGRAD_OUTPUT: return (shape){m, m + 2};
        case AK__WINOGRAD_WEIGHT: return (shape){m + 2, 3};
        case AK__WINOGRAD_DY:     return (shape){m + 2, m};
        case AK__WINOGRAD_DW:     break;
    }
    return (shape){3, m + 2};
}

/* Points in order: 0, P, -P, (Q, -Q,) infinity. */
static double point(int m, int k)
{
    const double size = (k + 1) / 2 == 1 ? AK__WINOGRAD_P(m) : AK__WINOGRAD_Q;
    return k == 0 ? 0 : k % 2 ? size : -size;
}

/* Row k of B^T: coefficients of the product of (x - point) over all points but k. */
static void input_row(int m, int k, double row[AK__WINOGRAD_T])
{
    for (int j = 0; j < m + 2; j++)
        row[j] = j == 0;
    for (int p = 0; p <= m; p++) {
        if (p == k)
            continue;
        for (int j = m + 1; j >= 0; j--)
            row[j] = (j > 0 ? row[j - 1] : 0) - point(m, p) * row[j];
    }
}

/* Powers 0 .. count-1 of point k, and of infinity: only the last. */
static void powers(int m, int k, int count, double row[AK__WINOGRAD_T])
{
    double x = 1;
    for (int j = 0; j < count; j++, x *= point(m, k))
        row[j] = k <= m ? x : j == count - 1;
}

/* Row k of G: powers of the point over the product of its distances to the others. */
static void weight_row(int m, int k, double row[AK__WINOGRAD_T])
{
    double distance = 1;
    for (int p = 0; p <= m && k <= m; p++)
        distance *= p == k ? 1 : point(m, k) - point(m, p);
    powers(m, k, 3, row);
    for (int j = 0; j < 3; j++)
        row[j] /= distance;
}

static void matrix_of(ak__winograd_kind kind, int m, matrix out)
{
    for (int k = 0; k < m + 2; k++) {
        double row[AK__WINOGRAD_T];
        const bool turned = kind == AK__WINOGRAD_OUTPUT || kind == AK__WINOGRAD_DW;
        if (kind == AK__WINOGRAD_INPUT)
            input_row(m, k, row);
        else if (kind == AK__WINOGRAD_WEIGHT || kind == AK__WINOGRAD_DW)
            weight_row(m, k, row);
        else
            powers(m, k, m, row);
        const shape s = shape_of(kind, m);
        for (int j = 0; j < (turned ? s.rows : s.columns); j++)
            *(turned ? &out[j][k] : &out[k][j]) = row[j];
    }
}

/* y = L x L^T */
static void transform(matrix l, shape s, matrix x, matrix y)
{
    matrix half;
    for (int i = 0; i < s.rows; i++)
        for (int j = 0; j < s.columns; j++) {
            half[i][j] = 0;
            for (int k = 0; k < s.columns; k++)
                half[i][j] += l[i][k] * x[k][j];
        }
    for (int i = 0; i < s.rows; i++)
        for (int j = 0; j < s.rows; j++) {
            y[i][j] = 0;
            for (int k = 0; k < s.columns; k++)
                y[i][j] += half[i][k] * l[j][k];
        }
}

static bool exists(const ak__winograd_square *q, int i, int j)
{
    return i >= q->i0 && i < q->i1 && j >= q->j0 && j < q->j1;
}

void ak__winograd_ref(ak__winograd_kind kind, const ak__winograd_call *c)
{
    const shape s = shape_of(kind, c->m);
    const ak__winograd_square *in = &c->in, *out = &c->out;
    matrix l, x, y;
    matrix_of(kind, c->m, l);
    for (int64_t at = 0; at < c->n; at++) {
        for (int i = 0; i < s.columns; i++)
            for (int j = 0; j < s.columns; j++)
                x[i][j] = exists(in, i, j)
                              ? (double)in->data[i * in->row + j * in->column + at] : 0;
        transform(l, s, x, y);
        for (int i = 0; i < s.rows; i++) {
            for (int j = 0; j < s.rows; j++) {
                if (!exists(out, i, j))
                    continue;
                ak_real *to = out->data + i * out->row + j * out->column + at;
                const double more = y[i][j] + (c->bias ? (double)c->bias[at] : 0);
                *to = (ak_real)(more + (c->accumulate ? (double)*to : 0));
            }
        }
    }
}
