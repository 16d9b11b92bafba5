/* SPDX-License-Identifier: Apache-2.0 */
/* The fused contrastive op: checks, preparation, forward, backward. */
#include "losses/contrast.h"

#include "base/base.h"
#include "base/parallel.h"
#include "base/real.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

/* Rows of unit(x) = x / max(|x|, this). */
#define NORM_FLOOR 1e-12
/* Largest bound of the scores for which exp(-2 bound) and its inverse are normal numbers with room
 * for sums. */
#if AK_REAL_BITS == 64
#define LARGEST_BOUND 300.0
#else
#define LARGEST_BOUND 40.0
#endif

/* ---- sizes ----------------------------------------------------------------------------------- */

typedef struct contrast_sizes {
    int64_t D, samples, views;
    int64_t rows;               /* of all x operands */
    int64_t R, C, K;            /* anchors as rows, columns of the batch, of the queue */
} contrast_sizes;

static int64_t operand_rows(const ak_tensor *t) { return ak_row_count(t); }

static contrast_sizes sizes_of(const ak_call *k)
{
    const ak__contrast *o = k->attr;
    const ak_shape first = k->in[0]->shape;
    contrast_sizes z = { .D = first.dims[first.n - 1] };
    for (int i = 0; i < o->n_x; i++)
        z.rows += operand_rows(k->in[i]);
    z.samples = o->layout == AK__INTERLEAVED ? first.dims[0] : first.dims[first.n - 2];
    z.views = z.samples > 0 ? z.rows / z.samples : 0;
    z.R = o->first_view ? z.samples : z.rows;
    z.C = o->n_y ? 0 : z.rows;
    for (int i = 0; i < o->n_y; i++)
        z.C += operand_rows(k->in[o->n_x + i]);
    z.K = o->queue >= 0 ? k->in[o->queue]->shape.dims[0] : 0;
    return z;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static ak_status check_index(ak_call *k, const ak_index *ix, const char *name, int64_t n)
{
    char text[160];
    if (!ix)
        return AK_OK;
    if (ix == &ak__poison_index)
        return ak_call_fail(k, AK_ERR_STATE, "%s is the result of a call that failed in an earlier "
                            "step", name);
    if (ix->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "%s belongs to another context", name);
    if (ix->generation != 0 && ix->generation != k->ctx->generation)
        return ak_call_fail(k, AK_ERR_STALE, "%s is of an earlier step", name);
    if (ix->size != n)
        return ak_call_fail(k, AK_ERR_SHAPE, "%s %s should hold one number for each of %" PRId64
                            " samples", name, ak_shape_text(ix->shape, text), n);
    return AK_OK;
}

static ak_status check_matrix(ak_call *k, int operand, const char *name, int64_t n, int64_t m)
{
    char text[160];
    if (operand < 0)
        return AK_OK;
    const ak_shape s = k->in[operand]->shape;
    if (s.n != 2 || s.dims[0] != n || s.dims[1] != m)
        return ak_call_fail(k, AK_ERR_SHAPE, "%s is %s, expected [%" PRId64 ",%" PRId64 "]", name,
                            ak_shape_text(s, text), n, m);
    return AK_OK;
}

static ak_status check_embeddings(ak_call *k)
{
    const ak__contrast *o = k->attr;
    const int n = o->n_x + o->n_y;
    char a[160], b[160];
    for (int i = 0; i < n; i++)
        if (!k->in[i])
            return ak_call_fail(k, AK_ERR_VALUE, "embedding %d is NULL", i);
    const ak_shape first = k->in[0]->shape;
    const bool stack = first.n == 3 && o->n_x == 1 && o->n_y == 0;
    const int rank = o->layout == AK__INTERLEAVED || stack ? 3 : 2;
    if (first.n != rank)
        return ak_call_fail(k, AK_ERR_SHAPE, "embeddings are %s, expected %s",
                            ak_shape_text(first, a), o->layout == AK__INTERLEAVED ? "[N, V, D]"
                                                                                  : "[N, D]");
    if (k->in[0]->size == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "embeddings %s are empty", ak_shape_text(first, a));
    for (int i = 1; i < n; i++) {
        const ak_shape s = k->in[i]->shape;
        const bool free_count = i >= o->n_x && (o->matrix >= 0 || o->target_columns);
        const bool fits = s.n == rank && s.dims[rank - 1] == first.dims[rank - 1] &&
                          (free_count ? s.dims[0] > 0 : s.dims[0] == first.dims[0]);
        if (!fits)
            return ak_call_fail(k, AK_ERR_SHAPE, "embeddings %s and %s do not fit",
                                ak_shape_text(first, a), ak_shape_text(s, b));
    }
    if (o->queue >= 0) {
        const ak_shape s = k->in[o->queue]->shape;
        if (s.n != 2 || s.dims[1] != first.dims[rank - 1])
            return ak_call_fail(k, AK_ERR_SHAPE, "queue %s does not fit embeddings %s",
                                ak_shape_text(s, b), ak_shape_text(first, a));
    }
    return AK_OK;
}

bool ak__temperature_fits(double tau)
{
    return tau > 0 && tau <= DBL_MAX && 1 / tau <= (double)AK_REAL_MAX;
}

/* Numbers of a constant operand: finite, and not negative where they weigh. */
static ak_status check_constant(ak_call *k, int operand, const char *name, bool weighs)
{
    const ak_tensor *t = operand < 0 ? NULL : k->in[operand];
    for (int64_t i = 0; t && i < t->size; i++)
        if (!(ak__fabs(t->data[i]) <= AK_REAL_MAX) || (weighs && t->data[i] < 0))
            return ak_call_fail(k, AK_ERR_VALUE, "%s: number %" PRId64 " is %g, must be %sfinite",
                                name, i, (double)t->data[i], weighs ? ">= 0 and " : "");
    return AK_OK;
}

static ak_status check_numbers_in(ak_call *k)
{
    const ak__contrast *o = k->attr;
    if (!ak__temperature_fits(o->tau)) {
        ak_call_hint(k, "usual values are 0.05 to 0.5; leave it out for the default");
        return ak_call_fail(k, AK_ERR_VALUE, "temperature %g, must be above 0, and both it and 1 / "
                            "temperature finite", o->tau);
    }
    if (!(o->smoothing >= 0 && o->smoothing < 1))
        return ak_call_fail(k, AK_ERR_VALUE, "label smoothing %g, must be in [0, 1)",
                            o->smoothing);
    if (!(o->factor > 0) || o->factor > DBL_MAX)
        return ak_call_fail(k, AK_ERR_VALUE, ".base_tau must be above 0 and finite: tau / base_tau "
                            "= %g", o->factor);
    if (o->log_scale >= 0 && k->in[o->log_scale]->size != 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "log scale must be one number");
    return AK_OK;
}

/* Whole batches that make no sense, with what to do. */
static ak_status check_count(ak_call *k, const contrast_sizes *z)
{
    const ak__contrast *o = k->attr;
    if (o->single_warns) {
        void **warned = ak__ctx_slot(k->ctx, AK__SLOT_LOSS_REPORT);
        if (z->R == 1 && z->C + z->K == 1 && !*warned) {
            *warned = k->ctx;           /* once a context is enough */
            ak_log_message(k->ctx, AK_LOG_WARNING, "%s: a batch of 1 has no negatives: loss and "
                           "gradient are 0", k->op->name);
        }
        return AK_OK;
    }
    const bool by_class = o->labels || o->matrix >= 0;
    const int64_t have = by_class ? z->rows : z->samples;
    if (!o->n_y && z->views < 2 && !by_class)
        return ak_call_fail(k, AK_ERR_SHAPE, "one view only: no anchor has a positive");
    if (have >= 2)
        return AK_OK;
    ak_call_hint(k, "use at least 2 samples; drop the last short batch of an epoch");
    return ak_call_fail(k, AK_ERR_VALUE, "a batch of 1 has no negatives");
}

static ak_status check_targets(ak_call *k, const contrast_sizes *z)
{
    const ak__contrast *o = k->attr;
    const bool listed = o->target_columns != NULL;
    if ((o->labels != NULL) + (o->matrix >= 0) + listed > 1)
        return ak_call_fail(k, AK_ERR_VALUE, "labels, a target matrix and target columns exclude "
                            "each other");
    if ((o->ids || o->others_masked) && (listed || (o->matrix >= 0 && !o->by_sample)))
        return ak_call_fail(k, AK_ERR_VALUE, "ids and no_batch_negatives go with targets by "
                            "position or label only");
    if (o->matrix >= 0 &&
        check_matrix(k, o->matrix, "target matrix", o->by_sample ? z->samples : z->R,
                     o->by_sample ? z->samples : z->C + z->K) != AK_OK)
        return AK_ERR_SHAPE;
    if (!listed)
        return AK_OK;
    const ak_index *ix = o->target_columns;
    const int64_t each = z->R > 0 ? ix->size / z->R : 0;
    if (check_index(k, ix, "target_columns", each > 0 ? each * z->R : z->R) != AK_OK)
        return AK_ERR_SHAPE;
    for (int64_t i = 0; i < ix->size; i++)
        if (ix->data[i] < 0 || ix->data[i] >= z->C + z->K)
            return ak_call_fail(k, AK_ERR_VALUE, "target column %d of entry %" PRId64
                                " is not in [0, %" PRId64 ")", (int)ix->data[i], i, z->C + z->K);
    if (o->target_weights >= 0 && k->in[o->target_weights]->size != ix->size)
        return ak_call_fail(k, AK_ERR_SHAPE, "target_weights and target_columns differ in size");
    return AK_OK;
}

static ak_status contrast_shape(ak_call *k)
{
    const ak__contrast *o = k->attr;
    ak_status st = check_embeddings(k);
    if (st == AK_OK)
        st = check_numbers_in(k);
    if (st != AK_OK)
        return st;
    const contrast_sizes z = sizes_of(k);
    st = check_count(k, &z);
    if (st == AK_OK)
        st = check_index(k, o->ids, "ids", z.samples);
    if (st == AK_OK)
        st = check_index(k, o->labels, "labels", z.samples);
    if (st == AK_OK)
        st = check_targets(k, &z);
    if (st == AK_OK)
        st = check_matrix(k, o->pair_weights, "pair weights", z.R, z.C + z.K);
    if (st == AK_OK && o->weights >= 0 && k->in[o->weights]->size != z.samples)
        st = ak_call_fail(k, AK_ERR_SHAPE, "weights must hold one number for each of %" PRId64
                          " samples", z.samples);
    if (st == AK_OK)
        st = check_constant(k, o->weights, "weights", true);
    if (st == AK_OK)
        st = check_constant(k, o->pair_weights, "pair weights", true);
    if (st == AK_OK)
        st = check_constant(k, o->matrix, o->by_sample ? "positives" : "targets", o->by_sample);
    if (st == AK_OK)
        st = check_constant(k, o->target_weights, "target_weights", false);
    k->out->shape = AK_SCALAR;
    return st;
}

/* ---- what forward keeps for backward --------------------------------------------------------- */

typedef struct contrast_state {
    ak__similarity    sim;
    ak__cross_entropy program;
    ak_real *inverse_x, *inverse_y;     /* 1 / max(|x|, floor); NULL where rows are taken as is */
    double   scale;
} contrast_state;

/* Cuts pieces off one block; with base NULL it only counts. */
typedef struct carver { char *base; size_t used; } carver;

static void *carve(carver *c, int64_t count, size_t size)
{
    const size_t at = c->used;
    c->used += ((size_t)count * size + 63) / 64 * 64;
    return c->base ? c->base + at : NULL;
}

/* Everything of the block that holds what is saved. */
typedef struct saved_parts {
    contrast_state *state;
    ak_real *x, *inverse_x, *inverse_y, *inverse_q, *keep, *list_weight[2], *top[2];
    ak__anchor *row, *column;
    ak__anchor_more *row_more, *column_more;
    int64_t *list_start[2];
    int32_t *list_other[2];
} saved_parts;

/* Rows that do not lie one after the other are stacked, and normalised on the way. Others stay
 * where they are, with the inverse of the norm as a factor. */
static bool copies_x(const ak__contrast *o) { return o->layout == AK__INTERLEAVED || o->n_x > 1; }

/* Candidates are counted one by one. */
static bool counts(const ak__contrast *o)
{
    return o->ids || o->others_masked || o->pair_weights >= 0 || o->smoothing > 0;
}

static bool is_symmetric(const ak__contrast *o) { return !o->n_y && !o->first_view; }

static saved_parts carve_parts(carver *c, const ak_call *k, const contrast_sizes *z, int64_t kept)
{
    const ak__contrast *o = k->attr;
    saved_parts s = { .state = carve(c, 1, sizeof(contrast_state)) };
    if (copies_x(o))
        s.x = carve(c, z->rows * z->D, sizeof(ak_real));
    if (!o->normalized) {
        s.inverse_x = carve(c, z->rows, sizeof(ak_real));
        if (o->n_y)
            s.inverse_y = carve(c, z->C, sizeof(ak_real));
        s.inverse_q = carve(c, z->K, sizeof(ak_real));
    }
    if (kept > 0)
        s.keep = carve(c, kept, sizeof(ak_real));
    s.row = carve(c, z->R, sizeof(ak__anchor));
    s.column = o->two_sided ? carve(c, z->C + z->K, sizeof(ak__anchor)) : NULL;
    if (o->report || counts(o)) {
        s.row_more = carve(c, z->R, sizeof(ak__anchor_more));
        if (o->two_sided)
            s.column_more = carve(c, z->C + z->K, sizeof(ak__anchor_more));
    }
    for (int side = 0; side < 2; side++) {
        const int64_t n = side ? z->C + z->K : z->R;
        if (o->target_columns) {
            s.list_start[side] = carve(c, n + 1, sizeof(int64_t));
            s.list_other[side] = carve(c, o->target_columns->size, sizeof(int32_t));
            s.list_weight[side] = carve(c, o->target_columns->size, sizeof(ak_real));
        }
        if (o->matrix >= 0)
            s.top[side] = carve(c, n, sizeof(ak_real));
    }
    return s;
}

/* ---- preparation ----------------------------------------------------------------------------- */

/* Row r of the stack: where it comes from in operand t, of which it is row `at`. */
static int64_t source_row(const ak__contrast *o, const contrast_sizes *z, int64_t at)
{
    return o->layout == AK__INTERLEAVED ? at % z->samples * z->views + at / z->samples : at;
}

/* 1/norm of the rows of t into inverse (NULL: none), and the rows times it into y (NULL: not). */
static void prepare_rows(const ak__contrast *o, const contrast_sizes *z, const ak_tensor *t,
                         ak_real *y, ak_real *inverse)
{
    const int64_t D = z->D;
    AK__PARALLEL_CHUNKS(c, operand_rows(t), 64, begin, end)
        for (int64_t r = begin; r < end; r++) {
            const ak_real *x = t->data + source_row(o, z, r) * D;
            if (inverse)
                inverse[r] = 1 / ak__fmax(ak__sqrt(ak__k.sum_squares(x, D)), (ak_real)NORM_FLOOR);
            if (y)
                ak__k.scale(y + r * D, inverse ? inverse[r] : 1, x, D);
        }
}

static double largest_norm(const ak_real *x, int64_t rows, int64_t D)
{
    double most = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double s = (double)ak__k.sum_squares(x + r * D, D);
        most = s > most || s != s ? s : most;
    }
    return sqrt(most);
}

