/* SPDX-License-Identifier: Apache-2.0 */
/* Backward more than once, operands that changed in between, backward that fails, recording
 * switched off, constants, and what the gradient check finds. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <akin/akin.h>

#if AK_REAL_BITS == 64
#define NEAR 1e-12
#else
#define NEAR 2e-5
#endif

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_tensor *param(ak_ctx *ctx, const char *name, ak_shape shape, double start)
{
    ak_tensor *p = ak_param(ctx, name, shape, 0);
    cr_assert_not(ak_is_poison(p), "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < p->size; i++)
        p->data[i] = (ak_real)(start + 0.3 * sin(1.7 * (double)i + start));
    return p;
}

#define EXPECT_SAYS(ctx, text)                                                                     \
    cr_expect(strstr(ak_error_message(ctx), text), "no \"%s\" in: %s", text, ak_error_message(ctx))

/* ---- several losses -------------------------------------------------------------------------- */

enum { LARGE_ROWS = 4000 };

/* Two losses over one result z of a chain, the second made when it is asked for. */
typedef ak_tensor *loss_fn(ak_tensor *z);
static ak_tensor *squares(ak_tensor *z) { return ak_sum(ak_square(z)); }
static ak_tensor *sums(ak_tensor *z) { return ak_sum(ak_tanh(z)); }
static ak_tensor *first_row(ak_tensor *z) { return ak_sum(ak_square(ak_rows(z, 0, 1))); }
static ak_tensor *other_rows(ak_tensor *z)
{
    return ak_sum(ak_exp(ak_rows(z, 1, z->shape.dims[0] - 1)));
}
static ak_tensor *flat(ak_tensor *z) { return ak_mean(ak_square(ak_flatten(z))); }
static ak_tensor *contrast(ak_tensor *z)
{
    const int64_t n = z->shape.dims[0] / 2;
    return ak_loss_ntxent(ak_rows(z, 0, n), ak_rows(z, n, n), (ak_ntxent_options){ .tau = 0.3 });
}

enum order { SUM, IN_ORDER, OLDER_LAST, MADE_AFTERWARDS, ORDERS };

static void two_losses(loss_fn *f, loss_fn *g, enum order order, bool leaf, double *out)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = param(ctx, "w", AK_SHAPE(5, 5), 0.2);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(6, 5));
    if (leaf)
        ak_require_grad(x);
    ak_tensor *z = ak_tanh(ak_layer_norm(ak_matmul(x, w), NULL, NULL, 1e-5));
    ak_tensor *a = f(z), *b = order == MADE_AFTERWARDS ? NULL : g(z);
    if (order == SUM) {
        cr_assert_eq(ak_backward(ak_add(a, b)), AK_OK, "%s", ak_error_message(ctx));
    } else if (order == OLDER_LAST) {
        cr_assert_eq(ak_backward(b), AK_OK, "%s", ak_error_message(ctx));
        cr_assert_eq(ak_backward(a), AK_OK, "%s", ak_error_message(ctx));
    } else {
        cr_assert_eq(ak_backward(a), AK_OK, "%s", ak_error_message(ctx));
        cr_assert_eq(ak_backward(b ? b : g(z)), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_null(z->grad, "gradients of results are gone");
    for (int64_t i = 0; i < w->size; i++)
        out[i] = (double)w->grad[i];
    for (int64_t i = 0; leaf && i < x->size; i++)
        out[w->size + i] = (double)x->grad[i];
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(several_losses, add_up_in_any_order)
{
    static loss_fn *const pairs[][2] = { { squares, sums }, { first_row, other_rows },
                                         { flat, contrast }, { contrast, squares },
                                         { other_rows, flat } };
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++)
        for (int leaf = 0; leaf < 2; leaf++) {
            double want[55] = { 0 };
            two_losses(pairs[p][0], pairs[p][1], SUM, leaf, want);
            for (enum order o = IN_ORDER; o < ORDERS; o++) {
                double got[55] = { 0 };
                two_losses(pairs[p][0], pairs[p][1], o, leaf, got);
                for (int i = 0; i < 55; i++)
                    cr_assert_float_eq(got[i], want[i], NEAR * fmax(1, fabs(want[i])),
                                       "pair %zu, order %d, element %d", p, (int)o, i);
            }
        }
}

Test(several_losses, a_loss_inside_another_counts_twice)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = param(ctx, "w", AK_SHAPE(1), 0);
    w->data[0] = 3;
    ak_tensor *a = ak_sum(ak_square(w));
    cr_expect_eq(ak_backward(a), AK_OK);
    cr_expect_eq(ak_backward(ak_add(a, ak_sum(w))), AK_OK);
    cr_expect_float_eq((double)w->grad[0], 6 + 6 + 1, NEAR);
    /* the very same loss is a mistake */
    cr_expect_eq(ak_backward(a), AK_ERR_STATE);
    EXPECT_SAYS(ctx, "already ran");
    cr_expect_float_eq((double)w->grad[0], 13, NEAR);
    ak_close(ctx);
}

