/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of split numbers against sums in double: with the matrix unit, or with one in C
 * (tests/kernel/split_emulated.h). */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/autograd.h>

#include "base/base.h"
#include "base/parallel.h"
#include "tensor/conv/ways.h"

#define TOL 2e-6                        /* largest difference over largest result */

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    return ctx;
}

static void *room(ak_ctx *ctx, size_t bytes)
{
    void *p = ak__step_alloc(ctx, bytes + 1);
    cr_assert(p);
    return memset(p, 0xff, bytes);      /* NaN: nothing is taken for zero */
}

static ak_real *normal(ak_ctx *ctx, int64_t n, uint64_t stream)
{
    ak_real *x = room(ctx, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (ak_real)ak_random_normal(5, stream, (uint64_t)i);
    return x;
}

/* A geometry with its result's extent; OH = 0 if it has none. */
static ak__conv sized(ak__conv g)
{
    g.groups = 1;
    g.OH = ak__conv_extent(g.H, g.kH, g.sh, g.ph, g.dh);
    g.OW = ak__conv_extent(g.W, g.kW, g.sw, g.pw, g.dw);
    if (g.OW < 1)
        g.OH = 0;
    return g;
}

typedef struct passes { ak_real *x, *w, *dy, *bias, *back, *y, *dx, *dw; } passes;

static passes arrays(ak_ctx *ctx, const ak__conv *g, bool accumulate)
{
    const int64_t nx = g->N * g->H * g->W * g->I, ny = g->N * g->OH * g->OW * g->O;
    const int64_t nw = g->O * ak__conv_k(g);
    return (passes){
        .x = normal(ctx, nx, 1), .w = normal(ctx, nw, 2), .dy = normal(ctx, ny, 3),
        .bias = accumulate ? NULL : normal(ctx, g->O, 4),
        .back = accumulate ? normal(ctx, g->I, 5) : NULL,
        .y = normal(ctx, ny, 6), .dx = normal(ctx, nx, 7), .dw = normal(ctx, nw, 8),
    };
}

static void run(ak_ctx *ctx, const ak__conv *g, const passes *p, bool accumulate)
{
    ak__split_forward(g, p->x, p->w, p->bias, p->y, accumulate,
                      room(ctx, ak__split_scratch(g, false)));
    ak__split_data(g, p->dy, p->w, p->back, p->dx, accumulate,
                   room(ctx, ak__split_scratch(g, true)));
    ak__split_weight(g, p->x, p->dy, p->dw, accumulate, room(ctx, ak__split_weight_scratch(g)));
}

/* Sums in double of all three passes, by the definition. */
static void sum_up(const ak__conv *g, const passes *p, bool accumulate, double *y, double *dx,
                   double *dw)
{
    for (int64_t i = 0; i < g->N * g->OH * g->OW * g->O; i++)
        y[i] = (accumulate ? (double)p->y[i] : 0) + (p->bias ? (double)p->bias[i % g->O] : 0);
    for (int64_t i = 0; i < g->N * g->H * g->W * g->I; i++)
        dx[i] = (accumulate ? (double)p->dx[i] : 0) + (p->back ? (double)p->back[i % g->I] : 0);
    for (int64_t i = 0; i < g->O * ak__conv_k(g); i++)
        dw[i] = accumulate ? (double)p->dw[i] : 0;
    for (int64_t r = 0; r < g->N * g->OH * g->OW * g->kH * g->kW; r++) {
        const int64_t kw = r % g->kW, kh = r / g->kW % g->kH, pixel = r / (g->kW * g->kH);
        const int64_t h = pixel / g->OW % g->OH * g->sh - g->ph + kh * g->dh;
        const int64_t w = pixel % g->OW * g->sw - g->pw + kw * g->dw;
        if (h < 0 || h >= g->H || w < 0 || w >= g->W)
            continue;
        const int64_t from = ((pixel / (g->OW * g->OH) * g->H + h) * g->W + w) * g->I;
        for (int64_t o = 0; o < g->O; o++)
            for (int64_t i = 0; i < g->I; i++) {
                const int64_t k = ((o * g->kH + kh) * g->kW + kw) * g->I + i;
                y[pixel * g->O + o] += (double)p->x[from + i] * (double)p->w[k];
                dx[from + i] += (double)p->dy[pixel * g->O + o] * (double)p->w[k];
                dw[k] += (double)p->dy[pixel * g->O + o] * (double)p->x[from + i];
            }
    }
}

/* Numbers by powers of two. */
static void scale(ak_real *x, int64_t n, int power)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (ak_real)ldexp((double)x[i], power);
}

static double difference(const ak_real *got, const double *want, int64_t n)
{
    double most = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]);
        most = d <= most ? most : d;    /* NaN stays */
        largest = fmax(largest, fabs(want[i]));
    }
    /* a few roundings to the smallest float: plain sums have one for each product */
    return most <= 0x1p-146 ? 0 : largest > 0 ? most / largest : most;
}

