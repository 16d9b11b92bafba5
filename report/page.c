/* SPDX-License-Identifier: Apache-2.0 */
/* The page: a frame of HTML into which style, data and script are put. Nothing of the data becomes
 * HTML here or in the script, so no name of a class or a run can do harm. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/text.h"
#include "report/page.h"
#include "report/project.h"

#define LINES_MOST 12000        /* of metrics, at first; halved until the page is small enough */
#define PATH_SIZE 4096

void ak__page_note(ak__draft *d, const char *format, ...)
{
    char    text[PATH_SIZE];
    va_list args;
    va_start(args, format);
    ak__format_v(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(d->notes, ak__page_string(text, strlen(text)));
}

bool ak__page_put(ak__draft *d, json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) == 0)
        return true;
    if (!ak_error(d->ctx))
        ak__fail_memory(d->ctx, 0);
    return false;
}

/* ---- text of the page ------------------------------------------------------------------------ */

/* JSON between <script> and </script>: a '<' could end it, or begin a comment. */
static bool add_data(ak_ctx *ctx, ak__bytes *out, const char *json)
{
    bool good = true;
    while (good && *json) {
        const size_t n = strcspn(json, "<>&");
        good = ak__bytes_add(ctx, out, json, n);
        json += n;
        char escape[8];
        if (*json && good) {
            ak__format(escape, sizeof escape, "\\u%04x", (unsigned char)*json++);
            good = ak__bytes_add(ctx, out, escape, 6);
        }
    }
    return good;
}

static bool add_text(ak_ctx *ctx, ak__bytes *out, const char *text)
{
    bool good = true;
    for (; good && *text; text++) {
        char escape[8];
        if (strchr("<>&\"'", *text)) {
            ak__format(escape, sizeof escape, "&#%d;", *text);
            good = ak__bytes_add(ctx, out, escape, strlen(escape));
        } else {
            good = ak__bytes_add(ctx, out, text, 1);
        }
    }
    return good;
}

/* The frame, with what its {{places}} name. */
static bool compose(ak__draft *d, ak__bytes *out)
{
    char *json = json_dumps(d->root, JSON_COMPACT | JSON_REAL_PRECISION(7));
    if (!json) {
        ak__fail_memory(d->ctx, 0);
        return false;
    }
    const char *at = (const char *)ak__page_html, *end = at + ak__page_html_size;
    bool        good = true;
    while (good && at < end) {
        const char *place = at;
        while (place < end && !(end - place > 2 && place[0] == '{' && place[1] == '{'))
            place++;
        good = ak__bytes_add(d->ctx, out, at, (size_t)(place - at));
        at = place;
        if (!good || at == end)
            break;
        at += strcspn(at, "}") + 2;
        if (strncmp(place, "{{title}}", 9) == 0)
            good = add_text(d->ctx, out, json_string_value(json_object_get(d->root, "title")));
        else if (strncmp(place, "{{style}}", 9) == 0)
            good = ak__bytes_add(d->ctx, out, ak__page_css, ak__page_css_size);
        else if (strncmp(place, "{{data}}", 8) == 0)
            good = add_data(d->ctx, out, json);
        else
            good = ak__bytes_add(d->ctx, out, ak__page_js, ak__page_js_size);
    }
    void *(*take)(size_t);
    void (*give)(void *);
    json_get_alloc_funcs(&take, &give);
    give(json);
    return good;
}

/* ---- the call -------------------------------------------------------------------------------- */

static bool begin(ak__draft *d)
{
    const char *name = d->folder + strlen(d->folder);
    while (name > d->folder && (!*name || *name == '/'))
        name--;
    size_t n = *name ? 1 : 0;
    while (name > d->folder && name[-1] != '/')
        name--, n++;
    char made[80];
    ak__format(made, sizeof made, "akin %s", ak_version());
    d->root = json_object();
    d->notes = json_array();
    return d->root && d->notes && ak__page_put(d, d->root, "title", ak__page_string(name, n)) &&
           ak__page_put(d, d->root, "made", json_string(made)) &&
           ak__page_put(d, d->root, "notes", json_incref(d->notes));
}

