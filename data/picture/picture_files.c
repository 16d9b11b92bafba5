/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures as arrays of bytes: from files, to files, in other sizes. */
#include "data/picture/picture.h"

#include "base/base.h"
#include "data/dataset.h"
#include "io/array.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SLACK 1e-3              /* of values beside [0, 1]: rounding of who made them */

/* ---- reading --------------------------------------------------------------------------------- */

/* A copy of p->out in context memory. */
static const ak_array *keep(ak_ctx *ctx, const char *name, const ak__pictures *p)
{
    const ak__raster *r = &p->out;
    ak_array *a = ak__array_new(ctx, name, AK_TYPE_U8, AK_SHAPE(r->height, r->width, r->channels));
    if (a)
        memcpy((void *)(uintptr_t)a->data, r->data, (size_t)a->size);
    return a;
}

const ak_array *ak_picture_read(ak_ctx *ctx, const char *path, ak_picture_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || ak_error(ctx))
        return NULL;
    ak__pictures    p = { 0 };
    const ak_array *a = NULL;
    ak_status       status = ak__picture_options_check(&options, p.error);
    if (status) {
        ak_fail(ctx, status, "picture_read: %s", p.error);
        return NULL;
    }
    status = ak__picture_load(&p, path, &options);
    if (status)
        ak_fail(ctx, status, "picture_read: %s: %s", path, p.error);
    else
        a = keep(ctx, path, &p);
    ak__pictures_free(&p);
    return a;
}

bool ak_picture_fill(const char *path, ak_picture_options options, uint8_t *pixels,
                     char error[200])
{
    if (!AK__GIVEN(NULL, path) || !AK__GIVEN(NULL, pixels) || !AK__GIVEN(NULL, error))
        return false;
    ak__pictures p = { 0 };
    ak_status    status = ak__picture_options_check(&options, p.error);
    if (!status && !options.height)
        status = ak__picture_fail(&p, AK_ERR_VALUE, ".height and .width are needed");
    if (!status)
        status = ak__picture_load(&p, path, &options);
    if (status)
        snprintf(error, 200, "%s: %s", path, p.error);
    else
        memcpy(pixels, p.out.data, (size_t)(p.out.height * p.out.width * p.out.channels));
    ak__pictures_free(&p);
    return !status;
}

/* ---- arrays of bytes ------------------------------------------------------------------------- */

/* Is it a picture of bytes? Its sizes. */
static bool picture_sizes(ak_ctx *ctx, const char *who, const ak_array *a, int64_t *height,
                          int64_t *width, int *channels)
{
    char text[AK_SHAPE_TEXT];
    const int n = a->shape.n;
    if (a->type != AK_TYPE_U8) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: pictures are bytes (u1); \"%s\" is %s", who,
                a->name ? a->name : "", ak_type_name(a->type));
        return false;
    }
    if ((n != 2 && n != 3) || a->size < 1 || (n == 3 && a->shape.dims[2] > 4)) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: a picture is [H, W] or [H, W, C] with 1 to 4 channels; "
                "\"%s\" is %s", who, a->name ? a->name : "", ak_shape_text(a->shape, text));
        return false;
    }
    *height = a->shape.dims[0];
    *width = a->shape.dims[1];
    *channels = n == 3 ? (int)a->shape.dims[2] : 1;
    return true;
}

/* A picture of bytes in p->out. */
static bool take(ak_ctx *ctx, const char *who, const ak_array *a, ak__pictures *p)
{
    int64_t H, W;
    int     C;
    if (!picture_sizes(ctx, who, a, &H, &W, &C))
        return false;
    if (!ak__raster_make(p, &p->out, H, W, C)) {
        ak__fail_memory(ctx, (size_t)a->size);
        return false;
    }
    memcpy(p->out.data, a->data, (size_t)a->size);
    return true;
}

/* A copy in another size. shorter: height is that of the shorter side. */
static const ak_array *resized(ak_ctx *ctx, const char *who, const ak_array *a, int64_t height,
                               int64_t width, bool shorter, ak_filter filter)
{
    ak__pictures             p = { 0 };
    const ak_array          *result = NULL;
    const ak_picture_options o = { .shorter = shorter ? height : 0,
                                   .height = shorter ? 0 : height, .width = shorter ? 0 : width,
                                   .filter = filter, .most_pixels = AK__MOST_NUMBERS / 4 };
    if (height < 1 || width < 1) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: sides must be 1 at least; given: %lld, %lld", who,
                (long long)height, (long long)width);
        return NULL;
    }
    ak_status status = ak__picture_options_check(&o, p.error);
    if (!status && !take(ctx, who, a, &p))
        return NULL;
    int64_t H = p.out.height, W = p.out.width;
    if (!status && shorter && !ak__picture_shorter(&H, &W, height))
        status = ak__picture_fail(&p, AK_ERR_VALUE, "the longer side becomes too long");
    if (!status)
        status = ak__picture_scale(&p, shorter ? H : height, shorter ? W : width, filter, &o);
    if (status)
        ak_fail(ctx, status, "%s: %s", who, p.error);
    else
        result = keep(ctx, a->name, &p);
    ak__pictures_free(&p);
    return result;
}

