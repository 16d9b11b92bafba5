/* SPDX-License-Identifier: Apache-2.0 */
/* Transformer blocks, stacks of them, encoder and decoder. What lies between the parts nobody else
 * sees: its memory is given back as soon as backward has passed. */
#include "nn/transformer.h"
#include "nn/decoding.h"
#include "nn/part_names.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Places among the children; cross, gate: only where they are. Own tensors: the vectors of layer
 * scale, of each part in order. */
typedef struct block {
    ak_block_options o;
    int64_t width;
    int self, self_norm, cross, cross_norm, in, gate, out, feed_norm;
} block;

/* ---- running --------------------------------------------------------------------------------- */

/* Without a sample's part altogether, with probability p: a mask of one number a sample. */
static ak_tensor *drop_samples(ak_tensor *y, double p)
{
    if (ak_is_poison(y) || p == 0 || !ak_is_training(y->ctx))
        return y;
    ak_tensor *ones = ak_full(y->ctx, AK_SHAPE(y->shape.dims[0], 1, 1), 1);
    return ak__instead(y, ak_mul(y, ak_dropout(ones, p)));
}

/* x + what a part has made of it. Which of the parts: for its own layer scale. */
static ak_tensor *add_part(ak_module *m, ak_tensor *x, ak_tensor *y, int part)
{
    const block *b = m->user;
    if (ak_is_poison(y))
        return y;
    y = ak__instead(y, ak_dropout(y, b->o.dropout));
    if (b->o.layer_scale > 0)
        y = ak__instead(y, ak_mul(y, ak__own(m, part)));
    y = drop_samples(y, b->o.drop_path);
    return ak__instead(y, ak_add(x, y));
}

/* x through its linear layers, the activation between them. */
static ak_tensor *feed(ak_module *m, ak_tensor *x)
{
    const block *b = m->user;
    ak_module *in = m->children[b->in];
    ak_tensor *h;
    if (b->o.gated) {
        static const ak_gate gates[] = { [AK_RELU] = AK_GATE_RELU, [AK_GELU] = AK_GATE_GELU,
                                         [AK_GELU_TANH] = AK_GATE_GELU_TANH,
                                         [AK_SILU] = AK_GATE_SILU };
        ak_module *gate = m->children[b->gate];
        ak_tensor *both[2] = { ak__own(gate, 0), ak__own(in, 0) };
        ak_tensor *bias[2] = { ak__own(gate, 1), ak__own(in, 1) };
        if (ak__is_plain_linear(gate) && ak__is_plain_linear(in)) {
            h = ak_linear_joined(x, both, bias, 2);
        } else {
            both[0] = ak_forward(gate, x);
            both[1] = ak_forward(in, x);
            h = ak_concat_n(-1, both, 2);
        }
        h = ak__instead(h, ak_gated(h, gates[b->o.activation]));
    } else {
        h = ak_forward(in, x);
        if (b->o.activation != AK_RELU)         /* which the layer has itself */
            h = ak__instead(h, ak_activate(h, b->o.activation));
    }
    if (ak_is_poison(h))
        return h;
    h = ak__instead(h, ak_dropout(h, b->o.hidden_dropout));
    return ak__instead(h, ak_forward(m->children[b->out], h));
}

typedef ak_tensor *part_fn(ak_module *m, const ak_inputs *in, ak_tensor *x);

static ak_tensor *self_part(ak_module *m, const ak_inputs *in, ak_tensor *x)
{
    return ak_forward_with(m->children[((const block *)m->user)->self], (ak_inputs){
        .x = x, .lengths = in->lengths, .mask = in->mask, .prefix = in->prefix, .bias = in->bias,
        .state = in->state });
}

static ak_tensor *cross_part(ak_module *m, const ak_inputs *in, ak_tensor *x)
{
    return ak_forward_with(m->children[((const block *)m->user)->cross], (ak_inputs){
        .x = x, .memory = in->memory, .memory_lengths = in->memory_lengths,
        .memory_mask = in->memory_mask, .state = in->state });
}

static ak_tensor *feed_part(ak_module *m, const ak_inputs *in, ak_tensor *x)
{
    (void)in;
    return feed(m, x);
}

