/* SPDX-License-Identifier: Apache-2.0 */
/* Batches as inputs of modules: by kind and by name, the same for a loader's batch, features and
 * evaluation; what can not be an input is refused by name. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/eval.h>
#include <akin/inputs.h>
#include <akin/nn.h>

#include <string.h>

enum { N = 6, T = 3, S = 2 };

static uint8_t photo[N * 4];
static double  sound[N * T * 2], memory[N * S * 2], age[N];
static int64_t token[N * T], type[N * T], length[N], steps[N], class[N], who[N];

static ak_array array_of(ak_type type_, ak_shape shape, const void *data)
{
    return (ak_array){ .name = "memory", .type = type_, .shape = shape,
                       .size = ak_shape_size(shape), .data = data };
}

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *text)
{
    cr_expect_eq(ak_error(ctx), status, "%s: %s", text, ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), text) != NULL, "no \"%s\" in: %s", text,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* Six items; item i has 1 + i % 3 tokens and 1 + i % 2 steps of memory. */
static ak_dataset *pairs_of(ak_ctx *ctx)
{
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 4; k++)
            photo[i * 4 + k] = (uint8_t)(10 * i + k);
        for (int k = 0; k < T; k++) {
            token[i * T + k] = (i + 2 * k) % 5;
            type[i * T + k] = k % 2;
        }
        for (int k = 0; k < T * 2; k++)
            sound[i * T * 2 + k] = i + 0.25 * k;
        for (int k = 0; k < S * 2; k++)
            memory[i * S * 2 + k] = 1 + i - 0.5 * k;
        length[i] = 1 + i % 3;
        steps[i] = 1 + i % 2;
        class[i] = i % 2;
        who[i] = 100 + i;
        age[i] = 20 + i;
    }
    const ak_array photos = array_of(AK_TYPE_U8, AK_SHAPE(N, 2, 2, 1), photo),
                   tokens = array_of(AK_TYPE_I64, AK_SHAPE(N, T), token),
                   types = array_of(AK_TYPE_I64, AK_SHAPE(N, T), type),
                   sounds = array_of(AK_TYPE_F64, AK_SHAPE(N, T, 2), sound),
                   memories = array_of(AK_TYPE_F64, AK_SHAPE(N, S, 2), memory),
                   lengths = array_of(AK_TYPE_I64, AK_SHAPE(N), length),
                   step = array_of(AK_TYPE_I64, AK_SHAPE(N), steps),
                   classes = array_of(AK_TYPE_I64, AK_SHAPE(N), class),
                   ids = array_of(AK_TYPE_I64, AK_SHAPE(N), who),
                   ages = array_of(AK_TYPE_F64, AK_SHAPE(N), age);
    ak_dataset *ds = ak_dataset_fields(ctx, "pairs", (ak_field[]){
        { "photo", AK_FIELD_PICTURE, .array = &photos },
        { "caption", AK_FIELD_TOKENS, .array = &tokens, .lengths = &lengths },
        { "caption/types", AK_FIELD_TOKENS, .array = &types, .lengths = &lengths },
        { "caption/memory", AK_FIELD_SEQUENCE, .array = &memories, .lengths = &step },
        { "caption/source", AK_FIELD_ID, .array = &ids },
        { "sound", AK_FIELD_SEQUENCE, .array = &sounds, .lengths = &lengths },
        { "class", AK_FIELD_LABELS, .array = &classes },
        { "age", AK_FIELD_NUMBERS, .array = &ages },
        { 0 } });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    return ds;
}

/* A row an item that tells each input from the others, and padding from what counts. */
static ak_tensor *read_forward(ak_module *m, const ak_inputs *in)
{
    ak_ctx *ctx = ak_module_ctx(m);
    const int64_t n = in->ids->shape.dims[0], t = in->ids->shape.dims[1];
    const int64_t s = in->memory->shape.dims[1];
    ak_tensor *y = ak_zeros(ctx, AK_SHAPE(n, 3));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < in->lengths->data[i]; k++) {
            y->data[3 * i] += (ak_real)((k + 1) * in->ids->data[i * t + k]);
            y->data[3 * i + 1] += (ak_real)((k + 1) * in->types->data[i * t + k]);
        }
        for (int64_t k = 0; k < 2 * in->memory_lengths->data[i]; k++)
            y->data[3 * i + 2] += (ak_real)(k + 1) * in->memory->data[i * s * 2 + k];
    }
    return y;
}

static const ak_module_kind read_kind = {
    .name = "reader", .forward_with = read_forward,
    .needs = AK_IN_IDS | AK_IN_TYPES | AK_IN_LENGTHS | AK_IN_MEMORY | AK_IN_MEMORY_LENGTHS,
};

static void want_row(int i, double want[3])
{
    want[0] = want[1] = want[2] = 0;
    for (int k = 0; k < length[i]; k++) {
        want[0] += (double)((k + 1) * token[i * T + k]);
        want[1] += (double)((k + 1) * type[i * T + k]);
    }
    for (int k = 0; k < 2 * steps[i]; k++)
        want[2] += (k + 1) * memory[i * S * 2 + k];
}

