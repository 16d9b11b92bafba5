/* SPDX-License-Identifier: Apache-2.0 */
/* akin/losses.h - contrastive losses: embeddings in, one number out.
 *
 * The one idea: an anchor has to pick its partner out of a set of candidates. Score every candidate
 * by its cosine with the anchor over a temperature, and take the cross entropy of the softmax over
 * the scores. The losses differ in who the anchors, candidates and partners are:
 *
 *     ak_loss_ntxent    SimCLR: anchors and candidates are all views of all samples
 *     ak_loss_infonce   anchors q, candidates k (and a queue); one direction only
 *     ak_loss_clip      the same for two modalities, in both directions
 *     ak_loss_supcon    partners are all rows with the same label
 *     ak_loss_dcl       NT-Xent without the partner among the candidates
 *     ak_loss_siglip    no choice among candidates: is this pair one, yes or no?
 *     ak_loss_alignment, ak_loss_uniformity: partners lie together, all others apart
 *
 * A training step:
 *
 *     ak_loss_report r;
 *     ak_tensor *z1 = ak_forward(net, view1), *z2 = ak_forward(net, view2);       // [N, D] each
 *     ak_tensor *loss = ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2, .report = &r });
 *     ak_backward(loss);
 *     printf("loss %.3f (chance %.3f), %.1f %% of the partners found\n", r.loss, r.chance,
 *            100 * r.accuracy);
 *     ak_step_end(ctx);
 *
 * Embeddings are raw: each row is divided by its length inside, x / max(|x|, 1e-12), unless
 * .normalized says not to. Scores are made in tiles that fit the cache: time is that of the matrix
 * products, and memory grows with N, not with N^2. What fits into ak_options.score_memory stays for
 * backward (160 MiB, about 6400 anchors; a fifth to a quarter of the time), beyond it scores are
 * made again, with the same bits. Any temperature works (0.005 too): e^(1/tau) is never formed.
 *
 * A loss of one's own is a composition of ops, and needs no backward. This is the decoupled
 * contrastive loss as it could be written outside the library:
 *
 *     ak_tensor *dcl(ak_tensor *z1, ak_tensor *z2, double tau)
 *     {
 *         ak_tensor *z   = ak_l2_normalize(ak_concat(0, z1, z2));             // [2N, D]
 *         ak_tensor *s   = ak_scale(ak_matmul_nt(z, z), 1 / tau);             // [2N, 2N]
 *         ak_tensor *pos = ak_pair_diagonal(s);                               // [2N]
 *         ak_tensor *neg = ak_logsumexp(ak_mask(s, AK_MASK_SELF | AK_MASK_PAIR), 1);
 *         return ak_mean(ak_sub(neg, pos));
 *     }
 *
 * ak_gradcheck_fn (akin/autograd.h) proves it, ak_eval_contrastive(z1, z2) (akin/eval.h) is the
 * accuracy that goes with it, and akin/op.h is for a loss with a backward of its own.
 *
 * The losses here are such compositions too: ak_loss_*_composed is the specification of each, made
 * of ops alone and with the whole score matrix in memory; tests hold both forms equal.
 *
 * Rows may be of any length that a number can have, 1e30 too: only their direction counts. A row of
 * zeros has score 0 with everything, and the gradient of x / 1e-12. A label or id is any number
 * from 0 on; labels of -1 are unknown and never a class, ids of -1 are padding, and what is below
 * is refused. A loss that can not be negative is not, and an anchor with no candidate but its
 * partner costs exactly 0.
 *
 * Common rules. Options go by value; zero means the default. All results belong to the step and are
 * scalars. Gradients flow to all embeddings and to a learned scale; targets, weights, queue and ids
 * are constants. Errors: AK_ERR_SHAPE for embeddings that do not fit, AK_ERR_VALUE for a
 * temperature below 0 (0 is the default), a temperature or a learned log scale whose scale, 1/tau
 * or e^s, is no normal number (s beyond 88.7 or NaN), labels or ids below -1, a batch of 1, weights
 * that are negative or not finite, targets that are not finite, or targets or weights that need a
 * gradient (ak_detach them). A queue never gets one, by definition;
 * the keys k of ak_loss_infonce are embeddings and do: for MoCo freeze their encoder or pass
 * ak_detach(k).
 */
