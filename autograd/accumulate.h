/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of a batch in several steps: what backward and the optimisers ask. */
#ifndef AK_AUTOGRAD_ACCUMULATE_H
#define AK_AUTOGRAD_ACCUMULATE_H

#include <akin/op.h>

/* The factor of each backward: 1, or 1/k between ak_accumulate_begin and ak_accumulate_end. */
double ak__accumulate_share(const ak_ctx *ctx);
/* A backward has run: the step counts as a micro-batch. */
void ak__accumulate_note(ak_ctx *ctx);
/* May backward go through this call? Not if it scores samples against each other and the batch is
 * one of several. */
bool ak__accumulate_fits(const ak_call *k);
/* Fails with AK_ERR_STATE if gradients are a part of a sum: `who` wants all of it. */
bool ak__accumulate_ended(ak_ctx *ctx, const char *who);

#endif
