/* SPDX-License-Identifier: Apache-2.0 */
/* ResNets and poolings against PyTorch, parts of methods against their authors' code: pixel
 * propagation, gates, relations, prototypes, the momentum encoder. Losses are written out
 * here where the parts alone are looked at. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/heads.h>
#include <akin/ops.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* The value of file `key` into the parameter at `path` below m. */
static ak_tensor *import(ak_module *m, const char *path, golden_file *f, const char *key)
{
    ak_tensor *t = ak_module_find(m, path);
    cr_assert_not_null(t, "%s", path);
    cr_assert_eq(golden_size(f, key), t->size, "%s", key);
    const double *values = golden_values(f, key);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)values[i];
    return t;
}

static void expect(const ak_real *got, golden_file *f, const char *key)
{
    char message[GOLDEN_MESSAGE];
    cr_expect(golden_close(got, f, key, GOLDEN_TOL, message), "%s", message);
}

static ak_tensor *leaf(ak_ctx *ctx, golden_file *f, const char *key)
{
    return ak_require_grad(golden_tensor(ctx, f, key));
}

static ak_tensor *rows_last(ak_tensor *x)       /* [N, C, H, W] -> [N, H, W, C] */
{
    return ak_permute(x, (int[]){ 0, 2, 3, 1 });
}

/* ---- ResNets and poolings against torchvision and PyTorch: tests/peer/resnet.py -------------- */

/* Their name of a tensor of ours: without "net/", dots for slashes. */
static const char *their_name(const ak_tensor *t)
{
    static char name[128];
    snprintf(name, sizeof name, "%s", t->name + strlen("net/"));
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return name;
}

/* Place in O I kH kW of element i of a tensor O kH kW I; other shapes are the same in both. */
static int64_t their_place(const ak_tensor *t, int64_t i)
{
    if (t->shape.n != 4)
        return i;
    const int64_t *d = t->shape.dims;
    const int64_t c = i % d[3], w = i / d[3] % d[2], h = i / d[3] / d[2] % d[1];
    const int64_t o = i / d[3] / d[2] / d[1];
    return ((o * d[3] + c) * d[1] + h) * d[2] + w;
}

static void import_theirs(ak_tensor *t, golden_file *f, const char *key)
{
    cr_assert_eq(golden_size(f, key), t->size, "%s", key);
    const double *values = golden_values(f, key);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)values[their_place(t, i)];
}

/* Gradients pass some fifty norms of few numbers: in float they lose a digit. */
#define DEEP_TOL (sizeof(ak_real) == 8 ? 1e-10 : 1e-4)

static void expect_theirs(const ak_tensor *t, const ak_real *got, golden_file *f, const char *key,
                          double tol)
{
    ak_real *theirs = malloc((size_t)t->size * sizeof *theirs);
    for (int64_t i = 0; i < t->size; i++)
        theirs[their_place(t, i)] = got[i];
    char message[GOLDEN_MESSAGE];
    cr_expect(golden_close(theirs, f, key, tol, message), "%s", message);
    free(theirs);
}

static void try_resnet(golden_file *f, int c)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = leaf(ctx, f, golden_key("c%d_x", c));
    const bool eval = golden_number(f, golden_key("c%d_opt_eval", c)) != 0;
    ak_module *net = ak_resnet(ctx, "net", (ak_resnet_options){
        .depth = (int)golden_number(f, golden_key("c%d_opt_depth", c)),
        .width = (int)golden_number(f, golden_key("c%d_opt_width", c)),
        .stem = (int)golden_number(f, golden_key("c%d_opt_stem", c)),
        .classes = (int)golden_shape(f, golden_key("c%d_y", c)).dims[1] });
    cr_assert_not_null(net, "%s", ak_error_message(ctx));
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
        if (!(t->flags & AK_PARAM_BUFFER))
            import_theirs(t, f, golden_key("c%d_p_%s", c, their_name(t)));
        else if (eval)
            import_theirs(t, f, golden_key("c%d_b_%s", c, their_name(t)));
    ak_train_mode(ctx, !eval);
    ak_tensor *y = ak_forward(net, x);
    const ak_tensor *gy = golden_tensor(ctx, f, golden_key("c%d_gy", c));
    cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
    expect(y->data, f, golden_key("c%d_y", c));
    /* A ReLU on an edge that floats do not see turns the gradient, of PyTorch in float as well. */
    char message[GOLDEN_MESSAGE];
    if (sizeof(ak_real) == 8 || golden_number(f, golden_key("c%d_opt_margin", c)) > 1e-6)
        cr_expect(golden_close(x->grad, f, golden_key("c%d_gx", c), DEEP_TOL, message), "%s",
                  message);
    for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++) {
        const char *grad = golden_key("c%d_gp_%s", c, their_name(t));
        if (t->flags & AK_PARAM_BUFFER)
            expect_theirs(t, t->data, f, golden_key("c%d_b_%s", c, their_name(t)), GOLDEN_TOL);
        else if (golden_has(f, grad))
            expect_theirs(t, t->grad, f, grad, DEEP_TOL);
    }
    ak_close(ctx);
}

