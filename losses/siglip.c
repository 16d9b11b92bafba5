/* SPDX-License-Identifier: Apache-2.0 */
/* SigLIP: one yes-or-no question a pair. Cell-local, so value and gradient take one sweep. */
#include <akin/ops.h>

#include "base/parallel.h"
#include "base/real.h"
#include "losses/engine/report.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#define SIGLIP_TAU 0.1
#define SIGLIP_BIAS (-10.0)

enum { BIAS };                          /* the program's number, and its operand */

typedef struct siglip_row { double value, slope; ak__best best; } siglip_row;

static siglip_row *row_at(const ak__pair_run *run, int64_t r)
{
    return (siglip_row *)(void *)run->row + r;
}

static double bias_of(const ak__pair_run *run)
{
    return run->extra[BIAS] ? (double)run->extra[BIAS][0] : run->loss->number[BIAS];
}

/* l of a row of negatives becomes share * sigmoid(l); the sums of softplus(l) and of that. */
static void row_of_negatives(ak_real *l, ak_real *e, ak_real share, int64_t n, siglip_row *row)
{
    ak_real value = 0, slope = 0;
    for (int64_t j = 0; j < n; j++)
        e[j] = l[j] > 0 ? -l[j] : l[j];
    ak__k.exp(e, e, n);                                         /* e^-|l| */
    AK__PRAGMA(omp simd reduction(+ : value, slope))
    for (int64_t j = 0; j < n; j++) {
        value += ak__log_1_plus(e[j]) + (l[j] > 0 ? l[j] : 0);
        l[j] = share * (l[j] > 0 ? 1 : e[j]) / (1 + e[j]);
        slope += l[j];
    }
    row->value += (double)value;
    row->slope += (double)slope;
}

static void siglip_tile(const ak__walk *w, const ak__tile *t)
{
    enum { EXP, TARGETS };              /* the best scores take the last four rows */
    ak__pair_run *run = w->user;
    ak_real *e = t->scratch + EXP * t->stride, *target = t->scratch + TARGETS * t->stride;
    const ak_real bias = (ak_real)bias_of(run), share = (ak_real)(1 / (double)run->size.R);
    if (run->loss->report)
        ak__best_absorb(run, &(ak__best_of){ &row_at(run, 0)->best, NULL, sizeof(siglip_row) }, t);
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *s = t->s + i * t->ld;
        siglip_row *row = row_at(run, t->r0 + i);
        ak__targets_fill(&run->targets, t, i, false, target);
        for (int64_t j = 0; j < t->n; j++)      /* a pair is a negative of the other sign */
            s[j] = target[j] > 0 ? -(s[j] + bias) : s[j] + bias;
        row_of_negatives(s, e, share, t->n, row);
        for (int64_t j = 0; j < t->n; j++) {
            row->slope -= target[j] > 0 ? 2 * (double)s[j] : 0;
            s[j] = target[j] > 0 ? -s[j] : s[j];
        }
    }
}

static void siglip_start(ak__pair_run *run)
{
    for (int64_t r = 0; r < run->size.R; r++)
        *row_at(run, r) = (siglip_row){ .best = ak__best_empty() };
}

static double softplus(double l) { return (l > 0 ? l : 0) + log1p(exp(-fabs(l))); }

static double siglip_finish(ak__pair_run *run, bool *again)
{
    const double n = (double)run->size.R, alike = run->scale + bias_of(run);
    ak__side side = { .anchors = run->size.R, .judged = n };
    for (int64_t r = 0; r < run->size.R; r++) {
        side.loss += row_at(run, r)->value / n;
        side.right += ak__best_is_right(&row_at(run, r)->best) ? 1 : 0;
    }
    side.chance = softplus(-alike) + (double)(run->size.C - 1) * softplus(alike);
    *again = false;
    ak__report_fill(run, side, (ak__side){ 0 });
    return side.loss;
}

static void siglip_give(ak__pair_run *run, ak_call *k)
{
    ak_real *g = run->extra[BIAS] ? ak_call_grad(k, run->loss->extra[BIAS]) : NULL;
    double slope = 0;
    for (int64_t r = 0; g && r < run->size.R; r++)
        slope += row_at(run, r)->slope;
    if (g)
        g[0] += (ak_real)((double)k->out->grad[0] * slope);
}

static size_t siglip_bytes(const ak__pair_loss *loss) { (void)loss; return sizeof(siglip_row); }

static ak_status siglip_check(ak_call *k, const ak__pair_sizes *z)
{
    const ak__pair_loss *o = k->attr;
    if (o->extra[BIAS] >= 0 && k->in[o->extra[BIAS]]->size != 1)
        return ak_call_fail(k, AK_ERR_SHAPE, "the bias must be one number");
    if ((o->ids || o->target.labels) && z->R != z->C)
        return ak_call_fail(k, AK_ERR_SHAPE, "ids and labels go with as many texts as images");
    return AK_OK;
}

static const ak__pair_program program = {
    .anchor_bytes = siglip_bytes, .start = siglip_start, .finish = siglip_finish,
    .gradient = siglip_tile, .give = siglip_give, .check = siglip_check };

static const ak_op siglip = AK__PAIR_OP("siglip", "1/N sum_ij softplus(-z_ij (s_ij + b))");

