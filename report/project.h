/* SPDX-License-Identifier: Apache-2.0 */
/* Projections of rows, in double. Memory comes from ak__malloc and is gone when they return; errors
 * are recorded. */
#ifndef AK_REPORT_PROJECT_H
#define AK_REPORT_PROJECT_H

#include <akin/page.h>

#define AK__PCA_MOST 2000       /* of min(n, d): an n x n problem takes O(n^3) */
#define AK__TSNE_MOST 5000      /* rows: their P has n^2 numbers */

/* Eigenvalues, largest first, of a symmetric matrix a [n, n], which becomes the eigenvectors, one a
 * row. room [2n]. False: it did not converge. */
bool ak__eigen(double *a, int64_t n, double *values, double *room);
/* y [n, k], share [k] or NULL; x [n, d] is centred in place. */
bool ak__pca(ak_ctx *ctx, double *x, int64_t n, int64_t d, int k, double *y, double *share);
/* y [n, 2]; x [n, d] is centred in place. */
bool ak__tsne(ak_ctx *ctx, double *x, int64_t n, int64_t d, ak_tsne_options options, double *y);

#endif
