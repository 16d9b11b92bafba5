/* SPDX-License-Identifier: Apache-2.0 */
/* Whole models as they are used: T5 says words, CLIP finds the end of a text, a Q-Former sees what
 * its mode lets it see; what is refused. Values against references: tests/golden. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/inputs.h>
#include <akin/losses.h>
#include <akin/models.h>
#include <akin/optim.h>
#include <akin/weights.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NEAR (sizeof(ak_real) == 8 ? 1e-12 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *text)
{
    cr_expect_eq(ak_error(ctx), status, "%s: %s", text, ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), text) != NULL, "no \"%s\" in: %s", text,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

static ak_index *table(ak_ctx *ctx, int64_t N, int64_t T, const int32_t *values)
{
    return ak_index_from(ctx, AK_SHAPE(N, T), values);
}

static ak_index *list(ak_ctx *ctx, int64_t N, const int32_t *values)
{
    return ak_index_from(ctx, AK_SHAPE(N), values);
}

static const ak_tensor *fine(const ak_tensor *y)
{
    cr_assert_not(ak_is_poison(y));
    return y;
}

/* Are rows [from, to) of each sample of two sequences the same? They may lie at other places. */
static bool same_rows(const ak_tensor *a, int64_t at_a, const ak_tensor *b, int64_t at_b,
                      int64_t count)
{
    const int64_t N = a->shape.dims[0], C = a->shape.dims[2];
    for (int64_t n = 0; n < N; n++)
        if (memcmp(a->data + (n * a->shape.dims[1] + at_a) * C,
                   b->data + (n * b->shape.dims[1] + at_b) * C,
                   (size_t)(count * C) * sizeof *a->data) != 0)
            return false;
    return true;
}

/* Parameters of a start that is too quiet for words to differ. */
static void stir(ak_module *m)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        for (int64_t j = 0; j < t->size; j++)
            t->data[j] += (ak_real)(0.4 * ak_random_normal(11, (uint64_t)i, (uint64_t)j));
        ak_touch(t);
    }
}

/* ---- T5 -------------------------------------------------------------------------------------- */

enum { V = 12, C = 8, N = 3, S = 4, T = 5 };
static const int32_t sources[N * S] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8 };
static const int32_t source_lengths[N] = { 4, 1, 3 };
static const int32_t said[N * T] = { 2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4 };

static ak_t5_options small_t5(void)
{
    return (ak_t5_options){ .vocab = V, .width = C, .layers = 2, .heads = 2, .hidden = 12,
                            .buckets = 8, .max_distance = 6 };
}

static ak_module *stirred_t5(ak_ctx *ctx, const char *name)
{
    ak_module *m = ak_t5(ctx, name, small_t5());
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    stir(m);
    return m;
}

static ak_inputs source_of(ak_ctx *ctx)
{
    return (ak_inputs){ .memory_ids = table(ctx, N, S, sources),
                        .memory_lengths = list(ctx, N, source_lengths) };
}

