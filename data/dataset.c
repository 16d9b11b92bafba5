/* SPDX-License-Identifier: Apache-2.0 */
/* The data set: its fields, what it says of itself, how it is read from now on. */
#include "data/dataset.h"

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

bool ak__item_shape(ak_ctx *ctx, const char *name, ak_shape all, ak_shape *item)
{
    char text[AK_SHAPE_TEXT];
    *item = (ak_shape){ .n = all.n - 1 };
    bool    fine = all.n >= 1 && all.n <= AK_MAX_DIMS, small = true;
    int64_t numbers = 1;
    for (int i = 0; fine && i < all.n; i++) {
        fine = all.dims[i] >= 1;
        if (i > 0 && fine) {
            small = small && numbers <= AK__MOST_NUMBERS / all.dims[i];
            numbers *= small ? all.dims[i] : 1;
            item->dims[i - 1] = all.dims[i];
        }
    }
    if (!fine) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: [N, H, W, C], [N, H, W], [N, D] or [N] with at least one "
                "item is needed; the shape is %s", name, ak_shape_text(all, text));
        return false;
    }
    if (!small || all.dims[0] > AK__MOST_ITEMS) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: the shape is %s; at most %d items of at most %d numbers "
                "are possible", name, ak_shape_text(all, text), AK__MOST_ITEMS, AK__MOST_NUMBERS);
        return false;
    }
    if (all.n == 1 || all.n == 3)
        item->dims[item->n++] = 1;
    return true;
}

void *ak__items_alloc(ak_ctx *ctx, int64_t n, size_t size)
{
    return ak__ctx_alloc(ctx, ((size_t)n + AK__LANES) * size);
}

/* A field that is read as it is; one that has no place yet. */
static ak__field *plain_field(ak_dataset *ds, const char *name, ak_field_kind kind, ak_shape item)
{
    ak__field *f = ak__ctx_alloc(ds->ctx, sizeof *f);
    if (!f)
        return NULL;
    *f = (ak__field){ .name = name, .kind = kind, .item = item, .steps = 1,
                      .width = ak_shape_size(item), .numbers = ak_shape_size(item),
                      .channels = (int)(item.n ? item.dims[item.n - 1] : 1), .rows = ds->size,
                      .padded = true, .slot = -1, .factor = 1 };
    for (int c = 0; c < AK_MAX_CHANNELS; c++)
        f->inverse_std[c] = 1;
    ds->field[ds->n_fields++] = f;
    return f;
}

static bool labels_fit(ak_ctx *ctx, const char *name, ak__field *f)
{
    for (int64_t i = 0; i < f->rows; i++) {
        if (f->whole[i] < -1) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: label %d of item %lld is below -1 (which means "
                    "unknown)", name, f->whole[i], (long long)i);
            return false;
        }
        if (f->whole[i] >= f->classes)
            f->classes = (int64_t)f->whole[i] + 1;
    }
    return true;
}

ak_dataset *ak__dataset_new(ak_ctx *ctx, const char *name, int64_t size, ak_shape item,
                            const uint8_t *bytes, const ak_real *reals, const int32_t *labels)
{
    ak_dataset *ds = ak__ctx_alloc(ctx, sizeof *ds);
    if (!ds || !(ds->name = ak__ctx_strdup(ctx, name)))
        return NULL;
    ds->ctx = ctx;
    ds->size = size;
    ds->n_parts = 1;
    ak__field *f = item.n == 3 ? plain_field(ds, "picture", AK_FIELD_PICTURE, item)
                               : plain_field(ds, "vector", AK_FIELD_VECTOR, item);
    ak__field *y = f && labels ? plain_field(ds, "label", AK_FIELD_LABELS, AK_SCALAR) : NULL;
    if (!f || (labels && !y))
        return NULL;
    f->bytes = bytes;
    f->as_bytes = bytes != NULL;
    f->reals = reals;
    if (y)
        y->whole = labels;
    if (y && !labels_fit(ctx, name, y))
        return NULL;
    for (int64_t i = 0; reals && ctx->check_numbers && i < size * f->numbers; i++)
        if (!isfinite(reals[i])) {
            ak_fail(ctx, AK_ERR_NUMBER, "%s: item %lld holds %g (number %lld of it); repair the "
                    "data or leave the item out", name, (long long)(i / f->numbers),
                    (double)reals[i], (long long)(i % f->numbers));
            return NULL;
        }
    return ds;
}

