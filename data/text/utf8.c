/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow without a context to record errors in, and UTF-8. */
#include "data/text/text.h"

#include "base/base.h"
#include "base/text.h"

#include <string.h>

/* ---- arrays ---------------------------------------------------------------------------------- */

bool ak__grow(void **data, int64_t *room, int64_t want, size_t size)
{
    if (want <= *room)
        return true;
    int64_t more = *room + *room / 2 + 64;
    more = more > want ? more : want;
    if (more > INT64_MAX / 2 / (int64_t)size)
        return false;
    void *grown = ak__malloc((size_t)more * size);
    if (!grown)
        return false;
    if (*data)
        memcpy(grown, *data, (size_t)*room * size);
    ak__free(*data);
    *data = grown;
    *room = more;
    return true;
}

bool ak__chars_more(ak__chars *b, int64_t extra)
{
    if (b->n + extra + AK__TEXT_SLACK <= b->room)
        return true;
    const int64_t before = b->room;
    if (b->n + extra > AK__MOST_TEXT ||
        !ak__grow((void **)&b->data, &b->room, b->n + extra + AK__TEXT_SLACK, 1))
        return false;
    memset(b->data + before, 0, (size_t)(b->room - before));
    return true;
}

bool ak__chars_add(ak__chars *b, const void *from, int64_t n)
{
    if (!ak__chars_more(b, n))
        return false;
    if (n)
        memcpy(b->data + b->n, from, (size_t)n);
    b->n += n;
    return true;
}

bool ak__chars_text(ak__chars *b, const char *text)
{
    return ak__chars_add(b, text, (int64_t)strlen(text));
}

bool ak__chars_print(ak__chars *b, const char *format, ...)
{
    char    text[256];
    va_list args;
    va_start(args, format);
    const bool whole = ak__format_v(text, sizeof text, format, args);
    va_end(args);
    return whole && ak__chars_text(b, text);
}

void ak__chars_free(ak__chars *b)
{
    ak__free(b->data);
    *b = (ak__chars){ 0 };
}

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

int ak__utf8_put(uint8_t *p, int32_t c)
{
    const uint32_t u = (uint32_t)c;
    if (u < 0x80) {
        p[0] = (uint8_t)u;
        return 1;
    }
    if (u < 0x800) {
        p[0] = (uint8_t)(0xc0 | u >> 6);
        p[1] = (uint8_t)(0x80 | (u & 0x3f));
        return 2;
    }
    if (u < 0x10000) {
        p[0] = (uint8_t)(0xe0 | u >> 12);
        p[1] = (uint8_t)(0x80 | (u >> 6 & 0x3f));
        p[2] = (uint8_t)(0x80 | (u & 0x3f));
        return 3;
    }
    p[0] = (uint8_t)(0xf0 | u >> 18);
    p[1] = (uint8_t)(0x80 | (u >> 12 & 0x3f));
    p[2] = (uint8_t)(0x80 | (u >> 6 & 0x3f));
    p[3] = (uint8_t)(0x80 | (u & 0x3f));
    return 4;
}

int32_t ak__utf8_before(const uint8_t *p)
{
    int n = 1;
    while ((p[-n] & 0xc0) == 0x80)
        n++;
    return ak__utf8_at(p - n, &n);
}

bool ak__chars_put(ak__chars *b, int32_t c)
{
    if (!ak__chars_more(b, 4))
        return false;
    b->n += ak__utf8_put(b->data + b->n, c);
    return true;
}

/* Bytes of the character that n > 0 bytes begin with; negative: so many bytes could begin one, or
 * are none (1), as Unicode 3.9 has it ("maximal subparts"). */
static int character(const uint8_t *p, int64_t n)
{
    const uint8_t a = p[0];
    if (a < 0x80)
        return 1;
    const int more = a >= 0xc2 && a <= 0xdf ? 1 : (a & 0xf0) == 0xe0 ? 2
                   : a >= 0xf0 && a <= 0xf4 ? 3 : 0;
    if (!more)
        return -1;
    const uint8_t low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
    if (n < 2 || p[1] < low || p[1] > high)
        return -1;
    for (int i = 2; i <= more; i++)
        if (i >= n || (p[i] & 0xc0) != 0x80)
            return -i;
    return more + 1;
}

int64_t ak__utf8_valid(const uint8_t *p, int64_t n)
{
    int64_t i = 0;
    while (i < n) {
        uint64_t eight;
        while (i + 8 <= n && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u)))
            i += 8;
        if (i == n)
            break;
        const int bytes = character(p + i, n - i);
        if (bytes < 0)
            break;
        i += bytes;
    }
    return i;
}

bool ak__utf8_mend(ak__chars *to, const uint8_t *p, int64_t n)
{
    for (int64_t i = 0; i < n; ) {
        const int64_t valid = ak__utf8_valid(p + i, n - i);
        if (!ak__chars_add(to, p + i, valid))
            return false;
        i += valid;
        if (i < n) {
            if (!ak__chars_put(to, 0xfffd))
                return false;
            i += -character(p + i, n - i);
        }
    }
    return true;
}