/* Words for the encoder, and what it made of them: the same bits; the encoder alone as well. */
Test(t5, words_or_their_memory)
{
    ak_ctx *ctx = quiet();
    ak_module *m = stirred_t5(ctx, "m");
    ak_inputs in = source_of(ctx);
    in.ids = table(ctx, N, T, said);
    const ak_tensor *whole = fine(ak_forward_with(m, in));
    ak_inputs own = { .ids = in.memory_ids, .lengths = in.memory_lengths };
    ak_tensor *memory = ak_t5_encode(m, own);
    in.memory_ids = NULL;
    in.memory = memory;
    const ak_tensor *parts = fine(ak_forward_with(m, in));
    cr_expect_eq(memcmp(whole->data, parts->data, (size_t)whole->size * sizeof *whole->data), 0);

    ak_module *alone = ak_t5_encoder(ctx, "alone", small_t5());
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(alone, i)) != NULL; i++)
        ak_copy(t, ak_module_find(m, t->name + strlen("alone/")));
    const ak_tensor *y = fine(ak_forward_with(alone, own));
    cr_expect_eq(memcmp(y->data, memory->data, (size_t)y->size * sizeof *y->data), 0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Rows of several lengths are continued as they are alone, with kept keys and without. */
Test(t5, generation)
{
    ak_ctx *ctx = quiet();
    ak_module *m = stirred_t5(ctx, "m");
    const int32_t starts[N * 2] = { 0, 7, 0, 0, 0, 2 }, lengths[N] = { 2, 1, 2 };
    ak_index *prompt = table(ctx, N, 2, starts), *count;
    ak_generate_options o = { .steps = 9, .inputs = source_of(ctx) };
    const ak_index *kept = ak_generate(m, prompt, list(ctx, N, lengths), o, &count);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    o.no_state = true;
    const ak_index *again = ak_generate(m, prompt, list(ctx, N, lengths), o, NULL);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(memcmp(kept->data, again->data, (size_t)kept->size * sizeof *kept->data), 0);
    int others = 0;
    for (int64_t i = 0; i < kept->size; i++)
        others += kept->data[i] != kept->data[2];
    cr_expect_gt(others, 8, "one word over and over tells nothing");
    for (int64_t n = 0; n < N; n++) {
        ak_generate_options one = { .steps = 9, .inputs = {
            .memory_ids = table(ctx, 1, source_lengths[n], sources + S * n) } };
        const ak_index *y = ak_generate(m, table(ctx, 1, lengths[n], starts + 2 * n), NULL, one,
                                        NULL);
        cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
        for (int64_t t = 0; t < lengths[n] + 9; t++)
            cr_expect_eq(y->data[t], kept->data[11 * n + t], "row %d, word %d", (int)n, (int)t);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Positions in two calls are those of one, and the encoder is not asked again. */
Test(t5, the_encoder_runs_once)
{
    ak_ctx *ctx = quiet();
    ak_module *m = stirred_t5(ctx, "m");
    ak_train_mode(ctx, false);
    ak_inputs in = source_of(ctx);
    in.ids = table(ctx, N, T, said);
    const ak_tensor *whole = fine(ak_forward_with(m, in));
    int32_t first[N * 3], rest[N * 2];
    for (int n = 0; n < N; n++) {
        memcpy(first + 3 * n, said + T * n, 3 * sizeof *first);
        memcpy(rest + 2 * n, said + T * n + 3, 2 * sizeof *rest);
    }
    in.state = ak_decoding_open(ctx, N, T);
    ak_no_grad_begin(ctx);
    in.ids = table(ctx, N, 3, first);
    fine(ak_forward_with(m, in));
    ak_fill(ak_module_find(m, "encoder/final_layer_norm/weight"), 0);
    in.ids = table(ctx, N, 2, rest);
    const ak_tensor *y = fine(ak_forward_with(m, in));
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_float_eq((double)y->data[i],
                           (double)whole->data[(i / V / 2 * T + 3 + i / V % 2) * V + i % V],
                           10 * NEAR);
    ak_no_grad_end(ctx);
    ak_decoding_close(in.state);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* The likelihood of words is their cross-entropy; shifted words, ignored ones. */
Test(t5, likelihood_and_loss)
{
    ak_ctx *ctx = quiet();
    ak_module *m = stirred_t5(ctx, "m");
    const int32_t target[2 * 3] = { 4, 7, -100, -1, 9, 3 };
    ak_index *words = table(ctx, 2, 3, target), *in = ak_shift_right(words, 1, 6);
    const int32_t want[] = { 1, 4, 7, 1, 6, 9 };
    cr_expect_eq(memcmp(in->data, want, sizeof want), 0);
    ak_inputs source = { .memory_ids = table(ctx, 2, S, sources) };
    source.ids = in;
    ak_tensor *logits = ak_forward_with(m, source);
    const ak_tensor *p = ak_log_softmax(logits);
#define P(n, t) ((double)p->data[((n) * 3 + (t)) * V + target[(n) * 3 + (t)]])
    cr_expect_float_eq(ak_item(ak_word_loss(logits, words)),
                       -(P(0, 0) + P(0, 1) + P(1, 1) + P(1, 2)) / 4, NEAR);
    const int32_t whole[2 * 4] = { 1, 4, 7, 0, 1, 6, 9, 3 };
    source.ids = NULL;
    const ak_tensor *l = fine(ak_log_likelihood(
        m, table(ctx, 2, 4, whole), list(ctx, 2, (int32_t[]){ 1, 2 }),
        list(ctx, 2, (int32_t[]){ 3, 4 }), source));
    cr_expect_float_eq((double)l->data[0], P(0, 0) + P(0, 1), 10 * NEAR);
    cr_expect_float_eq((double)l->data[1], P(1, 1) + P(1, 2), 10 * NEAR);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* A field of words for the memory, with its lengths, comes from a batch by its name. */
Test(t5, batches)
{
    ak_ctx *ctx = quiet();
    ak_module *m = stirred_t5(ctx, "m");
    int64_t from[N * S], to[N * T], counts[N];
    for (int i = 0; i < N * T; i++)
        to[i] = said[i];
    for (int i = 0; i < N * S; i++)
        from[i] = sources[i];
    for (int n = 0; n < N; n++)
        counts[n] = source_lengths[n];
    const ak_array answers = { .name = "to", .type = AK_TYPE_I64, .shape = AK_SHAPE(N, T),
                               .size = N * T, .data = to };
    const ak_array questions = { .name = "from", .type = AK_TYPE_I64, .shape = AK_SHAPE(N, S),
                                 .size = N * S, .data = from };
    const ak_array lengths = { .name = "lengths", .type = AK_TYPE_I64, .shape = AK_SHAPE(N),
                               .size = N, .data = counts };
    ak_dataset *ds = ak_dataset_fields(ctx, "pairs", (ak_field[]){
        { "to", AK_FIELD_TOKENS, .array = &answers },
        { "to/memory_ids", AK_FIELD_TOKENS, .array = &questions, .lengths = &lengths },
        { 0 } });
    ak_loader *loader = ak_loader_open(ds, (ak_loader_options){ .batch = N,
                                                                .in_order = true });
    ak_batch b;
    cr_assert(ak_loader_next(loader, &b), "%s", ak_error_message(ctx));
    const ak_inputs got = ak_batch_inputs(&b, "to", 0);
    cr_assert(got.memory_ids && got.memory_lengths, "%s", ak_error_message(ctx));
    ak_inputs want = source_of(ctx);
    want.ids = table(ctx, N, T, said);
    const ak_tensor *y = fine(ak_forward_with(m, got)), *z = fine(ak_forward_with(m, want));
    cr_expect_eq(memcmp(y->data, z->data, (size_t)y->size * sizeof *y->data), 0);
    ak_step_end(ctx);
    cr_expect_not(ak_loader_next(loader, &b));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(t5, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_t5(ctx, "m", small_t5());
    ak_index *ids = ak_index_keep(table(ctx, N, T, said));
    ak_forward_with(m, (ak_inputs){ .ids = ids });
    expect_error(ctx, AK_ERR_VALUE, "neither .memory nor .memory_ids");
    ak_forward_with(m, (ak_inputs){ .ids = ids, .memory_ids = ids,
                                    .memory = ak_zeros(ctx, AK_SHAPE(N, T, C)) });
    expect_error(ctx, AK_ERR_VALUE, "both .memory and .memory_ids");
    ak_forward_with(m, (ak_inputs){ .ids = ids, .memory = ak_zeros(ctx, AK_SHAPE(N, T, C + 1)) });
    expect_error(ctx, AK_ERR_SHAPE, "m/decoder/block/0/layer/1/EncDecAttention");
    ak_forward_with(m, (ak_inputs){ .ids = ids, .memory_ids = list(ctx, N, said) });
    expect_error(ctx, AK_ERR_SHAPE, "expected .memory_ids [N, T], got [3]");
    ak_forward_with(m, (ak_inputs){ .ids = ids, .memory_ids = table(ctx, 2, T, said) });
    expect_error(ctx, AK_ERR_SHAPE, "[3, S, 8], got [2,5,8]");
    ak_t5_encode(m, (ak_inputs){ .ids = ids, .memory_ids = ids });
    expect_error(ctx, AK_ERR_VALUE, "is handed .memory_ids, which it does not take");
    ak_t5_encode(ak_module_child(m, 0), (ak_inputs){ .ids = ids });
    expect_error(ctx, AK_ERR_VALUE, "m/encoder (T5 encoder, 2 layers of 8) is not of ak_t5");
    ak_forward_with(m, (ak_inputs){ .ids = table(ctx, 1, 1, (int32_t[]){ V }),
                                    .memory_ids = ids });
    expect_error(ctx, AK_ERR_VALUE, "12");
    ak_shift_right(ids, -1, 0);
    expect_error(ctx, AK_ERR_VALUE, "start -1");
    cr_expect_null(ak_t5(ctx, "a", (ak_t5_options){ .width = 8 }));
    expect_error(ctx, AK_ERR_VALUE, "a: .vocab 0");
    cr_expect_null(ak_t5(ctx, "b", (ak_t5_options){ .vocab = 2, .out_scale = (double)NAN }));
    expect_error(ctx, AK_ERR_VALUE, ".out_scale nan");
    cr_expect_null(ak_t5(ctx, "c", (ak_t5_options){ .vocab = 2, .width = 6, .heads = 4 }));
    expect_error(ctx, AK_ERR_VALUE, "heads");
    cr_expect_null(ak_t5(ctx, "d", (ak_t5_options){
        .vocab = 2, .width = 6, .heads = 2, .gated = true, .activation = AK_TANH }));
    expect_error(ctx, AK_ERR_VALUE, ".gated has");
    ak_close(ctx);
}

/* It learns to say a text backwards. */
Test(t5, learns)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_t5(ctx, "m", (ak_t5_options){
        .vocab = 8, .width = 24, .layers = 1, .heads = 4, .hidden = 48, .buckets = 8,
        .max_distance = 8, .activation = AK_GELU_TANH, .gated = true });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 5e-3 });
    double before = 0, after = 0;
    for (int step = 0; step < 250; step++) {
        int32_t from[16 * 4], to[16 * 4];
        for (int i = 0; i < 64; i++)
            from[i] = 1 + (int32_t)(ak_random_uniform(9, (uint64_t)step, (uint64_t)i) * 7);
        for (int i = 0; i < 64; i++)
            to[i] = from[i / 4 * 4 + 3 - i % 4];
        ak_index *words = table(ctx, 16, 4, to);
        ak_tensor *loss = ak_word_loss(ak_forward_with(m, (ak_inputs){
            .ids = ak_shift_right(words, 0, 0), .memory_ids = table(ctx, 16, 4, from) }), words);
        after = ak_item(loss);
        before = step ? before : after;
        ak_backward(loss);
        ak_optim_step(opt);
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_gt(before, 1.9);
    cr_expect_lt(after, 0.5, "from %g to %g", before, after);
    ak_close(ctx);
}

/* ---- CLIP ------------------------------------------------------------------------------------ */

static ak_clip_options small_clip(void)
{
    return (ak_clip_options){
        .text = { .vocab = V, .width = C, .layers = 1, .heads = 2, .positions = 6 },
        .picture = { .image = 4, .patch = 2, .channels = 2, .width = 6, .layers = 1, .heads = 2 },
        .projection = 5 };
}

static ak_tensor *pictures(ak_ctx *ctx, int64_t count, int64_t side)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(count, side, side, 2));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)ak_random_normal(3, 1, (uint64_t)i);
    return x;
}

/* A text's feature is that of its first end token: what stands behind it, and how far it is padded,
 * changes no bit; what stands in front does. */
Test(clip, features_at_the_end_token)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_clip(ctx, "m", small_clip());
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    stir(m);
    ak_train_mode(ctx, false);
    const int32_t three[] = { 1, 2, 11, 1, 3, 11 }, five[] = { 1, 2, 11, 11, 11, 1, 3, 11, 4, 0 };
    ak_index *counts = list(ctx, 2, (int32_t[]){ 3, 3 });
    const ak_tensor *a = fine(ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 2, 3, three) }));
    const ak_tensor *b = fine(ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 2, 5, five) }));
    const ak_tensor *c = fine(ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 2, 5, five),
                                                            .lengths = counts }));
    for (int64_t i = 0; i < a->size; i++) {
        cr_expect_float_eq((double)a->data[i], (double)b->data[i], NEAR);
        cr_expect_float_eq((double)a->data[i], (double)c->data[i], NEAR);
    }
    cr_expect_neq((double)a->data[0], (double)a->data[5]);
    for (int64_t n = 0; n < 2; n++) {
        double square = 0;
        for (int64_t i = 0; i < 5; i++)
            square += (double)a->data[5 * n + i] * (double)a->data[5 * n + i];
        cr_expect_float_eq(square, 1, NEAR, "rows of unit length");
    }
    /* Each alone is what it is beside the other. */
    const ak_tensor *one = fine(ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 1, 3,
                                                                           three + 3) }));
    for (int64_t i = 0; i < 5; i++)
        cr_expect_float_eq((double)one->data[i], (double)a->data[5 + i], NEAR);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(clip, texts_that_are_cut_keep_their_end)
{
    ak_ctx *ctx = quiet();
    const int32_t ids[] = { 1, 2, 3, 4, 11, 1, 2, 11, 0, 0, 1, 2, 3, 11, 11 };
    ak_index *y = ak_clip_cut(table(ctx, 3, 5, ids), 4, 11);
    const int32_t want[] = { 1, 2, 3, 11, 1, 2, 11, 0, 1, 2, 3, 11 };
    cr_assert_eq(y->size, 12, "%s", ak_error_message(ctx));
    cr_expect_eq(memcmp(y->data, want, sizeof want), 0);
    const ak_index *same = ak_clip_cut(table(ctx, 3, 5, ids), 9, 11);
    cr_expect_eq(memcmp(same->data, ids, sizeof ids), 0);
    const ak_index *shortest = ak_clip_cut(table(ctx, 3, 5, ids), 1, 11);
    cr_expect(shortest->data[0] == 11 && shortest->data[1] == 11 && shortest->data[2] == 11);
    ak_clip_cut(table(ctx, 3, 5, ids), 4, 0);
    expect_error(ctx, AK_ERR_VALUE, "row 0 has no end token 0");
    ak_clip_cut(table(ctx, 3, 5, ids), 0, 11);
    expect_error(ctx, AK_ERR_VALUE, "a count of at least 1");
    ak_close(ctx);
}