#ifndef AKIN_LOSSES_H
#define AKIN_LOSSES_H

#include <akin/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a loss knows beside its value; filled when the loss is computed, if .report points to it. */
typedef struct ak_loss_report {
    double  loss;
    double  chance;     /* the loss of embeddings that are all alike: mean log(candidates), so
                         * ln(2N-1) for NT-Xent, ln N for CLIP. Untrained nets are near it. */
    double  accuracy;   /* contrastive accuracy: share of the anchors for whom a partner has the
                         * largest score. A tie with a non-partner counts as wrong. With a matrix of
                         * targets the partners are those of largest target. */
    double  tau;        /* temperature in use, 1 / scale */
    double  scale;
    int64_t anchors;    /* in the mean (both directions counted) */
    int64_t lonely;     /* of them without a partner: they add 0. Those of unknown label are not
                         * in the mean at all */
    double  masked;     /* share of the candidates that ids took away (duplicates) */
} ak_loss_report;

/* ---- NT-Xent (SimCLR) ------------------------------------------------------------------------ */

typedef struct ak_ntxent_options {
    double     tau;             /* temperature, (0, inf); 0 = 0.5 */
    ak_tensor *log_scale;       /* learned instead: one number s, scale = e^s (ak_temperature) */
    bool       normalized;      /* rows are of unit length already: skip the division */
    double     label_smoothing; /* share of the target spread over all candidates, [0, 1); 0 */
    ak_index  *ids;             /* [N]: samples with an equal id are no candidates of one another
                                 * (duplicates); id -1 is padding: neither anchor nor candidate */
    ak_tensor *weights;         /* [N] >= 0: of each sample as anchor; the mean is weighted */
    bool       pair_sum;        /* views only: sum of the two-view loss over all ordered pairs of
                                 * views, instead of the mean over the V-1 partners */
    ak_loss_report *report;     /* filled if not NULL (costs one more pass over the scores) */
} ak_ntxent_options;

/* Two views of the same samples must recognise each other.
 *
 *   u = unit([z1; z2]), p(i) = (i + N) mod 2N, s_ij = <u_i, u_j> / tau
 *   L = 1/(2N) sum_i [ log sum_{j != i} exp(s_ij) - s_{i,p(i)} ]
 *   z1, z2   [N, D], N >= 2
 *   grad     dL/ds_ij = (softmax_{j != i}(s_i)_j - [j = p(i)]) / (2N), to both views
 *   source   Chen et al., "A simple framework for contrastive learning of visual representations",
 *            ICML 2020
 *
 * Worked example: z1 = z2 = [1 0; 0 1], tau = 1. Each of the 4 anchors has one candidate with
 * score 1 (its partner) and two with 0: L = log(e + 1 + 1) - 1 = 0.551445; chance is ln 3.
 */
AK_API ak_tensor *ak_loss_ntxent(ak_tensor *z1, ak_tensor *z2, ak_ntxent_options o);
AK_API ak_tensor *ak_loss_ntxent_composed(ak_tensor *z1, ak_tensor *z2, ak_ntxent_options o);
/* V views: each of the V N rows has the V-1 other views of its sample as partners.
 *
 *   L = 1/(VN) sum_i [ log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip ]
 *   z        [V, N, D], V in [2, 64], N >= 2
 *   pair_sum L = sum_{v != w} ntxent(z_v, z_w): V (V-1) terms, so twice ntxent for V = 2
 */
AK_API ak_tensor *ak_loss_ntxent_views(ak_tensor *z, ak_ntxent_options o);
AK_API ak_tensor *ak_loss_ntxent_views_composed(ak_tensor *z, ak_ntxent_options o);
/* The same from V tensors [N, D], V in [2, 64]. errors: AK_ERR_SHAPE for another V */
AK_API ak_tensor *ak_loss_ntxent_list(ak_tensor *const *z, int V, ak_ntxent_options o);

