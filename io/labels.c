/* SPDX-License-Identifier: Apache-2.0 */
/* Labels of a table. What they are (numbers or names) is known when all have been seen, so each
 * different text is kept once, with the line where it came first, and rows hold its number. */
#include "io/labels.h"

#include "base/base.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

typedef struct label_text { size_t at; int64_t line; } label_text;

static int32_t count(const ak__labels *l)
{
    return (int32_t)(l->texts.n / sizeof(label_text));
}

static const label_text *entry(const ak__labels *l, int32_t i)
{
    return (const label_text *)(const void *)l->texts.data + i;
}

static const char *text_at(const ak__labels *l, int32_t i)
{
    return (const char *)l->pool.data + entry(l, i)->at;
}

/* ---- different texts ------------------------------------------------------------------------- */

/* The slot of a text in the table: its own, or a free one. */
static int32_t *slot(const ak__labels *l, const char *text)
{
    int32_t     *slots = (int32_t *)(void *)l->table.data;
    const size_t mask = l->table.n / sizeof *slots - 1;
    size_t       i = (size_t)ak__hash_bytes(AK__HASH_START, text, strlen(text)) & mask;
    while (slots[i] && strcmp(text_at(l, slots[i] - 1), text) != 0)
        i = (i + 1) & mask;
    return &slots[i];
}

/* At least half of the slots stay free. */
static bool grow(ak__labels *l)
{
    const size_t slots = l->table.n / sizeof(int32_t);
    if (2 * (size_t)count(l) + 2 < slots)
        return true;
    l->table.n = 0;
    const size_t bytes = (slots ? 2 * slots : 64) * sizeof(int32_t);
    if (!ak__bytes_add(l->ctx, &l->table, NULL, bytes))
        return false;
    memset(l->table.data, 0, bytes);
    for (int32_t i = 0; i < count(l); i++)
        *slot(l, text_at(l, i)) = i + 1;
    return true;
}

/* The number of a text, which is a new one if there is none yet; -1: out of memory, recorded. */
static int32_t number_of(ak__labels *l, const char *text, int64_t line)
{
    if (!grow(l))
        return -1;
    int32_t *place = slot(l, text);
    if (*place)
        return *place - 1;
    const label_text new = { .at = l->pool.n, .line = line };
    if (!ak__bytes_add(l->ctx, &l->pool, text, strlen(text) + 1) ||
        !ak__bytes_add(l->ctx, &l->texts, &new, sizeof new))
        return -1;
    *place = count(l);
    return count(l) - 1;
}

/* ---- reading --------------------------------------------------------------------------------- */

ak_status ak__labels_begin(ak__labels *l, ak_ctx *ctx, const char *file, int64_t place,
                           const char *column, const char *const *classes)
{
    *l = (ak__labels){ .ctx = ctx, .file = file, .column = column, .place = place };
    for (int32_t i = 0; classes && classes[i]; i++) {
        if (i >= AK__MAX_TEXT_CLASSES)
            return ak_fail(ctx, AK_ERR_VALUE, "%s: .classes has more than %d names; does the list "
                           "end with NULL?", file, AK__MAX_TEXT_CLASSES);
        const int32_t number = number_of(l, classes[i], 0);
        if (number < 0)
            return AK_ERR_MEMORY;
        if (number < i)
            return ak_fail(ctx, AK_ERR_VALUE, "%s: .classes names \"%s\" twice", file, classes[i]);
        l->given = i + 1;
    }
    return classes && !l->given ? ak_fail(ctx, AK_ERR_VALUE, "%s: .classes is an empty list", file)
                                : AK_OK;
}

static ak_status label_fail(const ak__labels *l, int64_t line, const char *text, const char *what)
{
    return ak_fail(l->ctx, AK_ERR_FORMAT, "%s: line %lld, column %lld (\"%s\"): the label \"%.40s\""
                   " %s", l->file, (long long)line, (long long)l->place, l->column, text, what);
}

/* -1 in whatever spelling. */
static bool is_unknown(const char *text)
{
    double x;
    return *text == '-' && ak__decimal(text, &x) && !(x < -1) && !(x > -1);
}

static ak_status no_class(const ak__labels *l, const char *text, int64_t line)
{
    char     what[400];
    ak__text t = AK__TEXT(what);
    ak__text_add(&t, "is none of the %d classes of .classes: ", (int)l->given);
    for (int32_t i = 0; i < l->given && i < 8; i++)
        ak__text_add(&t, "%s%.40s", i ? ", " : "", text_at(l, i));
    ak__text_add(&t, "%s; correct it, or write -1 for unknown", l->given > 8 ? ", .." : "");
    return label_fail(l, line, text, what);
}

