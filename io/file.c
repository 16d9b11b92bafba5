/* SPDX-License-Identifier: Apache-2.0 */
/* Reading files whole (plain or gzip, found out by content) and writing them atomically. */
#define _POSIX_C_SOURCE 200809L
#include "io/file.h"

#include "base/base.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#define PIECE (1u << 30)        /* bytes for one call of zlib, read or write */

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

/* Unpacking in pieces of at most `stop` bytes in all. */
typedef struct unpacking {
    ak_ctx        *ctx;
    const char    *name;
    ak__zformat    format;
    const uint8_t *end;         /* of the packed bytes */
    size_t         n;           /* how many they are */
    z_stream       z;
    ak__bytes     *out;
    bool           ended;
} unpacking;

/* One run of inflate: feeds what is left (in pieces that fit zlib's counters), makes room. */
static int inflate_some(unpacking *u, size_t stop)
{
    z_stream  *z = &u->z;
    ak__bytes *out = u->out;
    if (z->avail_in == 0) {
        const size_t left = (size_t)(u->end - z->next_in);
        z->avail_in = left > PIECE ? PIECE : (uInt)left;
    }
    if (out->n == out->room) {
        const size_t twice = 2 * out->room;
        if (!bytes_reserve(u->ctx, out, twice > stop ? stop : twice))
            return Z_MEM_ERROR;
    }
    const size_t room = (out->room < stop ? out->room : stop) - out->n;
    const uInt   give = room > PIECE ? PIECE : (uInt)room;
    z->next_out = out->data + out->n;
    z->avail_out = give;
    const int code = inflate(z, Z_NO_FLUSH);
    out->n += give - z->avail_out;
    return code == Z_BUF_ERROR && z->avail_out == 0 ? Z_OK : code;
}

/* Behind the end of a stream: the next one of a joined gzip file, or zeros up to the end (what is
 * written to a tape or a disk in blocks is padded so), or something that does not belong there. */
static ak_status stream_ended(unpacking *u)
{
    const uint8_t *p = u->z.next_in;
    const size_t   left = (size_t)(u->end - p);
    if (u->format == AK__GZIP && left >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        u->z.avail_in = 0;
        inflateReset(&u->z);
        return AK_OK;
    }
    size_t zeros = 0;
    while (u->format == AK__GZIP && zeros < left && p[zeros] == 0)
        zeros++;
    u->ended = true;
    return zeros == left ? AK_OK
                         : ak_fail(u->ctx, AK_ERR_FORMAT, "%s: %zu bytes follow the end of the "
                                   "compressed data; fetch the file again", u->name, left);
}

/* Unpack until there are `stop` bytes or the end is reached. */
static ak_status unpack_to(unpacking *u, size_t stop)
{
    ak_status status = AK_OK;
    while (!status && !u->ended && u->out->n < stop) {
        const int code = inflate_some(u, stop);
        if (code == Z_STREAM_END)
            status = stream_ended(u);
        else if (code != Z_OK)
            status = inflate_fail(u->ctx, u->name, code, u->z.msg, u->n, u->out->n);
        else if (u->z.avail_in == 0 && u->z.next_in == u->end && u->z.avail_out > 0)
            status = inflate_fail(u->ctx, u->name, Z_BUF_ERROR, NULL, u->n, u->out->n);
    }
    return status;
}

static ak_status unpack(unpacking *u, const ak__expected *e)
{
    size_t most = e->limit;
    for (size_t head = 256; e->announced; head *= 2) {
        const ak_status status = unpack_to(u, head < e->limit ? head : e->limit);
        if (status)
            return status;
        const size_t size = e->announced(u->out->data, u->out->n);
        if (size == AK__REFUSED)
            return AK_OK;
        if (size && size < most)
            most = size;
        if (size || u->ended || head >= e->limit)
            break;
    }
    /* One byte more tells whether there is more than expected. */
    const ak_status status = unpack_to(u, most + 1);
    if (status || u->out->n <= most)
        return status;
    return ak_fail(u->ctx, AK_ERR_FORMAT, "%s: unpacks to more than the %zu bytes that %s", u->name,
                   most, most < e->limit || !e->why ? "its header announces; the file is damaged, "
                   "fetch it again" : e->why);
}

