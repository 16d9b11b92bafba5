/* SPDX-License-Identifier: Apache-2.0 */
/* Mel power spectra: the window, the bank of triangles, blocks of frames forward and backward. */
#include "mel.h"

#include "base/carve.h"
#include "base/whole.h"
#include "fft_plan.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#define LANES AK_FFT_LANES
#define PI 3.14159265358979323846

/* ---- scales ---------------------------------------------------------------------------------- */

/* Slaney's Auditory Toolbox: linear up to 1000 Hz, then 27 steps to 6.4 times as much. */
#define LINEAR_HZ (200.0 / 3)
#define LINEAR_END 1000.0

static double log_step(void) { return log(6.4) / 27; }

static double mel_of(double hz, bool htk)
{
    if (htk)
        return 2595 * log10(1 + hz / 700);
    return hz < LINEAR_END ? hz / LINEAR_HZ
                           : LINEAR_END / LINEAR_HZ + log(hz / LINEAR_END) / log_step();
}

static double hz_of(double mel, bool htk)
{
    if (htk)
        return 700 * (pow(10, mel / 2595) - 1);
    const double end = LINEAR_END / LINEAR_HZ;
    return mel < end ? mel * LINEAR_HZ : LINEAR_END * exp(log_step() * (mel - end));
}

/* ---- the object ------------------------------------------------------------------------------ */

/* Corner i of mels + 2, evenly spaced on the scale. */
static double corner(const ak__mel_spec *s, int64_t i)
{
    const double lo = mel_of(s->fmin, s->htk), hi = mel_of(s->fmax, s->htk);
    return hz_of(lo + (hi - lo) * (double)i / (double)(s->mels + 1), s->htk);
}

/* Weight of bin k in triangle i. */
static double weight_at(const ak__mel_spec *s, int64_t k, double left, double top, double right)
{
    const double hz = (double)k * s->rate / (double)s->n_fft;
    const double rising = (hz - left) / (top - left), falling = (right - hz) / (right - top);
    const double w = fmin(rising, falling);
    return w > 0 ? s->slaney_norm ? w * 2 / (right - left) : w : 0;
}

/* The bank; weights NULL: count only. Returns how many weights there are. */
static int64_t fill_bank(ak__mel *m, ak__mel_triangle *bank, ak_real *weights)
{
    const ak__mel_spec *s = &m->spec;
    int64_t at = 0;
    m->empty = 0;
    for (int64_t i = 0; i < s->mels; i++) {
        const double left = corner(s, i), top = corner(s, i + 1), right = corner(s, i + 2);
        ak__mel_triangle t = { .at = at };
        for (int64_t k = 0; k < m->bins; k++) {
            const double w = weight_at(s, k, left, top, right);
            if (!(w > 0))
                continue;
            if (t.count++ == 0)
                t.first = k;
            if (weights)
                weights[at] = (ak_real)w;
            at++;
        }
        m->empty += t.count == 0;
        if (weights)
            bank[i] = t;
    }
    return at;
}

bool ak__mel_make(ak__mel *m, ak_ctx *ctx, ak__mel_spec spec)
{
    *m = (ak__mel){ .spec = spec, .bins = spec.n_fft / 2 + 1,
                    .lead = (spec.n_fft - spec.window) / 2 };
    ak_real *window = ak__ctx_alloc(ctx, (size_t)spec.window * sizeof *window);
    ak_real *weights = ak__ctx_alloc(ctx, (size_t)(fill_bank(m, NULL, NULL) + 1) * sizeof *weights);
    ak__mel_triangle *bank = ak__ctx_alloc(ctx, (size_t)spec.mels * sizeof *bank);
    if (!window || !weights || !bank || !ak__fft_plan(&m->fft, ctx, spec.n_fft))
        return false;
    for (int64_t i = 0; i < spec.window; i++)       /* Hann, periodic */
        window[i] = (ak_real)(0.5 - 0.5 * cos(2 * PI * (double)i / (double)spec.window));
    fill_bank(m, bank, weights);
    m->window = window;
    m->weights = weights;
    m->bank = bank;
    return true;
}

int64_t ak__mel_frames(const ak__mel *m, int64_t samples)
{
    const ak__mel_spec *s = &m->spec;
    const int64_t padded = samples + (s->center ? 2 * (s->n_fft / 2) : 0);
    return samples < 1 || padded < s->n_fft ? 0 : 1 + (padded - s->n_fft) / s->hop;
}

/* ---- a block of frames ----------------------------------------------------------------------- */

typedef struct block_room {
    ak_real *z, *spare;         /* of AK_FFT_SIZE */
    ak_real *power;             /* [bins, LANES] */
    ak_real *mel;               /* [mels, LANES] */
} block_room;

