/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers against PyTorch, the log-mel front end against librosa. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/sequence.h>

#include "golden.h"

static ak_ctx *ctx;
static golden_file *file;
static int at;

static const char *key(const char *name)
{
    return golden_key("c%d_%s", at, name);
}

static bool has(const char *name)
{
    return golden_has(file, key(name));
}

static void expect(const ak_real *got, const char *name)
{
    char msg[GOLDEN_MESSAGE];
    cr_assert(got, "%s: nothing to compare", key(name));
    cr_expect(golden_close(got, file, key(name), GOLDEN_TOL, msg), "%s", msg);
}

static void each_case(const char *name, void (*one)(void))
{
    file = golden_open(name);
    cr_assert(file, "no file %s", name);
    const int cases = golden_cases(file);
    cr_assert(cases > 0);
    for (at = 0; at < cases; at++) {
        ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
        ak_on_error(ctx, NULL, NULL);
        one();
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
    golden_free(file);
}

/* ---- GRU ------------------------------------------------------------------------------------- */

/* The name of a parameter in the file, without the module's. */
static const char *their_name(const ak_tensor *t)
{
    return strchr(t->name, '/') + 1;
}

static void gru_case(void)
{
    int layers = 0;
    while (has(golden_key("p_weight_ih_l%d", layers)))
        layers++;
    cr_assert(layers > 0);
    const ak_shape w = golden_shape(file, key("p_weight_ih_l0"));
    ak_module *gru = ak_nn_gru(ctx, "gru", w.dims[1], w.dims[0] / 3, (ak_gru_layer_options){
        .layers = layers, .both = has("p_weight_ih_l0_reverse"), .no_bias = !has("p_bias_ih_l0") });
    cr_assert_not_null(gru, "%s", ak_error_message(ctx));
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(gru, i)) != NULL; i++) {
        const char *name = golden_key("c%d_p_%s", at, their_name(t));
        cr_assert(ak_shape_equal(golden_shape(file, name), t->shape), "%s", name);
        ak_copy(t, golden_tensor(ctx, file, name));
    }
    ak_tensor *x = ak_require_grad(golden_tensor(ctx, file, key("x")));
    ak_inputs in = { .x = x };
    if (has("lengths"))
        in.lengths = golden_index(ctx, file, key("lengths"));
    if (has("x2"))
        in.memory = ak_require_grad(golden_tensor(ctx, file, key("x2")));
    ak_tensor *y = ak_forward_with(gru, in);
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    cr_assert(ak_shape_equal(y->shape, golden_shape(file, key("y"))));
    expect(y->data, "y");
    const ak_tensor *gy = golden_tensor(ctx, file, key("gy"));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
    expect(x->grad, "gx");
    if (in.memory)
        expect(in.memory->grad, "gx2");
    for (int64_t i = 0; (t = ak_module_param(gru, i)) != NULL; i++)
        expect(t->grad, golden_key("gp_%s", their_name(t)));
}

Test(golden, gru) { each_case("layer-gru", gru_case); }