/* The whole is its parts; its activation is part of what the weights mean. */
Test(clip, logits_of_both_towers)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_clip(ctx, "m", small_clip());
    stir(m);
    const int32_t ids[] = { 1, 2, 11, 1, 11, 0, 4, 4, 11 };
    ak_tensor *x = pictures(ctx, 2, 4);
    ak_index *words = table(ctx, 3, 3, ids);
    const ak_tensor *y = fine(ak_forward_with(m, (ak_inputs){ .x = x, .ids = words }));
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(2, 3)));
    const ak_tensor *p = ak_clip_pictures(m, x);
    const ak_tensor *t = ak_clip_texts(m, (ak_inputs){ .ids = words });
    const double scale = exp(ak_item(ak_clip_log_scale(m)));
    for (int64_t i = 0; i < 6; i++) {
        double sum = 0;
        for (int64_t k = 0; k < 5; k++)
            sum += (double)p->data[i / 3 * 5 + k] * (double)t->data[i % 3 * 5 + k];
        cr_expect_float_eq((double)y->data[i], scale * sum, 30 * NEAR);
    }
    ak_clip_options other = small_clip();
    other.text.activation = other.picture.activation = AK_GELU;
    ak_module *gelu = ak_clip(ctx, "gelu", other);
    ak_tensor *w;
    for (int64_t i = 0; (w = ak_module_param(gelu, i)) != NULL; i++)
        ak_copy(w, ak_module_find(m, w->name + strlen("gelu/")));
    const ak_tensor *g = fine(ak_clip_texts(gelu, (ak_inputs){ .ids = words }));
    cr_expect_gt(fabs((double)(g->data[0] - t->data[0])), 1e-5);
    cr_expect(ak_shape_equal(fine(ak_clip_pictures(m, pictures(ctx, 1, 10)))->shape,
                             AK_SHAPE(1, 5)), "positions are resized");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* What is kept in evaluation mode is so in its parts as well. */
