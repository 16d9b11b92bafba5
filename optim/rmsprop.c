/* SPDX-License-Identifier: Apache-2.0 */
/* RMSprop and Adagrad: steps divided by the root of squared gradients, averaged or summed up. */
#include "base/parallel.h"
#include "base/real.h"
#include "optim/optim_internal.h"

static void rmsprop_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_rmsprop_options *o = &opt->o.rmsprop;
    const ak_real alpha = (ak_real)o->alpha, rest = 1 - alpha, eps = (ak_real)o->eps;
    const ak_real mu = (ak_real)o->momentum, lr = (ak_real)run->lr, l2 = (ak_real)run->decay;
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end) {
        ak_real *restrict p = run->p, *restrict g = run->g, *restrict v = run->m1;
        for (int64_t i = begin; i < end; i++) {
            const ak_real d = g[i] + l2 * p[i];
            v[i] = alpha * v[i] + rest * d * d;
            g[i] = d / (ak__sqrt(v[i]) + eps);
        }
        ak_real *restrict move = run->m2;
        for (int64_t i = begin; move && i < end; i++)
            g[i] = move[i] = mu * move[i] + g[i];
        for (int64_t i = begin; i < end; i++) {
            p[i] -= lr * g[i];
            g[i] = 0;
        }
    }
}

ak_optim *ak_rmsprop(ak_ctx *ctx, const char *pattern, ak_rmsprop_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    o.lr = o.lr == 0 ? 0.01 : o.lr;
    o.alpha = o.alpha == 0 ? 0.99 : o.alpha == AK_NONE ? 0 : o.alpha;
    o.eps = o.eps == 0 ? 1e-8 : o.eps;
    if (!ak__optim_range(ctx, "rmsprop", "alpha", o.alpha, 0, 1) ||
        !ak__optim_range(ctx, "rmsprop", "momentum", o.momentum, 0, 1) ||
        !ak__optim_range(ctx, "rmsprop", "eps", o.eps, AK__ABOVE_0, AK__NO_LIMIT))
        return NULL;
    ak_optim *opt = ak__optim_new(ctx, "rmsprop", pattern, o.lr, o.weight_decay, o.schedule,
                                  1 + (o.momentum > 0));
    if (opt) {
        opt->o.rmsprop = o;
        opt->update = rmsprop_update;
    }
    return opt;
}

static void adagrad_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_real eps = (ak_real)opt->o.adagrad.eps, lr = (ak_real)run->lr;
    const ak_real l2 = (ak_real)run->decay;
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end) {
        ak_real *restrict p = run->p, *restrict g = run->g, *restrict sum = run->m1;
        for (int64_t i = begin; i < end; i++) {
            const ak_real d = g[i] + l2 * p[i];
            sum[i] += d * d;
            p[i] -= lr * d / (ak__sqrt(sum[i]) + eps);
            g[i] = 0;
        }
    }
}

ak_optim *ak_adagrad(ak_ctx *ctx, const char *pattern, ak_adagrad_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    o.lr = o.lr == 0 ? 0.01 : o.lr;
    o.eps = o.eps == 0 ? 1e-10 : o.eps;
    if (!ak__optim_range(ctx, "adagrad", "eps", o.eps, AK__ABOVE_0, AK__NO_LIMIT))
        return NULL;
    ak_optim *opt = ak__optim_new(ctx, "adagrad", pattern, o.lr, o.weight_decay, o.schedule, 1);
    if (opt) {
        opt->o.adagrad = o;
        opt->update = adagrad_update;
    }
    return opt;
}
