/* SPDX-License-Identifier: Apache-2.0 */
/* Named fields: every kind from arrays and from a callback, batches and views of them, the same
 * bits for any number of loader threads, refusals that name the field. */
#include "data_files.h"

#include <akin/data.h>

#include "base/base.h"

#define N 10

/* An array in place. */
static ak_array array_of(ak_type type, ak_shape shape, const void *data)
{
    return (ak_array){ .name = "memory", .type = type, .shape = shape,
                       .size = ak_shape_size(shape), .data = data };
}

/* Values of ten items of every kind. Item i has i % 4 steps of two numbers and 1 + i % 3 tokens. */
static struct world {
    uint8_t picture[N * 4 * 4 * 3];
    double  vector[N * 3], number[N], sequence[N * 4 * 2];
    int64_t token[N * 5], length[N], steps[N], label[N], id[N];
    int32_t packed[N * 3];
    int64_t n_packed;
    ak_array a_picture, a_vector, a_number, a_sequence, a_token, a_length, a_steps, a_label, a_id,
             a_packed;
} w;

static void fill_world(void)
{
    w.n_packed = 0;
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 48; k++)
            w.picture[i * 48 + k] = (uint8_t)(i * 20 + k);
        for (int k = 0; k < 3; k++)
            w.vector[i * 3 + k] = i + k / 10.0;
        w.number[i] = i * 1.5;
        w.steps[i] = i % 4;
        w.length[i] = 1 + i % 3;
        for (int k = 0; k < 8; k++)
            w.sequence[i * 8 + k] = k < 2 * w.steps[i] ? i + k / 10.0 : 99;
        for (int k = 0; k < 5; k++)
            w.token[i * 5 + k] = k < w.length[i] ? 100 * i + k : -7;
        for (int k = 0; k < w.length[i]; k++)
            w.packed[w.n_packed++] = 100 * i + k;
        w.label[i] = i < 8 ? i % 2 : -1;
        w.id[i] = 1000 + i;
    }
    w.a_picture = array_of(AK_TYPE_U8, AK_SHAPE(N, 4, 4, 3), w.picture);
    w.a_vector = array_of(AK_TYPE_F64, AK_SHAPE(N, 3), w.vector);
    w.a_number = array_of(AK_TYPE_F64, AK_SHAPE(N), w.number);
    w.a_sequence = array_of(AK_TYPE_F64, AK_SHAPE(N, 4, 2), w.sequence);
    w.a_token = array_of(AK_TYPE_I64, AK_SHAPE(N, 5), w.token);
    w.a_length = array_of(AK_TYPE_I64, AK_SHAPE(N), w.length);
    w.a_steps = array_of(AK_TYPE_I64, AK_SHAPE(N), w.steps);
    w.a_label = array_of(AK_TYPE_I64, AK_SHAPE(N), w.label);
    w.a_id = array_of(AK_TYPE_I64, AK_SHAPE(N), w.id);
    w.a_packed = array_of(AK_TYPE_I32, AK_SHAPE(w.n_packed), w.packed);
}

static ak_dataset *from_arrays(ak_ctx *ctx)
{
    fill_world();
    return ak_dataset_fields(ctx, "all kinds", (ak_field[]){
        { "photo", AK_FIELD_PICTURE, .array = &w.a_picture },
        { "row", AK_FIELD_VECTOR, .array = &w.a_vector },
        { "sound", AK_FIELD_SEQUENCE, .array = &w.a_sequence, .lengths = &w.a_steps },
        { "caption", AK_FIELD_TOKENS, .array = &w.a_token, .lengths = &w.a_length, .pad = 1 },
        { "packed", AK_FIELD_TOKENS, .array = &w.a_packed, .lengths = &w.a_length,
          .packed = true },
        { "class", AK_FIELD_LABELS, .array = &w.a_label },
        { "age", AK_FIELD_NUMBERS, .array = &w.a_number },
        { "who", AK_FIELD_ID, .array = &w.a_id },
        { 0 } });
}

/* The same items, made one by one. */
static bool fill_item(ak_item_data *item, void *user)
{
    const int64_t i = item->number;
    const int64_t *refused = user;
    if (refused && i == *refused) {
        snprintf(item->error, sizeof item->error, "file %lld.png is broken", (long long)i);
        return false;
    }
    memcpy(item->data[0], w.picture + i * 48, 48);
    for (int k = 0; k < 3; k++)
        ((ak_real *)item->data[1])[k] = (ak_real)w.vector[i * 3 + k];
    for (int k = 0; k < 2 * w.steps[i]; k++)
        ((ak_real *)item->data[2])[k] = (ak_real)w.sequence[i * 8 + k];
    item->length[2] = w.steps[i];
    for (int f = 3; f <= 4; f++) {
        for (int k = 0; k < w.length[i]; k++)
            ((int32_t *)item->data[f])[k] = (int32_t)w.token[i * 5 + k];
        item->length[f] = w.length[i];
    }
    *(int32_t *)item->data[5] = (int32_t)w.label[i];
    *(ak_real *)item->data[6] = (ak_real)w.number[i];
    return item->data[7] == NULL;       /* it has values */
}