/* ---- InfoNCE --------------------------------------------------------------------------------- */

typedef struct ak_infonce_options {
    double     tau;             /* temperature, (0, inf); 0 = 0.07 */
    ak_tensor *log_scale;       /* learned instead: one number s, scale = e^s (ak_temperature) */
    bool       normalized;      /* rows (of the queue too) are of unit length already */
    double     label_smoothing; /* share of the target spread over all candidates, [0, 1); 0 */
    ak_index  *ids;             /* [N]: as in ak_ntxent_options */
    ak_tensor *weights;         /* [N] >= 0: of each sample as anchor; the mean is weighted */
    ak_tensor *queue;           /* [K, D]: more candidates (infonce only); gradients stop at it,
                                 * also if it could take one */
    bool       no_batch_negatives;  /* candidates are the partner and the queue (MoCo) */
    /* Targets; default: row i's partner is row i of k. At most one of: */
    ak_index  *labels;          /* [N]: all k with q's label, in equal shares; -1 is unknown: q's
                                 * own key alone */
    ak_tensor *targets;         /* [N, M + K]: weight of each candidate, taken as it is */
    ak_index  *target_columns;  /* [N, c]: c candidates a row, with */
    ak_tensor *target_weights;  /* [N, c]: these weights; NULL = 1/c each */
    ak_tensor *pair_weights;    /* [N, M + K] >= 0: of each candidate in the sum of exponentials;
                                 * 0 = no candidate */
    ak_loss_report *report;     /* filled if not NULL (costs one more pass over the scores) */
} ak_infonce_options;

/* Queries find their keys: one direction.
 *
 *   s_ij = <unit(q_i), unit(c_j)> / tau,  c = [k; queue]
 *   L = 1/N sum_i [ log sum_j exp(s_ij) - s_ii ]
 *   in general, with targets t, pair weights v and T_i = sum_j t_ij:
 *   L = sum_i w_i [ T_i log sum_j v_ij exp(s_ij) - sum_j t_ij s_ij ] / sum_i w_i
 *   q        [N, D]
 *   k        [N, D]; [M, D] if targets or target_columns are given
 *   grad     dL/ds_ij = w_i (T_i p_ij - t_ij) / sum w, to q, k and log_scale
 *   source   van den Oord et al., "Representation learning with contrastive predictive coding",
 *            2018; with a queue: He et al., "Momentum contrast", CVPR 2020
 *
 * Worked example: q = identity [3, 3], k = [2 0 0; 0 1 0; 1 0 3], tau = 1, normalized: the scores
 * are s = [2 0 1; 0 1 0; 0 0 3], rows cost 0.407606, 0.551445, 0.094923: L = 0.351325.
 */
AK_API ak_tensor *ak_loss_infonce(ak_tensor *q, ak_tensor *k, ak_infonce_options o);
AK_API ak_tensor *ak_loss_infonce_composed(ak_tensor *q, ak_tensor *k, ak_infonce_options o);

/* ---- CLIP ------------------------------------------------------------------------------------ */

/* Two modalities find each other, in both directions.
 *
 *   s_ij = e^log_scale <unit(image_i), unit(text_j)>
 *   L = ( 1/N sum_i [log sum_j exp(s_ij) - s_ii] + 1/N sum_j [log sum_i exp(s_ij) - s_jj] ) / 2
 *   image, text   [N, D] (text [M, D] with targets); N = 1 gives 0 and a warning
 *   log_scale     one number (ak_temperature); NULL = the fixed o.tau. o.log_scale, o.queue and
 *                 o.no_batch_negatives are not for this loss
 *   targets       columns as anchors use the columns of the same targets. labels give equal
 *                 captions equal shares; ids leave equal captions out instead
 *   grad          dS = (P + Q - 2 I) / (2N), P and Q softmax of rows and columns;
 *                 d log_scale = sum dS S. The clamp of the scale is not part of the loss: call
 *                 ak_temperature_clamp after each optimiser step
 *   source        Radford et al., "Learning transferable visual models from natural language
 *                 supervision", ICML 2021
 *
 * Worked example: the scores of ak_loss_infonce: columns cost 0.239544, 0.551445, 0.169846,
 * together 0.320278; L = (0.351325 + 0.320278) / 2 = 0.335802.
 */
