/* SPDX-License-Identifier: Apache-2.0 */
/* Batches in chunks, with modules that look at more than a row: split batch norm is exact where no
 * group is cut, running statistics included; views of several sizes; teachers. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <akin/akin.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 6, .quiet = true });
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

static ak_tensor *normal(ak_ctx *ctx, ak_shape shape, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(7, stream, (uint64_t)i);
    return t;
}

static ak_tensor *encode(ak_module *m, ak_tensor *x, int64_t rows)
{
    return rows ? ak_forward_chunked(m, (ak_inputs){ .x = x }, (ak_chunked_options){ .rows = rows })
                : ak_forward(m, x);
}

/* ---- split batch norm ------------------------------------------------------------------------ */

enum { N = 24, GROUPS = 6, SIDE = 8 };

/* Batch norm as an op, with a sum behind it and with positions of samples as rows. */
static ak_tensor *norm_ops(ak_module *m, ak_tensor *x)
{
    ak_batch_norm_options o = { .groups = GROUPS, .momentum = 0.25, .relu = true };
    ak_tensor *mean = ak_module_find(m, "mean"), *var = ak_module_find(m, "var");
    ak_tensor *w = ak_module_find(m, "w");
    const int64_t rows = x->shape.dims[0];
    ak_tensor *skip = ak_rows(x, 0, rows);
    ak_tensor *y = ak_batch_norm_add(ak_square(x), skip, w, NULL, mean, var, o);
    y = ak_reshape(y, AK_SHAPE(rows * 2, 6));
    y = ak_batch_norm(y, NULL, NULL, NULL, NULL, o);
    return ak_reshape(y, AK_SHAPE(rows, 12));
}

typedef enum net { CONVNET, RESNET, AGAIN, HEAD, OPS, ALL_MOVES, NOTHING_MOVES, NETS } net;

static ak_module *make(ak_ctx *ctx, net n)
{
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    if (n == RESNET) {
        ak_resnet18(ctx, "enc", (ak_resnet_options){ .channels = 1, .width = 8, .groups = GROUPS });
        ak_nn_linear(ctx, "fc", 64, 12, (ak_linear_options){ 0 });
    } else {
        ak_convnet(ctx, "enc", (ak_convnet_options){ .channels = { 1, 8, 12 }, .groups = GROUPS });
    }
    if (n == HEAD) {
        ak_nn_dropout(ctx, "drop", 0.2);
        ak_mlp_with(ctx, "head", (int[]){ 12, 20, 12, 0 },
                    (ak_mlp_options){ .batch_norm = true, .batch_norm_out = true,
                                      .groups = 2, .plain_out = true });
    }
    if (n == OPS) {
        ak_module *ops = ak_module_new(ctx, "ops", norm_ops, NULL);
        ak_fill(ak_module_add_param(ops, "w", AK_SHAPE(12), 0), 0.7);
        ak_module_add_buffer(ops, "mean", AK_SHAPE(12));
        ak_fill(ak_module_add_buffer(ops, "var", AK_SHAPE(12)), 1);
    }
    if (n == ALL_MOVES || n == NOTHING_MOVES)
        ak_nn_batch_norm(ctx, "bn", 12, (ak_batch_norm_options){
            .groups = GROUPS, .momentum = n == ALL_MOVES ? 1 : AK_NONE });
    m = ak_module_end(m);
    return n == AGAIN ? ak_nn_recompute(ctx, "again", m) : m;
}

typedef struct outcome { double loss; double *at; int64_t n; } outcome;

/* Two steps of two views: gradients of the second, and what all parameters and buffers are after
 * it. */