/* A part with its norm and the way around it. */
static ak_tensor *around(ak_module *m, const ak_inputs *in, ak_tensor *x, part_fn *part, int norm,
                         int number)
{
    const block *b = m->user;
    ak_module *n = m->children[norm];
    if (ak_is_poison(x))
        return x;
    if (b->o.post_norm) {
        ak_tensor *sum = add_part(m, x, part(m, in, x), number);
        return ak_is_poison(sum) ? sum : ak__instead(sum, ak_forward(n, sum));
    }
    ak_tensor *normed = ak_forward(n, x);
    ak_tensor *y = ak_is_poison(normed) ? normed : ak__instead(normed, part(m, in, normed));
    return add_part(m, x, y, number);
}

static ak_tensor *block_forward(ak_module *m, const ak_inputs *in)
{
    const block *b = m->user;
    const ak_shape s = in->x->shape;
    if (s.n != 3 || s.dims[2] != b->width)
        return ak__module_shape_error(m, in->x, "[N, T, %" PRId64 "]", b->width);
    ak_tensor *x = around(m, in, in->x, self_part, b->self_norm, 0);
    if (b->o.cross)
        x = ak__instead(x, around(m, in, x, cross_part, b->cross_norm, 1));
    return ak__instead(x, around(m, in, x, feed_part, b->feed_norm, b->o.cross ? 2 : 1));
}

#define SELF_TAKES (AK_IN_LENGTHS | AK_IN_MASK | AK_IN_PREFIX | AK_IN_BIAS | AK_IN_STATE)
static const ak_module_kind block_kind = {
    .name = "transformer block", .forward_with = block_forward, .needs = AK_IN_X,
    .takes = SELF_TAKES, AK__STATE(block) };
static const ak_module_kind cross_block_kind = {
    .name = "transformer block", .forward_with = block_forward, .needs = AK_IN_X | AK_IN_MEMORY,
    .takes = SELF_TAKES | AK_IN_MEMORY_LENGTHS | AK_IN_MEMORY_MASK, AK__STATE(block) };

/* ---- making a block -------------------------------------------------------------------------- */

static bool can_gate(ak_activation a)
{
    return a == AK_RELU || a == AK_GELU || a == AK_GELU_TANH || a == AK_SILU;
}

static bool is_share(double p) { return p >= 0 && p < 1; }

static bool options_fit(ak_ctx *ctx, const char *name, const ak_block_options *o)
{
    if ((int)o->activation < 0 || o->activation > AK_IDENTITY ||
        (o->gated && !can_gate(o->activation)))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .activation %d must be in [0, %d] (ak_activation); .gated "
                "has AK_RELU, AK_GELU, AK_GELU_TANH, AK_SILU", name, (int)o->activation,
                (int)AK_IDENTITY);
    else if (!is_share(o->dropout) || !is_share(o->attention_dropout) ||
             !is_share(o->hidden_dropout) || !is_share(o->drop_path))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .dropout %g, .attention_dropout %g, .hidden_dropout %g, "
                ".drop_path %g must be in [0, 1)", name, o->dropout, o->attention_dropout,
                o->hidden_dropout, o->drop_path);
    else if (!(o->layer_scale >= 0 && isfinite(o->layer_scale)) ||
             !(o->out_scale >= 0 && isfinite(o->out_scale)))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .layer_scale %g and .out_scale %g must be >= 0 and finite",
                name, o->layer_scale, o->out_scale);
    else if (o->hidden < 0 || o->hidden > 1 << 24 || (!o->cross && o->memory_width))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .hidden %d must be in [0, 2^24], .memory_width %d is 0 "
                "without .cross", name, o->hidden, o->memory_width);
    return ak_error(ctx) == AK_OK && ak__names_known(ctx, name, o->names);
}

static void add_norm(ak_ctx *ctx, const char *name, int64_t width, bool rms, double eps)
{
    if (rms)
        ak_nn_rms_norm(ctx, name, width, eps);
    else
        ak_nn_layer_norm(ctx, name, width, eps);
}

static int place_of_next(const ak_module *m) { return (int)m->n_children; }

static void add_attention(ak_module *m, const char *path, bool cross)
{
    const block *b = m->user;
    const ak_block_options *o = &b->o;
    ak_attention_layer_options a = {
        .heads = o->heads, .head_width = o->head_width, .cross = cross,
        .causal = o->causal && !cross, .no_bias = o->no_bias, .scale = o->scale,
        .dropout = o->attention_dropout, .names = o->names, .weight = o->weight };
    if (cross)
        a.memory_width = o->memory_width;
    else
        a.rotary = o->rotary;
    ak__attention_layer(m->ctx, path, b->width, a, o->out_scale);
}

