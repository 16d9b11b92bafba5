/* SPDX-License-Identifier: Apache-2.0 */
/* akin/transformer.h - attention, positions, transformer blocks and stacks, ViT, BERT, GPT, pooling
 * of sequences, generation.
 *
 * Sequences are [N, T, C]. Modules are handed what they need by ak_forward_with:
 *
 *     ak_module *text = ak_transformer_stack(ctx, "text", (ak_stack_options){
 *         .width = 256, .layers = 4, .block = { .heads = 4, .activation = AK_GELU } });
 *     y = ak_forward_with(text, (ak_inputs){ .x = x, .lengths = lengths });     // [N, T, 256]
 *     z = ak_pool_mean(y, lengths, NULL);                                       // [N, 256]
 *
 *   lengths, mask    what is padding: no other position sees it, so that padding further changes
 *                    nothing. What stands at padded places of a result is of no use
 *   prefix           with .causal: first positions that all see (a causal model with a prefix)
 *   memory           of cross-attention, with memory_lengths, memory_mask
 *   bias             added to scores: ak_nn_relative_bias makes it
 *   state            ak_decoding: positions of earlier calls, with their keys and values
 *
 * Names of parts are those of a library, by ak_part_names: with "/" for "." its state dict is a
 * plain map. A joint projection of queries, keys and values is one product; three of them write
 * side by side, without a copy. Attention reads heads where they lie.
 *
 * Weights of blocks start from N(0, 0.02^2) cut at two deviations, biases from 0, unless .weight
 * says otherwise.
 */
#ifndef AKIN_TRANSFORMER_H
#define AKIN_TRANSFORMER_H

#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whose names the parts have:
 *
 *   TORCH    nn.MultiheadAttention: in_proj_weight [3 H D, C] (queries, keys, values),
 *            in_proj_bias, out_proj/weight; with another width of the memory q_proj_weight,
 *            k_proj_weight, v_proj_weight. nn.TransformerEncoderLayer: self_attn/..,
 *            multihead_attn/.. (cross), linear1, linear2, norm1, norm2, norm3
 *   TIMM     attn/qkv, attn/proj, mlp/fc1, mlp/fc2, norm1, norm2, ls1/gamma
 *   BERT     attention/self/query, key, value, attention/output/dense, attention/output/LayerNorm,
 *            intermediate/dense, output/dense, output/LayerNorm; crossattention/..
 *   GPT2     attn/c_attn, attn/c_proj, mlp/c_fc, mlp/c_proj, ln_1, ln_2 (transformers stores these
 *            weights I x O: they are turned when they are read)
 *   CLIP     self_attn/q_proj, .., out_proj, mlp/fc1, mlp/fc2, layer_norm1, layer_norm2
 *   T5       layer/0/SelfAttention/q, k, v, o, layer/0/layer_norm, layer/1/EncDecAttention/..,
 *            layer/1/DenseReluDense/wi, wo (gated: wi_0, wi_1), behind cross-attention layer/2/..
 *   QFORMER  as BERT with attention/attention/query, .., intermediate_query, output_query
 */
typedef enum ak_part_names {
    AK_NAMES_TORCH = 0, AK_NAMES_TIMM, AK_NAMES_BERT, AK_NAMES_GPT2, AK_NAMES_CLIP, AK_NAMES_T5,
    AK_NAMES_QFORMER
} ak_part_names;

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct ak_rotary_layer {
    bool   on;
    double base;            /* as in ak_rotary_options */
    int    width;
    bool   interleaved;
} ak_rotary_layer;

