/* SPDX-License-Identifier: Apache-2.0 */
/* The step of an optimiser: who takes part, the runs that parameters form, their gradients. */
#include "optim/optim_internal.h"

#include "autograd/accumulate.h"
#include "base/frame.h"

#include <inttypes.h>
#include <math.h>

double ak_optim_lr(const ak_optim *opt)
{
    if (!AK__GIVEN(NULL, opt))
        return (double)NAN;
    return opt->lr * ak_schedule_at(opt->schedule, opt->steps);
}

static bool frozen(const ak_tensor *t)
{
    return (t->flags & AK_PARAM_FROZEN) || !t->grad;
}

static bool joins(const ak__optim_entry *a, const ak__optim_entry *b)
{
    return !b->idle && a->lr_scale == b->lr_scale && a->decay == b->decay &&
           a->steps == b->steps && ak__param_adjacent(a->param, b->param);
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
        .m1 = opt->history[0] ? opt->history[0] + first->at : NULL,
        .m2 = opt->history[1] ? opt->history[1] + first->at : NULL,
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
        if (frozen(t) || ak__optim_owner(home, t))
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
    if (ctx->status == AK_OK && (!ak__outside_frames(ctx, "optim_step") ||
                                 !ak__accumulate_ended(ctx, "optim_step")))
        return ctx->status;
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
