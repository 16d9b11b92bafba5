/* SPDX-License-Identifier: Apache-2.0 */
/* Messages through a callback. */
#include "base/base.h"
#include "base/text.h"

#include <stdio.h>

void ak_on_log(ak_ctx *ctx, ak_log_fn fn, void *user)
{
    if (!AK__GIVEN(NULL, ctx))
        return;
    ctx->log_fn = fn;
    ctx->log_user = user;
}

void ak_log_message(ak_ctx *ctx, ak_log_level level, const char *format, ...)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, format))
        return;
    if (ctx->quiet && level == AK_LOG_INFO)
        return;
    char    text[1024];
    va_list args;
    va_start(args, format);
    ak__format_v(text, sizeof text, format, args);
    va_end(args);
    if (ctx->log_fn)
        ctx->log_fn(ctx->log_user, level, text);
    else
        fprintf(stderr, "akin: %s%s\n", level == AK_LOG_WARNING ? "warning: " : "", text);
}
