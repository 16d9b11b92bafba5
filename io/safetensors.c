/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors files: the length of a JSON header, the header, and the bytes of all tensors one
 * after the other. The file is mapped; nothing of it is believed before it was checked. */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8
#define METADATA "__metadata__"

/* Numbers are taken from the file as they are: see the #error in checkpoint.c. */

/* What the header may call a type. */
typedef struct stored_type {
    const char    *name;
    int            bits;        /* of an element */
    ak_type        as;          /* AK_TYPE_COUNT: no array has such elements */
    ak__float_kind floats;
} stored_type;

static const stored_type types[] = {
    { "F32", 32, AK_TYPE_F32, AK__FLOAT32 },
    { "F64", 64, AK_TYPE_F64, AK__FLOAT64 },
    { "F16", 16, AK_TYPE_F32, AK__FLOAT16 },
    { "BF16", 16, AK_TYPE_F32, AK__BFLOAT16 },
    { "I8", 8, AK_TYPE_I8, AK__NO_FLOATS },
    { "I16", 16, AK_TYPE_I16, AK__NO_FLOATS },
    { "I32", 32, AK_TYPE_I32, AK__NO_FLOATS },
    { "I64", 64, AK_TYPE_I64, AK__NO_FLOATS },
    { "U8", 8, AK_TYPE_U8, AK__NO_FLOATS },
    { "U16", 16, AK_TYPE_U16, AK__NO_FLOATS },
    { "U32", 32, AK_TYPE_U32, AK__NO_FLOATS },
    { "U64", 64, AK_TYPE_U64, AK__NO_FLOATS },
    { "BOOL", 8, AK_TYPE_BOOL, AK__NO_FLOATS },
    { "F8_E4M3", 8, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F8_E5M2", 8, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F8_E8M0", 8, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F8_E4M3FNUZ", 8, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F8_E5M2FNUZ", 8, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F6_E2M3", 6, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F6_E3M2", 6, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "F4", 4, AK_TYPE_COUNT, AK__NO_FLOATS },
    { "C64", 64, AK_TYPE_COUNT, AK__NO_FLOATS },
};

typedef struct entry {
    ak_safetensors_entry info;
    const stored_type   *type;      /* NULL: a name that this library does not know */
    uint64_t             begin, end;    /* in the data, which follows the header */
    const ak_array      *array;     /* once read */
} entry;

struct ak_safetensors {
    ak_ctx        *ctx;
    const char    *path;
    const uint8_t *data;        /* behind the header; gone once closed */
    uint64_t       bytes;       /* of the data */
    ak__mapping    map;
    entry         *entries;     /* [count] in the order of their bytes */
    int64_t        count;
    int64_t       *by_name;     /* [count] places in entries, sorted by name */
    const char   **metadata;    /* [2 pairs] key, value */
    int64_t        pairs;
    bool           closed;
};

/* ---- the header ------------------------------------------------------------------------------ */

static bool damaged(ak_safetensors *f, const char *format, ...) AK_PRINTF(2, 3);
static bool damaged(ak_safetensors *f, const char *format, ...)
{
    char    text[400];
    va_list args;
    va_start(args, format);
    ak__format_v(text, sizeof text, format, args);
    va_end(args);
    ak_fail(f->ctx, AK_ERR_FORMAT, "%s: no safetensors file, or damaged: %s; write or fetch it "
            "again", f->path, text);
    return false;
}

