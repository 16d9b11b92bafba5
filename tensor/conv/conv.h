/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of channels-last pictures, its two gradients, and what chooses between the ways.
 *
 * Six ways, chosen from the geometry and what the processor has:
 *   matrix     1x1, stride 1, no padding: a plain product (gemm.c)
 *   depthwise  one input and one output channel a group: loops over channels
 *   direct     the register tile reads pictures where they are: for a kernel row, position
 *              k = (kw, channel) of the patch lies k behind the pixel's first, and the rows of the
 *              tile are one place in several images, or pixels of a row of few (padded) images, so
 *              nothing is gathered (direct.c, direct_weight.c)
 *   Winograd   3x3, stride 1 or 2, 16 channels or more, where its tiles of 4x4 (or 2x2) results
 *              save multiplications: a quarter to 0.56 of them are left, with larger rounding
 *              errors. Maps that 4 does not divide end in tiles of 3 (winograd.c,
 *              winograd_weight.c). Not if `exact`, nor for weight gradients of stride 2,
 *              where plain sums are faster
 *   split      where there is a matrix unit (level amx) and it is faster than the others: every
 *              float as three bfloat16, the sums more exact than plain ones (split.c,
 *              split_weight.c)
 *   patches    few channels or very narrow maps: patches of a block of pixels are gathered into
 *              a cache-sized buffer (patches.c)
 *
 * Numbers of Winograd's and of the split way can overflow where results do not; such results, and
 * what is infinite, are made by plain sums (plain.c).
 *
 * Nothing is allocated here: each pass says how much scratch it needs. Sums are cut by the shape
 * alone, so results have the same bits for any number of threads. A sequence is a picture of
 * height 1. The transposed convolution is the data gradient run forward, and the reverse.
 */
#ifndef AK_CONV_H
#define AK_CONV_H

#include <akin/core.h>

typedef struct ak__conv {
    int64_t N, H, W, I;         /* x [N, H, W, I] */
    int64_t OH, OW, O;          /* y [N, OH, OW, O] */
    int64_t kH, kW;             /* w [O, kH, kW, I/groups] */
    int64_t sh, sw;             /* stride */
    int64_t ph, pw;             /* zeros on each side */
    int64_t dh, dw;             /* dilation */
    int64_t groups;
    bool    exact;              /* no Winograd */
    ak_real *moments;           /* of y, where the forward pass is to take them; else NULL */
} ak__conv;

/* Output extent of one axis; < 1 if the kernel is larger than the padded input. */
int64_t ak__conv_extent(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                        int64_t dilation);
/* Multiply-adds times two. */
double ak__conv_flops(const ak__conv *g);

/* y = (accumulate: y +) x * w + bias.  bias [O] or NULL. */
size_t ak__conv_forward_scratch(const ak__conv *g);
void   ak__conv_forward(const ak__conv *g, const ak_real *x, const ak_real *w,
                        const ak_real *bias, ak_real *y, bool accumulate, void *scratch);

/* So many parts of y's pixels (moments.h) does the forward pass fill in `moments`, [parts]
 * [3 O + 1], while their values are in the cache; 0: none, this way writes y in other pieces. */
int64_t ak__conv_moment_parts(const ak__conv *g);

/* dx = (accumulate: dx +) the transpose of the convolution applied to dy, + bias.
 * bias [I] or NULL (used by the transposed convolution). */
size_t ak__conv_data_scratch(const ak__conv *g);
void   ak__conv_data(const ak__conv *g, const ak_real *dy, const ak_real *w, const ak_real *bias,
                     ak_real *dx, bool accumulate, void *scratch);

/* dw = (accumulate: dw +) sum over pixels of dy (outer) patch. */
size_t ak__conv_weight_scratch(const ak__conv *g);
void   ak__conv_weight(const ak__conv *g, const ak_real *x, const ak_real *dy, ak_real *dw,
                       bool accumulate, void *scratch);

#endif
