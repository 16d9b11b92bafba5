/* SPDX-License-Identifier: Apache-2.0 */
/* The op of all losses over pairs: checks, memory, forward, backward. */
#include "losses/engine/pairs.h"

#include "base/base.h"
#include "base/real.h"
#include "losses/engine/embeddings.h"

#include <float.h>
#include <inttypes.h>
#include <string.h>

/* ---- checks ---------------------------------------------------------------------------------- */

static ak_status check_numbers(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    if (!(o->tau > 0) || o->tau > DBL_MAX) {
        ak_call_hint(k, "usual values are 0.05 to 0.5; leave it out for the default");
        return ak_call_fail(k, AK_ERR_VALUE, "temperature %g, must be above 0 and finite", o->tau);
    }
    if (o->log_scale < 0 && !ak__scale_fits(1 / o->tau))
        return ak_call_fail(k, AK_ERR_VALUE, "temperature %g: its inverse is out of the range of "
                            "numbers", o->tau);
    if (!(o->smoothing >= 0 && o->smoothing < 1))
        return ak_call_fail(k, AK_ERR_VALUE, "label smoothing %g, must be in [0, 1)",
                            o->smoothing);
    if (!(o->factor > 0) || o->factor > (double)AK_REAL_MAX)
        return ak_call_fail(k, AK_ERR_VALUE, ".base_tau must be above 0 and finite: tau / base_tau "
                            "= %g", o->factor);
    if (o->log_scale >= 0 && k->in[o->log_scale]->size != 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "log scale must be one number");
    if (o->log_scale >= 0 && !ak__scale_fits(exp((double)k->in[o->log_scale]->data[0]))) {
        ak_call_hint(k, "ak_temperature_clamp(log_scale, 0, 0) after each optimiser step keeps it");
        return ak_call_fail(k, AK_ERR_VALUE, "log scale %g: the scale e^s is out of the range of "
                            "numbers", (double)k->in[o->log_scale]->data[0]);
    }
    return AK_OK;
}

/* Whole batches that make no sense, with what to do. */
static ak_status check_count(ak_call *k, const ak__pair_sizes *z)
{
    const ak__pair_loss *o = k->attr;
    if (o->unpaired)
        return AK_OK;
    if (o->one_is_fine) {
        void **warned = ak__ctx_slot(k->ctx, AK__SLOT_LOSSES);
        if (z->R == 1 && z->C + z->K == 1 && !*warned) {
            *warned = k->ctx;           /* once a context is enough */
            ak_log_message(k->ctx, AK_LOG_WARNING, "%s: a batch of 1 has no negatives: loss and "
                           "gradient are 0", k->op->name);
        }
        return AK_OK;
    }
    const bool by_class = o->target.labels || o->matrix >= 0;
    const int64_t have = by_class ? z->rows : z->samples;
    if (!o->n_y && z->views < 2 && !by_class)
        return ak_call_fail(k, AK_ERR_SHAPE, "one view only: no anchor has a positive");
    if (have >= 2)
        return AK_OK;
    ak_call_hint(k, "use at least 2 samples; drop the last short batch of an epoch");
    return ak_call_fail(k, AK_ERR_VALUE, "a batch of 1 has no negatives");
}

static ak_status check_columns(ak_call *k, const ak__pair_sizes *z)
{
    const ak__pair_loss *o = k->attr;
    const ak_index *ix = k->index[AK__PAIR_COLUMNS];
    const int64_t each = z->R > 0 ? ix->size / z->R : 0;
    char text[AK_SHAPE_TEXT];
    if (each < 1 || ix->size != each * z->R)
        return ak_call_fail(k, AK_ERR_SHAPE, "target_columns %s should hold as many numbers for "
                            "each of %" PRId64 " rows", ak_shape_text(ix->shape, text), z->R);
    const ak_status status = ak_call_index_range(k, AK__PAIR_COLUMNS, 0, z->C + z->K);
    if (status != AK_OK)
        return status;
    if (o->target_weights >= 0 && k->in[o->target_weights]->size != ix->size)
        return ak_call_fail(k, AK_ERR_SHAPE, "target_weights and target_columns differ in size");
    return AK_OK;
}

static ak_status check_targets(ak_call *k, const ak__pair_sizes *z)
{
    const ak__pair_loss *o = k->attr;
    const bool listed = o->target.columns, by_sample = o->target.by_sample;
    if ((o->target.labels != NULL) + (o->matrix >= 0) + listed > 1)
        return ak_call_fail(k, AK_ERR_VALUE, "labels, a target matrix and target columns exclude "
                            "each other");
    if ((o->ids || (o->out & AK__OUT_OTHERS)) && (listed || (o->matrix >= 0 && !by_sample)))
        return ak_call_fail(k, AK_ERR_VALUE, "ids and no_batch_negatives go with targets by "
                            "position or label only");
    if (o->matrix >= 0 &&
        ak__pair_matrix_check(k, o->matrix, "target matrix", by_sample ? z->samples : z->R,
                              by_sample ? z->samples : z->C + z->K) != AK_OK)
        return AK_ERR_SHAPE;
    return listed ? check_columns(k, z) : AK_OK;
}

