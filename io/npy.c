/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files: magic, version, a Python dictionary with type, order and shape, elements. */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <string.h>

typedef struct npy_header {
    ak_type  type;
    bool     swapped;       /* other byte order than this machine's */
    bool     fortran;
    ak_shape shape;
} npy_header;

/* ---- the dictionary -------------------------------------------------------------------------- */

typedef struct text_cursor { const char *at, *end; } text_cursor;

static void skip_space(text_cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool take_char(text_cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

/* A quoted text without escapes into buf. */
static bool take_text(text_cursor *c, char *buf, size_t room)
{
    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    const char  quote = *c->at++;
    const char *start = c->at;
    while (c->at < c->end && *c->at != quote)
        c->at++;
    const size_t n = (size_t)(c->at - start);
    if (c->at == c->end || n >= room)
        return false;
    c->at++;
    memcpy(buf, start, n);
    buf[n] = 0;
    return true;
}

static bool take_word(text_cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool take_number(text_cursor *c, int64_t *value)
{
    skip_space(c);
    const char *start = c->at;
    int64_t     v = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        if (v > (INT64_MAX - 9) / 10)
            return false;
        v = 10 * v + (*c->at++ - '0');
    }
    if (c->at < c->end && *c->at == 'L')    /* Python 2 wrote long numbers so */
        c->at++;
    *value = v;
    return c->at > start;
}

/* (3, 4), (3,) or (). *axes says how many there are, also beyond what a shape holds. */
static bool take_shape(text_cursor *c, ak_shape *shape, int *axes)
{
    *shape = (ak_shape){ 0 };
    *axes = 0;
    if (!take_char(c, '('))
        return false;
    while (!take_char(c, ')')) {
        int64_t d;
        if (!take_number(c, &d))
            return false;
        if (*axes < AK_MAX_DIMS)
            shape->dims[*axes] = d;
        ++*axes;
        if (!take_char(c, ',')) {
            if (!take_char(c, ')'))
                return false;
            break;
        }
    }
    shape->n = *axes < AK_MAX_DIMS ? *axes : AK_MAX_DIMS;
    return true;
}

/* "<f4": byte order and type. */
static bool parse_type(const char *descr, npy_header *h)
{
    const char order = descr[0];
    if (!order || !strchr("<>=|", order))
        return false;
    for (int t = 0; t < AK_TYPE_COUNT; t++)
        if (strcmp(descr + 1, ak_type_name((ak_type)t)) == 0) {
            h->type = (ak_type)t;
            h->swapped = order == (ak__little_endian() ? '>' : '<') &&
                         ak_type_size(h->type) > 1;
            return order != '|' || ak_type_size(h->type) == 1;
        }
    return false;
}

static ak_status parse_dictionary(ak_ctx *ctx, const char *name, text_cursor c, npy_header *h)
{
    char descr[32] = "", key[32];
    int  axes = -1;
    bool order = false, fine = take_char(&c, '{');
    while (fine && !take_char(&c, '}')) {
        fine = take_text(&c, key, sizeof key) && take_char(&c, ':');
        if (fine && !strcmp(key, "descr")) {
            skip_space(&c);
            if (c.at < c.end && *c.at == '[')
                return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: holds records with fields; save each "
                               "field as an array of its own", name);
            fine = take_text(&c, descr, sizeof descr);
        } else if (fine && !strcmp(key, "fortran_order")) {
            h->fortran = take_word(&c, "True");
            fine = order = h->fortran || take_word(&c, "False");
        } else if (fine && !strcmp(key, "shape")) {
            fine = take_shape(&c, &h->shape, &axes);
        } else {
            fine = false;
        }
        if (fine && !take_char(&c, ',')) {
            fine = take_char(&c, '}');
            break;
        }
    }
    if (!fine || !*descr || !order || axes < 0)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: the .npy header is damaged: descr, fortran_order "
                       "and shape were expected; write the file again", name);
    if (!parse_type(descr, h))
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: element type '%s' cannot be read; convert it "
                       "first, for example with a.astype('f4')", name, descr);
    if (axes > AK_MAX_DIMS)
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: has %d axes; at most %d are possible", name,
                       axes, AK_MAX_DIMS);
    return AK_OK;
}

