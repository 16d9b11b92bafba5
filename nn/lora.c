/* SPDX-License-Identifier: Apache-2.0 */
/* Low-rank adapters of linear layers (Hu et al. 2021).
 *
 * What a file or a copy must hold stands in tensors: alpha, and whether the adapter is part of the
 * weight (0 = no; else a mark made of a and b). The mark says with which numbers the weight was
 * changed: where these are others now, taking them off again would leave something else. */
#include "nn/linear.h"

#include <akin/weights.h>

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

#define ADAPTER "*lora_a,*lora_b,*lora_alpha"

/* ---- running --------------------------------------------------------------------------------- */

/* A number from 1 to 2^23, which a float holds exactly. */
static ak_real mark_of(const ak_module *m, const ak__linear *l)
{
    uint64_t hash = AK__HASH_START;
    for (int i = AK__LORA_A; i <= AK__LORA_B; i++) {
        const ak_tensor *t = ak__lora(m, l, i);
        hash = ak__hash_bytes(hash, t->data, (size_t)t->size * sizeof *t->data);
    }
    return (ak_real)(1 + ((hash ^ hash >> 32) & 0x7fffff));
}

static bool is_merged(const ak_module *m, const ak__linear *l)
{
    return ak__lora(m, l, AK__LORA_MERGED)->data[0] != 0;
}

static bool mark_is_right(const ak_module *m, const ak__linear *l, const char *who)
{
    const ak_real mark = ak__lora(m, l, AK__LORA_MERGED)->data[0], now = mark_of(m, l);
    if (mark >= now && mark <= now)
        return true;
    ak_fail(m->ctx, AK_ERR_STATE, "%s: %s: its adapter is part of the weight (ak_lora_merge), but "
            "lora_a or lora_b have other numbers now\n    hint: ak_lora_unmerge before they are "
            "trained, loaded or averaged", who, m->name);
    return false;
}

static double scale_of(const ak_module *m, const ak__linear *l)
{
    return (double)ak__lora(m, l, AK__LORA_ALPHA)->data[0] / (double)l->rank;
}

/* Looks at the numbers of a merged adapter again where one of its tensors changed. */
static bool still_right(const ak_module *m, ak__linear *l)
{
    uint64_t versions = 1;              /* 0: never looked at */
    for (int i = AK__LORA_A; i <= AK__LORA_MERGED; i++)
        versions += (uint64_t)ak__lora(m, l, i)->owner->version;
    if (l->checked != versions && !mark_is_right(m, l, "ak_forward"))
        return false;
    l->checked = versions;
    return true;
}

ak_tensor *ak__linear_weight(ak_module *m)
{
    ak__linear *l = ak__linear_of(m);
    ak_tensor  *w = ak__own(m, 0);
    if (!l || !l->rank)
        return w;
    if (is_merged(m, l))
        return still_right(m, l) ? w : &ak__poison;
    if (l->dropout > 0 && ak_is_training(m->ctx)) {
        ak_fail(m->ctx, AK_ERR_UNSUPPORTED, "%s: the module around it uses its weight without "
                "running it, so that its adapter's .dropout = %g can not act\n"
                "    hint: ak_lora_add with .dropout = 0 for this layer", m->name, l->dropout);
        return &ak__poison;
    }
    return ak_add(w, ak_scale(ak_matmul(ak__lora(m, l, AK__LORA_B), ak__lora(m, l, AK__LORA_A)),
                              scale_of(m, l)));
}

ak_tensor *ak__lora_forward(ak_module *m, ak_tensor *x, ak_tensor *y)
{
    ak__linear *l = ak__linear_of(m);
    if (is_merged(m, l))
        return still_right(m, l) ? y : &ak__poison;
    ak_tensor *dropped = l->dropout > 0 ? ak_dropout(x, l->dropout) : x;
    ak_tensor *low = ak_linear(dropped, ak__lora(m, l, AK__LORA_A), NULL);
    /* Scaled where it is narrow: [.., rank]. */
    return ak_add(y, ak_linear(ak_scale(low, scale_of(m, l)), ak__lora(m, l, AK__LORA_B), NULL));
}

/* ---- the layers of a module ------------------------------------------------------------------ */

/* Linear layers below m, each once: step memory. */
typedef struct layers {
    int64_t     n;
    ak_module **all;
} layers;

