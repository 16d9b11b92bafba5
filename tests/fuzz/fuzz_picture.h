/* SPDX-License-Identifier: Apache-2.0 */
/* Picture files: what is read is within the limits, and every byte of it is written; the same file
 * gives the same bytes again, in memory that was used before. */
#ifndef AK_TESTS_FUZZ_PICTURE_H
#define AK_TESTS_FUZZ_PICTURE_H

#include "fuzz.h"

#include "data/picture/picture.h"

#include <string.h>

#define FUZZ_PIXELS (1 << 16)       /* small, so that a run sees many files */

/* A sum that every byte of the picture is read for. */
static inline uint32_t fuzz_picture_sum(const ak__raster *r)
{
    uint32_t sum = 0;
    for (int64_t i = 0; i < r->height * r->width * r->channels; i++)
        sum = sum * 31 + r->data[i];
    return sum;
}

/* With the options that the first byte chooses; the rest is the file. */
static inline void fuzz_picture(const uint8_t *data, size_t size)
{
    static const int channels[4] = { 0, 1, 3, 4 };
    const int        bits = size ? data[0] : 0;
    const ak_picture_options o = {
        .channels = channels[bits & 3], .most_pixels = FUZZ_PIXELS, .as_stored = (bits & 4) != 0,
        .shorter = bits & 8 ? 20 : 0, .height = bits & 16 ? 16 : 0, .width = bits & 16 ? 20 : 0,
        .filter = bits & 32 ? AK_FILTER_BICUBIC : AK_FILTER_BILINEAR,
    };
    ak__pictures    p = { 0 };
    const uint8_t  *file = size ? data + 1 : data;
    const size_t    n = size ? size - 1 : 0;
    const ak_status status = ak__picture_parse(&p, file, n, &o);
    uint32_t        sum = 0;
    if (status) {
        fuzz_require(p.error[0]);
    } else {
        fuzz_require(p.out.height > 0 && p.out.width > 0);
        fuzz_require(p.out.height * p.out.width <= FUZZ_PIXELS);
        fuzz_require(p.out.channels == (o.channels ? o.channels : 3));
        fuzz_require(!o.height || (p.out.height == 16 && p.out.width == 20));
        sum = fuzz_picture_sum(&p.out);
    }
    fuzz_require(ak__picture_parse(&p, file, n, &o) == status);
    fuzz_require(status || fuzz_picture_sum(&p.out) == sum);
    ak__pictures_free(&p);
}

#endif
