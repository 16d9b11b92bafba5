/* SPDX-License-Identifier: Apache-2.0 */
/* Fields from arrays, tensors and callbacks: checks and conversion of what they are made of. */
#include "data/dataset.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = { "?", "picture", "vector", "sequence", "tokens", "labels",
                                          "numbers", "id" };
static const char *const kind_axes[] = {
    "?", "[N, H, W, C] or [N, H, W]", "[N, D] or [N]", "[N, T, D], or [S, D] if .packed",
    "[N, T], or [S] if .packed", "[N] or [N, K]", "[N] or [N, K]", "[N]"
};

/* What a field is made of, while it is made. */
typedef struct making {
    ak_ctx         *ctx;
    const char     *who;
    const ak_field *from;
    ak_shape        all;        /* of the array or tensor */
    ak__field      *to;
} making;

static bool whole_kind(ak_field_kind kind)
{
    return kind == AK_FIELD_TOKENS || kind == AK_FIELD_LABELS || kind == AK_FIELD_ID;
}

static bool varies(ak_field_kind kind)
{
    return kind == AK_FIELD_SEQUENCE || kind == AK_FIELD_TOKENS;
}

static bool refuse(const making *m, ak_status status, const char *text)
{
    ak_fail(m->ctx, status, "%s: field \"%.60s\" (%s): %s", m->who, m->from->name,
            kind_names[m->from->kind], text);
    return false;
}

