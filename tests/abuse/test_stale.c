/* SPDX-License-Identifier: Apache-2.0 */
/* Use after the step has ended is reported; what was kept on purpose is fine. */
#include <criterion/criterion.h>

#include <akin/akin.h>

#include <math.h>
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

/* ---- values given back ---------------------------------------------------------------------- */

enum { MANY = 1 << 16 };        /* numbers: a tensor that is worth giving back */

/* A batch norm of MANY numbers, which a backward still needs, given back by ak_done_with. */
static ak_tensor *given_back(ak_ctx *ctx, ak_real *first)
{
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(MANY / 4, 4)));
    ak_tensor *y = ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 });
    ak_sum(ak_square(y));
    *first = y->data[0];
    ak_done_with(y, true);
    cr_assert_null(y->data, "it is given back");
    return y;
}

Test(stale, values_that_can_be_made_again_are)
{
    ak_ctx *ctx = abuse_open(1);
    ak_real first;
    FILE *file = fopen("/dev/null", "w");
    ak_tensor *to = ak_zeros(ctx, AK_SHAPE(MANY));
    cr_expect_eq((ak_real)ak_at(given_back(ctx, &first), AK_SHAPE(0, 0)), first);
    const ak_tensor *kept = ak_keep(given_back(ctx, &first));
    cr_expect_eq(kept->data[0], first);
    cr_expect_eq(ak_copy(to, given_back(ctx, &first)), AK_OK);
    cr_expect_eq(to->data[0], first);
    const ak_tensor *same = ak_detach(given_back(ctx, &first));
    cr_expect_eq(same->data[0], first);
    const ak_tensor *rows = ak_rows(given_back(ctx, &first), 0, 1);
    cr_expect_eq(rows->data[0], first);
    const ak_tensor *flat = ak_reshape(given_back(ctx, &first), AK_SHAPE(-1));
    cr_expect_eq(flat->data[0], first);
    ak_print(given_back(ctx, &first), file);
    ak_tensor *filled = given_back(ctx, &first);
    ak_fill(filled, 3);
    cr_expect_eq(filled->data[MANY - 1], 3);
    fclose(file);
    cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    ak_close(ctx);
}

static void expect_gone(ak_ctx *ctx, const char *what)
{
    cr_expect_eq(ak_error(ctx), AK_ERR_STATE, "%s: %s", what, ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), "given back") != NULL, "%s: %s", what,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* An op that can not make its values again, and that no backward needs. */
static ak_tensor *gone(ak_ctx *ctx)
{
    ak_tensor *y = ak_square(ak_randn(ctx, AK_SHAPE(MANY)));
    ak_done_with(y, false);
    cr_assert_null(y->data);
    return y;
}

Test(stale, values_that_are_gone_for_good_are_an_error)
{
    ak_ctx *ctx = abuse_open(1);
    FILE *file = fopen("/dev/null", "w");
    cr_expect(isnan(ak_at(gone(ctx), AK_SHAPE(0))));
    expect_gone(ctx, "at");
    cr_expect(ak_is_poison(ak_keep(gone(ctx))));
    expect_gone(ctx, "keep");
    ak_fill(gone(ctx), 1);
    expect_gone(ctx, "fill");
    ak_print(gone(ctx), file);
    expect_gone(ctx, "print");
    cr_expect_eq(ak_copy(ak_zeros(ctx, AK_SHAPE(MANY)), gone(ctx)), AK_ERR_STATE);
    expect_gone(ctx, "copy");
    cr_expect_eq(ak_copy(gone(ctx), ak_zeros(ctx, AK_SHAPE(MANY))), AK_ERR_STATE);
    expect_gone(ctx, "copy to");
    cr_expect(ak_is_poison(ak_detach(gone(ctx))));
    expect_gone(ctx, "detach");
    cr_expect(ak_is_poison(ak_reshape(gone(ctx), AK_SHAPE(2, MANY / 2))));
    expect_gone(ctx, "reshape");
    cr_expect_null(ak_dataset_tensor(ctx, gone(ctx), NULL));
    expect_gone(ctx, "dataset_tensor");
    cr_expect_eq(ak_npy_write(ctx, "/dev/null/x.npy", gone(ctx)), AK_ERR_STATE);
    expect_gone(ctx, "npy_write");
    fclose(file);
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
