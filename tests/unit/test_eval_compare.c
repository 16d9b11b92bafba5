/* SPDX-License-Identifier: Apache-2.0 */
/* Figures with an interval, and two arms compared: values of scipy, cases worked by hand, coverage
 * on simulated data. */
#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <akin/eval.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static const double arm_a[6] = { 0.3, 0.9, 0.25, 0.8, 0.1, 0.75 };
static const double arm_b[6] = { 0.1, 0.5, 0.5, 0.4, 0.2, 0.35 };

#define NEAR(x, y) cr_assert_float_eq(x, y, 1e-9, "%.12g, not %.12g", x, y)

/* ---- values of scipy ------------------------------------------------------------------------- */

Test(compare, t_test_is_that_of_scipy)       /* ttest_rel and its confidence_interval */
{
    ak_ctx *ctx = quiet();
    const ak_compare_options o = { .test = AK_COMPARE_T };
    const ak_comparison items = ak_compare_paired(ctx, arm_a, arm_b, 6, o);
    const ak_comparison seeds = ak_compare_seeds(ctx, arm_a, arm_b, 6, (ak_compare_options){ 0 });
    for (int i = 0; i < 2; i++) {
        const ak_comparison *c = i ? &seeds : &items;
        NEAR(c->estimate, 0.175);
        NEAR(c->p, 0.19409421269774352);
        NEAR(c->lo, -0.12505418596764875);
        NEAR(c->hi, 0.4750541859676488);
    }
    ak_close(ctx);
}

Test(compare, permutation_counts_all_signs)     /* 12 of 64 sums are as far: by itertools */
{
    ak_ctx *ctx = quiet();
    const ak_comparison c = ak_compare_paired(ctx, arm_a, arm_b, 6, (ak_compare_options){ 0 });
    NEAR(c.p, 0.1875);
    cr_assert(c.lo < 0.175 && c.hi > 0.175);
    cr_assert(strstr(c.protocol, "all sign flips") && strstr(c.protocol, "BCa"), "%s", c.protocol);
    ak_close(ctx);
}

Test(compare, right_and_wrong_are_compared_by_mcnemar)
{
    ak_ctx *ctx = quiet();
    double a[40] = { 0 }, b[40] = { 0 };
    for (int i = 0; i < 40; i++) {              /* 10 that a alone has right, 2 that b has */
        a[i] = i < 10 || i >= 20;
        b[i] = (i >= 10 && i < 12) || i >= 20;
    }
    const ak_comparison c = ak_compare_paired(ctx, a, b, 40, (ak_compare_options){ 0 });
    NEAR(c.estimate, 0.2);
    NEAR(c.p, 0.03857421875);                   /* binomtest(2, 12) */
    NEAR(c.lo, 0.025644846807331895);
    NEAR(c.hi, 0.3553075341450491);
    const ak_compare_options signs = { .test = AK_COMPARE_PERMUTATION };
    /* the same test by 10000 draws, whose share has a standard error of 0.0019 */
    cr_assert_float_eq(ak_compare_paired(ctx, a, b, 40, signs).p, 0.0386, 0.006);
    ak_close(ctx);
}

Test(compare, shares_have_wilsons_interval)     /* binomtest(19, 20).proportion_ci("wilson") */
{
    ak_ctx *ctx = quiet();
    double x[20];
    for (int i = 0; i < 20; i++)
        x[i] = i != 7;
    const ak_measure m = ak_measure_mean(ctx, x, 20, (ak_bootstrap_options){ 0 });
    NEAR(m.value, 0.95);
    NEAR(m.lo, 0.763868806553258);
    NEAR(m.hi, 0.9911185511992047);
    ak_close(ctx);
}

/* [[1, 2], [3, 8]]: mean 3.5; mean squares 16 of seeds, 9 of items, 4 of the rest; variance
 * (16 + 9 - 4) / 4, degrees of freedom 21^2 / (16^2 + 9^2 + 4^2), each mean square
 * having one; t by scipy. */
