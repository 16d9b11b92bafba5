/* SPDX-License-Identifier: Apache-2.0 */
/* sentencepiece's compiled normalisation ("precompiled_charsmap"): bytes of a double array of
 * Darts, then texts, each ended by a zero, that its values point to. */
#include "data/text/text.h"

#include "base/base.h"

#include <string.h>

static uint32_t little(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

const char *ak__charsmap_read(ak__charsmap *m, const uint8_t *bytes, int64_t n, bool *memory)
{
    *memory = false;
    if (n < 4)
        return "has no size in front";
    const int64_t size = little(bytes);
    if (size > n - 4 || size % 4 || size == 0)
        return "has a size in front that is not that of its array";
    const uint8_t *texts = bytes + 4 + size;
    const int64_t  n_texts = n - 4 - size;
    if (ak__utf8_valid(texts, n_texts) != n_texts)
        return "holds texts that are no UTF-8";
    m->n_units = size / 4;
    m->n_texts = n_texts;
    m->units = ak__malloc((size_t)size);
    m->texts = ak__malloc((size_t)n_texts + 1);
    if (!m->units || !m->texts) {
        *memory = true;
        return "needs more memory than there is";
    }
    for (int64_t i = 0; i < m->n_units; i++)
        m->units[i] = little(bytes + 4 + 4 * i);
    if (n_texts)
        memcpy(m->texts, texts, (size_t)n_texts);
    m->texts[n_texts] = 0;
    return NULL;
}

/* A unit's parts. */
static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* What the shortest key that p begins with becomes; false: no key. An array that points outside of
 * itself or into the middle of a character has no key there. */
static bool look_up(const ak__charsmap *m, const uint8_t *p, int64_t n, ak__string *to)
{
    uint32_t at = offset_of(m->units[0]);
    for (int64_t i = 0; i < n && p[i]; i++) {
        at ^= p[i];
        if (at >= m->n_units)
            return false;
        const uint32_t unit = m->units[at];
        if ((unit & (1u << 31 | 0xff)) != p[i])
            return false;
        at ^= offset_of(unit);
        if (at >= m->n_units)
            return false;
        if (unit >> 8 & 1) {
            const int64_t value = m->units[at] & 0x7fffffff;
            if (value > m->n_texts || (m->texts[value] & 0xc0) == 0x80)
                return false;
            to->text = m->texts + value;
            to->n = (int64_t)strlen((const char *)to->text);
            return true;
        }
    }
    return false;
}

bool ak__charsmap_normalize(const ak__charsmap *m, ak__chars *to, const uint8_t *p, int64_t n,
                            bool *start)
{
    int64_t length;
    for (int64_t i = 0; i < n; i += length) {
        ak__string s;
        int64_t    whole = ak__unicode_grapheme(p + i, n - i);
        /* A short cluster as one; what the key does not cover is left out, as others do it. */
        if (whole < 6 && look_up(m, p + i, whole, &s)) {
            length = whole;
            *start = *start && !(i == 0 && s.n == 0);
            if (!ak__chars_add(to, s.text, s.n))
                return false;
            continue;
        }
        for (length = 0; length < whole; ) {
            const uint8_t *c = p + i + length;
            const int      bytes = ak__utf8_length(*c);
            const bool     known = look_up(m, c, bytes, &s);
            *start = *start && !(known && i + length == 0 && s.n == 0);
            if (!(known ? ak__chars_add(to, s.text, s.n) : ak__chars_add(to, c, bytes)))
                return false;
            length += bytes;
        }
    }
    return true;
}
