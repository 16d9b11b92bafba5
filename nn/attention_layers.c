/* SPDX-License-Identifier: Apache-2.0 */
/* Multi-head attention as a module: projections in the layout that its names ask for, rotary
 * positions, keys and values of earlier calls. */
#include "nn/decoding.h"
#include "nn/part_names.h"
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* How the projections lie. */
typedef enum form {
    OWN,            /* own tensors: one weight of all three, or three; and one bias */
    ONE_LAYER,      /* children: qkv (cross: q, kv) */
    THREE_LAYERS    /* children: q, k, v */
} form;

/* Children: the projections, then `out`. Own tensors of OWN: the weights, then the bias. */
typedef struct attention_layer {
    ak_attention_layer_options o;
    int64_t width, memory_width, inner;         /* inner: heads times their width */
    form    form;
} attention_layer;

/* ---- projections ----------------------------------------------------------------------------- */

/* Rows [part, part + count) thirds of an own bias; NULL without. */
static ak_tensor *own_bias(const ak_module *m, int64_t part, int64_t count)
{
    const attention_layer *l = m->user;
    ak_tensor *b = l->o.no_bias ? NULL : ak__own(m, m->n_tensors - 1);
    return b ? ak_rows(b, part * l->inner, count * l->inner) : NULL;
}

/* x times thirds [part, part + count) of own weights. */
static ak_tensor *project_own(ak_module *m, ak_tensor *x, int64_t part, int64_t count)
{
    const attention_layer *l = m->user;
    const bool joint = m->n_tensors <= 2;
    if (joint)
        return ak_linear(x, ak_rows(ak__own(m, 0), part * l->inner, count * l->inner),
                         own_bias(m, part, count));
    ak_tensor *b[3] = { NULL };
    for (int64_t i = 0; i < count; i++)
        b[i] = own_bias(m, part + i, 1);
    return ak_linear_joined(x, m->tensors + part, b, (int)count);
}

/* x through children [first, first + count), side by side. What is a linear layer and nothing else
 * writes where it belongs; what has become more than that is run, and its result copied. */
static ak_tensor *project_children(ak_module *m, ak_tensor *x, int64_t first, int64_t count)
{
    ak_tensor *w[3], *b[3];
    bool plain = true;
    for (int64_t i = 0; i < count; i++) {
        const ak_module *child = m->children[first + i];
        plain = plain && ak__is_plain_linear(child);
        w[i] = ak__own(child, 0);
        b[i] = ak__own(child, 1);
    }
    if (count == 1)
        return ak_forward(m->children[first], x);
    if (plain)
        return ak_linear_joined(x, w, b, (int)count);
    for (int64_t i = 0; i < count; i++)
        w[i] = ak_forward(m->children[first + i], x);
    return ak_concat_n(-1, w, (int)count);
}

/* Queries, keys and values of x (part 0, count 3), or some of the three. */
static ak_tensor *project(ak_module *m, ak_tensor *x, int64_t part, int64_t count)
{
    const attention_layer *l = m->user;
    if (l->form == OWN)
        return project_own(m, x, part, count);
    if (l->form == THREE_LAYERS)
        return project_children(m, x, part, count);
    return ak_forward(m->children[part > 0 ? 1 : 0], x);
}

/* ---- self-attention -------------------------------------------------------------------------- */

static ak_attention_options attention_options(const attention_layer *l, const ak_inputs *in)
{
    return (ak_attention_options){ .heads = l->o.heads, .scale = l->o.scale,
                                   .causal = l->o.causal && !l->o.cross, .dropout = l->o.dropout,
                                   .bias = in->bias };
}

/* Queries and keys of [.., q | k | v], or of [.., q], turned. */
static ak_tensor *turned(const attention_layer *l, ak_tensor *x, ak_index *start)
{
    const ak_rotary_layer *r = &l->o.rotary;
    if (!r->on || ak_is_poison(x))
        return x;
    ak_tensor *y = ak_rotary(x, (ak_rotary_options){
        .heads = 3 * l->o.heads, .turned = 2 * l->o.heads, .width = r->width, .base = r->base,
        .interleaved = r->interleaved, .start = start });
    ak_done_with(x, false);
    return y;
}

