/* SPDX-License-Identifier: Apache-2.0 */
/* Every option of every options struct, and every scalar argument with a range, outside of it:
 * below, above, NaN, infinite, an enum value that does not exist. All refused, with a message that
 * names the option. What the option means is tested elsewhere. */
#include <criterion/criterion.h>

#include <akin/akin.h>

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "abuse.h"

static struct {
    ak_ctx *ctx;
    ak_tensor *x, *z, *picture, *filter, *cube, *heads, *log_scale;
    ak_index *ids;
    ak_dataset *set, *pictures;
    ak_module *net;
    ak_features *features;
    ak_optim *optim;
    int calls;
} w;

static void begin(void)
{
    w.ctx = abuse_open(1);
    w.net = ak_nn_linear(w.ctx, "net", 4, 2, (ak_linear_options){ 0 });
    w.optim = ak_adamw(w.ctx, "net*", (ak_adamw_options){ 0 });
    w.log_scale = ak_temperature(w.ctx, "scale", 0);
    w.set = ak_dataset_tensor(w.ctx, ak_randn(w.ctx, AK_SHAPE(40, 4)), (int32_t[40]){ 0, 1 });
    w.pictures = ak_dataset_drawn(w.ctx, 1, 0, 40);
    w.features = ak_features_open(NULL, w.set, (ak_features_options){ 0 });
    cr_assert_eq(ak_step_end(w.ctx), AK_OK);
}

static void begin_step(void)
{
    w.x = ak_uniform(w.ctx, AK_SHAPE(4, 4), 0.1, 0.9);
    w.z = ak_randn(w.ctx, AK_SHAPE(4, 4));
    w.picture = ak_randn(w.ctx, AK_SHAPE(1, 6, 6, 4));
    w.filter = ak_randn(w.ctx, AK_SHAPE(4, 3, 3, 4));
    w.cube = ak_randn(w.ctx, AK_SHAPE(2, 3, 4));
    w.heads = ak_randn(w.ctx, AK_SHAPE(2, 2, 3, 4));
    w.ids = ak_index_from(w.ctx, AK_SHAPE(4), (int32_t[]){ 0, 1, 2, 3 });
}

static void expect_refused(const char *call, const char *word, int line)
{
    const ak_status status = ak_error(w.ctx);
    const char *message = ak_error_message(w.ctx);
    w.calls++;
    cr_expect(status == AK_ERR_VALUE || status == AK_ERR_SHAPE, "line %d: %s: %s", line, call,
              ak_status_name(status));
    cr_expect(status == AK_OK || strstr(message, word) != NULL, "line %d: %s: no \"%s\" in: %s",
              line, call, word, message);
    ak_step_end(w.ctx);
}

