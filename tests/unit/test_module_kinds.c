/* SPDX-License-Identifier: Apache-2.0 */
/* Modules beyond a function of x: several inputs, names that nest, copies, units, files. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/eval.h>
#include <akin/io.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static bool same(const ak_tensor *a, const ak_tensor *b)
{
    return a->size == b->size && memcmp(a->data, b->data, (size_t)a->size * sizeof *a->data) == 0;
}

/* The pending error is this one and says this; the step ends. */
static void expect_error(ak_ctx *ctx, ak_status status, const char *text)
{
    cr_expect_eq(ak_error(ctx), status, "%s: %s", text, ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), text) != NULL, "no \"%s\" in: %s", text,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

/* ---- modules with several inputs ------------------------------------------------------------- */

static ak_tensor *embed_forward(ak_module *m, const ak_inputs *in)
{
    return ak_embedding(ak_module_param(m, 0), in->ids, AK_NONE);
}

/* x times how many positions count, so that a lost array of lengths is seen. */
static ak_tensor *count_forward(ak_module *m, const ak_inputs *in)
{
    (void)m;
    double sum = 0;
    for (int64_t i = 0; in->lengths && i < in->lengths->size; i++)
        sum += in->lengths->data[i];
    return ak_scale(in->x, sum);
}

static const ak_module_kind embed_kind = { .name = "embedding", .forward_with = embed_forward,
                                           .needs = AK_IN_IDS };
static const ak_module_kind count_kind = { .name = "count", .forward_with = count_forward,
                                           .needs = AK_IN_X, .takes = AK_IN_LENGTHS };

/* embed -> residual(count) -> fc: ids, then lengths two containers deep. */
static ak_module *text_encoder(ak_ctx *ctx)
{
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "text", NULL));
    ak_module *e = ak_module_make(ctx, "embed", &embed_kind);
    ak_init_fill(ak_module_add_param(e, "weight", AK_SHAPE(5, 4), 0), (ak_init){ 0 });
    ak_module *r = ak_module_begin(ak_nn_residual(ctx, "res", NULL, NULL, AK_IDENTITY));
    ak_module_make(ctx, "count", &count_kind);
    ak_module_end(r);
    ak_nn_linear(ctx, "fc", 4, 3, (ak_linear_options){ 0 });
    return ak_module_end(net);
}

static ak_inputs three_sequences(ak_ctx *ctx)
{
    return (ak_inputs){ .ids = ak_index_from(ctx, AK_SHAPE(3, 2), (int32_t[]){ 0, 1, 2, 3, 4, 0 }),
                        .lengths = ak_index_from(ctx, AK_SHAPE(3), (int32_t[]){ 2, 1, 2 }) };
}

