/* SPDX-License-Identifier: Apache-2.0 */
/* akin/core.h - the context: what everything belongs to, where errors and memory are kept.
 *
 * A program opens one context, builds parameters and data in it, and runs steps. Two lifetimes
 * exist. What is built outside a step (parameters, modules, datasets, optimisers) lives until
 * ak_close(). What an op returns lives until ak_step_end(). Nothing is freed by hand.
 *
 *     ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
 *     ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3), 0);
 *     ak_fill(w, 1);
 *     for (int step = 0; step < 100; step++) {
 *         ak_tensor *loss = ak_mean(ak_square(w));
 *         ak_backward(loss);
 *         ... use w->grad ...
 *         ak_step_end(ctx);
 *     }
 *     return ak_close(ctx) == AK_OK ? 0 : 1;
 *
 * Errors are sticky: the first one is recorded, every later op returns the poison tensor and
 * every state changer refuses, until ak_step_end() reports and clears it. The default hook prints
 * the error and aborts at the faulty call; ak_on_error(ctx, NULL, NULL) turns that off.
 *
 * NULL for an argument is AK_ERR_VALUE with the names of function and argument, unless the
 * function's comment says that it is fine; poison that is used after its error was cleared is
 * AK_ERR_STATE. Where no argument leads to a context, the error is kept in the one that this thread
 * opened, or ended a step of, last; without any it is printed to stderr (docs/ERRORS.md).
 *
 * One context belongs to one thread of control; two contexts may be used by two threads.
 *
 * A program may fork. In the child, contexts are copies that go on as they would have, with the
 * same bits; kernels run on one thread there (OpenMP's others stayed behind), also for contexts
 * that the child opens, and ak_threads() says so. Loaders with threads stay with the parent
 * (akin/data.h). Closing a copy only frees. exec() after fork() knows nothing of all this.
 */
#ifndef AKIN_CORE_H
#define AKIN_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The element type. The library is built a second time in double to prove gradients; a program
 * that wants that build defines AK_REAL_BITS as 64 before its first akin header. It is not
 * installed: `ninja -C build libakin64.a` makes it, and a program is built with
 *     cc -DAK_REAL_BITS=64 -Iinclude prog.c build/libakin64.a -lz -fopenmp -lm */
#ifndef AK_REAL_BITS
#define AK_REAL_BITS 32
#endif
#if AK_REAL_BITS == 64
typedef double ak_real;
#else
typedef float ak_real;
#endif

#if defined(__GNUC__)
#define AK_API __attribute__((visibility("default")))
#define AK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define AK_API
#define AK_PRINTF(fmt, args)
#endif

#define AK_GLUE_(a, b) a##b
#define AK_GLUE(a, b) AK_GLUE_(a, b)

/* Headers of one build cannot be linked with the library of the other: the symbol carries it. */
#define ak_open AK_GLUE(ak_open_r, AK_REAL_BITS)

