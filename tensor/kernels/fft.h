/* SPDX-License-Identifier: Apache-2.0 */
/* Fourier transforms of AK_FFT_LANES series at once: number t of all of them is one run of lanes,
 * so that every butterfly works on whole vectors, whatever the length of the series.
 *
 * Mixed radix in the form of Stockham: each pass reads one buffer and writes the other, and the
 * result comes out in order. A pass of radix p over parts of n = p m numbers that stand s apart:
 *
 *     y[j + s (p q + l)] = w^(l q) sum_k x[j + s (q + m k)] e^(-2 pi i k l / p)
 *
 * with w = e^(-2 pi i / n), for q < m, j < s, l < p; the next pass has n = m, s p. A prime above 5
 * is a pass of its own, with p^2 multiplications. */
#ifndef AK_FFT_H
#define AK_FFT_H

#include <akin/core.h>

#define AK_FFT_LANES 16
/* Of a length below 2^31: as many as it has factors of two. */
#define AK_FFT_PASSES 32

typedef struct ak__fft_pass {
    int64_t radix, m, s;
    const ak_real *turns;       /* [m, radix - 1, 2] w^(l q), l from 1 */
    const ak_real *roots;       /* [radix, 2] cos and sin of 2 pi l / radix */
} ak__fft_pass;

/* Of series of n real numbers. n even: a complex transform of the n/2 pairs of neighbours, whose
 * result is taken apart; n odd: of all n, with imaginary parts 0. */
typedef struct ak__fft {
    int64_t n, N;               /* N: points of the complex transform */
    int     passes;
    ak__fft_pass pass[AK_FFT_PASSES];
    const ak_real *halves;      /* n even: [N/2 + 1, 2] cos and sin of 2 pi k / n */
} ak__fft;

/* ak_reals of one buffer. */
#define AK_FFT_SIZE(plan) (2 * ((plan)->N + 1) * AK_FFT_LANES)

#endif
