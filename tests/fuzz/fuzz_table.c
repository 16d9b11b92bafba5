/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: CSV and TSV; the first byte chooses options. */
#include "fuzz.h"

#include "io/array.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static const char *const classes[] = { "cat", "dog", "3", NULL };
    ak_ctx          *ctx = fuzz_open();
    ak_table_options o = { .label = data[0] & 1 ? "1" : data[0] & 2 ? "kind" : NULL,
                           .skip = data[0] & 4 ? "a*" : NULL, .no_header = data[0] & 8,
                           .keep_missing = data[0] & 16, .delimiter = data[0] & 32 ? ';' : 0,
                           .classes = data[0] & 64 ? classes : NULL };
    const ak_table *t = ak__table_parse(ctx, "fuzz", data + 1, size - 1, o);
    fuzz_require((t == NULL) == (ak_error(ctx) != AK_OK));
    for (int64_t i = 0; t && i < t->rows; i++) {
        for (int64_t c = 0; c < t->columns; c++)
            fuzz_require(o.keep_missing || isfinite(t->values[i * t->columns + c]));
        fuzz_require(!t->labels || (t->labels[i] >= -1 && t->labels[i] < t->classes));
    }
    for (int64_t c = 0; t && t->class_names && c < t->classes; c++)
        fuzz_require(t->class_names[c]);
    fuzz_require(!t || !t->class_names || !t->class_names[t->classes]);
    fuzz_close(ctx);
    return 0;
}
