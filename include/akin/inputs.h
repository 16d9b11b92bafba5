/* SPDX-License-Identifier: Apache-2.0 */
/* akin/inputs.h - from a batch to what a module takes.
 *
 *     for (ak_batch b; ak_loader_next(pairs, &b); ) {
 *         ak_tensor *picture = ak_forward(photo, b.view[0]);
 *         ak_tensor *words = ak_forward_with(text, ak_batch_inputs(&b, "caption", 0));
 *         ...
 *     }
 *
 * Training, features and evaluation read a data set through the same function
 * (ak_features_options.field), so that a module sees in all of them what its fields' names say.
 */
#ifndef AKIN_INPUTS_H
#define AKIN_INPUTS_H

#include <akin/data.h>
#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_ALL_VIEWS (-1)

/* The inputs that a field of a batch is, with those that belong to it by name.
 *
 *   field     its kind says where it goes; NULL = the main one:
 *                 picture, vector, numbers    .x
 *                 sequence                    .x, and .lengths where they vary
 *                 tokens                      .ids, and .lengths where they vary
 *             A field called "<field>/<input>" is that input: "caption/types" (tokens) is .types,
 *             "caption/memory" (a sequence) is .memory with .memory_lengths; .x, .bias and .skip
 *             are tensors likewise, .ids, .mask, .memory_mask are tokens
 *   view      in [0, V), or AK_ALL_VIEWS: [V N, ..], view by view. A field with one view goes with
 *             every view of another, but not with all of them at once
 *   returns   step lifetime; poison after an error. What the module does not take it refuses:
 *             nothing is left out without a word (ak_inputs_for leaves it out)
 *   errors    AK_ERR_VALUE for labels and ids, for a name behind the slash that is no input, a kind
 *             that does not fit it, an input that is there twice, no such view, views that differ
 *             in size as AK_ALL_VIEWS; AK_ERR_NOT_FOUND, AK_ERR_STALE, AK_ERR_STATE as
 *             ak_batch_field
 */
AK_API ak_inputs ak_batch_inputs(const ak_batch *b, const char *field, int view);

#ifdef __cplusplus
}
#endif
#endif