ak_status ak__labels_add(ak__labels *l, const char *text, int64_t line)
{
    const int32_t number = number_of(l, text, line);
    if (number < 0)
        return AK_ERR_MEMORY;
    if (l->given && number >= l->given && !is_unknown(text))
        return no_class(l, text, line);
    return ak__bytes_add(l->ctx, &l->rows, &number, sizeof number) ? AK_OK : AK_ERR_MEMORY;
}

/* ---- the result ------------------------------------------------------------------------------ */

static bool is_class(double x)
{
    return x >= -1 && x <= INT32_MAX && !(x > floor(x));
}

/* Is every label a number? Of ids: one that can stay as it is. */
static bool all_numbers(const ak__labels *l)
{
    double x;
    for (int32_t i = 0; i < count(l); i++)
        if (!ak__decimal(text_at(l, i), &x) || (l->ids && !is_class(x)))
            return false;
    return !l->verbatim;
}

/* Labels that are numbers stay what they are, or are refused. */
static ak_status take_numbers(const ak__labels *l, int32_t *class, int64_t *classes)
{
    *classes = 0;
    for (int32_t i = 0; i < count(l); i++) {
        double x = 0;
        ak__decimal(text_at(l, i), &x);
        if (!is_class(x))
            return label_fail(l, entry(l, i)->line, text_at(l, i),
                              "is no class number: whole numbers from 0 to 2147483647 are, and -1 "
                              "for unknown; if these are names, list them in .classes");
        class[i] = (int32_t)x;
        if (class[i] >= *classes)
            *classes = (int64_t)class[i] + 1;
    }
    return AK_OK;
}

/* Names are numbered in order, those given first; -1 is unknown among names, too. */
static ak_status take_names(const ak__labels *l, int32_t *class, int64_t *classes)
{
    *classes = 0;
    for (int32_t i = 0; i < count(l); i++) {
        const char *text = text_at(l, i);
        if (i >= l->given && !(l->ids && l->verbatim) && is_unknown(text)) {
            class[i] = -1;
            continue;
        }
        if (*classes == AK__MAX_TEXT_CLASSES && !l->ids)
            return ak_fail(l->ctx, AK_ERR_FORMAT, "%s: line %lld: more than %d different labels in "
                           "column \"%s\"; is it the right column?", l->file,
                           (long long)entry(l, i)->line, AK__MAX_TEXT_CLASSES, l->column);
        class[i] = (int32_t)(*classes)++;
    }
    return AK_OK;
}

static const char *const *copy_names(const ak__labels *l, const int32_t *class, int64_t classes)
{
    const char **names = ak__ctx_alloc(l->ctx, (size_t)(classes + 1) * sizeof *names);
    for (int32_t i = 0; names && i < count(l); i++)
        if (class[i] >= 0 && !(names[class[i]] = ak__ctx_strdup(l->ctx, text_at(l, i))))
            return NULL;
    return names;
}

const int32_t *ak__labels_finish(ak__labels *l, int64_t *classes, const char *const **names)
{
    const size_t   rows = l->rows.n / sizeof(int32_t);
    const int32_t *text = (const int32_t *)(const void *)l->rows.data;
    const size_t   room = ((size_t)count(l) + 1) * sizeof(int32_t);
    int32_t       *class = ak__malloc(room), *labels = NULL;
    if (!class) {
        ak__fail_memory(l->ctx, room);
        return NULL;
    }
    *names = NULL;
    const bool      numbers = !l->given && all_numbers(l);
    const ak_status status = numbers ? take_numbers(l, class, classes)
                                     : take_names(l, class, classes);
    if (!status && (numbers || l->ids || (*names = copy_names(l, class, *classes)) != NULL))
        labels = ak__ctx_alloc(l->ctx, (rows + 1) * sizeof *labels);
    for (size_t i = 0; labels && i < rows; i++)
        labels[i] = class[text[i]];
    ak__free(class);
    return labels;
}

void ak__labels_free(ak__labels *l)
{
    ak__bytes_free(&l->rows);
    ak__bytes_free(&l->pool);
    ak__bytes_free(&l->texts);
    ak__bytes_free(&l->table);
}
