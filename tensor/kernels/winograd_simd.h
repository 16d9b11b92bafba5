/* SPDX-License-Identifier: Apache-2.0 */
/* The transforms of winograd.h over vectors of channels; avx2.c and avx512.c include this file
 * after simd_entries.h. Even and odd powers of a pair of points are shared, so that a line of six
 * costs twelve operations. */

#ifdef __clang__
#define V_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define V_ROLLED _Pragma("GCC unroll 1")
#endif

/* One line of a transform: y = L x. */
V_INLINE void v_line_2(ak__winograd_kind kind, vf *y, const vf *x)
{
    const vf half = v_set1(0.5F);
    switch (kind) {
        case AK__WINOGRAD_INPUT:
            y[0] = v_sub(x[2], x[0]);
            y[1] = v_add(x[2], x[1]);
            y[2] = v_sub(x[2], x[1]);
            y[3] = v_sub(x[3], x[1]);
            break;
        case AK__WINOGRAD_OUTPUT:
            y[0] = v_add(x[0], v_add(x[1], x[2]));
            y[1] = v_add(x[3], v_sub(x[1], x[2]));
            break;
        case AK__WINOGRAD_WEIGHT: {
            const vf even = v_mul(half, v_add(x[0], x[2])), odd = v_mul(half, x[1]);
            y[0] = v_sub(v_zero(), x[0]);
            y[1] = v_add(even, odd);
            y[2] = v_sub(even, odd);
            y[3] = x[2];
            break;
        }
        case AK__WINOGRAD_DY:
            y[0] = x[0];
            y[1] = v_add(x[0], x[1]);
            y[2] = v_sub(x[0], x[1]);
            y[3] = x[1];
            break;
        case AK__WINOGRAD_DW: {
            const vf even = v_mul(half, v_add(x[1], x[2]));
            y[0] = v_sub(even, x[0]);
            y[1] = v_mul(half, v_sub(x[1], x[2]));
            y[2] = v_add(even, x[3]);
            break;
        }
        case AK__WINOGRAD_DATA_INPUT:
        case AK__WINOGRAD_DATA_OUTPUT: break;
    }
}

#define WINO_P  ((float)AK__WINOGRAD_P(4))
#define WINO_Q  ((float)AK__WINOGRAD_Q)
#define WINO_P2 (WINO_P * WINO_P)
#define WINO_Q2 (WINO_Q * WINO_Q)
/* one over the product of the distances of 0, P, Q to the other points */
#define WINO_G0 (1.0F / (WINO_P2 * WINO_Q2))
#define WINO_GP (1.0F / (2.0F * WINO_P2 * (WINO_P2 - WINO_Q2)))
#define WINO_GQ (1.0F / (2.0F * WINO_Q2 * (WINO_Q2 - WINO_P2)))

/* y[0] = even + p odd, y[1] = even - p odd */
V_INLINE void v_pair(vf *y, vf even, float p, vf odd)
{
    y[0] = v_fma(v_set1(p), odd, even);
    y[1] = v_fnma(v_set1(p), odd, even);
}