Test(several_losses, rows_of_a_jacobian)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = param(ctx, "w", AK_SHAPE(3), 1);
    ak_tensor *y = ak_square(w);
    for (int i = 0; i < 3; i++) {
        const ak_real one[3] = { i == 0, i == 1, i == 2 };
        cr_expect_eq(ak_backward_from(y, one), AK_OK, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_backward_from(ak_rows(y, i, 1), (ak_real[]){ 1 }), AK_OK);
    }
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq((double)w->grad[i], 4 * (double)w->data[i], NEAR * 10);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* What a norm made is made again for the second loss; what a product made is gone. */
Test(several_losses, values_given_back)
{
    ak_real want[64];
    for (int done = 0; done < 3; done++) {
        ak_ctx *ctx = quiet();
        ak_tensor *w = param(ctx, "w", AK_SHAPE(8, 8), 0.1);
        ak_tensor *h = ak_matmul(ak_randn(ctx, AK_SHAPE(LARGE_ROWS, 8)), w);
        ak_tensor *z = ak_batch_norm(h, NULL, NULL, NULL, NULL,
                                     (ak_batch_norm_options){ .relu = true });
        ak_tensor *a = ak_mean(ak_square(z)), *b = ak_mean(ak_exp(z));
        if (done)
            ak_done_with(z, true);
        if (done == 2)
            ak_done_with(h, false);
        cr_expect_eq(ak_backward(a), AK_OK, "%s", ak_error_message(ctx));
        ak_real once[64];
        memcpy(once, w->grad, sizeof once);
        const ak_status second = ak_backward(b);
        if (done == 2) {
            cr_expect_eq(second, AK_ERR_STATE);
            EXPECT_SAYS(ctx, "ak_done_with");
            cr_expect_arr_eq(w->grad, once, sizeof once, "the first loss's gradients stay");
        } else {
            cr_expect_eq(second, AK_OK, "%s", ak_error_message(ctx));
            if (done)
                cr_expect_arr_eq(w->grad, want, sizeof want);
            memcpy(want, w->grad, sizeof want);
        }
        ak_close(ctx);
    }
}

