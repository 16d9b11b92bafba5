/* SPDX-License-Identifier: Apache-2.0 */
/* The context: opening, closing, step boundary, marks, what belongs to it. */
#include "base/base.h"
#include "base/frame.h"
#include "base/parallel.h"
#include "base/whole.h"
#include "tensor/gemm.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct ak__closer {
    struct ak__closer *next;
    void (*fn)(void *);
    void  *obj;
} ak__closer;

#define MOST_THREADS 1024       /* packing buffers are made for each */
/* Scores that stay for backward: a matrix of 6400 x 6400, or one of 1600 x 1600 in a step that
 * saves memory elsewhere by running forward twice. */
#define SCORE_MEMORY (160 * 1024 * 1024)
#define LITTLE_SCORE_MEMORY (10 * 1024 * 1024)

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *ak_version(void)
{
    return STRING(AK_VERSION_MAJOR) "." STRING(AK_VERSION_MINOR) "." STRING(AK_VERSION_PATCH);
}

const char *ak_cpu_name(void)
{
    ak__kernels_init();
    return ak__k.isa;
}

int ak_threads(void)
{
    return ak__max_threads();
}

/* ---- which contexts there are ---------------------------------------------------------------- */

/* A call that is handed nothing but NULL or poison has no context to complain in. It complains in
 * one of its thread: so all open ones are known. Looked at when something is wrong, never in an
 * op that works. */
static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static ak_ctx *open_contexts;
static _Atomic uint64_t uses;                   /* written under the mutex */
static _Thread_local char this_thread;          /* its address stands for the thread */

static void list_open(ak_ctx *ctx)
{
    pthread_mutex_lock(&open_mutex);
    ctx->next_open = open_contexts;
    ctx->thread = &this_thread;
    ctx->used = ++uses;
    open_contexts = ctx;
    pthread_mutex_unlock(&open_mutex);
}

/* The end of a step: the context is this thread's now. */
static void note_use(ak_ctx *ctx)
{
    if (ctx->thread == &this_thread && ctx->used == uses)
        return;
    pthread_mutex_lock(&open_mutex);
    ctx->thread = &this_thread;
    ctx->used = ++uses;
    pthread_mutex_unlock(&open_mutex);
}

static void unlist_open(const ak_ctx *ctx)
{
    pthread_mutex_lock(&open_mutex);
    ak_ctx **at = &open_contexts;
    while (*at && *at != ctx)
        at = &(*at)->next_open;
    if (*at)
        *at = ctx->next_open;
    pthread_mutex_unlock(&open_mutex);
}

/* This thread's newest context, of those with a pending error if `failed`. */
static ak_ctx *newest(bool failed)
{
    ak_ctx *found = NULL;
    pthread_mutex_lock(&open_mutex);
    for (ak_ctx *c = open_contexts; c; c = c->next_open)
        if (c->thread == &this_thread && (!failed || c->status != AK_OK) &&
            (!found || c->used > found->used))
            found = c;
    pthread_mutex_unlock(&open_mutex);
    return found;
}

ak_ctx *ak__thread_ctx(void)
{
    return newest(false);
}