Test(compare, crossed_mean_by_hand)
{
    ak_ctx *ctx = quiet();
    const double table[4] = { 1, 2, 3, 8 }, zero[4] = { 0 };
    const ak_measure m = ak_measure_crossed(ctx, table, 2, 2, 0);
    NEAR(m.value, 3.5);
    NEAR(m.hi - 3.5, 18.412889288867703);
    NEAR(3.5 - m.lo, 18.412889288867703);
    const ak_comparison c = ak_compare_crossed(ctx, table, zero, 2, 2, (ak_compare_options){ 0 });
    NEAR(c.hi - c.estimate, 18.412889288867703);
    NEAR(c.p, 0.3317759832742174);
    ak_close(ctx);
}

/* ---- what nothing can be said about ---------------------------------------------------------- */

Test(compare, no_spread_is_no_certainty)
{
    ak_ctx *ctx = quiet();
    const double a[3] = { 0.5, 0.75, 0.25 }, b[3] = { 0.25, 0.5, 0 };
    ak_comparison c = ak_compare_seeds(ctx, a, b, 3, (ak_compare_options){ 0 });
    cr_assert(c.estimate == 0.25 && isinf(c.lo) && isinf(c.hi) && c.p == 1);
    c = ak_compare_paired(ctx, a, b, 3, (ak_compare_options){ 0 });
    cr_assert(c.estimate == 0.25 && isinf(c.lo) && isinf(c.hi));
    c = ak_compare_seeds(ctx, a, a, 3, (ak_compare_options){ 0 });
    cr_assert(c.estimate == 0 && c.lo == 0 && c.hi == 0 && c.p == 1);
    c = ak_compare_seeds(ctx, a, b, 1, (ak_compare_options){ 0 });
    cr_assert(c.estimate == 0.25 && isinf(c.lo) && isinf(c.hi) && c.p == 1);
    cr_assert(isinf(ak_measure_seeds(ctx, a, 1, 0).hi));
    cr_assert_eq(ak_error(ctx), AK_OK);
    ak_close(ctx);
}

#define REFUSED(status, words, call) do {                                                          \
    const double value = (call);                                                                   \
    cr_assert(isnan(value));                                                                       \
    cr_assert_eq(ak_error(ctx), status);                                                           \
    cr_assert(strstr(ak_error_message(ctx), words), "%s", ak_error_message(ctx));                  \
    ak_step_end(ctx);                                                                              \
} while (0)

Test(compare, refuses_misuse)
{
    ak_ctx *ctx = quiet();
    const double bad[2] = { 1, (double)NAN }, good[2] = { 1, 0.5 };
    const ak_compare_options mcnemar = { .test = AK_COMPARE_MCNEMAR }, wide = { .level = 1 };
    REFUSED(AK_ERR_NUMBER, "1 of 2", ak_compare_paired(ctx, bad, good, 2,
                                                       (ak_compare_options){ 0 }).estimate);
    REFUSED(AK_ERR_VALUE, "McNemar", ak_compare_paired(ctx, good, good, 2, mcnemar).p);
    REFUSED(AK_ERR_VALUE, "level", ak_compare_paired(ctx, good, good, 2, wide).estimate);
    REFUSED(AK_ERR_VALUE, "0 values", ak_compare_seeds(ctx, good, good, 0,
                                                       (ak_compare_options){ 0 }).estimate);
    REFUSED(AK_ERR_VALUE, "0 items", ak_measure_crossed(ctx, good, 2, 0, 0).value);
    REFUSED(AK_ERR_VALUE, "items", ak_measure_crossed(ctx, good, 1 << 30, INT64_MAX / 2, 0).value);
    REFUSED(AK_ERR_VALUE, "items", ak_compare_crossed(ctx, good, good, 1 << 30, INT64_MAX / 2,
                                                      (ak_compare_options){ 0 }).estimate);
    REFUSED(AK_ERR_NUMBER, "1 of 2", ak_measure_mean(ctx, bad, 2,
                                                     (ak_bootstrap_options){ 0 }).value);
    ak_close(ctx);
}

