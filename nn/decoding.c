/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of a decoder between calls. Their memory is given back by ak_decoding_close, so
 * it comes from the system and not from the context. */
#include "nn/decoding.h"

#include "base/arena.h"
#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

#define MAGIC 0x616b6465636f6465u       /* "akdecode": a pointer to something else is found */

struct ak_decoding {
    uint64_t  magic;
    ak_ctx   *ctx;
    int64_t   rows, capacity;
    int64_t   n, room;
    ak__seen **slots;                   /* [n] */
};

static void free_slots(void *of)
{
    ak_decoding *d = of;
    for (int64_t i = 0; i < d->n; i++) {
        ak__free(d->slots[i]->past);
        ak__free(d->slots[i]->kept.data);
        ak__free(d->slots[i]);
    }
    ak__free(d->slots);
    d->slots = NULL;
    d->n = d->room = 0;
    d->magic = 0;
}

ak_decoding *ak_decoding_open(ak_ctx *ctx, int64_t rows, int64_t capacity)
{
    if (!AK__GIVEN(NULL, ctx) || ak_error(ctx) != AK_OK)
        return NULL;
    if (rows < 1 || capacity < 1 || capacity > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_decoding_open: %" PRId64 " rows of %" PRId64 " positions; "
                "both must be at least 1", rows, capacity);
        return NULL;
    }
    ak_decoding *d = ak__ctx_alloc(ctx, sizeof *d);
    if (!d || !ak__at_close(ctx, free_slots, d))
        return NULL;
    *d = (ak_decoding){ .magic = MAGIC, .ctx = ctx, .rows = rows, .capacity = capacity };
    return d;
}

void ak_decoding_close(ak_decoding *d)
{
    if (d && d->magic == MAGIC)
        free_slots(d);
}

int64_t ak__decoding_capacity(const void *state)
{
    return ((const ak_decoding *)state)->capacity;
}

/* ---- slots ----------------------------------------------------------------------------------- */

static bool usable(ak_module *m, const ak_decoding *d, int64_t rows)
{
    if (d->magic != MAGIC || d->ctx != m->ctx) {
        ak_fail(m->ctx, AK_ERR_STATE, "%s: input .state is no open ak_decoding of this context",
                m->name);
        return false;
    }
    if (d->rows == rows)
        return true;
    ak_fail(m->ctx, AK_ERR_SHAPE, "%s: is handed %" PRId64 " rows, but .state is of %" PRId64,
            m->name, rows, d->rows);
    return false;
}

static void *zeroed(ak_ctx *ctx, size_t bytes)
{
    void *p = ak__malloc(bytes ? bytes : 1);
    if (!p)
        ak__fail_memory(ctx, bytes);
    else
        memset(p, 0, bytes);
    return p;
}

static ak__seen *new_slot(ak_decoding *d, const ak_module *m, int64_t length, int64_t width)
{
    if (d->n == d->room) {
        const int64_t room = d->room ? 2 * d->room : 16;
        ak__seen **bigger = zeroed(d->ctx, (size_t)room * sizeof *bigger);
        if (!bigger)
            return NULL;
        if (d->n)
            memcpy(bigger, d->slots, (size_t)d->n * sizeof *bigger);
        ak__free(d->slots);
        d->slots = bigger;
        d->room = room;
    }
    ak__seen *s = zeroed(d->ctx, sizeof *s);
    if (!s)
        return NULL;
    d->slots[d->n++] = s;
    s->of = m;
    s->past = zeroed(d->ctx, (size_t)d->rows * sizeof *s->past);
    if (!s->past || width == 0)
        return s->past ? s : NULL;
    /* Zeros: what a query sees that is padding itself must be a number. */
    const int64_t size = d->rows * length * width;
    ak_real *data = zeroed(d->ctx, (size_t)size * sizeof *data);
    if (!data)
        return NULL;
    s->kept = (ak_tensor){ .data = data, .shape = AK_SHAPE(d->rows, length, width), .size = size,
                           .ctx = d->ctx, .root = &s->kept, .owner = &s->kept };
    return s;
}

ak__seen *ak__seen_of(ak_module *m, void *state, int64_t rows, int64_t length, int64_t width)
{
    ak_decoding *d = state;
    if (!usable(m, d, rows))
        return NULL;
    for (int64_t i = 0; i < d->n; i++) {
        ak__seen *s = d->slots[i];
        if (s->of != m)
            continue;
        if (width == 0 || ak_shape_equal(s->kept.shape, AK_SHAPE(rows, length, width)))
            return s;
        char has[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s: .state holds keys and values %s, now they are [%" PRId64
                ",%" PRId64 ",%" PRId64 "]\n    hint: another memory needs a state of its own",
                m->name, ak_shape_text(s->kept.shape, has), rows, length, width);
        return NULL;
    }
    return new_slot(d, m, length, width);
}

ak_index *ak__seen_past(const ak_module *m, const ak__seen *s, int64_t rows)
{
    return ak_index_from(m->ctx, AK_SHAPE(rows), s->past);
}

bool ak__seen_room(ak_module *m, const void *state, const ak__seen *s, const ak_index *lengths,
                   int64_t T)
{
    const ak_decoding *d = state;
    for (int64_t n = 0; n < d->rows; n++) {
        const int64_t more = lengths ? lengths->data[n] : T;
        if (s->past[n] + more <= d->capacity)
            continue;
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: row %" PRId64 " has %d positions in .state, which has "
                "room for %" PRId64 ": %" PRId64 " more do not fit", m->name, n, (int)s->past[n],
                d->capacity, more);
        return false;
    }
    return true;
}

void ak__seen_advance(ak__seen *s, int64_t rows, const ak_index *lengths, int64_t T)
{
    for (int64_t n = 0; n < rows; n++)
        s->past[n] += lengths ? lengths->data[n] : (int32_t)T;
}
