/* SPDX-License-Identifier: Apache-2.0 */
/* Batches in chunks: value and gradients of the undivided step, dropout included; memory of one
 * chunk; errors for what makes a row from several samples. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/akin.h>

static ak_ctx *quiet(int threads)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 4, .quiet = true, .threads = threads });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

#define EXPECT_OK(ctx) cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx))
#define EXPECT_ERROR(ctx, code, text)                                                              \
    do {                                                                                           \
        cr_expect_eq(ak_error(ctx), code, "%s, wanted %s: %s", ak_status_name(ak_error(ctx)),      \
                     ak_status_name(code), ak_error_message(ctx));                                 \
        cr_expect(strstr(ak_error_message(ctx), text), "\"%s\" is not in: %s", text,               \
                  ak_error_message(ctx));                                                          \
    } while (0)

static void fill_normal(ak_tensor *t, uint64_t stream)
{
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(8, stream, (uint64_t)i);
}

static ak_tensor *normal(ak_ctx *ctx, ak_shape shape, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    fill_normal(t, stream);
    return t;
}

/* ---- encoders -------------------------------------------------------------------------------- */

/* Dropout of rows, noise, dropout of what samples share, and numbers drawn for each sample. */
static ak_tensor *mixed_noise(ak_module *m, ak_tensor *x)
{
    ak_ctx *ctx = x->ctx;
    ak_tensor *shared = ak_dropout(ak_module_find(m, "shared"), 0.5);     /* [3, 32] */
    x = ak_reshape(ak_gaussian_noise(x, 0.1), AK_SHAPE(x->shape.dims[0], 3, 32));
    x = ak_add(ak_dropout(x, 0.2), shared);
    x = ak_mul(x, ak_uniform(ctx, AK_SHAPE(x->shape.dims[0], 1, 1), 0.5, 1.5));
    return ak_flatten(ak_dropout(ak_flatten_rows(x), 0.1));
}

static ak_tensor *back_to_rows(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_reshape(x, AK_SHAPE(x->shape.dims[0] / 3, 96));
}

static ak_module *mlp(ak_ctx *ctx, const char *name)
{
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, name, NULL));
    ak_nn_linear(ctx, "one", 20, 96, (ak_linear_options){ .relu = true });
    ak_nn_dropout(ctx, "drop", 0.3);
    ak_module *noise = ak_module_new(ctx, "noise", mixed_noise, NULL);
    fill_normal(ak_module_add_param(noise, "shared", AK_SHAPE(3, 32), 0), 1);
    ak_module_new(ctx, "rows", back_to_rows, NULL);
    ak_nn_layer_norm(ctx, "norm", 96, 0);
    ak_nn_linear(ctx, "two", 96, 8, (ak_linear_options){ 0 });
    return ak_module_end(net);
}

static ak_module *pictures(ak_ctx *ctx, const char *name)
{
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, name, NULL));
    ak_nn_conv2d(ctx, "conv1", 1, 16, 3, (ak_conv_layer_options){ .padding = 1 });
    ak_nn_group_norm(ctx, "norm1", 16, 4, 0);
    ak_nn_activation(ctx, "relu1", AK_RELU);
    ak_nn_conv2d(ctx, "conv2", 16, 24, 3, (ak_conv_layer_options){ .stride = 2, .padding = 1 });
    ak_nn_group_norm(ctx, "norm2", 24, 4, 0);
    ak_nn_activation(ctx, "relu2", AK_RELU);
    ak_nn_global_avg_pool(ctx, "pool");
    ak_nn_linear(ctx, "out", 24, 8, (ak_linear_options){ 0 });
    return ak_module_end(net);
}

