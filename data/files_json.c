/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of files: lines of JSON. Each line is an object of its own; what it says becomes the texts
 * and numbers of an item, as if they stood in a table. */
#include "data/files.h"

#include "base/base.h"
#include "base/text.h"
#include "io/cells.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define MOST_NUMBERS 65536      /* in the list of an item */

typedef struct json_reader {
    ak__items   items;
    const ak_files_options *o;
    int64_t     line;
    json_t     *object;         /* of the line */
    ak__bytes   numbers;        /* double [items.columns] */
} json_reader;

static ak_status refuse(const json_reader *r, const char *key, const char *what)
{
    return ak_fail(r->items.ctx, AK_ERR_FORMAT, "%s: line %lld: \"%s\" %s", r->items.name,
                   (long long)r->line, key, what);
}

/* A text, NULL if it is missing. Numbers become texts where they may stand: buf has room. */
static ak_status text_of(const json_reader *r, const char *key, bool numbers, char buf[40],
                         const char **text)
{
    const json_t *v = key ? json_object_get(r->object, key) : NULL;
    *text = NULL;
    if (!v || json_is_null(v))
        return AK_OK;
    if (json_is_string(v)) {
        const char *s = json_string_value(v);
        *text = *s ? s : NULL;
        return AK_OK;
    }
    if (!numbers || !json_is_number(v))
        return refuse(r, key, numbers ? "is neither a string nor a number" : "is no string");
    if (json_is_integer(v))
        ak__format(buf, 40, "%lld", (long long)json_integer_value(v));
    else
        ak__format(buf, 40, "%.17g", json_real_value(v));
    *text = buf;
    return AK_OK;
}

static ak_status take_number(json_reader *r, const json_t *v)
{
    const bool   missing = !v || json_is_null(v);
    const double x = missing ? (double)NAN : json_number_value(v);
    if (missing && !r->o->keep_missing)
        return refuse(r, r->o->numbers, "is missing; add it, or set .keep_missing");
    if (!missing && !json_is_number(v))
        return refuse(r, r->o->numbers, "is no number and no list of numbers");
    return ak__bytes_add(r->items.ctx, &r->numbers, &x, sizeof x) ? AK_OK : AK_ERR_MEMORY;
}

/* One number or a list of them; the first line says how many. */
static ak_status take_numbers(json_reader *r)
{
    const char   *key = r->o->numbers;
    const json_t *v = key ? json_object_get(r->object, key) : NULL;
    r->numbers.n = 0;
    if (!key)
        return AK_OK;
    const bool    list = json_is_array(v);
    const int64_t n = list ? (int64_t)json_array_size(v) : 1;
    if (n < 1 || n > MOST_NUMBERS)
        return refuse(r, key, n ? "has more than 65536 numbers" : "is an empty list");
    if (r->items.n == 0)
        r->items.columns = n;
    if (n != r->items.columns)
        return ak_fail(r->items.ctx, AK_ERR_FORMAT, "%s: line %lld: \"%s\" has %lld numbers, the "
                       "first line has %lld; each line needs as many", r->items.name,
                       (long long)r->line, key, (long long)n, (long long)r->items.columns);
    ak_status status = AK_OK;
    for (int64_t i = 0; !status && i < n; i++)
        status = take_number(r, list ? json_array_get(v, (size_t)i) : v);
    return status;
}

static ak_status take_object(json_reader *r)
{
    const ak_files_options *o = r->o;
    ak__item_texts t = { .line = r->line };
    char           label[40], id[40];
    ak_status      status = text_of(r, o->picture, false, NULL, &t.picture);
    if (!status)
        status = text_of(r, o->sound, false, NULL, &t.sound);
    if (!status)
        status = text_of(r, o->caption, false, NULL, &t.caption);
    if (!status)
        status = text_of(r, o->label, true, label, &t.label);
    if (!status)
        status = text_of(r, o->id, true, id, &t.id);
    if (!status)
        status = take_numbers(r);
    t.numbers = (const double *)(const void *)r->numbers.data;
    return status ? status : ak__items_add(&r->items, &t);
}

static ak_status take_line(json_reader *r, const char *text, size_t n)
{
    json_error_t  e;
    const size_t  blank = strspn(text, " \t\r");    /* a zero or a line's end stops it */
    if (blank >= n)
        return AK_OK;
    r->object = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!r->object)
        return ak_fail(r->items.ctx, AK_ERR_FORMAT, "%s: line %lld is no JSON (byte %d: %.100s)",
                       r->items.name, (long long)r->line, e.position, e.text);
    const ak_status status = json_is_object(r->object)
                             ? take_object(r)
                             : ak_fail(r->items.ctx, AK_ERR_FORMAT, "%s: line %lld is no object: "
                                       "{\"key\": value, ..} is needed", r->items.name,
                                       (long long)r->line);
    json_decref(r->object);
    return status;
}

static ak_status read_lines(json_reader *r, const uint8_t *bytes, size_t n)
{
    const char *at = (const char *)bytes, *end = at + n;
    ak_status   status = AK_OK;
    if (n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        at += 3;
    ak__bytes line = { 0 };             /* ended by a zero, which strspn needs */
    while (!status && at < end) {
        const char  *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((stop ? stop : end) - at);
        line.n = 0;
        r->line++;
        status = ak__bytes_add(r->items.ctx, &line, at, length) &&
                 ak__bytes_add(r->items.ctx, &line, "", 1)
                 ? take_line(r, (const char *)line.data, length) : AK_ERR_MEMORY;
        at += length + 1;
    }
    ak__bytes_free(&line);
    return status;
}

ak_dataset *ak__json_lines_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                                 const ak_files_options *o)
{
    json_reader    r = { .o = o };
    const locale_t before = ak__plain_begin();
    ak_status      status = ak__items_begin(&r.items, ctx, name, o);
    if (!status)
        status = read_lines(&r, bytes, n);
    ak__plain_end(before);
    if (!status && !r.items.n)
        status = ak_fail(ctx, AK_ERR_FORMAT, "%s: is empty; lines of JSON were expected", name);
    char       *folder = status ? NULL : ak__files_folder(ctx, name, o);
    ak_dataset *ds = folder ? ak__items_dataset(&r.items, folder) : NULL;
    ak__items_free(&r.items);
    ak__bytes_free(&r.numbers);
    return ds;
}

ak_dataset *ak_dataset_json_lines(ak_ctx *ctx, const char *path, ak_files_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || ak_error(ctx) ||
        ak__files_options(ctx, path, &options, true))
        return NULL;
    if (options.delimiter || options.no_header || options.no_quotes) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .delimiter, .no_header and .no_quotes are for CSV and TSV; "
                "lines of JSON have none", path);
        return NULL;
    }
    ak__bytes file;
    if (ak__cells_file(ctx, path, options.max_bytes, &file))
        return NULL;
    ak_dataset *ds = ak__json_lines_parse(ctx, path, file.data, file.n, &options);
    ak__bytes_free(&file);
    return ds;
}
