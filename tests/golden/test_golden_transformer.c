/* SPDX-License-Identifier: Apache-2.0 */
/* Attention modules, rotary positions, transformer layers, ViT, BERT, GPT-2, T5, CLIP and Q-Former
 * against PyTorch, timm and transformers: outputs, gradients of inputs and of every parameter.
 * Parameters are found by their names in the file, with "." for "/". */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/models.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

static ak_ctx *ctx;
static golden_file *file;
static int at;

static const char *key(const char *name) { return golden_key("c%d_%s", at, name); }
static bool has(const char *name) { return golden_has(file, key(name)); }
static double number(const char *name, double absent)
{
    return golden_number_or(file, key(name), absent);
}
static int whole(const char *name, int absent) { return (int)number(name, absent); }
static const char *text(const char *name) { return golden_text(file, key(name)); }
static ak_index *whole_numbers(const char *name)
{
    return has(name) ? golden_index(ctx, file, key(name)) : NULL;
}
static ak_tensor *leaf(const char *name)
{
    return has(name) ? ak_require_grad(golden_tensor(ctx, file, key(name))) : NULL;
}

/* transformers makes the loss of next words in float, and T5's means of squares, whatever the model
 * is in: results have the digits of a float there. opt_exact_norm: not so in this file. */
static double tolerance(void)
{
    const bool in_float = strcmp(text("opt_name"), "next_word_loss") == 0 ||
                          (has("p_shared.weight") && whole("opt_exact_norm", 0) == 0);
    return in_float && GOLDEN_TOL < 1e-6 ? 1e-6 : GOLDEN_TOL;
}

static void expect(const ak_real *got, const char *name)
{
    char msg[GOLDEN_MESSAGE];
    cr_assert(got, "%s: nothing to compare", key(name));
    cr_expect(golden_close(got, file, key(name), tolerance(), msg), "%s", msg);
}

static void each_case(const char *name, void (*one)(void))
{
    file = golden_open(name);
    cr_assert(file, "no file %s", name);
    const int cases = golden_cases(file);
    cr_assert(cases > 0);
    for (at = 0; at < cases; at++) {
        ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
        ak_on_error(ctx, NULL, NULL);
        ak_train_mode(ctx, false);
        one();
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
    golden_free(file);
}

/* Files of our own making (tests/peer/golden_models.py), which another folder need not have. */
static void each_own_case(const char *name, void (*one)(void))
{
    const char *folder = getenv("AK_GOLDEN_DIR");
    if (folder && *folder) {
        file = golden_open(name);
        if (!file)
            return;
        golden_free(file);
    }
    each_case(name, one);
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* How a parameter lies in the file. */
typedef enum layout { AS_IT_IS, TURNED, PATCHES } layout;
typedef layout layout_fn(const char *name);

static layout as_it_is(const char *name)
{
    (void)name;
    return AS_IT_IS;
}

/* "p_..": the file's name of a tensor of the module called "net". */
static const char *their_name(const ak_tensor *t, const char *prefix)
{
    static char names[4][160];
    static int turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "%s%s", prefix, t->name + strlen("net/"));
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return name;
}

/* Place in the file of element i: a matrix I O for O I, a kernel O C h w for O (h w C). */
static int64_t their_place(const ak_tensor *t, layout l, int64_t i, const ak_shape theirs)
{
    const int64_t *d = t->shape.dims;
    if (l == TURNED)
        return i % d[1] * d[0] + i / d[1];
    if (l == AS_IT_IS)
        return i;
    const int64_t C = theirs.dims[1], hw = theirs.dims[2] * theirs.dims[3];
    const int64_t o = i / (hw * C), place = i % (hw * C);
    return (o * C + place % C) * hw + place / C;
}

static void import(const ak_module *net, layout_fn *lies)
{
    ak_tensor *t;
    int count = 0;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++, count++) {
        const char *name = their_name(t, "p_");
        cr_assert(has(name), "%s: not in the file", name);
        cr_assert_eq(golden_size(file, key(name)), t->size, "%s", name);
        const double *values = golden_values(file, key(name));
        const ak_shape shape = golden_shape(file, key(name));
        for (int64_t j = 0; j < t->size; j++)
            t->data[j] = (ak_real)values[their_place(t, lies(name), j, shape)];
        ak_touch(t);
    }
    int there = 0;
    const char *prefix = key("p_");
    for (int i = 0; golden_name(file, i); i++)
        there += strncmp(golden_name(file, i), prefix, strlen(prefix)) == 0;
    cr_expect_eq(there, count, "%d of %d parameters of the file", count, there);
}

