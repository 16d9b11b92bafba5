/* SPDX-License-Identifier: Apache-2.0 */
/* The augmentations of akin/picture.h: against Pillow (tests/data/pictures.npz), by their formulas,
 * in their statistics, at the settings that change nothing, on any number of threads. */
#include "data_files.h"

#include <akin/ops.h>
#include <akin/picture.h>

#include "data/augment.h"

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

enum { DRAWS = 10000 };

/* ---- pictures in planes, as the changes see them --------------------------------------------- */

typedef struct canvas {
    ak_picture p;
    ak_real   *memory;
} canvas;

static canvas canvas_new(int64_t H, int64_t W, int C)
{
    const size_t plane = (size_t)(H * W) + 2 * AK__LANES;
    canvas       c = { .p = { .height = H, .width = W, .channels = C } };
    c.memory = calloc(plane * (size_t)(C + 2) + 4096, sizeof *c.memory);
    cr_assert_not_null(c.memory);
    for (int k = 0; k < C; k++)
        c.p.plane[k] = c.memory + (size_t)k * plane;
    c.p.scratch = c.memory + (size_t)C * plane;
    return c;
}

static canvas canvas_from(const ak_array *a)
{
    const int C = (int)a->shape.dims[2];
    canvas    c = canvas_new(a->shape.dims[0], a->shape.dims[1], C);
    for (int64_t i = 0; i < a->size; i++)
        c.p.plane[i % C][i / C] = (ak_real)((const uint8_t *)a->data)[i] * AK__BYTE_SCALE;
    return c;
}

static void fill_canvas(canvas *c, double value)
{
    for (int k = 0; k < c->p.channels; k++)
        for (int64_t i = 0; i < c->p.height * c->p.width; i++)
            c->p.plane[k][i] = (ak_real)(value >= 0 ? value
                                                    : ak_random_uniform(5, (uint64_t)k,
                                                                        (uint64_t)i));
}

/* ---- against Pillow -------------------------------------------------------------------------- */

static ak_npz *fixture(ak_ctx *ctx)
{
    char path[512];
    snprintf(path, sizeof path, "%s/pictures.npz", getenv("AK_TEST_DATA"));
    return ak_npz_open(ctx, path);
}

static const ak_array *tone(ak_npz *f, int k, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "tone/%d/%s", k, name);
    return ak_npz_find(f, full);
}

static void change(ak_picture *p, const char *name)
{
    ak__map m = { .yy = 1, .xx = 1 };
    if (strcmp(name, "equalize") == 0)
        ak__change_equalize(p);
    else if (strcmp(name, "autocontrast") == 0)
        ak__change_autocontrast(p);
    else if (strcmp(name, "posterize3") == 0)
        ak__change_posterize(p, 3);
    else if (strcmp(name, "solarize100") == 0)
        ak__change_solarize(p, (ak_real)(99.5 / 255));
    else if (strncmp(name, "sharpness", 9) == 0)
        ak__change_sharpness(p, (ak_real)atof(name + 9));
    else if (strncmp(name, "brightness", 10) == 0)
        ak__change_tone(p, AK__BRIGHTNESS, (ak_real)atof(name + 10));
    else if (strncmp(name, "contrast", 8) == 0)
        ak__change_tone(p, AK__CONTRAST, (ak_real)atof(name + 8));
    else if (strncmp(name, "colour", 6) == 0)
        ak__change_tone(p, AK__SATURATION, (ak_real)atof(name + 6));
    else if (strcmp(name, "rotate20") == 0)
        m = ak__map_about_middle(p, 20, 0, 1, 0, 0);
    else if (strcmp(name, "shear_x") == 0)
        m = (ak__map){ .yy = 1, .xx = 1, .xy = 0.2, .x0 = 0.1 };
    else if (strcmp(name, "translate_y") == 0)
        m.y0 = -6;
    else
        cr_assert_fail("%s", name);
    if (m.yy != 1 || m.xy != 0 || m.y0 != 0)
        ak__change_map(p, &m);
}

