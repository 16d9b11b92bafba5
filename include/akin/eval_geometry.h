/* SPDX-License-Identifier: Apache-2.0 */
/* akin/eval_geometry.h - the shape of an embedding: how close partners are, how evenly rows spread,
 * how many directions they use, how far two kinds of rows lie apart. No labels are needed.
 *
 *     ak_measure rank = ak_measure_rankme(z, (ak_rank_options){ 0 });
 *     printf("%.1f [%.1f, %.1f]  %s\n", rank.value, rank.lo, rank.hi, rank.protocol);
 *
 * Intervals are over rows (or pairs of partners). Every measure records its error and returns a
 * value of NaN. Rows are refused if they are not finite (AK_ERR_NUMBER, counted). The same bits for
 * any number of threads.
 *
 * N rows of D numbers; u, v are rows at unit length; a zero row stays zero.
 */
#ifndef AKIN_EVAL_GEOMETRY_H
#define AKIN_EVAL_GEOMETRY_H

#include <akin/eval_compare.h>
#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- on the sphere --------------------------------------------------------------------------- */

/* Alignment: mean_i |u_i - v_i|^2, in [0, 4]. Of 0: partners are equal.
 *
 *   shapes    z1, z2 [N, D]
 *   interval  over pairs: BCa (Wilson where all distances are 0 or 1)
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE (options), AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    Wang, Isola, "Understanding contrastive representation learning through alignment
 *             and uniformity on the hypersphere", ICML 2020
 */
AK_API ak_measure ak_measure_alignment(const ak_tensor *z1, const ak_tensor *z2,
                                       ak_bootstrap_options options);

/* Uniformity: log mean_{i<j} exp(-2 |u_i - u_j|^2). 0 when all rows are equal, lower is more even.
 *
 *   shapes    z [N, D], N >= 2
 *   level     of the interval, (0, 1); 0 = 0.95
 *   interval  jackknife over rows; infinite below 3 rows. Rows that are perfectly even have an
 *             interval that is too wide, never too narrow: no row then differs from another
 *   memory    tiles of 256 x 256 cosines a thread, never N x N
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE (level), AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    as above
 */
AK_API ak_measure ak_measure_uniformity(const ak_tensor *z, double level);

/* Modality gap: |mean_i u_i - mean_i v_i|, in [0, 2]: how far the pictures lie from their captions.
 *
 *   shapes    z1, z2 [N, D], row i of one belongs to row i of the other
 *   level     of the interval, (0, 1); 0 = 0.95
 *   interval  jackknife over pairs. A length is never below 0: where there is no gap, the value is
 *             about sqrt(mean |u - v|^2 / N), not 0
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE (level), AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    Liang et al., "Mind the gap: understanding the modality gap in multi-modal
 *             contrastive representation learning", NeurIPS 2022
 */
AK_API ak_measure ak_measure_modality_gap(const ak_tensor *z1, const ak_tensor *z2, double level);

/* ---- directions ------------------------------------------------------------------------------ */

typedef struct ak_rank_options {
    int    groups;              /* of the jackknife, [2, N]; 0 = 20, or N if that is less; AK_NONE =
                                 * no interval, one set of singular values in place of 1 + groups */
    double level;               /* of the interval, (0, 1); 0 = 0.95 */
} ak_rank_options;

/* RankMe: exp of the entropy of the singular values of z as it is, neither centred nor at unit
 * length.
 *
 *   formula   p_k = s_k / sum s + 1e-7, k = 1 .. min(N, D);  exp(-sum p_k log p_k)
 *             s_k below 1e-7 of the largest count as 0: features of 32 bits say nothing of them
 *   limits    1 where all rows are multiples of one (a constant matrix; more by 1.6e-6 a dimension,
 *             from the 1e-7), at most min(N, D); 0 for a matrix of zeros. It rises with N
 *             until N is far above D: compare equal N alone
 *   shapes    z [N, D]
 *   interval  of the figure that N other rows would give, not of that of ever more rows: value +-
 *             t times the deviation by a jackknife of groups of rows (row i is in group i mod
 *             groups). All of [0, min(N, D)] for one row
 *   cost      N D^2 / 2 and (1 + groups) 4/3 D^3 operations of 64 bits, D the smaller of N and D;
 *             D^2 numbers a thread
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE (options), AK_ERR_NUMBER, AK_ERR_MEMORY
 *   source    Garrido et al., "RankMe: assessing the downstream performance of pretrained
 *             self-supervised representations by their rank", ICML 2023
 */
AK_API ak_measure ak_measure_rankme(const ak_tensor *z, ak_rank_options options);

/* Effective rank: the same of the rows less their mean, without the 1e-7: how many directions the
 * rows vary in.
 *
 *   formula   p_k = s_k / sum s;  exp(-sum p_k log p_k), 0 log 0 = 0
 *   limits    0 where all rows are equal: they vary in no direction; at most min(N - 1, D)
 *   the rest  as ak_measure_rankme
 *   source    Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO
 *             2007
 */
AK_API ak_measure ak_measure_effective_rank(const ak_tensor *z, ak_rank_options options);

#ifdef __cplusplus
}
#endif
#endif
