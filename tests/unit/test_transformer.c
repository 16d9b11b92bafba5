/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of every module of sequences, by a table: batch of 1, sequences of 1, lengths at both
 * ends, padding, evaluation mode, frozen parameters, copies, files, threads, gradients. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/models.h>

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "autograd/tape.h"

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static bool same(const ak_real *a, const ak_real *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* ---- the modules ----------------------------------------------------------------------------- */

enum { C = 8, M = 6, VOCAB = 11 };
typedef enum feeds {
    SEQUENCE, MEMORY, WORDS, PICTURES, TRANSLATION /* words, and words of a memory */,
    WORDS_MEMORY, QUERIES /* three of them, and a memory */
} feeds;
/* What padding is held against: y of valid positions, or of the whole row (it is pooled). */
typedef struct subject {
    const char *name;
    ak_module *(*make)(ak_ctx *ctx, const char *name);
    feeds feed;
    bool lengths;           /* takes them */
    bool pooled;            /* the result has no positions */
    bool parameters;
} subject;

#define ATTENTION(id, ...)                                                                         \
    static ak_module *id(ak_ctx *ctx, const char *name)                                            \
    {                                                                                              \
        return ak_nn_attention(ctx, name, C, (ak_attention_layer_options){ __VA_ARGS__ });         \
    }
#define BLOCK(id, ...)                                                                             \
    static ak_module *id(ak_ctx *ctx, const char *name)                                            \
    {                                                                                              \
        return ak_nn_transformer_block(ctx, name, C, (ak_block_options){ __VA_ARGS__ });           \
    }
#define LARGE_START .weight = { .kind = AK_INIT_NORMAL, .scale = 0.4 }

ATTENTION(torch_attention, .heads = 2, LARGE_START, .dropout = 0.2)
ATTENTION(timm_attention, .heads = 4, .causal = true, .names = AK_NAMES_TIMM, LARGE_START)
ATTENTION(bert_attention, .heads = 2, .head_width = 3, .scale = 1, .names = AK_NAMES_BERT,
          LARGE_START)
ATTENTION(rotary_attention, .heads = 2, .rotary = { .on = true, .base = 100 }, .no_bias = true,
          .causal = true, .names = AK_NAMES_CLIP, LARGE_START)
ATTENTION(torch_cross, .heads = 2, .cross = true, .memory_width = M, LARGE_START)
ATTENTION(gpt_cross, .heads = 2, .cross = true, .memory_width = M, .names = AK_NAMES_GPT2,
          LARGE_START)
ATTENTION(t5_cross, .heads = 2, .cross = true, .memory_width = M, .names = AK_NAMES_T5,
          .no_bias = true, LARGE_START)
BLOCK(pre_block, .heads = 2, .activation = AK_GELU, LARGE_START, .dropout = 0.1,
      .attention_dropout = 0.1, .hidden_dropout = 0.1, .drop_path = 0.1)
BLOCK(post_block, .heads = 2, .post_norm = true, .names = AK_NAMES_BERT, .activation = AK_GELU,
      LARGE_START)
BLOCK(relu_block, .heads = 2, .hidden = 5, .causal = true, .names = AK_NAMES_GPT2, LARGE_START)
BLOCK(gated_block, .heads = 2, .gated = true, .activation = AK_SILU, .rms_norm = true,
      .no_bias = true, .rotary = { .on = true }, .layer_scale = 0.5, .names = AK_NAMES_TIMM,
      LARGE_START)
BLOCK(cross_block, .heads = 2, .cross = true, .memory_width = M, .causal = true,
      .activation = AK_QUICK_GELU, .names = AK_NAMES_CLIP, .layer_scale = 0.3, LARGE_START)
BLOCK(t5_block, .heads = 2, .cross = true, .memory_width = M, .causal = true, .gated = true,
      .activation = AK_GELU_TANH, .rms_norm = true, .no_bias = true, .scale = 1,
      .names = AK_NAMES_T5, LARGE_START)

static ak_module *stack(ak_ctx *ctx, const char *name)
{
    return ak_transformer_stack(ctx, name, (ak_stack_options){
        .width = C, .layers = 2, .block = { .heads = 2, .activation = AK_GELU, LARGE_START } });
}

static ak_module *query_stack(ak_ctx *ctx, const char *name)
{
    return ak_transformer_stack(ctx, name, (ak_stack_options){
        .width = C, .layers = 3, .cross_every = 2,
        .block = { .heads = 2, .cross = true, .memory_width = M, .post_norm = true,
                   .activation = AK_GELU, .names = AK_NAMES_QFORMER, LARGE_START } });
}

static ak_module *both(ak_ctx *ctx, const char *name)
{
    const ak_block_options b = { .heads = 2, .activation = AK_GELU, LARGE_START };
    return ak_transformer(ctx, name, (ak_transformer_options){
        { .width = M, .layers = 1, .block = b }, { .width = C, .layers = 2, .block = b } });
}

static ak_module *learned(ak_ctx *ctx, const char *name)
{
    return ak_nn_positions(ctx, name, 40, C);
}

static ak_module *sines(ak_ctx *ctx, const char *name) { return ak_nn_sinusoidal(ctx, name, C); }

static ak_module *probe(ak_ctx *ctx, const char *name)
{
    return ak_nn_attention_pool(ctx, name, C, (ak_attention_pool_options){
        .heads = 2, .hidden = 5 });
}

static ak_module *picture(ak_ctx *ctx, const char *name)
{
    return ak_vit(ctx, name, (ak_vit_options){ .image = 4, .patch = 2, .channels = 2, .width = C,
                                               .layers = 2, .heads = 2, .layer_scale = 0.5 });
}

static ak_module *classifier(ak_ctx *ctx, const char *name)
{
    return ak_vit(ctx, name, (ak_vit_options){
        .image = 4, .image_columns = 6, .patch = 2, .channels = 2, .width = C, .layers = 1,
        .heads = 2, .classes = 3, .pooling = AK_VIT_BOTH, .sinusoidal = true,
        .patch_dropout = 0.5 });
}

static ak_module *bert(ak_ctx *ctx, const char *name)
{
    return ak_bert(ctx, name, (ak_bert_options){ .vocab = VOCAB, .width = C, .layers = 2,
                                                 .heads = 2, .positions = 40 });
}

static ak_module *masked(ak_ctx *ctx, const char *name)
{
    return ak_bert_masked(ctx, name, (ak_bert_options){
        .vocab = VOCAB, .width = C, .layers = 1, .heads = 2, .positions = 40, .relu = true });
}

static ak_module *gpt(ak_ctx *ctx, const char *name)
{
    return ak_gpt(ctx, name, (ak_gpt_options){ .vocab = VOCAB, .width = C, .layers = 2,
                                               .heads = 2, .positions = 40, .dropout = 0.1 });
}

static ak_module *t5(ak_ctx *ctx, const char *name)
{
    return ak_t5(ctx, name, (ak_t5_options){
        .vocab = VOCAB, .width = C, .layers = 1, .heads = 2, .head_width = 3, .hidden = 6,
        .buckets = 6, .max_distance = 5, .dropout = 0.1 });
}

static ak_module *gated_t5(ak_ctx *ctx, const char *name)
{
    return ak_t5(ctx, name, (ak_t5_options){
        .vocab = VOCAB, .width = C, .layers = 1, .decoder_layers = 2, .heads = 2, .hidden = 5,
        .activation = AK_GELU_TANH, .gated = true, .untied = true });
}

static ak_module *t5_encoder(ak_ctx *ctx, const char *name)
{
    return ak_t5_encoder(ctx, name, (ak_t5_options){
        .vocab = VOCAB, .width = C, .layers = 2, .heads = 2, .activation = AK_GELU });
}

static ak_module *clip_text(ak_ctx *ctx, const char *name)
{
    return ak_clip_text(ctx, name, (ak_clip_text_options){
        .vocab = VOCAB, .width = C, .layers = 2, .heads = 2, .positions = 40 });
}

static ak_module *clip_picture(ak_ctx *ctx, const char *name)
{
    return ak_clip_vision(ctx, name, (ak_vit_options){ .image = 4, .patch = 2, .channels = 2,
                                                       .width = C, .layers = 2, .heads = 2 });
}

static ak_module *qformer(ak_ctx *ctx, const char *name)
{
    return ak_qformer(ctx, name, (ak_qformer_options){
        .width = C, .layers = 3, .heads = 2, .hidden = 6, .memory_width = M });
}

#define QFORMER(id, ...)                                                                           \
    static ak_module *id(ak_ctx *ctx, const char *name)                                            \
    {                                                                                              \
        return ak_qformer(ctx, name, (ak_qformer_options){                                         \
            .width = C, .layers = 2, .heads = 2, .hidden = 5, .memory_width = M, .queries = 2,     \
            .vocab = VOCAB, .positions = 40, .padding = AK_NONE, __VA_ARGS__ });                   \
    }
QFORMER(matching, .dropout = 0.1, .attention_dropout = 0.1)
QFORMER(contrasting, .mode = AK_QFORMER_CONTRAST, .every = 1)
QFORMER(generating, .mode = AK_QFORMER_GENERATE, .relu = true)

static const subject subjects[] = {
    { "attention", torch_attention, SEQUENCE, true, false, true },
    { "causal attention", timm_attention, SEQUENCE, true, false, true },
    { "narrow heads", bert_attention, SEQUENCE, true, false, true },
    { "rotary attention", rotary_attention, SEQUENCE, true, false, true },
    { "cross-attention", torch_cross, MEMORY, false, false, true },
    { "cross-attention, joint", gpt_cross, MEMORY, false, false, true },
    { "cross-attention, three", t5_cross, MEMORY, false, false, true },
    { "pre-norm block", pre_block, SEQUENCE, true, false, true },
    { "post-norm block", post_block, SEQUENCE, true, false, true },
    { "causal block", relu_block, SEQUENCE, true, false, true },
    { "gated block", gated_block, SEQUENCE, true, false, true },
    { "block with memory", cross_block, MEMORY, true, false, true },
    { "T5 block", t5_block, MEMORY, true, false, true },
    { "stack", stack, SEQUENCE, true, false, true },
    { "query stack", query_stack, MEMORY, true, false, true },
    { "encoder and decoder", both, MEMORY, true, false, true },
    { "positions", learned, SEQUENCE, false, false, true },
    { "sines", sines, SEQUENCE, false, false, false },
    { "attention pooling", probe, SEQUENCE, true, true, true },
    { "ViT", picture, PICTURES, false, true, true },
    { "ViT with classes", classifier, PICTURES, false, true, true },
    { "BERT", bert, WORDS, true, false, true },
    { "BERT, masked words", masked, WORDS, true, false, true },
    { "GPT", gpt, WORDS, true, false, true },
    { "T5", t5, TRANSLATION, true, false, true },
    { "T5, gated", gated_t5, TRANSLATION, true, false, true },
    { "T5's encoder", t5_encoder, WORDS, true, false, true },
    { "CLIP's texts", clip_text, WORDS, true, false, true },
    { "CLIP's pictures", clip_picture, PICTURES, false, true, true },
    { "Q-Former", qformer, QUERIES, false, true, true },
    { "Q-Former, matching", matching, WORDS_MEMORY, true, false, true },
    { "Q-Former, contrast", contrasting, WORDS_MEMORY, true, false, true },
    { "Q-Former, generating", generating, WORDS_MEMORY, true, false, true },
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

/* ---- inputs ---------------------------------------------------------------------------------- */

static double number_at(int64_t n, int64_t t, int64_t c)
{
    return ak_random_uniform(3, (uint64_t)n, (uint64_t)(t * 100 + c)) * 2 - 1;
}

/* [N, T, width]: numbers that depend on their place alone; `wild` ones from valid[n] on. */
static ak_tensor *numbers(ak_ctx *ctx, int64_t N, int64_t T, int64_t width, const int32_t *valid)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(N, T, width));
    for (int64_t i = 0; i < x->size; i++) {
        const int64_t n = i / width / T, t = i / width % T;
        const double v = number_at(n, t, i % width);
        x->data[i] = (ak_real)(valid && t >= valid[n] ? 1000 * v : v);
    }
    return x;
}

