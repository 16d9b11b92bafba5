/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: .npz archives and, by their entries, raw deflate data. */
#include "fuzz.h"

#include "io/array.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx *ctx = fuzz_open();
    ak_npz *f = ak__npz_parse(ctx, "fuzz", data, size);
    fuzz_require((f == NULL) == (ak_error(ctx) != AK_OK));
    for (int64_t i = 0; f && i < ak_npz_count(f) && i < 64; i++) {
        const ak_array *a = ak_npz_at(f, i);
        fuzz_require((a == NULL) == (ak_error(ctx) != AK_OK));
        if (a) {
            /* the last array of this name, which may be another one */
            fuzz_require(ak_npz_find(f, ak_npz_name(f, i)) || ak_error(ctx) != AK_OK);
            for (int64_t k = 0; k < a->size; k += 1 + a->size / 16)
                ak_array_at(a, k);
        }
        ak_step_end(ctx);
    }
    fuzz_close(ctx);
    return 0;
}
