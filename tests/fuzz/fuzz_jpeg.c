/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: JPEG files, and the orientation that EXIF has. */
#include "fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int orientation = ak__exif_orientation(data, size);
    fuzz_require(orientation >= 1 && orientation <= 8);
    fuzz_picture(data, size);
    return 0;
}