AK_API ak_tensor *ak_loss_clip(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                               ak_infonce_options o);
AK_API ak_tensor *ak_loss_clip_composed(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                        ak_infonce_options o);

/* ---- SupCon ---------------------------------------------------------------------------------- */

typedef struct ak_supcon_options {
    double     tau;             /* temperature, (0, inf); 0 = 0.1 */
    double     base_tau;        /* the loss is multiplied by tau / base_tau; 0 = tau (factor 1). The
                                 * authors' code has 0.07 */
    bool       one;             /* anchors are the first views only; candidates all */
    bool       normalized;      /* rows are of unit length already: skip the division */
    ak_tensor *positives;       /* [N, N] >= 0, instead of labels: weight of sample j as partner of
                                 * anchor i; the mean over partners is weighted by it */
    ak_index  *ids;             /* [N]: as in ak_ntxent_options */
    ak_tensor *weights;         /* [N] >= 0: of each sample as anchor; the mean is weighted */
    ak_loss_report *report;     /* filled if not NULL (costs one more pass over the scores) */
} ak_supcon_options;

/* Rows of the same class find each other (the form with the mean outside the logarithm).
 *
 *   f = unit(z), all V N rows; A(i) = all rows but i; P(i) = those of A(i) with the same label
 *   L_i = 1/|P(i)| sum_{p in P(i)} [ log sum_{a in A(i)} exp(s_ia) - s_ip ],  s = <f, f> / tau
 *   L = tau / base_tau * mean over anchors of L_i
 *   z        [V, N, D], view by view as in a batch (ak_reshape(z, AK_SHAPE(b.views, b.size, D)) of
 *            the rows of b.all), V N >= 2; [N, D] is one view
 *   labels   [N], any numbers from 0 on; NULL = each sample is its own class (then V >= 2).
 *            -1 is unknown: P(i) are the other views of the sample; if there are none (V = 1) the
 *            row is a candidate of others, but no anchor and not in the mean
 *   grad     to z. An anchor of known label with empty P(i) adds 0 but counts in the mean;
 *            report->lonely
 *   source   Khosla et al., "Supervised contrastive learning", NeurIPS 2020
 *
 * Worked example: z = [1 0; 1 0; 0 1], labels 0 0 1, tau = 1. Rows 0 and 1 score each other 1 and
 * row 2 with 0: log(e + 1) - 1 = 0.313262 each; row 2 is lonely: L = 2/3 * 0.313262 = 0.208841.
 */
AK_API ak_tensor *ak_loss_supcon(ak_tensor *z, ak_index *labels, ak_supcon_options o);
AK_API ak_tensor *ak_loss_supcon_composed(ak_tensor *z, ak_index *labels, ak_supcon_options o);

/* ---- temperature ----------------------------------------------------------------------------- */

/* A learned temperature: the parameter s = log(1 / tau), shape [1], without weight decay.
 *
 *   name     of the parameter;  tau: start, (0, inf), with an inverse; 0 = 0.07
 *   returns  context lifetime; for .log_scale and ak_loss_clip
 *   errors   AK_ERR_VALUE for tau < 0 or out of range, and those of ak_param
 *
 * Normal: e^s rises from 14 towards 50..100 over a long training, and stays near 10..20 on small
 * data. Down to 1 means that the pairs carry no signal.
 */
AK_API ak_tensor *ak_temperature(ak_ctx *ctx, const char *name, double tau);
/* Keep lo <= e^s <= hi: call it after each optimiser step. It acts on the parameter, so the loss's
 * gradient is never cut.
 *
 *   lo, hi   (0, inf); 0 = 1 and 100 (those of CLIP)
 *   returns  the scale e^s now in use; NaN on errors (AK_ERR_VALUE for lo > hi or hi out of range,
 *            AK_ERR_NUMBER for an s that is NaN, AK_ERR_SHAPE)
 */
