/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON as text: numbers keep their digits, whatever a reader's or a library's number types
 * are, and the program's locale does not matter. */
#ifndef AK_REPORT_JSON_TEXT_H
#define AK_REPORT_JSON_TEXT_H

#include "io/file.h"

typedef struct ak__json {
    ak_ctx   *ctx;
    ak__bytes text;
    int       indent;       /* spaces a level, one member a line; 0 = all in one line */
    int       depth;
    bool      some;         /* the object has a member already */
    bool      failed;       /* out of memory, recorded */
} ak__json;

void ak__json_free(ak__json *j);
/* { and }, and the end of the line behind the outermost one; name NULL = none. */
void ak__json_open(ak__json *j, const char *name);
void ak__json_close(ak__json *j);
/* Members of the object. Bytes that are no UTF-8 become U+FFFD. */
void ak__json_text(ak__json *j, const char *name, const char *text);
void ak__json_bool(ak__json *j, const char *name, bool value);
/* The shortest digits that give the same double again; NaN as null, infinities as "inf", "-inf". */
void ak__json_number(ak__json *j, const char *name, double value);
/* What a text says: true, false, a number (digit for digit) or, where a reader's double would not
 * give the same digits again, the text. */
void ak__json_setting(ak__json *j, const char *name, const char *text);

#endif
