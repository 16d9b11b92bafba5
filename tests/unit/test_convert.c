/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays from file to file, what a checkpoint holds, what a module costs. */
#include "data_files.h"

#include <akin/akin.h>

static char folder[64];

static const char *file(const char *name)
{
    if (!*folder)
        new_folder(folder);
    return path_in(folder, name);
}

static void leave(ak_ctx *ctx)
{
    ak_close(ctx);
    remove_folder(folder);
}

static void write_arrays(ak_ctx *ctx)
{
    const ak_array arrays[] = {
        { .name = "m.q", .type = AK_TYPE_F32, .shape = AK_SHAPE(1, 2), .size = 2,
          .data = (float[]){ 1, 2 } },
        { .name = "m.k", .type = AK_TYPE_F32, .shape = AK_SHAPE(2, 2), .size = 4,
          .data = (float[]){ 3, 4, 5, 6 } },
        { .name = "m.d", .type = AK_TYPE_F64, .shape = AK_SCALAR, .size = 1,
          .data = (double[]){ 0.1 } },
        { .name = "ids", .type = AK_TYPE_I64, .shape = AK_SHAPE(2), .size = 2,
          .data = (int64_t[]){ 7, -8 } } };
    cr_assert_eq(ak_safetensors_write_arrays(ctx, file("a.safetensors"), arrays, 4, NULL), AK_OK);
}

Test(convert, there_and_back)
{
    ak_ctx *ctx = quiet();
    write_arrays(ctx);
    cr_assert_eq(ak_weights_convert(ctx, file("a.safetensors"), file("b.npz"),
                                    (ak_weight_map){ 0 }, NULL), AK_OK);
    ak_npz *z = ak_npz_open(ctx, file("b.npz"));
    cr_expect_eq(ak_npz_count(z), 4);
    cr_expect_eq(ak_array_at(ak_npz_find(z, "m/d"), 0), 0.1, "a double stays one");
    cr_expect_eq(ak_array_at(ak_npz_find(z, "ids"), 1), -8);
    cr_expect_eq(ak_weights_convert(ctx, file("b.npz"), file("c.ckpt"), (ak_weight_map){ 0 },
                                    NULL), AK_ERR_UNSUPPORTED);
    expect_error(ctx, AK_ERR_UNSUPPORTED, "\"ids\"", ".ignore");
    cr_expect_not(ak_checkpoint_exists(file("c.ckpt")));
    cr_assert_eq(ak_weights_convert(ctx, file("b.npz"), file("c.ckpt"),
                                    (ak_weight_map){ .ignore = "ids" }, NULL), AK_OK);
    const ak_checkpoint_contents *c = ak_checkpoint_look(ctx, file("c.ckpt"));
    cr_assert_not_null(c, "%s", ak_error_message(ctx));
    cr_expect(!c->run && c->n == 3 && c->n_states == 0);
    cr_expect_str_eq(c->arrays[0].name, "m/d");
    cr_expect_eq(ak_array_at(&c->arrays[0], 0), 0.1);
    cr_assert_eq(ak_weights_convert(ctx, file("c.ckpt"), file("d.safetensors"),
                                    (ak_weight_map){ .prefix = "m." }, NULL), AK_OK);
    ak_safetensors *f = ak_safetensors_open(ctx, file("d.safetensors"));
    const char *value;
    cr_expect_eq(ak_safetensors_count(f), 3);
    cr_expect_eq(ak_array_at(ak_safetensors_find(f, "k"), 3), 6);
    cr_expect_str_eq(ak_safetensors_metadata(f, 0, &value), "convolutions");
    cr_expect_str_eq(value, "channels last");
    leave(ctx);
}

/* The file of weights is one that ak_load takes. */
Test(convert, a_checkpoint_that_a_program_loads)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_linear(ctx, "net/fc", 2, 3, (ak_linear_options){ 0 });
    ak_module_save_safetensors(m, file("m.safetensors"), (ak_weight_map){ .prefix = "net.fc." });
    const uint32_t before = ak_hash(ctx, "*");
    cr_assert_eq(ak_weights_convert(ctx, file("m.safetensors"), file("m.ckpt"),
                                    (ak_weight_map){ 0 }, NULL), AK_OK);
    ak_fill(ak_module_find(m, "weight"), 0);
    cr_expect_eq(ak_load(ctx, file("m.ckpt")), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_hash(ctx, "*"), before);
    leave(ctx);
}