Test(golden_heads, resnets)
{
    golden_file *f = golden_open("model-resnet");
    cr_assert_not_null(f);
    cr_expect_gt(golden_cases(f), 0);
    for (int c = 0; c < golden_cases(f); c++)
        try_resnet(f, c);
    golden_free(f);
}

Test(golden_heads, generalised_means)
{
    golden_file *f = golden_open("pool-map");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "g0_x"));
    for (int c = 0; golden_has(f, golden_key("g%d_x", c)); c++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x = leaf(ctx, f, golden_key("g%d_x", c));
        ak_tensor *p = leaf(ctx, f, golden_key("g%d_p", c));
        ak_tensor *y = ak_gem_pool(x, p, golden_number(f, golden_key("g%d_opt_eps", c)));
        const ak_tensor *gy = golden_tensor(ctx, f, golden_key("g%d_gy", c));
        cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
        expect(y->data, f, golden_key("g%d_y", c));
        expect(x->grad, f, golden_key("g%d_gx", c));
        expect(p->grad, f, golden_key("g%d_gp", c));
        ak_close(ctx);
    }
    golden_free(f);
}

Test(golden_heads, clip_attention_pool)
{
    golden_file *f = golden_open("pool-map");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "a0_x"));
    for (int c = 0; golden_has(f, golden_key("a%d_x", c)); c++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x = leaf(ctx, f, golden_key("a%d_x", c));
        ak_module *net = ak_nn_clip_pool(ctx, "net", (int)x->shape.dims[1], (int)x->shape.dims[3],
            (int)golden_number(f, golden_key("a%d_opt_heads", c)),
            (int)golden_shape(f, golden_key("a%d_y", c)).dims[1]);
        cr_assert_not_null(net, "%s", ak_error_message(ctx));
        ak_tensor *t;
        for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
            import_theirs(t, f, golden_key("a%d_p_%s", c, their_name(t)));
        ak_tensor *y = ak_forward(net, x);
        const ak_tensor *gy = golden_tensor(ctx, f, golden_key("a%d_gy", c));
        cr_assert_eq(ak_backward_from(y, gy->data), AK_OK, "%s", ak_error_message(ctx));
        expect(y->data, f, golden_key("a%d_y", c));
        expect(x->grad, f, golden_key("a%d_gx", c));
        for (int64_t i = 0; (t = ak_module_param(net, i)) != NULL; i++)
            expect(t->grad, f, golden_key("a%d_gp_%s", c, their_name(t)));
        ak_close(ctx);
    }
    golden_free(f);
}

/* ---- pixel propagation ----------------------------------------------------------------------- */

/* Mean over pictures of the masked mean of cos(y_i, k_j). */
static ak_tensor *consistency(ak_tensor *y, ak_tensor *k, ak_tensor *mask)
{
    const int64_t N = mask->shape.dims[0], C = y->shape.dims[3];
    ak_tensor *a = ak_l2_normalize(ak_reshape(y, AK_SHAPE(N, -1, C)));
    ak_tensor *b = ak_l2_normalize(ak_reshape(k, AK_SHAPE(N, -1, C)));
    ak_tensor *s = ak_mul(ak_matmul_nt(a, b), mask);
    ak_tensor *sum = ak_sum_axis(ak_reshape(s, AK_SHAPE(N, -1)), 1);
    ak_tensor *pairs = ak_sum_axis(ak_reshape(mask, AK_SHAPE(N, -1)), 1);
    return ak_mean(ak_div(sum, ak_add_scalar(pairs, 1e-6)));
}

