/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of modules in files of other libraries: names by a map, axes, joined parts, and what is
 * said of a file that does not fit. */
#include "data_files.h"

#include <akin/autograd.h>
#include <akin/io.h>
#include <akin/weights.h>

static char folder[64];

static const char *file(const char *name)
{
    if (!*folder)
        new_folder(folder);
    return path_in(folder, name);
}

static void leave(ak_ctx *ctx)
{
    cr_expect_eq(ak_close(ctx), AK_OK);
    if (*folder)
        remove_folder(folder);
}

/* A file of arrays of floats 0, 1, 2, .. from `first` on. */
typedef struct made { const char *name; ak_shape shape; double first; } made;

static void write_file(ak_ctx *ctx, const char *path, bool npz, const made *arrays, int n)
{
    ak_array all[16];
    for (int i = 0; i < n; i++) {
        const int64_t size = ak_shape_size(arrays[i].shape);
        ak_real *values = calloc((size_t)size + 1, sizeof *values);
        for (int64_t k = 0; k < size; k++)
            values[k] = (ak_real)(arrays[i].first + (double)k);
        all[i] = (ak_array){ .name = arrays[i].name, .shape = arrays[i].shape, .size = size,
                             .type = AK_REAL_BITS == 64 ? AK_TYPE_F64 : AK_TYPE_F32,
                             .data = values };
    }
    cr_assert_eq(npz ? ak_npz_write_arrays(ctx, path, all, n, false)
                     : ak_safetensors_write_arrays(ctx, path, all, n, NULL), AK_OK,
                 "%s", ak_error_message(ctx));
    for (int i = 0; i < n; i++)
        free((void *)(uintptr_t)all[i].data);
}

static void expect_values(const ak_tensor *t, const double *values)
{
    for (int64_t i = 0; i < t->size; i++)
        cr_expect_eq((double)t->data[i], values[i], "%s[%d] is %g, not %g", t->name, (int)i,
                     (double)t->data[i], values[i]);
}

/* ---- without a map --------------------------------------------------------------------------- */

static ak_module *small_net(ak_ctx *ctx, const char *name)
{
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, name, NULL));
    ak_nn_conv2d(ctx, "conv", 3, 4, 2, (ak_conv_layer_options){ 0 });
    ak_nn_batch_norm(ctx, "bn", 4, (ak_batch_norm_options){ 0 });
    ak_nn_flatten(ctx, "flat");
    ak_nn_linear(ctx, "fc", 4, 2, (ak_linear_options){ 0 });
    return ak_module_end(net);
}

static ak_module *attention(ak_ctx *ctx)
{
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_nn_linear(ctx, "layer/0/qkv", 2, 6, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "layer/1/qkv", 2, 6, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "head", 6, 3, (ak_linear_options){ .no_bias = true });
    return ak_module_end(m);
}

Test(weights, names_and_axes_of_pytorch)
{
    ak_ctx *ctx = quiet();
    ak_module *a = small_net(ctx, "a"), *b = small_net(ctx, "b");
    ak_tensor *w = ak_module_find(a, "conv/weight");
    cr_assert_eq(ak_module_save_safetensors(a, file("net"), (ak_weight_map){ 0 }), AK_OK);
    ak_safetensors *f = ak_safetensors_open(ctx, file("net"));
    const ak_array *stored = ak_safetensors_find(f, "conv.weight");
    cr_assert_not_null(stored);
    cr_expect_not_null(ak_safetensors_find(f, "bn.running_mean"));
    cr_expect_eq(ak_safetensors_count(f), 8);
    cr_expect(ak_shape_equal(stored->shape, AK_SHAPE(4, 3, 2, 2)));
    for (int o = 0; o < 4; o++)
        for (int y = 0; y < 2; y++)
            for (int x = 0; x < 2; x++)
                for (int i = 0; i < 3; i++)
                    cr_expect_eq(ak_array_at(stored, ((o * 3 + i) * 2 + y) * 2 + x),
                                 ak_at(w, AK_SHAPE(o, y, x, i)));
    cr_assert_eq(ak_module_load_safetensors(b, file("net"), (ak_weight_map){ 0 }), AK_OK, "%s",
                 ak_error_message(ctx));
    for (int64_t i = 0; ak_module_param(a, i); i++)
        cr_expect(memcmp(ak_module_param(a, i)->data, ak_module_param(b, i)->data,
                         (size_t)ak_module_param(a, i)->size * sizeof(ak_real)) == 0);
    leave(ctx);
}

