/* SPDX-License-Identifier: Apache-2.0 */
/* Picture files and sizes: against Pillow (tests/data/pictures.npz, which tests/peer/pictures.py
 * makes; AK_TEST_DATA may hold a larger one), options, damaged and hostile files, writing. */
#include "data_files.h"

#include <akin/picture.h>

#include "data/picture/picture.h"

#include <zlib.h>

static const uint8_t background[3] = { 10, 200, 90 };

static const ak_array *fixture(ak_ctx *ctx, const char *name)
{
    static ak_npz *f;
    static ak_ctx *of;
    char           path[512];
    if (of != ctx) {
        snprintf(path, sizeof path, "%s/pictures.npz", getenv("AK_TEST_DATA"));
        f = ak_npz_open(ctx, path);
        of = ctx;
    }
    const ak_array *a = ak_npz_find(f, name);
    cr_assert(a || !ak_error(ctx), "%s", ak_error_message(ctx));
    return a;
}

static int64_t entry(const ak_array *table, int64_t row, int64_t column)
{
    return (int64_t)ak_array_at(table, row * table->shape.dims[1] + column);
}

/* ---- files against Pillow -------------------------------------------------------------------- */

typedef struct example {
    char           name[40];
    const uint8_t *bytes, *pixels, *grey;
    size_t         n;
    int64_t        H, W;
    bool           jpeg;
} example;

/* The i-th file of the fixture. */
static bool next_example(ak_ctx *ctx, int64_t i, example *e)
{
    const ak_array *table = fixture(ctx, "file/table");
    static const char *name;
    static const uint8_t *bytes, *pixels, *grey;
    if (i == 0) {
        name = fixture(ctx, "file/names")->data;
        bytes = fixture(ctx, "file/bytes")->data;
        pixels = fixture(ctx, "file/pixels")->data;
        grey = fixture(ctx, "file/grey")->data;
    }
    if (i == table->shape.dims[0])
        return false;
    const char *end = strchr(name, '\n');
    *e = (example){ .bytes = bytes, .pixels = pixels, .n = (size_t)entry(table, i, 0),
                    .H = entry(table, i, 1), .W = entry(table, i, 2),
                    .jpeg = entry(table, i, 3) != 0 };
    snprintf(e->name, sizeof e->name, "%.*s", (int)(end - name), name);
    name = end + 1;
    bytes += e->n;
    pixels += e->H * e->W * 4;
    if (entry(table, i, 4)) {
        e->grey = grey;
        grey += e->H * e->W;
    }
    return true;
}

/* The formulas of the header, written out in another way. */
static int expected(const example *e, int64_t pixel, int channels, int c)
{
    const uint8_t *x = e->pixels + 4 * pixel;
    int            rgb[3];
    if (channels == 4)
        return x[c];
    for (int k = 0; k < 3; k++)
        rgb[k] = (int)floor((x[k] * x[3] + background[k] * (255 - x[3])) / 255.0 + 0.5);
    if (channels == 3)
        return rgb[c];
    return e->grey ? e->grey[pixel]
                   : (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) / 65536;
}

Test(picture, files_are_what_pillow_reads)
{
    ak_ctx      *ctx = quiet();
    ak__pictures p = { 0 };
    example      e;
    int          files = 0, far = 0;
    for (int64_t i = 0; next_example(ctx, i, &e); i++, files++)
        for (int channels = 1; channels <= 4; channels++) {
            if (channels == 2)
                continue;
            const ak_picture_options o = { .channels = channels, .background = background };
            const ak_status status = ak__picture_parse(&p, e.bytes, e.n, &o);
            cr_assert_eq(status, AK_OK, "%s: %s", e.name, p.error);
            cr_assert(p.out.height == e.H && p.out.width == e.W && p.out.channels == channels,
                      "%s: %lld x %lld x %d", e.name, (long long)p.out.height,
                      (long long)p.out.width, p.out.channels);
            for (int64_t k = 0; k < e.H * e.W * channels; k++) {
                const int want = expected(&e, k / channels, channels, (int)(k % channels));
                const int off = abs(want - p.out.data[k]);
                /* Another libjpeg may round one level apart. */
                cr_assert(off <= (e.jpeg ? 1 : 0), "%s, %d channels, number %lld: %d, not %d",
                          e.name, channels, (long long)k, p.out.data[k], want);
                far += off;
            }
        }
    cr_expect_geq(files, 60);
    cr_expect_eq(far, 0, "%d numbers of JPEG files are one level apart", far);
    ak__pictures_free(&p);
    ak_close(ctx);
}

