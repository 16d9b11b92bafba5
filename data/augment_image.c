/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentations of pictures: crop, flip, colour jitter, grey, blur, solarise. The registry of all
 * kinds stands at the foot.
 *
 * Loops over pixels run in blocks of AK__LANES and may pass the end of a plane by less than that:
 * planes are padded. Fixed inner loops are what compilers turn into vector code. */
#include "data/augment.h"
#include "data/sound/sound.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

#define GREY_R ((ak_real)0.299)     /* ITU-R BT.601 luma */
#define GREY_G ((ak_real)0.587)
#define GREY_B ((ak_real)0.114)

#define MAX_RADIUS   32             /* of the blur kernel */
#define MAX_STRENGTH 1000           /* of jitter: beyond 1 there is little left of the picture */

/* ---- random_crop ----------------------------------------------------------------------------- */

static const char *crop_check(const double *o)
{
    if (!(o[0] > 0 && o[0] <= o[1] && o[1] <= 1))
        return "the area range needs 0 < lo <= hi <= 1";
    if (!(o[2] > 0 && o[2] <= o[3] && o[3] <= 100))
        return "the aspect range needs 0 < lo <= hi <= 100";
    return NULL;
}

static void crop_look(ak_box *box, const double *o, ak_draws d)
{
    const double area = (double)box->height * (double)box->width;
    const double lo = log(o[2]), hi = log(o[3]);
    const double shape = (double)box->width / (double)box->height;
    for (uint64_t attempt = 0; attempt < 10; attempt++) {
        const double  target = area * ak__draw_between(d, 4 * attempt, o[0], o[1]);
        const double  aspect = shape * exp(ak__draw_between(d, 4 * attempt + 1, lo, hi));
        const int64_t w = llround(sqrt(target * aspect)), h = llround(sqrt(target / aspect));
        if (w < 1 || h < 1 || w > box->width || h > box->height)
            continue;
        int64_t x = (int64_t)(ak_draw(d, 4 * attempt + 2) * (double)(box->width - w + 1));
        int64_t y = (int64_t)(ak_draw(d, 4 * attempt + 3) * (double)(box->height - h + 1));
        if (box->mirror)
            x = box->width - w - x;
        *box = (ak_box){ box->y + y, box->x + x, h, w, box->mirror };
        return;
    }
}

static const ak_augment_kind random_crop = {
    .name = "random_crop",
    .formula = "box of area U[lo,hi], aspect exp U[log a,log b], scaled bilinearly to the picture",
    .options = "lo, hi, aspect_lo, aspect_hi", .n_options = 4,
    .look = crop_look, .check = crop_check,
};

ak_augment ak_random_crop(double lo, double hi)
{
    return ak_random_crop_aspect(lo, hi, 3.0 / 4, 4.0 / 3);
}

ak_augment ak_random_crop_aspect(double lo, double hi, double aspect_lo, double aspect_hi)
{
    return (ak_augment){ &random_crop, { lo, hi, aspect_lo, aspect_hi } };
}

/* ---- random_flip ----------------------------------------------------------------------------- */

static const char *flip_check(const double *o)
{
    return ak__check_probability(o[0]);
}

static void flip_look(ak_box *box, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[0])
        box->mirror = !box->mirror;
}

static const ak_augment_kind random_flip = {
    .name = "random_flip", .formula = "y[h,w] = x[h,W-1-w] with probability p",
    .options = "p", .n_options = 1, .look = flip_look, .check = flip_check,
};

ak_augment ak_random_flip(double p)
{
    return (ak_augment){ &random_flip, { p } };
}

/* ---- color_jitter ---------------------------------------------------------------------------- */

static const char *jitter_check(const double *o)
{
    for (int k = 0; k < 3; k++)
        if (!(o[k] >= 0 && o[k] <= MAX_STRENGTH))
            return "strengths must be in [0, 1000]";
    if (!(o[3] >= 0 && o[3] <= 0.5))
        return "hue must be in [0, 0.5]";
    return ak__check_probability(o[4]);
}

AK__PIXELS static void change_brightness(ak_picture *p, ak_real f)
{
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
            ak_real *x = p->plane[c] + i;
            for (int j = 0; j < AK__LANES; j++)
                x[j] = ak__clamp01(x[j] * f);
        }
}

/* Sum of a plane in AK__LANES running sums, added up in order. */
static double plane_sum(const ak_real *x, int64_t n)
{
    ak_real       sums[AK__LANES] = { 0 };
    const int64_t whole = n / AK__LANES * AK__LANES;
    for (int64_t i = 0; i < whole; i += AK__LANES)
        for (int j = 0; j < AK__LANES; j++)
            sums[j] += x[i + j];
    double total = 0;
    for (int j = 0; j < AK__LANES; j++)
        total += (double)sums[j];
    for (int64_t i = whole; i < n; i++)
        total += (double)x[i];
    return total;
}

