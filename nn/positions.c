/* SPDX-License-Identifier: Apache-2.0 */
/* Positions that are added: learned, sines, and the bias of attention by distance. */
#include "nn/decoding.h"
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

/* Where position t of row n is: behind what .state has seen. NULL past: t. */
static int32_t place(const ak_index *past, int64_t n, int64_t t)
{
    return (int32_t)t + (past ? past->data[n] : 0);
}

/* With .state: the positions of each row in front of these, and that they have been seen. Poison
 * after an error. */
static ak_index *seen_before(ak_module *m, const ak_inputs *in)
{
    const int64_t N = in->x->shape.dims[0], T = in->x->shape.dims[1];
    if (!ak__lengths_fit(m, in->lengths, N, T))
        return &ak__poison_index;
    ak__seen *s = ak__seen_of(m, in->state, N, 0, 0);
    if (!s || !ak__seen_room(m, in->state, s, in->lengths, T))
        return &ak__poison_index;
    ak_index *past = ak__seen_past(m, s, N);
    ak__seen_advance(s, N, in->lengths, T);
    return past;
}

/* ---- learned --------------------------------------------------------------------------------- */

typedef struct positions { int64_t count, width; } positions;

static ak_tensor *learned_behind(ak_module *m, const ak_inputs *in)
{
    const positions *p = m->user;
    const int64_t N = in->x->shape.dims[0], T = in->x->shape.dims[1];
    const ak_index *past = seen_before(m, in);
    ak_index *ids = past != &ak__poison_index ? ak__index_new(m->ctx, AK_SHAPE(N, T))
                                              : &ak__poison_index;
    if (ids == &ak__poison_index)
        return &ak__poison;
    for (int64_t i = 0; i < N * T; i++) {
        const int64_t n = i / T, t = i % T, counts = in->lengths ? in->lengths->data[n] : T;
        int32_t at = place(past, n, t);
        if (at >= p->count && t < counts) {
            ak_fail(m->ctx, AK_ERR_VALUE, "%s: row %" PRId64 " comes to position %d; there are %"
                    PRId64, m->name, n, (int)at, p->count);
            return &ak__poison;
        }
        ak__index_data(ids)[i] = at < p->count ? at : (int32_t)p->count - 1;
    }
    return ak_add(in->x, ak_embedding(ak__own(m, 0), ids, AK_NONE));
}

static ak_tensor *learned_forward(ak_module *m, const ak_inputs *in)
{
    const positions *p = m->user;
    const ak_shape s = in->x->shape;
    if (s.n != 3 || s.dims[2] != p->width || (!in->state && s.dims[1] > p->count))
        return ak__module_shape_error(m, in->x, "[N, T, %" PRId64 "], T at most %" PRId64,
                                      p->width, p->count);
    return in->state ? learned_behind(m, in)
                     : ak_add(in->x, ak_rows(ak__own(m, 0), 0, s.dims[1]));
}

static const ak_module_kind learned_kind = {
    .name = "positions", .forward_with = learned_forward, .needs = AK_IN_X,
    .takes = AK_IN_STATE | AK_IN_LENGTHS, AK__STATE(positions) };

ak_module *ak_nn_positions(ak_ctx *ctx, const char *name, int64_t count, int64_t width)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &learned_kind);
    if (!m || !ak__module_positive(m, "the number of positions", count) ||
        !ak__module_positive(m, "width", width))
        return NULL;
    *(positions *)m->user = (positions){ count, width };
    ak__module_weight(m, AK_SHAPE(count, width), ak__block_init((ak_init){ 0 }, 1));
    ak_module_describe(m, "%" PRId64 " positions of %" PRId64, count, width);
    return ak_error(ctx) == AK_OK ? m : NULL;
}

/* ---- sines ----------------------------------------------------------------------------------- */

/* One position. Angles in double: far out, a float has no digits left behind the point. */
static void sines_at(ak_real *row, int64_t position, int64_t width)
{
    for (int64_t i = 0; i < width / 2; i++) {
        const double angle = (double)position * pow(10000, -2.0 * (double)i / (double)width);
        row[2 * i] = (ak_real)sin(angle);
        row[2 * i + 1] = (ak_real)cos(angle);
    }
}

