/* SPDX-License-Identifier: Apache-2.0 */
/* Transformers as they are used: positions one after the other against all at once, prefixes,
 * relative positions, names, pooling, pictures of other sizes, generation; what is refused. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/optim.h>
#include <akin/transformer.h>

#include <math.h>
#include <string.h>

#define NEAR (sizeof(ak_real) == 8 ? 1e-12 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_near(const ak_real *got, const ak_real *want, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        cr_expect_float_eq((double)got[i], (double)want[i], NEAR, "%s: %g, not %g at %lld", what,
                           (double)got[i], (double)want[i], (long long)i);
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *text)
{
    cr_expect_eq(ak_error(ctx), status, "%s: %s", text, ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), text) != NULL, "no \"%s\" in: %s", text,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

static ak_index *index_of(ak_ctx *ctx, int64_t n, const int32_t *values)
{
    return ak_index_from(ctx, AK_SHAPE(n), values);
}

#define LARGE_START .weight = { .kind = AK_INIT_NORMAL, .scale = 0.3 }

/* ---- positions one after the other ----------------------------------------------------------- */

enum { N = 3, T = 7, C = 8, S = 4 };

/* Rows start with 3, 1 and 2 positions, padded to 3, and grow by 2, then one by one. */
static void expect_same_in_parts(ak_ctx *ctx, ak_module *m, const ak_tensor *x, ak_tensor *memory,
                                 const ak_tensor *whole, const char *what)
{
    const int32_t starts[N] = { 3, 1, 2 }, two[N] = { 2, 2, 2 };
    int32_t at[N] = { 0 };
    ak_decoding *seen = ak_decoding_open(ctx, N, T);
    ak_no_grad_begin(ctx);
    for (int call = 0; call < 4; call++) {
        const int64_t width = call == 0 ? 3 : call == 1 ? 2 : 1;
        ak_tensor *part = ak_zeros(ctx, AK_SHAPE(N, width, C));
        for (int64_t n = 0; n < N; n++)
            for (int64_t t = 0; t < width; t++)
                for (int64_t c = 0; c < C && at[n] + t < T; c++)
                    part->data[(n * width + t) * C + c] = x->data[(n * T + at[n] + t) * C + c];
        ak_inputs in = { .x = part, .memory = memory, .state = seen,
                         .lengths = call == 0 ? index_of(ctx, N, starts) : NULL };
        const ak_tensor *y = ak_forward_with(m, in);
        cr_assert_not(ak_is_poison(y), "%s: %s", what, ak_error_message(ctx));
        for (int64_t n = 0; n < N; n++) {
            const int64_t count = call == 0 ? starts[n] : call == 1 ? two[n] : 1;
            for (int64_t t = 0; t < count; t++)
                expect_near(y->data + (n * width + t) * C,
                            whole->data + (n * T + at[n] + t) * C, C, what);
            at[n] += (int32_t)count;
        }
    }
    /* Row 0 is full now. */
    ak_inputs more = { .x = ak_zeros(ctx, AK_SHAPE(N, 1, C)), .memory = memory, .state = seen };
    ak_forward_with(m, more);
    expect_error(ctx, AK_ERR_VALUE, "row 0 has 7 positions in .state, which has room for 7");
    ak_no_grad_end(ctx);
    ak_decoding_close(seen);
}

Test(decoding, positions_one_after_the_other_are_those_of_one_pass)
{
    static const struct { const char *what; ak_block_options o; } blocks[] = {
        { "joint", { .heads = 2, .causal = true, .names = AK_NAMES_GPT2, LARGE_START } },
        { "own", { .heads = 2, .causal = true, .activation = AK_GELU, LARGE_START } },
        { "rotary", { .heads = 2, .causal = true, .rotary = { .on = true }, .gated = true,
                      .names = AK_NAMES_CLIP, LARGE_START } },
        { "memory", { .heads = 2, .causal = true, .cross = true, .memory_width = 5,
                      .names = AK_NAMES_T5, LARGE_START } },
    };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        ak_ctx *ctx = quiet();
        ak_train_mode(ctx, false);
        ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
        ak_nn_positions(ctx, "learned", T, C);
        ak_nn_sinusoidal(ctx, "sines", C);
        ak_transformer_stack(ctx, "stack", (ak_stack_options){ .width = C, .layers = 2,
                                                               .block = blocks[i].o });
        net = ak_module_end(net);
        cr_assert_not_null(net, "%s", ak_error_message(ctx));
        ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(N, T, C)));
        ak_tensor *memory = blocks[i].o.cross ? ak_keep(ak_randn(ctx, AK_SHAPE(N, S, 5))) : NULL;
        const ak_tensor *whole = ak_keep(ak_forward_with(net, (ak_inputs){ .x = x,
                                                                          .memory = memory }));
        ak_step_end(ctx);
        expect_same_in_parts(ctx, net, x, memory, whole, blocks[i].what);
        ak_close(ctx);
    }
}

