/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions over time, with padding that changes nothing: where a batch has lengths, norms work
 * on the valid positions alone, which are gathered behind the convolution and put back among zeros
 * afterwards. */
#include <akin/sequence.h>

#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct conv1d_net {
    int64_t in;
    int     layers, kernel;
    int     stride[AK_CONVNET_MAX];
    ak_convnet1d_norm norm;
    ak_activation activation;
} conv1d_net;

/* ---- lengths --------------------------------------------------------------------------------- */

static bool conv_options_fit(ak_ctx *ctx, int kernel, const ak_conv_options *o)
{
    const int most = 1 << 20;
    if (kernel >= 1 && kernel <= most && o->stride >= 0 && o->stride <= most && o->padding >= 0 &&
        o->padding <= most && o->dilation >= 0 && o->dilation <= most)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "conv_lengths: kernel %d must be in [1, 2^20], .stride %d, .padding "
            "%d and .dilation %d in [0, 2^20]", kernel, o->stride, o->padding, o->dilation);
    return false;
}

static int64_t length_behind(int64_t length, int kernel, const ak_conv_options *o)
{
    const int64_t stride = o->stride ? o->stride : 1, dilation = o->dilation ? o->dilation : 1;
    const int64_t last = length + 2 * (int64_t)o->padding - dilation * (kernel - 1) - 1;
    return length == 0 || last < 0 ? 0 : last / stride + 1;
}

ak_index *ak_conv_lengths(const ak_index *lengths, int kernel, ak_conv_options o)
{
    if (!AK__INDEX(NULL, lengths) || ak_error(lengths->ctx) != AK_OK ||
        !conv_options_fit(lengths->ctx, kernel, &o))
        return &ak__poison_index;
    ak_index *y = ak__index_new(lengths->ctx, lengths->shape);
    for (int64_t i = 0; y != &ak__poison_index && i < lengths->size; i++) {
        if (lengths->data[i] < 0) {
            ak_fail(lengths->ctx, AK_ERR_VALUE, "conv_lengths: length %d of number %" PRId64
                    " is below 0", (int)lengths->data[i], i);
            return &ak__poison_index;
        }
        const int64_t length = length_behind(lengths->data[i], kernel, &o);
        if (length > INT32_MAX) {
            ak_fail(lengths->ctx, AK_ERR_VALUE, "conv_lengths: length %d with .padding %d is "
                    "beyond 2^31", (int)lengths->data[i], o.padding);
            return &ak__poison_index;
        }
        ak__index_data(y)[i] = (int32_t)length;
    }
    return y;
}

static ak_conv_options layer_options(const conv1d_net *net, int i)
{
    return (ak_conv_options){ .stride = net->stride[i], .padding = net->kernel / 2 };
}

/* ---- positions that are no padding ----------------------------------------------------------- */

/* Row numbers of the valid positions of [N, T, ..]; the poison index. */
static ak_index *valid_rows(ak_ctx *ctx, const ak_index *lengths, int64_t T)
{
    int64_t R = 0;
    for (int64_t n = 0; n < lengths->size; n++)
        R += lengths->data[n];
    ak_index *rows = ak__index_new(ctx, AK_SHAPE(R));
    int32_t *to = ak__index_data(rows);
    for (int64_t n = 0; rows != &ak__poison_index && n < lengths->size; n++)
        for (int64_t t = 0; t < lengths->data[n]; t++)
            *to++ = (int32_t)(n * T + t);
    return rows;
}

/* Rows back to their places in [N, T, C], zeros elsewhere. */
static ak_tensor *put_back(ak_tensor *rows, ak_index *places, int64_t N, int64_t T)
{
    return ak_reshape(ak_scatter_add_rows(rows, places, N * T), AK_SHAPE(N, T, ak_last_dim(rows)));
}

