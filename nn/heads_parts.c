/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of single methods: gates, pixel propagation, matching, words, relations. */
#include <akin/heads.h>

#include "nn/linear.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

/* ---- gates by pair of classes ---------------------------------------------------------------- */

enum { BN1, FC1, BN2, FC2 };    /* children; the embedding is the gate's own */

static ak_tensor *gate_forward(ak_module *m, const ak_inputs *in)
{
    const ak_index *ids = in->ids;
    if (ids->shape.n != 2 || ids->shape.dims[1] != 2) {
        char text[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .ids [N, 2], two labels a row, got %s",
                m->name, m->what, ak_shape_text(ids->shape, text));
        return &ak__poison;
    }
    ak_tensor *pair = ak_embedding(ak__own(m, 0), in->ids, AK_NONE);        /* [N, 2, E] */
    ak_tensor *h = ak_forward(m->children[BN1], ak_relu(ak_mean_axis(pair, 1)));
    h = ak_forward(m->children[BN2], ak_forward(m->children[FC1], h));
    return ak_sigmoid(ak_forward(m->children[FC2], h));
}

static const ak_module_kind gate_kind = { .name = "gate", .forward_with = gate_forward,
                                          .needs = AK_IN_IDS };

ak_module *ak_feature_gate(ak_ctx *ctx, const char *name, int classes, int dim,
                           ak_feature_gate_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &gate_kind);
    if (!m)
        return NULL;
    if (classes < 1 || dim < 1 || o.embedding < 0 || o.hidden < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: classes %d and dim %d must be >= 1, embedding %d and "
                "hidden %d >= 0", m->name, classes, dim, o.embedding, o.hidden);
        return NULL;
    }
    const int E = o.embedding ? o.embedding : 512, hidden = o.hidden ? o.hidden : 1024;
    ak_module_describe(m, "gate of pairs of %d classes -> %d", classes, dim);
    ak_tensor *w = ak_module_add_param(m, "embedding/weight", AK_SHAPE(classes, E), 0);
    if (!ak_is_poison(w))
        ak_init_fill(w, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 });
    ak_module_begin(m);
    ak_nn_batch_norm(ctx, "bn1", E, (ak_batch_norm_options){ 0 });
    ak_nn_linear(ctx, "fc1", E, hidden, (ak_linear_options){ .relu = true });
    ak_nn_batch_norm(ctx, "bn2", hidden, (ak_batch_norm_options){ 0 });
    ak_nn_linear(ctx, "fc2", hidden, dim, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

/* ---- pixel propagation ----------------------------------------------------------------------- */

typedef struct propagation { int channels; double gamma; } propagation;

/* Below 1 the power has an infinite slope at 0. */
#define SLOPE_EPS 1e-6

static ak_tensor *propagation_forward(ak_module *m, ak_tensor *x)
{
    const propagation *p = ak_module_user(m);
    ak_module *value = ak_module_child(m, 0);
    if (x->shape.n < 3 || ak_last_dim(x) != p->channels || x->size == 0)
        return ak__module_shape_error(m, x, "[N, .., %d] with at least one position", p->channels);
    ak_tensor *rows = ak_reshape(x, AK_SHAPE(x->shape.dims[0], -1, p->channels));
    ak_tensor *unit = ak_l2_normalize(rows);
    ak_tensor *s = ak_relu(ak_matmul_nt(unit, unit));                       /* [N, P, P] */
    if (p->gamma < 1)
        s = ak_add_scalar(s, SLOPE_EPS);
    s = p->gamma == 2 ? ak_square(s) : p->gamma == 1 ? s : ak_pow(s, p->gamma);
    ak_tensor *g = value ? ak_l2_normalize(ak_forward(value, rows)) : unit;
    return ak_reshape(ak_matmul(s, g), x->shape);
}

static const ak_module_kind propagation_kind = { .name = "pixel propagation",
                                                 .forward = propagation_forward,
                                                 AK__STATE(propagation) };

ak_module *ak_pixel_propagation(ak_ctx *ctx, const char *name, int channels,
                                ak_propagation_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &propagation_kind);
    if (!m)
        return NULL;
    const double gamma = o.gamma == 0 ? 2 : o.gamma;
    const int layers = o.layers == 0 ? 1 : o.layers;
    if (channels < 1 || !(gamma > 0 && isfinite(gamma)) ||
        (layers != 1 && layers != 2 && layers != AK_NONE)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: channels %d must be >= 1, gamma %g in (0, inf), layers %d "
                "1 or 2, or AK_NONE", m->name, channels, gamma, o.layers);
        return NULL;
    }
    *(propagation *)ak_module_user(m) = (propagation){ channels, gamma };
    ak_module_describe(m, "pixel propagation of %d channels, gamma %g", channels, gamma);
    ak_module_begin(m);
    if (layers == 1)
        ak_nn_linear(ctx, "value", channels, channels, (ak_linear_options){ 0 });
    else if (layers == 2)
        ak_mlp_with(ctx, "value", (int[]){ channels, channels, channels, 0 },
                    (ak_mlp_options){ .batch_norm = true });
    return ak_module_end(m);
}

