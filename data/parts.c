/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a data set: ranges, lists, classes, shares, long tails; labels hidden or spoiled. */
#include "data/dataset.h"

#include "base/base.h"
#include "base/classes.h"

#include <math.h>
#include <string.h>

#define STREAM_SPLIT UINT64_C(0x73706c69742e2e2e)
#define STREAM_SHARE UINT64_C(0x73686172652e2e2e)
#define STREAM_NOISE UINT64_C(0x6e6f6973652e2e2e)

/* ---- sharing the fields of a set ------------------------------------------------------------- */

/* The part of ds whose rows are those items of another set's part; made once (`parts` remembers it,
 * -1 at first). -1: no room, or no memory, recorded. */
static int adopt_part(ak_dataset *ds, const ak_dataset *from, int part, const int32_t *items,
                      int64_t first, int *parts)
{
    if (parts[part] >= 0)
        return parts[part];
    if (ds->n_parts == AK_MAX_FIELDS) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "\"%s\" would have more than AK_MAX_FIELDS parts", ds->name);
        return -1;
    }
    ak__part made = from->part[part];
    if (items) {
        int32_t *map = ak__ctx_alloc(ds->ctx, (size_t)ds->size * sizeof *map);
        if (!map)
            return -1;
        for (int64_t i = 0; i < ds->size; i++)
            map[i] = (int32_t)ak__row_of(&from->part[part], items[i]);
        made.map = map;
        made.first = 0;
    } else if (made.map) {
        made.map += first;
    } else {
        made.first += first;
    }
    ds->part[ds->n_parts] = made;
    return parts[part] = ds->n_parts++;
}

bool ak__dataset_adopt(ak_dataset *ds, const ak_dataset *from, const ak__field *f,
                       const int32_t *items, int64_t first, int *parts)
{
    const int  part = adopt_part(ds, from, f->part, items, first, parts);
    ak__field *own = part >= 0 ? ak__ctx_alloc(ds->ctx, sizeof *own) : NULL;
    if (!own)
        return false;
    *own = *f;
    own->part = part;
    own->parent = f;
    own->own_scale = own->own_normal = own->range_known = false;
    ds->field[ds->n_fields++] = own;
    return true;
}

ak_dataset *ak__dataset_part(const ak_dataset *from, const char *name, const int32_t *items,
                             int64_t first, int64_t n)
{
    ak_dataset *ds = ak__ctx_alloc(from->ctx, sizeof *ds);
    int         parts[AK_MAX_FIELDS];
    if (!ds || !(ds->name = ak__ctx_strdup(from->ctx, name)))
        return NULL;
    ds->ctx = from->ctx;
    ds->size = n;
    memset(parts, -1, sizeof parts);
    for (int i = 0; i < from->n_fields; i++)
        if (!ak__dataset_adopt(ds, from, from->field[i], items, first, parts))
            return NULL;
    return ds;
}

/* Its name with a word on what part it is. */
static ak_dataset *named_part(const ak_dataset *ds, const int32_t *items, int64_t first, int64_t n,
                              const char *format, ...) AK_PRINTF(5, 6);
static ak_dataset *named_part(const ak_dataset *ds, const int32_t *items, int64_t first, int64_t n,
                              const char *format, ...)
{
    char    name[512], part[128];
    va_list args;
    va_start(args, format);
    vsnprintf(part, sizeof part, format, args);
    va_end(args);
    if (n < 1) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "a set without items: \"%.300s\", %s", ds->name, part);
        return NULL;
    }
    snprintf(name, sizeof name, "%.380s, %s", ds->name, part);
    return ak__dataset_part(ds, name, items, first, n);
}

ak_dataset *ak_dataset_subset(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !ak__range_fits(ds, "dataset_subset", start, count, 1))
        return NULL;
    return named_part(ds, NULL, start, count, "items %lld .. %lld", (long long)start,
                      (long long)(start + count - 1));
}

/* Memory for n numbers; NULL is recorded. */
static void *numbers_alloc(ak_ctx *ctx, int64_t n, size_t size)
{
    void *p = ak__malloc(((size_t)n + 1) * size);
    if (!p)
        ak__fail_memory(ctx, ((size_t)n + 1) * size);
    return p;
}

ak_dataset *ak_dataset_pick(ak_dataset *ds, const int64_t *items, int64_t n)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, items) || ak_error(ds->ctx))
        return NULL;
    if (n < 1 || n > AK__MOST_ITEMS) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_pick: %lld items; 1 to %d are possible",
                (long long)n, AK__MOST_ITEMS);
        return NULL;
    }
    int32_t    *list = numbers_alloc(ds->ctx, n, sizeof *list);
    ak_dataset *made = NULL;
    int64_t     i = 0;
    for (; list && i < n && items[i] >= 0 && items[i] < ds->size; i++)
        list[i] = (int32_t)items[i];
    if (list && i < n)
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_pick: entry %lld is item %lld; \"%s\" has %lld",
                (long long)i, (long long)items[i], ds->name, (long long)ds->size);
    else if (list)
        made = named_part(ds, list, 0, n, "%lld items picked", (long long)n);
    ak__free(list);
    return made;
}

