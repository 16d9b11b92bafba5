/* SPDX-License-Identifier: Apache-2.0 */
/* Context, errors, memory, random numbers, tensors, parameters. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static ak_ctx *quiet(uint64_t seed)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = seed, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

Test(core, default_hook_aborts_at_the_faulty_call, .signal = SIGABRT)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_add(ak_zeros(ctx, AK_SHAPE(2, 3)), ak_zeros(ctx, AK_SHAPE(4)));
}

Test(core, first_error_wins_and_the_step_clears_it)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *bad = ak_reshape(ak_zeros(ctx, AK_SHAPE(2, 3)), AK_SHAPE(4));
    cr_assert(ak_is_poison(bad));
    cr_assert_eq(ak_error(ctx), AK_ERR_SHAPE);
    ak_fail(ctx, AK_ERR_IO, "later");
    cr_assert_not_null(strstr(ak_error_message(ctx), "[2,3] to [4]"), "%s", ak_error_message(ctx));
    cr_assert(ak_is_poison(ak_exp(bad)));
    cr_assert(isnan(ak_item(bad)));
    cr_assert_neq(ak_backward(bad), AK_OK);
    cr_assert_eq(ak_step_end(ctx), AK_ERR_SHAPE);
    cr_assert_eq(ak_error(ctx), AK_OK);
    cr_assert_not(ak_is_poison(ak_zeros(ctx, AK_SHAPE(2))));
    cr_assert_eq(ak_close(ctx), AK_ERR_SHAPE, "ak_close returns the first error of the run");
}

Test(core, closing_null_is_fine)
{
    cr_assert_eq(ak_close(NULL), AK_OK);
}

Test(memory, no_malloc_after_the_first_step)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(60, 70), 0);
    uint64_t   after_first = 0;
    size_t     reserved = 0;
    for (int step = 0; step < 2000; step++) {
        ak_tensor *y = w;
        for (int i = 0; i < 20; i++)
            y = ak_add_scalar(ak_scale(y, 0.9), 0.1);
        ak_backward(ak_mean(ak_square(y)));
        ak_step_end(ctx);
        if (step == 0) {
            after_first = ak_malloc_count();
            reserved = ak_memory_use(ctx).step_reserved;
        }
    }
    cr_assert_eq(ak_malloc_count(), after_first);
    cr_assert_eq(ak_memory_use(ctx).step_reserved, reserved);
    ak_close(ctx);
}

Test(memory, mark_and_release_keep_a_loop_flat)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(1000));
    ak_real    first = x->data[0];
    size_t     used = 0;
    uint64_t   mallocs = 0;
    ak_no_grad_begin(ctx);
    for (int i = 0; i < 100; i++) {
        ak_mark m = ak_mark_step(ctx);
        for (int j = 0; j < 500; j++)
            ak_exp(ak_scale(x, 0.1));
        cr_assert_eq(ak_release(ctx, m), AK_OK);
        if (i == 0)
            used = ak_memory_use(ctx).step_bytes;
        if (i == 1)
            mallocs = ak_malloc_count();
    }
    ak_no_grad_end(ctx);
    cr_assert_eq(ak_memory_use(ctx).step_bytes, used);
    cr_assert_eq(ak_malloc_count(), mallocs);
    cr_assert_eq(x->data[0], first, "what stood before the mark is untouched");
    ak_close(ctx);
}

Test(memory, release_refuses_what_is_on_the_tape)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(2), 0);
    ak_mark    m = ak_mark_step(ctx);
    ak_exp(w);
    cr_assert_eq(ak_release(ctx, m), AK_ERR_STATE);
    ak_close(ctx);
}

/* Whatever mark comes, an error and nothing freed: those in use stay right. */
Test(memory, marks_that_are_no_more_are_refused)
{
    ak_ctx *ctx = quiet(1), *other = quiet(2);
    ak_tensor *x = ak_full(ctx, AK_SHAPE(400000), 2);
    const ak_mark none = { 0 }, first = ak_mark_step(ctx);
    cr_expect_eq(ak_release(ctx, none), AK_ERR_STATE);
    ak_step_end(ctx);                                       /* of an earlier step */
    ak_zeros(ctx, AK_SHAPE(10000000));
    cr_expect_eq(ak_release(ctx, first), AK_ERR_STATE);
    ak_step_end(ctx);

    x = ak_full(ctx, AK_SHAPE(400000), 2);
    const ak_mark outer = ak_mark_step(ctx);
    ak_zeros(ctx, AK_SHAPE(10000000));
    const ak_mark inner = ak_mark_step(ctx);
    ak_zeros(other, AK_SHAPE(100));
    ak_mark_step(other);
    cr_expect_eq(ak_release(other, inner), AK_ERR_STATE);   /* of another context */
    cr_expect_eq(ak_step_end(other), AK_ERR_STATE);
    ak_zeros(ctx, AK_SHAPE(900000));
    cr_expect_eq(ak_release(ctx, inner), AK_OK);
    ak_zeros(ctx, AK_SHAPE(1000));
    cr_expect_eq(ak_release(ctx, inner), AK_OK, "a mark may be used again");
    cr_expect_eq(ak_release(ctx, outer), AK_OK);
    ak_tensor *y = ak_full(ctx, AK_SHAPE(12000000), 3);
    cr_expect_eq(ak_release(ctx, inner), AK_ERR_STATE);     /* out of order */
    cr_expect(strstr(ak_error_message(ctx), "no such mark"));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_STATE);
    (void)x, (void)y;

    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3), 0);
    y = ak_full(ctx, AK_SHAPE(1000), 3);
    ak_tensor *leaf = ak_require_grad(ak_full(ctx, AK_SHAPE(3), 5)), *z = ak_sum(ak_mul(leaf, w));
    const ak_mark before = ak_mark_step(ctx);
    cr_expect_eq(ak_backward(z), AK_OK);        /* leaf->grad is younger than the mark */
    cr_expect_eq(ak_release(ctx, before), AK_ERR_STATE);
    cr_expect(strstr(ak_error_message(ctx), "ak_backward"));
    ak_zeros(ctx, AK_SHAPE(1000));
    for (int64_t i = 0; i < y->size; i++)
        cr_assert_eq(y->data[i], 3);
    ak_step_end(ctx);
    ak_close(ctx);
    ak_close(other);
}

