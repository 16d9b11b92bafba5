/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentations that are made of others: RandAugment, the lists of multi-crop. */
#include "data/augment.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

/* ---- rand_augment ---------------------------------------------------------------------------- */

#define MOST_OPS       16
#define MOST_MAGNITUDE 30

enum { IDENTITY, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE, BRIGHTNESS, COLOUR, CONTRAST,
       SHARPNESS, POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE, OPS };

static const char *rand_augment_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= MOST_OPS && o[0] == floor(o[0])))
        return "the number of ops must be a whole number in [0, 16]";
    return o[1] >= 0 && o[1] <= MOST_MAGNITUDE ? NULL : "the magnitude must be in [0, 30]";
}

/* The geometric ones about the corner, whose middle lies half a pixel inside. */
static void move(ak_picture *p, int op, double t)
{
    ak__map m = { .yy = 1, .xx = 1 };
    switch (op) {
    case SHEAR_X:
        m.xy = 0.3 * t;
        m.x0 = 0.5 * m.xy;
        break;
    case SHEAR_Y:
        m.yx = 0.3 * t;
        m.y0 = 0.5 * m.yx;
        break;
    case TRANSLATE_X:
        m.x0 = -trunc(150.0 / 331 * (double)p->width * t);
        break;
    case TRANSLATE_Y:
        m.y0 = -trunc(150.0 / 331 * (double)p->height * t);
        break;
    default:
        m = ak__map_about_middle(p, 30 * t, 0, 1, 0, 0);
    }
    if (t != 0)
        ak__change_map(p, &m);
}

/* One op: t is m / 30, signed for those that have a sign. */
static void apply_op(ak_picture *p, int op, double t, double sign)
{
    const ak_real factor = (ak_real)(1 + 0.9 * t * sign);
    switch (op) {
    case IDENTITY:
        break;
    case BRIGHTNESS:
        ak__change_tone(p, AK__BRIGHTNESS, factor);
        break;
    case COLOUR:
        ak__change_tone(p, AK__SATURATION, factor);
        break;
    case CONTRAST:
        ak__change_tone(p, AK__CONTRAST, factor);
        break;
    case SHARPNESS:
        ak__change_sharpness(p, factor);
        break;
    case POSTERIZE:
        ak__change_posterize(p, 8 - (int)rint(4 * t));
        break;
    case SOLARIZE:
        ak__change_solarize(p, (ak_real)(1 - t));
        break;
    case AUTOCONTRAST:
        ak__change_autocontrast(p);
        break;
    case EQUALIZE:
        ak__change_equalize(p);
        break;
    default:
        move(p, op, t * sign);
    }
}

static void rand_augment_change(ak_picture *p, const double *o, ak_draws d)
{
    for (uint64_t k = 0; k < (uint64_t)o[0]; k++)
        apply_op(p, (int)(ak_draw(d, 2 * k) * OPS), o[1] / MOST_MAGNITUDE,
                 ak_draw(d, 2 * k + 1) < 0.5 ? -1 : 1);
}

const ak_augment_kind ak__rand_augment = {
    .name = "rand_augment",
    .formula = "ops times one of fourteen changes at magnitude m of 30, signs by a fair coin",
    .options = "ops, m", .n_options = 2, .change = rand_augment_change,
    .check = rand_augment_check, .unit_range = true,
};

ak_augment ak_rand_augment(int ops, double m)
{
    return (ak_augment){ &ak__rand_augment, { ops, m } };
}

/* ---- multi-crop ------------------------------------------------------------------------------ */

#define FRONT 3                 /* entries before .then: crop, flip, size */

/* The options with their defaults. */
static ak_multi_crop_options crop_options(ak_multi_crop_options o)
{
    o.large = o.large == AK_NONE ? 0 : o.large ? o.large : 2;
    o.small = o.small == AK_NONE ? 0 : o.small ? o.small : 6;
    o.large_size = o.large_size ? o.large_size : 224;
    o.small_size = o.small_size ? o.small_size : 96;
    if (o.large_lo == 0 && o.large_hi == 0) {
        o.large_lo = 0.14;
        o.large_hi = 1;
    }
    if (o.small_lo == 0 && o.small_hi == 0) {
        o.small_lo = 0.05;
        o.small_hi = 0.14;
    }
    o.flip = o.flip < 0 ? 0 : o.flip == 0 ? 0.5 : o.flip;
    return o;
}

static ak_status check_crops(ak_ctx *ctx, const ak_multi_crop_options *o,
                             const ak_augment front[2][FRONT])
{
    static const char *const kinds[2] = { "large", "small" };
    if (o->large < 0 || o->small < 0 || o->large > AK_MAX_VIEWS || o->small > AK_MAX_VIEWS ||
        o->large + o->small < 1 || o->large + o->small > AK_MAX_VIEWS)
        return ak_fail(ctx, AK_ERR_VALUE, "multi_crop: %d large and %d small views: 1 to %d "
                       "together are possible", o->large, o->small, AK_MAX_VIEWS);
    for (int kind = 0; kind < 2; kind++)
        for (int k = 0; k < FRONT; k++) {
            const ak_augment *a = &front[kind][k];
            const char       *wrong = a->kind->check(a->option);
            if (wrong)
                return ak_fail(ctx, AK_ERR_VALUE, "multi_crop: of the %s views: %s: %s; given: %g, "
                               "%g", kinds[kind], a->kind->name, wrong, a->option[0],
                               a->option[1]);
        }
    if (ak__augment_count(o->then) > AK__LIST_MAX - FRONT)
        return ak_fail(ctx, AK_ERR_VALUE, "multi_crop: more than %d augmentations in .then: does "
                       "it end with { 0 }?", AK__LIST_MAX - FRONT);
    return AK_OK;
}

const ak_augment *const *ak_multi_crop(ak_ctx *ctx, ak_multi_crop_options options)
{
    if (!AK__GIVEN(NULL, ctx) || ak_error(ctx))
        return NULL;
    const ak_multi_crop_options o = crop_options(options);
    const ak_augment front[2][FRONT] = {
        { ak_random_crop(o.large_lo, o.large_hi), ak_random_flip(o.flip),
          ak_view_size(o.large_size, o.large_size) },
        { ak_random_crop(o.small_lo, o.small_hi), ak_random_flip(o.flip),
          ak_view_size(o.small_size, o.small_size) },
    };
    if (check_crops(ctx, &o, front))
        return NULL;
    const int          then = ak__augment_count(o.then);
    const size_t       length = FRONT + (size_t)then + 1;
    const ak_augment **lists = ak__ctx_alloc(ctx, AK_MAX_VIEWS * sizeof *lists);
    ak_augment        *list = ak__ctx_alloc(ctx, 2 * length * sizeof *list);
    if (!lists || !list)
        return NULL;
    for (size_t kind = 0; kind < 2; kind++) {
        memcpy(list + kind * length, front[kind], sizeof front[kind]);
        if (then)
            memcpy(list + kind * length + FRONT, o.then, (size_t)then * sizeof *list);
    }
    for (int v = 0; v < o.large + o.small; v++)
        lists[v] = v < o.large ? list : list + length;
    return lists;
}