const ak_array *ak_picture_resize(ak_ctx *ctx, const ak_array *picture, int64_t height,
                                  int64_t width, ak_filter filter)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, picture) || ak_error(ctx))
        return NULL;
    return resized(ctx, "picture_resize", picture, height, width, false, filter);
}

const ak_array *ak_picture_resize_shorter(ak_ctx *ctx, const ak_array *picture, int64_t side,
                                          ak_filter filter)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, picture) || ak_error(ctx))
        return NULL;
    return resized(ctx, "picture_resize_shorter", picture, side, side, true, filter);
}

const ak_array *ak_picture_crop_center(ak_ctx *ctx, const ak_array *picture, int64_t height,
                                       int64_t width)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, picture) || ak_error(ctx))
        return NULL;
    ak__pictures    p = { 0 };
    const ak_array *result = NULL;
    if (!take(ctx, "picture_crop_center", picture, &p))
        return NULL;
    if (height < 1 || width < 1 || height > p.out.height || width > p.out.width) {
        ak_fail(ctx, AK_ERR_VALUE, "picture_crop_center: %lld x %lld pixels can not be cut out of "
                "%lld x %lld", (long long)height, (long long)width, (long long)p.out.height,
                (long long)p.out.width);
    } else {
        ak__picture_crop(&p, height, width);
        result = keep(ctx, picture->name, &p);
    }
    ak__pictures_free(&p);
    return result;
}

/* ---- writing --------------------------------------------------------------------------------- */

static ak_status write_pixels(ak_ctx *ctx, const char *path, const uint8_t *pixels, int64_t height,
                              int64_t width, int channels)
{
    ak__bytes file = { 0 };
    ak_status status = ak__png_encode(ctx, pixels, height, width, channels, &file);
    if (!status)
        status = ak__file_write_atomic(ctx, path, file.data, file.n);
    ak__bytes_free(&file);
    return status;
}

ak_status ak_picture_write_png(ak_ctx *ctx, const char *path, const ak_array *picture)
{
    int64_t height, width;
    int     channels;
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__GIVEN(ctx, picture))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    if (!picture_sizes(ctx, "picture_write_png", picture, &height, &width, &channels))
        return ak_error(ctx);
    return write_pixels(ctx, path, picture->data, height, width, channels);
}

/* Values in [0, 1] as bytes; false: one is outside, which is recorded. */
static bool to_bytes(ak_ctx *ctx, const ak_tensor *t, uint8_t *bytes)
{
    for (int64_t i = 0; i < t->size; i++) {
        const double x = (double)t->data[i];
        if (!(x >= -SLACK && x <= 1 + SLACK)) {
            ak_fail(ctx, isnan(x) ? AK_ERR_NUMBER : AK_ERR_VALUE, "picture_write_tensor: values "
                    "must be in [0, 1]; value %lld is %g\n    hint: ak_picture_grid with .lo and "
                    ".hi, or .fit, brings others there", (long long)i, x);
            return false;
        }
        bytes[i] = (uint8_t)lrint(255 * (x < 0 ? 0 : x > 1 ? 1 : x));
    }
    return true;
}

ak_status ak_picture_write_tensor(ak_ctx *ctx, const char *path, const ak_tensor *picture)
{
    char text[AK_SHAPE_TEXT];
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__TENSOR(ctx, picture))
        return ak__refused(ctx);
    if (ak_error(ctx))
        return AK_ERR_STATE;
    const int n = picture->shape.n;
    if ((n != 2 && n != 3) || picture->size < 1 || (n == 3 && picture->shape.dims[2] > 4))
        return ak_fail(ctx, AK_ERR_SHAPE, "picture_write_tensor: a picture is [H, W] or [H, W, C] "
                       "with 1 to 4 channels; given: %s\n    hint: ak_picture_grid makes one of "
                       "many", ak_shape_text(picture->shape, text));
    uint8_t *bytes = ak__malloc((size_t)picture->size);
    if (!bytes)
        return ak__fail_memory(ctx, (size_t)picture->size);
    ak_status status = AK_OK;
    if (!to_bytes(ctx, picture, bytes))
        status = ak_error(ctx);
    else
        status = write_pixels(ctx, path, bytes, picture->shape.dims[0], picture->shape.dims[1],
                              n == 3 ? (int)picture->shape.dims[2] : 1);
    ak__free(bytes);
    return status;
}

