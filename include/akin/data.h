/* SPDX-License-Identifier: Apache-2.0 */
/* akin/data.h - data sets, the loader with its augmented views, and the augmentations.
 *
 * A data set is a row of items of one shape (pictures [H, W, C], rows [D]) with a class label each.
 * A loader hands out shuffled batches of it, every item in V randomly changed views: what
 * contrastive learning compares. Worker threads prepare batches ahead of the step. Every random
 * draw depends on (seed, epoch, item, view, place of the augmentation in its list) alone, so any
 * number of threads, and a run that was resumed, give the same bits.
 *
 *     ak_dataset *train = ak_dataset_fashion_mnist(ctx, "train");     // [60000, 28, 28, 1]
 *     ak_loader  *pairs = ak_loader_open(train, (ak_loader_options){
 *         .batch = 256, .views = 2,
 *         .augment = (ak_augment[]){ ak_random_crop(0.4, 1), ak_random_flip(0.5), { 0 } } });
 *     for (int epoch = 0; epoch < 10; epoch++)
 *         for (ak_batch b; ak_loader_next(pairs, &b); ) {
 *             ... b.view[0], b.view[1] are [256, 28, 28, 1]; b.label has their classes ...
 *             ak_step_end(ctx);
 *         }
 *
 * Items pass three stages: scaled, augmented, normalised. Pictures of bytes are scaled to [0, 1]
 * (y = x / 255); numbers stay as they are unless ak_dataset_scale says what becomes 0 and 1, which
 * augmentations of colour need. ak_dataset_normalize adds a mean and a standard deviation per
 * channel, for training and evaluation alike.
 *
 * What it does not do: pictures of different sizes in one data set, resizing to another size.
 *
 * Functions that return a pointer return NULL after recording an error. While that is pending, NULL
 * may go where the failed call's result would, without a second message (ak_loader_next(NULL, &b)
 * is false); afterwards it is AK_ERR_VALUE. Lists of augmentations have 1000 entries at most.
 *
 * After fork() a loader with threads belongs to the parent: in the child its calls answer
 * AK_ERR_STATE, and closing it only frees. A loader that is opened in the child, or has no threads,
 * works there (akin/core.h says what else holds after fork).
 */
#ifndef AKIN_DATA_H
#define AKIN_DATA_H

#include <akin/io.h>
#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_MAX_VIEWS    16
#define AK_MAX_CHANNELS 16      /* of pictures that are augmented or normalised */

/* ---- data sets ------------------------------------------------------------------------------ */

typedef struct ak_dataset ak_dataset;

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
/* Items start .. start+count-1 of another set, sharing its memory; numbered from 0 anew. It has the
 * classes and class names of that set, whether or not they occur in it, and is scaled and
 * normalised as that set is, also when that is said later, until ak_dataset_scale or
 * ak_dataset_normalize is called for the subset itself; the other set never changes with it.
 * errors: AK_ERR_VALUE if they are not all there or count < 1 */
AK_API ak_dataset *ak_dataset_subset(ak_dataset *ds, int64_t start, int64_t count);

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

/* The context it belongs to; NULL for NULL. */
AK_API ak_ctx *ak_dataset_ctx(const ak_dataset *ds);
/* Items; 0 for NULL. */
AK_API int64_t ak_dataset_size(const ak_dataset *ds);
/* Shape of one item: [H, W, C] or [D]; a scalar's for NULL. */
AK_API ak_shape ak_dataset_item(const ak_dataset *ds);
/* Label of item i: >= 0, or -1 if unknown or i is out of range. */
AK_API int32_t ak_dataset_label(const ak_dataset *ds, int64_t i);
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
 *   errors   AK_ERR_VALUE for lo >= hi or numbers beyond ak_real, AK_ERR_STATE for items of bytes,
 *            which are scaled already
 */
AK_API ak_status ak_dataset_scale(ak_dataset *ds, double lo, double hi);

/* Subtract a mean and divide by a standard deviation, per channel (last axis), after everything
 * else. Concerns what is read from now on, subsets without means of their own as well; open loaders
 * keep what they had.
 *
 *   formula  y = (x - mean[c]) / std[c]
 *   mean,std C values each; mean NULL = 0, std NULL = 1
 *   errors   AK_ERR_VALUE for std <= 0 or numbers beyond ak_real, AK_ERR_SHAPE for more than
 *            AK_MAX_CHANNELS channels
 */
AK_API ak_status ak_dataset_normalize(ak_dataset *ds, const double *mean, const double *std);

