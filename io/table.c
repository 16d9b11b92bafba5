/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV tables: numbers by row and column, one column of class labels. */
#define _POSIX_C_SOURCE 200809L
#include "io/array.h"
#include "io/file.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS      65536
#define MAX_TEXT_CLASSES 10000  /* different texts in a label column: it is the wrong column */
#define MAX_NUMBER_CLASS 65536  /* larger whole numbers are names, not class numbers */

typedef struct table_reader {
    ak_ctx           *ctx;
    const char       *name;
    const uint8_t    *at, *end;
    int64_t           line;             /* of `at`, from 1 */
    char              delimiter;
    ak_table_options  options;
    ak__bytes         cell;             /* the current one, unquoted, ended by 0 */
    /* columns */
    int64_t           columns;          /* in the file */
    ak__bytes         names;            /* const char *[columns], context lifetime */
    ak__bytes         role;             /* uint8_t [columns] */
    int64_t           numeric, label;   /* numeric columns; the label's, -1 = none */
    /* content so far */
    int64_t           rows;
    ak__bytes         values;           /* double [rows * numeric] */
    ak__bytes         labels;           /* int32_t [rows], numbers of texts */
    ak__bytes         texts;            /* const char *[classes], context lifetime */
} table_reader;

enum { ROLE_NUMBER, ROLE_LABEL, ROLE_SKIPPED };

static const char *column_name(const table_reader *r, int64_t c)
{
    return ((const char *const *)(const void *)r->names.data)[c];
}

/* ---- cells ----------------------------------------------------------------------------------- */

typedef enum cell_end { CELL_MORE, CELL_LINE, CELL_FAILED } cell_end;

static bool push(table_reader *r, uint8_t byte)
{
    if (r->cell.n < r->cell.room) {
        r->cell.data[r->cell.n++] = byte;
        return true;
    }
    return ak__bytes_add(r->ctx, &r->cell, &byte, 1);
}

/* The quoted part of a cell, behind its opening quote. */
static bool quoted(table_reader *r)
{
    const int64_t start = r->line;
    for (; r->at < r->end; r->at++) {
        if (*r->at == '"') {
            if (r->at + 1 == r->end || r->at[1] != '"') {
                r->at++;
                return true;
            }
            r->at++;                        /* "" stands for one */
        }
        r->line += *r->at == '\n';
        if (!push(r, *r->at))
            return false;
    }
    ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld: a quoted cell is not closed; add the missing "
            "\"", r->name, (long long)start);
    return false;
}

/* Read one cell into r->cell; says whether more follow in its line. */
static cell_end next_cell(table_reader *r)
{
    r->cell.n = 0;
    if (r->at < r->end && *r->at == '"') {
        r->at++;
        if (!quoted(r))
            return CELL_FAILED;
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
        if (*r->at == 0) {
            ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld: a zero byte; a text file (CSV or TSV) "
                    "was expected", r->name, (long long)r->line);
            return CELL_FAILED;
        }
        if (*r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n'))
            continue;
        if (!push(r, *r->at))
            return CELL_FAILED;
    }
    return push(r, 0) ? end : CELL_FAILED;
}

static void skip_empty_lines(table_reader *r)
{
    while (r->at < r->end && (*r->at == '\n' ||
                              (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n'))) {
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
    snprintf(number, sizeof number, "%lld", (long long)r->columns + 1);
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
    for (int64_t c = 0; c < r->columns && r->label < 0; c++)
        if (strcmp(column_name(r, c), label) == 0)
            r->label = c;
    char      *end = NULL;
    const long number = strtol(label, &end, 10);
    if (r->label < 0 && *label && !*end && number >= 1 && number <= r->columns)
        r->label = number - 1;
    if (r->label < 0)
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: there is no column \"%s\" for the labels; the "
                       "first line has %lld columns, from \"%s\" to \"%s\"", r->name, label,
                       (long long)r->columns, column_name(r, 0), column_name(r, r->columns - 1));
    r->role.data[r->label] = ROLE_LABEL;
    return AK_OK;
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
        end = next_cell(r);
        if (end == CELL_FAILED || add_column(r, !r->options.no_header))
            return ak_error(r->ctx);
    }
    if (r->options.no_header) {
        r->at = start;                      /* it is data: read it again as such */
        r->line = line;
    }
    const ak_status status = choose_label(r);
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

static ak_status number_cell(table_reader *r, int64_t line, int64_t c)
{
    const char *text = trimmed(r);
    double      value = nan("");
    if (is_missing(text)) {
        if (!r->options.keep_missing)
            return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the value "
                           "is missing (\"%s\"); fill it in, leave the column out with .skip, or "
                           "set .keep_missing", r->name, (long long)line, (long long)c + 1,
                           column_name(r, c), text);
    } else {
        char *end = NULL;
        if (strspn(text, "0123456789+-.eE") == strlen(text))
            value = strtod(text, &end);
        if (!end || *end || !isfinite(value))
            return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): \"%.40s\" "
                           "is no finite number; name the column as .label or leave it out with "
                           ".skip%s", r->name, (long long)line, (long long)c + 1,
                           column_name(r, c), text,
                           r->rows == 0 && r->options.no_header ? "; or is it a header?" : "");
    }
    return ak__bytes_add(r->ctx, &r->values, &value, sizeof value) ? AK_OK : AK_ERR_MEMORY;
}

