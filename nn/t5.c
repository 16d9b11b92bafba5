/* SPDX-License-Identifier: Apache-2.0 */
/* T5: two stacks, each with one table of relative positions, around one word embedding. */
#include "nn/transformer.h"

#include <akin/models.h>

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- a stack --------------------------------------------------------------------------------- */

/* Children: the bias of distances, the layers, the norm. */
enum { BIAS, LAYERS };

typedef struct t5_stack { double dropout; } t5_stack;

static ak_tensor *stack_forward(ak_module *m, const ak_inputs *in)
{
    const t5_stack *s = m->user;
    ak_inputs own = *in;
    own.bias = ak_forward_with(m->children[BIAS], (ak_inputs){
        .x = in->x, .state = in->state, .lengths = in->state ? in->lengths : NULL });
    if (ak_is_poison(own.bias))
        return own.bias;
    own.x = ak_dropout(in->x, s->dropout);
    ak_tensor *y = ak__run_layers(m, &own, LAYERS, m->n_children - LAYERS);
    if (own.x != in->x && !ak_is_poison(y))
        ak_done_with(own.x, false);
    return ak_is_poison(y) ? y : ak__instead(y, ak_dropout(y, s->dropout));
}

#define STACK_TAKES (AK_IN_LENGTHS | AK_IN_MASK | AK_IN_PREFIX | AK_IN_STATE)
static const ak_module_kind encoder_kind = {
    .name = "T5 encoder", .forward_with = stack_forward, .needs = AK_IN_X,
    .takes = AK_IN_LENGTHS | AK_IN_MASK, AK__STATE(t5_stack) };
static const ak_module_kind decoder_kind = {
    .name = "T5 decoder", .forward_with = stack_forward, .needs = AK_IN_X | AK_IN_MEMORY,
    .takes = STACK_TAKES | AK_IN_MEMORY_LENGTHS | AK_IN_MEMORY_MASK,
    AK__STATE(t5_stack) };

static void add_stack(ak_ctx *ctx, const ak_t5_options *o, bool decoder)
{
    ak_module *m = ak_module_make(ctx, decoder ? "decoder" : "encoder",
                                  decoder ? &decoder_kind : &encoder_kind);
    if (!m)
        return;
    *(t5_stack *)m->user = (t5_stack){ o->dropout };
    const int layers = decoder ? o->decoder_layers : o->layers;
    ak_module_describe(m, "%s, %d layers of %d", m->kind->name, layers, o->width);
    ak_module_begin(m);
    ak_nn_relative_bias(ctx, "block/0/layer/0/SelfAttention/relative_attention_bias",
                        (ak_relative_layer_options){
        .heads = o->heads, .buckets = o->buckets, .max_distance = o->max_distance,
        .one_sided = decoder });
    ak__add_layers(m, "", (ak_stack_options){ .width = o->width, .layers = layers, .block = {
        .heads = o->heads, .head_width = o->head_width, .hidden = o->hidden,
        .activation = o->activation, .gated = o->gated, .rms_norm = true, .eps = o->eps,
        .no_bias = true, .cross = decoder, .causal = decoder, .scale = 1, .dropout = o->dropout,
        .attention_dropout = o->dropout, .hidden_dropout = o->dropout, .names = AK_NAMES_T5 } });
    ak_module_end(m);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Own tensor: the word embedding. Children: encoder, decoder, output layer if it has a weight of
 * its own; an encoder alone has the first only. */
enum { ENCODER, DECODER, OUTPUT };

typedef struct t5 { ak_t5_options o; } t5;

static bool is_text(const ak_module *m, const char *field, const ak_index *ids)
{
    char text[AK_SHAPE_TEXT];
    if (ids->shape.n == 2 && ids->shape.dims[1] >= 1)
        return true;
    ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .%s [N, T], got %s", m->name, m->what, field,
            ak_shape_text(ids->shape, text));
    return false;
}

/* The encoder's result for words. */
static ak_tensor *encode(ak_module *m, ak_index *ids, ak_index *lengths, ak_index *mask)
{
    ak_tensor *x = ak_embedding(ak__own(m, 0), ids, AK_NONE);
    if (ak_is_poison(x))
        return x;
    return ak__instead(x, ak_forward_with(m->children[ENCODER], (ak_inputs){
        .x = x, .lengths = lengths, .mask = mask }));
}

