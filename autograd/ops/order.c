/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that compare elements along an axis and say where they stood: argmax, argmin, sort, topk.
 *
 * Equal elements keep their order. A NaN is larger than every number, but argmin too gives the
 * place of the first NaN: both say so if there is one. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/tensor_internal.h"

static double order_flops(const ak_call *k) { return (double)k->in[0]->size; }

/* Places are numbers of an ak_index. */
static ak_status count_check(ak_call *k, int64_t n)
{
    if (n > (int64_t)INT32_MAX + 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "the axis has %" PRId64 " places, an index counts to %"
                            PRId64, n, (int64_t)INT32_MAX + 1);
    return AK_OK;
}

/* ---- argmax, argmin -------------------------------------------------------------------------- */

typedef struct place_attr { int axis; } place_attr;

int64_t ak__extreme_place(const ak_real *x, int64_t n, int64_t step, bool smallest)
{
    int64_t best = 0;
    ak_real v = x[0];
    for (int64_t i = 1; i < n && v == v; i++) {
        const ak_real c = x[i * step];
        if (c != c || (smallest ? c < v : c > v)) {
            v = c;
            best = i;
        }
    }
    return best;
}

static ak_status place_shape(ak_call *k)
{
    const int axis = ((const place_attr *)k->attr)->axis;
    ak_status status = ak__axis_check(k, axis);
    if (status != AK_OK)
        return status;
    const ak__axes a = ak__axes_of(k->in[0]->shape, axis);
    if (a.n == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "axis %d has no elements", axis);
    k->out->shape = k->places->shape = ak__shape_without(k->in[0]->shape, a.axis);
    return count_check(k, a.n);
}

typedef struct place_args {
    const ak_real *x;
    ak_real *out;
    int32_t *places;
    ak__axes a;
    bool     smallest;
} place_args;

static void place_span(void *user, int64_t begin, int64_t end)
{
    const place_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, inner] */
        const int64_t at = ak__extreme_place(u->x + r / inner * n * inner + r % inner, n, inner,
                                             u->smallest);
        u->out[r] = (ak_real)at;
        u->places[r] = (int32_t)at;
    }
}

/* The places as numbers, for inspection, and as whole numbers. */
static void place_forward(ak_call *k, bool smallest)
{
    place_args u = { .x = k->in[0]->data, .out = k->out->data, .places = ak__index_data(k->places),
                     .a = ak__axes_of(k->in[0]->shape, ((const place_attr *)k->attr)->axis),
                     .smallest = smallest };
    ak__for_rows(k->out->size, u.a.n, place_span, &u);
}

static void argmax_forward(ak_call *k) { place_forward(k, false); }
static void argmin_forward(ak_call *k) { place_forward(k, true); }

#define AXIS(a) .attr = &(const place_attr){ .axis = a }
#define PLACE_OP(id, text)                                                                         \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 1, .attr_size = sizeof(place_attr),                  \
        .flags = AK_OP_MAKES_INDEX,                                                                \
        .shape = place_shape, .forward = id##_forward, .flops = order_flops,                       \
        .samples = (const ak_sample[]){                                                            \
            { .in = {{ 1, { 1 } }}, AXIS(0) }, { .in = {{ 1, { 7 } }}, AXIS(-1) },                 \
            { .in = {{ 2, { 3, 5 } }}, AXIS(0) }, { .in = {{ 2, { 3, 5 } }}, AXIS(1) },            \
            { .in = {{ 3, { 3, 4, 5 } }}, AXIS(1) }, AK_END },                                     \
        .misuse = (const ak_sample[]){                                                             \
            { .in = {{ 2, { 2, 3 } }}, AXIS(2) }, { .in = {{ 2, { 2, 0 } }}, AXIS(1) },            \
            { .in = {{ 0, { 0 } }}, AXIS(0) }, AK_END },                                           \
    };                                                                                             \
    ak_index *ak_##id(const ak_tensor *x, int axis)                                                \
    {                                                                                              \
        ak_tensor *in = ak__as_operand(x);                                                         \
        return ak_apply_all(&id##_op, (ak_operands){ .in = &in, .n_in = 1 },                       \
                            &(place_attr){ axis }).places;                                         \
    }

PLACE_OP(argmax, "y = place of the first largest over an axis; no gradient")
PLACE_OP(argmin, "y = place of the first smallest over an axis; no gradient")

/* ---- sort, topk ------------------------------------------------------------------------------ */

typedef struct order_attr {
    int     axis;
    bool    descending;
    int64_t count;              /* elements that are wanted; -1 = all */
} order_attr;

