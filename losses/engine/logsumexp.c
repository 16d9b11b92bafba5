/* SPDX-License-Identifier: Apache-2.0 */
/* Running log-sum-exp of rows and columns, and its gradient. */
#include "losses/engine/logsumexp.h"

#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

#include <string.h>

/* exp(-2 bound) and its inverse are normal numbers then, with room for sums. */
#if AK_REAL_BITS == 64
const double ak__largest_bound = 300.0;
#else
const double ak__largest_bound = 40.0;
#endif

/* Rows of a tile's scratch that are used here; programs have those from AK__LSE_SCRATCH on. */
enum { EXP_ROW, EXP_COLUMN, SUM, MAX };

static ak_real *scratch_row(const ak__tile *t, int i) { return t->scratch + i * t->stride; }

ak__lse ak__lse_empty(const ak__lse_of *l)
{
    return (ak__lse){ .max = l->bounded ? l->bound : -(double)INFINITY };
}

double ak__lse_value(const ak__lse *a)
{
    return a->max + log(a->sum);
}

void ak__lse_raise(ak__lse *a, double max)
{
    if (!(max > a->max) && max == max)
        return;
    a->sum = a->sum > 0 ? a->sum * exp(a->max - max) : a->sum;
    a->max = max;
}

void ak__lse_add(ak__lse *a, double score)
{
    ak__lse_raise(a, score);
    if (score > -(double)INFINITY || score != score)
        a->sum += exp(score - a->max);
}

ak_real ak__lse_shift(const ak__lse *a)
{
    return a->max == -(double)INFINITY ? 0 : (ak_real)a->max;
}

static ak__lse *row_of(const ak__lse_of *l, int64_t r) { return ak__lse_at(l->row, l->stride, r); }
static ak__lse *column_of(const ak__lse_of *l, int64_t c)
{
    return ak__lse_at(l->column, l->stride, c);
}

static const ak_real *weights_of(const ak__lse_of *l, const ak__tile *t, int64_t i)
{
    return l->weights ? l->weights + (t->r0 + i) * l->ld + t->c0 : NULL;
}

static void add_columns(const ak__lse_of *l, const ak__tile *t, const ak_real *sum)
{
    for (int64_t j = 0; j < t->n; j++)
        column_of(l, t->c0 + j)->sum += (double)sum[j];
}

/* exp(s - shift) of a row, times the weights; returns the sum. e may be NULL without weights. */
static double exp_row(ak_real *e, const ak_real *s, ak_real shift, const ak_real *weights,
                      int64_t n)
{
    if (!weights)
        return (double)ak__k.exp_sum(e, s, shift, n);
    ak__k.exp_sum(e, s, shift, n);
    for (int64_t j = 0; j < n; j++)
        e[j] = weights[j] > 0 ? e[j] * weights[j] : 0;
    return (double)ak__k.sum(e, n);
}

static void absorb_bounded(const ak__lse_of *l, const ak__tile *t)
{
    const ak_real bound = (ak_real)l->bound;
    ak_real *e = scratch_row(t, EXP_ROW), *sum = scratch_row(t, SUM);
    memset(sum, 0, (size_t)t->n * sizeof *sum);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld, *w = weights_of(l, t, i);
        double of_row;
        if (!t->columns) {
            of_row = exp_row(w ? e : NULL, s, bound, w, t->n);
        } else if (!w) {
            of_row = (double)ak__k.exp_fold(sum, s, bound, t->n);
        } else {
            of_row = exp_row(e, s, bound, w, t->n);
            ak__k.add(sum, sum, e, t->n);
        }
        row_of(l, t->r0 + i)->sum += of_row;
    }
    if (t->columns)
        add_columns(l, t, sum);
}

static void absorb_rows(const ak__lse_of *l, const ak__tile *t)
{
    ak_real *e = scratch_row(t, EXP_ROW);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        ak__lse *a = row_of(l, t->r0 + i);
        ak__lse_raise(a, (double)ak__k.max(s, t->n));
        a->sum += exp_row(e, s, ak__lse_shift(a), weights_of(l, t, i), t->n);
    }
}

static void absorb_columns(const ak__lse_of *l, const ak__tile *t)
{
    ak_real *e = scratch_row(t, EXP_COLUMN), *sum = scratch_row(t, SUM);
    ak_real *shift = scratch_row(t, MAX);
    for (int64_t j = 0; j < t->n; j++)
        shift[j] = -(ak_real)INFINITY;
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        AK__PRAGMA(omp simd)
        for (int64_t j = 0; j < t->n; j++)
            shift[j] = s[j] > shift[j] ? s[j] : shift[j];
    }
    for (int64_t j = 0; j < t->n; j++) {
        ak__lse *a = column_of(l, t->c0 + j);
        ak__lse_raise(a, (double)shift[j]);
        shift[j] = ak__lse_shift(a);
        sum[j] = 0;
    }
    for (int64_t i = 0; i < t->m; i++) {
        ak__k.sub(e, t->s + i * t->ld, shift, t->n);
        exp_row(e, e, 0, weights_of(l, t, i), t->n);
        ak__k.add(sum, sum, e, t->n);
    }
    add_columns(l, t, sum);
}

void ak__lse_absorb(const ak__lse_of *l, const ak__tile *t)
{
    if (l->bounded) {
        absorb_bounded(l, t);
        return;
    }
    absorb_rows(l, t);
    if (t->columns)
        absorb_columns(l, t);
}

void ak__lse_gradient(const ak__lse_of *l, const ak__tile *t, int64_t i, ak_real of_row,
                      const ak_real *of_column, const ak_real *shift_column, ak_real *e)
{
    const ak_real *s = t->s + i * t->ld, *w = weights_of(l, t, i);
    const ak_real shift = l->bounded ? (ak_real)l->bound : ak__lse_shift(row_of(l, t->r0 + i));
    if (!w && (l->bounded || !of_column)) {
        ak__k.exp_weigh(e, s, shift, of_row, of_column, t->n);
        return;
    }
    exp_row(e, s, shift, w, t->n);
    if (l->bounded && of_column) {
        AK__PRAGMA(omp simd)
        for (int64_t j = 0; j < t->n; j++)
            e[j] *= of_row + of_column[j];
        return;
    }
    ak__k.scale(e, of_row, e, t->n);
    if (of_column) {
        ak_real *q = scratch_row(t, EXP_COLUMN);
        ak__k.sub(q, s, shift_column, t->n);
        exp_row(q, q, 0, w, t->n);
        ak__k.mul_add(e, q, of_column, t->n);
    }
}

void ak__lse_gradient_tile(const ak__lse_of *l, const ak__tile *t)
{
    ak_real *e = scratch_row(t, EXP_ROW), *of_column = scratch_row(t, SUM);
    ak_real *shift = scratch_row(t, MAX);
    for (int64_t j = 0; t->columns && j < t->n; j++) {
        of_column[j] = (ak_real)column_of(l, t->c0 + j)->sum;
        shift[j] = ak__lse_shift(column_of(l, t->c0 + j));
    }
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld;
        ak__lse_gradient(l, t, i, (ak_real)row_of(l, t->r0 + i)->sum,
                         t->columns ? of_column : NULL, shift, e);
        memcpy(s, e, (size_t)t->n * sizeof *e);
    }
}
