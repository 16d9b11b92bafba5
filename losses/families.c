/* SPDX-License-Identifier: Apache-2.0 */
/* The list of losses, and lookup by name. */
#include "losses/families.h"

#include "base/base.h"

#include <string.h>

static const ak_loss_info *const losses[] = {
    &ak__loss_ntxent, &ak__loss_ntxent_views, &ak__loss_infonce, &ak__loss_clip, &ak__loss_supcon,
    &ak__loss_dcl, &ak__loss_dclw, &ak__loss_siglip, &ak__loss_alignment, &ak__loss_uniformity,
    &ak__loss_cross_uniformity,
};

const ak_loss_info *ak_loss_at(int i)
{
    return i >= 0 && i < (int)(sizeof losses / sizeof *losses) ? losses[i] : NULL;
}

const ak_loss_info *ak_loss_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    for (int i = 0; ak_loss_at(i); i++)
        if (strcmp(ak_loss_at(i)->name, name) == 0)
            return ak_loss_at(i);
    return NULL;
}
