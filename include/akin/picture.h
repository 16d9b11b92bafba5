/* SPDX-License-Identifier: Apache-2.0 */
/* akin/picture.h - picture files, sizes, more augmentations, mixtures of a batch, grids.
 *
 * PNG and JPEG files become arrays of bytes [H, W, C]; arrays and tensors become PNG files.
 *
 *     const ak_array *a = ak_picture_read(ctx, "cat.jpg", (ak_picture_options){
 *         .shorter = 256, .height = 224, .width = 224 });         // u1 [224, 224, 3]
 *     ak_picture_write_png(ctx, "small.png", a);
 *     ak_picture_write_tensor(ctx, "views.png", ak_picture_grid(b.view[0], (ak_grid_options){
 *         .lo = -1, .hi = 1 }));
 *
 * What is read:
 *   PNG    grey, colour and palette with 1 to 16 bits, alpha and transparent colours, interlaced.
 *          16 bits are rounded to 8. Gamma and colour profiles are not applied, as elsewhere
 *          (Pillow, OpenCV): what a network sees are the stored numbers.
 *   JPEG   grey, colour and CMYK (converted as Pillow does it, which takes Adobe's inverse for
 *          granted), baseline and progressive, 8 bits. A file whose picture data are damaged or end
 *          early is refused: the decoder would fill what is missing with grey.
 * The orientation that a camera noted (EXIF) is applied: turned pictures of one phone among upright
 * ones are no variety that a method should learn, and captions speak of what is upright. The
 * loaders of torchvision and Pillow do not do this by themselves; .as_stored is their way.
 *
 * Sizes are checked before memory is taken, and no file makes the program end. Other formats (GIF,
 * WebP, TIFF, ..) are told by name. Where akin was built without libpng or libjpeg, what needs it
 * is AK_ERR_STATE that says so.
 */
#ifndef AKIN_PICTURE_H
#define AKIN_PICTURE_H

#include <akin/data.h>
#include <akin/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading --------------------------------------------------------------------------------- */

/* How pixels of another size are made: always with antialiasing, as Pillow does it. The filter of
 * output pixel i, scaled by s = max(1, in/out), stands at c = (i + 1/2) in/out:
 *
 *   y(i) = sum_j x(j) f((j + 1/2 - c) / s) / sum_j f(..)     over the j inside of the picture
 *   bilinear   f(t) = 1 - |t|                                                    |t| < 1
 *   bicubic    f(t) = 3/2 |t|^3 - 5/2 t^2 + 1                                    |t| < 1
 *                     -1/2 |t|^3 + 5/2 t^2 - 4 |t| + 2                           |t| < 2
 *
 * first along rows, then along columns. With bytes weights have 22 bits and both passes round, so
 * that results are those of Pillow up to 12, bit for bit. (Later versions begin with the columns
 * where that is faster, and are then a level away here and there.) With 2 or 4 channels the last is
 * alpha, which weighs the others. */
typedef enum ak_filter { AK_FILTER_BILINEAR = 0, AK_FILTER_BICUBIC } ak_filter;

typedef struct ak_picture_options {
    int            channels;    /* 1 (grey), 3 (colour), 4 (colour, alpha); 0 = 3 */
    const uint8_t *background;  /* [3] red, green, blue behind transparent pixels where there is no
                                 * alpha in what is wanted; NULL = white */
    int64_t        shorter;     /* scale so that the shorter side has so many pixels, the longer one
                                 * floor(shorter longer / shorter side); 0 = not */
    int64_t        height;      /* with .shorter: cut this out of the middle; without it: scale */
    int64_t        width;       /* to this, whatever becomes of the aspect; 0 and 0 = not */
    ak_filter      filter;
    int64_t        most_pixels; /* larger pictures are refused; 0 = 2^26 (8192 x 8192) */
    bool           as_stored;   /* without the orientation in the file */
} ak_picture_options;

/* Read a PNG or JPEG file, told by its content.
 *
 *   formula  grey = 0.299 red + 0.587 green + 0.114 blue (of a JPEG: as it is stored there);
 *            over a background: round((a x + (255 - a) background) / 255)
 *   returns  u1 [H, W, C], context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT (damaged), AK_ERR_UNSUPPORTED (another
 *            format, or a kind of JPEG that is not read), AK_ERR_VALUE (an option out of range,
 *            more pixels than .most_pixels before, within or after scaling, a cut larger than the
 *            picture), AK_ERR_STATE (built without the library), AK_ERR_MEMORY
 */
