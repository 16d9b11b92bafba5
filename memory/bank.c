/* SPDX-License-Identifier: Apache-2.0 */
/* One row for every sample of a data set. */
#include <inttypes.h>
#include <string.h>

#include "base/frame.h"
#include "memory/nearest.h"
#include "memory/store.h"
#include "tensor/kernels/kernels.h"

struct ak_bank {
    ak__store  store;
    ak_row_form form;
    double     momentum;
    int64_t    n, dim, held;
    ak_tensor *rows;            /* [n, dim] zeros where there is none */
    uint8_t   *present;         /* [n] 1 = there is one */
    int32_t   *labels;          /* [n]; NULL = not kept */
};

static void count_held(void *obj)
{
    ak_bank *b = obj;
    b->held = 0;
    for (int64_t i = 0; i < b->n; i++)
        b->held += b->present[i] != 0;
}

ak_bank *ak_bank_make(ak_ctx *ctx, const char *name, int64_t samples, int64_t dim,
                      ak_bank_options o)
{
    ak_bank *b = ak__store_new(ctx, __func__, "bank", name, sizeof *b);
    if (!b)
        return NULL;
    const ak__speaker me = { ctx, __func__, b->store.name };
    if (!ak__store_positive(ctx, __func__, name, "samples", samples) ||
        !ak__store_positive(ctx, __func__, name, "dim", dim) || !ak__row_form_known(me, o.form))
        return NULL;
    b->momentum = ak__momentum(me, o.momentum, 0.5);
    if (!(b->momentum >= 0))
        return NULL;
    if (samples > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%s\": samples is %" PRId64 "; expected less than 2^31",
                __func__, name, samples);
        return NULL;
    }
    b->form = o.form;
    b->n = samples;
    b->dim = dim;
    ak__store_size(&b->store, "samples", samples);
    ak__store_size(&b->store, "dim", dim);
    ak__store_size(&b->store, "labels", o.labels);
    b->store.loaded = count_held;
    b->rows = ak__store_rows(&b->store, samples, dim);
    b->present = b->rows ? ak__store_alloc(&b->store, samples, sizeof *b->present) : NULL;
    b->labels = b->present && o.labels ? ak__store_alloc(&b->store, samples, sizeof *b->labels)
                                       : NULL;
    if (!b->present || (o.labels && !b->labels))
        return NULL;
    for (int64_t i = 0; i < samples && b->labels; i++)
        b->labels[i] = -1;
    if (o.random_start) {
        ak__rows_draw(me, b->rows->data, samples, dim);
        memset(b->present, 1, (size_t)samples);
        b->held = samples;
    }
    return ak__store_register(&b->store) ? b : NULL;
}

/* ---- update ---------------------------------------------------------------------------------- */

static bool all_zero(const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0)
            return false;
    return true;
}

/* row = m row + (1 - m) x; fresh is room for d numbers. */
static void blend(const ak_bank *b, ak_real *row, const ak_real *x, ak_real *fresh)
{
    ak__row_put(fresh, x, b->dim, b->form);
    ak__k.combine(row, (ak_real)b->momentum, row, (ak_real)(1 - b->momentum), fresh, b->dim,
                  AK__SET);
    if (b->form == AK_ROWS_AS_THEY_ARE)
        return;
    if (all_zero(row, b->dim))
        memcpy(row, fresh, (size_t)b->dim * sizeof *row);
    else
        ak__row_unit(row, row, b->dim);
}

