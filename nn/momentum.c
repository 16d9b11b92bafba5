/* SPDX-License-Identifier: Apache-2.0 */
/* Momentum encoders: a frozen copy of a module that follows it by moving averages. */
#include <akin/heads.h>

#include "base/frame.h"
#include "base/state.h"
#include "base/text.h"
#include "nn/module.h"
#include "optim/ema.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

struct ak_momentum {
    ak_ctx              *ctx;
    ak_module           *student, *teacher;
    ak_momentum_options  o;         /* with the defaults put in */
    int64_t              tensors;   /* of the student when the plan was made */
    const ak__ema_plan  *plan;
    int64_t              updates;
};

/* ---- what a checkpoint holds ----------------------------------------------------------------- */

static size_t state_size(void *obj)
{
    (void)obj;
    return 8;
}

static void state_save(void *obj, unsigned char *bytes)
{
    ak__put_u64(&bytes, (uint64_t)((const ak_momentum *)obj)->updates);
}

static ak_status state_check(void *obj, const unsigned char *bytes, size_t size)
{
    const ak_momentum *e = obj;
    if (size == 8 && ak__get_u64(&bytes) <= INT64_MAX)
        return AK_OK;
    return ak_fail(e->ctx, AK_ERR_FORMAT, "momentum encoder %s: its count of updates is damaged",
                   e->teacher->name);
}

static void state_load(void *obj, const unsigned char *bytes, size_t size)
{
    (void)size;
    ((ak_momentum *)obj)->updates = (int64_t)ak__get_u64(&bytes);
}

static bool registered(ak_momentum *e)
{
    static const ak__state_ops ops = { state_size, state_save, state_check, state_load, NULL };
    char name[AK__NAME_MAX];
    ak__format(name, sizeof name, "momentum %s", e->teacher->name);
    return ak__state_register(e->ctx, name, &ops, e) != NULL;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static int64_t tensors_of(const ak_module *m)
{
    int64_t n = 0;
    while (ak_module_param(m, n))
        n++;
    return n;
}

static bool has_buffers(const ak_module *m)
{
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++)
        if (t->flags & AK_PARAM_BUFFER)
            return true;
    return false;
}

static ak__ema_rule rule_of(const ak_momentum *e, const ak_tensor *from, int64_t *copied)
{
    if (!(from->flags & AK_PARAM_BUFFER))
        return AK__EMA_AVERAGED;
    if (e->o.copied && ak_match(e->o.copied, from->name)) {
        ++*copied;
        return AK__EMA_COPIED;
    }
    return e->o.buffers == AK_BUFFERS_AVERAGE ? AK__EMA_AVERAGED
         : e->o.buffers == AK_BUFFERS_OWN ? AK__EMA_LEFT : AK__EMA_COPIED;
}

/* A copy has its tensors in the order of the original. */
static bool make_plan(ak_momentum *e)
{
    const int64_t n = e->tensors = tensors_of(e->student);
    ak__ema_pair *pairs = ak__ctx_alloc(e->ctx, (size_t)(n + 1) * sizeof *pairs);
    int64_t copied = 0;
    for (int64_t i = 0; pairs && i < n; i++) {
        const ak_tensor *from = ak_module_param(e->student, i);
        pairs[i] = (ak__ema_pair){ ak_module_param(e->teacher, i), from,
                                   rule_of(e, from, &copied) };
    }
    if (e->o.copied && !copied) {
        ak_fail(e->ctx, AK_ERR_NOT_FOUND, "ak_momentum_encoder: no buffer of %s fits .copied = "
                "\"%s\"", e->student->name, e->o.copied);
        return false;
    }
    e->plan = pairs ? ak__ema_plan_of(e->ctx, pairs, n) : NULL;
    return e->plan != NULL;
}

/* ---- the object ------------------------------------------------------------------------------ */

static bool in_unit(double x)
{
    return x >= 0 && x <= 1;
}

