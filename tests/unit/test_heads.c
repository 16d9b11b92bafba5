/* SPDX-License-Identifier: Apache-2.0 */
/* Poolings of maps against formulas, heads by name, prototypes, several heads, tied words. What
 * holds for all of them is in tests/modules. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/heads.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-11 : 3e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_close(const ak_tensor *a, const ak_tensor *b, const char *what)
{
    cr_assert(ak_shape_equal(a->shape, b->shape), "%s", what);
    for (int64_t i = 0; i < a->size; i++)
        cr_assert_float_eq((double)a->data[i], (double)b->data[i],
                           4 * TOL * fmax(1, fabs((double)b->data[i])), "%s: %lld: %g, %g", what,
                           (long long)i, (double)a->data[i], (double)b->data[i]);
}

/* ---- generalised mean ------------------------------------------------------------------------ */

static double gem_of(const double *x, int n, double p)
{
    ak_ctx *ctx = quiet();
    ak_tensor *map = ak_from_double(ctx, AK_SHAPE(1, n, 1), x);
    const double y = ak_item(ak_gem_pool(map, ak_full(ctx, AK_SHAPE(1), p), 0));
    cr_assert_eq(ak_error(ctx), AK_OK);
    ak_close(ctx);
    return y;
}

Test(gem, means_that_have_names)
{
    const double x[] = { 1, 2, 4, 8 };
    cr_expect_float_eq(gem_of(x, 4, 1), 15.0 / 4, 4 * TOL, "arithmetic");
    cr_expect_float_eq(gem_of(x, 4, 2), sqrt(85.0 / 4), 5 * TOL, "quadratic");
    cr_expect_float_eq(gem_of(x, 4, 0), pow(64, 0.25), 4 * TOL, "geometric");
    cr_expect_float_eq(gem_of(x, 4, -1), 4 / 1.875, 4 * TOL, "harmonic");
    cr_expect_float_eq(gem_of(x, 4, 3), cbrt(585.0 / 4), 6 * TOL, "cubic");
}

/* Powers that no double could hold, and exponents next to 0, where 1/p cancels. */
Test(gem, any_exponent)
{
    const double x[] = { 1e-3, 0.5, 300, 299 }, ends[] = { -2, 1e-9, 0.7 };
    cr_expect_float_eq(gem_of(x, 4, 1e4), 300 * pow(0.25, 1e-4), 300 * 10 * TOL);
    cr_expect_float_eq(gem_of(x, 4, -1e4), 1e-3 * pow(0.25, -1e-4), 1e-3 * 10 * TOL);
    const double geometric = gem_of(x, 4, 0);
    cr_expect_float_eq(gem_of(x, 4, 1e-7), geometric, 1e-5 * geometric);
    cr_expect_float_eq(gem_of(x, 4, -1e-7), geometric, 1e-5 * geometric);
    for (double p = -1.5; p <= 1.5; p += 0.25) {
        double sum = 0;
        for (int i = 0; i < 4 && p != 0; i++)
            sum += pow(x[i], p) / 4;
        if (p != 0)
            cr_expect_float_eq(gem_of(x, 4, p), pow(sum, 1 / p), 20 * TOL * pow(sum, 1 / p), "%g",
                               p);
    }
    cr_expect_float_eq(gem_of(ends, 3, 1), (2e-6 + 0.7) / 3, TOL, "eps for what is below");
    cr_expect(isnan(gem_of((double[]){ 1, (double)NAN, 2 }, 3, 3)), "NaN is not lost");
}

