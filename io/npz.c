/* SPDX-License-Identifier: Apache-2.0 */
/* .npz files: zip archives of .npy files, stored or deflated. Sizes are taken from the central
 * directory; local headers may hold placeholders (NumPy writes them so). */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <string.h>
#include <zlib.h>

#define LOCAL_MAGIC   0x04034b50u
#define CENTRAL_MAGIC 0x02014b50u
#define END_MAGIC     0x06054b50u
#define LOCAL_SIZE    30
#define CENTRAL_SIZE  46
#define END_SIZE      22

typedef struct npz_entry {
    const char     *name;       /* without .npy */
    uint32_t        crc, packed, size;
    int             method;
    const uint8_t  *data;       /* packed bytes inside the archive */
    const ak_array *array;      /* once read */
} npz_entry;

struct ak_npz {
    ak_ctx        *ctx;
    const char    *path;
    const uint8_t *bytes;       /* NULL after closing */
    size_t         n;
    ak__bytes      file;        /* what bytes lies in, if this archive owns it */
    npz_entry     *entries;
    int64_t        count;
};

/* ---- numbers --------------------------------------------------------------------------------- */

static uint32_t get16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }

static void put16(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

static void put32(uint8_t *p, uint32_t x)
{
    put16(p, x & 0xffff);
    put16(p + 2, x >> 16);
}

static uint32_t crc_of(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (; n > 0; ) {
        const uInt some = n > 1u << 30 ? 1u << 30 : (uInt)n;
        crc = (uint32_t)crc32(crc, p, some);
        p += some;
        n -= some;
    }
    return crc;
}

/* ---- the directory --------------------------------------------------------------------------- */

/* The end record stands last, before a comment of at most 65535 bytes. */
static const uint8_t *find_end(const uint8_t *b, size_t n)
{
    if (n < END_SIZE)
        return NULL;
    const size_t stop = n > END_SIZE + 65535 ? n - END_SIZE - 65535 : 0;
    for (size_t at = n - END_SIZE + 1; at-- > stop; )
        if (get32(b + at) == END_MAGIC && at + END_SIZE + get16(b + at + 20) == n)
            return b + at;
    return NULL;
}

static ak_status damaged(ak_npz *f, const char *what)
{
    return ak_fail(f->ctx, AK_ERR_FORMAT, "%s: the archive is damaged: %s; write or fetch it "
                   "again", f->path, what);
}

static ak_status zip64(ak_npz *f)
{
    return ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: is a zip64 archive (more than 4 GB or 65535 "
                   "arrays); write the arrays to several smaller files", f->path);
}

/* Where an entry's bytes lie: its local header is only asked for its length. */
static ak_status locate(ak_npz *f, npz_entry *e, uint32_t offset)
{
    if (offset > f->n || f->n - offset < LOCAL_SIZE || get32(f->bytes + offset) != LOCAL_MAGIC)
        return damaged(f, "an entry does not begin where the directory says");
    const size_t skip = LOCAL_SIZE + get16(f->bytes + offset + 26) +
                        (size_t)get16(f->bytes + offset + 28);
    if (f->n - offset < skip || f->n - offset - skip < e->packed)
        return damaged(f, "an entry reaches beyond the end of the file");
    e->data = f->bytes + offset + skip;
    return AK_OK;
}

static char *entry_name(ak_ctx *ctx, const uint8_t *name, size_t n)
{
    if (n > 4 && memcmp(name + n - 4, ".npy", 4) == 0)
        n -= 4;
    char *copy = ak__ctx_alloc(ctx, n + 1);
    if (copy)
        memcpy(copy, name, n);
    return copy;
}

/* One directory record at p (left bytes); returns its length, 0 on failure. */
static size_t read_record(ak_npz *f, npz_entry *e, const uint8_t *p, size_t left)
{
    if (left < CENTRAL_SIZE || get32(p) != CENTRAL_MAGIC) {
        damaged(f, "its directory has fewer entries than announced");
        return 0;
    }
    const size_t name = get16(p + 28), length = CENTRAL_SIZE + name + get16(p + 30) +
                                                (size_t)get16(p + 32);
    if (left < length || memchr(p + CENTRAL_SIZE, 0, name)) {
        damaged(f, "a name in the directory is cut off");
        return 0;
    }
    *e = (npz_entry){ .method = (int)get16(p + 10), .crc = get32(p + 16), .packed = get32(p + 20),
                      .size = get32(p + 24) };
    if (!(e->name = entry_name(f->ctx, p + CENTRAL_SIZE, name)))
        return 0;
    if (e->packed == UINT32_MAX || e->size == UINT32_MAX || get32(p + 42) == UINT32_MAX) {
        zip64(f);
        return 0;
    }
    if (get16(p + 8) & 1) {
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: \"%s\" is encrypted; unpack the archive first",
                f->path, e->name);
        return 0;
    }
    return locate(f, e, get32(p + 42)) ? 0 : length;
}

