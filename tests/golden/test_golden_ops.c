/* SPDX-License-Identifier: Apache-2.0 */
/* Ops against PyTorch's values and gradients: layer-activation, -broadcast, -matmul, -linear,
 * -reduce, -embedding. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "golden.h"

static ak_ctx *open_quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static golden_file *open_file(const char *name)
{
    golden_file *f = golden_open(name);
    cr_assert_not_null(f, "%s", name);
    cr_assert_gt(golden_cases(f), 0);
    return f;
}

/* An input of case c that needs a gradient; NULL if the file has no such key. */
static ak_tensor *input(ak_ctx *ctx, golden_file *f, int c, const char *key)
{
    if (!golden_has(f, golden_key("c%d_%s", c, key)))
        return NULL;
    return ak_require_grad(golden_tensor(ctx, f, golden_key("c%d_%s", c, key)));
}

static void expect_close(const ak_real *got, golden_file *f, const char *key)
{
    char msg[GOLDEN_MESSAGE];
    cr_expect(golden_close(got, f, key, GOLDEN_TOL, msg), "%s", msg);
}

/* y and the gradients of named inputs (NULL ends the list, absent ones are skipped). */
static void expect_case(ak_ctx *ctx, golden_file *f, int c, ak_tensor *y, ak_tensor *const *in,
                        const char *const *grad_keys)
{
    cr_assert_eq(ak_error(ctx), AK_OK, "case %d: %s", c, ak_error_message(ctx));
    const char *key = golden_key("c%d_y", c);
    cr_assert(ak_shape_equal(y->shape, golden_shape(f, key)), "%s has another shape", key);
    expect_close(y->data, f, key);
    const ak_tensor *gy = golden_tensor(ctx, f, golden_key("c%d_gy", c));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "case %d: %s", c, ak_error_message(ctx));
    for (int i = 0; grad_keys[i]; i++)
        if (in[i])
            expect_close(in[i]->grad, f, golden_key("c%d_%s", c, grad_keys[i]));
    cr_assert_eq(ak_step_end(ctx), AK_OK);
}

/* ---- elementwise ---------------------------------------------------------------------------- */

static ak_tensor *log1p_abs(ak_tensor *x)
{
    return ak_log1p(ak_abs(x));
}

static ak_tensor *activation(golden_file *f, int c, const char *name, ak_tensor *x)
{
    static const struct { const char *name; ak_tensor *(*fn)(ak_tensor *); } plain[] = {
        { "relu", ak_relu }, { "gelu", ak_gelu }, { "gelu_tanh", ak_gelu_tanh },
        { "silu", ak_silu }, { "sigmoid", ak_sigmoid }, { "tanh", ak_tanh },
        { "softplus", ak_softplus }, { "exp", ak_exp }, { "erf", ak_erf },
        { "log1p_abs", log1p_abs }, { "hardswish", ak_hardswish },
        { "quick_gelu", ak_quick_gelu }, { "log_sigmoid", ak_log_sigmoid },
        { "sin", ak_sin }, { "cos", ak_cos },
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(plain[i].name, name))
            return plain[i].fn(x);
    /* PyTorch's defaults where the file does not say. */
    if (!strcmp(name, "leaky_relu"))
        return ak_leaky_relu(x, golden_number_or(f, golden_key("c%d_opt_slope", c), 0.01));
    if (!strcmp(name, "elu"))
        return ak_elu(x, golden_number_or(f, golden_key("c%d_opt_alpha", c), 1));
    cr_assert_fail("no activation %s", name);
    return NULL;
}