/* A loop that marks anew each time does not gather marks. */
Test(memory, marks_in_a_long_loop)
{
    ak_ctx *ctx = quiet(1);
    ak_mark outer = ak_mark_step(ctx), last = outer;
    const ak_tensor *x = ak_full(ctx, AK_SHAPE(10), 4);
    for (int i = 0; i < 1000; i++) {
        last = ak_mark_step(ctx);
        ak_zeros(ctx, AK_SHAPE(10 + i % 7));
        cr_assert_eq(ak_release(ctx, last), AK_OK);
        cr_assert_eq(x->data[9], 4);
    }
    cr_expect_leq(last.number, outer.number + 3, "%d marks", (int)(last.number - outer.number));
    cr_expect_eq(ak_release(ctx, outer), AK_OK);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(random, values_depend_on_seed_stream_and_index_alone)
{
    /* Known answer of Philox 4x32-10 for counter 0, key 0 (the authors' test vectors). */
    cr_assert_eq(ak_random_u32(0, 0, 0), 0x6627e8d5u);
    cr_assert_eq(ak_random_u32(0, 0, 1), 0xe169c58du);
    cr_assert_eq(ak_random_u32(0, 0, 2), 0xbc57ac4cu);
    cr_assert_eq(ak_random_u32(0, 0, 3), 0x9b00dbd8u);
    cr_assert_neq(ak_random_u32(1, 0, 0), ak_random_u32(0, 0, 0));
    cr_assert_neq(ak_random_u32(0, 1, 0), ak_random_u32(0, 0, 0));
}

Test(random, moments)
{
    enum { N = 200000 };
    double u = 0, uu = 0, n = 0, nn = 0, n4 = 0, b = 0, t = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = ak_random_uniform(3, 1, i), z = ak_random_normal(3, 2, i);
        double c = ak_random_truncated_normal(3, 4, i, -2, 2);
        cr_assert(x >= 0 && x < 1 && c >= -2 && c <= 2);
        u += x;
        uu += x * x;
        n += z;
        nn += z * z;
        n4 += z * z * z * z;
        b += ak_random_bernoulli(3, 3, i, 0.3);
        t += c * c;
    }
    cr_assert_float_eq(u / N, 0.5, 0.005);
    cr_assert_float_eq(uu / N, 1.0 / 3, 0.005);
    cr_assert_float_eq(n / N, 0, 0.01);
    cr_assert_float_eq(nn / N, 1, 0.015);
    cr_assert_float_eq(n4 / N, 3, 0.1);
    cr_assert_float_eq(b / N, 0.3, 0.005);
    cr_assert_float_eq(t / N, 0.7737, 0.01);    /* variance of N(0,1) cut at +-2 */
}