Test(decoding, encoder_runs_once)
{
    ak_ctx *ctx = quiet();
    const ak_block_options b = { .heads = 2, LARGE_START };
    ak_module *m = ak_transformer(ctx, "m", (ak_transformer_options){
        { .width = 6, .layers = 1, .block = b }, { .width = C, .layers = 2, .block = b } });
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(N, T, C)));
    ak_tensor *memory = ak_keep(ak_randn(ctx, AK_SHAPE(N, S, 6)));
    const ak_tensor *whole = ak_keep(ak_forward_with(m, (ak_inputs){ .x = x, .memory = memory }));
    expect_same_in_parts(ctx, m, x, memory, whole, "encoder and decoder");
    ak_close(ctx);
}

/* T5's bias moves with the positions. */
Test(decoding, relative_bias_of_later_positions)
{
    ak_ctx *ctx = quiet();
    ak_module *bias = ak_nn_relative_bias(ctx, "bias", (ak_relative_layer_options){
        .heads = 2, .buckets = 8, .max_distance = 6, .one_sided = true });
    ak_init_fill(ak_module_param(bias, 0), (ak_init){ AK_INIT_NORMAL, .scale = 1 });
    ak_module *m = ak_nn_attention(ctx, "m", C, (ak_attention_layer_options){
        .heads = 2, .causal = true, .scale = 1, .names = AK_NAMES_T5, LARGE_START });
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(N, T, C));
    const ak_tensor *whole = ak_forward_with(m, (ak_inputs){
        .x = x, .bias = ak_forward(bias, x) });
    ak_decoding *seen = ak_decoding_open(ctx, N, T + 2);
    ak_no_grad_begin(ctx);
    for (int64_t t = 0; t < T; t++) {
        ak_tensor *one = ak_slice(x, 1, t, 1);
        ak_tensor *b = ak_forward_with(bias, (ak_inputs){ .x = one, .state = seen });
        const ak_tensor *y = ak_forward_with(m, (ak_inputs){ .x = one, .bias = b,
                                                             .state = seen });
        for (int64_t n = 0; n < N; n++)
            expect_near(y->data + n * C, whole->data + (n * T + t) * C, C, "relative bias");
    }
    ak_no_grad_end(ctx);
    ak_decoding_close(seen);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(decoding, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_attention(ctx, "m", C, (ak_attention_layer_options){ .heads = 2,
                                                                             .causal = true });
    ak_module *open = ak_nn_attention(ctx, "open", C, (ak_attention_layer_options){ .heads = 2 });
    ak_decoding *seen = ak_decoding_open(ctx, N, T);
    ak_forward_with(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(N, 1, C)), .state = seen });
    expect_error(ctx, AK_ERR_STATE, "m: input .state, while gradients are recorded");
    ak_no_grad_begin(ctx);
    ak_forward_with(open, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(N, 1, C)), .state = seen });
    expect_error(ctx, AK_ERR_VALUE, "open: input .state, but the module is not causal");
    ak_forward_with(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(2, 1, C)), .state = seen });
    expect_error(ctx, AK_ERR_SHAPE, "m: is handed 2 rows, but .state is of 3");
    ak_forward_with(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(N, 1, C)), .state = seen,
                                    .lengths = index_of(ctx, N, (int32_t[]){ 1, 2, 0 }) });
    expect_error(ctx, AK_ERR_VALUE, "m: input .lengths[1] = 2 is not in [0, 1]");
    ak_decoding_close(seen);
    ak_forward_with(m, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(N, 1, C)), .state = seen });
    expect_error(ctx, AK_ERR_STATE, "m: input .state is no open ak_decoding");
    ak_no_grad_end(ctx);
    cr_expect_null(ak_decoding_open(ctx, 0, 3));
    expect_error(ctx, AK_ERR_VALUE, "ak_decoding_open: 0 rows of 3 positions");
    ak_decoding_close(NULL);
    ak_close(ctx);
}

/* ---- masks ----------------------------------------------------------------------------------- */

/* Which positions of the input does position t of the output depend on? */
static bool depends(ak_ctx *ctx, ak_module *m, const ak_inputs *in, int64_t t, int64_t on)
{
    ak_tensor *x = ak_require_grad(ak_scale(in->x, 1));
    x = ak_require_grad(ak_from(ctx, in->x->shape, x->data));
    ak_inputs own = *in;
    own.x = x;
    ak_tensor *y = ak_forward_with(m, own);
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    cr_assert_eq(ak_backward(ak_sum(ak_square(ak_slice(y, 1, t, 1)))), AK_OK);
    for (int64_t c = 0; c < C; c++)
        if (x->grad[on * C + c] != 0)
            return true;
    return false;
}

