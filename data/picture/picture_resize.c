/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures of another size, by filters that grow with the reduction: bytes with Pillow's arithmetic
 * (libImaging/Resample.c), so that results are its own, and numbers without rounding. */
#include "data/picture/picture.h"

#include "base/base.h"
#include "data/dataset.h"
#include "data/pixels.h"
#include "io/array.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

#define WEIGHT_BITS 22          /* of a weight of bytes: 32, less 8 of a pixel and 2 of overshoot */

/* ---- weights --------------------------------------------------------------------------------- */

static double filter_value(ak_filter filter, double t)
{
    t = fabs(t);
    if (filter == AK_FILTER_BILINEAR)
        return t < 1 ? 1 - t : 0;
    const double a = -0.5;      /* Keys' kernel */
    if (t < 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

/* What one axis of `in` pixels becomes with `out`: output o is the sum of count[o] pixels from
 * first[o] on, with weights behind each other from o * most on. */
typedef struct axis {
    int64_t  in, out;
    int64_t  most;              /* weights of an output */
    double   scale, reach;      /* in / out; half the width of the filter in pixels */
    ak_filter filter;
} axis;

static axis axis_of(int64_t in, int64_t out, ak_filter filter)
{
    axis a = { .in = in, .out = out, .scale = (double)in / (double)out, .filter = filter };
    a.reach = (filter == AK_FILTER_BILINEAR ? 1 : 2) * (a.scale > 1 ? a.scale : 1);
    a.most = (int64_t)ceil(a.reach) * 2 + 1;
    return a;
}

/* The weights of output o into w [most]; the first pixel, and how many there are. */
static int64_t axis_weights(const axis *a, int64_t o, double *w, int64_t *count)
{
    const double  centre = ((double)o + 0.5) * a->scale;
    const double  stretch = 1 / (a->scale > 1 ? a->scale : 1);
    const int64_t from = (int64_t)(centre - a->reach + 0.5);
    const int64_t to = (int64_t)(centre + a->reach + 0.5);
    const int64_t first = from > 0 ? from : 0, end = to < a->in ? to : a->in;
    double        sum = 0;
    for (int64_t j = first; j < end; j++) {
        w[j - first] = filter_value(a->filter, ((double)j - centre + 0.5) * stretch);
        sum += w[j - first];
    }
    for (int64_t j = 0; sum != 0 && j < end - first; j++)
        w[j] /= sum;
    *count = end - first;
    return first;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* [out] places, [out] counts, [out, most] weights, and room for one output's in double. */
typedef struct byte_taps {
    axis     a;
    int32_t *first, *count, *weight;
} byte_taps;

static size_t taps_room(const axis *a)
{
    return (size_t)a->out * (2 + (size_t)a->most) * sizeof(int32_t);
}

/* `memory`: double [most], then the taps. */
static byte_taps make_taps(axis a, void *memory)
{
    double   *w = memory;
    byte_taps t = { .a = a, .first = (int32_t *)(w + a.most) };
    t.count = t.first + a.out;
    t.weight = t.count + a.out;
    for (int64_t o = 0; o < a.out; o++) {
        int64_t count;
        t.first[o] = (int32_t)axis_weights(&a, o, w, &count);
        t.count[o] = (int32_t)count;
        for (int64_t j = 0; j < count; j++) {
            const double x = w[j] * (1 << WEIGHT_BITS);
            t.weight[o * a.most + j] = (int32_t)(x < 0 ? x - 0.5 : x + 0.5);
        }
    }
    return t;
}

static uint8_t to_byte(int32_t sum)
{
    const int32_t x = sum >> WEIGHT_BITS;
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* Each row of pixels of C channels, to t->a.out pixels. C is a constant where this is inlined. */
static inline void scale_rows_of(const byte_taps *t, const uint8_t *x, int64_t rows, const int C,
                                 uint8_t *y)
{
    const int64_t in = t->a.in * C;
    for (int64_t r = 0; r < rows; r++, x += in)
        for (int64_t o = 0; o < t->a.out; o++, y += C) {
            const int32_t *w = t->weight + o * t->a.most;
            const uint8_t *from = x + (int64_t)t->first[o] * C;
            const int64_t  n = t->count[o];
            int32_t        sum[4] = { 1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                                      1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1) };
            for (int64_t j = 0; j < n; j++)
                for (int c = 0; c < C; c++)
                    sum[c] += from[j * C + c] * w[j];
            for (int c = 0; c < C; c++)
                y[c] = to_byte(sum[c]);
        }
}

static void scale_rows(const byte_taps *t, const uint8_t *x, int64_t rows, int C, uint8_t *y)
{
    switch (C) {
    case 1:
        scale_rows_of(t, x, rows, 1, y);
        break;
    case 2:
        scale_rows_of(t, x, rows, 2, y);
        break;
    case 3:
        scale_rows_of(t, x, rows, 3, y);
        break;
    default:
        scale_rows_of(t, x, rows, 4, y);
    }
}

/* Rows of n bytes, added with weights. */
AK__PIXELS static void add_rows(const uint8_t *restrict x, int64_t n, const int32_t *restrict w,
                                int32_t count, uint8_t *restrict y)
{
    enum { BLOCK = 64 };
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t some = n - i < BLOCK ? n - i : BLOCK;
        int32_t       sum[BLOCK];
        for (int64_t k = 0; k < some; k++)
            sum[k] = 1 << (WEIGHT_BITS - 1);
        for (int32_t j = 0; j < count; j++) {
            const uint8_t *restrict row = x + j * n + i;
            for (int64_t k = 0; k < some; k++)
                sum[k] += row[k] * w[j];
        }
        for (int64_t k = 0; k < some; k++)
            y[i + k] = to_byte(sum[k]);
    }
}

static void scale_columns(const byte_taps *t, const uint8_t *x, int64_t n, uint8_t *y)
{
    for (int64_t o = 0; o < t->a.out; o++, y += n)
        add_rows(x + t->first[o] * n, n, t->weight + o * t->a.most, t->count[o], y);
}

/* Colours times alpha, as Pillow rounds it, and back. */
static void weigh_by_alpha(uint8_t *x, int64_t n, int C)
{
    for (int64_t i = 0; i < n; i++, x += C)
        for (int c = 0; c < C - 1; c++) {
            const uint32_t t = (uint32_t)x[c] * x[C - 1] + 128;
            x[c] = (uint8_t)((t + (t >> 8)) >> 8);
        }
}

static void divide_by_alpha(uint8_t *x, int64_t n, int C)
{
    for (int64_t i = 0; i < n; i++, x += C)
        for (int c = 0; c < C - 1; c++) {
            const uint32_t a = x[C - 1];
            if (a != 0 && a != 255) {
                const uint32_t y = 255u * x[c] / a;
                x[c] = (uint8_t)(y < 255 ? y : 255);
            }
        }
}

static void swap(ak__raster *a, ak__raster *b)
{
    const ak__raster t = *a;
    *a = *b;
    *b = t;
}

/* One pass: p->out to `a.out` rows or columns. */
static ak_status scale_axis(ak__pictures *p, axis a, bool rows)
{
    const int64_t H = p->out.height, W = p->out.width, H2 = rows ? a.out : H;
    const int64_t W2 = rows ? W : a.out;
    const int     C = p->out.channels;
    const int64_t bytes = (int64_t)taps_room(&a) + a.most * (int64_t)sizeof(double);
    if (!ak__raster_make(p, &p->taps, 1, bytes, 1) || !ak__raster_make(p, &p->spare, H2, W2, C))
        return AK_ERR_MEMORY;
    const byte_taps t = make_taps(a, p->taps.data);
    if (rows)
        scale_columns(&t, p->out.data, W * C, p->spare.data);
    else
        scale_rows(&t, p->out.data, H, C, p->spare.data);
    swap(&p->out, &p->spare);
    return AK_OK;
}

ak_status ak__picture_scale(ak__pictures *p, int64_t height, int64_t width, ak_filter filter,
                            const ak_picture_options *o)
{
    const int64_t H = p->out.height, W = p->out.width;
    const int     C = p->out.channels;
    const bool    alpha = (C == 2 || C == 4) && (H != height || W != width);
    ak_status     status = ak__picture_pixels_check(p, o, height, width, " after scaling");
    if (!status && W != width)
        status = ak__picture_pixels_check(p, o, H, width, " within scaling");
    if (status)
        return status;
    if (alpha)
        weigh_by_alpha(p->out.data, H * W, C);
    if (W != width)
        status = scale_axis(p, axis_of(W, width, filter), false);
    if (!status && H != height)
        status = scale_axis(p, axis_of(H, height, filter), true);
    if (!status && alpha)
        divide_by_alpha(p->out.data, height * width, C);
    return status;
}

void ak__picture_crop(ak__pictures *p, int64_t height, int64_t width)
{
    const int64_t H = p->out.height, W = p->out.width;
    const int     C = p->out.channels;
    const int64_t top = (int64_t)rint((double)(H - height) / 2);
    const int64_t left = (int64_t)rint((double)(W - width) / 2);
    for (int64_t y = 0; y < height; y++)        /* forward: rows move towards the beginning */
        memmove(p->out.data + y * width * C, p->out.data + ((top + y) * W + left) * C,
                (size_t)(width * C));
    p->out.height = height;
    p->out.width = width;
}

bool ak__picture_shorter(int64_t *height, int64_t *width, int64_t side)
{
    int64_t *shorter = *height <= *width ? height : width, *longer = *height <= *width ? width
                                                                                        : height;
    if (*longer > INT64_MAX / side)
        return false;
    *longer = side * *longer / *shorter;
    *shorter = side;
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Rows of `in` pixels of C channels, each to `out` pixels: weights are made once a column. */
static void real_rows(const axis *a, const ak_real *x, int64_t rows, int64_t C, double *w,
                      ak_real *y)
{
    for (int64_t o = 0; o < a->out; o++) {
        int64_t       count;
        const int64_t first = axis_weights(a, o, w, &count);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < C; c++) {
                const ak_real *from = x + (r * a->in + first) * C + c;
                double         sum = 0;
                for (int64_t j = 0; j < count; j++)
                    sum += w[j] * (double)from[j * C];
                y[(r * a->out + o) * C + c] = (ak_real)sum;
            }
    }
}

/* A picture of `in` rows of n numbers to `out` rows. */
static void real_columns(const axis *a, const ak_real *x, int64_t n, double *w, double *sums,
                         ak_real *y)
{
    for (int64_t o = 0; o < a->out; o++) {
        int64_t       count;
        const int64_t first = axis_weights(a, o, w, &count);
        memset(sums, 0, (size_t)n * sizeof *sums);
        for (int64_t j = 0; j < count; j++)
            for (int64_t i = 0; i < n; i++)
                sums[i] += w[j] * (double)x[(first + j) * n + i];
        for (int64_t i = 0; i < n; i++)
            y[o * n + i] = (ak_real)sums[i];
    }
}

/* Of N pictures; false: out of memory, recorded. */
static bool resize_reals(const ak_tensor *x, int64_t N, int64_t H, int64_t W, int64_t C,
                         ak_tensor *y, int64_t height, int64_t width, ak_filter filter)
{
    const axis   across = axis_of(W, width, filter), down = axis_of(H, height, filter);
    const size_t most = (size_t)(across.most > down.most ? across.most : down.most);
    const size_t w_bytes = (most + (size_t)(width * C)) * sizeof(double);
    const size_t middle_bytes = (size_t)(H * width * C + 1) * sizeof(ak_real);
    double      *w = ak__step_alloc(x->ctx, w_bytes);
    ak_real     *middle = w ? ak__step_alloc(x->ctx, middle_bytes) : NULL;
    if (!middle)
        return false;
    for (int64_t i = 0; i < N; i++) {
        const ak_real *from = x->data + i * H * W * C;
        ak_real       *to = y->data + i * height * width * C;
        if (W != width)
            real_rows(&across, from, H, C, w, H == height ? to : middle);
        if (H != height)
            real_columns(&down, W == width ? from : middle, width * C, w, w + most, to);
        else if (W == width)
            memcpy(to, from, (size_t)(H * W * C) * sizeof *to);
    }
    ak__step_give(x->ctx, middle, middle_bytes);
    ak__step_give(x->ctx, w, w_bytes);
    return true;
}

ak_tensor *ak_picture_resize_tensor(const ak_tensor *x, int64_t height, int64_t width,
                                    ak_filter filter)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    ak_ctx     *ctx = x->ctx;
    const int   n = x->shape.n;
    char        text[AK_SHAPE_TEXT];
    if (n != 3 && n != 4) {
        ak_fail(ctx, AK_ERR_SHAPE, "picture_resize_tensor: x must be [H, W, C] or [N, H, W, C]; "
                "given: %s", ak_shape_text(x->shape, text));
        return &ak__poison;
    }
    const int64_t N = n == 4 ? x->shape.dims[0] : 1, H = x->shape.dims[n - 3];
    const int64_t W = x->shape.dims[n - 2], C = x->shape.dims[n - 1];
    const double  middle = (double)H * (double)width * (double)C;
    if (height < 1 || width < 1 || H < 1 || W < 1 || middle > (double)AK__MOST_NUMBERS ||
        (filter != AK_FILTER_BILINEAR && filter != AK_FILTER_BICUBIC) || x->needs_grad) {
        ak_fail(ctx, AK_ERR_VALUE, "picture_resize_tensor: %s to %lld x %lld with filter %d: sides "
                "must be 1 at least, pictures of at most 2^30 numbers, the filter one of "
                "ak_filter, and x may need no gradient (ak_detach)",
                ak_shape_text(x->shape, text), (long long)height, (long long)width, (int)filter);
        return &ak__poison;
    }
    const ak_shape shape = n == 4 ? AK_SHAPE(N, height, width, C) : AK_SHAPE(height, width, C);
    ak_tensor     *y = ak__tensor_new(ctx, shape);
    if (ak_is_poison(y) || !resize_reals(x, N, H, W, C, y, height, width, filter))
        return &ak__poison;
    return y;
}
