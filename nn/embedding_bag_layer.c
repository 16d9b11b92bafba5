/* SPDX-License-Identifier: Apache-2.0 */
/* A table of embeddings for sets of ids. */
#include <akin/sequence.h>

#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

enum { WEIGHT };
typedef struct bag_layer { ak_embedding_bag_options options; } bag_layer;

static ak_tensor *bag_layer_forward(ak_module *m, const ak_inputs *in)
{
    ak_embedding_bag_options o = ((const bag_layer *)ak_module_user(m))->options;
    o.lengths = in->lengths;
    o.weights = in->x;
    return ak_embedding_bag(ak__own(m, WEIGHT), in->ids, o);
}

static const ak_module_kind bag_kind = {
    .name = "embedding bag", .forward_with = bag_layer_forward, .needs = AK_IN_IDS,
    .takes = AK_IN_LENGTHS | AK_IN_X, AK__STATE(bag_layer) };

ak_module *ak_nn_embedding_bag(ak_ctx *ctx, const char *name, int64_t vocabulary, int64_t dim,
                               ak_embedding_bag_layer_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &bag_kind);
    if (!m || !ak__module_positive(m, "vocabulary", vocabulary) ||
        !ak__module_positive(m, "dim", dim))
        return NULL;
    if ((int)o.mode < AK_BAG_MEAN || o.mode > AK_BAG_MAX ||
        (o.has_padding ? o.padding < 0 || o.padding >= vocabulary : o.padding != 0)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .mode %d must be in [0, %d] (ak_bag_mode), .padding %d in "
                "[0, %" PRId64 ") with .has_padding, and 0 without", m->name, (int)o.mode,
                (int)AK_BAG_MAX, o.padding, vocabulary);
        return NULL;
    }
    if (!ak__init_known(ctx, m->name, o.weight))
        return NULL;
    *(bag_layer *)ak_module_user(m) = (bag_layer){ { .mode = o.mode, .padding = o.padding,
                                                     .has_padding = o.has_padding } };
    const ak_init normal = { .kind = AK_INIT_NORMAL, .scale = 1 };
    ak_tensor *w = ak_module_add_param(m, "weight", AK_SHAPE(vocabulary, dim), 0);
    if (!ak_is_poison(w))
        ak_init_fill(w, o.weight.kind == AK_INIT_DEFAULT ? normal : o.weight);
    if (o.has_padding && !ak_is_poison(w))
        memset(w->data + o.padding * dim, 0, (size_t)dim * sizeof *w->data);
    static const char *const modes[] = { "mean", "sum", "largest" };
    ak_module_describe(m, "embedding bag %" PRId64 " x %" PRId64 ", %s", vocabulary, dim,
                       modes[o.mode]);
    return ak_error(ctx) == AK_OK ? m : NULL;
}
