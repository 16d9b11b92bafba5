/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of .npz reference files for golden tests: zip central directory, stored or deflated
 * entries (zlib), npy headers of versions 1 to 3, both array orders. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct golden_array {
    char    *key;
    size_t   offset, packed, unpacked;  /* of the local header; sizes of the entry */
    int      method;                    /* 0 stored, 8 deflated */
    bool     read;
    char     kind;                      /* f i u b U */
    int      width;                     /* bytes of an element, of a character for U */
    int      length;                    /* characters of a U element */
    ak_shape shape;
    int64_t  size;
    double  *values;
    char    *text;
} golden_array;

struct golden_file {
    char          path[1024];
    uint8_t      *bytes;
    size_t        n_bytes;
    golden_array *arrays;
    int           n_arrays;
};

static void broken(const golden_file *f, const char *key, const char *what)
{
    fprintf(stderr, "golden: %s: %s: %s\n", f->path, key, what);
    abort();
}

static void *get_memory(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) {
        fprintf(stderr, "golden: out of memory\n");
        abort();
    }
    return p;
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* ---- zip ------------------------------------------------------------------------------------ */

static const uint8_t *at(const golden_file *f, size_t offset, size_t n)
{
    if (offset > f->n_bytes || n > f->n_bytes - offset)
        broken(f, "(zip)", "truncated");
    return f->bytes + offset;
}

/* Sizes of 4 GiB and more stand in an extra field, in the order unpacked, packed, offset. */
static void read_zip64(golden_array *a, const uint8_t *extra, size_t n)
{
    while (n >= 4) {
        size_t len = (size_t)little(extra + 2, 2);
        if (len > n - 4)
            return;
        if (little(extra, 2) == 1) {
            const uint8_t *p = extra + 4, *end = p + len;
            size_t *field[3] = { &a->unpacked, &a->packed, &a->offset };
            for (int i = 0; i < 3; i++)
                if (*field[i] == 0xffffffffu && end - p >= 8) {
                    *field[i] = (size_t)little(p, 8);
                    p += 8;
                }
        }
        extra += 4 + len;
        n -= 4 + len;
    }
}

static void read_directory(golden_file *f)
{
    if (f->n_bytes < 22)
        broken(f, "(zip)", "shorter than a zip file");
    size_t end = f->n_bytes - 22;
    while (end > 0 && little(f->bytes + end, 4) != 0x06054b50u)
        end--;
    if (little(f->bytes + end, 4) != 0x06054b50u)
        broken(f, "(zip)", "no central directory");
    f->n_arrays = (int)little(f->bytes + end + 10, 2);
    size_t place = (size_t)little(f->bytes + end + 16, 4);
    f->arrays = get_memory((size_t)f->n_arrays * sizeof *f->arrays);
    for (int i = 0; i < f->n_arrays; i++) {
        const uint8_t *h = at(f, place, 46);
        if (little(h, 4) != 0x02014b50u)
            broken(f, "(zip)", "bad central directory entry");
        size_t name = (size_t)little(h + 28, 2), extra = (size_t)little(h + 30, 2);
        size_t comment = (size_t)little(h + 32, 2);
        at(f, place, 46 + name + extra + comment);
        golden_array *a = &f->arrays[i];
        a->method   = (int)little(h + 10, 2);
        a->packed   = (size_t)little(h + 20, 4);
        a->unpacked = (size_t)little(h + 24, 4);
        a->offset   = (size_t)little(h + 42, 4);
        a->key      = get_memory(name + 1);
        memcpy(a->key, h + 46, name);
        if (name > 4 && !strcmp(a->key + name - 4, ".npy"))
            a->key[name - 4] = 0;
        read_zip64(a, h + 46 + name, extra);
        place += 46 + name + extra + comment;
    }
}

