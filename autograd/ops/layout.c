/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move numbers: joining, cutting, reordering axes, rows by index, masks. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

ak_status ak__index_check(ak_call *k, const ak_index *ix, int64_t limit, const char *what)
{
    if (!ix)
        return ak_call_fail(k, AK_ERR_VALUE, "%s is NULL", what);
    if (ix == &ak__poison_index)
        return ak_call_fail(k, AK_ERR_STALE, "%s is the result of a call that failed in an "
                            "earlier step", what);
    if (ix->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "%s belongs to another context", what);
    if (ix->generation != 0 && ix->generation != k->ctx->generation)
        return ak_call_fail(k, AK_ERR_STALE, "%s belongs to step %llu, this is step %llu", what,
                            (unsigned long long)ix->generation,
                            (unsigned long long)k->ctx->generation);
    for (int64_t i = 0; i < ix->size; i++)
        if (ix->data[i] < 0 || ix->data[i] >= limit)
            return ak_call_fail(k, AK_ERR_VALUE, "%s[%lld] = %d is not in [0, %lld)", what,
                                (long long)i, ix->data[i], (long long)limit);
    return AK_OK;
}

/* dx = or += dy over n elements */
static void pass_span(ak_real *dx, const ak_real *dy, int64_t n, bool add)
{
    if (add)
        ak__k.add(dx, dx, dy, n);
    else
        memcpy(dx, dy, (size_t)n * sizeof *dx);
}

/* ---- strips: rows of `width` elements between arrays with other row lengths ------------------ */

typedef struct strips { ak_real *to; const ak_real *from; int64_t ld_to, ld_from, width; bool add; }
    strips;

static void strips_span(void *user, int64_t begin, int64_t end)
{
    const strips *u = user;
    for (int64_t r = begin; r < end; r++)
        pass_span(u->to + r * u->ld_to, u->from + r * u->ld_from, u->width, u->add);
}

static void move_strips(int64_t rows, strips u)
{
    ak__for_rows(rows, u.width, strips_span, &u);
}

/* ---- concat --------------------------------------------------------------------------------- */

typedef struct concat_attr { int axis; } concat_attr;

static ak_status concat_shape(ak_call *k)
{
    const int axis = ((const concat_attr *)k->attr)->axis;
    if (ak__axis_check(k, axis) != AK_OK)
        return AK_ERR_SHAPE;
    ak_shape y = k->in[0]->shape;
    const int at = axis < 0 ? axis + y.n : axis;
    for (int i = 1; i < k->n_in; i++) {
        ak_shape s = k->in[i]->shape;
        const int64_t n = at < s.n ? s.dims[at] : 0;
        if (at < s.n)
            s.dims[at] = y.dims[at];
        if (!ak_shape_equal(s, y))
            return ak_call_fail(k, AK_ERR_SHAPE, "operand %d differs beside axis %d", i, at);
        y.dims[at] += n;
    }
    k->out->shape = y;
    return AK_OK;
}

static void concat_forward(ak_call *k)
{
    const int axis = ((const concat_attr *)k->attr)->axis;
    const ak__axes y = ak__axes_of(k->out->shape, axis);
    int64_t at = 0;
    for (int i = 0; i < k->n_in; i++) {
        const int64_t width = ak__axes_of(k->in[i]->shape, axis).n * y.inner;
        move_strips(y.outer, (strips){ k->out->data + at, k->in[i]->data, y.n * y.inner, width,
                                       width, false });
        at += width;
    }
}

static void concat_backward(ak_call *k)
{
    const int axis = ((const concat_attr *)k->attr)->axis;
    const ak__axes y = ak__axes_of(k->out->shape, axis);
    int64_t at = 0;
    for (int i = 0; i < k->n_in; i++) {
        const int64_t width = ak__axes_of(k->in[i]->shape, axis).n * y.inner;
        bool fresh;
        ak_real *dx = ak_call_grad_fresh(k, i, &fresh);
        if (dx)
            move_strips(y.outer, (strips){ dx, k->out->grad + at, width, y.n * y.inner, width,
                                           !fresh });
        at += width;
    }
}