ak_status ak__inflate(ak_ctx *ctx, const char *name, ak__zformat format, const uint8_t *bytes,
                      size_t n, ak__expected expected, ak__bytes *out)
{
    *out = (ak__bytes){ 0 };
    unpacking u = { .ctx = ctx, .name = name, .format = format, .end = bytes + n, .n = n,
                    .out = out, .z = { .zalloc = zlib_alloc, .zfree = zlib_free,
                                       .next_in = bytes } };
    if (inflateInit2(&u.z, format == AK__GZIP ? 16 + MAX_WBITS : -MAX_WBITS) != Z_OK)
        return ak__fail_memory(ctx, sizeof u.z);
    /* Deflate makes at most 1032 bytes of one; start at a usual ratio and double. */
    size_t start = n < SIZE_MAX / 8 ? 4 * n + 256 : n;
    if (expected.limit < start)
        start = expected.limit + 1;
    ak_status status = bytes_reserve(ctx, out, start) ? unpack(&u, &expected) : AK_ERR_MEMORY;
    inflateEnd(&u.z);
    if (status)
        ak__bytes_free(out);
    return status;
}

ak_status ak__deflate(ak_ctx *ctx, const uint8_t *bytes, size_t n, ak__bytes *out)
{
    z_stream z = { .zalloc = zlib_alloc, .zfree = zlib_free, .next_in = bytes };
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return ak__fail_memory(ctx, sizeof z);
    const size_t before = out->n, bound = deflateBound(&z, (uLong)n);
    ak_status    status = ak__bytes_add(ctx, out, NULL, bound) ? AK_OK : AK_ERR_MEMORY;
    if (!status)
        out->n = before;
    for (int code = Z_OK; !status && code != Z_STREAM_END; ) {
        const size_t left = (size_t)(bytes + n - z.next_in) - z.avail_in;
        z.avail_in += left > PIECE - z.avail_in ? PIECE - z.avail_in : (uInt)left;
        const size_t room = before + bound - out->n;
        const uInt   give = room > PIECE ? PIECE : (uInt)room;
        z.next_out = out->data + out->n;
        z.avail_out = give;
        const bool last = z.next_in + z.avail_in == bytes + n;
        code = deflate(&z, last ? Z_FINISH : Z_NO_FLUSH);
        out->n += give - z.avail_out;
        if (code != Z_OK && code != Z_STREAM_END)
            status = ak__fail_memory(ctx, bound);       /* nothing else can fail: bound is enough */
    }
    deflateEnd(&z);
    if (status)
        out->n = before;
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool ak__file_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* Read until the end or `stop` bytes; the file's size is only the first guess of how much there
 * is. */
static ak_status read_to(ak_ctx *ctx, const char *path, int fd, size_t guess, size_t stop,
                         ak__bytes *out)
{
    if (!bytes_reserve(ctx, out, guess + 1))
        return AK_ERR_MEMORY;
    while (out->n < stop) {
        if (out->n == out->room && !bytes_reserve(ctx, out, 2 * out->room))
            return AK_ERR_MEMORY;
        const size_t  left = stop - out->n, free = out->room - out->n;
        const size_t  room = left < free ? left : free;
        const ssize_t got = read(fd, out->data + out->n, room > PIECE ? PIECE : room);
        if (got == 0)
            return AK_OK;
        if (got > 0)
            out->n += (size_t)got;
        else if (errno != EINTR)
            return ak_fail(ctx, AK_ERR_IO, "%s: reading failed after %zu bytes: %s", path, out->n,
                           strerror(errno));
    }
    return AK_OK;
}

static bool is_gzip(const ak__bytes *b)
{
    return b->n >= 2 && b->data[0] == 0x1f && b->data[1] == 0x8b;
}

/* All of a file of `size` bytes, unless its beginning says that it is a wrong one: a file can be
 * long without taking room on the disk. */
static ak_status read_all(ak_ctx *ctx, const char *path, int fd, size_t size,
                          ak__announced *announced, ak__bytes *out)
{
    const size_t head = (size_t)1 << 16;
    if (announced && size > head) {
        const ak_status status = read_to(ctx, path, fd, head, head, out);
        if (status)
            return status;
        const size_t want = is_gzip(out) ? 0 : announced(out->data, out->n);
        if (want == AK__REFUSED)
            return AK_OK;
        if (want && want < size)
            return ak_fail(ctx, AK_ERR_FORMAT, "%s: has %zu bytes, but its header announces %zu; "
                           "the file is damaged, fetch it again", path, size, want);
    }
    return read_to(ctx, path, fd, size, SIZE_MAX, out);
}

int ak__open_file(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    const int other = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), why = errno;
    close(fd);
    errno = why;
    return other;
}

