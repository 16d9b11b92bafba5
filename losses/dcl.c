/* SPDX-License-Identifier: Apache-2.0 */
/* DCL and DCLW: NT-Xent whose sum leaves the partner out; DCLW weighs the partners. */
#include <akin/autograd.h>
#include <akin/ops.h>

#include "losses/engine/cross_entropy.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/tensor_internal.h"

#define DCL_TAU 0.1
#define DCLW_SIGMA 0.5

enum { WEIGHTED, SIGMA, THROUGH };      /* the program's numbers */

static double or_default(double value, double otherwise) { return value == 0 ? otherwise : value; }

/* ---- the program ----------------------------------------------------------------------------- */

/* The weights of one view's anchors, omega_i = 2 - n e^(c_i / sigma) / sum_j e^(c_j / sigma), come
 * from all of them: cos c_i = tau s_i. */
typedef struct omegas {
    double kappa, max, sum, n;          /* tau / sigma; of the exponentials */
    double slope;                       /* sum_j w_j s_j p_j */
} omegas;

static omegas omegas_of(const ak__pair_run *run, const ak__anchors *of, int64_t first)
{
    omegas o = { .kappa = run->loss->tau / run->loss->number[SIGMA], .max = -(double)INFINITY };
    const int64_t end = first + run->size.samples;
    for (int64_t i = first; i < end; i++) {
        const ak__anchor *a = ak__anchor_at(run, false, i);
        if (a->mass > 0 && o.kappa * a->positive > o.max)
            o.max = o.kappa * a->positive;
    }
    for (int64_t i = first; i < end; i++) {
        const ak__anchor *a = ak__anchor_at(run, false, i);
        if (a->mass > 0) {
            const double e = exp(o.kappa * a->positive - o.max);
            o.sum += e;
            o.n += 1;
            o.slope += ak__anchor_weight(run, of, i) * a->positive * e;
        }
    }
    o.slope /= o.sum;
    return o;
}

static double dcl_finish(ak__pair_run *run, bool *again)
{
    const ak__anchors of = ak__anchors_of(run, false, NULL);
    const double *number = run->loss->number, full = ak__anchor_candidates(run, false);
    ak__side side = { .anchors = of.count };
    for (int64_t view = 0; view < run->size.views; view++) {
        const int64_t first = view * run->size.samples;
        const omegas o = omegas_of(run, &of, first);
        for (int64_t i = first; i < first + run->size.samples; i++) {
            ak__anchor *a = ak__anchor_at(run, false, i);
            const double w = ak__anchor_weight(run, &of, i) / of.total, s = a->positive;
            const double p = exp(o.kappa * s - o.max) / o.sum;
            const double omega = number[WEIGHTED] != 0 && a->mass > 0 ? 2 - o.n * p : 1;
            const ak__candidate_count n = ak__candidates_of(run, false, i);
            side.masked += ak__anchor_is_padding(run, i) ? 0 : full - n.number;
            ak__cross_entropy_anchor(run, false, i, omega, n, w > 0 ? w : 0, &side);
            if (number[THROUGH] != 0 && w > 0)  /* d omega / d s of all anchors of the view */
                a->target_coefficient -= o.n * o.kappa * p * (w * s - o.slope / of.total);
        }
    }
    *again = false;
    ak__report_fill(run, side, (ak__side){ 0 });
    return side.loss;
}

static ak_status dcl_check(ak_call *k, const ak__pair_sizes *z)
{
    (void)z;
    const double sigma = ((const ak__pair_loss *)k->attr)->number[SIGMA];
    return sigma > 0 && !isinf(sigma) && !isinf(1 / sigma) ? AK_OK
         : ak_call_fail(k, AK_ERR_VALUE, "sigma %g, must be above 0 and finite", sigma);
}

static const ak__pair_program program = {
    .anchor_bytes = ak__cross_entropy_bytes, .start = ak__cross_entropy_start,
    .absorb = ak__cross_entropy_absorb, .finish = dcl_finish,
    .gradient = ak__cross_entropy_gradient, .check = dcl_check };

