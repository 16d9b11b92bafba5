/* SPDX-License-Identifier: Apache-2.0 */
/* akin/heads.h - what stands on an encoder: poolings of maps, heads by name and their parts,
 * momentum encoders, shuffled keys.
 *
 *     ak_module *enc  = ak_resnet50(ctx, "student/encoder", (ak_resnet_options){ .stem = 7 });
 *     ak_module *head = ak_head(ctx, "student/projector", "byol", 2048, (ak_head_options){ 0 });
 *     ak_module *net  = ak_nn_sequential(ctx, "student", (ak_module *[]){ enc, head, NULL });
 *     ak_momentum *teacher = ak_momentum_encoder(net, "teacher", (ak_momentum_options){
 *         .start = 0.996, .rise = AK_RISE_COSINE, .steps = steps, .norm = AK_TEACHER_TRAIN });
 *     ... each step:
 *     ak_tensor *target = ak_momentum_forward(teacher, (ak_inputs){ .x = view2 });
 *     ak_backward(loss_of(ak_forward(net, view1), target));
 *     ak_optim_step(opt);
 *     ak_momentum_update(teacher);
 *
 * docs/ENCODERS.md lists all modules with their sizes. Constructors and errors are as in akin/nn.h.
 * N batch, H W picture or map, P = H W positions, C channels, D features.
 */
#ifndef AKIN_HEADS_H
#define AKIN_HEADS_H

#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- several sizes of picture in one step ---------------------------------------------------- */

/* Features of views that differ in size (multi-crop: Caron et al., arXiv 2006.09882), one pass of
 * the encoder for each run of consecutive views of one size:
 *
 *     ak_tensor *z = ak_forward_views(net, b.view, b.views);      // [V N, D], view by view
 *
 *   m        takes x alone and gives [N, ..] of one size for all, as a pooled encoder does
 *   views    n of [N_v, ..], in the order that the result has; such a run is joined, which
 *            copies it, unless it is one tensor already (ak_batch_views). Batch norms take their
 *            statistics over a run
 *   returns  [sum N_v, ..], step lifetime
 *   errors   as ak_forward; AK_ERR_VALUE for n < 1, AK_ERR_SHAPE where results differ in size
 */
AK_API ak_tensor *ak_forward_views(ak_module *m, ak_tensor *const *views, int n);

/* ---- poolings of maps: x [N, .., C] -> [N, C] ------------------------------------------------ */

/* The largest of each channel. */
AK_API ak_module *ak_nn_global_max_pool(ak_ctx *ctx, const char *name);

typedef struct ak_gem_options {
    double p;               /* the exponent starts here; 0 = 3, AK_NONE = 0 */
    double eps;             /* (0, ..); 0 = 1e-6 */
    bool   per_channel;     /* one exponent a channel */
} ak_gem_options;
/* ak_gem_pool with an exponent that is learned: p [1] or [C], not decayed; frozen by ak_freeze. */
AK_API ak_module *ak_nn_gem_pool(ak_ctx *ctx, const char *name, int64_t channels,
                                 ak_gem_options o);

typedef struct ak_query_pool_options {
    int  heads;             /* divides C; 0 = 1 */
    int  out;               /* of the last layer; 0 = C */
} ak_query_pool_options;
/* Attention with one learned query (Lee et al., arXiv 1810.00825, and what vision transformers call
 * an attention pooling head):
 *
 *   a = softmax over positions of (query_h^T Wk_h x) / sqrt(C / heads), of each head h
 *   y = proj(the heads' sums of a Wv x)
 *   parameters   query [C]; key/weight, value/weight [C, C], value/bias [C]; proj/weight [out, C],
 *                proj/bias. Keys need no bias: the softmax takes it away
 *   cost         the query is multiplied into the key weights and values are made of sums: two
 *                products of P C numbers with heads columns, not of P C with 2 C
 *   not for      sequences with padding, several queries, or weights of SigLIP and timm:
 *                ak_nn_attention_pool (akin/transformer.h)
 */
AK_API ak_module *ak_nn_query_pool(ak_ctx *ctx, const char *name, int64_t channels,
                                       ak_query_pool_options o);
/* CLIP's pooling of a ResNet's map (Radford et al., arXiv 2103.00020: AttentionPool2d): the mean
 * is the query, mean and positions are the keys.
 *
 *   x [N, side, side, C] -> [N, out]
 *   parameters   CLIP's names: positional_embedding [side^2 + 1, C]; q_proj, k_proj, v_proj
 *                [C, C] and c_proj [out, C], each /weight and /bias
 *   errors       AK_ERR_VALUE unless heads divides channels
 */
AK_API ak_module *ak_nn_clip_pool(ak_ctx *ctx, const char *name, int side, int channels, int heads,
                                  int out);