/* Magic, version and dictionary; *data is where the elements begin. */
static ak_status parse_head(ak_ctx *ctx, const char *name, const uint8_t *b, size_t n,
                            npy_header *h, size_t *data)
{
    static const uint8_t magic[6] = { 0x93, 'N', 'U', 'M', 'P', 'Y' };
    if (n < 10 || memcmp(b, magic, sizeof magic) != 0)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: is no .npy file: it should begin with \\x93NUMPY; "
                       "check that it is the right file", name);
    if (b[6] < 1 || b[6] > 3)
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: .npy version %d.%d is unknown (known: 1, 2, "
                       "3)", name, b[6], b[7]);
    size_t start = 10, size = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) {
        start = 12;
        if (n < start)
            return ak_fail(ctx, AK_ERR_FORMAT, "%s: ends inside its header", name);
        size |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    }
    if (size > n - start)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: ends inside its header: %zu bytes of it were "
                       "announced, %zu are there; write or fetch the file again", name, size,
                       n - start);
    *data = start + size;
    const char *text = (const char *)b + start;
    return parse_dictionary(ctx, name, (text_cursor){ text, text + size }, h);
}

/* ---- elements -------------------------------------------------------------------------------- */

/* From Fortran order (first axis fastest) to C order, reading in order. */
static void from_fortran(uint8_t *to, const uint8_t *from, ak_shape shape, size_t size)
{
    int64_t place[AK_MAX_DIMS] = { 0 }, stride[AK_MAX_DIMS] = { 0 }, count = 1, at = 0;
    for (int i = shape.n - 1; i >= 0; i--) {
        stride[i] = count;
        count *= shape.dims[i];
    }
    for (int64_t i = 0; i < count; i++, from += size) {
        memcpy(to + (size_t)at * size, from, size);
        for (int axis = 0; axis < shape.n; axis++) {
            at += stride[axis];
            if (++place[axis] < shape.dims[axis])
                break;
            at -= stride[axis] * shape.dims[axis];
            place[axis] = 0;
        }
    }
}

const ak_array *ak__npy_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n)
{
    npy_header h = { 0 };
    size_t     head = 0, want = 0;
    if (parse_head(ctx, name, bytes, n, &h, &head))
        return NULL;
    const size_t have = n - head;
    const bool   fits = ak__array_bytes(h.shape, h.type, have, &want);
    if (!fits || want != have) {
        char text[96];
        ak_shape_text(h.shape, text);
        ak_fail(ctx, AK_ERR_FORMAT, "%s: the header announces %s elements of type %s, but %zu "
                "bytes follow, which is too %s; write or fetch the file again", name, text,
                ak_type_name(h.type), have, fits ? "many" : "few");
        return NULL;
    }
    ak_array *a = ak__array_new(ctx, name, h.type, h.shape);
    if (!a)
        return NULL;
    void        *data = (void *)a->data;
    const size_t size = ak_type_size(h.type);
    if (want && h.fortran && h.shape.n > 1)
        from_fortran(data, bytes + head, h.shape, size);
    else if (want)
        memcpy(data, bytes + head, want);
    if (h.swapped)
        ak__swap_bytes(data, data, a->size, size);
    return a;
}

const ak_array *ak_npy_read(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__bytes file;
    if (ak__file_read(ctx, path, &file))
        return NULL;
    const ak_array *a = ak__npy_parse(ctx, path, file.data, file.n);
    ak__bytes_free(&file);
    return a;
}

/* ---- writing --------------------------------------------------------------------------------- */

size_t ak__npy_header(char *buf, ak_type type, ak_shape shape)
{
    const size_t room = 256, start = 10;
    const char  *order = ak_type_size(type) == 1 ? "|" : ak__little_endian() ? "<" : ">";
    int at = snprintf(buf + start, room - start, "{'descr': '%s%s', 'fortran_order': False, "
                      "'shape': (", order, ak_type_name(type));
    for (int i = 0; i < shape.n; i++)
        at += snprintf(buf + start + at, room - start - (size_t)at, "%s%lld", i ? ", " : "",
                       (long long)shape.dims[i]);
    at += snprintf(buf + start + at, room - start - (size_t)at, "%s), }", shape.n == 1 ? "," : "");
    const size_t total = (start + (size_t)at + 1 + 63) / 64 * 64;
    memset(buf + start + at, ' ', total - start - (size_t)at);
    buf[total - 1] = '\n';
    memcpy(buf, "\x93NUMPY\x01\x00", 8);
    buf[8] = (char)((total - start) & 255);
    buf[9] = (char)((total - start) >> 8);
    return total;
}

ak_status ak_npy_write(ak_ctx *ctx, const char *path, const ak_tensor *t)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__TENSOR(ctx, t))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    char         head[256];
    const size_t n = ak__npy_header(head, sizeof(ak_real) == 8 ? AK_TYPE_F64 : AK_TYPE_F32,
                                    t->shape);
    ak__writer   w;
    if (ak__writer_open(ctx, &w, path))
        return ak_error(ctx);
    ak__writer_put(&w, head, n);
    ak__writer_put(&w, t->data, (size_t)t->size * sizeof *t->data);
    return ak__writer_commit(&w);
}