static size_t carve_block(const ak__mel *m, block_room *b, void *base)
{
    ak__carver c = { .base = base };
    b->z = ak__carve_reals(&c, AK_FFT_SIZE(&m->fft));
    b->spare = ak__carve_reals(&c, AK_FFT_SIZE(&m->fft));
    b->power = ak__carve_reals(&c, m->bins * LANES);
    b->mel = ak__carve_reals(&c, m->spec.mels * LANES);
    return c.used;
}

int64_t ak__mel_work(const ak__mel *m)
{
    block_room b;
    return (int64_t)(carve_block(m, &b, NULL) / sizeof(ak_real));
}

/* The part of the window under which frame f has samples: i in [*from, *to) stands for sample
 * *start + i. */
static void window_part(const ak__mel *m, int64_t f, int64_t samples, int64_t *start, int64_t *from,
                        int64_t *to)
{
    const ak__mel_spec *s = &m->spec;
    *start = f * s->hop - (s->center ? s->n_fft / 2 : 0) + m->lead;
    *from = ak__min(ak__max(0, -*start), s->window);
    *to = ak__max(*from, ak__min(s->window, samples - *start));
}

/* Number t of a lane: neighbours are a pair of real and imaginary part if n is even; else the
 * imaginary parts are 0. */
static int64_t place_of(const ak__mel *m, int64_t t)
{
    return (m->fft.n % 2 ? 2 * t : t) * LANES;
}

/* Four frames side by side: blocks of four by four numbers are turned over in registers. */
static void load_four(const ak_real *const x[4], const ak_real *window, ak_real *to, int64_t n)
{
    int64_t t = 0;
    for (; t + 4 <= n; t += 4)
        for (int i = 0; i < 4; i++)
            for (int l = 0; l < 4; l++)
                to[(t + i) * LANES + l] = x[l][t + i] * window[t + i];
    for (; t < n; t++)
        for (int l = 0; l < 4; l++)
            to[t * LANES + l] = x[l][t] * window[t];
}

static void load_one(const ak__mel *m, const ak_real *x, int64_t samples, int64_t f, ak_real *lane)
{
    int64_t start, from, to;
    window_part(m, f, samples, &start, &from, &to);
    for (int64_t i = from; i < to; i++)
        lane[place_of(m, m->lead + i)] = x[start + i] * m->window[i];
}

/* Is all of the window of frames f .. f + 3 in the sound? Then *x is where the first one starts. */
static bool inside(const ak__mel *m, const ak_real *x, int64_t samples, int64_t f,
                   const ak_real *at[4])
{
    for (int i = 0; i < 4; i++) {
        int64_t start, from, to;
        window_part(m, f + i, samples, &start, &from, &to);
        if (from > 0 || to < m->spec.window)
            return false;
        at[i] = x + start;
    }
    return true;
}

static void load_block(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                       int64_t count, ak_real *z)
{
    const ak_real *at[4];
    const int64_t n = m->spec.n_fft, window = m->spec.window;
    const bool all = count == LANES && window == n && n % 2 == 0 &&
                     inside(m, x, samples, begin, at) &&
                     inside(m, x, samples, begin + LANES - 4, at);
    if (!all)           /* else every number is written */
        memset(z, 0, (size_t)AK_FFT_SIZE(&m->fft) * sizeof *z);
    for (int64_t l = 0; l < count;) {
        if (n % 2 == 0 && l + 4 <= count && inside(m, x, samples, begin + l, at)) {
            load_four(at, m->window, z + place_of(m, m->lead) + l, window);
            l += 4;
        } else {
            load_one(m, x, samples, begin + l, z + l);
            l++;
        }
    }
}

/* The spectrum [bins, 2, LANES] of a block, in one of the two buffers. */
static ak_real *block_spectrum(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                               int64_t count, const block_room *b)
{
    load_block(m, x, samples, begin, count, b->z);
    ak_real *spectrum = ak__k.fft(&m->fft, b->z, b->spare);
    ak__k.fft_real(&m->fft, spectrum);
    return spectrum;
}

void ak__mel_block(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                   int64_t count, ak_real *y, ak_real *work)
{
    block_room b;
    carve_block(m, &b, work);
    const int64_t mels = m->spec.mels;
    ak__k.fft_power(b.power, block_spectrum(m, x, samples, begin, count, &b), m->bins);
    memset(b.mel, 0, (size_t)(mels * LANES) * sizeof *b.mel);
    for (int64_t i = 0; i < mels; i++) {
        const ak__mel_triangle t = m->bank[i];
        for (int64_t k = 0; k < t.count; k++)
            ak__k.axpy(b.mel + i * LANES, m->weights[t.at + k], b.power + (t.first + k) * LANES,
                       LANES);
    }
    for (int64_t f = 0; f < count; f++)
        for (int64_t i = 0; i < mels; i++)
            y[f * mels + i] = b.mel[i * LANES + f];
}

