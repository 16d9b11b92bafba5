/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of a step: creation, aliases, reading, printing. */
#include "tensor/tensor_internal.h"

#include "base/frame.h"
#include "base/real.h"
#include "base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

ak_tensor ak__poison = { .name = "poison", .root = &ak__poison, .owner = &ak__poison };
ak_index  ak__poison_index;

bool ak_is_poison(const ak_tensor *t)
{
    return t == &ak__poison;
}

/* ---- shapes --------------------------------------------------------------------------------- */

int64_t ak__shape_check(ak_shape shape)
{
    if (shape.n < 0 || shape.n > AK_MAX_DIMS)
        return -1;
    int64_t size = 1;
    for (int i = 0; i < shape.n; i++) {
        if (shape.dims[i] < 0)
            return -1;
        if (shape.dims[i] > 0 && size > INT64_MAX / 64 / shape.dims[i])
            return -1;
        size *= shape.dims[i];
    }
    return size;
}

int64_t ak_shape_size(ak_shape shape)
{
    return ak__shape_check(shape);
}

bool ak_shape_equal(ak_shape a, ak_shape b)
{
    if (a.n != b.n)
        return false;
    for (int i = 0; i < a.n && i < AK_MAX_DIMS; i++)
        if (a.dims[i] != b.dims[i])
            return false;
    return true;
}

char *ak_shape_text(ak_shape shape, char buf[AK_SHAPE_TEXT])
{
    if (!AK__GIVEN(NULL, buf))
        return (char *)(uintptr_t)"";
    ak__text t = ak__text_in(buf, AK_SHAPE_TEXT);
    ak__text_add(&t, "[");
    for (int i = 0; i < shape.n && i < AK_MAX_DIMS; i++)
        ak__text_add(&t, i ? ",%" PRId64 : "%" PRId64, shape.dims[i]);
    ak__text_add(&t, shape.n > AK_MAX_DIMS ? ",..]" : "]");
    return buf;
}

/* ---- creation ------------------------------------------------------------------------------- */

_Static_assert(sizeof(ak_tensor) <= AK__SHELL_SIZE && sizeof(ak_index) <= AK__SHELL_SIZE,
               "the structs of step tensors fit into a slot");

ak_tensor *ak__tensor_new(ak_ctx *ctx, ak_shape shape)
{
    if (ctx->status != AK_OK)
        return &ak__poison;
    int64_t size = ak__shape_check(shape);
    if (size < 0) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "tensor: no such shape: %s", ak_shape_text(shape, text));
        return &ak__poison;
    }
    ak_tensor *t = ak__step_shell(ctx);
    ak_real   *data = t ? ak__step_alloc(ctx, (size_t)size * sizeof(ak_real)) : NULL;
    if (!data)
        return &ak__poison;
    *t = (ak_tensor){ .data = data, .shape = shape, .size = size, .ctx = ctx, .root = t,
                      .owner = t, .generation = ctx->generation };
    return t;
}

ak_tensor *ak_zeros(ak_ctx *ctx, ak_shape shape)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, shape);
    if (t != &ak__poison)
        memset(t->data, 0, (size_t)t->size * sizeof(ak_real));
    return t;
}

static void fill(ak_tensor *t, double value)
{
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)value;
}

ak_tensor *ak_full(ak_ctx *ctx, ak_shape shape, double value)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, shape);
    fill(t, value);
    return t;
}

/* Values may be missing where there are none. */
static bool given_for(ak_ctx *ctx, ak_shape shape, const void *values, const char *who)
{
    return values || ak__shape_check(shape) == 0 || ak__missing(ctx, who, "values");
}

ak_tensor *ak_from(ak_ctx *ctx, ak_shape shape, const ak_real *values)
{
    if (!AK__GIVEN(NULL, ctx) || !given_for(ctx, shape, values, __func__))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, shape);
    if (t != &ak__poison && t->size)
        memcpy(t->data, values, (size_t)t->size * sizeof(ak_real));
    return t;
}

ak_tensor *ak_from_double(ak_ctx *ctx, ak_shape shape, const double *values)
{
    if (!AK__GIVEN(NULL, ctx) || !given_for(ctx, shape, values, __func__))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, shape);
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)values[i];
    return t;
}

ak_tensor *ak_from_float(ak_ctx *ctx, ak_shape shape, const float *values)
{
    if (!AK__GIVEN(NULL, ctx) || !given_for(ctx, shape, values, __func__))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, shape);
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)values[i];
    return t;
}

ak_tensor *ak_arange(ak_ctx *ctx, int64_t n)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    ak_tensor *t = ak__tensor_new(ctx, (ak_shape){ 1, { n } });
    for (int64_t i = 0; t != &ak__poison && i < n; i++)
        t->data[i] = (ak_real)i;
    return t;
}

