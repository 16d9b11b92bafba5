/* SPDX-License-Identifier: Apache-2.0 */
/* NaN and infinity: refused by backward, kept out of running statistics and of evaluations, and not
 * saved without a word. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/eval.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ak_ctx *open_quiet(bool allow_nan)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true, .allow_nan = allow_nan });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_words(ak_ctx *ctx, const char *const *words)
{
    for (; *words; words++)
        cr_expect_not_null(strstr(ak_error_message(ctx), *words), "no \"%s\" in: %s", *words,
                           ak_error_message(ctx));
}
#define WORDS(...) (const char *const[]){ __VA_ARGS__, NULL }

/* ---- backward -------------------------------------------------------------------------------- */

Test(numbers, a_loss_that_is_not_finite_trains_nothing)
{
    const double bad[] = { (double)NAN, (double)INFINITY, -(double)INFINITY };
    for (size_t i = 0; i < 3; i++) {
        ak_ctx *ctx = open_quiet(false);
        ak_module *net = ak_mlp(ctx, "net", (int[]){ 3, 2, 0 });
        ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ 0 });
        const uint32_t hash = ak_hash(ctx, "*");
        ak_tensor *x = ak_full(ctx, AK_SHAPE(2, 3), 1);
        ak_tensor *loss = ak_name(ak_add(ak_mean(ak_forward(net, x)),
                                         ak_full(ctx, AK_SCALAR, bad[i])), "the loss");
        cr_expect_eq(ak_backward(loss), AK_ERR_NUMBER);
        const char *value = i == 0 ? "nan" : i == 1 ? "is inf" : "-inf";
        expect_words(ctx, WORDS(value, "made by add\n", "the loss", "ak_check_numbers",
                                "allow_nan"));
        cr_expect_eq(ak_optim_step(opt), AK_ERR_NUMBER);
        cr_expect_eq(ak_hash(ctx, "*"), hash);
        cr_expect_eq(ak_step_end(ctx), AK_ERR_NUMBER);
        x = ak_full(ctx, AK_SHAPE(2, 3), 1);
        cr_expect_eq(ak_backward(ak_mean(ak_forward(net, x))), AK_OK, "the next step works");
        cr_expect_eq(ak_optim_step(opt), AK_OK);
        cr_expect_neq(ak_hash(ctx, "*"), hash);
        ak_close(ctx);
    }
}

/* Its logarithm is about -90 (-714 in double), the inverse infinite. */
#define TINY (sizeof(ak_real) == 8 ? 1e-310 : 1e-39)

Test(numbers, a_gradient_that_is_not_finite_is_named)
{
    ak_ctx *ctx = open_quiet(false);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(4), 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
    for (int i = 0; i < 4; i++)
        w->data[i] = (ak_real)(i == 2 ? TINY : 1);
    cr_expect_eq(ak_backward(ak_sum(ak_log(w))), AK_ERR_NUMBER);
    expect_words(ctx, WORDS("1 of 4 numbers", "\"w\"", "at 2", "allow_nan"));
    cr_expect_eq(ak_optim_step(opt), AK_ERR_NUMBER);
    cr_expect_eq(w->data[0], 1);
    ak_step_end(ctx);
    ak_fill(w, 1);
    cr_expect_eq(ak_backward(ak_sum(ak_log(w))), AK_OK);
    cr_expect_eq(w->grad[0], 1, "no trace of the refused one");
    ak_step_end(ctx);
    const ak_real dy[] = { 1, 1, (ak_real)INFINITY, 1 };
    cr_expect_eq(ak_backward_from(ak_square(w), dy), AK_ERR_NUMBER);
    expect_words(ctx, WORDS("dy", "at 2"));
    ak_close(ctx);
}

Test(numbers, an_option_lets_them_pass)
{
    ak_ctx *ctx = open_quiet(true);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(4), 0);
    ak_fill(w, TINY);
    cr_expect_eq(ak_backward(ak_add(ak_sum(w), ak_full(ctx, AK_SCALAR, (double)NAN))), AK_OK);
    cr_expect_eq(ak_backward(ak_sum(ak_log(w))), AK_OK);
    cr_expect(isinf((double)w->grad[0]));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}

/* ---- running statistics ---------------------------------------------------------------------- */

static void expect_clean(const ak_module *bn, uint32_t before, const char *what)
{
    ak_ctx *ctx = ak_module_ctx(bn);
    cr_expect_eq(ak_hash(ctx, "*running*"), before, "%s", what);
}

static ak_tensor *batch(ak_ctx *ctx, double bad)
{
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(6, 3));
    x->data[7] = (ak_real)bad;
    return x;
}

