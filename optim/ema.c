/* SPDX-License-Identifier: Apache-2.0 */
/* Moving averages of parameters: momentum encoders. */
#include "base/frame.h"
#include "base/parallel.h"
#include "base/real.h"
#include "base/text.h"
#include "optim/ema.h"
#include "optim/optim_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct ema_run {
    ak_real *y;
    const ak_real *x;
    int64_t n;
    ak__ema_rule rule;
} ema_run;

/* Pairs found once for a pair of paths, and anew when parameters were added; or given (ema.h). */
struct ak__ema_plan {
    const char *teacher, *student;
    int64_t     known;              /* parameters of the context when it was made */
    int64_t     n;
    ema_run    *runs;               /* [n] */
    int64_t     n_changed;
    ak_tensor **changed;            /* [n_changed]: the teacher's, one by one */
    const ak_tensor *last_to, *last_from;   /* while it is filled */
    struct ak__ema_plan *next;
};

static ak__ema_plan *plan_for_pairs(ak_ctx *ctx, int64_t room)
{
    ak__ema_plan *plan = ak__ctx_alloc(ctx, sizeof *plan);
    ema_run *runs = plan ? ak__ctx_alloc(ctx, (size_t)(room + 1) * sizeof *runs) : NULL;
    ak_tensor **changed = runs ? ak__ctx_alloc(ctx, (size_t)(room + 1) * sizeof *changed) : NULL;
    if (!changed)
        return NULL;
    *plan = (ak__ema_plan){ .runs = runs, .changed = changed };
    return plan;
}

static void append(ak__ema_plan *plan, ak__ema_pair p)
{
    if (p.rule == AK__EMA_LEFT)
        return;
    ema_run *last = plan->n ? &plan->runs[plan->n - 1] : NULL;
    if (last && last->rule == p.rule && ak__param_adjacent(plan->last_from, p.from) &&
        ak__param_adjacent(plan->last_to, p.to))
        last->n = (p.to->data - last->y) + p.to->size;
    else
        plan->runs[plan->n++] = (ema_run){ p.to->data, p.from->data, p.to->size, p.rule };
    plan->changed[plan->n_changed++] = p.to;
    plan->last_from = p.from;
    plan->last_to = p.to;
}

static int by_place(const void *a, const void *b)
{
    const ak_real *x = ((const ak__ema_pair *)a)->from->data;
    const ak_real *y = ((const ak__ema_pair *)b)->from->data;
    return (x > y) - (x < y);
}

ak__ema_plan *ak__ema_plan_of(ak_ctx *ctx, ak__ema_pair *pairs, int64_t n)
{
    ak__ema_plan *plan = plan_for_pairs(ctx, n);
    if (!plan)
        return NULL;
    qsort(pairs, (size_t)n, sizeof *pairs, by_place);
    for (int64_t i = 0; i < n; i++)
        append(plan, pairs[i]);
    return plan;
}

static int64_t param_count(ak_ctx *ctx, int64_t from)
{
    while (ak_param_at(ctx, from))
        from++;
    return from;
}

/* What follows "path/" in name; NULL if name is not below it. */
static const char *below(const char *name, const char *path)
{
    const size_t n = strlen(path);
    return strncmp(name, path, n) == 0 && name[n] == '/' ? name + n + 1 : NULL;
}

/* The tensor "path/rest"; NULL if there is none. */
static ak_tensor *namesake(ak_ctx *ctx, const char *path, const char *rest)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        const char *its = below(t->name, path);
        if (its && strcmp(its, rest) == 0)
            return t;
    }
    return NULL;
}

/* The teacher's counterpart of a student's tensor; NULL after an error. */
static ak_tensor *counterpart(ak_ctx *ctx, const ak_tensor *from, const char *rest,
                              const char *teacher)
{
    ak_tensor *to = namesake(ctx, teacher, rest);
    if (!to) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: %s has no counterpart %s/%s", from->name,
                teacher, rest);
        return NULL;
    }
    if (ak_shape_equal(to->shape, from->shape) &&
        (to->flags & AK_PARAM_BUFFER) == (from->flags & AK_PARAM_BUFFER))
        return to;
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    ak_fail(ctx, AK_ERR_SHAPE, "ema_update: %s %s and %s %s differ in shape or kind", to->name,
            ak_shape_text(to->shape, a), from->name, ak_shape_text(from->shape, b));
    return NULL;
}

/* What the teacher, a copy of the student, has of a tensor that is part of the student but not
 * named below it; NULL if there is none. */
static ak_tensor *copy_of(ak_ctx *ctx, const ak_tensor *from, const char *teacher,
                          const char *student)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++)
        if (t->twin && t->twin->from == from && strcmp(t->twin->root, student) == 0 &&
            below(t->name, teacher))
            return t;
    return NULL;
}

static bool fill_plan(ak_ctx *ctx, ak__ema_plan *plan)
{
    const ak_tensor *from;
    for (int64_t at = 0; (from = ak__param_next(ctx, &at)) != NULL; ) {
        const char *rest = below(from->name, plan->student);
        ak_tensor *to = rest ? counterpart(ctx, from, rest, plan->teacher)
                             : copy_of(ctx, from, plan->teacher, plan->student);
        if (!to && !rest)
            continue;
        if (!to)
            return false;
        append(plan, (ak__ema_pair){ to, from, from->flags & AK_PARAM_BUFFER ? AK__EMA_COPIED
                                                                             : AK__EMA_AVERAGED });
    }
    if (plan->n)
        return true;
    char near[300];
    ak__near_params(ctx, plan->student, near, sizeof near);
    ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: there is no parameter below \"%s/\"; near are %s",
            plan->student, *near ? near : "none: make the modules first");
    return false;
}

