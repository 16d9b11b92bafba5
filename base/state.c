/* SPDX-License-Identifier: Apache-2.0 */
/* The list of a context's objects that checkpoints save and load. */
#include "base/state.h"

#include "base/base.h"

#include <stdio.h>

const ak__state *ak__state_first(ak_ctx *ctx)
{
    return *ak__ctx_slot(ctx, AK__SLOT_STATE);
}

const ak__state *ak__state_find(ak_ctx *ctx, const char *name)
{
    for (const ak__state *s = ak__state_first(ctx); s; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

const ak__state *ak__state_register(ak_ctx *ctx, const char *name, const ak__state_ops *ops,
                                    void *obj)
{
    ak__state *s = ak__ctx_alloc(ctx, sizeof *s);
    const size_t room = strlen(name) + 24;
    char *text = s ? ak__ctx_alloc(ctx, room) : NULL;
    if (!text)
        return NULL;
    snprintf(text, room, "%s", name);
    for (int n = 2; ak__state_find(ctx, text); n++)
        snprintf(text, room, "%s#%d", name, n);
    *s = (ak__state){ .name = text, .ops = ops, .obj = obj };

    ak__state *last = *ak__ctx_slot(ctx, AK__SLOT_STATE);
    if (!last) {
        *ak__ctx_slot(ctx, AK__SLOT_STATE) = s;
        return s;
    }
    while (last->next)
        last = last->next;
    last->next = s;
    return s;
}
