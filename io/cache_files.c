/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a prepared cache: the manifest is compared with the files, then they are only mapped. */
#define _GNU_SOURCE     /* madvise */
#include "io/cache_files.h"

#include "base/base.h"
#include "base/text.h"
#include "io/array.h"

#include <jansson.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define VERSION      1
#define MANIFEST     ((size_t)64 << 20)     /* bytes at most */
#define MOST_FIELDS  64
#define MOST_SPLITS  64
#define MOST_PARTS   100                    /* numbered by i1 */
#define MOST_ENTRIES INT32_MAX
#define MOST_TOUCHED ((size_t)8 << 20)      /* bytes of mappings read before they are given back */
#define AROUND       ((size_t)64 << 10)     /* a page that is read brings its neighbours along */

static const char *const kinds[] = { "?", "picture", "text", "sound", "labels", "id" };

/* What is read now: everything of it fails by the same name. */
typedef struct reading {
    ak__cached       *c;
    ak__cached_fetch *fetch;
    void             *user;
} reading;

static bool AK_PRINTF(2, 3) damaged(const ak__cached *c, const char *format, ...)
{
    char    text[512];
    va_list args;
    va_start(args, format);
    ak__format_v(text, sizeof text, format, args);
    va_end(args);
    ak_fail(c->ctx, AK_ERR_FORMAT, "cache %s: %s; make it again: tools/prepare --check %s",
            c->folder, text, c->name ? c->name : "NAME");
    return false;
}

/* ---- .npy ------------------------------------------------------------------------------------ */

/* The header that preparation writes, in its one form. False: another one, or other bytes. */
static bool npy_head(ak__cached_array *a)
{
    static const char before[] = "{'descr': '", after[] = "', 'fortran_order': False, 'shape': (";
    const uint8_t    *b = a->map.data;
    if (a->map.n < 10 || memcmp(b, "\x93NUMPY\x01\x00", 8) != 0)
        return false;
    const size_t head = 10 + (b[8] | (size_t)b[9] << 8), fixed = 10 + sizeof before - 1;
    if (head % 64 || head > a->map.n || head < fixed + 3 + sizeof after ||
        memcmp(b + 10, before, sizeof before - 1) != 0 ||
        memcmp(b + fixed + 3, after, sizeof after - 1) != 0)
        return false;
    memcpy(a->type, b + fixed + 1, 2);
    a->size = (size_t)(a->type[1] - '0');
    if (strchr("ui", a->type[0]) == NULL || strchr("1248", a->type[1]) == NULL || !a->type[1] ||
        b[fixed] != (a->size == 1 ? '|' : '<'))
        return false;
    size_t at = fixed + 3 + sizeof after - 1, bytes = a->size;
    a->shape = (ak_shape){ .n = 0 };
    while (at < head && b[at] >= '0' && b[at] <= '9') {
        int64_t dim = 0;
        for (; at < head && b[at] >= '0' && b[at] <= '9'; at++) {
            if (dim > INT64_MAX / 100)
                return false;
            dim = 10 * dim + (b[at] - '0');
        }
        if (a->shape.n == AK_MAX_DIMS || (dim && bytes > SIZE_MAX / 2 / (size_t)dim))
            return false;
        bytes *= (size_t)dim;
        a->shape.dims[a->shape.n++] = dim;
        for (; at < head && (b[at] == ',' || b[at] == ' '); at++)
            continue;
    }
    a->data = b + head;
    return at < head && b[at] == ')' && a->shape.n > 0 && bytes == a->map.n - head;
}

static void unmap(void *array)
{
    ak__cached_array *a = array;
    if (a->map.fd >= 0)                     /* else it is memory of who handed it in */
        ak__file_unmap(&a->map);
    a->data = NULL;
}

/* A plain name: no other folder can be meant. */
static bool plain_name(const char *file)
{
    return file && *file && *file != '.' && !strchr(file, '/') && strlen(file) < 200;
}