/* A convolution with 2 x 2 channels of 2 x 2 fits either order: the file says which it has. */
Test(weights, a_file_says_how_its_convolutions_lie)
{
    ak_ctx *ctx = quiet();
    ak_module *a = ak_nn_conv2d(ctx, "a", 2, 2, 2, (ak_conv_layer_options){ 0 });
    ak_module *b = ak_nn_conv2d(ctx, "b", 2, 2, 2, (ak_conv_layer_options){ 0 });
    const ak_tensor *wa = ak_module_find(a, "weight");
    ak_tensor *wb = ak_module_find(b, "weight");
    for (int layout = AK_CONV_FIRST; layout <= AK_CONV_LAST; layout++) {
        ak_module_save_safetensors(a, file("own"), (ak_weight_map){
            .convolutions = (ak_conv_layout)layout });
        ak_fill(wb, 0);
        ak_module_load_safetensors(b, file("own"), (ak_weight_map){ 0 });
        cr_expect_eq(memcmp(wa->data, wb->data, 16 * sizeof(ak_real)), 0);
        ak_module_load_safetensors(b, file("own"), (ak_weight_map){
            .convolutions = layout == AK_CONV_FIRST ? AK_CONV_LAST : AK_CONV_FIRST });
        expect_error(ctx, AK_ERR_FORMAT, "metadata", "AK_CONV_BY_FILE");
    }
    ak_module_save_npz(a, file("own.npz"));
    ak_fill(wb, 0);
    ak_module_load_npz(b, file("own.npz"));
    cr_expect_eq(memcmp(wa->data, wb->data, 16 * sizeof(ak_real)), 0, "npz: as it is");
    ak_module_save_npz_with(a, file("torch.npz"), (ak_weight_map){ .convolutions = AK_CONV_FIRST });
    ak_module_load_npz(b, file("torch.npz"));
    cr_expect_neq(memcmp(wa->data, wb->data, 16 * sizeof(ak_real)), 0);
    ak_module_load_npz_with(b, file("torch.npz"), (ak_weight_map){ .convolutions = AK_CONV_FIRST });
    cr_expect_eq(memcmp(wa->data, wb->data, 16 * sizeof(ak_real)), 0);
    cr_expect_eq(ak_error(ctx), AK_OK);
    remove_folder(folder);
    ak_close(ctx);
}

Test(weights, batch_counts_of_pytorch_are_passed_over)
{
    ak_ctx *ctx = quiet();
    ak_module *bn = ak_nn_batch_norm(ctx, "bn", 1, (ak_batch_norm_options){ 0 });
    const made arrays[] = { { "weight", AK_SHAPE(1), 5 }, { "bias", AK_SHAPE(1), 6 },
                            { "running_mean", AK_SHAPE(1), 7 }, { "running_var", AK_SHAPE(1), 8 },
                            { "num_batches_tracked", AK_SCALAR, 9 } };
    write_file(ctx, file("bn"), false, arrays, 5);
    cr_expect_eq(ak_module_load_safetensors(bn, file("bn"), (ak_weight_map){ 0 }), AK_OK);
    expect_values(ak_module_find(bn, "running_var"), (double[]){ 8 });
    leave(ctx);
}

/* ---- with a map ------------------------------------------------------------------------------ */

static const ak_weight_pair pairs[] = {
    { .file = "layer.*.self.{query,key,value}.*", .module = "layer/*/qkv/*" },
    { .file = "cls.weight", .module = "head/weight", .axes = "10" },
    { 0 } };