/* ---- many as one ----------------------------------------------------------------------------- */

static ak_tensor *grid_fail(ak_ctx *ctx, ak_status status, const char *what, double value)
{
    ak_fail(ctx, status, "picture_grid: %s; given: %g", what, value);
    return &ak__poison;
}

/* What becomes 0 and 1. False: recorded. */
static bool grid_range(const ak_tensor *x, const ak_grid_options *o, double *lo, double *hi)
{
    double least = (double)INFINITY, most = -(double)INFINITY;
    for (int64_t i = 0; i < x->size; i++) {
        const double v = (double)x->data[i];
        if (!isfinite(v)) {
            ak_fail(x->ctx, AK_ERR_NUMBER, "picture_grid: value %lld is not finite", (long long)i);
            return false;
        }
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    *lo = o->fit ? least : o->lo;
    *hi = o->fit ? most : o->lo == 0 && o->hi == 0 ? 1 : o->hi;
    if (o->fit) {
        *hi = *hi > *lo ? *hi : *lo + 1;        /* all alike: black */
        return true;
    }
    const double slack = SLACK * (*hi - *lo);
    if (least >= *lo - slack && most <= *hi + slack)
        return true;
    ak_fail(x->ctx, AK_ERR_VALUE, "picture_grid: values go from %g to %g, beyond .lo = %g and .hi "
            "= %g\n    hint: pictures that were normalised lie from (0 - mean) / std to "
            "(1 - mean) / std; .fit takes what is there", least, most, *lo, *hi);
    return false;
}

ak_tensor *ak_picture_grid(const ak_tensor *x, ak_grid_options o)
{
    char text[AK_SHAPE_TEXT];
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    ak_ctx *ctx = x->ctx;
    if (x->shape.n != 4 || x->size < 1) {
        ak_fail(ctx, AK_ERR_SHAPE, "picture_grid: x must be [N, H, W, C], not empty; given: %s",
                ak_shape_text(x->shape, text));
        return &ak__poison;
    }
    const int64_t N = x->shape.dims[0], H = x->shape.dims[1], W = x->shape.dims[2];
    const int64_t C = x->shape.dims[3];
    const int64_t columns = o.columns ? o.columns : (int64_t)ceil(sqrt((double)N));
    const int64_t m = o.margin == AK_NONE ? 0 : o.margin ? o.margin : 2;
    if (columns < 1 || columns > N)
        return grid_fail(ctx, AK_ERR_VALUE, ".columns must be in [1, N]", (double)columns);
    if (m < 0 || m > 10000)
        return grid_fail(ctx, AK_ERR_VALUE, ".margin must be in [0, 10000], or AK_NONE", (double)m);
    if (!(o.background >= 0 && o.background <= 1))
        return grid_fail(ctx, AK_ERR_VALUE, ".background must be in [0, 1]", o.background);
    if (!isfinite(o.lo) || !isfinite(o.hi) || (o.lo >= o.hi && (o.lo != 0 || o.hi != 0)))
        return grid_fail(ctx, AK_ERR_VALUE, ".lo must be less than .hi", o.lo);
    const int64_t rows = (N + columns - 1) / columns;
    const int64_t height = rows * (H + m) + m, width = columns * (W + m) + m;
    if ((double)height * (double)width * (double)C > (double)AK__MOST_NUMBERS)
        return grid_fail(ctx, AK_ERR_VALUE, "a grid has 2^30 numbers at most",
                         (double)height * (double)width * (double)C);
    double lo, hi;
    if (!grid_range(x, &o, &lo, &hi))
        return &ak__poison;
    ak_tensor *y = ak__tensor_new(ctx, AK_SHAPE(height, width, C));
    if (ak_is_poison(y))
        return y;
    for (int64_t i = 0; i < y->size; i++)
        y->data[i] = (ak_real)o.background;
    for (int64_t i = 0; i < N; i++) {
        const int64_t top = m + i / columns * (H + m), left = m + i % columns * (W + m);
        for (int64_t r = 0; r < H; r++)
            for (int64_t k = 0; k < W * C; k++) {
                const double v = ((double)x->data[(i * H + r) * W * C + k] - lo) / (hi - lo);
                y->data[((top + r) * width + left) * C + k] =
                    (ak_real)(v < 0 ? 0 : v > 1 ? 1 : v);
            }
    }
    return y;
}
