/* SPDX-License-Identifier: Apache-2.0 */
/* Mel spectra: frames, lengths, forms, threads. librosa's numbers are in tests/golden. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/ops.h>
#include <akin/sound.h>

#ifdef _OPENMP
#include <omp.h>
#endif
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 3e-6)
#define OPTIONS(...)                                                                               \
    (ak_mel_options){ .rate = 1000, .n_fft = 40, .hop = 10, .mels = 6, .scale = AK_MEL_HTK,        \
                      .norm = AK_MEL_AREA, __VA_ARGS__ }

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *part)
{
    cr_expect_eq(ak_error(ctx), status, "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), part), "\"%s\" is not in: %s", part,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

static ak_mel *make(ak_ctx *ctx, ak_mel_options o)
{
    ak_mel *m = ak_mel_make(ctx, o);
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    return m;
}

static ak_tensor *noise(ak_ctx *ctx, ak_shape shape)
{
    ak_tensor *x = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)(0.3 * ak_random_normal(3, 1, (uint64_t)i));
    return x;
}

static bool same(const ak_real *a, const ak_real *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

Test(mel, frames)
{
    ak_ctx *ctx = quiet();
    const ak_mel *center = make(ctx, OPTIONS(0)), *whole = make(ctx, OPTIONS(.no_center = true));
    const int64_t samples[] = { 0, 1, 9, 10, 39, 40, 41, 50, 1000 };
    const int64_t centered[] = { 0, 1, 1, 2, 4, 5, 5, 6, 101 };
    const int64_t inside[] = { 0, 0, 0, 0, 0, 1, 1, 2, 97 };
    for (int i = 0; i < 9; i++) {
        cr_expect_eq(ak_mel_frames(center, samples[i]), centered[i], "%d", (int)samples[i]);
        cr_expect_eq(ak_mel_frames(whole, samples[i]), inside[i], "%d", (int)samples[i]);
    }
    const ak_index *frames = ak_mel_lengths(whole, ak_index_from(ctx, AK_SHAPE(3),
                                                                 (int32_t[]){ 0, 40, 1000 }));
    cr_expect(frames->data[0] == 0 && frames->data[1] == 1 && frames->data[2] == 97);
    ak_mel_lengths(whole, ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 0, -1 }));
    expect_error(ctx, AK_ERR_VALUE, "length -1 of sound 1");
    ak_close(ctx);
}

/* A cosine at the middle of a bin: |X| is a quarter of the length under Hann's window there, half
 * of that in the neighbours, nothing elsewhere; a bank of one triangle over it all adds up. */
Test(mel, power_of_a_cosine)
{
    ak_ctx *ctx = quiet();
    enum { LENGTH = 64, BIN = 16 };
    const double rate = 64;
    const ak_mel *m = make(ctx, (ak_mel_options){
        .rate = rate, .n_fft = LENGTH, .hop = LENGTH, .mels = 1, .scale = AK_MEL_SLANEY,
        .norm = AK_MEL_PEAK, .no_center = true });
    ak_real x[LENGTH], y;
    for (int i = 0; i < LENGTH; i++)
        x[i] = (ak_real)cos(2 * acos(-1) * BIN * i / LENGTH);
    cr_assert_eq(ak_mel_run(m, x, LENGTH, &y), AK_OK);
    /* Slaney's scale is linear here: the triangle stands over 0 .. 32 Hz with its top at 16. */
    const double top = LENGTH / 4.0 * (LENGTH / 4.0);
    cr_expect_float_eq((double)y, top + 2 * top / 4 * (15.0 / 16), 100 * TOL * top);
    ak_close(ctx);
}

/* A sound in a batch is the sound alone, to the bit; behind its end nothing is read, and frames
 * that it has not are 0, whatever the form. */
