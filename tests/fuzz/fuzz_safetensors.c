/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: safetensors files, header and tensors. */
#include "fuzz.h"

#include "io/array.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx         *ctx = fuzz_open();
    ak_safetensors *f = ak__safetensors_parse(ctx, "fuzz", data, size);
    fuzz_require((f == NULL) == (ak_error(ctx) != AK_OK));
    int64_t bytes = 0;
    for (int64_t i = 0; f && i < ak_safetensors_count(f); i++) {
        const ak_safetensors_entry *e = ak_safetensors_info(f, i);
        fuzz_require(ak_safetensors_index(f, e->name) == i);
        bytes += e->bytes;
        const ak_array *a = ak_safetensors_at(f, i);
        fuzz_require((a != NULL) == e->readable);
        fuzz_require((a == NULL) == (ak_error(ctx) != AK_OK));
        for (int64_t k = 0; a && k < a->size; k += 1 + a->size / 16)
            ak_array_at(a, k);
        ak_step_end(ctx);
        if (a && (a->type == AK_TYPE_F32 || a->type == AK_TYPE_F64))
            ak_safetensors_read(f, i, ak_zeros(ctx, a->shape));
        ak_step_end(ctx);
    }
    fuzz_require(!f || (uint64_t)bytes <= size);
    const char *value;
    for (int64_t i = 0; f && ak_safetensors_metadata(f, i, &value); i++)
        fuzz_require(value);
    ak_safetensors_close(f);
    fuzz_close(ctx);
    return 0;
}