Test(golden_heads, pixel_propagation)
{
    golden_file *f = golden_open("pixpro");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "s0_x1"));
    for (int s = 0; golden_has(f, golden_key("s%d_x1", s)); s++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x1 = leaf(ctx, f, golden_key("s%d_x1", s));
        ak_tensor *x2 = leaf(ctx, f, golden_key("s%d_x2", s));
        ak_module *prop = ak_pixel_propagation(ctx, "p", (int)x1->shape.dims[1],
            (ak_propagation_options){ .gamma = golden_number(f, golden_key("s%d_gamma", s)) });
        cr_assert_not_null(prop, "%s", ak_error_message(ctx));
        ak_tensor *w = import(prop, "value/weight", f, golden_key("s%d_Wt", s));
        ak_tensor *b = import(prop, "value/bias", f, golden_key("s%d_bt", s));
        ak_tensor *mask = golden_tensor(ctx, f, golden_key("s%d_mask12", s));
        ak_tensor *k1 = rows_last(golden_tensor(ctx, f, golden_key("s%d_k1", s)));
        ak_tensor *k2 = rows_last(golden_tensor(ctx, f, golden_key("s%d_k2", s)));
        ak_tensor *h1 = consistency(ak_forward(prop, rows_last(x1)), k2, mask);
        ak_tensor *h2 = consistency(ak_forward(prop, rows_last(x2)), k1, ak_transpose(mask));
        ak_tensor *loss = ak_scale(ak_add(h1, h2), -2);
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        expect(loss->data, f, golden_key("s%d_loss", s));
        expect(x1->grad, f, golden_key("s%d_g_x1", s));
        expect(x2->grad, f, golden_key("s%d_g_x2", s));
        expect(w->grad, f, golden_key("s%d_g_Wt", s));
        expect(b->grad, f, golden_key("s%d_g_bt", s));
        ak_close(ctx);
    }
    golden_free(f);
}

/* ---- gates ----------------------------------------------------------------------------------- */

/* Each positive against itself and the negatives; the mean over all (i, positive). */
static ak_tensor *pair_loss(ak_tensor *logits, const ak_index *y1, const ak_index *y2)
{
    ak_ctx *ctx = logits->ctx;
    const int64_t N = y1->size;
    ak_tensor *hide = ak_zeros(ctx, AK_SHAPE(N, N)), *positive = ak_zeros(ctx, AK_SHAPE(N, N));
    double pairs = 0;
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            const bool negative = y1->data[j] != y1->data[i] && y1->data[j] != y2->data[i];
            hide->data[i * N + j] = negative ? 0 : (ak_real)-1e30;
            positive->data[i * N + j] = y1->data[j] == y2->data[i];
            pairs += y1->data[j] == y2->data[i];
        }
    ak_tensor *z = ak_logsumexp_keepdim(ak_add(logits, hide), 1);           /* [N, 1] */
    ak_tensor *each = ak_softplus(ak_sub(z, logits));       /* log(e^l + e^z) - l */
    return ak_scale(ak_sum(ak_mul(each, positive)), 1 / pairs);
}

/* cos(z_i g_i, k_j g_i) */
static ak_tensor *gated_cosines(ak_tensor *z, ak_tensor *k, ak_tensor *g)
{
    ak_tensor *g2 = ak_square(g);
    ak_tensor *dot = ak_matmul_nt(ak_mul(z, g2), k);
    ak_tensor *a = ak_sqrt(ak_add_scalar(ak_sum_keepdim(ak_square(ak_mul(z, g)), 1), 1e-24));
    ak_tensor *b = ak_sqrt(ak_add_scalar(ak_matmul_nt(g2, ak_square(k)), 1e-24));
    return ak_div(dot, ak_mul(a, b));
}