/* ---- threads --------------------------------------------------------------------------------- */

Test(compare, threads_change_no_bit)
{
    ak_ctx *ctx = quiet();
    static double a[3000], b[3000];
    for (int i = 0; i < 3000; i++) {
        a[i] = ak_random_uniform(5, 1, (uint64_t)i);
        b[i] = ak_random_uniform(5, 2, (uint64_t)i);
    }
    const ak_compare_options o = { .draws = 500, .resamples = 300 };
    omp_set_num_threads(1);
    const ak_comparison one = ak_compare_paired(ctx, a, b, 3000, o);
    omp_set_num_threads(4);
    const ak_comparison four = ak_compare_paired(ctx, a, b, 3000, o);
    cr_assert(one.estimate == four.estimate && one.lo == four.lo && one.hi == four.hi &&
              one.p == four.p);
    ak_close(ctx);
}

/* ---- coverage -------------------------------------------------------------------------------- */

/* Simulated intervals of each kind: AK_COVERAGE_RUNS, or as many as take about a second. */
static int runs(void)
{
    const char *given = getenv("AK_COVERAGE_RUNS");
    return given ? atoi(given) : 1000;
}

/* Of all intervals those that hold the truth: 93 to 97 %. */
static void covers(int held, const char *what)
{
    cr_log_info("%s: %d of %d", what, held, runs());
    cr_assert(held >= 0.93 * runs() && held <= 0.97 * runs(), "%s: %d of %d", what, held, runs());
}

Test(compare, intervals_cover)
{
    omp_set_num_threads(1);                     /* many small calls */
    ak_ctx *ctx = quiet();
    double a[100], b[100];
    int share = 0, mean = 0, seeds = 0, paired = 0, flags = 0;
    for (uint64_t r = 0; r < (uint64_t)runs(); r++) {
        ak_bootstrap_options o = { .resamples = 200, .seed = r };
        for (uint64_t i = 0; i < 100; i++)
            a[i] = ak_random_uniform(1, r, i) < 0.8;
        ak_measure m = ak_measure_mean(ctx, a, 100, o);
        share += m.lo <= 0.8 && m.hi >= 0.8;
        for (uint64_t i = 0; i < 100; i++) {    /* 0.8, 0.6 right, by one hard-or-easy draw */
            const double u = ak_random_uniform(2, r, i), v = ak_random_uniform(3, r, i);
            a[i] = 0.7 * u + 0.3 * v < 0.62;
            b[i] = u < 0.6;
        }
        /* P(0.7 u + 0.3 v < 0.62) = (0.62 - 0.15) / 0.7, as 0.62 lies in [0.3, 0.7] */
        const double truth = 0.47 / 0.7 - 0.6;
        ak_comparison c = ak_compare_paired(ctx, a, b, 100, (ak_compare_options){ 0 });
        flags += c.lo <= truth && c.hi >= truth;
        for (uint64_t i = 0; i < 100; i++) {    /* skewed: u^2, mean 1/3; less v, mean 1/2 */
            a[i] = pow(ak_random_uniform(4, r, i), 2);
            b[i] = ak_random_uniform(5, r, i);
        }
        m = ak_measure_mean(ctx, a, 60, o);
        mean += m.lo <= 1.0 / 3 && m.hi >= 1.0 / 3;
        const ak_compare_options few = { .draws = 100, .resamples = 200, .seed = r };
        c = ak_compare_paired(ctx, a, b, 60, few);
        paired += c.lo <= -1.0 / 6 && c.hi >= -1.0 / 6;
        for (uint64_t i = 0; i < 5; i++)
            a[i] = ak_random_normal(6, r, i);
        m = ak_measure_seeds(ctx, a, 5, 0);
        seeds += m.lo <= 0 && m.hi >= 0;
    }
    covers(share, "share");
    covers(mean, "mean");
    covers(paired, "paired means");
    covers(flags, "paired shares");
    covers(seeds, "seeds");
    ak_close(ctx);
}
