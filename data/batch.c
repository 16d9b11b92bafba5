/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: filled into plain memory by whoever has time, then copied into the step. */
#include "data/batch.h"

#include "base/base.h"
#include "base/frame.h"
#include "base/parallel.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

static bool whole(const ak__field *f)
{
    return f->kind == AK_FIELD_TOKENS || f->kind == AK_FIELD_LABELS || f->kind == AK_FIELD_ID;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Numbers of all views of an item. */
static int64_t item_numbers(const ak__views *v)
{
    int64_t n = 0;
    for (int view = 0; view < v->views; view++)
        n += v->numbers[view];
    return n;
}

void ak__blocks_carve(const ak__batch_plan *p, int64_t count, ak__carver *c,
                      ak__field_block *blocks)
{
    for (int f = 0; f < p->reader->n_fields; f++) {
        const ak__field *field = &p->reader->field[f];
        const int64_t    n = count * item_numbers(&p->views[f]);
        blocks[f] = (ak__field_block){ 0 };
        if (whole(field))
            blocks[f].whole = ak__carve(c, n, sizeof(int32_t));
        else
            blocks[f].reals = ak__carve_reals(c, n);
        if (field->varies)
            blocks[f].length = ak__carve(c, count * p->views[f].views, sizeof(int32_t));
    }
}

double ak__blocks_size(const ak__batch_plan *p, int64_t count)
{
    double numbers = 0;
    for (int f = 0; f < p->reader->n_fields; f++)
        numbers += (double)count * (double)item_numbers(&p->views[f]);
    return numbers * sizeof(ak_real);
}

/* Where view v of item i begins in its block. */
static int64_t place_of(const ak__views *views, int64_t count, int v, int64_t i)
{
    int64_t at = 0;
    for (int u = 0; u < v; u++)
        at += count * views->numbers[u];
    return at + i * views->numbers[v];
}

/* ---- filling --------------------------------------------------------------------------------- */

/* All views of one field of an item, the i-th of the batch. */
static bool fill_field(const ak__batch_plan *p, int f, ak__view *v, int64_t count, int64_t i,
                       const ak__viewer *viewer, const ak__field_block *block, ak__fault *fault)
{
    v->field = &p->reader->field[f];
    v->place = f;
    v->views = &p->views[f];
    for (v->view = 0; v->view < v->views->views; v->view++) {
        const int64_t at = place_of(v->views, count, v->view, i);
        v->reals = block->reals ? block->reals + at : NULL;
        v->whole = block->whole ? block->whole + at : NULL;
        if (!ak__view_make(viewer, v, fault))
            return false;
        if (block->length)
            block->length[v->view * count + i] = (int32_t)v->length;
    }
    return true;
}

void ak__blocks_fill(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                     const ak__viewer *viewer, const ak__field_block *blocks, ak__fault *fault)
{
    fault->what = AK__NO_FAULT;
    for (int64_t i = 0; i < count; i++) {
        ak__raw   raw[AK_MAX_FIELDS];
        ak__fault found;
        bool      fine = ak__reader_item(p->reader, items[i], viewer->scratch, raw, &found);
        for (int f = 0; fine && f < p->reader->n_fields; f++) {
            ak__view v = { .epoch = epoch, .item = items[i], .raw = &raw[f] };
            fine = fill_field(p, f, &v, count, i, viewer, &blocks[f], &found);
        }
        if (!fine) {
            *fault = found;
            return;
        }
    }
}

bool ak__blocks_finite(const ak__batch_plan *p, int64_t epoch, const int32_t *items, int64_t count,
                       const ak__field_block *blocks)
{
    const ak__reader *r = p->reader;
    for (int f = 0; f < r->n_fields; f++) {
        const ak__views *views = &p->views[f];
        for (int64_t row = 0; blocks[f].reals && row < views->views * count; row++) {
            const int      v = (int)(row / count);
            const ak_real *x = blocks[f].reals + place_of(views, count, v, row % count);
            const int64_t  steps = blocks[f].length ? blocks[f].length[row] : 1;
            const int64_t  n = r->field[f].varies ? steps * r->field[f].width : views->numbers[v];
            for (int64_t k = 0; k < n; k++)
                if (!isfinite(x[k])) {
                    ak_fail(r->ctx, AK_ERR_NUMBER, "loader: view %d of item %lld of \"%s\" (field "
                            "\"%s\", epoch %lld) is not finite; the data or an augmentation makes "
                            "it so", v, (long long)items[row % count], r->name, r->field[f].name,
                            (long long)epoch);
                    return false;
                }
        }
    }
    return true;
}

/* ---- handing out ----------------------------------------------------------------------------- */

/* The longest of a field's rows, 1 at least; 1 where nothing varies. */
static int64_t longest(const ak__field_block *b, int64_t rows)
{
    int64_t most = 1;
    for (int64_t i = 0; b->length && i < rows; i++)
        most = b->length[i] > most ? b->length[i] : most;
    return most;
}

/* [count, item], of sequences with `steps` steps. */
static ak_shape batch_shape(const ak__field *f, ak_shape item, int64_t count, int64_t steps)
{
    ak_shape s = { .n = item.n + 1, .dims = { count } };
    memcpy(s.dims + 1, item.dims, (size_t)item.n * sizeof *s.dims);
    if (f->varies)
        s.dims[1] = steps;
    return s;
}

/* Views first .. first+n-1, which have one size, as one tensor. */
static ak_tensor *give_reals(const ak__field *f, const ak__views *views, const ak__field_block *b,
                             ak_ctx *ctx, int64_t count, int first, int n, int64_t steps)
{
    const ak_real *from = b->reals + place_of(views, count, first, 0);
    const int64_t  rows = n * count, stored = views->numbers[first], width = f->width;
    ak_tensor     *t = ak__tensor_new(ctx, batch_shape(f, views->item[first], rows, steps));
    if (ak_is_poison(t))
        return t;
    if (!f->varies) {
        memcpy(t->data, from, (size_t)t->size * sizeof *from);
        return t;
    }
    for (int64_t i = 0; i < rows; i++) {
        const int64_t used = b->length[first * count + i] * width;
        memcpy(t->data + i * steps * width, from + i * stored, (size_t)used * sizeof *from);
        memset(t->data + i * steps * width + used, 0,
               (size_t)(steps * width - used) * sizeof *from);
    }
    return t;
}

/* All views of whole numbers as one array in step memory; they are all of one size. */
static int32_t *give_whole(const ak__field *f, const ak__views *views, const ak__field_block *b,
                           ak_ctx *ctx, int64_t count, int64_t steps)
{
    const int64_t rows = views->views * count, stored = views->numbers[0];
    const int64_t handed = f->varies ? steps : stored;
    int32_t      *out = ak__step_alloc(ctx, (size_t)(rows * handed) * sizeof *out);
    for (int64_t i = 0; out && i < rows; i++) {
        const int64_t used = b->length ? b->length[i] : handed;
        memcpy(out + i * handed, b->whole + i * stored, (size_t)used * sizeof *out);
        for (int64_t k = used; k < handed; k++)
            out[i * handed + k] = f->pad;
    }
    return out;
}

/* `values` of all rows as an array of all of them and one a view. */
static void give_index(ak_ctx *ctx, const int32_t *values, ak_shape one, int views,
                       ak_index **all, ak_index **each)
{
    const int64_t size = ak_shape_size(one);
    ak_shape      rows = one;
    rows.dims[0] *= views;
    *all = ak_index_from(ctx, rows, values);
    each[0] = *all;
    for (int v = 0; v < views && views > 1; v++)
        each[v] = ak_index_from(ctx, one, values + v * size);
}

static void give_column(const ak__batch_plan *p, int f, int64_t count, const ak__field_block *b,
                        ak_column *c)
{
    const ak__field *field = &p->reader->field[f];
    const ak__views *views = &p->views[f];
    ak_ctx          *ctx = p->reader->ctx;
    const int64_t    steps = longest(b, views->views * count);
    *c = (ak_column){ .name = field->name, .kind = field->kind, .views = views->views };
    for (int v = 0, n; b->reals && v < views->views; v += n) {
        for (n = 1; v + n < views->views; n++)
            if (!ak_shape_equal(views->item[v + n], views->item[v]))
                break;
        ak_tensor *some = give_reals(field, views, b, ctx, count, v, n, steps);
        for (int k = 0; k < n; k++)
            c->view[v + k] = ak_is_poison(some) ? some : ak_rows(some, k * count, count);
        if (n == views->views)
            c->all = some;
    }
    if (b->whole) {
        const int32_t *values = give_whole(field, views, b, ctx, count, steps);
        const ak_shape one = batch_shape(field, field->item, count, steps);
        if (values)
            give_index(ctx, values, one, views->views, &c->all_ids, c->ids);
    }
    if (b->length)
        give_index(ctx, b->length, AK_SHAPE(count), views->views, &c->all_lengths, c->lengths);
}

/* The label of each item, -1 where there is none. */
static ak_index *give_label(const ak__batch_plan *p, int64_t count, const ak_column *columns)
{
    if (p->reader->label >= 0)
        return columns[p->reader->label].ids[0];
    int32_t *unknown = ak__step_alloc(p->reader->ctx, (size_t)count * sizeof *unknown);
    for (int64_t i = 0; unknown && i < count; i++)
        unknown[i] = -1;
    return unknown ? ak_index_from(p->reader->ctx, AK_SHAPE(count), unknown) : &ak__poison_index;
}

bool ak__blocks_give(const ak__batch_plan *p, const int32_t *items, int64_t count,
                     const ak__field_block *blocks, ak_batch *b)
{
    const ak__reader *r = p->reader;
    ak_column        *columns = ak__step_alloc(r->ctx, (size_t)r->n_fields * sizeof *columns);
    *b = (ak_batch){ .size = count, .views = r->main >= 0 ? p->views[r->main].views : 1,
                     .ctx = r->ctx, .generation = r->ctx->generation };
    for (int f = 0; columns && f < r->n_fields && !ak_error(r->ctx); f++)
        give_column(p, f, count, &blocks[f], &columns[f]);
    if (!columns || ak_error(r->ctx))
        return false;
    b->column = columns;
    b->columns = r->n_fields;
    b->label = give_label(p, count, columns);
    b->index = ak_index_from(r->ctx, AK_SHAPE(count), items);
    if (r->main >= 0) {
        b->all = columns[r->main].all;
        memcpy(b->view, columns[r->main].view, sizeof b->view);
    }
    return !ak_error(r->ctx);
}

void ak__batch_poison(ak_batch *b, ak_ctx *ctx)
{
    *b = (ak_batch){ .all = &ak__poison, .label = &ak__poison_index, .index = &ak__poison_index,
                     .ctx = ctx };
    for (int v = 0; v < AK_MAX_VIEWS; v++)
        b->view[v] = &ak__poison;
}

/* ---- all fields of a range ------------------------------------------------------------------- */

/* One view of each field as it is. */
static bool plain_views(ak_dataset *ds, ak__views *views)
{
    for (int f = 0; f < ds->n_fields; f++)
        if (ak__views_open(&views[f], ds, f, "dataset_get", 1, NULL, 0))
            return false;
    return true;
}

static bool get_range(ak_dataset *ds, int64_t start, int64_t count, ak_batch *b)
{
    ak__reader     r;
    ak__views      views[AK_MAX_FIELDS];
    ak__field_block      blocks[AK_MAX_FIELDS];
    ak__batch_plan plan = { &r, views };
    ak__fault      fault;
    ak__carver     cut = { 0 };
    ak__reader_open(&r, ds);
    if (!plain_views(ds, views))
        return false;
    if (ak__blocks_size(&plan, count) > (double)(SIZE_MAX / 4))
        return ak__fail_memory(ds->ctx, SIZE_MAX / 4) == AK_OK;
    ak__blocks_carve(&plan, count, &cut, blocks);
    int32_t   *items = ak__step_alloc(ds->ctx, (size_t)count * sizeof *items);
    ak__viewer viewer = { .scratch = ak__step_alloc(ds->ctx, r.scratch + 1) };
    cut.base = ak__step_alloc(ds->ctx, cut.used + 1);
    if (!items || !viewer.scratch || !cut.base)
        return false;
    const size_t bytes = cut.used + 1;
    char        *memory = cut.base;
    cut.used = 0;
    ak__blocks_carve(&plan, count, &cut, blocks);
    for (int64_t i = 0; i < count; i++)
        items[i] = (int32_t)(start + i);
    ak__blocks_fill(&plan, 0, items, count, &viewer, blocks, &fault);
    if (fault.what != AK__NO_FAULT)
        return ak__fault_fail(&r, "dataset_get", &fault) == AK_OK;
    if (ds->ctx->check_numbers && !ak__blocks_finite(&plan, 0, items, count, blocks))
        return false;
    if (!ak__blocks_give(&plan, items, count, blocks, b))
        return false;
    ak__step_give(ds->ctx, memory, bytes);
    return true;
}

bool ak_dataset_get(ak_dataset *ds, int64_t start, int64_t count, ak_batch *b)
{
    if (!AK__GIVEN(ds ? ds->ctx : NULL, b))
        return false;
    if (!AK__GIVEN(NULL, ds) || !ak__range_fits(ds, "dataset_get", start, count, 1) ||
        !get_range(ds, start, count, b)) {
        ak__batch_poison(b, ds ? ds->ctx : NULL);
        return false;
    }
    return true;
}

/* ---- the main field of a range --------------------------------------------------------------- */

ak_tensor *ak_dataset_batch(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !ak__range_fits(ds, "dataset_batch", start, count, 0))
        return &ak__poison;
    const ak__field *f = ak__dataset_main(ds);
    if (!f || f->kind > AK_FIELD_VECTOR) {
        ak_fail(ds->ctx, AK_ERR_STATE, "dataset_batch: the main field of \"%s\" is no picture and "
                "no vector; ak_dataset_get has all fields, and the lengths", ds->name);
        return &ak__poison;
    }
    if (!f->bytes && !f->reals && count > 0) {
        ak_batch b;
        return ak_dataset_get(ds, start, count, &b) ? b.all : &ak__poison;
    }
    ak_shape shape = { .n = f->item.n + 1, .dims = { count } };
    memcpy(shape.dims + 1, f->item.dims, (size_t)f->item.n * sizeof *shape.dims);
    ak_tensor *t = ak__tensor_new(ds->ctx, shape);
    if (ak_is_poison(t))
        return t;
    ak__reader r;
    ak__reader_open(&r, ds);
    const ak__field *now = &r.field[r.main];
    AK__PARALLEL_FOR(i, count, count * now->numbers > 65536) {
        const int64_t row = ak__row_of(&r.part[now->part], start + i);
        const ak__raw raw = { .bytes = now->bytes ? now->bytes + row * now->numbers : NULL,
                              .reals = now->reals ? now->reals + row * now->numbers : NULL,
                              .length = 1 };
        ak__field_plain(now, &raw, t->data + i * now->numbers);
    }
    return t;
}

