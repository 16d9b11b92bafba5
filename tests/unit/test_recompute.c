/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that backward runs again: the bits of the undivided step, less memory, running
 * statistics that move once, and errors for what would not be the same the second time. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <akin/akin.h>

static ak_ctx *quiet(int threads)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true, .threads = threads });
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

/* ---- the same training, divided in several ways ---------------------------------------------- */

typedef enum way { PLAIN, BLOCKS, WHOLE, NESTED, WAYS } way;

static ak_module *wrapped(ak_ctx *ctx, way w, const char *name, ak_module *body)
{
    return w == BLOCKS || w == NESTED ? ak_nn_recompute(ctx, name, body) : body;
}

static ak_module *whole(ak_ctx *ctx, way w, ak_module *body)
{
    return w == WHOLE || w == NESTED ? ak_nn_recompute(ctx, "whole", body) : body;
}

/* Bodies are made outside, so that names, and so first numbers, are those of the plain net. */
static ak_module *mlp_dropout(ak_ctx *ctx, way w)
{
    ak_module *one = ak_nn_linear(ctx, "one", 12, 32, (ak_linear_options){ .relu = true });
    ak_module *two = ak_nn_dropout(ctx, "two", 0.3);
    ak_module *three = ak_nn_batch_norm(ctx, "three", 32, (ak_batch_norm_options){ 0 });
    ak_module *four = ak_nn_linear(ctx, "four", 32, 6, (ak_linear_options){ 0 });
    return whole(ctx, w, ak_nn_sequential(ctx, "net", (ak_module *[]){
        wrapped(ctx, w, "r1", one), wrapped(ctx, w, "r2", two), wrapped(ctx, w, "r3", three),
        wrapped(ctx, w, "r4", four), NULL }));
}

static ak_module *pictures(ak_ctx *ctx, way w)
{
    ak_module *unit = ak_nn_conv_norm(ctx, "unit",
                                      ak_nn_conv2d(ctx, "conv", 1, 16, 3, (ak_conv_layer_options){
                                          .padding = 1 }),
                                      ak_nn_batch_norm(ctx, "norm", 16,
                                                       (ak_batch_norm_options){ 0 }),
                                      (ak_conv_norm_options){ 0 });
    ak_module *net = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 16, 32, 48 },
                                                                  .pool = 1 });
    return whole(ctx, w, ak_nn_sequential(ctx, "all", (ak_module *[]){
        wrapped(ctx, w, "r1", unit), wrapped(ctx, w, "r2", net), NULL }));
}

/* Attention over tokens: embedding, self-attention with lengths, mean of the first token. */
typedef struct text { ak_module *q, *out; } text;
static void text_bind(ak_module *m)
{
    text *t = ak_module_user(m);
    t->q = ak_module_child(m, 0);
    t->out = ak_module_child(m, 1);
}
static ak_tensor *text_forward(ak_module *m, const ak_inputs *in)
{
    const text *t = ak_module_user(m);
    ak_tensor *table = ak_module_find(m, "table");
    ak_tensor *x = ak_embedding(table, in->ids, -1);
    ak_tensor *y = ak_dropout(ak_forward(t->q, x), 0.2);
    y = ak_attention(y, x, x, (ak_attention_options){ .heads = 2, .key_lengths = in->lengths });
    return ak_global_avg_pool(ak_forward(t->out, ak_add(x, y)));
}
static const ak_module_kind text_kind = {
    .name = "text", .forward_with = text_forward, .needs = AK_IN_IDS | AK_IN_LENGTHS,
    .state_bytes = sizeof(text), .bind = text_bind };
static ak_module *sentences(ak_ctx *ctx, way w)
{
    ak_module *m = ak_module_begin(ak_module_make(ctx, "text", &text_kind));
    ak_tensor *table = ak_module_add_param(m, "table", AK_SHAPE(11, 8), 0);
    ak_init_fill(table, (ak_init){ .kind = AK_INIT_UNIFORM, .scale = 1 });
    ak_nn_linear(ctx, "q", 8, 8, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "out", 8, 6, (ak_linear_options){ 0 });
    m = ak_module_end(m);
    return whole(ctx, w, wrapped(ctx, w, "r", m));
}