void ak__dataset_classes_named(ak_dataset *ds, int64_t classes, const char *const *names)
{
    ak__field *y = ak__dataset_label(ds);
    if (y && y->classes <= classes) {
        y->classes = classes;
        y->class_names = names;
    }
}

/* ---- fields ---------------------------------------------------------------------------------- */

ak__field *ak__dataset_main(const ak_dataset *ds)
{
    for (int i = 0; i < ds->n_fields; i++)
        if (ds->field[i]->kind <= AK_FIELD_TOKENS)
            return ds->field[i];
    return NULL;
}

ak__field *ak__dataset_label(const ak_dataset *ds)
{
    for (int i = 0; i < ds->n_fields; i++)
        if (ds->field[i]->kind == AK_FIELD_LABELS && ds->field[i]->item.n == 0)
            return ds->field[i];
    return NULL;
}

char *ak__dataset_names(const ak_dataset *ds, char *buf, size_t room)
{
    ak__text text = ak__text_in(buf, room);
    for (int i = 0; i < ds->n_fields; i++)
        ak__text_add(&text, "%s%s", i ? ", " : "", ds->field[i]->name);
    return buf;
}

static int place_of(const ak_dataset *ds, const char *name)
{
    for (int i = 0; i < ds->n_fields; i++)
        if (strcmp(ds->field[i]->name, name) == 0)
            return i;
    return -1;
}

static int need_place(const ak_dataset *ds, const char *who, const char *name)
{
    char      names[400];
    const int i = place_of(ds, name);
    if (i < 0)
        ak_fail(ds->ctx, AK_ERR_NOT_FOUND, "%s: \"%s\" has no field \"%.60s\"; it has: %s", who,
                ds->name, name, ak__dataset_names(ds, names, sizeof names));
    return i;
}

ak__field *ak__dataset_field(const ak_dataset *ds, const char *who, const char *name)
{
    const int i = need_place(ds, who, name);
    return i < 0 ? NULL : ds->field[i];
}

ak_status ak_dataset_rename(ak_dataset *ds, const char *field, const char *name)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field) || !AK__GIVEN(ds->ctx, name))
        return ak__refused(ds ? ds->ctx : NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    const int i = need_place(ds, "dataset_rename", field);
    if (i < 0)
        return AK_ERR_NOT_FOUND;
    if (!*name || (place_of(ds, name) >= 0 && place_of(ds, name) != i))
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_rename: \"%s\" can not become \"%.60s\": %s",
                       field, name, *name ? "there is a field of that name" : "no name");
    const char *own = ak__ctx_strdup(ds->ctx, name);
    if (!own)
        return AK_ERR_MEMORY;
    ds->field[i]->name = own;
    return AK_OK;
}

ak_status ak_dataset_drop(ak_dataset *ds, const char *field)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field))
        return ak__refused(ds ? ds->ctx : NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    const int i = need_place(ds, "dataset_drop", field);
    if (i < 0)
        return AK_ERR_NOT_FOUND;
    if (ds->n_fields == 1)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_drop: \"%s\" is the only field of \"%s\"",
                       field, ds->name);
    ds->n_fields--;
    for (int k = i; k < ds->n_fields; k++)
        ds->field[k] = ds->field[k + 1];
    return AK_OK;
}

bool ak_dataset_field_at(const ak_dataset *ds, int i, ak_field *field)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field))
        return false;
    *field = (ak_field){ 0 };
    if (i < 0 || i >= ds->n_fields)
        return false;
    const ak__field *f = ds->field[i];
    *field = (ak_field){ .name = f->name, .kind = f->kind, .shape = f->item, .bytes = f->as_bytes,
                         .pad = f->pad, .tokenizer = f->tokenizer,
                         .class_names = f->class_names };
    return true;
}

/* ---- what a data set says -------------------------------------------------------------------- */

ak_ctx *ak_dataset_ctx(const ak_dataset *ds) { return ds ? ds->ctx : NULL; }
int64_t ak_dataset_size(const ak_dataset *ds) { return ds ? ds->size : 0; }
const char *ak_dataset_name(const ak_dataset *ds) { return ds ? ds->name : "no data set"; }