ak_ctx *ak__thread_ctx_failed(void)
{
    return newest(true);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void read_seed(ak_ctx *ctx)
{
    const char *text = getenv("AK_SEED");
    if (!text || !*text)
        return;
    char *end = NULL;
    errno = 0;
    unsigned long long seed = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9')
        ak__fail_environment(ctx, "AK_SEED=%s: a seed is a whole number from 0 to %llu", text,
                             ULLONG_MAX);
    else
        ctx->seed = seed;
}

/* AK_CONV=exact or fast. */
static void read_conv(ak_ctx *ctx)
{
    const char *text = getenv("AK_CONV");
    if (!text || !*text)
        return;
    ctx->exact_conv = strcmp(text, "exact") == 0;
    if (!ctx->exact_conv && strcmp(text, "fast") != 0)
        ak__fail_environment(ctx, "AK_CONV=%s: known values are exact and fast", text);
}

/* ---- fork ----------------------------------------------------------------------------------- */

int ak__forked;         /* times, from the first process that opened a context to this one */

unsigned ak__process(void)
{
    return (unsigned)ak__forked;
}

static void in_child(void)
{
    ak__forked++;
    ak__gemm_forked();
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

/* ---- opening and closing -------------------------------------------------------------------- */

ak_ctx *ak_open(ak_options options)
{
    static pthread_once_t watching = PTHREAD_ONCE_INIT;
    pthread_once(&watching, watch_forks);
    ak_ctx *ctx = ak__malloc(sizeof *ctx);
    if (!ctx)
        return NULL;
    memset(ctx, 0, sizeof *ctx);
    ctx->seed = options.seed;
    ctx->generation = 1;
    ctx->next_stream = 1;
    ctx->check_numbers = options.check_numbers;
    ctx->allow_nan = options.allow_nan;
    ctx->quiet = options.quiet;
    ctx->exact_conv = options.exact_conv;
    ctx->score_memory = options.score_memory == 0 ? -1 : ak__max(options.score_memory, 0);
    ctx->error_fn = ak_error_die;
    ctx->process = ak__process();
#ifdef _OPENMP
    if (options.threads > 0 && options.threads <= MOST_THREADS)
        omp_set_num_threads(options.threads);
#endif
    ctx->threads = ak__max_threads();
    if (!ak__gemm_reserve(ctx->threads)) {
        ak__free(ctx);
        return NULL;
    }
    if (options.threads > 1 && ak__forked)
        ak_log_message(ctx, AK_LOG_WARNING, "open: this process was forked from one that had a "
                       "context: kernels run on 1 thread, not on %d; results are the same",
                       options.threads);
    bool known = ak__kernels_init();
    const char *trace = getenv("AK_TRACE");
    ctx->tracing = trace && *trace && strcmp(trace, "0") != 0;
    list_open(ctx);
    if (options.threads < 0 || options.threads > MOST_THREADS)
        ak_fail(ctx, AK_ERR_VALUE, "ak_open: .threads = %d is not in [1, %d] (0: OpenMP's own "
                "number)", options.threads, MOST_THREADS);
    if (options.score_memory < AK_NONE)
        ak_fail(ctx, AK_ERR_VALUE, "ak_open: .score_memory = %" PRId64 " is below 0 (0: %d MiB, "
                "AK_NONE: none)", options.score_memory, SCORE_MEMORY >> 20);
    if (!known)
        ak__fail_environment(ctx, "AK_CPU=%s: known levels are ref, avx2, avx512 and amx",
                             getenv("AK_CPU"));
    read_seed(ctx);
    read_conv(ctx);
    return ctx;
}

bool ak_exact_conv(const ak_ctx *ctx)
{
    return AK__GIVEN(NULL, ctx) && ctx->exact_conv;
}

ak_status ak_close(ak_ctx *ctx)
{
    if (!ctx)
        return AK_OK;
    unlist_open(ctx);
    while (ctx->closers) {
        ak__closer *c = ctx->closers;
        ctx->closers = c->next;
        c->fn(c->obj);          /* c itself is owned memory, freed below */
    }
    ak_status first = ctx->first_status;
    ak__frames_free(ctx);
    while (ctx->owned) {
        ak__block *next = ctx->owned->next;
        ak__free(ctx->owned);
        ctx->owned = next;
    }
    ak__arena_free(&ctx->step);
    ak__shells_free(&ctx->shells[0]);
    ak__shells_free(&ctx->shells[1]);
    ak__free(ctx);
    return first;
}

ak_status ak_step_end(ak_ctx *ctx)
{
    if (!AK__GIVEN(NULL, ctx))
        return ak__refused(ctx);
    if (!ak__outside_frames(ctx, "ak_step_end"))
        return ctx->status;
    note_use(ctx);
    ak_status status = ctx->status;
    ctx->status = AK_OK;
    ctx->hint_of = NULL;
    ctx->tape = NULL;
    ctx->calls = ctx->recorded = 0;
    ctx->marks = NULL;
    ctx->pool.first = NULL;
    ctx->n_scratch = 0;
    ctx->generation++;
    ctx->steps++;
    ak__arena_reset(&ctx->step);
    ak__shells_match(&ctx->shells[1], &ctx->shells[0]);
    const ak__shells last = ctx->shells[0];
    ctx->shells[0] = ctx->shells[1];
    ctx->shells[1] = last;
    ak__shells_reset(&ctx->shells[0]);
    return status;
}

/* ---- marks ---------------------------------------------------------------------------------- */

/* What a mark stands for, in a slot of the step's shells. The list holds those that can be released
 * to: a mark is looked for in it by address and is never followed itself. */
typedef struct ak__place {
    struct ak__place *next;     /* the one before */
    uint64_t       number;
    ak__arena_mark arena;
    struct ak_call *tape;
    struct ak__shell_block *shell;
    size_t         shell_used;
    uint64_t       adopted;
} ak__place;
_Static_assert(sizeof(ak__place) <= AK__SHELL_SIZE, "a place fits into a slot");

static bool same_place(const ak_ctx *ctx, const ak__place *p)
{
    const ak__arena_mark now = ak__arena_mark_get(&ctx->step);
    return p && p->arena.block == now.block && p->arena.used == now.used &&
           p->arena.top_used == now.top_used && p->tape == ctx->tape &&
           p->adopted == ctx->adopted && p->shell == ctx->shells[0].current &&
           p->shell_used == ctx->shells[0].used;
}

ak_mark ak_mark_step(ak_ctx *ctx)
{
    if (!AK__GIVEN(NULL, ctx))
        return (ak_mark){ 0 };
    ak__place *p = ctx->marks;
    if (!same_place(ctx, p)) {          /* a loop that marks and releases needs one in all */
        p = ak__step_shell(ctx);
        if (!p)
            return (ak_mark){ 0 };
        *p = (ak__place){ .next = ctx->marks, .number = ++ctx->marks_made,
                          .arena = ak__arena_mark_get(&ctx->step), .tape = ctx->tape,
                          .shell = ctx->shells[0].current, .shell_used = ctx->shells[0].used,
                          .adopted = ctx->adopted };
        ctx->marks = p;
    }
    return (ak_mark){ p, p->number };
}

ak_status ak_release(ak_ctx *ctx, ak_mark mark)
{
    if (!AK__GIVEN(NULL, ctx))
        return ak__refused(ctx);
    ak__place *p = ctx->marks;
    while (p && !(p == mark.place && p->number == mark.number))
        p = p->next;
    if (!p)
        return ak_fail(ctx, AK_ERR_STATE, "release: no such mark in this step of this context\n"
                       "    hint: a mark ends with its step, and when an older one is released");
    if (ctx->tape != p->tape)
        return ak_fail(ctx, AK_ERR_STATE, "release: calls made since the mark are on the tape\n"
                       "    hint: make them between ak_no_grad_begin() and ak_no_grad_end()");
    if (ctx->adopted != p->adopted)
        return ak_fail(ctx, AK_ERR_STATE, "release: tensors older than the mark got memory since: "
                       "by ak_backward, or because values given back were made again");
    ak__arena_release(&ctx->step, p->arena);
    ctx->marks = p;
    ctx->shells[0].current = p->shell;
    ctx->shells[0].used = p->shell_used;
    ctx->pool.first = NULL;    /* its pieces may lie behind the mark */
    return AK_OK;
}

int64_t ak__score_memory(const ak_ctx *ctx)
{
    if (ctx->score_memory >= 0)
        return ctx->score_memory;
    return ctx->recomputed_in == ctx->steps + 1 ? LITTLE_SCORE_MEMORY : SCORE_MEMORY;
}

ak_memory ak_memory_use(const ak_ctx *ctx)
{
    if (!AK__GIVEN(NULL, ctx))
        return (ak_memory){ .mallocs = ak_malloc_count() };
    ak_memory use = { .step_bytes = ctx->step.in_use, .step_peak = ctx->step.peak,
                      .step_reserved = ctx->step.reserved, .context_bytes = ctx->owned_bytes,
                      .mallocs = ak_malloc_count() };
    for (const ak__frame *f = ctx->frames; f; f = f->inner) {
        use.step_bytes += f->fields.step.in_use;
        use.step_reserved += f->fields.step.reserved;
    }
    return use;
}

/* ---- what belongs to the context ------------------------------------------------------------ */


void *ak__ctx_alloc(ak_ctx *ctx, size_t bytes)
{
    ak__block *b = bytes < SIZE_MAX / 2 ? ak__malloc(AK__BLOCK_DATA + bytes) : NULL;
    if (!b) {
        ak__fail_memory(ctx, bytes);
        return NULL;
    }
    *b = (ak__block){ .next = ctx->owned, .size = bytes };
    ctx->owned = b;
    ctx->owned_bytes += bytes;
    return memset((char *)b + AK__BLOCK_DATA, 0, bytes);
}

char *ak__ctx_strdup(ak_ctx *ctx, const char *text)
{
    size_t n = strlen(text) + 1;
    char  *copy = ak__ctx_alloc(ctx, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

void *ak__memory_take(ak__arena *arena, ak__pool *pool, size_t bytes)
{
    void *p = bytes < AK__LARGE ? NULL : ak__pool_take(pool, bytes);
    if (p)
        return p;
    return bytes < AK__HUGE ? ak__arena_alloc(arena, bytes) : ak__arena_alloc_large(arena, bytes);
}

void *ak__step_alloc(ak_ctx *ctx, size_t bytes)
{
    void *p = ak__memory_take(&ctx->step, &ctx->pool, bytes);
    if (!p)
        ak__fail_memory(ctx, bytes);
    return p;
}

void ak__step_give(ak_ctx *ctx, void *p, size_t bytes)
{
    ak__pool_give(&ctx->pool, p, bytes);
}

void *ak__scratch_take(ak_ctx *ctx, size_t bytes)
{
    void *p = ak__step_alloc(ctx, bytes);
    const int room = (int)(sizeof ctx->scratch / sizeof *ctx->scratch);
    if (p && ctx->n_scratch < room) {   /* beyond that it stays taken until the step ends */
        ctx->scratch[ctx->n_scratch].p = p;
        ctx->scratch[ctx->n_scratch++].bytes = bytes;
    }
    return p;
}

void ak__scratch_end(ak_ctx *ctx)
{
    while (ctx->n_scratch > 0) {
        ctx->n_scratch--;
        ak__step_give(ctx, ctx->scratch[ctx->n_scratch].p, ctx->scratch[ctx->n_scratch].bytes);
    }
}

void *ak__step_shell(ak_ctx *ctx)
{
    void *p = ak__shells_take(&ctx->shells[0]);
    if (!p)
        ak__fail_memory(ctx, AK__SHELL_SIZE);
    return p;
}

bool ak__at_close(ak_ctx *ctx, void (*fn)(void *), void *obj)
{
    ak__closer *c = ak__ctx_alloc(ctx, sizeof *c);
    if (!c)
        return false;
    *c = (ak__closer){ ctx->closers, fn, obj };
    ctx->closers = c;
    return true;
}

void **ak__ctx_slot(ak_ctx *ctx, ak__slot slot)
{
    return &ctx->slots[slot];
}

/* ---- modes ---------------------------------------------------------------------------------- */

void ak_check_numbers(ak_ctx *ctx, bool on)
{
    if (AK__GIVEN(NULL, ctx))
        ctx->check_numbers = on;
}

uint64_t ak_seed(const ak_ctx *ctx)
{
    return AK__GIVEN(NULL, ctx) ? ctx->seed : 0;
}

uint64_t ak_next_stream(ak_ctx *ctx)
{
    if (!AK__GIVEN(NULL, ctx))
        return 0;
    if (ctx->frame)
        ctx->frame->drawn++;
    return ctx->next_stream++;
}
