/* SPDX-License-Identifier: Apache-2.0 */
/* ViT: patches, positions for any size of picture, layers; and CLIP's. */
#include "nn/transformer.h"

#include <akin/models.h>

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Own tensors: the class token and the positions, where there are any. Children: the patch
 * projection, CLIP's norm in front, layers and norm, head if so; CLIP's last norm. */
enum { PROJ };

typedef struct vit {
    ak_vit_options o;
    bool    clip;
    int64_t first, layers;  /* of the children; with the norm */
} vit;

static int64_t front_of(const vit *v) { return v->o.no_class_token ? 0 : 1; }

/* [1, C], [front + patches, C] */
static ak_tensor *class_token(const ak_module *m)
{
    const vit *v = m->user;
    return ak_reshape(ak__own(m, 0), AK_SHAPE(1, v->o.width));
}

static ak_tensor *position_table(const ak_module *m)
{
    const vit *v = m->user;
    ak_tensor *all = ak__own(m, front_of(v));
    return ak_reshape(all, AK_SHAPE(all->size / v->o.width, v->o.width));
}

/* ---- patches --------------------------------------------------------------------------------- */

/* [N, H, W, C] -> [N, H/p, W/p, p p C] times the kernel, one product. */
static ak_tensor *embed_patches(ak_module *m, ak_tensor *x)
{
    const vit *v = m->user;
    const ak_module *proj = m->children[PROJ];
    ak_tensor *w = ak__own(proj, 0);
    const int64_t *d = x->shape.dims, p = v->o.patch, gh = d[1] / p, gw = d[2] / p;
    ak_tensor *parts = ak_reshape(x, AK_SHAPE(d[0], gh, p, gw, p * d[3]));
    parts = ak_permute(parts, (int[]){ 0, 1, 3, 2, 4 });
    parts = ak_reshape(parts, AK_SHAPE(d[0], gh * gw, p * p * d[3]));
    ak_tensor *flat = ak_reshape(w, AK_SHAPE(w->shape.dims[0], p * p * d[3]));
    return ak_linear(parts, flat, ak__own(proj, 1));
}

/* ---- positions ------------------------------------------------------------------------------- */

/* A half of the features for the column, one for the row; of each half sines, then cosines. */
static void sines_of(ak_real *to, int64_t at, int64_t half)
{
    for (int64_t i = 0; i < half / 2; i++) {
        const double angle = (double)at * pow(10000, -2.0 * (double)i / (double)half);
        to[i] = (ak_real)sin(angle);
        to[half / 2 + i] = (ak_real)cos(angle);
    }
}

static ak_tensor *grid_of_sines(ak_ctx *ctx, int64_t gh, int64_t gw, int64_t width)
{
    ak_tensor *t = ak__tensor_new(ctx, AK_SHAPE(gh * gw, width));
    for (int64_t i = 0; !ak_is_poison(t) && i < gh * gw; i++) {
        sines_of(t->data + i * width, i % gw, width / 2);
        sines_of(t->data + i * width + width / 2, i / gw, width / 2);
    }
    return t;
}

/* Positions of the patches of a grid, [gh gw, width]. */
static ak_tensor *grid_positions(ak_module *m, int64_t gh, int64_t gw)
{
    const vit *v = m->user;
    const int64_t C = v->o.width, own_h = v->o.image / v->o.patch;
    const int64_t own_w = v->o.image_columns / v->o.patch;
    if (v->o.sinusoidal)
        return grid_of_sines(m->ctx, gh, gw, C);
    ak_tensor *table = ak_rows(position_table(m), front_of(v), own_h * own_w);
    if (gh == own_h && gw == own_w)
        return table;
    table = ak_reshape(table, AK_SHAPE(1, own_h, own_w, C));
    return ak_reshape(ak_resize_bilinear(table, gh, gw), AK_SHAPE(gh * gw, C));
}

