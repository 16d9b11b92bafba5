/* SPDX-License-Identifier: Apache-2.0 */
/* The data set of one's own files: looks at all of them, leaves out what is broken, and decodes for
 * the loader's threads, or once for all. */
#include "data/files.h"

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "data/dataset.h"
#include "io/array.h"
#include "tensor/tensor_internal.h"

#include <string.h>

#define NAMED_BROKEN 5          /* in a message */

/* What the loader's threads need; context lifetime. */
typedef struct decoder {
    ak_files_options   o;
    uint8_t            background[3];
    const char *const *picture, *const *sound;      /* [n] paths */
    int                picture_slot, sound_slot;    /* -1 = none */
} decoder;

/* A set in the making. Rows are those of the items that were collected. */
typedef struct making {
    ak__items  *t;
    ak_ctx     *ctx;
    const char *folder;
    decoder    *d;
    int64_t    *row;            /* [n] rows that are left, in order */
    int64_t     n;
    char      **reason;         /* [rows of t] why one is left out, of ak__malloc; NULL: not */
    const char **named;         /* [rows] the file that the reason is about; NULL = none */
    ak_status   worst;          /* of the first reason */
    int64_t    *steps;          /* [rows] of the sound */
    int64_t     longest;
    ak__bytes   ids;            /* int32_t: tokens, row after row */
    int64_t    *tokens_at;      /* [rows] where they begin */
    int32_t    *tokens;         /* [rows] how many */
    char      **path[2];        /* [rows] of the picture and the sound */
} making;

static char no_memory[] = "out of memory";

/* Leave a row out, for the first reason that is found. Threads call it, each for rows of its
 * own. */
static void leave_out(making *m, int64_t row, const char *file, const char *why)
{
    if (m->reason[row])
        return;
    const size_t n = strlen(why) + 1;
    char        *copy = ak__malloc(n);
    if (copy)
        memcpy(copy, why, n);
    m->reason[row] = copy ? copy : no_memory;
    m->named[row] = file;
}

/* ---- what is broken -------------------------------------------------------------------------- */

static int64_t line_of(const making *m, int64_t row)
{
    return ((const int64_t *)(const void *)m->t->lines.data)[row];
}

/* "12 of 1000 items are left out: cat.png (line 3): no such file; .. and 7 more" */
static void describe(const making *m, int64_t broken, ak__text *text)
{
    const int64_t all = m->t->n;
    int64_t       named = 0;
    ak__text_add(text, "%s: %lld of %lld items %s left out: ", m->t->name, (long long)broken,
                 (long long)all, broken == 1 ? "is" : "are");
    for (int64_t i = 0; i < all && named < NAMED_BROKEN; i++) {
        if (!m->reason[i])
            continue;
        ak__text_add(text, "%s", named++ ? "; " : "");
        if (line_of(m, i))
            ak__text_add(text, "line %lld: ", (long long)line_of(m, i));
        ak__text_add(text, "%.150s%s%.120s", m->named[i] ? m->named[i] : "",
                     m->named[i] ? ": " : "", m->reason[i]);
    }
    if (broken > named)
        ak__text_add(text, "; and %lld more", (long long)(broken - named));
}

/* Take the rows without a reason. */
static ak_status sift(making *m)
{
    int64_t  kept = 0, broken = 0;
    char     buf[1400];
    ak__text text = AK__TEXT(buf);
    for (int64_t i = 0; i < m->t->n; i++)
        broken += m->reason[i] != NULL;
    for (int64_t k = 0; k < m->n; k++)
        if (!m->reason[m->row[k]])
            m->row[kept++] = m->row[k];
    m->n = kept;
    if (!broken)
        return AK_OK;
    describe(m, broken, &text);
    if (m->t->o->refuse)
        return ak_fail(m->ctx, AK_ERR_FORMAT, "%s; .refuse is set", buf);
    return kept ? AK_OK : ak_fail(m->ctx, m->worst ? m->worst : AK_ERR_FORMAT, "%s; none is left",
                                  buf);
}