Test(inputs, pass_through_containers)
{
    ak_ctx *ctx = quiet();
    ak_module *net = text_encoder(ctx);
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_module_takes(net), AK_IN_X | AK_IN_IDS | AK_IN_LENGTHS);
    const ak_inputs in = three_sequences(ctx);
    ak_tensor *x = ak_embedding(ak_param_find(ctx, "text/embed/weight"), in.ids, AK_NONE);
    ak_tensor *want = ak_linear(ak_add(ak_scale(x, 5), x), ak_param_find(ctx, "text/fc/weight"),
                                ak_param_find(ctx, "text/fc/bias"));
    ak_tensor *got = ak_forward_with(net, in);
    cr_assert(!ak_is_poison(got), "%s", ak_error_message(ctx));
    cr_expect(same(got, want));
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(inputs, what_does_not_fit_names_field_and_path)
{
    ak_ctx *ctx = quiet();
    ak_module *net = text_encoder(ctx);
    ak_module *conv = ak_nn_conv2d(ctx, "net/conv", 1, 2, 3, (ak_conv_layer_options){ 0 });
    ak_inputs in = three_sequences(ctx);
    in.x = ak_zeros(ctx, AK_SHAPE(1, 4, 4, 1));
    in.ids = NULL;
    ak_forward_with(conv, in);
    expect_error(ctx, AK_ERR_VALUE, "net/conv (conv2d 3, 1 -> 2, stride 1): is handed .lengths, "
                 "which it does not take; it takes .x");
    ak_forward_with(net, (ak_inputs){ .lengths = three_sequences(ctx).lengths });
    expect_error(ctx, AK_ERR_VALUE, "text/embed (embedding): .ids is missing");
    ak_forward(net, ak_zeros(ctx, AK_SHAPE(2, 4)));
    expect_error(ctx, AK_ERR_VALUE, "text/embed (embedding): is handed .x, which it does not take");
    in = three_sequences(ctx);
    in.memory = ak_zeros(ctx, AK_SHAPE(1));
    ak_forward_with(net, in);
    expect_error(ctx, AK_ERR_VALUE, "text (sequential): is handed .memory");
    ak_forward_with(net, (ak_inputs){ 0 });
    expect_error(ctx, AK_ERR_VALUE, ".ids is missing; it is handed nothing");
    in = three_sequences(ctx);
    ak_step_end(ctx);
    ak_forward_with(net, in);
    expect_error(ctx, AK_ERR_STALE, "earlier step");
    ak_ctx *other = quiet();
    ak_forward_with(net, three_sequences(other));
    expect_error(ctx, AK_ERR_CONTEXT, "input .ids belongs to another context");
    in.lengths = ak_index_from(ctx, AK_SHAPE(-1), NULL);
    in.ids = three_sequences(ctx).ids;
    ak_step_end(ctx);
    ak_forward_with(net, (ak_inputs){ .ids = three_sequences(ctx).ids, .lengths = in.lengths });
    expect_error(ctx, AK_ERR_STATE, "input .lengths");
    ak_close(other);
    ak_close(ctx);
}

static ak_inputs inputs_of_items(ak_dataset *ds, int64_t start, int64_t count, void *user)
{
    ak_ctx *ctx = ak_dataset_ctx(ds);
    const int32_t *ids = user;
    int32_t ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    return (ak_inputs){ .ids = ak_index_from(ctx, AK_SHAPE(count, 2), ids + 2 * start),
                        .lengths = ak_index_from(ctx, AK_SHAPE(count), ones) };
}

Test(inputs, features_and_evaluation)
{
    ak_ctx *ctx = quiet();
    ak_module *net = text_encoder(ctx);
    int32_t ids[] = { 0, 1, 2, 3, 4, 0, 0, 0 }, label[] = { 0, 1, 0, 1 };
    ak_dataset *ds = ak_dataset_tensor(ctx, ak_zeros(ctx, AK_SHAPE(4, 1)), label);
    const ak_features_options o = { .batch = 4, .inputs = inputs_of_items, .user = ids };
    ak_features *f = ak_features_open(net, ds, o);
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    const ak_tensor *want = ak_forward_with(net, inputs_of_items(ds, 0, 4, ids));
    cr_expect_eq(memcmp(f->x, want->data, 24 * sizeof(ak_real)), 0);
    cr_expect_eq(ak_eval_knn(net, ds, ds, (ak_knn_options){ .k = 1, .features = o }), 1);
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    ak_eval_knn_on(f, f, (ak_knn_options){ .k = 1, .features = o });
    expect_error(ctx, AK_ERR_VALUE, ".features is given");
    ak_eval_linear_on(f, f, (ak_linear_probe_options){ .features = o });
    expect_error(ctx, AK_ERR_VALUE, ".features is given");
    cr_expect_null(ak_features_open(NULL, ds, o));
    expect_error(ctx, AK_ERR_VALUE, ".inputs without an encoder");
    ak_close(ctx);
}

/* ---- names ----------------------------------------------------------------------------------- */

