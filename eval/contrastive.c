/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive accuracy: how often a row finds its partner among all rows of a batch. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "eval/eval.h"
#include "tensor/gemm.h"
#include "tensor/tensor_internal.h"

/* Cosine with positive factors taken out: the row's own norm does not change its order. */
static int64_t best_match(const ak_real *score, const ak_real *inverse, int64_t rows, int64_t self)
{
    int64_t best = -1;
    ak_real top = 0;
    for (int64_t j = 0; j < rows; j++) {
        const ak_real s = score[j] * inverse[j];
        if (j != self && (best < 0 || s > top)) {
            best = j;
            top = s;
        }
    }
    return best;
}

double ak_eval_contrastive(const ak_tensor *z1, const ak_tensor *z2)
{
    if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))
        return (double)NAN;
    if (ak_error(z1->ctx) != AK_OK)
        return (double)NAN;
    if (z1->shape.n != 2 || !ak_shape_equal(z1->shape, z2->shape) || z1->shape.dims[0] < 1) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        ak_fail(z1->ctx, AK_ERR_SHAPE, "contrastive accuracy: z1 %s, z2 %s; expected [N, D] twice",
                ak_shape_text(z1->shape, a), ak_shape_text(z2->shape, b));
        return (double)NAN;
    }
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1], rows = 2 * n;
    if (!ak__rows_finite(z1->ctx, "contrastive accuracy: z1", "row", z1->data, n, d) ||
        !ak__rows_finite(z1->ctx, "contrastive accuracy: z2", "row", z2->data, n, d))
        return (double)NAN;
    const ak_mark mark = ak_mark_step(z1->ctx);
    ak_real *score = ak__step_alloc(z1->ctx, (size_t)(n * rows) * sizeof *score);
    ak_real *inverse = ak__step_alloc(z1->ctx, (size_t)rows * sizeof *inverse);
    ak__cosine_rows_of half[2] = { 0 };
    if (!score || !inverse || !ak__cosine_rows(z1->ctx, z1->data, n, d, &half[0]) ||
        !ak__cosine_rows(z1->ctx, z2->data, n, d, &half[1])) {
        ak__cosine_rows_free(&half[0]);
        return (double)NAN;
    }
    for (int h = 0; h < 2; h++)
        memcpy(inverse + h * n, half[h].inverse, (size_t)n * sizeof *inverse);
    int64_t right = 0;
    for (int h = 0; h < 2; h++) {               /* rows of z1, then of z2, against all */
        for (int other = 0; other < 2; other++)
            ak__gemm(AK__NT, n, n, d, 1, half[h].x, d, half[other].x, d, 0, score + other * n,
                     rows, NULL);
        for (int64_t i = 0; i < n; i++)
            right += best_match(score + i * rows, inverse, rows, h * n + i) == (h ? i : n + i);
    }
    ak__cosine_rows_free(&half[1]);
    ak__cosine_rows_free(&half[0]);
    ak_release(z1->ctx, mark);
    return (double)right / (double)rows;
}