static void expect_parameter_gradients(const ak_module *net, layout_fn *lies)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++) {
        const char *name = their_name(t, "gp_");
        const ak_shape shape = golden_shape(file, key(name));
        ak_real *theirs = malloc((size_t)t->size * sizeof *theirs);
        for (int64_t j = 0; j < t->size; j++)
            theirs[their_place(t, lies(name), j, shape)] = t->grad[j];
        expect(theirs, name);
        free(theirs);
    }
}

static void expect_output(ak_tensor *y)
{
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    expect(y->data, "y");
    const ak_tensor *gy = golden_tensor(ctx, file, key("gy"));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
}

static ak_module *usable(ak_module *net)
{
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    return net;
}

/* ---- rotary, attention ----------------------------------------------------------------------- */

static void rotary_case(void)
{
    ak_tensor *x = leaf("x");
    const char *layout_name = text("opt_layout");
    const bool split = strcmp(layout_name, "half-split") == 0;
    cr_assert(split || strcmp(layout_name, "interleaved") == 0, "layout %s", layout_name);
    expect_output(ak_rotary(x, (ak_rotary_options){ .base = number("opt_base", 0),
                                                    .interleaved = !split }));
    expect(x->grad, "gx");
}

static void multihead_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2");
    const int64_t width = x->shape.dims[2], memory = x2 ? x2->shape.dims[2] : width;
    ak_module *net = usable(ak_nn_attention(ctx, "net", width, (ak_attention_layer_options){
        .heads = whole("opt_heads", 1), .cross = x2 != NULL,
        .memory_width = memory != width ? (int)memory : 0,
        .no_bias = !has("p_in_proj_bias") }));
    import(net, as_it_is);
    expect_output(ak_forward_with(net, (ak_inputs){ .x = x, .memory = x2 }));
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, rotary) { each_case("layer-rotary", rotary_case); }
Test(golden, multihead_module) { each_case("layer-multihead", multihead_case); }

/* ---- transformer layers ---------------------------------------------------------------------- */

static void transformer_layer_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2");
    const ak_shape hidden = golden_shape(file, key("p_linear1.weight"));
    ak_module *net = usable(ak_nn_transformer_block(ctx, "net", x->shape.dims[2],
                                                    (ak_block_options){
        .heads = whole("opt_heads", 1), .hidden = (int)hidden.dims[0], .activation = AK_GELU,
        .post_norm = whole("opt_norm_first", 0) == 0, .cross = x2 != NULL,
        .causal = strstr(text("opt_kind"), "causal") != NULL }));
    import(net, as_it_is);
    expect_output(ak_forward_with(net, (ak_inputs){ .x = x, .memory = x2 }));
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, transformer_layers) { each_case("model-transformer-layer", transformer_layer_case); }

/* ---- ViT ------------------------------------------------------------------------------------- */

static layout vit_layout(const char *name)
{
    return strstr(name, "patch_embed.proj.weight") ? PATCHES : AS_IT_IS;
}

static void vit_case(void)
{
    ak_tensor *x = leaf("x");
    const ak_shape y = golden_shape(file, key("y"));
    const ak_shape width = golden_shape(file, key("p_norm.weight"));
    ak_module *net = usable(ak_vit(ctx, "net", (ak_vit_options){
        .image = whole("opt_image", 224), .patch = whole("opt_patch", 16),
        .channels = (int)x->shape.dims[3], .width = (int)width.dims[0],
        .layers = whole("opt_depth", 12), .heads = whole("opt_heads", 3),
        .hidden = (int)golden_shape(file, key("p_blocks.0.mlp.fc1.weight")).dims[0],
        .classes = has("p_head.weight") ? (int)y.dims[y.n - 1] : 0,
        .eps = number("opt_eps", 0) }));
    import(net, vit_layout);
    expect_output(ak_forward(net, x));
    expect(x->grad, "gx");
    expect_parameter_gradients(net, vit_layout);
}

Test(golden, vit) { each_case("model-vit", vit_case); }

/* ---- BERT ------------------------------------------------------------------------------------ */