Test(names, nest_and_explicit_paths_stay)
{
    ak_ctx *ctx = quiet();
    ak_module *outer = ak_module_begin(ak_nn_sequential(ctx, "outer", NULL));
    ak_module *inner = ak_module_begin(ak_nn_sequential(ctx, "inner", NULL));
    ak_nn_linear(ctx, "fc", 4, 4, (ak_linear_options){ 0 });
    ak_module_end(inner);
    ak_mlp(ctx, "mlp", (int[]){ 4, 3, 2, 0 });
    ak_module *body = ak_nn_linear(ctx, "body", 2, 2, (ak_linear_options){ 0 });
    ak_module *res = ak_nn_residual(ctx, "res", body, NULL, AK_RELU);
    outer = ak_module_end(outer);
    cr_assert_not_null(outer, "%s", ak_error_message(ctx));
    cr_expect_str_eq(ak_module_name(inner), "outer/inner");
    cr_expect_not_null(ak_param_find(ctx, "outer/inner/fc/weight"));
    cr_expect_not_null(ak_param_find(ctx, "outer/mlp/fc2/bias"));
    cr_expect_not_null(ak_module_find(outer, "body/weight"), "made in outer, moved into res");
    cr_expect_eq(ak_module_child(outer, 2), res);
    cr_expect_null(ak_module_child(outer, 3));
    cr_expect_eq(ak_module_child(res, 0), body);
    cr_expect_eq(ak_freeze(ctx, "outer/inner/*", true), 2);
    ak_module *top = ak_nn_linear(ctx, "outer/late", 2, 2, (ak_linear_options){ 0 });
    cr_expect_str_eq(ak_module_name(top), "outer/late");
    cr_expect_eq(ak_forward(outer, ak_zeros(ctx, AK_SHAPE(1, 4)))->size, 2);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

/* A part that is made two levels further out moves all the same: it runs once. */
Test(names, parts_move_into_containers)
{
    ak_ctx *ctx = quiet();
    ak_module *outer = ak_module_begin(ak_nn_sequential(ctx, "outer", NULL));
    ak_module *fc = ak_nn_linear(ctx, "fc", 3, 3, (ak_linear_options){ 0 });
    ak_module *inner = ak_module_begin(ak_nn_sequential(ctx, "inner", NULL));
    ak_nn_sequential(ctx, "list", (ak_module *[]){ fc, NULL });
    ak_module_end(inner);
    outer = ak_module_end(outer);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 3));
    cr_expect(same(ak_forward(outer, x), ak_forward(fc, x)));
    cr_expect_eq(ak_module_child(outer, 0), inner);
    cr_expect_str_eq(ak_module_name(fc), "outer/fc");
    cr_assert_eq(ak_close(ctx), AK_OK);
}

/* The numbers of a parameter are those of its whole name, however that came about. */
Test(names, decide_the_numbers)
{
    ak_ctx *a = quiet(), *b = quiet();
    ak_module *net = ak_module_begin(ak_nn_sequential(a, "net", NULL));
    ak_nn_linear(a, "fc", 4, 3, (ak_linear_options){ 0 });
    ak_module_end(net);
    ak_nn_linear(b, "net/fc", 4, 3, (ak_linear_options){ 0 });
    cr_expect_eq(ak_hash(a, "*"), ak_hash(b, "*"));
    ak_close(a);
    ak_close(b);
}

