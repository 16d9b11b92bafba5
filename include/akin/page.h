/* SPDX-License-Identifier: Apache-2.0 */
/* akin/page.h - embeddings on a plane. */
#ifndef AKIN_PAGE_H
#define AKIN_PAGE_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- projections ----------------------------------------------------------------------------- */

/* The directions in which rows differ most, by the eigenvectors of their covariance, in double.
 *
 *   formula  y = (x - mean) V, V the k eigenvectors of (x - mean)^T (x - mean) with the largest
 *            eigenvalues; the component of largest magnitude in each column of y is positive
 *   shapes   x [N, D] -> [N, k]
 *   k        from 1 to min(N, D), at most 2000: it is the smaller of N and D that counts
 *   share    out: [k] each direction's share of the variance (0 where all rows are equal); NULL =
 *            not wanted
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE (k; min(N, D) beyond 2000), AK_ERR_NUMBER (NaN or an
 *            infinity in x), AK_ERR_STALE, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_pca(const ak_tensor *x, int k, double *share);

typedef struct ak_tsne_options {
    double perplexity;      /* neighbours that count, > 1; 0 = 30, less where there are few rows:
                             * (N - 1) / 3 at most */
    int    iterations;      /* 0 = 750; the first 250 with attraction twelve times as strong */
    double *divergence;     /* out: [iterations] KL(P || Q) before each of them; NULL */
} ak_tsne_options;

/* A plane on which near rows stay near: t-SNE without approximation, O(N^2) a step. It starts from
 * the PCA, so there is no chance in it: same bits for any number of threads.
 *
 *   formula  P(j|i) ~ exp(-|x_i - x_j|^2 / 2 s_i^2) with s_i such that its entropy is
 *            ln(perplexity); P = (P(j|i) + P(i|j)) / 2N; Q ~ 1 / (1 + |y_i - y_j|^2);
 *            y = argmin KL(P || Q) by gradient descent with momentum and gains
 *   shapes   x [N, D] -> [N, 2]; 4 <= N <= 5000
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE (N, an option), AK_ERR_NUMBER, AK_ERR_STALE, AK_ERR_MEMORY
 *   source   van der Maaten, Hinton, "Visualizing data using t-SNE", JMLR 2008; start and step as
 *            Kobak, Berens, "The art of using t-SNE", Nature Communications 2019
 */
AK_API ak_tensor *ak_tsne(const ak_tensor *x, ak_tsne_options options);

#ifdef __cplusplus
}
#endif
#endif