typedef struct network {
    const char *name;
    ak_module *(*make)(ak_ctx *ctx, way w);
    ak_shape    x;                      /* n = 0: ids [N, T] and lengths */
} network;
static const network networks[] = {
    { "mlp", mlp_dropout, { 2, { 10, 12 } } },
    { "pictures", pictures, { 4, { 6, 12, 12, 1 } } },
    { "sentences", sentences, { 0 } },
};
enum { NETWORKS = sizeof networks / sizeof *networks };

static ak_inputs inputs(ak_ctx *ctx, const network *n, int step)
{
    if (n->x.n) {
        ak_tensor *x = ak_zeros(ctx, n->x);
        for (int64_t i = 0; i < x->size; i++)
            x->data[i] = (ak_real)ak_random_normal(5, (uint64_t)step, (uint64_t)i);
        return (ak_inputs){ .x = x };
    }
    int32_t ids[5 * 7], lengths[5] = { 7, 1, 3, 7, 2 };
    for (int i = 0; i < 35; i++)
        ids[i] = (int32_t)ak_random_below(5, (uint64_t)step, (uint64_t)i, 11);
    return (ak_inputs){ .ids = ak_index_from(ctx, AK_SHAPE(5, 7), ids),
                        .lengths = ak_index_from(ctx, AK_SHAPE(5), lengths) };
}

/* Three steps; returns the hash of all parameters and buffers, which has the gradients in it. */
static uint32_t train(const network *n, way w, int threads, double *last)
{
    ak_ctx    *ctx = quiet(threads);
    ak_module *m = n->make(ctx, w);
    ak_optim  *opt = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.1, .momentum = 0.9 });
    for (int step = 0; step < 3; step++) {
        ak_tensor *y = ak_forward_with(m, inputs(ctx, n, step));
        ak_tensor *loss = ak_mean(ak_square(ak_add_scalar(y, -0.3)));
        *last = ak_item(loss);
        ak_backward(loss);
        ak_optim_step(opt);
        cr_expect_eq(ak_step_end(ctx), AK_OK, "%s: %s", n->name, ak_error_message(ctx));
    }
    const uint32_t hash = ak_hash(ctx, "*");
    ak_close(ctx);
    return hash;
}

Test(recompute, every_division_trains_to_the_same_bits)
{
    for (int n = 0; n < NETWORKS; n++) {
        double loss, divided;
        const uint32_t wanted = train(&networks[n], PLAIN, 0, &loss);
        for (way w = BLOCKS; w < WAYS; w++) {
            cr_expect_eq(train(&networks[n], w, 0, &divided), wanted, "%s, way %d",
                         networks[n].name, (int)w);
            cr_expect_eq(divided, loss);
        }
    }
}

Test(recompute, any_number_of_threads_gives_the_same_bits)
{
    double loss;
    for (int n = 0; n < NETWORKS; n++) {
        const uint32_t wanted = train(&networks[n], NESTED, 1, &loss);
        for (int threads = 2; threads <= 4; threads++)
            cr_expect_eq(train(&networks[n], NESTED, threads, &loss), wanted);
    }
}

/* ---- functions ------------------------------------------------------------------------------- */

static ak_tensor *random_param(ak_ctx *ctx, const char *name, ak_shape shape)
{
    ak_tensor *w = ak_param(ctx, name, shape, 0);
    for (int64_t i = 0; i < w->size; i++)
        w->data[i] = (ak_real)(0.5 * ak_random_normal(9, (uint64_t)shape.n, (uint64_t)i));
    return w;
}

/* What a segment may find: parameters, values made outside, a part of one, constants, one that
 * stops the gradient, one whose branch leads nowhere. */
typedef struct around { ak_tensor *w, *made, *stopped, *unused; } around;

static ak_tensor *uses_much(ak_tensor *const *in, int n, void *user)
{
    const around *u = user;
    ak_tensor *x = in[0];
    ak_mean(ak_square(u->unused));
    ak_tensor *y = ak_tanh(ak_matmul(x, u->w));
    y = ak_dropout(y, 0.25);
    y = ak_add(y, ak_mul(ak_rows(u->made, 1, 4), ak_detach(u->stopped)));
    y = ak_mul(y, ak_equal(ak_rows(u->made, 0, 4), ak_rows(u->made, 0, 4)));
    return n > 1 && in[1] ? ak_reshape(ak_mul(y, in[1]), AK_SHAPE(2, 2, 3)) : y;
}