static ak_dataset *from_callback(ak_ctx *ctx, int64_t *refused)
{
    fill_world();
    return ak_dataset_callback(ctx, "made one by one", N, (ak_field[]){
        { "photo", AK_FIELD_PICTURE, .shape = AK_SHAPE(4, 4, 3), .bytes = true },
        { "row", AK_FIELD_VECTOR, .shape = AK_SHAPE(3) },
        { "sound", AK_FIELD_SEQUENCE, .shape = AK_SHAPE(4, 2) },
        { "caption", AK_FIELD_TOKENS, .shape = AK_SHAPE(5), .pad = 1 },
        { "packed", AK_FIELD_TOKENS, .shape = AK_SHAPE(3) },
        { "class", AK_FIELD_LABELS, .shape = AK_SCALAR },
        { "age", AK_FIELD_NUMBERS, .shape = AK_SCALAR },
        { "who", AK_FIELD_ID, .array = &w.a_id },
        { 0 } }, fill_item, refused);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Row i of a batch holds item k, every field of it. */
static void expect_item(const ak_batch *b, int i, int k)
{
    const ak_column *c = ak_batch_field(b, "photo");
    for (int j = 0; j < 48; j++)
        cr_expect_float_eq((double)c->view[0]->data[i * 48 + j], w.picture[k * 48 + j] / 255.0,
                           1e-6);
    c = ak_batch_field(b, "row");
    for (int j = 0; j < 3; j++)
        cr_expect_float_eq((double)c->all->data[i * 3 + j], w.vector[k * 3 + j], 1e-6);
    c = ak_batch_need(b, "sound", AK_FIELD_SEQUENCE);
    const int64_t T = c->all->shape.dims[1];
    cr_expect_eq(c->lengths[0]->data[i], w.steps[k]);
    for (int j = 0; j < 2 * T; j++)
        cr_expect_float_eq((double)c->all->data[i * 2 * T + j],
                           j < 2 * w.steps[k] ? w.sequence[k * 8 + j] : 0, 1e-6);
    const char *const lists[] = { "caption", "packed" };
    for (int f = 0; f < 2; f++) {
        c = ak_batch_need(b, lists[f], AK_FIELD_TOKENS);
        const int64_t L = c->all_ids->shape.dims[1];
        cr_expect_eq(c->lengths[0]->data[i], w.length[k]);
        for (int j = 0; j < L; j++)
            cr_expect_eq(c->ids[0]->data[i * L + j], j < w.length[k] ? 100 * k + j : f ? 0 : 1);
    }
    cr_expect_eq(ak_batch_field(b, "class")->ids[0]->data[i], w.label[k]);
    cr_expect_eq(b->label->data[i], w.label[k]);
    cr_expect_float_eq((double)ak_batch_field(b, "age")->all->data[i], w.number[k], 1e-6);
    cr_expect_eq(ak_batch_field(b, "who")->ids[0]->data[i], w.id[k]);
}

Test(fields, every_kind_from_arrays_and_from_a_callback)
{
    for (int callback = 0; callback < 2; callback++) {
        ak_ctx     *ctx = quiet();
        ak_dataset *ds = callback ? from_callback(ctx, NULL) : from_arrays(ctx);
        ak_batch    b;
        cr_assert_not_null(ds, "%s", ak_error_message(ctx));
        cr_assert(ak_dataset_get(ds, 2, 6, &b), "%s", ak_error_message(ctx));
        cr_expect(b.size == 6 && b.views == 1 && b.columns == 8);
        cr_expect_eq(b.view[0], ak_batch_field(&b, "photo")->view[0]);
        cr_expect(ak_shape_equal(b.all->shape, AK_SHAPE(6, 4, 4, 3)));
        cr_expect(ak_shape_equal(ak_batch_field(&b, "sound")->all->shape, AK_SHAPE(6, 3, 2)));
        cr_expect(ak_shape_equal(ak_batch_field(&b, "caption")->ids[0]->shape, AK_SHAPE(6, 3)));
        cr_expect(ak_shape_equal(ak_batch_field(&b, "age")->all->shape, AK_SHAPE(6)));
        for (int i = 0; i < 6; i++)
            expect_item(&b, i, 2 + i);
        ak_step_end(ctx);

        ak_loader *l = ak_loader_open(ds, (ak_loader_options){ .batch = 4, .keep_last = true });
        int        seen = 0;
        cr_assert_not_null(l, "%s", ak_error_message(ctx));
        for (; ak_loader_next(l, &b); ak_step_end(ctx))
            for (int i = 0; i < b.size; i++, seen++)
                expect_item(&b, i, b.index->data[i]);
        cr_expect_eq(seen, N);
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
}

Test(fields, lengths_of_a_batch_not_of_the_set)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = from_arrays(ctx);
    ak_batch    b;
    cr_assert(ak_dataset_get(ds, 0, 1, &b));        /* no step at all: one of padding */
    cr_expect(ak_shape_equal(ak_batch_field(&b, "sound")->all->shape, AK_SHAPE(1, 1, 2)));
    cr_expect_eq(ak_batch_field(&b, "sound")->lengths[0]->data[0], 0);
    cr_expect_eq((double)ak_batch_field(&b, "sound")->all->data[0], 0.0);
    ak_close(ctx);
}

/* ---- views ----------------------------------------------------------------------------------- */

/* Drop each token with probability options[0], but one. */
static void drop_tokens(ak_token_list *x, const double *o, ak_draws d)
{
    int64_t n = 0;
    for (int64_t i = 0; i < x->length; i++)
        if (ak_draw(d, (uint64_t)i) >= o[0] || (n == 0 && i == x->length - 1))
            x->data[n++] = x->data[i];
    x->length = n;
}
static const ak_augment_kind token_drop = { .name = "token_drop", .tokens = drop_tokens };

static void add_noise(ak_sequence *x, const double *o, ak_draws d)
{
    for (int64_t i = 0; i < x->length * x->width; i++)
        x->data[i] += (ak_real)(o[0] * (ak_draw(d, (uint64_t)i) - 0.5));
}
static const ak_augment_kind noise = { .name = "noise", .sequence = add_noise };

static uint64_t hash_columns(uint64_t h, const ak_batch *b)
{
    for (int f = 0; f < b->columns; f++)
        for (int v = 0; v < b->column[f].views; v++) {
            const ak_column *c = &b->column[f];
            if (c->view[v])
                h = ak__hash_bytes(h, c->view[v]->data,
                                   (size_t)c->view[v]->size * sizeof(ak_real));
            if (c->ids[v])
                h = ak__hash_bytes(h, c->ids[v]->data, (size_t)c->ids[v]->size * sizeof(int32_t));
            if (c->lengths[v])
                h = ak__hash_bytes(h, c->lengths[v]->data,
                                   (size_t)c->lengths[v]->size * sizeof(int32_t));
        }
    return ak__hash_bytes(h, b->index->data, (size_t)b->size * sizeof(int32_t));
}

static ak_loader *open_views(ak_dataset *ds, int threads)
{
    const ak_augment drop[] = { { &token_drop, { 0.5 } }, { 0 } };
    const ak_augment shake[] = { { &noise, { 0.1 } }, { 0 } };
    const ak_augment crop[] = { ak_random_crop(0.3, 1), ak_random_flip(0.5), ak_jitter(0.4),
                                { 0 } };
    return ak_loader_open(ds, (ak_loader_options){
        .batch = 4, .views = 2, .augment = crop, .threads = threads, .seed = 5, .keep_last = true,
        .fields = (ak_field_views[]){ { "caption", .views = 3, .augment = drop },
                                      { "sound", .views = 2, .augment = shake },
                                      { "row", .augment = shake }, { 0 } } });
}

Test(fields, same_bits_for_any_threads_and_after_a_resume)
{
    uint64_t want = 0;
    for (int k = 0; k < 8; k++) {
        const int   threads[] = { AK_NONE, 1, 2, 4 };
        ak_ctx     *ctx = quiet();
        ak_dataset *ds = k & 1 ? from_callback(ctx, NULL) : from_arrays(ctx);
        ak_loader  *l = open_views(ds, threads[k / 2]);
        uint64_t    h = AK__HASH_START;
        cr_assert_not_null(l, "%s", ak_error_message(ctx));
        ak_loader_seek(l, (ak_loader_state){ 1, 2 });
        for (int step = 0; step < 7; step++) {
            ak_batch b;
            cr_assert(ak_loader_endless(l, &b), "%s", ak_error_message(ctx));
            h = hash_columns(h, &b);
            ak_step_end(ctx);
        }
        want = k ? want : h;
        cr_expect_eq(h, want, "threads = %d, callback %d", threads[k / 2], k & 1);
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
}

Test(fields, views_of_every_kind_lie_view_by_view)
{
    ak_ctx    *ctx = quiet();
    ak_loader *l = open_views(from_arrays(ctx), 2);
    ak_batch   b;
    bool       dropped = false, differ = false;
    for (; ak_loader_next(l, &b); ak_step_end(ctx)) {
        const ak_column *c = ak_batch_field(&b, "caption");
        const int64_t    T = c->all_ids->shape.dims[1];
        cr_expect(c->views == 3 && ak_shape_equal(c->all_ids->shape, AK_SHAPE(3 * b.size, T)));
        for (int v = 0; v < 3; v++)
            for (int64_t i = 0; i < b.size; i++) {
                const int64_t n = c->lengths[v]->data[i], item = b.index->data[i];
                cr_expect_eq(c->all_lengths->data[v * b.size + i], n);
                cr_expect(n >= 1 && n <= w.length[item]);
                dropped = dropped || n < w.length[item];
                differ = differ || n != c->lengths[0]->data[i];
                for (int64_t t = 0; t < T; t++) {
                    const int32_t id = c->ids[v]->data[i * T + t];
                    cr_expect_eq(id, c->all_ids->data[(v * b.size + i) * T + t]);
                    cr_expect(t < n ? id / 100 == item : id == 1);
                }
            }
        c = ak_batch_field(&b, "sound");
        cr_expect(c->views == 2 && c->view[1]->root == c->all->root);
        cr_expect(ak_shape_equal(ak_batch_views(&b, "sound", 0, 2)->shape, c->all->shape));
        cr_expect_eq(ak_batch_views(&b, NULL, 1, 1)->data, b.view[1]->data);
        cr_expect_eq(b.all->shape.dims[0], 2 * b.size);
    }
    cr_expect(dropped && differ, "views of one item are of their own");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(fields, multi_crop)
{
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = ak_dataset_drawn(ctx, 1, 0, 8);
    const ak_augment large[] = { ak_random_crop(0.5, 1), { 0 } };
    const ak_augment small[] = { ak_random_crop(0.1, 0.4), ak_view_size(12, 10),
                                 ak_random_blur(0.1, 1, 1), ak_random_flip(0.5), { 0 } };
    ak_loader_options o = { .batch = 4, .views = 5, .in_order = true, .threads = 1, .augment_each =
                            (const ak_augment *const[]){ large, large, small, small, small } };
    ak_loader *l = ak_loader_open(ds, o);
    ak_batch   b;
    cr_assert_not_null(l, "%s", ak_error_message(ctx));
    cr_assert(ak_loader_next(l, &b));
    cr_expect_null(b.all);
    cr_expect(ak_shape_equal(b.view[1]->shape, AK_SHAPE(4, 28, 28, 1)));
    cr_expect(ak_shape_equal(b.view[4]->shape, AK_SHAPE(4, 12, 10, 1)));
    ak_tensor *two = ak_batch_views(&b, "picture", 0, 2), *three = ak_batch_views(&b, NULL, 2, 3);
    cr_expect(ak_shape_equal(two->shape, AK_SHAPE(8, 28, 28, 1)));
    cr_expect(ak_shape_equal(three->shape, AK_SHAPE(12, 12, 10, 1)));
    cr_expect_eq(three->data + 4 * 120, b.view[3]->data);
    cr_expect_eq(ak_batch_views(&b, NULL, 3, 2)->data, b.view[3]->data);
    const ak_tensor *alone = ak_augment_item(ds, small, ak_seed(ctx), 0, 2, 3);
    cr_expect_eq(memcmp(alone->data, b.view[3]->data + 2 * 120, 120 * sizeof(ak_real)), 0);
    cr_expect(ak_is_poison(ak_batch_views(&b, NULL, 1, 2)));
    expect_error(ctx, AK_ERR_VALUE, "views 1 and 2", "[4,12,10,1]");

    /* A constant picture stays constant at any size; a ramp keeps its ends and its slope. */
    ak_real ramp[8];
    for (int x = 0; x < 8; x++)
        ramp[x] = (ak_real)x / 7;
    ak_dataset *row = ak_dataset_tensor(ctx, ak_from(ctx, AK_SHAPE(1, 1, 8, 1), ramp), NULL);
    const ak_augment half[] = { ak_view_size(1, 4), { 0 } };
    const ak_tensor *y = ak_augment_item(row, half, 1, 0, 0, 0);
    cr_assert(ak_shape_equal(y->shape, AK_SHAPE(1, 4, 1)));
    for (int x = 0; x < 4; x++)
        cr_expect_float_eq((double)y->data[x], (2 * x + 0.5) / 7, 1e-6);
    const ak_augment twice[] = { ak_view_size(1, 4), ak_view_size(1, 5), { 0 } };
    cr_expect(ak_is_poison(ak_augment_item(row, twice, 1, 0, 0, 0)));
    expect_error(ctx, AK_ERR_VALUE, "view_size", "second time");
    const ak_augment none[] = { ak_view_size(0, 4), { 0 } };
    cr_expect(ak_is_poison(ak_augment_item(row, none, 1, 0, 0, 0)));
    expect_error(ctx, AK_ERR_VALUE, "view_size", "[1, 2^20]");
    cr_expect_neq(ak_close(ctx), AK_OK);
}

/* ---- settings -------------------------------------------------------------------------------- */

Test(fields, scale_and_normalise_by_name)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = from_arrays(ctx);
    ak_dataset *part = ak_dataset_subset(ds, 5, 2);
    ak_batch    b;
    cr_expect_eq(ak_dataset_normalize_field(ds, "sound", (double[]){ 1, 2 }, (double[]){ 2, 4 }),
                 AK_OK);
    cr_expect_eq(ak_dataset_scale_field(ds, "age", 0, 3), AK_OK);
    cr_assert(ak_dataset_get(part, 0, 2, &b));      /* items 5 and 6: one step, two steps */
    const ak_tensor *s = ak_batch_field(&b, "sound")->all;
    cr_expect_float_eq((double)s->data[0], (5 - 1) / 2.0, 1e-6);
    cr_expect_float_eq((double)s->data[1], (5.1 - 2) / 4.0, 1e-6);
    cr_expect_eq((double)s->data[2], 0.0, "padding stays zero");
    cr_expect_float_eq((double)ak_batch_field(&b, "age")->all->data[1], 6 * 1.5 / 3, 1e-6);
    cr_expect_eq(ak_dataset_scale_field(ds, "photo", 0, 255), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "bytes", "dataset_scale");
    cr_expect_eq(ak_dataset_scale_field(ds, "caption", 0, 1), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "caption", "whole numbers");
    cr_expect_eq(ak_dataset_normalize_field(ds, "colour", NULL, NULL), AK_ERR_NOT_FOUND);
    expect_error(ctx, AK_ERR_NOT_FOUND, "colour", "photo, row, sound");
    ak_close(ctx);
}

static bool is_old(const ak_dataset *ds, int64_t item, void *user)
{
    return ak_dataset_value(ds, "age", item) >= *(const double *)user;
}

Test(fields, values_and_tests_of_them)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = from_arrays(ctx), *old = ak_dataset_where(ds, is_old, (double[]){ 9 });
    cr_assert_not_null(old, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_size(old), 4);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(ak_dataset_value(old, "who", i), (double)w.id[6 + i]);
        cr_expect_float_eq(ak_dataset_value(old, "age", i), w.number[6 + i], 1e-6);
        cr_expect_eq(ak_dataset_value(old, "class", i), (double)w.label[6 + i]);
    }
    cr_expect(isnan(ak_dataset_value(ds, "weight", 0)));
    expect_error(ctx, AK_ERR_NOT_FOUND, "weight", "age, who");
    cr_expect(isnan(ak_dataset_value(ds, "row", 0)));
    expect_error(ctx, AK_ERR_VALUE, "\"row\"", "one an item");
    cr_expect(isnan(ak_dataset_value(ds, "age", 10)));
    expect_error(ctx, AK_ERR_VALUE, "item 10", "has 10 items");
    cr_expect(isnan(ak_dataset_value(from_callback(ctx, NULL), "age", 1)));
    expect_error(ctx, AK_ERR_STATE, "\"age\"", ".array");
    ak_close(ctx);
}

