/* SPDX-License-Identifier: Apache-2.0 */
/* 05_custom_loss.c - a loss of one's own is a composition of ops and needs no backward. */
#include <akin/akin.h>
#include <stdio.h>

/* Decoupled contrastive loss (Yeh et al., ECCV 2022): NT-Xent without the positive in the
 * denominator.  mean_i [ log sum_{k != i, pair(i)} exp(s_ik) - s_i,pair(i) ],  s = cosine / tau */
static ak_tensor *decoupled(ak_tensor *z1, ak_tensor *z2, double tau)
{
    ak_tensor *z   = ak_l2_normalize(ak_concat(0, z1, z2));                 /* [2N, D]  */
    ak_tensor *s   = ak_scale(ak_matmul_nt(z, z), 1 / tau);                 /* [2N, 2N] */
    ak_tensor *pos = ak_pair_diagonal(s);                                   /* [2N]     */
    ak_tensor *neg = ak_logsumexp(ak_mask(s, AK_MASK_SELF | AK_MASK_PAIR), 1);
    return ak_mean(ak_sub(neg, pos));
}

static ak_tensor *checked(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    (void)user;
    return decoupled(in[0], in[1], 0.2);
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int64_t steps = ak_env_int(ctx, "AK_STEPS", 150);

    /* Its gradient is right because every op's is; here is the proof. */
    ak_tensor *in[2];
    for (int i = 0; i < 2; i++)
        in[i] = ak_require_grad(ak_keep(ak_randn(ctx, AK_SHAPE(4, 3))));
    ak_gradcheck check = { 0 };
    if (ak_gradcheck_fn(ctx, checked, NULL, in, 2, &check) != AK_OK)
        return 1;
    const bool proved = check.worst < 2e-2;                 /* float: the double build gives 1e-9 */
    printf("gradient check: worst relative error %s 2e-2\n", proved ? "below" : "ABOVE");

    /* Train with it, on pictures that the library draws. */
    ak_dataset *train = ak_dataset_drawn(ctx, 1, 0, 2000);
    ak_dataset *test  = ak_dataset_drawn(ctx, 1, 1000000, 500);
    ak_loader  *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = 100, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.4, 1), ak_jitter(0.4), { 0 } } });
    ak_module  *enc  = ak_convnet(ctx, "encoder", (ak_convnet_options){
        .channels = { 1, 16, 32 }, .pool = 4 });            /* 4 x 4 x 32 = 512 features */
    ak_module  *head = ak_mlp(ctx, "projector", (int[]){ 512, 64, 32, 0 });
    ak_optim   *opt  = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 2e-3 });
    const ak_knn_options knn = { .k = 5 };
    printf("before   kNN %.1f %%\n", 100 * ak_eval_knn(enc, train, test, knn));

    ak_batch b;
    ak_average mean = { 0, 0 };
    for (int64_t step = 1; step <= steps && ak_loader_endless(pairs, &b); step++) {
        ak_tensor *z1 = ak_forward(head, ak_forward(enc, b.view[0]));   /* in two statements: C */
        ak_tensor *z2 = ak_forward(head, ak_forward(enc, b.view[1]));   /* orders no arguments */
        ak_tensor *loss = decoupled(z1, z2, 0.2);
        ak_backward(loss);
        ak_optim_step(opt);
        ak_average_add(&mean, ak_item(loss));
        ak_step_end(ctx);
        if (step % 50 == 0 || step == steps) {
            printf("step %3lld   loss %.3f   weights %08x\n", (long long)step,
                   ak_average_get(&mean), (unsigned)ak_hash(ctx, "*"));
            mean = (ak_average){ 0, 0 };
        }
    }
    printf("after    kNN %.1f %%\n", 100 * ak_eval_knn(enc, train, test, knn));
    return ak_close(ctx) == AK_OK && proved ? 0 : 1;
}