ak_tensor *ak_sinusoidal(ak_ctx *ctx, int64_t first, int64_t count, int64_t width)
{
    if (!AK__GIVEN(NULL, ctx) || ak_error(ctx) != AK_OK)
        return &ak__poison;
    if (first < 0 || count < 1 || width < 2 || width % 2 != 0) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_sinusoidal: %" PRId64 " positions from %" PRId64 " on, %"
                PRId64 " features: at least one, from 0 on, features in pairs", count, first,
                width);
        return &ak__poison;
    }
    ak_tensor *t = ak__tensor_new(ctx, AK_SHAPE(count, width));
    for (int64_t i = 0; i < count && !ak_is_poison(t); i++)
        sines_at(t->data + i * width, first + i, width);
    return t;
}

static ak_tensor *sinusoidal_forward(ak_module *m, const ak_inputs *in)
{
    const int64_t width = *(const int64_t *)m->user;
    const ak_shape s = in->x->shape;
    if (s.n != 3 || s.dims[2] != width)
        return ak__module_shape_error(m, in->x, "[N, T, %" PRId64 "]", width);
    if (s.dims[0] == 0 || s.dims[1] == 0)
        return in->x;
    if (!in->state)
        return ak_add(in->x, ak_sinusoidal(m->ctx, 0, s.dims[1], width));
    const ak_index *past = seen_before(m, in);
    ak_tensor *t = past != &ak__poison_index ? ak__tensor_new(m->ctx, s) : &ak__poison;
    for (int64_t i = 0; !ak_is_poison(t) && i < s.dims[0] * s.dims[1]; i++)
        sines_at(t->data + i * width, place(past, i / s.dims[1], i % s.dims[1]), width);
    return ak_is_poison(t) ? t : ak_add(in->x, t);
}

static const ak_module_kind sinusoidal_kind = {
    .name = "sinusoidal positions", .forward_with = sinusoidal_forward, .needs = AK_IN_X,
    .takes = AK_IN_STATE | AK_IN_LENGTHS, AK__STATE(int64_t) };

ak_module *ak_nn_sinusoidal(ak_ctx *ctx, const char *name, int64_t width)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &sinusoidal_kind);
    if (!m || !ak__module_positive(m, "width", width))
        return NULL;
    if (width % 2 != 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: the width %" PRId64 " must be even: features are sines and "
                "cosines", m->name, width);
        return NULL;
    }
    *(int64_t *)m->user = width;
    return m;
}

/* ---- bias by distance ------------------------------------------------------------------------ */

static ak_tensor *relative_forward(ak_module *m, const ak_inputs *in)
{
    const ak_relative_layer_options *o = m->user;
    if (in->x->shape.n < 2)
        return ak__module_shape_error(m, in->x, "[N, T, ..]");
    const int64_t T = in->x->shape.dims[1];
    ak_relative_options r = { .max_distance = o->max_distance, .one_sided = o->one_sided };
    if (!in->state)
        return ak_relative_bias(ak__own(m, 0), T, T, r);
    r.past = seen_before(m, in);
    return ak_relative_bias(ak__own(m, 0), T, ak__decoding_capacity(in->state), r);
}

static const ak_module_kind relative_kind = {
    .name = "relative bias", .forward_with = relative_forward, .needs = AK_IN_X,
    .takes = AK_IN_STATE | AK_IN_LENGTHS, AK__STATE(ak_relative_layer_options) };

ak_module *ak_nn_relative_bias(ak_ctx *ctx, const char *name, ak_relative_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &relative_kind);
    if (!m || !ak__module_positive(m, ".heads", o.heads))
        return NULL;
    o.buckets = o.buckets ? o.buckets : 32;
    o.max_distance = o.max_distance ? o.max_distance : 128;
    const int side = o.one_sided ? o.buckets : o.buckets / 2;
    if (side < 2 || o.max_distance <= side / 2) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .buckets %d must be at least %d, .max_distance %d above "
                "%d, the distances with a bucket of their own", m->name, o.buckets,
                o.one_sided ? 2 : 4, o.max_distance, side / 2);
        return NULL;
    }
    *(ak_relative_layer_options *)m->user = o;
    ak__module_weight(m, AK_SHAPE(o.buckets, o.heads), ak__block_init((ak_init){ 0 }, 1));
    ak__module_note(m, "distances below %d%s", o.max_distance, o.one_sided ? ", one-sided" : "");
    ak_module_describe(m, "relative bias, %d buckets, %d heads%s", o.buckets, o.heads,
                       o.one_sided ? ", one-sided" : "");
    return ak_error(ctx) == AK_OK ? m : NULL;
}
