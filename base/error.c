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
    return ctx->status;
}

const char *ak_error_message(const ak_ctx *ctx)
{
    return ctx->message;
}

void ak_on_error(ak_ctx *ctx, ak_error_fn fn, void *user)
{
    ctx->error_fn = fn;
    ctx->error_user = user;
}

void ak_error_die(void *user, ak_status status, const char *message)
{
    (void)user;
    fprintf(stderr, "akin: %s\n", message);
    fprintf(stderr, "    (%s)\n", ak_status_name(status));
    abort();
}

void ak_error_exit(void *user, ak_status status, const char *message)
{
    (void)user;
    (void)status;
    fprintf(stderr, "akin: %s\n", message);
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

ak_status ak__fail_v(ak_ctx *ctx, ak_status status, const char *format, va_list args)
{
    if (ctx->status != AK_OK)       /* the first error is the cause; later ones follow from it */
        return status;
    ak__format_v(ctx->message, sizeof ctx->message, format, args);
    record(ctx, status);
    return status;
}

ak_status ak_fail(ak_ctx *ctx, ak_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ak__fail_v(ctx, status, format, args);
    va_end(args);
    return status;
}

ak_status ak__fail_memory(ak_ctx *ctx, size_t bytes)
{
    return ak_fail(ctx, AK_ERR_MEMORY, "out of memory: %zu bytes wanted, %zu held for the step, "
                   "%zu for the context", bytes, ctx->step.reserved, ctx->owned_bytes);
}
