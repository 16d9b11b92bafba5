/* SPDX-License-Identifier: Apache-2.0 */
/* L-BFGS after Nocedal and Wright, "Numerical Optimization", 2nd edition: two-loop recursion
 * (algorithm 7.4) and line search by the strong Wolfe conditions (algorithms 3.5 and 3.6). All in
 * double; sums run in index order, so the path is the same on every machine and thread count. */
#include "eval/lbfgs.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"

#define ARMIJO 1e-4         /* c1: enough decrease */
#define CURVATURE 0.9       /* c2: flat enough */
#define MAX_TRIALS 25       /* evaluations of one line search */

typedef struct minimiser {
    ak__objective f;
    void   *user;
    int64_t n, evaluations;
    double *x, *g, *p;              /* point, gradient, direction */
    double *trial, *trial_g;
    double *s, *y;                  /* [memory, n] steps and changes of the gradient */
    double *rho, *alpha;            /* [memory] */
    int     memory, held, newest;
} minimiser;

typedef struct point { double a, f, d; } point;     /* step, value, slope along p */

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *g, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++)
        top = fabs(g[i]) > top ? fabs(g[i]) : top;
    return top;
}

/* p = -H g from the remembered pairs. */
static void direction(minimiser *m)
{
    const int64_t n = m->n;
    for (int64_t i = 0; i < n; i++)
        m->p[i] = -m->g[i];
    for (int j = 0; j < m->held; j++) {             /* newest to oldest */
        const int at = (m->newest - j + m->memory) % m->memory;
        m->alpha[at] = m->rho[at] * dot(m->s + at * n, m->p, n);
        for (int64_t i = 0; i < n; i++)
            m->p[i] -= m->alpha[at] * m->y[at * n + i];
    }
    if (m->held) {
        const double *y = m->y + m->newest * n;
        const double gamma = 1 / (m->rho[m->newest] * dot(y, y, n));
        for (int64_t i = 0; i < n; i++)
            m->p[i] *= gamma;
    }
    for (int j = m->held - 1; j >= 0; j--) {        /* oldest to newest */
        const int at = (m->newest - j + m->memory) % m->memory;
        const double beta = m->rho[at] * dot(m->y + at * n, m->p, n);
        for (int64_t i = 0; i < n; i++)
            m->p[i] += m->s[at * n + i] * (m->alpha[at] - beta);
    }
}

static point evaluate(minimiser *m, double a)
{
    for (int64_t i = 0; i < m->n; i++)
        m->trial[i] = m->x[i] + a * m->p[i];
    m->evaluations++;
    const double f = m->f(m->user, m->trial, m->trial_g);
    return (point){ a, isfinite(f) ? f : (double)INFINITY, dot(m->trial_g, m->p, m->n) };
}

/* Where the cubic through both ends has its minimum, kept away from the ends. */
static double between(point u, point v)
{
    const double width = v.a - u.a, middle = u.a + width / 2;
    const double d1 = u.d + v.d - 3 * (u.f - v.f) / (u.a - v.a);
    const double square = d1 * d1 - u.d * v.d;
    if (!isfinite(square) || square < 0)
        return middle;
    const double d2 = width > 0 ? sqrt(square) : -sqrt(square);
    const double a = v.a - width * (v.d + d2 - d1) / (v.d - u.d + 2 * d2);
    const double share = (a - u.a) / width;
    return share > 0.05 && share < 0.95 ? a : middle;
}

/* A step that fulfils the strong Wolfe conditions, or the best decrease met. On success trial and
 * trial_g belong to the point returned. */
static bool line_search(minimiser *m, point start, double first, point *found)
{
    point lo = start, hi = { 0, 0, 0 };
    bool  bracketed = false;
    double a = first;
    for (int i = 0; i < MAX_TRIALS; i++) {
        const point now = evaluate(m, a);
        if (!(now.f <= start.f + ARMIJO * a * start.d) || (i > 0 && now.f >= lo.f)) {
            hi = now;
            bracketed = true;
        } else if (fabs(now.d) <= -CURVATURE * start.d) {
            *found = now;
            return true;
        } else {
            if (bracketed ? now.d * (hi.a - lo.a) >= 0 : now.d >= 0) {
                hi = lo;
                bracketed = true;
            }
            lo = now;
        }
        if (bracketed && fabs(hi.a - lo.a) <= 1e-12 * fabs(hi.a + lo.a))
            break;
        a = bracketed ? between(lo, hi) : 2 * a;
    }
    if (lo.a <= 0 || !(lo.f < start.f))
        return false;
    *found = evaluate(m, lo.a);
    return true;
}

/* Keep the pair of the step just found, unless its curvature is not positive. */
static void remember(minimiser *m)
{
    const int64_t n = m->n;
    const int at = m->held ? (m->newest + 1) % m->memory : 0;
    double *s = m->s + at * n, *y = m->y + at * n;
    for (int64_t i = 0; i < n; i++) {
        s[i] = m->trial[i] - m->x[i];
        y[i] = m->trial_g[i] - m->g[i];
    }
    const double sy = dot(s, y, n);
    if (!(sy > 1e-12 * dot(y, y, n)))
        return;
    m->rho[at] = 1 / sy;
    m->newest = at;
    m->held += m->held < m->memory;
}

static void minimise(minimiser *m, ak__lbfgs_options o, ak__lbfgs_result *r)
{
    const size_t bytes = (size_t)m->n * sizeof(double);
    r->value = m->f(m->user, m->x, m->g);
    m->evaluations = 1;
    r->gradient_norm = largest(m->g, m->n);
    while (r->gradient_norm > o.gradient_norm && r->iterations < o.max_iterations) {
        direction(m);
        point start = { 0, r->value, dot(m->g, m->p, m->n) }, found;
        double first = 1;
        if (!(start.d < 0) && m->held) {            /* the memory misleads: start it anew */
            m->held = 0;
            direction(m);
            start.d = dot(m->g, m->p, m->n);
        }
        if (!m->held) {
            double sum = 0;
            for (int64_t i = 0; i < m->n; i++)
                sum += fabs(m->g[i]);
            first = sum > 1 ? 1 / sum : 1;
        }
        if (!line_search(m, start, first, &found)) {
            if (!m->held)
                break;                              /* no decrease left in this precision */
            m->held = 0;
            continue;
        }
        remember(m);
        memcpy(m->x, m->trial, bytes);
        memcpy(m->g, m->trial_g, bytes);
        r->value = found.f;
        r->gradient_norm = largest(m->g, m->n);
        r->iterations++;
    }
    r->evaluations = m->evaluations;
    r->converged = r->gradient_norm <= o.gradient_norm;
}

bool ak__lbfgs(ak__objective f, void *user, double *x, int64_t n, ak__lbfgs_options o,
               ak__lbfgs_result *result)
{
    *result = (ak__lbfgs_result){ 0 };
    const size_t row = (size_t)n, pairs = (size_t)o.memory;
    double *room = ak__malloc((4 * row + 2 * pairs * row + 2 * pairs) * sizeof *room);
    if (!room)
        return false;
    minimiser m = { .f = f, .user = user, .n = n, .x = x, .memory = o.memory };
    m.g = room;
    m.p = m.g + row;
    m.trial = m.p + row;
    m.trial_g = m.trial + row;
    m.s = m.trial_g + row;
    m.y = m.s + pairs * row;
    m.rho = m.y + pairs * row;
    m.alpha = m.rho + pairs;
    minimise(&m, o, result);
    ak__free(room);
    return true;
}