Test(picture, read_and_fill)
{
    ak_ctx *ctx = quiet();
    char    dir[64], error[200] = "";
    example e;
    new_folder(dir);
    for (int64_t i = 0; next_example(ctx, i, &e); i++) {
        if (strcmp(e.name, "colour-alpha8") != 0)
            continue;
        const char *path = path_in(dir, "a.png");
        put_file(path, e.bytes, e.n);
        const ak_picture_options o = { .background = background, .shorter = 9, .height = 7,
                                       .width = 5, .filter = AK_FILTER_BICUBIC };
        const ak_array *a = ak_picture_read(ctx, path, o);
        cr_assert_not_null(a, "%s", ak_error_message(ctx));
        cr_expect(a->type == AK_TYPE_U8 && ak_shape_equal(a->shape, AK_SHAPE(7, 5, 3)));
        /* The same in steps. */
        const ak_array *whole = ak_picture_read(ctx, path, (ak_picture_options){
            .background = background });
        const ak_array *b = ak_picture_crop_center(ctx,
            ak_picture_resize_shorter(ctx, whole, 9, AK_FILTER_BICUBIC), 7, 5);
        cr_expect_eq(memcmp(a->data, b->data, (size_t)a->size), 0);
        uint8_t pixels[7 * 5 * 3];
        cr_expect(ak_picture_fill(path, o, pixels, error), "%s", error);
        cr_expect_eq(memcmp(a->data, pixels, sizeof pixels), 0);
        cr_expect_not(ak_picture_fill(path, (ak_picture_options){ .shorter = 9 }, pixels, error));
        cr_expect(strstr(error, "a.png: .height and .width"), "%s", error);
        cr_expect_not(ak_picture_fill("/nowhere/b.png", o, pixels, error));
        cr_expect(strstr(error, "/nowhere/b.png: no such file"), "%s", error);
        cr_expect_eq(ak_error(ctx), AK_OK);
    }
    remove_folder(dir);
    ak_close(ctx);
}

/* The default background is white, and 0 channels are three. */
Test(picture, defaults)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const uint8_t x[] = { 200, 0, 200, 255, 0, 128 };       /* grey, alpha */
    const ak_array pixels = { "x", AK_TYPE_U8, AK_SHAPE(1, 3, 2), 6, x };
    cr_assert_eq(ak_picture_write_png(ctx, path_in(dir, "a.png"), &pixels), AK_OK);
    const ak_array *a = ak_picture_read(ctx, path_in(dir, "a.png"), (ak_picture_options){ 0 });
    cr_assert_not_null(a);
    const uint8_t want[] = { 255, 255, 255, 200, 200, 200, 127, 127, 127 };
    cr_expect(ak_shape_equal(a->shape, AK_SHAPE(1, 3, 3)));
    cr_expect_eq(memcmp(a->data, want, sizeof want), 0);
    remove_folder(dir);
    ak_close(ctx);
}

/* ---- orientation ----------------------------------------------------------------------------- */

/* EXIF with one entry, either byte order. */
static size_t exif(uint8_t *to, bool big, int tag, int type, int value)
{
    const uint8_t little_head[8] = "II*\0\10\0\0", big_head[8] = "MM\0*\0\0\0\10";
    memcpy(to, big ? big_head : little_head, 8);
    const int numbers[] = { 1, tag, type };
    for (int i = 0; i < 3; i++) {
        to[8 + 2 * i + big] = (uint8_t)numbers[i];
        to[9 + 2 * i - big] = (uint8_t)(numbers[i] >> 8);
    }
    memset(to + 14, 0, 12);
    to[14 + (big ? 3 : 0)] = 1;
    to[18 + big] = (uint8_t)value;
    return 26;
}

Test(picture, exif_bytes)
{
    uint8_t b[32];
    for (int big = 0; big < 2; big++) {
        for (int v = 0; v < 10; v++) {
            const size_t n = exif(b, big, 0x0112, 3, v);
            cr_expect_eq(ak__exif_orientation(b, n), v >= 1 && v <= 8 ? v : 1);
            for (size_t cut = 0; cut < n - 4; cut++)    /* two bytes behind the value are free */
                cr_expect_eq(ak__exif_orientation(b, cut), 1);
        }
        exif(b, big, 0x0112, 4, 6);
        cr_expect_eq(ak__exif_orientation(b, 26), 1);
        exif(b, big, 0x0113, 3, 6);
        cr_expect_eq(ak__exif_orientation(b, 26), 1);
    }
    exif(b, false, 0x0112, 3, 6);
    memset(b + 4, 0xff, 4);                                 /* a list beyond the end */
    cr_expect_eq(ak__exif_orientation(b, 26), 1);
}

