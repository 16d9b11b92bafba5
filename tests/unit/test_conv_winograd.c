/* SPDX-License-Identifier: Apache-2.0 */
/* Winograd's algorithm against plain sums: in double it is the same to ten digits for every shape
 * that it can be asked for, in float it stays within the error that ops.h states. */
#include <criterion/criterion.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "base/base.h"
#include "tensor/conv/ways.h"

/* Largest difference over largest result. */
#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 1e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_real *normal(ak_ctx *ctx, int64_t n, uint64_t stream)
{
    ak_real *x = ak__step_alloc(ctx, (size_t)n * sizeof *x + 1);
    cr_assert(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (ak_real)ak_random_normal(5, stream, (uint64_t)i);
    return x;
}

static ak__conv strided(int64_t N, int64_t H, int64_t W, int64_t I, int64_t O, int64_t padding,
                        int64_t stride)
{
    ak__conv g = { .N = N, .H = H, .W = W, .I = I, .O = O, .kH = 3, .kW = 3, .sh = stride,
                   .sw = stride, .ph = padding, .pw = padding, .dh = 1, .dw = 1, .groups = 1 };
    g.OH = ak__conv_extent(H, 3, stride, padding, 1);
    g.OW = ak__conv_extent(W, 3, stride, padding, 1);
    return g;
}

static ak__conv geometry(int64_t N, int64_t H, int64_t W, int64_t I, int64_t O, int64_t padding)
{
    return strided(N, H, W, I, O, padding, 1);
}

static void *scratch_of(ak_ctx *ctx, size_t bytes)
{
    void *p = ak__step_alloc(ctx, bytes + 1);
    cr_assert(p);
    memset(p, 0xff, bytes);             /* NaN: nothing is taken for zero */
    return p;
}

/* What is done to the normal numbers of x, w and dy. */
typedef struct change {
    double x, w, dy;                    /* factors; 0 = 1 */
    bool   odd;                         /* an infinite x and dy in the middle of picture 1 */
} change;

static void apply(const ak__conv *g, const change *c, ak_real *x, ak_real *w, ak_real *dy)
{
    const double factor[] = { c->x, c->w, c->dy };
    const int64_t n[] = { g->N * g->H * g->W * g->I, g->O * 9 * g->I, g->N * g->OH * g->OW * g->O };
    ak_real *all[] = { x, w, dy };
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; factor[i] != 0 && j < n[i]; j++)
            all[i][j] = (ak_real)(fmax(fmin((double)all[i][j], 3.3), -3.3) * factor[i]);
    if (c->odd) {
        x[((g->H + g->H / 2) * g->W + g->W / 2) * g->I + 1] = (ak_real)INFINITY;
        dy[((g->OH + g->OH / 2) * g->OW + g->OW / 2) * g->O + 2] = -(ak_real)INFINITY;
    }
}

typedef struct passes { ak_real *y, *dx, *dw; } passes;

/* All passes by plain sums (m = 0), or by tiles of m x m; of stride 2 the first two only. */
static passes run_changed(ak_ctx *ctx, ak__conv g, int m, bool accumulate, const change *c)
{
    const int64_t nx = g.N * g.H * g.W * g.I, ny = g.N * g.OH * g.OW * g.O, nw = g.O * 9 * g.I;
    ak_real *x = normal(ctx, nx, 1), *w = normal(ctx, nw, 2), *dy = normal(ctx, ny, 3);
    const ak_real *bias = accumulate ? NULL : normal(ctx, g.O, 4);
    const ak_real *back = accumulate ? normal(ctx, g.I, 5) : NULL;
    const passes p = { normal(ctx, ny, 6), normal(ctx, nx, 7), normal(ctx, nw, 8) };
    apply(&g, c, x, w, dy);
    if (m == 0) {
        g.exact = true;
        ak__conv_forward(&g, x, w, bias, p.y, accumulate,
                         scratch_of(ctx, ak__conv_forward_scratch(&g)));
        ak__conv_data(&g, dy, w, back, p.dx, accumulate,
                      scratch_of(ctx, ak__conv_data_scratch(&g)));
        ak__conv_weight(&g, x, dy, p.dw, accumulate,
                        scratch_of(ctx, ak__conv_weight_scratch(&g)));
        return p;
    }
    ak__winograd_forward(&g, m, x, w, bias, p.y, accumulate,
                         scratch_of(ctx, ak__winograd_scratch(&g, m, false)));
    ak__winograd_data(&g, m, dy, w, back, p.dx, accumulate,
                      scratch_of(ctx, ak__winograd_scratch(&g, m, true)));
    if (g.sh == 1)
        ak__winograd_weight(&g, m, x, dy, p.dw, accumulate,
                            scratch_of(ctx, ak__winograd_weight_scratch(&g, m)));
    return p;
}

