/* SPDX-License-Identifier: Apache-2.0 */
/* A batch in several steps: the mean over micro-batches, and what is no such mean is refused. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/akin.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

#define EXPECT_OK(ctx) cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx))
#define EXPECT_ERROR(ctx, code, text)                                                              \
    do {                                                                                           \
        cr_expect_eq(ak_error(ctx), code, "%s, wanted %s: %s", ak_status_name(ak_error(ctx)),      \
                     ak_status_name(code), ak_error_message(ctx));                                 \
        cr_expect(strstr(ak_error_message(ctx), text), "\"%s\" is not in: %s", text,               \
                  ak_error_message(ctx));                                                          \
        ak_step_end(ctx);                                                                          \
    } while (0)

enum { N = 24, D = 6, CLASSES = 3 };

typedef enum way { MEAN, TWO_LOSSES, FROM } way;

static ak_tensor *input(ak_ctx *ctx, int first, int count, int32_t *labels)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(count, D));
    for (int i = 0; i < count * D; i++)
        x->data[i] = (ak_real)ak_random_normal(2, 1, (uint64_t)(first * D + i));
    for (int i = 0; i < count; i++)
        labels[i] = (first + i) % CLASSES;
    return x;
}

static void part_of_step(ak_ctx *ctx, ak_module *m, way w, int first, int count)
{
    int32_t labels[N];
    ak_tensor *y = ak_forward(m, input(ctx, first, count, labels));
    ak_index  *target = ak_index_from(ctx, AK_SHAPE(count), labels);
    ak_tensor *loss = ak_cross_entropy(y, target, (ak_cross_entropy_options){ 0 });
    if (w == FROM) {
        ak_real dy[N * CLASSES];
        for (int i = 0; i < count * CLASSES; i++)
            dy[i] = (ak_real)(i % CLASSES + 1) / (ak_real)count;
        ak_backward_from(y, dy);
    }
    if (w == TWO_LOSSES)
        ak_backward(ak_mean(ak_square(y)));
    ak_backward(loss);
    EXPECT_OK(ctx);
}

static void gradients(way w, int parts, ak_real *grad)
{
    ak_ctx    *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "fc", D, CLASSES, (ak_linear_options){ 0 });
    if (parts > 0)
        cr_expect_eq(ak_accumulate_begin(ctx, parts), AK_OK);
    for (int i = 0; i < (parts ? parts : 1); i++) {
        const int count = parts ? N / parts : N;
        part_of_step(ctx, m, w, i * count, count);
        ak_step_end(ctx);
    }
    if (parts > 0)
        cr_expect_eq(ak_accumulate_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    memcpy(grad, ak_param_find(ctx, "fc/weight")->grad, CLASSES * D * sizeof *grad);
    ak_close(ctx);
}

Test(accumulate, the_mean_over_micro_batches_is_the_gradient_of_the_batch)
{
    const double within = AK_REAL_BITS == 64 ? 1e-14 : 1e-6;
    ak_real whole[CLASSES * D], parts[CLASSES * D];
    for (way w = MEAN; w <= FROM; w++) {
        gradients(w, 0, whole);
        gradients(w, 1, parts);
        cr_expect_arr_eq(whole, parts, sizeof whole, "one micro-batch is the step, way %d", (int)w);
        for (int k = 2; k <= 8; k *= 2) {
            gradients(w, k, parts);
            for (int i = 0; i < CLASSES * D; i++)
                cr_expect_float_eq((double)parts[i], (double)whole[i], within, "way %d, %d parts: "
                                   "%g, not %g", (int)w, k, (double)parts[i], (double)whole[i]);
        }
    }
}

Test(accumulate, the_number_of_micro_batches_is_counted)
{
    ak_ctx    *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "fc", D, CLASSES, (ak_linear_options){ 0 });
    for (int steps = 0; steps < 5; steps++) {
        ak_accumulate_begin(ctx, 3);
        for (int i = 0; i < steps; i++) {
            part_of_step(ctx, m, TWO_LOSSES, 0, 4);
            ak_step_end(ctx);
            ak_forward(m, ak_zeros(ctx, AK_SHAPE(1, D)));       /* a step without a backward */
            ak_step_end(ctx);
        }
        cr_expect_eq(ak_accumulate_end(ctx), steps == 3 ? AK_OK : AK_ERR_STATE);
        if (steps != 3)
            cr_expect(strstr(ak_error_message(ctx), "3 were announced"));
        ak_step_end(ctx);
        ak_zero_grad(ctx);
    }
    ak_accumulate_begin(ctx, 2);            /* one that failed does not count */
    part_of_step(ctx, m, MEAN, 0, 4);
    ak_step_end(ctx);
    ak_backward(ak_zeros(ctx, AK_SCALAR));
    EXPECT_ERROR(ctx, AK_ERR_STATE, "nothing was recorded");
    ak_accumulate_end(ctx);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "1 steps had a backward, 2 were announced");
    ak_close(ctx);
}

