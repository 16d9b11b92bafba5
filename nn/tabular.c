/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a table: numbers that are standardised, categories that are embedded, and a network. */
#include <akin/sequence.h>

#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Own tensors: mean, std (and missing) if there are numbers, then a table a column. The child is
 * the network. */
enum { MEAN, STD, MISSING };
typedef struct tabular {
    int64_t    numbers;
    int        columns, first_table;
    ak_missing missing;
} tabular;

/* ---- numbers --------------------------------------------------------------------------------- */

static bool numbers_fit(ak_module *m, const ak_tensor *x, bool missing)
{
    const tabular *t = ak_module_user(m);
    if (x->shape.n != 2 || x->shape.dims[1] != t->numbers) {
        ak__module_shape_error(m, x, "[N, %" PRId64 "]", t->numbers);
        return false;
    }
    for (int64_t i = 0; i < x->size; i++) {
        if (isfinite(x->data[i]) || (missing && isnan(x->data[i])))
            continue;
        ak_fail(m->ctx, AK_ERR_NUMBER, "%s (%s): x[%" PRId64 ",%" PRId64 "] is %s%s", m->name,
                m->what, i / t->numbers, i % t->numbers,
                isnan(x->data[i]) ? "missing (NaN)" : "infinite",
                isnan(x->data[i]) ? "\n    hint: .missing = AK_MISSING_FLAG or "
                                    "AK_MISSING_EMBEDDING has a place for it" : "");
        return false;
    }
    return true;
}

/* A vector [F] for each of N rows. */
static ak_tensor *spread(ak_tensor *vector, int64_t N)
{
    return ak_add(ak_zeros(vector->ctx, AK_SHAPE(N, vector->size)), vector);
}

/* (x - mean) / std. A missing one is the mean first, so that no op meets a NaN. */
static ak_tensor *standardised(ak_module *m, ak_tensor *x)
{
    const tabular *t = ak_module_user(m);
    ak_tensor *mean = ak__own(m, MEAN), *std = ak__own(m, STD);
    if (t->missing == AK_MISSING_REFUSE)
        return ak_div(ak_sub(x, mean), std);
    ak_tensor *gone = ak_not_equal(x, x);
    ak_tensor *there = ak_where(gone, spread(mean, x->shape.dims[0]), x);
    ak_tensor *y = ak_div(ak_sub(there, mean), std);
    if (t->missing == AK_MISSING_FLAG)
        return ak_concat(1, y, gone);
    return ak_add(y, ak_mul(gone, ak__own(m, MISSING)));
}

/* ---- categories ------------------------------------------------------------------------------ */

static bool ids_fit(ak_module *m, const ak_index *ids, int64_t N)
{
    const tabular *t = ak_module_user(m);
    char text[AK_SHAPE_TEXT];
    if (ids->shape.n != 2 || ids->shape.dims[1] != t->columns ||
        (N >= 0 && ids->shape.dims[0] != N)) {
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): .ids must be [N, %d], a row for each of .x; got %s",
                m->name, m->what, t->columns, ak_shape_text(ids->shape, text));
        return false;
    }
    for (int64_t i = 0; i < ids->size; i++) {
        const int c = (int)(i % t->columns);
        const int64_t known = ak__own(m, t->first_table + c)->shape.dims[0] - 1;
        if (ids->data[i] >= -1 && ids->data[i] < known)
            continue;
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): ids[%" PRId64 ",%d] = %d is no category of "
                "[0, %" PRId64 "), nor -1 for an unknown one", m->name, m->what, i / t->columns, c,
                (int)ids->data[i], known);
        return false;
    }
    return true;
}

/* Rows of column c: unknown ones are the last row. */
static ak_tensor *embedded(ak_module *m, const ak_index *ids, int c)
{
    const tabular *t = ak_module_user(m);
    ak_tensor *table = ak__own(m, t->first_table + c);
    const int64_t N = ids->shape.dims[0];
    ak_index *rows = ak__index_new(m->ctx, AK_SHAPE(N));
    for (int64_t n = 0; rows != &ak__poison_index && n < N; n++) {
        const int32_t id = ids->data[n * t->columns + c];
        ak__index_data(rows)[n] = id < 0 ? (int32_t)table->shape.dims[0] - 1 : id;
    }
    return ak_embedding(table, rows, AK_NONE);
}