static double value_at(const ak_field *from, int64_t i)
{
    return from->array ? ak_array_at(from->array, i) : (double)from->tensor->data[i];
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* The sizes that follow from an item's shape. */
static void set_sizes(ak__field *f)
{
    f->varies = varies(f->kind);
    f->steps = f->varies ? f->item.dims[0] : 1;
    f->numbers = ak_shape_size(f->item);
    f->width = f->numbers / f->steps;
    f->channels = (int)(f->item.n > (f->varies && f->kind == AK_FIELD_TOKENS ? 1 : 0)
                        ? f->item.dims[f->item.n - 1] : 1);
}

/* Has an item of this kind such a shape? */
static bool shape_fits(ak_field_kind kind, ak_shape item)
{
    const int axes[][2] = { { 0, 0 }, { 3, 3 }, { 1, AK_MAX_DIMS - 1 }, { 2, AK_MAX_DIMS - 1 },
                            { 1, 1 }, { 0, 1 }, { 0, 1 }, { 0, 0 } };
    if (item.n < axes[kind][0] || item.n > axes[kind][1])
        return false;
    int64_t numbers = 1;
    for (int i = 0; i < item.n; i++) {
        if (item.dims[i] < 1 || numbers > AK__MOST_NUMBERS / item.dims[i])
            return false;
        numbers *= item.dims[i];
    }
    return true;
}

/* The item's shape of an array of N of them. Packed: the first axis is left for later. */
static bool item_of_array(making *m)
{
    const ak_field *from = m->from;
    ak_shape        all = m->all, *item = &m->to->item;
    char            shape[AK_SHAPE_TEXT], text[AK_SHAPE_TEXT + 160];
    const bool      packed = from->packed && varies(from->kind);
    bool            fine = all.n >= 1 && all.n <= AK_MAX_DIMS;
    *item = (ak_shape){ .n = 0 };
    if (packed)
        item->dims[item->n++] = 1;
    for (int i = 1; fine && i < all.n; i++)
        if (item->n < AK_MAX_DIMS)
            item->dims[item->n++] = all.dims[i];
    if (from->kind == AK_FIELD_PICTURE && item->n == 2)
        item->dims[item->n++] = 1;
    if (from->kind == AK_FIELD_VECTOR && item->n == 0)
        item->dims[item->n++] = 1;
    if (fine && all.dims[0] >= 1 && all.dims[0] <= AK__MOST_ITEMS && shape_fits(from->kind, *item))
        return true;
    snprintf(text, sizeof text, "the array is %s; expected %s", ak_shape_text(all, shape),
             kind_axes[from->kind]);
    return refuse(m, AK_ERR_SHAPE, text);
}

/* ---- lengths --------------------------------------------------------------------------------- */

static bool read_lengths(making *m, int64_t n)
{
    const ak_array *from = m->from->lengths;
    ak__field      *f = m->to;
    char            text[200];
    if (from->shape.n != 1 || from->shape.dims[0] != n || from->size != n)
        return refuse(m, AK_ERR_SHAPE, "there must be one length an item, [N]");
    int32_t *length = ak__ctx_alloc(m->ctx, (size_t)n * sizeof *length);
    int64_t *start = m->from->packed ? ak__ctx_alloc(m->ctx, (size_t)n * sizeof *start) : NULL;
    int64_t  sum = 0, most = 1;
    if (!length || (m->from->packed && !start))
        return false;
    const double limit = (double)(m->from->packed ? m->all.dims[0] : f->steps);
    for (int64_t i = 0; i < n; i++) {
        const double v = ak_array_at(from, i);
        if (!(v >= 0 && v <= limit) || v > floor(v)) {
            snprintf(text, sizeof text, "length %g of item %lld; whole numbers in [0, %g] are "
                     "needed", v, (long long)i, limit);
            return refuse(m, AK_ERR_VALUE, text);
        }
        length[i] = (int32_t)v;
        if (start)
            start[i] = sum;
        sum += length[i];
        most = length[i] > most ? length[i] : most;
    }
    f->length = length;
    f->start = start;
    if (!start)
        return true;
    if (sum != m->all.dims[0]) {
        snprintf(text, sizeof text, "the lengths add up to %lld, but the packed array has %lld "
                 "steps", (long long)sum, (long long)m->all.dims[0]);
        return refuse(m, AK_ERR_SHAPE, text);
    }
    f->item.dims[0] = most;
    if (!shape_fits(f->kind, f->item))
        return refuse(m, AK_ERR_SHAPE, "the longest item has too many numbers");
    set_sizes(f);
    return true;
}

/* Is number k of the array behind the end of its item? */
static bool is_padding(const ak__field *f, int64_t k)
{
    return f->length && !f->start && k % f->numbers / f->width >= f->length[k / f->numbers];
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool convert_whole(making *m, int64_t n)
{
    ak__field    *f = m->to;
    const int32_t least = f->kind == AK_FIELD_TOKENS ? 0 : -1;
    char          text[200];
    int32_t      *values = ak__ctx_alloc(m->ctx, (size_t)n * sizeof *values);
    for (int64_t i = 0; values && i < n; i++) {
        const double v = value_at(m->from, i);
        if (is_padding(f, i))
            continue;
        if (!(v >= least && v <= INT32_MAX) || v > floor(v)) {
            snprintf(text, sizeof text, "number %lld of the array is %.17g; whole numbers from %d "
                     "to %d are needed", (long long)i, v, least, INT32_MAX);
            return refuse(m, AK_ERR_VALUE, text);
        }
        values[i] = (int32_t)v;
        if (f->kind == AK_FIELD_LABELS && values[i] >= f->classes)
            f->classes = (int64_t)values[i] + 1;
    }
    f->whole = values;
    return values != NULL;
}

static bool convert_reals(making *m, int64_t n)
{
    ak__field *f = m->to;
    char       text[200];
    ak_real   *values = ak__items_alloc(m->ctx, n, sizeof *values);
    for (int64_t i = 0; values && i < n; i++) {
        const double v = value_at(m->from, i);
        if (is_padding(f, i))
            continue;
        values[i] = (ak_real)v;
        const bool beyond = isfinite(v) && !isfinite(values[i]);
        if (beyond || (m->ctx->check_numbers && !isfinite(v))) {
            snprintf(text, sizeof text, "number %lld of the array is %g%s", (long long)i, v,
                     beyond ? ", beyond the range of the library's numbers; scale it" : "");
            return refuse(m, beyond ? AK_ERR_VALUE : AK_ERR_NUMBER, text);
        }
    }
    f->reals = values;
    f->padded = true;
    return values != NULL;
}

static bool convert_bytes(making *m, int64_t n)
{
    uint8_t *bytes = ak__items_alloc(m->ctx, n, 1);
    if (bytes)
        memcpy(bytes, m->from->array->data, (size_t)n);
    m->to->bytes = bytes;
    m->to->padded = true;
    return bytes != NULL;
}

/* Values stay where they are, if they are of the type that is read. */
static bool borrow(making *m)
{
    const ak_type   real = sizeof(ak_real) == 4 ? AK_TYPE_F32 : AK_TYPE_F64;
    const ak_array *a = m->from->array;
    ak__field      *f = m->to;
    const ak_type   type = whole_kind(f->kind) ? AK_TYPE_I32 : f->as_bytes ? AK_TYPE_U8 : real;
    char            text[200];
    if (!a || a->type != type) {
        snprintf(text, sizeof text, ".borrowed needs an array of type %s, not %s",
                 ak_type_name(type), a ? ak_type_name(a->type) : "a tensor");
        return refuse(m, AK_ERR_VALUE, text);
    }
    if (type == AK_TYPE_U8)
        f->bytes = a->data;
    else if (type == real)
        f->reals = a->data;
    else
        f->whole = a->data;
    for (int64_t i = 0; f->kind == AK_FIELD_LABELS && i < a->size; i++)
        if (f->whole[i] >= f->classes)
            f->classes = (int64_t)f->whole[i] + 1;
    return true;
}

/* From an array or tensor; *n is the number of items, or -1 before the first field. */
static bool from_values(making *m, int64_t *n)
{
    const ak_field *from = m->from;
    ak__field      *f = m->to;
    char            text[200];
    if (from->array && from->tensor)
        return refuse(m, AK_ERR_VALUE, "give .array or .tensor, not both");
    if (from->tensor && !ak__tensor_check(m->ctx, from->tensor, m->who, from->name))
        return false;
    if (from->array && (!from->array->data || ak_type_size(from->array->type) == 0))
        return refuse(m, AK_ERR_VALUE, "the array has no data, or no known type");
    m->all = from->array ? from->array->shape : from->tensor->shape;
    if (!item_of_array(m))
        return false;
    if (from->array && from->array->size != ak_shape_size(m->all))
        return refuse(m, AK_ERR_SHAPE, "the array's .size is not the product of its shape");
    set_sizes(f);
    const int64_t items = from->packed && from->lengths ? from->lengths->size : m->all.dims[0];
    if (*n >= 0 && items != *n) {
        snprintf(text, sizeof text, "it has %lld items, but the set has %lld", (long long)items,
                 (long long)*n);
        return refuse(m, AK_ERR_SHAPE, text);
    }
    if (items < 1 || items > AK__MOST_ITEMS)
        return refuse(m, AK_ERR_SHAPE, "from 1 to 2^31 - 1 items are possible");
    *n = f->rows = items;
    if (from->lengths && !read_lengths(m, items))
        return false;
    f->as_bytes = f->kind == AK_FIELD_PICTURE && from->array && from->array->type == AK_TYPE_U8;
    const int64_t size = ak_shape_size(m->all);
    if (from->borrowed)
        return borrow(m);
    return whole_kind(f->kind) ? convert_whole(m, size)
         : f->as_bytes         ? convert_bytes(m, size) : convert_reals(m, size);
}

static bool from_callback(making *m)
{
    char text[AK_SHAPE_TEXT], line[AK_SHAPE_TEXT + 120];
    m->to->item = m->from->shape;
    if (!shape_fits(m->from->kind, m->from->shape)) {
        snprintf(line, sizeof line, "no values, and items of .shape %s; N of them are %s",
                 ak_shape_text(m->from->shape, text), kind_axes[m->from->kind]);
        return refuse(m, AK_ERR_SHAPE, line);
    }
    m->to->as_bytes = m->from->bytes;
    set_sizes(m->to);
    return true;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static bool check_field(ak_ctx *ctx, const char *who, const ak_dataset *ds, const ak_field *from,
                        bool callback)
{
    making m = { .ctx = ctx, .who = who, .from = from };
    if ((int)from->kind < AK_FIELD_PICTURE || from->kind > AK_FIELD_ID) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: field \"%.60s\" has kind %d, which is none; "
                "AK_FIELD_PICTURE and its like are", who, from->name, (int)from->kind);
        return false;
    }
    if (!*from->name)
        return refuse(&m, AK_ERR_VALUE, "a name is needed");
    for (int i = 0; i < ds->n_fields; i++)
        if (strcmp(ds->field[i]->name, from->name) == 0)
            return refuse(&m, AK_ERR_VALUE, "there is a field of that name");
    if (ds->n_fields == AK_MAX_FIELDS)
        return refuse(&m, AK_ERR_VALUE, "there are AK_MAX_FIELDS fields already");
    if (!from->array && !from->tensor && !callback)
        return refuse(&m, AK_ERR_VALUE, ".array or .tensor is missing (NULL)");
    if ((from->lengths || from->packed) && !varies(from->kind))
        return refuse(&m, AK_ERR_VALUE, ".lengths and .packed are for sequences and tokens");
    if (from->packed && !from->lengths)
        return refuse(&m, AK_ERR_VALUE, ".packed needs .lengths");
    if (from->pad < 0 || (from->pad && from->kind != AK_FIELD_TOKENS))
        return refuse(&m, AK_ERR_VALUE, ".pad is a token, 0 or larger, for tokens only");
    if (from->tokenizer && from->kind != AK_FIELD_TOKENS)
        return refuse(&m, AK_ERR_VALUE, ".tokenizer is for tokens only");
    if (from->bytes && (from->kind != AK_FIELD_PICTURE || from->array || from->tensor))
        return refuse(&m, AK_ERR_VALUE, ".bytes is for pictures that a callback fills; arrays have "
                                        "a type");
    if (from->class_names && from->kind != AK_FIELD_LABELS)
        return refuse(&m, AK_ERR_VALUE, ".class_names is for labels");
    return true;
}

/* Names cover all classes: as many as there are names, at most AK__LIST_MAX. */
static bool name_classes(making *m)
{
    int n = 0;
    while (m->from->class_names && n <= AK__LIST_MAX && m->from->class_names[n])
        n++;
    if (!m->from->class_names)
        return true;
    if (n > AK__LIST_MAX)
        return refuse(m, AK_ERR_VALUE, ".class_names has no NULL at its end");
    if (m->to->classes > n)
        return refuse(m, AK_ERR_VALUE, "there are fewer .class_names than labels");
    m->to->classes = n;
    m->to->class_names = m->from->class_names;
    return true;
}

/* Add a field; slot: its place in the callback's list. */
static bool add_field(ak_dataset *ds, const char *who, const ak_field *from, int slot, int part,
                      int64_t *n)
{
    const bool has_values = from->array || from->tensor;
    if (!check_field(ds->ctx, who, ds, from, slot >= 0))
        return false;
    ak__field *f = ak__ctx_alloc(ds->ctx, sizeof *f);
    making     m = { .ctx = ds->ctx, .who = who, .from = from, .to = f };
    if (!f || !(f->name = ak__ctx_strdup(ds->ctx, from->name)))
        return false;
    f->kind = from->kind;
    f->part = part;
    f->slot = has_values ? -1 : slot;
    f->pad = from->pad;
    f->tokenizer = from->tokenizer;
    f->factor = 1;
    for (int c = 0; c < AK_MAX_CHANNELS; c++)
        f->inverse_std[c] = 1;
    if (!(has_values ? from_values(&m, n) : from_callback(&m)) || !name_classes(&m))
        return false;
    ds->field[ds->n_fields++] = f;
    return true;
}

static ak_dataset *from_list(ak_ctx *ctx, const char *who, const char *what, int64_t size,
                             const ak_field *fields, const ak__source *source)
{
    ak_dataset *ds = ak__ctx_alloc(ctx, sizeof *ds);
    if (!ds || !(ds->name = ak__ctx_strdup(ctx, what)))
        return NULL;
    ds->ctx = ctx;
    ds->n_parts = 1;
    ds->part[0].source = source;
    ds->size = size;
    for (int i = 0; fields[i].name; i++)
        if (!add_field(ds, who, &fields[i], source ? i : -1, 0, &ds->size))
            return NULL;
    if (ds->n_fields == 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%.60s\" has no fields: the list begins with its end", who,
                what);
        return NULL;
    }
    return ds;
}

