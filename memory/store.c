/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that checkpoints hold: what is said about them once, saved, compared and loaded. */
#include "memory/store.h"

#include "base/state.h"
#include "base/text.h"

#include <inttypes.h>

/* ---- what an object says about itself -------------------------------------------------------- */

#define LONGEST_NAME 200

/* The name under which a checkpoint has it: "queue moco". */
static void state_name(char text[static 256], const char *kind, const char *name)
{
    ak__format(text, 256, "%s %s", kind, name);
}

void *ak__store_new(ak_ctx *ctx, const char *who, const char *kind, const char *name, size_t bytes)
{
    char text[256];
    if (!ctx) {
        ak__missing(NULL, who, "ctx");
        return NULL;
    }
    if (!name) {
        ak__missing(ctx, who, "name");
        return NULL;
    }
    if (ak_error(ctx) != AK_OK || !ak__name_legal(ctx, who, name))
        return NULL;
    if (strlen(name) > LONGEST_NAME) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: a name of %zu bytes; expected %d at most", who,
                strlen(name), LONGEST_NAME);
        return NULL;
    }
    state_name(text, kind, name);
    if (ak__state_find(ctx, text)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: there is a %s \"%s\" already\n    hint: checkpoints tell "
                "them apart by their names", who, kind, name);
        return NULL;
    }
    ak__store *s = ak__ctx_alloc(ctx, bytes);
    const char *copy = s ? ak__ctx_strdup(ctx, name) : NULL;
    if (!copy)
        return NULL;
    *s = (ak__store){ .ctx = ctx, .kind = kind, .name = copy };
    return s;
}

void ak__store_size(ak__store *s, const char *what, int64_t value)
{
    s->size[s->n_sizes].what = what;
    s->size[s->n_sizes++].value = value;
}

void ak__store_counter(ak__store *s, const char *what, int64_t *at, int64_t most)
{
    s->counter[s->n_counters].what = what;
    s->counter[s->n_counters].at = at;
    s->counter[s->n_counters++].most = most;
}

void ak__store_array(ak__store *s, void *at, size_t bytes)
{
    s->array[s->n_arrays].at = at;
    s->array[s->n_arrays++].bytes = bytes;
}

void *ak__store_alloc(ak__store *s, int64_t n, size_t bytes)
{
    if ((uint64_t)n > SIZE_MAX / 2 / bytes) {
        ak__fail_memory(s->ctx, SIZE_MAX / 2);
        return NULL;
    }
    void *p = ak__ctx_alloc(s->ctx, (size_t)n * bytes);
    if (p)
        ak__store_array(s, p, (size_t)n * bytes);
    return p;
}

int64_t *ak__store_counts(ak__store *s, int64_t n)
{
    int64_t *p = ak__store_alloc(s, n, sizeof *p);
    if (p)
        s->array[s->n_arrays - 1].counts = true;
    return p;
}

ak_tensor *ak__store_rows(ak__store *s, int64_t n, int64_t d)
{
    ak_tensor *rows = ak_state(s->ctx, AK_SHAPE(n, d));
    if (rows == &ak__poison)
        return NULL;
    rows->name = s->name;
    s->rows = rows;
    ak__store_array(s, rows->data, (size_t)rows->size * sizeof *rows->data);
    return rows;
}

bool ak__store_positive(ak_ctx *ctx, const char *who, const char *name, const char *what,
                        int64_t value)
{
    if (value >= 1)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\": %s is %" PRId64 "; expected 1 or more", who, name, what,
            value);
    return false;
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* u64 bytes of a number, u64 sizes, u64 counters, u64 arrays; the sizes, the counters and the bytes
 * of the arrays, u64 each; the arrays, each filled up with zeros to a multiple of 8. */
#define HEAD_NUMBERS 4

static size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

static size_t head_bytes(const ak__store *s)
{
    return 8 * (size_t)(HEAD_NUMBERS + s->n_sizes + s->n_counters + s->n_arrays);
}

static size_t store_size(void *obj)
{
    const ak__store *s = obj;
    size_t bytes = head_bytes(s);
    for (int i = 0; i < s->n_arrays; i++)
        bytes += padded(s->array[i].bytes);
    return bytes;
}

static void store_save(void *obj, unsigned char *bytes)
{
    const ak__store *s = obj;
    ak__put_u64(&bytes, sizeof(ak_real));
    ak__put_u64(&bytes, (uint64_t)s->n_sizes);
    ak__put_u64(&bytes, (uint64_t)s->n_counters);
    ak__put_u64(&bytes, (uint64_t)s->n_arrays);
    for (int i = 0; i < s->n_sizes; i++)
        ak__put_u64(&bytes, (uint64_t)s->size[i].value);
    for (int i = 0; i < s->n_counters; i++)
        ak__put_u64(&bytes, (uint64_t)*s->counter[i].at);
    for (int i = 0; i < s->n_arrays; i++)
        ak__put_u64(&bytes, s->array[i].bytes);
    for (int i = 0; i < s->n_arrays; i++) {
        const size_t n = s->array[i].bytes;
        memcpy(bytes, s->array[i].at, n);
        memset(bytes + n, 0, padded(n) - n);
        bytes += padded(n);
    }
}

