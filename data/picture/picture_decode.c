/* SPDX-License-Identifier: Apache-2.0 */
/* From the bytes of a picture file to the picture that was asked for: which format, the decoder,
 * wanted channels, orientation, size. Nothing here knows a context: loader threads call it. */
#include "data/picture/picture.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SIDE ((int64_t)1 << 24)        /* of what may be asked for */
#define MOST_FILE ((int64_t)1 << 31)        /* bytes */

/* ---- what decoders use ----------------------------------------------------------------------- */

ak_status ak__picture_fail(ak__pictures *p, ak_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->error, sizeof p->error, format, args);
    va_end(args);
    return status;
}

static void raster_free(ak__raster *r)
{
    ak__free(r->data);
    *r = (ak__raster){ 0 };
}

void ak__pictures_free(ak__pictures *p)
{
    raster_free(&p->out);
    raster_free(&p->spare);
    raster_free(&p->file);
    raster_free(&p->taps);
}

bool ak__raster_make(ak__pictures *p, ak__raster *r, int64_t height, int64_t width, int channels)
{
    const int64_t row = width * channels;       /* of at most 2^31 numbers each */
    if (height > 0 && row > INT64_MAX / 4 / height) {
        ak__picture_fail(p, AK_ERR_MEMORY, "out of memory");
        return false;
    }
    const size_t bytes = (size_t)(height * row);
    if (bytes > r->room) {
        uint8_t *data = ak__malloc(bytes);
        if (!data) {
            ak__picture_fail(p, AK_ERR_MEMORY, "out of memory for %zu bytes", bytes);
            return false;
        }
        ak__free(r->data);
        r->data = data;
        r->room = bytes;
    }
    r->height = height;
    r->width = width;
    r->channels = channels;
    return true;
}

ak_status ak__picture_pixels_check(ak__pictures *p, const ak_picture_options *o, int64_t height,
                                   int64_t width, const char *when)
{
    const int64_t most = o->most_pixels ? o->most_pixels : AK__PICTURE_PIXELS;
    if (height <= most / width)
        return AK_OK;
    return ak__picture_fail(p, AK_ERR_VALUE, "%lld x %lld pixels%s are more than the %lld that "
                            ".most_pixels allows", (long long)height, (long long)width, when,
                            (long long)most);
}

static void swap(ak__raster *a, ak__raster *b)
{
    const ak__raster t = *a;
    *a = *b;
    *b = t;
}

/* ---- channels -------------------------------------------------------------------------------- */

