/* SPDX-License-Identifier: Apache-2.0 */
/* akin/dataset.h - data sets: items with named fields, where they come from, parts of them.
 *
 * An item has named fields, each of a kind: picture, vector, sequence of vectors, token ids,
 * labels, numbers, id (ak_field_kind). The first picture, vector, sequence or list of tokens is the
 * *main* field, the first field of one label an item is *the* label: calls that name no field mean
 * these.
 *
 *     ak_dataset *pairs = ak_dataset_fields(ctx, "photos", (ak_field[]){
 *         { "photo",   AK_FIELD_PICTURE, .array = ak_npy_read(ctx, "photo.npy") },   // [N,H,W,C]
 *         { "caption", AK_FIELD_TOKENS,  .array = ak_npy_read(ctx, "caption.npy"),   // [N, T]
 *                                        .lengths = ak_npy_read(ctx, "lengths.npy") },
 *         { 0 } });
 *     ak_dataset *few = ak_dataset_share(pairs, 0.1, 1);      // a tenth of them
 *
 * akin/data.h makes batches and views of them.
 *
 * Where a function takes items of no stated kind, three axes an item [H, W, C], or two [H, W], are
 * a picture, field "picture"; any other number of axes is a vector, field "vector"; labels are the
 * field "label". ak_dataset_fields is for everything else.
 *
 * Items pass three stages: scaled, augmented, normalised. Pictures of bytes are scaled to [0, 1]
 * (y = x / 255), other numbers stay as they are unless ak_dataset_scale says what becomes 0 and 1.
 *
 * Functions that return a pointer return NULL after recording an error. While that is pending, NULL
 * may go where the failed call's result would, without a second message; afterwards it is
 * AK_ERR_VALUE. A data set lives as long as its context.
 */
#ifndef AKIN_DATASET_H
#define AKIN_DATASET_H

#include <akin/io.h>
#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_MAX_FIELDS   16      /* of an item */
#define AK_MAX_CHANNELS 16      /* of pictures that are augmented, of fields that are normalised */

/* What makes ids of texts. In this version nothing makes one yet: the member .tokenizer of options
 * is NULL, and calls that need one end with AK_ERR_STATE. */
typedef struct ak_tokenizer ak_tokenizer;

typedef struct ak_dataset ak_dataset;

/* ---- fields ---------------------------------------------------------------------------------- */

/* What a field holds, the shape of N items in an array, and of a batch of them. */
typedef enum ak_field_kind {
    AK_FIELD_PICTURE = 1,   /* [N, H, W, C]; an array [N, H, W] gets a channel. u1: y = x / 255 */
    AK_FIELD_VECTOR,        /* [N, D], any axes [N, ..]; an array [N] is [N, 1] */
    AK_FIELD_SEQUENCE,      /* [N, T, D], or more axes, of which the first `length` steps count */
    AK_FIELD_TOKENS,        /* [N, T] whole numbers from 0 on, of which `length` count */
    AK_FIELD_LABELS,        /* [N], or K an item [N, K]: whole numbers, -1 = unknown */
    AK_FIELD_NUMBERS,       /* [N], or K an item [N, K]: targets, sizes, ages */
    AK_FIELD_ID             /* [N] whole numbers that tell what is one thing; -1 = none */
} ak_field_kind;

/* A field and where its values come from. A list ends with { 0 }. Names are copied. */
typedef struct ak_field {
    const char      *name;      /* unique in the set */
    ak_field_kind    kind;
    const ak_array  *array;     /* its values: of an array of any type, which is converted, */
    const ak_tensor *tensor;    /* or of a tensor; neither: the callback fills it */
    const ak_array  *lengths;   /* [N], of sequences and tokens: steps, each in [0, T]; NULL = T */
    bool             packed;    /* with lengths: the array is [sum of lengths, ..], item by item */
    bool             borrowed;  /* values are not copied and stay as they are until ak_close. Types
                                 * must fit: u1 or ak_real for pictures, i4 for whole numbers (the
                                 * caller has seen to their values), ak_real for others */
    ak_shape         shape;     /* of an item, for a callback; the first axis of sequences and
                                 * tokens is the longest length */
    bool             bytes;     /* pictures from a callback are uint8_t, read as [0, 1] */
    int32_t          pad;       /* token behind the end of shorter lists, >= 0; 0 */
    const ak_tokenizer *tokenizer;  /* that made the tokens: what views of words know words by;
                                     * NULL = none is known */
    const char *const *class_names; /* of labels, ended by NULL; not copied; NULL = none */
} ak_field;

