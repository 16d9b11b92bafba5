/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns that do nothing are refused by all that take one, with near names; "~" allows it. */
#include <criterion/criterion.h>

#include <akin/checkpoint.h>
#include <akin/io.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ak_ctx *with_net(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    ak_mlp(ctx, "projector", (int[]){ 5, 3, 0 });
    return ctx;
}

static char file[64];

static void remove_file(void)
{
    unlink(file);
}

/* Each takes a pattern; false: refused. */
static bool freezes(ak_ctx *ctx, const char *p) { return ak_freeze(ctx, p, true) > 0; }
static bool hashes(ak_ctx *ctx, const char *p) { return ak_hash(ctx, p) != 0; }
static bool saves(ak_ctx *ctx, const char *p) { return ak_save_some(ctx, file, p) == AK_OK; }
static bool loads(ak_ctx *ctx, const char *p)
{
    return ak_save(ctx, file) == AK_OK && ak_load_some(ctx, file, p) == AK_OK;
}
static bool steps(ak_ctx *ctx, const char *p) { return ak_sgd(ctx, p, (ak_sgd_options){ 0 }); }

static bool groups(ak_ctx *ctx, const char *p)
{
    static ak_ctx *of;
    static ak_optim *opt;
    if (of != ctx)
        opt = ak_adamw(ctx, "*", (ak_adamw_options){ 0 });
    of = ctx;
    return ak_optim_group(opt, p, (ak_group_options){ .lr_scale = 0.5 }) > 0;
}

typedef struct taker { const char *name; bool (*take)(ak_ctx *ctx, const char *pattern); } taker;
static const taker takers[] = { { "freeze", freezes }, { "hash", hashes }, { "save", saves },
                                { "load", loads }, { "group", groups } };

static void expect_refused(ak_ctx *ctx, const taker *t, const char *pattern, ak_status status,
                           const char *word)
{
    cr_expect_not(t->take(ctx, pattern), "%s(\"%s\")", t->name, pattern ? pattern : "NULL");
    cr_expect_eq(ak_error(ctx), status, "%s(\"%s\"): %s", t->name, pattern ? pattern : "NULL",
                 ak_error_message(ctx));
    cr_expect_not_null(strstr(ak_error_message(ctx), word), "%s: %s", t->name,
                       ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(pattern, what_fits_nothing_is_an_error_everywhere, .fini = remove_file)
{
    snprintf(file, sizeof file, "pattern-%d-%d.weights", (int)sizeof(ak_real), (int)getpid());
    ak_ctx *ctx = with_net();
    cr_assert_eq(ak_save(ctx, file), AK_OK);
    const taker optimiser = { "optimiser", steps };
    for (int i = -1; i < (int)(sizeof takers / sizeof *takers); i++) {
        const taker *t = i < 0 ? &optimiser : &takers[i];
        expect_refused(ctx, t, "encodr/*", AK_ERR_NOT_FOUND, "\"encoder/conv1/weight\"");
        expect_refused(ctx, t, "project/*", AK_ERR_NOT_FOUND, "\"projector/fc1/");
        expect_refused(ctx, t, "encoder/*,head/*", AK_ERR_NOT_FOUND, "\"head/*\"");
        expect_refused(ctx, t, "*,!projektor/*", AK_ERR_NOT_FOUND, "\"!projektor/*\"");
        expect_refused(ctx, t, "encoder/*,!*", AK_ERR_NOT_FOUND, "excluded");
        expect_refused(ctx, t, "encoder", AK_ERR_NOT_FOUND, "\"~encoder\"");
        expect_refused(ctx, t, NULL, AK_ERR_VALUE, "NULL");
        expect_refused(ctx, t, "", AK_ERR_VALUE, "empty");
        expect_refused(ctx, t, "encoder/*,", AK_ERR_VALUE, "empty");
        expect_refused(ctx, t, "!", AK_ERR_VALUE, "empty");
        expect_refused(ctx, t, "~", AK_ERR_VALUE, "empty");
        expect_refused(ctx, t, "!!encoder/*", AK_ERR_VALUE, "signs");
        expect_refused(ctx, t, "!~encoder/*", AK_ERR_VALUE, "signs");
    }
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++) {
        const char *const good[] = { "*", "encoder/*", "encoder/*,~head/*", "*,~!head/*",
                                     "!projector/*", "encoder/conv?/weight" };
        for (size_t p = 0; p < sizeof good / sizeof *good; p++)
            cr_expect(takers[i].take(ctx, good[p]), "%s(\"%s\"): %s", takers[i].name, good[p],
                      ak_error_message(ctx));
    }
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
}

Test(pattern, may_be_none)
{
    ak_ctx *ctx = with_net();
    cr_expect_eq(ak_freeze(ctx, "~head/*", true), 0);
    ak_optim *none = ak_sgd(ctx, "~head/*", (ak_sgd_options){ 0 });
    cr_expect_not_null(none, "an optimiser of nothing, as it was said");
    cr_expect_eq(ak_optim_step(none), AK_OK);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
    cr_expect_eq(ak_optim_group(opt, "~head/*", (ak_group_options){ .lr_scale = 2 }), 0);
    ak_hash(ctx, "~head/*");
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    ak_close(ctx);
}

Test(pattern, a_refused_freeze_changes_nothing_and_buffers_are_no_parameters)
{
    ak_ctx *ctx = with_net();
    ak_freeze(ctx, "projector/*,enc/*", true);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_NOT_FOUND);
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        cr_expect_not(ak_param_at(ctx, i)->flags & AK_PARAM_FROZEN);
    cr_expect_eq(ak_freeze(ctx, "encoder/bn1/running*", true), 0);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_NOT_FOUND);
    cr_expect_neq(ak_hash(ctx, "encoder/bn1/running*"), 0);
    ak_fail(ctx, AK_ERR_VALUE, "pending");
    cr_expect_eq(ak_freeze(ctx, "*", true), 0);
    cr_expect_not(ak_param_at(ctx, 0)->flags & AK_PARAM_FROZEN);
    ak_close(ctx);
}

