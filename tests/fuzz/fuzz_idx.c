/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: IDX files. */
#include "fuzz.h"

#include "io/array.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx *ctx = fuzz_open();
    ak__idx idx;
    if (ak__idx_parse(ctx, "fuzz", data, size, &idx) == AK_OK)
        fuzz_require(idx.data + idx.bytes == data + size && idx.shape.n <= AK_MAX_DIMS &&
                     ak__idx_announced(data, size) == size);
    fuzz_close(ctx);
    return 0;
}
