/* SPDX-License-Identifier: Apache-2.0 */
/* Reading items: the values of all fields, from where they lie or from a callback. */
#include "data/reader.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

/* The settings that hold for a field now. */
static void settle(ak__field *now, const ak__field *f)
{
    const ak__field *by = f;
    *now = *f;
    while (by->parent && !by->own_scale)
        by = by->parent;
    now->scale = by->scale;
    now->offset = by->offset;
    now->factor = by->factor;
    for (by = f; by->parent && !by->own_normal; )
        by = by->parent;
    now->normalize = by->normalize;
    memcpy(now->mean, by->mean, sizeof now->mean);
    memcpy(now->inverse_std, by->inverse_std, sizeof now->inverse_std);
    now->parent = NULL;
}

static size_t stored_size(const ak__field *f)
{
    return f->kind == AK_FIELD_TOKENS || f->kind == AK_FIELD_LABELS || f->kind == AK_FIELD_ID
           ? sizeof(int32_t) : f->as_bytes ? 1 : sizeof(ak_real);
}

/* Callbacks write into scratch memory, and a borrowed picture that blocks of lanes would read past
 * is copied there. */
static bool needs_scratch(const ak__field *f)
{
    return f->slot >= 0 || (f->kind == AK_FIELD_PICTURE && !f->padded);
}

void ak__reader_open(ak__reader *r, const ak_dataset *ds)
{
    const ak__field *main = ak__dataset_main(ds), *label = ak__dataset_label(ds);
    *r = (ak__reader){ .ctx = ds->ctx, .name = ds->name, .size = ds->size,
                       .n_fields = ds->n_fields, .n_parts = ds->n_parts, .main = -1, .label = -1 };
    memcpy(r->part, ds->part, sizeof r->part);
    for (int f = 0; f < ds->n_fields; f++) {
        settle(&r->field[f], ds->field[f]);
        r->main = ds->field[f] == main ? f : r->main;
        r->label = ds->field[f] == label ? f : r->label;
        r->scratch_at[f] = r->scratch;
        if (needs_scratch(&r->field[f]))
            r->scratch += ak__round_up(((size_t)r->field[f].numbers + AK__LANES) *
                                       stored_size(&r->field[f]));
    }
}

int32_t ak__reader_label(const ak__reader *r, int64_t i)
{
    const ak__field *y = r->label >= 0 ? &r->field[r->label] : NULL;
    return y && y->whole ? y->whole[ak__row_of(&r->part[y->part], i)] : -1;
}

/* ---- one item -------------------------------------------------------------------------------- */

/* Ask the callback of a part for its fields. */
static bool ask(const ak__reader *r, int part, int64_t i, char *scratch, ak__raw *raw,
                ak__fault *fault)
{
    const ak__part *p = &r->part[part];
    ak_item_data    item = { .number = ak__row_of(p, i) };
    int             place[AK_MAX_FIELDS], n = 0;
    for (int f = 0; f < r->n_fields; f++) {
        const ak__field *field = &r->field[f];
        if (field->part != part || field->slot < 0)
            continue;
        item.data[field->slot] = scratch + r->scratch_at[f];
        item.length[field->slot] = field->steps;
        memset(item.data[field->slot], 0, (size_t)field->numbers * stored_size(field));
        place[n++] = f;
    }
    *fault = (ak__fault){ .what = AK__FAULT_ITEM, .item = i, .row = item.number,
                          .field = n ? place[0] : 0 };
    if (!p->source->fill(&item, p->source->user)) {
        item.error[sizeof item.error - 1] = 0;
        snprintf(fault->text, sizeof fault->text, "%s",
                 *item.error ? item.error : "no reason given");
        return false;
    }
    for (int k = 0; k < n; k++) {
        const ak__field *field = &r->field[place[k]];
        const int64_t    length = item.length[field->slot];
        void            *data = scratch + r->scratch_at[place[k]];
        fault->field = place[k];
        if (field->varies && (length < 0 || length > field->steps)) {
            snprintf(fault->text, sizeof fault->text, "length %lld is not in [0, %lld]",
                     (long long)length, (long long)field->steps);
            return false;
        }
        raw[place[k]] = (ak__raw){ .length = field->varies ? length : 1 };
        if (stored_size(field) == 1)
            raw[place[k]].bytes = data;
        else if (field->kind <= AK_FIELD_SEQUENCE || field->kind == AK_FIELD_NUMBERS)
            raw[place[k]].reals = data;
        else
            raw[place[k]].whole = data;
        const int32_t *whole = raw[place[k]].whole;
        for (int64_t j = 0; whole && j < raw[place[k]].length * field->width; j++)
            if (whole[j] < (field->kind == AK_FIELD_TOKENS ? 0 : -1)) {
                snprintf(fault->text, sizeof fault->text, "%d (number %lld of it) is below %d",
                         whole[j], (long long)j, field->kind == AK_FIELD_TOKENS ? 0 : -1);
                return false;
            }
    }
    return true;
}

