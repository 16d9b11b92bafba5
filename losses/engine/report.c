/* SPDX-License-Identifier: Apache-2.0 */
/* Anchors and their weights, best scores, the report. */
#include "losses/engine/report.h"

#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

#include <string.h>

/* ---- anchors --------------------------------------------------------------------------------- */

bool ak__anchor_is_padding(const ak__pair_run *run, int64_t i)
{
    const ak_index *ids = run->loss->ids;
    return ids && ids->data[i % run->size.samples] == -1;
}

static bool is_none(const ak__pair_run *run, const ak__anchors *of, int64_t i)
{
    return ak__anchor_is_padding(run, i) || (of->out && of->out(run, of->column, i));
}

ak__anchors ak__anchors_of(const ak__pair_run *run, bool column, ak__anchor_fn *out)
{
    ak__anchors a = { .column = column, .out = out, .n = column ? run->size.C : run->size.R };
    for (int64_t i = 0; i < a.n; i++) {
        if (is_none(run, &a, i))
            continue;
        a.total += run->weight ? (double)run->weight[i % run->size.samples] : 1;
        a.count++;
    }
    return a;
}

double ak__anchor_weight(const ak__pair_run *run, const ak__anchors *of, int64_t i)
{
    if (is_none(run, of, i) || !(of->total > 0))
        return 0;
    return run->weight ? (double)run->weight[i % run->size.samples] : 1;
}

double ak__anchor_candidates(const ak__pair_run *run, bool column)
{
    const ak__pair_sizes *z = &run->size;
    if (column)
        return (double)z->R;
    const bool self = run->walk.out.out & AK__OUT_SELF;
    double n = (double)(z->C + z->K - (self ? 1 : 0));
    if (run->unsummed.out & AK__OUT_PARTNERS)
        n -= (double)(z->C / z->samples - (self ? 1 : 0));
    return n;
}

/* ---- the best scores ------------------------------------------------------------------------- */

enum { WEIGHTS = AK__TILE_ROWS - 4, COPY, MAX };

static ak_real *scratch_row(const ak__tile *t, int i) { return t->scratch + i * t->stride; }

static ak__best *best_at(ak__best *first, size_t stride, int64_t i)
{
    return (ak__best *)(void *)((char *)first + (size_t)i * stride);
}

ak__best ak__best_empty(void)
{
    return (ak__best){ -(double)INFINITY, -(double)INFINITY };
}

static void larger(double *best, ak_real s)
{
    if ((double)s > *best)
        *best = (double)s;
}

/* Take the few targets of row i out of `copy`, noting them as positives of both sides. */
static void take_few(const ak__pair_run *run, const ak__best_of *b, const ak__tile *t, int64_t i,
                     ak_real *copy)
{
    if (t->set != 0 && run->targets.rule == AK__TARGET_SAMPLE)
        return;
    ak__few f = ak__few_of(&run->targets, false, t->r0 + i, t->c0, t->c0 + t->n);
    int64_t c;
    double weight;
    while (ak__few_next(&f, &c, &weight)) {
        const ak_real s = t->s[i * t->ld + c - t->c0];
        larger(&best_at(b->row, b->stride, t->r0 + i)->positive, s);
        if (t->columns)
            larger(&best_at(b->column, b->stride, c)->positive, s);
        copy[c - t->c0] = -(ak_real)INFINITY;
    }
}

/* The same by target weight: those that have their anchor's largest weight are the positives. */
static void take_filled(const ak__pair_run *run, const ak__best_of *b, const ak__tile *t,
                        int64_t i, bool column, ak_real *copy)
{
    const ak__targets *p = &run->targets;
    const ak_real *s = t->s + i * t->ld, *top = column ? p->top_column : p->top_row;
    ak_real *w = scratch_row(t, WEIGHTS);
    ak__targets_fill(p, t, i, column, w);
    for (int64_t j = 0; j < t->n; j++) {
        const int64_t anchor = column ? t->c0 + j : t->r0 + i;
        const ak_real least = !top ? (ak_real)1 : top[p->by_sample ? anchor % p->samples : anchor];
        const bool positive = w[j] > 0 && w[j] >= least;
        copy[j] = positive ? -(ak_real)INFINITY : s[j];
        if (positive)
            larger(&best_at(column ? b->column : b->row, b->stride, anchor)->positive, s[j]);
    }
}

void ak__best_absorb(const ak__pair_run *run, const ak__best_of *b, const ak__tile *t)
{
    const bool few = ak__targets_are_few(&run->targets);
    ak_real *copy = scratch_row(t, COPY), *max = scratch_row(t, MAX);
    for (int64_t j = 0; j < t->n; j++)
        max[j] = -(ak_real)INFINITY;
    for (int64_t i = 0; i < t->m; i++) {
        if (few) {
            memcpy(copy, t->s + i * t->ld, (size_t)t->n * sizeof *copy);
            take_few(run, b, t, i, copy);
        } else {
            take_filled(run, b, t, i, false, copy);
        }
        larger(&best_at(b->row, b->stride, t->r0 + i)->negative, ak__k.max(copy, t->n));
        if (!t->columns)
            continue;
        if (!few)
            take_filled(run, b, t, i, true, copy);
        AK__PRAGMA(omp simd)
        for (int64_t j = 0; j < t->n; j++)
            max[j] = copy[j] > max[j] ? copy[j] : max[j];
    }
    for (int64_t j = 0; t->columns && j < t->n; j++)
        larger(&best_at(b->column, b->stride, t->c0 + j)->negative, max[j]);
}

/* ---- the report ------------------------------------------------------------------------------ */

void ak__report_fill(const ak__pair_run *run, ak__side a, ak__side b)
{
    const ak__pair_loss *o = run->loss;
    if (!o->report)
        return;
    const double judged = a.judged + b.judged;
    const double candidates = ak__anchor_candidates(run, false) * (double)a.anchors +
                              ak__anchor_candidates(run, true) * (double)b.anchors;
    *o->report = (ak_loss_report){
        .loss = a.loss + b.loss,
        .chance = a.chance + b.chance,
        .accuracy = judged > 0 ? (a.right + b.right) / judged : 0,
        .tau = 1 / run->scale,
        .scale = run->scale,
        .anchors = a.anchors + b.anchors,
        .lonely = a.lonely + b.lonely,
        .masked = o->ids && candidates > 0 ? (a.masked + b.masked) / candidates : 0,
    };
}
