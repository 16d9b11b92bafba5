/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions, norms, softmax, losses on rows, pooling, resizing and attention against PyTorch:
 * outputs, gradients of inputs and parameters, buffers. Weights in the files are in PyTorch's
 * layout. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "golden.h"

static ak_ctx *ctx;
static golden_file *file;

/* cK_name of the running case. */
static int at;
static const char *key(const char *name)
{
    return golden_key("c%d_%s", at, name);
}

static bool has(const char *name)
{
    return golden_has(file, key(name));
}

static ak_tensor *leaf(const char *name)
{
    return has(name) ? ak_require_grad(golden_tensor(ctx, file, key(name))) : NULL;
}

static int whole(const char *name, int absent)
{
    return (int)golden_number_or(file, key(name), absent);
}

static void expect(const ak_real *got, const char *name)
{
    char msg[GOLDEN_MESSAGE];
    cr_assert(got, "%s: nothing to compare", key(name));
    cr_expect(golden_close(got, file, key(name), GOLDEN_TOL, msg), "%s", msg);
}

/* 0 in a file is 0, in an option it is the default. */
static double eps(double absent)
{
    const double x = golden_number_or(file, key("opt_eps"), absent);
    return x == 0 ? 1e-300 : x;
}

static double number(const char *name, double absent)
{
    return golden_number_or(file, key(name), absent);
}

/* Output, then its gradients from the stored upstream gradient. */
static void expect_output(ak_tensor *y)
{
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    const ak_shape shape = golden_shape(file, key("y"));
    const bool number_in_both = y->size == 1 && ak_shape_size(shape) == 1;      /* [] or [1] */
    cr_assert(number_in_both || ak_shape_equal(y->shape, shape), "%s has another shape", key("y"));
    expect(y->data, "y");
    const ak_tensor *gy = golden_tensor(ctx, file, key("gy"));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
}