#define CONCAT(a) .attr = &(const concat_attr){ a }
static const ak_op concat_op = {
    .name = "concat", .formula = "y = x[0], x[1], .. joined along an axis", .n_in = 2,
    .attr_size = sizeof(concat_attr), .flags = AK_OP_VARIADIC,
    .shape = concat_shape, .forward = concat_forward, .backward = concat_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }, { 1, { 1 } }}, CONCAT(0) },
        { .in = {{ 2, { 3, 5 } }, { 2, { 2, 5 } }}, CONCAT(0) },
        { .in = {{ 2, { 3, 5 } }, { 2, { 3, 1 } }}, CONCAT(-1) },
        { .in = {{ 3, { 2, 3, 4 } }, { 3, { 2, 1, 4 } }, { 3, { 2, 2, 4 } }}, .n_in = 3,
          CONCAT(1) },
        { .in = {{ 2, { 3, 7 } }}, .n_in = 1, CONCAT(1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 5 } }, { 2, { 3, 4 } }}, CONCAT(0) },
        { .in = {{ 2, { 3, 5 } }, { 2, { 3, 5 } }}, CONCAT(2) },
        { .in = {{ 2, { 3, 5 } }, { 1, { 5 } }}, CONCAT(0) },
        AK_END },
};

ak_tensor *ak_concat_n(int axis, ak_tensor *const *x, int n)
{
    return ak_apply(&concat_op, x, n, &(concat_attr){ axis });
}

ak_tensor *ak_concat(int axis, ak_tensor *a, ak_tensor *b)
{
    return ak_concat_n(axis, (ak_tensor *[]){ a, b }, 2);
}

/* ---- stack ---------------------------------------------------------------------------------- */

static ak_status stack_shape(ak_call *k)
{
    const ak_shape x = k->in[0]->shape;
    if (x.n == AK_MAX_DIMS)
        return ak_call_fail(k, AK_ERR_SHAPE, "the result would have more than %d axes",
                            AK_MAX_DIMS);
    for (int i = 1; i < k->n_in; i++)
        if (!ak_shape_equal(k->in[i]->shape, x))
            return ak_call_fail(k, AK_ERR_SHAPE, "operand %d has another shape", i);
    ak_shape *y = &k->out->shape;
    y->n = x.n + 1;
    y->dims[0] = k->n_in;
    for (int d = 0; d < x.n; d++)
        y->dims[d + 1] = x.dims[d];
    return AK_OK;
}

static void stack_forward(ak_call *k)
{
    const int64_t n = k->in[0]->size;
    for (int i = 0; i < k->n_in; i++)
        memcpy(k->out->data + i * n, k->in[i]->data, (size_t)n * sizeof(ak_real));
}

static void stack_backward(ak_call *k)
{
    const int64_t n = k->in[0]->size;
    for (int i = 0; i < k->n_in; i++) {
        bool fresh;
        ak_real *dx = ak_call_grad_fresh(k, i, &fresh);
        if (dx)
            pass_span(dx, k->out->grad + i * n, n, !fresh);
    }
}

static const ak_op stack_op = {
    .name = "stack", .formula = "y[i] = x[i]", .n_in = 2, .flags = AK_OP_VARIADIC,
    .shape = stack_shape, .forward = stack_forward, .backward = stack_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }, { 1, { 1 } }} },
        { .in = {{ 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } }}, .n_in = 3 },
        { .in = {{ 2, { 3, 5 } }, { 2, { 3, 5 } }} },
        { .in = {{ 3, { 2, 1, 4 } }, { 3, { 2, 1, 4 } }, { 3, { 2, 1, 4 } }}, .n_in = 3 },
        { .in = {{ 1, { 7 } }}, .n_in = 1 },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 5 } }, { 2, { 3, 4 } }} },
        { .in = {{ 6, { 1, 1, 1, 1, 1, 2 } }, { 6, { 1, 1, 1, 1, 1, 2 } }} },
        AK_END },
};

ak_tensor *ak_stack(ak_tensor *const *x, int n)
{
    return ak_apply(&stack_op, x, n, NULL);
}

/* ---- slice, split --------------------------------------------------------------------------- */

typedef struct slice_attr { int axis; int64_t start, count; } slice_attr;

static ak_status slice_shape(ak_call *k)
{
    const slice_attr *o = k->attr;
    if (ak__axis_check(k, o->axis) != AK_OK)
        return AK_ERR_SHAPE;
    const ak__axes x = ak__axes_of(k->in[0]->shape, o->axis);
    if (o->start < 0 || o->count < 0 || o->start > x.n || o->count > x.n - o->start)
        return ak_call_fail(k, AK_ERR_SHAPE, "start %lld, count %lld of an axis of %lld",
                            (long long)o->start, (long long)o->count, (long long)x.n);
    k->out->shape = k->in[0]->shape;
    k->out->shape.dims[x.axis] = o->count;
    return AK_OK;
}

