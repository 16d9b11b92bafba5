/* SPDX-License-Identifier: Apache-2.0 */
/* Adapters: against their formula, gradients, merging, copies, files; learning rates by layer. */
#include "data_files.h"

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/heads.h>
#include <akin/models.h>
#include <akin/optim.h>
#include <akin/weights.h>

static double apart(const ak_tensor *a, const ak_tensor *b)
{
    double worst = 0;
    cr_assert(!ak_is_poison(a) && !ak_is_poison(b), "%s", ak_error_message(a->ctx));
    cr_assert_eq(a->size, b->size);
    for (int64_t i = 0; i < a->size; i++)
        worst = fmax(worst, fabs((double)a->data[i] - (double)b->data[i]));
    return worst;
}

static const double tiny = AK_REAL_BITS == 64 ? 1e-14 : 1e-5;

/* Numbers for lora_b, which starts with zeros. */
static void draw(ak_ctx *ctx, const char *name)
{
    ak_tensor *t = ak_param_find(ctx, name);
    cr_assert_not_null(t, "%s", name);
    ak_copy(t, ak_randn(ctx, t->shape));
}

static ak_module *net_of(ak_ctx *ctx, const char *name)
{
    return ak_mlp(ctx, name, (int[]){ 5, 7, 3, 0 });
}

/* The formula, by ops. */
static ak_tensor *formula(ak_ctx *ctx, const char *layer, ak_tensor *x, double factor)
{
    char name[80];
    ak_tensor *t[4];
    const char *const parts[] = { "weight", "bias", "lora_a", "lora_b" };
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s/%s", layer, parts[i]);
        t[i] = ak_param_find(ctx, name);
        cr_assert_not_null(t[i], "%s", name);
    }
    return ak_add(ak_linear(x, t[0], t[1]),
                  ak_scale(ak_matmul_nt(ak_matmul_nt(x, t[2]), t[3]), factor));
}

Test(lora, starts_as_the_layer_and_follows_its_formula)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(4, 5)));
    ak_tensor *before = ak_keep(ak_forward(net, x));
    cr_assert_eq(ak_lora_add(net, "net/fc*", (ak_lora_options){ .rank = 2, .alpha = 6 }), 2, "%s",
                 ak_error_message(ctx));
    cr_expect(ak_shape_equal(ak_param_find(ctx, "net/fc1/lora_a")->shape, AK_SHAPE(2, 5)));
    cr_expect(ak_shape_equal(ak_param_find(ctx, "net/fc1/lora_b")->shape, AK_SHAPE(7, 2)));
    cr_expect(apart(before, ak_forward(net, x)) == 0, "B is zero");
    const ak_tensor *a = ak_param_find(ctx, "net/fc1/lora_a");
    double largest = 0;
    for (int64_t i = 0; i < a->size; i++)
        largest = fmax(largest, fabs((double)a->data[i]));
    cr_expect(largest > 0 && largest <= 1 / sqrt(5));
    draw(ctx, "net/fc1/lora_b");
    draw(ctx, "net/fc2/lora_b");
    ak_tensor *h = ak_relu(formula(ctx, "net/fc1", x, 3));
    cr_expect(apart(ak_forward(net, x), formula(ctx, "net/fc2", h, 3)) <= 10 * tiny,
              "ReLU comes behind the adapter");
    /* Other inputs than a matrix. */
    ak_tensor *cube = ak_reshape(x, AK_SHAPE(2, 2, 5));
    cr_expect(apart(ak_forward(net, cube), ak_forward(net, x)) <= tiny);
    ak_tensor *one = ak_rows(x, 0, 1);
    cr_expect(apart(ak_forward(net, one), ak_rows(ak_forward(net, x), 0, 1)) <= tiny);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(lora, without_bias_and_defaults)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 20, 10, (ak_linear_options){ .no_bias = true });
    cr_assert_eq(ak_lora_add(m, "m", (ak_lora_options){ 0 }), 1);
    cr_expect(ak_shape_equal(ak_param_find(ctx, "m/lora_a")->shape, AK_SHAPE(8, 20)));
    draw(ctx, "m/lora_b");
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 20));
    ak_tensor *want = ak_add(ak_matmul_nt(x, ak_param_find(ctx, "m/weight")),
        ak_matmul_nt(ak_matmul_nt(x, ak_param_find(ctx, "m/lora_a")),
                     ak_param_find(ctx, "m/lora_b")));
    cr_expect(apart(ak_forward(m, x), want) <= 10 * tiny);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- gradients ------------------------------------------------------------------------------- */