Test(names, that_no_pattern_reaches_are_refused)
{
    ak_ctx *ctx = quiet();
    static const char *const bad[] = { "", "a*", "a?", "a,b", "!a", "a!b", "~a", "a//b", "/a", "a/",
                                       "a\nb", "a\x7f" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_nn_dropout(ctx, bad[i], 0.1), "module \"%s\"", bad[i]);
        expect_error(ctx, AK_ERR_VALUE, "the name");
        cr_expect(ak_is_poison(ak_param(ctx, bad[i], AK_SHAPE(2), 0)), "param \"%s\"", bad[i]);
        expect_error(ctx, AK_ERR_VALUE, "the name");
    }
    static const char *const good[] = { "a b", "a.b-c_d+e", "a/b/0", "[x]", "\xc3\xa4" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect(!ak_is_poison(ak_param(ctx, good[i], AK_SHAPE(2), 0)), "%s", good[i]);
        cr_expect_eq(ak_freeze(ctx, good[i], true), 1, "a pattern reaches %s", good[i]);
    }
    ak_close(ctx);
}

Test(names, begin_and_end_that_do_not_match)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_nn_sequential(ctx, "net", NULL);
    ak_module *fc = ak_nn_linear(ctx, "fc", 2, 2, (ak_linear_options){ 0 });
    ak_forward(net, ak_zeros(ctx, AK_SHAPE(1, 2)));
    expect_error(ctx, AK_ERR_VALUE, "net (sequential): has no parts");
    ak_module_end(net);
    expect_error(ctx, AK_ERR_STATE, "net is not open");
    ak_module_begin(net);
    ak_forward(fc, ak_zeros(ctx, AK_SHAPE(1, 2)));
    expect_error(ctx, AK_ERR_STATE, "the module net is still open");
    ak_module_clone(fc, "copy");
    expect_error(ctx, AK_ERR_STATE, "the module net is still open");
    ak_module_save_npz(fc, "never.npz");
    expect_error(ctx, AK_ERR_STATE, "the module net is still open");
    ak_module_begin(net);
    expect_error(ctx, AK_ERR_STATE, "is open already");
    ak_module *a = ak_nn_dropout(ctx, "a", 0.5);
    ak_module_add(net, a);
    expect_error(ctx, AK_ERR_VALUE, "net/a is a part of net already");
    ak_nn_dropout(ctx, "a", 0.5);
    expect_error(ctx, AK_ERR_VALUE, "net/a: the name is used already");
    ak_module *inner = ak_module_begin(ak_nn_sequential(ctx, "inner", NULL));
    cr_expect_null(ak_module_end(net));
    expect_error(ctx, AK_ERR_STATE, "net/inner inside of net is still open");
    ak_forward(net, ak_zeros(ctx, AK_SHAPE(1, 2)));
    expect_error(ctx, AK_ERR_STATE, "net is not complete");
    ak_forward(inner, ak_zeros(ctx, AK_SHAPE(1, 2)));
    expect_error(ctx, AK_ERR_STATE, "net/inner is not complete");
    cr_expect_not_null(ak_forward(fc, ak_zeros(ctx, AK_SHAPE(1, 2))));
    cr_expect_eq(ak_error(ctx), AK_OK, "all are closed");
    ak_close(ctx);
}

/* ---- modules of one's own, and copies -------------------------------------------------------- */

typedef struct gate { ak_module *value, *gate; double factor; } gate;

static void gate_bind(ak_module *m)
{
    gate *g = ak_module_user(m);
    g->value = ak_module_child(m, 0);
    g->gate = ak_module_child(m, 1);
}

static ak_tensor *gate_forward(ak_module *m, ak_tensor *x)
{
    const gate *g = ak_module_user(m);
    ak_tensor *value = ak_forward(g->value, x);
    return ak_scale(ak_mul(value, ak_sigmoid(ak_forward(g->gate, x))), g->factor);
}

static const ak_module_kind gate_kind = { .name = "gate", .state_bytes = sizeof(gate),
                                          .forward = gate_forward, .bind = gate_bind };
static const ak_module_kind unbound_kind = { .name = "gate", .state_bytes = sizeof(gate),
                                             .forward = gate_forward };

