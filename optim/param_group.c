/* SPDX-License-Identifier: Apache-2.0 */
/* Which parameters an optimiser owns, their settings, and the step over the runs they form. */
#include "optim/optim_internal.h"

#include "base/parallel.h"
#include "base/real.h"
#include "base/state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define STEP ((int64_t)(AK__ALIGN / sizeof(ak_real)))

/* ---- checkpoint ----------------------------------------------------------------------------- */

static size_t state_size(void *obj)
{
    const ak_optim *opt = obj;
    size_t moments = (size_t)((opt->moment[0] != NULL) + (opt->moment[1] != NULL));
    return 3 * 8 + moments * (size_t)opt->moment_size * sizeof(ak_real);
}

static void state_save(void *obj, unsigned char *bytes)
{
    const ak_optim *opt = obj;
    ak__put_u64(&bytes, (uint64_t)opt->steps);
    ak__put_f64(&bytes, opt->lr);
    ak__put_u64(&bytes, (uint64_t)opt->moment_size);
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)opt->moment_size * sizeof(ak_real);
        if (opt->moment[i])
            memcpy(bytes, opt->moment[i], n);
        bytes += opt->moment[i] ? n : 0;
    }
}

static ak_status state_check(void *obj, const unsigned char *bytes, size_t size)
{
    const ak_optim *opt = obj;
    const unsigned char *p = bytes + 16;
    if (size != state_size(obj) || ak__get_u64(&p) != (uint64_t)opt->moment_size)
        return ak_fail(opt->ctx, AK_ERR_FORMAT, "optimiser \"%s\": the stored state is of other "
                       "parameters (%zu bytes, %zu wanted)", opt->pattern, size, state_size(obj));
    return AK_OK;
}

static void state_load(void *obj, const unsigned char *bytes, size_t size)
{
    ak_optim *opt = obj;
    (void)size;
    opt->steps = (int64_t)ak__get_u64(&bytes);
    opt->lr = ak__get_f64(&bytes);
    bytes += 8;
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)opt->moment_size * sizeof(ak_real);
        if (opt->moment[i])
            memcpy(opt->moment[i], bytes, n);
        bytes += opt->moment[i] ? n : 0;
    }
}

static const ak__state_ops state_ops = { state_size, state_save, state_check, state_load };

/* ---- construction --------------------------------------------------------------------------- */

bool ak__optim_range(ak_ctx *ctx, const char *kind, const char *option, double x, double lo,
                     double hi)
{
    if (x >= lo && x < hi)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: .%s = %g is not in [%g, %g)", kind, option, x, lo, hi);
    return false;
}

static bool wanted(const ak_tensor *t, const char *pattern)
{
    return !(t->flags & AK_PARAM_BUFFER) && ak_match(pattern, t->name);
}

static void fail_no_match(ak_ctx *ctx, const char *kind, const char *pattern)
{
    char   names[400] = "";
    size_t at = 0;
    for (int64_t i = 0, shown = 0; ak_param_at(ctx, i) && shown < 5 && at < sizeof names; i++) {
        const ak_tensor *t = ak_param_at(ctx, i);
        if (t->flags & AK_PARAM_BUFFER)
            continue;
        int n = snprintf(names + at, sizeof names - at, "%s\"%s\"", shown++ ? ", " : "", t->name);
        at += n > 0 ? (size_t)n : 0;
    }
    ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no parameter fits \"%s\"\n    hint: there are %s", kind,
            pattern, *names ? names : "no parameters yet: make the modules first");
}

static bool owned_by_another(ak_ctx *ctx, const char *kind, const ak_tensor *t)
{
    for (ak_optim *o = *ak__ctx_slot(ctx, AK__SLOT_OPTIM); o; o = o->next)
        for (int64_t i = 0; i < o->n; i++)
            if (o->entries[i].param == t) {
                ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\" belongs to the optimiser of \"%s\" already",
                        kind, t->name, o->pattern);
                return true;
            }
    return false;
}