static void each_case(const char *name, void (*one)(void))
{
    file = golden_open(name);
    cr_assert(file, "no file %s", name);
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    const int cases = golden_cases(file);
    cr_assert(cases > 0);
    for (at = 0; at < cases; at++) {
        one();
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    ak_close(ctx);
    golden_free(file);
}

/* ---- convolution ----------------------------------------------------------------------------- */

/* PyTorch's weights [A, B, k..] as ours [A, k.., B]. */
static ak_tensor *turned(const char *name)
{
    const ak_tensor *w = golden_tensor(ctx, file, key(name));
    ak_shape s = w->shape;
    const int64_t A = s.dims[0], B = s.dims[1], K = w->size / (A * B);
    for (int i = 1; i + 1 < s.n; i++)
        s.dims[i] = w->shape.dims[i + 1];
    s.dims[s.n - 1] = B;
    ak_tensor *t = ak_zeros(ctx, s);
    for (int64_t i = 0; i < w->size; i++)
        t->data[(i / (B * K) * K + i % K) * B + i / K % B] = w->data[i];
    return ak_require_grad(t);
}

/* And a gradient of ours back, compared. */
static void expect_turned(const ak_tensor *w, const char *name)
{
    const int64_t A = w->shape.dims[0], B = w->shape.dims[w->shape.n - 1], K = w->size / (A * B);
    ak_tensor *t = ak_zeros(ctx, w->shape);
    cr_assert(w->grad);
    for (int64_t i = 0; i < w->size; i++)
        t->data[i] = w->grad[(i / (B * K) * K + i % K) * B + i / K % B];
    expect(t->data, name);
}

static ak_conv_options conv_options(void)
{
    return (ak_conv_options){ .stride = whole("opt_stride", 1), .padding = whole("opt_padding", 0),
                              .dilation = whole("opt_dilation", 1),
                              .groups = whole("opt_groups", 1),
                              .output_padding = whole("opt_output_padding", 0) };
}

typedef ak_tensor *conv_fn(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o);

static void conv_case(conv_fn *fn)
{
    ak_tensor *x = leaf("x"), *w = turned("p_weight"), *b = leaf("p_bias");
    expect_output(fn(x, w, b, conv_options()));
    expect(x->grad, "gx");
    expect_turned(w, "gp_weight");
    if (b)
        expect(b->grad, "gp_bias");
}

static void conv2d_case(void) { conv_case(ak_conv2d); }
static void conv1d_case(void) { conv_case(ak_conv1d); }
static void transposed_case(void) { conv_case(ak_conv2d_transposed); }

Test(golden, conv2d) { each_case("layer-conv2d", conv2d_case); }
Test(golden, conv1d) { each_case("layer-conv1d", conv1d_case); }
Test(golden, conv2d_transposed) { each_case("layer-conv2d-transposed", transposed_case); }

/* ---- norms ----------------------------------------------------------------------------------- */

static void norm_grads(const ak_tensor *x, const ak_tensor *w, const ak_tensor *b)
{
    expect(x->grad, "gx");
    if (w)
        expect(w->grad, "gp_weight");
    if (b)
        expect(b->grad, "gp_bias");
}

static void batch_norm_case(void)
{
    ak_tensor *x = leaf("x"), *w = leaf("p_weight"), *b = leaf("p_bias");
    const bool running = has("b0_running_mean");
    ak_tensor *mean = running ? golden_tensor(ctx, file, key("b0_running_mean")) : NULL;
    ak_tensor *var = running ? golden_tensor(ctx, file, key("b0_running_var")) : NULL;
    const double momentum = number("opt_momentum", 0.1);
    ak_train_mode(ctx, whole("opt_train", 1) != 0);
    expect_output(ak_batch_norm(x, w, b, mean, var, (ak_batch_norm_options){
        .eps = eps(1e-5), .momentum = momentum == 0 ? AK_NONE : momentum }));
    norm_grads(x, w, b);
    if (running) {
        expect(mean->data, "b_running_mean");
        expect(var->data, "b_running_var");
    }
}

static void layer_norm_case(void)
{
    ak_tensor *x = leaf("x"), *w = leaf("p_weight"), *b = leaf("p_bias");
    expect_output(ak_layer_norm(x, w, b, eps(1e-5)));
    norm_grads(x, w, b);
}

static void group_norm_case(void)
{
    ak_tensor *x = leaf("x"), *w = leaf("p_weight"), *b = leaf("p_bias");
    expect_output(ak_group_norm(x, w, b, whole("opt_groups", 0), eps(1e-5)));
    norm_grads(x, w, b);
}

static void rms_norm_case(void)
{
    ak_tensor *x = leaf("x"), *w = leaf("p_weight");
    expect_output(ak_rms_norm(x, w, eps(1e-6)));
    norm_grads(x, w, NULL);
}

static void l2_norm_case(void)
{
    ak_tensor *x = leaf("x");
    expect_output(ak_l2_normalize(x));
    norm_grads(x, NULL, NULL);
}

Test(golden, batch_norm) { each_case("layer-batchnorm", batch_norm_case); }
Test(golden, layer_norm) { each_case("layer-layernorm", layer_norm_case); }
Test(golden, group_norm) { each_case("layer-groupnorm", group_norm_case); }
Test(golden, rms_norm) { each_case("layer-rmsnorm", rms_norm_case); }
Test(golden, l2_normalize) { each_case("layer-l2norm", l2_norm_case); }

/* ---- softmax and losses ---------------------------------------------------------------------- */

/* The axis and the last one change places. */
static ak_tensor *swapped(ak_tensor *x, int axis)
{
    int axes[AK_MAX_DIMS];
    const int last = x->shape.n - 1, a = axis < 0 ? axis + x->shape.n : axis;
    for (int d = 0; d <= last; d++)
        axes[d] = d == a ? last : d == last ? a : d;
    return a == last ? x : ak_permute(x, axes);
}

static void softmax_case(void)
{
    ak_tensor *x = leaf("x");
    const int axis = whole("opt_axis", -1);
    ak_tensor *scaled = swapped(ak_scale(x, 1 / number("opt_temperature", 1)), axis);
    const char *name = golden_text(file, key("opt_name"));
    if (strcmp(name, "softmax") == 0)
        expect_output(swapped(ak_softmax(scaled), axis));
    else if (strcmp(name, "log_softmax") == 0)
        expect_output(swapped(ak_log_softmax(scaled), axis));
    else
        cr_assert_fail("unknown function %s", name);
    expect(x->grad, "gx");
}

/* "mean" where the file does not say. */
static ak_reduction reduction(void)
{
    static const char *const names[] = { "mean", "sum", "none" };
    const char *name = golden_text(file, key("opt_reduction"));
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i]))
            return (ak_reduction)i;
    cr_assert_str_eq(name, "", "reduction %s", name);
    return AK_REDUCE_MEAN;
}