V_INLINE void v_line_4(ak__winograd_kind kind, vf *y, const vf *x)
{
    const vf p2 = v_set1(WINO_P2), q2 = v_set1(WINO_Q2);
    const vf sum = v_set1(WINO_P2 + WINO_Q2), product = v_set1(WINO_P2 * WINO_Q2);
    switch (kind) {
        case AK__WINOGRAD_INPUT:
            y[0] = v_fma(product, x[0], v_fnma(sum, x[2], x[4]));
            v_pair(y + 1, v_fnma(q2, x[2], x[4]), WINO_P, v_fnma(q2, x[1], x[3]));
            v_pair(y + 3, v_fnma(p2, x[2], x[4]), WINO_Q, v_fnma(p2, x[1], x[3]));
            y[5] = v_fma(product, x[1], v_fnma(sum, x[3], x[5]));
            break;
        case AK__WINOGRAD_OUTPUT: {
            const vf even_p = v_add(x[1], x[2]), odd_p = v_sub(x[1], x[2]);
            const vf even_q = v_add(x[3], x[4]), odd_q = v_sub(x[3], x[4]);
            y[0] = v_add(x[0], v_add(even_p, even_q));
            y[1] = v_fma(v_set1(WINO_P), odd_p, v_mul(v_set1(WINO_Q), odd_q));
            y[2] = v_fma(p2, even_p, v_mul(q2, even_q));
            y[3] = v_fma(v_set1(WINO_P2 * WINO_P), odd_p,
                         v_fma(v_set1(WINO_Q2 * WINO_Q), odd_q, x[5]));
            break;
        }
        case AK__WINOGRAD_WEIGHT:
            y[0] = v_mul(v_set1(WINO_G0), x[0]);
            v_pair(y + 1, v_mul(v_set1(WINO_GP), v_fma(p2, x[2], x[0])), WINO_GP * WINO_P, x[1]);
            v_pair(y + 3, v_mul(v_set1(WINO_GQ), v_fma(q2, x[2], x[0])), WINO_GQ * WINO_Q, x[1]);
            y[5] = x[2];
            break;
        case AK__WINOGRAD_DY:
            y[0] = x[0];
            v_pair(y + 1, v_fma(p2, x[2], x[0]), WINO_P, v_fma(p2, x[3], x[1]));
            v_pair(y + 3, v_fma(q2, x[2], x[0]), WINO_Q, v_fma(q2, x[3], x[1]));
            y[5] = x[3];
            break;
        case AK__WINOGRAD_DW: {
            const vf even_p = v_mul(v_set1(WINO_GP), v_add(x[1], x[2]));
            const vf even_q = v_mul(v_set1(WINO_GQ), v_add(x[3], x[4]));
            y[0] = v_fma(v_set1(WINO_G0), x[0], v_add(even_p, even_q));
            y[1] = v_fma(v_set1(WINO_GP * WINO_P), v_sub(x[1], x[2]),
                         v_mul(v_set1(WINO_GQ * WINO_Q), v_sub(x[3], x[4])));
            y[2] = v_fma(p2, even_p, v_fma(q2, even_q, x[5]));
            break;
        }
        case AK__WINOGRAD_DATA_INPUT:
        case AK__WINOGRAD_DATA_OUTPUT: break;
    }
}

/* ---- stride 2 -------------------------------------------------------------------------------- */

#define WINO2_P  ((float)AK__WINOGRAD_P_2)
#define WINO2_Q  ((float)AK__WINOGRAD_Q_2)
#define WINO2_P2 (WINO2_P * WINO2_P)
#define WINO2_Q2 (WINO2_Q * WINO2_Q)
/* one over the product of the distances of P, Q to the other points */
#define WINO2_GP (1.0F / (2.0F * WINO2_P * (WINO2_P2 - WINO2_Q2)))
#define WINO2_GQ (1.0F / (2.0F * WINO2_Q * (WINO2_Q2 - WINO2_P2)))

/* Points of five numbers, `step` apart. */
V_INLINE void v_points_in(vf *y, const vf *x, int step)
{
    const vf p2 = v_set1(WINO2_P2), q2 = v_set1(WINO2_Q2);
    const vf x2 = x[2 * step], x3 = x[3 * step];
    v_pair(y, v_fnma(q2, x[step], x3), WINO2_P, v_fnma(q2, x[0], x2));
    v_pair(y + 2, v_fnma(p2, x[step], x3), WINO2_Q, v_fnma(p2, x[0], x2));
    y[4] = v_fma(v_set1(WINO2_P2 * WINO2_Q2), x[0],
                 v_fnma(v_set1(WINO2_P2 + WINO2_Q2), x2, x[4 * step]));
}

/* Four results of five points. */
V_INLINE void v_points_out(vf *y, const vf *x)
{
    const vf even_p = v_add(x[0], x[1]), odd_p = v_sub(x[0], x[1]);
    const vf even_q = v_add(x[2], x[3]), odd_q = v_sub(x[2], x[3]);
    y[0] = v_add(even_p, even_q);
    y[1] = v_fma(v_set1(WINO2_P), odd_p, v_mul(v_set1(WINO2_Q), odd_q));
    y[2] = v_fma(v_set1(WINO2_P2), even_p, v_mul(v_set1(WINO2_Q2), even_q));
    y[3] = v_fma(v_set1(WINO2_P2 * WINO2_P), odd_p,
                 v_fma(v_set1(WINO2_Q2 * WINO2_Q), odd_q, x[4]));
}

