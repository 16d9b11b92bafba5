/* SPDX-License-Identifier: Apache-2.0 */
/* Picture files for those who read many, on any thread and without a context; PNG files in memory.
 *
 *     ak__pictures p = { 0 };                      // one a thread
 *     if (ak__picture_load(&p, path, &options))
 *         ... p.error says what was wrong ...
 *     else
 *         ... p.out.data [p.out.height, p.out.width, p.out.channels] ...
 *     ak__pictures_free(&p);
 */
#ifndef AK_DATA_PICTURE_H
#define AK_DATA_PICTURE_H

#include <akin/picture.h>

#include "io/file.h"

#define AK__PICTURE_TEXT   160
#define AK__PICTURE_PIXELS ((int64_t)1 << 26)   /* the default of ak_picture_options.most_pixels */

/* Bytes [height, width, channels], row by row. */
typedef struct ak__raster {
    uint8_t *data;      /* of ak__malloc */
    size_t   room;      /* bytes of it: used again */
    int64_t  height, width;
    int      channels;
} ak__raster;

/* What pictures are read with. All zero at first; its memory is used again for the next one. */
typedef struct ak__pictures {
    ak__raster out;     /* the picture that was read last */
    ak__raster spare;   /* of steps on the way */
    ak__raster file;    /* the bytes of the file */
    ak__raster taps;    /* weights of resizing */
    char       error[AK__PICTURE_TEXT];     /* what was wrong, without the file's name */
} ak__pictures;
void ak__pictures_free(ak__pictures *p);

/* Are the options possible? If not: why, into error; AK_ERR_VALUE. */
ak_status ak__picture_options_check(const ak_picture_options *o, char error[AK__PICTURE_TEXT]);
/* Read a picture from a file or from bytes, with options that are possible. What is left in p.out
 * after a failure is of no use. */
ak_status ak__picture_load(ak__pictures *p, const char *path, const ak_picture_options *o);
ak_status ak__picture_parse(ak__pictures *p, const uint8_t *bytes, size_t n,
                            const ak_picture_options *o);

/* Write a PNG file of bytes [height, width, channels], 1 to 4 channels, into memory: appended to
 * out. errors: AK_ERR_VALUE for sizes that PNG has not, AK_ERR_STATE (built without libpng),
 * AK_ERR_MEMORY, recorded; out is as it was then */
ak_status ak__png_encode(ak_ctx *ctx, const uint8_t *pixels, int64_t height, int64_t width,
                         int channels, ak__bytes *out);

/* ---- between the files of this folder -------------------------------------------------------- */

/* "the PNG file ends too early" and AK_ERR_FORMAT: a status and its text in p->error. */
ak_status ak__picture_fail(ak__pictures *p, ak_status status, const char *format, ...)
    AK_PRINTF(3, 4);
/* Set the size of a raster; what was in it is lost where it had no room. False: AK_ERR_MEMORY. */
bool ak__raster_make(ak__pictures *p, ak__raster *r, int64_t height, int64_t width, int channels);
/* Are so many pixels allowed? Asked before memory is taken. */
ak_status ak__picture_pixels_check(ak__pictures *p, const ak_picture_options *o, int64_t height,
                                   int64_t width, const char *when);

/* Decoders: the pixels in p->out with the channels that the file has (1 grey, 2 with alpha, 3
 * colour, 4 with alpha; `wanted` may spare a conversion), and EXIF's orientation, 1 if there is
 * none. */
ak_status ak__png_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                         const ak_picture_options *o, int *orientation);
ak_status ak__jpeg_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                          const ak_picture_options *o, int *orientation);
/* The orientation in EXIF's data, which begin with a TIFF header: 1 to 8; 1 where none is said. */
int ak__exif_orientation(const uint8_t *tiff, size_t n);

/* p->out becomes height x width. */
ak_status ak__picture_scale(ak__pictures *p, int64_t height, int64_t width, ak_filter filter,
                            const ak_picture_options *o);
/* p->out becomes height x width out of its middle, where it is as large as that. */
void ak__picture_crop(ak__pictures *p, int64_t height, int64_t width);
/* The size whose shorter side is `side`. False: it has too many pixels to be counted. */
bool ak__picture_shorter(int64_t *height, int64_t *width, int64_t side);

#endif