/* A constant copy shares the numbers: they are kept, or made again, for its readers as well. */
Test(several_losses, values_given_back_under_a_constant_copy)
{
    for (int kind = 0; kind < 2; kind++) {
        ak_real want[8];
        for (int done = 0; done < 2; done++) {
            ak_ctx *ctx = quiet();
            ak_tensor *v = param(ctx, "v", AK_SHAPE(8), 1);
            ak_tensor *x = param(ctx, "x", AK_SHAPE(LARGE_ROWS, 8), 1);
            ak_tensor *y = kind ? ak_exp(ak_detach(x))
                                : ak_batch_norm(x, NULL, NULL, NULL, NULL,
                                                (ak_batch_norm_options){ 0 });
            ak_tensor *part = ak_rows(ak_detach(y), 7, LARGE_ROWS - 7);
            ak_tensor *loss = ak_sum(ak_mul(part, v));
            if (!kind)
                loss = ak_add(loss, ak_sum(ak_square(y)));
            if (done)
                ak_done_with(y, true);
            cr_expect_eq(y->data == NULL, done && !kind);
            ak_full(ctx, AK_SHAPE(LARGE_ROWS, 8), 1e30);
            cr_expect_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
            if (done)
                cr_expect_arr_eq(v->grad, want, sizeof want, "kind %d", kind);
            memcpy(want, v->grad, sizeof want);
            ak_close(ctx);
        }
    }
}

/* A kept tensor's gradient is of the step: the next one starts anew. */
Test(several_losses, gradient_of_a_kept_leaf)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_keep(ak_full(ctx, AK_SHAPE(300), 2)));
    for (int step = 0; step < 4; step++) {
        cr_expect_eq(ak_step_end(ctx), AK_OK);
        ak_tensor *junk = ak_full(ctx, AK_SHAPE(step * 500), 7);
        cr_expect_eq(ak_backward(ak_sum(ak_square(x))), AK_OK);
        for (int64_t i = 0; i < x->size; i++)
            cr_assert_eq(x->grad[i], 4);
        for (int64_t i = 0; i < junk->size; i++)
            cr_assert_eq(junk->data[i], 7);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- changed between forward and backward ---------------------------------------------------- */

typedef struct changing {
    ak_ctx    *ctx;
    ak_tensor *p, *q, *x;       /* "net/p", "net/q" [4]; a step tensor [4] */
    ak_optim  *opt;             /* of p alone */
    const char *path;
} changing;

static void by_fill(changing *c) { ak_fill(c->p, 2); }
static void by_copy(changing *c) { ak_copy(c->p, c->q); }
static void by_alias(changing *c) { ak_fill(ak_rows(c->p, 1, 2), 2); }
static void by_detached(changing *c) { ak_fill(ak_detach(c->p), 2); }
static void by_step(changing *c)
{
    c->p->grad[0] = 1;
    ak_optim_step(c->opt);
}
static void by_average(changing *c) { ak_ema_update(c->ctx, "net", "other", 0.5); }
static void by_init(changing *c)
{
    ak_init_fill(c->p, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
}
static void by_constant_init(changing *c)
{
    ak_init_fill(c->p, (ak_init){ .kind = AK_INIT_CONSTANT, .scale = 1 });
}
static void by_load(changing *c) { ak_load(c->ctx, c->path); }
static void by_touch(changing *c)
{
    c->p->data[0] = 9;
    ak_touch(c->p);
}

static const struct change { void (*make)(changing *); const char *says; } changes[] = {
    { by_fill, "ak_fill" }, { by_copy, "ak_copy" }, { by_alias, "ak_fill" },
    { by_detached, "ak_fill" }, { by_step, "ak_optim_step" }, { by_average, "ak_ema_update" },
    { by_init, "ak_init_fill" }, { by_constant_init, "ak_fill" }, { by_load, "loading a file" },
    { by_touch, "ak_touch" },
};

static changing open_changing(void)
{
    static char path[64];       /* tests run side by side, each in a process of its own */
    snprintf(path, sizeof path, "/tmp/akin-test-%d.ckpt", (int)getpid());
    changing c = { .ctx = quiet(), .path = path };
    c.p = param(c.ctx, "net/p", AK_SHAPE(4, 1), 1);
    c.q = param(c.ctx, "net/q", AK_SHAPE(4, 1), 2);
    param(c.ctx, "other/p", AK_SHAPE(4, 1), 3);
    param(c.ctx, "other/q", AK_SHAPE(4, 1), 4);
    c.opt = ak_sgd(c.ctx, "net/p", (ak_sgd_options){ .lr = 0.1 });
    c.x = ak_randn(c.ctx, AK_SHAPE(4, 1));
    cr_assert_eq(ak_save(c.ctx, c.path), AK_OK, "%s", ak_error_message(c.ctx));
    return c;
}

Test(changed, every_way_is_seen)
{
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        for (int through = 0; through < 3; through++) {     /* itself, an alias, a constant copy */
            changing c = open_changing();
            ak_tensor *p = through == 0 ? c.p : through == 1 ? ak_flatten(c.p) : ak_detach(c.p);
            ak_tensor *q = through == 1 ? ak_flatten(c.q) : c.q;
            ak_tensor *loss = ak_sum(ak_mul(p, q));
            cr_assert_not(ak_is_poison(loss), "%s", ak_error_message(c.ctx));
            changes[i].make(&c);
            cr_assert_eq(ak_error(c.ctx), AK_OK, "%s", ak_error_message(c.ctx));
            ak_real before[4];
            memcpy(before, c.q->grad, sizeof before);
            cr_expect_eq(ak_backward(loss), AK_ERR_STATE, "change %zu", i);
            EXPECT_SAYS(c.ctx, changes[i].says);
            EXPECT_SAYS(c.ctx, "mul: operand 0");
            EXPECT_SAYS(c.ctx, "net/p");
            cr_expect_arr_eq(before, c.q->grad, sizeof before);
            ak_step_end(c.ctx);
            /* before forward it is no change */
            changes[i].make(&c);
            cr_expect_eq(ak_backward(ak_sum(ak_mul(c.p, c.q))), AK_OK, "%s",
                         ak_error_message(c.ctx));
            cr_expect_eq(ak_step_end(c.ctx), AK_OK);
            remove(c.path);
            ak_close(c.ctx);
        }
}

/* What backward does not read may change, and so may a parameter that nobody touched. */
Test(changed, no_false_alarm)
{
    changing c = open_changing();
    ak_tensor *loss = ak_sum(ak_add(ak_mul(c.q, c.q), ak_scale(c.p, 3)));
    by_step(&c);                /* p alone; q and the others are of no optimiser */
    by_fill(&c);
    cr_expect_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(c.ctx));
    for (int i = 0; i < 4; i++) {
        cr_expect_float_eq((double)c.q->grad[i], 2 * (double)c.q->data[i], NEAR);
        cr_expect_float_eq((double)c.p->grad[i], 3, NEAR);
    }
    cr_expect_eq(ak_step_end(c.ctx), AK_OK);
    /* a frozen parameter is not changed by the step of its optimiser */
    ak_freeze(c.ctx, "net/p", true);
    loss = ak_sum(ak_mul(c.p, c.q));
    ak_optim_step(c.opt);
    cr_expect_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(c.ctx));
    remove(c.path);
    cr_expect_eq(ak_close(c.ctx), AK_OK);
}