static ak_module *gated(ak_ctx *ctx, const char *name, const ak_module_kind *kind)
{
    ak_module *m = ak_module_begin(ak_module_make(ctx, name, kind));
    gate *g = ak_module_user(m);
    g->factor = 2;
    g->value = ak_nn_linear(ctx, "value", 4, 4, (ak_linear_options){ 0 });
    g->gate = ak_nn_linear(ctx, "gate", 4, 4, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

/* Every kind of the library and one of one's own, a part named elsewhere, and one that stands
 * twice. x [N, 6, 6, 2] -> [N, 4] */
static ak_module *everything(ak_ctx *ctx)
{
    ak_module *apart = ak_nn_linear(ctx, "apart", 4, 4, (ak_linear_options){ .relu = true });
    ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
    ak_nn_conv2d_transposed(ctx, "up", 2, 2, 1, (ak_conv_layer_options){ 0 });
    ak_nn_group_norm(ctx, "gn", 2, 2, 0);
    ak_nn_max_pool2d(ctx, "max", (ak_pool_options){ 2, 1, 1 });
    ak_nn_avg_pool2d(ctx, "avg", (ak_pool_options){ 2, 1, 0 });
    ak_resnet18(ctx, "resnet", (ak_resnet_options){ .channels = 2, .width = 2, .map = true });
    ak_nn_adaptive_avg_pool2d(ctx, "adaptive", 1, 2);
    ak_convnet(ctx, "convnet", (ak_convnet_options){ .channels = { 16, 3 }, .map = true });
    ak_nn_global_avg_pool(ctx, "global");
    ak_mlp_with(ctx, "mlp", (int[]){ 3, 6, 4, 0 }, (ak_mlp_options){
        .batch_norm = true, .dropout = 0.2, .activation = AK_GELU });
    ak_nn_layer_norm(ctx, "ln", 4, 0);
    gated(ctx, "gate", &gate_kind);
    ak_nn_rms_norm(ctx, "rms", 4, 0);
    ak_module *r = ak_module_begin(ak_nn_residual(ctx, "res", NULL, NULL, AK_TANH));
    ak_nn_linear(ctx, "body", 4, 4, (ak_linear_options){ .no_bias = true });
    ak_module_end(r);
    ak_nn_flatten(ctx, "flat");
    ak_nn_l2_normalize(ctx, "unit");
    net = ak_module_end(net);
    ak_module_add(net, apart);
    ak_module_add(net, apart);
    return net;
}

Test(clone, of_every_kind)
{
    ak_ctx *ctx = quiet();
    ak_module *net = everything(ctx);
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(8, 6, 6, 2)));
    ak_forward(net, x);                                     /* buffers move */
    ak_step_end(ctx);
    ak_module *copy = ak_module_clone(net, "teacher");
    cr_assert_not_null(copy, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_module_size(copy), ak_module_size(net));
    ak_tensor *t, *c;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++) {
        c = ak_module_param(copy, i);
        cr_assert(c && c != t && same(c, t), "%s", t->name);
        cr_expect_eq(strncmp(c->name, "teacher/", 8), 0, "%s", c->name);
        cr_expect(!c->needs_grad, "%s is frozen", c->name);
        cr_expect_eq(t->flags & (AK_PARAM_BUFFER | AK_PARAM_NO_DECAY),
                     c->flags & (AK_PARAM_BUFFER | AK_PARAM_NO_DECAY));
    }
    cr_expect_not_null(ak_param_find(ctx, "teacher/apart/weight"));
    cr_expect_not_null(ak_param_find(ctx, "teacher/gate/value/weight"));
    cr_expect_eq(ak_module_child(copy, 15), ak_module_child(copy, 16), "one part, twice");
    ak_train_mode(ctx, false);
    cr_expect(same(ak_forward(net, x), ak_forward(copy, x)));
    ak_fill(ak_param_find(ctx, "net/gate/value/weight"), 9);
    cr_expect(!same(ak_forward(net, x), ak_forward(copy, x)), "weights are its own");
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(clone, and_ema_know_each_other)
{
    ak_ctx *ctx = quiet();
    ak_module *net = everything(ctx), *copy = ak_module_clone(net, "teacher");
    cr_assert_not_null(copy, "%s", ak_error_message(ctx));
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
        ak_fill(t, 4);
    cr_expect_eq(ak_ema_update(ctx, "teacher", "net", 0), AK_OK, "%s", ak_error_message(ctx));
    for (int64_t i = 0; (t = ak_module_param(copy, i)) != NULL; i++)
        cr_expect_eq(t->data[t->size - 1], 4, "%s", t->name);
    cr_expect_eq(ak_ema_update(ctx, "teacher", "apart", 0), AK_ERR_NOT_FOUND, "of another module");
    ak_close(ctx);
}