AK__PIXELS static void change_contrast(ak_picture *p, ak_real f)
{
    static const double luma[3] = { 0.299, 0.587, 0.114 };
    double              mean = 0;
    for (int c = 0; c < p->channels; c++)
        mean += plane_sum(p->plane[c], ak__plane_size(p)) *
                (p->channels == 3 ? luma[c] : 1.0 / p->channels);
    const ak_real shift = (ak_real)(mean / (double)ak__plane_size(p)) * (1 - f);
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
            ak_real *x = p->plane[c] + i;
            for (int j = 0; j < AK__LANES; j++)
                x[j] = ak__clamp01(x[j] * f + shift);
        }
}

AK__PIXELS static void change_saturation(ak_picture *p, ak_real f)
{
    for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
        ak_real *restrict r = p->plane[0] + i;
        ak_real *restrict g = p->plane[1] + i;
        ak_real *restrict b = p->plane[2] + i;
        for (int j = 0; j < AK__LANES; j++) {
            const ak_real shift = (GREY_R * r[j] + GREY_G * g[j] + GREY_B * b[j]) * (1 - f);
            r[j] = ak__clamp01(r[j] * f + shift);
            g[j] = ak__clamp01(g[j] * f + shift);
            b[j] = ak__clamp01(b[j] * f + shift);
        }
    }
}

/* HSV to RGB of one channel: v - d * clamp(min(k, 4 - k), 0, 1), k = (n + h) mod 6. */
static ak_real hue_channel(ak_real v, ak_real d, ak_real k)
{
    k = k < 6 ? k : k - 6;
    const ak_real m = k < 4 - k ? k : 4 - k;
    return v - d * ak__clamp01(m);
}

/* Turn the hue, keep saturation and value of HSV. Without branches: with h in sixths of the
 * circle, h = (g - b)/d, 2 + (b - r)/d or 4 + (r - g)/d for the largest of r, g, b. */
AK__PIXELS static void change_hue(ak_picture *p, ak_real turn)
{
    const ak_real shift = 6 * turn + (turn < 0 ? 6 : 0);    /* [0, 6] */
    for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
        ak_real *restrict r = p->plane[0] + i;
        ak_real *restrict g = p->plane[1] + i;
        ak_real *restrict b = p->plane[2] + i;
        for (int j = 0; j < AK__LANES; j++) {
            const ak_real R = r[j], G = g[j], B = b[j];
            const ak_real gb = G > B ? G : B, gb_low = G < B ? G : B;
            const ak_real v = R > gb ? R : gb, low = R < gb_low ? R : gb_low;
            const ak_real d = v - low;
            const ak_real over_g = R >= gb ? 0 : (ak_real)2, over_b = G >= B ? over_g : (ak_real)4;
            const ak_real base = R >= gb ? over_g : over_b;
            const ak_real not_r = G >= B ? B - R : R - G;
            const ak_real difference = R >= gb ? G - B : not_r;
            ak_real       h = base + difference / (d > 0 ? d : 1) + shift;  /* [-1, 11] */
            h = h < 0 ? h + 6 : h;
            h = h < 6 ? h : h - 6;
            r[j] = hue_channel(v, d, h + 5);
            g[j] = hue_channel(v, d, h + 3);
            b[j] = hue_channel(v, d, h + 1);
        }
    }
}

void ak__change_tone(ak_picture *p, ak__tone tone, ak_real f)
{
    if (tone == AK__BRIGHTNESS)
        change_brightness(p, f);
    else if (tone == AK__CONTRAST)
        change_contrast(p, f);
    else if (tone == AK__SATURATION && p->channels == 3)
        change_saturation(p, f);
    else if (tone == AK__HUE && p->channels == 3)
        change_hue(p, f);
}

static void jitter_change(ak_picture *p, const double *o, ak_draws d)
{
    if (!(ak_draw(d, 0) < o[4]))
        return;
    int order[4] = { 0, 1, 2, 3 };
    for (int i = 3; i > 0; i--) {
        const int j = (int)(ak_draw(d, 4 + (uint64_t)i) * (i + 1)), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < 4; i++) {
        const int k = order[i];
        if (!(o[k] > 0))
            continue;
        const double lo = k == 3 ? -o[3] : o[k] < 1 ? 1 - o[k] : 0, hi = k == 3 ? o[3] : 1 + o[k];
        const ak_real f = (ak_real)ak__draw_between(d, 1 + (uint64_t)k, lo, hi);
        ak__change_tone(p, (ak__tone)k, f);
    }
}

static const ak_augment_kind color_jitter = {
    .name = "color_jitter",
    .formula = "x f; (x - m) f + m; (x - grey) f + grey; hue + U[-h,h]; random order, clamped",
    .options = "brightness, contrast, saturation, hue, p", .n_options = 5,
    .change = jitter_change, .check = jitter_check, .unit_range = true,
};