Test(mel, sounds_of_several_lengths)
{
    for (int form = 0; form <= AK_MEL_DB; form++)
        for (int center = 0; center < 2; center++) {
            ak_ctx *ctx = quiet();
            const ak_mel *m = make(ctx, OPTIONS(.form = (ak_mel_form)form, .no_center = !center,
                                                .top_db = form == AK_MEL_DB ? 20 : 0));
            const int32_t lengths[] = { 500, 0, 39, 41, 333 };
            ak_tensor *x = noise(ctx, AK_SHAPE(5, 500));
            for (int n = 0; n < 5; n++)
                for (int i = lengths[n]; i < 500; i++)
                    x->data[n * 500 + i] = (ak_real)NAN;
            ak_require_grad(x);
            ak_index *index = ak_index_from(ctx, AK_SHAPE(5), lengths);
            ak_tensor *y = ak_mel_spectrogram(m, x, index);
            cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
            const int64_t size = y->shape.dims[1] * 6;
            const ak_index *frames = ak_mel_lengths(m, index);
            for (int n = 0; n < 5; n++) {
                ak_real alone[100 * 6];
                const int64_t count = frames->data[n] * 6;
                cr_assert_eq(ak_mel_run(m, x->data + 500L * n, lengths[n], alone), AK_OK);
                cr_expect(same(alone, y->data + n * size, count), "form %d, sound %d", form, n);
                for (int64_t i = count; i < size; i++)
                    cr_assert_eq(y->data[n * size + i], 0);
            }
            cr_assert_eq(ak_backward(ak_sum(y)), AK_OK, "%s", ak_error_message(ctx));
            for (int n = 0; n < 5; n++)
                for (int i = 0; i < 500; i++) {
                    const ak_real g = x->grad[n * 500 + i];
                    cr_assert(isfinite(g) && (i < lengths[n] || g == 0), "%d, %d", n, i);
                }
            ak_close(ctx);
        }
}

/* Logarithms and decibels of the power, floors and the distance to the loudest. */
Test(mel, forms)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = noise(ctx, AK_SHAPE(300));
    memset(x->data + 100, 0, 100 * sizeof *x->data);        /* a silence */
    const double floor = 1e-3;
    const ak_tensor *power = ak_mel_spectrogram(make(ctx, OPTIONS(0)), x, NULL);
    const ak_tensor *logs = ak_mel_spectrogram(
        make(ctx, OPTIONS(.form = AK_MEL_LOG, .floor = floor)), x, NULL);
    const ak_tensor *dbs = ak_mel_spectrogram(
        make(ctx, OPTIONS(.form = AK_MEL_DB, .floor = floor, .top_db = 12)), x, NULL);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    double loudest = -(double)INFINITY;
    int floored = 0, raised = 0;
    for (int64_t i = 0; i < power->size; i++)
        loudest = fmax(loudest, 10 * log10(fmax((double)power->data[i], floor)));
    for (int64_t i = 0; i < power->size; i++) {
        const double p = fmax((double)power->data[i], floor), db = 10 * log10(p);
        floored += (double)power->data[i] < floor;
        raised += db < loudest - 12;
        cr_expect_float_eq((double)logs->data[i], log(p), 20 * TOL);
        cr_expect_float_eq((double)dbs->data[i], fmax(db, loudest - 12), 100 * TOL);
    }
    cr_expect(floored > 0 && raised > floored && raised < power->size);
    ak_close(ctx);
}

/* Silence has no slope through the floor. */
Test(mel, gradient_of_silence)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 200)));
    ak_tensor *y = ak_mel_spectrogram(make(ctx, OPTIONS(.form = AK_MEL_LOG)), x, NULL);
    cr_expect_float_eq((double)y->data[3], log(1e-10), 20 * TOL);
    cr_assert_eq(ak_backward(ak_sum(y)), AK_OK);
    for (int64_t i = 0; i < x->size; i++)
        cr_assert_eq(x->grad[i], 0);
    ak_close(ctx);
}

Test(mel, same_bits_for_any_number_of_threads)
{
#ifdef _OPENMP
    static ak_real value[3 * 101 * 6], slope[3 * 1000];
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        ak_ctx *ctx = quiet();
        ak_tensor *x = ak_require_grad(noise(ctx, AK_SHAPE(3, 1000)));
        ak_tensor *y = ak_mel_spectrogram(make(ctx, OPTIONS(.form = AK_MEL_LOG)), x, NULL);
        cr_assert_eq(y->size, (int64_t)(sizeof value / sizeof *value));
        cr_assert_eq(ak_backward(ak_sum(ak_square(y))), AK_OK);
        if (threads == 1) {
            memcpy(value, y->data, sizeof value);
            memcpy(slope, x->grad, sizeof slope);
        }
        cr_expect(same(value, y->data, y->size) && same(slope, x->grad, x->size), "%d threads",
                  threads);
        ak_close(ctx);
    }