Test(random, permutation_has_every_number_once_and_places_are_even)
{
    int64_t order[101];
    bool    seen[101] = { false };
    int64_t first[8] = { 0 };
    ak_random_permutation(5, 9, 101, order);
    for (int i = 0; i < 101; i++) {
        cr_assert(order[i] >= 0 && order[i] < 101 && !seen[order[i]]);
        seen[order[i]] = true;
    }
    for (uint64_t s = 0; s < 8000; s++) {
        ak_random_permutation(5, s, 8, order);
        first[order[0]]++;
    }
    for (int i = 0; i < 8; i++)
        cr_assert(first[i] > 850 && first[i] < 1150, "%d came first %d times of 8000", i,
                  (int)first[i]);
}

Test(tensor, aliases_share_numbers_and_gradients)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *x = ak_require_grad(ak_arange(ctx, 6));
    ak_tensor *m = ak_reshape(x, AK_SHAPE(3, -1));
    ak_tensor *r = ak_rows(m, 1, 2);
    cr_assert_eq(m->shape.dims[1], 2);
    cr_assert_eq(r->data, x->data + 2);
    cr_assert_eq(ak_backward(ak_sum(ak_square(r))), AK_OK);
    const ak_real want[6] = { 0, 0, 4, 6, 8, 10 };
    for (int i = 0; i < 6; i++)
        cr_assert_eq(x->grad[i], want[i]);
    ak_close(ctx);
}

Test(tensor, a_tensor_of_an_earlier_step_is_reported)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *old = ak_zeros(ctx, AK_SHAPE(2)), *kept = ak_keep(ak_full(ctx, AK_SHAPE(2), 7));
    ak_step_end(ctx);
    (void)old;      /* its memory may not be read any more: the check is in test_stale.c */
    cr_assert_eq(ak_at(kept, AK_SHAPE(1)), 7.0);
    ak_close(ctx);
}

Test(tensor, backward_says_what_is_wrong)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(2), 0);
    cr_assert_eq(ak_backward(ak_exp(w)), AK_ERR_SHAPE);
    ak_step_end(ctx);
    cr_assert_eq(ak_backward(ak_sum(ak_zeros(ctx, AK_SHAPE(2)))), AK_ERR_STATE);
    ak_step_end(ctx);
    ak_tensor *loss = ak_sum(ak_exp(w));
    cr_assert_eq(ak_backward(loss), AK_OK);
    cr_assert_eq(ak_backward(loss), AK_ERR_STATE);
    ak_step_end(ctx);
    ak_no_grad_begin(ctx);
    cr_assert_eq(ak_backward(ak_sum(ak_exp(w))), AK_ERR_STATE);
    ak_close(ctx);
}

Test(tensor, the_op_that_made_a_nan_is_named)
{
    ak_ctx *ctx = quiet(1);
    ak_check_numbers(ctx, true);
    ak_exp(ak_log(ak_name(ak_full(ctx, AK_SHAPE(3), -1), "depth")));
    cr_assert_eq(ak_error(ctx), AK_ERR_NUMBER);
    cr_assert_not_null(strstr(ak_error_message(ctx), "log: made"), "%s", ak_error_message(ctx));
    cr_assert_not_null(strstr(ak_error_message(ctx), "\"depth\" [3]"), "%s",
                       ak_error_message(ctx));
    ak_close(ctx);
}

