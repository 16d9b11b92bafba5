/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention as an op: layouts, masks, operands that share memory. The work is
 * done in tensor/attention_tiles.c. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/real.h"
#include "tensor/attention_tiles.h"

enum { Q, K, V, BIAS, OPERANDS };

/* ---- shapes ---------------------------------------------------------------------------------- */

/* An operand's sizes, whichever layout it has. */
typedef struct head_sizes { int64_t N, H, T, D; } head_sizes;

static head_sizes sizes_of(const ak_tensor *x, int heads)
{
    const int64_t *d = x->shape.dims;
    if (heads > 0)
        return (head_sizes){ d[0], heads, d[1], d[2] / heads };
    return (head_sizes){ d[0], d[1], d[2], d[3] };
}

static ak__head_place places_of(head_sizes s, int heads)
{
    const int64_t sample = s.H * s.T * s.D;
    return heads > 0 ? (ak__head_place){ .sample = sample, .head = s.D, .row = s.H * s.D }
                     : (ak__head_place){ .sample = sample, .head = s.T * s.D, .row = s.D };
}

static ak_status check_layout(ak_call *k, int heads)
{
    static const char *const names[] = { "q", "k", "v" };
    if (heads < 0)
        return ak_call_fail(k, AK_ERR_VALUE, ".heads = %d must be >= 1, or 0 for operands "
                            "[N, H, T, D]", heads);
    for (int i = Q; i <= V; i++) {
        const ak_tensor *x = k->in[i];
        if (x->shape.n == (heads > 0 ? 3 : 4))
            continue;
        if (heads == 0 && x->shape.n == 3) {
            ak_call_hint(k, ".heads = 1 for one head; ak_reshape makes [N, H, T, D]");
            return ak_call_fail(k, AK_ERR_SHAPE, "%s has the axes of [N, T, heads * D], but .heads "
                                "is not set; without it, operands are [N, H, T, D]", names[i]);
        }
        return ak_call_fail(k, AK_ERR_SHAPE, "%s has %d axes; with .heads = %d operands are %s",
                            names[i], x->shape.n, heads,
                            heads > 0 ? "[N, T, heads * D]" : "[N, H, T, D]");
    }
    for (int i = Q; heads > 0 && i <= V; i++)
        if (k->in[i]->shape.dims[2] % heads != 0)
            return ak_call_fail(k, AK_ERR_SHAPE, "the last axis of %s, %" PRId64 ", does not "
                                "divide into %d heads", names[i], k->in[i]->shape.dims[2], heads);
    return AK_OK;
}

static ak_status check_sizes(ak_call *k, head_sizes q, head_sizes key, head_sizes v)
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

static ak_status check_keys(ak_call *k, const ak_attention_options *o, head_sizes key)
{
    if (o->key_lengths) {
        const ak_shape s = o->key_lengths->shape;
        if (s.n != 1 || s.dims[0] != key.N)
            return ak_call_fail(k, AK_ERR_SHAPE, "key_lengths needs one number for each of %"
                                PRId64 " samples", key.N);
        const ak_status status = ak__index_check(k, o->key_lengths, key.T + 1, "key_lengths");
        if (status != AK_OK)
            return status;
    }
    if (o->key_mask) {
        const ak_shape s = o->key_mask->shape;
        if (s.n != 2 || s.dims[0] != key.N || s.dims[1] != key.T)
            return ak_call_fail(k, AK_ERR_SHAPE, "key_mask needs the shape [%" PRId64 ",%" PRId64
                                "], samples and keys", key.N, key.T);
        return ak__index_check(k, o->key_mask, 2, "key_mask");
    }
    return AK_OK;
}

/* Do the axes of the bias, from the last, agree with [N, H, Tq, Tk]? */
static ak_status check_bias(ak_call *k, head_sizes q, head_sizes key)
{
    const ak_tensor *b = k->n_in > BIAS ? k->in[BIAS] : NULL;
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
    if (b->root->needs_grad) {
        ak_call_hint(k, "ak_detach(bias), or ak_softmax between two ak_matmul for its gradient");
        return ak_call_fail(k, AK_ERR_VALUE, "the bias is a constant, but needs a gradient");
    }
    return AK_OK;
}