/* Where the header is. Its length is compared with the file before anything believes it. */
static bool find_header(ak_safetensors *f, const uint8_t *bytes, size_t n, size_t *size)
{
    if (n < LENGTH_BYTES)
        return damaged(f, "it has %zu bytes, and the length of its header alone takes %d", n,
                       LENGTH_BYTES);
    uint64_t length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (length > n - LENGTH_BYTES)
        return damaged(f, "its header is said to have %" PRIu64 " bytes, and %zu follow", length,
                       n - LENGTH_BYTES);
    if (length > AK__SAFETENSORS_HEADER)
        return damaged(f, "its header has %" PRIu64 " bytes; at most %d are read", length,
                       AK__SAFETENSORS_HEADER);
    if (length == 0 || bytes[LENGTH_BYTES] != '{')
        return damaged(f, "its header is no JSON object: it does not begin with '{'");
    *size = (size_t)length;
    f->data = bytes + LENGTH_BYTES + length;
    f->bytes = n - LENGTH_BYTES - length;
    return true;
}

/* The header as JSON, to be given back; NULL after an error. */
static json_t *read_json(ak_safetensors *f, const uint8_t *text, size_t n)
{
    json_error_t error;
    json_t      *header = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &error);
    if (header)                             /* an object: it begins with '{' */
        return header;
    const enum json_error_code code = json_error_code(&error);
    if (code == json_error_out_of_memory)
        ak__fail_memory(f->ctx, n);
    else if (code == json_error_duplicate_key)
        damaged(f, "a name stands twice in its header (%s)", error.text);
    else if (code == json_error_invalid_utf8)
        damaged(f, "its header is not UTF-8 (%s)", error.text);
    else
        damaged(f, "its header is no JSON: %s at byte %d", error.text, error.position);
    return NULL;
}

static const stored_type *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

/* The shape, and how many elements it has (UINT64_MAX: more than can be counted). */
static bool read_shape(ak_safetensors *f, entry *e, const json_t *list, uint64_t *size)
{
    bool fits = true, empty = false;
    if (!json_is_array(list) || json_array_size(list) > INT32_MAX)
        return damaged(f, "\"%.100s\" has no list as its shape", e->info.name);
    e->info.shape.n = (int)json_array_size(list);
    *size = 1;
    for (int i = 0; i < e->info.shape.n; i++) {
        const json_t      *item = json_array_get(list, (size_t)i);
        const json_int_t   dim = json_integer_value(item);
        if (!json_is_integer(item) || dim < 0)
            return damaged(f, "axis %d of the shape of \"%.100s\" is no whole number from 0 on", i,
                           e->info.name);
        if (i < AK_MAX_DIMS)
            e->info.shape.dims[i] = (int64_t)dim;
        empty = empty || dim == 0;
        fits = fits && (dim == 0 || *size <= (uint64_t)INT64_MAX / (uint64_t)dim);
        *size = fits ? *size * (uint64_t)dim : 0;
    }
    *size = empty ? 0 : fits ? *size : UINT64_MAX;
    return true;
}

static bool read_range(ak_safetensors *f, entry *e, const json_t *list)
{
    const json_t *begin = json_array_get(list, 0), *end = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < 0)
        return damaged(f, "data_offsets of \"%.100s\" are not two whole numbers from 0 on",
                       e->info.name);
    e->begin = (uint64_t)json_integer_value(begin);
    e->end = (uint64_t)json_integer_value(end);
    if (e->begin > e->end)
        return damaged(f, "\"%.100s\" ends at byte %" PRIu64 ", before it begins at %" PRIu64,
                       e->info.name, e->end, e->begin);
    if (e->end > f->bytes)
        return damaged(f, "\"%.100s\" ends at byte %" PRIu64 " of the data, which has %" PRIu64,
                       e->info.name, e->end, f->bytes);
    e->info.bytes = (int64_t)(e->end - e->begin);
    return true;
}