Test(param, names_patterns_and_slabs)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *a = ak_param(ctx, "enc/conv1/weight", AK_SHAPE(3, 3), 0);
    ak_tensor *b = ak_param(ctx, "enc/conv1/bias", AK_SHAPE(3), AK_PARAM_NO_DECAY);
    ak_tensor *c = ak_param(ctx, "head/weight", AK_SHAPE(5), 0);
    ak_tensor *big = ak_param(ctx, "head/big", AK_SHAPE(700, 700), 0);
    ak_tensor *d = ak_param(ctx, "head/last", AK_SHAPE(5), 0);
    cr_assert_eq(c->data - a->data, c->grad - a->grad, "twin slabs");
    cr_assert(c->data - a->data >= 9 && c->data - a->data <= 32, "side by side");
    cr_assert_eq((uintptr_t)c->data % 64, 0);
    cr_assert(d->data > c->data && d->data - c->data <= 32, "a large one does not end the slab");
    cr_assert_eq(ak_param_find(ctx, "head/big"), big);
    cr_assert_null(ak_param_find(ctx, "head"));
    cr_assert_eq(ak_freeze(ctx, "enc/*", true), 2);
    cr_assert_not(a->needs_grad);
    cr_assert_not(b->needs_grad);
    cr_assert(c->needs_grad);
    cr_assert(ak_is_poison(ak_param(ctx, "head/weight", AK_SHAPE(5), 0)));
    cr_assert_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(param, patterns)
{
    cr_assert(ak_match("*", "a/b"));
    cr_assert(ak_match("enc*/w?ight", "encoder/weight"));
    cr_assert(ak_match("x,*bias", "enc/bias"));
    cr_assert_not(ak_match("*,!*bias", "enc/bias"));
    cr_assert(ak_match("!*bias", "enc/weight"));
    cr_assert_not(ak_match("enc", "encoder"));
    cr_assert_not(ak_match("", "encoder"));
}

Test(param, hash_sees_every_bit)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(100), 0);
    uint32_t   before = ak_hash(ctx, "*");
    w->data[99] = (ak_real)1e-30;
    cr_assert_neq(ak_hash(ctx, "*"), before);
    ak_close(ctx);
}

Test(tape, listings_show_every_call)
{
    ak_ctx    *ctx = quiet(1);
    ak_tensor *w = ak_param(ctx, "weights", AK_SHAPE(4), 0);
    ak_backward(ak_sum(ak_exp(ak_square(w))));
    char  *text = NULL;
    size_t size = 0;
    for (int form = 0; form < 3; form++) {
        FILE *f = open_memstream(&text, &size);
        (form == 0 ? ak_tape_print : form == 1 ? ak_tape_table : ak_tape_dot)(ctx, f);
        fclose(f);
        cr_assert_not_null(strstr(text, "square"));
        cr_assert_not_null(strstr(text, "exp"));
        if (form != 1)
            cr_assert_not_null(strstr(text, "weights"));
        cr_assert(strstr(text, "square") < strstr(text, "exp"), "oldest first");
        free(text);
    }
    ak_close(ctx);
}

Test(core, the_environment_sets_the_seed)
{
    setenv("AK_SEED", "18446744073709551615", 1);
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_expect_eq(ak_seed(ctx), UINT64_MAX);
    ak_close(ctx);
    setenv("AK_SEED", "", 1);               /* as if it were not set */
    ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_expect_eq(ak_seed(ctx), 3);
    ak_close(ctx);
}

static void open_with_seed(const char *text)
{
    setenv("AK_SEED", text, 1);
    ak_open((ak_options){ .quiet = true }); /* the default hook stops the program */
}

Test(core, a_seed_below_zero_is_an_error, .exit_code = 1) { open_with_seed("-1"); }
Test(core, a_seed_past_64_bits_is_an_error, .exit_code = 1)
{
    open_with_seed("18446744073709551616");
}
Test(core, a_seed_of_words_is_an_error, .exit_code = 1) { open_with_seed("4 or so"); }
Test(core, a_seed_behind_a_blank_is_an_error, .exit_code = 1) { open_with_seed(" 4"); }
