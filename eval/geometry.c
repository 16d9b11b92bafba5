/* SPDX-License-Identifier: Apache-2.0 */
/* Alignment, uniformity and modality gap with their intervals. */
#include <math.h>
#include <string.h>

#include <akin/eval_geometry.h>

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "eval/eval.h"
#include "eval/resample.h"
#include "tensor/gemm.h"
#include "tensor/tensor_internal.h"

#define BLOCK 256

static bool check_level(ak_ctx *ctx, const char *who, double *level)
{
    *level = *level != 0 ? *level : AK__DEFAULT_LEVEL;
    if (*level > 0 && *level < 1)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: level %g; expected one in (0, 1)", who, *level);
    return false;
}

/* ---- partners -------------------------------------------------------------------------------- */

/* Rows of both, ready for cosines. False: an error is recorded, nothing to free. */
static bool partners(const char *who, const ak_tensor *z1, const ak_tensor *z2,
                     ak__cosine_rows_of rows[2])
{
    ak_ctx *ctx = z1->ctx;
    if (z1->shape.n != 2 || !ak_shape_equal(z1->shape, z2->shape) || z1->size == 0) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "%s: z1 %s, z2 %s; expected [N, D] twice", who,
                ak_shape_text(z1->shape, a), ak_shape_text(z2->shape, b));
        return false;
    }
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1];
    if (!ak__rows_finite(ctx, who, "row of z1", z1->data, n, d) ||
        !ak__rows_finite(ctx, who, "row of z2", z2->data, n, d) ||
        !ak__cosine_rows(ctx, z1->data, n, d, &rows[0]))
        return false;
    if (ak__cosine_rows(ctx, z2->data, n, d, &rows[1]))
        return true;
    ak__cosine_rows_free(&rows[0]);
    return false;
}

/* u - v of pair i into out [d]. */
static void unit_difference(const ak__cosine_rows_of rows[2], int64_t i, int64_t d, double *out)
{
    const double a = (double)rows[0].inverse[i], b = (double)rows[1].inverse[i];
    for (int64_t j = 0; j < d; j++)
        out[j] = (double)rows[0].x[i * d + j] * a - (double)rows[1].x[i * d + j] * b;
}

static double squared_length(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++)
        sum += x[j] * x[j];
    return sum;
}

ak_measure ak_measure_alignment(const ak_tensor *z1, const ak_tensor *z2,
                                ak_bootstrap_options options)
{
    ak_bootstrap_options o = options;
    ak__cosine_rows_of rows[2];
    ak_measure m = ak__no_measure();
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2) || ak_error(z1->ctx) != AK_OK ||
        !partners("alignment", z1, z2, rows))
        return m;
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1];
    const size_t bytes = (size_t)(n + d) * sizeof(double);
    double *distance = ak__malloc(bytes), *difference = distance ? distance + n : NULL;
    if (!distance)
        ak__fail_memory(z1->ctx, bytes);
    for (int64_t i = 0; distance && i < n; i++) {
        unit_difference(rows, i, d, difference);
        distance[i] = squared_length(difference, d);
    }
    ak__way way;
    ak_measure found;
    if (distance && ak__bootstrap_options(z1->ctx, "alignment", n, AK__MEASURE_RESAMPLES, &o) &&
        ak__means(z1->ctx, distance, 1, n, o, &found, &way)) {
        char how[80];
        m = found;
        ak__format(m.protocol, sizeof m.protocol, "alignment of %lld pairs, unit rows, %s",
                   (long long)n, ak__way_text(way, o, how));
    }
    ak__free(distance);
    ak__cosine_rows_free(&rows[1]);
    ak__cosine_rows_free(&rows[0]);
    return m;
}

ak_measure ak_measure_modality_gap(const ak_tensor *z1, const ak_tensor *z2, double level)
{
    ak__cosine_rows_of rows[2];
    ak_measure m = ak__no_measure();
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2) || ak_error(z1->ctx) != AK_OK ||
        !check_level(z1->ctx, "modality gap", &level) || !partners("modality gap", z1, z2, rows))
        return m;
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1];
    const size_t bytes = (size_t)(n + 2 * d) * sizeof(double);
    double *without = ak__malloc(bytes);
    if (without) {
        double *sum = without + n, *one = sum + d;
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int64_t i = 0; i < n; i++) {
            unit_difference(rows, i, d, one);
            for (int64_t j = 0; j < d; j++)
                sum[j] += one[j];
        }
        for (int64_t i = 0; i < n; i++) {
            unit_difference(rows, i, d, one);
            for (int64_t j = 0; j < d; j++)
                one[j] = sum[j] - one[j];
            without[i] = sqrt(squared_length(one, d)) / (double)(n - 1);
        }
        char text[24];
        m.value = sqrt(squared_length(sum, d)) / (double)n;
        const ak_interval w = ak__jackknife(m.value, without, n, level);
        m.lo = fmax(w.lo, 0);
        m.hi = fmin(w.hi, 2);
        m.n = n;
        ak__format(m.protocol, sizeof m.protocol, "modality gap of %lld pairs, distance of the "
                   "means of unit rows, %s jackknife", (long long)n, ak__level_text(level, text));
    } else {
        ak__fail_memory(z1->ctx, bytes);
    }
    ak__free(without);
    ak__cosine_rows_free(&rows[1]);
    ak__cosine_rows_free(&rows[0]);
    return m;
}

