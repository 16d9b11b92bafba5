/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by segment: sum, mean, largest, softmax over the rows that have the same number. Each block
 * of columns of a segment is one piece of work, whose rows are taken in order. */
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"

typedef struct segment_attr { int64_t count; } segment_attr;

enum { BLOCK = 64 };            /* columns whose sums are kept in double at once */

/* x is seen as [N, D]. Rows of segment s are row[start[s]] .. row[start[s + 1] - 1]. */
typedef struct segments {
    ak_call *k;
    int64_t  S, D, blocks;
    int64_t *start, *row;
    ak_real *dx;
    bool     mean;
    int64_t *winner;            /* [S, D], of the largest; -1 = none, NULL = not wanted */
} segments;

/* Rows in order of their segments (counting sort). False: out of memory. */
static bool sort_rows(ak_call *k, segments *g)
{
    const ak_index *ids = k->index[0];
    const int64_t S = ((const segment_attr *)k->attr)->count, N = ids->size;
    *g = (segments){ .k = k, .S = S, .D = N ? k->in[0]->size / N : 0 };
    g->blocks = ak__chunk_count(g->D, BLOCK);
    g->start = ak_call_scratch(k, (size_t)(S + 2) * sizeof *g->start);
    g->row = ak_call_scratch(k, (size_t)(N + 1) * sizeof *g->row);
    if (!g->start || !g->row)
        return false;
    memset(g->start, 0, (size_t)(S + 2) * sizeof *g->start);
    for (int64_t i = 0; i < N; i++)
        g->start[ids->data[i] + 2]++;
    for (int64_t s = 0; s < S; s++)
        g->start[s + 2] += g->start[s + 1];
    for (int64_t i = 0; i < N; i++)         /* start[s + 1] runs from where s begins to its end */
        g->row[g->start[ids->data[i] + 1]++] = i;
    return true;
}

static void each_block(segments *g, ak__span_fn *fn)
{
    const int64_t rows = g->S ? g->k->index[0]->size / g->S + 1 : 0;
    ak__for_rows(g->S * g->blocks, rows * BLOCK, fn, g);
}

/* What a piece of work covers: rows `from` .. `to` of the order, columns j .. j + width. */
typedef struct block { int64_t s, from, to, j, width; } block;

static block block_at(const segments *g, int64_t b)
{
    const int64_t s = b / g->blocks, j = b % g->blocks * BLOCK;
    return (block){ s, g->start[s], g->start[s + 1], j, g->D - j < BLOCK ? g->D - j : BLOCK };
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static ak_status segment_check(ak_call *k)
{
    const int64_t S = ((const segment_attr *)k->attr)->count;
    if (k->in[0]->shape.n < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "there are no rows in a scalar");
    if (S < 0)
        return ak_call_fail(k, AK_ERR_VALUE, "%lld segments: the number is negative", (long long)S);
    const ak_status status = ak_call_index_shape(k, 0, AK_SHAPE(k->in[0]->shape.dims[0]));
    return status == AK_OK ? ak_call_index_range(k, 0, 0, S) : status;
}

/* [N, ..] -> [S, ..] */
static ak_status segment_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    k->out->shape.dims[0] = ((const segment_attr *)k->attr)->count;
    return segment_check(k);
}

static ak_status segment_softmax_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return segment_check(k);
}

static double segment_flops(const ak_call *k) { return (double)k->in[0]->size; }

/* ---- sum and mean ---------------------------------------------------------------------------- */

static void sum_span(void *user, int64_t begin, int64_t end)
{
    const segments *g = user;
    const ak_real *x = g->k->in[0]->data;
    for (int64_t i = begin; i < end; i++) {
        const block b = block_at(g, i);
        double sum[BLOCK] = { 0 };
        for (int64_t r = b.from; r < b.to; r++)
            for (int64_t c = 0; c < b.width; c++)
                sum[c] += (double)x[g->row[r] * g->D + b.j + c];
        const double n = g->mean && b.to > b.from ? (double)(b.to - b.from) : 1;
        for (int64_t c = 0; c < b.width; c++)
            g->k->out->data[b.s * g->D + b.j + c] = (ak_real)(sum[c] / n);
    }
}

static void sum_forward(ak_call *k, bool mean)
{
    segments g;
    if (k->index[0]->size == 0) {           /* no row says how long one is */
        memset(k->out->data, 0, (size_t)k->out->size * sizeof(ak_real));
        return;
    }
    if (!sort_rows(k, &g))
        return;
    g.mean = mean;
    each_block(&g, sum_span);
}

static void segment_sum_forward(ak_call *k) { sum_forward(k, false); }
static void segment_mean_forward(ak_call *k) { sum_forward(k, true); }

