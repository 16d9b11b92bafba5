/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of Fourier transforms: factors, turns, roots. */
#include "fft_plan.h"

#include <math.h>

#define TWO_PI 6.283185307179586476925286766559

/* cos and sin of 2 pi at / n; the argument is brought below a turn first. */
static void turn(ak_real *to, int64_t at, int64_t n, int sign)
{
    const double angle = TWO_PI * (double)(at % n) / (double)n;
    to[0] = (ak_real)cos(angle);
    to[1] = (ak_real)(sign * sin(angle));
}

/* Fours first, of which a pass costs least, then what is left in order. */
static int64_t next_radix(int64_t n)
{
    if (n % 4 == 0)
        return 4;
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0)
            return p;
    return n;
}

static bool plan_pass(ak__fft_pass *p, ak_ctx *ctx)
{
    const int64_t radix = p->radix, n = radix * p->m;
    ak_real *turns = ak__ctx_alloc(ctx, (size_t)(2 * p->m * (radix - 1)) * sizeof *turns);
    ak_real *roots = ak__ctx_alloc(ctx, (size_t)(2 * radix) * sizeof *roots);
    if (!turns || !roots)
        return false;
    for (int64_t q = 0; q < p->m; q++)
        for (int64_t l = 1; l < radix; l++)
            turn(turns + 2 * (q * (radix - 1) + l - 1), l * q, n, -1);
    for (int64_t l = 0; l < radix; l++)
        turn(roots + 2 * l, l, radix, 1);
    p->turns = turns;
    p->roots = roots;
    return true;
}

bool ak__fft_plan(ak__fft *plan, ak_ctx *ctx, int64_t n)
{
    *plan = (ak__fft){ .n = n, .N = n % 2 ? n : n / 2 };
    int64_t rest = plan->N, s = 1;
    while (rest > 1) {
        ak__fft_pass *p = &plan->pass[plan->passes++];
        p->radix = next_radix(rest);
        p->s = s;
        p->m = rest / p->radix;
        if (!plan_pass(p, ctx))
            return false;
        s *= p->radix;
        rest = p->m;
    }
    ak_real *halves = ak__ctx_alloc(ctx, (size_t)(2 * (plan->N / 2 + 1)) * sizeof *halves);
    if (!halves)
        return false;
    for (int64_t k = 0; k <= plan->N / 2; k++)
        turn(halves + 2 * k, k, n, 1);
    plan->halves = halves;
    return true;
}
