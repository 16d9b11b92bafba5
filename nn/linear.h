/* SPDX-License-Identifier: Apache-2.0 */
/* The linear layer and its adapter (LoRA): y = x weight^T + bias + alpha / rank (x a^T) b^T. */
#ifndef AK_LINEAR_H
#define AK_LINEAR_H

#include "nn/module.h"

/* State of a linear layer. Its own tensors: weight; bias if there is one; with an adapter a, b,
 * alpha, merged. */
typedef struct ak__linear {
    bool     relu, bias;
    int64_t  rank;              /* of the adapter; 0 = none */
    double   dropout;           /* before the adapter */
    uint64_t checked;           /* versions of a, b and merged with which the mark was right */
} ak__linear;

/* Its state; NULL if m is no linear layer. */
ak__linear *ak__linear_of(const ak_module *m);

enum { AK__LORA_A, AK__LORA_B, AK__LORA_ALPHA, AK__LORA_MERGED };
/* A tensor of the adapter. */
static inline ak_tensor *ak__lora(const ak_module *m, const ak__linear *l, int which)
{
    return ak__own(m, (l->bias ? 2 : 1) + which);
}

/* The matrix that a layer multiplies by, for modules that do so themselves: the weight, and where
 * there is an adapter, weight + alpha / rank b a. Of what is no linear layer its first own tensor.
 * Poison after an error: dropout before the adapter can not be in the matrix. */
ak_tensor *ak__linear_weight(ak_module *m);
/* y plus what the adapter makes of x, unless it is part of the weight already. */
ak_tensor *ak__lora_forward(ak_module *m, ak_tensor *x, ak_tensor *y);

#endif