Test(golden_heads, gates)
{
    static const char *const ours[] = { "embedding/weight", "bn1/weight", "bn1/bias", "fc1/weight",
        "fc1/bias", "bn2/weight", "bn2/bias", "fc2/weight", "fc2/bias" };
    static const char *const theirs[] = { "emb", "bn1w", "bn1b", "w1", "b1", "bn2w", "bn2b", "w2",
        "b2" };
    golden_file *f = golden_open("hydra");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "s0_z"));
    for (int s = 0; golden_has(f, golden_key("s%d_z", s)); s++) {
        ak_ctx *ctx = quiet();
        const ak_shape table = golden_shape(f, golden_key("s%d_p_emb", s));
        const ak_shape w2 = golden_shape(f, golden_key("s%d_p_w2", s));
        ak_module *gate = ak_gate(ctx, "gate", (int)table.dims[0], (int)w2.dims[0],
            (ak_gate_options){ .embedding = (int)table.dims[1], .hidden = (int)w2.dims[1] });
        cr_assert_not_null(gate, "%s", ak_error_message(ctx));
        ak_tensor *p[9];
        for (int i = 0; i < 9; i++)
            p[i] = import(gate, ours[i], f, golden_key("s%d_p_%s", s, theirs[i]));
        ak_index *y1 = golden_index(ctx, f, golden_key("s%d_y1", s));
        ak_index *y2 = golden_index(ctx, f, golden_key("s%d_y2", s));
        int32_t pair[2 * 256];
        cr_assert_leq(y1->size, 256);
        for (int64_t i = 0; i < y1->size; i++) {
            pair[2 * i] = y1->data[i];
            pair[2 * i + 1] = y2->data[i];
        }
        ak_index *ids = ak_index_from(ctx, AK_SHAPE(y1->size, 2), pair);
        ak_tensor *z = leaf(ctx, f, golden_key("s%d_z", s));
        ak_tensor *k = leaf(ctx, f, golden_key("s%d_k", s));
        ak_tensor *g = ak_forward_with(gate, (ak_inputs){ .ids = ids });
        ak_tensor *cosines = gated_cosines(z, k, g);
        ak_tensor *loss = pair_loss(ak_scale(cosines, 1 / golden_number(f, golden_key("s%d_tau",
                                                                                      s))), y1, y2);
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        expect(g->data, f, golden_key("s%d_chain_gate", s));
        expect(loss->data, f, golden_key("s%d_chain_loss", s));
        expect(z->grad, f, golden_key("s%d_chain_gz", s));
        expect(k->grad, f, golden_key("s%d_chain_gk", s));
        for (int i = 0; i < 9; i++)
            expect(p[i]->grad, f, golden_key("s%d_chain_g_%s", s, theirs[i]));
        ak_close(ctx);
    }
    golden_free(f);
}

/* ---- relations between objects that cross-attention found ------------------------------------ */

Test(golden_heads, relations)
{
    golden_file *f = golden_open("vgbert");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "s0_ca_V"));
    const int heads = (int)golden_number(f, "opt_ca_heads");
    for (int s = 0; golden_has(f, golden_key("s%d_ca_V", s)); s++) {
        ak_ctx *ctx = quiet();
        const ak_shape R = golden_shape(f, golden_key("s%d_ca_w_relational_matrix", s));
        ak_tensor *V = leaf(ctx, f, golden_key("s%d_ca_V", s));
        ak_tensor *Y = leaf(ctx, f, golden_key("s%d_ca_Y", s));
        const int E = (int)V->shape.dims[1];
        ak_module *q = ak_nn_linear(ctx, "q", E, E, (ak_linear_options){ .no_bias = true });
        ak_module *k = ak_nn_linear(ctx, "k", E, E, (ak_linear_options){ .no_bias = true });
        ak_module *v = ak_nn_linear(ctx, "v", E, E, (ak_linear_options){ 0 });
        ak_module *head = ak_relation_head(ctx, "head", E, (int)R.dims[0],
                                           (ak_relation_options){ .size = (int)R.dims[1] });
        cr_assert_not_null(head, "%s", ak_error_message(ctx));
        struct { ak_module *m; const char *path, *key; } const map[] = {
            { q, "weight", "query_language.weight" }, { k, "weight", "key_visual.weight" },
            { v, "weight", "value_visual.weight" }, { v, "bias", "value_visual.bias" },
            { head, "object_transform/weight", "object_transform.weight" },
            { head, "object_transform/bias", "object_transform.bias" },
            { head, "relational_matrix", "relational_matrix" } };
        ak_tensor *p[7];
        for (int i = 0; i < 7; i++)
            p[i] = import(map[i].m, map[i].path, f, golden_key("s%d_ca_w_%s", s, map[i].key));
        ak_tensor *cells = ak_reshape(rows_last(V), AK_SHAPE(V->shape.dims[0], -1, E));
        ak_tensor *objects = ak_attention(ak_forward(q, Y), ak_forward(k, cells),
                                          ak_forward(v, cells),
                                          (ak_attention_options){ .heads = heads });
        ak_tensor *found = ak_forward(head, objects);
        const ak_tensor *up = golden_tensor(ctx, f, golden_key("s%d_ca_up", s));
        cr_assert_eq(ak_backward_from(found, up->data), AK_OK, "%s", ak_error_message(ctx));
        expect(objects->data, f, golden_key("s%d_ca_obj", s));
        expect(found->data, f, golden_key("s%d_ca_rel", s));
        expect(V->grad, f, golden_key("s%d_g_ca_V", s));
        expect(Y->grad, f, golden_key("s%d_g_ca_Y", s));
        for (int i = 0; i < 7; i++)
            expect(p[i]->grad, f, golden_key("s%d_g_ca_w_%s", s, map[i].key));
        ak_close(ctx);
    }
    golden_free(f);
}

