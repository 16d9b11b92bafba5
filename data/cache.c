/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets of prepared caches: which entries, which fields, and how a value becomes numbers. */
#include "data/cache.h"

#include "base/base.h"
#include "base/text.h"
#include "data/dataset.h"
#include "io/cache_files.h"
#include "io/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- where ----------------------------------------------------------------------------------- */

/* The one folder where a cache of this name may lie; false if its path does not fit. */
static bool place(const char *name, char *buf, size_t size)
{
    const char *own = getenv("AK_DATA"), *home = getenv("HOME");
    if (strchr(name, '/'))
        return ak__format(buf, size, "%s", name);
    return own && *own ? ak__format(buf, size, "%s/%s", own, name)
                       : ak__format(buf, size, "%s/.cache/akin/%s", home ? home : "", name);
}

char *ak_cache_find(const char *name, char *buf, size_t size)
{
    char path[4096 + 32];
    if (!AK__GIVEN(NULL, name) || !AK__GIVEN(NULL, buf))
        return NULL;
    return *name && place(name, buf, size) &&
           ak__format(path, sizeof path, "%s/manifest.json", buf) && ak__file_exists(path)
        ? buf : NULL;
}

static ak__cached *open_cache(ak_ctx *ctx, const char *who, const char *name)
{
    char folder[4096] = "";
    if (ak_cache_find(name, folder, sizeof folder))
        return ak__cached_open(ctx, folder);
    if (strchr(name, '/'))
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: there is no manifest.json in the folder %s", who, name);
    else
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: there is no cache \"%s\": no manifest.json in %s\n"
                "    hint: tools/prepare %s makes it; AK_DATA names the folder of all caches", who,
                name, folder, name);
    return NULL;
}

/* ---- what is in it --------------------------------------------------------------------------- */

static double sound_seconds(const ak__cached_field *f)
{
    return f->kind == AK__CACHED_SOUND ? (double)f->values.shape.dims[0] / f->rate : 0;
}

static bool tell_splits(ak_ctx *ctx, const ak__cached *c, ak_cache_info *info)
{
    ak_cache_split *splits = ak__ctx_alloc(ctx, ((size_t)c->n_splits + 1) * sizeof *splits);
    for (int64_t i = 0; splits && i < c->n_splits; i++) {
        const ak__cached_split *from = &c->splits[i];
        ak_cache_part *parts = ak__ctx_alloc(ctx, (size_t)from->n_parts * sizeof *parts);
        if (!parts)
            return false;
        splits[i] = (ak_cache_split){ .name = from->name, .parts = parts, .n = from->n_parts,
                                      .without = c->entries };
        for (int64_t p = 0; p < from->n_parts; p++) {
            parts[p] = (ak_cache_part){ from->parts[p], from->count[p] };
            splits[i].without -= from->count[p];
        }
    }
    info->splits = splits;
    info->n_splits = c->n_splits;
    return splits != NULL;
}

const ak_cache_info *ak_cache_look(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || ak_error(ctx))
        return NULL;
    ak__cached *c = open_cache(ctx, "cache_look", name);
    if (!c)
        return NULL;
    ak_cache_info  *info = ak__ctx_alloc(ctx, sizeof *info);
    ak_cache_field *fields = ak__ctx_alloc(ctx, (size_t)c->n_fields * sizeof *fields);
    if (!info || !fields)
        return NULL;
    for (int64_t i = 0; i < c->n_fields; i++) {
        const ak__cached_field *f = &c->fields[i];
        const ak_shape          s = f->values.shape;
        fields[i] = (ak_cache_field){
            .name = f->name, .kind = (ak_cache_kind)f->kind, .entries = f->entries,
            .values = f->count, .rate = f->rate, .seconds = sound_seconds(f), .names = f->names,
            .classes = f->n_names };
        if (f->kind == AK__CACHED_PICTURE)
            fields[i].shape = AK_SHAPE(s.dims[1], s.dims[2], s.dims[3]);
    }
    *info = (ak_cache_info){
        .name = c->name, .path = c->folder, .about = c->about, .licence = c->licence,
        .recipe = c->recipe, .options = c->options, .entries = c->entries, .bytes = c->bytes,
        .fields = fields, .n_fields = c->n_fields, .packages = c->packages };
    return tell_splits(ctx, c, info) ? info : NULL;
}

