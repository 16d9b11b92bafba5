/* SPDX-License-Identifier: Apache-2.0 */
/* WordPiece: the longest token that a word begins with, then the longest that goes on ("##ing").
 * A word that is no sequence of tokens is one unknown. */
#include "data/text/text.h"

bool ak__wordpiece_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n)
{
    const ak__wordpiece *m = &t->model.wordpiece;
    const ak__trie      *trie = &m->trie;
    const int64_t        first = e->ids.n;
    int64_t              characters = 0;
    for (int64_t i = 0; i < n; i++)
        characters += (word[i] & 0xc0) != 0x80;
    for (int64_t i = 0, end = 0; i < n && characters <= m->longest; i = end) {
        int32_t node = i ? m->inside : AK__TRIE_ROOT, id = -1;
        for (int64_t k = i; node >= 0 && k < n; k++) {
            node = ak__trie_next(trie, node, word[k]);
            if (node >= 0 && trie->cell[node].value >= 0) {
                id = trie->cell[node].value;
                end = k + 1;
            }
        }
        if (id < 0) {
            e->ids.n = first;
            return ak__ids_add(&e->ids, m->unknown);
        }
        if (!ak__ids_add(&e->ids, id))
            return false;
    }
    return characters <= m->longest || ak__ids_add(&e->ids, m->unknown);
}
