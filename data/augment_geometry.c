/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentations of pictures that move pixels, or put others in their place: windows of a padded
 * picture, rotation, affine maps, erased boxes. (Crop and flip, which loaders join into one
 * resampling, are in augment_image.c.) */
#include "data/augment.h"

#include <math.h>
#include <string.h>

#define MAX_PADDING 4096
#define PI          3.14159265358979323846

/* ---- random_pad_crop ------------------------------------------------------------------------- */

static const char *pad_crop_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= MAX_PADDING && o[0] == floor(o[0])))
        return "the padding must be a whole number in [0, 4096]";
    return o[1] == 0 || o[1] == 1 ? NULL : "reflect must be 0 or 1";
}

/* Place i of a line of n that is mirrored at its ends again and again, without repeating them. */
static int64_t mirrored(int64_t i, int64_t n)
{
    const int64_t period = 2 * (n - 1);
    if (period == 0)
        return 0;
    i %= period;
    i += i < 0 ? period : 0;
    return i < n ? i : period - i;
}

/* plane[y][x] = plane[y + down][x + right]; what lies outside is mirrored or 0. */
static void shift_plane(ak_picture *p, ak_real *plane, int64_t down, int64_t right, bool reflect)
{
    const int64_t H = p->height, W = p->width;
    for (int64_t y = 0; y < H; y++) {
        const int64_t  at = reflect ? mirrored(y + down, H) : y + down;
        ak_real       *to = p->scratch + y * W;
        const ak_real *from = plane + at * W;       /* not read where that is no row */
        if (at < 0 || at >= H) {
            memset(to, 0, (size_t)W * sizeof *to);
            continue;
        }
        for (int64_t x = 0; x < W; x++) {
            const int64_t k = reflect ? mirrored(x + right, W) : x + right;
            to[x] = k >= 0 && k < W ? from[k] : 0;
        }
    }
    memcpy(plane, p->scratch, (size_t)(H * W) * sizeof *plane);
}

static void pad_crop_change(ak_picture *p, const double *o, ak_draws d)
{
    const int64_t padding = (int64_t)o[0];
    const int64_t down = (int64_t)(ak_draw(d, 0) * (double)(2 * padding + 1)) - padding;
    const int64_t right = (int64_t)(ak_draw(d, 1) * (double)(2 * padding + 1)) - padding;
    for (int c = 0; c < p->channels && (down || right); c++)
        shift_plane(p, p->plane[c], down, right, o[1] != 0);
}

const ak_augment_kind ak__random_pad_crop = {
    .name = "random_pad_crop",
    .formula = "y[h,w] = x[h + a, w + b], a, b ~ U{-padding .. padding}; outside 0 or mirrored",
    .options = "padding, reflect", .n_options = 2, .change = pad_crop_change,
    .check = pad_crop_check,
};

