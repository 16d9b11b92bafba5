/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of sound files, through libsndfile: it is handed the samples of a WAV as bare numbers,
 * other streams whole. Nothing here knows a context: loader threads call it. */
#include "data/sound/sound.h"

#include "base/base.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#if AK_HAVE_SNDFILE
#include <sndfile.h>
#endif

#define PIECE       16384               /* samples that are decoded at a time */
#define FIRST_ROOM  (4 * PIECE)         /* samples; memory grows with what is really there */
#define MOST_SECONDS 1e9

static ak_status refuse(char *error, ak_status status, const char *format, ...) AK_PRINTF(3, 4);
static ak_status refuse(char *error, ak_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, AK__SOUND_ERROR, format, args);
    va_end(args);
    return status;
}

const char *ak__sound_options_fault(const ak_sound_options *o)
{
    if (o->rate < 0 || o->rate > AK__SOUND_RATE)
        return ".rate must be in [1, 2^20], or 0 for the file's";
    if (o->channels < AK_NONE || o->channels > AK__SOUND_CHANNELS)
        return ".channels must be in [1, 64], or AK_NONE for the file's";
    if (!(o->seconds >= 0 && o->seconds <= MOST_SECONDS))
        return ".seconds must be in (0, 1e9], or 0 for all";
    if (o->most < 0 || o->most > (int64_t)1 << 40)
        return ".most must be in [1, 2^40], or 0 for AK_SOUND_SAMPLES";
    return NULL;
}

#if AK_HAVE_SNDFILE

/* ---- libsndfile reads the part of the source that is of use ---------------------------------- */

typedef struct stream {
    ak__sound_source source;
    int64_t          place;             /* within the part */
    SNDFILE         *file;
    SF_INFO          info;
} stream;

static sf_count_t part_length(void *user)
{
    const stream *s = user;
    return s->source.length;
}

static sf_count_t part_seek(sf_count_t offset, int whence, void *user)
{
    stream       *s = user;
    const int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->place
                                                                     : s->source.length;
    if (offset < -from || offset > s->source.length - from)
        return -1;
    return s->place = from + offset;
}

static sf_count_t part_read(void *to, sf_count_t n, void *user)
{
    stream       *s = user;
    const int64_t left = s->source.length - s->place;
    const int64_t got = ak__sound_bytes(&s->source, s->source.at + s->place, to,
                                        n < left ? n : left);
    s->place += got;
    return got;
}

static sf_count_t part_write(const void *from, sf_count_t n, void *user)
{
    (void)from, (void)n, (void)user;
    return 0;
}

static sf_count_t part_tell(void *user)
{
    const stream *s = user;
    return s->place;
}

/* What the bare samples of a WAV are; 0 for streams that say it themselves. */
static int raw_format(const ak__sound_source *s)
{
    static const int pcm[] = { 0, SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                               SF_FORMAT_PCM_32 };
    switch (s->kind) {
    case AK__SOUND_PCM:
        return SF_FORMAT_RAW | SF_ENDIAN_LITTLE | pcm[s->width];
    case AK__SOUND_FLOATS:
        return SF_FORMAT_RAW | SF_ENDIAN_LITTLE | (s->width == 4 ? SF_FORMAT_FLOAT
                                                                 : SF_FORMAT_DOUBLE);
    case AK__SOUND_ALAW: case AK__SOUND_ULAW:
        return SF_FORMAT_RAW | (s->kind == AK__SOUND_ALAW ? SF_FORMAT_ALAW : SF_FORMAT_ULAW);
    case AK__SOUND_FLAC: case AK__SOUND_VORBIS: case AK__SOUND_OPUS:
        break;
    }
    return 0;
}

static int bits_of(const SF_INFO *info)
{
    switch (info->format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8: case SF_FORMAT_PCM_U8: return 8;
    case SF_FORMAT_PCM_16: return 16;
    case SF_FORMAT_PCM_24: return 24;
    case SF_FORMAT_PCM_32: return 32;
    default: return 0;
    }
}

/* Frames by the word of the header and the decoder; -1 where neither knows. */
static int64_t frames_of(const stream *s)
{
    if (s->source.kind == AK__SOUND_FLAC)
        return s->source.claimed;
    return s->info.frames >= 0 && s->info.frames < SF_COUNT_MAX ? s->info.frames : -1;
}

static void stream_close(stream *s)
{
    if (s->file)
        sf_close(s->file);
    ak__sound_close(&s->source);
}

/* More samples than are wanted? The header's word is enough. */
static ak_status check_claim(int64_t frames, int channels, int64_t most, char *error)
{
    if (frames < 0 || frames <= most / channels)
        return AK_OK;
    return refuse(error, AK_ERR_VALUE, "says that it has %lld samples in each of %d channels; at "
                  "most %lld are read in all: set .most, if that is right", (long long)frames,
                  channels, (long long)most);
}