/* ---- access ---------------------------------------------------------------------------------- */

/* What an error gives: nothing can be computed from it. */
static const ak_column poison_column = {
    .name = "", .views = AK_MAX_VIEWS,
#define ALL(x) { x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x }
    .view = ALL(&ak__poison), .all = &ak__poison, .ids = ALL(&ak__poison_index),
    .all_ids = &ak__poison_index, .lengths = ALL(&ak__poison_index),
    .all_lengths = &ak__poison_index,
#undef ALL
};
_Static_assert(AK_MAX_VIEWS == 16, "poison_column has 16 views");

/* Can the batch be asked? */
static bool usable(const ak_batch *b, const char *who)
{
    if (b->ctx && ak_error(b->ctx))
        return false;
    if (!b->ctx || !b->column) {
        ak_fail(b->ctx, AK_ERR_STATE, "%s: this is no batch: the end of an epoch, or what an error "
                "left", who);
        return false;
    }
    if (!ak__generation_lives(b->ctx, b->generation)) {
        ak_fail(b->ctx, AK_ERR_STALE, "%s: the batch is of an earlier step", who);
        return false;
    }
    return true;
}

static const ak_column *find_column(const ak_batch *b, const char *who, const char *name)
{
    if (!usable(b, who))
        return &poison_column;
    for (int f = 0; f < b->columns; f++)
        if (strcmp(b->column[f].name, name) == 0)
            return &b->column[f];
    char     list[400];
    ak__text names = AK__TEXT(list);
    for (int f = 0; f < b->columns; f++)
        ak__text_add(&names, "%s%s", f ? ", " : "", b->column[f].name);
    ak_fail(b->ctx, AK_ERR_NOT_FOUND, "%s: the batch has no field \"%.60s\"; it has: %s", who, name,
            list);
    return &poison_column;
}