static ak_index *words(ak_ctx *ctx, int64_t N, int64_t T, const int32_t *valid)
{
    int32_t ids[256];
    cr_assert(N * T <= 256);
    for (int64_t i = 0; i < N * T; i++) {
        const int64_t n = i / T, t = i % T;
        ids[i] = (int32_t)((number_at(n, t, 7) + 1) / 2 * VOCAB);
        if (valid && t >= valid[n])
            ids[i] = (ids[i] + 3) % VOCAB;
    }
    return ak_index_from(ctx, AK_SHAPE(N, T), ids);
}

static bool has_words(const subject *s)
{
    return s->feed == WORDS || s->feed == TRANSLATION || s->feed == WORDS_MEMORY;
}

/* Rows of a result that stand in front of those of T positions: queries. */
static int64_t front_of(const subject *s, const ak_tensor *y, int64_t T)
{
    return s->pooled ? 0 : y->shape.dims[1] - T;
}

/* N samples of T positions (pictures: T columns more), of which valid[n] count; NULL: all. */
static ak_inputs inputs_of(ak_ctx *ctx, const subject *s, int64_t N, int64_t T,
                           const int32_t *valid)
{
    ak_inputs in = { 0 };
    if (s->feed == PICTURES) {
        in.x = numbers(ctx, N, 4 * 6, 2, NULL);
        in.x = ak_reshape(in.x, AK_SHAPE(N, 4, 6, 2));
        return in;
    }
    if (has_words(s))
        in.ids = words(ctx, N, T, valid);
    else
        in.x = numbers(ctx, N, s->feed == QUERIES ? 3 : T, C, s->lengths ? valid : NULL);
    if (s->feed == TRANSLATION)
        in.memory_ids = words(ctx, N, T + 1, valid);
    if (s->feed == MEMORY || s->feed == WORDS_MEMORY || s->feed == QUERIES)
        in.memory = numbers(ctx, N, T + 1, M, valid);
    if (in.memory || in.memory_ids) {
        in.memory_lengths = valid ? ak_index_from(ctx, AK_SHAPE(N), valid) : NULL;
    }
    if (s->lengths && valid)
        in.lengths = ak_index_from(ctx, AK_SHAPE(N), valid);
    return in;
}

