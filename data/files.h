/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets of files, inside: items as they are collected from a folder, a list or lines of JSON,
 * and the set that they become. */
#ifndef AK_DATA_FILES_H
#define AK_DATA_FILES_H

#include <akin/files.h>

#include "io/labels.h"

/* Items while they are collected. Texts stand in one pool, by place; 0 is none. */
typedef struct ak__items {
    ak_ctx                 *ctx;
    const char             *name;       /* of the list or folder */
    const ak_files_options *o;
    bool        picture, sound, caption, label, id;     /* are there such? */
    int64_t     columns;                /* of numbers; -1 = not known yet */
    int64_t     n;
    ak__bytes   pool;
    ak__bytes   pictures, sounds, captions;     /* int64_t [n]: places in the pool */
    ak__bytes   lines;                  /* int64_t [n] */
    ak__bytes   numbers;                /* double [n, columns] */
    ak__labels  labels, ids;
} ak__items;

/* What one item says, as text. A text that is missing is NULL. */
typedef struct ak__item_texts {
    int64_t       line;
    const char   *picture, *sound, *caption, *label, *id;
    const double *numbers;              /* [columns] */
} ak__item_texts;

/* Are the options possible? AK_ERR_VALUE. list: are there columns? */
ak_status ak__files_options(ak_ctx *ctx, const char *name, const ak_files_options *o, bool list);
/* Begin with what the options ask for (of a folder: nothing, to be set by the caller). */
ak_status ak__items_begin(ak__items *t, ak_ctx *ctx, const char *name, const ak_files_options *o);
ak_status ak__items_add(ak__items *t, const ak__item_texts *texts);
const char *ak__items_text(const ak__items *t, const ak__bytes *places, int64_t i);
void ak__items_free(ak__items *t);
/* The set of them: looks at the files, leaves out what is broken. folder: what paths are relative
 * to, ended by a slash, or "". NULL: recorded. */
ak_dataset *ak__items_dataset(ak__items *t, const char *folder);

/* A CSV or TSV file, and lines of JSON, in memory. */
ak_dataset *ak__list_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                           const ak_files_options *o);
ak_dataset *ak__json_lines_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                                 const ak_files_options *o);
/* The folder of a list, or that of the options, ended by a slash. NULL: out of memory, recorded. */
char *ak__files_folder(ak_ctx *ctx, const char *list, const ak_files_options *o);

/* ---- looking at files (files_look.c) --------------------------------------------------------- */

#define AK__LOOK_ERROR 200
/* Is it a picture, by its header, and not too large? Nothing is recorded. */
ak_status ak__picture_look(const char *path, const ak_picture_options *o, char *error);
/* Steps that a sound becomes, and what is wrong with it. */
ak_status ak__sound_steps(const char *path, const ak_files_options *o, int64_t *steps, char *error);
/* Decode a sound into what it becomes: `steps` at most, *steps of them written. */
ak_status ak__sound_fill(const char *path, const ak_files_options *o, ak_real *to, int64_t *steps,
                         char *error);

#endif
