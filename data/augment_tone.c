/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentations of pictures that look at levels and neighbours: autocontrast, equalize, posterize,
 * sharpness. Levels are the 256 of bytes; a number between two of them counts as the nearer. */
#include "data/augment.h"

#include <math.h>
#include <string.h>

#define LEVELS       256
#define MAX_STRENGTH 1000       /* of sharpness, as of the other strengths */

static int level_of(ak_real x)
{
    return (int)(ak__clamp01(x) * (LEVELS - 1) + (ak_real)0.5);
}

static ak_real of_level(int level)
{
    return (ak_real)level * AK__BYTE_SCALE;
}

/* ---- autocontrast ---------------------------------------------------------------------------- */

AK__PIXELS static void stretch(ak_real *restrict x, int64_t n)
{
    ak_real lo = x[0], hi = x[0];
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (!(hi > lo))
        return;
    const ak_real factor = 1 / (hi - lo);
    for (int64_t i = 0; i < n; i++)
        x[i] = ak__clamp01((x[i] - lo) * factor);
}

void ak__change_autocontrast(ak_picture *p)
{
    for (int c = 0; c < p->channels; c++)
        stretch(p->plane[c], ak__plane_size(p));
}

static const char *only_probability(const double *o)
{
    return ak__check_probability(o[0]);
}

static void autocontrast_change(ak_picture *p, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[0])
        ak__change_autocontrast(p);
}

const ak_augment_kind ak__random_autocontrast = {
    .name = "random_autocontrast",
    .formula = "y = (x - min) / (max - min), channel by channel, with probability p",
    .options = "p", .n_options = 1, .change = autocontrast_change, .check = only_probability,
    .unit_range = true,
};

ak_augment ak_random_autocontrast(double p)
{
    return (ak_augment){ &ak__random_autocontrast, { p } };
}

/* ---- equalize -------------------------------------------------------------------------------- */

/* The new number of each level; false: the plane stays. */
static bool equalized(const ak_real *x, int64_t n, ak_real table[LEVELS])
{
    int64_t count[LEVELS] = { 0 };
    int     levels = 0, highest = 0;
    for (int64_t i = 0; i < n; i++)
        count[level_of(x[i])]++;
    for (int l = 0; l < LEVELS; l++)
        if (count[l]) {
            levels++;
            highest = l;
        }
    const int64_t step = (n - count[highest]) / (LEVELS - 1);
    if (levels < 2 || step == 0)
        return false;
    int64_t below = step / 2;
    for (int l = 0; l < LEVELS; l++) {
        const int64_t level = below / step;
        table[l] = of_level(level < LEVELS - 1 ? (int)level : LEVELS - 1);
        below += count[l];
    }
    return true;
}

void ak__change_equalize(ak_picture *p)
{
    const int64_t n = ak__plane_size(p);
    ak_real       table[LEVELS];
    for (int c = 0; c < p->channels; c++)
        if (equalized(p->plane[c], n, table))
            for (int64_t i = 0; i < n; i++)
                p->plane[c][i] = table[level_of(p->plane[c][i])];
}

static void equalize_change(ak_picture *p, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[0])
        ak__change_equalize(p);
}

const ak_augment_kind ak__random_equalize = {
    .name = "random_equalize",
    .formula = "levels so that the histogram of each channel is flat, with probability p",
    .options = "p", .n_options = 1, .change = equalize_change, .check = only_probability,
    .unit_range = true,
};

ak_augment ak_random_equalize(double p)
{
    return (ak_augment){ &ak__random_equalize, { p } };
}

/* ---- posterize ------------------------------------------------------------------------------- */

void ak__change_posterize(ak_picture *p, int bits)
{
    const int     mask = 0xff & ~((1 << (8 - bits)) - 1);
    const int64_t n = ak__plane_size(p);
    for (int c = 0; c < p->channels && bits < 8; c++)
        for (int64_t i = 0; i < n; i++)
            p->plane[c][i] = of_level(level_of(p->plane[c][i]) & mask);
}

static const char *posterize_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= 8 && o[0] == floor(o[0])))
        return "bits must be a whole number in [0, 8]";
    return ak__check_probability(o[1]);
}

static void posterize_change(ak_picture *p, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[1])
        ak__change_posterize(p, (int)o[0]);
}

const ak_augment_kind ak__random_posterize = {
    .name = "random_posterize",
    .formula = "of 8 bits only the upper ones are kept, with probability p",
    .options = "bits, p", .n_options = 2, .change = posterize_change, .check = posterize_check,
    .unit_range = true,
};

ak_augment ak_random_posterize(int bits, double p)
{
    return (ak_augment){ &ak__random_posterize, { bits, p } };
}

/* ---- sharpness ------------------------------------------------------------------------------- */

/* Row y of the inside; the border is not touched. */
AK__PIXELS static void sharpen_row(const ak_real *restrict x, int64_t W, ak_real factor,
                                   ak_real *restrict to)
{
    const ak_real *restrict up = x - W, *restrict down = x + W;
    for (int64_t i = 1; i < W - 1; i++) {
        const ak_real around = (up[i - 1] + up[i] + up[i + 1]) + (x[i - 1] + x[i + 1]) +
                               (down[i - 1] + down[i] + down[i + 1]);
        const ak_real smooth = (around + 5 * x[i]) * (ak_real)(1.0 / 13);
        to[i] = ak__clamp01(smooth + factor * (x[i] - smooth));
    }
}

void ak__change_sharpness(ak_picture *p, ak_real factor)
{
    const int64_t H = p->height, W = p->width;
    for (int c = 0; c < p->channels && factor != 1 && H > 2 && W > 2; c++) {
        ak_real *plane = p->plane[c];
        for (int64_t y = 1; y < H - 1; y++)
            sharpen_row(plane + y * W, W, factor, p->scratch + y * W);
        for (int64_t y = 1; y < H - 1; y++)
            memcpy(plane + y * W + 1, p->scratch + y * W + 1, (size_t)(W - 2) * sizeof *plane);
    }
}

static const char *sharpness_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= MAX_STRENGTH))
        return "the factor must be in [0, 1000]";
    return ak__check_probability(o[1]);
}

static void sharpness_change(ak_picture *p, const double *o, ak_draws d)
{
    if (ak_draw(d, 0) < o[1])
        ak__change_sharpness(p, (ak_real)o[0]);
}

const ak_augment_kind ak__random_sharpness = {
    .name = "random_sharpness",
    .formula = "y = s + factor (x - s), s = x smoothed by 3 x 3; clamped, with probability p",
    .options = "factor, p", .n_options = 2, .change = sharpness_change, .check = sharpness_check,
    .unit_range = true,
};

ak_augment ak_random_sharpness(double factor, double p)
{
    return (ak_augment){ &ak__random_sharpness, { factor, p } };
}
