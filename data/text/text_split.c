/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers: a piece of text becomes words. Words are spans; where a pre-tokenizer spells them
 * in another way, they lie in a text of their own. */
#include "data/text/text.h"

#include <string.h>

/* ---- matches --------------------------------------------------------------------------------- */

/* The match of s at or behind text[i], up to `end`: its begin in *begin, its end returned; `end`
 * with *begin = end if there is none. */
static int64_t next_match(const ak__splitter *s, const uint8_t *text, int64_t i, int64_t end,
                          int64_t *begin)
{
    int bytes;
    for (; i < end; i += bytes) {
        int64_t length = 0;
        bytes = ak__utf8_length(text[i]);
        if (s->pattern == AK__PATTERN_TEXT) {
            if (s->text.n && s->text.n <= end - i && text[i] == s->text.text[0] &&
                memcmp(text + i, s->text.text, (size_t)s->text.n) == 0)
                length = s->text.n;
        } else if (s->pattern == AK__PATTERN_CLASS) {
            length = ak__classes(ak__utf8_at(text + i, &bytes)) & s->classes ? bytes : 0;
        } else {
            length = ak__pattern_match(s->pattern, text + i, text + end);
        }
        if (length) {
            *begin = i;
            return i + length;
        }
    }
    *begin = end;
    return end;
}

/* Parts of a span, matches and what stands between them, come in order and become words. */
typedef struct joiner {
    ak__behavior behavior;
    bool         before;        /* was the part before it a match? */
    int64_t      first;         /* words before this one are of another span */
    ak__spans   *to;
} joiner;

static bool part(joiner *j, int64_t begin, int64_t end, bool match)
{
    ak__span *last = j->to->n > j->first ? &j->to->data[j->to->n - 1] : NULL;
    const bool before = j->before;
    j->before = match;
    switch (j->behavior) {
    case AK__REMOVED:
        return match || ak__spans_add(j->to, begin, end);
    case AK__ISOLATED:
        return ak__spans_add(j->to, begin, end);
    case AK__CONTIGUOUS:
        if (match == before && last) {
            last->end = end;
            return true;
        }
        return ak__spans_add(j->to, begin, end);
    case AK__MERGED_PREVIOUS:
        if (match && !before && last) {
            last->end = end;
            return true;
        }
        return ak__spans_add(j->to, begin, end);
    case AK__MERGED_NEXT:
        /* Read from the back, a match joins what stands behind it unless that is a match. */
        if (!match && before && last) {
            last->end = end;
            return true;
        }
        return ak__spans_add(j->to, begin, end);
    }
    return true;
}

bool ak__split_pattern(const ak__splitter *s, const uint8_t *text, ak__span span, ak__spans *to)
{
    joiner  j = { s->behavior, false, to->n, to };
    int64_t i = span.begin, begin;
    while (i < span.end) {
        const int64_t end = next_match(s, text, i, span.end, &begin);
        if (begin > i && !part(&j, i, begin, s->invert))
            return false;
        if (end > begin && !part(&j, begin, end, !s->invert))
            return false;
        i = end;
    }
    return true;
}

/* ---- BERT ------------------------------------------------------------------------------------ */

/* Spaces are removed, marks of punctuation are words. */
static bool bert(const uint8_t *text, ak__span span, ak__spans *to)
{
    int64_t start = span.begin;
    int     bytes;
    for (int64_t i = span.begin; i < span.end; i += bytes) {
        const unsigned classes = ak__classes(ak__utf8_at(text + i, &bytes));
        if (!(classes & (AK__SPACE | AK__PUNCTUATION)))
            continue;
        if ((i > start && !ak__spans_add(to, start, i)) ||
            ((classes & AK__PUNCTUATION) && !(classes & AK__SPACE) &&
             !ak__spans_add(to, i, i + bytes)))
            return false;
        start = i + bytes;
    }
    return start == span.end || ak__spans_add(to, start, span.end);
}

/* ---- words that are spelt in another way ----------------------------------------------------- */

static bool split_words(const ak__splitter *s, const uint8_t *text, ak__span span, ak__spans *to)
{
    return s->split ? ak__split_pattern(s, text, span, to)
                    : ak__spans_add(to, span.begin, span.end);
}

