/* SPDX-License-Identifier: Apache-2.0 */
/* akin/data.h - the loader with its augmented views, and the augmentations.
 *
 * A data set (akin/dataset.h) is a row of items with named fields. A loader hands out shuffled
 * batches of it: the main field in V randomly changed views, what contrastive learning compares,
 * and all other fields beside it. Worker threads prepare batches ahead of the step. Every random
 * draw depends on (seed, epoch, item, view, place of the augmentation in its list, field) alone, so
 * any number of threads, and a run that was resumed, give the same bits.
 *
 *     ak_dataset *train = ak_dataset_fashion_mnist(ctx, "train");     // [60000, 28, 28, 1]
 *     ak_loader  *pairs = ak_loader_open(train, (ak_loader_options){
 *         .batch = 256, .views = 2,
 *         .augment = (ak_augment[]){ ak_random_crop(0.4, 1), ak_random_flip(0.5), { 0 } } });
 *     for (int epoch = 0; epoch < 10; epoch++)
 *         for (ak_batch b; ak_loader_next(pairs, &b); ) {
 *             ... b.view[0], b.view[1] are [256, 28, 28, 1]; b.label has their classes ...
 *             ... ak_batch_field(&b, "caption")->ids[0] is [256, T], ->lengths[0] [256] ...
 *             ak_step_end(ctx);
 *         }
 *
 * Views lie view by view everywhere, [V, N, ..]: in b.all (as [V N, ..]), in what ak_loss_ntxent,
 * ak_loss_ntxent_views and ak_loss_supcon take.
 *
 * Items pass three stages: scaled, augmented, normalised (akin/dataset.h).
 *
 * What it does not do: pictures of different sizes in one data set. Views may have a size of their
 * own (ak_view_size).
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

#include <akin/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_MAX_VIEWS 16

/* ---- augmentations -------------------------------------------------------------------------- */

/* A picture being changed: one plane a channel, values in [0, 1] for pictures of bytes. Up to 7
 * numbers beyond the end of a plane and of scratch may be read and written. */
typedef struct ak_picture {
    ak_real *plane[AK_MAX_CHANNELS];    /* [H, W] each */
    ak_real *scratch;                   /* [H, W], free for use */
    int64_t  height, width;
    int      channels;
} ak_picture;

/* A vector (of length 1) or a sequence being changed: [length, width]. A sequence may become
 * shorter or longer, up to `most`. */
typedef struct ak_sequence {
    ak_real *data;
    int64_t  length, width, most;
} ak_sequence;

/* Token ids being changed; they may become fewer or more, up to `most`, and stay >= 0. */
typedef struct ak_token_list {
    int32_t *data;
    int64_t  length, most;
    const struct ak_tokenizer *tokenizer;   /* of the field; NULL = none is known */
} ak_token_list;

/* The part of the source picture that is shown. */
typedef struct ak_box {
    int64_t y, x, height, width;
    bool    mirror;
} ak_box;

/* Where an augmentation takes its random numbers from: ak_draw(d, 0), ak_draw(d, 1), .. are
 * uniform in [0, 1) and depend on (seed, epoch, item, view, place in the list, field) and the
 * number. */
typedef struct ak_draws { uint64_t seed, stream; } ak_draws;
static inline double ak_draw(ak_draws d, uint64_t number)
{
    return ak_random_uniform(d.seed, d.stream, number);
}

/* A kind of augmentation, of the library or of one's own. Exactly one of the functions is set,
 * which says what fields it is for: pictures by look (geometry: all that stand together become one
 * resampling) or change (pixels), vectors and sequences by sequence, token ids by tokens. They run
 * on worker threads and must use nothing but arguments. A look must leave a box inside of the
 * picture. */
