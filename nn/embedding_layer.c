/* SPDX-License-Identifier: Apache-2.0 */
/* A table that ids look up. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct embedding { int padding; } embedding;

static ak_tensor *embedding_forward(ak_module *m, const ak_inputs *in)
{
    return ak_embedding(ak__own(m, 0), in->ids, ((const embedding *)m->user)->padding);
}

static const ak_module_kind embedding_kind = {
    .name = "embedding", .forward_with = embedding_forward, .needs = AK_IN_IDS,
    AK__STATE(embedding) };

ak_module *ak_nn_embedding(ak_ctx *ctx, const char *name, int64_t count, int64_t width,
                           ak_embedding_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &embedding_kind);
    if (!m || !ak__module_positive(m, "the number of rows", count) ||
        !ak__module_positive(m, "width", width))
        return NULL;
    if (o.has_padding ? o.padding < 0 || o.padding >= count : o.padding != 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .padding %d must be in [0, %" PRId64 ") with .has_padding, "
                "and 0 without", m->name, o.padding, count);
        return NULL;
    }
    const ak_init how = ak__block_init(o.weight, 1);
    if (!ak__init_known(ctx, m->name, how))
        return NULL;
    *(embedding *)m->user = (embedding){ o.has_padding ? o.padding : AK_NONE };
    ak_tensor *w = ak__module_weight(m, AK_SHAPE(count, width), how);
    if (o.has_padding && !ak_is_poison(w))
        memset(w->data + o.padding * width, 0, (size_t)width * sizeof *w->data);
    ak_module_describe(m, "embedding, %" PRId64 " rows of %" PRId64, count, width);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
