/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded texts, always with a decimal point: messages go into files, and files are read again. */
#define _POSIX_C_SOURCE 200809L
#include "base/text.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Made once and never freed: another thread may use it at any time. The C library keeps an object
 * for "C", so it takes no memory. Where making it fails all the same, the program's locale
 * stays. */
static _Atomic(locale_t) plain;

locale_t ak__plain_begin(void)
{
    locale_t c = atomic_load(&plain);
    if (!c) {
        locale_t none = (locale_t)0;
        c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (c && !atomic_compare_exchange_strong(&plain, &none, c)) {
            freelocale(c);
            c = none;
        }
    }
    return c ? uselocale(c) : (locale_t)0;
}

void ak__plain_end(locale_t before)
{
    if (before)
        uselocale(before);
}

bool ak__decimal(const char *text, double *value)
{
    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return false;           /* strtod takes hexadecimal numbers, inf, nan and blanks, too */
    char          *end;
    const locale_t before = ak__plain_begin();
    *value = strtod(text, &end);
    ak__plain_end(before);
    return !*end && isfinite(*value);
}

ak__text ak__text_in(char *buf, size_t room)
{
    assert(room > 0);
    buf[0] = 0;
    return (ak__text){ .buf = buf, .room = room };
}

void ak__text_add_v(ak__text *t, const char *format, va_list args)
{
    const size_t   left = t->room - t->n;
    const locale_t before = ak__plain_begin();
    const int      n = vsnprintf(t->buf + t->n, left, format, args);
    ak__plain_end(before);
    if (n < 0)
        t->buf[t->n] = 0;
    t->cut = t->cut || n < 0 || (size_t)n >= left;
    t->n += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left - 1;
}

void ak__text_add(ak__text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ak__text_add_v(t, format, args);
    va_end(args);
}

bool ak__format_v(char *buf, size_t room, const char *format, va_list args)
{
    ak__text t = ak__text_in(buf, room);
    ak__text_add_v(&t, format, args);
    return !t.cut;
}

bool ak__format(char *buf, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const bool whole = ak__format_v(buf, room, format, args);
    va_end(args);
    return whole;
}