static ak_status attention_shape(ak_call *k)
{
    const ak_attention_options *o = k->attr;
    ak_status status = check_layout(k, o->heads);
    if (status != AK_OK)
        return status;
    if (!(o->scale >= 0) || o->scale > 1e30)
        return ak_call_fail(k, AK_ERR_VALUE, ".scale = %g is not in (0, 1e30] (0: 1 / sqrt(D))",
                            o->scale);
    const head_sizes q = sizes_of(k->in[Q], o->heads), key = sizes_of(k->in[K], o->heads);
    const head_sizes v = sizes_of(k->in[V], o->heads);
    status = check_sizes(k, q, key, v);
    if (status == AK_OK)
        status = check_keys(k, o, key);
    if (status == AK_OK)
        status = check_bias(k, q, key);
    k->out->shape = o->heads > 0 ? AK_SHAPE(q.N, q.T, q.H * v.D) : AK_SHAPE(q.N, q.H, q.T, v.D);
    return status;
}

/* ---- the two passes -------------------------------------------------------------------------- */

/* The problem without its working memory. */
static ak__attention problem_of(const ak_call *k)
{
    const ak_attention_options *o = k->attr;
    const head_sizes q = sizes_of(k->in[Q], o->heads), key = sizes_of(k->in[K], o->heads);
    const head_sizes v = sizes_of(k->in[V], o->heads);
    const ak_tensor *bias = k->in[BIAS];
    return (ak__attention){
        .N = q.N, .H = q.H, .Tq = q.T, .Tk = key.T, .D = q.D, .Dv = v.D,
        .scale = o->scale > 0 ? (ak_real)o->scale : 1 / ak__sqrt((ak_real)q.D),
        .causal = o->causal,
        .key_lengths = o->key_lengths ? o->key_lengths->data : NULL,
        .key_mask = o->key_mask ? o->key_mask->data : NULL,
        .bias = bias ? bias->data : NULL,
        .bias_sample = bias && bias->shape.n == 4 ? q.H * q.T * key.T : 0,
        .bias_head = bias && bias->shape.n >= 3 ? q.T * key.T : 0,
        .q = k->in[Q]->data, .k = k->in[K]->data, .v = k->in[V]->data, .y = k->out->data,
        .at_q = places_of(q, o->heads), .at_k = places_of(key, o->heads),
        .at_v = places_of(v, o->heads),
        .at_y = places_of((head_sizes){ q.N, q.H, q.T, v.D }, o->heads),
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

/* The gradient of operand i to work on. Where an earlier operand shares its memory, or a part of
 * it, the two would be added to at once: then it is scratch, and *shared is the true place. */
static ak_real *separate_grad(ak_call *k, int i, bool *fresh, ak_real **shared)
{
    ak_real *d = ak_call_grad_fresh(k, i, fresh);
    *shared = NULL;
    for (int j = Q; d && j < i; j++)
        if (k->in[j]->root == k->in[i]->root)
            *shared = d;
    if (*shared) {
        *fresh = true;
        d = ak_call_scratch(k, (size_t)k->in[i]->size * sizeof *d);
    }
    return d;
}

static void attention_backward(ak_call *k)
{
    ak__attention a = problem_of(k);
    ak__attention_grads g = { .dy = k->out->grad };
    ak_real *shared[V + 1];
    g.dq = separate_grad(k, Q, &g.fresh_q, &shared[Q]);
    g.dk = separate_grad(k, K, &g.fresh_k, &shared[K]);
    g.dv = separate_grad(k, V, &g.fresh_v, &shared[V]);
    a.memory = ak_call_scratch(k, ak__attention_memory(&a, true) * sizeof(ak_real));
    if (!a.memory || ak_error(k->ctx) != AK_OK)
        return;
    ak__attention_backward(&a, &g);
    const ak_real *const made[] = { g.dq, g.dk, g.dv };
    for (int i = Q; i <= V; i++)
        if (shared[i])
            ak__k.add(shared[i], shared[i], made[i], k->in[i]->size);
}

/* 2 operations for each multiply-add of q k^T and P v; masks are not taken off. */
static double attention_flops(const ak_call *k)
{
    const ak__attention a = problem_of(k);
    const double scores = (double)(a.N * a.H) * (double)a.Tq * (double)a.Tk;
    return 2 * scores * (double)(a.D + a.Dv) * (a.causal ? 0.5 : 1);
}

/* ---- the record ------------------------------------------------------------------------------ */

/* A sample in plain numbers: index arrays and the bias belong to the operands' context. */
typedef struct attention_sample {
    int    heads;
    double scale;
    bool   causal;
    int    bias_axes;           /* 0 = none */
    int    lengths, mask;       /* how many numbers of `keys` are lengths, are the mask */
    int32_t keys[16];           /* lengths, then the mask */
} attention_sample;

static ak_tensor *sample_bias(ak_tensor *const *in, const attention_sample *s)
{
    const head_sizes q = sizes_of(in[Q], s->heads), key = sizes_of(in[K], s->heads);
    const int64_t full[4] = { q.N, q.H, q.T, key.T };
    ak_shape shape = { .n = s->bias_axes };
    for (int d = 0; d < shape.n; d++)
        shape.dims[d] = full[4 - shape.n + d];
    ak_tensor *b = ak_zeros(in[Q]->ctx, shape);
    for (int64_t i = 0; !ak_is_poison(b) && i < b->size; i++)
        b->data[i] = (ak_real)(i * 7 % 11 - 5) / 4;
    return b;
}

static ak_tensor *sample_attention(ak_tensor *const *in, int n_in, const ak_sample *sample)
{
    const attention_sample *s = sample->attr;
    ak_ctx *ctx = in[Q]->ctx;
    ak_attention_options o = { .heads = s->heads, .scale = s->scale, .causal = s->causal };
    const int64_t keys = s->lengths + s->mask > 0 ? in[K]->shape.dims[s->heads > 0 ? 1 : 2] : 0;
    (void)n_in;
    if (s->lengths > 0)
        o.key_lengths = ak_index_from(ctx, AK_SHAPE(s->lengths), s->keys);
    if (s->mask > 0)
        o.key_mask = ak_index_from(ctx, AK_SHAPE(s->mask / keys, keys), s->keys + s->lengths);
    if (s->bias_axes > 0)
        o.bias = sample_bias(in, s);
    return ak_attention(in[Q], in[K], in[V], o);
}

#define HEADS(N, H, Tq, Tk, D, Dv)                                                                 \
    .in = { { 4, { N, H, Tq, D } }, { 4, { N, H, Tk, D } }, { 4, { N, H, Tk, Dv } } }, .n_in = 3,  \
    .call = sample_attention
#define FLAT(N, Tq, Tk, C, Cv)                                                                     \
    .in = { { 3, { N, Tq, C } }, { 3, { N, Tk, C } }, { 3, { N, Tk, Cv } } }, .n_in = 3,           \
    .call = sample_attention
#define WITH(...) .attr = &(const attention_sample){ __VA_ARGS__ }

static const ak_op attention = {
    .name = "attention", .formula = "y = softmax(scale q k^T + bias) v, of each head",
    .n_in = OPERANDS, .attr_size = sizeof(ak_attention_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "q k v bias", .required = 3,
    .shape = attention_shape, .forward = attention_forward, .backward = attention_backward,
    .flops = attention_flops,
    .samples = (const ak_sample[]){
        { HEADS(1, 1, 1, 1, 1, 1), WITH(0) },
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
        { HEADS(2, 2, 3, 5, 2, 3), WITH(.bias_axes = 2) },
        { FLAT(2, 3, 5, 4, 2), WITH(.heads = 2, .bias_axes = 3, .scale = 0.5) },
        { HEADS(2, 2, 3, 3, 2, 2), WITH(.bias_axes = 4, .causal = true) },
        AK_END },
    .misuse = (const ak_sample[]){
        { FLAT(2, 3, 3, 4, 4), WITH(0) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.heads = 2) },
        { FLAT(2, 3, 3, 4, 4), WITH(.heads = 3) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.heads = -1) },
        { HEADS(2, 2, 3, 3, 4, 4), WITH(.scale = -1) },
        { HEADS(2, 2, 3, 3, 0, 4), WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 1, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } } },
          .n_in = 3, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } }, { 4, { 2, 1, 3, 4 } } },
          .n_in = 3, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 5, 4 } } },
          .n_in = 3, .call = sample_attention, WITH(0) },
        { .in = { { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 3, 5 } }, { 4, { 2, 2, 3, 4 } } },
          .n_in = 3, .call = sample_attention, WITH(0) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.lengths = 3, .keys = { 1, 2, 3 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.lengths = 2, .keys = { 4, 5 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.mask = 4, .keys = { 1, 1, 1, 1 }) },
        { HEADS(1, 1, 3, 4, 2, 2), WITH(.mask = 4, .keys = { 1, 1, 2, 1 }) },
        { HEADS(2, 1, 3, 4, 2, 2), WITH(.bias_axes = 1) },
        AK_END },
};

ak_tensor *ak_attention(ak_tensor *q, ak_tensor *k, ak_tensor *v, ak_attention_options o)
{
    return ak_apply(&attention, (ak_tensor *[]){ q, k, v, o.bias }, OPERANDS, &o);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_attention[] = { &attention, NULL };
