/* SPDX-License-Identifier: Apache-2.0 */
/* The sticky error: recording, the hook, texts. */
#include "base/base.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

const char *ak_status_text(ak_status status)
{
    switch (status) {
#define STATUS_TEXT(name, value, text) case AK_##name: return text;
        AK_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *ak_status_name(ak_status status)
{
    switch (status) {
#define STATUS_NAME(name, value, text) case AK_##name: return "AK_" #name;
        AK_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    }
    return "AK_ERR_UNKNOWN";
}

ak_status ak_error(const ak_ctx *ctx)
{
    return AK__GIVEN(NULL, ctx) ? ctx->status : AK_ERR_VALUE;
}

const char *ak_error_message(const ak_ctx *ctx)
{
    return AK__GIVEN(NULL, ctx) ? ctx->message : "";
}

void ak_on_error(ak_ctx *ctx, ak_error_fn fn, void *user)
{
    if (!AK__GIVEN(NULL, ctx))
        return;
    ctx->error_fn = fn;
    ctx->error_user = user;
}

void ak_error_die(void *user, ak_status status, const char *message)
{
    (void)user;
    fprintf(stderr, "akin: %s\n", message ? message : "(no message)");
    fprintf(stderr, "    (%s)\n", ak_status_name(status));
    abort();
}

void ak_error_exit(void *user, ak_status status, const char *message)
{
    (void)user;
    (void)status;
    fprintf(stderr, "akin: %s\n", message ? message : "(no message)");
    exit(1);
}

static void record(ak_ctx *ctx, ak_status status)
{
    ctx->status = status;
    if (ctx->first_status == AK_OK)
        ctx->first_status = status;
    if (ctx->error_fn)
        ctx->error_fn(ctx->error_user, status, ctx->message);
}

/* An error that no context can keep is at least said. */
static void say_without_context(ak_status status, const char *format, va_list args)
{
    char message[512];
    vsnprintf(message, sizeof message, format, args);
    fprintf(stderr, "akin: %s\n    (%s; this thread has no open context that could keep the "
            "error)\n", message, ak_status_name(status));
}

ak_status ak__fail_v(ak_ctx *ctx, ak_status status, const char *format, va_list args)
{
    if (!ctx)
        ctx = ak__thread_ctx();
    if (!ctx) {
        say_without_context(status, format, args);
        return status;
    }
    if (ctx->status != AK_OK)       /* the first error is the cause; later ones follow from it */
        return status;
    ak__format_v(ctx->message, sizeof ctx->message, format, args);
    record(ctx, status);
    return status;
}

ak_status ak_fail(ak_ctx *ctx, ak_status status, const char *format, ...)
{
    if (!format)
        format = "(no message)";
    if (status == AK_OK) {
        status = AK_ERR_VALUE;
        format = "ak_fail: an error was to be recorded with status AK_OK";
    }
    va_list args;
    va_start(args, format);
    ak__fail_v(ctx, status, format, args);
    va_end(args);
    return status;
}

ak_status ak__fail_environment(ak_ctx *ctx, const char *format, ...)
{
    const ak_error_fn hook = ctx->error_fn;
    if (hook == ak_error_die)
        ctx->error_fn = ak_error_exit;
    va_list args;
    va_start(args, format);
    ak__fail_v(ctx, AK_ERR_VALUE, format, args);
    va_end(args);
    ctx->error_fn = hook;
    return AK_ERR_VALUE;
}

bool ak__missing(ak_ctx *ctx, const char *who, const char *what)
{
    /* With nothing that leads to a context, a waiting error of this thread's is taken as the
     * reason: NULL is what constructors return that failed. */
    if (ctx || !ak__thread_ctx_failed())
        ak_fail(ctx, AK_ERR_VALUE, "%s: %s is missing (NULL)", who, what);
    return false;
}

ak_status ak__refused(const ak_ctx *ctx)
{
    if (!ctx)
        ctx = ak__thread_ctx_failed();
    return ctx && ctx->status != AK_OK ? ctx->status : AK_ERR_VALUE;
}

ak_status ak__fail_memory(ak_ctx *ctx, size_t bytes)
{
    return ak_fail(ctx, AK_ERR_MEMORY, "out of memory: %zu bytes wanted, %zu held for the step, "
                   "%zu for the context", bytes, ctx->step.reserved, ctx->owned_bytes);
}
