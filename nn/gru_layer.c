/* SPDX-License-Identifier: Apache-2.0 */
/* The gated recurrent unit as a layer, with PyTorch's names, and the state it ends with. */
#include <akin/sequence.h>

#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

#define LAYERS_MOST 64

typedef struct gru_layer {
    int64_t in, hidden;
    int     layers, directions;
    bool    bias;
    double  dropout;
} gru_layer;

/* Own tensors: four (without biases two) a direction, direction by direction, layer by layer. */
static ak_gru_weights weights_of(const ak_module *m, int layer, int direction)
{
    const gru_layer *g = ak_module_user(m);
    const int each = g->bias ? 4 : 2, at = (layer * g->directions + direction) * each;
    return (ak_gru_weights){ .w_ih = ak__own(m, at), .w_hh = ak__own(m, at + 1),
                             .b_ih = g->bias ? ak__own(m, at + 2) : NULL,
                             .b_hh = g->bias ? ak__own(m, at + 3) : NULL };
}

static ak_tensor *gru_layer_forward(ak_module *m, const ak_inputs *in)
{
    const gru_layer *g = ak_module_user(m);
    ak_tensor *x = in->x, *memory = in->memory;
    if (x->shape.n != 3 || ak_last_dim(x) != g->in)
        return ak__module_shape_error(m, x, "[N, T, %" PRId64 "]", g->in);
    const int64_t states = (int64_t)g->layers * g->directions;
    if (memory && !ak_shape_equal(memory->shape, AK_SHAPE(x->shape.dims[0], states, g->hidden)))
        return ak__module_shape_error(m, memory, "as .memory [%" PRId64 ", %" PRId64 ", %" PRId64
                                      "], the initial states", x->shape.dims[0], states, g->hidden);
    for (int l = 0; l < g->layers; l++) {
        ak_gru_options o = { .lengths = in->lengths };
        if (g->directions == 2)
            o.reverse = weights_of(m, l, 1);
        if (memory)
            o.initial = states == g->directions ? memory
                : ak_slice(memory, 1, l * g->directions, g->directions);
        x = ak_gru(l > 0 && g->dropout > 0 ? ak_dropout(x, g->dropout) : x, weights_of(m, l, 0), o);
    }
    return x;
}

static const ak_module_kind gru_kind = {
    .name = "GRU", .forward_with = gru_layer_forward, .needs = AK_IN_X,
    .takes = AK_IN_LENGTHS | AK_IN_MEMORY, AK__STATE(gru_layer) };

static void add_gru_tensor(ak_module *m, const char *what, int layer, bool reverse, ak_shape shape,
                           double bound)
{
    char name[48];
    snprintf(name, sizeof name, "%s_l%d%s", what, layer, reverse ? "_reverse" : "");
    ak_tensor *t = ak_module_add_param(m, name, shape, shape.n == 1 ? AK_PARAM_NO_DECAY : 0);
    if (!ak_is_poison(t))
        ak_init_fill(t, (ak_init){ .kind = AK_INIT_UNIFORM, .scale = bound });
}

ak_module *ak_nn_gru(ak_ctx *ctx, const char *name, int64_t in, int64_t hidden,
                     ak_gru_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &gru_kind);
    if (!m || !ak__module_positive(m, "in", in) || !ak__module_positive(m, "hidden", hidden))
        return NULL;
    if (o.layers < 0 || o.layers > LAYERS_MOST || !(o.dropout >= 0 && o.dropout < 1) ||
        hidden > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .layers %d must be in [1, %d], .dropout %g in [0, 1), "
                "hidden %" PRId64 " below 2^31", m->name, o.layers, LAYERS_MOST, o.dropout, hidden);
        return NULL;
    }
    gru_layer *g = ak_module_user(m);
    *g = (gru_layer){ .in = in, .hidden = hidden, .layers = o.layers ? o.layers : 1,
                      .directions = o.both ? 2 : 1, .bias = !o.no_bias, .dropout = o.dropout };
    const double bound = 1 / sqrt((double)hidden);
    for (int l = 0; l < g->layers; l++)
        for (int d = 0; d < g->directions; d++) {
            const int64_t from = l == 0 ? in : g->directions * hidden;
            add_gru_tensor(m, "weight_ih", l, d == 1, AK_SHAPE(3 * hidden, from), bound);
            add_gru_tensor(m, "weight_hh", l, d == 1, AK_SHAPE(3 * hidden, hidden), bound);
            if (!g->bias)
                continue;
            add_gru_tensor(m, "bias_ih", l, d == 1, AK_SHAPE(3 * hidden), bound);
            add_gru_tensor(m, "bias_hh", l, d == 1, AK_SHAPE(3 * hidden), bound);
        }
    ak_module_describe(m, "GRU %" PRId64 " -> %" PRId64 "%s, %d layer%s%s", in,
                       g->directions * hidden, o.both ? " (both directions)" : "", g->layers,
                       g->layers > 1 ? "s" : "", o.no_bias ? ", no bias" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}

