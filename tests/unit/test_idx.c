/* SPDX-License-Identifier: Apache-2.0 */
/* IDX files: all types, gzip, and every way in which a file can be wrong. */
#include "data_files.h"

#include "io/array.h"
#include "io/file.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const unsigned char two_by_three[] = { 0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3,
                                              1, 2, 3, 4, 5, 6 };

Test(idx, reads_plain_and_gzip)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    put_file(path_in(dir, "a"), two_by_three, sizeof two_by_three);
    put_gzip(path_in(dir, "b.gz"), two_by_three, sizeof two_by_three);
    for (int i = 0; i < 2; i++) {
        const ak_array *a = ak_idx_read(ctx, path_in(dir, i ? "b.gz" : "a"));
        cr_assert_not_null(a, "%s", ak_error_message(ctx));
        cr_expect_eq(a->type, AK_TYPE_U8);
        cr_expect(ak_shape_equal(a->shape, AK_SHAPE(2, 3)));
        for (int k = 0; k < 6; k++)
            cr_expect_eq(ak_array_at(a, k), k + 1);
        ak_tensor *t = ak_array_tensor(ctx, a);
        cr_expect_eq(ak_at(t, AK_SHAPE(1, 2)), 6);
    }
    remove_folder(dir);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(idx, joined_gzip_members)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    unsigned char all[256];
    put_gzip(path_in(dir, "1"), two_by_three, 7);
    put_gzip(path_in(dir, "2"), two_by_three + 7, sizeof two_by_three - 7);
    size_t n = get_file(path_in(dir, "1"), all, sizeof all);
    n += get_file(path_in(dir, "2"), all + n, sizeof all - n);
    put_file(path_in(dir, "both"), all, n);
    const ak_array *a = ak_idx_read(ctx, path_in(dir, "both"));
    cr_assert_not_null(a, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_array_at(a, 5), 6);
    remove_folder(dir);
    ak_close(ctx);
}

Test(idx, every_type)
{
    static const struct { unsigned char code, bytes[8]; ak_type type; double value; } cases[] = {
        { 0x08, { 200 }, AK_TYPE_U8, 200 },
        { 0x09, { 0xfe }, AK_TYPE_I8, -2 },
        { 0x0B, { 0xff, 0x00 }, AK_TYPE_I16, -256 },
        { 0x0C, { 0, 1, 0, 2 }, AK_TYPE_I32, 65538 },
        { 0x0D, { 0x3f, 0xc0, 0, 0 }, AK_TYPE_F32, 1.5 },
        { 0x0E, { 0xc0, 0x04, 0, 0, 0, 0, 0, 0 }, AK_TYPE_F64, -2.5 },
    };
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char file[16] = { 0, 0, cases[i].code, 1, 0, 0, 0, 1 };
        const size_t  n = ak_type_size(cases[i].type);
        memcpy(file + 8, cases[i].bytes, n);
        put_file(path_in(dir, "x"), file, 8 + n);
        const ak_array *a = ak_idx_read(ctx, path_in(dir, "x"));
        cr_assert_not_null(a, "%s", ak_error_message(ctx));
        cr_expect_eq(a->type, cases[i].type);
        cr_expect_eq(ak_array_at(a, 0), cases[i].value);
        cr_expect(isnan(ak_array_at(a, 1)) && isnan(ak_array_at(NULL, 0)));
    }
    remove_folder(dir);
    ak_close(ctx);
}

static void refused(const unsigned char *bytes, size_t n, ak_status status, const char *word)
{
    ak_ctx *ctx = quiet();
    ak__idx idx;
    cr_expect_eq(ak__idx_parse(ctx, "some/file", bytes, n, &idx), status);
    expect_error(ctx, status, "some/file", word);
    ak_close(ctx);
}

