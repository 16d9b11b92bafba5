/* SPDX-License-Identifier: Apache-2.0 */
/* From ids to text: tokens as texts, changed by one decoder after the other, then put together. */
#include "data/text/text.h"

#include "base/base.h"

#include <string.h>

/* Texts stand side by side in e->text, spans of them in e->words; the next ones go to e->other and
 * e->more. */
static void next_stage(ak__encoder *e)
{
    const ak__chars text = e->text;
    const ak__spans words = e->words;
    e->text = e->other;
    e->other = text;
    e->words = e->more;
    e->more = words;
    e->other.n = e->more.n = 0;
}

static bool end_token(ak__encoder *e, int64_t begin)
{
    return ak__spans_add(&e->more, begin, e->other.n);
}

static bool begins(const uint8_t *p, int64_t n, ak__string s)
{
    return n >= s.n && (s.n == 0 || memcmp(p, s.text, (size_t)s.n) == 0);
}

/* Add p with `to` for every `from`. */
static bool replaced(ak__chars *out, const uint8_t *p, int64_t n, ak__string from, ak__string to)
{
    int64_t start = 0;
    for (int64_t i = 0; from.n && i + from.n <= n; )
        if (begins(p + i, n - i, from)) {
            if (!ak__chars_add(out, p + start, i - start) || !ak__chars_add(out, to.text, to.n))
                return false;
            start = i += from.n;
        } else {
            i++;
        }
    return ak__chars_add(out, p + start, n - start);
}

static ak__string string(const char *text)
{
    return (ak__string){ (const uint8_t *)text, (int64_t)strlen(text) };
}

/* Bytes of a token whose characters all stand for one; others as they are. */
static bool bytes_token(ak__encoder *e, const uint8_t *p, int64_t n)
{
    int  bytes;
    bool all = true;
    for (int64_t i = 0; i < n && all; i += bytes)
        all = ak__char_byte(ak__utf8_at(p + i, &bytes)) >= 0;
    if (!all)
        return ak__chars_add(&e->other, p, n);
    if (!ak__chars_more(&e->other, n))
        return false;
    for (int64_t i = 0; i < n; i += bytes)
        e->other.data[e->other.n++] = (uint8_t)ak__char_byte(ak__utf8_at(p + i, &bytes));
    return true;
}

/* One text of all tokens. */
static bool bytes_all(ak__encoder *e)
{
    for (int64_t i = 0; i < e->words.n; i++)
        if (!bytes_token(e, e->text.data + e->words.data[i].begin,
                         e->words.data[i].end - e->words.data[i].begin))
            return false;
    e->mended.n = 0;
    if (!ak__utf8_mend(&e->mended, e->other.data, e->other.n))
        return false;
    const ak__chars mended = e->mended;
    e->mended = e->other;
    e->other = mended;
    return end_token(e, 0);
}

/* Spaces that English does not have: "do n't" and "end ." */
static bool cleaned(ak__encoder *e, int64_t begin)
{
    static const char *const pairs[][2] = {
        { " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" },
        { " n't", "n't" }, { " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" },
        { " 've", "'ve" }, { " 're", "'re" } };
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        e->mended.n = 0;
        if (!replaced(&e->mended, e->other.data + begin, e->other.n - begin, string(pairs[k][0]),
                      string(pairs[k][1])))
            return false;
        e->other.n = begin;
        if (!ak__chars_add(&e->other, e->mended.data, e->mended.n))
            return false;
    }
    return true;
}

static bool wordpiece(const ak__decoder *d, ak__encoder *e, const uint8_t *p, int64_t n,
                      bool first)
{
    const int64_t begin = e->other.n;
    const bool    inside = !first && begins(p, n, d->from);
    if (!first && !inside && !ak__chars_add(&e->other, " ", 1))
        return false;
    if (inside) {
        p += d->from.n;
        n -= d->from.n;
    }
    return ak__chars_add(&e->other, p, n) && (!d->cleanup || cleaned(e, begin));
}

static bool metaspace(const ak__decoder *d, ak__encoder *e, const uint8_t *p, int64_t n, bool first)
{
    const ak__string space = string(first && !d->keep_first ? "" : " ");
    return replaced(&e->other, p, n, d->from, space);
}

static bool stripped(const ak__decoder *d, ak__encoder *e, const uint8_t *p, int64_t n)
{
    int64_t begin = 0, end = n;
    for (int64_t k = 0; k < d->start && begins(p + begin, n - begin, d->from); k++)
        begin += d->from.n;
    for (int64_t k = 0; k < d->stop && end - d->from.n >= begin &&
                        begins(p + end - d->from.n, d->from.n, d->from); k++)
        end -= d->from.n;
    return ak__chars_add(&e->other, p + begin, end - begin);
}

