/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of transformers share: making their parts, checking what they are handed. */
#ifndef AK_NN_TRANSFORMER_H
#define AK_NN_TRANSFORMER_H

#include <akin/transformer.h>

#include <string.h>

#include "nn/module.h"

/* y takes the place of x, which backward alone reads now, or makes again. */
static inline ak_tensor *ak__instead(ak_tensor *x, ak_tensor *y)
{
    if (y != x && !ak_is_poison(y) && !ak_is_poison(x))
        ak_done_with(x, true);
    return y;
}

/* Are these lengths [N] in [0, T]? NULL is. Else AK_ERR_SHAPE or AK_ERR_VALUE. */
bool ak__lengths_fit(ak_module *m, const ak_index *lengths, int64_t N, int64_t T);

/* Are they [N], each in [lo, hi]? Else the same errors, of `who`. */
bool ak__lengths_in(const char *who, ak_ctx *ctx, const ak_index *lengths, int64_t N, int64_t lo,
                    int64_t hi);
/* [N T]: what each position has to say, the id behind it; -1 where that is not in [first, lengths)
 * (NULL: 0, T). */
ak_index *ak__next_words(ak_ctx *ctx, const ak_index *ids, const ak_index *first,
                         const ak_index *lengths);
/* Logits [N, T, V] for ids [N, T]? */
bool ak__words_fit(const char *who, const ak_tensor *logits, const ak_index *ids);

/* The initialiser of blocks for `how`, `times` as large (0 = 1). */
ak_init ak__block_init(ak_init how, double times);
/* Does a parameter's name end so? */
static inline bool ak__ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}
/* A linear layer whose bias starts from 0. */
ak_module *ak__block_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out, bool no_bias,
                            ak_init how);
/* ak_nn_attention whose last layer starts out_scale times as large. */
ak_module *ak__attention_layer(ak_ctx *ctx, const char *name, int64_t width,
                               ak_attention_layer_options o, double out_scale);

/* Layers (and the norm, if there is one) of a stack as children of the module that is open; returns
 * how many there are, 0 after an error. `owner`: for messages; `below` comes in front of the names
 * of layers: "" or "encoder/". */
int64_t ak__add_layers(ak_module *owner, const char *below, ak_stack_options o);
/* Weights of the layers of a tower of CLIP as their authors start them: normal, with deviations of
 * 1 / sqrt(width), the last layer of each part 1 / sqrt(2 layers) as large. */
void ak__clip_start(const ak_module *tower, int64_t width, int layers);
/* The norm of CLIP's picture tower that its class token passes last; NULL for other modules. */
ak_module *ak__clip_last_norm(const ak_module *m);

/* With a state: what `make` returned in the first call, [rows, length, width], which the state
 * keeps. */
ak_tensor *ak__made_once(ak_module *m, const ak_inputs *in, ak_shape shape,
                         ak_tensor *(*make)(ak_module *m, const ak_inputs *in));
/* x through children [first, first + count) of m, which all get what they take. */
ak_tensor *ak__run_layers(ak_module *m, const ak_inputs *in, int64_t first, int64_t count);

#endif