#define REFUSED(word, ...)                                                                         \
    do {                                                                                           \
        begin_step();                                                                              \
        (void)(__VA_ARGS__);                                                                       \
        expect_refused(#__VA_ARGS__, word, __LINE__);                                              \
    } while (0)
/* For an option that is a number > 0, >= 0 or any, in an expression with v for its value. */
#define NOT_A_NUMBER(word, ...)                                                                    \
    do {                                                                                           \
        const double bad_[] = { (double)NAN, (double)INFINITY, -(double)INFINITY };                \
        for (int i_ = 0; i_ < 3; i_++) {                                                           \
            const double v = bad_[i_];                                                             \
            REFUSED(word, __VA_ARGS__);                                                            \
        }                                                                                          \
    } while (0)
#define NEGATIVE(word, ...)                                                                        \
    do {                                                                                           \
        const double v = -0.5;                                                                     \
        REFUSED(word, __VA_ARGS__);                                                                \
    } while (0)
#define BELOW_0(word, ...) NOT_A_NUMBER(word, __VA_ARGS__); NEGATIVE(word, __VA_ARGS__)
/* Beyond [0, 1] (and 1 itself, where `one`). */
#define NO_SHARE(word, one, ...)                                                                   \
    do {                                                                                           \
        const double bad_[] = { (double)NAN, -0.5, 1.5, (one) ? 1 : 2 };                           \
        for (int i_ = 0; i_ < 4; i_++) {                                                           \
            const double v = bad_[i_];                                                             \
            REFUSED(word, __VA_ARGS__);                                                            \
        }                                                                                          \
    } while (0)
#define NO_COUNT(word, ...)                                                                        \
    do {                                                                                           \
        const int bad_[] = { -1, -5, INT_MIN };                                                    \
        for (int i_ = 0; i_ < 3; i_++) {                                                           \
            const int v = bad_[i_];                                                                \
            REFUSED(word, __VA_ARGS__);                                                            \
        }                                                                                          \
    } while (0)

static void say(const char *what)
{
    printf("options: %d refused calls of %s\n", w.calls, what);
}

Test(options, ops)
{
    begin();
    REFUSED("scale", ak_scale(w.x, (double)NAN));
    REFUSED("add_scalar", ak_add_scalar(w.x, (double)NAN));
    REFUSED("pow", ak_pow(w.x, (double)NAN));
    REFUSED("slope", ak_leaky_relu(w.x, (double)NAN));
    REFUSED("alpha", ak_elu(w.x, (double)NAN));
    REFUSED("clamp", ak_clamp(w.x, 1, 0));
    REFUSED("clamp", ak_clamp(w.x, (double)NAN, 0));
    REFUSED("clamp", ak_clamp(w.x, 0, (double)NAN));
    REFUSED("correction", ak_var_axis(w.x, 0, -1));
    REFUSED("correction", ak_var_axis(w.x, 0, 4));
    REFUSED("axis", ak_sum_axis(w.x, 2));
    REFUSED("axis", ak_softmax(ak_sum(w.x)));
    REFUSED("rules", ak_mask(w.x, 8));
    REFUSED("rules", ak_mask(w.x, -1));
    REFUSED("padding", ak_embedding(w.x, w.ids, -5));
    REFUSED("padding", ak_embedding(w.x, w.ids, 4));
    REFUSED("classes", ak_one_hot(w.ids, -1));
    REFUSED("parts", ak_split(w.x, 0, -1, &w.z));
    NO_SHARE("label_smoothing", true,
             ak_cross_entropy(w.x, w.ids, (ak_cross_entropy_options){ .label_smoothing = v }));
    NEGATIVE("delta", ak_huber(w.x, w.z, v));
    REFUSED("delta", ak_huber(w.x, w.z, (double)NAN));
    REFUSED("delta", ak_huber(w.x, w.z, 0));
    NEGATIVE("beta", ak_smooth_l1(w.x, w.z, v));
    REFUSED("beta", ak_smooth_l1(w.x, w.z, (double)NAN));
    BELOW_0("eps", ak_layer_norm(w.x, NULL, NULL, v));
    BELOW_0("eps", ak_rms_norm(w.x, NULL, v));
    BELOW_0("eps", ak_group_norm(w.x, NULL, NULL, 1, v));
    NO_COUNT("groups", ak_group_norm(w.x, NULL, NULL, v, 0));
    REFUSED("groups", ak_group_norm(w.x, NULL, NULL, 3, 0));
    BELOW_0("eps", ak_batch_norm(w.x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .eps = v }));
    NO_SHARE("momentum", false,
             ak_batch_norm(w.x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .momentum = v }));
    BELOW_0("scale", ak_attention(w.heads, w.heads, w.heads, (ak_attention_options){ .scale = v }));
    NO_COUNT("heads", ak_attention(w.cube, w.cube, w.cube, (ak_attention_options){ .heads = v }));
    REFUSED("heads", ak_attention(w.cube, w.cube, w.cube, (ak_attention_options){ .heads = 3 }));
    REFUSED(".heads is not set", ak_attention(w.cube, w.cube, w.cube, (ak_attention_options){ 0 }));
    NO_SHARE("p = ", true, ak_dropout(w.x, v));
    BELOW_0("sigma", ak_gaussian_noise(w.x, v));
    BELOW_0("uniform", ak_uniform(w.ctx, AK_SHAPE(2), 0, v));
    REFUSED("-1", ak_reshape(w.x, AK_SHAPE(-1, -1)));
    REFUSED("reshape", ak_reshape(w.x, AK_SHAPE(INT64_MAX, 2, -1)));
    REFUSED("reshape", ak_reshape(w.x, AK_SHAPE(INT64_MAX, INT64_MAX)));
    REFUSED("reshape", ak_reshape(w.x, AK_SHAPE(-2, -8)));
    REFUSED("reshape", ak_reshape(w.x, (ak_shape){ .n = 7 }));
    REFUSED("reshape", ak_reshape(w.x, (ak_shape){ .n = -1 }));
    REFUSED("flags", ak_param(w.ctx, "p", AK_SHAPE(2), 64));
    REFUSED("0", ak_random_below(1, 1, 1, 0));
    REFUSED("negative", (ak_random_permutation(1, 1, -1, NULL), 0));
    say("ops and tensors");
    ak_close(w.ctx);
}

