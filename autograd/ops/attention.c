/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention as ops: layouts, masks, operands that share memory. The work is
 * done in tensor/attention_tiles.c. */
#include <inttypes.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "autograd/tape.h"
#include "base/real.h"
#include "tensor/attention_tiles.h"
#include "tensor/tensor_internal.h"

/* Three ops that differ in how queries, keys and values lie: each in an operand of its own, keys
 * and values side by side in one, all three in one. Behind them comes the bias. */
enum { Q, K, V, PARTS };
enum { KEY_LENGTHS, KEY_MASK, PAST, PREFIX, INDICES };

typedef struct attention_attr {
    ak_attention_options o;
    uint64_t seed, stream;          /* of dropout */
} attention_attr;

/* ---- where the parts are --------------------------------------------------------------------- */

/* Operands before the bias. */
static int holders(const ak_call *k) { return k->n_in - 1; }

static ak_tensor *bias_of(const ak_call *k) { return k->in[k->n_in - 1]; }

/* A part's sizes and where its numbers are, whichever layout it has. */
typedef struct head_part {
    int     operand;
    int64_t N, H, T, D;
    int64_t offset;                 /* elements from the operand's first */
    ak__head_place at;
} head_part;

static ak__head_place flat_place(int64_t T, int64_t row, int64_t D)
{
    return (ak__head_place){ .sample = T * row, .head = D, .row = row };
}