/* Embedding, attention with lengths and a bias, a memory to look at. */
static ak_tensor *text_forward(ak_module *m, const ak_inputs *in)
{
    ak_module *q = ak_module_child(m, 0), *out = ak_module_child(m, 1);
    ak_tensor *x = ak_embedding(ak_module_find(m, "table"), in->ids, AK_NONE);
    ak_tensor *y = ak_dropout(ak_forward(q, x), 0.2);
    y = ak_attention(y, x, x, (ak_attention_options){ .heads = 2, .key_lengths = in->lengths,
                                                      .bias = in->bias });
    x = ak_add(x, y);
    if (in->memory)
        x = ak_add(x, ak_attention(x, in->memory, in->memory, (ak_attention_options){
            .heads = 2, .key_mask = in->memory_mask }));
    return ak_forward(out, ak_global_avg_pool(x));
}
static const ak_module_kind text_kind = {
    .name = "text", .forward_with = text_forward, .needs = AK_IN_IDS | AK_IN_LENGTHS,
    .takes = AK_IN_MEMORY | AK_IN_MEMORY_MASK | AK_IN_BIAS };
static ak_module *text(ak_ctx *ctx, const char *name)
{
    ak_module *m = ak_module_begin(ak_module_make(ctx, name, &text_kind));
    fill_normal(ak_module_add_param(m, "table", AK_SHAPE(11, 8), 0), 2);
    ak_nn_linear(ctx, "q", 8, 8, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "out", 8, 8, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

enum { N = 23 };

static ak_inputs sentences(ak_ctx *ctx, int bias_axes)
{
    int32_t ids[N * 5], lengths[N], mask[N * 3];
    for (int i = 0; i < N * 5; i++)
        ids[i] = (int32_t)ak_random_below(5, 1, (uint64_t)i, 11);
    for (int i = 0; i < N; i++)
        lengths[i] = 1 + (int32_t)ak_random_below(5, 2, (uint64_t)i, 5);
    for (int i = 0; i < N * 3; i++)
        mask[i] = i % 3 == 0 || ak_random_below(5, 3, (uint64_t)i, 2);
    ak_tensor *bias = bias_axes == 4 ? normal(ctx, AK_SHAPE(N, 2, 5, 5), 4)
                      : bias_axes == 2 ? normal(ctx, AK_SHAPE(5, 5), 4) : NULL;
    return (ak_inputs){ .ids = ak_index_from(ctx, AK_SHAPE(N, 5), ids),
                        .lengths = ak_index_from(ctx, AK_SHAPE(N), lengths), .bias = bias,
                        .memory = ak_require_grad(normal(ctx, AK_SHAPE(N, 3, 8), 5)),
                        .memory_mask = ak_index_from(ctx, AK_SHAPE(N, 3), mask) };
}

/* ---- the undivided step ---------------------------------------------------------------------- */

typedef enum scene { MLP, PICTURES, TOWERS, SHARED, NESTED, FROZEN, LOSSES, SCENES } scene;

typedef struct outcome {
    double  loss;
    double *grad;               /* of all parameters, then of the inputs */
    int64_t n;
    uint64_t stream;
} outcome;

static void keep(outcome *o, const ak_tensor *t)
{
    for (int64_t i = 0; i < t->size; i++)
        o->grad[o->n++] = t->grad ? (double)t->grad[i] : 0;
}

/* rows 0: undivided */
static ak_tensor *encode(ak_module *m, ak_inputs in, int64_t rows)
{
    return rows ? ak_forward_chunked(m, in, (ak_chunked_options){ .rows = rows })
                : ak_forward_with(m, in);
}

static ak_tensor *pair(ak_tensor *a, ak_tensor *b)
{
    return ak_loss_ntxent(a, b, (ak_ntxent_options){ .tau = 0.5 });
}

static outcome step(scene s, int64_t rows, int threads)
{
    ak_ctx *ctx = quiet(threads);
    outcome o = { .grad = calloc(100000, sizeof(double)) };
    ak_shape shape = s == PICTURES || s == TOWERS ? AK_SHAPE(N, 9, 9, 1) : AK_SHAPE(N, 20);
    ak_tensor *x = ak_require_grad(normal(ctx, shape, 6)), *y = normal(ctx, shape, 7);
    ak_inputs a = { .x = x }, b = { .x = ak_square(ak_mul(x, y)) };
    ak_module *one = s == PICTURES || s == TOWERS ? pictures(ctx, "one") : mlp(ctx, "one");
    ak_module *two = one;
    if (s == TOWERS) {
        two = text(ctx, "two");
        b = sentences(ctx, rows % 2 ? 4 : 2);
        b.bias = normal(ctx, AK_SHAPE(N, 2, 5, 5), 4);
    } else if (s == LOSSES) {
        two = ak_module_clone(one, "two");
        ak_freeze(ctx, "two/*", false);
    } else if (s == NESTED) {
        one = two = ak_nn_recompute(ctx, "again", one);
    } else if (s == FROZEN) {
        ak_freeze(ctx, "one/one/*,one/norm/bias", true);
        b.x = ak_detach(b.x);
        a.x = ak_detach(a.x);
    }
    ak_tensor *z1 = encode(one, a, rows), *z2 = encode(two, b, rows);
    ak_tensor *loss = pair(z1, z2);
    if (s == LOSSES) {
        ak_tensor *other = ak_loss_uniformity(z1, (ak_uniformity_options){ 0 });
        o.loss = ak_item(loss) + ak_item(other);
        ak_backward(other);
        ak_backward(loss);
    } else {
        o.loss = ak_item(loss);
        ak_backward(loss);
    }
    cr_expect_eq(ak_error(ctx), AK_OK, "scene %d, %d rows: %s", (int)s, (int)rows,
                 ak_error_message(ctx));
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        keep(&o, ak_param_at(ctx, i));
    keep(&o, x);
    if (b.memory)
        keep(&o, b.memory);
    o.stream = ak_next_stream(ctx);
    ak_step_end(ctx);
    ak_close(ctx);
    return o;
}

static double difference(const outcome *a, const outcome *b)
{
    double worst = 0, largest = 0;
    cr_assert_eq(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++) {
        worst = fmax(worst, fabs(a->grad[i] - b->grad[i]));
        largest = fmax(largest, fabs(a->grad[i]));
    }
    cr_expect_gt(largest, 0);
    return worst / largest;
}

Test(chunked, value_and_gradients_are_those_of_the_undivided_step)
{
    static const int64_t sizes[] = { 1, 5, 8, 22, 23, 100 };
    const double within = AK_REAL_BITS == 64 ? 1e-12 : 2e-5;
    for (scene s = 0; s < SCENES; s++) {
        outcome whole = step(s, 0, 0);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            outcome parts = step(s, sizes[i], 0);
            cr_expect_float_eq(parts.loss, whole.loss, within * fabs(whole.loss),
                               "scene %d, %d rows: %.17g, not %.17g", (int)s, (int)sizes[i],
                               parts.loss, whole.loss);
            cr_expect_leq(difference(&whole, &parts), within, "scene %d, %d rows: %g", (int)s,
                          (int)sizes[i], difference(&whole, &parts));
            cr_expect_eq(parts.stream, whole.stream, "the next random number is the same");
            free(parts.grad);
        }
        free(whole.grad);
    }
}

Test(chunked, any_number_of_threads_gives_the_same_bits)
{
    for (scene s = 0; s < SCENES; s++) {
        outcome one = step(s, 6, 1);
        for (int threads = 2; threads <= 4; threads++) {
            outcome more = step(s, 6, threads);
            cr_expect_eq(one.loss, more.loss);
            cr_expect_arr_eq(one.grad, more.grad, (size_t)one.n * sizeof *one.grad, "scene %d",
                             (int)s);
            free(more.grad);
        }
        free(one.grad);
    }
}

/* A bias of two or three axes is every sample's; one of four is cut. */
Test(chunked, a_bias_is_shared_or_of_samples)
{
    for (int axes = 2; axes <= 4; axes += 2) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = text(ctx, "text");
        ak_train_mode(ctx, false);
        ak_tensor *whole = ak_forward_with(m, sentences(ctx, axes));
        ak_tensor *parts = encode(m, sentences(ctx, axes), 4);
        EXPECT_OK(ctx);
        for (int64_t i = 0; i < whole->size; i++)
            cr_expect_float_eq((double)parts->data[i], (double)whole->data[i], 1e-5);
        ak_close(ctx);
    }
}