Test(fields, add_rename_drop_describe)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, N);
    ak_field    f;
    fill_world();
    cr_expect_eq(ak_dataset_add(ds, (ak_field){ "caption", AK_FIELD_TOKENS, .array = &w.a_token,
                                                .lengths = &w.a_length }), AK_OK);
    cr_expect_eq(ak_dataset_rename(ds, "picture", "drawing"), AK_OK);
    cr_expect(ak_dataset_field_at(ds, 0, &f) && strcmp(f.name, "drawing") == 0 &&
              f.kind == AK_FIELD_PICTURE && ak_shape_equal(f.shape, AK_SHAPE(28, 28, 1)));
    cr_expect(ak_dataset_field_at(ds, 1, &f) && strcmp(f.name, "label") == 0 && f.class_names);
    cr_expect(ak_dataset_field_at(ds, 2, &f) && ak_shape_equal(f.shape, AK_SHAPE(5)));
    cr_expect_not(ak_dataset_field_at(ds, 3, &f));
    cr_expect_eq(ak_dataset_drop(ds, "label"), AK_OK);
    cr_expect_eq(ak_dataset_label(ds, 3), -1);
    cr_expect_eq(ak_dataset_classes(ds), 0);
    cr_expect_eq(ak_dataset_rename(ds, "caption", "drawing"), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "caption", "field of that name");
    cr_expect_eq(ak_dataset_drop(ds, "label"), AK_ERR_NOT_FOUND);
    expect_error(ctx, AK_ERR_NOT_FOUND, "label", "drawing, caption");
    const ak_array few = array_of(AK_TYPE_I64, AK_SHAPE(3), w.label);
    cr_expect_neq(ak_dataset_add(ds, (ak_field){ "y", AK_FIELD_LABELS, .array = &few }), AK_OK);
    expect_error(ctx, AK_ERR_SHAPE, "\"y\" (labels)", "3 items");
    cr_expect_eq(ak_dataset_drop(ds, "caption"), AK_OK);
    cr_expect_eq(ak_dataset_drop(ds, "drawing"), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "only field", "drawing");
    ak_close(ctx);
}

