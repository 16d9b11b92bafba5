/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that each sample of a data set has, averaged over its visits. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/frame.h"
#include "base/whole.h"
#include "memory/rows.h"
#include "memory/store.h"

struct ak_sample_state {
    ak__store store;
    double    momentum, start;
    bool      blend_first, wide;    /* wide: values have an axis of their own */
    int64_t   n, width;
    double   *value;                /* [n, width] */
    int64_t  *visits;               /* [n] */
};

static int64_t count_bad(void *obj)
{
    const ak_sample_state *s = obj;
    int64_t bad = 0;
    for (int64_t i = 0; i < s->n * s->width; i++)
        bad += !isfinite(s->value[i]);
    return bad;
}

ak_sample_state *ak_sample_state_make(ak_ctx *ctx, const char *name, int64_t samples,
                                      ak_sample_state_options o)
{
    ak_sample_state *s = ak__store_new(ctx, __func__, "sample_state", name, sizeof *s);
    if (!s)
        return NULL;
    const ak__speaker me = { ctx, __func__, s->store.name };
    const int64_t width = o.width ? o.width : 1;
    if (!ak__store_positive(ctx, __func__, name, "samples", samples) ||
        !ak__store_positive(ctx, __func__, name, ".width", width))
        return NULL;
    s->momentum = ak__momentum(me, o.momentum, 0.9);
    if (!(s->momentum >= 0))
        return NULL;
    if (samples > INT32_MAX || width > INT32_MAX || !isfinite(o.start)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\": samples %" PRId64 ", .width %" PRId64 ", .start "
                "%g; expected less than 2^31 of both, and a finite number", __func__, name, samples,
                width, o.start);
        return NULL;
    }
    s->start = o.start;
    s->blend_first = o.blend_first;
    s->wide = o.width != 0;
    s->n = samples;
    s->width = width;
    ak__store_size(&s->store, "samples", samples);
    ak__store_size(&s->store, "width", width);
    s->store.not_finite = count_bad;
    s->value = ak__store_alloc(&s->store, samples * width, sizeof *s->value);
    s->visits = s->value ? ak__store_counts(&s->store, samples) : NULL;
    if (!s->visits)
        return NULL;
    for (int64_t i = 0; i < samples * width; i++)
        s->value[i] = o.start;
    return ak__store_register(&s->store) ? s : NULL;
}

/* ---- changing -------------------------------------------------------------------------------- */

static bool values_fit(ak__speaker me, const ak_sample_state *s, const ak_index *ids,
                       const ak_tensor *values)
{
    char text[AK_SHAPE_TEXT], shape[AK_SHAPE_TEXT];
    const bool rows = !s->wide || (values->shape.n > 0 && ak_last_dim(values) == s->width);
    if (!rows || values->size != ids->size * s->width) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": values are %s for ids %s; expected %" PRId64
                " number%s for each id", me.who, me.name, ak_shape_text(values->shape, text),
                ak_shape_text(ids->shape, shape), s->width, s->width > 1 ? "s" : "");
        return false;
    }
    if (!ak__numbers_fit(me, "ids", ids, s->n))
        return false;
    for (int64_t i = 0; i < values->size; i++) {
        if (ids->data[i / s->width] == -1 || isfinite(values->data[i]))
            continue;
        ak_fail(me.ctx, AK_ERR_NUMBER, "%s: \"%s\": the value of id %" PRId32 " (item %" PRId64
                ") is %g", me.who, me.name, ids->data[i / s->width], i / s->width,
                (double)values->data[i]);
        return false;
    }
    return true;
}

/* Visit the samples; momentum 0 for a write. */
static ak_status visit(const char *who, ak_sample_state *s, ak_index *ids, ak_tensor *values,
                       bool average)
{
    if (!s) {
        ak__missing(NULL, who, "s");
        return ak__refused(NULL);
    }
    const ak__speaker me = { s->store.ctx, who, s->store.name };
    if (!ak__index_known(me.ctx, ids, who, "ids") ||
        !ak__tensor_check(me.ctx, values, who, "values"))
        return ak__refused(me.ctx);
    if (ak_error(me.ctx) != AK_OK || !ak__outside_frames(me.ctx, who) ||
        !values_fit(me, s, ids, values))
        return ak_error(me.ctx);
    for (int64_t i = 0; i < ids->size; i++) {
        const int32_t id = ids->data[i];
        if (id == -1)
            continue;
        const bool first = s->visits[id] == 0 && !s->blend_first;
        const double m = average && !first ? s->momentum : 0;
        for (int64_t j = 0; j < s->width; j++) {
            double *v = &s->value[id * s->width + j];
            const double x = (double)values->data[i * s->width + j];
            *v = m == 0 ? x : m * *v + (1 - m) * x;
        }
        s->visits[id]++;
    }
    return AK_OK;
}

ak_status ak_sample_state_update(ak_sample_state *s, ak_index *ids, ak_tensor *values)
{
    return visit(__func__, s, ids, values, true);
}

ak_status ak_sample_state_write(ak_sample_state *s, ak_index *ids, ak_tensor *values)
{
    return visit(__func__, s, ids, values, false);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The shape of values of so many samples. */
static ak_shape value_shape(const ak_sample_state *s, ak_shape samples)
{
    if (s->wide)
        samples.dims[samples.n++] = s->width;
    return samples;
}

ak_tensor *ak_sample_state_read(ak_sample_state *s, ak_index *ids)
{
    if (!AK__GIVEN(NULL, s))
        return &ak__poison;
    const ak__speaker me = { s->store.ctx, __func__, s->store.name };
    if (!AK__INDEX(me.ctx, ids) || !ak__numbers_fit(me, "ids", ids, s->n))
        return &ak__poison;
    if (s->wide && ids->shape.n == AK_MAX_DIMS) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": ids have %d axes, and values would have one "
                "more than a tensor can", me.who, me.name, ids->shape.n);
        return &ak__poison;
    }
    ak_tensor *t = ak__tensor_new(me.ctx, value_shape(s, ids->shape));
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++) {
        const int32_t id = ids->data[i / s->width];
        t->data[i] = (ak_real)(id == -1 ? s->start : s->value[id * s->width + i % s->width]);
    }
    return t;
}

ak_tensor *ak_sample_state_all(ak_sample_state *s)
{
    if (!AK__GIVEN(NULL, s))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(s->store.ctx, value_shape(s, AK_SHAPE(s->n)));
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)s->value[i];
    return t;
}

ak_index *ak_sample_state_visits(ak_sample_state *s, ak_index *ids)
{
    if (!AK__GIVEN(NULL, s))
        return &ak__poison_index;
    const ak__speaker me = { s->store.ctx, __func__, s->store.name };
    if (!AK__INDEX(me.ctx, ids) || !ak__numbers_fit(me, "ids", ids, s->n))
        return &ak__poison_index;
    ak_index *x = ak__index_new(me.ctx, ids->shape);
    for (int64_t i = 0; x != &ak__poison_index && i < ids->size; i++) {
        const int32_t id = ids->data[i];
        ak__index_data(x)[i] = id == -1 ? 0 : (int32_t)ak__min(s->visits[id], INT32_MAX);
    }
    return x;
}