/* ---- matching -------------------------------------------------------------------------------- */

typedef struct matching { int dim; } matching;

static ak_tensor *matching_forward(ak_module *m, ak_tensor *x)
{
    const matching *h = ak_module_user(m);
    if ((x->shape.n != 2 && x->shape.n != 3) || ak_last_dim(x) != h->dim ||
        (x->shape.n == 3 && x->shape.dims[1] < 1))
        return ak__module_shape_error(m, x, "[N, T, %d] with T >= 1, or [N, %d]", h->dim, h->dim);
    if (x->shape.n == 3)
        x = ak_reshape(ak_slice(x, 1, 0, 1), AK_SHAPE(x->shape.dims[0], h->dim));
    for (int64_t i = 0; i < m->n_children; i++)
        x = ak_forward(m->children[i], x);
    return x;
}

static const ak_module_kind matching_kind = { .name = "matching head",
                                              .forward = matching_forward,
                                              AK__STATE(matching) };

ak_module *ak_matching_head(ak_ctx *ctx, const char *name, int dim, ak_matching_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &matching_kind);
    if (!m)
        return NULL;
    if (dim < 1 || o.hidden < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: dim %d must be >= 1, hidden %d >= 0", m->name, dim,
                o.hidden);
        return NULL;
    }
    *(matching *)ak_module_user(m) = (matching){ dim };
    ak_module_describe(m, "matching head %d -> 2", dim);
    ak_module_begin(m);
    if (o.hidden) {
        ak_nn_linear(ctx, "fc1", dim, o.hidden, (ak_linear_options){ 0 });
        ak_nn_activation(ctx, "act", AK_GELU);
        ak_nn_layer_norm(ctx, "norm", o.hidden, 0);
        ak_nn_linear(ctx, "fc2", o.hidden, 2, (ak_linear_options){ 0 });
    } else {
        ak_nn_linear(ctx, "fc", dim, 2, (ak_linear_options){ 0 });
    }
    return ak_module_end(m);
}

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct lm_head {
    int    dim;
    double scale;
    bool   transform;           /* children: dense, activation, norm if so; then what has the words'
                                 * weights, as its first own tensor */
    bool   bias;                /* the head's own */
} lm_head;

static ak_tensor *lm_forward(ak_module *m, ak_tensor *x)
{
    const lm_head *h = ak_module_user(m);
    const int64_t words = m->n_children - 1;
    if (x->shape.n < 1 || ak_last_dim(x) != h->dim)
        return ak__module_shape_error(m, x, "[.., %d]", h->dim);
    if (h->scale != 1)
        x = ak_scale(x, h->scale);
    for (int64_t i = 0; i < words; i++)
        x = ak_forward(m->children[i], x);
    return ak_linear(x, ak__linear_weight(m->children[words]), h->bias ? ak__own(m, 0) : NULL);
}

static const ak_module_kind lm_kind = { .name = "language-model head", .forward = lm_forward,
                                        AK__STATE(lm_head) };

static bool tied_fits(const ak_module *m, const ak_module *tied, int dim, int vocabulary)
{
    const ak_tensor *w = tied->n_tensors ? tied->tensors[0] : NULL;
    if (w && ak_shape_equal(w->shape, AK_SHAPE(vocabulary, dim)))
        return true;
    char text[AK_SHAPE_TEXT];
    ak_fail(m->ctx, AK_ERR_SHAPE, "%s: .tied = %s (%s) must have a weight [%d, %d], got %s",
            m->name, tied->name, tied->what, vocabulary, dim,
            w ? ak_shape_text(w->shape, text) : "none");
    return false;
}

