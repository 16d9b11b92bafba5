/* SPDX-License-Identifier: Apache-2.0 */
/* 07_vit_simclr.c - the course's SimCLR with a vision transformer in place of the conv net.
 *
 * environment: AK_EPOCHS (2), AK_STEPS (a trial: so many steps, few pictures), AK_SEED, AK_DATA */
#include <akin/akin.h>
#include <stdlib.h>

enum { WIDTH = 96, PATCH = 4, FEATURES = 64 };

/* Fashion-MNIST, or drawn pictures where it is not installed; only `most` of them if most > 0. */
static ak_dataset *pictures(ak_ctx *ctx, bool training, int64_t most)
{
    char where[512];
    const bool real = getenv("AK_DATA") || ak_dataset_find("fashion-mnist", where, sizeof where);
    ak_dataset *ds = real ? ak_dataset_fashion_mnist(ctx, training ? "train" : "test")
        : ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, training ? 20000 : 4000);
    ak_dataset_normalize(ds, (double[]){ 0.286 }, (double[]){ 0.353 });
    return most > 0 ? ak_dataset_subset(ds, 0, most) : ds;
}

/* Class token and mean of the 7 x 7 patches, side by side. */
static ak_tensor *pooled(ak_module *m, ak_tensor *tokens)
{
    return (void)m, ak_vit_pool(tokens, AK_VIT_BOTH, 1);
}

/* 28 x 28 pictures as 49 patches: [N, 28, 28, 1] -> [N, 50, WIDTH] -> [N, 2 WIDTH] */
static ak_module *encoder(ak_ctx *ctx, const char *name)
{
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, name, NULL));
    ak_vit(ctx, "vit", (ak_vit_options){ .image = 28, .patch = PATCH, .channels = 1,
        .width = WIDTH, .layers = 6, .heads = 3, .drop_path = 0.05 });
    ak_module_new(ctx, "pool", pooled, NULL);
    return ak_module_end(m);
}

static void show(const char *name, ak_module *enc, ak_dataset *train, ak_dataset *test)
{
    ak_features *a = ak_features_open(enc, train, (ak_features_options){ 0 });
    ak_features *b = ak_features_open(enc, test, (ak_features_options){ 0 });
    const ak_eval_result r = ak_eval_knn_on(a, b, (ak_knn_options){ .k = 20 });
    printf("%-16s %5.2f %% [%5.2f, %5.2f]\n", name, 100 * r.accuracy, 100 * r.lo, 100 * r.hi);
    fflush(stdout);
    ak_features_close(b);
    ak_features_close(a);
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int64_t trial = ak_env_int(ctx, "AK_STEPS", -1), epochs = ak_env_int(ctx, "AK_EPOCHS", 2);
    ak_dataset *train = pictures(ctx, true, trial >= 0 ? 2000 : 0);
    ak_dataset *test  = pictures(ctx, false, trial >= 0 ? 500 : 0);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = 128, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5),
                                   ak_color_jitter(0.4, 0.4, 0, 0, 0.8), { 0 } } });
    const int64_t steps = trial >= 0 ? trial : epochs * ak_loader_batches(pairs);

    ak_module *enc  = encoder(ctx, "encoder");
    ak_module *head = ak_mlp(ctx, "projector", (int[]){ 2 * WIDTH, 2 * WIDTH, FEATURES, 0 });
    ak_optim  *opt  = ak_adamw(ctx, "*", (ak_adamw_options){
        .lr = 1e-3, .weight_decay = 0.05, .schedule = ak_cosine(steps / 10, steps) });
    ak_batch b;
    ak_loss_report r = { 0 };
    for (int64_t step = 1; step <= steps && ak_loader_endless(pairs, &b); step++) {
        ak_tensor *z1 = ak_forward(head, ak_forward(enc, b.view[0]));
        ak_tensor *z2 = ak_forward(head, ak_forward(enc, b.view[1]));
        ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2, .report = &r }));
        ak_clip_grad_norm(opt, 1);
        ak_optim_step(opt);
        if (step % 50 == 0 || step == steps)
            printf("step %4lld of %lld   loss %.3f   %5.1f %% find their other view\n",
                   (long long)step, (long long)steps, r.loss, 100 * r.accuracy);
        ak_step_end(ctx);
    }
    printf("\nkNN accuracy, k = 20\n");
    show("random encoder", encoder(ctx, "random"), train, test);
    show("SimCLR", enc, train, test);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
