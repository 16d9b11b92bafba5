/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of augmentations of pictures share: what each does once its numbers are drawn, so
 * that kinds can be made of others, and the kinds for the registry (augment_image.c). */
#ifndef AK_DATA_AUGMENT_H
#define AK_DATA_AUGMENT_H

#include <akin/picture.h>

#include "data/pixels.h"
#include "data/views.h"

static inline ak_real ak__clamp01(ak_real x)
{
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

/* The number-th draw, in [lo, hi). */
static inline double ak__draw_between(ak_draws d, uint64_t number, double lo, double hi)
{
    return lo + (hi - lo) * ak_draw(d, number);
}

static inline const char *ak__check_probability(double p)
{
    return p >= 0 && p <= 1 ? NULL : "the probability must be in [0, 1]";
}

static inline int64_t ak__plane_size(const ak_picture *p)
{
    return p->height * p->width;
}

/* ---- tones ----------------------------------------------------------------------------------- */

/* Strength f: x f; (x - m) f + m; (x - grey) f + grey, of three channels; the circle turned by f,
 * of three channels. Clamped. */
typedef enum ak__tone { AK__BRIGHTNESS, AK__CONTRAST, AK__SATURATION, AK__HUE } ak__tone;
void ak__change_tone(ak_picture *p, ak__tone tone, ak_real f);
void ak__change_solarize(ak_picture *p, ak_real threshold);
void ak__change_autocontrast(ak_picture *p);
void ak__change_equalize(ak_picture *p);
void ak__change_posterize(ak_picture *p, int bits);
void ak__change_sharpness(ak_picture *p, ak_real factor);

/* ---- geometry -------------------------------------------------------------------------------- */

/* Where pixels come from: (y, x) from row yy y + yx x + y0 and column xy y + xx x + x0, between
 * pixels bilinearly; beyond the picture there is 0. */
typedef struct ak__map { double yy, yx, y0, xy, xx, x0; } ak__map;
void ak__change_map(ak_picture *p, const ak__map *map);
/* Turned counter-clockwise about the middle, sheared by x += slope y, scaled, moved. */
ak__map ak__map_about_middle(const ak_picture *p, double degrees, double slope, double scale,
                             double down, double right);

extern const ak_augment_kind ak__random_pad_crop, ak__random_rotation, ak__random_affine,
    ak__random_erasing, ak__random_autocontrast, ak__random_equalize, ak__random_posterize,
    ak__random_sharpness, ak__rand_augment;

#endif