uint64_t ak_random_first(const ak_tensor *x)
{
    if (!AK__TENSOR_ITSELF(NULL, x))
        return 0;
    ak__frame *f = x->ctx->frame;
    if (!f)
        return 0;
    f->asked++;
    if (!f->rows || !(x->flags & AK__OF_ROWS))
        return 0;
    if (x->shape.n < 1 || x->shape.dims[0] % f->rows) {
        char text[AK_SHAPE_TEXT];
        ak_fail(x->ctx, AK_ERR_STATE, "%s: numbers are drawn for %s, whose first axis is no "
                "multiple of the %" PRId64 " rows that run here\n    hint: draw where samples "
                "stand along the first axis, so that each gets the numbers of the undivided batch",
                f->who, ak_shape_text(x->shape, text), f->rows);
        return 0;
    }
    return (uint64_t)(x->size / f->rows * f->first);
}

/* A new tensor to be filled with drawn numbers; *first is the number of the first of them. In a
 * part of a batch, one with as many rows as the part has is taken for a part of a larger one. */
static ak_tensor *new_drawn(ak_ctx *ctx, ak_shape shape, uint64_t *first)
{
    ak_tensor *t = ak__tensor_new(ctx, shape);
    *first = 0;
    if (t == &ak__poison)
        return t;
    if (ctx->frame && ctx->frame->rows && shape.n >= 1 && shape.dims[0] == ctx->frame->rows)
        t->flags |= AK__OF_ROWS;
    *first = ak_random_first(t);
    return t;
}

ak_tensor *ak_randn(ak_ctx *ctx, ak_shape shape)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    uint64_t   stream = ak_next_stream(ctx), first;
    ak_tensor *t = new_drawn(ctx, shape, &first);
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(ctx->seed, stream, first + (uint64_t)i);
    return t;
}

ak_tensor *ak_uniform(ak_ctx *ctx, ak_shape shape, double lo, double hi)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    if (!(lo <= hi && isfinite(hi - lo))) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_uniform: [%g, %g) is no interval: lo <= hi are wanted, both "
                "finite", lo, hi);
        return &ak__poison;
    }
    uint64_t   stream = ak_next_stream(ctx), first;
    ak_tensor *t = new_drawn(ctx, shape, &first);
    for (int64_t i = 0; t != &ak__poison && i < t->size; i++)
        t->data[i] = (ak_real)(lo + (hi - lo) *
                               ak_random_uniform(ctx->seed, stream, first + (uint64_t)i));
    return t;
}

ak_tensor *ak_require_grad(ak_tensor *t)
{
    if (!AK__TENSOR_ITSELF(NULL, t))
        return &ak__poison;
    if (t->maker) {
        ak_fail(t->ctx, AK_ERR_STATE, "require_grad: the tensor was made by an op: ask for "
                "gradients before using its sources");
        return &ak__poison;
    }
    t->root->needs_grad = true;
    t->needs_grad = true;
    return t;
}

ak_tensor *ak_name(ak_tensor *t, const char *name)
{
    if (!AK__TENSOR_ITSELF(NULL, t) || !AK__GIVEN(t->ctx, name))
        return &ak__poison;
    size_t n = strlen(name) + 1;
    char  *copy = t->generation ? ak__step_alloc(t->ctx, n) : ak__ctx_alloc(t->ctx, n);
    if (copy)
        t->name = memcpy(copy, name, n);
    return t;
}

ak_tensor *ak_keep(const ak_tensor *t)
{
    if (!AK__TENSOR(NULL, t))
        return &ak__poison;
    ak_tensor *copy = ak_state(t->ctx, t->shape);
    if (copy != &ak__poison && t->size)
        memcpy(copy->data, t->data, (size_t)t->size * sizeof(ak_real));
    return copy;
}

ak_tensor *ak_state(ak_ctx *ctx, ak_shape shape)
{
    if (!AK__GIVEN(NULL, ctx))
        return &ak__poison;
    int64_t size = ak__shape_check(shape);
    if (size < 0) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "state: no such shape: %s", ak_shape_text(shape, text));
        return &ak__poison;
    }
    size_t     head = ak__round_up(sizeof(ak_tensor));
    ak_tensor *t = ak__ctx_alloc(ctx, head + (size_t)size * sizeof(ak_real));
    if (!t)
        return &ak__poison;
    *t = (ak_tensor){ .data = (ak_real *)((char *)t + head), .shape = shape, .size = size,
                      .ctx = ctx, .root = t, .owner = t };
    return t;
}