typedef struct outcome { double loss; ak_real grads[200]; int n; uint64_t stream; } outcome;

static void keep(outcome *o, const ak_tensor *t)
{
    for (int64_t i = 0; t->grad && i < t->size; i++)
        o->grads[o->n++] = t->grad[i];
    o->grads[o->n++] = t->grad ? (ak_real)t->grad_is_zero : 7;
}

static outcome run_much(bool again, int losses)
{
    ak_ctx *ctx = quiet(0);
    around  u = { .w = random_param(ctx, "w", AK_SHAPE(5, 3)),
                  .stopped = random_param(ctx, "stopped", AK_SHAPE(1, 3)),
                  .unused = random_param(ctx, "unused", AK_SHAPE(2)) };
    ak_tensor *base = random_param(ctx, "base", AK_SHAPE(6, 3));
    ak_tensor *x = ak_require_grad(ak_reshape(ak_arange(ctx, 20), AK_SHAPE(4, 5)));
    ak_tensor *bias = random_param(ctx, "bias", AK_SHAPE(3));
    u.made = ak_square(base);
    ak_tensor *first = ak_sum(ak_mul(u.made, u.made));      /* the same values, before */
    ak_tensor *in[2] = { x, bias };
    ak_tensor *y = again ? ak_recompute(ctx, uses_much, &u, in, 2) : uses_much(in, 2, &u);
    ak_tensor *after = ak_sum(ak_mul(ak_flatten_rows(y), ak_rows(u.made, 2, 4)));
    outcome o = { .loss = ak_item(after) };
    if (losses == 1) {
        ak_backward(ak_add(first, after));
    } else {
        ak_backward(ak_sum(ak_square(y)));
        ak_backward(after);
        ak_backward(first);
    }
    EXPECT_OK(ctx);
    for (int i = 0; ak_param_at(ctx, i); i++)
        keep(&o, ak_param_at(ctx, i));
    keep(&o, x);
    o.stream = ak_next_stream(ctx);
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    ak_close(ctx);
    return o;
}

Test(recompute, finds_what_a_function_uses_from_outside)
{
    for (int losses = 1; losses <= 2; losses++) {
        const outcome plain = run_much(false, losses), again = run_much(true, losses);
        cr_assert_eq(plain.n, again.n);
        cr_assert_gt(plain.n, 50);
        cr_expect_eq(plain.loss, again.loss);
        cr_expect_eq(plain.stream, again.stream);
        cr_expect_arr_eq(plain.grads, again.grads, (size_t)plain.n * sizeof(ak_real));
    }
}

static ak_tensor *outside_too(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    return ak_recompute(in[0]->ctx, uses_much, user, in, 2);
}

static ak_tensor *checked(ak_tensor *const *in, int n, void *user)
{
    ak_ctx *ctx = in[0]->ctx;
    around  u = { in[1], in[2], in[3], in[3] };
    ak_tensor *operands[2] = { in[0], NULL };
    (void)n;
    (void)user;
    around *kept = memcpy(ak_zeros(ctx, AK_SHAPE(sizeof u))->data, &u, sizeof u);
    return ak_recompute(ctx, outside_too, kept, operands, 2);
}

Test(recompute, gradients_agree_with_differences)
{
    ak_ctx *ctx = quiet(0);
    ak_tensor *in[4] = { random_param(ctx, "x", AK_SHAPE(4, 5)),
                         random_param(ctx, "w", AK_SHAPE(5, 3)),
                         random_param(ctx, "made", AK_SHAPE(6, 3)),
                         ak_buffer(ctx, "stopped", AK_SHAPE(1, 3)) };
    ak_fill(in[3], 0.7);
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_fn(ctx, checked, NULL, in, 4, &r), AK_OK, "%s",
                 ak_error_message(ctx));
    cr_expect_lt(r.worst, AK_REAL_BITS == 64 ? 1e-8 : 2e-2, "%g at %d", r.worst, r.operand);
    ak_close(ctx);
}

static ak_tensor *hands_through(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    (void)user;
    return in[0];
}