static ak_tensor *run_net(ak_tensor *const *in, int n, void *net)
{
    (void)n;
    return ak_forward(net, in[0]);
}

Test(lora, gradients)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_mlp_with(ctx, "net", (int[]){ 5, 7, 3, 0 }, (ak_mlp_options){
        .activation = AK_TANH });
    ak_lora_add(net, "*", (ak_lora_options){ .rank = 2, .alpha = 3 });
    draw(ctx, "net/fc1/lora_b");
    draw(ctx, "net/fc2/lora_b");
    ak_tensor *in[] = { ak_require_grad(ak_keep(ak_randn(ctx, AK_SHAPE(3, 5)))),
                        ak_param_find(ctx, "net/fc1/lora_a"), ak_param_find(ctx, "net/fc1/lora_b"),
                        ak_param_find(ctx, "net/fc2/lora_a"),
                        ak_param_find(ctx, "net/fc2/lora_b") };
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_fn(ctx, run_net, net, in, 5, &r), AK_OK, "%s",
                 ak_error_message(ctx));
    cr_expect(r.worst <= (AK_REAL_BITS == 64 ? 1e-8 : 2e-2), "%g at operand %d", r.worst,
              r.operand);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Frozen parameters: no gradient, and the same bits after steps with decay and momentum. */
Test(lora, the_base_is_frozen)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_projector(ctx, "net", 5, 7, 3);
    ak_module *head = ak_nn_linear(ctx, "head", 3, 2, (ak_linear_options){ 0 });
    ak_lora_add(net, "net/fc1", (ak_lora_options){ .rank = 2 });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.1 });
    const char *base = "net/*,!*lora_*,!*running*";
    const uint32_t before = ak_hash(ctx, base), adapter = ak_hash(ctx, "*lora_a,*lora_b");
    const uint32_t other = ak_hash(ctx, "head/*");
    for (int step = 0; step < 3; step++) {
        ak_tensor *y = ak_forward(head, ak_forward(net, ak_randn(ctx, AK_SHAPE(6, 5))));
        cr_assert_eq(ak_backward(ak_mean(ak_square(y))), AK_OK);
        const ak_tensor *t;
        for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++) {
            double sum = 0;
            for (int64_t k = 0; t->grad && k < t->size; k++)
                sum += fabs((double)t->grad[k]);
            const bool a = ak_match("*/lora_a", t->name), b = ak_match("*/lora_b", t->name);
            if (b || (a && step > 0))       /* b is zero at first, and so is the gradient of a */
                cr_expect(sum > 0, "%s has no gradient", t->name);
            else if (!a)
                cr_expect(sum == 0, "%s has a gradient", t->name);
        }
        ak_optim_step(opt);
        ak_step_end(ctx);
    }
    cr_expect_eq(ak_hash(ctx, base), before);
    cr_expect_neq(ak_hash(ctx, "*lora_a,*lora_b"), adapter);
    cr_expect_neq(ak_hash(ctx, "head/*"), other, "what is not of the module learns on");
    ak_freeze(ctx, "net/bn*", false);
    cr_expect(ak_param_find(ctx, "net/bn1/weight")->needs_grad);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(lora, dropout_only_while_training)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 20, 10, (ak_linear_options){ 0 });
    ak_lora_add(m, "m", (ak_lora_options){ .dropout = 0.5 });
    draw(ctx, "m/lora_b");
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 20));
    cr_expect(apart(ak_forward(m, x), ak_forward(m, x)) > 0.01);
    ak_train_mode(ctx, false);
    cr_expect(apart(ak_forward(m, x), formula(ctx, "m", x, 1)) <= 10 * tiny);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- merging --------------------------------------------------------------------------------- */