Test(inputs, a_loaders_batch_and_features_read_the_same)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pairs_of(ctx);
    ak_module  *reader = ak_module_make(ctx, "reader", &read_kind);
    ak_loader  *loader = ak_loader_open(ds, (ak_loader_options){ .batch = 2 });
    int         rows = 0;
    for (ak_batch b; ak_loader_next(loader, &b); rows += (int)b.size, ak_step_end(ctx)) {
        ak_tensor *y = ak_forward_with(reader, ak_batch_inputs(&b, "caption", 0));
        cr_assert(!ak_is_poison(y), "%s", ak_error_message(ctx));
        for (int r = 0; r < b.size; r++) {
            double want[3];
            want_row(b.index->data[r], want);
            for (int k = 0; k < 3; k++)
                cr_expect_float_eq((double)y->data[3 * r + k], want[k], 1e-6);
        }
    }
    cr_expect_eq(rows, N);
    const ak_features_options o = { .batch = 4, .field = "caption" };
    ak_features *f = ak_features_open(reader, ds, o);
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    for (int i = 0; i < N; i++) {
        double want[3];
        want_row(i, want);
        for (int k = 0; k < 3; k++)
            cr_expect_float_eq((double)f->x[3 * i + k], want[k], 1e-6);
    }
    cr_expect_eq(ak_eval_knn(reader, ds, ds, (ak_knn_options){ .k = 1, .features = o }), 1);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(inputs, kinds_say_where_a_field_goes)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pairs_of(ctx);
    ak_batch    b;
    cr_assert(ak_dataset_get(ds, 0, N, &b), "%s", ak_error_message(ctx));
    ak_inputs in = ak_batch_inputs(&b, NULL, 0);
    cr_expect_eq(in.x, b.view[0], "the main field");
    cr_expect(!in.ids && !in.lengths && !in.memory && !in.types);
    in = ak_batch_inputs(&b, "sound", 0);
    cr_expect_eq(in.x, ak_batch_field(&b, "sound")->view[0]);
    cr_expect_eq(in.lengths, ak_batch_field(&b, "sound")->lengths[0]);
    in = ak_batch_inputs(&b, "age", 0);
    cr_expect_eq(in.x, ak_batch_field(&b, "age")->view[0]);
    in = ak_batch_inputs(&b, "caption", AK_ALL_VIEWS);
    cr_expect_eq(in.ids, ak_batch_field(&b, "caption")->all_ids);
    cr_expect_eq(in.memory_lengths, ak_batch_field(&b, "caption/memory")->all_lengths);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(inputs, views_go_together)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pairs_of(ctx);
    ak_loader  *loader = ak_loader_open(ds, (ak_loader_options){
        .batch = 4, .fields = (ak_field_views[]){ { .field = "caption", .views = 2 }, { 0 } } });
    ak_batch b;
    cr_assert(ak_loader_next(loader, &b), "%s", ak_error_message(ctx));
    ak_inputs in = ak_batch_inputs(&b, "caption", 1);
    cr_expect_eq(in.ids, ak_batch_field(&b, "caption")->ids[1]);
    cr_expect_eq(in.types, ak_batch_field(&b, "caption/types")->ids[0], "one view goes with all");
    in = ak_batch_inputs(&b, "caption", AK_ALL_VIEWS);
    expect_error(ctx, AK_ERR_VALUE, "\"caption/types\" has 1 view, the field it belongs to 2");
    cr_expect(ak_is_poison(in.x));
    cr_assert(ak_loader_endless(loader, &b), "%s", ak_error_message(ctx));
    ak_batch_inputs(&b, "caption", 2);
    expect_error(ctx, AK_ERR_VALUE, "view 2; field \"caption\" has 2");
    ak_close(ctx);
}

Test(inputs, what_is_no_input_is_named)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = pairs_of(ctx);
    ak_batch    b;
    ak_module  *reader = ak_module_make(ctx, "reader", &read_kind);
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "class", 0);
    expect_error(ctx, AK_ERR_VALUE, "field \"class\" holds labels or ids");
    ak_batch_inputs(&b, "photo", 0);
    expect_error(ctx, AK_ERR_STALE, "earlier step");
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "photo", -2);
    expect_error(ctx, AK_ERR_VALUE, "view -2");
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "words", 0);
    expect_error(ctx, AK_ERR_NOT_FOUND, "it has: photo, caption");
    ak_batch_inputs(&(ak_batch){ .ctx = ctx }, NULL, 0);
    expect_error(ctx, AK_ERR_STATE, "this is no batch");

    cr_expect_null(ak_features_open(reader, ds, (ak_features_options){ 0 }));
    expect_error(ctx, AK_ERR_VALUE, "reader (reader)");
    cr_expect_null(ak_features_open(NULL, ds, (ak_features_options){ .field = "sound" }));
    expect_error(ctx, AK_ERR_VALUE, "sequences are no rows of one length");
    cr_expect_null(ak_features_open(NULL, ds, (ak_features_options){ .field = "caption" }));
    expect_error(ctx, AK_ERR_VALUE, "tokens are no rows of one length");
    cr_assert_not_null(ak_features_open(NULL, ds, (ak_features_options){ .field = "age" }),
                       "%s", ak_error_message(ctx));

    ak_dataset_rename(ds, "caption/memory", "caption/mask");
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "caption", 0);
    expect_error(ctx, AK_ERR_VALUE, "\"caption/mask\" can not be input .mask, which takes tok");
    ak_dataset_rename(ds, "caption/mask", "caption/memry");
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "caption", 0);
    expect_error(ctx, AK_ERR_VALUE, "there is no input \"memry\"");
    ak_dataset_rename(ds, "caption/memry", "caption/memory");
    ak_dataset_rename(ds, "caption/types", "caption/ids");
    cr_assert(ak_dataset_get(ds, 0, N, &b));
    ak_batch_inputs(&b, "caption", 0);
    expect_error(ctx, AK_ERR_VALUE, ".ids is there already; field \"caption/ids\"");
    ak_close(ctx);
}
