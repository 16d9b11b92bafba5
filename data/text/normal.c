/* SPDX-License-Identifier: Apache-2.0 */
/* Normalizers: each reads e->text and writes e->other, then the two change places. */
#include "data/text/text.h"

#include "base/base.h"

#include <string.h>

static bool is_ascii(const uint8_t *p, int64_t n)
{
    uint64_t bits = 0, eight;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&eight, p, 8);
        bits |= eight;
    }
    while (n--)
        bits |= *p++;
    return !(bits & 0x8080808080808080u);
}

/* ---- BERT ------------------------------------------------------------------------------------ */

/* Is it removed by "clean_text"? Unassigned characters are not. */
static bool unclean(int32_t c)
{
    return c == 0 || c == 0xfffd ||
           ((ak__classes(c) & AK__OTHER) && c != '\t' && c != '\n' && c != '\r');
}

static bool blank(int32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (ak__classes(c) & AK__SPACE);
}

/* In ASCII there are no accents and no Chinese characters. Writes n bytes at most. */
static void bert_ascii(const ak__normal *s, const uint8_t *p, int64_t n, ak__chars *to)
{
    uint8_t *out = to->data + to->n;
    for (int64_t i = 0; i < n; i++) {
        uint8_t c = p[i];
        if (s->clean) {
            if (unclean(c))
                continue;
            c = blank(c) ? ' ' : c;
        }
        *out++ = s->lower && c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
    }
    to->n = out - to->data;
}

static bool bert_clean(const ak__normal *s, const ak__chars *from, ak__chars *to)
{
    int bytes;
    for (int64_t i = 0; i < from->n; i += bytes) {
        const int32_t c = ak__utf8_at(from->data + i, &bytes);
        if (s->clean && unclean(c))
            continue;
        if (!ak__chars_more(to, 6))
            return false;
        const bool alone = s->chinese && ak__unicode_chinese(c);
        if (alone)
            to->data[to->n++] = ' ';
        to->n += ak__utf8_put(to->data + to->n, s->clean && blank(c) ? ' ' : c);
        if (alone)
            to->data[to->n++] = ' ';
    }
    return true;
}

/* Keep characters that are in none of these classes. */
static bool without(unsigned classes, const ak__chars *from, ak__chars *to)
{
    int bytes;
    if (!ak__chars_more(to, from->n))
        return false;
    for (int64_t i = 0; i < from->n; i += bytes)
        if (!(ak__classes(ak__utf8_at(from->data + i, &bytes)) & classes)) {
            memcpy(to->data + to->n, from->data + i, (size_t)bytes);
            to->n += bytes;
        }
    return true;
}

static bool lower(const ak__chars *from, ak__chars *to)
{
    int bytes;
    for (int64_t i = 0; i < from->n; i += bytes)
        if (!ak__unicode_lower(to, ak__utf8_at(from->data + i, &bytes)))
            return false;
    return true;
}

static void swap_texts(ak__encoder *e)
{
    const ak__chars text = e->text;
    e->text = e->other;
    e->other = text;
    e->other.n = 0;
}

/* A normal form. Below U+0300 everything is composed, and letters without accents are ASCII. */
static bool form(ak__encoder *e, ak__normal_form which)
{
    if (is_ascii(e->text.data, e->text.n))
        return ak__chars_add(&e->other, e->text.data, e->text.n);
    return ak__unicode_normal(&e->other, e->text.data, e->text.n, which, &e->points);
}

static bool bert(const ak__normal *s, ak__encoder *e)
{
    if (is_ascii(e->text.data, e->text.n)) {
        if (!ak__chars_more(&e->other, e->text.n))
            return false;
        bert_ascii(s, e->text.data, e->text.n, &e->other);
        return true;
    }
    if (!bert_clean(s, &e->text, &e->other))
        return false;
    if (s->accents) {
        swap_texts(e);
        if (!form(e, AK__NFD))
            return false;
        swap_texts(e);
        if (!without(AK__MARK_NONSPACING, &e->text, &e->other))
            return false;
    }
    if (s->lower) {
        swap_texts(e);
        return lower(&e->text, &e->other);
    }
    return true;
}

/* ---- others ---------------------------------------------------------------------------------- */

static bool strip(const ak__normal *s, const ak__chars *from, ak__chars *to)
{
    int64_t begin = 0, end = from->n;
    int     bytes;
    while (s->left && begin < end &&
           (ak__classes(ak__utf8_at(from->data + begin, &bytes)) & AK__SPACE))
        begin += bytes;
    while (s->right && end > begin) {
        const int32_t c = ak__utf8_before(from->data + end);
        uint8_t       spelt[4];
        if (!(ak__classes(c) & AK__SPACE))
            break;
        end -= ak__utf8_put(spelt, c);
    }
    return ak__chars_add(to, from->data + begin, end - begin);
}