static outcome train(net n, int64_t rows)
{
    ak_ctx *ctx = quiet();
    ak_module *m = make(ctx, n);
    ak_optim *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.1 });
    outcome o = { .at = calloc(400000, sizeof(double)) };
    for (uint64_t step = 0; step < 2; step++) {
        ak_tensor *x = normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 1 + step);
        ak_tensor *z1 = encode(m, x, rows), *z2 = encode(m, ak_scale(ak_square(x), 0.5), rows);
        ak_tensor *loss = ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.5 });
        o.loss = ak_item(loss);
        ak_backward(loss);
        for (int64_t i = 0; step && ak_param_at(ctx, i); i++)
            for (int64_t j = 0; ak_param_at(ctx, i)->grad && j < ak_param_at(ctx, i)->size; j++)
                o.at[o.n++] = (double)ak_param_at(ctx, i)->grad[j];
        ak_optim_step(opt);
        cr_expect_eq(ak_step_end(ctx), AK_OK, "net %d, %d rows: %s", (int)n, (int)rows,
                     ak_error_message(ctx));
    }
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        for (int64_t j = 0; j < ak_param_at(ctx, i)->size; j++)
            o.at[o.n++] = (double)ak_param_at(ctx, i)->data[j];
    cr_assert_lt(o.n, 400000);
    ak_close(ctx);
    return o;
}

/* In chunks of one group, of several, and of several where the last chunk has fewer. */
Test(parts, split_batch_norm_is_that_of_the_undivided_step)
{
    const double within = AK_REAL_BITS == 64 ? 1e-12 : 1e-4;
    for (net n = 0; n < NETS; n++) {
        const outcome whole = train(n, 0);
        for (int64_t rows = N / GROUPS; rows <= N; rows += N / GROUPS) {
            if (n == HEAD && rows % (N / 2))
                continue;
            const outcome parts = train(n, rows);
            double worst = 0;
            cr_assert_eq(parts.n, whole.n);
            for (int64_t i = 0; i < whole.n; i++)
                worst = fmax(worst, fabs(parts.at[i] - whole.at[i]) /
                                    fmax(1, fabs(whole.at[i])));
            cr_expect_leq(worst, within, "net %d, %d rows: %g", (int)n, (int)rows, worst);
            cr_expect_float_eq(parts.loss, whole.loss, within * whole.loss);
            free(parts.at);
        }
        free(whole.at);
    }
}

Test(parts, a_group_that_is_cut_is_refused_by_its_path)
{
    static const struct { int64_t rows, batch; } cases[] = { { 6, 24 }, { 2, 24 }, { 5, 23 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, CONVNET);
        encode(m, normal(ctx, AK_SHAPE(cases[i].batch, SIDE, SIDE, 1), 1), cases[i].rows);
        EXPECT_ERROR(ctx, AK_ERR_STATE, "net/enc/bn1 (batch norm 8, 6 groups");
        cr_expect(strstr(ak_error_message(ctx), "multiple of the rows of a group"));
        ak_close(ctx);
    }
}

/* The op itself, in kinds of the program's own: 4 groups in 16 rows. */
static ak_tensor *norm_alone(ak_module *m, ak_tensor *x)
{
    return ak_batch_norm(x, NULL, NULL, ak_module_find(m, "mean"), ak_module_find(m, "var"),
                         (ak_batch_norm_options){ .groups = 4 });
}
static ak_tensor *norm_twice(ak_module *m, ak_tensor *x)
{
    return norm_alone(m, ak_scale(norm_alone(m, x), 2));
}
static ak_tensor *norm_of_parameters(ak_module *m, ak_tensor *x)
{
    return ak_add(x, ak_mean_keepdim(norm_alone(m, ak_module_find(m, "w")), 0));
}
/* Children: batch norm of 4 groups in a block that runs again. */
static ak_tensor *block_twice(ak_module *m, ak_tensor *x)
{
    return ak_forward(ak_module_child(m, 0), ak_forward(ak_module_child(m, 0), x));
}
static ak_tensor *chunks(ak_module *m, ak_tensor *x)
{
    return encode(ak_module_child(m, 0), x, 4);
}
static ak_tensor *chunks_twice(ak_module *m, ak_tensor *x)
{
    return chunks(m, chunks(m, x));
}
static ak_tensor *smaller_chunks(ak_module *m, ak_tensor *x)
{
    return encode(ak_module_child(m, 0), x, 2);
}