/* ---- chosen items ---------------------------------------------------------------------------- */

/* A set of the items that are marked. */
static ak_dataset *marked_part(const ak_dataset *ds, const bool *marked, bool wanted,
                               const char *text)
{
    int32_t *list = numbers_alloc(ds->ctx, ds->size, sizeof *list);
    int64_t  n = 0;
    if (!list)
        return NULL;
    for (int64_t i = 0; i < ds->size; i++)
        if (marked[i] == wanted)
            list[n++] = (int32_t)i;
    ak_dataset *made = named_part(ds, list, 0, n, "%s", text);
    ak__free(list);
    return made;
}

ak_dataset *ak_dataset_where(ak_dataset *ds, ak_item_test test, void *user)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, test) || ak_error(ds->ctx))
        return NULL;
    bool *marked = numbers_alloc(ds->ctx, ds->size, sizeof *marked);
    for (int64_t i = 0; marked && i < ds->size; i++)
        marked[i] = test(ds, i, user);
    ak_dataset *made = marked && !ak_error(ds->ctx)
                       ? marked_part(ds, marked, true, "those of a test") : NULL;
    ak__free(marked);
    return made;
}

static bool has_label(const ak_dataset *ds, int64_t i, void *user)
{
    return ak_dataset_label(ds, i) == *(const int32_t *)user;
}

ak_dataset *ak_dataset_class(ak_dataset *ds, int32_t label)
{
    if (!AK__GIVEN(NULL, ds) || ak_error(ds->ctx))
        return NULL;
    bool *marked = numbers_alloc(ds->ctx, ds->size, sizeof *marked);
    char  text[64];
    for (int64_t i = 0; marked && i < ds->size; i++)
        marked[i] = has_label(ds, i, &label);
    snprintf(text, sizeof text, "label %d", (int)label);
    ak_dataset *made = marked && !ak_error(ds->ctx) ? marked_part(ds, marked, true, text) : NULL;
    ak__free(marked);
    return made;
}

/* Is it in (0, 1), or with an end? */
static bool share_fits(ak_dataset *ds, const char *who, double share, bool zero, bool one)
{
    if (ak_error(ds->ctx))
        return false;
    if ((zero ? share >= 0 : share > 0) && (one ? share <= 1 : share < 1))
        return true;
    ak_fail(ds->ctx, AK_ERR_VALUE, "%s: a share of %g; numbers in %c0, 1%c are possible", who,
            share, zero ? '[' : '(', one ? ']' : ')');
    return false;
}

ak_status ak_dataset_split(ak_dataset *ds, double share, uint64_t seed, ak_dataset **chosen,
                           ak_dataset **others)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, chosen) || !AK__GIVEN(ds->ctx, others))
        return ak__refused(ds ? ds->ctx : NULL);
    *chosen = *others = NULL;
    if (!share_fits(ds, "dataset_split", share, false, false))
        return ak__refused(ds->ctx);
    const int64_t n = llround(share * (double)ds->size);
    if (n < 1 || n >= ds->size)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_split: a share of %g of the %lld items of "
                       "\"%s\" leaves one part empty", share, (long long)ds->size, ds->name);
    int64_t *order = numbers_alloc(ds->ctx, ds->size, sizeof *order);
    bool    *marked = order ? numbers_alloc(ds->ctx, ds->size, sizeof *marked) : NULL;
    char     text[80];
    if (marked) {
        memset(marked, 0, (size_t)ds->size * sizeof *marked);
        ak_random_permutation(seed, STREAM_SPLIT, ds->size, order);
        for (int64_t i = 0; i < n; i++)
            marked[order[i]] = true;
        snprintf(text, sizeof text, "%g of it by seed %llu", share, (unsigned long long)seed);
        *chosen = marked_part(ds, marked, true, text);
        snprintf(text, sizeof text, "all but %g of it by seed %llu", share,
                 (unsigned long long)seed);
        *others = *chosen ? marked_part(ds, marked, false, text) : NULL;
    }
    ak__free(marked);
    ak__free(order);
    if (*others)
        return AK_OK;
    *chosen = NULL;
    return ak__refused(ds->ctx);
}

/* ---- by class -------------------------------------------------------------------------------- */

/* The labels of a set, and its items grouped by them. */
typedef struct by_class {
    int32_t *label, *value;     /* [size] of the items, [classes] that occur, ascending */
    int64_t  classes;
    int64_t *items, *start;     /* [size] grouped, [classes + 1] */
    bool    *marked;            /* [size] */
} by_class;