/* An array of n axes that the manifest names under a key. */
static bool read_array(const reading *r, const json_t *of, const char *key, const char *what,
                       const char *type, int axes, ak__cached_array *a)
{
    ak__cached *c = r->c;
    const char *file = json_string_value(json_object_get(of, key));
    char        path[4096], shape[AK_SHAPE_TEXT];
    if (!plain_name(file))
        return damaged(c, "%s has no \"%s\" with the name of a file in this folder", what, key);
    if (!ak__format(path, sizeof path, "%s/%s", c->folder, file)) {
        ak_fail(c->ctx, AK_ERR_VALUE, "cache %s: its path is too long", c->folder);
        return false;
    }
    if (!(a->path = ak__ctx_strdup(c->ctx, path)) || !r->fetch(c->ctx, a->path, &a->map, r->user))
        return false;
    if (!ak__at_close(c->ctx, unmap, a)) {
        unmap(a);
        return false;
    }
    c->bytes += (int64_t)a->map.n;
    if (!npy_head(a))
        return damaged(c, "%s is no whole .npy file as preparation writes it (%zu bytes)", file,
                       a->map.n);
    if (strcmp(a->type, type) != 0 || a->shape.n != axes)
        return damaged(c, "%s holds %s of type %s, but %s needs %d axes of %s", file,
                       ak_shape_text(a->shape, shape), a->type, what, axes, type);
    return true;
}

static int64_t whole_at(const ak__cached_array *a, int64_t i)
{
    int64_t v = 0;
    int32_t w;
    if (a->size == 8)
        memcpy(&v, a->data + 8 * i, 8);
    else if (a->size == 4) {
        memcpy(&w, a->data + 4 * i, 4);
        v = w;
    } else
        v = (int8_t)a->data[i];
    return v;
}

/* ---- fields ---------------------------------------------------------------------------------- */

static bool copy_text(const ak__cached *c, const json_t *of, const char *key, const char **to)
{
    const char *text = json_string_value(json_object_get(of, key));
    if (!text)
        return damaged(c, "manifest.json: \"%s\" is missing, or no text", key);
    return (*to = ak__ctx_strdup(c->ctx, text)) != NULL;
}

/* Texts of a list; key: of a member of each, NULL = themselves. */
static bool copy_texts(const ak__cached *c, const json_t *list, const char *key, const char ***to,
                       int64_t *n, int64_t most, const char *what)
{
    *n = (int64_t)json_array_size(list);
    if (*n < 1 || *n > most)
        return damaged(c, "manifest.json: %s: 1 to %lld names are possible", what, (long long)most);
    if (!(*to = ak__ctx_alloc(c->ctx, ((size_t)*n + 1) * sizeof **to)))
        return false;
    for (int64_t i = 0; i < *n; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        const char   *text = json_string_value(key ? json_object_get(item, key) : item);
        if (!text || !*text)
            return damaged(c, "manifest.json: %s: name %lld is no text", what, (long long)i);
        if (!((*to)[i] = ak__ctx_strdup(c->ctx, text)))
            return false;
    }
    return true;
}

/* Where texts or sounds begin: from 0 on, never back, to the end of what there is. */
static bool check_starts(const ak__cached *c, const ak__cached_field *f)
{
    int64_t before = 0;
    for (int64_t i = 0; i <= f->count; i++) {
        const int64_t at = whole_at(&f->starts, i);
        if (at < before || (i == 0 && at != 0) || at > f->values.shape.dims[0])
            return damaged(c, "field \"%s\": value %lld begins at %lld, after %lld, of %lld",
                           f->name, (long long)i, (long long)at, (long long)before,
                           (long long)f->values.shape.dims[0]);
        before = at;
    }
    return before == f->values.shape.dims[0] ||
           damaged(c, "field \"%s\": the last value ends at %lld of %lld", f->name,
                   (long long)before, (long long)f->values.shape.dims[0]);
}

/* Numbers of all entries in [least, end); how many are not negative. */
static bool check_numbers(const ak__cached *c, const char *name, const ak__cached_array *a,
                          int64_t least, int64_t end, int64_t *fine)
{
    if (a->shape.dims[0] != c->entries)
        return damaged(c, "\"%s\" has numbers of %lld entries, but there are %lld", name,
                       (long long)a->shape.dims[0], (long long)c->entries);
    *fine = 0;
    for (int64_t i = 0; i < c->entries; i++) {
        const int64_t v = whole_at(a, i);
        if (v < least || v >= end)
            return damaged(c, "\"%s\": entry %lld has number %lld, outside [%lld, %lld)", name,
                           (long long)i, (long long)v, (long long)least, (long long)end);
        *fine += v >= 0;
    }
    return true;
}