/* A part of another kind of rows inside of a chunk: patches of pictures. */
static ak_tensor *patches_forward(ak_module *m, ak_tensor *x)
{
    ak_tensor *patches = ak_reshape(x, AK_SHAPE(-1, 5));        /* four a sample */
    ak_tensor *y = ak_forward_chunked(ak_module_child(m, 0), (ak_inputs){ .x = patches },
                                      (ak_chunked_options){ .rows = 3 });
    return ak_dropout(ak_reshape(y, AK_SHAPE(x->shape.dims[0], -1)), 0.2);
}

Test(chunked, chunks_in_chunks)
{
    ak_real *kept[2];
    ak_real  sums[2][50];
    for (int parts = 0; parts < 2; parts++) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = ak_module_begin(ak_module_new(ctx, "patches", patches_forward, NULL));
        ak_module *in = ak_module_begin(ak_nn_sequential(ctx, "in", NULL));
        ak_nn_linear(ctx, "fc", 5, 6, (ak_linear_options){ 0 });
        ak_nn_dropout(ctx, "drop", 0.4);
        ak_module_end(in);
        m = ak_module_end(m);
        ak_tensor *x = normal(ctx, AK_SHAPE(N, 20), 3);
        ak_tensor *y = encode(m, (ak_inputs){ .x = x }, parts ? 4 : 0);
        ak_backward(ak_mean(ak_square(y)));
        EXPECT_OK(ctx);
        kept[parts] = memcpy(malloc(sizeof(ak_real) * N * 24), y->data, sizeof(ak_real) * N * 24);
        memcpy(sums[parts], ak_param_find(ctx, "patches/in/fc/weight")->grad, 30 * sizeof(ak_real));
        ak_step_end(ctx);
        ak_close(ctx);
    }
    for (int i = 0; i < N * 24; i++)
        cr_expect_float_eq((double)kept[0][i], (double)kept[1][i], 1e-6, "%d", i);
    for (int i = 0; i < 30; i++)
        cr_expect_float_eq((double)sums[0][i], (double)sums[1][i], 1e-6);
    free(kept[0]);
    free(kept[1]);
}

