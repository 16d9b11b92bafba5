/* SPDX-License-Identifier: Apache-2.0 */
/* What the layers above need from base/: memory, the inside of the context, small helpers. */
#ifndef AK_BASE_H
#define AK_BASE_H

#include <akin/core.h>

#include "base/arena.h"

/* ---- memory of a context --------------------------------------------------------------------- */

/* Zeroed memory that lives until ak_close(). NULL: out of memory, recorded. */
void *ak__ctx_alloc(ak_ctx *ctx, size_t bytes);
char *ak__ctx_strdup(ak_ctx *ctx, const char *text);
/* Uninitialised memory of the running step, 64-byte aligned. NULL: out of memory, recorded. */
void *ak__step_alloc(ak_ctx *ctx, size_t bytes);
/* Give such memory back before the step ends. */
void ak__step_give(ak_ctx *ctx, void *p, size_t bytes);
/* A slot of AK__HEAD_SIZE bytes for the struct of a step tensor. NULL: out of memory, recorded. */
void *ak__step_head(ak_ctx *ctx);
/* Run fn(obj) in ak_close(), newest first. False: out of memory, recorded. */
bool ak__at_close(ak_ctx *ctx, void (*fn)(void *), void *obj);

/* One pointer a slot for the layers above base to keep their state in; NULL at first. */
typedef enum ak__slot {
    AK__SLOT_PARAMS,            /* tensor/param.c */
    AK__SLOT_STATE,             /* base/state.c */
    AK__SLOT_LOSSES,            /* losses/: has a warning been given? */
    AK__SLOT_LOADER,            /* data/ */
    AK__SLOT_NN,                /* nn/ */
    AK__SLOT_OPTIM,             /* optim/ */
    AK__SLOT_TRACE,             /* autograd/trace.c */
    AK__SLOT_REPORT,            /* report/ */
    AK__SLOT_COUNT
} ak__slot;
void **ak__ctx_slot(ak_ctx *ctx, ak__slot slot);

/* ---- the context, open to the layers below nn ------------------------------------------------ */

struct ak_tensor;
struct ak_call;

struct ak_ctx {
    uint64_t seed;
    uint64_t next_stream;
    uint64_t generation;        /* of the running step, from 1 */

    ak__arena step;             /* everything of the running step */
    ak__heads heads[2];         /* structs of its tensors and index arrays; of the last step's */
    struct ak__block *owned;    /* ak__ctx_alloc, newest first */
    struct ak__closer *closers;
    size_t   owned_bytes;
    ak__pool pool;              /* memory of the running step that was given back */
    struct { void *p; size_t bytes; } scratch[8];   /* of the op that runs now */
    int      n_scratch;

    struct ak__place *marks;    /* of the running step, newest first (ak_mark_step) */
    uint64_t marks_made;        /* ever */
    uint64_t adopted;           /* times that tensors got memory after they were made */

    uint64_t walk;              /* backward passes so far */
    struct ak__undo *undo;      /* gradients as they were before the one that runs */
    struct ak_call *tape;       /* recorded calls, newest first */
    int64_t  calls;             /* ops applied in this step */
    int64_t  recorded;          /* of them on the tape */
    int64_t  steps;             /* steps ended */
    uint64_t module_visits;     /* walks over trees of modules (nn/module.c) */
    int      no_grad;           /* depth; lasts over steps */
    bool     evaluating;
    bool     check_numbers;
    bool     allow_nan;         /* backward of what is not finite is no error */
    bool     tracing;
    bool     quiet;
    bool     exact_conv;
    int      threads;
    unsigned process;           /* ak__process() that opened it */

    ak_status status, first_status;
    char      message[1024];
    ak_error_fn error_fn;
    void       *error_user;
    ak_log_fn   log_fn;
    void       *log_user;

    void *slots[AK__SLOT_COUNT];
};

/* Step memory for the op that runs now. ak__scratch_end gives it back. */
void *ak__scratch_take(ak_ctx *ctx, size_t bytes);
void  ak__scratch_end(ak_ctx *ctx);

/* Record an error: as ak_fail, with a va_list. */
ak_status ak__fail_v(ak_ctx *ctx, ak_status status, const char *format, va_list args);
/* Record "out of memory" for `bytes`; formats nothing that needs memory. */
ak_status ak__fail_memory(ak_ctx *ctx, size_t bytes);

/* ---- fork ------------------------------------------------------------------------------------ */

/* A number of this process: another one in each process that is forked off after a context was
 * opened. Threads, and mutexes that they held, are gone there (base/parallel.h: OpenMP as well). */
unsigned ak__process(void);

/* ---- small helpers --------------------------------------------------------------------------- */

/* Seconds on a clock that only goes forward. */
double ak__now(void);
/* One stream number out of up to four parts. */
uint64_t ak__stream(uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* FNV-1a, 64 bit; start from AK__HASH_START. */
#define AK__HASH_START 14695981039346656037ull
uint64_t ak__hash_bytes(uint64_t hash, const void *bytes, size_t n);
/* Four random words of (seed, stream, block): what the ak_random functions are made of. */
void ak__philox(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);

#endif
