/* SPDX-License-Identifier: Apache-2.0 */
/* Reading files whole (plain or gzip, found out by content) and writing them atomically. */
#define _POSIX_C_SOURCE 200809L
#include "io/file.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

/* ---- bytes ----------------------------------------------------------------------------------- */

void ak__bytes_free(ak__bytes *b)
{
    ak__free(b->data);
    *b = (ak__bytes){ 0 };
}

static bool bytes_reserve(ak_ctx *ctx, ak__bytes *b, size_t room)
{
    if (room <= b->room)
        return true;
    uint8_t *data = ak__malloc(room);
    if (!data) {
        ak__fail_memory(ctx, room);
        return false;
    }
    if (b->n)
        memcpy(data, b->data, b->n);
    ak__free(b->data);
    b->data = data;
    b->room = room;
    return true;
}

bool ak__bytes_add(ak_ctx *ctx, ak__bytes *b, const void *from, size_t n)
{
    if (n > SIZE_MAX / 2 - b->n) {
        ak__fail_memory(ctx, n);
        return false;
    }
    if (b->n + n > b->room) {
        const size_t room = b->n + n > 2 * b->room ? b->n + n : 2 * b->room;
        if (!bytes_reserve(ctx, b, room < 256 ? 256 : room))
            return false;
    }
    if (from && n)
        memcpy(b->data + b->n, from, n);
    b->n += n;
    return true;
}

/* ---- zlib ------------------------------------------------------------------------------------ */

static voidpf zlib_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return ak__malloc((size_t)items * size);
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    ak__free(p);
}

/* What zlib said about a stream that has not ended well, `at` bytes into the file. */
static ak_status inflate_fail(ak_ctx *ctx, const char *name, int code, const char *text, size_t n,
                              size_t made)
{
    if (code == Z_MEM_ERROR)
        return ak__fail_memory(ctx, 0);
    if (code == Z_DATA_ERROR)
        return ak_fail(ctx, AK_ERR_FORMAT, "%s: damaged compressed data after %zu unpacked bytes "
                       "(%s); fetch the file again", name, made, text ? text : "bad data");
    return ak_fail(ctx, AK_ERR_FORMAT, "%s: the compressed data ends too early: %zu bytes unpack "
                   "to %zu and the end mark is missing; the file was cut off, fetch it again",
                   name, n, made);
}

/* One run of inflate: feeds what is left (in pieces that fit zlib's counters), makes room. */
static int inflate_some(ak_ctx *ctx, z_stream *z, const uint8_t *end, ak__bytes *out)
{
    if (z->avail_in == 0) {
        const size_t left = (size_t)(end - z->next_in);
        z->avail_in = left > 1u << 30 ? 1u << 30 : (uInt)left;
    }
    if (out->n == out->room && !bytes_reserve(ctx, out, 2 * out->room))
        return Z_MEM_ERROR;
    const size_t room = out->room - out->n;
    const uInt   give = room > 1u << 30 ? 1u << 30 : (uInt)room;
    z->next_out = out->data + out->n;
    z->avail_out = give;
    const int code = inflate(z, Z_NO_FLUSH);
    out->n += give - z->avail_out;
    return code == Z_BUF_ERROR && z->avail_out == 0 ? Z_OK : code;
}

ak_status ak__inflate(ak_ctx *ctx, const char *name, ak__zformat format, const uint8_t *bytes,
                      size_t n, size_t limit, ak__bytes *out)
{
    *out = (ak__bytes){ 0 };
    z_stream z = { .zalloc = zlib_alloc, .zfree = zlib_free, .next_in = bytes };
    if (inflateInit2(&z, format == AK__GZIP ? 16 + MAX_WBITS : -MAX_WBITS) != Z_OK)
        return ak__fail_memory(ctx, sizeof z);
    ak_status status = AK_OK;
    /* Deflate makes at most 1032 bytes of one; start at a usual ratio and double. */
    size_t start = n < SIZE_MAX / 8 ? 4 * n + 256 : n;
    if (limit < start)
        start = limit + 1;
    if (!bytes_reserve(ctx, out, start))
        status = AK_ERR_MEMORY;
    while (!status) {
        const int code = inflate_some(ctx, &z, bytes + n, out);
        if (out->n > limit) {
            status = ak_fail(ctx, AK_ERR_FORMAT, "%s: unpacks to more than the %zu bytes that were "
                             "expected; the file is damaged", name, limit);
        } else if (code == Z_STREAM_END) {
            const size_t left = (size_t)(bytes + n - z.next_in);
            if (format == AK__GZIP && left >= 2 && z.next_in[0] == 0x1f && z.next_in[1] == 0x8b) {
                z.avail_in = 0;             /* gzip files may be joined: the next member */
                inflateReset(&z);
                continue;
            }
            if (left)
                status = ak_fail(ctx, AK_ERR_FORMAT, "%s: %zu bytes follow the end of the "
                                 "compressed data; fetch the file again", name, left);
            break;
        } else if (code != Z_OK) {
            status = inflate_fail(ctx, name, code, z.msg, n, out->n);
        } else if (z.avail_in == 0 && z.next_in == bytes + n && z.avail_out > 0) {
            status = inflate_fail(ctx, name, Z_BUF_ERROR, NULL, n, out->n);
        }
    }
    inflateEnd(&z);
    if (status)
        ak__bytes_free(out);
    return status;
}