static ak_bert_options bert_options(const char *prefix)
{
    const char *words = golden_key("c%d_p_%sembeddings.position_embeddings.weight", at, prefix);
    const char *types = golden_key("c%d_p_%sembeddings.token_type_embeddings.weight", at, prefix);
    const char *hidden = golden_key("c%d_p_%sencoder.layer.0.intermediate.dense.weight", at,
                                    prefix);
    return (ak_bert_options){
        .vocab = whole("opt_vocab", 0), .width = whole("opt_width", 0),
        .layers = whole("opt_layers", 0), .heads = whole("opt_heads", 0),
        .hidden = (int)golden_shape(file, hidden).dims[0],
        .positions = (int)golden_shape(file, words).dims[0],
        .types = (int)golden_shape(file, types).dims[0],
        .pooler = golden_has(file, golden_key("c%d_p_%spooler.dense.weight", at, prefix)),
        .relu = strcmp(text("opt_activation"), "relu") == 0, .eps = number("opt_eps", 0) };
}

/* What is at or beyond the lengths is not compared: y there becomes what the file has. `front`
 * places stand in front of those that have lengths. */
static void forget_padding(ak_tensor *y, const ak_index *lengths, int64_t front)
{
    const double *want = golden_values(file, key("y"));
    const int64_t T = y->shape.dims[1], C = y->size / (y->shape.dims[0] * T);
    for (int64_t i = 0; lengths && i < y->size; i++)
        if (i / C % T >= front + lengths->data[i / C / T])
            y->data[i] = (ak_real)want[i];
}

static void bert_case(void)
{
    const char *name = text("opt_name");
    const bool masked = strcmp(name, "masked_lm_loss") == 0;
    const bool pooled = strcmp(name, "pooler_output") == 0;
    cr_assert(masked || pooled || strcmp(name, "last_hidden_state") == 0, "%s", name);
    ak_index *lengths = whole_numbers("lengths"), *target = whole_numbers("target");
    ak_module *net = usable(masked ? ak_bert_masked(ctx, "net", bert_options("bert."))
                                   : ak_bert(ctx, "net", bert_options("")));
    import(net, as_it_is);
    ak_tensor *y = ak_forward_with(net, (ak_inputs){
        .ids = whole_numbers("ids"), .types = whole_numbers("segments"), .lengths = lengths });
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    if (pooled)
        y = ak_bert_pool(net, y);
    else if (masked)
        y = ak_cross_entropy(ak_flatten_rows(y), ak_index_from(ctx, AK_SHAPE(target->size),
                                                               target->data),
                             (ak_cross_entropy_options){ .ignore_index = -100,
                                                         .has_ignore = true });
    else
        forget_padding(y, lengths, 0);
    expect_output(y);
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, bert) { each_case("model-bert", bert_case); }

/* ---- GPT-2 ----------------------------------------------------------------------------------- */

/* Its linear layers are I x O. */
static layout gpt_layout(const char *name)
{
    return strstr(name, ".c_attn.weight") || strstr(name, ".c_proj.weight") ||
           strstr(name, ".c_fc.weight") ? TURNED : AS_IT_IS;
}

/* The first two words of each row continued greedily, with a state and without. */
static void expect_greedy(ak_module *net)
{
    const ak_index *want = whole_numbers("greedy");
    const int64_t N = want->shape.dims[0], T = want->shape.dims[1];
    int32_t *start = malloc((size_t)(2 * N) * sizeof *start);
    for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < 2; t++)
            start[2 * n + t] = want->data[n * T + t];
    for (int without = 0; without < 2; without++) {
        ak_index *prompt = ak_index_from(ctx, AK_SHAPE(N, 2), start);
        const ak_index *got = ak_generate(net, prompt, NULL, (ak_generate_options){
            .steps = T - 2, .no_state = without }, NULL);
        cr_assert_eq(got->size, want->size, "%s", ak_error_message(ctx));
        for (int64_t i = 0; i < want->size; i++)
            cr_expect_eq(got->data[i], want->data[i], "word %lld", (long long)i);
    }
    free(start);
}

static void gpt_case(void)
{
    const char *name = text("opt_name");
    const bool loss = strcmp(name, "next_word_loss") == 0;
    cr_assert(loss || strcmp(name, "logits") == 0, "%s", name);
    ak_index *ids = whole_numbers("ids");
    ak_module *net = usable(ak_gpt(ctx, "net", (ak_gpt_options){
        .vocab = whole("opt_vocab", 0), .width = whole("opt_width", 0),
        .layers = whole("opt_layers", 0), .heads = whole("opt_heads", 0),
        .hidden = (int)golden_shape(file, key("p_transformer.h.0.mlp.c_fc.weight")).dims[1],
        .positions = (int)golden_shape(file, key("p_transformer.wpe.weight")).dims[0],
        .eps = number("opt_eps", 0) }));
    import(net, gpt_layout);
    ak_tensor *y = ak_forward_with(net, (ak_inputs){ .ids = ids });
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    expect_output(loss ? ak_next_word_loss(y, ids, NULL) : y);
    expect_parameter_gradients(net, gpt_layout);
    if (has("greedy"))
        expect_greedy(net);
}

