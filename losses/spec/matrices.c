/* SPDX-License-Identifier: Apache-2.0 */
/* Which pairs are candidates and which are partners, as matrices, for the composed losses. */
#include "losses/spec/matrices.h"

#include <akin/op.h>
#include <akin/ops.h>

#include "base/real.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

bool ak__extras_fit(ak_ctx *ctx, const char *who, const ak__extra *extra, int n)
{
    for (int i = 0; i < n; i++) {
        const ak__extra *e = &extra[i];
        if (e->tensor && !ak__tensor_check(ctx, e->tensor, who, e->name))
            return false;
        if (e->index && !ak__index_known(ctx, e->index, who, e->name))
            return false;
        if (e->constant && e->tensor && e->tensor->root->needs_grad && ctx->no_grad == 0) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: %s is a constant of this loss, but needs a gradient\n"
                    "    hint: ak_detach(t) is t as a constant", who, e->name);
            return false;
        }
        const int64_t size = e->tensor ? e->tensor->size : e->index ? e->index->size : e->size;
        if (e->size >= 0 && size != e->size) {
            ak_fail(ctx, AK_ERR_SHAPE, "%s: %s holds %" PRId64 " numbers, expected %" PRId64, who,
                    e->name, size, e->size);
            return false;
        }
        for (int64_t j = 0; e->constant && e->tensor && j < e->tensor->size; j++) {
            const double x = (double)e->tensor->data[j];
            if (isfinite(x) && !(e->weighs && x < 0))
                continue;
            ak_fail(ctx, AK_ERR_VALUE, "%s: %s: number %" PRId64 " is %g, must be %sfinite", who,
                    e->name, j, x, e->weighs ? ">= 0 and " : "");
            return false;
        }
    }
    return true;
}

/* Zeros; the poison tensor if that failed. */
static ak_tensor *pair_matrix(ak__pairs p) { return ak_zeros(p.ctx, AK_SHAPE(p.R, p.C)); }

ak_tensor *ak__candidate_matrix(ak__pairs p, const ak_index *ids, bool others)
{
    ak_tensor *m = pair_matrix(p);
    for (int64_t r = 0; r < p.R && !ak_is_poison(m); r++) {
        for (int64_t c = 0; c < p.C; c++) {
            const bool batch = c < p.batch;
            const int64_t a = r % p.N, b = c % p.N;
            bool in = !(p.self && r == c);
            if (batch && others && a != b)
                in = false;
            if (batch && ids && a != b && ids->data[a] == ids->data[b])
                in = false;
            if (ids && (ids->data[a] == -1 || (batch && ids->data[b] == -1)))
                in = false;
            m->data[r * p.C + c] = in ? 1 : 0;
        }
    }
    return m;
}

ak_tensor *ak__sample_matrix(ak__pairs p)
{
    ak_tensor *m = pair_matrix(p);
    for (int64_t r = 0; r < p.R && !ak_is_poison(m); r++)
        for (int64_t c = 0; c < p.batch; c++)
            m->data[r * p.C + c] = r % p.N == c % p.N && !(p.self && r == c) ? 1 : 0;
    return m;
}

/* -1 is a class unknown: unlike any but the sample's own. */
static bool same_label(const ak_index *labels, int64_t a, int64_t b)
{
    return a == b || (labels->data[a] == labels->data[b] && labels->data[a] != -1);
}

ak_tensor *ak__label_matrix(ak__pairs p, const ak_index *labels)
{
    ak_tensor *m = pair_matrix(p);
    for (int64_t r = 0; r < p.R && !ak_is_poison(m); r++)
        for (int64_t c = 0; c < p.batch; c++)
            m->data[r * p.C + c] = same_label(labels, r % p.N, c % p.N) ? 1 : 0;
    return m;
}

ak_tensor *ak__spread_matrix(ak__pairs p, const ak_tensor *w)
{
    ak_tensor *m = pair_matrix(p);
    for (int64_t r = 0; r < p.R && !ak_is_poison(m); r++)
        for (int64_t c = 0; c < p.batch; c++)
            m->data[r * p.C + c] = w->data[r % p.N * p.N + c % p.N];
    return m;
}

ak_tensor *ak__list_matrix(ak__pairs p, const ak_index *columns, const ak_tensor *weights)
{
    ak_tensor *m = pair_matrix(p);
    const int64_t each = p.R > 0 ? columns->size / p.R : 0;
    for (int64_t e = 0; e < columns->size && !ak_is_poison(m); e++) {
        if (columns->data[e] < 0 || columns->data[e] >= p.C || e >= each * p.R) {
            ak_fail(p.ctx, AK_ERR_VALUE, "target_columns: entry %" PRId64 " = %d of %" PRId64
                    " is not in [0, %" PRId64 "), or the same number for each of %" PRId64
                    " rows is not there", e, (int)columns->data[e], columns->size, p.C, p.R);
            return &ak__poison;
        }
        m->data[e / each * p.C + columns->data[e]] +=
            weights ? weights->data[e] : (ak_real)1 / (ak_real)each;
    }
    return m;
}

