/* SPDX-License-Identifier: Apache-2.0 */
/* The cross-entropy tile program: online log-sum-exp, targets by rule, gradient. */
#include "losses/cross_entropy.h"

#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

#include <string.h>

/* Rows of a tile's scratch. */
enum { EXP_ROW, EXP_COLUMN, TARGET_ROW, TARGET_COLUMN, SUM, MAX, COPY, SHIFT };

static ak_real *scratch_row(const ak__tile *t, int i) { return t->scratch + i * t->stride; }
static const ak__cross_entropy *program_of(const ak__similarity *sim) { return sim->program; }
static bool finite_score(ak_real s) { return s > -(ak_real)INFINITY; }

void ak__cross_entropy_start(ak__cross_entropy *p, const ak__similarity *sim)
{
    const int64_t C = ak__similarity_columns(sim);
    const double max = p->bounded ? p->bound : -(double)INFINITY;
    const ak__anchor empty = { .max = max };
    const ak__anchor_more none = { .best_positive = -(double)INFINITY,
                                   .best_negative = -(double)INFINITY };
    for (int64_t i = 0; i < sim->R; i++) {
        p->row[i] = empty;
        if (p->row_more)
            p->row_more[i] = none;
    }
    for (int64_t j = 0; p->column && p->column != p->row && j < C; j++) {
        p->column[j] = empty;
        if (p->column_more)
            p->column_more[j] = none;
    }
}

/* ---- targets --------------------------------------------------------------------------------- */

/* Walks over the few targets of an anchor that lie in [lo, hi). */
typedef struct few_targets {
    const ak__target_list *list;    /* NULL: views of the same sample */
    int64_t anchor, lo, hi, step, at;
    bool    skip_self;
    double  share;
} few_targets;

static few_targets few_of(const ak__similarity *sim, bool column, int64_t anchor, int64_t lo,
                          int64_t hi)
{
    const ak__cross_entropy *p = program_of(sim);
    few_targets f = { .anchor = anchor, .lo = lo, .hi = hi };
    if (p->rule == AK__TARGET_LIST) {
        f.list = column ? &p->of_columns : &p->of_rows;
        f.at = f.list->start[anchor];
        return f;
    }
    const int64_t n = column ? sim->R : sim->candidates[0].n;   /* among these */
    const int64_t sample = anchor % p->samples;
    f.step = p->samples;
    f.at = lo <= sample ? sample : sample + (lo - sample + f.step - 1) / f.step * f.step;
    f.hi = hi < n ? hi : n;
    f.skip_self = sim->mask.self;
    f.share = 1.0 / (double)(n / p->samples - (f.skip_self ? 1 : 0));
    return f;
}

static bool few_next(few_targets *f, int64_t *other, double *weight)
{
    if (f->list) {
        while (f->at < f->list->start[f->anchor + 1]) {
            const int64_t e = f->at++;
            if (f->list->other[e] < f->lo || f->list->other[e] >= f->hi)
                continue;
            *other = f->list->other[e];
            *weight = (double)f->list->weight[e];
            return true;
        }
        return false;
    }
    if (f->skip_self && f->at == f->anchor)
        f->at += f->step;
    if (f->at >= f->hi)
        return false;
    *other = f->at;
    *weight = f->share;
    f->at += f->step;
    return true;
}

static bool by_list(const ak__cross_entropy *p)
{
    return p->rule == AK__TARGET_SAMPLE || p->rule == AK__TARGET_LIST;
}

/* Target weights of row i of the tile into w: of its columns for the row as anchor, or of the row
 * for each column as anchor. 0 where masked. */