static void fill_entries(ak_optim *opt, double decay)
{
    for (int64_t i = 0; ak_param_at(opt->ctx, i); i++) {
        ak_tensor *t = ak_param_at(opt->ctx, i);
        if (!wanted(t, opt->pattern))
            continue;
        opt->entries[opt->n++] = (ak__optim_entry){
            .param = t, .lr_scale = 1, .decay = t->flags & AK_PARAM_NO_DECAY ? 0 : decay,
            .room = (t->size + STEP - 1) / STEP * STEP };
    }
    /* Insertion sort by address (they come almost in order), so that neighbours in a slab are
     * neighbours here and in the moments. */
    for (int64_t i = 1; i < opt->n; i++) {
        ak__optim_entry e = opt->entries[i];
        int64_t j = i;
        for (; j > 0 && (uintptr_t)opt->entries[j - 1].param->data > (uintptr_t)e.param->data; j--)
            opt->entries[j] = opt->entries[j - 1];
        opt->entries[j] = e;
    }
    for (int64_t i = 0; i < opt->n; i++) {
        opt->entries[i].at = opt->moment_size;
        opt->moment_size += opt->entries[i].room;
    }
}

ak_optim *ak__optim_new(ak_ctx *ctx, const char *kind, const char *pattern, double lr,
                        double decay, ak_schedule schedule, int moments)
{
    if (ctx->status != AK_OK || !ak__optim_range(ctx, kind, "lr", lr, 1e-300, INFINITY) ||
        !ak__optim_range(ctx, kind, "weight_decay", decay, 0, INFINITY))
        return NULL;
    int64_t count = 0;
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *t = ak_param_at(ctx, i);
        if (!wanted(t, pattern))
            continue;
        if (owned_by_another(ctx, kind, t))
            return NULL;
        count++;
    }
    if (!count) {
        fail_no_match(ctx, kind, pattern);
        return NULL;
    }
    ak_optim *opt = ak__ctx_alloc(ctx, sizeof *opt);
    if (!opt)
        return NULL;
    opt->ctx = ctx;
    opt->lr = lr;
    opt->grad_scale = 1;
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
    char name[160];
    snprintf(name, sizeof name, "%s %s", kind, pattern);
    if (!ak__state_register(ctx, name, &state_ops, opt))
        return NULL;
    void **list = ak__ctx_slot(ctx, AK__SLOT_OPTIM);
    opt->next = *list;
    *list = opt;
    return opt;
}

int64_t ak_optim_group(ak_optim *opt, const char *pattern, ak_group_options o)
{
    if (!opt || opt->ctx->status != AK_OK)
        return 0;
    double scale = o.lr_scale == AK_NONE ? 0 : o.lr_scale == 0 ? 1 : o.lr_scale;
    double decay = o.weight_decay == AK_NONE ? 0 : o.weight_decay;
    if (!ak__optim_range(opt->ctx, "optim_group", "lr_scale", scale, 0, INFINITY) ||
        !ak__optim_range(opt->ctx, "optim_group", "weight_decay", decay, 0, INFINITY))
        return 0;
    int64_t count = 0;
    for (int64_t i = 0; i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        if (!ak_match(pattern, e->param->name))
            continue;
        count++;
        if (o.lr_scale != 0)
            e->lr_scale = scale;
        if (o.weight_decay != 0)
            e->decay = decay;
    }
    if (!count)
        ak_fail(opt->ctx, AK_ERR_NOT_FOUND, "optim_group: no parameter of the optimiser of \"%s\" "
                "fits \"%s\"", opt->pattern, pattern);
    return count;
}

/* ---- the step ------------------------------------------------------------------------------- */

static bool frozen(const ak_tensor *t)
{
    return (t->flags & AK_PARAM_FROZEN) || !t->grad;
}

static bool joins(const ak__optim_entry *a, const ak__optim_entry *b)
{
    return !frozen(b->param) && a->lr_scale == b->lr_scale && a->decay == b->decay &&
           a->param->data + a->room == b->param->data && a->param->grad + a->room == b->param->grad;
}

/* The next run from *i on; false at the end. */
static bool next_run(const ak_optim *opt, int64_t *i, ak__optim_run *run)
{
    while (*i < opt->n && frozen(opt->entries[*i].param))
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
        .lr = ak_optim_lr(opt) * first->lr_scale, .decay = first->decay, .entry = first };
    return true;
}

static bool gradients_finite(ak_optim *opt)
{
    for (int64_t i = 0; i < opt->n; i++) {
        const ak_tensor *t = opt->entries[i].param;
        for (int64_t j = 0; !frozen(t) && j < t->size; j++) {
            if (ak__fabs(t->grad[j]) <= AK_REAL_MAX)
                continue;
            ak_fail(opt->ctx, AK_ERR_NUMBER, "optim_step: the gradient of \"%s\" is %g at element "
                    "%" PRId64 "; nothing was changed", t->name, (double)t->grad[j], j);
            return false;
        }
    }
    return true;
}