static ak_module *checked_module;
static ak_tensor *checked(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    (void)user;
    return encode(checked_module, (ak_inputs){ .x = in[0] }, 3);
}

Test(chunked, gradients_agree_with_differences)
{
    ak_ctx *ctx = quiet(0);
    checked_module = mlp(ctx, "mlp");
    ak_tensor *x = ak_keep(normal(ctx, AK_SHAPE(7, 20), 3));
    x->needs_grad = true;
    ak_tensor *in[3] = { x, ak_param_find(ctx, "mlp/one/bias"),
                         ak_param_find(ctx, "mlp/two/weight") };
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_fn(ctx, checked, NULL, in, 3, &r), AK_OK, "%s",
                 ak_error_message(ctx));
    cr_expect_lt(r.worst, AK_REAL_BITS == 64 ? 1e-7 : 3e-2, "%g at %d", r.worst, r.operand);
    ak_close(ctx);
}

Test(chunked, a_copy_runs_in_chunks_too)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = pictures(ctx, "net"), *copy;
    ak_tensor *x = normal(ctx, AK_SHAPE(N, 9, 9, 1), 3);
    ak_tensor *a = encode(m, (ak_inputs){ .x = x }, 5);
    copy = ak_module_clone(m, "copy");
    ak_tensor *b = encode(copy, (ak_inputs){ .x = x }, 5);
    EXPECT_OK(ctx);
    cr_expect(!b->needs_grad, "a copy is frozen");
    cr_expect_arr_eq(a->data, b->data, (size_t)a->size * sizeof(ak_real));
    ak_close(ctx);
}

