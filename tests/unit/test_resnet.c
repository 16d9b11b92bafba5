/* SPDX-License-Identifier: Apache-2.0 */
/* ResNets beside what the golden file has: names and sizes, maps and features, the start, split
 * batch norms, views of several sizes in one step. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/heads.h>
#include <akin/ops.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-11 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_tensor *pictures(ak_ctx *ctx, int64_t n, int64_t side, uint64_t draw)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, side, side, 3));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)ak_random_normal(9, draw, (uint64_t)i);
    return x;
}

static void expect_close(const ak_tensor *a, const ak_tensor *b, const char *what)
{
    cr_assert(ak_shape_equal(a->shape, b->shape), "%s", what);
    for (int64_t i = 0; i < a->size; i++)
        cr_assert_float_eq((double)a->data[i], (double)b->data[i],
                           TOL * fmax(1, fabs((double)b->data[i])), "%s: %lld", what,
                           (long long)i);
}

/* Sizes that everybody knows: torchvision's, with 1000 classes and a 7x7 stem. */
Test(resnet, parameters_of_torchvision)
{
    const struct { int depth; int64_t size; } known[] = { { 18, 11689512 }, { 34, 21797672 },
                                                          { 50, 25557032 } };
    for (size_t i = 0; i < 3; i++) {
        ak_ctx *ctx = quiet();
        ak_module *m = ak_resnet(ctx, "net", (ak_resnet_options){
            .depth = known[i].depth, .stem = 7, .classes = 1000 });
        cr_assert_not_null(m, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_module_size(m), known[i].size, "ResNet-%d: %lld", known[i].depth,
                     (long long)ak_module_size(m));
        const bool deep = known[i].depth == 50;
        cr_expect_not_null(ak_module_find(m, "layer1/0/conv1/weight"));
        cr_expect_eq(ak_module_find(m, "layer1/0/downsample/0/weight") != NULL, deep);
        cr_expect_not_null(ak_module_find(m, "layer4/0/downsample/1/running_var"));
        cr_expect_eq(ak_module_find(m, "layer3/1/conv3/weight") != NULL, deep);
        cr_expect_eq(ak_module_find(m, "layer3/5/bn2/weight") != NULL, known[i].depth > 18);
        cr_expect_null(ak_module_find(m, "layer3/6/bn2/weight"));
        ak_close(ctx);
    }
}

/* Pooling and the last layer stand on the map. */
Test(resnet, map_features_classes)
{
    for (int depth = 34; depth <= 50; depth += 16) {
        ak_ctx *ctx = quiet();
        const ak_resnet_options o = { .width = 4, .depth = depth };
        ak_resnet_options map = o, classes = o;
        map.map = true;
        classes.classes = 3;
        ak_module *a = ak_resnet(ctx, "a", map), *b = ak_resnet(ctx, "b", o);
        ak_module *c = ak_resnet(ctx, "c", classes);
        cr_assert_not_null(c, "%s", ak_error_message(ctx));
        for (int64_t i = 0; ak_module_param(a, i); i++) {
            ak_copy(ak_module_param(b, i), ak_module_param(a, i));
            ak_copy(ak_module_param(c, i), ak_module_param(a, i));
        }
        ak_train_mode(ctx, false);
        ak_tensor *x = pictures(ctx, 2, 16, 0);
        ak_tensor *y = ak_forward(a, x);
        const int F = depth == 50 ? 128 : 32;
        cr_expect(ak_shape_equal(y->shape, AK_SHAPE(2, 2, 2, F)));
        ak_tensor *features = ak_global_avg_pool(y);
        expect_close(ak_forward(b, x), features, "features");
        expect_close(ak_forward(c, x), ak_linear(features, ak_module_find(c, "fc/weight"),
                                                 ak_module_find(c, "fc/bias")), "classes");
        ak_close(ctx);
    }
}