static ak_tensor *encode_memory(ak_module *m, const ak_inputs *in)
{
    return encode(m, in->memory_ids, in->memory_lengths, in->memory_mask);
}

static ak_tensor *memory_of(ak_module *m, const ak_inputs *in)
{
    const t5 *t = m->user;
    if (!in->memory == !in->memory_ids) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): is handed %s\n    hint: .memory_ids are words for "
                "the encoder, .memory is what ak_t5_encode made of them", m->name, m->what,
                in->memory ? "both .memory and .memory_ids" : "neither .memory nor .memory_ids");
        return &ak__poison;
    }
    if (in->memory)
        return in->memory;
    if (!is_text(m, "memory_ids", in->memory_ids))
        return &ak__poison;
    const int64_t *d = in->memory_ids->shape.dims;
    return in->state ? ak__made_once(m, in, AK_SHAPE(d[0], d[1], t->o.width), encode_memory)
                     : encode_memory(m, in);
}

static ak_tensor *t5_forward(ak_module *m, const ak_inputs *in)
{
    const t5 *t = m->user;
    if (!is_text(m, "ids", in->ids))
        return &ak__poison;
    ak_inputs own = *in;
    own.memory = memory_of(m, in);
    own.ids = own.memory_ids = NULL;
    own.x = ak_is_poison(own.memory) ? own.memory
                                     : ak_embedding(ak__own(m, 0), in->ids, AK_NONE);
    if (ak_is_poison(own.x))
        return own.x;
    ak_tensor *y = ak__instead(own.x, ak_forward_with(m->children[DECODER], own));
    if (ak_is_poison(y))
        return y;
    if (!in->memory && !in->state)
        ak_done_with(own.memory, false);
    if (t->o.out_scale < 1 || t->o.out_scale > 1)
        y = ak__instead(y, ak_scale(y, t->o.out_scale));
    if (ak_is_poison(y))
        return y;
    return ak__instead(y, t->o.untied ? ak_forward(m->children[OUTPUT], y)
                                  : ak_linear(y, ak__own(m, 0), NULL));
}

static const ak_module_kind t5_kind = {
    .name = "T5", .forward_with = t5_forward, .needs = AK_IN_IDS, AK__STATE(t5),
    .takes = STACK_TAKES | AK_IN_MEMORY | AK_IN_MEMORY_IDS | AK_IN_MEMORY_LENGTHS |
             AK_IN_MEMORY_MASK };

static ak_tensor *encoder_forward(ak_module *m, const ak_inputs *in)
{
    return is_text(m, "ids", in->ids) ? encode(m, in->ids, in->lengths, in->mask) : &ak__poison;
}

static const ak_module_kind encoder_only_kind = {
    .name = "T5's encoder", .forward_with = encoder_forward, .needs = AK_IN_IDS,
    .takes = AK_IN_LENGTHS | AK_IN_MASK, AK__STATE(t5) };

static ak_tensor *encoder_part(ak_module *m, const ak_inputs *in, const void *how)
{
    (void)how;
    return encoder_forward(m, in);
}

ak_tensor *ak_t5_encode(ak_module *m, ak_inputs in)
{
    if (!AK__GIVEN(in.ids ? in.ids->ctx : NULL, m))
        return &ak__poison;
    if (m->kind != &t5_kind) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_t5_encode: %s (%s) is not of ak_t5", m->name, m->what);
        return &ak__poison;
    }
    return ak__run_use(m, &in, &(ak__use){
        .who = "ak_t5_encode", .needs = AK_IN_IDS, .takes = AK_IN_LENGTHS | AK_IN_MASK,
        .run = encoder_part });
}

/* ---- making ---------------------------------------------------------------------------------- */

static bool fill_in(const ak_module *m, ak_t5_options *o)
{
    o->width = o->width ? o->width : 512;
    o->layers = o->layers ? o->layers : 6;
    o->decoder_layers = o->decoder_layers ? o->decoder_layers : o->layers;
    o->heads = o->heads ? o->heads : 8;
    const bool fits = o->vocab >= 1 && o->width >= 1 && o->layers >= 1 && o->decoder_layers >= 1 &&
                      o->heads >= 1 && o->out_scale >= 0 && isfinite(o->out_scale);
    if (!fits) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .vocab %d, .width %d, .layers %d, .decoder_layers %d, "
                ".heads %d must be at least 1, .out_scale %g >= 0 and finite", m->name, o->vocab,
                o->width, o->layers, o->decoder_layers, o->heads, o->out_scale);
        return false;
    }
    if (!(o->out_scale > 0))
        o->out_scale = o->untied ? 1 : 1 / sqrt(o->width);
    return true;
}

