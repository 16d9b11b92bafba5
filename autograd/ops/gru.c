/* SPDX-License-Identifier: Apache-2.0 */
/* The gated recurrent unit over whole sequences, in one direction or both.
 *
 * What x adds to the gates of all steps is one product. Then threads share the samples: each runs
 * its own through all steps without waiting for others, a product with the packed recurrent weights
 * and a fused kernel a step. Samples are run longest first, so that those that have ended need no
 * work. Backward runs the same samples from the end, and all weight gradients are products over all
 * steps afterwards.
 *
 * The valid steps of all samples stand behind each other in what is kept and in the products: what
 * x and dy hold in padding is never read. A sample's numbers depend on nothing but its own, and
 * sums over steps are products, so the bits are the same for any number of threads. */
#include <inttypes.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/carve.h"
#include "tensor/gemm.h"
#include "tensor/panels.h"

enum { X, W_IH, W_HH, INITIAL, W_IH_REVERSE, W_HH_REVERSE, B_IH, B_HH, B_IH_REVERSE, B_HH_REVERSE,
       OPERANDS };

/* Operands of a direction. */
static const int w_ih_of[2] = { W_IH, W_IH_REVERSE }, w_hh_of[2] = { W_HH, W_HH_REVERSE };
static const int b_ih_of[2] = { B_IH, B_IH_REVERSE }, b_hh_of[2] = { B_HH, B_HH_REVERSE };

