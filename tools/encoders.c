/* SPDX-License-Identifier: Apache-2.0 */
/* The modules that `akin info NAME` can make: a line each in MODELS. */
#include "tool.h"

#include <string.h>

/* The numbers behind --name, ended by 0; none where it was not given. */
static const int *list(const model_options *o, const char *name)
{
    static const int none[1];
    for (int i = 0; i < o->n; i++)
        if (strcmp(o->option[i].name, name) == 0)
            return o->option[i].values;
    return none;
}

/* The one number behind --name; 0, which every constructor takes for its usual one. */
static int number(const model_options *o, const char *name)
{
    return list(o, name)[0];
}

static int number_or(const model_options *o, const char *name, int usual)
{
    return number(o, name) ? number(o, name) : usual;
}

/* The last axis of the input. */
static int depth(const model_options *o)
{
    return o->input.n ? (int)o->input.dims[o->input.n - 1] : 0;
}

/* The sizes given, or { depth, 128, 64 }. */
static const int *sizes(const model_options *o)
{
    static int usual[] = { 0, 128, 64, 0 };
    usual[0] = depth(o);
    return number(o, "sizes") ? list(o, "sizes") : usual;
}

static ak_convnet_options convnet(const model_options *o)
{
    ak_convnet_options c = { .channels = { depth(o), 32, 64, 128 }, .pool = number(o, "pool") };
    if (number(o, "channels"))
        memcpy(c.channels, list(o, "channels"), sizeof c.channels);
    return c;
}

static ak_resnet_options resnet(const model_options *o)
{
    return (ak_resnet_options){ .channels = depth(o), .width = number(o, "width"),
                                .stem = number(o, "stem"), .classes = number(o, "classes") };
}

static ak_vit_options vit(const model_options *o)
{
    const ak_shape s = o->input;
    return (ak_vit_options){
        .image = s.n ? (int)s.dims[0] : 0, .image_columns = s.n > 1 ? (int)s.dims[1] : 0,
        .channels = depth(o), .patch = number(o, "patch"), .width = number(o, "width"),
        .layers = number(o, "layers"), .heads = number(o, "heads"),
        .hidden = number(o, "hidden"), .classes = number(o, "classes") };
}

static ak_bert_options bert(const model_options *o)
{
    return (ak_bert_options){
        .vocab = number_or(o, "vocab", 30522), .width = number(o, "width"),
        .layers = number(o, "layers"), .heads = number(o, "heads"),
        .hidden = number(o, "hidden"), .positions = number(o, "positions") };
}

static ak_gpt_options gpt(const model_options *o)
{
    return (ak_gpt_options){
        .vocab = number_or(o, "vocab", 50257), .width = number(o, "width"),
        .layers = number(o, "layers"), .heads = number(o, "heads"),
        .hidden = number(o, "hidden"), .positions = number(o, "positions") };
}

static ak_t5_options t5(const model_options *o)
{
    return (ak_t5_options){
        .vocab = number_or(o, "vocab", 32128), .width = number(o, "width"),
        .layers = number(o, "layers"), .heads = number(o, "heads"),
        .hidden = number(o, "hidden") };
}

static ak_clip_text_options clip_text(const model_options *o)
{
    return (ak_clip_text_options){
        .vocab = number_or(o, "vocab", 49408), .width = number(o, "width"),
        .layers = number(o, "layers"), .heads = number(o, "heads"),
        .hidden = number(o, "hidden"), .positions = number(o, "positions") };
}

/* name, usual input, options ("sizes..": several numbers), tokens?, how it is made */
#define MODELS(MODEL)                                                                              \
    MODEL(convnet, "28x28x1", "channels.. pool", false, ak_convnet(ctx, name, convnet(o)))         \
    MODEL(resnet18, "32x32x3", "width stem classes", false, ak_resnet18(ctx, name, resnet(o)))     \
    MODEL(resnet34, "32x32x3", "width stem classes", false, ak_resnet34(ctx, name, resnet(o)))     \
    MODEL(resnet50, "32x32x3", "width stem classes", false, ak_resnet50(ctx, name, resnet(o)))     \
    MODEL(vit, "224x224x3", "patch width layers heads hidden classes", false,                      \
          ak_vit(ctx, name, vit(o)))                                                               \
    MODEL(clip_vision, "224x224x3", "patch width layers heads hidden", false,                      \
          ak_clip_vision(ctx, name, vit(o)))                                                       \
    MODEL(bert, "128", "vocab width layers heads hidden positions", true,                          \
          ak_bert(ctx, name, bert(o)))                                                             \
    MODEL(gpt, "128", "vocab width layers heads hidden positions", true,                           \
          ak_gpt(ctx, name, gpt(o)))                                                               \
    MODEL(t5_encoder, "128", "vocab width layers heads hidden", true,                              \
          ak_t5_encoder(ctx, name, t5(o)))                                                         \
    MODEL(clip_text, "77", "vocab width layers heads hidden positions", true,                      \
          ak_clip_text(ctx, name, clip_text(o)))                                                   \
    MODEL(mlp, "2048", "sizes..", false, ak_mlp(ctx, name, sizes(o)))                              \
    MODEL(projector, "2048", "hidden out", false,                                                  \
          ak_projector(ctx, name, depth(o), number_or(o, "hidden", 2048),                          \
                       number_or(o, "out", 128)))                                                  \
    MODEL(predictor, "256", "hidden", false,                                                       \
          ak_predictor(ctx, name, depth(o), number_or(o, "hidden", 4096)))

#define MAKE(id, input, options, tokens, made)                                                     \
    static ak_module *make_##id(ak_ctx *ctx, const char *name, const model_options *o)             \
    {                                                                                              \
        return made;                                                                               \
    }
MODELS(MAKE)

#define ROW(id, input, options, tokens, made) { #id, input, options, tokens, make_##id },
static const model models[] = { MODELS(ROW) };

const model *model_at(int i)
{
    return i >= 0 && i < (int)(sizeof models / sizeof *models) ? &models[i] : NULL;
}
