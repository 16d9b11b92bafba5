/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: WAV, FLAC and Ogg files; the first byte chooses options. */
#include "fuzz.h"

#include "base/base.h"
#include "data/sound/sound.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const ak_sound_options o = { .rate = data[0] & 1 ? 8000 : 0,
                                 .channels = data[0] & 2 ? AK_NONE : data[0] & 4 ? 2 : 0,
                                 .seconds = data[0] & 8 ? 0.01 : 0, .most = 1 << 16 };
    ak__sound sound = { 0 };
    char      error[AK__SOUND_ERROR] = "";
    if (ak__sound_decode_bytes(data + 1, (int64_t)size - 1, &o, &sound, error)) {
        fuzz_require(error[0] && memchr(error, 0, sizeof error));
        return 0;
    }
    fuzz_require(sound.frames > 0 && sound.channels > 0 && sound.rate > 0);
    fuzz_require(!o.rate || sound.rate == o.rate);
    for (int64_t i = 0; i < sound.frames * sound.channels; i++)
        fuzz_require(isfinite(sound.data[i]));
    ak__free(sound.data);
    return 0;
}