Test(clone, that_can_not_be_is_refused)
{
    ak_ctx *ctx = quiet();
    gate state = { 0 };
    ak_module *m = ak_module_new(ctx, "new", gate_forward, &state);
    cr_expect_null(ak_module_clone(m, "copy"));
    expect_error(ctx, AK_ERR_VALUE, "new can not be copied: its user pointer");
    m = gated(ctx, "unbound", &unbound_kind);
    cr_expect_null(ak_module_clone(m, "copy"));
    expect_error(ctx, AK_ERR_VALUE, "the state of copy (gate) points to unbound/value");
    m = gated(ctx, "bound", &gate_kind);
    cr_expect_null(ak_module_clone(m, "bound"));
    expect_error(ctx, AK_ERR_VALUE, "\"bound/value/weight\": the name is used already");
    cr_expect_null(ak_module_clone(m, "a*"));
    expect_error(ctx, AK_ERR_VALUE, "has a '*'");
    cr_expect_null(ak_module_make(ctx, "none", &(ak_module_kind){ .name = "none" }));
    expect_error(ctx, AK_ERR_VALUE, "a kind has one of .forward");
    cr_expect_null(ak_module_make(ctx, "none", &(ak_module_kind){ .forward = gate_forward,
                                                                  .takes = AK_IN_IDS }));
    expect_error(ctx, AK_ERR_VALUE, "a kind has one of .forward");
    ak_close(ctx);
}

/* Every allocation of a copy fails once: an error and NULL. */
Test(clone, running_out_of_memory)
{
    for (uint64_t k = 1, done = 0; !done; k++) {
        cr_assert_lt(k, 2000);
        ak_ctx *ctx = quiet();
        ak_module *m = gated(ctx, "m", &gate_kind);
        ak_fail_alloc_after(k, true);
        const ak_module *copy = ak_module_clone(m, "copy");
        ak_fail_alloc_after(0, false);
        done = ak_error(ctx) == AK_OK;
        cr_expect_eq(copy != NULL, done == 1);
        if (!done)
            cr_assert_eq(ak_error(ctx), AK_ERR_MEMORY, "%s", ak_error_message(ctx));
        ak_step_end(ctx);
        ak_close(ctx);
    }
}

/* ---- convolution, norm, sum, activation ------------------------------------------------------ */

Test(unit, is_its_parts)
{
    for (int train = 0; train < 2; train++)
        for (int act = 0; act < 3; act++) {
            const ak_activation kinds[] = { AK_RELU, AK_TANH, AK_IDENTITY };
            ak_ctx *ctx = quiet();
            ak_train_mode(ctx, train);
            ak_module *conv = ak_nn_conv2d(ctx, "conv", 8, 16, 3,
                                           (ak_conv_layer_options){ .padding = 1 });
            ak_module *norm = ak_nn_batch_norm(ctx, "norm", 16, (ak_batch_norm_options){ 0 });
            ak_module *unit = ak_nn_conv_norm(ctx, "unit", conv, norm, (ak_conv_norm_options){
                .activation = kinds[act], .skip = true });
            ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 9, 9, 8));
            ak_tensor *skip = ak_randn(ctx, AK_SHAPE(4, 9, 9, 16));
            const ak_tensor *y = ak_forward_with(unit, (ak_inputs){ .x = x, .skip = skip });
            ak_tensor *sum = ak_add(ak_forward(norm, ak_forward(conv, x)), skip);
            const ak_tensor *want = ak_activate(sum, kinds[act]);
            cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
            double worst = 0;
            for (int64_t i = 0; i < y->size; i++)
                worst = fmax(worst, fabs((double)y->data[i] - (double)want->data[i]));
            cr_expect_lt(worst, 1e-4, "train %d, activation %d: %g", train, act, worst);
            ak_forward(unit, x);
            expect_error(ctx, AK_ERR_VALUE, "unit (conv + batch norm + skip): .skip is missing");
            ak_close(ctx);
        }
}