static ak_status stream_open(stream *s, const char *path, const void *bytes, int64_t n,
                             int64_t most, char *error)
{
    SF_VIRTUAL_IO io = { part_length, part_seek, part_read, part_write, part_tell };
    *s = (stream){ .source = { .fd = -1 } };
    ak_status status = ak__sound_open(&s->source, path, bytes, n, error);
    if (status)
        return status;
    const ak__sound_source *from = &s->source;
    if (from->channels < 1 || from->channels > AK__SOUND_CHANNELS || from->rate < 1 ||
        from->rate > AK__SOUND_RATE)
        status = refuse(error, AK_ERR_FORMAT, "%d channels of %d samples a second; 1 to %d of 1 to "
                        "%d are possible", from->channels, from->rate, AK__SOUND_CHANNELS,
                        AK__SOUND_RATE);
    if (!status)
        status = check_claim(from->claimed, from->channels, most, error);
    const int raw = raw_format(from);
    if (raw)
        s->info = (SF_INFO){ .format = raw, .channels = from->channels, .samplerate = from->rate };
    if (!status && raw && from->length == 0)
        status = refuse(error, AK_ERR_FORMAT, "has no samples");
    if (!status && !(s->file = sf_open_virtual(&io, SFM_READ, &s->info, s)))
        status = refuse(error, AK_ERR_FORMAT, "is damaged: libsndfile says: %.120s",
                        sf_strerror(NULL));
    const bool agree = s->info.channels == from->channels &&
                       (s->info.samplerate == from->rate || from->kind == AK__SOUND_OPUS);
    if (!status && (!agree || s->info.samplerate < 1))
        status = refuse(error, AK_ERR_FORMAT, "is damaged: its headers do not agree");
    if (status)
        stream_close(s);
    return status;
}

ak_status ak__sound_info(const char *path, ak_sound_info *info, char *error)
{
    stream          s;
    const ak_status status = stream_open(&s, path, NULL, 0, INT64_MAX, error);
    if (status)
        return status;
    *info = (ak_sound_info){ .frames = frames_of(&s), .rate = s.info.samplerate,
                             .channels = s.info.channels, .cut = s.source.cut };
    ak__sound_format(&s.source, bits_of(&s.info), info->format, sizeof info->format);
    stream_close(&s);
    return AK_OK;
}

/* ---- decoding -------------------------------------------------------------------------------- */

static int64_t read_frames(SNDFILE *file, ak_real *to, int64_t frames)
{
#if AK_REAL_BITS == 64
    return sf_readf_double(file, to, frames);
#else
    return sf_readf_float(file, to, frames);
#endif
}

typedef struct decoding {
    stream   s;
    int      in, out;           /* channels */
    int64_t  stop;              /* frames that are wanted; INT64_MAX = all */
    int64_t  most;              /* samples */
    ak_real *data;              /* [room, out] */
    int64_t  frames, room;
} decoding;

static ak_status make_room(decoding *d, int64_t frames, char *error)
{
    if (d->frames + frames <= d->room)
        return AK_OK;
    const int64_t first = FIRST_ROOM / d->out, all = frames_of(&d->s);
    int64_t       room = 2 * d->room > first ? 2 * d->room : first;
    if (all >= 0 && (room > all || raw_format(&d->s.source)))   /* all of these are in the file */
        room = all < d->stop ? all : d->stop;
    room = room < d->frames + frames ? d->frames + frames : room;
    ak_real *data = ak__malloc((size_t)(room * d->out) * sizeof *data);
    if (!data)
        return refuse(error, AK_ERR_MEMORY, "out of memory for %lld samples",
                      (long long)(room * d->out));
    if (d->frames)
        memcpy(data, d->data, (size_t)(d->frames * d->out) * sizeof *data);
    ak__free(d->data);
    d->data = data;
    d->room = room;
    return AK_OK;
}

/* Frames of the file to those that are wanted: as they are, one for all, or the mean. */
static void mix(const decoding *d, const ak_real *x, int64_t frames, ak_real *y)
{
    const int in = d->in, out = d->out;
    if (in == out) {
        memcpy(y, x, (size_t)(frames * in) * sizeof *y);
        return;
    }
    for (int64_t t = 0; t < frames; t++) {
        ak_real sum = 0;
        for (int c = 0; c < in; c++)
            sum += x[t * in + c];
        for (int c = 0; c < out; c++)
            y[t * out + c] = in == 1 ? sum : sum / (ak_real)in;
    }
}