/* Levels that Pillow has, rounded there once or twice; edges of turned pictures are its own: it
 * leaves out what lies less than a pixel outside, where akin blends with the black. */
static void expect_levels(const ak_array *want, const canvas *c, const char *name, int edge,
                          double most)
{
    const int64_t  H = c->p.height, W = c->p.width;
    const int      C = c->p.channels;
    const uint8_t *x = want->data;
    int            compared = 0;
    for (int64_t i = 0; i < want->size; i++) {
        const int64_t y = i / C / W, k = i / C % W;
        bool          near = false;     /* is there black that was not in the picture? */
        for (int64_t a = y - edge; edge && a <= y + edge; a++)
            for (int64_t b = k - edge; b <= k + edge; b++)
                near = near || a < 0 || b < 0 || a >= H || b >= W ||
                       x[(a * W + b) * C] + x[(a * W + b) * C + 1] + x[(a * W + b) * C + 2] == 0;
        if (near)
            continue;
        const double got = 255 * (double)c->p.plane[i % C][i / C];
        cr_assert_float_eq(got, x[i], most, "%s: number %lld is %g, not %d", name, (long long)i,
                           got, x[i]);
        compared++;
    }
    cr_expect_gt(compared, want->size / 4, "%s: %d compared", name, compared);
}

Test(picture_views, changes_are_pillows)
{
    static const struct { const char *name; int edge; double most; } cases[] = {
        { "equalize", 0, 1e-3 }, { "autocontrast", 0, 1.001 }, { "posterize3", 0, 1e-3 },
        { "solarize100", 0, 1e-3 }, { "rotate20", 1, 1.001 }, { "shear_x", 1, 1.001 },
        { "translate_y", 0, 1e-3 }, { "brightness0.4", 0, 1.001 }, { "brightness1.9", 0, 1.001 },
        /* Pillow rounds what it blends with, and cuts the sum: |1 - factor| / 2 + 1. */
        { "sharpness0", 0, 1.501 }, { "sharpness0.4", 0, 1.301 }, { "sharpness1.9", 0, 1.451 },
        { "contrast0.4", 0, 1.301 }, { "contrast1.9", 0, 1.451 }, { "colour0.4", 0, 1.301 },
        { "colour1.9", 0, 1.451 },
    };
    ak_ctx *ctx = quiet();
    ak_npz *f = fixture(ctx);
    int     pictures = 0;
    for (int k = 0; k < 3; k++) {
        const ak_array *in = tone(f, k, "in");
        for (size_t i = 0; in && i < sizeof cases / sizeof *cases; i++) {
            const ak_array *want = tone(f, k, cases[i].name);
            cr_assert_not_null(want, "%s", cases[i].name);
            canvas c = canvas_from(in);
            change(&c.p, cases[i].name);
            expect_levels(want, &c, cases[i].name, cases[i].edge, cases[i].most);
            free(c.memory);
        }
        pictures += in != NULL;
    }
    cr_expect_geq(pictures, 1);
    ak_close(ctx);
}

/* ---- settings that change nothing ------------------------------------------------------------ */

static const struct { int64_t H, W; int C; } sizes[] = { { 28, 28, 1 }, { 32, 32, 3 },
    { 7, 13, 3 }, { 1, 1, 1 }, { 5, 3, 2 }, { 40, 21, 4 } };