static void by_class_free(by_class *b)
{
    ak__free(b->label);
    ak__free(b->value);
    ak__free(b->items);
    ak__free(b->start);
    ak__free(b->marked);
}

/* False: recorded, nothing is held. Without labels all items are of label -1. */
static bool by_class_open(by_class *b, const ak_dataset *ds)
{
    const int64_t n = ds->size;
    *b = (by_class){ 0 };
    b->label = numbers_alloc(ds->ctx, n, sizeof *b->label);
    b->value = b->label ? numbers_alloc(ds->ctx, n, sizeof *b->value) : NULL;
    b->items = b->value ? numbers_alloc(ds->ctx, n, sizeof *b->items) : NULL;
    b->start = b->items ? numbers_alloc(ds->ctx, n + 1, sizeof *b->start) : NULL;
    b->marked = b->start ? numbers_alloc(ds->ctx, n, sizeof *b->marked) : NULL;
    for (int64_t i = 0; b->marked && i < n; i++)
        b->label[i] = ak_dataset_label(ds, i);
    if (!b->marked || ak_error(ds->ctx)) {
        by_class_free(b);
        return false;
    }
    memset(b->marked, 0, (size_t)n * sizeof *b->marked);
    b->classes = ak__distinct(b->label, n, b->value);
    memset(b->start, 0, ((size_t)n + 2) * sizeof *b->start);
    for (int64_t i = 0; i < n; i++)
        b->start[ak__place_of(b->value, b->classes, b->label[i]) + 1]++;
    for (int64_t c = 0; c < b->classes; c++)
        b->start[c + 1] += b->start[c];
    for (int64_t i = n - 1; i >= 0; i--) {      /* start[c + 1], the end of c, becomes its start */
        const int64_t c = ak__place_of(b->value, b->classes, b->label[i]);
        b->items[--b->start[c + 1]] = i;
    }
    memmove(b->start, b->start + 1, (size_t)b->classes * sizeof *b->start);
    b->start[b->classes] = n;
    return true;
}

/* Mark `count` items of class c, the first of a permutation: fewer are a part of more. */
static bool mark_some(by_class *b, const ak_dataset *ds, int64_t c, int64_t count, uint64_t seed)
{
    const int64_t n = b->start[c + 1] - b->start[c];
    int64_t      *order = numbers_alloc(ds->ctx, n, sizeof *order);
    if (!order)
        return false;
    ak_random_permutation(seed, ak__stream(STREAM_SHARE, (uint64_t)(int64_t)b->value[c], 0, 0), n,
                          order);
    for (int64_t i = 0; i < count; i++)
        b->marked[b->items[b->start[c] + order[i]]] = true;
    ak__free(order);
    return true;
}

static int64_t some_of(double share, int64_t n)
{
    const int64_t count = llround(share * (double)n);
    return count < 1 ? 1 : count > n ? n : count;
}

static bool mark_share(by_class *b, const ak_dataset *ds, double share, uint64_t seed)
{
    for (int64_t c = 0; c < b->classes; c++)
        if (!mark_some(b, ds, c, some_of(share, b->start[c + 1] - b->start[c]), seed))
            return false;
    return true;
}

ak_dataset *ak_dataset_share(ak_dataset *ds, double share, uint64_t seed)
{
    by_class    b;
    char        text[80];
    ak_dataset *made = NULL;
    if (!AK__GIVEN(NULL, ds) || !share_fits(ds, "dataset_share", share, false, true) ||
        !by_class_open(&b, ds))
        return NULL;
    snprintf(text, sizeof text, "%g of every class by seed %llu", share, (unsigned long long)seed);
    if (mark_share(&b, ds, share, seed))
        made = marked_part(ds, b.marked, true, text);
    by_class_free(&b);
    return made;
}

/* ak_error(ctx) is AK_OK: are there labels? */
static bool need_labels(const ak_dataset *ds, const char *who)
{
    if (ak__dataset_label(ds))
        return true;
    char names[400];
    ak_fail(ds->ctx, AK_ERR_STATE, "%s: \"%s\" has no field of labels, one an item; it has: %s",
            who, ds->name, ak__dataset_names(ds, names, sizeof names));
    return false;
}