ak_status ak__deflate(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                      ak__bytes *out)
{
    if (n >= UINT32_MAX)
        return ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: %zu bytes are more than the 4 GB that an "
                       "entry can hold; write several files", name, n);
    z_stream z = { .zalloc = zlib_alloc, .zfree = zlib_free, .next_in = bytes,
                   .avail_in = (uInt)n };
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return ak__fail_memory(ctx, sizeof z);
    const size_t bound = deflateBound(&z, (uLong)n), before = out->n;
    ak_status status = AK_OK;
    if (bound > UINT32_MAX) {
        status = ak_fail(ctx, AK_ERR_UNSUPPORTED, "%s: too large to pack; write it stored", name);
    } else if (!ak__bytes_add(ctx, out, NULL, bound)) {
        status = AK_ERR_MEMORY;
    } else {
        z.next_out = out->data + before;
        z.avail_out = (uInt)bound;
        const int code = deflate(&z, Z_FINISH);
        out->n = before + (bound - z.avail_out);
        if (code != Z_STREAM_END)
            status = ak_fail(ctx, AK_ERR_IO, "%s: packing failed (zlib code %d)", name, code);
    }
    deflateEnd(&z);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool ak__file_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* Read until the end; the file's size is only the first guess of how much there is. */
static ak_status read_all(ak_ctx *ctx, const char *path, int fd, size_t guess, ak__bytes *out)
{
    if (!bytes_reserve(ctx, out, guess + 1))
        return AK_ERR_MEMORY;
    for (;;) {
        if (out->n == out->room && !bytes_reserve(ctx, out, 2 * out->room))
            return AK_ERR_MEMORY;
        const size_t  room = out->room - out->n;
        const ssize_t got = read(fd, out->data + out->n, room > 1u << 30 ? 1u << 30 : room);
        if (got == 0)
            return AK_OK;
        if (got > 0)
            out->n += (size_t)got;
        else if (errno != EINTR)
            return ak_fail(ctx, AK_ERR_IO, "%s: reading failed after %zu bytes: %s", path, out->n,
                           strerror(errno));
    }
}