static ak_tensor *run(ak_module *m, ak_inputs in)
{
    ak_tensor *y = ak_forward_with(m, in);
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ak_module_ctx(m)));
    return y;
}

static ak_module *made(ak_ctx *ctx, const subject *s, const char *name)
{
    ak_module *m = s->make(ctx, name);
    cr_assert_not_null(m, "%s: %s", s->name, ak_error_message(ctx));
    return m;
}

/* ---- what holds of each ---------------------------------------------------------------------- */

Test(transformer, batches_and_sequences_of_one)
{
    for (int i = 0; i < SUBJECTS; i++) {
        ak_ctx *ctx = quiet();
        const subject *s = &subjects[i];
        ak_module *m = made(ctx, s, "m");
        ak_train_mode(ctx, false);
        /* The same sample alone, and first of three. */
        const ak_tensor *three = ak_keep(run(m, inputs_of(ctx, s, 3, 5, NULL)));
        const ak_tensor *one = run(m, inputs_of(ctx, s, 1, 5, NULL));
        cr_expect_eq(one->size * 3, three->size, "%s", s->name);
        for (int64_t j = 0; j < one->size; j++)
            cr_expect_float_eq((double)one->data[j], (double)three->data[j], 1e-5, "%s", s->name);
        const ak_tensor *y = run(m, inputs_of(ctx, s, 2, 1, NULL));
        for (int64_t j = 0; j < y->size; j++)
            cr_expect(isfinite(y->data[j]), "%s", s->name);
        ak_train_mode(ctx, true);
        ak_tensor *trained = run(m, inputs_of(ctx, s, 1, 1, NULL));
        if (s->parameters)
            cr_expect_eq(ak_backward(ak_sum(ak_square(trained))), AK_OK, "%s: %s", s->name,
                         ak_error_message(ctx));
        cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
    }
}

