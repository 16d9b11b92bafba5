/* SPDX-License-Identifier: Apache-2.0 */
/* The cross-entropy program: targets by rule, log-sum-exp, gradient. */
#include "losses/engine/cross_entropy.h"

#include "base/parallel.h"
#include "tensor/kernels/kernels.h"

#include <assert.h>
#include <string.h>

static ak_real *scratch_row(const ak__tile *t, int i) { return t->scratch + i * t->stride; }
static bool finite_score(ak_real s) { return s > -(ak_real)INFINITY; }

/* ---- statistics ------------------------------------------------------------------------------ */

/* Candidates are counted one by one. */
static bool counts(const ak__pair_loss *o)
{
    return o->ids || (o->out & AK__OUT_OTHERS) || o->pair_weights >= 0 || o->smoothing > 0;
}

static bool keeps_more(const ak__pair_loss *o) { return o->report || counts(o); }

size_t ak__cross_entropy_bytes(const ak__pair_loss *o)
{
    return sizeof(ak__anchor) + (keeps_more(o) ? sizeof(ak__anchor_more) : 0);
}

ak__anchor *ak__anchor_at(const ak__pair_run *run, bool column, int64_t i)
{
    return (ak__anchor *)(void *)((column ? run->column : run->row) + (size_t)i * run->stride);
}

ak__anchor_more *ak__anchor_more_at(const ak__pair_run *run, bool column, int64_t i)
{
    return keeps_more(run->loss) ? (ak__anchor_more *)(ak__anchor_at(run, column, i) + 1) : NULL;
}

ak__candidate_count ak__candidates_of(const ak__pair_run *run, bool column, int64_t i)
{
    const double all = ak__anchor_candidates(run, column);
    const ak__anchor_more *more = ak__anchor_more_at(run, column, i);
    return counts(run->loss) ? (ak__candidate_count){ more->number, more->candidates }
                             : (ak__candidate_count){ all, all };
}

static ak__lse_of lse_of(const ak__pair_run *run)
{
    return (ak__lse_of){
        .row = &ak__anchor_at(run, false, 0)->lse,
        .column = run->column ? &ak__anchor_at(run, true, 0)->lse : NULL, .stride = run->stride,
        .bounded = run->bound <= ak__largest_bound, .bound = run->bound,
        .weights = run->walk.out.weights, .ld = run->walk.out.ld };
}

static void start_side(const ak__pair_run *run, bool column, int64_t n, ak__lse lse)
{
    for (int64_t i = 0; i < n; i++) {
        ak__anchor_more *more = ak__anchor_more_at(run, column, i);
        *ak__anchor_at(run, column, i) = (ak__anchor){ .lse = lse };
        if (more)
            *more = (ak__anchor_more){ .best = ak__best_empty() };
    }
}

void ak__cross_entropy_start(ak__pair_run *run)
{
    const ak__lse_of l = lse_of(run);
    assert(ak__rule_is_empty(&run->unsummed) || ak__targets_are_few(&run->targets));
    start_side(run, false, run->size.R, ak__lse_empty(&l));
    if (run->column && run->column != run->row)
        start_side(run, true, run->size.C + run->size.K, ak__lse_empty(&l));
}

/* ---- absorb ---------------------------------------------------------------------------------- */

static void absorb_target(void *user, const ak__tile *t, int64_t i, int64_t j, double weight,
                          int64_t anchor, bool column)
{
    const ak__pair_run *run = user;
    const ak_real s = t->s[i * t->ld + j];
    if (!finite_score(s) && s == s)
        return;
    ak__anchor *a = ak__anchor_at(run, column, anchor);
    a->positive += weight * (double)s;
    a->mass += weight;
}

/* Sum of w and of w * s where w is not 0. */
static void weigh(const ak_real *w, const ak_real *s, int64_t n, ak__anchor *a)
{
    double mass = 0, positive = 0;
    for (int64_t j = 0; j < n; j++) {
        mass += (double)w[j];
        positive += w[j] != 0 ? (double)w[j] * (double)s[j] : 0;
    }
    a->mass += mass;
    a->positive += positive;
}

