/* SPDX-License-Identifier: Apache-2.0 */
/* Ops with an index array: rows by number, embeddings, one-hot, one column a row. */
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* ---- rows by index -------------------------------------------------------------------------- */

/* The one index operand of each is `rows`, `ids` or `columns`. */
typedef struct rows_attr { int64_t N; int padding; } rows_attr;

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
    const ak_shape x = k->in[0]->shape, r = k->index[0]->shape;
    if (x.n < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "there are no rows in a scalar");
    const ak_status status = ak_call_index_range(k, 0, 0, x.dims[0]);
    if (status != AK_OK)
        return status;
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
    const ak_index *rows = k->index[0];
    rows_walk u = { .to = k->out->data, .from = k->in[0]->data, .rows = rows->data,
                    .n = rows->size, .D = row_size(k->in[0]->shape, 1) };
    ak__for_rows(u.n, u.D, gather_span, &u);
}

static void gather_rows_backward(ak_call *k)
{
    const ak_index *rows = k->index[0];
    const rows_walk u = { .to = ak_call_grad(k, 0), .from = k->out->grad, .rows = rows->data,
                          .n = rows->size, .D = row_size(k->in[0]->shape, 1),
                          .skip = ((const rows_attr *)k->attr)->padding };
    if (u.to)
        scatter_rows(&u);
}

#define PLACES(shape_n, dims, ...)                                                                 \
    .index = { { { shape_n, dims }, (const int32_t[]){ __VA_ARGS__ } } }
#define DIMS(...) { __VA_ARGS__ }
#define ROWS(count, pad) .attr = &(const rows_attr){ .N = count, .padding = pad }
#define PLAIN ROWS(0, AK_NONE)

static const ak_op gather_rows_op = {
    .name = "gather_rows", .formula = "y[i] = x[rows[i]]", .n_in = 1,
    .attr_size = sizeof(rows_attr), .n_index = 1, .indices = "rows",
    .shape = gather_rows_shape, .forward = gather_rows_forward, .backward = gather_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, PLAIN,
          PLACES(1, DIMS(1), 0) },
        { .in = {{ 2, { 5, 3 } }}, PLAIN,
          PLACES(1, DIMS(4), 4, 0, 4, 2) },
        { .in = {{ 1, { 7 } }}, PLAIN,
          PLACES(2, DIMS(2, 3), 6, 1, 1, 0, 3, 6) },
        { .in = {{ 3, { 3, 1, 5 } }}, PLAIN,
          PLACES(1, DIMS(5), 2, 2, 2, 0, 1) },
        { .in = {{ 2, { 4, 2 } }}, PLAIN,
          PLACES(0, DIMS(0), 3) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 5, 3 } }}, PLAIN,
          PLACES(1, DIMS(2), 0, 5) },
        { .in = {{ 2, { 5, 3 } }}, PLAIN,
          PLACES(1, DIMS(2), -1, 0) },
        { .in = {{ 0, { 0 } }}, PLAIN,
          PLACES(1, DIMS(1), 0) },
        AK_END },
};

ak_tensor *ak_gather_rows(ak_tensor *x, ak_index *rows)
{
    return ak_apply_all(&gather_rows_op, (ak_operands){ &x, 1, &rows, 1 },
                        &(rows_attr){ .padding = AK_NONE }).out;
}

static ak_status scatter_add_rows_shape(ak_call *k)
{
    const rows_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    if (o->N < 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "N = %lld is negative", (long long)o->N);
    const ak_status status = ak_call_index_range(k, 0, 0, o->N);
    if (status != AK_OK)
        return status;
    const ak_shape r = k->index[0]->shape;
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
    const ak_index *rows = k->index[0];
    const rows_walk u = { .to = k->out->data, .from = k->in[0]->data, .rows = rows->data,
                          .n = rows->size, .D = row_size(k->in[0]->shape, rows->shape.n),
                          .skip = AK_NONE };
    memset(u.to, 0, (size_t)k->out->size * sizeof *u.to);
    scatter_rows(&u);
}

static void scatter_add_rows_backward(ak_call *k)
{
    const ak_index *rows = k->index[0];
    bool fresh;
    rows_walk u = { .to = ak_call_grad_fresh(k, 0, &fresh), .from = k->out->grad,
                    .rows = rows->data, .n = rows->size,
                    .D = row_size(k->in[0]->shape, rows->shape.n) };
    u.add = !fresh;
    if (u.to)
        ak__for_rows(u.n, u.D, gather_span, &u);
}

static const ak_op scatter_add_rows_op = {
    .name = "scatter_add_rows", .formula = "y = 0, y[rows[i]] += x[i]", .n_in = 1,
    .attr_size = sizeof(rows_attr), .n_index = 1, .indices = "rows",
    .shape = scatter_add_rows_shape, .forward = scatter_add_rows_forward,
    .backward = scatter_add_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(1, AK_NONE),
          PLACES(1, DIMS(1), 0) },
        { .in = {{ 2, { 4, 3 } }}, ROWS(5, AK_NONE),
          PLACES(1, DIMS(4), 4, 0, 4, 2) },
        { .in = {{ 2, { 2, 3 } }}, ROWS(7, AK_NONE),
          PLACES(2, DIMS(2, 3), 6, 1, 1, 0, 3, 6) },
        { .in = {{ 3, { 5, 1, 5 } }}, ROWS(3, AK_NONE),
          PLACES(1, DIMS(5), 2, 2, 2, 0, 1) },
        { .in = {{ 1, { 5 } }}, ROWS(3, AK_NONE),
          PLACES(0, DIMS(0), 2) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, ROWS(5, AK_NONE),
          PLACES(1, DIMS(2), 0, 5) },
        { .in = {{ 2, { 2, 3 } }}, ROWS(5, AK_NONE),
          PLACES(1, DIMS(3), 0, 1, 2) },
        { .in = {{ 2, { 2, 3 } }}, ROWS(-1, AK_NONE),
          PLACES(1, DIMS(2), 0, 1) },
        AK_END },
};

