/* SPDX-License-Identifier: Apache-2.0 */
/* ResNet-18, -34 and -50 (He et al. 2016). */
#include "nn/module.h"

#include <inttypes.h>

#define STAGES 4

typedef struct plan {
    int  depth;
    int  blocks[STAGES];
    bool bottleneck;            /* 1x1, 3x3, 1x1 in place of 3x3, 3x3; four times as many outputs */
} plan;

static const plan plans[] = {
    { 18, { 2, 2, 2, 2 }, false },
    { 34, { 3, 4, 6, 3 }, false },
    { 50, { 3, 4, 6, 3 }, true },
};
#define PLANS ((int)(sizeof plans / sizeof *plans))

static int expansion(const plan *p)
{
    return p->bottleneck ? 4 : 1;
}

/* A convolution, its batch norm, and the unit of both, in the open module. Convolutions start as
 * torchvision's: kaiming_normal_(mode="fan_out", nonlinearity="relu"). */
typedef struct unit {
    const char *name, *conv, *norm;
    int in, out, kernel, stride;
    ak_conv_norm_options o;
    bool zero;                  /* the norm's weight starts at 0 */
} unit;

static void add_unit(ak_ctx *ctx, unit u, int groups)
{
    ak_module *conv = ak_nn_conv2d(ctx, u.conv, u.in, u.out, u.kernel, (ak_conv_layer_options){
        .stride = u.stride, .padding = u.kernel / 2, .no_bias = true,
        .weight = { .kind = AK_INIT_HE_NORMAL, .fan_out = true } });
    ak_module *norm = ak_nn_batch_norm(ctx, u.norm, u.out,
                                       (ak_batch_norm_options){ .groups = groups });
    if (u.zero && norm)
        ak_fill(norm->tensors[0], 0);
    ak_nn_conv_norm(ctx, u.name, conv, norm, u.o);
}

/* ---- a block --------------------------------------------------------------------------------- */

typedef struct block {
    int units;                  /* children: so many units, the last one with a skip; then the
                                 * shortcut, or none: x itself */
} block;

/* y = relu(bn(conv(.. relu(bn1(conv1(x))) ..)) + shortcut(x)) */
static ak_tensor *block_forward(ak_module *m, ak_tensor *x)
{
    const int last = ((const block *)ak_module_user(m))->units - 1;
    ak_tensor *y = ak_forward(m->children[0], x);
    for (int i = 1; i < last; i++)
        y = ak__conv_norm_forward(m->children[i], y, NULL, true);
    ak_module *shortcut = ak_module_child(m, last + 1);
    ak_tensor *s = shortcut ? ak_forward(shortcut, x) : x;
    y = ak__conv_norm_forward(m->children[last], y, s, true);
    if (s != x)
        ak_done_with(s, true);
    return y;
}

static const ak_module_kind block_kind = { .name = "residual block", .forward = block_forward,
                                           AK__STATE(block) };

typedef struct block_sizes {
    int  in, width, out, stride, groups;
    bool bottleneck, zero;
} block_sizes;

/* Strides stand where torchvision has them: at the 3x3 layer of a bottleneck. */
static void add_block(ak_ctx *ctx, const char *name, block_sizes b)
{
    ak_module *m = ak_module_make(ctx, name, &block_kind);
    if (!m)
        return;
    *(block *)ak_module_user(m) = (block){ .units = b.bottleneck ? 3 : 2 };
    ak_module_describe(m, "%s block %d -> %d, stride %d", b.bottleneck ? "bottleneck" : "basic",
                       b.in, b.out, b.stride);
    const ak_conv_norm_options relu = { AK_RELU, false }, sum = { AK_RELU, true };
    ak_module_begin(m);
    if (b.bottleneck) {
        add_unit(ctx, (unit){ "unit1", "conv1", "bn1", b.in, b.width, 1, 1, relu, false },
                 b.groups);
        add_unit(ctx, (unit){ "unit2", "conv2", "bn2", b.width, b.width, 3, b.stride, relu,
                              false }, b.groups);
        add_unit(ctx, (unit){ "unit3", "conv3", "bn3", b.width, b.out, 1, 1, sum, b.zero },
                 b.groups);
    } else {
        add_unit(ctx, (unit){ "unit1", "conv1", "bn1", b.in, b.out, 3, b.stride, relu, false },
                 b.groups);
        add_unit(ctx, (unit){ "unit2", "conv2", "bn2", b.out, b.out, 3, 1, sum, b.zero },
                 b.groups);
    }
    if (b.stride != 1 || b.in != b.out)
        add_unit(ctx, (unit){ "downsample", "downsample/0", "downsample/1", b.in, b.out, 1,
                              b.stride, { AK_IDENTITY, false }, false }, b.groups);
    ak_module_end(m);
}