typedef struct ak_attention_layer_options {
    int    heads;           /* >= 1; divides width unless .head_width is set */
    int    head_width;      /* D; 0 = width / heads */
    bool   cross;           /* keys and values of .memory */
    int    memory_width;    /* of .memory; 0 = width */
    bool   causal;
    bool   no_bias;
    double scale;           /* of the scores; 0 = 1 / sqrt(D) */
    double dropout;         /* of the probabilities in train mode, [0, 1) */
    ak_rotary_layer rotary; /* not with .cross */
    ak_part_names names;
    ak_init weight;         /* AK_INIT_DEFAULT: N(0, 0.02^2), see above */
} ak_attention_layer_options;
/* Multi-head attention: y = heads(q, k, v) out^T + bias, with q = x Wq^T + bq and so on.
 *
 *   x        [N, T, width] -> [N, T, width]; .cross: needs .memory [N, S, memory_width] as well
 *   takes    lengths, mask, prefix (causal), bias, state; .cross: memory_lengths, memory_mask,
 *            bias, state
 *   state    without .cross the module must be causal; keys and values of x are added to those that
 *            are there, and the result is that of all positions at once. lengths: positions of x
 *            that count. With .cross the memory is read in the first call only. Nothing is
 *            recorded: between ak_no_grad_begin and ak_no_grad_end, or AK_ERR_STATE
 *   parameters   see ak_part_names
 *   errors   AK_ERR_VALUE for options; AK_ERR_SHAPE with the module's path
 */
AK_API ak_module *ak_nn_attention(ak_ctx *ctx, const char *name, int64_t width,
                                  ak_attention_layer_options o);

/* What a decoder has seen of `rows` sequences, up to `capacity` positions each: given as .state, it
 * grows with every call. Two calls with 3 and 2 positions return what one with 5 returns.
 *
 *     ak_decoding *seen = ak_decoding_open(ctx, N, 64);
 *     ak_no_grad_begin(ctx);
 *     y = ak_forward_with(decoder, (ak_inputs){ .x = first, .lengths = lengths, .state = seen });
 *     y = ak_forward_with(decoder, (ak_inputs){ .x = next, .state = seen });     // [N, 1, C]
 *     ak_no_grad_end(ctx);
 *     ak_decoding_close(seen);
 *
 * Rows may have different lengths: a row goes on behind its own last position.
 *
 *   memory   2 rows capacity H D numbers a layer, from its first call on; given back by close
 *   errors   AK_ERR_VALUE for rows or capacity below 1, and in a call that goes beyond capacity;
 *            after an error in the middle of a call the state is of no use: close it
 */
typedef struct ak_decoding ak_decoding;
AK_API ak_decoding *ak_decoding_open(ak_ctx *ctx, int64_t rows, int64_t capacity);
AK_API void ak_decoding_close(ak_decoding *d);

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct ak_embedding_layer_options {
    bool    has_padding;
    int     padding;        /* with .has_padding: this id's row starts as 0 and gets no gradient */
    ak_init weight;         /* AK_INIT_DEFAULT: N(0, 0.02^2) cut at two deviations */
} ak_embedding_layer_options;
/* A row of a learned table for each id: the first part of a model of texts.
 *
 *   needs    ids [..], each in [0, count) -> [.., width]
 *   takes    nothing else: lengths, mask and the like are for the parts behind it
 *   parameters   weight [count, width]
 *   grad     rows that occur more than once sum
 *   errors   AK_ERR_VALUE for options, and naming the id that is out of range
 */
AK_API ak_module *ak_nn_embedding(ak_ctx *ctx, const char *name, int64_t count, int64_t width,
                                  ak_embedding_layer_options o);

/* ---- positions ------------------------------------------------------------------------------- */

/* y = x + weight[position]: learned positions.
 *
 *   x        [N, T, width], T <= count -> the same
 *   takes    state: positions go on behind those that are there
 *   parameters   weight [count, width]
 *   errors   AK_ERR_SHAPE for a longer sequence, AK_ERR_VALUE where .state goes beyond
 */
AK_API ak_module *ak_nn_positions(ak_ctx *ctx, const char *name, int64_t count, int64_t width);
/* y = x + sines and cosines (Vaswani et al., arXiv 1706.03762): feature 2i of position t is
 * sin(t / 10000^(2i / width)), 2i+1 the cosine. Without parameters, for any length. width even. */
AK_API ak_module *ak_nn_sinusoidal(ak_ctx *ctx, const char *name, int64_t width);
/* The table by itself: positions first .. first+count-1, [count, width]; belongs to the step.
 * errors: AK_ERR_VALUE for an odd width and numbers below 1 (first below 0) */