/* With the last norms at 0 a block without downsampling is its shortcut, rectified. */
Test(resnet, last_norms_start_at_zero)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_resnet50(ctx, "net", (ak_resnet_options){ .width = 2, .zero_last = true });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    int zeros = 0;
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        const bool last = strstr(t->name, "/bn3/weight") != NULL;
        zeros += last;
        if (last || strstr(t->name, "bn2/weight"))
            cr_expect_eq(t->data[0], last ? 0 : 1, "%s", t->name);
    }
    cr_expect_eq(zeros, 16);
    ak_module *basic = ak_resnet18(ctx, "basic", (ak_resnet_options){ .zero_last = true,
                                                                      .width = 2 });
    cr_expect_eq(ak_module_find(basic, "layer2/1/bn2/weight")->data[1], 0);
    cr_expect_eq(ak_module_find(basic, "layer2/1/bn1/weight")->data[1], 1);
    ak_module *plain = ak_resnet18(ctx, "plain", (ak_resnet_options){ .width = 2 });
    cr_expect_eq(ak_module_find(plain, "layer2/1/bn2/weight")->data[1], 1);
    ak_close(ctx);
}

Test(resnet, refusals)
{
    ak_ctx *ctx = quiet();
    const ak_resnet_options wrong[] = { { .depth = 19 }, { .stem = 5 }, { .width = -1 },
                                        { .classes = 2, .map = true }, { .groups = -1 } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_null(ak_resnet(ctx, "net", wrong[i]));
        cr_expect_eq(ak_error(ctx), AK_ERR_VALUE, "%zu", i);
        ak_step_end(ctx);
    }
    cr_expect_null(ak_resnet50(ctx, "net", (ak_resnet_options){ .depth = 18 }));
    cr_expect_not_null(strstr(ak_error_message(ctx), ".depth = 18"), "%s", ak_error_message(ctx));
    ak_close(ctx);
}

/* ---- split batch norms ----------------------------------------------------------------------- */

/* Groups of the batch are as so many passes, output and gradients bit for bit; running statistics
 * are the mean of what the passes would have made. */
Test(split_norm, as_passes_of_their_own)
{
    enum { G = 3, N = 4 };
    ak_ctx *ctx = quiet();
    ak_module *split = ak_nn_batch_norm(ctx, "split", 5, (ak_batch_norm_options){
        .groups = G, .relu = true });
    ak_module *whole = ak_nn_batch_norm(ctx, "whole", 5, (ak_batch_norm_options){ .relu = true });
    cr_assert_not_null(split, "%s", ak_error_message(ctx));
    for (int i = 0; i < 5; i++)
        ak_module_param(split, 0)->data[i] = ak_module_param(whole, 0)->data[i] =
            (ak_real)(1 + 0.3 * i);
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(G * N, 2, 3, 5)));
    ak_tensor *x2 = ak_require_grad(ak_from(ctx, x->shape, x->data));
    ak_tensor *w = ak_randn(ctx, x->shape);
    ak_tensor *y = ak_forward(split, x);
    cr_assert_eq(ak_backward(ak_sum(ak_mul(y, w))), AK_OK, "%s", ak_error_message(ctx));
    double mean[5] = { 0 }, var[5] = { 0 };
    ak_tensor *running[2] = { ak_module_find(whole, "running_mean"),
                              ak_module_find(whole, "running_var") };
    ak_tensor *parts[G];
    for (int g = 0; g < G; g++) {
        ak_fill(running[0], 0);
        ak_fill(running[1], 1);
        parts[g] = ak_forward(whole, ak_rows(x2, g * N, N));
        for (int c = 0; c < 5; c++) {
            mean[c] += (double)running[0]->data[c] / G;
            var[c] += (double)running[1]->data[c] / G;
        }
    }
    ak_tensor *joined = ak_concat_n(0, parts, G);
    cr_assert_eq(ak_backward(ak_sum(ak_mul(joined, w))), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(memcmp(y->data, joined->data, (size_t)y->size * sizeof *y->data), 0, "output");
    cr_expect_eq(memcmp(x->grad, x2->grad, (size_t)x->size * sizeof *x->grad), 0, "dx");
    for (int c = 0; c < 5; c++) {
        cr_expect_float_eq((double)ak_module_find(split, "running_mean")->data[c], mean[c], 1e-6);
        cr_expect_float_eq((double)ak_module_find(split, "running_var")->data[c], var[c], 1e-6);
        for (int p = 0; p < 2; p++)
            cr_expect_float_eq((double)ak_module_param(split, p)->grad[c],
                               (double)ak_module_param(whole, p)->grad[c], 1e-4);
    }
    ak_close(ctx);
}

