/* SPDX-License-Identifier: Apache-2.0 */
/* From a sequence to one vector. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

/* ---- which positions count ------------------------------------------------------------------- */

/* x [N, T, C] with T >= 1? */
static bool is_sequence(const char *who, const ak_tensor *x)
{
    char text[AK_SHAPE_TEXT];
    if (x->shape.n == 3 && x->shape.dims[1] > 0)
        return true;
    ak_fail(x->ctx, AK_ERR_SHAPE, "%s: expected [N, T, C] with a position at least, got %s", who,
            ak_shape_text(x->shape, text));
    return false;
}

static bool index_fits(const char *who, const ak_tensor *x, const char *what,
                       const ak_index *index, ak_shape shape, int64_t hi)
{
    char text[AK_SHAPE_TEXT], wanted[AK_SHAPE_TEXT];
    if (!index)
        return true;
    if (!ak_shape_equal(index->shape, shape)) {
        ak_fail(x->ctx, AK_ERR_SHAPE, "%s: %s is %s, expected %s", who, what,
                ak_shape_text(index->shape, text), ak_shape_text(shape, wanted));
        return false;
    }
    for (int64_t i = 0; i < index->size; i++)
        if (index->data[i] < 0 || index->data[i] >= hi) {
            ak_fail(x->ctx, AK_ERR_VALUE, "%s: %s[%" PRId64 "] = %d is not in [0, %" PRId64 ")",
                    who, what, i, (int)index->data[i], hi);
            return false;
        }
    return true;
}

static bool counts(const ak_index *lengths, const ak_index *mask, int64_t n, int64_t t, int64_t T)
{
    return (!lengths || t < lengths->data[n]) && (!mask || mask->data[n * T + t]);
}

static bool fits(const char *who, const ak_tensor *x, const ak_index *lengths,
                 const ak_index *mask)
{
    if ((lengths && !ak__index_known(x->ctx, lengths, who, "lengths")) ||
        (mask && !ak__index_known(x->ctx, mask, who, "mask")) || !is_sequence(who, x))
        return false;
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1];
    if (!index_fits(who, x, "lengths", lengths, AK_SHAPE(N), T + 1) ||
        !index_fits(who, x, "mask", mask, AK_SHAPE(N, T), 2))
        return false;
    for (int64_t n = 0; n < N; n++) {
        bool any = false;
        for (int64_t t = 0; t < T && !any; t++)
            any = counts(lengths, mask, n, t, T);
        if (!any) {
            ak_fail(x->ctx, AK_ERR_VALUE, "%s: no position of row %" PRId64 " counts", who, n);
            return false;
        }
    }
    return true;
}

/* ---- one position of each row ---------------------------------------------------------------- */

static ak_tensor *take(ak_tensor *x, ak_index *rows)
{
    return rows == &ak__poison_index ? &ak__poison : ak_gather_rows(ak_flatten_rows(x), rows);
}

ak_tensor *ak_pool_first(ak_tensor *x)
{
    if (!AK__TENSOR(NULL, x) || !is_sequence("ak_pool_first", x))
        return &ak__poison;
    ak_index *rows = ak__index_new(x->ctx, AK_SHAPE(x->shape.dims[0]));
    for (int64_t n = 0; rows != &ak__poison_index && n < rows->size; n++)
        ak__index_data(rows)[n] = (int32_t)(n * x->shape.dims[1]);
    return take(x, rows);
}

ak_tensor *ak_pool_last(ak_tensor *x, ak_index *lengths, ak_index *mask)
{
    if (!AK__TENSOR(NULL, x) || !fits("ak_pool_last", x, lengths, mask))
        return &ak__poison;
    const int64_t T = x->shape.dims[1];
    ak_index *rows = ak__index_new(x->ctx, AK_SHAPE(x->shape.dims[0]));
    for (int64_t n = 0; rows != &ak__poison_index && n < rows->size; n++)
        for (int64_t t = 0; t < T; t++)
            if (counts(lengths, mask, n, t, T))
                ak__index_data(rows)[n] = (int32_t)(n * T + t);
    return take(x, rows);
}

ak_tensor *ak_pool_at(ak_tensor *x, ak_index *ids, int token)
{
    if (!AK__TENSOR(NULL, x) || !AK__INDEX(x->ctx, ids) || !is_sequence("ak_pool_at", x))
        return &ak__poison;
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1];
    if (!index_fits("ak_pool_at", x, "ids", ids, AK_SHAPE(N, T), INT32_MAX))
        return &ak__poison;
    ak_index *rows = ak__index_new(x->ctx, AK_SHAPE(N));
    for (int64_t n = 0; rows != &ak__poison_index && n < N; n++) {
        int64_t t = 0;
        while (t < T && ids->data[n * T + t] != token)
            t++;
        if (t == T) {
            ak_fail(x->ctx, AK_ERR_VALUE, "ak_pool_at: row %" PRId64 " has no token %d\n    hint: "
                    "a text that is cut keeps its end token as the last one", n, token);
            return &ak__poison;
        }
        ak__index_data(rows)[n] = (int32_t)(n * T + t);
    }
    return take(x, rows);
}

