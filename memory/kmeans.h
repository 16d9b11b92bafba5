/* SPDX-License-Identifier: Apache-2.0 */
/* The passes over rows of which k-means is made (kmeans_passes.c), below its iterations (kmeans.c).
 *
 * Rows are taken as they are clustered: (x s0 - mean) s1, with powers of two s0, s1 that bring the
 * largest number near 1; or x / |x|. So distances lose no digits to a common offset, and nothing
 * overflows. A block of rows is brought into that form at a time; no copy of all rows exists. */
#ifndef AK_KMEANS_H
#define AK_KMEANS_H

#include "tensor/tensor_internal.h"

typedef struct ak__kmeans {
    ak_ctx        *ctx;
    const ak_real *x;           /* [N, D] as they were handed in */
    int64_t        N, D, K;
    bool           spherical;
    double        *mean;        /* [D] of x s0 */
    double         s0, s1;
    int32_t       *label;       /* [N] */
    double        *distance;    /* [N] squared, to the centroid of the label */
    ak_real       *c;           /* [K, D] */
    ak_real       *half;        /* [K] |c|^2 / 2 */
    int64_t       *size;        /* [K] rows of each */
    int64_t       *first;       /* [K + 1] where they begin in order */
    int32_t       *order;       /* [N] rows by label */
    double        *part;        /* [blocks of rows] */
    unsigned char *scratch;     /* a thread's, one behind the other */
    size_t         scratch_bytes;
} ak__kmeans;

#define AK__KMEANS_BLOCK ((int64_t)128)     /* rows of a task */

/* Bytes that a thread needs. */
size_t ak__kmeans_scratch(int64_t D);
/* Work out mean and scales. */
void ak__kmeans_measure(ak__kmeans *m);
/* Row i as it is clustered. */
void ak__kmeans_row(const ak__kmeans *m, int64_t i, ak_real *y);
/* Centroid j as the caller's rows are. */
void ak__kmeans_centroid(const ak__kmeans *m, int64_t j, ak_real *y);
/* The nearest centroid of n rows, and the distance to it: rows[i], or row i where rows is NULL. */
void ak__kmeans_assign(ak__kmeans *m, const int32_t *rows, int64_t n);
/* distance = min(distance, |x - c_j|^2); the sum of all distances. */
double ak__kmeans_nearer(ak__kmeans *m, int64_t j);
/* Sizes and the sum of distances of rows [0, n) by label. */
double ak__kmeans_count(ak__kmeans *m, int64_t n);
/* Give each empty cluster the row farthest from its centroid, of those with others. Returns how
 * many there were; sizes and distances follow. */
int64_t ak__kmeans_repair(ak__kmeans *m);
/* Centroids become means of their rows; `seen` NULL, or [K] rows that each was made of before,
 * which keep their weight. Rows as in assign. */
void ak__kmeans_update(ak__kmeans *m, const int32_t *rows, int64_t n, int64_t *seen);

#endif
