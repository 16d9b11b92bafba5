/* SPDX-License-Identifier: Apache-2.0 */
/* Every encoder, pooling and head in a small size: what it takes, what it gives, how many numbers
 * it learns. tests/modules/print.c makes docs/ENCODERS.md of these rows, and test_modules.c runs
 * each through everything that holds for all modules. A new module is one row here.
 *
 *     ROW(kind, "constructor", "input", "output", "who uses it",
 *         x, ids, below, y, parameters, flags, the call; ctx and name are there)
 *
 * x and y are the shapes of the example, AXES(2, 8, 8, 1); NONE: not taken. ids: their shape and
 * the number that all of them are below.
 *
 * flags    BATCH     train mode needs more than one sample (a batch norm of vectors, or of maps
 *                    of one position)
 *          RANDOM    train mode draws numbers
 *          MEMORY    is handed a memory [N, 3, 5] as well
 *          SOURCE    and words of one, [N, 3]
 *          FIXED     its buffers do not follow batches
 */
#ifndef ROW
#define ROW(...)
#endif

ROW("encoder of pictures", "ak_convnet", "[N, H, W, C]", "[N, pool^2 D], or the map",
    "SimCLR, MoCo, SwAV and most others on small pictures", AXES(2, 8, 8, 2), NONE, 0,
    AXES(2, 20), 205, 0,
    ak_convnet(ctx, name, (ak_convnet_options){ .channels = { 2, 3, 5 }, .pool = 2 }))
ROW("encoder of pictures", "ak_resnet18", "[N, H, W, C]", "[N, 8 width], [N, classes], or the map",
    "SimCLR, BYOL, SepCLR, Hydra, InterCLR", AXES(2, 16, 16, 3), NONE, 0, AXES(2, 16), 11250, 0,
    ak_resnet18(ctx, name, (ak_resnet_options){ .width = 2 }))
ROW("encoder of pictures", "ak_resnet34", "[N, H, W, C]", "[N, 8 width], [N, classes], or the map",
    "as ResNet-18", AXES(2, 16, 16, 3), NONE, 0, AXES(2, 16), 21346, 0,
    ak_resnet34(ctx, name, (ak_resnet_options){ .width = 2 }))
ROW("encoder of pictures", "ak_resnet50", "[N, H, W, C]", "[N, 32 width], [N, classes], or the map",
    "SimCLR, MoCo, BYOL, SwAV, PixPro, CLIP", AXES(2, 32, 32, 3), NONE, 0, AXES(2, 4), 25110, BATCH,
    ak_resnet50(ctx, name, (ak_resnet_options){ .width = 2, .stem = 7, .classes = 4,
                                                .zero_last = true }))

ROW("encoder of pictures", "ak_vit", "[N, H, W, C]", "[N, 1 + patches, D], or [N, classes]",
    "MoCo v3, SigLIP, ALBEF", AXES(2, 4, 6, 2), NONE, 0, AXES(2, 7, 4), 230, 0,
    ak_vit(ctx, name, (ak_vit_options){ .image = 4, .image_columns = 6, .patch = 2, .channels = 2,
                                        .width = 4, .layers = 1, .heads = 2, .hidden = 6 }))
ROW("encoder of pictures", "ak_clip_vision", "[N, H, W, C]", "[N, 1 + patches, D]",
    "CLIP, BLIP-2", AXES(2, 4, 4, 2), NONE, 0, AXES(2, 5, 4), 226, 0,
    ak_clip_vision(ctx, name, (ak_vit_options){ .image = 4, .patch = 2, .channels = 2, .width = 4,
                                                .layers = 1, .heads = 2, .hidden = 6 }))

ROW("encoder of sequences", "ak_transformer_stack", "[N, T, D]", "like x",
    "encoders and decoders of all kinds", AXES(2, 3, 4), NONE, 0, AXES(2, 3, 4), 298, 0,
    ak_transformer_stack(ctx, name, (ak_stack_options){
        .width = 4, .layers = 2, .block = { .heads = 2, .hidden = 5, .activation = AK_GELU } }))
ROW("encoder of sequences", "ak_transformer", "[N, T, D], .memory [N, S, E]", "like x",
    "translation, captions", AXES(2, 4, 4), NONE, 0, AXES(2, 4, 4), 723, MEMORY,
    ak_transformer(ctx, name, (ak_transformer_options){
        .encoder = { .width = 5, .layers = 1, .block = { .heads = 1, .activation = AK_GELU } },
        .decoder = { .width = 4, .layers = 1, .block = { .heads = 2, .activation = AK_GELU } } }))
ROW("encoder of sequences", "ak_bert", ".ids [N, T]", "[N, T, D]",
    "SimCSE, ALBEF, CodeT5+, VG-BERT", NONE, AXES(2, 4), 5, AXES(2, 4, 4), 214, 0,
    ak_bert(ctx, name, (ak_bert_options){ .vocab = 5, .width = 4, .layers = 1, .heads = 2,
                                          .hidden = 6, .positions = 6, .padding = AK_NONE,
                                          .eps = 0.01 }))