Test(accumulate, calls_that_do_not_fit)
{
    ak_ctx   *ctx = quiet();
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3), 0);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
    for (int64_t k = -1; k < 1; k++) {
        cr_expect_eq(ak_accumulate_begin(ctx, k), AK_ERR_VALUE);
        EXPECT_ERROR(ctx, AK_ERR_VALUE, "micro-batches, must be at least 1");
    }
    cr_expect_eq(ak_accumulate_end(ctx), AK_ERR_STATE);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "no ak_accumulate_begin()");
    cr_expect_eq(ak_accumulate_begin(ctx, 2), AK_OK);
    ak_backward(ak_sum(w));
    ak_step_end(ctx);
    cr_expect_eq(ak_accumulate_begin(ctx, 2), AK_ERR_STATE);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "1 of 2 micro-batches");
    cr_expect_eq(ak_optim_step(opt), AK_ERR_STATE);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "optim_step: gradients of 1 of 2");
    ak_zero_grad(ctx);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "ak_zero_grad: gradients of 1 of 2");
    cr_expect(isnan(ak_clip_grad_norm(opt, 1)));
    EXPECT_ERROR(ctx, AK_ERR_STATE, "clip_grad_norm: gradients of 1 of 2");
    cr_expect_eq(ak_clip_grad_value(opt, 1), AK_ERR_STATE);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "clip_grad_value: gradients of 1 of 2");
    cr_expect_eq(ak_checkpoint_save(ctx, "accumulate.ckpt"), AK_ERR_STATE);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "checkpoint_save: gradients of 1 of 2");
    cr_expect(!ak_checkpoint_exists("accumulate.ckpt"));
    cr_expect_eq(w->grad[1], (ak_real)0.5, "nothing was changed or dropped");
    ak_backward(ak_sum(w));
    ak_step_end(ctx);
    cr_expect_eq(ak_accumulate_end(ctx), AK_OK);
    cr_expect_eq(w->grad[1], 1);
    cr_expect_eq(ak_optim_step(opt), AK_OK);
    ak_close(ctx);
}

/* The loop of akin/autograd.h, word for word. */
Test(accumulate, the_loop_of_the_header)
{
    ak_ctx *ctx = quiet();
    ak_dataset *set = ak_dataset_drawn(ctx, 3, 0, 64);
    ak_loader  *loader = ak_loader_open(set, (ak_loader_options){ .batch = 16 });
    ak_module  *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_nn_flatten(ctx, "flat");
    ak_nn_linear(ctx, "fc", 28 * 28, 10, (ak_linear_options){ 0 });
    net = ak_module_end(net);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ 0 });
    ak_batch b;

    ak_accumulate_begin(ctx, 4);
    for (int i = 0; i < 4 && ak_loader_next(loader, &b); i++) {
        ak_tensor *y = ak_forward(net, b.view[0]);
        ak_backward(ak_cross_entropy(y, b.label, (ak_cross_entropy_options){ 0 }));
        ak_step_end(ctx);
    }
    ak_accumulate_end(ctx);
    ak_optim_step(opt);

    cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_optim_steps(opt), 1);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- losses over pairs ----------------------------------------------------------------------- */