AK_API ak_tensor *ak_sinusoidal(ak_ctx *ctx, int64_t first, int64_t count, int64_t width);

typedef struct ak_relative_layer_options {
    int  heads;
    int  buckets;           /* 0 = 32 */
    int  max_distance;      /* 0 = 128 */
    bool one_sided;         /* decoders: keys behind the query share a bucket */
} ak_relative_layer_options;
/* The bias of ak_relative_bias for self-attention, from a table that is learned.
 *
 *   x        [N, T, ..]: only its length matters -> [heads, T, T], for .bias of blocks
 *   state    -> [N, heads, T, capacity]: the rows of the new positions
 *   parameters   weight [buckets, heads]
 */
AK_API ak_module *ak_nn_relative_bias(ak_ctx *ctx, const char *name, ak_relative_layer_options o);

/* ---- blocks and stacks ----------------------------------------------------------------------- */

typedef struct ak_block_options {
    int    heads;
    int    head_width;      /* 0 = width / heads */
    int    hidden;          /* of the feed-forward part; 0 = 4 width */
    ak_activation activation;   /* default AK_RELU */
    bool   gated;           /* f(x W0^T) (x W1^T) W2^T with f of .activation: AK_SILU (SwiGLU),
                             * AK_GELU, AK_GELU_TANH or AK_RELU */
    bool   post_norm;       /* x = norm(x + f(x)); else x = x + f(norm(x)) */
    bool   rms_norm;        /* in place of layer norm */
    double eps;             /* of the norms; 0 = 1e-5 (RMS: 1e-6) */
    bool   no_bias;         /* of all linear layers */
    bool   cross;           /* cross-attention to .memory behind self-attention */
    int    memory_width;    /* 0 = width */
    bool   causal;
    double scale;           /* of the scores; 0 = 1 / sqrt(head width) */
    ak_rotary_layer rotary; /* of self-attention */
    double dropout;         /* of what each part adds, [0, 1) */
    double attention_dropout;   /* of probabilities */
    double hidden_dropout;  /* behind the activation */
    double drop_path;       /* a sample goes without the part, the others grow: [0, 1) */
    double layer_scale;     /* each part times a learned vector that starts so; 0 = none */
    ak_part_names names;
    ak_init weight;         /* AK_INIT_DEFAULT: N(0, 0.02^2) cut at two deviations */
    double out_scale;       /* the last linear layer of each part starts so many times as large, for
                             * a .weight with a scale; 0 = 1 */
} ak_block_options;
/* One layer: self-attention, cross-attention if asked for, two linear layers with an activation
 * between them, each with a norm and a way around it.
 *
 *   x        [N, T, width] -> the same; .cross: needs .memory [N, S, memory_width]
 *   takes    lengths, mask, prefix, bias (of self-attention), state; .cross: memory_lengths,
 *            memory_mask
 *   errors   AK_ERR_VALUE for options; as ak_nn_attention
 */
AK_API ak_module *ak_nn_transformer_block(ak_ctx *ctx, const char *name, int64_t width,
                                          ak_block_options o);

typedef struct ak_stack_options {
    int  width, layers;
    ak_block_options block;     /* drop_path grows from 0 in the first layer to this in the last */
    int  cross_every;           /* with block.cross: layers 0, k, 2k, .. have it; 0 = every layer */
    bool no_norm;               /* pre-norm: without the norm at the end. Post-norm never has it */
} ak_stack_options;
/* Layer after layer, and a norm at the end: an encoder, with block.causal a decoder.
 *
 *   x, takes   as a block
 *   parameters   layers/0/.., layers/1/.., norm/weight; TIMM: blocks/0, BERT, QFORMER: layer/0,
 *            GPT2: h/0 and ln_f, T5: block/0 and final_layer_norm, CLIP: layers/0 and
 *            final_layer_norm
 */
AK_API ak_module *ak_transformer_stack(ak_ctx *ctx, const char *name, ak_stack_options o);