ak_augment ak_random_pad_crop(int64_t padding, bool reflect)
{
    return (ak_augment){ &ak__random_pad_crop, { (double)padding, reflect } };
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* One number of a plane, 0 beyond it. */
static ak_real pixel_at(const ak_real *plane, int64_t H, int64_t W, int64_t y, int64_t x)
{
    return y >= 0 && y < H && x >= 0 && x < W ? plane[y * W + x] : 0;
}

static ak_real sample(const ak_real *plane, int64_t H, int64_t W, double y, double x)
{
    if (!(y > -1 && y < (double)H && x > -1 && x < (double)W))
        return 0;
    const double  top = floor(y), left = floor(x);
    const int64_t i = (int64_t)top, j = (int64_t)left;
    const ak_real v = (ak_real)(y - top), u = (ak_real)(x - left);
    const ak_real a = pixel_at(plane, H, W, i, j), b = pixel_at(plane, H, W, i, j + 1);
    const ak_real c = pixel_at(plane, H, W, i + 1, j), e = pixel_at(plane, H, W, i + 1, j + 1);
    const ak_real upper = a + u * (b - a), lower = c + u * (e - c);
    return upper + v * (lower - upper);
}

void ak__change_map(ak_picture *p, const ak__map *m)
{
    const int64_t H = p->height, W = p->width;
    for (int c = 0; c < p->channels; c++) {
        const ak_real *plane = p->plane[c];
        for (int64_t y = 0; y < H; y++) {
            const double row = m->yy * (double)y + m->y0, column = m->xy * (double)y + m->x0;
            for (int64_t x = 0; x < W; x++)
                p->scratch[y * W + x] = sample(plane, H, W, row + m->yx * (double)x,
                                               column + m->xx * (double)x);
        }
        memcpy(p->plane[c], p->scratch, (size_t)(H * W) * sizeof *plane);
    }
}

/* From a place of the result back: what was done last is undone first. With rows that count
 * downwards a point turned counter-clockwise by a goes from (x, y) to (x cos a + y sin a,
 * y cos a - x sin a). */
ak__map ak__map_about_middle(const ak_picture *p, double degrees, double slope, double scale,
                             double down, double right)
{
    const double angle = degrees * (PI / 180), c = cos(angle), s = sin(angle);
    const double my = 0.5 * (double)(p->height - 1), mx = 0.5 * (double)(p->width - 1);
    ak__map      m;
    m.xx = c / scale;
    m.xy = (-s - c * slope) / scale;
    m.yx = s / scale;
    m.yy = (c - s * slope) / scale;
    m.x0 = mx - m.xx * (mx + right) - m.xy * (my + down);
    m.y0 = my - m.yx * (mx + right) - m.yy * (my + down);
    return m;
}

/* ---- random_rotation, random_affine ---------------------------------------------------------- */

static const char *rotation_check(const double *o)
{
    return o[0] >= 0 && o[0] <= 180 ? NULL : "degrees must be in [0, 180]";
}

static void rotation_change(ak_picture *p, const double *o, ak_draws d)
{
    if (!(o[0] > 0))
        return;
    const ak__map m = ak__map_about_middle(p, ak__draw_between(d, 0, -o[0], o[0]), 0, 1, 0, 0);
    ak__change_map(p, &m);
}

const ak_augment_kind ak__random_rotation = {
    .name = "random_rotation",
    .formula = "turned about the middle by U[-degrees,degrees], bilinear, 0 outside",
    .options = "degrees", .n_options = 1, .change = rotation_change, .check = rotation_check,
};

ak_augment ak_random_rotation(double degrees)
{
    return (ak_augment){ &ak__random_rotation, { degrees } };
}

static const char *affine_check(const double *o)
{
    if (!(o[1] >= 0 && o[1] <= 1))
        return "the shift must be in [0, 1], a share of the side";
    if (!(o[2] > 0 && o[2] <= o[3] && o[3] <= 100))
        return "the scale range needs 0 < lo <= hi <= 100";
    if (!(o[4] >= 0 && o[4] <= 10))
        return "the shear must be in [0, 10]";
    return rotation_check(o);
}

static void affine_change(ak_picture *p, const double *o, ak_draws d)
{
    if (o[0] == 0 && o[1] == 0 && o[2] == 1 && o[3] == 1 && o[4] == 0)
        return;
    const double degrees = ak__draw_between(d, 0, -o[0], o[0]);
    const double right = ak__draw_between(d, 1, -o[1], o[1]) * (double)p->width;
    const double down = ak__draw_between(d, 2, -o[1], o[1]) * (double)p->height;
    const double scale = ak__draw_between(d, 3, o[2], o[3]);
    const double slope = ak__draw_between(d, 4, -o[4], o[4]);
    const ak__map m = ak__map_about_middle(p, degrees, slope, scale, down, right);
    ak__change_map(p, &m);
}

const ak_augment_kind ak__random_affine = {
    .name = "random_affine",
    .formula = "turned by U[-degrees,degrees], sheared, scaled, moved; bilinear, 0 outside",
    .options = "degrees, shift, scale_lo, scale_hi, shear", .n_options = 5,
    .change = affine_change, .check = affine_check,
};

ak_augment ak_random_affine(double degrees, double shift, double scale_lo, double scale_hi,
                            double shear)
{
    return (ak_augment){ &ak__random_affine, { degrees, shift, scale_lo, scale_hi, shear } };
}

/* ---- random_erasing -------------------------------------------------------------------------- */

#define FIRST_NOISE 64          /* number of the first draw that is a pixel's */

static const char *erasing_check(const double *o)
{
    if (!(o[1] >= 0 && o[1] <= o[2] && o[2] < 1))
        return "the area range needs 0 <= lo <= hi < 1";
    if (!(o[3] > 0 && o[3] <= o[4] && o[4] <= 100))
        return "the aspect range needs 0 < lo <= hi <= 100";
    if (!(o[5] >= 0 && o[5] <= 1) && o[5] != AK_ERASE_NOISE)
        return "the value must be in [0, 1], or AK_ERASE_NOISE";
    return ak__check_probability(o[0]);
}

static void erase(ak_picture *p, ak_box box, double value, ak_draws d)
{
    uint64_t number = FIRST_NOISE;
    for (int c = 0; c < p->channels; c++)
        for (int64_t y = box.y; y < box.y + box.height; y++) {
            ak_real *row = p->plane[c] + y * p->width;
            for (int64_t x = box.x; x < box.x + box.width; x++)
                row[x] = (ak_real)(value >= 0 ? value : ak_draw(d, number++));
        }
}

static void erasing_change(ak_picture *p, const double *o, ak_draws d)
{
    if (!(ak_draw(d, 0) < o[0]))
        return;
    const double H = (double)p->height, W = (double)p->width;
    for (uint64_t first = 1; first < 1 + 4 * 10; first += 4) {
        const double  area = H * W * ak__draw_between(d, first, o[1], o[2]);
        const double  aspect = exp(ak__draw_between(d, first + 1, log(o[3]), log(o[4])));
        const int64_t h = llround(sqrt(area * aspect)), w = llround(sqrt(area / aspect));
        if (h >= p->height || w >= p->width)
            continue;
        const int64_t y = (int64_t)(ak_draw(d, first + 2) * (double)(p->height - h + 1));
        const int64_t x = (int64_t)(ak_draw(d, first + 3) * (double)(p->width - w + 1));
        erase(p, (ak_box){ y, x, h, w, false }, o[5], d);
        return;
    }
}

const ak_augment_kind ak__random_erasing = {
    .name = "random_erasing",
    .formula = "box of area U[lo,hi], aspect exp U[log a,log b] = value or U[0,1), probability p",
    .options = "p, lo, hi, aspect_lo, aspect_hi, value", .n_options = 6,
    .change = erasing_change, .check = erasing_check, .unit_range = true,
};

ak_augment ak_random_erasing(double p, double lo, double hi, double value)
{
    return ak_random_erasing_aspect(p, lo, hi, 0.3, 3.3, value);
}

ak_augment ak_random_erasing_aspect(double p, double lo, double hi, double aspect_lo,
                                    double aspect_hi, double value)
{
    return (ak_augment){ &ak__random_erasing, { p, lo, hi, aspect_lo, aspect_hi, value } };
}
