/* SPDX-License-Identifier: Apache-2.0 */
/* What a study says in the end: means with intervals, differences, claims. Times are not in the
 * table but in study.jsonl: the table has the same bits after any number of kills. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "report/study_inside.h"

/* ---- differences ----------------------------------------------------------------------------- */

/* What all seeds of an arm measured. */
typedef struct column {
    double *value;          /* [seeds] */
    double *each;           /* [seeds, n]; NULL where some have no items, or not as many */
    int64_t n;
} column;

/* The text of what is missing; NULL: the column is there (context lifetime of a judgement). */
static const char *load(ak__study *s, int arm, const char *measure, bool items, column *c)
{
    const ak__record *first = ak__study_find(s, arm, 1, measure);
    memset(c, 0, sizeof *c);
    c->n = first && items ? first->n : 0;
    for (int seed = 1; seed <= s->seeds; seed++) {
        const ak__record *r = ak__study_find(s, arm, seed, measure);
        if (!r)
            return "a run is missing";
        if (r->n != c->n)
            c->n = 0;
    }
    c->value = ak__malloc((size_t)s->seeds * sizeof *c->value);
    if (c->n)
        c->each = ak__malloc((size_t)s->seeds * (size_t)c->n * sizeof *c->each);
    if (!c->value || (c->n && !c->each))
        return "out of memory";
    for (int i = 0; i < s->seeds; i++) {
        const ak__record *r = ak__study_find(s, arm, i + 1, measure);
        c->value[i] = r->value;
        if (c->each && !ak__study_items(s, r, c->each + i * c->n))
            return "items can not be read";
    }
    return NULL;
}

static void drop(column *c)
{
    ak__free(c->value);
    ak__free(c->each);
}

/* Mean over seeds of each item, in place of the first row. */
static void fold(column *c, int seeds)
{
    for (int64_t i = 0; i < c->n; i++) {
        double sum = 0;
        for (int s = 0; s < seeds; s++)
            sum += c->each[s * c->n + i];
        c->each[i] = sum / seeds;
    }
}

static void negate(column *c, int seeds)
{
    for (int i = 0; i < seeds; i++)
        c->value[i] = -c->value[i];
    for (int64_t i = 0; c->each && i < seeds * c->n; i++)
        c->each[i] = -c->each[i];
}

static ak__verdict compare(ak__study *s, column *a, column *b, ak_study_over over)
{
    ak__verdict  v = { .possible = true };
    ak_comparison c;
    if (over == AK_STUDY_SEEDS) {
        v.over = "seeds";
        c = ak_compare_seeds(s->ctx, a->value, b->value, s->seeds, (ak_compare_options){ 0 });
    } else if (over == AK_STUDY_ITEMS) {
        v.over = "items";
        fold(a, s->seeds);
        fold(b, s->seeds);
        c = ak_compare_paired(s->ctx, a->each, b->each, a->n, (ak_compare_options){ 0 });
    } else {
        v.over = "seeds and items";
        c = ak_compare_crossed(s->ctx, a->each, b->each, s->seeds, a->n,
                               (ak_compare_options){ 0 });
    }
    v.estimate = c.estimate;
    v.lo = c.lo;
    v.hi = c.hi;
    v.p = c.p;
    return v;
}

static ak__verdict alone(ak__study *s, column *a, ak_study_over over)
{
    ak__verdict v = { .possible = true, .p = (double)NAN };
    ak_measure  m;
    if (over == AK_STUDY_SEEDS) {
        v.over = "seeds";
        m = ak_measure_seeds(s->ctx, a->value, s->seeds, 0);
    } else if (over == AK_STUDY_ITEMS) {
        v.over = "items";
        fold(a, s->seeds);
        m = ak_measure_mean(s->ctx, a->each, a->n, (ak_bootstrap_options){ 0 });
    } else {
        v.over = "seeds and items";
        m = ak_measure_crossed(s->ctx, a->each, s->seeds, a->n, 0);
    }
    v.estimate = m.value;
    v.lo = m.lo;
    v.hi = m.hi;
    return v;
}

