/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: lines of JSON as a data set; the first byte chooses options. */
#include "fuzz.h"

#include "data/files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static const char *const classes[] = { "cat", "dog", "3", NULL };
    int64_t                  left_out = -1;
    ak_ctx                  *ctx = fuzz_open();
    const ak_files_options   o = {
        .label = data[0] & 1 ? "kind" : NULL, .numbers = data[0] & 2 ? NULL : "xy",
        .id = data[0] & 4 ? "who" : NULL, .keep_missing = data[0] & 8,
        .classes = (data[0] & 16) && (data[0] & 1) ? classes : NULL, .refuse = data[0] & 32,
        .caption = data[0] & 64 ? "text" : NULL, .same_captions = data[0] & 64 && !(data[0] & 4),
        .left_out = &left_out };
    ak_dataset *ds = ak__json_lines_parse(ctx, "fuzz", data + 1, size - 1, &o);
    fuzz_require((ds == NULL) == (ak_error(ctx) != AK_OK));
    if (ds)
        fuzz_require(ak_dataset_size(ds) > 0 && left_out >= 0);
    fuzz_close(ctx);
    return 0;
}