Test(unit, refuses_other_parts)
{
    ak_ctx *ctx = quiet();
    ak_module *conv = ak_nn_conv2d(ctx, "conv", 2, 2, 1, (ak_conv_layer_options){ 0 });
    ak_module *norm = ak_nn_batch_norm(ctx, "norm", 2, (ak_batch_norm_options){ 0 });
    ak_module *relu = ak_nn_batch_norm(ctx, "relu", 2, (ak_batch_norm_options){ .relu = true });
    ak_module *fc = ak_nn_linear(ctx, "fc", 2, 2, (ak_linear_options){ 0 });
    const ak_conv_norm_options o = { .skip = true };
    cr_expect_null(ak_nn_conv_norm(ctx, "u", fc, norm, o));
    expect_error(ctx, AK_ERR_VALUE, "u: fc (linear 2 -> 2) is no convolution");
    cr_expect_null(ak_nn_conv_norm(ctx, "u", conv, fc, o));
    expect_error(ctx, AK_ERR_VALUE, "u: fc (linear 2 -> 2) is no batch norm");
    cr_expect_null(ak_nn_conv_norm(ctx, "u", conv, relu, o));
    expect_error(ctx, AK_ERR_VALUE, "u: relu has .relu");
    ak_module *unit = ak_nn_conv_norm(ctx, "u", conv, norm, o);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2, 3, 3, 2)), *skip = ak_zeros(ctx, AK_SHAPE(2, 3, 2));
    ak_forward_with(unit, (ak_inputs){ .x = x, .skip = skip });
    expect_error(ctx, AK_ERR_SHAPE, "u (conv + batch norm + skip): expected x of the");
    ak_close(ctx);
}

Test(unit, maps_before_pooling)
{
    ak_ctx *ctx = quiet();
    ak_module *a = ak_resnet18(ctx, "net", (ak_resnet_options){ .width = 2, .map = true });
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(2, 16, 16, 3)), *map = ak_forward(a, x);
    cr_expect(ak_shape_equal(map->shape, AK_SHAPE(2, 2, 2, 16)));
    ak_ctx *other = quiet();
    ak_module *b = ak_resnet18(other, "net", (ak_resnet_options){ .width = 2 });
    ak_tensor *same_x = ak_from(other, x->shape, x->data);
    cr_expect(same(ak_global_avg_pool(map), ak_forward(b, same_x)));
    cr_expect_null(ak_resnet18(ctx, "c", (ak_resnet_options){ .map = true, .classes = 2 }));
    expect_error(ctx, AK_ERR_VALUE, "and 0 with .map");
    cr_expect_null(ak_convnet(ctx, "d", (ak_convnet_options){ .channels = { 1, 2 }, .map = true,
                                                              .pool = 2 }));
    expect_error(ctx, AK_ERR_VALUE, "and 0 with .map");
    ak_close(other);
    ak_close(ctx);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char file[64];

static void remove_file(void)
{
    unlink(file);
}

static void name_file(void)
{
    snprintf(file, sizeof file, "/tmp/akin-module-%d.npz", (int)getpid());
}