Test(chunked, without_a_tape_and_without_samples)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = pictures(ctx, "net");
    ak_tensor *x = normal(ctx, AK_SHAPE(N, 9, 9, 1), 3), *whole = ak_forward(m, x);
    ak_no_grad_begin(ctx);
    ak_tensor *y = encode(m, (ak_inputs){ .x = x }, 5);
    ak_no_grad_end(ctx);
    cr_expect(!y->needs_grad && !y->maker);
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_float_eq((double)y->data[i], (double)whole->data[i], 1e-5);
    ak_tensor *none = encode(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(0, 9, 9, 1)) }, 5);
    EXPECT_OK(ctx);
    cr_expect(ak_shape_equal(none->shape, AK_SHAPE(0, 8)));
    y = ak_forward_chunked(m, (ak_inputs){ .x = x }, (ak_chunked_options){ 0 });
    EXPECT_OK(ctx);
    cr_expect_arr_eq(y->data, whole->data, (size_t)y->size * sizeof(ak_real));
    ak_close(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Samples of 64 numbers and an encoder of width 256. With 4096 samples undivided, five maps of 4096
 * x 256 numbers are there for each view and the gradients of some: more than 40 MB of floats. In
 * chunks of 256: x and the embeddings, their gradients and what the loss makes of them, and maps of
 * 256 rows. */
static size_t peak_of(int64_t samples, int64_t rows, int steps, uint64_t *mallocs)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "enc", NULL));
    ak_nn_linear(ctx, "a", 64, 256, (ak_linear_options){ 0 });
    ak_nn_activation(ctx, "b", AK_GELU);
    ak_nn_linear(ctx, "c", 256, 256, (ak_linear_options){ 0 });
    ak_nn_dropout(ctx, "d", 0.1);
    ak_nn_activation(ctx, "e", AK_GELU);
    ak_nn_linear(ctx, "f", 256, 32, (ak_linear_options){ 0 });
    m = ak_module_end(m);
    for (int i = 0; i < steps; i++) {
        const uint64_t before = ak_malloc_count();
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(samples, 64));
        ak_tensor *z1 = encode(m, (ak_inputs){ .x = x }, rows);
        ak_tensor *z2 = encode(m, (ak_inputs){ .x = x }, rows);
        ak_backward(ak_loss_infonce(z1, z2, (ak_infonce_options){ .tau = 0.5 }));
        ak_zero_grad(ctx);
        cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
        *mallocs = ak_malloc_count() - before;
    }
    const size_t peak = ak_memory_use(ctx).step_peak;
    ak_close(ctx);
    return peak;
}

Test(chunked, a_large_batch_takes_the_memory_of_a_chunk)
{
    uint64_t mallocs;
    const size_t real = sizeof(ak_real);
    const size_t whole = peak_of(4096, 0, 1, &mallocs), parts = peak_of(4096, 256, 1, &mallocs);
    const size_t input = 4096 * 64 * real, embeddings = 4096 * 32 * real;
    const size_t chunk = 256 * 256 * real;
    cr_expect_lt(parts, input + 10 * embeddings + 12 * chunk, "%zu bytes", parts);
    cr_expect_lt(parts, whole / 4, "%zu of %zu bytes", parts, whole);
    peak_of(300, 64, 4, &mallocs);
    cr_expect_eq(mallocs, 0, "the fourth step asks the system for nothing");
}

/* ---- what is refused ------------------------------------------------------------------------- */

