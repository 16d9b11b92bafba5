/* SPDX-License-Identifier: Apache-2.0 */
/* PNG files through libpng.
 *
 * An error of libpng jumps (longjmp) back to `guarded`. What was changed since is read again only
 * through the job, which lies in the caller's frame; `guarded` has no variables of its own, so none
 * can be lost in registers, whatever the compiler does. */
#include "data/picture/picture.h"

#include "base/base.h"

#if AK_HAVE_PNG

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct png_job {
    ak__pictures  *p;
    const uint8_t *bytes;
    size_t         n, at;
    const ak_picture_options *o;
    png_structp    png;
    png_infop      info;
    int            orientation;
    ak_status      status;
    uint8_t        palette[256][4];     /* red, green, blue, alpha */
    int            colours;             /* of the palette; 0 = no palette */
    bool           clear;               /* a colour of it is transparent */
} png_job;

/* ---- what libpng calls ----------------------------------------------------------------------- */

static void png_failed(png_structp png, png_const_charp text)
{
    png_job *j = png_get_error_ptr(png);
    if (!j->status)
        j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the PNG file is damaged: %s", text);
    png_longjmp(png, 1);
}

/* Warnings are of what is passed over. What pixels depend on is not passed over. */
static void png_warned(png_structp png, png_const_charp text)
{
    if (strncmp(text, "tRNS", 4) == 0 || strncmp(text, "PLTE", 4) == 0)
        png_failed(png, text);
}

static png_voidp png_take(png_structp png, png_alloc_size_t bytes)
{
    void *p = ak__malloc(bytes);
    if (!p) {
        png_job *j = png_get_mem_ptr(png);
        j->status = ak__picture_fail(j->p, AK_ERR_MEMORY, "out of memory for %zu bytes",
                                     (size_t)bytes);
    }
    return p;
}

static void png_give(png_structp png, png_voidp p)
{
    (void)png;
    ak__free(p);
}

static void png_bytes(png_structp png, png_bytep to, size_t n)
{
    png_job *j = png_get_io_ptr(png);
    if (n > j->n - j->at) {
        j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the PNG file ends too early, after %zu "
                                     "bytes", j->n);
        png_longjmp(png, 1);
    }
    memcpy(to, j->bytes + j->at, n);
    j->at += n;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void leave(png_job *j)
{
    png_longjmp(j->png, 1);
}

/* Of the chunks that are not needed, those that libpng would look into. */
static void skip_chunks(png_job *j)
{
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    static const png_byte names[] = "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0"
                                    "sCAL\0sPLT\0sRGB\0tEXt\0tIME\0zTXt";
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, names, sizeof names / 5);
#else
    (void)j;
#endif
}

static void read_palette(png_job *j)
{
    png_colorp colours;
    png_bytep  alpha;
    int        count = 0, transparent = 0;
    if (!png_get_PLTE(j->png, j->info, &colours, &count) || count < 1) {
        j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the PNG file has no palette for its "
                                     "pixels");
        leave(j);
    }
    if (!png_get_tRNS(j->png, j->info, &alpha, &transparent, NULL))
        transparent = 0;
    j->colours = count < 256 ? count : 256;
    for (int i = 0; i < j->colours; i++) {
        uint8_t *c = j->palette[i];
        c[0] = colours[i].red;
        c[1] = colours[i].green;
        c[2] = colours[i].blue;
        c[3] = i < transparent ? alpha[i] : 255;
        j->clear = j->clear || c[3] < 255;
    }
}

/* What libpng shall make: bytes with 1 to 4 channels; places in the palette stay such. Returns the
 * number of passes. */
static int set_transforms(png_job *j, int type)
{
    if (type == PNG_COLOR_TYPE_PALETTE) {
        read_palette(j);
        png_set_packing(j->png);
    } else {
        png_set_expand(j->png);         /* fewer than 8 bits; a transparent colour to alpha */
        png_set_scale_16(j->png);
    }
    const int passes = png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    return passes;
}

static void read_orientation(png_job *j)
{
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 n = 0;
    png_bytep   exif = NULL;
    if (png_get_eXIf_1(j->png, j->info, &n, &exif) && exif)
        j->orientation = ak__exif_orientation(exif, n);
#else
    (void)j;
#endif
}

