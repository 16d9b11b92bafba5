/* SPDX-License-Identifier: Apache-2.0 */
/* Sound files: every encoding of WAV and the ways in which files bend its rules, FLAC and Ogg, what
 * was cut off, what claims too much; other rates; views of sounds. */
#include "data_files.h"

#include <akin/audio.h>
#include <akin/data.h>

#include <sys/stat.h>
#if AK_HAVE_SNDFILE
#include <sndfile.h>
#endif
#if AK_HAVE_SOXR
#include <soxr.h>
#endif

/* ---- WAV files by hand ----------------------------------------------------------------------- */

typedef struct wav {
    uint8_t bytes[4096];
    size_t  n;
} wav;

static void put(wav *w, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        w->bytes[w->n++] = (uint8_t)(x >> (8 * i));
}

static void put_text(wav *w, const char *text)
{
    while (*text)
        w->bytes[w->n++] = (uint8_t)*text++;
}

static void chunk(wav *w, const char *name, uint32_t bytes)
{
    put_text(w, name);
    put(w, bytes, 4);
}

static void begin(wav *w, const char *riff)
{
    w->n = 0;
    chunk(w, riff, 0xffffffffu);        /* nobody reads this length */
    put_text(w, "WAVE");
}

static void format(wav *w, int tag, int channels, int rate, int width, int bits)
{
    chunk(w, "fmt ", 16);
    put(w, (uint64_t)tag, 2);
    put(w, (uint64_t)channels, 2);
    put(w, (uint64_t)rate, 4);
    put(w, (uint64_t)(rate * channels * width), 4);
    put(w, (uint64_t)(channels * width), 2);
    put(w, (uint64_t)bits, 2);
}

/* Samples 0x..0102 * i of n bytes each. */
static void samples(wav *w, int n)
{
    for (int i = 0; i < n; i++)
        put(w, (uint64_t)(1000 * (i - n / 2)), 2);
}

static ak_ctx *ctx;
static char    dir[64];
static int     warnings;
static char    warning[2000];

static void count_warnings(void *user, ak_log_level level, const char *message)
{
    (void)user;
    if (level != AK_LOG_WARNING)
        return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", message);
}

static void setup(void)
{
    ctx = quiet();
    ak_on_log(ctx, count_warnings, NULL);
    warnings = 0;
    new_folder(dir);
}

static void teardown(void)
{
    remove_folder(dir);
    ak_close(ctx);
}

#if AK_HAVE_SNDFILE

static ak_tensor *read_wav(const wav *w, ak_sound_options o)
{
    put_file(path_in(dir, "a.wav"), w->bytes, w->n);
    return ak_sound_read(ctx, path_in(dir, "a.wav"), o);
}

/* Ten samples of 16 bits, 1000 (i - 5) / 32768. */
static void expect_ten(const ak_tensor *x, const char *what)
{
    cr_assert_not(ak_is_poison(x), "%s: %s", what, ak_error_message(ctx));
    cr_assert(x->shape.n == 1 && x->size == 10, "%s: %lld", what, (long long)x->size);
    for (int i = 0; i < 10; i++)
        cr_expect_eq(x->data[i], (ak_real)(1000 * (i - 5)) / 32768, "%s: %d", what, i);
    ak_step_end(ctx);
}

Test(audio, chunks_in_any_order_and_of_odd_length, .init = setup, .fini = teardown)
{
    const ak_sound_options o = { 0 };
    wav w;
    begin(&w, "RIFF");
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 20);
    samples(&w, 10);
    expect_ten(read_wav(&w, o), "plain");

    for (int padded = 0; padded < 2; padded++) {
        begin(&w, "RIFF");
        chunk(&w, "LIST", 3);
        put(&w, 0x414141, 3);
        if (padded)
            put(&w, 0, 1);
        format(&w, 1, 1, 8000, 2, 16);
        chunk(&w, "junk", 1);
        put(&w, 7, padded ? 2 : 1);
        chunk(&w, "data", 20);
        samples(&w, 10);
        chunk(&w, "LIST", 4);
        put(&w, 0, 4);
        expect_ten(read_wav(&w, o), padded ? "padded" : "not padded");
    }

    begin(&w, "RIFF");
    chunk(&w, "data", 20);
    samples(&w, 10);
    format(&w, 1, 1, 8000, 2, 16);
    expect_ten(read_wav(&w, o), "data first");

    begin(&w, "RIFF");
    format(&w, 1, 1, 8000, 2, 16);
    w.bytes[16] = 18;                   /* with a length of what is added, 0 */
    put(&w, 0, 2);
    chunk(&w, "fact", 4);
    put(&w, 999, 4);                    /* wrong, and of no use */
    chunk(&w, "data", 20);
    samples(&w, 10);
    expect_ten(read_wav(&w, o), "fact");
    cr_expect_eq(warnings, 0, "%s", warning);
}

