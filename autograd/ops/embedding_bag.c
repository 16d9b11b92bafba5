/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a table, summed up or the largest of each column, for bags of ids: what ak_embedding and
 * a reduction would do, without an array of all rows. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"

enum { TABLE, WEIGHTS, OPERANDS };
enum { IDS, LENGTHS, INDICES };

typedef struct bag_attr { int mode, padding; } bag_attr;    /* padding AK_NONE: no such id */

/* What the loops see. */
typedef struct bags {
    const ak_call *k;
    int64_t  N, T, D;
    int      mode, padding;
    const int32_t *ids, *lengths;       /* lengths may be NULL */
    const ak_real *weights;             /* [N, T] or NULL = ones */
    ak_real *factor;                    /* [N] of a sum: 1, or 1 / the sum of weights for a mean */
    int32_t *winner;                    /* [N, D] place of the largest, -1 = none; or NULL */
    ak_real *dtable, *dweights;
} bags;

static bags bags_of(const ak_call *k)
{
    const bag_attr *o = k->attr;
    const ak_shape ids = k->index[IDS]->shape;
    return (bags){ .k = k, .N = ids.dims[0], .T = ids.dims[1], .D = ak_last_dim(k->in[TABLE]),
                   .mode = o->mode, .padding = o->padding, .ids = k->index[IDS]->data,
                   .lengths = k->index[LENGTHS] ? k->index[LENGTHS]->data : NULL,
                   .weights = k->in[WEIGHTS] ? k->in[WEIGHTS]->data : NULL };
}

static int64_t length_of(const bags *b, int64_t n) { return b->lengths ? b->lengths[n] : b->T; }

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Ids behind a bag's length may be anything. */
static ak_status check_ids(ak_call *k)
{
    const bags b = bags_of(k);
    const int64_t V = k->in[TABLE]->shape.dims[0];
    for (int64_t n = 0; n < b.N; n++)
        for (int64_t t = 0; t < length_of(&b, n); t++) {
            const int32_t id = b.ids[n * b.T + t];
            if (id < 0 || id >= V)
                return ak_call_fail(k, AK_ERR_VALUE, "ids[%" PRId64 ",%" PRId64 "] = %d is not in "
                                    "[0, %" PRId64 ")", n, t, (int)id, V);
        }
    return AK_OK;
}

static ak_status bag_shape(ak_call *k)
{
    const bag_attr *o = k->attr;
    const ak_tensor *w = k->in[TABLE];
    const ak_shape ids = k->index[IDS]->shape;
    if (w->shape.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "the table is not a matrix [V, D]");
    if (ids.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "ids must be [N, T]");
    if (o->mode < AK_BAG_MEAN || o->mode > AK_BAG_MAX)
        return ak_call_fail(k, AK_ERR_VALUE, ".mode = %d is no ak_bag_mode", o->mode);
    if (o->padding != AK_NONE && (o->padding < 0 || o->padding >= w->shape.dims[0]))
        return ak_call_fail(k, AK_ERR_VALUE, ".padding = %d is not in [0, %" PRId64 ")", o->padding,
                            w->shape.dims[0]);
    if (k->in[WEIGHTS] && o->mode == AK_BAG_MAX)
        return ak_call_fail(k, AK_ERR_VALUE, "weights have no meaning for the largest");
    if (k->in[WEIGHTS] && !ak_shape_equal(k->in[WEIGHTS]->shape, ids))
        return ak_call_fail(k, AK_ERR_SHAPE, "weights must be [%" PRId64 ",%" PRId64 "] as the ids",
                            ids.dims[0], ids.dims[1]);
    ak_status s = ak_call_index_shape(k, LENGTHS, AK_SHAPE(ids.dims[0]));
    s = s == AK_OK ? ak_call_index_range(k, LENGTHS, 0, ids.dims[1] + 1) : s;
    k->out->shape = AK_SHAPE(ids.dims[0], w->shape.dims[1]);
    return s == AK_OK ? check_ids(k) : s;
}

/* ---- forward --------------------------------------------------------------------------------- */

static void sum_bag(const bags *b, int64_t n)
{
    ak_real *y = b->k->out->data + n * b->D, total = 0;
    memset(y, 0, (size_t)b->D * sizeof *y);
    for (int64_t t = 0; t < length_of(b, n); t++) {
        const int32_t id = b->ids[n * b->T + t];
        if (id == b->padding)
            continue;
        const ak_real weight = b->weights ? b->weights[n * b->T + t] : 1;
        ak__k.axpy(y, weight, b->k->in[TABLE]->data + id * b->D, b->D);
        total += weight;
    }
    b->factor[n] = b->mode == AK_BAG_SUM ? 1 : total != 0 ? 1 / total : 0;
    if (b->mode == AK_BAG_MEAN)
        ak__k.scale(y, b->factor[n], y, b->D);
}