static const made bert[] = {
    { "bert.layer.0.self.query.weight", { 2, { 2, 2 } }, 0 },
    { "bert.layer.0.self.key.weight", { 2, { 2, 2 } }, 10 },
    { "bert.layer.0.self.value.weight", { 2, { 2, 2 } }, 20 },
    { "bert.layer.0.self.query.bias", { 1, { 2 } }, 30 },
    { "bert.layer.0.self.key.bias", { 1, { 2 } }, 40 },
    { "bert.layer.0.self.value.bias", { 1, { 2 } }, 50 },
    { "bert.layer.1.self.query.weight", { 2, { 2, 2 } }, 60 },
    { "bert.layer.1.self.key.weight", { 2, { 2, 2 } }, 70 },
    { "bert.layer.1.self.value.weight", { 2, { 2, 2 } }, 80 },
    { "bert.layer.1.self.query.bias", { 1, { 2 } }, 90 },
    { "bert.layer.1.self.key.bias", { 1, { 2 } }, 100 },
    { "bert.layer.1.self.value.bias", { 1, { 2 } }, 110 },
    { "bert.cls.weight", { 2, { 6, 3 } }, 0 } };
enum { BERT = sizeof bert / sizeof *bert };

Test(weights, joined_transposed_and_back)
{
    for (int npz = 0; npz < 2; npz++) {
        ak_ctx *ctx = quiet();
        ak_module *m = attention(ctx);
        const ak_weight_map map = { .pairs = pairs, .prefix = "bert." };
        write_file(ctx, file("bert"), npz, bert, BERT);
        cr_assert_eq(npz ? ak_module_load_npz_with(m, file("bert"), map)
                         : ak_module_load_safetensors(m, file("bert"), map), AK_OK, "%s",
                     ak_error_message(ctx));
        expect_values(ak_module_find(m, "layer/0/qkv/weight"),
                      (double[]){ 0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23 });
        expect_values(ak_module_find(m, "layer/1/qkv/bias"),
                      (double[]){ 90, 91, 100, 101, 110, 111 });
        expect_values(ak_module_find(m, "head/weight"),
                      (double[]){ 0, 3, 6, 9, 12, 15, 1, 4, 7, 10, 13, 16, 2, 5, 8, 11, 14, 17 });
        /* Back: the same arrays under the same names. */
        cr_assert_eq(npz ? ak_module_save_npz_with(m, file("back"), map)
                         : ak_module_save_safetensors(m, file("back"), map), AK_OK, "%s",
                     ak_error_message(ctx));
        ak_npz *z = npz ? ak_npz_open(ctx, file("back")) : NULL;
        ak_safetensors *s = npz ? NULL : ak_safetensors_open(ctx, file("back"));
        cr_expect_eq(npz ? ak_npz_count(z) : ak_safetensors_count(s), BERT);
        for (int i = 0; i < BERT; i++) {
            char name[80];
            snprintf(name, sizeof name, "%s", bert[i].name);
            for (char *c = name; npz && *c; c++)
                *c = *c == '.' ? '/' : *c;
            const ak_array *a = npz ? ak_npz_find(z, name) : ak_safetensors_find(s, name);
            cr_assert_not_null(a, "%s", name);
            cr_expect(ak_shape_equal(a->shape, bert[i].shape), "%s", name);
            for (int64_t k = 0; k < a->size; k++)
                cr_expect_eq(ak_array_at(a, k), bert[i].first + (double)k);
        }
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
    remove_folder(folder);
}

/* Parts of unequal size (fewer heads of keys), along the second axis, with other axes as well. */
Test(weights, shares_and_axes_of_parts)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 6, 2, (ak_linear_options){ .no_bias = true });
    ak_weight_pair pair[] = { { .file = "{q,k,v}", .module = "weight", .axes = "10", .axis = 1,
                                .shares = (int[]){ 4, 1, 1, 0 } }, { 0 } };
    write_file(ctx, file("gqa"), false, (const made[]){ { "q", AK_SHAPE(4, 2), 0 },
               { "k", AK_SHAPE(1, 2), 10 }, { "v", AK_SHAPE(1, 2), 20 } }, 3);
    cr_assert_eq(ak_module_load_safetensors(m, file("gqa"), (ak_weight_map){ .pairs = pair }),
                 AK_OK, "%s", ak_error_message(ctx));
    expect_values(ak_module_find(m, "weight"),
                  (double[]){ 0, 2, 4, 6, 10, 20, 1, 3, 5, 7, 11, 21 });
    ak_module_save_safetensors(m, file("back"), (ak_weight_map){ .pairs = pair });
    ak_safetensors *s = ak_safetensors_open(ctx, file("back"));
    cr_expect(ak_shape_equal(ak_safetensors_find(s, "q")->shape, AK_SHAPE(4, 2)));
    cr_expect_eq(ak_array_at(ak_safetensors_find(s, "q"), 7), 7);
    cr_expect_eq(ak_array_at(ak_safetensors_find(s, "v"), 1), 21);
    pair[0].shares = NULL;                  /* equal parts: the file has others */
    ak_module_load_safetensors(m, file("gqa"), (ak_weight_map){ .pairs = pair });
    expect_error(ctx, AK_ERR_FORMAT, "weight (\"q\"): another shape, [4,2] in the file, [2,2]",
                 "3 arrays");
    pair[0].shares = (int[]){ 4, 2, 1, 0 };
    ak_module_load_safetensors(m, file("gqa"), (ak_weight_map){ .pairs = pair });
    expect_error(ctx, AK_ERR_VALUE, "do not divide", "[2,6]");
    ak_close(ctx);
    remove_folder(folder);
}

