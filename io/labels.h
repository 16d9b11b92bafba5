/* SPDX-License-Identifier: Apache-2.0 */
/* The label column of a table: texts to class numbers. */
#ifndef AK_IO_LABELS_H
#define AK_IO_LABELS_H

#include "io/file.h"

#define AK__MAX_TEXT_CLASSES 10000  /* more different texts: it is the wrong column */

typedef struct ak__labels {
    ak_ctx     *ctx;
    const char *file, *column;      /* for messages */
    int64_t     place;              /* of the column, from 1 */
    bool        ids;                /* of things, not of classes: there may be any number of them,
                                     * no names are kept, and numbers that no class has are names;
                                     * to be set behind ak__labels_begin */
    bool        verbatim;           /* numbers are names; of ids "-1" is one as well */
    int32_t     given;              /* classes that the caller has named: the first texts */
    ak__bytes   rows;               /* int32_t [rows]: numbers of their texts */
    ak__bytes   pool;               /* the different texts, each ended by 0 */
    ak__bytes   texts;              /* where they are: label_text [count] */
    ak__bytes   table;              /* int32_t [power of two]: number of a text + 1; 0 = free */
} ak__labels;

/* classes: names ended by NULL, or NULL. */
ak_status ak__labels_begin(ak__labels *l, ak_ctx *ctx, const char *file, int64_t place,
                           const char *column, const char *const *classes);
/* The label of the next row. With given classes one that is none of them is an error. */
ak_status ak__labels_add(ak__labels *l, const char *text, int64_t line);
/* The numbers of all rows in context lifetime, and names ended by NULL, or NULL where the labels
 * are numbers or ids; NULL on failure. The rule stands at ak_table_options. */
const int32_t *ak__labels_finish(ak__labels *l, int64_t *classes, const char *const **names);
void ak__labels_free(ak__labels *l);

#endif
