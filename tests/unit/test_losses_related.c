/* SPDX-License-Identifier: Apache-2.0 */
/* DCL, SigLIP, alignment and uniformity: worked examples of akin/losses.h, and what must hold
 * between losses. Compiled for float and for double. */
#include <criterion/criterion.h>

#include <math.h>

#include <akin/autograd.h>
#include <akin/eval.h>
#include <akin/losses.h>
#include <akin/ops.h>

#define EXACT (sizeof(ak_real) == 8 ? 1e-6 : 2e-6)     /* worked examples have six digits */
#define EQUAL (sizeof(ak_real) == 8 ? 1e-10 : 2e-5)

static ak_ctx *ctx;

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void) { ak_close(ctx); }

TestSuite(losses_related, .init = open_context, .fini = close_context);

static ak_tensor *leaf(int64_t n, int64_t d, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, AK_SHAPE(n, d));
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(9, stream, (uint64_t)i);
    return ak_require_grad(t);
}

static ak_tensor *axes(void)
{
    return ak_require_grad(ak_from_double(ctx, AK_SHAPE(2, 2), (double[]){ 1, 0, 0, 1 }));
}

#define IS(loss, want) cr_expect_float_eq(ak_item(loss), (want), EXACT, #loss)

Test(losses_related, worked_examples)
{
    ak_tensor *x = axes(), *y = axes();
    IS(ak_loss_dcl(x, y, (ak_dcl_options){ .tau = 1 }), -0.306853);
    IS(ak_loss_dcl_composed(x, y, (ak_dcl_options){ .tau = 1 }), -0.306853);
    ak_tensor *zero = ak_zeros(ctx, AK_SHAPE(1));
    IS(ak_loss_siglip(x, y, zero, zero, (ak_siglip_options){ 0 }), 1.006409);
    IS(ak_loss_siglip_composed(x, y, zero, zero, (ak_siglip_options){ 0 }), 1.006409);
    ak_tensor *same = ak_from_double(ctx, AK_SHAPE(2, 2), (double[]){ 1, 0, 1, 0 });
    IS(ak_loss_alignment(x, same, (ak_alignment_options){ 0 }), 1.0);
    IS(ak_loss_uniformity(x, (ak_uniformity_options){ 0 }), -4.0);
    IS(ak_loss_uniformity(same, (ak_uniformity_options){ 0 }), 0.0);
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
}

/* An anchor's NT-Xent term has 1 - p times the gradient of its DCL term by the anchor, p the
 * softmax probability of the partner. */
Test(losses_related, coupling_of_one_anchor)
{
    enum { N = 6, D = 5 };
    const double tau = 0.3;
    for (int k = 0; k < 2; k++) {
        /* The terms of anchor 0 of the first view by their formulas, all other rows constant. */
        ak_tensor *z = leaf(1, D, 1), *others = ak_detach(leaf(2 * N - 1, D, 2));
        ak_tensor *s = ak_scale(ak_matmul_nt(ak_l2_normalize(z), ak_l2_normalize(others)), 1 / tau);
        ak_tensor *partner = ak_slice(s, 1, 0, 1), *negatives = ak_slice(s, 1, 1, 2 * N - 2);
        ak_backward(ak_sub(ak_logsumexp(k ? negatives : s, 1), ak_reshape(partner, AK_SHAPE(1))));
        static double g[2][D], p;
        for (int d = 0; d < D; d++)
            g[k][d] = (double)z->grad[d];
        if (k == 0)
            p = exp((double)s->data[0] - ak_item(ak_logsumexp(s, 1)));
        else
            for (int d = 0; d < D; d++)
                cr_expect_float_eq(g[0][d], (1 - p) * g[1][d], EQUAL * (1 + fabs(g[1][d])));
        ak_step_end(ctx);
    }
}

/* The weights of DCLW are those of both forms, constant or not. */
Test(losses_related, weighted_forms_agree)
{
    for (int through = 0; through < 2; through++) {
        ak_tensor *a[2], *b[2], *loss[2];
        for (int k = 0; k < 2; k++) {
            a[k] = leaf(40, 6, 1);
            b[k] = leaf(40, 6, 2);
            const ak_dcl_options o = { .tau = 0.2, .sigma = 0.4, .through = through };
            loss[k] = k ? ak_loss_dclw_composed(a[k], b[k], o) : ak_loss_dclw(a[k], b[k], o);
            ak_backward(loss[k]);
        }
        cr_expect_float_eq(ak_item(loss[0]), ak_item(loss[1]), EQUAL);
        for (int64_t i = 0; i < a[0]->size; i++) {
            cr_expect_float_eq(a[0]->grad[i], a[1]->grad[i], EQUAL);
            cr_expect_float_eq(b[0]->grad[i], b[1]->grad[i], EQUAL);
        }
        ak_step_end(ctx);
    }
}