bool ak__lengths_fit(ak_module *m, const ak_index *lengths, int64_t N, int64_t T)
{
    if (!lengths)
        return true;
    if (!ak_shape_equal(lengths->shape, AK_SHAPE(N))) {
        char text[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s: input .lengths is %s, expected [%" PRId64 "]", m->name,
                ak_shape_text(lengths->shape, text), N);
        return false;
    }
    for (int64_t n = 0; n < N; n++)
        if (lengths->data[n] < 0 || lengths->data[n] > T) {
            ak_fail(m->ctx, AK_ERR_VALUE, "%s: input .lengths[%" PRId64 "] = %d is not in [0, %"
                    PRId64 "]", m->name, n, (int)lengths->data[n], T);
            return false;
        }
    return true;
}

/* Nothing may be recorded: backward would find keys and values of later calls. */
static bool not_recorded(const ak_module *m, const ak_tensor *t)
{
    if (!t->needs_grad)
        return true;
    ak_fail(m->ctx, AK_ERR_STATE, "%s: input .state, while gradients are recorded\n    hint: run "
            "it between ak_no_grad_begin(ctx) and ak_no_grad_end(ctx)", m->name);
    return false;
}

/* Add the keys and values of the T new positions to those that are kept. */
static void keep(const attention_layer *l, ak__seen *s, const ak_tensor *qkv,
                 const ak_index *lengths)
{
    const int64_t N = qkv->shape.dims[0], T = qkv->shape.dims[1], row = 2 * l->inner;
    const int64_t capacity = s->kept.shape.dims[1];
    for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < (lengths ? lengths->data[n] : T); t++)
            memcpy(s->kept.data + (n * capacity + s->past[n] + t) * row,
                   qkv->data + (n * T + t) * (row + l->inner) + l->inner,
                   (size_t)row * sizeof *qkv->data);
    ak__changed(&s->kept, "ak_nn_attention");
}

static ak_tensor *attend_to_kept(ak_module *m, const ak_inputs *in)
{
    const attention_layer *l = m->user;
    const int64_t N = in->x->shape.dims[0], T = in->x->shape.dims[1];
    if (!l->o.causal || in->mask) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: input .state%s", m->name, in->mask ?
                " goes with .lengths, not with .mask: the positions of a row follow each other" :
                ", but the module is not causal: later positions would change earlier ones");
        return &ak__poison;
    }
    if (!ak__lengths_fit(m, in->lengths, N, T))
        return &ak__poison;
    const int64_t capacity = in->state ? ak__decoding_capacity(in->state) : 0;
    ak__seen *s = ak__seen_of(m, in->state, N, capacity, 2 * l->inner);
    if (!s || !ak__seen_room(m, in->state, s, in->lengths, T))
        return &ak__poison;
    ak_attention_options o = attention_options(l, in);
    o.past = ak__seen_past(m, s, N);
    o.prefix = in->prefix;
    ak_tensor *qkv = turned(l, project(m, in->x, 0, 3), o.past);
    if (ak_is_poison(qkv) || !not_recorded(m, qkv))
        return &ak__poison;
    keep(l, s, qkv, in->lengths);
    ak__seen_advance(s, N, in->lengths, T);
    return ak_attention_kv(ak_slice(qkv, 2, 0, l->inner), &s->kept, o);
}

static ak_tensor *attend_to_self(ak_module *m, const ak_inputs *in)
{
    const attention_layer *l = m->user;
    if (in->state)
        return attend_to_kept(m, in);
    ak_attention_options o = attention_options(l, in);
    o.key_lengths = in->lengths;
    o.key_mask = in->mask;
    o.prefix = in->prefix;
    ak_tensor *qkv = turned(l, project(m, in->x, 0, 3), NULL);
    ak_tensor *y = ak_attention_qkv(qkv, o);
    if (!ak_is_poison(y))
        ak_done_with(qkv, false);
    return y;
}

/* ---- cross-attention ------------------------------------------------------------------------- */

/* Keys and values of the memory; with a state those of the first call. */
static ak_tensor *memory_keys(ak_module *m, const ak_inputs *in)
{
    const attention_layer *l = m->user;
    ak__seen *s = NULL;
    if (in->state) {
        s = ak__seen_of(m, in->state, in->x->shape.dims[0], in->memory->shape.dims[1],
                        2 * l->inner);
        if (!s || s->past[0] > 0)
            return s ? &s->kept : &ak__poison;
    }
    ak_tensor *kv = project(m, in->memory, 1, 2);
    if (!s || ak_is_poison(kv))
        return kv;
    if (!not_recorded(m, kv))
        return &ak__poison;
    memcpy(s->kept.data, kv->data, (size_t)kv->size * sizeof *kv->data);
    ak__changed(&s->kept, "ak_nn_attention");
    s->past[0] = 1;
    return &s->kept;
}