Test(convert, pairs_axes_parts_and_the_list)
{
    ak_ctx *ctx = quiet();
    char    text[400] = "";
    write_arrays(ctx);
    FILE *list = fmemopen(text, sizeof text, "w");
    const ak_weight_pair pairs[] = {
        { .file = "m.{q,k}", .module = "all", .axes = "10", .axis = 1,
          .shares = (int[]){ 1, 2, 0 } },
        { .file = "m.*", .module = "rest.*" }, { 0 } };
    cr_assert_eq(ak_weights_convert(ctx, file("a.safetensors"), file("b.safetensors"),
                                    (ak_weight_map){ .pairs = pairs }, list), AK_OK, "%s",
                 ak_error_message(ctx));
    fclose(list);
    cr_expect(strstr(text, "m/q + m/k -> all  f4 [2,3]\n"), "%s", text);
    cr_expect(strstr(text, "m/d -> rest.d  f8 []\n"), "%s", text);
    ak_safetensors *f = ak_safetensors_open(ctx, file("b.safetensors"));
    const ak_array *a = ak_safetensors_find(f, "all");
    cr_assert_not_null(a);
    const double want[] = { 1, 3, 5, 2, 4, 6 };
    for (int i = 0; i < 6; i++)
        cr_expect_eq(ak_array_at(a, i), want[i]);
    leave(ctx);
}