Test(options, convolutions_and_pools)
{
    begin();
    NO_COUNT("stride", ak_conv2d(w.picture, w.filter, NULL, (ak_conv_options){ .stride = v }));
    NO_COUNT("padding", ak_conv2d(w.picture, w.filter, NULL, (ak_conv_options){ .padding = v }));
    NO_COUNT("dilation", ak_conv2d(w.picture, w.filter, NULL, (ak_conv_options){ .dilation = v }));
    NO_COUNT("groups", ak_conv2d(w.picture, w.filter, NULL, (ak_conv_options){ .groups = v }));
    NO_COUNT("output_padding",
             ak_conv2d_transposed(w.picture, w.filter, NULL,
                                  (ak_conv_options){ .output_padding = v }));
    REFUSED("output_padding", ak_conv2d_transposed(w.picture, w.filter, NULL,
                                                   (ak_conv_options){ .output_padding = 1 }));
    REFUSED("output_padding", ak_conv2d(w.picture, w.filter, NULL,
                                        (ak_conv_options){ .output_padding = 1 }));
    REFUSED("groups", ak_conv2d(w.picture, w.filter, NULL, (ak_conv_options){ .groups = 3 }));
    /* too large is not called too small */
    REFUSED("stride 2147483647 is above", ak_conv2d(w.picture, w.filter, NULL,
                                                    (ak_conv_options){ .stride = INT_MAX }));
    REFUSED("padding 2147483647 is above", ak_conv2d(w.picture, w.filter, NULL,
                                                     (ak_conv_options){ .padding = INT_MAX }));
    REFUSED("dilation 2147483647 is above", ak_conv2d(w.picture, w.filter, NULL,
                                                      (ak_conv_options){ .dilation = INT_MAX }));
    REFUSED("stride 2147483647 is above", ak_conv1d(w.cube, ak_randn(w.ctx, AK_SHAPE(1, 2, 4)),
                                                    NULL, (ak_conv_options){ .stride = INT_MAX }));
    REFUSED("dilation 2147483647 is above",
            ak_conv2d_transposed(w.picture, w.filter, NULL,
                                 (ak_conv_options){ .dilation = INT_MAX }));
    NO_COUNT("kernel", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = v }));
    NO_COUNT("kernel", ak_avg_pool2d(w.picture, (ak_pool_options){ .kernel = v }));
    REFUSED("kernel", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = 0 }));
    NO_COUNT("stride", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = 2, .stride = v }));
    NO_COUNT("padding", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = 2, .padding = v }));
    REFUSED("padding", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = 2, .padding = 2 }));
    REFUSED("kernel", ak_max_pool2d(w.picture, (ak_pool_options){ .kernel = INT_MAX }));
    NO_COUNT("oh", ak_adaptive_avg_pool2d(w.picture, v, 1));
    NO_COUNT("ow", ak_adaptive_avg_pool2d(w.picture, 1, v));
    NO_COUNT("oh", ak_resize_bilinear(w.picture, v, 1));
    REFUSED("ow", ak_resize_bilinear(w.picture, 1, 0));
    REFUSED("oh", ak_resize_bilinear(w.picture, INT64_MAX, 2));
    say("convolutions and pools");
    ak_close(w.ctx);
}