/* The class token with its position in front of every sample's patches. */
static ak_tensor *with_class_token(ak_module *m, ak_tensor *patches)
{
    const vit *v = m->user;
    const int64_t N = patches->shape.dims[0], C = v->o.width;
    ak_tensor *token = class_token(m);
    if (!v->o.sinusoidal)
        token = ak_add(token, ak_rows(position_table(m), 0, 1));
    token = ak_add(ak_zeros(m->ctx, AK_SHAPE(N, 1, C)), token);
    return ak_concat(1, token, patches);
}

/* Without a share of the patches, each picture without others; what is left keeps its order. */
static ak_tensor *drop_patches(ak_module *m, ak_tensor *x)
{
    const vit *v = m->user;
    if (v->o.patch_dropout == 0 || !ak_is_training(m->ctx) || ak_is_poison(x))
        return x;
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1], front = front_of(v), P = T - front;
    const int64_t some = (int64_t)((double)P * (1 - v->o.patch_dropout));
    const int64_t keep = some > 0 ? some : 1;
    ak_index *rows = ak__index_new(m->ctx, AK_SHAPE(N, front + keep));
    int64_t *order = ak__step_alloc(m->ctx, (size_t)P * sizeof *order);
    bool    *kept = ak__step_alloc(m->ctx, (size_t)P * sizeof *kept);
    if (rows == &ak__poison_index || !order || !kept)
        return &ak__poison;
    int32_t *to = ak__index_data(rows);
    for (int64_t n = 0; n < N; n++) {
        ak_random_permutation(ak_seed(m->ctx), ak_next_stream(m->ctx), P, order);
        memset(kept, 0, (size_t)P * sizeof *kept);
        for (int64_t i = 0; i < keep; i++)
            kept[order[i]] = true;
        for (int64_t t = 0; t < T; t++)
            if (t < front || kept[t - front])
                *to++ = (int32_t)(n * T + t);
    }
    return ak_gather_rows(ak_flatten_rows(x), rows);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static ak_tensor *vit_forward(ak_module *m, ak_tensor *x)
{
    const vit *v = m->user;
    const int64_t p = v->o.patch, *d = x->shape.dims;
    if (x->shape.n != 4 || d[3] != v->o.channels || d[1] < p || d[2] < p || d[1] % p || d[2] % p)
        return ak__module_shape_error(m, x, "[N, H, W, %d], H and W multiples of %" PRId64,
                                      v->o.channels, p);
    ak_tensor *patches = embed_patches(m, x);
    ak_tensor *y = ak_add(patches, grid_positions(m, d[1] / p, d[2] / p));
    if (ak_is_poison(y))
        return y;
    ak_done_with(patches, false);
    if (!v->o.no_class_token)
        y = with_class_token(m, y);
    y = ak_dropout(drop_patches(m, y), v->o.dropout);
    if (ak_is_poison(y))
        return y;
    if (v->clip) {
        ak_tensor *normed = ak_forward(m->children[PROJ + 1], y);
        if (ak_is_poison(normed))
            return normed;
        ak_done_with(y, false);
        y = normed;
    }
    y = ak__run_layers(m, &(ak_inputs){ .x = y }, v->first, v->layers);
    if (v->o.classes == 0 || ak_is_poison(y))
        return y;
    return ak_forward(m->children[v->first + v->layers],
                      ak_vit_pool(y, v->o.pooling, (int)front_of(v)));
}

static const ak_module_kind vit_kind = { .name = "ViT", .forward = vit_forward,
                                         AK__STATE(vit) };
static const ak_module_kind clip_vision_kind = { .name = "CLIP's picture tower",
                                                 .forward = vit_forward,
                                                 AK__STATE(vit) };