Test(masks, causal_and_prefix)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_attention(ctx, "m", C, (ak_attention_layer_options){
        .heads = 2, .causal = true, LARGE_START });
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(1, T, C)));
    for (int32_t prefix = 0; prefix <= T; prefix += 3)
        for (int64_t t = 0; t < T; t++)
            for (int64_t on = 0; on < T; on++) {
                const ak_inputs in = { .x = x, .prefix = index_of(ctx, 1, &prefix) };
                cr_expect_eq(depends(ctx, m, &in, t, on), on <= t || on < prefix,
                             "prefix %d: %d on %d", prefix, (int)t, (int)on);
                ak_step_end(ctx);
            }
    ak_module *open = ak_nn_attention(ctx, "open", C, (ak_attention_layer_options){ .heads = 2 });
    ak_forward_with(open, (ak_inputs){ .x = x, .prefix = index_of(ctx, 1, (int32_t[]){ 2 }) });
    expect_error(ctx, AK_ERR_VALUE, ".prefix says what a causal query sees, but "
                 ".causal is not set");
    ak_close(ctx);
}

/* The table of T5 learns: its gradient through ak_attention is that of softmax by parts. */
Test(masks, bias_has_a_gradient)
{
    ak_ctx *ctx = quiet();
    enum { H = 2, D = C / H };
    ak_tensor *table = ak_param(ctx, "table", AK_SHAPE(8, H), 0);
    ak_init_fill(table, (ak_init){ AK_INIT_NORMAL, .scale = 1 });
    ak_tensor *q = ak_keep(ak_randn(ctx, AK_SHAPE(N, H, T, D)));
    ak_real one[8 * H];
    for (int way = 0; way < 2; way++) {
        ak_tensor *bias = ak_relative_bias(table, T, T, (ak_relative_options){ .max_distance = 6 });
        ak_tensor *scores = ak_add(ak_scale(ak_matmul_nt(q, q), 1 / sqrt(D)), bias);
        ak_tensor *y = way ? ak_matmul(ak_softmax(scores), q)
                           : ak_attention(q, q, q, (ak_attention_options){ .bias = bias });
        cr_assert_eq(ak_backward(ak_sum(ak_square(y))), AK_OK, "%s", ak_error_message(ctx));
        if (way)
            expect_near(table->grad, one, 8 * H, "table");
        memcpy(one, table->grad, sizeof one);
        ak_zero_grad(ctx);
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

Test(masks, buckets_of_t5)
{
    /* transformers' T5Attention._relative_position_bucket, 32 buckets, 128 */
    static const int far[] = { 0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91,
                               127, 128, 500 };
    static const int two[] = { 0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15,
                               15, 15, 15 };
    static const int back[] = { 0, 1, 7, 8, 11, 12, 15, 16, 18, 18, 21, 21, 23, 24, 26, 26, 29, 29,
                                31, 31, 31 };
    ak_ctx *ctx = quiet();
    ak_tensor *table = ak_zeros(ctx, AK_SHAPE(32, 1));
    for (int b = 0; b < 32; b++)
        table->data[b] = (ak_real)b;
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        const int64_t d = far[i];
        const ak_tensor *y = ak_relative_bias(table, d + 1, d + 1, (ak_relative_options){ 0 });
        cr_expect_eq((int)y->data[d * (d + 1)], two[i], "%d back", far[i]);
        cr_expect_eq((int)y->data[d], d ? two[i] + 16 : 0, "%d on", far[i]);
        y = ak_relative_bias(table, d + 1, d + 1, (ak_relative_options){ .one_sided = true });
        cr_expect_eq((int)y->data[d * (d + 1)], back[i], "%d back, one-sided", far[i]);
        cr_expect_eq((int)y->data[d], 0);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Dropped probabilities: the mean over many masks is the undropped result; the mask is drawn
 * anew. */
Test(masks, dropped_probabilities)
{
    ak_ctx *ctx = quiet();
    ak_tensor *qkv = ak_keep(ak_randn(ctx, AK_SHAPE(1, 5, 12)));
    const ak_attention_options o = { .heads = 2, .dropout = 0.3 }, none = { .heads = 2 };
    const ak_tensor *want = ak_keep(ak_attention_qkv(qkv, none));
    double sum[20] = { 0 };
    ak_real last[20] = { 0 };
    for (int draw = 0; draw < 4000; draw++) {
        const ak_tensor *y = ak_attention_qkv(qkv, o);
        cr_expect(memcmp(last, y->data, sizeof last) != 0);
        memcpy(last, y->data, sizeof last);
        for (int i = 0; i < 20; i++)
            sum[i] += (double)y->data[i];
        ak_step_end(ctx);
    }
    for (int i = 0; i < 20; i++)
        cr_expect_float_eq(sum[i] / 4000, (double)want->data[i], 0.05);
    ak_train_mode(ctx, false);
    cr_expect(memcmp(ak_attention_qkv(qkv, o)->data, want->data, sizeof last) == 0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- options --------------------------------------------------------------------------------- */

#define REFUSED(text, ...)                                                                         \
    do {                                                                                           \
        char name[32];                                                                             \
        snprintf(name, sizeof name, "refused%d", number++);                                        \
        cr_expect_null(__VA_ARGS__);                                                               \
        expect_error(ctx, AK_ERR_VALUE, text);                                                     \
    } while (0)
#define ATTENTION(...) ak_nn_attention(ctx, name, 8, (ak_attention_layer_options){ __VA_ARGS__ })
#define BLOCK(...) ak_nn_transformer_block(ctx, name, 8, (ak_block_options){ __VA_ARGS__ })

Test(options, what_is_refused)
{
    ak_ctx *ctx = quiet();
    int number = 0;
    REFUSED("0 heads", ATTENTION(.heads = 0));
    REFUSED("the heads divide the width", ATTENTION(.heads = 3));
    REFUSED(".dropout 1", ATTENTION(.heads = 2, .dropout = 1));
    REFUSED(".scale -1", ATTENTION(.heads = 2, .scale = -1));
    REFUSED("neither .causal nor .rotary", ATTENTION(.heads = 2, .cross = true, .causal = true));
    REFUSED(".memory_width 4 without .cross", ATTENTION(.heads = 2, .memory_width = 4));
    REFUSED("unknown names 9", ATTENTION(.heads = 2, .names = (ak_part_names)9));
    REFUSED("turns 3 of 4", ATTENTION(.heads = 2, .rotary = { .on = true, .width = 3 }));
    REFUSED(".activation 40", BLOCK(.heads = 2, .activation = (ak_activation)40));
    REFUSED(".gated has", BLOCK(.heads = 2, .activation = AK_TANH, .gated = true));
    REFUSED(".drop_path 1", BLOCK(.heads = 2, .drop_path = 1));
    REFUSED(".hidden_dropout -0.5", BLOCK(.heads = 2, .hidden_dropout = -0.5));
    REFUSED(".layer_scale -1", BLOCK(.heads = 2, .layer_scale = -1));
    REFUSED(".memory_width 3 is 0 without", BLOCK(.heads = 2, .memory_width = 3));
    REFUSED(".layers 0", ak_transformer_stack(ctx, name, (ak_stack_options){
        .width = 8, .block = { .heads = 2 } }));
    REFUSED(".cross_every 2", ak_transformer_stack(ctx, name, (ak_stack_options){
        .width = 8, .layers = 1, .cross_every = 2, .block = { .heads = 2 } }));
    REFUSED("the encoder has neither", ak_transformer(ctx, name, (ak_transformer_options){
        { .width = 8, .layers = 1, .block = { .heads = 2, .causal = true } },
        { .width = 8, .layers = 1, .block = { .heads = 2 } } }));
    REFUSED("must be even", ak_nn_sinusoidal(ctx, name, 7));
    REFUSED("number of positions must be at least 1", ak_nn_positions(ctx, name, 0, 8));
    REFUSED(".buckets 3", ak_nn_relative_bias(ctx, name, (ak_relative_layer_options){
        .heads = 1, .buckets = 3 }));
    REFUSED("do not divide into patches", ak_vit(ctx, name, (ak_vit_options){ .image = 30 }));
    REFUSED("AK_VIT_MEAN where", ak_vit(ctx, name, (ak_vit_options){ .no_class_token = true,
                                                                    .classes = 2 }));
    REFUSED(".patch_dropout 1", ak_vit(ctx, name, (ak_vit_options){ .patch_dropout = 1 }));
    REFUSED(".vocab 0", ak_bert(ctx, name, (ak_bert_options){ 0 }));
    REFUSED(".padding 9", ak_bert(ctx, name, (ak_bert_options){ .vocab = 9, .padding = 9 }));
    REFUSED(".vocab -1", ak_gpt(ctx, name, (ak_gpt_options){ .vocab = -1 }));
    REFUSED(".queries must", ak_nn_attention_pool(ctx, name, 8, (ak_attention_pool_options){
        .heads = 2, .queries = -1 }));
    ak_close(ctx);
}

/* ---- pooling --------------------------------------------------------------------------------- */

Test(pooling, of_what_counts)
{
    ak_ctx *ctx = quiet();
    /* [2, 3, 1]: rows 1 2 NaN and 7 5 6 */
    ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 3, 1), (ak_real[]){ 1, 2, (ak_real)NAN, 7, 5, 6 });
    ak_index *lengths = index_of(ctx, 2, (int32_t[]){ 2, 3 });
    ak_index *mask = ak_index_from(ctx, AK_SHAPE(2, 3), (int32_t[]){ 0, 1, 0, 1, 1, 0 });
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2, 3), (int32_t[]){ 4, 9, 9, 1, 1, 9 });
#define EXPECT(y, a, b)                                                                            \
    do {                                                                                           \
        const ak_tensor *z = (y);                                                                  \
        cr_assert(ak_shape_equal(z->shape, AK_SHAPE(2, 1)), "%s", ak_error_message(ctx));          \
        cr_expect_eq((double)z->data[0], (double)(a));                                             \
        cr_expect_eq((double)z->data[1], (double)(b));                                             \
    } while (0)
    EXPECT(ak_pool_first(x), 1, 7);
    EXPECT(ak_pool_mean(x, lengths, NULL), 1.5, 6);
    EXPECT(ak_pool_mean(x, NULL, mask), 2, 6);
    EXPECT(ak_pool_max(x, lengths, NULL), 2, 7);
    EXPECT(ak_pool_last(x, lengths, NULL), 2, 6);
    EXPECT(ak_pool_last(x, NULL, mask), 2, 5);
    EXPECT(ak_pool_last(x, lengths, mask), 2, 5);
    EXPECT(ak_pool_at(x, ids, 9), 2, 6);

    /* Gradients go to what was taken, and nothing to padding. */
    ak_tensor *leaf = ak_require_grad(ak_from(ctx, x->shape, (ak_real[]){ 1, 2, 3, 7, 5, 6 }));
    ak_backward(ak_sum(ak_pool_mean(leaf, lengths, mask)));
    static const double want[] = { 0, 1, 0, 0.5, 0.5, 0 };
    for (int i = 0; i < 6; i++)
        cr_expect_eq((double)leaf->grad[i], want[i]);

    ak_pool_at(x, ids, 4);
    expect_error(ctx, AK_ERR_VALUE, "ak_pool_at: row 1 has no token 4");
    x = ak_zeros(ctx, AK_SHAPE(2, 3, 1));
    ak_pool_mean(x, index_of(ctx, 2, (int32_t[]){ 3, 0 }), NULL);
    expect_error(ctx, AK_ERR_VALUE, "ak_pool_mean: no position of row 1 counts");
    x = ak_zeros(ctx, AK_SHAPE(2, 3, 1));
    ak_pool_max(x, index_of(ctx, 2, (int32_t[]){ 3, 4 }), NULL);
    expect_error(ctx, AK_ERR_VALUE, "ak_pool_max: lengths[1] = 4 is not in [0, 4)");
    x = ak_zeros(ctx, AK_SHAPE(2, 3));
    ak_pool_first(x);
    expect_error(ctx, AK_ERR_SHAPE, "ak_pool_first: expected [N, T, C]");
    ak_close(ctx);
}

/* A row's vector depends neither on its batch nor on how far it is padded: to the last bit. */
Test(pooling, same_bits_in_any_company)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(1, 300, 5));
    ak_tensor *wide = ak_concat(1, x, ak_full(ctx, AK_SHAPE(1, 40, 5), 1e30));
    wide = ak_concat(0, ak_full(ctx, AK_SHAPE(1, 340, 5), -1e30), wide);
    ak_index *lengths = index_of(ctx, 2, (int32_t[]){ 340, 300 });
    const ak_tensor *alone = ak_pool_mean(x, NULL, NULL);
    const ak_tensor *among = ak_pool_mean(wide, lengths, NULL);
    cr_expect(memcmp(alone->data, among->data + 5, 5 * sizeof(ak_real)) == 0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- pictures of other sizes ----------------------------------------------------------------- */

static ak_module *small_vit(ak_ctx *ctx, const char *name)
{
    return ak_vit(ctx, name, (ak_vit_options){ .image = 8, .image_columns = 12, .patch = 4,
                                               .width = 12, .layers = 1, .heads = 3 });
}

Test(vit, positions_for_other_pictures)
{
    ak_ctx *ctx = quiet();
    ak_train_mode(ctx, false);
    ak_module *net = small_vit(ctx, "net");
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    static const int64_t sizes[][2] = { { 8, 12 }, { 12, 8 }, { 4, 4 }, { 20, 8 }, { 40, 44 } };
    for (int i = 0; i < 5; i++) {
        const int64_t H = sizes[i][0], W = sizes[i][1];
        ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, H, W, 3)));
        ak_tensor *y = ak_forward(net, x);
        cr_expect(ak_shape_equal(y->shape, AK_SHAPE(2, 1 + H * W / 16, 12)), "%s",
                  ak_error_message(ctx));
        cr_expect_eq(ak_backward(ak_mean(ak_square(y))), AK_OK, "%s", ak_error_message(ctx));
        ak_step_end(ctx);
    }
    ak_forward(net, ak_zeros(ctx, AK_SHAPE(1, 8, 10, 3)));
    expect_error(ctx, AK_ERR_SHAPE, "H and W multiples of 4");

    /* Twice the grid: positions between two are their mixtures, the class token's stays. A net that
     * is made for that size and given these positions agrees. */
    ak_module *large = ak_vit(ctx, "large", (ak_vit_options){
        .image = 16, .image_columns = 24, .patch = 4, .width = 12, .layers = 1, .heads = 3 });
    ak_tensor *t, *small = ak_module_find(net, "pos_embed");
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
        if (t != small)
            ak_copy(ak_module_param(large, i), t);
    ak_tensor *grid = ak_reshape(ak_rows(ak_reshape(small, AK_SHAPE(7, 12)), 1, 6),
                                 AK_SHAPE(1, 2, 3, 12));
    ak_tensor *resized = ak_reshape(ak_resize_bilinear(grid, 4, 6), AK_SHAPE(24, 12));
    resized = ak_concat(0, ak_rows(ak_reshape(small, AK_SHAPE(7, 12)), 0, 1), resized);
    ak_copy(ak_module_find(large, "pos_embed"), resized);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 16, 24, 3));
    const ak_tensor *one = ak_forward(net, x), *other = ak_forward(large, x);
    cr_expect_eq(memcmp(one->data, other->data, (size_t)one->size * sizeof *one->data), 0);
    ak_close(ctx);
}