Test(split_norm, evaluation_and_refusals)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_batch_norm(ctx, "split", 2, (ak_batch_norm_options){ .groups = 4 });
    ak_train_mode(ctx, false);
    cr_expect(ak_shape_equal(ak_forward(m, ak_randn(ctx, AK_SHAPE(3, 2)))->shape, AK_SHAPE(3, 2)),
              "any batch in evaluation mode");
    ak_train_mode(ctx, true);
    const int64_t wrong[] = { 6, 4 };       /* no multiple; one value a channel and group */
    for (int i = 0; i < 2; i++) {
        cr_expect(ak_is_poison(ak_forward(m, ak_randn(ctx, AK_SHAPE(wrong[i], 2)))));
        cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
        cr_expect_not_null(strstr(ak_error_message(ctx), "split"), "%s", ak_error_message(ctx));
        cr_expect_not_null(strstr(ak_error_message(ctx), "group"), "%s", ak_error_message(ctx));
        ak_step_end(ctx);
    }
    cr_expect_null(ak_nn_batch_norm(ctx, "bad", 2, (ak_batch_norm_options){ .groups = -2 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* Units of convolution and norm, chains and whole nets take no moments of the whole batch. */
Test(split_norm, in_nets)
{
    ak_ctx *ctx = quiet();
    ak_module *split = ak_resnet18(ctx, "split", (ak_resnet_options){ .width = 4, .groups = 2 });
    ak_module *whole = ak_resnet18(ctx, "whole", (ak_resnet_options){ .width = 4 });
    cr_assert_not_null(whole, "%s", ak_error_message(ctx));
    ak_module *chain = ak_module_begin(ak_nn_sequential(ctx, "chain", NULL));
    ak_nn_conv2d(ctx, "conv", 3, 4, 3, (ak_conv_layer_options){ .padding = 1 });
    ak_nn_batch_norm(ctx, "bn", 4, (ak_batch_norm_options){ .groups = 2 });
    ak_module_end(chain);
    for (int64_t i = 0; ak_module_param(split, i); i++)
        ak_copy(ak_module_param(split, i), ak_module_param(whole, i));
    ak_tensor *x = pictures(ctx, 6, 16, 1);
    ak_tensor *y = ak_forward(split, x), *c = ak_forward(chain, x);
    for (int half = 0; half < 2; half++) {
        ak_tensor *part = ak_rows(x, 3 * half, 3);
        expect_close(ak_forward(whole, part), ak_rows(y, 3 * half, 3), "resnet");
    }
    ak_tensor *conv = ak_conv2d(ak_rows(x, 3, 3), ak_module_find(chain, "conv/weight"),
                                ak_module_find(chain, "conv/bias"),
                                (ak_conv_options){ .padding = 1 });
    expect_close(ak_batch_norm(conv, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 }),
                 ak_rows(c, 3, 3), "chain");
    ak_close(ctx);
}

/* ---- several sizes --------------------------------------------------------------------------- */

/* Two large and three small views: two passes, rows view by view. */
Test(views, one_pass_a_size)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 3, 4, 6 } });
    ak_tensor *views[5], *alone[5];
    for (int v = 0; v < 5; v++)
        views[v] = pictures(ctx, 2 + v % 2, v < 2 ? 12 : 6, (uint64_t)v);
    ak_train_mode(ctx, false);
    for (int v = 0; v < 5; v++)
        alone[v] = ak_forward(m, views[v]);
    expect_close(ak_forward_views(m, views, 5), ak_concat_n(0, alone, 5), "all");
    expect_close(ak_forward_views(m, views, 1), alone[0], "one");
    ak_train_mode(ctx, true);
    ak_tensor *large = ak_forward(m, ak_concat(0, views[0], views[1]));
    ak_tensor *z = ak_forward_views(m, views, 5);
    expect_close(ak_rows(z, 0, 5), large, "batch norm over both large views");
    cr_assert_eq(ak_backward(ak_mean(ak_square(z))), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_neq(ak_module_find(m, "conv1/weight")->grad[0], 0);
    ak_close(ctx);
}

Test(views, refusals)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 3, 4 },
                                                                .map = true });
    ak_tensor *views[2] = { pictures(ctx, 2, 8, 0), pictures(ctx, 2, 4, 1) };
    cr_expect(ak_is_poison(ak_forward_views(m, views, 2)));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "hint"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_forward_views(m, views, 0)));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}
