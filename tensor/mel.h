/* SPDX-License-Identifier: Apache-2.0 */
/* Mel power spectra of sounds, as librosa defines them: frames under a window, their Fourier
 * transforms, triangles over the bins.
 *
 * It stands here, below ops and data alike, because both have a use for it: an op puts the spectra
 * of a batch on the tape, a loader's threads make those of items. Everything that can be worked out
 * before the first sound is in the object, which nobody changes afterwards, so threads share it. */
#ifndef AK_MEL_H
#define AK_MEL_H

#include "base/base.h"
#include "kernels/fft.h"

/* All in range: the public functions see to it. */
typedef struct ak__mel_spec {
    double  rate, fmin, fmax;
    int64_t n_fft, window, hop, mels;
    bool    htk, slaney_norm, center;
} ak__mel_spec;

/* Bins first .. first + count - 1 with weights from `at` on. */
typedef struct ak__mel_triangle { int64_t first, count, at; } ak__mel_triangle;

typedef struct ak__mel {
    ak__mel_spec spec;
    ak__fft  fft;
    int64_t  bins, lead;            /* bins of the spectrum; zeros before the window in a frame */
    const ak_real *window;          /* [spec.window] */
    const ak__mel_triangle *bank;   /* [mels] */
    const ak_real *weights;
    int64_t  empty;                 /* triangles without a bin */
} ak__mel;

/* Context lifetime. False: out of memory, recorded. */
bool ak__mel_make(ak__mel *m, ak_ctx *ctx, ak__mel_spec spec);
/* Frames of a sound, 0 for one that is too short. */
int64_t ak__mel_frames(const ak__mel *m, int64_t samples);
/* Up to so many frames are made at once; */
#define AK_MEL_BLOCK AK_FFT_LANES
/* ak_reals that it needs for them, aligned to 64 bytes. */
int64_t ak__mel_work(const ak__mel *m);
/* y [count, mels] = spectra of frames begin .. begin + count - 1 of x [samples]. */
void ak__mel_block(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                   int64_t count, ak_real *y, ak_real *work);
/* dx [samples] += their gradient, from dy [count, mels]. */
void ak__mel_slope(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                   int64_t count, const ak_real *dy, ak_real *dx, ak_real *work);

#endif