/* The gradient by p near and at 0, where the closed form is half the variance of the logs. */
Test(gem, gradient_by_the_exponent)
{
    const double p[] = { 0, 1e-8, -1e-5, 0.3, 1, 3, -4, 40 };
    for (size_t i = 0; i < sizeof p / sizeof *p && sizeof(ak_real) == 8; i++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x = ak_param(ctx, "x", AK_SHAPE(2, 5, 3), 0);
        ak_tensor *power = ak_param(ctx, "p", AK_SHAPE(1), 0);
        for (int64_t j = 0; j < x->size; j++)
            x->data[j] = (ak_real)(0.2 + 2 * ak_random_uniform(4, 1, (uint64_t)j));
        ak_fill(power, p[i]);
        const double h = 1e-5;
        double numeric[2];
        for (int side = 0; side < 2; side++) {
            ak_fill(power, p[i] + (side ? h : -h));
            numeric[side] = ak_item(ak_sum(ak_gem_pool(x, power, 0)));
        }
        ak_fill(power, p[i]);
        cr_assert_eq(ak_backward(ak_sum(ak_gem_pool(x, power, 0))), AK_OK);
        cr_expect_float_eq((double)power->grad[0], (numeric[1] - numeric[0]) / (2 * h), 1e-8,
                           "p = %g: %.12g, numeric %.12g", p[i], (double)power->grad[0],
                           (numeric[1] - numeric[0]) / (2 * h));
        ak_close(ctx);
    }
}