static const ak_op dcl = AK__PAIR_OP("dcl", "mean_i [log sum_{j!=i,p(i)} e^s_ij - s_i,p(i)]");
static const ak_op dclw = AK__PAIR_OP("dclw", "mean_i [log sum_{j!=i,p(i)} e^s_ij - o_i s_i,p(i)]");

static ak_tensor *fused(const ak_op *op, ak_tensor *z1, ak_tensor *z2, ak_dcl_options o)
{
    const ak__pair_loss loss = {
        .program = &program, .normalized = o.normalized, .unsummed = AK__OUT_PARTNERS,
        .tau = or_default(o.tau, DCL_TAU), .factor = 1, .ids = o.ids, .report = o.report,
        .number = { [WEIGHTED] = op == &dclw, [SIGMA] = or_default(o.sigma, DCLW_SIGMA),
                    [THROUGH] = op == &dclw && o.through } };
    return ak__pairs_apply(op, loss, (ak__pair_operands){ .x = (ak_tensor *[]){ z1, z2 },
                                                          .n_x = 2, .weights = o.weights });
}

/* ---- composed -------------------------------------------------------------------------------- */

/* 2 - n softmax(c / sigma) over the anchors of each view, [2N]; padding (`there` 0) is left out. */
static ak_tensor *omega_of(ak_tensor *cosine, ak_tensor *there, int64_t N, ak_dcl_options o)
{
    const double sigma = or_default(o.sigma, DCLW_SIGMA);
    ak_tensor *c = ak_scale(ak_reshape(cosine, AK_SHAPE(2, N)), 1 / sigma);
    ak_tensor *in = ak_reshape(there, AK_SHAPE(2, N));
    ak_tensor *none = ak_full(c->ctx, c->shape, -(double)INFINITY);
    ak_tensor *share = ak_softmax(ak_where(in, c, none));
    ak_tensor *n = ak_reshape(ak_sum_axis(in, 1), AK_SHAPE(2, 1));
    ak_tensor *omega = ak_add_scalar(ak_neg(ak_mul(share, n)), 2);
    return ak_reshape(o.through ? omega : ak_detach(omega), AK_SHAPE(2 * N));
}

static ak_tensor *composed(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o, bool weighted)
{
    const double tau = or_default(o.tau, DCL_TAU);
    const int64_t N = ak_row_count(z1);
    if (!AK__EXTRAS_FIT(z1->ctx, weighted ? "ak_loss_dclw_composed" : "ak_loss_dcl_composed",
                        AK__EXTRA_WEIGHTS(o.weights, N), AK__EXTRA_INDEX(".ids", o.ids, N)))
        return &ak__poison;
    ak_tensor *u = ak__unit_rows(ak_concat(0, z1, z2), o.normalized);           /* [2N, D] */
    if (ak_is_poison(u))
        return u;
    const ak__pairs pairs = { .ctx = u->ctx, .R = 2 * N, .C = 2 * N, .N = N, .batch = 2 * N,
                              .self = true };
    ak_tensor *s = ak__scores(u, u, tau, NULL);                                 /* [2N, 2N] */
    ak_tensor *others = ak_sub(ak__candidate_matrix(pairs, o.ids, false),
                               ak__sample_matrix(pairs));       /* -1: the partner of padding */
    ak_tensor *zero = ak_scale(others, 0), *one = ak_add_scalar(zero, 1);
    others = ak_where(ak_maximum(others, zero), one, zero);
    ak_tensor *none = ak_full(u->ctx, s->shape, -(double)INFINITY);
    ak_tensor *negatives = ak_logsumexp(ak_where(others, s, none), 1);          /* [2N] */
    ak_tensor *partner = ak_pair_diagonal(s);                                   /* [2N] */
    ak_tensor *w = ak__anchor_weights(pairs, o.weights, o.ids, NULL, s);
    ak_tensor *any = ak_mul(w, ak_sum_axis(others, 1));     /* no negatives: no anchor */
    if (weighted) {
        ak_tensor *there = ak__anchor_weights(pairs, NULL, o.ids, NULL, s);
        there = ak_where(there, ak_add_scalar(ak_scale(there, 0), 1), there);
        partner = ak_mul(partner, omega_of(ak_scale(partner, tau), there, N, o));
    }
    ak_tensor *each = ak_where(any, ak_sub(negatives, partner), ak_scale(w, 0));
    return ak__across_samples(ak_sum(ak_mul(w, each)));
}

