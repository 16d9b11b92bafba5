/* SPDX-License-Identifier: Apache-2.0 */
/* Taking pairs out of a tile. Rules that hold along diagonals or for ranges of columns touch only
 * the cells they change; the others look at each cell. */
#include "losses/engine/rules.h"

#include "losses/engine/walk.h"

#define BY_CELL (AK__OUT_OTHERS | AK__OUT_SAME_LABEL | AK__OUT_OTHER_LABELS)

bool ak__rule_is_empty(const ak__pair_rule *rule)
{
    return !rule->out && !rule->ids && !rule->weights;
}

static void drop(ak_real *s, int64_t from, int64_t to)
{
    for (int64_t j = from; j < to; j++)
        s[j] = -(ak_real)INFINITY;
}

/* Row i's own column, if the tile has it. */
static void drop_self(const ak__tile *t, ak_real *s, int64_t i)
{
    const int64_t j = t->r0 + i - t->c0;
    if (j >= 0 && j < t->n)
        s[j] = -(ak_real)INFINITY;
}

static void drop_partners(const ak__pair_rule *rule, const ak__tile *t, ak_real *s, int64_t i)
{
    const int64_t N = rule->samples, sample = (t->r0 + i) % N;
    for (int64_t j = (sample - t->c0 % N + N) % N; j < t->n; j += N)
        s[j] = -(ak_real)INFINITY;
}

/* Columns of the row's own view, or all others. */
static void drop_views(const ak__pair_rule *rule, const ak__tile *t, ak_real *s, int64_t i)
{
    const int64_t first = (t->r0 + i) / rule->samples * rule->samples - t->c0;
    const int64_t last = first + rule->samples;
    const int64_t lo = first < 0 ? 0 : first < t->n ? first : t->n;
    const int64_t hi = last < 0 ? 0 : last < t->n ? last : t->n;
    if (rule->out & AK__OUT_SAME_VIEW)
        drop(s, lo, hi);
    if (rule->out & AK__OUT_OTHER_VIEWS) {
        drop(s, 0, lo);
        drop(s, hi, t->n);
    }
}

static bool same_label(const int32_t *labels, int64_t a, int64_t b)
{
    return a == b || (labels[a] == labels[b] && labels[a] != -1);
}

static bool is_out(const ak__pair_rule *rule, int64_t a, int64_t b)
{
    const int32_t *ids = rule->ids, *labels = rule->labels;
    if (ids && (ids[a] == -1 || ids[b] == -1 || (a != b && ids[a] == ids[b])))
        return true;
    if ((rule->out & AK__OUT_OTHERS) && a != b)
        return true;
    if ((rule->out & AK__OUT_SAME_LABEL) && a != b && same_label(labels, a, b))
        return true;
    return (rule->out & AK__OUT_OTHER_LABELS) && !same_label(labels, a, b);
}

static void drop_by_cell(const ak__pair_rule *rule, const ak__tile *t, ak_real *s, int64_t i)
{
    const int64_t N = rule->samples, a = (t->r0 + i) % N;
    int64_t b = t->c0 % N;
    for (int64_t j = 0; j < t->n; j++, b = b + 1 == N ? 0 : b + 1)
        if (is_out(rule, a, b))
            s[j] = -(ak_real)INFINITY;
}

static void drop_by_weight(const ak__pair_rule *rule, const ak__tile *t, ak_real *s, int64_t i)
{
    const ak_real *w = rule->weights + (t->r0 + i) * rule->ld + t->c0;
    for (int64_t j = 0; j < t->n; j++)
        if (!(w[j] > 0))
            s[j] = -(ak_real)INFINITY;
}

static void apply_to_row(const ak__pair_rule *rule, const ak__tile *t, ak_real *s, int64_t i)
{
    if (t->set == 0) {
        if (rule->out & AK__OUT_SELF)
            drop_self(t, s, i);
        if (rule->out & AK__OUT_PARTNERS)
            drop_partners(rule, t, s, i);
        if (rule->out & (AK__OUT_SAME_VIEW | AK__OUT_OTHER_VIEWS))
            drop_views(rule, t, s, i);
        if (rule->ids || (rule->out & BY_CELL))
            drop_by_cell(rule, t, s, i);
    } else if (rule->ids && rule->ids[(t->r0 + i) % rule->samples] == -1) {
        drop(s, 0, t->n);       /* other sets have no ids; padding has no candidates there either */
    }
    if (rule->weights)
        drop_by_weight(rule, t, s, i);
}

void ak__rule_apply(const ak__pair_rule *rule, const ak__tile *t, int matrices)
{
    if (ak__rule_is_empty(rule))
        return;
    for (int p = 0; p < matrices; p++)
        for (int64_t i = 0; i < t->m; i++)
            apply_to_row(rule, t, t->score[p] + i * t->ld, i);
}