V_INLINE void v_line_stride2(ak__winograd_kind kind, vf *y, const vf *x)
{
    const vf gpp = v_set1(WINO2_GP * WINO2_P), gqq = v_set1(WINO2_GQ * WINO2_Q);
    vf even[4];
    switch (kind) {
        case AK__WINOGRAD_INPUT:
            v_points_in(y, x, 2);
            V_UNROLL
            for (int j = 0; j < 4; j++)
                y[5 + j] = x[2 * j + 1];
            break;
        case AK__WINOGRAD_OUTPUT:
            v_points_out(even, x);
            V_UNROLL
            for (int j = 0; j < 4; j++)
                y[j] = v_add(even[j], x[5 + j]);
            break;
        case AK__WINOGRAD_WEIGHT:
            v_pair(y, v_mul(gpp, x[2]), WINO2_GP, x[0]);
            v_pair(y + 2, v_mul(gqq, x[2]), WINO2_GQ, x[0]);
            y[4] = x[2];
            y[5] = x[1];
            break;
        case AK__WINOGRAD_DATA_INPUT:
            v_points_in(y, x, 1);
            V_UNROLL
            for (int j = 0; j < 4; j++)
                y[5 + j] = x[j];
            break;
        case AK__WINOGRAD_DATA_OUTPUT:
            v_points_out(even, x);
            V_UNROLL
            for (int j = 0; j < 4; j++) {
                y[2 * j] = x[5 + j];
                y[2 * j + 1] = even[j];
            }
            break;
        case AK__WINOGRAD_DY:
        case AK__WINOGRAD_DW: break;    /* stride 1 only */
    }
}

V_INLINE void v_line(ak__winograd_kind kind, int stride, int m, vf *y, const vf *x)
{
    if (stride == 2)
        v_line_stride2(kind, y, x);
    else if (m == 2)
        v_line_2(kind, y, x);
    else
        v_line_4(kind, y, x);
}

/* ---- a tile ---------------------------------------------------------------------------------- */

static const float winograd_zeros[VW] = {0};

/* Rows of the first vector of a square, and their steps from column to column. Rows that do not
 * exist are one vector of zeros. */
V_INLINE void winograd_rows(const ak__winograd_square *q, int side, bool whole, int64_t at,
                            const float *rows[AK__WINOGRAD_T], int64_t steps[AK__WINOGRAD_T])
{
    V_UNROLL
    for (int i = 0; i < side; i++) {
        const bool there = whole || (i >= q->i0 && i < q->i1);
        rows[i] = there ? q->data + i * q->row + at : winograd_zeros;
        steps[i] = there ? q->column : 0;
    }
}

typedef vf vf_square[AK__WINOGRAD_T][AK__WINOGRAD_T];

/* Column j of the source, transformed. */
V_INLINE void v_column(ak__winograd_kind kind, int stride, int m, const ak__winograd_square *in,
                       const float *const *from, const int64_t *steps, int j, int lanes,
                       bool whole_in, vf_square half)
{
    const int rows = ak__winograd_side_out(kind, stride, m);
    const int columns = ak__winograd_side_in(kind, stride, m);
    const bool there = whole_in || (j >= in->j0 && j < in->j1);
    vf x[AK__WINOGRAD_T], y[AK__WINOGRAD_T];
    V_UNROLL
    for (int i = 0; i < columns; i++)
        x[i] = there ? v_get(from[i] + j * steps[i], lanes) : v_zero();
    v_line(kind, stride, m, y, x);
    V_UNROLL
    for (int i = 0; i < rows; i++)
        half[i][j] = y[i];
}

/* Row i of the result. y 0 is NaN if y is infinite or NaN, and stays in *seen. */
V_INLINE void v_row(ak__winograd_kind kind, int stride, int m, const ak__winograd_call *c,
                    const ak__winograd_square *out, int64_t at, int i, int lanes, bool plain_out,
                    const vf *half, vf *seen)
{
    const int rows = ak__winograd_side_out(kind, stride, m);
    const bool accumulate = !plain_out && c->accumulate, biased = !plain_out && c->bias;
    const vf bias = biased ? v_get(c->bias + at, lanes) : v_zero();
    float *to = out->data + i * out->row + at;
    vf y[AK__WINOGRAD_T];
    v_line(kind, stride, m, y, half);
    V_UNROLL
    for (int j = 0; j < rows; j++) {
        if (!plain_out && (i < out->i0 || i >= out->i1 || j < out->j0 || j >= out->j1))
            continue;
        float *p = to + j * out->column;
        vf z = biased ? v_add(y[j], bias) : y[j];
        if (ak__winograd_makes_results(kind))
            *seen = v_fma(y[j], v_zero(), *seen);
        if (accumulate) {
            const vf old = v_get(p, lanes);
            z = v_select(v_is_nan(v_sub(y[j], y[j])), old, v_add(old, z));
        }
        v_put(p, z, lanes);
    }
}