typedef struct ak_transformer_options {
    ak_stack_options encoder;
    ak_stack_options decoder;   /* block.cross and block.causal are set for it */
} ak_transformer_options;
/* Encoder and decoder: the decoder's memory is what the encoder makes of .memory.
 *
 *   x        [N, T, decoder width] (targets), needs .memory [N, S, encoder width] (sources)
 *   takes    lengths, mask, prefix of x; memory_lengths, memory_mask; state (the encoder then runs
 *            in the first call only: hand the same memory in)
 *   returns  [N, T, decoder width]
 *   parameters   encoder/.., decoder/..: nn.Transformer's names
 */
AK_API ak_module *ak_transformer(ak_ctx *ctx, const char *name, ak_transformer_options o);

/* ---- pooling of sequences -------------------------------------------------------------------- */

/* From [N, T, C] to [N, C]. Which positions count: those below lengths[n] ([N] in [0, T], NULL = T)
 * whose mask is 1 ([N, T], NULL = all). What stands at others, and how far a row is padded, changes
 * no bit.
 *
 *   first    position 0, a class token           last   the last one that counts
 *   mean     of those that count                 max    the largest of each feature
 *   at       the first position whose id is `token` (CLIP: the end token); ids [N, T]
 *   grad     to the positions taken
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for a row of which no position counts, or without the
 *            token; first: for T = 0
 */
AK_API ak_tensor *ak_pool_first(ak_tensor *x);
AK_API ak_tensor *ak_pool_mean(ak_tensor *x, ak_index *lengths, ak_index *mask);
AK_API ak_tensor *ak_pool_max(ak_tensor *x, ak_index *lengths, ak_index *mask);
AK_API ak_tensor *ak_pool_last(ak_tensor *x, ak_index *lengths, ak_index *mask);
AK_API ak_tensor *ak_pool_at(ak_tensor *x, ak_index *ids, int token);

typedef struct ak_attention_pool_options {
    int  heads;
    int  queries;       /* 0 = 1 */
    int  hidden;        /* > 0: y = y + fc2(GELU(fc1(layer norm(y)))) behind it */
    bool sequence;      /* [N, queries, C] also for one query */
} ak_attention_pool_options;
/* Attention of learned queries (the head of SigLIP and of timm's attention pooling). For one query
 * over a map without padding ak_nn_query_pool (akin/heads.h) needs fewer products.
 *
 *   x        [N, T, width] -> [N, width], with more queries [N, queries, width]
 *   takes    lengths, mask
 *   parameters   probe [1, queries, width], attention/.. (nn.MultiheadAttention); with .hidden
 *            layernorm, mlp/fc1, mlp/fc2
 */
AK_API ak_module *ak_nn_attention_pool(ak_ctx *ctx, const char *name, int64_t width,
                                       ak_attention_pool_options o);

/* ---- ViT ------------------------------------------------------------------------------------- */

typedef enum ak_vit_pooling { AK_VIT_CLASS = 0, AK_VIT_MEAN, AK_VIT_BOTH } ak_vit_pooling;
typedef struct ak_vit_options {
    int  image;             /* rows of the pictures that positions are learned for; 0 = 224 */
    int  image_columns;     /* 0 = as many as rows */
    int  patch;             /* side of a patch; 0 = 16 */
    int  channels;          /* 0 = 3 */
    int  width, layers, heads;  /* 0 = 192, 12, 3 (tiny) */
    int  hidden;            /* 0 = 4 width */
    int  classes;           /* > 0: a linear layer "head" of what .pooling gives: [N, classes] */
    ak_vit_pooling pooling; /* of .classes */
    bool no_class_token;    /* patches only; .pooling must be AK_VIT_MEAN then */
    bool sinusoidal;        /* fixed sines of column and row in place of learned positions */
    ak_activation activation;   /* 0 = AK_GELU */
    double eps;             /* of layer norms; 0 = 1e-6 */
    double patch_dropout;   /* share of the patches that a picture goes without in train mode */
    double dropout, attention_dropout, drop_path, layer_scale;  /* as in ak_block_options */
} ak_vit_options;
/* Vision transformer (Dosovitskiy et al., arXiv 2010.11929).
 *
 *   x        [N, H, W, channels], H and W multiples of the patch -> [N, 1 + H W / patch^2, width]:
 *            class token, then patches row by row, behind the last norm; or [N, classes]. Other
 *            pictures than those of .image: learned positions of patches are resized (bilinear) to
 *            the grid that there is, whatever its shape; that of the class token stays. The grid of
 *            .image takes them as they are
 *   parameters   timm's: cls_token, pos_embed, patch_embed/proj/weight [width, patch, patch,
 *            channels] (a convolution's layout), blocks/0/norm1/weight, .., norm, head
 *   errors   AK_ERR_VALUE for options, AK_ERR_SHAPE for pictures
 */
