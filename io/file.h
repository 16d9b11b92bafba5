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

/* open() for files of the library: closed in programs that this one starts, created with the usual
 * permissions, and never one of the numbers 0 to 2. Where a program was started without them, what
 * it prints would otherwise go into this file. -1 with errno. */
int ak__open_file(const char *path, int flags);
/* write() all of it; false with errno. */
bool ak__write_all(int fd, const void *bytes, size_t n);
/* "a folder", "a FIFO", ..: by st_mode. */
const char *ak__file_kind(unsigned mode);

/* How long all of the file is that begins with these n bytes; 0: more of them are needed to say;
 * AK__REFUSED: the parser will refuse what begins so, whatever follows. */
typedef size_t ak__announced(const uint8_t *bytes, size_t n);
#define AK__REFUSED SIZE_MAX

/* What unpacking may make: a few packed bytes can become gigabytes. */
typedef struct ak__expected {
    size_t         limit;       /* more bytes are a format error */
    const char    *why;         /* behind "unpacks to more than the N bytes that" */
    ak__announced *announced;   /* asked as soon as the first bytes are there; NULL = nobody */
} ak__expected;

/* The content of a regular file; a gzip file is unpacked. A plain one is not read to its end where
 * `announced` says that it is wrong. On failure nothing is held. */
ak_status ak__file_read(ak_ctx *ctx, const char *path, ak__expected expected, ak__bytes *out);
/* The same without unpacking. */
ak_status ak__file_read_raw(ak_ctx *ctx, const char *path, ak__bytes *out);

/* A regular file in the address space: large ones are looked at without being read whole. */
typedef struct ak__mapping {
    const uint8_t *data;    /* [n]; NULL if n is 0 */
    size_t         n;
    int            fd;      /* stays open for ak__mapping_check; -1: not a file, or closed */
} ak__mapping;
/* On failure nothing is held. */
ak_status ak__file_map(ak_ctx *ctx, const char *path, ak__mapping *map);
/* Is all of it still there? Reading what another program has cut off would end this one by a
 * signal, so this is asked before. */
ak_status ak__mapping_check(ak_ctx *ctx, const char *path, const ak__mapping *map);
void ak__file_unmap(ak__mapping *map);

/* Is there a regular file? Records nothing. */
bool ak__file_exists(const char *path);

typedef enum ak__zformat { AK__GZIP, AK__DEFLATE } ak__zformat;
/* Unpack in pieces, so that memory grows with what is really there and ends at what is expected.
 * What `announced` refuses is handed out as far as it was unpacked. `name` is for messages. On
 * failure nothing is held. */
ak_status ak__inflate(ak_ctx *ctx, const char *name, ak__zformat format, const uint8_t *bytes,
                      size_t n, ak__expected expected, ak__bytes *out);
/* Pack into raw deflate data, appended to out. */
ak_status ak__deflate(ak_ctx *ctx, const uint8_t *bytes, size_t n, ak__bytes *out);

/* A file in the making: path.tmp-<process>-<number>, locked, until commit renames it. */
typedef struct ak__writer {
    ak_ctx *ctx;
    int     fd;             /* -1: not open */
    char   *path;           /* where links have led to */
    char   *temporary;
    bool    failed;
} ak__writer;

/* Begin a file at path, or where a link there leads to; its permissions stay. What killed writers
 * of it have left is removed. errors: AK_ERR_IO also for what is there and no regular file, or is
 * protected against writing */
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