Test(audio, lengths_that_are_wrong, .init = setup, .fini = teardown)
{
    static const uint32_t unknown[] = { 0, 0xffffffffu, 0x7ffff000u, 0x7fffffffu };
    const ak_sound_options o = { 0 };
    wav w;
    for (int k = 0; k < 4; k++) {       /* written to a pipe: to the end of the file */
        begin(&w, "RIFF");
        format(&w, 1, 1, 8000, 2, 16);
        chunk(&w, "data", unknown[k]);
        samples(&w, 10);
        expect_ten(read_wav(&w, o), "unknown length");
        cr_expect_eq(warnings, 0, "%s", warning);
    }
    begin(&w, "RIFF");                  /* cut off: what is there, with a warning */
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 400);
    samples(&w, 10);
    ak_sound_info info;
    expect_ten(read_wav(&w, o), "cut off");
    cr_expect_eq(warnings, 1);
    cr_expect(strstr(warning, "says 200 samples, it has 10"), "%s", warning);
    cr_assert(ak_sound_look(ctx, path_in(dir, "a.wav"), &info));
    cr_expect(info.cut && info.frames == 10 && info.rate == 8000 && info.channels == 1);
    cr_expect_str_eq(info.format, "WAV, 16 bit");

    begin(&w, "RF64");                  /* lengths of 64 bits */
    chunk(&w, "ds64", 28);
    put(&w, 0, 8), put(&w, 20, 8), put(&w, 10, 8), put(&w, 0, 4);
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 0xffffffffu);
    samples(&w, 12);                    /* two too many */
    ak_tensor *x = read_wav(&w, o);
    cr_expect_eq(x->size, 10);
    cr_expect_eq(x->data[0], (ak_real)-6000 / 32768);
}

Test(audio, claims_are_refused_before_memory_is_taken, .init = setup, .fini = teardown)
{
    wav w;
    begin(&w, "RF64");
    chunk(&w, "ds64", 28);
    put(&w, 0, 8), put(&w, (uint64_t)2 << 32, 8), put(&w, (uint64_t)1 << 32, 8), put(&w, 0, 4);
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 0xffffffffu);
    samples(&w, 10);
    const ak_memory before = ak_memory_use(ctx);
    cr_expect(ak_is_poison(read_wav(&w, (ak_sound_options){ 0 })));
    const ak_memory after = ak_memory_use(ctx);
    cr_expect(after.mallocs <= before.mallocs + 1, "%llu", (unsigned long long)
              (after.mallocs - before.mallocs));
    expect_error(ctx, AK_ERR_VALUE, "a.wav", "4294967296 samples");

    begin(&w, "RIFF");                  /* as many as 32 bits can say, of a byte each */
    format(&w, 1, 1, 8000, 1, 8);
    chunk(&w, "data", 0xfffffffeu);
    samples(&w, 10);
    cr_expect(ak_is_poison(read_wav(&w, (ak_sound_options){ 0 })));
    expect_error(ctx, AK_ERR_VALUE, "4294967294 samples", ".most");

    /* All of them are there: a hole in the file. */
    begin(&w, "RF64");
    chunk(&w, "ds64", 28);
    put(&w, 0, 8), put(&w, (uint64_t)2 << 32, 8), put(&w, (uint64_t)1 << 32, 8), put(&w, 0, 4);
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 0xffffffffu);
    put_file(path_in(dir, "b.wav"), w.bytes, w.n);
    if (truncate(path_in(dir, "b.wav"), ((off_t)2 << 32) + (off_t)w.n) == 0) {
        cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "b.wav"),
                                             (ak_sound_options){ 0 })));
        expect_error(ctx, AK_ERR_VALUE, "b.wav", "4294967296 samples");
    }
    begin(&w, "RIFF");
    format(&w, 1, 2, 8000, 2, 16);
    chunk(&w, "data", 40);
    samples(&w, 20);
    cr_expect(ak_is_poison(read_wav(&w, (ak_sound_options){ .most = 19 })));
    expect_error(ctx, AK_ERR_VALUE, "10 samples in each of 2", "at most 19");
    cr_expect_not(ak_is_poison(read_wav(&w, (ak_sound_options){ .most = 20 })));
}