#ifdef __cplusplus
extern "C" {
#endif

#define AK_VERSION_MAJOR 0
#define AK_VERSION_MINOR 1
#define AK_VERSION_PATCH 0

/* In an option where 0 means "the default", this asks for none at all. */
#define AK_NONE (-1)

/* Every status, once: name, value, text. */
#define AK_STATUS_MAP(X)                                                                           \
    X(OK, 0, "no error")                                                                           \
    X(ERR_MEMORY, 1, "out of memory")                                                              \
    X(ERR_SHAPE, 2, "shapes do not fit")                                                           \
    X(ERR_VALUE, 3, "a value is out of its range")                                                 \
    X(ERR_STALE, 4, "a tensor of an earlier step was used")                                        \
    X(ERR_CONTEXT, 5, "operands belong to different contexts")                                     \
    X(ERR_STATE, 6, "not possible in this state")                                                  \
    X(ERR_NUMBER, 7, "not a number or infinite")                                                   \
    X(ERR_IO, 8, "a file could not be read or written")                                            \
    X(ERR_FORMAT, 9, "a file has not the expected format")                                         \
    X(ERR_NOT_FOUND, 10, "no such name or file")                                                   \
    X(ERR_UNSUPPORTED, 11, "not available in this build")

typedef enum ak_status {
#define AK_STATUS_ENUM(name, value, text) AK_##name = (value),
    AK_STATUS_MAP(AK_STATUS_ENUM)
#undef AK_STATUS_ENUM
} ak_status;

typedef struct ak_ctx ak_ctx;

typedef struct ak_options {
    uint64_t seed;          /* of every random number; default 0 (AK_SEED wins) */
    int      threads;       /* OpenMP threads of kernels, [1, 1024]; 0 = OpenMP's own default */
    bool     check_numbers; /* as ak_check_numbers(ctx, true) */
    bool     quiet;         /* no messages at level info */
    bool     allow_nan;     /* ak_backward of a loss that is not finite, or whose gradients are not,
                             * is no error (AK_ERR_NUMBER without this) */
    bool     exact_conv;    /* every convolution as with ak_conv_options.exact (AK_CONV wins) */
    int64_t  score_memory;  /* bytes of scores that a loss over pairs may keep from forward to
                             * backward, >= 0, AK_NONE = none; 0 = 160 MiB, 10 in a step that has
                             * recomputed something for its memory's sake (ak_recompute,
                             * ak_forward_chunked). A loss that has more makes them again, which
                             * costs a fifth to a third of its time and gives the same bits */
} ak_options;

/* Open a context.
 *
 *   options   by value; zero means the default
 *   returns   the context, to be closed by ak_close(); NULL only when memory is exhausted
 *   errors    AK_ERR_VALUE for .threads and .score_memory: the hook is the default one, which
 *             aborts. AK_SEED, AK_CPU or AK_CONV in the environment that is no such setting: the
 *             message, and exit code 1
 */
AK_API ak_ctx *ak_open(ak_options options);

/* Close a context and free everything that belongs to it. Closing NULL is fine.
 *
 *   returns   the first error of the whole run, AK_OK if there was none
 */
AK_API ak_status ak_close(ak_ctx *ctx);

/* End the step: every tensor that ops made since the last call is gone, the tape is empty.
 *
 *   returns   the first error of this step, which is cleared; AK_OK if there was none
 */
AK_API ak_status ak_step_end(ak_ctx *ctx);

/* Text of a status, never NULL. */
AK_API const char *ak_status_text(ak_status status);
/* Name of a status ("AK_ERR_SHAPE"), never NULL. */
AK_API const char *ak_status_name(ak_status status);
/* The pending error of the running step; AK_OK if none; AK_ERR_VALUE for NULL. */
AK_API ak_status ak_error(const ak_ctx *ctx);
/* The message of the newest recorded error ("" if there never was one); valid until the next. */
AK_API const char *ak_error_message(const ak_ctx *ctx);

/* What is called when an error is recorded, inside the faulty call. message is all there is to say,
 * with operands, place and hint; it ends without newline. */
typedef void (*ak_error_fn)(void *user, ak_status status, const char *message);
/* Replace the hook. fn NULL: nothing is called (quiet, sticky mode). user may be NULL. */
AK_API void ak_on_error(ak_ctx *ctx, ak_error_fn fn, void *user);
/* The default hook: prints the message to stderr and aborts. */
AK_API void ak_error_die(void *user, ak_status status, const char *message);
/* A hook for programs: prints the message to stderr and exits with code 1. */
AK_API void ak_error_exit(void *user, ak_status status, const char *message);

/* Record an error by hand (data readers and losses outside the library use it).
 *
 *   ctx       NULL: in the context that this thread used last, as said above
 *   status    an error; AK_OK is none, and recorded as AK_ERR_VALUE
 *   returns   status, so that a function can end with return ak_fail(...);
 *   the first error of a step is kept; a second one changes nothing
 */
AK_API ak_status ak_fail(ak_ctx *ctx, ak_status status, const char *format, ...) AK_PRINTF(3, 4);

/* Version text "0.1.0". */
AK_API const char *ak_version(void);
/* Name of the instruction set that the kernels use: "ref", "avx2", "avx512" or "amx". */
AK_API const char *ak_cpu_name(void);
/* Threads that kernels of this process use. */
AK_API int ak_threads(void);

/* Check every op's output for NaN and infinity; the first op that makes one is reported by name
 * (AK_ERR_NUMBER). Costs one pass over each output. */
AK_API void ak_check_numbers(ak_ctx *ctx, bool on);

/* Messages. The default callback prints to stderr. */
typedef enum ak_log_level { AK_LOG_ERROR, AK_LOG_WARNING, AK_LOG_INFO } ak_log_level;
typedef void (*ak_log_fn)(void *user, ak_log_level level, const char *message);
/* fn NULL: stderr again. user may be NULL. */
AK_API void ak_on_log(ak_ctx *ctx, ak_log_fn fn, void *user);
AK_API void ak_log_message(ak_ctx *ctx, ak_log_level level, const char *format, ...)
    AK_PRINTF(3, 4);

/* ---- memory --------------------------------------------------------------------------------- */

/* A place in the step's memory: which of the marks of a context, by address and number. */
typedef struct ak_mark {
    const void *place;
    uint64_t    number;         /* of all marks that the context ever made, from 1; 0 = none */
} ak_mark;
/* Remember the place (evaluation loops, augmentation). Marks nest. errors: AK_ERR_MEMORY (the mark
 * is none then, which ak_release refuses). */
AK_API ak_mark ak_mark_step(ak_ctx *ctx);
/* Free every step tensor made since the mark, and forget the marks made since. The mark itself may
 * be used again.
 *
 *   errors   AK_ERR_STATE, and nothing is freed, if the mark is of an earlier step or of another
 *            context or was forgotten; if something recorded since is still on the tape; if a
 *            backward, or an op that took a tensor given back by ak_done_with, put memory made
 *            since into an older tensor
 */
AK_API ak_status ak_release(ak_ctx *ctx, ak_mark mark);

typedef struct ak_memory {
    size_t   step_bytes;       /* in use by the running step */
    size_t   step_peak;        /* most that any step used */
    size_t   step_reserved;    /* held for steps */
    size_t   context_bytes;    /* parameters, buffers, state, data */
    uint64_t mallocs;          /* calls of the system allocator by this library, all contexts */
} ak_memory;
AK_API ak_memory ak_memory_use(const ak_ctx *ctx);
/* Calls of the system allocator so far, in all contexts of the process. */
AK_API uint64_t ak_malloc_count(void);
/* Let the n-th allocation from now fail (1 = the next), and all after it if `sticky`; n = 0
 * switches this off. For tests of how a program behaves when memory runs out. */
AK_API void ak_fail_alloc_after(uint64_t n, bool sticky);

/* ---- random numbers ------------------------------------------------------------------------- */

/* Counter-based (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): a value depends on seed, stream and index alone, on no state and no thread. */
AK_API uint32_t ak_random_u32(uint64_t seed, uint64_t stream, uint64_t index);
AK_API double ak_random_uniform(uint64_t seed, uint64_t stream, uint64_t index); /* [0, 1) */
AK_API double ak_random_normal(uint64_t seed, uint64_t stream, uint64_t index);  /* N(0, 1) */
/* N(0, 1) cut to [lo, hi], by inversion of the distribution function; lo < hi. */
AK_API double ak_random_truncated_normal(uint64_t seed, uint64_t stream, uint64_t index,
                                         double lo, double hi);
AK_API bool ak_random_bernoulli(uint64_t seed, uint64_t stream, uint64_t index, double p);
/* Whole number in [0, n), without modulo bias; n >= 1. errors: AK_ERR_VALUE for n = 0 (gives 0). */
AK_API uint64_t ak_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);
/* A permutation of 0..n-1 into out. errors: AK_ERR_VALUE for n < 0 */
AK_API void ak_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *out);

AK_API uint64_t ak_seed(const ak_ctx *ctx);
/* Does this context compute convolutions by plain sums only? (ak_options.exact_conv, AK_CONV) */
AK_API bool ak_exact_conv(const ak_ctx *ctx);
/* The next unused stream of this context: what ops that draw (dropout, ak_randn) use, one a call.
 * A checkpoint stores the counter. */
AK_API uint64_t ak_next_stream(ak_ctx *ctx);

#ifdef __cplusplus
}
#endif
#endif
