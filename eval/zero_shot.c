/* SPDX-License-Identifier: Apache-2.0 */
/* Classes named by words: the mean direction of the prompts of each. */
#include <akin/eval_classes.h>

#include "base/base.h"
#include "eval/eval.h"
#include "tensor/gemm.h"
#include "tensor/tensor_internal.h"

/* w[c] = sum of the unit prompts of class c, whose length does not count. */
static void add_prompts(const ak__cosine_rows_of *prompts, int64_t rows, int64_t d, int templates,
                        ak_real *w)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < d; j++)
            w[r / templates * d + j] += prompts->x[r * d + j] * prompts->inverse[r];
}

static bool check(ak_ctx *ctx, const ak_tensor *x, const ak_tensor *prompts, int templates)
{
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    if (x->shape.n != 2 || prompts->shape.n != 2 || x->size == 0 || prompts->size == 0 ||
        x->shape.dims[1] != prompts->shape.dims[1]) {
        ak_fail(ctx, AK_ERR_SHAPE, "zero-shot: x %s, prompts %s; expected [N, D] and [C T, D]",
                ak_shape_text(x->shape, a), ak_shape_text(prompts->shape, b));
        return false;
    }
    const int64_t rows = prompts->shape.dims[0], d = x->shape.dims[1];
    if (templates < 1 || rows % templates != 0) {
        ak_fail(ctx, AK_ERR_VALUE, "zero-shot: %d templates of %lld prompts; expected a divisor of "
                "their number", templates, (long long)rows);
        return false;
    }
    return ak__rows_finite(ctx, "zero-shot: x", "row", x->data, x->shape.dims[0], d) &&
           ak__rows_finite(ctx, "zero-shot: prompts", "row", prompts->data, rows, d);
}

/* Products of rows and classes into cosines. */
static void scale(ak_tensor *y, const ak_real *row, const ak_real *column)
{
    const int64_t C = y->shape.dims[1];
    for (int64_t i = 0; i < y->size; i++)
        y->data[i] *= row[i / C] * column[i % C];
}

ak_tensor *ak_zero_shot_scores(const ak_tensor *x, const ak_tensor *prompts, int templates)
{
    if (!AK__TENSOR(NULL, x) || !AK__TENSOR(x->ctx, prompts) || ak_error(x->ctx) != AK_OK ||
        !check(x->ctx, x, prompts, templates))
        return &ak__poison;
    ak_ctx *ctx = x->ctx;
    const int64_t n = x->shape.dims[0], d = x->shape.dims[1], rows = prompts->shape.dims[0];
    const int64_t C = rows / templates;
    ak_tensor *y = ak_zeros(ctx, AK_SHAPE(n, C)), *w = ak_zeros(ctx, AK_SHAPE(C, d));
    ak__cosine_rows_of of_prompts = { 0 }, of_x = { 0 }, of_w = { 0 };
    bool good = !ak_is_poison(y) && !ak_is_poison(w) &&
                ak__cosine_rows(ctx, prompts->data, rows, d, &of_prompts);
    if (good)
        add_prompts(&of_prompts, rows, d, templates, w->data);
    good = good && ak__cosine_rows(ctx, x->data, n, d, &of_x) &&
           ak__cosine_rows(ctx, w->data, C, d, &of_w);
    if (good) {
        ak__gemm(AK__NT, n, C, d, 1, of_x.x, d, of_w.x, d, 0, y->data, C, NULL);
        scale(y, of_x.inverse, of_w.inverse);
    }
    ak__cosine_rows_free(&of_w);
    ak__cosine_rows_free(&of_x);
    ak__cosine_rows_free(&of_prompts);
    return good ? y : &ak__poison;
}
