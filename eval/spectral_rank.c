/* SPDX-License-Identifier: Apache-2.0 */
/* RankMe and effective rank: singular values as roots of the eigenvalues of the smaller of the two
 * matrices of products, Z'Z or Z Z', in 64 bits. What rounding leaves of a singular value that is 0
 * is 1e-8 of the largest, below the 1e-7 that counts. */
#include <math.h>
#include <string.h>

#include <akin/eval_geometry.h>

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/eigenvalues.h"
#include "eval/resample.h"
#include "tensor/tensor_internal.h"

#define DEFAULT_GROUPS 20
#define EPSILON 1e-7            /* of RankMe */
#define LEAST 1e-14             /* eigenvalues below this part of the largest are 0 */

typedef struct rank_run {
    const double *x;            /* [n, d] scaled; less their mean if centred */
    int64_t       n, d, k;      /* k = min(n, d) */
    bool          centred;
    double        epsilon;
    double       *whole;        /* [k, k] products of all rows, or of all columns */
    double       *room;         /* [threads, k k + 2 k + d] */
    int64_t       groups;
} rank_run;

static size_t room_of(const rank_run *run)
{
    return (size_t)(run->k * run->k + 2 * run->k + run->d);
}

/* exp of the entropy of the roots of k eigenvalues; room for the roots in place. */
static double entropy_rank(double *value, int64_t k, double epsilon)
{
    double most = 0, sum = 0, entropy = 0;
    for (int64_t i = 0; i < k; i++)
        most = value[i] > most ? value[i] : most;
    if (most == 0)
        return 0;
    for (int64_t i = 0; i < k; i++) {
        value[i] = value[i] > LEAST * most ? sqrt(value[i]) : 0;
        sum += value[i];
    }
    for (int64_t i = 0; i < k; i++) {
        const double p = value[i] / sum + epsilon;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    return exp(entropy);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Row r of the products of all rows: sum_i x[i, r] x[i, .], or <x[r, .], x[., .]>. */
static void product_row(const rank_run *run, int64_t r)
{
    double *out = run->whole + r * run->k;
    const int64_t d = run->d;
    memset(out, 0, (size_t)run->k * sizeof *out);
    if (run->k == d) {
        for (int64_t i = 0; i < run->n; i++) {
            const double *x = run->x + i * d, f = x[r];
            for (int64_t j = 0; j < d; j++)
                out[j] += f * x[j];
        }
        return;
    }
    for (int64_t j = 0; j < run->n; j++)
        for (int64_t c = 0; c < d; c++)
            out[j] += run->x[r * d + c] * run->x[j * d + c];
}

/* Products of columns without the rows of a group, about their own mean if centred. */
static void columns_without(const rank_run *run, int64_t g, double *a, double *sum)
{
    const int64_t d = run->d;
    int64_t kept = 0;
    memcpy(a, run->whole, (size_t)(d * d) * sizeof *a);
    memset(sum, 0, (size_t)d * sizeof *sum);
    for (int64_t i = 0; i < run->n; i++) {
        const double *x = run->x + i * d;
        if (i % run->groups != g) {
            kept++;
            for (int64_t j = 0; j < d; j++)
                sum[j] += x[j];
            continue;
        }
        for (int64_t r = 0; r < d; r++)
            for (int64_t j = 0; j < d; j++)
                a[r * d + j] -= x[r] * x[j];
    }
    for (int64_t r = 0; run->centred && r < d; r++)
        for (int64_t j = 0; j < d; j++)
            a[r * d + j] -= sum[r] * sum[j] / (double)kept;
}

/* Products of the rows that are not in a group, about their own mean if centred; how many. */
static int64_t rows_without(const rank_run *run, int64_t g, double *a, double *mean)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < run->n; i++)
        for (int64_t j = 0; i % run->groups != g && j < run->n; j++)
            if (j % run->groups != g)
                a[kept++] = run->whole[i * run->k + j];
    const int64_t n = run->n - (run->n - g + run->groups - 1) / run->groups;
    double all = 0;
    for (int64_t i = 0; run->centred && i < n; i++) {
        mean[i] = 0;
        for (int64_t j = 0; j < n; j++)
            mean[i] += a[i * n + j] / (double)n;
        all += mean[i] / (double)n;
    }
    for (int64_t i = 0; run->centred && i < n; i++)
        for (int64_t j = 0; j < n; j++)
            a[i * n + j] += all - mean[i] - mean[j];
    return n;
}

/* The rank without group g; g = -1: of all. NaN where eigenvalues were not found. */
static double rank_without(const rank_run *run, int64_t g, double *room)
{
    double *value = room + run->k * run->k, *work = value + run->k, *sum = work + run->k;
    int64_t k = run->k;
    if (g < 0)
        memcpy(room, run->whole, (size_t)(k * k) * sizeof *room);
    else if (k == run->d)
        columns_without(run, g, room, sum);
    else
        k = rows_without(run, g, room, work);
    return ak__eigenvalues(room, k, value, work) ? entropy_rank(value, k, run->epsilon)
                                                 : (double)NAN;
}

/* ---- a run ----------------------------------------------------------------------------------- */

/* Rows by 1 / their largest number, less their mean if centred: no square overflows. A column of
 * one number becomes 0, with no rounding left. */
