/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: names, state lists, evaluation mode, shapes in errors, layers against their ops. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_shape(const ak_tensor *t, ak_shape want)
{
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    cr_assert(!ak_is_poison(t), "poison: %s", ak_error_message(t->ctx));
    cr_expect(ak_shape_equal(t->shape, want), "got %s, want %s", ak_shape_text(t->shape, a),
              ak_shape_text(want, b));
}

static double largest_difference(const ak_tensor *a, const ak_tensor *b)
{
    cr_assert_eq(a->size, b->size);
    double worst = 0;
    for (int64_t i = 0; i < a->size; i++)
        worst = fmax(worst, fabs((double)a->data[i] - (double)b->data[i]));
    return worst;
}

Test(module, names_are_paths_and_patterns_select)
{
    ak_ctx *ctx = quiet();
    ak_module *enc = ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 4, 6 } });
    ak_mlp(ctx, "projector", (int[]){ 6, 5, 3, 0 });
    const char *const names[] = { "conv1/weight", "bn1/weight", "bn1/bias", "bn1/running_mean",
                                  "bn1/running_var", "conv2/weight", "bn2/weight", "bn2/bias",
                                  "bn2/running_mean", "bn2/running_var" };
    int64_t n = 0;
    for (; ak_module_param(enc, n); n++)
        cr_expect_eq(ak_module_param(enc, n), ak_module_find(enc, names[n]), "%s", names[n]);
    cr_assert_eq(n, 10);
    expect_shape(ak_param_find(ctx, "encoder/conv2/weight"), AK_SHAPE(6, 3, 3, 4));
    cr_assert_eq(ak_freeze(ctx, "encoder/*", true), 6);
    cr_assert_eq(ak_freeze(ctx, "projector/*", true), 4);
    cr_assert_null(ak_module_find(enc, "conv9/weight"));
    cr_assert_null(ak_module_param(enc, 10));
    cr_assert_null(ak_module_param(enc, -1));
    cr_assert_eq(ak_module_size(enc), 4 * 9 + 8 + 6 * 9 * 4 + 12);
    ak_close(ctx);
}

Test(module, biases_and_norms_do_not_decay)
{
    ak_ctx *ctx = quiet();
    ak_resnet18(ctx, "net", (ak_resnet_options){ .width = 2, .classes = 3 });
    int decayed = 0, others = 0;
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        if (t->flags & AK_PARAM_BUFFER)
            continue;
        cr_expect_eq(t->shape.n == 1, (t->flags & AK_PARAM_NO_DECAY) != 0, "%s", t->name);
        *(t->flags & AK_PARAM_NO_DECAY ? &others : &decayed) += 1;
    }
    cr_assert_eq(decayed, 21, "20 convolutions and fc, got %d", decayed);
    cr_assert_eq(others, 2 * 20 + 1, "two of each norm and the bias of fc, got %d", others);
    ak_close(ctx);
}