/* One of each kind at a setting that leaves every bit. */
static int identities(ak_augment list[24])
{
    const ak_augment all[] = {
        ak_random_pad_crop(0, false), ak_random_pad_crop(0, true), ak_random_rotation(0),
        ak_random_affine(0, 0, 1, 1, 0), ak_random_erasing(0, 0.1, 0.3, 0.5),
        ak_random_erasing(0, 0.1, 0.3, AK_ERASE_NOISE), ak_random_autocontrast(0),
        ak_random_equalize(0), ak_random_posterize(3, 0), ak_random_posterize(8, 1),
        ak_random_sharpness(2, 0), ak_random_sharpness(1, 1), ak_rand_augment(0, 9),
        ak_color_jitter(0, 0, 0, 0, 1), ak_color_jitter(1, 1, 1, 0.5, 0), ak_random_gray(0),
        ak_random_blur(1, 2, 0), ak_random_solarize(0.5, 0), ak_random_flip(0),
        ak_random_crop_aspect(1, 1, 1, 1),
    };
    memcpy(list, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

static ak_dataset *noise(ak_ctx *ctx, int64_t n, int64_t H, int64_t W, int C)
{
    uint8_t *x = malloc((size_t)(n * H * W * C));
    for (int64_t i = 0; i < n * H * W * C; i++)
        x[i] = (uint8_t)(ak_random_u32(1, 2, (uint64_t)i) >> 24);
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(n, H, W, C), NULL);
    free(x);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    return ds;
}

Test(picture_views, identity_keeps_every_bit)
{
    ak_ctx    *ctx = quiet();
    ak_augment all[24];
    const int  n = identities(all);
    int        kinds = 0;
    for (int k = 0; ak_augment_at(k); k++) {            /* none is forgotten */
        bool there = strcmp(ak_augment_at(k)->name, "view_size") == 0 || !(
            ak_augment_at(k)->look || ak_augment_at(k)->change);
        for (int i = 0; i < n; i++)
            there = there || all[i].kind == ak_augment_at(k);
        cr_expect(there, "%s", ak_augment_at(k)->name);
        kinds++;
    }
    cr_expect_geq(kinds, 16);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        ak_dataset    *ds = noise(ctx, 2, sizes[s].H, sizes[s].W, sizes[s].C);
        const ak_real *plain = ak_dataset_batch(ds, 1, 1)->data;
        const size_t   bytes = (size_t)(sizes[s].H * sizes[s].W * sizes[s].C) * sizeof *plain;
        for (int i = 0; i < n; i++)
            for (uint64_t seed = 0; seed < 5; seed++) {
                const ak_augment list[] = { all[i], { 0 } };
                const ak_tensor *t = ak_augment_item(ds, list, seed, 0, 1, 0);
                cr_assert_not(ak_is_poison(t), "%s", ak_error_message(ctx));
                cr_assert_eq(memcmp(t->data, plain, bytes), 0, "%s (%d)", all[i].kind->name, i);
            }
    }
    ak_close(ctx);
}

/* ---- formulas and statistics ----------------------------------------------------------------- */

static ak_draws nth(int i)
{
    return (ak_draws){ 9, (uint64_t)i };
}

/* All (2 p + 1)^2 windows are as likely, and each is the one it should be. */
Test(picture_views, pad_crop_windows)
{
    enum { H = 6, W = 5, P = 2, PLACES = (2 * P + 1) * (2 * P + 1) };
    for (int reflect = 0; reflect < 2; reflect++) {
        const ak_augment a = ak_random_pad_crop(P, reflect != 0);
        canvas c = canvas_new(H, W, 1);
        int    count[PLACES] = { 0 };
        for (int i = 0; i < DRAWS; i++) {
            for (int64_t k = 0; k < H * W; k++)
                c.p.plane[0][k] = (ak_real)(k + 1);
            a.kind->change(&c.p, a.option, nth(i));
            /* Where the window stands is read off pixel (2, 2), which lies inside. */
            const int at = (int)c.p.plane[0][2 * W + 2] - 1;
            const int down = at / W - 2, right = at % W - 2;
            cr_assert(abs(down) <= P && abs(right) <= P);
            count[(down + P) * (2 * P + 1) + right + P]++;
            for (int64_t k = 0; k < H * W; k++) {
                int64_t y = k / W + down, x = k % W + right;
                bool    out = y < 0 || x < 0 || y >= H || x >= W;
                if (reflect) {
                    y = y < 0 ? -y : y >= H ? 2 * (H - 1) - y : y;
                    x = x < 0 ? -x : x >= W ? 2 * (W - 1) - x : x;
                    out = false;
                }
                cr_assert_eq(c.p.plane[0][k], (ak_real)(out ? 0 : y * W + x + 1));
            }
        }
        for (int k = 0; k < PLACES; k++)        /* 400 +- 4.5 standard deviations */
            cr_expect(abs(count[k] - DRAWS / PLACES) < 90, "%d: %d", k, count[k]);
        free(c.memory);
    }
}