/* ---- heads by name --------------------------------------------------------------------------- */

/* What a head is: linear layers with what stands behind each. */
typedef enum ak_head_end { AK_HEAD_BARE, AK_HEAD_NORM, AK_HEAD_PLAIN_NORM, AK_HEAD_LAYER_NORM,
                           AK_HEAD_UNIT } ak_head_end;
typedef struct ak_head_kind {
    const char *name;       /* "simclr" */
    const char *source;     /* who defined it so */
    int  layers;            /* linear ones; 0 = x itself */
    int  hidden, out;       /* the paper's sizes; 0 = the size of x */
    bool batch_norm;        /* behind each hidden layer, whose bias it replaces; then ReLU */
    bool no_bias_out;       /* of the last layer */
    ak_head_end end;        /* behind the last layer: nothing, batch norm, batch norm without scale
                             * and bias, layer norm, unit length */
} ak_head_kind;
/* The table, by position; NULL past the end. By name; NULL if there is none. */
AK_API const ak_head_kind *ak_head_at(int i);
AK_API const ak_head_kind *ak_head_find(const char *name);

typedef struct ak_head_options {
    int hidden, out;        /* 0 = the paper's */
    int groups;             /* of every batch norm (ak_batch_norm_options); 0 = 1 */
} ak_head_options;
/* A head of a table's kind: an mlp with layers fc1, bn1, fc2, .. (and ln, unit).
 *
 *   x [.., in] -> [.., out]: vectors, and maps, where it is a chain of 1x1 convolutions
 *   errors   AK_ERR_NOT_FOUND for an unknown kind, with the list; AK_ERR_VALUE for sizes, and for
 *            .hidden or .out of a kind without such a layer
 */
AK_API ak_module *ak_head(ak_ctx *ctx, const char *name, const char *kind, int in,
                          ak_head_options o);

/* ---- prototypes ------------------------------------------------------------------------------ */

#define AK_PROTOTYPE_SETS 8
typedef struct ak_prototypes_options {
    int     sets[AK_PROTOTYPE_SETS + 1];    /* prototypes of each set; ends with 0 */
    int64_t frozen_steps;                   /* no gradient during so many first steps; 0 = none */
} ak_prototypes_options;
/* Scores against learned prototypes (SwAV: Caron et al., arXiv 2006.09882).
 *
 *   y = x C^T    x [.., D], rows of unit length -> [.., K]; of several sets side by side
 *   parameters   one set: weight [K, D]; several: prototypes0/weight, prototypes1/weight, ..
 *   rows         of C have unit length from the start and after each ak_prototypes_step; the
 *                gradient is by C as it stands, as in the authors' code
 */
AK_API ak_module *ak_prototypes(ak_ctx *ctx, const char *name, int dim, ak_prototypes_options o);
/* To be called before each step's forward pass: gives every row unit length, and freezes the
 * prototypes while step < frozen_steps (no gradient, no decay, no momentum), else thaws them.
 *
 *   step     from 0: ak_optim_steps(opt), which a checkpoint restores
 *   errors   AK_ERR_VALUE for a module that is none of ak_prototypes, or step < 0; AK_ERR_NUMBER
 *            naming a row that is zero or not finite: nothing has changed then
 */
AK_API ak_status ak_prototypes_step(ak_module *m, int64_t step);
/* Scores against set i alone, [.., K_i]. errors: as ak_forward; AK_ERR_VALUE for no such set */
AK_API ak_tensor *ak_prototypes_scores(ak_module *m, ak_tensor *x, int i);

/* ---- one trunk, several outputs -------------------------------------------------------------- */

/* A trunk and named heads on what it gives. What is made inside is the trunk first, then heads:
 *
 *     ak_module *net = ak_module_begin(ak_multi_head(ctx, "net"));
 *     ak_convnet(ctx, "trunk", o);
 *     ak_head(ctx, "instance", "simclr", 256, (ak_head_options){ .out = 64 });
 *     ak_head(ctx, "cluster", "swav", 256, (ak_head_options){ .out = 32 });
 *     net = ak_module_end(net);
 *     ak_tensor *z[2];
 *     ak_tensor *h = ak_multi_forward(net, (ak_inputs){ .x = x }, z, 2);  // h: the trunk's
 *
 *   ak_forward   gives the outputs side by side, [.., sum D], in the order of ak_multi_index
 */
AK_API ak_module *ak_multi_head(ak_ctx *ctx, const char *name);
/* Run the trunk once and each head on it.
 *
 *   out      [n] gets the outputs in the order in which the heads were made; all poison after an
 *            error. Inputs other than x reach the parts that take them
 *   returns  what the trunk gives
 *   errors   AK_ERR_VALUE for a module of another kind, without trunk, or whose heads are not n
 */
