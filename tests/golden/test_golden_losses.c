/* SPDX-License-Identifier: Apache-2.0 */
/* Losses against reference implementations, both forms: simclr, clip, supcon, dcl, siglip and the
 * parts of contrastivegap. */
#include <criterion/criterion.h>

#include <math.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

#include "golden.h"

static ak_ctx *ctx;
static char msg[GOLDEN_MESSAGE];

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void)
{
    cr_expect_eq(ak_close(ctx), AK_OK);
}

TestSuite(golden_losses, .init = open_context, .fini = close_context);

static ak_tensor *leaf(golden_file *f, const char *key)
{
    return ak_require_grad(golden_tensor(ctx, f, key));
}

#define EXPECT_NUMBER(t, f, key)                                                                   \
    cr_expect(golden_close_number(ak_item(t), f, key, GOLDEN_TOL, msg), "%s", msg)
#define EXPECT_GRAD(t, f, key)                                                                     \
    cr_expect(golden_close((t)->grad, f, key, GOLDEN_TOL, msg), "%s", msg)

Test(golden_losses, ntxent)
{
    golden_file *f = golden_open("simclr");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_za", s)); s++, sets++) {
        for (int composed = 0; composed < 2; composed++) {
            ak_tensor *a = leaf(f, golden_key("s%d_za", s)), *b = leaf(f, golden_key("s%d_zb", s));
            const ak_ntxent_options o = { .tau = golden_number(f, golden_key("s%d_tau", s)) };
            ak_tensor *loss = composed ? ak_loss_ntxent_composed(a, b, o) : ak_loss_ntxent(a, b, o);
            ak_backward(loss);
            EXPECT_NUMBER(loss, f, golden_key("s%d_loss", s));
            EXPECT_GRAD(a, f, golden_key("s%d_g_za", s));
            EXPECT_GRAD(b, f, golden_key("s%d_g_zb", s));
            cr_expect_eq(ak_step_end(ctx), AK_OK);
        }
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

Test(golden_losses, clip)
{
    golden_file *f = golden_open("clip");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_image", s)); s++, sets++) {
        for (int composed = 0; composed < 2; composed++) {
            ak_tensor *x = leaf(f, golden_key("s%d_image", s));
            ak_tensor *y = leaf(f, golden_key("s%d_text", s));
            ak_tensor *scale = leaf(f, golden_key("s%d_logit_scale", s));
            const ak_infonce_options o = { 0 };
            ak_tensor *loss = composed ? ak_loss_clip_composed(x, y, scale, o)
                                       : ak_loss_clip(x, y, scale, o);
            ak_backward(loss);
            EXPECT_NUMBER(loss, f, golden_key("s%d_loss", s));
            EXPECT_GRAD(x, f, golden_key("s%d_g_image", s));
            EXPECT_GRAD(y, f, golden_key("s%d_g_text", s));
            EXPECT_GRAD(scale, f, golden_key("s%d_g_logit_scale", s));
            cr_expect_eq(ak_step_end(ctx), AK_OK);
        }
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* prefix: "s0"; mode: "all", "one", or NULL for keys without a mode. */
static void check_supcon(golden_file *f, const char *prefix, const char *mode, bool one)
{
    const char *m = mode ? mode : "", *bar = mode ? "_" : "";
    for (int composed = 0; composed < 2; composed++) {
        ak_tensor *z = leaf(f, golden_key("%s_z", prefix));
        ak_index *labels = golden_index(ctx, f, golden_key("%s_labels", prefix));
        const ak_supcon_options o = { .tau = golden_number(f, golden_key("%s_tau", prefix)),
                                      .base_tau = golden_number(f, golden_key("%s_base", prefix)),
                                      .one = one };
        ak_tensor *loss = composed ? ak_loss_supcon_composed(z, labels, o)
                                   : ak_loss_supcon(z, labels, o);
        ak_backward(loss);
        EXPECT_NUMBER(loss, f, golden_key("%s_%s%sloss", prefix, m, bar));
        EXPECT_GRAD(z, f, golden_key("%s_%s%sg_z", prefix, m, bar));
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(golden_losses, supcon)
{
    golden_file *f = golden_open("supcon");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_z", s)); s++, sets++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "s%d", s);
        check_supcon(f, prefix, "all", false);
        check_supcon(f, prefix, "one", true);
    }
    cr_expect_geq(sets, 1);
    if (golden_has(f, "edge_z"))
        check_supcon(f, "edge", NULL, false);
    golden_free(f);
}

/* One of the three kinds in dcl.npz; the gradient through the weights is that of the summed
 * directions there, which is twice the mean. */
static void check_dcl(golden_file *f, int set, const char *kind, bool weighted, bool through)
{
    for (int composed = 0; composed < 2; composed++) {
        ak_tensor *a = leaf(f, golden_key("s%d_za", set)), *b = leaf(f, golden_key("s%d_zb", set));
        const ak_dcl_options o = { .tau = golden_number(f, golden_key("s%d_tau", set)),
                                   .sigma = golden_number(f, golden_key("s%d_sigma", set)),
                                   .through = through };
        ak_tensor *(*form)(ak_tensor *, ak_tensor *, ak_dcl_options) =
            composed ? weighted ? ak_loss_dclw_composed : ak_loss_dcl_composed
                     : weighted ? ak_loss_dclw : ak_loss_dcl;
        ak_tensor *loss = form(a, b, o);
        if (through)
            loss = ak_scale(loss, 2);
        ak_backward(loss);
        EXPECT_NUMBER(loss, f, golden_key("s%d_%s_loss", set, kind));
        EXPECT_GRAD(a, f, golden_key("s%d_%s_g_za", set, kind));
        EXPECT_GRAD(b, f, golden_key("s%d_%s_g_zb", set, kind));
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(golden_losses, dcl)
{
    golden_file *f = golden_open("dcl");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_za", s)); s++, sets++) {
        check_dcl(f, s, "dcl", false, false);
        check_dcl(f, s, "dclw", true, false);
        check_dcl(f, s, "dclw_through", true, true);
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

Test(golden_losses, siglip)
{
    golden_file *f = golden_open("siglip");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_image", s)); s++, sets++) {
        for (int composed = 0; composed < 2; composed++) {
            ak_tensor *x = leaf(f, golden_key("s%d_image", s));
            ak_tensor *y = leaf(f, golden_key("s%d_text", s));
            ak_tensor *scale = leaf(f, golden_key("s%d_logit_scale", s));
            ak_tensor *bias = leaf(f, golden_key("s%d_logit_bias", s));
            const ak_siglip_options o = { 0 };
            ak_tensor *loss = composed ? ak_loss_siglip_composed(x, y, scale, bias, o)
                                       : ak_loss_siglip(x, y, scale, bias, o);
            ak_backward(loss);
            EXPECT_NUMBER(loss, f, golden_key("s%d_loss", s));
            EXPECT_GRAD(x, f, golden_key("s%d_g_image", s));
            EXPECT_GRAD(y, f, golden_key("s%d_g_text", s));
            EXPECT_GRAD(scale, f, golden_key("s%d_g_logit_scale", s));
            EXPECT_GRAD(bias, f, golden_key("s%d_g_logit_bias", s));
            cr_expect_eq(ak_step_end(ctx), AK_OK);
        }
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* a + w b; b alone where there is no a. */
static ak_tensor *plus(ak_tensor *a, double w, ak_tensor *b)
{
    return a ? ak_add(a, ak_scale(b, w)) : ak_scale(b, w);
}

/* The terms of contrastivegap.npz, added up as one of its cases does. */
static void check_gap(golden_file *f, int set, const char *kind, bool clip, int terms)
{
    const ak_uniformity_options u = { .t = golden_number(f, "opt_kernel_t") };
    for (int composed = 0; composed < 2; composed++) {
        ak_tensor *x = leaf(f, golden_key("s%d_%s_image", set, kind));
        ak_tensor *y = leaf(f, golden_key("s%d_%s_text", set, kind)), *loss = NULL;
        const double tau = exp(-golden_number(f, golden_key("s%d_%s_logit_scale", set, kind)));
        ak_tensor *(*one)(ak_tensor *, ak_uniformity_options) =
            composed ? ak_loss_uniformity_composed : ak_loss_uniformity;
        ak_tensor *(*two)(ak_tensor *, ak_tensor *, ak_uniformity_options) =
            composed ? ak_loss_cross_uniformity_composed : ak_loss_cross_uniformity;
        const double a = golden_number(f, "opt_weight_i2t"), b = golden_number(f, "opt_weight_t2i");
        if (clip) {
            loss = plus(NULL, a, ak_loss_infonce(x, y, (ak_infonce_options){ .tau = tau }));
            loss = plus(loss, b, ak_loss_infonce(y, x, (ak_infonce_options){ .tau = tau }));
        }
        if (terms > 0)
            loss = plus(loss, golden_number(f, "opt_weight_uniformity"),
                        ak_scale(ak_add(one(x, u), one(y, u)), 0.5));
        if (terms > 1)
            loss = plus(loss, golden_number(f, "opt_weight_alignment"),
                        ak_loss_alignment(x, y, (ak_alignment_options){ 0 }));
        if (terms > 2)
            loss = plus(loss, golden_number(f, "opt_weight_cross_uniformity"), two(x, y, u));
        ak_backward(loss);
        EXPECT_NUMBER(loss, f, golden_key("s%d_%s_loss", set, kind));
        EXPECT_GRAD(x, f, golden_key("s%d_%s_g_image", set, kind));
        EXPECT_GRAD(y, f, golden_key("s%d_%s_g_text", set, kind));
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(golden_losses, alignment_and_uniformity)
{
    golden_file *f = golden_open("contrastivegap");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_clip_image", s)); s++, sets++) {
        check_gap(f, s, "cu", true, 1);
        check_gap(f, s, "cua", true, 2);
        check_gap(f, s, "cuaxu", true, 3);
        check_gap(f, s, "uaxu_only", false, 3);
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}
