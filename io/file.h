/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in, whole files out: plain or gzip by content; written beside and renamed. */
#ifndef AK_IO_FILE_H
#define AK_IO_FILE_H

#include <akin/core.h>

/* Bytes in memory of ak__malloc. */
typedef struct ak__bytes {
    uint8_t *data;
    size_t   n, room;
} ak__bytes;

void ak__bytes_free(ak__bytes *b);
/* Add n bytes (from NULL: uninitialised); the room doubles. False: out of memory, recorded. */
bool ak__bytes_add(ak_ctx *ctx, ak__bytes *b, const void *from, size_t n);

/* The content of a regular file; a gzip file is unpacked. On failure nothing is held. */
ak_status ak__file_read(ak_ctx *ctx, const char *path, ak__bytes *out);
/* The same without unpacking. */
ak_status ak__file_read_raw(ak_ctx *ctx, const char *path, ak__bytes *out);
/* Is there a regular file? Records nothing. */
bool ak__file_exists(const char *path);

typedef enum ak__zformat { AK__GZIP, AK__DEFLATE } ak__zformat;
/* Unpack in pieces, so that memory grows with what is really there; more than `limit` bytes are a
 * format error. `name` is for messages. On failure nothing is held. */
ak_status ak__inflate(ak_ctx *ctx, const char *name, ak__zformat format, const uint8_t *bytes,
                      size_t n, size_t limit, ak__bytes *out);
/* Pack into raw deflate data, appended to out. */
ak_status ak__deflate(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                      ak__bytes *out);

/* A file in the making: path.tmp-<process>-<number> until commit renames it. */
typedef struct ak__writer {
    ak_ctx *ctx;
    int     fd;             /* -1: not open */
    char   *path, *temporary;
    bool    failed;
} ak__writer;

ak_status ak__writer_open(ak_ctx *ctx, ak__writer *w, const char *path);
/* Append; after a failure nothing is done. */
ak_status ak__writer_put(ak__writer *w, const void *bytes, size_t n);
/* Flush to the disk and rename; on failure (or after a failed put) the temporary file is removed
 * and the old file untouched. */
ak_status ak__writer_commit(ak__writer *w);
/* Give up: remove the temporary file. Fine after commit and for a zeroed or failed writer. */
void ak__writer_abort(ak__writer *w);

/* All at once. */
ak_status ak__file_write_atomic(ak_ctx *ctx, const char *path, const void *bytes, size_t n);

#endif
