/* SPDX-License-Identifier: Apache-2.0 */
/* A small convolutional encoder for small pictures. */
#include "nn/module.h"

#include <inttypes.h>

typedef struct convnet {
    int64_t in, side;       /* channels of the picture; side of the pooled map, 0: the map itself */
} convnet;

static ak_tensor *convnet_forward(ak_module *m, ak_tensor *x)
{
    const convnet *net = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != net->in)
        return ak__module_shape_error(m, x, "[N, H, W, %" PRId64 "]", net->in);
    for (int64_t i = 0; i < m->n_children; i++) {
        ak_tensor *y = ak_forward(m->children[i], x);
        if (i > 0)                          /* the picture is the caller's */
            ak_done_with(x, false);
        x = y;
    }
    if (net->side == 0)
        return x;
    ak_tensor *pooled = ak_adaptive_avg_pool2d(x, net->side, net->side);
    ak_done_with(x, false);
    return ak_flatten(pooled);
}

static const ak_module_kind convnet_kind = { .name = "convnet", .forward = convnet_forward,
                                             AK__STATE(convnet) };

static void add_layer(ak_ctx *ctx, int i, int in, int out, int groups)
{
    char conv[32], norm[32], unit[32];
    ak_module *c = ak_nn_conv2d(ctx, ak__numbered(conv, "conv", i), in, out, 3,
                                (ak_conv_layer_options){ .stride = i == 1 ? 1 : 2, .padding = 1,
                                                         .no_bias = true });
    ak_module *n = ak_nn_batch_norm(ctx, ak__numbered(norm, "bn", i), out,
                                    (ak_batch_norm_options){ .groups = groups });
    ak_nn_conv_norm(ctx, ak__numbered(unit, "unit", i), c, n, (ak_conv_norm_options){ 0 });
}

ak_module *ak_convnet(ak_ctx *ctx, const char *name, ak_convnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &convnet_kind);
    if (!m)
        return NULL;
    int n = 0;
    while (n <= AK_CONVNET_MAX && o.channels[n] > 0)
        n++;
    if (n < 2 || n > AK_CONVNET_MAX || o.channels[n] < 0 || o.pool < 0 || (o.map && o.pool)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: channels must be 2 to %d numbers >= 1 and then 0; pool %d "
                "must be >= 0, and 0 with .map", m->name, AK_CONVNET_MAX, o.pool);
        return NULL;
    }
    const int side = o.map ? 0 : o.pool ? o.pool : 1, last = o.channels[n - 1];
    *(convnet *)ak_module_user(m) = (convnet){ .in = o.channels[0], .side = side };
    if (side)
        ak_module_describe(m, "convnet -> %d", side * side * last);
    else
        ak_module_describe(m, "convnet -> map of %d channels", last);
    ak_module_begin(m);
    for (int i = 1; i < n; i++)
        add_layer(ctx, i, o.channels[i - 1], o.channels[i], o.groups);
    return ak_module_end(m);
}
