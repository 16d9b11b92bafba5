/* SPDX-License-Identifier: Apache-2.0 */
/* akin/tensor.h - arrays of numbers: shapes, creation, reading.
 *
 * A tensor is contiguous and row-major in written order, dims[0] outermost. The last axis is the
 * feature axis: pictures are [N, H, W, C], sequences [N, T, C], vectors [N, D]. Elements are
 * ak_real (float; double in the build that proves gradients). The struct is open for reading;
 * treat it as read-only except for the numbers behind `data`.
 *
 *     ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 3), (ak_real[]){ 1, 2, 3, 4, 5, 6 });
 *     ak_tensor *row = ak_rows(x, 1, 1);              // [1, 3], shares memory with x
 *     printf("%g\n", (double)row->data[0]);           // 4
 *
 * Functions that take a tensor refuse NULL (AK_ERR_VALUE), poison of an earlier step
 * (AK_ERR_STATE), tensors of an earlier step (AK_ERR_STALE) and of another context
 * (AK_ERR_CONTEXT); values that were given back (ak_done_with) are made again, or AK_ERR_STATE.
 *
 * Creating functions make step tensors (gone after ak_step_end), ak_param and ak_buffer make
 * context tensors. Every creating function returns the poison tensor on failure, never NULL.
 */
#ifndef AKIN_TENSOR_H
#define AKIN_TENSOR_H

#include <akin/core.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_MAX_DIMS 6

typedef struct ak_shape {
    int     n;                      /* axes, 0 (a scalar) .. AK_MAX_DIMS */
    int64_t dims[AK_MAX_DIMS];      /* outermost first; unused ones are 0 */
} ak_shape;

/* AK_SHAPE(2, 3) is the shape [2, 3]; AK_SCALAR the shape of one number. */
#define AK_SHAPE(...)                                                                              \
    ((ak_shape){ .n = (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)),                 \
                 .dims = { __VA_ARGS__ } })
#define AK_SCALAR ((ak_shape){ .n = 0 })

typedef struct ak_tensor ak_tensor;
struct ak_call;

struct ak_tensor {
    ak_real    *data;           /* size numbers; never NULL except in the poison tensor */
    ak_real    *grad;           /* after ak_backward; NULL if none was computed. Gradients of step
                                 * tensors and of ak_keep copies are gone when the step ends */
    ak_shape    shape;
    int64_t     size;           /* product of the dims, 1 for a scalar */
    ak_ctx     *ctx;
    const char *name;           /* of a parameter or buffer, or what ak_name gave; may be NULL */
    ak_tensor  *root;           /* the tensor whose memory this one shares; itself if its own */
    int64_t     offset;         /* elements from root->data to data */
    struct ak_call *maker;      /* the op application that made it; NULL for leaves */
    uint64_t    generation;     /* step it belongs to; 0 = lives as long as the context */
    bool        needs_grad;
    uint8_t     flags;          /* ak_param_flags and private bits */

    /* Private: whose numbers these are (root's, but for ak_detach), and what the owner knows. */
    bool        grad_is_zero;   /* nothing was added to grad since it was zeroed */
    uint32_t    version;        /* of the numbers: changes made since it was created */
    const char *changed_by;     /* the last of them: "ak_fill" */
    ak_tensor  *owner;
    int64_t     owner_offset;   /* elements from owner->data to data */
    uint64_t    walk;           /* the last backward that added to grad (leaves) */
    uint64_t    grad_step;      /* the step whose memory grad is; 0 = its own */
    const struct ak__twin *twin;    /* of a module's copy: what it was copied from */
};

/* ---- creation ------------------------------------------------------------------------------- */

/* Zeros.  shape: every dim >= 0.  returns [shape], step lifetime.
 * errors: AK_ERR_SHAPE for a negative dim or too many axes, AK_ERR_MEMORY. */
AK_API ak_tensor *ak_zeros(ak_ctx *ctx, ak_shape shape);
AK_API ak_tensor *ak_full(ak_ctx *ctx, ak_shape shape, double value);
/* A copy of `values` (as many as the shape has; NULL if that is 0). */
AK_API ak_tensor *ak_from(ak_ctx *ctx, ak_shape shape, const ak_real *values);
/* As ak_from for other element types. */
AK_API ak_tensor *ak_from_double(ak_ctx *ctx, ak_shape shape, const double *values);
AK_API ak_tensor *ak_from_float(ak_ctx *ctx, ak_shape shape, const float *values);
/* 0, 1, .., n-1 as [n]. */
AK_API ak_tensor *ak_arange(ak_ctx *ctx, int64_t n);
/* Standard normal and uniform [lo, hi) numbers, from the context's next stream.
 * errors: also AK_ERR_VALUE unless lo <= hi, both finite */