typedef struct item { ak_real x; int32_t at; } item;

/* Does a stand before b, whatever their places? */
static bool before(ak_real a, ak_real b, bool descending)
{
    if (descending)
        return a > b || (a != a && b == b);
    return a < b || (a == a && b != b);
}

enum { RUN = 16, FEW = 32 };

/* Insertion: stable, since an item only passes those that it stands before. */
static void sort_run(item *p, int64_t n, bool descending)
{
    for (int64_t i = 1; i < n; i++) {
        const item one = p[i];
        int64_t j = i;
        for (; j > 0 && before(one.x, p[j - 1].x, descending); j--)
            p[j] = p[j - 1];
        p[j] = one;
    }
}

/* to = a merged with b, which follows it; of equal items those of a come first. */
static void merge(item *to, const item *a, int64_t n, int64_t m, bool descending)
{
    const item *b = a + n, *end_a = b, *end_b = b + m;
    while (a < end_a && b < end_b)
        *to++ = before(b->x, a->x, descending) ? *b++ : *a++;
    while (a < end_a)
        *to++ = *a++;
    while (b < end_b)
        *to++ = *b++;
}

/* n items at p, with room for as many behind them; the sorted ones are at the result. */
static item *sort_items(item *p, int64_t n, bool descending)
{
    item *from = p, *to = p + n;
    for (int64_t i = 0; i < n; i += RUN)
        sort_run(p + i, n - i < RUN ? n - i : RUN, descending);
    for (int64_t run = RUN; run < n; run *= 2) {
        for (int64_t i = 0; i < n; i += 2 * run) {
            const int64_t left = n - i < run ? n - i : run;
            const int64_t right = n - i - left < run ? n - i - left : run;
            merge(to + i, from + i, left, right, descending);
        }
        item *done = to;
        to = from;
        from = done;
    }
    return from;
}

/* The first `count` of n in order, few: the best so far are kept sorted. */
static void select_items(item *best, int64_t count, const ak_real *x, int64_t n, int64_t step,
                         bool descending)
{
    int64_t have = 0;
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = x[i * step];
        if (have == count && !before(v, best[count - 1].x, descending))
            continue;
        int64_t j = have < count ? have++ : count - 1;
        for (; j > 0 && before(v, best[j - 1].x, descending); j--)
            best[j] = best[j - 1];
        best[j] = (item){ v, (int32_t)i };
    }
}

typedef struct order_args {
    const ak_real *x, *dy;
    ak_real *out;
    int32_t *places;
    item    *room;              /* of each thread: 2 n items */
    ak__axes a;
    int64_t  count;
    bool     descending;
} order_args;

static void order_span(void *user, int64_t begin, int64_t end)
{
    const order_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    item *room = u->room + ak__thread_id() * 2 * n;
    for (int64_t r = begin; r < end; r++) {             /* r counts [outer, inner] */
        const ak_real *x = u->x + r / inner * n * inner + r % inner;
        const int64_t to = r / inner * u->count * inner + r % inner;
        item *sorted = room;
        if (u->count <= FEW && u->count < n) {
            select_items(room, u->count, x, n, inner, u->descending);
        } else {
            for (int64_t i = 0; i < n; i++)
                room[i] = (item){ x[i * inner], (int32_t)i };
            sorted = sort_items(room, n, u->descending);
        }
        for (int64_t i = 0; i < u->count; i++) {
            u->out[to + i * inner] = sorted[i].x;
            u->places[to + i * inner] = sorted[i].at;
        }
    }
}

static order_args order_of(ak_call *k)
{
    const order_attr *o = k->attr;
    order_args u = { .x = k->in[0]->data, .out = k->out->data, .dy = k->out->grad,
                     .places = ak__index_data(k->places), .descending = o->descending,
                     .a = ak__axes_of(k->in[0]->shape, o->axis) };
    u.count = o->count < 0 ? u.a.n : o->count;
    return u;
}

static void order_forward(ak_call *k)
{
    order_args u = order_of(k);
    if (k->out->size == 0)
        return;
    u.room = ak_call_scratch(k, (size_t)(ak__max_threads() * 2 * u.a.n) * sizeof *u.room);
    if (u.room)
        ak__for_rows(u.a.outer * u.a.inner, 8 * u.a.n, order_span, &u);
}

