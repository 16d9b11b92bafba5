/* SPDX-License-Identifier: Apache-2.0 */
/* LAMB: Adam's step, as long as the parameter itself times the learning rate. */
#include "base/parallel.h"
#include "base/real.h"
#include "optim/optim_internal.h"

#include <math.h>

static void lamb_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_lamb_options *o = &opt->o.lamb;
    const double t = (double)(run->steps + 1);
    const ak_real b1 = (ak_real)o->beta1, b2 = (ak_real)o->beta2, eps = (ak_real)o->eps;
    const ak_real c1 = (ak_real)(1 / (1 - pow((double)b1, t)));
    const ak_real c2 = (ak_real)(1 / (1 - pow((double)b2, t))), decay = (ak_real)run->decay;
    /* The step u takes the place of the gradient, which nobody needs any more. */
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end) {
        ak_real *restrict p = run->p, *restrict u = run->g;
        ak_real *restrict m = run->m1, *restrict v = run->m2;
        for (int64_t i = begin; i < end; i++) {
            m[i] = b1 * m[i] + (1 - b1) * u[i];
            v[i] = b2 * v[i] + (1 - b2) * (u[i] * u[i]);
            u[i] = c1 * m[i] / (ak__sqrt(c2 * v[i]) + eps) + decay * p[i];
        }
    }
    double ratio = 1;
    if (o->adapt_all || !(run->entry->param->flags & AK_PARAM_NO_DECAY)) {
        const double p = sqrt(ak__optim_sum_squares(run->p, run->n));
        const double u = sqrt(ak__optim_sum_squares(run->g, run->n));
        ratio = p > 0 && u > 0 ? p / u : 1;
    }
    const ak_real rate = (ak_real)(run->lr * ratio);
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end)
        for (int64_t i = begin; i < end; i++) {
            run->p[i] -= rate * run->g[i];
            run->g[i] = 0;
        }
}

ak_optim *ak_lamb(ak_ctx *ctx, const char *pattern, ak_lamb_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    o.lr = o.lr == 0 ? 1e-3 : o.lr;
    o.beta1 = o.beta1 == 0 ? 0.9 : o.beta1 == AK_NONE ? 0 : o.beta1;
    o.beta2 = o.beta2 == 0 ? 0.999 : o.beta2 == AK_NONE ? 0 : o.beta2;
    o.eps = o.eps == 0 ? 1e-6 : o.eps;
    if (!ak__optim_range(ctx, "lamb", "beta1", o.beta1, 0, 1) ||
        !ak__optim_range(ctx, "lamb", "beta2", o.beta2, 0, 1) ||
        !ak__optim_range(ctx, "lamb", "eps", o.eps, AK__ABOVE_0, AK__NO_LIMIT))
        return NULL;
    ak_optim *opt = ak__optim_new(ctx, "lamb", pattern, o.lr, o.weight_decay, o.schedule, 2);
    if (opt) {
        opt->o.lamb = o;
        opt->per_param = true;
        opt->update = lamb_update;
    }
    return opt;
}
