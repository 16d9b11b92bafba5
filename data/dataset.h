/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a data set, and how items are read: for the loader, the sampler, the generators. */
#ifndef AK_DATA_DATASET_H
#define AK_DATA_DATASET_H

#include <akin/data.h>

#include "base/carve.h"

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

/* ---- reading --------------------------------------------------------------------------------- */

/* Bytes to numbers: [0, 255] -> [0, 1]. */
#define AK__BYTE_SCALE ((ak_real)(1.0 / 255))

/* n numbers that may be extended by less than AK__LANES. */
#define AK__LANES 8
static inline int64_t ak__lanes(int64_t n)
{
    return (n + AK__LANES - 1) / AK__LANES * AK__LANES;
}

/* A set as it was when somebody began to read it, with the settings that held for it then. */
typedef struct ak__reader {
    ak_ctx     *ctx;
    const char *name;
    int64_t     size;
    int         n_fields, n_parts;
    int         main, label;                /* -1: none */
    ak__field   field[AK_MAX_FIELDS];
    ak__part    part[AK_MAX_FIELDS];
    size_t      scratch_at[AK_MAX_FIELDS];  /* bytes, of fields that need it */
    size_t      scratch;                    /* bytes in all; 64-byte aligned */
} ak__reader;
void ak__reader_open(ak__reader *r, const ak_dataset *ds);
/* Label of an item, from values; -1 unknown, or none to be had. */
int32_t ak__reader_label(const ak__reader *r, int64_t i);

/* The stored values of one field of one item: one of the pointers. */
typedef struct ak__raw {
    const uint8_t *bytes;
    const ak_real *reals;
    const int32_t *whole;
    int64_t        length;
} ak__raw;

/* What came in the way of a batch. Threads note it, the caller reports it. */
typedef enum ak__fault_kind {
    AK__NO_FAULT, AK__FAULT_BOX, AK__FAULT_RANGE, AK__FAULT_LENGTH, AK__FAULT_TOKEN, AK__FAULT_ITEM
} ak__fault_kind;
typedef struct ak__fault {
    ak__fault_kind         what;
    const ak_augment_kind *kind;
    int64_t                item, row;       /* of the set, and of the callback */
    int                    view, field;
    int64_t                height, width;   /* of the picture at that time */
    ak_box                 box;             /* that a look left */
    double                 value;           /* that a change of values in [0, 1] was handed */
    char                   text[256];
} ak__fault;
/* Record it as an error. */
ak_status ak__fault_fail(const ak__reader *r, const char *who, const ak__fault *fault);

/* Values of all fields of item i. scratch: r->scratch bytes. False: a fault. */
bool ak__reader_item(const ak__reader *r, int64_t i, void *scratch, ak__raw *raw, ak__fault *fault);
/* A field of numbers without augmentation, scaled and normalised, into out: raw.length * width. */
void ak__field_plain(const ak__field *f, const ak__raw *raw, ak_real *restrict out);
/* The parts of that. */
void ak__field_scaled(const ak__field *f, const ak__raw *raw, ak_real *restrict out);
void ak__field_normal(const ak__field *f, ak_real *restrict x, int64_t n);

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

/* ---- views ----------------------------------------------------------------------------------- */

/* How the views of one field are made. */
typedef struct ak__views {
    int       views;
    const ak_augment *lists[AK_MAX_VIEWS];  /* NULL = as it is */
    uint64_t  seed;
    ak_shape  item[AK_MAX_VIEWS];           /* of a view */
    int64_t   numbers[AK_MAX_VIEWS];        /* of it, at the longest */
} ak__views;
/* All views of field f of ds: checks the lists. View sizes are read off them. */
ak_status ak__views_open(ak__views *v, ak_dataset *ds, int f, const char *who, int views,
                         const ak_augment *const *lists, uint64_t seed);

/* Makes views; one per thread, it holds scratch memory. */
typedef struct ak__viewer {
    ak_real *memory;        /* ak__viewer_numbers, 64-byte aligned */
    int32_t *taps;          /* ak__viewer_taps */
    void    *owner;         /* the loader */
    void    *scratch;       /* of the reader */
} ak__viewer;
/* Numbers and taps that a viewer of these pictures needs; 0 for other fields. */
size_t ak__viewer_numbers(const ak__field *f, const ak__views *v);
size_t ak__viewer_taps(const ak__views *v);

/* Where a view goes, and what it is of. */
typedef struct ak__view {
    const ak__field *field;
    int              place;     /* of the field in its set */
    const ak__views *views;
    int64_t          epoch, item;
    int              view;
    const ak__raw   *raw;
    ak_real         *reals;     /* out: of numbers */
    int32_t         *whole;     /* out: of whole numbers */
    int64_t          length;    /* out: of those that vary */
} ak__view;
/* False: a fault, which is described; what out holds is of no use then. */
bool ak__view_make(const ak__viewer *viewer, ak__view *v, ak__fault *fault);

/* Is the list fine for this field and its values? Fails with a message otherwise. */
ak_status ak__augment_check(ak_dataset *ds, int field, const char *who, const ak_augment *list);
/* Is it one of the library's? These keep values in [0, 1] there. */
bool ak__augment_own(const ak_augment_kind *kind);
/* The size that the list asks for by ak_view_size; false if by none. */
bool ak__augment_size(const ak_augment *list, int64_t *height, int64_t *width);
/* Entries before { 0 }. */
int ak__augment_count(const ak_augment *list);

/* ---- batches --------------------------------------------------------------------------------- */

/* The values of one batch before they go into step memory: of each field, views one after the
 * other, in each the items. */
typedef struct ak__field_block {
    ak_real *reals;
    int32_t *whole, *length;        /* [V, N, numbers], [V, N] */
} ak__field_block;
typedef struct ak__batch_plan {
    const ak__reader *reader;
    const ak__views  *views;        /* [fields] */
} ak__batch_plan;

/* Room for a batch of `count` items into blocks [fields]. */
void ak__blocks_cut(const ak__batch_plan *p, int64_t count, ak__carver *c, ak__field_block *blocks);
/* The same as a number that can not overflow, for a check beforehand. */
double ak__blocks_size(const ak__batch_plan *p, int64_t count);
/* Fill them with the items listed. The first fault is noted; what has one is of no use. */
void ak__blocks_fill(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                     const ak__viewer *viewer, const ak__field_block *blocks, ak__fault *fault);
/* When numbers are checked: name the first item that is not finite. */
bool ak__blocks_finite(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                       const ak__field_block *blocks);
/* Copies in step memory. False: out of memory. */
bool ak__blocks_give(const ak__batch_plan *p, const int32_t *items, int64_t count,
                     const ak__field_block *blocks, ak_batch *b);
/* What an error leaves: poison everywhere, so that whoever goes on does nothing. */
void ak__batch_poison(ak_batch *b, ak_ctx *ctx);

#endif
