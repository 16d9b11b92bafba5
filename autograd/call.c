/* SPDX-License-Identifier: Apache-2.0 */
/* One call of an op by itself: its memory, its hint, what it was applied to in words, its work. The
 * funnel, backward and the tape printer ask here; it asks none of them. */
#include "autograd/tape.h"
#include "base/text.h"

#include <stdio.h>

void *ak_call_save(ak_call *k, size_t bytes)
{
    if (!AK__GIVEN(NULL, k))
        return NULL;
    if (!k->saved)
        k->saved = ak__step_alloc(k->ctx, bytes);
    return k->saved;
}

void *ak_call_scratch(ak_call *k, size_t bytes)
{
    return AK__GIVEN(NULL, k) ? ak__scratch_take(k->ctx, bytes) : NULL;
}

bool ak_call_recorded(const ak_call *k)
{
    return AK__GIVEN(NULL, k) && k->out->maker == k;
}

void ak_call_hint(ak_call *k, const char *format, ...)
{
    if (!AK__GIVEN(NULL, k) || !AK__GIVEN(k->ctx, format))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(k->ctx->hint, sizeof k->ctx->hint, format, args);
    va_end(args);
    k->ctx->hint_of = k;
}

void ak__call_operands_text(const ak_call *k, char *buf, size_t size)
{
    ak__text all = ak__text_in(buf, size);
    char     text[AK_SHAPE_TEXT];
    for (int i = 0; i < k->n_in && !all.cut; i++) {
        const ak_tensor *t = k->in[i];
        const char      *comma = i ? ", " : "";
        if (!t)
            ak__text_add(&all, "%snone", comma);
        else if (t->name)
            ak__text_add(&all, "%s\"%s\" %s", comma, t->name, ak_shape_text(t->shape, text));
        else
            ak__text_add(&all, "%s%s", comma, ak_shape_text(t->shape, text));
    }
}

double ak__call_flops(const ak_call *k)
{
    return k->op->flops ? k->op->flops(k) : (double)k->out->size;
}

double ak__call_bytes(const ak_call *k)
{
    double numbers = (double)k->out->size;
    for (int i = 0; i < k->n_in; i++)
        if (k->in[i])
            numbers += (double)k->in[i]->size;
    return numbers * (double)sizeof(ak_real);
}
