/* SPDX-License-Identifier: Apache-2.0 */
/* Q-Former: queries and words go through the layers side by side. They are one sequence only where
 * self-attention needs it, which is causal in a model with words: a prefix says what is seen. */
#include "nn/transformer.h"

#include <akin/models.h>

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <stdio.h>

/* Own tensors, as far as there are any: query tokens; words, positions. Children: the norm of the
 * embeddings, then the parts of each layer. */
enum { NORM, LAYERS };

typedef struct qformer { ak_qformer_options o; } qformer;

/* ---- the parts of a layer -------------------------------------------------------------------- */

typedef struct feed { ak_module *in, *out, *norm; } feed;
typedef struct layer {
    ak_module *self, *self_norm;
    ak_module *cross, *cross_norm;      /* NULL: none */
    feed       words, queries;          /* of words: NULL in a model without */
} layer;

static bool looks_at_memory(const qformer *q, int number) { return number % q->o.every == 0; }

static feed feed_at(const ak_module *m, int64_t at)
{
    return (feed){ m->children[at], m->children[at + 1], m->children[at + 2] };
}

/* Layer `number` from child *at on, which then is that of the next one. */
static layer layer_at(const ak_module *m, int number, int64_t *at)
{
    const qformer *q = m->user;
    layer l = { .self = m->children[*at], .self_norm = m->children[*at + 1] };
    *at += 2;
    if (looks_at_memory(q, number)) {
        l.cross = m->children[*at];
        l.cross_norm = m->children[*at + 1];
        *at += 2;
    }
    if (q->o.vocab) {
        l.words = feed_at(m, *at);
        *at += 3;
    }
    l.queries = feed_at(m, *at);
    *at += 3;
    return l;
}

/* ---- what sees what -------------------------------------------------------------------------- */

/* Queries and words; NULL: there are none. */
typedef struct halves { ak_tensor *queries, *words; } halves;

/* Of the sequences that self-attention is run over: both joined, or each by itself. */
typedef struct sight {
    bool       joined;
    ak_index  *lengths, *mask, *prefix;     /* joined, or of the words */
    ak_index  *among_queries;               /* prefix of the queries by themselves */
} sight;

static bool none_poison(const sight *s)
{
    const ak_index *p = &ak__poison_index;
    return s->lengths != p && s->mask != p && s->prefix != p && s->among_queries != p;
}

/* [N] numbers: count + add[n]. */
static ak_index *counts(ak_ctx *ctx, int64_t N, int64_t count, const ak_index *add)
{
    ak_index *y = ak__index_new(ctx, AK_SHAPE(N));
    for (int64_t n = 0; y != &ak__poison_index && n < N; n++)
        ak__index_data(y)[n] = (int32_t)count + (add ? add->data[n] : 0);
    return y;
}

/* Queries in front of the words are no padding. */
static ak_index *mask_behind(ak_ctx *ctx, int64_t Q, const ak_index *mask)
{
    const int64_t N = mask->shape.dims[0], T = mask->shape.dims[1];
    ak_index *y = ak__index_new(ctx, AK_SHAPE(N, Q + T));
    for (int64_t i = 0; y != &ak__poison_index && i < N * (Q + T); i++) {
        const int64_t t = i % (Q + T);
        ak__index_data(y)[i] = t < Q ? 1 : mask->data[i / (Q + T) * T + t - Q];
    }
    return y;
}

