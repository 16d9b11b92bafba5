/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters against classes: mutual information, pairs, the best matching. The table of classes and
 * clusters is kept as its cells that are not empty; the matching alone needs all of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/eval_classes.h>

#include "base/base.h"
#include "base/text.h"
#include "eval/label_pairs.h"
#include "eval/resample.h"

#define MAX_TABLE (1 << 26)     /* classes x clusters of the matching */

typedef struct cell { int32_t a, b; int64_t n; } cell;

typedef struct table {
    cell    *cell;              /* [cells] */
    int64_t *a, *b;             /* [distinct] items of a class, of a cluster */
    int64_t  cells, n;
} table;

static int by_cell(const void *x, const void *y)
{
    const cell *a = x, *b = y;
    return a->a != b->a ? (a->a > b->a) - (a->a < b->a) : (a->b > b->b) - (a->b < b->b);
}

static void count_cells(const ak__label_pairs *p, table *t)
{
    memset(t->a, 0, 2 * (size_t)p->distinct * sizeof *t->a);
    for (int64_t i = 0; i < p->n; i++) {
        t->cell[i] = (cell){ p->a[i], p->b[i], 1 };
        t->a[p->a[i]]++;
        t->b[p->b[i]]++;
    }
    qsort(t->cell, (size_t)p->n, sizeof *t->cell, by_cell);
    for (int64_t i = 0; i < p->n; i++) {
        cell *last = t->cells ? &t->cell[t->cells - 1] : NULL;
        if (last && last->a == t->cell[i].a && last->b == t->cell[i].b)
            last->n++;
        else
            t->cell[t->cells++] = t->cell[i];
    }
}

/* ---- mutual information and pairs ------------------------------------------------------------ */

/* What both measures are made of: sums over cells (0), classes (1) and clusters (2). */
typedef struct sums {
    double n;
    double log[3];              /* of x log x */
    double pairs[3];            /* of x (x - 1) / 2 */
} sums;

static double x_log_x(double x)
{
    return x > 0 ? x * log(x) : 0;
}

static void add(sums *s, int which, int64_t count)
{
    const double x = (double)count;
    s->log[which] += x_log_x(x);
    s->pairs[which] += x * (x - 1) / 2;
}

/* The sums without one item of a group of `count`. */
static void drop(sums *s, int which, int64_t count)
{
    const double x = (double)count;
    s->log[which] += x_log_x(x - 1) - x_log_x(x);
    s->pairs[which] -= x - 1;
}

static sums sums_of(const table *t, int64_t distinct)
{
    sums s = { .n = (double)t->n };
    for (int64_t i = 0; i < t->cells; i++)
        add(&s, 0, t->cell[i].n);
    for (int64_t c = 0; c < distinct; c++) {
        add(&s, 1, t->a[c]);
        add(&s, 2, t->b[c]);
    }
    return s;
}

