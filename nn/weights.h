/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in files: names by a map, the file as a list of arrays, the order of axes.
 *
 *     weights.c            loading and saving a module
 *     weights_convert.c    from file to file
 *     weight_file.c        npz and safetensors as one list of arrays
 *     weight_names.c       the map: which names belong to each other
 *     weight_axes.c        numbers from one order of axes to another
 *     weight_notes.c       what weights mean beyond their shapes
 */
#ifndef AK_WEIGHTS_H
#define AK_WEIGHTS_H

#include <akin/weights.h>

#include "base/base.h"
#include "io/array.h"

/* How convolutions lie, in the metadata of a safetensors file. */
#define AK__CONV_KEY "convolutions"
#define AK__CONV_FIRST "channels first"
#define AK__CONV_LAST "channels last"

#define AK__WEIGHT_NAME 768     /* longest name in a file or module, with its final zero */

/* ---- names: weight_names.c ------------------------------------------------------------------- */

/* A name with "/" between its parts, in step memory; NULL: an error is recorded. */
const char *ak__weight_name(ak_ctx *ctx, const char *name);
/* Is the map one: pairs with as many stars on both sides, axes, shares, ..? Else AK_ERR_VALUE. */
bool ak__map_check(ak_ctx *ctx, const char *who, const ak_weight_map *map);
/* Number of pairs. */
int ak__map_pairs(const ak_weight_map *map);

/* Where one tensor of a module comes from: its names in the file, one or several to be joined. */
typedef struct ak__origin {
    const ak_weight_pair *pair;         /* NULL: no pair, the same name */
    int         n;
    const char *names[AK_WEIGHT_PARTS]; /* without the prefix */
} ak__origin;
/* Of a name in the module. False: an error is recorded. used[pair] is set where one held (NULL: not
 * asked). */
bool ak__map_origin(ak_ctx *ctx, const ak_weight_map *map, const char *name, bool *used,
                    ak__origin *origin);
/* The other way: the name in the module of a name in the file, and which part of it that is. */
typedef struct ak__target {
    const ak_weight_pair *pair;
    const char *name;
    int         part, parts;
} ak__target;
bool ak__map_target(ak_ctx *ctx, const ak_weight_map *map, const char *name, bool *used,
                    ak__target *target);
/* Records AK_ERR_NOT_FOUND or AK_ERR_VALUE for a pair that was not used; `names` are the module's
 * (`file`: the file's). */
bool ak__map_used(ak_ctx *ctx, const char *who, const ak_weight_map *map, const bool *used,
                  const char *const *names, int64_t n, bool file);
/* Does a name fit a pattern (NULL: none)? Both with "/". */
bool ak__weight_fits(const char *pattern, const char *name);
/* A pattern with "/" in step memory, each of whose alternatives fits one of n names. *out is NULL
 * for NULL. False: an error is recorded. */
bool ak__weight_pattern(ak_ctx *ctx, const char *who, const char *what, const char *pattern,
                        const char *const *names, int64_t n, const char **out);

/* ---- files: weight_file.c -------------------------------------------------------------------- */

typedef struct ak__weight_entry {
    const char *name;           /* with "/", without the prefix */
    int64_t     place;          /* in the file */
    bool        outside;        /* its name does not begin with the prefix: name is whole */
    bool        used;
} ak__weight_entry;

typedef struct ak__weight_file {
    ak_ctx           *ctx;
    const char       *path;
    ak_npz           *npz;      /* one of the two */
    ak_safetensors   *tensors;
    int64_t           n;
    ak__weight_entry *entries;  /* [n] sorted by name; step memory */
} ak__weight_file;

/* What one array of a file is. */
typedef struct ak__weight_look {
    ak_shape    shape;
    const char *type;
    ak__floats  floats;
} ak__weight_look;

bool ak__weight_open(ak_ctx *ctx, const char *path, bool npz, const char *prefix,
                     ak__weight_file *file);
void ak__weight_close(ak__weight_file *file);
/* By name; NULL if there is none. */
ak__weight_entry *ak__weight_find(const ak__weight_file *file, const char *name);
/* False: an error is recorded. */
bool ak__weight_look_at(const ak__weight_file *file, const ak__weight_entry *e,
                        ak__weight_look *look);

/* ---- axes: weight_axes.c --------------------------------------------------------------------- */

/* How an array of a file lies in a tensor: axis k of the tensor is axis from[k] of the file, and
 * along `axis` it is [begin, begin + size) of it. */
typedef struct ak__layout {
    ak_shape shape;             /* of the whole tensor */
    int      from[AK_MAX_DIMS];
    int      axis;
    int64_t  begin, size;
} ak__layout;

ak__layout ak__layout_plain(ak_shape shape);
/* Its axes by a text "0231"; false if that is none for so many axes. */
bool ak__layout_axes(ak__layout *l, const char *axes);
/* The same for a convolution's weight from PyTorch: 0, 2, .., 1. */
void ak__layout_conv(ak__layout *l);
/* Part i of n along `axis` in these shares (NULL: equal); false if they do not divide it. */
bool ak__layout_part(ak__layout *l, int axis, int i, int n, const int *shares);
/* Does the array lie in the file as the whole tensor does in memory? */
bool ak__layout_is_plain(const ak__layout *l);
/* The shape that the array has in the file. */
ak_shape ak__layout_shape(const ak__layout *l);
/* One after the other, the array as it lies in the file in rows: n numbers from file[at] on are
 * those of the tensor from place on, step apart. */
typedef void ak__layout_row(void *user, int64_t at, int64_t n, int64_t place, int64_t step);
void ak__layout_walk(const ak__layout *l, ak__layout_row *row, void *user);

/* ---- notes: weight_notes.c ------------------------------------------------------------------- */

/* Metadata for a file of m's weights: `first` (key, value, .., NULL) and the notes of m and its
 * parts. Step memory; NULL: an error is recorded. */
const char *const *ak__weight_notes(ak_module *m, const char *prefix, const char *const *first);
/* Does the file say nothing else than m of those parts that n tensors are loaded into, names below
 * m? False: an error is recorded. */
bool ak__weight_notes_agree(ak_module *m, const char *prefix, const ak__weight_file *file,
                            const char *const *names, int64_t n);

#endif
