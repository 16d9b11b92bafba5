/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of papers by name: a row says what stands behind each linear layer. */
#include <akin/heads.h>

#include "base/text.h"
#include "nn/module.h"

#include <string.h>

enum { NORM = true, NO_NORM = false, BIAS = false, NO_BIAS = true };

/* name, source, linear layers, hidden, out, batch norm behind hidden ones, bias of the last one,
 * what stands behind that */
static const ak_head_kind table[] = {
    { "none", "x itself", 0, 0, 0, NO_NORM, NO_BIAS, AK_HEAD_BARE },
    { "linear", "a linear layer", 1, 0, 0, NO_NORM, BIAS, AK_HEAD_BARE },
    { "simclr", "SimCLR: Chen et al., arXiv 2002.05709, appendix B", 2, 0, 128, NORM, NO_BIAS,
      AK_HEAD_NORM },
    { "simclr-v2", "SimCLR v2: Chen et al., arXiv 2006.10029", 3, 0, 128, NORM, NO_BIAS,
      AK_HEAD_NORM },
    { "supcon", "SupCon: Khosla et al., arXiv 2004.11362", 2, 0, 128, NO_NORM, BIAS,
      AK_HEAD_UNIT },
    { "moco", "MoCo: He et al., arXiv 1911.05722", 1, 0, 128, NO_NORM, BIAS, AK_HEAD_UNIT },
    { "moco-v2", "MoCo v2: Chen et al., arXiv 2003.04297", 2, 0, 128, NO_NORM, BIAS,
      AK_HEAD_UNIT },
    { "moco-v3", "MoCo v3, ResNet: Chen et al., arXiv 2104.02057", 2, 4096, 256, NORM, NO_BIAS,
      AK_HEAD_PLAIN_NORM },
    { "moco-v3-predictor", "MoCo v3, ResNet", 2, 4096, 0, NORM, NO_BIAS, AK_HEAD_BARE },
    { "moco-v3-vit", "MoCo v3, ViT", 3, 4096, 256, NORM, NO_BIAS, AK_HEAD_PLAIN_NORM },
    { "moco-v3-vit-predictor", "MoCo v3, ViT", 2, 4096, 0, NORM, NO_BIAS, AK_HEAD_PLAIN_NORM },
    { "byol", "BYOL: Grill et al., arXiv 2006.07733", 2, 4096, 256, NORM, NO_BIAS, AK_HEAD_BARE },
    { "byol-predictor", "BYOL", 2, 4096, 0, NORM, NO_BIAS, AK_HEAD_BARE },
    { "simsiam", "SimSiam: Chen, He, arXiv 2011.10566", 3, 2048, 2048, NORM, NO_BIAS,
      AK_HEAD_PLAIN_NORM },
    { "simsiam-predictor", "SimSiam", 2, 512, 0, NORM, BIAS, AK_HEAD_BARE },
    { "barlow", "Barlow Twins: Zbontar et al., arXiv 2103.03230", 3, 8192, 8192, NORM, NO_BIAS,
      AK_HEAD_BARE },
    { "vicreg", "VICReg: Bardes et al., arXiv 2105.04906", 3, 8192, 8192, NORM, NO_BIAS,
      AK_HEAD_BARE },
    { "nnclr", "NNCLR: Dwibedi et al., arXiv 2104.14548", 3, 2048, 256, NORM, NO_BIAS,
      AK_HEAD_NORM },
    { "nnclr-predictor", "NNCLR", 2, 4096, 0, NORM, BIAS, AK_HEAD_BARE },
    { "swav", "SwAV: Caron et al., arXiv 2006.09882", 2, 2048, 128, NORM, BIAS, AK_HEAD_UNIT },
    { "clip", "CLIP: Radford et al., arXiv 2103.00020", 1, 0, 512, NO_NORM, NO_BIAS,
      AK_HEAD_UNIT },
    { "pixpro", "PixPro: Xie et al., arXiv 2011.10043; on maps", 2, 4096, 256, NORM, BIAS,
      AK_HEAD_BARE },
    { "hydra", "Hydra/SimLAP, 2024", 2, 2048, 256, NORM, NO_BIAS, AK_HEAD_LAYER_NORM },
};
enum { KINDS = sizeof table / sizeof *table };

