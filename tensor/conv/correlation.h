/* SPDX-License-Identifier: Apache-2.0 */
/* Both passes that make pictures as one thing: the forward pass of a convolution is a correlation
 * of x, its data gradient of stride s is s s correlations of dy, one for each residue of the
 * position (its phases), so that no multiplication by an inserted zero happens. direct.c multiplies
 * by it where the source lies, split.c and split_weight.c after laying it out anew (planes.h). */
#ifndef AK_CONV_CORRELATION_H
#define AK_CONV_CORRELATION_H

#include "tensor/conv/conv.h"

/* One set of output pixels: dst(jh, jw) = sum over taps of src(h0 + jh step_h + th tap_h, ...). */
typedef struct ak__phase {
    int64_t  JH, JW, TH, TW;
    int64_t  h0, w0;            /* in the padded source */
    int64_t  at;                /* first pixel, from the start of an image of dst */
    int64_t  kernel;            /* place kh kW + kw in the kernel of the first tap, and how far */
    int64_t  kernel_h, kernel_w;        /* it is to that of the next row and column of taps */
    ak_real *packed;            /* [groups][panels][TH TW Cg][nr] */
} ak__phase;

typedef struct ak__correlation {
    const ak_real *src;         /* [N, SH, SW, SC] */
    int64_t  N, SH, SW, SC;
    int64_t  top, left;         /* zeros before the source; negative: so many rows are skipped */
    int64_t  PH, PW;            /* extent with zeros */
    ak_real *dst;
    int64_t  image, row, pixel; /* strides of dst in elements */
    int64_t  groups, Cg, Dg;    /* channels of a group in src and dst */
    int64_t  step_h, step_w, tap_h, tap_w;
    const ak_real *bias;
    bool     accumulate;
    int64_t  phases;
    ak__phase *phase;
    ak_real *moments;           /* of dst, a part for each block that is written; NULL: none */
} ak__correlation;

/* Both passes as correlations without src, dst and weights. The phases of the data gradient are
 * made one by one; there are q->phases. */
ak__correlation ak__forward_plan(const ak__conv *g, ak__phase *phase);
ak__correlation ak__data_plan(const ak__conv *g);
ak__phase       ak__data_phase(const ak__conv *g, const ak__correlation *q, int64_t p);
/* The place in the kernel of tap (th, tw). */
static inline int64_t ak__conv_tap(const ak__conv *g, const ak__phase *f, int64_t th, int64_t tw)
{
    return f->kernel + th * f->kernel_h * g->kW + tw * f->kernel_w;
}

/* Moments of rows [r0, r1) of some images of dst, which have just been written. */
void   ak__conv_take_moments(const ak__correlation *q, int64_t n0, int64_t images, int64_t r0,
                             int64_t r1, ak_real *part);

#endif