/* Can the file hold the rows? Deflate makes at most 1032 bytes of one. Asked before memory is taken
 * for what a small file only claims to have. */
static void check_length(png_job *j, int64_t height)
{
    const int64_t row = (int64_t)png_get_rowbytes(j->png, j->info) + 1;
    if (height <= (int64_t)j->n * 1032 / row)
        return;
    j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the PNG file is damaged: its %zu bytes are "
                                 "too short for %lld rows of %lld bytes", j->n, (long long)height,
                                 (long long)row);
    leave(j);
}

static void read_picture(png_job *j)
{
    png_uint_32 width, height;
    int         depth, type, interlace;
    ak__raster *out = &j->p->out;
    skip_chunks(j);
    png_set_crc_action(j->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_user_limits(j->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);      /* ours are below */
    png_read_info(j->png, j->info);
    png_get_IHDR(j->png, j->info, &width, &height, &depth, &type, &interlace, NULL, NULL);
    j->status = ak__picture_pixels_check(j->p, j->o, height, width, "");
    if (j->status)
        leave(j);
    check_length(j, height);
    const int    passes = set_transforms(j, type);
    const int    channels = png_get_channels(j->png, j->info);
    const size_t row = (size_t)width * (size_t)channels;
    if (png_get_rowbytes(j->png, j->info) != row)
        png_failed(j->png, "rows of another size than expected");
    if (!ak__raster_make(j->p, out, height, width, channels)) {
        j->status = AK_ERR_MEMORY;
        leave(j);
    }
    for (int pass = 0; pass < passes; pass++)
        for (png_uint_32 y = 0; y < height; y++)
            png_read_row(j->png, out->data + y * row, NULL);
    png_read_end(j->png, j->info);
    read_orientation(j);
}

/* False: j->status says why. */
static bool guarded(png_job *j)
{
    if (setjmp(png_jmpbuf(j->png)))
        return false;
    read_picture(j);
    return true;
}

/* Places in the palette become colours, with alpha where one of them is transparent. */
static ak_status look_up(png_job *j)
{
    ak__pictures *p = j->p;
    const int     channels = j->clear ? 4 : 3;
    const int64_t n = p->out.height * p->out.width;
    if (!ak__raster_make(p, &p->spare, p->out.height, p->out.width, channels))
        return AK_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        const int place = p->out.data[i];
        if (place >= j->colours)
            return ak__picture_fail(p, AK_ERR_FORMAT, "the PNG file is damaged: a pixel has colour "
                                    "%d of a palette of %d", place, j->colours);
        memcpy(p->spare.data + i * channels, j->palette[place], (size_t)channels);
    }
    const ak__raster t = p->out;
    p->out = p->spare;
    p->spare = t;
    return AK_OK;
}

ak_status ak__png_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                         const ak_picture_options *o, int *orientation)
{
    png_job j = { .p = p, .bytes = bytes, .n = n, .o = o, .orientation = 1 };
    j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, png_failed, png_warned, &j,
                                     png_take, png_give);
    j.info = j.png ? png_create_info_struct(j.png) : NULL;
    if (j.info) {
        png_set_read_fn(j.png, &j, png_bytes);
        if (!guarded(&j) && !j.status)
            j.status = ak__picture_fail(p, AK_ERR_FORMAT, "the PNG file is damaged");
    } else if (!j.status) {
        j.status = ak__picture_fail(p, AK_ERR_STATE, "libpng does not work: it is another version "
                                    "than the one akin was built with (" PNG_LIBPNG_VER_STRING ")");
    }
    if (j.png)
        png_destroy_read_struct(&j.png, &j.info, NULL);
    *orientation = j.orientation;
    return j.status || !j.colours ? j.status : look_up(&j);
}

#else

ak_status ak__png_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                         const ak_picture_options *o, int *orientation)
{
    (void)bytes, (void)n, (void)o, (void)orientation;
    return ak__picture_fail(p, AK_ERR_STATE, "is a PNG file, and akin was built without libpng: "
                            "install libpng-dev and set up again");
}

#endif