Test(clip, evaluation_mode_of_a_part)
{
    ak_ctx *ctx = quiet();
    ak_clip_options o = small_clip();
    o.text.attention_dropout = 0.5;
    ak_module *m = ak_clip(ctx, "m", o);
    stir(m);
    const int32_t ids[] = { 1, 2, 3, 4, 11 };
    const ak_inputs in = { .ids = table(ctx, 1, 5, ids) };
    const ak_tensor *drawn = fine(ak_clip_texts(m, in)), *other = fine(ak_clip_texts(m, in));
    cr_expect_neq(memcmp(drawn->data, other->data, 5 * sizeof *drawn->data), 0);
    ak_module_train(m, false);
    const ak_tensor *a = fine(ak_clip_texts(m, in)), *b = fine(ak_clip_texts(m, in));
    cr_expect_eq(memcmp(a->data, b->data, 5 * sizeof *a->data), 0);
    cr_expect(ak_is_training(ctx));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(clip, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_clip(ctx, "m", small_clip());
    ak_module *texts = ak_module_child(m, 0), *vision = ak_module_child(m, 1);
    const int32_t ids[] = { 1, 2, 3, 4, 5, 6, 11 };
    ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 1, 7, ids) });
    expect_error(ctx, AK_ERR_SHAPE, "T in [1, 6], got [1,7]\n    hint: ak_clip_cut");
    ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 1, 6, ids) });
    expect_error(ctx, AK_ERR_VALUE, "row 0 has no token 11");
    ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 1, 6, ids + 1),
                                  .lengths = list(ctx, 1, (int32_t[]){ 5 }) });
    expect_error(ctx, AK_ERR_VALUE, "row 0 has no end token 11 in front of its length 5");
    ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 1, 2, ids + 5), .x = pictures(ctx, 1, 4) });
    expect_error(ctx, AK_ERR_VALUE, "is handed .x, which it does not take");
    ak_clip_pictures(m, pictures(ctx, 1, 5));
    expect_error(ctx, AK_ERR_SHAPE, "m/vision_model");
    ak_clip_pictures(vision, pictures(ctx, 1, 4));
    expect_error(ctx, AK_ERR_VALUE, "ak_clip_pictures: m/vision_model");
    cr_expect(ak_is_poison(ak_clip_log_scale(texts)));
    expect_error(ctx, AK_ERR_VALUE, "is not of ak_clip");
    ak_clip_pool(vision, ak_zeros(ctx, AK_SHAPE(1, 5, 6)), table(ctx, 1, 5, ids));
    expect_error(ctx, AK_ERR_VALUE, "has pictures, which have no ids");
    ak_clip_pool(m, ak_zeros(ctx, AK_SHAPE(1, 5, 6)), NULL);
    expect_error(ctx, AK_ERR_VALUE, "is no tower of CLIP");
    cr_expect_null(ak_clip_vision(ctx, "a", (ak_vit_options){ .classes = 3 }));
    expect_error(ctx, AK_ERR_VALUE, ".classes 3");
    cr_expect_null(ak_clip_text(ctx, "b", (ak_clip_text_options){ .vocab = 3, .end = 3 }));
    expect_error(ctx, AK_ERR_VALUE, ".end 3 a word");
    cr_expect_null(ak_clip(ctx, "c", (ak_clip_options){ .projection = -1 }));
    expect_error(ctx, AK_ERR_VALUE, ".projection -1");
    ak_close(ctx);
}

