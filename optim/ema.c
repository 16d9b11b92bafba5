/* SPDX-License-Identifier: Apache-2.0 */
/* Moving averages of parameters: momentum encoders. */
#include "base/parallel.h"
#include "optim/optim_internal.h"

#include <string.h>

typedef struct ema_run { ak_real *y; const ak_real *x; int64_t n; bool buffer; } ema_run;

/* Pairs found once for a pair of paths; found anew when parameters were added. */
typedef struct ak__ema_plan {
    const char *teacher, *student;
    int64_t     known;              /* parameters of the context when it was made */
    int64_t     n;
    ema_run    *runs;               /* [n] */
    struct ak__ema_plan *next;
} ak__ema_plan;

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

static bool right_behind(const ak_tensor *a, const ak_tensor *b)
{
    return ak__optim_adjacent(a, ak__optim_room(a), b);
}

/* The teacher's counterpart of a student's tensor; NULL after an error. */
static ak_tensor *counterpart(ak_ctx *ctx, const ak_tensor *from, const char *rest,
                              const char *teacher)
{
    char name[1024];
    snprintf(name, sizeof name, "%s/%s", teacher, rest);
    ak_tensor *to = ak_param_find(ctx, name);
    if (!to) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: %s has no counterpart %s", from->name, name);
        return NULL;
    }
    if (ak_shape_equal(to->shape, from->shape) &&
        (to->flags & AK_PARAM_BUFFER) == (from->flags & AK_PARAM_BUFFER))
        return to;
    char a[96], b[96];
    ak_fail(ctx, AK_ERR_SHAPE, "ema_update: %s %s and %s %s differ in shape or kind", to->name,
            ak_shape_text(to->shape, a), from->name, ak_shape_text(from->shape, b));
    return NULL;
}

/* Slabs of tensors by flags, each in order of creation, so that neighbours meet. */
static const int slab_order[] = { 0, AK_PARAM_NO_DECAY, AK_PARAM_BUFFER | AK_PARAM_NO_DECAY,
                                  AK_PARAM_BUFFER };
#define SLAB_FLAGS (AK_PARAM_NO_DECAY | AK_PARAM_BUFFER)

static bool fill_plan(ak_ctx *ctx, ak__ema_plan *plan)
{
    for (size_t s = 0; s < sizeof slab_order / sizeof *slab_order; s++) {
        const ak_tensor *from, *last_from = NULL, *last_to = NULL;
        for (int64_t i = 0; (from = ak_param_at(ctx, i)) != NULL; i++) {
            const char *rest = below(from->name, plan->student);
            if (!rest || (from->flags & SLAB_FLAGS) != slab_order[s])
                continue;
            ak_tensor *to = counterpart(ctx, from, rest, plan->teacher);
            if (!to)
                return false;
            if (last_to && right_behind(last_from, from) &&
                right_behind(last_to, to))
                plan->runs[plan->n - 1].n = (to->data - plan->runs[plan->n - 1].y) + to->size;
            else
                plan->runs[plan->n++] = (ema_run){ .y = to->data, .x = from->data,
                                                   .n = to->size,
                                                   .buffer = from->flags & AK_PARAM_BUFFER };
            last_from = from;
            last_to = to;
        }
    }
    if (plan->n)
        return true;
    ak_fail(ctx, AK_ERR_NOT_FOUND, "ema_update: there is no parameter below \"%s/\"",
            plan->student);
    return false;
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
    ak__ema_plan *fresh = ak__ctx_alloc(ctx, sizeof *fresh);
    if (!fresh)
        return NULL;
    *fresh = (ak__ema_plan){ .teacher = ak__ctx_strdup(ctx, teacher),
                             .student = ak__ctx_strdup(ctx, student), .known = known,
                             .runs = ak__ctx_alloc(ctx, (size_t)(known + 1) * sizeof(ema_run)) };
    if (!fresh->teacher || !fresh->student || !fresh->runs || !fill_plan(ctx, fresh))
        return NULL;
    fresh->next = home->plans;      /* hides an older plan for the same pair */
    home->plans = fresh;
    return fresh;
}

ak_status ak_ema_update(ak_ctx *ctx, const char *teacher, const char *student, double momentum)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, teacher) || !AK__GIVEN(ctx, student))
        return ak__refused(ctx);
    if (ctx->status != AK_OK)
        return ctx->status;
    if (!(momentum >= 0 && momentum <= 1))
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: momentum = %g is not in [0, 1]", momentum);
    if (strcmp(teacher, student) == 0)
        return ak_fail(ctx, AK_ERR_VALUE, "ema_update: teacher and student are both \"%s\"",
                       teacher);
    const ak__ema_plan *plan = plan_for(ctx, teacher, student);
    if (!plan)
        return ctx->status;
    for (int64_t i = 0; i < plan->n; i++) {
        const ema_run *r = &plan->runs[i];
        if (r->buffer || momentum <= 0) {       /* a copy has the same bits, an average may not */
            memcpy(r->y, r->x, (size_t)r->n * sizeof *r->y);
            continue;
        }
        AK__PARALLEL_CHUNKS(c, r->n, AK__OPTIM_CHUNK, begin, end)
            ak__k.lerp(r->y + begin, r->x + begin, (ak_real)(1 - momentum), end - begin);
    }
    return AK_OK;
}
