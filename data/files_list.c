/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of files: CSV and TSV. */
#include "data/files.h"

#include "base/base.h"
#include "base/text.h"
#include "io/cells.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

#define MAX_COLUMNS 65536

/* Columns with a text, in the order of ak__item_texts. */
enum { PICTURE, SOUND, CAPTION, LABEL, ID, TEXTS };

typedef struct list_reader {
    ak__items   items;
    ak__cells   cells;
    const ak_files_options *o;
    int64_t     columns;
    ak__bytes   names;              /* const char *[columns], context lifetime */
    int64_t     place[TEXTS];       /* -1 = none */
    ak__bytes   numeric;            /* uint8_t [columns]: is it one of the numbers? */
    ak__bytes   row;                /* texts of the current row, one after the other */
    ak__bytes   numbers;            /* double [items.columns] of it */
} list_reader;

static const char *const *names_of(const list_reader *r)
{
    return (const char *const *)(const void *)r->names.data;
}

static ak_status add_name(list_reader *r)
{
    ak_ctx     *ctx = r->items.ctx;
    char        number[24];
    const char *text = ak__cells_trimmed(&r->cells);
    ak__format(number, sizeof number, "%lld", (long long)r->columns + 1);
    const char *name = ak__ctx_strdup(ctx, !r->o->no_header && *text ? text : number);
    if (!name || !ak__bytes_add(ctx, &r->names, &name, sizeof name))
        return AK_ERR_MEMORY;
    if (++r->columns > MAX_COLUMNS)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: line %lld has more than %d cells; is '%c' the "
                       "delimiter?", r->items.name, (long long)r->cells.line, MAX_COLUMNS,
                       r->cells.delimiter);
    return AK_OK;
}

static const char *offered(void *reader, int64_t c)
{
    list_reader *r = reader;
    return c < r->columns ? names_of(r)[c] : NULL;
}

static ak_status choose_columns(list_reader *r)
{
    static const char *const what[] = { "the pictures", "the sounds", "the captions", "the labels",
                                        "the ids" };
    const char *const asked[] = { r->o->picture, r->o->sound, r->o->caption, r->o->label,
                                  r->o->id };
    ak_ctx *ctx = r->items.ctx;
    for (int k = 0; k < TEXTS; k++) {
        r->place[k] = !asked[k] ? -1 : ak__cells_column(ctx, r->items.name, what[k], asked[k],
                                                        names_of(r), r->columns);
        if (asked[k] && r->place[k] < 0)
            return ak_error(ctx);
    }
    r->items.labels.place = r->place[LABEL] + 1;
    r->items.ids.place = r->place[r->o->same_captions ? CAPTION : ID] + 1;
    if (!ak__bytes_add(ctx, &r->numeric, NULL, (size_t)r->columns))
        return AK_ERR_MEMORY;
    memset(r->numeric.data, 0, (size_t)r->columns);
    if (!r->o->numbers)
        return AK_OK;
    if (ak__pattern_count(ctx, r->items.name, r->o->numbers,
                          (ak__names){ .what = "column", .at = offered, .of = r }) < 0)
        return ak_error(ctx);
    for (int64_t c = 0; c < r->columns; c++)
        r->items.columns += r->numeric.data[c] = ak_match(r->o->numbers, names_of(r)[c]);
    return r->items.columns ? AK_OK
                            : ak_fail(ctx, AK_ERR_VALUE, "%s: .numbers \"%s\" fits no column",
                                      r->items.name, r->o->numbers);
}

static ak_status read_columns(list_reader *r)
{
    ak__cells *c = &r->cells;
    if (c->at == c->end)
        return ak_fail(c->ctx, AK_ERR_FORMAT, "%s: is empty; a list of files was expected",
                       r->items.name);
    const uint8_t *start = c->at;
    const int64_t  line = c->line;
    for (ak__cell_end end = AK__CELL_MORE; end == AK__CELL_MORE; ) {
        c->column = r->columns;
        end = ak__cells_next(c);
        if (end == AK__CELL_FAILED || add_name(r))
            return ak_error(c->ctx);
    }
    if (r->o->no_header) {
        c->at = start;                      /* it is data: read it again as such */
        c->line = line;
    }
    return choose_columns(r);
}