const char *ak__file_kind(unsigned mode)
{
    return S_ISREG(mode) ? "a regular file" : S_ISDIR(mode) ? "a folder"
         : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "no regular file";
}

/* A regular file, open for reading: *fd and *size. On failure nothing is open. */
static ak_status open_regular(ak_ctx *ctx, const char *path, int *fd, size_t *size)
{
    if (!path || !*path)
        return ak_fail(ctx, AK_ERR_VALUE, "a file was to be read, but its path is empty");
    *fd = ak__open_file(path, O_RDONLY | O_NONBLOCK);
    if (*fd < 0)
        return errno == ENOENT || errno == ENOTDIR
            ? ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no such file; check the path (relative paths "
                      "start from the folder the program runs in)", path)
            : ak_fail(ctx, AK_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat s;
    ak_status   status = AK_OK;
    if (fstat(*fd, &s) != 0)
        status = ak_fail(ctx, AK_ERR_IO, "%s: cannot be examined: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        status = ak_fail(ctx, AK_ERR_IO, "%s: is %s; a regular file was expected", path,
                         ak__file_kind(s.st_mode));
    else if ((uint64_t)s.st_size > SIZE_MAX / 2)
        status = ak_fail(ctx, AK_ERR_IO, "%s: is too large for this machine", path);
    if (status)
        close(*fd);
    *size = status ? 0 : (size_t)s.st_size;
    return status;
}

static ak_status read_file(ak_ctx *ctx, const char *path, ak__announced *announced, ak__bytes *out)
{
    *out = (ak__bytes){ 0 };
    int       fd;
    size_t    size;
    ak_status status = open_regular(ctx, path, &fd, &size);
    if (status)
        return status;
    status = read_all(ctx, path, fd, size, announced, out);
    close(fd);
    if (status)
        ak__bytes_free(out);
    return status;
}

ak_status ak__file_read_raw(ak_ctx *ctx, const char *path, ak__bytes *out)
{
    return read_file(ctx, path, NULL, out);
}

ak_status ak__file_read(ak_ctx *ctx, const char *path, ak__expected expected, ak__bytes *out)
{
    ak__bytes raw;
    const ak_status status = read_file(ctx, path, expected.announced, &raw);
    if (status || !is_gzip(&raw)) {
        *out = raw;
        return status;
    }
    const ak_status unpacked = ak__inflate(ctx, path, AK__GZIP, raw.data, raw.n, expected, out);
    ak__bytes_free(&raw);
    return unpacked;
}

/* ---- files in the address space -------------------------------------------------------------- */

ak_status ak__file_map(ak_ctx *ctx, const char *path, ak__mapping *map)
{
    *map = (ak__mapping){ .fd = -1 };
    int       fd;
    size_t    size;
    ak_status status = open_regular(ctx, path, &fd, &size);
    if (status)
        return status;
    void *data = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (data == MAP_FAILED) {
        status = errno == ENOMEM ? ak__fail_memory(ctx, size)
                                 : ak_fail(ctx, AK_ERR_IO, "%s: cannot be mapped: %s", path,
                                           strerror(errno));
        close(fd);
        return status;
    }
    *map = (ak__mapping){ .data = data, .n = size, .fd = fd };
    return AK_OK;
}

ak_status ak__mapping_check(ak_ctx *ctx, const char *path, const ak__mapping *map)
{
    struct stat s;
    if (map->fd < 0 || (fstat(map->fd, &s) == 0 && (uint64_t)s.st_size >= map->n))
        return AK_OK;
    return ak_fail(ctx, AK_ERR_IO, "%s: has become shorter since it was opened (%zu bytes); open "
                   "it again", path, map->n);
}

void ak__file_unmap(ak__mapping *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->n);
    if (map->fd >= 0)
        close(map->fd);
    *map = (ak__mapping){ .fd = -1 };
}