/* ---- looking, and decoding once -------------------------------------------------------------- */

static char *joined(ak_ctx *ctx, const char *folder, const char *path, const char *ending)
{
    const char *front = *path == '/' ? "" : folder, *back = ending ? ending : "";
    const size_t a = strlen(front), b = strlen(path), c = strlen(back);
    char *all = ak__ctx_alloc(ctx, a + b + c + 1);
    if (!all)
        return NULL;
    memcpy(all, front, a);
    memcpy(all + a, path, b);
    memcpy(all + a + b, back, c);
    return all;
}

/* Paths of one kind. A row that names none is left out. */
static ak_status make_paths(making *m, int kind, const ak__bytes *places, const char *what)
{
    m->path[kind] = ak__ctx_alloc(m->ctx, (size_t)m->t->n * sizeof *m->path[kind]);
    for (int64_t i = 0; m->path[kind] && i < m->t->n; i++) {
        const char *text = ak__items_text(m->t, places, i);
        if (!text)
            leave_out(m, i, NULL, what);
        else if (!(m->path[kind][i] = joined(m->ctx, m->folder, text, m->t->o->ending)))
            return AK_ERR_MEMORY;
    }
    return m->path[kind] ? AK_OK : AK_ERR_MEMORY;
}

static void look_at(making *m, int64_t row)
{
    char      error[AK__LOOK_ERROR] = "";
    ak_status status = AK_OK;
    if (m->reason[row])
        return;
    if (m->t->picture) {
        status = ak__picture_look(m->path[0][row], &m->t->o->pictures, error);
        if (status)
            leave_out(m, row, m->path[0][row], error);
    }
    if (!status && m->t->sound) {
        status = ak__sound_steps(m->path[1][row], m->t->o, &m->steps[row], error);
        if (status)
            leave_out(m, row, m->path[1][row], error);
    }
    if (status == AK_ERR_STATE || status == AK_ERR_MEMORY) {
        AK__PRAGMA(omp atomic write)
        m->worst = status;
    }
}

/* Decode the pictures and sounds of row k of those that are left, to where they are kept: pictures
 * [n, H, W, C], sounds packed from their starts on. */
static void decode_row(making *m, int64_t k, uint8_t *pictures, ak_real *sounds, int64_t start,
                       int64_t width)
{
    const ak_picture_options *p = &m->t->o->pictures;
    const int64_t row = m->row[k], size = p->height * p->width * (p->channels ? p->channels : 3);
    char error[AK__LOOK_ERROR] = "";
    if (m->t->picture && !ak_picture_fill(m->path[0][row], *p, pictures + k * size, error)) {
        leave_out(m, row, NULL, error);         /* it names the file */
        return;
    }
    int64_t steps = m->steps[row];
    if (m->t->sound && ak__sound_fill(m->path[1][row], m->t->o, sounds + start * width, &steps,
                                      error))
        leave_out(m, row, m->path[1][row], error);
    else if (m->t->sound && steps != m->steps[row])
        leave_out(m, row, m->path[1][row], "has another length than its header says");
}

typedef struct store {          /* what files became */
    ak_array *picture, *sound, *steps;
    int64_t   width;            /* of a step of sound */
} store;

static int64_t sound_width(const ak_files_options *o)
{
    return o->mel ? ak_mel_settings(o->mel).mels : o->sounds.channels ? o->sounds.channels : 1;
}

static const ak_type real_type = sizeof(ak_real) == 4 ? AK_TYPE_F32 : AK_TYPE_F64;