Test(recompute, what_is_handed_through_gets_its_gradient)
{
    ak_ctx *ctx = quiet(0);
    ak_tensor *w = random_param(ctx, "w", AK_SHAPE(3)), *made = ak_square(w);
    ak_tensor *part = ak_rows(made, 1, 2), *constant = ak_full(ctx, AK_SHAPE(2), 2);
    ak_tensor *a = ak_recompute(ctx, hands_through, NULL, &w, 1);
    ak_tensor *b = ak_recompute(ctx, hands_through, NULL, &part, 1);
    ak_tensor *c = ak_recompute(ctx, hands_through, NULL, &constant, 1);
    cr_expect_null(c->maker, "a constant is not recorded");
    cr_expect_neq(a, w);
    ak_backward(ak_add(ak_sum(a), ak_sum(ak_mul(b, c))));
    EXPECT_OK(ctx);
    cr_expect_eq(w->grad[0], 1);
    for (int i = 1; i < 3; i++)
        cr_expect_float_eq((double)w->grad[i], 1 + 4 * (double)w->data[i], 1e-5);
    ak_step_end(ctx);
    ak_close(ctx);
}

Test(recompute, without_a_tape_nothing_runs_twice)
{
    ak_ctx *ctx = quiet(0);
    ak_tensor *w = random_param(ctx, "w", AK_SHAPE(3));
    ak_no_grad_begin(ctx);
    cr_expect_eq(ak_recompute(ctx, hands_through, NULL, &w, 1), w, "a plain call");
    ak_no_grad_end(ctx);
    ak_freeze(ctx, "w", true);
    ak_tensor *y = ak_recompute(ctx, hands_through, NULL, &w, 1);
    cr_expect_null(y->maker);
    cr_expect(!y->needs_grad);
    EXPECT_OK(ctx);
    ak_close(ctx);
}

static ak_tensor *activated(ak_tensor *const *in, int n, void *user)
{
    ak_tensor *own = ak_require_grad(ak_full(in[0]->ctx, in[0]->shape, 0.5));
    (void)n;
    (void)user;
    return ak_relu(ak_relu(ak_add(ak_relu(in[0]), ak_scale(own, 2))));
}

static ak_tensor *activated_inside(ak_tensor *const *in, int n, void *user)
{
    return ak_recompute(in[0]->ctx, activated, user, in, n);
}

/* Gradients that may take the place of others, and leaves that end with the segment. */
Test(recompute, gradients_outlive_the_memory_of_a_segment)
{
    ak_real grads[2][4096];
    for (int again = 0; again < 2; again++) {
        ak_ctx *ctx = quiet(0);
        ak_tensor *w = random_param(ctx, "w", AK_SHAPE(4096)), *x = ak_square(w);
        for (int i = 0; i < 3; i++)
            x = again ? ak_recompute(ctx, activated_inside, NULL, &x, 1) : activated(&x, 1, NULL);
        x = ak_recompute(ctx, activated, NULL, &x, 1);
        ak_backward(ak_mean(ak_square(x)));
        EXPECT_OK(ctx);
        memcpy(grads[again], w->grad, sizeof grads[0]);
        ak_step_end(ctx);
        ak_close(ctx);
    }
    cr_expect_arr_eq(grads[0], grads[1], sizeof grads[0]);
}

/* ---- modules --------------------------------------------------------------------------------- */

Test(recompute, running_statistics_move_once_and_frozen_parameters_keep_still)
{
    double loss[2];
    ak_real mean[2][4];
    for (int again = 0; again < 2; again++) {
        ak_ctx *ctx = quiet(0);
        ak_module *norm = ak_nn_batch_norm(ctx, "norm", 4, (ak_batch_norm_options){ 0 });
        ak_module *m = again ? ak_nn_recompute(ctx, "r", norm) : norm;
        ak_freeze(ctx, "norm/bias", true);
        ak_tensor *bias = ak_param_find(ctx, "norm/bias");
        ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(8, 4)));
        ak_tensor *y = ak_forward(m, x), *z = ak_forward(m, ak_scale(x, 2));    /* two views */
        ak_tensor *l = ak_mean(ak_square(ak_add(y, z)));
        loss[again] = ak_item(l);
        ak_backward(l);
        EXPECT_OK(ctx);
        for (int i = 0; i < 4; i++)
            cr_expect_eq(bias->grad ? bias->grad[i] : 0, 0);
        memcpy(mean[again], ak_param_find(ctx, "norm/running_mean")->data, sizeof mean[0]);
        ak_step_end(ctx);
        ak_close(ctx);
    }
    cr_expect_eq(loss[0], loss[1]);
    cr_expect_arr_eq(mean[0], mean[1], sizeof mean[0]);
}

