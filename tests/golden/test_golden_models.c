/* SPDX-License-Identifier: Apache-2.0 */
/* Optimisers step by step, and ResNet-18 with its gradients, against PyTorch and torchvision. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <stdlib.h>
#include <string.h>

#include "golden.h"

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* ---- optimisers ------------------------------------------------------------------------------ */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static double option(golden_file *f, int c, const char *name, double absent)
{
    const double x = golden_number_or(f, golden_key("c%d_opt_%s", c, name), absent);
    return x == 0 ? AK_NONE : x;        /* 0 in a file is 0, in an option it is the default */
}

/* The optimiser of case c. */
static ak_optim *optimiser(ak_ctx *ctx, golden_file *f, int c)
{
    const char *name = golden_text(f, golden_key("c%d_opt_name", c));
    const double lr = golden_number(f, golden_key("c%d_opt_lr", c));
    const double decay = golden_number_or(f, golden_key("c%d_opt_weight_decay", c), 0);
    const ak_adamw_options adam = {
        .lr = lr, .beta1 = option(f, c, "beta1", 0.9), .beta2 = option(f, c, "beta2", 0.999),
        .eps = golden_number_or(f, golden_key("c%d_opt_eps", c), 1e-8), .weight_decay = decay };
    if (starts_with(name, "sgd"))
        return ak_sgd(ctx, "*", (ak_sgd_options){
            .lr = lr, .momentum = golden_number_or(f, golden_key("c%d_opt_momentum", c), 0),
            .weight_decay = decay,
            .nesterov = golden_number_or(f, golden_key("c%d_opt_nesterov", c), 0) != 0 });
    if (strcmp(name, "adam") == 0)
        return ak_adam(ctx, "*", adam);
    if (strcmp(name, "adamw") == 0)
        return ak_adamw(ctx, "*", adam);
    if (starts_with(name, "lars"))
        return ak_lars(ctx, "*", (ak_lars_options){
            .lr = lr, .momentum = option(f, c, "momentum", 0.9), .weight_decay = decay,
            .trust = golden_number(f, golden_key("c%d_opt_trust", c)) });
    if (starts_with(name, "lamb"))
        return ak_lamb(ctx, "*", (ak_lamb_options){
            .lr = lr, .beta1 = adam.beta1, .beta2 = adam.beta2, .weight_decay = decay,
            .eps = golden_number_or(f, golden_key("c%d_opt_eps", c), 1e-6) });
    if (strcmp(name, "rmsprop") == 0)
        return ak_rmsprop(ctx, "*", (ak_rmsprop_options){
            .lr = lr, .alpha = option(f, c, "alpha", 0.99), .weight_decay = decay, .eps = adam.eps,
            .momentum = golden_number_or(f, golden_key("c%d_opt_momentum", c), 0) });
    if (strcmp(name, "adagrad") == 0)
        return ak_adagrad(ctx, "*", (ak_adagrad_options){
            .lr = lr, .weight_decay = decay,
            .eps = golden_number_or(f, golden_key("c%d_opt_eps", c), 1e-10) });
    cr_assert_fail("the library has no optimiser \"%s\"", name);
    return NULL;
}

Test(golden, optimiser_steps)
{
    golden_file *f = golden_open("optim-steps");
    cr_assert_not_null(f);
    int tried = 0;
    for (int c = 0; c < golden_cases(f); c++) {
        ak_ctx *ctx = quiet();
        ak_tensor *p = ak_param(ctx, "p", golden_shape(f, golden_key("c%d_p0", c)), 0);
        const double *start = golden_values(f, golden_key("c%d_p0", c));
        for (int64_t i = 0; i < p->size; i++)
            p->data[i] = (ak_real)start[i];
        ak_optim *opt = optimiser(ctx, f, c);
        const char *name = golden_text(f, golden_key("c%d_opt_name", c));
        cr_assert_eq(ak_error(ctx), AK_OK, "%s: %s", name, ak_error_message(ctx));
        const int64_t steps = golden_size(f, golden_key("c%d_p", c)) / p->size;
        ak_real *all = malloc((size_t)(steps * p->size) * sizeof *all);
        for (int64_t s = 0; s < steps; s++) {
            const double *g = golden_values(f, golden_key("c%d_grads", c)) + s * p->size;
            for (int64_t i = 0; i < p->size; i++)
                p->grad[i] = (ak_real)g[i];
            cr_assert_eq(ak_optim_step(opt), AK_OK);
            memcpy(all + s * p->size, p->data, (size_t)p->size * sizeof *all);
        }
        char message[GOLDEN_MESSAGE];
        cr_expect(golden_close(all, f, golden_key("c%d_p", c), GOLDEN_TOL, message), "%s: %s",
                  name, message);
        tried++;
        free(all);
        ak_close(ctx);
    }
    cr_expect_gt(tried, 0, "the file has no case");
    golden_free(f);
}