/* A constant operand: no gradient, finite numbers, not negative where they weigh. */
static ak_status check_constant(ak_call *k, int operand, const char *name, bool weighs)
{
    if (operand < 0)
        return AK_OK;
    const ak_tensor *t = k->in[operand];
    for (int64_t i = 0; i < t->size; i++)
        if (!(ak__fabs(t->data[i]) <= AK_REAL_MAX) || (weighs && t->data[i] < 0))
            return ak_call_fail(k, AK_ERR_VALUE, "%s: number %" PRId64 " is %g, must be %sfinite",
                                name, i, (double)t->data[i], weighs ? ">= 0 and " : "");
    return ak_call_constant(k, operand, name);
}

/* Of all but the queues, at which gradients stop by definition. */
static ak_status check_constants(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    ak_status st = check_constant(k, o->weights, "weights", true);
    if (st == AK_OK)
        st = check_constant(k, o->pair_weights, "pair weights", true);
    if (st == AK_OK)
        st = check_constant(k, o->matrix, o->target.by_sample ? "positives" : "targets",
                            o->target.by_sample);
    return st == AK_OK ? check_constant(k, o->target_weights, "target_weights", false) : st;
}

ak_status ak__pairs_shape(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    ak_status st = ak__embeddings_check(k);
    if (st == AK_OK)
        st = check_numbers(k);
    if (st != AK_OK)
        return st;
    const ak__pair_sizes z = ak__pair_sizes_of(k);
    st = check_count(k, &z);
    if (st == AK_OK)
        st = ak__pair_classes_check(k, AK__PAIR_IDS, "ids", "padding", z.samples);
    if (st == AK_OK)
        st = ak__pair_classes_check(k, AK__PAIR_LABELS, "labels", "unknown", z.samples);
    if (st == AK_OK)
        st = check_targets(k, &z);
    if (st == AK_OK)
        st = ak__pair_matrix_check(k, o->pair_weights, "pair weights", z.R, z.C + z.K);
    if (st == AK_OK && o->weights >= 0 && k->in[o->weights]->size != z.samples)
        st = ak_call_fail(k, AK_ERR_SHAPE, "weights must hold one number for each of %" PRId64
                          " samples", z.samples);
    if (st == AK_OK)
        st = check_constants(k);
    if (st == AK_OK && o->program->check)
        st = o->program->check(k, &z);
    k->out->shape = AK_SCALAR;
    k->across_samples = !(o->out & AK__OUT_OTHERS);     /* else: partner and queue alone */
    return st;
}

/* ---- memory of a call ------------------------------------------------------------------------ */

static void carve_targets(ak__pair_run *run, ak__carver *c)
{
    const ak__pair_loss *o = run->loss;
    const ak__pair_sizes *z = &run->size;
    for (int side = 0; side < 2; side++) {
        const int64_t n = side ? z->C + z->K : z->R;
        if (o->target.columns) {
            run->list_start[side] = ak__carve(c, n + 1, sizeof(int64_t));
            run->list_other[side] = ak__carve(c, o->target.columns->size, sizeof(int32_t));
            run->list_weight[side] = ak__carve_reals(c, o->target.columns->size);
        }
        if (o->matrix >= 0)
            run->top[side] = ak__carve_reals(c, n);
    }
}

/* Everything that is kept from forward to backward, behind the run itself. */
static void carve_run(ak__pair_run *run, ak__carver *c)
{
    const ak__pair_loss *o = run->loss;
    ak__embeddings_carve(run, c);
    const int64_t kept = o->program->absorb ? ak__walk_kept(&run->walk) : 0;
    run->walk.keep = kept > 0 ? ak__carve_reals(c, kept) : NULL;
    run->row = ak__carve(c, run->size.R, run->stride);
    if (ak__is_symmetric(o))
        run->column = run->row;
    else if (o->two_sided)
        run->column = ak__carve(c, run->size.C + run->size.K, run->stride);
    carve_targets(run, c);
    if (o->program->prepare)
        run->own = o->program->prepare(run, c);
}