static bool cuts_fours(const ak_module *m, int64_t rows, int64_t batch, bool training)
{
    (void)m;
    return training && (batch % 4 || rows % (batch / 4));
}

Test(parts, what_batch_norm_can_and_can_not_do_in_parts)
{
    static const struct {
        ak_forward_fn f;
        int64_t rows;
        const char *text;
        bool unsaid;                    /* the kind has no mixes_rows */
    } cases[] = {
        { norm_alone, 4, NULL, false }, { norm_alone, 8, NULL, false },
        { norm_alone, 12, NULL, false },
        { norm_alone, 6, "from rows of several chunks", false },
        { norm_alone, 6, "from all rows of the batch", true },
        { norm_alone, 2, "from all rows of the batch", true },
        { norm_twice, 4, "is written more than once in each", false },
        { norm_of_parameters, 4, "writes what it finds", false },
        { norm_of_parameters, 4, "writes what it finds", true },
        { block_twice, 4, "is written more than once in each", false },
        { chunks, 8, NULL, false },
        { chunks_twice, 8, "is written more than once in each", false },
        { smaller_chunks, 8, "from rows of several chunks", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static ak_module_kind kinds[sizeof cases / sizeof *cases];
        ak_real mean[2][5], grad[2][80];
        for (int parts = cases[i].text ? 1 : 0; parts < 2; parts++) {
            ak_ctx *ctx = quiet();
            kinds[i] = (ak_module_kind){ .name = "mine", .forward = cases[i].f,
                                         .mixes_rows = cases[i].unsaid ? NULL : cuts_fours };
            ak_module *m = ak_module_begin(ak_module_make(ctx, "mod", &kinds[i]));
            if (!cases[i].unsaid)
                ak_nn_recompute(ctx, "again", ak_nn_batch_norm(ctx, "bn", 5,
                    (ak_batch_norm_options){ .groups = 4 }));
            ak_module_end(m);
            ak_tensor *running = ak_module_add_buffer(m, "mean", AK_SHAPE(5));
            ak_fill(ak_module_add_buffer(m, "var", AK_SHAPE(5)), 1);
            ak_tensor *w = ak_module_add_param(m, "w", AK_SHAPE(8, 5), 0);
            for (int64_t j = 0; j < w->size; j++)
                w->data[j] = (ak_real)ak_random_normal(3, 1, (uint64_t)j);
            ak_tensor *x = ak_require_grad(normal(ctx, AK_SHAPE(16, 5), 3));
            ak_tensor *y = encode(m, x, parts ? cases[i].rows : 0);
            if (parts && cases[i].text) {
                cr_expect(ak_is_poison(y), "case %zu", i);
                EXPECT_ERROR(ctx, AK_ERR_STATE, cases[i].text);
            } else {
                ak_backward(ak_sum(ak_mul(ak_square(y), normal(ctx, AK_SHAPE(16, 5), 4))));
                EXPECT_OK(ctx);
                memcpy(mean[parts], running->data, sizeof mean[0]);
                memcpy(grad[parts], x->grad, sizeof grad[0]);
            }
            ak_close(ctx);
        }
        for (int j = 0; !cases[i].text && j < 5; j++)
            cr_expect_float_eq((double)mean[0][j], (double)mean[1][j], 1e-6, "case %zu", i);
        for (int j = 0; !cases[i].text && j < 80; j++)
            cr_expect_float_eq((double)grad[0][j], (double)grad[1][j], 1e-5, "case %zu", i);
    }
}

/* What looks past its own group shows, in chunks of one group and of two. */
static ak_tensor *minus_mean_square(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_sub(x, ak_mean_keepdim(ak_square(x), 0));
}

Test(parts, groups_are_tried_as_samples_are)
{
    for (int64_t rows = 4; rows <= 8; rows += 4) {
        ak_ctx *ctx = quiet();
        ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
        ak_nn_batch_norm(ctx, "bn", 5, (ak_batch_norm_options){ .groups = 3 });
        ak_nn_activation(ctx, "act", AK_GELU);
        ak_module_new(ctx, "mean", minus_mean_square, NULL);
        m = ak_module_end(m);
        encode(m, normal(ctx, AK_SHAPE(12, 5), 3), rows);
        EXPECT_ERROR(ctx, AK_ERR_STATE, "depends on the other samples");
        cr_expect_eq(ak_param_find(ctx, "net/bn/running_mean")->data[0], 0, "nothing was written");
        ak_close(ctx);
    }
}

/* A part that has failed leaves no trace in the next step. */
Test(parts, a_step_that_failed_half_way_is_forgotten)
{
    ak_ctx *ctx = quiet();
    ak_module *m = make(ctx, NOTHING_MOVES);
    ak_tensor *mean = ak_param_find(ctx, "net/enc/bn1/running_mean");
    for (int64_t j = 0; j < mean->size; j++)
        cr_assert_eq(mean->data[j], 0);
    ak_tensor *x = normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 1);
    x->data[x->size - 1] = (ak_real)NAN;
    ak_check_numbers(ctx, true);
    encode(m, x, 4);                            /* the last chunk fails */
    cr_expect_eq(ak_error(ctx), AK_ERR_NUMBER, "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    for (int i = 0; i < 2; i++) {
        encode(m, normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 1), 8);
        EXPECT_OK(ctx);
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

/* Every allocation of a step fails once: no gradient changes, and the next step is right. */
Test(parts, memory_that_runs_out_changes_no_gradient)
{
    bool done = false;
    for (uint64_t n = 1; !done && n < 80; n++) {
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, AGAIN);
        ak_fail_alloc_after(n, false);
        ak_tensor *x = ak_full(ctx, AK_SHAPE(N * 8, SIDE, SIDE, 1), 0.5);
        for (int64_t i = 0; !ak_is_poison(x) && i < x->size; i++)
            x->data[i] = (ak_real)(i % 7);
        ak_backward(ak_mean(ak_square(encode(m, x, N * 4))));
        const ak_status status = ak_error(ctx);
        ak_fail_alloc_after(0, false);
        done = status == AK_OK;
        cr_expect(status == AK_OK || status == AK_ERR_MEMORY, "%s", ak_error_message(ctx));
        for (int64_t i = 0; !done && ak_param_at(ctx, i); i++) {
            const ak_tensor *w = ak_param_at(ctx, i);
            for (int64_t j = 0; w->grad && j < w->size; j++)
                cr_assert_eq(w->grad[j], 0, "after allocation %d", (int)n);
        }
        ak_step_end(ctx);
        ak_backward(ak_mean(encode(m, normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 1), 8)));
        EXPECT_OK(ctx);
        ak_close(ctx);
    }
    cr_expect(done, "a step that has all its memory works");
}

