/* SPDX-License-Identifier: Apache-2.0 */
/* Poolings of maps [N, .., C] to one vector a picture. */
#include <akin/heads.h>

#include "nn/linear.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>

/* [N, .., C] as [N, P, C]; an alias. */
static ak_tensor *as_positions(ak_tensor *x)
{
    return ak_reshape(x, AK_SHAPE(x->shape.dims[0], -1, ak_last_dim(x)));
}

static bool is_map(const ak_tensor *x)
{
    return x->shape.n >= 3 && x->size > 0;
}

/* ---- the largest ----------------------------------------------------------------------------- */

static ak_tensor *max_forward(ak_module *m, ak_tensor *x)
{
    return is_map(x) ? ak_max_axis(as_positions(x), 1)
                     : ak__module_shape_error(m, x, "[N, .., C] with at least one position");
}

static const ak_module_kind max_kind = { .name = "global max pool", .forward = max_forward };

ak_module *ak_nn_global_max_pool(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    return ak_module_make(ctx, name, &max_kind);
}

/* ---- generalised mean ------------------------------------------------------------------------ */

typedef struct gem { int64_t channels; double eps; } gem;

static ak_tensor *gem_forward(ak_module *m, ak_tensor *x)
{
    const gem *g = ak_module_user(m);
    if (!is_map(x) || ak_last_dim(x) != g->channels)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", g->channels);
    return ak_gem_pool(x, ak__own(m, 0), g->eps);
}

static const ak_module_kind gem_kind = { .name = "generalised mean", .forward = gem_forward,
                                         AK__STATE(gem) };

ak_module *ak_nn_gem_pool(ak_ctx *ctx, const char *name, int64_t channels, ak_gem_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &gem_kind);
    if (!m || !ak__module_positive(m, "the number of channels", channels))
        return NULL;
    const double p = o.p == AK_NONE ? 0 : o.p == 0 ? 3 : o.p;
    if (!isfinite(p) || !(o.eps >= 0 && isfinite(o.eps))) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: p %g must be finite, eps %g >= 0 and finite", m->name, p,
                o.eps);
        return NULL;
    }
    *(gem *)ak_module_user(m) = (gem){ channels, o.eps };
    ak_module_describe(m, "generalised mean, p from %g", p);
    ak__module_scale(m, "p", o.per_channel ? channels : 1, p);
    return ak_error(ctx) == AK_OK ? m : NULL;
}

/* ---- one learned query ----------------------------------------------------------------------- */

enum { KEY, VALUE, PROJ };      /* children */
typedef struct query_pool { int64_t channels; int heads; } query_pool;

/* [H D, C] as H matrices [H, D, C]; an alias. */
static ak_tensor *by_head(ak_tensor *w, int heads)
{
    const int64_t rows = w->shape.dims[0], C = w->shape.dims[1];
    return ak_reshape(w, AK_SHAPE(heads, rows / heads, C));
}

/* Scores are linear in x, and so are sums of values: the query goes into the key weights and the
 * value weights are applied to sums of x. */
static ak_tensor *query_forward(ak_module *m, ak_tensor *x)
{
    const query_pool *q = ak_module_user(m);
    const int H = q->heads;
    const int64_t C = q->channels, D = C / H, N = x->shape.dims[0];
    if (!is_map(x) || ak_last_dim(x) != C)
        return ak__module_shape_error(m, x, "[N, .., %" PRId64 "]", C);
    ak_tensor *rows = as_positions(x);
    ak_tensor *query = ak_reshape(ak__own(m, 0), AK_SHAPE(H, 1, D));
    ak_module *key = m->children[KEY], *value = m->children[VALUE];
    ak_tensor *u = ak_matmul(query, by_head(ak__linear_weight(key), H));            /* [H, 1, C] */
    u = ak_scale(ak_reshape(u, AK_SHAPE(H, C)), 1 / sqrt((double)D));
    ak_tensor *a = ak_softmax(ak_transpose(ak_matmul_nt(rows, u)));                 /* [N, H, P] */
    ak_tensor *sums = ak_permute(ak_matmul(a, rows), (int[]){ 1, 0, 2 });           /* [H, N, C] */
    ak_tensor *v = ak_matmul_nt(sums, by_head(ak__linear_weight(value), H));        /* [H, N, D] */
    v = ak_reshape(ak_permute(v, (int[]){ 1, 0, 2 }), AK_SHAPE(N, C));
    return ak_forward(m->children[PROJ], ak_add(v, ak__own(value, 1)));
}