static void slice_forward(ak_call *k)
{
    const slice_attr *o = k->attr;
    const ak__axes x = ak__axes_of(k->in[0]->shape, o->axis);
    const int64_t width = o->count * x.inner;
    move_strips(x.outer, (strips){ k->out->data, k->in[0]->data + o->start * x.inner, width,
                                   x.n * x.inner, width, false });
}

static void slice_backward(ak_call *k)
{
    const slice_attr *o = k->attr;
    const ak__axes x = ak__axes_of(k->in[0]->shape, o->axis);
    const int64_t width = o->count * x.inner;
    ak_real *dx = ak_call_grad(k, 0);
    if (dx)
        move_strips(x.outer, (strips){ dx + o->start * x.inner, k->out->grad, x.n * x.inner,
                                       width, width, true });
}

#define SLICE(...) .attr = &(const slice_attr){ __VA_ARGS__ }
static const ak_op slice_op = {
    .name = "slice", .formula = "y = entries start .. start+count-1 of an axis", .n_in = 1,
    .attr_size = sizeof(slice_attr),
    .shape = slice_shape, .forward = slice_forward, .backward = slice_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, SLICE(0, 0, 1) },
        { .in = {{ 1, { 7 } }}, SLICE(-1, 2, 3) },
        { .in = {{ 2, { 3, 5 } }}, SLICE(0, 1, 2) },
        { .in = {{ 2, { 3, 5 } }}, SLICE(1, 4, 1) },
        { .in = {{ 3, { 2, 4, 3 } }}, SLICE(1, 0, 3) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 5 } }}, SLICE(1, 3, 3) },
        { .in = {{ 2, { 3, 5 } }}, SLICE(1, -1, 2) },
        { .in = {{ 2, { 3, 5 } }}, SLICE(0, 1, -1) },
        { .in = {{ 2, { 3, 5 } }}, SLICE(2, 0, 1) },
        AK_END },
};

ak_tensor *ak_slice(ak_tensor *x, int axis, int64_t start, int64_t count)
{
    return ak_apply(&slice_op, &x, 1, &(slice_attr){ axis, start, count });
}

ak_status ak_split(ak_tensor *x, int axis, int parts, ak_tensor **out)
{
    ak_ctx *ctx = x->ctx;
    for (int i = 0; i < parts; i++)
        out[i] = &ak__poison;
    if (ak_is_poison(x))
        return AK_ERR_STATE;
    char text[160];
    if (axis < -x->shape.n || axis >= x->shape.n)
        return ak_fail(ctx, AK_ERR_SHAPE, "split: axis %d of a tensor with %d axes: %s", axis,
                       x->shape.n, ak_shape_text(x->shape, text));
    const int64_t n = ak__axes_of(x->shape, axis).n;
    if (parts < 1 || n % parts)
        return ak_fail(ctx, AK_ERR_SHAPE, "split: %d equal parts of axis %d, which has %lld "
                       "entries: %s", parts, axis, (long long)n, ak_shape_text(x->shape, text));
    for (int i = 0; i < parts; i++)
        out[i] = ak_slice(x, axis, i * (n / parts), n / parts);
    return ak_error(ctx);
}

/* ---- transpose ------------------------------------------------------------------------------ */

static ak_status transpose_shape(ak_call *k)
{
    ak_shape s = k->in[0]->shape;
    if (s.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "needs two axes");
    const int64_t rows = s.dims[s.n - 2];
    s.dims[s.n - 2] = s.dims[s.n - 1];
    s.dims[s.n - 1] = rows;
    k->out->shape = s;
    return AK_OK;
}

#define TILE 32
typedef struct turn_args { ak_real *to; const ak_real *from; int64_t M, N, bands; bool add; }
    turn_args;

