/* SPDX-License-Identifier: Apache-2.0 */
/* akin/models.h - whole models out of the parts of akin/transformer.h: T5 (words to words), CLIP
 * (pictures and words), Q-Former (what learned queries take out of a picture, for words).
 *
 *     ak_module *clip = ak_clip(ctx, "clip", (ak_clip_options){
 *         .text = { .vocab = 49408 }, .picture = { .patch = 32, .width = 768, .heads = 12 } });
 *     p = ak_clip_pictures(clip, pictures);                                       // [N, 512]
 *     t = ak_clip_texts(clip, (ak_inputs){ .ids = words });                       // [N, 512]
 *     loss = ak_loss_clip(p, t, ak_clip_log_scale(clip), (ak_infonce_options){ 0 });
 *
 * Parameters have the names of transformers' state dicts, with "/" for ".". What stands at padded
 * places of a result is of no use; padding further changes nothing in the others.
 */
#ifndef AKIN_MODELS_H
#define AKIN_MODELS_H

#include <akin/transformer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- T5 -------------------------------------------------------------------------------------- */

typedef struct ak_t5_options {
    int    vocab;           /* >= 1 */
    int    width, layers, heads;    /* 0 = 512, 6, 8 (small); layers of the encoder */
    int    decoder_layers;  /* 0 = as many */
    int    head_width;      /* 0 = width / heads */
    int    hidden;          /* of the feed-forward parts; 0 = 4 width */
    ak_activation activation;   /* default AK_RELU */
    bool   gated;           /* T5 1.1 and Flan-T5: gated, with AK_GELU_TANH */
    int    buckets;         /* of distances; 0 = 32 */
    int    max_distance;    /* 0 = 128 */
    bool   untied;          /* the output layer has a weight of its own, "lm_head" (T5 1.1); else it
                             * is the word embedding */
    double out_scale;       /* of what the output layer reads; 0 = 1 / sqrt(width), untied: 1 */
    double eps;             /* of the RMS norms; 0 = 1e-6 */
    double dropout;         /* everywhere, [0, 1) */
} ak_t5_options;
/* T5 (Raffel et al., arXiv 1910.10683): pre-norm encoder and decoder without biases, RMS norm,
 * scores that are not scaled, one table of relative positions for all layers of the encoder, one
 * for the decoder's.
 *
 *     logits = ak_forward_with(t5, (ak_inputs){
 *         .ids = ak_shift_right(words, 0, 0), .memory_ids = sources, .memory_lengths = lengths });
 *     loss = ak_word_loss(logits, words);
 *
 *   needs    ids [N, T]: what the decoder is handed, its start token first; and either memory_ids
 *            [N, S], words for the encoder, or memory [N, S, width], what ak_t5_encode made of them
 *   takes    lengths, mask, prefix of ids; memory_lengths, memory_mask; state (the encoder then
 *            runs in the first call only, and its keys are made once)
 *   returns  logits [N, T, vocab] of the next word: for ak_generate and ak_log_likelihood, whose
 *            .inputs hold the memory
 *   parameters   T5ForConditionalGeneration: shared/weight,
 *            encoder/block/0/layer/0/SelfAttention/q/weight, .., lm_head/weight (untied)
 *   start    normal, with T5's deviations: 1 for words, 1 / sqrt(inputs) for layers, queries those
 *            of scaled scores
 *   errors   AK_ERR_VALUE for options, ids, and not exactly one of memory and memory_ids;
 *            AK_ERR_SHAPE
 */
AK_API ak_module *ak_t5(ak_ctx *ctx, const char *name, ak_t5_options o);
/* The encoder alone, for embeddings of texts: ids [N, S] -> [N, S, width]; takes lengths, mask.
 * parameters: T5EncoderModel's, shared/weight and encoder/.. */
AK_API ak_module *ak_t5_encoder(ak_ctx *ctx, const char *name, ak_t5_options o);
/* What the encoder of a whole T5 makes of .ids, .lengths, .mask: [N, S, width], for pooling, and
 * for .memory of the same m. errors: AK_ERR_VALUE for another module; as ak_t5_encoder */