/* x a + b (255 - a), over 255, rounded: exact for all bytes. */
static uint8_t over(uint8_t x, uint8_t a, uint8_t background)
{
    const uint32_t t = (uint32_t)x * a + (uint32_t)background * (255u - a) + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

/* ITU-R BT.601 luma in 16 bits, as Pillow has it. */
static uint8_t luma(uint8_t r, uint8_t g, uint8_t b)
{
    return (uint8_t)((r * 19595u + g * 38470u + b * 7471u + 0x8000u) >> 16);
}

/* One pixel of `from` channels as one of `to`. */
static void convert_pixel(const uint8_t *x, int from, int to, const uint8_t *background, uint8_t *y)
{
    uint8_t c[4] = { x[0], x[0], x[0], 255 };
    if (from >= 3) {
        c[1] = x[1];
        c[2] = x[2];
    }
    if (from == 2 || from == 4)
        c[3] = x[from - 1];
    if (to < 4 && c[3] < 255)
        for (int k = 0; k < 3; k++)
            c[k] = over(c[k], c[3], background[k]);
    if (to == 1)
        y[0] = luma(c[0], c[1], c[2]);          /* of a grey one itself */
    else
        memcpy(y, c, (size_t)to);
}

static void convert_row(const uint8_t *x, int from, int to, const uint8_t *background, int64_t n,
                        uint8_t *y)
{
    if (from == 1 && to == 3)
        for (int64_t i = 0; i < n; i++)
            y[3 * i] = y[3 * i + 1] = y[3 * i + 2] = x[i];
    else if (from == 3 && to == 1)
        for (int64_t i = 0; i < n; i++)
            y[i] = luma(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
    else
        for (int64_t i = 0; i < n; i++)
            convert_pixel(x + from * i, from, to, background, y + to * i);
}

static ak_status set_channels(ak__pictures *p, const ak_picture_options *o)
{
    static const uint8_t white[3] = { 255, 255, 255 };
    const int      to = o->channels ? o->channels : 3, from = p->out.channels;
    const uint8_t *background = o->background ? o->background : white;
    const int64_t  W = p->out.width;
    if (from == to)
        return AK_OK;
    if (!ak__raster_make(p, &p->spare, p->out.height, W, to))
        return AK_ERR_MEMORY;
    for (int64_t y = 0; y < p->out.height; y++)
        convert_row(p->out.data + y * W * from, from, to, background, W,
                    p->spare.data + y * W * to);
    swap(&p->out, &p->spare);
    return AK_OK;
}

/* ---- orientation ----------------------------------------------------------------------------- */

static uint32_t tiff_number(const uint8_t *at, int bytes, bool big)
{
    uint32_t x = 0;
    for (int i = 0; i < bytes; i++)
        x = x << 8 | at[big ? i : bytes - 1 - i];
    return x;
}

int ak__exif_orientation(const uint8_t *tiff, size_t n)
{
    enum { ENTRY = 12, ORIENTATION = 0x0112, SHORT = 3 };
    if (n < 8 || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0))
        return 1;
    const bool   big = tiff[0] == 'M';
    const size_t list = tiff_number(tiff + 4, 4, big);
    if (list > n - 2)
        return 1;
    const size_t count = tiff_number(tiff + list, 2, big);
    for (size_t i = 0; i < count && n - list - 2 >= (i + 1) * ENTRY; i++) {
        const uint8_t *e = tiff + list + 2 + i * ENTRY;
        if (tiff_number(e, 2, big) != ORIENTATION || tiff_number(e + 2, 2, big) != SHORT)
            continue;
        const uint32_t value = tiff_number(e + 8, 2, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* What a camera calls 5 to 8 is a picture on its side: rows become columns. Of an upright pixel
 * (y, x), the stored one is at `origin` + y * down + x * right. */
static ak_status set_upright(ak__pictures *p, int orientation)
{
    const int64_t H = p->out.height, W = p->out.width;
    const int     C = p->out.channels;
    if (orientation == 1)
        return AK_OK;
    const bool aside = orientation >= 5;
    /* Is the upright picture's first row stored last (or its first column, where it lies on its
     * side), and are its columns stored from right to left (from bottom to top)? */
    const bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 ||
                        orientation == 8;
    const bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 ||
                        orientation == 7;
    const int64_t down_step = aside ? 1 : W, right_step = aside ? W : 1;
    const int64_t rows = aside ? W : H, columns = aside ? H : W;
    const int64_t down = flip_y ? -down_step : down_step;
    const int64_t right = flip_x ? -right_step : right_step;
    const int64_t origin = (flip_y ? (rows - 1) * down_step : 0) +
                           (flip_x ? (columns - 1) * right_step : 0);
    if (!ak__raster_make(p, &p->spare, rows, columns, C))
        return AK_ERR_MEMORY;
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++)
            memcpy(p->spare.data + (y * columns + x) * C,
                   p->out.data + (origin + y * down + x * right) * C, (size_t)C);
    swap(&p->out, &p->spare);
    return AK_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

ak_status ak__picture_options_check(const ak_picture_options *o, char error[AK__PICTURE_TEXT])
{
    const char *wrong = NULL;
    if (o->channels != 0 && o->channels != 1 && o->channels != 3 && o->channels != 4)
        wrong = ".channels must be 1, 3 or 4 (0 = 3)";
    else if (o->shorter < 0 || o->shorter > MOST_SIDE || o->height < 0 || o->height > MOST_SIDE ||
             o->width < 0 || o->width > MOST_SIDE)
        wrong = ".shorter, .height and .width must be in [0, 2^24]";
    else if ((o->height == 0) != (o->width == 0))
        wrong = ".height and .width must be given together";
    else if (o->filter != AK_FILTER_BILINEAR && o->filter != AK_FILTER_BICUBIC)
        wrong = ".filter must be AK_FILTER_BILINEAR or AK_FILTER_BICUBIC";
    else if (o->most_pixels < 0)
        wrong = ".most_pixels must be 0 (for 2^26) or more";
    if (!wrong)
        return AK_OK;
    snprintf(error, AK__PICTURE_TEXT, "%s", wrong);
    return AK_ERR_VALUE;
}

static ak_status set_size(ak__pictures *p, const ak_picture_options *o)
{
    if (!o->shorter)
        return o->height ? ak__picture_scale(p, o->height, o->width, o->filter, o) : AK_OK;
    int64_t height = p->out.height, width = p->out.width;
    if (!ak__picture_shorter(&height, &width, o->shorter))
        return ak__picture_fail(p, AK_ERR_VALUE, "%lld x %lld pixels have no size with a shorter "
                                "side of %lld", (long long)p->out.height, (long long)p->out.width,
                                (long long)o->shorter);
    if (o->height > height || o->width > width)
        return ak__picture_fail(p, AK_ERR_VALUE, "%lld x %lld pixels can not be cut out of the "
                                "%lld x %lld that .shorter makes", (long long)o->height,
                                (long long)o->width, (long long)height, (long long)width);
    const ak_status status = ak__picture_scale(p, height, width, o->filter, o);
    if (!status && o->height)
        ak__picture_crop(p, o->height, o->width);
    return status;
}

/* ---- formats --------------------------------------------------------------------------------- */

/* The name of a format that is known and not read; NULL for anything else. */
static const char *other_format(const uint8_t *b, size_t n)
{
    static const struct { size_t at, size; const char *magic, *name; } known[] = {
        { 0, 4, "GIF8", "a GIF" }, { 8, 4, "WEBP", "a WebP" }, { 0, 2, "BM", "a BMP" },
        { 0, 4, "II*\0", "a TIFF" }, { 0, 4, "MM\0*", "a TIFF" }, { 4, 8, "ftypavif", "an AVIF" },
        { 4, 8, "ftypheic", "an HEIC" }, { 4, 8, "ftypmif1", "an HEIC" },
        { 4, 4, "jP  ", "a JPEG 2000" }, { 0, 4, "\377O\377Q", "a JPEG 2000" },
        { 0, 2, "\377\n", "a JPEG XL" }, { 4, 4, "JXL ", "a JPEG XL" }, { 0, 4, "<svg", "an SVG" },
        { 0, 5, "<?xml", "an XML (SVG?)" }, { 0, 2, "\037\213", "a gzip" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].at + known[i].size &&
            memcmp(b + known[i].at, known[i].magic, known[i].size) == 0)
            return known[i].name;
    return NULL;
}

static ak_status no_format(ak__pictures *p, const uint8_t *b, size_t n)
{
    const char *other = other_format(b, n);
    if (other)
        return ak__picture_fail(p, AK_ERR_UNSUPPORTED, "is %s file; PNG and JPEG are read", other);
    if (n == 0)
        return ak__picture_fail(p, AK_ERR_FORMAT, "is empty");
    return ak__picture_fail(p, AK_ERR_FORMAT, "is neither a PNG nor a JPEG file: it begins with "
                            "the bytes %02x %02x %02x %02x", b[0], n > 1 ? b[1] : 0u,
                            n > 2 ? b[2] : 0u, n > 3 ? b[3] : 0u);
}

ak_status ak__picture_parse(ak__pictures *p, const uint8_t *bytes, size_t n,
                            const ak_picture_options *o)
{
    static const uint8_t png[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    int       orientation = 1;
    ak_status status;
    p->error[0] = 0;
    if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        status = ak__png_decode(p, bytes, n, o, &orientation);
    else if (n >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
        status = ak__jpeg_decode(p, bytes, n, o, &orientation);
    else
        status = no_format(p, bytes, n);
    if (!status)
        status = set_channels(p, o);
    if (!status && !o->as_stored)
        status = set_upright(p, orientation);
    return status ? status : set_size(p, o);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* All of a regular file into p->file; its length is *n. */
static ak_status read_all(ak__pictures *p, int fd, size_t *n)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return ak__picture_fail(p, AK_ERR_IO, "cannot be examined: %s", strerror(errno));
    if (!S_ISREG(s.st_mode))
        return ak__picture_fail(p, AK_ERR_IO, "is %s; a regular file was expected",
                                ak__file_kind(s.st_mode));
    if (s.st_size > MOST_FILE)
        return ak__picture_fail(p, AK_ERR_VALUE, "has %lld bytes; no picture has so many",
                                (long long)s.st_size);
    if (!ak__raster_make(p, &p->file, 1, s.st_size > 0 ? (int64_t)s.st_size : 1, 1))
        return AK_ERR_MEMORY;
    for (*n = 0; *n < (size_t)s.st_size; ) {
        const ssize_t got = read(fd, p->file.data + *n, (size_t)s.st_size - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ak__picture_fail(p, AK_ERR_IO, "reading failed after %zu bytes: %s", *n,
                                    strerror(errno));
        if (got == 0)
            break;              /* it has become shorter: the decoder will tell */
        *n += (size_t)got;
    }
    return AK_OK;
}

ak_status ak__picture_load(ak__pictures *p, const char *path, const ak_picture_options *o)
{
    const int fd = ak__open_file(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR
            ? ak__picture_fail(p, AK_ERR_NOT_FOUND, "no such file")
            : ak__picture_fail(p, AK_ERR_IO, "cannot be opened: %s", strerror(errno));
    size_t          n = 0;
    const ak_status status = read_all(p, fd, &n);
    close(fd);
    return status ? status : ak__picture_parse(p, p->file.data, n, o);
}