/* Deviations of T5: scores are not divided by the root of a head's width, queries are smaller. */
static void start_weights(const ak_module *m, const ak_t5_options *o)
{
    const double head = o->head_width ? o->head_width : o->width / o->heads;
    ak_tensor *w;
    for (int64_t i = 0; (w = ak_module_param(m, i)) != NULL; i++) {
        if (w->shape.n != 2)
            continue;
        double inputs = (double)w->shape.dims[1];
        if (ak__ends_in(w->name, "/relative_attention_bias/weight"))
            inputs = o->width;
        else if (ak__ends_in(w->name, "/q/weight"))
            inputs *= head;
        else if (ak__ends_in(w->name, "/shared/weight") || ak__ends_in(w->name, "/lm_head/weight"))
            inputs = 1;
        ak_init_fill(w, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 / sqrt(inputs) });
    }
}

static ak_module *make(ak_ctx *ctx, const char *name, ak_t5_options o, bool whole)
{
    ak_module *m = ak_module_make(ctx, name, whole ? &t5_kind : &encoder_only_kind);
    if (!m || !fill_in(m, &o))
        return NULL;
    *(t5 *)m->user = (t5){ o };
    ak_module_describe(m, "%s, %d layers of %d, %d words", m->kind->name, o.layers, o.width,
                       o.vocab);
    if (whole)
        ak__module_note(m, "outputs times %g", o.out_scale);
    ak_module_add_param(m, "shared/weight", AK_SHAPE(o.vocab, o.width), 0);
    ak_module_begin(m);
    add_stack(ctx, &o, false);
    if (whole)
        add_stack(ctx, &o, true);
    if (whole && o.untied)
        ak_nn_linear(ctx, "lm_head", o.width, o.vocab, (ak_linear_options){ .no_bias = true });
    m = ak_module_end(m);
    if (m)
        start_weights(m, &o);
    return m;
}

ak_module *ak_t5(ak_ctx *ctx, const char *name, ak_t5_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return make(ctx, name, o, true);
}

ak_module *ak_t5_encoder(ak_ctx *ctx, const char *name, ak_t5_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return make(ctx, name, o, false);
}

/* ---- targets --------------------------------------------------------------------------------- */

ak_index *ak_shift_right(ak_index *words, int start, int padding)
{
    if (!AK__INDEX(NULL, words))
        return &ak__poison_index;
    char text[AK_SHAPE_TEXT];
    const ak_shape s = words->shape;
    if (s.n != 2 || s.dims[1] < 1) {
        ak_fail(words->ctx, AK_ERR_SHAPE, "ak_shift_right: expected words [N, T], got %s",
                ak_shape_text(s, text));
        return &ak__poison_index;
    }
    if (start < 0 || padding < 0) {
        ak_fail(words->ctx, AK_ERR_VALUE, "ak_shift_right: start %d and padding %d are words, >= 0",
                start, padding);
        return &ak__poison_index;
    }
    ak_index *y = ak__index_new(words->ctx, s);
    for (int64_t i = 0; y != &ak__poison_index && i < words->size; i++) {
        const int32_t before = i % s.dims[1] ? words->data[i - 1] : (int32_t)start;
        ak__index_data(y)[i] = before < 0 ? (int32_t)padding : before;
    }
    return y;
}

ak_tensor *ak_word_loss(ak_tensor *logits, ak_index *words)
{
    if (!AK__TENSOR(NULL, logits) || !AK__INDEX(logits->ctx, words) ||
        !ak__words_fit("ak_word_loss", logits, words))
        return &ak__poison;
    ak_index *flat = ak_index_from(logits->ctx, AK_SHAPE(words->size), words->data);
    return ak_cross_entropy(ak_flatten_rows(logits), flat, (ak_cross_entropy_options){ 0 });
}
