/* SPDX-License-Identifier: Apache-2.0 */
/* The container that backward runs again. */
#include "nn/module.h"

#include <akin/recompute.h>

#include "autograd/recompute.h"
#include "tensor/tensor_internal.h"

typedef struct job {
    ak_module *body;
    ak_inputs  in;
} job;

static ak_tensor *run_body(const ak__segment *s, int64_t first, int64_t count)
{
    const job *j = s->what;
    (void)first;
    (void)count;
    return ak__run(j->body, &j->in, NULL);
}

static ak_tensor *recompute_forward(ak_module *m, const ak_inputs *in)
{
    if (m->n_children != 1) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): has %d parts; it wants one, its body", m->name,
                m->what, (int)m->n_children);
        return &ak__poison;
    }
    if (in->state && m->ctx->no_grad == 0) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): .state would be changed by both runs\n    hint: "
                "decoding with a state goes between ak_no_grad_begin() and ak_no_grad_end()",
                m->name, m->what);
        return &ak__poison;
    }
    job *j = ak__step_alloc(m->ctx, sizeof *j);
    if (!j)
        return &ak__poison;
    *j = (job){ m->children[0], ak_inputs_for(m->children[0], *in) };
    return ak__recompute(m->ctx, &(ak__segment){ .run = run_body, .what = j, .who = m->name,
                                                 .rows = 1, .part = 1 });
}

static const ak_module_kind recompute_kind = { .name = "recompute", .container = true,
                                               .forward_with = recompute_forward };

ak_module *ak_nn_recompute(ak_ctx *ctx, const char *name, ak_module *body)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, body))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &recompute_kind);
    if (!m)
        return NULL;
    ak_module_add(m, body);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
