/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters and buffers: slabs, names, freezing, the hash of the weights. */
#include "base/frame.h"
#include "base/whole.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

/* Values and gradients of parameters stand in twin slabs, one pair for those with weight decay and
 * one for those without, so that an optimiser walks few long runs. Padding between parameters is
 * zero in both and stays zero. */
#define SLAB_NUMBERS ((int64_t)1 << 18)
#define STEP ((int64_t)(AK__ALIGN / sizeof(ak_real)))

typedef struct slab { ak_real *data, *grad; int64_t size, used; } slab;
enum { WITH_DECAY, WITHOUT_DECAY, BUFFERS, SLABS };

typedef struct params {
    ak_tensor **list;
    int64_t     n, room;
    int32_t    *table;          /* open addressing by the name's hash: position + 1, 0 = free */
    int64_t     table_size;     /* power of two */
    slab        slabs[SLABS];
} params;

static params *params_of(ak_ctx *ctx)
{
    void **slot = ak__ctx_slot(ctx, AK__SLOT_PARAMS);
    if (!*slot)
        *slot = ak__ctx_alloc(ctx, sizeof(params));
    return *slot;
}

static int64_t table_place(const params *p, const char *name)
{
    uint64_t h = ak__hash_bytes(AK__HASH_START, name, strlen(name));
    int64_t  i = (int64_t)(h & (uint64_t)(p->table_size - 1));
    while (p->table[i] && strcmp(p->list[p->table[i] - 1]->name, name) != 0)
        i = (i + 1) & (p->table_size - 1);
    return i;
}

static bool make_room(ak_ctx *ctx, params *p)
{
    if (p->n < p->room)
        return true;
    int64_t     room = p->room ? 2 * p->room : 64;
    ak_tensor **list = ak__ctx_alloc(ctx, (size_t)room * sizeof *list);
    int32_t    *table = list ? ak__ctx_alloc(ctx, (size_t)(4 * room) * sizeof *table) : NULL;
    if (!table)
        return false;
    if (p->n)
        memcpy(list, p->list, (size_t)p->n * sizeof *list);
    p->list = list;
    p->table = table;
    p->room = room;
    p->table_size = 4 * room;
    for (int64_t i = 0; i < p->n; i++)
        p->table[table_place(p, list[i]->name)] = (int32_t)i + 1;
    return true;
}

static bool slab_take(ak_ctx *ctx, slab *s, int64_t size, bool grad, ak_real **data, ak_real **g)
{
    const int64_t need = ak__round_to(size, STEP);
    if (!s->data || s->size - s->used < need) {
        slab fresh = { .size = need > SLAB_NUMBERS ? need : SLAB_NUMBERS };
        fresh.data = ak__ctx_alloc(ctx, (size_t)fresh.size * sizeof(ak_real));
        if (!fresh.data)
            return false;
        if (grad) {
            fresh.grad = ak__ctx_alloc(ctx, (size_t)fresh.size * sizeof(ak_real));
            if (!fresh.grad)
                return false;
        }
        /* A parameter larger than a slab gets one of its own; the current one stays in use. */
        if (need >= SLAB_NUMBERS && s->data) {
            *data = fresh.data;
            *g = fresh.grad;
            return true;
        }
        *s = fresh;
    }
    *data = s->data + s->used;
    *g = grad ? s->grad + s->used : NULL;
    s->used += need;
    return true;
}

static int slab_of(int flags)
{
    if (flags & AK_PARAM_BUFFER)
        return BUFFERS;
    return flags & AK_PARAM_NO_DECAY ? WITHOUT_DECAY : WITH_DECAY;
}

int64_t ak__param_room(const ak_tensor *t)
{
    return ak__round_to(t->size, STEP);
}

bool ak__param_adjacent(const ak_tensor *a, const ak_tensor *b)
{
    const int64_t room = ak__param_room(a);
    if (b->data != a->data + room || !a->grad != !b->grad)
        return false;
    return !a->grad || b->grad == a->grad + room;
}

ak_tensor *ak__param_next(ak_ctx *ctx, int64_t *at)
{
    const params *p = *ak__ctx_slot(ctx, AK__SLOT_PARAMS);
    while (p && *at < SLABS * p->n) {
        const int64_t i = (*at)++;
        ak_tensor *t = p->list[i % p->n];
        if (slab_of(t->flags) == i / p->n)
            return t;
    }
    return NULL;
}