Test(module, shapes_of_encoders_and_heads)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 13, 11, 2));
    ak_module *enc = ak_convnet(ctx, "a", (ak_convnet_options){ .channels = { 2, 3, 5, 7 },
                                                                .pool = 2 });
    expect_shape(ak_forward(enc, x), AK_SHAPE(3, 2 * 2 * 7));
    enc = ak_convnet(ctx, "b", (ak_convnet_options){ .channels = { 2, 5 } });
    expect_shape(ak_forward(enc, x), AK_SHAPE(3, 5));
    ak_module *net = ak_resnet18(ctx, "c", (ak_resnet_options){ .channels = 2, .width = 2 });
    expect_shape(ak_forward(net, x), AK_SHAPE(3, 16));
    net = ak_resnet18(ctx, "d", (ak_resnet_options){ .channels = 2, .width = 2, .stem = 7,
                                                     .classes = 4 });
    expect_shape(ak_forward(net, x), AK_SHAPE(3, 4));
    ak_tensor *v = ak_randn(ctx, AK_SHAPE(6, 8));
    expect_shape(ak_forward(ak_projector(ctx, "p", 8, 12, 5), v), AK_SHAPE(6, 5));
    expect_shape(ak_forward(ak_predictor(ctx, "q", 8, 3), v), AK_SHAPE(6, 8));
    expect_shape(ak_forward(ak_mlp(ctx, "m", (int[]){ 8, 2, 0 }), v), AK_SHAPE(6, 2));
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(module, layers_are_their_ops)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 6));
    ak_module *fc = ak_nn_linear(ctx, "fc", 6, 3, (ak_linear_options){ 0 });
    ak_tensor *want = ak_linear(x, ak_param_find(ctx, "fc/weight"), ak_param_find(ctx, "fc/bias"));
    cr_expect_eq(largest_difference(ak_forward(fc, x), want), 0);

    ak_module *bare = ak_nn_linear(ctx, "bare", 6, 3, (ak_linear_options){ .no_bias = true,
                                                                          .relu = true });
    cr_expect_null(ak_param_find(ctx, "bare/bias"));
    want = ak_relu(ak_linear(x, ak_param_find(ctx, "bare/weight"), NULL));
    cr_expect_lt(largest_difference(ak_forward(bare, x), want), 1e-6);

    ak_tensor *p = ak_randn(ctx, AK_SHAPE(2, 7, 5, 4));
    ak_module *conv = ak_nn_conv2d(ctx, "conv", 4, 6, 3, (ak_conv_layer_options){
        .stride = 2, .padding = 1, .groups = 2 });
    want = ak_conv2d(p, ak_param_find(ctx, "conv/weight"), ak_param_find(ctx, "conv/bias"),
                     (ak_conv_options){ .stride = 2, .padding = 1, .groups = 2 });
    cr_expect_eq(largest_difference(ak_forward(conv, p), want), 0);
    expect_shape(ak_param_find(ctx, "conv/weight"), AK_SHAPE(6, 3, 3, 2));

    ak_module *up = ak_nn_conv2d_transposed(ctx, "up", 4, 6, 2, (ak_conv_layer_options){
        .stride = 2, .groups = 2 });
    expect_shape(ak_param_find(ctx, "up/weight"), AK_SHAPE(4, 2, 2, 3));
    expect_shape(ak_forward(up, p), AK_SHAPE(2, 14, 10, 6));
    ak_module *seq = ak_nn_conv1d(ctx, "seq", 4, 6, 3, (ak_conv_layer_options){ .padding = 1 });
    expect_shape(ak_forward(seq, ak_randn(ctx, AK_SHAPE(2, 9, 4))), AK_SHAPE(2, 9, 6));

    want = ak_layer_norm(x, NULL, NULL, 1e-5);
    cr_expect_lt(largest_difference(ak_forward(ak_nn_layer_norm(ctx, "ln", 6, 0), x), want), 1e-6);
    want = ak_rms_norm(x, NULL, 1e-6);
    cr_expect_lt(largest_difference(ak_forward(ak_nn_rms_norm(ctx, "rms", 6, 0), x), want), 1e-6);
    want = ak_group_norm(p, NULL, NULL, 2, 1e-5);
    cr_expect_lt(largest_difference(ak_forward(ak_nn_group_norm(ctx, "gn", 4, 2, 0), p), want),
                 1e-6);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(module, every_activation_is_its_op)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3), (ak_real[]){ -2, (ak_real)0.5, 3 });
    const double at_minus_two[] = { 0, -0.02, exp(-2) - 1, -0.0455002639, -0.0454023059,
                                    -2 / (1 + exp(2)), 1 / (1 + exp(2)), tanh(-2),
                                    log(1 + exp(-2)), -2 * (1.0 / 6), -2 / (1 + exp(3.404)), -2 };
    for (int kind = 0; kind <= AK_IDENTITY; kind++) {
        char name[8];
        snprintf(name, sizeof name, "a%d", kind);
        const ak_tensor *y = ak_forward(ak_nn_activation(ctx, name, (ak_activation)kind), x);
        cr_expect_float_eq((double)y->data[0], at_minus_two[kind], 1e-5, "activation %d: %g, not "
                           "%g", kind, (double)y->data[0], at_minus_two[kind]);
    }
    cr_expect_null(ak_nn_activation(ctx, "none", (ak_activation)99));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(module, containers)
{
    ak_ctx *ctx = quiet();
    ak_module *a = ak_nn_linear(ctx, "net/a", 4, 4, (ak_linear_options){ 0 });
    ak_module *b = ak_nn_activation(ctx, "net/b", AK_TANH);
    ak_module *net = ak_nn_sequential(ctx, "net", (ak_module *[]){ a, b, NULL });
    ak_module *res = ak_nn_residual(ctx, "res", net, NULL, AK_RELU);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 4));
    ak_tensor *inner = ak_tanh(ak_forward(a, x));
    cr_expect_eq(largest_difference(ak_forward(net, x), inner), 0);
    cr_expect_eq(largest_difference(ak_forward(res, x), ak_relu(ak_add(inner, x))), 0);
    cr_expect_eq(ak_module_param(res, 0), ak_param_find(ctx, "net/a/weight"));
    cr_expect_eq(ak_module_child(res, 0), net);
    cr_expect_null(ak_module_child(res, 1));

    ak_module *narrow = ak_nn_linear(ctx, "narrow", 4, 3, (ak_linear_options){ 0 });
    ak_module *bad = ak_nn_residual(ctx, "bad", narrow, NULL, AK_RELU);
    cr_expect(ak_is_poison(ak_forward(bad, x)));
    cr_expect_not_null(strstr(ak_error_message(ctx), "bad (residual)"), "%s",
                       ak_error_message(ctx));
    ak_close(ctx);
}