/* A tensor of the teacher that no student's moves would stay at its start without a word. */
static bool teacher_has_no_more(ak_ctx *ctx, const char *teacher, const char *student)
{
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        const char *rest = below(t->name, teacher);
        const bool copied = t->twin && strcmp(t->twin->root, student) == 0 &&
                            !below(t->twin->from->name, student);
        if (rest && !copied && !namesake(ctx, student, rest)) {
            ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: %s has no counterpart %s/%s\n    hint: "
                    "name the parts that both have: \"%s/encoder\"", t->name, student, rest,
                    teacher);
            return false;
        }
    }
    return true;
}

static const ak__ema_plan *plan_for(ak_ctx *ctx, const char *teacher, const char *student)
{
    ak__optim_home *home = ak__optim_home_of(ctx);
    if (!home)
        return NULL;
    ak__ema_plan *plan = home->plans;
    while (plan && (strcmp(plan->teacher, teacher) != 0 || strcmp(plan->student, student) != 0))
        plan = plan->next;
    if (plan && !ak_param_at(ctx, plan->known))
        return plan;
    const int64_t known = param_count(ctx, plan ? plan->known : 0);
    ak__ema_plan *fresh = plan_for_pairs(ctx, known);
    if (!fresh)
        return NULL;
    fresh->teacher = ak__ctx_strdup(ctx, teacher);
    fresh->student = ak__ctx_strdup(ctx, student);
    fresh->known = known;
    if (!fresh->teacher || !fresh->student || !fill_plan(ctx, fresh) ||
        !teacher_has_no_more(ctx, teacher, student))
        return NULL;
    fresh->next = home->plans;      /* hides an older plan for the same pair */
    home->plans = fresh;
    return fresh;
}

/* Below this share of the student a step is often less than half a unit in the teacher's last
 * place: rounded to the nearest number, it would never move. */
#define SMALL_SHARE (512 * (double)AK_REAL_EPS)

/* y + step, rounded up or down with the chances that make the mean right; u uniform in (0, 1). */
static ak_real step_by_chance(ak_real y, double step, double u)
{
    const ak_real near = (ak_real)((double)y + step);
    const double rest = ((double)y - (double)near) + step;
    if (rest == 0 || !(ak__fabs(near) < AK_REAL_MAX))
        return near;
    const ak_real far = ak__nextafter(near, rest > 0 ? AK_REAL_MAX : -AK_REAL_MAX);
    return u * fabs((double)far - (double)near) < fabs(rest) ? far : near;
}

/* Elements [begin, end) of a run; begin is a multiple of 4. */
static void small_step(const ema_run *r, int64_t begin, int64_t end, double share, uint64_t seed,
                       uint64_t stream)
{
    for (int64_t i = begin; i < end; i += 4) {
        uint32_t word[4];
        ak__philox(seed, stream, (uint64_t)i / 4, word);
        for (int64_t j = i; j < end && j < i + 4; j++)
            r->y[j] = step_by_chance(r->y[j], share * ((double)r->x[j] - (double)r->y[j]),
                                     ((double)word[j - i] + 0.5) / 4294967296.0);
    }
}

void ak__ema_apply(ak_ctx *ctx, const ak__ema_plan *plan, double momentum, const char *who)
{
    const double share = 1 - momentum;
    const bool small = share > 0 && share < SMALL_SHARE;
    const uint64_t stream = small ? ak_next_stream(ctx) : 0;
    for (int64_t i = 0; i < plan->n; i++) {
        const ema_run *r = &plan->runs[i];
        if (r->rule == AK__EMA_COPIED || momentum <= 0) {
            /* a copy has the same bits, an average may not */
            memcpy(r->y, r->x, (size_t)r->n * sizeof *r->y);
            continue;
        }
        AK__PARALLEL_CHUNKS(c, r->n, AK__OPTIM_CHUNK, begin, end) {
            if (small)
                small_step(r, begin, end, share, ctx->seed, ak__stream(stream, (uint64_t)i, 0, 0));
            else
                ak__k.lerp(r->y + begin, r->x + begin, (ak_real)share, end - begin);
        }
    }
    for (int64_t i = 0; i < plan->n_changed; i++)
        ak__changed(plan->changed[i], who);
}

ak_status ak_ema_update(ak_ctx *ctx, const char *teacher, const char *student, double momentum)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, teacher) || !AK__GIVEN(ctx, student))
        return ak__refused(ctx);
    if (ctx->status != AK_OK || !ak__outside_frames(ctx, "ema_update"))
        return ctx->status;
    if (!teacher || !student)
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: %s is NULL",
                       teacher ? "student" : "teacher");
    if (!(momentum >= 0 && momentum <= 1))
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: momentum = %g is not in [0, 1]", momentum);
    if (strcmp(teacher, student) == 0)
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: teacher and student are both \"%s\"",
                       teacher);
    const ak__ema_plan *plan = plan_for(ctx, teacher, student);
    if (!plan)
        return ctx->status;
    ak__ema_apply(ctx, plan, momentum, "ak_ema_update");
    return AK_OK;
}
