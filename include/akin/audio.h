/* SPDX-License-Identifier: Apache-2.0 */
/* akin/audio.h - files of sounds: reading, other rates, writing; views of sounds.
 *
 *     ak_tensor *x = ak_sound_read(ctx, "a.flac", (ak_sound_options){ .rate = 16000 });    // [S]
 *     ak_tensor *y = ak_mel_spectrogram(mel, x, NULL);         // akin/sound.h: [T, mels]
 *
 * WAV, FLAC, Ogg Vorbis and Ogg Opus are read, by their content, whatever a file is called. Samples
 * are numbers in [-1, 1): of 8, 16, 24 and 32 bits x / 2^(bits - 1); floats stay as they are.
 *
 * Of WAV files the chunks are found here, in any order, whether or not those of odd length are
 * padded; the data may be PCM, float, A-law or mu-law, plain or extensible, also beyond 4 GB
 * (RF64). A file that was written to a pipe does not know how long it is (0, 2^32 - 1, or from
 * 2^31 - 4096 to 2^31 - 1 bytes): it goes to the end of the file. One that says more than is there
 * was cut off: what is there is read, with a warning. FLAC and Ogg files that were cut off, and
 * several sounds one behind the other in an Ogg file, are AK_ERR_FORMAT.
 *
 * Data sets of sound files: akin/files.h. libsndfile decodes and soxr changes rates; a library that
 * was built without them says so (AK_ERR_STATE).
 */
#ifndef AKIN_AUDIO_H
#define AKIN_AUDIO_H

#include <akin/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most samples of all channels that a file may have, if .most says nothing else. */
#define AK_SOUND_SAMPLES ((int64_t)1 << 28)

typedef struct ak_sound_options {
    int     rate;       /* samples a second to be had, [1, 2^20]; 0 = the file's */
    int     channels;   /* [1, 64]: 1 is the mean of the file's; more must be as many as it has, or
                         * it has one, which each becomes. 0 = 1; AK_NONE = the file's */
    double  seconds;    /* no more than these, from the beginning on; 0 = all */
    int64_t most;       /* samples of all channels in the file; 0 = AK_SOUND_SAMPLES. What says that
                         * it has more is refused before memory is taken */
} ak_sound_options;

typedef struct ak_sound_info {
    int64_t frames;     /* samples of a channel; -1 = the file does not say (FLAC from a pipe) */
    int     rate, channels;
    bool    cut;        /* WAV: it was cut off, .frames are those that are there */
    char    format[32]; /* "WAV, 24 bit", "FLAC, 16 bit", "Ogg Vorbis", .. */
} ak_sound_info;

/* What the header of a file says.
 *
 *   returns  false on an error
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO (also: no regular file), AK_ERR_FORMAT, AK_ERR_STATE (no
 *            libsndfile)
 */
AK_API bool ak_sound_look(ak_ctx *ctx, const char *path, ak_sound_info *info);

/* Read a file.
 *
 *   shapes   returns [S], or [S, C] with .channels other than 0 and 1
 *   returns  step lifetime; the poison tensor on failure. A sound of no samples is AK_ERR_FORMAT
 *   grad     none
 *   errors   as ak_sound_look; AK_ERR_VALUE (an option out of its range, more samples than .most,
 *            another number of channels), AK_ERR_NUMBER (a float that is not finite), AK_ERR_STATE
 *            (another rate, and no soxr), AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_sound_read(ak_ctx *ctx, const char *path, ak_sound_options options);

/* Another rate: soxr's, high quality (20 bits, linear phase). The same rate gives the same bits.
 *
 *   shapes   x [S] or [S, C]; returns [R] or [R, C] with R = ak_sound_resampled(S, from, to)
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none; x is a constant
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE (rates outside [1, 2^20], no sample would be left, x needs
 *            a gradient), AK_ERR_STATE (no soxr), AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_sound_resample(const ak_tensor *x, int from, int to);
/* Samples of a sound at another rate: S to / from, rounded; 0 for samples < 1 and rates that are
 * none. */
AK_API int64_t ak_sound_resampled(int64_t samples, int from, int to);

typedef enum ak_sound_encoding {
    AK_SOUND_S16 = 0, AK_SOUND_U8, AK_SOUND_S24, AK_SOUND_S32, AK_SOUND_F32
} ak_sound_encoding;

/* Write a WAV file, whole or not at all.
 *
 *   x        [S], or [S, C] with C in [1, 64]. What is outside [-1, 1 - 2^(1 - bits)] becomes an
 *            end of that, with a warning that counts; floats stay
 *   errors   AK_ERR_SHAPE (also: no sample, more than 2^31 bytes), AK_ERR_VALUE (rate, encoding),
 *            AK_ERR_NUMBER for what is not finite, AK_ERR_STALE, AK_ERR_CONTEXT, AK_ERR_IO
 */
AK_API ak_status ak_sound_write(ak_ctx *ctx, const char *path, const ak_tensor *x, int rate,
                                ak_sound_encoding encoding);

/* ---- views ----------------------------------------------------------------------------------- */

/* For sequences and vectors (akin/data.h): samples [S, 1], frames [T, D]. A step is a sample or a
 * frame. With p = 0, or where a range holds the neutral value only, what comes out has the bits of
 * what went in. */

/* With probability p Gaussian noise, so strong that mean x^2 is ~ U[lo, hi] dB above mean noise^2.
 * Silence stays silence.  -100 <= lo <= hi <= 200 */
AK_API ak_augment ak_sound_noise(double lo, double hi, double p);
/* With probability p louder by ~ U[lo, hi] dB: x 10^(dB / 20).  -200 <= lo <= hi <= 100 */
AK_API ak_augment ak_sound_gain(double lo, double hi, double p);
/* With probability p later by round(U[-share, share] T) of its T steps. What leaves at one end
 * comes back at the other one if `around`, else zeros do.  0 <= share <= 1 */
AK_API ak_augment ak_time_shift(double share, bool around, double p);
/* A part of round(U[lo, hi] T) steps, one at least, anywhere: it becomes shorter. A vector is one
 * step.  0 < lo <= hi <= 1 */
AK_API ak_augment ak_time_crop(double lo, double hi);
/* `steps` steps that follow one another, anywhere, of a longer sequence.  1 <= steps <= 2^31 - 1 */
AK_API ak_augment ak_time_window(int64_t steps);
/* SpecAugment (Park et al., Interspeech 2019) on frames: `masks` times, t steps from t0 on become
 * the mean of the sequence: t uniform in 0 .. most, but no more than share T; t0 uniform among the
 * places where that fits.  0 <= masks <= 100, most >= 0, 0 <= share <= 1 */
AK_API ak_augment ak_time_mask(int masks, int64_t most, double share);
/* The same with `value` instead of the mean. */
AK_API ak_augment ak_time_mask_value(int masks, int64_t most, double share, double value);
/* Likewise f of the D columns, f uniform in 0 .. most (no more than D), in all steps. */
AK_API ak_augment ak_frequency_mask(int masks, int64_t most);
AK_API ak_augment ak_frequency_mask_value(int masks, int64_t most, double value);

#ifdef __cplusplus
}
#endif
#endif
