/* SPDX-License-Identifier: Apache-2.0 */
/* Writing safetensors files: the header as text, then the bytes of each tensor. */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define METADATA "__metadata__"
#define ALIGNMENT 8             /* of the data: the header is padded with blanks */
#define MAX_ARRAYS (1 << 24)

/* Wide elements come first, as the reference implementation writes them: so each number of a mapped
 * file stands at a multiple of its size. Arrays of one width keep their order. */
static const size_t widths[] = { 8, 4, 2, 1 };
enum { WIDTHS = sizeof widths / sizeof *widths };

static const char *type_name(ak_type type)
{
    static const char *const names[] = {
        [AK_TYPE_F32] = "F32", [AK_TYPE_F64] = "F64", [AK_TYPE_I8] = "I8", [AK_TYPE_I16] = "I16",
        [AK_TYPE_I32] = "I32", [AK_TYPE_I64] = "I64", [AK_TYPE_U8] = "U8", [AK_TYPE_U16] = "U16",
        [AK_TYPE_U32] = "U32", [AK_TYPE_U64] = "U64", [AK_TYPE_BOOL] = "BOOL" };
    return names[type];
}

static ak_status out_of_memory(ak_ctx *ctx)
{
    return ak__fail_memory(ctx, 0);
}

/* The metadata as an object into *all; NULL stays where there is none. */
static ak_status make_metadata(ak_ctx *ctx, const char *path, const char *const *pairs,
                               json_t **all)
{
    if (!pairs || !*pairs)
        return AK_OK;
    if (!(*all = json_object()))
        return out_of_memory(ctx);
    for (int i = 0; pairs[i]; i += 2) {
        if (i >= 2 * AK__LIST_MAX)
            return ak_fail(ctx, AK_ERR_VALUE, "%s: the list of metadata has no end (NULL) within "
                           "%d pairs", path, AK__LIST_MAX);
        if (!pairs[i + 1])
            return ak_fail(ctx, AK_ERR_VALUE, "%s: the metadata \"%.100s\" has no value", path,
                           pairs[i]);
        if (json_object_get(*all, pairs[i]))
            return ak_fail(ctx, AK_ERR_VALUE, "%s: the metadata \"%.100s\" is given twice", path,
                           pairs[i]);
        json_t *value = json_string(pairs[i + 1]);
        if (!value || json_object_set_new(*all, pairs[i], value) != 0)
            return ak_fail(ctx, AK_ERR_VALUE, "%s: the metadata \"%.100s\" is not UTF-8", path,
                           pairs[i]);
    }
    return AK_OK;
}

/* One tensor of the header; *at moves behind its bytes. */
static ak_status add_entry(ak_ctx *ctx, const char *path, json_t *header, const ak_array *a,
                           size_t bytes, uint64_t *at)
{
    json_t *shape = json_array();
    bool    whole = shape != NULL;
    for (int i = 0; whole && i < a->shape.n; i++)
        whole = json_array_append_new(shape, json_integer(a->shape.dims[i])) == 0;
    json_t *what = json_pack("{s:s, s:o, s:[I,I]}", "dtype", type_name(a->type), "shape", shape,
                             "data_offsets", (json_int_t)*at, (json_int_t)(*at + bytes));
    if (!what || !whole) {
        json_decref(what);
        return out_of_memory(ctx);
    }
    *at += bytes;
    if (json_object_set_new(header, a->name, what) != 0)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: the name \"%.100s\" is not UTF-8", path, a->name);
    return AK_OK;
}

static ak_status check_array(ak_ctx *ctx, const char *path, const ak_array *a, int i)
{
    size_t bytes;
    if (!a->name || !*a->name || strcmp(a->name, METADATA) == 0)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: array %d needs a name, and not \"%s\"", path, i,
                       METADATA);
    if (!ak_type_size(a->type) || a->shape.n < 0 || a->shape.n > AK_MAX_DIMS ||
        !ak__array_bytes(a->shape, a->type, SIZE_MAX / 4, &bytes) || (bytes && !a->data) ||
        (uint64_t)a->size != bytes / ak_type_size(a->type))
        return ak_fail(ctx, AK_ERR_VALUE, "%s: array \"%.100s\" is not complete (type, shape, size "
                       "and data must fit each other)", path, a->name);
    return AK_OK;
}