/* Fill what is made of the rows, and tell the engine where they are. */
static void prepare_embeddings(const ak_call *k, const contrast_sizes *z, const saved_parts *s,
                               ak__similarity *sim)
{
    const ak__contrast *o = k->attr;
    ak__contrast plain = *o;
    plain.layout = AK__STACKED;
    int64_t at = 0;
    for (int i = 0; i < o->n_x; at += operand_rows(k->in[i++]))
        if (s->x || s->inverse_x)
            prepare_rows(o, z, k->in[i], s->x ? s->x + at * z->D : NULL,
                         s->inverse_x ? s->inverse_x + at : NULL);
    sim->x = s->x ? s->x : k->in[0]->data;
    sim->x_inverse = s->x ? NULL : s->inverse_x;
    sim->candidates[0] = (ak__candidates){ .y = sim->x, .inverse = sim->x_inverse, .n = z->C };
    if (o->n_y) {
        const ak_tensor *t = k->in[o->n_x];
        if (s->inverse_y)
            prepare_rows(&plain, z, t, NULL, s->inverse_y);
        sim->candidates[0] = (ak__candidates){ t->data, s->inverse_y, NULL, z->C };
    }
    if (o->queue >= 0) {
        const ak_tensor *t = k->in[o->queue];
        if (s->inverse_q)
            prepare_rows(&plain, z, t, NULL, s->inverse_q);
        sim->candidates[1] = (ak__candidates){ t->data, s->inverse_q, NULL, z->K };
    }
    sim->sources = z->K > 0 ? 2 : 1;
}

