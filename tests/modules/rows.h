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
ROW("head", "ak_gate", ".ids [N, 2]", "[N, dim]", "Hydra/SimLAP",
    NONE, AXES(4, 2), 5, AXES(4, 7), 105, BATCH,
    ak_gate(ctx, name, 5, 7, (ak_gate_options){ .embedding = 4, .hidden = 5 }))
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