static ak_tensor *minus_mean(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_sub(x, ak_mean_keepdim(x, 0));
}
static ak_tensor *shares(ak_module *m, ak_tensor *x)        /* by number only */
{
    (void)m;
    return ak_scale(x, 1.0 / (double)x->shape.dims[0]);
}
static ak_tensor *pairs(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_softmax(ak_matmul_nt(x, x));
}
static ak_tensor *mean(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_mean(x);
}
static ak_tensor *statistics(ak_module *m, ak_tensor *x)    /* without running ones */
{
    (void)m;
    return ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ 0 });
}
static ak_tensor *running(ak_module *m, ak_tensor *x)
{
    return ak_batch_norm(x, NULL, NULL, ak_module_find(m, "a"), ak_module_find(m, "b"),
                         (ak_batch_norm_options){ 0 });
}
static ak_tensor *stream(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_scale(x, ak_random_uniform(ak_seed(x->ctx), ak_next_stream(x->ctx), 0));
}
static ak_tensor *other_axis(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_transpose(ak_dropout(ak_transpose(x), 0.5));
}
static ak_tensor *other_axis_of_four(ak_module *m, ak_tensor *x)    /* a multiple of 1 and 2 rows */
{
    (void)m;
    x = ak_concat(1, x, ak_slice(x, 1, 0, 3));
    return ak_transpose(ak_dropout(ak_transpose(x), 0.5));
}
static ak_tensor *loss_inside(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_mul(x, ak_loss_uniformity(x, (ak_uniformity_options){ 0 }));
}

/* Sizes that come from the numbers of a batch. */
static ak_tensor *as_long_as_its_first(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_slice(x, 1, 0, x->data[0] > 0 ? 2 : 3);
}
static ak_tensor *as_long_as_its_rows(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_slice(x, 1, 0, x->shape.dims[0] > 2 ? 2 : 3);
}

