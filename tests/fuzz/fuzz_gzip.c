/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: gzip files; the limit on what they unpack to holds. */
#include "fuzz.h"

#include "io/file.h"

#define LIMIT ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx   *ctx = fuzz_open();
    ak__bytes out;
    if (ak__inflate(ctx, "fuzz", AK__GZIP, data, size, LIMIT, &out) == AK_OK)
        fuzz_require(out.n <= LIMIT && out.n <= 1032 * size + 64);
    else
        fuzz_require(ak_error(ctx) != AK_OK && !out.data);
    ak__bytes_free(&out);
    fuzz_close(ctx);
    return 0;
}
