/* SPDX-License-Identifier: Apache-2.0 */
/* Augmentations: what each does to a picture, exactly or in its statistics. */
#include "data_files.h"

#include <akin/picture.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

/* `count` pictures [H, W, C] of random bytes, or of one value. */
static ak_dataset *pictures(ak_ctx *ctx, int64_t count, int64_t H, int64_t W, int64_t C, int value)
{
    const int64_t n = count * H * W * C;
    uint8_t      *x = malloc((size_t)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (uint8_t)(value >= 0 ? (uint32_t)value : ak_random_u32(1, 2, (uint64_t)i) >> 24);
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(count, H, W, C), NULL);
    free(x);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    return ds;
}

static const ak_real *view(ak_dataset *ds, ak_augment a, int64_t item, uint64_t seed)
{
    const ak_augment list[] = { a, { 0 } };
    ak_tensor       *t = ak_augment_item(ds, list, seed, 0, item, 0);
    cr_assert_not(ak_is_poison(t), "%s", ak_error_message(ak_dataset_ctx(ds)));
    return t->data;
}

static const struct { int64_t H, W, C; } sizes[] = { { 28, 28, 1 }, { 32, 32, 3 }, { 7, 13, 3 },
                                                     { 1, 1, 1 }, { 5, 3, 2 }, { 40, 21, 4 } };
#define SIZES (sizeof sizes / sizeof *sizes)

Test(augment, identity_crop_and_exact_flip)
{
    ak_ctx *ctx = quiet();
    for (size_t s = 0; s < SIZES; s++) {
        const int64_t H = sizes[s].H, W = sizes[s].W, C = sizes[s].C, n = H * W * C;
        ak_dataset   *ds = pictures(ctx, 2, H, W, C, -1);
        ak_dataset_normalize(ds, (double[]){ 0.1, 0.2, 0.3, 0.4 }, (double[]){ 1, 2, 3, 4 });
        const ak_real *plain = ak_dataset_batch(ds, 1, 1)->data;
        cr_expect_eq(memcmp(view(ds, ak_random_crop_aspect(1, 1, 1, 1), 1, 3), plain,
                            (size_t)n * sizeof *plain), 0);
        cr_expect_eq(memcmp(view(ds, ak_random_flip(0), 1, 3), plain, (size_t)n * sizeof *plain),
                     0);
        const ak_real *flipped = view(ds, ak_random_flip(1), 1, 3);
        for (int64_t y = 0; y < H; y++)
            for (int64_t x = 0; x < W; x++)
                for (int64_t c = 0; c < C; c++)
                    cr_assert_eq(flipped[(y * W + x) * C + c], plain[(y * W + W - 1 - x) * C + c]);
    }
    ak_close(ctx);
}

/* Bilinear scaling written out plainly, in double. */
static double bilinear(const uint8_t *x, int64_t W, ak_box b, int64_t H_out, int64_t W_out,
                       int64_t oy, int64_t ox)
{
    double sy = ((double)oy + 0.5) * (double)b.height / (double)H_out - 0.5;
    double sx = ((double)ox + 0.5) * (double)b.width / (double)W_out - 0.5;
    sy = fmax(sy, 0);
    sx = fmax(sx, 0);
    const int64_t y0 = (int64_t)sy, x0 = (int64_t)sx;
    const int64_t y1 = y0 + 1 < b.height ? y0 + 1 : y0, x1 = x0 + 1 < b.width ? x0 + 1 : x0;
    const double  wy = sy - (double)y0, wx = sx - (double)x0;
#define AT(yy, xx) ((double)x[(b.y + (yy)) * W + b.x + (xx)] / 255)
    return (1 - wy) * ((1 - wx) * AT(y0, x0) + wx * AT(y0, x1)) +
           wy * ((1 - wx) * AT(y1, x0) + wx * AT(y1, x1));
#undef AT
}

static ak_box fixed_box;
static void fixed_look(ak_box *box, const double *options, ak_draws draws)
{
    (void)options;
    (void)draws;
    *box = fixed_box;
}