/* Padding beyond the picture: mirrored again and again, never a place outside. */
Test(picture_views, pad_crop_far)
{
    canvas c = canvas_new(3, 1, 2);
    for (int reflect = 0; reflect < 2; reflect++) {
        const ak_augment a = ak_random_pad_crop(4096, reflect != 0);
        for (int i = 0; i < 200; i++) {
            fill_canvas(&c, 0.5);
            a.kind->change(&c.p, a.option, nth(i));
            for (int64_t k = 0; k < 3; k++)
                cr_assert(c.p.plane[1][k] == (ak_real)0.5 || (!reflect && c.p.plane[1][k] == 0));
        }
    }
    free(c.memory);
}

/* A right angle moves whole pixels: counter-clockwise, the right column becomes the top row. */
Test(picture_views, right_angles)
{
    enum { N = 7 };
    canvas c = canvas_new(N, N, 1), was = canvas_new(N, N, 1);
    fill_canvas(&was, -1);
    memcpy(c.p.plane[0], was.p.plane[0], N * N * sizeof(ak_real));
    const ak__map m = ak__map_about_middle(&c.p, 90, 0, 1, 0, 0);
    ak__change_map(&c.p, &m);
    for (int64_t y = 0; y < N; y++)
        for (int64_t x = 0; x < N; x++)
            cr_expect_float_eq((double)c.p.plane[0][y * N + x],
                               (double)was.p.plane[0][x * N + N - 1 - y], 4 * TOL);
    free(c.memory);
    free(was.memory);
}

/* The angle of a rotation, read off a bright point far out: U[-degrees, degrees]. */
Test(picture_views, angles_are_uniform)
{
    enum { N = 41 };
    const ak_augment a = ak_random_rotation(40);
    canvas c = canvas_new(N, N, 1);
    double mean = 0, square = 0;
    for (int i = 0; i < DRAWS; i++) {
        memset(c.p.plane[0], 0, N * N * sizeof(ak_real));
        for (int y = 0; y < 5; y++)                 /* a blob to the right of the middle */
            for (int x = 0; x < 5; x++)
                c.p.plane[0][(18 + y) * N + 34 + x] = 1;
        a.kind->change(&c.p, a.option, nth(i));
        double sum = 0, up = 0, right = 0;
        for (int64_t k = 0; k < N * N; k++) {
            sum += (double)c.p.plane[0][k];
            up += (20 - (double)(k / N)) * (double)c.p.plane[0][k];
            right += ((double)(k % N) - 20) * (double)c.p.plane[0][k];
        }
        const double angle = atan2(up / sum, right / sum) * 180 / 3.14159265358979;
        cr_assert(fabs(angle) < 40.3, "%g", angle);
        mean += angle / DRAWS;
        square += angle * angle / DRAWS;
    }
    cr_expect_float_eq(mean, 0, 4.5 * 40 / sqrt(3.0 * DRAWS));
    cr_expect_float_eq(square, 1600.0 / 3, 0.03 * 1600 / 3);
    free(c.memory);
}

