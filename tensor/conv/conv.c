/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution: chooses the way (see conv.h) and does the plain-matrix case. */
#include "tensor/conv/conv.h"

#include "tensor/conv/ways.h"

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

/* ---- the ways -------------------------------------------------------------------------------- */

typedef enum pass { FORWARD, DATA, WEIGHT, PASSES } pass;

/* src, w -> dst, and x, dy -> dw: the arguments of ak__conv_forward and ak__conv_weight. */
typedef void run_fn(const ak__conv *g, const ak_real *src, const ak_real *w, const ak_real *bias,
                    ak_real *dst, bool accumulate, void *scratch);
typedef void weight_fn(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                       bool accumulate, void *scratch);

/* How a way does the three passes. */
typedef struct way {
    run_fn    *forward, *data;
    weight_fn *weight;
    size_t   (*scratch[PASSES])(const ak__conv *g);     /* bytes; NULL: none */
    int64_t  (*parts)(const ak__conv *g);               /* see ak__conv_parts; NULL: 0 */
} way;

/* Nothing to sum up. */
static void no_forward(const ak__conv *g, const ak_real *src, const ak_real *w,
                       const ak_real *bias, ak_real *dst, bool accumulate, void *scratch)
{
    (void)g, (void)src, (void)w, (void)bias, (void)dst, (void)accumulate, (void)scratch;
}

static void no_data(const ak__conv *g, const ak_real *src, const ak_real *w, const ak_real *bias,
                    ak_real *dst, bool accumulate, void *scratch)
{
    (void)src, (void)w, (void)bias, (void)scratch;
    if (!accumulate)
        memset(dst, 0, (size_t)(g->N * g->H * g->W * g->I) * sizeof *dst);
}

static void no_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                      bool accumulate, void *scratch)
{
    (void)x, (void)dy, (void)scratch;
    if (!accumulate)
        memset(dw, 0, (size_t)(g->O * ak__conv_k(g)) * sizeof *dw);
}

static void matrix_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                           const ak_real *bias, ak_real *y, bool accumulate, void *scratch)
{
    const ak__epilogue ep = { .bias = bias };
    (void)scratch;
    ak__gemm(AK__NT, g->N * g->OH * g->OW, g->O, g->I, 1, x, g->I, w, g->I, accumulate ? 1 : 0, y,
             g->O, &ep);
}

static void matrix_data(const ak__conv *g, const ak_real *dy, const ak_real *w,
                        const ak_real *bias, ak_real *dx, bool accumulate, void *scratch)
{
    const ak__epilogue ep = { .bias = bias };
    (void)scratch;
    ak__gemm(AK__NN, g->N * g->OH * g->OW, g->I, g->O, 1, dy, g->O, w, g->I, accumulate ? 1 : 0,
             dx, g->I, &ep);
}

static void matrix_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                          bool accumulate, void *scratch)
{
    (void)scratch;
    ak__gemm(AK__TN, g->O, g->I, g->N * g->OH * g->OW, 1, dy, g->O, x, g->I, accumulate ? 1 : 0,
             dw, g->I, NULL);
}

static size_t split_forward_scratch(const ak__conv *g) { return ak__split_scratch(g, false); }
static size_t split_data_scratch(const ak__conv *g) { return ak__split_scratch(g, true); }

/* Winograd's tiles of m x m results. */
#define WINOGRAD(m)                                                                                \
    static void winograd_forward_##m(const ak__conv *g, const ak_real *x, const ak_real *w,        \
                                     const ak_real *bias, ak_real *y, bool accumulate,             \
                                     void *scratch)                                                \
    {                                                                                              \
        ak__winograd_forward(g, m, x, w, bias, y, accumulate, scratch);                            \
    }                                                                                              \
    static void winograd_data_##m(const ak__conv *g, const ak_real *dy, const ak_real *w,          \
                                  const ak_real *bias, ak_real *dx, bool accumulate,               \
                                  void *scratch)                                                   \
    {                                                                                              \
        ak__winograd_data(g, m, dy, w, bias, dx, accumulate, scratch);                             \
    }                                                                                              \
    static void winograd_weight_##m(const ak__conv *g, const ak_real *x, const ak_real *dy,        \
                                    ak_real *dw, bool accumulate, void *scratch)                   \
    {                                                                                              \
        ak__winograd_weight(g, m, x, dy, dw, accumulate, scratch);                                 \
    }                                                                                              \
    static size_t winograd_forward_scratch_##m(const ak__conv *g)                                  \
    {                                                                                              \
        return ak__winograd_scratch(g, m, false);                                                  \
    }                                                                                              \
    static size_t winograd_data_scratch_##m(const ak__conv *g)                                     \
    {                                                                                              \
        return ak__winograd_scratch(g, m, true);                                                   \
    }                                                                                              \
    static size_t winograd_weight_scratch_##m(const ak__conv *g)                                   \
    {                                                                                              \
        return ak__winograd_weight_scratch(g, m);                                                  \
    }                                                                                              \
    static int64_t winograd_parts_##m(const ak__conv *g) { return ak__winograd_parts(g, m); }