typedef struct ak_augment_kind {
    const char *name, *formula, *options;
    int         n_options;
    void      (*look)(ak_box *box, const double *options, ak_draws draws);
    void      (*change)(ak_picture *picture, const double *options, ak_draws draws);
    const char *(*check)(const double *options);    /* NULL if fine, else what is wrong */
    bool        unit_range;     /* change takes values in [0, 1] only; others are an error */
    void      (*sequence)(ak_sequence *x, const double *options, ak_draws draws);
    void      (*tokens)(ak_token_list *x, const double *options, ak_draws draws);
    /* tokens: NULL if fine for this tokeniser (NULL = none is known), else what is wrong. */
    const char *(*tokens_check)(const struct ak_tokenizer *tokenizer);
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

/* The size of the view, wherever it stands in its list (once): what the geometry before the first
 * change scales to, instead of the picture's own size; with none, the whole picture is scaled.
 * Small views of parts of the picture beside two large ones are multi-crop (Caron et al., NeurIPS
 * 2020): .augment_each with ak_random_crop and ak_view_size. Bilinear, as ak_random_crop.
 * height, width >= 1, at most 2^20 */
AK_API ak_augment ak_view_size(int64_t height, int64_t width);

/* Kinds of the library by position (NULL past the end) and by name (NULL if unknown). */
AK_API const ak_augment_kind *ak_augment_at(int i);
AK_API const ak_augment_kind *ak_augment_find(const char *name);

/* One view of the main field, a picture, just as a loader with this list and seed makes it: for
 * looking at augmentations.
 *
 *   list     ends with { 0 }
 *   shapes   returns [H, W, C], of the picture's size or that of ak_view_size
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

/* Views of a field other than the main one. A list ends with { 0 }. */
typedef struct ak_field_views {
    const char *field;
    int         views;      /* [1, AK_MAX_VIEWS]; 0 = 1 */
    const ak_augment *augment;              /* for every view, ended by { 0 }; NULL = none */
    const ak_augment *const *augment_each;  /* instead: `views` lists, NULL entries = none */
} ak_field_views;

typedef struct ak_loader_options {
    int64_t  batch;         /* items a batch, [2, items of the set]; 0 = 256 */
    int      views;         /* of the main field, [1, AK_MAX_VIEWS]; 0 = 1 */
    const ak_augment *augment;              /* for every view, ended by { 0 }; NULL = none */
    const ak_augment *const *augment_each;  /* instead: `views` lists, NULL entries = none */
    uint64_t seed;          /* of order and augmentation; 0 = the context's */
    int      threads;       /* that prepare batches, [1, 64]; 0 = 1, AK_NONE = in the caller */
    bool     in_order;      /* items in their order, not shuffled */
    bool     keep_last;     /* the shorter last batch too, of 2 or more; otherwise it is dropped */
    bool     balance;       /* every class equally often (rare classes repeat); needs labels */
    const ak_field_views *fields;   /* of other fields, ended by { 0 }; NULL = one view, as it is */
} ak_loader_options;

/* One field of a batch. N items, V views of them, view by view; T is the longest sequence of the
 * batch, 1 at least. What a kind has not is NULL. */
typedef struct ak_column {
    const char   *name;
    ak_field_kind kind;
    int           views;                    /* V; 1 for labels, numbers, ids */
    ak_tensor *view[AK_MAX_VIEWS], *all;    /* pictures [N, H, W, C], vectors [N, D], sequences
                                             * [N, T, D] with zeros behind their ends, numbers
                                             * [N] or [N, K]; all [V N, ..], NULL if views differ
                                             * in size */
    ak_index  *ids[AK_MAX_VIEWS], *all_ids; /* tokens [N, T], filled up with .pad; labels [N] or
                                             * [N, K]; ids [N] */
    ak_index  *lengths[AK_MAX_VIEWS], *all_lengths;     /* sequences and tokens: [N] */
} ak_column;

typedef struct ak_batch {
    ak_tensor *view[AK_MAX_VIEWS];  /* of the main field, [N, H, W, C] each; NULL for tokens */
    ak_tensor *all;                 /* [V*N, H, W, C], view after view: row v*N + i is view v of
                                     * item i; NULL where views differ in size (ak_batch_views) */
    ak_index  *label;               /* [N], -1 = unknown */
    ak_index  *index;               /* [N] numbers of the items in the data set */
    int64_t    size;                /* N */
    int        views;               /* V of the main field */
    int64_t    epoch, number;       /* of this batch, from 0 */
    const ak_column *column;        /* [columns] all fields, in the order of the set */
    int        columns;
    ak_ctx    *ctx;
    uint64_t   generation;          /* the step it belongs to */
} ak_batch;

/* A field of a batch by name: ak_batch_field(&b, "caption")->ids[0].
 *
 *   returns  step lifetime; on failure a column of poison (never NULL), so that what is computed
 *            from it does nothing
 *   errors   AK_ERR_NOT_FOUND (the message lists the fields), AK_ERR_STALE for a batch of an
 *            earlier step, AK_ERR_STATE for no batch (the end of an epoch)
 */
AK_API const ak_column *ak_batch_field(const ak_batch *b, const char *name);
/* The same, of the kind that the program expects. errors: also AK_ERR_VALUE for another kind */
AK_API const ak_column *ak_batch_need(const ak_batch *b, const char *name, ak_field_kind kind);

/* Consecutive views of one size as one tensor, for one pass of the encoder (multi-crop).
 *
 *   field    NULL = the main one
 *   shapes   returns [count N, ..], view by view: an alias
 *   errors   AK_ERR_VALUE if there are no such views, they differ in size, or are no tensors; as
 *            ak_batch_field
 */
AK_API ak_tensor *ak_batch_views(const ak_batch *b, const char *field, int first, int count);

/* All fields of items start .. start+count-1, in order, one view as it is: for evaluation.
 *
 *   b        filled as ak_loader_next does; epoch and number are 0
 *   returns  false on an error, and b is the poison batch
 *   errors   AK_ERR_VALUE if they are not all there (or count < 1) or the callback refuses one,
 *            AK_ERR_MEMORY
 */
AK_API bool ak_dataset_get(ak_dataset *ds, int64_t start, int64_t count, ak_batch *b);

typedef struct ak_loader ak_loader;

/* Open a loader. Lists of augmentations are copied.
 *
 *   returns  the loader; it belongs to the context and is closed with it; NULL on failure
 *   errors   AK_ERR_VALUE (batch of 1 or larger than the set, keep_last that leaves a batch of 1,
 *            an option out of range, balance without labels, pictures outside [0, 1] where an
 *            augmentation needs that, views of labels, numbers or ids, a field named twice),
 *            AK_ERR_NUMBER (not finite there), AK_ERR_SHAPE (an augmentation of another kind of
 *            field), AK_ERR_NOT_FOUND (.fields names no field), AK_ERR_MEMORY
 */
AK_API ak_loader *ak_loader_open(ak_dataset *ds, ak_loader_options options);

/* The next batch of the epoch: for (ak_batch b; ak_loader_next(loader, &b); ) is one epoch.
 *
 *   b        filled; its tensors belong to the current step
 *   returns  true; false at the end of an epoch (b is all zero, the next call begins the next
 *            epoch), and when an error is pending or arises (ak_error() tells which of the two)
 *   errors   AK_ERR_VALUE naming the item whose view an augmentation of one's own spoiled or that
 *            the data set's callback refused,
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
