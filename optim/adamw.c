/* SPDX-License-Identifier: Apache-2.0 */
/* Adam and AdamW. */
#include "base/parallel.h"
#include "optim/optim_internal.h"

#include <math.h>

static void adam_update(ak_optim *opt, const ak__optim_run *run)
{
    const ak_adamw_options *o = &opt->o.adam;
    const double t = (double)(run->steps + 1);
    /* Corrected for the betas that the kernel uses: in float 1 - 0.999f is 1e-5 off. */
    const ak__adam_args args = {
        .lr = (ak_real)run->lr, .beta1 = (ak_real)o->beta1, .beta2 = (ak_real)o->beta2,
        .eps = (ak_real)o->eps,
        .correction1 = (ak_real)(1 / (1 - pow((double)(ak_real)o->beta1, t))),
        .correction2 = (ak_real)(1 / (1 - pow((double)(ak_real)o->beta2, t))),
        .decay = (ak_real)(opt->coupled_decay ? 0 : run->decay),
        .l2 = (ak_real)(opt->coupled_decay ? run->decay : 0) };
    AK__PARALLEL_CHUNKS(c, run->n, AK__OPTIM_CHUNK, begin, end)
        ak__k.adam(run->p + begin, run->g + begin, run->m1 + begin, run->m2 + begin, end - begin,
                   &args);
}

static ak_optim *adam_new(ak_ctx *ctx, const char *kind, const char *pattern, ak_adamw_options o)
{
    o.lr = o.lr == 0 ? 1e-3 : o.lr;
    o.beta1 = o.beta1 == 0 ? 0.9 : o.beta1 == AK_NONE ? 0 : o.beta1;
    o.beta2 = o.beta2 == 0 ? 0.999 : o.beta2 == AK_NONE ? 0 : o.beta2;
    o.eps = o.eps == 0 ? 1e-8 : o.eps;
    if (!ak__optim_range(ctx, kind, "beta1", o.beta1, 0, 1) ||
        !ak__optim_range(ctx, kind, "beta2", o.beta2, 0, 1) ||
        !ak__optim_range(ctx, kind, "eps", o.eps, AK__ABOVE_0, AK__NO_LIMIT))
        return NULL;
    ak_optim *opt = ak__optim_new(ctx, kind, pattern, o.lr, o.weight_decay, o.schedule, 2);
    if (opt) {
        opt->o.adam = o;
        opt->update = adam_update;
    }
    return opt;
}

ak_optim *ak_adam(ak_ctx *ctx, const char *pattern, ak_adamw_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    ak_optim *opt = adam_new(ctx, "adam", pattern, o);
    if (opt)
        opt->coupled_decay = true;
    return opt;
}

ak_optim *ak_adamw(ak_ctx *ctx, const char *pattern, ak_adamw_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return NULL;
    return adam_new(ctx, "adamw", pattern, o);
}