Test(lora, merged_is_the_same_and_can_be_undone)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    ak_lora_add(net, "*", (ak_lora_options){ .rank = 3, .alpha = 2 });
    draw(ctx, "net/fc1/lora_b");
    draw(ctx, "net/fc2/lora_b");
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(4, 5)));
    ak_tensor *w = ak_param_find(ctx, "net/fc1/weight"), *w0 = ak_keep(w);
    ak_tensor *before = ak_keep(ak_forward(net, x));
    cr_expect_eq(ak_lora_unmerge(net), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "net/fc1", "no part of its weight");
    cr_assert_eq(ak_lora_merge(net), AK_OK, "%s", ak_error_message(ctx));
    cr_expect(apart(w, w0) > 0.01);
    cr_expect(apart(ak_forward(net, x), before) <= 50 * tiny);
    cr_expect_eq(ak_lora_merge(net), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "net/fc1", "already");
    cr_expect(apart(ak_forward(net, x), before) <= 50 * tiny, "nothing happened");
    cr_expect_eq(ak_lora_save(net, "/tmp/akin-never"), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "net/fc1", "unmerge first");
    cr_assert_eq(ak_lora_unmerge(net), AK_OK, "%s", ak_error_message(ctx));
    cr_expect(apart(w, w0) <= tiny);
    cr_expect(apart(ak_forward(net, x), before) <= 50 * tiny);
    ak_close(ctx);
}

/* Adapters that changed while they were part of the weight: neither used nor taken off. */
Test(lora, changed_since_the_merge)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    ak_lora_add(net, "*", (ak_lora_options){ .rank = 3 });
    draw(ctx, "net/fc1/lora_b");
    ak_lora_merge(net);
    ak_module *teacher = ak_module_clone(net, "teacher");
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(4, 5)));
    cr_expect(apart(ak_forward(teacher, x), ak_forward(net, x)) == 0);
    ak_param_find(ctx, "net/fc1/lora_a")->data[0] += 1;
    cr_expect_eq(ak_lora_unmerge(net), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "net/fc1", "other numbers now");
    ak_ema_update(ctx, "teacher", "net", 0.5);
    cr_expect(ak_is_poison(ak_forward(teacher, x)));
    expect_error(ctx, AK_ERR_STATE, "teacher/fc1", "other numbers now");
    ak_close(ctx);
}

/* The same in a forward pass that was right before: another number is noticed. */
Test(lora, changed_after_a_forward_pass)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    ak_lora_add(net, "*", (ak_lora_options){ .rank = 3 });
    draw(ctx, "net/fc1/lora_b");
    ak_lora_merge(net);
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(4, 5)));
    cr_expect_not(ak_is_poison(ak_forward(net, x)));
    ak_fill(ak_param_find(ctx, "net/fc1/lora_b"), 0.25);
    cr_expect(ak_is_poison(ak_forward(net, x)));
    expect_error(ctx, AK_ERR_STATE, "net/fc1", "other numbers now");
    ak_close(ctx);
}

/* Modules that multiply by a layer's weight themselves: the adapter is in it. */
Test(lora, of_layers_whose_weight_another_module_uses)
{
    ak_ctx *ctx = quiet();
    ak_module *pool = ak_nn_query_pool(ctx, "pool", 6, (ak_query_pool_options){ .heads = 2 });
    ak_module *words = ak_lm_head(ctx, "words", 6, 9, (ak_lm_head_options){ 0 });
    ak_tensor *map = ak_keep(ak_randn(ctx, AK_SHAPE(2, 3, 3, 6)));
    ak_module *nets[] = { pool, words };
    ak_tensor *x[] = { map, ak_keep(ak_randn(ctx, AK_SHAPE(4, 6))) };
    for (int i = 0; i < 2; i++) {
        ak_tensor *before = ak_keep(ak_forward(nets[i], x[i]));
        cr_assert(ak_lora_add(nets[i], "*", (ak_lora_options){ .rank = 2 }) > 0, "%s",
                  ak_error_message(ctx));
        cr_expect(apart(ak_forward(nets[i], x[i]), before) <= 50 * tiny);
        ak_tensor *t;
        for (int64_t k = 0; (t = ak_module_param(nets[i], k)) != NULL; k++)
            if (strstr(t->name, "lora_b"))
                draw(ctx, t->name);
        ak_tensor *apart_from = ak_keep(ak_forward(nets[i], x[i]));
        cr_expect(apart(apart_from, before) > 1e-3, "every adapter counts");
        ak_backward(ak_sum(ak_square(ak_forward(nets[i], x[i]))));
        for (int64_t k = 0; (t = ak_module_param(nets[i], k)) != NULL; k++) {
            double sum = 0;
            if (!ak_match("*/lora_a,*/lora_b", t->name))
                continue;
            for (int64_t n = 0; n < t->size; n++)
                sum += fabs((double)t->grad[n]);
            cr_expect(sum > 0, "%s gets no gradient", t->name);
        }
        cr_expect_eq(ak_lora_merge(nets[i]), AK_OK);
        cr_expect(apart(ak_forward(nets[i], x[i]), apart_from) <= 1000 * tiny, "%g",
                  apart(ak_forward(nets[i], x[i]), apart_from));
    }
    ak_module *dropped = ak_nn_query_pool(ctx, "dropped", 6, (ak_query_pool_options){ 0 });
    ak_lora_add(dropped, "dropped/key", (ak_lora_options){ .dropout = 0.5 });
    cr_expect(ak_is_poison(ak_forward(dropped, map)));
    expect_error(ctx, AK_ERR_UNSUPPORTED, "dropped/key", ".dropout = 0.5");
    ak_close(ctx);
}

