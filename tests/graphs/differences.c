/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients against central differences: single elements of every leaf, and all of its elements
 * at once along random signs.
 *
 * A difference is taken with the steps h and h/2. Both together are exact to fourth order, and how
 * far they disagree says what neither can know: rounding, strong curvature, and kinks (a relu that
 * switches, a maximum that changes hands). The rule: a gradient may be off by 1e-6 of its size, by
 * twice the disagreement, and by what rounding of the sum can do. Where the two disagree by more
 * than 1e-4 of the gradient the direction says nothing; it is counted as a kink, and the caller
 * looks that those are few. So is a slope to the right that differs from that to the left by as
 * much for h/2 as for h: a kink right here, on which both steps agree. */
#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP 1e-5               /* of the leaf's range */
#define TOLERANCE 1e-6
#define KINK 1e-4
#define ROUNDING 4e-15          /* of the sum of absolute terms */
#define NOISE 1e-12             /* moves the sum by 200 times what rounding of the ops can do */

typedef struct direction { int leaf; int64_t element; uint64_t signs; } direction;

static double part_of(const direction *d, int64_t i)
{
    if (d->element >= 0)
        return i == d->element ? 1 : 0;
    return ak_random_bernoulli(d->signs, 1, (uint64_t)i, 0.5) ? 1 : -1;
}

/* *bend: how much steeper it is to the right than to the left, `here` being the sum in between. */
static double slope(graph *g, ak_ctx *ctx, const run *base, const direction *d, double h,
                    double here, double *bend, double *size)
{
    graph_node *n = &g->nodes[d->leaf];
    const int64_t count = ak_shape_size(n->shape);
    double *kept = n->values, moved[2], other;
    double *v = malloc((size_t)(count + 1) * sizeof *v);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < count; i++)
            v[i] = kept[i] + (s ? -h : h) * part_of(d, i);
        n->values = v;
        moved[s] = run_forward(g, ctx, base, (run_options){ 0 }, s ? &other : size);
        n->values = kept;
    }
    free(v);
    *bend = (moved[0] - here - (here - moved[1])) / h;
    return (moved[0] - moved[1]) / (2 * h);
}

/* How far rounding inside of ops may move the sum. */
static double rounding_of_ops(const graph *g, ak_ctx *ctx, const run *r)
{
    double size, most = 0;
    const double sum = run_forward(g, ctx, r, (run_options){ 0 }, &size);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        const run_options o = { .noise = NOISE, .noise_seed = seed };
        most = fmax(most, fabs(run_forward(g, ctx, r, o, &size) - sum));
    }
    return most / 200;
}

static void check_direction(graph *g, ak_ctx *ctx, const run *r, const direction *d,
                            double of_ops, differences *out)
{
    const graph_node *n = &g->nodes[d->leaf];
    const result *grad = run_find(r, "gradient", d->leaf);
    const double h = STEP * (-n->lo > n->hi ? -n->lo : n->hi);
    double size, exact = 0, terms = 0;
    for (int64_t i = 0; i < grad->size; i++) {
        exact += part_of(d, i) * grad->values[i];
        terms += fabs(part_of(d, i) * grad->values[i]);
    }
    const double here = run_forward(g, ctx, r, (run_options){ 0 }, &size);
    double bend, bend_half;
    const double whole = slope(g, ctx, r, d, h, here, &bend, &size);
    const double half = slope(g, ctx, r, d, h / 2, here, &bend_half, &size);
    const double numeric = (4 * half - whole) / 3, apart = fabs(whole - half);
    const double scale = fmax(terms, fabs(numeric)), rounding = (ROUNDING * size + of_ops) / h;
    out->checked++;
    if (apart > KINK * scale + 4 * rounding ||
        fabs(2 * bend_half - bend) > KINK * scale + 16 * rounding) {
        out->kinks++;
        return;
    }
    const double allowed = TOLERANCE * scale + 2 * apart + rounding + 1e-290;
    const double worst = fabs(exact - numeric) / allowed;
    if (worst <= out->worst)
        return;
    out->worst = isnan(worst) ? (double)INFINITY : worst;
    out->node = d->leaf;
    out->backward = exact;
    out->numeric = numeric;
    if (d->element >= 0)
        snprintf(out->what, sizeof out->what, "element %lld", (long long)d->element);
    else
        snprintf(out->what, sizeof out->what, "along random signs");
}

void differences_check(graph *g, const run *r, differences *d)
{
    const int each = g->limit > 1000 ? 1 : 3;
    ak_ctx *ctx = run_open(g);
    const double of_ops = rounding_of_ops(g, ctx, r);
    *d = (differences){ 0 };
    for (int x = 0; x < g->n_nodes; x++) {
        const graph_node *n = &g->nodes[x];
        const int64_t size = ak_shape_size(n->shape);
        if (n->kind != &kind_leaf || !n->needs_grad)
            continue;
        direction along = { x, -1, g->seed * 1000 + (uint64_t)x };
        if (size > 1)
            check_direction(g, ctx, r, &along, of_ops, d);
        for (int i = 0; i < each && i < size; i++) {
            along.element = (int64_t)ak_random_below(g->seed, (uint64_t)x, (uint64_t)i,
                                                     (uint64_t)size);
            check_direction(g, ctx, r, &along, of_ops, d);
        }
    }
    ak_close(ctx);
}
