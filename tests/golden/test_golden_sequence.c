/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers against PyTorch, the log-mel front end against librosa. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/sequence.h>
#include <akin/sound.h>

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

/* ---- log-mel --------------------------------------------------------------------------------- */

static double number(const char *name, double absent)
{
    return golden_number_or(file, key(name), absent);
}

static ak_mel *mel_of_file(ak_mel_form form)
{
    const bool slaney = strcmp(golden_text(file, key("opt_norm")), "slaney") == 0;
    ak_mel *m = ak_mel_make(ctx, (ak_mel_options){
        .rate = number("opt_rate", 22050), .n_fft = (int)number("opt_n_fft", 2048),
        .window = (int)number("opt_window", 0), .hop = (int)number("opt_hop", 512),
        .mels = (int)number("opt_mels", 128), .fmin = number("opt_fmin", 0),
        .fmax = number("opt_fmax", 0), .scale = number("opt_htk", 0) != 0 ? AK_MEL_HTK
                                                                          : AK_MEL_SLANEY,
        .norm = slaney ? AK_MEL_AREA : AK_MEL_PEAK, .no_center = number("opt_center", 1) == 0,
        .form = form, .floor = number("opt_floor", 1e-10),
        .top_db = form == AK_MEL_DB ? number("opt_top_db", 80) : 0 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    return m;
}

/* One sound [S], or several [N, S]. */
static void logmel_case(void)
{
    static const char *const keys[] = { "y", "y_log", "y_db" };     /* by ak_mel_form */
    for (int i = 0; i < 3; i++) {
        if (!has(keys[i]))
            continue;
        ak_mel *m = mel_of_file((ak_mel_form)i);
        ak_tensor *x = ak_require_grad(golden_tensor(ctx, file, key("x")));
        ak_tensor *y = ak_mel_spectrogram(m, x, NULL);
        cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
        cr_assert(ak_shape_equal(y->shape, golden_shape(file, key(keys[i]))), "%s", key(keys[i]));
        expect(y->data, keys[i]);
        if (i == 0 && has("gy")) {
            const ak_tensor *gy = golden_tensor(ctx, file, key("gy"));
            cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
            expect(x->grad, "gx");
        }
        if (x->shape.n == 1) {
            ak_tensor *alone = ak_zeros(ctx, y->shape);
            cr_assert_eq(ak_mel_run(m, x->data, x->size, alone->data), AK_OK);
            expect(alone->data, keys[i]);
        }
    }
}

Test(golden, logmel) { each_case("layer-logmel", logmel_case); }