/* The label's values are these from now on. */
static ak_dataset *relabelled(const ak_dataset *ds, const int32_t *label, const char *text)
{
    ak_dataset *made = named_part(ds, NULL, 0, ds->size, "%s", text);
    int32_t    *own = made ? ak__ctx_alloc(ds->ctx, (size_t)ds->size * sizeof *own) : NULL;
    ak__field  *y = made ? ak__dataset_label(made) : NULL;
    if (!own)
        return NULL;
    int part = -1;
    for (int p = 0; p < made->n_parts && part < 0; p++)
        if (!made->part[p].map && made->part[p].first == 0 && !made->part[p].source)
            part = p;
    if (part < 0 && made->n_parts < AK_MAX_FIELDS) {
        part = made->n_parts++;
        made->part[part] = (ak__part){ 0 };
    }
    if (part < 0) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "\"%s\" has AK_MAX_FIELDS parts: no room for labels of its "
                "own", ds->name);
        return NULL;
    }
    memcpy(own, label, (size_t)ds->size * sizeof *own);
    y->whole = own;
    y->part = part;
    y->rows = ds->size;
    return made;
}

ak_dataset *ak_dataset_hide_labels(ak_dataset *ds, double share, uint64_t seed)
{
    by_class    b;
    char        text[80];
    ak_dataset *made = NULL;
    if (!AK__GIVEN(NULL, ds) || !share_fits(ds, "dataset_hide_labels", share, false, true) ||
        !need_labels(ds, "dataset_hide_labels") || !by_class_open(&b, ds))
        return NULL;
    snprintf(text, sizeof text, "%g of the labels by seed %llu", share, (unsigned long long)seed);
    if (mark_share(&b, ds, share, seed)) {
        for (int64_t i = 0; i < ds->size; i++)
            b.label[i] = b.marked[i] ? b.label[i] : -1;
        made = relabelled(ds, b.label, text);
    }
    by_class_free(&b);
    return made;
}

ak_dataset *ak_dataset_long_tail(ak_dataset *ds, double ratio, uint64_t seed)
{
    by_class    b;
    char        text[80];
    ak_dataset *made = NULL;
    bool        fine = true;
    if (!AK__GIVEN(NULL, ds) || ak_error(ds->ctx))
        return NULL;
    if (!(ratio >= 1) || !isfinite(ratio)) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_long_tail: a ratio of %g; finite numbers from 1 on "
                "are possible", ratio);
        return NULL;
    }
    if (!need_labels(ds, "dataset_long_tail") || !by_class_open(&b, ds))
        return NULL;
    const int64_t known = b.value[0] < 0 ? 1 : 0, C = b.classes - known;
    for (int64_t c = known; fine && c < b.classes; c++) {
        const double share = C > 1 ? pow(ratio, -(double)(c - known) / (double)(C - 1)) : 1;
        fine = mark_some(&b, ds, c, some_of(share, b.start[c + 1] - b.start[c]), seed);
    }
    snprintf(text, sizeof text, "long tail of %g by seed %llu", ratio, (unsigned long long)seed);
    if (fine)
        made = marked_part(ds, b.marked, true, text);
    by_class_free(&b);
    return made;
}

ak_dataset *ak_dataset_noisy_labels(ak_dataset *ds, double share, uint64_t seed)
{
    by_class    b;
    char        text[80];
    ak_dataset *made = NULL;
    if (!AK__GIVEN(NULL, ds) || !share_fits(ds, "dataset_noisy_labels", share, true, true) ||
        !need_labels(ds, "dataset_noisy_labels") || !by_class_open(&b, ds))
        return NULL;
    const int64_t known = b.value[0] < 0 ? 1 : 0, C = b.classes - known;
    snprintf(text, sizeof text, "%g of the labels wrong by seed %llu", share,
             (unsigned long long)seed);
    if (C < 2) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_noisy_labels: \"%s\" has %lld label(s); a wrong "
                "one needs two", ds->name, (long long)C);
    } else {
        for (int64_t i = 0; i < ds->size; i++) {
            if (b.label[i] < 0 || !ak_random_bernoulli(seed, STREAM_NOISE, (uint64_t)i, share))
                continue;
            const int64_t own = ak__place_of(b.value, b.classes, b.label[i]) - known;
            const int64_t other = (int64_t)ak_random_below(seed, STREAM_NOISE + 1, (uint64_t)i,
                                                           (uint64_t)C - 1);
            b.label[i] = b.value[known + (other < own ? other : other + 1)];
        }
        made = relabelled(ds, b.label, text);
    }
    by_class_free(&b);
    if (!made)
        return NULL;
    int parts[AK_MAX_FIELDS];
    memset(parts, -1, sizeof parts);
    if (made->n_fields == AK_MAX_FIELDS) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_noisy_labels: \"%s\" has AK_MAX_FIELDS fields; no "
                "room for \"clean_label\"", ds->name);
        return NULL;
    }
    for (int i = 0; i < ds->n_fields; i++)
        if (strcmp(ds->field[i]->name, "clean_label") == 0)
            return made;        /* noise on noise: the clean ones stay */
    if (!ak__dataset_adopt(made, ds, ak__dataset_label(ds), NULL, 0, parts))
        return NULL;
    made->field[made->n_fields - 1]->name = "clean_label";
    return made;
}
