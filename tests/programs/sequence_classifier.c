/* SPDX-License-Identifier: Apache-2.0 */
/* sequence_classifier.c - a transformer on padded sequences: does the first token come again? */
#include <akin/akin.h>
enum { WORDS = 8, LONGEST = 12, WIDTH = 32, BATCH = 64, STEPS = 700 };

static ak_tensor *embed_forward(ak_module *m, const ak_inputs *in)
{
    return ak_add(ak_embedding(ak_module_find(m, "word"), in->ids, AK_NONE),
                  ak_rows(ak_module_find(m, "place"), 0, in->ids->shape.dims[1]));
}

/* Pre-norm: x += attention(norm(x)); x += mlp(norm(x)) */
static ak_tensor *block_forward(ak_module *m, const ak_inputs *in)
{
    ak_tensor *qkv[3], *x = ak_forward(ak_module_child(m, 0), in->x);
    ak_split(ak_forward(ak_module_child(m, 1), x), 2, 3, qkv);
    const ak_attention_options o = { .heads = 4, .key_lengths = in->lengths };
    ak_tensor *y = ak_attention(qkv[0], qkv[1], qkv[2], o);
    x = ak_add(in->x, ak_forward(ak_module_child(m, 2), y));
    return ak_add(x, ak_forward(ak_module_child(m, 4), ak_forward(ak_module_child(m, 3), x)));
}

static ak_tensor *first_forward(ak_module *m, ak_tensor *x)
{
    return (void)m, ak_flatten(ak_slice(x, 1, 0, 1));
}

static const ak_module_kind
    embed = { .forward_with = embed_forward, .needs = AK_IN_IDS },
    block = { .forward_with = block_forward, .needs = AK_IN_X, .takes = AK_IN_LENGTHS };

static ak_module *classifier(ak_ctx *ctx)
{
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_module *e = ak_module_make(ctx, "embed", &embed);
    ak_init_fill(ak_module_add_param(e, "word", AK_SHAPE(WORDS, WIDTH), 0), (ak_init){ 0 });
    ak_init_fill(ak_module_add_param(e, "place", AK_SHAPE(2 * LONGEST, WIDTH), 0), (ak_init){ 0 });
    for (int i = 0; i < 2; i++) {
        ak_module *b = ak_module_begin(ak_module_make(ctx, i ? "block2" : "block1", &block));
        ak_nn_layer_norm(ctx, "norm1", WIDTH, 0);
        ak_nn_linear(ctx, "qkv", WIDTH, 3 * WIDTH, (ak_linear_options){ 0 });
        ak_nn_linear(ctx, "out", WIDTH, WIDTH, (ak_linear_options){ 0 });
        ak_nn_layer_norm(ctx, "norm2", WIDTH, 0);
        ak_mlp(ctx, "mlp", (int[]){ WIDTH, 2 * WIDTH, WIDTH, 0 });
        ak_module_end(b);
    }
    ak_module_new(ctx, "first", first_forward, NULL);
    ak_nn_linear(ctx, "fc", WIDTH, 2, (ak_linear_options){ 0 });
    return ak_module_end(net);
}

/* Batch `which`, padded to `T`: noise behind the sequences. */
static ak_inputs batch(ak_ctx *ctx, uint64_t which, uint64_t T, int32_t label[BATCH])
{
    int32_t ids[BATCH * 2 * LONGEST], lengths[BATCH];
    for (uint64_t n = 0; n < BATCH; n++) {
        lengths[n] = 3 + (int32_t)ak_random_below(which, 0, n, LONGEST - 2);
        label[n] = 0;
        for (uint64_t t = 0; t < T; t++) {
            ids[n * T + t] = (int32_t)ak_random_below(which, 1 + n, t, WORDS);
            label[n] |= t > 0 && t < (uint64_t)lengths[n] && ids[n * T + t] == ids[n * T];
        }
    }
    return (ak_inputs){ .ids = ak_index_from(ctx, AK_SHAPE(BATCH, (int64_t)T), ids),
                        .lengths = ak_index_from(ctx, AK_SHAPE(BATCH), lengths) };
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_module *net = classifier(ctx);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 2e-3 });
    int32_t label[BATCH], right = 0;
    for (uint64_t step = 1; step <= STEPS; step++, ak_step_end(ctx)) {
        ak_tensor *y = ak_forward_with(net, batch(ctx, step, LONGEST, label));
        ak_index *want = ak_index_from(ctx, AK_SHAPE(BATCH), label);
        ak_backward(ak_cross_entropy(y, want, (ak_cross_entropy_options){ 0 }));
        ak_optim_step(opt);
    }
    double moved = 0;                                       /* by more padding: nothing */
    for (uint64_t i = 1; i <= 16; i++, ak_step_end(ctx)) {
        ak_tensor *y = ak_forward_with(net, batch(ctx, STEPS + i, LONGEST, label));
        ak_tensor *z = ak_forward_with(net, batch(ctx, STEPS + i, 2 * LONGEST, label));
        for (int k = 0; k < BATCH; k++)
            right += (y->data[2 * k + 1] > y->data[2 * k]) == label[k];
        moved += ak_item(ak_l1(y, z));
    }
    printf("sequence classifier: %d of 1024 right, %.1e by padding\n", right, moved);
    return ak_close(ctx) == AK_OK && right > 950 && moved < 1e-4 ? 0 : 1;
}
