/* SPDX-License-Identifier: Apache-2.0 */
/* Scores may stay from forward to backward or be made again (ak_options.score_memory): the same
 * bits, and no more memory than was allowed. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

typedef ak_tensor *loss_fn(ak_tensor *x, ak_tensor *y, ak_loss_report *report);

static ak_tensor *ntxent(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    return ak_loss_ntxent(x, y, (ak_ntxent_options){ .tau = 0.2, .report = report });
}

static ak_tensor *infonce(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    ak_tensor *queue = ak_zeros(x->ctx, AK_SHAPE(77, x->shape.dims[1]));
    for (int64_t i = 0; i < queue->size; i++)
        queue->data[i] = (ak_real)ak_random_normal(5, 3, (uint64_t)i);
    return ak_loss_infonce(x, y, (ak_infonce_options){ .queue = queue, .report = report });
}

static ak_tensor *clip(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    return ak_loss_clip(x, y, NULL, (ak_infonce_options){ .report = report });
}

static ak_tensor *supcon(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    const int64_t n = x->shape.dims[0];
    int32_t label[2000];
    for (int64_t i = 0; i < n; i++)
        label[i] = (int32_t)(i % 7);
    ak_index *labels = ak_index_from(x->ctx, AK_SHAPE(n), label);
    ak_tensor *views = ak_reshape(ak_concat(0, x, y), AK_SHAPE(2, n, x->shape.dims[1]));
    return ak_loss_supcon(views, labels, (ak_supcon_options){ .report = report });
}

static ak_tensor *siglip(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    (void)report;
    return ak_loss_siglip(x, y, NULL, NULL, (ak_siglip_options){ 0 });
}

static ak_tensor *uniformity(ak_tensor *x, ak_tensor *y, ak_loss_report *report)
{
    (void)report;
    return ak_loss_cross_uniformity(x, y, (ak_uniformity_options){ 0 });
}

typedef struct outcome {
    ak_real loss, *gradient;        /* of both embeddings */
    ak_loss_report report;
    int64_t peak;                   /* of the step, bytes */
} outcome;

enum { D = 24 };

static outcome run(loss_fn *loss, int64_t n, int64_t score_memory, int threads)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 2, .quiet = true, .threads = threads,
                                        .score_memory = score_memory });
    outcome out = { .gradient = calloc((size_t)(2 * n * D), sizeof(ak_real)) };
    ak_tensor *z[2];
    for (int v = 0; v < 2; v++) {
        z[v] = ak_param(ctx, v ? "y" : "x", AK_SHAPE(n, D), 0);
        for (int64_t i = 0; i < n * D; i++)
            z[v]->data[i] = (ak_real)ak_random_normal(9, (uint64_t)v, (uint64_t)i);
    }
    ak_tensor *l = loss(z[0], z[1], &out.report);
    ak_backward(l);
    out.loss = l->data[0];
    for (int v = 0; v < 2; v++)
        memcpy(out.gradient + v * n * D, z[v]->grad, (size_t)(n * D) * sizeof(ak_real));
    out.peak = (int64_t)ak_memory_use(ctx).step_peak;
    ak_close(ctx);
    return out;
}

static void expect_same_bits(const outcome *a, const outcome *b, int64_t n, const char *what)
{
    cr_expect_eq(memcmp(&a->loss, &b->loss, sizeof(ak_real)), 0, "%s: loss", what);
    cr_expect_eq(memcmp(&a->report, &b->report, sizeof a->report), 0, "%s: report", what);
    cr_expect_eq(memcmp(a->gradient, b->gradient, (size_t)(2 * n * D) * sizeof(ak_real)), 0,
                 "%s: gradients", what);
}

static const struct { const char *name; loss_fn *loss; } losses[] = {
    { "ntxent", ntxent }, { "infonce", infonce }, { "clip", clip }, { "supcon", supcon },
    { "siglip", siglip }, { "uniformity", uniformity },
};

/* One block, several, and several with a rest. */
static const int64_t sizes[] = { 65, 640, 1337 };

Test(score_memory, same_bits_kept_or_made_again)
{
    for (size_t l = 0; l < sizeof losses / sizeof *losses; l++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const int64_t n = sizes[s];
            const int64_t allowed[] = { 0, n * n * (int64_t)sizeof(ak_real), INT64_MAX };
            outcome none = run(losses[l].loss, n, AK_NONE, 2);
            for (int i = 0; i < 3; i++) {
                outcome kept = run(losses[l].loss, n, allowed[i], 1 + i % 2);
                expect_same_bits(&kept, &none, n, losses[l].name);
                free(kept.gradient);
            }
            free(none.gradient);
        }
}

Test(score_memory, as_much_as_was_allowed)
{
    const int64_t n = 1024, all = n * n * (int64_t)sizeof(ak_real);
    outcome none = run(clip, n, AK_NONE, 2), less = run(clip, n, all - 1, 2);
    outcome kept = run(clip, n, all, 2);
    cr_expect_lt(none.peak, all, "no matrix of scores");
    cr_expect_eq(less.peak, none.peak);
    cr_expect_geq(kept.peak, none.peak + all);
    cr_expect_leq(kept.peak, none.peak + all + 4096);
    free(none.gradient), free(less.gradient), free(kept.gradient);
}

/* Nothing is kept for a backward that does not come. */
Test(score_memory, none_without_a_tape)
{
    int64_t peak[2];
    for (int i = 0; i < 2; i++) {
        ak_ctx *ctx = ak_open((ak_options){ .quiet = true, .threads = 1,
                                            .score_memory = i ? AK_NONE : 0 });
        ak_tensor *x = ak_full(ctx, AK_SHAPE(700, 4), 1);
        ak_loss_clip(x, x, NULL, (ak_infonce_options){ 0 });
        peak[i] = (int64_t)ak_memory_use(ctx).step_peak;
        ak_close(ctx);
    }
    cr_expect_eq(peak[0], peak[1]);
}

static ak_tensor *twice(ak_tensor *const *in, int n, void *user)
{
    (void)user, (void)n;
    return ak_scale(in[0], 2);
}

/* Who recomputes is short of memory: less is kept unless a number was given, in that step alone. */
Test(score_memory, little_in_a_step_that_recomputes)
{
    const size_t all = (size_t)2000 * 2000 * sizeof(ak_real);
    for (int given = 0; given < 2; given++) {
        ak_ctx *ctx = ak_open((ak_options){ .quiet = true, .score_memory = given ? INT64_MAX : 0 });
        ak_tensor *x = ak_param(ctx, "x", AK_SHAPE(2000, 4), 0);
        ak_fill(x, 1);
        for (int step = 0; step < 2; step++) {
            ak_tensor *y = step == 0 ? ak_recompute(ctx, twice, NULL, &x, 1) : ak_scale(x, 2);
            const size_t before = ak_memory_use(ctx).step_bytes;
            ak_loss_clip(y, y, NULL, (ak_infonce_options){ 0 });
            const size_t kept = ak_memory_use(ctx).step_bytes - before;
            cr_expect_eq(kept >= all, given || step == 1, "%d: %zu bytes", step, kept);
            cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
        }
        ak_close(ctx);
    }
}

Test(score_memory, below_zero_is_an_error, .signal = SIGABRT)
{
    ak_open((ak_options){ .score_memory = -2 });
}
