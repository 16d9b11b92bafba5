/* SPDX-License-Identifier: Apache-2.0 */
/* Sinkhorn's iterations come near the solution quickly and then, where eps is small, crawl: at eps
 * 0.005 a hundred thousand of them may not reach six digits. f is a function of g, and g maximises
 * a concave function of K numbers (the semi-dual):
 *
 *     F(g) = sum_j c_j g_j - sum_i r_i log sum_j e^(s_ij / eps + g_j)
 *     dF/dg_j = c_j - S_j,  S_j = sum_i r_i code_ij;  -F'' = diag(S) - sum_i r_i code_i code_i^T
 *
 * So after some of Sinkhorn's, iterations are Newton's, with conjugate gradients for F'' d = -F':
 * these are products with the codes, which are there, and take no exponentials. A step that gains
 * nothing is not made, and Sinkhorn goes on for a while. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "memory/sinkhorn.h"

#define WARM 10             /* iterations of Sinkhorn before Newton, and after a step that failed */
#define HALVINGS 8          /* of a step that gains nothing */
#define MOST_SOLVES 200     /* iterations of conjugate gradients */

typedef struct newton {
    ak__sinkhorn *p;
    ak_real *codes;             /* [N, K] */
    double *S, *curved;         /* [K] S_j; sum_i r_i code_ij^2 */
    double *d, *residual, *z, *way, *product;       /* [K] of the solver */
    double *old;                /* [K] g before a step */
    double  F, error, damping;
    int     iterations;
} newton;

static double share(double logarithm) { return isinf(logarithm) ? 0 : exp(logarithm); }

/* Sums of chunks, in order. */
static void add_chunks(const ak__sinkhorn *p, const double *part, double *out)
{
    memset(out, 0, (size_t)p->K * sizeof *out);
    for (int64_t c = 0; c < p->chunks; c++)
        for (int64_t j = 0; j < p->K; j++)
            out[j] += part[c * p->K + j];
}

/* Codes, S, F and error of g. */
static void evaluate(newton *n)
{
    ak__sinkhorn *p = n->p;
    const int64_t K = p->K;
    memset(p->sum, 0, (size_t)(p->chunks * K) * sizeof *p->sum);
    memset(p->top, 0, (size_t)(p->chunks * K) * sizeof *p->top);
    AK__PARALLEL_FOR(c, p->chunks, p->N * K > 4096)
        for (int64_t i = c * p->chunk; i < ak__min(p->N, (c + 1) * p->chunk); i++)
            ak__sinkhorn_row(p, i, n->codes + i * K, p->sum + c * K, p->top + c * K);
    add_chunks(p, p->sum, n->S);
    add_chunks(p, p->top, n->curved);
    n->F = n->error = 0;
    for (int64_t j = 0; j < K; j++) {
        const double c = share(p->log_c[j]);
        if (c == 0)
            continue;
        n->F += c * p->g[j];
        n->error = fmax(n->error, fabs(n->S[j] / c - 1));
    }
    for (int64_t i = 0; i < p->N; i++)
        if (!isinf(p->log_r[i]))
            n->F -= exp(p->log_r[i]) * (p->log_r[i] - p->f[i]);
    n->iterations++;
}

static void sinkhorn_step(newton *n)
{
    ak__sinkhorn *p = n->p;
    double least = (double)INFINITY;
    for (int64_t j = 0; j < p->K; j++)
        least = isinf(p->log_c[j]) ? least : fmin(least, n->S[j]);
    const bool vanished = !(least > 1e-290);    /* a sum that doubles do not hold any more */
    if (vanished)
        ak__sinkhorn_columns(p);
    for (int64_t j = 0; j < p->K; j++)
        if (!isinf(p->log_c[j]))
            p->g[j] = vanished ? p->log_c[j] - p->lse[j] : p->g[j] + p->log_c[j] - log(n->S[j]);
}

/* ---- Newton ---------------------------------------------------------------------------------- */

/* out = (diag(S) (1 + damping) - sum_i r_i code_i code_i^T) v, summed as r_i code_ij (v_j - y_i)
 * with y_i the mean of v by the codes of row i: where one code is nearly 1, the others say how
 * nearly, which 1 - code has no digits for. */
