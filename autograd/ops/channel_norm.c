/* SPDX-License-Identifier: Apache-2.0 */
/* Norms with statistics per channel over positions: batch_norm and group_norm. */
#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "autograd/moments.h"
#include "autograd/ops/common.h"
#include "autograd/ops/norm_internal.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"
#include "tensor/moments.h"
#include "tensor/tensor_internal.h"

/* ---- y = (x - mean) scale + b ---------------------------------------------------------------- */

/* Above this |mean| / std the one-product form x*scale + (b - mean*scale) would lose digits. */
#define FAR_MEAN 16

static bool is_far(const ak_real *mean, const ak_real *rstd, int64_t C)
{
    for (int64_t c = 0; c < C; c++)
        if (!(ak__fabs(mean[c]) * rstd[c] <= FAR_MEAN))
            return true;
    return false;
}

/* Statistics, each [C]. The mean is mean + rest: one number alone would be off by half a unit in
 * its last place, which is a lot in units of a small deviation. */
typedef struct channel_stats {
    ak_real *mean, *rest, *rstd;
} channel_stats;

#define STAT_NUMBERS 3          /* arrays of channel_stats */

static channel_stats stats_at(ak_real *room, int64_t C)
{
    return (channel_stats){ room, room + C, room + 2 * C };
}

/* Those of group g of a batch norm. */
static channel_stats group_stats(ak_real *saved, int64_t g, int64_t C)
{
    return stats_at(saved + g * STAT_NUMBERS * C, C);
}

static void put_stats(channel_stats st, int64_t c, double mean, double var, double eps)
{
    st.mean[c] = (ak_real)mean;
    st.rest[c] = (ak_real)(mean - (double)st.mean[c]);
    st.rstd[c] = (ak_real)(1 / sqrt(var + eps));
}

/* Per-channel numbers, each [C]. */
typedef struct channel_map {
    ak_real *scale, *shift;     /* y = x scale + shift */
    ak_real *ones, *minus_mean; /* where the mean is far: first x - mean, */
    ak_real *bias;              /* then times scale + bias */
    bool far_mean, relu;
    ak__put put;
} channel_map;

#define MAP_NUMBERS 5           /* arrays of channel_map */

static channel_map make_map(channel_stats st, const ak_real *w, const ak_real *b, int64_t C,
                            bool relu, ak_real *room)
{
    channel_map m = { .scale = room, .shift = room + C, .ones = room + 2 * C,
                      .minus_mean = room + 3 * C, .bias = room + 4 * C,
                      .far_mean = is_far(st.mean, st.rstd, C), .relu = relu };
    for (int64_t c = 0; c < C; c++) {
        m.scale[c] = w ? w[c] * st.rstd[c] : st.rstd[c];
        m.bias[c] = (b ? b[c] : 0) - st.rest[c] * m.scale[c];
        m.shift[c] = m.bias[c] - st.mean[c] * m.scale[c];
        m.ones[c] = 1;
        m.minus_mean[c] = -st.mean[c];
    }
    return m;
}

/* add [R, C] or NULL */
static void apply_map(const channel_map *m, ak_real *y, const ak_real *x, const ak_real *add,
                      int64_t R, int64_t C)
{
    if (!m->far_mean) {
        ak__k.column_affine(y, x, m->scale, m->shift, add, R, C, m->relu, m->put);
        ak__put_end(m->put);
        return;
    }
    ak__k.column_affine(y, x, m->ones, m->minus_mean, NULL, R, C, false, AK__SET);
    ak__k.column_affine(y, y, m->scale, m->bias, add, R, C, m->relu, AK__SET);
}

/* dx = or += g p + (x - mean) q + s with g = dy where the gate is open, as numbers of each channel;
 * r = s - mean q. */
typedef struct channel_grad {
    ak_real *p, *q, *s, *r;
    const ak_real *mean;
    bool far_mean;
    ak__put put;
} channel_grad;

#define GRAD_NUMBERS 4          /* arrays of channel_grad */

static channel_grad grad_at(ak_real *room, channel_stats st, int64_t C, ak__put put)
{
    return (channel_grad){ .p = room, .q = room + C, .s = room + 2 * C, .r = room + 3 * C,
                           .mean = st.mean, .far_mean = is_far(st.mean, st.rstd, C),
                           .put = put };
}

/* p, and the factors of 1 and of (x - mean) rstd. */
static void put_grad(const channel_grad *m, channel_stats st, int64_t c, ak_real p, ak_real one,
                     ak_real along)
{
    m->p[c] = p;
    m->q[c] = along * st.rstd[c];
    m->s[c] = one - st.rest[c] * m->q[c];
    m->r[c] = m->s[c] - st.mean[c] * m->q[c];
}

static ak__gate gate_from(ak__gate gate, int64_t at)
{
    return gate.y ? (ak__gate){ .y = gate.y + at } : gate;
}