static bool options_fit(const ak_module *m, const ak_vit_options *o)
{
    const int most = 1 << 20;
    const bool positive = o->image >= 1 && o->image_columns >= 1 && o->patch >= 1 &&
                          o->channels >= 1 && o->width >= 1 && o->layers >= 1 && o->heads >= 1 &&
                          o->hidden >= 0 && o->classes >= 0;
    if (!positive || o->image > most || o->image_columns > most || o->patch > most ||
        o->channels > most || o->width > most)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .image %d x %d, .patch %d, .channels %d, .width %d must "
                "be in [1, 2^20], .layers %d and .heads %d >= 1, .hidden %d and .classes %d >= 0",
                m->name, o->image, o->image_columns, o->patch, o->channels, o->width, o->layers,
                o->heads, o->hidden, o->classes);
    else if (o->image % o->patch || o->image_columns % o->patch)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: pictures of %d x %d do not divide into patches of %d",
                m->name, o->image, o->image_columns, o->patch);
    else if (o->sinusoidal && o->width % 4)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .sinusoidal needs a .width in fours, got %d: sines and "
                "cosines of rows and columns", m->name, o->width);
    else if (!(o->patch_dropout >= 0 && o->patch_dropout < 1))
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .patch_dropout %g must be in [0, 1)", m->name,
                o->patch_dropout);
    else if ((int)o->pooling < 0 || o->pooling > AK_VIT_BOTH ||
             (o->no_class_token && o->classes && o->pooling != AK_VIT_MEAN))
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .pooling %d must be in [0, 2], and AK_VIT_MEAN where "
                "there is no class token", m->name, (int)o->pooling);
    return ak_error(m->ctx) == AK_OK;
}

static void add_tokens(ak_module *m, const ak_vit_options *o)
{
    const bool clip = ((const vit *)m->user)->clip;
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    const int64_t grid = (int64_t)(o->image / o->patch) * (o->image_columns / o->patch);
    const int64_t front = o->no_class_token ? 0 : 1, C = o->width;
    if (front)
        ak_init_fill(ak_module_add_param(m, clip ? "embeddings/class_embedding" : "cls_token",
                                         clip ? AK_SHAPE(C) : AK_SHAPE(1, 1, C),
                                         AK_PARAM_NO_DECAY), how);
    if (!o->sinusoidal)
        ak_init_fill(ak_module_add_param(
            m, clip ? "embeddings/position_embedding/weight" : "pos_embed",
            clip ? AK_SHAPE(front + grid, C) : AK_SHAPE(1, front + grid, C), AK_PARAM_NO_DECAY),
            how);
}

static void add_parts(ak_module *m, const ak_vit_options *o)
{
    vit *v = m->user;
    ak_ctx *ctx = m->ctx;
    ak_module *proj = ak_nn_conv2d(ctx, v->clip ? "embeddings/patch_embedding" : "patch_embed/proj",
                                   o->channels, o->width, o->patch, (ak_conv_layer_options){
        .stride = o->patch, .no_bias = v->clip, .weight = ak__block_init((ak_init){ 0 }, 1) });
    if (proj && !v->clip)
        ak_fill(ak__own(proj, 1), 0);
    if (v->clip)
        ak_nn_layer_norm(ctx, "pre_layrnorm", o->width, o->eps);
    v->first = m->n_children;
    v->layers = ak__add_layers(m, v->clip ? "encoder/" : "", (ak_stack_options){
        .width = o->width, .layers = o->layers, .no_norm = v->clip, .block = {
            .heads = o->heads, .hidden = o->hidden, .activation = o->activation, .eps = o->eps,
            .dropout = o->dropout, .attention_dropout = o->attention_dropout,
            .hidden_dropout = o->dropout, .drop_path = o->drop_path, .layer_scale = o->layer_scale,
            .names = v->clip ? AK_NAMES_CLIP : AK_NAMES_TIMM } });
    if (v->clip)
        ak_nn_layer_norm(ctx, "post_layernorm", o->width, o->eps);
    if (o->classes > 0)
        ak__block_linear(ctx, "head", o->pooling == AK_VIT_BOTH ? 2 * o->width : o->width,
                         o->classes, false, ak__block_init((ak_init){ 0 }, 1));
}