/* What a transform back of H [bins, 2, LANES] has to begin with; bins 0 and n/2 are real. n odd:
 * the other half is conj H_(n-k). n even: pair k is
 * (H_k + conj H_(N-k)) + i e^(2 pi i k / n) (H_k - conj H_(N-k)). Real and imaginary parts change
 * places, so that a forward transform goes back, unscaled. */
static void prepare_odd(const ak__fft *plan, const ak_real *from, ak_real *to)
{
    for (int64_t k = 0; k < plan->N; k++) {
        const bool second = 2 * k > plan->N;
        const ak_real *h = from + 2 * (second ? plan->N - k : k) * LANES;
        for (int l = 0; l < LANES; l++) {
            to[2 * k * LANES + l] = second ? -h[LANES + l] : h[LANES + l];
            to[(2 * k + 1) * LANES + l] = h[l];
        }
    }
}

static void prepare_even(const ak__fft *plan, const ak_real *from, ak_real *to)
{
    const int64_t N = plan->N;
    for (int64_t k = 0; k < N; k++) {
        const bool second = 2 * k > N;
        const ak_real *turn = plan->halves + 2 * (second ? N - k : k);
        const ak_real c = second ? -turn[0] : turn[0], s = turn[1];
        const ak_real *h = from + 2 * k * LANES, *g = from + 2 * (N - k) * LANES;
        for (int l = 0; l < LANES; l++) {
            const ak_real ar = h[l] + g[l], ai = h[LANES + l] - g[LANES + l];
            const ak_real br = h[l] - g[l], bi = h[LANES + l] + g[LANES + l];
            to[2 * k * LANES + l] = ai + (br * c - bi * s);
            to[(2 * k + 1) * LANES + l] = ar - (br * s + bi * c);
        }
    }
}

/* Where number t of a lane stands after it. */
static int64_t place_back(const ak__mel *m, int64_t t)
{
    return (m->fft.n % 2 ? 2 * t + 1 : t ^ 1) * LANES;
}

/* power [bins, LANES] gets dL/d power, of dy [count, mels]. */
static void power_slope(const ak__mel *m, const ak_real *dy, int64_t count, const block_room *b)
{
    const int64_t mels = m->spec.mels;
    memset(b->mel, 0, (size_t)(mels * LANES) * sizeof *b->mel);
    for (int64_t f = 0; f < count; f++)
        for (int64_t i = 0; i < mels; i++)
            b->mel[i * LANES + f] = dy[f * mels + i];
    memset(b->power, 0, (size_t)(m->bins * LANES) * sizeof *b->power);
    for (int64_t i = 0; i < mels; i++) {
        const ak__mel_triangle t = m->bank[i];
        for (int64_t k = 0; k < t.count; k++)
            ak__k.axpy(b->power + (t.first + k) * LANES, m->weights[t.at + k], b->mel + i * LANES,
                       LANES);
    }
}

/* With g = dL/d |X_k|^2, dx_t = sum over the bins of 2 g Re(X_k e^(2 pi i k t / n)): a transform
 * back of g X_k and its mirror image, twice that where a bin is its own. */
void ak__mel_slope(const ak__mel *m, const ak_real *x, int64_t samples, int64_t begin,
                   int64_t count, const ak_real *dy, ak_real *dx, ak_real *work)
{
    block_room b;
    carve_block(m, &b, work);
    ak_real *X = block_spectrum(m, x, samples, begin, count, &b);
    ak_real *other = X == b.z ? b.spare : b.z;
    power_slope(m, dy, count, &b);
    for (int64_t k = 0; k < m->bins; k++) {
        const ak_real factor = k == 0 || 2 * k == m->fft.n ? 2 : 1;
        for (int l = 0; l < LANES; l++) {
            const ak_real g = factor * b.power[k * LANES + l];
            X[2 * k * LANES + l] *= g;
            X[(2 * k + 1) * LANES + l] *= g;
        }
    }
    if (m->fft.n % 2)
        prepare_odd(&m->fft, X, other);
    else
        prepare_even(&m->fft, X, other);
    const ak_real *back = ak__k.fft(&m->fft, other, X);
    for (int64_t f = 0; f < count; f++) {
        int64_t start, from, to;
        window_part(m, begin + f, samples, &start, &from, &to);
        for (int64_t i = from; i < to; i++)
            dx[start + i] += m->window[i] * back[place_back(m, m->lead + i) + f];
    }
}
