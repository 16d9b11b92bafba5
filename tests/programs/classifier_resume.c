/* SPDX-License-Identifier: Apache-2.0 */
/* classifier_resume.c - a supervised classifier that stops after an epoch, goes on in another
 * context, and ends with the bits of one that never stopped. */
#include <akin/akin.h>
#include <stdlib.h>
#include <unistd.h>

enum { EPOCHS = 12 };

/* Train from `file`, if it is there, to the end of epoch `last`; the hash of all weights. */
static uint32_t train(const char *file, int64_t last, double *accuracy)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *pictures = ak_dataset_drawn(ctx, 1, 0, 1024);
    ak_dataset *test = ak_dataset_drawn(ctx, 1, 1000000, 512);
    ak_loader *loader = ak_loader_open(pictures, (ak_loader_options){ .batch = 64 });
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 8, 16 }, .pool = 2 });
    ak_nn_dropout(ctx, "drop", 0.1);
    ak_nn_linear(ctx, "fc", 64, ak_dataset_classes(pictures), (ak_linear_options){ 0 });
    net = ak_module_end(net);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){
        .lr = 1e-2, .schedule = ak_cosine(8, EPOCHS * ak_loader_batches(loader)) });
    if (ak_checkpoint_exists(file))
        ak_checkpoint_load(ctx, file);
    while (ak_loader_tell(loader).epoch < last) {
        for (ak_batch b; ak_loader_next(loader, &b); ak_step_end(ctx)) {
            ak_tensor *y = ak_forward(net, b.view[0]);
            ak_backward(ak_cross_entropy(y, b.label, (ak_cross_entropy_options){ 0 }));
            ak_optim_step(opt);
        }
        ak_checkpoint_save(ctx, file);
    }
    const uint32_t hash = ak_hash(ctx, "*");
    ak_train_mode(ctx, false);
    const ak_tensor *y = ak_forward(net, ak_dataset_batch(test, 0, 512));
    const ak_index *want = ak_dataset_labels(test, 0, 512), *got = ak_argmax(y, 1);
    *accuracy = 0;
    for (int i = 0; i < 512; i++)
        *accuracy += (got->data[i] == want->data[i]) / 512.0;
    ak_close(ctx);
    return hash;
}

int main(void)
{
    char folder[] = "/tmp/akin-resume-XXXXXX", once[64], twice[64];
    if (!mkdtemp(folder))
        return 1;
    snprintf(once, sizeof once, "%s/once.ckpt", folder);
    snprintf(twice, sizeof twice, "%s/twice.ckpt", folder);
    double accuracy, stopped;
    const uint32_t straight = train(once, EPOCHS, &accuracy);
    train(twice, EPOCHS / 2, &stopped);
    const uint32_t resumed = train(twice, EPOCHS, &stopped);
    printf("classifier: accuracy %.3f, weights %08x; stopped and resumed %08x\n", accuracy,
           (unsigned)straight, (unsigned)resumed);
    const bool clean = unlink(once) == 0 && unlink(twice) == 0 && rmdir(folder) == 0;
    return clean && straight == resumed && accuracy > 0.4 ? 0 : 1;
}
