/* SPDX-License-Identifier: Apache-2.0 */
/* What a program was started with: settings of the environment, kernels in use. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <akin/report.h>

#include "base/base.h"
#include "tensor/kernels/kernels.h"

const char *ak_env_text(const char *name, const char *otherwise)
{
    if (!AK__GIVEN(NULL, name))
        return otherwise;
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

int64_t ak_env_int(ak_ctx *ctx, const char *name, int64_t otherwise)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return otherwise;
    const char *text = ak_env_text(name, NULL);
    if (!text)
        return otherwise;
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (*end || end == text || errno || value < 0) {
        ak__fail_environment(ctx, "%s=%s: a whole number from 0 to %lld is expected", name, text,
                             LLONG_MAX);
        return otherwise;
    }
    return value;
}

const char *ak_kernel_at(int i, const char **isa)
{
    const ak__kernel_name *k = ak__kernel_at(i);
    if (k && isa)
        *isa = ak__level_name(k->level);
    return k ? k->name : NULL;
}