ak_tensor *ak_loss_siglip(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale, ak_tensor *bias,
                          ak_siglip_options o)
{
    const ak__pair_loss loss = {
        .program = &program, .unpaired = true, .free_columns = true,
        .normalized = o.normalized, .tau = o.tau == 0 ? SIGLIP_TAU : o.tau, .factor = 1,
        .number = { [BIAS] = SIGLIP_BIAS }, .ids = o.ids, .target.labels = o.labels,
        .report = o.report };
    return ak__pairs_apply(&siglip, loss, (ak__pair_operands){
        .x = &image, .n_x = 1, .y = &text, .n_y = 1, .log_scale = log_scale,
        .extra = { [BIAS] = bias } });
}

ak_tensor *ak_loss_siglip_composed(ak_tensor *image, ak_tensor *text, ak_tensor *log_scale,
                                   ak_tensor *bias, ak_siglip_options o)
{
    if (!AK__TENSOR(NULL, image) || !AK__TENSOR(image->ctx, text))
        return &ak__poison;
    const int64_t N = ak_row_count(image), M = ak_row_count(text);
    if (!AK__EXTRAS_FIT(image->ctx, __func__, AK__EXTRA_NUMBER("log_scale", log_scale),
                        AK__EXTRA_NUMBER("bias", bias), AK__EXTRA_INDEX(".labels", o.labels, N),
                        AK__EXTRA_INDEX(".labels", o.labels, M), AK__EXTRA_INDEX(".ids", o.ids, N),
                        AK__EXTRA_INDEX(".ids", o.ids, M)))     /* of images, and of texts */
        return &ak__poison;
    ak_tensor *x = ak__unit_rows(image, o.normalized), *y = ak__unit_rows(text, o.normalized);
    ak_tensor *s = ak__scores(x, y, o.tau == 0 ? SIGLIP_TAU : o.tau, log_scale);
    if (ak_is_poison(s))
        return s;
    const ak__pairs pairs = { .ctx = s->ctx, .R = N, .C = M, .N = N > M ? N : M, .batch = M };
    ak_tensor *l = bias ? ak_add(s, bias) : ak_add_scalar(s, SIGLIP_BIAS);
    ak_tensor *positive = o.labels ? ak__label_matrix(pairs, o.labels) : ak__sample_matrix(pairs);
    ak_tensor *sign = ak_add_scalar(ak_scale(positive, -2), 1);         /* -z: 1 of negatives */
    ak_tensor *in = ak__candidate_matrix(pairs, o.ids, false);
    ak_tensor *all = ak_sum(ak_mul(ak_softplus(ak_mul(sign, l)), in));
    return ak__across_samples(ak_scale(all, 1 / (double)N));
}

static ak_siglip_options options_of(const ak_sample *s, ak_tensor *z)
{
    const ak__loss_case *c = ak__case_of(s);
    return (ak_siglip_options){
        .tau = c->tau, .normalized = c->normalized,
        .ids = ak__sample_index(z->ctx, c->ids, z->shape.dims[0]),
        .labels = ak__sample_index(z->ctx, c->labels, z->shape.dims[0]) };
}

static ak_tensor *run(ak_tensor *const *in, int n, const ak_sample *s)
{
    return ak_loss_siglip(in[0], in[1], n > 2 ? in[2] : NULL, n > 3 ? in[3] : NULL,
                          options_of(s, in[0]));
}

static ak_tensor *run_composed(ak_tensor *const *in, int n, const ak_sample *s)
{
    return ak_loss_siglip_composed(in[0], in[1], n > 2 ? in[2] : NULL, n > 3 ? in[3] : NULL,
                                   options_of(s, in[0]));
}

#define TWO_SCALE_BIAS(n, m, d) .in = { {2, {n, d}}, {2, {m, d}}, {1, {1}}, {1, {1}} }, .n_in = 4
static const ak_sample samples[] = {
    { TWO_SCALE_BIAS(1, 1, 3) },
    { AK__TWO(2, 1), AK__CASE(.normalized = true, .tau = 0.5) },
    { TWO_SCALE_BIAS(5, 5, 7) },
    { TWO_SCALE_BIAS(3, 7, 5) },
    { AK__TWO_AND_SCALE(7, 3), AK__CASE(.labels = ak__some_labels) },
    { TWO_SCALE_BIAS(9, 9, 4), AK__CASE(.ids = ak__some_ids) },
    { AK__TWO(3, 33), AK__CASE(.tau = 0.02) },
    AK_END
};

const ak_loss_info ak__loss_siglip = {
    "siglip", "SigLIP", "Zhai et al., ICCV 2023",
    "1/N sum_ij softplus(-z_ij (s_ij + b)), z_ij = 1 where i = j, else -1",
    "log_scale, bias (arguments): learned; without them tau: 0 = 0.1, b = -10\n"
    "normalized: rows have unit length already\nlabels: equal labels are pairs too\n"
    "ids: equal ids are left out; -1 is padding\nreport: of alike embeddings, accuracy, scale",
    "softplus(-(scale + b)) + (M-1) softplus(scale + b)", AK_SHARD_CANDIDATES, samples, run,
    run_composed
};
