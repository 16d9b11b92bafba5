/* SPDX-License-Identifier: Apache-2.0 */
/* akin/page.h - a run as one page to look at; embeddings on a plane.
 *
 *     ak_page_embedding(ctx, ak_run_folder(run), (ak_page_rows){      // at the end of a run
 *         .features = z, .labels = labels, .pictures = x, .classes = names });
 *     const ak_page *page = ak_page_write(ctx, ak_run_folder(run), (ak_page_options){ 0 });
 *     printf("%s, %lld bytes\n", page->path, (long long)page->bytes);
 *
 * The command is `akin report FOLDER`. docs/REPORT.md shows what is on the page and what the files
 * of a folder are.
 */
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

/* ---- embeddings of a run --------------------------------------------------------------------- */

typedef struct ak_page_rows {
    const ak_tensor *features;      /* [N, D] */
    const ak_index  *labels;        /* [N] class numbers from 0 on, -1 = unknown; NULL = none */
    const ak_tensor *pictures;      /* [N, H, W, C], 1 or 3 channels; NULL = none */
    double           lo, hi;        /* what is black and white in them; both 0 = 0 and 1 */
    const char *const *classes;     /* names of the classes, ended by NULL; NULL = numbers */
    const char *const *captions;    /* [N] a text of each row; NULL = none */
    const char        *what;        /* which rows and which encoder; NULL = nothing */
} ak_page_rows;

/* Write FOLDER/embedding.npz (features f4 [N, D]; label i4 [N]; picture u1 [N, H, W, C]) and
 * FOLDER/embedding.json {"what", "classes": [..], "captions": [..]}, for ak_page_write.
 *
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE, AK_ERR_STALE, AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE while
 *            an error is pending
 */
AK_API ak_status ak_page_embedding(ak_ctx *ctx, const char *folder, ak_page_rows rows);

/* ---- the page -------------------------------------------------------------------------------- */

typedef struct ak_page_options {
    const char *path;       /* NULL = FOLDER/report.html */
    int         points;     /* of the map, at most 5000; 0 = 2000 */
    double      perplexity; /* of t-SNE; 0 = 30 */
} ak_page_options;

/* A page that was written; in context lifetime. */
typedef struct ak_page {
    const char *path;
    int64_t     bytes;
    const char *const *notes;   /* what was left out, or could not be read; ended by NULL. They
                                 * stand on the page as well */
} ak_page;

/* The most bytes that a page has. */
#define AK_PAGE_BYTES 5000000

/* Write one HTML file that shows a folder: metrics.jsonl of it and of folders in it as curves,
 * study.jsonl as tables with intervals, the embedding as map and as neighbours good and bad. It
 * needs no network and no other file. A line that is no JSON object is left out and noted; so are
 * rows of the embedding that are not finite.
 *
 *   returns  context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND (no folder, or none of these files in it), AK_ERR_VALUE (an option;
 *            a page of more than AK_PAGE_BYTES), AK_ERR_FORMAT (a damaged embedding; arrays that do
 *            not fit together), AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE while an error is pending
 */
AK_API const ak_page *ak_page_write(ak_ctx *ctx, const char *folder, ak_page_options options);

#ifdef __cplusplus
}
#endif
#endif
