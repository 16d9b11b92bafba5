/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that tests of measures and the Python that pinned their values make alike. */
#ifndef AK_EVAL_TABLE_H
#define AK_EVAL_TABLE_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/akin.h>

#define NEAR(x, y, eps) cr_assert_float_eq(x, y, eps, "%.17g, not %.17g", (double)(x), (double)(y))

static inline ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* A congruential generator in [-1, 1] by steps of 1/1000: s = (1103515245 s + 12345) mod 2^31,
 * (s >> 16) mod 2001. */
static inline double next_number(uint64_t *s)
{
    *s = (*s * 1103515245 + 12345) & 0x7fffffff;
    return ((double)((*s >> 16) % 2001) - 1000) / 1000;
}

static inline ak_tensor *number_table(ak_ctx *ctx, int64_t n, int64_t d, uint64_t seed)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, d));
    for (int64_t i = 0; i < n * d; i++)
        x->data[i] = (ak_real)next_number(&seed);
    return x;
}

/* An error of this kind whose text holds `part`; cleared. */
static inline void expect_error(ak_ctx *ctx, ak_status status, const char *part)
{
    cr_assert_eq(ak_error(ctx), status, "%d: %s", (int)ak_error(ctx), ak_error_message(ctx));
    cr_assert(strstr(ak_error_message(ctx), part), "\"%s\" is not in: %s", part,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* Simulated intervals of each kind: AK_COVERAGE_RUNS, or as many as take about a second. */
static inline int coverage_runs(void)
{
    const char *given = getenv("AK_COVERAGE_RUNS");
    return given ? atoi(given) : 1000;
}

static inline bool holds(ak_measure m, double truth)
{
    return m.lo <= truth && m.hi >= truth;
}

/* Of all intervals those that hold the truth: 93 to 97 %, with room for the chance of few runs. */
static inline void expect_coverage(int held, const char *what)
{
    const double runs = coverage_runs(), room = 2.6 * sqrt(0.05 * 0.95 / runs);
    const double least = fmin(0.93, 0.95 - room), most = fmax(0.97, 0.95 + room);
    cr_log_info("%s: %d of %g", what, held, runs);
    cr_assert(held >= least * runs && held <= most * runs, "%s: %d of %g", what, held, runs);
}

#endif