Test(options, losses)
{
    begin();
    BELOW_0("temperature", ak_loss_ntxent(w.z, w.x, (ak_ntxent_options){ .tau = v }));
    REFUSED("temperature", ak_loss_ntxent(w.z, w.x, (ak_ntxent_options){ .tau = 1e-40 }));
    NO_SHARE("smoothing", true,
             ak_loss_ntxent(w.z, w.x, (ak_ntxent_options){ .label_smoothing = v }));
    REFUSED("weight", ak_loss_ntxent(w.z, w.x, (ak_ntxent_options){
        .weights = ak_from(w.ctx, AK_SHAPE(4), (ak_real[]){ 1, -1, 1, 1 }) }));
    REFUSED("weight", ak_loss_ntxent(w.z, w.x, (ak_ntxent_options){
        .weights = ak_from(w.ctx, AK_SHAPE(4), (ak_real[]){ 1, (ak_real)NAN, 1, 1 }) }));
    REFUSED("2 to", ak_loss_ntxent_list((ak_tensor *[]){ w.z, w.x }, 65, (ak_ntxent_options){ 0 }));
    REFUSED("2 to", ak_loss_ntxent_list((ak_tensor *[]){ w.z, w.x }, 1, (ak_ntxent_options){ 0 }));
    REFUSED("2 to", ak_loss_ntxent_list((ak_tensor *[]){ w.z, w.x }, -1, (ak_ntxent_options){ 0 }));
    REFUSED("V in [2, 64]", ak_loss_ntxent_views(ak_randn(w.ctx, AK_SHAPE(65, 2, 2)),
                                            (ak_ntxent_options){ 0 }));
    BELOW_0("temperature", ak_loss_infonce(w.z, w.x, (ak_infonce_options){ .tau = v }));
    REFUSED("pair weight", ak_loss_infonce(w.z, w.x, (ak_infonce_options){
        .pair_weights = ak_full(w.ctx, AK_SHAPE(4, 4), -1) }));
    REFUSED("pair weight", ak_loss_infonce(w.z, w.x, (ak_infonce_options){
        .pair_weights = ak_full(w.ctx, AK_SHAPE(4, 4), (double)NAN) }));
    REFUSED("target", ak_loss_infonce(w.z, w.x, (ak_infonce_options){
        .targets = ak_full(w.ctx, AK_SHAPE(4, 4), (double)NAN) }));
    REFUSED("target_columns", ak_loss_infonce(w.z, w.x, (ak_infonce_options){
        .target_weights = ak_full(w.ctx, AK_SHAPE(4, 1), 1) }));
    REFUSED("target_columns", ak_loss_infonce_composed(w.z, w.x, (ak_infonce_options){
        .target_columns = ak_index_from(w.ctx, AK_SHAPE(4, 1), (int32_t[]){ 0, 1, 2, 9 }) }));
    BELOW_0("temperature", ak_loss_clip(w.z, w.x, NULL, (ak_infonce_options){ .tau = v }));
    BELOW_0("temperature", ak_loss_supcon(w.z, w.ids, (ak_supcon_options){ .tau = v }));
    BELOW_0("base_tau", ak_loss_supcon(w.z, w.ids, (ak_supcon_options){ .base_tau = v }));
    REFUSED("positives", ak_loss_supcon(w.z, NULL, (ak_supcon_options){
        .positives = ak_full(w.ctx, AK_SHAPE(4, 4), -1) }));
    REFUSED(".weights", ak_loss_ntxent_composed(w.z, w.x, (ak_ntxent_options){
        .weights = ak_full(w.ctx, AK_SHAPE(4), (double)NAN) }));
    REFUSED(".pair_weights", ak_loss_infonce_composed(w.z, w.x, (ak_infonce_options){
        .pair_weights = ak_full(w.ctx, AK_SHAPE(4, 4), -1) }));
    REFUSED(".ids holds 3", ak_loss_supcon_composed(w.z, w.ids, (ak_supcon_options){
        .ids = ak_index_from(w.ctx, AK_SHAPE(3), (int32_t[]){ 0, 1, 2 }) }));
    BELOW_0("temperature", ak_loss_ntxent_composed(w.z, w.x, (ak_ntxent_options){ .tau = v }));
    BELOW_0("temperature", ak_loss_infonce_composed(w.z, w.x, (ak_infonce_options){ .tau = v }));
    BELOW_0("temperature", ak_loss_clip_composed(w.z, w.x, NULL,
                                                 (ak_infonce_options){ .tau = v }));
    BELOW_0("temperature", ak_loss_supcon_composed(w.z, w.ids, (ak_supcon_options){ .tau = v }));
    BELOW_0("tau", ak_temperature(w.ctx, "t", v));
    REFUSED("tau", ak_temperature(w.ctx, "t", 1e-40));
    REFUSED("range", ak_temperature_clamp(w.log_scale, 2, 1));
    REFUSED("range", ak_temperature_clamp(w.log_scale, -1, 1));
    NOT_A_NUMBER("range", ak_temperature_clamp(w.log_scale, 1, v));
    NOT_A_NUMBER("range", ak_temperature_clamp(w.log_scale, v, 100));
    say("losses");
    ak_close(w.ctx);
}

