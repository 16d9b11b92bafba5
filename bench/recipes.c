/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recipes.h"

#include "bench/bench.h"

#define TAU 0.5

static ak_tensor *embed(const recipe_state *s, ak_tensor *x)
{
    return ak_forward(s->head, ak_forward(s->encoder, x));
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
};
const int recipe_count = BENCH_COUNT(recipes);

const recipe *recipe_find(const char *name)
{
    for (int i = 0; i < recipe_count; i++)
        if (strcmp(recipes[i].name, name) == 0)
            return &recipes[i];
    return NULL;
}
