/* SPDX-License-Identifier: Apache-2.0 */
/* Items of one's own files while they are collected. */
#include "data/files.h"

#include "base/base.h"
#include "data/dataset.h"
#include "data/picture/picture.h"
#include "data/sound/sound.h"
#include "io/cells.h"

#include <math.h>
#include <string.h>

/* ---- options --------------------------------------------------------------------------------- */

static ak_status refuse(ak_ctx *ctx, const char *name, const char *text)
{
    return ak_fail(ctx, AK_ERR_VALUE, "%s: %s", name, text);
}

static ak_status check_sound(ak_ctx *ctx, const char *name, const ak_files_options *o)
{
    const char *wrong = ak__sound_options_fault(&o->sounds);
    if (wrong)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .sounds%s", name, wrong);
    if (!(o->most_seconds >= 0 && o->most_seconds <= 1e6))
        return refuse(ctx, name, ".most_seconds must be in (0, 1e6], or 0 for 30");
    if (!o->sounds.rate)
        return refuse(ctx, name, ".sounds.rate is needed: all sounds must have one rate");
    if (o->sounds.channels == AK_NONE)
        return refuse(ctx, name, ".sounds.channels may not be AK_NONE: all sounds must have as "
                      "many");
    if (o->sounds.seconds > 0)
        return refuse(ctx, name, ".sounds.seconds is said by .most_seconds and .cut_sounds here");
    if (o->mel && o->sounds.channels > 1)
        return refuse(ctx, name, ".mel takes one channel: .sounds.channels must be 1");
    const double rate = o->mel ? ak_mel_settings(o->mel).rate : o->sounds.rate;
    if (rate < o->sounds.rate || rate > o->sounds.rate)
        return ak_fail(ctx, AK_ERR_VALUE, "%s: .mel was made for %g samples a second, .sounds.rate "
                       "is %d", name, rate, o->sounds.rate);
    return AK_OK;
}

static ak_status check_picture(ak_ctx *ctx, const char *name, const ak_files_options *o)
{
    char error[AK__PICTURE_TEXT] = "";
    if (o->pictures.height < 1 || o->pictures.width < 1)
        return refuse(ctx, name, ".pictures.height and .width are needed: all pictures must have "
                      "one size");
    const ak_status status = ak__picture_options_check(&o->pictures, error);
    return status ? ak_fail(ctx, status, "%s: .pictures: %s", name, error) : AK_OK;
}

ak_status ak__files_options(ak_ctx *ctx, const char *name, const ak_files_options *o, bool list)
{
    const bool columns = o->picture || o->sound || o->caption || o->label || o->id || o->numbers;
    if (list && !columns)
        return refuse(ctx, name, "no column is asked for: set .picture, .caption or their like");
    if (!list && (columns || o->folder || o->ending || o->delimiter || o->no_header ||
                  o->same_captions || o->tokenizer))
        return refuse(ctx, name, "columns and what belongs to lists are set, but a folder has "
                      "none: ak_dataset_list reads a list of files");
    if (o->caption && !o->tokenizer && !o->same_captions)
        return refuse(ctx, name, ".caption needs .tokenizer, or .same_captions");
    if (!o->caption && (o->tokenizer || o->same_captions || o->most_tokens))
        return refuse(ctx, name, ".tokenizer, .most_tokens and .same_captions are for captions: "
                      ".caption is NULL");
    if (o->same_captions && o->id)
        return refuse(ctx, name, ".same_captions and .id both make the field \"id\"; choose one");
    if (o->most_tokens < 0 || o->most_tokens > INT32_MAX)
        return refuse(ctx, name, ".most_tokens must be in [1, 2^31 - 1], or 0 for no limit");
    ak_status status = ak__cells_options(ctx, name, o->delimiter, o->max_bytes);
    if (!status && o->picture)
        status = check_picture(ctx, name, o);
    if (!status && o->sound)
        status = check_sound(ctx, name, o);
    return status;
}

/* ---- collecting ------------------------------------------------------------------------------ */

