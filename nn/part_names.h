/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of attention, blocks and stacks are called: ak_part_names as tables. */
#ifndef AK_PART_NAMES_H
#define AK_PART_NAMES_H

#include <akin/transformer.h>

/* Of attention: one layer for queries, keys and values (cross: `q` and `kv`), or three; with
 * neither the parameters are the module's own, as PyTorch has them. */
typedef struct ak__attention_names {
    const char *qkv, *q, *kv, *k, *v, *out;
} ak__attention_names;

/* Of a block. With cross-attention the feed-forward part may be called otherwise. */
typedef struct ak__feed_names {
    const char *norm, *in, *gate, *out;     /* gated: `gate` is the layer of f, `in` the other */
} ak__feed_names;
typedef struct ak__block_names {
    const char *self, *self_norm, *cross, *cross_norm;
    ak__feed_names feed, feed_cross, gated, gated_cross;
    const char *scales[3];                  /* of self, cross, feed */
} ak__block_names;

typedef struct ak__stack_names {
    const char *layer;                      /* in front of "/0", "/1", .. */
    const char *norm;
} ak__stack_names;

/* Is it one of them? Else AK_ERR_VALUE for the module called `name`. */
bool ak__names_known(ak_ctx *ctx, const char *name, ak_part_names names);
const ak__attention_names *ak__names_of_attention(ak_part_names names);
const ak__block_names *ak__names_of_block(ak_part_names names);
const ak__stack_names *ak__names_of_stack(ak_part_names names);

#endif