Test(picture, as_stored)
{
    ak_ctx      *ctx = quiet();
    ak__pictures p = { 0 }, q = { 0 };
    example      e, upright = { 0 };
    int          turned = 0;
    for (int64_t i = 0; next_example(ctx, i, &e); i++) {
        if (strncmp(e.name, "jpeg-turned", 11) != 0)
            continue;
        const ak_picture_options stored = { .as_stored = true };
        cr_assert_eq(ak__picture_parse(&p, e.bytes, e.n, &stored), AK_OK);
        if (!upright.bytes)
            upright = e;
        cr_assert_eq(ak__picture_parse(&q, upright.bytes, upright.n, &stored), AK_OK);
        cr_expect(p.out.height == q.out.height && p.out.width == q.out.width);
        cr_expect_eq(memcmp(p.out.data, q.out.data, (size_t)(e.H * e.W * 3)), 0, "%s", e.name);
        turned++;
    }
    cr_expect_eq(turned, 8);
    ak__pictures_free(&p);
    ak__pictures_free(&q);
    ak_close(ctx);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(const char *what, const void *bytes, size_t n, ak_picture_options o,
                    ak_status status, const char *word)
{
    ak__pictures    p = { 0 };
    const ak_status got = ak__picture_parse(&p, bytes, n, &o);
    cr_expect_eq(got, status, "%s: %s: %s", what, ak_status_name(got), p.error);
    cr_expect(strstr(p.error, word), "%s: no \"%s\" in: %s", what, word, p.error);
    ak__pictures_free(&p);
}

static void put_be32(uint8_t *at, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(x >> (24 - 8 * i));
}

/* The head of a PNG file of this size. */
static size_t png_head(uint8_t to[64], uint32_t width, uint32_t height)
{
    memcpy(to, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    put_be32(to + 16, width);
    put_be32(to + 20, height);
    memcpy(to + 24, "\10\2\0\0\0", 5);
    put_be32(to + 29, (uint32_t)crc32(0, to + 12, 17));
    memcpy(to + 33, "\0\0\0\0IDAT", 8);
    put_be32(to + 41, (uint32_t)crc32(0, to + 37, 4));
    return 45;
}

Test(picture, size_is_refused_before_memory_is_taken)
{
    uint8_t b[64];
    const size_t n = png_head(b, 30000, 30000);
    const uint64_t before = ak_malloc_count();
    refused("png", b, n, (ak_picture_options){ 0 }, AK_ERR_VALUE, "30000 x 30000");
    refused("png", b, n, (ak_picture_options){ .most_pixels = 899999999 }, AK_ERR_VALUE,
            ".most_pixels");
    cr_expect_leq(ak_malloc_count() - before, 40);          /* libpng's own small things */
    /* Allowed, but the file has not the bytes for so many: deflate makes 1032 of one at most. */
    refused("png", b, n, (ak_picture_options){ .most_pixels = 900000000 }, AK_ERR_FORMAT,
            "too short");
    png_head(b, 200, 200);
    refused("png", b, n, (ak_picture_options){ 0 }, AK_ERR_FORMAT, "too short");
    cr_expect_leq(ak_malloc_count() - before, 80);
    png_head(b, 100, 30);
    refused("png", b, n, (ak_picture_options){ 0 }, AK_ERR_FORMAT, "early");
    png_head(b, 0x7fffffff, 0x7fffffff);
    refused("png", b, n, (ak_picture_options){ .most_pixels = INT64_MAX }, AK_ERR_FORMAT,
            "too short");
    /* SOI, SOF0 of 65500 x 65500 with 3 channels */
    const uint8_t jpeg[] = { 0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x11,
                             0, 2, 0x11, 0, 3, 0x11, 0, 0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0,
                             63, 0 };
    refused("jpeg", jpeg, sizeof jpeg, (ak_picture_options){ 0 }, AK_ERR_VALUE, "65500 x 65500");
}

Test(picture, other_formats_are_named)
{
    const struct { const char *bytes; size_t n; const char *word; ak_status status; } cases[] = {
        { "GIF89a......", 12, "a GIF", AK_ERR_UNSUPPORTED },
        { "RIFF....WEBPVP8 ", 16, "a WebP", AK_ERR_UNSUPPORTED },
        { "BM..........", 12, "a BMP", AK_ERR_UNSUPPORTED },
        { "II*\0........", 12, "a TIFF", AK_ERR_UNSUPPORTED },
        { "....ftypheic", 12, "HEIC", AK_ERR_UNSUPPORTED },
        { "<svg xmlns=\"", 12, "an SVG", AK_ERR_UNSUPPORTED },
        { "", 0, "empty", AK_ERR_FORMAT },
        { "x", 1, "neither", AK_ERR_FORMAT },
        { "\x89PNG", 4, "neither", AK_ERR_FORMAT },
        { "hello, world", 12, "68 65 6c 6c", AK_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].word, cases[i].bytes, cases[i].n, (ak_picture_options){ 0 },
                cases[i].status, cases[i].word);
}

/* Every file of the fixture cut at every place, and with single bytes changed: an error or a
 * picture, never a crash; what is cut is an error unless nothing that counts is missing. */
Test(picture, damaged_files)
{
    ak_ctx      *ctx = quiet();
    ak__pictures p = { 0 };
    example      e;
    for (int64_t i = 0; next_example(ctx, i, &e); i++) {
        uint8_t *copy = malloc(e.n);
        for (size_t cut = 0; cut + 2 < e.n; cut++) {        /* JPEG's end mark has 2 bytes */
            memcpy(copy, e.bytes, cut);
            uint8_t *exact = malloc(cut ? cut : 1);
            memcpy(exact, e.bytes, cut);
            cr_assert_neq(ak__picture_parse(&p, exact, cut, &(ak_picture_options){ 0 }), AK_OK,
                          "%s cut after %zu of %zu bytes", e.name, cut, e.n);
            cr_assert(p.error[0]);
            free(exact);
        }
        memcpy(copy, e.bytes, e.n);
        int noticed = 0, tried = 0;
        for (size_t at = 0; at < e.n; at += 1 + e.n / 100, tried++) {
            copy[at] ^= 0x10;
            noticed += ak__picture_parse(&p, copy, e.n, &(ak_picture_options){
                .most_pixels = 1 << 20 }) != AK_OK;
            copy[at] ^= 0x10;
        }
        /* A PNG file has checksums over all but eight bytes of each chunk. */
        cr_expect(e.jpeg || noticed == tried, "%s: %d of %d", e.name, noticed, tried);
        free(copy);
    }
    ak__pictures_free(&p);
    ak_close(ctx);
}

/* A pixel beyond its palette: libpng would hand out black. */
Test(picture, place_beyond_the_palette)
{
    uint8_t b[128];
    png_head(b, 2, 1);
    b[25] = 3;
    put_be32(b + 29, (uint32_t)crc32(0, b + 12, 17));
    size_t n = 33;
    memcpy(b + n, "\0\0\0\6PLTE\1\2\3\4\5\6", 14);
    put_be32(b + n + 14, (uint32_t)crc32(0, b + n + 4, 10));
    n += 18;
    const uint8_t rows[3] = { 0, 1, 5 };
    uLongf        packed = 40;
    cr_assert_eq(compress(b + n + 8, &packed, rows, 3), Z_OK);
    put_be32(b + n, (uint32_t)packed);
    memcpy(b + n + 4, "IDAT", 4);
    put_be32(b + n + 8 + packed, (uint32_t)crc32(0, b + n + 4, (uInt)packed + 4));
    n += 12 + packed;
    memcpy(b + n, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
    refused("palette", b, n + 12, (ak_picture_options){ 0 }, AK_ERR_FORMAT, "colour 5");
}

/* Ends a chunk of n bytes that begins at b: its length and checksum. Returns its size. */
static size_t end_chunk(uint8_t *b, size_t n)
{
    put_be32(b, (uint32_t)n);
    put_be32(b + 8 + n, (uint32_t)crc32(0, b + 4, (uInt)n + 4));
    return 12 + n;
}

/* PNG files have EXIF as well: a picture of 1 x 2 pixels that lies on its side. */
Test(picture, orientation_of_a_png)
{
    uint8_t b[200];
    png_head(b, 2, 1);
    b[25] = 0;                              /* grey */
    put_be32(b + 29, (uint32_t)crc32(0, b + 12, 17));
    size_t n = 33;
    memcpy(b + n + 4, "eXIf", 4);
    n += end_chunk(b + n, exif(b + n + 8, true, 0x0112, 3, 6));
    const uint8_t row[3] = { 0, 10, 200 };
    uLongf        packed = 40;
    memcpy(b + n + 4, "IDAT", 4);
    cr_assert_eq(compress(b + n + 8, &packed, row, 3), Z_OK);
    n += end_chunk(b + n, packed);
    memcpy(b + n + 4, "IEND", 4);
    n += end_chunk(b + n, 0);
    ak__pictures p = { 0 };
    for (int stored = 0; stored < 2; stored++) {
        const ak_picture_options o = { .channels = 1, .as_stored = stored != 0 };
        cr_assert_eq(ak__picture_parse(&p, b, n, &o), AK_OK, "%s", p.error);
        cr_expect_eq(p.out.height, stored ? 1 : 2);
        cr_expect(p.out.data[0] == 10 && p.out.data[1] == 200);
    }
    ak__pictures_free(&p);
}

Test(picture, options_and_files)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const ak_picture_options bad[] = { { .channels = 2 }, { .channels = -1 }, { .shorter = -1 },
        { .height = 5 }, { .width = 5 }, { .height = 1 << 25, .width = 1 }, { .most_pixels = -1 },
        { .filter = (ak_filter)2 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_picture_read(ctx, "/nowhere", bad[i]));
        expect_error(ctx, AK_ERR_VALUE, "picture_read", "must be");
    }
    cr_expect_null(ak_picture_read(ctx, path_in(dir, "a.png"), (ak_picture_options){ 0 }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "a.png", "no such file");
    cr_expect_null(ak_picture_read(ctx, dir, (ak_picture_options){ 0 }));
    expect_error(ctx, AK_ERR_IO, dir, "a folder");
    const uint8_t  x[12] = { 0 };
    const ak_array pixels = { "x", AK_TYPE_U8, AK_SHAPE(3, 4), 12, x };
    cr_assert_eq(ak_picture_write_png(ctx, path_in(dir, "a.png"), &pixels), AK_OK);
    cr_expect_null(ak_picture_read(ctx, path_in(dir, "a.png"), (ak_picture_options){
        .shorter = 3, .height = 3, .width = 5 }));
    expect_error(ctx, AK_ERR_VALUE, "3 x 5", "3 x 4");
    cr_expect_null(ak_picture_read(ctx, path_in(dir, "a.png"), (ak_picture_options){
        .height = 100, .width = 200, .most_pixels = 19999 }));
    expect_error(ctx, AK_ERR_VALUE, "100 x 200", "after scaling");
    cr_expect_null(ak_picture_read(ctx, path_in(dir, "a.png"), (ak_picture_options){
        .most_pixels = 11 }));
    expect_error(ctx, AK_ERR_VALUE, "3 x 4", "11");
    remove_folder(dir);
    ak_close(ctx);
}

/* Memory that runs out at each place in turn: an error, no crash, no leak. */
Test(picture, memory_runs_out)
{
    ak_ctx *ctx = quiet();
    example e;
    for (int64_t i = 0; next_example(ctx, i, &e); i++) {
        if (strcmp(e.name, "palette4-alpha-interlaced") != 0 && strcmp(e.name, "jpeg-turned6") != 0)
            continue;
        bool done = false;
        for (uint64_t n = 1; !done; n++) {
            ak__pictures             p = { 0 };
            const ak_picture_options o = { .channels = 4, .height = 20, .width = 9 };
            ak_fail_alloc_after(n, false);
            const ak_status status = ak__picture_parse(&p, e.bytes, e.n, &o);
            ak_fail_alloc_after(0, false);
            done = status == AK_OK;
            cr_assert(done || status == AK_ERR_MEMORY, "%s, %d: %s", e.name, n, p.error);
            ak__pictures_free(&p);
            cr_assert_lt(n, 200);
        }
    }
    ak_close(ctx);
}

/* ---- writing --------------------------------------------------------------------------------- */

Test(picture, written_and_read)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const struct { int64_t H, W; int C; } sizes[] = { { 1, 1, 1 }, { 5, 7, 1 }, { 9, 4, 3 },
                                                      { 3, 300, 4 } };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t n = sizes[k].H * sizes[k].W * sizes[k].C;
        uint8_t      *x = malloc((size_t)n);
        ak_real      *real = malloc((size_t)n * sizeof *real);
        for (int64_t i = 0; i < n; i++) {
            x[i] = (uint8_t)(ak_random_u32(1, k, (uint64_t)i) >> 24);
            real[i] = (ak_real)x[i] * (ak_real)(1.0 / 255);
        }
        const ak_shape shape = AK_SHAPE(sizes[k].H, sizes[k].W, sizes[k].C);
        const ak_array pixels = { "x", AK_TYPE_U8, shape, n, x };
        const char    *paths[2] = { path_in(dir, "a.png"), path_in(dir, "b.png") };
        cr_assert_eq(ak_picture_write_png(ctx, paths[0], &pixels), AK_OK);
        cr_assert_eq(ak_picture_write_tensor(ctx, paths[1], ak_from(ctx, shape, real)), AK_OK);
        for (int f = 0; f < 2; f++) {
            const ak_array *a = ak_picture_read(ctx, paths[f], (ak_picture_options){
                .channels = sizes[k].C });
            cr_assert(a && ak_shape_equal(a->shape, shape));
            cr_expect_eq(memcmp(a->data, x, (size_t)n), 0, "file %d, picture %zu", f, k);
        }
        free(x);
        free(real);
    }
    remove_folder(dir);
    ak_close(ctx);
}

Test(picture, what_is_not_written)
{
    ak_ctx *ctx = quiet();
    const uint8_t  x[30] = { 0 };
    const ak_array bad[] = { { "x", AK_TYPE_U8, AK_SHAPE(1, 1, 5), 5, x },
                             { "x", AK_TYPE_U8, AK_SHAPE(2), 2, x },
                             { "x", AK_TYPE_U8, AK_SHAPE(0, 3, 3), 0, x } };
    for (int i = 0; i < 3; i++) {
        cr_expect_neq(ak_picture_write_png(ctx, "/nowhere/a.png", &bad[i]), AK_OK);
        expect_error(ctx, AK_ERR_SHAPE, "picture_write_png", "1 to 4 channels");
    }
    const ak_array words = { "words", AK_TYPE_I32, AK_SHAPE(1, 1), 1, x };
    cr_expect_neq(ak_picture_write_png(ctx, "/nowhere/a.png", &words), AK_OK);
    expect_error(ctx, AK_ERR_VALUE, "words", "i4");
    const ak_array fine = { "x", AK_TYPE_U8, AK_SHAPE(2, 3), 6, x };
    cr_expect_neq(ak_picture_write_png(ctx, "/nowhere/a.png", &fine), AK_OK);
    expect_error(ctx, AK_ERR_IO, "/nowhere", "a.png");
    const double values[] = { 1.1, -0.1, (double)INFINITY, (double)NAN };
    for (int i = 0; i < 4; i++) {
        cr_expect_neq(ak_picture_write_tensor(ctx, "/nowhere/a.png",
                                              ak_full(ctx, AK_SHAPE(2, 2), values[i])), AK_OK);
        expect_error(ctx, i == 3 ? AK_ERR_NUMBER : AK_ERR_VALUE, "[0, 1]", "ak_picture_grid");
    }
    ak_close(ctx);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* The header's formula, for one number of a picture that is scaled along rows, then columns. */
static double filtered(ak_filter filter, double t)
{
    t = fabs(t);
    if (filter == AK_FILTER_BILINEAR)
        return fmax(0, 1 - t);
    return t < 1 ? 1.5 * t * t * t - 2.5 * t * t + 1
         : t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2 : 0;
}

static double weight(ak_filter filter, int64_t in, int64_t out, int64_t i, int64_t j, double *all)
{
    const double c = ((double)i + 0.5) * (double)in / (double)out;
    const double s = fmax(1, (double)in / (double)out);
    const double w = filtered(filter, ((double)j + 0.5 - c) / s);
    *all += w;
    return w;
}

static double scaled(const uint8_t *x, const int64_t *size, int64_t i, int64_t k, int64_t c)
{
    const ak_filter filter = (ak_filter)size[5];
    const int64_t   H = size[0], W = size[1], C = size[2];
    double          sum = 0, down = 0;
    for (int64_t y = 0; y < H; y++) {
        double row = 0, across = 0;
        for (int64_t j = 0; j < W; j++)
            row += weight(filter, W, size[4], k, j, &across) * x[(y * W + j) * C + c];
        sum += weight(filter, H, size[3], i, y, &down) * row / across;
    }
    return sum / down;
}

Test(picture, sizes_are_pillows)
{
    ak_ctx         *ctx = quiet();
    const ak_array *table = fixture(ctx, "resize/table"), *real = fixture(ctx, "resize/real");
    const uint8_t  *in = fixture(ctx, "resize/in")->data, *out = fixture(ctx, "resize/out")->data;
    int64_t         at = 0;
    for (int64_t k = 0; k < table->shape.dims[0]; k++) {
        int64_t s[6];
        for (int i = 0; i < 6; i++)
            s[i] = entry(table, k, i);
        const int64_t  n = s[0] * s[1] * s[2], m = s[3] * s[4] * s[2];
        const ak_array x = { "x", AK_TYPE_U8, AK_SHAPE(s[0], s[1], s[2]), n, in };
        const ak_array *y = ak_picture_resize(ctx, &x, s[3], s[4], (ak_filter)s[5]);
        cr_assert(y && ak_shape_equal(y->shape, AK_SHAPE(s[3], s[4], s[2])));
        for (int64_t i = 0; i < m; i++)
            cr_assert_eq(((const uint8_t *)y->data)[i], out[i], "case %lld, number %lld: %d, not "
                         "%d", (long long)k, (long long)i, ((const uint8_t *)y->data)[i], out[i]);
        /* Numbers: not rounded, not cut, whatever the channels. */
        const ak_tensor *z = ak_picture_resize_tensor(ak_array_tensor(ctx, &x), s[3], s[4],
                                                      (ak_filter)s[5]);
        cr_assert_eq(z->size, m);
        for (int64_t i = 0; i < m; i++) {
            const double want = real ? ak_array_at(real, at + i)
                                     : scaled(in, s, i / s[2] / s[4], i / s[2] % s[4], i % s[2]);
            cr_assert_float_eq((double)z->data[i], want, 1e-3, "case %lld", (long long)k);
            /* Without alpha and without overshoot, which bytes cut between the passes: within one
             * level of them. */
            if ((s[2] == 1 || s[2] == 3) && s[5] == AK_FILTER_BILINEAR)
                cr_assert_float_eq(want, out[i], 1.01);
        }
        in += n;
        out += m;
        at += m;
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

Test(picture, shorter_side_and_cut_are_torchvisions)
{
    ak_ctx         *ctx = quiet();
    const ak_array *table = fixture(ctx, "shorter/table");
    const uint8_t  *in = fixture(ctx, "shorter/in")->data;
    const uint8_t  *out = fixture(ctx, "shorter/out")->data;
    for (int64_t k = 0; k < table->shape.dims[0]; k++) {
        const int64_t  H = entry(table, k, 0), W = entry(table, k, 1), h = entry(table, k, 3);
        const int64_t  w = entry(table, k, 4);
        const ak_array x = { "x", AK_TYPE_U8, AK_SHAPE(H, W, 3), H * W * 3, in };
        const ak_array *y = ak_picture_crop_center(ctx,
            ak_picture_resize_shorter(ctx, &x, entry(table, k, 2), AK_FILTER_BICUBIC), h, w);
        cr_assert(y && ak_shape_equal(y->shape, AK_SHAPE(h, w, 3)));
        cr_expect_eq(memcmp(y->data, out, (size_t)y->size), 0, "case %lld", (long long)k);
        in += x.size;
        out += y->size;
    }
    ak_close(ctx);
}

Test(picture, same_size_is_the_same_bits)
{
    ak_ctx  *ctx = quiet();
    uint8_t  x[5 * 7 * 4];
    for (size_t i = 0; i < sizeof x; i++)
        x[i] = (uint8_t)(ak_random_u32(3, 3, i) >> 24);
    const ak_array  a = { "x", AK_TYPE_U8, AK_SHAPE(5, 7, 4), 140, x };
    const ak_array *b = ak_picture_resize(ctx, &a, 5, 7, AK_FILTER_BICUBIC);
    cr_expect_eq(memcmp(b->data, x, sizeof x), 0);
    b = ak_picture_resize_shorter(ctx, &a, 5, AK_FILTER_BILINEAR);
    cr_expect_eq(memcmp(b->data, x, sizeof x), 0);
    b = ak_picture_crop_center(ctx, &a, 5, 7);
    cr_expect_eq(memcmp(b->data, x, sizeof x), 0);
    ak_tensor *t = ak_randn(ctx, AK_SHAPE(2, 5, 7, 3));
    const ak_tensor *y = ak_picture_resize_tensor(t, 5, 7, AK_FILTER_BICUBIC);
    cr_expect_eq(memcmp(y->data, t->data, (size_t)t->size * sizeof *t->data), 0);
    ak_close(ctx);
}

Test(picture, sizes_that_are_refused)
{
    ak_ctx        *ctx = quiet();
    const uint8_t  x[12] = { 0 };
    const ak_array a = { "x", AK_TYPE_U8, AK_SHAPE(3, 4), 12, x };
    cr_expect_null(ak_picture_resize(ctx, &a, 0, 5, AK_FILTER_BILINEAR));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize", "1 at least");
    cr_expect_null(ak_picture_resize(ctx, &a, 2, 2, (ak_filter)7));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize", "filter");
    cr_expect_null(ak_picture_resize(ctx, &a, 1 << 24, 1 << 24, AK_FILTER_BILINEAR));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize", "after scaling");
    cr_expect_null(ak_picture_resize_shorter(ctx, &a, -3, AK_FILTER_BILINEAR));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize_shorter", "1 at least");
    cr_expect_null(ak_picture_crop_center(ctx, &a, 4, 4));
    expect_error(ctx, AK_ERR_VALUE, "picture_crop_center", "3 x 4");
    cr_expect(ak_is_poison(ak_picture_resize_tensor(ak_zeros(ctx, AK_SHAPE(3, 3)), 2, 2,
                                                    AK_FILTER_BILINEAR)));
    expect_error(ctx, AK_ERR_SHAPE, "picture_resize_tensor", "[3,3]");
    cr_expect(ak_is_poison(ak_picture_resize_tensor(ak_zeros(ctx, AK_SHAPE(3, 3, 1)), 0, 2,
                                                    AK_FILTER_BILINEAR)));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize_tensor", "0 x 2");
    ak_tensor *leaf = ak_require_grad(ak_zeros(ctx, AK_SHAPE(3, 3, 1)));
    cr_expect(ak_is_poison(ak_picture_resize_tensor(leaf, 2, 2, AK_FILTER_BILINEAR)));
    expect_error(ctx, AK_ERR_VALUE, "picture_resize_tensor", "ak_detach");
    ak_close(ctx);
}

/* ---- grid ------------------------------------------------------------------------------------ */

Test(picture, grid)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(5, 2, 3, 2));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)(i / 12) * (ak_real)0.2;
    const ak_tensor *y = ak_picture_grid(x, (ak_grid_options){ .columns = 2, .margin = 1,
                                                               .background = 0.5 });
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(10, 9, 2)));
    for (int64_t r = 0; r < 10; r++)
        for (int64_t c = 0; c < 9; c++) {
            const int64_t picture = r / 3 * 2 + c / 4;
            const bool    inside = r % 3 && c % 4 && picture < 5;
            const double  want = inside ? 0.2 * (double)picture : 0.5;
            cr_assert_float_eq((double)y->data[(r * 9 + c) * 2 + 1], want, 1e-6, "%lld, %lld",
                               (long long)r, (long long)c);
        }
    y = ak_picture_grid(x, (ak_grid_options){ .margin = AK_NONE, .lo = -0.2, .hi = 0.8 });
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(4, 9, 2)));
    cr_expect_float_eq((double)y->data[0], 0.2, 1e-6);
    y = ak_picture_grid(x, (ak_grid_options){ .fit = true });
    cr_expect(ak_shape_equal(y->shape, AK_SHAPE(2 * 4 + 2, 3 * 5 + 2, 2)));
    cr_expect_float_eq((double)y->data[(2 * 17 + 2) * 2], 0, 1e-6);
    cr_expect_float_eq((double)y->data[(6 * 17 + 7) * 2], 1, 1e-6);

    const ak_grid_options bad[] = { { .columns = 6 }, { .columns = -1 }, { .margin = -2 },
        { .background = 1.5 }, { .background = (double)NAN }, { .lo = 1, .hi = 0.5 },
        { .hi = (double)INFINITY }, { .hi = 0.5 }, { .lo = 0.1, .hi = 1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        x = ak_full(ctx, AK_SHAPE(5, 1, 1, 1), i == 8 ? 0 : 0.7);
        cr_expect(ak_is_poison(ak_picture_grid(x, bad[i])), "%zu", i);
        expect_error(ctx, AK_ERR_VALUE, "picture_grid", ".");
    }
    cr_expect(ak_is_poison(ak_picture_grid(ak_full(ctx, AK_SHAPE(1, 1, 1, 1), (double)NAN),
                                           (ak_grid_options){ .fit = true })));
    expect_error(ctx, AK_ERR_NUMBER, "picture_grid", "finite");
    cr_expect(ak_is_poison(ak_picture_grid(ak_zeros(ctx, AK_SHAPE(3, 3)),
                                           (ak_grid_options){ 0 })));
    expect_error(ctx, AK_ERR_SHAPE, "picture_grid", "[3,3]");
    ak_close(ctx);
}