/* Where the mean is far, the gate is y or always open. */
static void apply_grad(const channel_grad *m, ak_real *dx, const ak_real *dy, const ak_real *x,
                       ak__gate gate, int64_t R, int64_t C)
{
    if (!m->far_mean) {
        ak__k.batch_norm_grad(dx, dy, x, gate, m->p, m->q, m->r, R, C, m->put);
        ak__put_end(m->put);
        return;
    }
    for (int64_t i = 0; i < R * C; i++) {
        const int64_t c = i % C;
        const ak_real g = !gate.y || gate.y[i] > 0 ? dy[i] : 0;
        const ak_real d = g * m->p[c] + (x[i] - m->mean[c]) * m->q[c] + m->s[c];
        dx[i] = m->put == AK__ADD ? dx[i] + d : d;
    }
}

/* ---- batch_norm ------------------------------------------------------------------------------ */

/* Operands behind x, weight, bias and running statistics. */
enum { SKIP = 5, MOMENTS = 6, OPERANDS };

typedef struct batch_norm_attr {
    ak_batch_norm_options o;
    bool train;                 /* statistics of the batch */
    bool update;                /* of the running ones */
    bool apart;                 /* x is a part of a batch, of whole groups */
} batch_norm_attr;

static double eps_of(double eps)
{
    return eps > 0 ? eps : 1e-5;
}

/* Parts of the batch with statistics of their own, and the rows of each. Fixed statistics are one
 * set whatever the groups. */
static int64_t groups_of(const batch_norm_attr *a)
{
    return a->train && a->o.groups > 1 ? a->o.groups : 1;
}

static int64_t group_rows(const ak_call *k)
{
    return ak_row_count(k->out) / groups_of(k->attr);
}

static bool has_skip(const ak_call *k)
{
    return k->in[SKIP];
}

