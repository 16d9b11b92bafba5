/* SPDX-License-Identifier: Apache-2.0 */
/* The regular expressions that tokenizer files hold, by hand: they are few, and a general engine
 * would take most of the time. Each is an alternation, tried in order. */
#include "data/text/text.h"

/* Classes of the character at p and its bytes; none at the end. */
static unsigned at(const uint8_t *p, const uint8_t *end, int *bytes)
{
    *bytes = 0;
    return p < end ? ak__classes(ak__utf8_at(p, bytes)) : 0;
}

/* The run of characters in one of `classes` from p on; in none of them. */
static const uint8_t *run(const uint8_t *p, const uint8_t *end, unsigned classes)
{
    int bytes;
    while (p < end && (at(p, end, &bytes) & classes))
        p += bytes;
    return p;
}

static const uint8_t *run_not(const uint8_t *p, const uint8_t *end, unsigned classes)
{
    int bytes;
    while (p < end && !(at(p, end, &bytes) & classes))
        p += bytes;
    return p;
}

/* 's|'t|'re|'ve|'m|'ll|'d; with any case also the long s, which is one of s. */
static int64_t contraction(const uint8_t *p, const uint8_t *end, bool any_case)
{
    const uint8_t fold = any_case ? 0x20 : 0;
    if (end - p < 2 || *p != '\'')
        return 0;
    const uint8_t a = p[1] | fold, b = end - p > 2 ? p[2] | fold : 0;
    if (p[1] < 0x40)
        return 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (any_case && p[1] == 0xc5 && end - p > 2 && p[2] == 0xbf)
        return 3;
    return end - p > 2 && p[2] >= 0x40 &&
           ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) ? 3 : 0;
}

/* \s+(?!\S)|\s+: spaces, but the last one is the next word's where one follows. */
static int64_t spaces(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *stop = run(p, end, AK__SPACE), *last = p, *q = p;
    int bytes;
    if (stop == end)
        return stop - p;
    for (; q < stop; q += bytes) {
        at(q, end, &bytes);
        last = q;
    }
    return last > p ? last - p : stop - p;
}

static int64_t gpt2(const uint8_t *p, const uint8_t *end)
{
    int            bytes;
    const int64_t  short_form = contraction(p, end, false);
    const uint8_t *word = p + (*p == ' ');
    if (short_form)
        return short_form;
    const unsigned first = at(word, end, &bytes);
    if (word == end || (first & AK__SPACE))
        return spaces(p, end);
    if (first & AK__LETTER)
        return run(word, end, AK__LETTER) - p;
    if (first & AK__NUMBER)
        return run(word, end, AK__NUMBER) - p;
    return run_not(word, end, AK__SPACE | AK__LETTER | AK__NUMBER) - p;
}

/* GPT-4's, with up to `digits` numbers together. */
static int64_t gpt4(const uint8_t *p, const uint8_t *end, int digits)
{
    int            bytes, next;
    const int64_t  short_form = contraction(p, end, true);
    const unsigned first = at(p, end, &bytes);
    if (short_form)
        return short_form;
    if (first & AK__LETTER)
        return run(p, end, AK__LETTER) - p;
    if (*p != '\r' && *p != '\n' && !(first & AK__NUMBER) &&
        (at(p + bytes, end, &next) & AK__LETTER))
        return run(p + bytes, end, AK__LETTER) - p;
    if (first & AK__NUMBER) {
        const uint8_t *q = p;
        for (int k = 0; k < digits && (at(q, end, &bytes) & AK__NUMBER); k++)
            q += bytes;
        return q - p;
    }
    const uint8_t *word = p + (*p == ' ');
    if (word < end && !(at(word, end, &bytes) & (AK__SPACE | AK__LETTER | AK__NUMBER))) {
        word = run_not(word, end, AK__SPACE | AK__LETTER | AK__NUMBER);
        while (word < end && (*word == '\r' || *word == '\n'))
            word++;
        return word - p;
    }
    const uint8_t *q = p, *last = p;        /* \s*[\r\n]+ */
    for (; q < end && (at(q, end, &bytes) & AK__SPACE); q += bytes)
        if (*q == '\r' || *q == '\n')
            last = q + 1;
    return last > p ? last - p : spaces(p, end);
}

static int64_t clip(const uint8_t *p, const uint8_t *end)
{
    int            bytes;
    const int64_t  short_form = contraction(p, end, false);
    const unsigned first = at(p, end, &bytes);
    if (short_form || (first & AK__SPACE))
        return short_form;
    if (first & AK__LETTER)
        return run(p, end, AK__LETTER) - p;
    return first & AK__NUMBER ? bytes : run_not(p, end, AK__SPACE | AK__LETTER | AK__NUMBER) - p;
}

int64_t ak__pattern_match(ak__pattern pattern, const uint8_t *p, const uint8_t *end)
{
    int bytes;
    switch (pattern) {
    case AK__PATTERN_GPT2:
        return gpt2(p, end);
    case AK__PATTERN_GPT4:
        return gpt4(p, end, 3);
    case AK__PATTERN_QWEN:
        return gpt4(p, end, 1);
    case AK__PATTERN_CLIP:
        return clip(p, end);
    case AK__PATTERN_SPACES:
        return run(p, end, AK__SPACE) - p;
    case AK__PATTERN_WORDS:
        if (at(p, end, &bytes) & AK__WORD)
            return run(p, end, AK__WORD) - p;
        return run_not(p, end, AK__WORD | AK__SPACE) - p;
    case AK__PATTERN_TEXT:
    case AK__PATTERN_CLASS:
        break;
    }
    return 0;
}
