/* SPDX-License-Identifier: Apache-2.0 */
/* What optim/ keeps in a context, and which optimiser a parameter belongs to. */
#include "optim/optim_internal.h"

ak__optim_home *ak__optim_home_of(ak_ctx *ctx)
{
    void **slot = ak__ctx_slot(ctx, AK__SLOT_OPTIM);
    if (!*slot)
        *slot = ak__ctx_alloc(ctx, sizeof(ak__optim_home));
    return *slot;
}

const ak_optim *ak__optim_owner(const ak__optim_home *home, const ak_tensor *t)
{
    for (const ak_optim *o = home->first; o; o = o->next)
        for (int64_t i = 0; i < o->n; i++)
            if (o->entries[i].param == t)
                return o;
    return NULL;
}
