/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: gzip files; the limit on what they unpack to holds, and so does what the header of
 * an IDX or .npy file inside announces. The first byte chooses who is asked. */
#include "fuzz.h"

#include "io/array.h"

#define LIMIT ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak__announced *const asked[] = { NULL, ak__idx_announced, ak__npy_announced };
    if (size < 1)
        return 0;
    const ak__expected expected = { .limit = LIMIT, .announced = asked[data[0] % 3] };
    ak_ctx            *ctx = fuzz_open();
    ak__bytes          out;
    if (ak__inflate(ctx, "fuzz", AK__GZIP, data + 1, size - 1, expected, &out) == AK_OK) {
        fuzz_require(out.n <= LIMIT && out.n <= 1032 * size + 64);
        const size_t all = expected.announced ? expected.announced(out.data, out.n) : 0;
        fuzz_require(all == 0 || all == AK__REFUSED || out.n <= all);
    } else {
        fuzz_require(ak_error(ctx) != AK_OK && !out.data);
    }
    ak__bytes_free(&out);
    fuzz_close(ctx);
    return 0;
}