static sight sight_of(ak_module *m, const ak_inputs *in, halves x, ak_qformer_mode mode)
{
    const qformer *q = m->user;
    sight s = { .lengths = in->lengths, .mask = in->mask };
    if (!q->o.vocab)
        return s;                           /* attention is not causal there */
    const int64_t N = (x.words ? x.words : x.queries)->shape.dims[0];
    const int64_t Q = x.queries ? x.queries->shape.dims[1] : 0;
    const int64_t T = x.words ? x.words->shape.dims[1] : 0;
    s.joined = Q > 0 && T > 0 && mode != AK_QFORMER_CONTRAST;
    if (s.joined) {
        s.lengths = in->lengths ? counts(m->ctx, N, Q, in->lengths) : NULL;
        s.mask = in->mask ? mask_behind(m->ctx, Q, in->mask) : NULL;
        s.prefix = counts(m->ctx, N, mode == AK_QFORMER_GENERATE ? Q : Q + T, NULL);
    } else {
        s.prefix = mode == AK_QFORMER_GENERATE ? NULL : counts(m->ctx, N, T, NULL);
        s.among_queries = counts(m->ctx, N, Q, NULL);
    }
    return s;
}

/* ---- running a layer ------------------------------------------------------------------------- */

/* norm(x + y) */
static ak_tensor *residual(ak_module *m, ak_tensor *x, ak_tensor *y, ak_module *norm)
{
    if (ak_is_poison(y))
        return y;
    y = ak__instead(y, ak_dropout(y, ((const qformer *)m->user)->o.dropout));
    ak_tensor *sum = ak__instead(y, ak_add(x, y));
    return ak_is_poison(sum) ? sum : ak__instead(sum, ak_forward(norm, sum));
}

static ak_tensor *attend(ak_module *m, const layer *l, ak_tensor *x, const sight *s, bool queries)
{
    ak_inputs in = { .x = x, .prefix = queries ? s->among_queries : s->prefix };
    if (!queries) {
        in.lengths = s->lengths;
        in.mask = s->mask;
    }
    return residual(m, x, ak_forward_with(l->self, in), l->self_norm);
}

static halves self_part(ak_module *m, const layer *l, halves x, const sight *s)
{
    if (!s->joined) {
        if (x.queries)
            x.queries = ak__instead(x.queries, attend(m, l, x.queries, s, true));
        if (x.words && !(x.queries && ak_is_poison(x.queries)))
            x.words = ak__instead(x.words, attend(m, l, x.words, s, false));
        return x;
    }
    const int64_t Q = x.queries->shape.dims[1], T = x.words->shape.dims[1];
    ak_tensor *both = ak_concat(1, x.queries, x.words);
    if (ak_is_poison(both))
        return (halves){ both, both };
    ak_done_with(x.queries, false);
    ak_done_with(x.words, false);
    both = ak__instead(both, attend(m, l, both, s, false));
    if (ak_is_poison(both))
        return (halves){ both, both };
    x.queries = ak_slice(both, 1, 0, Q);
    x.words = ak_slice(both, 1, Q, T);
    ak_done_with(both, false);
    return x;
}

static ak_tensor *feed_part(ak_module *m, const feed *f, ak_tensor *x)
{
    const qformer *q = m->user;
    ak_tensor *h = ak_forward(f->in, x);
    if (!ak_is_poison(h) && !q->o.relu)     /* which the layer has itself */
        h = ak__instead(h, ak_gelu(h));
    if (ak_is_poison(h))
        return h;
    return residual(m, x, ak__instead(h, ak_forward(f->out, h)), f->norm);
}

static bool failed(halves x)
{
    return (x.queries && ak_is_poison(x.queries)) || (x.words && ak_is_poison(x.words));
}

static halves run_layer(ak_module *m, const layer *l, halves x, const ak_inputs *in,
                        const sight *s)
{
    x = self_part(m, l, x, s);
    if (x.queries && l->cross && !failed(x)) {
        ak_tensor *y = ak_forward_with(l->cross, (ak_inputs){
            .x = x.queries, .memory = in->memory, .memory_lengths = in->memory_lengths,
            .memory_mask = in->memory_mask });
        x.queries = ak__instead(x.queries, residual(m, x.queries, y, l->cross_norm));
    }
    if (x.queries && !failed(x))
        x.queries = ak__instead(x.queries, feed_part(m, &l->queries, x.queries));
    if (x.words && !failed(x))
        x.words = ak__instead(x.words, feed_part(m, &l->words, x.words));
    return x;
}