/* "rows 512, dim 128" of the file, or of this program. */
static void sizes_text(char text[static 160], const ak__store *s, const unsigned char *file)
{
    ak__text t = ak__text_in(text, 160);
    for (int i = 0; i < s->n_sizes; i++)
        ak__text_add(&t, "%s%s %" PRId64, i ? ", " : "", s->size[i].what,
                     file ? (int64_t)ak__get_u64(&file) : s->size[i].value);
}

/* `bytes` are those of the arrays. */
static ak_status check_counts(const ak__store *s, const unsigned char *bytes)
{
    for (int i = 0; i < s->n_arrays; i++) {
        const unsigned char *at = bytes;
        for (size_t j = 0; s->array[i].counts && j < s->array[i].bytes / 8; j++)
            if (ak__get_u64(&at) > (uint64_t)AK__STORE_MOST)
                return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": number %zu of its counts is "
                               "out of range in the file", s->kind, s->name, j);
        bytes += padded(s->array[i].bytes);
    }
    return AK_OK;
}

static ak_status store_check(void *obj, const unsigned char *bytes, size_t size)
{
    const ak__store *s = obj;
    if (size < head_bytes(s))
        return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": its state in the file has only %zu bytes",
                       s->kind, s->name, size);
    const uint64_t width = ak__get_u64(&bytes), sizes = ak__get_u64(&bytes);
    const uint64_t counters = ak__get_u64(&bytes), arrays = ak__get_u64(&bytes);
    if (width != sizeof(ak_real) || sizes != (uint64_t)s->n_sizes ||
        counters != (uint64_t)s->n_counters || arrays > AK__STORE_ARRAYS)
        return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": the file holds %" PRIu64 " sizes, %"
                       PRIu64 " counters and numbers of %" PRIu64 " bytes, this build has %d, %d "
                       "and %zu", s->kind, s->name, sizes, counters, width, s->n_sizes,
                       s->n_counters, sizeof(ak_real));
    bool same = true;
    const unsigned char *at = bytes;
    for (int i = 0; i < s->n_sizes; i++)
        same = ak__get_u64(&at) == (uint64_t)s->size[i].value && same;
    if (!same) {
        char here[160], there[160];
        sizes_text(there, s, bytes);
        sizes_text(here, s, NULL);
        return ak_fail(s->ctx, AK_ERR_SHAPE, "%s \"%s\" has %s in the file and %s in this program",
                       s->kind, s->name, there, here);
    }
    for (int i = 0; i < s->n_counters; i++) {
        const uint64_t value = ak__get_u64(&at);
        if (value > (uint64_t)s->counter[i].most)
            return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": %s is %" PRIu64 " in the file; "
                           "expected %" PRId64 " at most", s->kind, s->name, s->counter[i].what,
                           value, s->counter[i].most);
    }
    same = arrays == (uint64_t)s->n_arrays;
    for (int i = 0; i < s->n_arrays && same; i++)
        same = ak__get_u64(&at) == s->array[i].bytes;
    if (!same)
        return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": the file holds other arrays than this "
                       "program", s->kind, s->name);
    if (size != store_size(obj))
        return ak_fail(s->ctx, AK_ERR_FORMAT, "%s \"%s\": its state in the file has %zu bytes, not "
                       "%zu", s->kind, s->name, size, store_size(obj));
    return check_counts(s, bytes + head_bytes(s) - 8 * HEAD_NUMBERS);
}

static void store_load(void *obj, const unsigned char *bytes, size_t size)
{
    ak__store *s = obj;
    (void)size;
    const unsigned char *at = bytes + 8 * (HEAD_NUMBERS + s->n_sizes);
    for (int i = 0; i < s->n_counters; i++)
        *s->counter[i].at = (int64_t)ak__get_u64(&at);
    bytes += head_bytes(s);
    for (int i = 0; i < s->n_arrays; i++) {
        memcpy(s->array[i].at, bytes, s->array[i].bytes);
        bytes += padded(s->array[i].bytes);
    }
    if (s->rows)
        ak__changed(s->rows, "loading a file");
    if (s->loaded)
        s->loaded(obj);
}

static int64_t store_not_finite(void *obj, const char **where)
{
    const ak__store *s = obj;
    *where = s->name;
    int64_t bad = s->rows ? ak__count_not_finite(s->rows->data, s->rows->size, NULL) : 0;
    if (s->not_finite)
        bad += s->not_finite(obj);
    return bad;
}

bool ak__store_register(ak__store *s)
{
    static const ak__state_ops ops = { store_size, store_save, store_check, store_load,
                                       store_not_finite };
    char text[256];
    state_name(text, s->kind, s->name);
    return ak__state_register(s->ctx, text, &ops, s) != NULL;
}