Test(recompute, a_copy_of_the_container_works)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = mlp_dropout(ctx, NESTED), *copy = ak_module_clone(m, "copy");
    cr_assert(copy, "%s", ak_error_message(ctx));
    ak_train_mode(ctx, false);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 12));
    ak_tensor *a = ak_forward(m, x), *b = ak_forward(copy, x);
    cr_expect_arr_eq(a->data, b->data, (size_t)a->size * sizeof(ak_real));
    cr_expect(strstr(ak_module_name(ak_module_child(copy, 0)), "copy"));
    EXPECT_OK(ctx);
    ak_close(ctx);
}

Test(recompute, a_module_that_is_kept_in_evaluation_mode_stays_so)
{
    ak_ctx *ctx = quiet(0);
    ak_module *m = mlp_dropout(ctx, BLOCKS);
    ak_module_train(m, false);
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(4, 12)));
    ak_tensor *loss = ak_sum(ak_forward(m, x));
    cr_expect_eq(ak_param_find(ctx, "three/running_mean")->data[0], 0);
    ak_train_mode(ctx, false);          /* the mode of forward counts */
    ak_backward(loss);
    EXPECT_OK(ctx);
    ak_step_end(ctx);
    ak_train_mode(ctx, true);
    ak_module_train(m, true);
    ak_tensor *y = ak_forward(m, x = ak_require_grad(ak_randn(ctx, AK_SHAPE(4, 12))));
    ak_train_mode(ctx, false);
    ak_backward(ak_sum(y));
    EXPECT_OK(ctx);
    cr_expect(!ak_is_training(ctx));
    ak_close(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { DEPTH = 32, WIDTH = 64, ROWS = 512 };

static size_t peak_of_deep(int block, uint32_t *hash, uint64_t *mallocs)
{
    ak_ctx *ctx = quiet(0);
    ak_module *net = ak_nn_sequential(ctx, "deep", NULL);
    for (int i = 0; i < DEPTH; i += block) {
        char name[32];
        snprintf(name, sizeof name, "block%d", i);
        ak_module *body = ak_nn_sequential(ctx, name, NULL);
        for (int j = i; j < i + block; j++) {
            snprintf(name, sizeof name, "layer%d", j);
            ak_module_add(body, ak_nn_linear(ctx, name, WIDTH, WIDTH, (ak_linear_options){ 0 }));
            snprintf(name, sizeof name, "gelu%d", j);
            ak_module_add(body, ak_nn_activation(ctx, name, AK_GELU));
        }
        snprintf(name, sizeof name, "again%d", i);
        ak_module_add(net, block < DEPTH ? ak_nn_recompute(ctx, name, body) : body);
    }
    for (int step = 0; step < 4; step++) {
        ak_tensor *x = ak_full(ctx, AK_SHAPE(ROWS, WIDTH), 0.1);
        for (int64_t i = 0; i < x->size; i++)
            x->data[i] = (ak_real)ak_random_normal(1, 1, (uint64_t)i);
        ak_zero_grad(ctx);
        const uint64_t before = ak_malloc_count();
        ak_backward(ak_mean(ak_square(ak_forward(net, x))));
        cr_expect_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
        *mallocs = ak_malloc_count() - before;
    }
    *hash = 0;
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *w = ak_param_at(ctx, i);
        for (int64_t j = 0; j < w->size; j++) {
            uint32_t bits = 0;
            memcpy(&bits, &w->grad[j], sizeof bits);
            *hash = *hash * 31 + bits;
        }
    }
    const size_t peak = ak_memory_use(ctx).step_peak;
    cr_expect_geq(ak_memory_use(ctx).step_reserved, peak, "what was used is held");
    ak_close(ctx);
    return peak;
}

/* 64 maps in one piece; with 4 blocks of 8 layers 4 of them, and 16 while a block runs: 20. */
Test(recompute, a_deep_net_in_blocks_takes_less_than_half_the_memory)
{
    uint32_t plain_hash, hash;
    uint64_t mallocs;
    const size_t plain = peak_of_deep(DEPTH, &plain_hash, &mallocs);
    for (int block = 4; block <= 8; block *= 2) {
        const size_t peak = peak_of_deep(block, &hash, &mallocs);
        cr_expect_lt((double)peak, 0.45 * (double)plain, "%zu of %zu bytes", peak, plain);
        cr_expect_eq(hash, plain_hash, "gradients have the same bits");
        cr_expect_eq(mallocs, 0, "the fourth step asks the system for nothing");
    }
}

