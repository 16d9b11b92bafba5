/* SPDX-License-Identifier: Apache-2.0 */
/* Prototypes, and one trunk with several heads. */
#include <akin/heads.h>

#include "base/frame.h"
#include "base/real.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- prototypes ------------------------------------------------------------------------------ */

typedef struct prototypes {
    int     dim, n;             /* sets; the weights are the module's own */
    int64_t frozen_steps;
} prototypes;

static ak_tensor *scores(ak_module *m, ak_tensor *x, int i)
{
    const prototypes *p = ak_module_user(m);
    if (x->shape.n < 1 || ak_last_dim(x) != p->dim)
        return ak__module_shape_error(m, x, "[.., %d]", p->dim);
    return ak_linear(x, ak__own(m, i), NULL);
}

static ak_tensor *prototypes_forward(ak_module *m, ak_tensor *x)
{
    const prototypes *p = ak_module_user(m);
    ak_tensor *set[AK_PROTOTYPE_SETS];
    for (int i = 0; i < p->n; i++)
        set[i] = scores(m, x, i);
    return p->n == 1 ? set[0] : ak_concat_n(-1, set, p->n);
}

static const ak_module_kind prototypes_kind = { .name = "prototypes",
                                                .forward = prototypes_forward,
                                                AK__STATE(prototypes) };

static bool is_prototypes(ak_module *m, const char *who)
{
    if (m->kind == &prototypes_kind)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s (%s) is no module of ak_prototypes", who, m->name,
            m->what);
    return false;
}

static double length_of(const ak_tensor *w, int64_t row)
{
    const int64_t D = ak_last_dim(w);
    double sum = 0;
    for (int64_t i = row * D; i < (row + 1) * D; i++)
        sum += (double)w->data[i] * (double)w->data[i];
    return sqrt(sum);
}

static bool rows_have_length(ak_module *m)
{
    for (int64_t t = 0; t < m->n_tensors; t++)
        for (int64_t r = 0; r < m->tensors[t]->shape.dims[0]; r++) {
            const double length = length_of(m->tensors[t], r);
            if (length > 0 && isfinite(length))
                continue;
            ak_fail(m->ctx, AK_ERR_NUMBER, "ak_prototypes_step: row %" PRId64 " of %s has length "
                    "%g and can not be given unit length", r, m->tensors[t]->name, length);
            return false;
        }
    return true;
}

/* A row that has unit length already, up to rounding, keeps its bits. */
static void normalize_rows(ak_module *m)
{
    for (int64_t t = 0; t < m->n_tensors; t++) {
        ak_tensor *w = m->tensors[t];
        const int64_t D = ak_last_dim(w);
        for (int64_t r = 0; r < w->shape.dims[0]; r++) {
            const double length = length_of(w, r);
            for (int64_t i = r * D; fabs(length - 1) > (double)AK_REAL_EPS && i < (r + 1) * D; i++)
                w->data[i] = (ak_real)((double)w->data[i] / length);
        }
        ak_touch(w);
    }
}

ak_module *ak_prototypes(ak_ctx *ctx, const char *name, int dim, ak_prototypes_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &prototypes_kind);
    if (!m)
        return NULL;
    int n = 0;
    while (n <= AK_PROTOTYPE_SETS && o.sets[n] > 0)
        n++;
    if (n < 1 || n > AK_PROTOTYPE_SETS || o.sets[n] < 0 || dim < 1 || o.frozen_steps < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .sets must be 1 to %d numbers >= 1 and then 0, dim %d >= "
                "1, .frozen_steps %" PRId64 " >= 0", m->name, AK_PROTOTYPE_SETS, dim,
                o.frozen_steps);
        return NULL;
    }
    *(prototypes *)ak_module_user(m) = (prototypes){ dim, n, o.frozen_steps };
    ak_module_describe(m, "prototypes %d -> %d%s", dim, o.sets[0], n > 1 ? ", .." : "");
    for (int i = 0; i < n; i++) {
        char path[40];
        snprintf(path, sizeof path, "prototypes%d/weight", i);
        ak_tensor *w = ak_module_add_param(m, n == 1 ? "weight" : path, AK_SHAPE(o.sets[i], dim),
                                           0);
        if (!ak_is_poison(w))
            ak_init_fill(w, (ak_init){ 0 });
    }
    if (ak_error(ctx) != AK_OK || !rows_have_length(m))
        return NULL;
    normalize_rows(m);
    return m;
}