/* Decode every file; keep the results of those that are whole. */
static ak_status decode_all(making *m, store *s)
{
    const ak_files_options *o = m->t->o;
    const ak_picture_options *p = &o->pictures;
    const int64_t channels = p->channels ? p->channels : 3, size = p->height * p->width * channels;
    int64_t       total = 0, at = 0, kept = 0;
    int64_t      *start = ak__malloc((size_t)m->n * sizeof *start);
    for (int64_t k = 0; start && k < m->n; k++) {
        start[k] = total;
        total += m->t->sound ? m->steps[m->row[k]] : 0;
    }
    if (m->t->picture)
        s->picture = ak__array_new(m->ctx, "pictures", AK_TYPE_U8,
                                   AK_SHAPE(m->n, p->height, p->width, channels));
    if (m->t->sound) {
        s->sound = ak__array_new(m->ctx, "sounds", real_type, AK_SHAPE(total, s->width));
        s->steps = ak__array_new(m->ctx, "lengths", AK_TYPE_I64, AK_SHAPE(m->n));
    }
    if (!start)
        ak__fail_memory(m->ctx, (size_t)m->n * sizeof *start);
    if (ak_error(m->ctx)) {
        ak__free(start);
        return ak_error(m->ctx);
    }
    uint8_t *pictures = s->picture ? (uint8_t *)(uintptr_t)s->picture->data : NULL;
    ak_real *sounds = s->sound ? (ak_real *)(uintptr_t)s->sound->data : NULL;
    AK__PARALLEL_FOR_DYNAMIC(k, m->n, m->n > 1)
        decode_row(m, k, pictures, sounds, start[k], s->width);
    for (int64_t k = 0; k < m->n; k++) {
        const int64_t row = m->row[k], steps = m->steps[row];
        if (m->reason[row])
            continue;
        if (pictures && kept < k)
            memcpy(pictures + kept * size, pictures + k * size, (size_t)size);
        if (sounds && kept < k)
            memmove(sounds + at * s->width, sounds + start[k] * s->width,
                    (size_t)(steps * s->width) * sizeof *sounds);
        if (s->steps)
            ((int64_t *)(uintptr_t)s->steps->data)[kept] = steps;
        at += steps;
        kept++;
    }
    ak__free(start);
    if (s->picture)
        s->picture->shape.dims[0] = kept, s->picture->size = kept * size;
    if (s->sound) {
        s->sound->shape.dims[0] = at, s->sound->size = at * s->width;
        s->steps->shape.dims[0] = s->steps->size = kept;
    }
    return sift(m);
}

/* The same without keeping anything: each thread has room for one item. */
static void check_row(making *m, int64_t k)
{
    const ak_picture_options *p = &m->t->o->pictures;
    const int64_t row = m->row[k], width = m->t->sound ? sound_width(m->t->o) : 1;
    const size_t  pixels = m->t->picture ? (size_t)(p->height * p->width *
                                                    (p->channels ? p->channels : 3)) : 1;
    const size_t  numbers = m->t->sound ? (size_t)(m->steps[row] * width) : 1;
    uint8_t      *picture = ak__malloc(pixels);
    ak_real      *sound = ak__malloc(numbers * sizeof *sound);
    if (picture && sound)
        decode_row(m, k, picture - (m->t->picture ? k * (int64_t)pixels : 0), sound, 0, width);
    else
        leave_out(m, row, NULL, no_memory);
    ak__free(picture);
    ak__free(sound);
}

/* ---- the loader's threads -------------------------------------------------------------------- */

static bool fill_item(ak_item_data *item, void *user)
{
    const decoder *d = user;
    char           error[AK__LOOK_ERROR] = "";
    if (d->picture_slot >= 0 &&
        !ak_picture_fill(d->picture[item->number], d->o.pictures, item->data[d->picture_slot],
                         item->error))
        return false;
    if (d->sound_slot >= 0 &&
        ak__sound_fill(d->sound[item->number], &d->o, item->data[d->sound_slot],
                       &item->length[d->sound_slot], error)) {
        snprintf(item->error, sizeof item->error, "%.90s: %.100s", d->sound[item->number], error);
        return false;
    }
    return true;
}

/* ---- captions -------------------------------------------------------------------------------- */

#if AK_HAVE_TOKENIZER

#define FIRST_TOKENS 256