/* x, w and dy times powers of two. */
static void check_sizes(ak__conv g, bool accumulate, int x_power, int w_power, int dy_power)
{
    ak_ctx *ctx = quiet();
    const int64_t nx = g.N * g.H * g.W * g.I, ny = g.N * g.OH * g.OW * g.O;
    const int64_t nw = g.O * ak__conv_k(&g);
    const passes p = arrays(ctx, &g, accumulate);
    double *y = room(ctx, (size_t)ny * sizeof *y), *dx = room(ctx, (size_t)nx * sizeof *dx);
    double *dw = room(ctx, (size_t)nw * sizeof *dw);
    scale(p.x, nx, x_power);
    scale(p.w, nw, w_power);
    scale(p.dy, ny, dy_power);
    if (p.bias)
        scale(p.bias, g.O, x_power + w_power);
    if (p.back)
        scale(p.back, g.I, dy_power + w_power);
    sum_up(&g, &p, accumulate, y, dx, dw);
    run(ctx, &g, &p, accumulate);
    const double errors[] = { difference(p.y, y, ny), difference(p.dx, dx, nx),
                              difference(p.dw, dw, nw) };
    static const char *const names[] = { "forward", "data", "weight" };
    for (int i = 0; i < 3; i++)
        cr_expect(errors[i] <= TOL,
                  "%s of %dx%dx%d, %d -> %d, kernel %dx%d, stride %d %d, padding %d %d, dilation "
                  "%d %d: error %.2g", names[i], (int)g.N, (int)g.H, (int)g.W, (int)g.I, (int)g.O,
                  (int)g.kH, (int)g.kW, (int)g.sh, (int)g.sw, (int)g.ph, (int)g.pw, (int)g.dh,
                  (int)g.dw, errors[i]);
    ak_close(ctx);
}

static void check(ak__conv g, bool accumulate)
{
    check_sizes(g, accumulate, 0, 0, 0);
}

static bool possible(void)
{
    ak_ctx *ctx = quiet();
    const bool can = ak__k.split_tiles != NULL;
    ak_close(ctx);
    return can;
}

static int64_t draw(uint64_t *at, int64_t low, int64_t high)
{
    const double u = ak_random_uniform(9, 1, (*at)++);
    return low + (int64_t)(u * (double)(high - low + 1));
}

/* Kernels larger than the map, more padding than kernel, strides that skip taps, dilation, odd
 * channels. */
Test(conv_split, random_shapes)
{
    if (!possible())
        return;
    uint64_t at = 0;
    for (int trial = 0; trial < 600; trial++) {
        const ak__conv g = sized((ak__conv){
            .N = draw(&at, 1, 5), .H = draw(&at, 1, 19), .W = draw(&at, 1, 19),
            .I = draw(&at, 1, 70), .O = draw(&at, 1, 70), .kH = draw(&at, 1, 5),
            .kW = draw(&at, 1, 5), .sh = draw(&at, 1, 4), .sw = draw(&at, 1, 4),
            .ph = draw(&at, 0, 5), .pw = draw(&at, 0, 5), .dh = draw(&at, 1, 3),
            .dw = draw(&at, 1, 3),
        });
        if (g.OH > 0)
            check(g, trial % 2);
    }
}

