/* SPDX-License-Identifier: Apache-2.0 */
/* .npz files: zip archives of .npy files, stored or deflated. Sizes are taken from the central
 * directory; local headers may hold placeholders (NumPy writes them so). */
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LOCAL_MAGIC   0x04034b50u
#define CENTRAL_MAGIC 0x02014b50u
#define END_MAGIC     0x06054b50u
#define END64_MAGIC   0x06064b50u
#define FIND64_MAGIC  0x07064b50u
#define LOCAL_SIZE    30
#define CENTRAL_SIZE  46
#define END_SIZE      22
#define END64_SIZE    56
#define FIND64_SIZE   20        /* says where the 64-bit end record is */
#define EXTRA64       1         /* id of the field with 64-bit numbers of an entry */
#define FULL16        0xffffu   /* "see the 64-bit record" */
#define FULL32        0xffffffffu
#define MAX_ARRAYS    (1 << 24)

typedef struct npz_entry {
    const char     *name;       /* without .npy */
    uint32_t        crc;
    uint64_t        packed, size;
    int             method;
    uint64_t        begin;      /* of its local header in the archive */
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
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

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

static void put64(uint8_t *p, uint64_t x)
{
    put32(p, (uint32_t)x);
    put32(p + 4, (uint32_t)(x >> 32));
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

/* Where an entry's bytes lie: its local header is only asked for its length. */
static ak_status locate(ak_npz *f, npz_entry *e)
{
    const uint64_t at = e->begin;
    if (at > f->n || f->n - at < LOCAL_SIZE || get32(f->bytes + at) != LOCAL_MAGIC)
        return damaged(f, "an entry does not begin where the directory says");
    const size_t skip = LOCAL_SIZE + get16(f->bytes + at + 26) + (size_t)get16(f->bytes + at + 28);
    if (f->n - at < skip || f->n - at - skip < e->packed)
        return damaged(f, "an entry reaches beyond the end of the file");
    e->data = f->bytes + at + skip;
    return AK_OK;
}

static char *entry_name(ak_ctx *ctx, const uint8_t *name, size_t n)
{
    if (n >= 4 && memcmp(name + n - 4, ".npy", 4) == 0)
        n -= 4;
    char *copy = ak__ctx_alloc(ctx, n + 1);
    if (copy)
        memcpy(copy, name, n);
    return copy;
}

/* The next number of the 64-bit field for an entry's number that says it stands there. */
static bool widen(uint64_t *x, const uint8_t **extra, const uint8_t *end)
{
    if (*x != FULL32)
        return true;
    if (end - *extra < 8)
        return false;
    *x = get64(*extra);
    *extra += 8;
    return true;
}

/* Sizes and place of an entry from its extra fields (n bytes at p), where its own 32 bits are too
 * few for them. */
static bool read_extra(npz_entry *e, const uint8_t *p, size_t n)
{
    const uint8_t *field = p, *end = p;     /* none */
    while (n >= 4) {
        const size_t length = get16(p + 2);
        if (length > n - 4)
            break;                          /* some writers pad with a few odd bytes */
        if (get16(p) == EXTRA64) {
            field = p + 4;
            end = field + length;
            break;
        }
        p += 4 + length;
        n -= 4 + length;
    }
    return widen(&e->size, &field, end) && widen(&e->packed, &field, end) &&
           widen(&e->begin, &field, end);
}

/* One directory record at p (left bytes); returns its length, 0 on failure. */
static size_t read_record(ak_npz *f, npz_entry *e, const uint8_t *p, size_t left, bool *folder)
{
    if (left < CENTRAL_SIZE || get32(p) != CENTRAL_MAGIC) {
        damaged(f, "its directory has fewer entries than announced");
        return 0;
    }
    const size_t name = get16(p + 28), extra = get16(p + 30);
    const size_t length = CENTRAL_SIZE + name + extra + get16(p + 32);
    if (left < length || memchr(p + CENTRAL_SIZE, 0, name)) {
        damaged(f, "a name in the directory is cut off");
        return 0;
    }
    *e = (npz_entry){ .method = (int)get16(p + 10), .crc = get32(p + 16), .packed = get32(p + 20),
                      .size = get32(p + 24), .begin = get32(p + 42) };
    if (!(e->name = entry_name(f->ctx, p + CENTRAL_SIZE, name)))
        return 0;
    if (!read_extra(e, p + CENTRAL_SIZE + name, extra)) {
        damaged(f, "the 64-bit sizes (zip64) of an entry are missing");
        return 0;
    }
    if (get16(p + 8) & 1) {
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: \"%s\" is encrypted; unpack the archive first",
                f->path, e->name);
        return 0;
    }
    *folder = name && p[CENTRAL_SIZE + name - 1] == '/' && e->size == 0;
    return locate(f, e) ? 0 : length;
}

/* What the end of an archive says of its directory. */
typedef struct npz_end { uint64_t count, size, offset, before; } npz_end;

/* The 64-bit end record, if there is one in front of `end`: it holds what 16 and 32 bits of the
 * other cannot. */
static ak_status read_end64(ak_npz *f, const uint8_t *end, npz_end *d)
{
    const bool full = d->count == FULL16 || d->size == FULL32 || d->offset == FULL32;
    const bool there = d->before >= FIND64_SIZE && get32(end - FIND64_SIZE) == FIND64_MAGIC;
    if (!there)
        return full ? damaged(f, "its 64-bit end record (zip64) is missing") : AK_OK;
    const uint64_t at = get64(end - FIND64_SIZE + 8), behind = d->before - FIND64_SIZE;
    const uint8_t *p = f->bytes + at;
    if (behind < END64_SIZE || at > behind - END64_SIZE || get32(p) != END64_MAGIC)
        return damaged(f, "its 64-bit end record (zip64) is not where it should be");
    const npz_end wide = { .count = get64(p + 32), .size = get64(p + 40), .offset = get64(p + 48),
                           .before = at };
    if (get32(p + 16) || get32(p + 20) || get64(p + 24) != wide.count)
        return damaged(f, "it is one of several parts");
    if ((d->count != FULL16 && d->count != wide.count) ||
        (d->size != FULL32 && d->size != wide.size) ||
        (d->offset != FULL32 && d->offset != wide.offset))
        return damaged(f, "its two end records do not agree");
    *d = wide;
    return AK_OK;
}

static ak_status read_end(ak_npz *f, npz_end *d)
{
    const uint8_t *end = find_end(f->bytes, f->n);
    if (!end)
        return ak_fail(f->ctx, AK_ERR_FORMAT, "%s: is no complete .npz archive: the directory at "
                       "its end is missing (%zu bytes); it was cut off or is another kind of "
                       "file", f->path, f->n);
    *d = (npz_end){ .count = get16(end + 10), .size = get32(end + 12), .offset = get32(end + 16),
                    .before = (uint64_t)(end - f->bytes) };
    if (get16(end + 4) || get16(end + 8) != d->count)
        return damaged(f, "it is one of several parts");
    if (read_end64(f, end, d))
        return ak_error(f->ctx);
    if (d->offset > d->before || d->size > d->before - d->offset || d->count > MAX_ARRAYS ||
        d->count * CENTRAL_SIZE > d->size)
        return damaged(f, "its directory lies outside the file");
    return AK_OK;
}

static int compare_places(const void *a, const void *b)
{
    const npz_entry *x = *(const npz_entry *const *)a, *y = *(const npz_entry *const *)b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Every entry has its own bytes: overlapping ones would unpack the same bytes again and again. */
static ak_status check_overlap(ak_npz *f, npz_entry *all, size_t n, uint64_t directory)
{
    const npz_entry **order = ak__malloc((n + 1) * sizeof *order);
    ak_status         status = AK_OK;
    if (!order)
        return ak__fail_memory(f->ctx, (n + 1) * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = &all[i];
    if (n)
        qsort(order, n, sizeof *order, compare_places);
    for (size_t i = 0; !status && i < n; i++) {
        const npz_entry *e = order[i];
        const uint64_t   end = (uint64_t)(e->data - f->bytes) + e->packed;
        if (end > (i + 1 < n ? order[i + 1]->begin : directory))
            status = ak_fail(f->ctx, AK_ERR_FORMAT, "%s: the archive is damaged: the bytes of "
                             "\"%s\" overlap with what follows; write or fetch it again", f->path,
                             e->name);
    }
    ak__free(order);
    return status;
}

static ak_status read_directory(ak_npz *f)
{
    npz_end d = { 0 };
    if (read_end(f, &d))
        return ak_error(f->ctx);
    npz_entry *all = ak__ctx_alloc(f->ctx, (size_t)(d.count + 1) * sizeof *all);
    if (!all)
        return AK_ERR_MEMORY;
    const uint8_t *p = f->bytes + d.offset;
    size_t         left = (size_t)d.size, n = 0;
    for (uint64_t i = 0; i < d.count; i++) {
        bool         folder = false;
        const size_t length = read_record(f, &all[n], p, left, &folder);
        if (!length)
            return ak_error(f->ctx);
        n += !folder;                       /* folders are no arrays */
        p += length;
        left -= length;
    }
    f->entries = all;
    f->count = (int64_t)n;
    return check_overlap(f, all, n, d.offset);
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
    const size_t   packed = (size_t)e->packed;
    if (e->method == 8) {
        const ak__expected expected = {
            .limit = e->size < SIZE_MAX / 4 ? (size_t)e->size : SIZE_MAX / 4,
            .why = "the directory announces; write or fetch the archive again",
            .announced = ak__npy_announced };
        if (ak__inflate(f->ctx, label, AK__DEFLATE, e->data, packed, expected, &unpacked))
            return NULL;
        bytes = unpacked.data;
    }
    const ak_array *a = NULL;
    const size_t    n = e->method == 8 ? unpacked.n : packed;
    if (e->method != 0 && e->method != 8)
        ak_fail(f->ctx, AK_ERR_UNSUPPORTED, "%s: is packed by method %d; stored (0) and deflated "
                "(8) can be read", label, e->method);
    else if (e->method == 8 && ak__npy_announced(bytes, n) == AK__REFUSED)
        ak__npy_parse(f->ctx, label, bytes, n);     /* not all was unpacked: this says why */
    else if (n != e->size)
        ak_fail(f->ctx, AK_ERR_FORMAT, "%s: has %zu bytes where the directory announces %" PRIu64
                "; write or fetch the archive again", label, n, e->size);
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
    ak__format(label, sizeof label, "%s: array \"%s\"", f->path, e->name);
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
    for (int64_t i = f->count; i-- > 0; )   /* the last of a name, as NumPy */
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
    uint64_t   zip64;           /* numbers from here on go into 64-bit fields */
    bool       deflated;
} npz_writer;

/* What local and central records say of an entry. */
typedef struct npz_record {
    int      method;
    uint32_t crc;
    uint64_t packed, size, begin;
    size_t   name;
} npz_record;

/* The 64-bit field of a record: sizes, and the place in the archive, where they need it. Local
 * records hold both sizes or none. Returns its length, 0 = none. */
static size_t put_extra(uint8_t extra[28], const npz_writer *w, const npz_record *r, bool central)
{
    const bool sizes = r->packed >= w->zip64 || r->size >= w->zip64;
    const bool place = central && r->begin >= w->zip64;
    size_t     n = 4;
    if (!sizes && !place)
        return 0;
    if (sizes) {
        put64(extra + n, r->size);
        put64(extra + n + 8, r->packed);
        n += 16;
    }
    if (place) {
        put64(extra + n, r->begin);
        n += 8;
    }
    put16(extra, EXTRA64);
    put16(extra + 2, (uint32_t)n - 4);
    return n;
}

/* Fields that both records share, from "version needed" on (26 bytes). */
static void put_common(uint8_t *p, const npz_writer *w, const npz_record *r, size_t extra)
{
    const bool wide = r->packed >= w->zip64 || r->size >= w->zip64;
    put16(p, extra ? 45 : 20);
    put16(p + 2, 0x800);                /* names are UTF-8 */
    put16(p + 4, (uint32_t)r->method);
    put16(p + 6, 0);                    /* 1980-01-01 00:00: same arrays, same bytes */
    put16(p + 8, 1 << 5 | 1);
    put32(p + 10, r->crc);
    put32(p + 14, wide ? FULL32 : (uint32_t)r->packed);
    put32(p + 18, wide ? FULL32 : (uint32_t)r->size);
    put16(p + 22, (uint32_t)r->name);
    put16(p + 24, (uint32_t)extra);
}

/* Local record into the file, central record into the directory. */
static ak_status put_records(npz_writer *w, const npz_record *r, const char *name)
{
    uint8_t local[LOCAL_SIZE] = { 0 }, central[CENTRAL_SIZE] = { 0 }, extra[28];
    size_t  n = put_extra(extra, w, r, true);
    put32(central, CENTRAL_MAGIC);
    put16(central + 4, n ? 45 : 20);
    put_common(central + 6, w, r, n);
    put32(central + 42, r->begin >= w->zip64 ? FULL32 : (uint32_t)r->begin);
    if (!ak__bytes_add(w->ctx, &w->directory, central, sizeof central) ||
        !ak__bytes_add(w->ctx, &w->directory, name, r->name) ||
        !ak__bytes_add(w->ctx, &w->directory, extra, n))
        return AK_ERR_MEMORY;
    n = put_extra(extra, w, r, false);
    put32(local, LOCAL_MAGIC);
    put_common(local + 4, w, r, n);
    ak__writer_put(&w->file, local, sizeof local);
    ak__writer_put(&w->file, name, r->name);
    ak__writer_put(&w->file, extra, n);
    w->at += sizeof local + r->name + n;
    return AK_OK;
}

static ak_status put_entry(npz_writer *w, const ak_array *a)
{
    char         head[AK__NPY_HEADER], name[260];
    const size_t head_n = ak__npy_header(head, a->type, a->shape);
    const size_t data_n = (size_t)a->size * ak_type_size(a->type);
    npz_record   r = { .method = w->deflated ? 8 : 0, .size = head_n + data_n, .begin = w->at,
                       .crc = crc_of(crc_of(0, head, head_n), a->data, data_n) };
    ak__format(name, sizeof name, "%s.npy", a->name);
    r.name = strlen(name);
    r.packed = r.size;
    if (w->deflated) {
        ak__bytes plain = { 0 };
        w->packed.n = 0;
        ak_status status = AK_ERR_MEMORY;
        if (ak__bytes_add(w->ctx, &plain, head, head_n) &&
            ak__bytes_add(w->ctx, &plain, a->data, data_n))
            status = ak__deflate(w->ctx, plain.data, plain.n, &w->packed);
        ak__bytes_free(&plain);
        if (status)
            return status;
        r.packed = w->packed.n;
    }
    if (put_records(w, &r, name))
        return AK_ERR_MEMORY;
    if (w->deflated) {
        ak__writer_put(&w->file, w->packed.data, w->packed.n);
    } else {
        ak__writer_put(&w->file, head, head_n);
        ak__writer_put(&w->file, a->data, data_n);
    }
    w->at += r.packed;
    return w->file.failed ? AK_ERR_IO : AK_OK;
}

/* The 64-bit end record and what tells where it is. */
static void put_end64(npz_writer *w, uint64_t n)
{
    uint8_t end[END64_SIZE + FIND64_SIZE] = { 0 }, *find = end + END64_SIZE;
    put32(end, END64_MAGIC);
    put64(end + 4, END64_SIZE - 12);
    put16(end + 12, 45);
    put16(end + 14, 45);
    put64(end + 24, n);
    put64(end + 32, n);
    put64(end + 40, w->directory.n);
    put64(end + 48, w->at);
    put32(find, FIND64_MAGIC);
    put64(find + 8, w->at + w->directory.n);
    put32(find + 16, 1);
    ak__writer_put(&w->file, end, sizeof end);
}

static ak_status put_end(npz_writer *w, int n)
{
    const uint64_t count = (uint64_t)n, size = w->directory.n;
    const bool     many = count >= FULL16, wide = size >= w->zip64 || w->at >= w->zip64 || many;
    uint8_t        end[END_SIZE] = { 0 };
    ak__writer_put(&w->file, w->directory.data, w->directory.n);
    if (wide)
        put_end64(w, count);
    put32(end, END_MAGIC);
    put16(end + 8, many ? FULL16 : (uint32_t)n);
    put16(end + 10, many ? FULL16 : (uint32_t)n);
    put32(end + 12, size >= w->zip64 ? FULL32 : (uint32_t)size);
    put32(end + 16, w->at >= w->zip64 ? FULL32 : (uint32_t)w->at);
    return ak__writer_put(&w->file, end, sizeof end);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ak_status check_twice(ak_ctx *ctx, const char *path, const ak_array *arrays, int n)
{
    const size_t bytes = ((size_t)n + 1) * sizeof(const char *);
    const char **names = ak__malloc(bytes);
    ak_status    status = AK_OK;
    if (!names)
        return ak__fail_memory(ctx, bytes);
    for (int i = 0; i < n; i++)
        names[i] = arrays[i].name;
    if (n)
        qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 1; !status && i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = ak_fail(ctx, AK_ERR_VALUE, "%s: the name \"%s\" is given twice", path,
                             names[i]);
    ak__free(names);
    return status;
}

static ak_status check_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n)
{
    if (n < 0 || n > MAX_ARRAYS)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: %d arrays; 0 to %d are possible", path, n,
                       MAX_ARRAYS);
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
    }
    return check_twice(ctx, path, arrays, n);
}

ak_status ak__npz_write(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                        bool deflated, uint64_t zip64)
{
    if (ak_error(ctx))
        return AK_ERR_STATE;
    ak_status status = check_arrays(ctx, path, arrays, n);
    if (status)
        return status;
    npz_writer w = { .ctx = ctx, .deflated = deflated, .zip64 = zip64 };
    if ((status = ak__writer_open(ctx, &w.file, path)))
        return status;
    for (int i = 0; !status && i < n; i++)
        status = put_entry(&w, &arrays[i]);
    if (!status)
        status = put_end(&w, n);
    if (status)
        ak__writer_abort(&w.file);
    else
        status = ak__writer_commit(&w.file);
    ak__bytes_free(&w.directory);
    ak__bytes_free(&w.packed);
    return status;
}

ak_status ak_npz_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                              bool deflated)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || (n > 0 && !AK__GIVEN(ctx, arrays)))
        return ak__refused(ctx);
    return ak__npz_write(ctx, path, arrays, n, deflated, FULL32);
}

static ak_status write_tensors(ak_ctx *ctx, const char *path, const char *const *names,
                               ak_tensor *const *tensors, int n, bool deflated)
{
    if (ak_error(ctx))
        return AK_ERR_STATE;
    if (n < 0)
        return ak_fail(ctx, AK_ERR_VALUE, "npz_write: %d tensors", n);
    ak_status status;
    ak_array *arrays = ak__arrays_of(ctx, "ak_npz_write", names, tensors, n, &status);
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