static bool read_entry(ak_safetensors *f, entry *e, const char *name, const json_t *what)
{
    const char *type = json_string_value(json_object_get(what, "dtype"));
    uint64_t    size = 0;
    char        shape[AK_SHAPE_TEXT];
    e->info.name = name;
    if (!type)
        return damaged(f, "\"%.100s\" has no text as its dtype", name);
    if (!read_shape(f, e, json_object_get(what, "shape"), &size) ||
        !read_range(f, e, json_object_get(what, "data_offsets")))
        return false;
    e->type = find_type(type);
    const uint64_t bits = e->type ? (uint64_t)e->type->bits : 0, have = e->end - e->begin;
    /* Elements of 4 and 6 bits fill whole bytes all the same. */
    if (e->type && (size > UINT64_MAX / 64 || size * bits != have * 8))
        return damaged(f, "\"%.100s\" has %" PRIu64 " bytes, which are not %s elements of type %s",
                       name, have, ak_shape_text(e->info.shape, shape), type);
    e->info.type = e->type ? e->type->name : ak__ctx_strdup(f->ctx, type);
    e->info.readable = e->type && e->type->as != AK_TYPE_COUNT && e->info.shape.n <= AK_MAX_DIMS;
    return e->info.type != NULL;
}

static bool read_metadata(ak_safetensors *f, json_t *all)
{
    const char *key;
    json_t     *value;
    if (json_is_null(all))
        return true;
    if (!json_is_object(all))
        return damaged(f, METADATA " is no object");
    f->metadata = ak__ctx_alloc(f->ctx, (2 * json_object_size(all) + 1) * sizeof *f->metadata);
    if (!f->metadata)
        return false;
    json_object_foreach(all, key, value) {
        if (!json_is_string(value))
            return damaged(f, "\"%.100s\" of " METADATA " is no text", key);
        const char **pair = f->metadata + 2 * f->pairs;
        if (!(pair[0] = ak__ctx_strdup(f->ctx, key)) ||
            !(pair[1] = ak__ctx_strdup(f->ctx, json_string_value(value))))
            return false;
        f->pairs++;
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->info.name, y->info.name);
}

/* Each tensor begins where the one before ends, and the last ends where the file does: no byte
 * belongs to two, or to none. */
static bool check_places(ak_safetensors *f)
{
    uint64_t at = 0;
    for (int64_t i = 0; i < f->count; i++) {
        const entry *e = &f->entries[i];
        if (e->begin < at)
            return damaged(f, "\"%.100s\" and \"%.100s\" overlap at byte %" PRIu64 " of the data",
                           f->entries[i - 1].info.name, e->info.name, e->begin);
        if (e->begin > at)
            return damaged(f, "a gap: bytes %" PRIu64 " to %" PRIu64 " of the data, before "
                           "\"%.100s\", belong to nothing", at, e->begin, e->info.name);
        at = e->end;
    }
    if (at < f->bytes)
        return damaged(f, "%" PRIu64 " bytes follow its last tensor", f->bytes - at);
    return true;
}

/* What sorting by name looks at; qsort hands on no pointer of the caller's. */
typedef struct named { const char *name; int64_t place; } named;

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static bool sort_names(ak_safetensors *f)
{
    const size_t bytes = (size_t)(f->count + 1) * sizeof(named);
    named       *all = ak__malloc(bytes);
    f->by_name = ak__ctx_alloc(f->ctx, (size_t)(f->count + 1) * sizeof *f->by_name);
    if (!all)
        ak__fail_memory(f->ctx, bytes);
    for (int64_t i = 0; all && f->by_name && i < f->count; i++)
        all[i] = (named){ f->entries[i].info.name, i };
    if (all && f->by_name && f->count)
        qsort(all, (size_t)f->count, sizeof *all, compare_named);
    for (int64_t i = 0; all && f->by_name && i < f->count; i++)
        f->by_name[i] = all[i].place;
    ak__free(all);
    return all && f->by_name;
}

