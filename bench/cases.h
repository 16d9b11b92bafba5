/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix products and convolutions that are measured, alone (bench_gemm, bench_conv) and beside
 * a peer (bench_serve). */
#ifndef AK_BENCH_CASES_H
#define AK_BENCH_CASES_H

#include "tensor/conv/conv.h"
#include "tensor/gemm.h"

/* ---- C[M,N] = op(A) op(B) ------------------------------------------------------------------- */

typedef struct gemm_case { int64_t M, N, K; } gemm_case;

static const gemm_case gemm_cases[] = {
    { 512, 512, 512 },    { 1024, 1024, 1024 }, { 2048, 2048, 2048 }, { 64, 64, 64 },
    { 128, 128, 128 },    { 256, 256, 256 },    { 4096, 4096, 128 },  { 8192, 64, 576 },
    { 128, 512, 512 },    { 256, 128, 128 },    { 512, 128, 2048 },   { 256, 256, 64 },
    { 50176, 64, 288 },
};
#define GEMM_CASES ((int)(sizeof gemm_cases / sizeof gemm_cases[0]))

/* By ak__gemm_form. */
static const char *const gemm_forms[] = { "nn", "nt", "tn" };

static inline double gemm_flops(const gemm_case *c)
{
    return 2 * (double)c->M * (double)c->N * (double)c->K;
}

static inline void gemm_run(const gemm_case *c, ak__gemm_form form, const ak_real *A,
                            const ak_real *B, ak_real *C)
{
    ak__gemm(form, c->M, c->N, c->K, 1, A, form == AK__TN ? c->M : c->K, B,
             form == AK__NT ? c->K : c->N, 0, C, c->N, NULL);
}

/* ---- convolution ---------------------------------------------------------------------------- */

typedef struct conv_case {
    const char *name;
    int64_t N, side, I, O, kernel, stride, padding, groups;
} conv_case;

static const conv_case conv_cases[] = {
    { "3x3 s1 32->32 28px n128", 128, 28, 32, 32, 3, 1, 1, 1 },
    { "3x3 s1 64->64 16px n128", 128, 16, 64, 64, 3, 1, 1, 1 },
    { "3x3 s1 128->128 8px n128", 128, 8, 128, 128, 3, 1, 1, 1 },
    { "3x3 s1 256->256 4px n128", 128, 4, 256, 256, 3, 1, 1, 1 },
    { "3x3 s1 64->64 32px n128", 128, 32, 64, 64, 3, 1, 1, 1 },
    { "3x3 s1 512->512 4px n128", 128, 4, 512, 512, 3, 1, 1, 1 },
    { "3x3 s2 64->128 16px n128", 128, 16, 64, 128, 3, 2, 1, 1 },
    { "1x1 64->128 16px n128", 128, 16, 64, 128, 1, 1, 0, 1 },
    { "7x7 s2 3->64 64px n32", 32, 64, 3, 64, 7, 2, 3, 1 },
    { "depthwise 3x3 64 28px n128", 128, 28, 64, 64, 3, 1, 1, 64 },
    { "3x3 s1 1->32 28px n256", 256, 28, 1, 32, 3, 1, 1, 1 },
    { "3x3 s1 3->64 32px n256", 256, 32, 3, 64, 3, 1, 1, 1 },
    { "3x3 s2 32->64 28px n512", 512, 28, 32, 64, 3, 2, 1, 1 },
    { "3x3 s2 64->128 14px n512", 512, 14, 64, 128, 3, 2, 1, 1 },
    { "3x3 s2 64->128 32px n256", 256, 32, 64, 128, 3, 2, 1, 1 },
    { "3x3 s2 128->256 16px n256", 256, 16, 128, 256, 3, 2, 1, 1 },
    { "3x3 s2 256->512 8px n256", 256, 8, 256, 512, 3, 2, 1, 1 },
    { "3x3 s1 128->128 14px n128", 128, 14, 128, 128, 3, 1, 1, 1 },
    { "3x3 s1 256->256 7px n128", 128, 7, 256, 256, 3, 1, 1, 1 },
};
#define CONV_CASES ((int)(sizeof conv_cases / sizeof conv_cases[0]))
/* The first so many are rows of the comparison. */
#define CONV_COMPARED 12

static inline ak__conv conv_geometry(const conv_case *c)
{
    const int64_t out = ak__conv_extent(c->side, c->kernel, c->stride, c->padding, 1);
    return (ak__conv){ .N = c->N, .H = c->side, .W = c->side, .I = c->I, .OH = out, .OW = out,
                       .O = c->O, .kH = c->kernel, .kW = c->kernel, .sh = c->stride,
                       .sw = c->stride, .ph = c->padding, .pw = c->padding, .dh = 1, .dw = 1,
                       .groups = c->groups };
}

typedef enum conv_pass { CONV_FORWARD, CONV_DATA, CONV_WEIGHT, CONV_PASSES } conv_pass;
static const char *const conv_pass_names[] = { "forward", "data", "weight" };

static inline int64_t conv_size_x(const ak__conv *g) { return g->N * g->H * g->W * g->I; }
static inline int64_t conv_size_y(const ak__conv *g) { return g->N * g->OH * g->OW * g->O; }
static inline int64_t conv_size_w(const ak__conv *g)
{
    return g->O * g->kH * g->kW * g->I / g->groups;
}

/* Operands x, w, dy; results y, dx, dw. Those that a pass does not touch may be NULL. */
typedef struct conv_arrays {
    const ak_real *x, *w, *dy;
    ak_real       *y, *dx, *dw;
    void          *scratch;         /* conv_scratch() bytes */
} conv_arrays;

static inline size_t conv_scratch(const ak__conv *g)
{
    const size_t f = ak__conv_forward_scratch(g), d = ak__conv_data_scratch(g);
    const size_t w = ak__conv_weight_scratch(g), most = f > d ? f : d;
    return most > w ? most : w;
}

static inline void conv_run(const ak__conv *g, conv_pass pass, const conv_arrays *a)
{
    if (pass == CONV_FORWARD)
        ak__conv_forward(g, a->x, a->w, NULL, a->y, false, a->scratch);
    else if (pass == CONV_DATA)
        ak__conv_data(g, a->dy, a->w, NULL, a->dx, false, a->scratch);
    else
        ak__conv_weight(g, a->x, a->dy, a->dw, false, a->scratch);
}

#endif