static void warn_of_unowned(ak_ctx *ctx)
{
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *t = ak_param_at(ctx, i);
        bool owned = frozen(t);
        for (ak_optim *o = *ak__ctx_slot(ctx, AK__SLOT_OPTIM); o && !owned; o = o->next)
            for (int64_t j = 0; j < o->n && !owned; j++)
                owned = o->entries[j].param == t;
        if (!owned) {
            ak_log_message(ctx, AK_LOG_WARNING, "parameter \"%s\" (and maybe more) fits no optimiser and "
                   "is not trained; ak_freeze() it to say that this is meant", t->name);
            return;
        }
    }
}

ak_status ak_optim_step(ak_optim *opt)
{
    if (!opt)
        return AK_ERR_STATE;
    ak_ctx *ctx = opt->ctx;
    if (ctx->status != AK_OK)
        return ctx->status;
    if (ctx->check_numbers && !gradients_finite(opt))
        return ctx->status;
    if (opt->steps == 0)
        warn_of_unowned(ctx);
    ak__optim_run run;
    for (int64_t i = 0; next_run(opt, &i, &run); )
        opt->update(opt, &run);
    opt->steps++;
    opt->grad_scale = 1;
    return AK_OK;
}

int64_t ak_optim_steps(const ak_optim *opt)
{
    return opt ? opt->steps : 0;
}

double ak_optim_lr(const ak_optim *opt)
{
    return opt ? opt->lr * ak_schedule_at(opt->schedule, opt->steps) : 0;
}

ak_status ak_optim_set_lr(ak_optim *opt, double lr)
{
    if (!opt)
        return AK_ERR_STATE;
    if (!ak__optim_range(opt->ctx, "optim_set_lr", "lr", lr, 1e-300, INFINITY))
        return AK_ERR_VALUE;
    opt->lr = lr;
    return AK_OK;
}

/* ---- clipping ------------------------------------------------------------------------------- */

double ak__optim_sum_squares(const ak_real *x, int64_t n)
{
    enum { GROUP = 64 };        /* partial sums at a time, on the stack */
    double total = 0;
    for (int64_t start = 0; start < n; start += GROUP * AK__OPTIM_CHUNK) {
        double  part[GROUP];
        int64_t m = n - start < GROUP * AK__OPTIM_CHUNK ? n - start : GROUP * AK__OPTIM_CHUNK;
        AK__PARALLEL_CHUNKS(c, m, AK__OPTIM_CHUNK, begin, end) {
            double sum = 0;
            for (int64_t i = begin; i < end; i += 1024)
                sum += (double)ak__k.sum_squares(x + start + i, end - i < 1024 ? end - i : 1024);
            part[c] = sum;
        }
        for (int64_t c = 0; c < ak__chunk_count(m, AK__OPTIM_CHUNK); c++)
            total += part[c];
    }
    return total;
}

double ak_clip_grad_norm(ak_optim *opt, double max_norm)
{
    if (!opt || opt->ctx->status != AK_OK)
        return (double)NAN;
    if (!(max_norm > 0)) {
        ak_fail(opt->ctx, AK_ERR_VALUE, "clip_grad_norm: max_norm = %g must be > 0", max_norm);
        return (double)NAN;
    }
    double        squares = 0;
    ak__optim_run run;
    for (int64_t i = 0; next_run(opt, &i, &run); )
        squares += ak__optim_sum_squares(run.g, run.n);
    double norm = sqrt(squares);
    opt->grad_scale = norm > max_norm ? max_norm / norm : 1;
    return norm;
}

ak_status ak_clip_grad_value(ak_optim *opt, double limit)
{
    if (!opt)
        return AK_ERR_STATE;
    if (opt->ctx->status != AK_OK)
        return opt->ctx->status;
    if (!(limit > 0))
        return ak_fail(opt->ctx, AK_ERR_VALUE, "clip_grad_value: limit = %g must be > 0", limit);
    const ak_real hi = (ak_real)limit, lo = -hi;
    ak__optim_run run;
    for (int64_t i = 0; next_run(opt, &i, &run); )
        for (int64_t j = 0; j < run.n; j++)     /* NaN stays NaN: it should be seen */
            run.g[j] = run.g[j] > hi ? hi : run.g[j] < lo ? lo : run.g[j];
    return AK_OK;
}
