/* SPDX-License-Identifier: Apache-2.0 */
/* The exact step in chunks: a module applied to a part of the samples at a time, as a segment that
 * backward runs again (autograd/recompute.c). */
#include "nn/module.h"

#include <akin/recompute.h>

#include <inttypes.h>

#include "autograd/recompute.h"
#include "tensor/tensor_internal.h"

#define DEFAULT_ROWS 64

typedef struct job {
    ak_module *m;
    ak_inputs  in;
} job;

static ak_tensor *run_chunk(const ak__segment *s, int64_t first, int64_t count)
{
    const job *j = s->what;
    if (s->part >= s->rows)
        return ak__run(j->m, &j->in, NULL);
    const ak_inputs part = ak__inputs_slice(j->m->ctx, &j->in, first, count);
    return ak_error(j->m->ctx) == AK_OK ? ak__run(j->m, &part, NULL) : &ak__poison;
}

/* The first module in the tree that makes rows from several chunks; NULL: none says so. */
static const ak_module *mixer(const ak_module *m, int64_t rows, int64_t batch, bool training)
{
    training = training && !m->evaluating;
    if (m->kind->mixes_rows && m->kind->mixes_rows(m, rows, batch, training))
        return m;
    for (int64_t i = 0; i < m->n_children; i++) {
        const ak_module *found = mixer(m->children[i], rows, batch, training);
        if (found)
            return found;
    }
    return NULL;
}

static bool rows_stay_apart(const ak_module *m, int64_t rows, int64_t batch)
{
    const ak_module *found = mixer(m, rows, batch, ak_is_training(m->ctx));
    if (!found)
        return true;
    ak_fail(m->ctx, AK_ERR_STATE, "%s: runs in chunks of %" PRId64 " of %" PRId64 " rows, and its "
            "part %s (%s) makes each row of its result from rows of several chunks\n    hint: "
            "group or layer norm keeps rows apart; so does split batch norm (.groups) where .rows "
            "is a multiple of the rows of a group; ak_module_train(m, false) uses running "
            "statistics; or run the batch in one chunk", m->name, rows, batch, found->name,
            found->what);
    return false;
}

/* The fewest rows that may depend on each other and on no others: 1, or a group of what is split.
 */
static int64_t fewest_rows(const ak_module *m, int64_t part, int64_t batch)
{
    int64_t rows = 1;
    while (rows < part && mixer(m, rows, batch, ak_is_training(m->ctx)))
        rows++;
    return rows;
}

ak_tensor *ak_forward_chunked(ak_module *m, ak_inputs in, ak_chunked_options o)
{
    if (!AK__GIVEN(in.x ? in.x->ctx : NULL, m))
        return &ak__poison;
    ak_ctx *ctx = m->ctx;
    int64_t rows = 0;
    if (ak_error(ctx) != AK_OK || !ak__complete(m, "ak_forward_chunked"))
        return &ak__poison;
    if (o.rows < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_forward_chunked: %s: .rows = %" PRId64 ": at least 1, or 0 "
                "for %d", m->name, o.rows, DEFAULT_ROWS);
        return &ak__poison;
    }
    const int64_t part = o.rows ? o.rows : DEFAULT_ROWS;
    if (!ak__inputs_rows(m, &in, &rows))
        return &ak__poison;
    const int64_t batch = ak__whole_batch(ctx, rows);       /* in a chunk of another module: more */
    if (part < rows && !rows_stay_apart(m, part, batch))
        return &ak__poison;
    job *j = ak__step_alloc(ctx, sizeof *j);
    if (!j)
        return &ak__poison;
    *j = (job){ m, in };
    const unsigned mode = ak_is_training(ctx) && !m->evaluating ? 1 : 2;
    const bool first_time = part < rows && !(m->rows_tried & mode);
    const int64_t few = first_time ? fewest_rows(m, part, batch) : 0;
    ak_tensor *y = ak__recompute(ctx, &(ak__segment){ .run = run_chunk, .what = j, .who = m->name,
                                                      .rows = rows, .part = part,
                                                      .try_rows = few });
    if (few && rows >= 3 * few && !ak_is_poison(y))
        m->rows_tried |= mode;
    return y;
}
