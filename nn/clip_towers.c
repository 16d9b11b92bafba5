/* SPDX-License-Identifier: Apache-2.0 */
/* CLIP: the text tower, both towers with their projections. The picture tower is in vit.c. */
#include "nn/transformer.h"

#include <akin/models.h>

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- texts ----------------------------------------------------------------------------------- */

/* Own tensors: words, positions. Children: layers, the norm. */
enum { WORDS, POSITIONS };

typedef struct clip_text { ak_clip_text_options o; } clip_text;

static ak_tensor *text_forward(ak_module *m, const ak_inputs *in)
{
    const clip_text *c = m->user;
    const ak_shape s = in->ids->shape;
    if (s.n != 2 || s.dims[1] < 1 || s.dims[1] > c->o.positions) {
        char text[AK_SHAPE_TEXT];
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .ids [N, T], T in [1, %d], got %s%s",
                m->name, m->what, c->o.positions, ak_shape_text(s, text),
                s.n == 2 && s.dims[1] > 1 ? "\n    hint: ak_clip_cut(ids, count, end) keeps the "
                "end token of a text that is cut" : "");
        return &ak__poison;
    }
    ak_tensor *words = ak_embedding(ak__own(m, WORDS), in->ids, AK_NONE);
    if (ak_is_poison(words))
        return words;
    ak_tensor *x = ak_add(words, ak_rows(ak__own(m, POSITIONS), 0, s.dims[1]));
    if (ak_is_poison(x))
        return x;
    ak_done_with(words, false);
    ak_tensor *y = ak__run_layers(m, &(ak_inputs){ .x = x, .lengths = in->lengths,
                                                   .mask = in->mask }, 0, m->n_children);
    if (!ak_is_poison(y))
        ak_done_with(x, false);
    return y;
}

#define TEXT_TAKES (AK_IN_LENGTHS | AK_IN_MASK)
static const ak_module_kind text_kind = {
    .name = "CLIP's text tower", .forward_with = text_forward, .needs = AK_IN_IDS,
    .takes = TEXT_TAKES, AK__STATE(clip_text) };

static bool fill_in_text(const ak_module *m, ak_clip_text_options *o)
{
    o->width = o->width ? o->width : 512;
    o->layers = o->layers ? o->layers : 12;
    o->heads = o->heads ? o->heads : 8;
    o->positions = o->positions ? o->positions : 77;
    o->end = o->end ? o->end : o->vocab - 1;
    o->activation = o->activation ? o->activation : AK_QUICK_GELU;
    if (o->vocab >= 1 && o->width >= 1 && o->layers >= 1 && o->heads >= 1 && o->positions >= 1 &&
        o->end >= 0 && o->end < o->vocab)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: .vocab %d, .width %d, .layers %d, .heads %d, .positions %d "
            "must be at least 1, .end %d a word", m->name, o->vocab, o->width, o->layers, o->heads,
            o->positions, o->end);
    return false;
}

void ak__clip_start(const ak_module *tower, int64_t width, int layers)
{
    static const char *const names[] = { "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2" };
    const double one = 1 / sqrt((double)width), last = one / sqrt(2.0 * layers);
    const double deviations[] = { one, one, one, last, one / sqrt(2), last };
    ak_tensor *w;
    for (int64_t i = 0; (w = ak_module_param(tower, i)) != NULL; i++)
        for (int k = 0; k < 6; k++) {
            char end[32];
            snprintf(end, sizeof end, "/%s/weight", names[k]);
            if (ak__ends_in(w->name, end))
                ak_init_fill(w, (ak_init){ .kind = AK_INIT_NORMAL, .scale = deviations[k] });
        }
}

