/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of a batch as inputs of a module. Data sets know no modules, modules no batches; this is
 * the lowest place that knows both. */
#include <akin/inputs.h>

#include <stddef.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

/* What an input is made of: values, whole numbers, or neither (lengths come with their field, a
 * state is the caller's). */
typedef enum source { NUMBERS, WHOLE, NO_SOURCE } source;
typedef struct place {
    const char *name;
    source      from;
    size_t      offset;
} place;

#define PLACE_TENSOR NUMBERS
#define PLACE_INDEX WHOLE
#define PLACE_POINTER NO_SOURCE
static const place places[] = {
#define PLACE(bit, kind, name) { #name, PLACE_##kind, offsetof(ak_inputs, name) },
    AK_INPUT_MAP(PLACE)
#undef PLACE
};

static source source_of(ak_field_kind kind)
{
    switch (kind) {
    case AK_FIELD_PICTURE: case AK_FIELD_VECTOR: case AK_FIELD_SEQUENCE: case AK_FIELD_NUMBERS:
        return NUMBERS;
    case AK_FIELD_TOKENS:
        return WHOLE;
    case AK_FIELD_LABELS: case AK_FIELD_ID:
        break;
    }
    return NO_SOURCE;
}

/* The input called `name` that a field can be; lengths are never fields of their own. */
static const place *place_called(const char *name)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(places[i].name, name) == 0)
            return places[i].from == NO_SOURCE || strstr(name, "lengths") ? NULL : &places[i];
    return NULL;
}

static bool put(ak_inputs *in, const place *to, const void *value, const ak_batch *b,
                const ak_column *c)
{
    void *there;
    char *at = (char *)in + to->offset;
    memcpy(&there, at, sizeof there);
    if (there) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: .%s is there already; field \"%s\" is it a "
                "second time", to->name, c->name);
        return false;
    }
    memcpy(at, &value, sizeof value);
    return true;
}

/* View `view` of a column in its place, and its lengths beside it. */
static bool put_column(ak_inputs *in, const place *to, const ak_batch *b, const ak_column *c,
                       int view, int views)
{
    const bool all = view == AK_ALL_VIEWS;
    const int  v = c->views == 1 ? 0 : view;
    if (all && c->views != views) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: field \"%s\" has %d view%s, the field it "
                "belongs to %d: take them view by view", c->name, c->views,
                c->views == 1 ? "" : "s", views);
        return false;
    }
    if (!all && (view < 0 || (c->views > 1 && view >= c->views))) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: view %d; field \"%s\" has %d", view, c->name,
                c->views);
        return false;
    }
    const void *value = to->from == NUMBERS ? (const void *)(all ? c->all : c->view[v])
                                            : (const void *)(all ? c->all_ids : c->ids[v]);
    if (!value) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: the views of field \"%s\" differ in size: "
                "take them one by one, or those of one size together (ak_batch_views)", c->name);
        return false;
    }
    if (!put(in, to, value, b, c))
        return false;
    ak_index *lengths = all ? c->all_lengths : c->lengths[v];
    if (lengths && strcmp(to->name, "memory") == 0)
        in->memory_lengths = lengths;
    if (lengths && (strcmp(to->name, "x") == 0 || strcmp(to->name, "ids") == 0))
        in->lengths = lengths;
    return true;
}

static const ak_column *main_column(const ak_batch *b)
{
    for (int f = 0; f < b->columns; f++)
        if (b->column[f].kind <= AK_FIELD_TOKENS)
            return &b->column[f];
    return NULL;
}

/* What follows "<field>/" in the name of a column; NULL if it belongs to another field. */
static const char *belongs(const ak_column *c, const char *field)
{
    const size_t n = strlen(field);
    return strncmp(c->name, field, n) == 0 && c->name[n] == '/' ? c->name + n + 1 : NULL;
}

static bool put_all(ak_inputs *in, const ak_batch *b, const ak_column *c, int view)
{
    const source from = source_of(c->kind);
    if (from == NO_SOURCE) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: field \"%s\" holds labels or ids, which no "
                "module takes", c->name);
        return false;
    }
    if (view != AK_ALL_VIEWS && (view < 0 || view >= c->views)) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: view %d; field \"%s\" has %d", view, c->name,
                c->views);
        return false;
    }
    if (!put_column(in, place_called(from == NUMBERS ? "x" : "ids"), b, c, view, c->views))
        return false;
    for (int f = 0; f < b->columns; f++) {
        const ak_column *other = &b->column[f];
        const char      *name = belongs(other, c->name);
        const place     *to = name ? place_called(name) : NULL;
        if (!name || source_of(other->kind) == NO_SOURCE)
            continue;               /* another's; or labels and ids, which no module takes */
        if (!to) {
            ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: field \"%s\": there is no input \"%s\"; "
                    "what belongs to \"%s\" is called x, ids, types, mask, memory, memory_mask, "
                    "bias or skip behind its slash", other->name, name, c->name);
            return false;
        }
        if (source_of(other->kind) != to->from) {
            ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: field \"%s\" can not be input .%s, which "
                    "takes %s", other->name, to->name, to->from == WHOLE ? "tokens" : "a picture, "
                    "vector, sequence or numbers");
            return false;
        }
        if (!put_column(in, to, b, other, view, c->views))
            return false;
    }
    return true;
}

ak_inputs ak_batch_inputs(const ak_batch *b, const char *field, int view)
{
    const ak_inputs nothing = { .x = &ak__poison };
    if (!AK__GIVEN(NULL, b))
        return nothing;
    const ak_column *given = ak_batch_field(b, field ? field : b->columns ? b->column[0].name : "");
    if (!b->ctx || ak_error(b->ctx) != AK_OK)
        return nothing;
    const ak_column *c = field ? given : main_column(b);
    if (!c) {
        ak_fail(b->ctx, AK_ERR_VALUE, "batch_inputs: the batch has no main field (a picture, "
                "vector, sequence or tokens): name one");
        return nothing;
    }
    ak_inputs in = { 0 };
    return put_all(&in, b, c, view) ? in : nothing;
}