ak_shape ak_dataset_item(const ak_dataset *ds)
{
    const ak__field *f = ds ? ak__dataset_main(ds) : NULL;
    return f ? f->item : AK_SCALAR;
}

int64_t ak_dataset_classes(const ak_dataset *ds)
{
    const ak__field *y = ds ? ak__dataset_label(ds) : NULL;
    return y ? y->classes : 0;
}

int32_t ak_dataset_label(const ak_dataset *ds, int64_t i)
{
    if (!AK__GIVEN(NULL, ds))
        return -1;
    const ak__field *y = ak__dataset_label(ds);
    if (!y || i < 0 || i >= ds->size)
        return -1;
    if (!y->whole) {
        ak_fail(ds->ctx, AK_ERR_STATE, "dataset_label: labels \"%s\" of \"%s\" are filled by a "
                "callback, item by item; give the field an .array", y->name, ds->name);
        return -1;
    }
    return y->whole[ak__row_of(&ds->part[y->part], i)];
}

int32_t *ak__dataset_whole(const ak_dataset *ds, const char *who, const ak__field *f)
{
    if (!f->whole) {
        ak_fail(ds->ctx, AK_ERR_STATE, "%s: field \"%s\" of \"%s\" is filled by a callback, item "
                "by item; give it an .array", who, f->name, ds->name);
        return NULL;
    }
    int32_t *values = ak__malloc((size_t)ds->size * sizeof *values);
    if (!values)
        ak__fail_memory(ds->ctx, (size_t)ds->size * sizeof *values);
    for (int64_t i = 0; values && i < ds->size; i++)
        values[i] = f->whole[ak__row_of(&ds->part[f->part], i)];
    return values;
}

double ak_dataset_value(const ak_dataset *ds, const char *field, int64_t i)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field) || ak_error(ds->ctx))
        return (double)NAN;
    const ak__field *f = ak__dataset_field(ds, "dataset_value", field);
    if (!f)
        return (double)NAN;
    if (f->kind < AK_FIELD_LABELS || f->item.n > 0 || i < 0 || i >= ds->size) {
        ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_value: item %lld of field \"%s\": \"%s\" has %lld "
                "items, and labels, numbers or ids, one an item, have values", (long long)i,
                f->name, ds->name, (long long)ds->size);
        return (double)NAN;
    }
    if (!f->whole && !f->reals) {
        ak_fail(ds->ctx, AK_ERR_STATE, "dataset_value: field \"%s\" of \"%s\" is filled by a "
                "callback, item by item; give it an .array", f->name, ds->name);
        return (double)NAN;
    }
    const int64_t row = ak__row_of(&ds->part[f->part], i);
    return f->whole ? (double)f->whole[row] : (double)f->reals[row];
}

const char *ak_dataset_class_name(const ak_dataset *ds, int32_t label)
{
    if (!AK__GIVEN(NULL, ds))
        return "";
    static _Thread_local char number[16];
    const ak__field *y = ak__dataset_label(ds);
    if (y && y->class_names && label >= 0 && label < y->classes)
        return y->class_names[label];
    snprintf(number, sizeof number, "%d", (int)label);
    return number;
}

const char *const *ak_dataset_class_names(const ak_dataset *ds)
{
    const ak__field *y = ds ? ak__dataset_label(ds) : NULL;
    return y ? y->class_names : NULL;
}

/* ---- how items are read ---------------------------------------------------------------------- */

/* (x - shift) * factor must stay a number in ak_real, and tell numbers apart. */
static bool usable(double shift, double factor)
{
    return isfinite((ak_real)shift) && isfinite((ak_real)factor) && (ak_real)factor > 0;
}

static ak_status need_numbers(const ak_dataset *ds, const char *who, const ak__field *f)
{
    if (f && (f->kind <= AK_FIELD_SEQUENCE || f->kind == AK_FIELD_NUMBERS))
        return AK_OK;
    return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s%s of \"%s\" holds whole numbers, which are not "
                   "scaled; a picture, vector, sequence or numbers are needed", who,
                   f ? "field " : "no field", f ? f->name : "", ds->name);
}