Test(options, modules)
{
    begin();
    ak_ctx *c = w.ctx;
    const ak_activation unknown = (ak_activation)99;
    NO_COUNT("in", ak_nn_linear(c, "l", v, 2, (ak_linear_options){ 0 }));
    NO_COUNT("out", ak_nn_linear(c, "l", 2, v, (ak_linear_options){ 0 }));
    REFUSED("kind 77", ak_nn_linear(c, "l", 2, 2, (ak_linear_options){
        .weight = { .kind = (ak_init_kind)77 } }));
    BELOW_0("scale", ak_nn_linear(c, "l1", 2, 2, (ak_linear_options){
        .weight = { .kind = AK_INIT_NORMAL, .scale = v } }));
    NO_COUNT("kernel", ak_nn_conv2d(c, "c", 2, 2, v, (ak_conv_layer_options){ 0 }));
    NO_COUNT("stride", ak_nn_conv2d(c, "c", 2, 2, 3, (ak_conv_layer_options){ .stride = v }));
    NO_COUNT("padding", ak_nn_conv2d(c, "c", 2, 2, 3, (ak_conv_layer_options){ .padding = v }));
    NO_COUNT("dilation", ak_nn_conv1d(c, "c", 2, 2, 3, (ak_conv_layer_options){ .dilation = v }));
    NO_COUNT("groups", ak_nn_conv1d(c, "c", 2, 2, 3, (ak_conv_layer_options){ .groups = v }));
    NO_COUNT("output_padding", ak_nn_conv2d_transposed(c, "c", 2, 2, 3, (ak_conv_layer_options){
        .output_padding = v }));
    NO_COUNT("features", ak_nn_batch_norm(c, "b", v, (ak_batch_norm_options){ 0 }));
    BELOW_0("eps", ak_nn_batch_norm(c, "b", 2, (ak_batch_norm_options){ .eps = v }));
    NO_SHARE("momentum", false, ak_nn_batch_norm(c, "b1", 2,
                                                 (ak_batch_norm_options){ .momentum = v }));
    BELOW_0("eps", ak_nn_layer_norm(c, "n", 2, v));
    BELOW_0("eps", ak_nn_rms_norm(c, "n", 2, v));
    BELOW_0("eps", ak_nn_group_norm(c, "n", 2, 1, v));
    NO_COUNT("groups", ak_nn_group_norm(c, "n", 2, v, 0));
    REFUSED("activation", ak_nn_activation(c, "a", unknown));
    REFUSED("activation", ak_nn_activation(c, "a", (ak_activation)-1));
    REFUSED("activation", ak_activate(w.x, unknown));
    REFUSED("activation", ak_nn_residual(c, "r", w.net, NULL, unknown));
    REFUSED("activation", ak_mlp_with(c, "m1", (int[]){ 2, 2, 0 },
                                      (ak_mlp_options){ .activation = unknown }));
    NO_SHARE("dropout", true, ak_mlp_with(c, "m2", (int[]){ 2, 2, 0 },
                                          (ak_mlp_options){ .dropout = v }));
    REFUSED("kind 77", ak_mlp_with(c, "m3", (int[]){ 2, 2, 0 },
                                   (ak_mlp_options){ .weight = { .kind = (ak_init_kind)77 } }));
    REFUSED("sizes", ak_mlp(c, "m4", (int[]){ 2, 0 }));
    REFUSED("sizes", ak_mlp(c, "m4", (int[]){ 2, -3, 0 }));
    NO_SHARE("[0, 1)", true, ak_nn_dropout(c, "d", v));
    NO_COUNT("kernel", ak_nn_max_pool2d(c, "p", (ak_pool_options){ .kernel = v }));
    NO_COUNT("stride", ak_nn_avg_pool2d(c, "p", (ak_pool_options){ .kernel = 2, .stride = v }));
    REFUSED("padding", ak_nn_avg_pool2d(c, "p", (ak_pool_options){ .kernel = 2, .padding = 2 }));
    REFUSED("padding", ak_nn_avg_pool2d(c, "p", (ak_pool_options){ .kernel = 2,
                                                                   .padding = INT_MAX }));
    NO_COUNT("height", ak_nn_adaptive_avg_pool2d(c, "p", v, 1));
    NO_COUNT("width", ak_nn_adaptive_avg_pool2d(c, "p", 1, v));
    NO_COUNT("pool", ak_convnet(c, "cn", (ak_convnet_options){ .channels = { 1, 2 }, .pool = v }));
    REFUSED("channels", ak_convnet(c, "cn", (ak_convnet_options){ .channels = { 1, -2 } }));
    NO_COUNT("channels", ak_resnet18(c, "rn", (ak_resnet_options){ .channels = v }));
    NO_COUNT("width", ak_resnet18(c, "rn", (ak_resnet_options){ .width = v }));
    NO_COUNT("classes", ak_resnet18(c, "rn", (ak_resnet_options){ .classes = v }));
    REFUSED("stem", ak_resnet18(c, "rn", (ak_resnet_options){ .stem = 5 }));
    NO_COUNT(".rows", ak_forward_chunked(w.net, (ak_inputs){ .x = w.x },
                                         (ak_chunked_options){ .rows = v }));
    NO_COUNT("micro-batches", ak_accumulate_begin(c, v));
    say("modules");
    ak_close(w.ctx);
}