Test(weights, stars_are_as_short_as_possible)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "m", NULL));
    ak_nn_layer_norm(ctx, "a/x/b/x/c", 1, 0);
    ak_module_end(m);
    const ak_weight_pair pair[] = { { .file = "*-*", .module = "*/x/*" }, { 0 } };
    write_file(ctx, file("f"), false, (const made[]){ { "a-b.x.c.weight", AK_SHAPE(1), 3 },
               { "a-b.x.c.bias", AK_SHAPE(1), 4 } }, 2);
    cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .pairs = pair }), AK_OK,
                 "%s", ak_error_message(ctx));
    expect_values(ak_module_find(m, "a/x/b/x/c/bias"), (double[]){ 4 });
    leave(ctx);
}

Test(weights, ignored_unexpected_missing_only)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 2, 1, (ak_linear_options){ 0 });
    ak_tensor *w = ak_module_find(m, "weight"), *b = ak_module_find(m, "bias");
    write_file(ctx, file("f"), false, (const made[]){ { "weight", AK_SHAPE(1, 2), 1 },
               { "bias", AK_SHAPE(3), 1 }, { "cls.bias", AK_SHAPE(1), 9 } }, 3);
    ak_fill(b, 7);
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .ignore = "cls.*" });
    expect_error(ctx, AK_ERR_FORMAT, "bias: another shape", "1 arrays");
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .ignore = "cls.*,bias" });
    expect_error(ctx, AK_ERR_FORMAT, "bias: missing", "1 arrays");
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .ignore = "bias",
                                                              .allow_missing = "bias" });
    expect_error(ctx, AK_ERR_FORMAT, "cls/bias: unexpected", "1 arrays");
    cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){
        .ignore = "bias", .allow_missing = "bias", .allow_unexpected = "cls/*" }), AK_OK);
    expect_values(w, (double[]){ 1, 2 });
    expect_values(b, (double[]){ 7 });
    ak_fill(w, 0);
    cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){
        .only = "weight", .allow_unexpected = "*bias" }), AK_OK, "%s", ak_error_message(ctx));
    expect_values(w, (double[]){ 1, 2 });
    cr_expect_eq(ak_module_save_safetensors(m, file("part"), (ak_weight_map){ .only = "bias" }),
                 AK_OK);
    cr_expect_eq(ak_safetensors_count(ak_safetensors_open(ctx, file("part"))), 1);
    /* Each may be missing, but not all: nothing would be loaded. */
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){
        .prefix = "bert.", .allow_missing = "*", .allow_unexpected = "*" });
    expect_error(ctx, AK_ERR_FORMAT, "not one of the 2 arrays of m", ".prefix");
    /* Patterns that fit nothing are errors, unless they say so. */
    const ak_weight_map none[] = { { .ignore = "dog*" }, { .allow_unexpected = "dog*" },
                                   { .allow_missing = "dog*" }, { .only = "dog*" } };
    for (int i = 0; i < 4; i++) {
        ak_module_load_safetensors(m, file("f"), none[i]);
        expect_error(ctx, AK_ERR_NOT_FOUND, "fits \"dog*\"", "bias");
    }
    cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){
        .only = "weight", .ignore = "~dog*,*bias" }), AK_OK);
    ak_close(ctx);
    remove_folder(folder);
}