ak_augment ak_jitter(double strength)
{
    const double hue = strength / 4;
    return ak_color_jitter(strength, strength, strength, hue < 0.5 ? hue : 0.5, 1);
}

ak_augment ak_color_jitter(double brightness, double contrast, double saturation, double hue,
                           double p)
{
    return (ak_augment){ &color_jitter, { brightness, contrast, saturation, hue, p } };
}

/* ---- random_gray ----------------------------------------------------------------------------- */

static const char *gray_check(const double *o)
{
    return ak__check_probability(o[0]);
}

AK__PIXELS static void gray_change(ak_picture *p, const double *o, ak_draws d)
{
    if (p->channels != 3 || !(ak_draw(d, 0) < o[0]))
        return;
    for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
        ak_real *restrict r = p->plane[0] + i;
        ak_real *restrict g = p->plane[1] + i;
        ak_real *restrict b = p->plane[2] + i;
        for (int j = 0; j < AK__LANES; j++)
            r[j] = g[j] = b[j] = GREY_R * r[j] + GREY_G * g[j] + GREY_B * b[j];
    }
}

static const ak_augment_kind random_gray = {
    .name = "random_gray", .formula = "r, g, b = 0.299 r + 0.587 g + 0.114 b with probability p",
    .options = "p", .n_options = 1, .change = gray_change, .check = gray_check,
};

ak_augment ak_random_gray(double p)
{
    return (ak_augment){ &random_gray, { p } };
}

/* ---- random_blur ----------------------------------------------------------------------------- */

static const char *blur_check(const double *o)
{
    if (!(o[0] > 0 && o[0] <= o[1]) || !isfinite(o[1]))
        return "the sigma range needs 0 < lo <= hi";
    return ak__check_probability(o[2]);
}

/* Half the kernel: a tenth of the shorter side, odd, at least 3; reflection needs a side > it. */
static int64_t blur_radius(int64_t height, int64_t width)
{
    const int64_t side = height < width ? height : width;
    int64_t       radius = side / 20;
    radius = radius < 1 ? 1 : radius > MAX_RADIUS ? MAX_RADIUS : radius;
    return radius < side ? radius : side - 1;
}

static int64_t reflect(int64_t i, int64_t n)
{
    return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

/* y[i] = sum_t w[|t|] rows[t][i], t = -radius..radius; pairs of equal weight are added first. */
AK__PIXELS static void blend_rows(ak_real *restrict y, const ak_real *const *rows, const ak_real *w,
                                  int64_t radius, int64_t n)
{
    const ak_real *const *mid = rows + radius;
    for (int64_t i = 0; i < n; i += AK__LANES) {
        ak_real sum[AK__LANES];
        for (int j = 0; j < AK__LANES; j++)
            sum[j] = w[0] * mid[0][i + j];
        for (int64_t t = 1; t <= radius; t++) {
            const ak_real *a = mid[-t] + i, *b = mid[t] + i, k = w[t];
            for (int j = 0; j < AK__LANES; j++)
                sum[j] += k * (a[j] + b[j]);
        }
        for (int j = 0; j < AK__LANES; j++)
            y[i + j] = sum[j];
    }
}

/* Down the columns: plane -> scratch, then along the rows: scratch -> plane. A row with its
 * reflected ends is laid out behind the scratch plane. */
static void blur_plane(ak_picture *p, ak_real *plane, const ak_real *w, int64_t radius)
{
    const int64_t  H = p->height, W = p->width;
    const ak_real *rows[2 * MAX_RADIUS + 1];
    for (int64_t y = 0; y < H; y++) {
        for (int64_t t = -radius; t <= radius; t++)
            rows[t + radius] = plane + reflect(y + t, H) * W;
        blend_rows(p->scratch + y * W, rows, w, radius, W);
    }
    ak_real *line = p->scratch + ak__lanes(H * W) + AK__LANES;
    for (int64_t y = 0; y < H; y++) {
        const ak_real *x = p->scratch + y * W;
        memcpy(line + radius, x, (size_t)W * sizeof *x);
        for (int64_t t = 1; t <= radius; t++) {
            line[radius - t] = x[reflect(-t, W)];
            line[radius + W - 1 + t] = x[reflect(W - 1 + t, W)];
        }
        for (int64_t t = 0; t <= 2 * radius; t++)
            rows[t] = line + t;
        blend_rows(plane + y * W, rows, w, radius, W);
    }
}

static void blur_change(ak_picture *p, const double *o, ak_draws d)
{
    const int64_t radius = blur_radius(p->height, p->width);
    if (radius < 1 || !(ak_draw(d, 0) < o[2]))
        return;
    const double sigma = ak__draw_between(d, 1, o[0], o[1]);
    double       weight[MAX_RADIUS + 1], total = 1;
    ak_real      w[MAX_RADIUS + 1];
    weight[0] = 1;
    for (int64_t t = 1; t <= radius; t++) {
        weight[t] = exp(-0.5 * (double)(t * t) / (sigma * sigma));
        total += 2 * weight[t];
    }
    for (int64_t t = 0; t <= radius; t++)
        w[t] = (ak_real)(weight[t] / total);
    for (int c = 0; c < p->channels; c++)
        blur_plane(p, p->plane[c], w, radius);
}

static const ak_augment_kind random_blur = {
    .name = "random_blur",
    .formula = "y = x * g(sigma), sigma ~ U[lo,hi], kernel a tenth of the side, edges reflected",
    .options = "lo, hi, p", .n_options = 3, .change = blur_change, .check = blur_check,
};

ak_augment ak_random_blur(double lo, double hi, double p)
{
    return (ak_augment){ &random_blur, { lo, hi, p } };
}

/* ---- random_solarize ------------------------------------------------------------------------- */

static const char *solarize_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= 1))
        return "the threshold must be in [0, 1], as pixels are";
    return ak__check_probability(o[1]);
}

