/* SPDX-License-Identifier: Apache-2.0 */
/* 11_report.c - look at what a run has learnt: curves, map, neighbours, as a page.
 *
 * Two seeds of SimCLR on a part of Fashion-MNIST; the first one's embedding of test pictures.
 *
 * usage: 11_report     environment: AK_EPOCHS, AK_DATA, AK_STEPS, AK_RUNS */
#include <akin/akin.h>
#include <math.h>
#include <stdlib.h>

static const char *const names[] = { "T-shirt", "trouser", "pullover", "dress", "coat", "sandal",
                                     "shirt", "sneaker", "bag", "ankle boot", NULL };

/* Fashion-MNIST, or drawn pictures where it is not installed. */
static ak_dataset *pictures(ak_ctx *ctx, bool training, int64_t n, bool *real)
{
    char where[512];
    *real = getenv("AK_DATA") || ak_dataset_find("fashion-mnist", where, sizeof where);
    ak_dataset *ds = *real ? ak_dataset_fashion_mnist(ctx, training ? "train" : "test")
                           : ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, n);
    ak_dataset_normalize(ds, (double[]){ 0.286 }, (double[]){ 0.353 });
    return ak_dataset_subset(ds, 0, n);
}

/* Every test picture as the encoder sees it, its label and itself. */
static void keep_embedding(ak_ctx *ctx, const char *folder, ak_module *enc, ak_dataset *test,
                           bool real)
{
    const int64_t n = ak_dataset_size(test);
    ak_loader    *all = ak_loader_open(test, (ak_loader_options){ .batch = n, .in_order = true });
    ak_batch      b;
    if (!ak_loader_next(all, &b))
        return;
    ak_module_train(enc, false);
    ak_no_grad_begin(ctx);
    ak_page_embedding(ctx, folder, (ak_page_rows){
        .features = ak_forward(enc, b.view[0]), .labels = b.label, .pictures = b.view[0],
        .lo = -0.286 / 0.353, .hi = (1 - 0.286) / 0.353, .classes = real ? names : NULL,
        .what = "test pictures, the encoder's features before the projector" });
    ak_no_grad_end(ctx);
    ak_module_train(enc, true);
    ak_step_end(ctx);
}

static void train(const char *parent, int seed)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = (uint64_t)seed });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int64_t epochs = ak_env_int(ctx, "AK_EPOCHS", 6);
    int64_t       left = ak_env_int(ctx, "AK_STEPS", -1);
    bool          real;
    ak_dataset *ds = pictures(ctx, true, left >= 0 ? 1000 : 8000, &real);
    ak_dataset *test = pictures(ctx, false, left >= 0 ? 200 : 2000, &real);
    ak_loader  *pairs = ak_loader_open(ds, (ak_loader_options){
        .batch = 256, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5),
                                   ak_color_jitter(0.4, 0.4, 0, 0, 0.8), { 0 } } });
    const int64_t steps = ak_loader_batches(pairs);
    ak_module *enc = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 16, 32, 64 }, .pool = 2 });
    ak_module *head = ak_mlp(ctx, "projector", (int[]){ 256, 128, 64, 0 });
    ak_optim  *opt = ak_adamw(ctx, "*", (ak_adamw_options){
        .lr = 2e-3, .weight_decay = 1e-4, .schedule = ak_cosine(50, epochs * steps) });
    ak_run *run = ak_run_open(ctx, seed == 1 ? "seed 1" : "seed 2", (ak_run_options){
        .parent = parent });
    ak_progress *p = ak_progress_open(ctx, (ak_progress_options){
        .epochs = epochs, .steps = steps, .views = 512, .chance = log(511) });
    for (int64_t epoch = 1; epoch <= epochs && left != 0; epoch++) {
        ak_loss_report r;
        for (ak_batch b; left != 0 && ak_loader_next(pairs, &b); left--) {
            ak_tensor *z1 = ak_forward(head, ak_forward(enc, b.view[0]));
            ak_tensor *z2 = ak_forward(head, ak_forward(enc, b.view[1]));
            ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2, .report = &r }));
            ak_optim_step(opt);
            ak_progress_step(p, r.loss, r.accuracy);
            ak_step_end(ctx);
        }
        ak_progress_epoch(p);
        ak_run_log(run, "epoch", NULL, (ak_value[]){ { "epoch", (double)epoch },
            { "loss", ak_progress_loss(p) }, { "accuracy", ak_progress_accuracy(p) }, { 0 } });
    }
    if (seed == 1)
        keep_embedding(ctx, parent, enc, test, real);
    else
        printf("%s\n", ak_page_write(ctx, parent, (ak_page_options){ 0 })->path);
    ak_close(ctx);
}

int main(void)
{
    char parent[600];
    snprintf(parent, sizeof parent, "%s/simclr-report", ak_env_text("AK_RUNS", "runs"));
    for (int seed = 1; seed <= 2; seed++)
        train(parent, seed);
    return 0;
}