/* ---- prototypes ------------------------------------------------------------------------------ */

/* SwAV's loss with the file's codes: cross entropies of all other views with each code. */
Test(golden_heads, prototypes)
{
    golden_file *f = golden_open("swav");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "s0_C"));
    for (int s = 0; golden_has(f, golden_key("s%d_C", s)); s++) {
        ak_ctx *ctx = quiet();
        const ak_shape C = golden_shape(f, golden_key("s%d_C", s));
        ak_module *m = ak_prototypes(ctx, "c", (int)C.dims[1],
                                     (ak_prototypes_options){ .sets = { (int)C.dims[0] } });
        cr_assert_not_null(m, "%s", ak_error_message(ctx));
        ak_tensor *w = import(m, "weight", f, golden_key("s%d_C", s));
        cr_assert_eq(ak_prototypes_step(m, 0), AK_OK, "%s", ak_error_message(ctx));
        expect(w->data, f, golden_key("s%d_C", s));
        ak_tensor *z[16], *scores[16], *loss = NULL;
        int V = 0, codes = 0;
        for (; V < 16 && golden_has(f, golden_key("s%d_z%d", s, V)); V++) {
            z[V] = leaf(ctx, f, golden_key("s%d_z%d", s, V));
            scores[V] = ak_scale(ak_forward(m, ak_l2_normalize(z[V])),
                                 1 / golden_number(f, golden_key("s%d_tau", s)));
        }
        for (; golden_has(f, golden_key("s%d_code%d", s, codes)); codes++)
            for (int v = 0; v < V; v++) {
                ak_tensor *code = golden_tensor(ctx, f, golden_key("s%d_code%d", s, codes));
                ak_tensor *l = v == codes ? NULL : ak_cross_entropy_soft(scores[v], code);
                loss = !l ? loss : loss ? ak_add(loss, l) : l;
            }
        loss = ak_scale(loss, 1.0 / (codes * (V - 1)));
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        expect(loss->data, f, golden_key("s%d_loss", s));
        expect(w->grad, f, golden_key("s%d_g_C", s));
        for (int v = 0; v < V; v++)
            expect(z[v]->grad, f, golden_key("s%d_g_z%d", s, v));
        ak_close(ctx);
    }
    golden_free(f);
}

/* ---- momentum encoder ------------------------------------------------------------------------ */

/* MoCo: the key encoder moves before the keys are made; the query encoder by the file's gradients
 * afterwards. */
Test(golden_heads, momentum_encoder)
{
    golden_file *f = golden_open("moco");
    cr_assert_not_null(f);
    cr_assert(golden_has(f, "s0_W0"));
    for (int s = 0; golden_has(f, golden_key("s%d_W0", s)); s++) {
        ak_ctx *ctx = quiet();
        const ak_shape W = golden_shape(f, golden_key("s%d_W0", s));
        ak_module *query = ak_nn_linear(ctx, "q", W.dims[1], W.dims[0], (ak_linear_options){ 0 });
        ak_momentum *e = ak_momentum_encoder(query, "k", (ak_momentum_options){
            .start = golden_number(f, golden_key("s%d_m", s)) });
        cr_assert_not_null(e, "%s", ak_error_message(ctx));
        ak_module *key = ak_momentum_module(e);
        ak_tensor *w = import(query, "weight", f, golden_key("s%d_W0", s));
        ak_tensor *b = import(query, "bias", f, golden_key("s%d_b0", s));
        ak_tensor *wk = import(key, "weight", f, golden_key("s%d_Wk0", s));
        ak_tensor *bk = import(key, "bias", f, golden_key("s%d_bk0", s));
        const double lr = golden_number(f, golden_key("s%d_lr", s));
        for (int t = 0; golden_has(f, golden_key("s%d_step%d_Wk", s, t)); t++) {
            cr_assert_eq(ak_momentum_update(e), AK_OK, "%s", ak_error_message(ctx));
            expect(wk->data, f, golden_key("s%d_step%d_Wk", s, t));
            expect(bk->data, f, golden_key("s%d_step%d_bk", s, t));
            const double *gw = golden_values(f, golden_key("s%d_step%d_g_W", s, t));
            const double *gb = golden_values(f, golden_key("s%d_step%d_g_b", s, t));
            for (int64_t i = 0; i < w->size; i++)
                w->data[i] -= (ak_real)(lr * gw[i]);
            for (int64_t i = 0; i < b->size; i++)
                b->data[i] -= (ak_real)(lr * gb[i]);
        }
        ak_close(ctx);
    }
    golden_free(f);
}
