/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a depthwise convolution: steps, numbers of taps, pixels and channels, with arrays
 * that end at an unreadable page. */
#include "check.h"

#include <math.h>
#include <string.h>

#define MOST_TAPS 7
#define MOST_C    135

typedef struct taps_case {
    int     taps, variant;
    int64_t pixels, C, step_x, step_y;
} taps_case;

/* The arrays of one case. `y` is dy of the gradient and the result of the sum. */
typedef struct taps_arrays {
    guarded xs[MOST_TAPS], ws[MOST_TAPS], sums[MOST_TAPS], y, bias;
    const float *x[MOST_TAPS], *w[MOST_TAPS];
    float  *sum[MOST_TAPS];
    float   start[MOST_TAPS][MOST_C];      /* of the sums */
} taps_arrays;

static guarded filled(int64_t n, int placement)
{
    guarded g = guarded_new(n, placement);
    fill(g.x, n, FILL_PLAIN);
    return g;
}

static int64_t span_of(int64_t pixels, int64_t step, int64_t C)
{
    return pixels > 0 ? (pixels - 1) * step + C : 0;
}

static void arrays_new(const taps_case *q, taps_arrays *a)
{
    a->y = filled(span_of(q->pixels, q->step_y, q->C), q->variant % 4);
    a->bias = filled(q->C, 0);
    for (int t = 0; t < q->taps; t++) {
        a->xs[t] = filled(span_of(q->pixels, q->step_x, q->C), (q->variant + t) % 4);
        a->ws[t] = filled(q->C, t % 2);
        a->sums[t] = filled(q->C, t % 4);
        memcpy(a->start[t], a->sums[t].x, (size_t)q->C * sizeof(float));
        a->x[t] = a->xs[t].x;
        a->w[t] = a->ws[t].x;
        a->sum[t] = a->sums[t].x;
    }
}

/* True if nothing beside the arrays was written. */
static bool arrays_free(const taps_case *q, taps_arrays *a)
{
    int kept = guarded_free(a->y) + guarded_free(a->bias);
    for (int t = 0; t < q->taps; t++)
        kept += guarded_free(a->xs[t]) + guarded_free(a->ws[t]) + guarded_free(a->sums[t]);
    return kept == 2 + 3 * q->taps;
}

/* Element i of y, which was `old`. What lies between two pixels stays. */
static bool near_result(const taps_case *q, const taps_arrays *a, int64_t i, float old)
{
    const int64_t p = i / q->step_y, c = i % q->step_y;
    if (c >= q->C)
        return a->y.x[i] == old;
    double want = q->variant & 1 ? (double)old : 0, size = fabs(want);
    const double bias = q->variant & 2 ? (double)a->bias.x[c] : 0;
    want += bias;
    size += fabs(bias);
    for (int t = 0; t < q->taps; t++) {
        const double term = (double)a->x[t][p * q->step_x + c] * (double)a->w[t][c];
        want += term;
        size += fabs(term);
    }
    return near_enough(a->y.x[i], (float)want, size * 1e-6);
}

static bool near_sum(const taps_case *q, const taps_arrays *a, int t, int64_t c, const float *dy)
{
    double want = (double)a->start[t][c], size = fabs(want);
    for (int64_t p = 0; p < q->pixels; p++) {
        const double term = (double)a->x[t][p * q->step_x + c] * (double)dy[p * q->step_y + c];
        want += term;
        size += fabs(term);
    }
    return near_enough(a->sum[t][c], (float)want, size * 1e-6);
}

static void check_rows(const isa_table *isa, const taps_case *q)
{
    taps_arrays a;
    arrays_new(q, &a);
    float *old = malloc((size_t)a.y.n * sizeof *old + 1);
    memcpy(old, a.y.x, (size_t)a.y.n * sizeof *old);
    isa->table.taps_gradient(a.sum, a.x, q->step_x, a.y.x, q->step_y, q->taps, q->pixels, q->C);
    isa->table.taps(a.y.x, q->step_y, a.x, q->step_x, a.w, q->taps, q->pixels, q->C,
                    q->variant & 2 ? a.bias.x : NULL, q->variant & 1);
    bool near = true, near_sums = true;
    for (int64_t i = 0; i < a.y.n; i++)
        near = near && near_result(q, &a, i, old[i]);
    for (int64_t i = 0; i < q->taps * q->C; i++)
        near_sums = near_sums && near_sum(q, &a, (int)(i / q->C), i % q->C, old);
    check_result(near, isa->name, "taps %d pixels %d C %d variant %d", q->taps, (int)q->pixels,
                 (int)q->C, q->variant);
    check_result(near_sums, isa->name, "taps_gradient %d pixels %d C %d", q->taps,
                 (int)q->pixels, (int)q->C);
    check_result(arrays_free(q, &a), isa->name, "taps wrote outside");
    free(old);
}

void check_taps(const isa_table *isa)
{
    if (!wanted("taps"))
        return;
    for (int64_t C = 1; C <= MOST_C; C += C < 40 ? 1 : 5)
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