static bool read_entries(ak_safetensors *f, json_t *header)
{
    const char *key;
    json_t     *value;
    f->entries = ak__ctx_alloc(f->ctx, (json_object_size(header) + 1) * sizeof *f->entries);
    if (!f->entries)
        return false;
    json_object_foreach(header, key, value) {
        if (strcmp(key, METADATA) == 0) {
            if (!read_metadata(f, value))
                return false;
            continue;
        }
        if (!json_is_object(value))
            return damaged(f, "\"%.100s\" is no object", key);
        const char *name = ak__ctx_strdup(f->ctx, key);
        if (!name || !read_entry(f, &f->entries[f->count], name, value))
            return false;
        f->count++;
    }
    if (f->count)
        qsort(f->entries, (size_t)f->count, sizeof *f->entries, by_place);
    return check_places(f) && sort_names(f);
}

ak_safetensors *ak__safetensors_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n)
{
    ak_safetensors *f = ak__ctx_alloc(ctx, sizeof *f);
    size_t          size = 0;
    if (!f || !(f->path = ak__ctx_strdup(ctx, name)))
        return NULL;
    f->ctx = ctx;
    f->map.fd = -1;
    if (!find_header(f, bytes, n, &size))
        return NULL;
    json_t    *header = read_json(f, bytes + LENGTH_BYTES, size);
    const bool fine = header && read_entries(f, header);
    json_decref(header);
    return fine ? f : NULL;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void close_file(void *obj)
{
    ak_safetensors_close(obj);
}

ak_safetensors *ak_safetensors_open(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__mapping map;
    if (ak__file_map(ctx, path, &map))
        return NULL;
    ak_safetensors *f = ak__safetensors_parse(ctx, path, map.data, map.n);
    if (!f || !ak__at_close(ctx, close_file, f)) {
        ak__file_unmap(&map);
        return NULL;
    }
    f->map = map;
    return f;
}

void ak_safetensors_close(ak_safetensors *f)
{
    if (!f)
        return;
    ak__file_unmap(&f->map);
    f->closed = true;
}

int64_t ak_safetensors_count(const ak_safetensors *f)
{
    return f ? f->count : 0;
}

const ak_safetensors_entry *ak_safetensors_info(const ak_safetensors *f, int64_t i)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    return i >= 0 && i < f->count ? &f->entries[i].info : NULL;
}

const char *ak_safetensors_name(const ak_safetensors *f, int64_t i)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    return i >= 0 && i < f->count ? f->entries[i].info.name : NULL;
}

const char *ak_safetensors_metadata(const ak_safetensors *f, int64_t i, const char **value)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    const bool there = i >= 0 && i < f->pairs;
    if (value)
        *value = there ? f->metadata[2 * i + 1] : NULL;
    return there ? f->metadata[2 * i] : NULL;
}

int64_t ak_safetensors_index(const ak_safetensors *f, const char *name)
{
    if (!AK__GIVEN(NULL, f) || !AK__GIVEN(f->ctx, name))
        return -1;
    for (int64_t lo = 0, hi = f->count; lo < hi; ) {
        const int64_t middle = lo + (hi - lo) / 2, place = f->by_name[middle];
        const int     order = strcmp(name, f->entries[place].info.name);
        if (order == 0)
            return place;
        if (order < 0)
            hi = middle;
        else
            lo = middle + 1;
    }
    return -1;
}

/* ---- the tensors ----------------------------------------------------------------------------- */

/* May the bytes of e be looked at? */
static bool usable(ak_safetensors *f, const entry *e)
{
    if (!f->closed)
        return ak__mapping_check(f->ctx, f->path, &f->map) == AK_OK;
    ak_fail(f->ctx, AK_ERR_STATE, "%s: \"%.100s\" was asked for after ak_safetensors_close",
            f->path, e->info.name);
    return false;
}

static bool readable(ak_safetensors *f, const entry *e, bool floats)
{
    if (e->info.readable && (!floats || e->type->floats != AK__NO_FLOATS))
        return true;
    if (e->info.shape.n > AK_MAX_DIMS)
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: \"%.100s\" has %d axes; at most %d are possible",
                f->path, e->info.name, e->info.shape.n, AK_MAX_DIMS);
    else
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: \"%.100s\" has elements of type %.40s, which can "
                "not be read%s; F64, F32, F16%s BF16 can", f->path, e->info.name, e->info.type,
                e->info.readable ? " as floating-point numbers" : "",
                floats ? " and" : ", I8 to I64, U8 to U64, BOOL and");
    return false;
}

