/* SPDX-License-Identifier: Apache-2.0 */
/* Run folders: a new one for every run, its settings, its measurements as lines of JSON. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <akin/report.h>
#include <akin/tensor.h>

#include "base/base.h"
#include "base/text.h"
#include "io/file.h"
#include "report/json_text.h"
#include "report/run_inside.h"

extern char **environ;

#define PATH_SIZE 1024
#define MAX_RUNS 100000     /* of one name */

typedef struct setting {
    const char     *name, *text;
    struct setting *next;
} setting;

struct ak_run {
    ak_ctx  *ctx;
    char    *folder;
    setting *settings, **last;
    bool     described;     /* settings.json is written */
    int      metrics;       /* file, -1 = not open */
    double   opened;
    bool     resumed;
};

static void run_close(void *obj)
{
    ak_run *run = obj;
    if (run->metrics >= 0)
        close(run->metrics);
    run->metrics = -1;
}

/* parent/name for number 1, parent/name-2, .. */
static bool numbered(char *path, const char *parent, const char *name, int number)
{
    const size_t room = PATH_SIZE - 64;     /* some is left for file names */
    return number == 1 ? ak__format(path, room, "%s/%s", parent, name)
                       : ak__format(path, room, "%s/%s-%d", parent, name, number);
}

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* mkdir -p */
static bool make_folders(const char *path)
{
    char part[PATH_SIZE];
    for (size_t i = 1; i <= strlen(path) && i < sizeof part; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

/* The newest folder of this name into path; false if there is none. */
static bool newest(char *path, const char *parent, const char *name)
{
    char next[PATH_SIZE];
    int number = 1;
    while (number < MAX_RUNS && numbered(next, parent, name, number) && exists(next))
        number++;
    return number > 1 && numbered(path, parent, name, number - 1);
}

/* Make the first free folder; mkdir itself tells whether it is free, so two programs that start at
 * once get two folders. */
static bool make_next(char *path, const char *parent, const char *name)
{
    for (int number = 1; number < MAX_RUNS && numbered(path, parent, name, number); number++) {
        if (mkdir(path, 0777) == 0)
            return true;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

static bool good_name(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/') && strlen(name) < 200;
}

ak_run *ak_run_open(ak_ctx *ctx, const char *name, ak_run_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    if (!good_name(name)) {
        ak_fail(ctx, AK_ERR_VALUE, "run: the name '%s' is not one path component",
                name ? name : "");
        return NULL;
    }
    const char *parent = options.parent ? options.parent : ak_env_text("AK_RUNS", "runs");
    char path[PATH_SIZE] = "";
    const bool resumed = options.resume && newest(path, parent, name);
    if (!resumed && (!make_folders(parent) || !make_next(path, parent, name))) {
        ak_fail(ctx, AK_ERR_IO, "run: folder %s/%s can not be made: %s", parent, name,
                strerror(errno));
        return NULL;
    }
    ak_run *run = ak__ctx_alloc(ctx, sizeof *run);
    if (!run)
        return NULL;
    run->metrics = -1;
    if (!ak__at_close(ctx, run_close, run))
        return NULL;
    run->ctx = ctx;
    run->folder = ak__ctx_strdup(ctx, path);
    run->resumed = resumed;
    run->opened = ak__now();
    run->last = &run->settings;
    return run->folder ? run : NULL;
}

const char *ak_run_folder(const ak_run *run)
{
    if (!AK__GIVEN(NULL, run))
        return "";
    return run->folder;
}

bool ak_run_resumed(const ak_run *run)
{
    if (!AK__GIVEN(NULL, run))
        return false;
    return run && run->resumed;
}

const char *ak_run_path(ak_run *run, const char *file)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, file))
        return NULL;
    const size_t size = strlen(run->folder) + strlen(file) + 2;
    char *path = ak__ctx_alloc(run->ctx, size);
    if (path)
        ak__format(path, size, "%s/%s", run->folder, file);
    return path;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* A text of any length in context lifetime; NULL: out of memory, recorded. */
static char *formatted(ak_ctx *ctx, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const locale_t before = ak__plain_begin();
    const int      n = vsnprintf(NULL, 0, format, args);
    ak__plain_end(before);
    char *text = ak__ctx_alloc(ctx, n < 0 ? 1 : (size_t)n + 1);
    if (text)
        ak__format_v(text, n < 0 ? 1 : (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

ak_status ak_run_setting(ak_run *run, const char *name, const char *format, ...)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, name) || !AK__GIVEN(run->ctx, format))
        return ak__refused(NULL);
    if (run->described)
        return ak_fail(run->ctx, AK_ERR_STATE, "run %s: setting %s comes after the first log line, "
                       "when settings are written", run->folder, name);
    if (strcmp(name, "akin") == 0 || strcmp(name, "environment") == 0)
        return ak_fail(run->ctx, AK_ERR_VALUE, "run %s: the setting %s is made by the library; "
                       "take another name", run->folder, name);
    for (const setting *s = run->settings; s; s = s->next)
        if (strcmp(s->name, name) == 0)
            return ak_fail(run->ctx, AK_ERR_VALUE, "run %s: setting %s is given twice",
                           run->folder, name);
    setting *s = ak__ctx_alloc(run->ctx, sizeof *s);
    va_list  args;
    va_start(args, format);
    if (s) {
        s->name = ak__ctx_strdup(run->ctx, name);
        s->text = formatted(run->ctx, format, args);
    }
    va_end(args);
    if (!s || !s->name || !s->text)
        return AK_ERR_MEMORY;
    *run->last = s;
    run->last = &s->next;
    return AK_OK;
}

/* AK_* of the environment. */
static void put_environment(ak__json *j)
{
    ak__json_open(j, "environment");
    for (char **e = environ; *e && !j->failed; e++) {
        const char *equal = strchr(*e, '=');
        if (strncmp(*e, "AK_", 3) != 0 || !equal)
            continue;
        const size_t n = (size_t)(equal - *e);
        char        *name = ak__malloc(n + 1);
        if (!name) {
            ak__fail_memory(j->ctx, n + 1);
            j->failed = true;
            break;
        }
        memcpy(name, *e, n);
        name[n] = '\0';
        ak__json_setting(j, name, equal + 1);
        ak__free(name);
    }
    ak__json_close(j);
}

static void put_library(ak__json *j)
{
    char         now[40] = "", seed[24];
    const time_t seconds = time(NULL);
    struct tm    utc;
    if (gmtime_r(&seconds, &utc))
        strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    ak__format(seed, sizeof seed, "%" PRIu64, j->ctx->seed);
    ak__json_open(j, "akin");
    ak__json_text(j, "version", ak_version());
    ak__json_setting(j, "seed", seed);
    ak__json_text(j, "cpu", ak_cpu_name());
    ak__json_bool(j, "exact_conv", ak_exact_conv(j->ctx));
    ak__json_number(j, "threads", ak_threads());
    ak__json_number(j, "real_bits", AK_REAL_BITS);
    ak__json_text(j, "time", now);
    ak__json_close(j);
}

/* settings.json; of a resumed run, where that is there, the first free settings-resumed.json,
 * settings-resumed-2.json */
static bool settings_path(const ak_run *run, char *path, size_t room)
{
    ak__format(path, room, "%s/settings.json", run->folder);
    if (!exists(path))
        return true;
    if (!run->resumed)
        return false;
    ak__format(path, room, "%s/settings-resumed.json", run->folder);
    for (int i = 2; exists(path); i++) {
        if (i > MAX_RUNS)
            return false;
        ak__format(path, room, "%s/settings-resumed-%d.json", run->folder, i);
    }
    return true;
}

static ak_status write_settings(ak_run *run)
{
    char path[PATH_SIZE + 80];
    if (!settings_path(run, path, sizeof path))
        return ak_fail(run->ctx, AK_ERR_IO, "%s: is there already; settings are never written over",
                       path);
    ak__json j = { .ctx = run->ctx, .indent = 4 };
    ak__json_open(&j, NULL);
    for (const setting *s = run->settings; s; s = s->next)
        ak__json_setting(&j, s->name, s->text);
    put_library(&j);
    put_environment(&j);
    ak__json_close(&j);
    const ak_status status = j.failed ? AK_ERR_MEMORY
                                      : ak__file_write_atomic(run->ctx, path, j.text.data,
                                                              j.text.n);
    ak__json_free(&j);
    run->described = status == AK_OK;
    return status;
}

ak_status ak__run_describe(ak_run *run)
{
    return run->described ? AK_OK : write_settings(run);
}

/* ---- measurements ---------------------------------------------------------------------------- */

static ak_status log_fail(const ak_run *run, const char *path, const char *what)
{
    return ak_fail(run->ctx, AK_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

static ak_status open_log(ak_run *run, const char *path)
{
    struct stat s;
    run->metrics = ak__open_file(path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK);
    if (run->metrics < 0 || fstat(run->metrics, &s) != 0)
        return log_fail(run, path, "cannot be written");
    if (S_ISREG(s.st_mode))
        return AK_OK;
    run_close(run);
    return ak_fail(run->ctx, AK_ERR_IO, "%s: is %s; only a regular file can be written", path,
                   ak__file_kind(s.st_mode));
}

/* Cut what stands behind the last end of a line: the rest of a write that a full disk or a kill has
 * cut short. Returns the file's size, -1 with errno. */
static off_t mend_log(int fd)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return -1;
    off_t end = s.st_size;
    for (char block[4096]; end > 0; ) {
        const size_t  n = end < (off_t)sizeof block ? (size_t)end : sizeof block;
        const ssize_t got = pread(fd, block, n, end - (off_t)n);
        if (got != (ssize_t)n) {
            errno = got < 0 ? errno : EIO;
            return -1;
        }
        size_t kept = n;
        while (kept > 0 && block[kept - 1] != '\n')
            kept--;
        end -= (off_t)(n - kept);
        if (kept)
            break;
    }
    return end == s.st_size || ftruncate(fd, end) == 0 ? end : -1;
}

static ak_status append_line(ak_run *run, const char *path, const ak__bytes *line)
{
    if (run->metrics < 0 && open_log(run, path))
        return ak_error(run->ctx);
    const off_t size = mend_log(run->metrics);
    if (size < 0)
        return log_fail(run, path, "its last line cannot be examined");
    if (ak__write_all(run->metrics, line->data, line->n))
        return AK_OK;
    const int why = errno;
    if (ftruncate(run->metrics, size) != 0) {
        /* the next line mends it */
    }
    errno = why;
    return log_fail(run, path, "writing failed");
}

/* Every name once, and none that the line has by itself. */
static ak_status check_values(const ak_run *run, const ak_value *values)
{
    static const char *const own[] = { "event", "detail", "seconds", "hash" };
    for (const ak_value *v = values; v->name; v++) {
        bool taken = false;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            taken = taken || strcmp(own[i], v->name) == 0;
        for (const ak_value *w = values; w < v; w++)
            taken = taken || strcmp(w->name, v->name) == 0;
        if (taken)
            return ak_fail(run->ctx, AK_ERR_VALUE, "run %s: the line has a \"%s\" already; take "
                           "another name", run->folder, v->name);
    }
    return AK_OK;
}

ak_status ak_run_log(ak_run *run, const char *event, const char *detail, const ak_value *values)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, event) || !AK__GIVEN(run->ctx, values))
        return ak__refused(NULL);
    int n = 0;
    while (n <= AK__LIST_MAX && values[n].name)
        n++;
    if (n > AK__LIST_MAX)
        return ak_fail(run->ctx, AK_ERR_VALUE, "run_log: more than %d values: does the list end "
                       "with { 0 }?", AK__LIST_MAX);
    if (check_values(run, values) || ak__run_describe(run))
        return ak_error(run->ctx);
    char     path[PATH_SIZE + 80], hash[16];
    ak__json j = { .ctx = run->ctx };
    ak__format(path, sizeof path, "%s/metrics.jsonl", run->folder);
    ak__format(hash, sizeof hash, "%08" PRIx32, ak_hash(run->ctx, "~*"));
    ak__json_open(&j, NULL);
    ak__json_text(&j, "event", event);
    if (detail)
        ak__json_text(&j, "detail", detail);
    for (const ak_value *v = values; v->name; v++)
        ak__json_number(&j, v->name, v->value);
    ak__json_number(&j, "seconds", ak__now() - run->opened);
    ak__json_text(&j, "hash", hash);
    ak__json_close(&j);
    const ak_status status = j.failed ? AK_ERR_MEMORY : append_line(run, path, &j.text);
    ak__json_free(&j);
    return status;
}