static ak_status read_directory(ak_npz *f)
{
    const uint8_t *end = find_end(f->bytes, f->n);
    if (!end)
        return ak_fail(f->ctx, AK_ERR_FORMAT, "%s: is no complete .npz archive: the directory at "
                       "its end is missing (%zu bytes); it was cut off or is another kind of "
                       "file", f->path, f->n);
    const uint32_t count = get16(end + 10), size = get32(end + 12), offset = get32(end + 16);
    if (count == 0xffff || size == UINT32_MAX || offset == UINT32_MAX)
        return zip64(f);
    const size_t before = (size_t)(end - f->bytes);
    if (get16(end + 4) || get16(end + 8) != count)
        return damaged(f, "it is one of several parts");
    if (offset > before || size > before - offset || (size_t)count * CENTRAL_SIZE > size)
        return damaged(f, "its directory lies outside the file");
    f->entries = ak__ctx_alloc(f->ctx, (count + 1) * sizeof *f->entries);
    if (!f->entries)
        return AK_ERR_MEMORY;
    const uint8_t *p = f->bytes + offset;
    for (uint32_t i = 0, left = size; i < count; i++) {
        const size_t length = read_record(f, &f->entries[f->count], p, left);
        if (!length)
            return ak_error(f->ctx);
        const size_t n = strlen(f->entries[f->count].name);
        if (n && f->entries[f->count].name[n - 1] != '/')      /* folders are no arrays */
            f->count++;
        p += length;
        left -= (uint32_t)length;
    }
    return AK_OK;
}

ak_npz *ak__npz_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n)
{
    ak_npz *f = ak__ctx_alloc(ctx, sizeof *f);
    if (!f || !(f->path = ak__ctx_strdup(ctx, name)))
        return NULL;
    f->ctx = ctx;
    f->bytes = bytes;
    f->n = n;
    return read_directory(f) ? NULL : f;
}

static void npz_close(void *obj)
{
    ak_npz_close(obj);
}

ak_npz *ak_npz_open(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__bytes file;
    if (ak__file_read_raw(ctx, path, &file))
        return NULL;
    ak_npz *f = ak__npz_parse(ctx, path, file.data, file.n);
    if (!f || !ak__at_close(ctx, npz_close, f)) {
        ak__bytes_free(&file);
        return NULL;
    }
    f->file = file;
    return f;
}

void ak_npz_close(ak_npz *f)
{
    if (!f)
        return;
    ak__bytes_free(&f->file);
    f->bytes = NULL;
}

int64_t ak_npz_count(const ak_npz *f)
{
    return f ? f->count : 0;
}

const char *ak_npz_name(const ak_npz *f, int64_t i)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    return f && i >= 0 && i < f->count ? f->entries[i].name : NULL;
}

/* ---- reading an entry ------------------------------------------------------------------------ */

static const ak_array *read_entry(ak_npz *f, npz_entry *e, const char *label)
{
    ak__bytes      unpacked = { 0 };
    const uint8_t *bytes = e->data;
    if (e->method == 8) {
        if (ak__inflate(f->ctx, label, AK__DEFLATE, e->data, e->packed, e->size, &unpacked))
            return NULL;
        bytes = unpacked.data;
    }
    const ak_array *a = NULL;
    const size_t    n = e->method == 8 ? unpacked.n : e->packed;
    if (e->method != 0 && e->method != 8)
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: is packed by method %d; stored (0) and deflated "
                "(8) can be read", label, e->method);
    else if (n != e->size)
        ak_fail(f->ctx, AK_ERR_FORMAT, "%s: has %zu bytes where the directory announces %u; write "
                "or fetch the archive again", label, n, e->size);
    else if (crc_of(0, bytes, n) != e->crc)
        ak_fail(f->ctx, AK_ERR_FORMAT, "%s: the checksum does not fit the bytes; write or fetch "
                "the archive again", label);
    else
        a = ak__npy_parse(f->ctx, label, bytes, n);
    ak__bytes_free(&unpacked);
    return a;
}

