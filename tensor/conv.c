/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution: chooses the way (see conv.h) and does the plain-matrix case. */
#include "tensor/conv.h"

#include "tensor/conv_paths.h"

int64_t ak__conv_extent(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                        int64_t dilation)
{
    const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

double ak__conv_flops(const ak__conv *g)
{
    return 2.0 * (double)(g->N * g->OH * g->OW) * (double)g->O * (double)ak__conv_k(g);
}

static bool is_empty(const ak__conv *g)
{
    return g->N * g->OH * g->OW == 0;
}

/* ---- the passes ------------------------------------------------------------------------------ */

size_t ak__conv_forward_scratch(const ak__conv *g)
{
    if (is_empty(g) || ak__conv_is_matrix(g))
        return 0;
    if (ak__conv_is_depthwise(g))
        return ak__depthwise_scratch(g);
    const int m = ak__winograd_side(g, false);
    if (m)
        return ak__winograd_scratch(g, m, false);
    return ak__direct_fits_forward(g) ? ak__direct_forward_scratch(g)
                                      : ak__patches_forward_scratch(g);
}

void ak__conv_forward(const ak__conv *g, const ak_real *x, const ak_real *w, const ak_real *bias,
                      ak_real *y, bool accumulate, void *scratch)
{
    const int m = ak__winograd_side(g, false);
    if (is_empty(g))
        return;
    if (ak__conv_is_matrix(g)) {
        const ak__epilogue ep = { .bias = bias };
        ak__gemm(AK__NT, g->N * g->OH * g->OW, g->O, g->I, 1, x, g->I, w, g->I, accumulate ? 1 : 0,
                 y, g->O, &ep);
    } else if (ak__conv_is_depthwise(g)) {
        ak__depthwise_forward(g, x, w, bias, y, accumulate, scratch);
    } else if (m) {
        ak__winograd_forward(g, m, x, w, bias, y, accumulate, scratch);
    } else if (ak__direct_fits_forward(g)) {
        ak__direct_forward(g, x, w, bias, y, accumulate, scratch);
    } else {
        ak__patches_forward(g, x, w, bias, y, accumulate, scratch);
    }
}

size_t ak__conv_data_scratch(const ak__conv *g)
{
    if (is_empty(g) || ak__conv_is_matrix(g))
        return 0;
    if (ak__conv_is_depthwise(g))
        return ak__depthwise_scratch(g);
    const int m = ak__winograd_side(g, true);
    if (m)
        return ak__winograd_scratch(g, m, true);
    return ak__direct_fits_data(g) ? ak__direct_data_scratch(g) : ak__patches_data_scratch(g);
}

void ak__conv_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                   ak_real *dx, bool accumulate, void *scratch)
{
    const int m = ak__winograd_side(g, true);
    if (is_empty(g)) {
        if (!accumulate)
            memset(dx, 0, (size_t)(g->N * g->H * g->W * g->I) * sizeof *dx);
    } else if (ak__conv_is_matrix(g)) {
        const ak__epilogue ep = { .bias = bias };
        ak__gemm(AK__NN, g->N * g->OH * g->OW, g->I, g->O, 1, dy, g->O, w, g->I,
                 accumulate ? 1 : 0, dx, g->I, &ep);
    } else if (ak__conv_is_depthwise(g)) {
        ak__depthwise_data(g, dy, w, bias, dx, accumulate, scratch);
    } else if (m) {
        ak__winograd_data(g, m, dy, w, bias, dx, accumulate, scratch);
    } else if (ak__direct_fits_data(g)) {
        ak__direct_data(g, dy, w, bias, dx, accumulate, scratch);
    } else {
        ak__patches_data(g, dy, w, bias, dx, accumulate, scratch);
    }
}

size_t ak__conv_weight_scratch(const ak__conv *g)
{
    if (is_empty(g) || ak__conv_is_matrix(g))
        return 0;
    if (ak__conv_is_depthwise(g))
        return ak__depthwise_weight_scratch(g);
    const int m = ak__winograd_side(g, false);
    if (m)
        return ak__winograd_weight_scratch(g, m);
    return ak__direct_fits_forward(g) ? ak__direct_weight_scratch(g)
                                      : ak__patches_weight_scratch(g);
}

void ak__conv_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                     bool accumulate, void *scratch)
{
    const int m = ak__winograd_side(g, false);
    if (is_empty(g)) {
        if (!accumulate)
            memset(dw, 0, (size_t)(g->O * ak__conv_k(g)) * sizeof *dw);
    } else if (ak__conv_is_matrix(g)) {
        ak__gemm(AK__TN, g->O, g->I, g->N * g->OH * g->OW, 1, dy, g->O, x, g->I,
                 accumulate ? 1 : 0, dw, g->I, NULL);
    } else if (ak__conv_is_depthwise(g)) {
        ak__depthwise_weight(g, x, dy, dw, accumulate, scratch);
    } else if (m) {
        ak__winograd_weight(g, m, x, dy, dw, accumulate, scratch);
    } else if (ak__direct_fits_forward(g)) {
        ak__direct_weight(g, x, dy, dw, accumulate, scratch);
    } else {
        ak__patches_weight(g, x, dy, dw, accumulate, scratch);
    }
}
