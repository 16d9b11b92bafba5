/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG files through libjpeg. How errors come back: png_read.c. */
#include "data/picture/picture.h"

#include "base/base.h"

#if AK_HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file may pass over the picture again and again, a few bytes for each time. Files of
 * photographs have ten scans. */
#define MOST_SCANS 100

typedef struct jpeg_job {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr         errors;
    struct jpeg_progress_mgr      progress;
    jmp_buf        back;
    ak__pictures  *p;
    const uint8_t *bytes;
    size_t         n;
    const ak_picture_options *o;
    int            orientation;
    ak_status      status;
} jpeg_job;

/* ---- what libjpeg calls ---------------------------------------------------------------------- */

static void jpeg_failed(j_common_ptr codec)
{
    jpeg_job *j = codec->client_data;
    char      text[JMSG_LENGTH_MAX];
    if (!j->status) {
        codec->err->format_message(codec, text);
        switch (codec->err->msg_code) {
        case JERR_OUT_OF_MEMORY:
            j->status = ak__picture_fail(j->p, AK_ERR_MEMORY, "out of memory in libjpeg");
            break;
        case JERR_BAD_PRECISION:
        case JERR_SOF_UNSUPPORTED:
        case JERR_ARITH_NOTIMPL:
        case JERR_CONVERSION_NOTIMPL:
        case JERR_FRACT_SAMPLE_NOTIMPL:
        case JERR_CCIR601_NOTIMPL:
            j->status = ak__picture_fail(j->p, AK_ERR_UNSUPPORTED, "a kind of JPEG that is not "
                                         "read: %s", text);
            break;
        default:
            j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the JPEG file is damaged: %s",
                                         text);
        }
    }
    longjmp(j->back, 1);
}

/* Of warnings those that stand for pixels which the decoder has made up are errors. */
static void jpeg_warned(j_common_ptr codec, int level)
{
    if (level >= 0)
        return;
    switch (codec->err->msg_code) {
    case JWRN_ADOBE_XFORM:          /* an unknown number in Adobe's marker */
    case JWRN_EXTRANEOUS_DATA:      /* bytes between the markers */
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:       /* the header asks for less than there is */
    case JWRN_TOO_MUCH_DATA:
        return;
    default:
        jpeg_failed(codec);
    }
}

static void jpeg_progressed(j_common_ptr codec)
{
    jpeg_job *j = codec->client_data;
    if (j->codec.input_scan_number <= MOST_SCANS)
        return;
    j->status = ak__picture_fail(j->p, AK_ERR_FORMAT, "the JPEG file has more than %d scans",
                                 MOST_SCANS);
    longjmp(j->back, 1);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_exif(jpeg_job *j)
{
    for (jpeg_saved_marker_ptr m = j->codec.marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length > 6 &&
            memcmp(m->data, "Exif\0\0", 6) == 0) {
            j->orientation = ak__exif_orientation(m->data + 6, m->data_length - 6);
            return;
        }
}

/* What the decoder shall make; how many channels that has. */
static int set_colours(jpeg_job *j)
{
    const bool grey = j->o->channels == 1;
    switch (j->codec.jpeg_color_space) {
    case JCS_GRAYSCALE:
        j->codec.out_color_space = JCS_GRAYSCALE;
        return 1;
    case JCS_YCbCr:         /* of which Y is the grey that is wanted */
        j->codec.out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
        return grey ? 1 : 3;
    case JCS_RGB:
        j->codec.out_color_space = JCS_RGB;
        return 3;
    case JCS_CMYK:
    case JCS_YCCK:
        j->codec.out_color_space = JCS_CMYK;
        return 4;
    default:
        j->status = ak__picture_fail(j->p, AK_ERR_UNSUPPORTED, "a kind of JPEG that is not read: "
                                     "its %d channels are no known colours",
                                     j->codec.num_components);
        longjmp(j->back, 1);
    }
}

static void read_picture(jpeg_job *j)
{
    struct jpeg_decompress_struct *codec = &j->codec;
    jpeg_create_decompress(codec);
    codec->progress = &j->progress;
    jpeg_mem_src(codec, j->bytes, (unsigned long)j->n);
    jpeg_save_markers(codec, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(codec, TRUE);
    j->status = ak__picture_pixels_check(j->p, j->o, codec->image_height, codec->image_width, "");
    if (j->status)
        longjmp(j->back, 1);
    read_exif(j);
    const int channels = set_colours(j);
    if (!ak__raster_make(j->p, &j->p->out, codec->image_height, codec->image_width, channels)) {
        j->status = AK_ERR_MEMORY;
        longjmp(j->back, 1);
    }
    jpeg_start_decompress(codec);
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW row = j->p->out.data +
                       (size_t)codec->output_scanline * codec->output_width * (size_t)channels;
        jpeg_read_scanlines(codec, &row, 1);
    }
    jpeg_finish_decompress(codec);
}

/* False: j->status says why. */
static bool guarded(jpeg_job *j)
{
    if (setjmp(j->back))
        return false;
    read_picture(j);
    return true;
}

/* Inks to colours, as Pillow does it: whatever Adobe's marker says, numbers are taken for inverted
 * (255 = no ink), since all programs write them so; then R = (255 - K) - C (255 - K) / 255, cut. */
static void from_inks(ak__raster *out)
{
    const int64_t  n = out->height * out->width;
    const uint8_t *x = out->data;
    uint8_t       *y = out->data;
    for (int64_t i = 0; i < n; i++, x += 4, y += 3)
        for (int k = 0; k < 3; k++) {
            const uint32_t paper = x[3], t = (255u - x[k]) * paper + 128;
            const uint32_t ink = (t + (t >> 8)) >> 8;
            y[k] = (uint8_t)(paper > ink ? paper - ink : 0);
        }
    out->channels = 3;
}

ak_status ak__jpeg_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                          const ak_picture_options *o, int *orientation)
{
    jpeg_job j = { .p = p, .bytes = bytes, .n = n, .o = o, .orientation = 1 };
    j.codec.err = jpeg_std_error(&j.errors);
    j.codec.client_data = &j;
    j.errors.error_exit = jpeg_failed;
    j.errors.emit_message = jpeg_warned;
    j.progress.progress_monitor = jpeg_progressed;
    if (!guarded(&j) && !j.status)
        j.status = ak__picture_fail(p, AK_ERR_FORMAT, "the JPEG file is damaged");
    jpeg_destroy_decompress(&j.codec);
    *orientation = j.orientation;
    if (!j.status && p->out.channels == 4)
        from_inks(&p->out);
    return j.status;
}

#else

ak_status ak__jpeg_decode(ak__pictures *p, const uint8_t *bytes, size_t n,
                          const ak_picture_options *o, int *orientation)
{
    (void)bytes, (void)n, (void)o, (void)orientation;
    return ak__picture_fail(p, AK_ERR_STATE, "is a JPEG file, and akin was built without libjpeg: "
                            "install libjpeg-dev and set up again");
}

#endif
