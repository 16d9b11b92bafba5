/* SPDX-License-Identifier: Apache-2.0 */
/* The passes of fft.h, written once over a vector type of AK_FFT_LANES numbers that the compiler
 * splits into registers of the instruction set. ref.c's companion fft_ref.c, avx2.c and avx512.c
 * include this file once each and define FFT(name) first. No products are fused: the bits are the
 * same everywhere. */
#include "fft.h"

typedef ak_real fft_lanes
    __attribute__((vector_size(AK_FFT_LANES * sizeof(ak_real)), aligned(64), may_alias));

#define FFT_INLINE static inline __attribute__((always_inline, unused))

/* A pass as its inner loops see it: part q of m, its turns; `turned` is constant where it is called
 * and false for q = 0, whose turns are 1. */
typedef struct fft_part {
    const fft_lanes *x;         /* at q s */
    fft_lanes       *y;         /* at p q s */
    int64_t          s, step;   /* step: s m, from one k to the next */
    const ak_real   *turns;
} fft_part;

/* y(l) = (re + i im) w^(l q) */
#define FFT_PUT(l, re, im)                                                                         \
    do {                                                                                           \
        const fft_lanes re_ = (re), im_ = (im);                                                    \
        fft_lanes *to_ = p->y + 2 * (j + (l) * p->s);                                              \
        if (turned && (l) > 0) {                                                                   \
            const ak_real c_ = p->turns[2 * (l) - 2], s_ = p->turns[2 * (l) - 1];                  \
            to_[0] = re_ * c_ - im_ * s_;                                                          \
            to_[1] = re_ * s_ + im_ * c_;                                                          \
        } else {                                                                                   \
            to_[0] = re_;                                                                          \
            to_[1] = im_;                                                                          \
        }                                                                                          \
    } while (0)
#define FFT_RE(k) (p->x[2 * (j + (k) * p->step)])
#define FFT_IM(k) (p->x[2 * (j + (k) * p->step) + 1])

FFT_INLINE void fft_part2(const fft_part *p, bool turned)
{
    for (int64_t j = 0; j < p->s; j++) {
        const fft_lanes a = FFT_RE(0), b = FFT_IM(0), c = FFT_RE(1), d = FFT_IM(1);
        FFT_PUT(0, a + c, b + d);
        FFT_PUT(1, a - c, b - d);
    }
}

FFT_INLINE void fft_part3(const fft_part *p, bool turned)
{
    const ak_real sine = (ak_real)0.86602540378443864676;
    for (int64_t j = 0; j < p->s; j++) {
        const fft_lanes sr = FFT_RE(1) + FFT_RE(2), si = FFT_IM(1) + FFT_IM(2);
        const fft_lanes dr = (FFT_RE(1) - FFT_RE(2)) * sine, di = (FFT_IM(1) - FFT_IM(2)) * sine;
        const fft_lanes ur = FFT_RE(0) - sr * (ak_real)0.5, ui = FFT_IM(0) - si * (ak_real)0.5;
        FFT_PUT(0, FFT_RE(0) + sr, FFT_IM(0) + si);
        FFT_PUT(1, ur + di, ui - dr);
        FFT_PUT(2, ur - di, ui + dr);
    }
}

FFT_INLINE void fft_part4(const fft_part *p, bool turned)
{
    for (int64_t j = 0; j < p->s; j++) {
        const fft_lanes ar = FFT_RE(0) + FFT_RE(2), ai = FFT_IM(0) + FFT_IM(2);
        const fft_lanes br = FFT_RE(0) - FFT_RE(2), bi = FFT_IM(0) - FFT_IM(2);
        const fft_lanes cr = FFT_RE(1) + FFT_RE(3), ci = FFT_IM(1) + FFT_IM(3);
        const fft_lanes dr = FFT_RE(1) - FFT_RE(3), di = FFT_IM(1) - FFT_IM(3);
        FFT_PUT(0, ar + cr, ai + ci);
        FFT_PUT(1, br + di, bi - dr);
        FFT_PUT(2, ar - cr, ai - ci);
        FFT_PUT(3, br - di, bi + dr);
    }
}

FFT_INLINE void fft_part5(const fft_part *p, bool turned)
{
    const ak_real c1 = (ak_real)0.30901699437494742410, s1 = (ak_real)0.95105651629515357212;
    const ak_real c2 = (ak_real)-0.80901699437494742410, s2 = (ak_real)0.58778525229247312917;
    for (int64_t j = 0; j < p->s; j++) {
        const fft_lanes r0 = FFT_RE(0), i0 = FFT_IM(0);
        const fft_lanes ar = FFT_RE(1) + FFT_RE(4), ai = FFT_IM(1) + FFT_IM(4);
        const fft_lanes br = FFT_RE(1) - FFT_RE(4), bi = FFT_IM(1) - FFT_IM(4);
        const fft_lanes cr = FFT_RE(2) + FFT_RE(3), ci = FFT_IM(2) + FFT_IM(3);
        const fft_lanes dr = FFT_RE(2) - FFT_RE(3), di = FFT_IM(2) - FFT_IM(3);
        const fft_lanes ur = r0 + ar * c1 + cr * c2, ui = i0 + ai * c1 + ci * c2;
        const fft_lanes hr = bi * s1 + di * s2, hi = br * s1 + dr * s2;
        const fft_lanes er = r0 + ar * c2 + cr * c1, ei = i0 + ai * c2 + ci * c1;
        const fft_lanes fr = bi * s2 - di * s1, fi = br * s2 - dr * s1;
        FFT_PUT(0, r0 + ar + cr, i0 + ai + ci);
        FFT_PUT(1, ur + hr, ui - hi);
        FFT_PUT(2, er + fr, ei - fi);
        FFT_PUT(3, er - fr, ei + fi);
        FFT_PUT(4, ur - hr, ui + hi);
    }
}