Test(golden, activation)
{
    golden_file *f = open_file("layer-activation");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *x = input(ctx, f, c, "x");
        ak_tensor *y = activation(f, c, golden_text(f, golden_key("c%d_opt_name", c)), x);
        expect_case(ctx, f, c, y, &x, (const char *[]){ "gx", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(golden, broadcast)
{
    static const struct { const char *name; ak_tensor *(*fn)(ak_tensor *, ak_tensor *); } ops[] = {
        { "add", ak_add }, { "sub", ak_sub }, { "mul", ak_mul }, { "div", ak_div },
        { "maximum", ak_maximum }, { "minimum", ak_minimum }, { NULL, NULL },
    };
    golden_file *f = open_file("layer-broadcast");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *in[] = { input(ctx, f, c, "x"), input(ctx, f, c, "x2") };
        const char *name = golden_text(f, golden_key("c%d_opt_name", c));
        int i = 0;
        while (ops[i].name && strcmp(ops[i].name, name) != 0)
            i++;
        cr_assert_not_null(ops[i].name, "no op %s", name);
        /* The file divides by |x2| + 0.5, to stay away from 0. */
        ak_tensor *b = ops[i].fn == ak_div ? ak_add_scalar(ak_abs(in[1]), 0.5) : in[1];
        expect_case(ctx, f, c, ops[i].fn(in[0], b), in,
                    (const char *[]){ "gx", "gx2", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- products ------------------------------------------------------------------------------- */

Test(golden, matmul)
{
    golden_file *f = open_file("layer-matmul");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *in[] = { input(ctx, f, c, "x"), input(ctx, f, c, "x2") };
        const char *form = golden_text(f, golden_key("c%d_opt_form", c));
        cr_assert(!strcmp(form, "nn") || !strcmp(form, "nt") || !strcmp(form, "tn"), "%s", form);
        ak_tensor *y = form[0] == 't' ? ak_matmul_tn(in[0], in[1])
                     : form[1] == 't' ? ak_matmul_nt(in[0], in[1]) : ak_matmul(in[0], in[1]);
        expect_case(ctx, f, c, y, in, (const char *[]){ "gx", "gx2", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(golden, linear)
{
    golden_file *f = open_file("layer-linear");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *in[] = { input(ctx, f, c, "x"), input(ctx, f, c, "p_weight"),
                            input(ctx, f, c, "p_bias") };
        cr_assert_eq(in[2] != NULL, golden_number(f, golden_key("c%d_opt_bias", c)) != 0);
        expect_case(ctx, f, c, ak_linear(in[0], in[1], in[2]), in,
                    (const char *[]){ "gx", "gp_weight", "gp_bias", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- reductions ----------------------------------------------------------------------------- */

static ak_tensor *reduction(golden_file *f, int c, ak_tensor *x)
{
    const char *name = golden_text(f, golden_key("c%d_opt_name", c));
    static const struct {
        const char *name;
        ak_tensor *(*fn)(ak_tensor *, int), *(*kept)(ak_tensor *, int), *(*all)(ak_tensor *);
    } known[] = {
        { "sum", ak_sum_axis, ak_sum_keepdim, ak_sum },
        { "mean", ak_mean_axis, ak_mean_keepdim, ak_mean },
        { "max", ak_max_axis, ak_max_keepdim, NULL },
        { "min", ak_min_axis, ak_min_keepdim, NULL },
        { "logsumexp", ak_logsumexp, ak_logsumexp_keepdim, NULL },
        { "cumsum", ak_cumsum, NULL, NULL },
    };
    const bool every = !golden_has(f, golden_key("c%d_opt_axis", c));
    const int axis = every ? 0 : (int)golden_number(f, golden_key("c%d_opt_axis", c));
    const int off = (int)golden_number_or(f, golden_key("c%d_opt_correction", c), 0);
    const bool keep = golden_number_or(f, golden_key("c%d_opt_keepdim", c), 0) != 0;
    if (!strcmp(name, "var") && !every)
        return keep ? ak_var_keepdim(x, axis, off) : ak_var_axis(x, axis, off);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        if (every && known[i].all)
            return known[i].all(x);
        if (!every && (!keep || known[i].kept))
            return (keep ? known[i].kept : known[i].fn)(x, axis);
    }
    cr_assert_fail("no reduction %s", name);
    return NULL;
}

Test(golden, reduce)
{
    golden_file *f = open_file("layer-reduce");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *x = input(ctx, f, c, "x");
        expect_case(ctx, f, c, reduction(f, c, x), &x, (const char *[]){ "gx", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- embedding ------------------------------------------------------------------------------ */

Test(golden, embedding)
{
    golden_file *f = open_file("layer-embedding");
    ak_ctx *ctx = open_quiet();
    for (int c = 0; c < golden_cases(f); c++) {
        ak_tensor *w = input(ctx, f, c, "p_weight");
        ak_index *ids = golden_index(ctx, f, golden_key("c%d_ids", c));
        const char *bag = golden_text(f, golden_key("c%d_opt_bag", c));
        ak_tensor *y = ak_embedding(
            w, ids, (int)golden_number_or(f, golden_key("c%d_opt_padding_idx", c), AK_NONE));
        if (!strcmp(bag, "mean"))
            y = ak_mean_axis(y, 1);
        else if (!strcmp(bag, "sum"))
            y = ak_sum_axis(y, 1);
        else if (!strcmp(bag, "max"))
            y = ak_max_axis(y, 1);
        else
            cr_assert_str_eq(bag, "", "no bag %s", bag);
        expect_case(ctx, f, c, y, &w, (const char *[]){ "gp_weight", NULL });
    }
    golden_free(f);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- the comparison itself ------------------------------------------------------------------ */

Test(golden, a_difference_is_seen)
{
    golden_file *f = open_file("layer-linear");
    ak_ctx *ctx = open_quiet();
    ak_tensor *y = golden_tensor(ctx, f, "c0_y");
    char msg[GOLDEN_MESSAGE];
    cr_expect(golden_close(y->data, f, "c0_y", GOLDEN_TOL, msg), "%s", msg);
    const ak_real kept = y->data[y->size - 1];
    y->data[y->size - 1] = kept + (ak_real)(100 * GOLDEN_TOL);
    cr_expect_not(golden_close(y->data, f, "c0_y", GOLDEN_TOL, msg), "%s", msg);
    y->data[y->size - 1] = (ak_real)NAN;
    cr_expect_not(golden_close(y->data, f, "c0_y", GOLDEN_TOL, msg), "%s", msg);
    golden_free(f);
    ak_close(ctx);
}