Test(audio, extensible_and_all_widths, .init = setup, .fini = teardown)
{
    wav w;
    for (int width = 1; width <= 4; width++) {
        begin(&w, "RIFF");
        chunk(&w, "fmt ", 40);
        put(&w, 0xfffe, 2), put(&w, 1, 2), put(&w, 44100, 4), put(&w, 0, 4);
        put(&w, (uint64_t)width, 2), put(&w, 8 * (uint64_t)width, 2);
        put(&w, 22, 2), put(&w, 8 * (uint64_t)width, 2), put(&w, 4, 4);
        put(&w, 0x0010000000000001, 8), put(&w, 0x719b3800aa000080, 8);
        chunk(&w, "data", 3 * (uint32_t)width);
        const int64_t half = (int64_t)1 << (8 * width - 1), offset = width == 1 ? 128 : 0;
        const int64_t value[] = { -half, half - 1, half / 2 };
        for (int i = 0; i < 3; i++)
            put(&w, (uint64_t)(value[i] + offset), width);
        ak_tensor *x = read_wav(&w, (ak_sound_options){ 0 });
        cr_assert_not(ak_is_poison(x), "%d: %s", width, ak_error_message(ctx));
        cr_assert_eq(x->size, 3);
        for (int i = 0; i < 3; i++)
            cr_expect_eq(x->data[i], (ak_real)((double)value[i] / (double)half), "%d bytes, %d",
                         width, i);
    }
    begin(&w, "RIFF");                  /* floats of 64 bits */
    format(&w, 3, 2, 8000, 8, 64);
    const double value[] = { 0.5, -2.25, 1e-3, 0 };
    chunk(&w, "data", 32);
    for (int i = 0; i < 4; i++) {
        uint64_t u;
        memcpy(&u, &value[i], 8);
        put(&w, u, 8);
    }
    ak_tensor *x = read_wav(&w, (ak_sound_options){ .channels = AK_NONE });
    cr_assert(ak_shape_equal(x->shape, AK_SHAPE(2, 2)), "%s", ak_error_message(ctx));
    for (int i = 0; i < 4; i++)
        cr_expect_eq(x->data[i], (ak_real)value[i]);
    x = read_wav(&w, (ak_sound_options){ 0 });          /* one channel: the mean */
    cr_assert_eq(x->size, 2);
    cr_expect_eq(x->data[0], (ak_real)((0.5 - 2.25) / 2));
    const double inf = (double)INFINITY;
    memcpy(w.bytes + w.n - 8, &inf, 8);
    cr_expect(ak_is_poison(read_wav(&w, (ak_sound_options){ 0 })));
    expect_error(ctx, AK_ERR_NUMBER, "sample 1 of channel 1", "inf");

    begin(&w, "RIFF");                  /* 12 bits stand at the upper end of two bytes */
    format(&w, 1, 1, 8000, 2, 12);
    chunk(&w, "data", 20);
    samples(&w, 10);
    expect_ten(read_wav(&w, (ak_sound_options){ 0 }), "12 bits");
    begin(&w, "RIFF");                  /* A-law: 0xd5 and 0x55 are the smallest numbers */
    format(&w, 6, 1, 8000, 1, 8);
    chunk(&w, "data", 2);
    put(&w, 0xd5, 1), put(&w, 0x55, 1);
    x = read_wav(&w, (ak_sound_options){ 0 });
    cr_assert_eq(x->size, 2, "%s", ak_error_message(ctx));
    cr_expect_eq(x->data[0], (ak_real)8 / 32768);
    cr_expect_eq(x->data[1], (ak_real)-8 / 32768);
}

Test(audio, refusals_say_why, .init = setup, .fini = teardown)
{
    const ak_sound_options o = { 0 };
    wav w;
    begin(&w, "RIFF");
    format(&w, 2, 1, 8000, 2, 16);
    chunk(&w, "data", 20);
    samples(&w, 10);
    cr_expect(ak_is_poison(read_wav(&w, o)));
    expect_error(ctx, AK_ERR_FORMAT, "a.wav", "compressed (format 0x0002)");
    begin(&w, "RIFF");
    format(&w, 1, 3, 8000, 2, 16);
    w.bytes[32] = 5;                    /* bytes of a block */
    chunk(&w, "data", 20);
    samples(&w, 10);
    cr_expect(ak_is_poison(read_wav(&w, o)));
    expect_error(ctx, AK_ERR_FORMAT, "3 channels of 16 bits in blocks of 5", "do not fit");
    begin(&w, "RIFF");
    format(&w, 1, 1, 8000, 2, 16);
    cr_expect(ak_is_poison(read_wav(&w, o)));
    expect_error(ctx, AK_ERR_FORMAT, "no chunk", "data");
    begin(&w, "RIFF");
    chunk(&w, "data", 0xffffffffu);
    samples(&w, 10);
    format(&w, 1, 1, 8000, 2, 16);
    cr_expect(ak_is_poison(read_wav(&w, o)));
    expect_error(ctx, AK_ERR_FORMAT, "fmt ", "unknown length");
    begin(&w, "RIFF");
    format(&w, 1, 1, 8000, 2, 16);
    chunk(&w, "data", 0);
    cr_expect(ak_is_poison(read_wav(&w, o)));
    expect_error(ctx, AK_ERR_FORMAT, "a.wav", "no samples");
    begin(&w, "RIFF");
    format(&w, 1, 2, 8000, 2, 16);
    chunk(&w, "data", 20);
    samples(&w, 10);
    cr_expect(ak_is_poison(read_wav(&w, (ak_sound_options){ .channels = 3 })));
    expect_error(ctx, AK_ERR_VALUE, "2 channels", "do not become 3");

    put_file(path_in(dir, "text.wav"), "no sound", 8);
    cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "text.wav"), o)));
    expect_error(ctx, AK_ERR_FORMAT, "text.wav", "no WAV, FLAC or Ogg");
    put_file(path_in(dir, "empty.wav"), "", 0);
    cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "empty.wav"), o)));
    expect_error(ctx, AK_ERR_FORMAT, "empty.wav", "is empty");
    cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "none.wav"), o)));
    expect_error(ctx, AK_ERR_NOT_FOUND, "none.wav", "no such file");
    cr_expect(ak_is_poison(ak_sound_read(ctx, dir, o)));
    expect_error(ctx, AK_ERR_IO, dir, "a folder");
    cr_assert_eq(mkfifo(path_in(dir, "fifo.wav"), 0600), 0);
    cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "fifo.wav"), o)));
    expect_error(ctx, AK_ERR_IO, "fifo.wav", "a FIFO");

    const ak_sound_options bad[] = { { .rate = -1 }, { .rate = (1 << 20) + 1 }, { .channels = 65 },
                                     { .channels = -2 }, { .seconds = -1 },
                                     { .seconds = (double)NAN },
                                     { .most = -1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "a.wav"), bad[i])), "%zu", i);
        expect_error(ctx, AK_ERR_VALUE, "sound_read", " must be in");
    }
}