/* The unpacked bytes of an entry, to be freed. */
static uint8_t *unpack(const golden_file *f, const golden_array *a)
{
    const uint8_t *h = at(f, a->offset, 30);
    size_t skip = 30 + (size_t)little(h + 26, 2) + (size_t)little(h + 28, 2);
    const uint8_t *data = at(f, a->offset + skip, a->packed);
    uint8_t *out = get_memory(a->unpacked);
    if (a->method == 0) {
        if (a->packed != a->unpacked)
            broken(f, a->key, "stored entry with two sizes");
        memcpy(out, data, a->unpacked);
        return out;
    }
    if (a->method != 8)
        broken(f, a->key, "neither stored nor deflated");
    z_stream z = { .avail_in = (uInt)a->packed, .avail_out = (uInt)a->unpacked, .next_out = out };
    memcpy(&z.next_in, &data, sizeof data);     /* zlib's field is not const everywhere */
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK || inflate(&z, Z_FINISH) != Z_STREAM_END ||
        z.total_out != a->unpacked)
        broken(f, a->key, "bad deflated data");
    inflateEnd(&z);
    return out;
}

/* ---- npy ------------------------------------------------------------------------------------ */

static double number_at(const uint8_t *p, char kind, int width)
{
    const uint64_t v = little(p, width);
    if (kind == 'f' && width == 8) {
        double d;
        memcpy(&d, &v, sizeof d);
        return d;
    }
    if (kind == 'f') {
        const uint32_t bits = (uint32_t)v;
        float d;
        memcpy(&d, &bits, sizeof d);
        return (double)d;
    }
    if (kind == 'i') {
        const int unused = 64 - 8 * width;
        return (double)((int64_t)(v << unused) >> unused);
    }
    return (double)v;
}

static char *text_at(const uint8_t *p, int length)
{
    char *text = get_memory((size_t)length * 4 + 1), *t = text;
    for (int i = 0; i < length; i++) {
        const uint32_t c = (uint32_t)little(p + 4 * i, 4);
        if (c == 0)
            break;
        if (c < 0x80) {
            *t++ = (char)c;
        } else if (c < 0x800) {
            *t++ = (char)(0xc0 | c >> 6);
            *t++ = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            *t++ = (char)(0xe0 | c >> 12);
            *t++ = (char)(0x80 | (c >> 6 & 63));
            *t++ = (char)(0x80 | (c & 63));
        } else {
            *t++ = (char)(0xf0 | c >> 18);
            *t++ = (char)(0x80 | (c >> 12 & 63));
            *t++ = (char)(0x80 | (c >> 6 & 63));
            *t++ = (char)(0x80 | (c & 63));
        }
    }
    return text;
}

static void read_descr(const golden_file *f, golden_array *a, const char *header)
{
    const char *d = strstr(header, "'descr':");
    d = d ? strchr(d + 8, '\'') : NULL;
    if (!d || (d[1] != '<' && d[1] != '|'))
        broken(f, a->key, "not a little-endian array");
    a->kind   = d[2];
    a->width  = atoi(d + 3);
    a->length = 1;
    if (a->kind == 'U') {
        a->length = a->width;
        a->width  = 4;
    }
    const bool known = (a->kind == 'f' && (a->width == 4 || a->width == 8)) ||
                       ((a->kind == 'i' || a->kind == 'u') && a->width >= 1 && a->width <= 8) ||
                       (a->kind == 'b' && a->width == 1) || a->kind == 'U';
    if (!known)
        broken(f, a->key, "unknown element type");
}

/* Returns true for Fortran order. */
static bool read_shape(const golden_file *f, golden_array *a, const char *header)
{
    const char *s = strstr(header, "'shape':"), *order = strstr(header, "'fortran_order':");
    s = s ? strchr(s, '(') : NULL;
    if (!s || !order)
        broken(f, a->key, "no shape in the header");
    a->size = 1;
    for (s++; *s && *s != ')';) {
        if (*s < '0' || *s > '9') {
            s++;
            continue;
        }
        char *after;
        const long long n = strtoll(s, &after, 10);
        if (a->shape.n == AK_MAX_DIMS)
            broken(f, a->key, "too many axes");
        a->shape.dims[a->shape.n++] = n;
        a->size *= n;
        s = after;
    }
    return order[16 + strspn(order + 16, " ")] == 'T';
}

