/* SPDX-License-Identifier: Apache-2.0 */
/* LARS: each parameter's step is scaled by the ratio of its norm to its gradient's. */
#include "base/parallel.h"
#include "optim/optim_internal.h"

#include <math.h>

static void lars_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_lars_options *o = &opt->o.lars;
    double local = 1;
    if (o->adapt_all || !(run->entry->param->flags & AK_PARAM_NO_DECAY)) {
        double p = sqrt(ak__optim_sum_squares(run->p, run->n));
        double g = sqrt(ak__optim_sum_squares(run->g, run->n));
        if (p > 0 && g > 0)
            local = o->trust * p / (g + run->decay * p + 1e-8);
    }
    const ak_real mu = (ak_real)o->momentum, a = (ak_real)local;
    const ak_real b = (ak_real)(local * run->decay), lr = (ak_real)run->lr;
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end) {
        ak_real *p = run->p, *g = run->g, *v = run->m1;
        for (int64_t i = begin; i < end; i++) {
            v[i] = mu * v[i] + (a * g[i] + b * p[i]);
            p[i] -= lr * v[i];
            g[i] = 0;
        }
    }
}

ak_optim *ak_lars(ak_ctx *ctx, const char *pattern, ak_lars_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    o.lr = o.lr == 0 ? 0.3 : o.lr;
    o.momentum = o.momentum == 0 ? 0.9 : o.momentum == AK_NONE ? 0 : o.momentum;
    o.trust = o.trust == 0 ? 0.001 : o.trust;
    if (!ak__optim_range(ctx, "lars", "momentum", o.momentum, 0, 1) ||
        !ak__optim_range(ctx, "lars", "trust", o.trust, AK__ABOVE_0, AK__NO_LIMIT))
        return NULL;
    ak_optim *opt = ak__optim_new(ctx, "lars", pattern, o.lr, o.weight_decay, o.schedule, 1);
    if (opt) {
        opt->o.lars = o;
        opt->per_param = true;
        opt->update = lars_update;
    }
    return opt;
}