AK_API const ak_array *ak_picture_read(ak_ctx *ctx, const char *path, ak_picture_options options);

/* The same into memory that is there, and without a context: for callbacks of data sets, which run
 * on the loader's threads:
 *
 *     bool fill(ak_item_data *item, void *user)
 *     {
 *         const my_files *f = user;
 *         return ak_picture_fill(f->path[item->number], (ak_picture_options){ .shorter = 72,
 *             .height = 64, .width = 64 }, item->data[0], item->error);
 *     }
 *
 *   options  .height and .width are needed: they say how large `pixels` is
 *   pixels   out: u1 [height, width, channels]
 *   error    out: what was wrong, with the path
 *   returns  false if it can not; only NULL as an argument is recorded as an error as well
 */
AK_API bool ak_picture_fill(const char *path, ak_picture_options options, uint8_t *pixels,
                            char error[200]);

/* ---- sizes ----------------------------------------------------------------------------------- */

/* These three take u1 [H, W] or [H, W, C], 1 to 4 channels, and return u1 [H', W', C] in context
 * lifetime, or NULL. errors: AK_ERR_SHAPE, AK_ERR_VALUE (another element type, sizes out of range),
 * AK_ERR_MEMORY. For many pictures: the options of ak_picture_read, or ak_picture_fill. */

/* To height x width. The same size: the same numbers. */
AK_API const ak_array *ak_picture_resize(ak_ctx *ctx, const ak_array *picture, int64_t height,
                                         int64_t width, ak_filter filter);
/* The shorter side to `side` pixels, the longer one to floor(side longer / shorter). */
AK_API const ak_array *ak_picture_resize_shorter(ak_ctx *ctx, const ak_array *picture, int64_t side,
                                                 ak_filter filter);
/* height x width out of the middle: from row round((H - height) / 2) on, halves to even. */
AK_API const ak_array *ak_picture_crop_center(ak_ctx *ctx, const ak_array *picture, int64_t height,
                                              int64_t width);

/* The same scaling of numbers, of any range, without rounding. (ak_resize_bilinear of akin/ops.h
 * has a gradient and no antialiasing.)
 *
 *   shapes   x [H, W, C] or [N, H, W, C] -> [height, width, C] or [N, height, width, C]
 *   returns  step lifetime; the poison tensor on failure
 *   grad     none: x may not need one
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE, AK_ERR_STALE, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_picture_resize_tensor(const ak_tensor *x, int64_t height, int64_t width,
                                           ak_filter filter);

/* ---- writing and looking --------------------------------------------------------------------- */

/* Write a PNG file: 8 bits, grey, grey and alpha, colour, or colour and alpha.
 *
 *   picture  u1 [H, W] or [H, W, C], 1 to 4 channels
 *   returns  AK_OK; the file is complete or, on failure, the old one is untouched
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE (another element type), AK_ERR_IO, AK_ERR_MEMORY,
 *            AK_ERR_STATE (an error is pending; built without libpng)
 */
AK_API ak_status ak_picture_write_png(ak_ctx *ctx, const char *path, const ak_array *picture);
/* The same of a tensor [H, W] or [H, W, C] with values in [0, 1]: byte = round(255 x).
 *
 *   errors   also AK_ERR_VALUE for values outside [0, 1] (by more than 1e-3), AK_ERR_NUMBER for
 *            NaN, AK_ERR_STALE, AK_ERR_CONTEXT
 */
AK_API ak_status ak_picture_write_tensor(ak_ctx *ctx, const char *path, const ak_tensor *picture);

typedef struct ak_grid_options {
    int64_t columns;        /* 0 = ceil(sqrt(N)) */
    int64_t margin;         /* pixels around each; 0 = 2, AK_NONE = none */
    double  background;     /* of margins and empty places, in [0, 1] */
    double  lo, hi;         /* what becomes 0 and 1 (of normalised pictures: (0 - mean) / std and
                             * (1 - mean) / std); both 0 = 0 and 1 */
    bool    fit;            /* instead: the least and the largest value of all pictures */
} ak_grid_options;
/* Many pictures as one, row by row, to be looked at.
 *
 *   formula  y = (x - lo) / (hi - lo), beyond by at most 1e-3: cut; more is an error
 *   shapes   x [N, H, W, C] -> [rows (H + m) + m, columns (W + m) + m, C], rows ceil(N / columns)
 *   returns  values in [0, 1], step lifetime; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE (an option, values outside), AK_ERR_NUMBER (NaN),
 *            AK_ERR_STALE, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_picture_grid(const ak_tensor *x, ak_grid_options options);

/* ---- augmentations --------------------------------------------------------------------------- */

