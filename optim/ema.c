/* SPDX-License-Identifier: Apache-2.0 */
/* Moving averages of parameters: momentum encoders. */
#include "base/parallel.h"
#include "optim/optim_internal.h"

#include <string.h>

/* The rest of name behind "prefix/"; NULL if it does not start so. */
static const char *rest_of(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 && name[n] == '/' ? name + n : NULL;
}

static ak_tensor *namesake(ak_ctx *ctx, const ak_tensor *student, const char *prefix,
                           const char *rest)
{
    char name[512], a[160], b[160];
    snprintf(name, sizeof name, "%s%s", prefix, rest);
    ak_tensor *t = ak_param_find(ctx, name);
    if (!t) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: \"%s\" has no namesake \"%s\"", student->name,
                name);
        return NULL;
    }
    if (!ak_shape_equal(t->shape, student->shape)) {
        ak_fail(ctx, AK_ERR_SHAPE, "ema_update: shapes differ: \"%s\" %s, \"%s\" %s", t->name,
                ak_shape_text(t->shape, a), student->name, ak_shape_text(student->shape, b));
        return NULL;
    }
    return t;
}

ak_status ak_ema_update(ak_ctx *ctx, const char *teacher, const char *student, double momentum)
{
    if (ctx->status != AK_OK)
        return ctx->status;
    if (!(momentum >= 0 && momentum <= 1))
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: momentum = %g is not in [0, 1]", momentum);
    const ak_real t = (ak_real)(1 - momentum);
    int64_t pairs = 0;
    /* First all pairs are looked at, so that an error changes nothing. */
    for (int change = 0; change < 2; change++) {
        for (int64_t i = 0; ak_param_at(ctx, i); i++) {
            const ak_tensor *s = ak_param_at(ctx, i);
            const char      *rest = rest_of(s->name, student);
            if (!rest)
                continue;
            ak_tensor *to = namesake(ctx, s, teacher, rest);
            if (!to)
                return ctx->status;
            pairs++;
            if (!change)
                continue;
            if (s->flags & AK_PARAM_BUFFER)
                memcpy(to->data, s->data, (size_t)s->size * sizeof(ak_real));
            else
                AK__PARALLEL_CHUNKS(c, s->size, AK__OPTIM_CHUNK, begin, end)
                    ak__k.lerp(to->data + begin, s->data + begin, t, end - begin);
        }
    }
    if (!pairs)
        return ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: no parameter starts with \"%s/\"",
                       student);
    return AK_OK;
}
