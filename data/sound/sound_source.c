/* SPDX-License-Identifier: Apache-2.0 */
/* Where the samples of a sound file lie. The chunks of a WAV are walked here, since files in the
 * wild bend the rules in ways of which decoders know some: the decoder is handed bare samples and
 * their description. Of Ogg files the pages are walked, because a decoder ends without a word at
 * the end of the first of several streams and where the file was cut off. */
#include "data/sound/sound.h"

#include "base/base.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_CHUNKS 10000       /* of a WAV: more are no sound */
#define TO_THE_END  (-1)        /* length of data that the header does not know */

static ak_status refuse(char *error, ak_status status, const char *format, ...) AK_PRINTF(3, 4);
static ak_status refuse(char *error, ak_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, AK__SOUND_ERROR, format, args);
    va_end(args);
    return status;
}

int64_t ak__sound_bytes(const ak__sound_source *s, int64_t at, void *to, int64_t n)
{
    const int64_t left = s->size - at;
    n = n < left ? n : left;
    if (at < 0 || n <= 0)
        return 0;
    if (s->bytes) {
        memcpy(to, s->bytes + at, (size_t)n);
        return n;
    }
    int64_t done = 0;
    while (done < n) {
        const ssize_t got = pread(s->fd, (char *)to + done, (size_t)(n - done),
                                  (off_t)(at + done));
        if (got <= 0 && !(got < 0 && errno == EINTR))
            break;
        done += got > 0 ? got : 0;
    }
    return done;
}

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

/* ---- WAV: what the samples are --------------------------------------------------------------- */

enum { TAG_PCM = 1, TAG_FLOAT = 3, TAG_ALAW = 6, TAG_ULAW = 7, TAG_EXTENSIBLE = 0xfffe };

/* The chunk "fmt ", of which n bytes are in p. */
static ak_status read_format(ak__sound_source *s, const uint8_t *p, int64_t n, char *error)
{
    static const uint8_t guid[14] = { 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71 };
    if (n < 16)
        return refuse(error, AK_ERR_FORMAT, "WAV: the chunk \"fmt \" has %lld bytes; 16 are needed",
                      (long long)n);
    uint32_t       tag = u16(p);
    const uint32_t channels = u16(p + 2), rate = u32(p + 4), block = u16(p + 12);
    const uint32_t bits = u16(p + 14);
    if (tag == TAG_EXTENSIBLE) {
        if (n < 40)
            return refuse(error, AK_ERR_FORMAT, "WAV: an extensible \"fmt \" of %lld bytes; 40 are "
                          "needed", (long long)n);
        if (memcmp(p + 26, guid, sizeof guid) != 0)
            return refuse(error, AK_ERR_FORMAT, "WAV: extensible, of a format that is not read; "
                          "convert it to PCM");
        tag = u16(p + 24);
    }
    if (tag != TAG_PCM && tag != TAG_FLOAT && tag != TAG_ALAW && tag != TAG_ULAW)
        return refuse(error, AK_ERR_FORMAT, "WAV: compressed (format 0x%04x); PCM, float, A-law "
                      "and mu-law are read: convert it", tag);
    if (channels < 1 || channels > AK__SOUND_CHANNELS || rate < 1 || rate > AK__SOUND_RATE)
        return refuse(error, AK_ERR_FORMAT, "WAV: %u channels of %u samples a second; 1 to %d of 1 "
                      "to %d are possible", channels, rate, AK__SOUND_CHANNELS, AK__SOUND_RATE);
    const uint32_t width = block / channels;    /* samples stand at the upper end of their bytes */
    const bool     fits = tag == TAG_PCM     ? width >= 1 && width <= 4 && bits >= 1
                          : tag == TAG_FLOAT ? width == 4 || width == 8 : width == 1;
    const bool exact = tag == TAG_FLOAT || tag == TAG_ALAW || tag == TAG_ULAW;
    if (block % channels || !fits || bits > 8 * width || (exact && bits != 8 * width))
        return refuse(error, AK_ERR_FORMAT, "WAV: %u channels of %u bits in blocks of %u bytes do "
                      "not fit together", channels, bits, block);
    s->kind = tag == TAG_PCM     ? AK__SOUND_PCM
              : tag == TAG_FLOAT ? AK__SOUND_FLOATS
              : tag == TAG_ALAW  ? AK__SOUND_ALAW : AK__SOUND_ULAW;
    s->channels = (int)channels;
    s->rate = (int)rate;
    s->width = (int)width;
    return AK_OK;
}

