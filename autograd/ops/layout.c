/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move numbers: joining, cutting, reordering axes. */
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* ---- strips: rows of `width` elements between arrays with other row lengths ------------------ */

typedef struct strips { ak_real *to; const ak_real *from; int64_t ld_to, ld_from, width; bool add; }
    strips;

static void strips_span(void *user, int64_t begin, int64_t end)
{
    const strips *u = user;
    for (int64_t r = begin; r < end; r++)
        ak__pass_span(u->to + r * u->ld_to, u->from + r * u->ld_from, u->width, u->add);
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
    .reads = AK_READS_NONE,
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
    if (!AK__GIVEN(NULL, x))
        return &ak__poison;
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
            ak__pass_span(dx, k->out->grad + i * n, n, !fresh);
    }
}

static const ak_op stack_op = {
    .name = "stack", .formula = "y[i] = x[i]", .n_in = 2, .flags = AK_OP_VARIADIC,
    .shape = stack_shape, .forward = stack_forward, .backward = stack_backward,
    .reads = AK_READS_NONE,
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
    if (!AK__GIVEN(NULL, x))
        return &ak__poison;
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
    .reads = AK_READS_NONE,
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
    for (int i = 0; out && i < parts; i++)
        out[i] = &ak__poison;
    if (!AK__TENSOR(NULL, x) || !AK__GIVEN(x->ctx, out))
        return ak__refused(x ? x->ctx : NULL);
    ak_ctx *ctx = x->ctx;
    char text[AK_SHAPE_TEXT];
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
    .reads = AK_READS_NONE,
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
    .reads = AK_READS_NONE,
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
    if (!AK__TENSOR(NULL, x) || !AK__GIVEN(x->ctx, axes))
        return &ak__poison;
    permute_attr o = { .n = x->shape.n };
    if (o.n > 0)
        memcpy(o.axes, axes, (size_t)o.n * sizeof *axes);
    return ak_apply(&permute_op, &x, 1, &o);
}
/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_layout[] = {
    &concat_op, &stack_op, &slice_op, &transpose_op, &permute_op, NULL
};