Test(options, optimisers)
{
    begin();
    ak_ctx *c = w.ctx;
    BELOW_0("lr", ak_sgd(c, "scale", (ak_sgd_options){ .lr = v }));
    BELOW_0("lr", ak_adam(c, "scale", (ak_adamw_options){ .lr = v }));
    BELOW_0("lr", ak_adamw(c, "scale", (ak_adamw_options){ .lr = v }));
    BELOW_0("lr", ak_lars(c, "scale", (ak_lars_options){ .lr = v }));
    BELOW_0("weight_decay", ak_sgd(c, "scale", (ak_sgd_options){ .weight_decay = v }));
    BELOW_0("weight_decay", ak_adamw(c, "scale", (ak_adamw_options){ .weight_decay = v }));
    NO_SHARE("momentum", true, ak_sgd(c, "scale", (ak_sgd_options){ .momentum = v }));
    NO_SHARE("momentum", true, ak_lars(c, "scale", (ak_lars_options){ .momentum = v }));
    NO_SHARE("beta1", true, ak_adamw(c, "scale", (ak_adamw_options){ .beta1 = v }));
    NO_SHARE("beta2", true, ak_adam(c, "scale", (ak_adamw_options){ .beta2 = v }));
    BELOW_0("eps", ak_adamw(c, "scale", (ak_adamw_options){ .eps = v }));
    NO_SHARE("beta1", true, ak_lamb(c, "scale", (ak_lamb_options){ .beta1 = v }));
    BELOW_0("eps", ak_lamb(c, "scale", (ak_lamb_options){ .eps = v }));
    NO_SHARE("alpha", true, ak_rmsprop(c, "scale", (ak_rmsprop_options){ .alpha = v }));
    BELOW_0("eps", ak_adagrad(c, "scale", (ak_adagrad_options){ .eps = v }));
    BELOW_0("trust", ak_lars(c, "scale", (ak_lars_options){ .trust = v }));
    REFUSED("nesterov", ak_sgd(c, "scale", (ak_sgd_options){ .nesterov = true }));
    REFUSED("kind 9", ak_adamw(c, "scale", (ak_adamw_options){
        .schedule = { .kind = (ak_schedule_kind)9 } }));
    REFUSED("warmup", ak_adamw(c, "scale", (ak_adamw_options){ .schedule = ak_constant(-1) }));
    REFUSED("total", ak_adamw(c, "scale", (ak_adamw_options){ .schedule = ak_cosine(0, 0) }));
    REFUSED("every", ak_adamw(c, "scale", (ak_adamw_options){ .schedule = ak_staircase(0, 1) }));
    BELOW_0("factor", ak_adamw(c, "scale", (ak_adamw_options){ .schedule = ak_staircase(1, v) }));
    BELOW_0("final", ak_adamw(c, "scale", (ak_adamw_options){
        .schedule = { .kind = AK_SCHEDULE_COSINE, .total = 5, .final = v } }));
    BELOW_0("lr_scale", ak_optim_group(w.optim, "*", (ak_group_options){ .lr_scale = v }));
    BELOW_0("weight_decay", ak_optim_group(w.optim, "*", (ak_group_options){ .weight_decay = v }));
    BELOW_0("lr", ak_optim_set_lr(w.optim, v));
    NEGATIVE("max_norm", ak_clip_grad_norm(w.optim, v));
    REFUSED("max_norm", ak_clip_grad_norm(w.optim, (double)NAN));
    NEGATIVE("limit", ak_clip_grad_value(w.optim, v));
    REFUSED("limit", ak_clip_grad_value(w.optim, (double)NAN));
    NO_SHARE("momentum", false, ak_ema_update(c, "net", "net", v));
    say("optimisers");
    ak_close(w.ctx);
}