/* Place in a file of Fortran order of the row-major element i. */
static int64_t fortran_place(ak_shape shape, int64_t i)
{
    int64_t index[AK_MAX_DIMS], place = 0;
    for (int d = shape.n - 1; d >= 0; d--) {
        index[d] = i % shape.dims[d];
        i /= shape.dims[d];
    }
    for (int d = shape.n - 1; d >= 0; d--)
        place = place * shape.dims[d] + index[d];
    return place;
}

static void read_array(const golden_file *f, golden_array *a)
{
    uint8_t *npy = unpack(f, a);
    if (a->unpacked < 12 || memcmp(npy, "\x93NUMPY", 6) != 0)
        broken(f, a->key, "not an npy array");
    const size_t start = npy[6] == 1 ? 10 : 12;
    const size_t len = (size_t)little(npy + 8, npy[6] == 1 ? 2 : 4);
    if (len > a->unpacked - start)
        broken(f, a->key, "truncated header");
    char *header = get_memory(len + 1);
    memcpy(header, npy + start, len);
    read_descr(f, a, header);
    const bool fortran = read_shape(f, a, header);
    free(header);

    const uint8_t *data = npy + start + len;
    const size_t step = (size_t)a->width * (size_t)a->length;
    if ((size_t)a->size * step > a->unpacked - start - len)
        broken(f, a->key, "truncated data");
    if (a->kind == 'U') {
        a->text = text_at(data, a->size ? a->length : 0);
    } else {
        a->values = get_memory((size_t)a->size * sizeof *a->values);
        for (int64_t i = 0; i < a->size; i++) {
            const int64_t from = fortran ? fortran_place(a->shape, i) : i;
            a->values[i] = number_at(data + (size_t)from * step, a->kind, a->width);
        }
    }
    a->read = true;
    free(npy);
}

static golden_array *find(golden_file *f, const char *key)
{
    for (int i = 0; i < f->n_arrays; i++)
        if (!strcmp(f->arrays[i].key, key))
            return &f->arrays[i];
    return NULL;
}

static golden_array *need(golden_file *f, const char *key)
{
    golden_array *a = find(f, key);
    if (!a)
        broken(f, key, "no such key");
    if (!a->read)
        read_array(f, a);
    return a;
}

/* ---- the interface -------------------------------------------------------------------------- */

golden_file *golden_open(const char *name)
{
    const char *dir = getenv("AK_GOLDEN_DIR");
    if (!dir || !*dir)
        dir = AK_GOLDEN_DEFAULT;
    golden_file *f = get_memory(sizeof *f);
    const size_t n = strlen(name);
    const char *tail = n > 4 && !strcmp(name + n - 4, ".npz") ? "" : ".npz";
    snprintf(f->path, sizeof f->path, "%s/%s%s", dir, name, tail);
    FILE *file = fopen(f->path, "rb");
    if (!file) {
        fprintf(stderr, "golden: %s: cannot be opened (AK_GOLDEN_DIR names the folder)\n", f->path);
        free(f);
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    f->n_bytes = size > 0 ? (size_t)size : 0;
    f->bytes = get_memory(f->n_bytes);
    if (fread(f->bytes, 1, f->n_bytes, file) != f->n_bytes)
        broken(f, "(file)", "cannot be read");
    fclose(file);
    read_directory(f);
    return f;
}

void golden_free(golden_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->n_arrays; i++) {
        free(f->arrays[i].key);
        free(f->arrays[i].values);
        free(f->arrays[i].text);
    }
    free(f->arrays);
    free(f->bytes);
    free(f);
}