ak_module *ak_lm_head(ak_ctx *ctx, const char *name, int dim, int vocabulary, ak_lm_head_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &lm_kind);
    if (!m)
        return NULL;
    const double scale = o.scale == 0 ? 1 : o.scale;
    if (dim < 1 || vocabulary < 1 || !isfinite(scale) || !(o.eps >= 0 && isfinite(o.eps))) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: dim %d and vocabulary %d must be >= 1, scale %g finite, "
                "eps %g >= 0 and finite", m->name, dim, vocabulary, scale, o.eps);
        return NULL;
    }
    if (o.tied && !tied_fits(m, o.tied, dim, vocabulary))
        return NULL;
    *(lm_head *)ak_module_user(m) = (lm_head){ dim, scale, o.transform, !o.no_bias };
    ak_module_describe(m, "language-model head %d -> %d%s", dim, vocabulary,
                       o.tied ? ", tied" : "");
    if (!o.no_bias)
        ak__module_scale(m, "bias", vocabulary, 0);
    ak_module_begin(m);
    if (o.transform) {
        ak_nn_linear(ctx, "transform/dense", dim, dim, (ak_linear_options){ 0 });
        ak_nn_activation(ctx, "transform/act", AK_GELU);
        ak_nn_layer_norm(ctx, "transform/LayerNorm", dim, o.eps > 0 ? o.eps : 1e-12);
    }
    if (!o.tied)
        ak_nn_linear(ctx, "decoder", dim, vocabulary, (ak_linear_options){ .no_bias = true });
    m = ak_module_end(m);
    if (m && o.tied)
        ak_module_add(m, o.tied);
    return ak_error(ctx) == AK_OK ? m : NULL;
}

/* ---- relations ------------------------------------------------------------------------------- */

typedef struct relations { int dim, n, size; double dropout; } relations;

static ak_tensor *relation_forward(ak_module *m, ak_tensor *x)
{
    const relations *r = ak_module_user(m);
    const int64_t s = r->size, n = r->n;
    if (x->shape.n != 3 || ak_last_dim(x) != r->dim)
        return ak__module_shape_error(m, x, "[N, O, %d]", r->dim);
    const int64_t N = x->shape.dims[0], O = x->shape.dims[1];
    ak_tensor *u = ak_forward(m->children[0], x);                           /* [N, O, s] */
    ak_tensor *R = ak_l2_normalize(ak_reshape(ak__own(m, 0), AK_SHAPE(n, s * s)));
    R = ak_reshape(ak_dropout(R, r->dropout), AK_SHAPE(n, s, s));
    /* One product with all matrices side by side, [s, n s], then one with u a picture. */
    R = ak_reshape(ak_permute(R, (int[]){ 1, 0, 2 }), AK_SHAPE(s, n * s));
    ak_tensor *left = ak_reshape(ak_matmul(ak_reshape(u, AK_SHAPE(N * O, s)), R),
                                 AK_SHAPE(N, O * n, s));
    ak_tensor *f = ak_reshape(ak_matmul_nt(left, u), AK_SHAPE(N, O, n, O));
    return ak_permute(f, (int[]){ 0, 2, 1, 3 });
}

static const ak_module_kind relation_kind = { .name = "relation head", .forward = relation_forward,
                                              AK__STATE(relations) };

ak_module *ak_relation_head(ak_ctx *ctx, const char *name, int dim, int n, ak_relation_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &relation_kind);
    if (!m)
        return NULL;
    const int size = o.size ? o.size : 32;
    if (dim < 1 || n < 1 || size < 1 || size > 1 << 12 || !(o.dropout >= 0 && o.dropout < 1)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: dim %d and relations %d must be >= 1, size %d in [1, "
                "4096], dropout %g in [0, 1)", m->name, dim, n, size, o.dropout);
        return NULL;
    }
    *(relations *)ak_module_user(m) = (relations){ dim, n, size, o.dropout };
    ak_module_describe(m, "relation head %d -> %d relations", dim, n);
    ak_tensor *R = ak_module_add_param(m, "relational_matrix", AK_SHAPE(n, size, size), 0);
    if (!ak_is_poison(R))
        ak_init_fill(R, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 / sqrt(size) });
    ak_module_begin(m);
    ak_nn_linear(ctx, "object_transform", dim, size, (ak_linear_options){ 0 });
    return ak_module_end(m);
}