/* dx[i] += dy[ids[i]], or that divided by the rows of the segment */
static void sum_slope_span(void *user, int64_t begin, int64_t end)
{
    const segments *g = user;
    const ak_real *dy = g->k->out->grad;
    for (int64_t i = begin; i < end; i++) {
        const int64_t s = g->k->index[0]->data[i];
        const ak_real n = g->mean ? (ak_real)(g->start[s + 1] - g->start[s]) : 1;
        for (int64_t c = 0; c < g->D; c++)
            g->dx[i * g->D + c] += dy[s * g->D + c] / n;
    }
}

static void sum_backward(ak_call *k, bool mean)
{
    segments g;
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx || k->in[0]->size == 0 || !sort_rows(k, &g))
        return;
    g.dx = dx;
    g.mean = mean;
    ak__for_rows(k->index[0]->size, g.D, sum_slope_span, &g);
}

static void segment_sum_backward(ak_call *k) { sum_backward(k, false); }
static void segment_mean_backward(ak_call *k) { sum_backward(k, true); }

/* ---- largest --------------------------------------------------------------------------------- */

static void max_span(void *user, int64_t begin, int64_t end)
{
    const segments *g = user;
    const ak_real *x = g->k->in[0]->data;
    for (int64_t i = begin; i < end; i++) {
        const block b = block_at(g, i);
        for (int64_t c = 0; c < b.width; c++) {
            const int64_t to = b.s * g->D + b.j + c;
            int64_t best = -1;
            ak_real v = -(ak_real)INFINITY;
            for (int64_t r = b.from; r < b.to && v == v; r++) {     /* the first NaN wins */
                const ak_real one = x[g->row[r] * g->D + b.j + c];
                if (best < 0 || one > v || one != one) {
                    v = one;
                    best = g->row[r];
                }
            }
            g->k->out->data[to] = v;
            if (g->winner)
                g->winner[to] = best;
        }
    }
}

static void segment_max_forward(ak_call *k)
{
    const int64_t n = k->out->size;
    segments g;
    int64_t *winner = NULL;
    if (ak_call_recorded(k)) {
        winner = ak_call_save(k, (size_t)(n + 1) * sizeof *winner);
        if (!winner)
            return;
    }
    if (k->index[0]->size == 0) {
        for (int64_t i = 0; i < n; i++) {
            k->out->data[i] = -(ak_real)INFINITY;
            if (winner)
                winner[i] = -1;
        }
        return;
    }
    if (!sort_rows(k, &g))
        return;
    g.winner = winner;
    each_block(&g, max_span);
}

static void segment_max_backward(ak_call *k)
{
    const int64_t *winner = k->saved, N = k->index[0]->size, D = N ? k->in[0]->size / N : 0;
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        if (winner[i] >= 0)
            dx[winner[i] * D + i % D] += k->out->grad[i];
}

/* ---- softmax --------------------------------------------------------------------------------- */

static void softmax_span(void *user, int64_t begin, int64_t end)
{
    const segments *g = user;
    const ak_real *x = g->k->in[0]->data;
    for (int64_t i = begin; i < end; i++) {
        const block b = block_at(g, i);
        ak_real top[BLOCK];
        double sum[BLOCK] = { 0 };
        for (int64_t c = 0; c < b.width; c++)
            top[c] = -(ak_real)INFINITY;
        for (int64_t r = b.from; r < b.to; r++)
            for (int64_t c = 0; c < b.width; c++) {
                const ak_real one = x[g->row[r] * g->D + b.j + c];
                top[c] = one > top[c] ? one : top[c];
            }
        for (int64_t c = 0; c < b.width; c++)
            top[c] = ak__fabs(top[c]) <= AK_REAL_MAX ? top[c] : 0;
        for (int64_t r = b.from; r < b.to; r++) {
            ak_real *y = g->k->out->data + g->row[r] * g->D + b.j;
            ak__k.sub(y, x + g->row[r] * g->D + b.j, top, b.width);
            ak__k.exp(y, y, b.width);
            for (int64_t c = 0; c < b.width; c++)
                sum[c] += (double)y[c];
        }
        for (int64_t r = b.from; r < b.to; r++) {
            ak_real *y = g->k->out->data + g->row[r] * g->D + b.j;
            for (int64_t c = 0; c < b.width; c++)       /* only -inf: zeros */
                y[c] = sum[c] == 0 ? 0 : (ak_real)((double)y[c] / sum[c]);
        }
    }
}

static void segment_softmax_forward(ak_call *k)
{
    segments g;
    if (k->in[0]->size && sort_rows(k, &g))
        each_block(&g, softmax_span);
}