AK_API ak_tensor *ak_t5_encode(ak_module *m, ak_inputs in);
/* What a decoder is handed to say these words: `start`, then all but the last of each row, and
 * `padding` for those below 0, which count in no loss.
 *
 *   words    [N, T], T >= 1;  start, padding >= 0
 *   returns  [N, T], step lifetime
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE (the poison index)
 */
AK_API ak_index *ak_shift_right(ak_index *words, int start, int padding);
/* Mean cross-entropy of logits [N, T, V] at each place with the words [N, T] there; -1 and -100 do
 * not count. returns, grad, errors: as ak_cross_entropy */
AK_API ak_tensor *ak_word_loss(ak_tensor *logits, ak_index *words);

/* ---- CLIP ------------------------------------------------------------------------------------ */

typedef struct ak_clip_text_options {
    int    vocab;           /* >= 1 */
    int    width, layers, heads;    /* 0 = 512, 12, 8 */
    int    hidden;          /* 0 = 4 width */
    int    positions;       /* longest text; 0 = 77 */
    int    end;             /* id of the end token; 0 = vocab - 1 */
    ak_activation activation;   /* 0 = AK_QUICK_GELU, as OpenAI's weights need it; others are made
                                 * with AK_GELU */
    double eps;             /* of layer norms; 0 = 1e-5 */
    double attention_dropout;
} ak_clip_text_options;
/* The text tower of CLIP (Radford et al., arXiv 2103.00020): pre-norm causal layers.
 *
 *   needs    ids [N, T], T <= positions
 *   takes    lengths, mask
 *   returns  [N, T, width] behind the last norm; ak_clip_pool reads the text's feature
 *   parameters   those of "text_model": embeddings/token_embedding/weight,
 *            embeddings/position_embedding/weight, encoder/layers/0/.., final_layer_norm
 *   errors   AK_ERR_VALUE for options and ids; AK_ERR_SHAPE, for longer texts with a hint at
 *            ak_clip_cut
 */
AK_API ak_module *ak_clip_text(ak_ctx *ctx, const char *name, ak_clip_text_options o);
/* The picture tower: a ViT whose tokens pass a norm in front of the layers.
 *
 *   o        as for ak_vit, with 0 of .activation, .eps, .patch, .width, .layers, .heads =
 *            AK_QUICK_GELU, 1e-5, 32, 768, 12, 12; .classes, .pooling, .no_class_token and
 *            .sinusoidal are 0
 *   x        [N, H, W, channels] -> [N, 1 + H W / patch^2, width]: class token, then patches, in
 *            front of the last norm, which only ak_clip_pool needs
 *   parameters   those of "vision_model": embeddings/class_embedding,
 *            embeddings/position_embedding/weight, embeddings/patch_embedding/weight [width, patch,
 *            patch, channels], pre_layrnorm (its name there), encoder/layers/0/.., post_layernorm
 *   errors   as ak_vit
 */
AK_API ak_module *ak_clip_vision(ak_ctx *ctx, const char *name, ak_vit_options o);
/* From what a tower returned to one row each, [N, T, width] -> [N, width]: the text at the place of
 * its first end token, the class token of a picture behind the last norm.
 *
 *   tower    of ak_clip_text or ak_clip_vision;  ids: of the texts; NULL for pictures
 *   errors   AK_ERR_VALUE for another module, ids where there are none, a text without end token;
 *            AK_ERR_SHAPE
 */
AK_API ak_tensor *ak_clip_pool(ak_module *tower, ak_tensor *y, ak_index *ids);
/* Texts cut to `count` words: the end token of a text that is cut stays, as its last one.
 *
 *   ids      [N, T]; every row has the token `end`;  count >= 1
 *   returns  [N, min(T, count)], step lifetime
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for count and a row without end token (the poison index)
 */
AK_API ak_index *ak_clip_cut(ak_index *ids, int64_t count, int end);