static void fill_targets(const ak__similarity *sim, const ak__tile *t, int64_t i, bool column,
                         ak_real *w)
{
    const ak__cross_entropy *p = program_of(sim);
    const ak_real *s = t->s + i * t->ld;
    const int64_t r = t->r0 + i, N = p->samples;
    if (p->rule == AK__TARGET_MATRIX && !p->by_sample) {
        const ak_real *from = p->matrix + r * p->ld + t->c0;
        for (int64_t j = 0; j < t->n; j++)
            w[j] = finite_score(s[j]) ? from[j] : 0;
        return;
    }
    if (t->source != 0) {
        memset(w, 0, (size_t)t->n * sizeof *w);
        return;
    }
    const int64_t a = r % N;
    int64_t b = t->c0 % N;
    for (int64_t j = 0; j < t->n; j++, b = b + 1 == N ? 0 : b + 1) {
        ak_real v;
        if (p->rule == AK__TARGET_LABEL)
            v = a == b || (p->labels[a] >= 0 && p->labels[a] == p->labels[b]) ? (ak_real)1 : 0;
        else
            v = column ? p->matrix[b * p->ld + a] : p->matrix[a * p->ld + b];
        w[j] = finite_score(s[j]) ? v : 0;
    }
}

/* Some of the few targets may lie in the tile. Those of the same sample lie on diagonals that are
 * `samples` apart, which most tiles do not meet. */
static bool may_hold_few(const ak__cross_entropy *p, const ak__tile *t)
{
    if (p->rule == AK__TARGET_LIST)
        return true;
    const int64_t low = t->c0 - (t->r0 + t->m - 1), high = t->c0 + t->n - 1 - t->r0;
    const int64_t last = high >= 0 ? high / p->samples * p->samples     /* multiple <= high */
                                   : -((-high + p->samples - 1) / p->samples * p->samples);
    return t->source == 0 && last >= low;
}

static void absorb_few(const ak__similarity *sim, const ak__tile *t, bool column)
{
    const ak__cross_entropy *p = program_of(sim);
    const int64_t n = column ? t->n : t->m, first = column ? t->c0 : t->r0;
    const int64_t lo = column ? t->r0 : t->c0, hi = lo + (column ? t->m : t->n);
    if (!column && t->source != 0 && p->rule == AK__TARGET_SAMPLE)
        return;
    if (column && t->source != 0)
        return;
    for (int64_t a = 0; a < n; a++) {
        ak__anchor *anchor = (column ? p->column : p->row) + first + a;
        few_targets f = few_of(sim, column, first + a, lo, hi);
        int64_t other;
        double weight;
        while (few_next(&f, &other, &weight)) {
            const int64_t i = column ? other - lo : a, j = column ? a : other - lo;
            const ak_real s = t->s[i * t->ld + j];
            if (!finite_score(s) && s == s)
                continue;
            anchor->positive += weight * (double)s;
            anchor->mass += weight;
        }
    }
}

/* Sum of w and of w * s where w is not 0. */
static void weigh(const ak_real *w, const ak_real *s, int64_t n, double *mass, double *positive)
{
    double m = 0, q = 0;
    for (int64_t j = 0; j < n; j++) {
        m += (double)w[j];
        q += w[j] != 0 ? (double)w[j] * (double)s[j] : 0;
    }
    *mass += m;
    *positive += q;
}

static void absorb_filled(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    ak_real *w = scratch_row(t, TARGET_ROW), *v = scratch_row(t, TARGET_COLUMN);
    ak_real *mass = scratch_row(t, SUM), *positive = scratch_row(t, MAX);
    const size_t bytes = (size_t)t->n * sizeof(ak_real);
    memset(mass, 0, bytes);
    memset(positive, 0, bytes);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        if (t->rows) {
            fill_targets(sim, t, i, false, w);
            weigh(w, s, t->n, &p->row[t->r0 + i].mass, &p->row[t->r0 + i].positive);
        }
        if (!t->columns)
            continue;
        fill_targets(sim, t, i, true, v);
        for (int64_t j = 0; j < t->n; j++) {
            mass[j] += v[j];
            positive[j] += v[j] != 0 ? v[j] * s[j] : 0;
        }
    }
    for (int64_t j = 0; t->columns && j < t->n; j++) {
        p->column[t->c0 + j].mass += (double)mass[j];
        p->column[t->c0 + j].positive += (double)positive[j];
    }
}

/* ---- log-sum-exp ----------------------------------------------------------------------------- */

static const ak_real *weights_of(const ak__similarity *sim, const ak__tile *t, int64_t i)
{
    return sim->mask.weights ? sim->mask.weights + (t->r0 + i) * sim->mask.ld + t->c0 : NULL;
}

