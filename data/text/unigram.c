/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: of all ways to make the word of tokens, the one whose sum of scores is largest; of equal
 * ones the first that is found, from the front and with shorter tokens first. A character that is
 * no token counts as unknown, and unknown ones side by side are one. */
#include "data/text/text.h"

/* The best way to every place in the word. */
static void forward(const ak__unigram *m, ak__lattice *best, const uint8_t *word, int64_t n)
{
    for (int64_t i = 0, bytes; i < n; i += bytes) {
        const double here = best[i].score;
        bool         single = false;
        int32_t      node = AK__TRIE_ROOT;
        bytes = ak__utf8_length(word[i]);
        for (int64_t k = i; k < n; k++) {
            node = ak__trie_next(&m->trie, node, word[k]);
            if (node < 0)
                break;
            const int32_t id = m->trie.cell[node].value;
            if (id < 0)
                continue;
            const double score = m->score[id] + here;
            if (best[k + 1].from < 0 || score > best[k + 1].score)
                best[k + 1] = (ak__lattice){ score, (int32_t)i, id };
            single = single || k + 1 - i == bytes;
        }
        ak__lattice *to = &best[i + bytes];
        if (!single && (to->from < 0 || m->unknown_score + here > to->score))
            *to = (ak__lattice){ m->unknown_score + here, (int32_t)i, m->unknown };
    }
}

/* Ids of unknown text: bytes, if all are tokens. */
static bool unknown(const ak_tokenizer *t, ak__encoder *e, const uint8_t *p, int64_t n)
{
    const ak__unigram *m = &t->model.unigram;
    const int32_t      whole = ak__vocab_find(&t->vocab, p, n);
    if (whole >= 0 && !(t->vocab.traits[whole] & AK__TOKEN_ADDED))
        return ak__ids_add(&e->ids, whole);
    bool all = m->fallback;
    for (int64_t i = 0; i < n && all; i++)
        all = m->byte[p[i]] >= 0;
    for (int64_t i = 0; i < n && all; i++)
        if (!ak__ids_add(&e->ids, m->byte[p[i]]))
            return false;
    return all || ak__ids_add(&e->ids, m->unknown);
}

bool ak__unigram_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n)
{
    const ak__unigram *m = &t->model.unigram;
    if (!ak__grow((void **)&e->lattice, &e->lattice_room, n + 1, sizeof *e->lattice))
        return false;
    ak__lattice *best = e->lattice;
    for (int64_t i = 0; i <= n; i++)
        best[i] = (ak__lattice){ 0, -1, -1 };
    forward(m, best, word, n);
    /* Turn the way around: the score of a place, no more needed, becomes the next place. */
    for (int64_t end = n, from; end > 0; end = from) {
        from = best[end].from;
        best[from].score = (double)end;
    }
    for (int64_t at = 0; at < n; ) {
        int64_t end = (int64_t)best[at].score;
        if (best[end].id != m->unknown) {
            if (!ak__ids_add(&e->ids, best[end].id))
                return false;
        } else {
            while (end < n && best[(int64_t)best[end].score].id == m->unknown)
                end = (int64_t)best[end].score;
            if (!unknown(t, e, word + at, end - at))
                return false;
        }
        at = end;
    }
    return true;
}
