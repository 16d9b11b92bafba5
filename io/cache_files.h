/* SPDX-License-Identifier: Apache-2.0 */
/* Caches as they lie on disk: manifest.json and .npy files in one folder, mapped. Everything that
 * the manifest says is compared with the files before it is believed. */
#ifndef AK_IO_CACHE_FILES_H
#define AK_IO_CACHE_FILES_H

#include <akin/core.h>
#include <akin/tensor.h>

#include "io/file.h"

#include <stdatomic.h>

/* Named as in akin/cache.h, whose enum stands above this layer. */
typedef enum ak__cached_kind {
    AK__CACHED_PICTURE = 1, AK__CACHED_TEXT, AK__CACHED_SOUND, AK__CACHED_LABELS, AK__CACHED_ID
} ak__cached_kind;

/* An array of a file; of what is not there, data is NULL. */
typedef struct ak__cached_array {
    const char    *path;
    ak__mapping    map;
    char           type[3];     /* NumPy's code: u1, i1, i2, i4, i8 */
    size_t         size;        /* bytes of an element */
    ak_shape       shape;
    const uint8_t *data;
} ak__cached_array;

typedef struct ak__cached_field {
    const char       *name;
    ak__cached_kind   kind;
    ak__cached_array  values;   /* u1 [R, H, W, C]; u1 or i2 [elements]; i4 [entries] */
    ak__cached_array  starts;   /* i8 [R + 1], of texts and sounds */
    ak__cached_array  rows;     /* i4 [entries] in [-1, R), -1 = no value; none: row i is i's */
    int64_t           count;    /* R */
    int64_t           entries;  /* with a value */
    double            rate;
    const char      **names;    /* [n_names], NULL */
    int64_t           n_names;
} ak__cached_field;

typedef struct ak__cached_split {
    const char       *name;
    const char      **parts;    /* [n_parts] */
    int64_t           n_parts;
    int64_t          *count;    /* [n_parts] entries */
    ak__cached_array  values;   /* i1 [entries] in [-1, n_parts) */
} ak__cached_split;

typedef struct ak__cached {
    ak_ctx           *ctx;
    const char       *folder, *name, *about, *licence, *recipe, *options;
    const char      **packages; /* name, version, .., NULL */
    int64_t           entries, bytes;
    ak__cached_field *fields;   /* [n_fields] */
    int64_t           n_fields;
    ak__cached_split *splits;   /* [n_splits] */
    int64_t           n_splits;
    _Atomic size_t    touched;  /* bytes of mappings read since pages were given back */
} ak__cached;

/* How an array of a cache gets into memory: tests hand in their own. True: map is filled in
 * (and unmapped by the cache if it is a file's, with an fd); false: an error is recorded. */
typedef bool ak__cached_fetch(ak_ctx *ctx, const char *path, ak__mapping *map, void *user);

/* The cache in a folder; context lifetime. NULL: recorded. */
ak__cached *ak__cached_open(ak_ctx *ctx, const char *folder);
/* The same from a manifest in memory. */
ak__cached *ak__cached_parse(ak_ctx *ctx, const char *folder, const char *json, size_t n,
                             ak__cached_fetch *fetch, void *user);

/* Row of an entry; -1: it has no value. */
int64_t ak__cached_row(const ak__cached_field *f, int64_t entry);
/* The number that an array of whole numbers has for an entry. */
int64_t ak__cached_whole(const ak__cached_array *a, int64_t entry);
/* A stored value: where, and how many elements. For any thread, so it records nothing; false, with
 * why in error: the file has been cut off or changed. */
bool ak__cached_value(ak__cached *c, const ak__cached_field *f, int64_t entry, const void **at,
                      int64_t *n, char error[200]);

#endif
