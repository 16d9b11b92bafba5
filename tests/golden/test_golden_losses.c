/* SPDX-License-Identifier: Apache-2.0 */
/* Losses against reference implementations: simclr.npz, clip.npz, supcon.npz; both forms. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/losses.h>

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