/* One pair: a logistic regression's loss of its score. */
Test(losses_related, siglip_of_one_pair)
{
    ak_tensor *x = leaf(1, 4, 1), *y = leaf(1, 4, 2);
    ak_tensor *l = ak_add_scalar(ak_scale(ak_cosine_similarity(x, y), 10), -10);
    cr_expect_float_eq(ak_item(ak_loss_siglip(x, y, NULL, NULL, (ak_siglip_options){ 0 })),
                       ak_item(ak_sum(ak_softplus(ak_neg(l)))), EQUAL);
}

/* A pair that is recognised well costs little, and that little keeps its digits. */
Test(losses_related, siglip_of_a_good_pair)
{
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(1, 2), (double[]){ 3, 4 }));
    ak_tensor *bias = ak_require_grad(ak_full(ctx, AK_SHAPE(1), -10));
    ak_tensor *loss = ak_loss_siglip(x, ak_detach(x), NULL, bias, (ak_siglip_options){
        .tau = 1.0 / 30 });
    const double want = log1p(exp(-20));
    ak_backward(loss);
    cr_expect_float_eq(ak_item(loss) / want, 1, 1e-5);
    cr_expect_float_eq((double)bias->grad[0] / want, -1, 1e-5);
}

Test(losses_related, reports)
{
    ak_loss_report r = { 0 };
    ak_tensor *x = leaf(32, 8, 1);
    ak_loss_dcl(x, x, (ak_dcl_options){ .tau = 0.1, .report = &r });
    cr_expect_float_eq(r.chance, log(62), 1e-9);
    cr_expect_float_eq(r.accuracy, 1, 1e-12, "equal views find each other");
    cr_expect_eq(r.anchors, 64);
    ak_loss_siglip(x, x, NULL, NULL, (ak_siglip_options){ .report = &r });
    cr_expect_float_eq(r.accuracy, 1, 1e-12);
    cr_expect_float_eq(r.chance, 32 * log(2), 1e-4, "scale 10, bias -10: all scores are 0");
    ak_tensor *one = ak_full(ctx, AK_SHAPE(32, 8), 1);
    cr_expect_float_eq(ak_item(ak_loss_siglip(one, one, NULL, NULL, (ak_siglip_options){ 0 })),
                       r.chance, 1e-4);
    cr_expect_float_eq(ak_item(ak_loss_dcl(one, one, (ak_dcl_options){ 0 })), log(62), 1e-4);
}

/* The measures of akin/eval.h are these losses. */
Test(losses_related, measures_are_losses)
{
    ak_tensor *x = leaf(50, 7, 1), *y = leaf(50, 7, 2);
    cr_expect_float_eq(ak_eval_alignment(x, y),
                       ak_item(ak_loss_alignment(x, y, (ak_alignment_options){ 0 })), 1e-5);
    cr_expect_float_eq(ak_eval_uniformity(x),
                       ak_item(ak_loss_uniformity(x, (ak_uniformity_options){ 0 })), 1e-5);
}

Test(losses_related, refusals)
{
    ak_tensor *one = leaf(1, 4, 1), *two = leaf(2, 4, 2), *three = leaf(3, 4, 3);
    const ak_status want[] = { AK_ERR_VALUE, AK_ERR_VALUE, AK_ERR_VALUE, AK_ERR_SHAPE,
                               AK_ERR_SHAPE, AK_ERR_SHAPE, AK_ERR_VALUE };
    for (int i = 0; i < (int)(sizeof want / sizeof *want); i++) {
        one = leaf(1, 4, 1), two = leaf(2, 4, 2), three = leaf(3, 4, 3);
        switch (i) {
        case 0: ak_loss_dcl(one, one, (ak_dcl_options){ 0 }); break;
        case 1: ak_loss_dclw(two, two, (ak_dcl_options){ .sigma = -1 }); break;
        case 2: ak_loss_uniformity(one, (ak_uniformity_options){ 0 }); break;
        case 3: ak_loss_dcl(two, three, (ak_dcl_options){ 0 }); break;
        case 4: ak_loss_siglip(two, three, NULL, NULL, (ak_siglip_options){
                    .labels = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 2 }) }); break;
        case 5: ak_loss_siglip(two, two, NULL, three, (ak_siglip_options){ 0 }); break;
        case 6: ak_loss_uniformity(two, (ak_uniformity_options){ .t = -1 }); break;
        }
        cr_expect_eq(ak_step_end(ctx), want[i], "case %d: %s", i, ak_error_message(ctx));
    }
}
