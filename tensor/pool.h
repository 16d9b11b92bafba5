/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling and bilinear resizing of channels-last pictures (pool.c). All loops are parallel over
 * images or output rows, so results have the same bits for any number of threads. */
#ifndef AK_POOL_H
#define AK_POOL_H

#include <akin/core.h>

typedef struct ak__pool2d {
    int64_t N, H, W, C;         /* x */
    int64_t OH, OW;             /* y [N, OH, OW, C] */
    int64_t kernel, stride, padding;
} ak__pool2d;

/* Worth waking threads? */
static inline bool ak__pool_is_big(const ak__pool2d *g)
{
    return g->N * g->C * (g->H * g->W + g->OH * g->OW) > 65536;
}

/* Largest of each window; padding never wins. place (NULL = not wanted) gets h*W + w of the first
 * largest, [N, OH, OW, C]. A NaN in the window is the result. */
void ak__max_pool(const ak__pool2d *g, const ak_real *x, ak_real *y, int32_t *place);
void ak__max_pool_backward(const ak__pool2d *g, const ak_real *dy, const int32_t *place,
                           ak_real *dx, bool fresh);
/* Mean over kernel*kernel positions, zeros outside counted. The error of a mean does not grow with
 * the window, here and below. */
void ak__avg_pool(const ak__pool2d *g, const ak_real *x, ak_real *y);
void ak__avg_pool_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh);

/* Window i of an axis: [floor(i size / out), ceil((i+1) size / out)); kernel etc. are not used. */
void ak__adaptive_pool(const ak__pool2d *g, const ak_real *x, ak_real *y);
void ak__adaptive_pool_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh);

/* Bilinear with half-pixel centres. */
void ak__resize(const ak__pool2d *g, const ak_real *x, ak_real *y);
void ak__resize_backward(const ak__pool2d *g, const ak_real *dy, ak_real *dx, bool fresh);

#endif