static void scale_rows(const ak_tensor *z, bool centred, double *x)
{
    const int64_t n = z->shape.dims[0], d = z->shape.dims[1];
    double most = 0;
    for (int64_t i = 0; i < n * d; i++)
        most = fmax(most, fabs((double)z->data[i]));
    const double scale = most > 0 ? most : 1;
    for (int64_t i = 0; i < n * d; i++)
        x[i] = (double)z->data[i] / scale;
    for (int64_t j = 0; centred && j < d; j++) {
        const double first = x[j];
        double mean = 0;
        for (int64_t i = 0; i < n; i++) {
            x[i * d + j] -= first;
            mean += x[i * d + j] / (double)n;
        }
        for (int64_t i = 0; i < n; i++)
            x[i * d + j] -= mean;
    }
}

static bool check(ak_ctx *ctx, const char *who, const ak_tensor *z, ak_rank_options *o)
{
    if (z->shape.n != 2 || z->size == 0) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "%s: z %s; expected [N, D] with N, D >= 1", who,
                ak_shape_text(z->shape, text));
        return false;
    }
    const int64_t n = z->shape.dims[0];
    const bool none = o->groups == AK_NONE;
    o->groups = o->groups == 0 ? (int)ak__min(n, DEFAULT_GROUPS) : none ? 0 : o->groups;
    o->level = o->level != 0 ? o->level : AK__DEFAULT_LEVEL;
    const bool good = none || n == 1 || (o->groups >= 2 && o->groups <= n);
    if (!good || !(o->level > 0 && o->level < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %d groups of %lld rows, level %g; expected 2 to %lld groups"
                " or AK_NONE, a level in (0, 1)", who, o->groups, (long long)n, o->level,
                (long long)n);
        return false;
    }
    o->groups = n == 1 ? 0 : o->groups;
    return ak__rows_finite(ctx, who, "row", z->data, n, z->shape.dims[1]);
}

/* Value and interval. False: an error is recorded. without: room for the groups. */
static bool measure(ak_ctx *ctx, const char *who, rank_run *run, double level, double *without,
                    ak_measure *m)
{
    AK__PARALLEL_FOR(r, run->k, run->k * run->n > 4096)
        product_row(run, r);
    m->value = rank_without(run, -1, run->room);
    AK__PARALLEL_FOR_DYNAMIC(g, run->groups, run->k * run->n > 4096)
        without[g] = rank_without(run, g, run->room + (size_t)ak__thread_id() * room_of(run));
    bool found = !isnan(m->value);
    for (int64_t g = 0; g < run->groups; g++)
        found = found && !isnan(without[g]);
    if (!found) {
        ak_fail(ctx, AK_ERR_NUMBER, "%s: the eigenvalues of %lld x %lld products were not found",
                who, (long long)run->k, (long long)run->k);
        return false;
    }
    /* About the value: pseudo-values stand for ever more rows, where the rank is another. */
    const ak_interval w = ak__jackknife(m->value, without, run->groups, level);
    const double half = w.hi / 2 - w.lo / 2;
    m->lo = fmax(m->value - half, 0);
    m->hi = fmax(fmin(m->value + half, (double)run->k), m->value);
    m->n = run->n;
    return true;
}

static ak_measure rank_of(const ak_tensor *z, const char *who, const char *definition, bool centred,
                          double epsilon, ak_rank_options o)
{
    ak_ctx *ctx = z->ctx;
    if (ak_error(ctx) != AK_OK || !check(ctx, who, z, &o))
        return ak__no_measure();
    rank_run run = { .n = z->shape.dims[0], .d = z->shape.dims[1], .centred = centred,
                     .epsilon = epsilon, .groups = o.groups };
    run.k = ak__min(run.n, run.d);
    const size_t numbers = (size_t)z->size, square = (size_t)(run.k * run.k);
    const size_t rooms = (size_t)ak__max_threads() * room_of(&run);
    const size_t bytes = (numbers + square + rooms + (size_t)run.groups) * sizeof(double);
    double *x = ak__malloc(bytes);
    ak_measure m = { 0 };
    if (!x) {
        ak__fail_memory(ctx, bytes);
        return ak__no_measure();
    }
    scale_rows(z, centred, x);
    run.x = x;
    run.whole = x + numbers;
    run.room = run.whole + square;
    if (measure(ctx, who, &run, o.level, run.room + rooms, &m)) {
        char level[24], how[80] = "no interval";
        if (run.groups)
            ak__format(how, sizeof how, "%s jackknife of %lld groups",
                       ak__level_text(o.level, level), (long long)run.groups);
        ak__format(m.protocol, sizeof m.protocol, "%s of %lld rows of %lld: %s, %s", who,
                   (long long)run.n, (long long)run.d, definition, how);
    } else {
        m = ak__no_measure();
    }
    ak__free(x);
    return m;
}

ak_measure ak_measure_rankme(const ak_tensor *z, ak_rank_options options)
{
    if (!AK__TENSOR(NULL, z))
        return ak__no_measure();
    return rank_of(z, "RankMe", "singular values, not centred, + 1e-7", false, EPSILON, options);
}

ak_measure ak_measure_effective_rank(const ak_tensor *z, ak_rank_options options)
{
    if (!AK__TENSOR(NULL, z))
        return ak__no_measure();
    return rank_of(z, "effective rank", "singular values, centred", true, 0, options);
}
