/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens in a text: the first place, and of those that begin there the longest. */
#include "data/text/text.h"

static bool word_before(const uint8_t *text, int64_t at)
{
    return at > 0 && (ak__classes(ak__utf8_before(text + at)) & AK__WORD);
}

static bool word_behind(const uint8_t *text, int64_t n, int64_t at)
{
    int bytes;
    return at < n && (ak__classes(ak__utf8_at(text + at, &bytes)) & AK__WORD);
}

/* Where the spaces before `at` begin, not before `least`. */
static int64_t spaces_before(const uint8_t *text, int64_t least, int64_t at)
{
    while (at > least) {
        const int32_t c = ak__utf8_before(text + at);
        uint8_t       spelt[4];
        if (!(ak__classes(c) & AK__SPACE))
            break;
        at -= ak__utf8_put(spelt, c);
    }
    return at > least ? at : least;
}

static int64_t spaces_behind(const uint8_t *text, int64_t n, int64_t at)
{
    int bytes;
    while (at < n && (ak__classes(ak__utf8_at(text + at, &bytes)) & AK__SPACE))
        at += bytes;
    return at;
}

/* The longest token at text[i]: its place in t->added, -1 for none. */
static int32_t longest(const ak__matcher *m, const uint8_t *text, int64_t n, int64_t i,
                       int64_t *end)
{
    int32_t node = AK__TRIE_ROOT, found = -1;
    for (int64_t k = i; k < n; k++) {
        node = ak__trie_next(&m->trie, node, text[k]);
        if (node < 0)
            break;
        if (m->trie.cell[node].value >= 0) {
            found = m->trie.cell[node].value;
            *end = k + 1;
        }
    }
    return found;
}

bool ak__matcher_find(const ak_tokenizer *t, const ak__matcher *m, const uint8_t *text, int64_t n,
                      int64_t from, ak__span *at, int32_t *id)
{
    if (!m->n)
        return false;
    for (int64_t i = from, end = 0; i < n; i++) {
        if (!m->first[text[i]])
            continue;
        const int32_t place = longest(m, text, n, i, &end);
        if (place < 0)
            continue;
        const ak__added *a = &t->added[place];
        if (a->single_word && (word_before(text, i) || word_behind(text, n, end))) {
            i = end - 1;        /* the search goes on behind it */
            continue;
        }
        at->begin = a->left ? spaces_before(text, from, i) : i;
        at->end = a->right ? spaces_behind(text, n, end) : end;
        *id = a->id;
        return true;
    }
    return false;
}