Test(options, data_and_evaluation)
{
    begin();
    ak_ctx *c = w.ctx;
    NO_COUNT("batch", ak_loader_open(w.set, (ak_loader_options){ .batch = v }));
    REFUSED("batch", ak_loader_open(w.set, (ak_loader_options){ .batch = 41 }));
    NO_COUNT("views", ak_loader_open(w.set, (ak_loader_options){ .batch = 4, .views = v }));
    REFUSED("views", ak_loader_open(w.set, (ak_loader_options){ .batch = 4, .views = 17 }));
    REFUSED("threads", ak_loader_open(w.set, (ak_loader_options){ .batch = 4, .threads = -3 }));
    REFUSED("threads", ak_loader_open(w.set, (ak_loader_options){ .batch = 4, .threads = 65 }));
#define WITH(...)                                                                                  \
    ak_loader_open(w.pictures, (ak_loader_options){                                                \
        .batch = 4, .augment = (ak_augment[]){ __VA_ARGS__, { 0 } } })
    BELOW_0("random_crop", WITH(ak_random_crop(v, 1)));
    BELOW_0("random_crop", WITH(ak_random_crop_aspect(0.5, 1, v, 1)));
    NO_SHARE("random_flip", false, WITH(ak_random_flip(v)));
    BELOW_0("jitter", WITH(ak_jitter(v)));
    BELOW_0("jitter", WITH(ak_color_jitter(v, 0, 0, 0, 1)));
    BELOW_0("jitter", WITH(ak_color_jitter(0, v, 0, 0, 1)));
    BELOW_0("jitter", WITH(ak_color_jitter(0, 0, v, 0, 1)));
    BELOW_0("jitter", WITH(ak_color_jitter(0, 0, 0, v, 1)));
    NO_SHARE("jitter", false, WITH(ak_color_jitter(0, 0, 0, 0, v)));
    NO_SHARE("gray", false, WITH(ak_random_gray(v)));
    BELOW_0("blur", WITH(ak_random_blur(v, 1, 1)));
    NOT_A_NUMBER("blur", WITH(ak_random_blur(1, v, 1)));
    NO_SHARE("blur", false, WITH(ak_random_blur(0.1, 2, v)));
    NOT_A_NUMBER("solarize", WITH(ak_random_solarize(v, 1)));
    NO_SHARE("solarize", false, WITH(ak_random_solarize(0.5, v)));
    REFUSED("augment_item", ak_augment_item(w.pictures, (ak_augment[]){ { 0 } }, 1, 0, 40, 0));
    REFUSED("augment_item", ak_augment_item(w.pictures, (ak_augment[]){ { 0 } }, 1, 0, 0, 16));
    REFUSED("augment_item", ak_augment_item(w.pictures, (ak_augment[]){ { 0 } }, 1, -1, 0, 0));
    REFUSED("drawn", ak_dataset_drawn(c, 1, -1, 5));
    REFUSED("drawn", ak_dataset_drawn(c, 1, 0, 0));
    REFUSED("drawn", ak_dataset_drawn(c, 1, INT64_MAX, 5));
    REFUSED("drawn", ak_dataset_drawn(c, 1, 0, INT64_MAX));
    REFUSED("subset", ak_dataset_subset(w.set, INT64_MAX, 2));
    REFUSED("subset", ak_dataset_subset(w.set, 0, INT64_MAX));
    REFUSED("batch", ak_dataset_batch(w.set, INT64_MAX, INT64_MAX));
    NO_COUNT("batch", ak_features_open(w.net, w.set, (ak_features_options){ .batch = v }));
    NO_COUNT("k ", ak_eval_knn_on(w.features, w.features, (ak_knn_options){ .k = v }));
    REFUSED("k 41", ak_eval_knn_on(w.features, w.features, (ak_knn_options){ .k = 41 }));
    BELOW_0("temperature", ak_eval_knn_on(w.features, w.features,
                                          (ak_knn_options){ .temperature = v }));
    BELOW_0("l2", ak_eval_linear_on(w.features, w.features, (ak_linear_probe_options){ .l2 = v }));
    NO_COUNT("max_iterations", ak_eval_linear_on(w.features, w.features,
                                                 (ak_linear_probe_options){ .max_iterations = v }));
    BELOW_0("gradient_norm", ak_eval_linear_on(w.features, w.features,
                                               (ak_linear_probe_options){ .gradient_norm = v }));
    NO_COUNT("memory", ak_eval_linear_on(w.features, w.features,
                                         (ak_linear_probe_options){ .memory = v }));
    REFUSED("memory", ak_eval_linear_on(w.features, w.features,
                                        (ak_linear_probe_options){ .memory = 101 }));
    NO_COUNT("resamples", ak_bootstrap_mean(c, (double[]){ 1, 2 }, 2,
                                            (ak_bootstrap_options){ .resamples = v }));
    NO_SHARE("level", true, ak_bootstrap_mean(c, (double[]){ 1, 2 }, 2,
                                              (ak_bootstrap_options){ .level = v }));
    NO_COUNT("values", ak_bootstrap_mean(c, (double[]){ 1, 2 }, v, (ak_bootstrap_options){ 0 }));
    REFUSED("epochs", ak_progress_open(c, (ak_progress_options){ .steps = 1 }));
    NO_COUNT("steps", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = v }));
    NO_COUNT("views", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                 .views = v }));
    BELOW_0("every", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                .every = v }));
    NOT_A_NUMBER("chance", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                      .chance = v }));
    NO_COUNT("epoch", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                 .epoch = v }));
    NO_COUNT("step", ak_progress_open(c, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                .step = v }));
    say("data, evaluation, report");
    ak_close(w.ctx);
}