Test(vit, pooling_patches_and_presets)
{
    ak_ctx *ctx = quiet();
    ak_tensor *y = ak_from(ctx, AK_SHAPE(1, 3, 2), (ak_real[]){ 1, 2, 3, 4, 5, 8 });
    const ak_tensor *both = ak_vit_pool(y, AK_VIT_BOTH, 1);
    static const double want[] = { 1, 2, 4, 6 };
    for (int i = 0; i < 4; i++)
        cr_expect_eq((double)both->data[i], want[i]);
    cr_expect_eq((double)ak_vit_pool(y, AK_VIT_MEAN, 0)->data[0], 3.0);
    ak_vit_pool(y, AK_VIT_CLASS, 0);
    expect_error(ctx, AK_ERR_VALUE, "a class token for AK_VIT_CLASS");
    /* timm's counts without the head: vit_tiny, small and base _patch16_224 */
    static const int64_t sizes[] = { 5524416, 21665664 };
    cr_expect_eq(ak_module_size(ak_vit(ctx, "tiny", ak_vit_tiny())), sizes[0]);
    cr_expect_eq(ak_module_size(ak_vit(ctx, "small", ak_vit_small())), sizes[1]);
    cr_expect_eq(ak_vit_base().width, 768);
    ak_close(ctx);
}

