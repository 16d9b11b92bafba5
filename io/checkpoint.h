/* SPDX-License-Identifier: Apache-2.0 */
/* Reading weights and checkpoints from bytes in memory. */
#ifndef AK_IO_CHECKPOINT_H
#define AK_IO_CHECKPOINT_H

#include <akin/io.h>

/* As ak_load_some(pattern), or ak_checkpoint_load if whole; `name` is for messages. */
ak_status ak__checkpoint_parse(ak_ctx *ctx, const char *name, const uint8_t *data, size_t size,
                               const char *pattern, bool whole);

/* A file of weights made of arrays: floats or doubles with legal names. */
ak_status ak__checkpoint_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays,
                                      int64_t n);

#endif
