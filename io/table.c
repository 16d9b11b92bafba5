/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV tables: numbers by row and column, one column of class labels. */
#define _POSIX_C_SOURCE 200809L
#include "io/array.h"
#include "io/file.h"

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
    const uint8_t    *at, *end;
    int64_t           line;             /* of `at`, from 1 */
    char              delimiter;
    ak_table_options  options;
    int64_t           column;           /* of the cell being read, from 0; its line: */
    int64_t           cell_line;
    ak__bytes         cell;             /* the current one, unquoted, ended by 0 */
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

/* ---- cells ----------------------------------------------------------------------------------- */

typedef enum cell_end { CELL_MORE, CELL_LINE, CELL_FAILED } cell_end;

/* What is wrong with a cell as text: says line and column. */
static bool cell_fail(table_reader *r, const char *what)
{
    ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld: %s", r->name,
            (long long)r->cell_line, (long long)r->column + 1, what);
    return false;
}

static bool push(table_reader *r, uint8_t byte)
{
    if (byte == 0)
        return cell_fail(r, "a zero byte in the cell; a text file (CSV or TSV, not UTF-16) was "
                         "expected");
    if (r->cell.n < r->cell.room) {
        r->cell.data[r->cell.n++] = byte;
        return true;
    }
    return ak__bytes_add(r->ctx, &r->cell, &byte, 1);
}

/* A blank inside a line: a space, and a tab where that is not the delimiter. */
static bool is_blank(const table_reader *r)
{
    return *r->at == ' ' || (*r->at == '\t' && r->delimiter != '\t');
}

static bool at_line_end(const table_reader *r)
{
    return *r->at == '\n' || (*r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n'));
}

/* The quoted part of a cell, behind its opening quote, and the blanks behind it. */
static bool quoted(table_reader *r)
{
    for (;; r->at++) {
        if (r->at == r->end)
            return cell_fail(r, "the quoted cell is not closed; add the missing \"");
        if (*r->at == '"') {
            if (r->at + 1 == r->end || r->at[1] != '"')
                break;
            r->at++;                        /* "" stands for one */
        }
        r->line += *r->at == '\n';
        if (!push(r, *r->at))
            return false;
    }
    for (r->at++; r->at < r->end && is_blank(r); r->at++)
        ;
    if (r->at == r->end || *r->at == (uint8_t)r->delimiter || at_line_end(r))
        return true;
    return cell_fail(r, "text behind the closing quote; a quote inside a quoted cell is written "
                     "twice (\"\")");
}

/* Read one cell into r->cell; says whether more follow in its line. */
static cell_end next_cell(table_reader *r)
{
    r->cell.n = 0;
    r->cell_line = r->line;
    const uint8_t *start = r->at;
    while (r->at < r->end && is_blank(r))
        r->at++;
    if (r->at < r->end && *r->at == '"') {
        r->at++;
        if (!quoted(r))
            return CELL_FAILED;
    } else {
        r->at = start;                      /* blanks are the cell's own */
    }
    cell_end end = CELL_LINE;
    for (; r->at < r->end; r->at++) {
        if (*r->at == (uint8_t)r->delimiter) {
            end = CELL_MORE;
            r->at++;
            break;
        }
        if (*r->at == '\n') {
            r->line++;
            r->at++;
            break;
        }
        if (!at_line_end(r) && !push(r, *r->at))
            return CELL_FAILED;
    }
    return ak__bytes_add(r->ctx, &r->cell, "", 1) ? end : CELL_FAILED;
}

static void skip_empty_lines(table_reader *r)
{
    while (r->at < r->end && at_line_end(r)) {
        r->line += *r->at == '\n';
        r->at++;
    }
}

/* The cell without spaces around it. */
static char *trimmed(table_reader *r)
{
    char  *text = (char *)r->cell.data;
    size_t n = strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        text[--n] = 0;
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

/* ---- the first line -------------------------------------------------------------------------- */

static char guess_delimiter(const uint8_t *at, const uint8_t *end)
{
    for (; at < end && *at != '\n'; at++)
        if (*at == '\t')
            return '\t';
    return ',';
}

static ak_status add_column(table_reader *r, bool named)
{
    char        number[24];
    const char *text = trimmed(r);
    ak__format(number, sizeof number, "%lld", (long long)r->columns + 1);
    const char   *name = ak__ctx_strdup(r->ctx, named && *text ? text : number);
    const uint8_t role = r->options.skip && name && ak_match(r->options.skip, name)
                             ? ROLE_SKIPPED : ROLE_NUMBER;
    if (!name || !ak__bytes_add(r->ctx, &r->names, &name, sizeof name) ||
        !ak__bytes_add(r->ctx, &r->role, &role, 1))
        return AK_ERR_MEMORY;
    if (++r->columns > MAX_COLUMNS)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld has more than %d cells; is '%c' the "
                       "delimiter?", r->name, (long long)r->line, MAX_COLUMNS, r->delimiter);
    return AK_OK;
}

/* Find the label column, by name, else by number. */
static ak_status choose_label(table_reader *r)
{
    const char *label = r->options.label;
    r->label = -1;
    if (!label)
        return AK_OK;
    for (int64_t c = 0; c < r->columns; c++) {
        if (strcmp(column_name(r, c), label) != 0)
            continue;
        if (r->label >= 0)
            return ak_fail(r->ctx, AK_ERR_VALUE, "%s: columns %lld and %lld are both called \"%s\";"
                           " which one has the labels? rename one", r->name,
                           (long long)r->label + 1, (long long)c + 1, label);
        r->label = c;
    }
    const bool digits = *label && label[strspn(label, "0123456789")] == 0;
    const long number = digits ? strtol(label, NULL, 10) : 0;
    if (r->label < 0 && number >= 1 && number <= r->columns)
        r->label = number - 1;
    if (r->label < 0)
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: there is no column \"%s\" for the labels; the "
                       "first line has %lld columns, from \"%s\" to \"%s\"", r->name, label,
                       (long long)r->columns, column_name(r, 0), column_name(r, r->columns - 1));
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
    if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0)
        r->at += 3;
    skip_empty_lines(r);
    r->delimiter = r->options.delimiter ? r->options.delimiter : guess_delimiter(r->at, r->end);
    if (r->at == r->end)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: is empty; a table was expected", r->name);
    const uint8_t *start = r->at;
    const int64_t  line = r->line;
    for (cell_end end = CELL_MORE; end == CELL_MORE; ) {
        r->column = r->columns;
        end = next_cell(r);
        if (end == CELL_FAILED || add_column(r, !r->options.no_header))
            return ak_error(r->ctx);
    }
    if (r->options.no_header) {
        r->at = start;                      /* it is data: read it again as such */
        r->line = line;
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

static bool is_missing(const char *text)
{
    static const char *const words[] = { "", "NA", "N/A", "NaN", "nan", "null", "NULL", "?" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

static ak_status number_cell(table_reader *r, int64_t c)
{
    const char *text = trimmed(r);
    double      value = nan("");
    if (is_missing(text)) {
        if (!r->options.keep_missing)
            return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the value "
                           "is missing (\"%s\"); fill it in, leave the column out with .skip, or "
                           "set .keep_missing", r->name, (long long)r->cell_line,
                           (long long)c + 1, column_name(r, c), text);
    } else if (!ak__decimal(text, &value)) {
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): \"%.40s\" is "
                       "no finite number; name the column as .label or leave it out with .skip%s",
                       r->name, (long long)r->cell_line, (long long)c + 1, column_name(r, c), text,
                       r->rows == 0 && r->options.no_header ? "; or is it a header?" : "");
    }
    return ak__bytes_add(r->ctx, &r->values, &value, sizeof value) ? AK_OK : AK_ERR_MEMORY;
}