TestSuite(npz, .init = name_file, .fini = remove_file);

Test(npz, there_and_back)
{
    ak_ctx *ctx = quiet(), *other = ak_open((ak_options){ .seed = 9, .quiet = true });
    ak_module *net = everything(ctx), *again = everything(other);
    ak_forward(net, ak_randn(ctx, AK_SHAPE(8, 6, 6, 2)));
    cr_assert_eq(ak_module_save_npz(net, file), AK_OK, "%s", ak_error_message(ctx));
    ak_npz *f = ak_npz_open(ctx, file);
    cr_expect_not_null(ak_npz_find(f, "resnet/layer2/0/downsample/1/running_var"));
    cr_expect_not_null(ak_npz_find(f, "apart/bias"));
    cr_expect_neq(ak_hash(ctx, "*"), ak_hash(other, "*"));
    cr_assert_eq(ak_module_load_npz(again, file), AK_OK, "%s", ak_error_message(other));
    cr_expect_eq(ak_hash(ctx, "*"), ak_hash(other, "*"));
    ak_close(other);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(npz, what_does_not_fit_is_listed_and_changes_nothing)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_mlp(ctx, "head", (int[]){ 4, 3, 2, 0 });
    const float good[12] = { 1 }, wrong[8] = { 1 };
    const int32_t whole[2] = { 1, 2 };
    const ak_array arrays[] = {
        { "fc1/weight", AK_TYPE_F32, AK_SHAPE(3, 4), 12, good },
        { "fc1/bias", AK_TYPE_F32, AK_SHAPE(4), 4, wrong },
        { "fc2/bias", AK_TYPE_I32, AK_SHAPE(2), 2, whole },
        { "fc3/bias", AK_TYPE_F32, AK_SHAPE(2), 2, good } };
    cr_assert_eq(ak_npz_write_arrays(ctx, file, arrays, 4, false), AK_OK);
    const uint32_t before = ak_hash(ctx, "*");
    cr_expect_eq(ak_module_load_npz(m, file), AK_ERR_FORMAT);
    static const char *const said[] = {
        "does not fit head in 4 arrays",
        "fc1/bias: another shape, [4] in the file, [3] in the module",
        "fc2/weight: missing, [2,3]", "fc2/bias: no floating-point numbers, i4 in the file",
        "fc3/bias: unexpected" };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        cr_expect(strstr(ak_error_message(ctx), said[i]) != NULL, "no \"%s\" in: %s", said[i],
                  ak_error_message(ctx));
    cr_expect_eq(ak_hash(ctx, "*"), before);
    ak_step_end(ctx);
    cr_expect_eq(ak_module_load_npz(m, "/nowhere/at/all.npz"), AK_ERR_NOT_FOUND);
    ak_step_end(ctx);
    ak_module_save_npz(ak_nn_flatten(ctx, "flat"), file);
    expect_error(ctx, AK_ERR_VALUE, "flat: has no parameters");
    ak_module *big = ak_resnet18(ctx, "big", (ak_resnet_options){ .width = 2 });
    ak_module_load_npz(big, file);
    cr_expect(strstr(ak_error_message(ctx), "more") != NULL, "%s", ak_error_message(ctx));
    expect_error(ctx, AK_ERR_FORMAT, "does not fit big in 104 arrays");
    ak_close(ctx);
}

/* What backward needs and a file has changed since forward. */
Test(npz, loading_counts_as_a_change)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_mlp(ctx, "head", (int[]){ 4, 3, 0 });
    cr_assert_eq(ak_module_save_npz(m, file), AK_OK);
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 4)));
    ak_tensor *loss = ak_sum(ak_forward(m, x));
    cr_assert_eq(ak_module_load_npz(m, file), AK_OK);
    ak_backward(loss);
    expect_error(ctx, AK_ERR_STATE, "ak_module_load_npz");
    ak_close(ctx);
}
