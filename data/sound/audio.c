/* SPDX-License-Identifier: Apache-2.0 */
/* Sound files for programs: reading, rates, and writing WAV. */
#include "data/sound/sound.h"

#include "base/base.h"
#include "io/file.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

bool ak_sound_look(ak_ctx *ctx, const char *path, ak_sound_info *info)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__GIVEN(ctx, info) || ak_error(ctx))
        return false;
    char            error[AK__SOUND_ERROR] = "";
    const ak_status status = ak__sound_info(path, info, error);
    if (status)
        ak_fail(ctx, status, "%s: %s", path, error);
    return status == AK_OK;
}

ak_tensor *ak_sound_read(ak_ctx *ctx, const char *path, ak_sound_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || ak_error(ctx))
        return &ak__poison;
    const char *wrong = ak__sound_options_fault(&options);
    if (wrong) {
        ak_fail(ctx, AK_ERR_VALUE, "sound_read: %s", wrong);
        return &ak__poison;
    }
    char            error[AK__SOUND_ERROR] = "";
    ak__sound       s;
    const ak_status status = ak__sound_decode(path, &options, &s, error);
    if (status) {
        ak_fail(ctx, status, "%s: %s", path, error);
        return &ak__poison;
    }
    if (s.cut)
        ak_log_message(ctx, AK_LOG_WARNING, "%s: was cut off: its header says %lld samples, it has "
                       "%lld", path, (long long)s.claimed, (long long)s.held);
    const bool many = options.channels != 0 && options.channels != 1;
    ak_tensor *x = ak__tensor_new(ctx, many ? AK_SHAPE(s.frames, s.channels) : AK_SHAPE(s.frames));
    if (!ak_is_poison(x))
        memcpy(x->data, s.data, (size_t)x->size * sizeof *x->data);
    ak__free(s.data);
    return x;
}

/* ---- other rates ----------------------------------------------------------------------------- */

/* [S], or [S, C] with C channels; 0: neither, recorded. */
static int channels_of(const ak_tensor *x, const char *who)
{
    char          text[AK_SHAPE_TEXT];
    const int64_t channels = x->shape.n == 2 ? x->shape.dims[1] : 1;
    if ((x->shape.n == 1 || x->shape.n == 2) && x->size > 0 && channels <= AK__SOUND_CHANNELS)
        return (int)channels;
    ak_fail(x->ctx, AK_ERR_SHAPE, "%s: x is %s; samples [S], or [S, C] in at most %d channels, are "
            "needed", who, ak_shape_text(x->shape, text), AK__SOUND_CHANNELS);
    return 0;
}