/* ---- what does not fit ----------------------------------------------------------------------- */

Test(weights, everything_is_said_and_nothing_changed)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_module_begin(ak_nn_sequential(ctx, "m", NULL));
    ak_nn_linear(ctx, "a", 2, 3, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "b", 3, 3, (ak_linear_options){ 0 });
    ak_module_end(m);
    const uint32_t before = ak_hash(ctx, "*");
    const int64_t  whole[9] = { 0 };
    const ak_real  numbers[9] = { 1 };
    const ak_type  real = AK_REAL_BITS == 64 ? AK_TYPE_F64 : AK_TYPE_F32;
    const ak_array arrays[] = {
        { .name = "a.weight", .type = real, .shape = AK_SHAPE(2, 3), .size = 6, .data = numbers },
        { .name = "b.weight", .type = AK_TYPE_I64, .shape = AK_SHAPE(3, 3), .size = 9,
          .data = whole },
        { .name = "b.bias", .type = real, .shape = AK_SHAPE(3), .size = 3, .data = numbers },
        { .name = "c.bias", .type = real, .shape = AK_SHAPE(3), .size = 3, .data = numbers } };
    for (int npz = 0; npz < 2; npz++) {
        if (npz)
            ak_npz_write_arrays(ctx, file("f"), arrays, 4, false);
        else
            ak_safetensors_write_arrays(ctx, file("f"), arrays, 4, NULL);
        const ak_status status = npz
            ? ak_module_load_npz(m, file("f"))
            : ak_module_load_safetensors(m, file("f"), (ak_weight_map){ 0 });
        cr_expect_eq(status, AK_ERR_FORMAT);
        const char *text = ak_error_message(ctx);
        cr_expect(strstr(text, "a/weight: transposed, [2,3] in the file, [3,2] in the module"),
                  "%s", text);
        cr_expect(strstr(text, "a/bias: missing, [3]"), "%s", text);
        cr_expect(strstr(text, npz ? "b/weight: no floating-point numbers, i8 in the file"
                                   : "b/weight: no floating-point numbers, I64 in the file"),
                  "%s", text);
        cr_expect(strstr(text, "c/bias: unexpected"), "%s", text);
        expect_error(ctx, AK_ERR_FORMAT, "4 arrays", "does not fit m");
        cr_expect_eq(ak_hash(ctx, "*"), before);
    }
    ak_close(ctx);
    remove_folder(folder);
}