/* ---- copies and files ------------------------------------------------------------------------ */

Test(lora, copies)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    ak_lora_add(net, "*", (ak_lora_options){ .rank = 2, .alpha = 5 });
    draw(ctx, "net/fc1/lora_b");
    ak_module *copy = ak_module_clone(net, "copy");
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 5));
    cr_assert_not_null(copy, "%s", ak_error_message(ctx));
    cr_expect(apart(ak_forward(copy, x), ak_forward(net, x)) == 0);
    cr_expect_eq(ak_lora_merge(copy), AK_OK);
    cr_expect(apart(ak_forward(copy, x), ak_forward(net, x)) <= 50 * tiny);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(lora, checkpoint_and_adapter_files)
{
    char dir[64];
    const char *whole = path_in(new_folder(dir), "whole"), *some = path_in(dir, "adapter");
    ak_real want[12];
    for (int merged = 0; merged < 2; merged++) {
        ak_ctx *ctx = quiet();
        ak_module *net = net_of(ctx, "net");
        ak_tensor *x = ak_full(ctx, AK_SHAPE(4, 5), 0.5);
        ak_lora_add(net, "net/fc1", (ak_lora_options){ .rank = 2, .alpha = 5 });
        draw(ctx, "net/fc1/lora_b");
        if (!merged)
            cr_expect_eq(ak_lora_save(net, some), AK_OK, "%s", ak_error_message(ctx));
        if (merged)
            ak_lora_merge(net);
        memcpy(want, ak_forward(net, x)->data, sizeof want);
        cr_expect_eq(ak_save(ctx, whole), AK_OK);
        cr_expect_eq(ak_close(ctx), AK_OK);
        /* Into a net with other numbers and another alpha: the file's are taken. */
        ctx = quiet();
        net = net_of(ctx, "net");
        x = ak_full(ctx, AK_SHAPE(4, 5), 0.5);
        ak_lora_add(net, "net/fc1", (ak_lora_options){ .rank = 2, .alpha = 1 });
        cr_expect_eq(ak_load(ctx, whole), AK_OK, "%s", ak_error_message(ctx));
        cr_expect_eq(memcmp(ak_forward(net, x)->data, want, sizeof want), 0);
        if (merged)
            cr_expect_eq(ak_lora_unmerge(net), AK_OK);
        cr_expect_eq(ak_close(ctx), AK_OK);
        if (merged)
            continue;
        ctx = quiet();
        net = net_of(ctx, "net");           /* the same seed: the same base */
        x = ak_full(ctx, AK_SHAPE(4, 5), 0.5);
        ak_lora_add(net, "net/fc1", (ak_lora_options){ .rank = 2, .alpha = 1 });
        cr_expect_eq(ak_lora_load(net, some), AK_OK, "%s", ak_error_message(ctx));
        cr_expect_eq(memcmp(ak_forward(net, x)->data, want, sizeof want), 0);
        ak_lora_merge(net);
        ak_lora_load(net, some);
        expect_error(ctx, AK_ERR_STATE, "net/fc1", "unmerge first");
        ak_module *plain = net_of(ctx, "plain");
        ak_lora_load(plain, some);
        expect_error(ctx, AK_ERR_NOT_FOUND, "plain", "has an adapter");
        ak_lora_add(plain, "*", (ak_lora_options){ .rank = 3 });
        ak_lora_load(plain, some);
        expect_error(ctx, AK_ERR_FORMAT, "fc1/lora_a: another shape", "fc2/lora_a: missing");
        ak_close(ctx);
    }
    remove_folder(dir);
}