/* What the program has not made may be left out by name. */
Test(pattern, loading_excludes_what_only_the_file_has, .fini = remove_file)
{
    snprintf(file, sizeof file, "pattern2-%d-%d.weights", (int)sizeof(ak_real), (int)getpid());
    ak_ctx *ctx = with_net();
    cr_assert_eq(ak_save(ctx, file), AK_OK);
    ak_ctx *part = ak_open((ak_options){ .seed = 2, .quiet = true });
    ak_on_error(part, NULL, NULL);
    ak_convnet(part, "encoder", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    cr_expect_eq(ak_load_some(part, file, "*,!projector/*"), AK_OK, "%s", ak_error_message(part));
    cr_expect_eq(ak_hash(part, "*"), ak_hash(ctx, "encoder/*"));
    cr_expect_eq(ak_load_some(part, file, "*,!projektor/*"), AK_ERR_NOT_FOUND);
    ak_close(part);
    ak_close(ctx);
}

Test(pattern, columns_of_a_table, .fini = remove_file)
{
    snprintf(file, sizeof file, "pattern3-%d-%d.csv", (int)sizeof(ak_real), (int)getpid());
    FILE *out = fopen(file, "w");
    cr_assert_not_null(out);
    fputs("height,weight,name\n1,2,a\n3,4,b\n", out);
    fclose(out);
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    cr_expect_null(ak_table_read(ctx, file, (ak_table_options){ .skip = "name,wieght" }));
    cr_expect_eq(ak_error(ctx), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "\"weight\""), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    const ak_table *t = ak_table_read(ctx, file, (ak_table_options){ .skip = "name,~id,weight" });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->columns, 1);
    ak_close(ctx);
}

Test(pattern, matching)
{
    cr_expect(ak_match("~enc/*", "enc/w"));
    cr_expect(ak_match("x,~*bias", "enc/bias"));
    cr_expect_not(ak_match("*,~!*bias", "enc/bias"));
    cr_expect(ak_match("~!*bias", "enc/weight"));
    cr_expect_not(ak_match(NULL, "enc"));
}