static ak_tensor *attend_to_memory(ak_module *m, const ak_inputs *in)
{
    const attention_layer *l = m->user;
    const ak_shape s = in->memory->shape;
    if (s.n != 3 || s.dims[2] != l->memory_width || s.dims[0] != in->x->shape.dims[0]) {
        char text[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .memory [%" PRId64 ", S, %" PRId64
                "], got %s", m->name, m->what, in->x->shape.dims[0], l->memory_width,
                ak_shape_text(s, text));
        return &ak__poison;
    }
    ak_attention_options o = attention_options(l, in);
    o.key_lengths = in->memory_lengths;
    o.key_mask = in->memory_mask;
    ak_tensor *kv = memory_keys(m, in);
    if (ak_is_poison(kv))
        return kv;
    ak_tensor *q = project(m, in->x, 0, 1);
    ak_tensor *y = ak_attention_kv(q, kv, o);
    if (!ak_is_poison(y)) {
        ak_done_with(q, false);
        ak_done_with(kv, false);
    }
    return y;
}

static ak_tensor *attention_layer_forward(ak_module *m, const ak_inputs *in)
{
    const attention_layer *l = m->user;
    const ak_shape s = in->x->shape;
    if (s.n != 3 || s.dims[2] != l->width)
        return ak__module_shape_error(m, in->x, "[N, T, %" PRId64 "]", l->width);
    ak_tensor *y = l->o.cross ? attend_to_memory(m, in) : attend_to_self(m, in);
    if (ak_is_poison(y))
        return y;
    ak_tensor *out = ak_forward(m->children[m->n_children - 1], y);
    if (!ak_is_poison(out))
        ak_done_with(y, false);
    return out;
}

static const ak_module_kind self_kind = {
    .name = "attention", .forward_with = attention_layer_forward,
    AK__STATE(attention_layer),
    .needs = AK_IN_X,
    .takes = AK_IN_LENGTHS | AK_IN_MASK | AK_IN_PREFIX | AK_IN_BIAS | AK_IN_STATE };
static const ak_module_kind cross_kind = {
    .name = "cross-attention", .forward_with = attention_layer_forward,
    AK__STATE(attention_layer),
    .needs = AK_IN_X | AK_IN_MEMORY,
    .takes = AK_IN_MEMORY_LENGTHS | AK_IN_MEMORY_MASK | AK_IN_BIAS | AK_IN_STATE };

/* ---- making ---------------------------------------------------------------------------------- */

ak_init ak__block_init(ak_init how, double times)
{
    if (how.kind == AK_INIT_DEFAULT)
        how = (ak_init){ .kind = AK_INIT_TRUNCATED_NORMAL, .scale = 0.02 };
    else if (how.scale == 0)
        how.scale = how.kind == AK_INIT_UNIFORM || how.kind == AK_INIT_NORMAL ||
                    how.kind == AK_INIT_TRUNCATED_NORMAL ? 0.02 : 1;
    how.scale *= times > 0 ? times : 1;
    return how;
}

ak_module *ak__block_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out, bool no_bias,
                            ak_init how)
{
    ak_module *m = ak_nn_linear(ctx, name, in, out, (ak_linear_options){ .no_bias = no_bias,
                                                                        .weight = how });
    if (m && !no_bias)
        ak_fill(ak__own(m, 1), 0);
    return m;
}

/* PyTorch's own tensors. */
static void add_own(ak_module *m, const attention_layer *l, ak_init how)
{
    const int64_t in[] = { l->width, l->memory_width, l->memory_width };
    static const char *const names[] = { "q_proj_weight", "k_proj_weight", "v_proj_weight" };
    if (l->width == l->memory_width) {
        ak_init_fill(ak_module_add_param(m, "in_proj_weight", AK_SHAPE(3 * l->inner, l->width), 0),
                     how);
    } else {
        for (int i = 0; i < 3; i++)
            ak_init_fill(ak_module_add_param(m, names[i], AK_SHAPE(l->inner, in[i]), 0), how);
    }
    if (!l->o.no_bias)
        ak_module_add_param(m, "in_proj_bias", AK_SHAPE(3 * l->inner), AK_PARAM_NO_DECAY);
}

