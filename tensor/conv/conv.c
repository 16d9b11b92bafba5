/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution: the table of ways (see conv.h), the choice, and the plain-matrix case. */
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

/* ---- the ways -------------------------------------------------------------------------------- */

typedef enum pass { FORWARD, DATA, WEIGHT, PASSES } pass;

/* src, w -> dst, and x, dy -> dw: the arguments of ak__conv_forward and ak__conv_weight. */
typedef void run_fn(const ak__conv *g, const ak_real *src, const ak_real *w, const ak_real *bias,
                    ak_real *dst, bool accumulate, void *scratch);
typedef void weight_fn(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                       bool accumulate, void *scratch);

/* Everything about a way: when it is taken, what it needs, how it does the three passes. */
typedef struct way {
    bool     (*chosen)(const ak__conv *g, pass p);      /* unless a way before it in the table is */
    double   (*cost)(const ak__conv *g, pass p);        /* in multiplications of a product; NULL:
                                                           it is not compared with others */
    size_t   (*scratch[PASSES])(const ak__conv *g);     /* bytes; NULL: none */
    run_fn    *forward, *data;
    weight_fn *weight;
    int64_t  (*moment_parts)(const ak__conv *g);        /* ak__conv_moment_parts; NULL: 0 */
} way;

/* In the order in which they are asked. */
enum { NOTHING, MATRIX, DEPTHWISE, SPLIT, WINOGRAD_2, WINOGRAD_4, DIRECT, PATCHES };

/* The first way from place `first` on that is chosen for a pass. */
static const way *choose_from(int first, const ak__conv *g, pass p);

/* ---- nothing to sum up ----------------------------------------------------------------------- */

static bool nothing_chosen(const ak__conv *g, pass p)
{
    (void)p;
    return g->N * g->OH * g->OW == 0;
}

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

static const way nothing = {
    .chosen = nothing_chosen, .forward = no_forward, .data = no_data, .weight = no_weight,
};

/* ---- a product of matrices ------------------------------------------------------------------- */