AK__PIXELS static void solarize(ak_picture *p, ak_real threshold)
{
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < ak__plane_size(p); i += AK__LANES) {
            ak_real *x = p->plane[c] + i;
            for (int j = 0; j < AK__LANES; j++)
                x[j] = x[j] >= threshold ? 1 - x[j] : x[j];
        }
}

void ak__change_solarize(ak_picture *p, ak_real threshold)
{
    solarize(p, threshold);
}

static void solarize_change(ak_picture *p, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[1])
        solarize(p, (ak_real)o[0]);
}

static const ak_augment_kind random_solarize = {
    .name = "random_solarize", .formula = "y = x >= threshold ? 1 - x : x with probability p",
    .options = "threshold, p", .n_options = 2, .change = solarize_change, .check = solarize_check,
    .unit_range = true,
};

ak_augment ak_random_solarize(double threshold, double p)
{
    return (ak_augment){ &random_solarize, { threshold, p } };
}

/* ---- view_size ------------------------------------------------------------------------------- */

#define MAX_SIDE (1 << 20)

static const char *size_check(const double *o)
{
    for (int k = 0; k < 2; k++)
        if (!(o[k] >= 1 && o[k] <= MAX_SIDE))
            return "sides must be in [1, 2^20]";
    return NULL;
}

/* It is the resampling that follows which takes the size. */
static void size_look(ak_box *box, const double *o, ak_draws d)
{
    (void)box, (void)o, (void)d;
}

static const ak_augment_kind view_size = {
    .name = "view_size", .formula = "the view has this size; geometry scales to it",
    .options = "height, width", .n_options = 2, .look = size_look, .check = size_check,
};

ak_augment ak_view_size(int64_t height, int64_t width)
{
    return (ak_augment){ &view_size, { (double)height, (double)width } };
}

bool ak__augment_size(const ak_augment *list, int64_t *height, int64_t *width)
{
    for (int k = 0; list && list[k].kind; k++)
        if (list[k].kind == &view_size) {
            *height = (int64_t)list[k].option[0];
            *width = (int64_t)list[k].option[1];
            return true;
        }
    return false;
}

/* ---- the family ------------------------------------------------------------------------------ */

static const ak_augment_kind *const of_pictures[] = {
    &random_crop, &random_flip, &color_jitter, &random_gray, &random_blur, &random_solarize,
    &view_size, &ak__random_pad_crop, &ak__random_rotation, &ak__random_affine,
    &ak__random_erasing, &ak__random_autocontrast, &ak__random_equalize, &ak__random_posterize,
    &ak__random_sharpness, &ak__rand_augment, NULL,
};

/* All kinds: a list, ended by NULL, of each folder that has some. */
static const ak_augment_kind *const *const augmentations[] = {
    of_pictures, ak__sound_augmentations,
};

const ak_augment_kind *ak_augment_at(int i)
{
    for (size_t f = 0; i >= 0 && f < sizeof augmentations / sizeof *augmentations; f++)
        for (int k = 0; augmentations[f][k]; k++)
            if (i-- == 0)
                return augmentations[f][k];
    return NULL;
}

bool ak__augment_own(const ak_augment_kind *kind)
{
    const ak_augment_kind *own;
    for (int i = 0; (own = ak_augment_at(i)); i++)
        if (own == kind)
            return true;
    return false;
}

const ak_augment_kind *ak_augment_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    const ak_augment_kind *own;
    for (int i = 0; (own = ak_augment_at(i)); i++)
        if (strcmp(own->name, name) == 0)
            return own;
    return NULL;
}