AK_API ak_tensor *ak_multi_forward(ak_module *m, ak_inputs in, ak_tensor **out, int n);
/* Which output the head "name" (its path below m) is; -1 if there is none. */
AK_API int ak_multi_index(const ak_module *m, const char *name);

/* ---- parts of methods ------------------------------------------------------------------------ */

typedef struct ak_feature_gate_options {
    int embedding;          /* of a label; 0 = 512 */
    int hidden;             /* 0 = 1024 */
} ak_feature_gate_options;
/* Feature filters by pair of classes (Hydra/SimLAP, "Rethinking Positive Pairs in Contrastive
 * Learning", 2024): which features count where classes y1 and y2 are compared.
 *
 *   g = sigmoid(fc2(bn2(relu(fc1(bn1(relu((E[y1] + E[y2]) / 2)))))))
 *   .ids [N, 2] labels below classes -> [N, dim] in (0, 1); symmetric in the pair
 *   parameters   embedding/weight [classes, embedding], bn1, fc1, bn2, fc2
 */
AK_API ak_module *ak_feature_gate(ak_ctx *ctx, const char *name, int classes, int dim,
                                  ak_feature_gate_options o);

typedef struct ak_propagation_options {
    double gamma;           /* (0, ..); 0 = 2 */
    int    layers;          /* of the transform: 1 = linear, 2 = linear, batch norm, ReLU, linear;
                             * 0 = 1, AK_NONE = x itself */
} ak_propagation_options;
/* Pixel propagation module (PixPro: Xie et al., arXiv 2011.10043): each position becomes a sum over
 * those of its map that are like it.
 *
 *   y_i = sum_j max(cos(x_i, x_j), 0)^gamma unit(g(x_j)), weights as in the authors' code
 *   x [N, .., C] -> like x; positions P = all but first and last axis
 *   parameters   value (1 layer), or value/fc1, value/bn1, value/fc2 (2 layers)
 *   memory       [N, P, P] similarities, a few times
 *   gamma < 1    has an infinite slope at 0: 1e-6 is added before the power
 */
AK_API ak_module *ak_pixel_propagation(ak_ctx *ctx, const char *name, int channels,
                                       ak_propagation_options o);

typedef struct ak_matching_options {
    int  hidden;            /* 0 = linear alone (ALBEF); else linear, GELU, layer norm, linear, as
                             * GRAM's, with so many in between */
} ak_matching_options;
/* Do picture and text belong together? Two scores from what a fusion encoder gives (ALBEF: Li et
 * al., arXiv 2107.07651): class 1 = they do.
 *
 *   x [N, T, D], of which the first position counts, or [N, D] -> [N, 2]
 *   parameters   fc/weight [2, D], fc/bias; with .hidden: fc1, norm, fc2
 */
AK_API ak_module *ak_matching_head(ak_ctx *ctx, const char *name, int dim, ak_matching_options o);

typedef struct ak_lm_head_options {
    bool       transform;   /* BERT's: linear, GELU, layer norm before the words */
    double     eps;         /* of that norm; 0 = 1e-12, BERT's */
    bool       no_bias;     /* GPT-2 has no bias, BERT has one */
    double     scale;       /* x is multiplied by it first: T5 has 1 / sqrt(dim); 0 = 1 */
    ak_module *tied;        /* a module whose first own parameter is weight [vocabulary, dim], an
                             * embedding: its weights are used, it becomes a part; NULL = own */
} ak_lm_head_options;
/* Scores of words, for an encoder of one's own (ak_bert_masked, ak_gpt and ak_t5 have theirs).
 *   x [.., dim] -> [.., vocabulary]
 *   parameters   decoder/weight [vocabulary, dim] unless tied; bias [vocabulary]; with .transform
 *                transform/dense, transform/LayerNorm
 *   errors       AK_ERR_SHAPE for a tied weight of another shape
 */
AK_API ak_module *ak_lm_head(ak_ctx *ctx, const char *name, int dim, int vocabulary,
                             ak_lm_head_options o);

typedef struct ak_relation_options {
    int    size;            /* s, of the transformed objects; 0 = 32 */
    double dropout;         /* on the normalised matrices, [0, 1) */
} ak_relation_options;
/* Relations between all ordered pairs of objects (VG-BERT: Zhang et al. 2021).
 *
 *   u = W x + b;  f[n, r, a, b] = u_a^T R_r / |R_r| u_b, with the Frobenius norm
 *   x [N, O, dim] -> [N, relations, O, O]
 *   parameters   object_transform/weight [s, dim], /bias; relational_matrix [relations, s, s]
 */
AK_API ak_module *ak_relation_head(ak_ctx *ctx, const char *name, int dim, int relations,
                                   ak_relation_options o);