/* The first of the largest; the first NaN. */
static void max_bag(const bags *b, int64_t n)
{
    ak_real *y = b->k->out->data + n * b->D;
    int32_t *winner = b->winner + n * b->D;
    for (int64_t d = 0; d < b->D; d++) {
        y[d] = 0;
        winner[d] = -1;
    }
    for (int64_t t = 0; t < length_of(b, n); t++) {
        const int32_t id = b->ids[n * b->T + t];
        const ak_real *row = b->k->in[TABLE]->data + id * b->D;
        for (int64_t d = 0; id != b->padding && d < b->D; d++)
            if (winner[d] < 0 || row[d] > y[d] || (row[d] != row[d] && y[d] == y[d])) {
                y[d] = row[d];
                winner[d] = (int32_t)t;
            }
    }
}

static void forward_span(void *user, int64_t begin, int64_t end)
{
    const bags *b = user;
    for (int64_t n = begin; n < end; n++)
        if (b->mode == AK_BAG_MAX)
            max_bag(b, n);
        else
            sum_bag(b, n);
}

static void bag_forward(ak_call *k)
{
    bags b = bags_of(k);
    const bool max = b.mode == AK_BAG_MAX;
    void *saved = ak_call_save(k, max ? (size_t)(b.N * b.D + 1) * sizeof *b.winner
                                      : (size_t)(b.N + 1) * sizeof *b.factor);
    if (!saved)
        return;
    b.winner = max ? saved : NULL;
    b.factor = max ? NULL : saved;
    ak__for_rows(b.N, (b.T + 1) * b.D, forward_span, &b);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Rows that belong to one of OWNERS: every row is added to by one thread, in the order of the ids.
 * Rows that no id names are not touched. */
#define OWNERS 8
static void table_rows(const bags *b, int64_t owner)
{
    for (int64_t n = 0; n < b->N; n++)
        for (int64_t t = 0; t < length_of(b, n); t++) {
            const int32_t id = b->ids[n * b->T + t];
            if (id == b->padding || (owner >= 0 && id % OWNERS != owner))
                continue;
            const ak_real weight = b->weights ? b->weights[n * b->T + t] : 1;
            ak__k.axpy(b->dtable + id * b->D, b->factor[n] * weight, b->k->out->grad + n * b->D,
                       b->D);
        }
}

/* Columns [begin, end) of the largest. */
static void table_columns(void *user, int64_t begin, int64_t end)
{
    const bags *b = user;
    for (int64_t n = 0; n < b->N; n++)
        for (int64_t d = begin; d < end; d++) {
            const int32_t t = b->winner[n * b->D + d];
            if (t >= 0)
                b->dtable[b->ids[n * b->T + t] * b->D + d] += b->k->out->grad[n * b->D + d];
        }
}

/* <dy, row> of a sum; <dy, row - y> / sum of weights of a mean */
static void weights_span(void *user, int64_t begin, int64_t end)
{
    const bags *b = user;
    for (int64_t n = begin; n < end; n++) {
        const ak_real *dy = b->k->out->grad + n * b->D;
        const ak_real mean = b->mode == AK_BAG_MEAN
            ? ak__k.dot(dy, b->k->out->data + n * b->D, b->D) : 0;
        for (int64_t t = 0; t < length_of(b, n); t++) {
            const int32_t id = b->ids[n * b->T + t];
            if (id == b->padding)
                continue;
            const ak_real own = ak__k.dot(dy, b->k->in[TABLE]->data + id * b->D, b->D);
            b->dweights[n * b->T + t] += b->factor[n] * (own - mean);
        }
    }
}

static void bag_backward(ak_call *k)
{
    bags b = bags_of(k);
    const bool max = b.mode == AK_BAG_MAX, large = b.N * b.T * b.D > AK__SPAN;
    b.winner = max ? k->saved : NULL;
    b.factor = max ? NULL : k->saved;
    b.dtable = ak_call_grad(k, TABLE);
    b.dweights = k->in[WEIGHTS] ? ak_call_grad(k, WEIGHTS) : NULL;
    if (b.dtable && max)
        ak__for_rows(b.D, b.N, table_columns, &b);
    else if (b.dtable && !large)
        table_rows(&b, -1);
    else if (b.dtable)
        AK__PARALLEL_FOR_DYNAMIC(owner, OWNERS, true)
            table_rows(&b, owner);
    if (b.dweights)
        ak__for_rows(b.N, b.T * b.D, weights_span, &b);
}

static double bag_flops(const ak_call *k)
{
    return 2 * (double)k->index[IDS]->size * (double)ak_last_dim(k->out);
}

/* ---- the record ------------------------------------------------------------------------------ */

#define MODE(m, pad) .attr = &(const bag_attr){ m, pad }
#define NO_LENGTHS(N, T, ...)                                                                      \
    .index = { { { 2, { N, T } }, (const int32_t[]){ __VA_ARGS__ } } }
#define WITH_LENGTHS(N, T, length, ...)                                                            \
    .index = { { { 2, { N, T } }, (const int32_t[]){ __VA_ARGS__ } }, { { 1, { N } }, length } }
#define L(...) (const int32_t[]){ __VA_ARGS__ }

static const ak_op bag_op = {
    .name = "embedding_bag", .formula = "y[n] = sum, mean or max of w[ids[n, t]] over t",
    .n_in = OPERANDS, .attr_size = sizeof(bag_attr), .flags = AK_OP_OPTIONAL_IN,
    .operands = "w weights", .required = 1,
    .n_index = INDICES, .indices = "ids lengths", .index_optional = 1u << LENGTHS,
    .shape = bag_shape, .forward = bag_forward, .backward = bag_backward, .flops = bag_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 1, 1 } } }, .n_in = 1, MODE(AK_BAG_SUM, AK_NONE),
          WITH_LENGTHS(1, 1, L(1), 0) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_MEAN, AK_NONE),
          NO_LENGTHS(2, 3, 4, 0, 4, 2, 2, 1) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_MEAN, 2),
          WITH_LENGTHS(4, 3, L(3, 0, 1, 2), 4, 0, 2, 99, 99, 99, 2, 1, 1, 3, 0, -7) },
        { .in = { { 2, { 4, 2 } }, { 2, { 2, 3 } } }, MODE(AK_BAG_SUM, 0),
          WITH_LENGTHS(2, 3, L(3, 2), 1, 0, 1, 3, 2, -1) },
        { .in = { { 2, { 4, 7 } }, { 2, { 2, 2 } } }, MODE(AK_BAG_MEAN, AK_NONE),
          .lo = 0.5, .hi = 2, NO_LENGTHS(2, 2, 1, 3, 3, 3) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_MAX, 1), .flags = AK_SAMPLE_DISTINCT,
          WITH_LENGTHS(3, 3, L(3, 0, 2), 4, 1, 0, 1, 1, 1, 2, 3, 9) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_SUM, AK_NONE), NO_LENGTHS(1, 2, 0, 5) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_SUM, AK_NONE),
          NO_LENGTHS(1, 2, 0, -1) },
        { .in = { { 1, { 5 } } }, .n_in = 1, MODE(AK_BAG_SUM, AK_NONE), NO_LENGTHS(1, 1, 0) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(3, AK_NONE), NO_LENGTHS(1, 1, 0) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_SUM, 5), NO_LENGTHS(1, 1, 0) },
        { .in = { { 2, { 5, 3 } } }, .n_in = 1, MODE(AK_BAG_SUM, AK_NONE),
          WITH_LENGTHS(1, 2, L(3), 0, 0) },
        { .in = { { 2, { 5, 3 } }, { 2, { 1, 1 } } }, MODE(AK_BAG_SUM, AK_NONE),
          NO_LENGTHS(1, 2, 0, 1) },
        { .in = { { 2, { 5, 3 } }, { 2, { 1, 2 } } }, MODE(AK_BAG_MAX, AK_NONE),
          NO_LENGTHS(1, 2, 0, 1) },
        AK_END },
};

ak_tensor *ak_embedding_bag(ak_tensor *w, ak_index *ids, ak_embedding_bag_options o)
{
    const ak_operands operands = { (ak_tensor *[]){ w, o.weights }, OPERANDS,
                                   (ak_index *[]){ ids, o.lengths }, INDICES };
    return ak_apply_all(&bag_op, operands,
                        &(bag_attr){ (int)o.mode, o.has_padding ? o.padding : AK_NONE }).out;
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_bag[] = { &bag_op, NULL };