static void look_up(const ak__reader *r, int f, int64_t i, char *scratch, ak__raw *raw)
{
    const ak__field *field = &r->field[f];
    const int64_t    row = ak__row_of(&r->part[field->part], i);
    const int64_t    step = field->start ? field->start[row] : row * field->steps;
    *raw = (ak__raw){ .length = field->length ? field->length[row] : field->steps };
    if (field->bytes)
        raw->bytes = field->bytes + step * field->width;
    else if (field->reals)
        raw->reals = field->reals + step * field->width;
    else
        raw->whole = field->whole + step * field->width;
    if (!needs_scratch(field) || row < field->rows - 1)
        return;
    memcpy(scratch + r->scratch_at[f], raw->bytes ? (const void *)raw->bytes : raw->reals,
           (size_t)field->numbers * stored_size(field));
    if (raw->bytes)
        raw->bytes = (const void *)(scratch + r->scratch_at[f]);
    else
        raw->reals = (const void *)(scratch + r->scratch_at[f]);
}

bool ak__reader_item(const ak__reader *r, int64_t i, void *scratch, ak__raw *raw, ak__fault *fault)
{
    bool asked[AK_MAX_FIELDS] = { false };
    for (int f = 0; f < r->n_fields; f++) {
        const ak__field *field = &r->field[f];
        if (field->slot < 0)
            look_up(r, f, i, scratch, &raw[f]);
        else if (!asked[field->part] && !ask(r, field->part, i, scratch, raw, fault))
            return false;
        asked[field->part] = asked[field->part] || field->slot >= 0;
    }
    return true;
}

/* ---- numbers as they are handed out ---------------------------------------------------------- */

void ak__field_scaled(const ak__field *f, const ak__raw *raw, ak_real *restrict out)
{
    const int64_t n = (f->varies ? raw->length : 1) * f->width;
    if (raw->bytes) {
        const uint8_t *restrict x = raw->bytes;
        for (int64_t k = 0; k < n; k++)
            out[k] = (ak_real)x[k] * AK__BYTE_SCALE;
    } else {
        memcpy(out, raw->reals, (size_t)n * sizeof *out);
    }
    if (f->scale)
        for (int64_t k = 0; k < n; k++)
            out[k] = (out[k] - f->offset) * f->factor;
}

void ak__field_normal(const ak__field *f, ak_real *restrict x, int64_t n)
{
    const int C = f->channels;
    if (!f->normalize)
        return;
    if (C == 3)
        for (int64_t k = 0; k < n; k += 3)
            for (int c = 0; c < 3; c++)
                x[k + c] = (x[k + c] - f->mean[c]) * f->inverse_std[c];
    else
        for (int c = 0; c < C; c++)
            for (int64_t k = c; k < n; k += C)
                x[k] = (x[k] - f->mean[c]) * f->inverse_std[c];
}

void ak__field_plain(const ak__field *f, const ak__raw *raw, ak_real *restrict out)
{
    ak__field_scaled(f, raw, out);
    ak__field_normal(f, out, (f->varies ? raw->length : 1) * f->width);
}

/* ---- faults ---------------------------------------------------------------------------------- */

ak_status ak__fault_fail(const ak__reader *r, const char *who, const ak__fault *f)
{
    const char *field = r->field[f->field].name;
    switch (f->what) {
    case AK__NO_FAULT:
        return AK_OK;
    case AK__FAULT_BOX:
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: %s made a box of rows %lld + %lld and columns "
                       "%lld + %lld, which is not inside of item %lld (view %d) of \"%s\": %lld "
                       "rows, %lld columns", who, f->kind->name, (long long)f->box.y,
                       (long long)f->box.height, (long long)f->box.x, (long long)f->box.width,
                       (long long)f->item, f->view, r->name, (long long)f->height,
                       (long long)f->width);
    case AK__FAULT_RANGE:
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: %s needs values in [0, 1]; an augmentation "
                       "before it%s made %g of item %lld (view %d) of \"%s\"", who, f->kind->name,
                       r->field[f->field].slot >= 0 ? ", or the callback," : "", f->value,
                       (long long)f->item, f->view, r->name);
    case AK__FAULT_LENGTH:
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: %s made %s of field \"%s\" of item %lld (view "
                       "%d) of \"%s\"", who, f->kind->name, f->text, field, (long long)f->item,
                       f->view, r->name);
    case AK__FAULT_TOKEN:
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: %s made token %g in field \"%s\" of item %lld "
                       "(view %d) of \"%s\"; tokens are >= 0", who, f->kind->name, f->value, field,
                       (long long)f->item, f->view, r->name);
    case AK__FAULT_ITEM:
        return ak_fail(r->ctx, AK_ERR_VALUE, "%s: the callback of \"%s\" failed for item %lld "
                       "(number %lld of its own), field \"%s\": %s", who, r->name,
                       (long long)f->item, (long long)f->row, field, f->text);
    }
    return AK_OK;
}
