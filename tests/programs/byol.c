/* SPDX-License-Identifier: Apache-2.0 */
/* byol.c - predict what a slow copy of oneself says about another view (Grill et al., NeurIPS
 * 2020): no negatives; the momentum goes to 1 along a cosine. */
#include <akin/akin.h>
#include <math.h>

enum { STEPS = 500 };

/* 2 - 2 cosine, by the online side alone: the target's parameters are frozen. */
static ak_tensor *regress(ak_tensor *prediction, ak_tensor *target)
{
    return ak_add_scalar(ak_scale(ak_mean(ak_cosine_similarity(prediction, target)), -2), 2);
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *train = ak_dataset_drawn(ctx, 1, 0, 1024);
    ak_dataset *test = ak_dataset_drawn(ctx, 1, 1000000, 512);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = 64, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_jitter(0.4), { 0 } } });

    ak_module *online = ak_module_begin(ak_nn_sequential(ctx, "online", NULL));
    ak_module *enc = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 8, 16, 32 }, .pool = 2 });
    ak_projector(ctx, "projector", 128, 64, 32);
    online = ak_module_end(online);
    ak_module *target = ak_module_clone(online, "target");
    ak_module *predictor = ak_predictor(ctx, "predictor", 32, 64);
    ak_optim *opt = ak_adamw(ctx, "online/*,predictor/*", (ak_adamw_options){ .lr = 2e-3 });
    const double before = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });

    ak_batch b;
    for (int step = 0; step < STEPS && ak_loader_endless(pairs, &b); step++) {
        ak_tensor *half[2];
        for (int v = 0; v < 2; v++) {
            ak_tensor *t = ak_forward(target, b.view[1 - v]);
            half[v] = regress(ak_forward(predictor, ak_forward(online, b.view[v])), t);
        }
        ak_backward(ak_add(half[0], half[1]));
        ak_optim_step(opt);
        ak_ema_update(ctx, "target", "online", 1 - 0.02 * (cos(3.14159265 * step / STEPS) + 1));
        ak_step_end(ctx);
    }
    const double after = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });
    printf("byol: kNN %.3f before, %.3f after\n", before, after);
    return ak_close(ctx) == AK_OK && after > before + 0.05 ? 0 : 1;
}
