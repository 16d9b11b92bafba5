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
/* What ak__step_alloc does, of any arena and pool. NULL: out of memory, not recorded. */
void *ak__memory_take(ak__arena *arena, ak__pool *pool, size_t bytes);
/* A slot of AK__SHELL_SIZE bytes for the struct of a step tensor. NULL: out of memory, recorded. */
void *ak__step_shell(ak_ctx *ctx);
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

/* What ops did: counted where somebody asks (ak_module_info). */
typedef struct ak__work { double flops, bytes; } ak__work;

struct ak_ctx {
    uint64_t seed;
    uint64_t next_stream;
    uint64_t generation;        /* of the running step, from 1 */

    ak__arena step;             /* everything of the running step */
    ak__shells shells[2];       /* structs of its tensors and index arrays; of the last step's */
    struct ak__block *owned;    /* ak__ctx_alloc, newest first */
    struct ak__closer *closers;
    size_t   owned_bytes;
    ak__pool pool;              /* memory of the running step that was given back */
    struct { void *p; size_t bytes; } scratch[8];   /* of the op that runs now */
    int      n_scratch;

    struct ak__frame *frame;    /* that runs inside of the step; NULL = none (base/frame.h) */
    struct ak__frame *frames;   /* memory of frames, the outermost first */
    uint64_t frames_begun;
    struct ak__taken *taken;    /* [n_taken]: what is written part by part (autograd/recompute.c) */
    int64_t n_taken, taken_room;

    struct {                    /* ak_accumulate_begin (autograd/accumulate.c) */
        int64_t  of, done;      /* micro-batches; of 0 = none */
        uint64_t step;          /* that was the last of them */
    } accumulate;

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
    struct ak_module *module_open;  /* what modules made now are part of (ak_module_begin) */
    int      no_grad;           /* depth; lasts over steps */
    bool     evaluating;
    bool     check_numbers;
    bool     allow_nan;         /* backward of what is not finite is no error */
    bool     tracing;
    bool     quiet;
    bool     exact_conv;
    int64_t  score_memory;      /* bytes that scores may take from forward to backward; -1 = ours */
    int64_t  recomputed_in;     /* the last step, from 1, that saved memory by recomputing */
    int      threads;
    unsigned process;           /* ak__process() that opened it */
    ak__work *work;             /* of the forward passes that run; NULL = nobody counts */

    struct ak_ctx *next_open;   /* the list of all open contexts */
    _Atomic(const void *) thread;   /* that opened it or ended its last step */
    uint64_t  used;             /* a count of these: which of a thread's is the newest */

    ak_status status, first_status;
    char      message[1536];    /* text, operands, place and hint */
    const void *hint_of;        /* the ak_call that will fail with this hint */
    char      hint[256];
    ak_error_fn error_fn;
    void       *error_user;
    ak_log_fn   log_fn;
    void       *log_user;

    /* Makes the values of a tensor that were given back (ak_done_with) again; NULL until the first
     * were. Layers below autograd/ read tensors too. */
    bool (*values_again)(struct ak_tensor *t);

    void *slots[AK__SLOT_COUNT];
};

/* Bytes of scores that a loss may keep in this step (ak_options.score_memory). */
int64_t ak__score_memory(const ak_ctx *ctx);

/* Step memory for the op that runs now. ak__scratch_end gives it back. */
void *ak__scratch_take(ak_ctx *ctx, size_t bytes);
void  ak__scratch_end(ak_ctx *ctx);

/* Record an error: as ak_fail, with a va_list. */
ak_status ak__fail_v(ak_ctx *ctx, ak_status status, const char *format, va_list args);
/* The open context that this thread opened, or ended a step of, last; NULL if it has none. */
ak_ctx *ak__thread_ctx(void);
/* One of this thread's contexts that has an error pending: whose poison is going round. */
ak_ctx *ak__thread_ctx_failed(void);

/* Was an argument given? If not, AK_ERR_VALUE "ak_npy_read: path is missing (NULL)" is recorded: in
 * ctx, or where that is NULL (nothing that was given leads to a context) as ak_fail does it. For
 * public functions, whose name and argument the message shows:
 *
 *     if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
 *         return NULL;
 */
#define AK__GIVEN(ctx, argument) ((argument) != NULL || ak__missing(ctx, __func__, #argument))
bool ak__missing(ak_ctx *ctx, const char *who, const char *what);
/* The status to return after a refusal: the error that is pending in ctx or, where ctx is NULL, in
 * one of this thread's; AK_ERR_VALUE if there is none. */
ak_status ak__refused(const ak_ctx *ctx);

/* Record AK_ERR_VALUE for a setting of the environment. Whoever started the program made it, not
 * its programmer: where the default hook is in place, the program ends with the message and code 1,
 * and leaves no core. */
ak_status ak__fail_environment(ak_ctx *ctx, const char *format, ...) AK_PRINTF(2, 3);
/* Record "out of memory" for `bytes`; formats nothing that needs memory. */
ak_status ak__fail_memory(ak_ctx *ctx, size_t bytes);

/* ---- fork ------------------------------------------------------------------------------------ */

/* A number of this process: another one in each process that is forked off after a context was
 * opened. Threads, and mutexes that they held, are gone there (base/parallel.h: OpenMP as well). */
unsigned ak__process(void);

/* Lists that a last entry ends (NULL, 0, { 0 }) have no more entries than this: a longer one has
 * lost its end, and what lies behind it is not read for ever. */
#define AK__LIST_MAX 1000

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
