/* SPDX-License-Identifier: Apache-2.0 */
/* vicreg.c - a loss of one's own from ops: two views agree, every feature varies, and no two say
 * the same (Bardes, Ponce, LeCun, ICLR 2022). No negatives, no teacher. */
#include <akin/akin.h>

enum { STEPS = 300, BATCH = 64, WIDTH = 64 };

/* How far the standard deviations of the features are below 1, on average. */
static ak_tensor *too_still(ak_tensor *z)
{
    ak_tensor *std = ak_sqrt(ak_add_scalar(ak_var_axis(z, 0, 1), 1e-4));        /* [WIDTH] */
    return ak_mean(ak_relu(ak_add_scalar(ak_neg(std), 1)));
}

/* Squared covariances of different features, over their number. */
static ak_tensor *alike(ak_tensor *z)
{
    ak_tensor *mean = ak_reshape(ak_mean_axis(z, 0), AK_SHAPE(1, WIDTH));
    ak_tensor *x = ak_sub(z, mean);                                             /* [N, WIDTH] */
    ak_tensor *squares = ak_square(ak_scale(ak_matmul_tn(x, x), 1.0 / (BATCH - 1)));
    return ak_scale(ak_sub(ak_sum(squares), ak_sum(ak_diagonal(squares))), 1.0 / WIDTH);
}

static ak_tensor *vicreg(ak_tensor *a, ak_tensor *b)
{
    ak_tensor *still = ak_scale(ak_add(too_still(a), too_still(b)), 12.5);
    return ak_add(ak_add(ak_scale(ak_mse(a, b), 25), still), ak_add(alike(a), alike(b)));
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *train = ak_dataset_drawn(ctx, 1, 0, 1024);
    ak_dataset *test = ak_dataset_drawn(ctx, 1, 1000000, 512);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = BATCH, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_jitter(0.4), { 0 } } });
    ak_module *enc = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 8, 16, 32 }, .pool = 2 });
    ak_module *expander = ak_projector(ctx, "expander", 128, 128, WIDTH);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 2e-3 });
    const double before = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });

    ak_batch b;
    for (int step = 0; step < STEPS && ak_loader_endless(pairs, &b); step++) {
        ak_tensor *z[2];
        for (int v = 0; v < 2; v++) {
            ak_tensor *h = ak_forward(enc, b.view[v]);
            z[v] = ak_forward(expander, h);
        }
        ak_backward(vicreg(z[0], z[1]));
        ak_optim_step(opt);
        ak_step_end(ctx);
    }
    const double after = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });
    printf("vicreg: kNN %.3f before, %.3f after\n", before, after);
    return ak_close(ctx) == AK_OK && after > before + 0.05 ? 0 : 1;
}