/* More kinds beside those of akin/data.h. All of them see values in [0, 1], leave values there, and
 * with probability 1 - p (or at the setting named) leave every bit. What a geometric one has no
 * pixel for is 0 (black). */

/* A window of the picture's size out of the picture with `padding` pixels added on each side: zeros
 * or mirrored without the border pixel (d c b | a b c d | c b a), again and again where padding is
 * larger than the picture. All (2 padding + 1)^2 places are as likely. padding 0 changes nothing.
 *   padding in [0, 4096] */
AK_API ak_augment ak_random_pad_crop(int64_t padding, bool reflect);
/* Turned about its middle by an angle ~ U[-degrees, degrees], counter-clockwise, sampled
 * bilinearly.  degrees in [0, 180]; 0 changes nothing */
AK_API ak_augment ak_random_rotation(double degrees);
/* Turned as above, sheared along rows by a slope ~ U[-shear, shear], scaled about the middle by a
 * factor ~ U[scale_lo, scale_hi], moved by U[-shift, shift] times its width and, drawn apart, its
 * height; in this order, all in one bilinear sampling.
 *   degrees in [0, 180], shift in [0, 1], 0 < scale_lo <= scale_hi <= 100, shear in [0, 10];
 *   0, 0, 1, 1, 0 changes nothing */
AK_API ak_augment ak_random_affine(double degrees, double shift, double scale_lo, double scale_hi,
                                   double shear);

#define AK_ERASE_NOISE (-1.0)
/* With probability p a box becomes `value` (or noise, U[0, 1) for each number): area U[lo, hi]
 * times the picture's, height by width log-uniform in [0.3, 3.3], anywhere inside. Ten tries; then
 * nothing.  0 <= lo <= hi < 1, value in [0, 1] or AK_ERASE_NOISE
 *   source   Zhong et al., "Random erasing data augmentation", AAAI 2020 */
AK_API ak_augment ak_random_erasing(double p, double lo, double hi, double value);
/* The same with an aspect range.  0 < aspect_lo <= aspect_hi <= 100 */
AK_API ak_augment ak_random_erasing_aspect(double p, double lo, double hi, double aspect_lo,
                                           double aspect_hi, double value);

/* With probability p each channel is stretched over [0, 1]: (x - min) / (max - min); one that is
 * flat stays. */
AK_API ak_augment ak_random_autocontrast(double p);
/* With probability p each channel's histogram becomes flat: of 256 levels, with h their counts and
 * step = floor((pixels - count of the highest level there is) / 255),
 * y = floor((floor(step / 2) + sum_{l < x} h[l]) / step) / 255. step 0, or one level: it stays.
 *   source   Pillow, ImageOps.equalize */
AK_API ak_augment ak_random_equalize(double p);
/* With probability p only the upper bits of 8 are kept.  bits 0 to 8; 8 changes nothing */
AK_API ak_augment ak_random_posterize(int bits, double p);
/* With probability p: s + factor (x - s), clamped, with s the picture smoothed by
 * [1 1 1; 1 5 1; 1 1 1] / 13; the border stays.  factor in [0, 1000]: 0 smoothed, 1 changes
 * nothing, 2 sharper */
AK_API ak_augment ak_random_sharpness(double factor, double p);

/* RandAugment: `ops` times one of fourteen, each as likely, at magnitude m, here t = m / 30:
 *
 *   identity; autocontrast; equalize; posterize to 8 - round(4 t) bits; solarize from 1 - t on;
 *   shear x, shear y by a slope +- 0.3 t about the corner; translate x, y by whole pixels, the part
 *   before the point of +- t 150 / 331 of the side; rotate by +- 30 t degrees; brightness, colour,
 *   contrast, sharpness by a factor 1 +- 0.9 t (ak_color_jitter, ak_random_sharpness)
 *
 * with signs by a fair coin. Magnitude 0 is no identity, since autocontrast, equalize and solarize
 * from 1 on are among them; ops 0 is. Colour does nothing to pictures that have not three channels.
 *   ops in [0, 16] (usual: 2), m in [0, 30] (usual: 9)
 *   source   Cubuk et al., "RandAugment", NeurIPS 2020; ranges and thirty steps of torchvision's
 *            RandAugment, with bilinear sampling */