ROW("encoder of sequences", "ak_bert_masked", ".ids [N, T]", "[N, T, words]",
    "masked words beside a contrast", NONE, AXES(2, 4), 5, AXES(2, 4, 5), 247, 0,
    ak_bert_masked(ctx, name, (ak_bert_options){ .vocab = 5, .width = 4, .layers = 1, .heads = 2,
                                                 .hidden = 6, .positions = 6,
                                                 .padding = AK_NONE, .eps = 0.01 }))
ROW("encoder of sequences", "ak_gpt", ".ids [N, T]", "[N, T, words], or [N, T, D]",
    "LCO-Emb, captions", NONE, AXES(2, 4), 5, AXES(2, 4, 5), 206, 0,
    ak_gpt(ctx, name, (ak_gpt_options){ .vocab = 5, .width = 4, .layers = 1, .heads = 2,
                                        .hidden = 6, .positions = 6 }))
ROW("encoder of sequences", "ak_t5", ".ids [N, T], .memory_ids [N, S]", "[N, T, words]",
    "CodeT5+", NONE, AXES(2, 4), 5, AXES(2, 4, 5), 400, SOURCE,
    ak_t5(ctx, name, (ak_t5_options){ .vocab = 5, .width = 4, .layers = 1, .heads = 2, .hidden = 6,
                                      .buckets = 4, .max_distance = 5, .gated = true,
                                      .activation = AK_GELU_TANH }))
ROW("encoder of sequences", "ak_t5_encoder", ".ids [N, T]", "[N, T, D]",
    "embeddings of texts", NONE, AXES(2, 4), 5, AXES(2, 4, 4), 208, 0,
    ak_t5_encoder(ctx, name, (ak_t5_options){ .vocab = 5, .width = 4, .layers = 1, .heads = 2,
                                              .hidden = 6, .activation = AK_GELU }))
ROW("encoder of sequences", "ak_clip_text", ".ids [N, T]", "[N, T, D]",
    "CLIP", NONE, AXES(2, 4), 5, AXES(2, 4, 4), 202, 0,
    ak_clip_text(ctx, name, (ak_clip_text_options){ .vocab = 5, .width = 4, .layers = 1,
                                                    .heads = 2, .hidden = 6, .positions = 5,
                                                    .eps = 0.01 }))

ROW("encoder of pictures and words", "ak_clip", "[N, H, W, C], .ids [M, T]", "[N, M]",
    "CLIP, NegCLIP, TiPCLIP", AXES(2, 4, 4, 2), AXES(2, 4), 5, AXES(2, 2), 453, 0,
    ak_clip(ctx, name, (ak_clip_options){
        .text = { .vocab = 5, .width = 4, .layers = 1, .heads = 2, .hidden = 6, .positions = 5,
                  .end = 2 },
        .picture = { .image = 4, .patch = 2, .channels = 2, .width = 4, .layers = 1, .heads = 2,
                     .hidden = 6 }, .projection = 3 }))
ROW("encoder of pictures and words", "ak_qformer", ".memory [N, S, E], .ids [N, T]",
    "[N, Q + T, D]", "BLIP-2, CoAVT", NONE, AXES(2, 4), 5, AXES(2, 6, 4), 556, MEMORY,
    ak_qformer(ctx, name, (ak_qformer_options){
        .width = 4, .layers = 2, .heads = 2, .hidden = 5, .memory_width = 5, .queries = 2,
        .vocab = 5, .positions = 5, .padding = AK_NONE }))

ROW("pooling", "ak_nn_attention_pool", "[N, T, D]", "[N, D], or [N, queries, D]", "SigLIP",
    AXES(2, 3, 4), NONE, 0, AXES(2, 4), 141, 0,
    ak_nn_attention_pool(ctx, name, 4, (ak_attention_pool_options){ .heads = 2, .hidden = 5 }))
ROW("encoder of sequences", "ak_convnet1d", "[N, T, C], lengths", "[N, T', D]",
    "frames of sound and ECG in MORE, COCONUT, Symile", AXES(3, 7, 3), NONE, 0, AXES(3, 4, 5), 114,
    0, ak_convnet1d(ctx, name, (ak_convnet1d_options){ .channels = { 3, 4, 5 },
                                                       .stride = { 2, 1 } }))
ROW("encoder of sequences", "ak_nn_gru", "[N, T, C], lengths, .memory: first states",
    "[N, T, H or 2 H]", "names as characters in cMIM, series", AXES(3, 5, 3), NONE, 0,
    AXES(3, 5, 8), 552, 0,
    ak_nn_gru(ctx, name, 3, 4, (ak_gru_layer_options){ .layers = 2, .both = true }))
ROW("encoder of sequences", "ak_nn_embedding_bag", ".ids [N, T], lengths, .x: weights", "[N, dim]",
    "bags of words, baskets of items", NONE, AXES(3, 5), 7, AXES(3, 4), 28, 0,
    ak_nn_embedding_bag(ctx, name, 7, 4, (ak_embedding_bag_layer_options){ 0 }))
