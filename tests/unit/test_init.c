/* SPDX-License-Identifier: Apache-2.0 */
/* Initialisers: moments, bounds, orthogonality, and that numbers depend on seed and name alone. */
#include <criterion/criterion.h>

#include <akin/nn.h>

#include <math.h>
#include <string.h>

static ak_ctx *quiet(uint64_t seed)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = seed, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

typedef struct moments { double mean, deviation, largest, kurtosis; } moments;

static moments moments_of(const ak_tensor *w)
{
    moments m = { 0 };
    for (int64_t i = 0; i < w->size; i++)
        m.mean += (double)w->data[i] / (double)w->size;
    double square = 0, fourth = 0;
    for (int64_t i = 0; i < w->size; i++) {
        const double d = (double)w->data[i] - m.mean;
        square += d * d / (double)w->size;
        fourth += d * d * d * d / (double)w->size;
        m.largest = fmax(m.largest, fabs((double)w->data[i]));
    }
    m.deviation = sqrt(square);
    m.kurtosis = fourth / (square * square);
    return m;
}

/* Deviation, largest value, and the shape of the distribution by its kurtosis (uniform 1.8, normal
 * 3); n = 32000 numbers, so 2 % is more than five standard errors of the deviation. */
static void expect_moments(ak_init how, double deviation, double bound, double kurtosis)
{
    ak_ctx *ctx = quiet(3);
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(40, 2, 4, 100), 0);
    cr_assert_eq(ak_init_fill(w, how), AK_OK);
    const moments m = moments_of(w);
    cr_expect_float_eq(m.deviation, deviation, 0.02 * deviation, "kind %d: deviation %g, not %g",
                       (int)how.kind, m.deviation, deviation);
    cr_expect_lt(fabs(m.mean), 5 * deviation / sqrt(32000), "kind %d: mean %g", (int)how.kind,
                 m.mean);
    cr_expect_leq(m.largest, bound * (1 + 1e-6), "kind %d: %g beyond %g", (int)how.kind, m.largest,
                  bound);
    cr_expect_float_eq(m.kurtosis, kurtosis, 0.15, "kind %d: kurtosis %g", (int)how.kind,
                       m.kurtosis);
    ak_close(ctx);
}

Test(init, moments)
{
    const double in = 800, out = 320;           /* of [40, 2, 4, 100] */
    const double bound = 1 / sqrt(in);
    expect_moments((ak_init){ 0 }, bound / sqrt(3), bound, 1.8);
    expect_moments((ak_init){ .kind = AK_INIT_UNIFORM, .scale = 0.3 }, 0.3 / sqrt(3), 0.3, 1.8);
    expect_moments((ak_init){ .kind = AK_INIT_NORMAL }, 0.02, 0.02 * 6, 3);
    /* N(0, 1) cut at 2: deviation 0.8796, kurtosis 2.36 */
    expect_moments((ak_init){ .kind = AK_INIT_TRUNCATED_NORMAL, .scale = 2 }, 2 * 0.87962566, 4,
                   2.36);
    expect_moments((ak_init){ .kind = AK_INIT_HE_NORMAL }, sqrt(2 / in), 1, 3);
    expect_moments((ak_init){ .kind = AK_INIT_HE_NORMAL, .fan_out = true }, sqrt(2 / out), 1, 3);
    expect_moments((ak_init){ .kind = AK_INIT_HE_UNIFORM }, sqrt(2 / in), sqrt(6 / in), 1.8);
    expect_moments((ak_init){ .kind = AK_INIT_XAVIER_NORMAL }, sqrt(2 / (in + out)), 1, 3);
    expect_moments((ak_init){ .kind = AK_INIT_XAVIER_UNIFORM, .scale = 2 },
                   2 * sqrt(2 / (in + out)), 2 * sqrt(6 / (in + out)), 1.8);
}