Test(augment, crop_is_bilinear_scaling)
{
    static const ak_augment_kind fixed = { .name = "fixed", .look = fixed_look };
    const ak_box boxes[] = { { 0, 0, 13, 17, false }, { 3, 5, 6, 9, false }, { 12, 16, 1, 1, true },
                             { 1, 0, 12, 2, true }, { 0, 8, 1, 9, false } };
    ak_ctx  *ctx = quiet();
    uint8_t  x[13 * 17];
    for (int i = 0; i < 13 * 17; i++)
        x[i] = (uint8_t)(ak_random_u32(4, 4, (uint64_t)i) >> 24);
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(1, 13, 17, 1), NULL);
    for (size_t k = 0; k < sizeof boxes / sizeof *boxes; k++) {
        fixed_box = boxes[k];
        const ak_real *got = view(ds, (ak_augment){ &fixed, { 0 } }, 0, 1);
        for (int64_t oy = 0; oy < 13; oy++)
            for (int64_t ox = 0; ox < 17; ox++) {
                const int64_t to = boxes[k].mirror ? 16 - ox : ox;
                cr_assert_float_eq((double)got[oy * 17 + to],
                                   bilinear(x, 17, boxes[k], 13, 17, oy, ox), TOL);
            }
    }
    ak_close(ctx);
}

Test(augment, crop_boxes)
{
    const ak_augment a = ak_random_crop(0.25, 0.8);
    double           area = 0, aspect = 0, middle_x = 0;
    int              n = 20000, left = 0, right = 0;
    for (int i = 0; i < n; i++) {
        ak_box box = { 0, 0, 100, 100, false };
        a.kind->look(&box, a.option, (ak_draws){ 5, (uint64_t)i });
        cr_assert(box.y >= 0 && box.x >= 0 && box.height >= 1 && box.width >= 1 &&
                  box.y + box.height <= 100 && box.x + box.width <= 100);
        const double share = (double)(box.height * box.width) / 1e4;
        const double ratio = (double)box.width / (double)box.height;
        cr_assert(share > 0.24 && share < 0.82);
        cr_assert(ratio > 0.73 && ratio < 1.37);
        area += share / n;
        aspect += log(ratio) / n;
        middle_x += ((double)box.x + 0.5 * (double)box.width) / n;
        left += box.x == 0;
        right += box.x + box.width == 100;
    }
    cr_expect_float_eq(area, 0.525, 0.01);
    cr_expect_float_eq(aspect, 0, 0.005);
    cr_expect_float_eq(middle_x, 50, 0.5);
    cr_expect(left > 100 && right > 100);

    ak_box inner = { 10, 20, 30, 40, true };                /* a crop of a crop stays inside it */
    a.kind->look(&inner, a.option, (ak_draws){ 5, 1 });
    cr_expect(inner.y >= 10 && inner.y + inner.height <= 40 && inner.x >= 20 &&
              inner.x + inner.width <= 60 && inner.mirror);
}

Test(augment, order_of_geometry_and_changes)
{
    /* A change between two flips: resampled twice, back to the picture. */
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = pictures(ctx, 1, 9, 11, 3, -1);
    const ak_augment list[] = { ak_random_flip(1), ak_random_solarize(1, 0), ak_random_flip(1),
                                ak_random_crop_aspect(1, 1, 1, 1), { 0 } };
    const ak_tensor *t = ak_augment_item(ds, list, 1, 0, 0, 0);
    cr_expect_eq(memcmp(t->data, ak_dataset_batch(ds, 0, 1)->data, 9 * 11 * 3 * sizeof(ak_real)),
                 0);
    ak_close(ctx);
}

Test(augment, brightness_and_contrast)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *flat = pictures(ctx, 1, 8, 8, 1, 51), *ds = pictures(ctx, 1, 28, 28, 1, -1);
    double      lowest = 1, highest = 0, mean = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        const ak_real *x = view(flat, ak_color_jitter(0.4, 0, 0, 0, 1), 0, seed);
        for (int i = 1; i < 64; i++)
            cr_assert_eq(x[i], x[0]);
        const double f = (double)x[0] / 0.2;
        lowest = fmin(lowest, f);
        highest = fmax(highest, f);
        mean += f / 2000;
        const ak_real *y = view(flat, ak_color_jitter(0, 0.4, 0, 0, 1), 0, seed);
        cr_assert_float_eq((double)y[5], 0.2, 1e-6);        /* a flat picture has no contrast */
        ak_step_end(ctx);
    }
    cr_expect(lowest >= 0.6 - 1e-6 && lowest < 0.61 && highest <= 1.4 + 1e-6 && highest > 1.39);
    cr_expect_float_eq(mean, 1, 0.03);
    for (uint64_t seed = 0; seed < 50; seed++) {            /* (x - m) f + m: one f for all */
        const ak_real *plain = ak_dataset_batch(ds, 0, 1)->data;
        const ak_real *x = view(ds, ak_color_jitter(0, 0.9, 0, 0, 1), 0, seed);
        double         m = 0, f = 0;
        for (int i = 0; i < 784; i++)
            m += (double)plain[i] / 784;
        for (int i = 0; i < 784 && f == 0; i++)
            if (fabs((double)plain[i] - m) > 0.05 && x[i] > 0 && x[i] < 1)
                f = ((double)x[i] - m) / ((double)plain[i] - m);
        cr_assert(f >= 0.1 - 1e-4 && f <= 1.9 + 1e-4);
        for (int i = 0; i < 784; i++) {
            const double want = fmin(fmax(((double)plain[i] - m) * f + m, 0), 1);
            cr_assert_float_eq((double)x[i], want, 1e-4);
        }
    }
    ak_close(ctx);
}