/* Parts in the order in which a state dict has them, as far as there is one. */
static void add_parts(ak_module *m)
{
    block *b = m->user;
    const ak_block_options *o = &b->o;
    const ak__block_names *names = ak__names_of_block(o->names);
    const ak__feed_names *feeds = o->gated ? (o->cross ? &names->gated_cross : &names->gated)
                                           : (o->cross ? &names->feed_cross : &names->feed);
    const int64_t hidden = o->hidden ? o->hidden : 4 * b->width;
    const ak_init how = ak__block_init(o->weight, 1);
    ak_ctx *ctx = m->ctx;
    b->self = place_of_next(m);
    add_attention(m, names->self, false);
    b->self_norm = place_of_next(m);
    add_norm(ctx, names->self_norm, b->width, o->rms_norm, o->eps);
    if (o->cross) {
        b->cross = place_of_next(m);
        add_attention(m, names->cross, true);
        b->cross_norm = place_of_next(m);
        add_norm(ctx, names->cross_norm, b->width, o->rms_norm, o->eps);
    }
    if (o->gated) {
        b->gate = place_of_next(m);
        ak__block_linear(ctx, feeds->gate, b->width, hidden, o->no_bias, how);
    }
    b->in = place_of_next(m);
    ak_module *in = ak_nn_linear(ctx, feeds->in, b->width, hidden, (ak_linear_options){
        .no_bias = o->no_bias, .relu = o->activation == AK_RELU && !o->gated, .weight = how });
    if (in && !o->no_bias)
        ak_fill(ak__own(in, 1), 0);
    b->out = place_of_next(m);
    ak__block_linear(ctx, feeds->out, hidden, b->width, o->no_bias,
                     ak__block_init(o->weight, o->out_scale));
    b->feed_norm = place_of_next(m);
    add_norm(ctx, feeds->norm, b->width, o->rms_norm, o->eps);
    for (int i = 0; i < 3 && o->layer_scale > 0; i++)
        if (i != 1 || o->cross)
            ak__module_scale(m, names->scales[i], b->width, o->layer_scale);
}

ak_module *ak_nn_transformer_block(ak_ctx *ctx, const char *name, int64_t width,
                                   ak_block_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, o.cross ? &cross_block_kind : &block_kind);
    if (!m || !options_fit(ctx, m->name, &o))
        return NULL;
    *(block *)m->user = (block){ .o = o, .width = width };
    ak_module_describe(m, "%s-norm block %" PRId64 ", %d heads%s%s", o.post_norm ? "post" : "pre",
                       width, o.heads, o.causal ? ", causal" : "", o.cross ? ", memory" : "");
    ak__module_note(m, "%s-norm, %s%s", o.post_norm ? "post" : "pre", o.gated ? "gated " : "",
                    ak__activation_name(o.activation));
    ak_module_begin(m);
    add_parts(m);
    return ak_module_end(m);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

int64_t ak__add_layers(ak_module *owner, const char *below, ak_stack_options o)
{
    ak_ctx *ctx = owner->ctx;
    if (o.layers < 1 || o.layers > 10000 || o.cross_every < 0 ||
        (o.cross_every && !o.block.cross)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .layers %d must be in [1, 10000], .cross_every %d >= 0, "
                "and 0 without .block.cross", owner->name, o.layers, o.cross_every);
        return 0;
    }
    if (!ak__names_known(ctx, owner->name, o.block.names))
        return 0;
    const ak__stack_names *names = ak__names_of_stack(o.block.names);
    const bool norm = !o.block.post_norm && !o.no_norm;
    for (int i = 0; i < o.layers; i++) {
        char path[64];
        ak_block_options b = o.block;
        snprintf(path, sizeof path, "%s%s/%d", below, names->layer, i);
        b.drop_path = o.layers > 1 ? o.block.drop_path * i / (o.layers - 1) : o.block.drop_path;
        b.cross = b.cross && (o.cross_every == 0 || i % o.cross_every == 0);
        b.memory_width = b.cross ? b.memory_width : 0;
        if (!ak_nn_transformer_block(ctx, path, o.width, b))
            return 0;
    }
    if (norm)
        add_norm(ctx, names->norm, o.width, o.block.rms_norm, o.block.eps);
    return ak_error(ctx) == AK_OK ? o.layers + norm : 0;
}