static double nmi_of(const sums *s)
{
    const double ha = log(s->n) - s->log[1] / s->n, hb = log(s->n) - s->log[2] / s->n;
    const double both = log(s->n) - s->log[0] / s->n, tiny = 1e-14 * log(s->n + 1);
    if (ha <= tiny && hb <= tiny)
        return 1;
    const double value = 2 * (ha + hb - both) / (ha + hb);
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

static double ari_of(const sums *s)
{
    const double all = s->n * (s->n - 1) / 2;
    const double expected = all > 0 ? s->pairs[1] / all * s->pairs[2] : 0;
    const double most = (s->pairs[1] + s->pairs[2]) / 2;
    return most > expected ? (s->pairs[0] - expected) / (most - expected) : 1;
}

/* Both measures and their jackknife intervals. without: room for n numbers. */
static void measure_sums(const ak__label_pairs *p, const table *t, double level, double *without,
                         ak_clustering *r)
{
    double (*const make[2])(const sums *) = { nmi_of, ari_of };
    ak_measure *const to[2] = { &r->nmi, &r->ari };
    static const char *const name[2] = { "NMI, arithmetic mean of entropies,", "ARI" };
    const double least[2] = { 0, -0.5 };        /* ARI: Chacon and Rastrojo 2023 */
    const sums whole = sums_of(t, p->distinct);
    char text[24];
    for (int k = 0; k < 2; k++) {
        const double value = make[k](&whole);
        int64_t at = 0;
        for (int64_t i = 0; i < t->cells && t->n > 1; i++) {
            const cell *c = &t->cell[i];
            sums s = whole;
            s.n -= 1;
            drop(&s, 0, c->n);
            drop(&s, 1, t->a[c->a]);
            drop(&s, 2, t->b[c->b]);
            const double one = make[k](&s);
            for (int64_t j = 0; j < c->n; j++)  /* the items of a cell are alike */
                without[at++] = one;
        }
        const ak_interval w = ak__jackknife(value, without, t->n, level);
        *to[k] = (ak_measure){ .value = value, .lo = fmax(w.lo, least[k]), .hi = fmin(w.hi, 1),
                               .n = t->n, .unknown = p->unknown };
        ak__format(to[k]->protocol, sizeof to[k]->protocol, "%s of %lld items in %lld clusters, "
                   "%lld classes, %s jackknife", name[k], (long long)t->n, (long long)r->clusters,
                   (long long)r->classes, ak__level_text(level, text));
    }
}

/* ---- the best matching ----------------------------------------------------------------------- */

/* Largest sum of value[rows, columns] with each row in a column of its own, rows <= columns, by
 * shortest augmenting paths with potentials: rows^2 columns steps. Room for columns + 1 each: three
 * times that in `room`. */
static int64_t best_matching(const int32_t *value, int64_t rows, int64_t columns, double *room,
                             int64_t *row_of, int64_t *way, bool *used)
{
    double *u = room, *v = u + columns + 1, *least = v + columns + 1;
    memset(room, 0, 3 * (size_t)(columns + 1) * sizeof *room);
    memset(row_of, 0, (size_t)(columns + 1) * sizeof *row_of);
    for (int64_t row = 1; row <= rows; row++) {     /* rows and columns from 1; 0 = none */
        int64_t at = 0;
        row_of[0] = row;
        memset(used, 0, (size_t)(columns + 1) * sizeof *used);
        for (int64_t j = 0; j <= columns; j++)
            least[j] = (double)INFINITY;
        do {
            const int64_t i = row_of[at];
            int64_t next = 0;
            double delta = (double)INFINITY;
            used[at] = true;
            for (int64_t j = 1; j <= columns; j++) {
                if (used[j])
                    continue;
                const double d = -(double)value[(i - 1) * columns + j - 1] - u[i] - v[j];
                if (d < least[j]) {
                    least[j] = d;
                    way[j] = at;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    next = j;
                }
            }
            for (int64_t j = 0; j <= columns; j++) {
                if (used[j]) {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            at = next;
        } while (row_of[at] != 0);
        for (; at; at = way[at])                    /* turn the path round */
            row_of[at] = row_of[way[at]];
    }
    int64_t sum = 0;
    for (int64_t j = 1; j <= columns; j++)
        if (row_of[j])
            sum += value[(row_of[j] - 1) * columns + j - 1];
    return sum;
}

/* Places without gaps of the classes and clusters that occur on their side; how many. */
static int64_t number_side(const int64_t *items, int64_t distinct, int64_t *place)
{
    int64_t count = 0;
    for (int64_t c = 0; c < distinct; c++)
        place[c] = items[c] ? count++ : -1;
    return count;
}

/* Items that the best matching gets right; -1: an error is recorded. */
static int64_t matched(ak_ctx *ctx, const table *t, const int64_t *place_a, const int64_t *place_b,
                       int64_t classes, int64_t clusters)
{
    if (classes > MAX_TABLE / clusters) {
        ak_fail(ctx, AK_ERR_VALUE, "clusters: %lld classes x %lld clusters; the matching holds at "
                "most %d", (long long)classes, (long long)clusters, MAX_TABLE);
        return -1;
    }
    const bool    turned = classes > clusters;
    const int64_t rows = turned ? clusters : classes, columns = turned ? classes : clusters;
    const size_t  side = (size_t)columns + 1, numbers = (size_t)(rows * columns);
    const size_t  bytes = numbers * sizeof(int32_t) +
                          side * (3 * sizeof(double) + 2 * sizeof(int64_t) + sizeof(bool));
    int32_t *value = ak__malloc(numbers * sizeof *value);
    double  *room = ak__malloc(3 * side * sizeof *room);
    int64_t *row_of = ak__malloc(2 * side * sizeof *row_of), right = -1;
    bool    *used = ak__malloc(side * sizeof *used);
    if (value && room && row_of && used) {
        memset(value, 0, numbers * sizeof *value);
        for (int64_t i = 0; i < t->cells; i++) {
            const int64_t a = place_a[t->cell[i].a], b = place_b[t->cell[i].b];
            value[turned ? b * columns + a : a * columns + b] = (int32_t)t->cell[i].n;
        }
        right = best_matching(value, rows, columns, room, row_of, row_of + side, used);
    } else {
        ak__fail_memory(ctx, bytes);
    }
    ak__free(used);
    ak__free(row_of);
    ak__free(room);
    ak__free(value);
    return right;
}

/* ---- all ------------------------------------------------------------------------------------- */

static ak_clustering nothing(void)
{
    const ak_measure no = ak__no_measure();
    return (ak_clustering){ .nmi = no, .ari = no, .accuracy = no };
}

/* place: room for 2 distinct numbers. False: an error is recorded. */
static bool measure_all(ak_ctx *ctx, const ak__label_pairs *p, const table *t, double level,
                        int64_t *place, double *without, ak_clustering *r)
{
    r->classes = number_side(t->a, p->distinct, place);
    r->clusters = number_side(t->b, p->distinct, place + p->distinct);
    const int64_t right = matched(ctx, t, place, place + p->distinct, r->classes, r->clusters);
    if (right < 0)
        return false;
    measure_sums(p, t, level, without, r);
    char how[24];
    r->accuracy = ak__share(right, t->n, level);
    r->accuracy.unknown = p->unknown;
    ak__format(r->accuracy.protocol, sizeof r->accuracy.protocol, "clustering accuracy of %lld "
               "items, %lld clusters matched to %lld classes, %s Wilson for this matching",
               (long long)t->n, (long long)r->clusters, (long long)r->classes,
               ak__level_text(level, how));
    return true;
}

ak_clustering ak_eval_clusters(ak_ctx *ctx, const int32_t *truth, const int32_t *cluster, int64_t n,
                               double level)
{
    ak__label_pairs p;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, truth) || !AK__GIVEN(ctx, cluster) ||
        ak_error(ctx) != AK_OK)
        return nothing();
    level = level != 0 ? level : AK__DEFAULT_LEVEL;
    if (!(level > 0 && level < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "clusters: level %g; expected one in (0, 1)", level);
        return nothing();
    }
    if (!ak__label_pairs_make(ctx, "clusters", truth, "cluster", cluster, n, &p))
        return nothing();
    ak_clustering r = nothing();
    const size_t cells = (size_t)p.n * sizeof(cell), numbers = (size_t)p.n * sizeof(double);
    const size_t sides = 4 * (size_t)p.distinct * sizeof(int64_t);
    table t = { .cell = ak__malloc(cells), .a = ak__malloc(sides), .n = p.n };
    double *without = ak__malloc(numbers);
    if (t.cell && t.a && without) {
        t.b = t.a + p.distinct;
        count_cells(&p, &t);
        if (!measure_all(ctx, &p, &t, level, t.a + 2 * p.distinct, without, &r))
            r = nothing();
    } else {
        ak__fail_memory(ctx, cells + sides + numbers);
    }
    ak__free(without);
    ak__free(t.a);
    ak__free(t.cell);
    ak__label_pairs_free(&p);
    return r;
}
