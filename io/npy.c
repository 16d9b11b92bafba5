/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files: magic, version, a Python dictionary with type, order and shape, elements. */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define MAX_HEADER (1u << 20)   /* bytes; those of plain arrays have a few hundred */

typedef struct npy_header {
    ak_type  type;          /* of the array that is made */
    size_t   size;          /* bytes of an element in the file: 2 for f2, which becomes F32 */
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

/* "<f4": byte order and type; without an order it is the machine's. */
static bool parse_type(const char *descr, npy_header *h)
{
    const char  order = strchr("<>=|", *descr) ? *descr : '=';
    const char *code = strchr("<>=|", *descr) ? descr + 1 : descr;
    const bool  half = strcmp(code, "f2") == 0;
    for (int t = 0; t < AK_TYPE_COUNT; t++)
        if (strcmp(half ? "f4" : code, ak_type_name((ak_type)t)) == 0) {
            h->type = (ak_type)t;
            h->size = half ? 2 : ak_type_size(h->type);
            h->swapped = order == (ak__little_endian() ? '>' : '<') && h->size > 1;
            return order != '|' || h->size == 1;
        }
    return false;
}

/* What can be wrong with a header. */
typedef enum npy_fault {
    NPY_FINE, NPY_SHORT, NPY_MAGIC, NPY_VERSION, NPY_LONG, NPY_DAMAGED, NPY_RECORD, NPY_TYPE,
    NPY_AXES
} npy_fault;

/* A header with what messages show of it. */
typedef struct npy_reading {
    npy_header h;
    size_t     start, data; /* where the dictionary and the elements begin */
    char       descr[32];
    int        axes;
} npy_reading;

static npy_fault read_dictionary(text_cursor c, npy_reading *r)
{
    char key[32];
    bool order = false, fine = take_char(&c, '{');
    r->axes = -1;
    while (fine && !take_char(&c, '}')) {
        fine = take_text(&c, key, sizeof key) && take_char(&c, ':');
        if (fine && !strcmp(key, "descr")) {
            skip_space(&c);
            if (c.at < c.end && *c.at == '[')
                return NPY_RECORD;
            fine = take_text(&c, r->descr, sizeof r->descr);
        } else if (fine && !strcmp(key, "fortran_order")) {
            r->h.fortran = take_word(&c, "True");
            fine = order = r->h.fortran || take_word(&c, "False");
        } else if (fine && !strcmp(key, "shape")) {
            fine = take_shape(&c, &r->h.shape, &r->axes);
        } else {
            fine = false;
        }
        if (fine && !take_char(&c, ',')) {
            fine = take_char(&c, '}');
            break;
        }
    }
    if (!fine || !*r->descr || !order || r->axes < 0)
        return NPY_DAMAGED;
    if (!parse_type(r->descr, &r->h))
        return NPY_TYPE;
    return r->axes > AK_MAX_DIMS ? NPY_AXES : NPY_FINE;
}

/* Magic, version and dictionary. */
static npy_fault read_head(const uint8_t *b, size_t n, npy_reading *r)
{
    static const uint8_t magic[6] = { 0x93, 'N', 'U', 'M', 'P', 'Y' };
    *r = (npy_reading){ .start = 10 };
    if (memcmp(b, magic, n < sizeof magic ? n : sizeof magic) != 0)
        return NPY_MAGIC;
    if (n < r->start)
        return NPY_SHORT;
    if (b[6] < 1 || b[6] > 3)
        return NPY_VERSION;
    size_t size = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) {
        r->start = 12;
        if (n < r->start)
            return NPY_SHORT;
        size |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    }
    r->data = r->start + size;
    if (size > MAX_HEADER)
        return NPY_LONG;
    if (n < r->data)
        return NPY_SHORT;
    const char *text = (const char *)b + r->start;
    return read_dictionary((text_cursor){ text, text + size }, r);
}

/* Bytes of the elements in the file; false if they are more than `limit`. */
static bool element_bytes(const npy_header *h, size_t limit, size_t *bytes)
{
    const size_t grown = ak_type_size(h->type) / h->size;
    const bool   fits = ak__array_bytes(h->shape, h->type, limit > SIZE_MAX / 4 ? SIZE_MAX / 4
                                                                    : limit * grown, bytes);
    *bytes /= grown;
    return fits;
}

size_t ak__npy_announced(const uint8_t *bytes, size_t n)
{
    npy_reading     r;
    size_t          size;
    const npy_fault fault = read_head(bytes, n, &r);
    if (fault)
        return fault == NPY_SHORT ? 0 : AK__REFUSED;
    return element_bytes(&r.h, SIZE_MAX / 4, &size) ? r.data + size : AK__REFUSED;
}