/* ---- what is refused ------------------------------------------------------------------------- */

Test(lora, refused)
{
    ak_ctx *ctx = quiet();
    ak_module *net = net_of(ctx, "net");
    const uint32_t before = ak_hash(ctx, "*");
    cr_expect_eq(ak_lora_add(net, "net/fx1", (ak_lora_options){ 0 }), 0);
    expect_error(ctx, AK_ERR_NOT_FOUND, "no linear layer of net fits \"net/fx1\"",
                 "near are \"net/fc1\", \"net/fc2\"");
    const struct { ak_lora_options o; const char *word; } wrong[] = {
        { { .rank = -1 }, ".rank = -1" }, { { .alpha = -2 }, ".alpha = -2" },
        { { .alpha = (double)NAN }, ".alpha" }, { { .alpha = 1e31 }, ".alpha" },
        { { .dropout = 1 }, ".dropout = 1" }, { { .dropout = -0.5 }, ".dropout" },
        { { .a = { .kind = (ak_init_kind)77 } }, "unknown kind 77" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(ak_lora_add(net, "*", wrong[i].o), 0);
        expect_error(ctx, AK_ERR_VALUE, wrong[i].word, "lora");
    }
    cr_expect_eq(ak_hash(ctx, "*"), before);
    cr_expect(ak_param_find(ctx, "net/fc1/weight")->needs_grad, "nothing was frozen");
    cr_assert_eq(ak_lora_add(net, "net/fc2", (ak_lora_options){ 0 }), 1);
    cr_expect_eq(ak_lora_add(net, "*", (ak_lora_options){ 0 }), 0);
    expect_error(ctx, AK_ERR_VALUE, "net/fc2", "an adapter already");
    cr_expect_null(ak_param_find(ctx, "net/fc1/lora_a"), "nothing was made");
    cr_assert_eq(ak_lora_add(net, "net/fc1", (ak_lora_options){ 0 }), 1);
    cr_expect(ak_param_find(ctx, "net/fc2/lora_a")->needs_grad, "earlier adapters learn on");
    ak_module *bn = ak_nn_batch_norm(ctx, "bn", 2, (ak_batch_norm_options){ 0 });
    ak_lora_merge(bn);
    expect_error(ctx, AK_ERR_NOT_FOUND, "no linear layer of bn", "ak_lora_add");
    ak_close(ctx);
}

/* ---- learning rates by layer ----------------------------------------------------------------- */

static ak_module *tower(ak_ctx *ctx)
{
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "vit", NULL));
    ak_nn_linear(ctx, "embed", 2, 2, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "blocks/0", 2, 2, (ak_linear_options){ 0 });
    ak_nn_activation(ctx, "act", AK_TANH);
    ak_nn_linear(ctx, "blocks/1", 2, 2, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "head", 2, 2, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

/* One step of SGD with gradients of 1: each parameter moves by its learning rate. */
static void expect_rates(ak_ctx *ctx, ak_optim *opt, double embed, double first, double second,
                         double head)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        ak_fill(t, 0);
        for (int64_t k = 0; k < t->size; k++)
            t->grad[k] = 1;
    }
    cr_assert_eq(ak_optim_step(opt), AK_OK);
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        const double want = strstr(t->name, "embed") ? embed : strstr(t->name, "blocks/0") ? first
                          : strstr(t->name, "blocks/1") ? second : head;
        for (int64_t k = 0; k < t->size; k++)
            cr_expect(fabs((double)t->data[k] + 0.5 * want) < 1e-7, "%s moved by %g, not %g",
                      t->name, (double)t->data[k], -0.5 * want);
    }
}

