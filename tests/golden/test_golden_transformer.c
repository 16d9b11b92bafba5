/* SPDX-License-Identifier: Apache-2.0 */
/* Attention modules, rotary positions, transformer layers, ViT, BERT and GPT-2 against PyTorch, timm
 * and transformers: outputs, gradients of inputs and of every parameter. Parameters are found by
 * their names in the file, with "." for "/". */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/transformer.h>

#include <stdlib.h>
#include <string.h>

#include "golden.h"

static ak_ctx *ctx;
static golden_file *file;
static int at;

static const char *key(const char *name) { return golden_key("c%d_%s", at, name); }
static bool has(const char *name) { return golden_has(file, key(name)); }
static double number(const char *name, double absent)
{
    return golden_number_or(file, key(name), absent);
}
static int whole(const char *name, int absent) { return (int)number(name, absent); }
static const char *text(const char *name) { return golden_text(file, key(name)); }
static ak_tensor *leaf(const char *name)
{
    return has(name) ? ak_require_grad(golden_tensor(ctx, file, key(name))) : NULL;
}

static void expect(const ak_real *got, const char *name)
{
    char msg[GOLDEN_MESSAGE];
    cr_assert(got, "%s: nothing to compare", key(name));
    cr_expect(golden_close(got, file, key(name), GOLDEN_TOL, msg), "%s", msg);
}

static void each_case(const char *name, void (*one)(void))
{
    file = golden_open(name);
    cr_assert(file, "no file %s", name);
    const int cases = golden_cases(file);
    cr_assert(cases > 0);
    for (at = 0; at < cases; at++) {
        ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
        ak_on_error(ctx, NULL, NULL);
        ak_train_mode(ctx, false);
        one();
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
    golden_free(file);
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* How a parameter lies in the file. */
typedef enum layout { AS_IT_IS, TURNED, PATCHES } layout;
typedef layout layout_fn(const char *name);

static layout as_it_is(const char *name)
{
    (void)name;
    return AS_IT_IS;
}

/* "p_..": the file's name of a tensor of the module called "net". */
static const char *their_name(const ak_tensor *t, const char *prefix)
{
    static char names[4][160];
    static int turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "%s%s", prefix, t->name + strlen("net/"));
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return name;
}

/* Place in the file of element i: a matrix I O for O I, a kernel O C h w for O (h w C). */
static int64_t their_place(const ak_tensor *t, layout l, int64_t i, const ak_shape theirs)
{
    const int64_t *d = t->shape.dims;
    if (l == TURNED)
        return i % d[1] * d[0] + i / d[1];
    if (l == AS_IT_IS)
        return i;
    const int64_t C = theirs.dims[1], hw = theirs.dims[2] * theirs.dims[3];
    const int64_t o = i / (hw * C), place = i % (hw * C);
    return (o * C + place % C) * hw + place / C;
}

static void import(const ak_module *net, layout_fn *lies)
{
    ak_tensor *t;
    int count = 0;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++, count++) {
        const char *name = their_name(t, "p_");
        cr_assert(has(name), "%s: not in the file", name);
        cr_assert_eq(golden_size(file, key(name)), t->size, "%s", name);
        const double *values = golden_values(file, key(name));
        const ak_shape shape = golden_shape(file, key(name));
        for (int64_t j = 0; j < t->size; j++)
            t->data[j] = (ak_real)values[their_place(t, lies(name), j, shape)];
        ak_touch(t);
    }
    int there = 0;
    const char *prefix = key("p_");
    for (int i = 0; golden_name(file, i); i++)
        there += strncmp(golden_name(file, i), prefix, strlen(prefix)) == 0;
    cr_expect_eq(there, count, "%d of %d parameters of the file", count, there);
}

static void expect_parameter_gradients(const ak_module *net, layout_fn *lies)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++) {
        const char *name = their_name(t, "gp_");
        const ak_shape shape = golden_shape(file, key(name));
        ak_real *theirs = malloc((size_t)t->size * sizeof *theirs);
        for (int64_t j = 0; j < t->size; j++)
            theirs[their_place(t, lies(name), j, shape)] = t->grad[j];
        expect(theirs, name);
        free(theirs);
    }
}

static void expect_output(ak_tensor *y)
{
    cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
    expect(y->data, "y");
    const ak_tensor *gy = golden_tensor(ctx, file, key("gy"));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
}

static ak_module *usable(ak_module *net)
{
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    return net;
}

/* ---- rotary, attention ----------------------------------------------------------------------- */

static void rotary_case(void)
{
    ak_tensor *x = leaf("x");
    const char *layout_name = text("opt_layout");
    const bool split = strcmp(layout_name, "half-split") == 0;
    cr_assert(split || strcmp(layout_name, "interleaved") == 0, "layout %s", layout_name);
    expect_output(ak_rotary(x, (ak_rotary_options){ .base = number("opt_base", 0),
                                                    .interleaved = !split }));
    expect(x->grad, "gx");
}

static void multihead_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2");
    const int64_t width = x->shape.dims[2], memory = x2 ? x2->shape.dims[2] : width;
    ak_module *net = usable(ak_nn_attention(ctx, "net", width, (ak_attention_layer_options){
        .heads = whole("opt_heads", 1), .cross = x2 != NULL,
        .memory_width = memory != width ? (int)memory : 0,
        .no_bias = !has("p_in_proj_bias") }));
    import(net, as_it_is);
    expect_output(ak_forward_with(net, (ak_inputs){ .x = x, .memory = x2 }));
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, rotary) { each_case("layer-rotary", rotary_case); }
Test(golden, multihead_module) { each_case("layer-multihead", multihead_case); }

/* ---- transformer layers ---------------------------------------------------------------------- */

static void transformer_layer_case(void)
{
    ak_tensor *x = leaf("x"), *x2 = leaf("x2");
    const ak_shape hidden = golden_shape(file, key("p_linear1.weight"));
    ak_module *net = usable(ak_nn_transformer_block(ctx, "net", x->shape.dims[2],
                                                    (ak_block_options){
        .heads = whole("opt_heads", 1), .hidden = (int)hidden.dims[0], .activation = AK_GELU,
        .post_norm = whole("opt_norm_first", 0) == 0, .cross = x2 != NULL,
        .causal = strstr(text("opt_kind"), "causal") != NULL }));
    import(net, as_it_is);
    expect_output(ak_forward_with(net, (ak_inputs){ .x = x, .memory = x2 }));
    expect(x->grad, "gx");
    if (x2)
        expect(x2->grad, "gx2");
    expect_parameter_gradients(net, as_it_is);
}

Test(golden, transformer_layers) { each_case("model-transformer-layer", transformer_layer_case); }