/* Moved and scaled: of a plane that grows linearly the map can be read off. */
Test(picture_views, affine_ranges)
{
    enum { N = 33 };
    const ak_augment a = ak_random_affine(0, 0.1, 0.8, 1.25, 0);
    canvas c = canvas_new(N, N, 1);
    double least = 10, most = 0, far = 0, mean = 0;
    for (int i = 0; i < DRAWS; i++) {
        for (int64_t k = 0; k < N * N; k++)
            c.p.plane[0][k] = (ak_real)(k % N + 1) / 64;
        a.kind->change(&c.p, a.option, nth(i));
        const ak_real *row = c.p.plane[0] + 16 * N;
        const double   slope = 64 * ((double)row[18] - (double)row[14]) / 4, scale = 1 / slope;
        const double   moved = (17 - 64 * (double)row[16]) * scale;
        least = fmin(least, scale);
        most = fmax(most, scale);
        far = fmax(far, fabs(moved));
        mean += scale / DRAWS;
    }
    cr_expect(least > 0.799 && least < 0.802 && most < 1.251 && most > 1.248, "%g to %g", least,
              most);
    cr_expect_float_eq(mean, 1.025, 4.5 * 0.45 / sqrt(12.0 * DRAWS));
    cr_expect(far < 3.301 && far > 3.29, "%g", far);
    free(c.memory);
}

/* The erased box: its share, its aspect, its places, what stands in it, how often. */
Test(picture_views, erased_boxes)
{
    enum { N = 40 };
    const ak_augment a = ak_random_erasing(0.7, 0.05, 0.2, 0.25);
    canvas c = canvas_new(N, N, 2);
    int    boxes = 0, corners = 0;
    double share = 0, aspect = 0;
    for (int i = 0; i < DRAWS; i++) {
        fill_canvas(&c, 1);
        a.kind->change(&c.p, a.option, nth(i));
        int64_t top = N, bottom = 0, left = N, right = 0, inside = 0;
        for (int64_t k = 0; k < N * N; k++) {
            cr_assert_eq(c.p.plane[0][k], c.p.plane[1][k]);
            if (c.p.plane[0][k] == 1)
                continue;
            cr_assert_eq(c.p.plane[0][k], (ak_real)0.25);
            top = k / N < top ? k / N : top;
            bottom = k / N + 1;
            left = k % N < left ? k % N : left;
            right = k % N + 1 > right ? k % N + 1 : right;
            inside++;
        }
        if (!inside)
            continue;
        cr_assert_eq(inside, (bottom - top) * (right - left));
        boxes++;
        corners += top == 0 || left == 0;
        share += (double)inside / (N * N);
        aspect += log((double)(bottom - top) / (double)(right - left));
    }
    cr_expect_float_eq(boxes / (double)DRAWS, 0.7, 4.5 * 0.46 / 100);
    cr_expect_float_eq(share / boxes, 0.125, 0.004);
    cr_expect_float_eq(aspect / boxes, (log(0.3) + log(3.3)) / 2, 0.05);
    cr_expect_gt(corners, 100);
    free(c.memory);
}

Test(picture_views, erased_by_noise)
{
    const ak_augment a = ak_random_erasing(1, 0.5, 0.5, AK_ERASE_NOISE);
    canvas c = canvas_new(100, 100, 3);
    double mean = 0, square = 0;
    int    n = 0;
    fill_canvas(&c, 2);
    a.kind->change(&c.p, a.option, nth(1));
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 10000; i++)
            if (c.p.plane[k][i] != 2) {
                const double x = (double)c.p.plane[k][i];
                cr_assert(x >= 0 && x < 1);
                mean += x;
                square += x * x;
                n++;
            }
    cr_assert(n > 14000 && n < 16000);
    cr_expect_float_eq(mean / n, 0.5, 0.011);
    cr_expect_float_eq(square / n, 1.0 / 3, 0.011);
    free(c.memory);
}