Test(layer_decay, factors_and_a_step)
{
    ak_ctx *ctx = quiet();
    ak_module *m = tower(ctx);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.5 });
    cr_assert_eq(ak_optim_layer_decay(opt, (const char *const[]){
        "vit/embed/*", "vit/blocks/0/*", "vit/blocks/1/*", "*", NULL }, 0.75), AK_OK, "%s",
        ak_error_message(ctx));
    expect_rates(ctx, opt, 0.75 * 0.75 * 0.75, 0.75 * 0.75, 0.75, 1);
    cr_assert_eq(ak_optim_layer_decay(opt, ak_module_layers(m), 0.5), AK_OK, "%s",
                 ak_error_message(ctx));
    expect_rates(ctx, opt, 0.125, 0.25, 0.5, 1);
    cr_assert_eq(ak_optim_layer_decay(opt, (const char *const[]){ "*embed*", "~none*", "*", NULL },
                                      0.5), AK_OK);
    expect_rates(ctx, opt, 0.25, 1, 1, 1);
    cr_assert_eq(ak_optim_layer_decay(opt, (const char *const[]){ "*", NULL }, 0.5), AK_OK);
    expect_rates(ctx, opt, 1, 1, 1, 1);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

static ak_tensor *no_forward(ak_module *m, ak_tensor *x)
{
    (void)m;
    return x;
}

Test(layer_decay, layers_of_a_module)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_module_begin(ak_module_new(ctx, "vit", no_forward, NULL));
    ak_module_add_param(m, "cls", AK_SHAPE(1), 0);
    ak_module_add_buffer(m, "grid", AK_SHAPE(1));
    ak_module_add_param(m, "pos", AK_SHAPE(1), 0);
    ak_nn_dropout(ctx, "drop", 0.1);
    ak_nn_linear(ctx, "block", 1, 1, (ak_linear_options){ 0 });
    ak_module_end(m);
    const char *const *layers = ak_module_layers(m);
    cr_assert_not_null(layers, "%s", ak_error_message(ctx));
    cr_expect_str_eq(layers[0], "vit/cls,vit/pos");
    cr_expect_str_eq(layers[1], "vit/block/*");
    cr_expect_null(layers[2]);
    /* A block that runs twice, and an output layer whose weights are the embedding's. */
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_module *words = ak_nn_linear(ctx, "words", 4, 4, (ak_linear_options){ .no_bias = true });
    ak_module *same = ak_nn_linear(ctx, "same", 4, 4, (ak_linear_options){ 0 });
    ak_module_end(net);
    ak_module_add(net, same);
    ak_module_add(net, ak_lm_head(ctx, "scores", 4, 4, (ak_lm_head_options){
        .tied = words, .no_bias = true }));
    layers = ak_module_layers(net);
    cr_assert_not_null(layers, "%s", ak_error_message(ctx));
    cr_expect_str_eq(layers[0], "net/words/*");
    cr_expect_str_eq(layers[1], "net/same/*");
    cr_expect_null(layers[2]);
    cr_expect_eq(ak_optim_layer_decay(ak_sgd(ctx, "net/*", (ak_sgd_options){ .lr = 1 }), layers,
                                      0.5), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_null(ak_module_layers(ak_nn_dropout(ctx, "d", 0.5)));
    expect_error(ctx, AK_ERR_VALUE, "d has no parameters", "ak_module_layers");
    ak_close(ctx);
}

Test(layer_decay, refused)
{
    ak_ctx *ctx = quiet();
    tower(ctx);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.5 });
    const char *const rest[] = { "*embed*", "*", NULL };
    const struct {
        const char *layers[4];
        double      decay;
        ak_status   status;
        const char *word;
    } w[] = {
        { { "*", NULL }, 0, AK_ERR_VALUE, "decay = 0" },
        { { "*", NULL }, 1.5, AK_ERR_VALUE, "decay = 1.5" },
        { { "*", NULL }, (double)NAN, AK_ERR_VALUE, "decay = " },
        { { NULL }, 0.5, AK_ERR_VALUE, "no layer" },
        { { "*embed*", "*blocks*", NULL }, 0.5, AK_ERR_VALUE, "vit/head/" },
        { { "*", "*embed*", NULL }, 0.5, AK_ERR_VALUE, "layer 1, \"*embed*\"" },
        { { "*embt*", "*", NULL }, 0.5, AK_ERR_NOT_FOUND, "*embt*" } };
    ak_optim_layer_decay(opt, rest, 0.5);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        cr_expect_eq(ak_optim_layer_decay(opt, w[i].layers, w[i].decay), w[i].status);
        expect_error(ctx, w[i].status, w[i].word, "optim_layer_decay");
    }
    expect_rates(ctx, opt, 0.5, 1, 1, 1);       /* nothing has changed */
    ak_close(ctx);
}

