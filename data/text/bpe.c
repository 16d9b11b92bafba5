/* SPDX-License-Identifier: Apache-2.0 */
/* Byte pair encoding: of all pairs of neighbours the one of the smallest rank is joined, the first
 * of several; again, until no pair has a rank. */
#include "data/text/text.h"

#include <string.h>

/* Words of fewer symbols are joined by looking at all pairs; longer ones by a heap. */
#define SHORT 24

const ak__merge *ak__bpe_merge(const ak__bpe *m, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t       at = (pair * 0x9e3779b97f4a7c15u >> 32) & m->mask;
    for (; m->merges[at].rank >= 0; at = (at + 1) & m->mask)
        if (m->merges[at].pair == pair)
            return &m->merges[at];
    return NULL;
}

/* ---- symbols --------------------------------------------------------------------------------- */

static bool add(ak__encoder *e, int64_t *n, int32_t id)
{
    if (!ak__grow((void **)&e->symbols, &e->symbol_room, *n + 1, sizeof *e->symbols))
        return false;
    const int32_t i = (int32_t)*n;
    e->symbols[(*n)++] = (ak__symbol){ id, i - 1, i + 1 };
    return true;
}

/* The token of a character with the prefix of those inside and the suffix of the last. */
static int32_t symbol_of(const ak_tokenizer *t, const uint8_t *p, int bytes, bool first, bool last)
{
    const ak__bpe *m = &t->model.bpe;
    uint8_t        text[2 * AK__MOST_STRING + 4];
    int64_t        n = 0;
    if (m->bytes)
        return m->symbol[2 * !first + last][*p];
    if (!first && m->prefix.n) {
        memcpy(text, m->prefix.text, (size_t)m->prefix.n);
        n += m->prefix.n;
    }
    memcpy(text + n, p, (size_t)bytes);
    n += bytes;
    if (last && m->suffix.n) {
        memcpy(text + n, m->suffix.text, (size_t)m->suffix.n);
        n += m->suffix.n;
    }
    return ak__vocab_find(&t->vocab, text, n);
}

/* Bytes as tokens <0x..>, if all of them are there. 1: done, 0: no, -1: memory. */
static int by_bytes(const ak_tokenizer *t, ak__encoder *e, int64_t *n, const uint8_t *p, int bytes,
                    bool first, bool last)
{
    const ak__bpe *m = &t->model.bpe;
    if (!m->fallback)
        return 0;
    const ak__string before = first ? (ak__string){ 0 } : m->prefix;
    const ak__string behind = last ? m->suffix : (ak__string){ 0 };
    const ak__string parts[3] = { before, { p, bytes }, behind };
    for (int round = 0; round < 2; round++)
        for (int k = 0; k < 3; k++)
            for (int64_t i = 0; i < parts[k].n; i++) {
                const int32_t id = m->byte[parts[k].text[i]];
                if (id < 0)
                    return 0;
                if (round && !add(e, n, id))
                    return -1;
            }
    return 1;
}

/* The word as symbols, into e->symbols; *n of them. */
static bool symbols(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n,
                    int64_t *count)
{
    const ak__bpe *m = &t->model.bpe;
    bool           unknown = false;     /* one that is not added yet */
    *count = 0;
    for (int64_t i = 0, bytes; i < n; i += bytes) {
        bytes = m->bytes ? 1 : ak__utf8_length(word[i]);
        const int32_t id = symbol_of(t, word + i, (int)bytes, i == 0, i + bytes == n);
        if (id >= 0) {
            if ((unknown && !add(e, count, m->unknown)) || !add(e, count, id))
                return false;
            unknown = false;
            continue;
        }
        const int done = by_bytes(t, e, count, word + i, (int)bytes, i == 0, i + bytes == n);
        if (done < 0)
            return false;
        if (done || m->unknown < 0)
            continue;
        if (unknown && !m->fuse && !add(e, count, m->unknown))
            return false;
        unknown = true;
    }
    return !unknown || add(e, count, m->unknown);
}

/* ---- joining --------------------------------------------------------------------------------- */

static bool join_short(const ak_tokenizer *t, ak__encoder *e, int64_t n)
{
    const ak__bpe   *m = &t->model.bpe;
    int32_t          id[SHORT];
    const ak__merge *with[SHORT];       /* of a symbol with the next one */
    for (int64_t i = 0; i < n; i++)
        id[i] = e->symbols[i].id;
    for (int64_t i = 0; i + 1 < n; i++)
        with[i] = ak__bpe_merge(m, id[i], id[i + 1]);
    for (;;) {
        int64_t best = -1;
        for (int64_t i = 0; i + 1 < n; i++)
            if (with[i] && (best < 0 || with[i]->rank < with[best]->rank))
                best = i;
        if (best < 0)
            break;
        id[best] = with[best]->id;
        n--;
        for (int64_t i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            with[i] = i + 1 < n ? with[i + 1] : NULL;
        }
        if (best > 0)
            with[best - 1] = ak__bpe_merge(m, id[best - 1], id[best]);
        if (best + 1 < n)
            with[best] = ak__bpe_merge(m, id[best], id[best + 1]);
    }
    if (!ak__ids_more(&e->ids, n))
        return false;
    memcpy(e->ids.data + e->ids.n, id, (size_t)n * sizeof *id);
    e->ids.n += n;
    return true;
}

