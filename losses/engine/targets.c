/* SPDX-License-Identifier: Apache-2.0 */
/* Targets by rule. */
#include "losses/engine/targets.h"

#include <string.h>

static bool finite_score(ak_real s) { return s > -(ak_real)INFINITY; }

bool ak__targets_are_few(const ak__targets *t)
{
    return t->rule == AK__TARGET_SAMPLE || t->rule == AK__TARGET_LIST;
}

/* ---- few ------------------------------------------------------------------------------------- */

ak__few ak__few_of(const ak__targets *t, bool column, int64_t anchor, int64_t lo, int64_t hi)
{
    ak__few f = { .anchor = anchor, .lo = lo, .hi = hi };
    if (t->rule == AK__TARGET_LIST) {
        f.list = column ? &t->of_columns : &t->of_rows;
        f.at = f.list->start[anchor];
        return f;
    }
    const int64_t n = column ? t->R : t->C;     /* among these */
    const int64_t sample = anchor % t->samples;
    f.step = t->samples;
    f.at = lo <= sample ? sample : sample + (lo - sample + f.step - 1) / f.step * f.step;
    f.hi = hi < n ? hi : n;
    f.skip_self = t->skip_self;
    f.share = 1.0 / (double)(n / t->samples - (f.skip_self ? 1 : 0));
    return f;
}

bool ak__few_next(ak__few *f, int64_t *other, double *weight)
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

/* Those of the same sample lie on diagonals that are `samples` apart, which most tiles do not
 * meet. */
bool ak__targets_meet(const ak__targets *t, const ak__tile *tile)
{
    if (t->rule == AK__TARGET_LIST)
        return true;
    const int64_t low = tile->c0 - (tile->r0 + tile->m - 1);
    const int64_t high = tile->c0 + tile->n - 1 - tile->r0;
    const int64_t last = high >= 0 ? high / t->samples * t->samples     /* multiple <= high */
                                   : -((-high + t->samples - 1) / t->samples * t->samples);
    return tile->set == 0 && last >= low;
}

void ak__targets_each(const ak__targets *t, const ak__tile *tile, bool column, ak__target_fn *fn,
                      void *user)
{
    const int64_t n = column ? tile->n : tile->m, first = column ? tile->c0 : tile->r0;
    const int64_t lo = column ? tile->r0 : tile->c0, hi = lo + (column ? tile->m : tile->n);
    if (tile->set != 0 && (column || t->rule == AK__TARGET_SAMPLE))
        return;
    for (int64_t a = 0; a < n; a++) {
        ak__few f = ak__few_of(t, column, first + a, lo, hi);
        int64_t other;
        double weight;
        while (ak__few_next(&f, &other, &weight))
            fn(user, tile, column ? other - lo : a, column ? a : other - lo, weight, first + a,
               column);
    }
}

/* ---- filled ---------------------------------------------------------------------------------- */

void ak__targets_fill(const ak__targets *t, const ak__tile *tile, int64_t i, bool column,
                      ak_real *w)
{
    const ak_real *s = tile->s + i * tile->ld;
    const int64_t r = tile->r0 + i, N = t->samples;
    if (t->rule == AK__TARGET_MATRIX && !t->by_sample) {
        const ak_real *from = t->matrix + r * t->ld + tile->c0;
        for (int64_t j = 0; j < tile->n; j++)
            w[j] = finite_score(s[j]) ? from[j] : 0;
        return;
    }
    if (tile->set != 0) {
        memset(w, 0, (size_t)tile->n * sizeof *w);
        return;
    }
    const int64_t a = r % N;
    int64_t b = tile->c0 % N;
    for (int64_t j = 0; j < tile->n; j++, b = b + 1 == N ? 0 : b + 1) {
        ak_real v;
        if (t->rule == AK__TARGET_LABEL)
            v = t->labels[a] == t->labels[b] && (t->labels[a] != -1 || a == b) ? (ak_real)1 : 0;
        else if (t->rule == AK__TARGET_SAMPLE)
            v = a == b ? (ak_real)1 : 0;
        else
            v = column ? t->matrix[b * t->ld + a] : t->matrix[a * t->ld + b];
        w[j] = finite_score(s[j]) ? v : 0;
    }
}
