/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays of a file as parts of tensors whose axes stand in another order. */
#include "nn/weights.h"

#include <string.h>

ak__layout ak__layout_plain(ak_shape shape)
{
    ak__layout l = { .shape = shape, .size = shape.n ? shape.dims[0] : 1 };
    for (int i = 0; i < AK_MAX_DIMS; i++)
        l.from[i] = i;
    return l;
}

bool ak__layout_axes(ak__layout *l, const char *axes)
{
    unsigned seen = 0;
    if ((int)strlen(axes) != l->shape.n)
        return false;
    for (int i = 0; i < l->shape.n; i++) {
        const int from = axes[i] - '0';
        if (from < 0 || from >= l->shape.n || (seen >> from & 1))
            return false;
        seen |= 1u << from;
        l->from[i] = from;
    }
    return true;
}

void ak__layout_conv(ak__layout *l)
{
    for (int i = 1; i < l->shape.n; i++)
        l->from[i] = i + 1 < l->shape.n ? i + 1 : 1;
}

bool ak__layout_part(ak__layout *l, int axis, int i, int n, const int *shares)
{
    if (axis < 0 || axis >= l->shape.n)
        return false;
    int64_t all = 0, before = 0;
    for (int k = 0; k < n; k++) {
        const int64_t share = shares ? shares[k] : 1;
        before += k < i ? share : 0;
        all += share;
    }
    const int64_t whole = l->shape.dims[axis];
    if (whole % all)
        return false;
    l->axis = axis;
    l->begin = whole / all * before;
    l->size = whole / all * (shares ? shares[i] : 1);
    return true;
}

static int64_t dim_of(const ak__layout *l, int axis)
{
    return axis == l->axis ? l->size : l->shape.dims[axis];
}

bool ak__layout_is_plain(const ak__layout *l)
{
    for (int i = 0; i < l->shape.n; i++)
        if (l->from[i] != i)
            return false;
    return l->shape.n == 0 || l->size == l->shape.dims[l->axis];
}

ak_shape ak__layout_shape(const ak__layout *l)
{
    ak_shape shape = { .n = l->shape.n };
    for (int i = 0; i < shape.n; i++)
        shape.dims[l->from[i]] = dim_of(l, i);
    return shape;
}

void ak__layout_walk(const ak__layout *l, ak__layout_row *row, void *user)
{
    const ak_shape shape = ak__layout_shape(l);
    int64_t step[AK_MAX_DIMS] = { 0 }, place[AK_MAX_DIMS] = { 0 }, stride = 1, at = 0, to = 0;
    int64_t rows = 1;
    for (int i = shape.n - 1; i >= 0; i--) {
        step[l->from[i]] = stride;
        to += i == l->axis ? l->begin * stride : 0;
        stride *= l->shape.dims[i];
    }
    const int     last = shape.n - 1;
    const int64_t n = shape.n ? shape.dims[last] : 1;
    for (int i = 0; i < last; i++)
        rows *= shape.dims[i];
    for (int64_t r = 0; r < rows && n > 0; r++, at += n) {
        row(user, at, n, to, shape.n ? step[last] : 1);
        for (int axis = last - 1; axis >= 0; axis--) {
            to += step[axis];
            if (++place[axis] < shape.dims[axis])
                break;
            to -= step[axis] * shape.dims[axis];
            place[axis] = 0;
        }
    }
}