/* ---- the net --------------------------------------------------------------------------------- */

typedef struct resnet {
    int  channels, blocks;
    bool stem_pool, map, fc;        /* children: unit, maxpool if so, blocks, fc if so */
} resnet;

static ak_tensor *resnet_forward(ak_module *m, ak_tensor *x)
{
    const resnet *r = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != r->channels)
        return ak__module_shape_error(m, x, "[N, H, W, %d]", r->channels);
    const int64_t maps = 1 + r->stem_pool + r->blocks;
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

static const ak_module_kind resnet_kind = { .name = "ResNet", .forward = resnet_forward,
                                            AK__STATE(resnet) };

static void add_stages(ak_ctx *ctx, const plan *p, int width, const ak_resnet_options *o)
{
    int in = width;
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < p->blocks[stage]; i++) {
            const int inner = width << stage, out = inner * expansion(p);
            char part[32];
            snprintf(part, sizeof part, "layer%d/%d", stage + 1, i);
            add_block(ctx, part, (block_sizes){
                .in = in, .width = inner, .out = out, .stride = stage > 0 && i == 0 ? 2 : 1,
                .groups = o->groups, .bottleneck = p->bottleneck, .zero = o->zero_last });
            in = out;
        }
}

static const plan *plan_of(int depth)
{
    for (int i = 0; i < PLANS; i++)
        if (plans[i].depth == depth)
            return &plans[i];
    return NULL;
}

ak_module *ak_resnet(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &resnet_kind);
    if (!m)
        return NULL;
    const int channels = o.channels ? o.channels : 3, width = o.width ? o.width : 64;
    const int stem = o.stem ? o.stem : 3, depth = o.depth ? o.depth : 18;
    const plan *p = plan_of(depth);
    if (!p || (stem != 3 && stem != 7) || channels < 1 || width < 1 || width > 1 << 20 ||
        o.classes < 0 || o.groups < 0 || (o.map && o.classes)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: depth %d is 18, 34 or 50, channels %d and width %d must be "
                ">= 1, stem %d is 3 or 7, groups %d >= 0, classes %d >= 0, and 0 with .map",
                m->name, depth, channels, width, stem, o.groups, o.classes);
        return NULL;
    }
    const int features = 8 * width * expansion(p);
    *(resnet *)ak_module_user(m) = (resnet){
        .channels = channels, .blocks = p->blocks[0] + p->blocks[1] + p->blocks[2] + p->blocks[3],
        .stem_pool = stem == 7, .map = o.map, .fc = o.classes > 0 };
    ak_module_describe(m, "ResNet-%d, %dx%d stem -> %d", depth, stem, stem,
                       o.classes ? o.classes : features);
    ak_module_begin(m);
    add_unit(ctx, (unit){ "stem", "conv1", "bn1", channels, width, stem, stem == 7 ? 2 : 1,
                          { AK_RELU, false }, false }, o.groups);
    if (stem == 7)
        ak_nn_max_pool2d(ctx, "maxpool", (ak_pool_options){ 3, 2, 1 });
    add_stages(ctx, p, width, &o);
    if (o.classes > 0)
        ak_nn_linear(ctx, "fc", features, o.classes, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

/* The short forms know their depth. */
static ak_module *resnet_of(ak_ctx *ctx, const char *name, ak_resnet_options o, int depth)
{
    if (o.depth && o.depth != depth) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: ak_resnet%d with .depth = %d", name, depth, o.depth);
        return NULL;
    }
    o.depth = depth;
    return ak_resnet(ctx, name, o);
}

ak_module *ak_resnet18(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return resnet_of(ctx, name, o, 18);
}

ak_module *ak_resnet34(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return resnet_of(ctx, name, o, 34);
}

ak_module *ak_resnet50(ak_ctx *ctx, const char *name, ak_resnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return resnet_of(ctx, name, o, 50);
}