bool ak__safetensors_floats(ak_safetensors *f, int64_t i, ak__floats *floats)
{
    const entry *e = &f->entries[i];
    *floats = (ak__floats){ .kind = AK__NO_FLOATS };
    if (!usable(f, e))
        return false;
    if (e->info.readable && e->type->floats != AK__NO_FLOATS)
        *floats = (ak__floats){ .kind = e->type->floats, .at = f->data + e->begin,
                                .n = (int64_t)(e->end - e->begin) * 8 / e->type->bits };
    return true;
}

const ak_array *ak_safetensors_at(ak_safetensors *f, int64_t i)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    if (i < 0 || i >= f->count || ak_error(f->ctx))
        return NULL;
    entry *e = &f->entries[i];
    if (e->array)
        return e->array;
    if (!readable(f, e, false) || !usable(f, e))
        return NULL;
    ak_array *a = ak__array_new(f->ctx, e->info.name, e->type->as, e->info.shape);
    if (!a)
        return NULL;
    const uint8_t *from = f->data + e->begin;
    if (e->type->floats == AK__FLOAT16 || e->type->floats == AK__BFLOAT16) {
        const ak__floats halves = { e->type->floats, from, a->size };
        for (int64_t k = 0; k < a->size; k++)
            ((float *)(uintptr_t)a->data)[k] = (float)ak__float_at(&halves, k);
    } else if (e->info.bytes) {
        memcpy((void *)(uintptr_t)a->data, from, (size_t)e->info.bytes);
    }
    a->name = e->info.name;
    e->array = a;
    return a;
}

const ak_array *ak_safetensors_find(ak_safetensors *f, const char *name)
{
    if (!AK__GIVEN(NULL, f) || !AK__GIVEN(f->ctx, name))
        return NULL;
    return ak_safetensors_at(f, ak_safetensors_index(f, name));
}

ak_status ak_safetensors_read(ak_safetensors *f, int64_t i, ak_tensor *to)
{
    if (!AK__GIVEN(NULL, f) || !AK__TENSOR(f->ctx, to))
        return ak__refused(f ? f->ctx : NULL);
    if (ak_error(f->ctx))
        return ak_error(f->ctx);
    if (i < 0 || i >= f->count)
        return ak_fail(f->ctx, AK_ERR_VALUE, "%s: tensor %" PRId64 " of %" PRId64 " was asked for",
                       f->path, i, f->count);
    const entry *e = &f->entries[i];
    ak__floats   floats;
    char         here[AK_SHAPE_TEXT], there[AK_SHAPE_TEXT];
    int64_t      not_finite, beyond;
    if (!readable(f, e, true) || !ak__safetensors_floats(f, i, &floats))
        return ak_error(f->ctx);
    if (!ak_shape_equal(e->info.shape, to->shape))
        return ak_fail(f->ctx, AK_ERR_SHAPE, "%s: \"%.100s\" is %s in the file, and is to be read "
                       "into %s", f->path, e->info.name, ak_shape_text(e->info.shape, there),
                       ak_shape_text(to->shape, here));
    ak__floats_look(&floats, &not_finite, &beyond);
    if (beyond >= 0)
        return ak_fail(f->ctx, AK_ERR_VALUE, "%s: element %" PRId64 " of \"%.100s\" is %g, beyond "
                       "the range of the library's numbers", f->path, beyond, e->info.name,
                       ak__float_at(&floats, beyond));
    ak__floats_read(&floats, 0, floats.n, to->data);
    ak__changed(to, "ak_safetensors_read");
    return AK_OK;
}
