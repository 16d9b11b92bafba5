/* SPDX-License-Identifier: Apache-2.0 */
/* Reading weights and checkpoints from bytes in memory. */
#ifndef AK_IO_CHECKPOINT_H
#define AK_IO_CHECKPOINT_H

#include <akin/core.h>

/* As ak_load_some(pattern), or ak_checkpoint_load if whole; `name` is for messages. */
ak_status ak__checkpoint_parse(ak_ctx *ctx, const char *name, const uint8_t *data, size_t size,
                               const char *pattern, bool whole);

#endif
