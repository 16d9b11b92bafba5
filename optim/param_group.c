/* SPDX-License-Identifier: Apache-2.0 */
/* Which parameters an optimiser owns, and their settings. */
#include "optim/optim_internal.h"

#include "base/real.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- construction --------------------------------------------------------------------------- */

bool ak__optim_range(ak_ctx *ctx, const char *kind, const char *option, double x, double lo,
                     double hi)
{
    const double rounded = (double)(ak_real)x;
    if (x >= lo && x < hi && (lo > 0 ? rounded > 0 : rounded >= lo) && rounded < hi)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: .%s = %g is not in [%g, %g)", kind, option, x, lo, hi);
    return false;
}

static bool wanted(const ak_tensor *t, const char *pattern)
{
    return !(t->flags & AK_PARAM_BUFFER) && ak_match(pattern, t->name);
}

static bool owned_by_another(ak_ctx *ctx, const ak__optim_home *home, const char *kind,
                             const ak_tensor *t)
{
    const ak_optim *o = ak__optim_owner(home, t);
    if (o)
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\" belongs to the optimiser of \"%s\" already\n"
                "    hint: \"*,!encoder/*\" is all but the encoder", kind, t->name, o->pattern);
    return o != NULL;
}

/* In the order of the memory, so that neighbours there are neighbours here. */
static void fill_entries(ak_optim *opt, double decay)
{
    ak_tensor *t;
    for (int64_t at = 0; (t = ak__param_next(opt->ctx, &at)) != NULL; ) {
        if (!wanted(t, opt->pattern))
            continue;
        opt->entries[opt->n++] = (ak__optim_entry){
            .param = t, .lr_scale = 1, .decay = t->flags & AK_PARAM_NO_DECAY ? 0 : decay,
            .at = opt->history_size };
        opt->history_size += ak__param_room(t);
    }
}

static bool schedule_fits(ak_ctx *ctx, const char *kind, ak_schedule s)
{
    if ((int)s.kind < 0 || s.kind > AK_SCHEDULE_STEP)
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule has the unknown kind %d (ak_schedule_kind: 0 to "
                "%d)", kind, (int)s.kind, (int)AK_SCHEDULE_STEP);
    else if (s.warmup < 0)
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule: warmup = %" PRId64 " steps must be >= 0", kind,
                s.warmup);
    else if (s.kind == AK_SCHEDULE_COSINE && s.total < 1)
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule: a cosine over total = %" PRId64 " steps; at "
                "least 1 is needed", kind, s.total);
    else if (s.kind == AK_SCHEDULE_COSINE && !(s.final >= 0 && s.final < AK__NO_LIMIT))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule: final = %g is not in [0, %g)", kind, s.final,
                AK__NO_LIMIT);
    else if (s.kind == AK_SCHEDULE_STEP && s.every < 1)
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule: a stair every %" PRId64 " steps; at least 1 is "
                "needed", kind, s.every);
    else if (s.kind == AK_SCHEDULE_STEP && !(s.factor >= 0 && s.factor < AK__NO_LIMIT))
        ak_fail(ctx, AK_ERR_VALUE, "%s: .schedule: factor = %g is not in [0, %g)", kind, s.factor,
                AK__NO_LIMIT);
    else
        return true;
    return false;
}

ak_optim *ak__optim_new(ak_ctx *ctx, const char *kind, const char *pattern, double lr,
                        double decay, ak_schedule schedule, int arrays)
{
    if (ctx->status != AK_OK || !ak__optim_range(ctx, kind, "lr", lr, AK__ABOVE_0, AK__NO_LIMIT) ||
        !ak__optim_range(ctx, kind, "weight_decay", decay, 0, AK__NO_LIMIT) ||
        !schedule_fits(ctx, kind, schedule))
        return NULL;
    ak__optim_home *home = ak__optim_home_of(ctx);
    if (!home)
        return NULL;
    const int64_t count = ak__pattern_params(ctx, kind, pattern, false);
    if (count < 0)
        return NULL;
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *t = ak_param_at(ctx, i);
        if (wanted(t, pattern) && owned_by_another(ctx, home, kind, t))
            return NULL;
    }
    ak_optim *opt = ak__ctx_alloc(ctx, sizeof *opt);
    if (!opt)
        return NULL;
    opt->ctx = ctx;
    opt->kind = kind;
    opt->lr = lr;
    opt->schedule = schedule;
    opt->pattern = ak__ctx_strdup(ctx, pattern);
    opt->entries = ak__ctx_alloc(ctx, (size_t)count * sizeof *opt->entries);
    if (!opt->pattern || !opt->entries)
        return NULL;
    fill_entries(opt, decay);
    for (int i = 0; i < arrays; i++) {
        opt->history[i] = ak__ctx_alloc(ctx, (size_t)opt->history_size * sizeof(ak_real));
        if (!opt->history[i])
            return NULL;
    }
    if (!ak__optim_register(opt))
        return NULL;
    opt->next = home->first;
    home->first = opt;
    return opt;
}