static ak_status batch_norm_shape(ak_call *k)
{
    const batch_norm_attr *a = k->attr;
    const ak_tensor *x = k->in[0];
    if (x->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs at least 2 axes [N, .., C]");
    const int64_t C = ak_last_dim(x), R = ak_row_count(x);
    if (C < 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "no channels");
    ak_status s = ak__norm_check_weights(k, C);
    if (s == AK_OK)
        s = ak__norm_check_eps(k, a->o.eps);
    if (s != AK_OK)
        return s;
    if (has_skip(k) && !ak_shape_equal(k->in[SKIP]->shape, x->shape))
        return ak_call_fail(k, AK_ERR_SHAPE, "what is added needs the shape of x");
    for (int i = 3; i < 5; i++)
        if (k->in[i] && (k->in[i]->shape.n != 1 || k->in[i]->shape.dims[0] != C))
            return ak_call_fail(k, AK_ERR_SHAPE, "running statistics need %" PRId64 " numbers", C);
    if (!k->in[3] != !k->in[4])
        return ak_call_fail(k, AK_ERR_VALUE, "%s is missing (NULL), but %s is given: both or none",
                            k->in[3] ? "running_var" : "running_mean",
                            k->in[3] ? "running_mean" : "running_var");
    if (!(a->o.momentum >= 0 && a->o.momentum <= 1) && a->o.momentum != AK_NONE)
        return ak_call_fail(k, AK_ERR_VALUE, "momentum %g is not in [0, 1], nor AK_NONE",
                            a->o.momentum);
    if (a->o.no_affine && (k->in[1] || k->in[2]))
        return ak_call_fail(k, AK_ERR_VALUE, "no_affine, but w or b is given");
    if (a->o.groups < 0)
        return ak_call_fail(k, AK_ERR_VALUE, "groups %d is below 0", a->o.groups);
    const int64_t N = x->shape.dims[0], G = groups_of(a);
    if (N % G != 0) {
        ak_call_hint(k, "drop what is left over of the last batch");
        return ak_call_fail(k, AK_ERR_SHAPE, "%" PRId64 " samples do not divide into %" PRId64
                            " groups", N, G);
    }
    if (a->train && R < 2 * G) {
        ak_call_hint(k, "use a larger batch, or ak_train_mode(ctx, false)");
        return ak_call_fail(k, AK_ERR_SHAPE, "%" PRId64 " value per channel%s has no variance: "
                            "training needs at least 2", R / G, G > 1 ? " and group" : "");
    }
    k->out->shape = x->shape;
    k->writes = a->update ? k->writes : 0;
    k->mixes_rows = a->train && !a->apart;
    return AK_OK;
}

static bool fits_real(double x)
{
    return fabs(x) <= (double)AK_REAL_MAX;
}

/* running = (1 - momentum) running + momentum batch; the variance unbiased; mean, var [G][2][C] of
 * G groups of R rows, whose own are averaged. One NaN would stay in them for good, so a batch with
 * a moment that is not finite leaves them all as they are: its output says what is wrong. */
static void update_running(ak_call *k, const double *moments, int64_t R, int64_t C)
{
    const batch_norm_attr *a = k->attr;
    const double m = ak__batch_norm_momentum(&a->o);
    const double unbias = (double)R / (double)(R - 1);
    const int64_t G = groups_of(a);
    ak_real *running_mean = k->in[3]->data, *running_var = k->in[4]->data;
    for (int64_t i = 0; i < G * 2 * C; i++)
        if (!fits_real(moments[i] * (i / C % 2 ? unbias : 1))) {
            k->writes = 0;
            return;
        }
    for (int64_t c = 0; c < C; c++) {
        double mean = 0, var = 0;
        for (int64_t g = 0; g < G; g++) {
            mean += moments[g * 2 * C + c];
            var += moments[g * 2 * C + C + c] * (double)R / (double)(R - 1);
        }
        running_mean[c] = (ak_real)((1 - m) * (double)running_mean[c] + m * (mean / (double)G));
        running_var[c] = (ak_real)((1 - m) * (double)running_var[c] + m * (var / (double)G));
    }
}

/* Mean and variance of each group into moments [G][2][C]. Moments that a convolution took do not
 * know of groups. False: out of memory. */
static bool take_moments(ak_call *k, int64_t R, int64_t C, double *moments)
{
    const int64_t G = groups_of(k->attr);
    const ak_tensor *given = G == 1 ? k->in[MOMENTS] : NULL;
    assert(!given || ak_last_dim(given) == ak__moment_numbers(C));
    if (given && ak__moments_merge(given->data, ak_row_count(given), R, C, moments, moments + C))
        return true;
    const int64_t numbers = ak__statistics_room(R, C);
    ak_real *room = ak_call_scratch(k, (size_t)numbers * sizeof *room);
    if (!room)
        return false;
    for (int64_t g = 0; g < G; g++)
        ak__column_statistics(k->in[0]->data + g * R * C, R, C, room, moments + g * 2 * C,
                              moments + g * 2 * C + C);
    return true;
}

/* Fills saved, statistics of each group; false: out of memory. */
static bool batch_statistics(ak_call *k, ak_real *saved)
{
    const batch_norm_attr *a = k->attr;
    const int64_t C = ak_last_dim(k->out), R = group_rows(k), G = groups_of(a);
    const double eps = eps_of(a->o.eps);
    if (!a->train) {
        const channel_stats st = stats_at(saved, C);
        for (int64_t c = 0; c < C; c++)
            put_stats(st, c, (double)k->in[3]->data[c], (double)k->in[4]->data[c], eps);
        return true;
    }
    double *moments = ak_call_scratch(k, (size_t)(G * 2 * C) * sizeof *moments);
    if (!moments || !take_moments(k, R, C, moments))
        return false;
    for (int64_t g = 0; g < G; g++)
        for (int64_t c = 0; c < C; c++)
            put_stats(group_stats(saved, g, C), c, moments[g * 2 * C + c],
                      moments[g * 2 * C + C + c], eps);
    if (a->update)
        update_running(k, moments, R, C);
    return true;
}

/* The second pass over x, backwards: see base/parallel.h. room: MAP_NUMBERS C. */
static void batch_norm_map(ak_call *k, ak_real *saved, ak_real *room)
{
    const batch_norm_attr *a = k->attr;
    const int64_t C = ak_last_dim(k->out), R = group_rows(k);
    const ak_real *skip = ak__norm_values(k, SKIP);
    for (int64_t g = groups_of(a) - 1; g >= 0; g--) {
        channel_map map = make_map(group_stats(saved, g, C), ak__norm_values(k, 1),
                                   ak__norm_values(k, 2), C, a->o.relu, room);
        map.put = ak__put_of(k->out->size, false);
        ak_real *y = k->out->data + g * R * C;
        const ak_real *x = k->in[0]->data + g * R * C;
        AK__PARALLEL_CHUNKS_BACK(c, R, ak__moment_rows(C), begin, end)
            apply_map(&map, y + begin * C, x + begin * C,
                      skip ? skip + (g * R + begin) * C : NULL, end - begin, C);
    }
}

static void batch_norm_forward(ak_call *k)
{
    const int64_t C = ak_last_dim(k->out), G = groups_of(k->attr);
    ak_real *saved = ak_call_save(k, (size_t)(G * STAT_NUMBERS * C) * sizeof(ak_real));
    ak_real *room = ak_call_scratch(k, (size_t)(MAP_NUMBERS * C) * sizeof(ak_real));
    if (!saved || !room || !batch_statistics(k, saved))
        return;
    batch_norm_map(k, saved, room);
}

/* The same statistics once more: nothing moves. */
static void batch_norm_again(ak_call *k)
{
    const int64_t C = ak_last_dim(k->out);
    ak_real *room = ak_call_scratch(k, (size_t)(MAP_NUMBERS * C) * sizeof(ak_real));
    if (room)
        batch_norm_map(k, k->saved, room);
}

/* What the passes of a backward share, for one group of the batch. The gate is found from x, so
 * that y is not read, except where y is not a plain map of x. */
typedef struct batch_norm_work {
    ak_call *k;
    int64_t R, C;               /* rows of the group */
    channel_stats st;
    const ak_real *x;           /* of the group, as all that follows */
    const ak_real *dy;          /* upstream; after the first pass maybe dskip, through the gate */
    ak__gate gate;
    ak_real *dskip;             /* NULL: none */
    bool skip_fresh;
    ak_real *dx;                /* NULL: not wanted */
    ak_real *part;              /* [chunks][2][C] */
    ak_real *sum_g, *sum_gx;    /* [C] each */
    ak_real *room;              /* GRAD_NUMBERS C */
} batch_norm_work;

static ak__gate batch_norm_gate(ak_call *k, const channel_map *map)
{
    if (!map->relu)
        return (ak__gate){ 0 };
    if (map->far_mean || has_skip(k))
        return (ak__gate){ .y = ak_call_out(k) };
    return (ak__gate){ .scale = map->scale, .shift = map->shift };
}

/* dskip = or += g, numbers [at, at + n) */
static void skip_grad(const batch_norm_work *w, int64_t at, int64_t n)
{
    if (w->gate.y)
        ak__k.relu_backward(w->dskip + at, w->gate.y + at, w->dy + at, n,
                            w->skip_fresh ? AK__SET : AK__ADD);
    else
        ak__pass_span(w->dskip + at, w->dy + at, n, !w->skip_fresh);
}

/* Sums over all rows of g and of g (x - mean) rstd into sum_g, sum_gx; dskip on the way. From then
 * on a dskip that holds nothing but g stands for dy. */
static void gradient_sums(batch_norm_work *w)
{
    const int64_t C = w->C, R = w->R, rows = ak__moment_rows(C);
    AK__PARALLEL_CHUNKS(c, R, rows, begin, end) {
        ak_real *p = w->part + c * 2 * C;
        if (w->dskip)
            skip_grad(w, begin * C, (end - begin) * C);
        memset(p, 0, (size_t)(2 * C) * sizeof *p);
        ak__k.batch_norm_sums(p, p + C, w->dy + begin * C, w->x + begin * C,
                              gate_from(w->gate, begin * C), w->st.mean, w->st.rstd, end - begin,
                              C);
    }
    for (int64_t i = 0; i < C; i++) {
        double g = 0, gx = 0;
        for (int64_t c = 0; c < ak__chunk_count(R, rows); c++) {
            g += (double)w->part[c * 2 * C + i];
            gx += (double)w->part[c * 2 * C + C + i];
        }
        w->sum_g[i] = (ak_real)g;
        w->sum_gx[i] = (ak_real)(gx - g * (double)w->st.rest[i] * (double)w->st.rstd[i]);
    }
    if (w->dskip && w->skip_fresh) {
        w->dy = w->dskip;
        w->gate = (ak__gate){ 0 };
    }
}

/* dx from the sums. */
static void gradient_of_x(const batch_norm_work *w, ak__put put)
{
    const batch_norm_attr *a = w->k->attr;
    const int64_t C = w->C, R = w->R;
    const ak_real *weight = ak__norm_values(w->k, 1);
    const channel_grad map = grad_at(w->room, w->st, C, put);
    for (int64_t c = 0; c < C; c++) {
        const ak_real p = weight ? weight[c] * w->st.rstd[c] : w->st.rstd[c];
        const ak_real share = a->train ? -p / (ak_real)R : 0;
        put_grad(&map, w->st, c, p, share * w->sum_g[c], share * w->sum_gx[c]);
    }
    AK__PARALLEL_CHUNKS_BACK(c, R, ak__moment_rows(C), begin, end)
        apply_grad(&map, w->dx + begin * C, w->dy + begin * C, w->x + begin * C,
                   gate_from(w->gate, begin * C), end - begin, C);
}

/* With xh = (x - mean) rstd: in train mode dx = w rstd (g - mean(g) - xh mean(g xh)), with fixed
 * statistics dx = w rstd g; dw = sum g xh, db = sum g, dskip = g. */
static void batch_norm_backward(ak_call *k)
{
    const batch_norm_attr *a = k->attr;
    const int64_t C = ak_last_dim(k->out), R = group_rows(k);
    const int64_t parts = 2 * ak__chunk_count(R, ak__moment_rows(C));
    const int64_t numbers = parts + 2 + GRAD_NUMBERS + MAP_NUMBERS;
    ak_real *room = ak_call_scratch(k, (size_t)(numbers * C) * sizeof(ak_real));
    if (!room)
        return;
    batch_norm_work all = { .k = k, .R = R, .C = C, .part = room, .sum_g = room + parts * C };
    all.sum_gx = all.sum_g + C;
    all.room = all.sum_gx + C;
    ak_real *dw = k->in[1] ? ak_call_grad(k, 1) : NULL, *db = k->in[2] ? ak_call_grad(k, 2) : NULL;
    ak_real *dskip = has_skip(k) ? ak_call_grad_fresh(k, SKIP, &all.skip_fresh) : NULL;
    ak_real *dx = NULL;
    bool fresh;
    ak__put put = AK__SET;
    for (int64_t g = 0; g < groups_of(a); g++) {
        const int64_t at = g * R * C;
        batch_norm_work w = all;
        w.st = group_stats(k->saved, g, C);
        w.x = k->in[0]->data + at;
        w.dy = k->out->grad + at;
        w.dskip = dskip ? dskip + at : NULL;
        const channel_map map = make_map(w.st, ak__norm_values(k, 1), ak__norm_values(k, 2), C,
                                         a->o.relu, w.room + GRAD_NUMBERS * C);
        w.gate = gate_from(batch_norm_gate(k, &map), at);
        gradient_sums(&w);
        if (dw)
            ak__k.add(dw, dw, w.sum_gx, C);
        if (db)
            ak__k.add(db, db, w.sum_g, C);
        if (g == 0 && (dx = ak_call_grad_over(k, 0, &fresh)) != NULL)
            put = ak__put_over(k, dx, fresh);
        w.dx = dx ? dx + at : NULL;
        if (w.dx)
            gradient_of_x(&w, put);
    }
}

/* The attribute of a call in the context's mode. */
static batch_norm_attr attr_of(const ak_tensor *x, const ak_tensor *running,
                               ak_batch_norm_options o)
{
    const bool training = !x || !x->ctx || ak_is_training(x->ctx);
    return (batch_norm_attr){ .o = o, .train = training || !running,
                              .update = training && running };
}

/* Samples: evaluation mode on given running statistics, which take no part in the gradient. */
static ak_tensor *sample_evaluation(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    const batch_norm_attr *a = s->attr;
    ak_ctx *ctx = in[0]->ctx;
    const int64_t C = ak_last_dim(in[0]);
    ak_tensor *mean = ak_full(ctx, AK_SHAPE(C), 0.25), *var = ak_full(ctx, AK_SHAPE(C), 0.5);
    (void)n_in;
    return ak_apply(&ak__op_batch_norm, (ak_tensor *[]){ in[0], in[1], in[2], mean, var }, 5,
                    &(batch_norm_attr){ .o = a->o });
}

#define BATCH(...) (&(const batch_norm_attr){ .train = true, .o = { __VA_ARGS__ } })

const ak_op ak__op_batch_norm = {
    .name = "batch_norm",
    .formula = "y = (x - mean) / sqrt(var + eps) * w + b, per channel; max(., 0) if relu",
    .n_in = OPERANDS, .attr_size = sizeof(batch_norm_attr),
    .flags = AK_OP_OPTIONAL_IN | AK_OP_MIXES_ROWS,
    .operands = "x w b running_mean running_var skip moments",
    .shape = batch_norm_shape, .forward = batch_norm_forward, .backward = batch_norm_backward,
    .reads = AK_READS(0) | AK_READS(1) | AK_READS(2), .again = batch_norm_again,
    .constants = AK_READS(3) | AK_READS(4) | AK_READS(MOMENTS),
    .writes = AK_READS(3) | AK_READS(4), .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 2, 1 } }, { 1, { 1 } }, { 1, { 1 } } }, .n_in = 3,
          .attr = BATCH(.eps = 0.1) },
        { .in = { { 2, { 5, 3 } }, { 1, { 3 } }, { 1, { 3 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-5) },
        { .in = { { 4, { 2, 3, 2, 5 } }, { 1, { 5 } }, { .n = AK_ABSENT } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-3) },
        { .in = { { 3, { 3, 5, 7 } }, { .n = AK_ABSENT }, { 1, { 7 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-5) },
        { .in = { { 2, { 9, 4 } }, { 1, { 4 } }, { 1, { 4 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-5, .relu = true), .flags = AK_SAMPLE_DISTINCT },
        { .in = { { 3, { 2, 3, 5 } }, { 1, { 5 } }, { 1, { 5 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-5), .call = sample_evaluation },
        { .in = { { 2, { 1, 3 } }, { 1, { 3 } }, { 1, { 3 } } }, .n_in = 3,
          .attr = BATCH(.relu = true), .call = sample_evaluation },
        { .in = { { 3, { 6, 2, 3 } }, { 1, { 3 } }, { 1, { 3 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-3, .groups = 3) },
        { .in = { { 2, { 8, 5 } }, { 1, { 5 } }, { 1, { 5 } } }, .n_in = 3,
          .attr = BATCH(.eps = 1e-2, .groups = 2, .relu = true), .flags = AK_SAMPLE_DISTINCT },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 1, { 3 } } }, .n_in = 1, .attr = BATCH(.eps = 0) },
        { .in = { { 2, { 4, 3 } } }, .n_in = 1, .attr = BATCH(.groups = 3) },
        { .in = { { 2, { 4, 3 } } }, .n_in = 1, .attr = BATCH(.groups = 4) },
        { .in = { { 2, { 4, 3 } } }, .n_in = 1, .attr = BATCH(.groups = -1) },
        { .in = { { 2, { 4, 3 } }, { 1, { 3 } } }, .n_in = 2, .attr = BATCH(.no_affine = true) },
        { .in = { { 2, { 1, 3 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } }, .n_in = 3,
          .attr = BATCH(.eps = 0) },
        { .in = { { 2, { 4, 3 } }, { 1, { 2 } }, { .n = AK_ABSENT } }, .n_in = 3,
          .attr = BATCH(.eps = 0) },
        { .in = { { 2, { 4, 3 } }, { 1, { 3 } }, { 1, { 3 } }, { 1, { 4 } }, { 1, { 4 } } },
          .n_in = 5, .attr = BATCH(.eps = 0) },
        { .in = { { 2, { 4, 3 } }, { 1, { 3 } }, { 1, { 3 } }, { 1, { 3 } }, { .n = AK_ABSENT } },
          .n_in = 5, .attr = BATCH(.eps = 0) },
        { .in = { { 2, { 4, 3 } }, { 1, { 3 } }, { 1, { 3 } } }, .n_in = 3,
          .attr = BATCH(.momentum = 2) },
        AK_END },
};

#define NONE { .n = AK_ABSENT }

/* With a skip y is no map of x alone: backward reads it, and it is made again from both. */
const ak_op ak__op_batch_norm_add = {
    .name = "batch_norm_add",
    .formula = "y = (x - mean) / sqrt(var + eps) * w + b + skip, per channel; max(., 0) if relu",
    .n_in = OPERANDS, .attr_size = sizeof(batch_norm_attr),
    .flags = AK_OP_OPTIONAL_IN | AK_OP_MIXES_ROWS,
    .operands = "x w b running_mean running_var skip moments",
    .shape = batch_norm_shape, .forward = batch_norm_forward, .backward = batch_norm_backward,
    .reads = AK_READS(0) | AK_READS(1) | AK_READS(2) | AK_READS_OUT,
    .again = batch_norm_again, .again_reads = AK_READS(SKIP),
    .constants = AK_READS(3) | AK_READS(4) | AK_READS(MOMENTS),
    .writes = AK_READS(3) | AK_READS(4), .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 2, 1 } }, { 1, { 1 } }, NONE, NONE, NONE, { 2, { 2, 1 } } },
          .n_in = 6, .attr = BATCH(.eps = 0.1) },
        { .in = { { 3, { 3, 4, 3 } }, { 1, { 3 } }, { 1, { 3 } }, NONE, NONE, { 3, { 3, 4, 3 } } },
          .n_in = 6, .attr = BATCH(.eps = 1e-5, .relu = true), .flags = AK_SAMPLE_DISTINCT },
        { .in = { { 2, { 5, 17 } }, NONE, NONE, NONE, NONE, { 2, { 5, 17 } } },
          .n_in = 6, .attr = BATCH(.eps = 1e-3) },
        { .in = { { 4, { 2, 1, 3, 5 } }, NONE, { 1, { 5 } }, NONE, NONE, { 4, { 2, 1, 3, 5 } } },
          .n_in = 6, .attr = BATCH(.eps = 1e-2), .flags = AK_SAMPLE_DISTINCT },
        { .in = { { 2, { 9, 4 } }, { 1, { 4 } }, NONE, NONE, NONE, { 2, { 9, 4 } } },
          .n_in = 6, .attr = BATCH(.eps = 1e-5, .relu = true), .flags = AK_SAMPLE_DISTINCT },
        { .in = { { 2, { 9, 4 } }, { 1, { 4 } }, { 1, { 4 } }, NONE, NONE, { 2, { 9, 4 } } },
          .n_in = 6, .attr = BATCH(.eps = 1e-2, .groups = 3, .relu = true),
          .flags = AK_SAMPLE_DISTINCT },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 2, { 4, 3 } }, NONE, NONE, NONE, NONE, { 2, { 1, 3 } } },
          .n_in = 6, .attr = BATCH(.eps = 0) },
        { .in = { { 1, { 3 } }, NONE, NONE, NONE, NONE, { 1, { 3 } } }, .n_in = 6,
          .attr = BATCH(.eps = 0) },
        AK_END },
};

