/* SPDX-License-Identifier: Apache-2.0 */
/* Use after the step has ended is reported; what was kept on purpose is fine. */
#include <criterion/criterion.h>

#include <string.h>

#include "abuse.h"

static void expect_stale(ak_ctx *ctx, const char *what)
{
    cr_expect_eq(ak_error(ctx), AK_ERR_STALE, "%s: %s (%s)", what, ak_status_name(ak_error(ctx)),
                 ak_error_message(ctx));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_STALE);
}

Test(stale, ops_backward_and_aliases)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(2, 3), 0);
    ak_tensor *y = ak_square(w), *loss = ak_sum(y);
    cr_expect_eq(ak_step_end(ctx), AK_OK);

    cr_expect(ak_is_poison(ak_add(w, y)));
    expect_stale(ctx, "add");
    cr_expect_eq(ak_backward(loss), AK_ERR_STALE);
    expect_stale(ctx, "backward");
    cr_expect(ak_is_poison(ak_sum(ak_reshape(y, AK_SHAPE(6)))));
    expect_stale(ctx, "reshape");
    cr_expect(ak_is_poison(ak_sum(ak_rows(y, 0, 1))));
    expect_stale(ctx, "rows");
    cr_expect(ak_is_poison(ak_concat(0, w, y)));
    expect_stale(ctx, "concat");
    for (int64_t i = 0; i < w->size; i++)
        cr_expect_eq(w->grad[i], 0);

    cr_expect_eq(ak_backward(ak_sum(ak_square(w))), AK_OK, "the parameter outlives the step");
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}

Test(stale, index_arrays)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(4, 3), 0);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 3 });
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    cr_expect(ak_is_poison(ak_gather_rows(w, ids)));
    cr_expect(strstr(ak_error_message(ctx), "gather_rows") != NULL, "%s", ak_error_message(ctx));
    expect_stale(ctx, "gather_rows");
    cr_expect(ak_is_poison(ak_embedding(w, ids, AK_NONE)));
    expect_stale(ctx, "embedding");
    cr_expect(ak_is_poison(ak_one_hot(ids, 4)));
    expect_stale(ctx, "one_hot");
    ak_close(ctx);
}

Test(stale, an_index_of_another_context)
{
    ak_ctx *ctx = abuse_open(1), *other = abuse_open(2);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(4, 3), 0);
    ak_index *ids = ak_index_from(other, AK_SHAPE(2), (int32_t[]){ 1, 3 });
    cr_expect(ak_is_poison(ak_gather_rows(w, ids)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_CONTEXT);
    ak_close(ctx);
    ak_close(other);
}

Test(stale, argmax)
{
    ak_ctx *ctx = abuse_open(1);
    const ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 3));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_argmax(x, 1);
    expect_stale(ctx, "argmax");
    ak_close(ctx);
}

Test(stale, kept_tensors_are_fine)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3), (ak_real[]){ 1, 2, 3 });
    ak_tensor *kept = ak_keep(ak_square(x));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    for (int step = 0; step < 3; step++) {
        cr_expect_eq(ak_item(ak_sum(kept)), 14);
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    ak_close(ctx);
}

/* What was made between a mark and its release is gone, what was made before it is not. */
Test(stale, release)
{
    ak_ctx *ctx = abuse_open(1);
    ak_tensor *x = ak_full(ctx, AK_SHAPE(100), 2);
    const size_t before = ak_memory_use(ctx).step_bytes;
    for (int i = 0; i < 50; i++) {
        const ak_mark mark = ak_mark_step(ctx);
        cr_expect_eq(ak_item(ak_sum(ak_square(x))), 400);
        cr_expect_eq(ak_release(ctx, mark), AK_OK);
        cr_expect_eq(ak_memory_use(ctx).step_bytes, before);
    }
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}