/* Group norm of each series by itself: its valid rows are a sample of that many positions. */
static ak_tensor *group_norm_rows(ak_module *norm, ak_tensor *rows, const ak_index *lengths)
{
    ak_ctx *ctx = norm->ctx;
    ak_tensor **parts = ak__step_alloc(ctx, (size_t)lengths->size * sizeof *parts);
    int n = 0;
    int64_t at = 0;
    for (int64_t i = 0; parts && i < lengths->size; i++) {
        const int64_t count = lengths->data[i];
        if (count == 0)
            continue;
        const ak_shape alone = AK_SHAPE(1, count, ak_last_dim(rows));
        ak_tensor *one = ak_forward(norm, ak_reshape(ak_rows(rows, at, count), alone));
        parts[n++] = ak_flatten_rows(one);
        at += count;
    }
    return n > 0 ? ak_concat_n(0, parts, n) : parts ? rows : &ak__poison;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Children of layer i: conv and norm; or one unit of both. */
static ak_tensor *plain_layer(const ak_module *m, int i, ak_tensor *x)
{
    const conv1d_net *net = ak_module_user(m);
    if (net->norm == AK_CONVNET1D_BATCH_NORM)
        return ak_forward(m->children[i], x);
    if (net->norm == AK_CONVNET1D_NO_NORM)
        return ak_activate(ak_forward(m->children[i], x), net->activation);
    ak_tensor *c = ak_forward(m->children[2 * i], x);
    return ak_activate(ak_forward(m->children[2 * i + 1], c), net->activation);
}

static ak_tensor *padded_layer(const ak_module *m, int i, ak_tensor *x, const ak_index *lengths)
{
    const conv1d_net *net = ak_module_user(m);
    const bool unit = net->norm == AK_CONVNET1D_BATCH_NORM;
    ak_module *conv = unit ? m->children[i]->children[0]
        : m->children[net->norm == AK_CONVNET1D_NO_NORM ? i : 2 * i];
    ak_tensor *c = ak_forward(conv, x);
    if (ak_is_poison(c))
        return c;
    ak_index *places = valid_rows(m->ctx, lengths, c->shape.dims[1]);
    ak_tensor *rows = ak_gather_rows(ak_flatten_rows(c), places);
    if (unit && rows->size > 0)
        rows = ak_forward(m->children[i]->children[1], rows);
    else if (net->norm == AK_CONVNET1D_GROUP_NORM)
        rows = group_norm_rows(m->children[2 * i + 1], rows, lengths);
    return put_back(ak_activate(rows, net->activation), places, c->shape.dims[0],
                    c->shape.dims[1]);
}

static bool lengths_fit(ak_module *m, const ak_tensor *x, const ak_index *lengths)
{
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1];
    char text[AK_SHAPE_TEXT];
    if (!ak_shape_equal(lengths->shape, AK_SHAPE(N))) {
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): .lengths must be [%" PRId64 "], got %s", m->name,
                m->what, N, ak_shape_text(lengths->shape, text));
        return false;
    }
    for (int64_t n = 0; n < N; n++)
        if (lengths->data[n] < 0 || lengths->data[n] > T) {
            ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): .lengths: %d of series %" PRId64 " is not in "
                    "[0, %" PRId64 "]", m->name, m->what, (int)lengths->data[n], n, T);
            return false;
        }
    if (N * T > INT32_MAX) {
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): with .lengths, N T must be below 2^31", m->name,
                m->what);
        return false;
    }
    return true;
}

static bool is_padded(const ak_tensor *x, const ak_index *lengths)
{
    for (int64_t n = 0; lengths && n < lengths->size; n++)
        if (lengths->data[n] < x->shape.dims[1])
            return true;
    return false;
}

static ak_tensor *conv1d_net_forward(ak_module *m, const ak_inputs *in)
{
    const conv1d_net *net = ak_module_user(m);
    ak_tensor *x = in->x;
    ak_index *lengths = in->lengths;
    if (x->shape.n != 3 || ak_last_dim(x) != net->in)
        return ak__module_shape_error(m, x, "[N, T, %" PRId64 "]", net->in);
    if (lengths && !lengths_fit(m, x, lengths))
        return &ak__poison;
    if (!is_padded(x, lengths)) {
        for (int i = 0; i < net->layers; i++)
            x = plain_layer(m, i, x);
        return x;
    }
    ak_index *places = valid_rows(m->ctx, lengths, x->shape.dims[1]);
    x = put_back(ak_gather_rows(ak_flatten_rows(x), places), places, x->shape.dims[0],
                 x->shape.dims[1]);
    for (int i = 0; i < net->layers; i++) {
        lengths = ak_conv_lengths(lengths, net->kernel, layer_options(net, i));
        if (lengths == &ak__poison_index)
            return &ak__poison;
        x = padded_layer(m, i, x, lengths);
    }
    return x;
}

static const ak_module_kind conv1d_net_kind = {
    .name = "1-D conv net", .forward_with = conv1d_net_forward, .needs = AK_IN_X,
    .takes = AK_IN_LENGTHS, AK__STATE(conv1d_net) };

static bool is_net(const ak_module *m, const char *who)
{
    if (m->kind == &conv1d_net_kind)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s (%s) is no ak_convnet1d", who, m->name, m->what);
    return false;
}

ak_index *ak_convnet1d_lengths(const ak_module *m, const ak_index *lengths)
{
    if (!AK__GIVEN(lengths ? lengths->ctx : NULL, m) || !AK__INDEX(m->ctx, lengths) ||
        ak_error(m->ctx) != AK_OK || !is_net(m, "convnet1d_lengths"))
        return &ak__poison_index;
    const conv1d_net *net = ak_module_user(m);
    ak_index *y = ak_conv_lengths(lengths, net->kernel, layer_options(net, 0));
    for (int i = 1; i < net->layers && y != &ak__poison_index; i++)
        y = ak_conv_lengths(y, net->kernel, layer_options(net, i));
    return y;
}