Test(idx, wrong_files)
{
    unsigned char b[32];
#define FRESH memcpy(b, two_by_three, sizeof two_by_three)
    refused((const unsigned char *)"ab", 2, AK_ERR_FORMAT, "too few");
    FRESH; b[0] = 'P';
    refused(b, 18, AK_ERR_FORMAT, "begins with 50 00 08 02");
    FRESH; b[2] = 7;
    refused(b, 18, AK_ERR_FORMAT, "0x07");
    FRESH; b[3] = 9;
    refused(b, 18, AK_ERR_UNSUPPORTED, "9 axes");
    FRESH;
    refused(b, 11, AK_ERR_FORMAT, "header");
    refused(b, 17, AK_ERR_FORMAT, "cut off");
    b[18] = 0;
    refused(b, 19, AK_ERR_FORMAT, "6 bytes, but 7 follow");
    FRESH; memset(b + 4, 0xff, 8);                      /* 2^64 elements */
    refused(b, 18, AK_ERR_FORMAT, "cut off");
#undef FRESH
}

Test(idx, missing_folder_truncated_gzip)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    cr_expect_null(ak_idx_read(ctx, path_in(dir, "none")));
    expect_error(ctx, AK_ERR_NOT_FOUND, "/none", "no such file");
    cr_expect_null(ak_idx_read(ctx, dir));
    expect_error(ctx, AK_ERR_IO, dir, "folder");
    cr_expect_null(ak_idx_read(ctx, ""));
    expect_error(ctx, AK_ERR_VALUE, "path", "empty");

    unsigned char file[256];
    put_gzip(path_in(dir, "x"), two_by_three, sizeof two_by_three);
    const size_t n = get_file(path_in(dir, "x"), file, sizeof file);
    for (size_t cut = 2; cut < n; cut++) {
        put_file(path_in(dir, "cut"), file, cut);
        cr_expect_null(ak_idx_read(ctx, path_in(dir, "cut")));
        expect_error(ctx, AK_ERR_FORMAT, "/cut", "cut off, fetch it again");
    }
    file[n - 6] ^= 1;                                   /* the checksum */
    put_file(path_in(dir, "bad"), file, n);
    cr_expect_null(ak_idx_read(ctx, path_in(dir, "bad")));
    expect_error(ctx, AK_ERR_FORMAT, "/bad", "damaged");
    file[n - 6] ^= 1;
    memset(file + n, 0, 100);                           /* as tapes pad */
    put_file(path_in(dir, "padded"), file, n + 100);
    const ak_array *padded = ak_idx_read(ctx, path_in(dir, "padded"));
    cr_expect(ak_array_at(padded, 5) == 6, "%s", ak_error_message(ctx));
    file[n + 50] = 'x';
    put_file(path_in(dir, "padded"), file, n + 100);
    cr_expect_null(ak_idx_read(ctx, path_in(dir, "padded")));
    expect_error(ctx, AK_ERR_FORMAT, "/padded", "100 bytes follow");
    file[n] = 'x';
    put_file(path_in(dir, "long"), file, n + 1);
    cr_expect_null(ak_idx_read(ctx, path_in(dir, "long")));
    expect_error(ctx, AK_ERR_FORMAT, "/long", "1 bytes follow");
    remove_folder(dir);
    ak_close(ctx);
}

Test(idx, out_of_memory_at_every_place)
{
    char dir[64];
    new_folder(dir);
    put_gzip(path_in(dir, "x"), two_by_three, sizeof two_by_three);
    for (uint64_t n = 1;; n++) {
        ak_ctx *ctx = quiet();
        ak_fail_alloc_after(n, false);
        const ak_array *a = ak_idx_read(ctx, path_in(dir, "x"));
        ak_fail_alloc_after(0, false);
        const ak_status status = ak_close(ctx);
        cr_assert((a != NULL) == (status == AK_OK), "allocation %d: %s", (int)n,
                  ak_status_name(status));
        if (a)
            break;
        cr_expect_eq(status, AK_ERR_MEMORY);
        cr_assert_lt(n, 100);
    }
    remove_folder(dir);
}