/* ---- momentum encoders ----------------------------------------------------------------------- */

typedef struct ak_momentum ak_momentum;

typedef enum ak_momentum_rise {
    AK_RISE_NONE = 0,       /* m = start */
    AK_RISE_COSINE,         /* m = end - (end - start) (cos(pi k / K) + 1) / 2: BYOL's, MoCo v3's */
    AK_RISE_LINEAR          /* m = start + (end - start) k / K */
} ak_momentum_rise;

typedef enum ak_teacher_norm {
    AK_TEACHER_UNSAID = 0,  /* refused where there are running statistics */
    AK_TEACHER_TRAIN,       /* batch norms follow the context's mode: in training they use the
                             * statistics of the batch (MoCo, BYOL) */
    AK_TEACHER_EVAL         /* they use the running ones always; no dropout (mean teacher) */
} ak_teacher_norm;

typedef enum ak_teacher_buffers {
    AK_BUFFERS_COPY = 0,    /* an update copies the student's, as ak_ema_update does */
    AK_BUFFERS_AVERAGE,     /* they are averaged as parameters are */
    AK_BUFFERS_OWN          /* an update leaves them alone: the teacher's own batches move them
                             * (MoCo), so .norm is AK_TEACHER_TRAIN */
} ak_teacher_buffers;

typedef struct ak_momentum_options {
    double start;           /* [0, 1]; 0 = 0.996 (AK_NONE: 0) */
    double end;             /* [0, 1], with .rise; 0 = 1 (AK_NONE: 0) */
    ak_momentum_rise rise;
    int64_t steps;          /* K > 0 with .rise; at end from there on */
    ak_teacher_norm norm;
    ak_teacher_buffers buffers;
    const char *copied;     /* pattern (ak_match) of the student's buffers that are copied whatever
                             * .buffers says: counters, whose mean is no whole number. NULL =
                             * none */
} ak_momentum_options;

/* A teacher of a student: a frozen copy (ak_module_clone) that follows it.
 *
 *   name      of the copy: "teacher/conv1/weight" follows "student/conv1/weight". Optimisers, also
 *             those of "*", leave it alone: it is frozen, so it has no gradients and no decay
 *   state     the number of updates is part of checkpoints, and a run goes on with the same bits
 *   returns   context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE for options, and for .norm unsaid where the student has buffers;
 *             AK_ERR_NOT_FOUND for .copied that fits none; as ak_module_clone
 */
AK_API ak_momentum *ak_momentum_encoder(ak_module *student, const char *name,
                                        ak_momentum_options o);
AK_API ak_module *ak_momentum_module(const ak_momentum *e);
/* The teacher's output, a constant: nothing is recorded. As ak_forward_with. */
AK_API ak_tensor *ak_momentum_forward(ak_momentum *e, ak_inputs in);
/* teacher = m teacher + (1 - m) student with the m of this update, in one pass over the slabs; near
 * m = 1 numbers are rounded by chance, so that they do not stand still (ak_ema_update). Then it is
 * the next one's turn. Where it stands in the step is the method's: after ak_optim_step (BYOL), or
 * before the keys (MoCo).
 * errors: the pending error; AK_ERR_STATE if the student has got other parts since the copy was
 * made: nothing moves then, nor does the count */
AK_API ak_status ak_momentum_update(ak_momentum *e);
/* Updates so far; the m of the next. */
AK_API int64_t ak_momentum_updates(const ak_momentum *e);
AK_API double ak_momentum_now(const ak_momentum *e);

/* ---- shuffled keys --------------------------------------------------------------------------- */

/* MoCo's shuffling batch norm (He et al., arXiv 1911.05722): keys go through split batch norms in
 * another order than queries, so that the statistics of a group do not tell who belongs to whom.
 *
 *     ak_index *order = ak_permutation(ctx, N);
 *     ak_tensor *k = ak_momentum_forward(e, (ak_inputs){ .x = ak_shuffle_rows(x, order) });
 *     k = ak_unshuffle_rows(k, order);
 */
/* 0 .. n-1 in random order, drawn by the context's seed and next stream; step lifetime.
 * errors: AK_ERR_VALUE for n outside [1, 2^31) (NULL) */
AK_API ak_index *ak_permutation(ak_ctx *ctx, int64_t n);
/* y[i] = x[order[i]], and back: y[order[i]] = x[i].  x [N, ..], order [N] a permutation
 * grad: the other way round. errors: AK_ERR_SHAPE, AK_ERR_VALUE if a number is missing in order */
AK_API ak_tensor *ak_shuffle_rows(ak_tensor *x, ak_index *order);
AK_API ak_tensor *ak_unshuffle_rows(ak_tensor *x, ak_index *order);

#ifdef __cplusplus
}
#endif
#endif
