/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recipes.h"

#include "bench/bench.h"

#define TAU 0.5

static ak_tensor *embed(const recipe_state *s, ak_tensor *x)
{
    ak_tensor *y = ak_forward(s->encoder, x);
    return ak_forward(s->head, s->pool ? s->pool(y) : y);
}

ak_tensor *recipe_contrast_joint(const recipe_state *s)
{
    ak_tensor    *z = embed(s, s->input);
    const int64_t N = z->shape.dims[0] / 2;
    return ak_loss_ntxent(ak_rows(z, 0, N), ak_rows(z, N, N), (ak_ntxent_options){ .tau = TAU });
}

ak_tensor *recipe_contrast_two_passes(const recipe_state *s)
{
    const int64_t N = s->input->shape.dims[0] / 2;
    ak_tensor    *z1 = embed(s, ak_rows(s->input, 0, N));
    ak_tensor    *z2 = embed(s, ak_rows(s->input, N, N));
    return ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = TAU });
}

static void build_convnet(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(512, 28, 28, 1)));
    s->encoder = ak_convnet(s->ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 32, 64, 128 }, .pool = 1 });
    s->head = ak_mlp(s->ctx, "projector", (int[]){ 128, 128, 64, 0 });
}

/* The network of the quickstart: features of 4 x 4 places. */
static void build_quickstart(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(512, 28, 28, 1)));
    s->encoder = ak_convnet(s->ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 32, 64, 128 }, .pool = 4 });
    s->head = ak_mlp(s->ctx, "projector", (int[]){ 2048, 128, 64, 0 });
}

static void build_resnet(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(256, 32, 32, 3)));
    s->encoder = ak_resnet18(s->ctx, "encoder", (ak_resnet_options){ 0 });
    s->head = ak_mlp(s->ctx, "projector", (int[]){ 512, 512, 128, 0 });
}

static void build_resnet50(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(128, 32, 32, 3)));
    s->encoder = ak_resnet50(s->ctx, "encoder", (ak_resnet_options){ 0 });
    s->head = ak_mlp(s->ctx, "projector", (int[]){ 2048, 2048, 128, 0 });
}

static void build_vit(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(128, 32, 32, 3)));
    s->encoder = ak_vit(s->ctx, "encoder", (ak_vit_options){ .image = 32, .patch = 4 });
    s->pool = ak_pool_first;
    s->head = ak_mlp(s->ctx, "projector", (int[]){ 192, 192, 128, 0 });
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Ids in [1, vocab) that live as long as the context. */
static ak_index *words(const recipe_state *s, int N, int T, int vocab)
{
    static int32_t ids[1 << 15];
    if (N * T > BENCH_COUNT(ids))
        bench_die("more words than there is room for");
    for (int i = 0; i < N * T; i++)
        ids[i] = 1 + (int32_t)ak_random_below(1, 3, (uint64_t)i, (uint64_t)vocab - 1);
    return ak_index_keep(ak_index_from(s->ctx, AK_SHAPE(N, T), ids));
}

/* One tower of CLIP's kind: the other's embeddings are given. */
static void build_text(recipe_state *s)
{
    enum { TEXTS = 128, LENGTH = 64, VOCAB = 8192, WIDTH = 256, OUT = 128 };
    s->ids = words(s, TEXTS, LENGTH, VOCAB);
    s->target = ak_keep(ak_randn(s->ctx, AK_SHAPE(TEXTS, OUT)));
    s->encoder = ak_module_begin(ak_nn_sequential(s->ctx, "encoder", NULL));
    ak_nn_embedding(s->ctx, "words", VOCAB, WIDTH, (ak_embedding_layer_options){ 0 });
    ak_nn_positions(s->ctx, "positions", LENGTH, WIDTH);
    ak_transformer_stack(s->ctx, "stack", (ak_stack_options){
        .width = WIDTH, .layers = 4,
        .block = { .heads = 4, .activation = AK_GELU, .names = AK_NAMES_TIMM } });
    ak_module_end(s->encoder);
    s->head = ak_nn_linear(s->ctx, "projector", WIDTH, OUT, (ak_linear_options){ 0 });
}

