/* SPDX-License-Identifier: Apache-2.0 */
/* What runs and studies have written, for a page: lines of JSON, of which some may be damaged. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/text.h"
#include "report/page.h"

#define TEXT_MOST 400           /* bytes of one text on a page */
#define ITEMS_MOST 500          /* of a list or an object */
#define DEPTH_MOST 4
#define STUDY_MOST 5000         /* lines of a study */
#define RUNS_MOST 200
#define FOLDERS_DEEP 3
#define FILE_MOST ((size_t)1 << 28)
#define PATH_SIZE 4096

/* ---- texts and values ------------------------------------------------------------------------ */

json_t *ak__page_string(const char *text, size_t n)
{
    char   cut[TEXT_MOST + 4];
    size_t kept = n < TEXT_MOST ? n : TEXT_MOST;
    while (kept < n && kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80)
        kept--;
    memcpy(cut, text, kept);
    strcpy(cut + kept, kept < n ? "\xe2\x80\xa6" : "");
    json_t *s = json_stringn(cut, kept < n ? kept + 3 : n);
    if (s)
        return s;
    for (size_t i = 0; i < kept; i++)       /* no UTF-8: what is ASCII in it */
        cut[i] = (unsigned char)cut[i] < 0x80 ? cut[i] : '?';
    return json_stringn(cut, kept);
}

json_t *ak__page_clip(const json_t *value, int depth)
{
    if (json_is_string(value))
        return ak__page_string(json_string_value(value), json_string_length(value));
    if (!json_is_array(value) && !json_is_object(value))
        return json_deep_copy(value);
    if (depth == 0)
        return json_string("\xe2\x80\xa6");
    size_t  i, n = 0;
    json_t *item, *copy = json_is_array(value) ? json_array() : json_object();
    if (json_is_array(value)) {
        json_array_foreach(value, i, item)
            if (n++ < ITEMS_MOST)
                json_array_append_new(copy, ak__page_clip(item, depth - 1));
        return copy;
    }
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)value, name, item)
        if (n++ < ITEMS_MOST && strlen(name) <= TEXT_MOST)
            json_object_set_new(copy, name, ak__page_clip(item, depth - 1));
    return copy;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Objects of a file, a line each, at most `most`: of more, evenly chosen ones, the last among them,
 * or the first ones. NULL: an error is recorded. */
static json_t *read_lines(ak__draft *d, const char *path, int64_t most, bool evenly)
{
    ak__bytes file = { 0 };
    if (ak__file_read(d->ctx, path, (ak__expected){ FILE_MOST, "a page takes", NULL }, &file))
        return NULL;
    json_t *all = json_array();
    int64_t number = 0, bad = 0, first_bad = 0;
    for (size_t at = 0; at < file.n; ) {
        const char *line = (const char *)file.data + at;
        const char *end = memchr(line, '\n', file.n - at);
        const size_t n = end ? (size_t)(end - line) : file.n - at;
        at += n + 1;
        number++;
        if (n == 0)
            continue;
        json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
        if (json_is_object(object)) {
            json_array_append_new(all, ak__page_clip(object, DEPTH_MOST));
        } else {
            first_bad = bad++ ? first_bad : number;
        }
        json_decref(object);
    }
    ak__bytes_free(&file);
    if (bad)
        ak__page_note(d, "%s: %lld damaged line%s left out, the first is line %lld", path,
                      (long long)bad, bad > 1 ? "s" : "", (long long)first_bad);
    const int64_t n = (int64_t)json_array_size(all);
    if (n <= most)
        return all;
    json_t *some = json_array();
    for (int64_t i = 0; i < most; i++) {
        const int64_t from = evenly ? i * (n - 1) / (most > 1 ? most - 1 : 1) : i;
        json_array_append(some, json_array_get(all, (size_t)from));
    }
    json_decref(all);
    ak__page_note(d, "%s: %lld of %lld lines are shown", path, (long long)most, (long long)n);
    return some;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool has_file(const char *folder, const char *file, char *path)
{
    return ak__format(path, PATH_SIZE, "%s/%s", folder, file) && ak__file_exists(path);
}

/* Names of folders within, each once, into `found`: those with a metrics.jsonl, "" for itself. */
static void find_runs(ak__draft *d, const char *within, int depth, json_t *found)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    if (!ak__format(folder, sizeof folder, *within ? "%s/%s" : "%s", d->folder, within))
        return;
    if (has_file(folder, "metrics.jsonl", path))
        json_array_append_new(found, json_string(within));
    DIR *dir = depth ? opendir(folder) : NULL;
    for (const struct dirent *e; dir && (e = readdir(dir)) != NULL; ) {
        struct stat s;
        char        name[PATH_SIZE];
        if (e->d_name[0] != '.' && ak__format(path, sizeof path, "%s/%s", folder, e->d_name) &&
            ak__format(name, sizeof name, "%s%s%s", within, *within ? "/" : "", e->d_name) &&
            lstat(path, &s) == 0 && S_ISDIR(s.st_mode))
            find_runs(d, name, depth - 1, found);
    }
    if (dir)
        closedir(dir);
}