ak_module *ak_clip_text(ak_ctx *ctx, const char *name, ak_clip_text_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &text_kind);
    if (!m || !fill_in_text(m, &o))
        return NULL;
    *(clip_text *)m->user = (clip_text){ o };
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    ak_module_describe(m, "%s, %d layers of %d, %d words", m->kind->name, o.layers, o.width,
                       o.vocab);
    ak__module_note(m, "end token %d", o.end);
    ak_init_fill(ak_module_add_param(m, "embeddings/token_embedding/weight",
                                     AK_SHAPE(o.vocab, o.width), 0), how);
    ak_init_fill(ak_module_add_param(m, "embeddings/position_embedding/weight",
                                     AK_SHAPE(o.positions, o.width), 0), how);
    ak_module_begin(m);
    for (int i = 0; i < o.layers; i++) {
        char path[48];
        snprintf(path, sizeof path, "encoder/layers/%d", i);
        ak_nn_transformer_block(ctx, path, o.width, (ak_block_options){
            .heads = o.heads, .hidden = o.hidden, .activation = o.activation, .eps = o.eps,
            .causal = true, .attention_dropout = o.attention_dropout, .names = AK_NAMES_CLIP });
    }
    ak_nn_layer_norm(ctx, "final_layer_norm", o.width, o.eps);
    m = ak_module_end(m);
    if (m)
        ak__clip_start(m, o.width, o.layers);
    return m;
}

ak_index *ak_clip_cut(ak_index *ids, int64_t count, int end)
{
    if (!AK__INDEX(NULL, ids))
        return &ak__poison_index;
    char text[AK_SHAPE_TEXT];
    const ak_shape s = ids->shape;
    if (s.n != 2 || count < 1) {
        ak_fail(ids->ctx, s.n != 2 ? AK_ERR_SHAPE : AK_ERR_VALUE, "ak_clip_cut: expected ids "
                "[N, T] and a count of at least 1, got %s and %" PRId64, ak_shape_text(s, text),
                count);
        return &ak__poison_index;
    }
    const int64_t N = s.dims[0], T = s.dims[1], width = T < count ? T : count;
    ak_index *y = ak__index_new(ids->ctx, AK_SHAPE(N, width));
    for (int64_t n = 0; y != &ak__poison_index && n < N; n++) {
        const int32_t *row = ids->data + n * T;
        int64_t at = 0;
        while (at < T && row[at] != end)
            at++;
        if (at == T) {
            ak_fail(ids->ctx, AK_ERR_VALUE, "ak_clip_cut: row %" PRId64 " has no end token %d", n,
                    end);
            return &ak__poison_index;
        }
        for (int64_t t = 0; t < width; t++)
            ak__index_data(y)[n * width + t] = t == width - 1 && at >= width ? end : row[t];
    }
    return y;
}

/* ---- pooling --------------------------------------------------------------------------------- */

ak_tensor *ak_clip_pool(ak_module *tower, ak_tensor *y, ak_index *ids)
{
    if (!AK__GIVEN(y ? y->ctx : NULL, tower) || !AK__TENSOR(tower->ctx, y))
        return &ak__poison;
    ak_module *norm = ak__clip_last_norm(tower);
    const bool texts = tower->kind == &text_kind;
    if ((!texts && !norm) || (norm && ids)) {
        ak_fail(tower->ctx, AK_ERR_VALUE, "ak_clip_pool: %s (%s) %s", tower->name, tower->what,
                norm ? "has pictures, which have no ids" : "is no tower of CLIP");
        return &ak__poison;
    }
    if (texts && !AK__INDEX(tower->ctx, ids))
        return &ak__poison;
    if (texts)
        return ak_pool_at(y, ids, ((const clip_text *)tower->user)->o.end);
    return ak_forward(norm, ak_pool_first(y));
}

/* ---- both ------------------------------------------------------------------------------------ */

/* Own tensor: the scale's logarithm. */
enum { TEXT, VISION, VISUAL_PROJECTION, TEXT_PROJECTION };

static ak_tensor *unit_rows(ak_module *projection, ak_tensor *pooled)
{
    return ak_l2_normalize(ak_forward(projection, pooled));
}

static ak_tensor *pictures_of(ak_module *m, const ak_inputs *in, const void *how)
{
    (void)how;
    ak_module *tower = m->children[VISION];
    ak_tensor *y = ak_forward(tower, in->x);
    return unit_rows(m->children[VISUAL_PROJECTION], ak_clip_pool(tower, y, NULL));
}

/* Is each row's first end token one of the words that count? */
static bool ends_count(ak_module *m, const ak_inputs *in, int end)
{
    const ak_shape s = in->ids->shape;
    if (!in->lengths || s.n != 2)
        return true;                        /* the tower looks at the shape, pooling at the rest */
    if (!ak__lengths_fit(m, in->lengths, s.dims[0], s.dims[1]))
        return false;
    for (int64_t n = 0; n < s.dims[0]; n++) {
        int64_t t = 0;
        while (t < in->lengths->data[n] && in->ids->data[n * s.dims[1] + t] != end)
            t++;
        if (t < in->lengths->data[n])
            continue;
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: row %" PRId64 " has no end token %d in front of its "
                "length %d\n    hint: a text that is cut keeps its end token (ak_clip_cut)",
                m->name, n, end, (int)in->lengths->data[n]);
        return false;
    }
    return true;
}