/* ---- teachers -------------------------------------------------------------------------------- */

Test(parts, a_teacher_runs_in_chunks)
{
    ak_ctx *ctx = quiet();
    ak_module *student = make(ctx, CONVNET);
    ak_momentum *e = ak_momentum_encoder(student, "teacher", (ak_momentum_options){
        .norm = AK_TEACHER_TRAIN, .buffers = AK_BUFFERS_OWN });
    ak_tensor *x = normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 1);
    ak_index *order = ak_permutation(ctx, N);
    ak_tensor *shuffled = ak_shuffle_rows(x, order);
    ak_tensor *mean = ak_param_find(ctx, "teacher/enc/bn1/running_mean");
    ak_tensor *whole = ak_momentum_forward(e, (ak_inputs){ .x = shuffled });
    ak_real once[8];
    memcpy(once, mean->data, sizeof once);
    ak_fill(mean, 0);
    ak_no_grad_begin(ctx);
    ak_tensor *parts = encode(ak_momentum_module(e), shuffled, 4);
    ak_no_grad_end(ctx);
    EXPECT_OK(ctx);
    cr_expect(!parts->needs_grad);
    for (int64_t i = 0; i < whole->size; i++)
        cr_expect_float_eq((double)parts->data[i], (double)whole->data[i], 1e-5);
    for (int i = 0; i < 8; i++)
        cr_expect_float_eq((double)mean->data[i], (double)once[i], 1e-6);
    ak_close(ctx);
}