const char *golden_key(const char *format, ...)
{
    static char buffers[16][128];
    static int next;
    char *buf = buffers[next++ % 16];
    va_list args;
    va_start(args, format);
    vsnprintf(buf, sizeof buffers[0], format, args);
    va_end(args);
    return buf;
}

const char *golden_name(const golden_file *f, int i)
{
    return i >= 0 && i < f->n_arrays ? f->arrays[i].key : NULL;
}

bool golden_has(golden_file *f, const char *key)
{
    return find(f, key) != NULL;
}

int golden_cases(golden_file *f)
{
    return (int)golden_number(f, "cases");
}

ak_shape golden_shape(golden_file *f, const char *key)
{
    return need(f, key)->shape;
}

int64_t golden_size(golden_file *f, const char *key)
{
    return need(f, key)->size;
}

const double *golden_values(golden_file *f, const char *key)
{
    golden_array *a = need(f, key);
    if (!a->values)
        broken(f, key, "not a numeric array");
    return a->values;
}

ak_tensor *golden_tensor(ak_ctx *ctx, golden_file *f, const char *key)
{
    return ak_from_double(ctx, golden_shape(f, key), golden_values(f, key));
}

ak_index *golden_index(ak_ctx *ctx, golden_file *f, const char *key)
{
    const double *v = golden_values(f, key);
    const int64_t n = golden_size(f, key);
    int32_t *ids = get_memory((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)v[i];
    ak_index *index = ak_index_from(ctx, golden_shape(f, key), ids);
    free(ids);
    return index;
}

double golden_number(golden_file *f, const char *key)
{
    const double *v = golden_values(f, key);
    if (golden_size(f, key) < 1)
        broken(f, key, "empty, expected a number");
    return v[0];
}

double golden_number_or(golden_file *f, const char *key, double absent)
{
    return golden_has(f, key) ? golden_number(f, key) : absent;
}

const char *golden_text(golden_file *f, const char *key)
{
    if (!golden_has(f, key))
        return "";
    golden_array *a = need(f, key);
    if (!a->text)
        broken(f, key, "not a text");
    return a->text;
}

static bool same_special(double got, double want)
{
    if (isnan(want))
        return isnan(got);
    if (isinf(want))
        return isinf(got) && (got > 0) == (want > 0);
    return isfinite(got);
}

bool golden_close(const ak_real *got, golden_file *f, const char *key, double tol, char *msg)
{
    const double *want = golden_values(f, key);
    const int64_t n = golden_size(f, key);
    double largest = 1, worst = -1;
    int64_t place = 0;
    if (!got) {
        if (msg)
            snprintf(msg, GOLDEN_MESSAGE, "%s %s: there is no result to compare", f->path, key);
        return false;
    }
    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i]) && fabs(want[i]) > largest)
            largest = fabs(want[i]);
    for (int64_t i = 0; i < n; i++) {
        const double g = (double)got[i];
        double e = isfinite(want[i]) ? fabs(g - want[i]) : 0;
        if (!same_special(g, want[i]))
            e = (double)INFINITY;
        if (e > worst) {
            worst = e;
            place = i;
        }
    }
    const bool close = worst <= tol * largest;
    if (msg)
        snprintf(msg, GOLDEN_MESSAGE, "%s %s: element %lld of %lld: got %.12g, want %.12g; "
                 "error %.3g, allowed %.3g", f->path, key, (long long)place, (long long)n,
                 n ? (double)got[place] : 0.0, n ? want[place] : 0.0, worst, tol * largest);
    return close;
}

bool golden_close_number(double got, golden_file *f, const char *key, double tol, char *msg)
{
    const ak_real value = (ak_real)got;
    if (golden_size(f, key) != 1)
        broken(f, key, "has more than one element");
    return golden_close(&value, f, key, tol, msg);
}