/* ---- embeddings ------------------------------------------------------------------------------ */

static ak_tensor *embed_queries(ak_module *m, const ak_inputs *in)
{
    const qformer *q = m->user;
    if (in->x)
        return ak_dropout(ak_forward(m->children[NORM], in->x), q->o.dropout);
    const int64_t N = in->memory->shape.dims[0];
    ak_tensor *tokens = ak_forward(m->children[NORM], ak__own(m, 0));
    ak_tensor *zeros = ak_zeros(m->ctx, AK_SHAPE(N, q->o.queries, q->o.width));
    return ak_dropout(ak_add(zeros, tokens), q->o.dropout);
}

static ak_tensor *embed_words(ak_module *m, const ak_inputs *in)
{
    const qformer *q = m->user;
    const int64_t first = q->o.queries ? 1 : 0;
    ak_tensor *words = ak_embedding(ak__own(m, first), in->ids, q->o.padding);
    ak_tensor *positions = ak_rows(ak__own(m, first + 1), 0, in->ids->shape.dims[1]);
    ak_tensor *sum = ak__instead(words, ak_add(words, positions));
    ak_tensor *y = ak_forward(m->children[NORM], sum);
    return ak_is_poison(y) ? y : ak_dropout(ak__instead(sum, y), q->o.dropout);
}

static bool words_fit(ak_module *m, const ak_inputs *in)
{
    const qformer *q = m->user;
    const ak_shape s = in->ids->shape;
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    const bool rank = s.n == 2 && s.dims[1] >= 1 && s.dims[1] <= q->o.positions;
    if (!rank || (in->memory && s.dims[0] != in->memory->shape.dims[0]))
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .ids [N, T], T in [1, %d]%s, got %s%s%s",
                m->name, m->what, q->o.positions, in->memory ? ", N that of .memory" : "",
                ak_shape_text(s, a), in->memory ? " beside " : "",
                in->memory ? ak_shape_text(in->memory->shape, b) : "");
    else if (in->mask && !ak_shape_equal(in->mask->shape, s))
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): .mask is %s, .ids %s", m->name, m->what,
                ak_shape_text(in->mask->shape, a), ak_shape_text(s, b));
    return ak_error(m->ctx) == AK_OK && ak__lengths_fit(m, in->lengths, s.dims[0], s.dims[1]);
}

static bool queries_fit(ak_module *m, const ak_inputs *in)
{
    const qformer *q = m->user;
    const ak_shape s = in->memory->shape;
    const int64_t memory = q->o.memory_width ? q->o.memory_width : q->o.width;
    if (s.n != 3 || s.dims[2] != memory) {
        ak__module_shape_error(m, in->memory, "[N, S, %" PRId64 "] for .memory", memory);
    } else if (in->x && (in->x->shape.n != 3 || in->x->shape.dims[0] != s.dims[0] ||
                         in->x->shape.dims[1] < 1 || in->x->shape.dims[2] != q->o.width)) {
        ak__module_shape_error(m, in->x, "[%" PRId64 ", Q, %d], queries", s.dims[0], q->o.width);
    } else if (!in->x && !q->o.queries) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): .x is missing: queries are handed in where .queries"
                " of the options is 0", m->name, m->what);
    }
    return ak_error(m->ctx) == AK_OK;
}

static bool inputs_fit(ak_module *m, const ak_inputs *in)
{
    if (!in->memory && (!in->ids || in->x || in->memory_lengths || in->memory_mask)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): .memory is missing: queries look at it\n    hint: "
                "words alone are .ids, .lengths and .mask", m->name, m->what);
        return false;
    }
    if (!in->ids && (in->lengths || in->mask)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): .lengths and .mask are of .ids, which are missing",
                m->name, m->what);
        return false;
    }
    return (!in->memory || queries_fit(m, in)) && (!in->ids || words_fit(m, in));
}

