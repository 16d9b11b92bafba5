/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: PNG files. */
#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_picture(data, size);
    return 0;
}
