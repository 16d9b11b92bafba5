/* SPDX-License-Identifier: Apache-2.0 */
/* Texts in buffers of fixed size, and numbers in texts whatever the program's locale says. */
#ifndef AK_BASE_TEXT_H
#define AK_BASE_TEXT_H

#include <akin/core.h>

#include <locale.h>
#include <stdarg.h>

/* A text put together piece by piece. What does not fit is cut off, nothing is written behind the
 * buffer, and it always ends with a zero. */
typedef struct ak__text {
    char  *buf;
    size_t room, n;     /* bytes of buf; of them in use, without the zero: n < room */
    bool   cut;         /* something did not fit */
} ak__text;

/* Begin an empty text in an array of chars. */
#define AK__TEXT(array) ak__text_in((array), sizeof(array))
ak__text ak__text_in(char *buf, size_t room);
/* Append, as printf: numbers with a decimal point. */
void ak__text_add(ak__text *t, const char *format, ...) AK_PRINTF(2, 3);
void ak__text_add_v(ak__text *t, const char *format, va_list args);

/* A text made at once: snprintf with a decimal point and without a return value that may exceed
 * the room. False: it was cut off. */
bool ak__format(char *buf, size_t room, const char *format, ...) AK_PRINTF(3, 4);
bool ak__format_v(char *buf, size_t room, const char *format, va_list args);

/* A decimal number with a point ("1", "-.5", "2e-3"), all of text and finite; false otherwise. */
bool ak__decimal(const char *text, double *value);

/* The C locale for this thread, until it is given back; pairs may nest. */
locale_t ak__plain_begin(void);
void     ak__plain_end(locale_t before);

#endif
