/* SPDX-License-Identifier: Apache-2.0 */
/* Properties and normal forms of characters, from the tables of utf8proc. */
#include "data/text/text.h"

#include "base/base.h"

#include <string.h>

#if AK_HAVE_UTF8PROC
#include <utf8proc.h>
#endif

/* ASCII without the tables. */
#define W AK__WORD
#define L (AK__LETTER | AK__WORD)
#define N (AK__NUMBER | AK__WORD)
#define P AK__PUNCTUATION
#define U (AK__PUNCTUATION | AK__WORD)
#define S AK__SPACE
#define C AK__OTHER
#define B (AK__SPACE | AK__OTHER)
const uint8_t ak__ascii_classes[128] = {
    C, C, C, C, C, C, C, C, C, B, B, B, B, B, C, C,  C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C,
    S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P,  N, N, N, N, N, N, N, N, N, N, P, P, P, P, P, P,
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,  L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, U,
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,  L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, C,
};
#undef W
#undef L
#undef N
#undef P
#undef U
#undef S
#undef C
#undef B

bool ak__unicode_chinese(int32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x2f800 && c <= 0x2fa1f);
}

#if AK_HAVE_UTF8PROC

bool ak__unicode_there(ak_ctx *ctx)
{
    (void)ctx;
    return true;
}

static bool white(int32_t c)
{
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Letters in circles and squares count as alphabetic, though they are symbols. */
static bool circled(int32_t c)
{
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

unsigned ak__unicode_classes(int32_t c)
{
    const unsigned space = white(c) ? AK__SPACE : 0;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return AK__LETTER | AK__WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return AK__NUMBER | AK__WORD;
    case UTF8PROC_CATEGORY_NO:
        return AK__NUMBER;
    case UTF8PROC_CATEGORY_MN:
        return AK__MARK | AK__MARK_NONSPACING | AK__WORD;
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return AK__MARK | AK__WORD;
    case UTF8PROC_CATEGORY_PC:
        return AK__PUNCTUATION | AK__WORD;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return AK__PUNCTUATION;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return AK__OTHER | space | (c == 0x200c || c == 0x200d ? AK__WORD : 0u);
    case UTF8PROC_CATEGORY_SO:
        return circled(c) ? AK__WORD : 0;
    default:
        return space;
    }
}

bool ak__unicode_lower(ak__chars *to, int32_t c)
{
    if (c == 0x130)             /* the only character whose lower case is two */
        return ak__chars_put(to, 'i') && ak__chars_put(to, 0x307);
    return ak__chars_put(to, utf8proc_tolower(c));
}

static int class_of(int32_t c)
{
    return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

/* Order the characters at p by combining class; equal ones stay as they are. The usual run has two
 * or three; in a long one a class after the other is gathered. */
static bool order_run(int32_t *p, int64_t n, ak__ids *spare)
{
    int64_t to = 0;
    if (n <= 32) {
        for (int64_t i = 1; i < n; i++) {
            const int32_t c = p[i];
            int64_t       k = i;
            for (; k > 0 && class_of(p[k - 1]) > class_of(c); k--)
                p[k] = p[k - 1];
            p[k] = c;
        }
        return true;
    }
    spare->n = 0;
    if (!ak__ids_more(spare, n))
        return false;
    for (int class = 1; class < 256 && to < n; class++)
        for (int64_t i = 0; i < n; i++)
            if (class_of(p[i]) == class)
                spare->data[to++] = p[i];
    memcpy(p, spare->data, (size_t)n * sizeof *p);
    return true;
}

/* Marks behind a letter in their order: those of class 0 stay where they are. */
static bool order_marks(ak__ids *points)
{
    ak__ids spare = { 0 };
    bool    fine = true;
    for (int64_t i = 0, end; i < points->n && fine; i = end + 1) {
        for (end = i; end < points->n && class_of(points->data[end]); end++) { }
        fine = end - i < 2 || order_run(points->data + i, end - i, &spare);
    }
    ak__free(spare.data);
    return fine;
}

/* The most characters that one decomposes into are 18. */
#define MOST_DECOMPOSED 32

bool ak__unicode_normal(ak__chars *to, const uint8_t *p, int64_t n, ak__normal_form form,
                        ak__ids *points)
{
    const bool compose = form == AK__NFC || form == AK__NFKC;
    const utf8proc_option_t how =
        UTF8PROC_DECOMPOSE | (form == AK__NFKC || form == AK__NFKD ? UTF8PROC_COMPAT : 0);
    int  bytes, bound = UTF8PROC_BOUNDCLASS_START;
    points->n = 0;
    for (int64_t i = 0; i < n; i += bytes) {
        const int32_t c = ak__utf8_at(p + i, &bytes);
        if (!ak__ids_more(points, MOST_DECOMPOSED))
            return false;
        if (c < 0xa0)
            points->data[points->n++] = c;
        else
            points->n += utf8proc_decompose_char(c, points->data + points->n, MOST_DECOMPOSED, how,
                                                 &bound);
    }
    if (!order_marks(points))
        return false;
    if (compose)
        points->n = utf8proc_normalize_utf32(points->data, points->n,
                                             UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (int64_t i = 0; i < points->n; i++)
        if (!ak__chars_put(to, points->data[i]))
            return false;
    return true;
}

int64_t ak__unicode_grapheme(const uint8_t *p, int64_t n)
{
    utf8proc_int32_t state = 0;
    int     bytes;
    int32_t c = ak__utf8_at(p, &bytes);
    int64_t end = bytes;
    while (end < n) {
        const int32_t next = ak__utf8_at(p + end, &bytes);
        if (utf8proc_grapheme_break_stateful(c, next, &state))
            break;
        c = next;
        end += bytes;
    }
    return end;
}

#else

bool ak__unicode_there(ak_ctx *ctx)
{
    ak_fail(ctx, AK_ERR_STATE, "tokenizer: this library was built without libutf8proc, whose "
            "tables it needs: install libutf8proc-dev and set up the build again");
    return false;
}

/* No tokeniser is made without the tables, so nobody calls these. */
unsigned ak__unicode_classes(int32_t c)
{
    return (unsigned)(c & 0);
}

bool ak__unicode_lower(ak__chars *to, int32_t c)
{
    return ak__chars_put(to, c);
}

bool ak__unicode_normal(ak__chars *to, const uint8_t *p, int64_t n, ak__normal_form form,
                        ak__ids *points)
{
    (void)form, (void)points;
    return ak__chars_add(to, p, n);
}

int64_t ak__unicode_grapheme(const uint8_t *p, int64_t n)
{
    return n ? ak__utf8_length(*p) : 0;
}

#endif
