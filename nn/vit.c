/* SPDX-License-Identifier: Apache-2.0 */
/* ViT: patches, positions for any size of picture, layers. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PROJ, LAYERS };      /* children: the patch projection, layers and norm, head if so */

typedef struct vit {
    ak_vit_options o;
    int64_t layers;         /* with the norm */
} vit;

static int64_t front_of(const vit *v) { return v->o.no_class_token ? 0 : 1; }

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
    ak_tensor *all = ak_module_find(m, "pos_embed");
    ak_tensor *table = ak_reshape(all, AK_SHAPE(all->shape.dims[1], C));
    table = ak_rows(table, front_of(v), own_h * own_w);
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
    ak_tensor *token = ak_reshape(ak_module_find(m, "cls_token"), AK_SHAPE(1, C));
    if (!v->o.sinusoidal) {
        ak_tensor *all = ak_module_find(m, "pos_embed");
        token = ak_add(token, ak_rows(ak_reshape(all, AK_SHAPE(all->shape.dims[1], C)), 0, 1));
    }
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
    y = ak__run_layers(m, &(ak_inputs){ .x = y }, LAYERS, v->layers);
    if (v->o.classes == 0 || ak_is_poison(y))
        return y;
    return ak_forward(m->children[LAYERS + v->layers],
                      ak_vit_pool(y, v->o.pooling, (int)front_of(v)));
}

static const ak_module_kind vit_kind = { .name = "ViT", .forward = vit_forward,
                                         .state_bytes = sizeof(vit) };

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
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    const int64_t grid = (int64_t)(o->image / o->patch) * (o->image_columns / o->patch);
    const int64_t front = o->no_class_token ? 0 : 1;
    if (front)
        ak_init_fill(ak_module_add_param(m, "cls_token", AK_SHAPE(1, 1, o->width),
                                         AK_PARAM_NO_DECAY), how);
    if (!o->sinusoidal)
        ak_init_fill(ak_module_add_param(m, "pos_embed", AK_SHAPE(1, front + grid, o->width),
                                         AK_PARAM_NO_DECAY), how);
}

ak_module *ak_vit(ak_ctx *ctx, const char *name, ak_vit_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &vit_kind);
    if (!m)
        return NULL;
    o.image = o.image ? o.image : 224;
    o.image_columns = o.image_columns ? o.image_columns : o.image;
    o.patch = o.patch ? o.patch : 16;
    o.channels = o.channels ? o.channels : 3;
    o.width = o.width ? o.width : 192;
    o.layers = o.layers ? o.layers : 12;
    o.heads = o.heads ? o.heads : 3;
    o.activation = o.activation ? o.activation : AK_GELU;
    o.eps = o.eps > 0 || o.eps < 0 ? o.eps : 1e-6;
    if (!options_fit(m, &o))
        return NULL;
    vit *v = m->user;
    *v = (vit){ .o = o };
    ak_module_describe(m, "ViT %d/%d, %d layers, %d heads", o.width, o.patch, o.layers, o.heads);
    add_tokens(m, &o);
    ak_module_begin(m);
    ak_module *proj = ak_nn_conv2d(ctx, "patch_embed/proj", o.channels, o.width, o.patch,
                                   (ak_conv_layer_options){ .stride = o.patch,
        .weight = ak__block_init((ak_init){ 0 }, 1) });
    if (proj)
        ak_fill(ak__own(proj, 1), 0);
    v->layers = ak__add_layers(m, (ak_stack_options){
        .width = o.width, .layers = o.layers, .block = {
            .heads = o.heads, .hidden = o.hidden, .activation = o.activation, .eps = o.eps,
            .dropout = o.dropout, .attention_dropout = o.attention_dropout,
            .hidden_dropout = o.dropout, .drop_path = o.drop_path, .layer_scale = o.layer_scale,
            .names = AK_NAMES_TIMM } });
    if (o.classes > 0)
        ak__block_linear(ctx, "head", o.pooling == AK_VIT_BOTH ? 2 * o.width : o.width, o.classes,
                         false, ak__block_init((ak_init){ 0 }, 1));
    return ak_module_end(m);
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