/* ---- views ----------------------------------------------------------------------------------- */

/* x [N, 8, 8, 1]: the picture twice, in one run, and a crop of it in another, by one encoder. */
static ak_tensor *crops(ak_module *m, ak_tensor *x)
{
    ak_tensor *crop = ak_slice(ak_slice(x, 1, 1, 5), 2, 2, 5);
    const int64_t n = x->shape.dims[0];
    ak_tensor *y = ak_forward_views(ak_module_child(m, 0), (ak_tensor *[]){ x, x, crop }, 3);
    return ak_concat(1, ak_rows(y, n, n), ak_rows(y, 2 * n, n));
}

static ak_module *crop_net(ak_ctx *ctx, bool again, double dropout)
{
    ak_module *m = ak_module_new(ctx, "crops", crops, NULL);
    ak_module *enc = ak_module_begin(ak_nn_sequential(ctx, "enc", NULL));
    ak_nn_conv2d(ctx, "conv", 1, 8, 3, (ak_conv_layer_options){ .padding = 1 });
    ak_nn_activation(ctx, "act", AK_GELU);
    ak_nn_global_avg_pool(ctx, "pool");
    if (dropout > 0)
        ak_nn_dropout(ctx, "drop", dropout);
    enc = ak_module_end(enc);
    ak_module_add(m, again ? ak_nn_recompute(ctx, "again", enc) : enc);
    return m;
}

/* 0: plain; 1: the encoder runs again; 2: in chunks; 3: both */
Test(parts, views_of_several_sizes)
{
    ak_real grad[4][72], out[4][N * 16];
    for (int way = 0; way < 4; way++) {
        ak_ctx *ctx = quiet();
        ak_module *m = crop_net(ctx, way & 1, 0);
        ak_tensor *y = encode(m, normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 2), way & 2 ? 5 : 0);
        ak_backward(ak_mean(ak_square(y)));
        EXPECT_OK(ctx);
        memcpy(out[way], y->data, sizeof out[way]);
        memcpy(grad[way], ak_param_find(ctx, "enc/conv/weight")->grad, sizeof grad[way]);
        ak_close(ctx);
    }
    cr_expect_arr_eq(grad[0], grad[1], sizeof grad[0]);
    cr_expect_arr_eq(out[0], out[1], sizeof out[0]);
    for (int way = 2; way < 4; way++) {
        for (int i = 0; i < N * 16; i++)
            cr_expect_float_eq((double)out[way][i], (double)out[0][i], 1e-6);
        for (int i = 0; i < 72; i++)
            cr_expect_float_eq((double)grad[way][i], (double)grad[0][i], 1e-6);
    }
}

/* Views that are joined inside of a chunk stand in another order than in the batch. */
Test(parts, dropout_over_views_that_are_joined_in_a_chunk_is_refused)
{
    ak_ctx *ctx = quiet();
    encode(crop_net(ctx, false, 0.5), normal(ctx, AK_SHAPE(N, SIDE, SIDE, 1), 2), 5);
    EXPECT_ERROR(ctx, AK_ERR_STATE, "depends on the other samples");
    ak_close(ctx);
}