Test(recompute, values_given_back_around_a_segment_are_made_again)
{
    outcome o[2] = { 0 };
    for (int again = 0; again < 2; again++) {
        ak_ctx *ctx = quiet(0);
        ak_module *norm = ak_nn_batch_norm(ctx, "norm", 32, (ak_batch_norm_options){ 0 });
        ak_module *fc = ak_nn_linear(ctx, "fc", 32, 32, (ak_linear_options){ 0 });
        ak_module *m = again ? ak_nn_recompute(ctx, "r", fc) : fc;
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(256, 32));            /* large enough to be given */
        ak_tensor *y = ak_forward(norm, x), *z = ak_forward(m, y);
        ak_done_with(y, true);
        ak_tensor *l = ak_mean(ak_square(ak_relu(z)));
        ak_done_with(z, false);
        ak_backward(l);
        EXPECT_OK(ctx);
        o[again].loss = ak_item(l);
        keep(&o[again], ak_param_find(ctx, "norm/weight"));
        keep(&o[again], ak_param_find(ctx, "fc/bias"));
        ak_step_end(ctx);
        ak_close(ctx);
    }
    cr_expect_eq(o[0].loss, o[1].loss);
    cr_expect_arr_eq(o[0].grads, o[1].grads, sizeof o[0].grads);
}

/* ---- what is not the same the second time ---------------------------------------------------- */

static ak_tensor *leak;
static int runs;

typedef enum fault {
    CHANGED_FUNCTION, DRAWS_MORE, LEAKS, COPIES, WALKS, ENDS, ZEROES, GIVES_NULL, NO_END,
    FAILS_LATER, ANOTHER_SHAPE, NO_FAULT
} fault;

static ak_tensor *faulty(ak_tensor *const *in, int n, void *user)
{
    const fault f = *(fault *)user;
    ak_ctx *ctx = in[0]->ctx;
    (void)n;
    runs++;
    ak_tensor *y = ak_square(in[0]);
    switch (f) {
    case CHANGED_FUNCTION:  return ak_scale(y, runs);
    case DRAWS_MORE:        y = ak_dropout(y, 0.5);
                            return runs > 1 ? ak_dropout(y, 1e-9) : y;
    case LEAKS:             leak = y; return ak_scale(y, 1);
    case COPIES:            ak_copy(ak_param_find(ctx, "state"), y); return y;
    case WALKS:             ak_backward(ak_sum(y)); return y;
    case ENDS:              ak_step_end(ctx); return y;
    case ZEROES:            ak_zero_grad(ctx); return y;
    case GIVES_NULL:        return NULL;
    case NO_END:            ak_no_grad_begin(ctx); return y;
    case FAILS_LATER:       return runs > 1 ? ak_matmul(y, y) : y;
    case ANOTHER_SHAPE:     return runs > 1 ? ak_rows(y, 0, 1) : y;
    case NO_FAULT:          break;
    }
    return y;
}

