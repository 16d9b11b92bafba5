/* SPDX-License-Identifier: Apache-2.0 */
/* Alignment and uniformity on the sphere: |x - y|^2 of partners, and the log of the mean Gaussian
 * kernel over pairs of one set or of two. For unit rows |x - y|^2 = 2 - 2 <x, y>. */
#include <akin/ops.h>

#include "losses/engine/logsumexp.h"
#include "losses/engine/pairs.h"
#include "losses/families.h"
#include "losses/spec/matrices.h"
#include "losses/spec/samples.h"
#include "tensor/tensor_internal.h"

#define UNIFORMITY_T 2.0

static double t_of(ak_uniformity_options o) { return o.t == 0 ? UNIFORMITY_T : o.t; }

/* ---- the program: one log-sum-exp over all pairs --------------------------------------------- */

static ak__lse *lse_at(const ak__pair_run *run, int64_t r)
{
    return (ak__lse *)(void *)run->row + r;
}

static ak__lse_of lse_of(const ak__pair_run *run)
{
    return (ak__lse_of){ .row = lse_at(run, 0), .column = (ak__lse *)(void *)run->column,
                         .stride = sizeof(ak__lse), .bounded = run->bound <= ak__largest_bound,
                         .bound = run->bound };
}

static void start(ak__pair_run *run)
{
    const ak__lse_of l = lse_of(run);
    for (int64_t r = 0; r < run->size.R; r++)
        *lse_at(run, r) = ak__lse_empty(&l);
}

static void absorb(const ak__walk *w, const ak__tile *t)
{
    const ak__lse_of l = lse_of(w->user);
    ak__lse_absorb(&l, t);
}

/* log(sum / pairs) - 2t, with s = 2t <x, y>; a row's coefficient takes the place of its sum. */
static double finish(ak__pair_run *run, bool *again)
{
    const double pairs = (double)run->size.R * (double)(run->size.R - 1);
    double max = -(double)INFINITY, sum = 0;
    for (int64_t r = 0; r < run->size.R; r++)
        max = lse_at(run, r)->max > max ? lse_at(run, r)->max : max;
    for (int64_t r = 0; r < run->size.R; r++)
        sum += lse_at(run, r)->sum * exp(lse_at(run, r)->max - max);
    for (int64_t r = 0; r < run->size.R; r++)
        lse_at(run, r)->sum = exp(lse_at(run, r)->max - max) / sum;
    *again = false;
    return max + log(sum / pairs) - run->scale;
}

static void gradient(const ak__walk *w, const ak__tile *t)
{
    const ak__lse_of l = lse_of(w->user);
    ak__lse_gradient_tile(&l, t);
}

static size_t bytes(const ak__pair_loss *loss) { (void)loss; return sizeof(ak__lse); }

static ak_status check(ak_call *k, const ak__pair_sizes *z)
{
    if (z->R < 2)
        return ak_call_fail(k, AK_ERR_VALUE, "one row has no pairs; use at least 2");
    return AK_OK;
}

static const ak__pair_program program = { .anchor_bytes = bytes, .start = start, .absorb = absorb,
                                          .finish = finish, .gradient = gradient, .check = check };

static const ak_op uniformity = AK__PAIR_OP("uniformity", "log mean_{i!=j} e^(-t |x_i - x_j|^2)");
static const ak_op cross = AK__PAIR_OP("cross_uniformity", "log mean_{i!=j} e^(-t |x_i - y_j|^2)");

ak_tensor *ak_loss_uniformity(ak_tensor *x, ak_uniformity_options o)
{
    const ak__pair_loss loss = { .program = &program, .unpaired = true, .factor = 1,
                                 .normalized = o.normalized, .tau = 1 / (2 * t_of(o)) };
    return ak__pairs_apply(&uniformity, loss, (ak__pair_operands){ .x = &x, .n_x = 1 });
}

ak_tensor *ak_loss_cross_uniformity(ak_tensor *x, ak_tensor *y, ak_uniformity_options o)
{
    const ak__pair_loss loss = { .program = &program, .unpaired = true, .factor = 1,
                                 .normalized = o.normalized, .out = AK__OUT_PARTNERS,
                                 .tau = 1 / (2 * t_of(o)) };
    return ak__pairs_apply(&cross, loss, (ak__pair_operands){ .x = &x, .n_x = 1, .y = &y,
                                                              .n_y = 1 });
}

/* ---- composed -------------------------------------------------------------------------------- */