/* The name that comes next behind `last` (NULL: the first). Folders have no order of their own. */
static const char *next_name(const json_t *names, const char *last)
{
    const char *best = NULL;
    size_t      i;
    json_t     *item;
    json_array_foreach(names, i, item) {
        const char *name = json_string_value(item);
        if (name && (!last || strcmp(name, last) > 0) && (!best || strcmp(name, best) < 0))
            best = name;
    }
    return best;
}

bool ak__page_runs(ak__draft *d, bool *found)
{
    json_t       *names = json_array(), *runs = json_array();
    find_runs(d, "", FOLDERS_DEEP, names);
    const int64_t count = (int64_t)json_array_size(names);
    const int64_t shown = count < RUNS_MOST ? count : RUNS_MOST;
    const char   *name = NULL;
    bool          good = true;
    if (shown < count)
        ak__page_note(d, "the first %d of %lld runs are shown", RUNS_MOST, (long long)count);
    for (int64_t i = 0; i < shown && good && (name = next_name(names, name)) != NULL; i++) {
        char    path[PATH_SIZE];
        json_t *run = json_object();
        ak__format(path, sizeof path, "%s/%s%smetrics.jsonl", d->folder, name, *name ? "/" : "");
        const int64_t most = d->lines_most / shown;
        json_t *lines = read_lines(d, path, most > 2 ? most : 2, true);
        good = lines && ak__page_put(d, run, "name", ak__page_string(name, strlen(name))) &&
               ak__page_put(d, run, "lines", lines);
        json_array_append_new(runs, run);
    }
    json_decref(names);
    *found = *found || shown > 0;
    return ak__page_put(d, d->root, "runs", runs) && good;
}

bool ak__page_study(ak__draft *d, bool *found)
{
    char path[PATH_SIZE];
    if (has_file(d->folder, "study.jsonl", path)) {
        json_t *lines = read_lines(d, path, STUDY_MOST, false);
        if (!lines || !ak__page_put(d, d->root, "study", lines))
            return false;
        *found = true;
    }
    if (!has_file(d->folder, "settings.json", path))
        return true;
    ak__bytes file = { 0 };
    if (ak__file_read(d->ctx, path, (ak__expected){ FILE_MOST, "a page takes", NULL }, &file))
        return false;
    json_t *settings = json_loadb((const char *)file.data, file.n, 0, NULL);
    ak__bytes_free(&file);
    const bool good = json_is_object(settings);
    if (!good)
        ak__page_note(d, "%s: damaged, left out", path);
    const bool put = !good || ak__page_put(d, d->root, "settings",
                                           ak__page_clip(settings, DEPTH_MOST));
    json_decref(settings);
    return put;
}