static void absorb_filled(const ak__pair_run *run, const ak__tile *t)
{
    enum { ROW, COLUMN, MASS, POSITIVE };
    ak_real *w = scratch_row(t, ROW), *v = scratch_row(t, COLUMN);
    ak_real *mass = scratch_row(t, MASS), *positive = scratch_row(t, POSITIVE);
    const size_t bytes = (size_t)t->n * sizeof(ak_real);
    memset(mass, 0, bytes);
    memset(positive, 0, bytes);
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        ak__targets_fill(&run->targets, t, i, false, w);
        weigh(w, s, t->n, ak__anchor_at(run, false, t->r0 + i));
        if (!t->columns)
            continue;
        ak__targets_fill(&run->targets, t, i, true, v);
        for (int64_t j = 0; j < t->n; j++) {
            mass[j] += v[j];
            positive[j] += v[j] != 0 ? v[j] * s[j] : 0;
        }
    }
    for (int64_t j = 0; t->columns && j < t->n; j++) {
        ak__anchor *a = ak__anchor_at(run, true, t->c0 + j);
        a->mass += (double)mass[j];
        a->positive += (double)positive[j];
    }
}

/* Number and weight of the candidates, and the sum of their scores. */
static void absorb_counts(const ak__pair_run *run, const ak__tile *t)
{
    const ak__pair_rule *rule = &run->walk.out;
    for (int64_t i = 0; i < t->m; i++) {
        const ak_real *s = t->s + i * t->ld;
        const ak_real *w = rule->weights ? rule->weights + (t->r0 + i) * rule->ld + t->c0 : NULL;
        ak__anchor_more *row = ak__anchor_more_at(run, false, t->r0 + i);
        double weight = 0, number = 0, linear = 0;
        for (int64_t j = 0; j < t->n; j++) {
            if (s[j] == -(ak_real)INFINITY)
                continue;
            const double one = w ? (double)w[j] : 1;
            weight += one;
            number += 1;
            linear += (double)s[j];
            if (t->columns) {
                ak__anchor_more *column = ak__anchor_more_at(run, true, t->c0 + j);
                column->candidates += one;
                column->number += 1;
                column->linear += (double)s[j];
            }
        }
        row->candidates += weight;
        row->number += number;
        row->linear += linear;
    }
}

static void absorb_best(const ak__pair_run *run, const ak__tile *t)
{
    const ak__best_of b = { .row = &ak__anchor_more_at(run, false, 0)->best,
                            .column = run->column ? &ak__anchor_more_at(run, true, 0)->best : NULL,
                            .stride = run->stride };
    ak__best_absorb(run, &b, t);
}

void ak__cross_entropy_absorb(const ak__walk *w, const ak__tile *t)
{
    ak__pair_run *run = w->user;
    const ak__lse_of l = lse_of(run);
    if (!ak__targets_are_few(&run->targets)) {
        absorb_filled(run, t);
    } else if (ak__targets_meet(&run->targets, t)) {
        ak__targets_each(&run->targets, t, false, absorb_target, run);
        if (t->columns)
            ak__targets_each(&run->targets, t, true, absorb_target, run);
    }
    if (run->loss->report)
        absorb_best(run, t);
    ak__rule_apply(&run->unsummed, t, w->matrices);
    if (counts(run->loss))
        absorb_counts(run, t);
    ak__lse_absorb(&l, t);
}

/* ---- loss and coefficients ------------------------------------------------------------------- */

/* No target among the candidates, or no candidate in the sum. */
static bool is_lonely(const ak__anchor *a)
{
    return (!(a->mass > 0) && a->mass == a->mass) || a->lse.sum == 0;
}

static void no_gradient(ak__anchor *a, ak__anchor_more *more)
{
    a->exp_coefficient = a->target_coefficient = 0;
    if (more)
        more->smooth_coefficient = 0;
}

