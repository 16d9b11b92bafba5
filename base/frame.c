/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: memory, tape and generation for a stretch of a step. */
#include "base/frame.h"

#include <string.h>

#define SWAP(type, a, b)                                                                           \
    do {                                                                                           \
        type swapped_ = (a);                                                                       \
        (a) = (b);                                                                                 \
        (b) = swapped_;                                                                            \
    } while (0)

static void swap_fields(ak_ctx *ctx, ak__frame_fields *f)
{
    _Static_assert(sizeof f->scratch == sizeof ctx->scratch, "one list of scratch");
    char scratch[sizeof f->scratch];
    SWAP(ak__arena, ctx->step, f->step);
    SWAP(ak__shells, ctx->shells[0], f->shells[0]);
    SWAP(ak__shells, ctx->shells[1], f->shells[1]);
    SWAP(ak__pool, ctx->pool, f->pool);
    SWAP(struct ak__place *, ctx->marks, f->marks);
    SWAP(struct ak_call *, ctx->tape, f->tape);
    SWAP(uint64_t, ctx->generation, f->generation);
    SWAP(int64_t, ctx->recorded, f->recorded);
    SWAP(int, ctx->n_scratch, f->n_scratch);
    memcpy(scratch, ctx->scratch, sizeof scratch);
    memcpy(ctx->scratch, f->scratch, sizeof scratch);
    memcpy(f->scratch, scratch, sizeof scratch);
}

ak__frame *ak__frame_next(ak_ctx *ctx)
{
    ak__frame **at = ctx->frame ? &ctx->frame->inner : &ctx->frames;
    if (!*at)
        *at = ak__ctx_alloc(ctx, sizeof **at);
    return *at;
}

ak__frame *ak__frame_begin(ak_ctx *ctx)
{
    ak__frame *f = ak__frame_next(ctx);
    if (!f || ctx->status != AK_OK)
        return NULL;
    f->outer = ctx->frame;
    f->again = f->outer && f->outer->again;
    f->first = f->outer ? f->outer->first : 0;
    f->rows = f->outer ? f->outer->rows : 0;
    f->batch = f->outer ? f->outer->batch : 0;
    f->drawn = f->asked = 0;
    f->watches = false;
    f->fields.generation = AK__FRAME_GENERATION | ++ctx->frames_begun;
    f->fields.recorded = 0;
    f->fields.step.peak = 0;
    swap_fields(ctx, &f->fields);
    ctx->frame = f;
    return f;
}

void ak__frame_leave(ak_ctx *ctx)
{
    ak__frame *f = ctx->frame;
    swap_fields(ctx, &f->fields);
    ctx->frame = f->outer;
}

/* As at the end of a step. Slots are used again in every second frame only: what kept a pointer
 * from one call of a module to the next finds that it is of a frame that ended. */
void ak__frame_drop(ak_ctx *ctx, ak__frame *frame)
{
    ak__frame_fields *f = &frame->fields;
    /* The peak of both: arenas only grow while a frame runs. */
    const size_t both = ctx->step.in_use + f->step.peak;
    if (both > ctx->step.peak)
        ctx->step.peak = both;
    f->tape = NULL;
    f->marks = NULL;
    f->pool.first = NULL;
    f->n_scratch = 0;
    ak__arena_reset(&f->step);
    ak__shells_match(&f->shells[1], &f->shells[0]);
    SWAP(ak__shells, f->shells[0], f->shells[1]);
    ak__shells_reset(&f->shells[0]);
}

void ak__frame_end(ak_ctx *ctx)
{
    ak__frame *f = ctx->frame;
    ak__frame_leave(ctx);
    ak__frame_drop(ctx, f);
}

void ak__frames_free(ak_ctx *ctx)
{
    while (ctx->frame)
        ak__frame_leave(ctx);
    for (ak__frame *f = ctx->frames; f; f = f->inner) {
        ak__arena_free(&f->fields.step);
        ak__shells_free(&f->fields.shells[0]);
        ak__shells_free(&f->fields.shells[1]);
    }
    ctx->frames = NULL;
}

bool ak__generation_lives(const ak_ctx *ctx, uint64_t generation)
{
    if (generation == 0 || generation == ctx->generation)
        return true;
    for (const ak__frame *f = ctx->frame; f; f = f->outer)
        if (generation == f->fields.generation)
            return true;
    return false;
}

uint64_t ak__step_number(const ak_ctx *ctx)
{
    uint64_t number = ctx->generation;
    for (const ak__frame *f = ctx->frame; f; f = f->outer)
        number = f->fields.generation;
    return number;
}

/* The fields of the frame, around the one that runs, that a generation belongs to; NULL: to what
 * runs now. */
static ak__frame_fields *fields_of(const ak_ctx *ctx, uint64_t generation)
{
    if (generation == ctx->generation || !ctx->frame)
        return NULL;
    ak__frame *f = ctx->frame;
    while (f->outer && f->fields.generation != generation)
        f = f->outer;
    return &f->fields;
}

void *ak__alloc_for(ak_ctx *ctx, uint64_t generation, size_t bytes)
{
    ak__frame_fields *f = fields_of(ctx, generation);
    if (!f)
        return ak__step_alloc(ctx, bytes);
    void *p = ak__memory_take(&f->step, &f->pool, bytes);
    if (!p)
        ak__fail_memory(ctx, bytes);
    return p;
}

void ak__give_for(ak_ctx *ctx, uint64_t generation, void *p, size_t bytes)
{
    ak__frame_fields *f = fields_of(ctx, generation);
    ak__pool_give(f ? &f->pool : &ctx->pool, p, bytes);
}

void *ak__shell_of_step(ak_ctx *ctx)
{
    ak__frame_fields *f = fields_of(ctx, ak__step_number(ctx));
    void *p = ak__shells_take(f ? &f->shells[0] : &ctx->shells[0]);
    if (!p)
        ak__fail_memory(ctx, AK__SHELL_SIZE);
    return p;
}

bool ak__outside_frames(ak_ctx *ctx, const char *who)
{
    if (!ctx->frame)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "%s: called inside of %s, which backward runs a second time\n"
            "    hint: call it outside", who, ctx->frame->who ? ctx->frame->who : "a segment");
    return false;
}