/* ---- words of a list ------------------------------------------------------------------------- */

/* The next word of a list, blanks and commas between them, into buf; false at the end. What is too
 * long for buf is cut, and so is no name. */
static bool next_word(const char **list, char *buf, size_t room)
{
    *list += strspn(*list, " ,\t\n");
    size_t n = strcspn(*list, " ,\t\n");
    if (n == 0)
        return false;
    ak__format(buf, room, "%.*s", (int)(n < 200 ? n : 200), *list);
    *list += n;
    return true;
}

typedef const char *name_fn(const void *of, int64_t i);
static const char *field_name(const void *of, int64_t i)
{
    return ((const ak__cached *)of)->fields[i].name;
}

static const char *split_name(const void *of, int64_t i)
{
    return ((const ak__cached *)of)->splits[i].name;
}

static const char *part_name(const void *of, int64_t i)
{
    return ((const ak__cached_split *)of)->parts[i];
}

static const char *class_name(const void *of, int64_t i)
{
    return ((const ak__cached_field *)of)->names[i];
}


/* The number of a name; -1, and an error that lists those that are there. */
static int64_t find(const ak__cached *c, const char *what, const char *name, name_fn *at,
                    const void *of, int64_t n)
{
    char     list[300];
    ak__text all = AK__TEXT(list);
    for (int64_t i = 0; i < n; i++)
        if (strcmp(at(of, i), name) == 0)
            return i;
    for (int64_t i = 0; i < n && !all.cut; i++)
        ak__text_add(&all, "%s%s", i ? ", " : "", at(of, i));
    ak_fail(c->ctx, AK_ERR_NOT_FOUND, "dataset_cache: \"%s\" has no %s \"%s\"; it has: %s%s",
            c->name, what, name, *list ? list : "none", all.cut ? ".." : "");
    return -1;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* Those that are in none of the parts "a+b" of a split are no longer wanted. */
static bool choose_parts(const ak__cached *c, char *word, uint8_t *wanted)
{
    char *slash = strchr(word, '/');
    if (slash)
        *slash = '\0';
    const int64_t k = find(c, "split", word, split_name, c, c->n_splits);
    if (k < 0)
        return false;
    const ak__cached_split *s = &c->splits[k];
    uint8_t                 in[128] = { 0 };
    for (char *part = slash ? slash + 1 : NULL, *next; part; part = next) {
        next = strchr(part, '+');
        if (next)
            *next++ = '\0';
        const int64_t p = find(c, "part", part, part_name, s, s->n_parts);
        if (p < 0)
            return false;
        in[p] = 1;
    }
    if (!slash) {
        ak_fail(c->ctx, AK_ERR_VALUE, "dataset_cache: .split \"%s\" names no part; "
                "\"%s/%s\" does", word, word, s->parts[0]);
        return false;
    }
    for (int64_t i = 0; i < c->entries; i++) {
        const int64_t p = ak__cached_whole(&s->values, i);
        wanted[i] &= p >= 0 && p < s->n_parts && in[p];
    }
    return true;
}

static bool choose_languages(const ak__cached *c, const char *list, uint8_t *wanted)
{
    const int64_t k = find(c, "field", "language", field_name, c, c->n_fields);
    char          word[256];
    if (k < 0)
        return false;
    const ak__cached_field *f = &c->fields[k];
    if (f->kind != AK__CACHED_LABELS) {
        ak_fail(c->ctx, AK_ERR_VALUE, "dataset_cache: .languages: the field \"language\" of \"%s\" "
                "holds no labels", c->name);
        return false;
    }
    uint8_t *in = ak__ctx_alloc(c->ctx, (size_t)f->n_names);
    while (in && next_word(&list, word, sizeof word)) {
        const int64_t l = find(c, "language", word, class_name, f, f->n_names);
        if (l < 0)
            return false;
        in[l] = 1;
    }
    for (int64_t i = 0; in && i < c->entries; i++) {
        const int64_t l = ak__cached_whole(&f->values, i);
        wanted[i] &= l >= 0 && l < f->n_names && in[l];
    }
    return in != NULL;
}

static bool has_value(const ak__cached_field *f, int64_t i)
{
    if (f->kind == AK__CACHED_LABELS || f->kind == AK__CACHED_ID)
        return ak__cached_whole(&f->values, i) >= 0;
    return ak__cached_row(f, i) >= 0;
}

/* ---- a set ----------------------------------------------------------------------------------- */

/* What its callback is handed. */
typedef struct cache_set {
    ak__cached             *c;
    const ak__cached_field *field[AK_MAX_FIELDS];
    int                     n;
    int32_t                *entry;      /* [size] */
    int64_t                 size;
    const ak_tokenizer     *tokenizer;
    int64_t                 longest, samples;   /* most tokens; most samples of a sound */
    const ak_mel           *mel[AK_MAX_FIELDS];
} cache_set;

bool ak__text_tokens(const ak_tokenizer *t, const char *text, int64_t bytes, int64_t longest,
                     int32_t *ids, int64_t *length, char error[200])
{
    if (t) {
#if AK_HAVE_TOKENIZER
        *length = ak_tokenizer_encode(t, text, bytes, ids, longest);
        if (*length < 0)
            ak__format(error, 200, "the tokeniser ran out of memory");
#else
        *length = -1;
        ak__format(error, 200, "this library was built without its tokenisers");
#endif
    } else {
        *length = bytes;
        for (int64_t i = 0; i < bytes && i < longest; i++)
            ids[i] = (uint8_t)text[i];
    }
    if (*length > longest)
        *length = longest;
    return *length >= 0;
}

static bool fill_sound(const cache_set *s, int k, ak_item_data *item, const int16_t *from,
                       int64_t n)
{
    ak_real *to = item->data[k];
    n = n < s->samples ? n : s->samples;
    if (!s->mel[k]) {
        for (int64_t i = 0; i < n; i++)
            to[i] = (ak_real)from[i] / 32768;
        item->length[k] = n;
        return true;
    }
    ak_real *x = ak__malloc((size_t)(n ? n : 1) * sizeof *x);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (ak_real)from[i] / 32768;
    const bool fine = x && ak_mel_run(s->mel[k], x, n, to) == AK_OK;
    ak__free(x);
    item->length[k] = ak_mel_frames(s->mel[k], n);
    if (!fine)
        ak__format(item->error, sizeof item->error, "memory ran out");
    return fine;
}

static bool cache_fill(ak_item_data *item, void *user)
{
    const cache_set *s = user;
    for (int k = 0; k < s->n; k++) {
        const void *at;
        int64_t     n;
        if (!item->data[k])
            continue;
        if (!ak__cached_value(s->c, s->field[k], s->entry[item->number], &at, &n, item->error))
            return false;
        if (s->field[k]->kind == AK__CACHED_PICTURE)
            memcpy(item->data[k], at, (size_t)n);
        else if (s->field[k]->kind == AK__CACHED_SOUND ? !fill_sound(s, k, item, at, n)
                 : !ak__text_tokens(s->tokenizer, at, n, s->longest, item->data[k],
                                    &item->length[k], item->error))
            return false;
    }
    return true;
}

/* Fields by name, or all that every chosen entry has. */
static bool choose_fields(cache_set *s, const char *list, uint8_t *wanted)
{
    ak__cached *c = s->c;
    char        word[256];
    for (int64_t k = 0; !list && k < c->n_fields && s->n < AK_MAX_FIELDS; k++) {
        bool all = true;
        for (int64_t i = 0; all && i < c->entries; i++)
            all = !wanted[i] || has_value(&c->fields[k], i);
        if (all)
            s->field[s->n++] = &c->fields[k];
    }
    while (list && next_word(&list, word, sizeof word)) {
        const int64_t k = find(c, "field", word, field_name, c, c->n_fields);
        if (k < 0)
            return false;
        if (s->n == AK_MAX_FIELDS) {
            ak_fail(c->ctx, AK_ERR_VALUE, "dataset_cache: .fields has more than AK_MAX_FIELDS "
                    "names");
            return false;
        }
        for (int64_t i = 0; i < c->entries; i++)
            wanted[i] &= has_value(&c->fields[k], i);
        s->field[s->n++] = &c->fields[k];
    }
    return true;
}

static bool choose_entries(cache_set *s, const ak_cache_options *o)
{
    ak__cached *c = s->c;
    const char *split = o->split;
    char        word[256];
    bool        fine = true;
    uint8_t    *wanted = ak__ctx_alloc(c->ctx, (size_t)c->entries);
    if (!wanted)
        return false;
    memset(wanted, 1, (size_t)c->entries);
    while (fine && split && next_word(&split, word, sizeof word))
        fine = choose_parts(c, word, wanted);
    if (!fine || (o->languages && !choose_languages(c, o->languages, wanted)) ||
        !choose_fields(s, o->fields, wanted))
        return false;
    for (int64_t i = 0; i < c->entries; i++)
        s->size += wanted[i];
    if (s->size == 0 || s->n == 0) {
        ak_fail(c->ctx, AK_ERR_VALUE, "dataset_cache: no %s of \"%s\" is left with .split \"%s\", "
                ".languages \"%s\", .fields \"%s\"", s->size ? "field" : "entry", c->name,
                o->split ? o->split : "", o->languages ? o->languages : "",
                o->fields ? o->fields : "");
        return false;
    }
    if (!(s->entry = ak__ctx_alloc(c->ctx, (size_t)s->size * sizeof *s->entry)))
        return false;
    for (int64_t i = 0, n = 0; i < c->entries; i++)
        if (wanted[i])
            s->entry[n++] = (int32_t)i;
    return true;
}

/* How a sound becomes numbers, and the shape of the longest one. */
static bool sound_field(cache_set *s, int k, const ak_cache_options *o, ak_field *to)
{
    const double rate = s->field[k]->rate, most = floor(o->seconds * rate + 0.5);
    to->kind = AK_FIELD_SEQUENCE;
    if (s->samples && s->samples != (int64_t)most) {
        ak_fail(s->c->ctx, AK_ERR_VALUE, "dataset_cache: fields of different rates in one set");
        return false;
    }
    s->samples = (int64_t)most;
    if (o->samples) {
        to->shape = AK_SHAPE(s->samples, 1);
        return true;
    }
    s->mel[k] = o->mel ? o->mel : ak_mel_make(s->c->ctx, (ak_mel_options){
        .rate = rate, .n_fft = 400, .hop = 160, .mels = 40, .scale = AK_MEL_SLANEY,
        .norm = AK_MEL_AREA, .form = AK_MEL_LOG, .floor = 1e-6 });
    if (!s->mel[k])
        return false;
    to->shape = AK_SHAPE(ak_mel_frames(s->mel[k], s->samples),
                         ak_mel_settings(s->mel[k]).mels);
    return true;
}

/* Labels and ids of the chosen entries. */
static bool whole_field(const cache_set *s, int k, ak_field *to)
{
    const ak__cached_field *f = s->field[k];
    ak_array               *a = ak__ctx_alloc(s->c->ctx, sizeof *a);
    int32_t                *v = ak__ctx_alloc(s->c->ctx, (size_t)s->size * sizeof *v);
    if (!a || !v)
        return false;
    for (int64_t i = 0; i < s->size; i++)
        v[i] = (int32_t)ak__cached_whole(&f->values, s->entry[i]);
    *a = (ak_array){ .name = f->name, .type = AK_TYPE_I32, .shape = AK_SHAPE(s->size),
                     .size = s->size, .data = v };
    to->kind = f->kind == AK__CACHED_ID ? AK_FIELD_ID : AK_FIELD_LABELS;
    to->array = a;
    to->borrowed = true;
    to->class_names = f->names;
    return true;
}

static bool describe(cache_set *s, int k, const ak_cache_options *o, ak_field *to)
{
    const ak__cached_field *f = s->field[k];
    to->name = f->name;
    switch (f->kind) {
    case AK__CACHED_PICTURE:
        to->kind = AK_FIELD_PICTURE;
        to->shape = AK_SHAPE(f->values.shape.dims[1], f->values.shape.dims[2],
                             f->values.shape.dims[3]);
        to->bytes = true;
        return true;
    case AK__CACHED_TEXT:
        to->kind = AK_FIELD_TOKENS;
        to->shape = AK_SHAPE(s->longest);
        to->tokenizer = s->tokenizer;
        return true;
    case AK__CACHED_SOUND:
        return sound_field(s, k, o, to);
    case AK__CACHED_LABELS:
    case AK__CACHED_ID:
        break;
    }
    return whole_field(s, k, to);
}

ak_dataset *ak_dataset_cache(ak_ctx *ctx, const char *name, ak_cache_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || ak_error(ctx))
        return NULL;
    o.longest = o.longest ? o.longest : AK__LONGEST;
    o.seconds = o.seconds > 0 || o.seconds < 0 || isnan(o.seconds) ? o.seconds : 3;
    if (o.longest < 1 || o.longest > 1 << 20 || !(o.seconds > 0 && o.seconds <= 3600) ||
        (o.samples && o.mel)) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_cache: .longest %lld must be in [1, 2^20], .seconds %g "
                "in (0, 3600], and .mel is not for .samples", (long long)o.longest, o.seconds);
        return NULL;
    }
    ak__cached *c = open_cache(ctx, "dataset_cache", name);
    cache_set  *s = c ? ak__ctx_alloc(ctx, sizeof *s) : NULL;
    ak_field    fields[AK_MAX_FIELDS + 1] = { 0 };
    char        what[600];
    if (!s)
        return NULL;
    s->c = c;
    s->tokenizer = o.tokenizer;
    s->longest = o.longest;
    if (!choose_entries(s, &o))
        return NULL;
    for (int k = 0; k < s->n; k++)
        if (!describe(s, k, &o, &fields[k]))
            return NULL;
    ak__format(what, sizeof what, "%s%s%s%s%s%s, from %s", c->name, o.split ? ", " : "",
               o.split ? o.split : "", o.languages ? " (" : "", o.languages ? o.languages : "",
               o.languages ? ")" : "", c->folder);
    return ak_dataset_callback(ctx, what, s->size, fields, cache_fill, s);
}

