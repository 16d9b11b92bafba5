/* SPDX-License-Identifier: Apache-2.0 */
/* Files of sounds, inside: where the samples of a file lie, and decoding on threads that have no
 * context. */
#ifndef AK_DATA_SOUND_SOUND_H
#define AK_DATA_SOUND_SOUND_H

#include <akin/audio.h>

#define AK__SOUND_ERROR    200          /* room for what was wrong */
#define AK__SOUND_RATE     (1 << 20)    /* the highest one */
#define AK__SOUND_CHANNELS 64

/* ---- the file, before anything is decoded (sound_source.c) ----------------------------------- */

typedef enum ak__sound_kind {
    AK__SOUND_PCM, AK__SOUND_FLOATS, AK__SOUND_ALAW, AK__SOUND_ULAW,    /* of WAV */
    AK__SOUND_FLAC, AK__SOUND_VORBIS, AK__SOUND_OPUS
} ak__sound_kind;

/* An open file, or bytes in memory, and which part of it holds the samples or the stream. */
typedef struct ak__sound_source {
    const uint8_t *bytes;               /* NULL: a file */
    int            fd;
    int64_t        size;
    ak__sound_kind kind;
    int64_t        at, length;          /* of the part: samples of a WAV, else the stream */
    int            channels, rate, width;   /* of a WAV; bytes of a sample */
    int64_t        claimed;             /* frames by the header; -1 = it does not say */
    bool           cut;                 /* WAV: fewer are there */
} ak__sound_source;

/* Open a file, or bytes (path is NULL then), and look at its header. Nothing is held after a
 * failure; error, of AK__SOUND_ERROR bytes, says why. No error is recorded anywhere. */
ak_status ak__sound_open(ak__sound_source *s, const char *path, const void *bytes, int64_t n,
                         char *error);
void ak__sound_close(ak__sound_source *s);
/* Up to n bytes from place `at` of the file; how many there were. */
int64_t ak__sound_bytes(const ak__sound_source *s, int64_t at, void *to, int64_t n);
/* How it is called: "WAV, 24 bit". bits of FLAC: 0 = not known. */
void ak__sound_format(const ak__sound_source *s, int bits, char *text, size_t room);

/* ---- decoding (sound_decode.c) --------------------------------------------------------------- */

typedef struct ak__sound {
    ak_real *data;              /* [frames, channels] of ak__malloc */
    int64_t  frames;
    int      channels, rate;
    bool     cut;               /* WAV: the header says .claimed frames, the file has .held */
    int64_t  claimed, held;
} ak__sound;

/* What is wrong with options; NULL if nothing. */
const char *ak__sound_options_fault(const ak_sound_options *o);
/* What the header says, by the decoder's own word. */
ak_status ak__sound_info(const char *path, ak_sound_info *info, char *error);
/* Decode a file: channels and rate as the options say. For worker threads: several at a time,
 * nothing is recorded. out->data is the caller's, for ak__free. */
ak_status ak__sound_decode(const char *path, const ak_sound_options *o, ak__sound *out,
                           char *error);
/* The same of bytes in memory. */
ak_status ak__sound_decode_bytes(const void *bytes, int64_t n, const ak_sound_options *o,
                                 ak__sound *out, char *error);

/* ---- rates (sound_rate.c) -------------------------------------------------------------------- */

/* x [frames, channels] to y [ak_sound_resampled(frames, from, to), channels]. */
ak_status ak__sound_rate(const ak_real *x, int64_t frames, int channels, int from, int to,
                         ak_real *y, char *error);

/* ---- views (sound_views.c) ------------------------------------------------------------------- */

/* Kinds of augmentation, ended by NULL. */
extern const ak_augment_kind *const ak__sound_augmentations[];

#endif