/* A picture goes without half of its patches, each time without others; evaluation keeps all. */
Test(vit, patch_dropout_and_drop_path)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_vit(ctx, "net", (ak_vit_options){
        .image = 16, .patch = 4, .width = 8, .layers = 2, .heads = 2, .patch_dropout = 0.75,
        .drop_path = 0.5 });
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(3, 16, 16, 3)));
    const ak_tensor *a = ak_keep(ak_forward(net, x)), *b = ak_forward(net, x);
    cr_expect(ak_shape_equal(a->shape, AK_SHAPE(3, 5, 8)));
    cr_expect(memcmp(a->data, b->data, (size_t)a->size * sizeof *a->data) != 0);
    ak_train_mode(ctx, false);
    cr_expect(ak_shape_equal(ak_forward(net, x)->shape, AK_SHAPE(3, 17, 8)));
    /* Without patch dropout, a sample whose part is left out is what it was. */
    ak_train_mode(ctx, true);
    ak_module *block = ak_nn_transformer_block(ctx, "block", 8, (ak_block_options){
        .heads = 2, .drop_path = 0.9 });
    ak_tensor *y = ak_randn(ctx, AK_SHAPE(100, 2, 8));
    const ak_tensor *z = ak_forward(block, y);
    int kept = 0;
    for (int64_t n = 0; n < 100; n++)
        kept += memcmp(y->data + n * 16, z->data + n * 16, 16 * sizeof *y->data) == 0;
    cr_expect(kept > 60 && kept < 100, "%d of 100 samples go around both parts", kept);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- tied output ----------------------------------------------------------------------------- */

