/* SPDX-License-Identifier: Apache-2.0 */
/* What sets of caches and of scenes share: texts as tokens, and texts as they are. */
#ifndef AK_DATA_CACHE_H
#define AK_DATA_CACHE_H

#include <akin/cache.h>

#define AK__LONGEST 64          /* tokens, if nothing else is said */

/* A text as at most `longest` tokens: of the tokeniser, or its bytes. False: it can not. */
bool ak__text_tokens(const ak_tokenizer *t, const char *text, int64_t bytes, int64_t longest,
                     int32_t *ids, int64_t *length, char error[200]);

/* The callback of scenes, and the text of a field by its place in their list. */
bool ak__scene_fill(ak_item_data *item, void *user);
const char *ak__scene_text(void *user, int slot, int64_t item);

#endif