/* What is known of a call from the shapes of its operands. */
static ak__pair_run plan_run(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    ak__pair_run run = { .loss = o, .size = ak__pair_sizes_of(k),
                         .recorded = ak_call_recorded(k),
                         .stride = o->program->anchor_bytes(o) };
    const ak__pair_sizes *z = &run.size;
    ak__walk *w = &run.walk;
    w->R = z->R;
    w->sets = z->K > 0 ? 2 : 1;
    w->count[0] = z->C;
    w->count[1] = z->K;
    w->symmetric = ak__is_symmetric(o);
    w->keep_most = run.recorded ? ak__score_memory(k->ctx) / (int64_t)sizeof(ak_real) : 0;
    for (int i = 0; i < w->sets; i++)
        w->anchors[i] = o->two_sided;
    w->matrices = o->matrices;
    for (int p = 0; p < o->matrices; p++)
        w->scores[p] = (ak__score_matrix){ .D = ak_last_dim(k->in[p ? o->other[p - 1].x : 0]),
                                     .scale = p ? o->other[p - 1].scale : 1 };
    w->out.out = o->out | (o->n_y ? 0 : AK__OUT_SELF);
    w->out.samples = run.unsummed.samples = z->samples;
    run.unsummed.out = o->unsummed;
    return run;
}

/* ---- targets --------------------------------------------------------------------------------- */

/* Listed targets by row as given, and sorted by column (counting sort, so in order of rows). */
static void prepare_list(const ak_call *k, ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    const ak__pair_sizes *z = &run->size;
    const ak_index *ix = o->target.columns;
    const ak_real *w = o->target_weights >= 0 ? k->in[o->target_weights]->data : NULL;
    const int64_t each = ix->size / z->R, C = z->C + z->K;
    int64_t *start = run->list_start[1];
    memset(start, 0, (size_t)(C + 1) * sizeof *start);
    for (int64_t e = 0; e < ix->size; e++) {
        run->list_other[0][e] = ix->data[e];
        run->list_weight[0][e] = w ? w[e] : (ak_real)1 / (ak_real)each;
        start[ix->data[e] + 1]++;
    }
    for (int64_t c = 0; c < C; c++)
        start[c + 1] += start[c];
    for (int64_t e = 0; e < ix->size; e++) {
        const int64_t to = start[ix->data[e]]++;
        run->list_other[1][to] = (int32_t)(e / each);
        run->list_weight[1][to] = run->list_weight[0][e];
    }
    memmove(start + 1, start, (size_t)C * sizeof *start);
    start[0] = 0;
    for (int64_t r = 0; r <= z->R; r++)
        run->list_start[0][r] = r * each;
    ak__targets *t = &run->targets;
    t->of_rows = (ak__target_list){ run->list_start[0], run->list_other[0], run->list_weight[0] };
    t->of_columns = (ak__target_list){ start, run->list_other[1], run->list_weight[1] };
}

/* The largest target of each row and column, without the diagonal if that is masked. */
static void prepare_tops(ak__pair_run *run)
{
    ak__targets *t = &run->targets;
    const int64_t n = t->by_sample ? run->size.samples : run->size.R, m = t->ld;
    memset(run->top[0], 0, (size_t)n * sizeof(ak_real));
    memset(run->top[1], 0, (size_t)m * sizeof(ak_real));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < m; j++) {
            const ak_real v = t->matrix[i * t->ld + j];
            run->top[0][i] = ak__fmax(v, run->top[0][i]);
            run->top[1][j] = ak__fmax(v, run->top[1][j]);
        }
    }
    t->top_row = run->top[0];
    /* of a matrix over samples the column's anchor looks along its own row */
    t->top_column = t->by_sample ? run->top[0] : run->top[1];
}

static void prepare_targets(const ak_call *k, ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    const ak__pair_sizes *z = &run->size;
    ak__targets *t = &run->targets;
    const int64_t samples = o->free_columns && z->C > z->samples ? z->C : z->samples;
    *t = (ak__targets){ .rule = AK__TARGET_SAMPLE, .samples = samples, .R = z->R, .C = z->C,
                        .skip_self = run->walk.out.out & AK__OUT_SELF };
    if (o->target.labels) {
        t->rule = AK__TARGET_LABEL;
        t->labels = o->target.labels->data;
        t->shares = true;
    } else if (o->target.columns) {
        t->rule = AK__TARGET_LIST;
        prepare_list(k, run);
    } else if (o->matrix >= 0) {
        t->rule = AK__TARGET_MATRIX;
        t->matrix = k->in[o->matrix]->data;
        t->by_sample = o->target.by_sample;
        t->shares = o->target.shares;
        t->ld = t->by_sample ? z->samples : z->C + z->K;
        if (o->report)
            prepare_tops(run);
    }
}

/* Point to the values of operands: in forward and again in backward, since those that are made
 * again (ak_done_with) stand elsewhere then. */