/* Bands of TILE rows of from [.., M, N] into to [.., N, M]. */
static void turn_span(void *user, int64_t begin, int64_t end)
{
    const turn_args *u = user;
    for (int64_t r = begin; r < end; r++) {
        const int64_t base = r / u->bands * u->M * u->N, i0 = r % u->bands * TILE;
        const int64_t i1 = i0 + TILE < u->M ? i0 + TILE : u->M;
        const ak_real *from = u->from + base;
        ak_real *to = u->to + base;
        for (int64_t j0 = 0; j0 < u->N; j0 += TILE)
            for (int64_t j = j0; j < u->N && j < j0 + TILE; j++)
                for (int64_t i = i0; i < i1; i++)
                    to[j * u->M + i] = from[i * u->N + j] + (u->add ? to[j * u->M + i] : 0);
    }
}

static void turn(ak_real *to, const ak_real *from, ak_shape shape, bool add)
{
    turn_args u = { to, from, shape.dims[shape.n - 2], shape.dims[shape.n - 1], 0, add };
    u.bands = ak__chunk_count(u.M, TILE);
    int64_t batch = 1;
    for (int d = 0; d < shape.n - 2; d++)
        batch *= shape.dims[d];
    ak__for_rows(batch * u.bands, TILE * u.N, turn_span, &u);
}

static void transpose_forward(ak_call *k)
{
    turn(k->out->data, k->in[0]->data, k->in[0]->shape, false);
}

static void transpose_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        turn(dx, k->out->grad, k->out->shape, !fresh);
}

static const ak_op transpose_op = {
    .name = "transpose", .formula = "y[.., j, i] = x[.., i, j]", .n_in = 1,
    .shape = transpose_shape, .forward = transpose_forward, .backward = transpose_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }} }, { .in = {{ 2, { 3, 5 } }} }, { .in = {{ 2, { 33, 2 } }} },
        { .in = {{ 3, { 2, 3, 4 } }} }, { .in = {{ 4, { 2, 1, 1, 7 } }} }, AK_END },
    .misuse = (const ak_sample[]){ { .in = {{ 1, { 3 } }} }, { .in = {{ 0, { 0 } }} }, AK_END },
};
ak_tensor *ak_transpose(ak_tensor *x) { return ak_apply(&transpose_op, &x, 1, NULL); }

/* ---- permute -------------------------------------------------------------------------------- */

typedef struct permute_attr { int n, axes[AK_MAX_DIMS]; } permute_attr;

static ak_status permute_shape(ak_call *k)
{
    const permute_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    unsigned seen = 0;
    if (o->n != x.n)
        return ak_call_fail(k, AK_ERR_SHAPE, "%d axes given for a tensor with %d", o->n, x.n);
    k->out->shape.n = x.n;
    for (int d = 0; d < x.n; d++) {
        if (o->axes[d] < 0 || o->axes[d] >= x.n || (seen & 1u << o->axes[d]))
            return ak_call_fail(k, AK_ERR_VALUE, "axes[%d] = %d: each of 0 .. %d once", d,
                                o->axes[d], x.n - 1);
        seen |= 1u << o->axes[d];
        k->out->shape.dims[d] = x.dims[o->axes[d]];
    }
    return AK_OK;
}

/* y is walked in order; step[d] elements of x apart along its axis d. */
typedef struct permute_args {
    int      n;
    int64_t  dims[AK_MAX_DIMS], step[AK_MAX_DIMS];
    ak_real *to;
    const ak_real *from;
    bool     back, add;         /* back: from y's order into x's */
} permute_args;

static void permute_run(const permute_args *u, int64_t y, int64_t x, int64_t n)
{
    const int64_t s = u->step[u->n - 1];
    if (!u->back)
        for (int64_t i = 0; i < n; i++)
            u->to[y + i] = u->from[x + i * s];
    else if (u->add)
        for (int64_t i = 0; i < n; i++)
            u->to[x + i * s] += u->from[y + i];
    else
        for (int64_t i = 0; i < n; i++)
            u->to[x + i * s] = u->from[y + i];
}

static void permute_span(void *user, int64_t begin, int64_t end)
{
    const permute_args *u = user;
    int64_t index[AK_MAX_DIMS], x = 0, rest = begin;
    const int last = u->n - 1;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % u->dims[d];
        rest /= u->dims[d];
        x += index[d] * u->step[d];
    }
    while (begin < end) {
        int64_t n = u->dims[last] - index[last];
        if (n > end - begin)
            n = end - begin;
        permute_run(u, begin, x, n);
        begin += n;
        x -= index[last] * u->step[last];
        index[last] = 0;
        for (int d = last - 1; d >= 0; d--) {
            x += u->step[d];
            if (++index[d] < u->dims[d])
                break;
            x -= u->dims[d] * u->step[d];
            index[d] = 0;
        }
    }
}

