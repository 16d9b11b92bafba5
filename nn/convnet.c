/* SPDX-License-Identifier: Apache-2.0 */
/* A small convolutional encoder for small pictures. */
#include "nn/module.h"

#include <inttypes.h>

typedef struct convnet {
    int64_t in, side;       /* channels of the picture; side of the pooled map */
} convnet;

static ak_tensor *convnet_forward(ak_module *m, ak_tensor *x)
{
    const convnet *net = ak_module_user(m);
    if (x->shape.n != 4 || ak_last_dim(x) != net->in)
        return ak__module_shape_error(m, x, "[N, H, W, %" PRId64 "]", net->in);
    ak_tensor *moments = NULL;
    for (int64_t i = 0; ak_module_child(m, i); i++) {
        ak_tensor *y = ak__forward_child(m, i, x, &moments);
        if (i > 0)                          /* the picture is the caller's */
            ak_done_with(x, false);
        x = y;
    }
    ak_tensor *pooled = ak_adaptive_avg_pool2d(x, net->side, net->side);
    ak_done_with(x, false);
    return ak_flatten(pooled);
}

ak_module *ak_convnet(ak_ctx *ctx, const char *name, ak_convnet_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak__module_make(ctx, name, convnet_forward, sizeof(convnet));
    if (!m)
        return NULL;
    int n = 0;
    while (n <= AK_CONVNET_MAX && o.channels[n] > 0)
        n++;
    if (n < 2 || n > AK_CONVNET_MAX || o.channels[n] < 0 || o.pool < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: channels must be 2 to %d numbers >= 1 and then 0; pool %d "
                "must be >= 0", name, AK_CONVNET_MAX, o.pool);
        return NULL;
    }
    const int side = o.pool ? o.pool : 1;
    *(convnet *)ak_module_user(m) = (convnet){ .in = o.channels[0], .side = side };
    ak_module_describe(m, "convnet -> %d", side * side * o.channels[n - 1]);
    for (int i = 1; i < n; i++) {
        char part[AK__NAME_MAX];
        const ak_conv_layer_options conv = { .stride = i == 1 ? 1 : 2, .padding = 1,
                                             .no_bias = true };
        ak_module_add(m, ak_nn_conv2d(ctx, ak__part_name(part, name, "conv", i),
                                      o.channels[i - 1], o.channels[i], 3, conv));
        ak_module_add(m, ak_nn_batch_norm(ctx, ak__part_name(part, name, "bn", i), o.channels[i],
                                          (ak_batch_norm_options){ .relu = true }));
    }
    return ak_error(ctx) == AK_OK ? m : NULL;
}
