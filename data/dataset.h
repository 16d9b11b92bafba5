/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a data set. It knows nothing of those who read its items (reader.h), make views of
 * them (views.h) and batches (batch.h). */
#ifndef AK_DATA_DATASET_H
#define AK_DATA_DATASET_H

#include <akin/data.h>

#include "base/whole.h"

/* Batches, item numbers and channel counts are 32-bit. */
#define AK__MOST_ITEMS   INT32_MAX
#define AK__MOST_NUMBERS (INT32_MAX / 2)    /* of an item */

/* One field of a set: its values, or what a callback makes of it, and how they are read. */
typedef struct ak__field {
    const char   *name;
    ak_field_kind kind;
    ak_shape      item;             /* of an item; where lengths vary, the first axis is the most */
    bool          varies;           /* sequences and tokens */
    int64_t       steps, width;     /* most steps (1 where nothing varies), numbers of a step */
    int64_t       numbers;          /* steps * width */
    int           channels;         /* last axis of an item */

    /* [rows, numbers], or with `start` steps one after the other. All NULL: a callback fills it. */
    const uint8_t *bytes;
    const ak_real *reals;
    const int32_t *whole;
    const int64_t *start;           /* [rows] first step of each; NULL: row * steps */
    const int32_t *length;          /* [rows]; NULL: steps */
    int64_t        rows;
    bool           as_bytes;        /* uint8_t, read as [0, 1] */
    bool           padded;          /* AK__LANES more may be read behind the last row */
    int32_t        pad;             /* tokens */
    const struct ak_tokenizer *tokenizer;

    int            part;            /* which rows: ak_dataset.part */
    int            slot;            /* place in the callback's list; -1: it has values */

    int64_t        classes;         /* of labels: one more than the largest */
    const char *const *class_names; /* [classes] and NULL at their end, or NULL */

    /* A part of another set reads as `parent` does where it has no setting of its own:
     * ak__reader_open finds out. */
    const struct ak__field *parent;
    bool           own_scale, own_normal;
    bool           scale;           /* reals: y = (x - offset) * factor */
    ak_real        offset, factor;
    bool           normalize;
    ak_real        mean[AK_MAX_CHANNELS], inverse_std[AK_MAX_CHANNELS];

    bool           range_known;     /* of reals of this set, as they are stored: */
    ak_real        lowest, highest;
    int64_t        not_finite;      /* an item with such a number, or -1 */
} ak__field;

/* A callback and who it asks. */
typedef struct ak__source { ak_item_fn fill; void *user; } ak__source;

/* Fields whose values stand in the same rows: item i of the set is row map[i], or first + i. */
typedef struct ak__part {
    const int32_t    *map;          /* [size], or NULL */
    int64_t           first;
    const ak__source *source;       /* of fields that have no values; NULL = none */
} ak__part;

static inline int64_t ak__row_of(const ak__part *p, int64_t i)
{
    return p->map ? p->map[i] : p->first + i;
}

struct ak_dataset {
    ak_ctx     *ctx;
    const char *name;
    int64_t     size;
    int         n_fields, n_parts;
    ak__field  *field[AK_MAX_FIELDS];
    ak__part    part[AK_MAX_FIELDS];
};

/* A data set of pictures [H, W, C] or vectors that are there already (context lifetime, AK__LANES
 * more readable): field "picture" or "vector", and "label" if there are labels. */
ak_dataset *ak__dataset_new(ak_ctx *ctx, const char *name, int64_t size, ak_shape item,
                            const uint8_t *bytes, const ak_real *reals, const int32_t *labels);
/* Its labels have these names. */
void ak__dataset_classes_named(ak_dataset *ds, int64_t classes, const char *const *names);

/* Shape of one item of [N, ..]: [N, H, W] gets a channel, [N] is [N, 1]. False: no such set. */
bool ak__item_shape(ak_ctx *ctx, const char *name, ak_shape all, ak_shape *item);
/* Context memory for n elements, padded so that blocks of AK__LANES may be read to the end. */
void *ak__items_alloc(ak_ctx *ctx, int64_t n, size_t size);

/* The main field, the label (one an item); NULL if there is none. */
ak__field *ak__dataset_main(const ak_dataset *ds);
ak__field *ak__dataset_label(const ak_dataset *ds);
/* By name; NULL, and AK_ERR_NOT_FOUND that lists the fields. */
ak__field *ak__dataset_field(const ak_dataset *ds, const char *who, const char *name);
/* Names of fields into a message: "photo, caption". Returns buf. */
char *ak__dataset_names(const ak_dataset *ds, char *buf, size_t room);
/* A set of the items listed (NULL: from `first` on), which must be there, with ds's fields. */
ak_dataset *ak__dataset_part(const ak_dataset *ds, const char *name, const int32_t *items,
                             int64_t first, int64_t n);
/* Add a copy of a field of `from`, a set of as many items; items tells its rows as above. False:
 * recorded. */
bool ak__dataset_adopt(ak_dataset *ds, const ak_dataset *from, const ak__field *f,
                       const int32_t *items, int64_t first, int *parts);
/* The values of a field with one whole number an item, for all items: to be freed by ak__free.
 * NULL, recorded, for a field that a callback fills. */
int32_t *ak__dataset_whole(const ak_dataset *ds, const char *who, const ak__field *f);
/* Are there `count` items from `start` on, and at least `least`? */
bool ak__range_fits(const ak_dataset *ds, const char *who, int64_t start, int64_t count,
                    int64_t least);

/* n numbers that may be extended by less than AK__LANES. */
#define AK__LANES 8
static inline int64_t ak__lanes(int64_t n)
{
    return ak__round_to(n, AK__LANES);
}

/* Which items an epoch has, in order: a pure function of its arguments.
 *
 *   order      out, n numbers
 *   workspace  ak__sampler_workspace(n, classes) numbers (balance only; may be NULL otherwise)
 */
typedef struct ak__sampler {
    uint64_t       seed;
    bool           in_order, balance;
    const int32_t *labels;      /* balance only: all in [0, classes), every class that occurs */
    int64_t        classes;
} ak__sampler;
void   ak__sampler_order(const ak__sampler *s, int64_t epoch, int64_t n, int64_t *order,
                         int64_t *workspace);
int64_t ak__sampler_workspace(int64_t n, int64_t classes);

#endif