static ak_status head_fail(ak_ctx *ctx, const char *name, const uint8_t *b, size_t n,
                           npy_fault fault, const npy_reading *r)
{
    switch (fault) {
    case NPY_SHORT:
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: ends inside its header: %zu bytes are there%s; "
                       "write or fetch the file again", name, n, r->data ? ", fewer than it "
                       "announces" : "");
    case NPY_MAGIC:
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: is no .npy file: it should begin with \\x93NUMPY; "
                       "check that it is the right file", name);
    case NPY_VERSION:
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: .npy version %d.%d is unknown (known: 1, 2, "
                       "3)", name, b[6], b[7]);
    case NPY_LONG:
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: announces a header of %zu bytes; at most %u are "
                       "read, those of arrays have a few hundred", name, r->data - r->start,
                       MAX_HEADER);
    case NPY_RECORD:
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: holds records with fields; save each field "
                       "as an array of its own", name);
    case NPY_TYPE:
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: element type '%s' cannot be read; convert it "
                       "first, for example with a.astype('f4')", name, r->descr);
    case NPY_AXES:
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: has %d axes; at most %d are possible", name,
                       r->axes, AK_MAX_DIMS);
    case NPY_FINE:
    case NPY_DAMAGED:
        break;
    }
    return ak_fail(ctx, AK_ERR_FORMAT, "%s: the .npy header is damaged: descr, fortran_order and "
                   "shape were expected; write the file again", name);
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

/* n halves in the second half of data become n floats in all of it. */
static void widen_halves(uint8_t *data, int64_t n)
{
    const uint8_t *from = data + 2 * n;
    for (int64_t i = 0; i < n; i++) {       /* float i ends before half i + 1 begins */
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        const float x = ak__from_half(h);
        memcpy(data + 4 * i, &x, sizeof x);
    }
}

const ak_array *ak__npy_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n)
{
    npy_reading     r;
    size_t          want = 0;
    const npy_fault fault = read_head(bytes, n, &r);
    if (fault) {
        head_fail(ctx, name, bytes, n, fault, &r);
        return NULL;
    }
    const npy_header *h = &r.h;
    const size_t      have = n - r.data;
    const bool        fits = element_bytes(h, have, &want);
    if (!fits || want != have) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_FORMAT, "%s: the header announces %s elements of type %s, but %zu "
                "bytes follow, which is too %s; write or fetch the file again", name,
                ak_shape_text(h->shape, text), r.descr, have, fits ? "many" : "few");
        return NULL;
    }
    ak_array *a = ak__array_new(ctx, name, h->type, h->shape);
    if (!a)
        return NULL;
    const bool half = h->size < ak_type_size(h->type);
    uint8_t   *data = (uint8_t *)(void *)a->data, *to = half ? data + want : data;
    if (want && h->fortran && h->shape.n > 1)
        from_fortran(to, bytes + r.data, h->shape, h->size);
    else if (want)
        memcpy(to, bytes + r.data, want);
    if (h->swapped)
        ak__swap_bytes(to, to, a->size, h->size);
    if (half)
        widen_halves(data, a->size);
    return a;
}

const ak_array *ak_npy_read(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__bytes file;
    if (ak__file_read(ctx, path, AK__NPY_EXPECTED, &file))
        return NULL;
    const ak_array *a = ak__npy_parse(ctx, path, file.data, file.n);
    ak__bytes_free(&file);
    return a;
}

/* ---- writing --------------------------------------------------------------------------------- */

size_t ak__npy_header(char buf[AK__NPY_HEADER], ak_type type, ak_shape shape)
{
    const size_t start = 10;
    const char  *order = ak_type_size(type) == 1 ? "|" : ak__little_endian() ? "<" : ">";
    ak__text     t = ak__text_in(buf + start, AK__NPY_HEADER - start);
    ak__text_add(&t, "{'descr': '%s%s', 'fortran_order': False, 'shape': (", order,
                 ak_type_name(type));
    for (int i = 0; i < shape.n; i++)
        ak__text_add(&t, "%s%" PRId64, i ? ", " : "", shape.dims[i]);
    ak__text_add(&t, "%s), }", shape.n == 1 ? "," : "");
    assert(!t.cut);                         /* six axes of 19 digits: 190 bytes */
    const size_t total = (start + t.n + 1 + 63) / 64 * 64;
    memset(buf + start + t.n, ' ', total - start - t.n);
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
    char         head[AK__NPY_HEADER];
    const size_t n = ak__npy_header(head, sizeof(ak_real) == 8 ? AK_TYPE_F64 : AK_TYPE_F32,
                                    t->shape);
    ak__writer   w;
    if (ak__writer_open(ctx, &w, path))
        return ak_error(ctx);
    ak__writer_put(&w, head, n);
    ak__writer_put(&w, t->data, (size_t)t->size * sizeof *t->data);
    return ak__writer_commit(&w);
}
