/* SPDX-License-Identifier: Apache-2.0 */
/* Several data sets side by side, by a key. */
#include "data/dataset.h"

#include "base/base.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SETS 8

/* Where a key stands. */
typedef struct keyed { int32_t key, item; } keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

/* One of the sets. */
typedef struct joined {
    ak_dataset *set;
    ak__field  *key;
    int32_t    *value;      /* [size] its keys */
    keyed      *sorted;     /* [n_sorted] without those of key -1; not of the first set */
    int64_t     n_sorted;
    int32_t    *items;      /* [pairs] what is joined */
    bool       *used;       /* [size] */
} joined;

static void *array_alloc(ak_ctx *ctx, int64_t n, size_t size)
{
    void *p = ak__malloc(((size_t)n + 1) * size);
    if (p)
        memset(p, 0, ((size_t)n + 1) * size);
    else
        ak__fail_memory(ctx, ((size_t)n + 1) * size);
    return p;
}

static bool find_key(ak_ctx *ctx, const ak_join *from, joined *j)
{
    j->set = from->set;
    if (from->set->ctx != ctx) {
        ak_fail(ctx, AK_ERR_CONTEXT, "dataset_join: \"%s\" belongs to another context",
                from->set->name);
        return false;
    }
    if (!from->key) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_join: the key of \"%s\" is missing (NULL)",
                from->set->name);
        return false;
    }
    j->key = ak__dataset_field(from->set, "dataset_join", from->key);
    if (j->key && j->key->kind != AK_FIELD_ID &&
        (j->key->kind != AK_FIELD_LABELS || j->key->item.n > 0)) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_join: field \"%s\" of \"%s\" is no key; an id, or "
                "labels, one an item, are", j->key->name, from->set->name);
        return false;
    }
    j->value = j->key ? ak__dataset_whole(from->set, "dataset_join", j->key) : NULL;
    return j->value != NULL;
}

/* Keys in ascending order; each once. */
static bool sort_keys(ak_ctx *ctx, joined *j)
{
    j->sorted = array_alloc(ctx, j->set->size, sizeof *j->sorted);
    if (!j->sorted)
        return false;
    for (int64_t i = 0; i < j->set->size; i++)
        if (j->value[i] >= 0)
            j->sorted[j->n_sorted++] = (keyed){ j->value[i], (int32_t)i };
    qsort(j->sorted, (size_t)j->n_sorted, sizeof *j->sorted, by_key);
    for (int64_t i = 1; i < j->n_sorted; i++)
        if (j->sorted[i].key == j->sorted[i - 1].key) {
            ak_fail(ctx, AK_ERR_VALUE, "dataset_join: key %d occurs twice in \"%s\", items %d and "
                    "%d\n    hint: only in the first set may a key occur several times; name that "
                    "set first", (int)j->sorted[i].key, j->set->name, (int)j->sorted[i - 1].item,
                    (int)j->sorted[i].item);
            return false;
        }
    return true;
}

static int64_t look_for(const joined *j, int32_t key)
{
    int64_t lo = 0, hi = j->n_sorted;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (j->sorted[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < j->n_sorted && j->sorted[lo].key == key ? j->sorted[lo].item : -1;
}

/* Fill the lists of items; returns how many there are. */
static int64_t match(joined *j, int n)
{
    int64_t pairs = 0;
    for (int64_t i = 0; i < j[0].set->size; i++) {
        int64_t found[MOST_SETS] = { i };
        bool    all = j[0].value[i] >= 0;
        for (int s = 1; s < n && all; s++)
            all = (found[s] = look_for(&j[s], j[0].value[i])) >= 0;
        for (int s = 0; s < n && all; s++) {
            j[s].items[pairs] = (int32_t)found[s];
            j[s].used[found[s]] = true;
        }
        pairs += all;
    }
    return pairs;
}

static int64_t count_unused(const joined *j)
{
    int64_t n = 0;
    for (int64_t i = 0; i < j->set->size; i++)
        n += !j->used[i];
    return n;
}

/* All fields, but keys of the second set on. */
static bool adopt_all(ak_dataset *ds, joined *j, int n)
{
    for (int s = 0; s < n; s++) {
        int parts[AK_MAX_FIELDS];
        memset(parts, -1, sizeof parts);
        for (int f = 0; f < j[s].set->n_fields; f++) {
            const ak__field *field = j[s].set->field[f];
            if (s > 0 && field == j[s].key)
                continue;
            for (int k = 0; k < ds->n_fields; k++)
                if (strcmp(ds->field[k]->name, field->name) == 0) {
                    ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_join: \"%s\" and a set before it have "
                            "a field \"%s\"\n    hint: ak_dataset_rename or ak_dataset_drop one",
                            j[s].set->name, field->name);
                    return false;
                }
            if (ds->n_fields == AK_MAX_FIELDS) {
                ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_join: more than AK_MAX_FIELDS fields "
                        "together\n    hint: ak_dataset_drop those that are not needed");
                return false;
            }
            if (!ak__dataset_adopt(ds, j[s].set, field, j[s].items, 0, parts))
                return false;
        }
    }
    return true;
}

