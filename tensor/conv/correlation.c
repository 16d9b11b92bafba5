/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass and the data gradient as correlations: extents, strides, where taps lie. */
#include "tensor/conv/correlation.h"

#include "base/whole.h"
#include "tensor/moments.h"

/* ---- forward --------------------------------------------------------------------------------- */

ak__correlation ak__forward_plan(const ak__conv *g, ak__phase *phase)
{
    *phase = (ak__phase){ .JH = g->OH, .JW = g->OW, .TH = g->kH, .TW = g->kW, .kernel_h = 1,
                          .kernel_w = 1 };
    return (ak__correlation){
        .N = g->N, .SH = g->H, .SW = g->W, .SC = g->I, .top = g->ph, .left = g->pw,
        .PH = (g->OH - 1) * g->sh + (g->kH - 1) * g->dh + 1,
        .PW = (g->OW - 1) * g->sw + (g->kW - 1) * g->dw + 1,
        .image = g->OH * g->OW * g->O, .row = g->OW * g->O, .pixel = g->O,
        .groups = g->groups, .Cg = g->I / g->groups, .Dg = g->O / g->groups,
        .step_h = g->sh, .step_w = g->sw, .tap_h = g->dh, .tap_w = g->dw,
        .phases = 1, .phase = phase, .moments = g->moments,
    };
}

/* ---- data gradient --------------------------------------------------------------------------- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* One axis of a phase: outputs first, first + stride, ..; taps kernel0, kernel0 + period, .. */
typedef struct phase_axis {
    int64_t J, T, kernel0, period;
    int64_t low;                /* source position of output 0 and the last tap */
} phase_axis;

static phase_axis phase_of(int64_t first, int64_t size, int64_t kernel, int64_t stride,
                           int64_t padding, int64_t dilation)
{
    phase_axis a = { .J = ak__ceil_div(size - first, stride),
                     .period = stride / common_divisor(stride, dilation) };
    for (int64_t k = 0; k < ak__min(a.period, kernel); k++) {
        if ((first + padding - k * dilation) % stride == 0) {
            a.kernel0 = k;
            a.T = (kernel - 1 - k) / a.period + 1;
            a.low = (first + padding - (k + a.period * (a.T - 1)) * dilation) / stride;
        }
    }
    return a;
}

ak__correlation ak__data_plan(const ak__conv *g)
{
    ak__correlation q = {
        .N = g->N, .SH = g->OH, .SW = g->OW, .SC = g->O,
        .image = g->H * g->W * g->I, .row = g->sh * g->W * g->I, .pixel = g->sw * g->I,
        .groups = g->groups, .Cg = g->O / g->groups, .Dg = g->I / g->groups,
        .step_h = 1, .step_w = 1,
        .tap_h = g->dh / common_divisor(g->sh, g->dh),
        .tap_w = g->dw / common_divisor(g->sw, g->dw),
        .phases = ak__min(g->sh, g->H) * ak__min(g->sw, g->W),
        .top = -g->OH, .left = -g->OW,
    };
    int64_t bottom = 0, right = 0;
    for (int64_t i = 0; i < ak__min(g->sh, g->H); i++) {
        const phase_axis a = phase_of(i, g->H, g->kH, g->sh, g->ph, g->dh);
        if (a.T) {
            q.top = ak__max(q.top, -a.low);
            bottom = ak__max(bottom, a.low + a.J + (a.T - 1) * q.tap_h);
        }
    }
    for (int64_t i = 0; i < ak__min(g->sw, g->W); i++) {
        const phase_axis a = phase_of(i, g->W, g->kW, g->sw, g->pw, g->dw);
        if (a.T) {
            q.left = ak__max(q.left, -a.low);
            right = ak__max(right, a.low + a.J + (a.T - 1) * q.tap_w);
        }
    }
    q.PH = q.top + bottom;
    q.PW = q.left + right;
    return q;
}

ak__phase ak__data_phase(const ak__conv *g, const ak__correlation *q, int64_t p)
{
    const int64_t wide = ak__min(g->sw, g->W), ih = p / wide, iw = p % wide;
    const phase_axis a = phase_of(ih, g->H, g->kH, g->sh, g->ph, g->dh);
    const phase_axis b = phase_of(iw, g->W, g->kW, g->sw, g->pw, g->dw);
    return (ak__phase){
        .JH = a.J, .JW = b.J, .TH = a.T, .TW = b.T, .h0 = a.low + q->top, .w0 = b.low + q->left,
        .at = (ih * g->W + iw) * g->I,
        .kernel = (a.kernel0 + a.period * (a.T - 1)) * g->kW + b.kernel0 + b.period * (b.T - 1),
        .kernel_h = -a.period, .kernel_w = -b.period,
    };
}

/* ---- what has been written ------------------------------------------------------------------- */

void ak__conv_take_moments(const ak__correlation *q, int64_t n0, int64_t images, int64_t r0,
                           int64_t r1, ak_real *part)
{
    const ak_real *y = q->dst + n0 * q->image + r0 * q->row;
    const int64_t pixels = (r1 - r0) * q->row / q->pixel;
    ak__moments_begin(part, y, q->pixel);
    if (pixels * q->pixel == q->image)
        ak__moments_add(part, y, images * pixels, q->pixel);
    else
        for (int64_t i = 0; i < images; i++)
            ak__moments_add(part, y + i * q->image, pixels, q->pixel);
}