Test(audio, written_files_are_read_to_the_same_bits, .init = setup, .fini = teardown)
{
    static const ak_sound_encoding all[] = { AK_SOUND_S16, AK_SOUND_U8, AK_SOUND_S24, AK_SOUND_S32,
                                             AK_SOUND_F32 };
    static const int bits[] = { 16, 8, 24, 32, 24 };
    for (int k = 0; k < 5; k++)
        for (int channels = 1; channels <= 3; channels += 2) {
            ak_tensor *x = ak_zeros(ctx, channels == 1 ? AK_SHAPE(31) : AK_SHAPE(31, channels));
            const double half = ldexp(1, (sizeof(ak_real) == 4 && bits[k] > 24 ? 24 : bits[k]) - 1);
            for (int64_t i = 0; i < x->size; i++)
                x->data[i] = (ak_real)(floor(2 * half * ak_random_uniform(3, 0, (uint64_t)i)) / half
                                       - 1);
            x->data[0] = -1;
            const char *path = path_in(dir, "w.wav");
            cr_assert_eq(ak_sound_write(ctx, path, x, 22050, all[k]), AK_OK);
            ak_tensor *y = ak_sound_read(ctx, path, (ak_sound_options){ .channels = AK_NONE });
            cr_assert_eq(y->size, x->size, "%s", ak_error_message(ctx));
            cr_expect(memcmp(x->data, y->data, (size_t)x->size * sizeof *x->data) == 0, "%d, %d", k,
                      channels);
            ak_step_end(ctx);
        }
    cr_expect_eq(warnings, 0, "%s", warning);
    ak_tensor *loud = ak_from(ctx, AK_SHAPE(3), (const ak_real[]){ 2, -1.5, (ak_real)0.5 });
    cr_assert_eq(ak_sound_write(ctx, path_in(dir, "w.wav"), loud, 8000, AK_SOUND_S16), AK_OK);
    cr_expect_eq(warnings, 1);
    cr_expect(strstr(warning, "2 samples of 3"), "%s", warning);
    ak_tensor *y = ak_sound_read(ctx, path_in(dir, "w.wav"), (ak_sound_options){ 0 });
    cr_expect(y->size == 3 && y->data[0] == (ak_real)(32767.0 / 32768) && y->data[1] == -1);

    loud->data[1] = (ak_real)NAN;
    cr_expect_eq(ak_sound_write(ctx, path_in(dir, "w.wav"), loud, 8000, AK_SOUND_F32),
                 AK_ERR_NUMBER);
    expect_error(ctx, AK_ERR_NUMBER, "w.wav", "sample 1");
    loud = ak_zeros(ctx, AK_SHAPE(3));
    cr_expect_eq(ak_sound_write(ctx, path_in(dir, "w.wav"), loud, 0, AK_SOUND_S16), AK_ERR_VALUE);
    ak_step_end(ctx);
    loud = ak_zeros(ctx, AK_SHAPE(3, 65));
    cr_expect_eq(ak_sound_write(ctx, path_in(dir, "w.wav"), loud, 8000, AK_SOUND_S16),
                 AK_ERR_SHAPE);
    expect_error(ctx, AK_ERR_SHAPE, "[3,65]", "64 channels");
}