/* Pictures and their words find each other, from the headers alone. */
Test(clip, learns)
{
    ak_ctx *ctx = quiet();
    ak_clip_options o = small_clip();
    o.text.width = o.picture.width = o.projection = 16;
    ak_module *m = ak_clip(ctx, "m", o);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 3e-3 });
    double before = 0, after = 0;
    for (int step = 0; step < 150; step++) {
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(8, 4, 4, 2));
        int32_t ids[8 * 4];
        for (int n = 0; n < 8; n++) {
            for (int i = 0; i < 32; i++)
                x->data[32 * n + i] = (ak_real)(0.1 * (double)x->data[32 * n + i] +
                                                (i % 8 == n ? 1 : 0));
            const int32_t row[4] = { 0, 1 + n, 11, (int32_t)step % 12 };
            memcpy(ids + 4 * n, row, sizeof row);
        }
        ak_tensor *p = ak_clip_pictures(m, x);
        ak_tensor *t = ak_clip_texts(m, (ak_inputs){ .ids = table(ctx, 8, 4, ids) });
        ak_tensor *loss = ak_loss_clip(p, t, ak_clip_log_scale(m), (ak_infonce_options){ 0 });
        after = ak_item(loss);
        before = step ? before : after;
        ak_backward(loss);
        ak_optim_step(opt);
        ak_temperature_clamp(ak_clip_log_scale(m), 1, 100);
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_gt(before, 1.5);
    cr_expect_lt(after, 0.2, "from %g to %g", before, after);
    ak_close(ctx);
}

