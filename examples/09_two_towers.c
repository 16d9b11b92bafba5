/* SPDX-License-Identifier: Apache-2.0 */
/* 09_two_towers.c - images and captions from npy files find each other (CLIP): named fields. */
#include <akin/akin.h>
#include <stdio.h>

static ak_module *image_tower, *text_tower;
static ak_tensor *words, *log_scale;

/* Images are vectors; a caption is the sum of its words, whatever its length. */
static ak_tensor *clip(const ak_batch *b, ak_loss_report *report)
{
    const ak_column *caption = ak_batch_need(b, "caption", AK_FIELD_TOKENS);
    ak_tensor *image = ak_forward(image_tower, b->view[0]);
    ak_tensor *text  = ak_sum_axis(ak_embedding(words, caption->ids[0], 0), 1);
    return ak_loss_clip(image, ak_forward(text_tower, text), log_scale, (ak_infonce_options){
        .ids = ak_batch_field(b, "id")->ids[0], .report = report });    /* equal: no negatives */
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *train, *test, *all = ak_dataset_fields(ctx, "pairs", (ak_field[]){
        { "image",   AK_FIELD_VECTOR, .array = ak_npy_read(ctx, "image.npy") },     /* [N, 32] */
        { "caption", AK_FIELD_TOKENS, .array = ak_npy_read(ctx, "caption.npy"),     /* [N, T]  */
                                      .lengths = ak_npy_read(ctx, "length.npy") },  /* [N]     */
        { "id",      AK_FIELD_ID,     .array = ak_npy_read(ctx, "id.npy") }, { 0 } });
    ak_dataset_split(all, 0.8, 1, &train, &test);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){ .batch = 64 });
    image_tower = ak_mlp(ctx, "image", (int[]){ 32, 64, 32, 0 });
    text_tower  = ak_mlp(ctx, "text", (int[]){ 32, 64, 32, 0 });
    words       = ak_param(ctx, "words", AK_SHAPE(40, 32), 0);
    log_scale   = ak_temperature(ctx, "log_scale", 0.07);
    ak_init_fill(words, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 0.3 });
    ak_fill(ak_rows(words, 0, 1), 0);                       /* what shorter captions end with */
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 2e-3 });
    const int64_t steps = ak_env_int(ctx, "AK_STEPS", 300);
    ak_batch b;
    for (int64_t step = 1; step <= steps && ak_loader_endless(pairs, &b); step++) {
        ak_backward(clip(&b, NULL));
        ak_optim_step(opt);
        ak_temperature_clamp(log_scale, 0, 4.6);
        ak_step_end(ctx);
    }
    ak_loss_report held;
    if (ak_dataset_get(test, 0, ak_dataset_size(test), &b))
        clip(&b, &held);
    printf("held out: %.0f %% find their partner among %d\n", 100 * held.accuracy, (int)b.size);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
