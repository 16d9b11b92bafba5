/* SPDX-License-Identifier: Apache-2.0 */
/* Which parameters an optimiser owns, their settings, and the step over the runs they form. */
#include "optim/optim_internal.h"

#include "base/real.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define STEP ((int64_t)(AK__ALIGN / sizeof(ak_real)))

ak__optim_home *ak__optim_home_of(ak_ctx *ctx)
{
    void **slot = ak__ctx_slot(ctx, AK__SLOT_OPTIM);
    if (!*slot)
        *slot = ak__ctx_alloc(ctx, sizeof(ak__optim_home));
    return *slot;
}

int64_t ak__optim_room(const ak_tensor *t)
{
    return (t->size + STEP - 1) / STEP * STEP;
}

bool ak__optim_adjacent(const ak_tensor *a, int64_t room, const ak_tensor *b)
{
    if (b->data != a->data + room || !a->grad != !b->grad)
        return false;
    return !a->grad || b->grad == a->grad + room;
}

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

static const ak_optim *owner_of(const ak__optim_home *home, const ak_tensor *t)
{
    for (const ak_optim *o = home->first; o; o = o->next)
        for (int64_t i = 0; i < o->n; i++)
            if (o->entries[i].param == t)
                return o;
    return NULL;
}

static bool owned_by_another(ak_ctx *ctx, const ak__optim_home *home, const char *kind,
                             const ak_tensor *t)
{
    const ak_optim *o = owner_of(home, t);
    if (o)
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\" belongs to the optimiser of \"%s\" already\n"
                "    hint: \"*,!encoder/*\" is all but the encoder", kind, t->name, o->pattern);
    return o != NULL;
}

/* In the order of the slabs (with decay, without), each in order of creation, so that neighbours in
 * memory are neighbours here. Not by address: sums over entries must not depend on where the
 * system put a slab. */