/* ---- the whole ------------------------------------------------------------------------------- */

static ak_tensor *run_as(ak_module *m, const ak_inputs *in, const void *how)
{
    const qformer *q = m->user;
    if (!inputs_fit(m, in))
        return &ak__poison;
    halves x = { in->memory ? embed_queries(m, in) : NULL, NULL };
    x.words = in->ids && !failed(x) ? embed_words(m, in) : NULL;
    if (failed(x))
        return &ak__poison;
    const sight s = sight_of(m, in, x, *(const ak_qformer_mode *)how);
    if (!none_poison(&s))
        return &ak__poison;
    int64_t at = LAYERS;
    for (int i = 0; i < q->o.layers && !failed(x); i++) {
        const layer l = layer_at(m, i, &at);
        x = run_layer(m, &l, x, in, &s);
    }
    if (failed(x))
        return &ak__poison;
    if (!x.queries || !x.words)
        return x.queries ? x.queries : x.words;
    ak_tensor *both = ak_concat(1, x.queries, x.words);
    if (!ak_is_poison(both)) {
        ak_done_with(x.queries, false);
        ak_done_with(x.words, false);
    }
    return both;
}

static ak_tensor *qformer_forward(ak_module *m, const ak_inputs *in)
{
    const qformer *q = m->user;
    return run_as(m, in, &q->o.mode);
}

#define QUERIES_TAKE (AK_IN_X | AK_IN_MEMORY_LENGTHS | AK_IN_MEMORY_MASK)
static const ak_module_kind queries_kind = {
    .name = "Q-Former", .forward_with = qformer_forward, .needs = AK_IN_MEMORY,
    .takes = QUERIES_TAKE, AK__STATE(qformer) };
static const ak_module_kind words_kind = {
    .name = "Q-Former with words", .forward_with = qformer_forward,
    .takes = QUERIES_TAKE | AK_IN_MEMORY | AK_IN_IDS | AK_IN_LENGTHS | AK_IN_MASK,
    AK__STATE(qformer) };

static bool is_mode(ak_qformer_mode mode)
{
    return (int)mode >= 0 && mode <= AK_QFORMER_GENERATE;
}

ak_tensor *ak_qformer_run(ak_module *m, ak_inputs in, ak_qformer_mode mode)
{
    if (!AK__GIVEN(in.memory ? in.memory->ctx : NULL, m))
        return &ak__poison;
    const bool one = m->kind == &queries_kind || m->kind == &words_kind;
    if (!one || !is_mode(mode)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_qformer_run: %s (%s)%s, mode %d (ak_qformer_mode: 0 to "
                "%d)", m->name, m->what, one ? "" : " is not of ak_qformer", (int)mode,
                (int)AK_QFORMER_GENERATE);
        return &ak__poison;
    }
    return ak__run_use(m, &in, &(ak__use){ .who = "ak_qformer_run", .needs = m->kind->needs,
                                             .takes = m->kind->takes, .run = run_as,
                                             .how = &mode });
}

/* ---- making ---------------------------------------------------------------------------------- */

static bool fill_in(const ak_module *m, ak_qformer_options *o)
{
    o->width = o->width ? o->width : 768;
    o->layers = o->layers ? o->layers : 12;
    o->heads = o->heads ? o->heads : 12;
    o->every = o->every ? o->every : 2;
    o->positions = o->positions ? o->positions : 512;
    o->eps = o->eps > 0 || o->eps < 0 ? o->eps : 1e-12;
    const bool words = o->vocab == 0 || o->padding == AK_NONE ||
                       (o->padding >= 0 && o->padding < o->vocab);
    if (o->width < 1 || o->layers < 1 || o->heads < 1 || o->every < 1 || o->positions < 1 ||
        o->queries < 0 || o->vocab < 0 || o->hidden < 0 || !is_mode(o->mode) || !words)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .width %d, .layers %d, .heads %d, .every %d, .positions "
                "%d must be at least 1, .hidden %d, .queries %d and .vocab %d >= 0, .padding %d a "
                "word or AK_NONE, .mode %d in [0, %d]", m->name, o->width, o->layers, o->heads,
                o->every, o->positions, o->hidden, o->queries, o->vocab, o->padding, (int)o->mode,
                (int)AK_QFORMER_GENERATE);
    else if (!(o->dropout >= 0 && o->dropout < 1))
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .dropout %g must be in [0, 1)", m->name, o->dropout);
    return ak_error(m->ctx) == AK_OK;
}