ak_tensor *ak_sound_resample(const ak_tensor *x, int from, int to)
{
    if (!AK__TENSOR(NULL, x) || ak_error(x->ctx))
        return &ak__poison;
    ak_ctx   *ctx = x->ctx;
    const int channels = channels_of(x, "sound_resample");
    if (!channels)
        return &ak__poison;
    if (from < 1 || from > AK__SOUND_RATE || to < 1 || to > AK__SOUND_RATE) {
        ak_fail(ctx, AK_ERR_VALUE, "sound_resample: from %d to %d samples a second: both must be "
                "in [1, 2^20]", from, to);
        return &ak__poison;
    }
    if (x->needs_grad) {
        ak_fail(ctx, AK_ERR_VALUE, "sound_resample: x needs a gradient, and there is none through "
                "another rate; ak_detach(x) says that it may stop here");
        return &ak__poison;
    }
    const int64_t frames = x->shape.dims[0], n = ak_sound_resampled(frames, from, to);
    if (n < 1 || n > INT32_MAX / channels) {
        ak_fail(ctx, AK_ERR_VALUE, "sound_resample: %lld samples from %d to %d a second become "
                "%lld; 1 to 2^31 - 1 are possible", (long long)frames, from, to, (long long)n);
        return &ak__poison;
    }
    ak_tensor *y = ak__tensor_new(ctx, x->shape.n == 2 ? AK_SHAPE(n, channels) : AK_SHAPE(n));
    if (ak_is_poison(y))
        return y;
    char            error[AK__SOUND_ERROR] = "";
    const ak_status status = ak__sound_rate(x->data, frames, channels, from, to, y->data, error);
    if (status)
        ak_fail(ctx, status, "sound_resample: %s", error);
    return status ? &ak__poison : y;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Bytes of a sample, by ak_sound_encoding. */
static const int width_of[] = { 2, 1, 3, 4, 4 };

static uint8_t *put(uint8_t *p, uint32_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (uint8_t)(x >> (8 * i));
    return p;
}

static uint8_t *put_name(uint8_t *p, const char *name)
{
    memcpy(p, name, 4);
    return p + 4;
}

#define HEADER 80       /* room */

/* Header of a file: plain up to 16 bits and two channels, else extensible; floats have the chunk
 * "fact" as well, which the format asks for. Returns its size. */
static size_t wav_header(uint8_t *p, uint32_t bytes, int channels, int rate, ak_sound_encoding e)
{
    const uint32_t width = (uint32_t)width_of[e], block = width * (uint32_t)channels;
    const bool     floats = e == AK_SOUND_F32, extensible = width > 2 || channels > 2;
    const uint8_t *start = p;
    p = put(put_name(p, "RIFF"), 0, 4);
    p = put(put_name(put_name(p, "WAVE"), "fmt "), extensible ? 40 : 16, 4);
    p = put(put(p, extensible ? 0xfffe : 1, 2), (uint32_t)channels, 2);
    p = put(put(p, (uint32_t)rate, 4), (uint32_t)rate * block, 4);
    p = put(put(p, block, 2), 8 * width, 2);
    if (extensible) {
        p = put(put(put(p, 22, 2), 8 * width, 2), 0, 4);        /* no places of speakers */
        p = put(put(p, floats ? 3 : 1, 4), 0x00100000, 4);
        p = put(put(p, 0xaa000080, 4), 0x719b3800, 4);
    }
    if (floats)
        p = put(put(put_name(p, "fact"), 4, 4), bytes / block, 4);
    p = put(put_name(p, "data"), bytes, 4);
    put((uint8_t *)(uintptr_t)start + 4, (uint32_t)(p - start) - 8 + bytes + bytes % 2, 4);
    return (size_t)(p - start);
}

/* A sample as whole number; outside of the range: its end. */
static int64_t whole_sample(double x, int width, int64_t *clipped)
{
    const double half = (double)((int64_t)1 << (8 * width - 1));
    const double y = rint(x * half);
    *clipped += !(y >= -half && y <= half - 1) && (x < -1 || x > 1 - 1 / half);
    return (int64_t)(y < -half ? -half : y > half - 1 ? half - 1 : y);
}

static uint8_t *put_sample(uint8_t *p, ak_real x, ak_sound_encoding e, int64_t *clipped)
{
    if (e == AK_SOUND_F32) {
        const float f = (float)x;
        uint32_t    u;
        memcpy(&u, &f, sizeof u);
        return put(p, u, 4);
    }
    const int     width = width_of[e];
    const int64_t whole = whole_sample((double)x, width, clipped);
    return put(p, (uint32_t)(whole + (e == AK_SOUND_U8 ? 128 : 0)), width);
}

static ak_status check_write(ak_ctx *ctx, const char *path, const ak_tensor *x, int rate,
                             ak_sound_encoding e)
{
    if (rate < 1 || rate > AK__SOUND_RATE)
        return ak_fail(ctx, AK_ERR_VALUE, "sound_write: %d samples a second; [1, 2^20] are "
                       "possible", rate);
    if ((int)e < AK_SOUND_S16 || e > AK_SOUND_F32)
        return ak_fail(ctx, AK_ERR_VALUE, "sound_write: encoding %d is no ak_sound_encoding",
                       (int)e);
    if (x->size > (INT32_MAX - HEADER) / width_of[e])
        return ak_fail(ctx, AK_ERR_SHAPE, "%s: %lld samples are more than 2^31 bytes, which a WAV "
                       "file can not have", path, (long long)x->size);
    for (int64_t i = 0; i < x->size; i++)
        if (!isfinite((float)x->data[i]))
            return ak_fail(ctx, AK_ERR_NUMBER, "%s: sample %lld is %g", path, (long long)i,
                           (double)x->data[i]);
    return AK_OK;
}

ak_status ak_sound_write(ak_ctx *ctx, const char *path, const ak_tensor *x, int rate,
                         ak_sound_encoding encoding)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__TENSOR(ctx, x))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    const int channels = channels_of(x, "sound_write");
    ak_status status = channels ? check_write(ctx, path, x, rate, encoding) : AK_ERR_SHAPE;
    if (status)
        return status;
    const size_t bytes = (size_t)x->size * (size_t)width_of[encoding];
    uint8_t     *file = ak__malloc(HEADER + bytes + 1);
    if (!file)
        return ak__fail_memory(ctx, HEADER + bytes + 1);
    uint8_t *p = file + wav_header(file, (uint32_t)bytes, channels, rate, encoding);
    int64_t  clipped = 0;
    for (int64_t i = 0; i < x->size; i++)
        p = put_sample(p, x->data[i], encoding, &clipped);
    if (bytes % 2)
        *p++ = 0;
    status = ak__file_write_atomic(ctx, path, file, (size_t)(p - file));
    ak__free(file);
    if (!status && clipped)
        ak_log_message(ctx, AK_LOG_WARNING, "%s: %lld samples of %lld were outside of [-1, 1] and "
                       "became its ends", path, (long long)clipped, (long long)x->size);
    return status;
}