ak_status ak__file_read_raw(ak_ctx *ctx, const char *path, ak__bytes *out)
{
    *out = (ak__bytes){ 0 };
    if (!path || !*path)
        return ak_fail(ctx, AK_ERR_VALUE, "a file was to be read, but its path is empty");
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR
            ? ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no such file; check the path (relative paths "
                      "start from the folder the program runs in)", path)
            : ak_fail(ctx, AK_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat s;
    ak_status   status = AK_OK;
    if (fstat(fd, &s) != 0)
        status = ak_fail(ctx, AK_ERR_IO, "%s: cannot be examined: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        status = ak_fail(ctx, AK_ERR_IO, "%s: is %s; a file was expected", path,
                         S_ISDIR(s.st_mode) ? "a folder" : "not a regular file");
    else if ((uint64_t)s.st_size > SIZE_MAX / 2)
        status = ak_fail(ctx, AK_ERR_IO, "%s: is too large for this machine", path);
    else
        status = read_all(ctx, path, fd, (size_t)s.st_size, out);
    close(fd);
    if (status)
        ak__bytes_free(out);
    return status;
}

ak_status ak__file_read(ak_ctx *ctx, const char *path, ak__bytes *out)
{
    ak__bytes raw;
    const ak_status status = ak__file_read_raw(ctx, path, &raw);
    if (status || raw.n < 2 || raw.data[0] != 0x1f || raw.data[1] != 0x8b) {
        *out = raw;
        return status;
    }
    const ak_status unpacked = ak__inflate(ctx, path, AK__GZIP, raw.data, raw.n, SIZE_MAX / 4, out);
    ak__bytes_free(&raw);
    return unpacked;
}

/* ---- writing --------------------------------------------------------------------------------- */

static ak_status writer_fail(ak__writer *w, const char *what)
{
    w->failed = true;
    return ak_fail(w->ctx, AK_ERR_IO, "%s: %s: %s; the file was left as it was", w->path, what,
                   strerror(errno));
}

ak_status ak__writer_open(ak_ctx *ctx, ak__writer *w, const char *path)
{
    static atomic_uint serial;
    *w = (ak__writer){ .ctx = ctx, .fd = -1, .failed = true };
    if (!path || !*path)
        return ak_fail(ctx, AK_ERR_VALUE, "a file was to be written, but its path is empty");
    const size_t n = strlen(path), room = n + 48;
    w->path = ak__malloc(n + 1);
    w->temporary = ak__malloc(room);
    if (!w->path || !w->temporary) {
        ak__writer_abort(w);
        return ak__fail_memory(ctx, room);
    }
    memcpy(w->path, path, n + 1);
    for (int tries = 0; w->fd < 0 && tries < 100; tries++) {
        snprintf(w->temporary, room, "%s.tmp-%ld-%u", path, (long)getpid(),
                 atomic_fetch_add(&serial, 1u));
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST)
            break;
    }
    if (w->fd < 0) {
        const ak_status status = ak_fail(ctx, AK_ERR_IO, "%s: cannot be written: %s; check that "
                                         "the folder exists and may be written to", path,
                                         strerror(errno));
        ak__writer_abort(w);
        return status;
    }
    w->failed = false;
    return AK_OK;
}

ak_status ak__writer_put(ak__writer *w, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (w->failed || w->fd < 0)
        return AK_ERR_IO;
    while (n > 0) {
        const ssize_t done = write(w->fd, p, n > 1u << 30 ? 1u << 30 : n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return writer_fail(w, "writing failed");
        p += done;
        n -= (size_t)done;
    }
    return AK_OK;
}

/* Make the rename itself durable, where the file system can; what is written is valid anyway. */
static void sync_folder(const char *path)
{
    char        folder[4096] = ".";
    const char *slash = strrchr(path, '/');
    if (slash) {
        const size_t n = slash == path ? 1 : (size_t)(slash - path);
        if (n >= sizeof folder)
            return;
        memcpy(folder, path, n);
        folder[n] = 0;
    }
    const int fd = open(folder, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

ak_status ak__writer_commit(ak__writer *w)
{
    ak_status status = w->failed || w->fd < 0 ? AK_ERR_IO : AK_OK;
    if (!status && fsync(w->fd) != 0 && errno != EINVAL)    /* EINVAL: cannot be synced, fine */
        status = writer_fail(w, "flushing failed");
    if (!status) {
        const int fd = w->fd;
        w->fd = -1;
        if (close(fd) != 0)
            status = writer_fail(w, "closing failed");
        else if (rename(w->temporary, w->path) != 0)
            status = writer_fail(w, "renaming the finished file failed");
        if (status)
            unlink(w->temporary);
        else
            sync_folder(w->path);
    }
    ak__writer_abort(w);
    return status;
}

void ak__writer_abort(ak__writer *w)
{
    if (w->fd >= 0 && w->temporary) {
        close(w->fd);
        unlink(w->temporary);
    }
    ak__free(w->path);
    ak__free(w->temporary);
    *w = (ak__writer){ .ctx = w->ctx, .fd = -1, .failed = true };
}

ak_status ak__file_write_atomic(ak_ctx *ctx, const char *path, const void *bytes, size_t n)
{
    ak__writer w;
    ak_status  status = ak__writer_open(ctx, &w, path);
    if (!status)
        status = ak__writer_put(&w, bytes, n);
    if (status) {
        ak__writer_abort(&w);
        return status;
    }
    return ak__writer_commit(&w);
}