Test(golden, gpt2) { each_case("model-gpt2", gpt_case); }

/* ---- T5 -------------------------------------------------------------------------------------- */

/* How many layers of a stack the file has: the first number without `name`, a format. */
static int count_layers(const char *name)
{
    char path[160];
    for (int i = 0;; i++) {
        snprintf(path, sizeof path, name, i);
        if (!has(path))
            return i;
    }
}

static ak_t5_options t5_options(void)
{
    static const struct { const char *name; ak_activation f; bool gated; } kinds[] = {
        { "relu", AK_RELU, false }, { "gated-gelu", AK_GELU_TANH, true },
        { "gated-relu", AK_RELU, true }, { "gated-silu", AK_SILU, true },
        { "gelu", AK_GELU, false }, { "gelu_new", AK_GELU_TANH, false } };
    const char *feed = text("opt_feed_forward");
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].name, feed) != 0)
        k++;
    cr_assert_lt(k, sizeof kinds / sizeof *kinds, "%s", feed);
    const int width = whole("opt_width", 0);
    const bool tied = !has("p_lm_head.weight"), scaled = whole("opt_scaled", tied);
    return (ak_t5_options){
        .vocab = whole("opt_vocab", 0), .width = width,
        .layers = count_layers("p_encoder.block.%d.layer.0.layer_norm.weight"),
        .decoder_layers = count_layers("p_decoder.block.%d.layer.0.layer_norm.weight"),
        .heads = whole("opt_heads", 0), .head_width = whole("opt_head_width", 0),
        .hidden = (int)golden_shape(file, key(kinds[k].gated ?
            "p_encoder.block.0.layer.1.DenseReluDense.wi_0.weight" :
            "p_encoder.block.0.layer.1.DenseReluDense.wi.weight")).dims[0],
        .activation = kinds[k].f, .gated = kinds[k].gated, .buckets = whole("opt_buckets", 0),
        .max_distance = whole("opt_max_distance", 0), .untied = !tied,
        .out_scale = scaled ? 1 / sqrt(width) : 1, .eps = number("opt_eps", 0) };
}

static void expect_t5_encoder(ak_module *net, const ak_inputs *in)
{
    const ak_tensor *y = ak_t5_encode(net, (ak_inputs){ .ids = in->memory_ids,
                                                        .lengths = in->memory_lengths });
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    ak_tensor *seen = ak_zeros(ctx, y->shape);
    const int64_t S = y->shape.dims[1], C = y->shape.dims[2];
    for (int64_t i = 0; i < y->size; i++)
        if (!in->memory_lengths || i / C % S < in->memory_lengths->data[i / C / S])
            seen->data[i] = y->data[i];
    expect(seen->data, "encoder_y");
}

static void t5_case(void)
{
    const bool loss = strcmp(text("opt_name"), "loss") == 0;
    cr_assert(loss || strcmp(text("opt_name"), "logits") == 0, "%s", text("opt_name"));
    ak_index *target = whole_numbers("target");
    ak_module *net = usable(ak_t5(ctx, "net", t5_options()));
    import(net, as_it_is);
    const ak_inputs in = {
        .ids = ak_shift_right(target, whole("opt_start", 0), 0),
        .memory_ids = whole_numbers("ids"), .memory_lengths = whole_numbers("lengths") };
    if (has("encoder_y"))
        expect_t5_encoder(net, &in);
    ak_tensor *y = ak_forward_with(net, in);
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    expect_output(loss ? ak_word_loss(y, target) : y);
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, t5)
{
    each_case("model-t5", t5_case);
    each_own_case("model-t5-exact", t5_case);
}

/* ---- CLIP ------------------------------------------------------------------------------------ */

static layout clip_layout(const char *name)
{
    return strstr(name, "patch_embedding.weight") ? PATCHES : AS_IT_IS;
}

