/* SPDX-License-Identifier: Apache-2.0 */
/* Fourier transforms of every length up to 66 and some others: the reference against the definition
 * in double, each level against the reference, bit for bit. */
#include "check.h"

#include "tensor/fft_plan.h"

#include <math.h>
#include <string.h>

#define LANES AK_FFT_LANES

/* Each ends at an unreadable page, and so begins at 64 bytes as the entries need it. */
typedef struct buffers { guarded z, spare, power; } buffers;

static buffers buffers_new(const ak__fft *plan)
{
    return (buffers){ guarded_new(AK_FFT_SIZE(plan), 0), guarded_new(AK_FFT_SIZE(plan), 0),
                      guarded_new((plan->n / 2 + 1) * LANES, 0) };
}

static bool buffers_free(buffers b)
{
    const bool z = guarded_free(b.z), spare = guarded_free(b.spare), power = guarded_free(b.power);
    return z && spare && power;
}

/* Runs all three entries on x; the spectrum. */
static const float *run(const ak_kernels *k, const ak__fft *plan, const float *x, buffers b)
{
    memcpy(b.z.x, x, (size_t)b.z.n * sizeof *x);
    float *z = k->fft(plan, b.z.x, b.spare.x);
    k->fft_real(plan, z);
    k->fft_power(b.power.x, z, plan->n / 2 + 1);
    return z;
}

/* Number t of a lane, as tensor/mel.c lays them. */
static float number_at(const ak__fft *plan, const float *x, int64_t t, int lane)
{
    return x[(plan->n % 2 ? 2 * t : t) * LANES + lane];
}

static void check_definition(const ak__fft *plan, const float *x, const float *z,
                             const float *power, const char *name)
{
    const int64_t n = plan->n;
    for (int lane = 0; lane < LANES; lane += 5)
        for (int64_t k = 0; k <= n / 2; k++) {
            double re = 0, im = 0, size = 0;
            for (int64_t t = 0; t < n; t++) {
                const double angle = 6.283185307179586 * (double)(k * t % n) / (double)n;
                const double v = (double)number_at(plan, x, t, lane);
                re += v * cos(angle);
                im -= v * sin(angle);
                size += fabs(v);
            }
            const double bound = 1e-6 * size + 1e-30;
            const double zr = (double)z[2 * k * LANES + lane];
            const double zi = (double)z[(2 * k + 1) * LANES + lane];
            check_result(fabs(zr - re) <= bound && fabs(zi - im) <= bound, name,
                         "fft n %lld bin %lld: %g + %g i, not %g + %g i", (long long)n,
                         (long long)k, zr, zi, re, im);
            const double p = (double)power[k * LANES + lane];
            check_result(fabs(p - zr * zr - zi * zi) <= 1e-6 * p, name, "fft_power: %g", p);
        }
}

static void check_length(ak_ctx *ctx, const ak_kernels *ref, const isa_table *isa, int64_t n)
{
    ak__fft plan;
    if (!ak__fft_plan(&plan, ctx, n)) {
        check_result(false, isa->name, "fft n %lld: no plan", (long long)n);
        return;
    }
    const buffers want = buffers_new(&plan), got = buffers_new(&plan);
    const guarded start = guarded_new(AK_FFT_SIZE(&plan), 0);
    float *x = start.x;
    fill(x, start.n, FILL_PLAIN);
    for (int64_t t = 0; n % 2 && t < n; t++)
        memset(x + (2 * t + 1) * LANES, 0, LANES * sizeof *x);
    const float *z = run(ref, &plan, x, want), *other = run(&isa->table, &plan, x, got);
    if (&isa->table == ref)
        check_definition(&plan, x, z, want.power.x, isa->name);
    const size_t bins = (size_t)(n / 2 + 1) * LANES * sizeof *x;
    check_result(memcmp(z, other, 2 * bins) == 0 && memcmp(want.power.x, got.power.x, bins) == 0,
                 isa->name, "fft n %lld: other bits than the reference", (long long)n);
    const bool inside = buffers_free(got);
    check_result(buffers_free(want) && inside, isa->name, "fft n %lld: wrote beside its arrays",
                 (long long)n);
    guarded_free(start);
}

void check_fft(const ak_kernels *ref, const isa_table *isa)
{
    static const int64_t others[] = { 97, 101, 120, 128, 202, 243, 256, 400, 441, 500, 512, 1024 };
    if (!wanted("fft"))
        return;
    ak_ctx *ctx = ak_open((ak_options){ .quiet = true });
    check_result(ctx != NULL, isa->name, "fft: no context");
    for (int64_t n = 2; ctx && n <= 66; n++)
        check_length(ctx, ref, isa, n);
    for (size_t i = 0; ctx && i < sizeof others / sizeof *others; i++)
        check_length(ctx, ref, isa, others[i]);
    ak_close(ctx);
}