static ak_status number_cell(list_reader *r, const char *text)
{
    const ak__cells *c = &r->cells;
    double           value = (double)NAN;
    const bool       missing = ak__cell_missing(text);
    if ((missing && !r->o->keep_missing) || (!missing && !ak__decimal(text, &value)))
        return ak_fail(c->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): %s "
                       "(\"%.40s\"); correct it, or leave the column out of .numbers%s",
                       r->items.name, (long long)c->cell_line, (long long)c->column + 1,
                       names_of(r)[c->column],
                       missing ? "the number is missing" : "no finite number", text,
                       missing ? ", or set .keep_missing" : "");
    return ak__bytes_add(c->ctx, &r->numbers, &value, sizeof value) ? AK_OK : AK_ERR_MEMORY;
}

/* A cell of the current row: where its text is kept, if it is one of those. */
static ak_status take_cell(list_reader *r, int64_t at[TEXTS])
{
    const int64_t c = r->cells.column;
    const char   *text = ak__cells_trimmed(&r->cells);
    if (r->numeric.data[c])
        return number_cell(r, text);
    bool wanted = false;
    for (int k = 0; k < TEXTS; k++)
        if (r->place[k] == c && *text) {
            at[k] = (int64_t)r->row.n;
            wanted = true;
        }
    return !wanted || ak__bytes_add(r->cells.ctx, &r->row, text, strlen(text) + 1)
           ? AK_OK : AK_ERR_MEMORY;
}

/* A text of the row. Words for what is missing are such in columns of labels and ids; a picture may
 * be called so. */
static const char *text_at(const list_reader *r, const int64_t at[TEXTS], int k)
{
    const char *text = at[k] < 0 ? NULL : (const char *)r->row.data + at[k];
    return text && (k == LABEL || k == ID) && ak__cell_missing(text) ? NULL : text;
}

static ak_status read_row(list_reader *r)
{
    ak__cells    *c = &r->cells;
    const int64_t line = c->line;
    int64_t       at[TEXTS] = { -1, -1, -1, -1, -1 }, n = 0;
    r->row.n = r->numbers.n = 0;
    for (ak__cell_end end = AK__CELL_MORE; end == AK__CELL_MORE; n++) {
        c->column = n;
        end = ak__cells_next(c);
        if (end == AK__CELL_FAILED)
            return ak_error(c->ctx);
        const ak_status status = n < r->columns ? take_cell(r, at) : AK_OK;
        if (status)
            return status;
    }
    if (n != r->columns)
        return ak_fail(c->ctx, AK_ERR_FORMAT, "%s: line %lld has %lld cells where the first line "
                       "has %lld; every line needs as many (is '%c' the delimiter?)",
                       r->items.name, (long long)line, (long long)n, (long long)r->columns,
                       c->delimiter == '\t' ? 't' : c->delimiter);
    return ak__items_add(&r->items, &(ak__item_texts){
        .line = line, .picture = text_at(r, at, PICTURE), .sound = text_at(r, at, SOUND),
        .caption = text_at(r, at, CAPTION), .label = text_at(r, at, LABEL),
        .id = text_at(r, at, ID), .numbers = (const double *)(const void *)r->numbers.data });
}

ak_dataset *ak__list_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                           const ak_files_options *o)
{
    list_reader    r = { .o = o };
    const locale_t before = ak__plain_begin();
    ak_status      status = ak__items_begin(&r.items, ctx, name, o);
    ak__cells_begin(&r.cells, ctx, name, bytes, n, o->delimiter);
    r.cells.no_quotes = o->no_quotes;
    if (!status)
        status = read_columns(&r);
    for (ak__cells_skip_empty(&r.cells); !status && r.cells.at < r.cells.end;
         ak__cells_skip_empty(&r.cells))
        status = read_row(&r);
    ak__plain_end(before);
    if (!status && !r.items.n)
        status = ak_fail(ctx, AK_ERR_FORMAT, "%s: has a first line but no rows%s", name,
                         o->no_header ? "" : "; if that line is data, set .no_header");
    char       *folder = status ? NULL : ak__files_folder(ctx, name, o);
    ak_dataset *ds = folder ? ak__items_dataset(&r.items, folder) : NULL;
    ak__items_free(&r.items);
    ak__bytes_free(&r.cells.cell);
    ak__bytes_free(&r.names);
    ak__bytes_free(&r.numeric);
    ak__bytes_free(&r.row);
    ak__bytes_free(&r.numbers);
    return ds;
}

ak_dataset *ak_dataset_list(ak_ctx *ctx, const char *path, ak_files_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || ak_error(ctx) ||
        ak__files_options(ctx, path, &options, true))
        return NULL;
    ak__bytes file;
    if (ak__cells_file(ctx, path, options.max_bytes, &file))
        return NULL;
    ak_dataset *ds = ak__list_parse(ctx, path, file.data, file.n, &options);
    ak__bytes_free(&file);
    return ds;
}