/* ---- what weights mean ----------------------------------------------------------------------- */

/* Shapes do not say which activation, how many heads and which epsilon weights were trained with: a
 * file does, and refuses another model without touching it. */
Test(weights, of_other_options_are_refused)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/akin-models-%d.safetensors", (int)getpid());
    ak_ctx *ctx = quiet();
    ak_module *m = ak_clip(ctx, "m", small_clip());
    stir(m);
    const ak_weight_map map = { .prefix = "clip." };
    cr_assert_eq(ak_module_save_safetensors(m, path, map), AK_OK, "%s", ak_error_message(ctx));
    ak_clip_options o = small_clip();
    ak_module *same = ak_clip(ctx, "same", o);
    cr_expect_eq(ak_module_load_safetensors(same, path, map), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(memcmp(ak_module_param(same, 1)->data, ak_module_param(m, 1)->data,
                        (size_t)ak_module_param(m, 1)->size * sizeof(ak_real)), 0);

    static const char *const message[] = {
        "text_model/encoder/layers/0 with pre-norm, quick GELU; here it has pre-norm, GELU",
        "vision_model/pre_layrnorm with eps 1e-05; here it has eps 1e-06",
        "text_model/encoder/layers/0/self_attn with 2 heads, scale 0.5; here it has 4 heads",
        "text_model with end token 11; here it has end token 3" };
    for (int i = 0; i < 4; i++) {
        o = small_clip();
        o.text.activation = i == 0 ? AK_GELU : 0;
        o.picture.eps = i == 1 ? 1e-6 : 0;
        o.text.heads = i == 2 ? 4 : 2;
        o.text.end = i == 3 ? 3 : 0;
        char name[8], pattern[12];
        snprintf(name, sizeof name, "o%d", i);
        snprintf(pattern, sizeof pattern, "o%d/*", i);
        ak_module *other = ak_clip(ctx, name, o);
        const uint32_t before = ak_hash(ctx, pattern);
        ak_module_load_safetensors(other, path, map);
        expect_error(ctx, AK_ERR_FORMAT, message[i]);
        cr_expect_eq(ak_hash(ctx, pattern), before);
        /* What is not loaded need not agree; a copy has what its model had. */
        ak_weight_map some = map;
        some.only = i == 1 ? "text*" : "vis*";
        some.allow_unexpected = "*";
        cr_expect_eq(ak_module_load_safetensors(other, path, some), AK_OK, "%s",
                     ak_error_message(ctx));
        snprintf(name, sizeof name, "t%d", i);
        ak_module_load_safetensors(ak_module_clone(other, name), path, map);
        expect_error(ctx, AK_ERR_FORMAT, "hint: make the module with the options");
    }
    /* A tower of the file by itself. */
    ak_module *tower = ak_clip_text(ctx, "tower", (ak_clip_text_options){
        .vocab = V, .width = C, .layers = 1, .heads = 2, .positions = 6, .activation = AK_GELU });
    ak_module_load_safetensors(tower, path, (ak_weight_map){ .prefix = "clip.text_model.",
                                                             .allow_unexpected = "*" });
    expect_error(ctx, AK_ERR_FORMAT, "tower/encoder/layers/0 with pre-norm, quick GELU");
    ak_module *t5 = ak_t5(ctx, "t5", small_t5());
    cr_assert_eq(ak_module_save_safetensors(t5, path, (ak_weight_map){ 0 }), AK_OK);
    ak_t5_options scaled = small_t5();
    scaled.out_scale = 1;
    ak_module_load_safetensors(ak_t5(ctx, "scaled", scaled), path, (ak_weight_map){ 0 });
    expect_error(ctx, AK_ERR_FORMAT, "scaled with outputs times 0.353553");
    unlink(path);
    ak_close(ctx);
}