ak_status ak_bank_update(ak_bank *bank, ak_index *ids, ak_tensor *rows)
{
    char text[AK_SHAPE_TEXT], shape[AK_SHAPE_TEXT];
    if (!AK__GIVEN(NULL, bank))
        return ak__refused(NULL);
    const ak__speaker me = { bank->store.ctx, __func__, bank->store.name };
    if (!AK__INDEX(me.ctx, ids) || !AK__TENSOR(me.ctx, rows))
        return ak__refused(me.ctx);
    if (ak_error(me.ctx) != AK_OK || !ak__outside_frames(me.ctx, me.who))
        return ak_error(me.ctx);
    if (rows->shape.n < 1 || ak_last_dim(rows) != bank->dim || ak_row_count(rows) != ids->size)
        return ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": rows are %s for ids %s; expected a row "
                       "of %" PRId64 " numbers for each id", me.who, me.name,
                       ak_shape_text(rows->shape, text), ak_shape_text(ids->shape, shape),
                       bank->dim);
    if (rows->owner == bank->rows)
        return ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": rows are the bank's own, which the "
                       "update would write over while it reads them\n    hint: ak_bank_gather "
                       "copies", me.who, me.name);
    if (!ak__numbers_fit(me, "ids", ids, bank->n) ||
        !ak__rows_accepted(me, bank->form, rows->data, ids->size, bank->dim, ids->data))
        return ak_error(me.ctx);
    const size_t bytes = (size_t)bank->dim * sizeof(ak_real);
    ak_real *fresh = ak__step_alloc(me.ctx, bytes);
    if (!fresh)
        return ak_error(me.ctx);
    for (int64_t i = 0; i < ids->size; i++) {
        const int32_t id = ids->data[i];
        if (id == -1)
            continue;
        ak_real *row = bank->rows->data + id * bank->dim;
        const ak_real *x = rows->data + i * bank->dim;
        if (bank->present[id] && bank->momentum > 0) {
            blend(bank, row, x, fresh);
            continue;
        }
        ak__row_put(row, x, bank->dim, bank->form);
        bank->held += !bank->present[id];
        bank->present[id] = 1;
    }
    ak__step_give(me.ctx, fresh, bytes);
    ak__changed(bank->rows, __func__);
    return AK_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_there(const ak_bank *b, int32_t id) { return id >= 0 && b->present[id]; }

/* Is every row there that ids ask for? If not: AK_ERR_STATE. */
static bool all_there(ak__speaker me, const ak_bank *b, const ak_index *ids)
{
    int64_t missing = 0, first = -1;
    for (int64_t i = 0; i < ids->size; i++)
        if (!is_there(b, ids->data[i]) && missing++ == 0)
            first = i;
    if (!missing)
        return true;
    ak_fail(me.ctx, AK_ERR_STATE, "%s: \"%s\": %" PRId64 " of %" PRId64 " rows are not there, the "
            "first is that of id %" PRId32 " (item %" PRId64 ")\n    hint: .present says which "
            "are; .random_start of ak_bank_options begins with all", me.who, me.name, missing,
            ids->size, ids->data[first], first);
    return false;
}

ak_tensor *ak_bank_gather(ak_bank *bank, ak_index *ids, ak_tensor **present)
{
    if (present)
        *present = &ak__poison;
    if (!AK__GIVEN(NULL, bank))
        return &ak__poison;
    const ak__speaker me = { bank->store.ctx, __func__, bank->store.name };
    if (!AK__INDEX(me.ctx, ids) || ak_error(me.ctx) != AK_OK ||
        !ak__numbers_fit(me, "ids", ids, bank->n) || (!present && !all_there(me, bank, ids)))
        return &ak__poison;
    ak_shape shape = ids->shape;
    if (shape.n == AK_MAX_DIMS) {
        ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": ids have %d axes, and rows would have one more "
                "than a tensor can", me.who, me.name, shape.n);
        return &ak__poison;
    }
    shape.dims[shape.n++] = bank->dim;
    ak_tensor *rows = ak__tensor_new(me.ctx, shape);
    ak_tensor *there = present ? ak__tensor_new(me.ctx, ids->shape) : NULL;
    if (ak_error(me.ctx) != AK_OK)
        return &ak__poison;
    const size_t bytes = (size_t)bank->dim * sizeof *rows->data;
    for (int64_t i = 0; i < ids->size; i++) {
        const bool is = is_there(bank, ids->data[i]);
        ak_real *row = rows->data + i * bank->dim;
        if (is)
            memcpy(row, bank->rows->data + ids->data[i] * bank->dim, bytes);
        else
            memset(row, 0, bytes);
        if (there)
            there->data[i] = is;
    }
    if (present)
        *present = there;
    return rows;
}