Test(tied, one_parameter_with_both_gradients)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_gpt(ctx, "net", (ak_gpt_options){ .vocab = 6, .width = 4, .layers = 1,
                                                         .heads = 1, .positions = 4 });
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    cr_expect_null(ak_module_find(net, "lm_head/weight"));
    ak_tensor *words = ak_module_find(net, "transformer/wte/weight");
    cr_assert_not_null(words);
    /* Word 5 is no input, but is an output: its row has the gradient of that use alone. Word 0 has
     * both: another one when the output is a constant copy. */
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(1, 2), (int32_t[]){ 0, 3 });
    ak_tensor *y = ak_forward_with(net, (ak_inputs){ .ids = ids });
    ak_backward(ak_sum(ak_square(y)));
    double output_only = 0;
    for (int i = 0; i < 4; i++)
        output_only += fabs((double)words->grad[5 * 4 + i]);
    cr_expect_gt(output_only, 0);
    ak_close(ctx);
}

/* ---- generation ------------------------------------------------------------------------------ */

enum { V = 12 };

static ak_module *talker(ak_ctx *ctx)
{
    ak_module *m = ak_gpt(ctx, "talker", (ak_gpt_options){
        .vocab = V, .width = 8, .layers = 2, .heads = 2, .positions = 16, .dropout = 0.3 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++)
        if (t->shape.n == 2)
            ak_init_fill(ak_module_param(m, i), (ak_init){ AK_INIT_NORMAL, .scale = 0.7 });
    return m;
}

static const int32_t prompt_words[] = { 1, 2, 3, 4, 0, 0, 5, 6, 0 };
static const int32_t prompt_lengths[] = { 3, 1, 2 };

static ak_index *generate(ak_ctx *ctx, ak_module *m, ak_generate_options o, ak_index **lengths)
{
    ak_index *y = ak_generate(m, ak_index_from(ctx, AK_SHAPE(3, 3), prompt_words),
                              index_of(ctx, 3, prompt_lengths), o, lengths);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    return y;
}

Test(generation, kept_keys_change_no_word)
{
    ak_ctx *ctx = quiet();
    ak_module *m = talker(ctx);
    for (int way = 0; way < 3; way++) {
        ak_generate_options o = { .steps = 10, .fill = 11 };
        if (way > 0)
            o.temperature = 0.9;
        if (way > 1) {
            o.top_k = 6;
            o.top_p = 0.8;
        }
        /* The same stream twice: a context of its own each. */
        int32_t words[2][3 * 13];
        for (int without = 0; without < 2; without++) {
            ak_ctx *own = quiet();
            ak_module *n = talker(own);
            o.no_state = without;
            memcpy(words[without], generate(own, n, o, NULL)->data, sizeof words[0]);
            cr_expect(ak_is_training(own));
            cr_expect_eq(ak_close(own), AK_OK);
        }
        cr_expect_eq(memcmp(words[0], words[1], sizeof words[0]), 0, "way %d", way);
    }
    /* Each row is what it says alone, and begins with its prompt. */
    const ak_generate_options o = { .steps = 10, .fill = 11 };
    const ak_index *all = generate(ctx, m, o, NULL);
    for (int64_t n = 0; n < 3; n++) {
        const int32_t length = prompt_lengths[n];
        ak_index *prompt = ak_index_from(ctx, AK_SHAPE(1, length), prompt_words + 3 * n);
        ak_index *one = ak_generate(m, prompt, NULL, o, NULL);
        for (int64_t t = 0; t < length + 10; t++)
            cr_expect_eq(all->data[13 * n + t], one->data[t], "row %d, word %d", (int)n, (int)t);
        for (int64_t t = length + 10; t < 13; t++)
            cr_expect_eq(all->data[13 * n + t], 11);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(generation, rows_end)
{
    ak_ctx *ctx = quiet();
    ak_module *m = talker(ctx);
    const ak_generate_options free_run = { .steps = 8 };
    const ak_index *all = generate(ctx, m, free_run, NULL);
    const int32_t end = all->data[11 + 2];          /* the second word that row 1 adds */
    ak_generate_options o = { .steps = 8, .has_end = true, .end = end, .fill = 9 };
    ak_index *lengths;
    const ak_index *y = generate(ctx, m, o, &lengths);
    for (int64_t n = 0; n < 3; n++) {
        int64_t t = prompt_lengths[n];
        while (t < prompt_lengths[n] + 8 && all->data[11 * n + t] != end)
            t++;
        const int64_t want = t < prompt_lengths[n] + 8 ? t + 1 : t;
        cr_expect_eq(lengths->data[n], want);
        for (t = 0; t < 11; t++)
            cr_expect_eq(y->data[11 * n + t], t < want ? all->data[11 * n + t] : 9);
    }
    cr_expect_leq(lengths->data[1], 3);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Words come as often as they are likely, among the likeliest where asked. */
Test(generation, drawn_words_have_their_frequencies)
{
    ak_ctx *ctx = quiet();
    ak_module *m = talker(ctx);
    ak_index *prompt = ak_index_keep(ak_index_from(ctx, AK_SHAPE(1, 1), (int32_t[]){ 4 }));
    ak_train_mode(ctx, false);
    const ak_tensor *logits = ak_forward_with(m, (ak_inputs){ .ids = prompt });
    const ak_tensor *p = ak_keep(ak_softmax(ak_scale(ak_reshape(ak_detach(ak_scale(
        ak_from(ctx, logits->shape, logits->data), 1)), AK_SHAPE(V)), 1 / 0.7)));
    ak_step_end(ctx);
    int order[V];
    for (int i = 0; i < V; i++) {
        order[i] = 0;
        for (int j = 0; j < V; j++)
            order[i] += p->data[j] > p->data[i];
    }
    enum { DRAWS = 3000 };
    for (int top_k = 0; top_k <= 3; top_k += 3) {
        int count[V] = { 0 };
        for (int i = 0; i < DRAWS; i++) {
            const ak_index *y = ak_generate(m, prompt, NULL, (ak_generate_options){
                .steps = 1, .temperature = 0.7, .top_k = top_k }, NULL);
            cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
            count[y->data[1]]++;
            ak_step_end(ctx);
        }
        double all = 0;
        for (int i = 0; i < V; i++)
            all += top_k == 0 || order[i] < top_k ? (double)p->data[i] : 0;
        for (int i = 0; i < V; i++) {
            const double want = top_k == 0 || order[i] < top_k ? (double)p->data[i] / all : 0;
            cr_expect_float_eq((double)count[i] / DRAWS, want, 0.035, "word %d", i);
            cr_expect(want > 0 || count[i] == 0);
        }
    }
    /* top_p: the fewest that add to p; a tiny one leaves the likeliest. */
    for (int i = 0; i < 50; i++) {
        const ak_index *y = ak_generate(m, prompt, NULL, (ak_generate_options){
            .steps = 1, .temperature = 1, .top_p = 1e-6 }, NULL);
        cr_expect_eq(order[y->data[1]], 0);
        ak_step_end(ctx);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(generation, likelihood_of_given_words)
{
    ak_ctx *ctx = quiet();
    ak_module *m = talker(ctx);
    ak_train_mode(ctx, false);
    static const int32_t ids[] = { 1, 2, 3, 4, 5, 5, 4, 0 };
    ak_index *words = ak_index_from(ctx, AK_SHAPE(2, 4), ids);
    ak_index *first = index_of(ctx, 2, (int32_t[]){ 2, 1 });
    ak_index *lengths = index_of(ctx, 2, (int32_t[]){ 4, 3 });
    ak_tensor *y = ak_log_likelihood(m, words, first, lengths, (ak_inputs){ 0 });
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(2)), "%s", ak_error_message(ctx));
    ak_tensor *logits = ak_forward_with(m, (ak_inputs){ .ids = words });
    const ak_tensor *p = ak_log_softmax(logits);
#define P(n, t) ((double)p->data[((n) * 4 + (t) - 1) * V + ids[4 * (n) + (t)]])
    cr_expect_float_eq((double)y->data[0], P(0, 2) + P(0, 3), 1e-5);
    cr_expect_float_eq((double)y->data[1], P(1, 1) + P(1, 2), 1e-5);
    cr_expect_eq(ak_backward(ak_neg(ak_sum(y))), AK_OK);
    ak_log_likelihood(m, words, index_of(ctx, 2, (int32_t[]){ 0, 1 }), NULL, (ak_inputs){ 0 });
    expect_error(ctx, AK_ERR_VALUE, "0 of row 0 is not in [1, 4]");
    ak_close(ctx);
}

Test(generation, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = talker(ctx);
    ak_index *prompt = ak_index_keep(ak_index_from(ctx, AK_SHAPE(1, 3), prompt_words));
#define GENERATE(...) ak_generate(m, prompt, NULL, (ak_generate_options){ __VA_ARGS__ }, NULL)
    GENERATE(.steps = 0);
    expect_error(ctx, AK_ERR_VALUE, ".steps 0");
    GENERATE(.steps = 2, .temperature = -1);
    expect_error(ctx, AK_ERR_VALUE, ".temperature -1");
    GENERATE(.steps = 2, .top_k = 3);
    expect_error(ctx, AK_ERR_VALUE, ".temperature 0 takes the most likely one");
    GENERATE(.steps = 2, .temperature = 1, .top_p = 1.5);
    expect_error(ctx, AK_ERR_VALUE, ".top_p 1.5");
    GENERATE(.steps = 20);
    expect_error(ctx, AK_ERR_VALUE, "row 0 comes to position 16; there are 16");
    cr_expect(ak_is_training(ctx));
    ak_generate(m, prompt, index_of(ctx, 1, (int32_t[]){ 0 }), (ak_generate_options){ .steps = 1 },
                NULL);
    expect_error(ctx, AK_ERR_VALUE, "ak_generate: lengths: 0 of row 0 is not in [1, 3]");
    ak_module *states = ak_gpt(ctx, "states", (ak_gpt_options){
        .vocab = V, .width = 8, .layers = 1, .heads = 2, .states = true });
    cr_assert_not_null(states);
    cr_assert_not_null(ak_module_find(states, "h/0/attn/c_attn/weight"));
    ak_fill(ak_module_find(states, "ln_f/bias"), (double)NAN);
    ak_generate(states, prompt, NULL, (ak_generate_options){ .steps = 1 }, NULL);
    expect_error(ctx, AK_ERR_NUMBER, "ak_generate: states makes nan for word 0 of row 0");
    ak_close(ctx);
}

/* ---- learning -------------------------------------------------------------------------------- */

/* A causal model learns to copy: the loss of next words falls by much. */
Test(learning, next_words)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_gpt(ctx, "m", (ak_gpt_options){ .vocab = 8, .width = 16, .layers = 2,
                                                     .heads = 2, .positions = 12 });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 5e-3 });
    double before = 0, after = 0;
    for (int step = 0; step < 120; step++) {
        int32_t ids[16 * 8];
        for (int i = 0; i < 16 * 8; i++)
            ids[i] = (int32_t)((i / 8 * 3 + step + i % 8 * (1 + i / 8 % 2)) % 8);
        ak_index *words = ak_index_from(ctx, AK_SHAPE(16, 8), ids);
        ak_tensor *loss = ak_next_word_loss(ak_forward_with(m, (ak_inputs){ .ids = words }), words,
                                            NULL);
        after = ak_item(loss);
        before = step ? before : after;
        ak_backward(loss);
        ak_optim_step(opt);
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_gt(before, 1.9);
    cr_expect_lt(after, 0.6, "from %g to %g", before, after);
    ak_close(ctx);
}