AK_API ak_module *ak_vit(ak_ctx *ctx, const char *name, ak_vit_options o);
/* From tokens [N, T, C] of which the first `front` are no patches (1: a class token): the class
 * token, the mean of the patches, both side by side [N, 2 C].
 * errors: AK_ERR_SHAPE; AK_ERR_VALUE where there is no class token or no patch */
AK_API ak_tensor *ak_vit_pool(ak_tensor *tokens, ak_vit_pooling how, int front);
/* Sizes of ViT-Ti, -S and -B: widths 192, 384, 768; heads 3, 6, 12; 12 layers, patch 16. */
AK_API ak_vit_options ak_vit_tiny(void);
AK_API ak_vit_options ak_vit_small(void);
AK_API ak_vit_options ak_vit_base(void);

/* ---- BERT ------------------------------------------------------------------------------------ */

typedef struct ak_bert_options {
    int    vocab;           /* >= 1 */
    int    width, layers, heads;    /* 0 = 768, 12, 12 */
    int    hidden;          /* 0 = 4 width */
    int    positions;       /* longest sequence; 0 = 512 */
    int    types;           /* kinds of tokens; 0 = 2 */
    int    padding;         /* id whose embedding gets no gradient; 0 = id 0, AK_NONE = none */
    bool   pooler;          /* parameters of ak_bert_pool */
    bool   relu;            /* in place of GELU */
    double eps;             /* of layer norms; 0 = 1e-12 */
    double dropout, attention_dropout;
} ak_bert_options;
/* BERT (Devlin et al., arXiv 1810.04805): embeddings of words, positions and types, a norm,
 * post-norm layers.
 *
 *   needs    ids [N, T], T <= positions
 *   takes    types [N, T] (not there: all 0), lengths, mask
 *   returns  [N, T, width], the last hidden state
 *   parameters   transformers' BertModel: embeddings/word_embeddings/weight, ..,
 *            encoder/layer/0/attention/self/query/weight, .., pooler/dense/weight
 *   errors   AK_ERR_VALUE for options and ids; AK_ERR_SHAPE
 */
AK_API ak_module *ak_bert(ak_ctx *ctx, const char *name, ak_bert_options o);
/* tanh of a linear layer of the first position: [N, T, C] -> [N, C]. m: made with .pooler.
 * errors: AK_ERR_VALUE without it */
AK_API ak_tensor *ak_bert_pool(ak_module *m, ak_tensor *y);
/* The same with a head for masked words, whose last layer has the word embeddings as its weight:
 * one parameter, whose gradient is the sum of both uses.
 *
 *   returns  logits [N, T, vocab]
 *   parameters   BertForMaskedLM: bert/.., cls/predictions/transform/dense, .../LayerNorm,
 *            cls/predictions/bias
 */
AK_API ak_module *ak_bert_masked(ak_ctx *ctx, const char *name, ak_bert_options o);
/* The head alone, of hidden states [.., width] -> [.., vocab]: logits where words are masked cost a
 * seventh of those of all positions.
 *
 *     h = ak_gather_rows(ak_flatten_rows(ak_forward_with(ak_module_child(m, 0), in)), places);
 *     loss = ak_cross_entropy(ak_bert_words(m, h), words, (ak_cross_entropy_options){ 0 });
 */
AK_API ak_tensor *ak_bert_words(ak_module *m, ak_tensor *h);