ak_tensor *ak_scatter_add_rows(ak_tensor *x, ak_index *rows, int64_t N)
{
    return ak_apply_all(&scatter_add_rows_op, (ak_operands){ &x, 1, &rows, 1 },
                        &(rows_attr){ .N = N, .padding = AK_NONE }).out;
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

/* With a padding row the derivative of that row is not the one that is handed on; it is tested by
 * hand. Here padding is a row that no id names, or none. */
static const ak_op embedding_op = {
    .name = "embedding", .formula = "y[i] = w[ids[i]]; no gradient for the padding row", .n_in = 1,
    .attr_size = sizeof(rows_attr), .n_index = 1, .indices = "ids",
    .shape = embedding_shape, .forward = gather_rows_forward, .backward = gather_rows_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, ROWS(0, AK_NONE),
          PLACES(1, DIMS(1), 0) },
        { .in = {{ 2, { 5, 3 } }}, ROWS(0, 1),
          PLACES(1, DIMS(4), 4, 0, 4, 2) },
        { .in = {{ 2, { 7, 1 } }}, ROWS(0, AK_NONE),
          PLACES(2, DIMS(2, 3), 6, 1, 1, 0, 3, 6) },
        { .in = {{ 2, { 3, 9 } }}, ROWS(0, 1),
          PLACES(3, DIMS(1, 2, 2), 2, 2, 0, 2) },
        { .in = {{ 2, { 4, 2 } }}, ROWS(0, AK_NONE),
          PLACES(0, DIMS(0), 3) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 5, 3 } }}, ROWS(0, AK_NONE),
          PLACES(1, DIMS(2), 0, 5) },
        { .in = {{ 3, { 5, 3, 1 } }}, ROWS(0, AK_NONE),
          PLACES(1, DIMS(2), 0, 1) },
        AK_END },
};

ak_tensor *ak_embedding(ak_tensor *w, ak_index *ids, int padding)
{
    return ak_apply_all(&embedding_op, (ak_operands){ &w, 1, &ids, 1 },
                        &(rows_attr){ .padding = padding }).out;
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
    const ak_shape x = k->in[0]->shape;
    if (x.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x is not a matrix [N, C]");
    const ak_status status = ak_call_index_range(k, 0, 0, x.dims[1]);
    if (status != AK_OK)
        return status;
    if (k->index[0]->size != x.dims[0])
        return ak_call_fail(k, AK_ERR_SHAPE, "%lld columns for %lld rows",
                            (long long)k->index[0]->size, (long long)x.dims[0]);
    k->out->shape = AK_SHAPE(x.dims[0]);
    return AK_OK;
}

static void pick_forward(ak_call *k)
{
    const int32_t *columns = k->index[0]->data;
    const int64_t C = k->in[0]->shape.dims[1];
    for (int64_t i = 0; i < k->out->size; i++)
        k->out->data[i] = k->in[0]->data[i * C + columns[i]];
}

static void pick_backward(ak_call *k)
{
    const int32_t *columns = k->index[0]->data;
    const int64_t C = k->in[0]->shape.dims[1];
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx)
        return;
    for (int64_t i = 0; i < k->out->size; i++)
        dx[i * C + columns[i]] += k->out->grad[i];
}

static const ak_op pick_op = {
    .name = "pick", .formula = "y[i] = x[i, columns[i]]", .n_in = 1,
    .n_index = 1, .indices = "columns",
    .shape = pick_shape, .forward = pick_forward, .backward = pick_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, PLACES(1, DIMS(1), 0) },
        { .in = {{ 2, { 4, 3 } }}, PLACES(1, DIMS(4), 2, 0, 2, 1) },
        { .in = {{ 2, { 5, 1 } }}, PLACES(1, DIMS(5), 0, 0, 0, 0, 0) },
        { .in = {{ 2, { 1, 7 } }}, PLACES(1, DIMS(1), 6) },
        { .in = {{ 2, { 3, 33 } }}, PLACES(1, DIMS(3), 32, 0, 16) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, PLACES(1, DIMS(2), 0, 3) },
        { .in = {{ 2, { 3, 3 } }}, PLACES(1, DIMS(2), 0, 1) },
        { .in = {{ 1, { 3 } }}, PLACES(1, DIMS(3), 0, 0, 0) },
        AK_END },
};

ak_tensor *ak_pick(ak_tensor *x, ak_index *columns)
{
    return ak_apply_all(&pick_op, (ak_operands){ &x, 1, &columns, 1 }, NULL).out;
}
/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_index[] = {
    &gather_rows_op, &scatter_add_rows_op, &embedding_op, &pick_op, NULL
};