ROW("encoder of tables", "ak_tabular", "[N, F] numbers, .ids [N, columns]", "[N, last size]",
    "M3CoL, SupReMix", AXES(3, 2), AXES(3, 2), 3, AXES(3, 5), 88, FIXED,
    ak_tabular(ctx, name, (ak_tabular_options){ .numbers = 2, .categories = { 3, 6 },
                                                .hidden = (int[]){ 4, 5, 0 },
                                                .missing = AK_MISSING_EMBEDDING }))

ROW("pooling", "ak_nn_global_avg_pool", "[N, .., C]", "[N, C]", "convolutional encoders",
    AXES(2, 3, 4, 5), NONE, 0, AXES(2, 5), 0, 0, ak_nn_global_avg_pool(ctx, name))
ROW("pooling", "ak_nn_global_max_pool", "[N, .., C]", "[N, C]", "retrieval",
    AXES(2, 3, 4, 5), NONE, 0, AXES(2, 5), 0, 0, ak_nn_global_max_pool(ctx, name))
ROW("pooling", "ak_nn_gem_pool", "[N, .., C]", "[N, C]", "retrieval",
    AXES(2, 3, 4, 5), NONE, 0, AXES(2, 5), 5, 0,
    ak_nn_gem_pool(ctx, name, 5, (ak_gem_options){ .per_channel = true, .p = 2 }))
ROW("pooling", "ak_nn_query_pool", "[N, .., C]", "[N, out]",
    "vision transformers, CoSMo's summaries", AXES(2, 3, 4, 6), NONE, 0, AXES(2, 4), 112, 0,
    ak_nn_query_pool(ctx, name, 6, (ak_query_pool_options){ .heads = 2, .out = 4 }))
ROW("pooling", "ak_nn_clip_pool", "[N, side, side, C]", "[N, out]", "CLIP's ResNets",
    AXES(2, 3, 3, 6), NONE, 0, AXES(2, 4), 214, 0, ak_nn_clip_pool(ctx, name, 3, 6, 2, 4))

ROW("head", "ak_mlp", "[.., sizes[0]]", "[.., last size]", "any",
    AXES(3, 6), NONE, 0, AXES(3, 4), 59, 0, ak_mlp(ctx, name, (int[]){ 6, 5, 4, 0 }))
ROW("head", "ak_projector", "[N, in]", "[N, out]", "SimCLR, Barlow Twins",
    AXES(3, 6), NONE, 0, AXES(3, 4), 68, BATCH, ak_projector(ctx, name, 6, 5, 4))
ROW("head", "ak_predictor", "[N, dim]", "[N, dim]", "BYOL, SimSiam",
    AXES(3, 6), NONE, 0, AXES(3, 6), 76, BATCH, ak_predictor(ctx, name, 6, 5))
ROW("head", "ak_head", "[.., in]", "[.., out]", "the methods of the table below",
    AXES(3, 6), NONE, 0, AXES(3, 4), 60, BATCH,
    ak_head(ctx, name, "moco-v3", 6, (ak_head_options){ .hidden = 5, .out = 4 }))
ROW("head", "ak_prototypes", "[.., D]", "[.., sum K]", "SwAV, InterCLR, CAPro",
    AXES(3, 6), NONE, 0, AXES(3, 9), 54, 0,
    ak_prototypes(ctx, name, 6, (ak_prototypes_options){ .sets = { 4, 5 } }))
ROW("head", "ak_multi_head", "what the trunk takes", "[.., sum D]",
    "PixPro with an instance branch, MORE, cMIM", AXES(3, 6), NONE, 0, AXES(3, 8), 100, BATCH,
    two_heads(ctx, name))
ROW("head", "ak_feature_gate", ".ids [N, 2]", "[N, dim]", "Hydra/SimLAP",
    NONE, AXES(4, 2), 5, AXES(4, 7), 105, BATCH,
    ak_feature_gate(ctx, name, 5, 7, (ak_feature_gate_options){ .embedding = 4, .hidden = 5 }))
ROW("head", "ak_pixel_propagation", "[N, .., C]", "like x", "PixPro",
    AXES(2, 3, 2, 5), NONE, 0, AXES(2, 3, 2, 5), 65, 0,
    ak_pixel_propagation(ctx, name, 5, (ak_propagation_options){ .layers = 2 }))
ROW("head", "ak_matching_head", "[N, T, D], or [N, D]", "[N, 2]",
    "ALBEF, CodeT5+, CoAVT, GRAM", AXES(3, 4, 6), NONE, 0, AXES(3, 2), 57, 0,
    ak_matching_head(ctx, name, 6, (ak_matching_options){ .hidden = 5 }))
ROW("head", "ak_lm_head", "[.., dim]", "[.., vocabulary]", "masked words, captions",
    AXES(2, 3, 4), NONE, 0, AXES(2, 3, 7), 63, 0,
    ak_lm_head(ctx, name, 4, 7, (ak_lm_head_options){ .transform = true }))
ROW("head", "ak_relation_head", "[N, O, dim]", "[N, relations, O, O]", "VG-BERT",
    AXES(2, 3, 6), NONE, 0, AXES(2, 5, 3, 3), 108, RANDOM,
    ak_relation_head(ctx, name, 6, 5, (ak_relation_options){ .size = 4, .dropout = 0.1 }))

#undef ROW