/* Upper bound of |s|. */
static double bound_of(const ak__contrast *o, const contrast_sizes *z, const ak__similarity *sim)
{
    if (!o->normalized)
        return sim->scale * (1 + 16 * (double)AK_REAL_EPS);
    const double x = largest_norm(sim->x, z->R, z->D);
    double y = o->n_y || o->first_view ? largest_norm(sim->candidates[0].y, z->C, z->D) : x;
    if (z->K > 0) {
        const double q = largest_norm(sim->candidates[1].y, z->K, z->D);
        y = q > y || q != q ? q : y;
    }
    return sim->scale * x * y * (1 + 16 * (double)AK_REAL_EPS);
}

/* Listed targets by row as given, and sorted by column (counting sort, so in order of rows). */
static void prepare_list(const ak_call *k, const contrast_sizes *z, const saved_parts *s,
                         ak__cross_entropy *p)
{
    const ak__contrast *o = k->attr;
    const ak_index *ix = o->target_columns;
    const ak_real *w = o->target_weights >= 0 ? k->in[o->target_weights]->data : NULL;
    const int64_t each = ix->size / z->R, C = z->C + z->K;
    int64_t *start = s->list_start[1];
    memset(start, 0, (size_t)(C + 1) * sizeof *start);
    for (int64_t e = 0; e < ix->size; e++) {
        s->list_other[0][e] = ix->data[e];
        s->list_weight[0][e] = w ? w[e] : (ak_real)1 / (ak_real)each;
        start[ix->data[e] + 1]++;
    }
    for (int64_t c = 0; c < C; c++)
        start[c + 1] += start[c];
    for (int64_t e = 0; e < ix->size; e++) {
        const int64_t to = start[ix->data[e]]++;
        s->list_other[1][to] = (int32_t)(e / each);
        s->list_weight[1][to] = s->list_weight[0][e];
    }
    memmove(start + 1, start, (size_t)C * sizeof *start);
    start[0] = 0;
    for (int64_t r = 0; r <= z->R; r++)
        s->list_start[0][r] = r * each;
    p->of_rows = (ak__target_list){ s->list_start[0], s->list_other[0], s->list_weight[0] };
    p->of_columns = (ak__target_list){ start, s->list_other[1], s->list_weight[1] };
}