static void permute_walk(const ak_call *k, permute_args u)
{
    const permute_attr *o = k->attr;
    const ak_shape x = k->in[0]->shape;
    int64_t step[AK_MAX_DIMS], s = 1;
    for (int d = x.n - 1; d >= 0; d--) {
        step[d] = s;
        s *= x.dims[d];
    }
    u.n = x.n;
    for (int d = 0; d < x.n; d++) {
        u.dims[d] = x.dims[o->axes[d]];
        u.step[d] = step[o->axes[d]];
    }
    if (u.n == 0) {
        u.n = 1;
        u.dims[0] = u.step[0] = 1;
    }
    ak__for_spans(k->out->size, permute_span, &u);
}

static void permute_forward(ak_call *k)
{
    permute_walk(k, (permute_args){ .to = k->out->data, .from = k->in[0]->data });
}

static void permute_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        permute_walk(k, (permute_args){ .to = dx, .from = k->out->grad, .back = true,
                                        .add = !fresh });
}

#define PERMUTE(rank, ...) .attr = &(const permute_attr){ rank, { __VA_ARGS__ } }
static const ak_op permute_op = {
    .name = "permute", .formula = "axis i of y is axis axes[i] of x", .n_in = 1,
    .attr_size = sizeof(permute_attr),
    .shape = permute_shape, .forward = permute_forward, .backward = permute_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, PERMUTE(1, 0) },
        { .in = {{ 2, { 3, 5 } }}, PERMUTE(2, 1, 0) },
        { .in = {{ 3, { 2, 3, 4 } }}, PERMUTE(3, 1, 0, 2) },
        { .in = {{ 4, { 2, 3, 1, 5 } }}, PERMUTE(4, 0, 3, 1, 2) },
        { .in = {{ 5, { 2, 1, 3, 2, 3 } }}, PERMUTE(5, 4, 2, 0, 3, 1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 5 } }}, PERMUTE(2, 0, 0) },
        { .in = {{ 2, { 3, 5 } }}, PERMUTE(2, 0, 2) },
        { .in = {{ 3, { 3, 5, 2 } }}, PERMUTE(2, 1, 0) },
        AK_END },
};

