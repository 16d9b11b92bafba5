/* SPDX-License-Identifier: Apache-2.0 */
/* ResNet-18. */
#include "nn/module.h"

#include <inttypes.h>

typedef struct basic_block {
    ak_module *conv1, *bn1, *conv2, *bn2;
    ak_module *shortcut_conv, *shortcut_bn;     /* NULL: x itself */
} basic_block;

typedef struct resnet {
    int        channels;
    ak_module *stem, *stem_norm, *stem_pool;    /* stem_pool NULL: none */
    ak_module *blocks[8];
    ak_module *fc;                              /* NULL: features */
} resnet;

/* Convolutions start as torchvision's: kaiming_normal_(mode="fan_out", nonlinearity="relu"). */
static ak_module *add_conv(ak_module *m, const char *name, int in, int out, int kernel, int stride)
{
    char path[AK__NAME_MAX];
    return ak_module_add(m, ak_nn_conv2d(ak_module_ctx(m), ak__module_path(path, m, name), in, out,
                                         kernel, (ak_conv_layer_options){
        .stride = stride, .padding = kernel / 2, .no_bias = true,
        .weight = { .kind = AK_INIT_HE_NORMAL, .fan_out = true } }));
}

static ak_module *add_norm(ak_module *m, const char *name, int channels, bool relu)
{
    char path[AK__NAME_MAX];
    return ak_module_add(m, ak_nn_batch_norm(ak_module_ctx(m), ak__module_path(path, m, name),
                                             channels, (ak_batch_norm_options){ .relu = relu }));
}

static ak_tensor *conv_norm(ak_module *conv, ak_module *norm, ak_tensor *x)
{
    ak_tensor *moments, *c = ak__forward_to_norm(conv, x, &moments);
    ak_tensor *y = ak__batch_norm_forward(norm, c, moments, NULL);
    ak_done_with(c, false);
    return y;
}

/* y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)) */
static ak_tensor *basic_block_forward(ak_module *m, ak_tensor *x)
{
    const basic_block *b = ak_module_user(m);
    ak_tensor *y1 = conv_norm(b->conv1, b->bn1, x);
    ak_tensor *moments, *c2 = ak__forward_to_norm(b->conv2, y1, &moments);
    ak_done_with(y1, true);
    ak_tensor *s = b->shortcut_conv ? conv_norm(b->shortcut_conv, b->shortcut_bn, x) : x;
    ak_tensor *y = ak__batch_norm_forward(b->bn2, c2, moments, s);
    ak_done_with(c2, false);
    if (s != x)
        ak_done_with(s, true);
    return y;
}

static ak_module *basic_block_make(ak_ctx *ctx, const char *name, int in, int out, int stride)
{
    ak_module *m = ak__module_make(ctx, name, basic_block_forward, sizeof(basic_block));
    if (!m)
        return NULL;
    basic_block *b = ak_module_user(m);
    b->conv1 = add_conv(m, "conv1", in, out, 3, stride);
    b->bn1 = add_norm(m, "bn1", out, true);
    b->conv2 = add_conv(m, "conv2", out, out, 3, 1);
    b->bn2 = add_norm(m, "bn2", out, true);     /* after the shortcut is added */
    if (stride != 1 || in != out) {
        b->shortcut_conv = add_conv(m, "downsample/0", in, out, 1, stride);
        b->shortcut_bn = add_norm(m, "downsample/1", out, false);
    }
    ak_module_describe(m, "basic block %d -> %d, stride %d", in, out, stride);
    return m;
}

static ak_tensor *resnet_forward(ak_module *m, ak_tensor *x)
{
    const resnet *r = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != r->channels)
        return ak__module_shape_error(m, x, "[N, H, W, %d]", r->channels);
    ak_tensor *y = conv_norm(r->stem, r->stem_norm, x);
    if (r->stem_pool) {
        ak_tensor *pooled = ak_forward(r->stem_pool, y);
        ak_done_with(y, true);
        y = pooled;
    }
    for (int i = 0; i < 8; i++) {
        ak_tensor *out = ak_forward(r->blocks[i], y);
        ak_done_with(y, true);
        y = out;
    }
    x = ak_global_avg_pool(y);
    ak_done_with(y, false);
    return r->fc ? ak_forward(r->fc, x) : x;
}

static void add_stages(ak_module *m, resnet *r, int width)
{
    int in = width;
    for (int i = 0; i < 8; i++) {
        const int stage = i / 2, out = width << stage;
        char part[32], path[AK__NAME_MAX];
        snprintf(part, sizeof part, "layer%d/%d", stage + 1, i % 2);
        r->blocks[i] = ak_module_add(m, basic_block_make(ak_module_ctx(m),
                                                         ak__module_path(path, m, part), in, out,
                                                         stage > 0 && i % 2 == 0 ? 2 : 1));
        in = out;
    }
}

ak_module *ak_resnet18(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak__module_make(ctx, name, resnet_forward, sizeof(resnet));
    if (!m)
        return NULL;
    const int channels = o.channels ? o.channels : 3, width = o.width ? o.width : 64;
    const int stem = o.stem ? o.stem : 3;
    if ((stem != 3 && stem != 7) || channels < 1 || width < 1 || width > 1 << 20 ||
        o.classes < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: channels %d and width %d must be >= 1, stem %d is 3 or 7, "
                "classes %d >= 0", name, channels, width, stem, o.classes);
        return NULL;
    }
    resnet *r = ak_module_user(m);
    char path[AK__NAME_MAX];
    r->channels = channels;
    r->stem = add_conv(m, "conv1", channels, width, stem, stem == 7 ? 2 : 1);
    r->stem_norm = add_norm(m, "bn1", width, true);
    if (stem == 7)
        r->stem_pool = ak_module_add(m, ak_nn_max_pool2d(ctx, ak__module_path(path, m, "maxpool"),
                                                         (ak_pool_options){ 3, 2, 1 }));
    add_stages(m, r, width);
    if (o.classes > 0)
        r->fc = ak_module_add(m, ak_nn_linear(ctx, ak__module_path(path, m, "fc"), 8 * width,
                                              o.classes, (ak_linear_options){ 0 }));
    ak_module_describe(m, "ResNet-18, %dx%d stem -> %d", stem, stem,
                       o.classes ? o.classes : 8 * width);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