static const ak_module_kind query_kind = { .name = "attention pool", .forward = query_forward,
                                           AK__STATE(query_pool) };

ak_module *ak_nn_query_pool(ak_ctx *ctx, const char *name, int64_t channels,
                            ak_query_pool_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &query_kind);
    if (!m || !ak__module_positive(m, "the number of channels", channels))
        return NULL;
    const int heads = o.heads ? o.heads : 1;
    if (heads < 1 || channels % heads || o.out < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: heads %d must be >= 1 and divide %" PRId64 " channels, out "
                "%d >= 0", m->name, heads, channels, o.out);
        return NULL;
    }
    const int64_t out = o.out ? o.out : channels;
    *(query_pool *)ak_module_user(m) = (query_pool){ channels, heads };
    ak_module_describe(m, "attention pool %" PRId64 " -> %" PRId64 ", %d heads", channels, out,
                       heads);
    ak_tensor *query = ak_module_add_param(m, "query", AK_SHAPE(channels), AK_PARAM_NO_DECAY);
    if (!ak_is_poison(query))
        ak_init_fill(query, (ak_init){ .kind = AK_INIT_TRUNCATED_NORMAL });
    ak_module_begin(m);
    ak_nn_linear(ctx, "key", channels, channels, (ak_linear_options){ .no_bias = true });
    ak_nn_linear(ctx, "value", channels, channels, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "proj", channels, out, (ak_linear_options){ 0 });
    return ak_module_end(m);
}

/* ---- CLIP's ---------------------------------------------------------------------------------- */

enum { Q_PROJ, K_PROJ, V_PROJ, C_PROJ };
typedef struct clip_pool { int side, channels, heads; } clip_pool;

static ak_tensor *clip_forward(ak_module *m, ak_tensor *x)
{
    const clip_pool *c = ak_module_user(m);
    if (x->shape.n != 4 || x->shape.dims[1] != c->side || x->shape.dims[2] != c->side ||
        x->shape.dims[3] != c->channels || x->size == 0)
        return ak__module_shape_error(m, x, "[N, %d, %d, %d]", c->side, c->side, c->channels);
    ak_tensor *rows = as_positions(x);
    ak_tensor *tokens = ak_concat(1, ak_mean_keepdim(rows, 1), rows);           /* [N, 1 + P, C] */
    tokens = ak_add(tokens, ak__own(m, 0));
    ak_tensor *q = ak_forward(m->children[Q_PROJ], ak_slice(tokens, 1, 0, 1));
    ak_tensor *k = ak_forward(m->children[K_PROJ], tokens);
    ak_tensor *v = ak_forward(m->children[V_PROJ], tokens);
    ak_tensor *y = ak_attention(q, k, v, (ak_attention_options){ .heads = c->heads });
    return ak_forward(m->children[C_PROJ], ak_reshape(y, AK_SHAPE(-1, c->channels)));
}

static const ak_module_kind clip_kind = { .name = "CLIP's attention pool",
                                          .forward = clip_forward,
                                          AK__STATE(clip_pool) };

ak_module *ak_nn_clip_pool(ak_ctx *ctx, const char *name, int side, int channels, int heads,
                           int out)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &clip_kind);
    if (!m)
        return NULL;
    if (side < 1 || side > 1 << 12 || channels < 1 || heads < 1 || channels % heads || out < 1) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: side %d must be in [1, 4096], channels %d, heads %d and "
                "out %d >= 1, and heads divide channels", m->name, side, channels, heads, out);
        return NULL;
    }
    *(clip_pool *)ak_module_user(m) = (clip_pool){ side, channels, heads };
    ak_module_describe(m, "CLIP's attention pool %d -> %d, %d heads", channels, out, heads);
    ak_tensor *positions = ak_module_add_param(m, "positional_embedding",
                                               AK_SHAPE((int64_t)side * side + 1, channels), 0);
    if (!ak_is_poison(positions))
        ak_init_fill(positions, (ak_init){ .kind = AK_INIT_NORMAL, .scale = 1 / sqrt(channels) });
    ak_module_begin(m);
    ak_nn_linear(ctx, "q_proj", channels, channels, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "k_proj", channels, channels, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "v_proj", channels, channels, (ak_linear_options){ 0 });
    ak_nn_linear(ctx, "c_proj", channels, out, (ak_linear_options){ 0 });
    return ak_module_end(m);
}