ak_tensor *ak__run_layers(ak_module *m, const ak_inputs *in, int64_t first, int64_t count)
{
    ak_inputs now = *in;
    for (int64_t i = first; i < first + count; i++) {
        const ak_inputs own = ak_inputs_for(m->children[i], now);
        ak_tensor *y = ak__run(m->children[i], &own, NULL);
        if (ak_is_poison(y))
            return y;
        now.x = now.x == in->x ? y : ak__instead(now.x, y);     /* the first one is the caller's */
    }
    return now.x;
}

static ak_tensor *stack_forward(ak_module *m, const ak_inputs *in)
{
    return ak__run_layers(m, in, 0, m->n_children);
}

static const ak_module_kind stack_kind = { .name = "transformer", .container = true,
                                           .forward_with = stack_forward, .needs = AK_IN_X };

ak_module *ak_transformer_stack(ak_ctx *ctx, const char *name, ak_stack_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &stack_kind);
    if (!m)
        return NULL;
    ak_module_describe(m, "transformer, %d layers of %d", o.layers, o.width);
    ak_module_begin(m);
    ak__add_layers(m, "", o);
    return ak_module_end(m);
}

/* ---- encoder and decoder --------------------------------------------------------------------- */

enum { ENCODER, DECODER };

static ak_tensor *encode(ak_module *m, const ak_inputs *in)
{
    return ak_forward_with(m->children[ENCODER], (ak_inputs){
        .x = in->memory, .lengths = in->memory_lengths, .mask = in->memory_mask });
}

ak_tensor *ak__made_once(ak_module *m, const ak_inputs *in, ak_shape shape,
                         ak_tensor *(*make)(ak_module *m, const ak_inputs *in))
{
    ak__seen *s = ak__seen_of(m, in->state, shape.dims[0], shape.dims[1], shape.dims[2]);
    if (!s)
        return &ak__poison;
    if (s->past[0] == 0) {
        ak_tensor *y = make(m, in);
        if (ak_is_poison(y))
            return y;
        if (ak_copy(&s->kept, y) != AK_OK)
            return &ak__poison;
        s->past[0] = 1;
    }
    return &s->kept;
}

static ak_tensor *encoded_once(ak_module *m, const ak_inputs *in)
{
    const int64_t width = ((const ak_transformer_options *)m->user)->encoder.width;
    const ak_shape s = in->memory->shape;
    if (s.n != 3 || s.dims[2] != width)
        return ak__module_shape_error(m, in->memory, "[N, S, %" PRId64 "] for .memory", width);
    const int64_t rows = in->x->shape.n ? in->x->shape.dims[0] : 0;
    return ak__made_once(m, in, AK_SHAPE(rows, s.dims[1], width), encode);
}

static ak_tensor *encoder_decoder_forward(ak_module *m, const ak_inputs *in)
{
    ak_inputs own = *in;
    own.memory = in->state ? encoded_once(m, in) : encode(m, in);
    if (ak_is_poison(own.memory))
        return own.memory;
    own = ak_inputs_for(m->children[DECODER], own);
    return ak__run(m->children[DECODER], &own, NULL);
}

static const ak_module_kind encoder_decoder_kind = {
    .name = "encoder and decoder", .forward_with = encoder_decoder_forward,
    .needs = AK_IN_X | AK_IN_MEMORY, AK__STATE(ak_transformer_options),
    .takes = AK_IN_LENGTHS | AK_IN_MASK | AK_IN_PREFIX | AK_IN_MEMORY_LENGTHS |
             AK_IN_MEMORY_MASK | AK_IN_STATE };

ak_module *ak_transformer(ak_ctx *ctx, const char *name, ak_transformer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &encoder_decoder_kind);
    if (!m)
        return NULL;
    if (o.encoder.block.cross || o.encoder.block.causal) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: the encoder has neither .cross nor .causal", m->name);
        return NULL;
    }
    o.decoder.block.cross = o.decoder.block.causal = true;
    if (o.decoder.block.memory_width == 0)
        o.decoder.block.memory_width = o.encoder.width;
    *(ak_transformer_options *)m->user = o;
    ak_module_begin(m);
    ak_transformer_stack(ctx, "encoder", o.encoder);
    ak_transformer_stack(ctx, "decoder", o.decoder);
    return ak_module_end(m);
}