static ak_tensor *find_target(const recipe_state *s)
{
    ak_tensor *y = ak_forward_with(s->encoder, (ak_inputs){ .ids = s->ids });
    ak_tensor *z = ak_forward(s->head, ak_pool_mean(y, NULL, NULL));
    return ak_loss_infonce(z, s->target, (ak_infonce_options){ .tau = TAU });
}

/* Two texts in one, padded: does one follow from the other? The size of MiniLM with six layers. */
static void build_cross(recipe_state *s)
{
    enum { PAIRS = 32, LENGTH = 128, VOCAB = 8192, WIDTH = 384, SHORTEST = 48 };
    s->ids = words(s, PAIRS, LENGTH, VOCAB);
    s->target = ak_state(s->ctx, AK_SHAPE(PAIRS, 1));
    int32_t lengths[PAIRS], types[PAIRS * LENGTH] = { 0 };
    for (int n = 0; n < PAIRS; n++) {
        lengths[n] = SHORTEST + 37 * n % (LENGTH - SHORTEST + 1);
        for (int t = lengths[n] / 2; t < lengths[n]; t++)
            types[n * LENGTH + t] = 1;
        s->target->data[n] = (ak_real)(n % 2);
    }
    s->lengths = ak_index_keep(ak_index_from(s->ctx, AK_SHAPE(PAIRS), lengths));
    s->types = ak_index_keep(ak_index_from(s->ctx, AK_SHAPE(PAIRS, LENGTH), types));
    s->encoder = ak_bert(s->ctx, "bert", (ak_bert_options){
        .vocab = VOCAB, .width = WIDTH, .layers = 6, .heads = 12, .positions = LENGTH,
        .pooler = true });
    s->head = ak_nn_linear(s->ctx, "classifier", WIDTH, 1, (ak_linear_options){ 0 });
}

static ak_tensor *judge(const recipe_state *s)
{
    ak_tensor *y = ak_forward_with(s->encoder, (ak_inputs){
        .ids = s->ids, .types = s->types, .lengths = s->lengths });
    return ak_bce_logits(ak_forward(s->head, ak_bert_pool(s->encoder, y)), s->target);
}

/* ---- small ones ------------------------------------------------------------------------------ */

static void build_mlp(recipe_state *s)
{
    s->input = ak_keep(ak_randn(s->ctx, AK_SHAPE(32, 64)));
    s->target = ak_keep(ak_randn(s->ctx, AK_SHAPE(32, 64)));
    s->head = ak_mlp(s->ctx, "mlp", (int[]){ 64, 128, 64, 0 });
}

static ak_tensor *regress(const recipe_state *s)
{
    return ak_mse(ak_forward(s->head, s->input), s->target);
}

static void build_tiny(recipe_state *s)
{
    s->input = ak_param(s->ctx, "x", AK_SHAPE(16), 0);
}

/* 1,000 ops of 16 numbers in a chain: the row's time / 1,000 is what one op costs. */
static ak_tensor *chain(const recipe_state *s)
{
    ak_tensor *y = s->input;
    for (int i = 0; i < 1000; i++)
        y = ak_scale(y, 1.0001);
    return ak_sum(y);
}

const recipe recipes[] = {
    { "tiny op x 1000, forward + backward", 1, 500, build_tiny, chain },
    { "mlp 64-128-64 b32", 32, 2000, build_mlp, regress },
    { "simclr convnet 32-64-128 28px b256", 512, 15, build_convnet, recipe_contrast_joint },
    { "simclr quickstart net 28px b256", 512, 15, build_quickstart, recipe_contrast_joint },
    { "simclr resnet18 32px b128", 256, 3, build_resnet, recipe_contrast_joint },
    { "simclr resnet50 32px b64", 128, 3, build_resnet50, recipe_contrast_joint },
    { "simclr vit-tiny/4 32px b64", 128, 5, build_vit, recipe_contrast_joint },
    { "text transformer w256 d4 T64 b128", 128, 10, build_text, find_target },
    { "bert cross-encoder w384 d6 T128 b32", 32, 10, build_cross, judge },
};
const int recipe_count = BENCH_COUNT(recipes);

const recipe *recipe_find(const char *name)
{
    for (int i = 0; i < recipe_count; i++)
        if (strcmp(recipes[i].name, name) == 0)
            return &recipes[i];
    return NULL;
}