/* Each with a probability comes as often as it says. */
Test(picture_views, probabilities)
{
    const ak_augment all[] = { ak_random_autocontrast(0.3), ak_random_equalize(0.3),
                               ak_random_posterize(2, 0.3), ak_random_sharpness(3, 0.3),
                               ak_random_solarize(0.2, 0.3), ak_random_erasing(0.3, 0.2, 0.4, 0) };
    canvas c = canvas_new(24, 24, 3);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        int changed = 0;
        for (int i = 0; i < DRAWS; i++) {
            fill_canvas(&c, 0.3);
            for (int j = 0; j < 24 * 24; j += 2)
                c.p.plane[1][j] = (ak_real)(0.4 + 0.0005 * j);
            ak_real sum = 0, after = 0;
            for (int j = 0; j < 24 * 24; j++)
                sum += c.p.plane[1][j] * (ak_real)(j + 1);
            all[k].kind->change(&c.p, all[k].option, nth(i));
            for (int j = 0; j < 24 * 24; j++)
                after += c.p.plane[1][j] * (ak_real)(j + 1);
            changed += sum != after;
        }
        cr_expect_float_eq(changed / (double)DRAWS, 0.3, 4.5 * 0.46 / 100, "%s: %d",
                           all[k].kind->name, changed);
    }
    free(c.memory);
}

/* Fourteen ops, each as likely: the first draw says which. Values stay in [0, 1], and at magnitude
 * 9 at least half of all draws of two ops change the picture. */
Test(picture_views, rand_augment)
{
    canvas c = canvas_new(16, 19, 3), was = canvas_new(16, 19, 3);
    fill_canvas(&was, -1);
    for (int m = 0; m <= 30; m += 10) {
        const ak_augment a = ak_rand_augment(2, m);
        int changed = 0;
        for (int i = 0; i < DRAWS / 4; i++) {
            for (int k = 0; k < 3; k++)
                memcpy(c.p.plane[k], was.p.plane[k], 16 * 19 * sizeof(ak_real));
            a.kind->change(&c.p, a.option, nth(i));
            bool same = true;
            for (int k = 0; k < 3; k++)
                for (int j = 0; j < 16 * 19; j++) {
                    cr_assert(c.p.plane[k][j] >= 0 && c.p.plane[k][j] <= 1, "m %d, draw %d", m, i);
                    same = same && c.p.plane[k][j] == was.p.plane[k][j];
                }
            changed += !same;
        }
        cr_expect_gt(changed, m ? DRAWS / 8 : 0, "m %d: %d", m, changed);
    }
    free(c.memory);
    free(was.memory);
}

/* ---- loaders --------------------------------------------------------------------------------- */

/* The same bits for any number of threads, with every kind in the list. */
Test(picture_views, threads_change_nothing)
{
    const ak_augment list[] = {
        ak_random_crop(0.3, 1), ak_random_flip(0.5), ak_random_pad_crop(3, true),
        ak_random_rotation(20), ak_random_affine(5, 0.1, 0.9, 1.1, 0.1), ak_rand_augment(2, 9),
        ak_random_autocontrast(0.3), ak_random_equalize(0.3), ak_random_posterize(4, 0.3),
        ak_random_sharpness(1.7, 0.5), ak_random_erasing(0.5, 0.02, 0.3, AK_ERASE_NOISE), { 0 },
    };
    uint64_t first = 0;
    for (int threads = 0; threads <= 4; threads++) {
        ak_ctx    *ctx = quiet();
        ak_dataset *ds = noise(ctx, 50, 17, 14, 3);
        ak_loader *loader = ak_loader_open(ds, (ak_loader_options){
            .batch = 8, .views = 2, .augment = list, .threads = threads ? threads : AK_NONE });
        cr_assert_not_null(loader, "%s", ak_error_message(ctx));
        uint64_t sum = 14695981039346656037u;
        ak_batch b;
        while (ak_loader_next(loader, &b)) {
            for (int v = 0; v < 2; v++)
                for (size_t i = 0; i < (size_t)b.view[v]->size * sizeof(ak_real); i++)
                    sum = (sum ^ ((const uint8_t *)b.view[v]->data)[i]) * 1099511628211u;
            ak_step_end(ctx);
        }
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        first = threads ? first : sum;
        cr_expect_eq(sum, first, "%d threads", threads);
        ak_loader_close(loader);
        ak_close(ctx);
    }
}