static ak_status label_cell(table_reader *r, int64_t c)
{
    const char *text = trimmed(r);
    const bool  missing = is_missing(text);
    if (missing && !r->options.keep_missing)
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the label is "
                       "missing; fill it in, delete the line, write -1 for unknown, or set "
                       ".keep_missing", r->name, (long long)r->cell_line, (long long)c + 1,
                       column_name(r, c));
    return ak__labels_add(&r->labels, missing ? "-1" : text, r->cell_line);
}

static ak_status read_row(table_reader *r)
{
    const int64_t line = r->line;
    int64_t       c = 0;
    for (cell_end end = CELL_MORE; end == CELL_MORE; c++) {
        r->column = c;
        end = next_cell(r);
        if (end == CELL_FAILED)
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
                       r->delimiter == '\t' ? 't' : r->delimiter);
    return AK_OK;
}

/* An empty line is no row of several columns. Of a single column it is one whose value is missing,
 * unless nothing follows. */
static bool skip_to_row(table_reader *r)
{
    const uint8_t *at = r->at;
    const int64_t  line = r->line;
    skip_empty_lines(r);
    if (r->at == r->end)
        return false;
    if (r->columns == 1) {
        r->at = at;
        r->line = line;
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

static ak_status check_options(ak_ctx *ctx, const char *name, const ak_table_options *o)
{
    if (o->delimiter && strchr("\"\r\n", o->delimiter))
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .delimiter is a quote or the end of a line; a "
                       "comma, semicolon or tab is usual", name);
    if (o->max_bytes < 0)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .max_bytes is %lld; a number of bytes, or 0 for the "
                       "default, is needed", name, (long long)o->max_bytes);
    return AK_OK;
}

static ak_status read_table(table_reader *r)
{
    ak_status status = check_options(r->ctx, r->name, &r->options);
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
    table_reader r = { .ctx = ctx, .name = name, .at = bytes, .end = bytes + n, .line = 1,
                       .options = options, .label = -1 };
    const locale_t  before = ak__plain_begin();     /* numbers have a decimal point here */
    const ak_table *t = read_table(&r) ? NULL : finish(&r);
    ak__plain_end(before);
    ak__bytes_free(&r.cell);
    ak__bytes_free(&r.names);
    ak__bytes_free(&r.role);
    ak__bytes_free(&r.values);
    ak__labels_free(&r.labels);
    return t;
}

/* A zero byte among the first ones: no table, whatever follows. */
static size_t table_announced(const uint8_t *bytes, size_t n)
{
    return memchr(bytes, 0, n) ? AK__REFUSED : n < 1 << 16 ? 0 : SIZE_MAX - 1;
}

const ak_table *ak_table_read(ak_ctx *ctx, const char *path, ak_table_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx) || check_options(ctx, path, &options))
        return NULL;
    const ak__expected expected = {
        .limit = options.max_bytes ? (size_t)options.max_bytes : AK_TABLE_BYTES,
        .why = "a packed table may have; if it is not damaged, set .max_bytes or unpack it first",
        .announced = table_announced };
    ak__bytes file;
    if (ak__file_read(ctx, path, expected, &file))
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
