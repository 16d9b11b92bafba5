/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding of a run, as files that a page is made of. */
#include <math.h>
#include <string.h>

#include <akin/io.h>

#include "base/base.h"
#include "base/text.h"
#include "io/file.h"
#include "report/page.h"
#include "tensor/tensor_internal.h"

#define PATH_SIZE 4096

static bool check(ak_ctx *ctx, const ak_page_rows *e)
{
    char text[AK_SHAPE_TEXT];
    if (e->features->shape.n != 2 || e->features->size < 1)
        ak_fail(ctx, AK_ERR_SHAPE, "page_embedding: .features %s; expected [N, D]",
                ak_shape_text(e->features->shape, text));
    else if (e->labels && (e->labels->shape.n != 1 ||
                           e->labels->size != e->features->shape.dims[0]))
        ak_fail(ctx, AK_ERR_SHAPE, "page_embedding: .labels %s; expected [N], N = %lld",
                ak_shape_text(e->labels->shape, text), (long long)e->features->shape.dims[0]);
    else if (e->pictures && (e->pictures->shape.n != 4 || e->pictures->size < 1 ||
                             e->pictures->shape.dims[0] != e->features->shape.dims[0] ||
                             (e->pictures->shape.dims[3] != 1 && e->pictures->shape.dims[3] != 3)))
        ak_fail(ctx, AK_ERR_SHAPE, "page_embedding: .pictures %s; expected [N, H, W, 1 or 3], N = "
                "%lld", ak_shape_text(e->pictures->shape, text),
                (long long)e->features->shape.dims[0]);
    else if (!isfinite(e->lo) || !isfinite(e->hi) || e->hi < e->lo ||
             (!(e->hi > e->lo) && e->lo < 0) || (!(e->hi > e->lo) && e->lo > 0))
        ak_fail(ctx, AK_ERR_VALUE, "page_embedding: .lo = %g must be below .hi = %g", e->lo, e->hi);
    return !ak_error(ctx);
}

/* Bytes of pictures: 255 (x - lo) / (hi - lo), rounded; what is beyond, or NaN, at the ends. */
static void to_bytes(const ak_page_rows *e, uint8_t *bytes)
{
    const double scale = e->hi > e->lo ? 255 / (e->hi - e->lo) : 255;
    for (int64_t i = 0; i < e->pictures->size; i++) {
        const double x = scale * ((double)e->pictures->data[i] - e->lo);
        bytes[i] = (uint8_t)lround(x >= 0 ? fmin(x, 255) : 0);
    }
}

static ak_status write_arrays(ak_ctx *ctx, const char *path, const ak_page_rows *e)
{
    const int64_t size = e->features->size, pixels = e->pictures ? e->pictures->size : 0;
    const size_t  bytes = (size_t)size * sizeof(float) + (size_t)pixels;
    float        *room = ak__malloc(bytes);
    int           n = 1;
    if (!room)
        return ak__fail_memory(ctx, bytes);
    for (int64_t i = 0; i < size; i++)
        room[i] = (float)e->features->data[i];
    ak_array arrays[3] = { { .name = "features", .type = AK_TYPE_F32, .size = size,
                             .shape = e->features->shape, .data = room } };
    if (e->labels)
        arrays[n++] = (ak_array){ .name = "label", .type = AK_TYPE_I32, .size = e->labels->size,
                                  .shape = e->labels->shape, .data = e->labels->data };
    if (pixels) {
        to_bytes(e, (uint8_t *)(room + size));
        arrays[n++] = (ak_array){ .name = "picture", .type = AK_TYPE_U8, .size = pixels,
                                  .shape = e->pictures->shape, .data = room + size };
    }
    const ak_status status = ak_npz_write_arrays(ctx, path, arrays, n, true);
    ak__free(room);
    return status;
}

/* Texts until NULL (n < 0), or n of them. */
static json_t *texts(const char *const *list, int64_t n)
{
    json_t *json = json_array();
    for (int64_t i = 0; n < 0 ? i < AK__LIST_MAX && list[i] : i < n; i++)
        json_array_append_new(json, list[i] ? ak__page_string(list[i], strlen(list[i]))
                                            : json_string(""));
    return json;
}

static ak_status write_texts(ak_ctx *ctx, const char *path, const ak_page_rows *e)
{
    json_t *json = json_object();
    if (e->what)
        json_object_set_new(json, "what", ak__page_string(e->what, strlen(e->what)));
    if (e->classes)
        json_object_set_new(json, "classes", texts(e->classes, -1));
    if (e->captions)
        json_object_set_new(json, "captions", texts(e->captions, e->features->shape.dims[0]));
    char *text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (!text)
        return ak__fail_memory(ctx, 0);
    const ak_status status = ak__file_write_atomic(ctx, path, text, strlen(text));
    void *(*take)(size_t);
    void (*give)(void *);
    json_get_alloc_funcs(&take, &give);
    give(text);
    return status;
}

ak_status ak_page_embedding(ak_ctx *ctx, const char *folder, ak_page_rows e)
{
    char path[PATH_SIZE], other[PATH_SIZE];
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, folder) || !AK__GIVEN(ctx, e.features))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return ak_error(ctx);
    if (!AK__TENSOR(ctx, e.features) || (e.pictures && !AK__TENSOR(ctx, e.pictures)))
        return ak__refused(ctx);
    if (!ak__format(path, sizeof path, "%s/embedding.npz", folder) ||
        !ak__format(other, sizeof other, "%s/embedding.json", folder))
        return ak_fail(ctx, AK_ERR_VALUE, "page_embedding: the path has more than %d bytes",
                       PATH_SIZE);
    if (!check(ctx, &e) || write_texts(ctx, other, &e))
        return ak_error(ctx);
    return write_arrays(ctx, path, &e);
}
