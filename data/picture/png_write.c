/* SPDX-License-Identifier: Apache-2.0 */
/* PNG files through libpng: into memory, then to their place at once. How errors come back:
 * png_read.c. */
#include "data/picture/picture.h"

#include "base/base.h"

#if AK_HAVE_PNG

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct png_job {
    ak_ctx        *ctx;
    const uint8_t *pixels;
    int64_t        height, width;
    int            channels;
    ak__bytes     *out;
    png_structp    png;
    png_infop      info;
    bool           told;        /* an error is recorded */
} png_job;

static void png_failed(png_structp png, png_const_charp text)
{
    png_job *j = png_get_error_ptr(png);
    if (!j->told)
        ak_fail(j->ctx, AK_ERR_VALUE, "a PNG file of %lld x %lld x %d bytes can not be made: %s",
                (long long)j->height, (long long)j->width, j->channels, text);
    j->told = true;
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static png_voidp png_take(png_structp png, png_alloc_size_t bytes)
{
    png_job *j = png_get_mem_ptr(png);
    void    *p = ak__malloc(bytes);
    if (!p && !j->told) {
        ak__fail_memory(j->ctx, bytes);
        j->told = true;
    }
    return p;
}

static void png_give(png_structp png, png_voidp p)
{
    (void)png;
    ak__free(p);
}

static void png_bytes(png_structp png, png_bytep from, size_t n)
{
    png_job *j = png_get_io_ptr(png);
    if (ak__bytes_add(j->ctx, j->out, from, n))
        return;
    j->told = true;
    png_longjmp(png, 1);
}

static void png_flushed(png_structp png)
{
    (void)png;
}

static void write_picture(png_job *j)
{
    static const int types[] = { PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                 PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA };
    const size_t row = (size_t)j->width * (size_t)j->channels;
    png_set_user_limits(j->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(j->png, j->info, (png_uint_32)j->width, (png_uint_32)j->height, 8,
                 types[j->channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(j->png, j->info);
    for (int64_t y = 0; y < j->height; y++)
        png_write_row(j->png, j->pixels + (size_t)y * row);
    png_write_end(j->png, NULL);
}

static bool guarded(png_job *j)
{
    if (setjmp(png_jmpbuf(j->png)))
        return false;
    write_picture(j);
    return true;
}

ak_status ak__png_encode(ak_ctx *ctx, const uint8_t *pixels, int64_t height, int64_t width,
                         int channels, ak__bytes *out)
{
    const size_t before = out->n;
    if (height < 1 || width < 1 || height > PNG_UINT_31_MAX || width > PNG_UINT_31_MAX ||
        channels < 1 || channels > 4)
        return ak_fail(ctx, AK_ERR_VALUE, "a PNG file has 1 to 4 channels and sides of 1 to "
                       "2^31 - 1; %lld x %lld x %d were to be written", (long long)height,
                       (long long)width, channels);
    png_job j = { .ctx = ctx, .pixels = pixels, .height = height, .width = width,
                  .channels = channels, .out = out };
    j.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &j, png_failed, png_warned, &j,
                                      png_take, png_give);
    j.info = j.png ? png_create_info_struct(j.png) : NULL;
    bool fine = false;
    if (j.info) {
        png_set_write_fn(j.png, &j, png_bytes, png_flushed);
        fine = guarded(&j);
    } else if (!j.told) {
        ak_fail(ctx, AK_ERR_STATE, "libpng does not work: it is another version than the one akin "
                "was built with (" PNG_LIBPNG_VER_STRING ")");
    }
    if (j.png)
        png_destroy_write_struct(&j.png, &j.info);
    if (fine && !j.told)
        return AK_OK;
    out->n = before;
    return ak_error(ctx);
}

#else

ak_status ak__png_encode(ak_ctx *ctx, const uint8_t *pixels, int64_t height, int64_t width,
                         int channels, ak__bytes *out)
{
    (void)pixels, (void)height, (void)width, (void)channels, (void)out;
    return ak_fail(ctx, AK_ERR_STATE, "PNG files can not be written: akin was built without "
                   "libpng: install libpng-dev and set up again");
}

#endif