static ak_tensor *tabular_forward(ak_module *m, const ak_inputs *in)
{
    const tabular *t = ak_module_user(m);
    ak_tensor *parts[AK_TABULAR_MAX + 1];
    int n = 0;
    if (in->x && !numbers_fit(m, in->x, t->missing != AK_MISSING_REFUSE))
        return &ak__poison;
    if (in->ids && !ids_fit(m, in->ids, in->x ? in->x->shape.dims[0] : -1))
        return &ak__poison;
    if (in->x)
        parts[n++] = standardised(m, in->x);
    for (int c = 0; c < t->columns; c++)
        parts[n++] = embedded(m, in->ids, c);
    return ak_forward(m->children[0], n == 1 ? parts[0] : ak_concat_n(1, parts, n));
}

#define KIND(what, fields)                                                                         \
    static const ak_module_kind what = {                                                           \
        .name = "tabular", .forward_with = tabular_forward, .needs = fields,                       \
        AK__STATE(tabular) }
KIND(both_kind, AK_IN_X | AK_IN_IDS);
KIND(numbers_kind, AK_IN_X);
KIND(categories_kind, AK_IN_IDS);

/* ---- making ---------------------------------------------------------------------------------- */

static int count_of(const int *list, int most)
{
    int n = 0;
    while (n <= most && list[n] > 0)
        n++;
    return n;
}

static bool tabular_fits(const ak_module *m, const ak_tabular_options *o, int columns, int hidden)
{
    if (columns > AK_TABULAR_MAX || o->categories[columns] < 0 || o->numbers < 0 ||
        o->numbers > 1 << 20 || o->numbers + columns < 1)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .numbers %d must be in [0, 2^20], .categories up to %d "
                "numbers >= 1 and then 0, and one of them there", m->name, o->numbers,
                AK_TABULAR_MAX);
    else if ((int)o->missing < 0 || o->missing > AK_MISSING_EMBEDDING ||
             (o->missing && o->numbers == 0))
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .missing %d must be in [0, %d] (ak_missing), and 0 "
                "without .numbers", m->name, (int)o->missing, (int)AK_MISSING_EMBEDDING);
    else if (hidden < 1 || hidden > AK__LIST_MAX - 1 || o->hidden[hidden] < 0)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: .hidden must be at least one number >= 1 and then 0",
                m->name);
    for (int c = 0; ak_error(m->ctx) == AK_OK && c < columns; c++)
        if (o->width[c] < 0 || o->categories[c] == INT32_MAX)
            ak_fail(m->ctx, AK_ERR_VALUE, "%s: .width[%d] = %d is below 0, or .categories[%d] = %d "
                    "too many", m->name, c, o->width[c], c, o->categories[c]);
    return ak_error(m->ctx) == AK_OK;
}

static int width_of(const ak_tabular_options *o, int c)
{
    const int usual = o->categories[c] / 2 + o->categories[c] % 2;
    return o->width[c] ? o->width[c] : usual < 50 ? usual : 50;
}

static void add_numbers(ak_module *m, const ak_tabular_options *o)
{
    ak_module_add_buffer(m, "mean", AK_SHAPE(o->numbers));
    ak_tensor *std = ak_module_add_buffer(m, "std", AK_SHAPE(o->numbers));
    if (!ak_is_poison(std))
        ak_fill(std, 1);
    if (o->missing == AK_MISSING_EMBEDDING)
        ak_module_add_param(m, "missing", AK_SHAPE(o->numbers), AK_PARAM_NO_DECAY);
}