static ak_dataset *join(ak_ctx *ctx, joined *j, int n, int64_t *unmatched)
{
    for (int s = 0; s < n; s++) {
        j[s].items = array_alloc(ctx, j[0].set->size, sizeof *j[s].items);
        j[s].used = j[s].items ? array_alloc(ctx, j[s].set->size, sizeof *j[s].used) : NULL;
        if (!j[s].used || (s > 0 && !sort_keys(ctx, &j[s])))
            return NULL;
    }
    const int64_t pairs = match(j, n);
    int64_t       left = 0;
    char          name[512], counts[300];
    ak__text      names = AK__TEXT(name), unused = AK__TEXT(counts);
    for (int s = 0; s < n; s++) {
        const int64_t some = count_unused(&j[s]);
        if (unmatched)
            unmatched[s] = some;
        left += some;
        ak__text_add(&names, "%s%.*s", s ? " + " : "", 400 / n, j[s].set->name);
        ak__text_add(&unused, "%s%lld of %lld", s ? ", " : "", (long long)some,
                     (long long)j[s].set->size);
    }
    if (pairs == 0) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_join: no key of \"%s\" is in all the other sets (%s)",
                j[0].set->name, name);
        return NULL;
    }
    ak__text_add(&names, ": %lld joined", (long long)pairs);
    if (left > 0)
        ak__text_add(&names, ", unmatched %s", counts);
    ak_dataset *ds = ak__ctx_alloc(ctx, sizeof *ds);
    if (!ds || !(ds->name = ak__ctx_strdup(ctx, name)))
        return NULL;
    ds->ctx = ctx;
    ds->size = pairs;
    if (!adopt_all(ds, j, n))
        return NULL;
    if (left > 0)
        ak_log_message(ctx, AK_LOG_WARNING, "%s", name);
    return ds;
}

ak_dataset *ak_dataset_join(const ak_join *sets, int64_t *unmatched)
{
    joined j[MOST_SETS] = { 0 };
    int    n = 0;
    if (!AK__GIVEN(NULL, sets) || !AK__GIVEN(NULL, sets[0].set))
        return NULL;
    ak_ctx *ctx = sets[0].set->ctx;
    if (ak_error(ctx))
        return NULL;
    while (n <= MOST_SETS && sets[n].set)
        n++;
    if (n < 2 || n > MOST_SETS) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_join: %s set(s); 2 to %d are possible, and the list "
                "ends with { 0 }", n < 2 ? "1" : "too many", MOST_SETS);
        return NULL;
    }
    bool fine = true;
    for (int s = 0; s < n && fine; s++)
        fine = find_key(ctx, &sets[s], &j[s]);
    ak_dataset *ds = fine ? join(ctx, j, n, unmatched) : NULL;
    for (int s = 0; s < n; s++) {
        ak__free(j[s].value);
        ak__free(j[s].sorted);
        ak__free(j[s].items);
        ak__free(j[s].used);
    }
    return ds;
}
