/* SPDX-License-Identifier: Apache-2.0 */
/* akin/transformer.h - attention, positions, transformer blocks and stacks, ViT, BERT, GPT, pooling of
 * sequences, generation.
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
 * Weights of blocks start from N(0, 0.02^2) cut at two deviations, biases from 0, unless .weight says
 * otherwise.
 */
#ifndef AKIN_TRANSFORMER_H
#define AKIN_TRANSFORMER_H

#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whose names the parts have:
 *
 *   TORCH    nn.MultiheadAttention: in_proj_weight [3 H D, C] (queries, keys, values), in_proj_bias,
 *            out_proj/weight; with another width of the memory q_proj_weight, k_proj_weight,
 *            v_proj_weight. nn.TransformerEncoderLayer: self_attn/.., multihead_attn/.. (cross),
 *            linear1, linear2, norm1, norm2, norm3
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
 *   takes    lengths, mask, prefix (causal), bias, state; .cross: memory_lengths, memory_mask, bias,
 *            state
 *   state    without .cross the module must be causal; keys and values of x are added to those that
 *            are there, and the result is that of all positions at once. lengths: positions of x
 *            that count. With .cross the memory is read in the first call only. Nothing is recorded:
 *            between ak_no_grad_begin and ak_no_grad_end, or AK_ERR_STATE
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
 *   parameters   layers/0/.., layers/1/.., norm/weight; TIMM: blocks/0, BERT, QFORMER: layer/0, GPT2:
 *            h/0 and ln_f, T5: block/0 and final_layer_norm, CLIP: layers/0 and final_layer_norm
 */
AK_API ak_module *ak_transformer_stack(ak_ctx *ctx, const char *name, ak_stack_options o);

typedef struct ak_transformer_options {
    ak_stack_options encoder;
    ak_stack_options decoder;   /* block.cross and block.causal are set for it */
} ak_transformer_options;
/* Encoder and decoder: the decoder's memory is what the encoder makes of .memory.
 *
 *   x        [N, T, decoder width] (targets), needs .memory [N, S, encoder width] (sources)
 *   takes    lengths, mask, prefix of x; memory_lengths, memory_mask; state (the encoder then runs in
 *            the first call only: hand the same memory in)
 *   returns  [N, T, decoder width]
 *   parameters   encoder/.., decoder/..: nn.Transformer's names
 */
AK_API ak_module *ak_transformer(ak_ctx *ctx, const char *name, ak_transformer_options o);

#ifdef __cplusplus
}
#endif
#endif