Test(numbers, running_statistics_take_no_nan)
{
    for (int check = 0; check < 2; check++) {
        ak_ctx *ctx = open_quiet(false);
        ak_check_numbers(ctx, check);
        ak_module *bn = ak_nn_batch_norm(ctx, "bn", 3, (ak_batch_norm_options){ 0 });
        ak_module *fc = ak_nn_linear(ctx, "fc", 3, 1, (ak_linear_options){ 0 });
        ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
        ak_forward(bn, ak_randn(ctx, AK_SHAPE(6, 3)));
        cr_assert_eq(ak_step_end(ctx), AK_OK);
        const uint32_t before = ak_hash(ctx, "*running*");
        const double bad[] = { (double)NAN, (double)INFINITY,
                               sizeof(ak_real) == 8 ? 1e200 : 1e30 };  /* its square overflows */
        for (int i = 0; i < 3; i++) {
            ak_tensor *y = ak_forward(bn, batch(ctx, bad[i]));
            if (i < 2)
                cr_expect_eq(ak_backward(ak_mean(ak_square(ak_forward(fc, y)))),
                             AK_ERR_NUMBER);
            cr_expect(isnan(ak_clip_grad_norm(opt, 1)) || i == 2);
            expect_clean(bn, before, "statistics of a batch that is not finite");
            ak_optim_step(opt);
            ak_step_end(ctx);
        }
        /* Evaluation and the next batch work as if that one had never been. */
        ak_train_mode(ctx, false);
        cr_expect(isfinite(ak_item(ak_sum(ak_forward(bn, ak_randn(ctx, AK_SHAPE(2, 3)))))));
        ak_train_mode(ctx, true);
        ak_forward(bn, ak_randn(ctx, AK_SHAPE(6, 3)));
        cr_expect_eq(ak_step_end(ctx), AK_OK);
        cr_expect_neq(ak_hash(ctx, "*running*"), before);
        ak_close(ctx);
    }
}

/* Where a convolution hands its moments on. */
Test(numbers, running_statistics_behind_a_convolution)
{
    ak_ctx *ctx = open_quiet(false);
    ak_module *net = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 1, 16, 16 } });
    ak_forward(net, ak_randn(ctx, AK_SHAPE(4, 12, 12, 1)));
    ak_step_end(ctx);
    const uint32_t before = ak_hash(ctx, "*running*");
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 12, 12, 1));
    x->data[300] = (ak_real)NAN;
    cr_expect_eq(ak_backward(ak_mean(ak_forward(net, x))), AK_ERR_NUMBER);
    expect_clean(net, before, "convnet");
    ak_close(ctx);
}

/* ---- evaluations ----------------------------------------------------------------------------- */

enum { ITEMS = 700, SIZE = 3 };

static ak_dataset *items(ak_ctx *ctx, int64_t a, int64_t b)
{
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(ITEMS, SIZE)));
    static int32_t label[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        label[i] = i % 2;
    if (a >= 0) {
        x->data[a * SIZE + 1] = (ak_real)NAN;
        x->data[a * SIZE + 2] = (ak_real)NAN;       /* one row */
        x->data[b * SIZE] = -(ak_real)INFINITY;
    }
    return ak_dataset_tensor(ctx, x, label);
}

Test(numbers, features_count_the_items_that_are_not_finite)
{
    ak_ctx *ctx = open_quiet(false);
    ak_dataset *good = items(ctx, -1, -1), *bad = items(ctx, 517, 699);
    cr_expect_null(ak_features_open(NULL, bad, (ak_features_options){ 0 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER);
    expect_words(ctx, WORDS("2 of 700 items", "item 517"));
    ak_step_end(ctx);
    cr_expect(isnan(ak_eval_knn(NULL, good, bad, (ak_knn_options){ 0 })));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_NUMBER);
    cr_expect(isnan(ak_eval_linear(NULL, bad, good, (ak_linear_probe_options){ 0 })));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_NUMBER);
    cr_expect_not(isnan(ak_eval_knn(NULL, good, good, (ak_knn_options){ 0 })));

    ak_tensor *x = ak_randn(ctx, AK_SHAPE(5, 2));
    x->data[3] = (ak_real)NAN;
    const int32_t label[5] = { 0 };
    cr_expect_null(ak_features_from(x, label, NULL));
    cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER);
    expect_words(ctx, WORDS("1 of 5 items holds", "item 1"));
    ak_step_end(ctx);

    /* Features that a program has put together, or changed. */
    ak_features *f = ak_features_open(NULL, good, (ak_features_options){ 0 });
    ak_real spoilt[4] = { 1, 2, (ak_real)NAN, 4 };
    const ak_features own = { .x = spoilt, .label = label, .n = 4, .d = 1, .classes = 1,
                              .what = "own", .ctx = ctx };
    const ak_features fine = { .x = spoilt, .label = label, .n = 2, .d = 1, .classes = 1,
                               .what = "own", .ctx = ctx };
    cr_expect(isnan(ak_eval_knn_on(&fine, &own, (ak_knn_options){ .k = 1 }).accuracy));
    expect_words(ctx, WORDS("knn", "1 of 4 test items", "item 2"));
    ak_step_end(ctx);
    cr_expect(isnan(ak_eval_linear_on(&own, &fine, (ak_linear_probe_options){ 0 }).accuracy));
    expect_words(ctx, WORDS("linear probe", "1 of 4 training items"));
    ak_step_end(ctx);
    cr_expect_not(isnan(ak_eval_knn_on(f, f, (ak_knn_options){ .k = 1 }).accuracy));
    ak_features_close(f);
    ak_close(ctx);
}

