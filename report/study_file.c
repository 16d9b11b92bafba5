/* SPDX-License-Identifier: Apache-2.0 */
/* study.jsonl: what was measured. The file is written whole, beside and renamed, after every run:
 * a kill or a full disk leaves the one before it. Items of a run are in its own folder. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/io.h>

#include "base/base.h"
#include "base/text.h"
#include "io/file.h"
#include "report/json_text.h"
#include "report/study_inside.h"

/* ---- records --------------------------------------------------------------------------------- */

ak__record *ak__study_add(ak__study *s, ak__record record)
{
    ak__record *r = ak__ctx_alloc(s->ctx, sizeof *r);
    if (!r)
        return NULL;
    *r = record;
    r->arm = ak__ctx_strdup(s->ctx, record.arm);
    r->measure = ak__ctx_strdup(s->ctx, record.measure);
    r->protocol = ak__ctx_strdup(s->ctx, record.protocol ? record.protocol : "");
    r->folder = ak__ctx_strdup(s->ctx, record.folder);
    if (!r->arm || !r->measure || !r->protocol || !r->folder)
        return NULL;
    r->next = NULL;
    *s->last = r;
    s->last = &r->next;
    return r;
}

const ak__record *ak__study_find(const ak__study *s, int arm, int seed, const char *measure)
{
    const uint64_t    key = ak__study_key(s, arm, seed);
    const ak__record *found = NULL;
    for (const ak__record *r = s->records; r; r = r->next)
        if (!r->choice && r->key == key && strcmp(r->measure, measure) == 0)
            found = r;              /* the newest */
    return found;
}

/* ---- items ----------------------------------------------------------------------------------- */

bool ak__study_items(ak__study *s, const ak__record *r, double *to)
{
    char path[AK__STUDY_PATH];
    if (!ak__format(path, sizeof path, "%s/%s/items.npz", s->folder, r->folder)) {
        ak_fail(s->ctx, AK_ERR_VALUE, "study: the path of %s is too long", r->folder);
        return false;
    }
    /* A context of its own: arrays are gone when it closes, its errors are told in one line. */
    ak_ctx *ctx = ak_open((ak_options){ .quiet = true });
    if (!ctx)
        return ak__fail_memory(s->ctx, 1) == AK_OK;
    ak_on_error(ctx, NULL, NULL);
    ak_npz         *npz = ak_npz_open(ctx, path);
    const ak_array *a = npz ? ak_npz_find(npz, r->measure) : NULL;
    bool good = a && a->type == AK_TYPE_F64 && a->size == r->n;
    for (int64_t i = 0; good && i < r->n; i++) {
        to[i] = ((const double *)a->data)[i];
        good = isfinite(to[i]);
    }
    if (!good)
        ak_fail(s->ctx, AK_ERR_FORMAT, "%s: the %lld items of %s are not there as they were "
                "written%s%s", path, (long long)r->n, r->measure,
                ak_error(ctx) ? ": " : "", ak_error(ctx) ? ak_error_message(ctx) : "");
    ak_close(ctx);
    return good;
}