const ak_head_kind *ak_head_at(int i)
{
    return i >= 0 && i < KINDS ? &table[i] : NULL;
}

const ak_head_kind *ak_head_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    for (int i = 0; i < KINDS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* ---- making one ------------------------------------------------------------------------------ */

static ak_tensor *head_forward(ak_module *m, ak_tensor *x)
{
    ak_module *part;
    for (int64_t i = 0; (part = ak_module_child(m, i)) != NULL; i++)
        x = ak_forward(part, x);
    return x;
}

static const ak_module_kind head_module = { .name = "head", .forward = head_forward };

static void fail_unknown(ak_ctx *ctx, const char *name, const char *kind)
{
    char list[700];
    ak__text text = ak__text_in(list, sizeof list);
    for (int i = 0; i < KINDS; i++)
        ak__text_add(&text, "%s%s", i ? ", " : "", table[i].name);
    ak_fail(ctx, AK_ERR_NOT_FOUND, "ak_head: %.80s: there is no kind \"%.40s\"\n    hint: there "
            "are %s", name, kind, list);
}

static bool sizes_fit(ak_ctx *ctx, const char *name, const ak_head_kind *k, int in,
                      ak_head_options o)
{
    if (in < 1 || o.hidden < 0 || o.out < 0 || o.groups < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_head: %.80s (%s): in %d must be >= 1, hidden %d, out %d and "
                "groups %d >= 0", name, k->name, in, o.hidden, o.out, o.groups);
        return false;
    }
    if ((o.hidden && k->layers < 2) || (o.out && k->layers < 1 && o.out != in)) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_head: %.80s: a head of kind %s has %s layer that .%s = %d "
                "could be the size of", name, k->name, k->layers ? "no hidden" : "no",
                o.hidden ? "hidden" : "out", o.hidden ? o.hidden : o.out);
        return false;
    }
    return true;
}

/* Layer i (from 1) of n in the open module. */
static void add_layer(ak_ctx *ctx, const ak_head_kind *k, int i, int in, int out, int groups)
{
    char name[32];
    const bool last = i == k->layers;
    const bool norm = last ? k->end == AK_HEAD_NORM || k->end == AK_HEAD_PLAIN_NORM
                           : k->batch_norm;
    ak_nn_linear(ctx, ak__numbered(name, "fc", i), in, out,
                 (ak_linear_options){ .no_bias = last ? k->no_bias_out : norm,
                                      .relu = !last && !norm });
    if (norm)
        ak_nn_batch_norm(ctx, ak__numbered(name, "bn", i), out,
                         (ak_batch_norm_options){ .relu = !last, .groups = groups,
                                                  .no_affine = last &&
                                                               k->end == AK_HEAD_PLAIN_NORM });
}

ak_module *ak_head(ak_ctx *ctx, const char *name, const char *kind, int in, ak_head_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, kind))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    const ak_head_kind *k = ak_head_find(kind);
    if (!k)
        fail_unknown(ctx, name, kind);
    if (!k || !sizes_fit(ctx, name, k, in, o))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &head_module);
    if (!m)
        return NULL;
    const int hidden = o.hidden ? o.hidden : k->hidden ? k->hidden : in;
    const int out = o.out ? o.out : k->out ? k->out : in;
    if (k->layers > 1)
        ak_module_describe(m, "%s head %d -> %d -> %d, %d layers", k->name, in, hidden, out,
                           k->layers);
    else
        ak_module_describe(m, "%s head %d -> %d", k->name, in, out);
    ak_module_begin(m);
    for (int i = 1; i <= k->layers; i++)
        add_layer(ctx, k, i, i == 1 ? in : hidden, i == k->layers ? out : hidden, o.groups);
    if (k->end == AK_HEAD_LAYER_NORM)
        ak_nn_layer_norm(ctx, "ln", out, 0);
    if (k->end == AK_HEAD_UNIT)
        ak_nn_l2_normalize(ctx, "unit");
    return ak_module_end(m);
}