/* One vector of channels at `at`. What is constant where it is called makes the usual cases free
 * of branches: nothing is missing of the source (whole_in), nothing is missing of the result and
 * it is only written (plain_out). The squares are copies: a store could change *c, for all the
 * compiler knows. Squares of stride 2 are too large for registers: unrolled they would only be
 * long. */
V_INLINE void v_square(ak__winograd_kind kind, int stride, int m, const ak__winograd_call *c,
                       int64_t at, int lanes, bool whole_in, bool plain_out, vf *seen)
{
    const int rows = ak__winograd_side_out(kind, stride, m);
    const int columns = ak__winograd_side_in(kind, stride, m);
    const ak__winograd_square in = c->in, out = c->out;
    const float *from[AK__WINOGRAD_T];
    int64_t steps[AK__WINOGRAD_T];
    vf_square half;
    winograd_rows(&in, columns, whole_in, at, from, steps);
    if (stride == 2) {
        V_ROLLED
        for (int j = 0; j < columns; j++)
            v_column(kind, 2, m, &in, from, steps, j, lanes, whole_in, half);
        V_ROLLED
        for (int i = 0; i < rows; i++)
            v_row(kind, 2, m, c, &out, at, i, lanes, plain_out, half[i], seen);
        return;
    }
    V_UNROLL
    for (int j = 0; j < columns; j++)
        v_column(kind, 1, m, &in, from, steps, j, lanes, whole_in, half);
    V_UNROLL
    for (int i = 0; i < rows; i++)
        v_row(kind, 1, m, c, &out, at, i, lanes, plain_out, half[i], seen);
}

V_INLINE bool winograd_all(const ak__winograd_square *q, int side)
{
    return q->i0 == 0 && q->j0 == 0 && q->i1 == side && q->j1 == side;
}

V_INLINE bool winograd_run(ak__winograd_kind kind, int stride, int m, const ak__winograd_call *c)
{
    const bool whole = winograd_all(&c->in, ak__winograd_side_in(kind, stride, m));
    const bool full = winograd_all(&c->out, ak__winograd_side_out(kind, stride, m));
    int64_t at = 0;
    vf seen = v_zero();
    if (full && !c->bias && !c->accumulate) {
        for (; whole && at + VW <= c->n; at += VW)
            v_square(kind, stride, m, c, at, VW, true, true, &seen);
        for (; at + VW <= c->n; at += VW)
            v_square(kind, stride, m, c, at, VW, false, true, &seen);
    }
    for (; whole && at + VW <= c->n; at += VW)
        v_square(kind, stride, m, c, at, VW, true, false, &seen);
    for (; at < c->n; at += VW)
        v_square(kind, stride, m, c, at, c->n - at < VW ? (int)(c->n - at) : VW, false, false,
                 &seen);
    return !v_any(v_is_nan(seen));
}

#define WINOGRAD_STRIDE_1(kind)                                                                    \
    case kind:                                                                                     \
        return c->m == 2 ? winograd_run(kind, 1, 2, c) : winograd_run(kind, 1, 4, c);
#define WINOGRAD_CASE(kind)                                                                        \
    case kind:                                                                                     \
        if (c->stride == 2)                                                                        \
            return winograd_run(kind, 2, 4, c);                                                    \
        return c->m == 2 ? winograd_run(kind, 1, 2, c) : winograd_run(kind, 1, 4, c);

static bool FN(winograd)(ak__winograd_kind kind, const ak__winograd_call *c)
{
    if (c->stride == 1 && kind == AK__WINOGRAD_DATA_INPUT)
        kind = AK__WINOGRAD_INPUT;
    if (c->stride == 1 && kind == AK__WINOGRAD_DATA_OUTPUT)
        kind = AK__WINOGRAD_OUTPUT;
    switch (kind) {
        WINOGRAD_CASE(AK__WINOGRAD_INPUT)
        WINOGRAD_CASE(AK__WINOGRAD_OUTPUT)
        WINOGRAD_CASE(AK__WINOGRAD_WEIGHT)
        WINOGRAD_STRIDE_1(AK__WINOGRAD_DY)
        WINOGRAD_STRIDE_1(AK__WINOGRAD_DW)
        case AK__WINOGRAD_DATA_INPUT:
            return winograd_run(AK__WINOGRAD_DATA_INPUT, 2, 4, c);
        case AK__WINOGRAD_DATA_OUTPUT:
            return winograd_run(AK__WINOGRAD_DATA_OUTPUT, 2, 4, c);
    }
    return true;
}