/* Constant weights of partners have no gradient that differences could see: golden tests do. */
static ak_dcl_options options_of(const ak_sample *s, ak_tensor *z)
{
    const ak__loss_case *c = ak__case_of(s);
    const int64_t N = z->shape.dims[0];
    return (ak_dcl_options){
        .tau = c->tau, .sigma = c->number, .through = true, .normalized = c->normalized,
        .ids = ak__sample_index(z->ctx, c->ids, N),
        .weights = c->weights ? ak__sample_constant(z->ctx, AK_SHAPE(N), 1, 0.1) : NULL };
}

#define DCL_LOSS(name, ...)                                                                        \
    ak_tensor *ak_loss_##name(ak_tensor *z1, ak_tensor *z2, ak_dcl_options o)                      \
    {                                                                                              \
        if (!AK__TENSOR(NULL, z1) || !AK__TENSOR(z1->ctx, z2))                                     \
            return &ak__poison;                                                                    \
        return __VA_ARGS__;                                                                        \
    }                                                                                              \
    static ak_tensor *run_##name(ak_tensor *const *in, int n_in, const ak_sample *s)               \
    {                                                                                              \
        (void)n_in;                                                                                \
        return ak_loss_##name(in[0], in[1], options_of(s, in[0]));                                 \
    }
DCL_LOSS(dcl, fused(&dcl, z1, z2, o))
DCL_LOSS(dcl_composed, composed(z1, z2, o, false))
DCL_LOSS(dclw, fused(&dclw, z1, z2, o))
DCL_LOSS(dclw_composed, composed(z1, z2, o, true))

static const ak_sample samples[] = {
    { AK__TWO(2, 3) },
    { AK__TWO(2, 1), AK__CASE(.normalized = true, .tau = 0.5) },
    { AK__TWO(5, 7), AK__CASE(.tau = 0.2, .number = 0.3) },
    { AK__TWO(7, 3), AK__CASE(.tau = 0.3, .weights = true) },
    { AK__TWO(9, 4), AK__CASE(.tau = 0.3, .ids = ak__some_ids, .number = 0.8) },
    { AK__TWO(9, 5), AK__CASE(.ids = ak__some_ids, .weights = true) },
    { AK__TWO(3, 33), AK__CASE(.tau = 0.02, .number = 0.1) },
    AK_END
};

#define DCL_SOURCE "Yeh et al., ECCV 2022"
const ak_loss_info ak__loss_dcl = {
    "dcl", "DCL", DCL_SOURCE, "mean_i [log sum_{j != i, p(i)} exp(s_ij) - s_i,p(i)]",
    "tau: 0 = 0.1\n" AK__COMMON_OPTIONS, "ln(2N-2)", AK_SHARD_CANDIDATES, samples, run_dcl,
    run_dcl_composed
};

const ak_loss_info ak__loss_dclw = {
    "dclw", "DCL, partners weighed", DCL_SOURCE,
    "mean_i [log sum_{j != i, p(i)} exp(s_ij) - o_i s_i,p(i)], o_i = 2 - N softmax_i(c / sigma)",
    "tau: 0 = 0.1\nsigma: 0 = 0.5\nthrough: gradient through the weights o\n" AK__COMMON_OPTIONS,
    "ln(2N-2)", AK_SHARD_CANDIDATES, samples, run_dclw, run_dclw_composed
};