static passes run(ak_ctx *ctx, ak__conv g, int m, bool accumulate)
{
    return run_changed(ctx, g, m, accumulate, &(change){ 0 });
}

static double difference(const ak_real *a, const ak_real *b, int64_t n)
{
    double most = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        most = d <= most ? most : d;    /* NaN stays */
        largest = fmax(largest, fabs((double)b[i]));
    }
    return most / largest;
}

static void check(ak__conv g, int m, bool accumulate)
{
    ak_ctx *ctx = quiet();
    const passes got = run(ctx, g, m, accumulate), want = run(ctx, g, 0, accumulate);
    const double errors[] = { difference(got.y, want.y, g.N * g.OH * g.OW * g.O),
                              difference(got.dx, want.dx, g.N * g.H * g.W * g.I),
                              g.sh == 1 ? difference(got.dw, want.dw, g.O * 9 * g.I) : 0 };
    static const char *const names[] = { "forward", "data", "weight" };
    for (int i = 0; i < 3; i++)
        cr_expect(errors[i] <= TOL,
                  "%s of %dx%dx%d, %d -> %d, stride %d, padding %d, side %d: error %.2g", names[i],
                  (int)g.N, (int)g.H, (int)g.W, (int)g.I, (int)g.O, (int)g.sh, (int)g.ph, m,
                  errors[i]);
    ak_close(ctx);
}

/* Odd sizes, maps one pixel wide, more padding than the kernel, few and odd channels. */
Test(winograd, every_shape)
{
    for (int64_t side = 1; side <= 13; side += side > 5 ? 3 : 1)
        for (int64_t padding = 0; padding <= 4; padding++)
            for (int m = 2; m <= 4; m += 2)
                for (int add = 0; add < 2; add++) {
                    const int64_t wide = add ? 14 - side : side;
                    if (side + 2 * padding < 3 || wide + 2 * padding < 3)
                        continue;
                    check(geometry(3, side, wide, 5 + side, 35 - side, padding), m, add);
                }
}

Test(winograd, every_shape_of_stride_2)
{
    for (int64_t side = 1; side <= 19; side += side > 5 ? 3 : 1)
        for (int64_t padding = 0; padding <= 4; padding++)
            for (int add = 0; add < 2; add++) {
                ak__conv g = strided(3, side, add ? 20 - side : side, 5 + side, 35 - side, padding,
                                     2);
                g.pw = add ? 4 - padding : padding;
                g.OW = ak__conv_extent(g.W, 3, 2, g.pw, 1);
                if (g.OH >= 1 && g.OW >= 1)
                    check(g, 4, add);
            }
}

/* Both cuts of the work: blocks that a thread does alone, and blocks that all share; several
 * blocks and an odd rest of tiles. */
Test(winograd, both_cuts)
{
    const ak__conv list[] = {
        geometry(40, 13, 11, 24, 40, 1), geometry(67, 7, 6, 33, 17, 0),
        geometry(7, 9, 9, 136, 170, 1), geometry(60, 10, 9, 130, 136, 1),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (int m = 2; m <= 4; m += 2)
            check(list[i], m, i % 2);
    check(strided(40, 21, 19, 24, 40, 1, 2), 4, false);
    check(strided(67, 14, 13, 33, 17, 0, 2), 4, true);
    check(strided(60, 15, 16, 130, 136, 1, 2), 4, false);
}

/* Cuts of 14, 7 and 5 into full and short tiles, in blocks that begin inside of a picture. */
Test(winograd, short_tiles)
{
    const ak__conv list[] = {
        geometry(45, 14, 7, 24, 40, 1),  geometry(30, 9, 5, 130, 136, 1),
        strided(45, 28, 14, 24, 40, 1, 2), strided(45, 11, 14, 65, 130, 1, 2),
        strided(33, 6, 13, 33, 60, 0, 2),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        check(list[i], 4, i % 2);
        if (list[i].sh == 1)
            check(list[i], 2, i % 2);
    }
    const ak__conv g = list[0];
    const ak__tiling q = ak__winograd_tiling(&g, 4, false);
    cr_expect_eq(q.TH, 4);              /* 4 + 4 + 3 + 3 */
    cr_expect_eq(q.FH, 2);
    cr_expect_eq(q.TW, 2);              /* 4 + 3 */
    cr_expect_eq(q.FW, 1);
    int32_t places[16];
    ak__tile_order o = { .tile = places };
    ak__winograd_order(&q, 8, 8, &o);   /* the second picture */
    bool seen[8] = { false };
    for (int p = 0; p < q.points; p++) {
        int64_t lo, hi;
        ak__winograd_range(&q, &o, p, &lo, &hi);
        const bool last_row = p / q.side == 5, last_column = p % q.side == 5;
        cr_expect_eq(hi - lo, 8 / (last_row ? 2 : 1) / (last_column ? 2 : 1), "point %d", p);
        for (int64_t i = lo; i < hi; i++) {
            cr_expect(!last_row || places[i] / 2 < 2);
            cr_expect(!last_column || places[i] % 2 < 1);
        }
    }
    for (int i = 0; i < 8; i++)
        seen[places[i]] = true;
    for (int i = 0; i < 8; i++)
        cr_expect(seen[i], "tile %d", i);
}

/* Are finite results near, and all others the same? */
static void expect_same_kinds(const char *name, const ak_real *got, const ak_real *want, int64_t n)
{
    double largest = 0;
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++)
        largest = isfinite(want[i]) ? fmax(largest, fabs((double)want[i])) : largest;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);
        wrong += isfinite(want[i]) ? !(d <= TOL * largest)
                                   : got[i] != want[i] && !(isnan(got[i]) && isnan(want[i]));
    }
    cr_expect_eq(wrong, 0, "%s: %d of %d results", name, (int)wrong, (int)n);
}