/* Ids of the caption of a row, cut to what is wanted, into buf (which grows). -1: recorded. */
static int64_t encode(making *m, const char *text, ak__bytes *buf, int64_t *cut)
{
    const ak_files_options *o = m->t->o;
    int32_t *ids = (int32_t *)(void *)buf->data;
    int64_t  room = (int64_t)(buf->n / sizeof *ids);
    int64_t  n = ak_tokenizer_encode(o->tokenizer, text, AK_TEXT_END, ids, room);
    if (n > room) {
        if (!ak__bytes_add(m->ctx, buf, NULL, (size_t)(n - room) * sizeof *ids))
            return -1;
        ids = (int32_t *)(void *)buf->data;
        n = ak_tokenizer_encode(o->tokenizer, text, AK_TEXT_END, ids, n);
    }
    if (n < 0) {
        if (!ak_error(m->ctx))
            ak__fail_memory(m->ctx, 0);
        return -1;
    }
    if (!o->most_tokens || n <= o->most_tokens)
        return n;
    if (ids[n - 1] == ak_tokenizer_role(o->tokenizer, AK_TOKEN_END))
        ids[o->most_tokens - 1] = ids[n - 1];
    ++*cut;
    return o->most_tokens;
}

static ak_status encode_all(making *m)
{
    ak__bytes buf = { 0 };
    int64_t   cut = 0;
    bool      fine = ak__bytes_add(m->ctx, &buf, NULL, FIRST_TOKENS * sizeof(int32_t));
    for (int64_t k = 0; fine && k < m->n; k++) {
        const int64_t row = m->row[k];
        const int64_t n = encode(m, ak__items_text(m->t, &m->t->captions, row), &buf, &cut);
        if (n == 0)
            leave_out(m, row, NULL, "the caption has no tokens");
        m->tokens[row] = (int32_t)(n > 0 ? n : 0);
        m->tokens_at[row] = (int64_t)(m->ids.n / sizeof(int32_t));
        fine = n >= 0 && (n == 0 || ak__bytes_add(m->ctx, &m->ids, buf.data,
                                                  (size_t)n * sizeof(int32_t)));
    }
    ak__bytes_free(&buf);
    if (!fine)
        return ak_error(m->ctx);
    if (cut)
        ak_log_message(m->ctx, AK_LOG_INFO, "%s: %lld of %lld captions have more than %lld tokens "
                       "and were cut", m->t->name, (long long)cut, (long long)m->n,
                       (long long)m->t->o->most_tokens);
    return sift(m);
}

/* The id that captions are filled up with. */
static int32_t pad_of(const ak_tokenizer *t)
{
    const int32_t pad = ak_tokenizer_role(t, AK_TOKEN_PAD);
    return pad > 0 ? pad : 0;
}

#else

static ak_status encode_all(making *m)
{
    return ak_fail(m->ctx, AK_ERR_STATE, "%s: captions need tokenizers (akin/text.h), which this "
                   "library was built without", m->t->name);
}

static int32_t pad_of(const ak_tokenizer *t)
{
    (void)t;
    return 0;
}

#endif

/* ---- fields ---------------------------------------------------------------------------------- */

/* Values [n, width] of the rows that are left, of `size` bytes a number. */
static ak_array *rows_of(const making *m, const char *name, ak_type type, const void *from,
                         int64_t width, bool axis)
{
    const size_t size = ak_type_size(type) * (size_t)width;
    ak_array    *a = ak__array_new(m->ctx, name, type, axis ? AK_SHAPE(m->n, width)
                                                            : AK_SHAPE(m->n));
    for (int64_t k = 0; a && k < m->n; k++)
        memcpy((char *)(uintptr_t)a->data + (size_t)k * size,
               (const char *)from + (size_t)m->row[k] * size, size);
    return a;
}

/* Their tokens, one after the other. */
static ak_array *tokens_of(const making *m)
{
    const int32_t *from = (const int32_t *)(const void *)m->ids.data;
    int64_t        total = 0, at = 0;
    for (int64_t k = 0; k < m->n; k++)
        total += m->tokens[m->row[k]];
    ak_array *a = ak__array_new(m->ctx, "captions", AK_TYPE_I32, AK_SHAPE(total));
    for (int64_t k = 0; a && k < m->n; at += m->tokens[m->row[k]], k++)
        memcpy((int32_t *)(uintptr_t)a->data + at, from + m->tokens_at[m->row[k]],
               (size_t)m->tokens[m->row[k]] * sizeof *from);
    return a;
}