ak_tensor *ak_permute(ak_tensor *x, const int *axes)
{
    permute_attr o = { .n = x->shape.n };
    if (o.n > 0)
        memcpy(o.axes, axes, (size_t)o.n * sizeof *axes);
    return ak_apply(&permute_op, &x, 1, &o);
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
        pass_span(u->to + i * u->D, u->from + u->rows[i] * u->D, u->D, u->add);
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
    char text[160];
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
    ak_ctx *ctx = ids->ctx;
    if (ids == &ak__poison_index)
        return &ak__poison;
    ak_shape shape = ids->shape;
    if (ids->generation != 0 && ids->generation != ctx->generation) {
        ak_fail(ctx, AK_ERR_STALE, "one_hot: ids belong to step %llu, this is step %llu",
                (unsigned long long)ids->generation, (unsigned long long)ctx->generation);
        return &ak__poison;
    }
    if (classes < 1 || shape.n == AK_MAX_DIMS) {
        char text[160];
        ak_fail(ctx, AK_ERR_SHAPE, "one_hot: %lld classes for ids %s", (long long)classes,
                ak_shape_text(shape, text));
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

/* ---- where ---------------------------------------------------------------------------------- */

static ak_status where_shape(ak_call *k)
{
    const ak_shape a = k->in[0]->shape;
    if (!ak_shape_equal(k->in[1]->shape, a) || !ak_shape_equal(k->in[2]->shape, a))
        return ak_call_fail(k, AK_ERR_SHAPE, "a, cond and b have different shapes");
    k->out->shape = a;
    return AK_OK;
}

typedef struct where_args {
    const ak_real *cond, *a, *b, *dy;
    ak_real *out;
    bool     first, add;        /* backward of a (cond != 0), or of b */
} where_args;

static void where_span(void *user, int64_t begin, int64_t end)
{
    const where_args *u = user;
    for (int64_t i = begin; i < end; i++)
        u->out[i] = u->cond[i] != 0 ? u->a[i] : u->b[i];
}

static void where_slope_span(void *user, int64_t begin, int64_t end)
{
    const where_args *u = user;
    for (int64_t i = begin; i < end; i++) {
        const ak_real g = (u->cond[i] != 0) == u->first ? u->dy[i] : 0;
        u->out[i] = u->add ? u->out[i] + g : g;
    }
}

static void where_forward(ak_call *k)       /* operands: a, cond, b */
{
    where_args u = { .a = k->in[0]->data, .cond = k->in[1]->data, .b = k->in[2]->data,
                     .out = k->out->data };
    ak__for_spans(k->out->size, where_span, &u);
}

static void where_backward(ak_call *k)
{
    for (int i = 0; i <= 2; i += 2) {
        bool fresh;
        where_args u = { .cond = k->in[1]->data, .dy = k->out->grad, .first = i == 0,
                         .out = ak_call_grad_fresh(k, i, &fresh) };
        u.add = !fresh;
        if (u.out)
            ak__for_spans(k->out->size, where_slope_span, &u);
    }
}

/* Samples have operands a and b; cond is a pattern of 1, 0, 0, 1. */
static ak_tensor *call_where(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in, (void)s;
    const ak_tensor *cond = ak_zeros(in[1]->ctx, in[1]->shape);
    for (int64_t i = 0; i < cond->size && !ak_is_poison(cond); i++)
        cond->data[i] = i % 4 == 0 || i % 4 == 3;
    return ak_where(cond, in[0], in[1]);
}

#define WHERE(rank, ...)                                                                           \
    { .in = {{ rank, { __VA_ARGS__ } }, { rank, { __VA_ARGS__ } }}, .n_in = 2, .call = call_where }
static const ak_op where_op = {
    .name = "where", .formula = "y = cond != 0 ? a : b", .n_in = 3,
    .shape = where_shape, .forward = where_forward, .backward = where_backward,
    .samples = (const ak_sample[]){
        WHERE(1, 1), WHERE(1, 7), WHERE(2, 3, 5), WHERE(3, 2, 1, 4), WHERE(2, 1, 33), AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }, { 2, { 2, 3 } }, { 1, { 3 } }} },
        { .in = {{ 2, { 2, 3 } }, { 1, { 1 } }, { 2, { 2, 3 } }} },
        AK_END },
};

ak_tensor *ak_where(const ak_tensor *cond, ak_tensor *a, ak_tensor *b)
{
    return ak_apply(&where_op, (ak_tensor *[]){ a, ak__as_operand(cond), b }, 3, NULL);
}

/* ---- square matrices: diagonals and score masks ---------------------------------------------- */

static ak_status square_check(ak_call *k, bool even)
{
    const ak_shape x = k->in[0]->shape;
    if (x.n != 2 || x.dims[0] != x.dims[1])
        return ak_call_fail(k, AK_ERR_SHAPE, "needs a square matrix");
    if (even && x.dims[0] % 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "pairs need an even number of rows, not %lld",
                            (long long)x.dims[0]);
    return AK_OK;
}

/* y[i] = x[i, (i + shift) mod n] */
static int64_t pair_of(int64_t i, int64_t shift, int64_t n)
{
    return i + shift < n ? i + shift : i + shift - n;
}

static void picked_diagonal(ak_call *k, int64_t shift)
{
    const int64_t n = k->out->size;
    for (int64_t i = 0; i < n; i++)
        k->out->data[i] = k->in[0]->data[i * n + pair_of(i, shift, n)];
}

static void picked_diagonal_slope(ak_call *k, int64_t shift)
{
    const int64_t n = k->out->size;
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < n; i++)
        dx[i * n + pair_of(i, shift, n)] += k->out->grad[i];
}

static ak_status diagonal_shape(ak_call *k)
{
    k->out->shape = AK_SHAPE(k->in[0]->shape.dims[0]);
    return square_check(k, false);
}
static void diagonal_forward(ak_call *k) { picked_diagonal(k, 0); }
static void diagonal_backward(ak_call *k) { picked_diagonal_slope(k, 0); }