static bool read_rows(const reading *r, const json_t *of, ak__cached_field *f)
{
    if (!json_object_get(of, "rows")) {
        f->entries = f->count;
        return f->count == r->c->entries ||
               damaged(r->c, "field \"%s\" has %lld values for %lld entries", f->name,
                       (long long)f->count, (long long)r->c->entries);
    }
    return read_array(r, of, "rows", f->name, "i4", 1, &f->rows) &&
           check_numbers(r->c, f->name, &f->rows, -1, f->count, &f->entries);
}

static bool read_field(const reading *r, const json_t *of, ak__cached_field *f)
{
    ak__cached *c = r->c;
    const char *kind = json_string_value(json_object_get(of, "kind"));
    if (!copy_text(c, of, "name", &f->name))
        return false;
    for (ak__cached_field *other = c->fields; other < f; other++)
        if (strcmp(other->name, f->name) == 0)
            return damaged(c, "manifest.json: there are two fields \"%s\"", f->name);
    for (int k = AK__CACHED_PICTURE; kind && k <= AK__CACHED_ID; k++)
        if (strcmp(kind, kinds[k]) == 0)
            f->kind = (ak__cached_kind)k;
    int64_t fine;
    switch (f->kind) {
    case AK__CACHED_PICTURE:
        if (!read_array(r, of, "values", f->name, "u1", 4, &f->values))
            return false;
        for (int i = 1; i < 4; i++)
            if (f->values.shape.dims[i] < 1 || f->values.shape.dims[i] > 8192)
                return damaged(c, "field \"%s\": pictures of no size", f->name);
        f->count = f->values.shape.dims[0];
        return read_rows(r, of, f);
    case AK__CACHED_SOUND:
        f->rate = json_number_value(json_object_get(of, "rate"));
        if (!(f->rate >= 1 && f->rate <= 1 << 20))
            return damaged(c, "field \"%s\": rate %g is none", f->name, f->rate);
        /* fall through */
    case AK__CACHED_TEXT:
        if (!read_array(r, of, "values", f->name, f->kind == AK__CACHED_TEXT ? "u1" : "i2", 1,
                        &f->values) ||
            !read_array(r, of, "starts", f->name, "i8", 1, &f->starts))
            return false;
        f->count = f->starts.shape.dims[0] - 1;
        if (f->count < 0)
            return damaged(c, "field \"%s\": its starts are empty", f->name);
        return check_starts(c, f) && read_rows(r, of, f);
    case AK__CACHED_LABELS:
        if (!copy_texts(c, json_object_get(of, "names"), NULL, &f->names, &f->n_names,
                        MOST_ENTRIES, f->name))
            return false;
        /* fall through */
    case AK__CACHED_ID:
        f->count = c->entries;
        return read_array(r, of, "values", f->name, "i4", 1, &f->values) &&
               check_numbers(c, f->name, &f->values, -1, f->n_names ? f->n_names : INT32_MAX,
                             &fine) && ((f->entries = fine), true);
    }
    return damaged(c, "field \"%s\" is of kind \"%.40s\", which is none", f->name,
                   kind ? kind : "");
}

