/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: .npy files; what was read is written and read again with the same bits. */
#include "fuzz.h"

#include "io/array.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx         *ctx = fuzz_open();
    const ak_array *a = ak__npy_parse(ctx, "fuzz", data, size);
    if (a) {
        fuzz_require(ak__npy_announced(data, size) == size);
        const size_t bytes = (size_t)a->size * ak_type_size(a->type);
        uint8_t     *file = malloc(256 + bytes);
        fuzz_require(file);
        const size_t head = ak__npy_header((char *)file, a->type, a->shape);
        memcpy(file + head, a->data, bytes);
        const ak_array *b = ak__npy_parse(ctx, "again", file, head + bytes);
        fuzz_require(b && b->type == a->type && ak_shape_equal(a->shape, b->shape));
        fuzz_require(memcmp(a->data, b->data, bytes) == 0);
        free(file);
    } else {
        fuzz_require(ak_error(ctx) != AK_OK);
    }
    fuzz_close(ctx);
    return 0;
}
