/* SPDX-License-Identifier: Apache-2.0 */
/* Moving averages over given pairs of tensors: ak_ema_update finds its pairs by name, a momentum
 * encoder (nn/momentum.c) by the lists of two modules. */
#ifndef AK_EMA_H
#define AK_EMA_H

#include <akin/tensor.h>

typedef enum ak__ema_rule { AK__EMA_AVERAGED, AK__EMA_COPIED, AK__EMA_LEFT } ak__ema_rule;
typedef struct ak__ema_pair {
    ak_tensor       *to;        /* parameters or buffers of one shape */
    const ak_tensor *from;
    ak__ema_rule     rule;
} ak__ema_pair;

typedef struct ak__ema_plan ak__ema_plan;

/* A plan for pairs, which are put in the order of memory: what lies side by side on both sides is
 * one run. Context lifetime; NULL when memory is exhausted. */
ak__ema_plan *ak__ema_plan_of(ak_ctx *ctx, ak__ema_pair *pairs, int64_t n);
/* One pass over the runs: to = momentum to + (1 - momentum) from where they are averaged, by the
 * rules of ak_ema_update; momentum in [0, 1]. */
void ak__ema_apply(ak_ctx *ctx, const ak__ema_plan *plan, double momentum, const char *who);

#endif
