/* SPDX-License-Identifier: Apache-2.0 */
/* What the op families share: work in fixed spans, axes, sums over rows. */
#ifndef AK_OPS_COMMON_H
#define AK_OPS_COMMON_H

#include <string.h>

#include <akin/op.h>

#include "base/parallel.h"
#include "tensor/kernels/kernels.h"

/* Elements of one piece of work. A tensor of one span is done by the calling thread at once: even
 * an idle parallel region would cost more than a small op. */
#define AK__SPAN 16384

typedef void ak__span_fn(void *user, int64_t begin, int64_t end);

/* Run fn over [0, n) in spans. fn must write only what belongs to its own elements. */
static inline void ak__for_spans(int64_t n, ak__span_fn *fn, void *user)
{
    if (n <= AK__SPAN) {
        if (n > 0)
            fn(user, 0, n);
        return;
    }
    AK__PARALLEL_CHUNKS(c, n, AK__SPAN, begin, end)
        fn(user, begin, end);
}

/* The same over `rows` items of `width` elements each, never cutting an item. */
static inline void ak__for_rows(int64_t rows, int64_t width, ak__span_fn *fn, void *user)
{
    const int64_t size = width >= AK__SPAN ? 1 : AK__SPAN / (width > 0 ? width : 1);
    if (rows <= size) {
        if (rows > 0)
            fn(user, 0, rows);
        return;
    }
    AK__PARALLEL_CHUNKS(c, rows, size, begin, end)
        fn(user, begin, end);
}

/* How an op puts the n numbers of its output or of a gradient: `add` if that holds numbers. */
static inline ak__put ak__put_of(int64_t n, bool add)
{
    if (add)
        return AK__ADD;
    return n >= ak__k.past / (int64_t)sizeof(ak_real) ? AK__PAST : AK__SET;
}

/* The same for dx from ak_call_grad_over. */
static inline ak__put ak__put_over(const ak_call *k, const ak_real *dx, bool fresh)
{
    return dx == k->out->grad ? AK__SET : ak__put_of(k->out->size, !fresh);
}

/* At the end of a span whose results were put so. */
static inline void ak__put_end(ak__put put)
{
    if (put == AK__PAST)
        ak__k.fence();
}

/* A shape seen from one axis: [outer, n, inner]. */
typedef struct ak__axes { int axis; int64_t outer, n, inner; } ak__axes;

/* axis in [-rank, rank), from the end if negative; call ak__axis_check first. */
static inline ak__axes ak__axes_of(ak_shape s, int axis)
{
    ak__axes a = { .axis = axis < 0 ? axis + s.n : axis, .outer = 1, .inner = 1 };
    for (int d = 0; d < a.axis; d++)
        a.outer *= s.dims[d];
    a.n = s.dims[a.axis];
    for (int d = a.axis + 1; d < s.n; d++)
        a.inner *= s.dims[d];
    return a;
}

/* Is there such an axis in operand 0? Fails the call if not. */
static inline ak_status ak__axis_check(ak_call *k, int axis)
{
    const int n = k->in[0]->shape.n;
    if (axis < -n || axis >= n)
        return ak_call_fail(k, AK_ERR_SHAPE, "axis %d of a tensor with %d axes", axis, n);
    return AK_OK;
}

/* s with one axis of length 1. */
static inline ak_shape ak__shape_kept(ak_shape s, int axis)
{
    s.dims[axis] = 1;
    return s;
}

/* s without one axis. */
static inline ak_shape ak__shape_without(ak_shape s, int axis)
{
    for (int d = axis; d + 1 < s.n; d++)
        s.dims[d] = s.dims[d + 1];
    s.dims[--s.n] = 0;
    return s;
}

/* An operand that the op only reads: the operand list is not const. */
static inline ak_tensor *ak__as_operand(const ak_tensor *t)
{
    ak_tensor *in;
    memcpy(&in, &t, sizeof in);
    return in;
}

/* Sum of n numbers: kernel sums of short pieces, added in double, so that the error does not grow
 * with n. Pieces whose sum is too large for an ak_real are summed in double. reduce.c */
double ak__fine_sum(const ak_real *x, int64_t n);

/* Place of the first largest (or smallest) of n elements, `step` apart; the first NaN wins.
 * order.c */
int64_t ak__extreme_place(const ak_real *x, int64_t n, int64_t step, bool smallest);

extern const ak_op ak__op_var_axis;         /* variance.c, of the family in reduce.c */

/* sum += the sum of `parts` partial results of `size` numbers, added as a tree: the order depends
 * on their number alone, and rounding errors stay small. The parts are overwritten. reduce.c */
void ak__fold_parts(ak_real *sum, ak_real *part, int64_t parts, int64_t size);

/* sum[c] += sum_r x[r][c] in parallel, in an order that depends on R and C alone. Uses scratch of
 * the call, at most a sixteenth of x; false: out of memory (recorded). reduce.c */
bool ak__sum_rows(ak_call *k, ak_real *sum, const ak_real *x, int64_t R, int64_t C);

/* dx = or += dy over n elements */
static inline void ak__pass_span(ak_real *dx, const ak_real *dy, int64_t n, bool add)
{
    if (add)
        ak__k.add(dx, dx, dy, n);
    else
        memcpy(dx, dy, (size_t)n * sizeof *dx);
}

#endif
