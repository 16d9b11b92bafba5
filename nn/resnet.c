/* SPDX-License-Identifier: Apache-2.0 */
/* ResNet-18. */
#include "nn/module.h"

#include <inttypes.h>

/* A convolution, its batch norm, and the unit of both, in the open module. Convolutions start as
 * torchvision's: kaiming_normal_(mode="fan_out", nonlinearity="relu"). */
typedef struct unit {
    const char *name, *conv, *norm;
    int in, out, kernel, stride;
    ak_conv_norm_options o;
} unit;

static void add_unit(ak_ctx *ctx, unit u)
{
    ak_module *conv = ak_nn_conv2d(ctx, u.conv, u.in, u.out, u.kernel, (ak_conv_layer_options){
        .stride = u.stride, .padding = u.kernel / 2, .no_bias = true,
        .weight = { .kind = AK_INIT_HE_NORMAL, .fan_out = true } });
    ak_module *norm = ak_nn_batch_norm(ctx, u.norm, u.out, (ak_batch_norm_options){ 0 });
    ak_nn_conv_norm(ctx, u.name, conv, norm, u.o);
}

/* ---- a block --------------------------------------------------------------------------------- */

enum { FIRST, SECOND, SHORTCUT };       /* children; no shortcut: x itself */

/* y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)) */
static ak_tensor *basic_block_forward(ak_module *m, ak_tensor *x)
{
    ak_module *shortcut = ak_module_child(m, SHORTCUT);
    ak_tensor *y = ak_forward(m->children[FIRST], x);
    ak_tensor *s = shortcut ? ak_forward(shortcut, x) : x;
    y = ak__conv_norm_forward(m->children[SECOND], y, s, true);
    if (s != x)
        ak_done_with(s, true);
    return y;
}

static const ak_module_kind block_kind = { .name = "basic block", .forward = basic_block_forward };

static void add_block(ak_ctx *ctx, const char *name, int in, int out, int stride)
{
    ak_module *m = ak_module_make(ctx, name, &block_kind);
    if (!m)
        return;
    ak_module_describe(m, "basic block %d -> %d, stride %d", in, out, stride);
    ak_module_begin(m);
    add_unit(ctx, (unit){ "unit1", "conv1", "bn1", in, out, 3, stride, { AK_RELU, false } });
    add_unit(ctx, (unit){ "unit2", "conv2", "bn2", out, out, 3, 1, { AK_RELU, true } });
    if (stride != 1 || in != out)
        add_unit(ctx, (unit){ "downsample", "downsample/0", "downsample/1", in, out, 1, stride,
                              { AK_IDENTITY, false } });
    ak_module_end(m);
}

/* ---- the net --------------------------------------------------------------------------------- */

typedef struct resnet {
    int  channels;
    bool stem_pool, map, fc;        /* children: unit, maxpool if so, 8 blocks, fc if so */
} resnet;

static ak_tensor *resnet_forward(ak_module *m, ak_tensor *x)
{
    const resnet *r = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != r->channels)
        return ak__module_shape_error(m, x, "[N, H, W, %d]", r->channels);
    const int64_t maps = 1 + r->stem_pool + 8;
    ak_tensor *y = ak_forward(m->children[0], x);
    for (int64_t i = 1; i < maps; i++) {
        ak_tensor *out = ak_forward(m->children[i], y);
        ak_done_with(y, true);
        y = out;
    }
    if (r->map)
        return y;
    x = ak_global_avg_pool(y);
    ak_done_with(y, false);
    return r->fc ? ak_forward(m->children[maps], x) : x;
}

static const ak_module_kind resnet_kind = { .name = "ResNet-18", .forward = resnet_forward,
                                            .state_bytes = sizeof(resnet) };

static void add_stages(ak_ctx *ctx, int width)
{
    int in = width;
    for (int i = 0; i < 8; i++) {
        const int stage = i / 2, out = width << stage;
        char part[32];
        snprintf(part, sizeof part, "layer%d/%d", stage + 1, i % 2);
        add_block(ctx, part, in, out, stage > 0 && i % 2 == 0 ? 2 : 1);
        in = out;
    }
}

ak_module *ak_resnet18(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &resnet_kind);
    if (!m)
        return NULL;
    const int channels = o.channels ? o.channels : 3, width = o.width ? o.width : 64;
    const int stem = o.stem ? o.stem : 3;
    if ((stem != 3 && stem != 7) || channels < 1 || width < 1 || width > 1 << 20 ||
        o.classes < 0 || (o.map && o.classes)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: channels %d and width %d must be >= 1, stem %d is 3 or 7, "
                "classes %d >= 0, and 0 with .map", m->name, channels, width, stem, o.classes);
        return NULL;
    }
    *(resnet *)ak_module_user(m) = (resnet){ .channels = channels, .stem_pool = stem == 7,
                                             .map = o.map, .fc = o.classes > 0 };
    ak_module_describe(m, "ResNet-18, %dx%d stem -> %d", stem, stem,
                       o.classes ? o.classes : 8 * width);
    ak_module_begin(m);
    add_unit(ctx, (unit){ "stem", "conv1", "bn1", channels, width, stem, stem == 7 ? 2 : 1,
                          { AK_RELU, false } });
    if (stem == 7)
        ak_nn_max_pool2d(ctx, "maxpool", (ak_pool_options){ 3, 2, 1 });
    add_stages(ctx, width);
    if (o.classes > 0)
        ak_nn_linear(ctx, "fc", 8 * width, o.classes, (ak_linear_options){ 0 });
    return ak_module_end(m);
}