static const char *const *paths_of(const making *m, int kind)
{
    const char **paths = ak__ctx_alloc(m->ctx, (size_t)m->n * sizeof *paths);
    for (int64_t k = 0; paths && k < m->n; k++)
        paths[k] = m->path[kind][m->row[k]];
    return paths;
}

/* Pictures and sounds: kept, or to be decoded. */
static int add_files(making *m, const store *s, ak_field *f)
{
    const ak_files_options   *o = m->t->o;
    const ak_picture_options *p = &o->pictures;
    decoder *d = m->d;
    int      n = 0;
    if (m->t->picture) {
        f[n] = (ak_field){ "picture", AK_FIELD_PICTURE, .array = s->picture,
                           .borrowed = o->cache, .bytes = !o->cache,
                           .shape = AK_SHAPE(p->height, p->width, p->channels ? p->channels : 3) };
        d->picture_slot = o->cache ? -1 : n;
        d->picture = paths_of(m, 0);
        n++;
    }
    if (m->t->sound) {
        f[n] = (ak_field){ "sound", AK_FIELD_SEQUENCE, .array = s->sound, .lengths = s->steps,
                           .packed = o->cache, .borrowed = o->cache,
                           .shape = AK_SHAPE(m->longest, s->width) };
        d->sound_slot = o->cache ? -1 : n;
        d->sound = paths_of(m, 1);
        n++;
    }
    return n;
}

/* Fields with values. `classes` and `names` are those of the labels. */
static int add_values(making *m, ak_field *f, int64_t *classes, const char *const **names)
{
    ak__items *t = m->t;
    int        n = 0;
    if (t->caption && t->o->tokenizer) {
        f[n++] = (ak_field){ "caption", AK_FIELD_TOKENS, .array = tokens_of(m),
                             .lengths = rows_of(m, "lengths", AK_TYPE_I32, m->tokens, 1, false),
                             .packed = true, .borrowed = true, .pad = pad_of(t->o->tokenizer),
                             .tokenizer = t->o->tokenizer };
    }
    if (t->columns > 0)
        f[n++] = (ak_field){ "numbers", AK_FIELD_NUMBERS,
                             .array = rows_of(m, t->o->numbers, AK_TYPE_F64, t->numbers.data,
                                              t->columns, true) };
    if (t->label) {
        const int32_t *labels = ak__labels_finish(&t->labels, classes, names);
        if (labels)
            f[n++] = (ak_field){ "label", AK_FIELD_LABELS, .borrowed = true,
                                 .array = rows_of(m, "labels", AK_TYPE_I32, labels, 1, false) };
    }
    if (t->id) {
        int64_t            count;
        const char *const *none;
        const int32_t     *ids = ak__labels_finish(&t->ids, &count, &none);
        if (ids)
            f[n++] = (ak_field){ "id", AK_FIELD_ID, .borrowed = true,
                                 .array = rows_of(m, "ids", AK_TYPE_I32, ids, 1, false) };
    }
    return n;
}