static void add_columns(const ak__cross_entropy *p, const ak__tile *t, const ak_real *sum)
{
    for (int64_t j = 0; j < t->n; j++)
        p->column[t->c0 + j].sum += (double)sum[j];
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

static void absorb_bounded(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    const ak_real bound = (ak_real)p->bound;
    ak_real *e = scratch_row(t, EXP_ROW), *sum = scratch_row(t, SUM);
    memset(sum, 0, (size_t)t->n * sizeof *sum);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld, *w = weights_of(sim, t, i);
        double of_row;
        if (!t->columns) {
            of_row = exp_row(w ? e : NULL, s, bound, w, t->n);
        } else if (!w) {
            of_row = (double)ak__k.exp_fold(sum, s, bound, t->n);
        } else {
            of_row = exp_row(e, s, bound, w, t->n);
            ak__k.add(sum, sum, e, t->n);
        }
        if (t->rows)
            p->row[t->r0 + i].sum += of_row;
    }
    if (t->columns)
        add_columns(p, t, sum);
}

/* Raise the anchor's maximum to at least `max`. */
static void raise_maximum(ak__anchor *a, double max)
{
    if (!(max > a->max) && max == max)
        return;
    a->sum = a->sum > 0 ? a->sum * exp(a->max - max) : a->sum;
    a->max = max;
}

/* What to subtract before exp; anything finite will do where nothing is left. */
static ak_real shift_of(const ak__anchor *a)
{
    return a->max == -(double)INFINITY ? 0 : (ak_real)a->max;
}

static void absorb_rows(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    ak_real *e = scratch_row(t, EXP_ROW);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        ak__anchor *a = &p->row[t->r0 + i];
        raise_maximum(a, (double)ak__k.max(s, t->n));
        a->sum += exp_row(e, s, shift_of(a), weights_of(sim, t, i), t->n);
    }
}

/* max[j] = largest of column j; max starts at -inf. */
static void column_maximum(ak_real *max, const ak_real *s, int64_t n)
{
    AK__PRAGMA(omp simd)
    for (int64_t j = 0; j < n; j++)
        max[j] = s[j] > max[j] ? s[j] : max[j];
}

static void fill_row(ak_real *x, ak_real value, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        x[j] = value;
}

static void absorb_columns(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    ak_real *e = scratch_row(t, EXP_COLUMN), *sum = scratch_row(t, SUM);
    ak_real *shift = scratch_row(t, MAX);
    fill_row(shift, -(ak_real)INFINITY, t->n);
    for (int64_t i = 0; i < t->m; i++)
        column_maximum(shift, t->s + i * t->ld, t->n);
    for (int64_t j = 0; j < t->n; j++) {
        raise_maximum(&p->column[t->c0 + j], (double)shift[j]);
        shift[j] = shift_of(&p->column[t->c0 + j]);
        sum[j] = 0;
    }
    for (int64_t i = 0; i < t->m; i++) {
        ak__k.sub(e, t->s + i * t->ld, shift, t->n);
        exp_row(e, e, 0, weights_of(sim, t, i), t->n);
        ak__k.add(sum, sum, e, t->n);
    }
    add_columns(p, t, sum);
}

/* ---- counts and accuracy --------------------------------------------------------------------- */

/* Number and weight of the candidates, and the sum of their scores. */
static void absorb_counts(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld, *w = weights_of(sim, t, i);
        ak__anchor_more *row = &p->row_more[t->r0 + i];
        ak__anchor_more *column = t->columns ? &p->column_more[t->c0] : NULL;
        double weight = 0, number = 0, linear = 0;
        for (int64_t j = 0; j < t->n; j++) {
            if (s[j] == -(ak_real)INFINITY)
                continue;
            const double one = w ? (double)w[j] : 1;
            weight += one;
            number += 1;
            linear += (double)s[j];
            if (column) {
                column[j].candidates += one;
                column[j].number += 1;
                column[j].linear += (double)s[j];
            }
        }
        row->candidates += weight;
        row->number += number;
        row->linear += linear;
    }
}