Test(changed, results_are_looked_at_as_well)
{
    changing c = open_changing();
    ak_tensor *e = ak_exp(c.p), *loss = ak_sum(e);
    ak_copy(e, c.q);
    cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
    EXPECT_SAYS(c.ctx, "exp: its result");
    EXPECT_SAYS(c.ctx, "ak_copy");
    remove(c.path);
    ak_close(c.ctx);
}

/* Batch norm writes running statistics in forward: no alarm for itself, one for who read them. */
Test(changed, running_statistics)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = param(ctx, "w", AK_SHAPE(6, 3), 1), *s = param(ctx, "s", AK_SHAPE(3), 1);
    ak_tensor *mean = ak_buffer(ctx, "mean", AK_SHAPE(3));
    ak_tensor *var = ak_buffer(ctx, "var", AK_SHAPE(3));
    const ak_batch_norm_options o = { .momentum = 0.3 };
    ak_tensor *a = ak_batch_norm(w, s, NULL, mean, var, o);
    ak_tensor *b = ak_batch_norm(ak_square(w), s, NULL, mean, var, o);
    cr_expect_eq(ak_backward(ak_sum(ak_square(ak_add(a, b)))), AK_OK, "%s", ak_error_message(ctx));
    ak_tensor *loss = ak_sum(ak_mul(mean, s));
    ak_batch_norm(w, s, NULL, mean, var, o);
    cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
    EXPECT_SAYS(ctx, "was changed by batch_norm");
    ak_close(ctx);
}