static void add_attention(const ak_module *m, const char *below, const char *name, bool cross)
{
    const ak_qformer_options *o = &((const qformer *)m->user)->o;
    char path[96];
    snprintf(path, sizeof path, "%s/%s", below, name);
    ak_nn_attention(m->ctx, path, o->width, (ak_attention_layer_options){
        .heads = o->heads, .cross = cross, .memory_width = cross ? o->memory_width : 0,
        .causal = !cross && o->vocab > 0, .dropout = o->attention_dropout,
        .names = AK_NAMES_QFORMER });
    snprintf(path, sizeof path, "%s/%s/output/LayerNorm", below, name);
    ak_nn_layer_norm(m->ctx, path, o->width, o->eps);
}

static void add_feed(const ak_module *m, const char *below, const char *of)
{
    const ak_qformer_options *o = &((const qformer *)m->user)->o;
    const int64_t hidden = o->hidden ? o->hidden : 4 * (int64_t)o->width;
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    char path[96];
    snprintf(path, sizeof path, "%s/intermediate%s/dense", below, of);
    ak_module *in = ak_nn_linear(m->ctx, path, o->width, hidden, (ak_linear_options){
        .relu = o->relu, .weight = how });
    if (in)
        ak_fill(ak__own(in, 1), 0);
    snprintf(path, sizeof path, "%s/output%s/dense", below, of);
    ak__block_linear(m->ctx, path, hidden, o->width, false, how);
    snprintf(path, sizeof path, "%s/output%s/LayerNorm", below, of);
    ak_nn_layer_norm(m->ctx, path, o->width, o->eps);
}

static void add_embeddings(ak_module *m, const ak_qformer_options *o)
{
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    if (o->queries)
        ak_init_fill(ak_module_add_param(m, "query_tokens", AK_SHAPE(1, o->queries, o->width),
                                         AK_PARAM_NO_DECAY), how);
    if (!o->vocab)
        return;
    ak_init_fill(ak_module_add_param(m, "embeddings/word_embeddings/weight",
                                     AK_SHAPE(o->vocab, o->width), 0), how);
    ak_init_fill(ak_module_add_param(m, "embeddings/position_embeddings/weight",
                                     AK_SHAPE(o->positions, o->width), 0), how);
}

ak_module *ak_qformer(ak_ctx *ctx, const char *name, ak_qformer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, o.vocab ? &words_kind : &queries_kind);
    if (!m || !fill_in(m, &o))
        return NULL;
    qformer *q = m->user;
    *q = (qformer){ o };
    ak_module_describe(m, "%s, %d layers of %d, %d queries", m->kind->name, o.layers, o.width,
                       o.queries);
    ak__module_note(m, "%s", ak__activation_name(o.relu ? AK_RELU : AK_GELU));
    add_embeddings(m, &o);
    ak_module_begin(m);
    ak_nn_layer_norm(ctx, "layernorm", o.width, o.eps);
    for (int i = 0; i < o.layers && ak_error(ctx) == AK_OK; i++) {
        char below[48];
        snprintf(below, sizeof below, "encoder/layer/%d", i);
        add_attention(m, below, "attention", false);
        if (looks_at_memory(q, i))
            add_attention(m, below, "crossattention", true);
        if (o.vocab)
            add_feed(m, below, "");
        add_feed(m, below, "_query");
    }
    return ak_module_end(m);
}