Test(convert, refused)
{
    ak_ctx *ctx = quiet();
    write_arrays(ctx);
    const struct { ak_weight_pair pairs[3]; ak_status status; const char *word; } wrong[] = {
        { { { .file = "m.{q,k}", .module = "all" } }, AK_ERR_VALUE, "does not fit" },
        { { { .file = "m.{q,z}", .module = "all" } }, AK_ERR_VALUE, "part 2 of \"all\"" },
        { { { .file = "m.q", .module = "m.k" } }, AK_ERR_VALUE, "would both be \"m/k\"" },
        { { { .file = "m.q", .module = "x" }, { .file = "m.k", .module = "x" } }, AK_ERR_VALUE,
          "would both be \"x\"" },
        { { { .file = "m.q", .module = "x", .axes = "021" } }, AK_ERR_VALUE, "does not fit" },
        { { { .file = "m.zz", .module = "x" } }, AK_ERR_NOT_FOUND, "\"m/zz\"" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(ak_weights_convert(ctx, file("a.safetensors"), file("x.npz"),
                                        (ak_weight_map){ .pairs = wrong[i].pairs }, NULL),
                     wrong[i].status);
        expect_error(ctx, wrong[i].status, wrong[i].word, "ak_weights_convert");
    }
    ak_weights_convert(ctx, file("a.safetensors"), file("x.txt"), (ak_weight_map){ 0 }, NULL);
    expect_error(ctx, AK_ERR_VALUE, "x.txt ends with none", ".ckpt");
    ak_weights_convert(ctx, file("none"), file("x.npz"), (ak_weight_map){ 0 }, NULL);
    expect_error(ctx, AK_ERR_NOT_FOUND, "none", "no such file");
    ak_weights_convert(ctx, file("a.safetensors"), file("x.npz"), (ak_weight_map){
        .ignore = "dog" }, NULL);
    expect_error(ctx, AK_ERR_NOT_FOUND, "\"dog\"", "array of the file");
    cr_expect_eq(count_files(folder), 1, "nothing was written");
    leave(ctx);
}

/* Where a pair does not fit, eight stars must not try every way to share out a name. */
Test(convert, stars_cost_little, .timeout = 20)
{
    ak_ctx *ctx = quiet();
    char    name[700];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    ak_safetensors_write_arrays(ctx, file("a"), &(ak_array){ .name = name, .type = AK_TYPE_U8,
        .shape = AK_SHAPE(0) }, 1, NULL);
    const ak_weight_pair pairs[] = {
        { .file = "*a*a*a*a*a*a*a*b", .module = "~*a*a*a*a*a*a*a*b" }, { 0 } };
    cr_expect_eq(ak_weights_convert(ctx, file("a"), NULL, (ak_weight_map){
        .pairs = pairs }, NULL), AK_OK, "%s", ak_error_message(ctx));
    leave(ctx);
}

/* What is meant for modules would change nothing here, and neither would a prefix of no name. */
Test(convert, fields_of_the_map)
{
    ak_ctx *ctx = quiet();
    write_arrays(ctx);
    const struct { ak_weight_map map; ak_status status; const char *word; } wrong[] = {
        { { .only = "m*" }, AK_ERR_VALUE, ".only is for loading a module" },
        { { .allow_missing = "m*" }, AK_ERR_VALUE, ".allow_missing" },
        { { .allow_unexpected = "m*" }, AK_ERR_VALUE, ".allow_unexpected" },
        { { .prefix = "modle." }, AK_ERR_NOT_FOUND, "begins with .prefix \"modle.\"" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(ak_weights_convert(ctx, file("a.safetensors"), file("x.npz"), wrong[i].map,
                                        NULL), wrong[i].status);
        expect_error(ctx, wrong[i].status, wrong[i].word, "ak_weights_convert");
    }
    cr_expect_eq(count_files(folder), 1, "nothing was written");
    leave(ctx);
}

/* ---- what a file says of its convolutions ---------------------------------------------------- */

static const char *metadata_of(ak_ctx *ctx, const char *path, const char *key)
{
    ak_safetensors *f = ak_safetensors_open(ctx, path);
    const char *k, *value;
    for (int64_t i = 0; (k = ak_safetensors_metadata(f, i, &value)) != NULL; i++)
        if (strcmp(k, key) == 0)
            return value;
    return "none";
}

/* A file of PyTorch's order, turned by a pair, and back: a module takes each for what it is. */
Test(convert, convolutions_that_are_turned)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_conv2d(ctx, "m", 2, 2, 2, (ak_conv_layer_options){ 0 });
    const uint32_t before = ak_hash(ctx, "*");
    ak_module_save_safetensors(m, file("pt"), (ak_weight_map){ 0 });
    const ak_weight_pair to_last[] = {
        { .file = "weight", .module = "weight", .axes = "0231" }, { 0 } };
    const ak_weight_pair to_first[] = {
        { .file = "weight", .module = "weight", .axes = "0312" }, { 0 } };
    ak_weights_convert(ctx, file("pt"), file("own.safetensors"), (ak_weight_map){
        .pairs = to_last }, NULL);
    expect_error(ctx, AK_ERR_VALUE, "how convolutions lie", "AK_CONV_LAST");
    cr_expect_eq(count_files(folder), 1, "nothing was written");
    cr_assert_eq(ak_weights_convert(ctx, file("pt"), file("own.safetensors"), (ak_weight_map){
        .pairs = to_last, .convolutions = AK_CONV_LAST }, NULL), AK_OK);
    cr_assert_eq(ak_weights_convert(ctx, file("own.safetensors"), file("pt2.safetensors"),
        (ak_weight_map){ .pairs = to_first, .convolutions = AK_CONV_FIRST }, NULL), AK_OK);
    cr_assert_eq(ak_weights_convert(ctx, file("own.safetensors"), file("own2.safetensors"),
        (ak_weight_map){ 0 }, NULL), AK_OK);
    cr_expect_str_eq(metadata_of(ctx, file("own.safetensors"), "convolutions"), "channels last");
    cr_expect_str_eq(metadata_of(ctx, file("own.safetensors"), "format"), "pt", "it is kept");
    cr_expect_str_eq(metadata_of(ctx, file("own2.safetensors"), "convolutions"), "channels last");
    cr_expect_str_eq(metadata_of(ctx, file("pt2.safetensors"), "convolutions"), "channels first");
    const char *files[] = { "pt", "own.safetensors", "pt2.safetensors", "own2.safetensors" };
    for (int i = 0; i < 4; i++) {
        ak_fill(ak_module_find(m, "weight"), 0);
        cr_expect_eq(ak_module_load_safetensors(m, file(files[i]), (ak_weight_map){ 0 }), AK_OK,
                     "%s", ak_error_message(ctx));
        cr_expect_eq(ak_hash(ctx, "*"), before, "%s", files[i]);
    }
    leave(ctx);
}

/* Scalars and arrays without elements pass through all three formats. */
Test(convert, scalars_and_empty_arrays)
{
    ak_ctx *ctx = quiet();
    const ak_array arrays[] = {
        { .name = "s", .type = AK_TYPE_F32, .shape = AK_SCALAR, .size = 1,
          .data = (float[]){ 5 } },
        { .name = "e", .type = AK_TYPE_F32, .shape = AK_SHAPE(3, 0) } };
    ak_safetensors_write_arrays(ctx, file("a"), arrays, 2, NULL);
    const char *way[] = { "a", "b.npz", "c.ckpt", "d.safetensors" };
    for (int i = 1; i < 4; i++)
        cr_assert_eq(ak_weights_convert(ctx, file(way[i - 1]), file(way[i]), (ak_weight_map){ 0 },
                                        NULL), AK_OK, "%s", ak_error_message(ctx));
    ak_safetensors *f = ak_safetensors_open(ctx, file("d.safetensors"));
    const ak_array *e = ak_safetensors_find(f, "e"), *s = ak_safetensors_find(f, "s");
    cr_assert(e && s, "%s", ak_error_message(ctx));
    cr_expect(ak_shape_equal(e->shape, AK_SHAPE(3, 0)) && s->shape.n == 0);
    cr_expect_eq(ak_array_at(s, 0), 5);
    leave(ctx);
}

/* ---- what a checkpoint holds ----------------------------------------------------------------- */

Test(checkpoint, look)
{
    ak_ctx *ctx = quiet();
    int64_t done = 3;
    ak_nn_batch_norm(ctx, "bn", 2, (ak_batch_norm_options){ 0 });
    ak_adamw(ctx, "*", (ak_adamw_options){ 0 });
    ak_checkpoint_value(ctx, "done", &done);
    ak_checkpoint_save(ctx, file("run"));
    ak_ctx *other = quiet();                /* which has made nothing */
    const ak_checkpoint_contents *c = ak_checkpoint_look(other, file("run"));
    cr_assert_not_null(c, "%s", ak_error_message(other));
    cr_expect(c->run && c->n == 4 && c->n_states == 3);
    cr_expect_str_eq(c->arrays[3].name, "bn/weight");
    cr_expect_str_eq(c->states[0], "adamw *");
    cr_expect_str_eq(c->states[2], "value/done");
    cr_expect_eq(c->state_bytes[2], 8);
    put_file(file("bad"), "\x89" "AKIN\r\n\x1a", 8);
    cr_expect_null(ak_checkpoint_look(other, file("bad")));
    expect_error(other, AK_ERR_FORMAT, "shortened", "bad");
    ak_close(other);
    leave(ctx);
}

/* ---- what a module costs --------------------------------------------------------------------- */

/* linear 3 -> 4 of 2 rows: 2 * 2 * 3 * 4 FLOPs. The line of a part, and what it must have. */
static void expect_line(const char *text, const char *name, const char *result, const char *rest)
{
    const char *line = strstr(text, name);
    char        one[200] = "";
    cr_assert_not_null(line, "no %s in\n%s", name, text);
    memcpy(one, line, strcspn(line, "\n"));
    cr_expect(strstr(one, result), "no %s in %s", result, one);
    cr_expect(strstr(one, rest), "no \"%s\" in %s", rest, one);
}

Test(info, parts_results_and_work)
{
    ak_ctx *ctx = quiet();
    char    text[4000] = "";
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_nn_linear(ctx, "fc1", 3, 4, (ak_linear_options){ .no_bias = true });
    ak_module *same = ak_nn_linear(ctx, "same", 4, 4, (ak_linear_options){ .no_bias = true });
    ak_nn_batch_norm(ctx, "bn", 4, (ak_batch_norm_options){ 0 });
    ak_module_end(net);
    ak_module_add(net, same);
    const uint32_t before = ak_hash(ctx, "*");
    ak_tensor *x = ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 3)));
    const size_t   bytes = ak_memory_use(ctx).step_bytes;
    FILE *out = fmemopen(text, sizeof text, "w");
    cr_assert_eq(ak_module_info(net, (ak_inputs){ .x = x }, out), AK_OK, "%s",
                 ak_error_message(ctx));
    fclose(out);
    expect_line(text, "  fc1", "[2,4]", " 12        48 ");
    expect_line(text, "  same", "[2,4]", " 16       128 ");      /* two passes of 64 */
    expect_line(text, "  same", "x2", "x2");
    expect_line(text, "net ", "[2,4]", " 36 ");                 /* 12 + 16 + 8, shared ones once */
    cr_expect_eq(ak_hash(ctx, "*"), before, "running statistics stay");
    cr_expect(ak_is_training(ctx));
    cr_expect_eq(ak_memory_use(ctx).step_bytes, bytes, "its memory is given back");
    ak_module_info(net, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(2, 5)) }, stdout);
    expect_error(ctx, AK_ERR_SHAPE, "net/fc1", "[2,5]");
    cr_expect(ak_is_training(ctx));
    ak_tensor *y = ak_sum(ak_forward(net, ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 3)))));
    cr_expect_eq(ak_backward(y), AK_OK, "gradients are recorded again");
    ak_close(ctx);
}

/* ResNet-18 at 224 x 224 has 1.82e9 products (He et al. 2016, table 1: 1.8e9), two FLOPs each. */
Test(info, resnet_18)
{
    ak_ctx *ctx = quiet();
    char    text[16000] = "";
    ak_module *net = ak_resnet18(ctx, "net", (ak_resnet_options){ .stem = 7, .classes = 1000 });
    FILE *out = fmemopen(text, sizeof text, "w");
    ak_module_info(net, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(1, 224, 224, 3)) }, out);
    fclose(out);
    expect_line(text, "net ", "[1,1000]", " 11689512    3.65 G");
    expect_line(text, "unit2", "[1,56,56,64]", "M");
    cr_expect_eq(ak_close(ctx), AK_OK);
}