AK_API ak_augment ak_rand_augment(int ops, double m);

typedef struct ak_multi_crop_options {
    int     large, small;       /* views of each kind, 16 together at most; 0 = 2 and 6, AK_NONE */
    int64_t large_size;         /* pixels of a side; 0 = 224 */
    int64_t small_size;         /* 0 = 96 */
    double  large_lo, large_hi; /* share of the area; both 0 = 0.14 to 1 */
    double  small_lo, small_hi; /* both 0 = 0.05 to 0.14 */
    double  flip;               /* probability; 0 = 0.5, below 0 = none */
    const ak_augment *then;     /* behind crop and flip, ended by { 0 }; NULL = nothing */
} ak_multi_crop_options;
/* The lists of multi-crop: the large views first, then the small ones. A view's size comes from
 * ak_view_size, its part of the picture from ak_random_crop.
 *
 *     const ak_multi_crop_options crops = { .large = 2, .small = 4, .large_size = 32,
 *                                           .small_size = 16 };
 *     ak_loader_open(ds, (ak_loader_options){ .views = 6,
 *                                             .augment_each = ak_multi_crop(ctx, crops) });
 *
 *   returns  large + small lists, in context lifetime; NULL on failure
 *   errors   AK_ERR_VALUE for an option out of range or too long a .then; AK_ERR_MEMORY
 *   source   Caron et al., "SwAV", NeurIPS 2020
 */
AK_API const ak_augment *const *ak_multi_crop(ak_ctx *ctx, ak_multi_crop_options options);

/* ---- mixtures of a batch --------------------------------------------------------------------- */

typedef struct ak_mix_options {
    double  alpha;      /* the row's own share ~ Beta(alpha, alpha), one for the batch; 0 = 1,
                         * which is uniform */
    double  share;      /* or this share, in (0, 1]; 0 = drawn. 1 gives the batch itself */
    int64_t classes;    /* soft labels of so many classes; 0 = none */
} ak_mix_options;

typedef struct ak_mixed {
    ak_tensor *x;       /* as what was handed in */
    ak_index  *partner; /* [N] row i was mixed with row partner[i]: a random permutation */
    ak_index  *label;   /* [N] the labels handed in, .. */
    ak_index  *other;   /* [N] .. and those of the partners; NULL without labels */
    ak_tensor *target;  /* [N, classes] share one-hot(label) + (1 - share) one-hot(other), for
                         * ak_cross_entropy_soft; NULL without .classes */
    double     share;   /* of row i in row i of x */
} ak_mixed;

/* Mixup: sums of two rows. The loss is that of the targets or, which is the same for
 * cross-entropies, share loss(label) + (1 - share) loss(other).
 *
 *   formula  y[i] = share x[i] + (1 - share) x[partner[i]]
 *   x        [N, ..]
 *   labels   [N] in [0, classes) where there are soft labels; NULL = none
 *   returns  step lifetime; on failure x, labels, target are poison
 *   grad     by x: share to the row, 1 - share to its partner
 *   errors   AK_ERR_VALUE (alpha <= 0 or beyond 1000, a share out of range, a label outside of the
 *            classes, classes without labels), AK_ERR_SHAPE, AK_ERR_STALE, AK_ERR_MEMORY
 *   source   Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018
 */
AK_API ak_mixed ak_mixup(ak_tensor *x, ak_index *labels, ak_mix_options options);
/* CutMix: a box of the partner's picture at the same place, of aspect as the picture, its middle
 * anywhere in it; what lies outside is cut off, and the share is what is left of the row itself.
 *
 *   formula  y[i] = x[partner[i]] inside of the box, x[i] outside; sides floor(sqrt(1 - share) H)
 *            and floor(sqrt(1 - share) W), at most, from its middle by whole halves
 *   x        [N, H, W, C]
 *   source   Yun et al., "CutMix", ICCV 2019
 *   the rest as ak_mixup
 */
AK_API ak_mixed ak_cutmix(ak_tensor *x, ak_index *labels, ak_mix_options options);

#ifdef __cplusplus
}
#endif
#endif