/* A data set of fields from arrays.
 *
 *   what     one line for ak_dataset_name; copied
 *   fields   ended by { 0 }, each with its values for the same N items
 *   errors   AK_ERR_SHAPE (an array has not the axes of its kind, or another N), AK_ERR_VALUE (no
 *            field, a name twice, no values, lengths or whole numbers out of their range),
 *            AK_ERR_NUMBER for a NaN when numbers are checked, AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_fields(ak_ctx *ctx, const char *what, const ak_field *fields);

/* What a callback fills. */
typedef struct ak_item_data {
    int64_t number;                 /* of the item, in [0, size) */
    void   *data[AK_MAX_FIELDS];    /* by place in the list of fields, zeroed: uint8_t for pictures
                                     * with .bytes, int32_t for tokens, labels and ids, ak_real for
                                     * others. NULL for fields that have values */
    int64_t length[AK_MAX_FIELDS];  /* to be set for sequences and tokens; the longest at first */
    char    error[200];             /* to be set before returning false: what was wrong */
} ak_item_data;
/* Fills an item; false if it can not. It is called by several loader threads at once, for any item
 * and as often as they need it: it must answer the same each time, and record no errors itself. */
typedef bool (*ak_item_fn)(ak_item_data *item, void *user);

/* A data set of `size` items whose fields a callback fills (files that are decoded, generators).
 *
 *   fields   ended by { 0 }: .shape for what the callback fills; others have their values, [size].
 *            Labels and ids that are sampled, selected or joined by must have values
 *   fill     an item that it refuses, or fills with what its kind does not allow, fails the batch
 *            with AK_ERR_VALUE, field, number and ak_item_data.error
 *   user     handed to fill; must live as long as the context; may be NULL
 *   errors   as ak_dataset_fields; AK_ERR_VALUE for size outside [1, 2^31)
 */
AK_API ak_dataset *ak_dataset_callback(ak_ctx *ctx, const char *what, int64_t size,
                                       const ak_field *fields, ak_item_fn fill, void *user);

/* One more field with values for the items of ds, behind the others. Loaders that are open do not
 * see it. errors: as ak_dataset_fields */
AK_API ak_status ak_dataset_add(ak_dataset *ds, ak_field field);
/* errors: AK_ERR_NOT_FOUND (the message lists the fields), AK_ERR_VALUE for a name in use */
AK_API ak_status ak_dataset_rename(ak_dataset *ds, const char *field, const char *name);
/* Forget a field. errors: AK_ERR_NOT_FOUND, AK_ERR_VALUE for the last one */
AK_API ak_status ak_dataset_drop(ak_dataset *ds, const char *field);
/* Name, kind, shape of an item, .pad, .tokenizer and .class_names of the i-th field; false past
 * the end. */
AK_API bool ak_dataset_field_at(const ak_dataset *ds, int i, ak_field *field);

/* ---- from files and memory ------------------------------------------------------------------- */