static void cross_entropy_case(void)
{
    ak_tensor *x = leaf("x");
    const double s = number("opt_label_smoothing", 0);
    ak_tensor *weights = has("class_weights") ? golden_tensor(ctx, file, key("class_weights"))
                                              : NULL;
    if (has("soft_target")) {
        ak_tensor *t = golden_tensor(ctx, file, key("soft_target"));
        t = ak_add_scalar(ak_scale(t, 1 - s), s / (double)x->shape.dims[1]);
        expect_output(ak_cross_entropy_soft_with(x, t, (ak_soft_options){
            .reduction = reduction(), .class_weights = weights }));
    } else {
        expect_output(ak_cross_entropy(x, golden_index(ctx, file, key("target")),
                                       (ak_cross_entropy_options){
            .label_smoothing = s, .ignore_index = whole("opt_ignore_index", -100),
            .has_ignore = true, .reduction = reduction(), .class_weights = weights }));
    }
    expect(x->grad, "gx");
}

/* Rows' distance with PyTorch's epsilon: |a - b + 1e-6|. */
static ak_tensor *distance(ak_tensor *a, ak_tensor *b)
{
    return ak_sqrt(ak_sum_axis(ak_square(ak_add_scalar(ak_sub(a, b), 1e-6)), -1));
}

/* TripletMarginLoss(p=2): mean of max(d(x, x2) - d(x, x3) + margin, 0). */
static ak_tensor *triplet_margin(ak_tensor *x, ak_tensor *x2, ak_tensor *x3)
{
    return ak_mean(ak_relu(ak_add_scalar(ak_sub(distance(x, x2), distance(x, x3)),
                                         number("opt_margin", 1))));
}

static ak_tensor *named_loss(const char *name, ak_tensor *x, ak_tensor *x2, ak_tensor *x3)
{
    ak_tensor *t = has("target") ? golden_tensor(ctx, file, key("target")) : NULL;
    if (strcmp(name, "mse") == 0)
        return ak_mse(x, t);
    if (strcmp(name, "l1") == 0)
        return ak_l1(x, t);
    if (strcmp(name, "huber") == 0)
        return ak_huber(x, t, golden_number_or(file, key("opt_delta"), 1));
    if (strcmp(name, "smooth_l1") == 0)
        return ak_smooth_l1(x, t, golden_number_or(file, key("opt_beta"), 1));
    if (strcmp(name, "bce_logits") == 0)
        return ak_bce_logits(x, t);
    if (strcmp(name, "kl_div_batchmean_of_logits") == 0)
        return ak_kl_div_logits(x, t);
    if (strcmp(name, "cosine_similarity") == 0)
        return ak_cosine_similarity(x, x2);
    if (strcmp(name, "triplet_margin") == 0)
        return triplet_margin(x, x2, x3);
    cr_assert_fail("unknown loss %s", name);
    return NULL;
}

static void simple_loss_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2"), *x3 = leaf("x3");
    ak_tensor *loss = named_loss(golden_text(file, key("opt_name")), x, x2, x3);
    cr_assert(reduction() != AK_REDUCE_NONE, "the library's losses of elements are means");
    if (reduction() == AK_REDUCE_SUM)           /* all but cosine_similarity are means */
        loss = ak_scale(loss, (double)x->size);
    expect_output(loss);
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    if (x3)
        expect(x3->grad, "gx3");
}