const ak_column *ak_batch_field(const ak_batch *b, const char *name)
{
    if (!AK__GIVEN(NULL, b) || !AK__GIVEN(b->ctx, name))
        return &poison_column;
    return find_column(b, "batch_field", name);
}

const ak_column *ak_batch_need(const ak_batch *b, const char *name, ak_field_kind kind)
{
    static const char *const kinds[] = { "?", "picture", "vector", "sequence", "tokens", "labels",
                                         "numbers", "id" };
    if (!AK__GIVEN(NULL, b) || !AK__GIVEN(b->ctx, name))
        return &poison_column;
    const ak_column *c = find_column(b, "batch_need", name);
    if (c == &poison_column || c->kind == kind)
        return c;
    const bool known = (int)kind >= AK_FIELD_PICTURE && kind <= AK_FIELD_ID;
    ak_fail(b->ctx, AK_ERR_VALUE, "batch_need: field \"%s\" is of kind %s, not %s", name,
            kinds[c->kind], known ? kinds[kind] : "a kind that does not exist");
    return &poison_column;
}

ak_tensor *ak_batch_views(const ak_batch *b, const char *field, int first, int count)
{
    if (!AK__GIVEN(NULL, b) || !usable(b, "batch_views"))
        return &ak__poison;
    const ak_column *c = NULL;
    for (int f = 0; !field && f < b->columns && !c; f++)
        if (b->column[f].kind <= AK_FIELD_TOKENS)
            c = &b->column[f];
    if (field)
        c = find_column(b, "batch_views", field);
    if (c == &poison_column)
        return &ak__poison;
    if (!c || !c->view[0]) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_views: %s%s is no tensor; tokens, labels and ids are "
                "index arrays (all_ids)", c ? "field " : "the main field", c ? c->name : "");
        return &ak__poison;
    }
    if (first < 0 || count < 1 || first > c->views - count) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_views: %d views from view %d on: field \"%s\" has %d",
                count, first, c->name, c->views);
        return &ak__poison;
    }
    const ak_tensor *root = c->view[first]->root;
    for (int v = first + 1; v < first + count; v++)
        if (c->view[v]->root != root) {
            char a[AK_SHAPE_TEXT], other[AK_SHAPE_TEXT];
            ak_fail(b->ctx, AK_ERR_VALUE, "batch_views: views %d and %d of field \"%s\" differ in "
                    "size, %s and %s: take those of one size together", first, v, c->name,
                    ak_shape_text(c->view[first]->shape, a),
                    ak_shape_text(c->view[v]->shape, other));
            return &ak__poison;
        }
    const int64_t rows = c->view[first]->shape.dims[0], start = c->view[first]->offset;
    return ak_rows(c->view[first]->root, start / (c->view[first]->size / rows), count * rows);
}