/* The pictures and labels of an MNIST-like set in a folder: <dir>/<prefix>-images-idx3-ubyte and
 * <prefix>-labels-idx1-ubyte, plain or with .gz, also spelled images.idx3-ubyte; idx4 files hold
 * [N, H, W, C].
 *
 *   prefix   "train", "t10k" ("test" finds "t10k" too), or what the files begin with
 *   returns  items [H, W, C] of bytes, context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT (also: as many labels as pictures are
 *            needed), AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_idx(ak_ctx *ctx, const char *dir, const char *prefix);

/* Where a data set of this name lies: the first of $AK_DATA/<name> and $AK_DATA, or where AK_DATA
 * is not set of data/<name> and /usr/share/datasets/<name>, that has the training pictures of
 * ak_dataset_idx.
 *
 *   buf      size bytes for the path; a folder whose path does not fit is not found
 *   returns  buf, or NULL if there is none (no error is recorded)
 */
AK_API char *ak_dataset_find(const char *name, char *buf, size_t size);

/* Fashion-MNIST, where ak_dataset_find("fashion-mnist") has it.
 *
 *   split    "train" (60,000 pictures) or "test" (10,000)
 *   returns  items [28, 28, 1], 10 named classes; NULL on failure
 *   errors   AK_ERR_NOT_FOUND with the places looked at and how to get it; as ak_dataset_idx
 *   source   Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv:1708.07747
 */
AK_API ak_dataset *ak_dataset_fashion_mnist(ak_ctx *ctx, const char *split);

/* A data set from an archive of arrays.
 *
 *   items    name of the array [N, H, W, C], [N, H, W] (one channel is added), [N, D] or [N];
 *            u1 and b1 stay bytes, everything else becomes ak_real
 *   labels   name of the array with N (or [N, 1]) whole numbers; NULL = no labels
 *   errors   AK_ERR_NOT_FOUND for a missing name (the message lists those that are there),
 *            AK_ERR_SHAPE, as ak_npz_find; AK_ERR_NUMBER for a NaN when numbers are checked
 */
AK_API ak_dataset *ak_dataset_npz(ak_ctx *ctx, const char *path, const char *items,
                                  const char *labels);
/* A data set from a CSV or TSV file: items [columns]. errors: as ak_table_read; AK_ERR_NUMBER;
 * AK_ERR_VALUE for a number that is beyond the range of ak_real */
AK_API ak_dataset *ak_dataset_table(ak_ctx *ctx, const char *path, ak_table_options options);
/* A data set from bytes in memory, which are copied.
 *
 *   shape    [N, H, W, C] (or [N, D]), N >= 1
 *   labels   N numbers, -1 = unknown; NULL = all unknown
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE for a label below -1, AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_memory(ak_ctx *ctx, const uint8_t *pictures, ak_shape shape,
                                     const int32_t *labels);
/* The same from a tensor [N, ..]. errors: also AK_ERR_NUMBER for a NaN when numbers are checked */
AK_API ak_dataset *ak_dataset_tensor(ak_ctx *ctx, const ak_tensor *items, const int32_t *labels);
/* Drawn pictures: ten classes of grey 28x28 shapes and strokes (disc, ring, square, frame,
 * triangle, cross, bars, zigzag, star, crescent) in random place, size, rotation, thickness and
 * contrast, with noise and a stray stroke. A stand-in where no data set is installed; for tests.
 *
 *   first    picture i is a pure function of (seed, first + i): ranges that do not overlap are
 *            disjoint samples of one distribution (training: 0.., test: 1000000..)
 *   returns  items [28, 28, 1], labels balanced ((first + i) mod 10), 10 named classes
 *   errors   AK_ERR_VALUE for count outside [1, 2^31), first < 0 or first + count beyond 2^63 - 1;
 *            AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_drawn(ak_ctx *ctx, uint64_t seed, int64_t first, int64_t count);

/* ---- parts of a set, and sets side by side --------------------------------------------------- */

/* All of these share the memory of the set they are made of, number their items from 0 anew, keep
 * its classes and class names whether or not they occur, and are scaled and normalised as it is,
 * also when that is said later, until ak_dataset_scale or ak_dataset_normalize is called for them;
 * the other set never changes with them. What is random depends on `seed` and the set's labels
 * alone, and on no context. A set that would be empty is AK_ERR_VALUE; labels that are needed but
 * not there are AK_ERR_STATE. */