/* Hue by way of HSV, as the textbooks have it. */
static void turn_hue(const double rgb[3], double turn, double out[3])
{
    const double v = fmax(rgb[0], fmax(rgb[1], rgb[2])), m = fmin(rgb[0], fmin(rgb[1], rgb[2]));
    const double d = v - m, s = v > 0 ? d / v : 0;
    double       h = 0;
    if (d > 0)
        h = v == rgb[0] ? (rgb[1] - rgb[2]) / d
          : v == rgb[1] ? 2 + (rgb[2] - rgb[0]) / d : 4 + (rgb[0] - rgb[1]) / d;
    h = fmod(h / 6 + turn + 2, 1) * 6;
    const int    i = (int)h % 6;
    const double f = h - floor(h), p = v * (1 - s), q = v * (1 - s * f), t = v * (1 - s * (1 - f));
    const double table[6][3] = { { v, t, p }, { q, v, p }, { p, v, t }, { p, q, v }, { t, p, v },
                                 { v, p, q } };
    memcpy(out, table[i], sizeof table[i]);
}

Test(augment, hue_and_saturation)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pictures(ctx, 1, 16, 16, 3, -1), *grey = pictures(ctx, 1, 4, 4, 3, 77);
    for (uint64_t seed = 0; seed < 40; seed++) {
        const ak_real *plain = ak_dataset_batch(ds, 0, 1)->data;
        const ak_real *x = view(ds, ak_color_jitter(0, 0, 0, 0.5, 1), 0, seed);
        /* find the turn from the first pixel by search, then hold all others to it */
        double best = 1e9, turn = 0;
        for (int k = -5000; k <= 5000; k++) {
            double out[3], e = 0;
            turn_hue((const double[3]){ (double)plain[0], (double)plain[1], (double)plain[2] },
                     k * 1e-4, out);
            for (int c = 0; c < 3; c++)
                e += fabs(out[c] - (double)x[c]);
            if (e < best) {
                best = e;
                turn = k * 1e-4;
            }
        }
        for (int i = 0; i < 256; i++) {
            double       out[3];
            const double rgb[3] = { (double)plain[3 * i], (double)plain[3 * i + 1],
                                    (double)plain[3 * i + 2] };
            turn_hue(rgb, turn, out);
            for (int c = 0; c < 3; c++)
                cr_assert_float_eq((double)x[3 * i + c], out[c], 2e-3);
        }
        x = view(ds, ak_color_jitter(0, 0, 0.5, 0, 1), 0, seed);
        for (int i = 0; i < 256; i++) {                     /* unless clamped, luma is kept */
            double before = 0, after = 0;
            bool   clamped = false;
            const double luma[] = { 0.299, 0.587, 0.114 };
            for (int c = 0; c < 3; c++) {
                before += luma[c] * (double)plain[3 * i + c];
                after += luma[c] * (double)x[3 * i + c];
                clamped = clamped || x[3 * i + c] <= 0 || x[3 * i + c] >= 1;
            }
            cr_assert(clamped || fabs(before - after) < 1e-5);
        }
        x = view(grey, ak_color_jitter(0, 0, 0.5, 0.5, 1), 0, seed);
        for (int i = 0; i < 48; i++)                        /* grey has neither */
            cr_assert_float_eq((double)x[i], 77 / 255.0, 1e-6);
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

Test(augment, gray_and_solarize)
{
    ak_ctx        *ctx = quiet();
    ak_dataset    *ds = pictures(ctx, 1, 6, 5, 3, -1);
    const ak_real *plain = ak_dataset_batch(ds, 0, 1)->data;
    const ak_real *g = view(ds, ak_random_gray(1), 0, 1);
    const ak_real *s = view(ds, ak_random_solarize(0.5, 1), 0, 1);
    for (int i = 0; i < 30; i++) {
        const double want = 0.299 * (double)plain[3 * i] + 0.587 * (double)plain[3 * i + 1] +
                            0.114 * (double)plain[3 * i + 2];
        for (int c = 0; c < 3; c++) {
            const double x = (double)plain[3 * i + c];
            cr_expect_float_eq((double)g[3 * i + c], want, TOL);
            cr_expect_float_eq((double)s[3 * i + c], x >= 0.5 ? 1 - x : x, TOL);
        }
    }
    int changed = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        changed += memcmp(view(ds, ak_random_gray(0.2), 0, seed), plain, 90 * sizeof *plain) != 0;
        if (seed % 50 == 49)
            cr_assert_eq(ak_error(ctx), AK_OK);
    }
    cr_expect(changed > 150 && changed < 250, "%d", changed);   /* 200 +- 4 deviations */
    ak_close(ctx);
}