/* ---- FLAC and Ogg ---------------------------------------------------------------------------- */

static void write_other(const char *path, int what, int channels, int frames, int seed)
{
    SF_INFO  info = { .samplerate = 16000, .channels = channels, .format = what };
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    cr_assert_not_null(f, "%s", sf_strerror(NULL));
    for (int t = 0; t < frames; t++) {
        short x[8];
        for (int c = 0; c < channels; c++)
            x[c] = (short)(8000 * sin(0.05 * t * (1 + c) + seed) + 300 * (t % 7));
        sf_writef_short(f, x, 1);
    }
    sf_close(f);
}

static size_t cut_file(const char *path, double share)
{
    static unsigned char bytes[1 << 20];
    const size_t n = get_file(path, bytes, sizeof bytes);
    put_file(path, bytes, (size_t)(share * (double)n));
    return n;
}

Test(audio, flac_and_ogg, .init = setup, .fini = teardown)
{
    const char *flac = path_in(dir, "a.flac"), *ogg = path_in(dir, "a.ogg");
    ak_sound_info info;
    write_other(flac, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 2, 5000, 0);
    ak_tensor *x = ak_sound_read(ctx, flac, (ak_sound_options){ .channels = AK_NONE });
    cr_assert(ak_shape_equal(x->shape, AK_SHAPE(5000, 2)), "%s", ak_error_message(ctx));
    for (int t = 0; t < 5000; t++)
        for (int c = 0; c < 2; c++)
            cr_assert_eq(x->data[2 * t + c],
                         (ak_real)(short)(8000 * sin(0.05 * t * (1 + c)) + 300 * (t % 7)) / 32768);
    cr_assert(ak_sound_look(ctx, flac, &info));
    cr_expect(info.frames == 5000 && info.rate == 16000 && info.channels == 2);
    cr_expect_str_eq(info.format, "FLAC, 16 bit");
    ak_tensor *part = ak_sound_read(ctx, flac, (ak_sound_options){ .channels = 2, .seconds = 0.1 });
    cr_expect(part->size == 3200 && memcmp(part->data, x->data, 3200 * sizeof(ak_real)) == 0);
    cut_file(flac, 0.7);
    cr_expect(ak_is_poison(ak_sound_read(ctx, flac, (ak_sound_options){ 0 })));
    expect_error(ctx, AK_ERR_FORMAT, "a.flac", "damaged");

    write_other(ogg, SF_FORMAT_OGG | SF_FORMAT_VORBIS, 1, 8000, 1);
    x = ak_sound_read(ctx, ogg, (ak_sound_options){ 0 });
    cr_assert_eq(x->size, 8000, "%s", ak_error_message(ctx));
    double wrong = 0;
    for (int t = 0; t < 8000; t++)
        wrong += fabs((double)x->data[t] - (8000 * sin(0.05 * t + 1) + 300 * (t % 7)) / 32768);
    cr_expect(wrong / 8000 < 0.03, "%g", wrong / 8000);
    cr_assert(ak_sound_look(ctx, ogg, &info));
    cr_expect(info.frames == 8000 && info.rate == 16000);
    cr_expect_str_eq(info.format, "Ogg Vorbis");

    unsigned char two[1 << 16];         /* one file behind the other */
    size_t n = get_file(ogg, two, sizeof two);
    write_other(ogg, SF_FORMAT_OGG | SF_FORMAT_VORBIS, 1, 8000, 2);
    n += get_file(ogg, two + n, sizeof two - n);
    put_file(path_in(dir, "two.ogg"), two, n);
    cr_expect(ak_is_poison(ak_sound_read(ctx, path_in(dir, "two.ogg"), (ak_sound_options){ 0 })));
    expect_error(ctx, AK_ERR_FORMAT, "two.ogg", "several streams");
    for (int k = 1; k < 20; k++) {      /* cut off anywhere */
        write_other(ogg, SF_FORMAT_OGG | SF_FORMAT_VORBIS, 1, 8000, 1);
        cut_file(ogg, k / 20.0);
        cr_expect(ak_is_poison(ak_sound_read(ctx, ogg, (ak_sound_options){ 0 })), "%d", k);
        expect_error(ctx, AK_ERR_FORMAT, "a.ogg", "");
    }
}

#endif

/* ---- rates ----------------------------------------------------------------------------------- */