/* SwAV's views: sizes, order, the part of the picture that each shows. */
Test(picture_views, multi_crop)
{
    ak_ctx *ctx = quiet();
    const ak_augment then[] = { ak_random_gray(1), { 0 } };
    const ak_multi_crop_options o = { .large = 2, .small = 4, .large_size = 24, .small_size = 10,
                                      .then = then };
    ak_dataset *ds = noise(ctx, 6, 32, 32, 3);
    ak_loader  *loader = ak_loader_open(ds, (ak_loader_options){
        .batch = 3, .views = 6, .augment_each = ak_multi_crop(ctx, o) });
    cr_assert_not_null(loader, "%s", ak_error_message(ctx));
    ak_batch b;
    cr_assert(ak_loader_next(loader, &b), "%s", ak_error_message(ctx));
    for (int v = 0; v < 6; v++) {
        const int64_t side = v < 2 ? 24 : 10;
        cr_expect(ak_shape_equal(b.view[v]->shape, AK_SHAPE(3, side, side, 3)), "view %d", v);
        for (int64_t i = 0; i < b.view[v]->size; i += 3)
            cr_assert_eq(b.view[v]->data[i], b.view[v]->data[i + 1]);
    }
    ak_loader_close(loader);

    const ak_augment *const *lists = ak_multi_crop(ctx, (ak_multi_crop_options){ 0 });
    cr_assert_not_null(lists);
    for (int v = 0; v < 8; v++) {       /* the defaults of the paper: 2 x 224 and 6 x 96 */
        double least = 1, most = 0;
        for (int i = 0; i < DRAWS / 10; i++) {
            ak_box box = { 0, 0, 500, 500, false };
            lists[v][0].kind->look(&box, lists[v][0].option, nth(i));
            least = fmin(least, (double)(box.height * box.width) / 25e4);
            most = fmax(most, (double)(box.height * box.width) / 25e4);
        }
        cr_expect_float_eq(least, v < 2 ? 0.14 : 0.05, 0.01);
        cr_expect_float_eq(most, v < 2 ? 1 : 0.14, v < 2 ? 0.06 : 0.01);
    }
    const ak_multi_crop_options bad[] = { { .large = AK_NONE, .small = AK_NONE }, { .large = 17 },
        { .large = 8, .small = 9 }, { .large_size = -1 }, { .small_lo = 0.5, .small_hi = 0.2 },
        { .flip = 1.5 }, { .large = -2 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_multi_crop(ctx, bad[i]), "%zu", i);
        expect_error(ctx, AK_ERR_VALUE, "multi_crop", i == 0 ? "1 to 16" : "");
    }
    ak_close(ctx);
}

Test(picture_views, options_out_of_range)
{
    const struct { ak_augment a; const char *word; } bad[] = {
        { ak_random_pad_crop(-1, false), "padding" }, { ak_random_pad_crop(5000, true), "padding" },
        { ak_random_rotation(181), "degrees" }, { ak_random_rotation((double)NAN), "degrees" },
        { ak_random_affine(0, 2, 1, 1, 0), "shift" }, { ak_random_affine(0, 0, 0, 1, 0), "scale" },
        { ak_random_affine(0, 0, 2, 1, 0), "scale" }, { ak_random_affine(0, 0, 1, 1, 11), "shear" },
        { ak_random_erasing(1.5, 0, 0.1, 0), "probability" },
        { ak_random_erasing(1, 0.5, 0.2, 0), "area" }, { ak_random_erasing(1, 0, 1, 0), "area" },
        { ak_random_erasing(1, 0, 0.1, 2), "value" },
        { ak_random_erasing_aspect(1, 0, 0.1, 0, 1, 0), "aspect" },
        { ak_random_autocontrast(-1), "probability" }, { ak_random_equalize(2), "probability" },
        { ak_random_posterize(9, 1), "bits" }, { ak_random_posterize(-1, 1), "bits" },
        { ak_random_sharpness(-1, 1), "factor" }, { ak_random_sharpness(1001, 1), "factor" },
        { ak_rand_augment(17, 9), "ops" }, { ak_rand_augment(2, 31), "magnitude" },
        { ak_rand_augment(2, -1), "magnitude" },
    };
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = noise(ctx, 1, 8, 8, 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const ak_augment list[] = { bad[i].a, { 0 } };
        cr_expect(ak_is_poison(ak_augment_item(ds, list, 1, 0, 0, 0)), "%zu", i);
        expect_error(ctx, AK_ERR_VALUE, bad[i].a.kind->name, bad[i].word);
    }
    ak_close(ctx);
}