const ak_array *ak_npz_at(ak_npz *f, int64_t i)
{
    if (!AK__GIVEN(NULL, f))
        return NULL;
    if (!f || i < 0 || i >= f->count || ak_error(f->ctx))
        return NULL;
    npz_entry *e = &f->entries[i];
    if (e->array)
        return e->array;
    if (!f->bytes) {
        ak_fail(f->ctx, AK_ERR_STATE, "%s: \"%s\" was asked for after ak_npz_close", f->path,
                e->name);
        return NULL;
    }
    char label[512];
    snprintf(label, sizeof label, "%s: array \"%s\"", f->path, e->name);
    const ak_array *a = read_entry(f, e, label);
    if (a) {
        ((ak_array *)a)->name = e->name;    /* errors named the file too; users want the key */
        e->array = a;
    }
    return a;
}

const ak_array *ak_npz_find(ak_npz *f, const char *name)
{
    if (!AK__GIVEN(NULL, f) || !AK__GIVEN(f->ctx, name))
        return NULL;
    for (int64_t i = 0; f && i < f->count; i++)
        if (strcmp(f->entries[i].name, name) == 0)
            return ak_npz_at(f, i);
    return NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct npz_writer {
    ak_ctx    *ctx;
    ak__writer file;
    ak__bytes  directory, packed;
    uint64_t   at;              /* bytes written */
    bool       deflated;
} npz_writer;

/* Fields that local and central records share, from "version needed" on (26 bytes). */
static void put_common(uint8_t *p, int method, uint32_t crc, size_t packed, size_t size,
                       size_t name)
{
    put16(p, 20);
    put16(p + 2, 0x800);                /* names are UTF-8 */
    put16(p + 4, (uint32_t)method);
    put16(p + 6, 0);                    /* 1980-01-01 00:00: same arrays, same bytes */
    put16(p + 8, 1 << 5 | 1);
    put32(p + 10, crc);
    put32(p + 14, (uint32_t)packed);
    put32(p + 18, (uint32_t)size);
    put16(p + 22, (uint32_t)name);
    put16(p + 24, 0);
}

static ak_status put_entry(npz_writer *w, const char *label, const ak_array *a)
{
    char         head[256], name[260];
    const size_t head_n = ak__npy_header(head, a->type, a->shape);
    const size_t data_n = (size_t)a->size * ak_type_size(a->type), size = head_n + data_n;
    const size_t name_n = (size_t)snprintf(name, sizeof name, "%s.npy", a->name);
    if (w->at + size + 1024 >= UINT32_MAX)
        return ak_fail(w->ctx, AK_ERR_UNSUPPORTED, "%s: would exceed 4 GB, which needs zip64; "
                       "write the arrays to several smaller files", label);
    const uint32_t crc = crc_of(crc_of(0, head, head_n), a->data, data_n);
    size_t         stored = size;
    if (w->deflated) {
        ak__bytes plain = { 0 };
        w->packed.n = 0;
        ak_status status = AK_ERR_MEMORY;
        if (ak__bytes_add(w->ctx, &plain, head, head_n) &&
            ak__bytes_add(w->ctx, &plain, a->data, data_n))
            status = ak__deflate(w->ctx, label, plain.data, plain.n, &w->packed);
        ak__bytes_free(&plain);
        if (status)
            return status;
        stored = w->packed.n;
    }
    uint8_t local[LOCAL_SIZE] = { 0 }, central[CENTRAL_SIZE] = { 0 };
    put32(local, LOCAL_MAGIC);
    put_common(local + 4, w->deflated ? 8 : 0, crc, stored, size, name_n);
    put32(central, CENTRAL_MAGIC);
    put16(central + 4, 20);
    put_common(central + 6, w->deflated ? 8 : 0, crc, stored, size, name_n);
    put32(central + 42, (uint32_t)w->at);
    if (!ak__bytes_add(w->ctx, &w->directory, central, sizeof central) ||
        !ak__bytes_add(w->ctx, &w->directory, name, name_n))
        return AK_ERR_MEMORY;
    ak__writer_put(&w->file, local, sizeof local);
    ak__writer_put(&w->file, name, name_n);
    if (w->deflated) {
        ak__writer_put(&w->file, w->packed.data, stored);
    } else {
        ak__writer_put(&w->file, head, head_n);
        ak__writer_put(&w->file, a->data, data_n);
    }
    w->at += sizeof local + name_n + stored;
    return w->file.failed ? AK_ERR_IO : AK_OK;
}

static ak_status put_end(npz_writer *w, const char *label, int n)
{
    if (w->at + w->directory.n >= UINT32_MAX)
        return ak_fail(w->ctx, AK_ERR_UNSUPPORTED, "%s: would exceed 4 GB, which needs zip64; "
                       "write the arrays to several smaller files", label);
    uint8_t end[END_SIZE] = { 0 };
    put32(end, END_MAGIC);
    put16(end + 8, (uint32_t)n);
    put16(end + 10, (uint32_t)n);
    put32(end + 12, (uint32_t)w->directory.n);
    put32(end + 16, (uint32_t)w->at);
    ak__writer_put(&w->file, w->directory.data, w->directory.n);
    return ak__writer_put(&w->file, end, sizeof end);
}

static ak_status check_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n)
{
    if (n < 0 || n >= 0xffff)
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: %d arrays; at most 65534 fit", path, n);
    for (int i = 0; i < n; i++) {
        const ak_array *a = &arrays[i];
        size_t          bytes = 0;
        if (!a->name || !*a->name || strlen(a->name) > 250)
            return ak_fail(ctx, AK_ERR_VALUE, "%s: array %d needs a name of 1 to 250 bytes", path,
                           i);
        if (!a->data || !ak_type_size(a->type) || a->shape.n < 0 || a->shape.n > AK_MAX_DIMS ||
            !ak__array_bytes(a->shape, a->type, SIZE_MAX / 4, &bytes) ||
            (uint64_t)a->size != bytes / ak_type_size(a->type))
            return ak_fail(ctx, AK_ERR_VALUE, "%s: array \"%s\" is not complete (type, shape, size "
                           "and data must fit each other)", path, a->name);
        for (int j = 0; j < i; j++)
            if (strcmp(arrays[j].name, a->name) == 0)
                return ak_fail(ctx, AK_ERR_VALUE, "%s: the name \"%s\" is given twice", path,
                               a->name);
    }
    return AK_OK;
}