ak_tensor *ak_param(ak_ctx *ctx, const char *name, ak_shape shape, int flags)
{
    if (!AK__GIVEN(NULL, ctx) || ctx->status != AK_OK || !AK__GIVEN(ctx, name))
        return &ak__poison;
    char    text[AK_SHAPE_TEXT];
    int64_t size = ak__shape_check(shape);
    if (!ak__name_legal(ctx, "param", name))
        return &ak__poison;
    if (size < 1) {
        ak_fail(ctx, AK_ERR_SHAPE, "param: \"%s\": no such shape: %s", name,
                ak_shape_text(shape, text));
        return &ak__poison;
    }
    if (ak_param_find(ctx, name)) {
        ak_fail(ctx, AK_ERR_VALUE, "param: the name \"%s\" is used already\n"
                "    hint: two modules of one context need different names", name);
        return &ak__poison;
    }
    params *p = params_of(ctx);
    if (!p || !make_room(ctx, p))
        return &ak__poison;
    const int known = AK_PARAM_NO_DECAY | AK_PARAM_BUFFER | AK_PARAM_FROZEN;
    if (flags & ~known) {
        ak_fail(ctx, AK_ERR_VALUE, "param: \"%s\": unknown flags 0x%x (known: 0x%x, "
                "ak_param_flags)", name, (unsigned)(flags & ~known), (unsigned)known);
        return &ak__poison;
    }
    bool       buffer = flags & AK_PARAM_BUFFER;
    slab      *s = &p->slabs[slab_of(flags)];
    ak_tensor *t = ak__ctx_alloc(ctx, sizeof *t);
    char      *copy = t ? ak__ctx_strdup(ctx, name) : NULL;
    ak_real   *data = NULL, *grad = NULL;
    if (!copy || !slab_take(ctx, s, size, !buffer, &data, &grad))
        return &ak__poison;
    *t = (ak_tensor){ .data = data, .grad = grad, .shape = shape, .size = size, .ctx = ctx,
                      .name = copy, .root = t, .owner = t, .flags = (uint8_t)flags,
                      .grad_is_zero = true,
                      .needs_grad = !buffer && !(flags & AK_PARAM_FROZEN) };
    p->list[p->n] = t;
    p->table[table_place(p, copy)] = (int32_t)++p->n;
    return t;
}

ak_tensor *ak_buffer(ak_ctx *ctx, const char *name, ak_shape shape)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return &ak__poison;
    return ak_param(ctx, name, shape, AK_PARAM_BUFFER | AK_PARAM_NO_DECAY);
}

ak_tensor *ak_param_at(ak_ctx *ctx, int64_t i)
{
    if (!AK__GIVEN(NULL, ctx))
        return NULL;
    const params *p = *ak__ctx_slot(ctx, AK__SLOT_PARAMS);
    return p && i >= 0 && i < p->n ? p->list[i] : NULL;
}

ak_tensor *ak_param_find(ak_ctx *ctx, const char *name)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    const params *p = *ak__ctx_slot(ctx, AK__SLOT_PARAMS);
    if (!p || !p->n)
        return NULL;
    int32_t at = p->table[table_place(p, name)];
    return at ? p->list[at - 1] : NULL;
}

int64_t ak_freeze(ak_ctx *ctx, const char *pattern, bool frozen)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return 0;
    if (ctx->status != AK_OK || !ak__outside_frames(ctx, "ak_freeze"))
        return 0;
    const int64_t count = ak__pattern_params(ctx, frozen ? "freeze" : "unfreeze", pattern, false);
    for (int64_t i = 0; count > 0 && ak_param_at(ctx, i); i++) {
        ak_tensor *t = ak_param_at(ctx, i);
        if ((t->flags & AK_PARAM_BUFFER) || !ak_match(pattern, t->name))
            continue;
        t->needs_grad = !frozen;
        t->flags = (uint8_t)(frozen ? t->flags | AK_PARAM_FROZEN : t->flags & ~AK_PARAM_FROZEN);
    }
    return count > 0 ? count : 0;
}

void ak__zero_grad_of(ak_tensor *t)
{
    if (t->grad)
        memset(t->grad, 0, (size_t)t->size * sizeof(ak_real));
    t->grad_is_zero = true;
}

void ak__zero_param_grads(ak_ctx *ctx)
{
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        ak__zero_grad_of(ak_param_at(ctx, i));
}

uint32_t ak_hash(ak_ctx *ctx, const char *pattern)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pattern))
        return 0;
    uint64_t h = AK__HASH_START;
    if (ak__pattern_params(ctx, "hash", pattern, true) < 0)
        return 0;
    for (int64_t i = 0; ak_param_at(ctx, i); i++) {
        const ak_tensor *t = ak_param_at(ctx, i);
        if (!ak_match(pattern, t->name))
            continue;
        h = ak__hash_bytes(h, t->name, strlen(t->name));
        h = ak__hash_bytes(h, t->data, (size_t)t->size * sizeof(ak_real));
    }
    return (uint32_t)(h ^ (h >> 32));
}