/* Items without augmentation, scaled and normalised as the loader does it: for evaluation.
 *
 *   shapes   returns [count, H, W, C]
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_VALUE if start .. start+count-1 are not all there, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_dataset_batch(ak_dataset *ds, int64_t start, int64_t count);
/* Their labels [count], -1 = unknown. errors: as ak_dataset_batch */
AK_API ak_index *ak_dataset_labels(ak_dataset *ds, int64_t start, int64_t count);

/* ---- augmentations -------------------------------------------------------------------------- */

/* A picture being changed: one plane a channel, values in [0, 1] for pictures of bytes. Up to 7
 * numbers beyond the end of a plane and of scratch may be read and written. */
typedef struct ak_picture {
    ak_real *plane[AK_MAX_CHANNELS];    /* [H, W] each */
    ak_real *scratch;                   /* [H, W], free for use */
    int64_t  height, width;
    int      channels;
} ak_picture;

/* The part of the source picture that is shown. */
typedef struct ak_box {
    int64_t y, x, height, width;
    bool    mirror;
} ak_box;

/* Where an augmentation takes its random numbers from: ak_draw(d, 0), ak_draw(d, 1), .. are
 * uniform in [0, 1) and depend on (seed, epoch, item, view, place in the list) and the number. */
typedef struct ak_draws { uint64_t seed, stream; } ak_draws;
static inline double ak_draw(ak_draws d, uint64_t number)
{
    return ak_random_uniform(d.seed, d.stream, number);
}

/* A kind of augmentation. One of look (geometry: all that stand together become one resampling)
 * and change (pixels) is set; they run on worker threads and must use nothing but arguments. A look
 * must leave a box inside of the picture. */
typedef struct ak_augment_kind {
    const char *name, *formula, *options;
    int         n_options;
    void      (*look)(ak_box *box, const double *options, ak_draws draws);
    void      (*change)(ak_picture *picture, const double *options, ak_draws draws);
    const char *(*check)(const double *options);    /* NULL if fine, else what is wrong */
    bool        unit_range;     /* change takes values in [0, 1] only; others are an error */
} ak_augment_kind;

#define AK_AUGMENT_OPTIONS 6
/* One augmentation with its options. A list ends with { 0 }. */
typedef struct ak_augment {
    const ak_augment_kind *kind;
    double                 option[AK_AUGMENT_OPTIONS];
} ak_augment;

/* Random resized crop: a box of area a ~ U[lo, hi] times the picture's and aspect (width by
 * height, relative to the picture's) log-uniform in [3/4, 4/3], anywhere inside, bilinearly scaled
 * to the picture's size. Ten tries; then the whole picture.  0 < lo <= hi <= 1 */
AK_API ak_augment ak_random_crop(double lo, double hi);
/* The same with an aspect range.  0 < aspect_lo <= aspect_hi */
AK_API ak_augment ak_random_crop_aspect(double lo, double hi, double aspect_lo, double aspect_hi);
/* Mirror left-right with probability p. */
AK_API ak_augment ak_random_flip(double p);
/* Colour jitter with brightness, contrast and saturation `strength` and hue strength / 4, at most
 * 0.5, which is the whole circle. */
AK_API ak_augment ak_jitter(double strength);
/* With probability p, in random order: brightness x f, contrast (x - m) f + m with m the mean grey
 * value, saturation (x - grey) f + grey, f ~ U[max(0, 1 - s), 1 + s] for the respective strength
 * s in [0, 1000]; hue turned by U[-hue, hue] of the circle, 0 <= hue <= 0.5; each clamped to
 * [0, 1]. Pictures must be in [0, 1]; those that have not three channels get brightness and
 * contrast only. */
AK_API ak_augment ak_color_jitter(double brightness, double contrast, double saturation, double hue,
                                  double p);
/* With probability p all three channels become 0.299 r + 0.587 g + 0.114 b. Pictures that have not
 * three channels stay as they are. */
AK_API ak_augment ak_random_gray(double p);
/* With probability p a Gaussian blur of sigma ~ U[lo, hi] pixels; the kernel covers a tenth of the
 * picture's shorter side (an odd number from 3 to 65, less than twice the side); edges are
 * reflected.  0 < lo <= hi */
AK_API ak_augment ak_random_blur(double lo, double hi, double p);
/* With probability p, x >= threshold becomes 1 - x. Pictures must be in [0, 1], and threshold. */
AK_API ak_augment ak_random_solarize(double threshold, double p);

/* Kinds of the library by position (NULL past the end) and by name (NULL if unknown). */
AK_API const ak_augment_kind *ak_augment_at(int i);
AK_API const ak_augment_kind *ak_augment_find(const char *name);