/* The blur written out plainly, in double, for a sigma. */
static double blurred(const ak_real *x, int64_t H, int64_t W, int64_t r, double sigma, int64_t y0,
                      int64_t x0)
{
    double sum = 0, total = 0;
    for (int64_t dy = -r; dy <= r; dy++)
        for (int64_t dx = -r; dx <= r; dx++) {
            int64_t y = y0 + dy, c = x0 + dx;
            y = y < 0 ? -y : y >= H ? 2 * (H - 1) - y : y;
            c = c < 0 ? -c : c >= W ? 2 * (W - 1) - c : c;
            const double w = exp(-(double)(dy * dy + dx * dx) / (2 * sigma * sigma));
            sum += w * (double)x[y * W + c];
            total += w;
        }
    return sum / total;
}

Test(augment, blur)
{
    ak_ctx *ctx = quiet();
    for (size_t s = 0; s < SIZES; s++) {
        const int64_t  H = sizes[s].H, W = sizes[s].W, C = sizes[s].C;
        ak_dataset    *flat = pictures(ctx, 1, H, W, C, 200);
        const ak_real *x = view(flat, ak_random_blur(0.1, 2, 1), 0, s);
        for (int64_t i = 0; i < H * W * C; i++)
            cr_assert_float_eq((double)x[i], 200 / 255.0, 1e-6);
    }
    const int64_t side[][3] = { { 28, 28, 1 }, { 13, 21, 1 }, { 64, 61, 3 } };
    for (int k = 0; k < 3; k++) {
        const int64_t  H = side[k][0], W = side[k][1];
        ak_dataset    *ds = pictures(ctx, 1, H, W, 1, -1);
        const ak_real *plain = ak_dataset_batch(ds, 0, 1)->data;
        const ak_real *x = view(ds, ak_random_blur(1.3, 1.3, 1), 0, 1);
        for (int64_t y = 0; y < H; y++)
            for (int64_t c = 0; c < W; c++)
                cr_assert_float_eq((double)x[y * W + c],
                                   blurred(plain, H, W, side[k][2], 1.3, y, c), 2e-6);
    }
    ak_close(ctx);
}

Test(augment, deterministic_and_independent)
{
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = pictures(ctx, 3, 28, 28, 1, -1);
    const ak_augment list[] = { ak_random_crop(0.2, 0.9), ak_jitter(0.4),
                                ak_random_blur(0.1, 2, 0.5), { 0 } };
    const size_t     bytes = 784 * sizeof(ak_real);
    const ak_real   *a = ak_augment_item(ds, list, 1, 2, 0, 1)->data;
    cr_expect_eq(memcmp(a, ak_augment_item(ds, list, 1, 2, 0, 1)->data, bytes), 0);
    cr_expect_neq(memcmp(a, ak_augment_item(ds, list, 2, 2, 0, 1)->data, bytes), 0);
    cr_expect_neq(memcmp(a, ak_augment_item(ds, list, 1, 3, 0, 1)->data, bytes), 0);
    cr_expect_neq(memcmp(a, ak_augment_item(ds, list, 1, 2, 1, 1)->data, bytes), 0);
    cr_expect_neq(memcmp(a, ak_augment_item(ds, list, 1, 2, 0, 2)->data, bytes), 0);
    ak_close(ctx);
}