/* out is dx: the places of a row differ. */
static void order_slope_span(void *user, int64_t begin, int64_t end)
{
    const order_args *u = user;
    const int64_t n = u->a.n, inner = u->a.inner;
    for (int64_t r = begin; r < end; r++) {
        ak_real *dx = u->out + r / inner * n * inner + r % inner;
        const int64_t from = r / inner * u->count * inner + r % inner;
        for (int64_t i = 0; i < u->count; i++)
            dx[u->places[from + i * inner] * inner] += u->dy[from + i * inner];
    }
}

static void order_backward(ak_call *k)
{
    order_args u = order_of(k);
    u.out = ak_call_grad(k, 0);
    if (u.out)
        ak__for_rows(u.a.outer * u.a.inner, u.a.n, order_slope_span, &u);
}

static ak_status sort_shape(ak_call *k)
{
    const order_attr *o = k->attr;
    const ak_status status = ak__axis_check(k, o->axis);
    if (status != AK_OK)
        return status;
    k->out->shape = k->places->shape = k->in[0]->shape;
    return count_check(k, ak__axes_of(k->in[0]->shape, o->axis).n);
}

static ak_status topk_shape(ak_call *k)
{
    const order_attr *o = k->attr;
    const ak_status status = sort_shape(k);
    if (status != AK_OK)
        return status;
    const ak__axes a = ak__axes_of(k->in[0]->shape, o->axis);
    if (o->count < 1 || o->count > a.n)
        return ak_call_fail(k, AK_ERR_VALUE, "count %" PRId64 " is not in [1, %" PRId64 "], the "
                            "elements of axis %d", o->count, a.n, o->axis);
    k->out->shape.dims[a.axis] = k->places->shape.dims[a.axis] = o->count;
    return AK_OK;
}

#define ORDER(...) .attr = &(const order_attr){ __VA_ARGS__ }, .flags = AK_SAMPLE_DISTINCT
#define ORDER_RECORD                                                                               \
    .n_in = 1, .attr_size = sizeof(order_attr), .flags = AK_OP_MAKES_INDEX,                        \
    .forward = order_forward, .backward = order_backward, .flops = order_flops,                    \
    .reads = AK_READS_NONE

static const ak_op sort_op = {
    .name = "sort", .formula = "y = x in order along an axis, equal elements as they stood",
    .shape = sort_shape, ORDER_RECORD,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, ORDER(0, false, -1) },
        { .in = {{ 1, { 7 } }}, ORDER(-1, true, -1) },
        { .in = {{ 2, { 3, 5 } }}, ORDER(0, false, -1) },
        { .in = {{ 3, { 3, 4, 5 } }}, ORDER(1, true, -1) },
        { .in = {{ 2, { 2, 37 } }}, ORDER(1, false, -1) },
        { .in = {{ 2, { 2, 0 } }}, ORDER(1, false, -1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, ORDER(2, false, -1) },
        { .in = {{ 0, { 0 } }}, ORDER(0, false, -1) },
        AK_END },
};

static const ak_op topk_op = {
    .name = "topk", .formula = "y = the first elements of x in order along an axis",
    .shape = topk_shape, ORDER_RECORD,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, ORDER(0, true, 1) },
        { .in = {{ 1, { 7 } }}, ORDER(-1, true, 3) },
        { .in = {{ 2, { 3, 5 } }}, ORDER(0, false, 2) },
        { .in = {{ 3, { 3, 4, 5 } }}, ORDER(1, true, 4) },
        { .in = {{ 2, { 2, 37 } }}, ORDER(1, false, 33) },
        { .in = {{ 2, { 3, 41 } }}, ORDER(1, true, 5) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, ORDER(2, true, 1) },
        { .in = {{ 2, { 2, 3 } }}, ORDER(1, true, 4) },
        { .in = {{ 2, { 2, 3 } }}, ORDER(1, true, 0) },
        { .in = {{ 2, { 2, 0 } }}, ORDER(1, true, 1) },
        AK_END },
};

static ak_tensor *in_order(const ak_op *op, ak_tensor *x, order_attr o, ak_index **places)
{
    const ak_outputs y = ak_apply_all(op, (ak_operands){ .in = &x, .n_in = 1 }, &o);
    if (places)
        *places = y.places;
    return y.out;
}

ak_tensor *ak_sort(ak_tensor *x, int axis, bool descending, ak_index **places)
{
    return in_order(&sort_op, x, (order_attr){ axis, descending, -1 }, places);
}

ak_tensor *ak_topk(ak_tensor *x, int64_t count, int axis, bool largest, ak_index **places)
{
    return in_order(&topk_op, x, (order_attr){ axis, largest, count }, places);
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_order[] = { &argmax_op, &argmin_op, &sort_op, &topk_op, NULL };