static void locate(const ak_call *k, ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    ak__embeddings_locate(k, run);
    ak__pair_rule *out = &run->walk.out, *unsummed = &run->unsummed;
    out->ids = o->ids ? o->ids->data : NULL;
    out->labels = unsummed->labels = o->target.labels ? o->target.labels->data : NULL;
    if (o->pair_weights >= 0) {
        out->weights = k->in[o->pair_weights]->data;
        out->ld = run->size.C + run->size.K;
    }
    if (o->matrix >= 0)
        run->targets.matrix = k->in[o->matrix]->data;
    run->weight = o->weights >= 0 ? k->in[o->weights]->data : NULL;
    for (int i = 0; i < AK__PAIR_EXTRAS; i++)
        run->extra[i] = o->extra[i] >= 0 ? k->in[o->extra[i]]->data : NULL;
    run->walk.user = run;
}

/* ---- forward and backward -------------------------------------------------------------------- */

void ak__pairs_forward(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    ak__pair_run plan = plan_run(k);
    ak__carver count = { 0 };
    ak__carve(&count, 1, sizeof plan);
    carve_run(&plan, &count);
    ak__carver c = { .base = ak_call_save(k, count.used) };
    plan.walk.memory = ak_call_scratch(k, ak__walk_memory(&plan.walk) * sizeof(ak_real));
    if (!c.base || !plan.walk.memory)
        return;
    ak__pair_run *run = ak__carve(&c, 1, sizeof plan);
    *run = plan;
    carve_run(run, &c);
    run->scale = o->log_scale >= 0 ? exp((double)k->in[o->log_scale]->data[0]) : 1 / o->tau;
    run->walk.scores[0].scale = run->scale;
    ak__embeddings_prepare(k, run);
    prepare_targets(k, run);
    locate(k, run);
    run->bound = ak__embeddings_bound(run);
    bool again = true;
    double loss = 0;
    for (; again; run->sweep++) {
        o->program->start(run);
        if (o->program->absorb)
            ak__walk_absorb(&run->walk, o->program->absorb);
        else
            ak__embeddings_sweep_once(k, run);
        loss = o->program->finish(run, &again);
    }
    k->out->data[0] = (ak_real)loss;
}

void ak__pairs_backward(ak_call *k)
{
    ak__pair_run *run = k->saved;
    locate(k, run);
    if (ak__embeddings_backward(k, run) && run->loss->program->give)
        run->loss->program->give(run, k);
}

double ak__pairs_flops(const ak_call *k)
{
    const ak__pair_sizes z = ak__pair_sizes_of(k);
    const double pairs = (double)z.R * (double)(z.C + z.K);
    return pairs * (double)z.D * (ak__is_symmetric(k->attr) ? 1 : 2);
}

/* ---- the call -------------------------------------------------------------------------------- */

#define MOST_OPERANDS (AK__PAIR_VIEWS + 6 + AK__PAIR_EXTRAS + 3 * (AK__MAX_SCORES - 1))

/* Append an operand that may be missing: its place, or -1. */
static int place(ak_tensor **list, int *n, ak_tensor *t)
{
    if (!t)
        return -1;
    list[*n] = t;
    return (*n)++;
}

ak_tensor *ak__pairs_apply(const ak_op *op, ak__pair_loss o, ak__pair_operands in)
{
    ak_tensor *list[MOST_OPERANDS];
    int n = 0;
    o.n_x = in.n_x;
    o.n_y = in.n_y;
    for (int i = 0; i < in.n_x && n < AK__PAIR_VIEWS; i++)
        list[n++] = in.x[i];
    for (int i = 0; i < in.n_y && n < AK__PAIR_VIEWS; i++)
        list[n++] = in.y[i];
    o.queue = place(list, &n, in.queue);
    o.log_scale = place(list, &n, in.log_scale);
    o.matrix = place(list, &n, in.matrix);
    o.target_weights = place(list, &n, in.target_weights);
    o.pair_weights = place(list, &n, in.pair_weights);
    o.weights = place(list, &n, in.weights);
    for (int i = 0; i < AK__PAIR_EXTRAS; i++)
        o.extra[i] = place(list, &n, in.extra[i]);
    o.matrices = 1;
    for (int p = 0; p < AK__MAX_SCORES - 1 && in.other[p].x; p++, o.matrices++) {
        o.other[p].x = place(list, &n, in.other[p].x);
        o.other[p].y = place(list, &n, in.other[p].y);
        o.other[p].queue = place(list, &n, in.other[p].queue);
    }
    ak_index *index[AK__PAIR_INDICES] = { o.ids, o.target.labels, o.target.columns };
    return ak_apply_all(op, (ak_operands){ list, n, index, AK__PAIR_INDICES }, &o).out;
}