/* Items start .. start+count-1. errors: AK_ERR_VALUE if they are not all there or count < 1 */
AK_API ak_dataset *ak_dataset_subset(ak_dataset *ds, int64_t start, int64_t count);
/* The items listed, in this order; an item may come several times. errors: AK_ERR_VALUE if one is
 * not there or n < 1 */
AK_API ak_dataset *ak_dataset_pick(ak_dataset *ds, const int64_t *items, int64_t n);
/* Is the item wanted? ak_dataset_label and ak_dataset_value tell of it. user may be NULL. */
typedef bool (*ak_item_test)(const ak_dataset *ds, int64_t item, void *user);
/* The items for which the test is true, in their order. */
AK_API ak_dataset *ak_dataset_where(ak_dataset *ds, ak_item_test test, void *user);
/* The items of one label, in their order; -1: those of unknown label. */
AK_API ak_dataset *ak_dataset_class(ak_dataset *ds, int32_t label);
/* Two sets without a common item: round(share N) items chosen at random, and the others, both in
 * their order. share in (0, 1). errors: AK_ERR_VALUE if one of them would be empty */
AK_API ak_status ak_dataset_split(ak_dataset *ds, double share, uint64_t seed, ak_dataset **chosen,
                                  ak_dataset **others);
/* A share of every class: max(1, round(share n)) of the n items of each label, at random, in their
 * order; items of unknown label, or a set without labels, count as one class. Of one seed, the
 * smaller share is a part of the larger. share in (0, 1] */
AK_API ak_dataset *ak_dataset_share(ak_dataset *ds, double share, uint64_t seed);
/* All items, with the labels of that share only: the others become -1. errors: AK_ERR_STATE
 * without labels */
AK_API ak_dataset *ak_dataset_hide_labels(ak_dataset *ds, double share, uint64_t seed);
/* A long tail: of the c-th of C classes that occur, in the order of their labels,
 * max(1, round(n ratio^(-c / (C - 1)))) of its n items, at random, in their order; unknown labels
 * are left out. ratio in [1, inf): of the largest class to the smallest, where all are equal
 *   source   Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019 */
AK_API ak_dataset *ak_dataset_long_tail(ak_dataset *ds, double ratio, uint64_t seed);
/* Symmetric label noise: each known label becomes, with probability share, one of the other labels
 * that occur, each as likely. The labels as they were are the field "clean_label". share in [0, 1];
 * two labels at least */
AK_API ak_dataset *ak_dataset_noisy_labels(ak_dataset *ds, double share, uint64_t seed);

/* A set of a join, and its field of kind id or labels (one an item) that says what belongs
 * together. */
typedef struct ak_join { ak_dataset *set; const char *key; } ak_join;
/* Several sets side by side: pairs and triples of modalities. For each item of the first set, in
 * order, the items of the other sets with the same key; its fields and theirs make one item.
 * Several items of the first set may have one key (the captions of a picture: name the captions
 * first), but in the other sets a key occurs once.
 *
 *   sets        2 to 8, ended by { 0 }
 *   unmatched   of each set, items that are in no pair: no partner in one of the other sets, or
 *               key -1. NULL = not wanted; they are told in a message (a warning, if there are any)
 *               and in ak_dataset_name
 *   returns     fields of the first set, then of the others without their keys
 *   errors      AK_ERR_VALUE for a key that occurs twice in another set than the first, for a name
 *               that two sets have (ak_dataset_rename, ak_dataset_drop), for no pair at all, more
 *               than AK_MAX_FIELDS fields; AK_ERR_NOT_FOUND for a key that is no field,
 *               AK_ERR_STATE for one that a callback fills; AK_ERR_CONTEXT, AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_join(const ak_join *sets, int64_t *unmatched);

/* ---- what a set says ------------------------------------------------------------------------- */