/* Lengths at both ends, 1 and T, and what is padded further: valid outputs keep their bits. */
Test(transformer, padding_changes_nothing)
{
    const int32_t valid[] = { 1, 6, 4 };
    for (int i = 0; i < SUBJECTS; i++) {
        const subject *s = &subjects[i];
        if (!s->lengths && s->feed != MEMORY && s->feed != QUERIES)
            continue;
        ak_ctx *ctx = quiet();
        ak_module *m = made(ctx, s, "m");
        ak_train_mode(ctx, false);
        const ak_tensor *y = ak_keep(run(m, inputs_of(ctx, s, 3, 6, valid)));
        ak_inputs longer = inputs_of(ctx, s, 3, 9, valid);
        const ak_tensor *z = run(m, longer);
        const int64_t front = front_of(s, y, 6), rows = s->pooled ? 1 : front + 6;
        const int64_t width = y->size / 3 / rows, more = s->pooled ? 1 : front + 9;
        for (int64_t n = 0; n < 3; n++)
            for (int64_t t = 0; t < (s->pooled ? 1 : front + (s->lengths ? valid[n] : 6)); t++)
                for (int64_t c = 0; c < width; c++)
                    cr_expect_float_eq((double)y->data[(n * rows + t) * width + c],
                                       (double)z->data[(n * more + t) * width + c],
                                       sizeof(ak_real) == 8 ? 1e-13 : 2e-6, "%s", s->name);
        /* A mask that says the same. */
        int32_t mask[18];
        for (int j = 0; j < 18; j++)
            mask[j] = j % 6 < valid[j / 6];
        ak_inputs masked_in = inputs_of(ctx, s, 3, 6, valid);
        if (masked_in.lengths) {
            masked_in.lengths = NULL;
            masked_in.mask = ak_index_from(ctx, AK_SHAPE(3, 6), mask);
            const ak_tensor *w = run(m, masked_in);
            for (int64_t j = 0; j < y->size; j++)
                if (s->pooled || j / width % rows < front + valid[j / width / rows])
                    cr_expect_float_eq((double)y->data[j], (double)w->data[j], 1e-6, "%s",
                                       s->name);
        }
        /* Rows without any position are no error, but say nothing of themselves. */
        const int32_t none[] = { 0, 6, 4 };
        const ak_tensor *v = run(m, inputs_of(ctx, s, 3, 6, none));
        cr_expect(same(v->data + v->size / 3 * 2, y->data + v->size / 3 * 2,
                       (s->pooled || !s->lengths ? 1 : 4) * width), "%s", s->name);
        cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
    }
}