ak_tensor *ak__shares(ak_tensor *t, ak_tensor *candidates)
{
    ak_tensor *kept = ak_mul(t, candidates);
    ak_tensor *sum = ak_sum_axis(kept, 1);
    for (int64_t r = 0; r < sum->size && !ak_is_poison(sum); r++)
        sum->data[r] = sum->data[r] > 0 ? sum->data[r] : 1;
    return ak_div(kept, ak_reshape(sum, AK_SHAPE(-1, 1)));
}

static bool has_target(const ak_tensor *t, int64_t r)
{
    const int64_t C = t->shape.dims[1];
    for (int64_t c = 0; c < C; c++)
        if (t->data[r * C + c] != 0)
            return true;
    return false;
}

ak_tensor *ak__anchor_weights(ak__pairs p, const ak_tensor *weights, const ak_index *ids,
                              const ak_index *labels, const ak_tensor *t)
{
    ak_tensor *w = ak_zeros(p.ctx, AK_SHAPE(p.R));
    double total = 0;
    for (int64_t r = 0; r < p.R && !ak_is_poison(w); r++) {
        w->data[r] = weights ? weights->data[r % p.N] : 1;
        if (ids && ids->data[r % p.N] == -1)
            w->data[r] = 0;
        if (labels && labels->data[r % p.N] < 0 && !ak_is_poison(t) && !has_target(t, r))
            w->data[r] = 0;
        total += (double)w->data[r];
    }
    return ak_scale(w, total > 0 ? 1 / total : 0);
}

ak_tensor *ak__rows_cross_entropy(ak_tensor *s, ak_tensor *v, ak_tensor *t, ak_tensor *w,
                                  double smoothing)
{
    ak_tensor *ones = ak_add_scalar(ak_scale(v, 0), 1);
    ak_tensor *candidates = ak_where(v, ones, ak_scale(v, 0));
    if (smoothing > 0) {
        /* t' = (1 - smoothing) t + smoothing / candidates, for rows with any target */
        ak_tensor *mass = ak_sum_axis(t, 1);
        ak_tensor *has = ak_where(mass, ak_add_scalar(ak_scale(mass, 0), 1), mass);
        ak_tensor *even = ak_mul(ak__shares(ones, candidates), ak_reshape(has, AK_SHAPE(-1, 1)));
        t = ak_add(ak_scale(t, 1 - smoothing), ak_scale(even, smoothing));
    }
    /* exp(s + log v): where v is 0 the score is -inf, and no target is there either */
    ak_tensor *shifted = ak_add(s, ak_log(ak_where(v, v, ones)));
    ak_tensor *none = ak_full(s->ctx, s->shape, -(double)INFINITY);
    ak_tensor *sum = ak_logsumexp(ak_where(v, shifted, none), 1);               /* [R] */
    ak_tensor *mass = ak_sum_axis(t, 1);
    /* a row without candidates has log-sum-exp -inf and no target: it adds 0 */
    ak_tensor *first = ak_where(mass, ak_mul(mass, sum), ak_scale(mass, 0));
    ak_tensor *each = ak_sub(first, ak_sum_axis(ak_mul(t, s), 1));
    return ak_sum(ak_mul(w, each));
}

ak_tensor *ak__scores(ak_tensor *x, ak_tensor *y, double tau, ak_tensor *log_scale)
{
    if (ak_is_poison(x) || ak_is_poison(y) || ak_is_poison(log_scale))
        return ak_matmul_nt(x, log_scale ? log_scale : y);      /* says so */
    const double scale = log_scale ? exp((double)log_scale->data[0]) : 1 / tau;
    if (!ak__scale_fits(scale) || (!log_scale && isinf(tau)))
        ak_fail(x->ctx, AK_ERR_VALUE, "temperature %g, scale %g: must be above 0, and both finite",
                log_scale ? 1 / scale : tau, scale);
    ak_tensor *cosine = ak_matmul_nt(x, y);
    return log_scale ? ak_mul(cosine, ak_exp(log_scale)) : ak_scale(cosine, 1 / tau);
}

ak_tensor *ak__across_samples(ak_tensor *loss)
{
    if (loss->root && loss->root->maker)        /* else: poison, or nothing was recorded */
        loss->root->maker->across_samples = true;
    return loss;
}
