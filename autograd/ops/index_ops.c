/* SPDX-License-Identifier: Apache-2.0 */
/* Ops with an index array: rows by number, embeddings, one-hot, one column a row. */
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

ak_status ak__index_check(ak_call *k, const ak_index *ix, int64_t limit, const char *what)
{
    if (!ix)
        return ak_call_fail(k, AK_ERR_VALUE, "%s is missing (NULL)", what);
    if (ix == &ak__poison_index)
        return ak_call_fail(k, AK_ERR_STATE, "%s is the result of a call that failed in an "
                            "earlier step", what);
    if (ix->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "%s belongs to another context", what);
    if (ix->generation != 0 && ix->generation != k->ctx->generation)
        return ak_call_fail(k, AK_ERR_STALE, "%s is an index array of an earlier step (made in "
                            "step %llu, now %llu)", what,
                            (unsigned long long)ix->generation,
                            (unsigned long long)k->ctx->generation);
    for (int64_t i = 0; i < ix->size; i++)
        if (ix->data[i] < 0 || ix->data[i] >= limit)
            return ak_call_fail(k, AK_ERR_VALUE, "%s[%lld] = %d is not in [0, %lld)", what,
                                (long long)i, ix->data[i], (long long)limit);
    return AK_OK;
}

/* ---- rows by index -------------------------------------------------------------------------- */

typedef struct rows_attr { const ak_index *rows; int64_t N; int padding; } rows_attr;

typedef struct rows_walk {
    ak_real       *to;
    const ak_real *from;
    const int32_t *rows;
    int64_t n, D;
    int     skip;               /* a row number that is left out; AK_NONE = none */
    bool    add;
} rows_walk;

/* to[i] = or += from[rows[i]] */
static void gather_span(void *user, int64_t begin, int64_t end)
{
    const rows_walk *u = user;
    for (int64_t i = begin; i < end; i++)
        ak__pass_span(u->to + i * u->D, u->from + u->rows[i] * u->D, u->D, u->add);
}

/* to[rows[i]] += from[i], of the rows that belong to one of OWNERS: every row is added to by one
 * thread, in the order of i. */
#define OWNERS 8
static void scatter_part(const rows_walk *u, int64_t owner)
{
    for (int64_t i = 0; i < u->n; i++)
        if (u->rows[i] % OWNERS == owner && u->rows[i] != u->skip)
            ak__k.add(u->to + u->rows[i] * u->D, u->to + u->rows[i] * u->D, u->from + i * u->D,
                      u->D);
}

static void scatter_rows(const rows_walk *u)
{
    if (u->n * u->D <= AK__SPAN) {
        for (int64_t i = 0; i < u->n; i++)
            if (u->rows[i] != u->skip)
                ak__k.add(u->to + u->rows[i] * u->D, u->to + u->rows[i] * u->D,
                          u->from + i * u->D, u->D);
        return;
    }
    AK__PARALLEL_FOR_DYNAMIC(owner, OWNERS, true)
        scatter_part(u, owner);
}

/* Elements of a row: all axes from `first` on. */
static int64_t row_size(ak_shape s, int first)
{
    int64_t D = 1;
    for (int d = first; d < s.n; d++)
        D *= s.dims[d];
    return D;
}

static ak_status gather_rows_shape(ak_call *k)
{
    const rows_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    if (x.n < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "there are no rows in a scalar");
    const ak_status status = ak__index_check(k, o->rows, x.dims[0], "row");
    if (status != AK_OK)
        return status;
    const ak_shape r = o->rows->shape;
    if (r.n + x.n - 1 > AK_MAX_DIMS)
        return ak_call_fail(k, AK_ERR_SHAPE, "the result would have more than %d axes",
                            AK_MAX_DIMS);
    ak_shape *y = &k->out->shape;
    *y = r;
    for (int d = 1; d < x.n; d++)
        y->dims[y->n++] = x.dims[d];
    return AK_OK;
}

static void gather_rows_forward(ak_call *k)
{
    const rows_attr *o = k->attr;
    rows_walk u = { .to = k->out->data, .from = k->in[0]->data, .rows = o->rows->data,
                    .n = o->rows->size, .D = row_size(k->in[0]->shape, 1) };
    ak__for_rows(u.n, u.D, gather_span, &u);
}