/* ---- WAV: the chunks ------------------------------------------------------------------------- */

typedef struct wav_walk {
    ak__sound_source *s;
    bool     large;             /* RF64 */
    uint64_t large_data;        /* bytes, of the chunk "ds64" */
    bool     format, data;      /* found */
    int64_t  data_at;
    uint64_t data_bytes;        /* as the header says */
    bool     unknown;           /* .. which it does not */
} wav_walk;

/* Lengths that are written where none is known yet: by ffmpeg, by sox, by a program that ended
 * before it could. A chunk of no bytes that ends the file is an empty one. */
static bool no_length(const wav_walk *w, uint32_t length, int64_t body)
{
    return length == UINT32_MAX || (length >= 0x7ffff000u && length <= 0x7fffffffu) ||
           (length == 0 && body < w->s->size);
}

/* A name of a chunk: four printable characters. */
static bool named(const uint8_t *p)
{
    for (int i = 0; i < 4; i++)
        if (p[i] < 0x20 || p[i] > 0x7e)
            return false;
    return true;
}

/* Where the chunk behind one begins. One of an odd length is filled up by a byte, but not all
 * writers know: where no zero follows and four characters do, these are the next chunk's name. */
static int64_t behind(const wav_walk *w, int64_t body, uint64_t length)
{
    const int64_t left = w->s->size - body;
    if (length >= (uint64_t)(left > 0 ? left : 0))
        return w->s->size;
    const int64_t end = body + (int64_t)length;
    uint8_t       p[4] = { 0 };
    if (length % 2 == 0)
        return end;
    return ak__sound_bytes(w->s, end, p, 4) == 4 && named(p) ? end : end + 1;
}

static ak_status walk_chunks(wav_walk *w, char *error)
{
    int64_t at = 12;
    for (int k = 0; k < MOST_CHUNKS && !(w->format && w->data); k++) {
        uint8_t       head[8], p[40];
        const int64_t body = at + 8;
        if (ak__sound_bytes(w->s, at, head, 8) < 8)
            return AK_OK;
        uint64_t length = u32(head + 4);
        if (memcmp(head, "ds64", 4) == 0 && w->large) {
            if (ak__sound_bytes(w->s, body, p, 24) == 24)
                w->large_data = u64(p + 8);
        } else if (memcmp(head, "fmt ", 4) == 0 && !w->format) {
            const int64_t n = length < sizeof p ? (int64_t)length : (int64_t)sizeof p;
            const ak_status status = read_format(w->s, p, ak__sound_bytes(w->s, body, p, n),
                                                 error);
            if (status)
                return status;
            w->format = true;
        } else if (memcmp(head, "data", 4) == 0 && !w->data) {
            if (w->large && length == UINT32_MAX)
                length = w->large_data;
            else
                w->unknown = no_length(w, (uint32_t)length, body);
            w->data = true;
            w->data_at = body;
            w->data_bytes = length;
            if (w->unknown)
                return AK_OK;
        }
        at = behind(w, body, length);
    }
    return AK_OK;
}

static ak_status open_wav(ak__sound_source *s, bool large, char *error)
{
    wav_walk  w = { .s = s, .large = large };
    ak_status status = walk_chunks(&w, error);
    if (status)
        return status;
    if (!w.format || !w.data)
        return refuse(error, AK_ERR_FORMAT, "WAV: has no chunk \"%s\"%s",
                      w.format ? "data" : "fmt ",
                      w.data && w.unknown ? " before data of unknown length" : "");
    const uint64_t block = (uint64_t)(s->channels * s->width), left = (uint64_t)(s->size -
                                                                                 w.data_at);
    const uint64_t bytes = w.unknown || w.data_bytes > left ? left : w.data_bytes;
    s->at = w.data_at;
    s->length = (int64_t)(bytes / block * block);
    s->claimed = (int64_t)((w.unknown ? bytes : w.data_bytes) / block);
    s->cut = !w.unknown && (w.data_bytes > left || w.data_bytes % block != 0);
    return AK_OK;
}

