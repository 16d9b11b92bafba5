/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive accuracy: how often a row finds its partner among all rows of a batch. */
#include <math.h>

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
        char a[96], b[96];
        ak_fail(z1->ctx, AK_ERR_SHAPE, "contrastive accuracy: z1 %s, z2 %s; expected [N, D] twice",
                ak_shape_text(z1->shape, a), ak_shape_text(z2->shape, b));
        return (double)NAN;
    }
    const int64_t n = z1->shape.dims[0], d = z1->shape.dims[1], rows = 2 * n;
    const ak_mark mark = ak_mark_step(z1->ctx);
    ak_real *inverse = ak__step_alloc(z1->ctx, (size_t)rows * sizeof *inverse);
    ak_real *score = ak__step_alloc(z1->ctx, (size_t)(n * rows) * sizeof *score);
    if (!inverse || !score)
        return (double)NAN;
    ak__inverse_norms(z1->data, n, d, inverse);
    ak__inverse_norms(z2->data, n, d, inverse + n);
    int64_t right = 0;
    for (int half = 0; half < 2; half++) {      /* rows of z1, then of z2, against all */
        const ak_real *x = half ? z2->data : z1->data;
        ak__gemm(AK__NT, n, n, d, 1, x, d, z1->data, d, 0, score, rows, NULL);
        ak__gemm(AK__NT, n, n, d, 1, x, d, z2->data, d, 0, score + n, rows, NULL);
        for (int64_t i = 0; i < n; i++)
            right += best_match(score + i * rows, inverse, rows, half * n + i) ==
                     (half ? i : n + i);
    }
    ak_release(z1->ctx, mark);
    return (double)right / (double)rows;
}