/* Borrowed values are read where they are; the last picture has nothing behind it to read. */
Test(fields, borrowed)
{
    ak_ctx  *ctx = quiet();
    uint8_t *bytes = malloc(3 * 5 * 5);
    for (int i = 0; i < 75; i++)
        bytes[i] = (uint8_t)i;
    const ak_array a = array_of(AK_TYPE_U8, AK_SHAPE(3, 5, 5), bytes);
    ak_dataset *own = ak_dataset_fields(ctx, "own", (ak_field[]){
        { "x", AK_FIELD_PICTURE, .array = &a }, { 0 } });
    ak_dataset *ds = ak_dataset_fields(ctx, "borrowed", (ak_field[]){
        { "x", AK_FIELD_PICTURE, .array = &a, .borrowed = true }, { 0 } });
    const ak_augment crop[] = { ak_random_crop(0.5, 1), { 0 } };
    for (int i = 0; i < 3; i++)
        cr_expect_eq(memcmp(ak_augment_item(own, crop, 1, 0, i, 0)->data,
                            ak_augment_item(ds, crop, 1, 0, i, 0)->data, 25 * sizeof(ak_real)), 0);
    bytes[0] = 255;
    cr_expect_eq((double)ak_dataset_batch(ds, 0, 1)->data[0], 1.0);
    cr_expect_eq((double)ak_dataset_batch(own, 0, 1)->data[0], 0.0);
    cr_expect_null(ak_dataset_fields(ctx, "borrowed", (ak_field[]){
        { "x", AK_FIELD_VECTOR, .array = &a, .borrowed = true }, { 0 } }));
    expect_error(ctx, AK_ERR_VALUE, ".borrowed", "u1");
    ak_close(ctx);
    free(bytes);
}