static ak_status decode_all(decoding *d, char *error)
{
    ak_real       piece[PIECE];
    const int64_t most = PIECE / d->in;
    int64_t       got = 1;
    while (got > 0 && d->frames < d->stop) {
        const int64_t left = d->stop - d->frames;
        got = read_frames(d->s.file, piece, left < most ? left : most);
        if (got > (d->most - d->frames * d->in) / d->in)
            return refuse(error, AK_ERR_VALUE, "has more than %lld samples: set .most, if that is "
                          "right", (long long)d->most);
        for (int64_t i = 0; i < got * d->in; i++)
            if (!isfinite(piece[i]))
                return refuse(error, AK_ERR_NUMBER, "sample %lld of channel %lld is %g",
                              (long long)(d->frames + i / d->in), (long long)(i % d->in),
                              (double)piece[i]);
        const ak_status status = got > 0 ? make_room(d, got, error) : AK_OK;
        if (status)
            return status;
        if (got > 0)
            mix(d, piece, got, d->data + d->frames * d->out);
        d->frames += got > 0 ? got : 0;
    }
    if (sf_error(d->s.file))
        return refuse(error, AK_ERR_FORMAT, "is damaged after %lld samples: libsndfile says: "
                      "%.100s", (long long)d->frames, sf_strerror(d->s.file));
    const int64_t all = frames_of(&d->s), want = all < d->stop ? all : d->stop;
    if (d->frames < want)
        return refuse(error, AK_ERR_FORMAT, "was cut off or is damaged: %lld of %lld samples can "
                      "be read", (long long)d->frames, (long long)want);
    return d->frames ? AK_OK : refuse(error, AK_ERR_FORMAT, "has no samples");
}

/* What was decoded, at the rate that is wanted. */
static ak_status at_rate(decoding *d, int rate, ak__sound *out, char *error)
{
    const int     from = d->s.info.samplerate, to = rate ? rate : from;
    const int64_t frames = ak_sound_resampled(d->frames, from, to);
    *out = (ak__sound){ .data = d->data, .frames = frames, .channels = d->out, .rate = to,
                        .cut = d->s.source.cut, .claimed = d->s.source.claimed,
                        .held = d->frames };
    if (from == to)
        return AK_OK;
    if (frames < 1)
        return refuse(error, AK_ERR_VALUE, "no sample is left at %d samples a second", to);
    out->data = ak__malloc((size_t)(frames * d->out) * sizeof *out->data);
    const ak_status status = out->data ? ak__sound_rate(d->data, d->frames, d->out, from, to,
                                                        out->data, error)
                                       : refuse(error, AK_ERR_MEMORY, "out of memory for %lld "
                                                "samples", (long long)(frames * d->out));
    ak__free(d->data);
    d->data = status ? out->data : NULL;
    return status;
}

static ak_status decode(const char *path, const void *bytes, int64_t n, const ak_sound_options *o,
                        ak__sound *out, char *error)
{
    decoding d = { .most = o->most ? o->most : AK_SOUND_SAMPLES, .stop = INT64_MAX };
    ak_status status = stream_open(&d.s, path, bytes, n, d.most, error);
    *out = (ak__sound){ 0 };
    if (status)
        return status;
    d.in = d.s.info.channels;
    d.out = o->channels == AK_NONE ? d.in : o->channels ? o->channels : 1;
    if (o->seconds > 0)
        d.stop = (int64_t)ceil(o->seconds * d.s.info.samplerate);
    if (d.out != 1 && d.in != 1 && d.in != d.out)
        status = refuse(error, AK_ERR_VALUE, "has %d channels, which do not become %d: 1 and "
                        "AK_NONE are possible", d.in, d.out);
    if (!status)
        status = check_claim(frames_of(&d.s), d.in, d.most, error);
    if (!status)
        status = decode_all(&d, error);
    if (!status)
        status = at_rate(&d, o->rate, out, error);
    stream_close(&d.s);
    if (status) {
        ak__free(d.data);
        *out = (ak__sound){ 0 };
    }
    return status;
}

#else

static ak_status absent(char *error)
{
    return refuse(error, AK_ERR_STATE, "built without libsndfile: install libsndfile1-dev and set "
                  "up again");
}

ak_status ak__sound_info(const char *path, ak_sound_info *info, char *error)
{
    (void)path;
    *info = (ak_sound_info){ 0 };
    return absent(error);
}

static ak_status decode(const char *path, const void *bytes, int64_t n, const ak_sound_options *o,
                        ak__sound *out, char *error)
{
    (void)path, (void)bytes, (void)n, (void)o;
    *out = (ak__sound){ 0 };
    return absent(error);
}

#endif

ak_status ak__sound_decode(const char *path, const ak_sound_options *o, ak__sound *out,
                           char *error)
{
    return decode(path, NULL, 0, o, out, error);
}

ak_status ak__sound_decode_bytes(const void *bytes, int64_t n, const ak_sound_options *o,
                                 ak__sound *out, char *error)
{
    return decode(NULL, bytes, n, o, out, error);
}