static int64_t gather(ak_module *m, bool adapted, uint64_t visit, ak_module **to)
{
    int64_t n = 0;
    if (!ak__first_visit(m, visit))
        return 0;
    const ak__linear *l = ak__linear_of(m);
    if (l && (!adapted || l->rank)) {
        if (to)
            to[n] = m;
        n++;
    }
    for (int64_t i = 0; i < m->n_children; i++)
        n += gather(m->children[i], adapted, visit, to ? to + n : NULL);
    return n;
}

/* All, or those with an adapter. */
static bool find_layers(ak_module *m, bool adapted, layers *found)
{
    found->n = gather(m, adapted, ak__new_visit(m), NULL);
    found->all = ak__step_alloc(m->ctx, (size_t)(found->n + 1) * sizeof *found->all);
    if (found->all)
        gather(m, adapted, ak__new_visit(m), found->all);
    return found->all != NULL;
}

static const char *layer_name(void *of, int64_t i)
{
    const layers *l = of;
    return i < l->n ? l->all[i]->name : NULL;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool options_fit(ak_ctx *ctx, const ak_lora_options *o)
{
    if (o->rank < 1)
        ak_fail(ctx, AK_ERR_VALUE, "ak_lora_add: .rank = %" PRId64 " must be at least 1", o->rank);
    else if (!(o->alpha > 0) || !((double)(ak_real)o->alpha <= 1e30))
        ak_fail(ctx, AK_ERR_VALUE, "ak_lora_add: .alpha = %g is not in (0, 1e30]", o->alpha);
    else if (!(o->dropout >= 0 && o->dropout < 1))
        ak_fail(ctx, AK_ERR_VALUE, "ak_lora_add: .dropout = %g is not in [0, 1)", o->dropout);
    else
        return ak__init_known(ctx, "lora_a", o->a);
    return false;
}

static bool can_add(const ak_module *m, const ak__linear *l)
{
    static const char *const names[] = { "lora_a", "lora_b", "lora_alpha", "lora_merged" };
    char path[AK__NAME_MAX];
    if (l->rank) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_lora_add: %s has an adapter already, of rank %" PRId64,
                m->name, l->rank);
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%.255s/%s", m->name, names[i]);
        if (!ak_param_find(m->ctx, path))
            continue;
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_lora_add: the name %s is used already", path);
        return false;
    }
    return true;
}

static bool add(ak_module *m, ak__linear *l, const ak_lora_options *o)
{
    const ak_tensor *w = ak__own(m, 0);
    const int64_t out = w->shape.dims[0], in = w->shape.dims[1];
    ak_tensor *a = ak_module_add_param(m, "lora_a", AK_SHAPE(o->rank, in), 0);
    ak_tensor *b = ak_module_add_param(m, "lora_b", AK_SHAPE(out, o->rank), 0);
    ak_tensor *alpha = ak_module_add_buffer(m, "lora_alpha", AK_SHAPE(1));
    const ak_tensor *merged = ak_module_add_buffer(m, "lora_merged", AK_SHAPE(1));
    if (ak_is_poison(a) || ak_is_poison(b) || ak_is_poison(alpha) || ak_is_poison(merged) ||
        ak_init_fill(a, o->a) != AK_OK)
        return false;
    ak_fill(alpha, o->alpha);
    l->rank = o->rank;
    l->dropout = o->dropout;
    ak_module_describe(m, "%s, LoRA %" PRId64, m->what, o->rank);
    return ak_error(m->ctx) == AK_OK;
}

static bool is_adapter(const char *name)
{
    return ak_match("*/lora_a,*/lora_b", name);
}

static void freeze_base(ak_module *m)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        if ((t->flags & AK_PARAM_BUFFER) || is_adapter(t->name))
            continue;
        t->needs_grad = false;
        t->flags |= AK_PARAM_FROZEN;
        ak__zero_grad_of(t);
    }
}

int64_t ak_lora_add(ak_module *m, const char *pattern, ak_lora_options o)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, pattern))
        return 0;
    ak_ctx *ctx = m->ctx;
    layers  found;
    char    what[AK__NAME_MAX];
    o.rank = o.rank ? o.rank : 8;
    o.alpha = o.alpha == 0 ? (double)o.rank : o.alpha;
    if (ak_error(ctx) != AK_OK || !ak__complete(m, "ak_lora_add") || !options_fit(ctx, &o) ||
        !find_layers(m, false, &found))
        return 0;
    snprintf(what, sizeof what, "linear layer of %.200s", m->name);
    const int64_t count = ak__pattern_count(ctx, "ak_lora_add", pattern, (ak__names){
        .what = what, .at = layer_name, .of = &found });
    if (count < 0)
        return 0;
    for (int64_t i = 0; i < found.n; i++)
        if (ak_match(pattern, found.all[i]->name) &&
            !can_add(found.all[i], ak__linear_of(found.all[i])))
            return 0;
    for (int64_t i = 0; i < found.n; i++)
        if (ak_match(pattern, found.all[i]->name) &&
            !add(found.all[i], ak__linear_of(found.all[i]), &o))
            return 0;
    freeze_base(m);
    return count;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* weight += factor b a. Sums in double, one rounding; no memory that could be missing half-way. */