ak_tensor *ak__batch_norm_moments(ak_tensor *x, ak_tensor *moments, ak_tensor *skip, ak_tensor *w,
                                  ak_tensor *b, ak_tensor *running_mean, ak_tensor *running_var,
                                  ak_batch_norm_options o)
{
    batch_norm_attr a = attr_of(x, running_mean, o);
    a.apart = x && a.train && ak__batch_norm_part(x, &a.o);
    ak_tensor *in[] = { x, w, b, running_mean, running_var, skip, moments };
    return ak_apply(skip ? &ak__op_batch_norm_add : &ak__op_batch_norm, in, OPERANDS, &a);
}

/* ---- group_norm ------------------------------------------------------------------------------ */

typedef struct group_norm_options { int groups; double eps; } group_norm_options;

static ak_status group_norm_shape(ak_call *k)
{
    const group_norm_options *o = k->attr;
    const ak_tensor *x = k->in[0];
    if (x->shape.n < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x needs at least 2 axes [N, .., C]");
    const int64_t C = ak_last_dim(x);
    if (o->groups < 1 || C < 1 || C % o->groups != 0)
        return ak_call_fail(k, AK_ERR_VALUE, "%" PRId64 " channels do not divide into %d groups", C,
                            o->groups);
    ak_status s = ak__norm_check_weights(k, C);
    k->out->shape = x->shape;
    return s == AK_OK ? ak__norm_check_eps(k, o->eps) : s;
}

/* Positions of a sample. */
static int64_t positions_of(const ak_tensor *x)
{
    const int64_t rows = ak_row_count(x);
    return x->shape.dims[0] > 0 ? rows / x->shape.dims[0] : 0;
}

/* Samples of more positions are summed in parts, so that errors do not grow with them. */
#define MANY_POSITIONS 1024
#define SOME_POSITIONS 256      /* of such a part */

/* Statistics of one sample from those of its channels. room: ak__statistics_room, each: 2 C. */
static void large_group_statistics(const ak_real *x, int64_t P, int64_t C, int groups, double eps,
                                   ak_real *room, double *each, channel_stats st)
{
    const int64_t per = C / groups;
    double *mean = each, *var = each + C;
    ak__column_statistics(x, P, C, room, mean, var);
    for (int64_t first = 0; first < C; first += per) {
        double m = 0, v = 0;
        for (int64_t c = first; c < first + per; c++)
            m += mean[c] / (double)per;
        for (int64_t c = first; c < first + per; c++)
            v += (var[c] + (mean[c] - m) * (mean[c] - m)) / (double)per;
        for (int64_t c = first; c < first + per; c++)
            put_stats(st, c, m, v, eps);
    }
}

/* Statistics of one sample, written to every channel of a group. room: 3 C. False: squares
 * overflowed. */
static bool group_statistics(const ak_real *x, int64_t P, int64_t C, int groups, double eps,
                             ak_real *room, channel_stats st)
{
    const int64_t per = C / groups;
    bool good = true;
    ak_real *sum = room, *square = room + C, *shift = room + 2 * C;
    memset(sum, 0, (size_t)C * sizeof *sum);
    ak__k.column_sum(sum, x, P, C);
    for (int g = 0; g < groups; g++) {
        double m = 0;
        for (int64_t c = 0; c < per; c++)
            m += (double)sum[g * per + c];
        for (int64_t c = 0; c < per; c++)
            shift[g * per + c] = (ak_real)(m / (double)(per * P));
    }
    memset(room, 0, (size_t)(2 * C) * sizeof *room);
    ak__k.column_moments(sum, square, x, shift, P, C);
    for (int g = 0; g < groups; g++) {
        double m = 0, v = 0;
        for (int64_t c = g * per; c < (g + 1) * per; c++) {
            m += (double)sum[c];
            v += (double)square[c];
        }
        m /= (double)(per * P);
        v = v / (double)(per * P) - m * m;
        good = good && v <= DBL_MAX;
        for (int64_t c = g * per; c < (g + 1) * per; c++)
            put_stats(st, c, (double)shift[c] + m, v < 0 ? 0 : v, eps);
    }
    return good;
}

/* Samples in parallel: each has its own room. */
static void group_norm_forward(ak_call *k)
{
    const group_norm_options *o = k->attr;
    const ak_tensor *x = k->in[0];
    const int64_t N = x->shape.dims[0], C = ak_last_dim(x), P = positions_of(x);
    ak_real *saved = ak_call_save(k, (size_t)(N * STAT_NUMBERS * C) * sizeof(ak_real));
    const int64_t need = (MAP_NUMBERS + 3) * C + ak__statistics_room(P, C);
    ak_real *rooms = ak_call_scratch(k, (size_t)(ak__max_threads() * need) * sizeof(ak_real));
    double *each = ak_call_scratch(k, (size_t)(ak__max_threads() * 2 * C) * sizeof *each);
    if (!saved || !rooms || !each || x->size == 0)
        return;
    AK__PARALLEL_FOR(n, N, x->size > AK__SPAN) {
        ak_real *room = rooms + ak__thread_id() * need;
        const channel_stats st = stats_at(saved + n * STAT_NUMBERS * C, C);
        const ak_real *sample = x->data + n * P * C;
        const double eps = eps_of(o->eps);
        if (P > MANY_POSITIONS || !group_statistics(sample, P, C, o->groups, eps, room, st))
            large_group_statistics(sample, P, C, o->groups, eps, room + (MAP_NUMBERS + 3) * C,
                                   each + ak__thread_id() * 2 * C, st);
        const channel_map map = make_map(st, ak__norm_values(k, 1), ak__norm_values(k, 2), C,
                                         false, room + 3 * C);
        apply_map(&map, k->out->data + n * P * C, sample, NULL, P, C);
    }
}

/* Sums [2][C] of g and of g (x - mean) rstd over P positions. room: 2 C, fine: 2 C. */
static void group_sums(ak_real *sums, const ak_real *dy, const ak_real *x, channel_stats st,
                       int64_t P, int64_t C, ak_real *room, double *fine)
{
    const size_t bytes = (size_t)(2 * C) * sizeof *sums;
    if (P <= MANY_POSITIONS) {
        memset(sums, 0, bytes);
        ak__k.batch_norm_sums(sums, sums + C, dy, x, (ak__gate){ 0 }, st.mean, st.rstd, P, C);
        return;
    }
    memset(fine, 0, (size_t)(2 * C) * sizeof *fine);
    for (int64_t p = 0; p < P; p += SOME_POSITIONS) {
        memset(room, 0, bytes);
        ak__k.batch_norm_sums(room, room + C, dy + p * C, x + p * C, (ak__gate){ 0 }, st.mean,
                              st.rstd, P - p < SOME_POSITIONS ? P - p : SOME_POSITIONS, C);
        for (int64_t i = 0; i < 2 * C; i++)
            fine[i] += (double)room[i];
    }
    for (int64_t i = 0; i < 2 * C; i++)
        sums[i] = (ak_real)fine[i];
}

/* One sample: sums [2][C] are left for dw and db; dx may be NULL. room: GRAD_NUMBERS C,
 * fine: 2 C. */
static void group_norm_grad(const ak_call *k, int64_t n, ak_real *sums, ak_real *dx, bool fresh,
                            ak_real *room, double *fine)
{
    const group_norm_options *o = k->attr;
    const int64_t C = ak_last_dim(k->out), P = positions_of(k->in[0]), per = C / o->groups;
    const channel_stats st = stats_at((ak_real *)k->saved + n * STAT_NUMBERS * C, C);
    const ak_real *w = ak__norm_values(k, 1), *x = k->in[0]->data + n * P * C;
    const ak_real *dy = k->out->grad + n * P * C;
    ak_real *sum_g = sums, *sum_gx = sums + C;
    group_sums(sums, dy, x, st, P, C, room, fine);
    for (int64_t c = 0; c < C; c++)
        sum_gx[c] -= sum_g[c] * st.rest[c] * st.rstd[c];
    if (!dx)
        return;
    const channel_grad map = grad_at(room, st, C, fresh ? AK__SET : AK__ADD);
    for (int64_t first = 0; first < C; first += per) {
        double a = 0, b = 0;
        for (int64_t c = first; c < first + per; c++) {
            a += (double)(w ? w[c] * sum_g[c] : sum_g[c]);
            b += (double)(w ? w[c] * sum_gx[c] : sum_gx[c]);
        }
        const ak_real share = -st.rstd[first] / (ak_real)(per * P);
        for (int64_t c = first; c < first + per; c++)
            put_grad(&map, st, c, w ? w[c] * st.rstd[c] : st.rstd[c], share * (ak_real)a,
                     share * (ak_real)b);
    }
    apply_grad(&map, dx + n * P * C, dy, x, (ak__gate){ 0 }, P, C);
}

static void group_norm_backward(ak_call *k)
{
    const int64_t N = k->out->shape.dims[0], C = ak_last_dim(k->out);
    bool fresh;
    ak_real *dw = k->in[1] ? ak_call_grad(k, 1) : NULL, *db = k->in[2] ? ak_call_grad(k, 2) : NULL;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    ak_real *sums = ak_call_scratch(k, (size_t)(N * 2 * C) * sizeof(ak_real));  /* [N][2][C] */
    const int64_t need = GRAD_NUMBERS * C;
    ak_real *rooms = ak_call_scratch(k, (size_t)(ak__max_threads() * need) * sizeof(ak_real));
    double *fine = ak_call_scratch(k, (size_t)(ak__max_threads() * 2 * C) * sizeof *fine);
    if (!sums || !rooms || !fine || k->out->size == 0)
        return;
    AK__PARALLEL_FOR(n, N, k->out->size > AK__SPAN)
        group_norm_grad(k, n, sums + n * 2 * C, dx, fresh, rooms + ak__thread_id() * need,
                        fine + ak__thread_id() * 2 * C);
    ak__add_pairs(db, dw, sums, N, C);
}

#define GROUP(...) (&(const group_norm_options){ __VA_ARGS__ })

const ak_op ak__op_group_norm = {
    .name = "group_norm",
    .formula = "y = (x - mean) / sqrt(var + eps) * w + b, per sample and group of channels",
    .n_in = 3, .attr_size = sizeof(group_norm_options), .flags = AK_OP_OPTIONAL_IN,
    .operands = "x w b",
    .shape = group_norm_shape, .forward = group_norm_forward, .backward = group_norm_backward,
    .flops = ak__norm_flops,
    .samples = (const ak_sample[]){
        { .in = { { 2, { 1, 1 } }, { 1, { 1 } }, { 1, { 1 } } }, .attr = GROUP(1, 0.1) },
        { .in = { { 4, { 2, 3, 3, 4 } }, { 1, { 4 } }, { 1, { 4 } } }, .attr = GROUP(2, 0) },
        { .in = { { 3, { 3, 5, 6 } }, { 1, { 6 } }, { .n = AK_ABSENT } }, .attr = GROUP(3, 1e-3) },
        { .in = { { 2, { 3, 9 } }, { .n = AK_ABSENT }, { 1, { 9 } } }, .attr = GROUP(3, 0) },
        { .in = { { 3, { 1, 7, 5 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } },
          .attr = GROUP(5, 0) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 1, { 4 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } }, .attr = GROUP(2, 0) },
        { .in = { { 2, { 3, 5 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } }, .attr = GROUP(2, 0) },
        { .in = { { 2, { 3, 4 } }, { .n = AK_ABSENT }, { .n = AK_ABSENT } }, .attr = GROUP(0, 0) },
        { .in = { { 2, { 3, 4 } }, { 1, { 3 } }, { .n = AK_ABSENT } }, .attr = GROUP(2, 0) },
        { .in = { { 2, { 3, 4 } }, { 1, { 4 } }, { 1, { 4 } } }, .attr = GROUP(2, -1) },
        AK_END },
};

ak_tensor *ak_group_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, int groups, double eps)
{
    return ak_apply(&ak__op_group_norm, (ak_tensor *[]){ x, w, b }, 3,
                    &(group_norm_options){ groups, eps });
}