Test(file, atomic_write)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "f"), "first", 5), AK_OK);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "f"), "second", 6), AK_OK);
    unsigned char got[16];
    cr_expect_eq(get_file(path_in(dir, "f"), got, sizeof got), 6);
    cr_expect_eq(memcmp(got, "second", 6), 0);
    cr_expect_eq(count_files(dir), 1);

    ak__writer w;                                       /* given up: the old file stays */
    cr_expect_eq(ak__writer_open(ctx, &w, path_in(dir, "f")), AK_OK);
    cr_expect_eq(ak__writer_put(&w, "half", 4), AK_OK);
    cr_expect_eq(count_files(dir), 2);
    ak__writer_abort(&w);
    cr_expect_eq(count_files(dir), 1);
    cr_expect_eq(get_file(path_in(dir, "f"), got, sizeof got), 6);

    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "no/such"), "x", 1), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, "no/such", "folder exists");
    cr_expect_eq(ak__file_write_atomic(ctx, dir, "x", 1), AK_ERR_IO);   /* a folder is there */
    expect_error(ctx, AK_ERR_IO, dir, "is a folder");
    remove_folder(dir);
    ak_close(ctx);
}

/* The header's word bounds what is unpacked. */
Test(idx, packed_bomb)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const size_t   n = 64u << 20;
    unsigned char *file = calloc(1, n);
    cr_assert_not_null(file);
    memcpy(file, (unsigned char[]){ 0, 0, 8, 1, 0, 0, 0, 5 }, 8);
    put_gzip(path_in(dir, "x"), file, (unsigned)n);
    const size_t packed = get_file(path_in(dir, "x"), file, n);
    file[packed - 5] ^= 1;      /* damage near the end is not seen: nothing reads so far */
    put_file(path_in(dir, "x"), file, packed);
    cr_expect_null(ak_idx_read(ctx, path_in(dir, "x")));
    expect_error(ctx, AK_ERR_FORMAT, "/x", "more than the 13 bytes that its header announces");
    /* A plain one of a terabyte that takes no room on the disk. */
    put_file(path_in(dir, "y"), (unsigned char[]){ 0, 0, 8, 1, 0, 0, 0, 5 }, 8);
    if (truncate(path_in(dir, "y"), (off_t)1 << 40) == 0) {
        cr_expect_null(ak_idx_read(ctx, path_in(dir, "y")));
        expect_error(ctx, AK_ERR_FORMAT, "has 1099511627776 bytes", "announces 13");
    }
    free(file);
    remove_folder(dir);
    ak_close(ctx);
}

static void expect_content(const char *path, const char *text)
{
    unsigned char got[64];
    const size_t  n = get_file(path, got, sizeof got - 1);
    got[n] = 0;
    cr_expect_str_eq((const char *)got, text, "%s", path);
}

Test(file, only_regular_files_are_replaced)
{
    ak_ctx     *ctx = quiet();
    char        dir[64];
    struct stat s;
    const char *fifo = path_in(new_folder(dir), "fifo");
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_expect_eq(ak__file_write_atomic(ctx, fifo, "x", 1), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, fifo, "is a FIFO");
    cr_expect(stat(fifo, &s) == 0 && S_ISFIFO(s.st_mode));
    cr_expect_eq(ak__file_write_atomic(ctx, "/dev/null", "x", 1), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, "/dev/null", "is a device");
    cr_expect_eq(count_files(dir), 1);
    remove_folder(dir);
    ak_close(ctx);
}

Test(file, links_are_followed)
{
    ak_ctx *ctx = quiet();
    char    dir[64], other[64], to[128];
    new_folder(dir);
    new_folder(other);
    snprintf(to, sizeof to, "%s/target", other);
    put_file(to, "old", 3);
    cr_assert_eq(chmod(to, 0640), 0);
    cr_assert_eq(symlink(to, path_in(dir, "link")), 0);
    cr_assert_eq(symlink("link", path_in(dir, "relative")), 0);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "relative"), "new", 3), AK_OK);
    expect_content(to, "new");
    struct stat s;
    cr_expect(lstat(path_in(dir, "link"), &s) == 0 && S_ISLNK(s.st_mode));
    cr_expect(lstat(path_in(dir, "relative"), &s) == 0 && S_ISLNK(s.st_mode));
    cr_expect(stat(to, &s) == 0 && (s.st_mode & 0777) == 0640, "permissions stay");
    cr_expect(count_files(dir) == 2 && count_files(other) == 1);
    /* to a file that is still to be made, and in a circle */
    unlink(to);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "link"), "made", 4), AK_OK);
    expect_content(to, "made");
    cr_assert_eq(symlink("circle", path_in(dir, "circle")), 0);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "circle"), "x", 1), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, "/circle", "links");
    remove_folder(dir);
    remove_folder(other);
    ak_close(ctx);
}