ak__verdict ak__study_judge(ak__study *s, const ak_study_claim *claim)
{
    const ak_study_measure *m = &s->what->measures[ak__study_measure_index(s, claim->measure)];
    const bool  items = claim->over != AK_STUDY_SEEDS, two = claim->against != NULL;
    column      a, b = { 0 };
    ak__verdict v = { 0 };
    v.why_not = load(s, ak__study_arm_index(s, claim->arm), m->name, items, &a);
    if (two && !v.why_not)
        v.why_not = load(s, ak__study_arm_index(s, claim->against), m->name, items, &b);
    const bool crossed = a.each && (!two || (b.each && b.n == a.n));
    ak_study_over over = claim->over;
    if (over == AK_STUDY_AUTO)
        over = crossed ? AK_STUDY_CROSSED : AK_STUDY_SEEDS;
    if (!v.why_not && over != AK_STUDY_SEEDS && !crossed)
        v.why_not = "the arms have not the same items";
    if (!v.why_not) {
        if (m->lower_is_better) {
            negate(&a, s->seeds);
            if (two)
                negate(&b, s->seeds);
        }
        v = two ? compare(s, &a, &b, over) : alone(s, &a, over);
        v.possible = !ak_error(s->ctx);
        if (!v.possible)
            v.why_not = "the comparison failed";
        v.shown = v.possible && v.lo > claim->margin;
    }
    drop(&a);
    drop(&b);
    return v;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* "83.12 [82.50, 83.70]" */
static void range(char *buf, size_t room, double scale, double value, double lo, double hi)
{
    ak__format(buf, room, "%.2f [%.2f, %.2f]", scale * value, scale * lo, scale * hi);
}

/* One arm: mean over the seeds that are there, intervals over seeds, and over items inside runs. */
static void put_arm(ak__study *s, FILE *out, const ak_study_measure *m, int arm)
{
    const double scale = m->scale == 0 ? 1 : m->scale;
    double  values[1024], lo = 0, hi = 0;
    int     n = 0;
    char    text[120], within[60], difference[160] = "";
    for (int seed = 1; seed <= s->seeds; seed++) {
        const ak__record *r = ak__study_find(s, arm, seed, m->name);
        if (!r || n == 1024)
            continue;
        values[n++] = r->value;
        lo += r->lo - r->value;
        hi += r->hi - r->value;
    }
    if (n == 0) {
        fprintf(out, "  %-20s no run is there\n", s->what->arms[arm].name);
        return;
    }
    const ak_measure mean = ak_measure_seeds(s->ctx, values, n, 0);
    ak__format(within, sizeof within, "%+.2f %+.2f", scale * lo / n, scale * hi / n);
    if (arm != s->baseline) {
        const ak__verdict v = ak__study_judge(s, &(ak_study_claim){ .measure = m->name,
            .arm = s->what->arms[arm].name, .against = s->what->arms[s->baseline].name });
        const double sign = m->lower_is_better ? -1 : 1;
        if (v.possible)
            ak__format(difference, sizeof difference, "%+.2f [%+.2f, %+.2f] p %.3g",
                       sign * scale * v.estimate, scale * (sign > 0 ? v.lo : -v.hi),
                       scale * (sign > 0 ? v.hi : -v.lo), v.p);
        else
            ak__format(difference, sizeof difference, "%s", v.why_not);
    }
    range(text, sizeof text, scale, mean.value, mean.lo, mean.hi);
    fprintf(out, "  %-20s %5d   %-28s ", s->what->arms[arm].name, n, text);
    if (*difference)
        fprintf(out, "%-16s %s\n", within, difference);
    else                                            /* no blanks at the end of a line */
        fprintf(out, "%s\n", within);
}

/* What was chosen, by which items; or that nothing was. */
static void put_choices(const ak__study *s, FILE *out)
{
    int some = 0;
    for (int arm = 0; arm < s->arms; arm++)
        for (int seed = 1; seed <= s->seeds; seed++) {
            const uint64_t key = ak__study_key(s, arm, seed);
            for (const ak__record *r = s->records; r; r = r->next) {
                bool best = r->choice && r->key == key;     /* the first of the largest */
                for (const ak__record *o = s->records; best && o; o = o->next)
                    best = !(o->choice && o->key == key && strcmp(o->measure, r->measure) == 0 &&
                             (o->value > r->value || (!(o->value < r->value) && o->n < r->n)));
                if (!best)
                    continue;
                fprintf(out, "chosen on validation (%s): %s seed %d, %s = %s, score %.6g\n",
                        r->protocol, s->what->arms[arm].name, seed, r->measure, r->folder,
                        r->value);
                some++;
            }
        }
    if (!some)
        fprintf(out, "chosen on validation: nothing; settings were given beforehand\n");
}

static bool put_one_claim(ak__study *s, FILE *out, const ak_study_claim *c)
{
    const ak__verdict v = ak__study_judge(s, c);
    fprintf(out, "claim %s: %s   ", c->name, v.shown ? "shown" : "not shown");
    if (v.possible)
        fprintf(out, "(%s of %s%s%s: gain %.6g [%.6g, %.6g] over %s; needs more than %.6g)",
                c->measure, c->arm, c->against ? " against " : "", c->against ? c->against : "",
                v.estimate, v.lo, v.hi, v.over, c->margin);
    else
        fprintf(out, "(%s)", v.why_not);
    fprintf(out, "%s%s\n", c->text && *c->text ? "  " : "", c->text ? c->text : "");
    return v.shown;
}

int ak__study_table(ak__study *s, FILE *out)
{
    const locale_t before = ak__plain_begin();
    const char *settings = s->what->settings ? s->what->settings : "";
    int missed = 0;
    fprintf(out, "study %s: %d arms, %d seeds%s%s\n", s->name, s->arms, s->seeds,
            s->what->text ? "; " : "", s->what->text ? s->what->text : "");
    fprintf(out, "settings: %s\n", *settings ? settings : "those of the program");
    for (int i = 0; i < s->measures; i++) {
        const ak_study_measure *m = &s->what->measures[i];
        const ak__record       *r = ak__study_find(s, s->baseline, 1, m->name);
        const bool              told = r && *r->protocol;
        fprintf(out, "\n%s%s%s (%s is better)%s%s\n", m->name, m->unit ? ", " : "",
                m->unit ? m->unit : "", m->lower_is_better ? "lower" : "higher",
                told ? "  " : "", told ? r->protocol : "");
        fprintf(out, "  %-20s seeds   %-28s %-16s %s\n", "arm", "mean [95 % over seeds]",
                "items inside run", "difference to baseline [95 %], p");
        for (int arm = 0; arm < s->arms; arm++)
            put_arm(s, out, m, arm);
    }
    fprintf(out, "\n");
    put_choices(s, out);
    for (int i = 0; i < s->claims; i++)
        missed += !put_one_claim(s, out, &s->what->claims[i]);
    if (s->quick && s->claims)
        fprintf(out, "a trial: too small for claims, which do not decide the exit code\n");
    ak__plain_end(before);
    return missed;
}