static void larger(double *best, ak_real s)
{
    if ((double)s > *best)
        *best = (double)s;
}

/* Take the listed targets of row i out of `copy`, noting them as positives of both sides. */
static void take_few(const ak__similarity *sim, const ak__tile *t, int64_t i, ak_real *copy)
{
    const ak__cross_entropy *p = program_of(sim);
    if (t->source != 0 && p->rule == AK__TARGET_SAMPLE)
        return;
    few_targets f = few_of(sim, false, t->r0 + i, t->c0, t->c0 + t->n);
    int64_t c;
    double weight;
    while (few_next(&f, &c, &weight)) {
        const ak_real s = t->s[i * t->ld + c - t->c0];
        if (t->rows)
            larger(&p->row_more[t->r0 + i].best_positive, s);
        if (t->columns)
            larger(&p->column_more[c].best_positive, s);
        copy[c - t->c0] = -(ak_real)INFINITY;
    }
}

/* The same by target weight: those that have their anchor's largest weight are the positives. */
static void take_filled(const ak__cross_entropy *p, const ak__tile *t, int64_t i, bool column,
                        const ak_real *w, ak_real *copy)
{
    const ak_real *s = t->s + i * t->ld;
    const ak_real *top = column ? p->top_column : p->top_row;
    const int64_t a = t->r0 + i, N = p->samples;
    for (int64_t j = 0; j < t->n; j++) {
        const int64_t anchor = column ? t->c0 + j : a;
        const ak_real least = !top ? (ak_real)1 : top[p->by_sample ? anchor % N : anchor];
        const bool positive = w[j] > 0 && w[j] >= least;
        copy[j] = positive ? -(ak_real)INFINITY : s[j];
        if (positive)
            larger(&(column ? p->column_more : p->row_more)[anchor].best_positive, s[j]);
    }
}

static void absorb_best(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    ak_real *copy = scratch_row(t, COPY), *w = scratch_row(t, TARGET_ROW);
    ak_real *max = scratch_row(t, MAX);
    fill_row(max, -(ak_real)INFINITY, t->n);
    for (int64_t i = 0; i < t->m; i++) {
        if (by_list(p)) {
            memcpy(copy, t->s + i * t->ld, (size_t)t->n * sizeof *copy);
            take_few(sim, t, i, copy);
        }
        if (t->rows) {
            if (!by_list(p)) {
                fill_targets(sim, t, i, false, w);
                take_filled(p, t, i, false, w, copy);
            }
            larger(&p->row_more[t->r0 + i].best_negative, ak__k.max(copy, t->n));
        }
        if (t->columns) {
            if (!by_list(p)) {
                fill_targets(sim, t, i, true, w);
                take_filled(p, t, i, true, w, copy);
            }
            column_maximum(max, copy, t->n);
        }
    }
    for (int64_t j = 0; t->columns && j < t->n; j++)
        larger(&p->column_more[t->c0 + j].best_negative, max[j]);
}

void ak__cross_entropy_absorb(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    if (p->bounded) {
        absorb_bounded(sim, t);
    } else {
        if (t->rows)
            absorb_rows(sim, t);
        if (t->columns)
            absorb_columns(sim, t);
    }
    if (!by_list(p)) {
        absorb_filled(sim, t);
    } else if (may_hold_few(p, t)) {
        absorb_few(sim, t, false);
        if (t->columns)
            absorb_few(sim, t, true);
    }
    if (p->count)
        absorb_counts(sim, t);
    if (p->accuracy)
        absorb_best(sim, t);
}

/* ---- loss and coefficients ------------------------------------------------------------------- */

static bool is_lonely(const ak__anchor *a) { return !(a->mass > 0) && a->mass == a->mass; }

static void no_gradient(ak__anchor *a, ak__anchor_more *more)
{
    a->exp_coefficient = a->target_coefficient = 0;
    if (more)
        more->smooth_coefficient = 0;
}

/* Is row or column i no anchor at all: padding, or of unknown class and without another view? */
static bool is_out(const ak__cross_entropy *p, const ak__anchor *a, int64_t sample,
                   const int32_t *ids)
{
    return (ids && ids[sample] == -1) ||
           (p->rule == AK__TARGET_LABEL && p->labels[sample] < 0 && is_lonely(a));
}