Test(transformer, evaluation_mode_draws_nothing)
{
    for (int i = 0; i < SUBJECTS; i++) {
        ak_ctx *ctx = quiet();
        const subject *s = &subjects[i];
        ak_module *m = made(ctx, s, "m");
        ak_module_train(m, false);
        const ak_tensor *y = ak_keep(run(m, inputs_of(ctx, s, 2, 5, NULL)));
        const ak_tensor *again = run(m, inputs_of(ctx, s, 2, 5, NULL));
        cr_expect(same(y->data, again->data, y->size), "%s", s->name);
        ak_train_mode(ctx, false);
        ak_module_train(m, true);
        again = run(m, inputs_of(ctx, s, 2, 5, NULL));
        cr_expect(same(y->data, again->data, y->size), "%s", s->name);
        cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
    }
}

Test(transformer, frozen_parameters_get_no_gradient)
{
    for (int i = 0; i < SUBJECTS; i++) {
        ak_ctx *ctx = quiet();
        const subject *s = &subjects[i];
        if (!s->parameters)
            continue;
        ak_module *m = made(ctx, s, "m");
        ak_freeze(ctx, "m/*", true);
        const uint32_t before = ak_hash(ctx, "m/*");
        ak_inputs in = inputs_of(ctx, s, 2, 5, NULL);
        ak_tensor *leaf = in.x ? in.x : ak_require_grad(ak_zeros(ctx, AK_SCALAR));
        if (in.x && s->feed != PICTURES)
            ak_require_grad(in.x);
        else
            leaf = ak_require_grad(ak_zeros(ctx, AK_SCALAR));
        ak_tensor *y = ak_add(run(m, in), ak_scale(leaf->size == 1 ? leaf : ak_sum(leaf), 1));
        cr_expect_eq(ak_backward(ak_sum(ak_square(y))), AK_OK, "%s: %s", s->name,
                     ak_error_message(ctx));
        const ak_tensor *t;
        for (int64_t j = 0; (t = ak_module_param(m, j)) != NULL; j++)
            for (int64_t k = 0; t->grad && k < t->size; k++)
                cr_expect_eq((double)t->grad[k], 0.0, "%s: %s", s->name, t->name);
        cr_expect_eq(ak_hash(ctx, "m/*"), before, "%s", s->name);
        cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
    }
}