static const ak_op diagonal_op = {
    .name = "diagonal", .formula = "y[i] = x[i, i]", .n_in = 1,
    .shape = diagonal_shape, .forward = diagonal_forward, .backward = diagonal_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }} }, { .in = {{ 2, { 2, 2 } }} }, { .in = {{ 2, { 3, 3 } }} },
        { .in = {{ 2, { 6, 6 } }} }, { .in = {{ 2, { 11, 11 } }} }, AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }} }, { .in = {{ 1, { 4 } }} }, { .in = {{ 3, { 2, 2, 2 } }} },
        AK_END },
};
ak_tensor *ak_diagonal(ak_tensor *x) { return ak_apply(&diagonal_op, &x, 1, NULL); }

static ak_status pair_diagonal_shape(ak_call *k)
{
    k->out->shape = AK_SHAPE(k->in[0]->shape.dims[0]);
    return square_check(k, true);
}
static void pair_diagonal_forward(ak_call *k) { picked_diagonal(k, k->out->size / 2); }
static void pair_diagonal_backward(ak_call *k) { picked_diagonal_slope(k, k->out->size / 2); }

static const ak_op pair_diagonal_op = {
    .name = "pair_diagonal", .formula = "y[i] = s[i, (i + n/2) mod n]", .n_in = 1,
    .shape = pair_diagonal_shape, .forward = pair_diagonal_forward,
    .backward = pair_diagonal_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 2, 2 } }} }, { .in = {{ 2, { 4, 4 } }} }, { .in = {{ 2, { 6, 6 } }} },
        { .in = {{ 2, { 10, 10 } }} }, { .in = {{ 2, { 14, 14 } }} }, AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 3, 3 } }} }, { .in = {{ 2, { 2, 4 } }} }, { .in = {{ 1, { 4 } }} },
        AK_END },
};
ak_tensor *ak_pair_diagonal(ak_tensor *s) { return ak_apply(&pair_diagonal_op, &s, 1, NULL); }

typedef struct mask_attr { int rules; } mask_attr;

static ak_status mask_shape(ak_call *k)
{
    const int rules = ((const mask_attr *)k->attr)->rules;
    if (rules & ~(AK_MASK_SELF | AK_MASK_PAIR))
        return ak_call_fail(k, AK_ERR_VALUE, "unknown rules %d", rules);
    k->out->shape = k->in[0]->shape;
    return square_check(k, (rules & AK_MASK_PAIR) != 0);
}

typedef struct score_mask_args { ak_real *to, fill; const ak_real *from; int64_t n; int rules;
                                 bool add; } score_mask_args;

/* Rows of to = from with masked entries = fill; added, masked ones left alone. */
static void score_mask_span(void *user, int64_t begin, int64_t end)
{
    const score_mask_args *u = user;
    for (int64_t i = begin; i < end; i++) {
        ak_real *to = u->to + i * u->n;
        const int64_t pair = pair_of(i, u->n / 2, u->n);
        const ak_real self = u->add ? to[i] : u->fill, other = u->add ? to[pair] : u->fill;
        pass_span(to, u->from + i * u->n, u->n, u->add);
        if (u->rules & AK_MASK_SELF)
            to[i] = self;
        if (u->rules & AK_MASK_PAIR)
            to[pair] = other;
    }
}

static void mask_forward(ak_call *k)
{
    const int64_t n = k->out->shape.dims[0];
    score_mask_args u = { .to = k->out->data, .fill = (ak_real)-INFINITY, .n = n,
                          .from = k->in[0]->data, .rules = ((const mask_attr *)k->attr)->rules };
    ak__for_rows(n, n, score_mask_span, &u);
}

static void mask_backward(ak_call *k)
{
    const int64_t n = k->out->shape.dims[0];
    bool fresh;
    score_mask_args u = { .to = ak_call_grad_fresh(k, 0, &fresh), .n = n, .from = k->out->grad,
                          .rules = ((const mask_attr *)k->attr)->rules };
    u.add = !fresh;
    if (u.to)
        ak__for_rows(n, n, score_mask_span, &u);
}

/* e^-inf is 0: a finite result to compare. */
static ak_tensor *call_mask(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    return ak_exp(ak_mask(in[0], ((const mask_attr *)s->attr)->rules));
}