/* One anchor of weight w (its share of the mean, factor included). more: NULL unless it is kept;
 * number: of its candidates; candidates: their summed weight. */
static void finish_anchor(const ak__cross_entropy *p, ak__anchor *a, ak__anchor_more *more,
                          double number, double candidates, double w, ak__side *side)
{
    if (is_lonely(a) || w == 0) {
        side->lonely += w != 0;
        no_gradient(a, more);
        return;
    }
    const double eps = p->smoothing, mass = p->shares ? 1 : a->mass;
    const double positive = p->shares ? a->positive / a->mass : a->positive;
    const double lse = a->max + log(a->sum), whole = (1 - eps) * mass + eps;
    double loss = (1 - eps) * (mass * lse - positive);
    if (eps > 0)
        loss += eps * (lse - more->linear / more->number);
    if (number == 1)            /* the target itself: what rounding leaves is no loss */
        loss = lse - lse == 0 ? whole * log(candidates) : loss;
    else if (loss < 0 && p->not_negative)
        loss = 0;
    side->loss += w * loss;
    side->chance += w * whole * log(candidates);
    side->judged += w;
    side->right += more && more->best_positive > more->best_negative ? w : 0;
    if (number == 1) {
        no_gradient(a, more);
        return;
    }
    a->exp_coefficient = w * whole / a->sum;
    a->target_coefficient = w * (1 - eps) / (p->shares ? a->mass : 1);
    if (more)
        more->smooth_coefficient = eps > 0 ? w * eps / more->number : 0;
}

ak__side ak__cross_entropy_finish(const ak__cross_entropy *p, bool column, int64_t n,
                                  const ak_real *weight, const int32_t *ids, double factor,
                                  double full)
{
    const int64_t N = p->samples;
    ak__anchor *anchor = column ? p->column : p->row;
    ak__anchor_more *more = column ? p->column_more : p->row_more;
    ak__side side = { 0 };
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (is_out(p, &anchor[i], i % N, ids))
            continue;
        total += weight ? (double)weight[i % N] : 1;
        side.anchors++;
    }
    for (int64_t i = 0; i < n; i++) {
        const bool padding = ids && ids[i % N] == -1, out = is_out(p, &anchor[i], i % N, ids);
        const double w = out || !(total > 0) ? 0 : weight ? (double)weight[i % N] : 1;
        if (p->count && !padding)
            side.masked += full - more[i].number;
        finish_anchor(p, &anchor[i], more ? &more[i] : NULL, p->count ? more[i].number : full,
                      p->count ? more[i].candidates : full, w == 0 ? 0 : factor * w / total,
                      &side);
    }
    return side;
}

/* ---- gradient -------------------------------------------------------------------------------- */

/* Coefficients of the tile's columns side by side, so that rows can be done in one pass. */
typedef struct column_terms {
    ak_real *e, *target, *smooth, *shift;
} column_terms;

static column_terms gather_columns(const ak__cross_entropy *p, const ak__tile *t)
{
    column_terms c = { scratch_row(t, SUM), scratch_row(t, MAX), scratch_row(t, COPY),
                       scratch_row(t, SHIFT) };
    for (int64_t j = 0; j < t->n; j++) {
        const ak__anchor *a = t->columns ? &p->column[t->c0 + j] : NULL;
        c.e[j] = a ? (ak_real)a->exp_coefficient : 0;
        c.target[j] = a ? (ak_real)a->target_coefficient : 0;
        c.smooth[j] = a && p->smoothing > 0
            ? (ak_real)p->column_more[t->c0 + j].smooth_coefficient : 0;
        c.shift[j] = a ? shift_of(a) : 0;
    }
    return c;
}

/* e of row i becomes the exponential part of the gradient; e may be the row itself unless columns
 * are anchors too and have a maximum of their own. */
