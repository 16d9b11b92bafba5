/* SPDX-License-Identifier: Apache-2.0 */
/* From text to ids: all stages, one after the other, in memory that is used again. */
#include "data/text/text.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <string.h>

/* ---- memory to work in ----------------------------------------------------------------------- */

static void lock(const ak_tokenizer *t)
{
    atomic_int *gate = (atomic_int *)(uintptr_t)&t->lock;
    while (atomic_exchange_explicit(gate, 1, memory_order_acquire)) { }
}

static void unlock(const ak_tokenizer *t)
{
    atomic_store_explicit((atomic_int *)(uintptr_t)&t->lock, 0, memory_order_release);
}

static void encoder_free(ak__encoder *e)
{
    ak__chars_free(&e->mended);
    ak__chars_free(&e->text);
    ak__chars_free(&e->other);
    ak__chars_free(&e->split[0]);
    ak__chars_free(&e->split[1]);
    ak__free(e->words.data);
    ak__free(e->more.data);
    ak__free(e->ids.data);
    ak__free(e->points.data);
    ak__free(e->symbols);
    ak__free(e->heap);
    ak__free(e->lattice);
    ak__free(e->cache);
    ak__free(e);
}

ak__encoder *ak__encoder_take(const ak_tokenizer *t)
{
    ak_tokenizer *own = (ak_tokenizer *)(uintptr_t)t;
    lock(t);
    ak__encoder *e = own->free;
    own->free = e ? e->next : NULL;
    unlock(t);
    if (e)
        return e;
    e = ak__malloc(sizeof *e);
    ak__cached *cache = ak__malloc(AK__CACHE_SLOTS * sizeof *cache);
    if (!e || !cache) {
        ak__free(e);
        ak__free(cache);
        return NULL;
    }
    *e = (ak__encoder){ .cache = cache };
    for (int i = 0; i < AK__CACHE_SLOTS; i++)
        cache[i].bytes = 0;
    return e;
}

void ak__encoder_give(const ak_tokenizer *t, ak__encoder *e)
{
    ak_tokenizer *own = (ak_tokenizer *)(uintptr_t)t;
    lock(t);
    e->next = own->free;
    own->free = e;
    unlock(t);
}

void ak__encoders_free(ak_tokenizer *t)
{
    while (t->free) {
        ak__encoder *e = t->free;
        t->free = e->next;
        encoder_free(e);
    }
}

/* ---- words to ids ---------------------------------------------------------------------------- */

static bool by_model(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n)
{
    switch (t->kind) {
    case AK_TOKENIZER_BPE:
        return ak__bpe_encode(t, e, word, n);
    case AK_TOKENIZER_WORDPIECE:
        return ak__wordpiece_encode(t, e, word, n);
    case AK_TOKENIZER_UNIGRAM:
        return ak__unigram_encode(t, e, word, n);
    }
    return false;
}

/* A word that was met is copied from the cache. What stands behind a word may be read. */
static bool word_ids(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n)
{
    if (n > AK__CACHED_BYTES)
        return by_model(t, e, word, n);
    ak__cached *c = &e->cache[ak__text_hash(word, n) % AK__CACHE_SLOTS];
    if (c->bytes == n && memcmp(c->word, word, (size_t)n) == 0) {
        if (!ak__ids_more(&e->ids, AK__CACHED_IDS))
            return false;
        memcpy(e->ids.data + e->ids.n, c->ids, sizeof c->ids);
        e->ids.n += c->n;
        return true;
    }
    const int64_t first = e->ids.n;
    if (!by_model(t, e, word, n))
        return false;
    const int64_t count = e->ids.n - first;
    if (count <= AK__CACHED_IDS) {
        c->bytes = (uint8_t)n;
        c->n = (uint8_t)count;
        memcpy(c->word, word, (size_t)n);
        memcpy(c->ids, e->ids.data + first, (size_t)count * sizeof *c->ids);
    }
    return true;
}