/* ---- texts ----------------------------------------------------------------------------------- */

const char *ak_dataset_text(const ak_dataset *ds, const char *field, int64_t item, int64_t *bytes)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field) || !AK__GIVEN(ds->ctx, bytes) ||
        ak_error(ds->ctx))
        return NULL;
    const ak__field *f = ak__dataset_field(ds, "dataset_text", field);
    if (!f)
        return NULL;
    const ak__part   *part = &ds->part[f->part];
    const ak__source *source = f->slot >= 0 ? part->source : NULL;
    char              error[200];
    if (item < 0 || item >= ds->size) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_text: \"%s\" has %lld items, there is no item "
                "%lld", ds->name, (long long)ds->size, (long long)item);
        return NULL;
    }
    const int64_t row = ak__row_of(part, item);
    const void   *text = NULL;
    if (source && f->kind == AK_FIELD_TOKENS && source->fill == cache_fill) {
        const cache_set *s = source->user;
        if (ak__cached_value(s->c, s->field[f->slot], s->entry[row], &text, bytes, error))
            return text;
        ak_fail(ds->ctx, AK_ERR_IO, "dataset_text: %s", error);
        return NULL;
    }
    if (source && f->kind == AK_FIELD_TOKENS && source->fill == ak__scene_fill) {
        const char *caption = ak__scene_text(source->user, f->slot, row);
        *bytes = (int64_t)strlen(caption);
        return caption;
    }
    ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_text: field \"%s\" of \"%s\" holds no texts of a cache "
            "or of scenes", field, ds->name);
    return NULL;
}