Test(changed, clamped_temperature)
{
    ak_ctx *ctx = quiet();
    ak_tensor *s = ak_temperature(ctx, "scale", 0.001);
    ak_tensor *z = ak_randn(ctx, AK_SHAPE(4, 3)), *k = ak_randn(ctx, AK_SHAPE(4, 3));
    ak_tensor *loss = ak_loss_clip(z, k, s, (ak_infonce_options){ 0 });
    ak_temperature_clamp(s, 0, 0);
    cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
    EXPECT_SAYS(ctx, "ak_temperature_clamp");
    ak_step_end(ctx);
    loss = ak_loss_clip(ak_randn(ctx, AK_SHAPE(4, 3)), ak_randn(ctx, AK_SHAPE(4, 3)), s,
                        (ak_infonce_options){ 0 });
    ak_temperature_clamp(s, 0, 0);      /* in range: nothing changes */
    cr_expect_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
    ak_close(ctx);
}

/* What somebody wrote into a norm's output is not made again from its operands. */
Test(changed, is_not_made_again)
{
    ak_ctx *ctx = quiet();
    ak_tensor *w = param(ctx, "w", AK_SHAPE(LARGE_ROWS, 8), 1);
    ak_tensor *v = param(ctx, "v", AK_SHAPE(8), 1);
    ak_tensor *z = ak_batch_norm(w, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 });
    ak_fill(z, 5);
    ak_tensor *loss = ak_sum(ak_mul(z, v));
    ak_done_with(z, true);
    cr_expect_not_null(z->data);
    cr_expect_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
    for (int i = 0; i < 8; i++)
        cr_expect_float_eq((double)v->grad[i], 5 * LARGE_ROWS, 1e-3);
    /* what was given back is made again to be written into, and changed for backward then */
    ak_tensor *y = ak_batch_norm(w, v, NULL, NULL, NULL, (ak_batch_norm_options){ 0 });
    ak_tensor *part = ak_rows(y, 0, 4);
    loss = ak_sum(ak_mul(y, y));
    ak_done_with(y, true);
    ak_fill(part, 1);
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(y->owner->data[0], 1);
    cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
    EXPECT_SAYS(ctx, "ak_fill");
    ak_step_end(ctx);
    ak_close(ctx);
}

/* ---- recording switched off ------------------------------------------------------------------ */

Test(no_grad, lasts_to_its_end)
{
    ak_ctx *ctx = quiet();
    ak_tensor *v = param(ctx, "v", AK_SHAPE(2), 1);
    ak_no_grad_begin(ctx);
    for (int i = 0; i < 3; i++) {
        ak_no_grad_begin(ctx);
        cr_expect_null(ak_square(v)->maker);
        cr_expect_eq(ak_step_end(ctx), AK_OK);
        cr_expect_null(ak_square(v)->maker);
        ak_no_grad_end(ctx);
        cr_expect_null(ak_square(v)->maker, "batch %d", i);
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    ak_no_grad_end(ctx);
    cr_expect_not_null(ak_square(v)->maker);
    cr_expect_eq(ak_error(ctx), AK_OK);
    ak_no_grad_end(ctx);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_STATE);
    EXPECT_SAYS(ctx, "ak_no_grad_begin");
    cr_expect_not_null(ak_square(v)->maker, "and nothing is switched off by it");
    ak_close(ctx);
}