static void fill_entries(ak_optim *opt, double decay)
{
    for (int flag = 0; flag <= AK_PARAM_NO_DECAY; flag += AK_PARAM_NO_DECAY)
        for (int64_t i = 0; ak_param_at(opt->ctx, i); i++) {
            ak_tensor *t = ak_param_at(opt->ctx, i);
            if (!wanted(t, opt->pattern) || (t->flags & AK_PARAM_NO_DECAY) != flag)
                continue;
            opt->entries[opt->n++] = (ak__optim_entry){
                .param = t, .lr_scale = 1, .decay = flag ? 0 : decay,
                .room = ak__optim_room(t), .at = opt->moment_size };
            opt->moment_size += ak__optim_room(t);
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
                        double decay, ak_schedule schedule, int moments)
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
    for (int i = 0; i < moments; i++) {
        opt->moment[i] = ak__ctx_alloc(ctx, (size_t)opt->moment_size * sizeof(ak_real));
        if (!opt->moment[i])
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

/* ---- the step ------------------------------------------------------------------------------- */

static bool frozen(const ak_tensor *t)
{
    return (t->flags & AK_PARAM_FROZEN) || !t->grad;
}

static bool joins(const ak__optim_entry *a, const ak__optim_entry *b)
{
    return !b->idle && a->lr_scale == b->lr_scale && a->decay == b->decay &&
           a->steps == b->steps && ak__optim_adjacent(a->param, a->room, b->param);
}

bool ak__optim_next_run(const ak_optim *opt, int64_t *i, ak__optim_run *run)
{
    while (*i < opt->n && opt->entries[*i].idle)
        (*i)++;
    if (*i == opt->n)
        return false;
    const ak__optim_entry *first = &opt->entries[(*i)++], *last = first;
    while (!opt->per_param && *i < opt->n && joins(last, &opt->entries[*i]))
        last = &opt->entries[(*i)++];
    *run = (ak__optim_run){
        .p = first->param->data, .g = first->param->grad,
        .m1 = opt->moment[0] ? opt->moment[0] + first->at : NULL,
        .m2 = opt->moment[1] ? opt->moment[1] + first->at : NULL,
        .n = last->at + last->param->size - first->at,
        .lr = ak_optim_lr(opt) * first->lr_scale, .decay = first->decay, .steps = first->steps,
        .entry = first };
    return true;
}

static bool all_zero(const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0)
            return false;
    return true;
}

/* A gradient that no backward made may have been written by hand: then it holds something. */
int64_t ak__optim_find_idle(ak_optim *opt)
{
    int64_t busy = 0;
    for (int64_t i = 0; i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        const ak_tensor *t = e->param;
        e->idle = frozen(t) || (t->grad_is_zero && all_zero(t->grad, t->size));
        busy += !e->idle;
    }
    return busy;
}

bool ak__optim_gradients_finite(ak_optim *opt, const char *who)
{
    for (int64_t i = 0; i < opt->n; i++) {
        const ak_tensor *t = opt->entries[i].param;
        int64_t at = 0;
        const int64_t bad = frozen(t) ? 0 : ak__count_not_finite(t->grad, t->size, &at);
        if (!bad)
            continue;
        ak_fail(opt->ctx, AK_ERR_NUMBER, "%s: the gradient of \"%s\" is %g at element %" PRId64
                "; %" PRId64 " of its %" PRId64 " numbers are not finite; nothing was changed\n"
                "    hint: ak_check_numbers(ctx, true) names the op that first made such a number",
                who, t->name, (double)t->grad[at], at, bad, t->size);
        return false;
    }
    return true;
}

void ak__optim_drop_gradients(ak_optim *opt)
{
    for (int64_t i = 0; i < opt->n; i++)
        ak__zero_grad_of(opt->entries[i].param);
}

static void warn_of_unowned(ak_ctx *ctx)
{
    ak__optim_home *home = *ak__ctx_slot(ctx, AK__SLOT_OPTIM);
    const ak_tensor *t, *first = NULL;
    int64_t count = 0;
    for (; (t = ak_param_at(ctx, home->looked_at)) != NULL; home->looked_at++) {
        if (frozen(t) || owner_of(home, t))
            continue;
        first = first ? first : t;
        count++;
    }
    if (count)
        ak_log_message(ctx, AK_LOG_WARNING, "%" PRId64 " parameters fit no optimiser and are not "
                       "trained: \"%s\"%s; ak_freeze() says that this is meant", count,
                       first->name, count > 1 ? " and others" : "");
}

static void warn_of_nothing(ak_optim *opt)
{
    if (!opt->warned && opt->n)
        ak_log_message(opt->ctx, AK_LOG_WARNING, "optim_step: no parameter of %s(\"%s\") has got a "
                       "gradient since its last step, so nothing moves; was ak_backward called?",
                       opt->kind, opt->pattern);
    opt->warned = true;
}

/* A parameter frozen between backward and here has a gradient that nobody will use. */
static void note_frozen(ak_optim *opt)
{
    for (int64_t i = 0; i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        const bool now = frozen(e->param);
        if (now && !e->was_frozen)
            ak__zero_grad_of(e->param);
        e->was_frozen = now;
    }
}

ak_status ak_optim_step(ak_optim *opt)
{
    if (!AK__GIVEN(NULL, opt))
        return ak__refused(NULL);
    ak_ctx *ctx = opt->ctx;
    if (ctx->status != AK_OK ||
        (ctx->check_numbers && !ak__optim_gradients_finite(opt, "optim_step"))) {
        ak__optim_drop_gradients(opt);
        return ctx->status;
    }
    warn_of_unowned(ctx);
    note_frozen(opt);
    if (!ak__optim_find_idle(opt))
        warn_of_nothing(opt);
    ak__optim_run run;
    for (int64_t i = 0; ak__optim_next_run(opt, &i, &run); )
        opt->update(opt, &run);
    for (int64_t i = 0; i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        e->steps += !e->idle;
        if (!e->idle)
            ak__changed(e->param, "ak_optim_step");
        e->param->grad_is_zero = true;
    }
    opt->steps++;
    return AK_OK;
}

int64_t ak_optim_steps(const ak_optim *opt)
{
    if (!AK__GIVEN(NULL, opt))
        return 0;
    return opt->steps;
}

double ak_optim_lr(const ak_optim *opt)
{
    if (!AK__GIVEN(NULL, opt))
        return (double)NAN;
    return opt->lr * ak_schedule_at(opt->schedule, opt->steps);
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