/* ---- where a file is to be written ----------------------------------------------------------- */

#define MAX_LINKS 40            /* that lead from one to another */

/* The file that path leads to: links are followed by hand, since the last one may point to a file
 * that is still to be made. In memory of ak__malloc; NULL with errno on failure. */
static char *follow_links(const char *path)
{
    char *at = ak__malloc(PATH_MAX);
    if (!at || strlen(path) >= PATH_MAX) {
        errno = at ? ENAMETOOLONG : ENOMEM;
        ak__free(at);
        return NULL;
    }
    memcpy(at, path, strlen(path) + 1);
    for (int links = 0; links < MAX_LINKS; links++) {
        char          to[PATH_MAX];
        const ssize_t n = readlink(at, to, sizeof to);
        if (n < 0)
            return at;                  /* no link, or nothing there: this is the place */
        const char  *slash = strrchr(at, '/');
        const size_t folder = *to == '/' || !slash ? 0 : (size_t)(slash - at) + 1;
        if ((size_t)n == sizeof to || folder + (size_t)n >= PATH_MAX) {
            errno = ENAMETOOLONG;
            ak__free(at);
            return NULL;
        }
        memcpy(at + folder, to, (size_t)n);
        at[folder + (size_t)n] = 0;
    }
    errno = ELOOP;
    ak__free(at);
    return NULL;
}

/* May w->path be replaced? *mode is what its permissions are to be. */
static ak_status check_target(ak__writer *w, mode_t *mode)
{
    struct stat s;
    *mode = 0;
    if (stat(w->path, &s) != 0)
        return AK_OK;                   /* nothing there; whether it can be made, open() will say */
    if (!S_ISREG(s.st_mode))
        return ak_fail(w->ctx, AK_ERR_IO, "%s: is %s; only a regular file can be written (it is "
                       "made beside its place and renamed)", w->path, ak__file_kind(s.st_mode));
    if (access(w->path, W_OK) != 0)
        return ak_fail(w->ctx, AK_ERR_IO, "%s: cannot be written: %s; it is protected against "
                       "changes", w->path, strerror(errno));
    *mode = s.st_mode & 0777;
    return AK_OK;
}

/* ---- temporary files ------------------------------------------------------------------------- */

/* A writer holds a lock on its temporary file for as long as it lives, so one that can be locked
 * was left behind by a writer that was killed, whatever process has its number now. */

static const char *skip_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/* Is `name` what a writer of `base` calls its temporary file: base.tmp-<process>-<number>? */
static bool is_temporary(const char *name, const char *base)
{
    static const char between[] = ".tmp-";
    const size_t      n = strlen(base), m = sizeof between - 1;
    if (strncmp(name, base, n) != 0 || strncmp(name + n, between, m) != 0)
        return false;
    const char *process = name + n + m, *dash = skip_digits(process);
    return dash > process && *dash == '-' && dash[1] && !*skip_digits(dash + 1);
}

static void remove_abandoned(const char *path)
{
    const int fd = ak__open_file(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
    struct stat s;
    if (fd < 0)
        return;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlink(path);
    close(fd);
}

/* Remove what killed writers of this file have left beside it. */
static void sweep(const char *path)
{
    const char  *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t n = (size_t)(base - path);
    char         at[PATH_MAX];
    if (n + 2 > sizeof at)
        return;
    memcpy(at, path, n);
    memcpy(at + n, ".", 2);
    DIR *d = opendir(at);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d)) != NULL; ) {
        const size_t name = strlen(e->d_name);
        if (!is_temporary(e->d_name, base) || n + name >= sizeof at)
            continue;
        memcpy(at + n, e->d_name, name + 1);
        remove_abandoned(at);
    }
    closedir(d);
}