static bool before(ak__candidate a, ak__candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static bool push(ak__encoder *e, const ak__bpe *m, int32_t at)
{
    const int32_t    next = at >= 0 ? e->symbols[at].behind : -1;
    const ak__merge *with = next >= 0 ? ak__bpe_merge(m, e->symbols[at].id, e->symbols[next].id)
                                      : NULL;
    if (!with)
        return true;
    if (!ak__grow((void **)&e->heap, &e->heap_room, e->heap_n + 1, sizeof *e->heap))
        return false;
    const ak__candidate c = { with->rank, at, with->id };
    int64_t             i = e->heap_n++;
    for (; i > 0 && before(c, e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
    return true;
}

static ak__candidate pop(ak__encoder *e)
{
    const ak__candidate top = e->heap[0], last = e->heap[--e->heap_n];
    int64_t             i = 0;
    for (int64_t k; (k = 2 * i + 1) < e->heap_n; i = k) {
        k += k + 1 < e->heap_n && before(e->heap[k + 1], e->heap[k]);
        if (!before(e->heap[k], last))
            break;
        e->heap[i] = e->heap[k];
    }
    if (e->heap_n)
        e->heap[i] = last;
    return top;
}

static bool join_long(const ak_tokenizer *t, ak__encoder *e, int64_t n)
{
    const ak__bpe *m = &t->model.bpe;
    ak__symbol    *s = e->symbols;
    e->heap_n = 0;
    s[n - 1].behind = -1;
    for (int32_t i = 0; i < n; i++)
        if (!push(e, m, i))
            return false;
    while (e->heap_n) {
        const ak__candidate c = pop(e);
        if (s[c.at].id < 0 || s[c.at].behind < 0)
            continue;
        const int32_t    next = s[c.at].behind;
        const ak__merge *now = ak__bpe_merge(m, s[c.at].id, s[next].id);
        if (!now || now->id != c.id)
            continue;           /* one of the two was joined since */
        s[c.at].id = c.id;
        s[c.at].behind = s[next].behind;
        s[next].id = -1;
        if (s[c.at].behind >= 0)
            s[s[c.at].behind].before = c.at;
        if (!push(e, m, s[c.at].before) || !push(e, m, c.at))
            return false;
    }
    for (int32_t i = 0; i >= 0; i = s[i].behind)
        if (!ak__ids_add(&e->ids, s[i].id))
            return false;
    return true;
}

/* Is the whole word a token? */
static int32_t whole_word(const ak_tokenizer *t, const uint8_t *word, int64_t n)
{
    uint8_t text[AK__MOST_STRING + 4];
    int64_t spelt = 0;
    if (!t->model.bpe.bytes)
        return ak__vocab_find(&t->vocab, word, n);
    for (int64_t i = 0; i < n; i++) {
        if (spelt > AK__MOST_STRING)
            return -1;
        spelt += ak__utf8_put(text + spelt, ak__byte_char(word[i]));
    }
    return ak__vocab_find(&t->vocab, text, spelt);
}

bool ak__bpe_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n)
{
    int64_t count;
    if (t->model.bpe.whole) {
        const int32_t id = whole_word(t, word, n);
        if (id >= 0)
            return ak__ids_add(&e->ids, id);
    }
    if (!symbols(t, e, word, n, &count))
        return false;
    return count == 0 || (count <= SHORT ? join_short(t, e, count) : join_long(t, e, count));
}

/* ---- bytes as characters --------------------------------------------------------------------- */

/* Printable bytes stand for themselves, the others for U+0100 and on, in their order. */
int32_t ak__byte_char(uint8_t byte)
{
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    if (byte <= ' ')
        return 0x100 + byte;
    return byte == 0xad ? 0x100 + 67 : 0x100 + 33 + byte - 0x7f;
}

int ak__char_byte(int32_t c)
{
    if (c < 0x100)
        return c > ' ' && c != 0x7f && ak__byte_char((uint8_t)c) == c ? c : -1;
    c -= 0x100;
    return c <= ' ' ? c : c < 67 ? c - 33 + 0x7f : c == 67 ? 0xad : -1;
}
