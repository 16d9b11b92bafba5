/* SPDX-License-Identifier: Apache-2.0 */
/* 04_simclr.c - two random views of one picture must recognise each other (Chen et al., ICML 2020).
 *
 * usage: 04_simclr [--resume | --fresh]   environment: AK_EPOCHS, AK_SEED, AK_DATA, AK_STEPS */
#include <akin/akin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Fashion-MNIST, or drawn pictures where it is not installed; only `most` of them if most > 0. */
static ak_dataset *pictures(ak_ctx *ctx, bool training, int64_t most)
{
    char where[512];
    const bool real = getenv("AK_DATA") || ak_dataset_find("fashion-mnist", where, sizeof where);
    ak_dataset *ds = real ? ak_dataset_fashion_mnist(ctx, training ? "train" : "test")
        : ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, training ? 20000 : 4000);
    printf("%s%s\n", ak_dataset_name(ds), real ? "" : "   (Fashion-MNIST is not installed)");
    return most > 0 ? ak_dataset_subset(ds, 0, most) : ds;
}

/* One row of the table: what two classifiers find in the features of an encoder (NULL: pixels). */
static void row(ak_run *run, const char *name, ak_module *enc, ak_dataset *train, ak_dataset *test)
{
    const double mean = enc ? 0.286 : 0, deviation = enc ? 0.353 : 1;   /* pixels are raw */
    ak_dataset_normalize(train, &mean, &deviation);
    ak_dataset_normalize(test, &mean, &deviation);
    ak_features *a = ak_features_open(enc, train, (ak_features_options){ 0 });
    ak_features *b = ak_features_open(enc, test, (ak_features_options){ 0 });
    const ak_eval_result r[] = { ak_eval_knn_on(a, b, (ak_knn_options){ .k = 20 }),
                                 ak_eval_linear_on(a, b, (ak_linear_probe_options){ 0 }) };
    printf("%-16s", name);
    for (int i = 0; i < 2; i++) {
        printf("   %5.2f [%5.2f, %5.2f]", 100 * r[i].accuracy, 100 * r[i].lo, 100 * r[i].hi);
        ak_run_log(run, name, r[i].protocol, (ak_value[]){ { "accuracy", r[i].accuracy },
            { "lo", r[i].lo }, { "hi", r[i].hi }, { 0 } });
    }
    printf("   %08x\n  %s\n  %s\n", (unsigned)ak_hash(a->ctx, "*"), r[0].protocol, r[1].protocol);
    fflush(stdout);
    ak_features_close(b);
    ak_features_close(a);
}

int main(int argc, char **argv)
{
    const bool resume = argc == 2 && strcmp(argv[1], "--resume") == 0;
    if (argc > 2 || (argc == 2 && !resume && strcmp(argv[1], "--fresh") != 0))
        return fprintf(stderr, "usage: 04_simclr [--resume | --fresh]\n"), 2;
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int64_t epochs = ak_env_int(ctx, "AK_EPOCHS", 3);
    if (epochs == 0) ak_fail(ctx, AK_ERR_VALUE, "AK_EPOCHS=0: at least one epoch is needed");
    int64_t left = ak_env_int(ctx, "AK_STEPS", -1);         /* a trial: few steps, few pictures */
    ak_dataset *train = pictures(ctx, true, left >= 0 ? 2000 : 0);  /* [60000, 28, 28, 1] */
    ak_dataset *test  = pictures(ctx, false, left >= 0 ? 500 : 0);
    ak_dataset_normalize(train, (double[]){ 0.286 }, (double[]){ 0.353 });
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = 256, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5),
                                   ak_color_jitter(0.4, 0.4, 0, 0, 0.8), { 0 } } });
    const int64_t steps = ak_loader_batches(pairs);
    const ak_convnet_options net = { .channels = { 1, 32, 64, 128 }, .pool = 4 };
    ak_module *enc  = ak_convnet(ctx, "encoder", net);      /* 4 x 4 x 128 = 2048 features */
    ak_module *head = ak_mlp(ctx, "projector", (int[]){ 2048, 128, 64, 0 });
    ak_optim  *opt  = ak_adamw(ctx, "*", (ak_adamw_options){
        .lr = 2e-3, .weight_decay = 1e-4, .schedule = ak_cosine(100, epochs * steps) });
    ak_run *run = ak_run_open(ctx, "simclr", (ak_run_options){ .resume = resume });
    const char *checkpoint = ak_run_path(run, "last.ckpt");
    if (ak_checkpoint_exists(checkpoint))
        ak_checkpoint_load(ctx, checkpoint);
    ak_run_setting(run, "epochs", "%lld", (long long)epochs);
    ak_run_setting(run, "train", "%s", ak_dataset_name(train));
    ak_run_setting(run, "recipe", "batch 256, tau 0.2, AdamW 2e-3 decay 1e-4 warm-up 100 cosine, "
                   "crop 0.3-1, flip 0.5, jitter 0.4 p 0.8, convnet 32-64-128 pool 4, head 128-64");
    printf("run folder: %s\n", ak_run_folder(run));
    const ak_loader_state at = ak_loader_tell(pairs);
    ak_progress *p = ak_progress_open(ctx, (ak_progress_options){
        .epochs = epochs, .steps = steps, .views = 512, .chance = log(2 * 256 - 1),
        .epoch = at.epoch, .step = at.batch });
    ak_loss_report r;
    for (int64_t done = at.epoch; done < epochs && left != 0; done++) {
        for (ak_batch b; left != 0 && ak_loader_next(pairs, &b); left--) {
            ak_tensor *z1   = ak_forward(head, ak_forward(enc, b.view[0]));
            ak_tensor *z2   = ak_forward(head, ak_forward(enc, b.view[1]));
            ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2, .report = &r }));
            ak_optim_step(opt);
            ak_progress_step(p, r.loss, r.accuracy);
            ak_step_end(ctx);               /* every tensor of this step is gone at once */
        }
        ak_progress_epoch(p);
        ak_run_log(run, "epoch", NULL, (ak_value[]){ { "epoch", (double)done + 1 },
            { "loss", ak_progress_loss(p) }, { "accuracy", ak_progress_accuracy(p) }, { 0 } });
        ak_checkpoint_save(ctx, checkpoint);
    }
    printf("\n%-16s   %-20s   %-20s   weights\n", "test accuracy, %", "kNN k=20", "linear probe");
    row(run, "raw pixels", NULL, train, test);
    row(run, "random encoder", ak_convnet(ctx, "random", net), train, test);
    row(run, "SimCLR", enc, train, test);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