AK_API double ak_temperature_clamp(ak_tensor *log_scale, double lo, double hi);

/* ---- DCL and DCLW ---------------------------------------------------------------------------- */

typedef struct ak_dcl_options {
    double     tau;             /* temperature, (0, inf); 0 = 0.1 */
    double     sigma;           /* dclw: temperature of the weights, (0, inf); 0 = 0.5 */
    bool       through;         /* dclw: gradient flows through the weights too */
    bool       normalized;      /* rows are of unit length already */
    ak_index  *ids;             /* [N]: as in ak_ntxent_options */
    ak_tensor *weights;         /* [N] >= 0: of each sample as anchor; the mean is weighted */
    ak_loss_report *report;     /* filled if not NULL */
} ak_dcl_options;

/* NT-Xent without the partner in the sum, so that an easy partner does not shrink the gradient.
 *
 *   L = 1/(2N) sum_i [ log sum_{j != i, p(i)} exp(s_ij) - s_{i,p(i)} ],  u, p, s of ak_loss_ntxent
 *   z1, z2   [N, D], N >= 2
 *   grad     dL/ds_ij = (softmax_{j != i, p(i)}(s_i)_j - [j = p(i)]) / (2N), to both views
 *   value    may be below 0, at least log(2N-2) - 2/tau; chance is ln(2N-2). An anchor whose
 *            negatives are all left out by ids adds 0 (and is lonely)
 *   source   Yeh et al., "Decoupled contrastive learning", ECCV 2022
 *
 * Worked example: z1 = z2 = [1 0; 0 1], tau = 1: each anchor has two negatives of score 0 and a
 * partner of score 1: L = log 2 - 1 = -0.306853.
 */
AK_API ak_tensor *ak_loss_dcl(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o);
AK_API ak_tensor *ak_loss_dcl_composed(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o);
/* The same with weights on the partners, larger where they are far apart:
 *
 *   -omega_i s_{i,p(i)}, omega_i = 2 - exp(c_i / sigma) / mean_j exp(c_j / sigma), c_i = cosine of
 *   u_i and its partner, j over the anchors of the same view. Their mean is 1; one may be below 0.
 *   They are constants unless `through`.
 */
AK_API ak_tensor *ak_loss_dclw(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o);
AK_API ak_tensor *ak_loss_dclw_composed(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o);

/* ---- SigLIP ---------------------------------------------------------------------------------- */

typedef struct ak_siglip_options {
    double     tau;             /* without a log scale: temperature, (0, inf); 0 = 0.1 */
    bool       normalized;      /* rows are of unit length already */
    ak_index  *labels;          /* [N]: equal labels are pairs too (-1: its own only) */
    ak_index  *ids;             /* [N]: as in ak_ntxent_options */
    ak_loss_report *report;     /* filled if not NULL */
} ak_siglip_options;

/* Each image and text of the batch: are they a pair? No softmax, so no row needs the others.
 *
 *   l_ij = e^log_scale <unit(image_i), unit(text_j)> + bias,  z_ij = 1 if i = j, else -1
 *   L = 1/N sum_ij softplus(-z_ij l_ij)                       (over N, not over the pairs)
 *   image       [N, D]
 *   text        [M, D]: texts past the images are pairs of none; M = N with labels or ids
 *   log_scale   one number; NULL = log(1 / o.tau). Published start: ln 10 (ak_temperature, 0.1)
 *   bias        one number; NULL = -10, the published start. Without it the first steps go into
 *               pushing everything apart
 *   grad        dL/dl_ij = (sigmoid(l_ij) - [z_ij = 1]) / N; to both, scale and bias
 *   N = 1       softplus(-l), which still pulls the pair together, without limit
 *   source      Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023
 *
 * Worked example: image = text = [1 0; 0 1], scale 1, bias 0: two pairs cost log(1 + 1/e), two
 * others log 2: L = 0.313262 + 0.693147 = 1.006409.
 */
