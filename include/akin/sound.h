/* SPDX-License-Identifier: Apache-2.0 */
/* akin/sound.h - spectra of sounds on the mel scale: what encoders of sound take.
 *
 * The values are those of librosa.feature.melspectrogram (power 2, zeros as padding), and of
 * log(max(y, floor)) and librosa.power_to_db of them.
 *
 *     ak_mel *mel = ak_mel_make(ctx, (ak_mel_options){ .rate = 16000, .n_fft = 400, .hop = 160,
 *         .mels = 80, .scale = AK_MEL_SLANEY, .norm = AK_MEL_AREA, .form = AK_MEL_LOG });
 *     ak_tensor *y = ak_mel_spectrogram(mel, sounds, lengths);            // [N, T, 80]
 *     ak_index *frames = ak_mel_lengths(mel, lengths);                    // [N]
 */
#ifndef AKIN_SOUND_H
#define AKIN_SOUND_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ak_mel ak_mel;

/* Scale and norm have no default: libraries differ, and a wrong one is found late. */
typedef enum ak_mel_scale {
    AK_MEL_SLANEY = 1,          /* linear up to 1000 Hz, logarithmic above: librosa's default */
    AK_MEL_HTK                  /* 2595 log10(1 + f / 700) */
} ak_mel_scale;
typedef enum ak_mel_norm {
    AK_MEL_AREA = 1,            /* triangles of equal area, 2 / width high: librosa's "slaney" */
    AK_MEL_PEAK                 /* all 1 high: librosa's None */
} ak_mel_norm;
typedef enum ak_mel_form {
    AK_MEL_POWER = 0,           /* y */
    AK_MEL_LOG,                 /* log(max(y, floor)) */
    AK_MEL_DB                   /* 10 log10(max(y, floor)), see top_db */
} ak_mel_form;

typedef struct ak_mel_options {
    double rate;        /* samples a second, > 0 */
    int    n_fft;       /* length of the transform, [2, 2^20]: any; primes take long; 0 = 2048 */
    int    window;      /* length of the Hann window (periodic) in its middle; 0 = n_fft */
    int    hop;         /* samples from one frame to the next; 0 = n_fft / 4 */
    int    mels;        /* triangles, [1, 2^16]; 0 = 128 */
    double fmin, fmax;  /* Hz, 0 <= fmin < fmax <= rate / 2; fmax 0 = rate / 2 */
    ak_mel_scale scale;
    ak_mel_norm  norm;
    bool   no_center;   /* frames begin at sample t hop; else their middle is there, and the sound
                         * has n_fft / 2 zeros on both sides */
    ak_mel_form form;
    double floor;       /* > 0; 0 = 1e-10 */
    double top_db;      /* AK_MEL_DB: nothing below the loudest of the sound less this; 0 = no limit
                         * (librosa.power_to_db has 80) */
} ak_mel_options;

/* Everything that can be worked out before the first sound; context lifetime. Nothing changes it
 * afterwards. A filter bank with triangles too narrow for a bin, whose results are always 0, gives
 * a warning.
 *
 *   errors    AK_ERR_VALUE, naming the option; AK_ERR_MEMORY
 */
AK_API ak_mel *ak_mel_make(ak_ctx *ctx, ak_mel_options o);
/* What it was made with, defaults filled in; all zero for NULL. */
AK_API ak_mel_options ak_mel_settings(const ak_mel *m);
/* Frames of a sound of so many samples: (samples + padding - n_fft) / hop + 1; 0 for a sound that
 * is empty or, with .no_center, shorter than n_fft. -1 after an error (NULL). */
AK_API int64_t ak_mel_frames(const ak_mel *m, int64_t samples);
/* The same of an index array of lengths, of the step.
 * errors: AK_ERR_VALUE for a length below 0 (the poison index) */
AK_API ak_index *ak_mel_lengths(const ak_mel *m, const ak_index *lengths);

/* Spectra of a batch.
 *
 *   x         [N, S] samples, or [S]; lengths [N] in [0, S]: what is behind is not read; NULL = S
 *   returns   [N, T, mels], or [T, mels], T = ak_mel_frames(m, S); frames from
 *             ak_mel_frames(m, length) on are 0. Belongs to the step. A sound's frames are those of
 *             the sound alone, to the bit
 *   grad      by x; none through floor and top_db (where y is not above them). top_db's largest
 *             number counts as a constant
 *   errors    AK_ERR_SHAPE; AK_ERR_VALUE for lengths
 */
AK_API ak_tensor *ak_mel_spectrogram(const ak_mel *m, ak_tensor *x, ak_index *lengths);
/* Spectra of one sound, for threads that read data: no tape, no step, the same bits. Several
 * threads may share m. Memory to work in is kept for the next call: a thread that finds none free
 * asks the system once.
 *
 *   x         [samples];  y [ak_mel_frames(m, samples), mels], written
 *   returns   AK_OK; AK_ERR_MEMORY, which is not recorded (a context belongs to one thread)
 *   errors    AK_ERR_VALUE for NULL and for samples < 0
 */
AK_API ak_status ak_mel_run(const ak_mel *m, const ak_real *x, int64_t samples, ak_real *y);

#ifdef __cplusplus
}
#endif
#endif