static bool read_split(const reading *r, const json_t *of, ak__cached_split *s)
{
    ak__cached   *c = r->c;
    const json_t *parts = json_object_get(of, "parts");
    int64_t       fine;
    if (!copy_text(c, of, "name", &s->name) ||
        !copy_texts(c, parts, "name", &s->parts, &s->n_parts, MOST_PARTS, s->name) ||
        !read_array(r, of, "values", s->name, "i1", 1, &s->values) ||
        !check_numbers(c, s->name, &s->values, -1, s->n_parts, &fine) ||
        !(s->count = ak__ctx_alloc(c->ctx, (size_t)s->n_parts * sizeof *s->count)))
        return false;
    for (int64_t i = 0; i < c->entries; i++)
        if (whole_at(&s->values, i) >= 0)
            s->count[whole_at(&s->values, i)]++;
    for (int64_t i = 0; i < s->n_parts; i++)
        if (json_integer_value(json_object_get(json_array_get(parts, (size_t)i), "entries")) !=
            s->count[i])
            return damaged(c, "split \"%s\": \"%s\" has %lld entries, the manifest says otherwise",
                           s->name, s->parts[i], (long long)s->count[i]);
    return true;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

static bool read_packages(ak__cached *c, json_t *of)
{
    const char *key;
    json_t     *value;
    int64_t     n = 0;
    c->packages = ak__ctx_alloc(c->ctx, (2 * json_object_size(of) + 1) * sizeof *c->packages);
    if (!c->packages)
        return false;
    json_object_foreach(of, key, value)
        if (!(c->packages[n++] = ak__ctx_strdup(c->ctx, key)) ||
            !(c->packages[n++] = ak__ctx_strdup(c->ctx, json_is_string(value)
                                                            ? json_string_value(value) : "?")))
            return false;
    return true;
}

static bool read_manifest(const reading *r, const json_t *m)
{
    ak__cached   *c = r->c;
    const json_t *fields = json_object_get(m, "fields"), *splits = json_object_get(m, "splits");
    const char   *format = json_string_value(json_object_get(m, "format"));
    if (!ak__little_endian()) {
        ak_fail(c->ctx, AK_ERR_UNSUPPORTED, "cache %s: caches are mapped as they are, and this "
                "machine has the other byte order", c->folder);
        return false;
    }
    const json_int_t version = json_integer_value(json_object_get(m, "version"));
    if (!format || strcmp(format, "akin cache") != 0)
        return damaged(c, "manifest.json is not that of a cache");
    if (version != VERSION) {
        ak_fail(c->ctx, AK_ERR_UNSUPPORTED, "cache %s: its format has version %lld, this library "
                "reads %d; make it again: tools/prepare --again NAME", c->folder,
                (long long)version, VERSION);
        return false;
    }
    if (!copy_text(c, m, "name", &c->name) || !copy_text(c, m, "about", &c->about) ||
        !copy_text(c, m, "licence", &c->licence) || !copy_text(c, m, "recipe", &c->recipe) ||
        !copy_text(c, m, "options", &c->options) ||
        !read_packages(c, json_object_get(m, "packages")))
        return false;
    c->entries = json_integer_value(json_object_get(m, "entries"));
    c->n_fields = (int64_t)json_array_size(fields);
    c->n_splits = (int64_t)json_array_size(splits);
    if (c->entries < 1 || c->entries > MOST_ENTRIES)
        return damaged(c, "manifest.json: %lld entries", (long long)c->entries);
    if (c->n_fields < 1 || c->n_fields > MOST_FIELDS || c->n_splits > MOST_SPLITS)
        return damaged(c, "manifest.json: %lld fields and %lld splits; 1 to %d and 0 to %d are "
                       "possible", (long long)c->n_fields, (long long)c->n_splits, MOST_FIELDS,
                       MOST_SPLITS);
    c->fields = ak__ctx_alloc(c->ctx, (size_t)c->n_fields * sizeof *c->fields);
    c->splits = ak__ctx_alloc(c->ctx, ((size_t)c->n_splits + 1) * sizeof *c->splits);
    if (!c->fields || !c->splits)
        return false;
    for (int64_t i = 0; i < c->n_fields; i++)
        if (!read_field(r, json_array_get(fields, (size_t)i), &c->fields[i]))
            return false;
    for (int64_t i = 0; i < c->n_splits; i++)
        if (!read_split(r, json_array_get(splits, (size_t)i), &c->splits[i]))
            return false;
    return true;
}

/* Pages that were read are given back: they stay in the system's cache, but are not counted as
 * this program's. Whoever reads one at this time has it mapped again. */
static void give_back(ak__cached *c)
{
    for (int64_t i = 0; i < c->n_fields; i++) {
        const ak__cached_array *a[] = { &c->fields[i].values, &c->fields[i].starts,
                                        &c->fields[i].rows };
        for (int k = 0; k < 3; k++)
            if (a[k]->map.n && a[k]->map.fd >= 0)
                (void)madvise((void *)(uintptr_t)a[k]->map.data, a[k]->map.n, MADV_DONTNEED);
    }
}

ak__cached *ak__cached_parse(ak_ctx *ctx, const char *folder, const char *json, size_t n,
                             ak__cached_fetch *fetch, void *user)
{
    json_error_t error;
    ak__cached  *c = ak__ctx_alloc(ctx, sizeof *c);
    if (!c || !(c->folder = ak__ctx_strdup(ctx, folder)))
        return NULL;
    c->ctx = ctx;
    c->bytes = (int64_t)n;
    json_t *m = json_loadb(json, n, JSON_REJECT_DUPLICATES, &error);
    if (!m) {
        if (json_error_code(&error) == json_error_out_of_memory)
            ak__fail_memory(ctx, n);
        else
            damaged(c, "manifest.json is damaged: %s in line %d", error.text, error.line);
        return NULL;
    }
    const reading r = { c, fetch, user };
    const bool    fine = read_manifest(&r, m);
    json_decref(m);
    if (!fine)
        return NULL;                        /* what was mapped goes when the context closes */
    give_back(c);                           /* the checks have read everything but values */
    return c;
}

/* A regular file that stands in the folder itself: links lead elsewhere. */
static bool fetch_file(ak_ctx *ctx, const char *path, ak__mapping *map, void *user)
{
    struct stat s;
    (void)user;
    if (lstat(path, &s) == 0 && S_ISLNK(s.st_mode)) {
        ak_fail(ctx, AK_ERR_FORMAT, "%s: is a link; files of a cache stand in its folder", path);
        return false;
    }
    return ak__file_map(ctx, path, map) == AK_OK;
}

ak__cached *ak__cached_open(ak_ctx *ctx, const char *folder)
{
    char        path[4096];
    ak__mapping map;
    if (!ak__format(path, sizeof path, "%s/manifest.json", folder)) {
        ak_fail(ctx, AK_ERR_VALUE, "the path of a cache is too long: %.200s..", folder);
        return NULL;
    }
    if (!fetch_file(ctx, path, &map, NULL))
        return NULL;
    ak__cached *c = NULL;
    if (map.n == 0 || map.n > MANIFEST)
        ak_fail(ctx, AK_ERR_FORMAT, "%s: has %zu bytes, which is no manifest", path, map.n);
    else
        c = ak__cached_parse(ctx, folder, (const char *)map.data, map.n, fetch_file, NULL);
    ak__file_unmap(&map);
    return c;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool still_there(const ak__cached_array *a, char error[200])
{
    struct stat s;
    if (a->map.fd < 0 || (fstat(a->map.fd, &s) == 0 && (uint64_t)s.st_size >= a->map.n))
        return true;
    const size_t n = strlen(a->path);
    ak__format(error, 200, "%s has been cut off since it was opened",
               a->path + (n > 120 ? n - 120 : 0));
    return false;
}

int64_t ak__cached_row(const ak__cached_field *f, int64_t entry)
{
    return f->rows.data ? whole_at(&f->rows, entry) : entry;
}

int64_t ak__cached_whole(const ak__cached_array *a, int64_t entry)
{
    return whole_at(a, entry);
}

bool ak__cached_value(ak__cached *c, const ak__cached_field *f, int64_t entry, const void **at,
                      int64_t *n, char error[200])
{
    if (!still_there(&f->values, error) || (f->starts.data && !still_there(&f->starts, error)) ||
        (f->rows.data && !still_there(&f->rows, error)))
        return false;
    const int64_t row = ak__cached_row(f, entry);
    int64_t       start = 0, end;
    if (f->starts.data && row >= 0 && row < f->count) {
        start = whole_at(&f->starts, row);
        end = whole_at(&f->starts, row + 1);
    } else {
        const ak_shape s = f->values.shape;
        end = s.n == 4 ? s.dims[1] * s.dims[2] * s.dims[3] : 1;
        start = row * end;
        end += start;
    }
    const int64_t all = ak_shape_size(f->values.shape);
    if (row < 0 || row >= f->count || start < 0 || end < start || end > all) {
        ak__format(error, 200, "field \"%s\" of entry %lld has changed since it was opened",
                   f->name, (long long)entry);
        return false;
    }
    *at = f->values.data + (size_t)start * f->values.size;
    *n = end - start;
    const size_t read = (size_t)*n * f->values.size + AROUND;
    if (atomic_fetch_add_explicit(&c->touched, read, memory_order_relaxed) + read > MOST_TOUCHED) {
        atomic_store_explicit(&c->touched, 0, memory_order_relaxed);
        give_back(c);
    }
    return true;
}