static const char *name_of_entry(void *opt, int64_t i)
{
    const ak_optim *o = opt;
    return i < o->n ? o->entries[i].param->name : NULL;
}

int64_t ak_optim_group(ak_optim *opt, const char *pattern, ak_group_options o)
{
    if (!AK__GIVEN(NULL, opt) || !AK__GIVEN(opt->ctx, pattern))
        return 0;
    if (opt->ctx->status != AK_OK)
        return 0;
    double scale = o.lr_scale == AK_NONE ? 0 : o.lr_scale == 0 ? 1 : o.lr_scale;
    double decay = o.weight_decay == AK_NONE ? 0 : o.weight_decay;
    if (!ak__optim_range(opt->ctx, "optim_group", "lr_scale", scale, 0, AK__NO_LIMIT) ||
        !ak__optim_range(opt->ctx, "optim_group", "weight_decay", decay, 0, AK__NO_LIMIT))
        return 0;
    const int64_t count = ak__pattern_count(opt->ctx, "optim_group", pattern, (ak__names){
        .what = "parameter of this optimiser", .at = name_of_entry, .of = opt });
    for (int64_t i = 0; count > 0 && i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        if (!ak_match(pattern, e->param->name))
            continue;
        if (o.lr_scale != 0)
            e->lr_scale = scale;
        if (o.weight_decay != 0)
            e->decay = decay;
    }
    return count > 0 ? count : 0;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* The layer of a parameter: the first pattern that it fits; -1 if it fits none. */
static int layer_of(const char *const *layers, const char *name)
{
    for (int i = 0; layers[i]; i++)
        if (ak_match(layers[i], name))
            return i;
    return -1;
}

/* Has every layer a parameter of its own, and every parameter a layer? */
static bool layers_fit(ak_optim *opt, const char *const *layers, int n)
{
    for (int64_t k = 0; k < opt->n; k++)
        if (layer_of(layers, opt->entries[k].param->name) < 0) {
            ak_fail(opt->ctx, AK_ERR_VALUE, "optim_layer_decay: \"%s\" is in no layer\n    hint: "
                    "\"*\" as the last pattern is the rest", opt->entries[k].param->name);
            return false;
        }
    for (int i = 0; i < n; i++) {
        const int64_t count = ak__pattern_count(opt->ctx, "optim_layer_decay", layers[i],
            (ak__names){ .what = "parameter of this optimiser", .at = name_of_entry, .of = opt });
        bool own = count == 0;          /* "~": it need not have any */
        if (count < 0)
            return false;
        for (int64_t k = 0; !own && k < opt->n; k++)
            own = layer_of(layers, opt->entries[k].param->name) == i;
        if (own)
            continue;
        ak_fail(opt->ctx, AK_ERR_VALUE, "optim_layer_decay: all parameters of layer %d, \"%.100s\""
                ", are in layers before it", i, layers[i]);
        return false;
    }
    return true;
}

ak_status ak_optim_layer_decay(ak_optim *opt, const char *const *layers, double decay)
{
    if (!AK__GIVEN(NULL, opt) || !AK__GIVEN(opt->ctx, layers))
        return ak__refused(opt ? opt->ctx : NULL);
    if (opt->ctx->status != AK_OK)
        return opt->ctx->status;
    int n = 0;
    while (n <= AK__LIST_MAX && layers[n])
        n++;
    if (n == 0 || n > AK__LIST_MAX)
        return ak_fail(opt->ctx, AK_ERR_VALUE, n ? "optim_layer_decay: the list of layers has no "
                       "end (NULL) within %d" : "optim_layer_decay: there is no layer (1 to %d)",
                       AK__LIST_MAX);
    if (!(decay > 0 && decay <= 1))
        return ak_fail(opt->ctx, AK_ERR_VALUE, "optim_layer_decay: decay = %g is not in (0, 1]",
                       decay);
    if (!layers_fit(opt, layers, n))
        return opt->ctx->status;
    for (int64_t k = 0; k < opt->n; k++)
        opt->entries[k].lr_scale = pow(decay, n - 1 -
                                       layer_of(layers, opt->entries[k].param->name));
    return AK_OK;
}

/* ---- what it says ---------------------------------------------------------------------------- */

int64_t ak_optim_steps(const ak_optim *opt)
{
    if (!AK__GIVEN(NULL, opt))
        return 0;
    return opt->steps;
}

ak_status ak_optim_set_lr(ak_optim *opt, double lr)
{
    if (!AK__GIVEN(NULL, opt))
        return ak__refused(NULL);
    if (opt->ctx->status != AK_OK)
        return opt->ctx->status;
    if (!ak__optim_range(opt->ctx, "optim_set_lr", "lr", lr, AK__ABOVE_0, AK__NO_LIMIT))
        return AK_ERR_VALUE;
    opt->lr = lr;
    return AK_OK;
}