AK_API ak_tensor *ak_randn(ak_ctx *ctx, ak_shape shape);
AK_API ak_tensor *ak_uniform(ak_ctx *ctx, ak_shape shape, double lo, double hi);

/* For ops of one's own that draw. Element i of x takes number i + ak_random_first(x) of the stream
 * that ak_next_stream gave: 0, but where a part of a batch runs by itself (ak_forward_chunked), in
 * which each sample gets the numbers that it has in the whole batch.
 *
 *   x        samples along the first axis, as everywhere
 *   call     once for each ak_next_stream; a stream that was taken without it is AK_ERR_STATE there
 *   errors   AK_ERR_STATE there if the first axis of x is no multiple of the part's rows
 */
AK_API uint64_t ak_random_first(const ak_tensor *x);

/* Let backward compute a gradient for a leaf of this step (inputs of interest). Returns t. */
AK_API ak_tensor *ak_require_grad(ak_tensor *t);
/* Name a tensor for messages and tape listings; the text is copied. Returns t. */
AK_API ak_tensor *ak_name(ak_tensor *t, const char *name);

/* Flags of a parameter. */
typedef enum ak_param_flags {
    AK_PARAM_NO_DECAY = 1,      /* norms, biases, temperatures: no weight decay by default */
    AK_PARAM_BUFFER   = 2,      /* state that is saved but not trained (running statistics) */
    AK_PARAM_FROZEN   = 4       /* gets no gradient (ak_freeze) */
} ak_param_flags;

/* A trainable tensor, filled with zeros. Values and gradients of parameters with the same decay
 * flag stand side by side in slabs.
 *
 *   name      unique in the context, path-like ("encoder/conv1/weight"); copied
 *   returns   [shape], context lifetime, needs_grad, grad zeroed
 *   flags     ak_param_flags; another bit is AK_ERR_VALUE
 *   errors    AK_ERR_VALUE for a used name, and for one that no pattern reaches: empty, with an
 *             empty part between slashes, a sign of patterns (* ? , ! ~) or a control character;
 *             AK_ERR_SHAPE, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_param(ak_ctx *ctx, const char *name, ak_shape shape, int flags);
/* State without gradient that a checkpoint holds; otherwise as ak_param. */
AK_API ak_tensor *ak_buffer(ak_ctx *ctx, const char *name, ak_shape shape);
/* Parameters and buffers in order of creation; NULL past the end. */
AK_API ak_tensor *ak_param_at(ak_ctx *ctx, int64_t i);
/* By name; NULL if there is none. */
AK_API ak_tensor *ak_param_find(ak_ctx *ctx, const char *name);
/* Patterns of names: '*' is any run of characters, '?' one; ',' separates alternatives, '!' before
 * one excludes ("encoder/...,!...bias", with stars for the dots; exclusions alone: all but those).
 *
 * Every function that takes a pattern refuses one that does nothing: each alternative, and each
 * exclusion, must fit at least one name, else AK_ERR_NOT_FOUND lists the nearest names. A '~'
 * before it says that there may be none: "encoder/...,~head/...,~!...bias". NULL and empty
 * alternatives are AK_ERR_VALUE. */
/* Does the name fit? Looks at nothing but the two texts. */
AK_API bool ak_match(const char *pattern, const char *name);
/* Stop (or resume) gradients for all parameters that fit; returns how many there are. Optimisers
 * leave a frozen parameter and its moments alone. Running statistics are no parameters: they move
 * in train mode all the same, unless ak_module_train(m, false) says otherwise.
 * errors: as any pattern; 0 is returned and nothing has changed. */
AK_API int64_t ak_freeze(ak_ctx *ctx, const char *pattern, bool frozen);
/* 32-bit hash (FNV-1a, folded) over name and bytes of every parameter and buffer that fits;
 * printed as 8 hexadecimal digits beside log lines. 0 after an error of the pattern. */
AK_API uint32_t ak_hash(ak_ctx *ctx, const char *pattern);

