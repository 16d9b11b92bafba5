/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of pictures and sounds: a class is a sub-folder. */
#define _POSIX_C_SOURCE 200809L
#include "data/files.h"

#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MOST_DEPTH 32

/* Paths that were found, relative to the folder. */
typedef struct search {
    ak_ctx            *ctx;
    const char        *folder;
    const char *const *endings;
    ak__bytes          pool;        /* each ended by a zero */
    ak__bytes          places;      /* size_t [n] */
    int64_t            others;      /* files that are none */
    char               path[4096];  /* folder and what is below it, while it goes down */
} search;

static bool has_ending(const char *name, const char *const *endings)
{
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && endings[i]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static bool note(search *s, size_t root)
{
    const size_t at = s->pool.n;
    return ak__bytes_add(s->ctx, &s->pool, s->path + root, strlen(s->path + root) + 1) &&
           ak__bytes_add(s->ctx, &s->places, &at, sizeof at);
}

/* All that is below s->path, of which the first `root` bytes are the folder itself. */
static ak_status go_down(search *s, size_t root, int depth)
{
    const size_t n = strlen(s->path);
    DIR         *d = opendir(s->path);
    if (!d)
        return depth == 0 && errno == ENOENT
               ? ak_fail(s->ctx, AK_ERR_NOT_FOUND, "%s: no such folder", s->folder)
               : ak_fail(s->ctx, AK_ERR_IO, "%s: can not be read as a folder: %s", s->path,
                         strerror(errno));
    ak_status status = AK_OK;
    for (struct dirent *e; !status && (e = readdir(d)); s->path[n] = 0) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        const int more = snprintf(s->path + n, sizeof s->path - n, "/%s", e->d_name);
        if (more < 0 || (size_t)more >= sizeof s->path - n)
            status = ak_fail(s->ctx, AK_ERR_IO, "%s: a path below it is longer than %zu bytes",
                             s->folder, sizeof s->path);
        else if (stat(s->path, &st) == 0 && S_ISDIR(st.st_mode))
            status = depth < MOST_DEPTH ? go_down(s, root, depth + 1)
                     : ak_fail(s->ctx, AK_ERR_IO, "%s: is more than %d folders deep; does a link "
                               "lead back into it?", s->path, MOST_DEPTH);
        else if (!has_ending(e->d_name, s->endings))
            s->others++;
        else if (!note(s, root))
            status = AK_ERR_MEMORY;
    }
    closedir(d);
    return status;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The paths in order; of ak__malloc. */
static const char **sorted(search *s, int64_t n)
{
    const char **path = ak__malloc((size_t)n * sizeof *path);
    if (!path) {
        ak__fail_memory(s->ctx, (size_t)n * sizeof *path);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        path[i] = (const char *)s->pool.data + ((const size_t *)(const void *)s->places.data)[i];
    qsort(path, (size_t)n, sizeof *path, by_bytes);
    return path;
}

/* The name of the sub-folder that a path begins with; "-1" (unknown) for none. */
static const char *class_of(const char *path, char buf[256])
{
    const char *slash = strchr(path, '/');
    if (!slash || slash - path > 255)
        return "-1";
    memcpy(buf, path, (size_t)(slash - path));
    buf[slash - path] = 0;
    return buf;
}

static ak_status add_all(ak__items *t, const char *const *path, int64_t n)
{
    ak_status status = AK_OK;
    char      class[256];
    for (int64_t i = 0; i < n; i++)
        t->label = t->label || strchr(path[i], '/');
    t->labels.verbatim = true;           /* a folder called "007" is a name */
    for (int64_t i = 0; !status && i < n; i++)
        status = ak__items_add(t, &(ak__item_texts){
            .picture = path[i], .sound = path[i], .label = class_of(path[i], class) });
    return status;
}

static ak_dataset *from_folder(ak_ctx *ctx, search *s, const ak_files_options *o)
{
    const size_t root = (size_t)snprintf(s->path, sizeof s->path, "%s", s->folder) + 1;
    if (root > sizeof s->path / 2) {
        ak_fail(ctx, AK_ERR_VALUE, "%.60s..: the path is too long", s->folder);
        return NULL;
    }
    if (go_down(s, root, 0))
        return NULL;
    const int64_t n = (int64_t)(s->places.n / sizeof(size_t));
    if (!n) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: holds no file that ends with %s or its like (%lld "
                "others)", s->folder, s->endings[0], (long long)s->others);
        return NULL;
    }
    if (s->others)
        ak_log_message(ctx, AK_LOG_INFO, "%s: %lld other files were passed over", s->folder,
                       (long long)s->others);
    const char **path = sorted(s, n);
    ak__items    t;
    char         folder[sizeof s->path + 2];
    ak_status    status = path ? ak__items_begin(&t, ctx, s->folder, o) : AK_ERR_MEMORY;
    if (!status)
        status = add_all(&t, path, n);
    snprintf(folder, sizeof folder, "%s/", s->folder);
    ak_dataset *ds = status ? NULL : ak__items_dataset(&t, folder);
    if (path)
        ak__items_free(&t);
    ak__free(path);
    return ds;
}

static ak_dataset *open_folder(ak_ctx *ctx, const char *folder, ak_files_options o,
                               const char *const *endings)
{
    search      s = { .ctx = ctx, .folder = folder, .endings = endings };
    ak_dataset *ds = ak__files_options(ctx, folder, &o, true) ? NULL : from_folder(ctx, &s, &o);
    ak__bytes_free(&s.pool);
    ak__bytes_free(&s.places);
    return ds;
}

ak_dataset *ak_dataset_picture_folder(ak_ctx *ctx, const char *folder, ak_files_options options)
{
    static const char *const endings[] = { ".png", ".jpg", ".jpeg", NULL };
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, folder) || ak_error(ctx) ||
        ak__files_options(ctx, folder, &options, false))
        return NULL;
    options.picture = "picture";
    return open_folder(ctx, folder, options, endings);
}

ak_dataset *ak_dataset_sound_folder(ak_ctx *ctx, const char *folder, ak_files_options options)
{
    static const char *const endings[] = { ".wav", ".flac", ".ogg", ".oga", ".opus", NULL };
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, folder) || ak_error(ctx) ||
        ak__files_options(ctx, folder, &options, false))
        return NULL;
    options.sound = "sound";
    return open_folder(ctx, folder, options, endings);
}
