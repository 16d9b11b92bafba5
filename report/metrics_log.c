/* SPDX-License-Identifier: Apache-2.0 */
/* Run folders: a new one for every run, its settings, its measurements as lines of JSON. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <akin/report.h>
#include <akin/tensor.h>

#include "base/base.h"

extern char **environ;

#define PATH_SIZE 1024
#define MAX_RUNS 100000     /* of one name */

struct ak_run {
    ak_ctx *ctx;
    char   *folder;
    json_t *settings;       /* NULL once written */
    FILE   *metrics;
    double  opened;
    bool    resumed;
};

static void run_close(void *obj)
{
    ak_run *run = obj;
    json_decref(run->settings);
    run->settings = NULL;
    if (run->metrics)
        fclose(run->metrics);
    run->metrics = NULL;
}

/* parent/name for number 1, parent/name-2, .. */
static bool numbered(char *path, const char *parent, const char *name, int number)
{
    const int n = number == 1 ? snprintf(path, PATH_SIZE, "%s/%s", parent, name)
                              : snprintf(path, PATH_SIZE, "%s/%s-%d", parent, name, number);
    return n > 0 && n < PATH_SIZE - 64;     /* room for file names */
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
    if (!run || !ak__at_close(ctx, run_close, run))
        return NULL;
    run->ctx = ctx;
    run->folder = ak__ctx_strdup(ctx, path);
    run->resumed = resumed;
    run->opened = ak__now();
    run->settings = json_object();
    if (run->folder && !run->settings)
        ak__fail_memory(ctx, 256);
    return run->folder && run->settings ? run : NULL;
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
        snprintf(path, size, "%s/%s", run->folder, file);
    return path;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* A number, true, false, or text. */
static json_t *value_of(const char *text)
{
    char *end;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return json_boolean(*text == 't');
    const long long whole = strtoll(text, &end, 10);
    if (*text && !*end && text[strspn(text, "-0123456789")] == '\0')
        return json_integer(whole);
    const double real = strtod(text, &end);
    if (*text && !*end && isfinite(real) && strspn(text, "+-.0123456789eE") == strlen(text))
        return json_real(real);
    json_t *string = json_string(text);
    return string ? string : json_string("(not UTF-8)");
}

ak_status ak_run_setting(ak_run *run, const char *name, const char *format, ...)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, name) || !AK__GIVEN(run->ctx, format))
        return ak__refused(NULL);
    if (!run->settings)
        return ak_fail(run->ctx, AK_ERR_STATE, "run %s: setting %s comes after the first log line, "
                       "when settings are written", run->folder, name);
    if (json_object_get(run->settings, name))
        return ak_fail(run->ctx, AK_ERR_VALUE, "run %s: setting %s is given twice", run->folder,
                       name);
    char text[PATH_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (json_object_set_new(run->settings, name, value_of(text)) != 0)
        return ak__fail_memory(run->ctx, sizeof text);
    return AK_OK;
}

/* AK_* of the environment. */
static json_t *environment(void)
{
    json_t *all = json_object();
    for (char **e = environ; *e; e++) {
        const char *equal = strchr(*e, '=');
        char name[80];
        if (strncmp(*e, "AK_", 3) != 0 || !equal || equal - *e >= (int)sizeof name)
            continue;
        memcpy(name, *e, (size_t)(equal - *e));
        name[equal - *e] = '\0';
        json_object_set_new(all, name, value_of(equal + 1));
    }
    return all;
}

static void describe_library(const ak_run *run)
{
    char now[40] = "";
    const time_t seconds = time(NULL);
    struct tm utc;
    if (gmtime_r(&seconds, &utc))
        strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *akin = json_pack("{s:s, s:I, s:s, s:b, s:i, s:i, s:s}", "version", ak_version(), "seed",
                             (json_int_t)run->ctx->seed, "cpu", ak_cpu_name(), "exact_conv",
                             (int)ak_exact_conv(run->ctx), "threads", ak_threads(), "real_bits",
                             AK_REAL_BITS, "time", now);
    json_object_set_new(run->settings, "akin", akin);
    json_object_set_new(run->settings, "environment", environment());
}

/* settings.json; of a resumed run the first free settings-resumed.json, settings-resumed-2.json */
static ak_status write_settings(ak_run *run)
{
    char path[PATH_SIZE + 80];
    FILE *file = NULL;
    for (int i = 0; i < MAX_RUNS && !file; i++) {
        if (!run->resumed)
            snprintf(path, sizeof path, "%s/settings.json", run->folder);
        else if (i == 0)
            snprintf(path, sizeof path, "%s/settings-resumed.json", run->folder);
        else
            snprintf(path, sizeof path, "%s/settings-resumed-%d.json", run->folder, i + 1);
        file = fopen(path, "wx");           /* fails if it is there */
        if (!file && (errno != EEXIST || !run->resumed))
            break;
    }
    if (!file)
        return ak_fail(run->ctx, AK_ERR_IO, "%s: can not be written: %s", path, strerror(errno));
    describe_library(run);
    bool good = json_dumpf(run->settings, file, JSON_INDENT(4) | JSON_REAL_PRECISION(10)) == 0;
    good = fputc('\n', file) != EOF && good;
    good = fclose(file) == 0 && good;
    json_decref(run->settings);
    run->settings = NULL;
    if (!good)
        return ak_fail(run->ctx, AK_ERR_IO, "%s: writing failed: %s", path, strerror(errno));
    return AK_OK;
}

/* ---- measurements ---------------------------------------------------------------------------- */

static json_t *number(double value)
{
    if (!isfinite(value))
        return json_null();
    const bool whole = fabs(value) < 9e15 && value == floor(value);
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

ak_status ak_run_log(ak_run *run, const char *event, const char *detail, const ak_value *values)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, event) ||
        !AK__GIVEN(run->ctx, values))
        return ak__refused(NULL);
    if (run->settings) {
        const ak_status status = write_settings(run);
        if (status != AK_OK)
            return status;
    }
    char path[PATH_SIZE + 80], hash[16];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run->folder);
    if (!run->metrics && !(run->metrics = fopen(path, "a")))
        return ak_fail(run->ctx, AK_ERR_IO, "%s: can not be written: %s", path, strerror(errno));
    json_t *line = json_object();
    json_object_set_new(line, "event", json_string(event));
    if (detail)
        json_object_set_new(line, "detail", json_string(detail));
    int n = 0;
    while (n <= AK__LIST_MAX && values[n].name)
        n++;
    if (n > AK__LIST_MAX) {
        json_decref(line);
        return ak_fail(run->ctx, AK_ERR_VALUE, "run_log: more than %d values: does the list end "
                       "with { 0 }?", AK__LIST_MAX);
    }
    for (const ak_value *v = values; v->name; v++)
        json_object_set_new(line, v->name, number(v->value));
    json_object_set_new(line, "seconds", json_real(ak__now() - run->opened));
    snprintf(hash, sizeof hash, "%08x", (unsigned)ak_hash(run->ctx, "*"));
    json_object_set_new(line, "hash", json_string(hash));
    if (!line)
        return ak__fail_memory(run->ctx, sizeof path);
    bool good = json_dumpf(line, run->metrics, JSON_COMPACT | JSON_REAL_PRECISION(10)) == 0;
    good = fputc('\n', run->metrics) != EOF && good;
    good = fflush(run->metrics) == 0 && good;
    json_decref(line);
    if (!good)
        return ak_fail(run->ctx, AK_ERR_IO, "%s: writing failed: %s", path, strerror(errno));
    return AK_OK;
}