static void multiply(const newton *n, const double *v, double *out)
{
    const ak__sinkhorn *p = n->p;
    const int64_t K = p->K;
    memset(p->sum, 0, (size_t)(p->chunks * K) * sizeof *p->sum);
    AK__PARALLEL_FOR(c, p->chunks, p->N * K > 65536)
        for (int64_t i = c * p->chunk; i < ak__min(p->N, (c + 1) * p->chunk); i++) {
            const ak_real *code = n->codes + i * K;
            double y = 0, all = 0;
            for (int64_t j = 0; j < K; j++) {
                y += (double)code[j] * v[j];
                all += (double)code[j];
            }
            y /= all;
            const double r = share(p->log_r[i]);
            for (int64_t j = 0; j < K; j++)
                p->sum[c * K + j] += r * (double)code[j] * (v[j] - y);
        }
    add_chunks(p, p->sum, out);
    for (int64_t j = 0; j < K; j++)
        out[j] += n->damping * n->S[j] * v[j];
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += a[j] * b[j];
    return sum;
}

/* z = residual over the diagonal of F''; 0 where a column gets nothing. */
static double precondition(newton *n)
{
    for (int64_t j = 0; j < n->p->K; j++) {
        const double diagonal = fmax(n->S[j] - n->curved[j], 0) + n->damping * n->S[j];
        n->z[j] = diagonal > 0 ? n->residual[j] / diagonal : 0;
    }
    return dot(n->residual, n->z, n->p->K);
}

/* d, by conjugate gradients; returns F' d. */
static double solve(newton *n)
{
    const int64_t K = n->p->K;
    for (int64_t j = 0; j < K; j++) {
        n->d[j] = 0;
        n->residual[j] = isinf(n->p->log_c[j]) ? 0 : exp(n->p->log_c[j]) - n->S[j];
    }
    n->damping = fmin(1e-3, 1e-2 * n->error);
    double slope = 0, now = precondition(n);
    const double first = now, enough = fmin(1e-2, n->error);
    memcpy(n->way, n->z, (size_t)K * sizeof *n->way);
    for (int it = 0; it < MOST_SOLVES && now > enough * enough * first; it++) {
        multiply(n, n->way, n->product);
        const double curvature = dot(n->way, n->product, K);
        if (!(curvature > 0))
            break;
        const double step = now / curvature;
        for (int64_t j = 0; j < K; j++) {
            n->d[j] += step * n->way[j];
            n->residual[j] -= step * n->product[j];
        }
        const double before = now;
        now = precondition(n);
        for (int64_t j = 0; j < K; j++)
            n->way[j] = n->z[j] + now / before * n->way[j];
    }
    for (int64_t j = 0; j < K; j++)
        slope += isinf(n->p->log_c[j]) ? 0 : (exp(n->p->log_c[j]) - n->S[j]) * n->d[j];
    return slope;
}

/* A step, halved until it gains. False: none did, and g is as before. */
static bool newton_step(newton *n, int most)
{
    ak__sinkhorn *p = n->p;
    const double slope = solve(n), F = n->F, error = n->error;
    memcpy(n->old, p->g, (size_t)p->K * sizeof *p->g);
    const double digits = 4 * DBL_EPSILON * fabs(F);
    double step = 1;
    for (int i = 0; i < HALVINGS && slope > 0 && n->iterations < most; i++, step /= 2) {
        for (int64_t j = 0; j < p->K; j++)
            p->g[j] = n->old[j] + step * n->d[j];
        evaluate(n);
        /* Near the end gains of F are lost in its digits: there the error tells. */
        if (n->error < 0.9 * error || n->F >= F + fmax(1e-4 * step * slope, digits))
            return true;
    }
    memcpy(p->g, n->old, (size_t)p->K * sizeof *p->g);
    evaluate(n);
    return false;
}

bool ak__sinkhorn_until(ak__sinkhorn *p, ak_real *codes, double tolerance, int most,
                        int *iterations, double *error)
{
    const int64_t K = p->K;
    const size_t bytes = (size_t)(8 * K) * sizeof(double);
    double *at = ak__step_alloc(p->ctx, bytes);
    if (!at)
        return false;
    newton n = { .p = p, .codes = codes, .S = at, .curved = at + K, .d = at + 2 * K,
                 .residual = at + 3 * K, .z = at + 4 * K, .way = at + 5 * K,
                 .product = at + 6 * K, .old = at + 7 * K };
    ak__sinkhorn_columns(p);
    for (int64_t j = 0; j < K; j++)
        p->g[j] = p->log_c[j] - p->lse[j];
    evaluate(&n);
    int plain = WARM;
    while (!(n.error <= tolerance) && n.iterations < most) {
        if (plain-- > 0) {
            sinkhorn_step(&n);
            evaluate(&n);
        } else if (!newton_step(&n, most)) {
            plain = WARM;
        }
    }
    *iterations = n.iterations;
    *error = n.error;
    ak__step_give(p->ctx, at, bytes);
    return true;
}
