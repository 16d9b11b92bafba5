/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a file of a data set before it is used: its header alone, without a context. */
#include "data/files.h"

#include "base/base.h"
#include "data/picture/picture.h"
#include "data/sound/sound.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SEGMENTS 1000      /* of a JPEG before its size */

static ak_status refuse(char *error, ak_status status, const char *format, ...) AK_PRINTF(3, 4);
static ak_status refuse(char *error, ak_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, AK__LOOK_ERROR, format, args);
    va_end(args);
    return status;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static bool bytes_at(int fd, int64_t at, void *to, size_t n)
{
    return pread(fd, to, n, (off_t)at) == (ssize_t)n;
}

static int64_t big_endian(const uint8_t *p, int bytes)
{
    int64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x = x << 8 | p[i];
    return x;
}

/* The size of a JPEG stands in its frame header, behind segments of any kind. */
static bool jpeg_size(int fd, int64_t *height, int64_t *width)
{
    int64_t at = 2;
    for (int k = 0; k < MOST_SEGMENTS; k++) {
        uint8_t p[9];
        if (!bytes_at(fd, at, p, 4) || p[0] != 0xff)
            return false;
        if (p[1] == 0xff || p[1] == 0x01 || (p[1] >= 0xd0 && p[1] <= 0xd8)) {
            at += p[1] == 0xff ? 1 : 2;             /* filling, and markers without a length */
            continue;
        }
        if (p[1] >= 0xc0 && p[1] <= 0xcf && p[1] != 0xc4 && p[1] != 0xc8 && p[1] != 0xcc) {
            if (!bytes_at(fd, at, p, 9))
                return false;
            *height = big_endian(p + 5, 2);
            *width = big_endian(p + 7, 2);
            return true;
        }
        at += 2 + big_endian(p + 2, 2);
    }
    return false;
}

static ak_status look_inside(int fd, const ak_picture_options *o, char *error)
{
    static const uint8_t png[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    struct stat s;
    uint8_t     p[24] = { 0 };
    int64_t     height = 0, width = 0;
    if (fstat(fd, &s) != 0)
        return refuse(error, AK_ERR_IO, "cannot be read");
    if (!S_ISREG(s.st_mode))
        return refuse(error, AK_ERR_IO, "is %s, no regular file", ak__file_kind(s.st_mode));
    if (s.st_size == 0)
        return refuse(error, AK_ERR_FORMAT, "is empty");
    if (pread(fd, p, sizeof p, 0) < 2)
        return refuse(error, AK_ERR_FORMAT, "is no PNG or JPEG file");
    if (memcmp(p, png, sizeof png) == 0) {
        width = big_endian(p + 16, 4);
        height = big_endian(p + 20, 4);
    } else if (p[0] == 0xff && p[1] == 0xd8) {
        if (!jpeg_size(fd, &height, &width))
            return refuse(error, AK_ERR_FORMAT, "is a JPEG file that ends in its header");
    } else {
        return refuse(error, AK_ERR_FORMAT, "is no PNG or JPEG file");
    }
    const int64_t most = o->most_pixels ? o->most_pixels : AK__PICTURE_PIXELS;
    if (height < 1 || width < 1)
        return refuse(error, AK_ERR_FORMAT, "is %lld x %lld pixels by its header",
                      (long long)height, (long long)width);
    if (height > most / width)
        return refuse(error, AK_ERR_VALUE, "is %lld x %lld pixels; at most %lld are read "
                      "(.most_pixels)", (long long)height, (long long)width, (long long)most);
    return AK_OK;
}

ak_status ak__picture_look(const char *path, const ak_picture_options *o, char *error)
{
    const int fd = ak__open_file(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR
               ? refuse(error, AK_ERR_NOT_FOUND, "no such file")
               : refuse(error, AK_ERR_IO, "cannot be opened");
    const ak_status status = look_inside(fd, o, error);
    close(fd);
    return status;
}

/* ---- sounds ---------------------------------------------------------------------------------- */

static double most_seconds(const ak_files_options *o)
{
    return o->most_seconds > 0 ? o->most_seconds : AK_FILES_SECONDS;
}

/* Samples at the rate that is wanted, of so many in the file; those beyond the longest cut off. */
static int64_t samples_of(const ak_files_options *o, int64_t frames, int rate)
{
    const int64_t most = (int64_t)ceil(most_seconds(o) * rate);
    return ak_sound_resampled(o->cut_sounds && frames > most ? most : frames, rate,
                              o->sounds.rate);
}

static ak_status count_steps(const ak_files_options *o, int64_t samples, int64_t *steps,
                             char *error)
{
    *steps = o->mel ? ak_mel_frames(o->mel, samples) : samples;
    return *steps > 0 ? AK_OK
                      : refuse(error, AK_ERR_FORMAT, "is too short: %lld samples at %d a second",
                               (long long)samples, o->sounds.rate);
}

/* Options for the decoder: no more than the longest sound, and a little, which tells that it is
 * longer. */
static ak_sound_options for_decoder(const ak_files_options *o)
{
    ak_sound_options s = o->sounds;
    s.seconds = o->cut_sounds ? most_seconds(o) : 0;
    return s;
}

ak_status ak__sound_steps(const char *path, const ak_files_options *o, int64_t *steps, char *error)
{
    ak_sound_info info;
    ak_status     status = ak__sound_info(path, &info, error);
    if (!status && info.frames < 0) {           /* the header does not say: count */
        const ak_sound_options all = { .most = o->sounds.most, .channels = AK_NONE };
        ak__sound s;
        status = ak__sound_decode(path, &all, &s, error);
        info.frames = s.frames;
        ak__free(s.data);
    }
    if (status)
        return status;
    const double seconds = (double)info.frames / info.rate;
    const int    wanted = o->sounds.channels ? o->sounds.channels : 1;
    if (info.cut)
        return refuse(error, AK_ERR_FORMAT, "was cut off after %lld samples",
                      (long long)info.frames);
    if (wanted != 1 && info.channels != 1 && info.channels != wanted)
        return refuse(error, AK_ERR_VALUE, "has %d channels; %d are wanted", info.channels, wanted);
    if (seconds > most_seconds(o) && !o->cut_sounds)
        return refuse(error, AK_ERR_VALUE, "lasts %.1f s; at most %g are taken (.most_seconds, "
                      ".cut_sounds)", seconds, most_seconds(o));
    const int64_t most = o->sounds.most ? o->sounds.most : AK_SOUND_SAMPLES;
    if (info.frames > most / info.channels)
        return refuse(error, AK_ERR_VALUE, "says that it has %lld samples in each of %d channels; "
                      "at most %lld are read in all (.sounds.most)", (long long)info.frames,
                      info.channels, (long long)most);
    return count_steps(o, samples_of(o, info.frames, info.rate), steps, error);
}

ak_status ak__sound_fill(const char *path, const ak_files_options *o, ak_real *to, int64_t *steps,
                         char *error)
{
    const ak_sound_options options = for_decoder(o);
    const int64_t          most = *steps;
    ak__sound              s;
    ak_status              status = ak__sound_decode(path, &options, &s, error);
    if (!status)
        status = count_steps(o, s.frames, steps, error);
    if (!status && *steps > most)
        status = refuse(error, AK_ERR_FORMAT, "has become longer since the data set was opened");
    if (!status && o->mel)
        status = ak_mel_run(o->mel, s.data, s.frames, to) ? refuse(error, AK_ERR_MEMORY,
                                                                   "out of memory") : AK_OK;
    else if (!status)
        memcpy(to, s.data, (size_t)(s.frames * s.channels) * sizeof *to);
    ak__free(s.data);
    return status;
}