Test(recompute, what_can_not_be_repeated_is_refused)
{
    static const struct { fault f; ak_status status; const char *text; bool late; } cases[] = {
        { CHANGED_FUNCTION, AK_ERR_STATE, "gives other numbers", true },
        { DRAWS_MORE, AK_ERR_STATE, "streams of random numbers", true },
        { LEAKS, AK_ERR_STALE, "backward runs again", false },
        { COPIES, AK_ERR_STATE, "ak_copy: changes \"state\"", false },
        { WALKS, AK_ERR_STATE, "ak_backward: called inside of", false },
        { ENDS, AK_ERR_STATE, "ak_step_end: called inside of", false },
        { ZEROES, AK_ERR_STATE, "ak_zero_grad: called inside of", false },
        { GIVES_NULL, AK_ERR_VALUE, "returned NULL", false },
        { NO_END, AK_ERR_STATE, "ak_no_grad_begin", false },
        { FAILS_LATER, AK_ERR_SHAPE, "matmul", true },
        { ANOTHER_SHAPE, AK_ERR_STATE, "another size", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_ctx *ctx = quiet(0);
        fault f = cases[i].f;
        ak_tensor *w = random_param(ctx, "w", AK_SHAPE(2, 3)), *other;
        ak_buffer(ctx, "state", AK_SHAPE(2, 3));
        other = random_param(ctx, "other", AK_SHAPE(2, 3));
        ak_backward(ak_sum(ak_mul(w, other)));          /* gradients that must stay */
        ak_real before[12];
        memcpy(before, w->grad, 6 * sizeof *before);
        memcpy(before + 6, other->grad, 6 * sizeof *before);
        runs = 0;
        ak_tensor *y = ak_recompute(ctx, faulty, &f, &w, 1);
        if (cases[i].late)
            EXPECT_OK(ctx);
        if (f == LEAKS)
            y = ak_mul(y, leak);
        ak_backward(ak_sum(ak_mul(ak_square(y), other)));
        EXPECT_ERROR(ctx, cases[i].status, cases[i].text);
        cr_expect_arr_eq(w->grad, before, 6 * sizeof *before, "case %zu", i);
        cr_expect_arr_eq(other->grad, before + 6, 6 * sizeof *before, "case %zu", i);
        ak_step_end(ctx);
        f = NO_FAULT;                                   /* the context goes on */
        ak_zero_grad(ctx);
        ak_backward(ak_sum(ak_recompute(ctx, faulty, &f, &w, 1)));
        EXPECT_OK(ctx);
        cr_expect_float_eq((double)w->grad[0], 2 * (double)w->data[0], 1e-6);
        ak_close(ctx);
    }
}

/* Everything that goes from step to step, and would move in both runs. */
typedef struct kept_objects {
    ak_queue *queue;
    ak_bank *bank;
    ak_sample_state *state;
    ak_momentum *momentum;
    ak_module *prototypes;
    ak_loader *loader;
    ak_optim *optim;
    int call;
} kept_objects;
enum { CALLS = 13 };

static ak_tensor *moves_what_is_kept(ak_tensor *const *in, int n, void *user)
{
    const kept_objects *k = user;
    ak_ctx *ctx = in[0]->ctx;
    ak_tensor *rows = ak_detach(ak_square(in[0])), *numbers = ak_zeros(ctx, AK_SHAPE(2));
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 0, 1 });
    ak_batch b;
    (void)n;
    switch (k->call) {
    case 0: ak_queue_push(k->queue, rows, (ak_queue_push_options){ 0 }); break;
    case 1: ak_bank_update(k->bank, ids, rows); break;
    case 2: ak_bank_set_labels(k->bank, ids, ids); break;
    case 3: ak_sample_state_update(k->state, ids, numbers); break;
    case 4: ak_sample_state_write(k->state, ids, numbers); break;
    case 5: ak_momentum_update(k->momentum); break;
    case 6: ak_prototypes_step(k->prototypes, 0); break;
    case 7: ak_ema_update(ctx, "teacher/*", "student/*", 0.5); break;
    case 8: ak_freeze(ctx, "w", true); break;
    case 9: ak_loader_next(k->loader, &b); break;
    case 10: ak_loader_endless(k->loader, &b); break;
    case 11: ak_optim_step(k->optim); break;
    case 12: ak_clip_grad_value(k->optim, 1); break;
    }
    return ak_square(in[0]);
}

