/* SPDX-License-Identifier: Apache-2.0 */
/* IDX files, the format of MNIST: two zero bytes, type, number of axes, sizes, elements, all
 * big-endian. */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"

#include <string.h>

static uint32_t read_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool idx_type(uint8_t code, ak_type *type)
{
    switch (code) {
    case 0x08: *type = AK_TYPE_U8;  return true;
    case 0x09: *type = AK_TYPE_I8;  return true;
    case 0x0B: *type = AK_TYPE_I16; return true;
    case 0x0C: *type = AK_TYPE_I32; return true;
    case 0x0D: *type = AK_TYPE_F32; return true;
    case 0x0E: *type = AK_TYPE_F64; return true;
    default:   return false;
    }
}

/* The first four bytes. */
static ak_status idx_magic(ak_ctx *ctx, const char *name, const uint8_t *b, size_t n, ak__idx *out)
{
    if (n < 4)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: %zu bytes are too few for an IDX file; fetch it "
                       "again", name, n);
    if (b[0] || b[1])
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: is no IDX file: it should begin with 00 00, then "
                       "type and number of axes, but begins with %02x %02x %02x %02x; check that "
                       "it is the right file, as downloaded", name, b[0], b[1], b[2], b[3]);
    if (!idx_type(b[2], &out->type))
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: IDX element type 0x%02x is unknown (known: 08 u1, "
                       "09 i1, 0b i2, 0c i4, 0d f4, 0e f8); the file is damaged", name, b[2]);
    if (b[3] > AK_MAX_DIMS)
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: has %d axes; at most %d are possible", name,
                       b[3], AK_MAX_DIMS);
    out->shape.n = b[3];
    if (n < 4 + 4 * (size_t)b[3])
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: ends inside its header (%zu bytes); fetch it "
                       "again", name, n);
    return AK_OK;
}

/* The sizes behind the magic, which has been looked at. */
static size_t idx_shape(const uint8_t *bytes, ak_shape *shape)
{
    for (int i = 0; i < shape->n; i++)
        shape->dims[i] = read_be32(bytes + 4 + 4 * i);
    return 4 + 4 * (size_t)shape->n;
}

size_t ak__idx_announced(const uint8_t *bytes, size_t n)
{
    ak_type type;
    size_t  size;
    if (n < 4)
        return 0;
    if (bytes[0] || bytes[1] || !idx_type(bytes[2], &type) || bytes[3] > AK_MAX_DIMS)
        return AK__REFUSED;
    ak_shape shape = { .n = bytes[3] };
    if (n < 4 + 4 * (size_t)shape.n)
        return 0;
    const size_t head = idx_shape(bytes, &shape);
    return ak__array_bytes(shape, type, SIZE_MAX / 4, &size) ? head + size : AK__REFUSED;
}

ak_status ak__idx_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                        ak__idx *out)
{
    *out = (ak__idx){ 0 };
    const ak_status status = idx_magic(ctx, name, bytes, n, out);
    if (status)
        return status;
    const size_t head = idx_shape(bytes, &out->shape), have = n - head;
    char         text[AK_SHAPE_TEXT];
    ak_shape_text(out->shape, text);
    if (!ak__array_bytes(out->shape, out->type, have, &out->bytes))
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: is cut off: the header announces %s elements of "
                       "%zu bytes, but only %zu bytes follow; fetch it again", name, text,
                       ak_type_size(out->type), have);
    if (out->bytes < have)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: the header announces %s, which is %zu bytes, but "
                       "%zu follow; the file is damaged, fetch it again", name, text, out->bytes,
                       have);
    out->data = bytes + head;
    return AK_OK;
}

const ak_array *ak_idx_read(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__bytes file;
    if (ak__file_read(ctx, path, AK__IDX_EXPECTED, &file))
        return NULL;
    ak__idx   idx;
    ak_array *a = NULL;
    if (ak__idx_parse(ctx, path, file.data, file.n, &idx) == AK_OK)
        a = ak__array_new(ctx, path, idx.type, idx.shape);
    if (a && ak__little_endian())
        ak__swap_bytes((void *)a->data, idx.data, a->size, ak_type_size(a->type));
    else if (a)
        memcpy((void *)a->data, idx.data, idx.bytes);
    ak__bytes_free(&file);
    return a;
}
