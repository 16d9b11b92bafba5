/* SPDX-License-Identifier: Apache-2.0 */
/* JSON (RFC 8259), member by member. */
#include "report/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"

#define SAFE_WHOLE 9007199254740992.0   /* 2^53: RFC 7493, numbers that every reader keeps */
#define SAFE_DIGITS 15                  /* of a fraction, that a double gives back */

void ak__json_free(ak__json *j)
{
    ak__bytes_free(&j->text);
}

static void put(ak__json *j, const char *text, size_t n)
{
    j->failed = j->failed || !ak__bytes_add(j->ctx, &j->text, text, n);
}

static void put_text(ak__json *j, const char *text)
{
    put(j, text, strlen(text));
}

/* Length of the UTF-8 character at s (1 to 4), 0 if it is none: RFC 3629. */
static size_t character(const unsigned char *s)
{
    const unsigned char lead = s[0];
    if (lead < 0x80)
        return 1;
    const size_t n = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3
                   : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 && s[1] < 0xa0) || (lead == 0xed && s[1] >= 0xa0) ||     /* surrogates */
        (lead == 0xf0 && s[1] < 0x90) || (lead == 0xf4 && s[1] >= 0x90))
        return 0;
    return n;
}

static void put_string(ak__json *j, const char *text)
{
    put_text(j, "\"");
    for (const unsigned char *s = (const unsigned char *)text; *s; ) {
        const size_t n = character(s);
        char         escape[8];
        if (n == 0)
            put_text(j, "\\ufffd");
        else if (*s == '"' || *s == '\\')
            put(j, (char[]){ '\\', (char)*s }, 2);
        else if (*s == '\n')
            put_text(j, "\\n");
        else if (*s < 0x20 && ak__format(escape, sizeof escape, "\\u%04x", *s))
            put_text(j, escape);
        else
            put(j, (const char *)s, n);
        s += n ? n : 1;
    }
    put_text(j, "\"");
}

static void new_line(ak__json *j)
{
    if (j->indent == 0)
        return;
    put_text(j, "\n");
    for (int i = 0; i < j->depth * j->indent; i++)
        put_text(j, " ");
}

static void member(ak__json *j, const char *name)
{
    if (j->some)
        put_text(j, ",");
    j->some = true;
    if (j->depth)
        new_line(j);
    if (!name)
        return;
    put_string(j, name);
    put_text(j, j->indent ? ": " : ":");
}

void ak__json_open(ak__json *j, const char *name)
{
    member(j, name);
    put_text(j, "{");
    j->depth++;
    j->some = false;
}

void ak__json_close(ak__json *j)
{
    j->depth--;
    if (j->some)
        new_line(j);
    put_text(j, j->depth ? "}" : "}\n");
    j->some = true;
}

void ak__json_text(ak__json *j, const char *name, const char *text)
{
    member(j, name);
    put_string(j, text);
}

void ak__json_bool(ak__json *j, const char *name, bool value)
{
    member(j, name);
    put_text(j, value ? "true" : "false");
}

/* The shortest of 15 to 17 digits from which the same number is read: 17 are always enough. */
static void shortest(char *buf, size_t room, double value)
{
    double again = 0;
    for (int digits = SAFE_DIGITS; digits <= 17; digits++) {
        ak__format(buf, room, "%.*g", digits, value);
        if (ak__decimal(buf, &again) && !(again < value) && !(again > value))
            return;
    }
}

void ak__json_number(ak__json *j, const char *name, double value)
{
    char       text[40];
    const bool whole = fabs(value) < SAFE_WHOLE && !(value < floor(value)) &&
                       !(value > floor(value));
    member(j, name);
    if (isnan(value))
        ak__format(text, sizeof text, "null");
    else if (isinf(value))
        ak__format(text, sizeof text, value > 0 ? "\"inf\"" : "\"-inf\"");
    else if (whole)
        ak__format(text, sizeof text, signbit(value) && !(value < 0) ? "%.1f" : "%.0f", value);
    else
        shortest(text, sizeof text, value);
    put_text(j, text);
}

static const char *digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

/* Is it a number as JSON writes one, and does a double give all its digits back? */
static bool safe_number(const char *text)
{
    const char *first = text + (*text == '-'), *s = digits(first), *fraction = NULL;
    if (s == first || (*first == '0' && s > first + 1))
        return false;
    double value;
    if (!ak__decimal(text, &value))
        return false;
    if (!*s)
        return fabs(value) < SAFE_WHOLE && !(*text == '-' && *first == '0');
    if (*s == '.') {
        fraction = s + 1;
        s = digits(fraction);
        if (s == fraction)
            return false;
    }
    const char *end = s;                    /* of the digits that count */
    if (*s == 'e' || *s == 'E') {
        const char *exponent = s + 1 + (s[1] == '+' || s[1] == '-');
        s = digits(exponent);
        if (s == exponent)
            return false;
    }
    size_t count = 0;
    bool   zero = true;
    for (const char *d = first; d < end; d++) {
        zero = zero && (*d == '0' || *d == '.');
        count += !zero && *d != '.';
    }
    return !*s && count <= SAFE_DIGITS && (zero || isnormal(value));
}

void ak__json_setting(ak__json *j, const char *name, const char *text)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0 && !safe_number(text)) {
        ak__json_text(j, name, text);
        return;
    }
    member(j, name);
    put_text(j, text);
}