/* ---- the context itself: no other hook than the default one can be there yet ----------------- */

Test(options, threads_below_1, .signal = SIGABRT) { ak_open((ak_options){ .threads = -3 }); }
Test(options, threads_above_1024, .signal = SIGABRT) { ak_open((ak_options){ .threads = 5000 }); }

static void open_with(const char *name, const char *value)
{
    setenv(name, value, 1);
    ak_open((ak_options){ .quiet = true });
}

/* A fault of the environment is not the program's: no core. */
Test(options, seed, .exit_code = 1) { open_with("AK_SEED", "abc"); }
Test(options, conv, .exit_code = 1) { open_with("AK_CONV", "slow"); }
Test(options, cpu, .exit_code = 1) { open_with("AK_CPU", "fast"); }
Test(options, setting_of_a_program, .exit_code = 1)
{
    setenv("AK_STEPS", "some", 1);
    ak_env_int(ak_open((ak_options){ 0 }), "AK_STEPS", 1);
}

Test(options, a_hook_of_the_program_is_asked_about_the_environment_too)
{
    ak_ctx *ctx = abuse_open(1);
    setenv("AK_STEPS", "-4", 1);
    cr_expect_eq(ak_env_int(ctx, "AK_STEPS", 7), 7);
    cr_expect_eq(strcmp(ak_error_message(ctx), "AK_STEPS=-4: a whole number from 0 to "
                        "9223372036854775807 is expected"), 0, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_close(ctx), AK_ERR_VALUE);
}