/* ---- GPT ------------------------------------------------------------------------------------- */

typedef struct ak_gpt_options {
    int    vocab;           /* >= 1 */
    int    width, layers, heads;    /* 0 = 768, 12, 12 */
    int    hidden;          /* 0 = 4 width */
    int    positions;       /* longest sequence; 0 = 1024 */
    bool   states;          /* return hidden states, without the output layer */
    ak_activation activation;   /* 0 = AK_GELU_TANH */
    double eps;             /* 0 = 1e-5 */
    double dropout, attention_dropout;
} ak_gpt_options;
/* GPT-2 (Radford et al. 2019): pre-norm causal layers; the output layer is the word embedding.
 *
 *   needs    ids [N, T]
 *   takes    lengths, mask, prefix, state
 *   returns  logits [N, T, vocab] of the next word; .states: [N, T, width]
 *   parameters   GPT2LMHeadModel: transformer/wte/weight, transformer/wpe/weight,
 *            transformer/h/0/attn/c_attn/weight [3 width, width] (turned, see AK_NAMES_GPT2), ..,
 *            transformer/ln_f; .states: GPT2Model's, without "transformer/"
 */
AK_API ak_module *ak_gpt(ak_ctx *ctx, const char *name, ak_gpt_options o);
/* Mean cross-entropy of the next words: position t says what stands at t + 1.
 *
 *   logits   [N, T, V];  ids [N, T];  lengths [N] or NULL: targets at or beyond do not count
 *   returns  a scalar; 0 if nothing counts
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE as ak_cross_entropy
 */
AK_API ak_tensor *ak_next_word_loss(ak_tensor *logits, ak_index *ids, ak_index *lengths);

/* ---- generation ------------------------------------------------------------------------------ */

/* For every module that takes ids, lengths and state, and returns logits of the next word [N, T,
 * V]: ak_gpt, and decoders that need a memory as well (.inputs). */

typedef struct ak_generate_options {
    int64_t steps;          /* words that are added at most, >= 1 */
    double  temperature;    /* 0 = the most likely word; else words are drawn, logits divided by
                             * it */
    int     top_k;          /* among the k most likely; 0 = all */
    double  top_p;          /* among the fewest of them whose probabilities add to p, (0, 1]; 0 =
                             * 1 */
    bool    has_end;        /* a row ends behind the word .end */
    int     end;
    int     fill;           /* what stands behind the end of a row */
    bool    no_state;       /* run over all positions in every step: slow, the same words */
    ak_inputs inputs;       /* what the module is handed beside ids, lengths and state: .memory,
                             * .. */
} ak_generate_options;
/* Continue N rows of words. The module runs as in evaluation mode, nothing is recorded.
 *
 *   prompt   [N, T], T >= 1; lengths [N] in [1, T] or NULL: words of each row
 *   returns  [N, T + steps], step lifetime: each row's words, those that were added right behind
 *            them, then .fill. all (may be NULL): gets how many words each row has, [N]
 *   equal logits   the lower id
 *   drawing  by the context's seed and its next stream, the row and the step: a row's words do not
 *            depend on what other rows say
 *   errors   AK_ERR_VALUE for options, lengths, and what the module finds (more positions than it
 *            has); AK_ERR_NUMBER for logits that are not numbers
 */
AK_API ak_index *ak_generate(ak_module *m, ak_index *prompt, ak_index *lengths,
                             ak_generate_options o, ak_index **all);
/* log p of given words: of row n the sum over positions first[n] <= t < lengths[n] of
 * log p(ids[n, t] | the words in front of it).
 *
 *   ids      [N, T];  first [N] in [1, T] (where the continuation begins);  lengths [N] or NULL
 *   inputs   beside ids and lengths, as above
 *   returns  [N]; belongs to the step; 0 for a row without continuation
 *   grad     by the module's parameters: it is also what such a model is trained with
 */
AK_API ak_tensor *ak_log_likelihood(ak_module *m, ak_index *ids, ak_index *first,
                                    ak_index *lengths, ak_inputs inputs);

#ifdef __cplusplus
}
#endif
#endif