Test(numbers, measures_of_embeddings_refuse_them)
{
    ak_ctx *ctx = open_quiet(false);
    ak_tensor *good = ak_keep(ak_randn(ctx, AK_SHAPE(5, 2)));
    ak_tensor *bad = ak_keep(ak_randn(ctx, AK_SHAPE(5, 2)));
    bad->data[5] = (ak_real)NAN;
    bad->data[8] = (ak_real)INFINITY;
    for (int i = 0; i < 5; i++) {
        double r = 0;
        switch (i) {
        case 0: r = ak_eval_contrastive(good, bad); break;
        case 1: r = ak_eval_contrastive(bad, good); break;
        case 2: r = ak_eval_alignment(good, bad); break;
        case 3: r = ak_eval_alignment(bad, good); break;
        default: r = ak_eval_uniformity(bad); break;
        }
        cr_expect(isnan(r), "measure %d: %g", i, r);
        cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER, "measure %d", i);
        expect_words(ctx, WORDS("2 of 5 rows", "row 2"));
        ak_step_end(ctx);
    }
    const double values[] = { 1, 0, (double)NAN };
    cr_expect(isnan(ak_bootstrap_mean(ctx, values, 3, (ak_bootstrap_options){ 0 }).lo));
    cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER);
    expect_words(ctx, WORDS("1 of 3 values holds", "value 2"));
    ak_close(ctx);
}

/* ---- saving ---------------------------------------------------------------------------------- */

static char file[64];

static void remove_file(void)
{
    unlink(file);
}

typedef struct heard { int n; char text[4][400]; } heard;

static void hear(void *user, ak_log_level level, const char *message)
{
    heard *h = user;
    if (level == AK_LOG_WARNING && h->n < 4)
        snprintf(h->text[h->n++], sizeof h->text[0], "%s", message);
}

Test(numbers, saving_them_warns_and_goes_on, .fini = remove_file)
{
    snprintf(file, sizeof file, "numbers-%d-%d.ckpt", (int)sizeof(ak_real), (int)getpid());
    ak_ctx *ctx = open_quiet(true);
    heard h = { 0 };
    ak_on_log(ctx, hear, &h);
    ak_tensor *a = ak_param(ctx, "a", AK_SHAPE(3), 0), *b = ak_param(ctx, "b", AK_SHAPE(5), 0);
    ak_optim *opt = ak_adam(ctx, "*", (ak_adamw_options){ 0 });
    cr_assert_eq(ak_checkpoint_save(ctx, file), AK_OK);
    cr_expect_eq(h.n, 0);
    b->data[1] = b->data[4] = (ak_real)NAN;
    cr_expect_eq(ak_save(ctx, file), AK_OK);
    cr_assert_eq(h.n, 1);
    cr_expect_not_null(strstr(h.text[0], "\"b\" (2 of 5 numbers)"), "%s", h.text[0]);
    cr_expect_not_null(strstr(h.text[0], file), "%s", h.text[0]);
    cr_expect_eq(ak_save_some(ctx, file, "a"), AK_OK);
    cr_expect_eq(h.n, 1, "what is not saved does not matter");
    a->grad[0] = (ak_real)INFINITY;
    ak_optim_step(opt);
    ak_fill(a, 0);
    ak_fill(b, 0);
    cr_expect_eq(ak_checkpoint_save(ctx, file), AK_OK);
    cr_assert_eq(h.n, 2);
    cr_expect_not_null(strstr(h.text[1], "adam *"), "%s", h.text[1]);
    cr_expect_not_null(strstr(h.text[1], "of \"a\""), "%s", h.text[1]);
    ak_close(ctx);
}