static void gather_rows_backward(ak_call *k)
{
    const rows_attr *o = k->attr;
    const rows_walk u = { .to = ak_call_grad(k, 0), .from = k->out->grad, .rows = o->rows->data,
                          .n = o->rows->size, .D = row_size(k->in[0]->shape, 1),
                          .skip = o->padding };
    if (u.to)
        scatter_rows(&u);
}

/* Samples hold the index values; the index array belongs to the operand's context. */
typedef struct index_sample { int64_t extra; ak_shape shape; int32_t values[12]; } index_sample;
#define ROWS(...) .attr = &(const index_sample){ __VA_ARGS__ }

static ak_index *sample_index(ak_tensor *x, const ak_sample *s)
{
    const index_sample *o = s->attr;
    return ak_index_from(x->ctx, o->shape, o->values);
}

static ak_tensor *call_gather(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_gather_rows(in[0], sample_index(in[0], s));
}

static const ak_op gather_rows_op = {
    .name = "gather_rows", .formula = "y[i] = x[rows[i]]", .n_in = 1,
    .attr_size = sizeof(rows_attr),
    .shape = gather_rows_shape, .forward = gather_rows_forward, .backward = gather_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(0, { 1, { 1 } }, { 0 }), .call = call_gather },
        { .in = {{ 2, { 5, 3 } }}, ROWS(0, { 1, { 4 } }, { 4, 0, 4, 2 }), .call = call_gather },
        { .in = {{ 1, { 7 } }}, ROWS(0, { 2, { 2, 3 } }, { 6, 1, 1, 0, 3, 6 }),
          .call = call_gather },
        { .in = {{ 3, { 3, 1, 5 } }}, ROWS(0, { 1, { 5 } }, { 2, 2, 2, 0, 1 }),
          .call = call_gather },
        { .in = {{ 2, { 4, 2 } }}, ROWS(0, { 0, { 0 } }, { 3 }), .call = call_gather },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 5, 3 } }}, ROWS(0, { 1, { 2 } }, { 0, 5 }), .call = call_gather },
        { .in = {{ 2, { 5, 3 } }}, ROWS(0, { 1, { 2 } }, { -1, 0 }), .call = call_gather },
        { .in = {{ 0, { 0 } }}, ROWS(0, { 1, { 1 } }, { 0 }), .call = call_gather },
        AK_END },
};

ak_tensor *ak_gather_rows(ak_tensor *x, ak_index *rows)
{
    return ak_apply(&gather_rows_op, &x, 1, &(rows_attr){ .rows = rows, .padding = AK_NONE });
}

static ak_status scatter_add_rows_shape(ak_call *k)
{
    const rows_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    if (o->N < 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "N = %lld is negative", (long long)o->N);
    const ak_status status = ak__index_check(k, o->rows, o->N, "row");
    if (status != AK_OK)
        return status;
    const ak_shape r = o->rows->shape;
    bool fits = r.n <= x.n && x.n - r.n + 1 <= AK_MAX_DIMS;
    for (int d = 0; fits && d < r.n; d++)
        fits = r.dims[d] == x.dims[d];
    char text[AK_SHAPE_TEXT];
    if (!fits)
        return ak_call_fail(k, AK_ERR_SHAPE, "x does not begin with the axes of the row numbers "
                            "%s", ak_shape_text(r, text));
    ak_shape *y = &k->out->shape;
    y->n = 1;
    y->dims[0] = o->N;
    for (int d = r.n; d < x.n; d++)
        y->dims[y->n++] = x.dims[d];
    return AK_OK;
}

static void scatter_add_rows_forward(ak_call *k)
{
    const rows_attr *o = k->attr;
    const rows_walk u = { .to = k->out->data, .from = k->in[0]->data, .rows = o->rows->data,
                          .n = o->rows->size, .D = row_size(k->in[0]->shape, o->rows->shape.n),
                          .skip = AK_NONE };
    memset(u.to, 0, (size_t)k->out->size * sizeof *u.to);
    scatter_rows(&u);
}

static void scatter_add_rows_backward(ak_call *k)
{
    const rows_attr *o = k->attr;
    bool fresh;
    rows_walk u = { .to = ak_call_grad_fresh(k, 0, &fresh), .from = k->out->grad,
                    .rows = o->rows->data, .n = o->rows->size,
                    .D = row_size(k->in[0]->shape, o->rows->shape.n) };
    u.add = !fresh;
    if (u.to)
        ak__for_rows(u.n, u.D, gather_span, &u);
}

