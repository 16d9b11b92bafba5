/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV tables: numbers by row and column, one column of class labels. */
#define _POSIX_C_SOURCE 200809L
#include "io/array.h"
#include "io/cells.h"

#include "base/base.h"
#include "base/text.h"
#include "io/labels.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 65536

typedef struct table_reader {
    ak_ctx           *ctx;
    const char       *name;
    ak__cells         cells;
    ak_table_options  options;
    /* columns */
    int64_t           columns;          /* in the file */
    ak__bytes         names;            /* const char *[columns], context lifetime */
    ak__bytes         role;             /* uint8_t [columns] */
    int64_t           numeric, label;   /* numeric columns; the label's, -1 = none */
    /* content so far */
    int64_t           rows;
    ak__bytes         values;           /* double [rows * numeric] */
    ak__labels        labels;           /* of the rows, once there is a label column */
} table_reader;

enum { ROLE_NUMBER, ROLE_LABEL, ROLE_SKIPPED };

static const char *column_name(const table_reader *r, int64_t c)
{
    return ((const char *const *)(const void *)r->names.data)[c];
}

/* ---- the first line -------------------------------------------------------------------------- */

static ak_status add_column(table_reader *r, bool named)
{
    char        number[24];
    const char *text = ak__cells_trimmed(&r->cells);
    ak__format(number, sizeof number, "%lld", (long long)r->columns + 1);
    const char   *name = ak__ctx_strdup(r->ctx, named && *text ? text : number);
    const uint8_t role = r->options.skip && name && ak_match(r->options.skip, name)
                             ? ROLE_SKIPPED : ROLE_NUMBER;
    if (!name || !ak__bytes_add(r->ctx, &r->names, &name, sizeof name) ||
        !ak__bytes_add(r->ctx, &r->role, &role, 1))
        return AK_ERR_MEMORY;
    if (++r->columns > MAX_COLUMNS)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld has more than %d cells; is '%c' the "
                       "delimiter?", r->name, (long long)r->cells.line, MAX_COLUMNS,
                       r->cells.delimiter);
    return AK_OK;
}

/* Find the label column, by name, else by number. */
static ak_status choose_label(table_reader *r)
{
    r->label = -1;
    if (!r->options.label)
        return AK_OK;
    r->label = ak__cells_column(r->ctx, r->name, "the labels", r->options.label,
                                (const char *const *)(const void *)r->names.data, r->columns);
    if (r->label < 0)
        return ak_error(r->ctx);
    r->role.data[r->label] = ROLE_LABEL;
    return AK_OK;
}

static const char *offered_column(void *reader, int64_t c)
{
    table_reader *r = reader;
    return c < r->columns ? column_name(r, c) : NULL;
}

/* A name in .skip that no column has would leave that column in. */
static bool skip_fits(table_reader *r)
{
    return !r->options.skip || ak__pattern_count(r->ctx, r->name, r->options.skip, (ak__names){
        .what = "column", .at = offered_column, .of = r }) >= 0;
}

static ak_status read_columns(table_reader *r)
{
    if (r->cells.at == r->cells.end)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: is empty; a table was expected", r->name);
    const uint8_t *start = r->cells.at;
    const int64_t  line = r->cells.line;
    for (ak__cell_end end = AK__CELL_MORE; end == AK__CELL_MORE; ) {
        r->cells.column = r->columns;
        end = ak__cells_next(&r->cells);
        if (end == AK__CELL_FAILED || add_column(r, !r->options.no_header))
            return ak_error(r->ctx);
    }
    if (r->options.no_header) {
        r->cells.at = start;                /* it is data: read it again as such */
        r->cells.line = line;
    }
    const ak_status status = skip_fits(r) ? choose_label(r) : ak_error(r->ctx);
    for (int64_t c = 0; c < r->columns; c++)
        r->numeric += r->role.data[c] == ROLE_NUMBER;
    if (!status && !r->numeric)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: no column with numbers is left beside the "
                       "label and what .skip leaves out", r->name);
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static ak_status number_cell(table_reader *r, int64_t c)
{
    const char *text = ak__cells_trimmed(&r->cells);
    double      value = nan("");
    if (ak__cell_missing(text)) {
        if (!r->options.keep_missing)
            return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the value "
                           "is missing (\"%s\"); fill it in, leave the column out with .skip, or "
                           "set .keep_missing", r->name, (long long)r->cells.cell_line,
                           (long long)c + 1, column_name(r, c), text);
    } else if (!ak__decimal(text, &value)) {
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): \"%.40s\" is "
                       "no finite number; name the column as .label or leave it out with .skip%s",
                       r->name, (long long)r->cells.cell_line, (long long)c + 1,
                       column_name(r, c), text,
                       r->rows == 0 && r->options.no_header ? "; or is it a header?" : "");
    }
    return ak__bytes_add(r->ctx, &r->values, &value, sizeof value) ? AK_OK : AK_ERR_MEMORY;
}