/* Known categories start as in ak_nn_embedding_bag; an unknown one as nothing. */
static void add_table(ak_module *m, const ak_tabular_options *o, int c)
{
    char name[48];
    const int64_t width = width_of(o, c);
    snprintf(name, sizeof name, "category%d/weight", c);
    ak_tensor *w = ak_module_add_param(m, name, AK_SHAPE(o->categories[c] + 1, width), 0);
    if (ak_is_poison(w))
        return;
    ak_init_fill(w, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
    memset(w->data + o->categories[c] * width, 0, (size_t)width * sizeof *w->data);
}

ak_module *ak_tabular(ak_ctx *ctx, const char *name, ak_tabular_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    const int columns = count_of(o.categories, AK_TABULAR_MAX);
    const ak_module_kind *kind = o.numbers > 0 && columns > 0 ? &both_kind
                                 : columns > 0 ? &categories_kind : &numbers_kind;
    ak_module *m = ak_module_make(ctx, name, kind);
    const int hidden = o.hidden ? count_of(o.hidden, AK__LIST_MAX - 1) : 0;
    if (!m || !tabular_fits(m, &o, columns, hidden))
        return NULL;
    *(tabular *)ak_module_user(m) = (tabular){
        .numbers = o.numbers, .columns = columns, .missing = o.missing,
        .first_table = o.numbers == 0 ? 0 : o.missing == AK_MISSING_EMBEDDING ? 3 : 2 };
    int sizes[AK__LIST_MAX + 1] = { o.missing == AK_MISSING_FLAG ? 2 * o.numbers : o.numbers };
    if (o.numbers > 0)
        add_numbers(m, &o);
    for (int c = 0; c < columns; c++) {
        add_table(m, &o, c);
        sizes[0] += width_of(&o, c);
    }
    memcpy(sizes + 1, o.hidden, (size_t)hidden * sizeof *sizes);
    ak_module_describe(m, "tabular, %d numbers, %d categories -> %d", o.numbers, columns,
                       o.hidden[hidden - 1]);
    ak_module_begin(m);
    ak_mlp_with(ctx, "mlp", sizes, o.mlp);
    return ak_module_end(m);
}

/* ---- fitting --------------------------------------------------------------------------------- */

/* Mean and deviation of column c of x; false: no number there. */
static bool column_of(const ak_tensor *x, int64_t c, double *mean, double *std)
{
    const int64_t M = x->shape.dims[0], F = x->shape.dims[1];
    double sum = 0, squares = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < M; i++)
        if (!isnan(x->data[i * F + c])) {
            sum += (double)x->data[i * F + c];
            count++;
        }
    *mean = count ? sum / (double)count : 0;
    for (int64_t i = 0; i < M; i++)
        if (!isnan(x->data[i * F + c])) {
            const double d = (double)x->data[i * F + c] - *mean;
            squares += d * d;
        }
    const double deviation = count ? sqrt(squares / (double)count) : 0;
    *std = (ak_real)deviation > 0 ? deviation : 1;
    return count > 0;
}

ak_status ak_tabular_fit(ak_module *m, const ak_tensor *x)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x))
        return AK_ERR_VALUE;
    if (ak_error(m->ctx) != AK_OK)
        return ak_error(m->ctx);
    if (m->kind != &both_kind && m->kind != &numbers_kind)
        return ak_fail(m->ctx, AK_ERR_VALUE, "tabular_fit: %s (%s) is no ak_tabular with numbers",
                       m->name, m->what);
    if (!numbers_fit(m, x, true))
        return ak_error(m->ctx);
    const int64_t F = ((const tabular *)ak_module_user(m))->numbers;
    double mean, std;
    for (int64_t c = 0; c < F; c++)
        if (!column_of(x, c, &mean, &std))
            return ak_fail(m->ctx, AK_ERR_VALUE, "tabular_fit: %s (%s): column %" PRId64 " has no "
                           "number in %" PRId64 " rows", m->name, m->what, c, x->shape.dims[0]);
    for (int64_t c = 0; c < F; c++) {
        (void)column_of(x, c, &mean, &std);
        ak__own(m, MEAN)->data[c] = (ak_real)mean;
        ak__own(m, STD)->data[c] = (ak_real)std;
    }
    ak__changed(ak__own(m, MEAN), "ak_tabular_fit");
    ak__changed(ak__own(m, STD), "ak_tabular_fit");
    return AK_OK;
}