static bool replace(const ak__normal *s, const ak__chars *from, ak__chars *to)
{
    int64_t i = 0, start = 0;
    while (i + s->from.n <= from->n)
        if (from->data[i] == s->from.text[0] &&
            memcmp(from->data + i, s->from.text, (size_t)s->from.n) == 0) {
            if (!ak__chars_add(to, from->data + start, i - start) ||
                !ak__chars_add(to, s->to.text, s->to.n))
                return false;
            start = i += s->from.n;
        } else {
            i++;
        }
    return ak__chars_add(to, from->data + start, from->n - start);
}

/* Runs of spaces. */
static bool replace_spaces(const ak__normal *s, const ak__chars *from, ak__chars *to)
{
    int bytes = 0;
    for (int64_t i = 0; i < from->n; ) {
        int64_t end = i, count = 0;
        for (; end < from->n; end += bytes, count++) {
            const int32_t c = ak__utf8_at(from->data + end, &bytes);
            if (s->all_spaces ? !(ak__classes(c) & AK__SPACE) : c != ' ')
                break;
        }
        if (count >= s->least) {
            if (!ak__chars_add(to, s->to.text, s->to.n))
                return false;
            i = end;
        } else {
            end += count ? 0 : bytes;
            if (!ak__chars_add(to, from->data + i, end - i))
                return false;
            i = end;
        }
    }
    return true;
}

/* Of the Transformer's preprocessing, as sentencepiece has it. */
static bool nmt(const ak__chars *from, ak__chars *to)
{
    int bytes;
    if (!ak__chars_more(to, from->n))
        return false;
    for (int64_t i = 0; i < from->n; i += bytes) {
        const int32_t c = ak__utf8_at(from->data + i, &bytes);
        if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            continue;
        const bool space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
                           (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 ||
                           c == 0x2581 || c == 0xfeff || c == 0xfffd;
        to->n += ak__utf8_put(to->data + to->n, space ? ' ' : c);
    }
    return true;
}

static bool one(const ak__normal *s, ak__encoder *e, bool *start)
{
    switch (s->kind) {
    case AK__NORMAL_BERT:
        return bert(s, e);
    case AK__NORMAL_FORM:
        return form(e, s->form);
    case AK__NORMAL_LOWER:
        return lower(&e->text, &e->other);
    case AK__NORMAL_STRIP_ACCENTS:
        return without(AK__MARK, &e->text, &e->other);
    case AK__NORMAL_STRIP:
        return strip(s, &e->text, &e->other);
    case AK__NORMAL_REPLACE:
        return replace(s, &e->text, &e->other);
    case AK__NORMAL_REPLACE_SPACES:
        return replace_spaces(s, &e->text, &e->other);
    case AK__NORMAL_PREPEND:
        return (!e->text.n || ak__chars_add(&e->other, s->to.text, s->to.n)) &&
               ak__chars_add(&e->other, e->text.data, e->text.n);
    case AK__NORMAL_NMT:
        return nmt(&e->text, &e->other);
    case AK__NORMAL_CHARSMAP:
        return ak__charsmap_normalize(&s->map, &e->other, e->text.data, e->text.n, start);
    }
    return true;
}

/* Was something removed at the front? Only stages that remove characters can do it; what they leave
 * is then the end of what they got. */
static void watch_start(const ak__normal *s, const ak__encoder *e, bool *start)
{
    int bytes = 0;
    if (!e->text.n)
        return;
    const int32_t c = ak__utf8_at(e->text.data, &bytes);
    switch (s->kind) {
    case AK__NORMAL_BERT:
        *start = *start && !(s->clean && unclean(c));
        break;
    case AK__NORMAL_STRIP_ACCENTS:
        *start = *start && !(ak__classes(c) & AK__MARK);
        break;
    case AK__NORMAL_STRIP:
        *start = *start && !(s->left && (ak__classes(c) & AK__SPACE));
        break;
    case AK__NORMAL_REPLACE:
        *start = *start && !(s->to.n == 0 && e->text.n >= s->from.n &&
                             memcmp(e->text.data, s->from.text, (size_t)s->from.n) == 0);
        break;
    case AK__NORMAL_NMT:
        *start = *start && !((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) ||
                             c == 0x7f || c == 0x8f || c == 0x9f);
        break;
    default:
        break;
    }
}

bool ak__normalize(const ak_tokenizer *t, ak__encoder *e, bool *start)
{
    for (int k = 0; k < t->n_normal; k++) {
        e->other.n = 0;
        watch_start(&t->normal[k], e, start);
        if (!one(&t->normal[k], e, start))
            return false;
        swap_texts(e);
    }
    return true;
}