static void expect_orthogonal(ak_shape shape, double scale)
{
    ak_ctx *ctx = quiet(5);
    ak_tensor *w = ak_param(ctx, "w", shape, 0);
    cr_assert_eq(ak_init_fill(w, (ak_init){ .kind = AK_INIT_ORTHOGONAL, .scale = scale }), AK_OK);
    const int64_t R = shape.dims[0], C = w->size / R;
    const bool wide = R <= C;
    const int64_t n = wide ? R : C, length = wide ? C : R;
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b <= a; b++) {
            double dot = 0;
            for (int64_t k = 0; k < length; k++)
                dot += wide ? (double)w->data[a * C + k] * (double)w->data[b * C + k]
                            : (double)w->data[k * C + a] * (double)w->data[k * C + b];
            cr_assert_float_eq(dot, a == b ? scale * scale : 0, 1e-6 * scale * scale,
                               "[%d,%d]: <%d, %d> = %g", (int)R, (int)C, (int)a, (int)b, dot);
        }
    ak_close(ctx);
}

Test(init, orthogonal)
{
    expect_orthogonal(AK_SHAPE(16, 16), 1);
    expect_orthogonal(AK_SHAPE(7, 33), 1);
    expect_orthogonal(AK_SHAPE(33, 7), 3);
    expect_orthogonal(AK_SHAPE(6, 3, 3, 2), 0.5);
    expect_orthogonal(AK_SHAPE(1, 1), 1);
}

Test(init, layers_start_as_pytorch_does)
{
    ak_ctx *ctx = quiet(1);
    ak_nn_linear(ctx, "fc", 400, 100, (ak_linear_options){ 0 });
    ak_nn_conv2d(ctx, "conv", 50, 80, 3, (ak_conv_layer_options){ 0 });
    const struct { const char *name; double bound; } cases[] = {
        { "fc/weight", 1 / sqrt(400) },   { "fc/bias", 1 / sqrt(400) },
        { "conv/weight", 1 / sqrt(450) }, { "conv/bias", 1 / sqrt(450) },
    };
    for (int i = 0; i < 4; i++) {
        const moments m = moments_of(ak_param_find(ctx, cases[i].name));
        cr_expect_leq(m.largest, cases[i].bound * (1 + 1e-6), "%s", cases[i].name);
        cr_expect_gt(m.largest, 0.9 * cases[i].bound, "%s", cases[i].name);
    }
    ak_close(ctx);
}

Test(init, depends_on_seed_and_name_alone)
{
    ak_ctx *a = quiet(11), *b = quiet(11), *c = quiet(12);
    ak_mlp(a, "head", (int[]){ 9, 5, 3, 0 });
    ak_convnet(b, "first", (ak_convnet_options){ .channels = { 1, 3 } });
    ak_next_stream(b);
    ak_randn(b, AK_SHAPE(100));
    ak_mlp(b, "head", (int[]){ 9, 5, 3, 0 });
    ak_mlp(c, "head", (int[]){ 9, 5, 3, 0 });
    cr_expect_eq(ak_hash(a, "head/*"), ak_hash(b, "head/*"), "order of creation must not matter");
    cr_expect_neq(ak_hash(a, "head/*"), ak_hash(c, "head/*"), "the seed must");
    const ak_tensor *one = ak_param(a, "x/weight", AK_SHAPE(8, 8), 0);
    ak_tensor *two = ak_param(a, "y/weight", AK_SHAPE(8, 8), 0);
    ak_init_fill((ak_tensor *)(uintptr_t)one, (ak_init){ 0 });
    ak_init_fill(two, (ak_init){ 0 });
    cr_expect_neq(memcmp(one->data, two->data, 64 * sizeof *two->data), 0, "the name must");
    ak_close(a);
    ak_close(b);
    ak_close(c);
}

Test(init, refusals)
{
    ak_ctx *ctx = quiet(1);
    ak_tensor *v = ak_param(ctx, "v", AK_SHAPE(5), 0);
    cr_expect_eq(ak_init_fill(v, (ak_init){ .kind = AK_INIT_HE_NORMAL }), AK_ERR_SHAPE);
    ak_step_end(ctx);
    cr_expect_eq(ak_init_fill(v, (ak_init){ .kind = AK_INIT_NORMAL, .scale = -1 }), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_init_fill(v, (ak_init){ .kind = (ak_init_kind)77 }), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_init_fill(ak_zeros(ctx, AK_SHAPE(2, 2)), (ak_init){ 0 }), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_init_fill(v, (ak_init){ .kind = AK_INIT_CONSTANT, .scale = -3 }), AK_OK);
    cr_expect_eq(v->data[4], -3);
    ak_close(ctx);
}