/* Numbers so large that Winograd's overflow though the results do not, and infinite ones, which
 * plain sums give to some results of a tile only. */
Test(winograd, results_that_it_can_not_hold)
{
    const double huge = (sizeof(ak_real) == 8 ? 1.7e308 : 3.4e38) / 3.4;
    const change changes[] = {
        { .x = huge, .w = 1e-5, .dy = 1e-6 }, { .x = 1e-6, .w = 1e-5, .dy = huge },
        { .w = huge, .x = 1e-5, .dy = 1e-6 }, { .odd = true },
    };
    const ak__conv list[] = {
        geometry(5, 14, 11, 24, 40, 1), geometry(3, 9, 9, 136, 170, 1),
        strided(5, 21, 19, 24, 40, 1, 2), strided(3, 14, 13, 130, 136, 0, 2),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (size_t j = 0; j < sizeof changes / sizeof *changes; j++)
            for (int m = list[i].sh == 1 ? 2 : 4; m <= 4; m += 2) {
                const ak__conv *g = &list[i];
                ak_ctx *ctx = quiet();
                const bool add = (i + j) % 2;
                const passes got = run_changed(ctx, *g, m, add, &changes[j]);
                const passes want = run_changed(ctx, *g, 0, add, &changes[j]);
                expect_same_kinds("y", got.y, want.y, g->N * g->OH * g->OW * g->O);
                expect_same_kinds("dx", got.dx, want.dx, g->N * g->H * g->W * g->I);
                if (g->sh == 1)
                    expect_same_kinds("dw", got.dw, want.dw, g->O * 9 * g->I);
                ak_close(ctx);
            }
}

/* The stated error in float, for the channels that networks have. */
Test(winograd, error_on_normal_numbers)
{
    if (sizeof(ak_real) == 8)
        return;
    const ak__conv list[] = {
        geometry(16, 28, 28, 32, 32, 1), geometry(8, 16, 16, 64, 64, 1),
        geometry(16, 8, 8, 128, 128, 1), geometry(16, 4, 4, 256, 256, 1),
        geometry(8, 4, 4, 512, 512, 1), geometry(4, 7, 7, 512, 512, 1),
        geometry(16, 2, 2, 512, 512, 1),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (int m = 2; m <= 4; m += 2)
            check(list[i], m, false);
    const ak__conv halving[] = {
        strided(16, 28, 28, 32, 64, 1, 2), strided(8, 32, 32, 64, 128, 1, 2),
        strided(16, 16, 16, 128, 256, 1, 2), strided(16, 8, 8, 256, 512, 1, 2),
        strided(16, 14, 14, 64, 128, 1, 2),
    };
    for (size_t i = 0; i < sizeof halving / sizeof *halving; i++)
        check(halving[i], 4, false);
}

/* ---- who chooses ----------------------------------------------------------------------------- */

Test(winograd, is_taken_where_it_saves_multiplications)
{
    ak_close(quiet());                          /* which way is faster depends on the kernels */
    ak__conv g = geometry(32, 16, 16, 64, 64, 1);
    cr_expect_eq(ak__winograd_side(&g, false), 4);
    cr_expect_eq(ak__winograd_side(&g, true), 4);
    g = geometry(128, 2, 2, 512, 512, 1);
    cr_expect_eq(ak__winograd_side(&g, false), 2);
    g = geometry(260, 2, 2, 64, 60, 1);         /* of test_conv.c, with the two below */
    cr_expect_eq(ak__winograd_side(&g, false), 2);
    g = geometry(60, 13, 14, 32, 40, 1);
    cr_expect_eq(ak__winograd_side(&g, false), 4);
    g = geometry(9, 11, 9, 144, 160, 1);
    cr_expect_eq(ak__winograd_side(&g, false), 4);
    g = geometry(512, 28, 1, 64, 64, 1);        /* a column: nothing is saved */
    cr_expect_eq(ak__winograd_side(&g, false), 0);
    g = geometry(1, 4, 4, 512, 512, 1);         /* more work for the weights than for the tile */
    cr_expect_eq(ak__winograd_side(&g, false), 0);
    g = geometry(32, 16, 16, 64, 64, 1);
    g.exact = true;
    cr_expect_eq(ak__winograd_side(&g, false), 0);
    g = strided(20, 32, 32, 64, 128, 1, 2);
    cr_expect_eq(ak__winograd_side(&g, false), 4);
    cr_expect_eq(ak__winograd_side(&g, true), 4);
    g = strided(24, 16, 16, 128, 256, 1, 2);     /* both of test_conv.c */
    cr_expect_eq(ak__winograd_side(&g, false), 4);
    cr_expect_eq(ak__winograd_side(&g, true), 4);
    g = strided(256, 14, 14, 64, 128, 1, 2);    /* a tenth of the plain sums is outside */
    cr_expect_eq(ak__winograd_side(&g, false), 0);
    cr_expect_eq(ak__winograd_side(&g, true), 0);
    g = strided(512, 28, 28, 32, 64, 1, 2);     /* few channels: transforms cost more */
    cr_expect_eq(ak__winograd_side(&g, false), 0);
    g = geometry(32, 16, 16, 64, 64, 1);
    g.exact = true;
    ak__conv others[] = { g, g, g, g, g };
    others[0].sh = 3;
    others[1].dw = 2;
    others[2].groups = 2;
    others[3].kW = 5;
    others[4].I = 1;
    for (int i = 0; i < 5; i++) {
        others[i].exact = false;
        cr_expect_eq(ak__winograd_side(&others[i], false), 0, "%d", i);
    }
}

/* Many images leave out what is outside, one alone is padded. */
Test(winograd, direct_way_counts_what_it_multiplies)
{
    ak_close(quiet());
    const ak__conv one = strided(1, 14, 14, 64, 128, 1, 2);
    const ak__conv many = strided(84, 14, 14, 64, 128, 1, 2);
    for (int data = 0; data < 2; data++) {
        cr_expect_float_eq(ak__direct_cost(&one, data), 9 * 49, 1e-9);
        cr_expect_leq(ak__direct_cost(&many, data), 84 * 20 * 20);      /* 20 of 21 pairs a side */
    }
}

/* conv2d of one context: does it give the bits of plain sums? */
static bool gives_plain_sums(ak_options options, bool exact)
{
    options.quiet = true;
    ak_ctx *ctx = ak_open(options);
    cr_assert(ctx);
    const ak__conv g = geometry(32, 16, 16, 64, 64, 1);
    const passes want = run(ctx, g, 0, false);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(g.N, g.H, g.W, g.I));
    ak_tensor *w = ak_zeros(ctx, AK_SHAPE(g.O, 3, 3, g.I));
    memcpy(x->data, normal(ctx, x->size, 1), (size_t)x->size * sizeof *x->data);
    memcpy(w->data, normal(ctx, w->size, 2), (size_t)w->size * sizeof *w->data);
    ak_tensor *b = ak_zeros(ctx, AK_SHAPE(g.O));
    memcpy(b->data, normal(ctx, b->size, 4), (size_t)b->size * sizeof *b->data);
    ak_tensor *y = ak_conv2d(x, w, b, (ak_conv_options){ .padding = 1, .exact = exact });
    const bool same = memcmp(y->data, want.y, (size_t)y->size * sizeof *want.y) == 0;
    ak_close(ctx);
    return same;
}

Test(winograd, exact_by_option_context_and_environment)
{
    unsetenv("AK_CONV");
    cr_expect_not(gives_plain_sums((ak_options){ 0 }, false));
    cr_expect(gives_plain_sums((ak_options){ 0 }, true));
    cr_expect(gives_plain_sums((ak_options){ .exact_conv = true }, false));
    setenv("AK_CONV", "exact", 1);
    cr_expect(gives_plain_sums((ak_options){ 0 }, false));
    setenv("AK_CONV", "fast", 1);
    cr_expect_not(gives_plain_sums((ak_options){ .exact_conv = true }, false));
}

Test(winograd, unknown_setting_is_an_error, .exit_code = 1)
{
    setenv("AK_CONV", "quick", 1);
    ak_open((ak_options){ .quiet = true });     /* the default hook stops the program */
}