/* ---- the last state -------------------------------------------------------------------------- */

/* Row numbers of [N T, ..]: the last valid step of each sample, or the first; the poison index. */
static ak_index *ends_of(ak_tensor *y, const ak_index *lengths, bool last)
{
    const int64_t N = y->shape.dims[0], T = y->shape.dims[1];
    ak_index *rows = ak__index_new(y->ctx, AK_SHAPE(N));
    int32_t *to = ak__index_data(rows);
    for (int64_t n = 0; rows != &ak__poison_index && n < N; n++)
        to[n] = (int32_t)(n * T + (last ? (lengths ? lengths->data[n] : T) - 1 : 0));
    return rows;
}

static bool last_fits(const ak_tensor *y, const ak_index *lengths, int directions)
{
    char text[AK_SHAPE_TEXT];
    if (directions != 1 && directions != 2) {
        ak_fail(y->ctx, AK_ERR_VALUE, "last_state: directions = %d is neither 1 nor 2", directions);
        return false;
    }
    const bool cube = y->shape.n == 3;
    if (!cube || ak_last_dim(y) % directions || y->shape.dims[1] < 1 ||
        ak_row_count(y) > INT32_MAX) {
        ak_fail(y->ctx, AK_ERR_SHAPE, "last_state: y must be [N, T, %d H] with T >= 1 and N T < "
                "2^31, got %s", directions, ak_shape_text(y->shape, text));
        return false;
    }
    const int64_t N = y->shape.dims[0], T = y->shape.dims[1];
    if (lengths && !ak_shape_equal(lengths->shape, AK_SHAPE(N))) {
        ak_fail(y->ctx, AK_ERR_SHAPE, "last_state: lengths must be [%" PRId64 "], got %s", N,
                ak_shape_text(lengths->shape, text));
        return false;
    }
    for (int64_t n = 0; lengths && n < N; n++)
        if (lengths->data[n] < 1 || lengths->data[n] > T) {
            ak_fail(y->ctx, AK_ERR_VALUE, "last_state: length %d of sample %" PRId64 " is not in "
                    "[1, %" PRId64 "]\n    hint: a sequence without a step has no last state; give "
                    "it one, of padding", (int)lengths->data[n], n, T);
            return false;
        }
    return true;
}

ak_tensor *ak_last_state(ak_tensor *y, ak_index *lengths, int directions)
{
    if (!AK__TENSOR_ITSELF(NULL, y) || (lengths && !AK__INDEX(y->ctx, lengths)) ||
        ak_error(y->ctx) != AK_OK || !last_fits(y, lengths, directions))
        return &ak__poison;
    ak_tensor *rows = ak_flatten_rows(y);
    ak_tensor *first = ak_gather_rows(rows, ends_of(y, lengths, true));
    if (directions == 1)
        return first;
    const int64_t H = ak_last_dim(y) / 2;
    ak_tensor *second = ak_gather_rows(rows, ends_of(y, lengths, false));
    return ak_concat(1, ak_slice(first, 1, 0, H), ak_slice(second, 1, H, H));
}