ak_index *ak__index_new(ak_ctx *ctx, ak_shape shape)
{
    int64_t size = ak__shape_check(shape);
    if (ctx->status != AK_OK)
        return &ak__poison_index;
    if (size < 0) {
        char text[160];
        ak_fail(ctx, AK_ERR_SHAPE, "index: no such shape: %s", ak_shape_text(shape, text));
        return &ak__poison_index;
    }
    ak_index *x = ak__step_shell(ctx);
    int32_t  *data = x ? ak__step_alloc(ctx, (size_t)size * sizeof(int32_t)) : NULL;
    if (!data)
        return &ak__poison_index;
    *x = (ak_index){ .data = data, .shape = shape, .size = size, .ctx = ctx,
                     .generation = ctx->generation };
    return x;
}

ak_index *ak_index_from(ak_ctx *ctx, ak_shape shape, const int32_t *values)
{
    if (!AK__GIVEN(NULL, ctx) || !given_for(ctx, shape, values, __func__))
        return &ak__poison_index;
    ak_index *x = ak__index_new(ctx, shape);
    if (x->size)
        memcpy(ak__index_data(x), values, (size_t)x->size * sizeof *values);
    return x;
}

ak_index *ak_index_from64(ak_ctx *ctx, ak_shape shape, const int64_t *values)
{
    if (!AK__GIVEN(NULL, ctx) || !given_for(ctx, shape, values, __func__))
        return &ak__poison_index;
    ak_index *x = ak__index_new(ctx, shape);
    int32_t  *out = ak__index_data(x);
    for (int64_t i = 0; i < x->size; i++) {
        if (values[i] < INT32_MIN || values[i] > INT32_MAX) {
            ak_fail(ctx, AK_ERR_VALUE, "index: element %" PRId64 " = %" PRId64
                    " does not fit 32 bits", i, values[i]);
            return &ak__poison_index;
        }
        out[i] = (int32_t)values[i];
    }
    return x;
}

ak_index *ak_index_keep(const ak_index *x)
{
    if (!AK__INDEX(NULL, x))
        return &ak__poison_index;
    const size_t head = ak__round_up(sizeof *x);
    ak_index *copy = ak__ctx_alloc(x->ctx, head + (size_t)x->size * sizeof *x->data);
    if (!copy)
        return &ak__poison_index;
    int32_t *data = (int32_t *)((char *)copy + head);
    if (x->size)
        memcpy(data, x->data, (size_t)x->size * sizeof *data);
    *copy = *x;
    copy->data = data;
    copy->generation = 0;
    copy->of_rows = false;
    return copy;
}

/* ---- aliases -------------------------------------------------------------------------------- */

ak_tensor *ak__tensor_alias(ak_tensor *x, ak_shape shape, int64_t offset)
{
    ak_ctx *ctx = x->ctx;
    if (ctx->status != AK_OK)
        return &ak__poison;
    ak_tensor *t = ak__step_shell(ctx);
    if (!t)
        return &ak__poison;
    *t = *x;
    t->shape = shape;
    t->size = ak_shape_size(shape);
    t->grad = x->grad ? x->grad + offset : NULL;
    t->offset = x->offset + offset;
    t->owner_offset = x->owner_offset + offset;
    /* NULL: given back (ak_done_with); an op that takes it asks for it. */
    t->data = x->owner->data ? x->owner->data + t->owner_offset : NULL;
    t->generation = ctx->generation;
    return t;
}

ak_tensor *ak_reshape(ak_tensor *x, ak_shape shape)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    char     from[AK_SHAPE_TEXT], to[AK_SHAPE_TEXT];
    int      open = -1, n_open = 0;
    ak_shape full = shape;
    for (int i = 0; i < shape.n && i < AK_MAX_DIMS; i++) {
        if (shape.dims[i] == -1) {
            open = i;
            n_open++;
            full.dims[i] = 1;
        }
    }
    if (n_open > 1) {
        ak_fail(x->ctx, AK_ERR_SHAPE, "reshape: %d dims are -1, one at most can be worked out: "
                "\"%s\" %s to %s", n_open, x->name ? x->name : "x",
                ak_shape_text(x->shape, from), ak_shape_text(shape, to));
        return &ak__poison;
    }
    const int64_t known = ak__shape_check(full);    /* -1: also where the product overflows */
    if (open >= 0)
        full.dims[open] = known > 0 && x->size % known == 0 ? x->size / known : -1;
    if (ak__shape_check(full) != x->size) {
        ak_fail(x->ctx, AK_ERR_SHAPE, "reshape: sizes differ: \"%s\" %s to %s",
                x->name ? x->name : "x", ak_shape_text(x->shape, from), ak_shape_text(shape, to));
        return &ak__poison;
    }
    return ak__tensor_alias(x, full, 0);
}

ak_tensor *ak_rows(ak_tensor *x, int64_t start, int64_t count)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    char text[AK_SHAPE_TEXT];
    if (x->shape.n < 1 || start < 0 || count < 0 || start > x->shape.dims[0] - count) {
        ak_fail(x->ctx, AK_ERR_SHAPE, "rows: %" PRId64 " from %" PRId64 " are not inside \"%s\" %s",
                count, start, x->name ? x->name : "x", ak_shape_text(x->shape, text));
        return &ak__poison;
    }
    ak_shape shape = x->shape;
    int64_t  width = x->shape.dims[0] ? x->size / x->shape.dims[0] : 0;
    shape.dims[0] = count;
    return ak__tensor_alias(x, shape, start * width);
}

