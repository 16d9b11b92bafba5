/* SPDX-License-Identifier: Apache-2.0 */
/* Alignment and uniformity of an embedding (Wang, Isola 2020), on unit rows. */
#include <math.h>

#include "base/base.h"
#include "base/parallel.h"
#include "eval/eval.h"
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#define BLOCK 256

double ak_eval_alignment(const ak_tensor *z1, const ak_tensor *z2)
{
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))
        return (double)NAN;
    if (ak_error(z1->ctx) != AK_OK)
        return (double)NAN;
    if (z1->shape.n != 2 || !ak_shape_equal(z1->shape, z2->shape) || z1->shape.dims[0] < 1) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        ak_fail(z1->ctx, AK_ERR_SHAPE, "alignment: z1 %s, z2 %s; expected [N, D] twice",
                ak_shape_text(z1->shape, a), ak_shape_text(z2->shape, b));
        return (double)NAN;
    }
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1];
    if (!ak__rows_finite(z1->ctx, "alignment: z1", "row", z1->data, n, d) ||
        !ak__rows_finite(z1->ctx, "alignment: z2", "row", z2->data, n, d))
        return (double)NAN;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const ak_real *u = z1->data + i * d, *v = z2->data + i * d;
        ak_real a, b;
        ak__inverse_norms(u, 1, d, &a);
        ak__inverse_norms(v, 1, d, &b);
        for (int64_t j = 0; j < d; j++) {
            const double difference = (double)(u[j] * a - v[j] * b);
            sum += difference * difference;
        }
    }
    return sum / (double)n;
}

/* Sum of exp(-2 |u_i - u_j|^2) = exp(4 cos - 4) over j > i for rows [begin, end). */
static double block_sum(const ak__cosine_rows_of *rows, int64_t n, int64_t d, int64_t begin,
                        int64_t end, ak_real *tile)
{
    const ak_real *z = rows->x, *inverse = rows->inverse;
    double sum = 0;
    for (int64_t at = begin; at < n; at += BLOCK) {
        const int64_t count = at + BLOCK < n ? BLOCK : n - at;
        ak__gemm(AK__NT, end - begin, count, d, 1, z + begin * d, d, z + at * d, d, 0,
                 tile, BLOCK, NULL);
        for (int64_t i = begin; i < end; i++)
            for (int64_t j = i + 1 > at ? i + 1 : at; j < at + count; j++)
                sum += exp(4 * ((double)(tile[(i - begin) * BLOCK + j - at] * inverse[i] *
                                         inverse[j]) - 1));
    }
    return sum;
}

double ak_eval_uniformity(const ak_tensor *z)
{
    if (!AK__TENSOR(NULL, z))
        return (double)NAN;
    if (ak_error(z->ctx) != AK_OK)
        return (double)NAN;
    if (z->shape.n != 2 || z->shape.dims[0] < 2) {
        char text[AK_SHAPE_TEXT];
        ak_fail(z->ctx, AK_ERR_SHAPE, "uniformity: z %s; expected [N, D] with N >= 2",
                ak_shape_text(z->shape, text));
        return (double)NAN;
    }
    const int64_t n = z->shape.dims[0], d = z->shape.dims[1], blocks = ak__chunk_count(n, BLOCK);
    if (!ak__rows_finite(z->ctx, "uniformity", "row", z->data, n, d))
        return (double)NAN;
    const ak_mark mark = ak_mark_step(z->ctx);
    ak__cosine_rows_of rows;
    double  *sums = ak__step_alloc(z->ctx, (size_t)blocks * sizeof *sums);
    ak_real *tiles = ak__step_alloc(z->ctx, (size_t)ak__max_threads() * BLOCK * BLOCK *
                                                sizeof *tiles);
    if (!sums || !tiles || !ak__cosine_rows(z->ctx, z->data, n, d, &rows))
        return (double)NAN;
    AK__PARALLEL_FOR_DYNAMIC(b, blocks, blocks > 1) {
        const int64_t begin = b * BLOCK, end = begin + BLOCK < n ? begin + BLOCK : n;
        sums[b] = block_sum(&rows, n, d, begin, end,
                            tiles + (size_t)ak__thread_id() * BLOCK * BLOCK);
    }
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++)
        sum += sums[b];
    ak__cosine_rows_free(&rows);
    ak_release(z->ctx, mark);
    return log(sum / ((double)n * (double)(n - 1) / 2));
}