/* The output padding of a transposed convolution makes H and W larger than what products fill. */
static bool matrix_chosen(const ak__conv *g, pass p)
{
    (void)p;
    return g->kH == 1 && g->kW == 1 && g->sh == 1 && g->sw == 1 && g->ph == 0 && g->pw == 0 &&
           g->groups == 1 && g->H == g->OH && g->W == g->OW;
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

static const way matrix = {
    .chosen = matrix_chosen, .forward = matrix_forward, .data = matrix_data,
    .weight = matrix_weight,
};

/* ---- each channel by itself ------------------------------------------------------------------ */

static bool depthwise_chosen(const ak__conv *g, pass p)
{
    (void)p;
    return g->groups > 1 && g->groups == g->I && g->groups == g->O;
}

static const way depthwise = {
    .chosen = depthwise_chosen,
    .scratch = { ak__depthwise_scratch, ak__depthwise_scratch, ak__depthwise_weight_scratch },
    .forward = ak__depthwise_forward, .data = ak__depthwise_data, .weight = ak__depthwise_weight,
};

/* ---- split numbers --------------------------------------------------------------------------- */

static double split_cost(const ak__conv *g, pass p)
{
    return p == WEIGHT ? ak__split_weight_cost(g) : ak__split_cost(g, p == DATA);
}

static bool split_chosen(const ak__conv *g, pass p)
{
    return ak__split_can(g) && split_cost(g, p) < choose_from(SPLIT + 1, g, p)->cost(g, p);
}

static size_t split_forward_scratch(const ak__conv *g) { return ak__split_scratch(g, false); }
static size_t split_data_scratch(const ak__conv *g) { return ak__split_scratch(g, true); }

static const way split = {
    .chosen = split_chosen, .cost = split_cost,
    .scratch = { split_forward_scratch, split_data_scratch, ak__split_weight_scratch },
    .forward = ak__split_forward, .data = ak__split_data, .weight = ak__split_weight,
    .moment_parts = ak__split_moment_parts,
};

/* ---- Winograd's tiles ------------------------------------------------------------------------ */

/* What Winograd's weight gradient costs, if its forward pass costs 1: more where the sums for all
 * points have no room in L2. Measured. */
#define WEIGHT_COST      1.15
#define MANY_WEIGHT_COST 1.9
#define MANY_SUMS        (2 << 20)

static double winograd_cost(const ak__conv *g, pass p, int m)
{
    const double cost = ak__winograd_cost(g, m, p == DATA);
    if (p != WEIGHT)
        return cost;
    const int64_t sums = ak__winograd_tiling(g, m, false).points * g->I * g->O;
    return cost * (sums * (int64_t)sizeof(ak_real) > MANY_SUMS ? MANY_WEIGHT_COST : WEIGHT_COST);
}

/* Weight gradients of stride 2 are faster by plain sums, though the forward pass is not. */
static int winograd_side(const ak__conv *g, pass p)
{
    return p == WEIGHT && g->sh == 2 ? 0 : ak__winograd_side(g, p == DATA);
}

/* Tiles of m x m results. */
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
    static int64_t winograd_moment_parts_##m(const ak__conv *g)                                    \
    {                                                                                              \
        return ak__winograd_moment_parts(g, m);                                                    \
    }                                                                                              \
    static bool winograd_chosen_##m(const ak__conv *g, pass p)                                     \
    {                                                                                              \
        return winograd_side(g, p) == m;                                                           \
    }                                                                                              \
    static double winograd_cost_##m(const ak__conv *g, pass p) { return winograd_cost(g, p, m); }  \
    static const way winograd_##m = {                                                              \
        .chosen = winograd_chosen_##m, .cost = winograd_cost_##m,                                  \
        .scratch = { winograd_forward_scratch_##m, winograd_data_scratch_##m,                      \
                     winograd_weight_scratch_##m },                                                \
        .forward = winograd_forward_##m, .data = winograd_data_##m, .weight = winograd_weight_##m, \
        .moment_parts = winograd_moment_parts_##m,                                                 \
    };
WINOGRAD(2)
WINOGRAD(4)

/* ---- the register tile on pixels ------------------------------------------------------------- */

/* What a multiplication of a plain weight gradient costs, if it is 1 in Winograd's products.
 * Measured. */
#define PLAIN_WEIGHT_COST 1.07

static double plain_cost(const ak__conv *g, pass p)
{
    return p == WEIGHT ? PLAIN_WEIGHT_COST * ak__conv_flops(g) / 2
                       : ak__direct_cost(g, p == DATA) * (double)g->I * (double)g->O;
}

static bool direct_chosen(const ak__conv *g, pass p)
{
    return p == DATA ? ak__direct_fits_data(g) : ak__direct_fits_forward(g);
}

static const way direct = {
    .chosen = direct_chosen, .cost = plain_cost,
    .scratch = { ak__direct_forward_scratch, ak__direct_data_scratch, ak__direct_weight_scratch },
    .forward = ak__direct_forward, .data = ak__direct_data, .weight = ak__direct_weight,
    .moment_parts = ak__direct_moment_parts,
};

/* What no other way takes. */
static bool patches_chosen(const ak__conv *g, pass p)
{
    (void)g, (void)p;
    return true;
}

static const way patches = {
    .chosen = patches_chosen, .cost = plain_cost,
    .scratch = { ak__patches_forward_scratch, ak__patches_data_scratch,
                 ak__patches_weight_scratch },
    .forward = ak__patches_forward, .data = ak__patches_data, .weight = ak__patches_weight,
    .moment_parts = ak__patches_moment_parts,
};

/* ---- the table ------------------------------------------------------------------------------- */

static const way *const ways[] = {
    [NOTHING] = &nothing, [MATRIX] = &matrix, [DEPTHWISE] = &depthwise, [SPLIT] = &split,
    [WINOGRAD_2] = &winograd_2, [WINOGRAD_4] = &winograd_4, [DIRECT] = &direct,
    [PATCHES] = &patches,
};

static const way *choose_from(int first, const ak__conv *g, pass p)
{
    const way *const *w = ways + first;
    while (!(*w)->chosen(g, p))         /* the last one always is */
        w++;
    return *w;
}

static const way *choose(const ak__conv *g, pass p)
{
    return choose_from(NOTHING, g, p);
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

int64_t ak__conv_moment_parts(const ak__conv *g)
{
    const way *w = choose(g, FORWARD);
    return w->moment_parts ? w->moment_parts(g) : 0;
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