/* One view, just as a loader with this list and seed makes it: for looking at augmentations.
 *
 *   list     ends with { 0 }
 *   shapes   returns [H, W, C]
 *   returns  view `view` of item `item` in epoch `epoch`, step lifetime; the poison tensor on
 *            failure
 *   grad     none
 *   errors   AK_ERR_VALUE (no such item, view or epoch; options or values out of range),
 *            AK_ERR_NUMBER (values that are not finite where [0, 1] is needed), AK_ERR_SHAPE,
 *            AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_augment_item(ak_dataset *ds, const ak_augment *list, uint64_t seed,
                                  int64_t epoch, int64_t item, int view);

/* ---- loader --------------------------------------------------------------------------------- */

typedef struct ak_loader_options {
    int64_t  batch;         /* items a batch, [2, items of the set]; 0 = 256 */
    int      views;         /* of each item, [1, AK_MAX_VIEWS]; 0 = 1 */
    const ak_augment *augment;              /* for every view, ended by { 0 }; NULL = none */
    const ak_augment *const *augment_each;  /* instead: `views` lists, NULL entries = none */
    uint64_t seed;          /* of order and augmentation; 0 = the context's */
    int      threads;       /* that prepare batches, [1, 64]; 0 = 1, AK_NONE = in the caller */
    bool     in_order;      /* items in their order, not shuffled */
    bool     keep_last;     /* the shorter last batch too, of 2 or more; otherwise it is dropped */
    bool     balance;       /* every class equally often (rare classes repeat); needs labels */
} ak_loader_options;

typedef struct ak_batch {
    ak_tensor *view[AK_MAX_VIEWS];  /* [N, H, W, C] each: rows v*N .. of `all` */
    ak_tensor *all;                 /* [V*N, H, W, C], view after view */
    ak_index  *label;               /* [N], -1 = unknown */
    ak_index  *index;               /* [N] numbers of the items in the data set */
    int64_t    size;                /* N */
    int        views;               /* V */
    int64_t    epoch, number;       /* of this batch, from 0 */
} ak_batch;

typedef struct ak_loader ak_loader;

/* Open a loader. Lists of augmentations are copied.
 *
 *   returns  the loader; it belongs to the context and is closed with it; NULL on failure
 *   errors   AK_ERR_VALUE (batch of 1 or larger than the set, keep_last that leaves a batch of 1,
 *            an option out of range, balance without labels, pictures outside [0, 1] where an
 *            augmentation needs that), AK_ERR_NUMBER (not finite there), AK_ERR_SHAPE
 *            (augmentation of items that are not [H, W, C]), AK_ERR_MEMORY
 */
AK_API ak_loader *ak_loader_open(ak_dataset *ds, ak_loader_options options);

/* The next batch of the epoch: for (ak_batch b; ak_loader_next(loader, &b); ) is one epoch.
 *
 *   b        filled; its tensors belong to the current step
 *   returns  true; false at the end of an epoch (b is all zero, the next call begins the next
 *            epoch), and when an error is pending or arises (ak_error() tells which of the two)
 *   errors   AK_ERR_VALUE naming the item whose view an augmentation of one's own spoiled,
 *            AK_ERR_NUMBER naming the item for a NaN or infinity when numbers are checked (such
 *            batches are skipped), AK_ERR_STATE (closed, or of another process), AK_ERR_MEMORY
 *
 * On an error, loader NULL included, b is the poison batch: size 0, every tensor the poison tensor,
 * so that what is computed from it does nothing and ak_step_end() says why. No loop can wait for a
 * batch for ever: after a thousand calls in a row that failed, one returns true with that batch.
 */
AK_API bool ak_loader_next(ak_loader *loader, ak_batch *b);

/* The next batch, one epoch after the other, for loops that count steps:
 *
 *     ak_batch b;
 *     for (int step = 0; step < 1000 && ak_loader_endless(loader, &b); step++)
 *
 *   returns  true; false on an error only, as ak_loader_next
 */
AK_API bool ak_loader_endless(ak_loader *loader, ak_batch *b);

/* Batches in an epoch; 0 for NULL. */
AK_API int64_t ak_loader_batches(const ak_loader *loader);

/* Place in the data: what a checkpoint stores. */
typedef struct ak_loader_state {
    int64_t epoch;      /* of the next batch */
    int64_t batch;      /* its number; as many as an epoch has: the epoch's end comes next */
} ak_loader_state;
AK_API ak_loader_state ak_loader_tell(const ak_loader *loader);
/* Continue from there. errors: AK_ERR_VALUE if there is no such place; AK_ERR_STATE if the loader
 * is closed or of another process */
AK_API ak_status ak_loader_seek(ak_loader *loader, ak_loader_state state);

/* Stop the threads and free the buffers before the context closes. Closing NULL is fine, and
 * closing twice. In a process that was forked off since it only frees. */
AK_API void ak_loader_close(ak_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