Test(recompute, what_goes_from_step_to_step_does_not_move_in_a_segment)
{
    for (int call = 0; call < CALLS; call++) {
        ak_ctx *ctx = quiet(0);
        ak_tensor *w = random_param(ctx, "w", AK_SHAPE(2, 3));
        ak_module *student = ak_nn_linear(ctx, "student", 3, 3, (ak_linear_options){ 0 });
        kept_objects k = {
            .queue = ak_queue_make(ctx, "q", 8, 3, (ak_queue_options){ 0 }),
            .bank = ak_bank_make(ctx, "b", 4, 3, (ak_bank_options){ .labels = true }),
            .state = ak_sample_state_make(ctx, "s", 4, (ak_sample_state_options){ 0 }),
            .momentum = ak_momentum_encoder(student, "teacher", (ak_momentum_options){ 0 }),
            .prototypes = ak_prototypes(ctx, "p", 3, (ak_prototypes_options){ .sets = { 4 } }),
            .loader = ak_loader_open(ak_dataset_drawn(ctx, 3, 0, 64),
                                     (ak_loader_options){ .batch = 16 }),
            .optim = ak_sgd(ctx, "*", (ak_sgd_options){ .lr = 0.1 }), .call = call };
        EXPECT_OK(ctx);
        for (int i = 0; i < 6; i++)
            w->grad[i] = 3;
        const uint32_t hash = ak_hash(ctx, "*");
        ak_recompute(ctx, moves_what_is_kept, &k, &w, 1);
        EXPECT_ERROR(ctx, AK_ERR_STATE, "inside of ak_recompute, which backward runs a second");
        ak_step_end(ctx);
        ak_index *first = ak_index_from(ctx, AK_SHAPE(1), (int32_t[]){ 0 });
        cr_expect_eq(ak_hash(ctx, "*"), hash, "call %d", call);
        cr_expect_eq(ak_queue_tell(k.queue).held, 0);
        cr_expect_eq(ak_bank_tell(k.bank).held, 0);
        cr_expect_eq(ak_sample_state_visits(k.state, first)->data[0], 0);
        cr_expect_eq(ak_momentum_updates(k.momentum), 0);
        cr_expect_eq(ak_loader_tell(k.loader).batch, 0);
        cr_expect_eq(w->grad[0], 3);
        cr_expect(w->needs_grad);
        ak_step_end(ctx);
        ak_close(ctx);
    }
}

Test(recompute, operands_that_changed_are_found)
{
    for (int way_ = 0; way_ < 3; way_++) {
        ak_ctx *ctx = quiet(0);
        fault f = NO_FAULT;
        ak_tensor *w = random_param(ctx, "w", AK_SHAPE(2, 3));
        ak_tensor *loss = ak_sum(ak_recompute(ctx, faulty, &f, &w, 1));
        if (way_ == 0)
            ak_fill(w, 1);
        else
            w->data[0] += 1;
        if (way_ == 1)
            ak_touch(w);
        ak_backward(loss);
        EXPECT_ERROR(ctx, AK_ERR_STATE, way_ == 0 ? "was changed by ak_fill" : way_ == 1
                     ? "was changed by the program" : "gives other numbers");
        cr_expect_eq(w->grad[0], 0);
        ak_close(ctx);
    }
}

Test(recompute, missing_arguments)
{
    ak_ctx *ctx = quiet(0);
    ak_tensor *w = random_param(ctx, "w", AK_SHAPE(2));
    cr_expect(ak_is_poison(ak_recompute(NULL, hands_through, NULL, &w, 1)));
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "ctx is missing");
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_recompute(ctx, NULL, NULL, &w, 1)));
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "fn is missing");
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_recompute(ctx, hands_through, NULL, NULL, 1)));
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "in is missing");
    ak_step_end(ctx);
    cr_expect(ak_is_poison(ak_recompute(ctx, hands_through, NULL, &w, -1)));
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "-1 operands");
    ak_step_end(ctx);
    cr_expect_null(ak_nn_recompute(ctx, "r", NULL));
    EXPECT_ERROR(ctx, AK_ERR_VALUE, "body is missing");
    ak_step_end(ctx);
    ak_module *m = mlp_dropout(ctx, WHOLE);
    int state = 0;
    ak_forward_with(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(2, 12)), .state = &state });
    EXPECT_ERROR(ctx, AK_ERR_VALUE, ".state");
    ak_close(ctx);
}

/* Every allocation of a step fails once: no gradient changes, and the next step is right. */
Test(recompute, memory_that_runs_out_changes_no_gradient)
{
    bool done = false;
    for (uint64_t n = 1; !done && n < 60; n++) {
        ak_ctx *ctx = quiet(0);
        ak_module *m = mlp_dropout(ctx, NESTED);
        ak_fail_alloc_after(n, false);
        ak_tensor *x = ak_zeros(ctx, AK_SHAPE(4000, 12));
        ak_backward(ak_mean(ak_square(ak_add_scalar(ak_forward(m, x), 1))));
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
        ak_backward(ak_mean(ak_forward(m, ak_zeros(ctx, AK_SHAPE(4, 12)))));
        EXPECT_OK(ctx);
        ak_close(ctx);
    }
    cr_expect(done, "a step that has all its memory works");
}
