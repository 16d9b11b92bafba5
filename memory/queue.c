/* SPDX-License-Identifier: Apache-2.0 */
/* The newest rows, first in, first out: a ring of places. */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/frame.h"
#include "base/whole.h"
#include "memory/nearest.h"
#include "memory/store.h"

struct ak_queue {
    ak__store  store;
    ak_row_form form;
    int64_t    size, dim;
    ak_tensor *rows;            /* [size, dim] */
    int32_t   *ids, *labels;    /* [size] -1 beside rows that none came with; NULL = not kept */
    int64_t   *born;            /* [size] number of the push that the row came with; 0 = none */
    int64_t    held, next, pushes;
};

static int32_t *numbers_of_rows(ak_queue *q, bool wanted)
{
    int32_t *x = wanted ? ak__store_alloc(&q->store, q->size, sizeof *x) : NULL;
    for (int64_t i = 0; x && i < q->size; i++)
        x[i] = -1;
    return x;
}

ak_queue *ak_queue_make(ak_ctx *ctx, const char *name, int64_t rows, int64_t dim,
                        ak_queue_options o)
{
    ak_queue *q = ak__store_new(ctx, __func__, "queue", name, sizeof *q);
    if (!q)
        return NULL;
    const ak__speaker me = { ctx, __func__, q->store.name };
    if (!ak__store_positive(ctx, __func__, name, "rows", rows) ||
        !ak__store_positive(ctx, __func__, name, "dim", dim) || !ak__row_form_known(me, o.form))
        return NULL;
    if (rows > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\": rows is %" PRId64 "; expected less than 2^31",
                __func__, name, rows);
        return NULL;
    }
    q->form = o.form;
    q->size = rows;
    q->dim = dim;
    ak__store_size(&q->store, "rows", rows);
    ak__store_size(&q->store, "dim", dim);
    ak__store_size(&q->store, "ids", o.ids);
    ak__store_size(&q->store, "labels", o.labels);
    ak__store_counter(&q->store, "rows held", &q->held, rows);
    ak__store_counter(&q->store, "the next place", &q->next, rows - 1);
    ak__store_counter(&q->store, "pushes", &q->pushes, AK__STORE_MOST);
    q->rows = ak__store_rows(&q->store, rows, dim);
    q->born = q->rows ? ak__store_counts(&q->store, rows) : NULL;
    q->ids = q->born ? numbers_of_rows(q, o.ids) : NULL;
    q->labels = q->born ? numbers_of_rows(q, o.labels) : NULL;
    if (!q->born || (o.ids && !q->ids) || (o.labels && !q->labels))
        return NULL;
    if (o.random_start) {
        ak__rows_draw(me, q->rows->data, rows, dim);
        q->held = rows;
    }
    return ak__store_register(&q->store) ? q : NULL;
}

/* ---- push ------------------------------------------------------------------------------------ */

/* Do these numbers fit a queue that keeps them (or none)? One a row, or one a sample of views. */
static bool marks_fit(ak__speaker me, const char *what, const ak_index *x, bool kept,
                      const ak_tensor *rows)
{
    char text[AK_SHAPE_TEXT], shape[AK_SHAPE_TEXT];
    if (!kept && x) {
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\" keeps no %s\n    hint: %s of ak_queue_options",
                me.who, me.name, what + 1, what);
        return false;
    }
    if (!kept)
        return true;
    if (!ak__index_known(me.ctx, x, me.who, what))
        return false;
    const int64_t N = ak_row_count(rows);
    if (x->size != N && !(rows->shape.n == 3 && x->size == rows->shape.dims[1])) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": %s %s should hold one number for each row of %s",
                me.who, me.name, what, ak_shape_text(x->shape, text),
                ak_shape_text(rows->shape, shape));
        return false;
    }
    return ak__numbers_fit(me, what, x, (int64_t)INT32_MAX + 1);
}

static bool push_fits(ak__speaker me, const ak_queue *q, const ak_tensor *rows,
                      const ak_queue_push_options *o)
{
    char text[AK_SHAPE_TEXT];
    const ak_shape s = rows->shape;
    if ((s.n != 2 && s.n != 3) || ak_last_dim(rows) != q->dim) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": rows are %s; expected [N,%" PRId64 "] or [V,N,%"
                PRId64 "]", me.who, me.name, ak_shape_text(s, text), q->dim, q->dim);
        return false;
    }
    if (rows->owner == q->rows) {
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": rows are the queue's own, which the push would "
                "write over while it reads them", me.who, me.name);
        return false;
    }
    return marks_fit(me, ".ids", o->ids, q->ids, rows) &&
           marks_fit(me, ".labels", o->labels, q->labels, rows);
}

/* The id (or label) of each row, NULL if none came. */
static int32_t mark_of(const ak_index *x, int64_t row) { return x->data[row % x->size]; }

