/* SPDX-License-Identifier: Apache-2.0 */
/* Rows for tables of cosines: products of rows as they are, times inverse lengths; or, where such
 * products would leave the range of numbers, products of unit rows. */
#include <math.h>

#include "base/base.h"
#include "base/parallel.h"
#include "eval/eval.h"
#include "tensor/far_rows.h"
#include "tensor/kernels/kernels.h"

/* Inverse lengths between which products of two rows are safe: no sum of them overflows, none is
 * near the smallest numbers. */
#define LEAST_INVERSE 1e-15
#define MOST_INVERSE 1e12

void ak__inverse_norms(const ak_real *x, int64_t n, int64_t d, ak_real *inverse)
{
    AK__PARALLEL_FOR(i, n, n * d > 65536) {
        const ak_real s = ak__k.sum_squares(x + i * d, d);
        inverse[i] = (ak_real)(ak__squares_hold(s) ? 1 / sqrt((double)s)
                                                   : ak__far_inverse(x + i * d, d));
    }
}

static bool is_far(ak_real inverse)
{
    return inverse != 0 && !((double)inverse >= LEAST_INVERSE && (double)inverse <= MOST_INVERSE);
}

bool ak__cosine_rows(ak_ctx *ctx, const ak_real *x, int64_t n, int64_t d, ak__cosine_rows_of *r)
{
    const size_t bytes = (size_t)n * sizeof *r->inverse, all = (size_t)(n * d) * sizeof *r->own;
    *r = (ak__cosine_rows_of){ .x = x, .inverse = ak__malloc(bytes ? bytes : 1) };
    if (!r->inverse) {
        ak__fail_memory(ctx, bytes);
        return false;
    }
    ak__inverse_norms(x, n, d, r->inverse);
    bool far = false;
    for (int64_t i = 0; i < n; i++)
        far = far || is_far(r->inverse[i]);
    if (!far)
        return true;
    r->own = ak__malloc(all);
    if (!r->own) {
        ak__fail_memory(ctx, all);
        ak__cosine_rows_free(r);
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        ak__far_unit(r->own + i * d, x + i * d, d);
        r->inverse[i] = r->inverse[i] != 0 ? 1 : 0;
    }
    r->x = r->own;
    return true;
}

void ak__cosine_rows_free(ak__cosine_rows_of *r)
{
    ak__free(r->own);
    ak__free(r->inverse);
    r->own = r->inverse = NULL;
}