static ak_module *make(ak_ctx *ctx, const char *name, ak_vit_options o, const ak_module_kind *kind)
{
    ak_module *m = ak_module_make(ctx, name, kind);
    if (!m)
        return NULL;
    o.image = o.image ? o.image : 224;
    o.image_columns = o.image_columns ? o.image_columns : o.image;
    o.channels = o.channels ? o.channels : 3;
    if (!options_fit(m, &o))
        return NULL;
    *(vit *)m->user = (vit){ .o = o, .clip = kind == &clip_vision_kind };
    ak_module_describe(m, "%s %d/%d, %d layers, %d heads", kind->name, o.width, o.patch, o.layers,
                       o.heads);
    add_tokens(m, &o);
    ak_module_begin(m);
    add_parts(m, &o);
    return ak_module_end(m);
}

ak_module *ak_vit(ak_ctx *ctx, const char *name, ak_vit_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    o.patch = o.patch ? o.patch : 16;
    o.width = o.width ? o.width : 192;
    o.layers = o.layers ? o.layers : 12;
    o.heads = o.heads ? o.heads : 3;
    o.activation = o.activation ? o.activation : AK_GELU;
    o.eps = o.eps > 0 || o.eps < 0 ? o.eps : 1e-6;
    return make(ctx, name, o, &vit_kind);
}

ak_module *ak_clip_vision(ak_ctx *ctx, const char *name, ak_vit_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    if (o.classes || o.pooling || o.no_class_token || o.sinusoidal) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_clip_vision: %s: .classes %d, .pooling %d, .no_class_token "
                "%d and .sinusoidal %d must be 0: its feature is the class token", name, o.classes,
                (int)o.pooling, o.no_class_token, o.sinusoidal);
        return NULL;
    }
    o.patch = o.patch ? o.patch : 32;
    o.width = o.width ? o.width : 768;
    o.layers = o.layers ? o.layers : 12;
    o.heads = o.heads ? o.heads : 12;
    o.activation = o.activation ? o.activation : AK_QUICK_GELU;
    o.eps = o.eps > 0 || o.eps < 0 ? o.eps : 1e-5;
    ak_module *m = make(ctx, name, o, &clip_vision_kind);
    if (m) {
        ak__clip_start(m, o.width, o.layers);
        ak_init_fill(ak__own(m, 0), (ak_init){ AK_INIT_NORMAL, .scale = 1 / sqrt(o.width) });
    }
    return m;
}

ak_module *ak__clip_last_norm(const ak_module *m)
{
    return m->kind == &clip_vision_kind ? m->children[m->n_children - 1] : NULL;
}

ak_tensor *ak_vit_pool(ak_tensor *tokens, ak_vit_pooling how, int front)
{
    if (!AK__TENSOR(NULL, tokens))
        return &ak__poison;
    const ak_shape s = tokens->shape;
    const int64_t T = s.n == 3 ? s.dims[1] : 0;
    if (s.n != 3 || front < 0 || (how != AK_VIT_CLASS && front >= T) ||
        (how != AK_VIT_MEAN && front < 1) || (int)how < 0 || how > AK_VIT_BOTH) {
        char text[AK_SHAPE_TEXT];
        ak_fail(tokens->ctx, s.n != 3 ? AK_ERR_SHAPE : AK_ERR_VALUE, "ak_vit_pool: %s with %d "
                "tokens in front, pooling %d: expected [N, T, C]; a class token for AK_VIT_CLASS "
                "and AK_VIT_BOTH, a patch for AK_VIT_MEAN and AK_VIT_BOTH",
                ak_shape_text(s, text), front, (int)how);
        return &ak__poison;
    }
    if (how == AK_VIT_CLASS)
        return ak_pool_first(tokens);
    ak_tensor *patches = front ? ak_slice(tokens, 1, front, T - front) : tokens;
    ak_tensor *mean = ak_pool_mean(patches, NULL, NULL);
    return how == AK_VIT_MEAN ? mean : ak_concat(1, ak_pool_first(tokens), mean);
}

ak_vit_options ak_vit_tiny(void)
{
    return (ak_vit_options){ .width = 192, .heads = 3 };
}

ak_vit_options ak_vit_small(void)
{
    return (ak_vit_options){ .width = 384, .heads = 6 };
}

ak_vit_options ak_vit_base(void)
{
    return (ak_vit_options){ .width = 768, .heads = 12 };
}
