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

/* ---- the choice ------------------------------------------------------------------------------ */

typedef enum way { NOTHING, MATRIX, DEPTHWISE, SPLIT, WINOGRAD, DIRECT, PATCHES } way;
typedef enum pass { FORWARD, DATA, WEIGHT } pass;

typedef struct choice {
    way way;
    int m;                      /* side of Winograd's tiles */
} choice;

/* What a multiplication of a plain weight gradient costs, if it is 1 in Winograd's products; and
 * what Winograd's weight gradient costs, if its forward pass costs 1: more where the sums for all
 * points have no room in L2. Measured. */
#define PLAIN_WEIGHT_COST 1.07
#define WEIGHT_COST       1.15
#define MANY_WEIGHT_COST  1.9
#define MANY_SUMS         (2 << 20)

/* Of a pass by Winograd's tiles (m > 0) or a plain way, in multiplications. */
static double cost_otherwise(const ak__conv *g, pass p, int m)
{
    if (m == 0 && p == WEIGHT)
        return PLAIN_WEIGHT_COST * ak__conv_flops(g) / 2;
    if (m == 0)
        return ak__direct_cost(g, p == DATA) * (double)g->I * (double)g->O;
    const double cost = ak__winograd_cost(g, m, p == DATA);
    if (p != WEIGHT)
        return cost;
    const int64_t sums = ak__winograd_tiling(g, m, false).points * g->I * g->O;
    return cost * (sums * (int64_t)sizeof(ak_real) > MANY_SUMS ? MANY_WEIGHT_COST : WEIGHT_COST);
}

static choice choose(const ak__conv *g, pass p)
{
    if (is_empty(g))
        return (choice){ .way = NOTHING };
    if (ak__conv_is_matrix(g))
        return (choice){ .way = MATRIX };
    if (ak__conv_is_depthwise(g))
        return (choice){ .way = DEPTHWISE };
    /* weight gradients of stride 2 are faster by plain sums, though the forward pass is not */
    const int m = p == WEIGHT && g->sh == 2 ? 0 : ak__winograd_side(g, p == DATA);
    if (ak__split_can(g) &&
        (p == WEIGHT ? ak__split_weight_cost(g) : ak__split_cost(g, p == DATA)) <
            cost_otherwise(g, p, m))
        return (choice){ .way = SPLIT };
    if (m)
        return (choice){ .way = WINOGRAD, .m = m };
    const bool direct = p == DATA ? ak__direct_fits_data(g) : ak__direct_fits_forward(g);
    return (choice){ .way = direct ? DIRECT : PATCHES };
}

/* ---- the passes ------------------------------------------------------------------------------ */

size_t ak__conv_forward_scratch(const ak__conv *g)
{
    const choice c = choose(g, FORWARD);
    switch (c.way) {
    case NOTHING:   return 0;
    case MATRIX:    return 0;
    case DEPTHWISE: return ak__depthwise_scratch(g);
    case SPLIT:     return ak__split_scratch(g, false);
    case WINOGRAD:  return ak__winograd_scratch(g, c.m, false);
    case DIRECT:    return ak__direct_forward_scratch(g);
    case PATCHES:   return ak__patches_forward_scratch(g);
    }
    return 0;
}

static void matrix_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate)
{
    const ak__epilogue ep = { .bias = bias };
    ak__gemm(AK__NT, g->N * g->OH * g->OW, g->O, g->I, 1, x, g->I, w, g->I, accumulate ? 1 : 0, y,
             g->O, &ep);
}

void ak__conv_forward(const ak__conv *g, const ak_real *x, const ak_real *w, const ak_real *bias,
                      ak_real *y, bool accumulate, void *scratch)
{
    const choice c = choose(g, FORWARD);
    switch (c.way) {
    case NOTHING:   return;
    case MATRIX:    matrix_forward(g, x, w, bias, y, accumulate); return;
    case DEPTHWISE: ak__depthwise_forward(g, x, w, bias, y, accumulate, scratch); return;
    case SPLIT:     ak__split_forward(g, x, w, bias, y, accumulate, scratch); return;
    case WINOGRAD:  ak__winograd_forward(g, c.m, x, w, bias, y, accumulate, scratch); return;
    case DIRECT:    ak__direct_forward(g, x, w, bias, y, accumulate, scratch); return;
    case PATCHES:   ak__patches_forward(g, x, w, bias, y, accumulate, scratch); return;
    }
}