static ak_dataset *make_set(making *m, const store *s)
{
    ak_field fields[8] = { 0 };
    int64_t  classes = 0;
    const char *const *names = NULL;
    char     what[512];
    int      n = add_files(m, s, fields);
    n += add_values(m, fields + n, &classes, &names);
    if (ak_error(m->ctx))
        return NULL;
    ak__format(what, sizeof what, m->n < m->t->n ? "%.400s, %lld of %lld items" : "%.400s",
               m->t->name, (long long)m->n, (long long)m->t->n);
    const bool  asks = m->d->picture_slot >= 0 || m->d->sound_slot >= 0;
    ak_dataset *ds = asks ? ak_dataset_callback(m->ctx, what, m->n, fields, fill_item, m->d)
                          : ak_dataset_fields(m->ctx, what, fields);
    if (ds && names)
        ak__dataset_classes_named(ds, classes, names);
    return ds;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static ak_status look_at_all(making *m)
{
    const ak__items *t = m->t;
    ak_status        status = AK_OK;
    if (t->picture)
        status = make_paths(m, 0, &t->pictures, "names no picture");
    if (!status && t->sound)
        status = make_paths(m, 1, &t->sounds, "names no sound");
    for (int64_t i = 0; !status && t->caption && i < t->n; i++)
        if (!m->reason[i] && !ak__items_text(t, &t->captions, i))
            leave_out(m, i, NULL, "has no caption");
    if (status)
        return status;
    AK__PARALLEL_FOR_DYNAMIC(i, t->n, t->n > 1 && (t->picture || t->sound))
        look_at(m, i);
    status = sift(m);
    if (!status && t->o->check && !t->o->cache) {
        AK__PARALLEL_FOR_DYNAMIC(k, m->n, m->n > 1)
            check_row(m, k);
        status = sift(m);
    }
    return status;
}

static ak_dataset *build(making *m)
{
    const ak_files_options *o = m->t->o;
    store       s = { .width = m->t->sound ? sound_width(o) : 1 };
    ak_status   status = look_at_all(m);
    if (!status && m->t->caption && o->tokenizer)
        status = encode_all(m);
    if (!status && o->cache && (m->t->picture || m->t->sound))
        status = decode_all(m, &s);
    if (status)
        return NULL;
    m->longest = 1;
    for (int64_t k = 0; m->t->sound && k < m->n; k++)
        m->longest = m->steps[m->row[k]] > m->longest ? m->steps[m->row[k]] : m->longest;
    ak_dataset *ds = make_set(m, &s);
    const int64_t broken = m->t->n - m->n;
    if (ds && broken) {
        char     buf[1400];
        ak__text text = AK__TEXT(buf);
        describe(m, broken, &text);
        ak_log_message(m->ctx, AK_LOG_WARNING, "%s", buf);
    }
    if (ds && o->left_out)
        *o->left_out = broken;
    return ds;
}

/* Zeroed memory for n things of `size` bytes; NULL: recorded. */
static void *zeroed(ak_ctx *ctx, int64_t n, size_t size)
{
    void *p = ak__malloc((size_t)n * size);
    if (p)
        memset(p, 0, (size_t)n * size);
    else
        ak__fail_memory(ctx, (size_t)n * size);
    return p;
}

ak_dataset *ak__items_dataset(ak__items *t, const char *folder)
{
    const int64_t n = t->n;
    making m = { .t = t, .ctx = t->ctx, .folder = folder, .n = n,
                 .d = ak__ctx_alloc(t->ctx, sizeof *m.d),
                 .row = zeroed(t->ctx, n, sizeof *m.row),
                 .reason = zeroed(t->ctx, n, sizeof *m.reason),
                 .named = zeroed(t->ctx, n, sizeof *m.named),
                 .steps = zeroed(t->ctx, n, sizeof *m.steps),
                 .tokens_at = zeroed(t->ctx, n, sizeof *m.tokens_at),
                 .tokens = zeroed(t->ctx, n, sizeof *m.tokens) };
    ak_dataset *ds = NULL;
    if (!ak_error(t->ctx)) {
        *m.d = (decoder){ .o = *t->o, .picture_slot = -1, .sound_slot = -1 };
        if (t->o->pictures.background) {
            memcpy(m.d->background, t->o->pictures.background, sizeof m.d->background);
            m.d->o.pictures.background = m.d->background;
        }
        for (int64_t i = 0; i < n; i++)
            m.row[i] = i;
        ds = build(&m);
    }
    for (int64_t i = 0; m.reason && i < n; i++)
        if (m.reason[i] != no_memory)
            ak__free(m.reason[i]);
    ak__free(m.row);
    ak__free(m.reason);
    ak__free(m.named);
    ak__free(m.steps);
    ak__free(m.tokens_at);
    ak__free(m.tokens);
    ak__bytes_free(&m.ids);
    return ds;
}