Test(weights, maps_that_are_wrong)
{
    ak_ctx *ctx = quiet();
    ak_module *m = attention(ctx);
    write_file(ctx, file("f"), false, bert, BERT);
    const struct { ak_weight_pair pair; const char *word; } wrong[] = {
        { { .file = "a.*", .module = "b" }, "stars" },
        { { .file = "a", .module = NULL }, "not complete" },
        { { .file = NULL, .module = "a" }, "not complete" },
        { { .file = "a", .module = "~" }, "not complete" },
        { { .file = "{a,b", .module = "c" }, "list" },
        { { .file = "{a,b}.{c,d}", .module = "c" }, "list" },
        { { .file = "a}", .module = "c" }, "list" },
        { { .file = "{a,,b}", .module = "c" }, "empty" },
        { { .file = "{1,2,3,4,5,6,7,8,9}", .module = "c" }, "8 parts" },
        { { .file = "a", .module = "b?" }, "sign" },
        { { .file = "a", .module = "b", .axes = "11" }, ".axes" },
        { { .file = "a", .module = "b", .axes = "1" }, ".axes" },
        { { .file = "a", .module = "b", .axes = "" }, ".axes" },
        { { .file = "a", .module = "b", .axes = "0123456" }, ".axes" },
        { { .file = "a", .module = "head/weight", .axes = "021" }, ".axes are of another number" },
        { { .file = "{a,b}", .module = "b", .axis = 6 }, ".axis" },
        { { .file = "{a,b}", .module = "head/weight", .axis = 2 }, "do not divide" },
        { { .file = "{a,b}", .module = "head/weight" }, "do not divide" },
        { { .file = "a", .module = "b", .shares = (int[]){ 1, 0 } }, ".shares" },
        { { .file = "{a,b}", .module = "b", .shares = (int[]){ 1, 0 } }, ".shares" },
        { { .file = "{a,b}", .module = "b", .shares = (int[]){ 1, 2, 3, 0 } }, ".shares" },
        { { .file = "{a,b}", .module = "b", .shares = (int[]){ 1, -2, 0 } }, ".shares" },
        { { .file = "a*a*a*a*a*a*a*a*a*", .module = "b*a*a*a*a*a*a*a*a*" }, "8 at most" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const ak_weight_pair list[] = { wrong[i].pair, { 0 } };
        cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .pairs = list }),
                     AK_ERR_VALUE, "%s", wrong[i].word);
        expect_error(ctx, AK_ERR_VALUE, wrong[i].word, "ak_module_load_safetensors");
    }
    const ak_weight_pair nothing[] = { pairs[0], { .file = "x.*", .module = "layers/*" }, { 0 } };
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .pairs = nothing });
    expect_error(ctx, AK_ERR_NOT_FOUND, "\"layers/*\"", "near are \"layer/0/qkv/");
    const ak_weight_pair hidden[] = { { .file = "*", .module = "*" }, pairs[1], { 0 } };
    ak_module_save_safetensors(m, file("g"), (ak_weight_map){ .pairs = hidden });
    expect_error(ctx, AK_ERR_VALUE, "an earlier pair fits", "cls.weight");
    const ak_weight_pair maybe[] = { pairs[0], pairs[1],
                                     { .file = "x.*", .module = "~layers/*" }, { 0 } };
    cr_expect_eq(ak_module_load_safetensors(m, file("f"), (ak_weight_map){
        .pairs = maybe, .prefix = "bert." }), AK_OK, "%s", ak_error_message(ctx));
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .convolutions = 7 });
    expect_error(ctx, AK_ERR_VALUE, ".convolutions = 7", "ak_conv_layout");
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .pairs = pairs });
    expect_error(ctx, AK_ERR_FORMAT, "does not fit", "more");       /* 26: not all are shown */
    ak_close(ctx);
    remove_folder(folder);
}

Test(weights, one_name_twice)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 1, 1, (ak_linear_options){ .no_bias = true });
    write_file(ctx, file("f"), false, (const made[]){ { "a.weight", AK_SHAPE(1, 1), 1 },
               { "a/weight", AK_SHAPE(1, 1), 2 } }, 2);
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ .prefix = "a." });
    expect_error(ctx, AK_ERR_FORMAT, "a.weight", "a/weight");
    ak_module *two = ak_module_begin(ak_nn_sequential(ctx, "two", NULL));
    ak_nn_linear(ctx, "a", 1, 1, (ak_linear_options){ .no_bias = true });
    ak_nn_linear(ctx, "b", 1, 1, (ak_linear_options){ .no_bias = true });
    ak_module_end(two);
    const ak_weight_pair same[] = { { .file = "w", .module = "a/weight" },
                                    { .file = "w", .module = "b/weight" }, { 0 } };
    ak_module_save_safetensors(two, file("g"), (ak_weight_map){ .pairs = same });
    expect_error(ctx, AK_ERR_VALUE, "\"w\" is given twice", "g");
    ak_close(ctx);
    remove_folder(folder);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static char warning[400];