#endif
}

typedef struct reader { const ak_mel *m; const ak_real *x; ak_real y[101 * 6]; } reader;

static void *read_sound(void *user)
{
    reader *r = user;
    for (int i = 0; i < 20; i++)
        if (ak_mel_run(r->m, r->x, 1000, r->y) != AK_OK)
            return r;
    return NULL;
}

/* Threads of one's own share the object. */
Test(mel, threads_that_read)
{
    ak_ctx *ctx = quiet();
    const ak_mel *m = make(ctx, OPTIONS(.form = AK_MEL_DB, .top_db = 80));
    const ak_tensor *x = noise(ctx, AK_SHAPE(1000));
    enum { READERS = 8 };
    static reader readers[READERS];
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = (reader){ .m = m, .x = x->data };
        cr_assert_eq(pthread_create(&threads[i], NULL, read_sound, &readers[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        cr_expect_null(failed);
        cr_expect(same(readers[i].y, readers[0].y, 101L * 6), "thread %d", i);
    }
    ak_close(ctx);
}

static void count_warning(void *user, ak_log_level level, const char *text)
{
    if (level == AK_LOG_WARNING && strstr(text, "triangles hold no bin"))
        ++*(int *)user;
}

Test(mel, triangles_that_are_too_narrow_are_told)
{
    ak_ctx *ctx = ak_open((ak_options){ 0 });
    int warnings = 0;
    ak_on_log(ctx, count_warning, &warnings);
    make(ctx, OPTIONS(0));
    cr_expect_eq(warnings, 0);
    ak_mel_options o = OPTIONS(0);
    o.mels = 100;
    make(ctx, o);
    cr_expect_eq(warnings, 1);
    ak_close(ctx);
}

#define expect_refused(ctx, field, value, text)                                                    \
    do {                                                                                           \
        ak_mel_options o = OPTIONS(0);                                                             \
        o.field = (value);                                                                         \
        cr_expect_null(ak_mel_make(ctx, o), "%s", text);                                           \
        expect_error(ctx, AK_ERR_VALUE, text);                                                     \
    } while (0)

Test(mel, what_is_refused)
{
    ak_ctx *ctx = quiet();
    expect_refused(ctx, rate, 0, ".rate 0");
    expect_refused(ctx, rate, (double)NAN, ".rate");
    expect_refused(ctx, n_fft, 1, ".n_fft 1");
    expect_refused(ctx, window, 41, ".window 41");
    expect_refused(ctx, hop, -1, ".hop -1");
    expect_refused(ctx, mels, -1, ".mels -1");
    expect_refused(ctx, fmin, 600, ".fmin 600");
    expect_refused(ctx, fmax, 501, ".fmax 501");
    expect_refused(ctx, scale, 0, ".scale 0");
    expect_refused(ctx, norm, 0, ".norm 0");
    expect_refused(ctx, form, 3, ".form 3");
    expect_refused(ctx, floor, -1, ".floor -1");
    expect_refused(ctx, top_db, 80, ".top_db 80");
    const ak_mel *m = make(ctx, OPTIONS(0));
    ak_mel_spectrogram(m, noise(ctx, AK_SHAPE(2, 50)),
                       ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 50, 51 }));
    expect_error(ctx, AK_ERR_VALUE, "51");
    ak_mel_spectrogram(m, noise(ctx, AK_SHAPE(2, 5, 5)), NULL);
    expect_error(ctx, AK_ERR_SHAPE, "x must be [N, S] or [S]");
    ak_ctx *other = quiet();
    ak_mel_spectrogram(m, noise(other, AK_SHAPE(2, 50)), NULL);
    expect_error(other, AK_ERR_CONTEXT, "another context");
    ak_real y[6];
    cr_expect_eq(ak_mel_run(m, y, -1, y), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "samples = -1");
    ak_close(other);
    ak_close(ctx);
}