Test(transformer, copies_and_files)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/ak_transformer_%d.npz", (int)getpid());
    for (int i = 0; i < SUBJECTS; i++) {
        ak_ctx *ctx = quiet();
        const subject *s = &subjects[i];
        ak_module *m = made(ctx, s, "m");
        ak_train_mode(ctx, false);
        const ak_tensor *y = ak_keep(run(m, inputs_of(ctx, s, 2, 5, NULL)));
        ak_module *copy = ak_module_clone(m, "copy");
        cr_assert_not_null(copy, "%s: %s", s->name, ak_error_message(ctx));
        const ak_tensor *z = run(copy, inputs_of(ctx, s, 2, 5, NULL));
        cr_expect(same(y->data, z->data, y->size), "%s: the copy", s->name);
        if (s->parameters) {
            ak_module *other = made(ctx, s, "other");
            z = run(other, inputs_of(ctx, s, 2, 5, NULL));
            cr_expect_not(same(y->data, z->data, y->size), "%s starts by its name", s->name);
            cr_assert_eq(ak_module_save_npz(m, path), AK_OK, "%s", ak_error_message(ctx));
            cr_assert_eq(ak_module_load_npz(other, path), AK_OK, "%s", ak_error_message(ctx));
            z = run(other, inputs_of(ctx, s, 2, 5, NULL));
            cr_expect(same(y->data, z->data, y->size), "%s: from the file", s->name);
            /* The copy is its own. */
            ak_fill(ak_module_param(m, 0), 0.1);
            z = run(copy, inputs_of(ctx, s, 2, 5, NULL));
            cr_expect(same(y->data, z->data, y->size), "%s: apart", s->name);
        }
        cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
    }
    unlink(path);
}

/* Between the fields of options there may be anything, the address of a module too. */
Test(transformer, copies_do_not_look_between_fields)
{
    ak_ctx *ctx = quiet();
    ak_module *m = NULL;
    for (int i = 0; i < 256 && (!m || ((uintptr_t)m & 0xff)); i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        m = ak_nn_sequential(ctx, name, NULL);
    }
    ak_block_options o = { .heads = 2 };
    if (((uintptr_t)m & 0xff) == 0 && offsetof(ak_block_options, scale) ==
        offsetof(ak_block_options, causal) + sizeof m)
        memcpy((char *)&o + offsetof(ak_block_options, causal), &m, sizeof m);
    ak_module_begin(m);
    ak_nn_transformer_block(ctx, "block", C, o);
    cr_assert_not_null(ak_module_end(m), "%s", ak_error_message(ctx));
    cr_expect_not_null(ak_module_clone(m, "copy"), "%s", ak_error_message(ctx));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* A step in train mode, all values given back as early as they can be: outputs and gradients. */
static void step_bits(const subject *s, int threads, ak_real *to, int64_t room, int64_t *used)
{
    omp_set_num_threads(threads);
    ak_ctx *ctx = quiet();
    ak_module *m = made(ctx, s, "m");
    const ak_tensor *t = run(m, inputs_of(ctx, s, 6, 20, NULL));
    ak_tensor *loss = ak_mean(ak_square(run(m, inputs_of(ctx, s, 6, 20, NULL))));
    *used = 0;
    memcpy(to, t->data, (size_t)t->size * sizeof *to);
    *used += t->size;
    if (s->parameters)
        cr_assert_eq(ak_backward(loss), AK_OK, "%s: %s", s->name, ak_error_message(ctx));
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        cr_assert(*used + t->size <= room);
        if (t->grad)
            memcpy(to + *used, t->grad, (size_t)t->size * sizeof *to);
        *used += t->size;
    }
    cr_expect_eq(ak_close(ctx), AK_OK, "%s", s->name);
}