ak_tensor *ak_bank_rows(ak_bank *bank)
{
    if (!AK__GIVEN(NULL, bank))
        return &ak__poison;
    if (bank->held == bank->n)
        return ak__tensor_alias(bank->rows, bank->rows->shape, 0);
    int64_t first = 0;
    while (bank->present[first])
        first++;
    ak_fail(bank->store.ctx, AK_ERR_STATE, "%s: \"%s\": %" PRId64 " of %" PRId64 " rows were never "
            "set, the first is %" PRId64 "\n    hint: ak_bank_update with all samples, or "
            ".random_start of ak_bank_options", __func__, bank->store.name, bank->n - bank->held,
            bank->n, first);
    return &ak__poison;
}

ak_nearest ak_bank_nearest(ak_bank *bank, ak_tensor *x, ak_nearest_options o)
{
    if (!AK__GIVEN(NULL, bank))
        return ak__nearest_poison();
    const ak__speaker me = { bank->store.ctx, __func__, bank->store.name };
    const ak__search s = { .rows = bank->rows->data, .M = bank->n, .D = bank->dim,
                           .unit = bank->form == AK_ROWS_NORMALIZED, .own_ids = true,
                           .present = bank->present };
    return ak__nearest(me, &s, x, o);
}

/* ---- labels ---------------------------------------------------------------------------------- */

static bool keeps_labels(ak__speaker me, const ak_bank *b)
{
    if (b->labels)
        return true;
    ak_fail(me.ctx, AK_ERR_STATE, "%s: \"%s\" keeps no labels\n    hint: .labels of "
            "ak_bank_options", me.who, me.name);
    return false;
}

ak_status ak_bank_set_labels(ak_bank *bank, ak_index *ids, ak_index *labels)
{
    char text[AK_SHAPE_TEXT], shape[AK_SHAPE_TEXT];
    if (!AK__GIVEN(NULL, bank))
        return ak__refused(NULL);
    const ak__speaker me = { bank->store.ctx, __func__, bank->store.name };
    if (!AK__INDEX(me.ctx, ids) || !AK__INDEX(me.ctx, labels))
        return ak__refused(me.ctx);
    if (ak_error(me.ctx) != AK_OK || !ak__outside_frames(me.ctx, me.who))
        return ak_error(me.ctx);
    if (ids->size != labels->size)
        return ak_fail(me.ctx, AK_ERR_SHAPE, "%s: \"%s\": labels %s for ids %s", me.who, me.name,
                       ak_shape_text(labels->shape, text), ak_shape_text(ids->shape, shape));
    if (!keeps_labels(me, bank) || !ak__numbers_fit(me, "ids", ids, bank->n) ||
        !ak__numbers_fit(me, "labels", labels, (int64_t)INT32_MAX + 1))
        return ak_error(me.ctx);
    for (int64_t i = 0; i < ids->size; i++)
        if (ids->data[i] >= 0)
            bank->labels[ids->data[i]] = labels->data[i];
    return AK_OK;
}

ak_index *ak_bank_labels(ak_bank *bank)
{
    if (!AK__GIVEN(NULL, bank))
        return &ak__poison_index;
    const ak__speaker me = { bank->store.ctx, __func__, bank->store.name };
    return keeps_labels(me, bank) ? ak_index_from(me.ctx, AK_SHAPE(bank->n), bank->labels)
                                  : &ak__poison_index;
}

ak_bank_state ak_bank_tell(const ak_bank *bank)
{
    if (!AK__GIVEN(NULL, bank))
        return (ak_bank_state){ 0 };
    return (ak_bank_state){ .samples = bank->n, .dim = bank->dim, .held = bank->held };
}
