/* SPDX-License-Identifier: Apache-2.0 */
/* Running modules: what is handed in against what a module takes, evaluation mode, the call. */
#include "nn/module.h"

#include "autograd/recompute.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <stddef.h>
#include <string.h>

/* ---- inputs ---------------------------------------------------------------------------------- */

typedef enum field_kind { TENSOR, INDEX, POINTER } field_kind;
typedef struct field {
    const char *name, *what;        /* in lists, in what is said of one */
    unsigned    bit;
    field_kind  kind;
    size_t      offset;
} field;

#define FIELD_TENSOR TENSOR
#define FIELD_INDEX INDEX
#define FIELD_POINTER POINTER
static const field fields[] = {
#define FIELD(bit, kind, name) \
    { #name, "input ." #name, AK_IN_##bit, FIELD_##kind, offsetof(ak_inputs, name) },
    AK_INPUT_MAP(FIELD)
#undef FIELD
};
#define FIELDS (sizeof fields / sizeof *fields)

static void *value_of(const ak_inputs *in, const field *f)
{
    void *value;
    memcpy(&value, (const char *)in + f->offset, sizeof value);
    return value;
}

static unsigned given(const ak_inputs *in)
{
    unsigned bits = 0;
    for (size_t i = 0; i < FIELDS; i++)
        bits |= value_of(in, &fields[i]) ? fields[i].bit : 0;
    return bits;
}

/* ".x, .lengths" */
static const char *list(unsigned bits, char buf[160])
{
    ak__text text = ak__text_in(buf, 160);
    for (size_t i = 0; i < FIELDS; i++)
        if (bits & fields[i].bit)
            ak__text_add(&text, "%s.%s", text.n ? ", " : "", fields[i].name);
    if (!text.n)
        ak__text_add(&text, "nothing");
    return buf;
}

unsigned ak_module_takes(const ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return 0;
    unsigned takes = m->kind->needs | m->kind->takes | (m->kind->forward ? AK_IN_X : 0u);
    for (int64_t i = 0; m->kind->container && i < m->n_children; i++)
        takes |= ak_module_takes(m->children[i]);
    return takes ? takes : AK_IN_X;         /* a container without parts hands x on */
}

ak_inputs ak_inputs_for(const ak_module *m, ak_inputs in)
{
    const unsigned takes = m ? ak_module_takes(m) | AK_IN_X : AK_IN_ALL;
    if (!AK__GIVEN(NULL, m))
        return in;
    for (size_t i = 0; i < FIELDS; i++)
        if (!(takes & fields[i].bit))
            memset((char *)&in + fields[i].offset, 0, sizeof(void *));
    return in;
}

static unsigned needs_of(const ak_module *m)
{
    return m->kind->needs | (m->kind->forward ? AK_IN_X : 0u);
}

/* Fits what is there with what is taken, and is all of it usable? */
static bool inputs_fit(const ak_module *m, const ak_inputs *in, unsigned needs, unsigned takes)
{
    const unsigned there = given(in);
    char a[160], b[160], c[160];
    if (there & ~takes) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): is handed %s, which it does not take; it takes %s",
                m->name, m->what, list(there & ~takes, a), list(takes, b));
        return false;
    }
    if (needs & ~there) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s (%s): %s is missing; it is handed %s and needs %s\n"
                "    hint: ak_forward_with(m, (ak_inputs){ .x = .., .. })", m->name, m->what,
                list(needs & ~there, a), list(there, b), list(needs, c));
        return false;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        const void  *value = value_of(in, f);
        if (value && ((f->kind == TENSOR &&
                       !ak__tensor_check(m->ctx, value, "ak_forward_with", f->what)) ||
                      (f->kind == INDEX &&
                       !ak__index_known(m->ctx, value, "ak_forward_with", f->what))))
            return false;
    }
    return true;
}

/* ---- rows of inputs -------------------------------------------------------------------------- */

/* A bias of [Tq, Tk] or [H, Tq, Tk] is every sample's. */
static bool is_shared(const field *f, const ak_inputs *in)
{
    return f->bit == AK_IN_BIAS && in->bias->shape.n < 4;
}

static const ak_shape *shape_of(const field *f, const void *value)
{
    return f->kind == TENSOR ? &((const ak_tensor *)value)->shape
                             : &((const ak_index *)value)->shape;
}