ak_status ak__items_begin(ak__items *t, ak_ctx *ctx, const char *name, const ak_files_options *o)
{
    *t = (ak__items){ .ctx = ctx, .name = name, .o = o, .picture = o->picture, .sound = o->sound,
                      .caption = o->caption, .label = o->label,
                      .id = o->id || o->same_captions };
    ak_status status = ak__labels_begin(&t->labels, ctx, name, 0, o->label ? o->label : "folder",
                                        o->classes);
    if (!status)
        status = ak__labels_begin(&t->ids, ctx, name, 0, o->id ? o->id : "caption", NULL);
    t->ids.ids = true;
    t->ids.verbatim = o->same_captions;
    return status || ak__bytes_add(ctx, &t->pool, "", 1) ? status : AK_ERR_MEMORY;
}

/* A text into the pool; its place into `places`. */
static bool keep(ak__items *t, ak__bytes *places, const char *text)
{
    const int64_t at = text ? (int64_t)t->pool.n : 0;
    return (!text || ak__bytes_add(t->ctx, &t->pool, text, strlen(text) + 1)) &&
           ak__bytes_add(t->ctx, places, &at, sizeof at);
}

const char *ak__items_text(const ak__items *t, const ak__bytes *places, int64_t i)
{
    const int64_t at = ((const int64_t *)(const void *)places->data)[i];
    return at ? (const char *)t->pool.data + at : NULL;
}

/* A label or id: -1 stands for a missing one where that is allowed. */
static ak_status keep_label(ak__items *t, ak__labels *labels, const char *text, const char *what,
                            int64_t line)
{
    if (!text && !t->o->keep_missing)
        return ak_fail(t->ctx, AK_ERR_FORMAT, "%s: line %lld (\"%s\"): the %s is missing; fill it "
                       "in, delete the line, write -1 for unknown, or set .keep_missing", t->name,
                       (long long)line, labels->column, what);
    return ak__labels_add(labels, text ? text : "-1", line);
}

ak_status ak__items_add(ak__items *t, const ak__item_texts *texts)
{
    if (t->n == AK__MOST_ITEMS)
        return ak_fail(t->ctx, AK_ERR_FORMAT, "%s: has more than %d items", t->name,
                       AK__MOST_ITEMS);
    if (!ak__bytes_add(t->ctx, &t->lines, &texts->line, sizeof texts->line) ||
        (t->picture && !keep(t, &t->pictures, texts->picture)) ||
        (t->sound && !keep(t, &t->sounds, texts->sound)) ||
        (t->caption && !keep(t, &t->captions, texts->caption)) ||
        (t->columns > 0 && !ak__bytes_add(t->ctx, &t->numbers, texts->numbers,
                                          (size_t)t->columns * sizeof(double))))
        return AK_ERR_MEMORY;
    ak_status status = AK_OK;
    if (t->label)
        status = keep_label(t, &t->labels, texts->label, "label", texts->line);
    if (!status && t->o->same_captions)     /* one that is missing is left out later */
        status = ak__labels_add(&t->ids, texts->caption ? texts->caption : "", texts->line);
    else if (!status && t->id)
        status = keep_label(t, &t->ids, texts->id, "id", texts->line);
    t->n += !status;
    return status;
}

void ak__items_free(ak__items *t)
{
    ak__bytes_free(&t->pool);
    ak__bytes_free(&t->pictures);
    ak__bytes_free(&t->sounds);
    ak__bytes_free(&t->captions);
    ak__bytes_free(&t->lines);
    ak__bytes_free(&t->numbers);
    ak__labels_free(&t->labels);
    ak__labels_free(&t->ids);
}

char *ak__files_folder(ak_ctx *ctx, const char *list, const ak_files_options *o)
{
    const char  *slash = strrchr(list, '/');
    const char  *from = o->folder ? o->folder : list;
    const size_t n = o->folder ? strlen(o->folder) : slash ? (size_t)(slash - list) + 1 : 0;
    char        *folder = ak__ctx_alloc(ctx, n + 2);
    if (!folder)
        return NULL;
    memcpy(folder, from, n);
    if (n && folder[n - 1] != '/')
        folder[n] = '/';
    return folder;
}
