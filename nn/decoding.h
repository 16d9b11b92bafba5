/* SPDX-License-Identifier: Apache-2.0 */
/* What modules remember of the positions in front of those that they are handed (akin/transformer.h
 * ak_decoding): a slot for each module that depends on them, found by the module's address. */
#ifndef AK_DECODING_H
#define AK_DECODING_H

#include <akin/transformer.h>

#include "nn/module.h"

typedef struct ak__seen {
    const ak_module *of;
    int32_t   *past;            /* [rows]: positions that it has seen */
    ak_tensor  kept;            /* keys and values, [rows, capacity or length of the memory, width];
                                 * .data NULL: none */
} ak__seen;

/* The slot of m in the state that it was handed, made when it is first asked for.
 *
 *   rows     of what m is handed
 *   length   of what is kept, for each row; width 0: nothing is
 *   returns  NULL after an error: no state, one that is closed or of another context, other sizes
 */
ak__seen *ak__seen_of(ak_module *m, void *state, int64_t rows, int64_t length, int64_t width);
/* Positions of each row that are there already: [rows], step lifetime. */
ak_index *ak__seen_past(const ak_module *m, const ak__seen *s, int64_t rows);
int64_t ak__decoding_capacity(const void *state);
/* Are there places for T more positions of each row (lengths[n] of them count; NULL = all)? */
bool ak__seen_room(ak_module *m, const void *state, const ak__seen *s, const ak_index *lengths,
                   int64_t T);
/* They have been seen now. */
void ak__seen_advance(ak__seen *s, int64_t rows, const ak_index *lengths, int64_t T);

#endif