/* Make and lock one: no other file, and not swept between the two. */
static bool make_temporary(ak__writer *w, size_t room)
{
    static atomic_uint serial;
    for (int tries = 0; tries < 100; tries++) {
        struct stat s;
        ak__format(w->temporary, room, "%s.tmp-%ld-%u", w->path, (long)getpid(),
                   atomic_fetch_add(&serial, 1u));
        w->fd = ak__open_file(w->temporary, O_WRONLY | O_CREAT | O_EXCL);
        if (w->fd < 0 && errno != EEXIST)
            return false;
        if (w->fd < 0)
            continue;
        (void)flock(w->fd, LOCK_EX | LOCK_NB);  /* where there are no locks, nothing is swept */
        if (fstat(w->fd, &s) == 0 && s.st_nlink > 0)
            return true;
        close(w->fd);
        w->fd = -1;
    }
    errno = EEXIST;
    return false;
}

/* ---- writing --------------------------------------------------------------------------------- */

static ak_status writer_fail(ak__writer *w, const char *what)
{
    w->failed = true;
    return ak_fail(w->ctx, AK_ERR_IO, "%s: %s: %s; the file was left as it was", w->path, what,
                   strerror(errno));
}

static ak_status cannot_write(ak_ctx *ctx, const char *path)
{
    return ak_fail(ctx, AK_ERR_IO, "%s: cannot be written: %s; check that the folder exists and "
                   "may be written to", path, strerror(errno));
}

static ak_status open_beside(ak__writer *w, const char *path)
{
    mode_t mode;
    w->path = follow_links(path);
    if (!w->path)
        return errno == ENOMEM ? ak__fail_memory(w->ctx, PATH_MAX) : cannot_write(w->ctx, path);
    if (check_target(w, &mode))
        return ak_error(w->ctx);
    const size_t room = strlen(w->path) + 48;
    w->temporary = ak__malloc(room);
    if (!w->temporary)
        return ak__fail_memory(w->ctx, room);
    sweep(w->path);
    if (!make_temporary(w, room))
        return cannot_write(w->ctx, path);
    if (mode)
        (void)fchmod(w->fd, mode);      /* some file systems have no permissions */
    w->failed = false;
    return AK_OK;
}

ak_status ak__writer_open(ak_ctx *ctx, ak__writer *w, const char *path)
{
    *w = (ak__writer){ .ctx = ctx, .fd = -1, .failed = true };
    if (!path || !*path)
        return ak_fail(ctx, AK_ERR_VALUE, "a file was to be written, but its path is empty");
    const ak_status status = open_beside(w, path);
    if (status)
        ak__writer_abort(w);
    return status;
}

bool ak__write_all(int fd, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        const ssize_t done = write(fd, p, n > PIECE ? PIECE : n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = EIO;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

ak_status ak__writer_put(ak__writer *w, const void *bytes, size_t n)
{
    if (w->failed || w->fd < 0)
        return AK_ERR_IO;
    return ak__write_all(w->fd, bytes, n) ? AK_OK : writer_fail(w, "writing failed");
}

/* Make the rename itself durable, where the file system can; what is written is valid anyway. */
static void sync_folder(const char *path)
{
    char        folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash) {
        const size_t n = slash == path ? 1 : (size_t)(slash - path);
        memcpy(folder, path, n);
        folder[n] = 0;
    }
    const int fd = ak__open_file(folder, O_RDONLY);
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
        /* What closing has to say counts too, but the lock stays until the name is right. */
        const int fd = w->fd;
        w->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (close(fd) != 0 || w->fd < 0)
            status = writer_fail(w, "closing failed");
        else if (rename(w->temporary, w->path) != 0)
            status = writer_fail(w, "renaming the finished file failed");
        if (status)
            unlink(w->temporary);
        else
            sync_folder(w->path);
        if (w->fd >= 0)
            close(w->fd);
        w->fd = -1;
    }
    ak__writer_abort(w);
    return status;
}

void ak__writer_abort(ak__writer *w)
{
    if (w->fd >= 0 && w->temporary) {
        unlink(w->temporary);
        close(w->fd);
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
