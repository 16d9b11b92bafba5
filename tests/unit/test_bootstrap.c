/* SPDX-License-Identifier: Apache-2.0 */
/* Bootstrap intervals against the binomial distribution, which they sample for 0/1 values. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include <akin/eval.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

enum { N = 4000 };
static double values[N];

Test(bootstrap, is_as_wide_as_the_binomial)
{
    ak_ctx *ctx = quiet();
    for (int i = 0; i < N; i++)
        values[i] = i % 10 != 0;        /* mean 0.9 */
    const double sd = sqrt(0.9 * 0.1 / N);
    const ak_interval w = ak_bootstrap_mean(ctx, values, N, (ak_bootstrap_options){ 0 });
    /* quantiles of 1000 resamples have a standard error of about 0.09 sd */
    cr_assert_float_eq(w.lo, 0.9 - 1.96 * sd, 0.4 * sd);
    cr_assert_float_eq(w.hi, 0.9 + 1.96 * sd, 0.4 * sd);
    const ak_bootstrap_options middle = { .level = 0.5 };
    const ak_interval half = ak_bootstrap_mean(ctx, values, N, middle);
    cr_assert_float_eq(half.hi - half.lo, 2 * 0.6745 * sd, 0.3 * sd);
    ak_close(ctx);
}

Test(bootstrap, depends_on_the_seed_alone)
{
    ak_ctx *ctx = quiet();
    for (int i = 0; i < N; i++)
        values[i] = ak_random_uniform(5, 6, (uint64_t)i);
    const ak_interval a = ak_bootstrap_mean(ctx, values, N, (ak_bootstrap_options){ .seed = 1 });
    const ak_interval b = ak_bootstrap_mean(ctx, values, N, (ak_bootstrap_options){ .seed = 1 });
    const ak_interval c = ak_bootstrap_mean(ctx, values, N, (ak_bootstrap_options){ .seed = 2 });
    cr_assert(a.lo == b.lo && a.hi == b.hi);
    cr_assert(a.lo != c.lo && a.hi != c.hi);
    ak_close(ctx);
}

Test(bootstrap, constant_values_have_no_spread)
{
    ak_ctx *ctx = quiet();
    for (int i = 0; i < 5; i++)
        values[i] = 0.25;
    const ak_interval w = ak_bootstrap_mean(ctx, values, 5, (ak_bootstrap_options){ 0 });
    cr_assert(w.lo == 0.25 && w.hi == 0.25);
    ak_close(ctx);
}

Test(bootstrap, refuses_misuse)
{
    ak_ctx *ctx = quiet();
    const ak_bootstrap_options bad[] = { { .resamples = 50 }, { .level = 1 }, { .level = -0.5 } };
    for (int i = 0; i < 3; i++) {
        cr_assert(isnan(ak_bootstrap_mean(ctx, values, 5, bad[i]).lo));
        cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    }
    cr_assert(isnan(ak_bootstrap_mean(ctx, values, 0, (ak_bootstrap_options){ 0 }).lo));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}