Test(augment, registry_and_checks)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pictures(ctx, 1, 4, 4, 1, -1);
    int         n = 0;
    for (const ak_augment_kind *k; (k = ak_augment_at(n)); n++) {
        cr_expect(k->name && k->formula && k->options && k->n_options >= 1 && k->check);
        cr_expect_eq(ak_augment_find(k->name), k);
        int commas = 1;
        for (const char *c = k->options; *c; c++)
            commas += *c == ',';
        cr_expect_eq(commas, k->n_options);
    }
    cr_expect_geq(n, 16);
    cr_expect_null(ak_augment_find("nothing"));
    cr_expect_null(ak_augment_at(-1));
    const ak_augment bad[] = { ak_random_crop(0, 1), ak_random_crop(0.5, 1.1),
        ak_random_crop_aspect(0.5, 1, 2, 1), ak_random_flip(1.5), ak_random_flip(nan("")),
        ak_jitter(-1), ak_color_jitter(0, 0, 0, 0.6, 1), ak_color_jitter(0, HUGE_VAL, 0, 0, 1),
        ak_random_gray(-0.1), ak_random_blur(0, 1, 1), ak_random_blur(2, 1, 1),
        ak_random_blur(1, 2, 3), ak_random_solarize(nan(""), 1), ak_random_solarize(0.5, 2),
        ak_random_solarize(128, 1), ak_random_solarize(-0.1, 1),
        ak_color_jitter(2000, 0, 0, 0, 1) };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const ak_augment list[] = { bad[i], { 0 } };
        cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)), "%d", (int)i);
        expect_error(ctx, AK_ERR_VALUE, bad[i].kind->name, "entry 0");
    }
    const ak_augment fine[] = { ak_random_flip(1), { 0 } };
    cr_expect(ak_is_poison(ak_augment_item(ds, fine, 1, 0, 1, 0)));
    expect_error(ctx, AK_ERR_VALUE, "item 1", "1 items");
    cr_expect(ak_is_poison(ak_augment_item(ds, fine, 1, -1, 0, 0)));
    expect_error(ctx, AK_ERR_VALUE, "epoch -1", "from 0");
    ak_close(ctx);
}

/* ---- values outside [0, 1] ------------------------------------------------------------------- */

/* Three pictures [4, 4, C] of reals: lo and hi in the second, the middle elsewhere. */
static ak_dataset *reals(ak_ctx *ctx, int64_t C, double lo, double hi)
{
    ak_tensor *x = ak_full(ctx, AK_SHAPE(3, 4, 4, C), (lo + hi) / 2);
    x->data[16 * C] = (ak_real)lo;
    x->data[16 * C + 5] = (ak_real)hi;
    return ak_dataset_tensor(ctx, x, NULL);
}

/* Every kind of the library on reals far outside [0, 1]: it says so, or it means the same there as
 * inside: a view of 100 x is 100 times the view of x. */
Test(augment, every_kind_on_values_outside)
{
    ak_ctx          *ctx = quiet();
    ak_dataset      *small = reals(ctx, 3, 0, 1), *large = reals(ctx, 3, 0, 100);
    const ak_augment all[] = { ak_random_crop(0.2, 0.8), ak_random_flip(1), ak_jitter(0.4),
                               ak_random_gray(1), ak_random_blur(1, 2, 1),
                               ak_random_solarize(0.5, 1), ak_view_size(3, 5),
                               ak_random_pad_crop(1, true), ak_random_rotation(30),
                               ak_random_affine(10, 0.1, 0.9, 1.1, 0.1),
                               ak_random_erasing(1, 0.1, 0.2, 0.5), ak_random_autocontrast(1),
                               ak_random_equalize(1), ak_random_posterize(3, 1),
                               ak_random_sharpness(2, 1), ak_rand_augment(2, 9) };
    const int count = (int)(sizeof all / sizeof *all);
    int       refused = 0, of_pictures = 0;
    for (int k = 0; ak_augment_at(k); k++)
        of_pictures += ak_augment_at(k)->look || ak_augment_at(k)->change;
    cr_assert_eq(of_pictures, count);
    for (int k = 0; k < count; k++) {
        cr_assert_eq(ak_augment_find(all[k].kind->name), all[k].kind);
        const ak_augment list[] = { all[k], { 0 } };
        const ak_tensor *a = ak_augment_item(small, list, 1, 0, 1, 0);
        const ak_tensor *b = ak_augment_item(large, list, 1, 0, 1, 0);
        cr_expect(!ak_is_poison(a));
        if (all[k].kind->unit_range) {
            cr_expect(ak_is_poison(b));
            refused++;
            expect_error(ctx, AK_ERR_VALUE, all[k].kind->name, "from 0 to 100");
            cr_expect_null(ak_loader_open(large, (ak_loader_options){ .batch = 2,
                                                                      .augment = list }));
            expect_error(ctx, AK_ERR_VALUE, "[0, 1]", "ak_dataset_scale");
            continue;
        }
        for (int64_t i = 0; i < a->size; i++)
            cr_expect_float_eq((double)b->data[i], 100 * (double)a->data[i], 100 * TOL, "%s",
                               all[k].kind->name);
    }
    cr_expect_eq(refused, 8);
    ak_close(ctx);
}