/* ---- pieces to words ------------------------------------------------------------------------- */

/* What is done with the words of a piece and with added tokens. */
typedef struct sink {
    bool (*word)(void *user, const uint8_t *text, int64_t n);   /* NULL: ids are added */
    void *user;
} sink;

static bool words_of(const ak_tokenizer *t, ak__encoder *e, ak__span piece, bool start,
                     const sink *to)
{
    const uint8_t *text;
    if (!ak__split(t, e, piece, start, &text))
        return false;
    for (int64_t i = 0; i < e->words.n; i++) {
        const ak__span w = e->words.data[i];
        if (!(to->word ? to->word(to->user, text + w.begin, w.end - w.begin)
                       : word_ids(t, e, text + w.begin, w.end - w.begin)))
            return false;
    }
    return true;
}

/* A piece without added tokens of the text as it is: normalised, then those of normalised text. */
static bool piece_ids(const ak_tokenizer *t, ak__encoder *e, const uint8_t *p, int64_t n,
                      bool start, const sink *to)
{
    int32_t id;
    e->text.n = 0;
    if (!ak__chars_add(&e->text, p, n) || !ak__normalize(t, e, &start))
        return false;
    for (int64_t at = 0; at < e->text.n; ) {
        ak__span found = { e->text.n, e->text.n };
        const bool there = ak__matcher_find(t, &t->normalized, e->text.data, e->text.n, at, &found,
                                            &id);
        if (found.begin > at &&
            !words_of(t, e, (ak__span){ at, found.begin }, start && at == 0, to))
            return false;
        if (there && !to->word && !ak__ids_add(&e->ids, id))
            return false;
        at = found.end;
    }
    return true;
}

static bool all_words(const ak_tokenizer *t, ak__encoder *e, const uint8_t *p, int64_t n,
                      const sink *to)
{
    int32_t id;
    if (n > AK__MOST_TEXT)
        return false;
    if (ak__utf8_valid(p, n) != n) {
        e->mended.n = 0;
        if (!ak__utf8_mend(&e->mended, p, n))
            return false;
        p = e->mended.data;
        n = e->mended.n;
    }
    for (int64_t at = 0; at < n; ) {
        ak__span   found = { n, n };
        const bool there = ak__matcher_find(t, &t->plain, p, n, at, &found, &id);
        if (found.begin > at && !piece_ids(t, e, p + at, found.begin - at, at == 0, to))
            return false;
        if (there && !to->word && !ak__ids_add(&e->ids, id))
            return false;
        at = found.end;
    }
    return true;
}

bool ak__tokenizer_words(const ak_tokenizer *t, ak__encoder *e, const uint8_t *text, int64_t n,
                         bool (*word)(void *user, const uint8_t *text, int64_t n), void *user)
{
    return all_words(t, e, text, n, &(sink){ word, user });
}

/* ---- what the post-processor makes ----------------------------------------------------------- */

/* How many ids of each text stay, with room for `room`. False: the file's rule can not be kept. */
static bool cut(const ak_tokenizer *t, int64_t room, bool pair, int64_t *a, int64_t *b)
{
    room = room > 0 ? room : 0;
    if (*a + *b <= room)
        return true;
    if (!pair) {
        *a = room;
        return true;
    }
    if (t->cut != AK__CUT_LONGEST) {
        int64_t *which = t->cut == AK__CUT_FIRST ? a : b;
        *which -= *a + *b - room;
        return *which > 0;
    }
    /* The longer one down to the shorter, then both. */
    const int64_t less = *a < *b ? *a : *b;
    int64_t       few = less, many = room - less > less ? room - less : less;
    if (less > room || few + many > room) {
        few = room / 2;
        many = few + room % 2;
    }
    const bool turned = *a > *b;
    *a = turned ? many : few;
    *b = turned ? few : many;
    return true;
}