/* No anchor at all: of unknown class and without another view. */
static bool is_unknown(const ak__pair_run *run, bool column, int64_t i)
{
    const ak__targets *t = &run->targets;
    return t->rule == AK__TARGET_LABEL && t->labels[i % t->samples] < 0 &&
           is_lonely(ak__anchor_at(run, column, i));
}

/* No target is negative and no pair weighs less than 1: nor is the loss of an anchor, then. */
static bool not_negative(const ak__pair_loss *o)
{
    return ak__sums_targets(o) && o->pair_weights < 0 && o->target_weights < 0 &&
           (o->matrix < 0 || o->target.by_sample);
}

void ak__cross_entropy_anchor(const ak__pair_run *run, bool column, int64_t i, double omega,
                              ak__candidate_count candidates, double w, ak__side *side)
{
    ak__anchor *a = ak__anchor_at(run, column, i);
    ak__anchor_more *more = ak__anchor_more_at(run, column, i);
    if (is_lonely(a) || w == 0) {
        side->lonely += w != 0;
        no_gradient(a, more);
        return;
    }
    const double eps = run->loss->smoothing;
    const bool shares = run->targets.shares;
    const double mass = shares ? 1 : a->mass;
    const double positive = shares ? a->positive / a->mass : a->positive;
    const double lse = ak__lse_value(&a->lse), sum = a->lse.sum, whole = (1 - eps) * mass + eps;
    const bool only = candidates.number == 1 && ak__sums_targets(run->loss);
    double loss = (1 - eps) * (mass * lse - omega * positive);
    if (eps > 0)
        loss += eps * (lse - more->linear / more->number);
    if (only)                   /* the target itself: what rounding leaves is no loss */
        loss = lse - lse == 0 ? whole * log(candidates.weight) : loss;
    else if (loss < 0 && not_negative(run->loss))
        loss = 0;
    side->loss += w * loss;
    side->chance += w * whole * log(candidates.weight);
    side->judged += w;
    side->right += run->loss->report && ak__best_is_right(&more->best) ? w : 0;
    if (only) {
        no_gradient(a, more);
        return;
    }
    a->exp_coefficient = w * whole / sum;
    a->target_coefficient = omega * w * (1 - eps) / (shares ? a->mass : 1);
    if (more)
        more->smooth_coefficient = eps > 0 ? w * eps / more->number : 0;
}

static ak__side finish_side(const ak__pair_run *run, bool column, double factor)
{
    const ak__anchors of = ak__anchors_of(run, column, is_unknown);
    const double full = ak__anchor_candidates(run, column);
    ak__side side = { .anchors = of.count };
    for (int64_t i = 0; i < of.n; i++) {
        const double w = ak__anchor_weight(run, &of, i);
        const ak__candidate_count n = ak__candidates_of(run, column, i);
        if (!ak__anchor_is_padding(run, i))
            side.masked += full - n.number;
        ak__cross_entropy_anchor(run, column, i, 1, n, w == 0 ? 0 : factor * w / of.total, &side);
    }
    return side;
}

double ak__cross_entropy_finish(ak__pair_run *run, bool *again)
{
    const ak__pair_loss *o = run->loss;
    const double factor = o->two_sided ? 0.5 * o->factor : o->factor;
    const ak__side rows = finish_side(run, false, factor);
    const ak__side columns = o->two_sided ? finish_side(run, true, factor) : (ak__side){ 0 };
    *again = false;
    ak__report_fill(run, rows, columns);
    return rows.loss + columns.loss;
}

/* ---- gradient -------------------------------------------------------------------------------- */

/* Rows of scratch; the log-sum-exp's gradient takes row 1. */
enum { EXP_ROW, TARGETS = 2, OF_EXP, OF_TARGET, OF_SMOOTH, SHIFT };

/* Coefficients of the tile's columns side by side, so that rows can be done in one pass. */
typedef struct column_terms {
    ak_real *e, *target, *smooth, *shift;
} column_terms;

