/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution against a naive loop in double, over many geometries; pooling and resizing too. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "base/base.h"
#include "base/parallel.h"
#include "tensor/conv/conv.h"

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_real *numbers(ak_ctx *ctx, int64_t n, uint64_t stream)
{
    ak_real *x = ak__step_alloc(ctx, (size_t)n * sizeof *x + 1);
    cr_assert(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (ak_real)(2 * ak_random_uniform(5, stream, (uint64_t)i) - 1);
    return x;
}

/* ---- the oracle ------------------------------------------------------------------------------ */

typedef void visit(void *user, int64_t y, int64_t x, int64_t w);

/* Calls fn for every product of the convolution with the places of its factors. */
static void each_product(const ak__conv *g, visit *fn, void *user)
{
    const int64_t Ig = g->I / g->groups, Og = g->O / g->groups;
    for (int64_t p = 0; p < g->N * g->OH * g->OW; p++) {
        const int64_t n = p / (g->OH * g->OW), oh = p / g->OW % g->OH, ow = p % g->OW;
        for (int64_t o = 0; o < g->O; o++) {
            for (int64_t k = 0; k < g->kH * g->kW; k++) {
                const int64_t ih = oh * g->sh - g->ph + k / g->kW * g->dh;
                const int64_t iw = ow * g->sw - g->pw + k % g->kW * g->dw;
                if (ih < 0 || ih >= g->H || iw < 0 || iw >= g->W)
                    continue;
                for (int64_t c = 0; c < Ig; c++)
                    fn(user, p * g->O + o, ((n * g->H + ih) * g->W + iw) * g->I + o / Og * Ig + c,
                       (o * g->kH * g->kW + k) * Ig + c);
            }
        }
    }
}

typedef struct naive {
    const ak_real *x, *w, *dy;
    double *y, *dx, *dw, *size_y, *size_x, *size_w;     /* and sums of magnitudes */
} naive;

static void add_product(void *user, int64_t y, int64_t x, int64_t w)
{
    naive *o = user;
    const double a = (double)o->x[x], b = (double)o->w[w], d = (double)o->dy[y];
    o->y[y] += a * b;
    o->dx[x] += d * b;
    o->dw[w] += d * a;
    o->size_y[y] += fabs(a * b);
    o->size_x[x] += fabs(d * b);
    o->size_w[w] += fabs(d * a);
}

static double *zeros(ak_ctx *ctx, int64_t n)
{
    double *x = ak__step_alloc(ctx, (size_t)n * sizeof *x + 1);
    cr_assert(x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

static const char *text_of(const ak__conv *g)
{
    static char text[200];
    snprintf(text, sizeof text, "N%d %dx%d I%d O%d k%dx%d s%d,%d p%d,%d d%d,%d g%d", (int)g->N,
             (int)g->H, (int)g->W, (int)g->I, (int)g->O, (int)g->kH, (int)g->kW, (int)g->sh,
             (int)g->sw, (int)g->ph, (int)g->pw, (int)g->dh, (int)g->dw, (int)g->groups);
    return text;
}

static void compare(const ak__conv *g, const char *what, const ak_real *got, const double *want,
                    const double *size, const ak_real *start, int64_t period, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double base = start ? (double)start[period ? i % period : i] : 0;
        const double error = fabs((double)got[i] - (want[i] + base));
        cr_assert(error <= TOL * (size[i] + fabs(base) + 1e-3), "%s of %s: [%ld] is %.9g, not %.9g",
                  what, text_of(g), (long)i, (double)got[i], want[i] + base);
    }
}

/* All three passes, assigned and accumulated, with and without bias. */
static void check_geometry(ak__conv g)
{
    g.OH = ak__conv_extent(g.H, g.kH, g.sh, g.ph, g.dh);
    g.OW = ak__conv_extent(g.W, g.kW, g.sw, g.pw, g.dw);
    if (g.OH < 1 || g.OW < 1)
        return;
    ak_ctx *ctx = quiet();
    const int64_t nx = g.N * g.H * g.W * g.I, ny = g.N * g.OH * g.OW * g.O;
    const int64_t nw = g.O * g.kH * g.kW * (g.I / g.groups);
    ak_real *x = numbers(ctx, nx, 1), *w = numbers(ctx, nw, 2), *dy = numbers(ctx, ny, 3);
    ak_real *bias = numbers(ctx, g.O, 4), *back = numbers(ctx, g.I, 5);
    naive o = { x, w, dy, zeros(ctx, ny), zeros(ctx, nx), zeros(ctx, nw), zeros(ctx, ny),
                zeros(ctx, nx), zeros(ctx, nw) };
    each_product(&g, add_product, &o);
    for (int add = 0; add < 2; add++) {
        ak_real *y = numbers(ctx, ny, 6), *dx = numbers(ctx, nx, 7), *dw = numbers(ctx, nw, 8);
        void *s = ak__step_alloc(ctx, ak__conv_forward_scratch(&g) + 1);
        ak__conv_forward(&g, x, w, add ? NULL : bias, y, add, s);
        compare(&g, "output", y, o.y, o.size_y, add ? numbers(ctx, ny, 6) : bias, add ? 0 : g.O,
                ny);
        s = ak__step_alloc(ctx, ak__conv_data_scratch(&g) + 1);
        ak__conv_data(&g, dy, w, add ? NULL : back, dx, add, s);
        compare(&g, "data gradient", dx, o.dx, o.size_x, add ? numbers(ctx, nx, 7) : back,
                add ? 0 : g.I, nx);
        s = ak__step_alloc(ctx, ak__conv_weight_scratch(&g) + 1);
        ak__conv_weight(&g, x, dy, dw, add, s);
        compare(&g, "weight gradient", dw, o.dw, o.size_w, add ? numbers(ctx, nw, 8) : NULL, 0, nw);
    }
    ak_close(ctx);
}

static int64_t draw(uint64_t *at, int64_t lo, int64_t hi)
{
    return lo + (int64_t)ak_random_below(11, 3, (*at)++, (uint64_t)(hi - lo + 1));
}

/* Random geometries; `channels` bounds I/groups and O/groups. */
static void random_geometries(uint64_t seed, int count, int64_t images, int64_t side,
                              int64_t channels)
{
    uint64_t at = seed << 32;
    for (int i = 0; i < count; i++) {
        const int64_t groups = draw(&at, 0, 3) ? 1 : draw(&at, 2, 4);
        ak__conv g = {
            .N = draw(&at, 1, images), .H = draw(&at, 1, side), .W = draw(&at, 1, side),
            .I = groups * draw(&at, 1, channels), .O = groups * draw(&at, 1, channels),
            .kH = draw(&at, 1, 5), .kW = draw(&at, 1, 5), .sh = draw(&at, 1, 3),
            .sw = draw(&at, 1, 3), .ph = draw(&at, 0, 4), .pw = draw(&at, 0, 4),
            .dh = draw(&at, 1, 3), .dw = draw(&at, 1, 3), .groups = groups,
        };
        check_geometry(g);
    }
}

Test(conv, random_small) { random_geometries(1, 400, 3, 9, 5); }
Test(conv, random_wide) { random_geometries(2, 60, 3, 12, 40); }
Test(conv, random_long) { random_geometries(3, 40, 3, 21, 28); }
Test(conv, random_many) { random_geometries(4, 60, 37, 7, 40); }

#define GEOMETRY(n, h, w, i, o, k, s, p, d, g)                                                     \
    ((ak__conv){ .N = n, .H = h, .W = w, .I = i, .O = o, .kH = k, .kW = k, .sh = s, .sw = s,       \
                 .ph = p, .pw = p, .dh = d, .dw = d, .groups = g })

Test(conv, chosen)
{
    const ak__conv list[] = {
        GEOMETRY(3, 28, 28, 1, 32, 3, 1, 1, 1, 1),  GEOMETRY(2, 14, 14, 32, 64, 3, 2, 1, 1, 1),
        GEOMETRY(2, 7, 7, 64, 33, 3, 2, 1, 1, 1),   GEOMETRY(2, 9, 9, 48, 17, 3, 1, 1, 1, 1),
        GEOMETRY(2, 6, 6, 100, 20, 3, 1, 1, 1, 1),  /* kernel row longer than one run */
        GEOMETRY(1, 4, 4, 300, 40, 1, 2, 0, 1, 1),  GEOMETRY(2, 3, 3, 70, 70, 3, 1, 1, 1, 1),
        GEOMETRY(1, 17, 19, 3, 64, 7, 2, 3, 1, 1),  GEOMETRY(40, 4, 4, 32, 32, 3, 1, 1, 1, 1),
        GEOMETRY(2, 10, 10, 64, 64, 3, 1, 2, 2, 2), GEOMETRY(2, 12, 12, 40, 40, 3, 1, 1, 1, 40),
        GEOMETRY(2, 11, 11, 24, 24, 5, 2, 2, 1, 24),/* depthwise */
        GEOMETRY(2, 12, 12, 32, 32, 2, 4, 0, 1, 1), /* stride beyond the kernel: gaps */
        GEOMETRY(2, 13, 13, 32, 48, 3, 2, 4, 2, 1), GEOMETRY(1, 13, 13, 32, 48, 3, 3, 1, 2, 1),
        GEOMETRY(1, 2, 9, 26, 13, 5, 1, 4, 1, 1),   /* kernel higher than the picture */
        GEOMETRY(1, 9, 9, 25, 25, 1, 1, 3, 1, 1),   /* more padding than kernel: dy is cropped */
        GEOMETRY(3, 5, 7, 8, 6, 1, 1, 0, 1, 1),     GEOMETRY(1, 1, 700, 1, 5, 9, 1, 4, 1, 1),
        /* tiles across images: parts of the kernel outside, gaps, many runs, both panels */
        GEOMETRY(30, 7, 7, 64, 33, 3, 2, 1, 1, 1),  GEOMETRY(15, 6, 6, 100, 70, 5, 2, 4, 1, 1),
        GEOMETRY(20, 12, 12, 32, 32, 2, 4, 0, 1, 1), GEOMETRY(17, 5, 6, 64, 80, 3, 1, 2, 2, 2),
        GEOMETRY(33, 8, 8, 64, 16, 3, 2, 1, 1, 1),  GEOMETRY(16, 16, 16, 32, 24, 3, 2, 1, 1, 1),
        /* blocks of the weight gradient: part of a row, of the images, several rows */
        GEOMETRY(2, 1, 700, 32, 5, 9, 1, 4, 1, 1),  GEOMETRY(19, 3, 61, 32, 8, 3, 1, 1, 1, 1),
        GEOMETRY(3, 9, 5, 40, 33, 5, 2, 3, 1, 1),
        GEOMETRY(0, 5, 5, 3, 4, 3, 1, 1, 1, 1),     /* no pictures */
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        check_geometry(list[i]);
}

#ifdef _OPENMP
/* The three passes of one geometry as one block of numbers. */
static ak_real *all_passes(ak_ctx *ctx, ak__conv g, int threads, int64_t *size)
{
    g.OH = ak__conv_extent(g.H, g.kH, g.sh, g.ph, g.dh);
    g.OW = ak__conv_extent(g.W, g.kW, g.sw, g.pw, g.dw);
    const int64_t nx = g.N * g.H * g.W * g.I, ny = g.N * g.OH * g.OW * g.O;
    const int64_t nw = g.O * g.kH * g.kW * (g.I / g.groups);
    ak_real *x = numbers(ctx, nx, 1), *w = numbers(ctx, nw, 2), *dy = numbers(ctx, ny, 3);
    ak_real *all = numbers(ctx, nx + ny + nw, 9);
    omp_set_num_threads(threads);
    ak__conv_forward(&g, x, w, NULL, all, false,
                     ak__step_alloc(ctx, ak__conv_forward_scratch(&g) + 1));
    ak__conv_data(&g, dy, w, NULL, all + ny, false,
                  ak__step_alloc(ctx, ak__conv_data_scratch(&g) + 1));
    ak__conv_weight(&g, x, dy, all + ny + nx, false,
                    ak__step_alloc(ctx, ak__conv_weight_scratch(&g) + 1));
    *size = nx + ny + nw;
    return all;
}

Test(conv, same_bits_for_any_number_of_threads)
{
    const ak__conv list[] = {
        GEOMETRY(33, 14, 14, 1, 32, 3, 1, 1, 1, 1), GEOMETRY(19, 14, 14, 32, 40, 3, 2, 1, 1, 1),
        GEOMETRY(9, 8, 8, 3, 16, 3, 1, 1, 1, 1),    GEOMETRY(7, 9, 9, 24, 24, 3, 1, 1, 1, 24),
        GEOMETRY(5, 8, 8, 64, 64, 1, 1, 0, 1, 1),
        /* Winograd: alone by threads, and shared by them; sides 4 and 2 */
        GEOMETRY(60, 13, 14, 32, 40, 3, 1, 1, 1, 1), GEOMETRY(9, 11, 9, 144, 160, 3, 1, 1, 1, 1),
        GEOMETRY(260, 2, 2, 64, 60, 3, 1, 1, 1, 1),
        GEOMETRY(37, 7, 7, 64, 72, 3, 2, 1, 1, 1),  GEOMETRY(8, 6, 6, 48, 160, 3, 2, 1, 1, 1),
        /* and with stride 2 */
        GEOMETRY(20, 32, 32, 64, 128, 3, 2, 1, 1, 1), GEOMETRY(24, 16, 16, 128, 256, 3, 2, 1, 1, 1),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        ak_ctx *ctx = quiet();
        int64_t n;
        const ak_real *one = all_passes(ctx, list[i], 1, &n);
        for (int t = 2; t <= 4; t++)
            cr_expect(memcmp(one, all_passes(ctx, list[i], t, &n), (size_t)n * sizeof *one) == 0,
                      "%s with %d threads", text_of(&list[i]), t);
        ak_close(ctx);
    }
}
#endif

/* The padded row and column are in nobody's reach: they hold the bias. */
Test(conv, transposed_one_by_one_with_output_padding)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(1, 1, 1, 1), (ak_real[]){ 3 }));
    ak_tensor *w = ak_require_grad(ak_from(ctx, AK_SHAPE(1, 1, 1, 1), (ak_real[]){ 2 }));
    ak_tensor *b = ak_require_grad(ak_from(ctx, AK_SHAPE(1), (ak_real[]){ 5 }));
    ak_tensor *y = ak_conv2d_transposed(x, w, b, (ak_conv_options){ .dilation = 2,
                                                                     .output_padding = 1 });
    const ak_real want[4] = { 11, 5, 5, 5 };
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(1, 2, 2, 1)));
    cr_expect_arr_eq(y->data, want, sizeof want);
    ak_backward_from(y, (ak_real[]){ 1, 10, 100, 1000 });
    cr_expect_eq(x->grad[0], 2);
    cr_expect_eq(w->grad[0], 3);
    cr_expect_eq(b->grad[0], 1111);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(conv, messages_say_what_is_wrong)
{
    ak_ctx *ctx = quiet();
    ak_conv2d(ak_zeros(ctx, AK_SHAPE(2, 5, 5, 3)), ak_zeros(ctx, AK_SHAPE(4, 3, 3, 2)), NULL,
              (ak_conv_options){ 0 });
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    cr_expect(strstr(ak_error_message(ctx), "x has 3 channels, but the weights take 2"), "%s",
              ak_error_message(ctx));
    ak_step_end(ctx);
    ak_conv2d(ak_zeros(ctx, AK_SHAPE(2, 2, 5, 3)), ak_zeros(ctx, AK_SHAPE(4, 3, 3, 3)), NULL,
              (ak_conv_options){ 0 });
    cr_expect(strstr(ak_error_message(ctx), "larger than x"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    ak_close(ctx);
}

/* ---- pooling --------------------------------------------------------------------------------- */

Test(pool, by_hand)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_reshape(ak_arange(ctx, 16), AK_SHAPE(1, 4, 4, 1));
    ak_tensor *y = ak_max_pool2d(x, (ak_pool_options){ .kernel = 2 });
    const double largest[] = { 5, 7, 13, 15 }, mean[] = { 2.5, 4.5, 10.5, 12.5 };
    cr_assert_eq(y->size, 4);
    for (int i = 0; i < 4; i++)
        cr_expect_eq((double)y->data[i], largest[i]);
    y = ak_avg_pool2d(x, (ak_pool_options){ .kernel = 2 });
    for (int i = 0; i < 4; i++)
        cr_expect_eq((double)y->data[i], mean[i]);
    y = ak_global_avg_pool(x);
    cr_expect_eq(ak_item(y), 7.5);
    /* 4 -> 3: windows 0-1, 1-2, 2-3 of both axes */
    y = ak_adaptive_avg_pool2d(x, 3, 3);
    cr_expect_eq(ak_at(y, AK_SHAPE(0, 0, 0, 0)), 2.5);
    cr_expect_eq(ak_at(y, AK_SHAPE(0, 1, 1, 0)), 7.5);
    cr_expect_eq(ak_at(y, AK_SHAPE(0, 2, 2, 0)), 12.5);
    ak_close(ctx);
}

Test(pool, largest_is_below_the_padding_and_NaN_stays)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_full(ctx, AK_SHAPE(1, 3, 3, 2), -4);
    ak_tensor *y = ak_max_pool2d(x, (ak_pool_options){ .kernel = 3, .stride = 2, .padding = 1 });
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_eq((double)y->data[i], -4.0);
    x->data[8] = (ak_real)NAN;      /* the middle, channel 0: in every window */
    y = ak_max_pool2d(x, (ak_pool_options){ .kernel = 3, .stride = 2, .padding = 1 });
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_eq(isnan((double)y->data[i]), i % 2 == 0);
    ak_close(ctx);
}

Test(pool, ties_give_the_gradient_to_the_first)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_full(ctx, AK_SHAPE(1, 2, 2, 1), 3));
    ak_backward(ak_max_pool2d(x, (ak_pool_options){ .kernel = 2 }));
    cr_assert(x->grad);
    cr_expect_eq((double)x->grad[0], 1.0);
    for (int i = 1; i < 4; i++)
        cr_expect_eq((double)x->grad[i], 0.0);
    ak_close(ctx);
}

Test(resize, doubles_and_keeps_constants)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_from_double(ctx, AK_SHAPE(1, 1, 2, 1), (double[]){ 0, 1 });
    ak_tensor *y = ak_resize_bilinear(x, 1, 4);
    const double want[] = { 0, 0.25, 0.75, 1 };
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)y->data[i], want[i], 1e-6);
    y = ak_resize_bilinear(ak_full(ctx, AK_SHAPE(2, 5, 3, 2), 1.5), 7, 8);
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_eq((double)y->data[i], 1.5);
    ak_close(ctx);
}