static int64_t put_ids(const ak_tokenizer *t, const ak__encoder *e, const ak__template *how,
                       int64_t a, int64_t b, int32_t *ids, int32_t *types, int64_t most)
{
    const int64_t second = e->ids.n - e->first;
    int64_t       n = 0;
    for (int64_t k = 0; k < how->n; k++) {
        const ak__piece p = how->data[k];
        const int32_t  *from = &p.id;
        int64_t         count = 1;
        if (p.id == AK__TEXT_A) {
            from = e->ids.data + (t->limit_left ? e->first - a : 0);
            count = a;
        } else if (p.id == AK__TEXT_B) {
            from = e->ids.data + e->first + (t->limit_left ? second - b : 0);
            count = b;
        }
        const int64_t fits = n >= most ? 0 : count < most - n ? count : most - n;
        if (fits)
            memcpy(ids + n, from, (size_t)fits * sizeof *ids);
        for (int64_t i = 0; types && i < fits; i++)
            types[n + i] = p.type;
        n += count;
    }
    return n;
}

/* ---- public ---------------------------------------------------------------------------------- */

static bool arguments(const ak_tokenizer *t, const char *who, const char *text, int64_t bytes,
                      const int32_t *ids, int64_t most)
{
    if (!t || !text) {
        ak_fail(t ? t->ctx : NULL, AK_ERR_VALUE, "%s: %s is missing (NULL)", who,
                t ? "text" : "t");
        return false;
    }
    if (bytes < AK_TEXT_END || most < 0 || (most && !ids)) {
        ak_fail(t->ctx, AK_ERR_VALUE, "%s: bytes is %lld (AK_TEXT_END or from 0 on), most is %lld "
                "(from 0 on), ids are %s", who, (long long)bytes, (long long)most,
                ids ? "there" : "missing (NULL)");
        return false;
    }
    return true;
}

static int64_t length_of(const char *text, int64_t bytes)
{
    return bytes == AK_TEXT_END ? (int64_t)strlen(text) : bytes;
}

/* Ids of one text or two into e->ids. */
static bool texts_ids(const ak_tokenizer *t, ak__encoder *e, const char *a, int64_t a_bytes,
                      const char *b, int64_t b_bytes)
{
    const sink to = { NULL, NULL };
    e->ids.n = 0;
    if (!ak__ids_more(&e->ids, 1) ||
        !all_words(t, e, (const uint8_t *)a, length_of(a, a_bytes), &to))
        return false;
    e->first = e->ids.n;
    return !b || all_words(t, e, (const uint8_t *)b, length_of(b, b_bytes), &to);
}

int64_t ak_tokenizer_encode(const ak_tokenizer *t, const char *text, int64_t bytes, int32_t *ids,
                            int64_t most)
{
    if (!arguments(t, "ak_tokenizer_encode", text, bytes, ids, most))
        return -1;
    ak__encoder *e = ak__encoder_take(t);
    int64_t      n = -1, none = 0;
    if (!e)
        return -1;
    if (texts_ids(t, e, text, bytes, NULL, 0)) {
        int64_t a = e->first;
        if (t->limit)
            cut(t, t->limit - t->single.added, false, &a, &none);
        n = put_ids(t, e, &t->single, a, 0, ids, NULL, most);
    }
    ak__encoder_give(t, e);
    return n;
}

int64_t ak_tokenizer_encode_pair(const ak_tokenizer *t, const char *a, int64_t a_bytes,
                                 const char *b, int64_t b_bytes, int32_t *ids, int32_t *types,
                                 int64_t most)
{
    if (!arguments(t, "ak_tokenizer_encode_pair", a, a_bytes, ids, most) ||
        !arguments(t, "ak_tokenizer_encode_pair", b, b_bytes, ids, most))
        return -1;
    ak__encoder *e = ak__encoder_take(t);
    int64_t      n = -1;
    bool         kept = true;
    if (!e)
        return -1;
    if (texts_ids(t, e, a, a_bytes, b, b_bytes)) {
        int64_t first = e->first, second = e->ids.n - e->first;
        kept = !t->limit || cut(t, t->limit - t->pair.added, true, &first, &second);
        if (kept)
            n = put_ids(t, e, &t->pair, first, second, ids, types, most);
    }
    ak__encoder_give(t, e);
    if (!kept)
        ak_fail(t->ctx, AK_ERR_VALUE, "ak_tokenizer_encode_pair: \"%s\" wants the %s text alone "
                "cut to %lld ids in all, and it is too short for that", t->name,
                t->cut == AK__CUT_FIRST ? "first" : "second", (long long)t->limit);
    return n;
}