/* The largest target of each row and column, without the diagonal if that is masked. */
static void prepare_tops(ak__cross_entropy *p, const saved_parts *s, int64_t n, int64_t m)
{
    memset(s->top[0], 0, (size_t)n * sizeof(ak_real));
    memset(s->top[1], 0, (size_t)m * sizeof(ak_real));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < m; j++) {
            const ak_real v = p->matrix[i * p->ld + j];
            s->top[0][i] = ak__fmax(v, s->top[0][i]);
            s->top[1][j] = ak__fmax(v, s->top[1][j]);
        }
    }
    p->top_row = s->top[0];
    /* of a matrix over samples the column's anchor looks along its own row */
    p->top_column = p->by_sample ? s->top[0] : s->top[1];
}

static void prepare_targets(const ak_call *k, const contrast_sizes *z, const saved_parts *s,
                            ak__cross_entropy *p)
{
    const ak__contrast *o = k->attr;
    p->samples = z->samples;
    p->rule = AK__TARGET_SAMPLE;
    if (o->labels) {
        p->rule = AK__TARGET_LABEL;
        p->labels = o->labels->data;
        p->shares = true;
    } else if (o->target_columns) {
        p->rule = AK__TARGET_LIST;
        prepare_list(k, z, s, p);
    } else if (o->matrix >= 0) {
        p->rule = AK__TARGET_MATRIX;
        p->matrix = k->in[o->matrix]->data;
        p->by_sample = o->by_sample;
        p->shares = o->shares;
        p->ld = o->by_sample ? z->samples : z->C + z->K;
        if (p->accuracy)
            prepare_tops(p, s, o->by_sample ? z->samples : z->R, p->ld);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

static void fill_report(const ak__contrast *o, const contrast_state *st, ak__side a, ak__side b,
                        double candidates)
{
    ak_loss_report *r = o->report;
    if (!r)
        return;
    const double judged = a.judged + b.judged;
    *r = (ak_loss_report){
        .loss = a.loss + b.loss,
        .chance = a.chance + b.chance,
        .accuracy = judged > 0 ? (a.right + b.right) / judged : 0,
        .tau = 1 / st->scale,
        .scale = st->scale,
        .anchors = a.anchors + b.anchors,
        .lonely = a.lonely + b.lonely,
        .masked = o->ids && candidates > 0 ? (a.masked + b.masked) / candidates : 0,
    };
}

static void run_forward(ak_call *k, const contrast_sizes *z, contrast_state *st)
{
    const ak__contrast *o = k->attr;
    ak__cross_entropy *p = &st->program;
    ak__cross_entropy_start(p, &st->sim);
    ak__similarity_absorb(&st->sim, ak__cross_entropy_absorb);
    const ak_real *weight = o->weights >= 0 ? k->in[o->weights]->data : NULL;
    const int32_t *ids = o->ids ? o->ids->data : NULL;
    const double full = (double)(z->C + z->K - (st->sim.mask.self ? 1 : 0));
    const double factor = o->two_sided ? 0.5 * o->factor : o->factor;
    const ak__side a = ak__cross_entropy_finish(p, false, z->R, weight, ids, factor, full);
    ak__side b = { 0 };
    if (o->two_sided)
        b = ak__cross_entropy_finish(p, true, z->C, weight, ids, factor, (double)z->R);
    k->out->data[0] = (ak_real)(a.loss + b.loss);
    fill_report(o, st, a, b, full * (double)a.anchors + (double)(z->R * b.anchors));
}

static void contrast_forward(ak_call *k)
{
    const ak__contrast *o = k->attr;
    const contrast_sizes z = sizes_of(k);
    const bool symmetric = is_symmetric(o);
    ak__similarity sim = { .R = z.R, .D = z.D, .symmetric = symmetric, .two_sided = o->two_sided,
                           .sources = z.K > 0 ? 2 : 1 };
    sim.candidates[0].n = z.C;
    sim.candidates[1].n = z.K;
    const int64_t kept = ak__similarity_kept(&sim);
    carver count = { 0 };
    carve_parts(&count, k, &z, kept);
    carver c = { .base = ak_call_save(k, count.used) };
    sim.memory = ak_call_scratch(k, ak__similarity_memory(&sim) * sizeof(ak_real));
    if (!c.base || !sim.memory)
        return;
    const saved_parts s = carve_parts(&c, k, &z, kept);
    contrast_state *st = s.state;
    prepare_embeddings(k, &z, &s, &sim);
    sim.scale = o->log_scale >= 0 ? exp((double)k->in[o->log_scale]->data[0]) : 1 / o->tau;
    sim.keep = s.keep;
    sim.mask = (ak__pair_mask){ .self = !o->n_y, .others = o->others_masked,
                                .ids = o->ids ? o->ids->data : NULL, .samples = z.samples };
    if (o->pair_weights >= 0) {
        sim.mask.weights = k->in[o->pair_weights]->data;
        sim.mask.ld = z.C + z.K;
    }
    const double bound = bound_of(o, &z, &sim);
    *st = (contrast_state){ .sim = sim, .scale = sim.scale, .inverse_x = s.inverse_x,
                            .inverse_y = s.inverse_y };
    st->program = (ak__cross_entropy){
        .row = s.row, .column = symmetric ? s.row : s.column,
        .row_more = s.row_more, .column_more = symmetric ? s.row_more : s.column_more,
        .bounded = bound <= LARGEST_BOUND, .bound = bound, .smoothing = o->smoothing,
        .accuracy = o->report != NULL, .count = counts(o) };
    st->sim.program = &st->program;
    prepare_targets(k, &z, &s, &st->program);
    run_forward(k, &z, st);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Where a gradient of stacked rows gathers: the operand's own memory if that is fresh and of the
 * same order, else scratch. Zeroed. */
typedef struct row_gradient {
    ak_real *g;
    bool     in_place;
} row_gradient;

static row_gradient gather_space(ak_call *k, int first, int n, bool plain, int64_t elements)
{
    row_gradient r = { 0 };
    if (n == 1 && plain) {
        bool fresh;
        ak_real *g = ak_call_grad_fresh(k, first, &fresh);
        if (g && fresh)
            r = (row_gradient){ g, true };
    }
    if (!r.g)
        r.g = ak_call_scratch(k, (size_t)elements * sizeof(ak_real));
    if (r.g)
        memset(r.g, 0, (size_t)elements * sizeof(ak_real));
    return r;
}

static bool wants(const ak_call *k, int first, int n)
{
    bool any = false;
    for (int i = first; i < first + n; i++)
        any = any || k->in[i]->root->needs_grad;
    return any;
}

typedef struct unit_backward {
    const ak_real *x, *g, *inverse;     /* rows, gradient of unit rows, 1/norm (may be NULL) */
    bool           units;               /* rows are unit rows */
    ak_real       *out;
    bool           assign;
    ak_real        factor;
} unit_backward;

/* Gradient of one row through the normalisation: (g - x <x, g>) / |x|. A row below the floor was
 * divided by a constant. */
static void unit_row_backward(const unit_backward *u, int64_t r, int64_t to, double dot, int64_t D)
{
    const ak_real *x = u->x + r * D, *g = u->g + r * D;
    ak_real *out = u->out + to * D;
    const ak_real inverse = u->inverse ? u->inverse[r] : 1;
    const bool projected = u->inverse && inverse < (ak_real)(0.999 / NORM_FLOOR);
    const ak_real a = u->factor * inverse;
    const ak_real b = projected ? a * (ak_real)dot * (u->units ? 1 : inverse) : 0;
    if (u->assign)
        for (int64_t d = 0; d < D; d++)
            out[d] = a * g[d] - b * x[d];
    else
        for (int64_t d = 0; d < D; d++)
            out[d] += a * g[d] - b * x[d];
}

/* dot[r] = <x_r, g_r>, x_r times its factor if it has one */
static void row_dots(double *dot, const ak_real *x, const ak_real *inverse, const ak_real *g,
                     int64_t rows, int64_t D)
{
    AK__PARALLEL_CHUNKS(c, rows, 64, begin, end)
        for (int64_t r = begin; r < end; r++)
            dot[r] = (double)(ak__k.dot(x + r * D, g + r * D, D) * (inverse ? inverse[r] : 1));
}

/* Hand the gradient of stacked rows to operands first .. first+n-1. */
static void give_rows(ak_call *k, const contrast_sizes *z, int first, int n, bool interleaved,
                      const ak_real *x, bool units, const row_gradient *from,
                      const ak_real *inverse, const double *dot, double factor)
{
    ak__contrast o = *(const ak__contrast *)k->attr;
    o.layout = interleaved ? AK__INTERLEAVED : AK__STACKED;
    const int64_t D = z->D;
    int64_t at = 0;
    for (int i = first; i < first + n; at += operand_rows(k->in[i++])) {
        bool fresh = true;
        ak_real *out = from->in_place ? from->g : ak_call_grad_fresh(k, i, &fresh);
        if (!out)
            continue;
        const unit_backward u = { x + at * D, from->g + at * D, inverse ? inverse + at : NULL,
                                  units, out, fresh, (ak_real)factor };
        AK__PARALLEL_CHUNKS(c, operand_rows(k->in[i]), 64, begin, end)
            for (int64_t r = begin; r < end; r++)
                unit_row_backward(&u, r, source_row(&o, z, r), dot[at + r], D);
    }
}

/* d loss / d log scale = sum of dS * S = sum over rows of <x, dX>; where a row is its own column,
 * each score is in it twice. */
static void give_scale(ak_call *k, const contrast_sizes *z, const double *dot, double factor)
{
    const ak__contrast *o = k->attr;
    ak_real *g = o->log_scale >= 0 ? ak_call_grad(k, o->log_scale) : NULL;
    if (!g)
        return;
    double sum = 0;
    for (int64_t r = 0; r < z->R; r++)
        sum += dot[r];
    g[0] += (ak_real)(factor * (is_symmetric(o) ? 0.5 * sum : sum));
}

static void contrast_backward(ak_call *k)
{
    const ak__contrast *o = k->attr;
    const contrast_sizes z = sizes_of(k);
    contrast_state *st = k->saved;
    ak__similarity *sim = &st->sim;
    const bool symmetric = is_symmetric(o), interleaved = o->layout == AK__INTERLEAVED;
    const bool want_scale = o->log_scale >= 0 && wants(k, o->log_scale, 1);
    const bool want_x = wants(k, 0, o->n_x) || want_scale;
    const bool want_y = o->n_y && wants(k, o->n_x, o->n_y);
    const double factor = sim->scale * (double)k->out->grad[0];
    const int64_t most = z.rows > z.C ? z.rows : z.C;

    row_gradient dx = { 0 }, dy = { 0 };
    sim->memory = ak_call_scratch(k, ak__similarity_memory(sim) * sizeof(ak_real));
    double *dot = ak_call_scratch(k, (size_t)most * sizeof(double));
    if (want_x)
        dx = gather_space(k, 0, o->n_x, !interleaved, z.rows * z.D);
    if (want_y)
        dy = gather_space(k, o->n_x, o->n_y, true, z.C * z.D);
    ak_real *anchors = o->first_view ? ak_call_scratch(k, (size_t)(z.R * z.D) * sizeof(ak_real))
                                     : dx.g;
    if (!sim->memory || !dot || (want_x && (!dx.g || !anchors)) || (want_y && !dy.g))
        return;
    if (o->first_view)
        memset(anchors, 0, (size_t)(z.R * z.D) * sizeof(ak_real));
    sim->dx = anchors;
    sim->candidates[0].dy = symmetric || o->first_view ? dx.g : dy.g;
    ak__similarity_gradient(sim, ak__cross_entropy_gradient);
    if (o->first_view)
        ak__k.add(dx.g, dx.g, anchors, z.R * z.D);
    if (want_x) {
        row_dots(dot, sim->x, sim->x_inverse, dx.g, z.rows, z.D);
        give_scale(k, &z, dot, factor);
        give_rows(k, &z, 0, o->n_x, interleaved, sim->x, !sim->x_inverse, &dx, st->inverse_x, dot,
                  factor);
    }
    if (want_y) {
        const ak__candidates *c = &sim->candidates[0];
        row_dots(dot, c->y, c->inverse, dy.g, z.C, z.D);
        give_rows(k, &z, o->n_x, o->n_y, false, c->y, !c->inverse, &dy, st->inverse_y, dot,
                  factor);
    }
}

static double contrast_flops(const ak_call *k)
{
    const contrast_sizes z = sizes_of(k);
    const double pairs = (double)z.R * (double)(z.C + z.K);
    return pairs * (double)z.D * (is_symmetric(k->attr) ? 1 : 2);
}

/* ---- records --------------------------------------------------------------------------------- */

#define CONTRAST_OP(title, text)                                                                   \
    { .name = title, .formula = text, .n_in = 2, .attr_size = sizeof(ak__contrast),                \
      .flags = AK_OP_VARIADIC, .shape = contrast_shape, .forward = contrast_forward,               \
      .backward = contrast_backward, .flops = contrast_flops }

const ak_op ak__op_ntxent = CONTRAST_OP("ntxent", "mean_i [log sum_{j!=i} e^s_ij - s_i,p(i)]");
const ak_op ak__op_infonce = CONTRAST_OP("infonce", "mean_i [log sum_j e^s_ij - s_ii]");
const ak_op ak__op_clip = CONTRAST_OP("clip", "(infonce(x, y) + infonce(y, x)) / 2");
const ak_op ak__op_supcon =
    CONTRAST_OP("supcon", "mean_i [log sum_{j!=i} e^s_ij - mean_{p in P(i)} s_ip]");

ak_tensor *ak__contrast_apply(const ak_op *op, ak__contrast o, ak__contrast_operands in)
{
    ak_tensor *list[AK__CONTRAST_VIEWS + 6];
    int n = 0;
    o.n_x = in.n_x;
    o.n_y = in.n_y;
    for (int i = 0; i < in.n_x && n < AK__CONTRAST_VIEWS; i++)
        list[n++] = in.x[i];
    for (int i = 0; i < in.n_y && n < AK__CONTRAST_VIEWS; i++)
        list[n++] = in.y[i];
    ak_tensor *const others[6] = { in.queue, in.log_scale, in.matrix, in.target_weights,
                                   in.pair_weights, in.weights };
    int *const places[6] = { &o.queue, &o.log_scale, &o.matrix, &o.target_weights,
                             &o.pair_weights, &o.weights };
    for (int i = 0; i < 6; i++) {
        *places[i] = others[i] ? n : -1;
        if (others[i])
            list[n++] = others[i];
    }
    return ak_apply(op, list, n, &o);
}