ak_status ak_npz_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                              bool deflated)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) ||
        (n > 0 && !AK__GIVEN(ctx, arrays)))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    const char *label = path ? path : "(no path)";
    ak_status   status = check_arrays(ctx, label, arrays, n);
    if (status)
        return status;
    npz_writer w = { .ctx = ctx, .deflated = deflated };
    if ((status = ak__writer_open(ctx, &w.file, path)))
        return status;
    for (int i = 0; !status && i < n; i++)
        status = put_entry(&w, label, &arrays[i]);
    if (!status)
        status = put_end(&w, label, n);
    if (status)
        ak__writer_abort(&w.file);
    else
        status = ak__writer_commit(&w.file);
    ak__bytes_free(&w.directory);
    ak__bytes_free(&w.packed);
    return status;
}

static ak_status write_tensors(ak_ctx *ctx, const char *path, const char *const *names,
                               ak_tensor *const *tensors, int n, bool deflated)
{
    if (ak_error(ctx))
        return AK_ERR_STATE;
    if (n < 0)
        return ak_fail(ctx, AK_ERR_VALUE, "npz_write: %d tensors", n);
    ak_array *arrays = ak__malloc(((size_t)n + 1) * sizeof *arrays);
    if (!arrays)
        return ak__fail_memory(ctx, ((size_t)n + 1) * sizeof *arrays);
    ak_status status = AK_OK;
    for (int i = 0; !status && i < n; i++) {
        const ak_tensor *t = tensors[i];
        char what[80];
        snprintf(what, sizeof what, "tensor %d (\"%.40s\")", i, names[i] ? names[i] : "");
        if (!ak__tensor_check(ctx, t, "ak_npz_write", what))
            status = ak__refused(ctx);
        else
            arrays[i] = (ak_array){ .name = names[i], .shape = t->shape, .size = t->size,
                                    .type = sizeof(ak_real) == 8 ? AK_TYPE_F64 : AK_TYPE_F32,
                                    .data = t->data };
    }
    if (!status)
        status = ak_npz_write_arrays(ctx, path, arrays, n, deflated);
    ak__free(arrays);
    return status;
}

ak_status ak_npz_write(ak_ctx *ctx, const char *path, const char *const *names,
                       ak_tensor *const *tensors, int n)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) ||
        (n > 0 && (!AK__GIVEN(ctx, names) || !AK__GIVEN(ctx, tensors))))
        return ak__refused(ctx);
    return write_tensors(ctx, path, names, tensors, n, false);
}

ak_status ak_npz_write_deflated(ak_ctx *ctx, const char *path, const char *const *names,
                                ak_tensor *const *tensors, int n)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) ||
        (n > 0 && (!AK__GIVEN(ctx, names) || !AK__GIVEN(ctx, tensors))))
        return ak__refused(ctx);
    return write_tensors(ctx, path, names, tensors, n, true);
}