static head_part part_of(const ak_call *k, int which)
{
    const int heads = ((const attention_attr *)k->attr)->o.heads, n = holders(k);
    const int operand = which < n ? which : n - 1;
    const int64_t *d = k->in[operand]->shape.dims;
    if (heads == 0)
        return (head_part){ operand, d[0], d[1], d[2], d[3], 0,
                            { .sample = d[1] * d[2] * d[3], .head = d[2] * d[3], .row = d[3] } };
    const int sharing = operand < n - 1 ? 1 : PARTS - n + 1;
    const int64_t width = d[2] / sharing;
    return (head_part){ operand, d[0], heads, d[1], width / heads, (which - operand) * width,
                        flat_place(d[1], d[2], width / heads) };
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static ak_status check_layout(ak_call *k, int heads)
{
    char name[32];
    const int n = holders(k);
    if (heads < 0 || (heads == 0 && n < PARTS))
        return ak_call_fail(k, AK_ERR_VALUE, ".heads = %d must be >= 1%s", heads,
                            n < PARTS ? "" : ", or 0 for operands [N, H, T, D]");
    for (int i = 0; i < n; i++) {
        const ak_tensor *x = k->in[i];
        ak__name_in(k->op->operands, i, name, sizeof name);
        if (x->shape.n == (heads > 0 ? 3 : 4))
            continue;
        if (heads == 0 && x->shape.n == 3) {
            ak_call_hint(k, ".heads = 1 for one head; ak_reshape makes [N, H, T, D]");
            return ak_call_fail(k, AK_ERR_SHAPE, "%s has the axes of [N, T, heads * D], but .heads "
                                "is not set; without it, operands are [N, H, T, D]", name);
        }
        return ak_call_fail(k, AK_ERR_SHAPE, "%s has %d axes; with .heads = %d operands are %s",
                            name, x->shape.n, heads,
                            heads > 0 ? "[N, T, heads * D]" : "[N, H, T, D]");
    }
    for (int i = 0; heads > 0 && i < n; i++) {
        const int sharing = i < n - 1 ? 1 : PARTS - n + 1;
        ak__name_in(k->op->operands, i, name, sizeof name);
        if (k->in[i]->shape.dims[2] % ((int64_t)heads * sharing) != 0)
            return ak_call_fail(k, AK_ERR_SHAPE, "the last axis of %s, %" PRId64 ", does not "
                                "divide into %d times %d heads", name, k->in[i]->shape.dims[2],
                                sharing, heads);
    }
    return AK_OK;
}

static ak_status check_sizes(ak_call *k, head_part q, head_part key, head_part v)
{
    if (q.N != key.N || q.N != v.N)
        return ak_call_fail(k, AK_ERR_SHAPE, "q, k, v differ in samples: %" PRId64 ", %" PRId64
                            ", %" PRId64, q.N, key.N, v.N);
    if (q.H != key.H || q.H != v.H)
        return ak_call_fail(k, AK_ERR_SHAPE, "q, k, v differ in heads: %" PRId64 ", %" PRId64
                            ", %" PRId64, q.H, key.H, v.H);
    if (key.T != v.T)
        return ak_call_fail(k, AK_ERR_SHAPE, "%" PRId64 " keys, but %" PRId64 " values", key.T,
                            v.T);
    if (q.D != key.D)
        return ak_call_fail(k, AK_ERR_SHAPE, "q has heads of width %" PRId64 ", k of %" PRId64,
                            q.D, key.D);
    if (q.D < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "the heads of q and k have no width");
    return AK_OK;
}

/* One number a sample, in [0, hi). */
static ak_status check_per_sample(ak_call *k, int which, int64_t N, int64_t hi)
{
    const ak_status s = ak_call_index_shape(k, which, AK_SHAPE(N));
    return s == AK_OK ? ak_call_index_range(k, which, 0, hi) : s;
}

static ak_status check_keys(ak_call *k, head_part key, bool causal)
{
    if (!causal && (k->index[PAST] || k->index[PREFIX]))
        return ak_call_fail(k, AK_ERR_VALUE, "%s says what a causal query sees, but .causal is not "
                            "set", k->index[PAST] ? ".past" : ".prefix");
    ak_status s = check_per_sample(k, KEY_LENGTHS, key.N, key.T + 1);
    s = s == AK_OK ? ak_call_index_shape(k, KEY_MASK, AK_SHAPE(key.N, key.T)) : s;
    s = s == AK_OK ? ak_call_index_range(k, KEY_MASK, 0, 2) : s;
    s = s == AK_OK ? check_per_sample(k, PAST, key.N, key.T + 1) : s;
    return s == AK_OK ? check_per_sample(k, PREFIX, key.N, key.T + 1) : s;
}

/* Do the axes of the bias, from the last, agree with [N, H, Tq, Tk]? */
static ak_status check_bias(ak_call *k, head_part q, head_part key)
{
    const ak_tensor *b = bias_of(k);
    if (!b)
        return AK_OK;
    const int64_t full[4] = { q.N, q.H, q.T, key.T };
    bool fits = b->shape.n >= 2 && b->shape.n <= 4;
    for (int d = 0; fits && d < b->shape.n; d++)
        fits = b->shape.dims[d] == full[4 - b->shape.n + d];
    if (!fits)
        return ak_call_fail(k, AK_ERR_SHAPE, "the bias needs the last 2, 3 or 4 axes of [%" PRId64
                            ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", full[0], full[1], full[2],
                            full[3]);
    return AK_OK;
}

static ak_status attention_shape(ak_call *k)
{
    const ak_attention_options *o = &((const attention_attr *)k->attr)->o;
    ak_status status = check_layout(k, o->heads);
    if (status != AK_OK)
        return status;
    if (!(o->scale >= 0) || o->scale > 1e30)
        return ak_call_fail(k, AK_ERR_VALUE, ".scale = %g is not in (0, 1e30] (0: 1 / sqrt(D))",
                            o->scale);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return ak_call_fail(k, AK_ERR_VALUE, ".dropout = %g is not in [0, 1)", o->dropout);
    const head_part q = part_of(k, Q), key = part_of(k, K), v = part_of(k, V);
    status = check_sizes(k, q, key, v);
    if (status == AK_OK)
        status = check_keys(k, key, o->causal);
    if (status == AK_OK)
        status = check_bias(k, q, key);
    k->out->shape = o->heads > 0 ? AK_SHAPE(q.N, q.T, q.H * v.D) : AK_SHAPE(q.N, q.H, q.T, v.D);
    return status;
}

/* ---- the two passes -------------------------------------------------------------------------- */

static const int32_t *numbers(const ak_call *k, int which)
{
    return k->index[which] ? k->index[which]->data : NULL;
}

/* The problem without its working memory. */
static ak__attention problem_of(const ak_call *k)
{
    const attention_attr *attr = k->attr;
    const ak_attention_options *o = &attr->o;
    const head_part q = part_of(k, Q), key = part_of(k, K), v = part_of(k, V);
    const ak_tensor *bias = bias_of(k);
    const int64_t heads = q.H * q.T * v.D;
    return (ak__attention){
        .N = q.N, .H = q.H, .Tq = q.T, .Tk = key.T, .D = q.D, .Dv = v.D,
        .scale = o->scale > 0 ? (ak_real)o->scale : 1 / ak__sqrt((ak_real)q.D),
        .causal = o->causal, .past = numbers(k, PAST), .prefix = numbers(k, PREFIX),
        .key_lengths = numbers(k, KEY_LENGTHS), .key_mask = numbers(k, KEY_MASK),
        .dropout = o->dropout, .seed = attr->seed, .stream = attr->stream,
        .bias = bias ? bias->data : NULL,
        .bias_sample = bias && bias->shape.n == 4 ? q.H * q.T * key.T : 0,
        .bias_head = bias && bias->shape.n >= 3 ? q.T * key.T : 0,
        .q = k->in[q.operand]->data + q.offset, .k = k->in[key.operand]->data + key.offset,
        .v = k->in[v.operand]->data + v.offset, .y = k->out->data,
        .at_q = q.at, .at_k = key.at, .at_v = v.at,
        .at_y = o->heads > 0 ? flat_place(q.T, q.H * v.D, v.D)
                             : (ak__head_place){ .sample = heads, .head = q.T * v.D, .row = v.D },
        .query = k->saved,
    };
}

static void attention_forward(ak_call *k)
{
    ak__attention a = problem_of(k);
    a.query = ak_call_save(k, (size_t)(a.N * a.H * a.Tq) * sizeof *a.query);
    a.memory = ak_call_scratch(k, ak__attention_memory(&a, false) * sizeof(ak_real));
    if (a.query && a.memory)
        ak__attention_forward(&a);
}

/* The gradient of an operand to work on. Where an earlier operand shares its memory, or a part of
 * it, the two would be added to at once: then it is scratch, and `shared` is the true place. */
typedef struct operand_grad {
    ak_real *d, *shared;
    bool     fresh;
} operand_grad;

static operand_grad separate_grad(ak_call *k, int i)
{
    operand_grad g = { .shared = NULL };
    g.d = ak_call_grad_fresh(k, i, &g.fresh);
    for (int j = 0; g.d && j < i; j++)
        if (k->in[j]->root == k->in[i]->root)
            g.shared = g.d;
    if (g.shared) {
        g.fresh = true;
        g.d = ak_call_scratch(k, (size_t)k->in[i]->size * sizeof *g.d);
    }
    return g;
}

static ak_real *part_grad(const operand_grad *g, head_part p)
{
    return g[p.operand].d ? g[p.operand].d + p.offset : NULL;
}

static void attention_backward(ak_call *k)
{
    ak__attention a = problem_of(k);
    operand_grad d[PARTS + 1];
    const int n = holders(k);
    for (int i = 0; i <= n; i++)
        d[i] = separate_grad(k, i);
    const head_part q = part_of(k, Q), key = part_of(k, K), v = part_of(k, V);
    const ak__attention_grads g = {
        .dy = k->out->grad, .dq = part_grad(d, q), .dk = part_grad(d, key), .dv = part_grad(d, v),
        .fresh_q = d[q.operand].fresh, .fresh_k = d[key.operand].fresh,
        .fresh_v = d[v.operand].fresh, .dbias = d[n].d };
    a.bias_grad = g.dbias != NULL;
    a.memory = ak_call_scratch(k, ak__attention_memory(&a, true) * sizeof(ak_real));
    if (!a.memory || ak_error(k->ctx) != AK_OK)
        return;
    if (g.dbias && d[n].fresh)
        memset(g.dbias, 0, (size_t)bias_of(k)->size * sizeof *g.dbias);
    ak__attention_backward(&a, &g);
    for (int i = 0; i <= n; i++)
        if (d[i].shared)
            ak__k.add(d[i].shared, d[i].shared, d[i].d, k->in[i]->size);
}

/* 2 operations for each multiply-add of q k^T and P v; masks are not taken off. */
static double attention_flops(const ak_call *k)
{
    const ak__attention a = problem_of(k);
    const double scores = (double)(a.N * a.H) * (double)a.Tq * (double)a.Tk;
    return 2 * scores * (double)(a.D + a.Dv) * (a.causal ? 0.5 : 1);
}

/* ---- the record ------------------------------------------------------------------------------ */

/* A sample in plain numbers: index arrays belong to the operands' context. */
typedef struct attention_sample {
    int    heads;
    double scale, dropout;
    bool   causal;
    int    lengths, mask, past, prefix; /* how many numbers of `keys` are each, in this order */
    int32_t keys[16];
} attention_sample;

static ak_tensor *run_attention(ak_tensor *const *in, int n_in, attention_attr *attr);

static ak_tensor *sample_attention(ak_tensor *const *in, int n_in, const ak_sample *sample)
{
    const attention_sample *s = sample->attr;
    ak_ctx *ctx = in[0]->ctx;
    const int n = n_in - 1;
    ak_tensor *const keys = in[n - 1];
    ak_attention_options o = { .heads = s->heads, .scale = s->scale, .causal = s->causal,
                               .bias = in[n] };
    const int64_t T = s->mask > 0 ? keys->shape.dims[s->heads > 0 ? 1 : 2] : 1;
    const int32_t *at = s->keys;
    if (s->lengths > 0)
        o.key_lengths = ak_index_from(ctx, AK_SHAPE(s->lengths), at);
    at += s->lengths;
    if (s->mask > 0)
        o.key_mask = ak_index_from(ctx, AK_SHAPE(s->mask / T, T), at);
    at += s->mask;
    if (s->past > 0)
        o.past = ak_index_from(ctx, AK_SHAPE(s->past), at);
    at += s->past;
    if (s->prefix > 0)
        o.prefix = ak_index_from(ctx, AK_SHAPE(s->prefix), at);
    o.dropout = s->dropout;
    if (o.dropout > 0)                  /* a stream that is the same in every call */
        return run_attention(in, n_in, &(attention_attr){ o, 7, 3 });
    return n == 1   ? ak_attention_qkv(in[0], o)
           : n == 2 ? ak_attention_kv(in[0], in[1], o)
                    : ak_attention(in[0], in[1], in[2], o);
}

#define NO_BIAS { .n = AK_ABSENT }
#define HEADS_BIAS(N, H, Tq, Tk, D, Dv, bias)                                                      \
    .in = { { 4, { N, H, Tq, D } }, { 4, { N, H, Tk, D } }, { 4, { N, H, Tk, Dv } }, bias },       \
    .n_in = 4, .call = sample_attention
#define HEADS(N, H, Tq, Tk, D, Dv) HEADS_BIAS(N, H, Tq, Tk, D, Dv, NO_BIAS)
#define FLAT_BIAS(N, Tq, Tk, C, Cv, bias)                                                          \
    .in = { { 3, { N, Tq, C } }, { 3, { N, Tk, C } }, { 3, { N, Tk, Cv } }, bias },                \
    .n_in = 4, .call = sample_attention
#define FLAT(N, Tq, Tk, C, Cv) FLAT_BIAS(N, Tq, Tk, C, Cv, NO_BIAS)
#define JOINED_KV(N, Tq, Tk, C, bias)                                                              \
    .in = { { 3, { N, Tq, C } }, { 3, { N, Tk, 2 * (C) } }, bias }, .n_in = 3,                     \
    .call = sample_attention
#define JOINED(N, T, C, bias)                                                                      \
    .in = { { 3, { N, T, 3 * (C) } }, bias }, .n_in = 2, .call = sample_attention
#define BIAS1(Tk) { 1, { Tk } }
#define BIAS2(Tq, Tk) { 2, { Tq, Tk } }
#define BIAS3(H, Tq, Tk) { 3, { H, Tq, Tk } }
#define BIAS4(N, H, Tq, Tk) { 4, { N, H, Tq, Tk } }
#define WITH(...) .attr = &(const attention_sample){ __VA_ARGS__ }

#define ATTENTION(id, inputs, names, needed, sample_list, misuse_list)                             \
    static const ak_op id = {                                                                      \
        .name = #id, .formula = "y = softmax(scale q k^T + bias) v, of each head",                 \
        .n_in = inputs, .attr_size = sizeof(attention_attr),                                       \
        .flags = AK_OP_OPTIONAL_IN | AK_OP_RANDOM, .operands = names, .required = needed,          \
        .n_index = INDICES, .indices = "key_lengths key_mask past prefix",                         \
        .index_optional = 15,                                                                      \
        .shape = attention_shape, .forward = attention_forward, .backward = attention_backward,    \
        .flops = attention_flops,                                                                  \
        .samples = (const ak_sample[]){ sample_list, AK_END },                                     \
        .misuse = (const ak_sample[]){ misuse_list, AK_END },                                      \
    }
#define LIST(...) __VA_ARGS__

ATTENTION(attention, 4, "q k v bias", 3,
    LIST({ HEADS(1, 1, 1, 1, 1, 1), WITH(0) },
        { HEADS(2, 2, 5, 5, 3, 3), WITH(0) },
        { HEADS(1, 2, 3, 7, 5, 2), WITH(.scale = 0.7) },
        { FLAT(2, 4, 6, 6, 9), WITH(.heads = 3) },
        { HEADS(1, 1, 19, 19, 4, 4), WITH(.causal = true) },
        { FLAT(1, 7, 4, 8, 8), WITH(.heads = 2, .causal = true) },
        { HEADS(1, 1, 3, 8, 2, 17), WITH(.causal = true) },
        { HEADS(3, 1, 2, 4, 3, 3), WITH(.lengths = 3, .keys = { 2, 0, 4 }) },
        { FLAT(2, 3, 5, 4, 4), WITH(.heads = 2, .mask = 10, .keys = { 1, 0, 1, 1, 0,
                                                                      0, 0, 1, 0, 1 }) },
        { HEADS(2, 1, 4, 4, 3, 3), WITH(.causal = true, .lengths = 2, .mask = 8,
                                        .keys = { 3, 4, 0, 1, 1, 1, 1, 1, 0, 1 }) },
        { HEADS_BIAS(2, 2, 3, 5, 2, 3, BIAS2(3, 5)), WITH(0) },
        { FLAT_BIAS(2, 3, 5, 4, 2, BIAS3(2, 3, 5)), WITH(.heads = 2, .scale = 0.5) },
        { HEADS_BIAS(2, 2, 3, 3, 2, 2, BIAS4(2, 2, 3, 3)), WITH(.causal = true) },
        { HEADS_BIAS(9, 1, 2, 3, 2, 2, BIAS3(1, 2, 3)), WITH(.lengths = 9, .keys = {
            3, 2, 0, 1, 3, 3, 3, 2, 3 }) },
        { HEADS(2, 1, 3, 6, 2, 2), WITH(.causal = true, .past = 2, .keys = { 3, 1 }) },
        { HEADS(2, 1, 19, 19, 2, 2), WITH(.causal = true, .prefix = 2, .keys = { 7, 0 }) },
        { HEADS_BIAS(2, 2, 4, 6, 2, 3, BIAS2(4, 6)),
          WITH(.causal = true, .past = 2, .prefix = 2, .keys = { 1, 0, 4, 6 }) },
        { HEADS(2, 2, 5, 7, 3, 3), WITH(.dropout = 0.4) },
        { HEADS_BIAS(1, 2, 5, 6, 3, 3, BIAS3(2, 5, 6)), WITH(.dropout = 0.5, .causal = true) }),
    LIST({ FLAT(2, 3, 3, 4, 4), WITH(0) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.heads = 2) },
        { FLAT(2, 3, 3, 4, 4), WITH(.heads = 3) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.heads = -1) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.scale = -1) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.dropout = 1) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.dropout = -0.1) },
        { HEADS(2, 2, 3, 3, 0, 4), WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 1, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } }, NO_BIAS },
          .n_in = 4, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } }, { 4, { 2, 1, 3, 4 } }, NO_BIAS },
          .n_in = 4, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 5, 4 } }, NO_BIAS },
          .n_in = 4, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 5 } }, { 4, { 2, 2, 3, 4 } }, NO_BIAS },
          .n_in = 4, .call = sample_attention, WITH(0) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.lengths = 3, .keys = { 1, 2, 3 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.lengths = 2, .keys = { 4, 5 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.mask = 4, .keys = { 1, 1, 1, 1 }) },
        { HEADS(1, 1, 3, 4, 2, 2), WITH(.mask = 4, .keys = { 1, 1, 2, 1 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.past = 2, .keys = { 1, 1 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.prefix = 2, .keys = { 1, 1 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.causal = true, .past = 2, .keys = { 1, -1 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.causal = true, .prefix = 2, .keys = { 5, 0 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.causal = true, .prefix = 1, .keys = { 1 }) },
        { HEADS_BIAS(2, 1, 3, 4, 2, 2, BIAS2(4, 3)), WITH(0) },
        { HEADS_BIAS(2, 1, 3, 4, 2, 2, BIAS1(4)), WITH(0) }));

ATTENTION(attention_kv, 3, "q kv bias", 2,
    LIST({ JOINED_KV(2, 3, 5, 6, NO_BIAS), WITH(.heads = 2) },
        { JOINED_KV(1, 1, 1, 2, BIAS2(1, 1)), WITH(.heads = 1) },
        { JOINED_KV(1, 1, 17, 8, NO_BIAS), WITH(.heads = 4, .scale = 1) },
        { JOINED_KV(2, 3, 4, 4, NO_BIAS), WITH(.heads = 2, .mask = 8,
                                               .keys = { 1, 0, 1, 1, 1, 1, 0, 1 }) },
        { JOINED_KV(2, 2, 4, 4, BIAS3(2, 2, 4)), WITH(.heads = 2, .causal = true, .past = 2,
                                                      .keys = { 2, 1 }) }),
    LIST({ JOINED_KV(2, 3, 5, 6, NO_BIAS), WITH(0) },
        { JOINED_KV(2, 3, 5, 6, NO_BIAS), WITH(.heads = 4) },
        { .in = { { 3, { 2, 3, 4 } }, { 3, { 2, 3, 4 } }, NO_BIAS }, .n_in = 3,
          .call = sample_attention, WITH(.heads = 2) }));

ATTENTION(attention_qkv, 2, "qkv bias", 1,
    LIST({ JOINED(2, 5, 6, NO_BIAS), WITH(.heads = 2) },
        { JOINED(1, 1, 1, NO_BIAS), WITH(.heads = 1) },
        { JOINED(1, 19, 5, NO_BIAS), WITH(.heads = 5, .causal = true) },
        { JOINED(2, 4, 6, BIAS4(2, 3, 4, 4)), WITH(.heads = 3, .dropout = 0.3) },
        { JOINED(3, 4, 4, BIAS3(2, 4, 4)), WITH(.heads = 2, .causal = true, .lengths = 3,
                                                .keys = { 4, 2, 3 }) }),
    LIST({ JOINED(2, 5, 6, NO_BIAS), WITH(0) },
        { JOINED(2, 5, 6, NO_BIAS), WITH(.heads = 4) },
        { .in = { { 3, { 2, 5, 7 } }, NO_BIAS }, .n_in = 2, .call = sample_attention,
          WITH(.heads = 1) }));

static ak_tensor *run_attention(ak_tensor *const *in, int n_in, attention_attr *attr)
{
    const ak_attention_options *o = &attr->o;
    const ak_op *op = n_in == 4 ? &attention : n_in == 3 ? &attention_kv : &attention_qkv;
    const ak_operands operands = { in, n_in, (ak_index *[]){ o->key_lengths, o->key_mask, o->past,
                                                             o->prefix }, INDICES };
    return ak_apply_all(op, operands, attr).out;
}

/* In evaluation mode nothing is dropped, and only what would be refused is said. */
static ak_tensor *attend(ak_tensor *const *in, int n_in, ak_attention_options o)
{
    attention_attr attr = { .o = o };
    if (o.dropout > 0 && AK__TENSOR(NULL, in[0])) {
        ak_ctx *ctx = in[0]->ctx;
        if (o.dropout < 1 && !ak_is_training(ctx))
            attr.o.dropout = 0;
        else
            attr = (attention_attr){ o, ak_seed(ctx), ak_next_stream(ctx) };
    }
    return run_attention(in, n_in, &attr);
}

ak_tensor *ak_attention(ak_tensor *q, ak_tensor *k, ak_tensor *v, ak_attention_options o)
{
    return attend((ak_tensor *[]){ q, k, v, o.bias }, 4, o);
}

ak_tensor *ak_attention_kv(ak_tensor *q, ak_tensor *kv, ak_attention_options o)
{
    return attend((ak_tensor *[]){ q, kv, o.bias }, 3, o);
}

ak_tensor *ak_attention_qkv(ak_tensor *qkv, ak_attention_options o)
{
    return attend((ak_tensor *[]){ qkv, o.bias }, 2, o);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_attention[] = { &attention, &attention_kv, &attention_qkv, NULL };