static ak_status label_cell(table_reader *r, int64_t c)
{
    const char *text = ak__cells_trimmed(&r->cells);
    const bool  missing = ak__cell_missing(text);
    if (missing && !r->options.keep_missing)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the label is "
                       "missing; fill it in, delete the line, write -1 for unknown, or set "
                       ".keep_missing", r->name, (long long)r->cells.cell_line, (long long)c + 1,
                       column_name(r, c));
    return ak__labels_add(&r->labels, missing ? "-1" : text, r->cells.cell_line);
}

static ak_status read_row(table_reader *r)
{
    const int64_t line = r->cells.line;
    int64_t       c = 0;
    for (ak__cell_end end = AK__CELL_MORE; end == AK__CELL_MORE; c++) {
        r->cells.column = c;
        end = ak__cells_next(&r->cells);
        if (end == AK__CELL_FAILED)
            return ak_error(r->ctx);
        if (c >= r->columns)
            continue;                       /* counted, for the message below */
        ak_status status = AK_OK;
        if (r->role.data[c] == ROLE_LABEL)
            status = label_cell(r, c);
        else if (r->role.data[c] == ROLE_NUMBER)
            status = number_cell(r, c);
        if (status)
            return status;
    }
    r->rows++;
    if (c != r->columns)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld has %lld cells where the first line "
                       "has %lld; every line needs as many (is '%c' the delimiter?)", r->name,
                       (long long)line, (long long)c, (long long)r->columns,
                       r->cells.delimiter == '\t' ? 't' : r->cells.delimiter);
    return AK_OK;
}

/* An empty line is no row of several columns. Of a single column it is one whose value is missing,
 * unless nothing follows. */
static bool skip_to_row(table_reader *r)
{
    const uint8_t *at = r->cells.at;
    const int64_t  line = r->cells.line;
    ak__cells_skip_empty(&r->cells);
    if (r->cells.at == r->cells.end)
        return false;
    if (r->columns == 1) {
        r->cells.at = at;
        r->cells.line = line;
    }
    return true;
}

/* ---- the result ------------------------------------------------------------------------------ */

static const ak_table *finish(table_reader *r)
{
    if (!r->rows) {
        ak_fail(r->ctx, AK_ERR_FORMAT, "%s: has a first line but no rows%s", r->name,
                r->options.no_header ? "" : "; if that line is data, set .no_header");
        return NULL;
    }
    ak_table    *t = ak__ctx_alloc(r->ctx, sizeof *t);
    double      *values = t ? ak__ctx_alloc(r->ctx, r->values.n) : NULL;
    const char **names = values ? ak__ctx_alloc(r->ctx, (size_t)r->numeric * sizeof *names) : NULL;
    if (!names)
        return NULL;
    memcpy(values, r->values.data, r->values.n);
    for (int64_t c = 0, k = 0; c < r->columns; c++)
        if (r->role.data[c] == ROLE_NUMBER)
            names[k++] = column_name(r, c);
    *t = (ak_table){ .ctx = r->ctx, .rows = r->rows, .columns = r->numeric, .names = names,
                     .values = values };
    if (r->label < 0)
        return t;
    t->labels = ak__labels_finish(&r->labels, &t->classes, &t->class_names);
    return t->labels ? t : NULL;
}

static ak_status read_table(table_reader *r)
{
    ak_status status = ak__cells_options(r->ctx, r->name, r->options.delimiter,
                                         r->options.max_bytes);
    if (!status)
        status = read_columns(r);
    if (!status && r->label >= 0)
        status = ak__labels_begin(&r->labels, r->ctx, r->name, r->label + 1,
                                  column_name(r, r->label), r->options.classes);
    while (!status && skip_to_row(r))
        status = read_row(r);
    return status;
}

const ak_table *ak__table_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                                ak_table_options options)
{
    table_reader r = { .ctx = ctx, .name = name, .options = options, .label = -1 };
    ak__cells_begin(&r.cells, ctx, name, bytes, n, options.delimiter);
    const locale_t  before = ak__plain_begin();     /* numbers have a decimal point here */
    const ak_table *t = read_table(&r) ? NULL : finish(&r);
    ak__plain_end(before);
    ak__bytes_free(&r.cells.cell);
    ak__bytes_free(&r.names);
    ak__bytes_free(&r.role);
    ak__bytes_free(&r.values);
    ak__labels_free(&r.labels);
    return t;
}

const ak_table *ak_table_read(ak_ctx *ctx, const char *path, ak_table_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx) || ak__cells_options(ctx, path, options.delimiter, options.max_bytes))
        return NULL;
    ak__bytes file;
    if (ak__cells_file(ctx, path, options.max_bytes, &file))
        return NULL;
    const ak_table *t = ak__table_parse(ctx, path, file.data, file.n, options);
    ak__bytes_free(&file);
    return t;
}

ak_tensor *ak_table_tensor(ak_ctx *ctx, const ak_table *table)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, table))
        return &ak__poison;
    const int64_t i = ak__beyond_real(table->values, table->rows * table->columns);
    if (i >= 0) {
        ak_fail(ctx, AK_ERR_VALUE, "table_tensor: row %lld, column \"%s\": %g is beyond the range "
                "of the library's numbers", (long long)(i / table->columns) + 1,
                table->names[i % table->columns], table->values[i]);
        return &ak__poison;
    }
    return ak_from_double(ctx, AK_SHAPE(table->rows, table->columns), table->values);
}
