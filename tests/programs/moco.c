/* SPDX-License-Identifier: Apache-2.0 */
/* moco.c - a view must find its partner's key, made by a slow teacher, among those of a queue
 * (He et al., CVPR 2020). */
#include <akin/akin.h>

enum { BATCH = 64, QUEUE = 1024, DIM = 32, STEPS = 400 };

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *train = ak_dataset_drawn(ctx, 1, 0, 1024);
    ak_dataset *test = ak_dataset_drawn(ctx, 1, 1000000, 512);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = BATCH, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_jitter(0.4), { 0 } } });

    ak_module *student = ak_module_begin(ak_nn_sequential(ctx, "student", NULL));
    ak_module *enc = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 8, 16, 32 }, .pool = 2 });
    ak_mlp(ctx, "head", (int[]){ 128, 64, DIM, 0 });
    student = ak_module_end(student);
    ak_module *teacher = ak_module_clone(student, "teacher");
    ak_optim *opt = ak_adamw(ctx, "student/*", (ak_adamw_options){ .lr = 5e-3 });
    ak_queue *queue = ak_queue_make(ctx, "queue", QUEUE, DIM, (ak_queue_options){
        .random_start = true });
    const double before = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });

    ak_batch b;
    ak_loss_report r = { 0 };
    double found = 0;
    for (int step = 0; step < STEPS && ak_loader_endless(pairs, &b); step++) {
        ak_ema_update(ctx, "teacher", "student", 0.98);
        ak_tensor *k = ak_forward(teacher, b.view[1]);
        ak_tensor *q = ak_forward(student, b.view[0]);
        ak_backward(ak_loss_infonce(q, k, (ak_infonce_options){
            .tau = 0.2, .queue = ak_queue_rows(queue), .no_batch_negatives = true, .report = &r }));
        ak_optim_step(opt);
        ak_queue_push(queue, k, (ak_queue_push_options){ 0 });
        found += step >= STEPS - 20 ? r.accuracy / 20 : 0;
        ak_step_end(ctx);
    }
    const double after = ak_eval_knn(enc, train, test, (ak_knn_options){ .k = 20 });
    printf("moco: kNN %.3f before, %.3f after; %.3f of the keys found among %d\n", before, after,
           found, QUEUE + 1);
    const bool good = after > before + 0.05 && found > 0.05;
    return ak_close(ctx) == AK_OK && good ? 0 : 1;
}
