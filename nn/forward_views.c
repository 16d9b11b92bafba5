/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of several views: sizes that differ, and rows in another order. */
#include <akin/heads.h>

#include "base/text.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>

/* ---- several sizes --------------------------------------------------------------------------- */

static bool same_size(const ak_tensor *a, const ak_tensor *b)
{
    if (a->shape.n != b->shape.n)
        return false;
    for (int i = 1; i < a->shape.n; i++)
        if (a->shape.dims[i] != b->shape.dims[i])
            return false;
    return true;
}

static bool views_fit(ak_module *m, ak_tensor *const *views, int n)
{
    if (n < 1 || n > AK__LIST_MAX) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_forward_views: %s: %d views; n must be in [1, %d]",
                m->name, n, AK__LIST_MAX);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (!AK__TENSOR(m->ctx, views[i]))
            return false;
        if (views[i]->shape.n < 1) {
            ak__module_shape_error(m, views[i], "[N, ..] as view %d", i);
            return false;
        }
    }
    return true;
}

ak_tensor *ak_forward_views(ak_module *m, ak_tensor *const *views, int n)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, views))
        return &ak__poison;
    if (ak_error(m->ctx) != AK_OK || !views_fit(m, views, n))
        return &ak__poison;
    ak_tensor *out[AK__LIST_MAX];
    int runs = 0;
    for (int first = 0, next; first < n; first = next) {
        for (next = first + 1; next < n && same_size(views[first], views[next]); )
            next++;
        ak_tensor *x = next - first == 1 ? views[first]
                                         : ak_concat_n(0, views + first, next - first);
        out[runs++] = ak_forward(m, x);
        if (ak_is_poison(out[runs - 1]))
            return &ak__poison;
        if (runs > 1 && !same_size(out[0], out[runs - 1])) {
            char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
            ak_fail(m->ctx, AK_ERR_SHAPE, "ak_forward_views: %s gives %s for view 0 and %s for "
                    "view %d: they can not be joined\n    hint: an encoder that pools gives one "
                    "size for all", m->name, ak_shape_text(out[0]->shape, a),
                    ak_shape_text(out[runs - 1]->shape, b), first);
            return &ak__poison;
        }
    }
    return runs == 1 ? out[0] : ak_concat_n(0, out, runs);
}

/* ---- another order --------------------------------------------------------------------------- */

ak_index *ak_permutation(ak_ctx *ctx, int64_t n)
{
    if (!AK__GIVEN(NULL, ctx))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    if (n < 1 || n > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_permutation: n = %" PRId64 " is not in [1, 2^31)", n);
        return NULL;
    }
    int64_t *order = ak__scratch_take(ctx, (size_t)n * sizeof *order);
    if (!order)
        return NULL;
    ak_random_permutation(ctx->seed, ak_next_stream(ctx), n, order);
    ak_index *index = ak_index_from64(ctx, AK_SHAPE(n), order);
    ak__scratch_end(ctx);
    return index;
}

/* The inverse of a permutation; NULL after an error. */
static ak_index *inverse(ak_ctx *ctx, const ak_tensor *x, const ak_index *order, const char *who)
{
    const int64_t N = x->shape.n ? x->shape.dims[0] : 0;
    if (order->shape.n != 1 || order->size != N || N < 1) {
        char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "%s: x %s and order %s: order needs one number for each of x's "
                "rows, of which there is at least one", who, ak_shape_text(x->shape, a),
                ak_shape_text(order->shape, b));
        return NULL;
    }
    int64_t *back = ak__scratch_take(ctx, (size_t)N * sizeof *back);
    if (!back)
        return NULL;
    for (int64_t i = 0; i < N; i++)
        back[i] = -1;
    ak_index *index = NULL;
    int64_t i = 0;
    while (i < N && order->data[i] >= 0 && order->data[i] < N && back[order->data[i]] < 0) {
        back[order->data[i]] = i;
        i++;
    }
    if (i == N)
        index = ak_index_from64(ctx, AK_SHAPE(N), back);
    else
        ak_fail(ctx, AK_ERR_VALUE, "%s: order is no permutation: number %d at place %" PRId64
                " is outside [0, %" PRId64 ") or there twice", who, (int)order->data[i], i, N);
    ak__scratch_end(ctx);
    return index;
}

ak_tensor *ak_shuffle_rows(ak_tensor *x, ak_index *order)
{
    if (!AK__TENSOR(NULL, x) || !AK__INDEX(x->ctx, order))
        return &ak__poison;
    if (ak_error(x->ctx) != AK_OK || !inverse(x->ctx, x, order, "ak_shuffle_rows"))
        return &ak__poison;
    return ak_gather_rows(x, order);
}

ak_tensor *ak_unshuffle_rows(ak_tensor *x, ak_index *order)
{
    if (!AK__TENSOR(NULL, x) || !AK__INDEX(x->ctx, order))
        return &ak__poison;
    if (ak_error(x->ctx) != AK_OK)
        return &ak__poison;
    ak_index *back = inverse(x->ctx, x, order, "ak_unshuffle_rows");
    return back ? ak_gather_rows(x, back) : &ak__poison;
}