/* ---- constants ------------------------------------------------------------------------------- */

Test(constants, a_target_gets_its_gradient)
{
    ak_ctx *ctx = quiet();
    ak_tensor *a = ak_full(ctx, AK_SHAPE(4), 1), *b = ak_require_grad(ak_full(ctx, AK_SHAPE(4), 3));
    cr_expect_eq(ak_backward(ak_mse(a, b)), AK_OK, "%s", ak_error_message(ctx));
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)b->grad[i], 1, NEAR);
    /* both sides one tensor: no gradient is left */
    ak_tensor *w = param(ctx, "w", AK_SHAPE(3), 1);
    cr_expect_eq(ak_backward(ak_add(ak_mse(w, w), ak_huber(w, ak_scale(w, 1), 0.1))), AK_OK);
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq((double)w->grad[i], 0, NEAR);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Losses with one constant that needs a gradient: fused and composed are refused alike. */
Test(constants, that_need_a_gradient_are_refused)
{
    ak_ctx *ctx = quiet();
    for (int which = 0; which < 8; which++)
        for (int composed = 0; composed < 2; composed++) {
            ak_tensor *z = ak_require_grad(ak_randn(ctx, AK_SHAPE(4, 3)));
            ak_tensor *k = ak_randn(ctx, AK_SHAPE(4, 3));
            ak_tensor *w = ak_require_grad(ak_full(ctx, AK_SHAPE(4), 1));
            ak_tensor *m = ak_require_grad(ak_full(ctx, AK_SHAPE(4, 4), 1));
            ak_index *columns = ak_index_from(ctx, AK_SHAPE(4, 1), (int32_t[]){ 0, 1, 2, 3 });
            ak_infonce_options o = { 0 };
            ak_supcon_options s = { .weights = which == 5 ? w : NULL,
                                    .positives = which == 6 ? m : NULL };
            ak_ntxent_options n = { .weights = which == 7 ? w : NULL };
            o.weights = which == 0 ? w : NULL;
            o.targets = which == 1 ? m : NULL;
            o.pair_weights = which == 2 ? m : NULL;
            o.target_columns = which == 4 ? columns : NULL;
            o.target_weights = which == 4 ? ak_reshape(w, AK_SHAPE(4, 1)) : NULL;
            ak_tensor *loss;
            if (which == 3)
                loss = composed ? ak_loss_ntxent_views_composed(
                                      ak_reshape(ak_concat(0, z, k), AK_SHAPE(2, 4, 3)),
                                      (ak_ntxent_options){ .weights = w })
                                : ak_loss_ntxent_views(
                                      ak_reshape(ak_concat(0, z, k), AK_SHAPE(2, 4, 3)),
                                      (ak_ntxent_options){ .weights = w });
            else if (which == 7)
                loss = (composed ? ak_loss_ntxent_composed : ak_loss_ntxent)(z, k, n);
            else if (which >= 5)
                loss = (composed ? ak_loss_supcon_composed : ak_loss_supcon)(
                    ak_reshape(ak_concat(0, z, k), AK_SHAPE(2, 4, 3)), NULL, s);
            else
                loss = (composed ? ak_loss_infonce_composed : ak_loss_infonce)(z, k, o);
            cr_expect(ak_is_poison(loss), "constant %d, composed %d", which, composed);
            cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
            EXPECT_SAYS(ctx, "ak_detach");
            ak_step_end(ctx);
        }
    /* running statistics that are parameters */
    ak_tensor *mean = param(ctx, "mean", AK_SHAPE(3), 1), *var = param(ctx, "var", AK_SHAPE(3), 2);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(5, 3));
    const ak_real first = mean->data[0];
    cr_expect(ak_is_poison(ak_batch_norm(x, NULL, NULL, mean, var, (ak_batch_norm_options){ 0 })));
    EXPECT_SAYS(ctx, "operand 3 is a constant");
    cr_expect_eq(mean->data[0], first);
    ak_step_end(ctx);
    ak_no_grad_begin(ctx);              /* where nothing is recorded nothing is lost */
    cr_expect_not(ak_is_poison(ak_batch_norm(ak_randn(ctx, AK_SHAPE(5, 3)), NULL, NULL, mean, var,
                                             (ak_batch_norm_options){ 0 })));
    ak_no_grad_end(ctx);
    ak_close(ctx);
}