static void gradient_exp(const ak__similarity *sim, const ak__tile *t, int64_t i,
                         const column_terms *c, ak_real *e)
{
    const ak__cross_entropy *p = program_of(sim);
    const ak__anchor *a = &p->row[t->r0 + i];
    const ak_real *s = t->s + i * t->ld, *w = weights_of(sim, t, i);
    const ak_real of_row = (ak_real)a->exp_coefficient;
    const ak_real *of_column = c->e;
    const ak_real shift = p->bounded ? (ak_real)p->bound : shift_of(a);
    if (!w && (p->bounded || !t->columns)) {
        ak__k.exp_weigh(e, s, shift, of_row, t->columns ? of_column : NULL, t->n);
        return;
    }
    exp_row(e, s, shift, w, t->n);
    if (p->bounded && t->columns) {
        AK__PRAGMA(omp simd)
        for (int64_t j = 0; j < t->n; j++)
            e[j] *= of_row + of_column[j];
        return;
    }
    ak__k.scale(e, of_row, e, t->n);
    if (t->columns) {
        ak_real *q = scratch_row(t, EXP_COLUMN);
        ak__k.sub(q, s, c->shift, t->n);
        exp_row(q, q, 0, w, t->n);
        ak__k.mul_add(e, q, of_column, t->n);
    }
}

/* Subtract what smoothing and filled targets take from row i; s still holds the scores. */
static void gradient_filled(const ak__similarity *sim, const ak__tile *t, int64_t i,
                            const column_terms *c, ak_real *e)
{
    const ak__cross_entropy *p = program_of(sim);
    const ak__anchor *a = &p->row[t->r0 + i];
    const ak_real *s = t->s + i * t->ld;
    if (p->smoothing > 0) {
        const ak_real of_row = (ak_real)p->row_more[t->r0 + i].smooth_coefficient;
        for (int64_t j = 0; j < t->n; j++)
            e[j] -= s[j] != -(ak_real)INFINITY ? of_row + c->smooth[j] : 0;
    }
    if (by_list(p))
        return;
    ak_real *w = scratch_row(t, TARGET_ROW);
    if (t->rows) {
        fill_targets(sim, t, i, false, w);
        ak__k.axpy(e, -(ak_real)a->target_coefficient, w, t->n);
    }
    if (t->columns) {
        fill_targets(sim, t, i, true, w);
        for (int64_t j = 0; j < t->n; j++)
            e[j] -= w[j] * c->target[j];
    }
}

static void gradient_few(const ak__similarity *sim, const ak__tile *t, bool column)
{
    const ak__cross_entropy *p = program_of(sim);
    const int64_t n = column ? t->n : t->m, first = column ? t->c0 : t->r0;
    const int64_t lo = column ? t->r0 : t->c0, hi = lo + (column ? t->m : t->n);
    if (t->source != 0 && (column || p->rule == AK__TARGET_SAMPLE))
        return;
    for (int64_t a = 0; a < n; a++) {
        const double coefficient = (column ? p->column : p->row)[first + a].target_coefficient;
        few_targets f = few_of(sim, column, first + a, lo, hi);
        int64_t other;
        double weight;
        while (few_next(&f, &other, &weight)) {
            const int64_t i = column ? other - lo : a, j = column ? a : other - lo;
            const ak_real *w = weights_of(sim, t, i);
            if (!w || w[j] > 0)                     /* else it was masked */
                t->s[i * t->ld + j] -= (ak_real)(coefficient * weight);
        }
    }
}

void ak__cross_entropy_gradient(const ak__similarity *sim, const ak__tile *t)
{
    const ak__cross_entropy *p = program_of(sim);
    const column_terms c = gather_columns(p, t);
    const bool in_place = by_list(p) && p->smoothing == 0 && (p->bounded || !t->columns);
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld, *e = in_place ? s : scratch_row(t, EXP_ROW);
        gradient_exp(sim, t, i, &c, e);
        if (in_place)
            continue;
        gradient_filled(sim, t, i, &c, e);
        memcpy(s, e, (size_t)t->n * sizeof *e);
    }
    if (!by_list(p) || !may_hold_few(p, t))
        return;
    gradient_few(sim, t, false);
    if (t->columns)
        gradient_few(sim, t, true);
}