typedef struct ak_clip_options {
    ak_clip_text_options text;
    ak_vit_options picture;     /* see ak_clip_vision */
    int    projection;          /* width that both come to; 0 = 512 */
    double log_scale;           /* start of logit_scale; 0 = ln(1 / 0.07) */
} ak_clip_options;
/* Both towers, a projection behind each, and the scale of their cosines.
 *
 *   logits[i, j] = e^logit_scale <picture_i, text_j>, rows of unit length
 *   needs    x [N, H, W, channels], ids [M, T];  takes lengths, mask of ids
 *   returns  [N, M]
 *   start    as their authors': normal, layers 1 / sqrt(width), the last of each part divided by
 *            sqrt(2 layers); words, positions and patches 0.02
 *   parameters   CLIPModel: logit_scale (no weight decay; ak_temperature_clamp keeps it in its
 *            range), text_model/.., vision_model/.., visual_projection/weight,
 *            text_projection/weight
 *   errors   as the towers
 */
AK_API ak_module *ak_clip(ak_ctx *ctx, const char *name, ak_clip_options o);
/* One tower and its projection: unit rows [N, projection]. texts: .ids, .lengths, .mask of `in`; an
 * end token at or beyond its row's length is AK_ERR_VALUE. m: of ak_clip, else AK_ERR_VALUE */
AK_API ak_tensor *ak_clip_pictures(ak_module *m, ak_tensor *x);
AK_API ak_tensor *ak_clip_texts(ak_module *m, ak_inputs in);
/* The parameter logit_scale, one number, for ak_loss_clip. errors: AK_ERR_VALUE as above */
AK_API ak_tensor *ak_clip_log_scale(ak_module *m);

/* ---- Q-Former -------------------------------------------------------------------------------- */

/* What queries and words see of each other in self-attention (BLIP-2's three tasks). */
typedef enum ak_qformer_mode {
    AK_QFORMER_MATCH = 0,   /* all see all */
    AK_QFORMER_CONTRAST,    /* queries see queries, words see words */
    AK_QFORMER_GENERATE     /* queries see queries; words see queries, and words up to their own */
} ak_qformer_mode;

typedef struct ak_qformer_options {
    int    width, layers, heads;    /* 0 = 768, 12, 12 */
    int    hidden;          /* 0 = 4 width */
    int    memory_width;    /* of what queries look at; 0 = width */
    int    every;           /* layers 0, k, 2k, .. look at it; 0 = 2 */
    int    queries;         /* learned; 0 = none, they are handed in as .x */
    int    vocab;           /* words; 0 = queries only */
    int    positions;       /* longest text; 0 = 512 */
    int    padding;         /* as in ak_bert_options */
    ak_qformer_mode mode;   /* of ak_forward_with */
    bool   relu;            /* in place of GELU */
    double eps;             /* of layer norms; 0 = 1e-12 */
    double dropout, attention_dropout;
} ak_qformer_options;
/* Query transformer (Li et al., BLIP-2, arXiv 2301.12597): post-norm layers with self-attention
 * that queries and words share, cross-attention of the queries to the memory in every k-th layer,
 * and a feed-forward part for each of the two.
 *
 *   takes    memory [N, S, memory_width], memory_lengths, memory_mask; x [N, Q, width], queries in
 *            place of the learned ones; with .vocab ids [N, T], lengths, mask
 *   returns  [N, Q + T, width], queries first; without ids [N, Q, width]. Without a memory there
 *            are no queries: [N, T, width], words that see each other, with AK_QFORMER_GENERATE
 *            those in front of them only; they are what words are with AK_QFORMER_CONTRAST
 *   parameters   Blip2QFormerModel: layernorm, encoder/layer/0/attention/attention/query/weight,
 *            ..; query_tokens [1, Q, width] and embeddings/word_embeddings, position_embeddings of
 *            the model around it (Blip2ForImageTextRetrieval)
 *   errors   AK_ERR_VALUE for options, for neither memory nor ids, x without memory, no queries;
 *            AK_ERR_SHAPE
 */
AK_API ak_module *ak_qformer(ak_ctx *ctx, const char *name, ak_qformer_options o);
/* The same in another mode: the three losses of a step have one set of weights. errors: also
 * AK_ERR_VALUE for another module or mode */
AK_API ak_tensor *ak_qformer_run(ak_module *m, ak_inputs in, ak_qformer_mode mode);

#ifdef __cplusplus
}
#endif
#endif