static ak_status scale_field(ak_dataset *ds, ak__field *f, double lo, double hi)
{
    const ak_status status = need_numbers(ds, "dataset_scale", f);
    if (status)
        return status;
    if (f->as_bytes)
        return ak_fail(ds->ctx, AK_ERR_STATE, "dataset_scale: \"%s\" holds bytes, which are read "
                       "as [0, 1] already", ds->name);
    if (!(lo < hi) || !usable(lo, 1 / (hi - lo)))
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_scale: from %g to %g: finite numbers "
                       "lo < hi are needed", lo, hi);
    f->own_scale = f->scale = true;
    f->offset = (ak_real)lo;
    f->factor = (ak_real)(1 / (hi - lo));
    return AK_OK;
}

ak_status ak_dataset_scale(ak_dataset *ds, double lo, double hi)
{
    if (!AK__GIVEN(NULL, ds))
        return ak__refused(NULL);
    return ak_error(ds->ctx) ? AK_ERR_STATE : scale_field(ds, ak__dataset_main(ds), lo, hi);
}

ak_status ak_dataset_scale_field(ak_dataset *ds, const char *field, double lo, double hi)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field))
        return ak__refused(ds ? ds->ctx : NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    ak__field *f = ak__dataset_field(ds, "dataset_scale", field);
    return f ? scale_field(ds, f, lo, hi) : AK_ERR_NOT_FOUND;
}

static ak_status normalize_field(ak_dataset *ds, ak__field *f, const double *mean,
                                 const double *std)
{
    const ak_status status = need_numbers(ds, "dataset_normalize", f);
    if (status)
        return status;
    if (f->channels > AK_MAX_CHANNELS)
        return ak_fail(ds->ctx, AK_ERR_SHAPE, "dataset_normalize: items of \"%s\" have %d "
                       "channels; at most %d can be normalised", ds->name, f->channels,
                       AK_MAX_CHANNELS);
    for (int c = 0; c < f->channels; c++)
        if (!usable(mean ? mean[c] : 0, std ? 1 / std[c] : 1))
            return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_normalize: mean %g and standard "
                           "deviation %g of channel %d: finite numbers and a deviation > 0 are "
                           "needed", mean ? mean[c] : 0, std ? std[c] : 1, c);
    for (int c = 0; c < f->channels; c++) {
        f->mean[c] = (ak_real)(mean ? mean[c] : 0);
        f->inverse_std[c] = (ak_real)(std ? 1 / std[c] : 1);
    }
    f->normalize = mean || std;
    f->own_normal = true;
    return AK_OK;
}

ak_status ak_dataset_normalize(ak_dataset *ds, const double *mean, const double *std)
{
    if (!AK__GIVEN(NULL, ds))
        return ak__refused(NULL);
    return ak_error(ds->ctx) ? AK_ERR_STATE
                             : normalize_field(ds, ak__dataset_main(ds), mean, std);
}

ak_status ak_dataset_normalize_field(ak_dataset *ds, const char *field, const double *mean,
                                     const double *std)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field))
        return ak__refused(ds ? ds->ctx : NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    ak__field *f = ak__dataset_field(ds, "dataset_normalize", field);
    return f ? normalize_field(ds, f, mean, std) : AK_ERR_NOT_FOUND;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

bool ak__range_fits(const ak_dataset *ds, const char *who, int64_t start, int64_t count,
                    int64_t least)
{
    if (ak_error(ds->ctx))
        return false;
    if (start >= 0 && count >= least && start <= ds->size - count)
        return true;
    ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %lld items from %lld on are not in \"%s\", which has %lld",
            who, (long long)count, (long long)start, ds->name, (long long)ds->size);
    return false;
}

ak_index *ak_dataset_labels(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !ak__range_fits(ds, "dataset_labels", start, count, 0))
        return &ak__poison_index;
    int32_t *labels = ak__step_alloc(ds->ctx, ((size_t)count + 1) * sizeof *labels);
    for (int64_t i = 0; labels && i < count && !ak_error(ds->ctx); i++)
        labels[i] = ak_dataset_label(ds, start + i);
    return labels && !ak_error(ds->ctx) ? ak_index_from(ds->ctx, AK_SHAPE(count), labels)
                                        : &ak__poison_index;
}