Test(chunked, rows_of_other_sizes_are_refused)
{
    static const struct { ak_forward_fn f; int positive; const char *text; } cases[] = {
        { as_long_as_its_first, 0, "has 2 numbers, and 3 when they are others" },
        { as_long_as_its_first, 8, "parts of the batch give rows of different sizes" },
        { as_long_as_its_rows, 0, "has 2 numbers, and 3 when there are fewer of them" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = ak_module_new(ctx, "mod", cases[i].f, NULL);
        ak_tensor *x = ak_full(ctx, AK_SHAPE(12, 5), -1);
        x->data[cases[i].positive * 5] = 1;
        cr_expect(ak_is_poison(encode(m, (ak_inputs){ .x = x }, 4)));
        EXPECT_ERROR(ctx, AK_ERR_SHAPE, cases[i].text);
        ak_close(ctx);
    }
}

Test(chunked, rows_of_several_samples_are_refused)
{
    static const struct { ak_forward_fn f; ak_status status; const char *text; } cases[] = {
        { other_axis_of_four, AK_ERR_STATE, "depends on the other samples" },
        { minus_mean, AK_ERR_STATE, "depends on the other samples" },
        { shares, AK_ERR_STATE, "when there are fewer of them" },
        { pairs, AK_ERR_STATE, "depends on the other samples" },
        { mean, AK_ERR_SHAPE, "returned [] for 2 rows" },
        { statistics, AK_ERR_STATE, "from all rows of the batch" },
        { running, AK_ERR_STATE, "mod runs in parts of the batch" },
        { stream, AK_ERR_STATE, "ak_random_first" },
        { other_axis, AK_ERR_STATE, "whose first axis is no multiple" },
        { loss_inside, AK_ERR_STATE, "from all rows of the batch" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = ak_module_new(ctx, "mod", cases[i].f, NULL);
        ak_module_add_buffer(m, "a", AK_SHAPE(5));
        ak_fill(ak_module_add_buffer(m, "b", AK_SHAPE(5)), 1);
        ak_tensor *x = ak_require_grad(normal(ctx, AK_SHAPE(9, 5), 3));
        ak_tensor *y = encode(m, (ak_inputs){ .x = x }, 4);
        cr_expect(ak_is_poison(y));
        EXPECT_ERROR(ctx, cases[i].status, cases[i].text);
        ak_step_end(ctx);
        x = ak_require_grad(normal(ctx, AK_SHAPE(9, 5), 3));        /* a sample at a time, too */
        cr_expect(ak_is_poison(encode(m, (ak_inputs){ .x = x }, 1)));
        EXPECT_ERROR(ctx, cases[i].status, cases[i].text);
        ak_step_end(ctx);
        cr_expect_eq(ak_module_find(m, "a")->data[0], 0, "nothing was written");
        x = ak_require_grad(normal(ctx, AK_SHAPE(9, 5), 3));
        y = encode(m, (ak_inputs){ .x = x }, 9);        /* one chunk is the batch */
        ak_backward(ak_sum(ak_square(y)));
        EXPECT_OK(ctx);
        ak_close(ctx);
    }
}

/* Dropout along another axis comes into force in train mode: it is tried there as well. */
Test(chunked, each_mode_is_tried)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = ak_module_new(ctx, "mod", other_axis_of_four, NULL);
    ak_train_mode(ctx, false);
    cr_expect_not(ak_is_poison(encode(m, (ak_inputs){ .x = normal(ctx, AK_SHAPE(9, 5), 3) }, 4)));
    EXPECT_OK(ctx);
    ak_train_mode(ctx, true);
    cr_expect(ak_is_poison(encode(m, (ak_inputs){ .x = normal(ctx, AK_SHAPE(9, 5), 3) }, 4)));
    EXPECT_ERROR(ctx, AK_ERR_STATE, "depends on the other samples");
    ak_close(ctx);
}

/* A kind whose rows stay apart where its groups of 3 are whole. */
static bool apart_in_threes(const ak_module *m, int64_t rows, int64_t batch, bool training)
{
    (void)m;
    return training && (rows % 3 || batch % 3);
}
static ak_tensor *scaled(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_scale(x, 2);
}

Test(chunked, a_kind_says_where_its_rows_stay_apart)
{
    static const ak_module_kind kind = { .name = "threes", .forward = scaled,
                                         .mixes_rows = apart_in_threes };
    static const struct { int64_t rows, batch; bool train, fine; } cases[] = {
        { 3, 9, true, true }, { 6, 9, true, true }, { 4, 9, true, false }, { 3, 8, true, false },
        { 8, 8, true, true }, { 4, 9, false, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
        ak_module_make(ctx, "inner", &kind);
        m = ak_module_end(m);
        ak_train_mode(ctx, cases[i].train);
        encode(m, (ak_inputs){ .x = normal(ctx, AK_SHAPE(cases[i].batch, 5), 3) }, cases[i].rows);
        if (cases[i].fine)
            EXPECT_OK(ctx);
        else
            EXPECT_ERROR(ctx, AK_ERR_STATE, "net/inner (threes)");
        ak_close(ctx);
    }
}

/* The loop of akin/recompute.h, word for word. */
Test(chunked, the_loop_of_the_header)
{
    ak_ctx *ctx = quiet(0);
    ak_module *enc = mlp(ctx, "enc");
    ak_module *head = ak_nn_linear(ctx, "head", 8, 4, (ak_linear_options){ 0 });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.01 });
    double losses[20];
    for (int i = 0; i < 20; i++) {
        ak_batch b = { .view = { normal(ctx, AK_SHAPE(150, 20), 3) } };
        b.view[1] = ak_add(b.view[0], ak_scale(normal(ctx, AK_SHAPE(150, 20), 4), 0.1));

        ak_chunked_options o = { .rows = 64 };
        ak_ntxent_options n = { .tau = 0.2 };
        ak_tensor *z1 = ak_forward_chunked(enc, (ak_inputs){ .x = b.view[0] }, o);
        ak_tensor *z2 = ak_forward_chunked(enc, (ak_inputs){ .x = b.view[1] }, o);
        ak_tensor *loss = ak_loss_ntxent(ak_forward(head, z1), ak_forward(head, z2), n);
        ak_backward(loss);
        losses[i] = ak_item(loss);
        ak_optim_step(opt);
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_lt(losses[19], losses[0] - 0.3, "%g, %g", losses[0], losses[19]);
    ak_close(ctx);
}

Test(chunked, batch_norm_is_refused_by_its_path)
{
    ak_ctx *ctx = quiet(0);
    ak_module *net = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 1, 16, 24 } });
    ak_tensor *x = normal(ctx, AK_SHAPE(6, 8, 8, 1), 3);
    cr_expect(ak_is_poison(encode(net, (ak_inputs){ .x = x }, 4)));
    EXPECT_ERROR(ctx, AK_ERR_STATE, "net/");
    cr_expect(strstr(ak_error_message(ctx), "batch norm 16"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    ak_module_train(net, false);
    x = normal(ctx, AK_SHAPE(6, 8, 8, 1), 3);
    ak_backward(ak_sum(encode(net, (ak_inputs){ .x = x }, 4)));
    EXPECT_OK(ctx);
    ak_step_end(ctx);
    ak_module_train(net, true);                 /* one chunk: as ak_nn_recompute */
    x = normal(ctx, AK_SHAPE(6, 8, 8, 1), 3);
    ak_backward(ak_sum(encode(net, (ak_inputs){ .x = x }, 6)));
    EXPECT_OK(ctx);
    ak_close(ctx);
}

Test(chunked, arguments_that_do_not_fit)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = mlp(ctx, "mlp"), *t = text(ctx, "text");
    ak_inputs in = { .x = normal(ctx, AK_SHAPE(N, 20), 3) };
    ak_forward_chunked(NULL, in, (ak_chunked_options){ 0 });
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "m is missing");
    ak_step_end(ctx);
    in.x = normal(ctx, AK_SHAPE(N, 20), 3);
    encode(m, in, -2);
    EXPECT_ERROR(ctx, AK_ERR_VALUE, ".rows = -2");
    ak_step_end(ctx);
    encode(m, in, 4);
    EXPECT_ERROR(ctx, AK_ERR_STALE, "earlier step");
    ak_step_end(ctx);
    encode(m, (ak_inputs){ 0 }, 4);
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "is handed nothing");
    ak_step_end(ctx);
    encode(m, (ak_inputs){ .x = ak_full(ctx, AK_SCALAR, 1) }, 4);
    EXPECT_ERROR(ctx, AK_ERR_SHAPE, "samples along the first axis");
    ak_step_end(ctx);
    in = sentences(ctx, 0);
    in.lengths = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 1 });
    encode(t, in, 4);
    EXPECT_ERROR(ctx, AK_ERR_SHAPE, "as many as in .ids");
    ak_step_end(ctx);
    in = sentences(ctx, 0);
    in.x = normal(ctx, AK_SHAPE(N, 20), 3);
    encode(t, in, 4);
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "does not take");
    ak_close(ctx);
}

Test(chunked, backward_twice_and_changes_are_found)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = mlp(ctx, "mlp");
    ak_tensor *x = normal(ctx, AK_SHAPE(N, 20), 3), *y = ak_scale(x, 0.5);
    ak_tensor *z1 = encode(m, (ak_inputs){ .x = x }, 5);
    ak_tensor *loss = pair(z1, encode(m, (ak_inputs){ .x = y }, 5));
    ak_backward(loss);
    EXPECT_OK(ctx);
    ak_backward(loss);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "already ran");
    ak_step_end(ctx);
    ak_zero_grad(ctx);
    x = normal(ctx, AK_SHAPE(N, 20), 3);
    y = ak_scale(x, 0.5);
    z1 = encode(m, (ak_inputs){ .x = x }, 5);
    loss = pair(z1, encode(m, (ak_inputs){ .x = y }, 5));
    ak_fill(x, 1);                          /* of the older: the newer has run already */
    ak_backward(loss);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "was changed by ak_fill");
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        for (int64_t j = 0; j < ak_param_at(ctx, i)->size; j++)
            cr_assert_eq(ak_param_at(ctx, i)->grad[j], 0);
    ak_close(ctx);
}
