/* SPDX-License-Identifier: Apache-2.0 */
/* Other sample rates, through soxr. */
#include "data/sound/sound.h"

#include "base/base.h"

#include <string.h>
#if AK_HAVE_SOXR
#include <soxr.h>
#endif

/* As soxr counts, so that it is asked for what it has. */
int64_t ak_sound_resampled(int64_t samples, int from, int to)
{
    if (samples < 1 || from < 1 || to < 1)
        return 0;
    return from == to ? samples
                      : (int64_t)((double)samples / ((double)from / (double)to) + 0.5);
}

ak_status ak__sound_rate(const ak_real *x, int64_t frames, int channels, int from, int to,
                         ak_real *y, char *error)
{
    const int64_t n = ak_sound_resampled(frames, from, to);
    if (from == to) {
        memcpy(y, x, (size_t)(n * channels) * sizeof *y);
        return AK_OK;
    }
#if AK_HAVE_SOXR
    const soxr_datatype_t     type = sizeof(ak_real) == 4 ? SOXR_FLOAT32_I : SOXR_FLOAT64_I;
    const soxr_io_spec_t      io = soxr_io_spec(type, type);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    size_t                    done = 0;
    const soxr_error_t        wrong = soxr_oneshot(from, to, (unsigned)channels, x, (size_t)frames,
                                                   NULL, y, (size_t)n, &done, &io, &quality,
                                                   &runtime);
    if (wrong) {
        snprintf(error, AK__SOUND_ERROR, "from %d to %d samples a second: soxr says: %.100s", from,
                 to, wrong);
        return AK_ERR_MEMORY;
    }
    memset(y + done * (size_t)channels, 0, ((size_t)n - done) * (size_t)channels * sizeof *y);
    return AK_OK;
#else
    snprintf(error, AK__SOUND_ERROR, "from %d to %d samples a second: built without soxr: install "
             "libsoxr-dev and set up again", from, to);
    return AK_ERR_STATE;
#endif
}