/* ---- parts of transformers ------------------------------------------------------------------- */

/* Layers whose products are joined take adapters like any other: what the adapted model returns is
 * what it returns with them merged, and each of them learns. */
static void expect_adapted(ak_module *m, ak_inputs in, const char *pattern, int64_t layers)
{
    ak_tensor *plain = ak_keep(ak_forward_with(m, in));
    ak_ctx *ctx = plain->ctx;
    cr_assert_eq(ak_lora_add(m, pattern, (ak_lora_options){ .rank = 2 }), layers, "%s: %s", pattern,
                 ak_error_message(ctx));
    cr_expect(apart(ak_forward_with(m, in), plain) <= 10 * tiny, "%s: B is zero", pattern);
    ak_tensor *p;
    int64_t seen = 0;
    for (int64_t i = 0; (p = ak_param_at(ctx, i)) != NULL; i++)
        if (strstr(p->name, "/lora_b"))
            ak_copy(p, ak_randn(ctx, p->shape));
    ak_tensor *adapted = ak_forward_with(m, in);
    cr_expect(apart(adapted, plain) > 0, "%s", pattern);
    ak_zero_grad(ctx);
    ak_tensor *w = ak_randn(ctx, adapted->shape);
    cr_assert_eq(ak_backward(ak_sum(ak_mul(adapted, w))), AK_OK, "%s", ak_error_message(ctx));
    for (int64_t i = 0; (p = ak_param_at(ctx, i)) != NULL; i++) {
        double largest = 0;
        for (int64_t k = 0; p->grad && k < p->size; k++)
            largest = fmax(largest, fabs((double)p->grad[k]));
        seen += strstr(p->name, "/lora_") != NULL && largest > 0;
    }
    cr_expect_eq(seen, 2 * layers, "%s: %d adapters learn", pattern, (int)seen);
    adapted = ak_keep(ak_forward_with(m, in));
    cr_assert_eq(ak_lora_merge(m), AK_OK, "%s", ak_error_message(ctx));
    cr_expect(apart(ak_forward_with(m, in), adapted) <= 100 * tiny, "%s: merged", pattern);
}

Test(lora, attention_and_gated_layers)
{
    ak_ctx *ctx = quiet();
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2, 3), (int32_t[]){ 1, 2, 3, 4, 5, 1 });
    const ak_inputs words = { .ids = ak_index_keep(ids) };
    const ak_init large = { .kind = AK_INIT_NORMAL, .scale = 0.5 };
    ak_module *bert = ak_bert(ctx, "bert", (ak_bert_options){
        .vocab = 6, .width = 8, .layers = 2, .heads = 2, .positions = 3 });
    expect_adapted(bert, words, "bert/encoder/*/query", 2);
    bert = ak_bert(ctx, "all", (ak_bert_options){
        .vocab = 6, .width = 8, .layers = 1, .heads = 2, .positions = 3 });
    expect_adapted(bert, words, "all/encoder/*", 6);
    ak_module *t5 = ak_t5_encoder(ctx, "t5", (ak_t5_options){
        .vocab = 6, .width = 8, .layers = 1, .heads = 2, .gated = true,
        .activation = AK_GELU_TANH });
    expect_adapted(t5, words, "t5/encoder/*", 7);
    ak_module *vit = ak_vit(ctx, "vit", (ak_vit_options){
        .image = 4, .patch = 2, .channels = 1, .width = 8, .layers = 1, .heads = 2 });
    expect_adapted(vit, (ak_inputs){ .x = ak_keep(ak_randn(ctx, AK_SHAPE(2, 4, 4, 1))) },
                   "vit/blocks/*", 4);
    ak_module *cross = ak_nn_attention(ctx, "cross", 8, (ak_attention_layer_options){
        .heads = 2, .cross = true, .names = AK_NAMES_CLIP, .weight = large });
    expect_adapted(cross, (ak_inputs){ .x = ak_keep(ak_randn(ctx, AK_SHAPE(2, 3, 8))),
                                       .memory = ak_keep(ak_randn(ctx, AK_SHAPE(2, 4, 8))) },
                   "cross/*", 4);
    cr_expect_eq(ak_close(ctx), AK_OK);
}