WINOGRAD(2)
WINOGRAD(4)

static const way nothing = { .forward = no_forward, .data = no_data, .weight = no_weight };
static const way matrix = {
    .forward = matrix_forward, .data = matrix_data, .weight = matrix_weight,
};
static const way depthwise = {
    .forward = ak__depthwise_forward, .data = ak__depthwise_data, .weight = ak__depthwise_weight,
    .scratch = { ak__depthwise_scratch, ak__depthwise_scratch, ak__depthwise_weight_scratch },
};
static const way split = {
    .forward = ak__split_forward, .data = ak__split_data, .weight = ak__split_weight,
    .scratch = { split_forward_scratch, split_data_scratch, ak__split_weight_scratch },
    .parts = ak__split_parts,
};
static const way winograd_2 = {
    .forward = winograd_forward_2, .data = winograd_data_2, .weight = winograd_weight_2,
    .scratch = { winograd_forward_scratch_2, winograd_data_scratch_2,
                 winograd_weight_scratch_2 },
    .parts = winograd_parts_2,
};
static const way winograd_4 = {
    .forward = winograd_forward_4, .data = winograd_data_4, .weight = winograd_weight_4,
    .scratch = { winograd_forward_scratch_4, winograd_data_scratch_4,
                 winograd_weight_scratch_4 },
    .parts = winograd_parts_4,
};
static const way direct = {
    .forward = ak__direct_forward, .data = ak__direct_data, .weight = ak__direct_weight,
    .scratch = { ak__direct_forward_scratch, ak__direct_data_scratch, ak__direct_weight_scratch },
    .parts = ak__direct_parts,
};
static const way patches = {
    .forward = ak__patches_forward, .data = ak__patches_data, .weight = ak__patches_weight,
    .scratch = { ak__patches_forward_scratch, ak__patches_data_scratch,
                 ak__patches_weight_scratch },
    .parts = ak__patches_parts,
};

/* ---- the choice ------------------------------------------------------------------------------ */

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

static const way *choose(const ak__conv *g, pass p)
{
    if (is_empty(g))
        return &nothing;
    if (ak__conv_is_matrix(g))
        return &matrix;
    if (ak__conv_is_depthwise(g))
        return &depthwise;
    /* weight gradients of stride 2 are faster by plain sums, though the forward pass is not */
    const int m = p == WEIGHT && g->sh == 2 ? 0 : ak__winograd_side(g, p == DATA);
    if (ak__split_can(g) &&
        (p == WEIGHT ? ak__split_weight_cost(g) : ak__split_cost(g, p == DATA)) <
            cost_otherwise(g, p, m))
        return &split;
    if (m)
        return m == 2 ? &winograd_2 : &winograd_4;
    return (p == DATA ? ak__direct_fits_data(g) : ak__direct_fits_forward(g)) ? &direct : &patches;
}

/* ---- the passes ------------------------------------------------------------------------------ */

static size_t scratch_of(const ak__conv *g, pass p)
{
    const way *w = choose(g, p);
    return w->scratch[p] ? w->scratch[p](g) : 0;
}

size_t ak__conv_forward_scratch(const ak__conv *g) { return scratch_of(g, FORWARD); }
size_t ak__conv_data_scratch(const ak__conv *g) { return scratch_of(g, DATA); }
size_t ak__conv_weight_scratch(const ak__conv *g) { return scratch_of(g, WEIGHT); }

int64_t ak__conv_parts(const ak__conv *g)
{
    const way *w = choose(g, FORWARD);
    return w->parts ? w->parts(g) : 0;
}

void ak__conv_forward(const ak__conv *g, const ak_real *x, const ak_real *w, const ak_real *bias,
                      ak_real *y, bool accumulate, void *scratch)
{
    choose(g, FORWARD)->forward(g, x, w, bias, y, accumulate, scratch);
}

void ak__conv_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                   ak_real *dx, bool accumulate, void *scratch)
{
    choose(g, DATA)->data(g, dy, w, bias, dx, accumulate, scratch);
}

void ak__conv_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                     bool accumulate, void *scratch)
{
    choose(g, WEIGHT)->weight(g, x, dy, dw, accumulate, scratch);
}