/* ---- uniformity ------------------------------------------------------------------------------ */

/* sum[i] = sum_{j != i} exp(-2 |u_i - u_j|^2) = exp(4 cos - 4) for rows [begin, end). */
static void row_sums(const ak__cosine_rows_of *rows, int64_t n, int64_t d, int64_t begin,
                     int64_t end, ak_real *tile, double *sum)
{
    memset(sum + begin, 0, (size_t)(end - begin) * sizeof *sum);
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = ak__min(BLOCK, n - at);
        ak__gemm(AK__NT, end - begin, count, d, 1, rows->x + begin * d, d, rows->x + at * d, d, 0,
                 tile, BLOCK, NULL);
        for (int64_t i = begin; i < end; i++)
            for (int64_t j = 0; j < count; j++) {
                const double c = (double)(tile[(i - begin) * BLOCK + j] * rows->inverse[i] *
                                          rows->inverse[at + j]);
                sum[i] += at + j == i ? 0 : exp(4 * (c - 1));
            }
    }
}

static void summarise_uniformity(const double *sum, int64_t n, double level, double *without,
                                 ak_measure *m)
{
    const double rows = (double)n;
    double all = 0;
    char text[24];
    for (int64_t i = 0; i < n; i++)
        all += sum[i];                          /* each pair twice */
    for (int64_t i = 0; i < n; i++)
        without[i] = log((all - 2 * sum[i]) / ((rows - 1) * (rows - 2)));
    m->value = log(all / (rows * (rows - 1)));
    const ak_interval w = n > 2 ? ak__jackknife(m->value, without, n, level)
                                : (ak_interval){ -(double)INFINITY, 0 };
    m->lo = w.lo;
    m->hi = fmin(w.hi, 0);
    m->n = n;
    ak__format(m->protocol, sizeof m->protocol, "uniformity of %lld rows, all pairs, t = 2, %s "
               "jackknife", (long long)n, ak__level_text(level, text));
}

ak_measure ak_measure_uniformity(const ak_tensor *z, double level)
{
    ak_measure m = ak__no_measure();
    if (!AK__TENSOR(NULL, z) || ak_error(z->ctx) != AK_OK ||
        !check_level(z->ctx, "uniformity", &level))
        return m;
    if (z->shape.n != 2 || z->shape.dims[0] < 2 || z->size == 0) {
        char text[AK_SHAPE_TEXT];
        ak_fail(z->ctx, AK_ERR_SHAPE, "uniformity: z %s; expected [N, D] with N >= 2",
                ak_shape_text(z->shape, text));
        return m;
    }
    const int64_t n = z->shape.dims[0], d = z->shape.dims[1], blocks = ak__chunk_count(n, BLOCK);
    const size_t sums = 2 * (size_t)n * sizeof(double);
    const size_t tiles = (size_t)ak__max_threads() * BLOCK * BLOCK * sizeof(ak_real);
    ak__cosine_rows_of rows;
    if (!ak__rows_finite(z->ctx, "uniformity", "row", z->data, n, d) ||
        !ak__cosine_rows(z->ctx, z->data, n, d, &rows))
        return m;
    double  *sum = ak__malloc(sums);
    ak_real *tile = ak__malloc(tiles);
    if (sum && tile) {
        AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1)
            row_sums(&rows, n, d, b * BLOCK, ak__min((b + 1) * BLOCK, n),
                     tile + (size_t)ak__thread_id() * BLOCK * BLOCK, sum);
        summarise_uniformity(sum, n, level, sum + n, &m);
    } else {
        ak__fail_memory(z->ctx, sums + tiles);
    }
    ak__free(tile);
    ak__free(sum);
    ak__cosine_rows_free(&rows);
    return m;
}