/* Everything into `out`, with so many lines that it is small enough. */
static bool fill(ak__draft *d, ak__bytes *out)
{
    bool found = false;
    if (!ak__page_map(d, &found) || !ak__page_study(d, &found))
        return false;
    const size_t notes = json_array_size(d->notes);
    for (d->lines_most = LINES_MOST; d->lines_most > 100; d->lines_most /= 2) {
        while (json_array_size(d->notes) > notes)
            json_array_remove(d->notes, notes);
        out->n = 0;
        if (!ak__page_runs(d, &found))
            return false;
        if (!found) {
            ak_fail(d->ctx, AK_ERR_NOT_FOUND, "report: %s has no metrics.jsonl, study.jsonl or "
                    "embedding.npz, nor has a folder in it", d->folder);
            return false;
        }
        if (!compose(d, out))
            return false;
        if (out->n <= AK_PAGE_BYTES)
            return true;
    }
    ak_fail(d->ctx, AK_ERR_VALUE, "report: the page of %s would have %zu bytes, more than %d; "
            "write it of a part of the folder, or with fewer .points", d->folder, out->n,
            AK_PAGE_BYTES);
    return false;
}

/* What is handed out: copies in context lifetime. NULL: an error is recorded. */
static const ak_page *result(ak__draft *d, const char *path, size_t bytes)
{
    const size_t n = json_array_size(d->notes);
    ak_page     *page = ak__ctx_alloc(d->ctx, sizeof *page);
    char       **notes = ak__ctx_alloc(d->ctx, (n + 1) * sizeof *notes);
    bool         good = page && notes;
    for (size_t i = 0; good && i < n; i++) {
        notes[i] = ak__ctx_strdup(d->ctx, json_string_value(json_array_get(d->notes, i)));
        good = notes[i] != NULL;
    }
    if (!good)
        return NULL;
    page->path = ak__ctx_strdup(d->ctx, path);
    page->bytes = (int64_t)bytes;
    page->notes = (const char *const *)notes;
    return page->path ? page : NULL;
}

const ak_page *ak_page_write(ak_ctx *ctx, const char *folder, ak_page_options options)
{
    struct stat s;
    char        path[PATH_SIZE];
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, folder) || ak_error(ctx))
        return NULL;
    if (options.points < 0 || options.points > AK__TSNE_MOST || isnan(options.perplexity) ||
        (options.perplexity < 0 || (options.perplexity > 0 && options.perplexity <= 1))) {
        ak_fail(ctx, AK_ERR_VALUE, "report: .points = %d must be 0 to %d, .perplexity = %g above "
                "1, or 0", options.points, AK__TSNE_MOST, options.perplexity);
        return NULL;
    }
    if (stat(folder, &s) != 0 || !S_ISDIR(s.st_mode)) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "report: there is no folder %s", folder);
        return NULL;
    }
    if (options.path ? !ak__format(path, sizeof path, "%s", options.path)
                     : !ak__format(path, sizeof path, "%s/report.html", folder)) {
        ak_fail(ctx, AK_ERR_VALUE, "report: the path has more than %d bytes", PATH_SIZE);
        return NULL;
    }
    ak__draft      d = { .ctx = ctx, .folder = folder, .o = options };
    ak__bytes      out = { 0 };
    const ak_page *page = NULL;
    if (begin(&d) && fill(&d, &out) && !ak__file_write_atomic(ctx, path, out.data, out.n))
        page = result(&d, path, out.n);
    else if (!ak_error(ctx))
        ak__fail_memory(ctx, 0);
    ak__bytes_free(&out);
    json_decref(d.root);
    json_decref(d.notes);
    return page;
}