bool ak__inputs_rows(const ak_module *m, const ak_inputs *in, int64_t *rows)
{
    const field *first = NULL;
    char text[AK_SHAPE_TEXT];
    if (!inputs_fit(m, in, needs_of(m), ak_module_takes(m)))
        return false;
    for (size_t i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        const void  *value = value_of(in, f);
        if (!value || is_shared(f, in))
            continue;
        if (f->kind == POINTER) {
            ak_fail(m->ctx, AK_ERR_VALUE, "%s: .%s is the caller's and goes from call to call: it "
                    "can not be divided by samples", m->name, f->name);
            return false;
        }
        const ak_shape *shape = shape_of(f, value);
        const int64_t n = shape->n ? shape->dims[0] : -1;
        if (n < 0 || (first && n != *rows)) {
            ak_fail(m->ctx, AK_ERR_SHAPE, "%s: .%s is %s, samples along the first axis are wanted"
                    "%s%s", m->name, f->name, ak_shape_text(*shape, text),
                    first ? ", as many as in ." : "", first ? first->name : "");
            return false;
        }
        first = first ? first : f;
        *rows = n;
    }
    if (!first)
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: is handed nothing that has samples", m->name);
    return first;
}

static ak_index *index_rows(ak_ctx *ctx, const ak_index *x, int64_t first, int64_t count)
{
    ak_index *part = ak__step_shell(ctx);
    if (!part)
        return NULL;
    const int64_t width = x->shape.dims[0] ? x->size / x->shape.dims[0] : 0;
    *part = (ak_index){ .data = x->data + first * width, .shape = x->shape, .size = count * width,
                        .ctx = ctx, .generation = ctx->generation, .of_rows = true };
    part->shape.dims[0] = count;
    return part;
}

ak_inputs ak__inputs_slice(ak_ctx *ctx, const ak_inputs *in, int64_t first, int64_t count)
{
    ak_inputs part = *in;
    for (size_t i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        void *value = value_of(in, f);
        if (!value || f->kind == POINTER || is_shared(f, in))
            continue;
        void *rows = f->kind == TENSOR ? (void *)ak__slice_rows(value, first, count)
                                       : (void *)index_rows(ctx, value, first, count);
        memcpy((char *)&part + f->offset, &rows, sizeof rows);
    }
    return part;
}

/* ---- the call -------------------------------------------------------------------------------- */

typedef struct way {
    const ak__handed *h;
    const ak__use    *use;
} way;

static ak_tensor *call(ak_module *m, const ak_inputs *in, const way *w)
{
    const ak__handed *h = w->h;
    if (w->use)
        return w->use->run(m, in, w->use->how);
    if (h && h->wanted && ak_is_training(m->ctx))
        return m->kind->fusion->to_norm(m, in->x, h->wanted);
    if (h && !h->wanted)
        return m->kind->fusion->norm(m, in->x, h);
    return m->forward ? m->forward(m, in->x) : m->kind->forward_with(m, in);
}

static ak_tensor *run(ak_module *m, const ak_inputs *in, const way *w)
{
    if (!m->bound && m->kind->bind)
        m->kind->bind(m);
    m->bound = true;
    const bool training = ak_is_training(m->ctx);
    if (m->evaluating)
        ak_train_mode(m->ctx, false);
    const ak__work before = m->ctx->work ? *m->ctx->work : (ak__work){ 0 };
    ak_tensor *y = call(m, in, w);
    if (m->ctx->work && y)
        ak__note_pass(m, &before, y);
    if (m->evaluating)
        ak_train_mode(m->ctx, training);
    if (!y) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: its forward function returned NULL\n    hint: a tensor "
                "is wanted, poison after an error", m->name);
        return &ak__poison;
    }
    return y;
}

ak_tensor *ak__run(ak_module *m, const ak_inputs *in, const ak__handed *h)
{
    if (!ak__complete(m, "ak_forward") || !inputs_fit(m, in, needs_of(m), ak_module_takes(m)) ||
        ak_error(m->ctx) != AK_OK)
        return &ak__poison;
    return run(m, in, &(way){ .h = h });
}

ak_tensor *ak__run_use(ak_module *m, const ak_inputs *in, const ak__use *use)
{
    if (!ak__complete(m, use->who) || !inputs_fit(m, in, use->needs, use->needs | use->takes) ||
        ak_error(m->ctx) != AK_OK)
        return &ak__poison;
    return run(m, in, &(way){ .use = use });
}

ak_tensor *ak_forward(ak_module *m, ak_tensor *x)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x))
        return &ak__poison;
    return ak__run(m, &(ak_inputs){ .x = x }, NULL);
}

ak_tensor *ak_forward_with(ak_module *m, ak_inputs in)
{
    if (!AK__GIVEN(in.x ? in.x->ctx : NULL, m))
        return &ak__poison;
    return ak__run(m, &in, NULL);
}

void ak_module_train(ak_module *m, bool train)
{
    if (!AK__GIVEN(NULL, m))
        return;
    m->evaluating = !train;
}

ak_tensor *ak__module_shape_error(ak_module *m, const ak_tensor *x, const char *format, ...)
{
    char expected[160], got[AK_SHAPE_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(expected, sizeof expected, format, args);
    va_end(args);
    ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected x %s, got %s%s%s", m->name, m->what, expected,
            x->name ? x->name : "", x->name ? " " : "", ak_shape_text(x->shape, got));
    return &ak__poison;
}