Test(golden, softmax) { each_case("layer-softmax", softmax_case); }
Test(golden, cross_entropy) { each_case("layer-crossentropy", cross_entropy_case); }
Test(golden, simple_losses) { each_case("layer-simple-losses", simple_loss_case); }

/* ---- pooling and resizing -------------------------------------------------------------------- */

static void pool_case(void)
{
    ak_tensor *x = leaf("x");
    const char *kind = golden_text(file, key("opt_kind"));
    const ak_pool_options o = { .kernel = whole("opt_kernel", 0), .stride = whole("opt_stride", 0),
                                .padding = whole("opt_padding", 0) };
    if (strcmp(kind, "max") == 0)
        expect_output(ak_max_pool2d(x, o));
    else if (strcmp(kind, "avg") == 0)
        expect_output(ak_avg_pool2d(x, o));
    else if (strcmp(kind, "global") == 0)
        expect_output(ak_global_avg_pool(x));
    else if (strcmp(kind, "adaptive") == 0)
        expect_output(ak_adaptive_avg_pool2d(x, whole("opt_oh", 0), whole("opt_ow", 0)));
    else
        cr_assert_fail("unknown pooling %s", kind);
    expect(x->grad, "gx");
}

static void resize_case(void)
{
    ak_tensor *x = leaf("x");
    expect_output(ak_resize_bilinear(x, whole("opt_oh", 0), whole("opt_ow", 0)));
    expect(x->grad, "gx");
}

Test(golden, pool) { each_case("layer-pool", pool_case); }
Test(golden, resize) { each_case("layer-resize", resize_case); }

/* ---- attention ------------------------------------------------------------------------------- */

static void attention_case(void)
{
    ak_tensor *q = leaf("x"), *k = leaf("x2"), *v = leaf("x3");
    const char *mask = golden_text(file, key("opt_mask"));
    ak_attention_options o = { .causal = strstr(mask, "causal") != NULL,
                               .scale = number("opt_scale", 0) };
    const bool padded = strstr(mask, "padding") != NULL;
    cr_assert(o.causal || padded || !strcmp(mask, "full"), "mask %s", mask);
    if (padded)
        o.key_lengths = golden_index(ctx, file, key("key_lengths"));
    expect_output(ak_attention(q, k, v, o));
    expect(q->grad, "gx");
    expect(k->grad, "gx2");
    expect(v->grad, "gx3");
}

/* The part-th third of the joint projection's weight [3 C, C] and bias [3 C] or none, on x. */
static ak_tensor *project(ak_tensor *x, ak_tensor *w, ak_tensor *b, int part)
{
    const int64_t C = w->shape.dims[1];
    return ak_linear(x, ak_slice(w, 0, part * C, C), b ? ak_slice(b, 0, part * C, C) : NULL);
}

/* PyTorch's MultiheadAttention: heads stay side by side in the last axis. */
static void multihead_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2"), *from = x2 ? x2 : x;
    ak_tensor *w = leaf("p_in_proj_weight"), *b = leaf("p_in_proj_bias");
    ak_tensor *w_out = leaf("p_out_proj.weight"), *b_out = leaf("p_out_proj.bias");
    ak_tensor *y = ak_attention(project(x, w, b, 0), project(from, w, b, 1),
                                project(from, w, b, 2),
                                (ak_attention_options){ .heads = whole("opt_heads", 0) });
    expect_output(ak_linear(y, w_out, b_out));
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect(w->grad, "gp_in_proj_weight");
    expect(w_out->grad, "gp_out_proj.weight");
    if (b) {
        expect(b->grad, "gp_in_proj_bias");
        expect(b_out->grad, "gp_out_proj.bias");
    }
}

Test(golden, attention) { each_case("layer-attention", attention_case); }
Test(golden, multihead) { each_case("layer-multihead", multihead_case); }