int64_t ak__conv_parts(const ak__conv *g)
{
    const choice c = choose(g, FORWARD);
    switch (c.way) {
    case NOTHING:   return 0;
    case MATRIX:    return 0;
    case DEPTHWISE: return 0;
    case SPLIT:     return ak__split_parts(g);
    case WINOGRAD:  return ak__winograd_parts(g, c.m);
    case DIRECT:    return ak__direct_parts(g);
    case PATCHES:   return ak__patches_parts(g);
    }
    return 0;
}

size_t ak__conv_data_scratch(const ak__conv *g)
{
    const choice c = choose(g, DATA);
    switch (c.way) {
    case NOTHING:   return 0;
    case MATRIX:    return 0;
    case DEPTHWISE: return ak__depthwise_scratch(g);
    case SPLIT:     return ak__split_scratch(g, true);
    case WINOGRAD:  return ak__winograd_scratch(g, c.m, true);
    case DIRECT:    return ak__direct_data_scratch(g);
    case PATCHES:   return ak__patches_data_scratch(g);
    }
    return 0;
}

static void matrix_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate)
{
    const ak__epilogue ep = { .bias = bias };
    ak__gemm(AK__NN, g->N * g->OH * g->OW, g->I, g->O, 1, dy, g->O, w, g->I, accumulate ? 1 : 0,
             dx, g->I, &ep);
}

void ak__conv_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                   ak_real *dx, bool accumulate, void *scratch)
{
    const choice c = choose(g, DATA);
    switch (c.way) {
    case NOTHING:
        if (!accumulate)
            memset(dx, 0, (size_t)(g->N * g->H * g->W * g->I) * sizeof *dx);
        return;
    case MATRIX:    matrix_data(g, dy, w, bias, dx, accumulate); return;
    case DEPTHWISE: ak__depthwise_data(g, dy, w, bias, dx, accumulate, scratch); return;
    case SPLIT:     ak__split_data(g, dy, w, bias, dx, accumulate, scratch); return;
    case WINOGRAD:  ak__winograd_data(g, c.m, dy, w, bias, dx, accumulate, scratch); return;
    case DIRECT:    ak__direct_data(g, dy, w, bias, dx, accumulate, scratch); return;
    case PATCHES:   ak__patches_data(g, dy, w, bias, dx, accumulate, scratch); return;
    }
}

size_t ak__conv_weight_scratch(const ak__conv *g)
{
    const choice c = choose(g, WEIGHT);
    switch (c.way) {
    case NOTHING:   return 0;
    case MATRIX:    return 0;
    case DEPTHWISE: return ak__depthwise_weight_scratch(g);
    case SPLIT:     return ak__split_weight_scratch(g);
    case WINOGRAD:  return ak__winograd_weight_scratch(g, c.m);
    case DIRECT:    return ak__direct_weight_scratch(g);
    case PATCHES:   return ak__patches_weight_scratch(g);
    }
    return 0;
}

void ak__conv_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                     bool accumulate, void *scratch)
{
    const choice c = choose(g, WEIGHT);
    switch (c.way) {
    case NOTHING:
        if (!accumulate)
            memset(dw, 0, (size_t)(g->O * ak__conv_k(g)) * sizeof *dw);
        return;
    case MATRIX:
        ak__gemm(AK__TN, g->O, g->I, g->N * g->OH * g->OW, 1, dy, g->O, x, g->I,
                 accumulate ? 1 : 0, dw, g->I, NULL);
        return;
    case DEPTHWISE: ak__depthwise_weight(g, x, dy, dw, accumulate, scratch); return;
    case SPLIT:     ak__split_weight(g, x, dy, dw, accumulate, scratch); return;
    case WINOGRAD:  ak__winograd_weight(g, c.m, x, dy, dw, accumulate, scratch); return;
    case DIRECT:    ak__direct_weight(g, x, dy, dw, accumulate, scratch); return;
    case PATCHES:   ak__patches_weight(g, x, dy, dw, accumulate, scratch); return;
    }
}
