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
 * .normalized says not to. Scores are made in tiles that fit the cache and are never stored as a
 * matrix: time is that of the matrix products, memory grows with N, not with N^2. Any temperature
 * works (0.005 too): e^(1/tau) is never formed.
 *
 * A loss of one's own is a composition of ops, and needs no backward. This is the decoupled
 * contrastive loss (Yeh et al., ECCV 2022): NT-Xent without the partner among the candidates:
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
 * Common rules. Options go by value; zero means the default. All results belong to the step and are
 * scalars. Gradients flow to all embeddings and to a learned scale; targets, weights, queue and ids
 * are constants. Errors: AK_ERR_SHAPE for embeddings that do not fit, AK_ERR_VALUE for a
 * temperature below 0 (0 is the default) or one whose inverse is infinite, for weights that are
 * negative or not finite, targets that are not finite, and a batch of 1.
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
    int64_t lonely;     /* of them without a partner: they add 0 */
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
 *   z        [V, N, D], V in [2, 32], N >= 2
 *   pair_sum L = sum_{v != w} ntxent(z_v, z_w): V (V-1) terms, so twice ntxent for V = 2
 */
AK_API ak_tensor *ak_loss_ntxent_views(ak_tensor *z, ak_ntxent_options o);
AK_API ak_tensor *ak_loss_ntxent_views_composed(ak_tensor *z, ak_ntxent_options o);
/* The same from V tensors [N, D], V in [2, 32]. errors: AK_ERR_SHAPE for another V */
AK_API ak_tensor *ak_loss_ntxent_list(ak_tensor *const *z, int V, ak_ntxent_options o);

/* ---- InfoNCE --------------------------------------------------------------------------------- */

typedef struct ak_infonce_options {
    double     tau;             /* temperature, (0, inf); 0 = 0.07 */
    ak_tensor *log_scale;       /* learned instead: one number s, scale = e^s (ak_temperature) */
    bool       normalized;      /* rows (of the queue too) are of unit length already */
    double     label_smoothing; /* share of the target spread over all candidates, [0, 1); 0 */
    ak_index  *ids;             /* [N]: as in ak_ntxent_options */
    ak_tensor *weights;         /* [N] >= 0: of each sample as anchor; the mean is weighted */
    ak_tensor *queue;           /* [K, D]: more candidates, constant (infonce only) */
    bool       no_batch_negatives;  /* candidates are the partner and the queue (MoCo) */
    /* Targets; default: row i's partner is row i of k. At most one of: */
    ak_index  *labels;          /* [N]: all k with q's label, in equal shares */
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
 *   f = unit(z), all N V rows; A(i) = all rows but i; P(i) = those of A(i) with the same label
 *   L_i = 1/|P(i)| sum_{p in P(i)} [ log sum_{a in A(i)} exp(s_ia) - s_ip ],  s = <f, f> / tau
 *   L = tau / base_tau * mean over anchors of L_i
 *   z        [N, V, D], views of a sample side by side, N V >= 2; [N, D] is one view
 *   labels   [N], any numbers; NULL = each sample is its own class (then V >= 2)
 *   grad     to z. An anchor with empty P(i) adds 0 but counts in the mean; report->lonely
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
 *   name     of the parameter;  tau: start, (0, inf); 0 = 0.07
 *   returns  context lifetime; for .log_scale and ak_loss_clip
 *   errors   AK_ERR_VALUE for tau < 0 or an infinite 1 / tau, and those of ak_param
 *
 * Normal: e^s rises from 14 towards 50..100 over a long training, and stays near 10..20 on small
 * data. Down to 1 means that the pairs carry no signal.
 */
AK_API ak_tensor *ak_temperature(ak_ctx *ctx, const char *name, double tau);
/* Keep lo <= e^s <= hi: call it after each optimiser step. It acts on the parameter, so the loss's
 * gradient is never cut.
 *
 *   lo, hi   (0, inf); 0 = 1 and 100 (those of CLIP)
 *   returns  the scale e^s now in use; NaN on errors (AK_ERR_VALUE for lo > hi or a bound out of
 *            its range, AK_ERR_SHAPE)
 */
AK_API double ak_temperature_clamp(ak_tensor *log_scale, double lo, double hi);

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