static column_terms gather_columns(const ak__pair_run *run, const ak__tile *t)
{
    column_terms c = { scratch_row(t, OF_EXP), scratch_row(t, OF_TARGET),
                       scratch_row(t, OF_SMOOTH), scratch_row(t, SHIFT) };
    const bool smooth = run->loss->smoothing > 0;
    for (int64_t j = 0; t->columns && j < t->n; j++) {
        const ak__anchor *a = ak__anchor_at(run, true, t->c0 + j);
        c.e[j] = (ak_real)a->exp_coefficient;
        c.target[j] = (ak_real)a->target_coefficient;
        c.smooth[j] = smooth
            ? (ak_real)ak__anchor_more_at(run, true, t->c0 + j)->smooth_coefficient : 0;
        c.shift[j] = ak__lse_shift(&a->lse);
    }
    return c;
}

/* Subtract what smoothing and filled targets take from row i; s still holds the scores. */
static void gradient_filled(const ak__pair_run *run, const ak__tile *t, int64_t i,
                            const column_terms *c, ak_real *e)
{
    const ak__anchor *a = ak__anchor_at(run, false, t->r0 + i);
    const ak_real *s = t->s + i * t->ld;
    if (run->loss->smoothing > 0) {
        const ak_real of_row =
            (ak_real)ak__anchor_more_at(run, false, t->r0 + i)->smooth_coefficient;
        for (int64_t j = 0; j < t->n; j++)
            e[j] -= s[j] != -(ak_real)INFINITY ? of_row + (t->columns ? c->smooth[j] : 0) : 0;
    }
    if (ak__targets_are_few(&run->targets))
        return;
    ak_real *w = scratch_row(t, TARGETS);
    ak__targets_fill(&run->targets, t, i, false, w);
    ak__k.axpy(e, -(ak_real)a->target_coefficient, w, t->n);
    if (t->columns) {
        ak__targets_fill(&run->targets, t, i, true, w);
        for (int64_t j = 0; j < t->n; j++)
            e[j] -= w[j] * c->target[j];
    }
}

static void gradient_target(void *user, const ak__tile *t, int64_t i, int64_t j, double weight,
                            int64_t anchor, bool column)
{
    const ak__pair_run *run = user;
    const ak__pair_rule *rule = &run->walk.out;
    if (rule->weights && !(rule->weights[(t->r0 + i) * rule->ld + t->c0 + j] > 0))
        return;                                     /* it was masked */
    t->s[i * t->ld + j] -= (ak_real)(ak__anchor_at(run, column, anchor)->target_coefficient *
                                     weight);
}

void ak__cross_entropy_gradient(const ak__walk *w, const ak__tile *t)
{
    ak__pair_run *run = w->user;
    const ak__lse_of l = lse_of(run);
    const column_terms c = gather_columns(run, t);
    const bool few = ak__targets_are_few(&run->targets);
    const bool in_place = few && run->loss->smoothing == 0 && (l.bounded || !t->columns);
    ak__rule_apply(&run->unsummed, t, w->matrices);
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld, *e = in_place ? s : scratch_row(t, EXP_ROW);
        const ak__anchor *a = ak__anchor_at(run, false, t->r0 + i);
        ak__lse_gradient(&l, t, i, (ak_real)a->exp_coefficient, t->columns ? c.e : NULL, c.shift,
                         e);
        if (in_place)
            continue;
        gradient_filled(run, t, i, &c, e);
        memcpy(s, e, (size_t)t->n * sizeof *e);
    }
    if (!few || !ak__targets_meet(&run->targets, t))
        return;
    ak__targets_each(&run->targets, t, false, gradient_target, run);
    if (t->columns)
        ak__targets_each(&run->targets, t, true, gradient_target, run);
}

const ak__pair_program ak__cross_entropy = {
    .anchor_bytes = ak__cross_entropy_bytes, .start = ak__cross_entropy_start,
    .absorb = ak__cross_entropy_absorb, .finish = ak__cross_entropy_finish,
    .gradient = ak__cross_entropy_gradient };