static int directions_of(const ak_call *k)
{
    return k->in[W_IH_REVERSE] || k->in[W_HH_REVERSE] ? 2 : 1;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static ak_status check_matrix(ak_call *k, int i, int64_t rows, int64_t columns)
{
    static const char *const names[] = { "x", "w_ih", "w_hh", "initial", "w_ih_reverse",
                                         "w_hh_reverse" };
    const ak_tensor *w = k->in[i];
    if (!w)
        return ak_call_fail(k, AK_ERR_VALUE, "%s is missing: two directions need both matrices",
                            names[i]);
    if (w->shape.n != 2 || w->shape.dims[0] != rows || w->shape.dims[1] != columns)
        return ak_call_fail(k, AK_ERR_SHAPE, "%s must be [%" PRId64 ",%" PRId64 "]", names[i],
                            rows, columns);
    return AK_OK;
}

static ak_status check_bias(ak_call *k, int i, int64_t size, int directions)
{
    const ak_tensor *b = k->in[i];
    if (!b)
        return AK_OK;
    if (directions == 1 && i >= B_IH_REVERSE)
        return ak_call_fail(k, AK_ERR_VALUE, "a bias of the other direction, without its weights");
    if (b->shape.n != 1 || b->shape.dims[0] != size)
        return ak_call_fail(k, AK_ERR_SHAPE, "a bias must be [%" PRId64 "], three gates", size);
    return AK_OK;
}

static ak_status gru_shape(ak_call *k)
{
    const ak_tensor *x = k->in[X], *w = k->in[W_HH];
    if (x->shape.n != 3)
        return ak_call_fail(k, AK_ERR_SHAPE, "x must be [N, T, I]");
    if (w->shape.n != 2 || w->shape.dims[1] < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "w_hh must be [3 H, H]");
    const int64_t N = x->shape.dims[0], T = x->shape.dims[1], I = x->shape.dims[2];
    const int64_t H = w->shape.dims[1], directions = directions_of(k);
    ak_status s = AK_OK;
    for (int d = 0; s == AK_OK && d < directions; d++) {
        s = check_matrix(k, w_ih_of[d], 3 * H, I);
        s = s == AK_OK ? check_matrix(k, w_hh_of[d], 3 * H, H) : s;
    }
    for (int i = B_IH; s == AK_OK && i < OPERANDS; i++)
        s = check_bias(k, i, 3 * H, (int)directions);
    const ak_tensor *h0 = k->in[INITIAL];
    if (s == AK_OK && h0 && !ak_shape_equal(h0->shape, AK_SHAPE(N, directions, H)))
        s = ak_call_fail(k, AK_ERR_SHAPE, "the initial state must be [%" PRId64 ",%" PRId64
                         ",%" PRId64 "]: samples, directions, H", N, directions, H);
    s = s == AK_OK ? ak_call_index_shape(k, 0, AK_SHAPE(N)) : s;
    s = s == AK_OK ? ak_call_index_range(k, 0, 0, T + 1) : s;
    k->out->shape = AK_SHAPE(N, T, directions * H);
    return s;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Samples of one thread's piece: many for each time that the weights are read, few enough that
 * state and products stay in L2 beside them. */
#define TILE_MOST 64
#define TILE_UNIT 8

typedef struct gru {
    ak_call *k;
    int64_t  N, T, I, H;
    int64_t  R;                 /* valid steps of all samples */
    int      directions;
    int64_t  tile, tiles;       /* samples of a piece, pieces */
    int64_t *order;             /* [N] samples, longest first */
    int64_t *start, *length;    /* [N] first row of a sample, its rows */
    bool     packed;            /* is there padding? Else row n T + t is step t of sample n */
    bool     keep;              /* for backward */
    int64_t  wide;              /* numbers of a row of gates: 4 H, or 3 H if nothing is kept */
    const ak_real *x;           /* [R, I] */
    ak_real *room;              /* of each thread: state, a step's product, [tile, 4 H] */
    int64_t  need;              /* numbers of one */

    /* of the direction that runs: */
    int        direction;
    ak__panels weights;         /* recurrent, packed */
    ak_real   *gates;           /* [R, wide] */
    ak_real   *slopes;          /* [R, 4 H] of backward, */
    ak_real   *before;          /* [R, H] states before each step, */
    ak_real   *d_initial;       /* [N, directions, H] or NULL */
    const ak_real *zeros;       /* [H] */
} gru;

/* Longest first, equal ones in their order: lengths are small numbers, so they are counted. `count`
 * has T + 2 places. */
static void sort_samples(gru *g, int64_t *count)
{
    memset(count, 0, (size_t)(g->T + 2) * sizeof *count);
    for (int64_t n = 0; n < g->N; n++)
        count[g->T - g->length[n] + 1]++;
    for (int64_t t = 0; t <= g->T; t++)
        count[t + 1] += count[t];
    for (int64_t n = 0; n < g->N; n++)
        g->order[count[g->T - g->length[n]]++] = n;
}

static gru sizes_of(ak_call *k)
{
    const int64_t *d = k->in[X]->shape.dims;
    gru g = { .k = k, .N = d[0], .T = d[1], .I = d[2], .H = k->in[W_HH]->shape.dims[1],
              .directions = directions_of(k) };
    const ak_index *lengths = k->index[0];
    for (int64_t n = 0; n < g.N; n++)
        g.R += lengths ? lengths->data[n] : g.T;
    g.packed = g.R < g.N * g.T;
    const int64_t threads = ak__in_parallel() ? 1 : ak__max_threads();
    const int64_t share = ak__ceil_div(g.N, threads), turns = ak__ceil_div(share, TILE_MOST);
    g.tile = ak__round_to(ak__ceil_div(share, ak__max(1, turns)), TILE_UNIT);
    g.tile = ak__max(TILE_UNIT, g.tile);
    g.tiles = ak__ceil_div(g.N, g.tile);
    g.need = ak__round_to(g.tile * 4 * g.H, 16);
    return g;
}

/* What both passes need of one piece of scratch. */
static void carve_plan(gru *g, ak__carver *c)
{
    const int64_t threads = ak__in_parallel() ? 1 : ak__max_threads();
    g->order = ak__carve(c, g->N, sizeof *g->order);
    g->start = ak__carve(c, g->N, sizeof *g->start);
    g->length = ak__carve(c, g->N, sizeof *g->length);
    g->room = ak__carve_reals(c, threads * g->need);
}

static void fill_plan(gru *g, int64_t *count)
{
    const ak_index *lengths = g->k->index[0];
    int64_t row = 0;
    for (int64_t n = 0; n < g->N; n++) {
        g->length[n] = lengths ? lengths->data[n] : g->T;
        g->start[n] = row;
        row += g->length[n];
    }
    sort_samples(g, count);
}

/* ---- rows of padded arrays ------------------------------------------------------------------- */

typedef struct rows_work {
    const gru *g;
    ak_real *compact, *padded;
    int64_t  D;
    bool     add;
} rows_work;

/* compact = the valid rows of padded [N, T, D] */
static void gather_span(void *user, int64_t begin, int64_t end)
{
    const rows_work *w = user;
    for (int64_t n = begin; n < end; n++)
        memcpy(w->compact + w->g->start[n] * w->D, w->padded + n * w->g->T * w->D,
               (size_t)(w->g->length[n] * w->D) * sizeof *w->compact);
}

/* padded = or += compact; rows of padding get 0. */
static void spread_span(void *user, int64_t begin, int64_t end)
{
    const rows_work *w = user;
    for (int64_t n = begin; n < end; n++) {
        const int64_t valid = w->g->length[n] * w->D, all = w->g->T * w->D;
        ak_real *to = w->padded + n * all;
        ak__pass_span(to, w->compact + w->g->start[n] * w->D, valid, w->add);
        if (!w->add)
            memset(to + valid, 0, (size_t)(all - valid) * sizeof *to);
    }
}

/* x, or its valid rows in `to`. */
static const ak_real *valid_x(const gru *g, ak_real *to)
{
    ak_real *x = g->k->in[X]->data;
    if (!g->packed)
        return x;
    rows_work w = { .g = g, .compact = to, .padded = x, .D = g->I };
    ak__for_rows(g->N, g->T * g->I, gather_span, &w);
    return to;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The step that sample n takes as number s. */
static int64_t step_of(const gru *g, int64_t n, int64_t s)
{
    return g->direction ? g->length[n] - 1 - s : s;
}

/* Place of a state in an array [N, T, directions, H]. */
static int64_t place_of(const gru *g, int64_t n, int64_t t)
{
    return ((n * g->T + t) * g->directions + g->direction) * g->H;
}

/* The initial state of sample n; zeros. */
static const ak_real *initial_of(const gru *g, int64_t n)
{
    const ak_tensor *h0 = g->k->in[INITIAL];
    return h0 ? h0->data + (n * g->directions + g->direction) * g->H : g->zeros;
}

/* How many of the first `m` samples from `order` on have more than s steps. */
static int64_t still_running(const gru *g, const int64_t *order, int64_t m, int64_t s)
{
    while (m > 0 && g->length[order[m - 1]] <= s)
        m--;
    return m;
}

static void forward_tile(const gru *g, int64_t tile, ak_real *room)
{
    const int64_t H = g->H, *order = g->order + tile * g->tile;
    const ak_tensor *bias = g->k->in[b_hh_of[g->direction]];
    ak_real *state = room, *product = room + g->tile * H;
    int64_t m = ak__min(g->tile, g->N - tile * g->tile);
    for (int64_t i = 0; i < m; i++)
        memcpy(state + i * H, initial_of(g, order[i]), (size_t)H * sizeof *state);
    for (int64_t s = 0; (m = still_running(g, order, m, s)) > 0; s++) {
        ak__panels_multiply_rows(state, H, m, &g->weights, product, 3 * H, false);
        for (int64_t i = 0; i < m; i++) {
            const int64_t n = order[i], t = step_of(g, n, s);
            ak__k.gru_step(g->gates + (g->start[n] + t) * g->wide, product + i * 3 * H,
                           bias ? bias->data : NULL, state + i * H, state + i * H,
                           g->k->out->data + place_of(g, n, t), H, g->keep);
        }
    }
}

/* Steps that are padding. */
static void clear_span(void *user, int64_t begin, int64_t end)
{
    const gru *g = user;
    const int64_t D = g->directions * g->H;
    for (int64_t n = begin; n < end; n++)
        memset(g->k->out->data + (n * g->T + g->length[n]) * D, 0,
               (size_t)((g->T - g->length[n]) * D) * sizeof(ak_real));
}

static void forward_direction(gru *g, ak_real *panels)
{
    const int d = g->direction;
    const ak_tensor *bias = g->k->in[b_ih_of[d]];
    const ak__epilogue add = { .bias = bias ? bias->data : NULL };
    ak__gemm(AK__NT, g->R, 3 * g->H, g->I, 1, g->x, g->I, g->k->in[w_ih_of[d]]->data, g->I, 0,
             g->gates, g->wide, &add);
    g->weights = ak__panels_pack(panels, g->k->in[w_hh_of[d]]->data, g->H, false, 3 * g->H, g->H, 1,
                                 AK__RIGHT);
    AK__PARALLEL_FOR_DYNAMIC(i, g->tiles, g->tiles > 1)
        forward_tile(g, i, g->room + ak__thread_id() * g->need);
}

static void gru_forward(ak_call *k)
{
    gru g = sizes_of(k);
    g.keep = ak_call_recorded(k);
    g.wide = (g.keep ? 4 : 3) * g.H;
    ak_real *gates = g.keep ? ak_call_save(k, (size_t)(g.directions * g.R * g.wide + 1) *
                                              sizeof *gates) : NULL;
    ak_real *x = NULL, *panels = NULL, *zeros = NULL;
    int64_t *count = NULL;
    ak__carver c = { 0 };
    for (int pass = 0; pass < 2; pass++) {
        carve_plan(&g, &c);
        count = ak__carve(&c, g.T + 2, sizeof *count);
        zeros = ak__carve_reals(&c, g.H);
        panels = ak__carve_reals(&c, ak__panels_size(3 * g.H, g.H, AK__RIGHT));
        x = ak__carve_reals(&c, g.packed ? g.R * g.I : 0);
        if (!g.keep)
            gates = ak__carve_reals(&c, g.R * g.wide);
        if (pass == 0)
            c = (ak__carver){ .base = ak_call_scratch(k, c.used + 64) };
        if (!c.base)
            return;
    }
    if (!gates)
        return;
    fill_plan(&g, count);
    memset(zeros, 0, (size_t)g.H * sizeof *zeros);
    g.zeros = zeros;
    g.x = valid_x(&g, x);
    if (g.packed)
        ak__for_rows(g.N, g.T * g.directions * g.H, clear_span, &g);
    for (g.direction = 0; g.direction < g.directions; g.direction++) {
        g.gates = gates + (g.keep ? g.direction * g.R * g.wide : 0);
        forward_direction(&g, panels);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

static void backward_tile(const gru *g, int64_t tile, ak_real *room)
{
    const int64_t H = g->H, *order = g->order + tile * g->tile;
    const int64_t most = ak__min(g->tile, g->N - tile * g->tile);
    ak_real *carry = room, *step = room + g->tile * H;
    const ak_real *y = g->k->out->data, *dy = g->k->out->grad;
    memset(carry, 0, (size_t)(most * H) * sizeof *carry);
    int64_t m = 0;
    for (int64_t s = most > 0 ? g->length[order[0]] : 0; s-- > 0;) {
        while (m < most && g->length[order[m]] > s)
            m++;
        for (int64_t i = 0; i < m; i++) {
            const int64_t n = order[i], t = step_of(g, n, s), row = g->start[n] + t;
            const ak_real *h = s > 0 ? y + place_of(g, n, step_of(g, n, s - 1)) : initial_of(g, n);
            ak__k.gru_slope(g->slopes + row * 4 * H, step + i * 3 * H, carry + i * H,
                            g->gates + row * 4 * H, h, dy + place_of(g, n, t), H);
            memcpy(g->before + row * H, h, (size_t)H * sizeof *h);
        }
        if (s > 0 || g->d_initial)
            ak__panels_multiply_rows(step, 3 * H, m, &g->weights, carry, H, true);
    }
    for (int64_t i = 0; g->d_initial && i < most; i++) {
        ak_real *d = g->d_initial + (order[i] * g->directions + g->direction) * H;
        ak__k.add(d, d, carry + i * H, H);
    }
}

/* Gradients of a direction's biases. The slopes' columns are c, r, z, m. */
static bool bias_gradients(const gru *g, ak_real *sums)
{
    ak_call *k = g->k;
    const int d = g->direction;
    const int64_t H = g->H;
    ak_real *db_ih = k->in[b_ih_of[d]] ? ak_call_grad(k, b_ih_of[d]) : NULL;
    ak_real *db_hh = k->in[b_hh_of[d]] ? ak_call_grad(k, b_hh_of[d]) : NULL;
    if (!db_ih && !db_hh)
        return true;
    memset(sums, 0, (size_t)(4 * H) * sizeof *sums);
    if (!ak__sum_rows(k, sums, g->slopes, g->R, 4 * H))
        return false;
    if (db_ih)
        ak__k.add(db_ih, db_ih, sums + H, 3 * H);
    if (db_hh) {
        ak__k.add(db_hh, db_hh, sums + H, 2 * H);
        ak__k.add(db_hh + 2 * H, db_hh + 2 * H, sums, H);
    }
    return true;
}

/* dx [R, I] = or += slopes of r, z, m times w_ih; dw_ih, dw_hh: over all steps. */
static void product_gradients(const gru *g, ak_real *dx, bool fresh)
{
    ak_call *k = g->k;
    const int d = g->direction;
    const int64_t H = g->H, I = g->I, R = g->R;
    const ak_real *gates = g->slopes + H;
    if (dx)
        ak__gemm(AK__NN, R, I, 3 * H, 1, gates, 4 * H, k->in[w_ih_of[d]]->data, I, fresh ? 0 : 1,
                 dx, I, NULL);
    ak_real *dw_ih = ak_call_grad(k, w_ih_of[d]), *dw_hh = ak_call_grad(k, w_hh_of[d]);
    if (dw_ih)
        ak__gemm(AK__TN, 3 * H, I, R, 1, gates, 4 * H, g->x, I, 1, dw_ih, I, NULL);
    if (dw_hh) {
        ak__gemm(AK__TN, 2 * H, H, R, 1, gates, 4 * H, g->before, H, 1, dw_hh, H, NULL);
        ak__gemm(AK__TN, H, H, R, 1, g->slopes, 4 * H, g->before, H, 1, dw_hh + 2 * H * H, H,
                 NULL);
    }
}

/* The gradient of x may be assigned if no other operand shares its memory. */
static ak_real *x_gradient(ak_call *k, bool *fresh)
{
    bool alone = true;
    for (int i = X + 1; i < OPERANDS; i++)
        alone = alone && (!k->in[i] || k->in[i]->root != k->in[X]->root);
    *fresh = false;
    return alone ? ak_call_grad_fresh(k, X, fresh) : ak_call_grad(k, X);
}

static void gru_backward(ak_call *k)
{
    gru g = sizes_of(k);
    g.wide = 4 * g.H;
    bool fresh;
    ak_real *dx = x_gradient(k, &fresh);
    g.d_initial = k->in[INITIAL] ? ak_call_grad(k, INITIAL) : NULL;
    ak_real *x = NULL, *dx_rows = NULL, *panels = NULL, *zeros = NULL, *sums = NULL;
    int64_t *count = NULL;
    ak__carver c = { 0 };
    for (int pass = 0; pass < 2; pass++) {
        carve_plan(&g, &c);
        count = ak__carve(&c, g.T + 2, sizeof *count);
        zeros = ak__carve_reals(&c, g.H);
        sums = ak__carve_reals(&c, 4 * g.H);
        panels = ak__carve_reals(&c, ak__panels_size(g.H, 3 * g.H, AK__RIGHT));
        x = ak__carve_reals(&c, g.packed ? g.R * g.I : 0);
        dx_rows = ak__carve_reals(&c, g.packed && dx ? g.R * g.I : 0);
        g.slopes = ak__carve_reals(&c, g.R * g.wide);
        g.before = ak__carve_reals(&c, g.R * g.H);
        if (pass == 0)
            c = (ak__carver){ .base = ak_call_scratch(k, c.used + 64) };
        if (!c.base)
            return;
    }
    fill_plan(&g, count);
    memset(zeros, 0, (size_t)g.H * sizeof *zeros);
    g.zeros = zeros;
    g.x = valid_x(&g, x);
    ak_real *rows = !dx ? NULL : g.packed ? dx_rows : dx;
    for (g.direction = 0; g.direction < g.directions; g.direction++) {
        g.gates = (ak_real *)k->saved + g.direction * g.R * g.wide;
        g.weights = ak__panels_pack(panels, k->in[w_hh_of[g.direction]]->data, g.H, true, g.H,
                                    3 * g.H, 1, AK__RIGHT);
        AK__PARALLEL_FOR_DYNAMIC(i, g.tiles, g.tiles > 1)
            backward_tile(&g, i, g.room + ak__thread_id() * g.need);
        product_gradients(&g, rows, g.direction == 0 && (fresh || g.packed));
        if (!bias_gradients(&g, sums))
            return;
    }
    if (dx && g.packed) {
        rows_work w = { .g = &g, .compact = dx_rows, .padded = dx, .D = g.I, .add = !fresh };
        ak__for_rows(g.N, g.T * g.I, spread_span, &w);
    }
}

static double gru_flops(const ak_call *k)
{
    const double H = (double)k->in[W_HH]->shape.dims[1], I = (double)k->in[X]->shape.dims[2];
    const double steps = (double)(k->in[X]->shape.dims[0] * k->in[X]->shape.dims[1]);
    return directions_of(k) * steps * (6 * H * (I + H) + 30 * H);
}

/* ---- the record ------------------------------------------------------------------------------ */

/* x, then the directions' weights and biases, all eight that a sample can have: biases only in the
 * second direction. */
static ak_tensor *sample_two(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    ak_index *lengths = s->index[0].values
        ? ak_index_from(in[0]->ctx, s->index[0].shape, s->index[0].values) : NULL;
    return ak_gru(in[0], (ak_gru_weights){ .w_ih = in[1], .w_hh = in[2], .b_hh = in[7] },
                  (ak_gru_options){ .initial = in[3], .lengths = lengths,
                                    .reverse = { in[4], in[5], in[6], in[7] } });
}

#define NONE { .n = AK_ABSENT }
#define ONE(N, T, I, H) { 3, { N, T, I } }, { 2, { 3 * (H), I } }, { 2, { 3 * (H), H } }
#define OTHER(I, H) { 2, { 3 * (H), I } }, { 2, { 3 * (H), H } }
#define BIAS(H) { 1, { 3 * (H) } }
#define LENGTHS(n, ...) .index = { { { 1, { n } }, (const int32_t[]){ __VA_ARGS__ } } }

static const ak_op gru_op = {
    .name = "gru", .formula = "h' = m + z (h - m), m = tanh(x + r h), of each step",
    .n_in = OPERANDS, .flags = AK_OP_OPTIONAL_IN, .required = 3,
    .operands = "x w_ih w_hh initial w_ih_reverse w_hh_reverse b_ih b_hh b_ih_reverse b_hh_reverse",
    .n_index = 1, .indices = "lengths", .index_optional = 1,
    .shape = gru_shape, .forward = gru_forward, .backward = gru_backward, .flops = gru_flops,
    .reads = AK_READS(X) | AK_READS(W_IH) | AK_READS(W_HH) | AK_READS(INITIAL) |
             AK_READS(W_IH_REVERSE) | AK_READS(W_HH_REVERSE) | AK_READS_OUT,
    .samples = (const ak_sample[]){
        { .in = { ONE(1, 1, 1, 1) }, .n_in = 3, LENGTHS(1, 1) },
        { .in = { ONE(3, 4, 2, 5), NONE, NONE, NONE, BIAS(5), BIAS(5) }, .n_in = 8 },
        { .in = { ONE(2, 3, 4, 3), { 3, { 2, 1, 3 } } }, .n_in = 4 },
        { .in = { ONE(4, 5, 3, 2), { 3, { 4, 1, 2 } }, NONE, NONE, NONE, BIAS(2) }, .n_in = 8,
          LENGTHS(4, 3, 0, 5, 1) },
        { .in = { ONE(2, 3, 3, 2), NONE, OTHER(3, 2) }, .n_in = 6 },
        { .in = { ONE(3, 4, 2, 3), { 3, { 3, 2, 3 } }, OTHER(2, 3), BIAS(3), BIAS(3) }, .n_in = 8,
          .call = sample_two, LENGTHS(3, 2, 4, 1) },
        { .in = { ONE(11, 2, 1, 1) }, .n_in = 3 },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 2, { 2, 3 } }, { 2, { 6, 3 } }, { 2, { 6, 2 } } }, .n_in = 3 },
        { .in = { { 3, { 1, 2, 3 } }, { 2, { 6, 4 } }, { 2, { 6, 2 } } }, .n_in = 3 },
        { .in = { { 3, { 1, 2, 3 } }, { 2, { 6, 3 } }, { 2, { 4, 2 } } }, .n_in = 3 },
        { .in = { { 3, { 1, 2, 3 } }, { 2, { 0, 3 } }, { 2, { 0, 0 } } }, .n_in = 3 },
        { .in = { ONE(2, 3, 4, 3), { 3, { 2, 2, 3 } } }, .n_in = 4 },
        { .in = { ONE(2, 3, 4, 3), { 2, { 2, 3 } } }, .n_in = 4 },
        { .in = { ONE(2, 3, 4, 3), NONE, { 2, { 9, 4 } } }, .n_in = 5 },
        { .in = { ONE(2, 3, 4, 3), NONE, OTHER(4, 2) }, .n_in = 6 },
        { .in = { ONE(2, 3, 4, 3), NONE, NONE, NONE, BIAS(2) }, .n_in = 7 },
        { .in = { ONE(2, 3, 1, 1) }, .n_in = 3, LENGTHS(2, 1, 4) },
        { .in = { ONE(2, 3, 1, 1) }, .n_in = 3, LENGTHS(3, 1, 1, 1) },
        AK_END },
};

ak_tensor *ak_gru(ak_tensor *x, ak_gru_weights w, ak_gru_options o)
{
    ak_tensor *in[OPERANDS] = { x, w.w_ih, w.w_hh, o.initial, o.reverse.w_ih, o.reverse.w_hh,
                                w.b_ih, w.b_hh, o.reverse.b_ih, o.reverse.b_hh };
    return ak_apply_all(&gru_op, (ak_operands){ in, OPERANDS, &o.lengths, 1 }, NULL).out;
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_gru[] = { &gru_op, NULL };