/* Copy into the context's lifetime (no gradient). */
AK_API ak_tensor *ak_keep(const ak_tensor *t);
/* The same, without a name among the parameters, for private state of `shape`, zeros. No checkpoint
 * holds what these two make: state that a resumed run must find again is an ak_buffer. */
AK_API ak_tensor *ak_state(ak_ctx *ctx, ak_shape shape);

/* ---- index arrays --------------------------------------------------------------------------- */

/* Whole numbers: class labels, row numbers, token ids. */
typedef struct ak_index {
    const int32_t *data;
    ak_shape       shape;
    int64_t        size;
    ak_ctx        *ctx;
    uint64_t       generation;
    bool           of_rows;         /* private: goes with the rows of a part of a batch */
} ak_index;
/* A copy of `values`, step lifetime. errors: AK_ERR_SHAPE, AK_ERR_MEMORY (the poison index). */
AK_API ak_index *ak_index_from(ak_ctx *ctx, ak_shape shape, const int32_t *values);
AK_API ak_index *ak_index_from64(ak_ctx *ctx, ak_shape shape, const int64_t *values);
/* A copy that stays: labels or token ids that every step uses. Context lifetime, so make it once;
 * no checkpoint holds it. errors: AK_ERR_STALE, AK_ERR_MEMORY (the poison index). */
AK_API ak_index *ak_index_keep(const ak_index *x);

/* ---- reading and changing ------------------------------------------------------------------- */

/* The number of a one-element tensor; NaN for the poison tensor. errors: AK_ERR_SHAPE. */
AK_API double ak_item(const ak_tensor *t);
/* The element at the given place, one index an axis: ak_at(t, AK_SHAPE(1, 2)). */
AK_API double ak_at(const ak_tensor *t, ak_shape place);
/* Change all numbers. Not recorded. errors: AK_ERR_STALE; AK_ERR_STATE for values given back. */
AK_API void ak_fill(ak_tensor *t, double value);
/* Copy values between tensors of equal size (shapes may differ). Not recorded.
 * errors: AK_ERR_SHAPE, AK_ERR_STALE, AK_ERR_STATE for values given back. */
AK_API ak_status ak_copy(ak_tensor *to, const ak_tensor *from);
/* Say that the program itself wrote into t->data (or t->grad).
 *
 * Backward needs many operands as they were in forward. What the library changes in between (an
 * optimiser step, ak_fill, ak_copy, ak_ema_update, ak_load, ..) it remembers, and ak_backward
 * refuses with AK_ERR_STATE instead of computing with other numbers. It can not see writes through
 * the pointer: call this after them, unless they come before forward or after backward anyway. */
AK_API void ak_touch(ak_tensor *t);
/* Print name, shape and values, long axes shortened. */
AK_API void ak_print(const ak_tensor *t, FILE *file);
/* Is it what failed calls return? False for NULL. */
AK_API bool ak_is_poison(const ak_tensor *t);

/* Aliases: same memory, gradients flow to the source; nothing is computed or recorded. They belong
 * to the step, also those of a parameter or another tensor of the context: make them anew in every
 * step. */
/* Other shape, same size; one dim at most may be -1 (worked out). errors: AK_ERR_SHAPE. */
AK_API ak_tensor *ak_reshape(ak_tensor *x, ak_shape shape);
/* Entries start .. start+count-1 of the first axis. errors: AK_ERR_SHAPE. */
AK_API ak_tensor *ak_rows(ak_tensor *x, int64_t start, int64_t count);
/* All but the last axis joined: [.., D] -> [R, D]. */
AK_API ak_tensor *ak_flatten_rows(ak_tensor *x);
/* All but the first axis joined: [N, ..] -> [N, D]. */
AK_API ak_tensor *ak_flatten(ak_tensor *x);

/* ---- shapes --------------------------------------------------------------------------------- */

/* Product of the dims; -1 for a negative dim, too many axes, or more than fits. */
AK_API int64_t ak_shape_size(ak_shape shape);
AK_API bool ak_shape_equal(ak_shape a, ak_shape b);
/* Bytes that hold the text of every shape, also of one that a damaged file announces: a bracket or
 * comma and up to 20 characters an axis, and the end. */
#define AK_SHAPE_TEXT (24 * AK_MAX_DIMS)
/* "[2,3]" into buf; axes beyond AK_MAX_DIMS are shown as "..". Returns buf. */
AK_API char *ak_shape_text(ak_shape shape, char buf[AK_SHAPE_TEXT]);

#ifdef __cplusplus
}
#endif
#endif