/* dx += y (dy - <dy, y> of the segment) */
static void softmax_slope_span(void *user, int64_t begin, int64_t end)
{
    const segments *g = user;
    for (int64_t i = begin; i < end; i++) {
        const block b = block_at(g, i);
        double dot[BLOCK] = { 0 };
        for (int64_t r = b.from; r < b.to; r++) {
            const int64_t at = g->row[r] * g->D + b.j;
            for (int64_t c = 0; c < b.width; c++)
                dot[c] += (double)g->k->out->data[at + c] * (double)g->k->out->grad[at + c];
        }
        for (int64_t r = b.from; r < b.to; r++) {
            const int64_t at = g->row[r] * g->D + b.j;
            for (int64_t c = 0; c < b.width; c++)
                g->dx[at + c] += g->k->out->data[at + c] *
                                 (g->k->out->grad[at + c] - (ak_real)dot[c]);
        }
    }
}

static void segment_softmax_backward(ak_call *k)
{
    segments g;
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx || k->in[0]->size == 0 || !sort_rows(k, &g))
        return;
    g.dx = dx;
    each_block(&g, softmax_slope_span);
}

/* ---- the records ----------------------------------------------------------------------------- */

#define IDS(n, count, ...)                                                                         \
    .attr = &(const segment_attr){ count }, .flags = AK_SAMPLE_DISTINCT,                           \
    .index = { { { 1, { n } }, (const int32_t[]){ __VA_ARGS__ } } }

/* One row, all rows in one segment, rows of no order, no axis but the rows, several blocks. */
#define SEGMENT_SAMPLES                                                                            \
    { .in = {{ 2, { 1, 1 } }}, IDS(1, 1, 0) },                                                     \
    { .in = {{ 2, { 5, 3 } }}, IDS(5, 3, 0, 2, 0, 1, 2) },                                         \
    { .in = {{ 3, { 4, 2, 3 } }}, IDS(4, 1, 0, 0, 0, 0) },                                         \
    { .in = {{ 1, { 7 } }}, IDS(7, 3, 2, 0, 1, 0, 2, 2, 0) },                                      \
    { .in = {{ 2, { 6, 67 } }}, IDS(6, 3, 0, 0, 1, 2, 2, 2) },
/* Segments without rows, whose largest has no derivative. */
#define EMPTY_SAMPLES                                                                              \
    { .in = {{ 2, { 5, 3 } }}, IDS(5, 4, 0, 2, 0, 3, 2) },                                         \
    { .in = {{ 3, { 4, 2, 3 } }}, IDS(4, 3, 1, 1, 1, 1) },
#define NO_MORE
#define SEGMENT_MISUSE                                                                             \
    { .in = {{ 2, { 3, 2 } }}, IDS(3, 2, 0, 1, 2) },                                               \
    { .in = {{ 2, { 3, 2 } }}, IDS(3, 2, 0, 1, -1) },                                              \
    { .in = {{ 2, { 3, 2 } }}, IDS(2, 2, 0, 1) }, { .in = {{ 0, { 0 } }}, IDS(1, 1, 0) },          \
    { .in = {{ 2, { 3, 2 } }}, IDS(3, -1, 0, 0, 0) }

#define SEGMENT_OP(id, text, shape_fn, more_flags, looks_at, more_samples)                         \
    static const ak_op id##_op = {                                                                 \
        .name = #id, .formula = text, .n_in = 1, .attr_size = sizeof(segment_attr),                \
        .flags = more_flags, .n_index = 1, .indices = "ids",                                       \
        .shape = shape_fn, .forward = id##_forward, .backward = id##_backward,                     \
        .flops = segment_flops, .reads = looks_at,                                                 \
        .samples = (const ak_sample[]){ SEGMENT_SAMPLES more_samples AK_END },                     \
        .misuse = (const ak_sample[]){ SEGMENT_MISUSE, AK_END },                                   \
    };                                                                                             \
    ak_tensor *ak_##id(ak_tensor *x, ak_index *ids, int64_t count)                                 \
    {                                                                                              \
        return ak_apply_all(&id##_op, (ak_operands){ &x, 1, &ids, 1 },                             \
                            &(segment_attr){ count }).out;                                         \
    }

SEGMENT_OP(segment_sum, "y[s] = sum of x[i] with ids[i] = s", segment_shape, 0, AK_READS_NONE,
           EMPTY_SAMPLES)
SEGMENT_OP(segment_mean, "y[s] = mean of x[i] with ids[i] = s; 0 if there are none", segment_shape,
           0, AK_READS_NONE, EMPTY_SAMPLES)
SEGMENT_OP(segment_max, "y[s] = largest x[i] with ids[i] = s; -inf if there are none",
           segment_shape, AK_OP_MAKES_INF, AK_READS_NONE, NO_MORE)
SEGMENT_OP(segment_softmax, "y[i] = e^x[i] / sum of e^x[j] with ids[j] = ids[i]",
           segment_softmax_shape, 0, AK_READS_OUT, EMPTY_SAMPLES)

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_segment[] = {
    &segment_sum_op, &segment_mean_op, &segment_max_op, &segment_softmax_op, NULL
};
