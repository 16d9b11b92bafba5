/* SPDX-License-Identifier: Apache-2.0 */
/* The cells of a CSV or TSV file in memory, one after the other (RFC 4180, with blanks around
 * quotes allowed). What they mean is the business of who reads them. */
#ifndef AK_IO_CELLS_H
#define AK_IO_CELLS_H

#include "io/file.h"

typedef struct ak__cells {
    ak_ctx        *ctx;
    const char    *name;        /* of the file */
    const uint8_t *at, *end;
    int64_t        line;        /* of `at`, from 1 */
    char           delimiter;
    bool           no_quotes;   /* a quote is a character as any other */
    int64_t        column;      /* of the cell being read, from 0: the reader's to set; its line: */
    int64_t        cell_line;
    ak__bytes      cell;        /* the current one, unquoted, ended by 0 */
} ak__cells;

/* Go to the first line that is not empty. delimiter 0: a tab if that line has one, else a comma.
 * Give c->cell back by ak__bytes_free. */
void ak__cells_begin(ak__cells *c, ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                     char delimiter);
typedef enum ak__cell_end { AK__CELL_MORE, AK__CELL_LINE, AK__CELL_FAILED } ak__cell_end;
/* Read one cell; says whether more follow in its line. Failed: recorded. */
ak__cell_end ak__cells_next(ak__cells *c);
void ak__cells_skip_empty(ak__cells *c);
/* The cell without blanks around it. */
char *ak__cells_trimmed(ak__cells *c);
/* Does such a cell stand for a value that is missing? */
bool ak__cell_missing(const char *text);

/* Is this a column's delimiter, and a number of bytes that a packed file may have? AK_ERR_VALUE. */
ak_status ak__cells_options(ak_ctx *ctx, const char *name, char delimiter, int64_t max_bytes);
/* The content of a file of cells: `max_bytes` unpacked at most, 0 = AK_TABLE_BYTES. */
ak_status ak__cells_file(ak_ctx *ctx, const char *path, int64_t max_bytes, ak__bytes *file);
/* The place of a column, by name, else by number from 1. -1: AK_ERR_VALUE. what: "the labels" */
int64_t ak__cells_column(ak_ctx *ctx, const char *file, const char *what, const char *name,
                         const char *const *names, int64_t columns);

#endif