/* ---- ResNet-18 ------------------------------------------------------------------------------- */

/* torchvision's name of a tensor of ours: without "net/", dots for slashes. */
static const char *their_name(const ak_tensor *t)
{
    static char name[128];
    snprintf(name, sizeof name, "%s", t->name + strlen("net/"));
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return name;
}

/* Place in O I kH kW of element i of a tensor O kH kW I; other shapes are the same in both. */
static int64_t their_place(const ak_tensor *t, int64_t i)
{
    if (t->shape.n != 4)
        return i;
    const int64_t *d = t->shape.dims;
    const int64_t c = i % d[3], w = i / d[3] % d[2], h = i / d[3] / d[2] % d[1];
    const int64_t o = i / d[3] / d[2] / d[1];
    return ((o * d[3] + c) * d[1] + h) * d[2] + w;
}

static void import(ak_tensor *t, golden_file *f, const char *key)
{
    cr_assert_eq(golden_size(f, key), t->size, "%s", key);
    const double *values = golden_values(f, key);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)values[their_place(t, i)];
}

static void expect_values(const ak_tensor *t, const ak_real *got, golden_file *f, const char *key,
                          double tol)
{
    ak_real *theirs = malloc((size_t)t->size * sizeof *theirs);
    for (int64_t i = 0; i < t->size; i++)
        theirs[their_place(t, i)] = got[i];
    char message[GOLDEN_MESSAGE];
    cr_expect(golden_close(theirs, f, key, tol, message), "%s", message);
    free(theirs);
}

static void try_resnet(golden_file *f, int c)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(golden_tensor(ctx, f, golden_key("c%d_x", c)));
    const bool eval = golden_number_or(f, golden_key("c%d_opt_eval", c), 0) != 0;
    const ak_shape y_shape = golden_shape(f, golden_key("c%d_y", c));
    ak_module *net = ak_resnet18(ctx, "net", (ak_resnet_options){
        .channels = (int)x->shape.dims[3],
        .width = (int)golden_number(f, golden_key("c%d_opt_width", c)),
        .classes = (int)y_shape.dims[1],
        .stem = golden_text(f, golden_key("c%d_opt_stem", c))[0] - '0' });
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
        if (!(t->flags & AK_PARAM_BUFFER))
            import(t, f, golden_key("c%d_p_%s", c, their_name(t)));
        else if (eval)
            import(t, f, golden_key("c%d_b_%s", c, their_name(t)));
    ak_train_mode(ctx, !eval);
    ak_tensor *y = ak_forward(net, x);
    const ak_tensor *gy = golden_tensor(ctx, f, golden_key("c%d_gy", c));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));

    expect_values(y, y->data, f, golden_key("c%d_y", c), GOLDEN_TOL);
    char message[GOLDEN_MESSAGE];
    cr_expect(golden_close(x->grad, f, golden_key("c%d_gx", c), GOLDEN_TOL, message), "%s",
              message);
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
        if (t->flags & AK_PARAM_BUFFER)
            expect_values(t, t->data, f, golden_key("c%d_b_%s", c, their_name(t)), GOLDEN_TOL);
        else
            expect_values(t, t->grad, f, golden_key("c%d_gp_%s", c, their_name(t)), GOLDEN_TOL);
    ak_close(ctx);
}

Test(golden, resnet18)
{
    golden_file *f = golden_open("model-resnet18");
    cr_assert_not_null(f);
    for (int c = 0; c < golden_cases(f); c++)
        try_resnet(f, c);
    golden_free(f);
}