ak_tensor *ak_convnet1d_pooled(ak_module *m, ak_tensor *x, ak_index *lengths)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x) ||
        (lengths && !AK__INDEX(m->ctx, lengths)) || ak_error(m->ctx) != AK_OK ||
        !is_net(m, "convnet1d_pooled"))
        return &ak__poison;
    ak_tensor *y = ak_forward_with(m, (ak_inputs){ .x = x, .lengths = lengths });
    if (ak_is_poison(y) || !is_padded(x, lengths))
        return ak_is_poison(y) ? y : ak_global_avg_pool(y);
    const ak_index *left = ak_convnet1d_lengths(m, lengths);
    ak_tensor *inverse = ak__tensor_new(m->ctx, AK_SHAPE(lengths->size, 1));
    for (int64_t n = 0; !ak_is_poison(inverse) && n < left->size; n++) {
        if (left->data[n] < 1) {
            ak_fail(m->ctx, AK_ERR_VALUE, "convnet1d_pooled: %s (%s): of series %" PRId64 ", of "
                    "length %d, no position is left to take a mean of", m->name, m->what, n,
                    (int)lengths->data[n]);
            return &ak__poison;
        }
        inverse->data[n] = 1 / (ak_real)left->data[n];
    }
    return ak_mul(ak_sum_axis(y, 1), inverse);      /* padding is 0 */
}

/* ---- making ---------------------------------------------------------------------------------- */

static void add_conv1d_layer(ak_ctx *ctx, int i, int in, int out, const ak_convnet1d_options *o,
                             const conv1d_net *net)
{
    char conv[32], norm[32], unit[32];
    ak_module *c = ak_nn_conv1d(ctx, ak__numbered(conv, "conv", i), in, out, net->kernel,
                                (ak_conv_layer_options){
                                    .stride = net->stride[i - 1], .padding = net->kernel / 2,
                                    .no_bias = net->norm != AK_CONVNET1D_NO_NORM });
    if (net->norm == AK_CONVNET1D_GROUP_NORM)
        ak_nn_group_norm(ctx, ak__numbered(norm, "gn", i), out, o->groups, 0);
    if (net->norm != AK_CONVNET1D_BATCH_NORM)
        return;
    ak_module *n = ak_nn_batch_norm(ctx, ak__numbered(norm, "bn", i), out,
                                    (ak_batch_norm_options){ 0 });
    ak_nn_conv_norm(ctx, ak__numbered(unit, "unit", i), c, n,
                    (ak_conv_norm_options){ .activation = net->activation });
}

static bool net_options_fit(const ak_module *m, const ak_convnet1d_options *o, int n)
{
    bool strides = true;
    for (int i = 0; i < AK_CONVNET_MAX; i++)
        strides = strides && o->stride[i] >= 0 && (i < n - 1 || o->stride[i] == 0);
    if (n < 2 || n > AK_CONVNET_MAX || o->channels[n] < 0)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .channels must be 2 to %d numbers >= 1 and then 0",
                m->name, AK_CONVNET_MAX);
    else if (o->kernel < 0 || o->kernel > 1 << 20 || !strides)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .kernel %d must be in [1, 2^20], or 0 for 3, .stride at "
                "least 1 (0 = 1), for the %d layers", m->name, o->kernel, n - 1);
    else if ((int)o->norm < 0 || o->norm > AK_CONVNET1D_NO_NORM || (int)o->activation < 0 ||
             o->activation > AK_IDENTITY)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .norm %d must be in [0, %d] (ak_convnet1d_norm), "
                ".activation %d in [0, %d] (ak_activation)", m->name, (int)o->norm,
                (int)AK_CONVNET1D_NO_NORM, (int)o->activation, (int)AK_IDENTITY);
    else if (o->norm != AK_CONVNET1D_GROUP_NORM && o->groups != 0)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .groups %d is for AK_CONVNET1D_GROUP_NORM", m->name,
                o->groups);
    return ak_error(m->ctx) == AK_OK;
}

ak_module *ak_convnet1d(ak_ctx *ctx, const char *name, ak_convnet1d_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &conv1d_net_kind);
    if (!m)
        return NULL;
    int n = 0;
    while (n <= AK_CONVNET_MAX && o.channels[n] > 0)
        n++;
    if (!net_options_fit(m, &o, n))
        return NULL;
    conv1d_net *net = ak_module_user(m);
    *net = (conv1d_net){ .in = o.channels[0], .layers = n - 1, .kernel = o.kernel ? o.kernel : 3,
                         .norm = o.norm, .activation = o.activation };
    for (int i = 0; i < net->layers; i++)
        net->stride[i] = o.stride[i] ? o.stride[i] : 1;
    ak_module_describe(m, "1-D conv net %d -> %d, %d layers of kernel %d", o.channels[0],
                       o.channels[n - 1], net->layers, net->kernel);
    ak_module_begin(m);
    for (int i = 1; i < n; i++)
        add_conv1d_layer(ctx, i, o.channels[i - 1], o.channels[i], &o, net);
    return ak_module_end(m);
}