/* ---- the gradient check ---------------------------------------------------------------------- */

static ak_status same_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void twice(ak_call *k)
{
    for (int64_t i = 0; i < k->out->size; i++)
        k->out->data[i] = 2 * k->in[0]->data[i];
}

static void assigns(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] = 2 * k->out->grad[i];
}

static void leaves_out(ak_call *k)          /* element 0 of fresh memory */
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    for (int64_t i = fresh; dx && i < k->out->size; i++)
        dx[i] = (fresh ? 0 : dx[i]) + 2 * k->out->grad[i];
}

static void is_right(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] += 2 * k->out->grad[i];
}

Test(gradcheck, finds_assignment_and_holes)
{
    static const ak_sample samples[] = { { .in = { { 1, { 4 } } } },
                                         { .in = { { 2, { 3, 5 } } } }, AK_END };
    void (*const backward[])(ak_call *) = { is_right, assigns, leaves_out };
    ak_ctx *ctx = quiet();
    for (int b = 0; b < 3; b++) {
        const ak_op op = { .name = "twice", .formula = "y = 2x", .n_in = 1, .shape = same_shape,
                           .forward = twice, .backward = backward[b], .samples = samples };
        for (int i = 0; i < 2; i++) {
            ak_gradcheck r = { 0 };
            cr_expect_eq(ak_gradcheck_op(ctx, &op, &samples[i], 1, &r), AK_OK);
            if (b == 0)
                cr_expect_lt(r.worst, 1e-2, "%g", r.worst);
            else
                cr_expect_gt(r.worst, 0.1, "backward %d: %g", b, r.worst);
        }
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

static ak_tensor *square_of(ak_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return ak_square(in[0]);
}

Test(gradcheck, leaves_gradients_alone)
{
    ak_ctx *ctx = quiet();
    ak_tensor *p = param(ctx, "p", AK_SHAPE(3), 1);
    p->grad[1] = 5;
    ak_real *const memory = p->grad;
    ak_gradcheck r = { 0 };
    cr_expect_eq(ak_gradcheck_fn(ctx, square_of, NULL, &p, 1, &r), AK_OK);
    cr_expect_lt(r.worst, 1e-2);
    cr_expect_eq(p->grad, memory);
    cr_expect_eq(p->grad[1], 5);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- places that an index can not hold ------------------------------------------------------- */

/* A tensor of a shape that no memory is there for: the call has to be refused before it is read. */
Test(index, places_beyond_32_bits)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(1));
    ak_tensor huge = *x;
    huge.shape = AK_SHAPE(1, 46341, 46341);
    huge.size = ak_shape_size(huge.shape);
    huge.shape = AK_SHAPE(1, huge.size);
    const ak_index *j = ak_argmax(&huge, 1);
    cr_expect_eq(j->size, 0);
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    EXPECT_SAYS(ctx, "2147488281");
    ak_step_end(ctx);
    huge = *ak_zeros(ctx, AK_SHAPE(1));
    huge.shape = AK_SHAPE(1, 46341, 46341, 1);
    huge.size = ak_shape_size(huge.shape);
    cr_expect(ak_is_poison(ak_max_pool2d(&huge, (ak_pool_options){ .kernel = 2, .stride = 2 })));
    EXPECT_SAYS(ctx, "46341 x 46341");
    ak_step_end(ctx);
    ak_close(ctx);
}
