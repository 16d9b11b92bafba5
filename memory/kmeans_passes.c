/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over rows: bring a block into the form that is clustered, score it against tiles of
 * centroids, sum it up. Work is cut by sizes alone and sums go by row number, so the bits do not
 * depend on the number of threads. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/real.h"
#include "memory/kmeans.h"
#include "memory/rows.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"

#define BLOCK AK__KMEANS_BLOCK
#define TILE ((int64_t)512)         /* centroids scored at a time */

/* ---- rows as they are clustered -------------------------------------------------------------- */

/* The power of two that brings x to [0.5, 1); 1 for 0. */
static double scale_for(double x)
{
    int exponent;
    frexp(x, &exponent);
    return x > 0 ? ldexp(1, exponent < -1000 ? 1000 : -exponent) : 1;
}

void ak__kmeans_measure(ak__kmeans *m)
{
    double top = 0;
    for (int64_t i = 0; i < m->N * m->D; i++)
        top = fmax(top, fabs((double)m->x[i]));
    m->s0 = scale_for(top);
    m->s1 = 1;
    memset(m->mean, 0, (size_t)m->D * sizeof *m->mean);
    if (m->spherical)
        return;
    for (int64_t i = 0; i < m->N; i++)
        for (int64_t d = 0; d < m->D; d++)
            m->mean[d] += (double)m->x[i * m->D + d] * m->s0;
    for (int64_t d = 0; d < m->D; d++)
        m->mean[d] /= (double)m->N;
    top = 0;
    for (int64_t i = 0; i < m->N; i++)
        for (int64_t d = 0; d < m->D; d++)
            top = fmax(top, fabs((double)m->x[i * m->D + d] * m->s0 - m->mean[d]));
    m->s1 = scale_for(top);
}

void ak__kmeans_row(const ak__kmeans *m, int64_t i, ak_real *y)
{
    const ak_real *x = m->x + i * m->D;
    if (m->spherical) {
        ak__row_unit(y, x, m->D);
        return;
    }
    for (int64_t d = 0; d < m->D; d++)
        y[d] = (ak_real)(((double)x[d] * m->s0 - m->mean[d]) * m->s1);
}

void ak__kmeans_centroid(const ak__kmeans *m, int64_t j, ak_real *y)
{
    const ak_real *c = m->c + j * m->D;
    for (int64_t d = 0; d < m->D; d++)
        y[d] = m->spherical ? c[d] : (ak_real)(((double)c[d] / m->s1 + m->mean[d]) / m->s0);
}

/* ---- a thread's room ------------------------------------------------------------------------- */

typedef struct room {
    ak_real *rows;              /* [BLOCK, D] */
    ak_real *score;             /* [BLOCK, TILE] */
    ak_real *difference;        /* [D] */
    double  *sum;               /* [D] */
} room;

size_t ak__kmeans_scratch(int64_t D)
{
    const size_t row = (size_t)D * sizeof(ak_real);
    return ak__round_up((size_t)D * sizeof(double)) + ak__round_up((size_t)BLOCK * row) +
           ak__round_up((size_t)(BLOCK * TILE) * sizeof(ak_real)) + ak__round_up(row);
}

static room room_of(const ak__kmeans *m)
{
    unsigned char *at = m->scratch + (size_t)ak__thread_id() * m->scratch_bytes;
    room r = { .sum = (double *)(void *)at };
    at += ak__round_up((size_t)m->D * sizeof(double));
    r.rows = (ak_real *)(void *)at;
    at += ak__round_up((size_t)(BLOCK * m->D) * sizeof(ak_real));
    r.score = (ak_real *)(void *)at;
    at += ak__round_up((size_t)(BLOCK * TILE) * sizeof(ak_real));
    r.difference = (ak_real *)(void *)at;
    return r;
}

static double squared_distance(const ak_real *a, const ak_real *b, int64_t d, ak_real *difference)
{
    ak__k.sub(difference, a, b, d);
    return (double)ak__k.sum_squares(difference, d);
}

/* ---- assigning ------------------------------------------------------------------------------- */

/* argmin |x - c|^2 = argmax <x, c> - |c|^2 / 2. */
static void assign_block(ak__kmeans *m, const int32_t *rows, int64_t begin, int64_t end, room r)
{
    const int64_t D = m->D;
    ak_real best[BLOCK];
    for (int64_t i = begin; i < end; i++) {
        ak__kmeans_row(m, rows ? rows[i] : i, r.rows + (i - begin) * D);
        m->label[i] = -1;
    }
    for (int64_t at = 0; at < m->K; at += TILE) {
        const int64_t count = ak__min(TILE, m->K - at);
        ak__gemm(AK__NT, end - begin, count, D, 1, r.rows, D, m->c + at * D, D, 0, r.score, TILE,
                 NULL);
        for (int64_t i = begin; i < end; i++) {
            const ak_real *score = r.score + (i - begin) * TILE;
            for (int64_t j = 0; j < count; j++) {
                const ak_real s = score[j] - m->half[at + j];
                if (m->label[i] == -1 || s > best[i - begin]) {
                    best[i - begin] = s;
                    m->label[i] = (int32_t)(at + j);
                }
            }
        }
    }
    for (int64_t i = begin; i < end; i++)
        m->distance[i] = squared_distance(r.rows + (i - begin) * D, m->c + m->label[i] * D, D,
                                          r.difference);
}

