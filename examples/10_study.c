/* SPDX-License-Identifier: Apache-2.0 */
/* 10_study.c - does training help? Two arms, five seeds, and a claim that can fail.
 *
 * SimCLR against the same net as it was drawn. Kill it and start it again with --resume: it goes on
 * where it was. docs/STUDIES.md tells what stands in runs/help.
 *
 * usage: 10_study [--help] [--quick] [--resume] ...   environment: AK_STEPS, AK_DATA, AK_RUNS */
#include <akin/akin.h>

enum { TEST = 2000 };       /* pictures that are judged */

/* Fashion-MNIST, or drawn pictures where it is not installed. */
static ak_dataset *pictures(ak_study_run *run, bool training, int64_t n)
{
    char        found[512];
    ak_ctx     *ctx = ak_study_ctx(run);
    const char *folder = ak_study_data(run) ? ak_study_data(run)
                       : ak_dataset_find("fashion-mnist", found, sizeof found);
    ak_dataset *ds = folder ? ak_dataset_idx(ctx, folder, training ? "train" : "test")
                            : ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, n);
    ak_dataset_normalize(ds, (double[]){ 0.286 }, (double[]){ 0.353 });
    return ak_dataset_subset(ds, 0, n);
}

/* Unit rows, [n, d]: products of them are cosines. */
static ak_tensor *directions(ak_ctx *ctx, const ak_features *f)
{
    return f ? ak_l2_normalize(ak_from(ctx, AK_SHAPE(f->n, f->d), f->x)) : NULL;
}

/* Every test picture is right or wrong: has the training picture nearest to it the same label? */
static void judge(ak_study_run *run, ak_module *enc, ak_dataset *train, ak_dataset *test)
{
    ak_ctx      *ctx = ak_study_ctx(run);
    double       right[TEST];
    char         protocol[120];
    ak_features *a = ak_features_open(enc, train, (ak_features_options){ 0 });
    ak_features *b = ak_features_open(enc, test, (ak_features_options){ 0 });
    ak_no_grad_begin(ctx);
    const ak_index *near = ak_argmax(ak_matmul_nt(directions(ctx, b), directions(ctx, a)), 1);
    for (int64_t i = 0; !ak_error(ctx) && i < b->n; i++)
        right[i] = a->label[near->data[i]] == b->label[i];
    ak_no_grad_end(ctx);
    snprintf(protocol, sizeof protocol, "nearest by cosine of %lld training pictures",
             (long long)ak_dataset_size(train));
    ak_study_result(run, "accuracy", right, ak_dataset_size(test), protocol);
    ak_features_close(b);
    ak_features_close(a);
}

/* An arm: user points to its number of steps. */
static void train(ak_study_run *run, void *user)
{
    ak_ctx       *ctx = ak_study_ctx(run);
    const bool    quick = ak_study_quick(run);
    const int64_t most = ak_env_int(ctx, "AK_STEPS", quick ? 6 : 100), wanted = *(int64_t *)user;
    const int64_t steps = wanted < most ? wanted : most;
    const char   *checkpoint = ak_study_path(run, "last.ckpt");
    ak_dataset   *ds = pictures(run, true, quick ? 1000 : 10000);
    ak_dataset   *test = pictures(run, false, quick ? 200 : TEST);
    ak_loader    *pairs = ak_loader_open(ds, (ak_loader_options){
        .batch = 256, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5),
                                   ak_color_jitter(0.4, 0.4, 0, 0, 0.8), { 0 } } });
    ak_module *enc  = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 16, 32, 64 }, .pool = 4 });        /* 4 x 4 x 64 = 1024 features */
    ak_module *head = ak_mlp(ctx, "projector", (int[]){ 1024, 128, 64, 0 });
    ak_optim  *opt  = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 2e-3, .weight_decay = 1e-4 });
    int64_t    step = 0;
    ak_checkpoint_value(ctx, "step", &step);
    if (ak_checkpoint_exists(checkpoint))
        ak_checkpoint_load(ctx, checkpoint);
    for (ak_batch b; step < steps && ak_study_progress(run, step, steps) &&
                    ak_loader_endless(pairs, &b); ) {
        ak_tensor *z1 = ak_forward(head, ak_forward(enc, b.view[0]));
        ak_tensor *z2 = ak_forward(head, ak_forward(enc, b.view[1]));
        ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2 }));
        ak_optim_step(opt);
        ak_step_end(ctx);
        if (++step % 20 == 0)
            ak_checkpoint_save(ctx, checkpoint);    /* --resume goes on from here */
    }
    judge(run, enc, ds, test);
}

int main(int argc, char **argv)
{
    int64_t all = 100, none = 0;
    char    found[512], settings[700];      /* results of other pictures are other results */
    snprintf(settings, sizeof settings, "%s; convnet 16-32-64 pool 4, head 128-64, tau 0.2, AdamW "
             "2e-3", ak_dataset_find("fashion-mnist", found, sizeof found) ? found : "drawn");
    return ak_study_main(argc, argv, &(ak_study){
        .name = "help", .text = "SimCLR against its net as drawn", .settings = settings,
        .measures = (ak_study_measure[]){ { "accuracy", "%", .scale = 100 }, { 0 } },
        .arms = (ak_study_arm[]){ { "simclr", train, &all, "100 steps of 256" },
                                  { "untrained", train, &none, "0 steps" }, { 0 } },
        .claims = (ak_study_claim[]){ { "helps", "training makes better features",
            "accuracy", "simclr", "untrained", .margin = 0 }, { 0 } } });
}