static void add_product(ak_tensor *w, const ak_tensor *b, const ak_tensor *a, double factor)
{
    enum { SOME = 256 };
    const int64_t out = w->shape.dims[0], in = w->shape.dims[1], rank = a->shape.dims[0];
    for (int64_t o = 0; o < out; o++)
        for (int64_t at = 0; at < in; at += SOME) {
            double sum[SOME] = { 0 };
            const int64_t n = in - at < SOME ? in - at : SOME;
            for (int64_t r = 0; r < rank; r++) {
                const ak_real *row = a->data + r * in + at;
                const double   x = (double)b->data[o * rank + r];
                for (int64_t i = 0; i < n; i++)
                    sum[i] += x * (double)row[i];
            }
            ak_real *to = w->data + o * in + at;
            for (int64_t i = 0; i < n; i++)
                to[i] = (ak_real)((double)to[i] + factor * sum[i]);
        }
}

/* Every layer with an adapter, if they all are in the other state. */
static ak_status change(ak_module *m, bool merge, const char *who)
{
    ak_ctx *ctx = m->ctx;
    layers  found;
    if (ak_error(ctx) != AK_OK || !ak__complete(m, who) || !find_layers(m, true, &found))
        return ak_error(ctx);
    if (found.n == 0)
        return ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no linear layer of %s has an adapter\n"
                       "    hint: ak_lora_add makes them", who, m->name);
    for (int64_t i = 0; i < found.n; i++) {
        const ak_module  *layer = found.all[i];
        const ak__linear *l = ak__linear_of(layer);
        if (is_merged(layer, l) == merge)
            return ak_fail(ctx, AK_ERR_STATE, "%s: the adapter of %s is %spart of its weight%s",
                           who, layer->name, merge ? "" : "no ", merge ? " already" : "");
        if (!merge && !mark_is_right(layer, l, who))
            return ak_error(ctx);
    }
    for (int64_t i = 0; i < found.n; i++) {
        const ak_module  *layer = found.all[i];
        const ak__linear *l = ak__linear_of(layer);
        ak_tensor *w = ak__own(layer, 0), *merged = ak__lora(layer, l, AK__LORA_MERGED);
        add_product(w, ak__lora(layer, l, AK__LORA_B), ak__lora(layer, l, AK__LORA_A),
                    merge ? scale_of(layer, l) : -scale_of(layer, l));
        merged->data[0] = merge ? mark_of(layer, l) : 0;
        ak__changed(w, who);
        ak__changed(merged, who);
    }
    return AK_OK;
}

ak_status ak_lora_merge(ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return ak__refused(NULL);
    return change(m, true, "ak_lora_merge");
}

ak_status ak_lora_unmerge(ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return ak__refused(NULL);
    return change(m, false, "ak_lora_unmerge");
}

/* ---- files ----------------------------------------------------------------------------------- */

/* There are adapters, and none is part of a weight. */
static bool stand_alone(ak_module *m, const char *who)
{
    layers found;
    if (ak_error(m->ctx) != AK_OK || !ak__complete(m, who) || !find_layers(m, true, &found))
        return false;
    if (found.n == 0)
        ak_fail(m->ctx, AK_ERR_NOT_FOUND, "%s: no linear layer of %s has an adapter\n    hint: "
                "ak_lora_add makes them", who, m->name);
    for (int64_t i = 0; i < found.n; i++)
        if (is_merged(found.all[i], ak__linear_of(found.all[i])))
            ak_fail(m->ctx, AK_ERR_STATE, "%s: the adapter of %s is part of its weight\n    hint: "
                    "ak_lora_unmerge first", who, found.all[i]->name);
    return ak_error(m->ctx) == AK_OK;
}

ak_status ak_lora_save(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    if (!stand_alone(m, "ak_lora_save"))
        return ak_error(m->ctx);
    return ak_module_save_safetensors(m, path, (ak_weight_map){ .only = ADAPTER });
}

ak_status ak_lora_load(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    if (!stand_alone(m, "ak_lora_load"))
        return ak_error(m->ctx);
    return ak_module_load_safetensors(m, path, (ak_weight_map){ .only = ADAPTER });
}