/* Several blocks of images and a rest, bands of one image, chunks, shared panels. */
Test(conv_split, cuts)
{
    if (!possible())
        return;
    const ak__conv list[] = {
        { .N = 67, .H = 28, .W = 28, .I = 32, .O = 40, .kH = 3, .kW = 3, .sh = 2, .sw = 2, .ph = 1,
          .pw = 1, .dh = 1, .dw = 1 },
        { .N = 40, .H = 7, .W = 6, .I = 50, .O = 100, .kH = 3, .kW = 3, .sh = 1, .sw = 1, .ph = 1,
          .pw = 1, .dh = 1, .dw = 1 },
        { .N = 3, .H = 90, .W = 70, .I = 64, .O = 33, .kH = 3, .kW = 5, .sh = 1, .sw = 2, .ph = 1,
          .pw = 2, .dh = 1, .dw = 1 },
        { .N = 2, .H = 150, .W = 40, .I = 48, .O = 24, .kH = 5, .kW = 1, .sh = 3, .sw = 1, .ph = 2,
          .pw = 0, .dh = 2, .dw = 1 },
        { .N = 37, .H = 8, .W = 8, .I = 160, .O = 200, .kH = 1, .kW = 1, .sh = 2, .sw = 2, .ph = 0,
          .pw = 0, .dh = 1, .dw = 1 },
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check(sized(list[i]), i % 2);
}

static const ak__conv two_shapes[] = {
    { .N = 5, .H = 12, .W = 13, .I = 40, .O = 70, .kH = 3, .kW = 3, .sh = 2, .sw = 2, .ph = 1,
      .pw = 1, .dh = 1, .dw = 1 },
    { .N = 3, .H = 9, .W = 8, .I = 33, .O = 20, .kH = 3, .kW = 3, .sh = 1, .sw = 1, .ph = 1,
      .pw = 1, .dh = 1, .dw = 1 },
};

/* Small numbers, whose lower parts would be subnormal, down to subnormal ones; large ones, whose
 * sums overflow in the unit. */
Test(conv_split, numbers_of_any_size)
{
    if (!possible())
        return;
    static const int powers[][3] = {
        { -100, 0, -100 }, { -110, 0, 0 }, { 0, -110, 0 }, { 0, 0, -110 }, { -126, 0, 0 },
        { -146, 0, 0 }, { 0, 0, -146 }, { -60, -60, -60 }, { -70, -76, -70 }, { -146, 100, -146 },
        { 60, 20, 60 }, { 105, 0, 0 }, { 0, 105, 0 }, { 0, 0, 105 }, { 120, -100, -100 },
        { 124, -60, -60 },
    };
    for (size_t i = 0; i < sizeof powers / sizeof *powers; i++)
        for (int j = 0; j < 2; j++)
            check_sizes(sized(two_shapes[j]), false, powers[i][0], powers[i][1], powers[i][2]);
}

static int64_t count_odd(const ak_real *got, const ak_real *want, int64_t n)
{
    int64_t odd = 0;
    for (int64_t i = 0; i < n; i++)
        odd += isfinite(want[i]) ? !(fabs((double)got[i] - (double)want[i]) < 1e-3)
                                 : got[i] != want[i] && !(isnan(got[i]) && isnan(want[i]));
    return odd;
}

/* An infinite number gives what plain sums give: to what it is part of, and to nothing else. */
Test(conv_split, infinite_numbers)
{
    if (!possible())
        return;
    for (int j = 0; j < 4; j++) {
        const ak__conv g = sized(two_shapes[j % 2]);
        ak_ctx *ctx = quiet();
        const passes a = arrays(ctx, &g, j / 2), b = arrays(ctx, &g, j / 2);
        const int64_t nx = g.N * g.H * g.W * g.I, ny = g.N * g.OH * g.OW * g.O;
        const int64_t x = ((g.H + 4) * g.W + 5) * g.I + 3, y = ((g.OH + 2) * g.OW + 2) * g.O + 7;
        a.x[x] = b.x[x] = (ak_real)INFINITY;
        a.dy[y] = b.dy[y] = -(ak_real)INFINITY;
        run(ctx, &g, &a, j / 2);
        ak__patches_forward(&g, b.x, b.w, b.bias, b.y, j / 2,
                            room(ctx, ak__patches_forward_scratch(&g)));
        ak__patches_data(&g, b.dy, b.w, b.back, b.dx, j / 2,
                         room(ctx, ak__patches_data_scratch(&g)));
        ak__patches_weight(&g, b.x, b.dy, b.dw, j / 2, room(ctx, ak__patches_weight_scratch(&g)));
        cr_expect_eq(count_odd(a.y, b.y, ny), 0);
        cr_expect_eq(count_odd(a.dx, b.dx, nx), 0);
        cr_expect_eq(count_odd(a.dw, b.dw, g.O * ak__conv_k(&g)), 0);
        ak_close(ctx);
    }
}

#ifdef _OPENMP
Test(conv_split, same_bits_for_any_number_of_threads)
{
    if (!possible())
        return;
    const ak__conv g = sized((ak__conv){ .N = 67, .H = 17, .W = 16, .I = 40, .O = 70, .kH = 3,
                                         .kW = 3, .sh = 2, .sw = 2, .ph = 1, .pw = 1, .dh = 1,
                                         .dw = 1 });
    const size_t ny = (size_t)(g.N * g.OH * g.OW * g.O), nx = (size_t)(g.N * g.H * g.W * g.I);
    const size_t nw = (size_t)(g.O * ak__conv_k(&g));
    ak_ctx *ctx = quiet();
    const int most = ak__max_threads();
    const passes one = arrays(ctx, &g, false);
    omp_set_num_threads(1);
    run(ctx, &g, &one, false);
    for (int threads = 2; threads <= 4; threads++) {
        const passes many = arrays(ctx, &g, false);
        omp_set_num_threads(threads);
        run(ctx, &g, &many, false);
        cr_expect_arr_eq(one.y, many.y, ny * sizeof(ak_real));
        cr_expect_arr_eq(one.dx, many.dx, nx * sizeof(ak_real));
        cr_expect_arr_eq(one.dw, many.dw, nw * sizeof(ak_real));
    }
    omp_set_num_threads(most);
    ak_close(ctx);
}
#endif

/* Every entry of the portable table is set, those that it has not to NULL: what stood in the table
 * before must not stay. */
Test(kernels, portable_table_leaves_nothing_as_it_was)
{
    ak_kernels      table;
    uintptr_t       old, now;
    const size_t    word = sizeof old;
    memset(&old, 0xa5, word);
    memset(&table, 0xa5, sizeof table);
    ak__kernels_ref(&table);
    for (size_t at = 0; at + word <= sizeof table; at += word) {
        memcpy(&now, (const char *)&table + at, word);
        cr_expect_neq(now, old, "word %zu of the table", at / word);
    }
    cr_expect(!table.split_pack && !table.split_multiply && !table.split_tiles &&
              !table.split_lines);
}
