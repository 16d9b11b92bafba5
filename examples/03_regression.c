/* SPDX-License-Identifier: Apache-2.0 */
/* 03_regression.c - a training loop: a small network learns a curve from noisy points. */
#include <akin/akin.h>
#include <math.h>
#include <stdio.h>

enum { N = 128 };

/* y = sin(3 x) + noise at N random places of [-1, 1]. */
static void draw(ak_ctx *ctx, uint64_t step, ak_tensor **x, ak_tensor **y)
{
    *x = ak_zeros(ctx, AK_SHAPE(N, 1));
    *y = ak_zeros(ctx, AK_SHAPE(N, 1));
    for (int i = 0; i < N; i++) {
        const double at = 2 * ak_random_uniform(ak_seed(ctx), 2 * step, (uint64_t)i) - 1;
        const double noise = 0.1 * ak_random_normal(ak_seed(ctx), 2 * step + 1, (uint64_t)i);
        (*x)->data[i] = (ak_real)at;
        (*y)->data[i] = (ak_real)(sin(3 * at) + noise);
    }
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int64_t steps = ak_env_int(ctx, "AK_STEPS", 1000);

    ak_module *net = ak_mlp_with(ctx, "net", (int[]){ 1, 32, 32, 1, 0 },
                                 (ak_mlp_options){ .activation = AK_TANH });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 1e-2 });

    for (int64_t step = 1; step <= steps; step++) {
        ak_tensor *x, *y;
        draw(ctx, (uint64_t)step, &x, &y);
        ak_tensor *loss = ak_mse(ak_forward(net, x), y);
        ak_backward(loss);
        ak_optim_step(opt);                 /* updates the parameters, zeroes their gradients */
        if (step == 1 || step % 200 == 0 || step == steps)
            printf("step %4lld   loss %.4f   weights %08x\n", (long long)step, ak_item(loss),
                   (unsigned)ak_hash(ctx, "*"));
        ak_step_end(ctx);                   /* everything this step made is gone */
    }

    /* The best possible loss is the noise's variance, 0.01. Look at the curve itself: */
    ak_no_grad_begin(ctx);
    double worst = 0;
    for (int i = -4; i <= 4; i++) {
        const double at = i / 4.0;
        ak_tensor *x = ak_full(ctx, AK_SHAPE(1, 1), at);
        const double found = ak_item(ak_forward(net, x));
        printf("x %5.2f   sin(3x) %6.3f   network %6.3f\n", at, sin(3 * at), found);
        worst = fmax(worst, fabs(found - sin(3 * at)));
    }
    ak_no_grad_end(ctx);
    printf("largest difference %.3f\n", worst);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
