/* SPDX-License-Identifier: Apache-2.0 */
#include "nn/part_names.h"

#include "base/base.h"

static const ak__attention_names attentions[] = {
    [AK_NAMES_TORCH] = { .out = "out_proj" },
    [AK_NAMES_TIMM] = { .qkv = "qkv", .q = "q", .kv = "kv", .out = "proj" },
    [AK_NAMES_BERT] = { .q = "self/query", .k = "self/key", .v = "self/value",
                        .out = "output/dense" },
    [AK_NAMES_GPT2] = { .qkv = "c_attn", .q = "q_attn", .kv = "c_attn", .out = "c_proj" },
    [AK_NAMES_CLIP] = { .q = "q_proj", .k = "k_proj", .v = "v_proj", .out = "out_proj" },
    [AK_NAMES_T5] = { .q = "q", .k = "k", .v = "v", .out = "o" },
    [AK_NAMES_QFORMER] = { .q = "attention/query", .k = "attention/key", .v = "attention/value",
                           .out = "output/dense" },
};

#define SAME(...) .feed = { __VA_ARGS__ }, .feed_cross = { __VA_ARGS__ }
#define SAME_GATED(...) .gated = { __VA_ARGS__ }, .gated_cross = { __VA_ARGS__ }
#define SCALES { "ls1/gamma", "ls_cross/gamma", "ls2/gamma" }
#define T5_FEED(layer, in, gate)                                                                   \
    { layer "/layer_norm", layer "/DenseReluDense/" in, gate, layer "/DenseReluDense/wo" }

static const ak__block_names blocks[] = {
    [AK_NAMES_TORCH] = {
        "self_attn", "norm1", "multihead_attn", "norm2", .feed = { "norm2", "linear1", NULL,
        "linear2" }, .feed_cross = { "norm3", "linear1", NULL, "linear2" },
        .gated = { "norm2", "linear1", "linear_gate", "linear2" },
        .gated_cross = { "norm3", "linear1", "linear_gate", "linear2" }, .scales = SCALES },
    [AK_NAMES_TIMM] = {
        "attn", "norm1", "cross_attn", "norm_cross", SAME("norm2", "mlp/fc1", NULL, "mlp/fc2"),
        SAME_GATED("norm2", "mlp/fc1_x", "mlp/fc1_g", "mlp/fc2"), .scales = SCALES },
    [AK_NAMES_BERT] = {
        "attention", "attention/output/LayerNorm", "crossattention",
        "crossattention/output/LayerNorm",
        SAME("output/LayerNorm", "intermediate/dense", NULL, "output/dense"),
        SAME_GATED("output/LayerNorm", "intermediate/dense", "intermediate/gate", "output/dense"),
        .scales = SCALES },
    [AK_NAMES_GPT2] = {
        "attn", "ln_1", "crossattention", "ln_cross_attn",
        SAME("ln_2", "mlp/c_fc", NULL, "mlp/c_proj"),
        SAME_GATED("ln_2", "mlp/c_fc", "mlp/c_gate", "mlp/c_proj"), .scales = SCALES },
    [AK_NAMES_CLIP] = {
        "self_attn", "layer_norm1", "encoder_attn", "layer_norm_cross",
        SAME("layer_norm2", "mlp/fc1", NULL, "mlp/fc2"),
        SAME_GATED("layer_norm2", "mlp/fc1", "mlp/gate", "mlp/fc2"), .scales = SCALES },
    [AK_NAMES_T5] = {
        "layer/0/SelfAttention", "layer/0/layer_norm", "layer/1/EncDecAttention",
        "layer/1/layer_norm", .feed = T5_FEED("layer/1", "wi", NULL),
        .feed_cross = T5_FEED("layer/2", "wi", NULL),
        .gated = T5_FEED("layer/1", "wi_1", "layer/1/DenseReluDense/wi_0"),
        .gated_cross = T5_FEED("layer/2", "wi_1", "layer/2/DenseReluDense/wi_0"),
        .scales = SCALES },
    [AK_NAMES_QFORMER] = {
        "attention", "attention/output/LayerNorm", "crossattention",
        "crossattention/output/LayerNorm",
        SAME("output_query/LayerNorm", "intermediate_query/dense", NULL, "output_query/dense"),
        SAME_GATED("output_query/LayerNorm", "intermediate_query/dense", "intermediate_query/gate",
                   "output_query/dense"), .scales = SCALES },
};

static const ak__stack_names stacks[] = {
    [AK_NAMES_TORCH] = { "layers", "norm" },   [AK_NAMES_TIMM] = { "blocks", "norm" },
    [AK_NAMES_BERT] = { "layer", "LayerNorm" }, [AK_NAMES_GPT2] = { "h", "ln_f" },
    [AK_NAMES_CLIP] = { "layers", "final_layer_norm" },
    [AK_NAMES_T5] = { "block", "final_layer_norm" },
    [AK_NAMES_QFORMER] = { "layer", "LayerNorm" },
};

bool ak__names_known(ak_ctx *ctx, const char *name, ak_part_names names)
{
    if ((int)names >= 0 && names <= AK_NAMES_QFORMER)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: unknown names %d (ak_part_names: 0 to %d)", name, (int)names,
            (int)AK_NAMES_QFORMER);
    return false;
}

const ak__attention_names *ak__names_of_attention(ak_part_names names)
{
    return &attentions[names];
}

const ak__block_names *ak__names_of_block(ak_part_names names) { return &blocks[names]; }
const ak__stack_names *ak__names_of_stack(ak_part_names names) { return &stacks[names]; }