/* No call of the system allocator in a step, whatever the fields are. */
Test(fields, steps_take_no_memory)
{
    ak_ctx    *ctx = quiet();
    ak_loader *l = open_views(from_callback(ctx, NULL), 2);
    ak_batch   b;
    uint64_t   before = 0;
    for (int step = 0; step < 60; step++) {
        if (step == 20)
            before = ak_malloc_count();
        cr_assert(ak_loader_endless(l, &b));
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
    cr_expect_eq(ak_malloc_count(), before);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- refusals -------------------------------------------------------------------------------- */

Test(fields, a_callback_that_fails_is_named)
{
    ak_ctx     *ctx = quiet();
    int64_t     broken = 6;
    ak_dataset *ds = from_callback(ctx, &broken);
    ak_batch    b;
    cr_expect_not(ak_dataset_get(ds, 4, 4, &b));
    cr_expect(ak_is_poison(b.all) && b.size == 0);
    expect_error(ctx, AK_ERR_VALUE, "item 6", "file 6.png is broken");
    cr_expect_not(ak_dataset_get(ak_dataset_subset(ds, 5, 2), 0, 2, &b));
    expect_error(ctx, AK_ERR_VALUE, "item 1 (number 6", "photo");
    cr_expect(ak_is_poison(ak_dataset_batch(ds, 6, 1)));
    expect_error(ctx, AK_ERR_VALUE, "item 6", "broken");
    ak_loader *l = ak_loader_open(ds, (ak_loader_options){ .batch = 2, .in_order = true });
    int        good = 0, bad = 0;
    for (int i = 0; i < 5; i++) {
        const bool fine = ak_loader_next(l, &b);
        good += fine;
        bad += !fine;
        if (!fine)
            expect_error(ctx, AK_ERR_VALUE, "loader", "file 6.png is broken");
        ak_step_end(ctx);
    }
    cr_expect(good == 4 && bad == 1);
    cr_expect_eq(ak_dataset_label(ds, 0), -1);
    expect_error(ctx, AK_ERR_STATE, "class", ".array");
    ak_close(ctx);
}

static bool strange_item(ak_item_data *item, void *user)
{
    const int which = *(const int *)user;
    item->length[0] = which == 0 ? 6 : which == 1 ? -1 : 2;
    ((int32_t *)item->data[0])[1] = which == 2 ? -1 : 0;
    *(int32_t *)item->data[1] = which == 3 ? -2 : 0;
    return true;
}

Test(fields, what_a_callback_makes_is_checked)
{
    ak_ctx     *ctx = quiet();
    static int  which;
    ak_dataset *ds = ak_dataset_callback(ctx, "strange", 4, (ak_field[]){
        { "words", AK_FIELD_TOKENS, .shape = AK_SHAPE(5) },
        { "class", AK_FIELD_LABELS, .shape = AK_SCALAR }, { 0 } }, strange_item, &which);
    static const char *const words[][2] = { { "words", "length 6" }, { "words", "length -1" },
                                            { "words", "-1 (number 1" }, { "class", "-2" } };
    ak_batch b;
    for (which = 0; which < 4; which++) {
        cr_expect_not(ak_dataset_get(ds, 0, 2, &b));
        expect_error(ctx, AK_ERR_VALUE, words[which][0], words[which][1]);
    }
    cr_expect(ak_dataset_get(ds, 0, 2, &b) && !b.all && !b.view[0]);
    ak_close(ctx);
}

static void too_long(ak_token_list *x, const double *o, ak_draws d)
{
    (void)o, (void)d;
    x->length = x->most + 1;
}
static void negative(ak_token_list *x, const double *o, ak_draws d)
{
    (void)o, (void)d;
    x->data[0] = -5;
}

Test(fields, augmentations_of_ones_own_are_checked)
{
    ak_ctx                      *ctx = quiet();
    ak_dataset                  *ds = from_arrays(ctx);
    static const ak_augment_kind kinds[] = { { .name = "too_long", .tokens = too_long },
                                             { .name = "negative", .tokens = negative } };
    static const char *const     words[] = { "length 6", "token -5" };
    for (int k = 0; k < 2; k++) {
        ak_loader *l = ak_loader_open(ds, (ak_loader_options){ .batch = 2,
            .fields = (ak_field_views[]){ { "caption", .augment = (ak_augment[]){
                { &kinds[k], { 0 } }, { 0 } } }, { 0 } } });
        ak_batch b;
        cr_assert_not_null(l);
        cr_expect_not(ak_loader_next(l, &b));
        expect_error(ctx, AK_ERR_VALUE, words[k], "\"caption\"");
        ak_loader_close(l);
    }
    ak_close(ctx);
}

Test(fields, loader_refusals)
{
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = from_arrays(ctx);
    const ak_augment flip[] = { ak_random_flip(0.5), { 0 } };
    const ak_augment drop[] = { { &token_drop, { 0.5 } }, { 0 } };
    const ak_augment both[] = { { &(const ak_augment_kind){ .name = "both", .tokens = drop_tokens,
                                                            .sequence = add_noise }, { 0 } },
                                { 0 } };
    const struct {
        ak_field_views v;
        int views;
        ak_status status;
        const char *word, *other;
    } c[] = {
        { { "colour", .views = 2 }, 0, AK_ERR_NOT_FOUND, "colour", "photo, row, sound, caption" },
        { { "class", .views = 2 }, 0, AK_ERR_VALUE, "\"class\"", "no views" },
        { { "caption", .views = 17 }, 0, AK_ERR_VALUE, "17", "\"caption\"" },
        { { "caption", .augment = flip }, 0, AK_ERR_SHAPE, "random_flip", "\"caption\"" },
        { { "sound", .augment = drop }, 0, AK_ERR_SHAPE, "token ids", "\"sound\"" },
        { { "photo", .augment = drop }, 0, AK_ERR_SHAPE, "token_drop", "\"photo\"" },
        { { "sound", .augment = both }, 0, AK_ERR_VALUE, "one of look", "both" },
        { { "photo", .views = 2 }, 2, AK_ERR_VALUE, "photo", "main field" },
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        cr_expect_null(ak_loader_open(ds, (ak_loader_options){ .batch = 2, .views = c[i].views,
            .fields = (ak_field_views[]){ c[i].v, { 0 } } }));
        expect_error(ctx, c[i].status, c[i].word, c[i].other);
    }
    cr_expect_null(ak_loader_open(ds, (ak_loader_options){ .batch = 2, .fields =
        (ak_field_views[]){ { "row", .views = 2 }, { "row", .views = 1 }, { 0 } } }));
    expect_error(ctx, AK_ERR_VALUE, "row", "said already");
    cr_expect_null(ak_loader_open(from_callback(ctx, NULL), (ak_loader_options){
        .batch = 2, .balance = true }));
    expect_error(ctx, AK_ERR_STATE, "class", ".array");
    ak_close(ctx);
}

Test(fields, set_refusals)
{
    ak_ctx *ctx = quiet();
    fill_world();
    const ak_array flat = array_of(AK_TYPE_F64, AK_SHAPE(30), w.vector);
    const ak_array half = array_of(AK_TYPE_F64, AK_SHAPE(3), (double[]){ 1, 0.5, 2 });
    const ak_array high = array_of(AK_TYPE_I64, AK_SHAPE(N), (int64_t[N]){ [3] = 6 });
    ak_array       hollow = flat;
    hollow.data = NULL;
    const struct { ak_field f; ak_status status; const char *word, *other; } c[] = {
        { { "x", AK_FIELD_PICTURE, .array = &flat }, AK_ERR_SHAPE, "[30]", "[N, H, W, C]" },
        { { "x", AK_FIELD_SEQUENCE, .array = &w.a_vector }, AK_ERR_SHAPE, "[10,3]", "[N, T, D]" },
        { { "x", AK_FIELD_ID, .array = &w.a_token }, AK_ERR_SHAPE, "[10,5]", "\"x\" (id)" },
        { { "x", (ak_field_kind)0, .array = &flat }, AK_ERR_VALUE, "kind 0", "\"x\"" },
        { { "x", (ak_field_kind)9, .array = &flat }, AK_ERR_VALUE, "kind 9", "\"x\"" },
        { { "x", AK_FIELD_VECTOR, .array = NULL }, AK_ERR_VALUE, ".array or .tensor", "NULL" },
        { { "x", AK_FIELD_VECTOR, .array = &hollow }, AK_ERR_VALUE, "no data", "\"x\"" },
        { { "", AK_FIELD_VECTOR, .array = &flat }, AK_ERR_VALUE, "name", "vector" },
        { { "x", AK_FIELD_LABELS, .array = &half }, AK_ERR_VALUE, "0.5", "whole numbers" },
        { { "x", AK_FIELD_TOKENS, .array = &w.a_token }, AK_ERR_VALUE, "-7", "from 0" },
        { { "x", AK_FIELD_TOKENS, .array = &w.a_token, .lengths = &high }, AK_ERR_VALUE,
          "length 6 of item 3", "[0, 5]" },
        { { "x", AK_FIELD_TOKENS, .array = &w.a_packed, .lengths = &w.a_steps, .packed = true },
          AK_ERR_SHAPE, "add up to 13", "19 steps" },
        { { "x", AK_FIELD_TOKENS, .array = &w.a_packed, .packed = true }, AK_ERR_VALUE, ".packed",
          ".lengths" },
        { { "x", AK_FIELD_VECTOR, .array = &w.a_vector, .lengths = &w.a_length }, AK_ERR_VALUE,
          ".lengths", "sequences" },
        { { "x", AK_FIELD_LABELS, .array = &w.a_label,
            .class_names = (const char *const[]){ "one", NULL } }, AK_ERR_VALUE, "fewer",
          ".class_names" },
        { { "x", AK_FIELD_VECTOR, .array = &flat, .pad = 3 }, AK_ERR_VALUE, ".pad", "tokens" },
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        cr_expect_null(ak_dataset_fields(ctx, "bad", (ak_field[]){ c[i].f, { 0 } }), "%zu", i);
        expect_error(ctx, c[i].status, c[i].word, c[i].other);
    }
    cr_expect_null(ak_dataset_fields(ctx, "bad", (ak_field[]){ { 0 } }));
    expect_error(ctx, AK_ERR_VALUE, "no fields", "bad");
    cr_expect_null(ak_dataset_fields(ctx, "bad", (ak_field[]){
        { "x", AK_FIELD_VECTOR, .array = &w.a_vector },
        { "x", AK_FIELD_NUMBERS, .array = &w.a_number }, { 0 } }));
    expect_error(ctx, AK_ERR_VALUE, "\"x\"", "field of that name");
    cr_expect_null(ak_dataset_fields(ctx, "bad", (ak_field[]){
        { "x", AK_FIELD_VECTOR, .array = &w.a_vector },
        { "y", AK_FIELD_VECTOR, .array = &flat }, { 0 } }));
    expect_error(ctx, AK_ERR_SHAPE, "30 items", "has 10");
    cr_expect_null(ak_dataset_callback(ctx, "bad", 3, (ak_field[]){
        { "x", AK_FIELD_PICTURE, .shape = AK_SHAPE(4, 4) }, { 0 } }, fill_item, NULL));
    expect_error(ctx, AK_ERR_SHAPE, "[4,4]", "[N, H, W, C]");
    cr_expect_null(ak_dataset_callback(ctx, "bad", 0, (ak_field[]){ { 0 } }, fill_item, NULL));
    expect_error(ctx, AK_ERR_VALUE, "0 items", "dataset_callback");
    ak_close(ctx);
}

/* What no batch can give is told, and what it gives instead does nothing. */
Test(fields, access_refusals)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = from_arrays(ctx);
    ak_batch    b, nothing = { 0 };
    cr_assert(ak_dataset_get(ds, 0, 4, &b));
    const ak_column *c = ak_batch_field(&b, "Caption");
    cr_expect(ak_is_poison(c->view[0]) && ak_is_poison(c->all) && c->ids[15] && c->lengths[0]);
    expect_error(ctx, AK_ERR_NOT_FOUND, "Caption", "photo, row, sound, caption, packed, class");
    ak_step_end(ctx);
    ak_batch_field(&b, "caption");
    expect_error(ctx, AK_ERR_STALE, "batch_field", "earlier step");
    ak_batch_field(&nothing, "caption");
    cr_expect_eq(ak_error(ctx), AK_ERR_STATE);
    ak_step_end(ctx);
    cr_assert(ak_dataset_get(ds, 0, 4, &b));
    ak_batch_need(&b, "caption", AK_FIELD_SEQUENCE);
    expect_error(ctx, AK_ERR_VALUE, "tokens, not sequence", "caption");
    ak_step_end(ctx);
    cr_assert(ak_dataset_get(ds, 0, 4, &b));
    cr_expect(ak_is_poison(ak_batch_views(&b, "caption", 0, 1)));
    expect_error(ctx, AK_ERR_VALUE, "caption", "no tensor");
    ak_step_end(ctx);
    cr_assert(ak_dataset_get(ds, 0, 4, &b));
    cr_expect(ak_is_poison(ak_batch_views(&b, NULL, 0, 2)));
    expect_error(ctx, AK_ERR_VALUE, "2 views from view 0", "has 1");
    cr_expect_not(ak_dataset_get(ds, 8, 4, &b));
    expect_error(ctx, AK_ERR_VALUE, "4 items from 8", "has 10");
    ak_close(ctx);
}