ak_status ak_prototypes_step(ak_module *m, int64_t step)
{
    if (!AK__GIVEN(NULL, m))
        return ak__refused(NULL);
    if (ak_error(m->ctx) != AK_OK || !ak__outside_frames(m->ctx, "ak_prototypes_step") ||
        !is_prototypes(m, "ak_prototypes_step"))
        return ak_error(m->ctx);
    if (step < 0)
        return ak_fail(m->ctx, AK_ERR_VALUE, "ak_prototypes_step: step %" PRId64 " is below 0",
                       step);
    if (!rows_have_length(m))
        return ak_error(m->ctx);
    normalize_rows(m);
    const prototypes *p = ak_module_user(m);
    for (int64_t i = 0; p->frozen_steps && i < m->n_tensors; i++)
        ak_freeze(m->ctx, m->tensors[i]->name, step < p->frozen_steps);
    return ak_error(m->ctx);
}

ak_tensor *ak_prototypes_scores(ak_module *m, ak_tensor *x, int i)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x))
        return &ak__poison;
    if (ak_error(m->ctx) != AK_OK || !ak__complete(m, "ak_prototypes_scores") ||
        !is_prototypes(m, "ak_prototypes_scores"))
        return &ak__poison;
    const prototypes *p = ak_module_user(m);
    if (i < 0 || i >= p->n) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_prototypes_scores: %s has no set %d, but %d of them",
                m->name, i, p->n);
        return &ak__poison;
    }
    return scores(m, x, i);
}

/* ---- several heads --------------------------------------------------------------------------- */

#define HEADS_MAX 64

/* The first child is the trunk. */
static bool multi_complete(const ak_module *m)
{
    if (m->n_children >= 2 && m->n_children <= HEADS_MAX + 1)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): has %" PRId64 " parts; it needs a trunk and 1 to %d "
            "heads\n    hint: they are made between ak_module_begin(m) and ak_module_end(m)",
            m->name, m->what, m->n_children, HEADS_MAX);
    return false;
}

static ak_tensor *run_heads(ak_module *m, const ak_inputs *in, ak_tensor **out)
{
    ak_inputs now = *in;
    ak_tensor *trunk = ak_forward_with(m->children[0], ak_inputs_for(m->children[0], now));
    now.x = trunk;
    for (int64_t i = 1; i < m->n_children; i++)
        out[i - 1] = ak_forward_with(m->children[i], ak_inputs_for(m->children[i], now));
    return trunk;
}

static ak_tensor *multi_forward(ak_module *m, const ak_inputs *in)
{
    ak_tensor *out[HEADS_MAX];
    if (!multi_complete(m))
        return &ak__poison;
    run_heads(m, in, out);
    return m->n_children == 2 ? out[0] : ak_concat_n(-1, out, (int)m->n_children - 1);
}

static const ak_module_kind multi_kind = { .name = "trunk and heads", .container = true,
                                           .forward_with = multi_forward };

ak_module *ak_multi_head(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return ak_module_make(ctx, name, &multi_kind);
}

ak_tensor *ak_multi_forward(ak_module *m, ak_inputs in, ak_tensor **out, int n)
{
    if (!AK__GIVEN(in.x ? in.x->ctx : NULL, m) || !AK__GIVEN(m->ctx, out))
        return &ak__poison;
    for (int i = 0; i < n; i++)
        out[i] = &ak__poison;
    if (ak_error(m->ctx) != AK_OK || !ak__complete(m, "ak_multi_forward"))
        return &ak__poison;
    if (m->kind != &multi_kind) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_multi_forward: %s (%s) is no module of ak_multi_head",
                m->name, m->what);
        return &ak__poison;
    }
    if (!multi_complete(m))
        return &ak__poison;
    if (n != m->n_children - 1) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_multi_forward: %s has %" PRId64 " heads; there is room "
                "for n = %d outputs", m->name, m->n_children - 1, n);
        return &ak__poison;
    }
    const bool training = ak_is_training(m->ctx);
    if (m->evaluating)
        ak_train_mode(m->ctx, false);
    ak_tensor *trunk = run_heads(m, &in, out);
    if (m->evaluating)
        ak_train_mode(m->ctx, training);
    for (int i = 0; ak_error(m->ctx) != AK_OK && i < n; i++)
        out[i] = &ak__poison;
    return ak_error(m->ctx) == AK_OK ? trunk : &ak__poison;
}

int ak_multi_index(const ak_module *m, const char *name)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, name))
        return -1;
    for (int64_t i = 1; m->kind == &multi_kind && i < m->n_children; i++) {
        const char *rest = ak__below(m->children[i]->name, m->name);
        if (strcmp(rest ? rest : m->children[i]->name, name) == 0)
            return (int)i - 1;
    }
    return -1;
}