/* The context it belongs to; NULL for NULL. */
AK_API ak_ctx *ak_dataset_ctx(const ak_dataset *ds);
/* Items; 0 for NULL. */
AK_API int64_t ak_dataset_size(const ak_dataset *ds);
/* Shape of the main field of an item: [H, W, C] or [D]; a scalar's if there is none, and for
 * NULL. */
AK_API ak_shape ak_dataset_item(const ak_dataset *ds);
/* Label of item i: >= 0, or -1 if unknown or i is out of range. errors: AK_ERR_STATE for labels
 * that a callback fills */
AK_API int32_t ak_dataset_label(const ak_dataset *ds, int64_t i);
/* The value of a field with one number an item (labels, numbers, id), as it is stored: for tests of
 * ak_dataset_where.
 *
 *   returns  NaN after an error
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_VALUE (another kind; no such item), AK_ERR_STATE for a field
 *            that a callback fills
 */
AK_API double ak_dataset_value(const ak_dataset *ds, const char *field, int64_t i);
/* Classes: one more than the largest label; 0 without labels, and for NULL. */
AK_API int64_t ak_dataset_classes(const ak_dataset *ds);
/* Name of a class; its number as text where no name is known (then valid until the next call of
 * this thread). */
AK_API const char *ak_dataset_class_name(const ak_dataset *ds, int32_t label);
/* Names of all classes, ended by NULL: for ak_table_options.classes; NULL where none are known. */
AK_API const char *const *ak_dataset_class_names(const ak_dataset *ds);
/* What it is and where it came from, one line: for logs and run folders; "no data set" for
 * NULL. */
AK_API const char *ak_dataset_name(const ak_dataset *ds);

/* Read numbers from lo to hi as 0 to 1, before everything else: pictures of floats 0..255 become
 * what pictures of bytes are, bit for bit. Numbers outside lo..hi lie outside [0, 1] then. Concerns
 * what is read from now on, subsets without a scale of their own as well; open loaders keep what
 * they had.
 *
 *   formula  y = (x - lo) / (hi - lo)
 *   field    a picture, vector, sequence or numbers
 *   errors   AK_ERR_VALUE for lo >= hi or numbers beyond ak_real, AK_ERR_STATE for items of bytes,
 *            which are scaled already; AK_ERR_NOT_FOUND, AK_ERR_VALUE for a field of another kind
 */
AK_API ak_status ak_dataset_scale(ak_dataset *ds, double lo, double hi);
AK_API ak_status ak_dataset_scale_field(ak_dataset *ds, const char *field, double lo, double hi);

/* Subtract a mean and divide by a standard deviation, per channel (last axis), after everything
 * else. Concerns what is read from now on, subsets without means of their own as well; open loaders
 * keep what they had.
 *
 *   formula  y = (x - mean[c]) / std[c]
 *   mean,std C values each; mean NULL = 0, std NULL = 1
 *   errors   AK_ERR_VALUE for std <= 0 or numbers beyond ak_real, AK_ERR_SHAPE for more than
 *            AK_MAX_CHANNELS channels; as ak_dataset_scale_field
 */
AK_API ak_status ak_dataset_normalize(ak_dataset *ds, const double *mean, const double *std);
AK_API ak_status ak_dataset_normalize_field(ak_dataset *ds, const char *field, const double *mean,
                                            const double *std);

/* The main field of items without augmentation, scaled and normalised as the loader does it: for
 * evaluation. (ak_dataset_get of akin/data.h: all fields.)
 *
 *   shapes   returns [count, H, W, C]
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_VALUE if start .. start+count-1 are not all there or the callback refuses one,
 *            AK_ERR_STATE if the main field is no tensor, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_dataset_batch(ak_dataset *ds, int64_t start, int64_t count);
/* Their labels [count], -1 = unknown. errors: as ak_dataset_batch */
AK_API ak_index *ak_dataset_labels(ak_dataset *ds, int64_t start, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