static bool options_fit(const ak_module *m, int64_t width, const ak_attention_layer_options *o)
{
    ak_ctx *ctx = m->ctx;
    const int64_t most = 1 << 20;
    if (width < 1 || width > most || o->heads < 1 || o->heads > most || o->head_width < 0 ||
        o->head_width > most || o->memory_width < 0 || o->memory_width > most ||
        (o->head_width == 0 && width % o->heads != 0))
        ak_fail(ctx, AK_ERR_VALUE, "%s: width %" PRId64 " and %d heads must be in [1, 2^20], "
                ".head_width %d and .memory_width %d in [0, 2^20]; without .head_width the heads "
                "divide the width", m->name, width, o->heads, o->head_width, o->memory_width);
    else if (!(o->dropout >= 0 && o->dropout < 1) || !(o->scale >= 0 && isfinite(o->scale)))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .dropout %g must be in [0, 1), .scale %g >= 0 and finite",
                m->name, o->dropout, o->scale);
    else if (o->cross && (o->causal || o->rotary.on))
        ak_fail(ctx, AK_ERR_VALUE, "%s: cross-attention is neither .causal nor .rotary: positions "
                "of x and of the memory are not the same", m->name);
    else if (!o->cross && o->memory_width)
        ak_fail(ctx, AK_ERR_VALUE, "%s: .memory_width %d without .cross", m->name,
                o->memory_width);
    return ak_error(ctx) == AK_OK && ak__names_known(ctx, m->name, o->names);
}

static bool rotary_fits(const ak_module *m, const attention_layer *l)
{
    const ak_rotary_layer *r = &l->o.rotary;
    const int64_t head = l->inner / l->o.heads, width = r->width ? r->width : head;
    if (!r->on || (r->width >= 0 && width <= head && width % 2 == 0 && r->base >= 0 &&
                   isfinite(r->base)))
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: .rotary turns %" PRId64 " of %" PRId64 " features of a head "
            "with base %g: an even number of them, a base > 0", m->name, width, head, r->base);
    return false;
}

ak_module *ak_nn_attention(ak_ctx *ctx, const char *name, int64_t width,
                           ak_attention_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return ak__attention_layer(ctx, name, width, o, 1);
}

ak_module *ak__attention_layer(ak_ctx *ctx, const char *name, int64_t width,
                               ak_attention_layer_options o, double out_scale)
{
    ak_module *m = ak_module_make(ctx, name, o.cross ? &cross_kind : &self_kind);
    if (!m || !options_fit(m, width, &o))
        return NULL;
    const ak__attention_names *names = ak__names_of_attention(o.names);
    attention_layer *l = m->user;
    *l = (attention_layer){ .o = o, .width = width,
                            .memory_width = o.memory_width ? o.memory_width : width,
                            .form = names->k ? THREE_LAYERS : names->qkv ? ONE_LAYER : OWN };
    l->inner = o.head_width ? (int64_t)o.heads * o.head_width : width;
    const ak_init how = ak__block_init(o.weight, 1);
    if (!rotary_fits(m, l) || !ak__init_known(ctx, m->name, how))
        return NULL;
    ak_module_describe(m, "%sattention %" PRId64 ", %d heads of %" PRId64 "%s",
                       o.cross ? "cross-" : "", width, o.heads, l->inner / o.heads,
                       o.causal ? ", causal" : "");
    const double head = (double)(l->inner / o.heads);
    ak__module_note(m, "%d heads, scale %g", o.heads, o.scale > 0 ? o.scale : 1 / sqrt(head));
    if (l->form == OWN)
        add_own(m, l, how);
    ak_module_begin(m);
    if (l->form == THREE_LAYERS) {
        ak__block_linear(ctx, names->q, width, l->inner, o.no_bias, how);
        ak__block_linear(ctx, names->k, l->memory_width, l->inner, o.no_bias, how);
        ak__block_linear(ctx, names->v, l->memory_width, l->inner, o.no_bias, how);
    } else if (l->form == ONE_LAYER && o.cross) {
        ak__block_linear(ctx, names->q, width, l->inner, o.no_bias, how);
        ak__block_linear(ctx, names->kv, l->memory_width, 2 * l->inner, o.no_bias, how);
    } else if (l->form == ONE_LAYER) {
        ak__block_linear(ctx, names->qkv, width, 3 * l->inner, o.no_bias, how);
    }
    ak__block_linear(ctx, names->out, l->inner, width, o.no_bias,
                     ak__block_init(o.weight, out_scale));
    return ak_module_end(m);
}