static bool options_fit(const ak_module *student, const ak_momentum_options *o)
{
    ak_ctx *ctx = student->ctx;
    if (!in_unit(o->start) || !in_unit(o->end) || (unsigned)o->rise > AK_RISE_LINEAR ||
        (unsigned)o->norm > AK_TEACHER_EVAL || (unsigned)o->buffers > AK_BUFFERS_OWN) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_momentum_encoder: %s: start %g and end %g must be in [0, "
                "1], rise %d, norm %d and buffers %d of their kinds", student->name, o->start,
                o->end, (int)o->rise, (int)o->norm, (int)o->buffers);
        return false;
    }
    if (o->rise == AK_RISE_NONE ? o->steps != 0 : o->steps < 1) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_momentum_encoder: %s: steps %" PRId64 " must be %s",
                student->name, o->steps,
                o->rise == AK_RISE_NONE ? "0 for a constant momentum (no .rise)"
                                        : ">= 1 for a momentum that rises");
        return false;
    }
    if (o->norm == AK_TEACHER_UNSAID && has_buffers(student)) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_momentum_encoder: %s has running statistics: .norm must say "
                "which the teacher uses\n    hint: AK_TEACHER_TRAIN: those of its batch (MoCo, "
                "BYOL); AK_TEACHER_EVAL: the running ones", student->name);
        return false;
    }
    if (o->buffers == AK_BUFFERS_OWN && o->norm == AK_TEACHER_EVAL) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_momentum_encoder: %s: with AK_BUFFERS_OWN and "
                "AK_TEACHER_EVAL the running statistics would never move", student->name);
        return false;
    }
    return true;
}

static double option(double x, double absent)
{
    return x == AK_NONE ? 0 : x == 0 ? absent : x;
}

ak_momentum *ak_momentum_encoder(ak_module *student, const char *name, ak_momentum_options o)
{
    if (!AK__GIVEN(NULL, student) || !AK__GIVEN(student->ctx, name))
        return NULL;
    ak_ctx *ctx = student->ctx;
    o.start = option(o.start, 0.996);
    o.end = option(o.end, 1);
    if (ak_error(ctx) != AK_OK || !options_fit(student, &o))
        return NULL;
    ak_momentum *e = ak__ctx_alloc(ctx, sizeof *e);
    if (!e)
        return NULL;
    if (o.copied && !(o.copied = ak__ctx_strdup(ctx, o.copied)))
        return NULL;
    *e = (ak_momentum){ .ctx = ctx, .student = student, .o = o };
    e->teacher = ak_module_clone(student, name);
    if (!e->teacher || !make_plan(e) || !registered(e))
        return NULL;
    if (o.norm == AK_TEACHER_EVAL)
        ak_module_train(e->teacher, false);
    return e;
}

ak_module *ak_momentum_module(const ak_momentum *e)
{
    return AK__GIVEN(NULL, e) ? e->teacher : NULL;
}

ak_tensor *ak_momentum_forward(ak_momentum *e, ak_inputs in)
{
    if (!AK__GIVEN(in.x ? in.x->ctx : NULL, e))
        return &ak__poison;
    ak_no_grad_begin(e->ctx);
    ak_tensor *y = ak_forward_with(e->teacher, in);
    ak_no_grad_end(e->ctx);
    return y;
}

int64_t ak_momentum_updates(const ak_momentum *e)
{
    return AK__GIVEN(NULL, e) ? e->updates : 0;
}

double ak_momentum_now(const ak_momentum *e)
{
    if (!AK__GIVEN(NULL, e))
        return (double)NAN;
    const ak_momentum_options *o = &e->o;
    if (o->rise == AK_RISE_NONE)
        return o->start;
    if (e->updates >= o->steps)
        return o->end;
    const double part = (double)e->updates / (double)o->steps;
    const double left = o->rise == AK_RISE_LINEAR ? 1 - part : (cos(acos(-1) * part) + 1) / 2;
    return o->end - (o->end - o->start) * left;
}

ak_status ak_momentum_update(ak_momentum *e)
{
    if (!AK__GIVEN(NULL, e))
        return ak__refused(NULL);
    if (ak_error(e->ctx) != AK_OK)
        return ak_error(e->ctx);
    if (!ak__outside_frames(e->ctx, "ak_momentum_update") ||
        !ak__complete(e->student, "ak_momentum_update"))
        return ak_error(e->ctx);
    const int64_t now = tensors_of(e->student);
    if (now != e->tensors)
        return ak_fail(e->ctx, AK_ERR_STATE, "ak_momentum_update: %s has %" PRId64 " parameters "
                       "and buffers; its copy %s was made of %" PRId64 "\n    hint: make the "
                       "momentum encoder when the student is complete", e->student->name, now,
                       e->teacher->name, e->tensors);
    ak__ema_apply(e->ctx, e->plan, ak_momentum_now(e), "ak_momentum_update");
    e->updates++;
    return AK_OK;
}