#if AK_HAVE_SOXR
Test(audio, resampling_is_the_library_s_own, .init = setup, .fini = teardown)
{
    static const int rates[][2] = { { 44100, 16000 }, { 22050, 16000 }, { 8000, 16000 },
                                    { 48000, 44100 }, { 16000, 16000 }, { 11025, 8000 },
                                    { 1, 3 }, { 96000, 7350 } };
    const size_t n = sizeof rates / sizeof *rates;
    for (size_t k = 0; k < n; k++)
        for (int channels = 1; channels <= 2; channels++)
            for (int64_t S = 1; S < 4000; S = 3 * S + 1) {
                const int from = rates[k][0], to = rates[k][1];
                ak_tensor *x = ak_zeros(ctx, channels == 1 ? AK_SHAPE(S) : AK_SHAPE(S, channels));
                for (int64_t i = 0; i < x->size; i++)
                    x->data[i] = (ak_real)ak_random_normal(1, k, (uint64_t)i);
                const int64_t R = ak_sound_resampled(S, from, to);
                if (R < 1) {
                    cr_expect(ak_is_poison(ak_sound_resample(x, from, to)));
                    ak_step_end(ctx);
                    continue;
                }
                ak_tensor *y = ak_sound_resample(x, from, to), *want = ak_zeros(ctx, y->shape);
                cr_assert_eq(y->shape.dims[0], R, "%s", ak_error_message(ctx));
                const soxr_datatype_t t = sizeof(ak_real) == 4 ? SOXR_FLOAT32_I : SOXR_FLOAT64_I;
                const soxr_io_spec_t      io = soxr_io_spec(t, t);
                const soxr_quality_spec_t q = soxr_quality_spec(SOXR_HQ, 0);
                ak_real  more[2 * 16384];
                size_t   done;
                cr_assert_null(soxr_oneshot(from, to, (unsigned)channels, x->data, (size_t)S, NULL,
                                            more, 16384, &done, &io, &q, NULL));
                if (from == to) {
                    cr_expect(memcmp(y->data, x->data, (size_t)x->size * sizeof *x->data) == 0);
                } else {
                    cr_expect_eq((int64_t)done, R, "%lld at %d to %d: %zu, not %lld", (long long)S,
                                 from, to, done, (long long)R);
                    memcpy(want->data, more, (size_t)want->size * sizeof *more);
                    cr_expect(memcmp(y->data, want->data, (size_t)y->size * sizeof *y->data) == 0);
                }
                ak_step_end(ctx);
            }
    cr_expect_eq(ak_sound_resampled(0, 1, 2), 0);
    cr_expect_eq(ak_sound_resampled(5, 0, 2), 0);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(5));
    cr_expect(ak_is_poison(ak_sound_resample(x, 0, 8000)));
    expect_error(ctx, AK_ERR_VALUE, "from 0 to 8000", "[1, 2^20]");
    x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(5)));
    cr_expect(ak_is_poison(ak_sound_resample(x, 8000, 16000)));
    expect_error(ctx, AK_ERR_VALUE, "gradient", "ak_detach");
}

/* A tone stays the tone. */
Test(audio, resampled_tones, .init = setup, .fini = teardown)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(44100));
    for (int i = 0; i < 44100; i++)
        x->data[i] = (ak_real)sin(6.283185307179586 * 440 * i / 44100);
    ak_tensor *y = ak_sound_resample(x, 44100, 16000);
    cr_assert_eq(y->size, 16000);
    for (int i = 500; i < 15500; i++)
        cr_assert_float_eq(y->data[i], sin(6.283185307179586 * 440 * i / 16000), 1e-4, "%d", i);
}
#endif

/* ---- views ----------------------------------------------------------------------------------- */

enum { T = 60, D = 4, DRAWS = 10000 };

/* Draw k of a view of [T, D] numbers that are 1 .. T D. Returns its steps. */
static int64_t draw(ak_augment a, int k, ak_real x[T * D])
{
    ak_sequence s = { .data = x, .length = T, .width = D, .most = T };
    cr_assert_null(a.kind->check(a.option), "%s", a.kind->name);
    for (int i = 0; i < T * D; i++)
        x[i] = (ak_real)(i + 1);
    a.kind->sequence(&s, a.option, (ak_draws){ 77, (uint64_t)k });
    cr_assert(s.length >= 0 && s.length <= T && s.width == D && s.data == x);
    return s.length;
}

Test(audio, neutral_views_keep_every_bit)
{
    const ak_augment neutral[] = {
        ak_sound_noise(0, 10, 0), ak_sound_gain(0, 0, 1), ak_sound_gain(-6, 6, 0),
        ak_time_shift(0, true, 1), ak_time_shift(0, false, 1), ak_time_shift(0.5, true, 0),
        ak_time_crop(1, 1), ak_time_window(T), ak_time_window(10 * T), ak_time_mask(0, 9, 1),
        ak_time_mask(3, 0, 1), ak_time_mask(3, 9, 0), ak_frequency_mask(0, 9),
        ak_frequency_mask(2, 0), ak_time_mask_value(0, 5, 1, 7), ak_frequency_mask_value(0, 5, 7),
    };
    for (size_t a = 0; a < sizeof neutral / sizeof *neutral; a++)
        for (int k = 0; k < 20; k++) {
            ak_real x[T * D];
            cr_assert_eq(draw(neutral[a], k, x), T, "%s", neutral[a].kind->name);
            for (int i = 0; i < T * D; i++)
                cr_assert_eq(x[i], (ak_real)(i + 1), "%s (entry %zu), number %d",
                             neutral[a].kind->name, a, i);
            cr_expect_eq(ak_augment_find(neutral[a].kind->name), neutral[a].kind);
        }
}