static ak_clip_options clip_options(const ak_tensor *x)
{
    const bool quick = strcmp(text("opt_activation"), "quick_gelu") == 0;
    cr_assert(quick || strcmp(text("opt_activation"), "gelu") == 0, "%s", text("opt_activation"));
    const ak_activation f = quick ? AK_QUICK_GELU : AK_GELU;
    const int heads = whole("opt_heads", 0);
    const double eps = number("opt_eps", 0);
    const ak_shape positions = golden_shape(file, key(
        "p_text_model.embeddings.position_embedding.weight"));
    return (ak_clip_options){
        .text = { .vocab = whole("opt_vocab", 0), .width = whole("opt_text_width", 0),
                  .layers = count_layers("p_text_model.encoder.layers.%d.layer_norm1.weight"),
                  .heads = whole("opt_text_heads", heads), .positions = (int)positions.dims[0],
                  .hidden = (int)golden_size(file, key(
                      "p_text_model.encoder.layers.0.mlp.fc1.bias")),
                  .end = whole("opt_end_token", 0), .activation = f, .eps = eps },
        .picture = { .image = whole("opt_image", 0), .patch = whole("opt_patch", 0),
                     .channels = (int)x->shape.dims[3], .width = whole("opt_picture_width", 0),
                     .layers = count_layers("p_vision_model.encoder.layers.%d.layer_norm1.weight"),
                     .heads = whole("opt_picture_heads", heads),
                     .hidden = (int)golden_size(file, key(
                         "p_vision_model.encoder.layers.0.mlp.fc1.bias")),
                     .activation = f, .eps = eps },
        .projection = whole("opt_projection", 0) };
}

static void clip_case(void)
{
    ak_tensor *x = leaf("x");
    const ak_inputs words = { .ids = whole_numbers("ids"), .lengths = whole_numbers("lengths") };
    ak_module *net = usable(ak_clip(ctx, "net", clip_options(x)));
    import(net, clip_layout);
    const ak_tensor *pictures = ak_clip_pictures(net, x), *texts = ak_clip_texts(net, words);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    expect(pictures->data, "image_embeds");
    expect(texts->data, "text_embeds");
    expect_output(ak_forward_with(net, (ak_inputs){ .x = x, .ids = words.ids,
                                                    .lengths = words.lengths }));
    expect(x->grad, "gx");
    expect_parameter_gradients(net, clip_layout);
}

Test(golden, clip_towers) { each_case("model-clip", clip_case); }

/* ---- Q-Former -------------------------------------------------------------------------------- */

static ak_qformer_mode qformer_mode(void)
{
    static const char *const names[] = { "match", "contrast", "generate" };
    int mode = 0;
    while (has("opt_mode") && mode < 3 && strcmp(names[mode], text("opt_mode")) != 0)
        mode++;
    cr_assert_lt(mode, 3, "%s", text("opt_mode"));
    return (ak_qformer_mode)mode;
}

/* Queries are inputs (x), or parameters; with words (ids) in one of the modes, without a memory
 * words alone. */
static void qformer_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2");
    const bool tokens = has("p_query_tokens"), words = has("p_embeddings.word_embeddings.weight");
    ak_module *net = usable(ak_qformer(ctx, "net", (ak_qformer_options){
        .width = whole("opt_width", 0),
        .layers = count_layers("p_encoder.layer.%d.attention.output.dense.weight"),
        .heads = whole("opt_heads", 0), .memory_width = whole("opt_memory_width", 0),
        .every = whole("opt_every", 0), .queries = tokens ? whole("opt_queries", 0) : 0,
        .vocab = words ? (int)golden_shape(file, key(
            "p_embeddings.word_embeddings.weight")).dims[0] : 0,
        .positions = words ? (int)golden_shape(file, key(
            "p_embeddings.position_embeddings.weight")).dims[0] : 0,
        .hidden = (int)golden_size(file, key("p_encoder.layer.0.intermediate_query.dense.bias")),
        .relu = strcmp(text("opt_activation"), "relu") == 0, .eps = number("opt_eps", 0) }));
    import(net, as_it_is);
    ak_index *lengths = whole_numbers("lengths"), *ids = whole_numbers("ids");
    ak_tensor *y = ak_qformer_run(net, (ak_inputs){
        .x = x, .memory = x2, .memory_lengths = whole_numbers("memory_lengths"), .ids = ids,
        .lengths = lengths }, qformer_mode());
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    if (lengths)
        forget_padding(y, lengths, y->shape.dims[1] - ids->shape.dims[1]);
    expect_output(y);
    if (x)
        expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, qformer)
{
    each_case("model-qformer", qformer_case);
    each_own_case("model-qformer-words", qformer_case);
}
