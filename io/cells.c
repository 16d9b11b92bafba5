/* SPDX-License-Identifier: Apache-2.0 */
/* Cells of CSV and TSV files. */
#include "io/cells.h"

#include <akin/io.h>

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

/* What is wrong with a cell as text: says line and column. */
static bool cell_fail(ak__cells *c, const char *what)
{
    ak_fail(c->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld: %s", c->name,
            (long long)c->cell_line, (long long)c->column + 1, what);
    return false;
}

static bool push(ak__cells *c, uint8_t byte)
{
    if (byte == 0)
        return cell_fail(c, "a zero byte in the cell; a text file (CSV or TSV, not UTF-16) was "
                         "expected");
    if (c->cell.n < c->cell.room) {
        c->cell.data[c->cell.n++] = byte;
        return true;
    }
    return ak__bytes_add(c->ctx, &c->cell, &byte, 1);
}

/* A blank inside a line: a space, and a tab where that is not the delimiter. */
static bool is_blank(const ak__cells *c)
{
    return *c->at == ' ' || (*c->at == '\t' && c->delimiter != '\t');
}

static bool at_line_end(const ak__cells *c)
{
    return *c->at == '\n' || (*c->at == '\r' && (c->at + 1 == c->end || c->at[1] == '\n'));
}

/* The quoted part of a cell, behind its opening quote, and the blanks behind it. */
static bool quoted(ak__cells *c)
{
    for (;; c->at++) {
        if (c->at == c->end)
            return cell_fail(c, "the quoted cell is not closed; add the missing \"");
        if (*c->at == '"') {
            if (c->at + 1 == c->end || c->at[1] != '"')
                break;
            c->at++;                        /* "" stands for one */
        }
        c->line += *c->at == '\n';
        if (!push(c, *c->at))
            return false;
    }
    for (c->at++; c->at < c->end && is_blank(c); c->at++)
        ;
    if (c->at == c->end || *c->at == (uint8_t)c->delimiter || at_line_end(c))
        return true;
    return cell_fail(c, "text behind the closing quote; a quote inside a quoted cell is written "
                     "twice (\"\")");
}

/* Read one cell into c->cell; says whether more follow in its line. */
ak__cell_end ak__cells_next(ak__cells *c)
{
    c->cell.n = 0;
    c->cell_line = c->line;
    const uint8_t *start = c->at;
    while (c->at < c->end && is_blank(c))
        c->at++;
    if (!c->no_quotes && c->at < c->end && *c->at == '"') {
        c->at++;
        if (!quoted(c))
            return AK__CELL_FAILED;
    } else {
        c->at = start;                      /* blanks are the cell's own */
    }
    ak__cell_end end = AK__CELL_LINE;
    for (; c->at < c->end; c->at++) {
        if (*c->at == (uint8_t)c->delimiter) {
            end = AK__CELL_MORE;
            c->at++;
            break;
        }
        if (*c->at == '\n') {
            c->line++;
            c->at++;
            break;
        }
        if (!at_line_end(c) && !push(c, *c->at))
            return AK__CELL_FAILED;
    }
    return ak__bytes_add(c->ctx, &c->cell, "", 1) ? end : AK__CELL_FAILED;
}

void ak__cells_skip_empty(ak__cells *c)
{
    while (c->at < c->end && at_line_end(c)) {
        c->line += *c->at == '\n';
        c->at++;
    }
}

/* The cell without spaces around it. */
char *ak__cells_trimmed(ak__cells *c)
{
    char  *text = (char *)c->cell.data;
    size_t n = strlen(text);
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        text[--n] = 0;
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

/* ---- files and columns ----------------------------------------------------------------------- */

static char guess_delimiter(const uint8_t *at, const uint8_t *end)
{
    for (; at < end && *at != '\n'; at++)
        if (*at == '\t')
            return '\t';
    return ',';
}

void ak__cells_begin(ak__cells *c, ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                     char delimiter)
{
    *c = (ak__cells){ .ctx = ctx, .name = name, .at = bytes, .end = bytes + n, .line = 1 };
    if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        c->at += 3;
    ak__cells_skip_empty(c);
    c->delimiter = delimiter ? delimiter : guess_delimiter(c->at, c->end);
}

bool ak__cell_missing(const char *text)
{
    static const char *const words[] = { "", "NA", "N/A", "NaN", "nan", "null", "NULL", "?" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

ak_status ak__cells_options(ak_ctx *ctx, const char *name, char delimiter, int64_t max_bytes)
{
    if (delimiter && strchr("\"\r\n", delimiter))
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .delimiter is a quote or the end of a line; a "
                       "comma, semicolon or tab is usual", name);
    if (max_bytes < 0)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .max_bytes is %lld; a number of bytes, or 0 for the "
                       "default, is needed", name, (long long)max_bytes);
    return AK_OK;
}

/* A zero byte among the first ones: no table, whatever follows. */
static size_t cells_announced(const uint8_t *bytes, size_t n)
{
    return memchr(bytes, 0, n) ? AK__REFUSED : n < 1 << 16 ? 0 : SIZE_MAX - 1;
}

ak_status ak__cells_file(ak_ctx *ctx, const char *path, int64_t max_bytes, ak__bytes *file)
{
    const ak__expected expected = {
        .limit = max_bytes ? (size_t)max_bytes : AK_TABLE_BYTES,
        .why = "a packed table may have; if it is not damaged, set .max_bytes or unpack it first",
        .announced = cells_announced };
    return ak__file_read(ctx, path, expected, file);
}

int64_t ak__cells_column(ak_ctx *ctx, const char *file, const char *what, const char *name,
                         const char *const *names, int64_t columns)
{
    int64_t found = -1;
    for (int64_t c = 0; c < columns; c++) {
        if (strcmp(names[c], name) != 0)
            continue;
        if (found >= 0) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: columns %lld and %lld are both called \"%s\"; which "
                    "one has %s? rename one", file, (long long)found + 1, (long long)c + 1, name,
                    what);
            return -1;
        }
        found = c;
    }
    const bool digits = *name && name[strspn(name, "0123456789")] == 0;
    const long number = digits ? strtol(name, NULL, 10) : 0;
    if (found < 0 && number >= 1 && number <= columns)
        found = number - 1;
    if (found < 0)
        ak_fail(ctx, AK_ERR_VALUE, "%s: there is no column \"%s\" for %s; the first line has %lld "
                "columns, from \"%s\" to \"%s\"", file, name, what, (long long)columns, names[0],
                names[columns - 1]);
    return found;
}