Test(audio, noise_and_gain_over_many_draws)
{
    double snr = 0, snr2 = 0, dB = 0, dB2 = 0, sum = 0, cross = 0, signal = 0;
    int    done = 0;
    for (int i = 1; i <= T * D; i++)
        signal += (double)i * i;
    for (int k = 0; k < DRAWS; k++) {
        ak_real x[T * D];
        double  noise = 0;
        draw(ak_sound_noise(10, 30, 0.25), k, x);
        for (int i = 0; i < T * D; i++)
            noise += pow((double)x[i] - (i + 1), 2);
        if (noise > 0) {
            const double ratio = 10 * log10(signal / noise);
            snr += ratio, snr2 += ratio * ratio, done++;
            sum += ((double)x[0] - 1) / sqrt(noise / (T * D));
            cross += ((double)x[0] - 1) * ((double)x[1] - 2) / (noise / (T * D));
        }
        draw(ak_sound_gain(-12, 6, 1), k, x);
        const double gain = 20 * log10((double)x[9] / 10);
        cr_assert(gain > -12.001 && gain < 6.001);
        dB += gain, dB2 += gain * gain;
    }
    cr_expect(abs(done - DRAWS / 4) < 180, "%d", done);             /* 4 deviations are 173 */
    snr /= done, dB /= DRAWS;
    cr_expect_float_eq(snr, 20, 0.5, "%g", snr);
    cr_expect_float_eq(sqrt(snr2 / done - snr * snr), 20 / sqrt(12), 0.3);
    cr_expect(fabs(sum) / sqrt(done) < 4 && fabs(cross) / sqrt(done) < 4, "%g, %g", sum, cross);
    cr_expect_float_eq(dB, -3, 0.25, "%g", dB);
    cr_expect_float_eq(sqrt(dB2 / DRAWS - dB * dB), 18 / sqrt(12), 0.1);

    ak_real     none[4] = { 0 };
    ak_sequence silence = { .data = none, .length = 4, .width = 1, .most = 4 };
    const ak_augment noise = ak_sound_noise(0, 0, 1);
    noise.kind->sequence(&silence, noise.option, (ak_draws){ 1, 1 });
    for (int i = 0; i < 4; i++)
        cr_expect(!(none[i] < 0) && !(none[i] > 0));
}

Test(audio, shifts_and_crops_over_many_draws)
{
    int64_t by[2 * T + 1] = { 0 }, steps[T + 1] = { 0 }, from[T] = { 0 };
    for (int k = 0; k < DRAWS; k++) {
        ak_real x[T * D], y[T * D];
        cr_assert_eq(draw(ak_time_shift(0.25, true, 1), k, x), T);
        cr_assert_eq(draw(ak_time_shift(0.25, false, 1), k, y), T);
        int64_t s = ((int64_t)x[0] - 1) / D;            /* x[0] is step s of what went in */
        s = s > T / 2 ? T - s : -s;
        by[T + s]++;
        for (int t = 0; t < T; t++)
            for (int c = 0; c < D; c++) {
                const int64_t u = (t - s + T) % T;
                cr_assert_eq(x[t * D + c], (ak_real)(u * D + c + 1));
                const bool there = t - s >= 0 && t - s < T;
                cr_assert_eq(y[t * D + c], there ? (ak_real)((t - s) * D + c + 1) : 0);
            }
        const int64_t n = draw(ak_time_crop(0.5, 1), k, x);
        const int64_t first = ((int64_t)x[0] - 1) / D;
        steps[n]++;
        cr_assert(n >= T / 2 && first + n <= T);
        for (int64_t i = 0; i < n * D; i++)
            cr_assert_eq(x[i], (ak_real)(first * D + i + 1));
        cr_assert_eq(draw(ak_time_window(20), k, x), 20);
        from[((int64_t)x[0] - 1) / D]++;
    }
    for (int s = -15; s <= 15; s++)     /* the ends have half a step */
        cr_expect(llabs(by[T + s] - DRAWS / (abs(s) == 15 ? 60 : 30)) < 80, "%d: %lld", s,
                  (long long)by[T + s]);
    for (int n = 31; n < 60; n++)
        cr_expect(llabs(steps[n] - DRAWS / 30) < 80, "%d: %lld", n, (long long)steps[n]);
    for (int t = 0; t <= 40; t++)
        cr_expect(llabs(from[t] - DRAWS / 41) < 70, "%d: %lld", t, (long long)from[t]);
}

