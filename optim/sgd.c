/* SPDX-License-Identifier: Apache-2.0 */
/* Stochastic gradient descent with momentum and Nesterov's form. */
#include "base/parallel.h"
#include "optim/optim_internal.h"

static void sgd_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_sgd_options *o = &opt->o.sgd;
    const ak__sgd_args args = { .lr = (ak_real)run->lr, .momentum = (ak_real)o->momentum,
                                .l2 = (ak_real)run->decay, .nesterov = o->nesterov,
                                .first = run->steps == 0 };
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end)
        ak__k.sgd(run->p + begin, run->g + begin, run->m1 ? run->m1 + begin : NULL, end - begin,
                  &args);
}

ak_optim *ak_sgd(ak_ctx *ctx, const char *pattern, ak_sgd_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    o.lr = o.lr == 0 ? 0.1 : o.lr;
    if (!ak__optim_range(ctx, "sgd", "momentum", o.momentum, 0, 1))
        return NULL;
    if (o.nesterov && o.momentum == 0) {
        ak_fail(ctx, AK_ERR_VALUE, "sgd: .nesterov needs .momentum > 0");
        return NULL;
    }
    ak_optim *opt = ak__optim_new(ctx, "sgd", pattern, o.lr, o.weight_decay, o.schedule,
                                  o.momentum > 0);
    if (opt) {
        opt->o.sgd = o;
        opt->update = sgd_update;
    }
    return opt;
}