/* ---- looking --------------------------------------------------------------------------------- */

/* A grid of each kind, to be looked at: AK_TEST_PICTURES names a folder for them. */
Test(picture_views, a_grid_of_each)
{
    const ak_augment all[] = {
        ak_random_crop(0.2, 1), ak_random_flip(0.5), ak_jitter(0.5), ak_random_gray(0.5),
        ak_random_blur(0.5, 2, 1), ak_random_solarize(0.5, 0.7), ak_random_pad_crop(8, true),
        ak_random_rotation(30), ak_random_affine(15, 0.1, 0.8, 1.2, 0.2),
        ak_random_erasing(1, 0.02, 0.3, AK_ERASE_NOISE), ak_random_autocontrast(0.5),
        ak_random_equalize(0.5), ak_random_posterize(2, 0.5), ak_random_sharpness(4, 0.5),
        ak_rand_augment(2, 9),
    };
    enum { N = 48, VIEWS = 16 };
    ak_ctx  *ctx = quiet();
    uint8_t *x = malloc(N * N * 3);
    for (int i = 0; i < N * N; i++) {       /* a bright disc with a bar on a slope of colours */
        const int  y = i / N - N / 2, k = i % N - N / 2;
        const bool disc = y * y + k * k < 200, bar = abs(y - 5) < 3 && k > 0;
        x[3 * i] = (uint8_t)(bar ? 30 : disc ? 220 : 40 + 2 * (i / N));
        x[3 * i + 1] = (uint8_t)(bar ? 60 : disc ? 180 : 60 + 2 * (i % N));
        x[3 * i + 2] = (uint8_t)(bar ? 200 : disc ? 40 : 120);
    }
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(1, N, N, 3), NULL);
    char        dir[64];
    const char *keep = getenv("AK_TEST_PICTURES");
    if (!keep)
        new_folder(dir);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const ak_augment list[] = { all[k], { 0 } };
        ak_tensor       *rows[VIEWS];
        int              different = 0;
        for (int v = 0; v < VIEWS; v++) {
            rows[v] = ak_augment_item(ds, list, (uint64_t)v, 0, 0, 0);
            different += memcmp(rows[v]->data, rows[0]->data, N * N * 3 * sizeof(ak_real)) != 0;
        }
        cr_expect_gt(different, 0, "%s", all[k].kind->name);
        char name[80];
        snprintf(name, sizeof name, "%s.png", all[k].kind->name);
        const char *path = path_in(keep ? keep : dir, name);
        cr_assert_eq(ak_picture_write_tensor(ctx, path,
                         ak_picture_grid(ak_stack(rows, VIEWS), (ak_grid_options){ 0 })), AK_OK,
                     "%s", ak_error_message(ctx));
        const ak_array *back = ak_picture_read(ctx, path, (ak_picture_options){ 0 });
        cr_assert(back && ak_shape_equal(back->shape, AK_SHAPE(4 * 50 + 2, 4 * 50 + 2, 3)));
        ak_step_end(ctx);
    }
    if (!keep)
        remove_folder(dir);
    free(x);
    ak_close(ctx);
}