Test(file, protected_files_stay)
{
    if (geteuid() == 0)
        cr_skip_test("root may write everything");
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    put_file(path_in(dir, "f"), "old", 3);
    cr_assert_eq(chmod(path_in(dir, "f"), 0444), 0);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "f"), "x", 1), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, "/f", "protected");
    expect_content(path_in(dir, "f"), "old");
    remove_folder(dir);
    ak_close(ctx);
}

/* A child opens a writer of `path`, says so, and waits until it is killed. */
static pid_t waiting_writer(const char *path)
{
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        ak__writer w;
        ak_ctx    *ctx = quiet();
        ak__writer_open(ctx, &w, path);
        ak__writer_put(&w, "half", 4);
        (void)!write(ready[1], "r", 1);
        for (;;)
            pause();
    }
    char r;
    cr_assert_eq(read(ready[0], &r, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

Test(file, what_killed_writers_left_is_removed)
{
    ak_ctx *ctx = quiet();
    char    dir[64], name[96];
    new_folder(dir);
    const pid_t child = waiting_writer(path_in(dir, "f"));
    /* Names that look alike and are no temporary file of "f"; one of a process that still runs. */
    put_file(path_in(dir, "f.tmp-1-"), "x", 1);
    put_file(path_in(dir, "f.tmp-x-1"), "x", 1);
    put_file(path_in(dir, "g.tmp-1-1"), "x", 1);
    snprintf(name, sizeof name, "f.tmp-%ld-77", (long)getpid());        /* a number used again */
    put_file(path_in(dir, name), "x", 1);
    cr_expect_eq(count_files(dir), 5);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "f"), "one", 3), AK_OK);
    cr_expect_eq(count_files(dir), 5, "the living writer's file stays, the other goes");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_expect_eq(ak__file_write_atomic(ctx, path_in(dir, "f"), "two", 3), AK_OK);
    cr_expect_eq(count_files(dir), 4);
    expect_content(path_in(dir, "f"), "two");
    remove_folder(dir);
    ak_close(ctx);
}

/* Started without standard input, output and errors: what the program prints goes nowhere. */
Test(file, closed_standard_files)
{
    char dir[64];
    new_folder(dir);
    put_file(path_in(dir, "in"), two_by_three, sizeof two_by_three);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        ak_ctx *ctx = quiet();
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        ak__writer w;
        bool good = ak__writer_open(ctx, &w, path_in(dir, "f")) == AK_OK && w.fd > 2;
        for (int fd = 0; fd < 3; fd++)
            good = write(fd, "garbage", 7) < 0 && good;
        good = ak__writer_put(&w, "data", 4) == AK_OK && good;
        good = ak__writer_commit(&w) == AK_OK && good;
        good = ak_idx_read(ctx, path_in(dir, "in")) && good;
        good = fcntl(ak__open_file(path_in(dir, "in"), O_RDONLY), F_GETFD) == FD_CLOEXEC && good;
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_content(path_in(dir, "f"), "data");
    remove_folder(dir);
}

Test(file, disk_full_leaves_nothing)
{
    if (access("/dev/full", W_OK) != 0)
        cr_skip_test("no /dev/full here");
    ak_ctx    *ctx = quiet();
    char       dir[64];
    ak__writer w;
    new_folder(dir);
    put_file(path_in(dir, "f"), "old", 3);
    cr_assert_eq(ak__writer_open(ctx, &w, path_in(dir, "f")), AK_OK);
    const int full = open("/dev/full", O_WRONLY);
    cr_assert_geq(dup2(full, w.fd), 0);                 /* from here on the disk is full */
    close(full);
    cr_expect_eq(ak__writer_put(&w, "new", 3), AK_ERR_IO);
    cr_expect_eq(ak__writer_commit(&w), AK_ERR_IO);
    expect_error(ctx, AK_ERR_IO, "/f", "left as it was");
    unsigned char got[8];
    cr_expect_eq(get_file(path_in(dir, "f"), got, sizeof got), 3);
    cr_expect_eq(count_files(dir), 1);
    remove_folder(dir);
    ak_close(ctx);
}