void ak__kmeans_assign(ak__kmeans *m, const int32_t *rows, int64_t n)
{
    for (int64_t j = 0; j < m->K; j++)
        m->half[j] = ak__k.sum_squares(m->c + j * m->D, m->D) / 2;
    const int64_t blocks = ak__chunk_count(n, BLOCK);
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1)
        assign_block(m, rows, b * BLOCK, ak__min(n, (b + 1) * BLOCK), room_of(m));
}

double ak__kmeans_nearer(ak__kmeans *m, int64_t j)
{
    const ak_real *c = m->c + j * m->D;
    const int64_t blocks = ak__chunk_count(m->N, BLOCK);
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1) {
        const room r = room_of(m);
        double sum = 0;
        for (int64_t i = b * BLOCK; i < ak__min(m->N, (b + 1) * BLOCK); i++) {
            ak__kmeans_row(m, i, r.rows);
            const double d = squared_distance(r.rows, c, m->D, r.difference);
            m->distance[i] = fmin(m->distance[i], d);
            sum += m->distance[i];
        }
        m->part[b] = sum;
    }
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++)
        sum += m->part[b];
    return sum;
}

/* ---- clusters -------------------------------------------------------------------------------- */

double ak__kmeans_count(ak__kmeans *m, int64_t n)
{
    double inertia = 0;
    memset(m->size, 0, (size_t)m->K * sizeof *m->size);
    for (int64_t i = 0; i < n; i++) {
        m->size[m->label[i]]++;
        inertia += m->distance[i];
    }
    return inertia;
}

int64_t ak__kmeans_repair(ak__kmeans *m)
{
    int64_t empty = 0;
    for (int64_t j = 0; j < m->K; j++) {
        if (m->size[j])
            continue;
        int64_t far = -1;       /* there is one: N >= K rows, and a cluster without any */
        for (int64_t i = 0; i < m->N; i++)
            if (m->size[m->label[i]] > 1 && (far < 0 || m->distance[i] > m->distance[far]))
                far = i;
        m->size[m->label[far]]--;
        m->size[j] = 1;
        m->label[far] = (int32_t)j;
        m->distance[far] = 0;
        ak__kmeans_row(m, far, m->c + j * m->D);
        empty++;
    }
    return empty;
}

/* Places [0, n) by label: a counting sort, which keeps their order. */
static void sort_by_label(ak__kmeans *m, int64_t n)
{
    int64_t at = 0;
    for (int64_t j = 0; j < m->K; j++) {
        m->first[j] = at;
        at += m->size[j];
    }
    for (int64_t i = 0; i < n; i++)
        m->order[m->first[m->label[i]]++] = (int32_t)i;
    m->first[m->K] = n;
    for (int64_t j = m->K - 1; j >= 0; j--)
        m->first[j] = j ? m->first[j - 1] : 0;
}

static void update_one(ak__kmeans *m, const int32_t *rows, int64_t j, int64_t *seen, room r)
{
    ak_real *c = m->c + j * m->D;
    const int64_t before = seen ? seen[j] : 0;
    if (!m->size[j])
        return;
    for (int64_t d = 0; d < m->D; d++)
        r.sum[d] = before ? (double)c[d] * (double)before : 0;
    for (int64_t i = m->first[j]; i < m->first[j + 1]; i++) {
        ak__kmeans_row(m, rows ? rows[m->order[i]] : m->order[i], r.rows);
        for (int64_t d = 0; d < m->D; d++)
            r.sum[d] += (double)r.rows[d];
    }
    const int64_t count = before + m->size[j];
    double square = 0;
    for (int64_t d = 0; d < m->D; d++) {
        r.sum[d] /= (double)count;
        square += r.sum[d] * r.sum[d];
    }
    if (seen)
        seen[j] = count;
    if (m->spherical && !(square > 0))
        return;                     /* directions that cancel out: any centroid is as good */
    const double factor = m->spherical ? 1 / sqrt(square) : 1;
    for (int64_t d = 0; d < m->D; d++)
        c[d] = (ak_real)(r.sum[d] * factor);
}

void ak__kmeans_update(ak__kmeans *m, const int32_t *rows, int64_t n, int64_t *seen)
{
    sort_by_label(m, n);
    AK__PARALLEL_FOR_DYNAMIC(j, m->K, n * m->D > 65536)
        update_one(m, rows, j, seen, room_of(m));
}