static ak_tensor *call_scatter(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_scatter_add_rows(in[0], sample_index(in[0], s),
                               ((const index_sample *)s->attr)->extra);
}

static const ak_op scatter_add_rows_op = {
    .name = "scatter_add_rows", .formula = "y = 0, y[rows[i]] += x[i]", .n_in = 1,
    .attr_size = sizeof(rows_attr),
    .shape = scatter_add_rows_shape, .forward = scatter_add_rows_forward,
    .backward = scatter_add_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(1, { 1, { 1 } }, { 0 }), .call = call_scatter },
        { .in = {{ 2, { 4, 3 } }}, ROWS(5, { 1, { 4 } }, { 4, 0, 4, 2 }), .call = call_scatter },
        { .in = {{ 2, { 2, 3 } }}, ROWS(7, { 2, { 2, 3 } }, { 6, 1, 1, 0, 3, 6 }),
          .call = call_scatter },
        { .in = {{ 3, { 5, 1, 5 } }}, ROWS(3, { 1, { 5 } }, { 2, 2, 2, 0, 1 }),
          .call = call_scatter },
        { .in = {{ 1, { 5 } }}, ROWS(3, { 0, { 0 } }, { 2 }), .call = call_scatter },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, ROWS(5, { 1, { 2 } }, { 0, 5 }), .call = call_scatter },
        { .in = {{ 2, { 2, 3 } }}, ROWS(5, { 1, { 3 } }, { 0, 1, 2 }), .call = call_scatter },
        { .in = {{ 2, { 2, 3 } }}, ROWS(-1, { 1, { 2 } }, { 0, 1 }), .call = call_scatter },
        AK_END },
};

ak_tensor *ak_scatter_add_rows(ak_tensor *x, ak_index *rows, int64_t N)
{
    return ak_apply(&scatter_add_rows_op, &x, 1, &(rows_attr){ .rows = rows, .N = N });
}

static ak_status embedding_shape(ak_call *k)
{
    if (k->in[0]->shape.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "the table is not a matrix [V, D]");
    const int padding = ((const rows_attr *)k->attr)->padding;
    if (padding != AK_NONE && (padding < 0 || padding >= k->in[0]->shape.dims[0]))
        return ak_call_fail(k, AK_ERR_VALUE, "padding = %d is not in [0, %lld), nor AK_NONE",
                            padding, (long long)k->in[0]->shape.dims[0]);
    return gather_rows_shape(k);
}

static ak_tensor *call_embedding(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_embedding(in[0], sample_index(in[0], s),
                        (int)((const index_sample *)s->attr)->extra);
}

/* With a padding row the derivative of that row is not the one that is handed on; it is tested by
 * hand. Here padding is a row that no id names, or none. */
static const ak_op embedding_op = {
    .name = "embedding", .formula = "y[i] = w[ids[i]]; no gradient for the padding row", .n_in = 1,
    .attr_size = sizeof(rows_attr),
    .shape = embedding_shape, .forward = gather_rows_forward, .backward = gather_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(-1, { 1, { 1 } }, { 0 }), .call = call_embedding },
        { .in = {{ 2, { 5, 3 } }}, ROWS(1, { 1, { 4 } }, { 4, 0, 4, 2 }), .call = call_embedding },
        { .in = {{ 2, { 7, 1 } }}, ROWS(-1, { 2, { 2, 3 } }, { 6, 1, 1, 0, 3, 6 }),
          .call = call_embedding },
        { .in = {{ 2, { 3, 9 } }}, ROWS(1, { 3, { 1, 2, 2 } }, { 2, 2, 0, 2 }),
          .call = call_embedding },
        { .in = {{ 2, { 4, 2 } }}, ROWS(-1, { 0, { 0 } }, { 3 }), .call = call_embedding },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 5, 3 } }}, ROWS(-1, { 1, { 2 } }, { 0, 5 }), .call = call_embedding },
        { .in = {{ 3, { 5, 3, 1 } }}, ROWS(-1, { 1, { 2 } }, { 0, 1 }), .call = call_embedding },
        AK_END },
};