Test(audio, masks_over_many_draws)
{
    int64_t times[21] = { 0 }, columns[D + 1] = { 0 }, hit[D] = { 0 };
    const ak_real mean = (ak_real)(T * D + 1) / 2;
    for (int k = 0; k < DRAWS; k++) {
        ak_real x[T * D];
        cr_assert_eq(draw(ak_time_mask(1, 30, 1.0 / 3), k, x), T);
        int masked = 0, runs = 0;
        for (int t = 0; t < T; t++) {
            const bool here = x[t * D] == mean;
            for (int c = 0; c < D; c++)
                cr_assert_eq(x[t * D + c], here ? mean : (ak_real)(t * D + c + 1));
            masked += here;
            runs += here && (t == 0 || x[(t - 1) * D] != mean);
        }
        cr_assert(masked <= 20 && runs <= 1);
        times[masked]++;
        draw(ak_frequency_mask_value(1, 2, -5), k, x);
        masked = 0;
        for (int c = 0; c < D; c++) {
            const bool here = x[c] == -5;
            for (int t = 0; t < T; t++)
                cr_assert_eq(x[t * D + c], here ? -5 : (ak_real)(t * D + c + 1));
            masked += here;
            hit[c] += here;
        }
        columns[masked]++;
        draw(ak_time_mask_value(2, 5, 1, 0), k, x);
    }
    for (int n = 0; n <= 20; n++)
        cr_expect(llabs(times[n] - DRAWS / 21) < 90, "%d: %lld", n, (long long)times[n]);
    for (int n = 0; n <= 2; n++)
        cr_expect(llabs(columns[n] - DRAWS / 3) < 200, "%d: %lld", n, (long long)columns[n]);
    cr_expect(columns[3] == 0 && columns[4] == 0);
    /* One column: each as likely; two: the ends stand in one pair of three, the others in two. */
    cr_expect(llabs(hit[0] - (DRAWS / 12 + DRAWS / 9)) < 180, "%lld", (long long)hit[0]);
    cr_expect(llabs(hit[1] - (DRAWS / 12 + 2 * DRAWS / 9)) < 200, "%lld", (long long)hit[1]);
}

Test(audio, views_of_a_data_set, .init = setup, .fini = teardown)
{
    double values[6 * 50];
    int64_t lengths[6] = { 50, 0, 1, 7, 50, 30 };
    for (int i = 0; i < 300; i++)
        values[i] = sin(i);
    ak_array a = { .name = "x", .type = AK_TYPE_F64, .shape = AK_SHAPE(6, 50, 1), .size = 300,
                   .data = values };
    ak_array l = { .name = "l", .type = AK_TYPE_I64, .shape = AK_SHAPE(6), .size = 6,
                   .data = lengths };
    ak_dataset *ds = ak_dataset_fields(ctx, "sounds", (ak_field[]){
        { "sound", AK_FIELD_SEQUENCE, .array = &a, .lengths = &l }, { 0 } });
    const ak_augment list[] = { ak_sound_noise(0, 20, 1), ak_sound_gain(-6, 6, 1),
                                ak_time_shift(0.5, true, 1), ak_time_crop(0.5, 1),
                                ak_time_mask(2, 5, 0.5), ak_frequency_mask(1, 1),
                                ak_time_window(20), { 0 } };
    ak_real first[2 * 6 * 20];
    for (int threads = 0; threads <= 4; threads++) {
        ak_loader *loader = ak_loader_open(ds, (ak_loader_options){
            .batch = 6, .views = 2, .augment = list, .seed = 3,
            .threads = threads ? threads : AK_NONE });
        ak_batch b;
        cr_assert(ak_loader_next(loader, &b), "%s", ak_error_message(ctx));
        cr_assert_eq(b.all->size, 2 * 6 * 20);          /* [12, 20, 1] */
        if (threads == 0)
            memcpy(first, b.all->data, sizeof first);
        cr_expect(memcmp(first, b.all->data, sizeof first) == 0, "%d threads", threads);
        ak_loader_close(loader);
        ak_step_end(ctx);
    }
    const ak_augment bad[] = {
        ak_sound_noise(5, 1, 1), ak_sound_noise(0, 1, 2), ak_sound_gain(0, 1e9, 1),
        ak_time_shift(2, true, 1), ak_time_crop(0, 1), ak_time_window(0), ak_time_mask(-1, 1, 1),
        ak_time_mask(1, -1, 1), ak_time_mask(1, 1, 2), ak_frequency_mask(101, 1),
        ak_time_mask_value(1, 1, 1, (double)NAN), ak_sound_gain((double)NAN, 0, 1),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_loader_open(ds, (ak_loader_options){
            .batch = 2, .augment = (ak_augment[]){ bad[i], { 0 } } }));
        expect_error(ctx, AK_ERR_VALUE, bad[i].kind->name, "");
    }
}