bool ak__study_done(ak__study *s, int arm, int seed)
{
    for (int i = 0; i < s->measures; i++) {
        const ak__record *r = ak__study_find(s, arm, seed, s->what->measures[i].name);
        if (!r)
            return false;
        if (r->n == 0)
            continue;
        double    *items = ak__malloc((size_t)r->n * sizeof *items);
        const bool good = items && ak__study_items(s, r, items);
        ak__free(items);
        if (good)
            continue;
        fprintf(stderr, "study %s: %s; the run is made again\n", s->name,
                items ? ak_error_message(s->ctx) : "out of memory");
        ak_step_end(s->ctx);
        return false;
    }
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool number(const json_t *object, const char *name, double *value)
{
    const json_t *v = json_object_get(object, name);
    if (json_is_number(v)) {
        *value = json_number_value(v);
        return true;
    }
    const char *text = json_string_value(v);
    if (!text || (strcmp(text, "inf") != 0 && strcmp(text, "-inf") != 0))
        return false;
    *value = *text == '-' ? -(double)INFINITY : (double)INFINITY;
    return true;
}

static bool whole(const json_t *object, const char *name, int64_t least, int64_t most,
                  int64_t *value)
{
    const json_t *v = json_object_get(object, name);
    *value = json_integer_value(v);
    return json_is_integer(v) && *value >= least && *value <= most;
}

static bool plain(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/');
}

/* What the line says besides these; its own checksum guards against a digit that was changed. */
static bool parse(const json_t *line, ak__record *r)
{
    const char *key = json_string_value(json_object_get(line, "key"));
    int64_t     seed;
    char       *end = NULL;
    r->arm = json_string_value(json_object_get(line, "arm"));
    r->measure = json_string_value(json_object_get(line, "measure"));
    r->protocol = json_string_value(json_object_get(line, "protocol"));
    r->folder = json_string_value(json_object_get(line, "folder"));
    if (!key || !r->arm || !r->measure || !r->protocol || !r->folder || strlen(key) != 16)
        return false;
    r->key = strtoull(key, &end, 16);
    if (*end || !whole(line, "seed", 1, 1000000, &seed) || !number(line, "value", &r->value) ||
        !isfinite(r->value) || !whole(line, "n", 0, INT64_MAX / 16, &r->n))
        return false;
    r->seed = (int)seed;
    return r->choice || (plain(r->folder) && number(line, "lo", &r->lo) &&
                         number(line, "hi", &r->hi) && number(line, "seconds", &r->seconds) &&
                         number(line, "megabytes", &r->megabytes));
}

/* One line; false if it is damaged. Lines of other events are made anew. */
static bool read_line(ak__study *s, const char *text, size_t n)
{
    static const char mark[] = ",\"sum\":\"";
    const size_t tail = sizeof mark - 1 + 16 + 2;       /* ,"sum":"0123456789abcdef"} */
    json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (!line)
        return false;
    const char *event = json_string_value(json_object_get(line, "event"));
    ak__record  r = { 0 };
    r.choice = event && strcmp(event, "choice") == 0;
    bool good = event != NULL;
    if (event && (r.choice || strcmp(event, "result") == 0 || strcmp(event, "outdated") == 0)) {
        char sum[24];
        /* "outdated" is a result whose key is not today's: the event is no part of the sum */
        const char *from = n > tail ? memchr(text, ',', n) : NULL;
        good = from && memcmp(text + n - tail, mark, sizeof mark - 1) == 0;
        if (good) {
            const size_t kept = (size_t)(text + n - tail - from);
            ak__format(sum, sizeof sum, "%016" PRIx64, ak__hash_bytes(AK__HASH_START, from, kept));
            good = strncmp(text + n - 18, sum, 16) == 0 && parse(line, &r);
        }
        good = good && ak__study_add(s, r);
    }
    json_decref(line);
    return good;
}

ak_status ak__study_read(ak__study *s)
{
    char      path[AK__STUDY_PATH];
    ak__bytes all = { 0 };
    ak__format(path, sizeof path, "%s/study.jsonl", s->folder);
    if (!ak__file_exists(path))
        return AK_OK;
    if (ak__file_read_raw(s->ctx, path, &all))
        return ak_error(s->ctx);
    int number_of = 0;
    for (size_t at = 0; at < all.n && !ak_error(s->ctx); ) {
        const char *text = (const char *)all.data + at;
        const char *end = memchr(text, '\n', all.n - at);
        const size_t n = end ? (size_t)(end - text) : all.n - at;
        number_of++;
        if (n && (!end || !read_line(s, text, n)) && !ak_error(s->ctx))
            fprintf(stderr, "study %s: %s, line %d is damaged and left out; a run whose result it "
                    "was is made again\n", s->name, path, number_of);
        at += n + 1;
    }
    ak__bytes_free(&all);
    return ak_error(s->ctx);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_sum(ak__json *j, size_t start)
{
    char         sum[24];
    const char  *line = (const char *)j->text.data + start;
    const size_t n = j->failed ? 0 : j->text.n - start;
    const char  *from = n ? memchr(line, ',', n) : NULL;
    if (!from)
        return;
    ak__format(sum, sizeof sum, "%016" PRIx64,
               ak__hash_bytes(AK__HASH_START, from, n - (size_t)(from - line)));
    ak__json_text(j, "sum", sum);
}

static void begin(ak__json *j, const char *event)
{
    j->some = false;                /* lines are no members of each other */
    ak__json_open(j, NULL);
    ak__json_text(j, "event", event);
}

static void put_record(ak__study *s, ak__json *j, const ak__record *r)
{
    const int    arm = ak__study_arm_index(s, r->arm);
    const bool   now = arm >= 0 && ak__study_key(s, arm, r->seed) == r->key;
    const size_t start = j->text.n;
    char         key[24];
    ak__format(key, sizeof key, "%016" PRIx64, r->key);
    begin(j, r->choice ? "choice" : now ? "result" : "outdated");
    ak__json_text(j, "arm", r->arm);
    ak__json_number(j, "seed", r->seed);
    ak__json_text(j, "measure", r->measure);
    ak__json_number(j, "value", r->value);
    if (!r->choice) {
        ak__json_number(j, "lo", r->lo);
        ak__json_number(j, "hi", r->hi);
    }
    ak__json_number(j, "n", (double)r->n);
    ak__json_text(j, "protocol", r->protocol);
    ak__json_text(j, "folder", r->folder);
    if (!r->choice) {
        ak__json_number(j, "seconds", r->seconds);
        ak__json_number(j, "megabytes", r->megabytes);
    }
    ak__json_text(j, "key", key);
    put_sum(j, start);
    ak__json_close(j);
}

/* A list of objects by hand: ak__json has members only. */
static void put_raw(ak__json *j, const char *text)
{
    j->failed = j->failed || !ak__bytes_add(j->ctx, &j->text, text, strlen(text));
}

static void put_head(ak__study *s, ak__json *j)
{
    begin(j, "study");
    ak__json_text(j, "name", s->name);
    ak__json_text(j, "settings", s->what->settings ? s->what->settings : "");
    ak__json_bool(j, "quick", s->quick);
    put_raw(j, ",\"measures\":[");
    for (int i = 0; i < s->measures; i++) {
        const ak_study_measure *m = &s->what->measures[i];
        j->some = i > 0;
        ak__json_open(j, NULL);
        ak__json_text(j, "name", m->name);
        ak__json_text(j, "unit", m->unit ? m->unit : "");
        ak__json_number(j, "scale", m->scale == 0 ? 1 : m->scale);
        ak__json_bool(j, "higher_is_better", !m->lower_is_better);
        ak__json_close(j);
    }
    put_raw(j, "],\"arms\":[");
    for (int i = 0; i < s->arms; i++) {         /* names are plain: letters, digits, _ and - */
        put_raw(j, i ? ",\"" : "\"");
        put_raw(j, s->what->arms[i].name);
        put_raw(j, "\"");
    }
    put_raw(j, "]");
    j->some = true;
    ak__json_text(j, "baseline", s->what->arms[s->baseline].name);
    ak__json_close(j);
}

static void put_summary(ak__study *s, ak__json *j, int arm, const char *measure)
{
    double values[1024];
    int    n = 0;
    for (int seed = 1; seed <= s->seeds; seed++) {
        const ak__record *r = ak__study_find(s, arm, seed, measure);
        if (r && n < 1024)
            values[n++] = r->value;
    }
    if (n == 0)
        return;
    const ak_measure m = ak_measure_seeds(s->ctx, values, n, 0);
    begin(j, "summary");
    ak__json_text(j, "arm", s->what->arms[arm].name);
    ak__json_text(j, "measure", measure);
    ak__json_number(j, "mean", m.value);
    ak__json_number(j, "lo", m.lo);
    ak__json_number(j, "hi", m.hi);
    ak__json_number(j, "seeds", n);
    ak__json_close(j);
}

static void put_claim(ak__study *s, ak__json *j, const ak_study_claim *c)
{
    const ak__verdict v = ak__study_judge(s, c);
    begin(j, "claim");
    ak__json_text(j, "name", c->name);
    ak__json_text(j, "text", c->text ? c->text : "");
    ak__json_bool(j, "shown", v.shown);
    ak__json_number(j, "estimate", v.possible ? v.estimate : (double)NAN);
    ak__json_number(j, "lo", v.possible ? v.lo : (double)NAN);
    ak__json_number(j, "hi", v.possible ? v.hi : (double)NAN);
    ak__json_number(j, "p", v.possible ? v.p : (double)NAN);
    ak__json_number(j, "margin", c->margin);
    ak__json_close(j);
}

ak_status ak__study_write(ak__study *s, bool complete)
{
    char path[AK__STUDY_PATH];
    ak__format(path, sizeof path, "%s/study.jsonl", s->folder);
    ak__json j = { .ctx = s->ctx };
    put_head(s, &j);
    for (const ak__record *r = s->records; r; r = r->next)
        put_record(s, &j, r);
    for (int i = 0; complete && i < s->measures; i++)
        for (int arm = 0; arm < s->arms; arm++)
            put_summary(s, &j, arm, s->what->measures[i].name);
    for (int i = 0; complete && i < s->claims; i++)
        put_claim(s, &j, &s->what->claims[i]);
    const ak_status status = j.failed ? AK_ERR_MEMORY
        : ak__file_write_atomic(s->ctx, path, j.text.data, j.text.n);
    ak__json_free(&j);
    return status;
}