ak_dataset *ak_dataset_fields(ak_ctx *ctx, const char *what, const ak_field *fields)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, what) || !AK__GIVEN(ctx, fields) || ak_error(ctx))
        return NULL;
    return from_list(ctx, "dataset_fields", what, -1, fields, NULL);
}

ak_dataset *ak_dataset_callback(ak_ctx *ctx, const char *what, int64_t size,
                                const ak_field *fields, ak_item_fn fill, void *user)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, what) || !AK__GIVEN(ctx, fields) ||
        !AK__GIVEN(ctx, fill) || ak_error(ctx))
        return NULL;
    if (size < 1 || size > AK__MOST_ITEMS) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_callback: %lld items; 1 to %d are possible",
                (long long)size, AK__MOST_ITEMS);
        return NULL;
    }
    ak__source *source = ak__ctx_alloc(ctx, sizeof *source);
    if (!source)
        return NULL;
    *source = (ak__source){ fill, user };
    ak_dataset *ds = from_list(ctx, "dataset_callback", what, size, fields, source);
    return ds;
}

/* The part whose rows are the items themselves; made if there is none. -1: no room for it. */
static int own_part(ak_dataset *ds)
{
    for (int p = 0; p < ds->n_parts; p++)
        if (!ds->part[p].map && ds->part[p].first == 0 && !ds->part[p].source)
            return p;
    if (ds->n_parts == AK_MAX_FIELDS)
        return -1;
    ds->part[ds->n_parts] = (ak__part){ 0 };
    return ds->n_parts++;
}

ak_status ak_dataset_add(ak_dataset *ds, ak_field field)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, field.name))
        return ak__refused(ds ? ds->ctx : NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    const int part = own_part(ds);
    int64_t   size = ds->size;
    if (part < 0)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_add: \"%s\" has AK_MAX_FIELDS parts already",
                       ds->name);
    return add_field(ds, "dataset_add", &field, -1, part, &size) ? AK_OK : ak_error(ds->ctx);
}