/* Any odd p: inputs k and p - k go with the same cosine and opposite sines, outputs likewise. */
FFT_INLINE void fft_part_any(const fft_part *p, bool turned, int64_t radix, const ak_real *roots)
{
    for (int64_t j = 0; j < p->s; j++) {
        fft_lanes sr = FFT_RE(0), si = FFT_IM(0);
        for (int64_t k = 1; k < radix; k++) {
            sr += FFT_RE(k);
            si += FFT_IM(k);
        }
        FFT_PUT(0, sr, si);
        for (int64_t l = 1; 2 * l < radix; l++) {
            fft_lanes ur = FFT_RE(0), ui = FFT_IM(0), hr = { 0 }, hi = { 0 };
            for (int64_t k = 1, at = l; 2 * k < radix; k++, at = (at + l) % radix) {
                const ak_real c = roots[2 * at], s = roots[2 * at + 1];
                ur += (FFT_RE(k) + FFT_RE(radix - k)) * c;
                ui += (FFT_IM(k) + FFT_IM(radix - k)) * c;
                hr += (FFT_IM(k) - FFT_IM(radix - k)) * s;
                hi += (FFT_RE(k) - FFT_RE(radix - k)) * s;
            }
            FFT_PUT(l, ur + hr, ui - hi);
            FFT_PUT(radix - l, ur - hr, ui + hi);
        }
    }
}

FFT_INLINE void fft_part_of(const fft_part *p, const ak__fft_pass *pass, bool turned)
{
    switch (pass->radix) {
    case 2: fft_part2(p, turned); return;
    case 3: fft_part3(p, turned); return;
    case 4: fft_part4(p, turned); return;
    case 5: fft_part5(p, turned); return;
    default: fft_part_any(p, turned, pass->radix, pass->roots); return;
    }
}

FFT_INLINE void fft_one_pass(const ak__fft_pass *pass, const fft_lanes *x, fft_lanes *y)
{
    const int64_t s = pass->s, radix = pass->radix;
    fft_part p = { .x = x, .y = y, .s = s, .step = s * pass->m };
    fft_part_of(&p, pass, false);
    for (int64_t q = 1; q < pass->m; q++) {
        p.x = x + 2 * q * s;
        p.y = y + 2 * q * s * radix;
        p.turns = pass->turns + 2 * q * (radix - 1);
        fft_part_of(&p, pass, true);
    }
}

static ak_real *FFT(fft)(const ak__fft *plan, ak_real *z, ak_real *spare)
{
    for (int i = 0; i < plan->passes; i++) {
        fft_one_pass(&plan->pass[i], (const fft_lanes *)z, (fft_lanes *)spare);
        ak_real *const done = spare;
        spare = z;
        z = done;
    }
    return z;
}

/* The spectrum of n = 2 N real numbers from that of their pairs, at k and N - k at once: with E and
 * O the spectra of even and odd numbers, X_k = E_k + w^k O_k and X_(N-k) = conj(E_k - w^k O_k). */
static void FFT(fft_real)(const ak__fft *plan, ak_real *z)
{
    const int64_t N = plan->N;
    const ak_real half = (ak_real)0.5;
    fft_lanes *x = (fft_lanes *)z;
    if (plan->n % 2)
        return;
    x[2 * N] = x[0];
    x[2 * N + 1] = x[1];
    for (int64_t k = 0; 2 * k <= N; k++) {
        fft_lanes *here = x + 2 * k, *there = x + 2 * (N - k);
        const ak_real c = plan->halves[2 * k], s = plan->halves[2 * k + 1];
        const fft_lanes er = (here[0] + there[0]) * half, ei = (here[1] - there[1]) * half;
        const fft_lanes gr = (here[1] + there[1]) * half, gi = (there[0] - here[0]) * half;
        const fft_lanes tr = gr * c + gi * s, ti = gi * c - gr * s;
        there[0] = er - tr;
        there[1] = ti - ei;
        here[0] = er + tr;
        here[1] = ei + ti;
    }
}

static void FFT(fft_power)(ak_real *power, const ak_real *z, int64_t bins)
{
    const fft_lanes *x = (const fft_lanes *)z;
    fft_lanes *p = (fft_lanes *)power;
    for (int64_t k = 0; k < bins; k++)
        p[k] = x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1];
}