AK_API ak_tensor *ak_loss_siglip(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                 ak_tensor *bias, ak_siglip_options o);
AK_API ak_tensor *ak_loss_siglip_composed(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                          ak_tensor *bias, ak_siglip_options o);

/* ---- alignment and uniformity ---------------------------------------------------------------- */

typedef struct ak_alignment_options {
    bool normalized;            /* rows are of unit length already */
} ak_alignment_options;

/* Partners lie together: L = 1/N sum_i |unit(x_i) - unit(y_i)|^2.
 *
 *   x, y     [N, D]
 *   grad     2 (unit(x_i) - unit(y_i)) / N through the normalisation, to both
 *   source   Wang, Isola, "Understanding contrastive representation learning through alignment and
 *            uniformity on the hypersphere", ICML 2020
 * Worked example: x = [1 0; 0 1], y = [1 0; 1 0]: L = (0 + 2) / 2 = 1. */
AK_API ak_tensor *ak_loss_alignment(ak_tensor *x, ak_tensor *y, ak_alignment_options o);

typedef struct ak_uniformity_options {
    double t;                   /* (0, inf); 0 = 2 */
    bool   normalized;          /* rows are of unit length already (they must be: distances are
                                 * taken as 2 - 2 <x, y>) */
} ak_uniformity_options;

/* Rows spread over the sphere: the log of the mean Gaussian kernel over pairs.
 *
 *   L = log( 1/(N(N-1)) sum_{i != j} exp(-t |u_i - u_j|^2) ),  u = unit(x)
 *   x        [N, D], N >= 2
 *   grad     dL/d<u_i, u_j> = 2t p_ij, p the softmax over all pairs
 *   value    in [-4t, 0]; 0 where all rows are alike
 *   source   as ak_loss_alignment
 * Worked example: x = [1 0; 0 1]: L = -2t = -4. */
AK_API ak_tensor *ak_loss_uniformity(ak_tensor *x, ak_uniformity_options o);
AK_API ak_tensor *ak_loss_uniformity_composed(ak_tensor *x, ak_uniformity_options o);
/* The same between two sets: pairs (x_i, y_j), i != j; x, y [N, D], N >= 2.
 *
 *   source   Fahim et al., "It's not a modality gap: characterizing and addressing the contrastive
 *            gap", 2024 */
AK_API ak_tensor *ak_loss_cross_uniformity(ak_tensor *x, ak_tensor *y, ak_uniformity_options o);
AK_API ak_tensor *ak_loss_cross_uniformity_composed(ak_tensor *x, ak_tensor *y,
                                                    ak_uniformity_options o);

/* ---- registry -------------------------------------------------------------------------------- */

/* How the loss of a batch that is spread over several processes is made. */
typedef enum ak_sharding {
    AK_SHARD_MEAN,          /* mean over samples: average the losses and gradients */
    AK_SHARD_CANDIDATES     /* anchors stay, candidates come from all processes, gradients flow
                             * back through them; who holds which sample changes nothing */
} ak_sharding;

typedef struct ak_loss_info {
    const char *name;           /* "ntxent" */
    const char *title;          /* "NT-Xent (SimCLR)" */
    const char *source;         /* paper and year */
    const char *formula;
    const char *options;        /* one "name: meaning" a line */
    const char *chance;         /* "ln(2N-1)" */
    ak_sharding sharding;
    const ak_sample *samples;   /* ended by AK_END; at least 5 */
    /* The loss on drawn embeddings (and a log scale, if the sample has one more operand). */
    ak_tensor *(*run)(ak_tensor *const *in, int n_in, const ak_sample *s);
    ak_tensor *(*composed)(ak_tensor *const *in, int n_in, const ak_sample *s);
} ak_loss_info;

/* Losses of the library, by position (NULL past the end) and by name (NULL if unknown). */
AK_API const ak_loss_info *ak_loss_at(int i);
AK_API const ak_loss_info *ak_loss_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
