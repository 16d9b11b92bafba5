/* SPDX-License-Identifier: Apache-2.0 */
/* The records of all losses: one a loss, at the foot of its file; the list is in families.c. */
#ifndef AK_LOSS_FAMILIES_H
#define AK_LOSS_FAMILIES_H

#include <akin/losses.h>

extern const ak_loss_info ak__loss_ntxent, ak__loss_ntxent_views, ak__loss_infonce, ak__loss_clip,
    ak__loss_supcon, ak__loss_dcl, ak__loss_dclw, ak__loss_siglip, ak__loss_alignment,
    ak__loss_uniformity, ak__loss_cross_uniformity;

#endif