static ak_tensor *drawn(ak_ctx *ctx, const ak_sample *s, int i)
{
    ak_shape shape = { s->in[i].n, { 0 } };
    memcpy(shape.dims, s->in[i].dims, sizeof s->in[i].dims);
    char name[] = { (char)('a' + i), 0 };
    ak_tensor *t = ak_param(ctx, name, shape, 0);
    for (int64_t j = 0; j < t->size; j++)
        t->data[j] = (ak_real)(0.3 * ak_random_normal(3, (uint64_t)i, (uint64_t)j));
    return t;
}

/* Every loss of the library, fused and composed: over pairs by its record, or a mean over samples.
 * Sample 4 of infonce has the queue alone as candidates. */
Test(accumulate, losses_over_pairs_are_refused_and_means_are_not)
{
    int refused = 0, taken = 0;
    for (int l = 0; ak_loss_at(l); l++) {
        const ak_loss_info *info = ak_loss_at(l);
        for (int j = 0; info->samples[j].n_in > 0; j++) {
            const ak_sample *s = &info->samples[j];
            const bool queue = strcmp(info->name, "infonce") == 0 && j == 4;
            const bool pairs = info->sharding == AK_SHARD_CANDIDATES && !queue;
            for (int composed = 0; composed < 2; composed++) {
                ak_ctx *ctx = quiet();
                ak_tensor *in[AK_MAX_IN];
                for (int i = 0; i < s->n_in; i++)
                    in[i] = drawn(ctx, s, i);
                for (int k = 1; k <= 2; k++) {
                    ak_accumulate_begin(ctx, k);
                    ak_tensor *loss = (composed ? info->composed : info->run)(in, s->n_in, s);
                    ak_backward(ak_add(loss, ak_sum(ak_square(in[0]))));
                    if (pairs && k > 1) {
                        EXPECT_ERROR(ctx, AK_ERR_STATE, "ak_forward_chunked");
                        for (int64_t i = 0; i < in[0]->size; i++)
                            cr_assert_eq(in[0]->grad[i], 0, "%s: no half gradients", info->name);
                        refused++;
                    } else {
                        cr_expect_eq(ak_error(ctx), AK_OK, "%s %d: %s", info->name, j,
                                     ak_error_message(ctx));
                        taken++;
                    }
                    ak_step_end(ctx);
                    ak_accumulate_end(ctx);
                    ak_step_end(ctx);
                    ak_zero_grad(ctx);
                }
                ak_close(ctx);
            }
        }
    }
    cr_expect_gt(refused, 100);
    cr_expect_gt(taken, 100);
}

static ak_tensor *loss_inside(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    (void)user;
    return ak_loss_uniformity(in[0], (ak_uniformity_options){ 0 });
}

/* No false alarms: what is only looked at, several losses without a begin, batch norm; but a
 * segment hides nothing. */
Test(accumulate, what_is_refused_is_a_backward_through_pairs)
{
    ak_ctx *ctx = quiet();
    ak_module *norm = ak_nn_batch_norm(ctx, "norm", 4, (ak_batch_norm_options){ 0 });
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(5, 4), 0);
    for (int i = 0; i < 20; i++)
        w->data[i] = (ak_real)ak_random_normal(3, 1, (uint64_t)i);
    ak_accumulate_begin(ctx, 2);
    ak_tensor *y = ak_forward(norm, w);
    ak_item(ak_loss_uniformity(y, (ak_uniformity_options){ 0 }));       /* a number for the log */
    ak_backward(ak_mean(ak_square(y)));
    EXPECT_OK(ctx);
    ak_step_end(ctx);
    ak_backward(ak_recompute(ctx, loss_inside, NULL, &w, 1));
    EXPECT_ERROR(ctx, AK_ERR_STATE, "uniformity scores samples");
    ak_backward(ak_sum(w));
    ak_step_end(ctx);
    cr_expect_eq(ak_accumulate_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (int i = 0; i < 2; i++)
        ak_backward(ak_loss_uniformity(w, (ak_uniformity_options){ 0 }));
    EXPECT_OK(ctx);
    ak_close(ctx);
}