Test(augment, range_of_what_is_there)
{
    ak_ctx          *ctx = quiet();
    const ak_augment list[] = { ak_random_solarize(0.5, 1), { 0 } };
    const struct { double lo, hi; bool fine; } cases[] = {
        { 0, 1, true }, { 0.2, 0.3, true }, { -1e-6, 1 + 1e-6, true }, { -0.01, 1, false },
        { 0, 1.01, false }, { -2.1, 2.6, false } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        ak_dataset *ds = reals(ctx, 1, cases[k].lo, cases[k].hi);
        cr_expect_eq(!ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)), cases[k].fine);
        cr_expect_eq(ak_step_end(ctx), cases[k].fine ? AK_OK : AK_ERR_VALUE);
    }
    /* What counts are the items of the set and what scaling makes of them. */
    ak_dataset *ds = reals(ctx, 1, 0, 255), *calm = ak_dataset_subset(ds, 0, 1);
    ak_dataset_scale(calm, 0, 255);
    cr_expect_not(ak_is_poison(ak_augment_item(calm, list, 1, 0, 0, 0)));
    cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)));
    ak_step_end(ctx);
    ak_dataset_scale(ds, 0, 255);
    cr_expect_not(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)));
    ak_dataset_scale(ds, 0, 254);
    cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)));
    ak_step_end(ctx);

    /* Clamping would turn a NaN into 0. */
    const double spoiled[] = { (double)NAN, (double)INFINITY, -(double)INFINITY };
    for (int k = 0; k < 3; k++) {
        ds = reals(ctx, 1, 0.5, spoiled[k]);
        cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)));
        expect_error(ctx, AK_ERR_NUMBER, "random_solarize", "item ");
    }
    ak_close(ctx);
}

static void times_ten(ak_picture *p, const double *o, ak_draws d)
{
    (void)o;
    (void)d;
    for (int64_t i = 0; i < p->height * p->width; i++)
        p->plane[0][i] *= 10;
}

/* An augmentation of one's own may leave [0, 1]; what comes behind it says so. */
Test(augment, own_change_before_one_that_needs_the_range)
{
    static const ak_augment_kind kind = { .name = "times_ten", .change = times_ten };
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = pictures(ctx, 2, 4, 4, 1, 51);
    const ak_augment before[] = { { &kind, { 0 } }, ak_random_blur(1, 1, 1),
                                  ak_random_solarize(0.5, 1), { 0 } };
    const ak_augment after[] = { ak_random_solarize(0.5, 1), { &kind, { 0 } }, { 0 } };
    cr_expect(ak_is_poison(ak_augment_item(ds, before, 1, 0, 1, 0)));
    expect_error(ctx, AK_ERR_VALUE, "random_solarize needs", "item 1");
    cr_expect_float_eq((double)ak_augment_item(ds, after, 1, 0, 1, 0)->data[3], 2, 10 * TOL);
    ak_close(ctx);
}

/* A look that leaves the picture would read other memory. */
Test(augment, own_look_outside_of_the_picture)
{
    static const ak_augment_kind kind = { .name = "fixed", .look = fixed_look };
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = pictures(ctx, 2, 9, 7, 1, 51);
    const ak_augment list[] = { { &kind, { 0 } }, { 0 } };
    const ak_box     bad[] = { { -1, 0, 3, 3, false }, { 0, -1, 3, 3, false },
                               { 8, 0, 2, 3, false }, { 0, 5, 3, 3, false }, { 0, 0, 0, 3, false },
                               { 0, 0, 3, 0, false }, { 9, 0, 1, 1, false },
                               { 1, 1, INT64_MAX, 1, false }, { INT64_MIN, 0, 1, 1, false } };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        fixed_box = bad[k];
        cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 1, 0)));
        expect_error(ctx, AK_ERR_VALUE, "fixed", "not inside");
    }
    fixed_box = (ak_box){ 8, 6, 1, 1, true };
    cr_expect_not(ak_is_poison(ak_augment_item(ds, list, 1, 0, 1, 0)));
    ak_close(ctx);
}