static ak_status make_header(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                             const char *const *metadata, json_t *header)
{
    json_t   *about = NULL;
    ak_status status = make_metadata(ctx, path, metadata, &about);
    uint64_t  at = 0;
    if (status)
        json_decref(about);
    else if (about && json_object_set_new(header, METADATA, about) != 0)
        status = out_of_memory(ctx);
    for (int i = 0; !status && i < n; i++)
        status = check_array(ctx, path, &arrays[i], i);
    for (int k = 0; !status && k < WIDTHS; k++)
        for (int i = 0; !status && i < n; i++) {
            const ak_array *a = &arrays[i];
            if (ak_type_size(a->type) != widths[k])
                continue;
            status = json_object_get(header, a->name)
                ? ak_fail(ctx, AK_ERR_VALUE, "%s: the name \"%.100s\" is given twice", path,
                          a->name)
                : add_entry(ctx, path, header, a, (size_t)a->size * widths[k], &at);
        }
    return status;
}

static ak_status write_file(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                            const char *text, size_t size)
{
    static const char blanks[ALIGNMENT + 1] = "        ";
    const size_t      padding = (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT;
    uint8_t           length[8];
    ak__writer        w;
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)(size + padding) >> (8 * i));
    if (ak__writer_open(ctx, &w, path))
        return ak_error(ctx);
    ak__writer_put(&w, length, sizeof length);
    ak__writer_put(&w, text, size);
    ak__writer_put(&w, blanks, padding);
    for (int k = 0; k < WIDTHS; k++)
        for (int i = 0; i < n; i++)
            if (ak_type_size(arrays[i].type) == widths[k])
                ak__writer_put(&w, arrays[i].data, (size_t)arrays[i].size * widths[k]);
    return ak__writer_commit(&w);
}

ak_status ak_safetensors_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                                      const char *const *metadata)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || (n > 0 && !AK__GIVEN(ctx, arrays)))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    if (n < 0 || n > MAX_ARRAYS)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: %d arrays; 0 to %d are possible", path, n,
                       MAX_ARRAYS);
    json_t *header = json_object();
    if (!header)
        return out_of_memory(ctx);
    ak_status    status = make_header(ctx, path, arrays, n, metadata, header);
    const size_t size = status ? 0 : json_dumpb(header, NULL, 0, JSON_COMPACT);
    if (size > AK__SAFETENSORS_HEADER - ALIGNMENT)
        status = ak_fail(ctx, AK_ERR_VALUE, "%s: the header would have %zu bytes; readers take %d "
                         "at most", path, size, AK__SAFETENSORS_HEADER);
    char *text = !status && size ? ak__malloc(size) : NULL;
    if (!status)
        status = text && json_dumpb(header, text, size, JSON_COMPACT) == size
            ? write_file(ctx, path, arrays, n, text, size) : ak__fail_memory(ctx, size);
    ak__free(text);
    json_decref(header);
    return status;
}

ak_status ak_safetensors_write(ak_ctx *ctx, const char *path, const char *const *names,
                               ak_tensor *const *tensors, int n, const char *const *metadata)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) ||
        (n > 0 && (!AK__GIVEN(ctx, names) || !AK__GIVEN(ctx, tensors))))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    if (n < 0 || n > MAX_ARRAYS)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: %d tensors; 0 to %d are possible", path, n,
                       MAX_ARRAYS);
    ak_status status;
    ak_array *arrays = ak__arrays_of(ctx, "ak_safetensors_write", names, tensors, n, &status);
    if (!status)
        status = ak_safetensors_write_arrays(ctx, path, arrays, n, metadata);
    ak__free(arrays);
    return status;
}