Test(gem, exponent_is_learned_or_frozen)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_gem_pool(ctx, "pool", 3, (ak_gem_options){ 0 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    ak_tensor *p = ak_module_find(m, "p");
    cr_expect_eq(p->data[0], 3);
    cr_expect(p->flags & AK_PARAM_NO_DECAY);
    ak_tensor *x = ak_uniform(ctx, AK_SHAPE(2, 2, 2, 3), 0, 2);
    cr_assert_eq(ak_backward(ak_sum(ak_forward(m, x))), AK_OK);
    cr_expect_gt(p->grad[0], 0);
    cr_expect_null(ak_nn_gem_pool(ctx, "bad", 3, (ak_gem_options){ .p = (double)INFINITY }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* The folded form is attention of one query over keys and values. */
Test(pools, query_pool_is_attention)
{
    enum { C = 6, H = 3 };
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_query_pool(ctx, "pool", C, (ak_query_pool_options){ .heads = H,
                                                                             .out = 4 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    ak_fill(ak_module_find(m, "value/bias"), 0.25);
    ak_tensor *query = ak_module_find(m, "query");
    for (int i = 0; i < C; i++)
        query->data[i] = (ak_real)(i - 2.5);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(5, 2, 3, C));
    ak_tensor *rows = ak_reshape(x, AK_SHAPE(5, 6, C));
    ak_tensor *k = ak_linear(rows, ak_module_find(m, "key/weight"), NULL);
    ak_tensor *v = ak_linear(rows, ak_module_find(m, "value/weight"),
                             ak_module_find(m, "value/bias"));
    ak_tensor *q = ak_add(ak_zeros(ctx, AK_SHAPE(5, 1, C)), query);
    ak_tensor *y = ak_attention(q, k, v, (ak_attention_options){ .heads = H });
    y = ak_linear(ak_reshape(y, AK_SHAPE(5, C)), ak_module_find(m, "proj/weight"),
                  ak_module_find(m, "proj/bias"));
    expect_close(ak_forward(m, x), y, "query pool");
    ak_close(ctx);
}

Test(pools, largest)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_global_max_pool(ctx, "pool");
    const double x[] = { 1, -5, 3, -2, 2, -9, 0, -4 };
    ak_tensor *y = ak_forward(m, ak_from_double(ctx, AK_SHAPE(1, 2, 2, 2), x));
    cr_expect_eq(y->data[0], 3);
    cr_expect_eq(y->data[1], -2);
    cr_expect(ak_is_poison(ak_forward(m, ak_zeros(ctx, AK_SHAPE(2, 0, 3, 4)))));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    ak_close(ctx);
}

/* ---- heads by name --------------------------------------------------------------------------- */

Test(heads, every_kind_of_the_table)
{
    const ak_head_kind *k;
    for (int i = 0; (k = ak_head_at(i)) != NULL; i++) {
        cr_expect_eq(ak_head_find(k->name), k);
        ak_ctx *ctx = quiet();
        const ak_head_options small = { .hidden = k->layers > 1 ? 7 : 0,
                                        .out = k->layers ? 5 : 0 };
        ak_module *m = ak_head(ctx, "head", k->name, 6, small);
        cr_assert_not_null(m, "%s: %s", k->name, ak_error_message(ctx));
        ak_tensor *y = ak_forward(m, ak_randn(ctx, AK_SHAPE(4, 6)));
        cr_expect(ak_shape_equal(y->shape, AK_SHAPE(4, k->layers ? 5 : 6)), "%s", k->name);
        int norms = 0, linear = 0, scales = 0;
        for (int j = 1; j <= 4; j++) {
            char path[32];
            snprintf(path, sizeof path, "fc%d/weight", j);
            linear += ak_module_find(m, path) != NULL;
            snprintf(path, sizeof path, "bn%d/running_mean", j);
            norms += ak_module_find(m, path) != NULL;
            snprintf(path, sizeof path, "bn%d/weight", j);
            scales += ak_module_find(m, path) != NULL;
        }
        const bool norm_out = k->end == AK_HEAD_NORM || k->end == AK_HEAD_PLAIN_NORM;
        cr_expect_eq(linear, k->layers, "%s", k->name);
        cr_expect_eq(norms, (k->batch_norm ? k->layers - 1 : 0) + norm_out, "%s", k->name);
        cr_expect_eq(norms - scales, k->end == AK_HEAD_PLAIN_NORM, "%s", k->name);
        ak_step_end(ctx);
        ak_module *full = ak_head(ctx, "full", k->name, 16, (ak_head_options){ 0 });
        cr_assert_not_null(full, "%s: %s", k->name, ak_error_message(ctx));
        const int64_t out = k->layers == 0 || k->out == 0 ? 16 : k->out;
        ak_train_mode(ctx, false);
        y = ak_forward(full, ak_randn(ctx, AK_SHAPE(1, 16)));
        cr_expect(ak_shape_equal(y->shape, AK_SHAPE(1, out)), "%s", k->name);
        ak_close(ctx);
    }
}

/* Counted by hand from the authors' layers. */
Test(heads, sizes_of_papers)
{
    const struct { const char *kind; int in; int64_t size; } known[] = {
        { "none", 9, 0 }, { "moco", 2048, 2048 * 128 + 128 },
        { "moco-v2", 2048, 2048 * 2048 + 2048 + 2048 * 128 + 128 },
        { "moco-v3", 2048, 2048 * 4096 + 2 * 4096 + 4096 * 256 },
        { "moco-v3-predictor", 256, 256 * 4096 + 2 * 4096 + 4096 * 256 },
        { "byol", 2048, 2048 * 4096 + 2 * 4096 + 4096 * 256 },
        { "simsiam", 2048, 3 * 2048 * 2048 + 4 * 2048 },
        { "simsiam-predictor", 2048, 2048 * 512 + 2 * 512 + 512 * 2048 + 2048 },
        { "swav", 2048, 2048 * 2048 + 2 * 2048 + 2048 * 128 + 128 },
        { "clip", 768, 768 * 512 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ak_ctx *ctx = quiet();
        ak_module *m = ak_head(ctx, "head", known[i].kind, known[i].in, (ak_head_options){ 0 });
        cr_assert_not_null(m, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_module_size(m), known[i].size, "%s: %lld, not %lld", known[i].kind,
                     (long long)ak_module_size(m), (long long)known[i].size);
        ak_close(ctx);
    }
}

/* On a map a head is a chain of 1x1 convolutions. */
Test(heads, on_maps)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_head(ctx, "dense", "pixpro", 4, (ak_head_options){ .hidden = 6, .out = 3 });
    ak_train_mode(ctx, false);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 3, 5, 4));
    ak_tensor *y = ak_forward(m, x);
    cr_expect(ak_shape_equal(y->shape, AK_SHAPE(2, 3, 5, 3)));
    ak_tensor *rows = ak_forward(m, ak_reshape(x, AK_SHAPE(30, 4)));
    expect_close(ak_reshape(y, AK_SHAPE(30, 3)), rows, "rows");
    ak_close(ctx);
}

Test(heads, refusals)
{
    ak_ctx *ctx = quiet();
    cr_expect_null(ak_head(ctx, "h", "mocov3", 8, (ak_head_options){ 0 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "moco-v3-vit-predictor"), "%s",
                       ak_error_message(ctx));
    cr_expect_not_null(strstr(ak_error_message(ctx), "hydra"), "the list is whole: %s",
                       ak_error_message(ctx));
    ak_step_end(ctx);
    const struct { const char *kind; int in; ak_head_options o; } wrong[] = {
        { "linear", 8, { .hidden = 3 } }, { "none", 8, { .out = 3 } }, { "byol", 0, { 0 } },
        { "byol", 8, { .out = -1 } }, { "byol", 8, { .groups = -1 } } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_null(ak_head(ctx, "h", wrong[i].kind, wrong[i].in, wrong[i].o), "%zu", i);
        cr_expect_eq(ak_error(ctx), AK_ERR_VALUE, "%zu", i);
        ak_step_end(ctx);
    }
    cr_expect_null(ak_mlp_with(ctx, "m", (int[]){ 3, 2, 0 }, (ak_mlp_options){
        .plain_out = true }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* ---- prototypes ------------------------------------------------------------------------------ */

static double row_length(const ak_tensor *w, int64_t r)
{
    const ak_real *row = w->data + r * w->shape.dims[1];
    double sum = 0;
    for (int64_t i = 0; i < w->shape.dims[1]; i++)
        sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

/* Frozen by step, normalised in every step, moved afterwards; decay and momentum wait as well. */
Test(prototypes, frozen_then_moved)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_prototypes(ctx, "c", 4, (ak_prototypes_options){ .sets = { 3, 5 },
                                                                       .frozen_steps = 2 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    ak_tensor *w[2] = { ak_module_find(m, "prototypes0/weight"),
                        ak_module_find(m, "prototypes1/weight") };
    ak_tensor *z = ak_param(ctx, "z", AK_SHAPE(6, 4), 0);
    ak_init_fill(z, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.5, .momentum = 0.9,
                                                       .weight_decay = 0.1 });
    uint32_t before = ak_hash(ctx, "c/*");
    for (int step = 0; step < 4; step++) {
        cr_assert_eq(ak_prototypes_step(m, ak_optim_steps(opt)), AK_OK);
        for (int s = 0; s < 2; s++)
            for (int64_t r = 0; r < w[s]->shape.dims[0]; r++)
                cr_expect_float_eq(row_length(w[s], r), 1, TOL);
        ak_tensor *y = ak_forward(m, ak_l2_normalize(z));
        cr_assert(ak_shape_equal(y->shape, AK_SHAPE(6, 8)));
        expect_close(ak_slice(y, 1, 3, 5), ak_prototypes_scores(m, ak_l2_normalize(z), 1), "set");
        cr_assert_eq(ak_backward(ak_mean(ak_square(y))), AK_OK);
        ak_optim_step(opt);
        ak_step_end(ctx);
        const uint32_t now = ak_hash(ctx, "c/*");
        cr_expect_eq(now == before, step < 2, "step %d", step);
        before = now;
    }
    ak_close(ctx);
}

Test(prototypes, refusals)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_prototypes(ctx, "c", 4, (ak_prototypes_options){ .sets = { 3 } });
    ak_module *other = ak_mlp(ctx, "other", (int[]){ 4, 3, 0 });
    ak_tensor *w = ak_module_find(m, "weight");
    const uint32_t before = ak_hash(ctx, "*");
    cr_expect_eq(ak_prototypes_step(m, -1), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_prototypes_step(other, 0), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_prototypes_scores(m, ak_zeros(ctx, AK_SHAPE(2, 4)), 1)));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_hash(ctx, "*"), before);
    for (int i = 4; i < 8; i++)
        w->data[i] = 0;
    w->data[0] = 7;
    cr_expect_eq(ak_prototypes_step(m, 0), AK_ERR_NUMBER);
    cr_expect_not_null(strstr(ak_error_message(ctx), "row 1 of c/weight"), "%s",
                       ak_error_message(ctx));
    cr_expect_eq(w->data[0], 7, "a refused call changes nothing");
    ak_step_end(ctx);
    cr_expect_null(ak_prototypes(ctx, "none", 4, (ak_prototypes_options){ 0 }));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* ---- several heads --------------------------------------------------------------------------- */

Test(multi, outputs_by_name)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_module_begin(ak_multi_head(ctx, "net"));
    ak_mlp(ctx, "trunk", (int[]){ 3, 4, 0 });
    ak_head(ctx, "a", "linear", 4, (ak_head_options){ .out = 2 });
    ak_head(ctx, "b", "none", 4, (ak_head_options){ 0 });
    cr_assert_not_null(net = ak_module_end(net), "%s", ak_error_message(ctx));
    cr_expect_eq(ak_multi_index(net, "a"), 0);
    cr_expect_eq(ak_multi_index(net, "b"), 1);
    cr_expect_eq(ak_multi_index(net, "trunk"), -1);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(5, 3)), *out[2];
    ak_tensor *h = ak_multi_forward(net, (ak_inputs){ .x = x }, out, 2);
    expect_close(out[1], h, "none");
    expect_close(out[0], ak_forward(ak_module_child(net, 1), h), "linear");
    expect_close(ak_forward(net, x), ak_concat(1, out[0], out[1]), "side by side");
    cr_expect(ak_is_poison(ak_multi_forward(net, (ak_inputs){ .x = x }, out, 1)));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_step_end(ctx);
    ak_module *bare = ak_multi_head(ctx, "bare");
    cr_expect(ak_is_poison(ak_forward(bare, ak_zeros(ctx, AK_SHAPE(5, 3)))));
    cr_expect_eq(ak_error(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* ---- words ----------------------------------------------------------------------------------- */

/* A tied head has the embedding's weights, once, also in a copy. */
Test(words, tied)
{
    ak_ctx *ctx = quiet();
    ak_module *words = ak_nn_linear(ctx, "words", 4, 9, (ak_linear_options){ .no_bias = true });
    ak_module *m = ak_lm_head(ctx, "head", 4, 9, (ak_lm_head_options){ .tied = words,
                                                                       .scale = 0.5 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_module_size(m), 9 * 4 + 9);
    ak_fill(ak_module_find(m, "bias"), 3);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 4)), *w = ak_module_param(words, 0);
    ak_tensor *want = ak_add_scalar(ak_scale(ak_matmul_nt(x, w), 0.5), 3);
    expect_close(ak_forward(m, x), want, "tied");
    ak_module *both = ak_nn_sequential(ctx, "both", (ak_module *[]){ m, NULL });
    ak_module *copy = ak_module_clone(both, "copy");
    cr_assert_not_null(copy, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_module_size(copy), 9 * 4 + 9);
    ak_tensor *kept = ak_from(ctx, AK_SHAPE(2, 4), x->data);
    ak_fill(w, 0);
    expect_close(ak_forward(copy, kept), want, "the copy has weights of its own");
    cr_expect_null(ak_lm_head(ctx, "bad", 4, 8, (ak_lm_head_options){ .tied = words }));
    cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE);
    ak_close(ctx);
}

Test(propagation, small_exponents_have_a_slope)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_pixel_propagation(ctx, "p", 3, (ak_propagation_options){
        .gamma = 0.5, .layers = AK_NONE });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    ak_tensor *x = ak_require_grad(ak_from_double(ctx, AK_SHAPE(1, 1, 3, 3),
        (const double[]){ 1, 0, 0, 0, 1, 0, 0, 0, 0 }));      /* orthogonal, and a zero cell */
    cr_assert_eq(ak_backward(ak_sum(ak_forward(m, x))), AK_OK, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < x->size; i++)
        cr_expect(isfinite(x->grad[i]));
    ak_close(ctx);
}