/* ---- FLAC ------------------------------------------------------------------------------------ */

/* The block STREAMINFO, which is the first one. */
static ak_status open_flac(ak__sound_source *s, int64_t at, char *error)
{
    uint8_t p[42];
    if (ak__sound_bytes(s, at, p, 42) < 42 || (p[4] & 0x7f) != 0)
        return refuse(error, AK_ERR_FORMAT, "FLAC: the file ends in its header, or has none");
    s->kind = AK__SOUND_FLAC;
    s->at = at;
    s->length = s->size - at;
    s->rate = p[18] << 12 | p[19] << 4 | p[20] >> 4;
    s->channels = (p[20] >> 1 & 7) + 1;
    const int64_t frames = (int64_t)(p[21] & 15) << 32 | (int64_t)p[22] << 24 |
                           (int64_t)p[23] << 16 | (int64_t)p[24] << 8 | p[25];
    s->claimed = frames ? frames : -1;
    return AK_OK;
}

/* ---- Ogg ------------------------------------------------------------------------------------- */

typedef struct ogg_page {
    int      flags;             /* 1 continued, 2 the first, 4 the last of its stream */
    int64_t  granule;
    uint32_t stream;
    int64_t  body, end;         /* where its packets begin, where the page ends */
    bool     whole;             /* all of it is there */
} ogg_page;

static bool read_page(const ak__sound_source *s, int64_t at, ogg_page *page)
{
    uint8_t p[27 + 255];
    const int64_t n = ak__sound_bytes(s, at, p, sizeof p);
    if (n < 27 || memcmp(p, "OggS", 4) != 0 || p[4] != 0)
        return false;
    *page = (ogg_page){ .flags = p[5], .granule = (int64_t)u64(p + 6), .stream = u32(p + 14) };
    page->body = page->end = at + 27 + p[26];
    for (int i = 0; i < p[26] && 27 + i < n; i++)
        page->end += p[27 + i];
    page->whole = n >= 27 + p[26] && page->end <= s->size;
    return true;
}

static ak_status ogg_codec(ak__sound_source *s, const ogg_page *first, char *error)
{
    uint8_t       p[16] = { 0 };
    const int64_t n = ak__sound_bytes(s, first->body, p, 16);
    if (n == 16 && memcmp(p, "\001vorbis", 7) == 0) {
        s->kind = AK__SOUND_VORBIS;
        s->channels = p[11];
        s->rate = (int)(u32(p + 12) <= AK__SOUND_RATE ? u32(p + 12) : 0);
    } else if (n == 16 && memcmp(p, "OpusHead", 8) == 0) {
        s->kind = AK__SOUND_OPUS;
        s->channels = p[9];
        s->rate = 48000;
    } else {
        return refuse(error, AK_ERR_FORMAT, "Ogg: holds neither Vorbis nor Opus; convert it");
    }
    return AK_OK;
}