static void keep_warning(void *user, ak_log_level level, const char *text)
{
    (void)user;
    if (level == AK_LOG_WARNING)
        snprintf(warning, sizeof warning, "%s", text);
}

Test(weights, half_precision_and_numbers_that_are_none)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7 });
    ak_on_error(ctx, NULL, NULL);
    ak_on_log(ctx, keep_warning, NULL);
    ak_module *m = ak_nn_linear(ctx, "m", 2, 2, (ak_linear_options){ 0 });
    static const char header[] = "{\"bias\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":"
        "[0,4]},\"weight\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[4,12]}}";
    const uint16_t half[] = { 0x4049, 0x7fc0, 0x3c00, 0xc000, 0x3555, 0x7bff };
    uint8_t bytes[256] = { sizeof header - 1 };
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(bytes + 8 + sizeof header - 1, half, sizeof half);
    put_file(file("half"), bytes, 8 + sizeof header - 1 + sizeof half);
    cr_expect_eq(ak_module_load_safetensors(m, file("half"), (ak_weight_map){ 0 }), AK_OK, "%s",
                 ak_error_message(ctx));
    expect_values(ak_module_find(m, "weight"), (double[]){ 1, -2, 0.333251953125, 65504 });
    const ak_tensor *b = ak_module_find(m, "bias");
    cr_expect((double)b->data[0] == 3.140625 && isnan((double)b->data[1]));
    cr_expect(strstr(warning, "not finite") && strstr(warning, "\"bias\""), "%s", warning);
    ak_module_save_safetensors(m, file("nan"), (ak_weight_map){ 0 });
    cr_expect(strstr(warning, "saved") && strstr(warning, "m/bias"), "%s", warning);
    leave(ctx);
}

Test(weights, a_double_beyond_floats)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 1, 1, (ak_linear_options){ 0 });
    ak_fill(ak_module_find(m, "weight"), 3);
    const ak_array arrays[] = {
        { .name = "weight", .type = AK_TYPE_F64, .shape = AK_SHAPE(1, 1), .size = 1,
          .data = (double[]){ 0.1 } },
        { .name = "bias", .type = AK_TYPE_F64, .shape = AK_SHAPE(1), .size = 1,
          .data = (double[]){ -1e300 } } };
    ak_safetensors_write_arrays(ctx, file("f"), arrays, 2, NULL);
    const ak_status status = ak_module_load_safetensors(m, file("f"), (ak_weight_map){ 0 });
    if (AK_REAL_BITS == 32) {
        cr_expect_eq(status, AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, "-1e+300", "\"bias\"");
        cr_expect_eq(ak_module_find(m, "weight")->data[0], 3);
    } else {
        cr_expect_eq(status, AK_OK);
        cr_expect_eq((double)ak_module_find(m, "weight")->data[0], 0.1);
    }
    ak_close(ctx);
    remove_folder(folder);
}

/* Backward refuses operands that a load has changed, and the module open or broken is refused. */
Test(weights, states_that_are_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "m", 2, 2, (ak_linear_options){ 0 });
    ak_module_save_safetensors(m, file("f"), (ak_weight_map){ 0 });
    ak_tensor *loss = ak_sum(ak_square(ak_forward(m, ak_require_grad(
        ak_randn(ctx, AK_SHAPE(3, 2))))));
    ak_module_load_safetensors(m, file("f"), (ak_weight_map){ 0 });
    ak_backward(loss);
    expect_error(ctx, AK_ERR_STATE, "ak_module_load_safetensors", "m/weight");
    ak_module *open = ak_module_begin(ak_nn_sequential(ctx, "open", NULL));
    ak_module_save_safetensors(m, file("g"), (ak_weight_map){ 0 });
    expect_error(ctx, AK_ERR_STATE, "still open", "open");
    ak_module_end(open);
    ak_module_save_safetensors(open, file("g"), (ak_weight_map){ 0 });
    expect_error(ctx, AK_ERR_VALUE, "no parameters", "open");
    ak_close(ctx);
    remove_folder(folder);
}
