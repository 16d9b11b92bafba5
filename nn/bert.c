/* SPDX-License-Identifier: Apache-2.0 */
/* BERT, and BERT with a head for masked words. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>

/* Own tensors; children: the norm of the embeddings, the layers, the pooler's layer if so. */
enum { WORDS, POSITIONS, TYPES };
enum { NORM, LAYERS };

typedef struct bert { ak_bert_options o; } bert;

static ak_tensor *embed(ak_module *m, const ak_inputs *in)
{
    const bert *b = m->user;
    const int64_t T = in->ids->shape.dims[1];
    ak_tensor *x = ak_embedding(ak__own(m, WORDS), in->ids, b->o.padding);
    ak_tensor *positions = ak_rows(ak__own(m, POSITIONS), 0, T);
    if (in->types) {
        ak_tensor *types = ak_embedding(ak__own(m, TYPES), in->types, AK_NONE);
        x = ak__instead(x, ak_add(x, positions));
        x = ak__instead(types, ak__instead(x, ak_add(x, types)));
    } else {
        x = ak__instead(x, ak_add(x, ak_add(positions, ak_rows(ak__own(m, TYPES), 0, 1))));
    }
    x = ak__instead(x, ak_forward(m->children[NORM], x));
    return ak__instead(x, ak_dropout(x, b->o.dropout));
}

static bool ids_fit(const ak_module *m, const ak_inputs *in, int64_t positions)
{
    char text[AK_SHAPE_TEXT], types[AK_SHAPE_TEXT];
    const ak_shape s = in->ids->shape;
    if (s.n != 2 || s.dims[1] < 1 || s.dims[1] > positions)
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected .ids [N, T], T in [1, %" PRId64
                "], got %s", m->name, m->what, positions, ak_shape_text(s, text));
    else if (in->types && !ak_shape_equal(in->types->shape, s))
        ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): .types is %s, .ids %s", m->name, m->what,
                ak_shape_text(in->types->shape, types), ak_shape_text(s, text));
    return ak_error(m->ctx) == AK_OK;
}

static ak_tensor *bert_forward(ak_module *m, const ak_inputs *in)
{
    const bert *b = m->user;
    if (!ids_fit(m, in, b->o.positions))
        return &ak__poison;
    ak_tensor *x = embed(m, in);
    if (ak_is_poison(x))
        return x;
    const ak_inputs own = { .x = x, .lengths = in->lengths, .mask = in->mask };
    return ak__instead(x, ak__run_layers(m, &own, LAYERS, b->o.layers));
}

#define BERT_TAKES (AK_IN_TYPES | AK_IN_LENGTHS | AK_IN_MASK)
static const ak_module_kind bert_kind = {
    .name = "BERT", .forward_with = bert_forward, .needs = AK_IN_IDS, .takes = BERT_TAKES,
    AK__STATE(bert) };

/* ---- making ---------------------------------------------------------------------------------- */

static bool fill_in(const ak_module *m, ak_bert_options *o)
{
    o->width = o->width ? o->width : 768;
    o->layers = o->layers ? o->layers : 12;
    o->heads = o->heads ? o->heads : 12;
    o->positions = o->positions ? o->positions : 512;
    o->types = o->types ? o->types : 2;
    o->eps = o->eps > 0 || o->eps < 0 ? o->eps : 1e-12;
    if (o->vocab >= 1 && o->width >= 1 && o->layers >= 1 && o->heads >= 1 && o->positions >= 1 &&
        o->types >= 1 && (o->padding == AK_NONE || (o->padding >= 0 && o->padding < o->vocab)))
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: .vocab %d, .width %d, .layers %d, .heads %d, .positions %d, "
            ".types %d must be at least 1, .padding %d a word or AK_NONE", m->name, o->vocab,
            o->width, o->layers, o->heads, o->positions, o->types, o->padding);
    return false;
}