static ak_tensor *texts_of(ak_module *m, const ak_inputs *in, const void *how)
{
    (void)how;
    ak_module *tower = m->children[TEXT];
    if (!ends_count(m, in, ((const clip_text *)tower->user)->o.end))
        return &ak__poison;
    ak_tensor *y = ak_forward_with(tower, (ak_inputs){ .ids = in->ids, .lengths = in->lengths,
                                                       .mask = in->mask });
    return unit_rows(m->children[TEXT_PROJECTION], ak_clip_pool(tower, y, in->ids));
}

static ak_tensor *clip_forward(ak_module *m, const ak_inputs *in)
{
    ak_tensor *pictures = pictures_of(m, in, NULL);
    ak_tensor *texts = texts_of(m, in, NULL);
    return ak_mul(ak_matmul_nt(pictures, texts), ak_exp(ak__own(m, 0)));
}

static const ak_module_kind clip_kind = {
    .name = "CLIP", .forward_with = clip_forward, .needs = AK_IN_X | AK_IN_IDS,
    .takes = TEXT_TAKES };

static void add_projection(ak_ctx *ctx, const char *name, int64_t in, int64_t out)
{
    ak_nn_linear(ctx, name, in, out, (ak_linear_options){
        .no_bias = true, .weight = { AK_INIT_NORMAL, .scale = 1 / sqrt((double)in) } });
}

ak_module *ak_clip(ak_ctx *ctx, const char *name, ak_clip_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &clip_kind);
    if (!m)
        return NULL;
    o.projection = o.projection ? o.projection : 512;
    if (o.projection < 1 || !isfinite(o.log_scale)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .projection %d must be at least 1, .log_scale %g finite",
                m->name, o.projection, o.log_scale);
        return NULL;
    }
    ak_tensor *scale = ak_module_add_param(m, "logit_scale", AK_SCALAR, AK_PARAM_NO_DECAY);
    if (!ak_is_poison(scale))
        ak_fill(scale, o.log_scale > 0 || o.log_scale < 0 ? o.log_scale : log(1 / 0.07));
    ak_module_begin(m);
    const ak_module *text = ak_clip_text(ctx, "text_model", o.text);
    const ak_module *vision = ak_clip_vision(ctx, "vision_model", o.picture);
    if (!text || !vision)
        return ak_module_end(m);
    const int64_t wide = ak__own(vision, 0)->size;
    const int64_t width = ((const clip_text *)text->user)->o.width;
    add_projection(ctx, "visual_projection", wide, o.projection);
    add_projection(ctx, "text_projection", width, o.projection);
    ak_module_describe(m, "CLIP, %" PRId64 " and %" PRId64 " to %d", wide, width, o.projection);
    return ak_module_end(m);
}

static bool is_clip(const ak_module *m, const char *who)
{
    if (m->kind == &clip_kind)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s (%s) is not of ak_clip", who, m->name, m->what);
    return false;
}

ak_tensor *ak_clip_pictures(ak_module *m, ak_tensor *x)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x) ||
        !is_clip(m, "ak_clip_pictures"))
        return &ak__poison;
    return ak__run_use(m, &(ak_inputs){ .x = x }, &(ak__use){
        .who = "ak_clip_pictures", .needs = AK_IN_X, .run = pictures_of });
}

ak_tensor *ak_clip_texts(ak_module *m, ak_inputs in)
{
    if (!AK__GIVEN(in.ids ? in.ids->ctx : NULL, m) || !is_clip(m, "ak_clip_texts"))
        return &ak__poison;
    return ak__run_use(m, &in, &(ak__use){ .who = "ak_clip_texts", .needs = AK_IN_IDS,
                                             .takes = TEXT_TAKES, .run = texts_of });
}

ak_tensor *ak_clip_log_scale(ak_module *m)
{
    if (!AK__GIVEN(NULL, m) || !is_clip(m, "ak_clip_log_scale"))
        return &ak__poison;
    return ak__own(m, 0);
}