int64_t ak_tokenizer_encode_plain(const ak_tokenizer *t, const char *text, int64_t bytes,
                                  int32_t *ids, int64_t most)
{
    if (!arguments(t, "ak_tokenizer_encode_plain", text, bytes, ids, most))
        return -1;
    ak__encoder *e = ak__encoder_take(t);
    int64_t      n = -1;
    if (!e)
        return -1;
    if (texts_ids(t, e, text, bytes, NULL, 0)) {
        n = e->ids.n;
        if (most && n)
            memcpy(ids, e->ids.data, (size_t)(n < most ? n : most) * sizeof *ids);
    }
    ak__encoder_give(t, e);
    return n;
}

/* Steps of a batch whose longest text has `longest` ids. */
static int64_t batch_length(const ak_tokenizer *t, int64_t longest)
{
    int64_t T = longest > t->pad_to ? longest : t->pad_to;
    T = T > 1 ? T : 1;
    return t->pad_multiple ? (T + t->pad_multiple - 1) / t->pad_multiple * t->pad_multiple : T;
}

ak_index *ak_tokenizer_batch(const ak_tokenizer *t, const char *const *texts, int64_t n,
                             ak_index **lengths)
{
    if (lengths)
        *lengths = &ak__poison_index;
    if (!AK__GIVEN(NULL, t) || !AK__GIVEN(t->ctx, texts) || ak_error(t->ctx))
        return &ak__poison_index;
    if (n < 1) {
        ak_fail(t->ctx, AK_ERR_VALUE, "tokenizer_batch: n is %lld: one text at least",
                (long long)n);
        return &ak__poison_index;
    }
    int64_t   longest = 0;
    ak_index *l = ak__index_new(t->ctx, AK_SHAPE(n));
    for (int64_t i = 0; i < n && !ak_error(t->ctx); i++) {
        if (!texts[i]) {
            ak_fail(t->ctx, AK_ERR_VALUE, "tokenizer_batch: text %lld of %lld is missing (NULL)",
                    (long long)i, (long long)n);
            break;
        }
        const int64_t count = ak_tokenizer_encode(t, texts[i], AK_TEXT_END, NULL, 0);
        if (count < 0 || count > INT32_MAX - AK__MOST_TOKENS) {
            ak__fail_memory(t->ctx, strlen(texts[i]));
            break;
        }
        ak__index_data(l)[i] = (int32_t)count;
        longest = count > longest ? count : longest;
    }
    if (ak_error(t->ctx))
        return &ak__poison_index;
    const int64_t T = batch_length(t, longest);
    const int32_t pad = t->role[AK_TOKEN_PAD] >= 0 ? t->role[AK_TOKEN_PAD] : 0;
    ak_index     *ids = ak__index_new(t->ctx, AK_SHAPE(n, T));
    for (int64_t i = 0; i < n && !ak_error(t->ctx); i++) {
        int32_t *row = ak__index_data(ids) + i * T;
        if (ak_tokenizer_encode(t, texts[i], AK_TEXT_END, row, T) < 0)
            ak__fail_memory(t->ctx, strlen(texts[i]));
        for (int64_t k = l->data[i]; k < T; k++)
            row[k] = pad;
    }
    if (ak_error(t->ctx))
        return &ak__poison_index;
    if (lengths)
        *lengths = l;
    return ids;
}
