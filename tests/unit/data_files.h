/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the tests of io/ and data/: a quiet context, temporary folders, small files. */
#ifndef AK_TESTS_DATA_FILES_H
#define AK_TESTS_DATA_FILES_H

#include <akin/core.h>

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static inline ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* A new folder; buf holds its name. */
static inline char *new_folder(char buf[64])
{
    snprintf(buf, 64, "/tmp/akin-test-XXXXXX");
    cr_assert_not_null(mkdtemp(buf));
    return buf;
}

static inline const char *path_in(const char *dir, const char *name)
{
    static char paths[4][512];
    static int  next;
    char       *p = paths[next++ & 3];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static inline void put_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static inline void put_gzip(const char *path, const void *bytes, unsigned n)
{
    gzFile f = gzopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(gzwrite(f, bytes, n), (int)n);
    gzclose(f);
}

static inline size_t get_file(const char *path, unsigned char *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    const size_t n = fread(bytes, 1, room, f);
    fclose(f);
    return n;
}

/* Files in a folder. */
static inline int count_files(const char *dir)
{
    DIR *d = opendir(dir);
    int  n = 0;
    cr_assert_not_null(d);
    for (struct dirent *e; (e = readdir(d)); )
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    cr_assert_not_null(d);
    for (struct dirent *e; (e = readdir(d)); )
        if (e->d_name[0] != '.')
            unlink(path_in(dir, e->d_name));
    closedir(d);
    rmdir(dir);
}

/* The step failed with this status and a message that contains each of the words. */
static inline void expect_error(ak_ctx *ctx, ak_status status, const char *word, const char *other)
{
    cr_expect_eq(ak_error(ctx), status, "%s: %s", ak_status_name(ak_error(ctx)),
                 ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), word), "no \"%s\" in: %s", word,
              ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), other), "no \"%s\" in: %s", other,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

#endif