#define MASK(r) .attr = &(const mask_attr){ r }, .call = call_mask
static const ak_op mask_op = {
    .name = "mask", .formula = "y = s, -inf at [i, i] (SELF) and [i, (i + n/2) mod n] (PAIR)",
    .n_in = 1, .attr_size = sizeof(mask_attr), .flags = AK_OP_MAKES_INF,
    .shape = mask_shape, .forward = mask_forward, .backward = mask_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 2, 2 } }}, MASK(AK_MASK_PAIR) },
        { .in = {{ 2, { 5, 5 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 6, 6 } }}, MASK(AK_MASK_SELF | AK_MASK_PAIR) },
        { .in = {{ 2, { 10, 10 } }}, MASK(AK_MASK_PAIR) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, MASK(AK_MASK_SELF) },
        { .in = {{ 2, { 3, 3 } }}, MASK(AK_MASK_PAIR) },
        { .in = {{ 2, { 4, 4 } }}, MASK(8) },
        AK_END },
};
ak_tensor *ak_mask(ak_tensor *s, int rules)
{
    return ak_apply(&mask_op, &s, 1, &(mask_attr){ rules });
}

/* ---- triangle ------------------------------------------------------------------------------- */

typedef struct triangle_attr { bool upper; int diagonal; double fill; } triangle_attr;

static ak_status triangle_shape(ak_call *k)
{
    if (k->in[0]->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "needs two axes");
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

typedef struct triangle_args { ak_real *to, fill; const ak_real *from; int64_t T, S;
                               const triangle_attr *o; bool add; } triangle_args;

/* Row r keeps columns [from, to). */
static void triangle_span(void *user, int64_t begin, int64_t end)
{
    const triangle_args *u = user;
    for (int64_t r = begin; r < end; r++) {
        int64_t edge = r % u->T + u->o->diagonal + (u->o->upper ? 0 : 1);
        edge = edge < 0 ? 0 : edge > u->S ? u->S : edge;
        const int64_t from = u->o->upper ? edge : 0, to = u->o->upper ? u->S : edge;
        ak_real *row = u->to + r * u->S;
        if (!u->add) {
            for (int64_t j = 0; j < from; j++)
                row[j] = u->fill;
            for (int64_t j = to; j < u->S; j++)
                row[j] = u->fill;
        }
        pass_span(row + from, u->from + r * u->S + from, to - from, u->add);
    }
}

static void triangle_walk(const ak_call *k, triangle_args u)
{
    const ak_shape s = k->out->shape;
    u.T = s.dims[s.n - 2];
    u.S = s.dims[s.n - 1];
    u.o = k->attr;
    ak__for_rows(ak_row_count(k->out), u.S, triangle_span, &u);
}

static void triangle_forward(ak_call *k)
{
    triangle_walk(k, (triangle_args){ .to = k->out->data, .from = k->in[0]->data,
                                      .fill = (ak_real)((const triangle_attr *)k->attr)->fill });
}

static void triangle_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        triangle_walk(k, (triangle_args){ .to = dx, .from = k->out->grad, .add = !fresh });
}

#define TRIANGLE(...) .attr = &(const triangle_attr){ __VA_ARGS__ }
static const ak_op triangle_op = {
    .name = "triangle",
    .formula = "y = x where j >= i + diagonal (upper) or j <= i + diagonal, else fill",
    .n_in = 1, .attr_size = sizeof(triangle_attr), .flags = AK_OP_MAKES_INF,
    .shape = triangle_shape, .forward = triangle_forward, .backward = triangle_backward,
    .samples = (const ak_sample[]){
        { .in = {{ 2, { 1, 1 } }}, TRIANGLE(false, 0, 0) },
        { .in = {{ 2, { 5, 5 } }}, TRIANGLE(true, 1, -3) },
        { .in = {{ 2, { 3, 7 } }}, TRIANGLE(false, 2, .5) },
        { .in = {{ 3, { 2, 4, 3 } }}, TRIANGLE(false, -1, 0) },
        { .in = {{ 4, { 2, 1, 4, 3 } }}, TRIANGLE(true, -2, 0) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 1, { 3 } }}, TRIANGLE(false, 0, 0) },
        { .in = {{ 0, { 0 } }}, TRIANGLE(true, 0, 0) },
        AK_END },
};
ak_tensor *ak_triangle(ak_tensor *x, bool upper, int diagonal, double fill)
{
    return ak_apply(&triangle_op, &x, 1, &(triangle_attr){ upper, diagonal, fill });
}

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_layout[] = {
    &concat_op, &stack_op, &slice_op, &transpose_op, &permute_op, &gather_rows_op,
    &scatter_add_rows_op, &embedding_op, &where_op, &diagonal_op, &triangle_op, &pick_op,
    &mask_op, &pair_diagonal_op, NULL
};