/* ---- all that count -------------------------------------------------------------------------- */

/* Rows of a sample are a segment; what does not count goes to one behind the last. */
static ak_tensor *by_segments(const char *who, ak_tensor *x, ak_index *lengths, ak_index *mask,
                              ak_tensor *(*pool)(ak_tensor *x, ak_index *ids, int64_t count))
{
    if (!fits(who, x, lengths, mask))
        return &ak__poison;
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1];
    ak_index *ids = ak__index_new(x->ctx, AK_SHAPE(N * T));
    if (ids == &ak__poison_index)
        return &ak__poison;
    bool all = true;
    for (int64_t i = 0; i < N * T; i++) {
        const bool one = counts(lengths, mask, i / T, i % T, T);
        ak__index_data(ids)[i] = (int32_t)(one ? i / T : N);
        all = all && one;
    }
    ak_tensor *y = pool(ak_flatten_rows(x), ids, all ? N : N + 1);
    return all || ak_is_poison(y) ? y : ak_rows(y, 0, N);
}

ak_tensor *ak_pool_mean(ak_tensor *x, ak_index *lengths, ak_index *mask)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    return by_segments("ak_pool_mean", x, lengths, mask, ak_segment_mean);
}

ak_tensor *ak_pool_max(ak_tensor *x, ak_index *lengths, ak_index *mask)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    return by_segments("ak_pool_max", x, lengths, mask, ak_segment_max);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Own tensor: the probe. Children: attention, then norm, fc1 and fc2 if there is a hidden width. */
enum { ATTENTION, NORM, FC1, FC2 };
typedef struct attention_pool { ak_attention_pool_options o; int64_t width; } attention_pool;

static ak_tensor *attention_pool_forward(ak_module *m, const ak_inputs *in)
{
    const attention_pool *p = m->user;
    const ak_shape s = in->x->shape;
    if (s.n != 3 || s.dims[2] != p->width)
        return ak__module_shape_error(m, in->x, "[N, T, %" PRId64 "]", p->width);
    ak_tensor *zeros = ak_zeros(m->ctx, AK_SHAPE(s.dims[0], p->o.queries, p->width));
    ak_tensor *probes = ak_add(zeros, ak__own(m, 0));
    ak_tensor *y = ak_forward_with(m->children[ATTENTION], (ak_inputs){
        .x = probes, .memory = in->x, .memory_lengths = in->lengths, .memory_mask = in->mask });
    if (p->o.hidden > 0 && !ak_is_poison(y)) {
        ak_tensor *h = ak_forward(m->children[FC1], ak_forward(m->children[NORM], y));
        y = ak_add(y, ak_forward(m->children[FC2], ak_gelu(h)));
    }
    if (ak_is_poison(y) || p->o.queries > 1 || p->o.sequence)
        return y;
    return ak_reshape(y, AK_SHAPE(s.dims[0], p->width));
}

static const ak_module_kind attention_pool_kind = {
    .name = "attention pooling", .forward_with = attention_pool_forward, .needs = AK_IN_X,
    .takes = AK_IN_LENGTHS | AK_IN_MASK, AK__STATE(attention_pool) };

ak_module *ak_nn_attention_pool(ak_ctx *ctx, const char *name, int64_t width,
                                ak_attention_pool_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &attention_pool_kind);
    o.queries = o.queries ? o.queries : 1;
    if (!m || !ak__module_positive(m, ".queries", o.queries) ||
        !ak__module_positive(m, "width", width) || !ak__module_positive(m, ".heads", o.heads) ||
        !ak__module_positive(m, ".hidden + 1", (int64_t)o.hidden + 1))
        return NULL;
    *(attention_pool *)m->user = (attention_pool){ o, width };
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    ak_init_fill(ak_module_add_param(m, "probe", AK_SHAPE(1, o.queries, width), 0), how);
    ak_module_describe(m, "attention pooling %" PRId64 ", %d queries", width, o.queries);
    ak_module_begin(m);
    ak_nn_attention(ctx, "attention", width, (ak_attention_layer_options){
        .heads = o.heads, .cross = true });
    if (o.hidden > 0) {
        ak_nn_layer_norm(ctx, "layernorm", width, 1e-6);
        ak__block_linear(ctx, "mlp/fc1", width, o.hidden, false, how);
        ak__block_linear(ctx, "mlp/fc2", o.hidden, width, false, how);
    }
    return ak_module_end(m);
}