ak_module *ak_bert(ak_ctx *ctx, const char *name, ak_bert_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &bert_kind);
    if (!m || !fill_in(m, &o))
        return NULL;
    *(bert *)m->user = (bert){ o };
    const ak_init how = ak__block_init((ak_init){ 0 }, 1);
    ak_module_describe(m, "BERT, %d layers of %d, %d words", o.layers, o.width, o.vocab);
    ak_init_fill(ak_module_add_param(m, "embeddings/word_embeddings/weight",
                                     AK_SHAPE(o.vocab, o.width), 0), how);
    ak_init_fill(ak_module_add_param(m, "embeddings/position_embeddings/weight",
                                     AK_SHAPE(o.positions, o.width), 0), how);
    ak_init_fill(ak_module_add_param(m, "embeddings/token_type_embeddings/weight",
                                     AK_SHAPE(o.types, o.width), 0), how);
    ak_module_begin(m);
    ak_nn_layer_norm(ctx, "embeddings/LayerNorm", o.width, o.eps);
    for (int i = 0; i < o.layers; i++) {
        char path[48];
        snprintf(path, sizeof path, "encoder/layer/%d", i);
        ak_nn_transformer_block(ctx, path, o.width, (ak_block_options){
            .heads = o.heads, .hidden = o.hidden, .activation = o.relu ? AK_RELU : AK_GELU,
            .post_norm = true, .eps = o.eps, .dropout = o.dropout,
            .attention_dropout = o.attention_dropout, .names = AK_NAMES_BERT });
    }
    if (o.pooler)
        ak__block_linear(ctx, "pooler/dense", o.width, o.width, false, how);
    return ak_module_end(m);
}

ak_tensor *ak_bert_pool(ak_module *m, ak_tensor *y)
{
    if (!AK__GIVEN(y ? y->ctx : NULL, m) || !AK__TENSOR(m->ctx, y))
        return &ak__poison;
    const bert *b = m->kind == &bert_kind ? m->user : NULL;
    if (!b || !b->o.pooler) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_bert_pool: %s (%s) is no BERT with .pooler", m->name,
                m->what);
        return &ak__poison;
    }
    return ak_tanh(ak_forward(m->children[LAYERS + b->o.layers], ak_pool_first(y)));
}

/* ---- masked words ---------------------------------------------------------------------------- */

/* Children; own tensor: the bias of the output layer. */
enum { BERT, DENSE, HEAD_NORM };

static ak_tensor *words_of(ak_module *m, ak_tensor *h)
{
    const bert *b = m->user;
    ak_tensor *x = ak_forward(m->children[DENSE], h);
    x = ak_forward(m->children[HEAD_NORM], b->o.relu ? ak_relu(x) : ak_gelu(x));
    return ak_linear(x, ak__own(m->children[BERT], WORDS), ak__own(m, 0));
}

static ak_tensor *masked_forward(ak_module *m, const ak_inputs *in)
{
    return words_of(m, ak__run(m->children[BERT], in, NULL));
}

static const ak_module_kind masked_kind = {
    .name = "BERT for masked words", .forward_with = masked_forward, .needs = AK_IN_IDS,
    .takes = BERT_TAKES, AK__STATE(bert) };

ak_module *ak_bert_masked(ak_ctx *ctx, const char *name, ak_bert_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &masked_kind);
    if (!m || !fill_in(m, &o))
        return NULL;
    *(bert *)m->user = (bert){ o };
    ak_module_add_param(m, "cls/predictions/bias", AK_SHAPE(o.vocab), AK_PARAM_NO_DECAY);
    ak_module_begin(m);
    ak_bert(ctx, "bert", o);
    ak__block_linear(ctx, "cls/predictions/transform/dense", o.width, o.width, false,
                     ak__block_init((ak_init){ 0 }, 1));
    ak_nn_layer_norm(ctx, "cls/predictions/transform/LayerNorm", o.width, o.eps);
    return ak_module_end(m);
}

ak_tensor *ak_bert_words(ak_module *m, ak_tensor *h)
{
    if (!AK__GIVEN(h ? h->ctx : NULL, m) || !AK__TENSOR(m->ctx, h))
        return &ak__poison;
    if (m->kind != &masked_kind) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_bert_words: %s (%s) is not of ak_bert_masked", m->name,
                m->what);
        return &ak__poison;
    }
    return words_of(m, h);
}
