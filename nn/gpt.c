/* SPDX-License-Identifier: Apache-2.0 */
/* GPT-2, and the loss of its next words. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

/* Own tensor: the word embeddings. Children: positions, layers and the last norm. */
enum { POSITIONS, LAYERS };

typedef struct gpt { ak_gpt_options o; } gpt;

static ak_tensor *gpt_forward(ak_module *m, const ak_inputs *in)
{
    const gpt *g = m->user;
    const ak_shape s = in->ids->shape;
    ak_tensor *words = ak__own(m, 0);
    if (s.n != 2 || s.dims[1] < 1) {
        char text[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .ids [N, T], got %s", m->name, m->what,
                ak_shape_text(s, text));
        return &ak__poison;
    }
    ak_tensor *x = ak_embedding(words, in->ids, AK_NONE);
    if (ak_is_poison(x))
        return x;
    ak_tensor *sum = ak_forward_with(m->children[POSITIONS], (ak_inputs){
        .x = x, .state = in->state, .lengths = in->state ? in->lengths : NULL });
    if (ak_is_poison(sum))
        return sum;
    ak_done_with(x, false);
    ak_inputs own = *in;
    own.ids = NULL;
    own.x = ak_dropout(sum, g->o.dropout);
    if (own.x != sum)
        ak_done_with(sum, false);
    ak_tensor *y = ak__run_layers(m, &own, LAYERS, g->o.layers + 1);
    if (ak_is_poison(y))
        return y;
    ak_done_with(own.x, false);
    if (g->o.states)
        return y;
    ak_tensor *logits = ak_linear(y, words, NULL);
    if (!ak_is_poison(logits))
        ak_done_with(y, false);
    return logits;
}

static const ak_module_kind gpt_kind = {
    .name = "GPT", .forward_with = gpt_forward, .needs = AK_IN_IDS,
    .takes = AK_IN_LENGTHS | AK_IN_MASK | AK_IN_PREFIX | AK_IN_STATE, AK__STATE(gpt) };

static void add_layers(ak_ctx *ctx, const ak_gpt_options *o, const char *below)
{
    char path[64];
    snprintf(path, sizeof path, "%swpe", below);
    ak_nn_positions(ctx, path, o->positions, o->width);
    for (int i = 0; i < o->layers; i++) {
        snprintf(path, sizeof path, "%sh/%d", below, i);
        ak_nn_transformer_block(ctx, path, o->width, (ak_block_options){
            .heads = o->heads, .hidden = o->hidden, .activation = o->activation, .causal = true,
            .eps = o->eps, .dropout = o->dropout, .attention_dropout = o->attention_dropout,
            .names = AK_NAMES_GPT2, .out_scale = 1 / sqrt(2.0 * o->layers) });
    }
    snprintf(path, sizeof path, "%sln_f", below);
    ak_nn_layer_norm(ctx, path, o->width, o->eps);
}

ak_module *ak_gpt(ak_ctx *ctx, const char *name, ak_gpt_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &gpt_kind);
    if (!m)
        return NULL;
    o.width = o.width ? o.width : 768;
    o.layers = o.layers ? o.layers : 12;
    o.heads = o.heads ? o.heads : 12;
    o.positions = o.positions ? o.positions : 1024;
    o.activation = o.activation ? o.activation : AK_GELU_TANH;
    if (o.vocab < 1 || o.width < 1 || o.layers < 1 || o.heads < 1 || o.positions < 1) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .vocab %d, .width %d, .layers %d, .heads %d, .positions %d "
                "must be at least 1", m->name, o.vocab, o.width, o.layers, o.heads, o.positions);
        return NULL;
    }
    *(gpt *)m->user = (gpt){ o };
    const char *below = o.states ? "" : "transformer/";
    char path[64];
    ak_module_describe(m, "GPT, %d layers of %d, %d words", o.layers, o.width, o.vocab);
    snprintf(path, sizeof path, "%swte/weight", below);
    ak_init_fill(ak_module_add_param(m, path, AK_SHAPE(o.vocab, o.width), 0),
                 ak__block_init((ak_init){ 0 }, 1));
    ak_module_begin(m);
    add_layers(ctx, &o, below);
    return ak_module_end(m);
}

/* ---- next words ------------------------------------------------------------------------------ */

/* What position t of row n has to say, the id at t + 1, or -1 where that is not in [first, end). */
ak_index *ak__next_words(ak_ctx *ctx, const ak_index *ids, const ak_index *first,
                         const ak_index *lengths)
{
    const int64_t N = ids->shape.dims[0], T = ids->shape.dims[1];
    ak_index *next = ak__index_new(ctx, AK_SHAPE(N * T));
    for (int64_t i = 0; next != &ak__poison_index && i < N * T; i++) {
        const int64_t n = i / T, t = i % T + 1, end = lengths ? lengths->data[n] : T;
        const bool counts = t < end && t < T && (!first || t >= first->data[n]);
        ak__index_data(next)[i] = counts ? ids->data[i + 1] : -1;
    }
    return next;
}

bool ak__words_fit(const char *who, const ak_tensor *logits, const ak_index *ids)
{
    const ak_shape s = logits->shape;
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    if (s.n == 3 && ids->shape.n == 2 && s.dims[0] == ids->shape.dims[0] &&
        s.dims[1] == ids->shape.dims[1])
        return true;
    ak_fail(logits->ctx, AK_ERR_SHAPE, "%s: logits %s and ids %s; expected [N, T, V] and [N, T]",
            who, ak_shape_text(s, a), ak_shape_text(ids->shape, b));
    return false;
}

ak_tensor *ak_next_word_loss(ak_tensor *logits, ak_index *ids, ak_index *lengths)
{
    if (!AK__TENSOR(NULL, logits) || !AK__INDEX(logits->ctx, ids) ||
        (lengths && !AK__INDEX(logits->ctx, lengths)) ||
        !ak__words_fit("ak_next_word_loss", logits, ids))
        return &ak__poison;
    const int64_t N = ids->shape.dims[0], T = ids->shape.dims[1];
    if (lengths && !ak__lengths_in("ak_next_word_loss", logits->ctx, lengths, N, 0, T))
        return &ak__poison;
    return ak_cross_entropy(ak_flatten_rows(logits), ak__next_words(logits->ctx, ids, NULL,
                                                                    lengths),
                            (ak_cross_entropy_options){ 0 });
}