/* GPT-2's: a space in front. Bytes stay bytes: the model knows what stands for them. */
static bool byte_level(const ak__splitter *s, ak__encoder *e, ak__chars *out, const uint8_t **text)
{
    bool spelt = false;
    for (int64_t i = 0; i < e->words.n && s->prefix_space; i++)
        spelt = spelt || (*text)[e->words.data[i].begin] != ' ';
    e->more.n = out->n = 0;
    for (int64_t i = 0; i < e->words.n; i++) {
        ak__span w = e->words.data[i];
        if (spelt) {
            const int64_t begin = out->n;
            if (((*text)[w.begin] != ' ' && !ak__chars_add(out, " ", 1)) ||
                !ak__chars_add(out, *text + w.begin, w.end - w.begin))
                return false;
            w = (ak__span){ begin, out->n };
        } else if (!split_words(s, *text, w, &e->more)) {
            return false;
        }
        if (spelt && !ak__spans_add(&e->more, w.begin, w.end))
            return false;
    }
    if (!spelt)
        return true;
    *text = out->data;
    if (!s->split)
        return true;
    const int64_t n = e->more.n;        /* whole words first, their parts behind them */
    for (int64_t i = 0; i < n; i++)
        if (!ak__split_pattern(s, *text, e->more.data[i], &e->more))
            return false;
    memmove(e->more.data, e->more.data + n, (size_t)(e->more.n - n) * sizeof *e->more.data);
    e->more.n -= n;
    return true;
}

/* sentencepiece's: spaces become a visible sign, one more in front, words begin with it. */
static bool metaspace(const ak__splitter *s, ak__encoder *e, int64_t piece, bool start,
                      ak__chars *out, const uint8_t **text)
{
    e->more.n = out->n = 0;
    for (int64_t i = 0; i < e->words.n; i++) {
        const ak__span w = e->words.data[i];
        const uint8_t *p = *text + w.begin;
        const int64_t  n = w.end - w.begin, begin = out->n;
        const bool     there = *p == ' ' || (n >= s->text.n &&
                                             memcmp(p, s->text.text, (size_t)s->text.n) == 0);
        if (!there && (s->prepend == AK__PREPEND_ALWAYS ||
                       (s->prepend == AK__PREPEND_FIRST && start && w.begin == piece)) &&
            !ak__chars_add(out, s->text.text, s->text.n))
            return false;
        for (int64_t k = 0, from = 0; k <= n; k++)
            if (k == n || p[k] == ' ') {
                if (!ak__chars_add(out, p + from, k - from) ||
                    (k < n && !ak__chars_add(out, s->text.text, s->text.n)))
                    return false;
                from = k + 1;
            }
        if (!ak__spans_add(&e->more, begin, out->n))
            return false;
    }
    *text = out->data;
    if (!s->split)
        return true;
    const int64_t n = e->more.n;
    for (int64_t i = 0; i < n; i++)
        if (!ak__split_pattern(s, *text, e->more.data[i], &e->more))
            return false;
    memmove(e->more.data, e->more.data + n, (size_t)(e->more.n - n) * sizeof *e->more.data);
    e->more.n -= n;
    return true;
}

static bool one(const ak__splitter *s, ak__encoder *e, int64_t piece, bool start, ak__chars *out,
                const uint8_t **text)
{
    switch (s->kind) {
    case AK__SPLIT_BYTES:
        return byte_level(s, e, out, text);
    case AK__SPLIT_METASPACE:
        return metaspace(s, e, piece, start, out, text);
    case AK__SPLIT_PATTERN:
    case AK__SPLIT_BERT:
        break;
    }
    e->more.n = 0;
    for (int64_t i = 0; i < e->words.n; i++)
        if (!(s->kind == AK__SPLIT_BERT ? bert(*text, e->words.data[i], &e->more)
                                        : ak__split_pattern(s, *text, e->words.data[i], &e->more)))
            return false;
    return true;
}

bool ak__split(const ak_tokenizer *t, ak__encoder *e, ak__span piece, bool start,
               const uint8_t **text)
{
    *text = e->text.data;
    e->words.n = 0;
    if (piece.begin == piece.end)
        return true;
    if (!ak__spans_add(&e->words, piece.begin, piece.end))
        return false;
    int64_t first = piece.begin;
    for (int k = 0; k < t->n_split; k++) {
        const uint8_t *before = *text;
        ak__chars     *out = *text == e->split[0].data ? &e->split[1] : &e->split[0];
        if (!one(&t->split[k], e, first, start, out, text))
            return false;
        const ak__spans words = e->words;
        e->words = e->more;
        e->more = words;
        first = *text != before ? 0 : first;
    }
    return true;
}
