/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: a stretch of a step with memory, a tape and a generation of its own. What runs in a frame
 * makes tensors there; when it ends they are gone all at once, and a pointer to one of them that
 * was kept is found by its generation, as one of an earlier step is. Frames nest, one inside of
 * another.
 *
 * A segment that backward runs again (autograd/recompute.c) runs in one. The memory of a depth
 * stays with the context, so that the next frame of that depth finds it. */
#ifndef AK_FRAME_H
#define AK_FRAME_H

#include "base/base.h"

/* A tensor from outside that something in the frame used. */
typedef struct ak__seen {
    struct ak_tensor *t;
    bool by_gradient;           /* a recorded call did, and t needs a gradient */
} ak__seen;

/* The fields of a context that each frame has for itself. */
typedef struct ak__frame_fields {
    ak__arena  step;
    ak__shells shells[2];
    ak__pool   pool;
    struct ak__place *marks;
    struct ak_call   *tape;
    uint64_t generation;
    int64_t  recorded;
    int      n_scratch;
    struct { void *p; size_t bytes; } scratch[8];
} ak__frame_fields;

/* An operand that is written in a frame that runs again: what it was. */
typedef struct ak__kept {
    struct ak__kept  *next;
    struct ak_tensor *t;
    void       *bytes;
    uint32_t    version;
    const char *changed_by;
} ak__kept;

typedef struct ak__frame {
    struct ak__frame *outer;    /* NULL: the step */
    struct ak__frame *inner;    /* memory for the next depth; NULL: never needed */
    ak__frame_fields  fields;   /* while it runs, those of `outer`; else its own */

    bool     again;             /* what runs ran before: what it wrote is written already */
    /* A part of the rows of a batch: the numbers that are drawn for it are those it gets when all
     * rows run at once. 0 rows: no part. */
    int64_t  first, rows, batch;    /* these of `batch` rows */
    uint64_t drawn, asked;      /* streams taken, and times that ak_random_first was asked */

    bool      watches;          /* notes what is used */
    ak__seen *seen;             /* [n_seen], what was used from outside */
    int64_t   n_seen, seen_room;
    ak__kept   *kept;           /* of the op that runs now */
    const char *who;            /* for messages */
} ak__frame;

/* Begin a frame inside of what runs now; end it: everything that was made in it is gone, or, with
 * ak__frame_leave alone, only when ak__frame_drop is called. begin: NULL after an error. */
ak__frame *ak__frame_begin(ak_ctx *ctx);
void ak__frame_leave(ak_ctx *ctx);
void ak__frame_drop(ak_ctx *ctx, ak__frame *frame);
void ak__frame_end(ak_ctx *ctx);
/* The frame that the next ak__frame_begin returns. NULL: out of memory, recorded. */
ak__frame *ak__frame_next(ak_ctx *ctx);
void ak__frames_free(ak_ctx *ctx);

/* Does something of this generation live: is it the context's, of this frame, or of one around? */
bool ak__generation_lives(const ak_ctx *ctx, uint64_t generation);
/* Is it from outside the frame that runs? */
static inline bool ak__from_outside(const ak_ctx *ctx, uint64_t generation)
{
    return ctx->frame && generation != ctx->generation;
}
/* The number of the step, in a frame as well. */
uint64_t ak__step_number(const ak_ctx *ctx);
/* Generations from this on are of frames. */
#define AK__FRAME_GENERATION ((uint64_t)1 << 63)

/* ak__step_alloc and ak__step_give of the frame, or step, that something of a generation belongs to
 * (0: the step). */
void *ak__alloc_for(ak_ctx *ctx, uint64_t generation, size_t bytes);
void  ak__give_for(ak_ctx *ctx, uint64_t generation, void *p, size_t bytes);
/* A slot of the step's. */
void *ak__shell_of_step(ak_ctx *ctx);

/* Fail with AK_ERR_STATE if a frame runs: `who` can not be called in what backward runs again. */
bool ak__outside_frames(ak_ctx *ctx, const char *who);

#endif