Test(module, wrong_shapes_name_the_path)
{
    ak_ctx *ctx = quiet();
    ak_module *enc = ak_convnet(ctx, "net/encoder", (ak_convnet_options){ .channels = { 3, 4 } });
    ak_module *head = ak_mlp(ctx, "net/head", (int[]){ 4, 2, 0 });
    cr_expect(ak_is_poison(ak_forward(enc, ak_zeros(ctx, AK_SHAPE(2, 8, 8, 1)))));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "net/encoder (convnet -> 4): expected x "
                              "[N, H, W, 3], got [2,8,8,1]"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_forward(head, ak_zeros(ctx, AK_SHAPE(2, 5)))));
    cr_expect_not_null(strstr(ak_error_message(ctx), "net/head/fc1"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    ak_module *bn = ak_nn_batch_norm(ctx, "net/bn", 4, (ak_batch_norm_options){ 0 });
    cr_expect(ak_is_poison(ak_forward(bn, ak_zeros(ctx, AK_SHAPE(1, 4)))));
    cr_expect_not_null(strstr(ak_error_message(ctx), "batch of 1"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    ak_train_mode(ctx, false);
    cr_expect_not(ak_is_poison(ak_forward(bn, ak_zeros(ctx, AK_SHAPE(1, 4)))));
    ak_close(ctx);
}

Test(module, construction_errors)
{
    ak_ctx *ctx = quiet();
    cr_assert_not_null(ak_mlp(ctx, "a", (int[]){ 4, 2, 0 }));
    cr_expect_null(ak_mlp(ctx, "a", (int[]){ 4, 2, 0 }), "the names are in use");
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    cr_expect_null(ak_mlp(ctx, "b", (int[]){ 4, 2, 0 }), "an error is pending");
    cr_expect(ak_is_poison(ak_forward(NULL, ak_zeros(ctx, AK_SHAPE(1)))));
    ak_step_end(ctx);
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        ak_step_end(ctx);                                                                          \
        cr_expect_null((call), "%s", #call);                                                       \
        cr_expect_eq(ak_error(ctx), AK_ERR_VALUE, "%s", #call);                                    \
    } while (0)
    REFUSED(ak_mlp(ctx, "c", (int[]){ 4, 0 }));
    REFUSED(ak_nn_linear(ctx, "d", 0, 4, (ak_linear_options){ 0 }));
    REFUSED(ak_nn_conv2d(ctx, "e", 4, 6, 3, (ak_conv_layer_options){ .groups = 3 }));
    REFUSED(ak_nn_group_norm(ctx, "f", 4, 3, 0));
    REFUSED(ak_nn_dropout(ctx, "g", 1));
    REFUSED(ak_convnet(ctx, "h", (ak_convnet_options){ .channels = { 1 } }));
    REFUSED(ak_resnet18(ctx, "i", (ak_resnet_options){ .stem = 5 }));
    REFUSED(ak_module_new(ctx, "", NULL, NULL));
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_forward(NULL, ak_zeros(ctx, AK_SHAPE(1)))));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(module, evaluation_mode_of_a_part)
{
    ak_ctx *ctx = quiet();
    ak_module *bn = ak_nn_batch_norm(ctx, "bn", 3, (ak_batch_norm_options){ 0 });
    ak_module *drop = ak_nn_dropout(ctx, "drop", 0.5);
    ak_module *net = ak_nn_sequential(ctx, "net", (ak_module *[]){ bn, drop, NULL });
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(64, 3));
    const uint32_t before = ak_hash(ctx, "bn/running*");
    ak_module_train(net, false);
    ak_tensor *y = ak_forward(net, x);
    cr_expect_lt(largest_difference(y, x), 1e-4, "running statistics are 0 and 1 at first");
    cr_expect_eq(ak_hash(ctx, "bn/running*"), before, "evaluation leaves them");
    cr_expect(ak_is_training(ctx), "the context's mode is back");
    ak_module_train(net, true);
    y = ak_forward(net, x);
    int zeros = 0;
    for (int64_t i = 0; i < y->size; i++)
        zeros += y->data[i] == 0;
    cr_expect(zeros > 50 && zeros < 142, "%d of 192 dropped", zeros);
    cr_expect_neq(ak_hash(ctx, "bn/running*"), before);
    ak_train_mode(ctx, false);
    cr_expect_eq(largest_difference(ak_forward(drop, x), x), 0);
    ak_close(ctx);
}

typedef struct gate { ak_module *value, *gate; ak_tensor *scale; } gate;

static ak_tensor *gate_forward(ak_module *m, ak_tensor *x)
{
    const gate *g = ak_module_user(m);
    ak_tensor *y = ak_mul(ak_forward(g->value, x), ak_sigmoid(ak_forward(g->gate, x)));
    return ak_mul(y, g->scale);
}

Test(module, of_ones_own)
{
    ak_ctx *ctx = quiet();
    gate g = { 0 };
    ak_module *m = ak_module_new(ctx, "gated", gate_forward, &g);
    g.value = ak_module_add(m, ak_nn_linear(ctx, "gated/value", 3, 2, (ak_linear_options){ 0 }));
    g.gate = ak_module_add(m, ak_nn_linear(ctx, "gated/gate", 3, 2, (ak_linear_options){ 0 }));
    g.scale = ak_module_add_param(m, "scale", AK_SHAPE(2), AK_PARAM_NO_DECAY);
    cr_assert_eq(ak_init_fill(g.scale, (ak_init){ .kind = AK_INIT_CONSTANT, .scale = 2 }), AK_OK);
    ak_module_describe(m, "gate %d -> %d", 3, 2);
    cr_expect_eq(ak_module_size(m), 2 * (6 + 2) + 2);
    ak_backward(ak_sum(ak_forward(m, ak_randn(ctx, AK_SHAPE(5, 3)))));
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        double sum = 0;
        for (int64_t k = 0; k < t->size; k++)
            sum += fabs((double)t->grad[k]);
        cr_expect_gt(sum, 0, "%s got no gradient", t->name);
    }
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(module, print_shows_the_tree)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_mlp_with(ctx, "head", (int[]){ 8, 4, 2, 0 }, (ak_mlp_options){
        .batch_norm = true, .activation = AK_GELU, .dropout = 0.1 });
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    ak_module_print(m, file);
    fclose(file);
    const char *const parts[] = { "head", "mlp 8 -> 4 -> 2", "fc1", "linear 8 -> 4, no bias",
                                  "[4,8]", "bn1", "running_mean", "buffer", "act1", "GELU",
                                  "drop2", "dropout 0.1", "fc2", "50" };
    const char *at = text;
    for (size_t i = 0; i + 1 < sizeof parts / sizeof *parts; i++) {
        at = strstr(at, parts[i]);
        cr_assert_not_null(at, "\"%s\" is missing or out of order in:\n%s", parts[i], text);
    }
    char total[32];
    snprintf(total, sizeof total, "%d", 32 + 8 + 8 + 2);
    cr_expect_not_null(strstr(text, total), "%s", text);
    free(text);
    ak_close(ctx);
}

/* Every allocation fails once, and from then on: an error and NULL, never a crash. */
Test(module, running_out_of_memory)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            cr_assert_lt(k, 5000);
            ak_ctx *ctx = quiet();
            ak_fail_alloc_after(k, sticky);
            ak_module *net = ak_resnet18(ctx, "net", (ak_resnet_options){ .width = 2,
                                                                         .classes = 3 });
            ak_module *head = ak_projector(ctx, "head", 3, 4, 2);
            ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ 0 });
            ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 5, 5, 3));
            ak_tensor *loss = ak_mean(ak_square(ak_forward(head, ak_forward(net, x))));
            ak_backward(loss);
            ak_optim_step(opt);
            ak_fail_alloc_after(0, false);
            done = ak_error(ctx) == AK_OK;
            if (!done)
                cr_assert_eq(ak_error(ctx), AK_ERR_MEMORY, "allocation %d: %s", (int)k,
                             ak_error_message(ctx));
            ak_step_end(ctx);
            ak_close(ctx);
        }
    }
}