static ak_status label_cell(table_reader *r, int64_t line, int64_t c)
{
    const char        *text = trimmed(r);
    const char *const *texts = (const char *const *)(const void *)r->texts.data;
    const int32_t      count = (int32_t)(r->texts.n / sizeof *texts);
    if (is_missing(text))
        return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the label is "
                       "missing; fill it in or delete the line", r->name, (long long)line,
                       (long long)c + 1, column_name(r, c));
    int32_t number = 0;
    while (number < count && strcmp(texts[number], text) != 0)
        number++;
    if (number == count) {
        if (count == MAX_TEXT_CLASSES)
            return ak_fail(r->ctx, AK_ERR_FORMAT, "%s: line %lld: more than %d different labels in "
                           "column \"%s\"; is it the right column?", r->name, (long long)line,
                           MAX_TEXT_CLASSES, column_name(r, c));
        const char *copy = ak__ctx_strdup(r->ctx, text);
        if (!copy || !ak__bytes_add(r->ctx, &r->texts, &copy, sizeof copy))
            return AK_ERR_MEMORY;
    }
    return ak__bytes_add(r->ctx, &r->labels, &number, sizeof number) ? AK_OK : AK_ERR_MEMORY;
}

static ak_status read_row(table_reader *r)
{
    const int64_t line = r->line;
    int64_t       c = 0;
    for (cell_end end = CELL_MORE; end == CELL_MORE; c++) {
        end = next_cell(r);
        if (end == CELL_FAILED)
            return ak_error(r->ctx);
        if (c >= r->columns)
            continue;                       /* counted, for the message below */
        ak_status status = AK_OK;
        if (r->role.data[c] == ROLE_LABEL)
            status = label_cell(r, line, c);
        else if (r->role.data[c] == ROLE_NUMBER)
            status = number_cell(r, line, c);
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

/* ---- the result ------------------------------------------------------------------------------ */

/* If all labels are whole numbers in [0, MAX_NUMBER_CLASS), the largest; else -1. */
static int32_t largest_number(const table_reader *r)
{
    const char *const *texts = (const char *const *)(const void *)r->texts.data;
    const size_t       count = r->texts.n / sizeof *texts;
    int32_t            largest = -1;
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(texts[i]);
        if (n > 5 || strspn(texts[i], "0123456789") != n)
            return -1;
        const int32_t x = (int32_t)strtol(texts[i], NULL, 10);
        if (x >= MAX_NUMBER_CLASS)
            return -1;
        largest = x > largest ? x : largest;
    }
    return largest;
}

static ak_status finish_labels(table_reader *r, ak_table *t)
{
    const char *const *texts = (const char *const *)(const void *)r->texts.data;
    const int32_t      largest = largest_number(r), *numbers = (const int32_t *)(const void *)
                                                               r->labels.data;
    t->classes = largest >= 0 ? largest + 1 : (int64_t)(r->texts.n / sizeof *texts);
    int32_t     *labels = ak__ctx_alloc(r->ctx, (size_t)r->rows * sizeof *labels);
    const char **names = ak__ctx_alloc(r->ctx, (size_t)t->classes * sizeof *names);
    if (!labels || !names)
        return AK_ERR_MEMORY;
    for (int64_t i = 0; i < r->rows; i++)
        labels[i] = largest >= 0 ? (int32_t)strtol(texts[numbers[i]], NULL, 10) : numbers[i];
    for (int64_t i = 0; i < t->classes; i++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)i);
        names[i] = largest >= 0 ? ak__ctx_strdup(r->ctx, number) : texts[i];
        if (!names[i])
            return AK_ERR_MEMORY;
    }
    t->labels = labels;
    t->class_names = names;
    return AK_OK;
}

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
    return r->label >= 0 && finish_labels(r, t) ? NULL : t;
}

const ak_table *ak__table_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                                ak_table_options options)
{
    table_reader r = { .ctx = ctx, .name = name, .at = bytes, .end = bytes + n, .line = 1,
                       .options = options, .label = -1 };
    /* strtod must read a decimal point, whatever the program's locale says. */
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const locale_t before = plain ? uselocale(plain) : (locale_t)0;
    ak_status      status = read_columns(&r);
    while (!status) {
        skip_empty_lines(&r);
        if (r.at == r.end)
            break;
        status = read_row(&r);
    }
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
    const ak_table *t = status ? NULL : finish(&r);
    ak__bytes_free(&r.cell);
    ak__bytes_free(&r.names);
    ak__bytes_free(&r.role);
    ak__bytes_free(&r.values);
    ak__bytes_free(&r.labels);
    ak__bytes_free(&r.texts);
    return t;
}

const ak_table *ak_table_read(ak_ctx *ctx, const char *path, ak_table_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak__bytes file;
    if (ak__file_read(ctx, path, &file))
        return NULL;
    const ak_table *t = ak__table_parse(ctx, path, file.data, file.n, options);
    ak__bytes_free(&file);
    return t;
}

ak_tensor *ak_table_tensor(ak_ctx *ctx, const ak_table *table)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, table))
        return &ak__poison;
    return ak_from_double(ctx, AK_SHAPE(table->rows, table->columns), table->values);
}