/* ---- Q-Former -------------------------------------------------------------------------------- */

enum { Q = 3, M = 7 };

static ak_module *small_qformer(ak_ctx *ctx)
{
    ak_module *m = ak_qformer(ctx, "q", (ak_qformer_options){
        .width = C, .layers = 3, .heads = 2, .hidden = 10, .memory_width = M, .queries = Q,
        .vocab = V, .positions = 6 });
    cr_assert_not_null(m, "%s", ak_error_message(ctx));
    stir(m);
    return m;
}

static ak_tensor *views(ak_ctx *ctx, uint64_t seed)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 4, M));
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = (ak_real)ak_random_normal(seed, 1, (uint64_t)i);
    return x;
}

/* Which halves of the result move with the memory, with the words, with the last word alone. */
Test(qformer, modes_say_what_is_seen)
{
    static const struct {
        ak_qformer_mode mode;
        bool queries_see_words, words_see_queries, words_see_later;
    } modes[] = { { AK_QFORMER_MATCH, true, true, true },
                  { AK_QFORMER_CONTRAST, false, false, true },
                  { AK_QFORMER_GENERATE, false, true, false } };
    ak_ctx *ctx = quiet();
    ak_module *m = small_qformer(ctx);
    ak_train_mode(ctx, false);
    const int32_t first[] = { 1, 2, 3, 4, 5, 6 }, last[] = { 1, 2, 8, 4, 5, 9 };
    for (int i = 0; i < 3; i++) {
        const ak_qformer_mode mode = modes[i].mode;
        ak_tensor *memory = views(ctx, 1), *other = views(ctx, 2);
        ak_index *a = table(ctx, 2, 3, first), *b = table(ctx, 2, 3, last);
        const ak_tensor *y = fine(ak_qformer_run(m, (ak_inputs){ .memory = memory, .ids = a },
                                                 mode));
        cr_assert(ak_shape_equal(y->shape, AK_SHAPE(2, Q + 3, C)));
        const ak_tensor *z = fine(ak_qformer_run(m, (ak_inputs){ .memory = memory, .ids = b },
                                                 mode));
        cr_expect_eq(!same_rows(y, 0, z, 0, Q), modes[i].queries_see_words, "mode %d", i);
        cr_expect_eq(!same_rows(y, Q, z, Q, 2), modes[i].words_see_later, "mode %d", i);
        cr_expect_not(same_rows(y, Q + 2, z, Q + 2, 1), "mode %d", i);
        const ak_tensor *w = fine(ak_qformer_run(m, (ak_inputs){ .memory = other, .ids = a },
                                                 mode));
        cr_expect_not(same_rows(y, 0, w, 0, Q), "mode %d", i);
        cr_expect_eq(!same_rows(y, Q, w, Q, 3), modes[i].words_see_queries, "mode %d", i);
        ak_step_end(ctx);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Queries without words, words without queries: as where they do not see each other. Lengths and a
 * mask say the same in each mode. */
Test(qformer, halves_alone)
{
    ak_ctx *ctx = quiet();
    ak_module *m = small_qformer(ctx);
    ak_train_mode(ctx, false);
    const int32_t ids[] = { 1, 2, 3, 4, 5, 6 }, mask[] = { 1, 1, 1, 1, 0, 0 };
    ak_inputs words = { .ids = table(ctx, 2, 3, ids),
                        .lengths = list(ctx, 2, (int32_t[]){ 3, 1 }) };
    ak_inputs queries = { .memory = views(ctx, 1), .memory_lengths = list(ctx, 2,
                                                                        (int32_t[]){ 4, 2 }) };
    ak_inputs both = queries;
    both.ids = words.ids;
    both.lengths = words.lengths;
    const ak_tensor *y = fine(ak_qformer_run(m, both, AK_QFORMER_CONTRAST));
    cr_expect(same_rows(y, 0, fine(ak_forward_with(m, queries)), 0, Q));
    cr_expect(same_rows(y, Q, fine(ak_qformer_run(m, words, AK_QFORMER_CONTRAST)), 0, 3));
    cr_expect(same_rows(y, Q, fine(ak_forward_with(m, words)), 0, 3));
    for (int mode = 0; mode < 3; mode++) {
        const ak_tensor *a = fine(ak_qformer_run(m, both, (ak_qformer_mode)mode));
        ak_inputs masked = both;
        masked.lengths = NULL;
        masked.mask = table(ctx, 2, 3, mask);
        const ak_tensor *b = fine(ak_qformer_run(m, masked, (ak_qformer_mode)mode));
        for (int64_t i = 0; i < a->size; i++)
            if (i / C / (Q + 3) == 0 || i / C % (Q + 3) < Q + 1)
                cr_expect_float_eq((double)a->data[i], (double)b->data[i], NEAR, "mode %d", mode);
    }
    /* Queries handed in take the place of the learned ones. */
    ak_tensor *own = ak_add(ak_zeros(ctx, AK_SHAPE(2, Q, C)), ak_module_find(m, "query_tokens"));
    queries.x = own;
    const ak_tensor *z = fine(ak_forward_with(m, queries));
    for (int64_t n = 0, width = Q * C; n < 2; n++)
        for (int64_t i = 0; i < width; i++)
            cr_expect_float_eq((double)z->data[n * width + i],
                               (double)y->data[n * (Q + 3) * C + i], NEAR);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(qformer, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = small_qformer(ctx);
    const int32_t ids[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    ak_index *words = ak_index_keep(table(ctx, 2, 3, ids));
    ak_tensor *memory = ak_keep(views(ctx, 1));
    ak_forward_with(m, (ak_inputs){ 0 });
    expect_error(ctx, AK_ERR_VALUE, ".memory is missing");
    ak_forward_with(m, (ak_inputs){ .ids = words, .x = ak_zeros(ctx, AK_SHAPE(2, Q, C)) });
    expect_error(ctx, AK_ERR_VALUE, ".memory is missing");
    ak_forward_with(m, (ak_inputs){ .memory = memory, .lengths = list(ctx, 2, ids) });
    expect_error(ctx, AK_ERR_VALUE, ".lengths and .mask are of .ids");
    ak_forward_with(m, (ak_inputs){ .memory = memory, .ids = table(ctx, 1, 7, ids) });
    expect_error(ctx, AK_ERR_SHAPE, "T in [1, 6], N that of .memory, got [1,7] beside [2,4,7]");
    ak_forward_with(m, (ak_inputs){ .memory = ak_zeros(ctx, AK_SHAPE(2, 4, C)) });
    expect_error(ctx, AK_ERR_SHAPE, "[N, S, 7] for .memory");
    ak_forward_with(m, (ak_inputs){ .memory = memory, .x = ak_zeros(ctx, AK_SHAPE(3, Q, C)) });
    expect_error(ctx, AK_ERR_SHAPE, "[2, Q, 8], queries");
    ak_forward_with(m, (ak_inputs){ .memory = memory, .ids = words,
                                    .mask = table(ctx, 2, 2, ids) });
    expect_error(ctx, AK_ERR_SHAPE, ".mask is [2,2], .ids [2,3]");
    ak_forward_with(m, (ak_inputs){ .memory = memory, .ids = words,
                                    .lengths = list(ctx, 2, (int32_t[]){ 4, 1 }) });
    expect_error(ctx, AK_ERR_VALUE, ".lengths[0] = 4 is not in [0, 3]");
    ak_qformer_run(m, (ak_inputs){ .memory = memory }, (ak_qformer_mode)3);
    expect_error(ctx, AK_ERR_VALUE, "mode 3");
    ak_module *plain = ak_qformer(ctx, "p", (ak_qformer_options){ .width = C, .layers = 1,
                                                                  .heads = 2, .memory_width = M });
    ak_forward_with(plain, (ak_inputs){ .memory = memory });
    expect_error(ctx, AK_ERR_VALUE, ".x is missing");
    ak_forward_with(plain, (ak_inputs){ .memory = memory, .ids = words });
    expect_error(ctx, AK_ERR_VALUE, "is handed .ids, which it does not take");
    ak_qformer_run(ak_module_child(m, 0), (ak_inputs){ .memory = memory }, AK_QFORMER_MATCH);
    expect_error(ctx, AK_ERR_VALUE, "is not of ak_qformer");
    cr_expect_null(ak_qformer(ctx, "a", (ak_qformer_options){ .every = -1 }));
    expect_error(ctx, AK_ERR_VALUE, ".every -1");
    cr_expect_null(ak_qformer(ctx, "b", (ak_qformer_options){ .vocab = 3, .padding = 3 }));
    expect_error(ctx, AK_ERR_VALUE, ".padding 3");
    cr_expect_null(ak_qformer(ctx, "c", (ak_qformer_options){ .dropout = 1 }));
    expect_error(ctx, AK_ERR_VALUE, ".dropout 1");
    ak_close(ctx);
}