static ak_tensor *composed(ak_tensor *x, ak_tensor *y, ak_uniformity_options o)
{
    ak_tensor *u = ak__unit_rows(x, o.normalized);
    ak_tensor *s = ak_matmul_nt(u, y ? ak__unit_rows(y, o.normalized) : u);
    if (ak_is_poison(s))
        return s;
    const double n = (double)s->shape.dims[0], t = t_of(o);
    ak_tensor *others = ak_mask(ak_scale(ak_add_scalar(s, -1), 2 * t), AK_MASK_SELF);
    ak_tensor *all = ak_logsumexp(ak_reshape(others, AK_SHAPE(1, -1)), 1);
    return ak__across_samples(ak_sum(ak_add_scalar(all, -log(n * (n - 1)))));
}

ak_tensor *ak_loss_uniformity_composed(ak_tensor *x, ak_uniformity_options o)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    return composed(x, NULL, o);
}

ak_tensor *ak_loss_cross_uniformity_composed(ak_tensor *x, ak_tensor *y, ak_uniformity_options o)
{
    if (!AK__TENSOR(NULL, x) || !AK__TENSOR(x->ctx, y))
        return &ak__poison;
    return composed(x, y, o);
}

/* Of order N D already: the composition is its only form. */
ak_tensor *ak_loss_alignment(ak_tensor *x, ak_tensor *y, ak_alignment_options o)
{
    if (!AK__TENSOR(NULL, x) || !AK__TENSOR(x->ctx, y))
        return &ak__poison;
    ak_tensor *d = ak_sub(ak__unit_rows(x, o.normalized), ak__unit_rows(y, o.normalized));
    return ak_mean(ak_sum_axis(ak_square(d), -1));
}

/* ---- records --------------------------------------------------------------------------------- */

static ak_uniformity_options options_of(const ak_sample *s)
{
    const ak__loss_case *c = ak__case_of(s);
    return (ak_uniformity_options){ .t = c->number, .normalized = c->normalized };
}

#define RUN(name, ...)                                                                             \
    static ak_tensor *run_##name(ak_tensor *const *in, int n_in, const ak_sample *s)               \
    {                                                                                              \
        (void)n_in;                                                                                \
        return ak_loss_##name(__VA_ARGS__);                                                        \
    }
RUN(uniformity, in[0], options_of(s))
RUN(uniformity_composed, in[0], options_of(s))
RUN(cross_uniformity, in[0], in[1], options_of(s))
RUN(cross_uniformity_composed, in[0], in[1], options_of(s))
RUN(alignment, in[0], in[1], (ak_alignment_options){ .normalized = ak__case_of(s)->normalized })

#define ONE(n, d) .in = { { 2, { n, d } } }, .n_in = 1
static const ak_sample of_one[] = {
    { ONE(2, 3) }, { ONE(2, 1), AK__CASE(.normalized = true) },
    { ONE(7, 5), AK__CASE(.number = 3) }, { ONE(9, 4), AK__CASE(.number = 0.5) },
    { ONE(5, 33), AK__CASE(.number = 200) }, AK_END
};
static const ak_sample of_two[] = {
    { AK__TWO(2, 3) }, { AK__TWO(2, 1), AK__CASE(.normalized = true) },
    { AK__TWO(7, 5), AK__CASE(.number = 3) }, { AK__TWO(9, 4), AK__CASE(.number = 0.5) },
    { AK__TWO(5, 33), AK__CASE(.number = 200) }, AK_END
};

#define WANG_ISOLA "Wang, Isola, ICML 2020"
#define OPTIONS "t: of the Gaussian kernel; 0 = 2\nnormalized: rows have unit length already"
const ak_loss_info ak__loss_alignment = {
    "alignment", "Alignment", WANG_ISOLA, "mean_i |x_i - y_i|^2",
    "normalized: rows have unit length already", "0 (the least)", AK_SHARD_MEAN, of_two,
    run_alignment, run_alignment
};
const ak_loss_info ak__loss_uniformity = {
    "uniformity", "Uniformity", WANG_ISOLA, "log mean_{i != j} exp(-t |x_i - x_j|^2)", OPTIONS,
    "0 (the most)", AK_SHARD_CANDIDATES, of_one, run_uniformity, run_uniformity_composed
};
const ak_loss_info ak__loss_cross_uniformity = {
    "cross_uniformity", "Uniformity between two sets", "Fahim et al., 2024",
    "log mean_{i != j} exp(-t |x_i - y_j|^2)", OPTIONS, "0 (the most)", AK_SHARD_CANDIDATES,
    of_two, run_cross_uniformity, run_cross_uniformity_composed
};