ak_tensor *ak_embedding(ak_tensor *w, ak_index *ids, int padding)
{
    return ak_apply(&embedding_op, &w, 1, &(rows_attr){ .rows = ids, .padding = padding });
}

ak_tensor *ak_one_hot(ak_index *ids, int64_t classes)
{
    if (!AK__INDEX(NULL, ids))
        return &ak__poison;
    ak_ctx *ctx = ids->ctx;
    ak_shape shape = ids->shape;
    if (classes < 1 || shape.n == AK_MAX_DIMS) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "one_hot: %lld classes for ids %s; at least 1, and ids of "
                "less than %d axes, are needed", (long long)classes,
                ak_shape_text(shape, text), AK_MAX_DIMS);
        return &ak__poison;
    }
    for (int64_t i = 0; i < ids->size; i++)
        if (ids->data[i] < 0 || ids->data[i] >= classes) {
            ak_fail(ctx, AK_ERR_VALUE, "one_hot: ids[%lld] = %d is not in [0, %lld)", (long long)i,
                    ids->data[i], (long long)classes);
            return &ak__poison;
        }
    shape.dims[shape.n++] = classes;
    ak_tensor *y = ak_zeros(ctx, shape);
    if (!ak_is_poison(y))
        for (int64_t i = 0; i < ids->size; i++)
            y->data[i * classes + ids->data[i]] = 1;
    return y;
}

/* ---- pick ----------------------------------------------------------------------------------- */

static ak_status pick_shape(ak_call *k)
{
    const rows_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    if (x.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x is not a matrix [N, C]");
    const ak_status status = ak__index_check(k, o->rows, x.dims[1], "column");
    if (status != AK_OK)
        return status;
    if (o->rows->size != x.dims[0])
        return ak_call_fail(k, AK_ERR_SHAPE, "%lld columns for %lld rows",
                            (long long)o->rows->size, (long long)x.dims[0]);
    k->out->shape = AK_SHAPE(x.dims[0]);
    return AK_OK;
}

static void pick_forward(ak_call *k)
{
    const rows_attr *o = k->attr;
    const int64_t C = k->in[0]->shape.dims[1];
    for (int64_t i = 0; i < k->out->size; i++)
        k->out->data[i] = k->in[0]->data[i * C + o->rows->data[i]];
}

static void pick_backward(ak_call *k)
{
    const rows_attr *o = k->attr;
    const int64_t C = k->in[0]->shape.dims[1];
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx)
        return;
    for (int64_t i = 0; i < k->out->size; i++)
        dx[i * C + o->rows->data[i]] += k->out->grad[i];
}

static ak_tensor *call_pick(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_pick(in[0], sample_index(in[0], s));
}

static const ak_op pick_op = {
    .name = "pick", .formula = "y[i] = x[i, columns[i]]", .n_in = 1,
    .attr_size = sizeof(rows_attr),
    .shape = pick_shape, .forward = pick_forward, .backward = pick_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(0, { 1, { 1 } }, { 0 }), .call = call_pick },
        { .in = {{ 2, { 4, 3 } }}, ROWS(0, { 1, { 4 } }, { 2, 0, 2, 1 }), .call = call_pick },
        { .in = {{ 2, { 5, 1 } }}, ROWS(0, { 1, { 5 } }, { 0, 0, 0, 0, 0 }), .call = call_pick },
        { .in = {{ 2, { 1, 7 } }}, ROWS(0, { 1, { 1 } }, { 6 }), .call = call_pick },
        { .in = {{ 2, { 3, 33 } }}, ROWS(0, { 1, { 3 } }, { 32, 0, 16 }), .call = call_pick },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, ROWS(0, { 1, { 2 } }, { 0, 3 }), .call = call_pick },
        { .in = {{ 2, { 3, 3 } }}, ROWS(0, { 1, { 2 } }, { 0, 1 }), .call = call_pick },
        { .in = {{ 1, { 3 } }}, ROWS(0, { 1, { 3 } }, { 0, 0, 0 }), .call = call_pick },
        AK_END },
};

ak_tensor *ak_pick(ak_tensor *x, ak_index *columns)
{
    return ak_apply(&pick_op, &x, 1, &(rows_attr){ .rows = columns });
}
/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_index[] = {
    &gather_rows_op, &scatter_add_rows_op, &embedding_op, &pick_op, NULL
};