ak_tensor *ak_flatten_rows(ak_tensor *x)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    int64_t D = x->shape.n ? x->shape.dims[x->shape.n - 1] : 1;
    return ak_reshape(x, (ak_shape){ 2, { D ? x->size / D : 0, D } });
}

ak_tensor *ak_flatten(ak_tensor *x)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    int64_t N = x->shape.n ? x->shape.dims[0] : 1;
    return ak_reshape(x, (ak_shape){ 2, { N, N ? x->size / N : 0 } });
}

/* ---- reading -------------------------------------------------------------------------------- */

double ak_item(const ak_tensor *t)
{
    if (!AK__TENSOR(NULL, t))
        return (double)NAN;
    if (t->size != 1) {
        char text[AK_SHAPE_TEXT];
        ak_fail(t->ctx, AK_ERR_SHAPE, "item: one number wanted, the tensor is %s",
                ak_shape_text(t->shape, text));
        return (double)NAN;
    }
    return (double)t->data[0];
}

double ak_at(const ak_tensor *t, ak_shape place)
{
    if (!AK__TENSOR(NULL, t))
        return (double)NAN;
    int64_t at = 0;
    bool    inside = place.n == t->shape.n;
    for (int i = 0; inside && i < place.n; i++) {
        inside = place.dims[i] >= 0 && place.dims[i] < t->shape.dims[i];
        at = at * t->shape.dims[i] + place.dims[i];
    }
    if (!inside) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        ak_fail(t->ctx, AK_ERR_SHAPE, "at: no element %s in %s", ak_shape_text(place, a),
                ak_shape_text(t->shape, b));
        return (double)NAN;
    }
    return (double)t->data[at];
}

void ak_fill(ak_tensor *t, double value)
{
    if (!AK__TENSOR(NULL, t))
        return;
    t->data = t->owner->data + t->owner_offset;
    fill(t, value);
    ak__changed(t, "ak_fill");
}

void ak_touch(ak_tensor *t)
{
    if (!AK__TENSOR_ITSELF(NULL, t))
        return;
    ak__changed(t, "the program (ak_touch)");
    t->root->grad_is_zero = false;
}

/* Of two tensors that may both be NULL or poison; NULL: none is known. */
static ak_ctx *known_ctx(const ak_tensor *a, const ak_tensor *b)
{
    if (a && a->ctx)
        return a->ctx;
    return b ? b->ctx : NULL;
}

ak_status ak_copy(ak_tensor *to, const ak_tensor *from)
{
    ak_ctx *ctx = known_ctx(to, from);
    if (!AK__TENSOR(ctx, to) || !AK__TENSOR(ctx, from))
        return ak__refused(ctx);
    if (to->size != from->size) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        return ak_fail(to->ctx, AK_ERR_SHAPE, "copy: sizes differ: %s from %s",
                       ak_shape_text(to->shape, a), ak_shape_text(from->shape, b));
    }
    to->data = to->owner->data + to->owner_offset;
    if (to->size)
        memmove(to->data, from->owner->data + from->owner_offset,
                (size_t)to->size * sizeof(ak_real));
    ak__changed(to, "ak_copy");
    return AK_OK;
}

static void print_axis(const ak_tensor *t, int axis, int64_t at, FILE *file)
{
    if (axis == t->shape.n) {
        fprintf(file, "% .4g", (double)t->data[at]);
        return;
    }
    int64_t n = t->shape.dims[axis], shown = n > 8 ? 6 : n;
    fputc('[', file);
    for (int64_t s = 0; s < shown; s++) {
        int64_t i = n > shown && s >= 3 ? n - shown + s : s;
        if (n > shown && s == 3)
            fputs(axis + 1 < t->shape.n ? " ...\n " : " ...", file);
        if (s)
            fputs(axis + 1 < t->shape.n ? "\n " : " ", file);
        print_axis(t, axis + 1, at * n + i, file);
    }
    fputc(']', file);
}

void ak_print(const ak_tensor *t, FILE *file)
{
    if (t && !AK__GIVEN(t->ctx, file))
        return;
    if (!AK__TENSOR(NULL, t)) {
        if (t == &ak__poison && file)
            fputs("poison\n", file);
        return;
    }
    char text[AK_SHAPE_TEXT];
    fprintf(file, "%s %s\n", t->name ? t->name : "tensor", ak_shape_text(t->shape, text));
    if (t->size)
        print_axis(t, 0, 0, file);
    fputc('\n', file);
}