Test(transformer, same_bits_for_any_number_of_threads)
{
    static ak_real one[1 << 16], other[1 << 16];
    for (int i = 0; i < SUBJECTS; i++)
        for (int early = 0; early < 2; early++) {
            int64_t n, m;
            ak__done_with_least = early ? 0 : (size_t)16 << 10;
            step_bits(&subjects[i], 1, one, 1 << 16, &n);
            for (int threads = 2; threads <= 4; threads++) {
                step_bits(&subjects[i], threads, other, 1 << 16, &m);
                cr_expect(n == m && same(one, other, n), "%s with %d threads", subjects[i].name,
                          threads);
            }
        }
}

/* Values that are given back at once are the same as those that stay. */
Test(transformer, what_is_given_back_changes_nothing)
{
    static ak_real one[1 << 16], other[1 << 16];
    for (int i = 0; i < SUBJECTS; i++) {
        int64_t n, m;
        ak__done_with_least = (size_t)1 << 40;
        step_bits(&subjects[i], 2, one, 1 << 16, &n);
        ak__done_with_least = 0;
        step_bits(&subjects[i], 2, other, 1 << 16, &m);
        cr_expect(n == m && same(one, other, n), "%s", subjects[i].name);
    }
}

/* ---- gradients ------------------------------------------------------------------------------- */

#if AK_REAL_BITS == 64
typedef struct checked { ak_ctx *ctx; const subject *s; ak_module *m; } checked;

static const int32_t check_lengths[] = { 3, 2 };

/* in[0]: x, or nothing that matters for words and pictures; in[1]: the memory. */
static ak_tensor *closure(ak_tensor *const *in, int n, void *user)
{
    const checked *c = user;
    ak_inputs inputs = inputs_of(c->ctx, c->s, 2, 3, c->s->feed == PICTURES ? NULL
                                                                           : check_lengths);
    (void)n;
    if (inputs.x)
        inputs.x = ak_add(inputs.x, ak_scale(in[0], 0.1));
    if (inputs.memory)
        inputs.memory = ak_add(inputs.memory, ak_scale(in[1], 0.1));
    ak_tensor *y = ak_forward_with(c->m, inputs);
    if (!c->s->lengths || c->s->pooled)
        return y;
    int32_t counts[2];
    for (int i = 0; i < 2; i++)
        counts[i] = (int32_t)front_of(c->s, y, 3) + check_lengths[i];
    ak_index *lengths = ak_index_from(c->ctx, AK_SHAPE(2), counts);
    return ak_add(ak_pool_mean(y, lengths, NULL), ak_pool_last(y, lengths, NULL));
}

Test(transformer, gradients)
{
    for (int i = 0; i < SUBJECTS; i++) {
        ak_ctx *ctx = quiet();
        checked c = { ctx, &subjects[i], NULL };
        c.m = made(ctx, c.s, "m");
        ak_train_mode(ctx, false);
        ak_tensor *in[64], *t;
        const ak_inputs like = inputs_of(ctx, c.s, 2, 3, NULL);
        const ak_shape memory = AK_SHAPE(2, 4, M);
        int n = 0;
        in[n++] = ak_param(ctx, "x", like.x ? like.x->shape : AK_SHAPE(1), 0);
        in[n++] = ak_param(ctx, "memory", memory, 0);
        for (int64_t j = 0; n < 64 && (t = ak_module_param(c.m, j)) != NULL; j++)
            in[n++] = t;
        ak_gradcheck r = { 0 };
        cr_assert_eq(ak_gradcheck_fn(ctx, closure, &c, in, n, &r), AK_OK, "%s: %s", c.s->name,
                     ak_error_message(ctx));
        cr_expect_lt(r.worst, 1e-6, "%s: operand %d (%s), element %lld: %g against %g", c.s->name,
                     r.operand, in[r.operand]->name, (long long)r.element, r.analytic, r.numeric);
        ak_close(ctx);
    }
}
#endif