/* Is this row padding? */
static bool left_out(const ak_queue_push_options *o, int64_t row)
{
    return o->ids && mark_of(o->ids, row) == -1;
}

static bool rows_fit(ak__speaker me, const ak_queue *q, const ak_tensor *rows,
                     const ak_queue_push_options *o)
{
    if (!o->ids)
        return ak__rows_accepted(me, q->form, rows->data, ak_row_count(rows), q->dim, NULL);
    const int64_t views = ak_row_count(rows) / ak__max(1, o->ids->size);
    for (int64_t v = 0; v < views; v++)
        if (!ak__rows_accepted(me, q->form, rows->data + v * o->ids->size * q->dim, o->ids->size,
                               q->dim, o->ids->data))
            return false;
    return true;
}

static void push_row(ak_queue *q, const ak_tensor *rows, const ak_queue_push_options *o,
                     int64_t row)
{
    ak__row_put(q->rows->data + q->next * q->dim, rows->data + row * q->dim, q->dim, q->form);
    q->born[q->next] = q->pushes;
    if (q->ids)
        q->ids[q->next] = mark_of(o->ids, row);
    if (q->labels)
        q->labels[q->next] = mark_of(o->labels, row);
}

ak_status ak_queue_push(ak_queue *q, ak_tensor *rows, ak_queue_push_options o)
{
    if (!AK__GIVEN(NULL, q))
        return ak__refused(NULL);
    const ak__speaker me = { q->store.ctx, __func__, q->store.name };
    if (!AK__TENSOR(me.ctx, rows))
        return ak__refused(me.ctx);
    if (ak_error(me.ctx) != AK_OK)
        return ak_error(me.ctx);
    if (!ak__outside_frames(me.ctx, me.who) || !push_fits(me, q, rows, &o) ||
        !rows_fit(me, q, rows, &o))
        return ak_error(me.ctx);
    const int64_t N = ak_row_count(rows);
    int64_t skip = -q->size;        /* the first of a larger batch are pushed out again */
    for (int64_t i = 0; i < N; i++)
        skip += !left_out(&o, i);
    q->pushes++;
    for (int64_t i = 0; i < N; i++) {
        if (left_out(&o, i))
            continue;
        if (skip-- <= 0)
            push_row(q, rows, &o, i);
        q->next = q->next + 1 < q->size ? q->next + 1 : 0;
        q->held += q->held < q->size;
    }
    ak__changed(q->rows, __func__);
    return AK_OK;
}

/* ---- what may be seen ------------------------------------------------------------------------ */

ak_tensor *ak_queue_rows(ak_queue *q)
{
    if (!AK__GIVEN(NULL, q))
        return &ak__poison;
    return ak__tensor_alias(q->rows, AK_SHAPE(q->held, q->dim), 0);
}

static ak_index *marks(ak_queue *q, const char *who, const char *what, const int32_t *x)
{
    if (!x) {
        ak_fail(q->store.ctx, AK_ERR_STATE, "%s: \"%s\" keeps no %s\n    hint: .%s of "
                "ak_queue_options", who, q->store.name, what, what);
        return &ak__poison_index;
    }
    return ak_index_from(q->store.ctx, AK_SHAPE(q->held), x);
}

ak_index *ak_queue_ids(ak_queue *q)
{
    return AK__GIVEN(NULL, q) ? marks(q, __func__, "ids", q->ids) : &ak__poison_index;
}

ak_index *ak_queue_labels(ak_queue *q)
{
    return AK__GIVEN(NULL, q) ? marks(q, __func__, "labels", q->labels) : &ak__poison_index;
}

ak_index *ak_queue_ages(ak_queue *q)
{
    if (!AK__GIVEN(NULL, q))
        return &ak__poison_index;
    ak_index *ages = ak__index_new(q->store.ctx, AK_SHAPE(q->held));
    for (int64_t i = 0; ages != &ak__poison_index && i < q->held; i++)
        ak__index_data(ages)[i] = (int32_t)ak__max(0, ak__min(q->pushes - q->born[i], INT32_MAX));
    return ages;
}

ak_nearest ak_queue_nearest(ak_queue *q, ak_tensor *x, ak_nearest_options o)
{
    if (!AK__GIVEN(NULL, q))
        return ak__nearest_poison();
    const ak__speaker me = { q->store.ctx, __func__, q->store.name };
    const ak__search s = { .rows = q->rows->data, .M = q->held, .D = q->dim,
                           .unit = q->form == AK_ROWS_NORMALIZED, .own_ids = q->ids != NULL,
                           .ids = q->ids };
    return ak__nearest(me, &s, x, o);
}

ak_queue_state ak_queue_tell(const ak_queue *q)
{
    if (!AK__GIVEN(NULL, q))
        return (ak_queue_state){ 0 };
    return (ak_queue_state){ .size = q->size, .dim = q->dim, .held = q->held, .next = q->next,
                             .pushes = q->pushes };
}