static ak_status open_ogg(ak__sound_source *s, char *error)
{
    ogg_page page;
    bool     ended = false;
    int64_t  at = 0, last = 0;
    uint32_t stream = 0;
    s->length = s->size;
    for (; read_page(s, at, &page); at = page.end) {
        if (!page.whole)
            return refuse(error, AK_ERR_FORMAT, "Ogg: was cut off after %lld bytes, inside of a "
                          "page", (long long)s->size);
        if (at == 0) {
            const ak_status status = ogg_codec(s, &page, error);
            if (status)
                return status;
            stream = page.stream;
        } else if (page.flags & 2 || page.stream != stream) {
            return refuse(error, AK_ERR_FORMAT, "Ogg: holds several streams, the second from byte "
                          "%lld on; write each to a file of its own", (long long)at);
        }
        ended = ended || page.flags & 4;
        last = page.granule > last ? page.granule : last;
    }
    if (!ended)
        return refuse(error, AK_ERR_FORMAT, "Ogg: %s byte %lld; the end of the stream is missing",
                      at < s->size ? "is damaged at" : "was cut off at", (long long)at);
    s->length = at;                     /* what follows (tags of other formats) is no sound */
    s->claimed = last;
    return AK_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static ak_status open_file(ak__sound_source *s, const char *path, char *error)
{
    struct stat st;
    s->fd = ak__open_file(path, O_RDONLY | O_NONBLOCK);     /* a FIFO would wait for a writer */
    if (s->fd < 0)
        return errno == ENOENT || errno == ENOTDIR
               ? refuse(error, AK_ERR_NOT_FOUND, "no such file")
               : refuse(error, AK_ERR_IO, "cannot be opened: %s", strerror(errno));
    if (fstat(s->fd, &st) != 0)
        return refuse(error, AK_ERR_IO, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(error, AK_ERR_IO, "is %s, no regular file", ak__file_kind(st.st_mode));
    s->size = (int64_t)st.st_size;
    return AK_OK;
}

/* Tags of MP3 players stand in front of some FLAC files. */
static int64_t behind_tags(const uint8_t *p, int64_t n)
{
    if (n < 10 || memcmp(p, "ID3", 3) != 0 || (p[6] | p[7] | p[8] | p[9]) & 0x80)
        return 0;
    return 10 + ((int64_t)p[6] << 21 | (int64_t)p[7] << 14 | (int64_t)p[8] << 7 | p[9]);
}

static ak_status look(ak__sound_source *s, char *error)
{
    uint8_t       p[12] = { 0 };
    const int64_t n = ak__sound_bytes(s, 0, p, 12);
    if (n == 0)
        return refuse(error, AK_ERR_FORMAT, "is empty");
    const bool riff = memcmp(p, "RIFF", 4) == 0, large = memcmp(p, "RF64", 4) == 0;
    if (n == 12 && (riff || large) && memcmp(p + 8, "WAVE", 4) == 0)
        return open_wav(s, large, error);
    if (memcmp(p, "OggS", 4) == 0)
        return open_ogg(s, error);
    const int64_t at = behind_tags(p, n);
    uint8_t       magic[4] = { 0 };
    ak__sound_bytes(s, at, magic, 4);
    if (memcmp(magic, "fLaC", 4) == 0)
        return open_flac(s, at, error);
    return refuse(error, AK_ERR_FORMAT, "is no WAV, FLAC or Ogg file");
}

ak_status ak__sound_open(ak__sound_source *s, const char *path, const void *bytes, int64_t n,
                         char *error)
{
    *s = (ak__sound_source){ .bytes = bytes, .fd = -1, .size = n };
    ak_status status = path ? open_file(s, path, error) : AK_OK;
    if (!status)
        status = look(s, error);
    if (status)
        ak__sound_close(s);
    return status;
}

void ak__sound_close(ak__sound_source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void ak__sound_format(const ak__sound_source *s, int bits, char *text, size_t room)
{
    switch (s->kind) {
    case AK__SOUND_PCM: case AK__SOUND_FLOATS:
        snprintf(text, room, "WAV, %d bit%s", 8 * s->width,
                 s->kind == AK__SOUND_FLOATS ? " float" : "");
        return;
    case AK__SOUND_ALAW: case AK__SOUND_ULAW:
        snprintf(text, room, "WAV, %s", s->kind == AK__SOUND_ALAW ? "A-law" : "mu-law");
        return;
    case AK__SOUND_FLAC:
        if (bits)
            snprintf(text, room, "FLAC, %d bit", bits);
        else
            snprintf(text, room, "FLAC");
        return;
    case AK__SOUND_VORBIS: case AK__SOUND_OPUS:
        snprintf(text, room, "Ogg %s", s->kind == AK__SOUND_VORBIS ? "Vorbis" : "Opus");
        return;
    }
}
