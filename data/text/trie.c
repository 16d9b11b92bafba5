/* SPDX-License-Identifier: Apache-2.0 */
/* Tries as double arrays, and tokens by id and by text. */
#include "data/text/text.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

/* ---- the trie -------------------------------------------------------------------------------- */

typedef struct builder {
    ak__trie *t;
    const ak__trie_key *keys;
    int64_t   room;
    int32_t   first_free;       /* no cell before this one is free */
} builder;

static int by_text(const void *a, const void *b)
{
    const ak__trie_key *x = a, *y = b;
    const int order = memcmp(x->text, y->text, (size_t)(x->n < y->n ? x->n : y->n));
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Cells up to `end` exist; new ones are free. */
static bool cells_until(builder *b, int64_t end)
{
    if (end > INT32_MAX - 256 ||
        !ak__grow((void **)&b->t->cell, &b->room, end, sizeof *b->t->cell))
        return false;
    for (; b->t->cells < end; b->t->cells++)
        b->t->cell[b->t->cells] = (ak__trie_cell){ 0, -1, -1 };
    return true;
}

/* A base for which the cells of all these bytes are free. */
static bool place(builder *b, const uint8_t *bytes, int n, int32_t *base)
{
    int32_t tried = 0;
    for (int32_t at = b->first_free; ; at++) {
        const int32_t from = at - bytes[0];
        if (!cells_until(b, (int64_t)at + 256))
            return false;
        if (b->t->cell[at].check >= 0) {
            b->first_free += at == b->first_free;
            continue;
        }
        if (from < 0)
            continue;
        int k = 1;
        while (k < n && b->t->cell[from + bytes[k]].check < 0)
            k++;
        if (k == n) {
            *base = from;
            return true;
        }
        /* Holes that nothing fits into are given up, or building takes quadratic time. */
        if (++tried == 64)
            b->first_free = at;
    }
}

/* Children of node s, whose keys [lo, hi) have `depth` bytes in common. A list of nodes to do
 * instead of recursion: keys may be long. */
typedef struct todo { int64_t lo, hi; int32_t node, depth; } todo;

static bool expand(builder *b, todo w, todo **list, int64_t *n, int64_t *room)
{
    uint8_t bytes[256];
    int64_t start[257];
    int     children = 0;
    for (int64_t i = w.lo; i < w.hi; i++) {
        const uint8_t c = b->keys[i].text[w.depth];
        if (!children || bytes[children - 1] != c) {
            start[children] = i;
            bytes[children++] = c;
        }
    }
    start[children] = w.hi;
    int32_t base;
    if (!place(b, bytes, children, &base))
        return false;
    b->t->cell[w.node].base = base;
    for (int k = 0; k < children; k++)
        b->t->cell[base + bytes[k]].check = w.node;
    for (int k = 0; k < children; k++) {
        todo child = { start[k], start[k + 1], base + bytes[k], w.depth + 1 };
        if (b->keys[child.lo].n == child.depth)
            b->t->cell[child.node].value = b->keys[child.lo++].value;
        if (child.lo == child.hi)
            continue;
        if (!ak__grow((void **)list, room, *n + 1, sizeof **list))
            return false;
        (*list)[(*n)++] = child;
    }
    return true;
}

bool ak__trie_make(ak__trie *t, ak__trie_key *keys, int64_t n)
{
    builder b = { .t = t, .keys = keys, .first_free = 1 };
    todo   *list = NULL;
    int64_t waiting = 0, room = 0;
    *t = (ak__trie){ 0 };
    if (n)
        qsort(keys, (size_t)n, sizeof *keys, by_text);
    bool fine = cells_until(&b, 257);
    if (fine) {
        t->cell[AK__TRIE_ROOT].check = AK__TRIE_ROOT;
        fine = !n || expand(&b, (todo){ 0, n, AK__TRIE_ROOT, 0 }, &list, &waiting, &room);
    }
    while (fine && waiting > 0)
        fine = expand(&b, list[--waiting], &list, &waiting, &room);
    ak__free(list);
    /* base + any byte can be asked for without looking at its size. */
    fine = fine && cells_until(&b, (int64_t)t->cells + 256);
    if (!fine)
        ak__trie_free(t);
    return fine;
}

void ak__trie_free(ak__trie *t)
{
    ak__free(t->cell);
    *t = (ak__trie){ 0 };
}

/* ---- tokens ---------------------------------------------------------------------------------- */

uint64_t ak__text_hash(const uint8_t *p, int64_t n)
{
    uint64_t h = (uint64_t)n * 0x9e3779b97f4a7c15u, x;
    for (; n > 8; p += 8, n -= 8) {
        memcpy(&x, p, 8);
        h = (h ^ x) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    memcpy(&x, p, 8);
    x = n ? x << (8 * (8 - n)) : 0;     /* of a little-endian machine; others hash other bytes */
    h = (h ^ x) * 0xd6e8feb86659fd93u;
    h ^= h >> 29;
    return h * 0x9e3779b97f4a7c15u >> 16;
}

static uint64_t token_hash(const void *text, int64_t n)
{
    return ak__hash_bytes(AK__HASH_START, text, (size_t)n);
}

static bool more_slots(ak__vocab *v)
{
    const int64_t want = v->n_slots ? 2 * v->n_slots : 1024;
    int32_t      *slots = ak__malloc((size_t)want * sizeof *slots);
    if (!slots)
        return false;
    for (int64_t i = 0; i < want; i++)
        slots[i] = -1;
    for (int64_t id = 0; id < v->size; id++) {
        if (!ak__vocab_has(v, id))
            continue;
        int64_t at = (int64_t)(token_hash(v->blob + v->start[id], v->length[id]) &
                               (uint64_t)(want - 1));
        while (slots[at] >= 0)
            at = (at + 1) & (want - 1);
        slots[at] = (int32_t)id;
    }
    ak__free(v->slots);
    v->slots = slots;
    v->n_slots = want;
    return true;
}

/* Room for ids below `want`. */
static bool more_ids(ak__vocab *v, int64_t want)
{
    int64_t room[3] = { v->room, v->room, v->room };
    if (!ak__grow((void **)&v->start, &room[0], want, sizeof *v->start) ||
        !ak__grow((void **)&v->length, &room[1], want, sizeof *v->length) ||
        !ak__grow((void **)&v->traits, &room[2], want, 1))
        return false;
    v->room = room[0] < room[2] ? room[0] : room[2];
    v->room = v->room < room[1] ? v->room : room[1];
    for (; v->size < want; v->size++) {
        v->start[v->size] = v->length[v->size] = 0;
        v->traits[v->size] = 0;
    }
    return true;
}

int32_t ak__vocab_find(const ak__vocab *v, const void *text, int64_t n)
{
    if (!v->n_slots)
        return -1;
    int64_t at = (int64_t)(token_hash(text, n) & (uint64_t)(v->n_slots - 1));
    for (; v->slots[at] >= 0; at = (at + 1) & (v->n_slots - 1)) {
        const int32_t id = v->slots[at];
        if (v->length[id] == n && (n == 0 || memcmp(v->blob + v->start[id], text, (size_t)n) == 0))
            return id;
    }
    return -1;
}

bool ak__vocab_add(ak__vocab *v, const char *text, int64_t n, int32_t id, int32_t *old)
{
    *old = ak__vocab_has(v, id) ? id : ak__vocab_find(v, text, n);
    if (*old >= 0)
        return false;
    if (v->used + n + 1 > UINT32_MAX ||
        !ak__grow((void **)&v->blob, &v->blob_room, v->used + n + 1 + AK__TEXT_SLACK, 1) ||
        (id >= v->size && !more_ids(v, (int64_t)id + 1)) ||
        (2 * (v->count + 1) > v->n_slots && !more_slots(v)))
        return false;
    if (n)
        memcpy(v->blob + v->used, text, (size_t)n);
    v->blob[v->used + n] = 0;
    v->start[id] = (uint32_t)v->used;
    v->length[id] = (uint32_t)n;
    v->traits[id] = AK__TOKEN_THERE;
    v->used += n + 1;
    v->count++;
    int64_t at = (int64_t)(token_hash(text, n) & (uint64_t)(v->n_slots - 1));
    while (v->slots[at] >= 0)
        at = (at + 1) & (v->n_slots - 1);
    v->slots[at] = id;
    return true;
}

void ak__vocab_free(ak__vocab *v)
{
    ak__free(v->blob);
    ak__free(v->start);
    ak__free(v->length);
    ak__free(v->traits);
    ak__free(v->slots);
    *v = (ak__vocab){ 0 };
}