/* "<0xE2>": its byte; -1 for another token. */
static int byte_of(const uint8_t *p, int64_t n)
{
    int value = 0;
    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        const int digit = p[i] >= '0' && p[i] <= '9' ? p[i] - '0'
                        : p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10
                        : p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* Runs of bytes: a text, or one U+FFFD for each. */
static bool fallback(ak__encoder *e)
{
    for (int64_t i = 0, k; i < e->words.n; i = k) {
        const int64_t begin = e->other.n;
        if (!ak__chars_more(&e->other, 3 * (e->words.n - i)))
            return false;
        for (k = i; k < e->words.n; k++) {
            const ak__span w = e->words.data[k];
            const int      byte = byte_of(e->text.data + w.begin, w.end - w.begin);
            if (byte < 0)
                break;
            e->other.data[e->other.n++] = (uint8_t)byte;
        }
        if (k > i) {
            const int64_t n = e->other.n - begin;
            if (ak__utf8_valid(e->other.data + begin, n) != n) {
                e->other.n = begin;
                for (int64_t j = i; j < k; j++)
                    if (!ak__chars_put(&e->other, 0xfffd))
                        return false;
            }
        } else {
            const ak__span w = e->words.data[k++];
            if (!ak__chars_add(&e->other, e->text.data + w.begin, w.end - w.begin))
                return false;
        }
        if (!end_token(e, begin))
            return false;
    }
    return true;
}

static bool one_token(const ak__decoder *d, ak__encoder *e, int64_t i)
{
    const uint8_t *p = e->text.data + e->words.data[i].begin;
    const int64_t  n = e->words.data[i].end - e->words.data[i].begin;
    switch (d->kind) {
    case AK__DECODE_WORDPIECE:
        return wordpiece(d, e, p, n, i == 0);
    case AK__DECODE_METASPACE:
        return metaspace(d, e, p, n, i == 0);
    case AK__DECODE_BPE:
        return replaced(&e->other, p, n, d->from, string(i == e->words.n - 1 ? "" : " "));
    case AK__DECODE_STRIP:
        return stripped(d, e, p, n);
    case AK__DECODE_REPLACE:
        return replaced(&e->other, p, n, d->from, d->to);
    case AK__DECODE_FUSE:
    case AK__DECODE_BYTES:
    case AK__DECODE_FALLBACK:
        break;
    }
    return ak__chars_add(&e->other, p, n);
}

static bool stage(const ak__decoder *d, ak__encoder *e)
{
    if (d->kind == AK__DECODE_BYTES)
        return bytes_all(e);
    if (d->kind == AK__DECODE_FALLBACK)
        return fallback(e);
    for (int64_t i = 0; i < e->words.n; i++) {
        const int64_t begin = e->other.n;
        if (!one_token(d, e, i) || (d->kind != AK__DECODE_FUSE && !end_token(e, begin)))
            return false;
    }
    return d->kind != AK__DECODE_FUSE || end_token(e, 0);
}

/* Tokens to one text in e->text. */
static bool decode(const ak_tokenizer *t, ak__encoder *e, const int32_t *ids, int64_t n,
                   bool skip_special)
{
    const ak__vocab *v = &t->vocab;
    e->text.n = e->words.n = e->other.n = e->more.n = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = e->text.n;
        if (skip_special && (v->traits[ids[i]] & AK__TOKEN_SPECIAL))
            continue;
        if (!t->n_decode && begin && !ak__chars_add(&e->text, " ", 1))
            return false;
        if (!ak__chars_add(&e->text, ak__vocab_text(v, ids[i]), v->length[ids[i]]) ||
            !ak__spans_add(&e->words, begin, e->text.n))
            return false;
    }
    for (int k = 0; k < t->n_decode; k++) {
        if (!stage(&t->decode[k], e))
            return false;
        next_stage(e);
    }
    return true;
}

int64_t ak_tokenizer_decode(const ak_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                            char *text, int64_t most)
{
    if (!AK__GIVEN(NULL, t) || (n && !AK__GIVEN(t->ctx, ids)))
        return -1;
    if (n < 0 || most < 0 || (most && !text)) {
        ak_fail(t->ctx, AK_ERR_VALUE, "ak_tokenizer_decode: n is %lld and most is %lld (both from "
                "0 on), text is %s", (long long)n, (long long)most,
                text ? "there" : "missing (NULL)");
        return -1;
    }
    for (int64_t i = 0; i < n; i++)
        if (!ak__vocab_has(&t->vocab, ids[i])) {
            ak_fail(t->ctx, AK_ERR_VALUE, "ak_tokenizer_decode: id %d at place %lld is no token of "
                    "\"%s\", whose ids are below %lld", ids[i], (long long)i, t->name,
                    (long long)t->vocab.size);
            return -1;
        }
    ak__encoder *e = ak__encoder_take(t);
    int64_t      bytes = -1;
    if (!e)
        return -1;
    if (decode(t, e, ids, n, skip_special)) {
        bytes = e->text.n;
        const int64_t fits = bytes < most ? bytes : most;
        if (fits)
            memcpy(text, e->text.data, (size_t)fits);
        if (bytes < most)
            text[bytes] = 0;
    }
    ak__encoder_give(t, e);
    return bytes;
}
