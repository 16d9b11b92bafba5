/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a depthwise convolution: steps, numbers of taps, pixels and channels, with arrays
 * that end at an unreadable page. */
#include "check.h"

#include <math.h>
#include <string.h>

#define MOST_TAPS 7

typedef struct taps_case {
    int     taps, variant;
    int64_t pixels, C, step_x, step_y;
} taps_case;

/* Element (i, c) of an array of pixels. */
static int64_t span_of(int64_t pixels, int64_t step, int64_t C)
{
    return pixels > 0 && C > 0 ? (pixels - 1) * step + C : 0;
}

static void check_rows(const isa_table *isa, const taps_case *q)
{
    guarded xs[MOST_TAPS], ws[MOST_TAPS], sums[MOST_TAPS];
    const float *x[MOST_TAPS], *w[MOST_TAPS];
    float *sum[MOST_TAPS], start[MOST_TAPS][64];
    guarded y = guarded_new(span_of(q->pixels, q->step_y, q->C), q->variant % 4);
    guarded bias = guarded_new(q->C, 0);
    fill(y.x, y.n, FILL_PLAIN);
    fill(bias.x, bias.n, FILL_PLAIN);
    for (int t = 0; t < q->taps; t++) {
        xs[t] = guarded_new(span_of(q->pixels, q->step_x, q->C), (q->variant + t) % 4);
        ws[t] = guarded_new(q->C, t % 2);
        sums[t] = guarded_new(q->C, t % 4);
        fill(xs[t].x, xs[t].n, FILL_PLAIN);
        fill(ws[t].x, ws[t].n, FILL_PLAIN);
        fill(sums[t].x, sums[t].n, FILL_PLAIN);
        memcpy(start[t], sums[t].x, (size_t)q->C * sizeof(float));
        x[t] = xs[t].x;
        w[t] = ws[t].x;
        sum[t] = sums[t].x;
    }
    const bool accumulate = q->variant & 1;
    float *old = malloc((size_t)y.n * sizeof *old + 1);
    memcpy(old, y.x, (size_t)y.n * sizeof *old);
    isa->table.taps_gradient(sum, x, q->step_x, y.x, q->step_y, q->taps, q->pixels, q->C);
    isa->table.taps(y.x, q->step_y, x, q->step_x, w, q->taps, q->pixels, q->C,
                    q->variant & 2 ? bias.x : NULL, accumulate);
    bool near = true, near_sums = true;
    for (int64_t i = 0; i < y.n; i++) {
        const int64_t p = i / q->step_y, c = i % q->step_y;
        double want = accumulate || c >= q->C ? (double)old[i] : 0, size = fabs(want);
        for (int t = -1; t < q->taps && c < q->C; t++) {
            const double b = q->variant & 2 ? (double)bias.x[c] : 0;
            const double term = t < 0 ? b : (double)x[t][p * q->step_x + c] * (double)w[t][c];
            want += term;
            size += fabs(term);
        }
        near = near && near_enough(y.x[i], (float)want, size * 1e-6);
    }
    for (int64_t i = 0; i < q->taps * q->C; i++) {
        const int64_t t = i / q->C, c = i % q->C;
        double want = (double)start[t][c], size = fabs(want);
        for (int64_t p = 0; p < q->pixels; p++) {
            const double term = (double)x[t][p * q->step_x + c] * (double)old[p * q->step_y + c];
            want += term;
            size += fabs(term);
        }
        near_sums = near_sums && near_enough(sum[t][c], (float)want, size * 1e-6);
    }
    int kept = guarded_free(y) + guarded_free(bias);
    for (int t = 0; t < q->taps; t++)
        kept += guarded_free(xs[t]) + guarded_free(ws[t]) + guarded_free(sums[t]);
    check_result(near, isa->name, "taps %d pixels %d C %d variant %d", q->taps, (int)q->pixels,
                 (int)q->C, q->variant);
    check_result(near_sums, isa->name, "taps_gradient %d pixels %d C %d", q->taps,
                 (int)q->pixels, (int)q->C);
    check_result(kept == 2 + 3 * q->taps, isa->name, "taps wrote outside");
    free(old);
}

void check_taps(const isa_table *isa)
{
    if (!wanted("taps"))
        return;
    for (int64_t C = 1; C <= 40; C++)
        for (int64_t pixels = 0; pixels <= 9; pixels++)
            for (int variant = 0; variant < 4; variant++) {
                const taps_case q = {
                    .taps = (int)(random_bits() % (MOST_TAPS + 1)), .variant = variant,
                    .pixels = pixels, .C = C, .step_x = C * (1 + (C + pixels) % 3),
                    .step_y = C * (1 + variant % 2),
                };
                check_rows(isa, &q);
            }
}
